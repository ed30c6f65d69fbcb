"""Fixtures: a test that asks for `column` runs in each column, for `dtype` in each precision."""

from collections.abc import Iterator

import numpy as np
import pytest

from triptych.calls import Column, missing, precision
from triptych.columns import COLUMNS


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-all", action="store_true", help="fail, rather than skip, without a framework"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # torch's own forward mode calls torch's deprecated torch.jit.script; -W error must not see it
    known = pytest.mark.filterwarnings("ignore:.torch.jit.script. is:DeprecationWarning")
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


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> Iterator[np.dtype]:
    """Each precision; JAX keeps float64 only with x64."""
    with precision(request.param):
        yield np.dtype(request.param)
