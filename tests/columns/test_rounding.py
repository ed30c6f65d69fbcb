"""24-bit arithmetic: each operation against exact arithmetic, sums in every order."""

import importlib
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from triptych.column import Column, precision

TINY = 2.0**-126
LARGEST = float(np.finfo(np.float32).max)


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with precision("float64"):
        yield


def numbers(shape: Any, seed: int = 0, spread: float = 6) -> np.ndarray:
    """24-bit numbers of both signs and of many sizes."""
    rng = np.random.default_rng(seed)
    return (
        (rng.normal(size=shape) * np.exp2(rng.uniform(-spread, spread, shape)))
        .astype(np.float32)
        .astype(float)
    )


def same_bits(a: np.ndarray, b: np.ndarray) -> None:
    """Zero's sign included."""
    assert a.dtype == b.dtype
    assert a.tobytes() == b.tobytes()


def nearest(x: Fraction) -> float:
    """The nearest 24-bit number, the even one of two; 0 below 2^-126."""
    if abs(x) < Fraction(TINY):
        return 0.0
    exponent = 0
    while abs(x) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    while abs(x) < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** (exponent - 23)
    return float(round(x / unit) * unit)


EDGES = [
    0.0, -0.0, 1.0, 1 + 2.0**-24, 1 + 3 * 2.0**-24, 1 - 2.0**-25, 1 + 2.0**-24 + 2.0**-52,
    TINY, -TINY, TINY * (1 - 2.0**-53), TINY / 2, -TINY / 2, 2.0**-149, 2.0**-1000, LARGEST, -1 / 3,
]  # fmt: skip


def test_rounded(column: Any) -> None:
    x = np.array([*EDGES, *np.random.default_rng(0).normal(size=200)])
    expected = np.array([nearest(Fraction(value)) for value in x])
    same_bits(column.call("rounding", "rounded", x), expected)
    assert not np.signbit(expected[1])


def test_beyond_the_largest_it_is_infinite(column: Any) -> None:
    with np.errstate(over="ignore"):
        found = column.call("rounding", "rounded", np.array([LARGEST * (1 + 2.0**-24), -1e300]))
    assert found.tolist() == [np.inf, -np.inf]


def test_split(column: Any) -> None:
    x = numbers((7, 5))
    x[2] = 0
    for axis in (0, 1):
        unit = column.call("rounding", "unit", x, axis=axis)
        high, low = column.call("rounding", "split", x, unit)
        assert unit.shape == ((1, 5), (7, 1))[axis]
        for whole, largest in ((high, 2**19), (low, 2**18)):
            assert np.array_equal(whole, np.rint(whole))
            assert np.abs(whole).max() <= largest
        mantissa, _ = np.frexp(unit)
        assert (mantissa == 0.5).all()
        error = np.abs((high + low / 2**19) * unit - x)
        assert (error <= 2.0**-39 * 2 * np.abs(x).max(axis=axis, keepdims=True)).all()


def exact_product(a: np.ndarray, b: np.ndarray) -> list[list[Fraction]]:
    rows = [[Fraction(value) for value in row] for row in a]
    columns = [[Fraction(value) for value in row] for row in b.T]
    return [[sum(map(Fraction.__mul__, row, c), Fraction()) for c in columns] for row in rows]


def test_product_beside_exact_arithmetic(column: Any, agree: Any) -> None:
    """To 2^-37 of the largest terms, and half a unit of 24 bits: better than any float32 sum."""
    a, b = numbers((3, 500), 3, 2), numbers((500, 2), 4, 2)
    exact = exact_product(a, b)
    found = column.call("rounding", "product", a, b)
    for i, j in np.ndindex(3, 2):
        terms = np.abs(a[i]).max() * np.abs(b[:, j]).max()
        allowed = 500 * 2.0**-37 * terms + 2.0**-24 * abs(float(exact[i][j]))
        assert abs(Fraction(found[i, j]) - exact[i][j]) <= allowed
    expected = np.array([[float(value) for value in row] for row in exact])
    agree(
        "rounding", "product of 500 terms", f"exact/{column.name}",
        found.astype(np.float32), expected.astype(np.float32), 1, "eps",
    )  # fmt: skip


