"""Does a port compute what the original computes: one's own functions, compared as the columns are.

`assert_agree` hands the same numbers to two or three functions of different frameworks and
compares what they return and, by automatic differentiation, how it depends on what they were given.

A framework is imported when one of its functions is to be called, and not before.
"""

import contextlib
import dis
import functools
import importlib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from numbers import Real
from types import CodeType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from triptych.agreement.measures import DisagreementError, assert_within
from triptych.checks import dtype_name, kind

FRAMEWORKS = {"torch": "PyTorch", "jax": "JAX", "numpy": "NumPy"}
FLOATS = ("float16", "float32", "float64")
PACKAGES = {
    **dict.fromkeys(("torch", "functorch", "torch_impl"), "torch"),
    **dict.fromkeys(("jax", "jaxlib", "flax", "equinox", "optax", "jax_impl"), "jax"),
    **dict.fromkeys(("numpy", "scipy", "numpy_ref"), "numpy"),
}
"""The packages that tell a function's framework."""

MODULE = "torch.nn.modules.module.Module"

Leaves = dict[str, Any]
"""The arrays of a nested structure by where they stand, such as "params['fc1.weight']"."""
Pull = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
"""From cotangents by output to gradients by argument."""


class Side(NamedTuple):
    """What one function returned, and its derivative where it has one."""

    label: str
    outputs: dict[str, np.ndarray]
    pull: Pull | None


def assert_agree(
    *functions_and_arguments: Any,
    bound: float = 16,
    absolute: float = 0,
    gradients: bool = True,
    frameworks: Sequence[str] | None = None,
    numpy_argnums: int | tuple[int, ...] | None = None,
) -> dict[str, float]:
    """Raise unless two or three functions of different frameworks compute the same.

    Every function is called with the same arguments, as arrays of its framework, on the CPU. A
    `torch.nn.Module` with parameters or buffers takes them as its first argument, a dict with the
    names of its `state_dict`, as a JAX function does; one without takes its inputs alone. To hold
    something fixed, or to pass what is no array, wrap the function: `lambda x: f(x, axis=0)`.

    Compared are the outputs, by structure, shape, dtype and value, and the gradients by every
    floating-point argument. Where the output is one number, that is its gradient. Otherwise each
    output gets a cotangent, drawn once and given to every framework (a vector-Jacobian product).
    A module's buffers, such as the running mean of a batch normalisation, have none.
    What an output does not depend on has gradient 0, where PyTorch says None as well. Integers and
    truth values must be equal; the width of an integer may differ, since JAX has narrower ones.

    The distance is that of `agreement`, normwise: max|a - b| / max|b| in multiples of the dtype's
    machine epsilon, for each array. 16 holds for well-conditioned functions in float32 and in
    float64. What is zero but for rounding has no digit to agree in: there, give `absolute`.

    NumPy has no derivative: such a function is compared by value, unless it returns its own
    gradients and `numpy_argnums` says so. Two functions with gradients are needed to compare any;
    the result lists what was compared.

    A framework is read off the function: its type (a module, a jitted function), else what its code
    and then the functions it calls refer to, else what its file imports. PyTorch and JAX take
    precedence over NumPy, which serves as their helper. Where this tells none or both, `frameworks`
    must say.

    JAX computes float64 only with x64, which is on during the call if an argument is float64.
    Nothing given is changed: every call gets copies, no `.grad` is filled, no mode is switched
    (call `eval()` on a module with dropout).

    Args:
        functions_and_arguments: two or three functions, the original first; then the arguments,
            arrays (NumPy's; PyTorch's and JAX's are copied), or nested dicts, lists and tuples of
            them.
        bound: the largest distance allowed, in eps.
        absolute: a difference up to this counts as none.
        gradients: whether to compare gradients.
        frameworks: "torch", "jax" or "numpy" for each function, in order.
        numpy_argnums: the NumPy functions return (value, gradients) as
            `jax.value_and_grad(f, argnums)` does, by the arguments with these numbers.

    Returns:
        How far apart the functions are, in eps (the pair that is furthest apart), by what was
        compared: "output", "gradient by x", "gradient by params['fc1.weight']".

    Raises:
        DisagreementError: they disagree; the message names what, where, and both values.
        TypeError: something is no function, no array, or no number.
        ValueError: a number of functions other than 2 or 3, nothing to differentiate by, NaN in an
            argument, or a framework that is not clear.
    """
    functions, arguments = _split(functions_and_arguments)
    arguments = [_as_numpy(argument) for argument in arguments]
    _check_number("bound", bound)
    _check_number("absolute", absolute)
    frameworks = _frameworks(functions, frameworks)
    names = _names(functions, arguments)
    given = {
        name: leaf for n, a in zip(names, arguments, strict=True) for name, leaf in _walk(a, n)
    }
    floats = _check_arguments(given)
    buffers = {f"{names[0]}[{key!r}]" for f in functions for key in _state(f, learnt=False)}
    by = [name for name in floats if name not in buffers]
    if gradients and not by:
        raise ValueError(
            "assert_agree: an argument must be floating-point for a gradient, got "
            + ", ".join(f"{name} {array.dtype}" for name, array in given.items())
            + "; gradients=False compares values alone"
        )
    if numpy_argnums is not None:
        _check_argnums(numpy_argnums, frameworks, len(arguments))

    labels = [
        f"{f} (function {i})" if frameworks.count(f) > 1 else f for i, f in enumerate(frameworks, 1)
    ]
    with _x64("jax" in frameworks and any(a.dtype == np.float64 for a in given.values())):
        sides = []
        for function, framework, label in zip(functions, frameworks, labels, strict=True):
            call = _Call(function, label, names, arguments, given, by)
            with _blaming(function, label):
                if framework == "torch":
                    sides.append(_run_torch(call))
                elif framework == "jax":
                    sides.append(_run_jax(call))
                else:
                    sides.append(_run_numpy(call, numpy_argnums))
        distances = _compare("", [(s.label, s.outputs) for s in sides], bound, absolute)
        pulls = [(function, s) for function, s in zip(functions, sides, strict=True) if s.pull]
        cotangents = _cotangents(sides[0].outputs)
        if gradients and cotangents and len(pulls) > 1:
            found = []
            for function, side in pulls:
                with _blaming(function, side.label):
                    found.append((side.label, side.pull(cotangents)))  # type: ignore[misc]
            distances |= _compare("gradient by ", found, bound, absolute)
    return distances


