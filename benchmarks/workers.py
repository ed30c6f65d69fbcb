"""What several workers cost: `python -m benchmarks.workers [--out FILE]` makes rows of the report.

A row is a training step on a number of workers, each with one thread: ordinary, or with equal
bits. Its file is one for `triptych report`, as that of `pytest --benchmark-only` is. A row here is
several processes, started by their engine's launcher, so it cannot have its turn beside the other
columns'. In each of its rounds both kinds are timed, and which share of a step its messages take
by themselves. Every number of workers has to give one digest, or no time is shown.

What the messages mean for more workers than a machine has is said on paper (`--paper`).
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise, product
from operator import truediv
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.bench_classifier import (
    FASTEST,
    RATE,
    SIZES,
    TWINS,
    arguments,
    steps_of,
    training_bound,
)
from benchmarks.bench_reproducible import MODES as EQUAL_BITS
from benchmarks.cases import in_float64
from benchmarks.compile_time import unchecked
from benchmarks.machine import THREADS, busy, describe, load, run, usable_cores, with_threads
from triptych.agreement.digests import digest
from triptych.column import Column, missing
from triptych.names import COLUMNS, DISPLAY_NAMES
from triptych.timing import tables
from triptych.timing.words import counted, duration
from triptych.train import launched_by

TASK = "classifier step on workers, SGD"
WORKERS = (1, 2, 3, 4)
BATCHES = (32, 4096)
ROUNDS = 9
FITS = {"ordinary": "fit", "equal bits": "fit_reproducible"}
NUMBERS = {"ordinary": 4, "equal bits": 8}
"""Bytes of a number in a message."""
MANY = (64, 1024)
LATENCY, BANDWIDTH = 10e-6, 1.25e9
"""The network that the estimate assumes: seconds of latency, and bytes a second (10 Gbit/s)."""

Messages = list[tuple[str, list[int]]]
"""All-reduces of a step: the operation, and how many numbers each array of it has."""


def messages(sizes: Sequence[int]) -> dict[str, Messages]:
    """What the workers tell each other in a step; a network's layers are pairs of its sizes."""
    layers = list(pairwise(sizes))
    sums = [1, *((inputs + 1) * outputs for inputs, outputs in layers)]
    largest = [1, 1, *(n for inputs, outputs in layers for n in (outputs, inputs + 1))]
    return {
        "ordinary": [("SUM", sums)],
        "equal bits": [("MAX", largest), ("SUM", [*sums, *sums])],
    }


# A worker


def work(name: str, workers: int, batch: int, rounds: int) -> None:
    """What each worker does; the first one prints what it has measured as JSON."""
    if name == "jax_impl":
        import jax

        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", workers)
    column = Column(name)
    parallel = column.data_parallel
    group = parallel.join() if workers > 1 else None
    assert parallel.place(group)[1] == workers
    steps = steps_of(batch)
    given = column.take_in(arguments(batch, steps, SIZES, "float32"))
    settings = {"optimizer": "sgd", "learning_rate": RATE["sgd"], "workers": group}
    runs: dict[str, Callable[[], Any]] = {}
    for kind, function in FITS.items():
        runs[kind] = partial(unchecked(column, getattr(parallel, function)), *given, **settings)
        if group is not None:
            runs[f"messages, {kind}"] = _messages_alone(column, kind, steps, group)
    results = {kind: column.synchronize(train()) for kind, train in runs.items()}
    seconds: dict[str, list[float]] = {kind: [] for kind in runs}
    for _ in range(rounds):
        for kind, train in runs.items():
            start = time.perf_counter()
            column.synchronize(train())
            seconds[kind].append((time.perf_counter() - start) / steps)
    found: dict[str, Any] = {"seconds": {kind: seconds[kind] for kind in FITS}}
    if group is not None:
        found["messages"] = {
            kind: statistics.median(map(truediv, seconds[f"messages, {kind}"], seconds[kind]))
            for kind in FITS
        }
    trained = {kind: column.give_out(results[kind]) for kind in FITS}
    if parallel.place(group)[0] == 0:
        params, _, losses = trained["equal bits"]
        found["digest"] = digest(params, losses)
        found["distance"] = _off(batch, steps, trained["ordinary"][0])
        print(json.dumps(found), flush=True)
    if group is not None and name == "torch_impl":
        import torch.distributed

        torch.distributed.destroy_process_group()
        sys.stdout.flush()
        os._exit(0)  # a thread that the engine has left behind would abort an ordinary end


