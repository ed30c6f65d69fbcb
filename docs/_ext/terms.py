"""The directive `terms`: the glossary in one direction, made of glossary.toml."""

import html
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from columns import raw, root
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective
from words import word

FILE = Path(__file__).absolute().parent.parent / "glossary.toml"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("terms", Terms)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Term(NamedTuple):
    """One entry of glossary.toml."""

    en: str
    ja: str
    yomi: str
    """How the Japanese is read."""
    page: str


@cache
def load() -> tuple[Term, ...]:
    """Every entry of glossary.toml."""
    return tuple(Term(**entry) for entry in tomllib.loads(FILE.read_text("utf-8"))["term"])


class Terms(SphinxDirective):
    """`{terms} en`: from English to Japanese, in order; `{terms} ja`: from Japanese to English."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """A table of the term, its translation, and where it is at home."""
        self.env.note_dependency(FILE)
        if absent := {term.page for term in load()} - self.env.found_docs:
            raise ExtensionError(f"glossary.toml: no page {', '.join(sorted(absent))}")
        japanese = self.arguments[0] == "ja"
        order = sorted(load(), key=lambda term: term.yomi if japanese else term.en.lower())
        rows = "".join(_row(term, root(self.env.docname), japanese=japanese) for term in order)
        heads = [word("English"), word("Japanese")][:: -1 if japanese else 1]
        head = "".join(f'<th scope="col">{name}</th>' for name in (*heads, word("Page")))
        return [
            raw(f'<table class="tp-table tp-terms"><thead><tr>{head}</tr></thead>{rows}</table>')
        ]


def _row(term: Term, up: str, *, japanese: bool) -> str:
    both = [("en", term.en), ("ja", term.ja)][:: -1 if japanese else 1]
    cells = "".join(f'<td lang="{code}">{html.escape(text)}</td>' for code, text in both)
    return f'<tr>{cells}<td><a href="{up}{term.page}.html">{term.page.split("/")[-1]}</a></td></tr>'
