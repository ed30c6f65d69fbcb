"""A write through one name and who sees it: what both names hold afterwards, number by number.

Every sentence of the columns that says who copies, shares, refuses or deletes is run here.
"""

import copy
import warnings
from typing import Any

import numpy as np
import pytest
from support import versions

from triptych import trees
from triptych.names import COLUMNS

X = np.array([[1, 2, 3], [4, 5, 6]])
ROW = X[0]
NINE, FIRST = [[9, 9, 9], [4, 5, 6]], [[9, 2, 3], [4, 5, 6]]
# JAX compiles every function for each dtype anew
CASES = [
    pytest.param(c, d, marks=pytest.mark.slow if (c, d) == ("jax_impl", "float64") else ())
    for c in COLUMNS
    for d in ("float32", "float64")
]
each = pytest.mark.parametrize(("column", "dtype"), CASES, indirect=True)


def absent(column: Any, function: str) -> bool:
    return not hasattr(column.aliasing, function)


def assert_pair(found: Any, x: Any, y: Any, dtype: np.dtype) -> None:
    assert list(found) == ["x", "y"]
    for array, wanted in zip(found.values(), (x, y), strict=True):
        assert array.dtype == dtype
        np.testing.assert_array_equal(array, wanted)


@each
@pytest.mark.parametrize(
    ("function", "others", "y", "seen", "seen_by"),
    [
        ("augmented_assignment", {}, X + 9, X + 9, ("numpy_ref", "torch_impl")),
        ("write_view", {}, [9, 2, 3], FIRST, ("numpy_ref", "torch_impl")),
        ("write_copy", {}, [9, 2, 3], X, ()),
        ("write_detached", {}, NINE, NINE, ("torch_impl",)),
        ("write_selected", {"rows": np.array([1, 0])}, [[9, 9, 9], [1, 2, 3]], X, ()),
        (
            "write_reshaped",
            {"transposed": False},
            [9, 2, 3, 4, 5, 6],
            FIRST,
            ("numpy_ref", "torch_impl"),
        ),
        ("write_reshaped", {"transposed": True}, [9, 4, 2, 5, 3, 6], X, ()),
    ],
)
def test_who_sees_a_write(
    column: Any,
    dtype: np.dtype,
    function: str,
    others: dict[str, Any],
    y: Any,
    seen: Any,
    seen_by: tuple[str, ...],
) -> None:
    if absent(column, function):
        assert (column.name, function) == ("numpy_ref", "write_detached")
        return
    x = X.astype(dtype)
    found = column.call("aliasing", function, x, value=dtype.type(9), **others)
    assert_pair(found, seen if column.name in seen_by else X, y, dtype)


def test_a_square_is_turned_too(column: Any) -> None:
    x = np.array([[1, 2], [3, 4]], "float32")
    found = column.call("aliasing", "write_reshaped", x, value=np.float32(9), transposed=True)
    assert_pair(found, x, [9, 3, 2, 4], np.dtype("float32"))


@each
def test_a_write_to_one_of_equal_rows(column: Any, dtype: np.dtype) -> None:
    given = (ROW.astype(dtype), dtype.type(9))
    if column.name == "numpy_ref":
        with pytest.raises(ValueError, match="read-only"):
            column.call("aliasing", "write_broadcast", *given, rows=2)
        return
    found = column.call("aliasing", "write_broadcast", *given, rows=2)
    everywhere = column.name == "torch_impl"
    second = [9, 9, 9] if everywhere else ROW
    assert_pair(found, second, [[9, 9, 9], second], dtype)


@each
def test_a_write_over_what_is_read(column: Any, dtype: np.dtype) -> None:
    x = np.arange(1, 6).astype(dtype)
    if column.name == "torch_impl":
        with pytest.raises(RuntimeError, match=r"refer to a single memory location.*clone"):
            column.call("aliasing", "write_overlapping", x)
        return
    found = column.call("aliasing", "write_overlapping", x)
    assert found.dtype == dtype
    # entry by entry from the left, with what is there by then, it would be 1, 3, 6, 10, 15
    np.testing.assert_array_equal(found, [1, 3, 5, 7, 9])


@each
def test_an_index_that_comes_twice(column: Any, dtype: np.dtype) -> None:
    given = (ROW.astype(dtype), np.array([2, 0, 2, 2]), dtype.type(10))
    for accumulate, last in ((False, 13), (True, 33)):
        found = column.call("aliasing", "add_at", *given, accumulate=accumulate)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, [11, 2, last])


