"""How long a page takes to read: counted when the pages are built, from their words.

`{minutes}` followed by a page in backticks stands for the minutes of that page, and `{minutes}`
followed by `all` for the sum of those in its section. The speed is the mean of 190 studies of
adults who read English that is no fiction, silently (Brysbaert, 2019, Journal of Memory and
Language 109). What is folded is not counted, and of the three columns one. A Japanese page counts
as many words as it stands for in English, by the letters that the translations take for a word.
"""

import re
from functools import cache, partial
from html.parser import HTMLParser
from typing import Any

import words as catalogs
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxRole

from triptych.names import COLUMNS

SPEED = 238
"""Words a minute."""
ALL = "all"
SKIPPED = {"script", "style", "details", "button"}


class minutes(nodes.Inline, nodes.Element):  # noqa: N801  # docutils names nodes so
    """A number that is known when every page has been read."""


class Minutes(SphinxRole):
    """`{minutes}`, followed by the name of a page or `all`."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """A node that is filled in later; the length of another page may have changed."""
        self.env.note_reread()
        return [minutes(page=self.text)], []


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the role, and fill in its numbers when every page has been read."""
    app.add_node(minutes)
    app.add_role("minutes", Minutes())
    app.connect("doctree-resolved", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def fill(app: Sphinx, document: nodes.document, page: str) -> None:
    """Put numbers in the place of the nodes."""
    length = cache(partial(_of, app.env, page))
    for node in list(document.findall(minutes)):
        pages = [node["page"]]
        if pages == [ALL]:
            section = next(n for n in _around(node) if isinstance(n, nodes.section))
            pages = [n["page"] for n in section.findall(minutes) if n["page"] != ALL]
            pages = list(dict.fromkeys(pages))
        node["done"] = sum(map(length, pages))
    for node in list(document.findall(minutes)):
        node.replace_self(nodes.Text(str(node["done"])))


def _around(node: nodes.Node) -> Any:
    while node.parent is not None:
        node = node.parent
        yield node


def _of(env: BuildEnvironment, page: str, name: str) -> int:
    if name not in env.found_docs:
        raise ExtensionError(f"{page}: minutes: no page {name!r}")
    return max(1, round(words(env.get_doctree(name), env.config.language) / SPEED))


def words(document: nodes.Node, language: str = "en") -> float:
    """How many words of a page a reader has before them, in English."""
    found = document.findall(lambda n: isinstance(n, nodes.Text | nodes.raw))
    text = " ".join(
        _seen(node.astext()) if isinstance(node, nodes.raw) else node.astext()
        for node in found
        if not isinstance(node.parent, nodes.raw)
    )
    return count(text) if language == "en" else in_english(text, language)


JAPANESE = re.compile("[\u3041-\u30ff\u3005\u4e00-\u9fff]")


def count(text: str) -> int:
    """The words of a text; of a Japanese one those in Latin letters."""
    return len(re.findall(r"\w+(?:[.'-]\w+)*", JAPANESE.sub(" ", text)))


def in_english(text: str, language: str) -> float:
    """The words of a translated text in English."""
    return count(text) + len(JAPANESE.findall(text)) / letters(language)


@cache
def letters(language: str) -> float:
    """How many Japanese letters stand for a word, in the translations of all that is no page."""
    texts = {english: said for english, said in catalogs.read(language, "words").items() if said}
    translated = sum(count(english) - count(said) for english, said in texts.items())
    return sum(len(JAPANESE.findall(said)) for said in texts.values()) / translated


def _seen(html: str) -> str:
    parser = _Seen()
    parser.feed(html)
    parser.close()
    return " ".join(parser.text)


class _Seen(HTMLParser):
    """The text of HTML that is neither folded, nor code for the browser, nor a further column."""

    VOID = frozenset({"br", "hr", "img", "input", "wbr", "link", "meta", "path", "rect", "line"})

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.open: list[tuple[str, bool]] = []
        """The elements around, and whether each hides what is in it."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Go into an element."""
        if tag not in self.VOID:
            named = dict(attrs)
            further = named.get("data-column") in COLUMNS[1:]
            hidden = tag in SKIPPED or further or named.get("aria-hidden") == "true"
            self.open.append((tag, hidden))

    def handle_endtag(self, tag: str) -> None:
        """Leave it."""
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        """Keep what can be seen."""
        inside = [hidden for _, hidden in self.open]
        # what a fold says while it is closed
        if any(tag == "summary" for tag, _ in self.open):
            inside = [hidden for tag, hidden in self.open if tag != "details"]
        if not any(inside):
            self.text.append(data)
