"""What `triptych claims` prints: a table of verdicts, or one claim in full."""

import contextlib
import textwrap
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from triptych.claims.book import ORIGINS, Claim, claim
from triptych.claims.program import AbsentError, program
from triptych.claims.verdicts import (
    DIFFERS,
    ERRATUM,
    HOLDS,
    MISSING,
    WRONG,
    Result,
    by_claim,
    check_all,
    overall,
)
from triptych.data import DOCUMENTS
from triptych.names import DISPLAY_NAMES

WIDE = 110
"""The narrowest terminal on which each column of the project gets one of the table."""
NARROW = 76
"""Below it, the name of a claim stands above the claim."""
WIDEST = 160


class _Signs(NamedTuple):
    holds: str
    differs: str
    erratum: str
    wrong: str
    missing: str
    misprint: str
    rule: str

    def of(self, verdict: str) -> str:
        return dict(zip((HOLDS, DIFFERS, ERRATUM, WRONG, MISSING), self, strict=False))[verdict]


_UNICODE = _Signs("✓", "≠", "→", "!", "-", "✗", "─")
_ASCII = _Signs("+", "~", ">", "!", "-", "x", "-")
_STYLES = {
    HOLDS: "",
    DIFFERS: "cyan",
    ERRATUM: "bold green",
    WRONG: "bold white on red",
    MISSING: "dim",
}


def table(results: Sequence[Result], console: Console) -> None:
    """Print what is claimed, the text as printed, and what each column gives; errata are marked.

    `summary` is not part of it.

    Args:
        results: from `check_all`.
        console: where to print.
    """
    signs = _ASCII if console.options.ascii_only else _UNICODE
    width = min(console.width, WIDEST)
    legend = (
        f"{signs.holds} as printed   {signs.misprint} erratum: the document is wrong, "
        f"{signs.erratum} this is true   {signs.differs} differs: this column has another way   "
        f"{signs.wrong} WRONG: unexpected   (stated) said in words, its outcome stands here   "
        "(derived) by us, from the document's program or data"
    )
    console.print()
    console.print(_folded(legend, width, "dim"))
    for section, rows in groupby(by_claim(results).values(), lambda row: row[0].claim.section):
        console.print()
        console.print(_rule(section, width, signs))
        console.print(_section(list(rows), width, signs))


def _section(rows: Sequence[Sequence[Result]], width: int, signs: _Signs) -> Table | Group:
    """A line for each claim: its name, what it says, as printed, and what the columns give.

    Where there is room each column has a place of its own; where there is little, the name of a
    claim stands above it; and where a word would have to be broken, everything stands below it.
    """
    layouts = (_wide, _middle, _narrow) if width >= WIDE else (_middle, _narrow)
    for layout in layouts if width >= NARROW else (_narrow,):
        heads, lines = layout(rows, signs)
        widths = _widths(heads, lines, width)
        if widths:
            break
    else:
        return _stacked(rows, signs)
    grid = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="not bold dim")
    for head, room in zip(heads, widths, strict=True):
        grid.add_column(head, width=room, overflow="fold")
    for line in lines:
        grid.add_row(*line)
    return grid


Layout = tuple[list[str], list[list[Text]]]
"""The heads of a table, and its lines."""


def _widths(heads: Sequence[str], lines: Sequence[Sequence[Text]], width: int) -> list[int]:
    """The width of each column of a table, so that no word is broken; none if there is no room."""
    columns = [
        [head, *(line[i].plain for line in lines if i < len(line))] for i, head in enumerate(heads)
    ]
    least = [max(cell_len(word) for text in texts for word in text.split()) for texts in columns]
    most = [max(cell_len(line) for text in texts for line in text.split("\n")) for texts in columns]
    spare = width - sum(least) - (len(heads) - 1)
    if spare < 0:
        return []
    wanted = sum(most) - sum(least)
    share = min(1.0, spare / wanted) if wanted else 0.0
    return [low + int(share * (high - low)) for low, high in zip(least, most, strict=True)]


