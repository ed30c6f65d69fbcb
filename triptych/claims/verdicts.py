"""What the documents print and state, checked in every column.

`claims.toml` says what is claimed, the call that shows it and the text to be expected; this
module runs the call, writes the value with as many digits as that text has, and compares. A claim
that holds must give the printed text. A mistake of a document (an erratum) must give another text,
the one that claims.toml calls true.
A framework is imported when its column is asked for.
"""

import contextlib
import inspect
import io
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from triptych import data
from triptych.claims.book import (
    ABSENT,
    PYTORCH,
    REDUCERS,
    Claim,
    claims,
    in_columns,
)
from triptych.claims.program import AbsentError, ForColumn, statements
from triptych.column import Column, missing
from triptych.names import COLUMNS, DISPLAY_NAMES, UnknownNameError

HOLDS, DIFFERS, ERRATUM, WRONG, MISSING = "holds", "differs", "erratum", "WRONG", "not installed"
"""HOLDS: the column gives what is printed. DIFFERS: it gives what claims.toml says of this column.
ERRATUM: it gives what claims.toml says is true, and the document is wrong. WRONG: it gives anything
else. A column that lacks the function DIFFERS, at an erratum as well. MISSING: the framework is not
installed."""
SHOWN = "shown"
"""In the place of a verdict, where no document prints the value."""


class Result(NamedTuple):
    """A claim in one column."""

    claim: Claim
    column: str
    text: str
    """The value, as it is written; for an exception the name of its class."""
    expected: str
    """What claims.toml expects of this column."""
    verdict: str
    """HOLDS, DIFFERS, ERRATUM, WRONG or MISSING; or SHOWN."""
    detail: str
    """The message of an exception, its first line."""


