"""How automatic differentiation behaves: accumulation, cotangents, reuse, stopping, the record.

NumPy: nothing watches, so a gradient is whatever one computes, and nothing objects. Where the
record itself is the subject, a tape of a few lines keeps it: the forward pass appends, the
backward pass reads in reverse.
"""

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from numpy_ref import checked

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
def accumulate(
    x: Float[Array, ""], w: Float[Array, ""], b: Float[Array, ""], *, times: int, reset: bool
) -> dict[str, Float[Array, " times"]]:
    """The gradients of y = w x + b, read after each of several backward passes.

    A backward pass gives a fresh gradient; what adds up is a sum of one's own, and a reset starts
    it anew.

    Source: A-accumulate, A-reset, D-accumulate.
    """
    total = None
    readings = []
    for _ in range(times):
        # forward, backward
        grads = _affine_grads(x, w, b)
        total = grads if total is None else {name: total[name] + grads[name] for name in grads}
        readings.append(total)
        # reset
        if reset:
            total = None
    return {name: np.stack([reading[name] for reading in readings]) for name in ("x", "w", "b")}


@checked
def reset_gradients(
    x: Float[Array, ""], w: Float[Array, ""], b: Float[Array, ""], *, set_to_none: bool
) -> tuple[dict[str, Array | None], dict[str, Float[Array, ""]]]:
    """What a reset leaves of the gradients of y = w x + b, and the gradients after one more pass.

    No state holds a gradient, so there is none to reset: one's own sum starts at zero or at none.

    Source: A-reset.
    """
    # forward, backward
    total = _affine_grads(x, w, b)
    # reset
    left = {name: None if set_to_none else np.zeros_like(total[name]) for name in total}
    # forward, backward
    grads = _affine_grads(x, w, b)
    return left, {name: g if left[name] is None else left[name] + g for name, g in grads.items()}


@checked
def vector_jacobian_product(
    x: Float[Array, " n"], cotangent: Float[Array, " n"]
) -> Float[Array, " n"]:
    """v^T J of y = x sum(x), where J = sum(x) I + x 1^T: one pass, and J is never built.

    Args:
        cotangent: v, one weight for each output; [1, 0, 0] picks the first row of J.

    Source: A-vjp.
    """
    # forward: s = sum(x), y = x s
    s = np.sum(x)
    # backward
    d_y = cotangent
    d_s = np.sum(d_y * x)
    d_x = d_y * s + d_s
    return d_x


@checked
def backward_without_cotangent(x: Float[Array, " n"]) -> Float[Array, " n"]:
    """The backward pass of the vector y = x sum(x), given no cotangent.

    Nothing objects: a 1 in the cotangent's place broadcasts, and out comes the gradient of sum(y).

    Source: A-vjp.
    """
    # forward: s = sum(x), y = x s
    s = np.sum(x)
    # backward
    d_y = 1
    d_s = np.sum(d_y * x)
    d_x = d_y * s + d_s
    return np.broadcast_to(d_x, x.shape).copy()


@checked
def backward_twice(x: Float[Array, ""], *, retain_graph: bool) -> Float[Array, ""]:
    """The sum of two backward passes through one forward pass of y = x**2 + 3 x + 1.

    The tape keeps its values for as long as anyone holds it: `retain_graph` has nothing to decide.

    Source: A-retain.
    """
    # forward
    tape = _Tape({}, x=x)
    tape.quadratic()
    # backward
    return tape.backward("y")["x"] + tape.backward("y")["x"]


@checked
def backward_twice_additions(x: Float[Array, ""]) -> Float[Array, ""]:
    """The sum of two backward passes through y = x + x + 1, whose derivative 2 needs no x.

    The tape keeps x all the same; the rule of an addition does not look at it.

    Source: A-retain.
    """
    # forward
    tape = _Tape({"1": 1}, x=x)
    tape.apply("add", "x", "x", output="2x")
    tape.apply("add", "2x", "1", output="y")
    # backward
    return tape.backward("y")["x"] + tape.backward("y")["x"]


@checked
def stop_gradient(x: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Y = x c + 3 x + 1 with c = x held constant: the value of the quadratic, but dy/dx = c + 3.

    The chain rule leaves out the term by c.

    Source: A-untracked.
    """
    c = x
    # forward
    y = x * c + 3 * x + 1
    # backward
    d_y = np.ones_like(y)
    d_x = d_y * (c + 3)
    return y, d_x


@checked
def paths(x: Float[Array, ""]) -> dict[str, Float[Array, ""]]:
    """What reaches x from y = a b through a = x + 2 alone, through b = x + 3 alone, and by both.

    Source: A 7.4, A-product.
    """
    # forward
    a = x + 2
    b = x + 3
    # backward
    d_a = b
    d_b = a
    return {"a": d_a, "b": d_b, "both": d_a + d_b}


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
    x: Float[Array, ""], *, learning_rate: float
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
    x: Float[Array, ""], *, learning_rate: float
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


@checked
def total_differential(
    x: Float[Array, ""],
    w: Float[Array, ""],
    b: Float[Array, ""],
    dw: Float[Array, ""],
    db: Float[Array, ""],
) -> Float[Array, ""]:
    """dy = dy/dw dw + dy/db db for y = w x + b, in forward mode.

    Source: E-graph.
    """
    return dw * x + db


def _affine_grads(x: Array, w: Array, b: Array) -> dict[str, Array]:
    # forward
    y = w * x + b
    # backward
    d_y = np.ones_like(y)
    return {"x": d_y * w, "w": d_y * x, "b": d_y}
