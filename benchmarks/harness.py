"""The timing harness: a row is checked, then warmed up, then timed; or it shows no time at all.

A target makes K chained steps of real work and waits once, for all of its outputs. It is timed only
after it has agreed with another column in float64, has been seen to end before it returns and has
stopped compiling. pytest-benchmark runs the rounds, keeps the statistics and writes the JSON.
"""

import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from benchmarks import compile_time
from triptych import calls
from triptych.agreement import DisagreementError, Unit, distance

BUDGET = 1.0  # seconds of timed rounds for a row
FEWEST, MOST = 7, 500  # rounds: enough for quartiles, and no more than tell anything new
WARM_UP = 10  # rounds in which compilation has to end
NOISY = 0.1
"""A spread, interquartile range over median, above which a row is marked."""

EPS = {
    "float64": 2.0**-52,
    "float32": 2.0**-23,
    # a product rounds its operands to 11 or 8 significant bits
    "tf32": 2.0**-11,
    "bfloat16": 2.0**-8,
}
BASES = {
    "scikit-learn": "numpy_ref",
    "autograd": "numpy_ref",
    "optax": "jax_impl",
    "torch.optim": "torch_impl",
}
"""Peers, and the column that dispatches the way they do."""

Outputs = dict[str, np.ndarray]


class InvalidRow(Exception):  # noqa: N818 (it is a verdict on a row, not a failure of the harness)
    """A row that must not show a time; the message says why."""


class Target(NamedTuple):
    """What is timed: its fresh state, its K chained steps, and how to wait for them."""

    start: Callable[[], tuple[Any, ...]]
    """Makes the arguments of `run`, on the device and ready: before the clock starts."""
    run: Callable[..., Any]
    """K steps, each on what the one before left; returns all that they made."""
    wait: Callable[[Any], Any]
    """Returns when everything in the outputs is computed."""
    outputs: Callable[[Any], Outputs]
    """What is compared, by name, in NumPy."""
    expected: Callable[[], Outputs]
    """The same from another column, in float64."""
    bound: float = 0.0
    """How far the outputs may be from what is expected."""
    unit: Unit = "absolute"
    """Of the bound; "eps" is that of the row's own dtype."""
    check: Callable[[], Any] | None = None
    """Makes the outputs to compare, where those of `run` have too many steps behind them."""


class Case(NamedTuple):
    """One row of the report."""

    concept: str
    task: str
    column: str
    """A column, or a peer of `BASES`."""
    mode: str
    batch: int | None
    steps: int
    make: Callable[["Case"], Target]
    dtype: str = "float32"
    device: str = "cpu"
    flops: float | None = None
    bytes: float | None = None
    """Of one step, by the analytic count of the task; the same for every column."""
    when: Literal["default", "full", "sweep"] = "full"
    """Which option asks for it; "default" needs none."""
    compile_time: bool = False
    """Whether its compile time is measured, in a process of its own."""

    @property
    def peer(self) -> bool:
        """Whether it is other people's code."""
        return self.column in BASES

    @property
    def id(self) -> str:
        """Its name on pytest's command line."""
        words = (self.task, self.column, self.mode, self.device, self.dtype, str(self.batch))
        return "-".join(word.replace(" ", "_").replace(",", "") for word in words)

    def row(self, threads: int) -> dict[str, Any]:
        """What is known before anything has run; `extra_info` in the results file."""
        names = ("concept", "task", "column", "peer", "mode", "device", "dtype", "batch", "steps")
        known = {name: getattr(self, name) for name in (*names, "flops", "bytes")}
        empty = dict.fromkeys(("limit", "agreement", "compile", "break_even_steps"))
        empty |= dict.fromkeys(("transfer", "peak_memory"))
        return known | {"threads": threads, "status": "ok", "reason": ""} | empty


def chosen(
    cases: Iterable[Case], *, devices: Sequence[str], full: bool = False, sweep: bool = False
) -> list[Case]:
    """The rows that were asked for, on these devices."""
    wanted = {"default", *(["full"] if full else []), *(["sweep"] if sweep else [])}
    return [case for case in cases if case.when in wanted and case.device in devices]


