"""The tensor itself: rank, shape, dtype, arithmetic, indexing, broadcasting, memory, devices.

PyTorch: floats are float32 unless told otherwise, slices and transposes are views that share
memory (but no negative step), and every tensor lives on a device, the CPU or a GPU.
"""

from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Num, Shaped
from torch import Tensor as Array

from torch_impl import Below, Count, Device, NestedNumbers, checked

DType = Literal["bool", "int32", "int64", "float32", "float64"]


@checked
def tensor(data: NestedNumbers, *, dtype: DType | None = None, device: Device = "cpu") -> Array:
    """Nested lists of numbers as an array: a number has rank 0, a list rank 1, lists of it rank 2.

    Args:
        data: a Python number, or lists of equal length, nested.
        dtype: by default float32, int64 or bool, as the numbers are.
        device: one of `devices()`.

    Raises:
        TypeError: data holds something else than Python numbers and truth values.
        ValueError: the lists are ragged or empty, or a number is not finite or does not fit.

    Source: document A, section 7.2; documents C and E.
    """
    try:
        array = torch.tensor(data, dtype=dtype and getattr(torch, dtype), device=device)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise ValueError(f"tensor: data must not be ragged or too large: {error}") from error
    if not array.isfinite().all():
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
        "dtype": str(x.dtype).removeprefix("torch."),
        "device": x.device.type,
    }


@checked
def elementwise(x: Num[Array, "*shape"], y: Num[Array, "*shape"]) -> dict[str, Array]:
    """x + y, x - y, x * y and x / y, entry by entry; y / 0 is an infinity or NaN, no error.

    Integers divide to float32, the default dtype.

    Source: document A, section 7.2.
    """
    return {"sum": x + y, "difference": x - y, "product": x * y, "quotient": x / y}


@checked
def dot(x: Num[Array, " n"], y: Num[Array, " n"]) -> Num[Array, ""]:
    """sum_i x_i y_i.

    Source: document A, section 7.2.
    """
    return torch.dot(x, y)


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

    PyTorch says `dim`. Its `median` is the lower of the middle two; -median(-x) is the upper.

    Source: document C.
    """
    return {
        "sum": x.sum(),
        "mean": x.mean(),
        "min": x.min(),
        "max": x.max(),
        "argmax": x.argmax(),
        "median": (x.median() - (-x).median()) / 2,
        "row_sums": x.sum(dim=-1),
    }


@checked
def variance(x: Float[Array, "*shape"], *, ddof: Literal[0, 1]) -> Float[Array, ""]:
    """sum_i (x_i - mean)**2 / (n - ddof), over all entries.

    A single entry has none with ddof = 1: a ValueError. PyTorch says `correction`, by default 1.
    """
    if x.numel() <= ddof:
        raise ValueError(f"variance: x must have more than {ddof} elements, got {x.numel()}")
    return x.var(correction=ddof)


@checked
def slices(x: Shaped[Array, "rows columns"], mask: Bool[Array, "rows columns"]) -> dict[str, Array]:
    """The usual cuts through a matrix, by name; a mask copies the entries where it is true.

    PyTorch: the others are views, but `flip`, which stands for the negative step, copies.
    """
    return {
        "first_row": x[0],
        "last_column": x[:, -1],
        "top_left_block": x[:2, :2],
        "every_second_row": x[::2],
        "rows_reversed": x.flip(0),
        "masked": x[mask],
    }


@checked
def replace(
    x: Float[Array, " length"], index: Below[Int[Array, ""], " length"], value: Float[Array, ""]
) -> Float[Array, " length"]:
    """A copy of x with x[index] = value; x stays as it is.

    index is in 0 .. length - 1; PyTorch itself would count a negative one from the end.
    """
    y = x.clone()
    y[index] = value
    return y


@checked
def reshape(
    x: Shaped[Array, "*shape"], rows: Count, columns: Count
) -> Shaped[Array, "rows columns"]:
    """The same entries in the same order (the last index runs fastest), as rows x columns.

    PyTorch: a view where the strides allow it, else a copy (`view` would refuse).
    """
    if rows * columns != x.numel():
        raise ValueError(f"reshape: rows * columns must be {x.numel()}, got {rows} * {columns}")
    return x.reshape(rows, columns)


@checked
def transpose(x: Shaped[Array, "rows columns"]) -> Shaped[Array, "columns rows"]:
    """Entry (i, j) becomes entry (j, i).

    PyTorch: a view; only the strides change places.
    """
    return x.T


@checked
def cast(x: Shaped[Array, "*shape"], dtype: DType) -> Shaped[Array, "*shape"]:
    """A copy of x in another dtype: to integers towards zero, to bool true unless zero.

    PyTorch: a float beyond the integers of that size gives an unspecified one, silently. Given a
    mix of float32 and float64, `nn.Linear` raises, and w * x + b goes to float64 if w has a
    dimension; a w of rank 0 takes no part, and x's float32 stays.

    Source: document E.
    """
    return x.to(getattr(torch, dtype), copy=True)


@checked
def from_host(array: np.ndarray, *, share: bool) -> Array:
    """A NumPy array as an array, with memory of its own or, if share, on the very same memory.

    PyTorch: a write to shared memory shows on both sides.

    Raises:
        ValueError: the memory cannot be shared, being read-only or reversed.

    Source: document E.
    """
    if not share:
        return torch.from_numpy(array.copy())
    if not array.flags.writeable:
        raise ValueError("from_host: array must be writable to be shared, got a read-only one")
    return torch.from_numpy(array)


@checked
def to_host(x: Shaped[Array, "*shape"], *, share: bool) -> np.ndarray:
    """What x holds, as a NumPy array, with memory of its own or, if share, on the very same memory.

    PyTorch: a write to shared memory shows on both sides; with a GPU none is shared.
    """
    if share and x.device.type != "cpu":
        raise ValueError(f"to_host: x must be on the host to be shared, got one on {x.device}")
    return x.detach().numpy() if share else x.numpy(force=True).copy()


@checked
def move(x: Shaped[Array, "*shape"], device: Device) -> Shaped[Array, "*shape"]:
    """The same values on that device; no copy where they are there already.

    PyTorch: `to`. Operands on different devices are refused.

    Source: document A, section 7.2.
    """
    return x.to(device)


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
