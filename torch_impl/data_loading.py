"""Loading data: the rows in mini-batches, and what a mean over batches is the mean of.

PyTorch: a `DataLoader` asks its sampler for row numbers, a `BatchSampler` for as many as a batch
has, takes those rows from the data set one by one and stacks them. Its sampler may be any iterable.

An order holds the row numbers of one pass over the data: a permutation where each row comes once.
The model is `linear_layer`'s: params {"weight": (out, in), "bias": (out,)}, x (n, in), t (n, out).
"""

import math
from collections.abc import Iterator
from typing import Annotated, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor as Array
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, TensorDataset

from torch_impl import Below, Count, Natural, Positive, UpTo, checked
from torch_impl.linear_layer import loss

Params = Annotated[dict[str, Array], {"weight": "out in", "bias": " out"}]


@checked
def shuffles(n: Count, *, seed: Natural, epochs: Count) -> Int[Array, "epochs n"]:
    """An order for each epoch: a permutation of 0 .. n - 1, by the framework's own generator.

    The generator is an object that goes on: it makes another permutation each time. The loader
    draws a number of its own from it first, so `torch.randperm` with that seed gives another order.
    """
    generator = torch.Generator().manual_seed(seed)
    rows: Any = range(n)
    loader = DataLoader(rows, batch_size=n, shuffle=True, generator=generator)
    return torch.stack([order for _ in range(epochs) for order in loader])


@checked
def row_numbers(
    order: Int[Array, " rows"], *, batch: UpTo[Count, " rows"], drop_last: bool
) -> Iterator[Int[Array, " batch"]]:
    """The order, cut into batches: the last one may be smaller, or is dropped.

    Source: document C, next steps.
    """
    for rows in BatchSampler(order.tolist(), batch, drop_last):
        yield order.new_tensor(rows)


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
    pairs, sampler = TensorDataset(x, t), order.tolist()
    loader = DataLoader(pairs, batch_size=batch, sampler=sampler, drop_last=drop_last)
    yield from map(tuple, loader)  # of its own accord it makes lists


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
    params = {name: p.detach().requires_grad_() for name, p in params.items()}
    count, value = math.ceil(len(order) / batch), x.new_zeros(())
    for x_k, t_k in batches(x, t, order, batch=batch, drop_last=False):
        value_k = loss(params, x_k, t_k) / count
        value_k.backward()  # adds to the gradients of the batches before
        value += value_k.detach()
    return value, {name: p.grad for name, p in params.items()}


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
    params = {name: p.detach().requires_grad_() for name, p in params.items()}
    value = x.new_zeros(())
    for x_k, t_k in batches(x, t, order, batch=batch, drop_last=False):
        share = len(x_k) / len(order)
        value_k = share * loss(params, x_k, t_k)
        value_k.backward()  # adds to the gradients of the batches before
        value += value_k.detach()
    return value, {name: p.grad for name, p in params.items()}


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
    out, features = params["weight"].shape
    layer = nn.utils.skip_init(nn.Linear, features, out, device=x.device, dtype=x.dtype)
    layer.load_state_dict(params)
    optimizer = torch.optim.SGD(layer.parameters(), lr=learning_rate)
    losses = []
    for order in orders:
        total, seen = x.new_zeros(()), 0
        for x_k, t_k in batches(x, t, order, batch=batch, drop_last=drop_last):
            # reset
            optimizer.zero_grad()
            # forward
            value = nn.functional.mse_loss(layer(x_k), t_k)
            # backward
            value.backward()
            # update
            optimizer.step()
            total, seen = total + len(x_k) * value.detach(), seen + len(x_k)
        losses.append(total / seen)
    return {name: p.detach() for name, p in layer.named_parameters()}, torch.stack(losses)


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
