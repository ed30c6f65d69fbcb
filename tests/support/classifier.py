"""The classifier's cases: a start with rows, one result against another, a short training."""

from typing import Any

import numpy as np

from triptych import data

Result = tuple[np.ndarray, dict[str, np.ndarray]]

LOSS, GRADIENT = 8, 16  # eps
RATES = {"sgd": 0.1, "adam": 0.01}


def case(dtype: np.dtype, n: Any = 32, seed: Any = 0, sizes: Any = (4, 16, 8, 3)) -> Any:
    """A start, and n rows of order 1 with their classes."""
    rng = np.random.default_rng(seed)
    params = data.classifier_start(seed, sizes, dtype=str(dtype))
    return params, rng.normal(size=(n, sizes[0])).astype(dtype), rng.integers(0, sizes[-1], n)


def assert_flat(
    agree: Any, pair: str, found: Result, reference: Result, device: str = "cpu"
) -> None:
    (loss, grads), (its_loss, its_grads) = found, reference
    assert loss.shape == its_loss.shape == ()
    # A loss near 0 is a small difference of numbers of order 1; the 1 beside it sets the scale.
    beside = [np.array([1, value], value.dtype) for value in (loss, its_loss)]
    agree("classifier", "loss, beside 1", pair, *beside, LOSS, "eps", device=device)
    assert grads.keys() == its_grads.keys()
    for name, gradient in its_grads.items():
        agree(
            "classifier", "gradients", pair,
            grads[name], gradient, GRADIENT, "eps", device=device,
        )  # fmt: skip


def trained(
    column: Any, dtype: np.dtype, seed: int, optimizer: str, steps: int, *, off: float = 0
) -> Any:
    """Parameters after so many steps on batches of 32 of 320 rows of order 1; off: of the rate."""
    rng = np.random.default_rng(seed)
    x, t = rng.normal(size=(320, 4)).astype(dtype), rng.integers(0, 3, 320)
    start = data.classifier_start(seed, dtype=str(dtype))
    rows = data.batches(320, 32, 100, seed=seed)[:steps]
    rate = RATES[optimizer] * (1 + off)
    after, losses = column.call(
        "classifier", "fit", start, x, t, rows, optimizer=optimizer, learning_rate=rate
    )
    assert losses.shape == (steps,)
    return after


def steps_of(optimizer: str, steps: int) -> str:
    """What it is called in the table."""
    name = {"sgd": "SGD", "adam": "Adam"}[optimizer]
    return f"{steps} step{'s' * (steps > 1)} of {name}"
