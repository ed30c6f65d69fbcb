"""Linear regression: an epoch of gradient descent on the document's three points, and on more."""

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.cases import FUSED, SEED, Case, Outputs, Target, in_float64, judge, precision
from benchmarks.compile_time import unchecked
from benchmarks.counts import regression_epoch
from benchmarks.machine import absent, devices, runs
from triptych import data
from triptych.agreement.bounds import descent
from triptych.column import Column

RATE = 0.1
POINTS = (3, 32, 1024, 32768)
"""Three are the document's own."""
MANY = (10**6, 10**7)
"""Where memory decides: with --sweep, in float32."""
MODES = {
    "numpy_ref": ("as written",),
    "torch_impl": ("as written",),
    "jax_impl": ("un-jitted", "whole loop"),
}
TERMS = 2**13
"""Of a sum, for the bound: of n terms, whose roundings are independent, sqrt(n) count (Higham and
Mary, 2019). With all 10^7 in it, the bound would let everything pass."""


def epochs_of(points: int) -> int:
    """K: a hundred epochs, fewer where one takes long."""
    return max(2, min(100, 10**7 // points))


def samples(points: int, dtype: str) -> Any:
    """The start w = b = 0, x and t."""
    return data.line(dtype=dtype) if points == 3 else data.noisy_line(points, SEED, dtype=dtype)


def make(case: Case) -> Target:
    """A column's loop, or HIPS autograd's."""
    given = samples(case.batch or 3, case.dtype)
    params, x, t = given
    # how far rounding can take a column: a running error bound, which grows with the terms of a sum
    start = np.array([params["w"], params["b"]])
    off = descent(start, x[:TERMS], t[:TERMS, 0], learning_rate=RATE, steps=case.steps)
    bound = float(max(off.params.error.max(), off.losses.error.max()))

    def expected() -> Outputs:
        with precision("float64"):
            params, losses = judge(case.column).call(
                "linear_regression", "fit", *in_float64(given),
                learning_rate=RATE, steps=case.steps,
            )  # fmt: skip
        return params | {"losses": losses[:10]}

    if case.mode == FUSED:
        from benchmarks import fused

        return fused.line(given, RATE, case.steps, expected)._replace(bound=bound)
    if case.peer:
        target = peers.autograd_line(given, RATE, case.steps, expected)
        return target._replace(bound=bound)
    column = Column(case.column, case.device)
    _, x, t = (column.take_in(value) for value in given)

    def fresh() -> Any:
        return column.synchronize((column.take_in(given[0]), x, t))

    fit = partial(column.linear_regression.fit, learning_rate=RATE, steps=case.steps)
    if case.mode == "un-jitted":
        fit = partial(_un_jitted, column, case.steps)
    return Target(
        fresh, unchecked(column, fit), column.synchronize, peers.trained(column), expected, bound
    )


def _un_jitted(column: Column, epochs: int, params: Any, x: Any, t: Any) -> Any:
    """JAX without `jit` or `scan`: every operation is dispatched by itself."""
    import jax
    import jax.numpy as jnp

    losses = []
    for _ in range(epochs):
        value, grads = jax.value_and_grad(column.linear_regression.loss)(params, x, t)
        params = {name: p - RATE * grads[name] for name, p in params.items()}
        losses.append(value)
    return params, jnp.stack(losses)


def case_of(column: str, mode: str, points: int, dtype: str, **kwargs: Any) -> Case:
    """A row; un-jitted, few epochs are enough."""
    epochs = 10 if mode == "un-jitted" else epochs_of(points)
    count = regression_epoch(points, np.dtype(dtype).itemsize)
    return Case(
        "linear_regression", "linear regression, an epoch", column, mode, points, epochs, make,
        dtype=dtype, **count._asdict(), **kwargs,
    )  # fmt: skip


def cases() -> Iterator[Case]:
    """Every row; those that are not `default` need --full, or --sweep for many points."""
    for points, dtype in [*product(POINTS, ("float32", "float64")), *product(MANY, ("float32",))]:
        usual = "sweep" if points in MANY else "full"
        for device, (column, modes) in product(devices(), MODES.items()):
            here = (points, dtype, device) == (3, "float32", "cpu")
            for mode in modes:
                if runs(column, "as_written", device) and (mode != "un-jitted" or usual == "full"):
                    when = "default" if here and mode != "un-jitted" else usual
                    yield case_of(column, mode, points, dtype, device=device, when=when)
        if not absent("autograd") and points not in MANY:
            when = "default" if (points, dtype) == (3, "float32") else "full"
            yield case_of("autograd", "as written", points, dtype, when=when)
        if not absent("numba") and dtype == "float32":
            when = "default" if points == 3 else usual
            yield case_of("numba", FUSED, points, "float32", when=when)


def test_linear_regression(case: Case, measure: Any) -> None:
    """Check, warm up, time."""
    measure(case)
