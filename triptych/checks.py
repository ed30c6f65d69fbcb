"""Input checks: the annotations of a column, made true.

`checked` reads a function's signature once. A shape such as `Float[Array, "n features"]` binds
the size of `n` wherever it first appears and must hold wherever it appears again; a parameter
dictionary such as `Annotated[dict[str, Array], {"w": "", "b": ""}]` fixes names and shapes. What
an annotation cannot say (a label must be a class, a row number must be a row) stands below by
argument name. A wrong type or dtype is a `TypeError`, anything else a `ValueError`; both name the
argument, what was expected and what came.

Checks run at the door: a public function that is called by another public function of its column
is not checked again. While a user's `jit`, `vmap` or `torch.compile` traces, an argument has no
values yet, so its values are not checked; its shape and dtype are.

This module imports no framework: each column's `__init__` says what an array is there.
"""

import functools
import inspect
import math
import os
import threading
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import numpy as np
from jaxtyping import Bool, Float, Int, Num

Function = TypeVar("Function", bound=Callable[..., Any])
Dims = tuple[tuple[str, int | None], ...]
"""Each dimension of a shape: its name, and its size where the name is a number."""
Layout = Mapping[str, Dims]
"""The dimensions of each entry of a parameter dictionary."""


class Backend(NamedTuple):
    """What a column tells the checks about its framework."""

    arrays: tuple[type, ...]
    """The types that count as an array."""
    read: Callable[[Any], np.ndarray | None]
    """The values of an array, on the host; None while they are traced and not there yet."""
    devices: Callable[[], tuple[str, ...]]
    """The usable devices."""
    compiling: Callable[[], bool] = lambda: False
    """True while a compiler reads this very code rather than runs it."""


class Limits(NamedTuple):
    """The range of a number, and the words for it."""

    words: str
    holds: Callable[[float], bool]


# What an annotation cannot say, by argument name.
NUMBERS = {
    "learning_rate": Limits("a finite number above 0", lambda v: 0 < v < math.inf),
    "eps": Limits("a finite number above 0", lambda v: 0 < v < math.inf),
    "beta1": Limits("a number in [0, 1)", lambda v: 0 <= v < 1),
    "beta2": Limits("a number in [0, 1)", lambda v: 0 <= v < 1),
    "rate": Limits("a number in [0, 1)", lambda v: 0 <= v < 1),
    "value": Limits("a finite number", math.isfinite),
    "ddof": Limits("0 or 1", lambda v: v in (0, 1)),
    "n": Limits("a whole number of at least 0", lambda v: v >= 0),
}
COUNT = Limits("a whole number of at least 1", lambda v: v >= 1)
INDICES = {"t": "classes", "batches": "n", "index": "length"}
"""Integer arrays that count along an axis: every entry lies in [0, size of that axis)."""
LIKE_PARAMS = ("grads", "m", "v")
"""Dictionaries with the keys and shapes of `params`."""


def _dtypes(annotation: Any) -> Any:
    """The dtype names that a jaxtyping annotation allows; no tuple where it allows any."""
    return getattr(annotation, "dtypes", None)


FLOATS, INTEGERS, NUMERIC = _dtypes(Float), _dtypes(Int), _dtypes(Num)
FAMILIES = {
    FLOATS: "a floating-point dtype",
    INTEGERS: "an integer dtype",
    NUMERIC: "a numeric dtype",
    _dtypes(Bool): "a boolean dtype",
}


_SPELLED: dict[Any, str] = {}


def dtype_name(x: Any) -> str:
    """The name of an array's dtype, spelled alike for every framework: "float32"."""
    name = _SPELLED.get(x.dtype)  # spelling a dtype takes longer than all else here
    if name is None:
        name = _SPELLED[x.dtype] = str(x.dtype).removeprefix("torch.")
    return name


def _dims(text: str) -> Dims:
    return tuple((dim, int(dim) if dim.isdigit() else None) for dim in text.split())


