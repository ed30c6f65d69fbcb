"""Same name, different function: the entries of traps.toml, run and judged.

Each line of an entry is run as it stands in a fresh scope with `np`, `torch`, `jax` and `jnp`; what
it gives must be what stands behind it in traps.toml. trap_page.py shows it; the table at the top of
the page is made of the entries that are told in brief.

    python docs/_ext/traps.py           judge every line
    python docs/_ext/traps.py --fill    write the outcomes that are missing, to be read by a person
    python docs/_ext/traps.py --write   write the table in brief
"""

import ast
import html
import platform
import sys
import tomllib
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from words import later, word

from triptych import names
from triptych.names import COLUMNS, DISPLAY_NAMES, FRAMEWORKS
from triptych.source import parse

FILE = Path(__file__).absolute().parent.parent / "traps.toml"
PAGE = FILE.with_name("traps.md")
MARK = "# ->"
"""Stands between a line and its outcome."""
GROUPS = {
    "arrays": later("Arrays"),
    "arithmetic": later("Arithmetic"),
    "gradients": later("Gradients"),
    "layers": later("Layers"),
    "losses": later("Losses"),
    "optimisers": later("Optimisers"),
    "random": later("Random numbers"),
    "timing": later("Timing"),
    "others": later("Others"),
    "agrees": later("What agrees: no need to worry"),
}
"""The parts of the page, in order; in the last one every framework gives the same."""


class Trap(NamedTuple):
    """One entry of traps.toml."""

    id: str
    group: str
    title: str
    why: str
    at: tuple[str, ...]
    """The functions that it concerns: "classifier.logits"."""
    code: dict[str, str]
    """By column; a column that has no such thing is left out."""
    machine: str
    """The processor on which the outcomes are as they stand; "" for any."""
    brief: dict[str, str]
    """A row of the table in brief: title, numpy, torch, jax; empty for one that is not in it."""


class TrapError(ValueError):
    """An entry of traps.toml is malformed; the message names it."""


@cache
def load(text: str | None = None) -> tuple[Trap, ...]:
    """Every entry of traps.toml, or of a text that is written as it is, in order.

    Raises:
        TrapError: something is missing, or it names a function that does not exist.
    """
    found: list[Trap] = []
    for entry in tomllib.loads(text or FILE.read_text(encoding="utf-8"))["trap"]:
        name = entry.get("id", "?")
        for key in ("id", "title", "why", "at"):
            if key not in entry:
                raise TrapError(f"traps.toml: {name}: {key} is missing")
        if name in [trap.id for trap in found]:
            raise TrapError(f"traps.toml: {name}: stands there twice")
        group = entry.get("group", "others")
        if group not in GROUPS:
            raise TrapError(f"traps.toml: {name}: no group {group}")
        for place in entry["at"]:
            concept, _, function = place.partition(".")
            try:
                parse.find(parse.load(concept), function)
            except names.UnknownNameError as error:
                raise TrapError(f"traps.toml: {name}: {error}") from error
        code = {column: entry[key].strip() for column, key in FRAMEWORKS.items() if key in entry}
        if not code:
            raise TrapError(f"traps.toml: {name}: no column has code")
        if (
            unknown := entry.keys()
            - {"id", "group", "title", "why", "at", "machine", "brief"}
            - {*FRAMEWORKS.values()}
        ):
            raise TrapError(f"traps.toml: {name}: no key {', '.join(sorted(unknown))}")
        found.append(
            Trap(
                name,
                group,
                entry["title"],
                entry["why"],
                tuple(entry["at"]),
                code,
                entry.get("machine", ""),
                entry.get("brief", {}),
            )
        )
    return tuple(found)


def at(concept: str, function: str) -> list[Trap]:
    """The entries that concern a function."""
    return [trap for trap in load() if f"{concept}.{function}" in trap.at]


# Running and judging them


class Outcome(NamedTuple):
    """What one line of an entry gives."""

    line: str
    text: str | None
    """The value, or the name of the exception, and of a warning; None for a statement."""
    expected: str | None
    """What traps.toml says; None where it says nothing."""
    message: str
    """Of the exception."""

    @property
    def right(self) -> bool:
        """Whether it is as traps.toml says; "RuntimeError: words" asks for words of the message."""
        if self.expected is None or self.text is None:
            return self.expected == self.text
        name, _, words = self.expected.partition(": ")
        if words and self.text == name:
            return words in self.message
        return self.text == self.expected


def outcomes(trap: Trap, column: str) -> list[Outcome]:
    """Run the lines of an entry in one framework, on the CPU, in a fresh scope, without x64."""
    import jax
    import numpy as np
    import torch

    scope = {"np": np, "torch": torch, "jax": jax, "jnp": jax.numpy}
    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)  # it would warn once in a process
    try:
        with jax.enable_x64(False), jax.default_device(jax.devices("cpu")[0]):
            return list(_outcomes(trap.code.get(column, ""), scope))
    finally:
        torch.set_warn_always(always)


