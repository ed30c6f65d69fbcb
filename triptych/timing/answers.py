"""What the rows say, in sentences: the fastest at each batch, when compiling pays, and a GPU."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from triptych.timing.results import BEST, MACHINE, Results, Row
from triptych.timing.trends import crossovers, fits
from triptych.timing.words import counted, crossing, duration, significant

DTYPE = "float32"
"""The sentences are about this precision alone; the tables have every one."""


def sentences(results: Results) -> Iterator[str]:
    """The answers, each computed from the rows.

    Args:
        results: merged runs.
    """
    for task, rows in results.tasks.items():
        mine = [row for row in rows if row.time and row.dtype == DTYPE and not row.peer]
        if any(row.messages for row in mine):
            yield from _workers(task, mine)
            continue
        for side in dict.fromkeys(row.side for row in mine):
            here = [row for row in mine if row.side == side]
            where = f"{task}, {results.name(side)}"
            yield from _fastest(where, here)
            yield from _machine(where, here)
            yield from _overhead(where, here)
            yield from _compiling(where, here)
        yield from _gpu(results, task, rows)
    if all(row.side.device == "cpu" for row in results.rows):
        yield "No GPU has measured any of these rows."


def told_apart(best: Row, other: Row) -> bool:
    """Whether one row is faster than another wherever the two have been measured.

    Measured in turn, in several processes: it was faster in each. Else: the quartile ranges of
    their times do not meet.
    """
    name = f"{best.column}:{best.mode}"
    processes = [ratio for found in other.ratios.values() for ratio in found.get(name, ())]
    if len(processes) > 1:
        return max(processes) < 1
    return bool(best.time and other.time and best.time.high < other.time.low)


def fastest(rows: Sequence[Row]) -> list[Row]:
    """The fastest row, and those that cannot be told from it."""
    ordered = sorted(rows, key=_seconds)
    best, *others = ordered
    return [best, *(row for row in others if not told_apart(best, row))]


def _by_batch(rows: Sequence[Row]) -> dict[int | None, list[Row]]:
    found: dict[int | None, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.batch or 0):
        found.setdefault(row.batch, []).append(row)
    return found


def _at(batches: Sequence[int | None]) -> str:
    """Which batches: "at 32 rows", "from 1 to 16384 rows"."""
    known = [batch for batch in batches if batch]
    if not known:
        return ""
    noun = "row" if known == [1] else "rows"
    return f"at {known[0]} {noun}" if len(known) == 1 else f"from {known[0]} to {known[-1]} rows"


def _named(labels: Sequence[tuple[str, str]]) -> str:
    names = [" ".join(label) for label in labels]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _fastest(where: str, rows: Sequence[Row]) -> Iterator[str]:
    batches = {batch: group for batch, group in _by_batch(rows).items() if len(group) > 1}
    winners = [
        (batch, tuple(row.label for row in fastest(group))) for batch, group in batches.items()
    ]
    parts = []
    for labels, run in groupby(winners, key=lambda one: frozenset(one[1])):
        found = list(run)
        at = _at([batch for batch, _ in found])
        named = _named(found[0][1])
        tie = " cannot be told apart" if len(labels) > 1 else ""
        parts.append(" ".join(filter(None, (at, f"{named}{tie}"))))
    if parts:
        yield f"Fastest ({where}): {'; '.join(parts)}."


def _machine(where: str, rows: Sequence[Row]) -> Iterator[str]:
    parts = []
    for batch, group in _by_batch(rows).items():
        compared = [row for row in group if row.to_machine]
        if compared:
            best = max(compared, key=lambda row: row.to_machine.value if row.to_machine else 0.0)
            assert best.to_machine
            times = significant(1 / best.to_machine.value, 2)
            parts.append(" ".join(filter(None, (times, _at([batch]), f"({' '.join(best.label)})"))))
    if parts:
        can = " ".join(MACHINE)
        yield f"The best column takes so many times as long as {can} ({where}): {'; '.join(parts)}."


def _overhead(where: str, rows: Sequence[Row]) -> Iterator[str]:
    fitted = sorted(fits(rows).items(), key=lambda one: one[1].overhead)
    parts = [
        f"{' '.join(label)} {duration(line.overhead)} and {duration(line.per_row)} a row"
        for (_, label, _), line in fitted
    ]
    if parts:
        yield f"A step costs, before its first row and for each ({where}): {'; '.join(parts)}."


def _compiling(where: str, rows: Sequence[Row]) -> Iterator[str]:
    parts = []
    for row in rows:
        if not row.compile:
            continue
        once = f"{' '.join(row.label)} takes {duration(sum(row.compile.values()))} to compile"
        if row.paid_against:
            even = row.break_even_steps
            pays = f"pays after {significant(even, 2)} steps" if even else "never pays"
            once += f" and, beside the column {row.paid_against}, {pays}"
        parts.append(f"{once} {_at([row.batch])}".rstrip())
    if parts:
        yield f"Compiling ({where}): {'; '.join(parts)}."


def _workers(task: str, rows: Sequence[Row]) -> Iterator[str]:
    """On how many workers each column's step is shortest; more of them may cost more."""
    for batch, group in _by_batch(rows).items():
        parts = []
        for label in dict.fromkeys(row.label for row in group):
            best = min((row for row in group if row.label == label), key=_seconds)
            workers = counted(best.side.threads or 1, "worker")
            parts.append(f"{' '.join(label)} {workers} ({duration(_seconds(best))})")
        yield f"Shortest on ({task}, {_at([batch])}): {', '.join(parts)}."


def _seconds(row: Row) -> float:
    return row.time.median if row.time else 0.0


def _gpu(results: Results, task: str, rows: Sequence[Row]) -> Iterator[str]:
    for (dtype, label, side), cross in crossovers(rows).items():
        if label[0] == BEST and dtype == DTYPE:
            where = f"{task}, {results.name(side)} against the fastest CPU"
            yield f"A GPU pays ({where}): {_from(crossing(cross))}."


def _from(crossing: str) -> str:
    known = {"none in range": "at no batch that was measured", "whole range": "at every batch"}
    return known.get(crossing) or f"from {crossing} rows"
