"""Mathematics as MathML, made while the pages are built: nothing to fetch, nothing to run."""

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator
from words import IN_FORMULA, word


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer; conf.py chooses it by `html_math_renderer`."""
    app.add_html_math_renderer(
        "mathml", inline_renderers=(inline, None), block_renderers=(block, None)
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def formula(text: str, display: str = "inline") -> str:
    """A formula, with the words in it in the language of the pages."""
    said = re.sub(IN_FORMULA, lambda m: rf"\text{{{m[1]}{word(m[2])}{m[3]}}}", text)
    return convert(said, display=display)


def inline(self: HTML5Translator, node: nodes.math) -> None:
    """A formula within a line."""
    self.body.append(formula(node.astext()))
    raise nodes.SkipNode


def block(self: HTML5Translator, node: nodes.math_block) -> None:
    """A formula on a line of its own."""
    self.body.append(f'<div class="math">{formula(node.astext(), "block")}</div>')
    raise nodes.SkipNode
