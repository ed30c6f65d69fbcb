"""Activation functions and their slopes, and what a network can learn with one and without.

The slopes are held against mpmath, the network against fractions: with whole numbers everything is
exact, and since the loss is a parabola along each parameter, so is a central difference.
"""

import itertools
from fractions import Fraction
from functools import cache
from typing import Any

import mpmath  # type: ignore[import-untyped]
import numpy as np
import pytest

from triptych import data
from triptych.agreement.measures import assert_within
from triptych.column import Column
from triptych.names import COLUMNS

# JAX compiles every function for each dtype anew
CASES = [
    pytest.param(c, d, marks=pytest.mark.slow if (c, d) == ("jax_impl", "float32") else ())
    for c in COLUMNS
    for d in ("float32", "float64")
]
each = pytest.mark.parametrize(("column", "dtype"), CASES, indirect=True)
# what is exact in float64 is in float32 as well, so that the second is a slow one
DOUBLES = [
    pytest.param(c, d, marks=pytest.mark.slow if d == "float32" else ())
    for c in COLUMNS
    for d in ("float32", "float64")
]
doubles = pytest.mark.parametrize(("column", "dtype"), DOUBLES, indirect=True)
Params = dict[str, np.ndarray]

NAMES = ("relu", "sigmoid", "tanh", "softplus", "gelu")
X = np.concatenate([np.linspace(-8, 8, 129), [-1000, -30, -21, 17.5, 21, 30, 37.5, 1000]])
# In machine epsilons of the larger of 1 and the value: twice the worst of 1000 points.
BOUND = 15

MP = mpmath.MPContext()
MP.dps = 40


