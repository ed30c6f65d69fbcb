"""The timing report: tables for the terminal, Markdown and HTML with plots."""

import base64
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from triptych.timings import (
    BEST,
    Crossover,
    Key,
    Label,
    Ratio,
    Results,
    Row,
    Side,
    crossovers,
    differences,
    fits,
    merge,
)

NOISY = 0.1
"""Interquartile range over median above which a row is marked."""
BINDS = {"flops": "flops", "bytes": "bytes", "dispatch": "floor"}
LEGEND = (
    "cpu x2: on two threads; time: of one step, the median over rounds; spread: interquartile "
    "range over median, of several runs from the lowest first quartile to the highest third; ! "
    "above 10%.",
    "limit: how much of the measured limit that binds is reached: flops (matrix product), bytes "
    "(of a triad that is at least a third as large: the bandwidth of a cache, or of the memory) or "
    "floor (the empty compiled step; in a whole loop, a K-th of one).",
    "CPU/GPU: above 1 the GPU is faster; compile: before the first step, PyTorch's with the import "
    "of its compiler and one step; even: compiling has paid after so many steps.",
    "host memory: growth of the process while the row warmed up, beyond what earlier rows have "
    "left to it (empty: none): it does not compare columns.",
)
FIT_LEGEND = (
    "time = overhead + cost per row x batch, by least squares of the relative error, neither "
    "number below zero; misfit: root mean square of the relative error. GPU wins: from this batch "
    "(log-log between the two measured ones) up to the largest measured."
)


# Words


def duration(seconds: float) -> str:
    """Three digits and a fitting unit: 0.0000321 is "32.1 us"."""
    units = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9), ("ps", 1e-12))
    # 999.5 would be rounded to four digits
    unit, size = next((u for u in units if seconds >= 0.9995 * u[1]), units[-bool(seconds)])
    return f"{_digits(seconds / size, 3)} {unit}"


def _digits(number: float, digits: int) -> str:
    """So many digits that count, never an exponent: 1234 to two is "1200"."""
    rounded = float(f"{number:.{digits}g}")
    decimals = digits - 1 - math.floor(math.log10(rounded)) if rounded else 0
    return f"{rounded:.{max(decimals, 0)}f}"


def crossing(cross: Crossover) -> str:
    """The batch from which the GPU wins, and the measured ones around it, or that it does not."""
    if not cross.between:
        return "none in range"
    low, high = cross.between
    if low is None:
        return "whole range"
    return f"{_digits(cross.batch or 0, 2)} ({low} to {high})"


def _times(ratio: Ratio | None) -> str:
    return f"{_digits(ratio.value, 2)}x{'*' * ratio.foreign}" if ratio else ""


def _share(limit: dict[str, Any] | None) -> str:
    if not limit:
        return ""
    share = 100 * limit["share"]
    amount = "<0.1" if share < 0.1 else f"{share:.0f}" if share >= 9.95 else f"{share:.1f}"
    return f"{amount}% {BINDS[limit['binds']]}"


def _size(number: float | None) -> str:
    return f"{number / 2**20:.1f} MiB" if number else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


# Tables

Cell = dict[str, str]
"""The text of each metric, in order; an empty metric is left out of the table if all are."""


class Grid(NamedTuple):
    """A table of text; a row with nothing but its first cell is a heading."""

    head: list[str]
    rows: list[list[str]]


