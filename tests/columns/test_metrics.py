"""Confusion, recall, precision and calibration: counted by hand, and by scikit-learn.

Probabilities in eighths and counts of a power of two are exact, and so are their sums and shares;
a third is rounded once, and must be the nearest number.
"""

import importlib
import warnings
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from triptych.agreement.measures import assert_within
from triptych.names import COLUMNS

# JAX compiles every function for each dtype anew
CASES = [
    pytest.param(c, d, marks=pytest.mark.slow if (c, d) == ("jax_impl", "float32") else ())
    for c in COLUMNS
    for d in ("float32", "float64")
]
each = pytest.mark.parametrize(("column", "dtype"), CASES, indirect=True)

# ten samples of four classes, in eighths; class 2 is never said, class 3 is no sample's
EIGHTHS = [
    ([5, 1, 1, 1], 0), ([5, 1, 2, 0], 0), ([4, 4, 0, 0], 1), ([1, 6, 1, 0], 1), ([1, 6, 1, 0], 2),
    ([8, 0, 0, 0], 0), ([2, 2, 0, 4], 0), ([0, 7, 1, 0], 1), ([1, 3, 1, 3], 2), ([3, 2, 3, 0], 2),
]  # fmt: skip
SAID = [0, 0, 0, 1, 1, 0, 3, 1, 1, 0]
MATRIX = [[3, 0, 0, 1], [1, 2, 0, 0], [1, 2, 0, 0], [0, 0, 0, 0]]


def table(dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    p, t = zip(*EIGHTHS, strict=True)
    return np.array(p, dtype) / 8, np.array(t)


def shares(dtype: Any, *parts: Any) -> np.ndarray:
    return np.array([float(Fraction(part)) for part in parts]).astype(dtype)


def default_integer(column: Any, dtype: np.dtype) -> str:
    return "int32" if column.name == "jax_impl" and dtype == np.float32 else "int64"


def assert_equal(found: Any, expected: Any, dtype: np.dtype) -> None:
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)


