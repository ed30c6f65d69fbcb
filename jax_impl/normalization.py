"""Batch normalisation: by the batch's statistics in training, by running ones in evaluation.

JAX: nothing is changed in place, so a call returns its new buffers beside the output, and `scan`
carries them from batch to batch. `vjp` differentiates through mean and variance.

x has one row for each sample. params holds "weight" and "bias", which are learned; buffers holds
what no gradient changes: "running_mean", "running_var" and "num_batches_tracked". The method is
from Ioffe and Szegedy, "Batch normalization", 2015.
"""

from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from jax_impl import Below, Fraction, Positive, checked

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
    mean, var = jnp.zeros_like(weight), jnp.ones_like(weight)
    return {
        "running_mean": mean,
        "running_var": var,
        "num_batches_tracked": jnp.zeros((), dtype=int),
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
@partial(jax.jit, static_argnames="training")
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
    x_hat = (x - mean) / jnp.sqrt(var + eps)
    return params["weight"] * x_hat + params["bias"], buffers


@checked
@partial(jax.jit, static_argnames="training")
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
    if training:
        _check_rows("pull_back: x", len(x))

    def output(params: Params, x: Array) -> Array:
        return batch_norm(params, buffers, x, training=training, eps=eps)[0]

    # forward
    _, pullback = jax.vjp(output, params, x)
    # backward
    d_params, d_x = pullback(d_y)
    return d_x, d_params


@checked
@jax.jit
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
    ones = jnp.ones_like(buffers["running_mean"])
    params = {"weight": ones, "bias": 0 * ones}

    def step(buffers: Buffers, rows: Array) -> tuple[Buffers, None]:
        _, buffers = batch_norm(params, buffers, x[rows], training=True, momentum=momentum)
        return buffers, None

    buffers, _ = jax.lax.scan(step, buffers, batches)
    return buffers


def _check_rows(where: str, rows: int) -> None:
    if rows < 2:
        raise ValueError(f"normalization.{where} must have two rows in training, got {rows}")


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
