"""One linear layer, trained by gradient descent on the mean squared error.

NumPy: the gradients are the chain rule on paper, each line in the order in which autograd applies
it; sums and products add up in an order of their own, and may differ in the last bits. Training
replaces the parameters by new arrays.

params hold "weight" (out, in), a row for each output, and "bias" (out,). x is one sample or any
number of them, t their targets, of exactly the shape of the outputs. learning_rate is the size of a
step along the negative gradient. Gradients have the names of the parameters.
"""

from typing import Annotated

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from numpy_ref import Count, Positive, checked
from numpy_ref.optimizers import sgd_step

Params = Annotated[dict[str, Array], {"weight": "out in", "bias": " out"}]


@checked
def linear(
    x: Float[Array, "*n in"], weight: Float[Array, "out in"], bias: Float[Array, " out"]
) -> Float[Array, "*n out"]:
    """y = x W^T + b.

    Source: documents B and C.
    """
    return x @ weight.T + bias


@checked
def mse_loss(y: Float[Array, "*n"], t: Float[Array, "*n"]) -> Float[Array, ""]:
    """Mean squared error: the mean of (y - t)**2 over every element.

    Source: document C.
    """
    return np.mean((y - t) ** 2)


@checked
def loss(params: Params, x: Float[Array, "*n in"], t: Float[Array, "*n out"]) -> Float[Array, ""]:
    """L = mean((x W^T + b - t)**2).

    Source: document C.
    """
    return mse_loss(linear(x, params["weight"], params["bias"]), t)


@checked
def loss_and_grads(
    params: Params, x: Float[Array, "*n in"], t: Float[Array, "*n out"]
) -> tuple[Float[Array, ""], Params]:
    """L = mean((x W^T + b - t)**2), and dL/dW, dL/db.

    Source: document C.
    """
    weight, bias = params["weight"], params["bias"]
    # forward
    y = linear(x, weight, bias)
    r = y - t
    value = np.mean(r**2)
    # backward
    # the mean weighs each square by 1 / size; first this product, for autograd's last bit
    d_r = (1 / r.size) * (2 * r)  # (*n, out)
    # dr/dy = 1: the cotangent of r is that of y
    d_y = d_r.reshape(-1, len(weight))  # (n, out), one row for each sample
    # the cotangent of a factor is that of the product, times the other factor; W_oi is a factor of
    # y_no in each sample n, and those terms add up
    d_weight = d_y.T @ x.reshape(-1, x.shape[-1])  # (out, in)
    # b was added to each sample, so its terms add up as well
    d_bias = d_y.sum(axis=0)  # (out,)
    return value, {"weight": d_weight, "bias": d_bias}


@checked
def fit(
    params: Params,
    x: Float[Array, "*n in"],
    t: Float[Array, "*n out"],
    *,
    learning_rate: Positive,
    steps: Count,
) -> tuple[Params, Float[Array, " steps"]]:
    """Gradient descent by hand: W <- W - rate dL/dW, b <- b - rate dL/db, over and over.

    Args:
        params: where to start; left as they are.

    Returns:
        The parameters after the last update, and the loss before each one.

    Source: document C.
    """
    losses = []
    for _ in range(steps):
        # forward, backward
        value, grads = loss_and_grads(params, x, t)
        losses.append(value)
        # update
        params = {name: p - learning_rate * grads[name] for name, p in params.items()}
    return params, np.array(losses)


@checked
def fit_with_optimizer(
    params: Params,
    x: Float[Array, "*n in"],
    t: Float[Array, "*n out"],
    *,
    learning_rate: Positive,
    steps: Count,
) -> tuple[Params, Float[Array, " steps"]]:
    """The same descent, with an optimiser for the update.

    Source: document C, next steps.
    """
    losses = []
    for _ in range(steps):
        # forward, backward
        value, grads = loss_and_grads(params, x, t)
        losses.append(value)
        # update
        params = sgd_step(params, grads, learning_rate=learning_rate)
    return params, np.array(losses)


@checked
def error_factor(x: Float[Array, " in"], *, learning_rate: Positive) -> Float[Array, ""]:
    """The factor that one step on one sample puts on y - t, one output: 1 - 2 rate (x.x + 1).

    Training diverges where its size exceeds 1 and crawls where it is close to 1.

    Source: document C, which says so without the number: 0.9772 at its rate.
    """
    return 1 - 2 * learning_rate * (x @ x + 1)


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
