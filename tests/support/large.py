"""What the comparison of a large model costs, beside what its functions cost by themselves.

`python -m tests.support.large 1024` measures it for a model of 1024 MB, on Linux.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch

import triptych

LAYERS = 16


def status(key: str) -> int:
    """Bytes of this process: VmRSS is what it has, VmHWM the most that it had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))


def grown(work: Callable[[], Any]) -> int:
    """Bytes that the process had at most, beyond what it had at the start."""
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = status("VmRSS:")
    work()
    return status("VmHWM:") - before


def seconds(work: Callable[[], Any]) -> float:
    """Of the processor: a busy machine takes longer, and works as much."""
    start = time.process_time()
    work()
    return time.process_time() - start


def port(p: Any, x: Any) -> Any:
    for i in range(len(p) // 2):
        x = x @ p[f"{i}.weight"].T + p[f"{i}.bias"]
    return x


def model(width: int, layers: int = LAYERS) -> tuple[Any, dict[str, np.ndarray], np.ndarray]:
    """Linear layers: nearly all of their memory is weights."""
    torch.manual_seed(0)
    original = torch.nn.Sequential(*(torch.nn.Linear(width, width) for _ in range(layers)))
    params = {name: p.detach().numpy() for name, p in original.state_dict().items()}
    return original, params, np.random.default_rng(0).normal(size=(4, width)).astype(np.float32)


def alone(original: Any, params: dict[str, np.ndarray], x: np.ndarray) -> None:
    """Both functions and their gradients, in both precisions, without a comparison."""
    for dtype in (np.float32, np.float64):
        given = {name: torch.from_numpy(p.astype(dtype)) for name, p in params.items()}
        for p in given.values():
            p.requires_grad_()
        y = torch.func.functional_call(original, given, (torch.from_numpy(x.astype(dtype)),))
        torch.autograd.grad(y.sum(), list(given.values()))
        del given, y
        with jax.enable_x64(dtype == np.float64):
            arrays = {name: jax.numpy.asarray(p, dtype) for name, p in params.items()}
            value, gradient = jax.jit(port), jax.jit(jax.grad(lambda p, x: port(p, x).sum()))
            for function in (value, gradient):
                jax.block_until_ready(function(arrays, x.astype(dtype)))


def main(megabytes: float) -> dict[str, float]:
    """Peaks in copies of the parameters, and seconds."""
    width = round((megabytes * 2**20 / 4 / LAYERS) ** 0.5)
    original, params, x = model(width)

    def compare(original: Any, params: Any, x: Any, **options: Any) -> None:
        assert triptych.compare(params, x, torch=original, jax=port, **options).agrees

    compare(*model(3, 2))  # what both frameworks do once
    size = sum(p.nbytes for p in params.values())
    found = {"megabytes": size / 2**20}
    found["copies with bound"] = grown(lambda: compare(original, params, x, bound=1e6)) / size
    found["copies"] = grown(lambda: compare(original, params, x)) / size
    jax.clear_caches()
    found["seconds"] = seconds(lambda: compare(original, params, x))
    jax.clear_caches()
    found["seconds of the functions"] = seconds(lambda: alone(original, params, x))
    return found


if __name__ == "__main__":
    print(json.dumps(main(float(sys.argv[1]))))
