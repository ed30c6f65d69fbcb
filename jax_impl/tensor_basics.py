"""The tensor itself: rank, shape, dtype, arithmetic, indexing, broadcasting, memory, devices.

JAX: arrays never change, so a slice is a new array and an update returns one; 64-bit dtypes exist
only with x64 on, and what JAX would cut silently is refused here.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, Num, Shaped

from jax_impl import Below, Count, Device, NestedNumbers, _check_kept, checked

DType = Literal["bool", "int32", "int64", "float32", "float64"]


@checked
def tensor(data: NestedNumbers, *, dtype: DType | None = None, device: Device = "cpu") -> Array:
    """Nested lists of numbers as an array: a number has rank 0, a list rank 1, lists of it rank 2.

    Args:
        data: a Python number, or lists of equal length, nested.
        dtype: by default float32, int32 (with x64: float64, int64) or bool, as the numbers are.
        device: one of `devices()`.

    Raises:
        TypeError: data holds something else than Python numbers and truth values.
        ValueError: the lists are ragged or empty, or a number is not finite or does not fit.

    Source: document A, section 7.2; documents C and E.
    """
    _check_kept("tensor: the array", dtype)
    try:
        with np.errstate(over="ignore"):
            array = jnp.array(data, dtype=dtype, device=jax.devices(device)[0])
    except (ValueError, OverflowError) as error:
        raise ValueError(f"tensor: data must not be ragged or too large: {error}") from error
    if not jnp.isfinite(array).all():
        raise ValueError(f"tensor: data must be finite in {dtype or 'its default dtype'}")
    return array


@checked
def describe(x: Shaped[Array, "*shape"]) -> dict[str, Any]:
    """Rank, shape, dtype and device, as plain Python values.

    Source: document A, section 7.2; document C.
    """
    return {
        "rank": x.ndim,
        "shape": tuple(x.shape),
        "dtype": x.dtype.name,
        "device": "cuda" if x.platform() == "gpu" else x.platform(),
    }


@checked
def elementwise(x: Num[Array, "*shape"], y: Num[Array, "*shape"]) -> dict[str, Array]:
    """x + y, x - y, x * y and x / y, entry by entry; y / 0 is an infinity or NaN, no error.

    Integers divide to float32, with x64 to float64.

    Source: document A, section 7.2.
    """
    return {"sum": x + y, "difference": x - y, "product": x * y, "quotient": x / y}


@checked
def dot(x: Num[Array, " n"], y: Num[Array, " n"]) -> Num[Array, ""]:
    """sum_i x_i y_i.

    Source: document A, section 7.2.
    """
    return jnp.dot(x, y)


@checked
def matmul(x: Num[Array, "n k"], y: Num[Array, "k m"]) -> Num[Array, "n m"]:
    """sum_k x_nk y_km.

    Source: document A, section 7.2.
    """
    return x @ y


@checked
def broadcast(column: Num[Array, "n 1"], row: Num[Array, " m"]) -> Num[Array, "n m"]:
    """column_n + row_m: an axis of size 1, or one that is missing in front, is repeated.

    On purpose here. By accident it turns (n,) against (n, 1) into (n, n), silently, which is why
    the other functions refuse shapes that differ.

    Source: document E.
    """
    return column + row


@checked
def reductions(x: Float[Array, "*rows n"]) -> dict[str, Array]:
    """Sum, mean, least, greatest and where it first is, median of all entries; the sum of each row.

    JAX says `axis`. The median of an even count is the mean of the middle two.

    Source: document C.
    """
    return {
        "sum": x.sum(),
        "mean": x.mean(),
        "min": x.min(),
        "max": x.max(),
        "argmax": x.argmax(),
        "median": jnp.median(x),
        "row_sums": x.sum(axis=-1),
    }


@checked
def variance(x: Float[Array, "*shape"], *, ddof: Literal[0, 1]) -> Float[Array, ""]:
    """sum_i (x_i - mean)**2 / (n - ddof), over all entries.

    A single entry has none with ddof = 1: a ValueError. JAX says `ddof`, by default 0.
    """
    if x.size <= ddof:
        raise ValueError(f"variance: x must have more than {ddof} elements, got {x.size}")
    return x.var(ddof=ddof)


@checked
def slices(x: Shaped[Array, "rows columns"], mask: Bool[Array, "rows columns"]) -> dict[str, Array]:
    """The usual cuts through a matrix, by name; a mask copies the entries where it is true.

    JAX: all are new arrays. Under `jit` a mask is an error: its result has no fixed shape.
    """
    return {
        "first_row": x[0],
        "last_column": x[:, -1],
        "top_left_block": x[:2, :2],
        "every_second_row": x[::2],
        "rows_reversed": x[::-1],
        "masked": x[mask],
    }


@checked
def replace(
    x: Float[Array, " length"], index: Below[Int[Array, ""], " length"], value: Float[Array, ""]
) -> Float[Array, " length"]:
    """A copy of x with x[index] = value; x stays as it is.

    index is in 0 .. length - 1; JAX itself would drop a write beyond it, silently.
    """
    return x.at[index].set(value)


@checked
def reshape(
    x: Shaped[Array, "*shape"], rows: Count, columns: Count
) -> Shaped[Array, "rows columns"]:
    """The same entries in the same order (the last index runs fastest), as rows x columns.

    JAX: a new array.
    """
    if rows * columns != x.size:
        raise ValueError(f"reshape: rows * columns must be {x.size}, got {rows} * {columns}")
    return x.reshape(rows, columns)


@checked
def transpose(x: Shaped[Array, "rows columns"]) -> Shaped[Array, "columns rows"]:
    """Entry (i, j) becomes entry (j, i).

    JAX: a new array; inside `jit` often none at all.
    """
    return x.T


@checked
def cast(x: Shaped[Array, "*shape"], dtype: DType) -> Shaped[Array, "*shape"]:
    """A copy of x in another dtype: to integers towards zero, to bool true unless zero.

    JAX: a float beyond the integers of that size gives the nearest one, NaN gives 0, silently.
    Given a mix of float32 and float64, JAX itself goes to float64.

    Source: document E.
    """
    _check_kept("cast: the result", dtype)
    return jnp.array(x, dtype=dtype)


@checked
def from_host(array: np.ndarray, *, share: bool) -> Array:
    """A NumPy array as an array, with memory of its own or, if share, on the very same memory.

    JAX: a later write to shared memory shows in an array that JAX takes for constant: do not write.

    Raises:
        ValueError: the memory cannot be shared: it is read-only, or not contiguous, or does
            not start at a multiple of 64 bytes. Or the dtype needs x64.

    Source: document E.
    """
    _check_kept("from_host: array", array.dtype)
    if not share:
        return jnp.array(array)
    try:
        return jnp.from_dlpack(array, copy=False)
    except (BufferError, ValueError, jax.errors.JaxRuntimeError) as error:
        raise ValueError(f"from_host: array must be memory that JAX can share: {error}") from error


@checked
def to_host(x: Shaped[Array, "*shape"], *, share: bool) -> np.ndarray:
    """What x holds, as a NumPy array, with memory of its own or, if share, on the very same memory.

    JAX: the shared one is read-only; with a GPU none is shared.
    """
    if share and x.platform() != "cpu":
        raise ValueError(f"to_host: x must be on the host to be shared, got one on {x.device}")
    return np.asarray(x) if share else np.array(x)


@checked
def move(x: Shaped[Array, "*shape"], device: Device) -> Shaped[Array, "*shape"]:
    """The same values on that device; no copy where they are there already.

    JAX: `device_put`. Operands committed to different devices are refused.

    Source: document A, section 7.2.
    """
    return jax.device_put(x, jax.devices(device)[0])


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
