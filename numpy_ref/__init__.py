"""The boundary of the column: arrays in, arrays out, devices, and the input checks.

NumPy: every gradient is derived by hand. Arrays live in host memory, every operation has ended
when it returns, and there is no device to choose and nothing to wait for.
"""

from typing import Any

import numpy as np
from numpy import ndarray as Array

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
        The same structure with this column's arrays; every dtype stays.

    Raises:
        TypeError: x is neither an array nor a dict of arrays.
        ValueError: the device is not usable here.
    """
    check_device("from_numpy", device, devices())
    if isinstance(x, dict):
        return {name: from_numpy(value, device=device) for name, value in x.items()}
    return host_copy(x)


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
    if not isinstance(x, np.ndarray | np.generic):
        raise TypeError(f"to_numpy: x must be a NumPy array or a dict of them, got {type(x)}")
    return np.array(x, dtype=np.float32 if x.dtype.name == "bfloat16" else x.dtype)


def synchronize(x: Any) -> Any:
    """Wait until every array in x is computed, and return x.

    NumPy computes before it returns, so there is nothing to wait for.
    """
    return x


def devices() -> tuple[str, ...]:
    """The devices that this column can use, "cpu" first."""
    return ("cpu",)


def _read(x: Array) -> np.ndarray | None:
    return np.asarray(x)


checked = make_checked(Backend((Array, np.generic), _read, devices))
