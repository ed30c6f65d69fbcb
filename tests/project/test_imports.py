"""The contracts of `[tool.importlinter]` refuse the arrows that they are there to refuse."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter")

ROOT = Path(__file__).parents[2]
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """`lint-imports` in a folder, of the packages that stand there and no others."""
    return subprocess.run(
        [sys.executable, "-P", "-c", LINT, "--no-cache"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The packages' sources and the contracts, to plant a mistake in."""
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("not a checkout of the project")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in ("numpy_ref", "torch_impl", "jax_impl", "triptych", "benchmarks"):
        for path in (ROOT / package).rglob("*.py"):
            target = tmp_path / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    return tmp_path


def test_the_sources_as_they_are(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_planted_imports(copy: Path) -> None:
    planted = {
        "triptych/checks.py": "from triptych.claims import book",
        "jax_impl/gradients.py": "import numpy_ref.gradients",
        "numpy_ref/gradients.py": "from triptych import names",
    }
    for file, line in planted.items():
        with (copy / file).open("a", encoding="utf-8") as source:
            source.write(f"\n{line}\n")
    done = lint(copy)
    assert done.returncode == 1, done.stderr
    broken = [line for line in done.stdout.splitlines() if " BROKEN" in line]
    for contract in ("The floors of the glue", "No column imports another", "Under the columns"):
        assert any(line.startswith(contract) for line in broken), done.stdout
