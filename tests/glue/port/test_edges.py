"""The checker at its edges: a mistake a little larger than what it forgives is found."""

from typing import Any

import numpy as np
import pytest

from triptych.port.call import compare
from triptych.port.comparison import cotangents_of
from triptych.port.verdict import Given, Rule, judge

LOW, WIDE = 2.0**-23, 2.0**-52


def verdict(a: Any, b: Any, A: Any, B: Any, **rule: Any) -> str:  # noqa: N803
    """Of numbers in float32 and in float64."""
    a, b = np.atleast_1d(np.float32(a)), np.atleast_1d(np.float32(b))
    wide = [None if x is None else np.atleast_1d(np.float64(x)) for x in (A, B)]
    rules = Rule(None, 0.0, WIDE, LOW, "")._replace(**rule)
    return judge("x", Given("b", b, b, wide[1]), Given("a", a, a, wide[0]), rules).verdict


def test_how_much_is_allowed_where_float64_cannot_judge() -> None:
    assert verdict(1 + 8 * LOW, 1, None, None) == "rounding"
    assert verdict(1 + 160 * LOW, 1, None, None) == "cannot tell"


def test_how_much_of_float64_counts_as_none() -> None:
    """Of a large entry that is exact in float32, by luck, beside a small one that is not."""
    for count, expected in ((32, "rounding"), (640, "mistake")):
        wide = [2.0**20 * (1 + count * WIDE), 1.0], [2.0**20, 1.0]
        assert verdict([2.0**20, 1 + LOW], [2.0**20, 1.0], *wide) == expected


def test_what_stays_in_float64_is_a_mistake_ten_times_beyond_the_limit() -> None:
    # the error of both in float32 is 4 eps, so the limit is 2^-14.5 of that
    limit = 2.0**-14.5 * 4 * LOW
    assert verdict(1 + 4 * LOW, 1, 1 + limit / 10, 1.0) == "rounding"
    assert verdict(1 + 4 * LOW, 1, 1 + limit * 10, 1.0) == "mistake"


def test_a_difference_of_exactly_what_counts_as_none() -> None:
    assert verdict(1.5, 1, 1.5, 1.0, absolute=0.5) == "rounding"
    assert verdict(1.5, 1, 1.5, 1.0, absolute=0.499) == "mistake"


def test_cotangents_are_the_same_at_every_call_and_others_for_each_output() -> None:
    outputs = {"output[0]": np.ones(3), "output[1]": np.ones(3), "output[2]": np.arange(3)}
    first, second = cotangents_of(outputs), cotangents_of(outputs)
    assert first.keys() == {"output[0]", "output[1]"}
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not np.array_equal(first["output[0]"], first["output[1]"])


def test_an_output_too_many_or_too_few_is_another_structure() -> None:
    x = np.arange(3.0)
    for one, two in ((lambda x: (x, x), lambda x: (x,)), (lambda x: (x,), lambda x: (x, x))):
        report = compare(x, numpy=[one, two])
        assert "other structure" in str(report.entries[0])


def test_one_argument_in_float64_beside_one_in_float32() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("jax")
    x, y = np.array([1, 2, 3], np.float32), np.array([0.1, 0.2, 0.3])
    report = compare(x, y, torch=lambda x, y: x * y, jax=lambda x, y: x * y)
    assert {entry.verdict for entry in report.entries} <= {"equal bits", "rounding"}, str(report)


@pytest.mark.parametrize("wrong", [0, 1])
def test_the_gradient_of_every_output_counts(wrong: int) -> None:
    pytest.importorskip("torch")
    jax = pytest.importorskip("jax")
    x = np.array([1.0, 2.0])

    def port(x: Any) -> Any:
        parts = [x * 2, x**2]
        parts[wrong] = jax.lax.stop_gradient(parts[wrong])
        return tuple(parts)

    report = compare(x, torch=lambda x: (x * 2, x**2), jax=port)
    (gradient,) = [e for e in report.entries if e.name == "gradient by x"]
    assert gradient.verdict == "mistake"
    report = compare(x, torch=lambda x: (x * 2, x**2), jax=lambda x: (x * 2, x**2))
    assert all(entry.verdict != "mistake" for entry in report.entries)


def test_a_constant_that_a_cast_rounded_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Flax module with a dtype casts inside, and its constants are rounded with it."""
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    x = np.linspace(-2, 2, 7, dtype=np.float32)

    def verdict(approximate: bool) -> str:
        def port(x: Any) -> Any:
            return jax.nn.gelu(x.astype(np.float32), approximate=approximate) * 0.1

        report = compare(
            x, torch=lambda x: torch.nn.functional.gelu(x) * 0.1, jax=port, gradients=False
        )
        return report.verdict

    assert verdict(approximate=False) == "rounding"
    assert verdict(approximate=True) == "mistake"
    monkeypatch.setattr("triptych.port.jaxpr._restored", lambda value: value)
    assert verdict(approximate=False) == "mistake"
