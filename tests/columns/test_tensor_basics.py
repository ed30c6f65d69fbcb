"""Tensor basics: the documents' rows on tensors, and where the three frameworks part."""

import contextlib
import importlib
import math
import platform
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from triptych.column import Column, precision

DEFAULTS = {
    "numpy_ref": {"float": "float64", "int": "int64"},
    "torch_impl": {"float": "float32", "int": "int64"},
    "jax_impl": {"float": "float32", "int": "int32"},
}
DTYPES = ("bool", "int32", "int64", "float32", "float64")


@pytest.fixture
def wide() -> Iterator[None]:
    with precision("float64"):
        yield


def arrays(column: Column, *values: Any, dtype: str = "float32") -> list[Any]:
    return [column.from_numpy(np.array(value, dtype=dtype)) for value in values]


def aligned(values: Any, offset: int = 0) -> np.ndarray:
    """A float32 array whose memory starts `offset` bytes after a multiple of 64."""
    values = np.asarray(values, dtype=np.float32)
    memory = np.zeros(values.nbytes + 128, dtype=np.uint8)
    start = -memory.ctypes.data % 64 + offset
    array = memory[start : start + values.nbytes].view(np.float32).reshape(values.shape)
    array[...] = values
    return array


def same(result: Any, expected: np.ndarray) -> None:
    assert result.dtype == expected.dtype
    assert result.shape == expected.shape
    np.testing.assert_array_equal(result, expected)


# The documents' rows


@pytest.mark.parametrize(
    ("data", "rank", "shape"),
    [
        (3.0, 0, ()),
        ([1.0, 2.0, 3.0], 1, (3,)),
        ([[1.0, 2.0], [3.0, 4.0]], 2, (2, 2)),
        ([[[0.0] * 4] * 5] * 3, 3, (3, 5, 4)),
        (1, 0, ()),
        ([1, 2, 3], 1, (3,)),
        ([[1, 2, 3], [4, 5, 6]], 2, (2, 3)),
        ([[[1, 2, 3], [4, 5, 6]], [[1, 2, 3], [4, 5, 6]]], 3, (2, 2, 3)),
    ],
    ids=["A-t0", "A-t1", "A-t2", "A-image", "C-t0", "C-t1", "C-t2", "C-t3"],
)
def test_ranks_and_shapes(column: Column, data: Any, rank: int, shape: tuple[int, ...]) -> None:
    x = column.tensor_basics.tensor(data)
    family = "float" if "float" in str(x.dtype) else "int"
    assert column.tensor_basics.describe(x) == {
        "rank": rank,
        "shape": shape,
        "dtype": DEFAULTS[column.name][family],
        "device": "cpu",
    }
    assert column.to_numpy(x).tolist() == data


@pytest.mark.parametrize(
    "data", [[[1, 2], [3]], [1, [2]], [[1], 2], [[[1]], [[2], [3]]], [[1, 2], [3, [4]]]]
)
@pytest.mark.parametrize("dtype", [None, "float32"])
def test_ragged_lists_are_no_tensor(column: Column, data: Any, dtype: str | None) -> None:
    with pytest.raises(ValueError, match="tensor: data must not be ragged"):
        column.tensor_basics.tensor(data, dtype=dtype)


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_sum_product_and_dot(column: Column, dtype: str) -> None:
    x, y = arrays(column, [2, 3], [1, 4], dtype=dtype)
    result = column.give_out(column.tensor_basics.elementwise(x, y))
    assert result["sum"].tolist() == [3, 7]
    assert result["product"].tolist() == [2, 12]
    assert result["difference"].tolist() == [1, -1]
    assert result["quotient"].tolist() == [2, 0.75]
    dot = column.to_numpy(column.tensor_basics.dot(x, y))
    same(dot, np.array(14, dtype=dtype))


def test_moving_needs_the_device(column: Column) -> None:
    basics = column.tensor_basics
    x = basics.tensor([1, 2])
    assert basics.describe(basics.move(x, "cpu"))["device"] == "cpu"
    if "cuda" in column.devices():
        there = basics.move(x, "cuda")
        assert basics.describe(there)["device"] == "cuda"
        assert column.to_numpy(there).tolist() == [1, 2]
        assert basics.describe(basics.tensor([1, 2], device="cuda"))["device"] == "cuda"
        with pytest.raises(ValueError, match="to_host: x must be on the host"):
            basics.to_host(there, share=True)
        return
    with pytest.raises(ValueError, match=r"move: device must be 'cpu' .*got 'cuda'"):
        basics.move(x, "cuda")
    with pytest.raises(ValueError, match=r"tensor: device must be 'cpu' .*got 'cuda'"):
        basics.tensor([1, 2], device="cuda")


