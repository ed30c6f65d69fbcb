"""Batch norm that is always in training.

A batch norm has two modes. In training it normalises by the mean and the variance of the batch, and
keeps running ones; in evaluation it uses the running ones, and a row's output does not depend
on the rows beside it. The layer below gets `training`, and does not look at it.

Hint: a module is made in training mode. `layer.train()` and `layer.eval()` switch it;
`layer.train(True)` and `layer.train(False)` do so by an argument.
"""

import torch
from torch import nn


def batch_norm(params, buffers, x, *, training):
    """The output, and the buffers after it."""
    layer = nn.BatchNorm1d(x.shape[1], dtype=x.dtype)
    layer.load_state_dict(params | buffers)
    with torch.no_grad():
        y = layer(x)
    return y, dict(layer.named_buffers())


if __name__ == "__main__":
    import numpy as np

    from torch_impl import normalization
    from triptych.exercise import case, grade

    rng = np.random.default_rng(0)
    params = {"weight": rng.normal(size=3), "bias": rng.normal(size=3)}
    buffers = {"running_mean": rng.normal(size=3), "running_var": rng.uniform(1, 2, size=3)}
    buffers["num_batches_tracked"] = np.array(4)
    x = rng.normal(size=(5, 3))
    grade(
        batch_norm,
        normalization.batch_norm,
        case(params, buffers, x, training=True),
        case(params, buffers, x, training=False),
        case(params, buffers, x[:2], training=False),
    )
