"""A JAX function as the list of its operations, run one by one: what taps and float64 need."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from triptych.port.values import WIDE

INLINED = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr"}
INLINED |= {"checkpoint": "jaxpr", "remat": "jaxpr", "remat2": "jaxpr"}
"""Calls that are walked into, and the parameter that holds their operations."""

LIBRARIES = ("/jax/", "/jaxlib/", "/flax/", "/equinox/", "/optax/", "/site-packages/", "<frozen")


class Place(NamedTuple):
    """An operation, for a reader."""

    operation: str
    scope: str
    """The names of `jax.named_scope` around it: Flax's modules name themselves."""
    line: str
    """The line of the user's code, "model.py:17"; "" if not known."""

    def __str__(self) -> str:
        return " at ".join(filter(None, (self.operation, self.line)))


def trace(function: Callable[..., Any], arguments: Any) -> tuple[Any, Any]:
    """The operations of a function of one nested argument, and the structure that it returns."""
    jax: Any = importlib.import_module("jax")
    shape: list[Any] = []

    def flat(given: Any) -> list[Any]:
        leaves, tree = jax.tree_util.tree_flatten(function(given))
        shape.append(tree)
        return leaves

    return jax.make_jaxpr(flat)(arguments), shape[-1]


def place(equation: Any) -> Place:
    """Where an operation stands in the user's code."""
    name = str(equation.primitive)
    if name == "name":
        name = f"checkpoint_name {equation.params['name']!r}"
    elif name in ("custom_jvp_call", "custom_vjp_call", *INLINED):
        name = str(equation.params.get("name") or name)
    return Place(name, str(equation.source_info.name_stack), _line(equation))


def _line(equation: Any) -> str:
    traceback = equation.source_info.traceback
    frames = getattr(traceback, "frames", ()) if traceback else ()
    for frame in frames:
        file = frame.file_name
        if not any(part in file for part in LIBRARIES) and "/triptych/port/" not in file:
            return f"{file.rpartition('/')[2]}:{frame.line_num}"
    return ""


def equations(jaxpr: Any) -> Iterator[Any]:
    """Every operation, those of inner programs (loops, branches, calls) included."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in _inner(equation.params):
            yield from equations(inner)


def _inner(params: dict[str, Any]) -> Iterator[Any]:
    for value in params.values():
        for entry in value if isinstance(value, list | tuple) else (value,):
            if hasattr(entry, "eqns"):
                yield entry
            elif hasattr(entry, "jaxpr"):
                yield entry.jaxpr


def narrow_parts(jaxpr: Any) -> Iterator[tuple[Place, str]]:
    """The operations of a program in float64 that make fewer digits, and the dtype they make."""
    for equation in equations(jaxpr):
        for out in equation.outvars:
            dtype = str(getattr(out.aval, "dtype", ""))
            if dtype in WIDE and WIDE[dtype] != dtype:
                yield place(equation), dtype
                break


def evaluate(
    closed: Any,
    arguments: Sequence[Any],
    *,
    visit: Callable[[Any, Any], Any] = lambda _, value: value,
    widened: Sequence[str] = (),
) -> list[Any]:
    """Run the operations in order.

    Args:
        closed: the program, of `trace`.
        arguments: the leaves of its argument.
        visit: is given each operation and each of its values; what it returns takes its place.
        widened: the dtypes that are to be float64 wherever the program says them.
    """
    return _run(closed.jaxpr, closed.consts, arguments, visit, frozenset(widened))


def _run(
    jaxpr: Any, consts: Sequence[Any], arguments: Sequence[Any], visit: Any, widened: frozenset[str]
) -> list[Any]:
    known: dict[Any, Any] = {}

    def read(atom: Any) -> Any:
        return atom.val if hasattr(atom, "val") else known[atom]

    known.update(zip(jaxpr.constvars, consts, strict=True))
    known.update(zip(jaxpr.invars, arguments, strict=True))
    for equation in jaxpr.eqns:
        values = [read(atom) for atom in equation.invars]
        inner = equation.params.get(INLINED.get(str(equation.primitive), ""))
        if inner is not None:
            consts = getattr(inner, "consts", ())
            results = _run(getattr(inner, "jaxpr", inner), consts, values, visit, widened)
        else:
            results = _bind(equation, values, widened)
            results = [visit(equation, value) for value in results]
        known.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _bind(equation: Any, values: list[Any], widened: frozenset[str]) -> list[Any]:
    params = dict(equation.params)
    if widened:
        leaf = next(_inner(params), None) is None and "custom" not in str(equation.primitive)
        if leaf:
            params = {key: _widen_dtype(value, widened) for key, value in params.items()}
            values = [_widen(value, widened) for value in values]
        else:  # an inner program has its own dtypes
            values = [
                value if _dtype(value) == str(atom.aval.dtype) else value.astype(atom.aval.dtype)
                for value, atom in zip(values, equation.invars, strict=True)
            ]
    functions, params = equation.primitive.get_bind_params(params)
    found = equation.primitive.bind(*functions, *values, **params)
    return list(found) if equation.primitive.multiple_results else [found]


def _dtype(value: Any) -> str:
    return str(value.dtype) if hasattr(value, "dtype") else ""


def _widen(value: Any, widened: frozenset[str]) -> Any:
    name = _dtype(value)
    return value.astype(WIDE[name]) if name in widened else value


def _widen_dtype(value: Any, widened: frozenset[str]) -> Any:
    if isinstance(value, np.dtype) and value.name in widened:
        return np.dtype(WIDE[value.name])
    return value
