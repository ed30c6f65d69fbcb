"""Input checks: every public function of a column holds its callers to its annotations.

`checked` reads a function's signature once. A shape such as `Float[Array, "n features"]` binds
the size of `n` wherever it first appears and must hold wherever it appears again; a parameter
dictionary such as `Annotated[dict[str, Array], {"w": "", "b": ""}]` fixes names and shapes. Limits
stand in the annotation too (`annotations`). A plain `float` is any finite number, a plain `int` any
whole one. A wrong type or dtype is a `TypeError`, anything else a `ValueError`; both name the
argument, what was expected and what came.

Checks run at the door: a public function that is called by another public function of its column
is not checked again. While a user's `jit`, `vmap` or `torch.compile` traces, an argument has no
values yet, so its values are not checked; its shape and dtype are.

This module imports no framework: each column's `__init__` says what an array is there, and hands
on the names of the limits.

jaxtyping's own checker does not take this module's place: it does not look into dictionaries, knows
no values, and its messages name neither the function nor where a size came from.
"""

import functools
import inspect
import math
import os
import threading
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from numbers import Integral, Real
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_origin

import numpy as np

from triptych.annotations import (
    FAMILIES,
    FLOATS,
    NUMERIC,
    Below,
    BelowSize,
    Count,
    Dims,
    Fraction,
    Like,
    LikeArgument,
    Limits,
    Natural,
    NonNegative,
    Positive,
    UpTo,
    UpToSize,
    check_references,
    dims_of,
    dtypes_of,
    is_structure,
    layout_of,
    limits_of,
    not_none,
    parts_of,
)  # fmt: skip

__all__ = [
    "Backend",
    "Below",
    "Count",
    "Device",
    "Fraction",
    "Like",
    "Natural",
    "NestedNumbers",
    "NonNegative",
    "Positive",
    "UpTo",
    "check_device",
    "host_copy",
    "kind",
    "make_checked",
]

Function = TypeVar("Function", bound=Callable[..., Any])
Layout = Mapping[str, Dims]
"""The dimensions of each entry of a parameter dictionary."""


@functools.cache
def _spelled(dtype: Any) -> str:
    return str(dtype)


def _dtype_name(x: Any) -> str:
    return _spelled(x.dtype)  # spelling a dtype takes longer than all else here


class Backend(NamedTuple):
    """What a column tells the checks about its framework."""

    arrays: tuple[type, ...]
    """The types that count as an array."""
    read: Callable[[Any], np.ndarray | None]
    """The values of an array, on the host; None while they are traced and not there yet."""
    devices: Callable[[], tuple[str, ...]]
    """The usable devices."""
    dtype_name: Callable[[Any], str] = _dtype_name
    """The name of an array's dtype, spelled alike for every framework: "float32"."""
    compiling: Callable[[], bool] = lambda: False
    """True while a compiler reads this very code rather than runs it."""
    unusable: Callable[[Any], str] = lambda _: ""
    """Why a function cannot compute with an array, such as one on the meta device; "" if it can."""
    row_numbers: Callable[[Any], Any] = lambda x: x
    """Integers in a width that the framework takes for row numbers."""
    aside: Callable[[Mapping[str, Any]], Callable[[], None]] = lambda _: lambda: None
    """Put aside what a call could change in its arguments; returns what puts it back."""


OTHERWISE = (np.matrix, np.ma.MaskedArray)
"""Arrays of NumPy whose operators mean something else: `*`, or an entry that is not there."""


def kind(value: Any) -> str:
    """How an error names what came instead."""
    return "None" if value is None else f"{type(value).__module__}.{type(value).__qualname__}"


def host_copy(x: Any) -> np.ndarray:
    """A fresh contiguous array in the machine's byte order: what every `from_numpy` starts from.

    Raises:
        TypeError: x is not a NumPy array, or holds neither numbers nor truth values.
    """
    if not isinstance(x, np.ndarray | np.generic) or isinstance(x, OTHERWISE):
        raise TypeError(f"from_numpy: x must be a NumPy array or a dict of them, got {kind(x)}")
    dtype = np.asarray(x).dtype
    if dtype.kind not in "biufc" and dtype.name != "bfloat16":
        raise TypeError(f"from_numpy: x must hold numbers or truth values, got dtype {dtype}")
    return np.array(x, dtype=dtype.newbyteorder("="), order="C")


