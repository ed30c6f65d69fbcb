"""Measures of agreement: how far apart are two arrays, in which unit, and where.

Three units, from strict to lenient:

- "ulp": units in the last place, element by element: how many floating-point numbers lie between
  the two. 0 means equal bits, but for the sign of a zero.
- "eps": normwise, max|a - b| / max|b| in multiples of the dtype's machine epsilon. The right unit
  for a sum in another order: entries near zero may differ in every digit while the array agrees.
- "absolute": max|a - b|, in the quantity's own unit.

Every measure raises `DisagreementError` where there is nothing to measure: other shapes, dtypes,
NaN. Reference b comes second.
"""

from typing import Any, Literal, NamedTuple

import numpy as np

Unit = Literal["ulp", "eps", "absolute"]


class DisagreementError(AssertionError):
    """Two arrays are not the same, or not close enough; the message says where."""

    report: Any = None
    """Everything that was compared, where `triptych.assert_agree` raised it."""


class Distance(NamedTuple):
    """The largest distance, and the index of the element that has it."""

    value: float
    where: tuple[int, ...]


class Row(NamedTuple):
    """How far one column is from another in one quantity: a line of the agreement table."""

    concept: str
    quantity: str
    dtype: str
    device: str
    pair: str
    distance: float
    unit: str
    bound: float
    holds: bool
    note: str
    """Where they differ most, or why there is no distance."""


def distance(name: str, a: np.ndarray, b: np.ndarray, unit: Unit) -> Distance:
    """The largest distance between two arrays of one shape and one dtype.

    Args:
        name: what the arrays are, for the message.
        a: an array.
        b: the reference.
        unit: "ulp", "eps" (normwise) or "absolute"; integers and truth values are counted as they
            are.

    Returns:
        The distance in that unit, and where it is.

    Raises:
        DisagreementError: the shapes or the dtypes differ, or there is a NaN.
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        raise DisagreementError(f"{name}: shape {a.shape} is not {b.shape}")
    if a.dtype != b.dtype:
        raise DisagreementError(f"{name}: dtype {a.dtype} is not {b.dtype}")
    if a.size == 0:
        raise DisagreementError(f"{name}: there is nothing to compare, the shape is {a.shape}")
    for array in (a, b):
        if a.dtype.kind == "f" and np.isnan(array).any():
            where = tuple(map(int, np.argwhere(np.isnan(array))[0]))
            raise DisagreementError(f"{name}: NaN at {where}: {a[where]} against {b[where]}")
    if a.dtype.kind != "f":
        apart = np.abs(a.astype(object) - b.astype(object)).astype(float)
    elif unit == "ulp":
        apart = _ulps(a, b)
    else:
        with np.errstate(invalid="ignore", over="ignore"):
            apart = np.where(a == b, 0, np.abs(a - b)).astype(float)
    index = tuple(map(int, np.unravel_index(np.argmax(apart), a.shape)))
    value = float(apart[index])
    if unit == "eps" and a.dtype.kind == "f" and value > 0:
        # an infinity that both have is equal; it is no scale for the others
        scale = float(np.max(np.abs(b), where=np.isfinite(b), initial=0))
        value = value / (scale * float(np.finfo(b.dtype).eps)) if scale > 0 else np.inf
    return Distance(value, index)


def assert_within(name: str, a: np.ndarray, b: np.ndarray, bound: float, unit: Unit) -> float:
    """Raise unless two arrays agree to a bound; return how far apart they are.

    Args:
        name: what the arrays are, for the message.
        a: an array.
        b: the reference.
        bound: the largest distance allowed; 0 asks for equal values.
        unit: "ulp", "eps" (normwise) or "absolute".

    Returns:
        The distance.

    Raises:
        DisagreementError: a is further from b than the bound, or cannot be compared with it.
    """
    value, index = distance(name, a, b, unit)
    if not value <= bound:
        a, b = np.asarray(a), np.asarray(b)
        raise DisagreementError(
            f"{name}: {value:.3g} {unit} apart, allowed {bound:.3g}; "
            f"at {index}: {a[index]!r} against {b[index]!r}"
        )
    return value


def _ulps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    # read as integers, floats of one sign are in order; mirror the negative ones below zero
    def ordered(x: np.ndarray) -> np.ndarray:
        bits = x.view(f"i{x.itemsize}").astype(object)
        return np.where(bits < 0, -(bits + (1 << (8 * x.itemsize - 1))), bits)

    return (
        np.abs(ordered(np.atleast_1d(a)) - ordered(np.atleast_1d(b))).astype(float).reshape(a.shape)
    )
