"""The directive `graphs`: the documents' graphs as pictures, values on nodes, derivatives on edges.

The graphs are those of the simulator. Values, the derivative on each edge and the derivative of the
output by each node come from the engine of the NumPy column; where the three columns return one of
them, it must be the same.
"""

import html
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from columns import raw, root
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective
from words import titled, word

from numpy_ref.recording import RULES

WIDTH, HEIGHT, ACROSS, ALONG = 104, 58, 76, 160
"""Of a node, and from node to node."""
OPERATIONS = {"add": "add", "mul": "multiply", "pow": "power"}
"""What the engine calls what the simulator calls otherwise."""

Graph = Mapping[str, Any]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("graphs", Graphs)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Graphs(SphinxDirective):
    """`{graphs} CONCEPT`: every graph of the simulator that comes from the concept."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """A figure for each."""
        found = self.env.triptych["simulator"][""]["graphs"]  # type: ignore[attr-defined]
        chosen = [g for g in found if g["code"][0].startswith(f"{self.arguments[0]}.")]
        # the networks' operations are no single ones
        chosen = [g for g in chosen if all(n["op"] in OPERATIONS for n in g["nodes"])]
        if not chosen:
            raise ExtensionError(f"{self.env.docname}: no graph of {self.arguments[0]!r}")
        up = root(self.env.docname)
        figures = "".join(_figure(graph, up) for graph in chosen)
        return [raw(f'<div class="tp-graphs tp-wide">{figures}</div>')]


def _figure(graph: Graph, up: str) -> str:
    function = graph["code"][0].partition(".")[2]
    given = ", ".join(f"{name} = {value:g}" for name, value in graph["start"].items())
    link = f'<a href="#{function}"><code>{function}</code></a>'
    return (
        f'<figure class="tp-graph">{drawn(graph)}<figcaption>'
        + word("{function} at {given}.", function=link, given=given)
        + f' <a href="{up}simulator.html#graph={graph["key"]}">{word("Step through it")}</a>'
        + "</figcaption></figure>"
    )


class Computed:
    """A graph's numbers: the value of each node, what stands on each edge, the gradients."""

    def __init__(self, graph: Graph) -> None:
        self.values: dict[str, Any] = {k: np.float64(v) for k, v in graph["start"].items()}
        self.edges: list[tuple[str, str, Any]] = []
        """From an operand, to what is made of it, and the derivative of the one by the other."""
        for node in graph["nodes"]:
            compute, pull = RULES[OPERATIONS[node["op"]]]
            operands = [self.values.get(a, a) for a in node["args"]]
            self.values[node["name"]] = compute(*operands)
            slopes = zip(node["args"], pull(np.float64(1), *operands), strict=True)
            self.edges += [(a, node["name"], slope) for a, slope in slopes if isinstance(a, str)]
        self.grads: dict[str, Any] = dict.fromkeys(self.values, np.float64(0))
        self.grads[graph["nodes"][-1]["name"]] = np.float64(1)
        for name, to, slope in reversed(self.edges):
            self.grads[name] += self.grads[to] * slope
        for column, returned in graph["returned"].items():
            for kind, own in (("values", self.values), ("grads", self.grads)):
                wrong = [n for n, number in returned[kind].items() if own[n] != number]
                if wrong:
                    raise ExtensionError(f"{graph['key']}: {column} has other {kind}: {wrong}")


Place = dict[str, Any]


def layout(graph: Graph) -> tuple[dict[str, Place], list[list[Place]]]:
    """Where the nodes stand, in layers from the inputs to the output, and the way of each edge.

    A long edge has a place in each layer that it passes, so that it runs around the nodes there.
    """
    layer: dict[str, int] = {}
    for node in graph["nodes"]:
        layer[node["name"]] = 1 + max([0, *(layer.get(a, 0) for a in node["args"])])
    for name in graph["start"]:
        users = [layer[node["name"]] for node in graph["nodes"] if name in node["args"]]
        layer[name] = min(users) - 1
    rows: list[list[Place]] = [[] for _ in range(max(layer.values()) + 1)]

    def place(at: int) -> Place:
        x = at * ALONG + WIDTH / 2 + 2
        rows[at].append({"x": x, "across": float(len(rows[at])), "beside": []})
        return rows[at][-1]

    names = (*graph["start"], *(node["name"] for node in graph["nodes"]))
    at = {name: place(layer[name]) for name in names}
    ways = []
    for node in graph["nodes"]:
        for operand in (a for a in node["args"] if isinstance(a, str)):
            passed = [place(i) for i in range(layer[operand] + 1, layer[node["name"]])]
            ways.append([at[operand], *passed, at[node["name"]]])
            for one, other in pairwise(ways[-1]):
                one["beside"].append(other)
                other["beside"].append(one)
    _untangle(rows)
    return at, ways


