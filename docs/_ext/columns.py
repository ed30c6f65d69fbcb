"""The three columns as HTML: one grid for each function, its lines lined up.

`triptych.source` takes the sources apart and lines them up; this writes down what it found. What
the columns have in common of a function, its signature and most of its docstring, stands once above
the grid. The grid's rows are the aligned rows and its columns are the files, in the order in
which a person, a screen reader or the clipboard wants them: one file after the other. Each file
also becomes a page of its own, to which the line numbers lead.
"""

import html
from collections.abc import Iterator, Sequence
from typing import Any

import notebooks
import said
import solutions
import traps
from docutils import nodes
from docutils.parsers.rst import directives
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from words import english, later, word

from triptych import names
from triptych.names import COLUMNS, DISPLAY_NAMES
from triptych.source import differences, parse
from triptych.source.align import Row
from triptych.source.parse import Module, Section

FOLDED = {parse.IMPORTS: later("Imports, and the shapes that signatures name")}
HELP = later(
    "A signature stands once, above the three: <code>Float[Array, &quot;n 4&quot;]</code> is an "
    "array of floating-point numbers with n rows of 4, and <code>@checked</code>, left out here, "
    "refuses any other in words."
)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive `columns` and the pages of the sources."""
    app.add_directive("columns", Columns)
    app.connect("html-collect-pages", source_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Columns(SphinxDirective):
    """`{columns} CONCEPT` shows a whole concept, `{columns} CONCEPT FUNCTION` one function.

    Of the one function, `:code:` leaves out of its docstring what is looked up.
    """

    required_arguments = 1
    optional_arguments = 1
    option_spec = {"code": directives.flag}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """One section for each function, so that each has an anchor and is found by a search."""
        modules = parse.load(self.arguments[0])
        for module in modules:
            self.env.note_dependency(parse.directory(module.column) / f"{module.concept}.py")
        up = root(self.env.docname)
        if len(self.arguments) > 1:
            files = tuple(map(parse.briefly, modules)) if "code" in self.options else modules
            part = parse.find(files, self.arguments[1])[0]
            return [raw(section_html(part, modules, up))]
        parts = parse.sections(modules)
        common, own = said.paragraphs([module.docstring for module in modules])
        top = said.prose(common) + _notes(own) + _run(modules[0].concept, up)
        top += f"<p>{word(HELP)}</p>"
        made: list[nodes.Node] = [raw(top + _contents(parts) + _bar())]
        for part in parts:
            if part.kind == parse.DOCSTRING:
                continue
            if part.kind == parse.IMPORTS:
                grid = section_html(part, modules, up)
                made.append(raw(fold(word(FOLDED[part.kind]), grid, anchor(part))))
                continue
            if part.name.startswith("_"):
                code = function_html if part.kind == parse.FUNCTION else section_html
                summary = word("<code>{name}</code>, which serves the others", name=part.name)
                made.append(raw(fold(summary, code(part, modules, up), anchor(part))))
                continue
            section = nodes.section(ids=[anchor(part)], names=[anchor(part)])
            is_code = part.kind in (parse.FUNCTION, parse.CLASS)
            title = nodes.literal(text=part.name) if is_code else nodes.Text(_title(part))
            section += nodes.title(part.name, "", title, translatable=False)
            shown = function_html if is_code else section_html
            section += raw(shown(part, modules, up))
            made.append(section)
        return made


def raw(text: str) -> nodes.Node:
    """HTML as a node."""
    return nodes.raw("", text, format="html")


def root(docname: str) -> str:
    """The way from a page to the top of the site: "../" for concepts/gradients."""
    return "../" * docname.count("/")


def anchor(section: Section) -> str:
    """The id of a section; a function has its own name."""
    own = section.kind in (parse.FUNCTION, parse.CLASS)
    return section.name if own else f"{section.kind}-{section.name}".rstrip("-")


def _title(section: Section) -> str:
    if section.kind in FOLDED:
        return word(FOLDED[section.kind])
    return word("Below {name}", name=section.name)


def fold(summary: str, body: str, name: str = "") -> str:
    """Something that is there for whoever opens it."""
    place = f' id="{name}"' if name else ""
    return f'<details class="tp-fold tp-wide"{place}><summary>{summary}</summary>{body}</details>'


def _notes(own: Sequence[Sequence[str]]) -> str:
    """What each column says of itself: where the three part, and why."""
    notes = "".join(
        f'<div class="tp-note" data-column="{column}"{english()}>{said.prose(texts)}</div>'
        for column, texts in zip(COLUMNS, own, strict=True)
        if texts
    )
    label = word("What differs, and why")
    return f'<div class="tp-notes" role="group" aria-label="{label}">{notes}</div>'


def _run(concept: str, up: str) -> str:
    """The command that runs the concept, ready to be copied, and its notebooks."""
    command = f"triptych run {concept}"
    copy = (
        f'<button type="button" class="tp-copy" data-code="{command}" '
        f'aria-label="{word("Copy {what}", what=command)}">{word("Copy")}</button>'
    )
    chosen = [(word("all three"), COLUMNS), *((DISPLAY_NAMES[c], (c,)) for c in COLUMNS)]
    links = ", ".join(
        f'<a href="{up}{notebooks.FOLDER}/{notebooks.name(concept, columns)}" download>{title}</a>'
        for title, columns in chosen
    )
    return (
        f'<div class="tp-run"><strong>{word("Run it")}</strong> <code>{command}</code>{copy}'
        f"<span>{word('or edit it in a notebook:')} {links}</span>{_exercises(concept, up)}</div>"
    )


def _exercises(concept: str, up: str) -> str:
    """Links to the exercises on the concept, if there are any."""
    links = ", ".join(
        f'<a href="{up}exercises.html#{e.name}">{e.name}</a>' for e in solutions.of(concept)
    )
    return f"<span>{word('or try an exercise:')} {links}</span>" if links else ""


def _contents(parts: Sequence[Section]) -> str:
    links = "".join(
        f'<li><a href="#{anchor(part)}"><code>{part.name}</code></a></li>'
        for part in parts
        if part.kind == parse.FUNCTION and not part.name.startswith("_")
    )
    return f'<nav class="tp-contents" aria-label="{word("Functions")}"><ul>{links}</ul></nav>'


def _bar() -> str:
    """What follows the reader down the page: the names of the columns, and the switch."""
    tabs = "".join(
        f'<button type="button" class="tp-tab" data-column="{column}" aria-pressed="false">'
        f"{DISPLAY_NAMES[column]}</button>"
        for column in COLUMNS
    )
    names = "".join(
        f'<span data-column="{column}">{DISPLAY_NAMES[column]}</span>' for column in COLUMNS
    )
    return (
        '<div class="tp-sticky tp-wide">'
        f'<div class="tp-tabs" role="group" aria-label="{word("Column to show")}">{tabs}</div>'
        f'<p class="tp-legend"><span class="tp-sign tp-alone"></span> {word("in one column only")} '
        f'<span class="tp-sign tp-two"></span> {word("in two")}</p>'
        '<button type="button" class="tp-button tp-dim-switch" aria-pressed="false">'
        f"{word('Dim the same')}</button>"
        f'<div class="tp-names" aria-hidden="true">{names}</div></div>'
    )


def function_html(section: Section, modules: Sequence[Module], up: str) -> str:
    """What is said of a function or a class, and its code alone."""
    parted = said.of(section, modules)
    own = [said.prose(texts) for texts in parted.own]
    trap = traps.note(traps.at(modules[0].concept, section.name), up)
    # below a decorator the body stays indented: its first line is not what is decorated
    cells = [cell for block in parted.code.blocks if block for cell in block.cells]
    bare = bool(parted.signature) and not any(cell.text.startswith("@") for cell in cells)
    grid = section_html(parted.code, modules, up, section, own, bare=bare)
    return said.above(parted) + trap + grid


def section_html(
    section: Section,
    modules: Sequence[Module],
    up: str,
    whole: Section | None = None,
    own: Sequence[str] = (),
    *,
    bare: bool = False,
) -> str:
    """The grid of one section.

    Args:
        section: from `parse.sections` or `parse.find`.
        modules: the three files, from `parse.load`.
        up: the way from the page to the top of the site, "../" or "".
        whole: what is copied, where it is more than what is shown.
        own: what each column says of itself, as HTML.
        bare: the body of a function without its `def`, which is set as far to the left.
    """
    rows = section.rows()
    panes = "".join(
        _pane(section, rows, module, i, up, whole or section, own if any(own) else ())
        for i, module in enumerate(modules)
    )
    # the head is a row, too, and so are the sentences below it
    count = len(rows) + 1 + any(own)
    # a column that has nothing needs no room
    widths = " ".join("7rem" if block is None else "minmax(0, 1fr)" for block in section.blocks)
    grid = (
        f'<div class="tp-columns tp-wide highlight{" tp-bare" * bare}" '
        f'style="--rows:{count};--widths:{widths}">{panes}</div>'
    )
    declared = differences.of(modules[0].concept).get(section.name)
    return f"<p>{html.escape(word(declared.why))}</p>{grid}" if declared else grid


def _pane(
    section: Section,
    rows: Sequence[Row],
    module: Module,
    index: int,
    up: str,
    whole: Section,
    own: Sequence[str],
) -> str:
    name = DISPLAY_NAMES[module.column]
    block, everything = section.blocks[index], whole.blocks[index]
    page = f"{up}source/{module.path.removesuffix('.py')}.html"
    if block is None or everything is None:
        head = word("<strong>{name}</strong> has none", name=name)
    else:
        first = everything.cells[0].line
        label = word("Copy {what}", what=f"{section.name or _title(section)}, {name}")
        text = html.escape("\n".join(cell.text for cell in everything.cells))
        head = (
            f'<strong>{name}</strong> <a href="{page}#L{first}">{module.path}:{first}</a>'
            f'<button type="button" class="tp-copy" data-code="{text}" aria-label="{label}">'
            f"{word('Copy')}</button>"
        )
    sentence = f'<div class="tp-own"{english()}>{own[index]}</div>' if own else ""
    cells = () if block is None else block.cells
    code = dict(zip((c.line for c in cells), lines(c.text for c in cells), strict=True))
    body = []
    for number, row in enumerate(rows):
        cell = row.cells[index]
        if cell is None:
            body.append(f'<div class="tp-line tp-none" data-row="{number}"></div>')
            continue
        link = f'<a class="tp-no" tabindex="-1" href="{page}#L{cell.line}">{cell.line}</a>'
        body.append(
            f'<div class="tp-line {_mark(row, index)}" data-row="{number}" data-line="{cell.line}">'
            f"{link}{_code(cell.text, code[cell.line])}</div>"
        )
    return (
        f'<div class="tp-col" data-column="{module.column}" role="group" aria-label="{name}">'
        f'<div class="tp-head">{head}</div>{sentence}{"".join(body)}</div>'
    )


def _mark(row: Row, index: int) -> str:
    cell = row.cells[index]
    if row.same:
        return "tp-same"
    if cell is None or not cell.text.strip():
        return "tp-blank"
    return "tp-alone" if row.shared[index] == 1 else "tp-two"


def lines(texts: Iterator[str] | Sequence[str]) -> list[str]:
    """Lines of Python, highlighted together, as one piece of HTML each."""
    source = list(texts)
    if not source:
        return []
    lexer = PythonLexer(stripnl=False, ensurenl=False)
    # an empty last line would be lost
    text = highlight("\n".join([*source, "#"]), lexer, HtmlFormatter(nowrap=True))
    return text.rstrip("\n").split("\n")[: len(source)]


def _code(text: str, highlighted: str) -> str:
    # a wrapped line hangs two characters deeper than it begins
    depth = len(text) - len(text.lstrip())
    deep = ' class="tp-in"' if depth else ""
    return f'<code{deep} style="--i:{depth}">{highlighted}</code>'


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """A page for each file of the columns, every line with an anchor."""
    for concept in (*parse.concepts(), names.BOUNDARY):
        for module in parse.load(concept):
            name = f"source/{module.path.removesuffix('.py')}"
            body = "".join(
                f'<div class="tp-line" id="L{number}"><a class="tp-no" href="#L{number}">{number}'
                f"</a>{_code(text, code)}</div>"
                for number, (text, code) in enumerate(
                    zip(module.lines, lines(module.lines), strict=True), start=1
                )
            )
            back = ""
            if concept in names.CONCEPTS:
                back = word("Beside the other two")
                back = f'<p><a href="../../concepts/{concept}.html">{back}</a></p>'
            title = html.escape(module.path)
            text = f'<h1>{title}</h1>{back}<div class="tp-source highlight">{body}</div>'
            yield (
                name,
                {"title": title, "body": text, "parents": [], "furo_hide_toc": True},
                "page.html",
            )
