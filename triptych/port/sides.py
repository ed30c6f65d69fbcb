"""One function, run in its framework: what it returns, its gradients, the state it leaves."""

import contextlib
import copy
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from triptych.agreement.measures import DisagreementError
from triptych.checks import kind
from triptych.port import jaxpr
from triptych.port.state import parts
from triptych.port.values import (
    NARROW,
    WIDE,
    Leaves,
    eps,
    fill,
    is_array,
    is_float,
    is_jax,
    is_torch,
    narrow,
    to_jax,
    to_numpy,
    to_torch,
    walk,
    wide,
)

MODULE = "torch.nn.modules.module.Module"
FRAMEWORKS = {"torch": "PyTorch", "jax": "JAX", "numpy": "NumPy"}
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""The buffers of a normalisation: no gradient, wherever they are given."""

Cotangents = dict[str, np.ndarray]


class Side(NamedTuple):
    """A function and its framework."""

    label: str
    framework: str
    function: Any
    """Called; if it is a module of PyTorch, asked for its parameters and buffers as well."""


class Ran(NamedTuple):
    """What one run made."""

    outputs: Leaves
    state: Leaves
    """The buffers that it left, by the names that the framework gives them."""
    pull: Callable[[Cotangents], Leaves] | None
    """From cotangents by output to gradients by argument; None without derivative."""
    reached: float
    """The machine epsilon that is reached: more than asked for where the code casts."""
    casts: str
    """Where it casts; "" if it does not."""
    detached: bool = False
    """No output depends on an argument, says PyTorch."""
    given_back: frozenset[str] = frozenset()
    """Outputs that are an argument without gradient, such as a running mean written in place."""


class Call(NamedTuple):
    """What every function is called with."""

    names: tuple[str, ...]
    """Of the positional arguments."""
    arguments: tuple[Any, ...]
    kwargs: dict[str, Any]
    given: dict[str, np.ndarray]
    """The arrays among them, by name."""
    by: tuple[str, ...]
    """The names of those that are differentiated."""
    argnums: int | tuple[int, ...] | None
    state: bool | None
    """Whether functions return (output, state); None: where the second part has buffers' names."""
    buffers: tuple[str, ...]
    """The names of the module's buffers."""
    taps: tuple[str, ...] = ()
    """The names that a dict of values on the way may have."""

    def filled(self, leaves: Leaves) -> tuple[list[Any], dict[str, Any]]:
        """The arguments with these arrays."""
        positional = [
            fill(tree, name, leaves) for tree, name in zip(self.arguments, self.names, strict=True)
        ]
        return positional, {key: fill(value, key, leaves) for key, value in self.kwargs.items()}

    def leaves(self, precision: str, make: Callable[..., Any]) -> Leaves:
        """The arrays in a precision ("own", "wide": float64, "narrow": float32), made one by one.

        Nobody keeps them longer than for a run: of a large model there is no room for many copies.
        """
        change: Any = {"own": lambda x: x, "wide": wide, "narrow": narrow}[precision]
        return {name: make(array, change(array.dtype)) for name, array in self.given.items()}

    def is_double(self, precision: str) -> bool:
        """Whether there are 64 bits in that precision."""
        names = {array.dtype.name for array in self.given.values()}
        return precision == "wide" or (precision == "own" and not names.isdisjoint(NARROW))

    def parted(self, result: Any) -> tuple[Any, Any]:
        """The output and the state that a function of JAX or NumPy returns."""
        result, _ = self.tapped(result)
        pair = isinstance(result, tuple) and len(result) == 2 and not hasattr(result, "_fields")
        if not pair or self.state is False:
            return result, None
        if self.state or (isinstance(result[1], Mapping) and self._is_state(result[1])):
            return result
        return result, None

    def tapped(self, result: Any) -> tuple[Any, dict[str, Any]]:
        """What a function returns, and the {name: array} of values on the way at its end."""
        if not isinstance(result, tuple) or len(result) < 2 or hasattr(result, "_fields"):
            return result, {}
        *rest, last = result
        if not isinstance(last, Mapping) or not last:
            return result, {}
        if "intermediates" in last:  # of Flax
            more = {key: value for key, value in last.items() if key != "intermediates"}
            rest += [more] if more else []
            found = dict(walk(last["intermediates"], ""))
            found = {".".join(re.findall(r"\w+", n)[:-2]): x for n, x in found.items()}
        elif (
            self.taps
            and {words(str(key)) for key in last} <= {*map(words, self.taps)}
            and all(map(is_array, last.values()))
        ):
            found = {str(key): value for key, value in last.items()}
        else:
            return result, {}
        return (rest[0] if len(rest) == 1 else tuple(rest)), found

    def _is_state(self, value: Mapping[str, Any]) -> bool:
        if not self.buffers or not value:
            return "batch_stats" in value
        names = [name for name, _ in walk(value, "")]
        of_nnx = all(name.endswith(".value") for name in names)
        return (
            "batch_stats" in value
            or {*map(str, value)} <= {*self.buffers}
            or (of_nnx and {*map(parts, names)} <= {*map(parts, self.buffers)})
        )


