"""Functions that are not the same in every column by nature: which, where, and why.

differences.toml is their only home: the parity test allows what stands there and nothing else, the
reader and the pages show the sentence.
"""

import tomllib
from functools import cache
from importlib import resources
from typing import NamedTuple

from triptych.names import COLUMNS


class DifferencesError(ValueError):
    """An entry of differences.toml is malformed; the message names it."""


class Difference(NamedTuple):
    """A function that a column lacks, or that has another form there."""

    concept: str
    function: str
    absent: tuple[str, ...]
    """The columns without it; empty where only the form differs."""
    why: str
    """One sentence: what in the framework makes it so."""


@cache
def differences() -> tuple[Difference, ...]:
    """Every entry, in the order of the file.

    Raises:
        DifferencesError: an entry is malformed.
    """
    file = resources.files("triptych.source").joinpath("differences.toml")
    return parse(file.read_text(encoding="utf-8"))


def parse(text: str) -> tuple[Difference, ...]:
    """The entries in a text that is written as differences.toml is."""
    found = []
    for entry in tomllib.loads(text).get("difference", []):
        name = f"{entry.get('concept')}.{entry.get('function')}"
        absent = entry.get("absent", [])
        if entry.keys() - {"concept", "function", "absent", "form", "why"}:
            raise DifferencesError(f"differences.toml: {name}: has keys that nobody reads")
        if not entry.get("why"):
            raise DifferencesError(f"differences.toml: {name}: why is missing")
        if bool(absent) == entry.get("form", False):
            raise DifferencesError(f"differences.toml: {name}: either absent or form = true")
        if not set(absent) < set(COLUMNS):
            raise DifferencesError(f"differences.toml: {name}: absent must name some columns")
        found.append(Difference(entry["concept"], entry["function"], tuple(absent), entry["why"]))
    return tuple(found)


def of(concept: str) -> dict[str, Difference]:
    """The entries of a concept, by function."""
    return {d.function: d for d in differences() if d.concept == concept}


def absent(column: str, concept: str, function: str) -> str:
    """Why a column has no such function; "" if it has it."""
    difference = of(concept).get(function)
    return difference.why if difference is not None and column in difference.absent else ""
