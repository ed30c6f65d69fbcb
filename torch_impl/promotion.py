"""Promotion: what dtype comes out where two meet.

PyTorch: floats beat integers, integers beat truth values, and a size counts within a kind only, so
integers of any size and float16 make float16. A tensor of rank 0, a Python number or a NumPy scalar
counts only where it is of a higher kind.

Operands are given as the names of their dtypes, results as a name.
"""

from collections.abc import Callable, Iterable
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor as Array

from torch_impl import checked

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

    Every one.
    """
    return get_args(DType)


@checked
def arrays(left: DType, right: DType) -> str:
    """a + b of two arrays.

    Integers take the dtype of the float, however small: 70000 in float16 is infinite.

    Source: PyTorch's documentation, tensor attributes.
    """
    return _name(_ones(left, 2) + _ones(right, 2))


@checked
def quotient(left: DType, right: DType) -> str:
    """a / b of two arrays.

    Two integers, or truth values, make float32, the default float.
    """
    return _name(_ones(left, 2) / _ones(right, 2))


@checked
def with_rank_0(array: DType, scalar: DType) -> str:
    """a + s of an array and an array of rank 0.

    The array's own dtype, unless the other is of a higher kind: float64 of rank 0 leaves float32.

    Source: PyTorch's documentation, tensor attributes.
    """
    return _name(_ones(array, 2) + _ones(scalar))


@checked
def with_python(array: DType, number: Number) -> str:
    """a + s of an array and a Python number.

    The array's own dtype, unless the number is of a higher kind (bool, int, float): then int64 or
    float32. An integer that does not fit wraps around, silently.

    Source: PyTorch's documentation, tensor attributes.
    """
    return _name(_ones(array, 2) + NUMBERS[number])


@checked
def with_numpy(array: DType, scalar: NumPyDType) -> str:
    """a + s of an array and a NumPy scalar, such as np.float64(1).

    As of the Python number of that kind; but np.bool counts as a float.
    """
    return _name(_ones(array, 2) + np.dtype(scalar).type(1))


@checked
def with_wrapped(array: DType, number: Number) -> str:
    """a + s of an array and a Python number of which an array of rank 0 was made first.

    As of the Python number: rank 0 takes no part within its kind.
    """
    return _name(_ones(array, 2) + torch.tensor(NUMBERS[number]))


@checked
def in_place(left: DType, right: DType) -> str:
    """a += b: the dtype of a afterwards.

    The memory stays, so the dtype does.

    Raises:
        RuntimeError: b is of a higher kind, and nothing of a kind is cast to a lower one.
    """
    a = _ones(left, 2)
    a += _ones(right, 2)
    return _name(a)


@checked
def total(dtype: DType) -> str:
    """The sum of an array.

    Integers and truth values are added up in int64; a float stays.
    """
    return _name(_ones(dtype, 2).sum())


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
    return torch.ones(shape, dtype=getattr(torch, dtype))


def _name(x: Array) -> str:
    return str(x.dtype).removeprefix("torch.")


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
