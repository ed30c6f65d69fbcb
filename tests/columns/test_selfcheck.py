"""Each column against differentiation itself, in float64: no other column is asked.

NumPy's derivatives are by hand, so they are held to the complex step: f(x + i h) = f(x) + i h f'(x)
+ O(h**2), which loses nothing to cancellation, and with h = 2**-100 nothing to h. JAX and PyTorch
check themselves against central differences, to second order: `check_grads`, `gradcheck` and
`gradgradcheck`, whose own tolerances are those of central differences.
"""

import importlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from support.graphs import FORWARD, GRAPHS, INPUTS

from triptych import data
from triptych.agreement.bounds import apart
from triptych.agreement.exhibits import layer_descent, line_descent
from triptych.column import Column, precision

H = 2.0**-100
AWAY = 1e-3  # from a ReLU's kink, far more than the steps of central differences

Params = dict[str, np.ndarray]


def classifier_problem() -> tuple[Params, np.ndarray, np.ndarray]:
    """A smaller network than the documents': every second derivative is asked for."""
    rng = np.random.default_rng(0)
    return data.classifier_start(3, (2, 4, 3, 2)), rng.normal(size=(4, 2)), rng.integers(0, 2, 4)


def gradient_bound(descent: Any) -> float:
    grads = descent("float64").grads
    return apart(grads.error[0], grads.value[0], "float64")


# parameters and data, and how many eps the gradient may be off
PROBLEMS: dict[str, tuple[Any, float]] = {
    "linear_layer": (data.layer(), gradient_bound(layer_descent)),
    "linear_regression": (data.line(), gradient_bound(line_descent)),
    "classifier": (classifier_problem(), 16),
}


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with precision("float64"):
        yield


@pytest.fixture
def torch(columns: Any) -> Any:
    return importlib.import_module("torch")


def loss_of(module: ModuleType) -> Any:
    """The loss of a concept as a function of parameters and data."""
    if hasattr(module, "loss"):
        return module.loss
    return lambda p, x, t: module.mse_loss(module.linear(x, p["weight"], p["bias"]), t)


def test_no_kink_is_near() -> None:
    params, x, _ = classifier_problem()
    z1 = x @ params["fc1.weight"].T + params["fc1.bias"]
    z2 = np.maximum(z1, 0) @ params["fc2.weight"].T + params["fc2.bias"]
    assert min(np.abs(z1).min(), np.abs(z2).min()) > AWAY


# NumPy: the complex step; in the complex numbers np.maximum goes by the real part


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> Column:
    """NumPy's column without its input checks, which refuse complex numbers."""
    column = Column("numpy_ref")
    for concept in (*PROBLEMS, "gradients"):
        module = getattr(column, concept)
        for name, function in vars(module).items():
            if hasattr(function, "__wrapped__") and function.__module__ == module.__name__:
                monkeypatch.setattr(module, name, function.__wrapped__)
    return column


@pytest.mark.parametrize("concept", PROBLEMS)
def test_complex_step(unchecked: Column, agree: Any, concept: str) -> None:
    module = getattr(unchecked, concept)
    (params, *given), bound = PROBLEMS[concept]
    loss, grads = module.loss_and_grads(params, *given)
    for name, p in params.items():
        slopes = np.empty_like(p)
        for index in np.ndindex(p.shape):
            moved = p.astype(complex)
            moved[index] += 1j * H
            value = loss_of(module)(params | {name: moved}, *given)
            assert value.real == pytest.approx(loss, rel=1e-12)
            slopes[index] = value.imag / H
        quantity = "gradients, complex step"
        agree(concept, quantity, "exact/numpy_ref", grads[name], slopes, bound, "eps")


@pytest.mark.parametrize(("graph", "inputs"), [(g[0], g[1]) for g in GRAPHS])
def test_complex_step_on_the_graphs(
    unchecked: Column, agree: Any, graph: str, inputs: tuple[float, ...]
) -> None:
    run = getattr(unchecked.gradients, graph)
    point = [np.array(x, float) for x in inputs]
    _, grads = run(*point)
    for i, name in enumerate(INPUTS.get(graph, ("x",))):
        moved = [x + 1j * H * (j == i) for j, x in enumerate(point)]
        *_, output = run(*moved)[0].values()
        slope = np.array(output.imag / H)
        quantity = "derivatives, complex step"
        agree("gradients", quantity, "exact/numpy_ref", grads[name], slope, 0, "ulp")