def check_device(function: str, device: Any, usable: tuple[str, ...]) -> None:
    """Refuse a device that is not among the usable ones."""
    if not isinstance(device, str):
        raise TypeError(f"{function}: device must be a string, got {kind(device)}")
    if device not in usable:
        names = " or ".join(map(repr, usable))
        raise ValueError(f"{function}: device must be {names} on this machine, got {device!r}")


class _Call:
    """What one call has shown so far: sizes by name and the floating dtype, with who set them."""

    def __init__(self, function: str, backend: Backend) -> None:
        self.function = function
        self.backend = backend
        self.sizes: dict[str, tuple[Any, str]] = {}
        self.dtype: tuple[str, str] | None = None
        self.shapes: dict[str, tuple[int, ...]] = {}

    def wrong_type(self, name: str, expected: str, value: Any) -> TypeError:
        return TypeError(f"{self.function}: {name} must be {expected}, got {kind(value)}")

    def wrong_value(self, name: str, expected: str, got: Any) -> ValueError:
        return ValueError(f"{self.function}: {name} must be {expected}, got {got}")

    def array(self, name: str, value: Any) -> None:
        if not isinstance(value, self.backend.arrays) or isinstance(value, OTHERWISE):
            array = self.backend.arrays[0]
            where = f"{array.__module__.split('.')[0]}.{array.__name__.rpartition('.')[2]}"
            raise self.wrong_type(name, f"an array of this column ({where}; see from_numpy)", value)
        if lacks := self.backend.unusable(value):
            raise self.wrong_value(name, "a dense array with values", lacks)

    def family(self, name: str, value: Any, dtypes: Any) -> None:
        dtype = self.backend.dtype_name(value)
        if isinstance(dtypes, tuple) and dtype not in dtypes:
            family = FAMILIES.get(dtypes, " or ".join(dtypes))
            raise TypeError(f"{self.function}: {name} must have {family}, got dtype {dtype}")
        if "float" in dtype or dtypes == NUMERIC:
            if self.dtype is None:
                self.dtype = (dtype, name)
            elif dtype != self.dtype[0]:
                raise TypeError(
                    f"{self.function}: {name} must have the dtype of {self.dtype[1]}, "
                    f"{self.dtype[0]}, got dtype {dtype}"
                )

    def shape(self, name: str, value: Any, dims: Dims) -> None:
        shape = tuple(value.shape)
        sizes: tuple[Any, ...] = shape
        if dims and dims[0][0].startswith("*"):  # any number of dimensions, then the named ones
            rest = len(shape) - (len(dims) - 1)
            sizes = (shape[:rest], *shape[rest:]) if rest >= 0 else shape
        if len(sizes) != len(dims):
            raise self.wrong_shape(name, dims, shape)
        for (dim, fixed), size in zip(dims, sizes, strict=True):
            known = self.sizes.setdefault(dim, (size, name))[0] if fixed is None else fixed
            if size != known:
                raise self.wrong_shape(name, dims, shape)
        if 0 in shape:
            raise self.wrong_value(name, "an array with at least one element", f"shape {shape}")

    def wrong_shape(self, name: str, dims: Dims, got: tuple[int, ...]) -> ValueError:
        names = [dim for dim, _ in dims]
        known = [
            f"{dim} = {self.sizes[dim][0]} (from {self.sizes[dim][1]})"
            for dim in names
            if dim in self.sizes and self.sizes[dim][1] != name
        ]
        expected = f"of shape ({', '.join(names)}{',' if len(names) == 1 else ''})"
        given = f" where {', '.join(known)}" if known else ""
        return self.wrong_value(name, expected + given, f"shape {got}")

    def finite(self, name: str, value: Any) -> None:
        values = self.backend.read(value)
        if values is not None and not np.isfinite(values).all():
            bad = np.argwhere(~np.isfinite(values))[0].tolist()
            raise self.wrong_value(name, "finite", f"{values[tuple(bad)]} at index {tuple(bad)}")

    def within(self, name: str, value: Any, limits: "Limits") -> None:
        values = self.backend.read(value)
        if values is None:
            return
        for test, limit in limits.tests:
            outside = np.argwhere(~test(values, limit))
            if outside.size:
                bad = tuple(outside[0].tolist())
                raise self.wrong_value(name, limits.words, f"{values[bad]} at index {bad}")

    def indices(self, name: str, value: Any, axis: str) -> None:
        values = self.backend.read(value)
        if values is None or axis not in self.sizes:
            return
        size, source = self.sizes[axis]
        low, high = values.min(), values.max()
        if low < 0 or high >= size:
            bad = low if low < 0 else high
            raise self.wrong_value(
                name, f"in 0 .. {size - 1} ({axis} = {size}, from {source})", f"{bad}"
            )

    def up_to(self, name: str, value: int, axis: str) -> None:
        size, source = self.sizes[axis]
        if value > size:
            raise self.wrong_value(
                name, f"at most {size} ({axis} = {size}, from {source})", f"{value}"
            )

    def keys(self, name: str, value: Mapping[str, Any], expected: Collection[str]) -> None:
        if value.keys() != set(expected):
            got = ", ".join(map(str, value)) or "none"
            missing = ", ".join(sorted(expected - value.keys())) or "none"
            extra = ", ".join(sorted(map(str, value.keys() - expected))) or "none"
            raise self.wrong_value(
                name,
                f"a dict with the keys {', '.join(expected)}",
                f"keys {got} (missing: {missing}; extra: {extra})",
            )

    def flat_dict(self, name: str, value: Any, layout: Layout | None) -> None:
        if not isinstance(value, dict):
            raise self.wrong_type(name, "a dict of arrays", value)
        if layout is not None:
            self.keys(name, value, layout.keys())
        if not value:
            raise self.wrong_value(name, "a dict with at least one array", "an empty dict")
        for key, array in value.items():
            if not isinstance(key, str):
                raise self.wrong_type(name, "a dict of arrays by their names", key)
            entry = f"{name}[{key!r}]"
            self.array(entry, array)
            self.family(entry, array, FLOATS)
            if layout is not None:
                self.shape(entry, array, layout[key])

    def like(self, name: str, value: Any, other: Mapping[str, Any]) -> None:
        layout = {
            key: tuple((str(size), size) for size in array.shape) for key, array in other.items()
        }
        self.flat_dict(name, value, layout)


