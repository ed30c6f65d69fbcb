"""What `triptych run` prints: a concept's claims, in tables where the documents have tables.

A line that is a column's own (an answer that the others do not give, an error that it raises, its
own words) begins with its name: `PyTorch | `. Where a document errs, the true number stands first,
then `(document: ...)`.
"""

import itertools
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from triptych.claims.book import ABSENT, Claim
from triptych.claims.verdicts import Result, by_claim
from triptych.data import DOCUMENTS
from triptych.names import DISPLAY_NAMES
from triptych.source import differences, parse
from triptych.source.parse import own_words

WIDTH = 80
"""The longest line that is comfortable to read, however wide the terminal is."""


def transcript(
    concept: str, names: Sequence[str], results: Sequence[Result], width: int = WIDTH
) -> Iterator[str]:
    """The lines that `triptych run` prints for a concept.

    Args:
        concept: one of `concepts()`.
        names: of the columns.
        results: of the concept's claims, in each of these columns.
        width: no line is longer, but for a word that is.
    """
    entries = [_Entry(rows[0].claim, rows) for rows in by_claim(results).values()]
    return _Page(concept, names, entries, width).lines()


class _Entry(NamedTuple):
    """A claim, or a value that is shown, with what each column gives."""

    claim: Claim
    results: list[Result]

    @property
    def own(self) -> bool:
        """Whether each column has an answer of its own."""
        claim = self.claim
        said = claim.own or claim.without_gpu or (not claim.judged and claim.printed[:3] == "own")
        return bool(said) or any(r.detail for r in self.results)


class _Row(NamedTuple):
    """Entries side by side, under one label."""

    label: str
    entries: dict[str, _Entry]
    """By the heading of their column; "" if there is only one."""

    @property
    def own(self) -> bool:
        return any(entry.own for entry in self.entries.values())


class _Cells(NamedTuple):
    """What one column gives in a row."""

    cells: tuple[str, ...]
    remark: str

    def on_one(self, headings: Sequence[str]) -> str:
        """All of it in words."""
        named = (f"{head} {cell}".strip() for head, cell in zip(headings, self.cells, strict=True))
        return f"{', '.join(named)} {self.remark}".rstrip()


