"""Backward through a linear layer: what dL/dW is.

y = x W^T + b, with a row of x for each sample, and L the mean of (y - t)**2. What arrives at y is
d_y, of the shape (n, out). W has the shape (out, in), and so has dL/dW. Its line is missing.

Hint: d_y[n, o] meets x[n, i] in W[o, i], once for each sample n. A sum over n of such products is a
matrix product; the shapes say which factor has to be transposed.
"""

import numpy as np

from numpy_ref.linear_layer import linear


def loss_and_grads(params, x, t):
    """L, and dL/dW and dL/db; x has the shape (n, in), t has (n, out)."""
    weight, bias = params["weight"], params["bias"]
    # forward
    y = linear(x, weight, bias)
    r = y - t
    value = np.mean(r**2)
    # backward
    d_r = (1 / r.size) * (2 * r)  # (n, out)
    d_y = d_r.reshape(-1, len(weight))  # (n, out)
    d_weight = ...  # your line
    d_bias = d_y.sum(axis=0)  # (out,)
    return value, {"weight": d_weight, "bias": d_bias}


if __name__ == "__main__":
    from numpy_ref import linear_layer
    from triptych.exercise import case, grade

    def drawn(n, features, out):
        """A layer, n samples and their targets."""
        rng = np.random.default_rng(0)
        params = {"weight": rng.normal(size=(out, features)), "bias": rng.normal(size=out)}
        return case(params, rng.normal(size=(n, features)), rng.normal(size=(n, out)))

    grade(
        loss_and_grads,
        linear_layer.loss_and_grads,
        drawn(n=1, features=3, out=3),
        drawn(n=4, features=3, out=3),
        drawn(n=5, features=3, out=2),
    )
