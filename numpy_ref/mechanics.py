"""How a backward pass behaves: accumulation, cotangents, reuse, stopping, several paths.

NumPy: the backward pass is code of one's own: nothing checks it, and nothing adds up by itself.
What an engine would have to save for it, such as x, is a variable that still exists.
"""

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from numpy_ref import Count, checked


def _affine_grads(inputs: dict[str, Array]) -> dict[str, Array]:
    x, w, b = (inputs[name] for name in ("x", "w", "b"))
    # forward
    y = w * x + b
    # backward
    d_y = np.ones_like(y)
    return {"x": d_y * w, "w": d_y * x, "b": d_y}


@checked
def accumulate(
    x: Float[Array, ""], w: Float[Array, ""], b: Float[Array, ""], *, times: Count, reset: bool
) -> dict[str, Float[Array, " times"]]:
    """The gradients of y = w x + b, read after each of several backward passes.

    A backward pass gives a fresh gradient; what adds up is a sum of one's own, and a reset starts
    it anew.

    Source: document A, section 7.3; document D, accumulation.
    """
    inputs = {"x": x, "w": w, "b": b}
    total = None
    readings = []
    for _ in range(times):
        # forward, backward
        grads = _affine_grads(inputs)
        total = grads if total is None else {name: total[name] + grads[name] for name in grads}
        readings.append(total)
        # reset
        if reset:
            total = None
    return {name: np.stack([reading[name] for reading in readings]) for name in inputs}


@checked
def reset_gradients(
    x: Float[Array, ""], w: Float[Array, ""], b: Float[Array, ""], *, set_to_none: bool
) -> tuple[dict[str, Array | None], dict[str, Float[Array, ""]]]:
    """What a reset leaves of the gradients of y = w x + b, and the gradients after one more pass.

    No state holds a gradient, so there is none to reset: one's own sum starts at zero or at none.

    Source: document A, section 7.3.
    """
    inputs = {"x": x, "w": w, "b": b}
    # reset
    left = {name: None if set_to_none else np.zeros_like(leaf) for name, leaf in inputs.items()}
    # forward, backward
    grads = _affine_grads(inputs)
    return left, {name: g if left[name] is None else left[name] + g for name, g in grads.items()}


@checked
def vector_jacobian_product(
    x: Float[Array, " n"], cotangent: Float[Array, " n"]
) -> Float[Array, " n"]:
    """v^T J of y = x sum(x), where J = sum(x) I + x 1^T: one pass, and J is never built.

    Args:
        cotangent: v, one weight for each output; [1, 0, 0] picks the first row of J.

    Source: document A, section 7.3, a vector output.
    """
    # forward; y = x s itself is not needed
    s = np.sum(x)
    # backward
    d_y = cotangent  # (n,)
    d_s = np.sum(d_y * x)  # ()
    d_x = d_y * s + d_s * np.ones_like(x)  # (n,)
    return d_x


@checked
def backward_without_cotangent(x: Float[Array, " n"]) -> Float[Array, " n"]:
    """The backward pass of the vector y = x sum(x), given no cotangent.

    Nothing objects: a 1 in the cotangent's place broadcasts, and out comes the gradient of sum(y).

    Source: document A, section 7.3, a vector output.
    """
    # forward; y = x s itself is not needed
    s = np.sum(x)
    # backward
    d_y = 1  # (), where (n,) belongs
    d_s = np.sum(d_y * x)  # ()
    d_x = d_y * s + d_s * np.ones_like(x)  # (n,)
    return d_x


@checked
def backward_twice(x: Float[Array, ""], *, retain_graph: bool) -> Float[Array, ""]:
    """The sum of two backward passes through one forward pass of y = x**2 + 3 x + 1.

    What the backward pass needs, x, is a variable that is still there: a second pass gives the same
    again, and `retain_graph` has nothing to decide.

    Source: document A, section 7.3, a second backward pass.
    """
    # forward
    y = x**2 + 3 * x + 1
    # backward
    d_y = np.ones_like(y)
    d_x = d_y * (2 * x + 3)
    return d_x + d_x


@checked
def backward_twice_additions(x: Float[Array, ""]) -> Float[Array, ""]:
    """The sum of two backward passes through y = x + x + 1, whose derivative 2 needs no x.

    Source: document A, section 7.3, a second backward pass.
    """
    # forward
    y = x + x + 1
    # backward
    d_y = np.ones_like(y)
    d_x = d_y + d_y
    return d_x + d_x


@checked
def stop_gradient(x: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """y = x c + 3 x + 1 with c = x held constant: the value of the quadratic, but dy/dx = c + 3.

    The chain rule leaves out the term by c.

    Source: document A, section 7.3.
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

    Source: document A, section 7.4.
    """
    # forward
    a = x + 2
    b = x + 3
    y = a * b
    # backward
    d_y = np.ones_like(y)
    d_a = d_y * b
    d_b = d_y * a
    # x + 2 and x + 3 hand on what they get
    through_a = d_a
    through_b = d_b
    return {"a": through_a, "b": through_b, "both": through_a + through_b}


@checked
def total_differential(
    x: Float[Array, ""],
    w: Float[Array, ""],
    b: Float[Array, ""],
    dw: Float[Array, ""],
    db: Float[Array, ""],
) -> Float[Array, ""]:
    """dy = dy/dw dw + dy/db db for y = w x + b, in forward mode.

    Source: document E, the total differential.
    """
    return dw * x + db


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