def kind(value: Any) -> str:
    """How an error names what came instead."""
    return "None" if value is None else f"{type(value).__module__}.{type(value).__qualname__}"


def host_copy(x: Any) -> np.ndarray:
    """A fresh contiguous array in the machine's byte order: what every `from_numpy` starts from.

    Raises:
        TypeError: x is not a NumPy array, or holds neither numbers nor truth values.
    """
    if not isinstance(x, np.ndarray | np.generic):
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
        if not isinstance(value, self.backend.arrays):
            array = self.backend.arrays[0]
            where = f"{array.__module__.split('.')[0]}.{array.__name__}"
            raise self.wrong_type(name, f"an array of this column ({where}; see from_numpy)", value)

    def family(self, name: str, value: Any, dtypes: Any) -> None:
        dtype = dtype_name(value)
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

    def flat_dict(self, name: str, value: Any, layout: Layout | None) -> None:
        if not isinstance(value, dict):
            raise self.wrong_type(name, "a dict of arrays", value)
        if layout is not None and value.keys() != layout.keys():
            missing = ", ".join(sorted(layout.keys() - value.keys())) or "none"
            extra = ", ".join(sorted(map(str, value.keys() - layout.keys()))) or "none"
            raise self.wrong_value(
                name,
                f"a dict with the keys {', '.join(layout)}",
                f"missing: {missing}; extra: {extra}",
            )
        if not value:
            raise self.wrong_value(name, "a dict with at least one array", "an empty dict")
        for key, array in value.items():
            entry = f"{name}[{key!r}]"
            self.array(entry, array)
            self.family(entry, array, FLOATS)
            if layout is not None:
                self.shape(entry, array, layout[key])

    def like_params(self, name: str, value: Any, params: Mapping[str, Any]) -> None:
        layout = {
            key: tuple((str(size), size) for size in array.shape) for key, array in params.items()
        }
        self.flat_dict(name, value, layout)


Rule = Callable[[_Call, str, Any], Any]
"""Checks one argument and returns it, or raises."""


def _array_rule(annotation: Any) -> Rule:
    dims = _dims(annotation.dim_str)
    dtypes = _dtypes(annotation)

    def rule(call: _Call, name: str, value: Any) -> Any:
        call.array(name, value)
        call.family(name, value, dtypes)
        call.shape(name, value, dims)
        return value

    return rule


def _dict_rule(layout: Mapping[str, str] | None) -> Rule:
    dims = None if layout is None else {key: _dims(text) for key, text in layout.items()}

    def rule(call: _Call, name: str, value: Any) -> Any:
        call.flat_dict(name, value, dims)
        return value

    return rule


def _number_rule(call: _Call, name: str, value: Any) -> Any:
    limits = NUMBERS[name]
    if isinstance(value, call.backend.arrays) and not isinstance(value, Real):
        array: Any = value
        if tuple(array.shape) != () or "float" not in dtype_name(array):
            raise call.wrong_type(name, limits.words, value)
        values = call.backend.read(array)
        if values is None:
            return value
        value = values.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise call.wrong_type(name, limits.words, value)
    if not limits.holds(float(value)):
        raise call.wrong_value(name, limits.words, value)
    return float(value)


def _whole_number_rule(call: _Call, name: str, value: Any) -> Any:
    limits = NUMBERS.get(name, COUNT)
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise call.wrong_type(name, limits.words, value)
    if not limits.holds(int(value)):
        raise call.wrong_value(name, limits.words, value)
    return int(value)


def _truth_rule(call: _Call, name: str, value: Any) -> Any:
    if not isinstance(value, bool | np.bool_):
        raise call.wrong_type(name, "True or False", value)
    return bool(value)


def _choice_rule(choices: tuple[str, ...]) -> Rule:
    words = " or ".join(map(repr, choices))

    def rule(call: _Call, name: str, value: Any) -> Any:
        if not isinstance(value, str):
            raise call.wrong_type(name, words, value)
        if value not in choices:
            raise call.wrong_value(name, words, repr(value))
        return value

    return rule


