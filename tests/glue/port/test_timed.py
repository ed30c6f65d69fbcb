"""One's own functions timed: agreement first, every call waited for, in turn."""

import time
from typing import Any

import numpy as np
import pytest

import triptych
from triptych.port import timed

torch = pytest.importorskip("torch")
jax = pytest.importorskip("jax")
jnp = pytest.importorskip("jax.numpy")

X = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)


def slow(x: Any) -> Any:
    time.sleep(0.004)
    return torch.tanh(x)


def test_times_in_turn_with_the_ratio_of_neighbours() -> None:
    found = triptych.time(X, torch={"one": slow, "two": torch.tanh}, budget=0.05)
    one, two = found.rows
    assert [one.label, two.label] == ["one", "two"]
    assert len(one.seconds) == len(two.seconds) >= timed.FEWEST
    assert one.median >= 0.004
    assert one.first >= 0.004
    low, ratio, high = found.ratio("two")
    assert low <= ratio <= high
    assert ratio < 1
    assert found.ratio("one") == (1, 1, 1)
    assert "times one" in str(found)
    assert "rounds in turn" in str(found)


def test_no_time_for_what_disagrees() -> None:
    calls = []

    def counted(x: Any) -> Any:
        calls.append(1)
        return np.sin(x)

    with pytest.raises(triptych.DisagreementError, match="output, numpy against torch"):
        triptych.time(X, torch=torch.tanh, numpy=counted)
    assert len(calls) == 3  # the first call, and in both precisions to compare: none in the rounds


def test_the_work_is_waited_for_and_compilation_stands_apart() -> None:
    x = np.ones((600, 600), np.float32) / 600
    work = jax.jit(lambda x: {"y": [x @ x @ x @ x]})
    made = work(jnp.asarray(x))
    (leaf,) = timed._wait(made)
    assert leaf.is_ready()

    def second(x: Any) -> Any:
        made.append(1)  # once, while it is traced
        time.sleep(0.5)
        return jnp.tanh(x)

    made = []
    found = triptych.time(X, jax=[jnp.tanh, jax.jit(second)], budget=0.01, gradients=False)
    assert found.rows[1].first > 0.5  # compiling stands in the first call
    assert found.rows[1].median < 0.5
    assert made


def test_what_compiles_at_every_call_is_refused() -> None:
    def fresh(x: Any) -> Any:
        return jax.jit(lambda x: jnp.tanh(x) + 0)(x)

    with pytest.raises(ValueError, match="jax compiles at every call"):
        triptych.time(X, torch=torch.tanh, jax=fresh, gradients=False, float64=False)
    with pytest.raises(ValueError, match="budget must be above 0"):
        triptych.time(X, torch=[torch.tanh, torch.tanh], budget=0)


def test_a_clock_that_does_not_wait_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timed, "_wait", lambda result: [result])
    x = np.ones((900, 900), np.float32)
    work = jax.jit(lambda x: x @ x @ x @ x @ x)
    with pytest.raises(AssertionError):
        triptych.time(x, jax=[work, work], gradients=False, float64=False)
