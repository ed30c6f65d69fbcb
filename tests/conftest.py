"""Fixtures: a test that asks for `column` runs in each column, for `dtype` in each precision."""

import contextlib
import importlib
import importlib.util
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

FRAMEWORKS = {"numpy_ref": "numpy", "torch_impl": "torch", "jax_impl": "jax"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-all", action="store_true", help="fail, rather than skip, without a framework"
    )


class Column:
    """One column: its boundary's functions and its concepts, imported when asked for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.boundary = importlib.import_module(name)

    def __getattr__(self, name: str) -> Any:
        if hasattr(self.boundary, name) and not isinstance(
            getattr(self.boundary, name), ModuleType
        ):
            return getattr(self.boundary, name)
        return importlib.import_module(f"{self.name}.{name}")

    def call(self, concept: str, function: str, *args: Any, **kwargs: Any) -> Any:
        """Call a function on NumPy arrays, dicts and numbers; the result comes back in NumPy."""
        here = [self.arrays_in(value) for value in args]
        keywords = {name: self.arrays_in(value) for name, value in kwargs.items()}
        return self.arrays_out(getattr(getattr(self, concept), function)(*here, **keywords))

    def arrays_in(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self.arrays_in(entry) for name, entry in value.items()}
        is_array = isinstance(value, np.ndarray | np.generic)
        return self.boundary.from_numpy(value) if is_array else value

    def arrays_out(self, value: Any) -> Any:
        if isinstance(value, tuple | list):
            return type(value)(self.arrays_out(entry) for entry in value)
        if isinstance(value, dict):
            return {name: self.arrays_out(entry) for name, entry in value.items()}
        is_array = hasattr(value, "dtype") and hasattr(value, "shape")
        return self.boundary.to_numpy(value) if is_array else value


def load_column(name: str, config: pytest.Config) -> Column:
    if importlib.util.find_spec(FRAMEWORKS[name]) is None:
        reason = f"{FRAMEWORKS[name]} is not installed: the column {name} cannot run"
        if config.getoption("--require-all"):
            pytest.fail(reason)
        pytest.skip(reason)
    return Column(name)


@pytest.fixture(params=FRAMEWORKS)
def column(request: pytest.FixtureRequest) -> Column:
    return load_column(request.param, request.config)


@pytest.fixture
def columns(request: pytest.FixtureRequest) -> list[Column]:
    """All three, for tests that compare them; `numpy_ref` first."""
    return [load_column(name, request.config) for name in FRAMEWORKS]


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> Iterator[np.dtype]:
    """Each precision; JAX keeps float64 only with x64."""
    with x64(request.param == "float64"):
        yield np.dtype(request.param)


@contextlib.contextmanager
def x64(on: bool) -> Iterator[None]:
    if importlib.util.find_spec("jax") is None:
        yield
    else:
        import jax

        with jax.enable_x64(on):
            yield