# What was given


def _split(given: tuple[Any, ...]) -> tuple[list[Any], list[Any]]:
    """The functions, which come first, and the arguments."""
    count = next((i for i, value in enumerate(given) if not callable(value)), len(given))
    functions, arguments = list(given[:count]), list(given[count:])
    if count == 0 and given:
        raise TypeError(f"assert_agree: functions must come first, got {kind(given[0])}")
    if count not in (2, 3):
        raise ValueError(f"assert_agree: there must be 2 or 3 functions, got {count}")
    for i, argument in enumerate(arguments, 1):
        if callable(argument):
            raise TypeError(f"assert_agree: argument {i} must be an array, got {kind(argument)}")
    if not arguments:
        raise ValueError("assert_agree: there must be an argument after the functions, got none")
    return functions, arguments


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"assert_agree: {name} must be a number, got {kind(value)}")
    if not 0 <= float(value) < math.inf:
        raise ValueError(f"assert_agree: {name} must be finite and at least 0, got {value}")


def _check_arguments(given: Leaves) -> list[str]:
    """The names of the floating-point arrays."""
    for name, array in given.items():
        if not isinstance(array, np.ndarray | np.generic):
            raise TypeError(
                f"assert_agree: {name} must be an array (or a dict, list or tuple of them), "
                f"got {kind(array)}; wrap the function to pass anything else"
            )
        if array.dtype.kind not in "biu" and array.dtype.name not in FLOATS:
            floats = ", ".join(FLOATS)
            raise TypeError(
                f"assert_agree: {name} must hold {floats}, integers or truth values, "
                f"got dtype {array.dtype}"
            )
        if array.size == 0:
            raise ValueError(f"assert_agree: {name} must not be empty, got shape {array.shape}")
        if np.isnan(array).any():
            where = tuple(map(int, np.argwhere(np.isnan(array))[0]))
            raise ValueError(f"assert_agree: {name} must not hold NaN, got NaN at {where}")
    if not given:
        raise ValueError("assert_agree: the arguments must hold an array, got empty containers")
    return [name for name, array in given.items() if array.dtype.name in FLOATS]