class _Page:
    def __init__(
        self, concept: str, names: Sequence[str], entries: Sequence[_Entry], width: int
    ) -> None:
        self.concept = concept
        self.width = width
        self.names = names
        self.entries = entries
        self.modules = {name: parse.load_column(name, concept) for name in names}
        self.told: set[str] = set()
        """The functions whose own words are printed."""
        self.marks = {name: f"{DISPLAY_NAMES[name]} |" for name in names}
        longest = max(map(len, self.marks.values()))
        self.marks = {n: f"{m[:-1]:{longest - 1}}|" for n, m in self.marks.items()}
        # A line is marked as a column's own only where the columns differ. Where they agree in
        # every bit, what each of them prints alone is then the same in every byte.
        judged = any(entry.claim.judged for entry in entries)
        self.words = len(names) > 1 or not judged or any(entry.own for entry in entries)

    def lines(self) -> Iterator[str]:
        """All lines."""
        module = next(iter(self.modules.values()))
        yield from textwrap.wrap(module.summary, self.width)
        if len(self.names) > 1:
            titles = ", ".join(DISPLAY_NAMES[name] for name in self.names)
            said = f"{titles}; a line that begins with a name is that column's own."
            yield from self.wrapped(said, "  ", 0)
        for key in sorted({entry.claim.document for entry in self.entries} - {""}):
            yield from self.wrapped(f"{key}: {DOCUMENTS[key]}", "  ", 3)
        if self.words:
            yield from self.own_words({n: m.docstring for n, m in self.modules.items()})
        if not any(entry.claim.judged for entry in self.entries):
            yield from self.functions()
        for source, about, rows in _groups(self.entries, self.width):
            yield ""
            yield from self.wrapped(": ".join(filter(None, (source, about))), "", 2)
            yield from self.table(rows)
            yield from self.reasons(rows)
            if self.words:
                yield from self.remarks(e.claim for row in rows for e in row.entries.values())

    def functions(self) -> Iterator[str]:
        """The public functions, where no document speaks of the concept."""
        yield ""
        found: dict[str, parse.Definition] = {}
        for module in self.modules.values():  # what only one column has comes last
            for definition in module.definitions:
                if definition.public and definition.kind == parse.FUNCTION:
                    found.setdefault(definition.name, definition)
        some = {d.function for d in differences.of(self.concept).values() if d.absent}
        width = max((len(name) for name in found if name not in some), default=0)
        for definition in found.values():
            name = f"{definition.name:{width}}  "
            for mark in self.owners(definition.name) if definition.name in some else ("",):
                head = f"{mark} {name}" if mark else f"  {name}"
                yield from self.wrapped(definition.summary, head, 0, f"{mark:{len(head)}}")
            yield from self.remark(definition.name)

    def owners(self, function: str) -> list[str]:
        """The marks of the columns that have a function which others lack by nature."""
        return [
            self.marks[name]
            for name, module in self.modules.items()
            if any(definition.name == function for definition in module.definitions)
        ]

    # Tables

    def table(self, rows: Sequence[_Row]) -> Iterator[str]:
        """Rows under the same headings; what is a column's own is marked with its name."""
        headings = list(dict.fromkeys(heading for row in rows for heading in row.entries))
        found = [{name: self.cells(row, headings, name) for name in self.names} for row in rows]
        shared = [
            None if row.own or len(set(by_name.values())) > 1 else next(iter(by_name.values()))
            for row, by_name in zip(rows, found, strict=True)
        ]
        widths = [
            max(len(heading), *(len(line.cells[i]) for line in shared if line), 0)
            for i, heading in enumerate(headings)
        ]
        label = _fitting(
            [
                (len(row.label), sum(widths) + 2 * len(widths) + len(line.remark))
                for row, line in zip(rows, shared, strict=True)
                if line
            ],
            self.width,
        )
        explained = {_explanation(row): _explanation(row) for row in rows}
        if headings != [""]:
            yield _line("", label, headings, widths, "")
        for row, line, by_name in zip(rows, shared, found, strict=True):
            whole = line and _line(row.label, label, line.cells, widths, line.remark)
            if whole and len(row.label) <= label and len(whole) <= self.width:
                yield whole
                continue
            yield from self.wrapped(f"{row.label}:", "  ", 2)
            if line:
                yield from self.wrapped(line.on_one(headings), "    ", 2)
                continue
            if len(self.names) > 1 and len(set(by_name.values())) == 1:
                yield from self.wrapped(by_name[self.names[0]].on_one(headings), "    ", 2)
            else:
                for name, cells in by_name.items():
                    yield from self.marked(name, cells.on_one(headings))
            yield from self.wrapped(explained.pop(_explanation(row), ""), "    ", 0)

    def cells(self, row: _Row, headings: Sequence[str], name: str) -> _Cells:
        """What a column gives in a row, and a remark where a document prints something else."""
        texts, remarks = [], []
        for heading in headings:
            if heading not in row.entries:
                texts.append("")
                continue
            claim, results = row.entries[heading]
            r = next(r for r in results if r.column == name)
            text = "nothing of the kind" if r.text == ABSENT else r.text
            texts.append(f"{text}: {r.detail}" if r.detail else text)
            if claim.judged and r.text != claim.printed:
                remarks.append(f"{heading} {claim.printed}".strip())
        remark = f"(document: {', '.join(remarks)})" if remarks else ""
        return _Cells(tuple(texts), remark)

    def reasons(self, rows: Sequence[_Row]) -> Iterator[str]:
        """Why a document is wrong; in which row, where there are several reasons."""
        found = {_explanation(row): row.label for row in reversed(rows) if not row.own}
        found.pop("", None)
        for why, label in reversed(found.items()):
            yield from self.wrapped(f"{label}: {why}" if len(found) > 1 else why, "  ", 0)

    # Words

    def wrapped(
        self, text: str, first: str, deeper: int, following: str | None = None
    ) -> list[str]:
        """Lines that fit, each with the same words before it; from the second on, deeper."""
        return textwrap.wrap(
            text,
            self.width,
            initial_indent=first,
            subsequent_indent=first + " " * deeper if following is None else following,
            break_long_words=False,
            break_on_hyphens=False,
        )

    def marked(self, name: str, text: str) -> Iterator[str]:
        """Lines that are a column's own."""
        for line in textwrap.dedent(text).strip("\n").splitlines():
            indent = " " * (len(line) - len(line.lstrip()))
            yield from self.wrapped(line.strip(), f"{self.marks[name]} {indent}", 2)

    def own_words(self, docstrings: Mapping[str, str]) -> Iterator[str]:
        """The second paragraph of each docstring, if it is one in words; once if it is the same."""
        said = {name: _second(text) for name, text in docstrings.items()}
        if len(said) > 1 and len(set(said.values())) == 1:
            yield from self.wrapped(next(iter(said.values())), "  ", 0)
            return
        for name, text in said.items():
            own = text.removeprefix(f"{DISPLAY_NAMES[name]}: ")
            yield from self.marked(name, own[:1].upper() + own[1:] if own != text else text)

    def remarks(self, claims: Iterable[Claim]) -> Iterator[str]:
        """The columns' own words about the functions that claims call, each once."""
        for claim in claims:
            for call in (claim.call, *claim.names.values()):
                for function in re.findall(rf"\b{self.concept}\.(\w+)", call):
                    yield from self.remark(function)

    def remark(self, function: str) -> Iterator[str]:
        """The columns' own words about a function."""
        if function not in self.told:
            self.told.add(function)
            yield from self.own_words(
                {
                    name: definition.docstring
                    for name, module in self.modules.items()
                    for definition in module.definitions
                    if definition.name == function
                }
            )