def words(name: str) -> tuple[str, ...]:
    """The words of a name: "encoder/blocks_0" and "encoder.blocks.0" have the same."""
    return tuple(re.findall(r"[a-z]+|\d+", name.lower()))


def is_module(function: Any) -> bool:
    """Whether it is a `torch.nn.Module`."""
    return any(f"{t.__module__}.{t.__name__}" == MODULE for t in type(function).__mro__)


def takes_params(function: Any, arguments: tuple[Any, ...]) -> bool:
    """Whether a module's parameters are the first argument, by the names of its state_dict."""
    if not is_module(function) or not arguments or not isinstance(arguments[0], Mapping):
        return False
    keys = function.state_dict().keys()
    return bool(keys) and bool({*arguments[0]} & {*keys})


def outputs(label: str, result: Any) -> Leaves:
    """The leaves of a result, in NumPy."""
    found = {name: to_numpy(leaf) for name, leaf in walk(result, "output")}
    if not found:
        raise TypeError(f"assert_agree: {label} must return an array, got {result!r}")
    for name, leaf in found.items():
        if not (
            leaf is None or is_array(leaf) or isinstance(leaf, bool | int | float | complex | str)
        ):
            raise TypeError(
                f"assert_agree: {name} of {label} must be an array, a number or None (or a dict, "
                f"list, tuple or dataclass of them), got {kind(leaf)}; leave it out with ignore="
            )
    return found


def run(side: Side, call: Call, precision: str, derive: bool) -> Ran:
    """Run a function once, and leave its derivative to be asked for."""
    runner = {"torch": _run_torch, "jax": _run_jax, "numpy": _run_numpy}[side.framework]
    ran = runner(side, call, precision, derive)
    if ran.pull and not (derive and call.by):
        return ran._replace(pull=lambda _: {})  # which keeps nothing of the run
    return ran


# NumPy


def _run_numpy(side: Side, call: Call, precision: str, _: bool) -> Ran:
    leaves = call.leaves(precision, np.array)
    positional, keywords = call.filled(leaves)
    result = side.function(*positional, **keywords)
    reached = 2.0**-52 if precision == "wide" else 0.0
    if call.argnums is None:
        result, state = call.parted(result)
        return Ran(outputs(side.label, result), _leaves(state), None, reached, "")
    numbers = call.argnums if isinstance(call.argnums, tuple) else (call.argnums,)
    pair = isinstance(result, tuple) and len(result) == 2
    grads = (result[1] if isinstance(call.argnums, tuple) else result[1:]) if pair else None
    if not isinstance(grads, tuple) or len(grads) != len(numbers):
        raise TypeError(
            f"assert_agree: {side.label} must return (value, gradients by argnums="
            f"{call.argnums!r}), got {result!r}"
        )
    values = outputs(side.label, result[0])
    if values.keys() != {"output"} or np.shape(values["output"]) != ():
        raise ValueError(
            f"assert_agree: with gradients, the value of {side.label} must be a scalar"
        )
    found: Leaves = {}
    wanted: set[str] = set()
    for n, tree in zip(numbers, grads, strict=True):
        found |= {name: to_numpy(leaf) for name, leaf in walk(tree, call.names[n])}
        wanted |= {name for name, _ in walk(call.arguments[n], call.names[n])}
    expected = [name for name in call.by if name in wanted]
    if not {*expected} <= found.keys() or not found.keys() <= wanted:
        raise DisagreementError(
            f"gradients of {side.label} are by {', '.join(found)}, expected {', '.join(expected)}"
        )
    found = {name: found[name] for name in expected}
    return Ran(values, {}, lambda _: found, reached, "")