@pytest.mark.usefixtures("wide")
def test_float64_from_numpy_is_cast_to_float32(column: Column) -> None:
    basics = column.tensor_basics
    x = basics.from_host(np.array([[0.1, 0.2]]), share=False)
    assert basics.describe(x)["dtype"] == "float64"
    weight = basics.tensor([[1.0], [2.0]], dtype="float32")
    with pytest.raises(TypeError, match="matmul: y must have the dtype of x, float64"):
        basics.matmul(x, weight)
    narrow = basics.cast(x, "float32")
    same(column.to_numpy(narrow), np.array([[0.1, 0.2]], dtype=np.float32))
    y = column.to_numpy(basics.matmul(narrow, weight))
    same(y, np.array([[np.float32(0.1) + 2 * np.float32(0.2)]], dtype=np.float32))


def test_a_layer_of_pytorch_refuses_float64_and_arithmetic_does_not() -> None:
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(np.array([[0.1, 0.2]]))
    with pytest.raises(RuntimeError, match="dtype"):
        torch.nn.Linear(2, 1)(x)
    assert (torch.ones(1, 2) * x + torch.zeros(1)).dtype == torch.float64


# Default dtypes


def test_default_dtypes(column: Column) -> None:
    names = [
        column.tensor_basics.describe(column.tensor_basics.tensor(data))["dtype"]
        for data in (1.5, 1, True, [1, 2.5], [True, 2])
    ]
    floating, integer = DEFAULTS[column.name].values()
    assert names == [floating, integer, "bool", floating, integer]


@pytest.mark.usefixtures("wide")
def test_default_dtypes_with_x64(column: Column) -> None:
    floating = "float32" if column.name == "torch_impl" else "float64"
    basics = column.tensor_basics
    assert basics.describe(basics.tensor(1.5))["dtype"] == floating
    assert basics.describe(basics.tensor([1]))["dtype"] == "int64"


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype_as_asked(column: Column, dtype: str) -> None:
    x = column.tensor_basics.tensor([[0, 1, 2]], dtype=dtype)
    same(column.to_numpy(x), np.array([[0, 1, 2]], dtype=dtype))


@pytest.mark.parametrize("dtype", ["int64", "float64"])
def test_jax_says_how_to_get_64_bits(dtype: str) -> None:
    pytest.importorskip("jax")
    tensor_basics: Any = importlib.import_module("jax_impl.tensor_basics")
    one = tensor_basics.tensor([1], dtype="int32")
    array = np.ones(2, dtype=dtype)
    for function, argument, keywords in (
        (tensor_basics.tensor, [1], {"dtype": dtype}),
        (tensor_basics.cast, one, {"dtype": dtype}),
        (tensor_basics.from_host, array, {"share": False}),
        (tensor_basics.from_host, array, {"share": True}),
    ):
        with pytest.raises(ValueError, match=rf"{dtype}.*jax_enable_x64"):
            function(argument, **keywords)
    with precision("float64"):
        assert tensor_basics.cast(one, dtype).dtype == dtype


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (2**63, None),
        ([1, 2**63], None),
        ([0.5, 2**63], None),
        (2**64, None),
        (-(2**63) - 1, None),
        (10**400, None),
        (2**31, "int32"),
        ([-(2**31) - 1], "int32"),
        (1e39, "float32"),
        ([1.0, -1e39], "float32"),
        (math.inf, None),
        ([math.nan], None),
        (math.nan, "int32"),
    ],
)
def test_numbers_that_do_not_fit(column: Column, data: Any, dtype: str | None) -> None:
    with pytest.raises(ValueError, match="tensor: data must"):
        column.tensor_basics.tensor(data, dtype=dtype)


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1])
def test_the_default_integer_of_jax_ends_at_32_bits(column: Column, number: int) -> None:
    for data in (number, [number]):
        if column.name == "jax_impl":
            with pytest.raises(ValueError, match="tensor: data must"):
                column.tensor_basics.tensor(data)
        with precision("float64"):
            assert column.to_numpy(column.tensor_basics.tensor(data)).tolist() == data


