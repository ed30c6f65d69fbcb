"""Jacobians, Hessians, per-example gradients, one's own derivatives, and the checks of a gradient.

With logits that are all 0 the four probabilities are 1/4: everything is a small integer over a
power of two, and must come out exactly. Elsewhere the reference is a complex step through formulas
that are written here once more, as plainly as they can be.
"""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from triptych.agreement.measures import assert_within
from triptych.column import precision
from triptych.names import COLUMNS

N, FEATURES, CLASSES = 8, 5, 4
# JAX compiles every function for each dtype anew, for two seconds in all
CASES = [
    pytest.param(c, d, marks=pytest.mark.slow if (c, d) == ("jax_impl", "float32") else ())
    for c in COLUMNS
    for d in ("float32", "float64")
]
each = pytest.mark.parametrize(("column", "dtype"), CASES, indirect=True)
Params = dict[str, np.ndarray]
# In machine epsilons, for terms of order 1: four times the worst of 100 seeds in any column.
BOUND = 40


def drawn(
    dtype: Any, seed: int = 0, features: int = FEATURES, n: int = N
) -> tuple[Params, np.ndarray, np.ndarray, Params]:
    """Parameters, rows, labels and a direction."""
    rng = np.random.default_rng(seed)
    shapes = {"weight": (CLASSES, features), "bias": (CLASSES,)}
    params, direction = (
        {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}
        for _ in range(2)
    )
    x, t = rng.normal(size=(n, features)).astype(dtype), rng.integers(0, CLASSES, n)
    return params, x, t, direction


def level(dtype: Any) -> tuple[Params, np.ndarray, np.ndarray, Params]:
    """Small integers for which every logit of every row is 0, and so every P 1/4."""
    rng = np.random.default_rng(1)
    weight = rng.integers(-3, 4, (CLASSES, FEATURES))
    weight[:, 4] = -weight[:, 3]
    x = np.tile(rng.integers(1, 4, FEATURES), (N, 1))
    x[:, 3:] += np.arange(N)[:, None]  # what the two columns make of it cancels
    params = {"weight": weight, "bias": -weight @ x[0]}
    assert not (x @ weight.T + params["bias"]).any()
    direction = {name: rng.integers(-3, 4, p.shape) for name, p in params.items()}
    t = np.array([0, 1, 2, 3, 3, 1, 0, 0])
    return (
        {name: p.astype(dtype) for name, p in params.items()},
        x.astype(dtype),
        t,
        {name: p.astype(dtype) for name, p in direction.items()},
    )


def assert_equal(found: Any, expected: Any, dtype: np.dtype) -> None:
    assert found.dtype == dtype
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


@each
def test_exact_where_every_probability_is_a_quarter(column: Any, dtype: np.dtype) -> None:
    params, x, t, v = level(dtype)
    residual = 0.25 - np.eye(CLASSES)[t]
    assert_equal(
        column.call("transformations", "probabilities", params, x[0]), np.full(4, 0.25), dtype
    )
    grads = column.call("transformations", "per_example_grads", params, x, t)
    assert grads.keys() == params.keys()
    outer = np.array([np.outer(r, row) for r, row in zip(residual, x, strict=True)])
    assert_equal(grads["weight"], outer, dtype)
    assert_equal(grads["bias"], residual, dtype)
    jacobian = (params["weight"] - params["weight"].mean(axis=0)) / 4
    for mode in ("rows", "columns"):
        assert_equal(
            column.call("transformations", f"jacobian_by_{mode}", params, x[0]), jacobian, dtype
        )
    product = column.call("transformations", "hessian_vector_product", params, x, t, v)
    assert product.keys() == params.keys()
    z_dot = x @ v["weight"].T + v["bias"]
    residual_dot = (z_dot - z_dot.mean(axis=1, keepdims=True)) / 4
    assert_equal(product["weight"], residual_dot.T @ x / N, dtype)
    assert_equal(product["bias"], residual_dot.mean(axis=0), dtype)
    value, d_logits = column.call("transformations", "own_derivative", 0 * x[:, :4], t)
    assert_within("loss", value, np.array(np.log(4), dtype), 4, "ulp")
    assert_equal(d_logits, residual / N, dtype)


# The formulas once more, for complex numbers


