"""Which rows run, how a row is measured, and the report at the end."""

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks import cases, harness, limits, machine


class Session:
    """What the rows of one run have in common."""

    def __init__(self, threads: int, budget: float) -> None:
        self.threads = threads
        self.budget = budget
        self.limits: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        """Those without a time."""


SESSION = pytest.StashKey[Session]()


def asked_devices(config: pytest.Config) -> list[str]:
    """The usable devices, or the one of --device."""
    return [d for d in machine.devices() if config.getoption("--device") in (None, d)]


def session_of(config: pytest.Config) -> Session:
    """The run's session; begun by whoever asks first."""
    if SESSION not in config.stash:
        threads = config.getoption("--threads") or machine.usable_cores()
        config.stash[SESSION] = Session(threads, config.getoption("--budget"))
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
    metafunc.parametrize("case", chosen, ids=[case.id for case in chosen])


@pytest.fixture(scope="session", name="limits")
def _limits(request: pytest.FixtureRequest) -> None:
    """The machine's limits, measured once, before the first row."""
    session = session_of(request.config)
    for device in asked_devices(request.config):
        session.limits += limits.limits(device, session.threads)


@pytest.fixture
def measure(
    request: pytest.FixtureRequest,
    benchmark: Any,
    limits: None,  # noqa: ARG001 (measured before any row)
) -> Callable[[cases.Case], None]:
    """Measure a row, or record why it has no time."""
    session = session_of(request.config)

    def measured(case: cases.Case) -> None:
        try:
            harness.measure(case, benchmark, session.threads, session.budget)
        except cases.InvalidRow as reason:
            verdict = {"status": "invalid", "reason": str(reason)}
            session.rows.append(case.row(session.threads) | verdict)
            pytest.fail(f"invalid: {reason}", pytrace=False)

    return measured


def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    """The machine, its limits, and the rows without a time."""
    session = session_of(config)
    machine_info["triptych"] = machine.describe(session.threads) | {
        "limits": session.limits,
        "not_run": machine.not_run(),
        "rows": session.rows,
    }


def pytest_benchmark_update_json(output_json: dict[str, Any]) -> None:
    """What a row says beside others; without the rounds, which make the file ten times as large."""
    # a row that was interrupted has rounds, but nothing that says what it is
    output_json["benchmarks"] = [b for b in output_json["benchmarks"] if "task" in b["extra_info"]]
    limits.complete(output_json)
    for entry in output_json["benchmarks"]:
        entry["stats"].pop("data", None)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """The report."""
    if SESSION not in config.stash:
        return
    from rich.console import Console

    from triptych.timing import tables

    results = config.hook.pytest_benchmark_generate_json(
        config=config,
        benchmarks=[b for b in config._benchmarksession.benchmarks if b.stats and b.extra_info],  # type: ignore[attr-defined]
        include_data=False,
        machine_info=config._benchmarksession.get_machine_info(),  # type: ignore[attr-defined]
        commit_info={},
    )
    limits.complete(results)
    console = Console(width=terminalreporter._tw.fullwidth)
    console.print(tables.terminal([results]))