def _wide(rows: Sequence[Sequence[Result]], signs: _Signs) -> Layout:
    heads = ["id", "claim", "printed", *(DISPLAY_NAMES[r.column] for r in rows[0]), "verdict"]
    lines: list[list[Text]] = []
    for row in rows:
        verdict = overall(row)
        lines += _about(row, rows)
        lines.append([Text(row[0].claim.id, style=_style(verdict)), Text(row[0].claim.what)])
        lines[-1] += [_as_printed(row, signs), *(_result(r, signs) for r in row)]
        lines[-1].append(Text(verdict, style=_style(verdict)))
    return heads, lines


def _middle(rows: Sequence[Sequence[Result]], signs: _Signs) -> Layout:
    lines: list[list[Text]] = []
    for row in rows:
        lines += _about(row, rows)
        lines.append([Text(row[0].claim.id, style=_style(overall(row))), Text(row[0].claim.what)])
        lines[-1] += [_as_printed(row, signs), _results(row, signs)]
    return ["id", "claim", "printed", "columns"], lines


def _narrow(rows: Sequence[Sequence[Result]], signs: _Signs) -> Layout:
    lines: list[list[Text]] = []
    for row in rows:
        lines += [[Text(" ").join(cells)] for cells in _about(row, rows)]
        shown = Text(row[0].claim.id, style=_style(overall(row)))
        what = Text("\n").join([shown, Text(row[0].claim.what)])
        lines.append([what, _as_printed(row, signs), _results(row, signs)])
    return ["claim", "printed", "columns"], lines


def _stacked(rows: Sequence[Sequence[Result]], signs: _Signs) -> Group:
    parts: list[Text | Padding] = []
    for row in rows:
        parts += [Text(" ").join(cells) for cells in _about(row, rows)]
        parts.append(Text(row[0].claim.id, style=_style(overall(row))))
        printed = Text.assemble("printed: ", _as_printed(row, signs))
        for text in (Text(row[0].claim.what), printed, _results(row, signs)):
            parts.append(Padding(text, (0, 0, 0, 2)))
    return Group(*parts)


def _about(row: Sequence[Result], rows: Sequence[Sequence[Result]]) -> list[list[Text]]:
    """A line that says what this claim and those after it are about, if it is the first."""
    claims = [row[0].claim for row in rows]
    at = claims.index(row[0].claim)
    about = [(claim.source, claim.about) for claim in claims]
    if not about[at][1] or about[at] == (about[at - 1] if at else None):
        return []
    return [[Text(word, style="bold") for word in about[at]]]


def _as_printed(row: Sequence[Result], signs: _Signs) -> Text:
    claim = row[0].claim
    printed = _printed(claim, overall(row), signs)
    if claim.origin != "printed":
        printed.append(f" ({claim.origin})", style="not strike dim default")
    return printed


def explain(name: str, console: Console, results: Sequence[Result] = ()) -> None:
    """Print one claim in full: what the document says, what is true and why, and how to see it.

    Args:
        name: of the claim.
        console: where to print.
        results: of this claim; by default it is checked in every column.

    Raises:
        UnknownNameError: there is no such claim; the message names the nearest ones.
    """
    found = claim(name)
    results = [r for r in results if r.claim.id == name] or check_all(only=[found])
    signs = _ASCII if console.options.ascii_only else _UNICODE
    width = min(console.width, WIDEST)
    verdict = overall(results)
    if verdict == DIFFERS:
        verdict = HOLDS
    mark = (f"{_sign(verdict, signs)} {verdict}", _style(verdict) or "bold green")
    console.print(Text.assemble((name, "bold"), "  ", mark))
    facts: list[tuple[str, str | Text]] = [
        ("document", f"{found.source}: {DOCUMENTS[found.document]}"),
        ("claim", found.phrase),
        ("printed", _printed(found, verdict, signs)),
        ("origin", ORIGINS[found.origin]),
    ]
    if found.true is not None:
        facts.append(("true", found.true))
    for r in results:
        text = Text(r.text, style=_STYLES[r.verdict])
        if r.verdict != ERRATUM:  # "printed" and "true" have said it
            text.append(f"  {signs.of(r.verdict)} {r.verdict}")
        if r.verdict == WRONG:
            text.append(f", expected {r.expected}")
        if r.detail:
            text.append(f"\n{r.detail}", style="not bold dim default")
        facts.append((DISPLAY_NAMES[r.column], text))
    if found.explanation:
        facts.append(("why", found.explanation))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.width = width
    for label, fact in facts:
        grid.add_row(label, fact if isinstance(fact, Text) else Text(fact))
    console.print(grid)
    heading, code = _reproduction(found, [r.column for r in results])
    console.print()
    console.print(_folded(heading, width, "dim"))
    for line in code:
        console.print(Text(line, style="cyan"), soft_wrap=True)