def _untangle(rows: list[list[Place]]) -> None:
    """Move each place to the mean of its neighbours, then apart; again and again."""
    for sweep in range(12):
        for row in rows[:: 1 if sweep % 2 else -1]:
            for p in row:
                p["wanted"] = sum(q["across"] for q in p["beside"]) / len(p["beside"])
            row.sort(key=lambda p: p["wanted"])
            before = -np.inf
            for p in row:
                before = p["across"] = max(p["wanted"], before + 1)
            pushed = sum(p["across"] - p["wanted"] for p in row) / len(row)
            for p in row:
                p["across"] -= pushed
    places = [p for row in rows for p in row]
    least = min(p["across"] for p in places)
    for p in places:
        p["y"] = (p["across"] - least) * ACROSS + HEIGHT / 2 + 2


def drawn(graph: Graph) -> str:
    """A graph as SVG, which says the same in words."""
    found = Computed(graph)
    at, ways = layout(graph)
    output = graph["nodes"][-1]["name"]
    tracked = {*graph["tracked"]}
    for node in graph["nodes"]:  # what depends on an input that is differentiated by
        if tracked.intersection(a for a in node["args"] if isinstance(a, str)):
            tracked.add(node["name"])
    parts = []
    for way, (_, _, local) in zip(ways, found.edges, strict=True):
        points = [(p["x"], p["y"]) for p in way]
        path = f"M{points[0][0] + WIDTH / 2} {points[0][1]}"
        for (x, y), (u, v) in pairwise(points):
            path += f"C{(x + u) / 2} {y} {(x + u) / 2} {v} {u - WIDTH / 2} {v}"
            path += f"H{u + WIDTH / 2}" if (u, v) != points[-1] else ""
        (x, y), (u, v) = points[:2]
        x, y = x + WIDTH / 2 + (u - x - WIDTH) * 0.5, y + (v - y) * 0.5
        parts.append(
            f'<path d="{path}"/><text class="tp-edge" x="{x:.0f}" y="{y - 5:.0f}">'
            f"&times;{_number(local)}</text>"
        )
    operations = {node["name"]: node for node in graph["nodes"]}
    for name, p in at.items():
        node = operations.get(name)
        title = f"{name} = {_operation(node)}" if node else name
        x, y = p["x"], p["y"]
        lines = [("tp-name", title, -12), ("tp-value", _number(found.values[name]), 5)]
        if name in tracked:
            lines.append(("tp-grad", f"∂{output}/∂{name} = {_number(found.grads[name])}", 21))
        texts = "".join(
            f'<text class="{kind}" x="{x:.0f}" y="{y + down:.0f}">{html.escape(text)}</text>'
            for kind, text, down in lines
        )
        parts.append(
            f'<rect x="{x - WIDTH / 2:.0f}" y="{y - HEIGHT / 2:.0f}" width="{WIDTH}" '
            f'height="{HEIGHT}" rx="{8 if node else 20}"/>{texts}'
        )
    width = max(p["x"] for p in at.values()) + WIDTH / 2 + 2
    height = max(p["y"] for way in ways for p in way) + HEIGHT / 2 + 2

    def is_(name: str, value: Any) -> str:
        return word("{name} is {value}", name=name, value=_number(value))

    words = "; ".join(
        [
            *(f"{is_(name, v)}, {is_(f'∂{output}/∂{name}', found.grads[name])}"
              for name, v in found.values.items()),
            *(is_(f"∂{to}/∂{name}", local) for name, to, local in found.edges),
        ]
    )  # fmt: skip
    label = word(
        "The graph of {title}: {words}", title=titled(graph["title"].split("; ")), words=words
    )
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" '
        f'aria-label="{html.escape(label)}">{"".join(parts)}</svg>'
    )


def _operation(node: Mapping[str, Any]) -> str:
    left, right = (a if isinstance(a, str) else f"{a:g}" for a in node["args"])
    if node["op"] == "pow":
        return left + right.translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{left} + {right}" if node["op"] == "add" else f"{left} {right}"


def _number(value: Any) -> str:
    return f"{float(value):.6g}"
