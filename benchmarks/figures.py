"""The figures that the columns promise, measured: `python benchmarks/figures.py`.

Import time of numpy_ref, the NumPy classifier step against scikit-learn's MLPClassifier, JAX's
compiled loop against a Python loop over its compiled step, and the peak memory of ten full-batch
steps on a million rows. Every figure is taken in a process of its own; ratios come from one
process, on one core, in which both sides take turns. Absolute times hold for this machine only.
"""

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

ROUNDS = 9
ROWS = 1_000_000


def take_turns(sides: dict[str, Callable[[], int]]) -> dict[str, list[float]]:
    """Microseconds a step, for each side and round; each side returns how many steps it made."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side()
    for _ in range(ROUNDS):
        for name, side in sides.items():
            start = time.perf_counter()
            steps = side()
            seconds[name].append((time.perf_counter() - start) / steps * 1e6)
    return seconds


def report(what: str, sides: dict[str, Callable[[], int]], goal: str) -> None:
    """Print the median of each side with its quartiles, and the ratio of the two."""
    times = take_turns(sides)
    ours, theirs = times
    for name, samples in times.items():
        low, middle, high = statistics.quantiles(samples, n=4)
        print(f"  {what}: {name}: {middle:.1f} us a step ({low:.1f} to {high:.1f})")
    ratio = statistics.median(b / a for a, b in zip(times[ours], times[theirs], strict=True))
    print(f"  {what}: {ours} is {ratio:.2f} times as fast as {theirs} (goal: {goal})")


def numpy_step(batch: int) -> None:
    """The NumPy column's fit against MLPClassifier, same network, data and batch size."""
    import numpy as np
    from sklearn.neural_network import MLPClassifier

    from numpy_ref import classifier
    from triptych import data

    n = 32 * 442
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(n, 4)).astype(np.float32), rng.integers(0, 3, n)
    start = data.classifier_start(dtype="float32")
    # several epochs, so that what MLPClassifier does once in a fit does not count
    epochs = 10
    rows = data.batches(n, batch, epochs)
    settings = {"solver": "sgd", "alpha": 0, "momentum": 0, "learning_rate_init": 0.1}
    settings |= {"max_iter": epochs, "tol": 0, "n_iter_no_change": epochs + 1, "random_state": 0}
    net = MLPClassifier((16, 8), batch_size=batch, **settings)

    def ours() -> int:
        classifier.fit(start, x, t, rows, optimizer="sgd", learning_rate=0.1)
        return len(rows)

    def theirs() -> int:
        net.fit(x, t)
        return epochs * (n // batch)

    goal = {32: "2", 442: "1.5"}[batch]
    report(f"batch {batch}", {"numpy_ref": ours, "MLPClassifier": theirs}, goal)


def jax_loop() -> None:
    """JAX's fit, one compiled loop, against a Python loop over a compiled step, batch 32."""
    import jax
    import numpy as np

    from jax_impl import classifier, from_numpy, optimizers, synchronize
    from triptych import data

    rng = np.random.default_rng(0)
    x = from_numpy(rng.normal(size=(3200, 4)).astype(np.float32))
    t = from_numpy(rng.integers(0, 3, 3200))
    start = from_numpy(data.classifier_start(dtype="float32"))
    rows = from_numpy(data.batches(3200, 32, 10))

    @jax.jit
    def step(params: Any, rows: Any) -> Any:
        value, grads = classifier.loss_and_grads(params, x[rows], t[rows])
        return optimizers.sgd_step(params, grads, learning_rate=0.1), value

    def loop() -> int:
        fitted = classifier.fit(start, x, t, rows, optimizer="sgd", learning_rate=0.1)
        synchronize(fitted)
        return len(rows)

    def steps() -> int:
        params, losses = start, []
        for batch in rows:
            params, value = step(params, batch)
            losses.append(value)
        synchronize((params, losses))
        return len(rows)

    report("batch 32", {"jax_impl.fit": loop, "a jitted step": steps}, "3")


def memory(column: str) -> None:
    """The peak of ten full-batch steps on a million rows of float32, beyond the imports."""
    import importlib
    import resource

    import numpy as np

    from triptych import data

    boundary = importlib.import_module(column)
    classifier = importlib.import_module(f"{column}.classifier")
    start = boundary.from_numpy(data.classifier_start(dtype="float32"))
    small = boundary.from_numpy(np.zeros((2, 4), np.float32)), boundary.from_numpy(np.zeros(2, int))
    boundary.synchronize(classifier.loss_and_grads(start, *small))
    # ru_maxrss is in kilobytes on Linux, in bytes on macOS
    unit = 1 if sys.platform == "darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    rng = np.random.default_rng(0)
    x = boundary.from_numpy(rng.normal(size=(ROWS, 4)).astype(np.float32))
    t = boundary.from_numpy(rng.integers(0, 3, ROWS))
    rows = boundary.from_numpy(data.batches(ROWS, ROWS, 10))
    boundary.synchronize(classifier.fit(start, x, t, rows, optimizer="sgd", learning_rate=0.1))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - before
    print(f"  {column}: {peak / 1e9:.2f} GB beyond imports (goal: under 1.5)")


def imports() -> None:
    """`import numpy_ref` in fresh processes, beside `import numpy`."""
    for module in ("numpy", "numpy_ref"):
        code = (
            f"import time; s = time.perf_counter(); import {module}; print(time.perf_counter() - s)"
        )
        seconds = [
            float(subprocess.check_output([sys.executable, "-c", code], text=True))
            for _ in range(ROUNDS)
        ]
        print(f"  import {module}: {statistics.median(seconds):.3f} s (goal: numpy_ref under 0.2)")


FIGURES: list[tuple[str, str, list[str]]] = [
    ("import time", "one core", ["imports()"]),
    ("NumPy's classifier step", "one core", ["numpy_step(32)", "numpy_step(442)"]),
    ("JAX's compiled loop", "one core", ["jax_loop()"]),
    (
        "ten full-batch steps on a million rows",
        "every core",
        ["memory('numpy_ref')", "memory('torch_impl')", "memory('jax_impl')"],
    ),
]
# XLA's thread pool follows the cores that a process may use, and nothing else
PIN = "import os; getattr(os, 'sched_setaffinity', lambda *_: None)(0, {0}); "


def main() -> None:
    """Each figure in a process of its own."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    here = os.path.dirname(os.path.abspath(__file__))
    for title, cores, calls in FIGURES:
        print(f"{title} ({cores})")
        for call in calls:
            code = (PIN if cores == "one core" else "") + f"import figures; figures.{call}"
            subprocess.run(
                [sys.executable, "-W", "ignore", "-c", code],
                env=os.environ | (threads if cores == "one core" else {}),
                cwd=here,
                check=True,
            )


if __name__ == "__main__":
    main()
