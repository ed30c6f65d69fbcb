"""The project's files agree with each other: every version is pinned once, or equally twice."""

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from triptych.agreement import digests
from triptych.claims import book
from triptych.data import DOCUMENTS
from triptych.names import COLUMNS
from triptych.source.parse import concepts

ROOT = Path(__file__).resolve().parents[2]
UNTESTED = {"cuda", "oracles"}
"""Extras outside the tested set; constraints.txt says so too."""


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """The `[project]` table of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads(read("pyproject.toml"))["project"]
    return table


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    """constraints.txt: the version of each package, by normalised name."""
    lines = [row for row in read("constraints.txt").splitlines() if not row.startswith("#")]
    for row in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", row), f"not a plain pin: {row!r}"
    pairs = [row.split("==") for row in lines]
    versions: dict[str, str] = {canonicalize_name(name): version for name, version in pairs}
    assert len(versions) == len(lines), "a package is pinned twice"
    return versions


def read(path: str) -> str:
    """A file of the project; a skip where only the packages are installed, not the project."""
    if not (ROOT / path).exists():
        pytest.skip(f"{path} is not here: not a checkout of the project")
    return (ROOT / path).read_text(encoding="utf-8")


def requirements_of(project: dict[str, Any]) -> list[Requirement]:
    """What the distribution and the tested extras ask for, other than each other."""
    extras = project["optional-dependencies"]
    texts = [*project["dependencies"]]
    for name in extras.keys() - UNTESTED:
        texts += extras[name]
    found = [Requirement(text) for text in texts]
    return [requirement for requirement in found if requirement.name != project["name"]]


def test_every_requirement_is_pinned_within_its_range(
    project: dict[str, Any], pins: dict[str, str]
) -> None:
    requirements = requirements_of(project)
    assert {"numpy", "torch", "jax", "pytest", "ruff", "matplotlib", "optax"} <= {
        requirement.name for requirement in requirements
    }
    for requirement in requirements:
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"constraints.txt does not pin {requirement.name}"
        assert requirement.specifier.contains(version), f"{requirement} excludes {version}"


def test_extras_outside_the_tested_set_exist(project: dict[str, Any]) -> None:
    assert project["optional-dependencies"].keys() >= UNTESTED


def test_torch_is_the_tested_one(pins: dict[str, str]) -> None:
    assert pins["torch"] == "2.13.0"


def test_jax_and_jaxlib_go_together(pins: dict[str, str]) -> None:
    assert pins["jax"] == pins["jaxlib"]


@pytest.mark.parametrize("tool", ["ruff", "mypy"])
def test_linters_are_pinned_alike(tool: str, project: dict[str, Any], pins: dict[str, str]) -> None:
    dev = {(r := Requirement(text)).name: r for text in project["optional-dependencies"]["dev"]}
    assert str(dev[tool].specifier) == f"=={pins[tool]}"


def test_pre_commit_uses_the_pinned_linters() -> None:
    text = read(".pre-commit-config.yaml")
    repos = re.findall(r"^ *- repo: (.+)$", text, re.MULTILINE)
    hooks = re.findall(r"^ *- id: (.+)$", text, re.MULTILINE)
    entries = re.findall(r"^ *entry: (.+)$", text, re.MULTILINE)
    languages = re.findall(r"^ *language: (.+)$", text, re.MULTILINE)
    # A local hook has no version of its own: it runs what constraints.txt put into .venv.
    assert repos == ["local"]
    assert len(entries) == len(languages) == len(hooks)
    assert set(languages) == {"system"}
    assert {entry.split()[0] for entry in entries} == {".venv/bin/ruff", ".venv/bin/mypy"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no executable bit")
def test_ci_run_is_executable() -> None:
    assert read(".ci/run").startswith("#!")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_package_data_is_declared() -> None:
    """A wheel holds only the data files that pyproject.toml names."""
    patterns = tomllib.loads(read("pyproject.toml"))["tool"]["setuptools"]["package-data"]
    for package, globs in patterns.items():
        folder = ROOT / package.replace(".", "/")
        declared = {path for pattern in globs for path in folder.glob(pattern)}
        files = {path for path in folder.iterdir() if path.is_file()}
        sources = {path for path in files if path.suffix in {".py", ".pyc"}}
        assert files - sources <= declared, f"{package}: not in package-data"
        assert "." in package or folder / "py.typed" in declared


@pytest.mark.parametrize(
    ("worker", "options", "started"),
    [
        (False, {}, True),
        (True, {}, False),
        (False, {"usepdb": True}, False),
        (False, {"benchmark_only": True}, False),
        (False, {"numprocesses": 0}, False),
    ],
)
def test_only_the_first_process_starts_others(
    worker: bool, options: dict[str, Any], started: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("root_conftest", ROOT / "conftest.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    if worker:
        monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    defaults = {"benchmark_only": False, "usepdb": False, "capture": "fd", "numprocesses": None}
    option = argparse.Namespace(**(defaults | options))
    source = pytest.Config.ArgsSource.TESTPATHS
    config: Any = argparse.Namespace(option=option, args_source=source)
    config.getoption = lambda name, default: getattr(option, name, default)
    module.pytest_cmdline_main(config)
    assert (getattr(option, "dist", "no") == "loadfile") == started
    assert (option.numprocesses not in (None, 0)) == started


def test_claims_and_values_have_their_place_on_the_pages() -> None:
    for entry in book.entries():
        page = read(f"docs/concepts/{entry.concept}.md")
        shown = "claims" if entry.judged else "values"
        if entry.judged or not entry.document:
            assert f"```{{{shown}}} {entry.concept}\n" in page, f"{entry.id}: no {{{shown}}}"
        if not entry.judged and not entry.document:
            assert entry.functions, f"{entry.id}: no function of a column to link to"


def test_every_concept_has_its_place_on_the_pages_and_in_the_readme() -> None:
    readme, index, reading = map(read, ("README.md", "docs/index.md", "docs/reading.md"))
    japanese = read("README.ja.md")
    for concept in concepts():
        assert (ROOT / f"docs/concepts/{concept}.md").exists()
        assert f"concepts/{concept}\n" in index
        assert f"[{concept}](docs/concepts/{concept}.md)" in readme
        assert f"| [{concept}](concepts/{concept}.md) | " in reading
        assert f"(numpy_ref/{concept}.py)" in japanese
        for column in COLUMNS:
            assert f"automodule:: {column}.{concept}\n" in read(f"docs/api/{column}.md")


def test_the_readmes_name_the_tutorials_as_the_pages_do() -> None:
    sys.path.insert(0, str(ROOT / "docs" / "_ext"))
    pytest.importorskip("babel")
    japanese = importlib.import_module("words").read("ja", "words")
    for key, title in DOCUMENTS.items():
        assert f"\n- {key}: {title}\n" in read("README.md")
        assert f"\n- {key}\N{FULLWIDTH COLON}{japanese[title]}\n" in read("README.ja.md")


@pytest.mark.slow
def test_the_agreement_table_names_what_was_skipped() -> None:
    if not importlib.util.find_spec("torch") or not importlib.util.find_spec("jax"):
        pytest.skip("the rows of the table need both frameworks")
    command = [sys.executable, "-m", "pytest", "-n0", "-m", "slow", "tests/columns/test_bitwise.py"]
    command += ["-k", "classifier_step_is_exact"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout
    skipped = "skipped" in done.stdout.splitlines()[-1]  # on a CUDA machine nothing is
    assert ("not run: " in done.stdout) == skipped


@pytest.mark.parametrize("file", ["README.md", "README.ja.md", "docs/testing.md"])
def test_the_digests_that_are_told_are_the_committed_ones(file: str) -> None:
    told = set(re.findall(r"\b[0-9a-f]{16}\b", read(file)))
    assert told
    assert told <= {run.digest for run in digests.committed()[:2]}


def test_the_slow_list_names_tests(gone: set[str]) -> None:
    assert not gone, "tests/slow.txt names tests that do not exist; what are they called now?"


def test_the_oldest_versions_are_the_lower_bounds(project: dict[str, Any]) -> None:
    lines = [line for line in read("tests/oldest.txt").splitlines() if not line.startswith("#")]
    oldest = dict(line.split("==") for line in lines)
    bounds = {r.name: r.specifier for r in map(Requirement, project["dependencies"])}
    assert oldest.keys() == bounds.keys()
    for name, version in oldest.items():
        assert f"{version}.".startswith(f"{str(bounds[name]).removeprefix('>=')}."), name
