"""One training run on several workers: each has a part of every batch, and they add what they find.

PyTorch: a worker is a process of `torchrun`, `torch.distributed` connects them (gloo on a CPU, NCCL
on a GPU), and a tensor is reduced in place.

params are the classifier's, x (n, features) its rows and t (n,) their classes: every worker has all
of them and computes with its part of each batch. workers is what `join` returns, or None for this
process alone.
"""

import os
from typing import Any, Literal

import torch
import torch.distributed as dist
from jaxtyping import Float, Float32, Int
from torch import Tensor as Array
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from torch_impl import Below, Positive, checked
from torch_impl import reproducible as alone
from torch_impl.classifier import Params, SimpleNet
from torch_impl.rounding import BITS, TERMS, rounded, split, unit

Moments = dict[str, Array]
"""Adam's means of a gradient, "m.fc1.weight" and so on, of its square, "v.fc1.weight", and both
powers of beta, "power1" and "power2"."""
Workers = Any
"""A process group, as `join` returns it."""


@checked
def join() -> Workers:
    """The workers that were started together, of which this process is one.

    `torchrun --nproc-per-node 3 ...` starts three, and tells each by the variables RANK and
    WORLD_SIZE.

    Returns:
        What the other functions take; None if this process was started alone.

    Raises:
        RuntimeError: the others cannot be reached, or a port is in use.
    """
    if "RANK" not in os.environ:
        return None
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    return dist.group.WORLD if dist.get_world_size() > 1 else None


@checked
def place(workers: Workers) -> tuple[int, int]:
    """The number of this process among the processes, from 0, and how many workers there are."""
    return (0, 1) if workers is None else (dist.get_rank(workers), dist.get_world_size(workers))


@checked
def verify(workers: Workers) -> None:
    """Compare the engine's sum and maximum with serial ones.

    Raises:
        RuntimeError: they differ; gloo's have been seen to (jax-ml/jax, issue 40830).
    """
    rank, size = place(workers)
    generator = torch.Generator().manual_seed(0)
    given = torch.randint(-(2**40), 2**40, (size, 1000), generator=generator).double()
    given = given.to("cuda" if torch.cuda.is_available() else "cpu")
    for operation, serial in (("SUM", given.sum(dim=0)), ("MAX", given.amax(dim=0))):
        (found,) = _all_reduce([given[rank]], operation, workers)
        if not torch.equal(found, serial):
            raise RuntimeError(f"verify: the {operation} over the workers is not the serial one")


@checked
def fit(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    optimizer: Literal["sgd", "adam"],
    learning_rate: Positive,
    workers: Workers = None,
) -> tuple[Params, Float[Array, " steps"]]:
    """Mini-batch training: each worker's gradient counts as much as its rows, and they are added.

    The last bits depend on the number of workers, since a sum in parts is rounded elsewhere.

    Args:
        batches: the row numbers that each step sees; each worker takes a part of every row.

    Returns:
        The parameters after the last update, and the loss before each one; the same on all workers.

    Raises:
        ValueError: there are more workers than rows in a batch.

    Source: Li et al., "PyTorch Distributed: experiences on accelerating data parallel training",
    2020.
    """
    net = SimpleNet.from_params(params)
    kind = torch.optim.SGD if optimizer == "sgd" else torch.optim.Adam
    algorithm = kind(net.parameters(), lr=learning_rate)
    losses = []
    t = t.long()  # cross_entropy refuses int32
    for rows in _part(batches, workers):
        # reset
        algorithm.zero_grad()
        # forward
        share = len(rows) / batches.shape[1]
        value = cross_entropy(net(x[rows]), t[rows]) * share
        # backward
        value.backward()
        # add
        found = [value.detach(), *(p.grad for p in net.parameters())]
        value, *sums = _all_reduce(found, "SUM", workers)
        for p, g in zip(net.parameters(), sums, strict=True):
            p.grad = g
        losses.append(value)
        # update
        algorithm.step()
    return {name: p.detach() for name, p in net.named_parameters()}, torch.stack(losses)