# JAX


@pytest.mark.slow
@pytest.mark.parametrize("concept", PROBLEMS)
def test_jax_checks_itself(columns: Any, concept: str) -> None:
    jax, test_util = map(importlib.import_module, ("jax", "jax.test_util"))
    jax_impl = columns[2]
    params, *given = map(jax_impl.take_in, PROBLEMS[concept][0])
    module = getattr(jax_impl, concept)

    # compiled, because check_grads calls with NumPy arrays, which the column refuses
    loss = jax.jit(lambda p: loss_of(module)(p, *given))
    loss_and_grads = jax.jit(lambda p: module.loss_and_grads(p, *given))

    def by_column(p: Any) -> Any:
        value, grads = loss_and_grads(p)
        return value, lambda g: ({name: g * d for name, d in grads.items()},)

    test_util.check_grads(loss, (params,), order=2)
    test_util.check_vjp(loss, by_column, (params,))


@pytest.mark.slow
@pytest.mark.parametrize(("graph", "inputs"), [(g[0], g[1]) for g in GRAPHS])
def test_jax_checks_the_graphs(columns: Any, graph: str, inputs: tuple[float, ...]) -> None:
    jax, test_util = map(importlib.import_module, ("jax", "jax.test_util"))
    jax_impl = columns[2]
    run = getattr(jax_impl.gradients, graph)
    point = [jax_impl.from_numpy(np.array(x, float)) for x in inputs]

    output = jax.jit(lambda *point: run(*point)[0]["d" if graph == "shared" else "y"])

    def by_column(*point: Any) -> Any:
        grads = jax.jit(run)(*point)[1]
        return output(*point), lambda g: [g * grads[name] for name in INPUTS.get(graph, ("x",))]

    test_util.check_grads(output, point, order=2)
    test_util.check_vjp(output, by_column, point)


# PyTorch


def differentiable(torch: Any, forward: Any, backward: Any) -> Any:
    """A function for autograd whose derivative is what the column says it is."""

    class Here(torch.autograd.Function):  # type: ignore[misc, name-defined, unused-ignore]
        @staticmethod
        def forward(ctx: Any, *leaves: Any) -> Any:
            ctx.grads = backward(*leaves)
            return forward(*leaves)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return tuple(g * d for d in ctx.grads)

    return Here.apply


@pytest.mark.parametrize("concept", PROBLEMS)
def test_torch_checks_itself(columns: Any, torch: Any, concept: str) -> None:
    torch_impl = columns[1]
    params, *given = map(torch_impl.take_in, PROBLEMS[concept][0])
    module = getattr(torch_impl, concept)
    leaves = [p.requires_grad_() for p in params.values()]

    def loss(*leaves: Any) -> Any:
        return loss_of(module)(dict(zip(params, leaves, strict=True)), *given)

    def by_column(*leaves: Any) -> Any:
        with torch.enable_grad():
            _, grads = module.loss_and_grads(dict(zip(params, leaves, strict=True)), *given)
        return [grads[name] for name in params]

    assert torch.autograd.gradcheck(loss, leaves)
    assert torch.autograd.gradgradcheck(loss, leaves)
    assert torch.autograd.gradcheck(differentiable(torch, loss, by_column), leaves)


@pytest.mark.parametrize(("graph", "inputs"), [(g[0], g[1]) for g in GRAPHS])
def test_torch_checks_the_graphs(
    columns: Any, torch: Any, graph: str, inputs: tuple[float, ...]
) -> None:
    run = getattr(columns[1].gradients, graph)
    leaves = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in inputs]

    def output(*leaves: Any) -> Any:
        *_, last = FORWARD[graph](*leaves).values()
        return last

    def by_column(*leaves: Any) -> Any:
        with torch.enable_grad():
            _, grads = run(*leaves)
        return [grads[name] for name in INPUTS.get(graph, ("x",))]

    assert torch.autograd.gradcheck(output, leaves)
    assert torch.autograd.gradgradcheck(output, leaves)
    assert torch.autograd.gradcheck(differentiable(torch, output, by_column), leaves)