def _leaves(state: Any) -> Leaves:
    return {} if state is None else {name: to_numpy(leaf) for name, leaf in walk(state, "")}


# PyTorch


def _run_torch(side: Side, call: Call, precision: str, derive: bool) -> Ran:
    torch: Any = importlib.import_module("torch")
    function, scripted = side.function, None
    if takes_params(function, call.arguments):
        if isinstance(function, torch.jit.ScriptModule):
            scripted = function = _scripted_copy(function, call, precision)
        else:
            function = functional(function, call)
    elif is_module(function) and not isinstance(function, torch.jit.ScriptModule):
        function = _own_weights(function, precision)
    widening = widened_torch(torch) if precision == "wide" else contextlib.nullcontext()
    differentiable = derive and bool(call.by)
    with torch.inference_mode(False), torch.set_grad_enabled(differentiable), widening:
        leaves = call.leaves(precision, to_torch)
        for name in call.by if differentiable else ():
            leaves[name].requires_grad_()
        positional, keywords = call.filled(leaves)
        if scripted is not None:
            leaves |= {
                f"{call.names[0]}[{key!r}]": p
                for key, p in scripted.named_parameters(remove_duplicate=False)
            }
            positional = positional[1:]
        with _underivable():
            result = function(*positional, **keywords)
    state: Leaves = {}
    if takes_params(side.function, call.arguments):
        holder = dict(scripted.named_buffers()) if scripted is not None else None
        for key, _ in side.function.named_buffers():
            name = f"{call.names[0]}[{key!r}]"
            if holder is not None:
                state[key] = to_numpy(holder[key]).copy()
            elif name in leaves:
                state[key] = to_numpy(leaves[name]).copy()
    elif not is_module(side.function):
        result, given = call.parted(result)
        state = _leaves(given)
    results = dict(walk(result, "output"))
    values = {name: _copied(leaf) for name, leaf in outputs(side.label, result).items()}
    recorded_any = any(is_torch(x) and x.requires_grad for x in results.values())
    by = [name for name in call.by if leaves[name].requires_grad]

    def pull(cotangents: Cotangents) -> Leaves:
        recorded = [
            name
            for name in cotangents
            if is_torch(results.get(name)) and results[name].requires_grad
        ]
        found: list[Any] = [None] * len(by)
        again = widened_torch(torch) if precision == "wide" else contextlib.nullcontext()
        if recorded and by:
            with again, _underivable():
                given = [
                    to_torch(cotangents[name]).to(results[name].dtype).reshape(results[name].shape)
                    for name in recorded
                ]
                found = torch.autograd.grad(
                    [results[name] for name in recorded],
                    [leaves[name] for name in by],
                    given,
                    allow_unused=True,
                )
        return {
            name: to_numpy(torch.zeros_like(leaves[name]) if grad is None else grad.to_dense())
            for name, grad in zip(by, found, strict=True)
        }

    casts = getattr(widening, "casts", ())
    reached = max([2.0**-52, *(eps(name) for _, name in casts)]) if precision == "wide" else 0.0
    said = "; ".join(dict.fromkeys(f"PyTorch's {o} makes {d}" for o, d in casts))
    still = {id(leaf) for leaf in leaves.values() if not leaf.requires_grad}
    back = frozenset(name for name, x in results.items() if id(x) in still)
    return Ran(values, state, pull, reached, said, bool(call.by) and not recorded_any, back)