@checked
def fit_automatic(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    optimizer: Literal["sgd", "adam"],
    learning_rate: Positive,
    workers: Workers = None,
) -> tuple[Params, Float[Array, " steps"]]:
    """The same training; the framework decides when the workers talk.

    Args:
        batches: the row numbers that each step sees; each worker takes a part of every row.

    Returns:
        The parameters after the last update, and the loss before each one; the same on all workers.

    Raises:
        ValueError: there are more workers than rows in a batch.

    Source: Li et al., "PyTorch Distributed: experiences on accelerating data parallel training",
    2020.
    """
    net = SimpleNet.from_params(params)
    # it sends a bucket of gradients as soon as backward has filled it, and takes the mean
    whole = net if workers is None else DistributedDataParallel(net, process_group=workers)
    kind = torch.optim.SGD if optimizer == "sgd" else torch.optim.Adam
    algorithm = kind(net.parameters(), lr=learning_rate)
    _, size = place(workers)
    losses = []
    t = t.long()  # cross_entropy refuses int32
    for rows in _part(batches, workers):
        # reset
        algorithm.zero_grad()
        # forward
        share = len(rows) / batches.shape[1]
        value = cross_entropy(whole(x[rows]), t[rows]) * share
        losses.append(value.detach())
        # backward; the mean over the workers of size times the share is the sum of the shares
        (value * size).backward()
        # update
        algorithm.step()
    (found,) = _all_reduce([torch.stack(losses)], "SUM", workers)
    return {name: p.detach() for name, p in net.named_parameters()}, found