@pytest.mark.parametrize("data", ["1", ["1", "2"], [1, "a"], None, [None], {1: 2}, 1j, b"1"])
@pytest.mark.parametrize("dtype", [None, "float32"])
def test_only_numbers_make_a_tensor(column: Column, data: Any, dtype: str | None) -> None:
    with pytest.raises(TypeError, match="tensor: data must be a Python number or nested lists"):
        column.tensor_basics.tensor(data, dtype=dtype)


@pytest.mark.parametrize("data", [[], [[]], [[], []], [[1], []]])
def test_an_empty_list_is_no_tensor(column: Column, data: Any) -> None:
    with pytest.raises(ValueError, match="tensor: data must be lists with at least one number"):
        column.tensor_basics.tensor(data)


def test_dtype_is_one_of_the_names(column: Column) -> None:
    with pytest.raises(ValueError, match=r"tensor: dtype must be 'bool' or .* got 'float16'"):
        column.tensor_basics.tensor([1], dtype="float16")
    with pytest.raises(TypeError, match="tensor: dtype must be"):
        column.tensor_basics.tensor([1], dtype=float)
    with pytest.raises(ValueError, match="cast: dtype must be"):
        column.tensor_basics.cast(column.tensor_basics.tensor([1]), "int8")


# Arithmetic


def test_matmul(column: Column) -> None:
    x, y = arrays(column, [[1, 2, 3], [4, 5, 6]], [[1, 0], [0, 1], [2, -1]])
    result = column.to_numpy(column.tensor_basics.matmul(x, y))
    same(result, np.array([[7, -1], [16, -1]], dtype=np.float32))


def test_integers_divide_to_the_default_float(column: Column) -> None:
    x, y = arrays(column, [1, 7], [2, 4], dtype="int32")
    quotient = column.to_numpy(column.tensor_basics.elementwise(x, y)["quotient"])
    same(quotient, np.array([0.5, 1.75], dtype=DEFAULTS[column.name]["float"]))


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_dividing_by_zero_is_no_error(column: Column, dtype: str) -> None:
    x, y = arrays(column, [1, -1, 0], [0, 0, 0], dtype=dtype)
    quotient = column.to_numpy(column.tensor_basics.elementwise(x, y)["quotient"])
    np.testing.assert_array_equal(quotient, [math.inf, -math.inf, math.nan])


def test_elementwise_and_matmul_agree_bit_for_bit(columns: list[Column], dtype: np.dtype) -> None:
    # one rounding for each entry; the products of small whole numbers and their sums are exact
    random = np.random.default_rng(7)
    x, y = random.standard_normal((2, 40, 3)).astype(dtype)
    p, q = random.integers(-50, 50, (2, 6, 6)).astype(dtype)
    calls = {
        "elementwise": (x, y),
        "broadcast": (x[:, :1], y[:, 0]),
        "dot": (p[0], q[0]),
        "matmul": (p, q),
    }
    for function, arguments in calls.items():
        first, *others = (c.call("tensor_basics", function, *arguments) for c in columns)
        for other in others:
            if isinstance(first, dict):
                assert first.keys() == other.keys()
                for name in first:
                    same(other[name], first[name])
            else:
                same(other, first)


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("function", ["elementwise", "dot", "matmul", "broadcast"])
@pytest.mark.parametrize(
    ("first", "second"), [("float32", "float64"), ("int32", "float32"), ("int32", "int64")]
)
def test_mixed_dtypes_are_refused(column: Column, function: str, first: str, second: str) -> None:
    shapes = {"matmul": ((1, 1), (1, 1)), "broadcast": ((2, 1), (3,))}
    one, two = shapes.get(function, ((2,), (2,)))
    x = column.from_numpy(np.ones(one, dtype=first))
    y = column.from_numpy(np.ones(two, dtype=second))
    names = ("row", "column") if function == "broadcast" else ("y", "x")
    with pytest.raises(TypeError, match=r"{} must have the dtype of {}".format(*names)):
        getattr(column.tensor_basics, function)(x, y)


