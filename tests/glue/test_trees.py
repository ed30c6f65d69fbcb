"""Nested values are walked in one way, whatever they are made of."""

import copy
from typing import Any, NamedTuple

import numpy as np
import pytest

from triptych import trees
from triptych.column import Column
from triptych.names import COLUMNS, UnknownNameError, column_of


class Pair(NamedTuple):
    left: Any
    right: Any


NESTED: dict[str, Any] = {"a": [1, (2, Pair(3, {"b": 4}))], "c": 5}


def test_leaves_in_order_under_their_names() -> None:
    assert list(trees.leaves(NESTED)) == [
        ("a 0", 1), ("a 1 0", 2), ("a 1 1 left", 3), ("a 1 1 right b", 4), ("c", 5)
    ]  # fmt: skip
    assert list(trees.leaves(7)) == [("", 7)]


def test_mapped_keeps_every_type() -> None:
    found = trees.mapped(lambda x: 10 * x, NESTED)
    assert found == {"a": [10, (20, Pair(30, {"b": 40}))], "c": 50}
    assert type(found["a"][1][1]) is Pair
    assert NESTED["c"] == 5


@pytest.mark.parametrize("value", [{}, [], (), {"a": []}])
def test_empty(value: object) -> None:
    assert trees.mapped(lambda x: 1 / 0, value) == value
    assert list(trees.leaves(value)) == []


def test_a_column_takes_and_gives_every_container(column: Column) -> None:
    value = {"p": Pair(np.ones(2, np.float32), [np.zeros(1, np.float32)]), "n": None}
    found = column.give_out(column.take_in(value))
    assert type(found["p"]) is Pair
    np.testing.assert_array_equal(found["p"].left, [1, 1])
    assert isinstance(found["p"].right[0], np.ndarray)
    assert found["n"] is None


def test_a_column_behaves(column: Column) -> None:
    assert hasattr(column, "gradients")
    assert not hasattr(column, "gradient")
    assert copy.copy(column).name == column.name
    with pytest.raises(AttributeError, match="has no concept and no function 'gradient'"):
        _ = column.gradient


def test_numpy_computes_on_the_cpu() -> None:
    assert Column("numpy_ref", "cuda").device == "cpu"


def test_a_column_by_its_framework() -> None:
    assert [column_of(name) for name in ("numpy", "torch", "jax", *COLUMNS)] == [*COLUMNS, *COLUMNS]
    with pytest.raises(UnknownNameError, match=r"no column 'jax_imp'; did you mean jax_impl"):
        column_of("jax_imp")
    with pytest.raises(UnknownNameError, match=r"no column 'Z'\. There are"):
        column_of("Z")