def test_no_order_of_the_sums_changes_a_bit(column: Any) -> None:
    rng = np.random.default_rng(0)
    a, b = numbers((3, 4096), 5), numbers((4096, 2), 6)
    found = column.call("rounding", "product", a, b)
    total = column.call("rounding", "total", b)
    for _ in range(5):
        order = rng.permutation(4096)
        same_bits(column.call("rounding", "product", a[:, order], b[order]), found)
        same_bits(column.call("rounding", "total", b[order]), total)


def test_ordinary_sums_do_depend_on_their_order() -> None:
    a, b = (
        numbers(shape, seed).astype(np.float32) for shape, seed in (((3, 4096), 5), ((4096, 2), 6))
    )
    order = np.random.default_rng(0).permutation(4096)
    assert not np.array_equal(a @ b, a[:, order] @ b[order])


def test_the_longest_sum_is_exact(column: Any) -> None:
    """2^15 terms, each as large as it can be, and one more."""
    terms = 2**15
    value = 1 - 2.0**-24  # 2^19 times this is rounded up to 2^19
    a = np.full((1, terms), value)
    b = np.full((terms, 1), value)
    b[::2] *= 1 - 2.0**-20  # odd numbers in the low parts
    expected = nearest(exact_product(a, b)[0][0])
    assert column.call("rounding", "product", a, b) == expected
    with pytest.raises(ValueError, match="at most 32768 terms to be exact, got 32769"):
        column.call("rounding", "product", np.ones((1, terms + 1)), np.ones((terms + 1, 1)))


def test_total_beside_exact_arithmetic(column: Any) -> None:
    x = numbers((1000, 3), 7)
    found = column.call("rounding", "total", x)
    for j in range(3):
        exact = sum(map(Fraction, x[:, j]), Fraction())
        slack = 1000 * 2.0**-38 * np.abs(x[:, j]).max() + 2.0**-24 * abs(float(exact))
        assert abs(Fraction(found[j]) - exact) <= slack


HALF = np.full((2, 2), 0.5)
BAD: list[tuple[str, Any, dict[str, Any], type[Exception], str]] = [
    ("exp", [HALF], {}, ValueError, "x must be numbers of at most 0, got 0.5 at index"),
    ("log", [HALF], {}, ValueError, "x must be numbers of at least 1, got 0.5 at index"),
    ("log", [HALF * np.nan], {}, ValueError, "x must be finite, got nan"),
    ("rounded", [HALF * np.inf], {}, ValueError, "x must be finite, got inf"),
    ("rounded", [HALF.astype(np.float32)], {}, TypeError, "float64, got dtype float32"),
    ("total", [HALF[0]], {}, ValueError, r"x must be of shape \(n, k\), got shape \(2,\)"),
    ("total", [HALF.astype(int)], {}, TypeError, "x must have float64, got dtype int64"),
    ("unit", [HALF], {"axis": 2}, ValueError, "axis must be 0 or 1, got 2"),
    ("split", [HALF, HALF.astype(np.float32)], {}, TypeError, "units must have float64"),
    (
        "product",
        [HALF, np.ones((3, 2))],
        {},
        ValueError,
        r"b must be of shape \(k, m\) where k = 2",
    ),
    ("product", [HALF, HALF.astype(np.float32)], {}, TypeError, "b must have float64"),
]


