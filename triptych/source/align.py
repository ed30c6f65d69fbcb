"""Lines of several texts, lined up: like beside like, in order."""

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple


class Cell(NamedTuple):
    """One line of a source file."""

    line: int
    """Its number in the file, from 1."""
    text: str


class Row(NamedTuple):
    """One line of each column, or None where a column has nothing to put beside the others."""

    cells: tuple[Cell | None, ...]

    @property
    def shared(self) -> tuple[int, ...]:
        """For each column: how many columns have the same text in this row (an absent line is "").

        As many as there are columns means that the row is the same everywhere, 1 that this column
        is on its own.
        """
        texts = ["" if cell is None else cell.text for cell in self.cells]
        return tuple(texts.count(text) for text in texts)

    @property
    def same(self) -> bool:
        """Whether every column has the same text."""
        return self.shared[0] == len(self.cells)


@cache
def align(*columns: tuple[Cell, ...]) -> tuple[Row, ...]:
    """Line up the lines of several texts, once: equal ones in one row, then similar ones.

    The second text is aligned with the first, each further one with the rows so far. Every line
    stands in exactly one row and keeps its order.

    Args:
        columns: the lines of each text.

    Source: Needleman and Wunsch, 1970, with the likeness of two lines for a score; the further
    texts are added progressively, as Feng and Doolittle, 1987, do.
    """
    rows: list[tuple[Cell | None, ...]] = [(cell,) for cell in columns[0]]
    for width, column in enumerate(columns[1:], start=1):
        rows = _join(rows, column, width)
    return tuple(Row(cells) for cells in rows)


def _join(
    rows: list[tuple[Cell | None, ...]], column: Sequence[Cell], width: int
) -> list[tuple[Cell | None, ...]]:
    def equal(row: tuple[Cell | None, ...], cell: Cell) -> bool:
        return all(known is not None and known.text == cell.text for known in row)

    short = min(len(rows), len(column))
    head = 0
    while head < short and equal(rows[head], column[head]):
        head += 1
    tail = 0
    while tail < short - head and equal(rows[-1 - tail], column[-1 - tail]):
        tail += 1
    n, m = len(rows) - tail - head, len(column) - tail - head

    def score(i: int, j: int) -> float:
        text = column[head + j].text
        return sum(likeness(cell.text, text) for cell in rows[head + i] if cell is not None)

    scores = [[score(i, j) for j in range(m)] for i in range(n)]
    best = [[0.0] * (m + 1) for _ in range(n + 1)]
    for i in reversed(range(n)):
        for j in reversed(range(m)):
            best[i][j] = max(scores[i][j] + best[i + 1][j + 1], best[i + 1][j], best[i][j + 1])
    joined = [(*rows[k], column[k]) for k in range(head)]
    i = j = 0
    while i < n or j < m:
        if i < n and j < m and best[i][j] == scores[i][j] + best[i + 1][j + 1]:
            joined.append((*rows[head + i], column[head + j]))
            i, j = i + 1, j + 1
        elif j == m or (i < n and best[i][j] == best[i + 1][j]):
            joined.append((*rows[head + i], None))
            i += 1
        else:
            joined.append((*(None,) * width, column[head + j]))
            j += 1
    joined += [(*rows[head + n + k], column[head + m + k]) for k in range(tail)]
    return joined


@cache
def _tokens(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+|[^\w\s]", text))


def _first_word(text: str) -> str:
    match = re.match(r"\s*\w+", text)
    return match.group() if match else ""


_KEYWORDS = ("return", "def", "for", "with", "if", "import", "from")


def likeness(a: str, b: str) -> float:
    """How much two lines belong in one row: high if equal, negative if they should not meet.

    Lines that have nothing in common may still stand beside each other (a little above 0; more if
    both are a `return`, say, of the same depth), so that two ways of doing the same do not end up
    below each other. A comment does not stand beside code, nor a blank line beside a full one.
    """
    ours, theirs = _tokens(a), _tokens(b)
    if not ours or not theirs:
        return -1.0 if ours or theirs else 0.2
    if a.lstrip().startswith("#") != b.lstrip().startswith("#"):
        return -1.0
    size = min(8, ours.total(), theirs.total())
    if a == b:
        return 1.0 + size
    common = 2 * (ours & theirs).total() / (ours.total() + theirs.total())
    score = 0.1 + (0.6 * common * size if common > 0.5 else 0.0)
    first, other = _first_word(a), _first_word(b)
    if first.lstrip() in _KEYWORDS and first == other:
        score += 1.0
    return score
