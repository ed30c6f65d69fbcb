"""Batch normalisation in both modes: output, buffers, the whole backward pass, both momenta.

The reference is the definition, written once more for complex numbers: a complex step through it is
the derivative, with every digit.
"""

from typing import Any

import numpy as np
import pytest

from triptych.agreement.measures import assert_within
from triptych.names import COLUMNS

N, FEATURES = 8, 3
# JAX compiles every function for each dtype anew
CASES = [
    pytest.param(c, d, marks=pytest.mark.slow if (c, d) == ("jax_impl", "float32") else ())
    for c in COLUMNS
    for d in ("float32", "float64")
]
each = pytest.mark.parametrize(("column", "dtype"), CASES, indirect=True)
modes = pytest.mark.parametrize("training", [True, False])
Named = dict[str, Any]
# In machine epsilons, for numbers of order 1: four times the worst of 100 seeds in any column.
BOUND = 90


def drawn(dtype: Any, seed: int = 0) -> tuple[Named, Named, np.ndarray, np.ndarray]:
    """Parameters, buffers, rows of unlike scale and a cotangent."""
    rng = np.random.default_rng(seed)
    params = {name: rng.normal(size=FEATURES).astype(dtype) for name in ("weight", "bias")}
    buffers = {
        "running_mean": rng.normal(size=FEATURES).astype(dtype),
        "running_var": rng.uniform(0.5, 2, FEATURES).astype(dtype),
        "num_batches_tracked": np.array(seed),
    }
    x = rng.normal(size=(N, FEATURES)) * [0.5, 1, 2] + [0, 1, -2]
    return params, buffers, x.astype(dtype), rng.normal(size=(N, FEATURES)).astype(dtype)


def wide(values: Named) -> Named:
    return {name: np.asarray(value).astype(float) for name, value in values.items()}


def output(p: Named, b: Named, x: np.ndarray, training: bool, eps: float = 1e-5) -> np.ndarray:
    """The definition."""
    mean = sum(x) / len(x) if training else b["running_mean"]
    var = sum((x - mean) ** 2) / len(x) if training else b["running_var"]
    y: np.ndarray = p["weight"] * ((x - mean) * (var + eps) ** -0.5) + p["bias"]
    return y


def assert_near(
    name: str, found: Any, expected: Any, dtype: np.dtype, bound: float = BOUND
) -> None:
    assert found.dtype == dtype
    limit = bound * float(np.finfo(dtype).eps)
    assert_within(name, found, np.asarray(expected).astype(dtype), limit, "absolute")


@each
@modes
def test_output_and_buffers(column: Any, dtype: np.dtype, training: bool) -> None:
    """In training the output divides by n, the running variance by n - 1."""
    for seed in range(3):
        params, buffers, x, _ = drawn(dtype, seed)
        y, after = column.call(
            "normalization", "batch_norm", params, buffers, x, training=training, momentum=0.3
        )
        p, b, rows = wide(params), wide(buffers), x.astype(float)
        assert_near("y", y, output(p, b, rows, training), dtype)
        assert after.keys() == buffers.keys()
        assert after["num_batches_tracked"] == seed + training
        assert after["num_batches_tracked"].dtype.kind == "i"
        mean, var = np.mean(rows, axis=0), np.var(rows, axis=0, ddof=1)
        for name, new in (("running_mean", mean), ("running_var", var)):
            if training:
                assert_near(name, after[name], 0.7 * b[name] + 0.3 * new, dtype)
            else:
                np.testing.assert_array_equal(after[name], buffers[name])


@each
@modes
def test_the_whole_backward_pass(column: Any, dtype: np.dtype, training: bool) -> None:
    """Beside a complex step along each input, weight and bias."""
    for seed in range(3):
        params, buffers, x, d_y = drawn(dtype, seed)
        d_x, grads = column.call(
            "normalization", "pull_back", params, buffers, x, d_y, training=training
        )
        given = wide(params) | {"x": x.astype(float)}
        assert grads.keys() == params.keys()
        for name, found in (grads | {"x": d_x}).items():
            expected = np.empty(given[name].shape)
            for at in np.ndindex(expected.shape):
                moved = given | {name: given[name].astype(complex)}
                moved[name][at] += 1e-30j
                y = output(moved, wide(buffers), moved["x"], training)
                expected[at] = (d_y.astype(float) * y).sum().imag / 1e-30
            assert_near(name, found, expected, dtype)


