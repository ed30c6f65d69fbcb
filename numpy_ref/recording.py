"""What is recorded for a backward pass, when, and how to look at it.

NumPy: nothing is recorded unless one keeps a tape, and here is one: the forward pass appends to
it, the backward pass reads it in reverse, with one rule for each operation.
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
    "square": (lambda a: a**2, lambda d, a: (d * (2 * a),)),
    "linear": (lambda x, w, b: x @ w.T + b, lambda d, x, w, b: (d @ w, d.T @ x, d.sum(axis=0))),
}


class _Tape:
    """Values by name, the names that are tracked, and the operations on those, in order."""

    def __init__(self, constants: dict[str, Any], **tracked: Array) -> None:
        self.values = constants | tracked
        self.tracked = set(tracked)
        self.entries: list[tuple[str, tuple[str, ...], str]] = []

    def apply(self, operation: str, *inputs: str, output: str) -> Array:
        """Compute a node; record it if one of its inputs is tracked."""
        compute, _ = RULES[operation]
        self.values[output] = compute(*(self.values[name] for name in inputs))
        if self.tracked.intersection(inputs):
            self.tracked.add(output)
            self.entries.append((operation, inputs, output))
        return self.values[output]

    def backward(self, output: str) -> dict[str, Array]:
        """The derivative of the last output by everything tracked that led to it."""
        grads = {output: np.ones_like(self.values[output])}
        for operation, inputs, made in reversed(self.entries):
            _, pull = RULES[operation]
            terms = pull(grads[made], *(self.values[name] for name in inputs))
            for name, term in zip(inputs, terms, strict=True):
                if name in self.tracked:
                    grads[name] = grads[name] + term if name in grads else term
        return grads

    def quadratic(self) -> None:
        """Record y = x**2 + 3 x + 1."""
        self.values |= {"1": 1, "3": 3}
        self.apply("square", "x", output="x**2")
        self.apply("multiply", "3", "x", output="3x")
        self.apply("add", "x**2", "3x", output="sum")
        self.apply("add", "sum", "1", output="y")


@checked
def infer(
    params: Params, x: Float[Array, "n in"], *, record: bool
) -> tuple[Float[Array, "n out"], bool]:
    """y = x W^T + b, and whether y is tracked.

    Nothing is recorded unless one keeps a tape of it; a tape that tracks no parameter stays empty.

    Source: D-infer, A/C/D-nograd.
    """
    tape = _Tape({"x": x}, **params) if record else _Tape({"x": x} | params)
    # forward
    y = tape.apply("linear", "x", "weight", "bias", output="y")
    return y, "y" in tape.tracked


@checked
def backward_untracked(x: Float[Array, ""]) -> Float[Array, ""]:
    """The backward pass of y = x**2 + 3 x + 1 where x is not tracked.

    Raises:
        KeyError: the tape is empty, and its backward pass never comes to x.

    Source: A-untracked.
    """
    # forward
    tape = _Tape({"x": x})
    tape.quadratic()
    # backward
    return tape.backward("y")["x"]


@checked
def update_inside_graph(
    x: Float[Array, ""], *, learning_rate: Positive
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """x <- x - rate dy/dx in place, while y = x**2 + 3 x + 1 is recorded; then dy/dx once more.

    It just happens, and it overwrites the x that the tape keeps: the second gradient is the slope
    at the new x, though y is the value at the old one.

    Source: A/C/D-nograd.
    """
    x = np.array(x)
    # forward
    tape = _Tape({}, x=x)
    tape.quadratic()
    # backward
    d_x = tape.backward("y")["x"]
    # update
    x -= learning_rate * d_x
    # backward
    d_x = tape.backward("y")["x"]
    return x, d_x


@checked
def update_outside_graph(
    x: Float[Array, ""], *, learning_rate: Positive
) -> tuple[Float[Array, ""], bool]:
    """x <- x - rate dy/dx for y = x**2 + 3 x + 1, and whether the update was recorded.

    The name x gets a new array. The tape keeps the old one, and has no entry more than before.

    Source: A/C/D-nograd.
    """
    # forward
    tape = _Tape({}, x=x)
    tape.quadratic()
    entries = len(tape.entries)
    # backward
    d_x = tape.backward("y")["x"]
    # update
    x = x - learning_rate * d_x
    return x, len(tape.entries) > entries


@checked
def leaves(x: Float[Array, ""], w: Float[Array, ""], b: Float[Array, ""]) -> dict[str, bool]:
    """Which of x, w, b and y = w x + b are leaves: made by no recorded operation.

    Source: E-leaf.
    """
    # forward
    tape = _Tape({}, x=x, w=w, b=b)
    tape.apply("multiply", "w", "x", output="wx")
    tape.apply("add", "wx", "b", output="y")
    made = {output for _, _, output in tape.entries}
    return {name: name not in made for name in ("x", "w", "b", "y")}


@checked
def recorded(
    x: Float[Array, ""], w: Float[Array, ""], b: Float[Array, ""]
) -> tuple[list[str], dict[str, Float[Array, ""]], str]:
    """The operations of y = w x + b from y back, x a constant; dy/dw and dy/db; how y prints.

    Read off the tape, from its end. y prints as a number: it knows of no tape.

    Source: E-graph.
    """
    # forward
    tape = _Tape({"x": x}, w=w, b=b)
    tape.apply("multiply", "w", "x", output="wx")
    tape.apply("add", "wx", "b", output="y")
    operations = [operation for operation, _, _ in reversed(tape.entries)]
    # backward
    grads = tape.backward("y")
    return operations, {name: grads[name] for name in ("w", "b")}, str(tape.values["y"])


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
