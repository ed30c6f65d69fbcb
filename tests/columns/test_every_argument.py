"""Every argument of every public function, given what a person might give: an error that names it.

The annotations say what is right, so what is wrong follows from them. Each column has to answer
with the same kind of error; `test_bad_input.py` has the words.
"""

import inspect
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
from annotated_types import GroupedMetadata

from triptych import annotations, checks
from triptych.column import Column, precision
from triptych.names import CONCEPTS

GIVEN = 5, 3, 4, 6, 7, 8, 9
"""Sizes in the order in which their names appear: no two are the same."""
UNTOLD = {"workers", "moments"}
"""What an engine hands over, and what comes from an earlier call: `data_parallel` checks them."""


class Right:
    """Arguments that are right for a function, by its annotations; NumPy arrays."""

    def __init__(self, annotations: dict[str, Any]) -> None:
        self.sizes: dict[str, int] = {}
        self.values: dict[str, Any] = {}
        for name, annotation in annotations.items():
            self.values[name] = self.value(annotation)

    def shape(self, text: str) -> list[int]:
        found = []
        for dim, fixed in annotations.dims_of(text):
            free = GIVEN[len(self.sizes) % len(GIVEN)]
            found.append(self.sizes.setdefault(dim, free) if fixed is None else fixed)
        return found

    def array(self, annotation: Any) -> np.ndarray:
        allowed = annotations.dtypes_of(annotation)
        wanted = ("float32", "float64", "int64", "bool")
        dtype = next(d for d in wanted if not isinstance(allowed, tuple) or d in allowed)
        return np.ones(self.shape(annotation.dim_str), dtype)

    def value(self, annotation: Any) -> Any:
        base, metadata = annotations.parts_of(annotations.not_none(annotation))
        for entry in metadata:
            if isinstance(entry, annotations.LikeArgument):
                return self.values[entry.argument]
            if isinstance(entry, checks._Checked):
                return {checks._device_rule: "cpu"}.get(entry.rule, [1, 2])  # type: ignore[arg-type]
        layout = annotations.layout_of(metadata)
        if layout is not None and annotations.is_structure(layout):
            return {key: self.value(inner) for key, inner in layout.items()}
        if layout is not None:
            return {key: np.ones(self.shape(text), np.float32) for key, text in layout.items()}
        if hasattr(base, "dim_str"):
            return self.array(base)
        if get_origin(base) is dict:
            return {"w": np.ones(3, np.float32), "b": np.ones((), np.float32)}
        if get_origin(base) is Literal:
            return get_args(base)[0]
        if base in (float, int):
            fitting = (0.5, 2, 0) if base is float else (1, 2, 0)
            return next(v for v in fitting if limits_of(annotation).holds(v))
        return {bool: True, np.ndarray: np.ones(3)}.get(base, "none.safetensors")


def limits_of(annotation: Any) -> Any:
    """The limits of a number that stand in its annotation."""
    _, metadata = annotations.parts_of(annotations.not_none(annotation))
    known = [m for m in metadata if type(m) in annotations.BOUNDS or isinstance(m, GroupedMetadata)]
    return annotations.limits_of("", known)


def wrong(  # noqa: C901 (a branch for each kind of annotation)
    column: Any, annotation: Any, right: Any
) -> Iterator[tuple[str, Any]]:
    """What is wrong for an argument, and its name."""
    optional = annotations.not_none(annotation) is not annotation
    base, metadata = annotations.parts_of(annotations.not_none(annotation))
    if not optional:
        yield "None", None
    yield "an object", object()
    yield "bytes", b"1"
    if hasattr(base, "dim_str"):
        yield from wrong_arrays(column, base, metadata, right)
    elif isinstance(right, dict):
        yield from wrong_dicts(column, right, annotations.layout_of(metadata) is not None)
    elif base in (float, int):
        for number in ("1", [1], True, 1 + 2j, np.ones(1), 10**400, -(10**400)):
            yield f"{type(number).__name__} {number!s:.9}", number
        if base is float:
            for number in (np.nan, np.inf, -np.inf):
                yield f"{number}", number
        for number in (-1, 0, 1, 2):
            if not limits_of(annotation).holds(number):
                yield f"{number}, beyond", base(number)
    elif base is bool:
        yield from [("1", 1), ("a word", "True"), ("an array", np.ones(2, bool))]
    elif get_origin(base) is Literal:
        yield from [("another", "no such thing"), ("True", True), ("1.5", 1.5)]
    elif isinstance(right, str) and right == "cpu":
        yield from [("tpu", "tpu"), ("cpu:0", "cpu:0"), ("0", 0)]