@pytest.mark.parametrize(
    ("function", "first", "second"),
    [
        ("elementwise", (3,), (3, 1)),
        ("elementwise", (3,), (1,)),
        ("elementwise", (2, 3), (3,)),
        ("dot", (2,), (3,)),
        ("dot", (2, 2), (2, 2)),
        ("matmul", (2, 3), (2, 3)),
        ("matmul", (2, 3), (3,)),
        ("broadcast", (3,), (3,)),
        ("broadcast", (3, 2), (3,)),
        ("broadcast", (3, 1), (3, 1)),
    ],
)
def test_shapes_that_do_not_match_are_refused(
    column: Column, function: str, first: tuple[int, ...], second: tuple[int, ...]
) -> None:
    x, y = arrays(column, np.ones(first), np.ones(second))
    with pytest.raises(ValueError, match=rf"{function}: (x|y|column|row) must be of shape"):
        getattr(column.tensor_basics, function)(x, y)


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_broadcast_repeats_both(column: Column, dtype: str) -> None:
    x, y = arrays(column, [[10], [20]], [1, 2, 3], dtype=dtype)
    result = column.to_numpy(column.tensor_basics.broadcast(x, y))
    same(result, np.array([[11, 12, 13], [21, 22, 23]], dtype=dtype))


# Reductions


def test_reductions(column: Column, dtype: np.dtype) -> None:
    x = np.array([[4, 1, 4, 2], [-3, 0, 3, 1]], dtype=dtype)
    result = column.call("tensor_basics", "reductions", x)
    row_sums = result.pop("row_sums")
    same(row_sums, np.array([11, 1], dtype=dtype))
    argmax = result.pop("argmax")
    assert argmax == 0, "the first of equals"
    narrow = column.name == "jax_impl" and dtype == np.float32
    assert argmax.dtype == (np.int32 if narrow else np.int64)
    assert result == {"sum": 12, "mean": 1.5, "min": -3, "max": 4, "median": 1.5}
    assert {value.dtype for value in result.values()} == {dtype}
    assert {value.shape for value in result.values()} == {()}


def test_reductions_of_one_row_and_of_rank_three(column: Column) -> None:
    one = column.call("tensor_basics", "reductions", np.array([3, 9, 5], dtype=np.float32))
    assert (one["row_sums"], one["median"], one["argmax"]) == (17, 5, 1)
    three = column.call("tensor_basics", "reductions", np.ones((2, 3, 4), dtype=np.float32))
    same(three["row_sums"], np.full((2, 3), 4, dtype=np.float32))


def test_reductions_agree(columns: list[Column], dtype: np.dtype) -> None:
    # each framework adds in its own order: a few roundings of the sum of the magnitudes
    for x in np.random.default_rng(7).standard_normal((20, 50, 21)).astype(dtype):
        first, *others = (c.call("tensor_basics", "reductions", x) for c in columns)
        scale = np.abs(x).sum() * np.finfo(dtype).eps
        for other in others:
            for name in ("min", "max", "argmax", "median"):
                assert other[name] == first[name], name
            for name, size in (("sum", 1), ("mean", x.size), ("row_sums", 1)):
                np.testing.assert_allclose(
                    other[name], first[name], rtol=0, atol=4 * scale / size, err_msg=name
                )


@pytest.mark.parametrize(("ddof", "expected"), [(0, 8.0), (1, 10.0)])
def test_variance_says_its_divisor(
    column: Column, dtype: np.dtype, ddof: int, expected: float
) -> None:
    # mean 4, squared deviations 9 + 4 + 1 + 1 + 25 = 40, over 5 or 4: exact in both precisions
    x = np.array([[1, 2, 3, 5, 9]], dtype=dtype)
    got = column.call("tensor_basics", "variance", x, ddof=ddof)
    same(got, np.array(expected, dtype=dtype))


def test_variance_far_from_zero(column: Column, dtype: np.dtype) -> None:
    """The squares of the deviations, not the mean of the squares less the square of the mean."""
    far = {"float32": 2.0**14, "float64": 2.0**40}[str(dtype)]
    x = (far + np.array([1, 2, 3, 5, 9])).astype(dtype)
    same(column.call("tensor_basics", "variance", x, ddof=0), np.array(8, dtype=dtype))


def test_moving_to_where_it_is_copies_nothing(column: Column) -> None:
    (x,) = arrays(column, [1.0, 2.0])
    moved = column.tensor_basics.move(x, "cpu")
    if column.name == "jax_impl":
        assert moved.unsafe_buffer_pointer() == x.unsafe_buffer_pointer()
    else:
        moved[0] = 5
        assert column.to_numpy(x).tolist() == [5, 2]


