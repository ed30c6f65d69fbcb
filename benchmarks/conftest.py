"""Which rows run, how they are told to pytest-benchmark, and the report at the end."""

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pytest_benchmark.session import PerformanceRegression

from benchmarks import cases, clock, limits, machine, turns


class Session:
    """What the rows of one run have in common."""

    def __init__(self, threads: int, budget: float, processes: int) -> None:
        self.threads = threads
        self.budget = budget
        self.processes = processes
        self.run = machine.run(threads)
        self.limits: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        """Those without a time."""
        self.outcomes: dict[str, turns.Outcome] = {}
        self.chosen: list[cases.Case] = []
        self.kept = tempfile.TemporaryDirectory(prefix="triptych-")
        os.environ[cases.KEPT] = self.kept.name  # the rows' processes inherit it
        self.exit: int | None = None
        """The status with which the process ends, where a comparison decides it."""

    def about(self) -> dict[str, Any]:
        """What a results file says of this run alone; no two runs are alike in it."""
        return self.run | {
            "limits": self.limits, "not_run": machine.not_run(), "rows": self.rows
        }  # fmt: skip


SESSION = pytest.StashKey[Session]()
WORKER = pytest.StashKey[type[turns.Worker]]()
"""Where rows are measured; a test puts another there."""


def asked_devices(config: pytest.Config) -> list[str]:
    """The usable devices, or the one of --device."""
    return [d for d in machine.devices() if config.getoption("--device") in (None, d)]


def session_of(config: pytest.Config) -> Session:
    """The run's session; begun by whoever asks first."""
    if SESSION not in config.stash:
        threads = config.getoption("--threads") or machine.usable_cores()
        asked = config.getoption("--budget"), config.getoption("--processes")
        config.stash[SESSION] = Session(threads, *asked)
        config.add_cleanup(config.stash[SESSION].kept.cleanup)
        if config.getoption("--deterministic"):
            import torch

            torch.use_deterministic_algorithms(True)
    return config.stash[SESSION]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each row that was asked for."""
    if "case" not in metafunc.fixturenames:
        return
    chosen = cases.chosen(
        metafunc.module.cases(),
        devices=asked_devices(metafunc.config),
        full=metafunc.config.getoption("--full"),
        sweep=metafunc.config.getoption("--sweep"),
    )
    told = [
        pytest.param(
            case, id=case.id, marks=pytest.mark.benchmark(timer=clock.recorded, group=case.family)
        )
        for case in chosen
    ]
    metafunc.parametrize("case", told)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Which rows are measured with which is known when -k has had its say."""
    functions = [item for item in items if isinstance(item, pytest.Function)]
    calls = [item.callspec.params for item in functions if hasattr(item, "callspec")]
    found: list[Any] = [params["case"] for params in calls if "case" in params]
    if found:
        session_of(config).chosen = found


@pytest.fixture(scope="session", name="limits")
def _limits(request: pytest.FixtureRequest) -> None:
    """The machine's limits, measured before the first row; and whether others use it."""
    session, say = session_of(request.config), _teller(request.config)
    if advice := machine.busy():
        say(advice)
    say("the machine's limits")
    for device in asked_devices(request.config):
        session.limits += limits.limits(device, session.threads)


@pytest.fixture
def measure(
    request: pytest.FixtureRequest,
    benchmark: Any,
    limits: None,  # noqa: ARG001 (measured before any row)
) -> Callable[[cases.Case], None]:
    """Measure a row and those that it is compared with, or record why it has no time."""
    config = request.config
    session = session_of(config)

    def measured(case: cases.Case) -> None:
        if case.id not in session.outcomes:
            together = [other for other in session.chosen if other.family == case.family]
            session.outcomes |= turns.measure(
                together, session.threads, session.budget, session.processes,
                worker=config.stash.get(WORKER, turns.Process), say=_teller(config),
            )  # fmt: skip
        outcome = session.outcomes[case.id]
        if isinstance(outcome, cases.InvalidRow):
            verdict = {"status": "invalid", "reason": str(outcome)}
            session.rows.append(case.row(session.threads) | verdict)
            pytest.fail(f"invalid: {outcome}", pytrace=False)
        if isinstance(outcome, RuntimeError):
            pytest.fail(str(outcome), pytrace=False)
        names = ("task", "column", "mode", "device", "dtype", "batch")
        # what --benchmark-group-by=param:batch and the like ask for
        benchmark.params = {name: getattr(case, name) for name in names}
        benchmark.extra_info.update(outcome.row)
        clock.tell(benchmark, [turn.wall for turn in outcome.turns])

    return measured