@contextlib.contextmanager
def precision(dtype: str) -> Iterator[None]:
    """What a dtype of the report means: float32 is full precision, tf32 has TF32 products."""
    with calls.precision("float64" if dtype == "float64" else "float32"):
        if dtype != "tf32":
            yield
            return
        import jax
        import torch

        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            with jax.default_matmul_precision("tensorfloat32"):
                yield
        finally:
            torch.set_float32_matmul_precision(before)


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

        def listen(event: str, duration_secs: float, **_: Any) -> None:
            if event == "/jax/core/compile/backend_compile_duration":
                _EVENTS.append(event)

        _EVENTS.append("listening")
        jax.monitoring.register_event_duration_secs_listener(listen)
    return max(len(_EVENTS) - 1, 0)


def unfinished(outputs: Any) -> bool:
    """Whether anything in a (nested) result is still being computed. Asks, and does not wait."""
    if isinstance(outputs, dict):
        return any(map(unfinished, outputs.values()))
    if isinstance(outputs, tuple | list):
        return any(map(unfinished, outputs))
    if hasattr(outputs, "is_ready"):  # a jax.Array
        return not outputs.is_ready()
    if getattr(outputs, "is_cuda", False):  # a torch.Tensor: work ends in the order of its stream
        import torch

        return not torch.cuda.current_stream(outputs.device).query()
    return False


def in_float64(values: Any) -> Any:
    """The same numbers in float64; whole numbers stay as they are."""
    if isinstance(values, tuple):
        return tuple(map(in_float64, values))
    if isinstance(values, dict):
        return {name: in_float64(value) for name, value in values.items()}
    return values.astype(np.float64) if values.dtype.kind == "f" else values


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
        # in eps of the dtype that computed, whatever the two are stored in
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
    with precision(case.dtype):
        target = case.make(case)
        row["agreement"] = check(case, target)
        memory = PeakMemory(case)  # not before: the check lets another column compute as well
        seconds = warm_up(target)
        row["peak_memory"] = memory.read()
        row["transfer"] = transfer_time(case)
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
            # pytest-benchmark leaves out of its results what has an error
            benchmark.has_error = True
            raise InvalidRow("something was compiled, or left undone, inside the timed rounds")
    benchmark.group = case.task
    benchmark.extra_info.update(row)
    return row


def transfer_time(case: Case) -> dict[str, float] | None:
    """Seconds to bring one step's rows and a classifier's parameters to the device, and back."""
    if case.peer or case.concept != "classifier" or case.batch is None:
        return None
    from triptych import data

    column = calls.Column(case.column, case.device)
    host = data.classifier_start(dtype="float64" if case.dtype == "float64" else "float32")
    host["x"] = np.ones((case.batch, 4), host["fc1.bias"].dtype)
    times: dict[str, list[float]] = {"to_device": [], "to_host": []}
    for _ in range(FEWEST):
        start = time.perf_counter()
        there = column.synchronize(column.take_in(host))
        middle = time.perf_counter()
        column.give_out(there)
        times["to_device"].append(middle - start)
        times["to_host"].append(time.perf_counter() - middle)
    return {direction: statistics.median(seconds) for direction, seconds in times.items()}


class PeakMemory:
    """The highest use of memory since this was made: the device's allocator, the host's pages.

    The host's is the growth of the resident set. JAX's allocator never forgets its peak: where an
    earlier row went higher, this row's is not known, and is None.
    """

    def __init__(self, case: Case) -> None:
        self.device = case.device
        self.jax = BASES.get(case.column, case.column) == "jax_impl"
        self.resident = _status("VmRSS")
        with contextlib.suppress(OSError):
            # Linux: forget the peak of the resident set; see proc_pid_clear_refs(5)
            Path("/proc/self/clear_refs").write_text("5")
        if self.device == "cuda" and not self.jax:
            import torch

            torch.cuda.reset_peak_memory_stats()
        self.before = self._allocated()

    def _allocated(self) -> int:
        """The allocator's peak on the device; 0 where there is none."""
        if self.device != "cuda":
            return 0
        if self.jax:
            import jax

            return int((jax.devices("cuda")[0].memory_stats() or {}).get("peak_bytes_in_use", 0))
        import torch

        return torch.cuda.max_memory_allocated()

    def read(self) -> dict[str, int | None]:
        """Bytes on the device and on the host; None where they cannot be told."""
        resident, peak = self.resident, _status("VmHWM")
        host = None if resident is None or peak is None else max(0, peak - resident)
        used = self._allocated()
        told = used > self.before if self.jax else used > 0
        return {"device": used if told else None, "host": host}