def log_sum_exp(z: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.log(np.exp(z).sum(axis=-1))
    return found


def softmax(z: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)
    return found


def logits(params: Params, x: np.ndarray) -> np.ndarray:
    return x @ params["weight"].T + params["bias"]


def row_losses(params: Params, x: np.ndarray, t: np.ndarray) -> np.ndarray:
    z = logits(params, x)
    return log_sum_exp(z) - z[np.arange(len(t)), t]


def gradient(params: Params, x: np.ndarray, t: np.ndarray) -> Params:
    d_z = (softmax(logits(params, x)) - np.eye(CLASSES)[t]) / len(t)
    return {"weight": d_z.T @ x, "bias": d_z.sum(axis=0)}


def slopes(f: Callable[[Params], np.ndarray], params: Params) -> Params:
    """df / dp for each entry p, which comes behind the axes of f."""
    found = {}
    for name, p in params.items():
        units = np.eye(p.size).reshape(-1, *p.shape)
        along = [f(params | {name: p + 1e-30j * unit}).imag / 1e-30 for unit in units]
        found[name] = np.moveaxis(np.array(along), 0, -1).reshape(*along[0].shape, *p.shape)
    return found


def assert_near(found: Any, expected: Any, dtype: np.dtype, bound: float = BOUND) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert_near(found[name], value, dtype, bound)
    else:
        limit = bound * float(np.finfo(dtype).eps)
        assert_within("", found, np.asarray(expected).astype(dtype), limit, "absolute")


@each
@pytest.mark.parametrize("seed", range(3))
def test_against_complex_steps(column: Any, dtype: np.dtype, seed: int) -> None:
    given = drawn(dtype, seed)
    params, x, t, v = drawn("float64", seed)
    params, v = ({k: a.astype(dtype).astype(float) for k, a in g.items()} for g in (params, v))
    x = x.astype(dtype).astype(float)

    def call(function: str, *args: Any, **kwargs: Any) -> Any:
        return column.call("transformations", function, *args, **kwargs)

    mean = gradient(params, x, t)
    assert_near(call("loss", *given[:3]), row_losses(params, x, t).mean(), dtype)
    of_one = given[0], given[1][2]
    assert_near(call("probabilities", *of_one), softmax(logits(params, x[2])), dtype)
    rows = call("per_example_grads", *given[:3])
    assert_near(rows, slopes(lambda p: row_losses(p, x, t), params), dtype)
    assert_near({name: g.mean(axis=0) for name, g in rows.items()}, mean, dtype)
    jacobian = slopes(lambda p: softmax(logits(params, p["x"])), {"x": x[2]})["x"]
    assert_near(call("jacobian_by_rows", *of_one), jacobian, dtype)
    assert_near(call("jacobian_by_columns", *of_one), jacobian, dtype)
    moved = {name: p + 1e-30j * v[name] for name, p in params.items()}
    curved = {name: g.imag / 1e-30 for name, g in gradient(moved, x, t).items()}
    assert_near(call("hessian_vector_product", *given), curved, dtype)
    z = x[:, :4]
    value, d_logits = call("own_derivative", given[1][:, :4].copy(), t)
    assert_near(value, np.mean(log_sum_exp(z) - z[np.arange(N), t]), dtype)
    assert_near(d_logits, (softmax(z) - np.eye(CLASSES)[t]) / N, dtype)
    assert_near(call("complex_step", *given[:3], step=1e-20), mean, dtype)
    # each loss is right to some eps, which the quotient divides by the step
    step = float(np.cbrt(np.finfo(dtype).eps))
    assert_near(call("central_differences", *given[:3], step=step), mean, dtype, 20 / step)


def test_as_many_rows_and_features_as_classes(column: Any) -> None:
    """Nothing but its values tells a transpose."""
    params, x, t, v = given = drawn("float64", 7, CLASSES, CLASSES)

    wide = np.dtype("float64")

    def call(function: str, *args: Any) -> Any:
        with precision("float64"):
            return column.call("transformations", function, *args)

    rows = call("per_example_grads", *given[:3])
    assert_near(rows, slopes(lambda p: row_losses(p, x, t), params), wide)
    assert_near(call("loss", *given[:3]), row_losses(params, x, t).mean(), wide)
    moved = {name: p + 1e-30j * v[name] for name, p in params.items()}
    curved = {name: g.imag / 1e-30 for name, g in gradient(moved, x, t).items()}
    assert_near(call("hessian_vector_product", *given), curved, wide)
    jacobian = slopes(lambda p: softmax(logits(params, p["x"])), {"x": x[2]})["x"]
    for way in ("rows", "columns"):
        assert_near(call(f"jacobian_by_{way}", params, x[2]), jacobian, wide)


def test_labels_of_32_bits_are_labels_too(column: Any) -> None:
    """`one_hot` of PyTorch would refuse them."""
    with column.precision("float64"):
        params, x, t, _ = drawn("float64")
        z = x[:, :4].copy()
        for function, given in (
            ("loss", lambda t: (params, x, t)),
            ("own_derivative", lambda t: (z, t)),
        ):
            wide, narrow = (
                column.call("transformations", function, *given(labels))
                for labels in (t, t.astype(np.int32))
            )
            np.testing.assert_equal(narrow, wide)


def test_the_curvature_does_not_depend_on_the_labels(column: Any) -> None:
    with column.precision("float64"):
        params, x, t, v = drawn("float64")
        found = [
            column.call("transformations", "hessian_vector_product", params, x, labels, v)
            for labels in (t, (t + 1) % CLASSES)
        ]
    assert all(np.abs(g).max() > 0.01 for g in found[0].values())
    assert_near(found[0], found[1], np.dtype("float64"), 4)


@pytest.mark.parametrize("x", [2, -3, 0.5])
def test_second_derivative(column: Any, dtype: np.dtype, x: float) -> None:
    found = column.call("transformations", "second_derivative", np.array(x, dtype))
    expected = {"y": x**3, "dy/dx": 3 * x**2, "d2y/dx2": 6 * x}
    assert found == expected
    assert all(value.dtype == dtype and value.shape == () for value in found.values())


def test_the_error_of_central_differences_is_of_second_order(column: Any) -> None:
    with column.precision("float64"):
        params, x, t, _ = drawn("float64")
        right = gradient(params, x, t)
        errors = []
        for step in (2.0**-5, 2.0**-6, 2.0**-7):
            found = column.call("transformations", "central_differences", params, x, t, step=step)
            errors.append(np.abs(found["weight"] - right["weight"]).max())
    assert errors[0] < 2.0**-10
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.01)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.01)


