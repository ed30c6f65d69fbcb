"""How Sphinx builds the pages in another language, and what stops it.

A text without a translation, and a translation that nothing uses any more, are warnings that name
the message and the file, and `make docs` makes warnings errors.
"""

import re
from collections.abc import Iterator
from typing import Any

import words
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.search.ja import SearchJapanese
from sphinx.transforms import SphinxTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import extract_messages
from words import word

REFERENCE = "api/"
"""The pages that hold docstrings: English, and built once."""

logger = logging.getLogger(__name__)
extracting = False
"""Whether the builder writes templates of catalogs, not pages."""


def setup(app: Sphinx) -> dict[str, Any]:
    """Choose the language, check the catalogs, and offer the words to the scripts."""
    app.add_config_value("translations_complete", True, "env", bool)
    app.connect("config-inited", choose, priority=100)
    app.connect("builder-inited", begin)
    app.connect("source-read", elsewhere)
    app.connect("html-page-context", switch)
    app.add_directive("html", Html)
    app.add_transform(Messages)
    app.add_search_language(Japanese)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def choose(app: Sphinx, config: Config) -> None:
    """Take the words of the language that the pages are built in."""
    words.unknown = lambda text: logger.warning(
        "`make messages` does not find %r: write it within word(...)", text
    )
    words.translated.clear()
    config.html_context["words"] = {}
    if config.language == "en":
        return
    words.translated.update(words.read(config.language, "words"))
    if config.translations_complete:
        for complaint in words.complaints(config.language, "words", words.messages()):
            logger.warning(complaint)
    scripts = [
        text for text, files in words.messages().items() if any(f.endswith(".js") for f in files)
    ]
    config.html_context["words"] = {text: word(text) for text in scripts}


def begin(app: Sphinx) -> None:
    """Remember what is built, and find the texts once for all processes that read and write."""
    words.messages()
    global extracting
    extracting = app.builder.name == "gettext"


class Html(SphinxDirective):
    """`{html}`: HTML as it stands, with what is to be translated as [[text]]."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """One piece of HTML."""
        text = words.MARKED.sub(lambda found: word(found[1]), "\n".join(self.content))
        return [nodes.raw("", text, format="html")]


class Messages(SphinxTransform):
    """What Sphinx is about to translate on a page: without what needs none, and checked."""

    default_priority = 15  # Sphinx translates at 20

    def apply(self, **kwargs: Any) -> None:  # noqa: ARG002
        """Leave out code, formulas and what stays English; complain of the rest."""
        page = self.env.current_document.docname
        english = list(self._english())
        for node in english:
            node["translatable"] = False
            if extracting and isinstance(node, nodes.image):
                node.attributes.pop("alt", None)  # Sphinx would take it for a message all the same
            if self.config.language != "en":
                node["classes"].append("language-en")  # docutils makes `lang` of it
        used = list(self._commented())
        for node, message in list(extract_messages(self.document)):
            if isinstance(node, nodes.math_block) or not words.prose(message):
                node["translatable"] = False
            elif node in english:
                continue
            else:
                used.append(message)
        if self.config.language == "en" or page.startswith(REFERENCE):
            return
        if self.config.translations_complete:
            for complaint in words.complaints(self.config.language, page, used):
                logger.warning(complaint)

    def _commented(self) -> Iterator[str]:
        """Commands with comments: Sphinx would parse a translation of them as Markdown."""
        said = words.read(self.config.language, self.env.current_document.docname)
        for node in self.document.findall(nodes.literal_block):
            text = node.astext()
            if node.get("language") == "sh" and words.prose(" ".join(re.findall("#(.*)", text))):
                node["translatable"] = extracting
                node.rawsource = said.get(text) or text
                node[:] = [nodes.Text(node.rawsource)]
                yield text

    def _english(self) -> Iterator[nodes.Element]:
        """What stands below a comment that says so: the report is made, and names its rows."""
        below = False
        for node in self.document.findall(nodes.Element):
            below |= isinstance(node, nodes.comment) and node.astext() == "English from here"
            if below and isinstance(node, nodes.image):
                yield node
            inline = isinstance(node, nodes.Inline | nodes.comment)
            if below and isinstance(node, nodes.TextElement) and not inline:
                yield node


# What a page of another language has of its own


def elsewhere(app: Sphinx, page: str, source: list[str]) -> None:
    """In the place of the API reference: where it is, in English."""
    docstrings = app.config.language == "en" and not extracting
    if docstrings or not page.startswith(REFERENCE):
        return
    name = page.removeprefix(REFERENCE)
    why = word("The reference is made of the sources' own docstrings, so there is one, in English:")
    source[0] = (
        f'# `{name}`\n\n<p>{why} <a href="../../{page}.html" hreflang="en"><code>{name}</code></a>'
        "</p>\n"
    )


def switch(app: Sphinx, page: str, template: str, context: dict[str, Any], _: object) -> None:
    """The way from each page to the same page in the other language."""
    up = "../" * page.count("/")
    # the index of Python's modules belongs to the reference
    other = "index" if page == "py-modindex" else page
    context["word"] = word
    context["other_language"] = (
        {"code": "ja", "name": "日本語", "link": f"{up}ja/{other}.html"}
        if app.config.language == "en"
        else {"code": "en", "name": "English", "link": f"{up}../{other}.html"}
    )


class Japanese(SearchJapanese):
    """Japanese in pairs of letters, on the page as in the index: no two dictionaries to agree."""

    js_splitter_code = """
var splitQuery = (query) =>
  (query.match(/[ぁ-ゖァ-ヺー々一-鿿]+|[A-Za-z0-9_]+/g) ?? []).flatMap((run) =>
    /^\\w/.test(run) || run.length === 1
      ? [run]
      : [...run].slice(1).map((letter, i) => run[i] + letter));
"""

    def split(self, input: str) -> list[str]:  # noqa: A002
        """Pairs of Japanese letters, the single letters of Han, and words of Latin letters."""
        found = []
        for run in re.findall(r"[ぁ-ゖァ-ヺー々一-鿿]+|[A-Za-z0-9_]+", input):
            if run[0] < "ぁ":
                found.append(run)
            else:
                found += [run[i : i + 2] for i in range(len(run) - 1)]
                found += re.findall("[一-鿿]", run)
        return found

    def word_filter(self, stemmed_word: str) -> bool:
        """A single letter of Han is a word, too."""
        return len(stemmed_word) > 1 or stemmed_word >= "一"
