"""What the columns say of a function: once where they agree, at its column where one has its own.

The signature and the docstring are parted from the code; what all columns share of them stands
above the grid, and the grid keeps the code alone.
"""

import ast
import html
import re
from collections.abc import Sequence
from typing import NamedTuple

import mistakes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from words import english

from triptych.source import parse
from triptych.source.align import Cell
from triptych.source.parse import Block, Module, Section

PARTS = ("Args", "Returns", "Yields", "Raises", "Source", "Attributes")


class Said(NamedTuple):
    """A section, taken apart."""

    signature: str
    """Where every column that has the function writes the same."""
    common: tuple[str, ...]
    """The paragraphs of the docstring that every column has."""
    own: tuple[tuple[str, ...], ...]
    """For each column: its other paragraphs."""
    code: Section
    """The rest."""


def of(section: Section, modules: Sequence[Module]) -> Said:
    """Take a section apart.

    Args:
        section: from `parse.sections`, of a function or a class.
        modules: the three files, from `parse.load`.
    """
    found = [
        next((d for d in module.definitions if block and d.name == section.name), None)
        for module, block in zip(modules, section.blocks, strict=True)
    ]
    there = [definition for definition in found if definition]
    alone = section.kind == parse.FUNCTION and len({d.signature for d in there}) == 1
    common, own = paragraphs([d and d.docstring for d in found])
    blocks = (block and _code(block, header=not alone) for block in section.blocks)
    signature = _signature(there[0].source) if alone else ""
    return Said(signature, common, own, section._replace(blocks=tuple(blocks)))


def _signature(source: str) -> str:
    """What stands between `def` and the colon, as it is written, on one line."""
    node = ast.parse(source).body[0]
    assert isinstance(node, ast.FunctionDef)
    last = node.returns.end_lineno if node.returns else node.body[0].lineno - 1
    lines = [line.partition("  #")[0] for line in source.splitlines()[node.lineno - 1 : last]]
    text = " ".join(" ".join(lines).split()).removeprefix("def ").removesuffix(":")
    return re.sub(r",? \)", ")", text.replace("( ", "("))


def paragraphs(texts: Sequence[str | None]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """The paragraphs that all texts have, and the others of each; None has none."""
    each = [tuple(text.split("\n\n")) if text else () for text in texts]
    there = [set(own) for own, text in zip(each, texts, strict=True) if text is not None]
    shared = set.intersection(*there) if there else set()
    first = next((own for own, text in zip(each, texts, strict=True) if text is not None), ())
    others = tuple(tuple(p for p in own if p not in shared) for own in each)
    return tuple(p for p in first if p in shared), others


def _code(block: Block, *, header: bool) -> Block:
    """A block without its docstring and, unless they are to be kept, `@checked` and `def`."""
    first = block.cells[0].line
    (node,) = ast.parse("\n".join(cell.text for cell in block.cells)).body
    assert isinstance(node, ast.FunctionDef | ast.ClassDef)
    left_out: set[int] = set()
    body = node.body[0]
    if ast.get_docstring(node) is not None:
        left_out.update(range(body.lineno, (body.end_lineno or body.lineno) + 1))
    if not header:
        # a comment between the two belongs to the body
        last = node.returns.end_lineno if isinstance(node, ast.FunctionDef) and node.returns else 0
        left_out.update(range(node.lineno, (last or body.lineno - 1) + 1))
        left_out.update(d.lineno for d in node.decorator_list if ast.unparse(d) == "checked")
    cells: list[Cell] = []
    for cell in block.cells:
        gap = not cell.text.strip() and (not cells or cell.line - first + 1 < node.lineno)
        if cell.line - first + 1 not in left_out and not gap:
            cells.append(cell)
    while not cells[0].text.strip():
        del cells[0]
    return block._replace(cells=tuple(cells))


# As HTML


def above(said: Said) -> str:
    """The signature, behind the title that says the name, and what all columns say."""
    text = said.signature[len(said.code.name) :]
    signature = f'<pre class="tp-signature"><code>{_python(text)}</code></pre>'
    return (signature if said.signature else "") + prose(said.common)


def prose(texts: Sequence[str]) -> str:
    """The paragraphs of a docstring; its arguments, results and sources in small print."""
    plain = [text for text in texts if text.partition(":")[0] not in PARTS]
    parts = [part(text) for text in texts if text not in plain]
    told = [mistakes.text(" ".join(text.split())) for text in plain]
    if parts:
        told[-1:] = [" ".join([*told[-1:], f'<span class="tp-args">{" ".join(parts)}</span>'])]
    return "".join(f"<p{english()}>{text}</p>" for text in told)


def part(text: str) -> str:
    """One part of a docstring, "Args" and its like, as a stretch of a line."""
    name, _, rest = text.partition(":")
    if not rest.startswith("\n"):
        return f"<strong>{name}</strong> {mistakes.text(' '.join(rest.split()))}"
    items = re.split(r"\n {4}(?=\S)", rest)[1:]
    told = []
    for item in items:
        label, colon, what = " ".join(item.split()).partition(": ")
        is_name = name != "Returns" and colon and re.fullmatch(r"[\w*, ]+", label)
        label = f"<code>{html.escape(label)}</code> " if is_name else ""
        words = what if is_name else " ".join(item.split())
        told.append(label + mistakes.text(words))
    return f"<strong>{name}</strong> {' '.join(told)}"


def _python(text: str) -> str:
    return highlight(text, PythonLexer(), HtmlFormatter(nowrap=True)).rstrip("\n")
