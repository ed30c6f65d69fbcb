"""Memory: the peak that a row adds, and what bringing its data to a device costs."""

import contextlib
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.cases import BASES, FEWEST, Case
from triptych.column import Column

try:
    import resource
except ModuleNotFoundError:  # Windows
    resource = None  # type: ignore[assignment]


def transfer_time(case: Case, given: Mapping[str, np.ndarray] | None) -> dict[str, float] | None:
    """Seconds to bring what a step needs to the device, and its parameters back.

    Args:
        case: the row: its column and device.
        given: the parameters, and the rows of one step under "x" and "t"; None: not measured.

    Returns:
        "to_device", of everything, and "to_host", of the parameters; medians.
    """
    if given is None or case.peer:
        return None
    column = Column(case.column, case.device)
    times: dict[str, list[float]] = {"to_device": [], "to_host": []}
    for _ in range(FEWEST):
        start = time.perf_counter()
        there = column.synchronize(column.take_in(dict(given)))
        middle = time.perf_counter()
        column.give_out({name: p for name, p in there.items() if name not in ("x", "t")})
        times["to_device"].append(middle - start)
        times["to_host"].append(time.perf_counter() - middle)
    return {direction: statistics.median(seconds) for direction, seconds in times.items()}


class PeakMemory:
    """What a row takes: of the device from before it is made, of the host from `forget_host` on.

    On a CUDA device PyTorch's is what its allocator has reserved beyond what was reserved before: a
    CUDA graph keeps its intermediates in a pool of its own, where no peak of allocations sees them.
    JAX's is the growth of its peak, which it never forgets: where an earlier row went higher, this
    row's is not known, and is None. The host's is the growth of the resident set.
    """

    def __init__(self, case: Case) -> None:
        self.device = case.device
        self.jax = BASES.get(case.column, case.column) == "jax_impl"
        if self.device == "cuda" and not self.jax:
            import torch

            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        self.before = self._taken()
        self.forget_host()

    def forget_host(self) -> None:
        """Begin the host's peak here: in the check before, another column computes too."""
        self.resident = _status("VmRSS")
        with contextlib.suppress(OSError):
            # Linux: forget the peak of the resident set; see proc_pid_clear_refs(5)
            Path("/proc/self/clear_refs").write_text("5")

    def _taken(self) -> int:
        """The device's peak; 0 where there is none."""
        if self.device != "cuda":
            return 0
        if self.jax:
            import jax

            return int((jax.devices("cuda")[0].memory_stats() or {}).get("peak_bytes_in_use", 0))
        import torch

        return torch.cuda.max_memory_reserved()

    def read(self) -> dict[str, int | None]:
        """Bytes on the device and on the host; None where they cannot be told."""
        resident, peak = self.resident, _status("VmHWM")
        host = None if resident is None or peak is None else max(0, peak - resident)
        taken = self._taken() - self.before
        return {"device": taken if taken > 0 else None, "host": host}


def page_faults() -> int:
    """Pages that the system has brought in for this process without reading a disk."""
    return 0 if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _status(field: str) -> int | None:
    """A field of /proc/self/status in bytes; None where there is no such file."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    return None
