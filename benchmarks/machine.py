"""The machine: its description, and its limits as measured in the same run as the rows."""

import contextlib
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import BASES, FEWEST, precision
from triptych.calls import Column, missing, usable
from triptych.columns import COLUMNS

PACKAGES = (
    *("numpy", "torch", "jax", "jaxlib", "pytest-benchmark"),
    *("scikit-learn", "autograd", "optax"),
)
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PJRT_NPROC")
"""Which variables hold the thread pools of the three frameworks to a number."""
SEED = 0
"""Of everything that is drawn; see `triptych.data`."""
SIDE = {"cpu": 2048, "cuda": 8192}
"""Of the square matrices whose product gives the arithmetic rate."""
DTYPES = {"cpu": ("float32", "float64"), "cuda": ("float32", "float64", "tf32", "bfloat16")}
TRIADS = (2**26, 2**20, 2**17, 2**14)
"""Numbers in each of a triad's three arrays: 805 MB, which no cache holds, 13, 1.6 and 0.2 MB."""
EMPTY_STEPS = 1000


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def with_threads(threads: int) -> dict[str, str]:
    """The environment for that many threads; on Linux this process is also tied to that many cores.

    XLA sizes its pool by the cores that a process may use, and looks at none of the variables but
    PJRT_NPROC. The ties are inherited by the process that is started with this environment.

    Raises:
        ValueError: there are not that many cores.
    """
    if not 1 <= threads <= usable_cores():
        raise ValueError(f"--threads must be 1 to {usable_cores()} here, got {threads}")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    # on a GPU that JAX shares with PyTorch it must not take most of the memory for itself
    told = dict.fromkeys(THREADS, str(threads)) | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    return os.environ | told


def describe(threads: int) -> dict[str, Any]:
    """Everything about the machine and the process that a time depends on, but for the limits."""
    import jax
    import torch
    from pytest_benchmark.utils import get_commit_info

    config: Any = jax.config
    commit: dict[str, Any] = get_commit_info()  # type: ignore[no-untyped-call]
    return {
        "schema": 1,
        "machine": _hardware(),
        "versions": {"python": platform.python_version()}
        | {name: _version(name) for name in PACKAGES},
        "flags": {
            "XLA_FLAGS": os.environ.get("XLA_FLAGS"),
            "tf32": torch.get_float32_matmul_precision() != "highest",
            "jax_default_matmul_precision": config.jax_default_matmul_precision,
            "x64": config.jax_enable_x64,
            "deterministic": torch.are_deterministic_algorithms_enabled(),
        },
        "threads": threads,
        "commit": commit["id"],
        "dirty": commit["dirty"],
        "seed": SEED,
        "sizes": {"matrix product": SIDE, "triads": TRIADS, "empty steps": EMPTY_STEPS},
    }


def _version(package: str) -> str | None:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def _hardware() -> dict[str, Any]:
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    gpu = _nvidia_smi()
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.system(),
        "governor": governor.read_text().strip() if governor.exists() else None,
    } | dict(zip(("gpu", "driver", "clocks", "power_limit"), gpu, strict=True))


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _nvidia_smi() -> list[str | None]:
    """Name, driver, largest clock and power limit of the first GPU; None each without one."""
    query = "--query-gpu=name,driver_version,clocks.max.sm,power.limit"
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader"],
            capture_output=True, text=True, check=True, timeout=20,
        )  # fmt: skip
        fields = done.stdout.splitlines()[0].split(", ")
        if len(fields) == 4:
            return [*fields]
    return [None] * 4


def devices() -> list[str]:
    """The devices that at least one column can use."""
    names = [name for name in COLUMNS if not missing(name)]
    return [device for device in ("cpu", "cuda") if not usable(device, names)]


def runs(column: str, form: str, device: str) -> bool:
    """Whether a column can run a form of its training loop on a device."""
    if missing(column) or device not in Column(column).devices():
        return False
    return not Column(column).execution.modes(device=device)[form]


def judge(column: str) -> Column:
    """Whose float64 result a column is held against: NumPy's, and PyTorch's for NumPy's own."""
    return Column("torch_impl" if column == "numpy_ref" else "numpy_ref")


def absent(peer: str) -> str:
    """The package that a peer needs and that is not installed; "" if it can run."""
    package = {"torch.optim": "torch"}.get(peer, peer)
    return "" if _version(package) else package


