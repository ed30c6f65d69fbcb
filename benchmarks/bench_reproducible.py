"""What equal bits cost: the classifier's step with sums that have no order, beside the ordinary.

It is a mode of that step, measured in turn with the ordinary rows of bench_classifier.py. A result
counts only if it is the other column's, bit by bit.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

from benchmarks import peers
from benchmarks.bench_classifier import NUMBERS, RATE, SIZES, TASKS, arguments, steps_of
from benchmarks.cases import Case, Outputs, Target, judge, placed, precision
from benchmarks.compile_time import unchecked
from benchmarks.counts import classifier_step
from benchmarks.machine import devices, runs
from triptych.column import Column

BATCHES = (32, 4096)
MODES = {
    "numpy_ref": "equal bits",
    "torch_impl": "equal bits",
    "jax_impl": "whole loop, equal bits",
}


def make(case: Case) -> Target:
    """A loop of training steps."""
    assert case.batch is not None
    given = arguments(case.batch, case.steps, SIZES, "float32")
    column = Column(case.column, case.device)
    train = {"optimizer": "sgd", "learning_rate": RATE["sgd"]}
    _, x, t, batches = (placed(column, value, "float32") for value in given)

    def fresh() -> Any:
        return column.synchronize((placed(column, given[0], "float32"), x, t, batches))

    def expected() -> Outputs:
        with precision("float32"):
            params, losses = judge(case.column).call("reproducible", "fit", *given, **train)
        return params | {"losses": losses[:10]}

    run = unchecked(column, partial(column.reproducible.fit, **train))
    return Target(fresh, run, column.synchronize, peers.trained(column), expected, 0.0)


def cases() -> Iterator[Case]:
    """Every row; the larger batches need --sweep, as the ordinary ones do."""
    for device in devices():
        for column, mode in MODES.items():
            for batch in BATCHES:
                if runs(column, "as_written", device):
                    count = classifier_step(SIZES, batch, NUMBERS["float32"])
                    yield Case(
                        "reproducible", TASKS["sgd"], column, mode, batch,
                        steps_of(batch, mode), make, "float32", device,
                        when="default" if batch == 32 else "sweep", **count._asdict(),
                    )  # fmt: skip


def test_reproducible(case: Case, measure: Any) -> None:
    """Check, warm up, time."""
    measure(case)
