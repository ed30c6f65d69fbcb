"""The API reference: docstrings are plain text, signatures stand as they do in the source."""

import re
from typing import Any

from sphinx.application import Sphinx

from triptych import names
from triptych.source import parse


def setup(app: Sphinx) -> dict[str, Any]:
    """Prepare docstrings for reStructuredText before napoleon (priority 500) reads them."""
    app.connect("autodoc-process-docstring", docstring, priority=400)
    app.connect("autodoc-process-signature", signature)
    app.add_config_value("triptych_pictures", "", "", str)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def docstring(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Keep `code`, and take everything else as it is written: x**2 and W_1 are no markup here."""
    for number, line in enumerate(lines):
        parts = line.split("`")
        if len(parts) % 2 == 0:  # a backtick that opens and does not close
            parts = [line.replace("`", "'")]
        lines[number] = "".join(
            f"``{part}``" if i % 2 else re.sub(r"([*|\\]|_(?!\w))", r"\\\1", part)
            for i, part in enumerate(parts)
        )


def signature(
    app: Sphinx, what: str, name: str, thing: object, options: object, args: str, returns: str
) -> tuple[str, str] | None:
    """The signature of a column's function as its file has it: the shapes are the documentation."""
    package, _, rest = name.partition(".")
    if package not in names.COLUMNS or what != "function":
        return None
    concept, _, function = rest.rpartition(".")
    module = parse.load_column(package, concept or names.BOUNDARY)
    found = {d.name: d for d in module.definitions}.get(function)
    if found is None:
        return None
    left, _, right = found.signature.removeprefix(function).partition(" -> ")
    return left, right