def _check_argnums(argnums: Any, frameworks: Sequence[str], count: int) -> None:
    numbers = argnums if isinstance(argnums, tuple) else (argnums,)
    if not all(isinstance(n, int) and not isinstance(n, bool) for n in numbers):
        raise TypeError(
            f"assert_agree: numpy_argnums must be an int or a tuple of ints, got {argnums!r}"
        )
    if not numbers or not all(0 <= n < count for n in numbers):
        raise ValueError(
            f"assert_agree: numpy_argnums must lie in 0 .. {count - 1}, got {argnums!r}"
        )
    if "numpy" not in frameworks:
        raise ValueError("assert_agree: numpy_argnums must come with a NumPy function, got none")


def _names(functions: list[Any], arguments: list[Any]) -> list[str]:
    """The arguments' names: those of the first function whose signature tells."""
    for function in functions:
        try:
            signature = inspect.signature(function.forward if _is_module(function) else function)
        except (TypeError, ValueError):  # a built-in function
            continue
        names = ["params"] if _state(function) else []
        for p in signature.parameters.values():
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
                names.append(p.name)
        if len(names) >= len(arguments) and len(set(names)) == len(names):
            return names[: len(arguments)]
    return [f"argument {i}" for i in range(1, len(arguments) + 1)]


# Nested structures


