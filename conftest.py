"""Tests or benchmarks: a plain `pytest` runs the tests, `pytest --benchmark-only` the benchmarks.

The options stand here because pytest reads those of this directory's conftest.py in any case.
"""

import importlib.util
import math
import os
import sys
from pathlib import Path

import pytest

ENVIRONMENT_AT_START = dict(os.environ)
"""The environment before tests/conftest.py makes tests repeatable, which would slow a benchmark."""
THREADS_SET = "TRIPTYCH_THREADS"
"""This variable is set in the process that was started again with its numbers of threads fixed."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which rows, and on how many threads."""
    group = parser.getgroup("triptych benchmarks (with --benchmark-only)")
    group.addoption("--threads", type=int, help="threads of every framework (default: all cores)")
    group.addoption("--device", choices=("cpu", "cuda"), help="rows of this device only")
    group.addoption(
        "--deterministic", action="store_true", help="with the flags for equal bits in each GPU run"
    )
    group.addoption("--full", action="store_true", help="every row of the grid")
    group.addoption("--sweep", action="store_true", help="batches of 4^0 to 4^10 as well")
    group.addoption(
        "--budget", type=float, default=1.0, help="seconds of timed rounds for a row (default: 1)"
    )
    group.addoption(
        "--processes", type=int, default=3, help="of each row, one after the other (default: 3)"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave one of the two folders out; a file that is named on the command line is not asked."""
    other = "tests" if config.getoption("benchmark_only", False) else "benchmarks"
    return True if config.rootpath / other in collection_path.parents else None


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run the whole suite in several processes, where pytest-xdist is there and nothing is said.

    Half of its time goes into compiling, which each process does on one core.
    """
    option = config.option
    whole = config.args_source == pytest.Config.ArgsSource.TESTPATHS
    alone = config.getoption("benchmark_only", False) or option.usepdb or option.capture == "no"
    if (
        "PYTEST_XDIST_WORKER" in os.environ
    ):  # this is one of the workers: it must not start workers of its own
        return
    if not whole or alone or getattr(option, "numprocesses", 0) is not None:
        return
    from benchmarks import machine

    option.numprocesses = min(4, machine.usable_cores())
    option.dist = "loadfile"  # what a file computes for all of its tests is computed once


SHOWING = {"compare", "histogram", "group-by", "sort", "columns", "name", "time-unit", "verbose"}
"""pytest-benchmark's options that ask for its own table; without one the report takes its place."""
UNHEARD = {
    *("min-time", "max-time", "min-rounds", "precision", "confidence", "timer", "warmup"),
    *("calibration-precision", "warmup-iterations", "disable-gc", "cprofile", "cprofile-loops"),
    *("cprofile-top", "cprofile-dump"),
}
"""Those that would do nothing: the rows are timed in processes of their own."""


def _heed(config: pytest.Config) -> None:
    """Do what a user of pytest-benchmark's options expects, or say that it cannot be done."""
    arguments = [str(argument) for argument in config.invocation_params.args]
    given = {
        a.removeprefix("--benchmark-").partition("=")[0]
        for a in arguments
        if a.startswith("--benchmark-")
    }
    if unheard := sorted(given & UNHEARD):
        listed = ", ".join(f"--benchmark-{name}" for name in unheard)
        raise pytest.UsageError(f"{listed}: not here; how long a row is timed is --budget's to say")
    if config.getoption("--processes") < 1 or not 0 < config.getoption("--budget") < math.inf:
        raise pytest.UsageError("--processes must be 1 or more, --budget a positive number")
    if "compare-fail" in given and "compare" not in given:
        raise pytest.UsageError("--benchmark-compare-fail needs --benchmark-compare")
    if "histogram" in given and importlib.util.find_spec("pygal") is None:
        raise pytest.UsageError(
            "--benchmark-histogram needs pip install 'pytest-benchmark[histogram]'"
        )
    config.option.benchmark_quiet = not given & SHOWING


def pytest_configure(config: pytest.Config) -> None:
    """Begin anew with the thread pools told: they are made when their libraries are loaded."""
    if not config.getoption("benchmark_only", False):
        return
    os.environ.clear()
    os.environ.update(ENVIRONMENT_AT_START)
    _heed(config)
    from benchmarks import machine
    from triptych import column

    threads = config.getoption("--threads") or machine.usable_cores()
    if os.environ.get(THREADS_SET) == str(threads):
        return
    try:
        environment = machine.with_threads(threads) | {THREADS_SET: str(threads)}
        if config.getoption("--deterministic"):
            environment |= column.repeatable()
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None
    if capture := config.pluginmanager.getplugin("capturemanager"):
        capture.stop_global_capturing()
    command = [sys.executable, "-m", "pytest", *config.invocation_params.args]
    os.execve(sys.executable, command, environment)  # noqa: S606 (no shell is wanted)
