"""Activation functions with their slopes, and what three layers can learn with one and without.

PyTorch: autograd knows the slope of each. A vector of outputs needs a cotangent; from ones, each
entry of `.grad` becomes the slope of its own output.

x holds any numbers; every activation returns y and dy/dx, entry by entry. The network has three
linear layers, and with `nonlinear` a ReLU after the first; its loss is the mean squared error.
"""

from collections.abc import Callable
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from torch import Tensor as Array
from torch.nn import functional

from torch_impl import Count, Positive, checked

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


@checked
def relu(x: Float[Array, "*n"]) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """y = max(0, x), dy/dx = 1 where x > 0, else 0.

    At 0 every slope from 0 to 1 would do; `torch.relu` takes 0.

    Source: document B.
    """
    return _with_slope(torch.relu, x)


@checked
def sigmoid(x: Float[Array, "*n"]) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """y = 1 / (1 + exp(-x)), dy/dx = y (1 - y).

    Where y rounds to 1 the slope is exactly 0: beyond 17 in float32, beyond 37 in float64. On the
    other side it lasts until exp(x) is 0.

    Source: document B.
    """
    return _with_slope(torch.sigmoid, x)


@checked
def tanh(x: Float[Array, "*n"]) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """y = (exp(x) - exp(-x)) / (exp(x) + exp(-x)), dy/dx = 1 - y**2.

    The slope is exactly 0 beyond 10 in float32, beyond 20 in float64, on both sides.
    """
    return _with_slope(torch.tanh, x)


@checked
def softplus(x: Float[Array, "*n"]) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """y = log(1 + exp(x)), dy/dx = sigmoid(x): a ReLU without a kink.

    Above its threshold `softplus` returns x itself. By default that is 20, where float64 would
    still tell them apart.
    """
    return _with_slope(lambda x: functional.softplus(x, threshold=40), x)


@checked
def gelu(x: Float[Array, "*n"]) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """y = x P(x), dy/dx = P(x) + x p(x), with P(x) = (1 + erf(x / sqrt(2))) / 2 and p its slope.

    `gelu` is exact unless told otherwise. It adds 1 and erf, so far to the left it has no digits
    and soon is 0.

    Source: Hendrycks and Gimpel, "Gaussian error linear units", 2016.
    """
    return _with_slope(functional.gelu, x)


@checked
def network(
    params: Params, x: Float[Array, "n features"], *, nonlinear: bool
) -> Float[Array, "n outputs"]:
    """y = (h W2^T + b2) W3^T + b3, where h = relu(x W1^T + b1), or without the relu.

    Source: document C, next steps.
    """
    z1 = x @ params["fc1.weight"].T + params["fc1.bias"]
    h1 = torch.relu(z1) if nonlinear else z1
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
    params = {name: p.detach().requires_grad_() for name, p in params.items()}
    # forward
    y = network(params, x, nonlinear=nonlinear)
    value = torch.mean((y - t) ** 2)
    # backward
    value.backward()
    return value.detach(), {name: p.grad for name, p in params.items()}


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
    params = {name: p.detach().clone().requires_grad_() for name, p in params.items()}
    losses = []
    for _ in range(steps):
        # reset
        for p in params.values():
            p.grad = None
        # forward
        y = network(params, x, nonlinear=nonlinear)
        value = torch.mean((y - t) ** 2)
        losses.append(value.detach())
        # backward
        value.backward()
        # update
        with torch.no_grad():
            for p in params.values():
                p -= learning_rate * p.grad
    return {name: p.detach() for name, p in params.items()}, torch.stack(losses)


def _with_slope(activation: Callable[[Array], Array], x: Array) -> tuple[Array, Array]:
    x = x.detach().requires_grad_()
    # forward
    y = activation(x)
    # backward
    y.backward(torch.ones_like(y))
    return y.detach(), x.grad


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