def test_what_normalising_takes_away_has_no_gradient(column: Any) -> None:
    """A shift of a column and, but for eps, its scale: dL/dx is orthogonal to 1 and to x."""
    with column.precision("float64"):
        params, buffers, x, d_y = drawn("float64")
        d_x, _ = column.call("normalization", "pull_back", params, buffers, x, d_y, training=True)
        assert np.abs(d_x).max() > 0.1
        np.testing.assert_allclose(d_x.sum(axis=0), 0, atol=1e-14)
        np.testing.assert_allclose((d_x * x).sum(axis=0), 0, atol=1e-3)
        tiny = {"training": True, "eps": 1e-30}
        d_x, _ = column.call("normalization", "pull_back", params, buffers, x, d_y, **tiny)
        np.testing.assert_allclose((d_x * x).sum(axis=0), 0, atol=1e-13)


@modes
def test_eps_counts(column: Any, training: bool) -> None:
    with column.precision("float64"):
        params, buffers, x, d_y = drawn("float64")
        settings = {"training": training, "eps": 0.5}
        y, _ = column.call("normalization", "batch_norm", params, buffers, x, **settings)
        assert_near("y", y, output(params, buffers, x, training, 0.5), np.dtype("float64"))
        d_x, _ = column.call("normalization", "pull_back", params, buffers, x, d_y, **settings)
        step = 1e-30j * np.arange(N * FEATURES).reshape(N, FEATURES)
        along = (d_y * output(params, buffers, x + step, training, 0.5)).sum().imag
        assert (d_x * step.imag).sum() * 1e30 == pytest.approx(along * 1e30, rel=1e-12)


def test_in_training_a_row_depends_on_its_batch(column: Any) -> None:
    with column.precision("float64"):
        params, buffers, x, _ = drawn("float64")
        other = x.copy()
        other[1:] *= 2
        for training in (True, False):
            first, second = (
                column.call("normalization", "batch_norm", params, buffers, rows, training=training)
                for rows in (x, other)
            )
            assert np.array_equal(first[0][0], second[0][0]) != training


def test_a_constant_column_becomes_the_bias(column: Any) -> None:
    """Its variance is 0: eps keeps the quotient finite."""
    with column.precision("float64"):
        params, buffers, x, d_y = drawn("float64")
        x[:, 1] = 0.3
        y, _ = column.call("normalization", "batch_norm", params, buffers, x, training=True)
        np.testing.assert_allclose(y[:, 1], params["bias"][1], atol=1e-12)
        d_x, _ = column.call("normalization", "pull_back", params, buffers, x, d_y, training=True)
        assert np.isfinite(d_x).all()


@each
def test_start(column: Any, dtype: np.dtype) -> None:
    params, *_ = drawn(dtype)
    found = column.call("normalization", "start", params)
    assert list(found) == ["running_mean", "running_var", "num_batches_tracked"]
    for name, value in (("running_mean", 0), ("running_var", 1)):
        assert found[name].dtype == dtype
        np.testing.assert_array_equal(found[name], np.full(FEATURES, value))
    assert found["num_batches_tracked"].shape == ()
    assert found["num_batches_tracked"] == 0
    narrow = column.name == "jax_impl" and dtype == np.float32  # JAX without x64
    assert found["num_batches_tracked"].dtype == ("int32" if narrow else "int64")


ROWS = np.array([[0, 1], [4, 5], [3, 7], [6, 6], [2, 1]])  # two rows are enough


@each
def test_the_buffers_are_handed_on(column: Any, dtype: np.dtype) -> None:
    _, buffers, x, _ = drawn(dtype, 4)
    found = column.call("normalization", "track", buffers, x, ROWS, momentum=0.3)
    expected = wide(buffers)
    for rows in ROWS:
        batch = x[rows].astype(float)
        for name, new in (
            ("running_mean", batch.mean(axis=0)),
            ("running_var", batch.var(axis=0, ddof=1)),
        ):
            expected[name] = 0.7 * expected[name] + 0.3 * new
    assert found.keys() == buffers.keys()
    assert found["num_batches_tracked"] == 4 + len(ROWS)
    for name in ("running_mean", "running_var"):
        assert_near(name, found[name], expected[name], dtype)


def test_the_momenta_are_opposite(column: Any) -> None:
    with column.precision("float64"):
        old, new = np.array([1.0, 2, 4]), np.array([3.0, 2, -4])
        for function, weight in (("running_average", 0.25), ("running_average_flax", 0.75)):
            found = column.call("normalization", function, old, new, momentum=0.25)
            np.testing.assert_array_equal(found, (1 - weight) * old + weight * new)