def test_the_step_of_the_complex_step_may_be_any(column: Any) -> None:
    with column.precision("float64"):
        params, x, t, _ = drawn("float64")
        for step in (1e-9, 1e-100):
            found = column.call("transformations", "complex_step", params, x, t, step=step)
            assert_near(found, gradient(params, x, t), np.dtype("float64"))


def test_large_logits_do_not_overflow(column: Any) -> None:
    """The largest logit is taken off in each row; a probability that is 0 stays 0."""
    with column.precision("float64"):
        params, x, t, _ = level("float64")
        z = np.tile([1000.0, 0, -1000, 0], (N, 1))
        value, d_logits = column.call("transformations", "own_derivative", z, t)
        picked = np.mean(1000 - z[np.arange(N), t])
        assert value == picked
        np.testing.assert_array_equal(d_logits, (np.eye(4)[[0] * N] - np.eye(4)[t]) / N)
        far = params | {"bias": params["bias"] + z[0]}
        assert column.call("transformations", "loss", far, x, t) == picked
        grads = column.call("transformations", "per_example_grads", far, x, t)
        np.testing.assert_array_equal(grads["bias"], np.eye(4)[[0] * N] - np.eye(4)[t])
        probabilities = column.call("transformations", "probabilities", far, x[0])
        np.testing.assert_array_equal(probabilities, [1, 0, 0, 0])


# What the docstrings say of the frameworks


@pytest.fixture
def torch(columns: Any) -> Any:
    return importlib.import_module("torch")


def test_pytorch_takes_no_complex_logits_for_a_cross_entropy(torch: Any) -> None:
    z, t = torch.zeros(2, 3, dtype=torch.complex64), torch.tensor([0, 1])
    with pytest.raises(RuntimeError, match="not implemented for 'Complex"):
        torch.nn.functional.cross_entropy(z, t)


def test_pytorch_promotes_nothing_in_a_matrix_product(torch: Any) -> None:
    with pytest.raises(RuntimeError, match="same dtype"):
        torch.ones(2, 2) @ torch.ones(2, 2, dtype=torch.complex64)


def test_pytorch_needs_create_graph_for_a_second_derivative(torch: Any) -> None:
    x = torch.tensor(2.0, requires_grad=True)
    (d_x,) = torch.autograd.grad(x**3, x)
    with pytest.raises(RuntimeError, match="does not require grad"):
        torch.autograd.grad(d_x, x)


def test_pytorch_has_the_product_with_the_hessian_by_two_backward_passes_too(
    columns: Any, torch: Any
) -> None:
    column = columns[1]
    params, x, t, v = drawn("float64")
    leaves = {name: p.requires_grad_() for name, p in column.take_in(params).items()}
    value = column.transformations.loss.__wrapped__(leaves, column.take_in(x), column.take_in(t))
    grads = torch.autograd.grad(value, list(leaves.values()), create_graph=True)
    along = sum(
        (g * torch.from_numpy(v[name])).sum() for name, g in zip(leaves, grads, strict=True)
    )
    twice = torch.autograd.grad(along, list(leaves.values()))
    product = column.call("transformations", "hessian_vector_product", params, x, t, v)
    for name, found in zip(leaves, twice, strict=True):
        assert_near(found.numpy(), product[name], np.dtype("float64"))