def _nested_numbers_rule(call: _Call, name: str, value: Any) -> Any:
    if isinstance(value, list | tuple):
        if not value:
            raise call.wrong_value(name, "lists with at least one number each", "an empty list")
        for entry in value:
            _nested_numbers_rule(call, name, entry)
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


RULES: dict[str, Rule] = {"data": _nested_numbers_rule, "device": _device_rule, "path": _path_rule}
"""Arguments that their names tell."""


def _not_none(annotation: Any) -> Any:
    """X for X | None, anything else as it is."""
    if get_origin(annotation) in (UnionType, Union) and type(None) in get_args(annotation):
        (annotation,) = (a for a in get_args(annotation) if a is not type(None))
    return annotation


def _rule(name: str, annotation: Any) -> Rule | None:
    """The rule for one parameter, from its annotation; None where anything goes."""
    if hasattr(annotation, "dim_str"):
        return _array_rule(annotation)
    if get_origin(annotation) is Annotated:
        return _dict_rule(get_args(annotation)[1])
    if get_origin(annotation) is dict and get_args(annotation)[1] is not Any:
        return _dict_rule(None)
    if get_origin(annotation) is Literal:
        return _choice_rule(get_args(annotation))
    if name in RULES:
        return RULES[name]
    if (wanted := _not_none(annotation)) is not annotation:
        inner = _rule(name, wanted)
        return inner and (
            lambda call, name, value: value if value is None else inner(call, name, value)
        )
    if annotation is float and name not in NUMBERS:
        raise LookupError(f"{name} is a float without a rule: say in NUMBERS which values it takes")
    by_type: dict[Any, Rule] = {
        bool: _truth_rule,
        int: _whole_number_rule,
        float: _number_rule,
        np.ndarray: _host_array_rule,
    }
    return by_type.get(annotation)


def _check_values(
    call: _Call, arguments: Mapping[str, Any], annotations: Mapping[str, Any]
) -> None:
    """What needs the values, or the sizes of every argument: run after all shapes are known."""
    for name, value in arguments.items():
        if name in LIKE_PARAMS:
            call.like_params(name, value, arguments["params"])
        elif name == "state":
            if not isinstance(value, dict):
                raise call.wrong_type(name, "a dict with the keys step, m, v", value)
            if value.keys() != {"step", "m", "v"}:
                keys = ", ".join(map(str, value)) or "none"
                raise call.wrong_value(name, "a dict with the keys step, m, v", f"keys: {keys}")
            call.array("state['step']", value["step"])
            call.like_params("state['m']", value["m"], arguments["params"])
            call.like_params("state['v']", value["v"], arguments["params"])
        elif name in INDICES and dtype_name_or_none(value) in INTEGERS:
            call.indices(name, value, INDICES[name])
        elif value is not None and _dtypes(_not_none(annotations.get(name))) == FLOATS:
            call.finite(name, value)


def dtype_name_or_none(value: Any) -> str | None:
    """The dtype's name, or None for what is not an array."""
    return dtype_name(value) if hasattr(value, "dtype") else None


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
        rules = {n: r for n, a in annotations.items() if (r := _rule(n, a)) is not None}

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            compiling = backend.compiling()
            if not compiling and getattr(inside, "active", False):
                return function(*args, **kwargs)
            arguments = dict(zip(names, args, strict=False)) | kwargs
            if len(arguments) != len(args) + len(kwargs) or not required <= arguments.keys():
                return function(*args, **kwargs)  # raises Python's own TypeError
            call = _Call(label, backend)
            for name, value in arguments.items():
                if name in rules:
                    arguments[name] = rules[name](call, name, value)
            _check_values(call, arguments, annotations)
            if compiling:
                return function(*args, **kwargs)
            inside.active = True
            try:
                positional = [arguments[name] for name in names[: len(args)]]
                return function(*positional, **{name: arguments[name] for name in kwargs})
            finally:
                inside.active = False

        return wrapper  # type: ignore[return-value]

    return checked