class Sheet(NamedTuple):
    """A table over sides, and lines under it.

    It prints with the sides next to each other, or, where that is too wide, below each other.
    """

    title: str
    sides: dict[Side, str]
    entries: list[tuple[Label, dict[Side, Cell]]]
    """Label and cells of each line; without cells, a heading."""
    notes: list[str]

    def _metrics(self, sides: Iterable[Side]) -> list[str]:
        cells = [cells[side] for _, cells in self.entries for side in sides if side in cells]
        filled = {name for cell in cells for name, text in cell.items() if text}
        return [
            name
            for name in dict.fromkeys(name for cell in cells for name in cell)
            if name in filled
        ]

    def wide(self) -> Grid:
        """Sides next to each other."""
        columns = [(side, name) for side in self.sides for name in self._metrics([side])]
        firsts = dict(reversed(columns))
        head = ["", *(f"{self.sides[s] * (firsts[s] == name)}\n{name}" for s, name in columns)]
        if len(self.sides) == 1:
            head = [*self.sides.values(), *(name for _, name in columns)]
        rows = [
            [", ".join(filter(None, label)), *(by.get(s, {}).get(name, "") for s, name in columns)]
            for label, by in self.entries
        ]
        return Grid(head, rows)

    def narrow(self) -> Grid:
        """Sides below each other."""
        metrics = self._metrics(self.sides)
        rows = [
            [
                "\n ".join(filter(None, label)),
                "\n".join(self.sides[side] for side in by),
                *("\n".join(cell.get(name, "") for cell in by.values()) for name in metrics),
            ]
            for label, by in self.entries
        ]
        return Grid(["", "on", *metrics], rows)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self.entries and not self.notes:
            return
        unlimited = options.update(max_width=10_000)
        for grid, gap in ((self.wide(), 2), (self.wide(), 1), (self.narrow(), 1)):
            table = _rich(grid, gap)
            if Measurement.get(console, unlimited, table).maximum <= options.max_width:
                break
        if self.entries:
            yield Text(self.title, style="bold")
            yield table
        yield from map(Text, self.notes)
        yield ""


def _rich(grid: Grid, gap: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, gap - 1, 0, 0))
    table.add_column(Text(grid.head[0]))
    for name in grid.head[1:]:
        table.add_column(Text(name), justify="left" if name == "on" else "right", no_wrap=True)
    for row in grid.rows:
        heading = not any(row[1:])
        if heading:
            table.add_section()
        table.add_row(*map(Text, row), style="bold" if heading else "")
    return table


def _sheet(results: Results, title: str, cells: dict[tuple[Label, Label, Side], Cell]) -> Sheet:
    """A sheet from cells by heading, label and side, in their order; empty ones are left out."""
    filled = {key: cell for key, cell in cells.items() if any(cell.values())}
    sides = sorted(
        {side for _, _, side in filled}, key=lambda s: (s.setup, s.device, s.threads or 0)
    )
    sections: dict[Label, dict[Label, dict[Side, Cell]]] = {}
    for (heading, label, side), cell in filled.items():
        sections.setdefault(heading, {}).setdefault(label, {})[side] = cell
    entries: list[tuple[Label, dict[Side, Cell]]] = []
    for heading, lines in sections.items():
        entries.append((heading, {}))
        entries += [
            (label, {side: by[side] for side in sides if side in by}) for label, by in lines.items()
        ]
    return Sheet(title, {side: results.name(side) for side in sides}, entries, [])


def _heading(row: Row) -> Label:
    return (row.dtype, "") if row.batch is None else (f"batch {row.batch}", row.dtype)


def _steady(results: Results, task: str, rows: list[Row]) -> Sheet:
    """Time for one step, with all that follows from it."""
    cells = {}
    for row in rows:
        cell = {"time": "" if row.status == "not run" else row.status}
        if row.time:
            even = row.break_even_steps
            cell = {
                "time": duration(row.time.median),
                "spread": f"{row.time.spread:.0%}{'!' * (row.time.spread > NOISY)}",
                "limit": _share(row.limit),
                "baseline": _times(row.to_baseline),
                "CPU/GPU": _times(row.to_cpu),
                "compile": duration(sum(row.compile.values())) if row.compile else "",
                "even": "" if not row.compile else "never" if even is None else f"{even:.0f}",
            }
        cells[_heading(row), row.label, row.side] = cell
    return _sheet(results, task, cells)._replace(notes=list(notes(results, rows)))