Rule = Callable[[_Call, str, Any], Any]
"""Checks one argument and returns it, or raises."""
Late = Callable[[_Call, str, Any, Mapping[str, Any]], None]
"""Checks what needs the values, or the sizes of every argument: run when all shapes are known."""


class _Checked(NamedTuple):
    """A type with a rule of its own."""

    rule: Rule


def _array_rule(annotation: Any, *, index: bool) -> Rule:
    dims = dims_of(annotation.dim_str)
    dtypes = dtypes_of(annotation)

    def rule(call: _Call, name: str, value: Any) -> Any:
        call.array(name, value)
        call.family(name, value, dtypes)
        call.shape(name, value, dims)
        return call.backend.row_numbers(value) if index else value

    return rule


def _dict_rule(layout: Mapping[str, str] | None) -> Rule:
    """A dictionary of floating-point arrays, of these shapes if a layout is given."""
    dims = None if layout is None else {key: dims_of(text) for key, text in layout.items()}

    def rule(call: _Call, name: str, value: Any) -> Any:
        call.flat_dict(name, value, dims)
        # JAX takes an OrderedDict for another kind of tree
        return value if type(value) is dict else dict(value)

    return rule


def _structure_rule(entries: Mapping[str, Any]) -> Rule:
    """A dictionary whose entries have annotations of their own, as an optimiser's state has."""
    inner = {key: found for key, entry in entries.items() if (found := _rule(entry)) is not None}

    def rule(call: _Call, name: str, value: Any) -> Any:
        if not isinstance(value, dict):
            raise call.wrong_type(name, f"a dict with the keys {', '.join(entries)}", value)
        call.keys(name, value, entries.keys())
        return {
            key: inner[key](call, f"{name}[{key!r}]", entry) if key in inner else entry
            for key, entry in value.items()
        }

    return rule


DEEPEST = 32
"""How deep lists may be nested: as many dimensions as every framework has."""
LARGEST = {"float16": 65504.0, "bfloat16": 2.0**128 - 2.0**120, "float32": 2.0**128 - 2.0**104}
"""The largest number of each dtype that is narrower than Python's."""


