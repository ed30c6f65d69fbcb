"""The published timing results: whole, of committed code, and what the page says of them."""

import re
from pathlib import Path

import pytest

from triptych.timing import results, words

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "benchmarks/results").glob("*.json"))
STEP = "classifier step, SGD"


def merged(baseline: str | None = None) -> results.Results:
    if not FILES:
        pytest.skip("no published results: not a checkout of the project")
    return results.merge(results.load(FILES), baseline)


@pytest.fixture(scope="module")
def published() -> results.Results:
    return merged()


def test_they_say_where_they_come_from(published: results.Results) -> None:
    for setup in published.setups.values():
        assert setup["machine"]["cpu"]
        assert setup["machine"]["cores"]
        assert {"python", "numpy", "torch", "jax", "jaxlib"} <= setup["versions"].keys()
        assert re.fullmatch("[0-9a-f]{40}", setup["source"]["commit"])
        assert setup["source"]["dirty"] is False
    assert {row.side.threads for row in published.rows if row.side.device == "cpu"} >= {1}


def test_every_row_has_a_time_and_has_agreed(published: results.Results) -> None:
    for row in published.rows:
        assert row.time, (row.label, row.reason)
        assert row.agreement
        assert row.agreement["distance"] <= row.agreement["bound"]


@pytest.mark.parametrize(
    ("task", "batch", "fast", "slow", "least"),
    [
        (STEP, 32, "numpy_ref:as written", "scikit-learn:as written", 2),
        (STEP, 442, "numpy_ref:as written", "scikit-learn:as written", 1.5),
        (STEP, 4096, "numpy_ref:as written", "scikit-learn:as written", 1.4),
        ("linear regression, an epoch", 3, "numpy_ref:as written", "autograd:as written", 6),
        (STEP, 32, "jax_impl:whole loop", "optax:compiled step", 3),
        (STEP, 32, "jax_impl:whole loop", "torch_impl:as written", 12),
        # no slower than the loop that everybody writes, within a tenth
        (STEP, 32, "torch_impl:as written", "torch.optim:as written", 1 / 1.10),
    ],
)
def test_the_columns_are_as_fast_as_promised(
    task: str, batch: int, fast: str, slow: str, least: float
) -> None:
    """The median of the ratios within a run, in float32 on one thread of a CPU."""
    wanted = (*fast.split(":"), batch, "float32", "cpu", 1)
    found = [
        row.to_baseline.value
        for row in merged(slow).tasks[task]
        if row.to_baseline
        and (row.column, row.mode, row.batch, row.dtype, row.side.device, row.side.threads)
        == wanted
    ]
    assert found
    assert min(found) >= least


def test_the_page_prints_them(published: results.Results) -> None:
    """Its table of one training step: a row for each column and mode, a column for each batch."""
    text = (ROOT / "docs/timing.md").read_text(encoding="utf-8")
    table = text[text.index("| one step, one thread |") :].split("\n\n")[0]
    head, _, *lines = table.split("\n")
    batches = [int(cell.split()[-1]) for cell in head.strip("| ").split(" | ")[1:]]
    cells = {
        (", ".join(row.label), row.batch): words.duration(row.time.median)
        for row in published.tasks[STEP]
        if row.time and row.side.threads == 1 and row.dtype == "float32"
    }
    assert len(lines) >= 8
    for line in lines:
        label, *printed = [cell.strip() for cell in line.strip("|").split("|")]
        assert printed == [cells.get((label, batch), "") for batch in batches], label
