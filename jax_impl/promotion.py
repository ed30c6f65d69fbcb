"""Promotion: what dtype comes out where two meet.

JAX: dtypes form a lattice, in which two meet: integers of any size and float16 make float16. The
rank does not matter: a NumPy scalar is as strong as an array. A Python number is weak, and so is
the array that is made of one. `eval_shape` asks for a dtype and computes nothing.

Operands are given as the names of their dtypes, results as a name.
"""

import operator
from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jax_impl import _check_kept, checked

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

    Without x64, none of 64 bits.
    """
    return tuple(d for d in get_args(DType) if jax.dtypes.canonicalize_dtype(d) == d)


@checked
def arrays(left: DType, right: DType) -> str:
    """a + b of two arrays.

    Integers take the dtype of the float, however small: 70000 in float16 is infinite.

    Source: JAX's documentation, type promotion semantics.
    """
    return _result(operator.add, _array(left, 2), _array(right, 2))


@checked
def quotient(left: DType, right: DType) -> str:
    """a / b of two arrays.

    Two integers, or truth values, make float32; with int64 among them float64.
    """
    return _result(operator.truediv, _array(left, 2), _array(right, 2))


@checked
def with_rank_0(array: DType, scalar: DType) -> str:
    """a + s of an array and an array of rank 0.

    As of two arrays.
    """
    return _result(operator.add, _array(array, 2), _array(scalar))


@checked
def with_python(array: DType, number: Number) -> str:
    """a + s of an array and a Python number.

    The array's own dtype, unless the number is of a higher kind (bool, int, float): then int32 or
    float32, with x64 int64 or float64. An integer that does not fit wraps around, silently.

    Source: JAX's documentation, type promotion semantics.
    """
    return _result(lambda a: a + NUMBERS[number], _array(array, 2))


@checked
def with_numpy(array: DType, scalar: NumPyDType) -> str:
    """a + s of an array and a NumPy scalar, such as np.float64(1).

    As of two arrays; without x64, np.float64 counts as float32, silently.
    """
    return _result(lambda a: a + np.dtype(scalar).type(1), _array(array, 2))


@checked
def with_wrapped(array: DType, number: Number) -> str:
    """a + s of an array and a Python number of which an array of rank 0 was made first.

    As of the Python number: what `jnp.asarray` makes of it has its `weak_type`.
    """
    return _result(operator.add, _array(array, 2), jnp.asarray(NUMBERS[number]))


@checked
def in_place(left: DType, right: DType) -> str:
    """a += b: the dtype of a afterwards.

    The name a gets a new array, of the dtype of the sum.
    """
    return _result(operator.iadd, _array(left, 2), _array(right, 2))


@checked
def total(dtype: DType) -> str:
    """The sum of an array.

    Integers are added up in int32, those without a sign in uint32, with x64 in 64 bits; a float
    stays.
    """
    return _result(jnp.sum, _array(dtype, 2))


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


def _array(dtype: str, *shape: int) -> jax.ShapeDtypeStruct:
    _check_kept("promotion: the operand", dtype)
    return jax.ShapeDtypeStruct(shape, dtype)


def _result(function: Callable[..., Array], *operands: Any) -> str:
    return jax.eval_shape(function, *operands).dtype.name


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
