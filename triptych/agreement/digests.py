"""One digest for a whole training run: what `reproducible.fit` returns, down to the last bit.

Elsewhere the columns agree within a bound; here every bit is equal, which sixteen digits can say.
digests.toml has the digests that every machine must find.
"""

import functools
import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from triptych import data
from triptych.column import Column, precision

RATES = {"sgd": 0.1, "adam": 0.01}


class Run(NamedTuple):
    """A training run of the classifier on the diabetes study, and its digest."""

    optimizer: str
    seed: int
    """Of the split of the patients, the starting weights and the batches."""
    batch: int
    steps: int
    digest: str
    """Sixteen hexadecimal digits."""


def digest(params: Mapping[str, np.ndarray], losses: np.ndarray) -> str:
    """The first sixteen digits of the SHA-256 of the parameters, by name, and the losses.

    Args:
        params: float32 arrays; their names and shapes count as well.
        losses: float32.

    Raises:
        TypeError: an array is not float32.
        ValueError: a number is not finite: training has failed, and NaNs have many bit patterns.
    """
    found = hashlib.sha256()
    for name, value in [*sorted(params.items()), ("losses", losses)]:
        if value.dtype != np.float32:
            raise TypeError(f"digest: {name} must be float32, got dtype {value.dtype}")
        if not np.isfinite(value).all():
            raise ValueError(f"digest: {name} must be finite")
        found.update(f"{name}{value.shape}".encode())
        found.update(value.astype("<f4").tobytes())
    return found.hexdigest()[:16]


@functools.cache
def committed() -> tuple[Run, ...]:
    """The runs of digests.toml; the first two are short, one of SGD and one of Adam."""
    text = Path(__file__).with_name("digests.toml").read_text(encoding="utf-8")
    return tuple(Run(**run) for run in tomllib.loads(text)["run"])


Given = tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray]


def given(run: Run) -> Given:
    """Start, rows, their classes, and the numbers of the rows that each step sees."""
    (x, t), _ = data.diabetes(run.seed, dtype="float32")
    epochs = -(-run.steps // (len(x) // run.batch))
    batches = data.batches(len(x), run.batch, epochs, run.seed)[: run.steps]
    return data.classifier_start(run.seed, dtype="float32"), x, t, batches


def train(column: Column, run: Run) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """That run in a column: the parameters after it, and the losses."""
    settings = {"optimizer": run.optimizer, "learning_rate": RATES[run.optimizer]}
    with precision("float32"):
        params, losses = column.call("reproducible", "fit", *given(run), **settings)
    return params, losses


def find(column: Column, run: Run) -> str:
    """The digest of that run in a column."""
    return digest(*train(column, run))
