"""A JAX function as the list of its operations, run one by one: what taps and float64 need."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from triptych.port.values import WIDE, is_float

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


class Step(NamedTuple):
    """One operation of a program, and where its values lie."""

    equation: Any
    """None for what unrolling a loop adds: slices and stacks."""
    run: Callable[..., list[Any]] | None
    ins: tuple[int, ...]
    outs: tuple[int, ...]
    scope: str
    line: str


class Program(NamedTuple):
    """A jaxpr as one list of steps: calls are inlined, short loops unrolled if asked for."""

    steps: list[Step]
    constants: dict[int, Any]
    arguments: list[int]
    results: list[int]


def program(closed: Any, unroll: int = 0) -> Program:
    """The steps of a jaxpr.

    Args:
        closed: of `trace`.
        unroll: a `scan` of at most so many steps is taken apart as well.
    """
    found = Program([], {}, [], [])
    count = iter(range(2**62))

    def constant(value: Any) -> int:
        slot = next(count)
        found.constants[slot] = value
        return slot

    def step(equation: Any, run: Any, ins: Sequence[int], made: int, at: tuple[str, str]) -> Any:
        outs = tuple(next(count) for _ in range(made))
        found.steps.append(Step(equation, run, tuple(ins), outs, *at))
        return list(outs)

    def enter(
        jaxpr: Any, consts: Sequence[Any], given: Sequence[int], at: tuple[str, str]
    ) -> list[int]:
        known = dict(zip(jaxpr.constvars, map(constant, consts), strict=True))
        known.update(zip(jaxpr.invars, given, strict=True))

        def slot(atom: Any) -> int:
            return constant(atom.val) if hasattr(atom, "val") else int(known[atom])

        for equation in jaxpr.eqns:
            ins = [slot(atom) for atom in equation.invars]
            here = place(equation)
            at_here = "/".join(filter(None, (at[0], here.scope))), here.line or at[1]
            inner = equation.params.get(INLINED.get(str(equation.primitive), ""))
            if inner is not None:
                body, held = getattr(inner, "jaxpr", inner), getattr(inner, "consts", ())
                outs = enter(body, held, ins, at_here)
            elif str(equation.primitive) == "scan" and equation.params["length"] <= unroll:
                outs = scan(equation.params, ins, at_here)
            else:
                outs = step(equation, None, ins, len(equation.outvars), at_here)
            known.update(zip(equation.outvars, outs, strict=True))
        return [slot(atom) for atom in jaxpr.outvars]

    def scan(params: dict[str, Any], ins: Sequence[int], at: tuple[str, str]) -> list[int]:
        body, consts, carried = params["jaxpr"], params["num_consts"], params["num_carry"]
        carry, stacked = list(ins[consts : consts + carried]), ins[consts + carried :]
        order = range(params["length"])[:: -1 if params["reverse"] else 1]
        rows: dict[int, list[int]] = {}
        for i in order:
            parts = step(None, lambda *x, i=i: [v[i] for v in x], stacked, len(stacked), at)
            outs = enter(body.jaxpr, body.consts, [*ins[:consts], *carry, *parts], at)
            carry, rows[i] = outs[:carried], outs[carried:]
        columns = zip(*(rows[i] for i in sorted(rows)), strict=True)
        return [*carry, *(step(None, _stack, slots, 1, at)[0] for slots in columns)]

    found.arguments.extend(next(count) for _ in closed.jaxpr.invars)
    found.results.extend(enter(closed.jaxpr, closed.consts, found.arguments, ("", "")))
    return found._replace(steps=_used(found))


def _used(found: Program) -> list[Step]:
    """The steps that the results depend on: no weights that are drawn and then replaced."""
    wanted, kept = set(found.results), []
    for step in reversed(found.steps):
        if not wanted.isdisjoint(step.outs) or getattr(step.equation, "effects", None):
            wanted.update(step.ins)
            kept.append(step)
    return kept[::-1]


def _stack(*rows: Any) -> list[Any]:
    return [importlib.import_module("jax.numpy").stack(rows)]


def narrow_parts(found: Program) -> Iterator[tuple[Place, str, bool]]:
    """The operations of a program in float64 that make fewer digits, and the dtype they make.

    The last part says whether `evaluate` cannot make them float64: those of inner programs (loops,
    branches, custom derivatives), and those that make fewer digits than float32.
    """
    for equation in (step.equation for step in found.steps if step.equation is not None):
        inner = [e for program in _inner(equation.params) for e in equations(program)]
        for one in inner or [equation]:
            dtypes = [str(getattr(out.aval, "dtype", "")) for out in one.outvars]
            dtype = next((d for d in dtypes if WIDE.get(d, d) != d), None)
            if dtype:
                yield place(one), dtype, bool(inner) or dtype not in ("float32", "complex64")


def evaluate(
    found: Program,
    arguments: Sequence[Any],
    *,
    visit: Callable[[int, Any], Any] = lambda _, value: value,
    widened: Sequence[str] = (),
) -> list[Any]:
    """Run the steps in order.

    Args:
        found: the program.
        arguments: the leaves of its argument.
        visit: is given each slot and its value; what it returns takes its place.
        widened: the dtypes that are to be float64 wherever the program says them.
    """
    values = dict(found.constants)
    if "float32" in widened:
        values = {slot: _restored(value) for slot, value in values.items()}
    values.update(zip(found.arguments, arguments, strict=True))
    for step in found.steps:
        given = [values[slot] for slot in step.ins]
        if step.equation is None:
            assert step.run is not None
            made = step.run(*given)
        else:
            made = _bind(step.equation, given, frozenset(widened))
        for slot, value in zip(step.outs, made, strict=True):
            values[slot] = visit(slot, value)
    return [values[slot] for slot in found.results]


def _restored(value: Any) -> Any:
    """A constant as it was before a cast to float32 rounded it: the plainest number that rounds so.

    It differs by less than a rounding of the constant, so no other mistake can hide in it.
    """
    if _dtype(value) != "float32" or getattr(value, "size", 0) != 1:
        return value
    single = np.float32(np.asarray(value).reshape(()))
    number = float(single)
    if not np.isfinite(single) or number == round(number):
        return value
    sign, size = (-1.0, -number) if number < 0 else (1.0, number)
    for q in range(1, 1025):  # fractions, and roots of fractions: sqrt(1/2), 1 / sqrt(d)
        for plain in (round(size * q) / q, (round(size**2 * q) / q) ** 0.5):
            if plain and np.float32(sign * plain) == single:
                return np.full(np.shape(value), sign * plain)
    for power in (2 / np.pi, np.pi, 2 * np.pi, 1 / (2 * np.pi)):
        if np.float32(sign * power**0.5) == single:
            return np.full(np.shape(value), sign * power**0.5)
    return np.full(np.shape(value), float(str(single)))


def _bind(equation: Any, values: list[Any], widened: frozenset[str]) -> list[Any]:
    params = dict(equation.params)
    if widened:
        name = str(equation.primitive)
        inner = next(_inner(params), None) is not None or "custom" in name
        # random numbers are bits that are taken for a float32: they would be others in float64
        bits = name == "bitcast_convert_type" and not is_float(values[0])
        if not inner and not bits:
            params = {key: _widen_dtype(value, widened) for key, value in params.items()}
            values = [_widen(value, widened) for value in values]
        else:  # an inner program has its own dtypes
            values = [
                value if _dtype(value) == str(atom.aval.dtype) else value.astype(atom.aval.dtype)
                for value, atom in zip(values, equation.invars, strict=True)
            ]
    params = equation.primitive.get_bind_params(params)
    found = equation.primitive.bind(*values, **params)
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
