"""Figures that are no rows: what a recorded forward pass keeps, and how it is timed."""

import pytest

from benchmarks import figures

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("rows", [5, 300])
def test_a_recorded_pass_keeps_what_the_relus_give(rows: int) -> None:
    """Both layers' outputs, 16 and 8 numbers of 4 bytes a row, which the next layers need too."""
    assert figures.kept_bytes(rows) == rows * (16 + 8) * 4
    assert figures.kept_bytes(rows, recorded=False) == 0


@pytest.mark.parametrize("mode", ["no_grad", "inference_mode"])
def test_the_quartiles_of_a_ratio(mode: str) -> None:
    low, middle, high = figures.recorded_beside(mode, 5000)
    assert 0 < low <= middle <= high