def wrong_arrays(  # noqa: C901
    column: Any, base: Any, metadata: Any, right: Any
) -> Iterator[tuple[str, Any]]:
    yield "a number", 1.5
    yield "a list", np.asarray(column.to_numpy(right)).tolist() or [1.0]
    yield "a word", "x"
    host = column.to_numpy(right)
    make = column.from_numpy
    if column.name != "numpy_ref":
        yield "NumPy's", host
    else:
        yield "a matrix", np.ones((2, 2)).view(np.matrix)
        yield "a masked array", np.ma.masked_array(host)
    allowed = annotations.dtypes_of(base)
    if isinstance(allowed, tuple):
        if column.name == "numpy_ref":
            yield from [("objects", host.astype(object)), ("texts", host.astype(str))]
        for dtype in ("complex64", "bool", "int32", "float32"):
            if dtype not in allowed:
                yield dtype, make(host.astype(dtype))
    dims = annotations.dims_of(base.dim_str)
    if not any(dim.startswith("*") for dim, _ in dims):
        yield "a dimension more", make(host[None])
        if host.ndim:
            yield "a dimension less", make(host[0])
            yield "empty", make(host[:0])
    elif host.ndim:
        yield "empty", make(host[:0])
    if isinstance(allowed, tuple) and set(allowed) <= set(annotations.FLOATS):
        for bad in (np.nan, np.inf, -np.inf):
            spoilt = host.copy()
            spoilt[(-1,) * host.ndim] = bad
            yield f"{bad} in it", make(spoilt)
    if any(isinstance(entry, annotations.BelowSize) for entry in metadata):
        for bad in (-1, 2**20, 2**40):
            yield f"row {bad}", make(np.full_like(host, bad))


def wrong_dicts(column: Any, right: Any, fixed: bool) -> Iterator[tuple[str, Any]]:
    first = next(iter(right))
    yield "a list", list(right.values())
    yield "empty", {}
    yield "None in it", right | {first: None}
    yield "a list in it", right | {first: [1.0]}
    if not any(isinstance(value, dict) for value in right.values()):
        host = column.to_numpy(right[first])
        yield "integers in it", right | {first: column.from_numpy(host.astype(np.int32))}
        if fixed:
            yield "another shape", right | {first: column.from_numpy(np.ones((2, 2, 2), "f4"))}
    if fixed:
        yield "one too many", right | {"another": right[first]}
        yield "one too few", {key: value for key, value in right.items() if key != first}
    yield "a number for a name", right | {0: right[first]}


def functions(column: Any, concept: str) -> dict[str, Any]:
    """The public functions that are checked; those that every column has."""
    module = getattr(column, concept)
    return {
        name: function
        for name, function in vars(module).items()
        if hasattr(function, "__wrapped__")
        and function.__module__ == module.__name__
        and inspect.isfunction(function)
        and not name.startswith("_")
    }


def answers(column: Any, concept: str) -> dict[tuple[str, str, str], str]:
    """What came of each wrong argument: the kind of error, or what is wrong with the message."""
    found = {}
    for name, function in functions(column, concept).items():
        parameters = inspect.signature(function).parameters
        annotations = {n: p.annotation for n, p in parameters.items() if n not in UNTOLD}
        right = {
            argument: value if annotations[argument] is np.ndarray else column.take_in(value)
            for argument, value in Right(annotations).values.items()
        }
        if concept == "tensor_basics" and name == "tensor":
            right["data"] = [1, 2]
        for argument, annotation in annotations.items():
            if checks._rule(annotation) is None:
                continue
            for what, bad in wrong(column, annotation, right[argument]):
                if concept == "tensor_basics" and argument == "data":
                    continue  # nested numbers, of which much is right
                head = f"{concept}.{name}: {argument}"
                try:
                    function(**right | {argument: bad})
                except (TypeError, ValueError) as error:
                    text = str(error)
                    named = text.startswith(head) and " must " in text and ", got " in text
                    said = type(error).__name__ if named else f"{type(error).__name__}: {text}"
                except Exception as error:
                    said = f"{type(error).__name__}: {error}"
                else:
                    said = "was not refused"
                found[name, argument, what] = said
    return found


SEEN: dict[str, int] = {}
"""How many wrong arguments of each concept, in all columns together."""


@pytest.mark.parametrize("concept", CONCEPTS)
def test_every_wrong_argument_is_named(columns: list[Column], concept: str) -> None:
    with precision("float64"):
        found = [answers(column, concept) for column in columns]
    bad = {
        (column.name, *key): said
        for column, said_by in zip(columns, found, strict=True)
        for key, said in said_by.items()
        if said not in ("TypeError", "ValueError")
    }
    assert not bad, "\n".join(f"{key}: {said}" for key, said in bad.items())
    for key in set.intersection(*map(set, found)):
        kinds = {said_by[key] for said_by in found}
        assert len(kinds) == 1, (key, [said_by[key] for said_by in found])
    SEEN[concept] = sum(map(len, found))


def test_there_are_many() -> None:
    if SEEN.keys() != set(CONCEPTS):
        pytest.skip("only where every concept was asked")
    assert sum(SEEN.values()) > 5000
