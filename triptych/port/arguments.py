"""What a comparison is given: its functions and their arguments, checked and named."""

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from triptych.checks import kind
from triptych.port.sides import STATISTICS, Call, Side, argument_names, is_module, takes_params
from triptych.port.values import is_array, is_float, to_numpy, walk

Function = Callable[..., Any]
Functions = Function | Sequence[Function] | Mapping[str, Function] | None

FORM = "assert_agree(params, x, torch=model, jax=port)"


def functions_of(
    arguments: tuple[Any, ...], torch: Functions, jax: Functions, numpy: Functions
) -> list[Side]:
    """The functions; the first is the original."""
    sides: list[Side] = []
    for framework, given in (("torch", torch), ("jax", jax), ("numpy", numpy)):
        if given is None:
            continue
        named: list[tuple[str, Any]]
        if isinstance(given, Mapping):
            named = [(str(label), function) for label, function in given.items()]
        elif isinstance(given, list | tuple):
            many = len(given) > 1
            named = [(f"{framework} {i}" if many else framework, f) for i, f in enumerate(given, 1)]
        else:
            named = [(framework, given)]
        for label, function in named:
            if not callable(function):
                raise TypeError(
                    f"assert_agree: {framework} must be a function, got {kind(function)}"
                )
            sides.append(Side(label, framework, function))
    if not sides and any(callable(a) and not is_array(a) for a in arguments):
        raise TypeError(
            "assert_agree: functions are named by their framework, arguments come first: "
            f"{FORM}; before it was assert_agree(model, port, params, x)"
        )
    if len(sides) < 2:
        got = ", ".join(side.label for side in sides) or "none"
        raise ValueError(f"assert_agree: there must be 2 functions or more, got {got}: {FORM}")
    return sides


def call_of(
    sides: list[Side],
    arguments: tuple[Any, ...],
    kwargs: dict[str, Any],
    fixed: Sequence[str | int] | str = (),
    gradients: bool = False,
    state: bool | None = None,
    argnums: int | tuple[int, ...] | None = None,
) -> Call:
    """What every function is called with, and by what it is differentiated."""
    names = argument_names(sides, arguments)
    trees = [*zip(names, arguments, strict=True), *kwargs.items()]
    given = {
        name: to_numpy(leaf)
        for top, tree in trees
        for name, leaf in walk(tree, top)
        if is_array(leaf)
    }
    for name, array in given.items():
        if array.dtype.kind not in "biufcV" or (array.dtype.kind in "fcV" and not is_float(array)):
            raise TypeError(
                f"assert_agree: {name} must hold floating-point or complex numbers of 64 bits a "
                f"part at most, integers or truth values, got dtype {array.dtype}"
            )
    held = _held(sides, arguments, names, given, fixed)
    if argnums is not None:
        _check_argnums(argnums, sides, len(arguments))
    buffers: tuple[str, ...] = ()
    for side in sides:
        if is_module(side.function):
            buffers += tuple(name for name, _ in side.function.named_buffers())
    by = tuple(name for name in given if is_float(given[name]) and name not in held)
    return Call(names, arguments, kwargs, given, by if gradients else (), argnums, state, buffers)


def _held(
    sides: list[Side],
    arguments: tuple[Any, ...],
    names: tuple[str, ...],
    given: dict[str, np.ndarray],
    fixed: Sequence[str | int] | str,
) -> set[str]:
    """The names of the arrays that are not differentiated by."""
    held = {name for name in given if name.rstrip("]'\"").endswith(STATISTICS)}
    for side in sides:
        if takes_params(side.function, arguments):
            frozen = [n for n, p in side.function.named_parameters() if not p.requires_grad]
            buffers = [n for n, _ in side.function.named_buffers()]
            held |= {f"{names[0]}[{key!r}]" for key in (*frozen, *buffers)}
    for entry in (fixed,) if isinstance(fixed, str | int) else fixed:
        if isinstance(entry, int) and not 0 <= entry < len(names):
            raise ValueError(f"assert_agree: fixed must lie in 0 .. {len(names) - 1}, got {entry}")
        prefix = names[entry] if isinstance(entry, int) else entry
        found = {
            name
            for name in given
            if name == prefix or name.startswith((f"{prefix}[", f"{prefix}."))
        }
        if not found:
            raise ValueError(
                f"assert_agree: fixed must name an argument, one of {', '.join(given)}, "
                f"got {entry!r}"
            )
        held |= found
    return held


def ignored_names(ignore: Sequence[str | int] | str) -> list[str]:
    """The names of the outputs that are left out."""
    entries = (ignore,) if isinstance(ignore, str | int) else ignore
    return [
        entry if isinstance(entry, str) and entry.startswith("output") else f"output[{entry!r}]"
        for entry in entries
    ]


def check_number(name: str, value: Any) -> None:
    """Refuse a `bound` or `absolute` that is no number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"assert_agree: {name} must be a number, got {kind(value)}")
    if not 0 <= float(value) < math.inf:
        raise ValueError(f"assert_agree: {name} must be finite and at least 0, got {value}")


def _check_argnums(argnums: Any, sides: list[Side], count: int) -> None:
    numbers = argnums if isinstance(argnums, tuple) else (argnums,)
    if not all(isinstance(n, int) and not isinstance(n, bool) for n in numbers):
        raise TypeError(
            f"assert_agree: numpy_argnums must be an int or a tuple of ints, got {argnums!r}"
        )
    if not numbers or not all(0 <= n < count for n in numbers):
        raise ValueError(
            f"assert_agree: numpy_argnums must lie in 0 .. {count - 1}, got {argnums!r}"
        )
    if all(side.framework != "numpy" for side in sides):
        raise ValueError("assert_agree: numpy_argnums must come with a NumPy function, got none")