@cache
def exact(name: str, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """The value and the slope at X, from their definitions."""
    one = MP.mpf(1)
    formulas = {
        "relu": lambda x: (max(x, 0 * one), one * (x > 0)),
        "sigmoid": lambda x: (1 / (1 + MP.exp(-x)), MP.exp(-x) / (1 + MP.exp(-x)) ** 2),
        "tanh": lambda x: (MP.tanh(x), MP.sech(x) ** 2),
        "softplus": lambda x: (MP.log1p(MP.exp(x)), 1 / (1 + MP.exp(-x))),
        "gelu": lambda x: (x * MP.ncdf(x), MP.ncdf(x) + x * MP.npdf(x)),
    }
    found = [formulas[name](MP.mpf(float(x))) for x in X.astype(dtype)]
    value, slope = np.array(found, dtype=object).T
    return value, slope


@each
@pytest.mark.parametrize("name", NAMES)
def test_values_and_slopes_against_exact_ones(column: Any, dtype: np.dtype, name: str) -> None:
    found = column.call("activations", name, X.astype(dtype))
    for what, value, reference in zip(("y", "dy/dx"), found, exact(name, str(dtype)), strict=True):
        assert value.dtype == dtype
        scale = np.maximum(np.abs(reference).astype(float), 1)
        apart = np.abs(value.astype(float) - reference).astype(float) / scale
        limit = BOUND * float(np.finfo(dtype).eps)
        assert apart.max() <= limit, f"{what} at {X[apart.argmax()]}: {apart.max():.2g}"


@each
def test_at_0(column: Any, dtype: np.dtype) -> None:
    """The slope of relu at 0, where any from 0 to 1 would do, is 0 in all three."""
    half, quarter = dtype.type(0.5), dtype.type(0.25)
    for name, value, slope in (
        ("relu", 0, 0),
        ("sigmoid", half, quarter),
        ("tanh", 0, 1),
        ("softplus", np.log(dtype.type(2)), half),
        ("gelu", 0, half),
    ):
        x = np.zeros_like(X, dtype)
        x[::2] = -0.0
        y, d_x = column.call("activations", name, x)
        assert_within(name, y, np.full_like(x, value), 1 if name == "softplus" else 0, "ulp")
        np.testing.assert_array_equal(d_x, np.full_like(x, slope))


@each
def test_far_out_nothing_overflows_and_slopes_are_0_or_1(column: Any, dtype: np.dtype) -> None:
    x = np.full_like(X, 1000, dtype)
    x[1::2] = np.finfo(dtype).max / 4  # PyTorch's gelu doubles x on its way
    zero, one = np.zeros_like(x), np.ones_like(x)
    right = {
        "relu": (x, one),
        "sigmoid": (one, zero),
        "tanh": (one, zero),
        "softplus": (x, one),
        "gelu": (x, one),
    }
    left = dict.fromkeys(right, (zero, zero)) | {"tanh": (-one, zero)}
    with np.errstate(all="raise", under="ignore"):
        for name in NAMES:
            for found, wanted in (
                (column.call("activations", name, x), right[name]),
                (column.call("activations", name, -x), left[name]),
            ):
                np.testing.assert_array_equal(found, wanted, name)


@each
def test_where_the_slopes_become_0(column: Any, dtype: np.dtype) -> None:
    """As the docstrings say; on the left, sigmoid's lasts as long as exp."""
    single = dtype == np.float32
    beyond, before = (17, 16) if single else (37, 36)
    x = np.full_like(X, beyond, dtype)
    x[1], x[2], x[3] = before, -80 if single else -700, -1000
    _, d_x = column.call("activations", "sigmoid", x)
    assert (d_x == 0).tolist() == [i not in (1, 2) for i in range(len(x))]
    beyond, before = (10, 7) if single else (20, 18)
    x = np.full_like(X, beyond, dtype)
    x[1], x[2], x[3] = before, -before, -beyond
    _, d_x = column.call("activations", "tanh", x)
    assert (d_x == 0).tolist() == [i not in (1, 2) for i in range(len(x))]


def test_without_care_exp_overflows() -> None:
    with np.errstate(all="raise"), pytest.raises(FloatingPointError, match="overflow"):
        1 / (1 + np.exp(-np.float64(-1000)))


def test_any_shape(column: Any) -> None:
    with column.precision("float32"):
        for part in column.call("activations", "gelu", np.float32(1)):
            assert part.shape == ()


# The network, in whole numbers

ROWS, FEATURES, HIDDEN1, HIDDEN2, OUTPUTS = 8, 3, 5, 4, 2
SHAPES = {
    "fc1.weight": (HIDDEN1, FEATURES),
    "fc1.bias": (HIDDEN1,),
    "fc2.weight": (HIDDEN2, HIDDEN1),
    "fc2.bias": (HIDDEN2,),
    "output.weight": (OUTPUTS, HIDDEN2),
    "output.bias": (OUTPUTS,),
}
SQUARE = {name: (ROWS,) * len(shape) for name, shape in SHAPES.items()}
"""As many units in each layer as rows: a product the wrong way round has the right shape here."""


def whole(
    dtype: Any, shapes: dict[str, tuple[int, ...]] = SHAPES
) -> tuple[Params, np.ndarray, np.ndarray]:
    """Small whole numbers; no number that goes into a ReLU is 0."""
    rng = np.random.default_rng(3)
    params = {name: rng.integers(-3, 4, shape).astype(dtype) for name, shape in shapes.items()}
    # even weights and odd biases
    params["fc1.weight"] *= 2
    params["fc1.bias"] += 1 - params["fc1.bias"] % 2
    x = rng.integers(-3, 4, (ROWS, shapes["fc1.weight"][1])).astype(dtype)
    return params, x, rng.integers(-3, 4, (ROWS, shapes["output.weight"][0])).astype(dtype)


def fractions(x: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.vectorize(lambda v: Fraction(float(v)), otypes=[object])(x)
    return found


def output(p: Params, x: np.ndarray, nonlinear: bool) -> np.ndarray:
    """The network once more, row by row."""
    rows = []
    for row in x:
        h = p["fc1.weight"].dot(row) + p["fc1.bias"]
        if nonlinear:
            h = np.array([max(v, 0) for v in h])
        rows.append(p["output.weight"].dot(p["fc2.weight"].dot(h) + p["fc2.bias"]))
    return np.array(rows) + p["output.bias"]


def mean_square(p: Params, x: np.ndarray, t: np.ndarray, nonlinear: bool) -> Fraction:
    errors = ((output(p, x, nonlinear) - t) ** 2).ravel()
    return Fraction(errors.sum()) / len(errors)


@doubles
@pytest.mark.parametrize("nonlinear", [True, False])
def test_the_network_and_its_gradients_are_exact(
    column: Any, dtype: np.dtype, nonlinear: bool
) -> None:
    params, x, t = whole(dtype)
    inputs = x @ params["fc1.weight"].T + params["fc1.bias"]
    assert (inputs > 0).any(axis=0).all()
    assert (inputs < 0).any(axis=0).all()
    p, rows, targets = {k: fractions(v) for k, v in params.items()}, fractions(x), fractions(t)
    y = column.call("activations", "network", params, x, nonlinear=nonlinear)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, output(p, rows, nonlinear).astype(float))
    value, grads = column.call("activations", "loss_and_grads", params, x, t, nonlinear=nonlinear)
    assert value.dtype == dtype
    assert value == mean_square(p, rows, targets, nonlinear)
    assert grads.keys() == params.keys()
    step = Fraction(1, 100)  # too small to take a whole number across 0
    for name, g in grads.items():
        assert g.dtype == dtype
        assert g.shape == params[name].shape
        for at in np.ndindex(g.shape):
            losses = []
            for sign in (1, -1):
                moved = p | {name: p[name].copy()}
                moved[name][at] += sign * step
                losses.append(mean_square(moved, rows, targets, nonlinear))
            assert g[at] == (losses[0] - losses[1]) / (2 * step), (name, at)


def test_square_layers(column: Any) -> None:
    with column.precision("float64"):
        params, x, t = whole("float64", SQUARE)
        p, rows = {k: fractions(v) for k, v in params.items()}, fractions(x)
        y = column.call("activations", "network", params, x, nonlinear=True)
        np.testing.assert_array_equal(y, output(p, rows, True).astype(float))
        _, grads = column.call("activations", "loss_and_grads", params, x, t, nonlinear=True)
        for name, g in grads.items():
            at, step = (1, 2)[: g.ndim], Fraction(1, 100)
            moved = p | {name: p[name].copy()}
            moved[name][at] += step
            after = mean_square(moved, rows, fractions(t), True)
            moved[name][at] -= 2 * step
            back = mean_square(moved, rows, fractions(t), True)
            assert g[at] == (after - back) / (2 * step), name


def test_a_unit_at_0_gets_no_gradient(column: Any) -> None:
    """Its slope is 0 there, as relu's is."""
    with column.precision("float64"):
        params, x, t = whole("float64")
        params["fc1.bias"][:] = 0
        x[:] = 0
        _, grads = column.call("activations", "loss_and_grads", params, x, t, nonlinear=True)
        assert not grads["fc1.bias"].any()
        _, grads = column.call("activations", "loss_and_grads", params, x, t, nonlinear=False)
        assert grads["fc1.bias"].any()


@each
def test_three_linear_layers_are_one_affine_map(column: Any, dtype: np.dtype) -> None:
    """In whole numbers exactly; else as far as rounding goes.

    With inner dimensions f, h, k every term of an output passes at most f + h + k + 3 roundings,
    however its sums are ordered: a product and the sums of each matrix, and a bias each. One layer
    made of three has as many. So each is within gamma(f + h + k + 3) of the sum of the sizes of
    its terms (N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.5).
    """
    params, x, _ = whole(dtype)
    layer = column.call("activations", "collapse", params)
    assert {name: p.shape for name, p in layer.items()} == {
        "weight": (OUTPUTS, FEATURES),
        "bias": (OUTPUTS,),
    }
    deep = column.call("activations", "network", params, x, nonlinear=False)
    np.testing.assert_array_equal(x @ layer["weight"].T + layer["bias"], deep)
    rng = np.random.default_rng(0)
    params = {name: rng.normal(size=shape).astype(dtype) for name, shape in SHAPES.items()}
    x = rng.normal(size=(ROWS, FEATURES)).astype(dtype)
    layer = column.call("activations", "collapse", params)
    deep = column.call("activations", "network", params, x, nonlinear=False)
    flat = column.call("linear_layer", "linear", x, layer["weight"], layer["bias"])
    sizes = output({name: np.abs(p) for name, p in params.items()}, np.abs(x), False)
    u = float(np.finfo(dtype).eps) / 2
    roundings = FEATURES + HIDDEN1 + HIDDEN2 + 3
    gamma = roundings * u / (1 - roundings * u)
    apart = np.abs(deep.astype(float) - flat)
    assert (apart <= 1.01 * 2 * gamma * sizes).all()
    assert apart.max() > 0
    bent = column.call("activations", "network", params, x, nonlinear=True)
    assert np.abs(bent - flat).max() > 0.1


# What can be learned

GRID = np.array([*itertools.product(np.linspace(-0.5, 1.5, 20), repeat=2)])
SETTINGS = {"learning_rate": 0.1, "steps": 400}


@cache
def learned(name: str, task: str, dtype: str, nonlinear: bool) -> tuple[Params, np.ndarray]:
    """The parameters after training, and the losses."""
    params, x, t = getattr(data, task)(dtype=dtype)
    settings = SETTINGS | {"nonlinear": nonlinear}
    found: tuple[Params, np.ndarray] = Column(name).call(
        "activations", "fit", params, x, t, **settings
    )
    return found


# JAX compiles the loop for half a second each time
SHORT = [
    pytest.param(c, d, marks=() if d == "float64" and c != "jax_impl" else pytest.mark.slow)
    for c in COLUMNS
    for d in ("float32", "float64")
]
DTYPES = [pytest.param("float32", marks=pytest.mark.slow), "float64"]
dtypes = pytest.mark.parametrize("dtype", DTYPES, indirect=True)


@dtypes
def test_with_a_relu_xor_is_learned_and_every_column_decides_alike(
    columns: Any, dtype: np.dtype
) -> None:
    """The decisions on a grid around the four points are equal, and none is a close one."""
    _, x, _ = data.xor(dtype=str(dtype))
    grid = GRID.astype(dtype)
    decisions, outputs = [], []
    for column in columns:
        params, losses = learned(column.name, "xor", str(dtype), True)
        assert losses.shape == (400,)
        assert losses.dtype == dtype
        assert losses[-1] < 1e-9
        assert (output(params, x, True)[:, 0] > 0.5).tolist() == [False, True, True, False]
        decisions.append(column.call("activations", "decide", params, grid, nonlinear=True))
        outputs.append(output(params, grid, True))
    for found, values in zip(decisions, outputs, strict=True):
        assert found.dtype == bool
        np.testing.assert_array_equal(found, values > 0.5)
        np.testing.assert_array_equal(found, decisions[0])
    assert 50 < decisions[0].sum() < 350
    nearest = np.abs(outputs[0] - 0.5).min()
    apart = max(np.abs(values - outputs[0]).max() for values in outputs)
    assert 0 < apart < nearest / 2


@dtypes
def test_without_it_xor_cannot_be_learned(columns: Any, dtype: np.dtype) -> None:
    """An affine map gives opposite corners the same sum, so a loss below 1/4 is out of reach."""
    _, x, _ = data.xor(dtype=str(dtype))
    for column in columns:
        params, losses = learned(column.name, "xor", str(dtype), False)
        rounding = 100 * float(np.finfo(dtype).eps)
        assert losses.min() > 0.25 - rounding
        assert losses[-1] < 0.25 + rounding
        y = output(params, x, False)
        np.testing.assert_allclose(y, 0.5, atol=0.01)
        np.testing.assert_allclose(y[0] + y[3], y[1] + y[2], rtol=rounding)


@pytest.mark.parametrize(("column", "dtype"), SHORT, indirect=True)
def test_the_absolute_value_needs_a_relu_too(column: Any, dtype: np.dtype) -> None:
    """The best affine map is the mean: its loss is the variance of |x|."""
    _, x, t = data.absolute(dtype=str(dtype))
    least = np.var(t.astype(float))
    slope = np.cov(x[:, 0], t[:, 0])[0, 1] / np.var(x)
    assert abs(slope) < 1e-8
    rounding = 100 * float(np.finfo(dtype).eps)
    params, losses = learned(column.name, "absolute", str(dtype), True)
    assert losses[-1] < 2e-3
    np.testing.assert_allclose(output(params, x, True), t, atol=0.15)
    params, losses = learned(column.name, "absolute", str(dtype), False)
    assert least - rounding < losses.min() <= losses[-1] < least + rounding
    np.testing.assert_allclose(output(params, x, False), np.mean(t), atol=0.01)


def test_each_step_goes_down_the_gradient(column: Any) -> None:
    """The first losses of a long run, and the parameters after a short one."""
    numpy = Column("numpy_ref")
    with column.precision("float64"):
        start, x, t = data.xor()
        found, losses = learned(column.name, "xor", "float64", True)
        params = start
        for loss in losses[:3]:
            value, grads = numpy.call("activations", "loss_and_grads", params, x, t, nonlinear=True)
            assert_within("loss", loss, value, 8, "ulp")
            params = {name: p - 0.1 * grads[name] for name, p in params.items()}
        reference, _ = learned("numpy_ref", "xor", "float64", True)
        for name, p in reference.items():
            assert_within(name, found[name], p, 1e-9, "absolute")
        value, _ = numpy.call("activations", "loss_and_grads", found, x, t, nonlinear=True)
        assert value < losses[-1]
        if column.name != "jax_impl":  # which would compile another loop
            settings = {"nonlinear": True, "learning_rate": 0.1}
            once, _ = column.call("activations", "fit", start, x, t, **settings, steps=1)
            _, grads = column.call("activations", "loss_and_grads", start, x, t, nonlinear=True)
            for name, p in start.items():
                np.testing.assert_array_equal(once[name], p - 0.1 * grads[name])


def test_tracked_parameters_are_trained_as_well(columns: Any) -> None:
    """In PyTorch: from leaves of its own, so that the graph of what is given stays as it is."""
    column = columns[1]
    start, x, t = map(column.take_in, data.xor())
    tracked = {name: p.requires_grad_() for name, p in start.items()}
    settings = {"nonlinear": True, "learning_rate": 0.1, "steps": 2}
    _, losses = column.activations.fit(tracked, x, t, **settings)
    assert losses.tolist() == learned(column.name, "xor", "float64", True)[1][:2].tolist()
    assert all(p.grad is None for p in tracked.values())


def test_one_half_is_not_above_one_half(column: Any) -> None:
    with column.precision("float64"):
        params, _, _ = data.xor()
        params = {name: 0 * p for name, p in params.items()} | {"output.bias": np.array([0.5])}
        assert not column.call("activations", "decide", params, GRID, nonlinear=True).any()


# What the docstrings say of the frameworks


def test_numpy_has_no_error_function() -> None:
    assert not hasattr(np, "erf")
    assert not hasattr(np, "erfc")


def test_pytorch_wants_a_cotangent_for_a_vector(columns: Any) -> None:
    import torch

    x = torch.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="only for scalar outputs"):
        torch.sigmoid(x).backward()