@pytest.mark.parametrize("dtype", ["float32", "int32"])
@pytest.mark.parametrize("copied", [True, False])
def test_a_write_to_the_array_that_was_brought_in(column: Any, dtype: str, copied: bool) -> None:
    if column.name == "jax_impl" and not copied and versions.BEFORE_JAX_0_10_2:
        pytest.skip("whether asarray copies depends on where the data start")
    array = X.astype(dtype)
    found = column.give_out(column.aliasing.write_source(array, 9, copied=copied))
    np.testing.assert_array_equal(array, X)
    assert found.dtype == dtype
    shared = not copied and column.name != "jax_impl"
    np.testing.assert_array_equal(found, np.full((2, 3), 9) if shared else X)


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"array": [1.0]}, TypeError, "array must be a NumPy array, got builtins.list"),
        ({"array": np.array(["a"])}, TypeError, "array must be a NumPy array of numbers"),
        ({"value": np.nan}, ValueError, "value must be a finite number, got nan"),
        ({"copied": 1}, TypeError, "copied must be True or False, got builtins.int"),
    ],
)
def test_no_array_to_bring_in(column: Any, wrong: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=f"write_source: {words}"):
        column.aliasing.write_source(**{"array": X, "value": 9, "copied": True} | wrong)


def test_jax_brings_no_float64_in_without_x64(columns: Any) -> None:
    with pytest.raises(ValueError, match="write_source: array must have a dtype that JAX keeps"):
        columns[2].aliasing.write_source(X.astype(float), 9, copied=True)


@each
def test_a_value_that_the_derivative_needs(column: Any, dtype: np.dtype) -> None:
    x = np.log([2, 3, 4]).astype(dtype)
    if column.name == "torch_impl":
        with pytest.raises(
            RuntimeError, match=r"modified by an inplace operation.*output 0 of Exp(Backward0)?,"
        ):
            column.call("aliasing", "write_saved", x, dtype.type(9))
        return
    y, d_x = column.call("aliasing", "write_saved", x, dtype.type(9))
    assert y.dtype == d_x.dtype == dtype
    right = [2, 3, 4] if column.name == "jax_impl" else [9, 3, 4]
    near = 8 * np.finfo(dtype).eps
    np.testing.assert_allclose(y, [9, 3, 4], rtol=near)
    np.testing.assert_allclose(d_x, right, rtol=near)


def layer(dtype: Any, rate: float = 0.5) -> tuple[dict[str, Any], ...]:
    """Parameters, gradients and the parameters after a step, in numbers without rounding."""
    params = {"weight": X[:, :2], "bias": np.array([7, 8])}
    grads = {"weight": np.array([[4, -4], [2, 0]]), "bias": np.array([-2, 6])}
    after = {name: p - rate * grads[name] for name, p in params.items()}
    made = [{name: p.astype(dtype) for name, p in d.items()} for d in (params, grads, after)]
    return tuple(made)


def assert_params(found: Any, wanted: dict[str, Any], dtype: np.dtype) -> None:
    assert found.keys() == wanted.keys()
    for name, p in wanted.items():
        assert found[name].dtype == dtype
        np.testing.assert_array_equal(found[name], p)


@each
def test_updates_into_the_memory_of_the_parameters(column: Any, dtype: np.dtype) -> None:
    for rate in (0.5, 0.25):  # a second one: what a function has kept of the first would show
        updates(column, dtype, rate)


def updates(column: Any, dtype: np.dtype, rate: float) -> None:
    params, grads, after = layer(dtype, rate)

    def call(function: str) -> Any:
        return column.call("aliasing", function, params, grads, learning_rate=rate)

    assert_params(call("update_in_place"), after, dtype)
    if column.name == "jax_impl":
        here = [column.take_in(given) for given in (params, grads)]
        with pytest.raises(RuntimeError, match="Array has been deleted"):
            column.aliasing.read_after_update(*here, learning_rate=rate)
        for kept, given in zip(here, (params, grads), strict=True):
            assert_params(column.give_out(kept), given, dtype)
    else:
        assert_params(call("read_after_update"), after, dtype)
    best, last = call("keep")
    assert_params(best, params if column.name == "jax_impl" else after, dtype)
    assert_params(last, after, dtype)
    if absent(column, "keep_copy"):
        assert column.name == "jax_impl"
    else:
        for found, wanted in zip(call("keep_copy"), (params, after), strict=True):
            assert_params(found, wanted, dtype)


