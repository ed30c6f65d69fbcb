"""What dtype comes out where two meet: each framework's documented rule, applied by itself.

The rules stand here as the documents have them: NumPy's asks for the smallest that holds both,
PyTorch's ranks kinds, JAX's is a lattice. The grids on the concept's page are judged too.
"""

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from triptych.column import precision

SHORT = {
    "b1": "bool",
    "u1": "uint8",
    "i1": "int8",
    "i2": "int16",
    "i4": "int32",
    "i8": "int64",
    "f2": "float16",
    "bf": "bfloat16",
    "f4": "float32",
    "f8": "float64",
}
ALL = tuple(SHORT.values())
NUMPYS = tuple(d for d in ALL if d != "bfloat16")
NUMBERS = ("bool", "int", "float")
PAGE = Path(__file__).parents[2] / "docs" / "concepts" / "promotion.md"
Table = dict[str, dict[str, str]]


@pytest.fixture(params=[True, False], ids=["x64", "without x64"])
def x64(request: pytest.FixtureRequest) -> Any:
    with precision("float64" if request.param else "float32"):
        yield request.param


def here(name: str, x64: bool) -> tuple[str, ...]:
    """The dtypes of a column."""
    if name == "numpy_ref":
        return NUMPYS
    return ALL if name == "torch_impl" or x64 else tuple(d for d in ALL if "64" not in d)


def kind(dtype: str) -> int:
    """Truth values, integers, floats; of a dtype or of a Python number."""
    return 0 if dtype == "bool" else 1 if "int" in dtype else 2


# The rules


def holds(dtype: str, other: str) -> bool:
    """Whether every number of the other dtype has its exact place in this one."""
    if kind(other) == 0 or kind(dtype) < kind(other):
        return kind(other) == 0
    if kind(dtype) == 1:
        wide, narrow = np.iinfo(dtype), np.iinfo(other)
        return bool(wide.min <= narrow.min and narrow.max <= wide.max)
    if kind(other) == 1:
        # of whole numbers of 64 bits float64 holds the most
        return dtype == "float64" or np.finfo(dtype).nmant + 1 >= np.iinfo(other).bits - 1
    return np.finfo(dtype).nmant >= np.finfo(other).nmant


def by_numpy(left: str, right: str) -> str:
    """The first, in order of kind and size, that holds both; int8 holds no uint8."""
    return next(d for d in NUMPYS if holds(d, left) and holds(d, right))


def by_torch(left: str, right: str) -> str:
    """The higher kind; within a kind the wider, or the next one that holds both."""
    if kind(left) != kind(right):
        return max(left, right, key=kind)
    mixed = {frozenset(("uint8", "int8")): "int16", frozenset(("float16", "bfloat16")): "float32"}
    return mixed.get(frozenset((left, right)), max(left, right, key=ALL.index))


LATTICE = {
    "bool": ["int"],
    "int": ["uint8", "int8"],
    "uint8": ["int16"],
    "int8": ["int16"],
    "int16": ["int32"],
    "int32": ["int64"],
    "int64": ["float"],
    "float": ["float16", "bfloat16"],
    "float16": ["float32"],
    "bfloat16": ["float32"],
    "float32": ["float64"],
    "float64": [],
}
"""What stands above a dtype; "int" and "float" are Python's numbers, and what is as weak."""


def above(dtype: str) -> set[str]:
    return {dtype}.union(*(above(d) for d in LATTICE[dtype]))


def by_jax(left: str, right: str, x64: bool) -> str:
    """The lowest that stands above both."""
    common = above(left) & above(right)
    (found,) = [d for d in common if common <= above(d)]
    return found + ("64" if x64 else "32") if found in ("int", "float") else found


def whole(operation: str, left: str, right: str) -> bool:
    """Whether it is a quotient of whole numbers, which no dtype of whole numbers could hold."""
    return operation == "quotient" and kind(left) < 2 and kind(right) < 2


def kind_alone(array: str, number: str, default: dict[str, str]) -> str:
    """The array's own dtype, unless the number is of a higher kind."""
    return array if kind(array) >= kind(number) else default[number]


def numpy_cell(operation: str, left: str, right: str) -> str:
    default = {"bool": "bool", "int": "int64", "float": "float64"}
    if whole(operation, left, right):
        return "float64"
    if operation == "with_python":
        return kind_alone(left, right, default)
    return by_numpy(left, default.get(right, right))


def torch_cell(operation: str, left: str, right: str) -> str:
    if whole(operation, left, right):
        return "float32"
    if operation in ("arrays", "quotient"):
        return by_torch(left, right)
    if operation == "with_rank_0":
        return left if kind(left) >= kind(right) else right
    if operation == "with_numpy":
        right = "float" if right == "bool" else NUMBERS[kind(right)]
    return kind_alone(left, right, {"bool": "bool", "int": "int64", "float": "float32"})


def jax_cell(operation: str, left: str, right: str, x64: bool) -> str:
    if whole(operation, left, right):
        return "float64" if "int64" in (left, right) else "float32"
    if not x64:  # a NumPy scalar of 64 bits is cut
        right = right.replace("64", "32")
    return by_jax(left, right, x64)


def expected(name: str, operation: str, x64: bool) -> Table:
    """The whole table of a column."""
    of = {"with_python": NUMBERS, "with_wrapped": NUMBERS, "with_numpy": NUMPYS}
    rows = here(name, x64)

    def cell(left: str, right: str) -> str:
        if name == "jax_impl":
            return jax_cell(operation, left, right, x64)
        return (numpy_cell if name == "numpy_ref" else torch_cell)(operation, left, right)

    return {a: {b: cell(a, b) for b in of.get(operation, rows)} for a in rows}


