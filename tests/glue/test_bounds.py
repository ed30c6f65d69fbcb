"""The bound of a descent: it holds against exact arithmetic, and is not so wide that all pass."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from triptych.agreement.bounds import Descent, apart, descent

STEPS, RATE = 60, 0.125


def points(dtype: np.dtype, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x, t = rng.normal(size=(2, 6)).astype(dtype)
    return rng.normal(size=2).astype(dtype), x, t


def exactly(start: Any, x: Any, t: Any, rate: float) -> np.ndarray:
    """w and b after each step in rational arithmetic."""
    w, b = map(Fraction, start.tolist())
    xs, ts = [[Fraction(v) for v in values.tolist()] for values in (x, t)]
    found = []
    for _ in range(STEPS):
        r = [w * x + b - t for x, t in zip(xs, ts, strict=True)]
        slope = Fraction(2 * Fraction(rate), len(r))
        w -= slope * sum(r * x for r, x in zip(r, xs, strict=True))
        b -= slope * sum(r)
        # a common denominator of a thousand digits would double at every step
        w, b = (v.limit_denominator(10**40) for v in (w, b))
        found.append([w, b])
    return np.array(found)


def bound_of(start: Any, x: Any, t: Any, rate: float) -> Descent:
    return descent(start, x[:, None], t, learning_rate=rate, steps=STEPS)


@pytest.mark.parametrize("seed", range(3))
def test_no_column_leaves_the_bound(column: Any, dtype: np.dtype, seed: int) -> None:
    """And each does, with a rate that is off by a thousand eps."""
    start, x, t = points(dtype, seed)
    expected = exactly(start, x, t, RATE)
    bound = bound_of(start, x, t, RATE).params
    assert bound.value == pytest.approx(expected.astype(float), rel=1e-13, abs=1e-13)

    def within(rate: float, steps: int) -> bool:
        after, _ = column.call(
            "linear_regression", "fit", dict(zip("wb", start, strict=True)),
            x[:, None], t[:, None], learning_rate=rate, steps=steps,
        )  # fmt: skip
        off = [
            abs(Fraction(float(after[k])) - v)
            for k, v in zip("wb", expected[steps - 1], strict=True)
        ]
        return bool((np.array(off, float) <= bound.error[steps - 1]).all())

    assert all(within(RATE, steps) for steps in (1, 10, STEPS))
    assert not within(RATE * (1 + 1000 * float(np.finfo(dtype).eps)), 1)


def test_apart_is_twice_the_worst_relative_error() -> None:
    eps = np.finfo(np.float32).eps
    assert apart(np.array([1, 6]) * eps, np.array([1, -2]), "float32") == 6


def test_losses_and_gradients_are_off_where_the_parameters_are(dtype: np.dtype) -> None:
    start, x, t = points(dtype, 0)
    found = bound_of(start, x, t, RATE)
    r = start[0].astype(float) * x + start[1] - t
    assert found.losses.value[0] == pytest.approx(np.mean(r**2))
    assert found.grads.value[0] == pytest.approx([np.mean(2 * r * x), np.mean(2 * r)])
    moved = found.params.error[:-1] @ np.ones(2)
    assert (found.grads.error[1:].max(axis=1) > 0).all()
    assert (np.diff(moved) > 0).all()  # the error accumulates


def test_losses_and_gradients_are_off_by_what_the_parameters_are(dtype: np.dtype) -> None:
    """Not by less; and not by more than that, and the rounding of a single step."""
    start, x, t = points(dtype, 0)
    found = bound_of(start, x, t, RATE)
    x, t = x.astype(float), t.astype(float)

    def loss(w: float, b: float) -> float:
        return float(np.mean((w * x + b - t) ** 2))

    def slopes(w: float, b: float) -> np.ndarray:
        r = w * x + b - t
        return np.array([np.mean(2 * r * x), np.mean(2 * r)])

    first = [quantity.error[0] for quantity in (found.losses, found.grads)]
    for step in (5, 20, STEPS - 1):
        at, off = found.params.value[step - 1], found.params.error[step - 1]
        corners = [at + off * sign for sign in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
        for quantity, function, alone in (
            (found.losses, loss, first[0]),
            (found.grads, slopes, first[1]),
        ):
            shift = np.max([abs(function(*p) - function(*at)) for p in corners], axis=0)
            error = quantity.error[step]
            assert (shift <= 1.001 * error).all(), (step, shift, error)
            assert (error <= 10 * (shift + alone)).all(), (step, shift, error)