@contextlib.contextmanager
def _underivable() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:
        if re.search("derivative|requires grad|not differentiable", str(error)):
            error.add_note(
                "an argument that PyTorch has no derivative by is left out of the gradients with "
                'fixed=["its name"]'
            )
        raise


def _copied(leaf: Any) -> Any:
    return leaf.copy() if isinstance(leaf, np.ndarray) else leaf


def functional(module: Any, call: Call) -> Callable[..., Any]:
    """A module as a function of its parameters and its inputs.

    Raises:
        ValueError: a parameter is missing, or there is one that the module does not have.
    """
    torch: Any = importlib.import_module("torch")
    keys = list(module.state_dict())
    named = [*module.named_parameters(), *module.named_buffers()]
    own = {name for name, _ in named} & {*keys}
    params = call.arguments[0]
    missing = [key for key in keys if key in own and key not in params]
    extra = [key for key in params if key not in keys]
    if missing or extra:
        told = [f"missing {', '.join(missing)}"] if missing else []
        told += [f"extra {', '.join(map(str, extra))}"] if extra else []
        raise ValueError(
            f"assert_agree: {call.names[0]}, the first argument, must have the names of the "
            f"module's state_dict, {', '.join(keys)}; {'; '.join(told)}. To let a port take them "
            "in another form, wrap it: lambda params, x: port(convert(params), x); to hold them "
            "fixed leave them out: assert_agree(x, torch=model, ...)"
        )
    # tied weights are one where one of their names is given, and apart where every name is
    tie = not {*keys} <= {*params}
    hidden = {name: b for name, b in module.named_buffers() if name not in keys}

    def run(params: Any, *inputs: Any, **keywords: Any) -> Any:
        wide = any(is_torch(p) and p.dtype == torch.float64 for p in params.values())
        more = {
            name: b.double() if wide and b.is_floating_point() else b.clone()
            for name, b in hidden.items()
        }
        return torch.func.functional_call(
            module, {**params, **more}, inputs, keywords, tie_weights=tie
        )

    return run


def _own_weights(module: Any, precision: str) -> Callable[..., Any]:
    """A module with its own weights, held fixed; what it writes goes into copies."""
    torch: Any = importlib.import_module("torch")

    def change(x: Any) -> Any:
        x = x.detach().clone()
        name = f"{x.dtype}".removeprefix("torch.")
        return x.to(getattr(torch, WIDE[name])) if precision == "wide" and name in WIDE else x

    state = {name: change(x) for name, x in (*module.named_parameters(), *module.named_buffers())}
    return lambda *inputs, **keywords: torch.func.functional_call(module, state, inputs, keywords)


def _scripted_copy(module: Any, call: Call, precision: str) -> Any:
    """A scripted module has no functional call: a copy with the parameters that are given."""
    other = copy.deepcopy(module)
    prefix, arrays = call.names[0], call.leaves(precision, np.asarray)
    given = {key: arrays[f"{prefix}[{key!r}]"] for key in call.arguments[0]}
    if any(array.dtype == np.float64 for array in given.values()):
        other = other.double()
    other.load_state_dict({key: to_torch(array) for key, array in given.items()})
    return other


