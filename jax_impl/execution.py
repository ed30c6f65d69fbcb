"""One training step, three ways to run it: as written, compiled, the whole loop compiled.

JAX: `jit` makes one program of a step, `lax.scan` one of the whole loop. Without either, every
operation is dispatched by itself, which JAX is not made for.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from jax_impl import Below, Device, Positive, checked
from jax_impl.classifier import Params, fit, loss, loss_and_grads
from jax_impl.optimizers import sgd_step


@checked
def modes(*, device: Device = "cpu") -> dict[str, str]:
    """Which of the three forms of the training loop run on a device.

    Args:
        device: one of `devices()`.

    Returns:
        For "as_written", "compiled_step" and "compiled_loop": "" if it runs, or why it does not.
    """
    return {"as_written": "", "compiled_step": "", "compiled_loop": ""}


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

    Args:
        params: where to start; left as they are.
        x: one row for each sample.
        t: the class of each row.
        batches: the row numbers that each step sees.
        learning_rate: the size of a step of gradient descent.

    Returns:
        The parameters after the last update, and the loss before each one.

    Source: A 7.1.
    """
    losses = []
    for rows in batches:
        value, grads = jax.value_and_grad(loss)(params, x[rows], t[rows])
        params = {name: p - learning_rate * grads[name] for name, p in params.items()}
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
    """The same loop in Python over one step that is compiled once: gradient and update together.

    Args and Returns: as for `as_written`.

    Source: A 7.1.
    """
    losses = []
    # a Python number would be sent to the device at every step
    rate = jnp.asarray(learning_rate)
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

    Args and Returns: as for `as_written`.

    Source: A 7.1.
    """
    return fit(params, x, t, batches, optimizer="sgd", learning_rate=learning_rate)


@jax.jit
def _step(
    params: Params, x: Array, t: Array, rows: Array, learning_rate: float
) -> tuple[Params, Array]:
    value, grads = loss_and_grads(params, x[rows], t[rows])
    return sgd_step(params, grads, learning_rate=learning_rate), value


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