def test_one_row_has_no_variance(column: Any) -> None:
    with column.precision("float64"):
        params, buffers, x, d_y = (column.take_in(value) for value in drawn("float64"))
        module = column.normalization
        with pytest.raises(ValueError, match="batch_norm: x must have two rows in training, got 1"):
            module.batch_norm(params, buffers, x[:1], training=True)
        with pytest.raises(ValueError, match="pull_back: x must have two rows in training, got 1"):
            module.pull_back(params, buffers, x[:1], d_y[:1], training=True)
        with pytest.raises(ValueError, match=r"track: batches must have two rows .* got 1"):
            module.track(buffers, x, column.take_in(ROWS[:, :1]))
        if column.name != "jax_impl":  # which would compile this shape as well
            y, _ = module.batch_norm(params, buffers, x[:1], training=False)
            assert y.shape == (1, FEATURES)


# What the docstrings say of the frameworks


@pytest.fixture
def torch(columns: Any) -> Any:
    import torch

    return torch


def test_the_state_dict_of_pytorch_has_buffers(torch: Any) -> None:
    norm = torch.nn.BatchNorm1d(FEATURES)
    buffers = ["running_mean", "running_var", "num_batches_tracked"]
    assert list(norm.state_dict()) == ["weight", "bias", *buffers]
    assert [name for name, _ in norm.named_parameters()] == ["weight", "bias"]
    assert [name for name, _ in norm.named_buffers()] == buffers
    assert norm.momentum == 0.1
    assert norm.eps == 1e-5


def test_the_module_of_pytorch_does_the_same(columns: Any, torch: Any) -> None:
    """`train()` and `eval()` set the mode; a call changes the buffers in place."""
    column = columns[1]
    params, buffers, x, d_y = drawn("float64")
    norm = torch.nn.BatchNorm1d(FEATURES).double()
    norm.load_state_dict(column.take_in(params | buffers))
    for mode in (norm.train, norm.eval):
        mode()
        held = norm.running_mean
        before = column.give_out(dict(norm.named_buffers()))
        rows = torch.from_numpy(x).requires_grad_()
        found = norm(rows)
        found.backward(torch.from_numpy(d_y))
        settings = {"training": norm.training}
        y, after = column.call("normalization", "batch_norm", params, before, x, **settings)
        d_x, grads = column.call("normalization", "pull_back", params, before, x, d_y, **settings)
        np.testing.assert_array_equal(found.detach(), y)
        np.testing.assert_array_equal(rows.grad, d_x)
        np.testing.assert_array_equal(norm.weight.grad, grads["weight"])
        np.testing.assert_array_equal(norm.bias.grad, grads["bias"])
        norm.zero_grad()
        assert norm.running_mean is held
        for name, value in norm.named_buffers():
            np.testing.assert_array_equal(value, after[name])
        assert np.array_equal(before["running_mean"], held) != norm.training


def test_functional_batch_norm_changes_what_it_is_given(torch: Any) -> None:
    x, mean, var = torch.randn(4, 2), torch.zeros(2), torch.ones(2)
    torch.nn.functional.batch_norm(x, mean, var, training=True)
    assert mean.abs().min() > 0
    torch.testing.assert_close(var, 0.9 + 0.1 * x.var(0))


def test_pytorch_refuses_one_row_and_counts_it(torch: Any) -> None:
    norm = torch.nn.BatchNorm1d(2)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        norm(torch.ones(1, 2))
    assert norm.num_batches_tracked == 1


@pytest.mark.slow
def test_flax_has_the_opposite_momentum_and_the_other_variance(columns: Any) -> None:
    """It divides by n in the running variance too; one row becomes the bias."""
    linen = pytest.importorskip("flax.linen")
    import jax

    params, buffers, x, _ = drawn("float64")
    assert linen.BatchNorm().momentum == 0.99
    layer = linen.BatchNorm(momentum=0.7, use_running_average=False)
    variables = {
        "params": {"scale": params["weight"], "bias": params["bias"]},
        "batch_stats": {"mean": buffers["running_mean"], "var": buffers["running_var"]},
    }
    column = columns[2]
    with jax.enable_x64(True):
        y, state = column.give_out(layer.apply(variables, x, mutable=["batch_stats"]))
        averages = {
            name: column.call(
                "normalization",
                "running_average_flax",
                buffers[f"running_{name}"],
                new,
                momentum=0.7,
            )
            for name, new in (("mean", x.mean(axis=0)), ("var", x.var(axis=0)))
        }
        one = layer.apply(variables, x[:1], mutable=["batch_stats"])[0]
    assert_near("y", y, output(params, buffers, x, True), np.dtype("float64"))
    for name, value in averages.items():
        assert_near(name, state["batch_stats"][name], value, np.dtype("float64"))
    np.testing.assert_allclose(one[0], params["bias"])
