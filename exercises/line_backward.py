"""Backward through a line: what dL/dw is.

L = mean((w x + b - t)**2), and the backward pass goes through it from the end: the mean, the
square, the difference, the product. The line for w is missing.

Hint: w stands in the error of every point, each time with the factor x of that point. A derivative
by what is used several times is the sum over the uses.
"""

import numpy as np

from numpy_ref.linear_regression import predict


def loss_and_grads(params, x, t):
    """L, dL/dw and dL/db; x and t have the shape (n, 1), w and b have none."""
    # forward
    y = predict(params, x)
    r = y - t
    value = np.mean(r**2)
    # backward
    d_r = (1 / r.size) * (2 * r)  # (n, 1)
    d_y = d_r  # (n, 1)
    d_w = ...  # your line
    d_b = np.sum(d_y)  # ()
    return value, {"w": d_w, "b": d_b}


if __name__ == "__main__":
    from numpy_ref import linear_regression
    from triptych import data
    from triptych.exercise import case, grade

    grade(
        loss_and_grads,
        linear_regression.loss_and_grads,
        case(*data.line()),
        case({"w": np.array(1.5), "b": np.array(-1.0)}, *data.noisy_line()[1:]),
    )
