"""The wheel in an empty environment: it holds all that the commands need."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def run(*words: str | Path, cwd: Path) -> str:
    settings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=settings | {"COLUMNS": "150"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_commands_work_from_a_wheel(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    run(*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, ROOT, cwd=tmp_path)
    (wheel,) = tmp_path.glob("triptych-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"triptych/diabetes.csv", "triptych/claims/claims.toml", "jax_impl/py.typed"} <= set(
        names
    )
    assert not [name for name in names if name.startswith(("tests", "benchmarks"))]

    run(sys.executable, "-m", "venv", tmp_path / "empty", cwd=tmp_path)
    bin_ = tmp_path / "empty" / ("Scripts" if os.name == "nt" else "bin")
    run(
        bin_ / "python", "-m", "pip", "--disable-pip-version-check", "--quiet",
        "install", "-c", ROOT / "constraints.txt", wheel, cwd=tmp_path,
    )  # fmt: skip
    triptych = bin_ / "triptych"
    assert "All columns agree" in run(triptych, "compare", cwd=tmp_path)
    assert "jax.value_and_grad(loss)" in run(
        triptych, "read", "classifier", "loss_and_grads", cwd=tmp_path
    )
    assert "no surprise" in run(triptych, "claims", cwd=tmp_path)
    assert "27.6667" in run(bin_ / "python", "-m", "jax_impl.linear_regression", cwd=tmp_path)
