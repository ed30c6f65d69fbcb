"""Metrics of a classifier: the confusion matrix, recall and precision of each class, calibration.

NumPy: `np.add.at` counts an index as often as it comes, where `matrix[t, said] += 1` would count it
once. 0 / 0 is NaN with a warning, so a quotient is taken only where there is something to divide.

p (n, classes) holds the probability of each class, a row for each sample, t (n,) what the class is.
"""

from typing import Annotated

import numpy as np
from annotated_types import Interval
from jaxtyping import Float, Int
from numpy import ndarray as Array

from numpy_ref import Below, Count, checked


@checked
def decide(p: Annotated[Float[Array, "n classes"], Interval(ge=0, le=1)]) -> Int[Array, " n"]:
    """The most probable class; the first of them at a tie.

    Source: document B.
    """
    return np.argmax(p, axis=1)


@checked
def confusion_matrix(
    p: Annotated[Float[Array, "n classes"], Interval(ge=0, le=1)],
    t: Below[Int[Array, " n"], " classes"],
) -> Int[Array, "classes classes"]:
    """How often class i was taken for class j: a row for what is, a column for what was said.

    Source: document C names metrics as what it leaves out.
    """
    matrix = np.zeros((p.shape[1], p.shape[1]), dtype=np.int64)
    np.add.at(matrix, (t, decide(p)), 1)
    return matrix


@checked
def recall(
    p: Annotated[Float[Array, "n classes"], Interval(ge=0, le=1)],
    t: Below[Int[Array, " n"], " classes"],
    *,
    zero_division: Annotated[float, Interval(ge=0, le=1)] | None,
) -> Float[Array, " classes"]:
    """Of the samples of a class, the share that was found: M_ii / sum_j M_ij.

    Args:
        zero_division: the recall of a class that no sample has; None leaves it NaN.

    Source: document C names metrics as what it leaves out.
    """
    matrix = confusion_matrix(p, t)
    return _quotient(np.diagonal(matrix), matrix.sum(axis=1), zero_division, p.dtype)


@checked
def precision(
    p: Annotated[Float[Array, "n classes"], Interval(ge=0, le=1)],
    t: Below[Int[Array, " n"], " classes"],
    *,
    zero_division: Annotated[float, Interval(ge=0, le=1)] | None,
) -> Float[Array, " classes"]:
    """Of the samples that were said to be of a class, the share that is: M_jj / sum_i M_ij.

    Args:
        zero_division: the precision of a class that was never said; None leaves it NaN.

    Source: document C names metrics as what it leaves out.
    """
    matrix = confusion_matrix(p, t)
    return _quotient(np.diagonal(matrix), matrix.sum(axis=0), zero_division, p.dtype)


@checked
def reliability(
    p: Annotated[Float[Array, "n classes"], Interval(ge=0, le=1)],
    t: Below[Int[Array, " n"], " classes"],
    *,
    bins: Count,
) -> dict[str, Array]:
    """In each bin of the largest probability: how many samples, its mean, the share that is right.

    Bin b holds what is above b / bins and at most (b + 1) / bins; the first one holds 0 too.

    Args:
        bins: how many, of equal width.

    Returns:
        "count", "confidence" and "accuracy", (bins,) each; NaN in an empty bin.

    Source: Niculescu-Mizil and Caruana, "Predicting good probabilities with supervised learning",
    2005.
    """
    count, confidence, right = _binned(p, t, bins)
    return {
        "count": count,
        "confidence": _quotient(confidence, count, None, p.dtype),
        "accuracy": _quotient(right, count, None, p.dtype),
    }


@checked
def calibration_error(
    p: Annotated[Float[Array, "n classes"], Interval(ge=0, le=1)],
    t: Below[Int[Array, " n"], " classes"],
    *,
    bins: Count,
) -> Float[Array, ""]:
    """sum_b n_b / n abs(accuracy_b - confidence_b): how far confidence is from truth.

    Source: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", 2017.
    """
    _, confidence, right = _binned(p, t, bins)
    return np.sum(np.abs(right - confidence)) / len(t)


def _quotient(part: Array, whole: Array, zero_division: float | None, dtype: np.dtype) -> Array:
    """part / whole, and what 0 / 0 is said to be."""
    undefined = np.full(whole.shape, np.nan if zero_division is None else zero_division, dtype)
    return np.divide(part, whole, out=undefined, where=whole > 0)


def _binned(p: Array, t: Array, bins: int) -> tuple[Array, Array, Array]:
    """Of each bin: how many samples, the sum of their largest probabilities, how many are right."""
    largest, hits = p.max(axis=1), decide(p) == t
    # one rounding for each edge, where linspace may take two
    edges = (np.arange(1, bins) / bins).astype(p.dtype)
    inside = np.searchsorted(edges, largest)
    count, confidence = np.zeros(bins, dtype=np.int64), np.zeros(bins, p.dtype)
    right = np.zeros(bins, p.dtype)
    np.add.at(count, inside, 1)
    np.add.at(confidence, inside, largest)
    np.add.at(right, inside, hits)
    return count, confidence, right


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