def widened_torch(torch: Any) -> Any:
    """A mode in which PyTorch computes in float64 what it is told to compute in float32.

    The weights that a function closes over, `x.float()` and `torch.zeros(3)` become float64; what
    makes fewer digits than float32 stays and is listed in `casts`.
    """
    from torch.utils._python_dispatch import TorchDispatchMode  # PyTorch documents no other place

    to_wide = {torch.float32: torch.float64, torch.complex64: torch.complex128}
    short = {torch.float16: "float16", torch.bfloat16: "bfloat16"}

    class Widened(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.casts: list[tuple[str, str]] = []

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = dict(kwargs or {})
            dtype = kwargs.get("dtype")
            if dtype in to_wide:
                kwargs["dtype"] = to_wide[dtype]
            if dtype in short:
                self.casts.append((func.__name__.partition(".")[0], short[dtype]))
            writes = func._schema.is_mutable

            def change(x: Any) -> Any:
                if isinstance(x, torch.Tensor) and x.dtype in to_wide:
                    return x.to(to_wide[x.dtype])
                return [change(e) for e in x] if isinstance(x, list) else x

            if not writes and func._schema.name != "aten::_to_copy":
                args = tuple(map(change, args))
                kwargs = {key: change(value) for key, value in kwargs.items()}
            return func(*args, **kwargs)

    @contextlib.contextmanager
    def entered(mode: Any) -> Iterator[Any]:
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            with mode:
                yield mode
        finally:
            torch.set_default_dtype(before)

    class Both(contextlib.AbstractContextManager):  # type: ignore[type-arg]
        def __init__(self) -> None:
            self.mode = Widened()
            self.stack = contextlib.ExitStack()

        @property
        def casts(self) -> list[tuple[str, str]]:
            return self.mode.casts

        def __enter__(self) -> Any:
            self.stack.enter_context(entered(self.mode))
            return self

        def __exit__(self, *error: Any) -> None:
            self.stack.__exit__(*error)

    return Both()


# JAX


def _run_jax(side: Side, call: Call, precision: str, derive: bool) -> Ran:
    jax: Any = importlib.import_module("jax")
    double = call.is_double(precision)
    with x64(double):
        leaves = call.leaves(precision, to_jax)
        function = jax_function(side, call, precision)
        casts, reached = "", 2.0**-52 if precision == "wide" else 0.0
        if precision == "wide":
            function, reached, casts = _widened_jax(function, leaves)
        # the user's own precision runs as it is written, the other as one compiled program
        own = precision == "own"
        results, kept = function(leaves) if own else _compiled(function, lambda: (leaves,))
        values = outputs(side.label, results)
        state = _leaves(kept)

    def pull(cotangents: Cotangents) -> Leaves:
        def pulled(floats: Leaves, fixed: Leaves, drawn: Leaves) -> Leaves:
            def of_floats(floats: Leaves) -> Leaves:
                found = dict(walk(function(fixed | floats)[0], "output"))
                return {name: found[name] for name in cotangents if is_jax(found[name])}

            primal, vjp = jax.vjp(of_floats, floats)
            shaped = {n: drawn[n].astype(x.dtype).reshape(x.shape) for n, x in primal.items()}
            return dict(vjp(shaped)[0])

        def given() -> tuple[Leaves, Leaves, Leaves]:
            fixed = call.leaves(precision, to_jax)
            floats = {name: fixed.pop(name) for name in call.by}
            # JAX's cotangents and gradients of complex numbers are the conjugates of PyTorch's
            return floats, fixed, {name: to_jax(np.conj(x)) for name, x in cotangents.items()}

        with x64(double):
            # each gradient takes the place of what it is by
            found = _compiled(pulled, given, donate_argnums=0)
            of_torch: Any = {name: call.given[name].dtype.kind == "c" for name in call.by}
            return {
                name: np.conj(to_numpy(found[name])) if conjugate else to_numpy(found[name])
                for name, conjugate in of_torch.items()
            }

    return Ran(values, state, pull if derive else None, reached, casts)


def _compiled(
    function: Callable[..., Any], given: Callable[[], tuple[Any, ...]], **options: Any
) -> Any:
    """What a function gives, compiled as one: a program for each operation takes far longer.

    A function that looks at values, as a branch in Python does, runs as it is.
    """
    jax: Any = importlib.import_module("jax")
    kept: list[Any] = []

    def arrays(*given: Any) -> Leaves:
        kept[:] = [function(*given)]
        return {name: leaf for name, leaf in walk(kept[0], "") if is_jax(leaf)}

    try:
        found = jax.jit(arrays, **options)(*given())
    except Exception:  # the user's own errors come up once more, without jit in their way
        return function(*given())
    return fill(kept[0], "", found)


def jax_function(side: Side, call: Call, precision: str) -> Callable[[Leaves], tuple[Any, Any]]:
    """The function of the leaves alone; returns (output, state)."""
    called = own_copy(side.function, precision)

    def function(leaves: Leaves) -> tuple[Any, Any]:
        positional, keywords = call.filled(leaves)
        return call.parted(called(*positional, **keywords))

    return function


def own_copy(function: Any, precision: str) -> Any:
    """The function; of a Flax nnx module, which writes into itself, a copy for each call."""
    nnx: Any = sys.modules.get("flax.nnx")
    if nnx is None or not isinstance(function, nnx.Module):
        return function
    jax: Any = importlib.import_module("jax")
    structure, state = nnx.split(function)

    def change(x: Any) -> Any:
        return x.astype(WIDE[x.dtype.name]) if precision == "wide" and is_float(x) else x

    def run(*inputs: Any, **keywords: Any) -> Any:
        return nnx.merge(structure, jax.tree.map(change, state), copy=True)(*inputs, **keywords)

    return run


def _widened_jax(
    function: Callable[[Leaves], Any], leaves: Leaves
) -> tuple[Callable[[Leaves], Any], float, str]:
    """The function with float64 where it says float32; what cannot be changed, and its epsilon."""
    jax: Any = importlib.import_module("jax")
    try:
        closed, _ = jaxpr.trace(function, leaves)
    except Exception:  # it reads values, as a branch in Python does: run as it is
        return function, 2.0**-52, ""
    program = jaxpr.program(closed)
    narrow = list(jaxpr.narrow_parts(program))
    if not narrow and not any(getattr(c, "dtype", "") == np.float32 for c in closed.consts):
        return function, 2.0**-52, ""

    def widened(given: Leaves) -> Any:
        again, tree = jaxpr.trace(function, given)
        flat = jax.tree_util.tree_leaves(given)
        made = jaxpr.evaluate(jaxpr.program(again), flat, widened=("float32", "complex64"))
        return jax.tree_util.tree_unflatten(tree, made)

    inner = [(where, dtype) for where, dtype, stays in narrow if stays]
    said = "; ".join(dict.fromkeys(f"JAX's {where} makes {dtype}" for where, dtype in inner))
    return widened, max([2.0**-52, *(eps(dtype) for _, dtype in inner)]), said


def x64(needed: bool) -> contextlib.AbstractContextManager[Any]:
    """JAX's 64 bits, if needed."""
    if not needed:
        return contextlib.nullcontext()
    return importlib.import_module("jax").enable_x64(True)


def argument_names(sides: list[Side], arguments: tuple[Any, ...]) -> tuple[str, ...]:
    """The arguments' names: those of the first function whose signature tells."""
    for side in sides:
        function = side.function
        try:
            signature = inspect.signature(function.forward if is_module(function) else function)
        except (TypeError, ValueError):  # a built-in function
            continue
        names = ["params"] if takes_params(function, arguments) else []
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        names += [p.name for p in signature.parameters.values() if p.kind in kinds]
        if len(names) >= len(arguments) and len(set(names)) == len(names):
            return tuple(names[: len(arguments)])
    return tuple(f"argument {i}" for i in range(1, len(arguments) + 1))


def title(function: Any) -> str:
    """The name of a function, or the type of what is called."""
    return getattr(function, "__qualname__", type(function).__qualname__)


@contextlib.contextmanager
def blaming(side: Side, first: Any = None) -> Iterator[None]:
    """Say whose error it is."""
    try:
        yield
    except Exception as error:
        given = is_module(side.function) and isinstance(first, Mapping)
        if given and not takes_params(side.function, (first,)):
            error.add_note(
                "the first argument is a dict, and has no name of the module's state_dict: give "
                "that one, and let the port take it in another form: "
                "jax=lambda params, x: port(convert(params), x)"
            )
        error.add_note(
            f"raised by triptych.assert_agree calling {side.label}, {title(side.function)}"
        )
        if type(error).__name__ == "TraceContextError":
            error.add_note(
                "a Flax nnx module that changes while JAX differentiates must be the function "
                "itself, jax=module, or an argument, beside which the function returns "
                "(output, nnx.state(module, nnx.BatchStat))"
            )
        raise
