"""The data: what the documents say, the study as published, and draws that do not depend on dtype.

Expected numbers come from the documents, from scikit-learn or from NumPy's own least squares,
never from `triptych.data` itself.
"""

import importlib
import math
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from typing import Any

import numpy as np
import pytest

from triptych import data


def arrays_of(result: Any) -> list[np.ndarray]:
    """Every array in nested tuples and dicts, in order."""
    if isinstance(result, np.ndarray):
        return [result]
    parts = result.values() if isinstance(result, dict) else result
    return [array for part in parts for array in arrays_of(part)]


WITH_DTYPE: dict[str, Callable[..., Any]] = {
    "line": data.line,
    "doubled_line": data.doubled_line,
    "noisy_line": data.noisy_line,
    "layer": data.layer,
    "xor": data.xor,
    "absolute": data.absolute,
    "classifier_start": data.classifier_start,
    "diabetes": data.diabetes,
    "bmi_line": data.bmi_line,
    "line_starts": lambda dtype="float64": data.line_starts(5, dtype=dtype),
}
EVERY: dict[str, Callable[[], Any]] = WITH_DTYPE | {
    "batches": lambda: data.batches(10, 3, 2),
    "dropout_mask": lambda: data.dropout_mask((5, 8), 0.5),
}
SEEDED: dict[str, Callable[[int], Any]] = {
    "noisy_line": lambda seed: data.noisy_line(seed=seed),
    "line_starts": lambda seed: data.line_starts(5, seed),
    "classifier_start": data.classifier_start,
    "diabetes": data.diabetes,
    "batches": lambda seed: data.batches(10, 3, 2, seed),
    "dropout_mask": lambda seed: data.dropout_mask((5, 8), 0.5, seed),
}


@pytest.fixture(scope="module")
def study(request: pytest.FixtureRequest) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """scikit-learn's copy: its ten features by name, and the progression."""
    if not request.config.getoption("--require-all"):
        pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    bunch = importlib.import_module("sklearn.datasets").load_diabetes(scaled=False)
    return dict(zip(bunch.feature_names, bunch.data.T, strict=True)), bunch.target


# The rules that hold for every function


@pytest.mark.parametrize("name", EVERY)
def test_every_call_returns_fresh_arrays(name: str) -> None:
    before = arrays_of(EVERY[name]())
    kept = [array.copy() for array in before]
    for array in before:
        array[...] = ~array if array.dtype == bool else array + 1
    after = arrays_of(EVERY[name]())
    for old, new in zip(kept, after, strict=True):
        np.testing.assert_array_equal(new, old)
    for i, array in enumerate(after):
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert array.base is None or array.base.size == array.size
        others = [*before, *after[:i], *after[i + 1 :]]
        assert not any(np.shares_memory(array, other) for other in others)


@pytest.mark.parametrize("name", WITH_DTYPE)
def test_float32_is_float64_rounded(name: str) -> None:
    exact = arrays_of(WITH_DTYPE[name]())
    rounded = arrays_of(WITH_DTYPE[name](dtype="float32"))
    floats = 0
    for wide, narrow in zip(exact, rounded, strict=True):
        if wide.dtype == np.int64:  # classes
            assert narrow.dtype == np.int64
            np.testing.assert_array_equal(narrow, wide)
        else:
            floats += 1
            assert wide.dtype == np.float64
            assert narrow.dtype == np.float32
            np.testing.assert_array_equal(narrow, wide.astype(np.float32))
    assert floats