def _teller(config: pytest.Config) -> Callable[[str], None]:
    """Prints a line with the time and the number of rows that are done, at once.

    While a row runs, pytest keeps what is printed for the report of a failure.
    """
    reporter = config.pluginmanager.getplugin("terminalreporter")
    capture = config.pluginmanager.getplugin("capturemanager")
    session = session_of(config)

    def say(text: str) -> None:
        done = f"{len(session.outcomes)}/{len(session.chosen)}"
        with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
            reporter.ensure_newline()
            reporter.write_line(f"{time.strftime('%H:%M:%S')} {done} {text}", flush=True)

    return say


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """No dot for a row: a line has told of it."""
    timed = report.when == "call" and report.passed and SHOWN in report.keywords
    return ("passed", "", "PASSED") if timed else None


SHOWN = "benchmark"


def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """The machine, the versions and the settings: nothing that differs from run to run."""
    for varying in ("hz_actual", "hz_actual_friendly"):
        machine_info["cpu"].pop(varying, None)
    machine_info["triptych"] = machine.describe()


@pytest.hookimpl(wrapper=True)
def pytest_benchmark_compare_machine_info(config: pytest.Config) -> Iterator[None]:
    """The plugin's warning asks where the storage is, and fails if it is not below here."""
    try:
        yield
    except ValueError:
        reporter = config.pluginmanager.getplugin("terminalreporter")
        line = "the saved run is of another machine, or of other versions or settings"
        reporter.write_line(line, yellow=True)


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """What a row says beside others; without the turns, which make the file ten times as large."""
    # a row that was interrupted has no times, and nothing that says what it is
    output_json["benchmarks"] = [b for b in output_json["benchmarks"] if "task" in b["extra_info"]]
    output_json["triptych"] = session_of(config).about()
    limits.complete(output_json)
    for entry in output_json["benchmarks"]:
        entry["stats"].pop("data", None)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Iterator[None]:
    """The machine's limits once more, unless the run was cut short: the best of both holds."""
    stash = session.config.stash
    if SESSION in stash and stash[SESSION].outcomes:
        _last_limits(session.config, cut_short=exitstatus == pytest.ExitCode.INTERRUPTED)
    yield
    if SESSION in stash and (status := stash[SESSION].exit) is not None:
        session.exitstatus = status


def _last_limits(config: pytest.Config, *, cut_short: bool) -> None:
    ours = session_of(config)
    if not cut_short:
        _teller(config)("the machine's limits, once more")
        for device in asked_devices(config):
            ours.limits = limits.best([*ours.limits, *limits.limits(device, ours.threads)])
    ours.run["load"] = {"before": ours.run["load"], "after": machine.load()}


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> Iterator[None]:
    """The report, after the plugin's own tables; a comparison that fails is no traceback."""
    try:
        yield
    except PerformanceRegression:
        session_of(config).exit = pytest.ExitCode.TESTS_FAILED
    except pytest.UsageError as error:
        terminalreporter.write_line(f"ERROR: {error}", red=True)
        session_of(config).exit = pytest.ExitCode.USAGE_ERROR
    if SESSION in config.stash and config.stash[SESSION].outcomes:
        _report(terminalreporter, config)


def _report(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    from rich.console import Console

    from triptych.timing import tables

    results = config.hook.pytest_benchmark_generate_json(
        config=config,
        benchmarks=[b for b in config._benchmarksession.benchmarks if b.stats and b.extra_info],  # type: ignore[attr-defined]
        include_data=False,
        machine_info={"triptych": machine.describe()},
        commit_info={},
    )
    pytest_benchmark_update_json(config, results)
    console = Console(width=terminalreporter._tw.fullwidth)
    console.print(tables.terminal([results]))
