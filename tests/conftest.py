"""Fixtures: a test that asks for `column` runs in each column, for `dtype` in each precision."""

import contextlib
import io
import os
import pickle
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from rich.console import Console
from support.strict import load_column

from triptych.__main__ import processor
from triptych.agreement.measures import DisagreementError, Row, Unit, assert_within, distance
from triptych.agreement.tables import agreement_table
from triptych.column import Column, precision, repeatable
from triptych.names import COLUMNS

# Such small matrices gain nothing from threads, which on a busy machine wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# CUDA reads these when it starts. They give the same bits in each run, and leave memory to the
# other framework. A worker of pytest-xdist has them already: with the flags twice, JAX would keep
# a second copy of what it compiles.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ.update(repeatable())
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

SLOW = {f"tests/{name}" for name in (Path(__file__).parent / "slow.txt").read_text().splitlines()}
"""Tests that take half a second each, most of it in a compiler: they run with the slow ones,
so that a plain run takes two minutes; where mistakes are planted, with the others."""
ROWS = pytest.StashKey[list[Row]]()
REMARKS = pytest.StashKey[list[str]]()
GONE = pytest.StashKey[set[str]]()
"""What slow.txt names and no folder has."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-all", action="store_true", help="fail, rather than skip, without a framework"
    )
    parser.addoption(
        "--require-gpu", action="store_true", help="fail, rather than skip, without a CUDA device"
    )
    parser.addoption(
        "--exhaustive",
        action="store_true",
        help="every float32 number and every committed digest, rather than a part of them",
    )
    parser.addoption(
        "--one-in",
        type=int,
        default=1,
        help="run one test in so many, drawn by --seed",
    )
    parser.addoption("--seed", default="", help="of --one-in; any text, such as a commit")
    parser.addoption(
        "--random-runs", type=int, default=5, help="of drawn batches, each with a seed of its own"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []
    config.stash[REMARKS] = []
    # JAX keeps what it compiles in pytest's cache, as PyTorch does by itself in its own: a program
    # is found by its text, the versions and the flags, so a changed one is compiled anew.
    # `--cache-clear` forgets all; with `-p no:cacheprovider` each process compiles its own.
    kept = ""
    with contextlib.suppress(AttributeError, OSError):  # no cache is wanted; it cannot be written
        kept = str(config.cache.mkdir(f"jax-{processor()}"))
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", kept)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """One of several processes hands its part of the table over."""
    config: Any = session.config
    if hasattr(config, "workeroutput"):
        config.workeroutput["agreement"] = pickle.dumps((config.stash[ROWS], config.stash[REMARKS]))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the part of a process that has ended; one that crashed has none."""
    if found := getattr(node, "workeroutput", {}).get("agreement"):
        rows, remarks = pickle.loads(found)
        node.config.stash[ROWS] += rows
        node.config.stash[REMARKS] += remarks


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """The agreement table: what the tests measured, each quantity's worst beside its bound."""
    rows, remarks = config.stash[ROWS], config.stash[REMARKS]
    if not rows:
        return
    terminalreporter.section("agreement")
    console = Console(width=terminalreporter._tw.fullwidth, file=io.StringIO())
    console.print(agreement_table(rows, console.width))
    for line in [*dict.fromkeys(remarks), *not_run(terminalreporter)]:
        console.print(line, style="dim", highlight=False, markup=False)
    assert isinstance(console.file, io.StringIO)
    terminalreporter.write_line(console.file.getvalue().strip("\n"))


def not_run(terminalreporter: pytest.TerminalReporter) -> list[str]:
    """Which tests that fill the table were skipped, and why: a line for each reason."""
    tests: dict[str, Counter[str]] = {}
    for report in terminalreporter.stats.get("skipped", []):
        if "agree" in getattr(report, "keywords", ()):  # a skipped module has none
            _, _, reason = report.longrepr
            test = report.nodeid.split("::")[-1].partition("[")[0]
            tests.setdefault(reason.removeprefix("Skipped: "), Counter())[test] += 1
    return [
        f"not run: {reason}: {', '.join(f'{n} x {test}' for test, n in sorted(counts.items()))}"
        for reason, counts in tests.items()
    ]


