"""pytest-benchmark's own options do what their users expect: rows of a stub that takes no time."""

import contextlib
import importlib.util
import itertools
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from pytest_benchmark import cli, plugin

from benchmarks import cases, harness, limits, machine
from benchmarks import conftest as rows
from triptych.column import missing
from triptych.timing import results

pytestmark = pytest.mark.skipif(
    any(map(missing, ("torch_impl", "jax_impl"))), reason="the machine is described with both"
)

ROOT = Path(__file__).resolve().parents[2]
BENCH = """
from benchmarks.cases import Case

def cases():
    for batch in (32, 64):
        # a round of the slow row is the shorter one: it has fewer steps
        for column, mode, steps in ("numpy_ref", "as written", 10), ("jax_impl", "whole loop", 100):
            yield Case("none", "a task", column, mode, batch, steps, None, when="default")

def test_stub(case, measure):
    measure(case)
"""
SECONDS = {"numpy_ref": 8e-6, "jax_impl": 2e-6}


class Stub:
    """A worker that says what it takes, and takes nothing."""

    slower = 1.0
    interrupted: int | None = None

    def __init__(self, case: cases.Case, threads: int) -> None:
        self.case, self.threads = case, threads

    def ask(self, what: str) -> Any:
        if self.case.batch == self.interrupted:
            raise KeyboardInterrupt
        second = SECONDS[self.case.column] * (self.case.batch or 0) / 32 * self.slower
        row = self.case.row(self.threads)
        return {"turn": harness.Turn(second, second, 0.0), "seconds": 1e-3, "finish": row}.get(what)

    def end(self) -> None:
        pass


class Seat:
    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[rows.WORKER] = Stub


class Ran(NamedTuple):
    ret: int
    out: str
    err: str


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ran]:
    """`pytest --benchmark-only` on the stub's rows, with the project's two conftest.py.

    It runs in this process, where the frameworks are imported already.
    """
    # for the plugin this is no worker of a run in several processes, which it would not time
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.setenv("TRIPTYCH_THREADS", "1")  # the threads are told: no new process
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("a new process"))
    monkeypatch.setattr(limits, "limits", lambda *_: [])
    # what differs from run to run, as a processor's clock rate does
    clock = itertools.count()
    monkeypatch.setattr(plugin, "get_cpu_info", lambda: {"hz_actual": next(clock), "bits": 64})
    monkeypatch.setattr(machine, "busy", lambda: "")
    monkeypatch.setattr(machine, "not_run", list)
    monkeypatch.setattr(Stub, "slower", 1.0)
    monkeypatch.setattr(Stub, "interrupted", None)
    monkeypatch.setattr(sys, "path", [*sys.path])
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (here / "pytest.ini").write_text("[pytest]\npython_files = bench_*.py\n")
    (here / "bench_stub.py").write_text(BENCH)
    place = importlib.util.spec_from_file_location("root_conftest", ROOT / "conftest.py")
    assert place
    assert place.loader
    options = importlib.util.module_from_spec(place)
    place.loader.exec_module(options)

    def started(*arguments: str) -> Ran:
        sys.modules.pop("bench_stub", None)
        command = ["--benchmark-only", "--threads=1", "-s", "-p", "no:cacheprovider"]
        command += ["-W", "default", *arguments]
        capsys.readouterr()
        status = int(pytest.main([*command, "bench_stub.py"], plugins=[options, rows, Seat()]))
        return Ran(status, *capsys.readouterr())

    return started


