"""`triptych train`: the classifier on the diabetes study, on several workers of one engine.

Each engine starts its workers by its own launcher: `mpiexec` for NumPy, `torchrun` for PyTorch; JAX
has them as devices of one process, or as processes of `mpiexec`. Without a launcher, `--workers 3`
calls it, and looks after what it has started. A run that has checkpoints goes on where it was
stopped, in any column and on any number of workers.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from triptych import data
from triptych.agreement import digests
from triptych.column import Column, missing, precision, usable
from triptych.names import DISPLAY_NAMES, column_of
from triptych.terminal import say

LAUNCHED = {
    "numpy_ref": ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE"),
    "torch_impl": ("WORLD_SIZE",),
    "jax_impl": ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "JAX_COORDINATOR_ADDRESS"),
}
"""The variables by which a process knows that a launcher of its column's engine has started it."""
BEATS = "TRIPTYCH_BEATS"
"""The folder in which each worker, and the process that started them, shows that it is alive."""
PARENT = "parent"
"""The file of the process that started them; a worker's is named after its process, and holds its
rank."""
BEAT = 0.5
"""Seconds between two signs of life."""
FAILED, WRONG, HUNG = 1, 2, 3
"""Exit statuses: a worker died, or the digest is wrong; bad input; a worker does not answer."""
DEAD = re.compile(r"exitcode *: -(?!15\b)\d+ \(pid: (\d+)\)|PID (\d+) RUNNING")
"""How torchrun and mpiexec name a process that was killed (-15: by torchrun itself, afterwards)."""
BANNER = re.compile(r"=|YOUR APPLICATION|This typically refers|Please see the FAQ|\s*$")
"""How the lines begin with which mpiexec decorates its messages."""


class Plan(NamedTuple):
    """A run, as the command line says it."""

    column: str
    device: str
    reproducible: bool
    run: digests.Run
    learning_rate: float
    every: int
    """Steps between two checkpoints."""
    checkpoint: Path | None
    timeout: float
    """Seconds without a sign of life, or without a step, after which the run has failed."""

    @property
    def file(self) -> Path | None:
        """The checkpoint of this run; another run in the same folder has another file."""
        if self.checkpoint is None:
            return None
        run = self.run
        name = f"{run.optimizer}-rate-{self.learning_rate:g}-batch-{run.batch}-seed-{run.seed}"
        return self.checkpoint / f"{name}.safetensors"