def test_softplus_of_pytorch_is_x_above_its_threshold(columns: Any) -> None:
    import torch
    from torch.nn import functional

    x = torch.tensor([19.9, 20.1, 30.0]).double()
    apart = (functional.softplus(x) - x).tolist()
    assert apart[0] > 2e-9
    assert apart[1:] == [0, 0]
    exact = torch.log1p(torch.exp(-x))  # the same difference, without cancellation
    assert exact[1] > 1e-9
    y, _ = columns[1].call("activations", "softplus", x.numpy())
    np.testing.assert_allclose(y - x.numpy(), exact, atol=4e-15)
    # in float32 nothing is lost: 20 is far beyond where log(1 + exp(-x)) is half a unit of x
    single = torch.linspace(20.0, 40, 100)
    assert torch.equal(torch.logaddexp(single, torch.zeros(100)), single)


def test_softplus_of_jax_is_a_logaddexp(columns: Any) -> None:
    import jax

    assert "logaddexp" in str(jax.make_jaxpr(jax.nn.softplus)(1.0))


def test_gelu_far_to_the_left(columns: Any) -> None:
    """1 + erf has no digits there; erfc keeps them."""
    import jax

    x = np.full_like(X, -7.5)
    x[-1] = -9
    right = np.array([float(v * MP.ncdf(v)) for v in x.tolist()])
    found = {}
    with jax.enable_x64(True):
        for column in columns:
            found[column.name], _ = column.call("activations", "gelu", x)
    np.testing.assert_allclose(found["numpy_ref"], right, rtol=1e-13)
    np.testing.assert_allclose(found["jax_impl"], right, rtol=1e-13)
    assert abs(found["torch_impl"][0] / right[0] - 1) > 1e-4
    assert found["torch_impl"][-1] == 0


@pytest.mark.slow
def test_gelu_of_jax_is_an_approximation_unless_told_otherwise(columns: Any) -> None:
    import jax

    assert abs(float(jax.nn.gelu(1.0)) - float(MP.ncdf(1))) > 1e-4
    assert abs(float(jax.nn.gelu(1.0, approximate=False)) - float(MP.ncdf(1))) < 1e-6
