"""Time one's own functions: agreement first, then in turn, waited for, compilation apart.

Public comparisons go wrong in three ways: the clock stops at dispatch, the first call's compilation
is counted, or one function runs while the machine is slower. So every call is waited for, nothing
is timed before all have stopped compiling, and the functions run in turn: their ratio is the
median of the ratios of neighbours.
"""

import dataclasses
import statistics
import time as clock
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from triptych.port.arguments import Functions, call_of, functions_of
from triptych.port.call import compare
from triptych.port.run_jax import x64
from triptych.port.run_torch import functional
from triptych.port.sides import Call, Side, is_module, takes_params
from triptych.port.values import is_jax, is_torch, to_jax, to_torch, walk
from triptych.timing.clock import compilations, unfinished

WARM_UP = 10
"""Calls in which compilation has to end."""
FEWEST, MOST = 7, 1000
"""Rounds."""


@dataclasses.dataclass(frozen=True)
class Timed:
    """One function's time."""

    label: str
    first: float
    """Seconds of the first call, compilation included."""
    seconds: tuple[float, ...]
    """Of each round, in order."""

    @property
    def median(self) -> float:
        """Seconds of a call."""
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Seconds between which half of the calls lie."""
        low, _, high = statistics.quantiles(self.seconds, n=4)
        return low, high


@dataclasses.dataclass(frozen=True)
class Timing:
    """What `triptych.time` measured, on the CPU."""

    rows: tuple[Timed, ...]
    """The original first."""

    def ratio(self, label: str) -> tuple[float, float, float]:
        """How many times as long as the original it takes: the lower quartile, median, upper one.

        Args:
            label: of the function, such as "jax".
        """
        (row,) = [row for row in self.rows if row.label == label]
        pairs = zip(row.seconds, self.rows[0].seconds, strict=True)
        low, middle, high = statistics.quantiles([a / b for a, b in pairs], n=4)
        return low, middle, high

    def __str__(self) -> str:
        lines = []
        width = max(len(row.label) for row in self.rows)
        for row in self.rows:
            low, high = row.quartiles
            line = f"{row.label:{width}}  {_time(row.median)} ({_time(low)} to {_time(high)})"
            line += f", first call {_time(row.first)}"
            if row is not self.rows[0]:
                least, ratio, most = self.ratio(row.label)
                line += f"; {ratio:.2f} times {self.rows[0].label} ({least:.2f} to {most:.2f})"
            lines.append(line)
        return "\n".join([*lines, f"{len(self.rows[0].seconds)} rounds in turn, on the CPU"])


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def time(
    *arguments: Any,
    torch: Functions = None,
    jax: Functions = None,
    numpy: Functions = None,
    kwargs: Mapping[str, Any] | None = None,
    budget: float = 1.0,
    **options: Any,
) -> Timing:
    """How long each function takes, if they agree.

    They are timed as they are given: compile a JAX function with `jax.jit`, put a PyTorch one under
    `torch.no_grad()` or into `torch.compile`, and have both return gradients if gradients are what
    is to be timed. The arguments are brought to each framework before the clock starts.

    Args:
        arguments: as for `compare`.
        torch: the PyTorch function or functions.
        jax: the JAX function or functions.
        numpy: the NumPy function or functions.
        kwargs: keyword arguments, the same for every function.
        budget: seconds of timed rounds for all together.
        options: of `compare`, such as `fixed`, `ignore` and `bound`.

    Raises:
        DisagreementError: they do not agree, so their times say nothing.
        ValueError: the budget is not positive, or a function compiles at every call.
    """
    if not budget > 0:
        raise ValueError(f"time: budget must be above 0, got {budget}")
    sides = functions_of(arguments, torch, jax, numpy)
    call = call_of(sides, arguments, dict(kwargs or {}))
    double = any(a.dtype.name in ("float64", "complex128") for a in call.given.values())
    with x64(double and any(side.framework == "jax" for side in sides)):
        runs = [_ready(side, call) for side in sides]
        firsts = [_once(run) for run in runs]  # before the comparison, which would compile as well
    given: dict[str, Any] = {"torch": torch, "jax": jax, "numpy": numpy, "kwargs": kwargs}
    compare(*arguments, **given, **options).raise_if_apart()
    with x64(double and any(side.framework == "jax" for side in sides)):
        took = [_warm(side.label, run) for side, run in zip(sides, runs, strict=True)]
        rounds = min(MOST, max(FEWEST, round(budget / max(sum(took), 1e-9))))
        before = compilations()
        times: list[list[float]] = [[] for _ in runs]
        order = list(range(len(runs)))
        for _ in range(rounds):
            for i in order:
                times[i].append(_once(runs[i]))
            order.reverse()  # the machine is warmer for the one that runs second
    if compilations() != before:
        raise ValueError("time: something was compiled in the timed rounds")
    rows = zip(sides, firsts, times, strict=True)
    return Timing(tuple(Timed(side.label, first, tuple(s)) for side, first, s in rows))


def _ready(side: Side, call: Call) -> Callable[[], Any]:
    """A call with everything in place; it returns when all that it makes is computed."""
    make: Any = {"torch": to_torch, "jax": to_jax, "numpy": np.array}[side.framework]
    leaves = {name: make(array) for name, array in call.given.items()}
    positional, keywords = call.filled(leaves)
    function = side.function
    if is_module(function) and takes_params(function, call.arguments):
        function = functional(function, call)

    def run() -> Any:
        return _wait(function(*positional, **keywords))

    return run


def _wait(result: Any) -> Any:
    leaves = [leaf for _, leaf in walk(result, "")]
    for leaf in leaves:
        if is_jax(leaf):
            leaf.block_until_ready()
        elif is_torch(leaf) and leaf.is_cuda:
            import torch

            torch.cuda.synchronize(leaf.device)
    return leaves


def _once(run: Callable[[], Any]) -> float:
    start = clock.perf_counter()
    made = run()
    taken = clock.perf_counter() - start
    assert not unfinished(made)
    return taken


def _warm(label: str, run: Callable[[], Any]) -> float:
    """Call until nothing is compiled any more; seconds of a call."""
    seconds: list[float] = []
    for _ in range(WARM_UP):
        before = compilations()
        taken = _once(run)
        seconds = [*seconds, taken] if compilations() == before else []
        if len(seconds) == 3:
            return statistics.median(seconds)
    raise ValueError(f"time: {label} compiles at every call, still after {WARM_UP}")
