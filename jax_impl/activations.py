"""Activation functions with their slopes, and what three layers can learn with one and without.

JAX: `vjp` runs a function and returns its pullback. Ones, pulled back, are the slopes of all
entries, since each output depends on its own input alone.

x holds any numbers; every activation returns y and dy/dx, entry by entry. The network has three
linear layers, and with `nonlinear` a ReLU after the first; its loss is the mean squared error.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from jax_impl import Count, Positive, checked

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
@jax.jit
def relu(x: Float[Array, "*n"]) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """y = max(0, x), dy/dx = 1 where x > 0, else 0.

    At 0 every slope from 0 to 1 would do; `jax.nn.relu` takes 0.

    Source: document B.
    """
    return _with_slope(jax.nn.relu, x)


@checked
@jax.jit
def sigmoid(x: Float[Array, "*n"]) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """y = 1 / (1 + exp(-x)), dy/dx = y (1 - y).

    Where y rounds to 1 the slope is exactly 0: beyond 17 in float32, beyond 37 in float64. On the
    other side it lasts until exp(x) is 0.

    Source: document B.
    """
    return _with_slope(jax.nn.sigmoid, x)


@checked
@jax.jit
def tanh(x: Float[Array, "*n"]) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """y = (exp(x) - exp(-x)) / (exp(x) + exp(-x)), dy/dx = 1 - y**2.

    The slope is exactly 0 beyond 10 in float32, beyond 20 in float64, on both sides.
    """
    return _with_slope(jnp.tanh, x)


@checked
@jax.jit
def softplus(x: Float[Array, "*n"]) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """y = log(1 + exp(x)), dy/dx = sigmoid(x): a ReLU without a kink.

    `jax.nn.softplus` is a `logaddexp`, which takes the larger exponent out of the logarithm.
    """
    return _with_slope(jax.nn.softplus, x)


@checked
@jax.jit
def gelu(x: Float[Array, "*n"]) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """y = x P(x), dy/dx = P(x) + x p(x), with P(x) = (1 + erf(x / sqrt(2))) / 2 and p its slope.

    Unless told otherwise, `jax.nn.gelu` is an approximation by tanh. The exact one goes by
    erfc(-x / sqrt(2)) / 2, which keeps its digits far to the left, where 1 + erf has none.

    Source: Hendrycks and Gimpel, "Gaussian error linear units", 2016.
    """
    return _with_slope(partial(jax.nn.gelu, approximate=False), x)


@checked
@partial(jax.jit, static_argnames="nonlinear")
def network(
    params: Params, x: Float[Array, "n features"], *, nonlinear: bool
) -> Float[Array, "n outputs"]:
    """y = (h W2^T + b2) W3^T + b3, where h = relu(x W1^T + b1), or without the relu.

    Source: document C, next steps.
    """
    z1 = x @ params["fc1.weight"].T + params["fc1.bias"]
    h1 = jax.nn.relu(z1) if nonlinear else z1
    z2 = h1 @ params["fc2.weight"].T + params["fc2.bias"]
    return z2 @ params["output.weight"].T + params["output.bias"]


@checked
@jax.jit
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
@partial(jax.jit, static_argnames="nonlinear")
def decide(
    params: Params, x: Float[Array, "n features"], *, nonlinear: bool
) -> Bool[Array, "n outputs"]:
    """Whether the output is above 1/2: the answer of a network that has learned from 0 and 1."""
    return network(params, x, nonlinear=nonlinear) > 0.5


@checked
@partial(jax.jit, static_argnames="nonlinear")
def loss_and_grads(
    params: Params, x: Float[Array, "n features"], t: Float[Array, "n outputs"], *, nonlinear: bool
) -> tuple[Float[Array, ""], Params]:
    """L = mean((y - t)**2), and its derivative by every parameter."""
    # forward, backward
    return jax.value_and_grad(_loss)(params, x, t, nonlinear)


@checked
@partial(jax.jit, static_argnames=("nonlinear", "steps"))
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

    def step(params: Params, _: None) -> tuple[Params, Array]:
        # forward, backward
        value, grads = loss_and_grads(params, x, t, nonlinear=nonlinear)
        # update
        params = jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)
        return params, value

    return jax.lax.scan(step, params, length=steps)


def _loss(params: Params, x: Array, t: Array, nonlinear: bool) -> Array:
    return jnp.mean((network(params, x, nonlinear=nonlinear) - t) ** 2)


def _with_slope(activation: Callable[[Array], Array], x: Array) -> tuple[Array, Array]:
    # forward
    y, pullback = jax.vjp(activation, x)
    # backward
    (d_x,) = pullback(jnp.ones_like(y))
    return y, d_x


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