def test_what_is_tracked_comes_back_without_a_graph(columns: Any) -> None:
    import torch

    calls = columns[1].aliasing
    x = torch.tensor(X, dtype=torch.float32, requires_grad=True)
    value = torch.tensor(9.0)
    params, grads, after = layer("float32")
    leaves = {name: torch.tensor(p, requires_grad=True) for name, p in params.items()}
    grads = columns[1].take_in(grads)
    found = [
        calls.augmented_assignment(x, value),
        calls.write_view(x, value),
        calls.write_copy(x, value),
        calls.write_detached(x, value),
        calls.write_selected(x, torch.tensor([0, 1]), value),
        calls.write_reshaped(x, value, transposed=False),
        calls.write_broadcast(x[0], value, rows=2),
        calls.add_at(x[0], torch.tensor([0, 1]), value, accumulate=False),
        calls.update_in_place(leaves, grads, learning_rate=0.5),
        calls.read_after_update(leaves, grads, learning_rate=0.5),
        *calls.keep(leaves, grads, learning_rate=0.5),
        *calls.keep_copy(leaves, grads, learning_rate=0.5),
    ]
    for _, array in trees.leaves(found):
        assert not array.requires_grad
    assert x.tolist() == X.tolist()
    assert_params(columns[1].give_out(leaves), params, np.dtype("float32"))
    assert_params(columns[1].give_out(found[-1]), after, np.dtype("float32"))


def test_shared_memory(columns: list[Any]) -> None:
    for column in columns[:2]:
        shares, x = column.aliasing.shares_memory, column.take_in(X.astype(float))
        y = column.take_in(X.astype(float))
        for view in (x, x[0], x.T, x[:, 1:], x.reshape(-1)):
            assert shares(x, view) is True
            assert shares(view, x) is True
        for other in (y, x + 0, x[[0]], x[x > 0], x.T.reshape(-1), x.T.reshape(3, 2)[:1] * 1):
            assert shares(x, other) is False
        # two parts of one memory that have nothing in common
        assert shares(x[0], x[1]) is (column.name == "torch_impl")
        assert shares(x[:, ::2], x[:, 1::2]) is (column.name == "torch_impl")
    assert not hasattr(columns[2].aliasing, "shares_memory")


# What the docstrings and the page say


def test_numpys_views(columns: Any) -> None:
    x = X.astype(float)
    assert x[0].base is x
    assert x[0][:1].base is x  # a view of a view names the owner
    assert x.copy().base is None
    with pytest.raises(ValueError, match="read-only"):
        np.broadcast_to(x[0], (2, 3))[0] = 9
    assert np.array(x) is not x
    assert np.asarray(x) is x
    assert not np.shares_memory(x, x[x > 2])


def test_pytorchs_views(columns: Any) -> None:
    import torch

    x = torch.arange(6.0).reshape(2, 3)
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        x.T.view(-1)
    assert x.T.contiguous().view(-1).tolist() == [0, 3, 1, 4, 2, 5]
    rows = x[0].expand(2, 3)
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
        rows += 1  # every element of the first row would be written twice
    x[:, 1:] += x[:, :-1].clone()
    assert x.tolist() == [[0, 1, 3], [3, 7, 9]]
    a = np.zeros(3)
    shared, copied = torch.from_numpy(a), torch.tensor(a)
    a[0] = 7
    assert shared.tolist() == [7, 0, 0]
    assert copied.tolist() == [0, 0, 0]