def _second(docstring: str) -> str:
    """The second paragraph, on one line; "" if there is none in words."""
    paragraphs = own_words(docstring)
    return " ".join(paragraphs[1].split()) if len(paragraphs) > 1 else ""


def _explanation(row: _Row) -> str:
    """What claims.toml says about a row."""
    return next((e.claim.explanation for e in row.entries.values() if e.claim.explanation), "")


def _fitting(sizes: Sequence[tuple[int, int]], room: int) -> int:
    """The width of the labels at which most rows fit on a line, of labels and of what follows."""
    widths = sorted({label for label, _ in sizes}) or [0]
    return max(
        widths,
        key=lambda width: sum(label <= width and 2 + width + rest <= room for label, rest in sizes),
    )


def _line(label: str, width: int, cells: Sequence[str], widths: Sequence[int], remark: str) -> str:
    """The label to the left; numbers below each other to the right, a single one to the left."""
    if len(cells) > 1:
        cells = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
    return "  ".join([f"  {label:{width}}", *cells, remark]).rstrip()


def _groups(entries: Sequence[_Entry], room: int) -> Iterator[tuple[str, str, list[_Row]]]:
    """The source, the topic and the rows of each table."""

    def place(entry: _Entry) -> tuple[str, str, str]:
        claim = entry.claim
        return claim.source, claim.section, claim.path[0] if claim.path else ""

    grouped = [(key, list(within)) for key, within in itertools.groupby(entries, place)]
    while grouped:
        (source, section, topic), within = grouped.pop(0)
        whats = {entry.claim.what for entry in within}
        table = [_row(topic, within)]
        # small tables with the same headings, one after the other, are the rows of one
        while grouped and topic and grouped[0][0][:2] == (source, section):
            (_, _, beside), others = grouped[0]
            flat = all(len(entry.claim.path) == 1 for entry in (*within, *others))
            wide = sum(len(what) + 2 for what in whats) + max(len(topic), len(beside)) + 2
            alike = {entry.claim.what for entry in others} <= whats
            if not (beside and flat and alike and wide <= room):
                break
            table.append(_row(beside, others))
            del grouped[0]
        if len(table) > 1:
            yield source, section, table
        else:
            yield source, topic or section, _rows(within)


def _rows(entries: Sequence[_Entry]) -> list[_Row]:
    """A row for each entry; for those that are a step further down, one for all of them."""
    rows: list[_Row] = []
    for below, within in itertools.groupby(entries, lambda entry: entry.claim.path[1:]):
        if below:
            rows.append(_row("; ".join(below), within))
        else:
            rows += [_Row(entry.claim.what, {"": entry}) for entry in within]
    return rows


def _row(label: str, entries: Iterable[_Entry]) -> _Row:
    return _Row(label, {entry.claim.what: entry for entry in entries})
