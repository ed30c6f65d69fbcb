"""What an engine records, and when: what the documents say, column by column.

Expected numbers come from the documents or from a derivation on paper; they are exact in both
precisions, so they are compared for equality.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.engines import JAX, NUMPY, TORCH, same, scalars

RATE = 0.125


# What was not recorded


@NUMPY
def test_untracked_is_not_recorded(column: Any, dtype: np.dtype) -> None:
    with pytest.raises(RuntimeError, match="nothing was recorded"):
        column.call("recording", "backward_untracked", np.array(2, dtype))


@TORCH
def test_untracked_raises_in_torch(column: Any, dtype: np.dtype) -> None:
    torch = column.recording.torch
    with pytest.raises(RuntimeError, match="does not require grad and does not have a grad_fn"):
        column.call("recording", "backward_untracked", np.array(2, dtype))
    assert not torch.tensor(2.0).requires_grad
    tracked = torch.tensor(2.0, requires_grad=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        column.recording.backward_untracked(tracked)


@JAX
def test_untracked_is_silently_zero_in_jax(column: Any, dtype: np.dtype) -> None:
    same(column.call("recording", "backward_untracked", np.array(2, dtype)), 0, dtype)


# Inside and outside of the graph


@pytest.mark.parametrize("record", [True, False])
def test_inference_is_tracked_only_on_request(column: Any, dtype: np.dtype, record: bool) -> None:
    weight = np.array([[1, -1, 2, 0, 1, 3, -2, 1, 0, 2]], dtype)  # D-infer
    x = np.arange(50).reshape(5, 10).astype(dtype)
    params = {"weight": weight, "bias": np.array([4], dtype)}
    y, tracked = column.call("recording", "infer", params, x, record=record)
    assert y.shape == (5, 1)
    same(y, [[39], [109], [179], [249], [319]], dtype)
    assert tracked is record
    square = {"weight": np.array([[1, 2], [3, 4]], dtype), "bias": np.array([0, 1], dtype)}
    y, _ = column.call("recording", "infer", square, np.array([[1, 10]], dtype), record=record)
    same(y, [[21, 44]], dtype)


@NUMPY
def test_the_engine_multiplies_square_matrices(column: Any) -> None:
    """The derivative of the sum of (A B^T)_ij, by A the sums of B's rows, by B those of A's."""
    recording = column.recording
    a, b = (recording.Var(np.array(v), tracked=True) for v in ([[1, 2], [3, 4]], [[5, 6], [7, 9]]))
    y = recording._apply("matmul", a, b.T)
    y.backward()
    assert y.value.tolist() == [[17, 25], [39, 57]]
    assert a.grad.tolist() == [[12, 15], [12, 15]]
    assert b.grad.tolist() == [[4, 6], [4, 6]]


@NUMPY
def test_the_engine_compares_and_changes_signs(column: Any) -> None:
    x = column.recording.Var(np.array(3.0), tracked=True)
    assert (x > 2, x > 3) == (True, False)
    y = -(x**2)
    y.backward()
    assert (y.value, x.grad) == (-9, -6)


@TORCH
def test_no_grad_saves_nothing(column: Any) -> None:
    torch = column.recording.torch
    saved: list[Any] = []
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.shape), lambda _: _)
    layer = torch.nn.Linear(10, 1)
    x = torch.ones(5, 10)
    with hooks:
        assert layer(x).requires_grad
        assert torch.Size([5, 10]) in saved
        saved.clear()
        with torch.no_grad():
            assert not layer(x).requires_grad
        with torch.inference_mode():
            assert layer(x).is_inference()
        assert saved == []
        leaf = torch.tensor(2.0, requires_grad=True)
        assert (leaf + leaf + 1).requires_grad
        assert saved == []


@NUMPY
def test_update_inside_the_graph_spoils_the_next_gradient(column: Any, dtype: np.dtype) -> None:
    x, d_x = column.call("recording", "update_inside_graph", np.array(2, dtype), learning_rate=RATE)
    same(x, 1.125, dtype)
    same(d_x, 5.25, dtype)  # and not 7, the slope where y was computed


@TORCH
def test_update_inside_the_graph_raises_in_torch(column: Any, dtype: np.dtype) -> None:
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        column.call("recording", "update_inside_graph", np.array(2, dtype), learning_rate=RATE)


@JAX
def test_update_inside_the_graph_is_impossible_in_jax(column: Any, dtype: np.dtype) -> None:
    with pytest.raises(TypeError, match="immutable"):
        column.call("recording", "update_inside_graph", np.array(2, dtype), learning_rate=RATE)


def test_update_outside_the_graph(column: Any, dtype: np.dtype) -> None:
    x, recorded = column.call(
        "recording", "update_outside_graph", np.array(2, dtype), learning_rate=RATE
    )
    same(x, 1.125, dtype)
    assert recorded is False


@TORCH
def test_an_update_is_tracked_unless_under_no_grad(column: Any) -> None:
    torch = column.recording.torch
    x = torch.tensor(2.0, requires_grad=True)
    with torch.no_grad():
        assert not (x - RATE * 7).requires_grad
    assert (x - RATE * 7).requires_grad


@TORCH
def test_a_changed_leaf_is_noticed_unless_changed_through_data(column: Any) -> None:
    torch = column.recording.torch
    x = torch.tensor(2.0, requires_grad=True)
    y = x**2 + 3 * x + 1
    with torch.no_grad():
        x -= RATE * 7
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()
    x = torch.tensor(2.0, requires_grad=True)
    y = x**2 + 3 * x + 1
    x.data -= RATE * 7
    y.backward()
    assert x.grad is not None
    assert x.grad.item() == 5.25  # the wrong gradient of the NumPy column


@TORCH
def test_why_a_second_backward_pass_through_the_old_y_raises(column: Any, dtype: np.dtype) -> None:
    """The sentences of `update_outside_graph`."""
    torch = column.recording.torch
    for retain, message in ((False, "a second time"), (True, "modified by an inplace operation")):
        x = torch.tensor(2.0, requires_grad=True)
        y = x**2 + 3 * x + 1
        torch.autograd.grad(y, x, retain_graph=retain)
        with torch.no_grad():
            x -= 1
        with pytest.raises(RuntimeError, match=message):
            y.backward()


@TORCH
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_optimizers_update_outside_the_graph(column: Any, name: str) -> None:
    torch = column.recording.torch
    w = torch.tensor(2.0, requires_grad=True)
    optimizer = getattr(torch.optim, name)([w], lr=RATE)
    (w**2).backward()
    optimizer.step()
    assert w.item() != 2
    assert w.is_leaf
    assert w.grad_fn is None


# The record


def test_leaves(column: Any, dtype: np.dtype) -> None:
    at = scalars(dtype, x=1, w=2, b=1)  # E-leaf
    leaves = column.call("recording", "leaves", **at)
    assert leaves == {"x": True, "w": True, "b": True, "y": False}


@TORCH
def test_leaves_have_no_grad_fn(column: Any) -> None:
    torch = column.recording.torch
    x, w, b = (torch.tensor(value, requires_grad=True) for value in (1.0, 2.0, 1.0))
    y = w * x + b
    assert [v.grad_fn for v in (x, w, b)] == [None, None, None]
    assert y.grad_fn is not None
    y.backward()
    with pytest.warns(UserWarning, match="not a leaf Tensor"):
        assert y.grad is None


@pytest.mark.parametrize(
    ("column", "expected", "text"),
    [
        ("numpy_ref", ["add", "multiply"], "11.0"),
        ("torch_impl", ["AddBackward0", "MulBackward0"], "tensor(11., grad_fn=<AddBackward0>)"),
        ("jax_impl", ["add", "mul"], "Tracer"),
    ],
    indirect=["column"],
)
def test_recorded_graph(column: Any, dtype: np.dtype, expected: list[str], text: str) -> None:
    at = scalars(dtype, x=5, w=2, b=1)  # E-graph
    operations, grads, printed = column.call("recording", "recorded", **at)
    assert operations == expected
    same(grads, {"w": 5, "b": 1}, dtype)
    if column.name == "jax_impl":
        assert text in printed
        assert "11.0" in printed
    else:
        assert printed.replace(", dtype=torch.float64", "") == text


@TORCH
def test_a_constant_gets_no_gradient(column: Any) -> None:
    torch = column.recording.torch
    x, w = torch.tensor(5.0), torch.tensor(2.0, requires_grad=True)
    y = w * x
    y.backward()
    assert x.grad is None
    assert y.grad_fn is not None
    assert [function is None for function, _ in y.grad_fn.next_functions] == [False, True]


@NUMPY
def test_the_engine_walks_a_diamond_and_a_layer(column: Any, dtype: np.dtype) -> None:
    var = column.recording.Var
    a, b = (var(np.array(value, dtype), tracked=True) for value in (2, 3))
    c = a * b
    d = c + a
    d.backward()
    same({"d": d.value, "c": c.value}, {"d": 8, "c": 6}, dtype)  # D-shared
    same({"c": c.grad, "a": a.grad, "b": b.grad}, {"c": 1, "a": 4, "b": 2}, dtype)
    a.value = np.array(5, dtype)
    for made in (c, d):  # the record is a program, too
        made.forward()
    same({"d": d.value, "c": c.value}, {"d": 20, "c": 15}, dtype)
    a.value = np.array(2, dtype)
    d.backward()  # afresh: nothing is left of the first pass
    same({"a": a.grad, "b": b.grad}, {"a": 4, "b": 2}, dtype)
    x = var(np.array([[1, 2], [3, 4], [5, 6]], dtype), tracked=True)
    weight = var(np.array([[7, 8], [9, 10], [11, 12], [13, 14]], dtype), tracked=True)
    bias = var(np.array([0, 1, 2, 3], dtype), tracked=True)
    y = x.value @ weight.T + bias
    y.backward()
    same(
        {"weight": weight.grad, "bias": bias.grad},
        {"weight": [[9, 12]] * 4, "bias": [3] * 4},
        dtype,
    )


@NUMPY
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1), (1, 3), (2, 3), (4, 2, 3), (1, 1, 1)])
def test_the_engine_knows_broadcasting(column: Any, dtype: np.dtype, shape: Any) -> None:
    """The gradient has the shape of its value, and is what central differences say."""
    rng = np.random.default_rng(0)
    var = column.recording.Var
    a = rng.integers(-4, 5, shape).astype(dtype)
    b = rng.integers(1, 5, (4, 2, 3)).astype(dtype)
    for left, right in ((a, b), (b, a)):
        x, w = var(left, tracked=True), var(right, tracked=True)
        y = x * w + x
        y.backward()
        for v, other in ((x, right + 1), (w, left)):
            assert v.grad.shape == v.value.shape
            assert v.grad.dtype == dtype
            ones = np.broadcast_to(other, y.value.shape)
            lead = tuple(range(y.value.ndim - v.value.ndim))
            whole = ones.sum(axis=lead) if lead else ones
            kept = tuple(i for i, n in enumerate(v.value.shape) if n == 1)
            same(v.grad, whole.sum(axis=kept, keepdims=True), dtype)


@NUMPY
def test_the_engine_records_nothing_of_constants(column: Any, dtype: np.dtype) -> None:
    var = column.recording.Var
    x = var(np.array(5, dtype))
    y = x**2 + 3 * x + 1
    same(y.value, 41, dtype)
    assert (y.tracked, y.parents, y.history()) == (False, (), [])
    w = var(np.array(2, dtype), tracked=True)
    y = w * x
    y.backward()
    same(w.grad, 5, dtype)
    assert x.grad is None
    assert [v.operation for v in y.history()] == ["", "multiply"]


# Column against column, and what a call leaves behind


def draw(dtype: np.dtype, seed: int) -> dict[str, Callable[[Any], Any]]:
    """Every function that raises in no column, on random input."""
    rng = np.random.default_rng(seed)
    x, w, b = (np.array(value, dtype) for value in rng.normal(size=3))
    layer = {"weight": rng.integers(-4, 5, (2, 10)), "bias": rng.integers(-4, 5, 2)}
    layer = {name: value.astype(dtype) for name, value in layer.items()}
    rows = rng.integers(-9, 10, (5, 10)).astype(dtype)

    def calls(function: str, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        return lambda column: column.call("recording", function, *args, **kwargs)

    return {
        "infer": calls("infer", layer, rows, record=False),
        "infer, recorded": calls("infer", layer, rows, record=True),
        "update_outside_graph": calls("update_outside_graph", x, learning_rate=0.1),
        "leaves": calls("leaves", x, w, b),
        "recorded": lambda column: column.call("recording", "recorded", x, w, b)[1],
    }


@pytest.mark.parametrize("seed", range(3))
def test_columns_agree_in_every_bit(columns: list[Any], dtype: np.dtype, seed: int) -> None:
    for name, call in draw(dtype, seed).items():
        reference, *others = (call(column) for column in columns)
        for other in others:
            np.testing.assert_equal(other, reference, err_msg=name)


RAISES: dict[str, dict[str, type[Exception]]] = {
    "numpy_ref": {"backward_untracked": RuntimeError},
    "torch_impl": {"backward_untracked": RuntimeError, "update_inside_graph": RuntimeError},
    "jax_impl": {"update_inside_graph": TypeError},
}


def test_nothing_given_is_changed(column: Any) -> None:
    r = column.recording
    x, w, b = (column.from_numpy(np.array(2, np.float32)) for _ in range(3))
    row = column.from_numpy(np.array([1, 2, 3], np.float32))
    params = {"weight": column.from_numpy(np.ones((1, 3), np.float32)), "bias": row[:1]}
    calls: dict[str, Callable[[], Any]] = {
        "infer": lambda: r.infer(params, row[None], record=True),
        "backward_untracked": lambda: r.backward_untracked(x),
        "update_inside_graph": lambda: r.update_inside_graph(x, learning_rate=RATE),
        "update_outside_graph": lambda: r.update_outside_graph(x, learning_rate=RATE),
        "leaves": lambda: r.leaves(x, w, b),
        "recorded": lambda: r.recorded(x, w, b),
    }
    for name, call in calls.items():
        if name in RAISES[column.name]:
            with pytest.raises(RAISES[column.name][name]):
                call()
        else:
            call()
        assert [float(value) for value in (x, w, b)] == [2, 2, 2], name
        assert [float(value) for value in row] == [1, 2, 3], name
        for value in (x, w, b, row, *params.values()):
            assert getattr(value, "grad", None) is None, name
            assert not getattr(value, "requires_grad", False), name


@TORCH
def test_a_tracked_argument_keeps_its_own_grad(column: Any) -> None:
    torch, r = column.recording.torch, column.recording
    x, w, b = (torch.tensor(value, requires_grad=True) for value in (1.0, 2.0, 1.0))
    r.recorded(x, w, b)
    _, tracked = r.update_outside_graph(x, learning_rate=RATE)
    assert not tracked
    with pytest.raises(RuntimeError, match="leaf Variable"):
        r.update_inside_graph(x, learning_rate=RATE)
    assert [v.grad for v in (x, w, b)] == [None, None, None]
    assert x.item() == 1
