"""The published set of right and wrong ports: no false alarm, no miss, no wrong hint."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("jax")
from support import ports

from triptych.port import hints

QUICK = ("square_weight", "relu_at_zero", "detached")
"""These stand in the plain run."""


def marked(make: Any) -> Any:
    quick = make.__name__ in QUICK
    return pytest.param(make, id=make.__name__, marks=[] if quick else pytest.mark.slow)


HINTED = [make for make in ports.FAMILIES if any(wrong.hint for wrong in make().wrong)]


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with warnings.catch_warnings():  # of the originals, about themselves
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("make", [*map(marked, ports.FAMILIES)])
def test_every_port_gets_its_verdict_and_its_hint(make: Any) -> None:
    family = make()
    if family.right:
        row = ports.row(family, "right", family.right, True)
        assert row.judged, row
        assert row.hints == ()
        assert row.margin < 0.01  # a hundred times within the limit
    for wrong in family.wrong:
        row = ports.row(family, wrong.name, wrong.function, False)
        assert row.judged, row
        assert row.verdict == "mistake"
        assert row.margin > 100
        assert row.hints == ((wrong.hint,) if wrong.hint else ()), row


def scaled(tree: Any, factor: float, offset: float) -> Any:
    """The floating-point arrays of an output, otherwise."""
    if isinstance(tree, tuple):
        return (scaled(tree[0], factor, offset), *tree[1:])
    return tree * factor + offset


DECOYS: dict[str, Any] = {
    "one per cent more": lambda port: lambda *given: scaled(port(*given), 1.01, 0),
    "an offset": lambda port: lambda *given: scaled(port(*given), 1, 0.01),
    "another sign": lambda port: lambda *given: scaled(port(*given), -1, 0),
}


@pytest.mark.slow
@pytest.mark.parametrize("make", HINTED, ids=lambda make: make.__name__)
def test_a_hint_is_not_given_for_another_mistake(make: Any) -> None:
    family = make()
    right = family.right or family.wrong[0].function
    for name, decoy in DECOYS.items():
        report = ports.report(family, decoy(right), gradients=False)
        if report.agrees:  # a remainder of another sign is the remainder of another number
            continue
        allowed = {"detached-original"} if family.name == "detached" else set()
        named = {hint.id for hint in report.hints}
        assert named <= allowed, (name, named)


def test_the_set_is_large_enough_and_the_causes_are_traps() -> None:
    families = [make() for make in ports.FAMILIES]
    wrong = [w for family in families for w in family.wrong]
    right = [family for family in families if family.right]
    assert len(wrong) + len(right) >= 60
    assert len(wrong) >= len(right)
    named = {w.hint for w in wrong} - {""}
    known = {cause.id for cause in hints.CAUSES} | {hints.DETACHED.id, hints.FLOAT32.id}
    assert named == known
    assert len(named) >= 15
    traps = (Path(__file__).parents[3] / "docs" / "traps.toml").read_text(encoding="utf-8")
    assert all(f'id = "{cause}"' in traps for cause in known)


def test_a_cause_leaves_the_original_as_it_was() -> None:
    family = ports.square_weight()
    before = {name: p.clone() for name, p in family.original.state_dict().items()}
    report = ports.report(family, family.wrong[0].function)
    assert [hint.id for hint in report.hints] == ["weight-layout"]
    assert "traps.html#weight-layout" in str(report)
    assert all(np.array_equal(p, before[n]) for n, p in family.original.state_dict().items())
    x = np.ones((2, 5), np.float32)
    import torch

    assert family.original(torch.from_numpy(x)).shape == (2, 5)
