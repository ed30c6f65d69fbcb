"""What compilation costs, in a fresh process with empty caches.

JAX says how long it takes to lower a function and to compile it; `torch.compile` compiles in the
first call, so for PyTorch the first and the second call are timed.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from triptych import data
from triptych.column import Column, precision

FROM_CPP = "whole loop, C++ wrapper"
LIMIT = 300
"""Seconds for a process: what compiles longer hangs."""


def unchecked(column: Column, function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, with the column's input checks done before the clock starts.

    Every argument of a task was checked when its agreement was measured. A column checks only the
    outermost call, so the function is called here from within one that has no rules of its own.
    """

    @column.checked  # type: ignore[untyped-decorator]
    def call(arguments: Any, keywords: Any) -> Any:
        return function(*arguments, **keywords)

    return lambda *arguments, **keywords: call(arguments, keywords)


def in_fresh_process(
    column: str, mode: str, device: str, batch: int, steps: int
) -> dict[str, float]:
    """Seconds to compile a form of the classifier's training loop.

    Args:
        column: "torch_impl" or "jax_impl".
        mode: one of the classifier's that compile.
        device: one of the column's.
        batch: rows in a step.
        steps: of the loop.

    Returns:
        {"lower", "compile"} for JAX, {"first", "second"} for PyTorch.

    Raises:
        RuntimeError: the process failed; the message has its last line.
    """
    command = [sys.executable, "-m", "benchmarks.compile_time", column, mode, device]
    with tempfile.TemporaryDirectory() as empty:
        caches = {
            "TORCHINDUCTOR_CACHE_DIR": f"{empty}/inductor",
            "TRITON_CACHE_DIR": f"{empty}/triton",
            "CUDA_CACHE_PATH": f"{empty}/cuda",
            "JAX_ENABLE_COMPILATION_CACHE": "false",
        }
        done = subprocess.run(
            [*command, str(batch), str(steps)],
            env=os.environ | caches | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True, text=True, check=False, timeout=LIMIT,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"compile_time failed: {done.stderr.strip().splitlines()[-1:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(column: str, mode: str, device: str, batch: str, steps: str) -> None:
    """Print the seconds as JSON."""
    here = Column(column, device)
    n = int(batch) * int(steps)
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(n, 4)).astype(np.float32), rng.integers(0, 3, n)
    given = data.classifier_start(dtype="float32"), x, t, data.batches(n, int(batch), 1)
    with precision("float32"), here.at_home():
        arguments = here.synchronize([here.take_in(value) for value in given])
        measure = {"torch_impl": _first_and_second, "jax_impl": _lower_and_compile}[column]
        print(json.dumps(measure(here, mode, arguments)))


def from_cpp(column: Column) -> Callable[..., Any]:
    """PyTorch's whole loop, whose kernels are called from C++ rather than from Python.

    Not the column's: PyTorch 2.11 fails to compile it for some sizes; 2.13 compiles it.
    """
    import torch

    given: Any = {"fullgraph": True, "dynamic": False, "options": {"cpp_wrapper": True}}
    loop: Any = torch.compile(column.execution._loop, **given)

    def train(params: Any, x: Any, t: Any, batches: Any, *, learning_rate: float) -> Any:
        return loop(params, x, t, batches, torch.tensor(learning_rate, dtype=x.dtype))

    return train


def _first_and_second(column: Column, mode: str, arguments: Any) -> dict[str, float]:
    params, x, t, batches = arguments
    form = {"compiled network": "compiled_network", "compiled step": "compiled_step"}
    loop = getattr(column.execution, form.get(mode, "compiled_loop"))
    if mode == FROM_CPP:
        loop = from_cpp(column)
    rows = batches if mode.startswith("whole loop") else batches[:1]

    def call() -> Any:
        return column.synchronize(loop(params, x, t, rows, learning_rate=0.1))

    return {"first": _seconds(call), "second": _seconds(call)}


def _lower_and_compile(column: Column, mode: str, arguments: Any) -> dict[str, float]:
    params, x, t, batches = arguments
    lowered: list[Any] = []

    def lower() -> None:
        if mode == "whole loop":
            fit = column.classifier.fit.__wrapped__
            lowered.append(fit.lower(*arguments, optimizer="sgd", learning_rate=0.1))
        else:
            lowered.append(column.execution._step.lower(params, x, t, batches[0], 0.1))

    return {"lower": _seconds(lower), "compile": _seconds(lambda: lowered[0].compile())}


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main(*sys.argv[1:])