@pytest.mark.parametrize("name", SEEDED)
def test_the_seed_decides(name: str) -> None:
    first, again, other = (arrays_of(SEEDED[name](seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("name", SEEDED)
def test_the_default_seed_is_0(name: str) -> None:
    for default, zero in zip(arrays_of(EVERY[name]()), arrays_of(SEEDED[name](0)), strict=True):
        np.testing.assert_array_equal(default, zero)


def test_needs_numpy_only() -> None:
    heavy = "{'torch', 'jax', 'sklearn', 'scipy', 'jaxtyping'}"
    code = f"import sys, triptych.data; triptych.data.diabetes(); print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# The documents' points


def test_line_is_the_documents() -> None:
    params, x, t = data.line()
    assert {name: (p.shape, float(p)) for name, p in params.items()} == {
        "w": ((), 0.0),
        "b": ((), 0.0),
    }
    assert x.tolist() == [[1], [2], [3]]
    assert t.tolist() == [[3], [5], [7]]


def test_xor_and_absolute_are_what_they_are_called() -> None:
    params, x, t = data.xor()
    assert {(int(a), int(b), int(c)) for (a, b), (c,) in zip(x, t, strict=True)} == {
        (a, b, a ^ b) for a in (0, 1) for b in (0, 1)
    }
    assert [p.shape for p in params.values()] == [(8, 2), (8,), (4, 8), (4,), (1, 4), (1,)]
    params, x, t = data.absolute()
    assert params["fc1.weight"].shape == (8, 1)
    assert x.shape == t.shape == (21, 1)
    np.testing.assert_array_equal(np.sort(x[:, 0]), x[:, 0])
    np.testing.assert_array_equal(-x[::-1], x)
    assert x[-1] == 1
    np.testing.assert_array_equal(t, np.maximum(x, -x))


def test_doubled_line_is_the_documents() -> None:
    params, x, t = data.doubled_line()
    assert {name: (p.shape, float(p)) for name, p in params.items()} == {
        "w": ((), 0.0),
        "b": ((), 0.0),
    }
    assert x.tolist() == [[1], [2], [3]]
    assert t.tolist() == [[2], [4], [6]]


def test_layer_is_the_documents() -> None:
    params, x, t = data.layer()
    assert list(params) == ["weight", "bias"]
    assert params["weight"].tolist() == [[0.4, 0.5, 0.6]]
    assert params["bias"].tolist() == [0.1]
    assert x.tolist() == [0.1, 0.2, 0.3]
    assert t.tolist() == [1.0]


def test_line_starts_are_spread_as_pytorchs_are() -> None:
    nn = pytest.importorskip("torch").nn
    layers = [nn.Linear(1, 1) for _ in range(2000)]
    theirs = {
        "w": np.array([layer.weight.item() for layer in layers]),
        "b": np.array([layer.bias.item() for layer in layers]),
    }
    ours = data.line_starts(2000)
    places = np.linspace(-1, 1, 41)
    for name, drawn in ours.items():
        shares = [np.mean(x[:, None] <= places, axis=0) for x in (drawn, theirs[name])]
        for share in shares:  # uniform: Kolmogorov's distance, 1e-6 of such draws are beyond it
            assert np.max(np.abs(share - (places + 1) / 2)) < 2.7 / np.sqrt(2000)
    assert abs(np.corrcoef(ours["w"], ours["b"])[0, 1]) < 0.1


@pytest.mark.parametrize("seed", range(5))
def test_noisy_line_lies_around_twice_x(seed: int) -> None:
    params, x, t = data.noisy_line(400, seed)
    assert {name: float(p) for name, p in params.items()} == {"w": 0.0, "b": 0.0}
    assert x.shape == t.shape == (400, 1)
    assert x.min() < -0.9
    assert x.max() > 0.9
    # least squares in closed form; its standard errors are 0.009 and 0.005
    slope, intercept = np.polyfit(x[:, 0], t[:, 0], 1)
    assert slope == pytest.approx(2, abs=0.04)
    assert intercept == pytest.approx(0, abs=0.02)
    assert np.std(t - 2 * x) == pytest.approx(0.1, rel=0.2)


# Starting parameters


def test_classifier_start_has_pytorchs_names_layout_and_order() -> None:
    params = data.classifier_start()
    assert {name: value.shape for name, value in params.items()} == {
        "fc1.weight": (16, 4),
        "fc1.bias": (16,),
        "fc2.weight": (8, 16),
        "fc2.bias": (8,),
        "output.weight": (3, 8),
        "output.bias": (3,),
    }
    assert list(params) == [
        f"{layer}.{kind}" for layer in ("fc1", "fc2", "output") for kind in ("weight", "bias")
    ]
    assert sum(value.size for value in params.values()) == 243


def test_classifier_start_fills_pytorchs_range() -> None:
    inputs = {"fc1": 64, "fc2": 100, "output": 400}
    params = data.classifier_start(3, (64, 100, 400, 1000))
    for name, value in params.items():
        bound = inputs[name.partition(".")[0]] ** -0.5
        assert np.abs(value).max() <= bound
        assert value.min() < -0.9 * bound
        assert value.max() > 0.9 * bound
        # uniform in +-bound: mean 0, standard deviation bound / sqrt(3)
        assert abs(value.mean()) < 0.2 * bound
        assert value.std() == pytest.approx(bound / 3**0.5, rel=0.15)


def test_every_draw_comes_from_one_stream_in_the_order_of_the_names() -> None:
    """Published digests rest on it: what a seed gives stays what it gives, on every machine."""
    rng = np.random.default_rng(2)
    params = data.classifier_start(2, (2, 3, 5, 4))
    assert [name.partition(".")[0] for name in params][::2] == ["fc1", "fc2", "output"]
    for i, (name, value) in enumerate(params.items()):
        bound = 1 / math.sqrt((2, 3, 5)[i // 2])
        drawn = rng.uniform(-bound, bound, value.shape)
        np.testing.assert_array_equal(value, drawn, err_msg=name)
    rng = np.random.default_rng(5)
    rows = [rng.permutation(7)[:6].reshape(2, 3) for _ in range(3)]
    np.testing.assert_array_equal(data.batches(7, 3, 3, seed=5), np.concatenate(rows))
    mask = np.random.default_rng(1).random((20, 30)) >= 0.3
    np.testing.assert_array_equal(data.dropout_mask((20, 30), 0.3, 1), mask)
    rng = np.random.default_rng(4)
    x = rng.uniform(-1, 1, (9, 1))
    _, found, t = data.noisy_line(9, 4)
    np.testing.assert_array_equal(found, x)
    np.testing.assert_array_equal(t, 2 * x + rng.normal(0, 0.1, (9, 1)))


def test_no_epoch_of_a_seed_is_one_of_another() -> None:
    """As it would be if each epoch began with a seed of its own."""
    epochs = [tuple(e) for s in range(3) for e in data.batches(9, 9, 3, seed=s).tolist()]
    assert len(set(epochs)) == 9


# Batches


@pytest.mark.parametrize(("n", "batch"), [(12, 4), (10, 3), (7, 7), (5, 1), (9, 5)])
def test_batches_are_permutations(n: int, batch: int) -> None:
    epochs = 4
    steps = n // batch
    rows = data.batches(n, batch, epochs)
    assert rows.dtype == np.int64
    assert rows.shape == (epochs * steps, batch)
    by_epoch = rows.reshape(epochs, steps * batch)
    for epoch in by_epoch:
        assert len(set(epoch.tolist())) == steps * batch
        assert set(epoch.tolist()) <= set(range(n))
    assert len({tuple(epoch) for epoch in by_epoch.tolist()}) > 1


def test_batches_leave_out_other_rows_each_epoch() -> None:
    by_epoch = data.batches(10, 3, 40).reshape(40, 9)
    left_out = {(set(range(10)) - set(epoch)).pop() for epoch in by_epoch.tolist()}
    assert len(left_out) > 5


# The diabetes study


def test_csv_equals_scikit_learns_copy(study: tuple[dict[str, np.ndarray], np.ndarray]) -> None:
    features, progression = study
    text = resources.files("triptych").joinpath("diabetes.csv").read_text(encoding="utf-8")
    comments = [row for row in text.splitlines() if row.startswith("#")]
    header, *rows = [row for row in text.splitlines() if not row.startswith("#")]
    assert "Efron, Hastie, Johnstone and Tibshirani (2004)" in " ".join(comments)
    assert header == "age,bmi,bp,s6,progression"
    expected = [*(features[name] for name in ("age", "bmi", "bp", "s6")), progression]
    values = np.array([[float(cell) for cell in row.split(",")] for row in rows])
    np.testing.assert_array_equal(values, np.stack(expected, axis=1))


def test_diabetes_is_the_study_split_in_two(
    study: tuple[dict[str, np.ndarray], np.ndarray],
) -> None:
    features, progression = study
    (x, t), (held_x, held_t) = data.diabetes()
    assert (x.shape, t.shape, held_x.shape, held_t.shape) == ((342, 4), (342,), (100, 4), (100,))
    assert t.dtype == held_t.dtype == np.int64
    assert data.FEATURES == ("age", "bmi", "glucose", "blood pressure")
    assert data.CLASSES == ("low", "middle", "high")

    # Undo the standardisation with nothing but the study, then look every patient up in it.
    raw = np.stack([features[name] for name in ("age", "bmi", "s6", "bp")], axis=1)
    order = np.random.default_rng(0).permutation(442)
    mean, deviation = raw[order[:342]].mean(axis=0), raw[order[:342]].std(axis=0)
    both = np.concatenate([x, held_x]) * deviation + mean
    np.testing.assert_allclose(both, raw[order], rtol=0, atol=1e-12)
    classes = (progression >= 100).astype(int) + (progression >= 184)
    np.testing.assert_array_equal(np.concatenate([t, held_t]), classes[order])


def test_classes_are_terciles() -> None:
    (_, t), (_, held_t) = data.diabetes()
    assert np.bincount(np.concatenate([t, held_t])).tolist() == [147, 147, 148]


@pytest.mark.parametrize("seed", range(3))
def test_standardised_by_the_training_rows_only(seed: int) -> None:
    (x, _), (held_x, _) = data.diabetes(seed)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-13)
    np.testing.assert_allclose(x.std(axis=0), 1, rtol=1e-13)
    assert np.abs(held_x.mean(axis=0)).max() > 1e-3
    assert np.abs(held_x.std(axis=0) - 1).max() > 1e-3


def test_bmi_line_in_closed_form(study: tuple[dict[str, np.ndarray], np.ndarray]) -> None:
    features, progression = study
    x, t = data.bmi_line()
    np.testing.assert_array_equal(x, features["bmi"].reshape(442, 1))
    np.testing.assert_array_equal(t, progression.reshape(442, 1))
    covariance = ((x - x.mean()) * (t - t.mean())).mean()
    slope = covariance / x.var()
    assert f"{slope:.4f}" == "10.2331"
    assert f"{t.mean() - slope * x.mean():.3f}" == "-117.773"
    assert f"{covariance**2 / (x.var() * t.var()):.3f}" == "0.344"


# Dropout


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 0.9])
def test_dropout_mask_keeps_the_rest(rate: float) -> None:
    mask = data.dropout_mask((200, 100), rate, 7)
    assert mask.dtype == np.bool_
    assert mask.shape == (200, 100)
    assert mask.mean() == pytest.approx(1 - rate, abs=0.02)
    assert mask.all() == (rate == 0)


# Bad input


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: data.batches(0, 1, 1), ValueError, "batches: n must be .* at least 1, got 0"),
        (lambda: data.batches(4, 0, 1), ValueError, "batches: batch must be .* at least 1, got 0"),
        (lambda: data.batches(4, 2, 0), ValueError, "batches: epochs must be .*, got 0"),
        (lambda: data.batches(4, 5, 1), ValueError, "batch must be at most n = 4, got 5"),
        (lambda: data.batches(4, 2, 1, -1), ValueError, "seed must be .* at least 0, got -1"),
        (lambda: data.batches(4.0, 2, 1), TypeError, "n must be a whole number .*, got float"),  # type: ignore[arg-type]
        (lambda: data.batches(4, "2", 1), TypeError, "batch must be a whole number .*, got str"),  # type: ignore[arg-type]
        (lambda: data.batches(4, 2, True), TypeError, "epochs must be .*, got bool"),
        (lambda: data.batches(4, 2, 1, None), TypeError, "seed must be .*, got None"),  # type: ignore[arg-type]
        (lambda: data.line_starts(0), ValueError, "line_starts: n must be .* at least 1, got 0"),
        (lambda: data.line_starts(2.5), TypeError, "line_starts: n must be .*, got float"),  # type: ignore[arg-type]
        (lambda: data.line_starts(5, -1), ValueError, "line_starts: seed must be"),
        (lambda: data.noisy_line(1), ValueError, "noisy_line: n must be .* at least 2, got 1"),
        (lambda: data.noisy_line(2.5), TypeError, "noisy_line: n must be .*, got float"),  # type: ignore[arg-type]
        (lambda: data.noisy_line(seed=-1), ValueError, "noisy_line: seed must be"),
        (lambda: data.diabetes(-1), ValueError, "diabetes: seed must be .*, got -1"),
        (lambda: data.classifier_start(0.0), TypeError, "classifier_start: seed must be"),  # type: ignore[arg-type]
        (lambda: data.classifier_start(0, (4, 16, 3)), ValueError, "four .*got \\(4, 16, 3\\)"),
        (lambda: data.classifier_start(0, (4, 16, 0, 3)), ValueError, "sizes\\[2\\] must be"),
        (lambda: data.classifier_start(0, (4, 16.0, 8, 3)), TypeError, "sizes\\[1\\] must be"),  # type: ignore[arg-type]
        (lambda: data.classifier_start(0, 4), TypeError, "sizes must be a tuple .*, got int"),  # type: ignore[arg-type]
        (lambda: data.dropout_mask((2, 0), 0.5), ValueError, "shape\\[1\\] must be .*, got 0"),
        (lambda: data.dropout_mask("23", 0.5), TypeError, "shape must be .*, got str"),  # type: ignore[arg-type]
        (lambda: data.dropout_mask((2,), 1.0), ValueError, "rate must be .*, got 1.0"),
        (lambda: data.dropout_mask((2,), -0.1), ValueError, "rate must be .*, got -0.1"),
        (lambda: data.dropout_mask((2,), float("nan")), ValueError, "rate must be .*, got nan"),
        (lambda: data.dropout_mask((2,), "0.5"), TypeError, "rate must be .*, got str"),  # type: ignore[arg-type]
        (lambda: data.dropout_mask((2,), 0.5, -3), ValueError, "dropout_mask: seed must be"),
    ],
)
def test_bad_input(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("name", WITH_DTYPE)
def test_bad_dtype(name: str) -> None:
    with pytest.raises(ValueError, match="dtype must be 'float64' or 'float32', got 'float16'"):
        WITH_DTYPE[name](dtype="float16")
    with pytest.raises(TypeError, match="dtype must be 'float64' or 'float32', got"):
        WITH_DTYPE[name](dtype=np.float32)


def test_numpy_integers_are_whole_numbers() -> None:
    n, batch, epochs = np.int64(10), np.int32(3), np.uint8(2)
    rows = data.batches(n, batch, epochs)  # type: ignore[arg-type]
    np.testing.assert_array_equal(rows, data.batches(10, 3, 2))
