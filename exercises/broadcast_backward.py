"""Backward through a broadcast: what dL/db is.

y = x W^T + b adds one bias, of the shape (out,), to each of the n rows: it is broadcast. Backward
something of the shape (n, out) arrives at y, and dL/db has the shape (out,) again. Its line is
missing.

Hint: forward the bias was copied n times; each copy sends back a gradient of its own, and they add
up. What a broadcast stretches forward is summed backward, along the same axis.
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
    d_weight = d_y.T @ x.reshape(-1, x.shape[-1])  # (out, in)
    d_bias = ...  # your line
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
        drawn(n=1, features=2, out=3),
        drawn(n=3, features=2, out=3),
        drawn(n=4, features=2, out=3),
    )
