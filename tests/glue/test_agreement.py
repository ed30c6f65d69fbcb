"""The measures: what they count, and that they raise where there is nothing to count."""

from typing import Any

import numpy as np
import pytest

from triptych.agreement.measures import DisagreementError, assert_within, distance

FLOATS = [np.float32, np.float64]


@pytest.mark.parametrize("dtype", FLOATS)
def test_ulp_counts_the_floats_between(dtype: type) -> None:
    one = dtype(1)
    up = np.nextafter(one, dtype(2))
    tiny = np.nextafter(dtype(0), one)
    largest = np.finfo(dtype).max
    for a, b, expected in (
        (one, one, 0), (up, one, 1), (-up, -one, 1), (tiny, -tiny, 2), (dtype(0), -dtype(0), 0),
        (dtype(np.inf), largest, 1), (dtype(2), one, 1 / np.finfo(dtype).eps),
        (dtype(np.inf), dtype(np.inf), 0),
    ):  # fmt: skip
        assert distance("x", np.array(a), np.array(b), "ulp").value == expected


@pytest.mark.parametrize("dtype", FLOATS)
def test_eps_is_normwise(dtype: Any) -> None:
    eps = np.finfo(dtype).eps
    b = np.array([4, 1e-9], dtype)
    a = b + np.array([0, 4 * eps], dtype)
    found = distance("x", a, b, "eps")
    assert found.where == (1,)
    assert 0.99 < found.value < 1.01
    # an infinity that both have does not hide the others
    both = np.array([np.inf, 4, 0], dtype)
    assert distance("x", both + np.array([0, 0, 4 * eps], dtype), both, "eps").value == 1
    # against zeros there is no norm
    assert distance("x", a, np.zeros(2, dtype), "eps").value == np.inf
    assert distance("x", np.array([np.inf, 1], dtype), b, "eps").value == np.inf


def test_absolute_and_integers() -> None:
    # float64 is measured in float64
    assert distance("x", np.array([1 + 2.0**-50]), np.array([1.0]), "absolute").value == 2.0**-50
    assert distance("x", np.array([1.0, 5.0]), np.array([1.0, 2.0]), "absolute") == (3, (1,))
    assert distance("x", np.array([2**63 - 1]), np.array([-1]), "ulp").value == 2.0**63
    assert distance("x", np.array([True]), np.array([False]), "eps").value == 1


@pytest.mark.parametrize("unit", ["ulp", "eps", "absolute"])
def test_what_cannot_be_compared_raises(unit: str) -> None:
    one = np.ones(2)
    for a, b, words in (
        (one, np.ones((2, 1)), r"shape \(2,\) is not \(2, 1\)"),
        (one, one.astype(np.float32), "dtype float64 is not float32"),
        (np.array([1, np.nan]), one, r"NaN at \(1,\)"),
        (np.array([np.nan, 1]), np.array([np.nan, 1]), r"NaN at \(0,\)"),
        (one, np.array([1, np.nan]), r"NaN at \(1,\)"),
        (one[:0], one[:0], "nothing to compare"),
    ):
        with pytest.raises(DisagreementError, match=f"loss: .*{words}"):
            distance("loss", a, b, unit)  # type: ignore[arg-type]


def test_assert_within_says_where() -> None:
    a, b = np.array([[1.0, 2.0], [3.0, 4.5]]), np.array([[1.0, 2.0], [3.0, 4.0]])
    assert assert_within("w", a, b, 0.5, "absolute") == 0.5
    with pytest.raises(DisagreementError, match=r"w: 0.5 absolute apart.*at \(1, 1\).*4.5.*4.0"):
        assert_within("w", a, b, 0.4, "absolute")
    with pytest.raises(DisagreementError, match="allowed nan"):
        assert_within("w", a, a, float("nan"), "absolute")
