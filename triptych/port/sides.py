"""The functions that are compared, what they are called with, and what a run of one makes."""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from triptych.checks import kind
from triptych.port.state import parts
from triptych.port.values import (
    NARROW,
    Leaves,
    fill,
    is_array,
    narrow,
    to_numpy,
    walk,
    wide,
)

MODULE = "torch.nn.modules.module.Module"
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""The buffers of a normalisation: no gradient, wherever they are given."""

Cotangents = dict[str, np.ndarray]


class Side(NamedTuple):
    """A function and its framework."""

    label: str
    framework: str
    function: Any
    """Called; if it is a module of PyTorch, asked for its parameters and buffers as well."""


class Ran(NamedTuple):
    """What one run made."""

    outputs: Leaves
    state: Leaves
    """The buffers that it left, by the names that the framework gives them."""
    pull: Callable[[Cotangents], Leaves] | None
    """From cotangents by output to gradients by argument; None without derivative."""
    reached: float
    """The machine epsilon that is reached: more than asked for where the code casts."""
    casts: str
    """Where it casts; "" if it does not."""
    detached: bool = False
    """No output depends on an argument, says PyTorch."""
    given_back: frozenset[str] = frozenset()
    """Outputs that are an argument without gradient, such as a running mean written in place."""


class Call(NamedTuple):
    """What every function is called with."""

    names: tuple[str, ...]
    """Of the positional arguments."""
    arguments: tuple[Any, ...]
    kwargs: dict[str, Any]
    given: dict[str, np.ndarray]
    """The arrays among them, by name."""
    by: tuple[str, ...]
    """The names of those that are differentiated."""
    argnums: int | tuple[int, ...] | None
    state: bool | None
    """Whether functions return (output, state); None: where the second part has buffers' names."""
    buffers: tuple[str, ...]
    """The names of the module's buffers."""
    taps: tuple[str, ...] = ()
    """The names that a dict of values on the way may have."""

    def filled(self, leaves: Leaves) -> tuple[list[Any], dict[str, Any]]:
        """The arguments with these arrays."""
        positional = [
            fill(tree, name, leaves) for tree, name in zip(self.arguments, self.names, strict=True)
        ]
        return positional, {key: fill(value, key, leaves) for key, value in self.kwargs.items()}

    def leaves(self, precision: str, make: Callable[..., Any]) -> Leaves:
        """The arrays in a precision ("own", "wide": float64, "narrow": float32), made one by one.

        They are dropped after the run: there is no room for many copies of a large model.
        """
        change: Any = {"own": lambda x: x, "wide": wide, "narrow": narrow}[precision]
        return {name: make(array, change(array.dtype)) for name, array in self.given.items()}

    def is_double(self, precision: str) -> bool:
        """Whether there are 64 bits in that precision."""
        names = {array.dtype.name for array in self.given.values()}
        return precision == "wide" or (precision == "own" and not names.isdisjoint(NARROW))

    def parted(self, result: Any) -> tuple[Any, Any]:
        """The output and the state that a function of JAX or NumPy returns."""
        result, _ = self.tapped(result)
        pair = isinstance(result, tuple) and len(result) == 2 and not hasattr(result, "_fields")
        if not pair or self.state is False:
            return result, None
        if self.state or (isinstance(result[1], Mapping) and self._is_state(result[1])):
            return result
        return result, None

    def tapped(self, result: Any) -> tuple[Any, dict[str, Any]]:
        """What a function returns, and the {name: array} of values on the way at its end."""
        if not isinstance(result, tuple) or len(result) < 2 or hasattr(result, "_fields"):
            return result, {}
        *rest, last = result
        if not isinstance(last, Mapping) or not last:
            return result, {}
        if "intermediates" in last:  # of Flax
            more = {key: value for key, value in last.items() if key != "intermediates"}
            rest += [more] if more else []
            found = dict(walk(last["intermediates"], ""))
            found = {".".join(re.findall(r"\w+", n)[:-2]): x for n, x in found.items()}
        elif (
            self.taps
            and {words(str(key)) for key in last} <= {*map(words, self.taps)}
            and all(map(is_array, last.values()))
        ):
            found = {str(key): value for key, value in last.items()}
        else:
            return result, {}
        return (rest[0] if len(rest) == 1 else tuple(rest)), found

    def _is_state(self, value: Mapping[str, Any]) -> bool:
        if not self.buffers or not value:
            return "batch_stats" in value
        names = [name for name, _ in walk(value, "")]
        of_nnx = all(name.endswith(".value") for name in names)
        return (
            "batch_stats" in value
            or {*map(str, value)} <= {*self.buffers}
            or (of_nnx and {*map(parts, names)} <= {*map(parts, self.buffers)})
        )


def words(name: str) -> tuple[str, ...]:
    """The words of a name: "encoder/blocks_0" and "encoder.blocks.0" have the same."""
    return tuple(re.findall(r"[a-z]+|\d+", name.lower()))


def is_module(function: Any) -> bool:
    """Whether it is a `torch.nn.Module`."""
    return any(f"{t.__module__}.{t.__name__}" == MODULE for t in type(function).__mro__)


def takes_params(function: Any, arguments: tuple[Any, ...]) -> bool:
    """Whether a module's parameters are the first argument, by the names of its state_dict."""
    if not is_module(function) or not arguments or not isinstance(arguments[0], Mapping):
        return False
    keys = function.state_dict().keys()
    return bool(keys) and bool({*arguments[0]} & {*keys})


def outputs(label: str, result: Any) -> Leaves:
    """The leaves of a result, in NumPy."""
    found = {name: to_numpy(leaf) for name, leaf in walk(result, "output")}
    if not found:
        raise TypeError(f"assert_agree: {label} must return an array, got {result!r}")
    for name, leaf in found.items():
        if not (
            leaf is None or is_array(leaf) or isinstance(leaf, bool | int | float | complex | str)
        ):
            raise TypeError(
                f"assert_agree: {name} of {label} must be an array, a number or None (or a dict, "
                f"list, tuple or dataclass of them), got {kind(leaf)}; leave it out with ignore="
            )
    return found


def state_leaves(state: Any) -> Leaves:
    """The leaves of the state that a function returns; none where it returns none."""
    return {} if state is None else {name: to_numpy(leaf) for name, leaf in walk(state, "")}


def argument_names(sides: list[Side], arguments: tuple[Any, ...]) -> tuple[str, ...]:
    """The arguments' names: those of the first function whose signature tells."""
    for side in sides:
        function = side.function
        try:
            signature = inspect.signature(function.forward if is_module(function) else function)
        except (TypeError, ValueError):  # a built-in function
            continue
        names = ["params"] if takes_params(function, arguments) else []
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        names += [p.name for p in signature.parameters.values() if p.kind in kinds]
        if len(names) >= len(arguments) and len(set(names)) == len(names):
            return tuple(names[: len(arguments)])
    return tuple(f"argument {i}" for i in range(1, len(arguments) + 1))
