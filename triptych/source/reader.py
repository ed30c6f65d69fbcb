"""The three columns on a terminal: side by side, lined up, with what differs marked."""

import io
import os
import re
import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.pager import SystemPager
from rich.text import Text

from triptych.names import BOUNDARY, COLUMNS, DISPLAY_NAMES, TABLE
from triptych.source import differences, parse
from triptych.source.align import Cell, Row
from triptych.source.parse import Module, Section

SIDE_BY_SIDE = 120
"""The narrowest terminal that gets three panes; below, the columns stand one under another."""
SHALLOW = 2
"""The indentation that is left of a line which does not fit where it stands."""
PICTURE = 136
"""The width of a picture, in characters."""
COLORS = {names.package: f"bright_{names.colour}" for names in TABLE}
TITLES = {parse.DOCSTRING: "module docstring", parse.IMPORTS: "imports"}


class Signs(NamedTuple):
    """The characters that are not source text."""

    alone: str
    """Marks a line that no other column has in this row."""
    shared: str
    """Marks a line that two columns have and one has not."""
    between: str
    rule: str


UNICODE = Signs("▌", "▏", "│", "─")
ASCII = Signs("*", "+", "|", "-")


def read(
    concept: str,
    function: str | None = None,
    *,
    console: Console,
    dim_same: bool = False,
    code_only: bool = False,
) -> None:
    """Print the three sources of a function, or of a whole concept, lined up.

    Three panes side by side if the console is wide enough, otherwise one under another. A whole
    concept goes through the pager if someone sits at a terminal.

    Args:
        concept: a name from `parse.concepts()`, or "__init__", the boundary.
        function: a function or class of it, shown with its private helpers; None for everything.
        console: where to print.
        dim_same: print faintly what is the same in all three.
        code_only: of the docstrings of functions and classes, only the formula and the own words.

    Raises:
        UnknownNameError: there is no such concept or function; the message names the nearest.
    """
    text = page(
        concept,
        function,
        width=console.width,
        dim_same=dim_same,
        code_only=code_only,
        signs=ASCII if console.options.ascii_only else UNICODE,
    )
    if function is None and _someone_reads(console):
        with console.pager(_Pager(), styles=True):
            console.print(text, soft_wrap=True)
    else:
        console.print(text, soft_wrap=True)


def picture(
    path: str,
    concept: str,
    function: str | None = None,
    *,
    dim_same: bool = False,
    code_only: bool = False,
) -> None:
    """Write what `read` prints on a wide terminal as an SVG picture.

    Args:
        path: the file.
        concept, function, dim_same, code_only: as for `read`.

    Raises:
        UnknownNameError: there is no such concept or function; the message names the nearest.
        OSError: the file cannot be written.
    """
    text = page(concept, function, width=PICTURE, dim_same=dim_same, code_only=code_only)
    console = Console(record=True, width=PICTURE, file=io.StringIO(), force_terminal=True)
    console.print(text, soft_wrap=True)
    title = " ".join(
        filter(None, ["triptych read", concept, function, "--code" if code_only else ""])
    )
    # a fixed identifier: the same source gives the same bytes
    svg = console.export_svg(title=title, unique_id="reader")
    Path(path).write_text(svg, encoding="utf-8")