def test_progress_is_told_while_output_is_kept(request: pytest.FixtureRequest) -> None:
    """pytest keeps what is printed while a test runs: a line of progress has to go past it."""
    kept, lines = [True], []

    @contextlib.contextmanager
    def disabled() -> Iterator[None]:
        kept[0] = False
        yield
        kept[0] = True

    plugins = {
        "capturemanager": SimpleNamespace(global_and_fixture_disabled=disabled),
        "terminalreporter": SimpleNamespace(
            ensure_newline=lambda: None,
            write_line=lambda line, flush: lines.append((line, kept[0], flush)),
        ),
    }
    session: Any = SimpleNamespace(outcomes={}, chosen=[None])
    config: Any = SimpleNamespace(
        pluginmanager=SimpleNamespace(getplugin=plugins.get), stash={rows.SESSION: session}
    )
    rows._teller(config)("the machine's limits")
    ((line, was_kept, flushed),) = lines
    assert line.endswith("0/1 the machine's limits")
    assert flushed
    assert not was_kept
    # the plugins of pytest itself are there under these names
    manager = request.config.pluginmanager
    assert hasattr(manager.getplugin("capturemanager"), "global_and_fixture_disabled")
    assert manager.getplugin("terminalreporter") or "PYTEST_XDIST_WORKER" in os.environ


def whole(text: str) -> str:
    assert "Traceback" not in text
    assert "INTERNALERROR" not in text
    return text


def test_a_saved_time_is_that_of_a_step(run: Callable[..., Ran]) -> None:
    found = run("--benchmark-json=one.json")
    assert found.ret == 0
    text = whole(found.out)
    assert "2 rows in turn, 7 times" not in text  # a round of a millisecond: more turns than that
    assert "a task, batch 32, float32, cpu: JAX" not in text
    assert "a task, batch 32, float32, cpu: jax_impl, whole loop: making and warming up" in text
    # the report, and no table of the plugin's
    assert re.search(r"JAX, whole loop +2.00 us", text)
    assert "Legend:" not in text
    run("--benchmark-json=two.json")
    one, two = (json.loads(Path(f"{n}.json").read_text()) for n in ("one", "two"))
    assert [entry["stats"]["median"] for entry in one["benchmarks"]] == pytest.approx(
        [8e-6, 2e-6, 16e-6, 4e-6]
    )
    assert {entry["group"] for entry in one["benchmarks"]} == {
        f"a task, batch {batch}, float32, cpu" for batch in (32, 64)
    }
    # what varies from run to run is not the machine's
    assert one["machine_info"] == two["machine_info"]
    assert {"load", "limits", "commit", "rows"} <= one["triptych"].keys()
    assert one["triptych"]["load"].keys() == {"before", "after"}
    times = [row.time for row in results.merge([one, two]).rows]
    assert [time and time.median for time in times] == pytest.approx([8e-6, 2e-6, 16e-6, 4e-6])


def test_the_plugins_command_ranks_by_step(
    run: Callable[..., Ran], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run("--benchmark-json=one.json", "-k", "32")
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["pytest-benchmark", "compare", "one.json"])
    cli.main()  # type: ignore[no-untyped-call]
    told = whole(capsys.readouterr().out)
    assert 0 < told.index("jax_impl") < told.index("numpy_ref")


def test_compare_shows_the_saved_run_beside_this_one(
    run: Callable[..., Ran], tmp_path: Path
) -> None:
    storage = f"--benchmark-storage={tmp_path}/there"  # not below the folder of the run
    assert run("--benchmark-save=one", storage).ret == 0
    text = whole((found := run("--benchmark-compare", storage)).out)
    assert found.ret == 0
    assert "(NOW)" in text
    assert "(0001_one)" in text
    assert "machine_info is different" not in text + found.err
    # the report comes after the plugin's table
    assert re.search(r"\(NOW\)(.|\n)*JAX, whole loop +2\.00 us", text)
    # another machine is a line, wherever the files are
    (file,) = tmp_path.glob("there/*/*.json")
    saved = json.loads(file.read_text())
    saved["machine_info"]["triptych"]["machine"]["cpu"] = "Z80"
    file.write_text(json.dumps(saved))
    found = run("--benchmark-compare", storage)
    assert found.ret == 0
    assert "the saved run is of another machine" in whole(found.out)