def run() -> dict[str, dict[str, list[tuple[str, str | None]]]]:
    """What each line gives: by id and column, the line and its outcome (None for a statement).

    Raises:
        SystemExit: a line gives something else than traps.toml says.
    """
    found = {trap.id: {column: outcomes(trap, column) for column in trap.code} for trap in load()}
    wrong = [complaint for trap in load() for complaint in complaints(trap, found[trap.id])]
    if wrong:
        raise SystemExit("\n".join(wrong))
    return {
        name: {column: [(o.line, o.text) for o in lines] for column, lines in by_column.items()}
        for name, by_column in found.items()
    }


def complaints(trap: Trap, found: dict[str, list[Outcome]]) -> list[str]:
    """The lines of an entry that give something else than traps.toml says."""
    if not judged_here(trap):
        return []
    return [
        f"traps.toml: {trap.id}: {column}: {o.line} gives {o.text} {o.message}".rstrip()
        + f", expected {o.expected or 'nothing (say what, behind # ->)'}"
        for column, lines in found.items()
        for o in lines
        if not o.right
    ]


def judged_here(trap: Trap) -> bool:
    """Whether the outcomes hold on this machine's processor."""
    machine = platform.machine().lower().replace("amd64", "x86_64")
    return trap.machine in ("", machine)


def _statements(code: str) -> Iterator[tuple[ast.stmt, str, str | None]]:
    """Each statement, its text, and the outcome that stands behind it after `# ->`."""
    lines = code.encode().splitlines()
    for statement in ast.parse(code).body:
        assert statement.end_lineno is not None
        rest = lines[statement.end_lineno - 1][statement.end_col_offset :].decode().strip()
        expected = rest.removeprefix(MARK).strip() if rest.startswith(MARK) else None
        yield statement, ast.get_source_segment(code, statement) or "", expected


def _outcomes(code: str, scope: dict[str, Any]) -> Iterator[Outcome]:
    for statement, line, expected in _statements(code):
        text, message = None, ""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                if isinstance(statement, ast.Expr):
                    value = eval(line, scope)
                    if value is not None or not isinstance(statement.value, ast.Call):
                        text = written(value)
                else:
                    exec(line, scope)
            except Exception as error:
                text, message = type(error).__name__, str(error)
        shown = [w.category for w in caught if issubclass(w.category, UserWarning | RuntimeWarning)]
        if text is not None and shown:
            text += f", with a {shown[0].__name__}"
        yield Outcome(line, text, expected, message)


def written(value: Any) -> str:
    """A value, short: arrays as lists, floats with six digits."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(written, value))}]" if isinstance(value, list) else f"{(*value,)}"
    return f"{value:.6g}" if isinstance(value, float) else str(value).removeprefix("torch.")


# Filling in what is missing


def fill(text: str) -> tuple[str, list[str]]:
    """The text of traps.toml with every missing outcome, and the lines that were filled in."""
    added = []
    for trap in load(text):
        start = text.index(f'id = "{trap.id}"')
        for column, code in trap.code.items():
            lines = code.splitlines()
            for (statement, line, _), o in zip(
                _statements(code), outcomes(trap, column), strict=True
            ):
                if o.expected is None and o.text is not None:
                    assert statement.end_lineno is not None
                    lines[statement.end_lineno - 1] += f"  {MARK} {o.text}"
                    added.append(f"{trap.id}: {column}: {line}  {MARK} {o.text}  {o.message}")
            at = text.index(code, start)
            text = text[:at] + "\n".join(lines) + text[at + len(code) :]
    return text, added


# In brief


def brief(start: str = "<!-- traps -->", end: str = "<!-- /traps -->") -> str:
    """The table at the top of the page, between two marks: the entries told in brief."""
    rows = [
        f"| {trap.brief['title']} | "
        + " | ".join(trap.brief.get(key, "") for key in FRAMEWORKS.values())
        + " |"
        for trap in load()
        if trap.brief
    ]
    head = "| | " + " | ".join(DISPLAY_NAMES[column] for column in COLUMNS) + " |"
    return "\n".join([start, head, "| --- | --- | --- | --- |", *rows, end])


# Showing them


def note(traps: Sequence[Trap], up: str) -> str:
    """One line for the function that they concern; the page of traps says more."""
    if not traps:
        return ""
    links = ", ".join(
        f'<a href="{up}traps.html#{trap.id}">{html.escape(word(trap.title))}</a>' for trap in traps
    )
    label = word("Same name, different function:")
    return f'<p class="tp-trap"><strong>{label}</strong> {links}</p>'


def main(arguments: list[str]) -> int:
    """Judge every line; with --fill or --write, write."""
    if "--fill" in arguments:
        text, added = fill(FILE.read_text(encoding="utf-8"))
        FILE.write_text(text, encoding="utf-8")
        print(*added, f"{len(added)} outcomes filled in: read each of them", sep="\n")
        load.cache_clear()
    if "--write" in arguments:
        text = PAGE.read_text(encoding="utf-8")
        before, _, rest = text.partition("<!-- traps -->")
        PAGE.write_text(before + brief() + rest.partition("<!-- /traps -->")[2], encoding="utf-8")
    wrong = [
        complaint
        for trap in load()
        for complaint in complaints(trap, {c: outcomes(trap, c) for c in trap.code})
    ]
    print(*wrong, f"{len(load())} traps, {len(wrong)} lines with another outcome", sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
