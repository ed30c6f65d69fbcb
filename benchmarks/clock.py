"""What was measured elsewhere, told to pytest-benchmark: a clock that shows recorded times.

Rows are timed in processes of their own (`turns`). pytest-benchmark then runs a round for each time
that was recorded, on this clock, which moves by that time: its statistics, tables, comparisons and
files hold seconds of one step, and nothing of the plugin has to be known that is not public.
"""

from collections.abc import Sequence
from typing import Any

_SHOWN = [0.0]


def recorded() -> float:
    """Seconds that the recorded rounds have taken so far: the timer of every row."""
    return _SHOWN[0]


def tell(benchmark: Any, seconds: Sequence[float]) -> None:
    """Let the plugin's fixture run a round for each of these times.

    Args:
        benchmark: pytest-benchmark's fixture, whose timer is `recorded`.
        seconds: of one step, in the order in which they were measured.
    """
    left = iter(seconds)

    def back() -> None:
        _SHOWN[0] = 0.0  # a difference of two sums would lose digits

    def forward() -> None:
        _SHOWN[0] = next(left)

    benchmark.pedantic(forward, setup=back, rounds=len(seconds))
