"""A function of PyTorch, run: what it returns, its gradients, the buffers that it leaves."""

import contextlib
import copy
import importlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from triptych.port.sides import (
    Call,
    Cotangents,
    Ran,
    Side,
    is_module,
    outputs,
    state_leaves,
    takes_params,
)  # fmt: skip
from triptych.port.values import WIDE, Leaves, eps, is_torch, to_numpy, to_torch, walk


def run_torch(side: Side, call: Call, precision: str, derive: bool) -> Ran:
    """Run a function of PyTorch."""
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
        state = state_leaves(given)
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

        def __enter__(self) -> Any:
            self.default = torch.get_default_dtype()
            torch.set_default_dtype(torch.float64)
            return super().__enter__()  # type: ignore[no-untyped-call]

        def __exit__(self, *error: Any) -> None:
            super().__exit__(*error)  # type: ignore[no-untyped-call]
            torch.set_default_dtype(self.default)

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

    return Widened()
