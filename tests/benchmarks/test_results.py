"""The published timing results: whole, of committed code, and what the page says of them."""

import importlib
import json
import re
import statistics
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from triptych.timing import results, words

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs" / "_ext"))
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


# The timing page


@pytest.fixture(scope="module")
def page() -> Any:
    """The pages' own module, which writes what they show."""
    pytest.importorskip("sphinx")
    merged()
    return importlib.import_module("timing")


def test_the_pages_table_has_the_times(page: Any, published: results.Results) -> None:
    text = page.Steps.shown(None, published)
    rows = [row for row in page.timed(published) if row.side.threads == 1]
    best = min(row.time.median for row in rows if row.batch == 32 and not row.peer)
    for row in rows:
        if row.batch in page.SHOWN:
            times = words.significant(row.time.median / best, 2)
            cell = f"{words.duration(row.time.median)} ({times if row.batch == 32 else ''}"
            assert cell in text, row.label
    assert text.count("<tr>") >= 9


def test_the_chart_has_every_row_that_it_does_not_leave_out(
    page: Any, published: results.Results
) -> None:
    directive: Any = SimpleNamespace(env=SimpleNamespace(docname="timing"))
    text = page.Chart.shown(directive, published)
    data = json.loads(text.partition('json">')[2].partition("</script>")[0])
    rows = [row for row in page.timed(published) if row.mode not in page.LEFT_OUT]
    assert len(data["rows"]) == len(rows)
    assert {row["side"] for row in data["rows"]} == set(range(len(data["sides"])))
    for told, row in zip(data["rows"], rows, strict=True):
        assert told["seconds"] == row.time.median
        assert told["words"] == words.duration(row.time.median)


def test_equal_bits_cost_what_the_rows_say(page: Any, published: results.Results) -> None:
    text = page.Price.shown(None, published)
    for row in page.timed(published):
        if row.side.threads == 1 and "equal bits" in row.mode:
            ordinary = page.ORDINARY[row.column]
            processes = [r for told in row.ratios.values() for r in told[ordinary]]
            factor = 1 / statistics.median(processes)
            assert 1 < factor < 50
            assert f">{words.significant(factor, 2)} (" in text
    assert text.count("<td") == 6


def test_workers_are_on_their_page(page: Any, published: results.Results) -> None:
    text = page.Workers.shown(None, published)
    rows = [row for row in published.rows if row.concept == "data_parallel"]
    assert text.count("<td") == len(rows) == 3 * 2 * 2 * 4
    for row in rows:
        assert row.time
        share = "" if row.messages is None else f", {row.messages:.0%}"
        assert f">{words.duration(row.time.median)}{share}<" in text
