"""The run on a CUDA machine, as far as it can be tried without one."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import smoke
from triptych.column import Column, missing

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks/cuda.sh"
NINE_MINUTES = 540
STANDS_IN = """#!/usr/bin/env bash
printf '%s\\n' "$(basename "$0") $*" >>"$CALLED"
case "$(basename "$0") $*" in *"$FAILS"*) exit 3 ;; esac
"""

pytestmark = pytest.mark.skipif(
    shutil.which("bash") is None or not SCRIPT.exists(), reason="needs bash and a checkout"
)


def called(part: str, tmp_path: Path, fails: str = "nothing fails") -> tuple[int, list[str]]:
    """The status, and what the script would run, on a machine where nothing does anything."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    for name in ("python3", "timeout", "nvidia-smi"):
        (folder / name).write_text(STANDS_IN)
        (folder / name).chmod(0o755)
    log = tmp_path / f"{part}.log"
    log.write_text("")
    done = subprocess.run(
        ["bash", str(SCRIPT), part, str(tmp_path / "out")],
        env=os.environ
        | {"PATH": f"{folder}:{os.environ['PATH']}", "CALLED": str(log), "FAILS": fails},
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert "command not found" not in done.stderr
    return done.returncode, log.read_text().splitlines()


@pytest.mark.parametrize("part", ["tests", "gpu", "cpu"])
def test_each_command_ends_within_nine_minutes(part: str, tmp_path: Path) -> None:
    status, lines = called(part, tmp_path)
    assert status == 0
    steps = [line for line in lines if line.startswith("timeout ")]
    limits = [
        int(match[1]) for line in steps if (match := re.search(r"--kill-after=15 (\d+)", line))
    ]
    assert len(limits) == len(steps) >= 2
    assert sum(limits) < NINE_MINUTES
    assert all("--signal=INT" in line for line in steps)
    # what is run is there: modules, test files, options
    for line in steps:
        words = shlex.split(line)
        module = words[words.index("-m") + 1]
        if module == "benchmarks.smoke":
            assert (ROOT / "benchmarks/smoke.py").exists()
        for word in words:
            if word.startswith("tests/"):
                assert (ROOT / word).exists(), word
        assert module in ("pytest", "triptych", "benchmarks.smoke")


def test_a_step_that_fails_does_not_stop_the_next_and_is_told(tmp_path: Path) -> None:
    status, lines = called("gpu", tmp_path, fails="-k twin")
    assert status == 1
    assert sum("--benchmark-only" in line for line in lines) == 2
    for part, fails in (("cpu", "--threads 1"), ("tests", "--require-gpu"), ("tests", "compare")):
        assert called(part, tmp_path, fails)[0] == 1


def test_no_part_of_that_name(tmp_path: Path) -> None:
    assert called("all", tmp_path)[0] == 2


@pytest.mark.slow
@pytest.mark.skipif(any(map(missing, ("torch_impl", "jax_impl"))), reason="asks both")
def test_the_smoke_test_tells_right_from_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(smoke, "FORMS", ("as_written",))
    assert smoke.main("cpu") == 0
    told = capsys.readouterr().out
    assert "jax_impl, as_written, cpu: " in told
    assert "as it should be" in told
    # no card is no success
    monkeypatch.setattr(smoke, "_scatter", lambda device: 0)
    if "cuda" not in Column("torch_impl").devices():
        assert smoke.main("cuda", ("torch_impl",)) == 1
    # a column that is off is seen
    call = Column.call

    def off(self: Column, *args: object, **kwargs: object) -> object:
        params, losses = call(self, *args, **kwargs)  # type: ignore[arg-type]
        wrong = 1e-4 * (self.name == "torch_impl")
        return {name: np.asarray(p) + wrong for name, p in params.items()}, losses

    monkeypatch.setattr(Column, "call", off)
    assert smoke.main("cpu", ("torch_impl",)) == 1
    assert "TOO FAR" in capsys.readouterr().out


@pytest.mark.slow
def test_it_runs_from_the_root_with_nothing_installed(tmp_path: Path) -> None:
    """A copy without git and without the package's metadata, started as the script does."""
    for folder in ("benchmarks", "numpy_ref", "torch_impl", "jax_impl", "triptych"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    hidden = (
        "import importlib.metadata as m, runpy, sys\n"
        "real = m.version\n"
        "def version(name):\n"
        "    if name == 'triptych': raise m.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "m.version = version\n"
        "sys.argv = ['triptych', 'compare', '--concept', 'gradients']\n"
        "runpy.run_module('triptych', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", hidden],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
