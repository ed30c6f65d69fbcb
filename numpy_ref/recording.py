"""What is recorded for a backward pass, when, and how to look at it.

NumPy: nothing is recorded by itself, so here is an engine that does it: a `Var` remembers the
operation that made it, and the backward pass applies one rule for each operation, in reverse.
"""

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from numpy_ref import Positive, checked

Params = Annotated[dict[str, Array], {"weight": "out in", "bias": " out"}]

# operation: what it computes; from the cotangent d of its output, the one of each input
RULES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "add": (lambda a, b: a + b, lambda d, a, b: (d, d)),
    "multiply": (lambda a, b: a * b, lambda d, a, b: (d * b, d * a)),
    "power": (lambda a, k: a**k, lambda d, a, k: (d * (k * a ** (k - 1)), None)),
    "matmul": (lambda a, b: a @ b, lambda d, a, b: (d @ b.T, a.T @ d)),
    "transpose": (lambda a: a.T, lambda d, a: (d.T,)),
}


class Var:
    """A value that remembers how it was made, if something that it was made of is tracked."""

    __array_ufunc__ = None  # array @ var is handed to Var, not taken apart by NumPy

    def __init__(
        self, value: Any, *, tracked: bool = False, operation: str = "", parents: Any = ()
    ) -> None:
        self.value = value
        self.tracked = tracked
        self.operation = operation
        self.parents: tuple[Var, ...] = parents
        self.grad: Any = None

    def __add__(self, other: Any) -> "Var":
        return _apply("add", self, other)

    def __mul__(self, other: Any) -> "Var":
        return _apply("multiply", self, other)

    def __rmul__(self, other: Any) -> "Var":
        return _apply("multiply", other, self)

    def __pow__(self, k: int) -> "Var":
        return _apply("power", self, k)

    def __neg__(self) -> "Var":
        return _apply("multiply", -1, self)

    def __gt__(self, other: Any) -> Any:
        return self.value > other

    def __rmatmul__(self, other: Any) -> "Var":
        return _apply("matmul", other, self)

    @property
    def T(self) -> "Var":  # noqa: N802 (as an array calls it)
        """The transpose."""
        return _apply("transpose", self)

    def __str__(self) -> str:
        return str(self.value)

    def history(self) -> list["Var"]:
        """Everything recorded that led here, each after what it was made of; this one last."""
        order: list[Var] = []

        def visit(var: Var) -> None:
            if var.tracked and var not in order:
                for parent in var.parents:
                    visit(parent)
                order.append(var)

        visit(self)
        return order

    def forward(self) -> None:
        """Compute the value anew from what it was made of."""
        compute, _ = RULES[self.operation]
        self.value = compute(*(parent.value for parent in self.parents))

    def backward(self) -> None:
        """Fill `.grad` of everything tracked that led here: the derivative of this by it."""
        if not self.tracked:
            raise RuntimeError("nothing was recorded: this was made of nothing that is tracked")
        order = self.history()
        for var in order:
            var.grad = None
        self.grad = np.ones_like(self.value)
        for var in reversed(order):
            if not var.parents:
                continue
            _, pull = RULES[var.operation]
            terms = pull(var.grad, *(parent.value for parent in var.parents))
            for parent, term in zip(var.parents, terms, strict=True):
                if parent.tracked:
                    term = _unbroadcast(term, parent.value)
                    # all paths from a value to the output add up
                    parent.grad = term if parent.grad is None else parent.grad + term


def _apply(operation: str, *inputs: Any) -> Var:
    """Compute an operation; remember its inputs if one of them is tracked."""
    parents = tuple(i if isinstance(i, Var) else Var(i) for i in inputs)
    compute, _ = RULES[operation]
    value = compute(*(parent.value for parent in parents))
    if not any(parent.tracked for parent in parents):
        return Var(value)
    return Var(value, tracked=True, operation=operation, parents=parents)


def _unbroadcast(d: Any, like: Any) -> Any:
    """The cotangent of what broadcasting repeated: the sum over the copies."""
    d = d.sum(axis=tuple(range(np.ndim(d) - np.ndim(like))))
    stretched = tuple(i for i, n in enumerate(np.shape(like)) if n == 1)
    return d.sum(axis=stretched, keepdims=True)


@checked
def infer(
    params: Params, x: Float[Array, "n in"], *, record: bool
) -> tuple[Float[Array, "n out"], bool]:
    """y = x W^T + b, and whether y is tracked.

    NumPy itself records nothing; the engine keeps what has a tracked input, and nothing else.

    Source: document D, inference; documents A, C and D, no_grad.
    """
    weight, bias = (Var(params[name], tracked=record) for name in ("weight", "bias"))
    # forward
    y = x @ weight.T + bias
    return y.value, y.tracked


@checked
def backward_untracked(x: Float[Array, ""]) -> Float[Array, ""]:
    """The backward pass of y = x**2 + 3 x + 1 where x is not tracked.

    Raises:
        RuntimeError: from the engine; y was made of nothing that is tracked.

    Source: document A, section 7.3.
    """
    v = Var(x)
    # forward
    y = v**2 + 3 * v + 1
    # backward
    y.backward()
    return v.grad


@checked
def update_inside_graph(
    x: Float[Array, ""], *, learning_rate: Positive
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """x <- x - rate dy/dx in place, while y = x**2 + 3 x + 1 is recorded; then dy/dx once more.

    It just happens, and it overwrites the x that the engine keeps: the second gradient is the
    slope at the new x, though y is the value at the old one.

    Source: documents A, C and D, no_grad.
    """
    v = Var(np.array(x), tracked=True)
    # forward
    y = v**2 + 3 * v + 1
    # backward
    y.backward()
    # update
    v.value -= learning_rate * v.grad
    # backward
    y.backward()
    return v.value, v.grad


@checked
def update_outside_graph(
    x: Float[Array, ""], *, learning_rate: Positive
) -> tuple[Float[Array, ""], bool]:
    """x <- x - rate dy/dx for y = x**2 + 3 x + 1, and whether the update was recorded.

    The arithmetic of plain arrays, outside of any `Var`: the name x gets a new array.

    Source: documents A, C and D, no_grad.
    """
    v = Var(x, tracked=True)
    # forward
    y = v**2 + 3 * v + 1
    # backward
    y.backward()
    # update
    x = x - learning_rate * v.grad
    return x, isinstance(x, Var)


@checked
def leaves(x: Float[Array, ""], w: Float[Array, ""], b: Float[Array, ""]) -> dict[str, bool]:
    """Which of x, w, b and y = w x + b are leaves: made by no recorded operation.

    A leaf has no parents.

    Source: document E, leaves.
    """
    vx, vw, vb = (Var(leaf, tracked=True) for leaf in (x, w, b))
    # forward
    y = vw * vx + vb
    return {name: not v.parents for name, v in (("x", vx), ("w", vw), ("b", vb), ("y", y))}


@checked
def recorded(
    x: Float[Array, ""], w: Float[Array, ""], b: Float[Array, ""]
) -> tuple[list[str], dict[str, Float[Array, ""]], str]:
    """The operations of y = w x + b from y back, x a constant; dy/dw and dy/db; how y prints.

    Read off the history, from its end. y prints as its value.

    Source: document E, the recorded graph.
    """
    vw, vb = Var(w, tracked=True), Var(b, tracked=True)
    # forward
    y = vw * x + vb
    operations = [v.operation for v in reversed(y.history()) if v.parents]
    # backward
    y.backward()
    return operations, {"w": vw.grad, "b": vb.grad}, str(y)


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
