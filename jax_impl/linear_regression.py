"""Linear regression: a line fitted to points, by gradient descent on two scalars.

JAX: the loss is a function of a dictionary, and so is its gradient; `scan` compiles all epochs
into one program. On a CPU its multiply-adds round once (FMA), so last bits can differ.

params hold the slope "w" and the intercept "b"; x is where the points are, t how high they are.
learning_rate is the size of a step along the negative gradient. Gradients have the names of the
parameters.
"""

from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jax_impl import Count, Positive, checked
from jax_impl.optimizers import sgd_step

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
    # flat: XLA takes five times as long for sums over an axis of length 1
    x, t = x.ravel(), t.ravel()
    return jnp.mean((params["w"] * x + params["b"] - t) ** 2)


@checked
@jax.jit
def loss_and_grads(
    params: Params, x: Float[Array, "n 1"], t: Float[Array, "n 1"]
) -> tuple[Float[Array, ""], Params]:
    """L, dL/dw = mean(2 (y - t) x) and dL/db = mean(2 (y - t)).

    Source: document A, section 7.6.
    """
    # forward, backward
    return jax.value_and_grad(loss)(params, x, t)


@checked
@partial(jax.jit, static_argnames="steps")
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

    def epoch(params: Params, _: None) -> tuple[Params, Array]:
        # forward, backward
        value, grads = loss_and_grads(params, x, t)
        # update
        w = params["w"] - learning_rate * grads["w"]
        b = params["b"] - learning_rate * grads["b"]
        return {"w": w, "b": b}, value

    return jax.lax.scan(epoch, params, length=steps)


@checked
@partial(jax.jit, static_argnames="steps")
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

    def epoch(params: Params, _: None) -> tuple[Params, Array]:
        # forward, backward
        value, grads = loss_and_grads(params, x, t)
        # update
        return sgd_step(params, grads, learning_rate=learning_rate), value

    return jax.lax.scan(epoch, params, length=steps)


@checked
@jax.jit
def least_squares(x: Float[Array, "n 1"], t: Float[Array, "n 1"]) -> Params:
    """The line of the least loss, in closed form: w = cov(x, t) / var(x), b = mean(t) - w mean(x).

    For more than one input, `jnp.linalg.lstsq` solves the same.

    Args:
        x: inputs; at least two of them differ, since otherwise no slope is the best.

    Source: document E, least squares.
    """
    dx = x - jnp.mean(x)
    w = jnp.sum(dx * (t - jnp.mean(t))) / jnp.sum(dx**2)
    return {"w": w, "b": jnp.mean(t) - w * jnp.mean(x)}


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
