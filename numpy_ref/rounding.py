"""Numbers of 24 bits in float64 arrays: arithmetic whose bits depend on nothing else.

NumPy: a cast to float32 and back rounds.

Between two operations every number has 24 bits, as in float32, but it stands in a float64 array.
An operation is computed in float64 and rounded back, and then nobody can tell how it was computed.
The quotient and the root of 24-bit numbers are never so near to the middle between two others
that an error in the last bit of float64 could move them across. The product of two is exact in
float64, so fusing it with an addition changes nothing. What is left is the order of a sum: its
numbers are first cut into whole numbers, which add up without an error.

x, a and b hold numbers of 24 bits, as `rounded` returns them; every result does too, or says so.
"""

from decimal import Decimal
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le
from jaxtyping import Float64
from numpy import ndarray as Array

from numpy_ref import checked

BITS = 19
"""Of the whole numbers that a factor is cut into; a product of two has twice as many."""
TERMS = 2 ** (53 - 2 * BITS)
"""So many products add up without an error, since float64 holds whole numbers of 53 bits."""
SMALLEST = 2.0**-126
"""Float32's smallest number with all its bits."""

# exp(-i), exp(-j / 2^10), exp(-k / 2^20), log(2^i), log(1 + j / 2^10): correctly rounded
EXP_WHOLE = np.array([float(Decimal(-i).exp()) for i in range(89)])
EXP_COARSE = np.array([float((Decimal(-j) / 2**10).exp()) for j in range(2**10)])
EXP_FINE = np.array([float((Decimal(-k) / 2**20).exp()) for k in range(2**10)])
LOG_POWER = np.array([float(Decimal(2**i).ln()) for i in range(128)])
LOG_COARSE = np.array([float((1 + Decimal(j) / 2**10).ln()) for j in range(2**10)])
THIRD = float(np.float32(1 / 3))


@checked
def rounded(x: Float64[Array, "*shape"]) -> Float64[Array, "*shape"]:
    """The nearest number of 24 bits, the even one of two; +0 where |x| < 2^-126.

    Args:
        x: any float64 numbers. Below 2^-126 float32's own numbers have fewer than 24 bits, and
            some processors take them for 0.

    Source: Figueroa, "When is double rounding innocuous?", 1995.
    """
    # by columns: sums and maxima over many rows then run along the memory
    narrow = np.array(x, np.float32, order="F")
    narrow[np.abs(x) < SMALLEST] = 0
    return narrow.astype(np.float64)


@checked
def unit(x: Float64[Array, "n k"], *, axis: Literal[0, 1]) -> Float64[Array, "..."]:
    """The power of two u for which the largest |x| / u along an axis is in [2^18, 2^19).

    A number divided by its fraction, in [1/2, 1), is a power of two; of zeros, 2^-125 is one.

    Args:
        x: the numbers that `split` shall cut.
        axis: along which one unit serves.

    Source: Demmel and Nguyen, "Parallel reproducible summation", 2015.
    """
    largest = np.maximum(np.abs(x).max(axis=axis, keepdims=True), SMALLEST)
    fraction, _ = np.frexp(largest)
    return largest / fraction / 2**BITS


@checked
def split(
    x: Float64[Array, "n k"], units: Float64[Array, "*any"]
) -> tuple[Float64[Array, "n k"], Float64[Array, "n k"]]:
    """x = (high + low / 2^19) units with whole numbers, to 2^-39 of the largest |x|.

    Args:
        x: the numbers to cut.
        units: of x, or of more numbers than these.

    Returns:
        high, at most 2^19, and low, at most 2^18.

    Source: as for `unit`.
    """
    scaled = x / units
    high = np.rint(scaled)
    low = np.rint((scaled - high) * 2**BITS)
    return high, low


@checked
def product(a: Float64[Array, "n k"], b: Float64[Array, "k m"]) -> Float64[Array, "n m"]:
    """a b, the same for every order of its sums: exact to 2^-37 of the largest terms, rounded once.

    Args:
        a: the left factor.
        b: the right factor; k is at most 2^15.

    Raises:
        ValueError: more terms, whose sum might not be exact.

    Source: Ozaki, Ogita, Oishi and Rump, "Error-free transformations of matrix multiplication",
    2012.
    """
    if a.shape[1] > TERMS:
        raise ValueError(f"a sum must have at most {TERMS} terms to be exact, got {a.shape[1]}")
    unit_a, unit_b = unit(a, axis=1), unit(b, axis=0)
    high_a, low_a = split(a, unit_a)
    high_b, low_b = split(b, unit_b)
    whole = high_a @ high_b
    parts = high_a @ low_b + low_a @ high_b
    return rounded((whole + parts / 2**BITS) * unit_a * unit_b)


@checked
def total(x: Float64[Array, "n k"]) -> Float64[Array, " k"]:
    """The sum over the rows, the same for every order of them, rounded once.

    Source: as for `unit`.
    """
    units = unit(x, axis=0)
    high, low = split(x, units)
    return rounded((high.sum(axis=0) + low.sum(axis=0) / 2**BITS) * units[0])


@checked
def exp(x: Annotated[Float64[Array, "*shape"], Le(0)]) -> Float64[Array, "*shape"]:
    """exp(x) = exp(-i) exp(-j / 2^10) exp(-k / 2^20) (1 - t + t^2 / 2), 0 <= t < 2^-20.

    Correctly rounded for each of the 271,502,542 float32 numbers where the result is not 1 or 0.

    Args:
        x: at most 0, as a logit beside the largest one.

    Source: Tang, "Table-driven implementation of the exponential function", 1989.
    """
    x = np.minimum(-x, 88.0)  # exp(-88) is below 2^-126
    whole = np.floor(x)
    x = (x - whole) * 2**10
    coarse = np.floor(x)
    x = (x - coarse) * 2**10
    fine = np.floor(x)
    t = (x - fine) / 2**20
    # t has at most 24 bits, so its square is exact
    rest = 1 + (t * t / 2 - t)
    i, j, k = whole.astype(int), coarse.astype(int), fine.astype(int)
    return rounded(EXP_WHOLE[i] * EXP_COARSE[j] * EXP_FINE[k] * rest)


@checked
def log(x: Annotated[Float64[Array, "*shape"], Ge(1)]) -> Float64[Array, "*shape"]:
    """log(x) = log(2^i) + log(c) + log(1 + q), c = 1 + j / 2^10, q = (x / 2^i - c) / c < 2^-10.

    Within 0.74 of a unit in the last place; not correctly rounded for 7 numbers of 100,000.

    Args:
        x: at least 1, as the sum of a softmax.

    Source: Tang, "Table-driven implementation of the logarithm function", 1990.
    """
    half, exponent = np.frexp(x)
    x = 2 * half
    coarse = np.floor((x - 1) * 2**10)
    c = 1 + coarse / 2**10
    q = rounded((x - c) / c)
    # log(1 + q) = q - q^2 (1/2 - q/3) to 2^-42
    rest = q - rounded(q * q) * rounded(0.5 - q * THIRD)
    i, j = exponent - 1, coarse.astype(int)
    return rounded(LOG_POWER[i] + (LOG_COARSE[j] + rest))


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