def _status(field: str) -> int | None:
    """A field of /proc/self/status in bytes; None where there is no such file."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    return None


def complete(results: dict[str, Any]) -> None:
    """What a row says only beside others: its limit, and when its compilation has paid off.

    Args:
        results: a results file, as pytest-benchmark makes it; changed in place.
    """
    limits = results["machine_info"]["triptych"]["limits"]
    rows = [(b["extra_info"], b["stats"]) for b in results["benchmarks"]]
    seconds = {_key(info): stats["median"] / info["steps"] for info, stats in rows}
    for info, stats in rows:
        step = stats["median"] / info["steps"]
        info["spread"] = stats["iqr"] / stats["median"]
        info["noisy"] = info["spread"] > NOISY
        info["limit"] = binding_limit(info, limits, step)
        for slow in ("as written", "un-jitted"):
            plain = seconds.get(_key(info | {"mode": slow}))
            if info["compile"] and plain:
                # PyTorch's second call compiles nothing
                paid = sum(s for name, s in info["compile"].items() if name != "second")
                info["break_even_steps"] = break_even(paid, step, plain)


def _key(info: dict[str, Any]) -> tuple[Any, ...]:
    names = ("task", "column", "mode", "device", "dtype", "batch", "threads")
    return tuple(info[name] for name in names)


def break_even(compile_seconds: float, compiled: float, plain: float) -> float | None:
    """After how many steps compilation has paid off; None if it never does.

    Args:
        compile_seconds: what compilation costs, once.
        compiled: a compiled step.
        plain: a step as written.
    """
    return compile_seconds / (plain - compiled) if compiled < plain else None


def binding_limit(
    info: dict[str, Any], limits: Sequence[dict[str, Any]], step: float
) -> dict[str, Any] | None:
    """The limit of the machine that a row is closest to: arithmetic, memory or dispatch.

    Three times are compared: of the arithmetic at the rate of a large matrix product; of the bytes
    at the bandwidth of the memory, or of a cache that holds them; of one dispatch of an empty step
    (in a whole loop: a K-th of one). The longest binds.

    Args:
        info: the row's `extra_info`.
        limits: what `machine.limits` measured.
        step: seconds of a step.
    """
    here = [limit for limit in limits if limit["device"] == info["device"]]
    arithmetic = [
        limit["value"]
        for limit in here
        if limit["quantity"] == "flops" and limit["dtype"] == info["dtype"]
    ]
    # a step finds in a cache what fits there, as a triad of that size does; a number is written
    # once and read once or twice, so about a third of the bytes has to fit
    memory = [
        limit["value"]
        for limit in here
        if limit["quantity"] == "bytes"
        or (limit["quantity"] == "cached bytes" and 3 * limit["size"] >= (info["bytes"] or 0))
    ]
    seconds = {}
    if info["flops"] and arithmetic:
        seconds["flops"] = info["flops"] / max(arithmetic)
    if info["bytes"] and memory:
        seconds["bytes"] = info["bytes"] / max(memory)
    column = BASES.get(info["column"], info["column"])
    floors = [
        limit["value"]
        for limit in here
        if limit["quantity"] == "dispatch" and limit["column"] == column
    ]
    if floors:
        dispatches = 1 / info["steps"] if info["mode"] == "whole loop" else 1
        seconds["dispatch"] = min(floors) * dispatches
    if not seconds:
        return None
    binds = max(seconds, key=lambda name: seconds[name])
    return {"binds": binds, "seconds": seconds[binds], "share": seconds[binds] / step}
