"""A function of JAX, run: what it returns, its gradients, the state that it returns."""

import contextlib
import importlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from triptych.port import jaxpr
from triptych.port.sides import Call, Cotangents, Ran, Side, outputs, state_leaves
from triptych.port.values import WIDE, Leaves, eps, fill, is_float, is_jax, to_jax, to_numpy, walk


def run_jax(side: Side, call: Call, precision: str, derive: bool) -> Ran:
    """Run a function of JAX."""
    jax: Any = importlib.import_module("jax")
    double = call.is_double(precision)
    with x64(double):
        leaves = call.leaves(precision, to_jax)
        function = jax_function(side, call, precision)
        casts, reached = "", 2.0**-52 if precision == "wide" else 0.0
        if precision == "wide":
            function, reached, casts = _widened_jax(function, leaves)
        # the user's own precision runs as it is written, the other as one compiled program
        own = precision == "own"
        results, kept = function(leaves) if own else _compiled(function, lambda: (leaves,))
        values = outputs(side.label, results)
        state = state_leaves(kept)

    def pull(cotangents: Cotangents) -> Leaves:
        def pulled(floats: Leaves, fixed: Leaves, drawn: Leaves) -> Leaves:
            def of_floats(floats: Leaves) -> Leaves:
                found = dict(walk(function(fixed | floats)[0], "output"))
                return {name: found[name] for name in cotangents if is_jax(found[name])}

            primal, vjp = jax.vjp(of_floats, floats)
            shaped = {n: drawn[n].astype(x.dtype).reshape(x.shape) for n, x in primal.items()}
            return dict(vjp(shaped)[0])

        def given() -> tuple[Leaves, Leaves, Leaves]:
            fixed = call.leaves(precision, to_jax)
            floats = {name: fixed.pop(name) for name in call.by}
            # JAX's cotangents and gradients of complex numbers are the conjugates of PyTorch's
            return floats, fixed, {name: to_jax(np.conj(x)) for name, x in cotangents.items()}

        with x64(double):
            # each gradient takes the place of what it is by
            found = _compiled(pulled, given, donate_argnums=0)
            of_torch: Any = {name: call.given[name].dtype.kind == "c" for name in call.by}
            return {
                name: np.conj(to_numpy(found[name])) if conjugate else to_numpy(found[name])
                for name, conjugate in of_torch.items()
            }

    return Ran(values, state, pull if derive else None, reached, casts)


def _compiled(
    function: Callable[..., Any], given: Callable[[], tuple[Any, ...]], **options: Any
) -> Any:
    """What a function gives, compiled as one: a program for each operation takes far longer.

    A function that looks at values, as a branch in Python does, runs as it is.
    """
    jax: Any = importlib.import_module("jax")
    kept: list[Any] = []

    def arrays(*given: Any) -> Leaves:
        kept[:] = [function(*given)]
        return {name: leaf for name, leaf in walk(kept[0], "") if is_jax(leaf)}

    try:
        found = jax.jit(arrays, **options)(*given())
    except Exception:  # the user's own errors come up once more, without jit in their way
        return function(*given())
    return fill(kept[0], "", found)


def jax_function(side: Side, call: Call, precision: str) -> Callable[[Leaves], tuple[Any, Any]]:
    """The function of the leaves alone; returns (output, state)."""
    called = own_copy(side.function, precision)

    def function(leaves: Leaves) -> tuple[Any, Any]:
        positional, keywords = call.filled(leaves)
        return call.parted(called(*positional, **keywords))

    return function


def own_copy(function: Any, precision: str) -> Any:
    """The function; of a Flax nnx module, which writes into itself, a copy for each call."""
    nnx: Any = sys.modules.get("flax.nnx")
    if nnx is None or not isinstance(function, nnx.Module):
        return function
    jax: Any = importlib.import_module("jax")
    structure, state = nnx.split(function)

    def change(x: Any) -> Any:
        return x.astype(WIDE[x.dtype.name]) if precision == "wide" and is_float(x) else x

    def run(*inputs: Any, **keywords: Any) -> Any:
        return nnx.merge(structure, jax.tree.map(change, state), copy=True)(*inputs, **keywords)

    return run


def _widened_jax(
    function: Callable[[Leaves], Any], leaves: Leaves
) -> tuple[Callable[[Leaves], Any], float, str]:
    """The function with float64 where it says float32; what cannot be changed, and its epsilon."""
    jax: Any = importlib.import_module("jax")
    try:
        closed, _ = jaxpr.trace(function, leaves)
    except Exception:  # it reads values, as a branch in Python does: run as it is
        return function, 2.0**-52, ""
    program = jaxpr.program(closed)
    narrow = list(jaxpr.narrow_parts(program))
    if not narrow and not any(getattr(c, "dtype", "") == np.float32 for c in closed.consts):
        return function, 2.0**-52, ""

    def widened(given: Leaves) -> Any:
        again, tree = jaxpr.trace(function, given)
        flat = jax.tree_util.tree_leaves(given)
        made = jaxpr.evaluate(jaxpr.program(again), flat, widened=("float32", "complex64"))
        return jax.tree_util.tree_unflatten(tree, made)

    inner = [(where, dtype) for where, dtype, stays in narrow if stays]
    said = "; ".join(dict.fromkeys(f"JAX's {where} makes {dtype}" for where, dtype in inner))
    return widened, max([2.0**-52, *(eps(dtype) for _, dtype in inner)]), said


def x64(needed: bool) -> contextlib.AbstractContextManager[Any]:
    """JAX's 64 bits, if needed."""
    if not needed:
        return contextlib.nullcontext()
    return importlib.import_module("jax").enable_x64(True)
