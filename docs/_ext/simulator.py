"""The directive `simulator`: the data and the code of the simulator's page, and its scripts."""

import html
import json
from typing import Any

import simulator_data
from columns import raw, section_html
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from words import titled, word

from triptych.names import COLUMNS, DISPLAY_NAMES
from triptych.source import parse

SCRIPTS = (
    "engine", "formula", "training", "address",
    "drawing", "plan", "network", "decision", "telling", "view", "simulator",
)  # fmt: skip
"""In the order in which they need each other; `defer` keeps it."""


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("simulator", Simulator)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Simulator(SphinxDirective):
    """`{simulator}`: the functions that the graphs come from, lined up, and what runs the page."""

    def run(self) -> list[nodes.Node]:
        """The code first: it is there for readers without a script, too."""
        data = self.env.triptych["simulator"][""]  # type: ignore[attr-defined]
        for concept in {name.split(".")[0] for name in _functions(data)}:
            for module in parse.load(concept):
                self.env.note_dependency(parse.directory(module.column) / f"{concept}.py")
        return [raw(_code(data) + _data(data) + _scripts())]


def _functions(data: dict[str, Any]) -> list[str]:
    named = [name for graph in data["graphs"] for name in graph["code"]]
    return list(dict.fromkeys([*named, data["update"]]))


def _code(data: dict[str, Any]) -> str:
    tabs = "".join(
        f'<button type="button" class="tp-tab" data-column="{column}" aria-pressed="false">'
        f"{DISPLAY_NAMES[column]}</button>"
        for column in COLUMNS
    )
    blocks = "".join(
        f'<div data-code="{name}"><p class="sim-function">'
        f'<a href="concepts/{name.replace(".", ".html#")}"><code>{name}</code></a></p>'
        f"{section_html(*simulator_data.code_section(name), '')}</div>"
        for name in _functions(data)
    )
    return (
        f'<div class="tp-tabs" role="group" aria-label="{word("Column to show")}">'
        f"{tabs}</div>"
        f'<div class="sim-code tp-wide" id="sim-code" role="region" tabindex="0" '
        f'aria-label="{word("The code in three columns")}">{blocks}</div>'
    )


def _data(data: dict[str, Any]) -> str:
    graphs = [
        graph
        | {"title": titled(graph["title"].split("; ")), "source": word(graph["source"])}
        | _training(graph.get("training"))
        for graph in data["graphs"]
    ]
    # within a script nothing ends it but "</"
    text = json.dumps(data | {"graphs": graphs}, separators=(",", ":")).replace("</", "<\\/")
    return f'<script type="application/json" id="sim-data">{text}</script>'


def _training(training: dict[str, Any] | None) -> dict[str, Any]:
    """What a network's rows are called, in the language of the page."""
    if training is None:
        return {}
    named = {what: [word(name) for name in training[what]] for what in ("labels", "classes")}
    return {"training": training | named}


def _scripts() -> str:
    style = '<link rel="stylesheet" href="_static/simulator/simulator.css">'
    names = (html.escape(f"_static/simulator/{name}.js") for name in SCRIPTS)
    return style + "".join(f'<script defer src="{name}"></script>' for name in names)
