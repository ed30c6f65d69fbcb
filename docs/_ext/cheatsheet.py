"""The cheat sheet: a table for each subject, made of what the columns use."""

import ast
import html
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import traps
from columns import raw, root
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from words import word

from triptych.names import BOUNDARY, COLUMNS, DISPLAY_NAMES
from triptych.source import cheatsheet, parse
from triptych.source.cheatsheet import Row, Use

SCOPE = {"np": "numpy", "torch": "torch", "jax": "jax", "jnp": "jax.numpy"}
"""What the names of modules stand for in traps.toml."""


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive `cheatsheet`."""
    app.add_directive("cheatsheet", CheatSheet)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class CheatSheet(SphinxDirective):
    """`{cheatsheet}`: a field to search in, and a section for each subject."""

    def run(self) -> list[nodes.Node]:
        """Every row stands in the page: the script only hides some."""
        for column in COLUMNS:
            for concept in (*parse.concepts(), BOUNDARY):
                self.env.note_dependency(parse.directory(column) / f"{concept}.py")
        self.env.note_dependency(traps.FILE)
        self.env.note_dependency(cheatsheet.FILE)
        up = root(self.env.docname)
        rows = cheatsheet.sheet().rows
        subjects = {
            subject: re.sub(r"\W+", "-", subject.lower())
            for subject in dict.fromkeys(row.subject for row in rows)
        }
        links = "".join(f'<li><a href="#{name}">{word(s)}</a></li>' for s, name in subjects.items())
        made: list[nodes.Node] = [
            raw(
                f'<p class="tp-screen"><label for="tp-find">{word("Find")}</label> '
                '<input id="tp-find" '
                'type="search" autocomplete="off" placeholder="jnp.take"> '
                '<output id="tp-found" aria-live="polite"></output></p>'
                f'<nav class="tp-contents" aria-label="{word("Subjects")}"><ul>{links}</ul></nav>'
                f'<script defer src="{up}_static/cheatsheet.js"></script>'
            )
        ]
        for subject, name in subjects.items():
            section = nodes.section(ids=[name], names=[name])
            section += nodes.title("", word(subject), translatable=False)
            section += raw(table([row for row in rows if row.subject == subject], up))
            made.append(section)
        return made


def table(rows: list[Row], up: str) -> str:
    """The rows of one subject."""
    head = "".join(
        f'<th scope="col" data-column="{column}">{DISPLAY_NAMES[column]}</th>' for column in COLUMNS
    )
    body = "".join(
        f"<tr>{''.join(map(_cell, row.cells))}<td>{_signs(row, up)}</td>"
        f'<td class="tp-screen">{_place(row.where, up)}</td></tr>'
        for row in rows
    )
    return (
        f'<table class="tp-table tp-cheat tp-wide"><thead><tr>{head}'
        f'<th scope="col">{word("Trap")}</th>'
        f'<th scope="col" class="tp-screen">{word("Used in")}</th></tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def _cell(names: tuple[str, ...]) -> str:
    return f"<td>{' '.join(map(_code, names))}</td>"


def _code(name: str) -> str:
    """A name, to be broken at its dots, and between the words of a part that is too long."""
    parts = re.findall(r".[^.]*\.?", html.escape(name))
    between = r"(?<=[a-z0-9]_)(?=\w)|(?<=[a-z])(?=[A-Z])"
    spans = (f"<span>{re.sub(between, '<wbr>', part)}</span>" for part in parts)
    return f"<code>{''.join(spans)}</code>"


def _signs(row: Row, up: str) -> str:
    return " ".join(
        f'<a href="{up}traps.html#{trap.id}" title="{html.escape(word(trap.title))}" '
        f'aria-label="{html.escape(word(trap.title))}">≠</a>'
        for trap, rows in _traps()
        if row in rows
    )


def _place(use: Use | None, up: str) -> str:
    if use is None:
        return ""
    if use.concept == BOUNDARY:
        return (
            f'<a href="{up}source/{use.column}/{BOUNDARY}.html#L{use.line}">'
            f"<code>{use.column}</code></a>"
        )
    anchor = f"#{use.function}" if use.function else ""
    name = f"{use.concept}.{use.function}".rstrip(".")
    return f'<a href="{up}concepts/{use.concept}.html{anchor}">{_code(name)}</a>'


@cache
def _traps() -> list[tuple[traps.Trap, tuple[Row, ...]]]:
    return [(trap, concerned(trap)) for trap in traps.load()]


def concerned(trap: traps.Trap) -> tuple[Row, ...]:
    """The rows of names that a trap is about: its code uses them, and its text says them.

    A text says what stands in its id, its title, or as `code` in its sentences. What agrees is no
    trap.
    """
    if trap.group == "agrees":
        return ()
    texts = [trap.title, *re.findall("`([^`]*)`", " ".join([trap.why, *trap.brief.values()]))]
    said = {trap.id.replace("-", "_"), *re.findall(r"\w+", " ".join(texts).lower())}
    named = {key for key in _keys(trap) if key[1].rpartition(".")[2].lower() in said}
    return tuple(row for row in cheatsheet.sheet().rows if any(map(row.has, named)))


def _keys(trap: traps.Trap) -> Iterator[cheatsheet.Key]:
    for column, code in trap.code.items():
        for _, name in cheatsheet.names(ast.parse(code), SCOPE):
            yield column, name