def test_variance_of_one_number(column: Column) -> None:
    (x,) = arrays(column, [3.0])
    assert column.to_numpy(column.tensor_basics.variance(x, ddof=0)) == 0
    with pytest.raises(ValueError, match="variance: x must have more than 1 element"):
        column.tensor_basics.variance(x, ddof=1)
    with pytest.raises(ValueError, match="ddof must be 0 or 1"):
        column.tensor_basics.variance(x, ddof=2)
    with pytest.raises(TypeError, match="ddof"):
        column.tensor_basics.variance(x)


@pytest.mark.parametrize("function", ["reductions", "variance"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_data_that_is_not_finite_is_refused(column: Column, function: str, value: float) -> None:
    (x,) = arrays(column, [1.0, value])
    keywords = {"ddof": 0} if function == "variance" else {}
    with pytest.raises(ValueError, match=rf"{function}: x must be finite"):
        getattr(column.tensor_basics, function)(x, **keywords)


def test_means_of_integers_are_refused(column: Column) -> None:
    (x,) = arrays(column, [1, 2], dtype="int32")
    with pytest.raises(TypeError, match="reductions: x must have a floating-point dtype"):
        column.tensor_basics.reductions(x)


# Indexing and shapes


@pytest.mark.parametrize("dtype", ["bool", "float32"])
def test_slices(column: Column, dtype: str) -> None:
    x = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], dtype=dtype)
    mask = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=bool)
    result = column.call("tensor_basics", "slices", x, mask)
    expected = {
        "first_row": [1, 2, 3],
        "last_column": [3, 6, 9],
        "top_left_block": [[1, 2], [4, 5]],
        "every_second_row": [[1, 2, 3], [7, 8, 9]],
        "rows_reversed": [[7, 8, 9], [4, 5, 6], [1, 2, 3]],
        "masked": [2, 6, 7],
    }
    assert result.keys() == expected.keys()
    for name, values in expected.items():
        same(result[name], np.array(values, dtype=dtype))


def test_a_mask_has_the_shape_and_dtype_of_a_mask(column: Column) -> None:
    basics = column.tensor_basics
    (x,) = arrays(column, np.ones((2, 2)))
    nothing = column.from_numpy(np.zeros((2, 2), dtype=bool))
    assert column.to_numpy(basics.slices(x, nothing)["masked"]).shape == (0,)
    with pytest.raises(TypeError, match="slices: mask must have a boolean dtype"):
        basics.slices(x, column.from_numpy(np.ones((2, 2), dtype=np.int32)))
    with pytest.raises(ValueError, match="slices: mask must be of shape"):
        basics.slices(x, column.from_numpy(np.ones((2, 1), dtype=bool)))


def test_reshape_and_transpose(column: Column) -> None:
    x = np.arange(6, dtype=np.float32)
    by_rows = column.call("tensor_basics", "reshape", x, 2, 3)
    same(by_rows, np.array([[0, 1, 2], [3, 4, 5]], dtype=np.float32))
    turned = column.call("tensor_basics", "transpose", by_rows)
    same(turned, np.array([[0, 3], [1, 4], [2, 5]], dtype=np.float32))
    square = np.arange(9, dtype=np.float32).reshape(3, 3)
    turned = column.call("tensor_basics", "transpose", square)
    same(turned, np.array([[0, 3, 6], [1, 4, 7], [2, 5, 8]], dtype=np.float32))
    through = column.tensor_basics.transpose(column.from_numpy(by_rows))
    back = column.to_numpy(column.tensor_basics.reshape(through, 1, 6))
    same(back, np.array([[0, 3, 1, 4, 2, 5]], dtype=np.float32))


@pytest.mark.parametrize(("rows", "columns"), [(4, 2), (2, 2), (-1, 3), (0, 6)])
def test_reshape_keeps_every_entry(column: Column, rows: int, columns: int) -> None:
    (x,) = arrays(column, np.arange(6))
    with pytest.raises(ValueError, match="reshape: rows"):
        column.tensor_basics.reshape(x, rows, columns)


def test_replace_leaves_the_original(column: Column, dtype: np.dtype) -> None:
    x, value = arrays(column, [1, 2, 3], 9, dtype=dtype.name)
    for index, expected in ((0, [9, 2, 3]), (2, [1, 2, 9])):
        for integer in ("int32", "int64")[: 1 + (dtype == np.float64)]:
            (at,) = arrays(column, index, dtype=integer)
            result = column.to_numpy(column.tensor_basics.replace(x, at, value))
            same(result, np.array(expected, dtype=dtype))
    same(column.to_numpy(x), np.array([1, 2, 3], dtype=dtype))


