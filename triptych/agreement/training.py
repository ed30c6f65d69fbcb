"""The classifier trained on the diabetes study, and how far training drifts apart."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from triptych import data
from triptych.agreement import bounds
from triptych.agreement.quantities import Named
from triptych.column import Column


class Training(NamedTuple):
    """The classifier trained on the diabetes study in one column."""

    column: str
    dtype: str
    losses: np.ndarray
    """The mean loss of each epoch, before its updates."""
    train_accuracy: float
    test_accuracy: float
    predicted: np.ndarray
    """The class of each held-out row."""
    params: Named


EPOCHS, BATCH, RATE = 200, 38, 0.05
TRAINED = EPOCHS * (342 // BATCH) * bounds.TRAINED["sgd", "float64"][1]
"""How far parameters trained in float64 may be from NumPy's: each of 1800 steps may add what one
may. float32 drifts, and is shown."""


def train(
    column: Column, dtype: str, advance: Callable[[], object] = lambda: None, parts: int = 20
) -> Training:
    """Train 4-16-8-3 on the diabetes study: 200 epochs of gradient descent on batches of 38 rows.

    Args:
        column: where.
        dtype: "float32" or "float64".
        advance: called after each part of the epochs.
        parts: into how many equal parts the epochs are cut.

    Returns:
        What came out of it.
    """
    (x, t), (held_x, held_t) = data.diabetes(dtype=dtype)
    params = data.classifier_start(dtype=dtype)
    losses = []
    for rows in np.split(data.batches(len(x), BATCH, EPOCHS), parts):
        # gradient descent has no state but the parameters: it can go on where it stopped
        params, history = column.call(
            "classifier", "fit", params, x, t, rows, optimizer="sgd", learning_rate=RATE
        )
        losses.append(history)
        advance()
    return Training(
        column.name,
        dtype,
        np.concatenate(losses).reshape(EPOCHS, -1).mean(axis=1),
        float(column.call("classifier", "accuracy", params, x, t)),
        float(column.call("classifier", "accuracy", params, held_x, held_t)),
        column.call("classifier", "predict", params, held_x),
        params,
    )


def drift(training: Training, reference: Training) -> float:
    """The largest difference of any parameter from the reference's, absolute; NaN is infinite."""
    apart = [np.max(np.abs(p - reference.params[name])) for name, p in training.params.items()]
    return float(np.nan_to_num(np.max(apart), nan=np.inf))


def reference_of(training: Training, trainings: Sequence[Training]) -> Training:
    """The training in the same dtype that another is held against: the first column's."""
    return next(t for t in trainings if t.dtype == training.dtype)
