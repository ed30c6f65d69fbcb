"""The timing report's tables; `files` writes them as Markdown and HTML, with plots."""

import re
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from triptych.timing.answers import sentences
from triptych.timing.results import BEST, Label, Results, Row, Side, differences, merge
from triptych.timing.trends import crossovers, fits
from triptych.timing.words import (
    FIT_LEGEND,
    LEGEND,
    counted,
    crossing,
    duration,
    in_mebibytes,
    in_range,
    in_share,
    in_times,
    is_wide,
    significant,
    slower,
)

# Tables

NEVER_BROKEN = "\xa0"
"""A space at which no line ends."""
Cell = dict[str, str]
"""The text of each metric, in order; an empty metric is left out of the table if all are."""


class Grid(NamedTuple):
    """A table of text; a row with nothing but its first cell is a heading."""

    head: list[str]
    rows: list[list[str]]

    def lines(self, width: int) -> Iterator[Text]:
        """Where a table is too wide: under each first cell the others, with what they are."""
        for first, *cells in self.rows:
            yield Text(" ".join(first.split()), style="" if any(cells) else "bold")
            named = zip(self.head[1:], cells, strict=True)
            parts = [f"{' '.join(name.split())} {cell}" for name, cell in named if cell]
            # a number stays beside its unit
            text = ", ".join(part.replace(" ", NEVER_BROKEN) for part in parts)
            for line in textwrap.wrap(text, width - 2, break_long_words=False):
                yield Text(f"  {line.replace(NEVER_BROKEN, ' ')}")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = _rich(self, 2)
        if _width(console, options, table) <= options.max_width:
            yield table
        else:
            yield from self.lines(options.max_width)


class Sheet(NamedTuple):
    """A table over sides, and lines under it.

    It prints with the sides next to each other, or, where that is too wide, below each other, or,
    where that is too wide as well, with each number behind its name.
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

    def each(self) -> Grid:
        """Each side of each line by itself."""
        metrics = self._metrics(self.sides)
        rows = []
        for label, by in self.entries:
            name = ", ".join(filter(None, label))
            rows += [[name, *[""] * len(metrics)]] * (not by)
            rows += [
                [f"{name}, {self.sides[side]}", *(cell.get(metric, "") for metric in metrics)]
                for side, cell in by.items()
            ]
        return Grid(["", *metrics], rows)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self.entries and not self.notes:
            return
        tables = (_rich(self.wide(), 2), _rich(self.wide(), 1), _rich(self.narrow(), 1))
        if self.entries:
            yield Text(self.title, style="bold")
            room = options.max_width
            fitting = [table for table in tables if _width(console, options, table) <= room]
            yield from fitting[:1] or self.each().lines(room)
        yield from map(Text, self.notes)
        yield ""


def _width(console: Console, options: ConsoleOptions, table: Table) -> int:
    return Measurement.get(console, options.update(max_width=10_000), table).maximum


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


def steady(results: Results, task: str, rows: list[Row]) -> Sheet:
    """Time for one step, with all that follows from it."""
    cells = {}
    for row in rows:
        cell = {"time": "" if row.status == "not run" else row.status}
        if row.time:
            even = row.break_even_steps
            cell = {
                "time": duration(row.time.median),
                "least": duration(row.time.least),
                "CPU": duration(row.time.cpu) if row.time.cpu else "",
                "card": duration(row.card) if row.card else "",
                "messages": f"{row.messages:.0%}" if row.messages is not None else "",
                "limit": in_share(row.limit),
                "machine": in_times(slower(row.to_machine)),
                "baseline": in_times(row.to_baseline),
                "range": in_range(row.to_baseline),
                "CPU/GPU": in_times(row.to_cpu),
                "compile": duration(sum(row.compile.values())) if row.compile else "",
                "even": f"{even:.0f}" if even else "never" if row.paid_against else "",
            }
        cells[_heading(row), row.label, row.side] = cell
    return _sheet(results, task, cells)._replace(notes=list(notes(results, rows)))


def once(results: Results, rows: list[Row]) -> Sheet:
    """What is paid once, apart from the steps."""
    cells = {}
    for row in rows:
        times = (row.compile or {}) | (row.transfer or {})
        memory = row.peak_memory or {}
        cells[_heading(row), row.label, row.side] = (
            {
                name.replace("_", " "): duration(times[name]) if name in times else ""
                for name in ("lower", "compile", "first", "second", "to_device", "to_host")
            }
            | {"fed": _fed(row)}
            | {f"{where} memory": in_mebibytes(memory.get(where)) for where in ("device", "host")}
        )
    return _sheet(results, "compilation, transfer, peak memory", cells)


def _fed(row: Row) -> str:
    """A GPU's step together with the transfer of what it needs."""
    if row.side.device == "cpu" or not row.time or not row.transfer:
        return ""
    return duration(row.time.median + row.transfer["to_device"])