def _once(results: Results, rows: list[Row]) -> Sheet:
    """What is paid once, apart from the steps."""
    cells = {}
    for row in rows:
        times = (row.compile or {}) | (row.transfer or {})
        memory = row.peak_memory or {}
        cells[_heading(row), row.label, row.side] = {
            name.replace("_", " "): duration(times[name]) if name in times else ""
            for name in ("lower", "compile", "first", "second", "to_device", "to_host")
        } | {f"{where} memory": _size(memory.get(where)) for where in ("device", "host")}
    return _sheet(results, "compilation, transfer, peak memory", cells)


def _across(results: Results, rows: list[Row]) -> Sheet:
    """How the time grows with the batch, and from which batch a GPU wins."""
    fitted, crossed = fits(rows), crossovers(rows)
    cells = {}
    for key in dict.fromkeys((*fitted, *(key for key, c in crossed.items() if len(c.batches) > 1))):
        line, cross = fitted.get(key), crossed.get(key)
        dtype, label, side = key
        cells[(dtype, ""), label, side] = {
            "overhead": duration(line.overhead) if line else "",
            "per row": duration(line.per_row) if line else "",
            "misfit": f"{line.misfit:.0%}" if line else "",
            "GPU wins": f"{crossing(cross)}{'*' * cross.foreign}" if cross else "",
        }
    return _sheet(results, "over the batch", cells)


