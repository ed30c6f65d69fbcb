"""The timing harness: a row is warmed up, timed and checked, or it shows no time at all.

A target makes K chained steps of real work and waits once, for all of its outputs. It is timed when
it has been seen to end before it returns and has stopped compiling; it shows a time only if it then
agrees with another column in float64. `turns` has the processes; pytest-benchmark keeps the
statistics and writes the JSON.
"""

import contextlib
import statistics
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from benchmarks import compile_time
from benchmarks.cases import BASES, EPS, Case, InvalidRow, Target, precision
from benchmarks.memory import PeakMemory, page_faults, transfer_time
from triptych.agreement.measures import DisagreementError, distance
from triptych.column import Column
from triptych.timing.clock import compilations, unfinished

BUDGET = 1.0  # seconds of timed rounds for a row

WARM_UP = 10  # rounds in which compilation has to end
TURN = 0.05
"""Seconds of a turn; it has one timed round at least, and before a shorter one a round that is not
timed, which brings the caches back: in a longer one that is no part worth naming."""
AGEING = 2**25
"""Bytes: glibc raises its limit for what it keeps to the size of the largest array given back."""


def check(case: Case, target: Target) -> dict[str, Any]:
    """The agreement of a target with its reference.

    Returns:
        The distance of the output that is farthest off, its unit and the bound.

    Raises:
        InvalidRow: an output is farther off than the bound, or is not there.
    """
    result = target.check() if target.check else target.wait(target.run(*target.start()))
    found, expected = target.outputs(result), target.expected()
    if found.keys() != expected.keys():
        raise InvalidRow(f"outputs {sorted(found)} are not {sorted(expected)}")
    worst = 0.0
    for name, value in expected.items():
        if name in target.as_a_whole:
            _check_as_a_whole(name, found[name], value, target.as_a_whole[name])
            continue
        # The distance counts in eps of the dtype that computed, not of the one that stores it.
        scale = EPS[case.dtype] / EPS["float64"] if target.unit == "eps" else 1.0
        try:
            apart = distance(name, found[name].astype(float), value.astype(float), target.unit)
        except DisagreementError as error:
            raise InvalidRow(str(error)) from None
        off = apart.value / scale
        worst = max(worst, off)
        if not off <= target.bound:
            where = f"{name} is {off:.3g} {target.unit} off at {apart.where}"
            raise InvalidRow(f"disagrees: {where}, allowed {target.bound:.3g}")
    return {"distance": worst, "unit": target.unit, "bound": target.bound}


def _check_as_a_whole(name: str, found: np.ndarray, value: np.ndarray, bound: float) -> None:
    """Compare an output of which a few entries may differ much.

    Raises:
        InvalidRow: its relative distance in the Frobenius norm is above the bound.
    """
    if found.shape != value.shape:
        raise InvalidRow(f"{name} has the shape {found.shape}, not {value.shape}")
    off = float(np.linalg.norm(found.astype(float) - value) / np.linalg.norm(value))
    if not off <= bound:
        raise InvalidRow(f"disagrees: {name} is {off:.3g} of itself off, allowed {bound:.3g}")


def warm_up(target: Target) -> float:
    """Run until nothing is compiled any more.

    Returns:
        Seconds of a round, the least of the last three.

    Raises:
        InvalidRow: it compiles in every round, or returns before its work is done.
    """
    seconds: list[float] = []
    for _ in range(WARM_UP):
        arguments = target.start()
        before = compilations()
        start = time.perf_counter()
        result = target.wait(target.run(*arguments))
        elapsed = time.perf_counter() - start
        if unfinished(result):
            raise InvalidRow("returns before its outputs are computed: it does not wait")
        seconds = [*seconds, elapsed] if compilations() == before else []
        if len(seconds) == 3:
            return min(seconds)
    raise InvalidRow(f"compiles in every round: still after {WARM_UP}")


def check_at_home(case: Case, target: Target) -> None:
    """Run once more while nothing may be brought to another device, or read from one.

    JAX does both silently where an array was made on its default device. PyTorch refuses operands
    on two devices by itself. The learning rate may come from the host: a number is no data.

    Raises:
        InvalidRow: an array was moved inside the loop.
    """
    if BASES.get(case.column, case.column) != "jax_impl":
        return
    import jax

    arguments = target.start()
    guards = jax.transfer_guard_device_to_device, jax.transfer_guard_device_to_host
    try:
        with guards[0]("disallow"), guards[1]("disallow"):
            result = target.run(*arguments)
    except Exception as error:
        if "Disallowed" not in str(error):
            raise
        raise InvalidRow(f"moves data inside the loop: {str(error).splitlines()[0]}") from None
    target.wait(result)