def main(options: argparse.Namespace, words: list[str]) -> int:
    """Run the command.

    Args:
        options: as parsed.
        words: the command line, for the workers.

    Returns:
        The exit status: 0; 1 where the digest is not the committed one, or a worker died; 2 for bad
        input; 3 for a worker that does not answer.
    """
    rank = ""
    try:
        plan, workers = _plan(options)
        launched = next((n for n in LAUNCHED[plan.column] if n in os.environ), None)
        if launched is None and workers > 1 and plan.column != "jax_impl":
            return _launch(plan, workers, words)
        if plan.column == "jax_impl":
            _make_devices(plan, workers if launched is None else 1)
        with _Watch(plan) as watch:
            parallel = Column(plan.column).data_parallel
            group = parallel.join() if launched or workers > 1 else None
            number, size = parallel.place(group)
            rank = f"rank {number}: " if size > 1 else ""
            watch.rank = number
            # not before: JAX has to know of the other processes when it looks for devices
            if reason := usable(plan.device, (plan.column,)):
                raise ValueError(reason)
            if options.workers not in (None, size):
                raise ValueError(f"--workers is {options.workers}, but {size} were started")
            return _work(plan, group, watch, as_json=options.json)
    except _LostError:
        # the launcher has to notice the dead worker before it notices that this one ends
        time.sleep(2 * BEAT)
        print(f"triptych train: {rank}another worker is lost", file=sys.stderr, flush=True)
        os._exit(FAILED)
    except (ValueError, ImportError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        say(f"triptych train: {rank}{reason}", file=sys.stderr)
        sys.stdout.flush()
        if rank:
            time.sleep(2 * BEAT)  # once this one ends, the launcher silences the others
            # not by the usual way: the engine would wait for the other workers at the end
            os._exit(WRONG)
        return WRONG


def _plan(options: argparse.Namespace) -> tuple[Plan, int]:
    column = column_of(options.column)
    workers = 1 if options.workers is None else options.workers
    counts = {"--workers": workers, "--steps": options.steps, "--batch": options.batch}
    for name, value in (counts | {"--every": options.every, "--timeout": options.timeout}).items():
        if not value > 0:
            raise ValueError(f"{name} must be above 0, got {value}")
    if reason := missing(column):
        raise ValueError(reason)
    if options.batch > data.TRAINING_ROWS:
        raise ValueError(f"--batch must be at most {data.TRAINING_ROWS}, got {options.batch}")
    if workers > options.batch:
        raise ValueError(f"--workers must be at most {options.batch}, a batch, got {workers}")
    if options.seed < 0:
        raise ValueError(f"--seed must be at least 0, got {options.seed}")
    if options.checkpoint and not options.reproducible:
        raise ValueError("--checkpoint needs --reproducible: ordinary bits depend on the workers")
    rate = options.learning_rate
    rate = digests.RATES[options.optimizer] if rate is None else rate
    float32 = np.finfo(np.float32)
    if not float(float32.tiny) <= rate <= float(float32.max):
        raise ValueError(f"--learning-rate must be above 0 in float32, and finite, got {rate}")
    run = digests.Run(options.optimizer, options.seed, options.batch, options.steps, "")
    return Plan(
        column, options.device, options.reproducible, run, rate, options.every,
        options.checkpoint, options.timeout,
    ), workers  # fmt: skip


def _make_devices(plan: Plan, workers: int) -> None:
    """JAX's workers are devices; of a CPU there are as many as are asked for, before JAX starts."""
    import jax

    if plan.device == "cpu":
        jax.config.update("jax_platforms", "cpu")
        if workers > 1:  # there always is one, and JAX takes no number after its start
            jax.config.update("jax_num_cpu_devices", workers)


class _LostError(Exception):
    """The engine has lost another worker."""


class _Watch:
    """A thread beside a worker: it says that the worker lives, and ends it when nothing moves."""

    def __init__(self, plan: Plan) -> None:
        self.timeout = plan.timeout
        # an ordinary run is a single call, so nobody sees its steps
        self.sees_steps = plan.reproducible
        self.rank: int | None = None
        self.step = 0
        self._moved = time.monotonic()
        self._ended = threading.Event()
        self._parent = os.getppid()
        self._folder = os.environ.get(BEATS)

    def __enter__(self) -> "_Watch":
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def moved(self, step: int) -> None:
        """The worker has come to this step."""
        self.step, self._moved = step, time.monotonic()

    def _forsaken(self) -> bool:
        """Whether the process that started this worker has gone."""
        if self._folder is None:
            return False
        try:
            return Path(self._folder, PARENT).stat().st_mtime < time.time() - self.timeout
        except FileNotFoundError:
            return True

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            if os.getppid() != self._parent or self._forsaken():
                os._exit(HUNG)
            # by then the process that started the workers has seen which one is silent
            limit = self.timeout + 10 * BEAT
            if self.sees_steps and time.monotonic() - self._moved > limit:
                place = "" if self.rank is None else f"rank {self.rank}: "
                print(
                    f"triptych train: {place}no step after step {self.step} for {limit:g} s: "
                    "another worker is dead or does not answer",
                    file=sys.stderr, flush=True,
                )  # fmt: skip
                os._exit(HUNG)
            if self._folder and self.rank is not None:
                sign = Path(self._folder, str(os.getpid()))
                # written once: a worker that dies within a write would leave an empty file
                sign.touch() if sign.exists() else sign.write_text(str(self.rank), encoding="utf-8")


def _work(plan: Plan, group: Any, watch: _Watch, *, as_json: bool) -> int:
    """What one worker does; the first one writes and tells."""
    column = Column(plan.column, plan.device)
    parallel = column.data_parallel
    first, size = watch.rank == 0, parallel.place(group)[1]
    parallel.verify(group)
    run = plan.run
    start, x, t, batches = digests.given(run)
    settings = {"optimizer": run.optimizer, "learning_rate": plan.learning_rate, "workers": group}
    params, moments, losses = _restored(plan, start) or (start, None, np.empty(0, np.float32))
    done = begun = len(losses)
    if first and begun and not as_json:
        say(f"goes on after step {begun}, from {plan.file}")
    rate = float(np.float32(plan.learning_rate))
    if first and plan.reproducible and rate != plan.learning_rate and not as_json:
        say(f"the rate {plan.learning_rate:g} is {rate} in float32")
    watch.moved(begun)
    seconds = time.perf_counter()
    with precision("float32"):
        if not plan.reproducible:
            params, losses = column.call("data_parallel", "fit", params, x, t, batches, **settings)
            done = run.steps
        while done < run.steps:
            part = batches[done : done + plan.every]
            try:
                params, moments, found = column.call(
                    "data_parallel", "fit_reproducible", params, x, t, part,
                    moments=moments, **settings,
                )  # fmt: skip
            except RuntimeError as error:
                raise _LostError from error
            losses = np.concatenate([losses, found])
            tenth = 10 * done // run.steps
            done = len(losses)
            watch.moved(done)
            if first and plan.file:
                _save(plan.file, params, moments, losses)
            if first and not as_json and 10 * done // run.steps > tenth:
                say(f"step {done} of {run.steps}, loss {losses[-1]:.4f}")
    seconds = time.perf_counter() - seconds
    return _told(plan, size, params, losses, seconds, begun, as_json=as_json) if first else 0


def _told(
    plan: Plan, size: int, params: Mapping[str, np.ndarray], losses: np.ndarray,
    seconds: float, begun: int, *, as_json: bool,
) -> int:  # fmt: skip
    run, found = plan.run, digests.digest(params, losses)
    known = plan.learning_rate == digests.RATES[run.optimizer] and plan.reproducible
    same = [one.digest for one in digests.committed() if known and one[:4] == run[:4]]
    expected = same[0] if same else None
    steps = run.steps - begun
    if as_json:
        record = {
            "column": plan.column, "workers": size, "reproducible": plan.reproducible,
            "optimizer": run.optimizer, "learning_rate": plan.learning_rate, "batch": run.batch,
            "seed": run.seed, "steps": run.steps, "computed_steps": steps, "seconds": seconds,
            "loss": float(losses[-1]), "digest": found, "committed": expected,
        }  # fmt: skip
        print(json.dumps(record), flush=True)
    else:
        each = f", {1000 * seconds / steps:.3g} ms a step with the first call" if steps else ""
        many = "1 worker" if size == 1 else f"{size} workers"
        say(f"{DISPLAY_NAMES[plan.column]}, {many}: {steps} steps in {seconds:.2f} s{each}")
        said = {
            None: "" if plan.reproducible else ", which depends on the number of workers",
            found: ", as it must be on every machine",
        }.get(expected, f"; IT MUST BE {expected}: please report this machine")
        say(f"digest {found}{said}")
    return 0 if expected in (None, found) else 1


Restored = tuple[dict[str, np.ndarray], dict[str, np.ndarray] | None, np.ndarray]


def _restored(plan: Plan, start: dict[str, np.ndarray]) -> Restored | None:
    """Parameters, Adam's means and losses from the checkpoint; None where there is none.

    Raises:
        ValueError: it is no checkpoint of this run, or has more steps than are asked for.
    """
    from numpy_ref import parameters

    if plan.file is None or not plan.file.exists():
        return None
    found = parameters.load(plan.file)
    losses = found.pop("losses", None)
    params = {name: found.pop(name) for name in start if name in found}
    shapes = {name: value.shape for name, value in start.items()}
    if losses is None or {name: value.shape for name, value in params.items()} != shapes:
        held = {name: value.shape for name, value in sorted((found | params).items())}
        raise ValueError(f"{plan.file} is no checkpoint of this network: {held}")
    if len(losses) > plan.run.steps:
        raise ValueError(f"{plan.file} has {len(losses)} steps, --steps asks for {plan.run.steps}")
    return params, found or None, losses


def _save(file: Path, params: Any, moments: Any, losses: np.ndarray) -> None:
    from numpy_ref import parameters

    file.parent.mkdir(parents=True, exist_ok=True)
    parameters.save(file, params | (moments or {}) | {"losses": losses})


def launched_by(column: str, workers: int) -> list[str]:
    """The command by which the column's engine starts several workers; Python's words follow it.

    Raises:
        ValueError: there is no MPI for NumPy's.
    """
    if column == "torch_impl":
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        return [*torchrun, "--nproc-per-node", str(workers)]
    if column == "jax_impl":  # its workers are devices of one process
        return [sys.executable]
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if not found or importlib.util.find_spec("mpi4py") is None:
        raise ValueError("no mpiexec or no mpi4py: pip install 'triptych[distributed]'")
    return [found, "-n", str(workers), sys.executable]


def _launch(plan: Plan, workers: int, words: list[str]) -> int:
    """Start the workers by their engine's launcher, and look after them."""
    command = launched_by(plan.column, workers)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, PARENT).touch()
        environment = {"OMP_NUM_THREADS": "1"} | os.environ | {BEATS: folder}
        environment.pop("COLUMNS", None)  # a worker's line is read here, and broken here
        launcher = subprocess.Popen(
            [*command, "-m", "triptych", *words], env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        said: list[str] = []
        readers = [
            threading.Thread(target=_pass_on, args=streams, daemon=True)
            for streams in (
                (launcher.stdout, sys.stdout, said),
                (launcher.stderr, sys.stderr, said),
            )
        ]
        for reader in readers:
            reader.start()
        try:
            silent = _silent(launcher, Path(folder), plan.timeout)
        finally:
            ranks = _ranks(Path(folder))
            _end(launcher, ranks)
        for reader in readers:
            reader.join(5)
    if silent:
        listed = ", ".join(map(str, sorted(silent)))
        print(f"triptych train: rank {listed}: no answer for {plan.timeout:g} s", file=sys.stderr)
        return HUNG
    return _judged(launcher.returncode, said, ranks)


def _pass_on(source: Any, target: Any, said: list[str]) -> None:
    """Keep each line, and pass on at once what a worker says, but not what its launcher says."""
    for line in source:
        ours = line.startswith("triptych train:")
        if (target is sys.stdout and not BANNER.match(line)) or (ours and line not in said):
            say(line.rstrip("\n"), file=target)
        said.append(line)


def _ranks(folder: Path) -> dict[int, int]:
    """The rank of each process that has given a sign of life."""
    return {
        int(sign.name): int(text)
        for sign in folder.iterdir()
        if sign.name != PARENT and (text := sign.read_text(encoding="utf-8"))
    }


def _silent(launcher: "subprocess.Popen[str]", folder: Path, timeout: float) -> set[int]:
    """Wait for the launcher; or the ranks that have been silent for too long."""
    while True:
        try:
            launcher.wait(BEAT)
            return set()
        except subprocess.TimeoutExpired:
            (folder / PARENT).touch()
            late = time.time() - timeout
            ranks = _ranks(folder)
            silent = {r for pid, r in ranks.items() if (folder / str(pid)).stat().st_mtime < late}
            if silent:
                return silent


def _end(launcher: "subprocess.Popen[str]", ranks: Mapping[int, int]) -> None:
    """End every process that was started, even one that is suspended."""
    if launcher.poll() is not None:
        return
    launcher.terminate()
    try:
        launcher.wait(5)
    except subprocess.TimeoutExpired:
        launcher.kill()
        launcher.wait()
    for pid in ranks:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _judged(status: int, said: list[str], ranks: Mapping[int, int]) -> int:
    """The exit status; where a worker died, its rank."""
    if status == 0:
        return 0
    pids = [int(found[1] or found[2]) for line in said if (found := DEAD.search(line))]
    if dead := sorted({ranks[pid] for pid in pids if pid in ranks}):
        listed = ", ".join(map(str, dead))
        print(f"triptych train: rank {listed}: the worker died", file=sys.stderr)
        return FAILED
    ours = [line for line in said if line.startswith("triptych train:")]
    if not ours:
        print("".join(said), end="", file=sys.stderr)
        print("triptych train: the workers have failed, see above", file=sys.stderr)
        return FAILED
    return HUNG if all("no step" in line for line in ours) else WRONG
