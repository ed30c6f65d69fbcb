"""Fixtures: a test that asks for `column` runs in each column, for `dtype` in each precision."""

import io
from collections.abc import Iterator

import numpy as np
import pytest
from rich.console import Console

from triptych.agreement import DisagreementError, Row, Unit, assert_within, distance
from triptych.calls import Column, missing, precision
from triptych.columns import COLUMNS
from triptych.show import agreement_table

ROWS = pytest.StashKey[list[Row]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-all", action="store_true", help="fail, rather than skip, without a framework"
    )
    parser.addoption(
        "--require-gpu", action="store_true", help="fail, rather than skip, without a CUDA device"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """The agreement table: what the tests measured, each quantity's worst beside its bound."""
    if rows := config.stash[ROWS]:
        terminalreporter.section("agreement")
        console = Console(width=terminalreporter._tw.fullwidth, file=io.StringIO())
        console.print(agreement_table(rows, console.width))
        assert isinstance(console.file, io.StringIO)
        terminalreporter.write_line(console.file.getvalue().rstrip())


class Agree:
    """The fixture `agree`: `assert_within`, and a line in the agreement table at the end."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows

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
            pair: "reference/column", such as "numpy_ref/jax_impl".
            a: what the column gives.
            b: the reference.
            bound: the largest distance allowed.
            unit: "ulp", "eps" (normwise) or "absolute".
            device: where the column computed.
        """
        head = (concept, quantity, str(np.asarray(b).dtype), device, pair)
        try:
            apart = distance(f"{concept} {quantity}, {pair}", a, b, unit)
        except DisagreementError as error:
            self.rows.append(Row(*head, np.inf, unit, bound, False, str(error)))
            raise
        value = apart.value
        self.rows.append(Row(*head, value, unit, bound, value <= bound, str(apart.where)))
        assert_within(f"{concept} {quantity}, {pair}", a, b, bound, unit)

    def row(self, row: Row) -> None:
        """Record a line that was measured elsewhere, or say in its note why it was not."""
        self.rows.append(row)


@pytest.fixture
def agree(request: pytest.FixtureRequest) -> Agree:
    return Agree(request.config.stash[ROWS])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # torch's own forward mode and compiler use its deprecated torch.jit; -W error must not see it
    known = pytest.mark.filterwarnings("ignore:.torch.jit.script(_method)?. is:DeprecationWarning")
    for item in items:
        item.add_marker(known)


def load_column(name: str, config: pytest.Config) -> Column:
    if reason := missing(name):
        if config.getoption("--require-all"):
            pytest.fail(reason)
        pytest.skip(reason)
    return Column(name)


@pytest.fixture(params=COLUMNS)
def column(request: pytest.FixtureRequest) -> Column:
    return load_column(request.param, request.config)


@pytest.fixture
def columns(request: pytest.FixtureRequest) -> list[Column]:
    """All three, for tests that compare them; `numpy_ref` first."""
    return [load_column(name, request.config) for name in COLUMNS]


@pytest.fixture(params=COLUMNS[1:])
def cuda_column(request: pytest.FixtureRequest) -> Column:
    """PyTorch's and JAX's column on a CUDA device."""
    here = load_column(request.param, request.config)
    if "cuda" not in here.devices():
        reason = f"no CUDA device that {request.param} can use"
        if request.config.getoption("--require-gpu"):
            pytest.fail(reason)
        pytest.skip(reason)
    return Column(request.param, "cuda")


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> Iterator[np.dtype]:
    """Each precision; JAX keeps float64 only with x64."""
    with precision(request.param):
        yield np.dtype(request.param)
