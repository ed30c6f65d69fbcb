"""The documents' graphs: every value and every derivative, as the documents print them."""

from typing import Any

import numpy as np
import pytest
from support.graphs import GRAPHS

EDGES: list[tuple[str, float, dict[str, float]]] = [
    ("product_edges", 1, {"da/dx": 1, "db/dx": 1, "dy/da": 4, "dy/db": 3}),
    ("chain_edges", 1, {"da/dx": 2, "db/da": 1, "dy/db": 10}),
    # at 1, 2 x and 2 / x are the same
    ("product_edges", -4, {"da/dx": 1, "db/dx": 1, "dy/da": -1, "dy/db": -2}),
    ("chain_edges", -4, {"da/dx": 2, "db/da": 1, "dy/db": -10}),
]


def as_arrays(values: dict[str, float], dtype: np.dtype) -> dict[str, np.ndarray]:
    return {name: np.array(value, dtype) for name, value in values.items()}


def assert_same(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert actual[name].dtype == value.dtype, name
        assert actual[name].shape == value.shape, name
        assert actual[name] == value, name


@pytest.mark.parametrize(("graph", "inputs", "values", "grads"), GRAPHS)
def test_values_and_derivatives(
    column: Any, dtype: np.dtype, graph: Any, inputs: Any, values: Any, grads: Any
) -> None:
    found = column.call("gradients", graph, *[np.array(x, dtype) for x in inputs])
    assert_same(found[0], as_arrays(values, dtype))
    assert_same(found[1], as_arrays(grads, dtype))


@pytest.mark.parametrize(("graph", "x", "edges"), EDGES)
def test_local_derivatives(column: Any, dtype: np.dtype, graph: Any, x: Any, edges: Any) -> None:
    assert_same(column.call("gradients", graph, np.array(x, dtype)), as_arrays(edges, dtype))


def test_derivative_is_the_product_of_the_edges(column: Any, dtype: np.dtype) -> None:
    x = np.array(1, dtype)
    edges = column.call("gradients", "chain_edges", x)
    _, grads = column.call("gradients", "chain", x)
    assert grads["x"] == edges["dy/db"] * edges["db/da"] * edges["da/dx"] == 20


def test_derivative_is_the_sum_over_the_paths(column: Any, dtype: np.dtype) -> None:
    x = np.array(1, dtype)
    edges = column.call("gradients", "product_edges", x)
    _, grads = column.call("gradients", "product", x)
    paths = edges["dy/da"] * edges["da/dx"], edges["dy/db"] * edges["db/dx"]
    assert paths == (4, 3)
    assert grads["x"] == sum(paths)


def test_a_derivative_is_a_rate(column: Any, dtype: np.dtype) -> None:
    # E: w + 1 makes y + 5, exactly, since y is linear in w
    before, after = (
        column.call("gradients", "affine", *np.array([5, w, 1], dtype))[0]["y"] for w in (2, 3)
    )
    assert after - before == 5
    # A 7.5 says that x + 1 makes y + 20 and b + 1 makes y + 10; it makes 24 and 11
    y = [column.call("gradients", "chain", np.array(x, dtype))[0]["y"] for x in (1, 1.5, 2)]
    assert y[2] - y[0] == 24
    assert y[1] - y[0] == 11  # b is 5 at x = 1 and 6 at x = 1.5


@pytest.mark.parametrize(("graph", "inputs"), [(g[0], g[1]) for g in GRAPHS])
def test_columns_give_equal_bits_on_small_integers(
    columns: Any, dtype: np.dtype, graph: Any, inputs: Any
) -> None:
    for shift in range(-8, 9):
        results = [
            c.call("gradients", graph, *[np.array(x + shift, dtype) for x in inputs])
            for c in columns
        ]
        for values, grads in results[1:]:
            assert values == results[0][0]
            assert grads == results[0][1]
