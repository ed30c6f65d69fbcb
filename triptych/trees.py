"""Nested values: dicts, lists, tuples, NamedTuples of leaves. One way to walk them."""

from collections.abc import Callable, Iterator
from typing import Any


def children(value: Any) -> dict[str, Any] | None:
    """The entries of a container, each under its name in a message; None for a leaf."""
    if isinstance(value, dict):
        return {str(key): entry for key, entry in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=True))
    if isinstance(value, list | tuple):
        return {str(i): entry for i, entry in enumerate(value)}
    return None


def filled(value: Any, entries: list[Any]) -> Any:
    """A container like `value`, of the same type and with the same keys, holding other entries."""
    if isinstance(value, dict):
        return type(value)(zip(value, entries, strict=True))
    if hasattr(value, "_fields"):
        return type(value)(*entries)
    return type(value)(entries)


def mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """The same structure with `function` applied to every leaf."""
    entries = children(value)
    if entries is None:
        return function(value)
    return filled(value, [mapped(function, entry) for entry in entries.values()])


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf in order, under the names that lead to it: "grads fc1.weight"; "" if alone."""
    entries = children(value)
    if entries is None:
        yield name, value
        return
    for key, entry in entries.items():
        yield from leaves(entry, f"{name} {key}".strip())
