"""One training run on several workers: each has a part of every batch, and they add what they find.

NumPy: a worker is a process, MPI connects them, and what goes into a message is packed by hand.

params are the classifier's, x (n, features) its rows and t (n,) their classes: every worker has all
of them and computes with its part of each batch. workers is what `join` returns, or None for this
process alone.
"""

from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Float32, Int
from numpy import ndarray as Array

from numpy_ref import Below, Positive, checked
from numpy_ref import reproducible as alone
from numpy_ref.classifier import Params, loss_and_grads
from numpy_ref.optimizers import adam_start, adam_step, sgd_step
from numpy_ref.rounding import BITS, TERMS, rounded, split, unit

Moments = dict[str, Array]
"""Adam's means of a gradient, "m.fc1.weight" and so on, of its square, "v.fc1.weight", and both
powers of beta, "power1" and "power2"."""
Workers = Any
"""An MPI communicator, as `join` returns it."""


@checked
def join() -> Workers:
    """The workers that were started together, of which this process is one.

    MPI starts when mpi4py is imported: `mpiexec -n 3 python ...` starts three.

    Returns:
        What the other functions take; None if this process was started alone.

    Raises:
        ImportError, RuntimeError: mpi4py, or the library of MPI, is missing.
    """
    from mpi4py import MPI

    return MPI.COMM_WORLD if MPI.COMM_WORLD.Get_size() > 1 else None


@checked
def place(workers: Workers) -> tuple[int, int]:
    """The number of this process among the processes, from 0, and how many workers there are."""
    return (0, 1) if workers is None else (workers.Get_rank(), workers.Get_size())


@checked
def verify(workers: Workers) -> None:
    """Compare the engine's sum and maximum with serial ones.

    Raises:
        RuntimeError: they differ; gloo's have been seen to (jax-ml/jax, issue 40830).
    """
    rank, size = place(workers)
    given = np.random.default_rng(0).integers(-(2**40), 2**40, (size, 1000)).astype(np.float64)
    for operation, serial in (("SUM", given.sum(axis=0)), ("MAX", given.max(axis=0))):
        (found,) = _all_reduce([given[rank]], operation, workers)
        if not np.array_equal(found, serial):
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
    state = adam_start(params) if optimizer == "adam" else {}
    losses = []
    for rows in _part(batches, workers):
        # forward, backward
        value, grads = loss_and_grads(params, x[rows], t[rows])
        # add
        share = len(rows) / batches.shape[1]
        found = [value * share, *(g * share for g in grads.values())]
        value, *sums = _all_reduce(found, "SUM", workers)
        grads = dict(zip(grads, sums, strict=True))
        losses.append(value)
        # update
        if optimizer == "sgd":
            params = sgd_step(params, grads, learning_rate=learning_rate)
        else:
            params, state = adam_step(params, grads, state, learning_rate=learning_rate)
    return params, np.array(losses)


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
    params, x = alone._wide(params), x.astype(np.float64)
    rate = rounded(np.array(learning_rate))
    state = _opened(moments, params, optimizer)
    losses = []
    for rows in _part(batches, workers):
        # forward, backward
        row_losses, layers = alone._by_row(params, x[rows], t[rows], n)
        # add
        one = np.ones((len(rows), 1))
        pairs = [(row_losses, one), *((d_y, np.hstack([x, one])) for d_y, x in layers.values())]
        value, *sums = _products(pairs, workers)
        grads = {}
        for name, d_layer in zip(layers, sums, strict=True):
            grads[f"{name}.weight"], grads[f"{name}.bias"] = d_layer[:, :-1], d_layer[:, -1]
        losses.append(rounded(value / n))
        # update
        if optimizer == "sgd":
            params = alone._sgd_step(params, grads, rate)
        else:
            params, state = alone._adam_step(params, grads, state, rate)
    return alone._narrow(params), _closed(state), np.array(losses, np.float32).ravel()


def _part(batches: Array, workers: Workers) -> Array:
    """This worker's rows of each batch; the first ones have a row more if it does not divide."""
    rank, size = place(workers)
    if size > batches.shape[1]:
        raise ValueError(f"workers must be at most {batches.shape[1]}, a batch, got {size}")
    return np.array_split(batches, size, axis=1)[rank]


def _all_reduce(arrays: list[Array], operation: str, workers: Workers) -> list[Array]:
    """The sum or the maximum over the workers, number by number; one message for all arrays."""
    if workers is None:
        return arrays
    from mpi4py import MPI

    message = np.concatenate([a.ravel() for a in arrays])
    found = np.empty_like(message)
    workers.Allreduce(message, found, getattr(MPI, operation))
    parts = np.split(found, np.cumsum([a.size for a in arrays])[:-1])
    return [part.reshape(a.shape) for part, a in zip(parts, arrays, strict=True)]


def _products(pairs: list[tuple[Array, Array]], workers: Workers) -> list[Array]:
    """d^T x of each pair, summed over the rows of all workers; a sum is a product with ones."""
    # the first message: the largest number of each column, for the units
    largest = [np.abs(a).max(axis=0, keepdims=True) for pair in pairs for a in pair]
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


def _opened(moments: Moments | None, params: Params, optimizer: str) -> dict[str, Any]:
    """Adam's state, in float64; empty for "sgd"."""
    if moments is None:
        return alone._adam_start(params) if optimizer == "adam" else {}
    means = [f"{mean}.{name}" for mean in "mv" for name in params]
    expected = [*means, "power1", "power2"] if optimizer == "adam" else []
    if sorted(moments) != sorted(expected):
        raise ValueError(f"moments must be {expected or None} for {optimizer}, got {[*moments]}")
    wide = alone._wide(moments)
    m, v = ({name: wide[f"{mean}.{name}"] for name in params} for mean in "mv")
    return {"m": m, "v": v, "power1": wide["power1"], "power2": wide["power2"]}


def _closed(state: dict[str, Any]) -> Moments | None:
    """The same in float32, where its numbers of 24 bits have room."""
    if not state:
        return None
    means = {f"{mean}.{name}": value for mean in "mv" for name, value in state[mean].items()}
    return alone._narrow(means | {"power1": state["power1"], "power2": state["power2"]})


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