def _walk(tree: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every leaf with its name; dicts by key, lists and tuples by position."""
    if isinstance(tree, Mapping):
        for key, entry in tree.items():
            yield from _walk(entry, f"{name}[{key!r}]")
    elif isinstance(tree, list | tuple):
        for i, entry in enumerate(tree):
            yield from _walk(entry, f"{name}[{i}]")
    else:
        yield name, tree


def _fill(tree: Any, name: str, leaves: Leaves) -> Any:
    """The same structure with other leaves."""
    if isinstance(tree, Mapping):
        return {key: _fill(entry, f"{name}[{key!r}]", leaves) for key, entry in tree.items()}
    if isinstance(tree, list | tuple):
        entries = [_fill(entry, f"{name}[{i}]", leaves) for i, entry in enumerate(tree)]
        return type(tree)(*entries) if hasattr(tree, "_fields") else type(tree)(entries)
    return leaves[name]


def _as_numpy(tree: Any) -> Any:
    """The same structure with PyTorch's and JAX's arrays as NumPy's; what is no array stays."""
    leaves = dict(_walk(tree, ""))
    for name, leaf in leaves.items():
        if hasattr(leaf, "__array__"):
            with contextlib.suppress(TypeError):  # PyTorch's bfloat16, which is refused later
                leaves[name] = np.asarray(leaf.detach().cpu() if hasattr(leaf, "detach") else leaf)
    return _fill(tree, "", leaves)


class _Call(NamedTuple):
    """A function, and what it is to be called with."""

    function: Callable[..., Any]
    label: str
    names: list[str]
    arguments: list[Any]
    given: dict[str, np.ndarray]
    by: list[str]

    def __call__(self, leaves: Leaves) -> Any:
        filled = zip(self.arguments, self.names, strict=True)
        return self.function(*(_fill(tree, name, leaves) for tree, name in filled))

    def outputs(self, result: Any, array: Any, to_numpy: Callable[[Any], Any]) -> Leaves:
        """The result's leaves in NumPy, checked."""
        leaves = dict(_walk(result, "output"))
        for name, leaf in leaves.items():
            if not isinstance(leaf, array):
                raise TypeError(
                    f"assert_agree: {name} of {self.label} must be an array of its framework (or a "
                    f"dict, list or tuple of them), got {kind(leaf)}"
                )
            dtype = dtype_name(leaf)
            if dtype not in FLOATS and not dtype.startswith(("int", "uint", "bool")):
                raise TypeError(
                    f"assert_agree: {name} of {self.label} must hold {', '.join(FLOATS)}, integers "
                    f"or truth values, got dtype {dtype}"
                )
        if not leaves:
            raise TypeError(f"assert_agree: {self.label} must return an array, got {result!r}")
        return {name: to_numpy(leaf) for name, leaf in leaves.items()}


# The three frameworks


def _run_numpy(call: _Call, argnums: int | tuple[int, ...] | None) -> Side:
    column = importlib.import_module("numpy_ref")
    array = (np.ndarray, np.generic)
    result = call(column.from_numpy(call.given))
    if argnums is None:
        return Side(call.label, call.outputs(result, array, column.to_numpy), None)
    numbers = argnums if isinstance(argnums, tuple) else (argnums,)
    pair = isinstance(result, tuple) and len(result) == 2
    grads = (result[1] if isinstance(argnums, tuple) else result[1:]) if pair else None
    if not isinstance(grads, tuple) or len(grads) != len(numbers):
        expected = f"(value, gradients by argnums={argnums!r})"
        raise TypeError(f"assert_agree: {call.label} must return {expected}, got {result!r}")
    outputs = call.outputs(result[0], array, column.to_numpy)
    if _cotangents(outputs).keys() != {"output"} or outputs["output"].shape != ():
        raise ValueError(
            f"assert_agree: with gradients, the value of {call.label} must be a scalar"
        )
    found: Leaves = {}
    wanted: set[str] = set()
    for n, tree in zip(numbers, grads, strict=True):
        found |= _walk(tree, call.names[n])
        wanted |= {name for name, _ in _walk(call.arguments[n], call.names[n])}
    if wanted & {*call.by} != found.keys():
        raise DisagreementError(
            f"gradients of {call.label} are by {', '.join(found)}, "
            f"expected {', '.join(name for name in call.by if name in wanted)}"
        )
    found = {name: column.to_numpy(leaf) for name, leaf in found.items()}
    return Side(call.label, outputs, lambda _: found)


def _run_torch(call: _Call) -> Side:
    torch: Any = importlib.import_module("torch")
    column = importlib.import_module("torch_impl")
    if _state(call.function):
        call = call._replace(function=_functional(call, torch))
    with torch.inference_mode(False), torch.enable_grad():
        leaves = column.from_numpy(call.given)
        for name in call.by:
            leaves[name].requires_grad_()
        result = call(leaves)
        outputs = call.outputs(result, torch.Tensor, column.to_numpy)
        results = dict(_walk(result, "output"))

    def pull(cotangents: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        recorded = [name for name in cotangents if results[name].requires_grad]
        found = [None] * len(call.by)
        if recorded:
            found = torch.autograd.grad(
                [results[name] for name in recorded],
                [leaves[name] for name in call.by],
                [column.from_numpy(cotangents[name]) for name in recorded],
                allow_unused=True,
            )
        pairs = zip(call.by, found, strict=True)
        return {
            name: np.zeros_like(call.given[name]) if grad is None else column.to_numpy(grad)
            for name, grad in pairs
        }

    return Side(call.label, outputs, pull)


def _run_jax(call: _Call) -> Side:
    jax: Any = importlib.import_module("jax")
    column = importlib.import_module("jax_impl")
    leaves = column.from_numpy(call.given)
    outputs = call.outputs(call(leaves), jax.Array, column.to_numpy)

    def pull(cotangents: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        def of_floats(floats: Leaves) -> Leaves:
            results = dict(_walk(call(leaves | floats), "output"))
            return {name: results[name] for name in cotangents}

        _, vjp = jax.vjp(of_floats, {name: leaves[name] for name in call.by})
        (found,) = vjp(column.from_numpy(cotangents))
        found = column.to_numpy(found)
        return {name: found[name] for name in call.by}  # a pytree comes back sorted

    return Side(call.label, outputs, pull)


def _state(function: Any, *, learnt: bool = True) -> dict[str, Any]:
    """A module's parameters and buffers by name, or its buffers alone; of anything else nothing."""
    if not _is_module(function):
        return {}
    return function.state_dict() if learnt else dict(function.named_buffers())


def _is_module(function: Any) -> bool:
    return any(f"{t.__module__}.{t.__name__}" == MODULE for t in type(function).__mro__)


def _functional(call: _Call, torch: Any) -> Callable[..., Any]:
    """A module as a function of its parameters and its inputs."""
    module: Any = call.function
    keys = _state(module).keys()
    own = {name for name, _ in (*module.named_parameters(), *module.named_buffers())} & keys
    params = call.arguments[0]
    if not isinstance(params, Mapping) or not own <= params.keys() <= keys:
        got = ", ".join(map(str, params)) if isinstance(params, Mapping) else kind(params)
        raise ValueError(
            f"assert_agree: {call.names[0]}, the first argument, must be a dict with the names of "
            f"the module's state_dict, {', '.join(keys)}, got {got}; "
            "to let a port take them in another form, wrap it: lambda params, x: "
            "port(convert(params), x); to hold them fixed: lambda x: module(x)"
        )
    # tied weights are one where one of their names is given, and apart where every name is
    tie = params.keys() != keys
    return lambda params, *inputs: torch.func.functional_call(
        module, params, inputs, tie_weights=tie
    )


def _x64(needed: bool) -> contextlib.AbstractContextManager[Any]:
    if not needed:
        return contextlib.nullcontext()
    return importlib.import_module("jax").enable_x64(True)


@contextlib.contextmanager
def _blaming(function: Any, label: str) -> Iterator[None]:
    """Say whose error it is."""
    try:
        yield
    except Exception as error:
        error.add_note(f"raised by triptych.assert_agree calling {label}, {_title(function)}")
        raise


# The comparison


def _cotangents(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """1 for a single number, else the same random numbers at every call."""
    floats = {name: x for name, x in outputs.items() if x.dtype.name in FLOATS}
    if len(floats) == 1 and all(x.shape == () for x in floats.values()):
        return {name: np.ones_like(x) for name, x in floats.items()}
    random = np.random.default_rng(0)
    return {
        name: np.asarray(random.normal(size=floats[name].shape), floats[name].dtype)
        for name in sorted(floats)
    }


def _compare(
    what: str, sides: list[tuple[str, dict[str, np.ndarray]]], bound: float, absolute: float
) -> dict[str, float]:
    """The largest distance of any pair, by name."""
    distances: dict[str, float] = {}
    for (reference, b), (label, a) in combinations(sides, 2):
        if not what and a.keys() != b.keys():
            returned = (f"{who} {', '.join(x)}" for who, x in ((label, a), (reference, b)))
            raise DisagreementError(f"other structure: {' against '.join(returned)}")
        for name in (name for name in b if name in a):
            title = f"{what}{name}, {label} against {reference}"
            apart = _distance(title, a[name], b[name], bound, absolute)
            distances[f"{what}{name}"] = max(apart, distances.get(f"{what}{name}", 0))
    return distances


def _distance(title: str, a: np.ndarray, b: np.ndarray, bound: float, absolute: float) -> float:
    if a.dtype.kind in "iu" and b.dtype.kind in "iu":
        a, b = a.astype(object), b.astype(object)  # whole numbers of any width
    if a.dtype.kind != "f" or a.dtype != b.dtype or a.shape != b.shape:
        return assert_within(title, a, b, 0, "absolute")
    # equal infinities are no distance, and must not swell the norm in which the rest is measured
    with np.errstate(invalid="ignore", over="ignore"):
        close = ((a == b) & np.isinf(b)) | ((np.abs(a - b) <= absolute) & (absolute > 0))
    a, b = np.where(close & np.isinf(b), 0, a), np.where(close & np.isinf(b), 0, b)
    return assert_within(title, np.where(close, b, a), b, bound, "eps")


# Which framework a function belongs to


def _frameworks(functions: list[Any], stated: Sequence[str] | None) -> list[str]:
    """The framework of each function, stated or found."""
    if stated is not None:
        if isinstance(stated, str) or not all(isinstance(name, str) for name in stated):
            raise TypeError(f"assert_agree: frameworks must be names, one each, got {stated!r}")
        if len(stated) != len(functions) or not {*stated} <= FRAMEWORKS.keys():
            raise ValueError(
                f"assert_agree: frameworks must be {len(functions)} of "
                f"{', '.join(map(repr, FRAMEWORKS))}, got {stated!r}"
            )
        return list(stated)
    say = 'say it, for each function in order: frameworks=("torch", "jax", ...)'
    found: list[str] = []
    for i, function in enumerate(functions, 1):
        names = _framework(function)
        if len(names) != 1:
            told = " and ".join(FRAMEWORKS[name] for name in sorted(names)) or "no framework"
            raise ValueError(
                f"assert_agree: the framework of function {i}, {_title(function)}, is not clear, "
                f"it refers to {told}; {say}"
            )
        found += names
    if len({*found}) < len(found):
        raise ValueError(
            "assert_agree: functions must be of different frameworks, "
            f"got {', '.join(found)}; if that is wrong, {say}"
        )
    return found


def _framework(function: Any) -> set[str]:
    """The frameworks that a function may belong to; one if that is clear."""
    numpy: set[str] = set()
    seen: dict[int, Any] = {}  # holds what it has seen, lest an id be given again
    level = [function]
    while level:  # what it is, then what it refers to, then what that refers to
        found = {name for value in level for name in _signs(value)}
        if found - {"numpy"}:
            return found - {"numpy"}
        numpy |= found
        seen |= {id(value): value for value in level}
        level = [v for value in level for v in _references(value) if id(v) not in seen]
    if numpy:
        return numpy
    code = inspect.unwrap(function.func if isinstance(function, functools.partial) else function)
    values = getattr(code, "__globals__", {}).values()
    return {name for value in values if isinstance(value, ModuleType) for name in _signs(value)}


def _signs(value: Any) -> set[str]:
    """The frameworks of which this very object is a part."""
    if isinstance(value, ModuleType):
        modules = [value.__name__]
    elif hasattr(value, "__globals__"):  # wraps() overwrites __module__, nothing overwrites these
        modules = [str(value.__globals__.get("__name__"))]
    else:
        types = [value, getattr(value, "__objclass__", None), *type(value).__mro__]
        modules = [str(getattr(owner, "__module__", None)) for owner in types]
        if isinstance(value, type):
            modules += [owner.__module__ for owner in value.__mro__]
    roots = {name.partition(".")[0] for name in modules}
    return {PACKAGES[root] for root in roots if root in PACKAGES}


def _references(value: Any) -> Iterator[Any]:
    """What an object refers to: a function's globals and closure, a container's entries."""
    if isinstance(value, Mapping | list | tuple):
        yield from value.values() if isinstance(value, Mapping) else value
    elif isinstance(value, functools.partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, ModuleType):  # one of the user's own: what it imports
        yield from (v for v in vars(value).values() if _is_framework(v))
    elif inspect.ismethod(value):
        yield from (value.__func__, value.__self__)
    elif inspect.isfunction(value):
        cells = value.__closure__ or ()
        with contextlib.suppress(ValueError):  # a cell that is not filled yet
            yield from [cell.cell_contents for cell in cells]
        for name in _global_names(value.__code__):
            if name in value.__globals__:
                yield value.__globals__[name]
            elif name in PACKAGES:  # imported inside the function
                yield ModuleType(name)
        yield from (v for v in (getattr(value, "__wrapped__", None),) if v is not None)
    elif not isinstance(value, type):  # perhaps an instance that is called
        yield from (getattr(type(value), "__call__", None), getattr(value, "__dict__", {}))  # noqa: B004


def _is_framework(value: Any) -> bool:
    return isinstance(value, ModuleType) and value.__name__.partition(".")[0] in PACKAGES


def _global_names(code: CodeType) -> Iterator[str]:
    """The global names that code loads and the packages that it imports, nested code included."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME", "IMPORT_NAME"):
            yield str(instruction.argval).partition(".")[0]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _global_names(constant)


def _title(function: Any) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)
