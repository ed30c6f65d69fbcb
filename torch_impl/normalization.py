"""Batch normalisation: by the batch's statistics in training, by running ones in evaluation.

PyTorch: `nn.BatchNorm1d` has a mode, which `train()` and `eval()` set, and changes its buffers in
place when it is called. They are in its `state_dict()` and not among its `parameters()`.

x has one row for each sample. params holds "weight" and "bias", which are learned; buffers holds
what no gradient changes: "running_mean", "running_var" and "num_batches_tracked". The method is
from Ioffe and Szegedy, "Batch normalization", 2015.
"""

from typing import Annotated, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor as Array
from torch import nn
from torch.nn import functional

from torch_impl import Below, Fraction, Positive, checked

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
    mean, var = torch.zeros_like(weight), torch.ones_like(weight)
    return {
        "running_mean": mean,
        "running_var": var,
        "num_batches_tracked": torch.zeros((), dtype=torch.int64, device=weight.device),
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
    takes up the one that divides by n - 1. `functional.batch_norm` does so in place.

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
    # copies: what it is given it changes in place
    mean, var = buffers["running_mean"].clone(), buffers["running_var"].clone()
    y = functional.batch_norm(
        x, mean, var, params["weight"], params["bias"], training, momentum, eps
    )
    seen = buffers["num_batches_tracked"] + int(training)
    return y, {"running_mean": mean, "running_var": var, "num_batches_tracked": seen}


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
    params = {name: p.detach().requires_grad_() for name, p in params.items()}
    x = x.detach().requires_grad_()
    if training:
        _check_rows("pull_back: x", len(x))
    # forward
    y, _ = batch_norm(params, buffers, x, training=training, eps=eps)
    # backward
    y.backward(d_y)
    return x.grad, {name: p.grad for name, p in params.items()}


@checked
def track(
    buffers: Buffers,
    x: Float[Array, "n features"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    momentum: Fraction = 0.1,
) -> Buffers:
    """The buffers after the batches have gone through in training mode, one after the other.

    The module keeps them from batch to batch; `load_state_dict` copies what it is given.

    Args:
        buffers: where to start; left as they are.
    """
    _check_rows("track: batches", batches.shape[1])
    features = x.shape[1]
    norm = nn.BatchNorm1d(features, momentum=momentum, device=x.device, dtype=x.dtype)
    # its weight and bias stay 1 and 0: they are no part of the buffers
    norm.load_state_dict(buffers, strict=False)
    norm.train()
    for rows in batches:
        norm(x[rows])
    return dict(norm.named_buffers())


def _check_rows(where: str, rows: int) -> None:
    if rows < 2:
        raise ValueError(f"normalization.{where} must have two rows in training, got {rows}")


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