@pytest.mark.parametrize("index", [-1, 3, 100])
def test_replace_refuses_an_index_out_of_range(column: Column, index: int) -> None:
    x, value = arrays(column, [1, 2, 3], 9)
    (at,) = arrays(column, index, dtype="int32")
    with pytest.raises(ValueError, match=rf"replace: index must be in 0 .. 2 .*got {index}"):
        column.tensor_basics.replace(x, at, value)


def test_jax_itself_drops_a_write_out_of_range() -> None:
    jnp = pytest.importorskip("jax.numpy")
    assert jnp.zeros(3).at[5].set(1.0).tolist() == [0, 0, 0]


def test_replace_wants_a_value_of_its_dtype(column: Column) -> None:
    (x,) = arrays(column, [1, 2, 3])
    at, whole = arrays(column, 0, 7, dtype="int32")
    with pytest.raises(TypeError, match="replace: value must have a floating-point dtype"):
        column.tensor_basics.replace(x, at, whole)
    with pytest.raises(TypeError, match="replace: index must have an integer dtype"):
        column.tensor_basics.replace(x, x[0], x[0])


# Casts


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("source", DTYPES)
@pytest.mark.parametrize("target", DTYPES)
def test_cast(column: Column, source: str, target: str) -> None:
    values = np.array([[0, 1], [-2.75, 2.75]]).astype(source)
    same(column.call("tensor_basics", "cast", values, target), values.astype(target))


@pytest.mark.parametrize(
    ("value", "in_jax"), [(3e9, 2**31 - 1), (-3e9, -(2**31)), (math.nan, 0), (math.inf, 2**31 - 1)]
)
def test_a_float_that_no_integer_equals(column: Column, value: float, in_jax: int) -> None:
    x = column.from_numpy(np.array([1.0, value], dtype=np.float32))
    if column.name == "jax_impl":
        assert column.to_numpy(column.tensor_basics.cast(x, "int32")).tolist() == [1, in_jax]
        return
    warning = pytest.warns(RuntimeWarning, match="invalid value")
    with warning if column.name == "numpy_ref" else contextlib.nullcontext():
        result = column.tensor_basics.cast(x, "int32")
    if platform.machine() in ("x86_64", "AMD64"):
        assert column.to_numpy(result).tolist() == [1, -(2**31)]


# Memory


def overlap(column: Column, x: Any, y: Any) -> bool:
    """Whether two arrays of a column on the host stand on the same memory."""
    basics = column.tensor_basics
    return np.shares_memory(basics.to_host(x, share=True), basics.to_host(y, share=True))


def test_what_is_a_view(column: Column) -> None:
    basics = column.tensor_basics
    (x,) = arrays(column, np.arange(6).reshape(2, 3))
    cuts = basics.slices(x, column.from_numpy(np.ones((2, 3), dtype=bool)))
    shared = {name for name, cut in cuts.items() if overlap(column, x, cut)}
    views = {"first_row", "last_column", "top_left_block", "every_second_row"}
    turned = basics.transpose(x)
    shapes = [
        overlap(column, x, turned),
        overlap(column, x, basics.reshape(x, 3, 2)),
        overlap(column, x, basics.reshape(turned, 2, 3)),
    ]
    assert (shared, shapes) == {
        "numpy_ref": (views | {"rows_reversed"}, [True, True, False]),
        "torch_impl": (views, [True, True, False]),
        "jax_impl": (set(), [False, False, False]),
    }[column.name]


def test_copies_stand_on_their_own(column: Column) -> None:
    basics = column.tensor_basics
    for array in (aligned([1, 2, 3]), aligned([1, 2, 3], offset=16)):
        x = basics.from_host(array, share=False)
        array[0] = 99
        assert column.to_numpy(x).tolist() == [1, 2, 3]
        back = basics.to_host(x, share=False)
        back[1] = 99
        assert column.to_numpy(x).tolist() == [1, 2, 3]
    assert not overlap(column, x, basics.cast(x, "float32"))
    (at,) = arrays(column, 0, dtype="int32")
    assert not overlap(column, x, basics.replace(x, at, x[0]))


def test_shared_memory_shows_a_write(column: Column) -> None:
    array = aligned([1, 2, 3])
    x = column.tensor_basics.from_host(array, share=True)
    array[0] = 99
    assert column.to_numpy(x).tolist() == [99, 2, 3]