class Agree:
    """The fixture `agree`: `assert_within`, and a line in the agreement table at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self.rows = config.stash[ROWS]
        self.remarks = config.stash[REMARKS]

    def __call__(
        self,
        concept: str,
        quantity: str,
        pair: str,
        a: np.ndarray,
        b: np.ndarray,
        bound: float,
        unit: Unit,
        *,
        device: str = "cpu",
    ) -> None:
        """Raise unless a is within the bound of b; record the distance either way.

        Args:
            concept: the file that the quantity belongs to.
            quantity: what it is, in two or three words.
            pair: "reference/column", such as "numpy_ref/jax_impl" or "exact/jax_impl".
            a: what the column gives.
            b: the reference.
            bound: the largest distance allowed; infinite for what is only shown.
            unit: "ulp", "eps" (normwise) or "absolute".
            device: where the column computed.
        """
        head = (concept, quantity, str(np.asarray(b).dtype), device, pair)
        try:
            apart = distance(f"{concept} {quantity}, {pair}", a, b, unit)
        except DisagreementError as error:
            self.row(Row(*head, np.inf, unit, bound, False, str(error)))
            raise
        value = apart.value
        self.row(Row(*head, value, unit, bound, value <= bound, str(apart.where)))
        assert_within(f"{concept} {quantity}, {pair}", a, b, bound, unit)

    def row(self, row: Row) -> None:
        """Record a line that was measured elsewhere."""
        self.rows.append(row)

    def remark(self, text: str) -> None:
        """Add a line below the table."""
        self.remarks.append(text)


@pytest.fixture
def agree(request: pytest.FixtureRequest) -> Agree:
    return Agree(request.config)


SLOW_FILES = ("browser", "glue/port/test_nnx.py", "glue/port/test_public.py")
"""Every test of them is slow; they import what nothing else does: Flax, transformers, Sphinx."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import what is slow as a whole where slow tests are left out."""
    if config.option.markexpr != "not slow":
        return None
    here = Path(__file__).parent
    return True if collection_path in {here / name for name in SLOW_FILES} else None


@pytest.hookimpl(tryfirst=True)  # before "not slow" is looked at
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # With -W error these would fail our tests for a warning that is not ours. PyTorch's own forward
    # mode and compiler use its deprecated torch.jit; a process that was killed may leave half a
    # compiled program behind, which JAX then compiles again.
    known = pytest.mark.filterwarnings(
        "ignore:.torch.jit.script(_method)?. is:DeprecationWarning",
        "ignore:Error reading persistent compilation cache entry:UserWarning",
    )
    for item in items:
        item.add_marker(known)
        if "agree" in getattr(item, "fixturenames", ()):
            item.keywords["agree"] = True  # so that a skip is known for a gap in the table
        words = set(item.name.partition("[")[2].rstrip("]").split("-"))
        named = any(words >= set(mark.args) for mark in item.iter_markers("slow_in"))
        if "TRIPTYCH_PLANTED" not in os.environ and (named or item.nodeid in SLOW):
            item.add_marker(pytest.mark.slow)
    config.stash[GONE] = SLOW - {item.nodeid for item in items}
    of, seed = config.getoption("--one-in"), config.getoption("--seed")
    if of < 1:
        raise pytest.UsageError(f"--one-in {of}: one test of none is no test")
    drawn = {item for item in items if crc32(f"{seed} {item.nodeid}".encode()) % of == 0}
    config.hook.pytest_deselected(items=[item for item in items if item not in drawn])
    items[:] = [item for item in items if item in drawn]


@pytest.fixture
def gone(request: pytest.FixtureRequest) -> set[str]:
    """The tests of slow.txt that are no more, where all tests were collected."""
    if request.config.args_source != pytest.Config.ArgsSource.TESTPATHS:
        pytest.skip("part of the tests was collected")
    return request.config.stash[GONE]


@pytest.fixture(params=COLUMNS)
def column(request: pytest.FixtureRequest) -> Column:
    return load_column(request.param, request.config)


@pytest.fixture
def columns(request: pytest.FixtureRequest) -> list[Column]:
    """All three, for tests that compare them; `numpy_ref` first."""
    return [load_column(name, request.config) for name in COLUMNS]


def on_cuda(name: str, config: pytest.Config) -> Column:
    column = load_column(name, config)
    if "cuda" not in column.devices():
        reason = f"no CUDA device that {name} can use"
        if config.getoption("--require-gpu"):
            pytest.fail(reason)
        pytest.skip(reason)
    return Column(name, "cuda")


@pytest.fixture(params=COLUMNS[1:])
def cuda_column(request: pytest.FixtureRequest) -> Column:
    """PyTorch's and JAX's column on a CUDA device."""
    return on_cuda(request.param, request.config)


@pytest.fixture
def cuda(request: pytest.FixtureRequest) -> None:
    """A CUDA device that both can use."""
    for name in COLUMNS[1:]:
        on_cuda(name, request.config)


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> str:
    """Each device."""
    name: str = request.param
    if name == "cuda":
        request.getfixturevalue("cuda")
    return name


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> Iterator[np.dtype]:
    """Each precision; JAX keeps float64 only with x64."""
    with precision(request.param):
        yield np.dtype(request.param)
