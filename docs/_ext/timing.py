"""The timing page: answers first, then one chart with a slider for the batch, then a table.

All of it is computed from the published results, `benchmarks/results/*.json`, as their report is.
"""

import html
import json
import statistics
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from columns import fold, raw, root
from docutils import nodes
from evidence import ROOT
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from words import word

from triptych.timing import results
from triptych.timing.answers import DTYPE, sentences
from triptych.timing.results import Label, Results, Row
from triptych.timing.words import counted, duration, significant

FOLDER = ROOT / "benchmarks" / "results"
STEP = "classifier step, SGD"
"""The task of the chart and of the table."""
SHOWN = (32, 1024, 32768)
"""The batches of the table."""
MEASURED = ("numpy", "torch", "jax")
"""Whose versions stand under the answers."""
LEFT_OUT = ("un-jitted",)
"""Modes that the chart leaves out: a bar of theirs would make all others too short to see."""


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("timing-answers", Answers)
    app.add_directive("timing-chart", Chart)
    app.add_directive("timing-table", Steps)
    app.add_directive("timing-price", Price)
    app.add_directive("timing-workers", Workers)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


@cache
def published() -> Results:
    """The committed results, merged."""
    return results.merge(results.load(sorted(FOLDER.glob("*.json"))))


class _Computed(SphinxDirective):
    """HTML from the published results."""

    def run(self) -> list[nodes.Node]:
        """The HTML; the page is made anew when the results change."""
        for path in FOLDER.glob("*.json"):
            self.env.note_dependency(path)
        return [raw(self.shown(published()))]

    def shown(self, found: Results) -> str:
        """HTML."""
        raise NotImplementedError


class Answers(_Computed):
    """`{timing-answers}`: what the rows say, in sentences, and on which machine."""

    def shown(self, found: Results) -> str:
        """A list of the first task's, the others folded, and a line."""
        said = list(sentences(found))
        first = [text for text in said if f"({STEP}," in text or "GPU" in text]
        others = [text for text in said if text not in first]
        machines = "; ".join(
            f"{setup['machine']['cpu']}, {counted(setup['machine']['cores'], 'core')}, "
            + ", ".join(f"{name} {setup['versions'][name]}" for name in MEASURED)
            for setup in found.setups.values()
        )
        more = fold(word("Other tasks"), listed(others)) if others else ""
        return f'{listed(first)}{more}<p lang="en">Measured on {html.escape(machines)}.</p>'


def listed(texts: Sequence[str]) -> str:
    """Sentences of the report, which are English, as a list."""
    items = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
    return f'<ul lang="en">{items}</ul>'


def timed(found: Results) -> list[Row]:
    """The rows of the task in the usual precision, the columns' and others'."""
    return [row for row in found.tasks.get(STEP, []) if row.time and row.dtype == DTYPE]


class Chart(_Computed):
    """`{timing-chart}`: bars for each batch and device, chosen by a slider; a script draws them."""

    def shown(self, found: Results) -> str:
        """The frame and the data; without the script, the table below says the same."""
        rows = [row for row in timed(found) if row.mode not in LEFT_OUT]
        sides = list(dict.fromkeys(row.side for row in rows))
        told = {
            "sides": [found.name(side) for side in sides],
            "rows": [
                {
                    "side": sides.index(row.side),
                    "batch": row.batch,
                    "column": row.column,
                    "peer": row.peer,
                    "label": ", ".join(row.label),
                    "seconds": row.time.median,
                    "words": duration(row.time.median),
                    "each": duration(row.time.median / row.batch),
                    "range": f"{duration(row.time.low)} - {duration(row.time.high)}",
                }
                for row in rows
                if row.time and row.batch
            ],
        }
        words = {
            "device": word("Device"),
            "batch": word("Rows in a batch"),
            "step": word("a step"),
            "row": word("a row"),
            "quartiles": word("quartiles"),
            "fastest": word("the fastest"),
            "times": word("{} times the fastest"),
        }
        data = json.dumps(told | {"words": words}).replace("<", "\\u003c")
        return (
            '<figure class="tp-timing" hidden>'
            f'<script type="application/json">{data}</script></figure>'
            f'<script defer src="{root(self.env.docname)}_static/timing.js"></script>'
        )


