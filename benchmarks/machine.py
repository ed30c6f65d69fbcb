"""The machine: its description, and its limits as measured in the same run as the rows."""

import contextlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.cases import BASES, SEED
from benchmarks.limits import EMPTY_STEPS, SIDE, TRIADS
from triptych.column import Column, missing, usable
from triptych.names import COLUMNS
from triptych.timing.results import SCHEMA

PACKAGES = (
    *("numpy", "torch", "jax", "jaxlib", "pytest-benchmark"),
    *("scikit-learn", "autograd", "optax"),
)
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PJRT_NPROC")
"""Which variables hold the thread pools of the three frameworks to a number."""


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
        "schema": SCHEMA,
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