def list_concepts(console: Console) -> None:
    """Print every concept and its functions with the first line of their docstrings."""
    modules = [_any_column(concept) for concept in (*parse.concepts(), BOUNDARY)]
    names = [name for m in modules for name in (m.concept, *(f"  {f.name}" for f in m.functions))]
    left = min(max(map(len, names)) + 2, console.width // 2)
    lines: list[Text] = []
    for module in modules:
        lines += _entry(module.concept, module.summary, left, console.width, style="bold")
        for function in module.functions:
            lines += _entry(f"  {function.name}", function.summary, left, console.width, "cyan")
        lines.append(Text())
    console.print(Text("\n").join(lines[:-1]), soft_wrap=True)


def page(
    concept: str,
    function: str | None = None,
    *,
    width: int,
    dim_same: bool = False,
    code_only: bool = False,
    signs: Signs = UNICODE,
) -> Text:
    """What `read` prints, as one text with no line wider than `width`."""
    modules = parse.load(concept)
    if code_only:
        modules = tuple(map(parse.briefly, modules))
    parts = parse.sections(modules) if function is None else parse.find(modules, function)
    lines = [
        *(Text(line, style="bold") for line in textwrap.wrap(_title(modules, function), width)),
        *_legend(width, signs),
        *([] if function else _total(concept, width)),
    ]
    for section in parts:
        lines += [Text(), *_section(section, modules, width, dim_same, signs)]
    for line in lines:
        line.rstrip()
    return Text("\n").join(lines)


# One section


def _section(
    section: Section, modules: Sequence[Module], width: int, dim_same: bool, signs: Signs
) -> Iterator[Text]:
    rows = section.rows()
    panes = [_Pane(module, section, rows, i, dim_same) for i, module in enumerate(modules)]
    yield _rule(_name(section), _how_much_is_same(section), width, signs)
    if declared := differences.of(modules[0].concept).get(section.name):
        for sentence in textwrap.wrap(declared.why, width):
            yield Text(sentence, style="italic")
    if width < SIDE_BY_SIDE:
        for i, pane in enumerate(panes):
            if i:
                yield Text()
            yield pane.heading(width)
            for row in range(len(rows)):
                yield from pane.lines(row, width, signs)
        return
    inner = (width - len(panes) + 2) // len(panes)  # the last one needs no space on its right
    yield _beside([pane.heading(inner - 1) for pane in panes], inner, signs)
    for row in range(len(rows)):
        for line in zip_longest(*(pane.lines(row, inner - 1, signs) for pane in panes)):
            yield _beside(line, inner, signs)


class _Pane:
    """One column of a section."""

    def __init__(
        self, module: Module, section: Section, rows: Sequence[Row], column: int, dim_same: bool
    ) -> None:
        self.module = module
        self.block = section.blocks[column]
        self.rows = rows
        self.column = column
        self.dim_same = dim_same
        self.digits = len(str(len(module.lines)))
        cells = () if self.block is None else self.block.cells
        code = _highlight("\n".join(cell.text for cell in cells))
        self.code = {cell.line: text for cell, text in zip(cells, code, strict=False)}

    def heading(self, width: int) -> Text:
        name = DISPLAY_NAMES[self.module.column]
        where = f"{self.module.path}:{self.block.cells[0].line}" if self.block else "has none"
        heading = Text(f"{name}  ", style=f"bold {COLORS[self.module.column]}")
        room = max(width - len(heading), 8)
        if len(where) > room:  # the name of the file and the line number stand at the end
            where = f".../{where.rpartition('/')[2]}"
            where = where if len(where) <= room else f"...{where[3 - room :]}"
        heading.append(where, style="not bold dim default")
        return heading

    def lines(self, row: int, width: int, signs: Signs) -> Iterator[Text]:
        """The lines on the screen of one row; none if this column has no line there."""
        cell = self.rows[row].cells[self.column]
        if cell is None:
            return
        mark = self.mark(row, cell, signs)
        dim = self.dim_same and self.rows[row].same
        code = Text(cell.text, style="dim") if dim else self.code[cell.line]
        number = str(cell.line)
        for piece in _wrap(code, max(width - self.digits - len(mark) - 1, 8)):
            line = Text(number.rjust(self.digits), style="dim")
            line.append(mark, style=f"not dim {COLORS[self.module.column]}")
            line.append(" ")
            yield Text.assemble(line, piece)
            number = ""

    def mark(self, row: int, cell: Cell, signs: Signs) -> str:
        if self.rows[row].same or not cell.text.strip():
            return " "
        return signs.alone if self.rows[row].shared[self.column] == 1 else signs.shared


def _beside(lines: Sequence[Text | None], width: int, signs: Signs) -> Text:
    line = Text()
    for i, pane in enumerate(lines):
        if i:
            line.append(signs.between, style="dim")
        if pane is not None:
            line.append_text(pane)
        if i < len(lines) - 1:
            line.append(" " * (width - (pane.cell_len if pane is not None else 0)))
    return line


def _wrap(code: Text, width: int) -> Iterator[Text]:
    """Break a line of code into lines of at most `width`; the further ones are indented by two.

    A line that is so deep that a word of it would have to be broken is moved to the left.
    """
    plain = code.plain
    depth = len(plain) - len(plain.lstrip())
    longest = max(map(len, re.findall(r"\w+.?", plain)), default=0)
    if depth > SHALLOW and depth + 2 + longest > width:
        code, depth = Text.assemble(" " * SHALLOW, code[depth:]), SHALLOW
        plain = code.plain
    indent = min(depth + 2, width // 2)
    start, room = 0, width
    while len(plain) - start > room:
        stop = _break(plain, max(start, depth) + 1, start + room)
        piece = code[start:stop]
        piece.rstrip()
        yield Text.assemble(" " * (indent if start else 0), piece)
        start, room = stop, width - indent
    yield Text.assemble(" " * (indent if start else 0), code[start:]) if start else code


def _break(plain: str, earliest: int, latest: int) -> int:
    """Where to break: after a space, before a method, after a bracket or `=`, before any dot.

    Within a string after a space, too. A line at least half full comes before the best place to
    break; a word that is longer than a line is broken anywhere.
    """

    def after_space(at: int) -> bool:
        inside_string = plain[:at].replace('"""', "").count('"') % 2
        return plain[at - 1] == " " and not inside_string

    def before_dot(at: int) -> bool:
        return at <= latest and plain[at] == "."

    def after_any_space(at: int) -> bool:
        return plain[at - 1] == " "

    def before_method(at: int) -> bool:
        return at <= latest and plain[at] == "." and plain[at - 1] in ")]"

    def after_bracket(at: int) -> bool:
        return at <= latest and plain[at - 1] in "([{,=" and plain[at] not in ")]}="

    for lowest in ((earliest + latest) // 2, earliest):
        for good in (after_space, before_method, after_bracket, before_dot, after_any_space):
            for at in range(latest + 1, lowest - 1, -1):  # a space may hang over the edge
                if good(at):
                    return at
    return latest


def _highlight(source: str) -> list[Text]:
    """The lines of a piece of Python in colours that a light and a dark terminal can show."""
    from rich.style import Style
    from rich.syntax import ANSISyntaxTheme, Syntax

    theme = ANSISyntaxTheme(
        {
            ("Comment",): Style(color="bright_black", italic=True),
            ("Keyword",): Style(color="magenta"),
            ("Operator", "Word"): Style(color="magenta"),
            ("Name", "Builtin"): Style(color="cyan"),
            ("Name", "Decorator"): Style(color="cyan"),
            ("Name", "Function"): Style(bold=True),
            ("Name", "Class"): Style(bold=True),
            ("Literal", "Number"): Style(color="cyan"),
            ("Literal", "String"): Style(color="yellow"),
            ("Literal", "String", "Doc"): Style(color="green"),
        }
    )
    text = Syntax("", "python", theme=theme, background_color="default").highlight(source)
    return list(text.split("\n", allow_blank=True))


# Around the sections


def _title(modules: Sequence[Module], function: str | None) -> str:
    name = modules[0].concept
    return f"{name}: {modules[0].summary}" if function is None else f"{name}.{function}"


def _legend(width: int, signs: Signs) -> Iterator[Text]:
    legend = f"{signs.alone} in one column only   {signs.shared} in two   unmarked: in all three"
    for line in textwrap.wrap(legend, width):
        yield Text(line, style="dim")


def _total(concept: str, width: int) -> Iterator[Text]:
    parts = parse.sections([*map(parse.bodies, parse.load(concept))])
    same, full = map(sum, zip(*map(_count, parts), strict=True))
    line = f"the same in all three: {same} of the {full} lines inside of functions"
    for piece in textwrap.wrap(line, width):
        yield Text(piece, style="dim")


def _count(section: Section) -> tuple[int, int]:
    """How many lines are the same in every column, and how many there are."""
    full = [r for r in section.rows() if any(cell and cell.text.strip() for cell in r.cells)]
    return sum(row.same for row in full), len(full)


def _name(section: Section) -> str:
    if section.kind == parse.STATEMENTS:
        return f"below {section.name}"
    return TITLES.get(section.kind, section.name)


def _how_much_is_same(section: Section) -> str:
    if None in section.blocks:
        pairs = zip(COLUMNS, section.blocks, strict=True)
        return f"in {' and '.join(DISPLAY_NAMES[c] for c, block in pairs if block)} only"
    same, full = _count(section)
    return f"{same} of {full} lines the same"


def _rule(left: str, right: str, width: int, signs: Signs) -> Text:
    left = left[: width - 6]
    line = signs.rule
    room = width - len(left) - len(right) - 8
    rule = Text(f"{line * 2} ", style="dim")
    rule.append(left, style="not dim bold")
    if room > 0:
        rule.append(f" {line * room} {right} {line * 2}")
    else:
        rule.append(f" {line * (width - len(left) - 4)}")
    return rule


def _entry(name: str, summary: str, left: int, width: int, style: str) -> Iterator[Text]:
    pieces = textwrap.wrap(summary, max(width - left, 10)) or [""]
    if len(name) >= left:
        yield Text(name, style=style)
        name = ""
    for piece in pieces:
        yield Text.assemble((name.ljust(left), style), piece)
        name = ""


def _any_column(concept: str) -> Module:
    for column in COLUMNS:
        if (parse.directory(column) / f"{concept}.py").is_file():
            return parse.load_column(column, concept)
    return parse.load(concept)[0]


# The pager


def _someone_reads(console: Console) -> bool:
    return console.is_interactive and console.file.isatty()


class _Pager(SystemPager):
    """The system's pager; `less` is told to pass colours on and to leave a short text alone."""

    def show(self, content: str) -> None:
        given = os.environ.get("LESS")
        os.environ["LESS"] = given if given is not None else "-FRX"
        try:
            super().show(content)
        finally:
            if given is None:
                del os.environ["LESS"]
