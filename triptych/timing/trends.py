"""Trends over the batch: overhead, cost of a row, where two lines cross."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from triptych.timing.results import BEST, FASTEST, Label, Row, Side, ratio_of

FIT_BATCHES = 3
"""A line through two points has no residual that could say how good it is."""


class Fit(NamedTuple):
    """time = overhead + per_row * batch, in seconds, of one column and mode on one side."""

    overhead: float
    per_row: float
    misfit: float
    """Root mean square of the relative error, the quantity that was minimised."""
    batches: int


def fit(batches: Sequence[float], seconds: Sequence[float]) -> Fit:
    """Overhead and cost per row, by non-negative least squares of the relative error.

    Relative, because the times span decades and their spread grows with them: plain least
    squares would see the largest batch only.

    Args:
        batches: rows in a step, two or more different numbers.
        seconds: time of a step at each.
    """
    from scipy.optimize import nnls

    times = np.asarray(seconds, float)
    design = np.stack([np.ones_like(times), np.asarray(batches, float)], axis=1) / times[:, None]
    scale = design.max(axis=0)  # columns of one size, for the solver's tolerance
    solution, residual = nnls(design / scale, np.ones_like(times))
    overhead, per_row = (float(number) for number in solution / scale)
    return Fit(overhead, per_row, float(residual) / math.sqrt(len(times)), len(times))


class Crossover(NamedTuple):
    """CPU time over GPU time at each batch, and the batch from which the GPU wins."""

    batches: list[int]
    ratios: list[float]
    foreign: bool
    """Some of the CPU times are of another set-up."""

    @property
    def between(self) -> tuple[int | None, int] | None:
        """The measured batches around the crossover; (None, smallest): wins all; None: none."""
        wins = [ratio > 1 for ratio in self.ratios]
        if not wins[-1]:
            return None
        losing = [batch for batch, won in zip(self.batches, wins, strict=True) if not won]
        if not losing:
            return None, self.batches[0]
        return losing[-1], self.batches[self.batches.index(losing[-1]) + 1]

    @property
    def batch(self) -> float | None:
        """The crossover, on the straight line in log-log between the two; None: none in range."""
        if not self.between:
            return None
        low, high = self.between
        if low is None:
            return float(high)
        at = dict(zip(self.batches, self.ratios, strict=True))
        share = math.log(at[low]) / math.log(at[low] / at[high])
        return float(low * (high / low) ** share)


Key = tuple[str, Label, Side]
"""Dtype, label and side of a line over batches."""


def sweeps(rows: Iterable[Row]) -> dict[Key, list[Row]]:
    """The timed rows of one task as lines over the batch."""
    lines: dict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        if row.time and row.batch:
            lines[row.dtype, row.label, row.side].append(row)
    return lines


def fits(rows: Iterable[Row]) -> dict[Key, Fit]:
    """For the lines of one task with at least FIT_BATCHES batches: overhead and cost per row."""
    return {
        key: fit([row.batch or 0 for row in line], [row.time.median for row in line if row.time])
        for key, line in sweeps(rows).items()
        if len(line) >= FIT_BATCHES
    }


def crossovers(rows: Iterable[Row]) -> dict[Key, Crossover]:
    """For one task and each GPU: every column and mode, every column's fastest, the best of all."""
    groups: dict[Any, list[Row]] = defaultdict(list)
    timed = [row for row in rows if row.time and row.batch]
    for row in timed:
        for label in (row.label, (row.label[0], FASTEST), (BEST, "")):
            groups[row.dtype, label].append(row)
    found = {}
    for (dtype, label), group in groups.items():
        for side in dict.fromkeys(row.side for row in group if row.side.device != "cpu"):
            ratios = {}
            for batch in sorted({row.batch or 0 for row in group}):
                here = [row for row in group if row.batch == batch]
                on_gpu = [row for row in here if row.side == side]
                on_cpu = [row for row in here if row.side.device == "cpu"]
                fastest = min(
                    on_gpu, key=lambda row: row.time.median if row.time else math.inf, default=None
                )
                if fastest and (ratio := ratio_of(fastest, on_cpu)):
                    ratios[batch] = ratio
            if ratios:
                values = [ratio.value for ratio in ratios.values()]
                foreign = any(ratio.foreign for ratio in ratios.values())
                found[dtype, label, side] = Crossover(list(ratios), values, foreign)
    return found
