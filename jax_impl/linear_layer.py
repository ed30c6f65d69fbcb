"""One linear layer, trained by gradient descent on the mean squared error.

JAX: `value_and_grad` turns the loss into a function that returns its gradients; `scan` makes the
training loop one compiled program, which may fuse a product and a sum into one rounding (FMA).

params hold "weight" (out, in), a row for each output, and "bias" (out,). x is one sample or any
number of them, t their targets, of exactly the shape of the outputs. learning_rate is the size of a
step along the negative gradient. Gradients have the names of the parameters.
"""

from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jax_impl import Count, Positive, checked
from jax_impl.optimizers import sgd_step

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
    return jnp.mean((y - t) ** 2)


@checked
def loss(params: Params, x: Float[Array, "*n in"], t: Float[Array, "*n out"]) -> Float[Array, ""]:
    """L = mean((x W^T + b - t)**2).

    Source: document C.
    """
    return mse_loss(linear(x, params["weight"], params["bias"]), t)


@checked
@jax.jit
def loss_and_grads(
    params: Params, x: Float[Array, "*n in"], t: Float[Array, "*n out"]
) -> tuple[Float[Array, ""], Params]:
    """L = mean((x W^T + b - t)**2), and dL/dW, dL/db.

    Source: document C.
    """
    # forward, backward
    return jax.value_and_grad(loss)(params, x, t)


@checked
@partial(jax.jit, static_argnames="steps")
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

    def step(params: Params, _: None) -> tuple[Params, Array]:
        # forward, backward
        value, grads = loss_and_grads(params, x, t)
        # update
        params = {name: p - learning_rate * grads[name] for name, p in params.items()}
        return params, value

    return jax.lax.scan(step, params, length=steps)


@checked
@partial(jax.jit, static_argnames="steps")
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

    def step(params: Params, _: None) -> tuple[Params, Array]:
        # forward, backward
        value, grads = loss_and_grads(params, x, t)
        # update
        return sgd_step(params, grads, learning_rate=learning_rate), value

    return jax.lax.scan(step, params, length=steps)


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