class Steps(_Computed):
    """`{timing-table}`: a step's time for each form and batch, and how many times the fastest's."""

    def shown(self, found: Results) -> str:
        """A table."""
        rows = [row for row in timed(found) if row.side.threads == 1]
        head = [word("one step, one thread"), *(word("batch {n}", n=batch) for batch in SHOWN)]
        lines = [[", ".join(label), *_cells(rows, label)] for label in _labels(rows)]
        return table(word("Times"), head, lines)


def _labels(rows: Sequence[Row]) -> list[Label]:
    return list(dict.fromkeys(row.label for row in rows))


def _cells(rows: Sequence[Row], label: Label) -> Iterator[str]:
    for batch in SHOWN:
        here = {row.label: row for row in rows if row.batch == batch}
        best = min(row.time.median for row in here.values() if row.time and not row.peer)
        mine = here.get(label)
        seconds = mine.time.median if mine and mine.time else None
        yield f"{duration(seconds)} ({significant(seconds / best, 2)}x)" if seconds else ""


def table(label: str, head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """HTML: the first column is what the others are about, in English, as the report has it."""
    first, *others = (html.escape(text) for text in head)
    heads = "".join(f'<th scope="col" class="tp-right">{text}</th>' for text in others)
    body = "".join(
        f'<tr><th scope="row" lang="en">{html.escape(name)}</th>'
        + "".join(f'<td class="tp-right">{html.escape(cell)}</td>' for cell in cells)
        + "</tr>"
        for name, *cells in lines
    )
    return (
        f'<div class="tp-scroll tp-wide" tabindex="0" role="region" aria-label="{label}">'
        f'<table class="tp-table"><thead><tr><th scope="col">{first}</th>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


class Price(_Computed):
    """`{timing-price}`: how many times as long a step with equal bits takes as the ordinary one."""

    def shown(self, found: Results) -> str:
        """A table, on one thread."""
        rows = [row for row in timed(found) if row.side.threads == 1]
        exact = [row for row in rows if "equal bits" in row.mode]
        batches = sorted({row.batch or 0 for row in exact})
        lines = []
        for label in _labels(exact):
            here = {row.batch: row for row in exact if row.label == label}
            lines.append([", ".join(label), *(_price(here.get(batch)) for batch in batches)])
        head = [word("times the ordinary step"), *(word("{n} rows", n=batch) for batch in batches)]
        return table(word("Price"), head, lines)


ORDINARY = {
    "numpy_ref": "numpy_ref:as written",
    "torch_impl": "torch_impl:as written",
    "jax_impl": "jax_impl:whole loop",
}
"""What the mode with equal bits is compared with."""


def _price(row: Row | None) -> str:
    """The median of the processes, the lowest and the highest."""
    if row is None:
        return ""
    ratios = [ratio for told in row.ratios.values() for ratio in told[ORDINARY[row.column]]]
    middle, low, high = statistics.median(ratios), min(ratios), max(ratios)
    # a ratio says how many times as fast: its inverse, how many times as long
    return " ".join(
        (significant(1 / middle, 2), f"({significant(1 / high, 2)}-{significant(1 / low, 2)})")
    )


class Workers(_Computed):
    """`{timing-workers}`: a step on several workers, and the share that its messages take."""

    def shown(self, found: Results) -> str:
        """A table."""
        rows = [row for row in found.rows if row.concept == "data_parallel" and row.time]
        workers = sorted({row.side.threads or 0 for row in rows})
        lines = []
        for batch, label in dict.fromkeys((row.batch or 0, row.label) for row in rows):
            here = {r.side.threads: r for r in rows if (r.batch, r.label) == (batch, label)}
            cells = [_on_workers(here.get(number)) for number in workers]
            lines.append([f"{', '.join(label)}, {batch} rows", *cells])
        head = [word("a step"), *(word("workers: {n}", n=number) for number in workers)]
        return table(word("Workers"), head, lines)


def _on_workers(row: Row | None) -> str:
    if row is None or not row.time:
        return ""
    share = "" if row.messages is None else f", {row.messages:.0%}"
    return duration(row.time.median) + share
