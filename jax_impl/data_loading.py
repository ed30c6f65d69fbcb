"""Loading data: the rows in mini-batches, and what a mean over batches is the mean of.

JAX: it has no loader. A generator hands out row numbers, an index copies those rows, and a compiled
step takes them; a smaller last batch is another shape, for which the step is compiled once more.

An order holds the row numbers of one pass over the data: a permutation where each row comes once.
The model is `linear_layer`'s: params {"weight": (out, in), "bias": (out,)}, x (n, in), t (n, out).
"""

import math
from collections.abc import Iterator
from typing import Annotated

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from jax_impl import Below, Count, Natural, Positive, UpTo, checked
from jax_impl.linear_layer import loss_and_grads

Params = Annotated[dict[str, Array], {"weight": "out in", "bias": " out"}]


@checked
def shuffles(n: Count, *, seed: Natural, epochs: Count) -> Int[Array, "epochs n"]:
    """An order for each epoch: a permutation of 0 .. n - 1, by the framework's own generator.

    A key is a value and gives the same permutation each time: every epoch has a key of its own.
    """
    keys = jax.random.split(jax.random.key(seed), epochs)
    return jnp.stack([jax.random.permutation(key, n) for key in keys])


@checked
def row_numbers(
    order: Int[Array, " rows"], *, batch: UpTo[Count, " rows"], drop_last: bool
) -> Iterator[Int[Array, " batch"]]:
    """The order, cut into batches: the last one may be smaller, or is dropped.

    Source: document C, next steps.
    """
    stop = len(order) - len(order) % batch if drop_last else len(order)
    return (order[start : start + batch] for start in range(0, stop, batch))


@checked
def batches(
    x: Float[Array, "n in"],
    t: Float[Array, "n out"],
    order: Below[Int[Array, " rows"], " n"],
    *,
    batch: UpTo[Count, " rows"],
    drop_last: bool,
) -> Iterator[tuple[Float[Array, "batch in"], Float[Array, "batch out"]]]:
    """One pass over the rows in this order: x and t of each batch.

    Source: document C, next steps.
    """
    numbers = row_numbers(order, batch=batch, drop_last=drop_last)
    return ((x[rows], t[rows]) for rows in numbers)


@checked
def mean_of_means(
    params: Params,
    x: Float[Array, "n in"],
    t: Float[Array, "n out"],
    order: Below[Int[Array, " rows"], " n"],
    *,
    batch: UpTo[Count, " rows"],
) -> tuple[Float[Array, ""], Params]:
    """sum_k L_k / K and its gradients: the loss of all rows only if all K batches are equal.

    The rows of a smaller last batch count for more than the others.

    Source: document C, next steps.
    """
    count = math.ceil(len(order) / batch)
    value, grads = jnp.zeros((), x.dtype), jax.tree.map(jnp.zeros_like, params)
    for x_k, t_k in batches(x, t, order, batch=batch, drop_last=False):
        value_k, grads_k = loss_and_grads(params, x_k, t_k)
        value = value + value_k / count
        grads = jax.tree.map(lambda g, g_k: g + g_k / count, grads, grads_k)
    return value, grads


@checked
def weighted_mean(
    params: Params,
    x: Float[Array, "n in"],
    t: Float[Array, "n out"],
    order: Below[Int[Array, " rows"], " n"],
    *,
    batch: UpTo[Count, " rows"],
) -> tuple[Float[Array, ""], Params]:
    """sum_k n_k L_k / n and its gradients: the loss of all n rows, whatever the n_k of a batch.

    Source: document C, next steps.
    """
    value, grads = jnp.zeros((), x.dtype), jax.tree.map(jnp.zeros_like, params)
    for x_k, t_k in batches(x, t, order, batch=batch, drop_last=False):
        value_k, grads_k = loss_and_grads(params, x_k, t_k)
        share = len(x_k) / len(order)
        value = value + share * value_k
        grads = jax.tree.map(lambda g, g_k, share=share: g + share * g_k, grads, grads_k)
    return value, grads


@checked
def fit(
    params: Params,
    x: Float[Array, "n in"],
    t: Float[Array, "n out"],
    orders: Below[Int[Array, "epochs rows"], " n"],
    *,
    batch: UpTo[Count, " rows"],
    drop_last: bool,
    learning_rate: Positive,
) -> tuple[Params, Float[Array, " epochs"]]:
    """Mini-batch training: in each epoch one update for each batch.

    Args:
        params: where to start; left as they are.
        orders: the order of each epoch.

    Returns:
        The parameters after the last update, and of each epoch the mean over its rows of the loss
        that each row had in its turn.

    Source: document C, next steps.
    """
    losses = []
    for order in orders:
        total, seen = jnp.zeros((), x.dtype), 0
        for x_k, t_k in batches(x, t, order, batch=batch, drop_last=drop_last):
            params, value = _step(params, x_k, t_k, learning_rate)
            total, seen = total + len(x_k) * value, seen + len(x_k)
        losses.append(total / seen)
    return params, jnp.stack(losses)


@jax.jit
def _step(params: Params, x: Array, t: Array, learning_rate: float) -> tuple[Params, Array]:
    # forward, backward
    value, grads = loss_and_grads(params, x, t)
    # update
    return {name: p - learning_rate * grads[name] for name, p in params.items()}, value


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