def test_what_pytorch_refuses_and_what_it_overlooks(columns: Any) -> None:
    import torch

    w = torch.zeros(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        w += 1
    with pytest.raises(RuntimeError, match="a view of a leaf Variable that requires grad"):
        w[:1] += 1
    with torch.no_grad():
        w += 1
    assert w.tolist() == [1, 1]
    assert w.is_leaf
    w = torch.zeros(2, requires_grad=True)

    def d_w(write: Any, forward: Any = torch.exp) -> Any:
        y = forward(w)
        total = y.sum()
        write(y)
        return torch.autograd.grad(total, w)[0].tolist()

    def through_no_grad(y: Any) -> None:
        with torch.no_grad():
            y[0] = 9

    def through_data(y: Any) -> None:
        y.data[0] = 9

    def through_detach(y: Any) -> None:
        y.detach()[0] = 9

    def through_clone(y: Any) -> None:
        y.clone()[0] = 9

    def through_numpy(y: Any) -> None:
        y.detach().numpy()[0] = 9

    for counted in (through_no_grad, through_detach):
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            d_w(counted)
    assert d_w(through_clone) == [1, 1]
    # no count on these two, and a wrong derivative
    assert d_w(through_data) == [9, 1]
    assert d_w(through_numpy) == [9, 1]
    # what was not saved may be overwritten
    assert d_w(through_no_grad, lambda w: 2 * w) == [2, 2]


def test_a_state_dict_holds_the_parameters_themselves(columns: Any) -> None:
    import torch

    net = torch.nn.Linear(2, 2)
    best, deep = net.state_dict(), copy.deepcopy(net.state_dict())
    assert best["weight"].data_ptr() == net.weight.data_ptr()
    assert deep["weight"].data_ptr() != net.weight.data_ptr()


def test_nothing_is_drawn_for_a_layer_that_is_filled(columns: Any) -> None:
    import torch

    params, grads, _ = layer("float32")
    state = torch.get_rng_state()
    columns[1].call("aliasing", "keep", params, grads, learning_rate=0.5)
    assert torch.equal(state, torch.get_rng_state())


def aligned(size: int) -> np.ndarray:
    """Zeros that start at a multiple of 64 bytes, where JAX could take the memory over."""
    room = np.zeros(size + 16, np.float32)
    return room[-room.ctypes.data % 64 // 4 :][:size]


def test_jaxs_arrays_never_change(columns: Any) -> None:
    import jax
    import jax.numpy as jnp

    x = jnp.zeros(3)
    with pytest.raises(TypeError, match="immutable"):
        x[0] = 1
    assert x[:] is x  # nobody could tell
    assert jax.lax.stop_gradient(x) is x
    assert jax.grad(jax.lax.stop_gradient)(1.0) == 0
    assert jnp.array(x).unsafe_buffer_pointer() != x.unsafe_buffer_pointer()
    assert np.asarray(x).flags.writeable is False


@pytest.mark.parametrize("size", [3, 100_000])
def test_what_jax_copies_and_what_it_shares(columns: Any, size: int) -> None:
    import jax
    import jax.numpy as jnp

    for make, shares in (
        (jnp.asarray, versions.BEFORE_JAX_0_10_2),
        (jnp.array, False),
        (jax.device_put, True),
        (jnp.from_dlpack, True),
    ):
        source = aligned(size)
        x = jax.block_until_ready(make(source))
        source[0] = 7
        assert (float(np.array(x)[0]) == 7) is shares
    # memory that starts elsewhere is copied
    source = aligned(size + 1)[1:]
    x = jax.block_until_ready([jax.device_put(source), jnp.from_dlpack(source)])
    source[0] = 7
    assert [float(np.array(one)[0]) for one in x] == [0, 0]


def test_others_can_write_to_jaxs_arrays(columns: Any) -> None:
    import jax.numpy as jnp
    from torch.utils import dlpack

    x: Any = jnp.zeros(3)
    assert not np.from_dlpack(x).flags.writeable
    dlpack.from_dlpack(x)[0] = 7
    np.testing.assert_array_equal(np.array(x), [7, 0, 0])


def test_donated_memory(columns: Any) -> None:
    """It is deleted, and the result lies there; but not where somebody else looks at it."""
    import jax
    import jax.numpy as jnp

    update = columns[2].aliasing._update
    given = [{"weight": np.ones((2, 2), np.float32), "bias": np.ones(2, np.float32)}] * 2
    params, grads = (jax.tree.map(jnp.array, one) for one in given)
    places = {name: p.unsafe_buffer_pointer() for name, p in params.items()}
    after = update(params, grads, 0.5)
    assert {name: p.unsafe_buffer_pointer() for name, p in after.items()} == places
    assert all(p.is_deleted() for p in params.values())
    assert not any(g.is_deleted() for g in grads.values())
    for read in (np.asarray, repr, jax.device_get, lambda p: p[0]):
        with pytest.raises(RuntimeError, match="Array has been deleted"):
            read(params["weight"])
    with pytest.raises(ValueError, match="deleted or donated"):
        update(params, grads, 0.5)
    # a view of NumPy's holds the memory: XLA copies it, and says nothing
    seen = np.asarray(after["weight"])
    update(after, grads, 0.5)
    assert not after["weight"].is_deleted()
    assert after["bias"].is_deleted()
    np.testing.assert_array_equal(seen, np.full((2, 2), 0.5))


def test_donated_for_nothing(columns: Any) -> None:
    import jax
    import jax.numpy as jnp

    total = jax.jit(lambda x: x.sum(), donate_argnums=0)
    x = jnp.ones(3)
    with pytest.warns(UserWarning, match="Some donated buffers were not usable"):
        total(x)
    assert not x.is_deleted()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        total(jnp.ones(3))  # it tells when it compiles
    both = jax.jit(lambda a, b: (a + b, a - b), donate_argnums=(0, 1))
    with pytest.raises(RuntimeError, match="donate the same buffer twice"):
        both(x, x)
