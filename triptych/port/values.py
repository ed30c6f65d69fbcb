"""What goes into a function and comes out of it: nested values of any framework, by name.

A leaf is an array of NumPy, PyTorch or JAX, or anything that is no container (None, a number, a
string, a function). Containers are dicts, lists, tuples, dataclasses and whatever JAX knows as a
pytree (Equinox modules, Flax variables).
"""

import copy
import dataclasses
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

Leaves = dict[str, Any]
"""The leaves of a nested value by where they stand, such as "params['fc1.weight']"."""

FLOATS = ("float16", "bfloat16", "float32", "float64")
COMPLEX = ("complex64", "complex128")
WIDE = {**dict.fromkeys(FLOATS, "float64"), **dict.fromkeys(COMPLEX, "complex128")}
NARROW = {"float64": "float32", "complex128": "complex64"}


def children(value: Any) -> tuple[list[tuple[str, Any]], Callable[[list[Any]], Any]] | None:
    """The entries of a container, each with the end of its name, and how to build another."""
    if isinstance(value, Mapping):
        keys = list(value)
        plain = type(value) is dict
        return (
            [(f"[{key!r}]", value[key]) for key in keys],
            lambda entries: (
                dict(zip(keys, entries, strict=True))
                if plain or not hasattr(value, "copy")
                else _mapping(value, dict(zip(keys, entries, strict=True)))
            ),
        )
    if isinstance(value, list | tuple):
        labelled = [(f"[{i}]", entry) for i, entry in enumerate(value)]
        kind = type(value)
        if hasattr(value, "_fields"):
            return labelled, lambda entries: kind(*entries)
        return labelled, lambda entries: (kind if kind in (list, tuple) else tuple)(entries)
    if value is None or isinstance(value, type) or is_array(value):
        return None
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if hasattr(value, field.name)]

        def rebuild(entries: list[Any]) -> Any:
            other = copy.copy(value)
            for name, entry in zip(names, entries, strict=True):
                object.__setattr__(other, name, entry)
            return other

        return [(f"[{name!r}]", getattr(value, name)) for name in names], rebuild
    return _pytree(value)


def _mapping(value: Any, entries: dict[Any, Any]) -> Any:
    kind = type(value)
    try:  # the outputs of public models are both a mapping and a dataclass
        return kind(**entries) if dataclasses.is_dataclass(kind) else kind(entries)
    except TypeError:  # a mapping that is made otherwise
        return entries


def _pytree(value: Any) -> tuple[list[tuple[str, Any]], Callable[[list[Any]], Any]] | None:
    jax: Any = sys.modules.get("jax")
    if jax is None or jax.tree_util.all_leaves([value]):
        return None
    entries, tree = jax.tree_util.tree_flatten_with_path(value, is_leaf=lambda v: v is not value)
    labelled = [(jax.tree_util.keystr(path), entry) for path, entry in entries]
    return labelled, lambda found: jax.tree_util.tree_unflatten(tree, found)


def walk(tree: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every leaf with its name; dicts by key, lists and tuples by position."""
    found = children(tree)
    if found is None:
        yield name, tree
        return
    for label, entry in found[0]:
        yield from walk(entry, f"{name}{label}")


def fill(tree: Any, name: str, leaves: Leaves) -> Any:
    """The same structure with the leaves that are given by name, and its own where none is."""
    found = children(tree)
    if found is None:
        return leaves.get(name, tree)
    entries, rebuild = found
    return rebuild([fill(entry, f"{name}{label}", leaves) for label, entry in entries])


def is_torch(value: Any) -> bool:
    """Whether it is a `torch.Tensor`."""
    torch: Any = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def is_jax(value: Any) -> bool:
    """Whether it is a `jax.Array` of numbers (a random key is none)."""
    jax: Any = sys.modules.get("jax")
    return (
        jax is not None
        and isinstance(value, jax.Array)
        and not jax.dtypes.issubdtype(value.dtype, jax.dtypes.extended)
    )


def is_array(value: Any) -> bool:
    """Whether it is an array of any of the three frameworks."""
    return isinstance(value, np.ndarray | np.generic) or is_torch(value) or is_jax(value)


def to_numpy(value: Any) -> Any:
    """An array of any framework as NumPy's, in its own dtype; what is no array stays."""
    if is_torch(value):
        value = value.detach().cpu().resolve_conj().resolve_neg()
        if f"{value.dtype}" == "torch.bfloat16":
            torch: Any = sys.modules["torch"]
            return value.contiguous().view(torch.int16).numpy().view(_bfloat16())
        return value.numpy()
    return np.asarray(value) if is_array(value) else value


def to_torch(value: np.ndarray, dtype: Any = None) -> Any:
    """A copy of a NumPy array in PyTorch."""
    torch: Any = importlib.import_module("torch")
    value = np.array(value, dtype)  # a copy, writable and without negative strides
    if value.dtype.name == "bfloat16":
        return torch.from_numpy(value.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(value)


def to_jax(value: np.ndarray, dtype: Any = None) -> Any:
    """A copy of a NumPy array in JAX, on the CPU.

    Raises:
        ValueError: a whole number does not fit into JAX's 32 bits.
    """
    jax: Any = importlib.import_module("jax")
    kept = jax.dtypes.canonicalize_dtype(dtype or value.dtype)
    if value.dtype.kind in "iu" and not np.array_equal(value.astype(kept), value):
        raise ValueError(f"a value does not fit into JAX's {kept} without x64")
    # a copy of our own, since JAX reads it after it has returned, or takes its memory (even with
    # may_alias=False), and waited for, since such copies would pile up
    copied = value.astype(kept)
    return jax.block_until_ready(jax.device_put(copied, jax.devices("cpu")[0], may_alias=False))


def _bfloat16() -> Any:
    return importlib.import_module("ml_dtypes").bfloat16


def is_float(value: Any) -> bool:
    """Whether it is an array of real or complex floating-point numbers."""
    return hasattr(value, "dtype") and getattr(value.dtype, "name", "") in WIDE


def wide(dtype: np.dtype) -> Any:
    """float64 or complex128 for floating-point numbers; anything else stays."""
    return np.dtype(WIDE.get(dtype.name, dtype))


def narrow(dtype: np.dtype) -> Any:
    """32 bits for float64 and complex128; anything else stays."""
    return np.dtype(NARROW.get(dtype.name, dtype))


def eps(dtype: Any) -> float:
    """The machine epsilon of a real or complex dtype."""
    name = np.dtype(dtype).name
    exponent = {"float16": -10, "bfloat16": -7, "float32": -23, "complex64": -23}.get(name, -52)
    return 2.0**exponent