def _reproduction(claim: Claim, names: Sequence[str]) -> tuple[str, list[str]]:
    """How to see it: a heading that says where this runs, and the lines of a program."""
    able = []
    for name in names:
        with contextlib.suppress(AbsentError):
            program(claim, name)
            able.append(name)
    if not able:
        return f"There is no such thing in {' or '.join(names)}.", []
    name = "torch_impl" if "torch_impl" in able else able[0]
    heading = "To see it"
    if len(able) > 1:
        others = " or ".join(other for other in able if other != name)
        heading += f" (or with {others} in place of {name})"
    if "jax_impl" in able and claim.dtype == "float64":
        heading += "; for jax_impl say `jax.config.update('jax_enable_x64', True)` before"
    if claim.program:
        line = [f"# then: line {claim.at} of what it prints, from 0"] if claim.at else []
        return f"{heading}:", [*program(claim, name).splitlines(), *line]
    *lines, value = program(claim, name).splitlines()
    code = [*lines, f"print({value})"]
    return f"{heading}:", [*code, f"# then: {claim.show}"] if claim.show else code


def _folded(text: str, width: int, style: str = "") -> Text:
    return Text("\n").join(Text(line, style) for line in textwrap.wrap(text, width))


def _rule(title: str, width: int, signs: _Signs) -> Text:
    rule = Text(f"{signs.rule * 2} ", style="dim")
    rule.append(title, style="not dim bold")
    rule.append(f" {signs.rule * max(width - len(title) - 4, 0)}")
    return rule


def _sign(verdict: str, signs: _Signs) -> str:
    """The sign of a whole claim: a misprint is crossed, and the columns show what is true."""
    return signs.misprint if verdict == ERRATUM else signs.of(verdict)


def _style(verdict: str) -> str:
    return "bold red" if verdict == ERRATUM else _STYLES[verdict]


def _printed(claim: Claim, verdict: str, signs: _Signs) -> Text:
    if verdict != ERRATUM:
        return Text(claim.printed)
    return Text.assemble(f"{signs.misprint} ", (claim.printed, "strike"), style="red")


def _result(r: Result, signs: _Signs) -> Text:
    text = r.text if r.verdict != MISSING else MISSING
    return Text(f"{signs.of(r.verdict)} {text}", style=_STYLES[r.verdict])


def _results(row: Sequence[Result], signs: _Signs) -> Text:
    """What the columns give: once, if it is the same everywhere."""
    ran = [r for r in row if r.verdict != MISSING]
    if ran and len({(r.text, r.verdict) for r in ran}) == 1:
        text = _result(ran[0], signs)
        if ran[0].verdict in (ERRATUM, WRONG):
            text.append(f" {ran[0].verdict}", style=_style(ran[0].verdict))
        return text
    lines = []
    for r in row:
        line = _result(r, signs)
        if r.verdict in (ERRATUM, WRONG):
            line.append(f" {r.verdict}")
        line.append(f" {DISPLAY_NAMES[r.column]}", style="not bold dim default")
        lines.append(line)
    return Text("\n").join(lines)
