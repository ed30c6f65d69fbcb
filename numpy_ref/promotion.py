"""Promotion: what dtype comes out where two meet.

NumPy: the dtype is the smallest that holds every number of both, so integers of 32 bits and float32
make float64. The rank does not matter: a NumPy scalar is as strong as an array. A Python number has
a kind, and no size.

Operands are given as the names of their dtypes, results as a name.
"""

from collections.abc import Callable, Iterable
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from numpy_ref import checked

DType = Literal[
    "bool",
    "uint8",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
]
NumPyDType = Literal[
    "bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"
]
Number = Literal["bool", "int", "float"]
Operation = Literal[
    "arrays", "quotient", "with_rank_0", "with_python", "with_numpy", "with_wrapped"
]
NUMBERS = {"bool": True, "int": 1, "float": 1.0}


def dtypes() -> tuple[str, ...]:
    """Those of DType that exist here.

    Every one but bfloat16, which needs the package ml_dtypes.
    """
    return tuple(dtype for dtype in get_args(DType) if dtype != "bfloat16")


@checked
def arrays(left: DType, right: DType) -> str:
    """a + b of two arrays.

    Integers and floats meet in a float that holds every integer exactly, as far as there is one:
    int16 and float16 in float32, int32 and float32 in float64.

    Source: NumPy's user guide, data type promotion.
    """
    return (_ones(left, 2) + _ones(right, 2)).dtype.name


@checked
def quotient(left: DType, right: DType) -> str:
    """a / b of two arrays.

    Two integers, or truth values, make float64.
    """
    return (_ones(left, 2) / _ones(right, 2)).dtype.name


@checked
def with_rank_0(array: DType, scalar: DType) -> str:
    """a + s of an array and an array of rank 0.

    As of two arrays.
    """
    return (_ones(array, 2) + _ones(scalar)).dtype.name


@checked
def with_python(array: DType, number: Number) -> str:
    """a + s of an array and a Python number.

    The array's own dtype, unless the number is of a higher kind (bool, int, float): then int64 or
    float64. An integer that does not fit is an OverflowError.

    Source: NEP 50.
    """
    return (_ones(array, 2) + NUMBERS[number]).dtype.name


@checked
def with_numpy(array: DType, scalar: NumPyDType) -> str:
    """a + s of an array and a NumPy scalar, such as np.float64(1).

    As of two arrays, since NumPy 2.

    Source: NEP 50.
    """
    return (_ones(array, 2) + np.dtype(scalar).type(1)).dtype.name


@checked
def with_wrapped(array: DType, number: Number) -> str:
    """a + s of an array and a Python number of which an array of rank 0 was made first.

    It has become float64 or int64, as strong as any other.
    """
    return (_ones(array, 2) + np.asarray(NUMBERS[number])).dtype.name


@checked
def in_place(left: DType, right: DType) -> str:
    """a += b: the dtype of a afterwards.

    The memory stays, so the dtype does.

    Raises:
        TypeError: b is of a higher kind, and nothing of a kind is cast to a lower one.
    """
    a = _ones(left, 2)
    a += _ones(right, 2)
    return a.dtype.name


@checked
def total(dtype: DType) -> str:
    """The sum of an array.

    Integers are added up in int64, those without a sign in uint64; a float stays.
    """
    return _ones(dtype, 2).sum().dtype.name


@checked
def table(operation: Operation) -> dict[str, dict[str, str]]:
    """Every pair: the left operand, the right one, and what comes out.

    Args:
        operation: the function that says so.
    """
    functions: dict[str, tuple[Callable[..., str], Iterable[str]]] = {
        "arrays": (arrays, dtypes()),
        "quotient": (quotient, dtypes()),
        "with_rank_0": (with_rank_0, dtypes()),
        "with_python": (with_python, NUMBERS),
        "with_numpy": (with_numpy, get_args(NumPyDType)),
        "with_wrapped": (with_wrapped, NUMBERS),
    }
    function, others = functions[operation]
    return {left: {right: function(left, right) for right in others} for left in dtypes()}


@checked
def scale(x: Float[Array, "*shape"], factor: float) -> Float[Array, "*shape"]:
    """x times a number, in the dtype of x: what a learning rate should do.

    Args:
        factor: any real number; `@checked` makes a Python float of a NumPy scalar.
    """
    return x * factor


def _ones(dtype: str, *shape: int) -> Array:
    if dtype == "bfloat16":
        raise ValueError("promotion: NumPy has no bfloat16; the package ml_dtypes adds one")
    return np.ones(shape, dtype)


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