@pytest.mark.parametrize(("function", "arguments", "options", "error", "words"), BAD)
def test_bad_input(
    column: Any, function: str, arguments: Any, options: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as raised:
        column.call("rounding", function, *arguments, **options)
    assert str(raised.value).startswith(f"rounding.{function}: ")


@pytest.fixture
def stride(pytestconfig: pytest.Config) -> int:
    return 1 if pytestconfig.getoption("--exhaustive") else 61


# the edges, and numbers that t^2 / 2 decides
ARGUMENTS = [0, -1, -(2.0**-24), -(2.0**-25), -(2.0**-30), -87, -87.336, -87.3366, -88, -89, -1e30]
ARGUMENTS += map(float.fromhex, ["-0x1.42c56ep-11", "-0x1.22a9ecp-5", "-0x1.b7a5e6p-14"])


def exp_of(x: np.ndarray) -> np.ndarray:
    """Correctly rounded: x87's extended precision is far from the middle of two 24-bit numbers."""
    exact = np.exp(x.astype(np.longdouble))
    return np.where(exact < TINY, 0, exact).astype(np.float32).astype(float)


def test_exp(column: Any) -> None:
    rng = np.random.default_rng(0)
    drawn = -np.exp(rng.uniform(-18, 4.5, 20_000)).astype(np.float32).astype(float)
    x = np.concatenate([ARGUMENTS, drawn]).astype(np.float32).astype(float)
    same_bits(column.call("rounding", "exp", x), exp_of(x))


def test_log(column: Any) -> None:
    rng = np.random.default_rng(0)
    near = 1 + np.exp(rng.uniform(-16, 0, 10_000))
    x = np.concatenate([[1, 2, 3, 1 + 2.0**-23, LARGEST], near, np.exp(rng.uniform(0, 80, 10_000))])
    x = x.astype(np.float32)
    found = column.call("rounding", "log", x.astype(float))
    exact = np.log(x.astype(np.longdouble))
    assert found[0] == 0
    # numbers that the powers of q decide
    decided = np.array(
        [float.fromhex(f"0x1.{digits}p0") for digits in ["00131c", "00153e", "003d30"]]
    )
    expected = np.log(decided.astype(np.longdouble)).astype(np.float32).astype(float)
    same_bits(column.call("rounding", "log", decided), expected)
    apart = np.abs(found - exact) / np.spacing(exact.astype(np.float32))
    assert apart.max() < 0.74
    same_bits(found, Column("numpy_ref").call("rounding", "log", x.astype(float)))


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.integers(1, 40), st.integers(1, 300), st.integers(1, 9),
    st.integers(0, 2**31), st.floats(0, 60),
)  # fmt: skip
def test_products_have_the_same_bits(
    columns: list[Any], n: int, k: int, m: int, seed: int, spread: float
) -> None:
    with precision("float64"):  # hypothesis calls this often, the fixture comes once
        a, b = numbers((n, k), seed, spread), numbers((k, m), seed + 1, spread)
        first, *others = (
            c.call("rounding", "product", a, b) for c in columns if c.name != "jax_impl"
        )
        for other in others:
            same_bits(other, first)


def chunks(low: float, high: float, stride: int) -> Iterator[np.ndarray]:
    """The float32 numbers from low to high, each stride-th, some millions at a time."""
    first, last = (int(np.float32(edge).view(np.int32)) for edge in (low, high))
    for start in range(first, last + 1, stride * 2**21):
        stop = min(start + stride * 2**21, last + 1)
        yield np.arange(start, stop, stride, dtype=np.int32).view(np.float32)


@pytest.mark.slow
def test_exp_of_every_number(columns: list[Any], stride: int) -> None:
    count = 0
    for x in chunks(2.0**-26, 87.4, stride):
        count += len(x)
        expected = exp_of(-x.astype(float))
        for column in columns:
            same_bits(column.call("rounding", "exp", -x.astype(float)), expected)
    assert count == -(-271_502_542 // stride)


def in_framework(column: Column, operation: str, *operands: np.ndarray) -> np.ndarray:
    """The framework's own float64 operation, rounded to 24 bits."""
    library = {"numpy_ref": "numpy", "torch_impl": "torch", "jax_impl": "jax.numpy"}[column.name]
    computed = getattr(importlib.import_module(library), operation)(*column.take_in(operands))
    return column.call("rounding", "rounded", column.give_out(computed))


@pytest.mark.slow
def test_the_root_of_every_number(columns: list[Any], stride: int) -> None:
    """Through float64 it is the root that the processor computes in float32, which is exact."""
    for x in chunks(TINY, LARGEST, stride):
        for column in columns:
            same_bits(in_framework(column, "sqrt", x.astype(float)), np.sqrt(x).astype(float))


@pytest.mark.slow
def test_quotients(columns: list[Any], stride: int) -> None:
    """100 million pairs, divided element by element and, as in a softmax, by one for each row."""
    rng = np.random.default_rng(0)
    for _ in range(-(-100 // stride)):
        a, b = (rng.integers(2**23, 2**24, (10**5, 10)).astype(np.float32) for _ in range(2))
        for divisor in (b, b[:, :1].copy()):
            expected = (a / divisor).astype(float)
            for column in columns:
                found = in_framework(column, "divide", a.astype(float), divisor.astype(float))
                same_bits(found, expected)
