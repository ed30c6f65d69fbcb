"""Does a port compute what the original computes: values, gradients, state.

`assert_agree` hands the same numbers to functions of different frameworks and compares what they
return, by automatic differentiation how it depends on what they were given, and the state that
they leave. A framework is imported when one of its functions is to be called, and not before.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from triptych.port.arguments import Functions, call_of, check_number, functions_of
from triptych.port.comparison import Comparison
from triptych.port.intermediates import modules
from triptych.port.report import Report
from triptych.port.sides import Call, Side, is_module
from triptych.port.verdict import Entry
from triptych.port.weights import compare_weights, leaves


def assert_agree(*arguments: Any, **options: Any) -> dict[str, float]:
    """Raise unless functions of different frameworks compute the same.

    Takes what `compare` takes.

    Returns:
        How far apart they are, in eps, by what was compared: "output", "gradient by x",
        "gradient by params['fc1.weight']".

    Raises:
        DisagreementError: they disagree, or whether they do cannot be told; its `report` is that
            of `compare`.
    """
    report = compare(*arguments, **options)
    report.raise_if_apart()
    return report.distances


def compare(
    *arguments: Any,
    torch: Functions = None,
    jax: Functions = None,
    numpy: Functions = None,
    kwargs: Mapping[str, Any] | None = None,
    fixed: Sequence[str | int] | str = (),
    ignore: Sequence[str | int] | str = (),
    bound: float | None = None,
    absolute: float = 0,
    gradients: bool = True,
    float64: bool = True,
    state: bool | None = None,
    taps: Mapping[str, str] | Sequence[str] | bool = False,
    weights: Any = None,
    numpy_argnums: int | tuple[int, ...] | None = None,
) -> Report:
    """What parts functions of different frameworks: nothing, rounding, or a mistake.

    Every function is called with the same arguments, as arrays of its framework, on the CPU. A
    `torch.nn.Module` takes its parameters and buffers as first argument, a dict with the names of
    its `state_dict`, as a JAX function does; without that dict it is called as it is, its weights
    held fixed.

    Compared are the outputs, by structure, shape, dtype and value, and the gradients by every
    floating-point argument. Where the output is one number, that is its gradient. Otherwise each
    output gets a cotangent, drawn once and given to every framework (a vector-Jacobian product).
    What an output does not depend on has gradient 0, where PyTorch says None as well. A gradient
    by a complex number is PyTorch's, the conjugate of JAX's. Parameters that are frozen, buffers
    and whole numbers have none; tied weights have one, the sum over their names. The buffers that
    a module leaves are compared with those that a JAX function returns as (output, state).

    Both are run again in float64, where rounding shrinks and a mistake stays
    (`triptych.port.verdict` says how that is judged). Whole numbers and truth values must be
    equal; the width of an integer may differ, since JAX has narrower ones. NaN and infinities
    agree with their like.

    Nothing given is changed: every call gets copies, no `.grad` is filled, no mode is switched
    (call `eval()` on a module with dropout).

    Args:
        arguments: arrays of any framework, or nested dicts, lists, tuples, dataclasses, Equinox
            modules, Flax variables of them. What is no array is handed on as it is.
        torch: the PyTorch function or module; several of one framework as a list, or as a dict
            that names them.
        jax: the JAX function or functions.
        numpy: the NumPy function or functions. NumPy has no derivative: it is compared by value,
            unless it returns its own gradients and `numpy_argnums` says so.
        kwargs: keyword arguments, the same for every function.
        fixed: what is not differentiated by: names or positions of arguments, or names of entries
            such as "params['mask']".
        ignore: outputs that are left out: positions, keys, or names such as "output[1]".
        bound: a number of eps that decides in place of float64: max|a - b| / max|b|.
        absolute: a difference up to this counts as none.
        gradients: whether to compare gradients.
        float64: whether to run again in float64. Without it 16 eps are allowed, and what is
            beyond cannot be told.
        state: whether JAX and NumPy functions return (output, state); None looks whether the second
            of two has the names of the module's buffers, or Flax's "batch_stats".
        taps: the layers to compare one by one, to see where it begins (`triptych.port.taps`): True
            for all, a list of the original's names, or a dict from them to the port's. The first
            port is held against the original.
        weights: the port's own parameters, nested as it has them (Flax variables, an Equinox
            module): they are held against the original's first, key by key.
        numpy_argnums: the NumPy functions return (value, gradients) as
            `jax.value_and_grad(f, argnums)` does, by the arguments with these numbers.

    Returns:
        The report: print it, or read its entries.

    Raises:
        TypeError: something is no function, or no output that can be compared.
        ValueError: fewer than two functions, or a name that does not exist.
    """
    check_number("absolute", absolute)
    if bound is not None:
        check_number("bound", bound)
    sides = functions_of(arguments, torch, jax, numpy)
    call = call_of(sides, arguments, dict(kwargs or {}), fixed, gradients, state, numpy_argnums)
    call = call._replace(taps=_tap_names(sides, taps))
    comparison = Comparison(sides, call, ignore, bound, absolute, gradients)
    report = comparison.report(float64 and bound is None, taps)
    return report if weights is None else _weighed(report, sides, call, weights)


def _weighed(report: Report, sides: list[Side], call: Call, given: Any) -> Report:
    """The report with the weights before all else."""
    original: Any = call.arguments[0] if call.arguments else {}
    first = sides[0].function
    if is_module(first):
        original = first.state_dict()
    rows = compare_weights(leaves(original), leaves(given))
    pair = (sides[1].label, sides[0].label)
    wrong = [
        Entry(f"weight {row.name or row.partner}", "mistake", pair, math.inf, None, None, row.words)
        for row in rows
        if not row.right
    ]
    return dataclasses.replace(report, weights=tuple(rows), entries=(*wrong, *report.entries))


def _tap_names(
    sides: list[Side], taps: Mapping[str, str] | Sequence[str] | bool
) -> tuple[str, ...]:
    if taps is True:
        return tuple(modules(sides[0])) if sides[0].framework == "torch" else ()
    if isinstance(taps, Mapping):
        return (*taps.keys(), *taps.values())
    return (taps,) if isinstance(taps, str) else tuple(taps or ())