@checked
def fit_reproducible(
    params: alone.Params,
    x: Float32[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    optimizer: Literal["sgd", "adam"],
    learning_rate: Positive,
    moments: Moments | None = None,
    workers: Workers = None,
) -> tuple[alone.Params, Moments | None, Float32[Array, " steps"]]:
    """`reproducible.fit` on any number of workers, with the same bits.

    The workers agree on the units, by the maximum, and add whole numbers: two messages a step.

    Args:
        batches: the row numbers that each step sees, at most 2^15; each worker takes a part.
        learning_rate: the size of a step, rounded to float32.
        moments: Adam's means as an earlier call returned them, to go on from there; None to start.

    Returns:
        The parameters after the last update, Adam's means (None for "sgd"), and the loss before
        each update; the same on all workers.

    Raises:
        ValueError: there are more workers than rows in a batch, or more rows than 2^15.

    Source: Demmel and Nguyen, "Parallel reproducible summation", 2015.
    """
    n = batches.shape[1]
    if n > TERMS:
        raise ValueError(f"batches must have at most {TERMS} rows to be exact, got {n}")
    params, x, t = alone._wide(params), x.double(), t.long()
    rate = rounded(torch.tensor(learning_rate, dtype=torch.float64)).item()
    algorithm = alone._SGD(params, rate) if optimizer == "sgd" else alone._Adam(params, rate)
    _open(moments, params, algorithm)
    losses = []
    for rows in _part(batches, workers):
        # forward, backward
        row_losses, layers = _by_row(params, x[rows], t[rows], n)
        # add
        one = torch.ones_like(row_losses)
        pairs = [(row_losses, one), *((d_y, torch.hstack([x, one])) for d_y, x in layers.values())]
        value, *sums = _products(pairs, workers)
        for name, d_layer in zip(layers, sums, strict=True):
            params[f"{name}.weight"].grad = d_layer[:, :-1]
            params[f"{name}.bias"].grad = d_layer[:, -1]
        losses.append(rounded(value / n))
        # update
        algorithm.step()
    moments = _closed(params, algorithm)
    return alone._narrow(params), moments, torch.stack(losses).float().flatten()


def _part(batches: Array, workers: Workers) -> Array:
    """This worker's rows of each batch; the first ones have a row more if it does not divide."""
    rank, size = place(workers)
    if size > batches.shape[1]:
        raise ValueError(f"workers must be at most {batches.shape[1]}, a batch, got {size}")
    return batches.tensor_split(size, dim=1)[rank]


def _all_reduce(arrays: list[Array], operation: str, workers: Workers) -> list[Array]:
    """The sum or the maximum over the workers, number by number; one message for all arrays."""
    if workers is None:
        return arrays
    message = torch.cat([a.flatten() for a in arrays])
    dist.all_reduce(message, getattr(dist.ReduceOp, operation), group=workers)
    parts = message.split([a.numel() for a in arrays])
    return [part.view(a.shape) for part, a in zip(parts, arrays, strict=True)]


def _by_row(params: Params, x: Array, t: Array, n: int) -> tuple[Array, dict[str, Any]]:
    """What these rows of n do by themselves: their losses, and d_y and x of each layer y(x)."""
    # forward; autograd records from z1 on, and no weight, whose derivative is a sum over rows
    z1 = alone._linear(x, params["fc1.weight"], params["fc1.bias"]).requires_grad_()
    h1 = torch.relu(z1)
    z2 = alone._linear(h1, params["fc2.weight"], params["fc2.bias"])
    h2 = torch.relu(z2)
    logits = alone._linear(h2, params["output.weight"], params["output.bias"])
    losses = alone._cross_entropy(logits, t)
    # backward
    d_losses = torch.full_like(losses, 1 / n)
    d_z1, d_z2, d_logits = torch.autograd.grad(losses, (z1, z2, logits), d_losses)
    layers = {"fc1": (d_z1, x), "fc2": (d_z2, h1.detach()), "output": (d_logits, h2.detach())}
    return losses.detach(), layers


def _products(pairs: list[tuple[Array, Array]], workers: Workers) -> list[Array]:
    """d^T x of each pair, summed over the rows of all workers; a sum is a product with ones."""
    # the first message: the largest number of each column, for the units
    largest = [a.abs().amax(dim=0, keepdim=True) for pair in pairs for a in pair]
    units = [unit(a, axis=0) for a in _all_reduce(largest, "MAX", workers)]
    units_d, units_x = units[::2], units[1::2]
    # the second: sums of whole numbers
    whole, parts = [], []
    for (d, x), unit_d, unit_x in zip(pairs, units_d, units_x, strict=True):
        high_d, low_d = split(d, unit_d)
        high_x, low_x = split(x, unit_x)
        whole.append(high_d.T @ high_x)
        parts.append(high_d.T @ low_x + low_d.T @ high_x)
    sums = _all_reduce(whole + parts, "SUM", workers)
    whole, parts = sums[: len(pairs)], sums[len(pairs) :]
    found = zip(whole, parts, units_d, units_x, strict=True)
    return [rounded((w + p / 2**BITS) * (unit_d.T * unit_x)) for w, p, unit_d, unit_x in found]


def _open(moments: Moments | None, params: Params, algorithm: Any) -> None:
    """Give Adam its state, in float64; nothing to give at the start and to "sgd"."""
    if moments is None:
        return
    optimizer = "adam" if isinstance(algorithm, alone._Adam) else "sgd"
    means = [f"{mean}.{name}" for mean in "mv" for name in params]
    expected = [*means, "power1", "power2"] if optimizer == "adam" else []
    if sorted(moments) != sorted(expected):
        raise ValueError(f"moments must be {expected or None} for {optimizer}, got {[*moments]}")
    wide = alone._wide(moments)
    for name, p in params.items():
        powers = {"power1": wide["power1"], "power2": wide["power2"]}
        algorithm.state[p] = {"m": wide[f"m.{name}"], "v": wide[f"v.{name}"]} | powers


def _closed(params: Params, algorithm: Any) -> Moments | None:
    """The same in float32, where its numbers of 24 bits have room."""
    if isinstance(algorithm, alone._SGD):
        return None
    states = {name: algorithm.state[p] for name, p in params.items()}
    means = {f"{mean}.{name}": state[mean] for mean in "mv" for name, state in states.items()}
    powers = {name: states["fc1.weight"][name] for name in ("power1", "power2")}
    return alone._narrow(means | powers)


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