def notes(results: Results, rows: list[Row]) -> Iterator[str]:
    """Lines under a task's table: everything that is not in it, and why."""
    grouped: dict[tuple[str, Label, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row.status != "ok":
            grouped[row.status, row.label, row.reason].append(row)
    for (status, label, reason), group in grouped.items():
        sides = ", ".join(dict.fromkeys(results.name(row.side) for row in group))
        dtypes = ", ".join(dict.fromkeys(row.dtype for row in group))
        batches = ", ".join(dict.fromkeys(str(row.batch) for row in group if row.batch))
        where = f"{sides}; {dtypes}{'; batch ' * bool(batches)}{batches}"
        yield f"{status}: {', '.join(label)} ({where}): {reason or 'no reason given'}"
    crossed = crossovers(rows)
    for (dtype, what, side), cross in crossed.items():
        if what[0] == BEST:
            at = list(zip(cross.batches, cross.ratios, strict=True))
            loses = ", ".join(f"{batch} ({_digits(r, 2)}x)" for batch, r in at if r <= 1)
            wins = ", ".join(f"{batch} ({_digits(r, 2)}x)" for batch, r in at if r > 1)
            outcome = [f"the GPU loses at batch {loses}"] * bool(loses)
            outcome += [f"the GPU wins at batch {wins}"] * bool(wins)
            star = "*" * cross.foreign
            yield f"{BEST}{star}, {results.name(side)}, {dtype}: {'; '.join(outcome)}"
    if any(row.mode == "un-jitted" for row in rows):
        yield "un-jitted is not JAX's intended use"
    if peers := dict.fromkeys(row.label[0] for row in rows if row.peer):
        yield f"peers, for comparison: {', '.join(peers)}"
    compared = [ratio for row in rows for ratio in (row.to_baseline, row.to_cpu) if ratio]
    if any(r.foreign for r in compared) or any(c.foreign for c in crossed.values()):
        yield "* against another set-up: see what differs"


# The whole report


def _value(name: str, value: Any) -> str:
    if name == "memory" and value:
        return f"{value / 2**30:.1f} GiB"
    words = {"None": "none", "True": "yes", "False": "no"}
    return words.get(str(value), str(value))


def _machines(setups: dict[str, Any], only: dict[str, dict[str, Any]] | None = None) -> Grid:
    """Every set-up's description, or what they differ in."""
    rows: list[list[str]] = []
    for group in ("machine", "versions", "flags", "source"):
        names = dict.fromkeys(name for setup in setups.values() for name in setup[group])
        wanted = [name for name in names if only is None or name in only.get(group, {})]
        rows += [[group, *[""] * len(setups)]] if wanted else []
        rows += [
            [name, *(_value(name, setup[group].get(name)) for setup in setups.values())]
            for name in wanted
        ]
    return Grid(["", *setups], rows)


def _remarks(results: Results) -> Iterator[str]:
    """What a reader has to know before the first ratio."""
    if apart := differences(results):
        letters = list(results.setups)
        names = f"{', '.join(letters[:-1])} and {letters[-1]}"
        listed = "; ".join(f"{group}: {', '.join(part)}" for group, part in apart.items())
        kind = "different machines" if "machine" in apart else "one machine, set up differently"
        yield f"{names} are {kind} ({listed}). Ratios marked * compare that as well as the code."
    for letter, setup in results.setups.items():
        if setup["source"]["dirty"]:
            yield f"{f'{letter}: ' * bool(apart)}measured with changes that are not committed"
    total, overlapping = results.repeated
    if total:
        yield (
            f"{_count(total, 'row')} measured in several runs: the run in the middle is shown. The "
            f"quartile ranges of the single runs overlap for {overlapping} of the rows. A ratio is "
            "taken within a run: shown is the median"
        )
    yield (
        f"baseline: how many times as fast as {results.baseline}, on the same device and threads; "
        "on a GPU that it has no row for, as its fastest on a CPU"
    )


def terminal(results: Sequence[dict[str, Any]], baseline: str | None = None) -> RenderableType:
    """The report, to be printed by rich.

    Args:
        results: pytest-benchmark's dictionaries, as the harness fills them.
        baseline: "column" or "column:mode"; by default `numpy_ref`, if it is there.

    Raises:
        ResultsError: one does not come from this suite or lacks a field, or nothing is in them.
        UnknownNameError: no row is of the baseline.
    """
    merged = merge(results, baseline)
    parts: list[RenderableType] = []
    for letter, setup in merged.setups.items():
        described = [
            f"{name} {_value(name, value)}"
            for group in setup.values()
            for name, value in group.items()
            if value is not None
        ]
        parts.append(Text(f"{letter}: {', '.join(described)}"))
    if apart := differences(merged):
        parts += ["", _rich(_machines(merged.setups, apart), gap=2)]
    parts += [*map(Text, _remarks(merged)), ""]
    for task, rows in merged.tasks.items():
        parts += [_steady(merged, task, rows), _across(merged, rows)]
    parts += map(Text, (*LEGEND, FIT_LEGEND, *(f"not run: {line}" for line in merged.not_run)))
    return Group(*parts)


def as_json(results: Results) -> dict[str, Any]:
    """The merged rows, with their ratios, and what was computed from them, for a machine."""
    rows = [
        row._asdict()
        | {
            "side": row.side._asdict(),
            "time": row.time and row.time._asdict() | {"spread": row.time.spread},
            "to_baseline": row.to_baseline and row.to_baseline._asdict(),
            "to_cpu": row.to_cpu and row.to_cpu._asdict(),
        }
        for row in results.rows
    ]

    def lines(compute: Callable[[list[Row]], dict[Key, Any]]) -> list[tuple[dict[str, Any], Any]]:
        return [
            ({"task": task, "dtype": dtype, "label": label, "side": side._asdict()}, found)
            for task, group in results.tasks.items()
            for (dtype, label, side), found in compute(group).items()
        ]

    return {
        "setups": results.setups,
        "differences": differences(results),
        "baseline": results.baseline,
        "not_run": results.not_run,
        "repeated": dict(zip(("rows", "overlapping"), results.repeated, strict=True)),
        "rows": rows,
        "fits": [about | found._asdict() for about, found in lines(fits)],
        "crossovers": [
            about | found._asdict() | {"batch": found.batch, "between": found.between}
            for about, found in lines(crossovers)
        ],
    }


class Picture(NamedTuple):
    """A plot, or the reason for which there is none."""

    title: str
    svg: str
    why: str

    @property
    def file(self) -> str:
        """Its name on disk."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-") + ".svg"


def _pictures(results: Results) -> dict[str, list[Picture]]:
    try:
        from triptych import plots
    except ModuleNotFoundError as error:
        why = f"no plots: {error.name} is not installed (extra `plots`)"
        return {task: [Picture(task, "", why)] for task in results.tasks}
    return {task: plots.draw(results, task, rows) for task, rows in results.tasks.items()}


def _escape(text: str) -> str:
    """Text that means itself in Markdown, on one line."""
    return re.sub(r"([\\`*|<>\[\]~&])", r"\\\1", " ".join(text.split()))


def _table(grid: Grid) -> str:
    def line(cells: list[str]) -> str:
        return f"| {' | '.join(map(_escape, cells))} |"

    rules = f"|---{'|---:' * (len(grid.head) - 1)}|"
    rows = [line(row) if any(row[1:]) else f"| **{_escape(row[0])}** |" for row in grid.rows]
    return "\n".join((line(grid.head), rules, *rows))


def _markdown(results: Results, pictures: dict[str, list[Picture]]) -> str:
    def lines(texts: Iterable[str]) -> str:
        return "\n".join(f"- {_escape(text)}" for text in texts)

    blocks = ["# Timing report", lines((*_remarks(results), *LEGEND, FIT_LEGEND))]
    for task, rows in results.tasks.items():
        blocks.append(f"## {_escape(task)}")
        for sheet in (_steady(results, task, rows), _once(results, rows), _across(results, rows)):
            if sheet.entries:
                blocks += [f"### {_escape(sheet.title)}"] * (sheet.title != task)
                blocks.append(_table(sheet.wide()))
            blocks.append(lines(sheet.notes))
        for picture in pictures[task]:
            shown = f"![{_escape(picture.title)}]({picture.file})"
            blocks.append(shown if picture.svg else _escape(f"{picture.title}: {picture.why}"))
    if results.not_run:
        blocks += ["## What could not run", lines(results.not_run)]
    blocks += ["## Machines", _table(_machines(results.setups))]
    return "\n\n".join(filter(None, blocks)) + "\n"


PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Timing report</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; font-size: 0.875rem; }
th, td { padding: 0.15rem 0.6rem; white-space: nowrap; font-variant-numeric: tabular-nums; }
thead th { border-bottom: 1px solid; vertical-align: bottom; }
td:first-child { position: sticky; left: 0; background: Canvas; }
td:has(strong) { padding-top: 0.75rem; }
img { max-width: 100%; display: block; }
</style>
$body
</html>
""")


def _html(markdown: str, pictures: Iterable[Picture]) -> str:
    """The same report as one file: the pictures stand in it."""
    from markdown_it import MarkdownIt

    inline = {
        p.file: f"data:image/svg+xml;base64,{base64.b64encode(p.svg.encode()).decode()}"
        for p in pictures
    }
    reader = MarkdownIt("js-default")
    tokens = reader.parse(markdown)
    for image in (child for token in tokens for child in token.children or ()):
        if image.type == "image":
            image.attrs["src"] = inline[str(image.attrs["src"])]
    return PAGE.substitute(body=reader.renderer.render(tokens, reader.options, {}))


def write(results: Results, directory: str | Path) -> list[Path]:
    """Write report.md with its pictures, and report.html, which holds everything.

    Args:
        results: merged runs.
        directory: made if it is not there.

    Returns:
        The files written.
    """
    pictures = _pictures(results)
    every = [picture for group in pictures.values() for picture in group if picture.svg]
    markdown = _markdown(results, pictures)
    files = {picture.file: picture.svg for picture in every}
    files |= {"report.md": markdown, "report.html": _html(markdown, every)}
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in files]
