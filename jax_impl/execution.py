"""One training loop, run in several ways: as written, compiled step by step, compiled whole.

JAX: `jit` makes one program of a step, `lax.scan` one of the whole loop. Without either, every
operation is dispatched by itself, which JAX is not made for.

params are where training starts and stay as they are; x has one row for each sample, t its class;
batches are the row numbers that each step sees; learning_rate is the size of a step of gradient
descent. Returned are the parameters after the last update, and the loss before each one.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from jax_impl import Below, Positive, checked
from jax_impl.classifier import Params, fit, loss


@jax.jit
def _step(
    params: Params, x: Array, t: Array, rows: Array, learning_rate: Array | float
) -> tuple[Params, Array]:
    """Gradient and update on some rows of x and t, gathered inside the program."""
    value, grads = jax.value_and_grad(loss)(params, x[rows], t[rows])
    return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads), value


@checked
def as_written(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    learning_rate: Positive,
) -> tuple[Params, Float[Array, " steps"]]:
    """The classifier's training loop with every operation run as Python reaches it.

    This is not how JAX is meant to be used: it shows what `jit` saves. `jax.disable_jit`, which
    also takes apart what JAX has compiled itself, is for debugging, and slower still.

    Source: document A, section 7.1.
    """
    losses = []
    for rows in batches:
        # forward, backward
        value, grads = jax.value_and_grad(loss)(params, x[rows], t[rows])
        # update
        params = jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)
        losses.append(value)
    return params, jnp.stack(losses)


@checked
def compiled_step(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    learning_rate: Positive,
) -> tuple[Params, Float[Array, " steps"]]:
    """The same loop in Python over one step that is compiled once: gather, gradient and update.

    Compiled anew for each shape and dtype, and not for each learning rate: that is an argument.

    Source: document A, section 7.1.
    """
    losses = []
    # a Python number would be sent to the device at every step
    rate = jnp.asarray(learning_rate, device=x.sharding)
    for rows in batches:
        params, value = _step(params, x, t, rows, rate)
        losses.append(value)
    return params, jnp.stack(losses)


@checked
def compiled_loop(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    learning_rate: Positive,
) -> tuple[Params, Float[Array, " steps"]]:
    """The whole loop as one program: Python is left once and entered again when it is over.

    `fit` is such a program: `lax.scan` over the batches, compiled once.

    Source: document A, section 7.1.
    """
    return fit(params, x, t, batches, optimizer="sgd", learning_rate=learning_rate)


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
