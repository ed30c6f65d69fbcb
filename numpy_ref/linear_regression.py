"""Linear regression: a line fitted to points, by gradient descent on two scalars.

NumPy: the two gradients are sums over the points, each line in the order in which autograd applies
the chain rule. For up to four points the losses and both parameters then equal PyTorch's bit by
bit; from five on the two add up in another order.

params hold the slope "w" and the intercept "b"; x is where the points are, t how high they are.
learning_rate is the size of a step along the negative gradient. Gradients have the names of the
parameters.
"""

from typing import Annotated

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from numpy_ref import Count, Positive, checked
from numpy_ref.optimizers import sgd_step

Params = Annotated[dict[str, Array], {"w": "", "b": ""}]


@checked
def predict(params: Params, x: Float[Array, "n 1"]) -> Float[Array, "n 1"]:
    """y = w x + b.

    Source: document A, section 7.6; document E.
    """
    return params["w"] * x + params["b"]


@checked
def loss(params: Params, x: Float[Array, "n 1"], t: Float[Array, "n 1"]) -> Float[Array, ""]:
    """Mean squared error: L = mean((w x + b - t)**2).

    Source: document A, section 7.6; documents D and E.
    """
    return np.mean((predict(params, x) - t) ** 2)


@checked
def loss_and_grads(
    params: Params, x: Float[Array, "n 1"], t: Float[Array, "n 1"]
) -> tuple[Float[Array, ""], Params]:
    """L, dL/dw = mean(2 (y - t) x) and dL/db = mean(2 (y - t)).

    Source: document A, section 7.6.
    """
    # forward
    y = predict(params, x)
    r = y - t
    value = np.mean(r**2)
    # backward
    # the mean weighs each square by 1 / size; first this product, for autograd's last bit
    d_r = (1 / r.size) * (2 * r)  # (n, 1)
    # dr/dy = 1: the cotangent of r is that of y
    d_y = d_r  # (n, 1)
    # w and b are used at every point, and the terms add up
    d_w = np.sum(d_y * x)  # ()
    d_b = np.sum(d_y)  # ()
    return value, {"w": d_w, "b": d_b}


@checked
def fit(
    params: Params,
    x: Float[Array, "n 1"],
    t: Float[Array, "n 1"],
    *,
    learning_rate: Positive,
    steps: Count,
) -> tuple[Params, Float[Array, " steps"]]:
    """Gradient descent by hand: w <- w - rate dL/dw, b <- b - rate dL/db, once an epoch.

    Args:
        params: where to start; left as they are.
        steps: how many updates, each on all points: the documents' epochs.

    Returns:
        The parameters after the last update, and the loss before each one.

    Source: document A, section 7.6.
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
    x: Float[Array, "n 1"],
    t: Float[Array, "n 1"],
    *,
    learning_rate: Positive,
    steps: Count,
) -> tuple[Params, Float[Array, " steps"]]:
    """The same descent, with an optimiser for the update.

    Source: document D.
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
def least_squares(x: Float[Array, "n 1"], t: Float[Array, "n 1"]) -> Params:
    """The line of the least loss, in closed form: w = cov(x, t) / var(x), b = mean(t) - w mean(x).

    Where dloss/db = 0 the line goes through the means; dloss/dw = 0 is then one equation in w.

    Args:
        x: inputs; at least two of them differ, since otherwise no slope is the best.

    Source: document E, least squares.
    """
    dx = x - np.mean(x)
    w = np.sum(dx * (t - np.mean(t))) / np.sum(dx**2)
    return {"w": w, "b": np.mean(t) - w * np.mean(x)}


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