@each
def test_counted_by_hand(column: Any, dtype: np.dtype) -> None:
    p, t = table(dtype)
    assert column.call("metrics", "decide", p).tolist() == SAID
    matrix = column.call("metrics", "confusion_matrix", p, t)
    assert matrix.tolist() == MATRIX
    assert matrix.dtype == default_integer(column, dtype)
    found = column.call("metrics", "recall", p, t, zero_division=None)
    assert_equal(found, [*shares(dtype, "3/4", "2/3", 0), np.nan], dtype)
    found = column.call("metrics", "precision", p, t, zero_division=None)
    assert_equal(found, [*shares(dtype, "3/5", "2/4"), np.nan, 0], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = column.call("metrics", "recall", p, t, zero_division=0.5)
        assert_equal(found, shares(dtype, "3/4", "2/3", 0, "1/2"), dtype)
    found = column.call("metrics", "precision", p, t, zero_division=1)
    assert_equal(found, shares(dtype, "3/5", "2/4", 1, 0), dtype)


@each
def test_reliability_counted_by_hand(column: Any, dtype: np.dtype) -> None:
    """The edges 1/4, 1/2, 3/4 go down; nothing is below 1/4."""
    p, t = table(dtype)
    found = column.call("metrics", "reliability", p, t, bins=4)
    assert found.keys() == {"count", "confidence", "accuracy"}
    assert found["count"].tolist() == [0, 4, 4, 2]
    assert found["count"].dtype == default_integer(column, dtype)
    # 4/8, 4/8, 3/8, 3/8 | 5/8, 5/8, 6/8, 6/8 | 8/8, 7/8
    assert_equal(found["confidence"], [np.nan, *shares(dtype, "14/32", "22/32", "15/16")], dtype)
    assert_equal(found["accuracy"], [np.nan, *shares(dtype, 0, "3/4", 1)], dtype)
    error = column.call("metrics", "calibration_error", p, t, bins=4)
    assert error.shape == ()
    # |0 - 14/8| + |3 - 22/8| + |2 - 15/8|, of ten
    # XLA multiplies by 1 / n
    assert_within("error", error, shares(dtype, "17/80")[0], 1, "ulp")
    level = column.call("metrics", "reliability", np.full_like(p, 0.25), t, bins=4)
    assert level["count"].tolist() == [10, 0, 0, 0]
    assert np.isnan(level["accuracy"]).tolist() == [False, True, True, True]


def test_an_edge_belongs_to_the_bin_below(column: Any, dtype: np.dtype) -> None:
    """Tenths, a third: what the literal gives is what the edge is."""
    sizes = (10,) if column.name == "jax_impl" else (1, 2, 3, 7, 10)
    for bins in sizes:
        edges = (np.arange(bins + 1) / bins).astype(dtype)
        above = np.nextafter(edges[:-1], dtype.type(1))
        p = np.concatenate([edges, above])[:, None]  # of one class
        t = np.zeros(len(p), int)
        found = column.call("metrics", "reliability", p, t, bins=bins)
        # each has its upper edge and what is just above the lower one; the first has 0 too
        assert found["count"].tolist() == [3, *[2] * (bins - 1)]
        assert found["accuracy"].tolist() == [1] * bins


def test_one_bin_and_more_bins_than_samples(column: Any) -> None:
    p, t = table("float64")
    with column.precision("float64"):
        one = column.call("metrics", "reliability", p, t, bins=1)
        assert one["count"].tolist() == [10]
        assert one["accuracy"] == 0.5
        assert one["confidence"] == pytest.approx(51 / 80, rel=1e-15)
        if column.name != "jax_impl":  # which would compile it once more
            many = column.call("metrics", "reliability", p, t, bins=64)
            assert many["count"].sum() == 10
            assert np.isnan(many["confidence"]).sum() == 64 - 6


def test_short_labels_of_many_classes(column: Any) -> None:
    """The number of a pair does not fit int8; torch.compile does not see the checks widen it."""
    checked = column.metrics.confusion_matrix
    for function in (checked, checked.__wrapped__):
        with column.precision("float64"):
            given = column.take_in([np.eye(20), np.arange(20, dtype=np.int8)])
            matrix = column.give_out(function(*given))
        np.testing.assert_array_equal(matrix, np.eye(20))


def test_what_is_no_share_is_refused(column: Any) -> None:
    p, t = map(column.take_in, table("float32"))
    functions: dict[str, dict[str, Any]] = {
        "recall": {"zero_division": 0},
        "precision": {"zero_division": 0},
        "reliability": {"bins": 4},
        "calibration_error": {"bins": 4},
        "confusion_matrix": {},
    }
    for name, settings in functions.items():
        function = getattr(column.metrics, name)
        with pytest.raises(ValueError, match=r"p must be numbers in \[0, 1\], got 1.25"):
            function(2 * p, t, **settings)
        if "zero_division" in settings:
            with pytest.raises(ValueError, match=r"zero_division must be a number in \[0, 1\]"):
                function(p, t, zero_division=1.5)
    with pytest.raises(ValueError, match=r"p must be numbers in \[0, 1\], got 1.25"):
        column.metrics.decide(2 * p)


# Beside scikit-learn


@pytest.fixture
def sklearn() -> Any:
    return pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")


def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Of five classes, 3 is never there and 4 never said."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1, 1, 1, 1], 300)
    p[:, 4] = p[:, :4].min(axis=1) / 2
    t = np.array([rng.choice([0, 1, 2, 4], p=q[[0, 1, 2, 4]] / q[[0, 1, 2, 4]].sum()) for q in p])
    return p / p.sum(axis=1, keepdims=True), t


def test_as_scikit_learn_counts(column: Any, sklearn: Any) -> None:
    p, t = drawn()
    said = np.argmax(p, axis=1)
    assert set(t) == {0, 1, 2, 4}
    assert set(said) == {0, 1, 2, 3}
    classes = list(range(5))
    with column.precision("float64"):
        matrix = column.call("metrics", "confusion_matrix", p, t)
        np.testing.assert_array_equal(matrix, sklearn.confusion_matrix(t, said, labels=classes))
        for name in ("recall", "precision"):
            score = getattr(sklearn, f"{name}_score")
            for given, its in ((None, np.nan), (0, 0), (1, 1)):
                found = column.call("metrics", name, p, t, zero_division=given)
                its = score(t, said, labels=classes, average=None, zero_division=its)
                np.testing.assert_array_equal(found, its)
                assert np.isnan(its).any() == (given is None)


def test_scikit_learn_takes_0_for_0_by_0_and_warns(sklearn: Any) -> None:
    from sklearn.exceptions import UndefinedMetricWarning  # type: ignore[import-untyped, unused-ignore]

    with pytest.warns(UndefinedMetricWarning, match="zero_division"):
        found = sklearn.precision_score([0, 1], [0, 0], average=None)
    assert found.tolist() == [0.5, 0]


@pytest.mark.parametrize("bins", [5, pytest.param(12, marks=pytest.mark.slow)])
def test_as_scikit_learn_draws_the_curve(column: Any, sklearn: Any, bins: int) -> None:
    """It leaves empty bins out."""
    curve = importlib.import_module("sklearn.calibration").calibration_curve
    p, t = drawn()
    largest, hits = p.max(axis=1), np.argmax(p, axis=1) == t
    with column.precision("float64"):
        found = column.call("metrics", "reliability", p, t, bins=bins)
        error = column.call("metrics", "calibration_error", p, t, bins=bins)
    there = found["count"] > 0
    assert not there.all()
    right, confidence = curve(hits, largest, n_bins=bins, strategy="uniform")
    eps = np.finfo(float).eps
    assert_within("accuracy", found["accuracy"][there], right, 4 * eps, "absolute")
    assert_within("confidence", found["confidence"][there], confidence, 64 * eps, "absolute")
    weighted = np.sum(found["count"][there] * np.abs(right - confidence)) / len(t)
    assert_within("error", error, np.array(weighted), 64 * eps, "absolute")
    assert weighted > 0.01


# What the docstrings say of the frameworks


def test_numpy_counts_a_pair_once_unless_told_otherwise() -> None:
    once, often = np.zeros(2, int), np.zeros(2, int)
    once[[0, 0, 1]] += 1
    np.add.at(often, [0, 0, 1], 1)
    assert (once.tolist(), often.tolist()) == ([1, 1], [2, 1])


def test_numpy_warns_of_0_by_0() -> None:
    with pytest.warns(RuntimeWarning, match="invalid value"):
        assert np.isnan(np.array([0]) / np.array([0])).all()


def test_pytorch_and_jax_are_silent_about_0_by_0(columns: Any) -> None:
    for column in columns[1:]:
        zero = column.take_in(np.zeros(1, np.float32))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert np.isnan(column.give_out(zero / zero)).all()


def test_pytorch_adds_an_index_as_often_as_it_comes_and_counts_whole_numbers(columns: Any) -> None:
    torch = importlib.import_module("torch")
    index = torch.tensor([0, 0, 1])
    assert torch.zeros(2).index_add(0, index, torch.ones(3)).tolist() == [2, 1]
    with pytest.raises(RuntimeError, match="1-d non-negative integral"):
        torch.bincount(torch.tensor([[0, 1]]))


def test_jax_drops_what_is_out_of_range(columns: Any) -> None:
    jnp = importlib.import_module("jax.numpy")
    assert jnp.zeros(2).at[jnp.array([0, 0, 5])].add(1).tolist() == [2, 0]


def test_xla_multiplies_by_the_inverse_of_a_constant(columns: Any) -> None:
    """That rounds twice; NumPy divides, and rounds once."""
    jax = importlib.import_module("jax")
    tenths = jax.jit(lambda x: x / 10.0)(jax.numpy.arange(1, 10, dtype="float32"))
    whole = np.arange(1, 10, dtype=np.float32)
    np.testing.assert_array_equal(tenths, whole * np.float32(0.1))
    assert (np.asarray(tenths) != whole / np.float32(10)).any()
