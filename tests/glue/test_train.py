"""`triptych train`: one digest however it is started, killed and continued; clear errors."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numpy_ref import parameters
from triptych import train
from triptych.__main__ import main
from triptych.agreement import digests
from triptych.column import Column, missing
from triptych.names import COLUMNS

ROOT = Path(__file__).parents[2]
SGD, ADAM = digests.committed()[:2]
SHORT = ("--steps", "20", "--every", "6")


def command(*words: Any, launcher: tuple[str, ...] = ()) -> list[str]:
    return [*launcher, sys.executable, "-m", "triptych", "train", *map(str, words)]


def start(words: list[str], **settings: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        words, text=True, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"} | settings,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finished(words: list[str], **settings: str) -> tuple[int, str, str]:
    process = start(words, **settings)
    try:
        out, err = process.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, out, err


def record(words: list[str], **settings: str) -> dict[str, Any]:
    status, out, err = finished([*words, "--json"], **settings)
    assert status == 0, err
    return json.loads(out[out.index("{") :])


def needs(*columns: str) -> None:
    for column in columns:
        needs_column(column)
    if "numpy_ref" in columns:
        pytest.importorskip("mpi4py")


def needs_column(column: str) -> None:
    if reason := missing(column):
        pytest.skip(reason)


# One worker, in this process


def test_it_prints_the_committed_digest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--reproducible"]) == 0
    out = capsys.readouterr().out
    assert f"digest {SGD.digest}, as it must be on every machine" in out
    assert "step 100 of 100, loss 0.9073" in out


def test_a_rate_that_is_rounded_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--reproducible", "--steps", "2", "--learning-rate"]
    assert main([*words, "0.1"]) == 0
    assert "the rate 0.1 is 0.10000000149011612 in float32" in capsys.readouterr().out
    assert main([*words, "0.125"]) == 0
    assert "the rate" not in capsys.readouterr().out


@pytest.mark.slow_in("jax_impl")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", COLUMNS)
def test_training_that_diverges(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    needs_column(name)
    words = ["train", "--reproducible", "--steps", "5", "--learning-rate", "1e30"]
    assert main([*words, "--column", name]) == 2
    assert "must be finite" in capsys.readouterr().err


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--reproducible", "--optimizer", "adam", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["digest"] == found["committed"] == ADAM.digest
    assert (found["workers"], found["steps"], found["learning_rate"]) == (1, 100, 0.01)


def test_an_ordinary_run_promises_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--steps", "5"]) == 0
    assert "which depends on the number of workers" in capsys.readouterr().out


def test_another_digest_than_the_committed_one_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = (SGD._replace(digest="0" * 16),)
    monkeypatch.setattr(digests, "committed", lambda: wrong)
    assert main(["train", "--reproducible"]) == 1
    assert f"IT MUST BE {'0' * 16}" in capsys.readouterr().out


@pytest.mark.parametrize("optimizer", digests.RATES)
def test_a_checkpoint(optimizer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--reproducible", "--optimizer", optimizer, "--every", "7"]
    words += ["--checkpoint", str(tmp_path / "new")]
    assert main([*words, "--steps", "40"]) == 0
    (file,) = (tmp_path / "new").iterdir()
    assert file.name == f"{optimizer}-rate-{digests.RATES[optimizer]}-batch-32-seed-0.safetensors"
    capsys.readouterr()
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "goes on after step 40" in out
    assert "60 steps in" in out
    assert (SGD if optimizer == "sgd" else ADAM).digest in out
    # another run has a file of its own, and a finished one has nothing left to do
    assert main([*words, "--seed", "1", "--steps", "7"]) == 0
    assert len(list((tmp_path / "new").iterdir())) == 2
    assert main(words) == 0
    assert "0 steps in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workers", "0"], "--workers must be above 0, got 0"),
        (["--workers", "33"], "--workers must be at most 32, a batch, got 33"),
        (["--batch", "343"], "--batch must be at most 342, got 343"),
        (["--steps", "-1"], "--steps must be above 0, got -1"),
        (["--every", "0"], "--every must be above 0, got 0"),
        (["--timeout", "nan"], "--timeout must be above 0, got nan"),
        (["--seed", "-1"], "--seed must be at least 0, got -1"),
        (["--learning-rate", "0"], "--learning-rate must be above 0 in float32, and finite, got 0"),
        (["--learning-rate", "1e-50"], "must be above 0 in float32, and finite, got 1e-50"),
        (["--learning-rate", "1e39"], "must be above 0 in float32, and finite, got 1e+39"),
        (["--learning-rate", "nan"], "must be above 0 in float32, and finite, got nan"),
        (["--column", "numpi"], "no column 'numpi'"),
        (["--device", "tpu"], "no device 'tpu'; usable here: cpu"),
        (["--checkpoint", "x"], "--checkpoint needs --reproducible"),
    ],
)
def test_bad_input(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *words]) == 2
    assert said in " ".join(capsys.readouterr().err.split())  # lines end where a terminal does


def test_bad_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--reproducible", "--checkpoint", str(tmp_path), "--steps", "10"]
    assert main(words) == 0
    (file,) = tmp_path.iterdir()
    good = parameters.load(file)
    for bad, said in (
        (good | {"fc1.bias": np.zeros(3, np.float32)}, "network: {'fc1.bias': (3,), 'fc1"),
        ({"fc1.bias": good["fc1.bias"]}, "is no checkpoint of this network"),
        (good | {"m.fc1.bias": good["fc1.bias"]}, "moments must be None for sgd"),
        (good | {"losses": np.zeros(11, np.float32)}, "has 11 steps, --steps asks for 10"),
    ):
        parameters.save(file, bad)
        assert main([*words[:-1], "10" if "steps" in said else "20"]) == 2
        assert said in capsys.readouterr().err
    file.write_bytes(b"garbage")
    assert main(words) == 2
    assert "must be a whole safetensors file" in capsys.readouterr().err
    file.unlink()
    (tmp_path / "file").write_text("")
    assert main([*words[:3], str(tmp_path / "file")]) == 2
    assert "triptych train: " in capsys.readouterr().err


def test_without_a_launcher(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(train, "missing", lambda name: "")
    assert main(["train", "--workers", "2"]) == 2
    assert "pip install 'triptych[distributed]'" in capsys.readouterr().err


def test_what_the_launchers_write_of_the_dead() -> None:
    mpich = "=   PID 2314 RUNNING AT vm\n"
    torchrun = "  exitcode  : -9 (pid: 2314)\n"
    after = "  exitcode  : -15 (pid: 2314)\n"
    assert [bool(train.DEAD.search(line)) for line in (mpich, torchrun, after)] == [
        True,
        True,
        False,
    ]


# Several workers: real processes

ENGINES = [("numpy_ref", 4), ("torch_impl", 2), ("jax_impl", 3)]


def mpiexec() -> str:
    needs("numpy_ref")
    return str(Path(sys.executable).with_name("mpiexec"))


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", digests.RATES)
@pytest.mark.parametrize(("column", "workers"), ENGINES)
def test_one_digest(column: str, workers: int, optimizer: str) -> None:
    needs(column)
    words = ("--column", column, "--workers", workers, "--reproducible", "--optimizer", optimizer)
    found = record(command(*words))
    assert found["workers"] == workers
    assert found["digest"] == (SGD if optimizer == "sgd" else ADAM).digest


@pytest.mark.slow
def test_by_the_engines_own_launchers() -> None:
    needs("torch_impl")
    words = ["--reproducible", "--column"]
    torchrun = (
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3",
    )  # fmt: skip
    worker = ["-m", "triptych", "train", *words, "torch_impl"]
    found = record([*torchrun, *worker])
    assert (found["workers"], found["digest"]) == (3, SGD.digest)
    for order in ("recursive_doubling", "ring", "recexch"):  # of the sum, in MPICH
        found = record(
            command(*words, "numpy_ref", launcher=(mpiexec(), "-n", "3")),
            MPIR_CVAR_ALLREDUCE_INTRA_ALGORITHM=order, MPIR_CVAR_DEVICE_COLLECTIVES="none",
        )  # fmt: skip
        assert (found["workers"], found["digest"]) == (3, SGD.digest)


@pytest.mark.slow
def test_several_processes_of_jax() -> None:
    needs("jax_impl")
    words = command("--reproducible", "--column", "jax_impl", launcher=(mpiexec(), "-n", "2"))
    found = record(words)
    assert (found["workers"], found["digest"]) == (2, SGD.digest)


@pytest.mark.slow
def test_a_relay(tmp_path: Path) -> None:
    """PyTorch on 3 workers begins, JAX on 4 goes on, NumPy ends."""
    needs("numpy_ref", "torch_impl", "jax_impl")
    words = ("--reproducible", "--optimizer", "adam", "--checkpoint", tmp_path)
    for column, workers, steps in (
        ("torch_impl", 3, 30),
        ("jax_impl", 4, 70),
        ("numpy_ref", 1, 100),
    ):
        found = record(command(*words, "--column", column, "--workers", workers, "--steps", steps))
    assert found["computed_steps"] == 30
    assert found["digest"] == ADAM.digest


def workers_of(process: "subprocess.Popen[str]") -> list[int]:
    """The processes of the run that train, whatever has started them."""
    listed = subprocess.run(
        ["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True
    ).stdout.splitlines()[1:]
    parents = {int(line.split()[0]): int(line.split()[1]) for line in listed}
    commands = {int(line.split()[0]): line for line in listed}
    found = []
    for pid, line in commands.items():
        above, up = pid, []
        while above in parents and above != process.pid:
            above = parents[above]
            up.append(above)
        leads = process.pid in up or pid == process.pid
        if leads and "-m triptych train" in line and pid not in parents.values():
            found.append(pid)
    return found


def train_until(words: list[str], step: int) -> "subprocess.Popen[str]":
    process = start(words)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step ") and int(line.split()[1]) >= step:
            return process
    raise AssertionError(process.communicate()[1])


def nobody_is_left(pids: list[int]) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return True
        time.sleep(0.2)
    return False


@pytest.mark.slow
@pytest.mark.parametrize(("column", "workers"), ENGINES)
def test_killed_and_started_again(
    column: str, workers: int, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """A worker is killed at any moment, again and again: in the end, the same digest."""
    needs(column)
    kills = 20 if pytestconfig.getoption("--exhaustive") else 2
    words = command(
        "--column", column, "--workers", workers, "--reproducible", "--checkpoint", tmp_path,
        "--every", 5, "--steps",
    )  # fmt: skip
    rng = random.Random(column)
    for _ in range(kills):
        before = written(tmp_path)
        process = start([*words, "20000"])
        while written(tmp_path) == before:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.01)
        time.sleep(rng.random() / 2)
        pids = workers_of(process)
        os.kill(rng.choice(pids), signal.SIGKILL)
        _, err = process.communicate(timeout=60)
        assert process.returncode not in (0, None)
        if column != "jax_impl":  # there, the workers are one process
            assert "the worker died" in err
        assert nobody_is_left(pids)
    (file,) = tmp_path.glob("*.safetensors")
    steps = len(parameters.load(file)["losses"]) + 20
    run = digests.Run("sgd", 0, 32, steps, "")
    assert record([*words, str(steps)])["digest"] == digests.find(Column("numpy_ref"), run)


def written(folder: Path) -> list[int]:
    """When the checkpoint was last written; nothing before there is one."""
    return [file.stat().st_mtime_ns for file in folder.glob("*.safetensors")]


@pytest.mark.slow
@pytest.mark.parametrize(("column", "workers"), [("numpy_ref", 3), ("torch_impl", 2)])
def test_a_worker_that_hangs(column: str, workers: int) -> None:
    needs(column)
    words = ("--column", column, "--workers", workers, "--reproducible", "--timeout", 5)
    process = train_until(command(*words, "--steps", 4000, "--every", 5), 400)
    pids = workers_of(process)
    assert len(pids) == workers
    begun = time.monotonic()
    os.kill(pids[-1], signal.SIGSTOP)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "no answer for 5 s" in err
    assert time.monotonic() - begun < 25
    assert nobody_is_left(pids)


@pytest.mark.slow
def test_nobody_outlives_the_command() -> None:
    needs("torch_impl")
    words = ("--column", "torch_impl", "--workers", 2, "--reproducible", "--timeout", 3)
    process = train_until(command(*words, "--steps", 4000, "--every", 5), 400)
    pids = workers_of(process)
    assert len(pids) == 2
    process.kill()
    process.communicate()
    assert nobody_is_left(pids)


@pytest.mark.slow
def test_a_port_in_use() -> None:
    needs("torch_impl")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        status, _, err = finished(
            command("--column", "torch_impl"),
            RANK="0", WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port,
        )  # fmt: skip
    assert status == 2
    assert "triptych train: " in err
    assert "in use" in err


@pytest.mark.slow
def test_every_rank_says_what_is_wrong() -> None:
    words = ("--column", "numpy_ref", "--workers", 4)
    status, _, err = finished(command(*words, launcher=(mpiexec(), "-n", "3")))
    assert status == 2
    for rank in range(3):
        assert f"rank {rank}: --workers is 4, but 3 were started" in err