def kernels(case: Case, target: Target) -> float | None:
    """How many kernels PyTorch starts on the GPU in a step; None for any other row."""
    if case.device != "cuda" or BASES.get(case.column, case.column) != "torch_impl":
        return None
    import torch

    arguments = target.start()
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        target.wait(target.run(*arguments))
    found = [event for event in profile.events() or () if "CUDA" in str(event.device_type)]
    return len(found) / case.steps


class Card:
    """A CUDA card's own clock, beside the host's: events that PyTorch puts into its stream.

    There is none on a CPU, nor for JAX, into whose stream nobody else can put one.
    """

    def __init__(self, case: Case) -> None:
        self.events: list[Any] = []
        if case.device == "cuda" and BASES.get(case.column, case.column) == "torch_impl":
            import torch

            self.events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]

    def mark(self, which: int) -> None:
        """Put the first (0) or the last (1) event into the stream."""
        if self.events:
            self.events[which].record()

    def seconds(self) -> float:
        """Between the two, which have to be over; 0 without a clock."""
        return self.events[0].elapsed_time(self.events[1]) / 1e3 if self.events else 0.0


class Turn(NamedTuple):
    """What a row took in one of its turns: seconds of a step."""

    wall: float
    cpu: float
    """Of all threads of the process."""
    faults: float
    """Pages that the system had to bring in, in a step; 0 where it does not say."""
    card: float = 0.0
    """By the card's own clock; 0 where there is none."""


class Runner:
    """A row on its way: made and warmed up, stepped a turn at a time, and checked at the end.

    The check is last because the other column that it needs would leave its traces in the process.

    Raises:
        InvalidRow: it compiles in every round, or returns before its work is done.
    """

    def __init__(self, case: Case, threads: int) -> None:
        self.case = case
        self.row = case.row(threads)
        with self._settings():
            memory = PeakMemory(case)
            self.target = case.make(case)
            memory.forget_host()
            self._seconds = warm_up(self.target)
            self.row["peak_memory"] = memory.read()

    @contextlib.contextmanager
    def _settings(self) -> Iterator[None]:
        column = Column(BASES.get(self.case.column, self.case.column), self.case.device)
        with precision(self.case.dtype), column.at_home():
            yield

    def seconds(self) -> float:
        """Seconds of a round, as the last rounds of the warm-up took."""
        return self._seconds

    def turn(self) -> Turn:
        """Timed rounds until `TURN` is over, after one to be warm again; their medians.

        Raises:
            InvalidRow: something was compiled, or left undone, inside the timed rounds.
        """
        walls: list[float] = []
        processor: list[float] = []
        faults: list[float] = []
        cards: list[float] = []
        with self._settings():
            card = Card(self.case)
            before = compilations()
            if self._seconds < TURN:
                self.target.wait(self.target.run(*self.target.start()))
            until = time.perf_counter() + TURN
            while not walls or time.perf_counter() < until:
                arguments = self.target.start()
                pages = page_faults()
                busy, start = time.process_time(), time.perf_counter()
                card.mark(0)
                result = self.target.run(*arguments)
                card.mark(1)
                result = self.target.wait(result)
                walls.append(time.perf_counter() - start)
                processor.append(time.process_time() - busy)
                faults.append(page_faults() - pages)
                cards.append(card.seconds())
                if compilations() != before or unfinished(result):
                    raise InvalidRow(
                        "something was compiled, or left undone, inside the timed rounds"
                    )
        return Turn(
            *(statistics.median(one) / self.case.steps for one in (walls, processor, faults, cards))
        )

    def age(self) -> None:
        """Make and free a large array: from then on glibc keeps what the program gives back."""
        np.ones(AGEING // 8)

    def finish(self) -> dict[str, Any]:
        """Check the row, and measure what is paid once.

        Returns:
            Its `extra_info`, without the times.

        Raises:
            InvalidRow: it does not agree.
        """
        case = self.case
        with self._settings():
            check_at_home(case, self.target)
            self.row["kernels"] = kernels(case, self.target)
            self.row["agreement"] = check(case, self.target)
            self.row["transfer"] = transfer_time(case, self.target.transfer)
        if case.compile_time and case.batch is not None:
            self.row["compile"] = compile_time.in_fresh_process(
                case.column, case.mode, case.device, case.batch, case.steps
            )
        return self.row
