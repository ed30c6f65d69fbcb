"""The timing harness: a row is checked, then warmed up, then timed; or it shows no time at all.

A target makes K chained steps of real work and waits once, for all of its outputs. It is timed only
after it has agreed with another column in float64, has been seen to end before it returns and has
stopped compiling. pytest-benchmark runs the rounds, keeps the statistics and writes the JSON.
"""

import statistics
import sys
import time
from typing import Any

from benchmarks import compile_time
from benchmarks.cases import BASES, EPS, FEWEST, MOST, Case, InvalidRow, Target, precision
from benchmarks.memory import PeakMemory, transfer_time
from triptych import trees
from triptych.agreement.measures import DisagreementError, distance
from triptych.column import Column

BUDGET = 1.0  # seconds of timed rounds for a row

WARM_UP = 10  # rounds in which compilation has to end


def compilations() -> int:
    """How many programs JAX and PyTorch have compiled in this process.

    The difference of two calls is what was compiled in between; the first call starts counting.
    """
    torch_graphs = 0
    if "torch._dynamo" in sys.modules:
        from torch._dynamo.utils import counters

        torch_graphs = counters["stats"]["unique_graphs"]
    return _jax_compilations() + torch_graphs


_EVENTS: list[str] = []


def _jax_compilations() -> int:
    if "jax" in sys.modules and not _EVENTS:
        import jax

        def listen(event: str, duration_secs: float, **_: Any) -> None:  # noqa: ARG001
            if event == "/jax/core/compile/backend_compile_duration":
                _EVENTS.append(event)

        _EVENTS.append("listening")
        jax.monitoring.register_event_duration_secs_listener(listen)
    return max(len(_EVENTS) - 1, 0)


def unfinished(outputs: Any) -> bool:
    """Whether anything in a (nested) result is still being computed. Asks, and does not wait."""
    return any(_unfinished(value) for _, value in trees.leaves(outputs))


def _unfinished(value: Any) -> bool:
    if hasattr(value, "is_ready"):  # a jax.Array
        return not value.is_ready()
    if getattr(value, "is_cuda", False):  # a torch.Tensor: work ends in the order of its stream
        import torch

        return not torch.cuda.current_stream(value.device).query()
    return False


def rounds_in(budget: float, seconds: float) -> int:
    """How many rounds of that length fill a time budget, within `FEWEST` and `MOST`."""
    return min(MOST, max(FEWEST, round(budget / max(seconds, 1e-9))))


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


def warm_up(target: Target) -> float:
    """Run until nothing is compiled any more.

    Returns:
        Seconds of a round, the median of the last three.

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
            return statistics.median(seconds)
    raise InvalidRow(f"compiles in every round: still after {WARM_UP}")


def measure(case: Case, benchmark: Any, threads: int, budget: float = BUDGET) -> dict[str, Any]:
    """Check a row, warm it up and time it.

    Args:
        case: the row.
        benchmark: pytest-benchmark's fixture; it gets the rounds and `extra_info`.
        threads: of this process, for the record.
        budget: seconds of timed rounds.

    Returns:
        The row's `extra_info`, with the status "ok"; `benchmark` has the times.

    Raises:
        InvalidRow: it shows no time, and why.
    """
    row = case.row(threads)
    column = BASES.get(case.column, case.column)
    with precision(case.dtype), Column(column, case.device).at_home():
        memory = PeakMemory(case)
        target = case.make(case)
        row["agreement"] = check(case, target)
        memory.forget_host()
        seconds = warm_up(target)
        row["peak_memory"] = memory.read()
        row["transfer"] = transfer_time(case, target.transfer)
        if case.compile_time and case.batch is not None:
            row["compile"] = compile_time.in_fresh_process(
                case.column, case.mode, case.device, case.batch, case.steps
            )
        before = compilations()
        result = benchmark.pedantic(
            lambda *arguments: target.wait(target.run(*arguments)),
            setup=lambda: (target.start(), {}),
            rounds=rounds_in(budget, seconds),
        )
        if compilations() != before or unfinished(result):
            # pytest-benchmark leaves a benchmark with an error out of its results.
            benchmark.has_error = True
            raise InvalidRow("something was compiled, or left undone, inside the timed rounds")
    benchmark.group = case.task
    benchmark.extra_info.update(row)
    return row
