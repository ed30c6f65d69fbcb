"""The documents' graphs: inputs, values, derivatives, and a plain forward pass of each."""

from collections.abc import Callable
from typing import Any

# function, inputs, values, derivatives (documents.md, section 2)
GRAPHS: list[tuple[str, tuple[float, ...], dict[str, float], dict[str, float]]] = [
    ("quadratic", (2,), {"y": 11}, {"x": 7}),
    ("product", (1,), {"a": 3, "b": 4, "y": 12}, {"a": 4, "b": 3, "x": 7}),
    ("cube", (2,), {"y": 8}, {"x": 12}),
    ("chain", (1,), {"a": 2, "b": 5, "y": 25}, {"b": 10, "a": 10, "x": 20}),
    ("affine", (1, 2, 1), {"y": 3}, {"x": 2, "w": 1, "b": 1}),
    ("affine", (5, 2, 1), {"y": 11}, {"x": 2, "w": 5, "b": 1}),
    ("perfect_square", (3,), {"y": 16}, {"x": 8}),
    ("shared", (2, 3), {"c": 6, "d": 8}, {"c": 1, "a": 4, "b": 2}),
]

Nodes = dict[str, Any]


def product(x: Any) -> Nodes:
    a, b = x + 2, x + 3
    return {"a": a, "b": b, "y": a * b}


def chain(x: Any) -> Nodes:
    a = 2 * x
    b = a + 3
    return {"a": a, "b": b, "y": b**2}


def shared(a: Any, b: Any) -> Nodes:
    c = a * b
    return {"c": c, "d": c + a}


# the graphs once more, without derivatives: every named node, the output last
FORWARD: dict[str, Callable[..., Nodes]] = {
    "quadratic": lambda x: {"y": x**2 + 3 * x + 1},
    "product": product,
    "cube": lambda x: {"y": x**3},
    "chain": chain,
    "affine": lambda x, w, b: {"y": w * x + b},
    "perfect_square": lambda x: {"y": x**2 + 2 * x + 1},
    "shared": shared,
}
INPUTS = {"affine": ("x", "w", "b"), "shared": ("a", "b")}  # elsewhere x alone