def test_a_regression_is_a_line_and_a_status(
    run: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare = [f"--benchmark-storage={tmp_path}/there", "--benchmark-compare"]
    fail = "--benchmark-compare-fail=median:5%"
    found = run(*compare, fail)
    assert found.ret == pytest.ExitCode.USAGE_ERROR  # nothing is saved yet
    assert "requires valid --benchmark-compare" in whole(found.out)
    run("--benchmark-save=one", compare[0])
    assert run(*compare, fail).ret == 0
    monkeypatch.setattr(Stub, "slower", 1.1)
    found = run(*compare, fail)
    assert found.ret == pytest.ExitCode.TESTS_FAILED
    told = whole(found.out) + whole(found.err)
    assert "Performance has regressed" in told
    assert re.search(r"JAX, whole loop +2.20 us", told)


def test_columns_sort_and_groups(run: Callable[..., Ran]) -> None:
    options = ["--benchmark-columns=median,rounds", "--benchmark-sort=name"]
    text = whole(run(*options, "--benchmark-group-by=param:column").out)
    assert "benchmark 'column=jax_impl': 2 tests" in text
    assert "benchmark 'column=numpy_ref': 2 tests" in text
    (head, *_) = [line for line in text.splitlines() if line.startswith("Name (time in us)")]
    assert head.split()[4:] == ["Median", "Rounds"]


def test_a_histogram_is_drawn(run: Callable[..., Ran]) -> None:
    pytest.importorskip("pygal")
    assert run("--benchmark-histogram=plot").ret == 0
    assert len(list(Path().glob("plot-a_task*.svg"))) == 2


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--benchmark-min-rounds=3", "--benchmark-min-rounds: not here"),
        ("--benchmark-compare-fail=min:5%", "--benchmark-compare-fail needs --benchmark-compare"),
        ("--processes=0", "--processes must be 1 or more"),
        ("--budget=nan", "--budget a positive number"),
        ("--benchmark-histogram", "needs pip install 'pytest-benchmark[histogram]'"),
    ],
)
def test_what_cannot_be_done_is_said_at_once(
    option: str, said: str, run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    found_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "pygal" else found_spec(name)
    )
    found = run(option)
    assert found.ret == pytest.ExitCode.USAGE_ERROR
    assert said in found.err


def test_an_interrupted_run_keeps_its_rows(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stub, "interrupted", 64)
    found = run("--benchmark-json=one.json")
    assert found.ret == pytest.ExitCode.INTERRUPTED
    kept = json.loads(Path("one.json").read_text())
    assert [entry["extra_info"]["batch"] for entry in kept["benchmarks"]] == [32, 32]
    assert re.search(r"JAX, whole loop +2.00 us", found.out)


def test_a_wrong_row_fails_and_the_others_stand(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Stub.ask

    def answer(self: Stub, what: str) -> Any:
        if self.case.column == "jax_impl" and what == "finish":
            raise cases.InvalidRow("disagrees: by design")
        return ask(self, what)

    monkeypatch.setattr(Stub, "ask", answer)
    found = run("--benchmark-json=one.json")
    assert found.ret == pytest.ExitCode.TESTS_FAILED
    kept = json.loads(Path("one.json").read_text())
    assert [entry["extra_info"]["column"] for entry in kept["benchmarks"]] == ["numpy_ref"] * 2
    assert [row["reason"] for row in kept["triptych"]["rows"]] == ["disagrees: by design"] * 2
    assert re.search(r"JAX, whole loop +invalid", found.out)


def test_a_busy_machine_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.15])
    monkeypatch.setattr(time, "thread_time", lambda: next(clock))
    wall = iter([0.0, 0.1, 0.2, 0.3, 0.3])
    monkeypatch.setattr(time, "perf_counter", lambda: next(wall))
    assert machine.busy(0.2).startswith("this machine is busy: a loop on one core ran 50% of")
