"""Same name, different function: the entries of traps.toml, run and shown.

Each line of an entry is run as it stands in a fresh scope with `np`, `torch`, `jax` and `jnp`; what
it gives stands beside it on the page. Nothing is typed in.
"""

import ast
import html
import tomllib
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from triptych import names
from triptych.names import COLUMNS, DISPLAY_NAMES
from triptych.source import parse

FILE = Path(__file__).absolute().parent.parent / "traps.toml"
KEYS = dict(zip(COLUMNS, ("numpy", "torch", "jax"), strict=True))


class Trap(NamedTuple):
    """One entry of traps.toml."""

    id: str
    title: str
    why: str
    at: tuple[str, ...]
    """The functions that it concerns: "classifier.logits"."""
    code: dict[str, str]
    """By column; a column that has no such thing is left out."""


class TrapError(ValueError):
    """An entry of traps.toml is malformed; the message names it."""


@cache
def load() -> tuple[Trap, ...]:
    """Every entry, in order.

    Raises:
        TrapError: something is missing, or it names a function that does not exist.
    """
    found = []
    for entry in tomllib.loads(FILE.read_text(encoding="utf-8"))["trap"]:
        name = entry.get("id", "?")
        for key in ("id", "title", "why", "at"):
            if key not in entry:
                raise TrapError(f"traps.toml: {name}: {key} is missing")
        for place in entry["at"]:
            concept, _, function = place.partition(".")
            try:
                parse.find(parse.load(concept), function)
            except names.UnknownNameError as error:
                raise TrapError(f"traps.toml: {name}: {error}") from error
        code = {column: entry[key].strip() for column, key in KEYS.items() if key in entry}
        if not code:
            raise TrapError(f"traps.toml: {name}: no column has code")
        found.append(Trap(name, entry["title"], entry["why"], tuple(entry["at"]), code))
    return tuple(found)


def at(concept: str, function: str) -> list[Trap]:
    """The entries that concern a function."""
    return [trap for trap in load() if f"{concept}.{function}" in trap.at]


# Running them


def run() -> dict[str, dict[str, list[tuple[str, str | None]]]]:
    """What each line gives: by id and column, the line and its outcome (None for a statement)."""
    import jax
    import numpy as np
    import torch

    scope = {"np": np, "torch": torch, "jax": jax, "jnp": jax.numpy}
    with warnings.catch_warnings(), jax.enable_x64(False):
        warnings.simplefilter("ignore")
        return {
            trap.id: {
                column: list(_outcomes(code, dict(scope))) for column, code in trap.code.items()
            }
            for trap in load()
        }


def _outcomes(code: str, scope: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    for statement in ast.parse(code).body:
        line = ast.get_source_segment(code, statement) or ""
        try:
            if isinstance(statement, ast.Expr):
                yield line, written(eval(line, scope))
            else:
                exec(line, scope)
                yield line, None
        except Exception as error:
            yield line, type(error).__name__


def written(value: Any) -> str:
    """A value, short: arrays as lists, floats with seven digits."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(written, value))}]" if isinstance(value, list) else str(value)
    return f"{value:.7g}" if isinstance(value, float) else str(value).removeprefix("torch.")


# Showing them


def box(trap: Trap, up: str) -> str:
    """A short box for the function that it concerns; the page of traps says more."""
    return (
        '<aside class="tp-trap" aria-label="Same name, different function">'
        f'<strong>Same name, different function:</strong> <a href="{up}traps.html#{trap.id}">'
        f"{html.escape(trap.title)}</a>. {html.escape(trap.why)}</aside>"
    )


def table(trap: Trap, outcomes: dict[str, list[tuple[str, str | None]]]) -> str:
    """What the lines of an entry give, column by column."""
    cells = []
    for column in COLUMNS:
        items = "".join(
            f"<li><code>{html.escape(line)}</code>"
            + ("" if outcome is None else f" <samp>{html.escape(outcome)}</samp>")
            + "</li>"
            for line, outcome in outcomes.get(column, [])
        )
        body = f"<ul>{items}</ul>" if items else "<p>has no such function</p>"
        cells.append(
            f'<div class="tp-trap-column" data-column="{column}">'
            f"<h3>{DISPLAY_NAMES[column]}</h3>{body}</div>"
        )
    return f'<div class="tp-traps tp-wide">{"".join(cells)}</div>'