class _Runner:
    """Runs calls in one column, each of them once."""

    def __init__(self, column: str, device: str = "cpu") -> None:
        self.column = Column(column, device)
        self.done: dict[tuple[str, str], Any] = {}

    def value(self, claim: Claim) -> Any:
        """What the claim is about; if that is an exception, the exception; or the text ABSENT."""
        try:
            if claim.program:
                return self.printed(claim)
            with self.column.precision(claim.dtype), tempfile.TemporaryDirectory() as folder:
                value = self.call(claim, claim.call, folder)
                for step in statements(claim.at):
                    value = value[step]
                return self.on_the_host(REDUCERS[claim.show](value) if claim.show else value)
        except AbsentError:
            return ABSENT
        except Exception as error:
            return error

    def printed(self, claim: Claim) -> str:
        """What a claim's program prints; the line that is asked for."""
        if self.column.name != PYTORCH:
            return ABSENT
        said = io.StringIO()
        with contextlib.redirect_stdout(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(claim.code, {"__name__": claim.id})
        lines = said.getvalue().rstrip("\n").split("\n")
        return "\n".join(lines) if claim.at == "" else lines[int(claim.at)]

    def call(self, claim: Claim, call: str, folder: str) -> Any:
        key = (call, claim.dtype)
        if key not in self.done:
            code = ForColumn(claim, self.column.name).code(call)
            try:
                value = eval(code, {}, _Scope(self, claim, folder))
                self.done[key] = list(value) if inspect.isgenerator(value) else value
            except Exception as error:
                self.done[key] = error
        if isinstance(self.done[key], Exception):
            raise self.done[key]
        return self.done[key]

    def on_the_host(self, value: Any) -> Any:
        if isinstance(value, tuple | list):
            return type(value)(map(self.on_the_host, value))
        is_array = hasattr(value, "dtype") and not isinstance(value, np.ndarray | np.generic)
        return self.column.to_numpy(value) if is_array else value


class _Scope(dict[str, Any]):
    """What the names in a call stand for."""

    def __init__(self, runner: _Runner, claim: Claim, folder: str) -> None:
        path = str(Path(folder) / "parameters.safetensors")
        super().__init__(np=np, data=data, path=path, from_numpy=runner.column.take_in)
        self.runner = runner
        self.claim = claim
        self.folder = folder

    def __missing__(self, name: str) -> Any:
        if name in self.claim.names:
            return self.runner.call(self.claim, self.claim.names[name], self.folder)
        if name in in_columns():
            return getattr(self.runner.column, name)
        raise KeyError(name)


# Comparing


def written(value: Any, like: str) -> str:
    """A value as text, its numbers with as many digits as those of another text."""
    if isinstance(value, Exception):
        return type(value).__name__
    if isinstance(value, list) or (isinstance(value, np.ndarray) and value.ndim):
        parts = [written(part, like) for part in value]
        words = all(isinstance(part, str) for part in value)
        return ", ".join(parts) if words else f"[{', '.join(parts)}]"
    if not isinstance(value, Real | np.ndarray) or isinstance(value, bool):
        return str(value)
    digits = re.search(r"\d+(?:\.(\d+))?(e[-+]\d+)?", like)
    if digits is None:
        return f"{float(value):g}"
    text = f"{float(value):.{len(digits[1] or '')}{'e' if digits[2] else 'f'}}"
    return text if float(text) else text.removeprefix("-")


def check(claim: Claim, column: str) -> Result:
    """Check a claim in a column.

    Args:
        claim: one of `claims()`.
        column: a name from COLUMNS.
    """
    return _check(claim, column, None if missing(column) else _Runner(column))


def check_all(
    names: Sequence[str] = COLUMNS,
    *,
    only: Sequence[Claim] | None = None,
    device: str = "cpu",
    seen: Callable[[Result], object] | None = None,
) -> list[Result]:
    """Check every claim in some columns; the results of a claim follow one another.

    Args:
        names: of the columns.
        only: the claims to be checked; by default all of them.
        device: where the columns compute; NumPy's on the CPU.
        seen: called with each result as it comes, for a progress bar.

    Raises:
        UnknownNameError: there is no such column.
    """
    for name in names:
        if name not in COLUMNS:
            raise UnknownNameError("column", name, COLUMNS)
    runners = {name: None if missing(name) else _Runner(name, device) for name in names}
    results = []
    for claim in claims() if only is None else only:
        for name in names:
            results.append(_check(claim, name, runners[name]))
            if seen is not None:
                seen(results[-1])
    return results


def _check(claim: Claim, column: str, runner: _Runner | None) -> Result:
    if runner is None:
        return Result(claim, column, "", "", MISSING, missing(column))
    truth = claim.printed if claim.true is None else claim.true
    expected = claim.own.get(column, truth)
    if claim.without_gpu is not None and "cuda" not in runner.column.devices():
        expected = claim.without_gpu
    value = runner.value(claim)
    text = written(value, expected)
    message = str(value).strip().partition("\n")[0] if isinstance(value, Exception) else ""
    if not claim.judged:
        verdict = SHOWN if text == claim.own.get(column, text) else WRONG
        return Result(claim, column, text, expected, verdict, message)
    as_printed = claim.printed in (text, written(value, claim.printed))
    if text != expected or as_printed != (expected == claim.printed):
        verdict = WRONG
    elif claim.erratum and text != ABSENT:
        verdict = WRONG if as_printed else ERRATUM
    else:
        verdict = HOLDS if as_printed else DIFFERS
    return Result(claim, column, text, expected, verdict, message)


_IN_SHORT = {
    "printed": "printed there",
    "stated": "said there in words",
    "derived": "derived by us",
}


def summary(results: Sequence[Result]) -> str:
    """The results in one line: how many claims, how many hold, how many are errata, what failed."""
    rows = [row for row in by_claim(results).values() if overall(row) != MISSING]
    verdicts = Counter(overall(row) for row in rows)
    origins = Counter(row[0].claim.origin for row in rows)
    absent = dict.fromkeys(DISPLAY_NAMES[r.column] for r in results if r.verdict == MISSING)
    names = dict.fromkeys(DISPLAY_NAMES[r.column] for r in results if r.verdict != MISSING)
    wrong = [f"{r.claim.id} in {DISPLAY_NAMES[r.column]}" for r in results if r.verdict == WRONG]
    parts = [
        f"{len(rows)} claims in {', '.join(names) or 'no column'}: "
        f"{verdicts[HOLDS]} hold, {verdicts[DIFFERS]} have another answer in some column, "
        f"{verdicts[ERRATUM]} are mistakes of the documents",
        ", ".join(f"{origins[key]} {words}" for key, words in _IN_SHORT.items()),
        *([f"not installed: {', '.join(absent)}"] if absent else []),
        f"{verdicts[WRONG]} WRONG: {', '.join(wrong)}" if wrong else "no surprise",
    ]
    return "; ".join(parts)


def as_records(results: Iterable[Result]) -> list[dict[str, Any]]:
    """The results as plain values, for JSON."""
    return [
        {
            "id": r.claim.id,
            "document": r.claim.document,
            "place": r.claim.place,
            "section": r.claim.section,
            "claim": r.claim.phrase,
            "dtype": r.claim.dtype,
            "origin": r.claim.origin,
            "printed": r.claim.printed,
            "true": r.claim.true,
            "column": r.column,
            "text": r.text,
            "expected": r.expected,
            "verdict": r.verdict,
            "detail": r.detail,
        }
        for r in results
    ]


def overall(row: Sequence[Result]) -> str:
    """The one verdict on a claim in several columns."""
    found = {r.verdict for r in row}
    return next(v for v in (WRONG, ERRATUM, DIFFERS, HOLDS, MISSING) if v in found)


def by_claim(results: Iterable[Result]) -> dict[str, list[Result]]:
    """The results of each claim, in every column that was asked."""
    found: dict[str, list[Result]] = {}
    for r in results:
        found.setdefault(r.claim.id, []).append(r)
    return found
