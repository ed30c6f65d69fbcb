"""One function, run in its framework: what it returns, its gradients, the state it leaves."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from triptych.agreement.measures import DisagreementError
from triptych.port.run_jax import run_jax
from triptych.port.run_torch import run_torch
from triptych.port.sides import Call, Ran, Side, is_module, outputs, state_leaves, takes_params
from triptych.port.values import Leaves, to_numpy, walk


def run(side: Side, call: Call, precision: str, derive: bool) -> Ran:
    """Run a function once, and leave its derivative to be asked for."""
    runner = {"torch": run_torch, "jax": run_jax, "numpy": _run_numpy}[side.framework]
    ran = runner(side, call, precision, derive)
    if ran.pull and not (derive and call.by):
        return ran._replace(pull=lambda _: {})  # which keeps nothing of the run
    return ran


def _run_numpy(side: Side, call: Call, precision: str, _: bool) -> Ran:
    leaves = call.leaves(precision, np.array)
    positional, keywords = call.filled(leaves)
    result = side.function(*positional, **keywords)
    reached = 2.0**-52 if precision == "wide" else 0.0
    if call.argnums is None:
        result, state = call.parted(result)
        return Ran(outputs(side.label, result), state_leaves(state), None, reached, "")
    numbers = call.argnums if isinstance(call.argnums, tuple) else (call.argnums,)
    pair = isinstance(result, tuple) and len(result) == 2
    grads = (result[1] if isinstance(call.argnums, tuple) else result[1:]) if pair else None
    if not isinstance(grads, tuple) or len(grads) != len(numbers):
        raise TypeError(
            f"assert_agree: {side.label} must return (value, gradients by argnums="
            f"{call.argnums!r}), got {result!r}"
        )
    values = outputs(side.label, result[0])
    if values.keys() != {"output"} or np.shape(values["output"]) != ():
        raise ValueError(
            f"assert_agree: with gradients, the value of {side.label} must be a scalar"
        )
    found: Leaves = {}
    wanted: set[str] = set()
    for n, tree in zip(numbers, grads, strict=True):
        found |= {name: to_numpy(leaf) for name, leaf in walk(tree, call.names[n])}
        wanted |= {name for name, _ in walk(call.arguments[n], call.names[n])}
    expected = [name for name in call.by if name in wanted]
    if not {*expected} <= found.keys() or not found.keys() <= wanted:
        raise DisagreementError(
            f"gradients of {side.label} are by {', '.join(found)}, expected {', '.join(expected)}"
        )
    found = {name: found[name] for name in expected}
    return Ran(values, {}, lambda _: found, reached, "")


def title(function: Any) -> str:
    """The name of a function, or the type of what is called."""
    return getattr(function, "__qualname__", type(function).__qualname__)


@contextlib.contextmanager
def blaming(side: Side, first: Any = None) -> Iterator[None]:
    """Say whose error it is."""
    try:
        yield
    except Exception as error:
        given = is_module(side.function) and isinstance(first, Mapping)
        if given and not takes_params(side.function, (first,)):
            error.add_note(
                "the first argument is a dict, and has no name of the module's state_dict: give "
                "that one, and let the port take it in another form: "
                "jax=lambda params, x: port(convert(params), x)"
            )
        error.add_note(
            f"raised by triptych.assert_agree calling {side.label}, {title(side.function)}"
        )
        if type(error).__name__ == "TraceContextError":
            error.add_note(
                "a Flax nnx module that changes while JAX differentiates must be the function "
                "itself, jax=module, or an argument, beside which the function returns "
                "(output, nnx.state(module, nnx.BatchStat))"
            )
        raise
