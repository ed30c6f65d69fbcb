"""Training: the classifier's parameters after 1, 10, 100 and 1000 steps, column against column.

A step adds its rounding, and the next ones carry it on. In float64 a thousand steps stay within
1e-12. In float32 they cannot be held to anything: as soon as one z rounds to the other side of 0,
its ReLU lets another gradient through. That drift is in the table, without a bound.
"""

import itertools
from typing import Any

import numpy as np
import pytest

from triptych import data
from triptych.bounds import TRAINED

RATES = {"sgd": 0.1, "adam": 0.01}
SEEDS, MORE_SEEDS = range(3), range(3, 30)


def trained(column: Any, dtype: np.dtype, seed: int, optimizer: str, steps: int) -> Any:
    """Parameters after so many steps on batches of 32 of 320 rows of order 1."""
    rng = np.random.default_rng(seed)
    x, t = rng.normal(size=(320, 4)).astype(dtype), rng.integers(0, 3, 320)
    start = data.classifier_start(seed, dtype=str(dtype))
    rows = data.batches(320, 32, 100, seed=seed)[:steps]
    rate = RATES[optimizer]
    after, losses = column.call(
        "classifier", "fit", start, x, t, rows, optimizer=optimizer, learning_rate=rate
    )
    assert losses.shape == (steps,)
    return after


def steps_of(optimizer: str, steps: int) -> str:
    """What it is called in the table."""
    name = {"sgd": "SGD", "adam": "Adam"}[optimizer]
    return f"{steps} step{'s' * (steps > 1)} of {name}"


def check(
    columns: Any, dtype: np.dtype, agree: Any, optimizer: str, steps: int, seeds: range
) -> None:
    bound = TRAINED[optimizer, str(dtype)].get(steps, np.inf)
    quantity = steps_of(optimizer, steps)
    for seed in seeds:
        runs = {c.name: trained(c, dtype, seed, optimizer, steps) for c in columns}
        for first, second in itertools.combinations(runs, 2):
            assert runs[first].keys() == runs[second].keys()
            for key, p in runs[first].items():
                pair = f"{first}/{second}"
                agree("classifier", quantity, pair, runs[second][key], p, bound, "absolute")


@pytest.mark.parametrize("steps", [1, 10, 100, 1000])
@pytest.mark.parametrize("optimizer", RATES)
def test_parameters(columns: Any, dtype: np.dtype, agree: Any, optimizer: str, steps: int) -> None:
    check(columns, dtype, agree, optimizer, steps, SEEDS if steps < 1000 else SEEDS[:1])


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 10, 100, 1000])
@pytest.mark.parametrize("optimizer", RATES)
def test_parameters_of_more_seeds(
    columns: Any, dtype: np.dtype, agree: Any, optimizer: str, steps: int
) -> None:
    check(columns, dtype, agree, optimizer, steps, MORE_SEEDS if steps < 1000 else MORE_SEEDS[:5])
