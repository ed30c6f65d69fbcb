"""The boundary of the column: arrays in, arrays out, devices, and the input checks.

JAX: pure functions, `grad` and `jit`. Without x64 it would cut float64 to float32, so the boundary
refuses float64 then; `device_put` may share memory, so it gets a copy. Work is dispatched
asynchronously on every device, the CPU too; `synchronize` waits for it.
"""

from typing import Any

import jax
import numpy as np
from jax import Array

from triptych.checks import (
    Backend,
    Below,
    Count,
    Device,
    Fraction,
    Like,
    Natural,
    NestedNumbers,
    NonNegative,
    Positive,
    UpTo,
    check_device,
    host_copy,
    make_checked,
)

__all__ = [
    "Array",
    "Below",
    "Count",
    "Device",
    "Fraction",
    "Like",
    "Natural",
    "NestedNumbers",
    "NonNegative",
    "Positive",
    "UpTo",
    "checked",
    "devices",
    "from_numpy",
    "synchronize",
    "to_numpy",
]


def from_numpy(x: Any, *, device: str = "cpu") -> Any:
    """Copy a NumPy array, or a dict of them, into an array of this column.

    Args:
        x: an array or a (nested) dict of arrays; never shared, never changed.
        device: one of `devices()`.

    Returns:
        The same structure with this column's arrays; every dtype stays, but without x64 int64
        becomes int32 if every value fits.

    Raises:
        TypeError: x is neither an array nor a dict of arrays.
        ValueError: the device is not usable here, or the dtype needs x64.
    """
    check_device("from_numpy", device, devices())
    if isinstance(x, dict):
        return {name: from_numpy(value, device=device) for name, value in x.items()}
    x = host_copy(x)
    narrow = x.astype(jax.dtypes.canonicalize_dtype(x.dtype), copy=False)
    if x.dtype.kind not in "iu" or not np.array_equal(narrow, x):
        _check_kept("from_numpy: x", x.dtype)
    return jax.device_put(narrow, jax.local_devices(backend=device)[0])


def to_numpy(x: Any) -> Any:
    """Copy an array of this column, or a dict of them, into NumPy.

    Args:
        x: an array or a (nested) dict of arrays.

    Returns:
        The same structure with writable NumPy arrays; bfloat16 comes out as float32.

    Raises:
        TypeError: x is neither an array nor a dict of arrays.
    """
    if isinstance(x, dict):
        return {name: to_numpy(value) for name, value in x.items()}
    if not isinstance(x, Array):
        raise TypeError(f"to_numpy: x must be a jax.Array or a dict of them, got {type(x)}")
    return np.array(x, dtype=np.float32 if x.dtype.name == "bfloat16" else x.dtype)


def synchronize(x: Any) -> Any:
    """Wait until every array in x is computed, and return x.

    JAX waits for the arrays themselves: `jax.block_until_ready`.
    """
    return jax.block_until_ready(x)


def devices() -> tuple[str, ...]:
    """The devices that this column can use, "cpu" first."""
    try:
        return ("cpu", "cuda") if jax.devices("cuda") else ("cpu",)
    except RuntimeError:
        return ("cpu",)


def _check_kept(what: str, dtype: Any) -> None:
    """Refuse a dtype that JAX, without x64, would cut silently."""
    if dtype is not None and (kept := jax.dtypes.canonicalize_dtype(dtype)) != dtype:
        raise ValueError(
            f"{what} must have a dtype that JAX keeps, got {dtype}, which it would cut to {kept}; "
            'switch x64 on: jax.config.update("jax_enable_x64", True), '
            "or `with jax.enable_x64(True):`"
        )


def _read(x: Array) -> np.ndarray | None:
    return None if isinstance(x, jax.core.Tracer) else np.asarray(x)


def _unusable(x: Array) -> str:
    return "" if isinstance(x, jax.core.Tracer) or not x.is_deleted() else "one that was deleted"


def _row_numbers(x: Array) -> Array:
    # 8 bits do not hold the number of rows, which JAX compares with
    return x if x.dtype.itemsize >= 4 else x.astype(np.int32)


checked = make_checked(
    Backend((Array,), _read, devices, unusable=_unusable, row_numbers=_row_numbers)
)
