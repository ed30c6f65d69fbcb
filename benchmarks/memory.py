"""Memory: the peak that a row adds, and what bringing its data to a device costs."""

import contextlib
import statistics
import time
from pathlib import Path

import numpy as np

from benchmarks.cases import BASES, FEWEST, Case
from triptych.column import Column


def transfer_time(case: Case) -> dict[str, float] | None:
    """Seconds to bring one step's rows and a classifier's parameters to the device, and back."""
    if case.peer or case.concept != "classifier" or case.batch is None:
        return None
    from triptych import data

    column = Column(case.column, case.device)
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
