"""Regularisation: a penalty on the parameters, dropout while training, stopping in time.

JAX: the penalty is a term of the function that is differentiated, dropout another function; loops
are compiled. Stopping is for Python to decide, between one compiled stretch and the next.

params are the classifier's, x (n, features) its rows, t (n,) their classes, batches (steps, batch)
the row numbers of each step. optimizer is "sgd" or "adam", learning_rate the size of its steps.
"""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jax_impl import Below, Count, Fraction, NonNegative, Positive, UpTo, checked
from jax_impl.classifier import Params, dropout, loss, loss_and_grads
from jax_impl.optimizers import State, adam_start, adam_step, sgd_step


@checked
@jax.jit
def penalised_loss_and_grads(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    *,
    penalty: NonNegative,
) -> tuple[Float[Array, ""], Params]:
    """L + penalty / 2 sum p**2 over every parameter, and its gradients: dL/dp + penalty p.

    The biases are penalised too, as by PyTorch's `weight_decay` of all parameters.

    Source: document C, where it is left out; Krogh and Hertz, "A simple weight decay can improve
    generalization", 1991.
    """

    def penalised(params: Params) -> Array:
        squares = jax.tree.map(lambda p: jnp.sum(p**2), params)
        return loss(params, x, t) + penalty / 2 * jax.tree.reduce(jnp.add, squares)

    # forward, backward
    return jax.value_and_grad(penalised)(params)


@checked
@partial(jax.jit, static_argnames=("within", "optimizer"))
def fit(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    penalty: NonNegative,
    within: Literal["loss", "update"],
    optimizer: Literal["sgd", "adam"],
    learning_rate: Positive,
) -> tuple[Params, Float[Array, " steps"]]:
    """Training with a penalty in the loss, or with weight decay: p <- p - rate penalty p besides.

    For SGD the two are one, since p - rate (g + penalty p) is both. Adam divides what is in the
    gradient by the root of its mean square, the penalty too; what is in the update it leaves alone.

    Args:
        penalty: the weight of the squares, or of the decay.
        within: "loss", or "update" for weight decay (with Adam, AdamW).

    Returns:
        The parameters after the last update, and before each one the loss, without the penalty.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.
    """

    def step(carry: tuple[Params, State], rows: Array) -> tuple[tuple[Params, State], Array]:
        params, state = carry
        # forward, backward
        value, grads = loss_and_grads(params, x[rows], t[rows])
        if within == "loss":
            grads = jax.tree.map(lambda g, p: g + penalty * p, grads, params)
        # update
        decay = learning_rate * penalty if within == "update" else 0.0
        moved, state = _moved(params, grads, state, optimizer, learning_rate)
        return (jax.tree.map(lambda m, p: m - decay * p, moved, params), state), value

    (params, _), losses = jax.lax.scan(step, (params, _start(params, optimizer)), batches)
    return params, losses


@checked
@jax.jit
def dropout_loss_and_grads(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    mask: Bool[Array, "n hidden1"],
    *,
    rate: Fraction,
) -> tuple[Float[Array, ""], Params]:
    """The loss with dropout behind the first layer, and its gradients: a dropped unit has none.

    Args:
        mask: True where a unit is kept; drawn beforehand, so that all columns drop the same.
        rate: the share that is dropped.

    Source: Srivastava et al., "Dropout", 2014.
    """

    def thinned(params: Params) -> Array:
        z1 = x @ params["fc1.weight"].T + params["fc1.bias"]
        k1 = dropout(jax.nn.relu(z1), mask, rate=rate, training=True)
        z2 = k1 @ params["fc2.weight"].T + params["fc2.bias"]
        z3 = jax.nn.relu(z2) @ params["output.weight"].T + params["output.bias"]
        return -jnp.mean(jax.nn.log_softmax(z3, axis=1)[jnp.arange(len(t)), t])

    # forward, backward
    return jax.value_and_grad(thinned)(params)


@checked
@partial(jax.jit, static_argnames="optimizer")
def fit_with_dropout(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    masks: Bool[Array, "steps batch hidden1"],
    *,
    rate: Fraction,
    optimizer: Literal["sgd", "adam"],
    learning_rate: Positive,
) -> tuple[Params, Float[Array, " steps"]]:
    """Training with another mask for each step; `classifier.predict` afterwards drops nothing.

    Args:
        masks: for each step, True where a unit is kept.
        rate: the share that is dropped.

    Returns:
        The parameters after the last update, and before each one the loss with dropout.

    Source: Srivastava et al., "Dropout", 2014.
    """

    def step(
        carry: tuple[Params, State], seen: tuple[Array, Array]
    ) -> tuple[tuple[Params, State], Array]:
        (params, state), (rows, mask) = carry, seen
        # forward, backward
        value, grads = dropout_loss_and_grads(params, x[rows], t[rows], mask, rate=rate)
        # update
        return _moved(params, grads, state, optimizer, learning_rate), value

    (params, _), losses = jax.lax.scan(step, (params, _start(params, optimizer)), (batches, masks))
    return params, losses


@checked
def fit_with_early_stopping(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    x_held: Float[Array, "held features"],
    t_held: Below[Int[Array, " held"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    every: UpTo[Count, " steps"],
    patience: Count,
    optimizer: Literal["sgd", "adam"],
    learning_rate: Positive,
) -> tuple[Params, Float[Array, " looks"]]:
    """Training that stops when the loss of held-out rows falls no more, and keeps the best it had.

    Args:
        x_held: rows that are not trained on.
        t_held: their classes.
        every: steps from one look at them to the next; the first look is at the start.
        patience: how many looks in a row may be no better than the best.

    Returns:
        The parameters of the best look, and the loss at each.

    Source: Prechelt, "Early stopping - but when?", 1998.
    """
    state, looks = _start(params, optimizer), [_loss(params, x_held, t_held)]
    best, since = params, 0
    for start in range(0, len(batches), every):
        rows = batches[start : start + every]
        params, state = _stretch(params, state, x, t, rows, optimizer, learning_rate)
        since += 1
        value = _loss(params, x_held, t_held)
        if value < min(looks):  # waits for the device
            best, since = params, 0
        looks.append(value)
        if since == patience:
            break
    return best, jnp.stack(looks)


_loss = jax.jit(loss)


@partial(jax.jit, static_argnames="optimizer")
def _stretch(
    params: Params,
    state: State,
    x: Array,
    t: Array,
    batches: Array,
    optimizer: str,
    learning_rate: float,
) -> tuple[Params, State]:
    """So many steps, from one look to the next."""

    def step(carry: tuple[Params, State], rows: Array) -> tuple[tuple[Params, State], None]:
        params, state = carry
        # forward, backward
        _, grads = loss_and_grads(params, x[rows], t[rows])
        # update
        return _moved(params, grads, state, optimizer, learning_rate), None

    return jax.lax.scan(step, (params, state), batches)[0]


def _start(params: Params, optimizer: str) -> State:
    return adam_start(params) if optimizer == "adam" else {}


def _moved(
    params: Params, grads: Params, state: State, optimizer: str, learning_rate: float
) -> tuple[Params, State]:
    if optimizer == "sgd":
        return sgd_step(params, grads, learning_rate=learning_rate), state
    return adam_step(params, grads, state, learning_rate=learning_rate)


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
