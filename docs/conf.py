"""Sphinx's settings: MyST pages, the Furo theme, extensions of our own in `_ext`."""

import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

HERE = Path(__file__).absolute().parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

project = "triptych"
html_title = "triptych"
author = "the triptych authors"
language = "en"
locale_dirs = ["locale"]
gettext_compact = False
# of a page it is known anyhow, and line numbers would change with every edit
gettext_location = False
# whether a text without a translation, or a translation without a text, is a warning
translations_complete = True
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "mathml",
    "translation",
    "evidence",
    "columns",
    "notebooks",
    "solutions",
    "tables",
    "trap_page",
    "timing",
    "reference",
    "simulator",
    "derivation",
    "drawing",
    "cheatsheet",
    "minutes",
    "terms",
    "printed",
]
myst_enable_extensions = ["colon_fence", "dollarmath", "attrs_inline"]
myst_heading_anchors = 3
exclude_patterns = ["_ext", "_static", "_templates", "locale"]
templates_path = ["_templates"]
# a name that leads nowhere is a warning, and `make docs` makes warnings errors
nitpicky = False

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["triptych.css"]
html_js_files = [("triptych.js", {"defer": "defer"})]
html_math_renderer = "mathml"
# The source of a page is Markdown with directives; the sources that matter have their own pages.
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
# A summary would be fetched from the other pages, which a browser refuses on file://.
html_show_search_summary = False
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}

LIGHT = {
    "tp-ink": "#1b1f24", "tp-muted": "#57606a", "tp-paper": "#ffffff", "tp-surface": "#f6f7f9",
    "tp-line": "#d9dde3", "tp-strong-line": "#7d8590",
    "tp-accent": "#7a3e00", "tp-accent-soft": "#fff3dc",
    "tp-numpy": "#1a56b0", "tp-torch": "#b3321c", "tp-jax": "#1d6b3a",
    "tp-numpy-soft": "#eef4ff", "tp-torch-soft": "#fff1ee", "tp-jax-soft": "#ecf8f0",
    "tp-good": "#1d6b3a", "tp-bad": "#b3261e", "tp-good-soft": "#ecf8f0", "tp-bad-soft": "#fff1ee",
    "tp-sans": "-apple-system, BlinkMacSystemFont, 'Segoe UI', Helvetica, Arial, 'Hiragino Sans', "
    "'Yu Gothic UI', Meiryo, 'Noto Sans CJK JP', 'Noto Sans JP', sans-serif",
    "tp-mono": "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace",
}  # fmt: skip
DARK = {
    "tp-ink": "#dfe2e6", "tp-muted": "#9da5b0", "tp-paper": "#131416", "tp-surface": "#1b1d21",
    "tp-line": "#32363c", "tp-strong-line": "#747c88",
    "tp-accent": "#f5b55c", "tp-accent-soft": "#33270f",
    "tp-numpy": "#86b3ff", "tp-torch": "#ff9a85", "tp-jax": "#72d194",
    "tp-numpy-soft": "#182335", "tp-torch-soft": "#33201c", "tp-jax-soft": "#16291d",
    "tp-good": "#72d194", "tp-bad": "#ff9a85", "tp-good-soft": "#16291d", "tp-bad-soft": "#33201c",
}  # fmt: skip
FURO = {
    "color-brand-primary": "var(--tp-accent)",
    "color-brand-content": "var(--tp-accent)",
    "color-brand-visited": "var(--tp-accent)",
    "color-foreground-muted": "var(--tp-muted)",
    "color-foreground-secondary": "var(--tp-muted)",
    "font-stack": "var(--tp-sans)",
    "font-stack--monospace": "var(--tp-mono)",
}
html_theme_options = {
    "light_css_variables": LIGHT | FURO,
    "dark_css_variables": DARK | FURO,
    "top_of_page_buttons": [],
    # the switch to the other language: see _templates/page.html
    "announcement": "language",
}

autodoc_default_options = {"members": True, "member-order": "bysource"}
# the array type is the framework's own, and the kinds of argument stand with the annotations
autodoc_default_options["exclude-members"] = "Array, Below, Like, UpTo"
autodoc_use_type_comments = False  # the sources have annotations; looking for both takes longer
napoleon_google_docstring = True
napoleon_numpy_docstring = False


def setup(app: Sphinx) -> None:
    """Mend two things that the theme leaves unreachable for a keyboard or a screen reader."""
    app.connect("html-page-context", reachable, priority=900)


def reachable(app: Sphinx, page: str, template: str, context: dict[str, Any], _: object) -> None:
    """Give captions of the navigation a level, and let the keyboard scroll what is wide."""
    tree = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = tree.replace(
        'role="heading"', 'role="heading" aria-level="2"'
    )
    body = context.get("body", "").replace("<pre>", '<pre tabindex="0">')
    context["body"] = body.replace(
        '<div class="table-wrapper', '<div tabindex="0" class="table-wrapper'
    )