def test_memory_that_starts_anywhere(column: Column) -> None:
    array = aligned([1, 2, 3], offset=16)
    if column.name == "jax_impl":
        with pytest.raises(ValueError, match=r"from_host: array must be memory .*aligned"):
            column.tensor_basics.from_host(array, share=True)
        return
    x = column.tensor_basics.from_host(array, share=True)
    array[0] = 99
    assert column.to_numpy(x).tolist() == [99, 2, 3]


def test_memory_that_cannot_be_shared(column: Column) -> None:
    basics = column.tensor_basics
    reverse = aligned([1, 2, 3])[::-1]
    locked = aligned([1, 2, 3])
    locked.flags.writeable = False
    for array in (reverse, locked):
        if column.name == "numpy_ref":
            assert np.shares_memory(basics.from_host(array, share=True), array)
        else:
            with pytest.raises(ValueError, match="array"):
                basics.from_host(array, share=True)
        x = basics.from_host(array, share=False)
        same(column.to_numpy(x), array)


def test_shared_with_the_host(column: Column) -> None:
    basics = column.tensor_basics
    (x,) = arrays(column, [1, 2, 3])
    host = basics.to_host(x, share=True)
    assert isinstance(host, np.ndarray)
    assert np.shares_memory(host, basics.to_host(x, share=True))
    if column.name == "jax_impl":
        with pytest.raises(ValueError, match="read-only"):
            host[0] = 99
    else:
        host[0] = 99
        assert column.to_numpy(x).tolist() == [99, 2, 3]
    if column.name == "torch_impl":
        # NumPy cannot take what hangs on a graph: to_host lets go of it
        x.requires_grad_()
        assert basics.to_host(x, share=True).tolist() == [99, 2, 3]
        assert basics.to_host(x, share=False).tolist() == [99, 2, 3]


@pytest.mark.parametrize("array", [[1.0, 2.0], 1.0, None])
def test_from_host_wants_an_array_of_numpy(column: Column, array: Any) -> None:
    with pytest.raises(TypeError, match="from_host: array must be a NumPy array"):
        column.tensor_basics.from_host(array, share=False)


@pytest.mark.parametrize(
    "array", [np.array(["a"]), np.array([None]), np.array([1j]), np.ones(2, dtype=">f4")]
)
def test_from_host_wants_native_numbers(column: Column, array: np.ndarray) -> None:
    if sys.byteorder == "big":
        array = array.astype("<f4") if array.dtype.kind == "f" else array
    for share in (False, True):
        with pytest.raises(
            TypeError, match="from_host: array must be a NumPy array of numbers in this machine"
        ):
            column.tensor_basics.from_host(array, share=share)


# What comes in


def test_nothing_given_is_changed(column: Column) -> None:
    basics = column.tensor_basics
    data = [[1.0, 2.0], [3.0, 4.0]]
    basics.tensor(data)
    assert data == [[1.0, 2.0], [3.0, 4.0]]
    x, row, value = arrays(column, [[1, 2], [3, 4]], [5, 6], 7)
    (at,) = arrays(column, 1, dtype="int32")
    mask = column.from_numpy(np.eye(2, dtype=bool))
    given = {"x": x, "row": row, "value": value, "at": at, "mask": mask}
    before = column.to_numpy(given)
    basics.describe(x)
    basics.elementwise(x, x)
    basics.dot(row, row)
    basics.matmul(x, x)
    basics.broadcast(x[:, :1], row)
    basics.reductions(x)
    basics.variance(x, ddof=1)
    basics.slices(x, mask)
    basics.replace(row, at, value)
    basics.reshape(x, 1, 4)
    basics.transpose(x)
    basics.cast(x, "int32")
    basics.to_host(x, share=False)
    basics.move(x, "cpu")
    after = column.to_numpy(given)
    for name in given:
        same(after[name], before[name])


@pytest.mark.parametrize("function", ["describe", "transpose", "reductions"])
def test_lists_are_no_arrays(column: Column, function: str) -> None:
    with pytest.raises(TypeError, match=rf"{function}: x must be an array of this column"):
        getattr(column.tensor_basics, function)([[1.0]])


def test_empty_arrays_are_refused(column: Column) -> None:
    (x,) = arrays(column, np.ones((0, 3)))
    with pytest.raises(ValueError, match="at least one element"):
        column.tensor_basics.transpose(x)
