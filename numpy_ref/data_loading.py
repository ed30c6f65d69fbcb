"""Loading data: the rows in mini-batches, and what a mean over batches is the mean of.

NumPy: a loop over slices of the order, and an array of row numbers as an index, which copies.

An order holds the row numbers of one pass over the data: a permutation where each row comes once.
The model is `linear_layer`'s: params {"weight": (out, in), "bias": (out,)}, x (n, in), t (n, out).
"""

import math
from collections.abc import Iterator
from typing import Annotated

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray as Array

from numpy_ref import Below, Count, Natural, Positive, UpTo, checked
from numpy_ref.linear_layer import loss_and_grads

Params = Annotated[dict[str, Array], {"weight": "out in", "bias": " out"}]


@checked
def shuffles(n: Count, *, seed: Natural, epochs: Count) -> Int[Array, "epochs n"]:
    """An order for each epoch: a permutation of 0 .. n - 1, by the framework's own generator.

    The generator is an object that goes on: it makes another permutation each time.
    """
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(n) for _ in range(epochs)])


@checked
def row_numbers(
    order: Int[Array, " rows"], *, batch: UpTo[Count, " rows"], drop_last: bool
) -> Iterator[Int[Array, " batch"]]:
    """The order, cut into batches: the last one may be smaller, or is dropped.

    Each is a view of the order.

    Source: document C, next steps.
    """
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        if len(rows) == batch or not drop_last:
            yield rows


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
    for rows in row_numbers(order, batch=batch, drop_last=drop_last):
        yield x[rows], t[rows]


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
    value, grads = np.zeros((), x.dtype), {name: np.zeros_like(p) for name, p in params.items()}
    for x_k, t_k in batches(x, t, order, batch=batch, drop_last=False):
        value_k, grads_k = loss_and_grads(params, x_k, t_k)
        value = value + value_k / count
        grads = {name: g + grads_k[name] / count for name, g in grads.items()}
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
    value, grads = np.zeros((), x.dtype), {name: np.zeros_like(p) for name, p in params.items()}
    for x_k, t_k in batches(x, t, order, batch=batch, drop_last=False):
        value_k, grads_k = loss_and_grads(params, x_k, t_k)
        share = len(x_k) / len(order)
        value = value + share * value_k
        grads = {name: g + share * grads_k[name] for name, g in grads.items()}
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
        total, seen = np.zeros((), x.dtype), 0
        for x_k, t_k in batches(x, t, order, batch=batch, drop_last=drop_last):
            # forward, backward
            value, grads = loss_and_grads(params, x_k, t_k)
            # update
            params = {name: p - learning_rate * grads[name] for name, p in params.items()}
            total, seen = total + len(x_k) * value, seen + len(x_k)
        losses.append(total / seen)
    return params, np.array(losses)


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
