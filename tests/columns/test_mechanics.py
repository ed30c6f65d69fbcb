"""How the engines behave: what the documents say, column by column, and each engine's own errors.

Expected numbers come from the documents or from a derivation on paper; they are exact in both
precisions, so they are compared for equality.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.engines import JAX, NUMPY, TORCH, same, scalars

KEPT = pytest.mark.parametrize("column", ["numpy_ref", "jax_impl"], indirect=True)


# Accumulation and resets


def test_gradients_accumulate_until_they_are_reset(column: Any, dtype: np.dtype) -> None:
    at = scalars(dtype, x=1, w=2, b=1)  # A-accumulate
    grown = column.call("mechanics", "accumulate", **at, times=3, reset=False)
    same(grown, {"x": [2, 4, 6], "w": [1, 2, 3], "b": [1, 2, 3]}, dtype)
    fresh = column.call("mechanics", "accumulate", **at, times=3, reset=True)
    same(fresh, {"x": [2, 2, 2], "w": [1, 1, 1], "b": [1, 1, 1]}, dtype)


@pytest.mark.parametrize(("reset", "expected"), [(True, [2, 2, 2]), (False, [2, 4, 6])])
def test_y_is_2x_three_times(
    column: Any, dtype: np.dtype, reset: bool, expected: list[float]
) -> None:
    at = scalars(dtype, x=1, w=2, b=0)  # D-accumulate
    grads = column.call("mechanics", "accumulate", **at, times=3, reset=reset)
    same(grads["x"], expected, dtype)


def test_resets_leave_zeros_or_none(column: Any, dtype: np.dtype) -> None:
    at = scalars(dtype, x=1, w=2, b=1)  # A-reset
    again = {"x": 2, "w": 1, "b": 1}
    left, grads = column.call("mechanics", "reset_gradients", **at, set_to_none=False)
    same(left, {"x": 0, "w": 0, "b": 0}, dtype)
    same(grads, again, dtype)
    left, grads = column.call("mechanics", "reset_gradients", **at, set_to_none=True)
    assert left == {"x": None, "w": None, "b": None}
    same(grads, again, dtype)


@TORCH
def test_zero_grad_leaves_none_today(column: Any) -> None:
    torch = column.mechanics.torch
    w = torch.tensor(1.0, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.125)
    (2 * w).backward()
    optimizer.zero_grad(set_to_none=False)
    assert w.grad is not None
    assert w.grad.item() == 0
    (2 * w).backward()
    optimizer.zero_grad()
    assert w.grad is None
    layer = torch.nn.Linear(2, 1)
    layer(torch.ones(2)).backward()
    layer.zero_grad()
    assert [p.grad for p in layer.parameters()] == [None, None]


# Cotangents


def test_vector_jacobian_product(column: Any, dtype: np.dtype) -> None:
    x = np.array([1, 2, 3], dtype)  # A-vjp; J = [[7, 1, 1], [2, 8, 2], [3, 3, 9]]
    for v, expected in [([1, 0, 0], [7, 1, 1]), ([0, 1, 0], [2, 8, 2]), ([1, -2, 3], [12, -6, 24])]:
        cotangent = np.array(v, dtype)
        same(column.call("mechanics", "vector_jacobian_product", x, cotangent), expected, dtype)


@NUMPY
def test_without_cotangent_numpy_gives_the_gradient_of_the_sum(
    column: Any, dtype: np.dtype
) -> None:
    x = np.array([1, 2, 3], dtype)
    grads = column.call("mechanics", "backward_without_cotangent", x)
    same(grads, [12, 12, 12], dtype)
    ones = np.ones(3, dtype)
    same(column.call("mechanics", "vector_jacobian_product", x, ones), grads, dtype)


@TORCH
def test_without_cotangent_torch_raises(column: Any, dtype: np.dtype) -> None:
    with pytest.raises(RuntimeError, match="only for scalar outputs"):
        column.call("mechanics", "backward_without_cotangent", np.array([1, 2, 3], dtype))
    one = column.call("mechanics", "backward_without_cotangent", np.array([2], dtype))
    same(one, [4], dtype)


@JAX
@pytest.mark.parametrize("x", [[1, 2, 3], [2]])
def test_without_cotangent_jax_raises(column: Any, dtype: np.dtype, x: list[float]) -> None:
    with pytest.raises(TypeError, match="only defined for scalar-output functions"):
        column.call("mechanics", "backward_without_cotangent", np.array(x, dtype))


@TORCH
def test_cotangent_of_the_squares(column: Any) -> None:
    torch = column.mechanics.torch
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    (x**2).backward(torch.tensor([1.0, 0.0, 0.0]))
    assert x.grad is not None
    assert x.grad.tolist() == [2, 0, 0]


# The same graph twice


def test_backward_twice_with_a_retained_graph(column: Any, dtype: np.dtype) -> None:
    x = np.array(2, dtype)  # A-retain: 7 + 7
    same(column.call("mechanics", "backward_twice", x, retain_graph=True), 14, dtype)


@KEPT
def test_backward_twice_needs_no_retaining(column: Any, dtype: np.dtype) -> None:
    x = np.array(2, dtype)
    same(column.call("mechanics", "backward_twice", x, retain_graph=False), 14, dtype)


@TORCH
def test_backward_twice_raises_in_torch(column: Any, dtype: np.dtype) -> None:
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        column.call("mechanics", "backward_twice", np.array(2, dtype), retain_graph=False)


def test_backward_twice_through_additions(column: Any, dtype: np.dtype) -> None:
    x = np.array(5, dtype)  # A-retain: 2 + 2
    same(column.call("mechanics", "backward_twice_additions", x), 4, dtype)


GRAPHS: dict[str, tuple[Callable[..., Any], tuple[float, ...]]] = {
    "A-quadratic": (lambda x: x**2 + 3 * x + 1, (2,)),
    "A-product": (lambda x: (x + 2) * (x + 3), (1,)),
    "A-cube": (lambda x: x**3, (2,)),
    "A-chain": (lambda x: (2 * x + 3) ** 2, (1,)),
    "A-affine": (lambda x, w, b: w * x + b, (1, 2, 1)),
    "E-affine": (lambda w, b: w * 5 + b, (2, 1)),
    "D-square": (lambda x: x**2 + 2 * x + 1, (3,)),
    "D-shared": (lambda a, b: a * b + a, (2, 3)),
    "D-accumulate": (lambda x: 2 * x, (1,)),
}


@TORCH
@pytest.mark.parametrize("name", GRAPHS)
def test_every_graph_of_the_documents_raises_the_second_time(column: Any, name: str) -> None:
    torch = column.mechanics.torch
    graph, at = GRAPHS[name]
    inputs = [torch.tensor(float(value), requires_grad=True) for value in at]
    y = graph(*inputs)
    y.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.backward()
    y = graph(*inputs)
    y.backward(retain_graph=True)
    y.backward()  # no error


# Stopping


def test_stop_gradient_keeps_the_value(column: Any, dtype: np.dtype) -> None:
    y, d_x = column.call("mechanics", "stop_gradient", np.array(2, dtype))
    same(y, 11, dtype)
    same(d_x, 5, dtype)


def test_two_paths_add_up(column: Any, dtype: np.dtype) -> None:
    through = column.call("mechanics", "paths", np.array(1, dtype))  # A-product: 1*b + 1*a
    same(through, {"a": 4, "b": 3, "both": 7}, dtype)


# A differential


@pytest.mark.parametrize(("dw", "db", "dy"), [(1, 0, 5), (0, 1, 1), (1, 1, 6), (-2, 3, -7)])
def test_total_differential(column: Any, dtype: np.dtype, dw: float, db: float, dy: float) -> None:
    at = scalars(dtype, x=5, w=2, b=1, dw=dw, db=db)  # E-graph
    same(column.call("mechanics", "total_differential", **at), dy, dtype)


# Column against column, and what a call leaves behind


def draw(dtype: np.dtype, seed: int) -> dict[str, Callable[[Any], Any]]:
    """Every function that raises in no column, on random input."""
    rng = np.random.default_rng(seed)
    x, w, b, dw, db = (np.array(value, dtype) for value in rng.normal(size=5))
    row, cotangent = rng.normal(size=(2, 3)).astype(dtype)

    def calls(function: str, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        return lambda column: column.call("mechanics", function, *args, **kwargs)

    return {
        "accumulate": calls("accumulate", x, w, b, times=5, reset=False),
        "accumulate, reset": calls("accumulate", x, w, b, times=5, reset=True),
        "reset to zero": calls("reset_gradients", x, w, b, set_to_none=False),
        "reset to none": calls("reset_gradients", x, w, b, set_to_none=True),
        "vector_jacobian_product": calls("vector_jacobian_product", row, cotangent),
        "backward_twice": calls("backward_twice", x, retain_graph=True),
        "backward_twice_additions": calls("backward_twice_additions", x),
        "stop_gradient": calls("stop_gradient", x),
        "paths": calls("paths", x),
        "total_differential": calls("total_differential", x, w, b, dw, db),
    }


@pytest.mark.parametrize("seed", range(3))
def test_columns_agree_in_every_bit(columns: list[Any], dtype: np.dtype, seed: int) -> None:
    for name, call in draw(dtype, seed).items():
        reference, *others = (call(column) for column in columns)
        for other in others:
            np.testing.assert_equal(other, reference, err_msg=name)


RAISES: dict[str, dict[str, type[Exception]]] = {
    "numpy_ref": {},
    "torch_impl": {"backward_without_cotangent": RuntimeError, "backward_twice": RuntimeError},
    "jax_impl": {"backward_without_cotangent": TypeError},
}


def test_nothing_given_is_changed(column: Any) -> None:
    m = column.mechanics
    given = {name: column.from_numpy(np.array(2, np.float32)) for name in ("x", "w", "b")}
    row = column.from_numpy(np.array([1, 2, 3], np.float32))
    x, w, b = given.values()
    calls: dict[str, Callable[[], Any]] = {
        "accumulate": lambda: m.accumulate(x, w, b, times=2, reset=True),
        "reset_gradients": lambda: m.reset_gradients(x, w, b, set_to_none=False),
        "vector_jacobian_product": lambda: m.vector_jacobian_product(row, row),
        "backward_without_cotangent": lambda: m.backward_without_cotangent(row),
        "backward_twice": lambda: m.backward_twice(x, retain_graph=False),
        "backward_twice_additions": lambda: m.backward_twice_additions(x),
        "stop_gradient": lambda: m.stop_gradient(x),
        "paths": lambda: m.paths(x),
        "total_differential": lambda: m.total_differential(x, w, b, w, b),
    }
    for name, call in calls.items():
        if name in RAISES[column.name]:
            with pytest.raises(RAISES[column.name][name]):
                call()
        else:
            call()
        assert [float(value) for value in (x, w, b)] == [2, 2, 2], name
        assert [float(value) for value in row] == [1, 2, 3], name
        for value in (x, w, b, row):
            assert getattr(value, "grad", None) is None, name
            assert not getattr(value, "requires_grad", False), name


@TORCH
def test_a_tracked_argument_keeps_its_own_grad(column: Any) -> None:
    torch = column.mechanics.torch
    m = column.mechanics
    x, w, b = (torch.tensor(value, requires_grad=True) for value in (1.0, 2.0, 1.0))
    m.accumulate(x, w, b, times=2, reset=False)
    m.reset_gradients(x, w, b, set_to_none=False)
    m.backward_twice(x, retain_graph=True)
    assert [v.grad for v in (x, w, b)] == [None, None, None]
    assert x.item() == 1


@pytest.mark.parametrize(
    ("function", "change", "error", "message"),
    [
        ("accumulate", {"times": 0}, ValueError, "times must be a whole number of at least 1"),
        ("accumulate", {"reset": 1}, TypeError, "reset must be True or False"),
        ("accumulate", {"x": np.array(np.nan)}, ValueError, "x must be finite"),
        ("accumulate", {"w": np.float32(2)}, TypeError, "w must have the dtype of x"),
        ("accumulate", {"b": np.ones(1)}, ValueError, "b must be of shape"),
    ],
)
def test_bad_input(
    column: Any, function: str, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    float64 = np.dtype("float64")
    arguments = {**scalars(float64, x=1, w=2, b=1), "times": 1, "reset": True} | change
    if column.name == "jax_impl":
        import jax

        with jax.enable_x64(True), pytest.raises(error, match=message):
            column.call("mechanics", function, **arguments)
    else:
        with pytest.raises(error, match=message):
            column.call("mechanics", function, **arguments)