def _number_rule(metadata: Iterable[Any]) -> Rule:
    limits = limits_of("a finite number", metadata)

    def rule(call: _Call, name: str, value: Any) -> Any:
        if isinstance(value, call.backend.arrays) and not isinstance(value, Real):
            array: Any = value
            if tuple(array.shape) != () or "float" not in call.backend.dtype_name(array):
                raise call.wrong_type(name, limits.words, value)
            values = call.backend.read(array)
            if values is None:
                return value
            value = values.item()
        if isinstance(value, np.ndarray) and value.shape == () and value.dtype.kind == "f":
            value = value.item()
        if isinstance(value, bool) or not isinstance(value, Real):
            raise call.wrong_type(name, limits.words, value)
        try:
            number = float(value)
        except OverflowError:
            raise call.wrong_value(name, limits.words, "one beyond float64") from None
        if not limits.holds(number):
            raise call.wrong_value(name, limits.words, value)
        return number

    return rule


def _whole_number_rule(metadata: Iterable[Any]) -> Rule:
    limits = limits_of("a whole number", (m for m in metadata if not isinstance(m, UpToSize)))

    def rule(call: _Call, name: str, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise call.wrong_type(name, limits.words, value)
        if abs(int(value)) >= 2**63:
            raise call.wrong_value(name, f"{limits.words}, of 64 bits", "one beyond")
        if not limits.holds(int(value)):
            raise call.wrong_value(name, limits.words, value)
        return int(value)

    return rule


def _truth_rule(call: _Call, name: str, value: Any) -> Any:
    if not isinstance(value, bool | np.bool_):
        raise call.wrong_type(name, "True or False", value)
    return bool(value)


def _choice_rule(choices: tuple[Any, ...]) -> Rule:
    words = " or ".join(map(repr, choices))
    kinds = str if isinstance(choices[0], str) else Integral

    def rule(call: _Call, name: str, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise call.wrong_type(name, words, value)
        if value not in choices:
            raise call.wrong_value(name, words, repr(value))
        return choices[choices.index(value)]

    return rule


def _nested_numbers_rule(call: _Call, name: str, value: Any, depth: int = 0) -> Any:
    if isinstance(value, list | tuple):
        if not value:
            raise call.wrong_value(name, "lists with at least one number each", "an empty list")
        if depth == DEEPEST:
            raise call.wrong_value(name, f"lists at most {DEEPEST} deep", "deeper ones")
        for entry in value:
            _nested_numbers_rule(call, name, entry, depth + 1)
    elif not isinstance(value, bool | int | float):
        raise call.wrong_type(name, "a Python number or nested lists of them", value)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise call.wrong_value(name, "whole numbers of 64 bits", value)
    return value


def _host_array_rule(call: _Call, name: str, value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        raise call.wrong_type(name, "a NumPy array", value)
    if value.dtype.kind not in "biuf" or not value.dtype.isnative:
        expected = "a NumPy array of numbers in this machine's byte order"
        raise TypeError(f"{call.function}: {name} must be {expected}, got dtype {value.dtype}")
    return value


def _device_rule(call: _Call, name: str, value: Any) -> Any:
    check_device(call.function, value, call.backend.devices())
    return value


def _path_rule(call: _Call, name: str, value: Any) -> Any:
    if not isinstance(value, str | os.PathLike):
        raise call.wrong_type(name, "a path", value)
    return value


Device = Annotated[str, _Checked(_device_rule)]
"""One of the column's `devices()`."""
NestedNumbers = Annotated[Any, _Checked(_nested_numbers_rule)]
"""A Python number, or lists of them, nested."""


def _rule(annotation: Any) -> Rule | None:
    """The rule for one argument, from its annotation; None where anything goes."""
    if (wanted := not_none(annotation)) is not annotation:
        inner = _rule(wanted)
        return inner and (
            lambda call, name, value: value if value is None else inner(call, name, value)
        )
    base, metadata = parts_of(annotation)
    for entry in metadata:
        if isinstance(entry, _Checked):
            return entry.rule
    if (layout := layout_of(metadata)) is not None:
        return _structure_rule(layout) if is_structure(layout) else _dict_rule(layout)
    if hasattr(base, "dim_str"):
        return _array_rule(base, index=any(isinstance(entry, BelowSize) for entry in metadata))
    if get_origin(base) is dict and get_args(base)[1] is not Any:
        return _dict_rule(None)
    if get_origin(base) is Literal:
        return _choice_rule(get_args(base))
    if base is float:
        return _number_rule(metadata)
    if base is int:
        return _whole_number_rule(metadata)
    by_type: dict[Any, Rule] = {
        bool: _truth_rule,
        np.ndarray: _host_array_rule,
        str | os.PathLike[str]: _path_rule,
    }
    return by_type.get(base) if isinstance(base, Hashable) else None


def _late_rules(annotation: Any) -> Iterator[Late]:
    """What to check of an argument once the shapes of all are known."""
    base, metadata = parts_of(not_none(annotation))
    dtypes = dtypes_of(base)
    if isinstance(dtypes, tuple) and set(dtypes) <= set(FLOATS):
        yield lambda call, name, value, _: call.finite(name, value)
    bounds = [entry for entry in metadata if not isinstance(entry, BelowSize)]
    if hasattr(base, "dim_str") and bounds:
        limits = limits_of("numbers", bounds)
        yield lambda call, name, value, _: call.within(name, value, limits)
    for entry in metadata:
        if isinstance(entry, BelowSize):
            yield functools.partial(_below_size, entry.dimension)
        elif isinstance(entry, UpToSize):
            yield functools.partial(_up_to_size, entry.dimension)
        elif isinstance(entry, LikeArgument):
            yield functools.partial(_like_argument, entry.argument)
        elif isinstance(entry, Mapping) and is_structure(entry):
            for key, inner in entry.items():
                for late in _late_rules(inner):
                    yield functools.partial(_entry, key, late)


def _held(call: _Call, name: str, value: Any, _: Mapping[str, Any]) -> None:
    """Refuse a number that the arrays' dtype cannot hold, such as a rate of 1e39 in float32."""
    dtype = call.dtype[0] if call.dtype else ""
    if isinstance(value, float) and abs(value) > LARGEST.get(dtype, math.inf):
        raise call.wrong_value(name, f"a number that {dtype} can hold", value)


def _below_size(dimension: str, call: _Call, name: str, value: Any, _: Mapping[str, Any]) -> None:
    call.indices(name, value, dimension)


def _up_to_size(dimension: str, call: _Call, name: str, value: Any, _: Mapping[str, Any]) -> None:
    call.up_to(name, value, dimension)


def _like_argument(
    argument: str, call: _Call, name: str, value: Any, arguments: Mapping[str, Any]
) -> None:
    if arguments.get(argument) is not None:
        call.like(name, value, arguments[argument])


def _entry(
    key: str, late: Late, call: _Call, name: str, value: Any, arguments: Mapping[str, Any]
) -> None:
    late(call, f"{name}[{key!r}]", value[key], arguments)


def make_checked(backend: Backend) -> Callable[[Function], Function]:
    """The decorator `checked` of one column.

    Args:
        backend: what an array is there, and how to read its values.

    Returns:
        A decorator. The function it returns refuses bad input as this module's docstring says and
        never changes what it is given; `__wrapped__` is the function as written.
    """
    inside = threading.local()

    def checked(function: Function) -> Function:
        signature = inspect.signature(function)
        label = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
        names = tuple(signature.parameters)
        required = {n for n, p in signature.parameters.items() if p.default is p.empty}
        annotations = {n: p.annotation for n, p in signature.parameters.items()}
        rules = {n: r for n, a in annotations.items() if (r := _rule(a)) is not None}
        late = [(n, r) for n, a in annotations.items() for r in _late_rules(a)]
        late += [(n, _held) for n, a in annotations.items() if parts_of(not_none(a))[0] is float]
        check_references(label, annotations)

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            compiling = backend.compiling()
            if not compiling and getattr(inside, "active", False):
                return function(*args, **kwargs)
            arguments = dict(zip(names, args, strict=False)) | kwargs
            if len(arguments) != len(args) + len(kwargs) or not required.issubset(arguments):
                return function(*args, **kwargs)  # raises Python's own TypeError
            call = _Call(label, backend)
            for name, value in arguments.items():
                if name in rules:
                    arguments[name] = rules[name](call, name, value)
            for name, rule in late:
                if arguments.get(name) is not None:
                    rule(call, name, arguments[name], arguments)
            if compiling:
                return function(*args, **kwargs)
            put_back = backend.aside(arguments)
            inside.active = True
            try:
                positional = [arguments[name] for name in names[: len(args)]]
                return function(*positional, **{name: arguments[name] for name in kwargs})
            finally:
                inside.active = False
                put_back()

        return wrapper  # type: ignore[return-value]

    return checked
