"""Durations, ratios and shares in words."""

import math
from typing import Any

from triptych.timing.results import Ratio
from triptych.timing.trends import Crossover

WIDE = 0.1
"""How far a range may reach from its ratio before words say that it is wide."""
BINDS = {"flops": "flops", "bytes": "bytes", "dispatch": "floor"}
LEGEND = (
    "cpu x2: on two threads, or two workers of one; time: of one step, the median over rounds; "
    "least: the shortest; CPU: time of all threads of the process, which a neighbour on the "
    "machine hardly changes.",
    "range: the ratio before it is the median over pairs of processes in which the two rows took "
    "turns; with 95%, the median of all that there could be lies between these. That takes six "
    "pairs; of fewer they are the lowest and the highest, and hold it with 1 - 2^(1-n): with 50% "
    "of 2, 75% of 3. On one thread it is a ratio of CPU time, else of time on the wall. On several "
    "workers the two forms of one column take turns in the same processes, on the wall: there the "
    "turns stand for the pairs.",
    "limit: how much of the measured limit that binds is reached: flops (matrix product), bytes "
    "(what has to be read and written, at the bandwidth of a triad that is at least a third as "
    "large: of a cache, or of the memory) or floor (the empty compiled step; in a whole loop, a "
    "K-th of one). machine: how many times as long as a loop in which nothing is stored that need "
    "not be, compiled by numba, on one thread.",
    "card: of one step by CUDA's own events, for PyTorch's rows; what is missing to the time is "
    "the host's. fed: the time, and the way of the parameters and of the step's rows to the GPU.",
    "messages: the share of a step that its messages to other workers take by themselves; those of "
    "a step also wait for the slowest.",
    "CPU/GPU: above 1 the GPU is faster; compile: before the first step, PyTorch's with the import "
    "of its compiler and one step; even: compiling has paid after so many steps.",
    "host memory: how much the row's process grew while it warmed up; empty: it did not grow. In "
    "files of schema 1 all rows share a process, and use first what earlier ones have freed.",
)
FIT_LEGEND = (
    "time = overhead + cost per row x batch, by least squares of the relative error, neither "
    "number below zero; misfit: root mean square of the relative error. GPU wins: from this batch "
    "(log-log between the two measured ones) up to the largest measured."
)


# Words


def duration(seconds: float) -> str:
    """Three digits and a fitting unit: 0.0000321 is "32.1 us"."""
    units = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9), ("ps", 1e-12))
    # 999.5 would be rounded to four digits
    unit, size = next((u for u in units if seconds >= 0.9995 * u[1]), units[-bool(seconds)])
    return f"{significant(seconds / size, 3)} {unit}"


def significant(number: float, digits: int) -> str:
    """So many digits that count, never an exponent: 1234 to two is "1200"."""
    rounded = float(f"{number:.{digits}g}")
    decimals = digits - 1 - math.floor(math.log10(rounded)) if rounded else 0
    return f"{rounded:.{max(decimals, 0)}f}"


def crossing(cross: Crossover) -> str:
    """The batch from which the GPU wins, and the measured ones around it, or that it does not."""
    if not cross.between:
        return "none in range"
    low, high = cross.between
    if low is None:
        return "whole range"
    return f"{significant(cross.batch or 0, 2)} ({low} to {high})"


def in_times(ratio: Ratio | None) -> str:
    """A ratio: "2.3x", with a star where the two ran on different machines."""
    return f"{significant(ratio.value, 2)}x{'*' * ratio.foreign}" if ratio else ""


def slower(ratio: Ratio | None) -> Ratio | None:
    """How many times as long a row takes, from how many times as fast it is."""
    return ratio and ratio._replace(value=1 / ratio.value, within=None)


def in_range(ratio: Ratio | None) -> str:
    """Where a ratio lay: "2.2-2.4"; "" where the two were not measured in turn."""
    return "-".join(significant(end, 2) for end in ratio.within) if ratio and ratio.within else ""


def is_wide(ratio: Ratio | None) -> bool:
    """Whether a ratio is so uncertain that a reader has to be told."""
    if not ratio or not ratio.within:
        return False
    low, high = ratio.within
    return max(high / ratio.value, ratio.value / low) > 1 + WIDE


def in_share(limit: dict[str, Any] | None) -> str:
    """The share of the limit that binds, and which limit that is."""
    if not limit:
        return ""
    share = 100 * limit["share"]
    amount = "<0.1" if share < 0.1 else f"{share:.0f}" if share >= 9.95 else f"{share:.1f}"
    return f"{amount}% {BINDS[limit['binds']]}"


def in_mebibytes(number: float | None) -> str:
    """A size in MiB; "" for none."""
    return f"{number / 2**20:.1f} MiB" if number else ""


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 row", "2 rows"."""
    return f"{number} {noun}{'s' * (number != 1)}"
