"""Batch normalisation: by the batch's statistics in training, by running ones in evaluation.

NumPy: the backward pass is the chain rule through mean and variance as well, since every row moves
them. The running statistics are new arrays, returned beside the output.

x has one row for each sample. params holds "weight" and "bias", which are learned; buffers holds
what no gradient changes: "running_mean", "running_var" and "num_batches_tracked". The method is
from Ioffe and Szegedy, "Batch normalization", 2015.
"""

from typing import Annotated, Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray as Array

from numpy_ref import Below, Fraction, Positive, checked

Params = Annotated[dict[str, Array], {"weight": "features", "bias": "features"}]
Buffers = Annotated[
    dict[str, Any],
    {
        "running_mean": Float[Array, " features"],
        "running_var": Float[Array, " features"],
        "num_batches_tracked": Int[Array, ""],
    },
]


@checked
def start(params: Params) -> Buffers:
    """running_mean = 0, running_var = 1, num_batches_tracked = 0."""
    weight = params["weight"]
    mean, var = np.zeros_like(weight), np.ones_like(weight)
    return {
        "running_mean": mean,
        "running_var": var,
        "num_batches_tracked": np.zeros((), dtype=np.int64),
    }


@checked
def running_average(
    old: Float[Array, " features"], new: Float[Array, " features"], *, momentum: Fraction
) -> Float[Array, " features"]:
    """(1 - momentum) old + momentum new: PyTorch's momentum, by default 0.1.

    Args:
        momentum: the weight of the new.
    """
    return (1 - momentum) * old + momentum * new


@checked
def running_average_flax(
    old: Float[Array, " features"], new: Float[Array, " features"], *, momentum: Fraction
) -> Float[Array, " features"]:
    """momentum old + (1 - momentum) new: Flax's and Keras' momentum, by default 0.99.

    Args:
        momentum: the weight of the old.
    """
    return momentum * old + (1 - momentum) * new


@checked
def batch_norm(
    params: Params,
    buffers: Buffers,
    x: Float[Array, "n features"],
    *,
    training: bool,
    momentum: Fraction = 0.1,
    eps: Positive = 1e-5,
) -> tuple[Float[Array, "n features"], Buffers]:
    """y = weight (x - mean) / sqrt(var + eps) + bias, and the buffers after it.

    In training mean and var are those of the batch, and var divides by n; the running variance
    takes up the one that divides by n - 1, as PyTorch's does.

    Args:
        buffers: what evaluation uses, and training brings up to date.
        x: the batch; in training at least two rows.
        training: by the batch, or by the buffers.
        eps: keeps the root of a variance of 0 away from 0.

    Raises:
        ValueError: one row in training, which has no variance.

    Source: document B, modes.
    """
    if training:
        _check_rows("batch_norm: x", len(x))
        n = len(x)
        mean, var = x.mean(axis=0), x.var(axis=0)
        unbiased = var * (n / (n - 1))
        buffers = {
            "running_mean": running_average(buffers["running_mean"], mean, momentum=momentum),
            "running_var": running_average(buffers["running_var"], unbiased, momentum=momentum),
            "num_batches_tracked": buffers["num_batches_tracked"] + 1,
        }
    else:
        mean, var = buffers["running_mean"], buffers["running_var"]
    x_hat = (x - mean) / np.sqrt(var + eps)
    return params["weight"] * x_hat + params["bias"], buffers


@checked
def pull_back(
    params: Params,
    buffers: Buffers,
    x: Float[Array, "n features"],
    d_y: Float[Array, "n features"],
    *,
    training: bool,
    eps: Positive = 1e-5,
) -> tuple[Float[Array, "n features"], Params]:
    """From dL/dy: dL/dx, and dL/dweight and dL/dbias.

    In training a row moves the mean and the variance of all, so dL/dx of a row depends on every
    other one; each of its columns adds up to 0. In evaluation the buffers are constants.
    """
    weight = params["weight"]
    # forward
    if training:
        _check_rows("pull_back: x", len(x))
    mean = x.mean(axis=0) if training else buffers["running_mean"]
    r = x - mean
    var = np.mean(r**2, axis=0) if training else buffers["running_var"]
    s = np.sqrt(var + eps)
    x_hat = r / s
    # backward
    # y = weight x_hat + bias
    d_bias = d_y.sum(axis=0)  # (features,)
    d_weight = (d_y * x_hat).sum(axis=0)  # (features,)
    d_x_hat = d_y * weight  # (n, features)
    # the quotient, by what is above
    d_r = d_x_hat / s  # (n, features)
    if not training:
        return d_r, {"weight": d_weight, "bias": d_bias}
    # the quotient, by what is below
    d_s = -(d_r * x_hat).sum(axis=0)  # (features,)
    # the root
    d_var = d_s / (2 * s)  # (features,)
    # the mean of the squares
    d_r = d_r + d_var * (2 * r / len(x))  # (n, features)
    # r = x - mean
    d_mean = -d_r.sum(axis=0)  # (features,)
    d_x = d_r + d_mean / len(x)  # (n, features)
    return d_x, {"weight": d_weight, "bias": d_bias}


@checked
def track(
    buffers: Buffers,
    x: Float[Array, "n features"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    momentum: Fraction = 0.1,
) -> Buffers:
    """The buffers after the batches have gone through in training mode, one after the other.

    They are handed on from batch to batch.

    Args:
        buffers: where to start; left as they are.
    """
    _check_rows("track: batches", batches.shape[1])
    ones = np.ones_like(buffers["running_mean"])
    params = {"weight": ones, "bias": 0 * ones}
    for rows in batches:
        _, buffers = batch_norm(params, buffers, x[rows], training=True, momentum=momentum)
    return buffers


def _check_rows(where: str, rows: int) -> None:
    if rows < 2:
        raise ValueError(f"normalization.{where} must have two rows in training, got {rows}")


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