def test_backward_of_a_batch_has_only_the_sum(columns: Any, torch: Any) -> None:
    column = columns[1]
    params, x, t, _ = drawn("float64")
    here = {name: p.requires_grad_() for name, p in column.take_in(params).items()}
    rows = torch.nn.functional.cross_entropy(
        column.take_in(x) @ here["weight"].T + here["bias"], column.take_in(t), reduction="none"
    )
    rows.sum().backward()
    grads = column.call("transformations", "per_example_grads", params, x, t)
    for name, p in here.items():
        assert_near(p.grad.numpy(), grads[name].sum(axis=0), np.dtype("float64"))


def test_the_rule_of_pytorch_is_its_own_and_has_a_derivative(columns: Any, torch: Any) -> None:
    transformations = columns[1].transformations
    z, t = torch.tensor([[0.1, -0.4, 2.0]]).double().requires_grad_(), torch.tensor([1])
    assert "CrossEntropyBackward" in transformations._cross_entropy(z, t).grad_fn.name()
    assert torch.autograd.gradcheck(lambda z: transformations._cross_entropy(z, t), (z,))
    assert torch.autograd.gradgradcheck(lambda z: transformations._cross_entropy(z, t), (z,))

    class Wrong(transformations._CrossEntropy):  # type: ignore[misc, name-defined, unused-ignore]
        @staticmethod
        def backward(ctx: Any, d_value: Any) -> Any:
            d_logits, none = transformations._CrossEntropy.backward(ctx, d_value)
            return 1.1 * d_logits, none

    wrong: Any = Wrong.apply
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        torch.autograd.gradcheck(lambda z: wrong(z, t), (z,))


def test_what_pytorch_saves_of_its_own_is_a_constant(columns: Any, torch: Any) -> None:
    """Beside the same rule on saved inputs: half the second derivative is missing, silently."""
    transformations = columns[1].transformations

    class Saved(transformations._CrossEntropy):  # type: ignore[misc, name-defined, unused-ignore]
        @staticmethod
        def forward(ctx: Any, logits: Any, t: Any) -> Any:
            ctx.save_for_backward(torch.softmax(logits, dim=1), t)
            return transformations._CrossEntropy.forward(logits, t)

        setup_context = torch.autograd.Function.setup_context

        @staticmethod
        def backward(ctx: Any, d_value: Any) -> Any:
            p, t = ctx.saved_tensors
            return d_value * (p - torch.nn.functional.one_hot(t, 3)) / len(t), None

    x, t = torch.tensor(0.5, requires_grad=True), torch.tensor([0])
    row = torch.tensor([[1.0, 2.0, -1.0]])

    def second(rule: Any) -> Any:
        (d_x,) = torch.autograd.grad(rule(row * x**2, t), x, create_graph=True)
        return torch.autograd.grad(d_x, x)[0].item()

    saved: Any = Saved.apply
    right = second(torch.nn.functional.cross_entropy)
    assert second(transformations._cross_entropy) == pytest.approx(right, rel=1e-5)
    assert abs(second(saved) - right) > 0.5


def test_the_rule_of_jax_is_its_own_and_has_a_derivative_but_no_forward_mode(columns: Any) -> None:
    import jax
    import jax.numpy as jnp

    rule = columns[2].transformations._cross_entropy
    z, t = jnp.array([[0.1, -0.4, 2.0]]), jnp.array([1])
    assert "custom_vjp_call" in str(jax.make_jaxpr(rule)(z, t))
    twice = jax.jit(jax.jacrev(jax.grad(rule)))(z, t)
    p = softmax(np.array([0.1, -0.4, 2.0]))
    np.testing.assert_allclose(twice[0, :, 0, :], np.diag(p) - np.outer(p, p), atol=1e-6)
    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(lambda z: rule(z, t), (z,), (z,))


@pytest.mark.slow
def test_jax_checks_gradients_as_well(columns: Any) -> None:
    import jax
    import jax.numpy as jnp
    from jax.test_util import check_grads

    rule = columns[2].transformations._cross_entropy

    @jax.custom_vjp
    def wrong(z: Any) -> Any:
        return rule(z, jnp.array([1]))

    wrong.defvjp(
        lambda z: (wrong(z), z), lambda z, d: (1.1 * d * jax.grad(rule)(z, jnp.array([1])),)
    )
    with jax.enable_x64(True):
        z = jnp.array([[0.1, -0.4, 2.0]])
        check_grads(lambda z: rule(z, jnp.array([1])), (z,), order=2, modes=["rev"])
        with pytest.raises(AssertionError):
            check_grads(wrong, (z,), order=1, modes=["rev"])
