"""What several workers cost: `python -m benchmarks.workers` prints two tables in Markdown.

The first has the time of a training step against the number of workers, ordinary beside
reproducible, and which share of it the same messages take by themselves. The second says on paper
what the messages mean for more workers than a machine has.

These are no rows of the report: such a row is one process, kept alive while others have their turn.
A row here is several, started by their engine's launcher, and MPI's burn a core as they wait.
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
from functools import partial
from itertools import pairwise, product
from typing import Any

import numpy as np

from benchmarks.bench_classifier import RATE, SIZES, TWINS, arguments, steps_of
from benchmarks.compile_time import unchecked
from benchmarks.machine import busy, describe
from triptych.agreement.digests import digest
from triptych.column import Column, missing
from triptych.names import COLUMNS, DISPLAY_NAMES
from triptych.timing.words import counted, duration
from triptych.train import launched_by

WORKERS = (1, 2, 3, 4)
BATCHES = (32, 4096)
ROUNDS = 9
FITS = {"ordinary": "fit", "equal bits": "fit_reproducible"}
NUMBERS = {"ordinary": 4, "equal bits": 8}
"""Bytes of a number in a message."""
MANY = (64, 1024)
LATENCY, BANDWIDTH = 10e-6, 1.25e9
"""Assumed on paper: seconds until a byte is there, and bytes a second (10 Gbit/s)."""

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
    results = {kind: column.synchronize(run()) for kind, run in runs.items()}
    seconds: dict[str, list[float]] = {kind: [] for kind in runs}
    for _ in range(rounds):
        for kind, run in runs.items():
            start = time.perf_counter()
            column.synchronize(run())
            seconds[kind].append((time.perf_counter() - start) / steps)
    found: dict[str, Any] = {}
    for kind in FITS:
        alone = seconds.get(f"messages, {kind}", [0.0] * rounds)
        shares = [part / whole for part, whole in zip(alone, seconds[kind], strict=True)]
        found[kind] = [statistics.median(seconds[kind]), statistics.median(shares)]
    params, _, losses = column.give_out(results["equal bits"])
    if parallel.place(group)[0] == 0:
        print(json.dumps(found | {"digest": digest(params, losses)}), flush=True)
    if group is not None and name == "torch_impl":
        import torch.distributed

        torch.distributed.destroy_process_group()
        sys.stdout.flush()
        os._exit(0)  # a thread that the engine has left behind would abort an ordinary end


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
    """Seconds of a step and the share of its messages, ordinary and with equal bits; the digest.

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
        env={"OMP_NUM_THREADS": "1"} | os.environ,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{column} on {workers} workers: {done.stderr.strip()[-500:]}")
    found: dict[str, Any] = json.loads(next(x for x in done.stdout.splitlines() if x[0] == "{"))
    return found


def table(rounds: int) -> Iterator[str]:
    """The time of a step against the number of workers, as lines of Markdown.

    Raises:
        RuntimeError: two digests differ.
    """
    yield f"| a step | {' | '.join(counted(n, 'worker') for n in WORKERS)} |"
    yield f"| --- {'| ---: ' * len(WORKERS)}|"
    digests: dict[int, set[str]] = {batch: set() for batch in BATCHES}
    not_run: dict[str, None] = {}
    for column, batch in product(COLUMNS, BATCHES):
        cells: dict[str, list[str]] = {kind: [] for kind in FITS}
        for workers in WORKERS:
            try:
                found = measured(column, workers, batch, rounds)
            except ValueError as reason:
                not_run[str(reason)] = None
                found = {}
            for kind, cell in cells.items():
                cell.append(in_words(*found[kind]) if found else "not run")
            digests[batch] |= {found["digest"]} if found else set()
            if len(digests[batch]) > 1:
                raise RuntimeError(f"{column} on {workers} workers has another digest")
        for kind, cell in cells.items():
            yield f"| {DISPLAY_NAMES[column]}, {batch} rows, {kind} | {' | '.join(cell)} |"
    yield from (f"\nNot run: {reason}." for reason in not_run)


def in_words(seconds: float, share: float) -> str:
    """A cell: "120 us, 35%"."""
    return duration(seconds) + (f", {share:.0%}" if share else "")


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
    """Print both tables; the launchers' processes come here too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="timed rounds of each row")
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        name, *numbers = options.work
        work(name, *map(int, numbers))
        return
    if advice := busy():
        print(advice, file=sys.stderr)
    hardware = describe()["machine"]
    print(f"{hardware['cpu']}, {hardware['cores']} cores:\n", flush=True)
    for line in table(options.rounds):
        print(line, flush=True)
    print(f"\nOn paper, with {duration(LATENCY)} until a byte is there and 10 Gbit/s:\n")
    print(*on_paper(), sep="\n")


if __name__ == "__main__":
    main()