def across(results: Results, rows: list[Row]) -> Sheet:
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
    """Lines under a task's table: what it leaves out, and why."""
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
            loses = ", ".join(f"{batch} ({significant(r, 2)}x)" for batch, r in at if r <= 1)
            wins = ", ".join(f"{batch} ({significant(r, 2)}x)" for batch, r in at if r > 1)
            outcome = [f"the GPU loses at batch {loses}"] * bool(loses)
            outcome += [f"the GPU wins at batch {wins}"] * bool(wins)
            star = "*" * cross.foreign
            yield f"{BEST}{star}, {results.name(side)}, {dtype}: {'; '.join(outcome)}"
    yield from _doubts(results, rows)
    if any(row.mode == "un-jitted" for row in rows):
        yield "un-jitted is not JAX's intended use"
    if peers := dict.fromkeys(row.label[0] for row in rows if row.peer):
        yield f"peers, for comparison: {', '.join(peers)}"
    compared = [ratio for row in rows for ratio in (row.to_baseline, row.to_cpu) if ratio]
    if any(r.foreign for r in compared) or any(c.foreign for c in crossed.values()):
        yield "* against another set-up: see what differs"


def _doubts(results: Results, rows: list[Row]) -> Iterator[str]:
    """Which rows are uncertain, and which depend on what their process has done before."""
    for row in rows:
        what = f"{', '.join(row.label)}, {', '.join(filter(None, _heading(row)))}"
        what += f" ({results.name(row.side)})"
        if is_wide(row.to_baseline):
            yield f"uncertain: the ratio of {what}, is somewhere in {in_range(row.to_baseline)}"
        if row.aged and row.time and row.time.cpu:
            yield (
                f"in a process that has run a while: {what} takes {duration(row.aged['cpu'])} of "
                f"CPU time, not {duration(row.time.cpu)}: it then brings in "
                f"{row.aged['faults']:.0f} pages a step, not {row.aged['faults before']:.0f}"
            )


# The whole report


def _value(name: str, value: Any) -> str:
    if name == "memory" and value:
        return f"{value / 2**30:.1f} GiB"
    words = {"None": "none", "True": "yes", "False": "no"}
    return words.get(str(value), str(value))


def machine_lines(setups: dict[str, Any], only: dict[str, dict[str, Any]] | None = None) -> Grid:
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


def remark_lines(results: Results) -> Iterator[str]:
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
            f"{counted(total, 'row')} measured in several runs: the run in the middle is shown. "
            f"The quartile ranges of the single runs overlap for {overlapping} of the rows. "
            "A ratio is taken within a run: shown is the median"
        )
    compared, meet, held = results.agreeing
    if compared:
        yield (
            f"{counted(compared, 'ratio')} measured in turn by several runs: for "
            f"{meet / compared:.0%} of them the ranges of all runs meet, and for "
            f"{held / compared:.0%} each run's ratio lies in the ranges of all"
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
    parts: list[RenderableType] = [*map(Text, sentences(merged)), ""]
    for letter, setup in merged.setups.items():
        described = [
            f"{name} {_value(name, value)}"
            for group in setup.values()
            for name, value in group.items()
            if value is not None
        ]
        parts.append(Text(f"{letter}: {', '.join(described)}"))
    if apart := differences(merged):
        parts += ["", machine_lines(merged.setups, apart)]
    parts += [*map(Text, remark_lines(merged)), ""]
    parts += [*map(Text, (*LEGEND, FIT_LEGEND)), ""]
    for task, rows in merged.tasks.items():
        parts += [steady(merged, task, rows), across(merged, rows)]
    parts += [Text(f"not run: {line}") for line in merged.not_run]
    return Group(*parts)


class Picture(NamedTuple):
    """A plot, or the reason for which there is none."""

    title: str
    svg: str
    why: str

    @property
    def file(self) -> str:
        """Its name on disk."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-") + ".svg"
