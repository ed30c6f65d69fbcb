"""Arithmetic and memory traffic of one step, counted once for every column.

flops: two for each multiply-add of a matrix product, one for each other operation on a number, exp
and log included. bytes: what has to be read and written however the step is computed, that is its
rows, their numbers and classes, and the parameters; whole numbers take four bytes. A program that
stores what lies between the input and a gradient moves more: nearly all do.
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


def products(sizes: Sequence[int]) -> list[int]:
    """Flops for each row in each layer's matrix product."""
    return [2 * inputs * outputs for inputs, outputs in pairwise(sizes)]


def forward(sizes: Sequence[int]) -> int:
    """Flops for each row up to the logits: products, biases, ReLUs."""
    return sum(products(sizes)) + sum(sizes[1:]) + sum(sizes[1:-1])


def inference(sizes: Sequence[int], batch: int, itemsize: int) -> Count:
    """The probabilities of each row: the logits, and their softmax."""
    features, *_, classes = sizes
    # the largest logit taken off, exp, sum, quotient
    softmax = (classes - 1) + classes + classes + (classes - 1) + classes
    moved = itemsize * (batch * (features + classes) + parameters(sizes))
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
    features, *_, classes = sizes
    n = parameters(sizes)
    # the largest logit taken off, exp, sum, log, taken off, one of them added to the loss
    cross_entropy = (classes - 1) + classes + classes + (classes - 1) + 1 + classes + 1
    # P = exp(log P), P - onehot, divided by the rows
    d_logits = 3 * classes
    # products by the weights in every layer, by the inputs in all but the first
    backward = sum(products(sizes)) + sum(products(sizes)[1:])
    sums_and_masks = sum(sizes[1:]) + sum(sizes[1:-1])
    flops = batch * (forward(sizes) + cross_entropy + d_logits + backward + sums_and_masks)
    # p - rate g; for Adam two running means (3 and 4), both unbiased, the root, eps, the quotient
    update = 2 if optimizer == "sgd" else 14
    rows = batch * (itemsize * features + 2 * WHOLE_NUMBER)
    # the parameters are read and written, and so are Adam's two means of each
    weights = itemsize * n * (2 if optimizer == "sgd" else 6)
    return Count(flops + update * n, rows + weights)


def regression_epoch(n: int, itemsize: int) -> Count:
    """One epoch of linear regression on n points: y, r, the loss, both gradients, the update.

    There is no matrix product, so all of it is one pass over x and t.
    """
    flops = n * (2 + 1 + 2 + 2 + 2 + 1) + 4
    return Count(flops, itemsize * (2 * n + 4))
