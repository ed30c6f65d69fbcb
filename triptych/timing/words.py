"""Durations, ratios and shares in words."""

import math
from typing import Any

from triptych.timing.results import Ratio
from triptych.timing.trends import Crossover

NOISY = 0.1
"""Interquartile range over median above which a row is marked."""
BINDS = {"flops": "flops", "bytes": "bytes", "dispatch": "floor"}
LEGEND = (
    "cpu x2: on two threads; time: of one step, the median over rounds; spread: interquartile "
    "range over median, of several runs from the lowest first quartile to the highest third; ! "
    "above 10%.",
    "limit: how much of the measured limit that binds is reached: flops (matrix product), bytes "
    "(of a triad that is at least a third as large: the bandwidth of a cache, or of the memory) or "
    "floor (the empty compiled step; in a whole loop, a K-th of one).",
    "CPU/GPU: above 1 the GPU is faster; compile: before the first step, PyTorch's with the import "
    "of its compiler and one step; even: compiling has paid after so many steps.",
    "host memory: how much the process grew while the row warmed up. Memory that earlier rows have "
    "freed is used first, so the number does not compare columns; empty: it did not grow.",
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
