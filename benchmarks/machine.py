"""The machine: its cores, its processor, the versions and settings of what runs on it."""

import contextlib
import os
import platform
import subprocess
import time
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import threadpoolctl

from benchmarks.cases import BASES, SEED
from benchmarks.limits import EMPTY_STEPS, SIDE, TRIADS
from triptych.column import Column, missing, usable
from triptych.forms import FORMS, missing_form
from triptych.names import COLUMNS
from triptych.timing.results import SCHEMA

PACKAGES = (
    *("numpy", "torch", "jax", "jaxlib", "pytest-benchmark"),
    *("jax-cuda12-plugin", "jax-cuda13-plugin"),
    *("scikit-learn", "autograd", "optax", "numba"),
)
SETTINGS = ("XLA_", "MALLOC_", "OPENBLAS_", "MKL_", "OMP_", "GLIBC_", "CUBLAS_", "TORCHINDUCTOR_")
"""Beginnings of the variables that change how the frameworks compute or allocate."""
CACHE = "TORCHINDUCTOR_CACHE_DIR"
"""Where compiled programs are kept: a path, and nothing that changes how they compute."""
BUSY = 0.1
"""The share of a core that other processes may use before a run prints a warning."""
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


@cache
def describe() -> dict[str, Any]:
    """The machine, the versions and the settings: what makes two runs one set-up.

    What is asked for once stays: a run that loads another library later is still the same run.
    """
    import jax
    import scipy.linalg  # noqa: F401 (its BLAS is one of those that are listed)
    import torch

    config: Any = jax.config
    return {
        "machine": _hardware(),
        "versions": {"python": platform.python_version()}
        | {name: _version(name) for name in PACKAGES}
        | _cuda_versions(),
        "flags": {
            "XLA_FLAGS": os.environ.get("XLA_FLAGS"),
            "environment": {
                k: v
                for k, v in os.environ.items()
                if k.startswith(SETTINGS) and k not in (*THREADS, "XLA_FLAGS", CACHE)
            },
            "tf32": torch.backends.cuda.matmul.fp32_precision == "tf32",
            "jax_default_matmul_precision": config.jax_default_matmul_precision,
            "x64": config.jax_enable_x64,
            "deterministic": torch.are_deterministic_algorithms_enabled(),
        },
    }


def run(threads: int) -> dict[str, Any]:
    """What belongs to one run, and differs in the next."""
    commit = _commit()
    return {
        "schema": SCHEMA,
        "threads": threads,
        "load": load(),
        "commit": commit["id"],
        "dirty": commit["dirty"],
        "seed": SEED,
        "sizes": {"matrix product": SIDE, "triads": TRIADS, "empty steps": EMPTY_STEPS},
    }


def load() -> list[float] | None:
    """Processes that wanted to run in the last 1, 5 and 15 minutes; None where nobody counts."""
    return list(os.getloadavg()) if hasattr(os, "getloadavg") else None


def busy(seconds: float = 0.2) -> str:
    """What to do where others use the machine; "" where they do not.

    A loop is timed: the part of the time in which it did not run went to others.

    Args:
        seconds: of the loop.
    """

    def spin() -> float:
        processor, start = time.thread_time(), time.perf_counter()
        while time.perf_counter() - start < seconds:
            pass
        return (time.thread_time() - processor) / (time.perf_counter() - start)

    lost = 1 - spin()
    if lost < BUSY:
        return ""
    return (
        f"this machine is busy: a loop on one core ran {1 - lost:.0%} of the time. Ratios of rows "
        "that are measured in turn, and CPU times, hold better than times do; --processes 9 "
        "makes their ranges honest, and a quiet hour narrow"
    )


def _commit() -> dict[str, Any]:
    """Which sources are measured: git's answer, or TRIPTYCH_COMMIT where there is no git.

    A copy of a checkout without its .git folder says it so: `TRIPTYCH_COMMIT=c0ffee` or, with
    changes that are not committed, `TRIPTYCH_COMMIT=c0ffee+dirty`.
    """
    from pytest_benchmark.utils import get_commit_info

    if given := os.environ.get("TRIPTYCH_COMMIT"):
        commit, _, state = given.partition("+")
        return {"id": commit, "dirty": state == "dirty"}
    found: dict[str, Any] = get_commit_info()  # type: ignore[no-untyped-call]
    return found


def _version(package: str) -> str | None:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def _cuda_versions() -> dict[str, str | None]:
    """What PyTorch was built with; its version alone does not say it."""
    import torch

    cudnn = torch.backends.cudnn.version() if torch.version.cuda else None
    return {"torch's CUDA": torch.version.cuda, "torch's cuDNN": cudnn and str(cudnn)}


def _hardware() -> dict[str, Any]:
    import torch

    gpu = _nvidia_smi()
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.system(),
        "libc": " ".join(platform.libc_ver()),
        "blas": _blas(),
        "torch_capability": torch.backends.cpu.get_cpu_capability(),
        "caches": _caches(),
        "huge_pages": _first_line("/sys/kernel/mm/transparent_hugepage/enabled"),
        "governor": _first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
    } | dict(zip(("gpu", "driver", "clocks", "power_limit"), gpu, strict=True))


def _first_line(path: str) -> str | None:
    with contextlib.suppress(OSError):
        return Path(path).read_text().partition("\n")[0].strip()
    return None


def _blas() -> list[dict[str, Any]]:
    """The libraries for linear algebra in this process, with the kernel that each has chosen."""
    names = ("internal_api", "version", "architecture")
    found = [
        {name: info.get(name) for name in names}
        for info in threadpoolctl.threadpool_info()
        if info["user_api"] == "blas"
    ]
    return sorted(found, key=str)


def _caches() -> dict[str, str | None]:
    """The caches of the first core, "L1 Data", "L2 Unified" and so on, as Linux lists them."""
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind = (_first_line(f"{folder}/{name}") for name in ("level", "type"))
        found[f"L{level} {kind}"] = _first_line(f"{folder}/size")
    return found


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
    return not missing_form(column, form, device)


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
        for form in FORMS:
            mode = {"compiled_loop": "whole loop"}.get(form, form.replace("_", " "))
            if why := missing_form(column.name, form):
                lines.append({"what": f"{column.name}, {mode}, cpu", "why": why})
    lines.append({"what": "numpy_ref on cuda", "why": "NumPy computes on the CPU only"})
    for peer in BASES:
        if package := absent(peer):
            why = f"{package} is not installed: pip install 'triptych[peers]'"
            lines.append({"what": peer, "why": why})
    return lines