def not_run() -> list[dict[str, str]]:
    """What cannot run here at all, and why: devices, compiled modes, peers."""
    lines = []
    columns = [Column(name) for name in COLUMNS if not missing(name)]
    without = [c.name for c in columns if c.name != "numpy_ref" and "cuda" not in c.devices()]
    if without:
        why = f"no CUDA device: none that {' or '.join(without)} can use"
        lines.append({"what": f"{', '.join(without)} on cuda", "why": why})
    for column in columns:
        for form, why in column.execution.modes().items():
            mode = {"compiled_loop": "whole loop"}.get(form, form.replace("_", " "))
            if why:
                lines.append({"what": f"{column.name}, {mode}, cpu", "why": why})
    lines.append({"what": "numpy_ref on cuda", "why": "NumPy computes on the CPU only"})
    for peer in BASES:
        if package := absent(peer):
            why = f"{package} is not installed: pip install 'triptych[peers]'"
            lines.append({"what": peer, "why": why})
    return lines


def limits(device: str, threads: int) -> list[dict[str, Any]]:
    """The limits of a device: a large matrix product, a triad, an empty step.

    Args:
        device: "cpu" or "cuda".
        threads: of this process, for the record.

    Returns:
        One entry for each quantity, dtype and column; `value` is flop/s, byte/s, or seconds for an
        empty step; "cached bytes" is the rate of arrays of that "size". `cores` is how many cores
        were busy meanwhile.
    """
    found = []
    columns = [Column(name, device) for name in COLUMNS if not missing(name)]
    columns = [column for column in columns if device in column.devices()]
    head: dict[str, Any] = {"device": device, "threads": threads}
    entry: dict[str, Any]
    for dtype in DTYPES[device]:
        with precision(dtype):
            for column in columns:
                entry = {"dtype": dtype, "quantity": "flops", "column": column.name}
                work = 2 * SIDE[device] ** 3
                found.append(head | entry | _rate(_product(column, dtype), work))
    for column in columns:
        entry = {"dtype": None, "quantity": "dispatch", "column": column.name}
        with precision("float32"):
            found.append(head | entry | _seconds(_empty_steps(column), EMPTY_STEPS))
    for n in TRIADS:
        quantity = "bytes" if n == max(TRIADS) else "cached bytes"
        entry = {"dtype": None, "quantity": quantity, "column": None, "size": 3 * 4 * n}
        found.append(head | entry | _rate(*_triad(device, n)))
    return found


def _seconds(call: Callable[[], Any], steps: int) -> dict[str, float]:
    call()
    times, busy = [], time.process_time()
    for _ in range(FEWEST):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) / steps)
    low, middle, high = statistics.quantiles(times, n=4)
    cores = (time.process_time() - busy) / (sum(times) * steps)
    return {"value": middle, "spread": (high - low) / middle, "cores": round(cores, 2)}


def _rate(call: Callable[[], Any], work: float) -> dict[str, float]:
    found = _seconds(call, 1)
    return found | {"value": work / found["value"]}


def placed(column: Column, value: Any, dtype: str) -> Any:
    """An array, or a dict of them, on the column's device, in a dtype of the report."""
    if isinstance(value, dict):
        return {name: placed(column, entry, dtype) for name, entry in value.items()}
    if value.dtype.kind == "f":
        value = value.astype("float64" if dtype == "float64" else "float32")
    there = column.take_in(value)
    if dtype != "bfloat16" or value.dtype.kind != "f":
        return there
    if column.name == "torch_impl":
        return there.bfloat16()
    import jax.numpy as jnp

    return there.astype(jnp.bfloat16)


def _product(column: Column, dtype: str) -> Callable[[], Any]:
    side = SIDE[column.device]
    matrix = placed(column, np.random.default_rng(SEED).random((side, side)), dtype)
    if column.name == "jax_impl":
        import jax

        multiply = jax.jit(lambda a: a @ a)
        return lambda: column.synchronize(multiply(matrix))
    return lambda: column.synchronize(matrix @ matrix)


def _empty_steps(column: Column) -> Callable[[], Any]:
    """The least that can be dispatched, chained: x + 1 on an array of one number."""
    x = column.take_in(np.zeros(1, np.float32))

    def step(x: Any) -> Any:
        return x + 1

    if column.name == "jax_impl":
        import jax

        step = jax.jit(step)

    def steps() -> None:
        value = x
        for _ in range(EMPTY_STEPS):
            value = step(value)
        column.synchronize(value)

    return steps


def _triad(device: str, n: int) -> tuple[Callable[[], Any], float]:
    """a = b + s c, again and again; PyTorch makes one pass of it, and writes where it is told to.

    Returns:
        What to run, and the bytes that it moves.
    """
    import torch

    b, c = torch.ones(2, n, device=device)
    a = torch.empty_like(b)
    boundary = Column("torch_impl", device)
    passes = max(TRIADS) // n

    def run() -> None:
        for _ in range(passes):
            torch.add(b, c, alpha=2.0, out=a)
        boundary.synchronize(a)

    return run, 3 * 4 * n * passes
