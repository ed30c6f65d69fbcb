"""Activation functions with their slopes, and what three layers can learn with one and without.

NumPy: each slope is the derivative on paper. No exp overflows: its argument is at most 0.

x holds any numbers; every activation returns y and dy/dx, entry by entry. The network has three
linear layers, and with `nonlinear` a ReLU after the first; its loss is the mean squared error.
"""

import math
from typing import Annotated

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array

from numpy_ref import Count, Positive, checked

Params = Annotated[
    dict[str, Array],
    {
        "fc1.weight": "hidden1 features",
        "fc1.bias": "hidden1",
        "fc2.weight": "hidden2 hidden1",
        "fc2.bias": "hidden2",
        "output.weight": "outputs hidden2",
        "output.bias": "outputs",
    },
]

_erfc = np.vectorize(math.erfc, otypes=[np.float64])


@checked
def relu(x: Float[Array, "*n"]) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """y = max(0, x), dy/dx = 1 where x > 0, else 0.

    At 0 every slope from 0 to 1 would do; `x > 0` takes 0.

    Source: document B.
    """
    # forward
    y = np.maximum(x, 0)
    # backward
    d_x = (x > 0).astype(x.dtype)  # (*n)
    return y, d_x


@checked
def sigmoid(x: Float[Array, "*n"]) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """y = 1 / (1 + exp(-x)), dy/dx = y (1 - y).

    Where y rounds to 1 the slope is exactly 0: beyond 17 in float32, beyond 37 in float64. On the
    other side it lasts until exp(x) is 0.

    Source: document B.
    """
    # forward
    power = np.exp(-np.abs(x))
    y = np.where(x >= 0, 1, power) / (1 + power)
    # backward
    d_x = y * (1 - y)  # (*n)
    return y, d_x


@checked
def tanh(x: Float[Array, "*n"]) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """y = (exp(x) - exp(-x)) / (exp(x) + exp(-x)), dy/dx = 1 - y**2.

    The slope is exactly 0 beyond 10 in float32, beyond 20 in float64, on both sides.
    """
    # forward
    y = np.tanh(x)
    # backward
    d_x = 1 - y**2  # (*n)
    return y, d_x


@checked
def softplus(x: Float[Array, "*n"]) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """y = log(1 + exp(x)), dy/dx = sigmoid(x): a ReLU without a kink.

    `logaddexp` takes the larger exponent out of the logarithm.
    """
    # forward
    y = np.logaddexp(0, x)
    # backward
    d_x, _ = sigmoid(x)  # (*n)
    return y, d_x


@checked
def gelu(x: Float[Array, "*n"]) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """y = x P(x), dy/dx = P(x) + x p(x), with P(x) = (1 + erf(x / sqrt(2))) / 2 and p its slope.

    NumPy has neither erf nor erfc; Python's own take one number at a time. P(x) is also
    erfc(-x / sqrt(2)) / 2, which keeps its digits far to the left, where 1 + erf has none.

    Source: Hendrycks and Gimpel, "Gaussian error linear units", 2016.
    """
    # forward
    probability = (_erfc(-x / math.sqrt(2)) / 2).astype(x.dtype)
    y = x * probability
    # backward
    # beyond 40 the density is 0, and the square might overflow
    density = np.exp(-(np.clip(x, -40, 40) ** 2) / 2) / math.sqrt(2 * math.pi)
    d_x = probability + x * density  # (*n)
    return y, d_x


@checked
def network(
    params: Params, x: Float[Array, "n features"], *, nonlinear: bool
) -> Float[Array, "n outputs"]:
    """y = (h W2^T + b2) W3^T + b3, where h = relu(x W1^T + b1), or without the relu.

    Source: document C, next steps.
    """
    z1 = x @ params["fc1.weight"].T + params["fc1.bias"]
    h1 = np.maximum(z1, 0) if nonlinear else z1
    z2 = h1 @ params["fc2.weight"].T + params["fc2.bias"]
    return z2 @ params["output.weight"].T + params["output.bias"]


@checked
def collapse(params: Params) -> dict[str, Array]:
    """W = W3 W2 W1, b = W3 (W2 b1 + b2) + b3: the one affine map that three linear layers are.

    Returns:
        "weight" and "bias" of a single layer with the outputs of `network(..., nonlinear=False)`.
    """
    w2, w3 = params["fc2.weight"], params["output.weight"]
    weight = w3 @ w2 @ params["fc1.weight"]
    bias = w3 @ (w2 @ params["fc1.bias"] + params["fc2.bias"]) + params["output.bias"]
    return {"weight": weight, "bias": bias}


@checked
def decide(
    params: Params, x: Float[Array, "n features"], *, nonlinear: bool
) -> Bool[Array, "n outputs"]:
    """Whether the output is above 1/2: the answer of a network that has learned from 0 and 1."""
    return network(params, x, nonlinear=nonlinear) > 0.5


@checked
def loss_and_grads(
    params: Params, x: Float[Array, "n features"], t: Float[Array, "n outputs"], *, nonlinear: bool
) -> tuple[Float[Array, ""], Params]:
    """L = mean((y - t)**2), and its derivative by every parameter."""
    w1, w2, w3 = params["fc1.weight"], params["fc2.weight"], params["output.weight"]
    # forward
    z1 = x @ w1.T + params["fc1.bias"]
    h1 = np.maximum(z1, 0) if nonlinear else z1
    z2 = h1 @ w2.T + params["fc2.bias"]
    y = z2 @ w3.T + params["output.bias"]
    r = y - t
    value = np.mean(r**2)
    # backward
    # the mean, the square, the difference
    d_y = 2 * r / r.size  # (n, outputs)
    # the third layer, by the rules of `linear_layer`
    d_w3 = d_y.T @ z2  # (outputs, hidden2)
    d_b3 = d_y.sum(axis=0)  # (outputs,)
    d_z2 = d_y @ w3  # (n, hidden2)
    # the second layer
    d_w2 = d_z2.T @ h1  # (hidden2, hidden1)
    d_b2 = d_z2.sum(axis=0)  # (hidden2,)
    d_h1 = d_z2 @ w2  # (n, hidden1)
    # ReLU: what was above 0 passes
    d_z1 = d_h1 * (z1 > 0) if nonlinear else d_h1  # (n, hidden1)
    # the first layer
    d_w1 = d_z1.T @ x  # (hidden1, features)
    d_b1 = d_z1.sum(axis=0)  # (hidden1,)
    grads = {"fc1.weight": d_w1, "fc1.bias": d_b1, "fc2.weight": d_w2, "fc2.bias": d_b2}
    return value, grads | {"output.weight": d_w3, "output.bias": d_b3}


@checked
def fit(
    params: Params,
    x: Float[Array, "n features"],
    t: Float[Array, "n outputs"],
    *,
    nonlinear: bool,
    learning_rate: Positive,
    steps: Count,
) -> tuple[Params, Float[Array, " steps"]]:
    """Gradient descent on all rows: p <- p - rate dL/dp, over and over.

    Returns:
        The parameters after the last update, and the loss before each one.

    Source: document C, next steps.
    """
    losses = []
    for _ in range(steps):
        # forward, backward
        value, grads = loss_and_grads(params, x, t, nonlinear=nonlinear)
        losses.append(value)
        # update
        params = {name: p - learning_rate * grads[name] for name, p in params.items()}
    return params, np.array(losses)


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
