"""Arithmetic and memory traffic of one step, counted once for every column.

flops: two for each multiply-add of a matrix product, one for each other operation on a number, exp
and log included. bytes: what no implementation can avoid, every input read once and every result
written once; whole numbers take four bytes. What stays between forward and backward is not in it,
since a step could keep that in the caches.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

WHOLE_NUMBER = 4  # bytes


class Count(NamedTuple):
    """The work of one step."""

    flops: int
    bytes: int


def parameters(sizes: Sequence[int]) -> int:
    """Weights and biases of a network with these layers: 243 for 4-16-8-3."""
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))


def _products(sizes: Sequence[int]) -> list[int]:
    """Flops for each row in each layer's matrix product."""
    return [2 * inputs * outputs for inputs, outputs in pairwise(sizes)]


def forward(sizes: Sequence[int]) -> int:
    """Flops for each row up to the logits: products, biases, ReLUs."""
    return sum(_products(sizes)) + sum(sizes[1:]) + sum(sizes[1:-1])


def inference(sizes: Sequence[int], batch: int, itemsize: int) -> Count:
    """The probabilities of each row: the logits, and their softmax."""
    classes = sizes[-1]
    # the largest logit taken off, exp, sum, quotient
    softmax = (classes - 1) + classes + classes + (classes - 1) + classes
    moved = itemsize * (batch * (sizes[0] + classes) + parameters(sizes))
    return Count(batch * (forward(sizes) + softmax), moved)


def classifier_step(
    sizes: Sequence[int], batch: int, itemsize: int, *, optimizer: str = "sgd"
) -> Count:
    """One training step on `batch` rows that are gathered by their numbers.

    Args:
        sizes: features, hidden layers, classes.
        batch: rows.
        itemsize: bytes of a number.
        optimizer: "sgd" or "adam".
    """
    classes, n = sizes[-1], parameters(sizes)
    # the largest logit taken off, exp, sum, log, taken off, one of them added to the loss
    cross_entropy = (classes - 1) + classes + classes + (classes - 1) + 1 + classes + 1
    # P = exp(log P), P - onehot, divided by the rows
    d_logits = 3 * classes
    # products by the weights in every layer, by the inputs in all but the first
    products = sum(_products(sizes)) + sum(_products(sizes)[1:])
    sums_and_masks = sum(sizes[1:]) + sum(sizes[1:-1])
    flops = batch * (forward(sizes) + cross_entropy + d_logits + products + sums_and_masks)
    # p - rate g; for Adam two running means (3 and 4), both unbiased, the root, eps, the quotient
    update, kept = (2, 1) if optimizer == "sgd" else (14, 3)
    rows = batch * (itemsize * sizes[0] + 2 * WHOLE_NUMBER)
    return Count(flops + update * n, rows + 2 * kept * itemsize * n)


def regression_epoch(n: int, itemsize: int) -> Count:
    """One epoch of linear regression on n points: y, r, the loss, both gradients, the update."""
    flops = n * (2 + 1 + 2 + 2 + 2 + 1) + 4
    return Count(flops, itemsize * (2 * n + 4))