def _off(batch: int, steps: int, params: dict[str, np.ndarray]) -> float:
    """How far the parameters are from those that one process trains in float64, at most."""
    given = in_float64(arguments(batch, steps, SIZES, "float32"))
    train = {"optimizer": "sgd", "learning_rate": RATE["sgd"]}
    expected, _ = Column("numpy_ref").call("classifier", "fit", *given, **train)
    return max(float(abs(params[name] - exact).max()) for name, exact in expected.items())


def _messages_alone(column: Column, kind: str, steps: int, group: Any) -> Callable[[], Any]:
    """The messages of so many steps, with nothing in between."""
    dtype = f"float{8 * NUMBERS[kind]}"
    loops = []
    for operation, sizes in messages(SIZES)[kind]:
        arrays = [np.ones(n, dtype) for n in sizes]
        if column.name == "jax_impl":
            loops.append(_in_jax(operation, arrays, steps, group))
        else:
            reduce = column.data_parallel._all_reduce
            send = partial(reduce, column.take_in(arrays), operation, group)
            loops.append(partial(_repeated, send, steps))
    return lambda: [run() for run in loops]


def _repeated(function: Callable[[], Any], times: int) -> Any:
    for _ in range(times):
        found = function()
    return found


def _in_jax(operation: str, arrays: list[np.ndarray], steps: int, group: Any) -> Callable[[], Any]:
    """In JAX as one compiled loop, which `fit` is too."""
    import jax

    add: Any = {"SUM": jax.lax.psum, "MAX": jax.lax.pmax}[operation]
    everywhere = jax.sharding.PartitionSpec()

    def step(arrays: Any, _: None) -> tuple[Any, None]:
        return [x / group.size for x in add(arrays, "workers")], None

    @jax.jit
    @partial(jax.shard_map, mesh=group, in_specs=everywhere, out_specs=everywhere, check_vma=False)
    def loop(arrays: Any) -> Any:
        return jax.lax.scan(step, arrays, length=steps)[0]

    with jax.enable_x64(arrays[0].dtype == np.float64):
        given = jax.device_put(arrays, jax.sharding.NamedSharding(group, everywhere))
        return partial(loop.lower(given).compile(), given)


# Who starts them


