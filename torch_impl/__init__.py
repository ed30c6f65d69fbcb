"""The boundary of the column: arrays in, arrays out, devices, and the input checks.

PyTorch: define-by-run. `torch.from_numpy` would share memory with NumPy, so the boundary hands it
a copy. Work on a CUDA device runs asynchronously; `synchronize` waits for it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor as Array

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
        TypeError: x is neither an array nor a dict of arrays, or PyTorch has no such dtype.
        ValueError: the device is not usable here.
    """
    check_device("from_numpy", device, devices())
    if isinstance(x, dict):
        return {name: from_numpy(value, device=device) for name, value in x.items()}
    return torch.from_numpy(host_copy(x)).to(device)


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
        raise TypeError(f"to_numpy: x must be a torch.Tensor or a dict of them, got {type(x)}")
    x = x.detach().cpu()
    return np.array((x.float() if x.dtype == torch.bfloat16 else x).numpy())


def synchronize(x: Any) -> Any:
    """Wait until every array in x is computed, and return x.

    PyTorch waits for a whole device: `torch.cuda.synchronize`.
    """
    if isinstance(x, dict | list | tuple):
        for value in x.values() if isinstance(x, dict) else x:
            synchronize(value)
    elif isinstance(x, Array) and x.is_cuda:
        torch.cuda.synchronize(x.device)
    return x


def devices() -> tuple[str, ...]:
    """The devices that this column can use, "cpu" first."""
    return ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


def _read(x: Array) -> np.ndarray | None:
    if torch.compiler.is_compiling():
        return None
    try:
        x = x.detach().cpu()
        return (x.float() if x.dtype == torch.bfloat16 else x).numpy()
    except RuntimeError:  # inside vmap or torch.func.grad a tensor has no storage to read
        return None


def _unusable(x: Array) -> str:
    if x.layout != torch.strided or x.is_nested:
        return "a nested one" if x.is_nested else f"one of layout {x.layout}"
    return "one on the device meta" if x.is_meta else ""


def _row_numbers(x: Array) -> Array:
    # PyTorch takes no other widths, and 8 bits without a sign for a mask
    return x if x.dtype in (torch.int32, torch.int64) else x.long()


def _aside(arguments: Mapping[str, Any]) -> Callable[[], None]:
    """Gradients that a user collects in what is given: a backward pass inside adds nothing."""
    dicts = [value for value in arguments.values() if isinstance(value, dict)]
    given = [*arguments.values(), *(value for params in dicts for value in params.values())]
    leaves = [x for x in given if isinstance(x, Array) and x.requires_grad and x.is_leaf]
    grads = [x.grad for x in leaves]
    for x in leaves:
        x.grad = None

    def put_back() -> None:
        for x, grad in zip(leaves, grads, strict=True):
            x.grad = grad

    return put_back


_SPELLED = {
    dtype: str(dtype).removeprefix("torch.")
    for dtype in vars(torch).values()
    if isinstance(dtype, torch.dtype)
}


def _dtype_name(x: Array) -> str:
    # all names are there from the start: torch.compile refuses checks that learn one meanwhile
    return _SPELLED[x.dtype]


checked = make_checked(
    Backend(
        (Array,), _read, devices, _dtype_name, torch.compiler.is_compiling, _unusable, _row_numbers,
        _aside,
    )
)  # fmt: skip
