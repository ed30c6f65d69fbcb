"""The directive `derivation`: a backward pass on paper, each line with its shape and its code.

    ```{derivation} classifier.loss_and_grads
    :sizes: n=32 features=4 hidden1=16 hidden2=8 classes=3

    z1 | x W_1^{T} + b_1 | each row by itself
    ```

A line names a variable of the NumPy column, and says its formula and the reason. The shape is what
the variable has when the function runs, on arrays made after its annotations; the lines of code are
those that bind it in each column. A gradient that no line explains is an error.
"""

import html
import json
import sys
import types
import typing
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import mistakes
import numpy as np
from columns import raw, root
from docutils import nodes
from docutils.parsers.rst import directives
from mathml import formula as mathml
from simulator_data import bindings
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective
from words import word

from triptych.names import COLUMNS
from triptych.source import parse


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("derivation", Derivation)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Derivation(SphinxDirective):
    """`{derivation} CONCEPT.FUNCTION`, with a size for each name in the function's shapes."""

    required_arguments = 1
    has_content = True
    option_spec = {"sizes": directives.unchanged_required}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """A list, one line for each step; the script joins it to the code below."""
        function = self.arguments[0]
        concept, _, name = function.partition(".")
        for module in parse.load(concept):
            self.env.note_dependency(parse.directory(module.column) / f"{concept}.py")
        sizes = {
            k: float(v) for k, _, v in (w.partition("=") for w in self.options["sizes"].split())
        }
        found = variables(function, sizes)
        steps = [[part.strip() for part in line.split(" | ")] for line in self.content if line]
        told = [step[0] for step in steps]
        if unknown := [one for one in told if one not in found]:
            raise ExtensionError(f"{self.env.docname}: {function} binds no {', '.join(unknown)}")
        if untold := [one for one in found if one.startswith("d_") and one not in told]:
            raise ExtensionError(f"{self.env.docname}: no line derives {', '.join(untold)}")
        where = {column: bindings(column, function) for column in COLUMNS}
        names = {int(size): name for name, size in sizes.items()}
        link = f"{root(self.env.docname)}concepts/{concept}.html#{name}"
        several = any(np.ndim(value) for value in found.values())
        items = []
        for one, formula, *why in steps:
            # an engine is asked once for all derivatives
            other = "backward" if one.startswith("d_") else one
            lit = {c: sorted(b.get(one) or b.get(other) or []) for c, b in where.items()}
            lines = html.escape(json.dumps(lit), quote=True)
            reason = mistakes.text(word(" | ".join(why)))
            words = f'<span class="tp-why">{reason}</span>' if why else ""
            items.append(
                f'<li id="step-{one}" class="tp-step" data-function="{name}" data-lines="{lines}">'
                f'<a href="{link}"><code>{one}</code></a>'
                f"<span>{mathml(formula)}</span>"
                f'<span class="tp-shape">{shape(found[one], names, several=several)}</span>'
                f"{words}</li>"
            )
        forward = sum(not one.startswith("d_") for one in told)
        lists = "".join(
            f'<ol class="tp-derivation" aria-label="{label}">{"".join(part)}</ol>'
            for label, part in (
                (word("Forward"), items[:forward]),
                (word("Backward"), items[forward:]),
            )
        )
        return [raw(f'<div class="tp-derivations tp-wide">{lists}</div>')]


def shape(value: Any, names: Mapping[int, str], *, several: bool) -> str:
    """The shape of a value in the names of the signature; where all are numbers, the value."""
    if np.ndim(value):
        sizes = [names.get(size, str(size)) for size in np.shape(value)]
        return f"({', '.join(sizes)}{',' * (len(sizes) == 1)})"
    return word("a number") if several else f"= {float(value):g}"


def variables(function: str, sizes: Mapping[str, float]) -> dict[str, Any]:
    """The local variables of a function of the NumPy column as it returns, without its arguments.

    Args:
        function: with its concept, "classifier.loss_and_grads".
        sizes: by name, as the annotations write it; the value of a scalar argument by its own.
    """
    concept, _, name = function.partition(".")
    called = getattr(import_module(f"numpy_ref.{concept}"), name)
    inner = called.__wrapped__
    rng = np.random.default_rng(0)
    hints = typing.get_type_hints(inner, include_extras=True)
    wanted = hints.keys() - {"return", *(inner.__kwdefaults__ or {})}
    # in the order of the signature, so that the numbers are the same each time
    given = {k: _made(hints[k], sizes, rng, sizes.get(k)) for k in hints if k in wanted}
    found: dict[str, Any] = {}

    def watch(frame: types.FrameType, event: str, _: object) -> None:
        if event == "return" and frame.f_code is inner.__code__:
            found.update(frame.f_locals)

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        called(**given)
    finally:
        sys.setprofile(before)
    return {name: value for name, value in found.items() if name not in hints}


def _made(
    hint: Any, sizes: Mapping[str, float], rng: np.random.Generator, value: float | None
) -> Any:
    """An argument that an annotation allows."""
    if hint is bool:
        return True
    if typing.get_origin(hint) is typing.Annotated:
        base, *more = typing.get_args(hint)
        if isinstance(more[0], dict):
            kinds = more[0].items()
            return {key: _made(kind, sizes, rng, None) for key, kind in kinds}
        return _made(base, sizes, rng, value)
    dims = hint if isinstance(hint, str) else hint.dim_str
    lengths = tuple(int(sizes[dim.lstrip("*")]) for dim in dims.split())
    if not isinstance(hint, str) and any(kind.startswith("int") for kind in hint.dtypes):
        return np.zeros(lengths, dtype=np.int64)
    return np.array(value) if value is not None else np.abs(rng.normal(size=lengths))