def measured(column: str, workers: int, batch: int, rounds: int = ROUNDS) -> dict[str, Any]:
    """What the first worker says: seconds of a step in each round, and the share of its messages.

    Raises:
        ValueError: the framework or, for NumPy's workers, MPI is not installed.
        RuntimeError: they have failed; the message has what they said last.
    """
    if reason := missing(column):
        raise ValueError(reason)
    command = [sys.executable] if workers == 1 else launched_by(column, workers)
    words = ["-m", "benchmarks.workers", "--work", column, str(workers), str(batch), str(rounds)]
    done = subprocess.run(
        [*command, *words], capture_output=True, text=True, check=False, timeout=600,
        env=os.environ | dict.fromkeys(THREADS, "1"),
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{column} on {workers} workers: {done.stderr.strip()[-500:]}")
    found: dict[str, Any] = json.loads(next(x for x in done.stdout.splitlines() if x[0] == "{"))
    return found


def rows(rounds: int, say: Callable[[str], None]) -> tuple[list[dict[str, Any]], list[str]]:
    """Every column on every number of workers.

    Args:
        rounds: timed rounds of each row.
        say: told what is being done.

    Returns:
        The rows as pytest-benchmark writes them, and why some could not run.

    Raises:
        RuntimeError: two digests differ, or a row is farther from float64 than its bound.
    """
    made: list[dict[str, Any]] = []
    digests: dict[int, set[str]] = {batch: set() for batch in BATCHES}
    not_run: dict[str, None] = {}
    for column, batch, workers in product(COLUMNS, BATCHES, WORKERS):
        say(f"{DISPLAY_NAMES[column]}, {batch} rows, {counted(workers, 'worker')}")
        try:
            found = measured(column, workers, batch, rounds)
        except ValueError as reason:
            not_run[str(reason)] = None
            continue
        digests[batch].add(found["digest"])
        if len(digests[batch]) > 1:
            raise RuntimeError(f"{column} on {workers} workers has another digest")
        made += [_row(column, workers, batch, kind, found) for kind in FITS]
    return made, list(not_run)


def _row(column: str, workers: int, batch: int, kind: str, found: dict[str, Any]) -> dict[str, Any]:
    steps = steps_of(batch)
    bound = training_bound("sgd", "float32", batch, steps) if kind == "ordinary" else 0.0
    distance = found["distance"] if kind == "ordinary" else 0.0
    if not distance <= bound:
        what = f"{column} on {workers} workers: a parameter"
        raise RuntimeError(f"{what} is {distance:.3g} from float64's, allowed {bound:.3g}")
    seconds = found["seconds"]
    (other,) = FITS.keys() - {kind}
    modes = {"ordinary": FASTEST[column, "cpu"], "equal bits": EQUAL_BITS[column]}
    ratios = [*map(truediv, seconds[other], seconds[kind])]
    low, middle, high = statistics.quantiles(seconds[kind], n=4, method="inclusive")
    about = {
        "concept": "data_parallel", "task": TASK, "column": column, "peer": False,
        "mode": modes[kind], "device": "cpu", "threads": workers, "dtype": "float32",
        "batch": batch, "steps": steps,
        "status": "ok", "reason": "", "messages": found.get("messages", {}).get(kind),
        "agreement": {"distance": distance, "unit": "absolute", "bound": bound},
        "ratios": {f"{column}:{modes[other]}": ratios}, "ratios of": "wall",
    }  # fmt: skip
    stats = {"min": min(seconds[kind]), "q1": low, "median": middle, "q3": high}
    name = f"{TASK}, {batch} rows, {column}, {kind}, {counted(workers, 'worker')}"
    return {"name": name, "extra_info": about, "stats": stats | {"rounds": len(seconds[kind])}}


def results_file(rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """What `triptych report` reads."""
    ours = run(1)
    made, not_run = rows(rounds, say)
    ours["load"] = {"before": ours["load"], "after": load()}
    ours |= {"limits": [], "rows": []}
    ours["not_run"] = [{"what": "workers", "why": reason} for reason in not_run]
    return {
        "datetime": datetime.now(UTC).isoformat(), "machine_info": {"triptych": describe()},
        "benchmarks": made, "triptych": ours,
    }  # fmt: skip


def on_paper() -> Iterator[str]:
    """What a step's messages take on many workers, as lines of Markdown."""
    yield f"| messages of a step | bytes | {' | '.join(f'{n} workers' for n in MANY)} |"
    yield f"| --- | ---: {'| ---: ' * len(MANY)}|"
    for sizes in (SIZES, TWINS["cpu"][0]):
        for kind, told in messages(sizes).items():
            lengths = [NUMBERS[kind] * sum(numbers) for _, numbers in told]
            cells = [duration(sum(all_reduce(n, workers) for n in lengths)) for workers in MANY]
            name = "-".join(map(str, sizes))
            yield f"| {name}, {kind} | {sum(lengths):,} | {' | '.join(cells)} |"


def all_reduce(length: float, workers: int) -> float:
    """Seconds on paper: up and down a tree, or twice around a ring in parts, whichever is quicker.

    Source: Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations in
    MPICH", 2005.
    """
    tree = 2 * math.log2(workers) * (LATENCY + length / BANDWIDTH)
    ring = 2 * (workers - 1) * (LATENCY + length / workers / BANDWIDTH)
    return min(tree, ring)


def main() -> None:
    """Measure and print the report; the launchers' processes come here too."""
    parser = argparse.ArgumentParser(description="time a step on one to four workers")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="timed rounds of each row")
    parser.add_argument("--out", type=Path, metavar="FILE", help="results for triptych report")
    parser.add_argument("--paper", action="store_true", help="only what the messages mean for many")
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        name, *numbers = options.work
        work(name, *map(int, numbers))
        return
    if options.rounds < 2:
        parser.error(f"--rounds: quartiles need 2 rounds or more, got {options.rounds}")
    if options.paper:
        print(f"With {duration(LATENCY)} until a byte is there and 10 Gbit/s:\n")
        print(*on_paper(), sep="\n")
        return
    if advice := busy():
        print(advice, file=sys.stderr)
    os.environ.update(with_threads(usable_cores()))  # the settings of the other rows
    found = results_file(options.rounds, lambda line: print(line, file=sys.stderr, flush=True))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    Console().print(tables.terminal([found]))


if __name__ == "__main__":
    main()
