"""The cheat sheet on a terminal: the rows of a word, or all of them."""

import re
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from triptych.names import BOUNDARY, COLUMNS, DISPLAY_NAMES, UnknownNameError
from triptych.source.cheatsheet import Row, sheet
from triptych.source.reader import COLORS

GAP = 2


def look_up(words: Sequence[str], console: Console) -> None:
    """Print the rows that have all words, side by side if they fit.

    Args:
        words: parts of names, "jnp.take" or "softmax"; none for everything.
        console: where to print.

    Raises:
        UnknownNameError: no row has them; the message names the nearest names.
    """
    wanted = [_plain(word) for word in words]
    rows = [row for row in sheet().rows if all(word in _text(row) for word in wanted)]
    if not rows:
        cells = [cell for row in sheet().rows for cell in row.cells]
        known = {name.rpartition(".")[2].removesuffix("()") for cell in cells for name in cell}
        raise UnknownNameError("name", " ".join(words), sorted(known))
    console.print(Text("\n").join(_lines(rows, console.width)), soft_wrap=True)


def _plain(text: str) -> str:
    """As the table writes it: people also type jax.numpy.take, F.relu or take()."""
    text = re.sub(r"\(\)?", "", text.lower()).replace("jax.numpy.", "jnp.")
    text = re.sub(r"\bnumpy\.", "np.", text)
    return re.sub(r"\b(torch\.nn\.functional|nn\.functional|f)\.", "torch.", text)


def _text(row: Row) -> str:
    return _plain(" ".join([row.subject, *(name for cell in row.cells for name in cell)]))


def _lines(rows: Sequence[Row], width: int) -> Iterator[Text]:
    cells = [[*row.cells, (_place(row),)] for row in rows]
    heads = [*(DISPLAY_NAMES[column] for column in COLUMNS), "used in"]
    widths = [
        max(map(len, [head, *(name for cell in column for name in cell)]))
        for head, column in zip(heads, zip(*cells, strict=True), strict=True)
    ]
    beside = sum(widths) + GAP * len(widths) <= width
    if beside:
        yield _row(heads, widths, "bold ")
    subject = ""
    for row, parts in zip(rows, cells, strict=True):
        if row.subject != subject:
            if subject or beside:
                yield Text()
            subject = row.subject
            yield Text(subject, style="bold")
        elif not beside:
            yield Text()
        if beside:
            for number in range(max(map(len, parts))):
                yield _row(["".join(part[number : number + 1]) for part in parts], widths)
        else:
            for head, part, style in zip(heads, parts, _styles(), strict=True):
                for name in filter(None, part):
                    yield Text.assemble((f"  {head:8}", style), name)


def _styles(before: str = "") -> list[str]:
    return [*(f"{before}{COLORS[column]}" for column in COLUMNS), f"{before}dim"]


def _row(parts: Sequence[str], widths: Sequence[int], style: str = "") -> Text:
    line = Text()
    for part, width, colour in zip(parts, widths, _styles(style), strict=True):
        line.append(part.ljust(width + GAP), style=colour)
    line.rstrip()
    return line


def _place(row: Row) -> str:
    if row.where is None:
        return ""
    concept = row.where.column if row.where.concept == BOUNDARY else row.where.concept
    return f"{concept} {row.where.function}".rstrip()