OPERATIONS = ("arrays", "quotient", "with_rank_0", "with_python", "with_numpy", "with_wrapped")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_whole_table(column: Any, x64: bool, operation: str) -> None:
    assert column.promotion.dtypes() == here(column.name, x64)
    assert column.promotion.table(operation) == expected(column.name, operation, x64)


def test_each_function_gives_its_table(column: Any) -> None:
    with precision("float64"):
        for operation in OPERATIONS:
            one = getattr(column.promotion, operation)
            right = "int" if operation in ("with_python", "with_wrapped") else "int16"
            assert one("int8", right) == expected(column.name, operation, x64=True)["int8"][right]


def test_the_rules_are_those_that_the_frameworks_apply(columns: Any) -> None:
    """The rules of this file, beside each framework's own function of that name."""
    import jax
    import jax.numpy as jnp
    import torch

    with jax.enable_x64(True):
        for left, right in itertools.product(ALL, ALL):
            theirs = torch.promote_types(getattr(torch, left), getattr(torch, right))
            assert by_torch(left, right) == str(theirs).removeprefix("torch.")
            assert by_jax(left, right, x64=True) == jnp.promote_types(left, right).name
            if "bfloat16" not in (left, right):
                assert by_numpy(left, right) == np.promote_types(left, right).name


# The page


def grids() -> dict[str, Table]:
    """The grids of the page, by the words above them."""
    found = {}
    for heading, head, body in re.findall(
        r"```text\n(.+)\n +([a-z]\w(?: +\w+)*)\n((?:\w\w  .+\n)+)```", PAGE.read_text("utf-8")
    ):
        names = [SHORT.get(word, word) for word in head.split()]
        rows = [line.split() for line in body.splitlines()]
        found[heading] = {
            SHORT[row[0]]: dict(zip(names, (SHORT[word] for word in row[1:]), strict=True))
            for row in rows
        }
    return found


def test_the_page_shows_the_tables(columns: Any) -> None:
    found = grids()
    assert list(found) == ["a + b, NumPy", "a + b, PyTorch, and JAX with x64"]
    with precision("float64"):
        tables = [column.promotion.table("arrays") for column in columns]
    assert found["a + b, NumPy"] == tables[0]
    assert found["a + b, PyTorch, and JAX with x64"] == tables[1] == tables[2]


# Sums, in place, and the values


def test_sums(column: Any, x64: bool) -> None:
    wide = "32" if column.name == "jax_impl" and not x64 else "64"
    for dtype in here(column.name, x64):
        if kind(dtype) == 2:
            wanted = dtype
        elif dtype == "uint8" and column.name != "torch_impl":
            wanted = f"uint{wide}"
        else:
            wanted = f"int{wide}"
        assert column.promotion.total(dtype) == wanted


def test_in_place(column: Any) -> None:
    with precision("float64"):
        for left, right in itertools.product(here(column.name, True), repeat=2):
            if column.name == "jax_impl":
                assert column.promotion.in_place(left, right) == by_jax(left, right, x64=True)
                continue
            signs = column.name == "numpy_ref" and left == "uint8" and right[:3] == "int"
            if kind(left) >= kind(right) and not signs:
                assert column.promotion.in_place(left, right) == left
            else:
                error = TypeError if column.name == "numpy_ref" else RuntimeError
                with pytest.raises(error, match="cast"):
                    column.promotion.in_place(left, right)


def test_what_does_not_exist_is_refused(columns: Any) -> None:
    for function in ("arrays", "with_rank_0", "quotient"):
        for given in (("bfloat16", "float32"), ("float32", "bfloat16")):
            with pytest.raises(ValueError, match="NumPy has no bfloat16"):
                getattr(columns[0].promotion, function)(*given)
    with precision("float32"):
        for given in (("float64", "float32"), ("float32", "int64")):
            with pytest.raises(ValueError, match=r"operand must .* JAX keeps, got \w+64"):
                columns[2].promotion.arrays(*given)


@pytest.mark.parametrize("factor", [0.1, np.float64(0.1), np.float32(0.5), 3, np.int64(3)])
def test_a_factor_keeps_the_dtype(column: Any, dtype: np.dtype, factor: Any) -> None:
    x = np.array([[0.1, -2.5, 1e-3]], dtype)
    found = column.give_out(column.promotion.scale(column.take_in(x), factor))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, x * dtype.type(factor))


def test_a_python_integer_that_does_not_fit(columns: Any) -> None:
    import jax.numpy as jnp
    import torch

    with pytest.raises(OverflowError):
        np.ones(2, np.uint8) + 256
    for array in (torch.ones(2, dtype=torch.uint8), jnp.ones(2, jnp.uint8)):
        assert [int(x) for x in array + 256] == [1, 1]


def test_integers_of_any_size_in_float16(columns: Any) -> None:
    import jax.numpy as jnp
    import torch

    assert (np.full(2, 70000) + np.ones(2, np.float16)).tolist() == [70001, 70001]
    assert (torch.full((2,), 70000) + torch.ones(2, dtype=torch.float16)).isinf().all()
    assert jnp.isinf(jnp.full(2, 70000) + jnp.ones(2, jnp.float16)).all()


def test_an_array_made_of_a_python_number_is_weak_in_jax(columns: Any) -> None:
    import jax
    import jax.numpy as jnp

    with jax.enable_x64(True):
        assert jnp.asarray(1.0).weak_type
        assert not jnp.asarray([1.0]).weak_type
        assert not jnp.float64(1.0).weak_type
        assert (jnp.asarray(1.0) * jnp.asarray(2)).weak_type
        # a loop, or jit, keeps it: the sum of a weak and a strong one is strong
        assert jax.jit(lambda x: 2 * x)(jnp.asarray(1.0)).weak_type
