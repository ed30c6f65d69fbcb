"""Figures that are no rows of the timing report: `python benchmarks/figures.py`.

The import time of numpy_ref beside numpy's, and the peak memory of ten full-batch steps on a
million rows in each column; each in a process of its own, on all cores. Then a forward pass of
PyTorch's classifier that is recorded, beside one that is not: document D recommends the latter for
inference.
"""

import importlib
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS = 9
ROWS = 1_000_000


def main() -> None:
    """Print every figure; processes of their own import this file for them."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    for module in ("numpy", "numpy_ref"):
        seconds = import_seconds(module)
        print(f"import {module}: {statistics.median(seconds):.3f} s")
    for column in ("numpy_ref", "torch_impl", "jax_impl"):
        code = f"import figures; print(figures.memory({column!r}))"
        peak = int(_python(code))
        print(f"ten steps on {ROWS:_} rows, {column}: {peak / 1e9:.2f} GB beyond the imports")
    for rows in (5, 1000, ROWS):
        ratios = {name: recorded_beside(name, rows) for name in ("no_grad", "inference_mode")}
        told = ", ".join(
            f"{middle:.2f} times as long as in {name} ({low:.2f} to {high:.2f})"
            for name, (low, middle, high) in ratios.items()
        )
        print(f"forward of {rows:_} rows, recorded: {told}; {kept_bytes(rows):_} bytes kept")


def import_seconds(module: str) -> list[float]:
    """Seconds of its first import, in fresh processes."""
    clock = "time.perf_counter()"
    code = f"import time; start = {clock}; import {module}; print({clock} - start)"
    return [float(_python(code)) for _ in range(ROUNDS)]


def _python(code: str) -> str:
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.check_output(command, text=True, cwd=Path(__file__).parent)


def memory(column: str) -> int:
    """Bytes at the peak of ten full-batch steps in float32, beyond what the imports take."""
    from triptych import data

    boundary = importlib.import_module(column)
    classifier = importlib.import_module(f"{column}.classifier")
    start = boundary.from_numpy(data.classifier_start(dtype="float32"))
    small = boundary.from_numpy(np.zeros((2, 4), np.float32)), boundary.from_numpy(np.zeros(2, int))
    boundary.synchronize(classifier.loss_and_grads(start, *small))
    before = _peak()
    rng = np.random.default_rng(0)
    x = boundary.from_numpy(rng.normal(size=(ROWS, 4)).astype(np.float32))
    t = boundary.from_numpy(rng.integers(0, 3, ROWS))
    rows = boundary.from_numpy(data.batches(ROWS, ROWS, 10))
    boundary.synchronize(classifier.fit(start, x, t, rows, optimizer="sgd", learning_rate=0.1))
    return _peak() - before


def _forward(rows: int) -> tuple[Any, Any]:
    """PyTorch's classifier and so many rows for it."""
    import torch

    from torch_impl.classifier import SimpleNet

    torch.manual_seed(0)
    return SimpleNet(4, 16, 8, 3), torch.randn(rows, 4)


def recorded_beside(mode: str, rows: int) -> tuple[float, float, float]:
    """How many times as long a recorded forward pass takes: quartiles of rounds in turn.

    Args:
        mode: "no_grad" or "inference_mode" of torch.
        rows: in the batch.
    """
    import torch

    network, x = _forward(rows)
    calls = max(1, 20_000 // rows)

    def seconds() -> float:
        start = time.perf_counter()
        for _ in range(calls):
            network(x)
        return (time.perf_counter() - start) / calls

    ratios = []
    for _ in range(ROUNDS + 1):
        recorded = seconds()
        with getattr(torch, mode)():
            ratios.append(recorded / seconds())
    low, middle, high = statistics.quantiles(ratios[1:])  # the first round warms up
    return low, middle, high


def kept_bytes(rows: int, *, recorded: bool = True) -> int:
    """Bytes that a forward pass keeps for the backward pass, beyond its input and parameters."""
    import torch

    network, x = _forward(rows)
    own = {t.untyped_storage().data_ptr() for t in (x, *network.parameters())}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, torch.set_grad_enabled(recorded):
        network(x)
    return sum(size for place, size in kept.items() if place not in own)


def _peak() -> int:
    """The highest resident set of this process in bytes."""
    import resource  # not on Windows

    # kilobytes on Linux, bytes on macOS
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main()
