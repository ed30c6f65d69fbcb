"""The directive `{traps}`: the page of traps, with what each line of an entry gave.

traps.py runs and judges the entries, without Sphinx, so that a plain test can do so too.
"""

import html
from typing import Any

import mistakes
import traps
from columns import raw, root
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from words import word

from triptych.names import COLUMNS, DISPLAY_NAMES


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("traps", Traps)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Traps(SphinxDirective):
    """`{traps}`: every entry of traps.toml, by group, with what its lines give."""

    def run(self) -> list[nodes.Node]:
        """A field to search in, and a section for each group and each entry: each has an anchor."""
        script = f"{root(self.env.docname)}_static/traps.js"
        made: list[nodes.Node] = [
            raw(
                f'<p><label for="tp-find">{word("Find")}</label> <input id="tp-find" type="search" '
                'autocomplete="off"> <output id="tp-found" aria-live="polite"></output></p>'
                f'<script defer src="{script}"></script>'
            )
        ]
        for name, title in traps.GROUPS.items():
            if entries := [self.entry(trap) for trap in traps.load() if trap.group == name]:
                group = nodes.section(ids=[f"group-{name}"], names=[f"group-{name}"])
                group += nodes.title("", word(title), translatable=False)
                group += entries
                made.append(group)
        return made

    def entry(self, trap: traps.Trap) -> nodes.section:
        """One entry: why, the functions that it concerns, and its lines."""
        section = nodes.section(ids=[trap.id], names=[trap.id])
        section += nodes.title("", word(trap.title), translatable=False)
        up = root(self.env.docname)
        links = ", ".join(
            '<a href="{0}concepts/{1}.html#{2}"><code>{1}.{2}</code></a>'.format(
                up, *place.split(".")
            )
            for place in trap.at
        )
        where = f" {word('Concerns {links}.', links=links)}" if links else ""
        body = table(self.env.triptych["traps"][""][trap.id])  # type: ignore[attr-defined]
        section += raw(f"<p>{mistakes.text(word(trap.why))}{where}</p>{body}")
        return section


def table(outcomes: dict[str, list[tuple[str, str | None]]]) -> str:
    """What the lines of an entry give, column by column."""
    cells = []
    for column in COLUMNS:
        items = "".join(
            f"<li><code>{html.escape(line)}</code>"
            + ("" if outcome is None else f" <samp>{html.escape(outcome)}</samp>")
            + "</li>"
            for line, outcome in outcomes.get(column, [])
        )
        body = f"<ul>{items}</ul>" if items else f"<p>{word('nothing of the kind')}</p>"
        cells.append(
            f'<div class="tp-trap-column" data-column="{column}">'
            f"<h3>{DISPLAY_NAMES[column]}</h3>{body}</div>"
        )
    return f'<div class="tp-traps tp-wide">{"".join(cells)}</div>'
