"""What the documents print and state, checked in every column.

`claims.toml` says what is claimed, the call that shows it and the text to be expected; this
module runs the call, writes the value with as many digits as that text has, and compares. A claim
that holds must come out as printed, an erratum must come out otherwise, and as its true text says.
A framework is imported when its column is asked for.
"""

import ast
import contextlib
import inspect
import re
import tempfile
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from triptych import columns, data
from triptych.calls import Column, missing, precision
from triptych.columns import COLUMNS, DISPLAY_NAMES, UnknownNameError
from triptych.data import DOCUMENTS

HOLDS, DIFFERS, ERRATUM, WRONG, MISSING = "holds", "differs", "erratum", "WRONG", "not installed"
"""The verdicts: as printed; otherwise, as claims.toml says of this column; otherwise, since the
document is wrong; not what claims.toml expects; the framework is not there."""

ABSENT = "none"
"""The text of a column that lacks the function or class."""


class ClaimsError(ValueError):
    """An entry of claims.toml is malformed; the message names it."""


class Claim(NamedTuple):
    """One number, shape or behaviour that a document prints or states."""

    id: str
    document: str
    """A key of DOCUMENTS."""
    place: str
    """Where in the document, "7.4"; "" where it has no sections."""
    section: str
    """What it is about: "Gradients of small graphs"."""
    about: str
    """What this claim and its neighbours are about; "" for one that stands alone."""
    what: str
    call: str
    at: str
    show: str
    dtype: str
    printed: str
    true: str | None
    """The true text of an erratum."""
    own: Mapping[str, str]
    """The text of a column that has one of its own."""
    without_gpu: str | None
    explanation: str
    names: Mapping[str, str]
    """Definitions of the names in the call, in the order in which they are needed."""

    @property
    def erratum(self) -> bool:
        """Whether the document is wrong."""
        return self.true is not None

    @property
    def source(self) -> str:
        """The document and the place in it: "A 7.4"."""
        return f"{self.document} {self.place}".rstrip()

    @property
    def phrase(self) -> str:
        """What is claimed, in full."""
        return f"{self.about}: {self.what}" if self.about else self.what


class Result(NamedTuple):
    """A claim in one column."""

    claim: Claim
    column: str
    text: str
    """The value, as it is written; for an exception the name of its class."""
    expected: str
    """What claims.toml expects of this column."""
    verdict: str
    """HOLDS, DIFFERS, ERRATUM, WRONG or MISSING."""
    detail: str
    """The message of an exception, its first line."""


# Reading claims.toml


@cache
def claims() -> tuple[Claim, ...]:
    """Every claim, in the order of claims.toml.

    Raises:
        ClaimsError: an entry is malformed.
    """
    return parse(resources.files("triptych").joinpath("claims.toml").read_text(encoding="utf-8"))


def mistakes() -> tuple[Claim, ...]:
    """The claims that are errata."""
    return tuple(claim for claim in claims() if claim.erratum)


def claim(name: str) -> Claim:
    """The claim of that name.

    Raises:
        UnknownNameError: there is none; the message names the nearest ones.
    """
    known = {claim.id: claim for claim in claims()}
    if name not in known:
        raise UnknownNameError("claim", name, tuple(known))
    return known[name]


def named(name: str) -> tuple[Claim, ...]:
    """The claim of that name; or those of a document, "B", or with that beginning, "A-line".

    Raises:
        UnknownNameError: there is none; the message names the nearest ones.
    """
    if name in {claim.id for claim in claims()}:
        return (claim(name),)
    return tuple(c for c in claims() if c.id.startswith(f"{name}-")) or (claim(name),)


def parse(text: str) -> tuple[Claim, ...]:
    """The claims in a text that is written as claims.toml is.

    Raises:
        ClaimsError: an entry is malformed; the message names it.
    """
    try:
        book = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ClaimsError(f"claims.toml is not TOML: {error}") from error
    names = book.get("names", {})
    for name, call in names.items():
        _check_call(f"names.{name}", call, names)
    found: list[Claim] = []
    for section in book.get("section", []):
        title = section.pop("title", None)
        if not isinstance(title, str):
            raise ClaimsError("claims.toml: every [[section]] needs a title")
        for key, entry in section.items():
            found += _claims(key, entry, {"section": title}, names)
    twice = [name for name, count in Counter(claim.id for claim in found).items() if count > 1]
    if twice:
        raise ClaimsError(f"claims.toml: {', '.join(twice)}: there are two of this name")
    return tuple(found)


_INHERITED = ("section", "place", "call", "at", "show", "dtype", "explanation")
_OWN = {"numpy": "numpy_ref", "torch": "torch_impl", "jax": "jax_impl"}
_KEYS = (*_INHERITED[1:], "what", "printed", "true", *_OWN, "without_gpu")


def _claims(
    name: str, entry: Any, above: Mapping[str, str], names: Mapping[str, str]
) -> Iterator[Claim]:
    """The claim of a table, if it is one, and those of the tables in it."""
    if not isinstance(entry, dict):
        raise ClaimsError(f"claims.toml: {name}: must be a table, got {entry!r}")
    inner = {key: value for key, value in entry.items() if isinstance(value, dict)}
    said = {key: value for key, value in entry.items() if key not in inner}
    for key, value in said.items():
        if key not in _KEYS:
            raise ClaimsError(f"claims.toml: {name}: no key {key!r}; there are: {', '.join(_KEYS)}")
        if not isinstance(value, str):
            raise ClaimsError(f"claims.toml: {name}: {key} must be a string, got {value!r}")
    here = {**above, **said}
    if "printed" in said:
        yield _claim(name, here, names)
    elif not inner:
        raise ClaimsError(f"claims.toml: {name}: printed is missing")
    below = {key: here[key] for key in _INHERITED if key in here}
    about = [text for text in (above.get("about"), said.get("what")) if text]
    below["about"] = "; ".join(about)
    for key, value in inner.items():
        yield from _claims(f"{name}-{key}", value, {**below, "what": key}, names)


def _claim(name: str, entry: Mapping[str, str], names: Mapping[str, str]) -> Claim:
    def wrong(problem: str) -> ClaimsError:
        return ClaimsError(f"claims.toml: {name}: {problem}")

    if name[:2] not in {f"{key}-" for key in DOCUMENTS}:
        raise wrong(f"the name must begin with a document and -, {', '.join(DOCUMENTS)}")
    for key in ("what", "call"):
        if key not in entry:
            raise wrong(f"{key} is missing")
    show, dtype = entry.get("show", ""), entry.get("dtype", "float64")
    if show and show not in REDUCERS:
        raise wrong(f"show must be one of {', '.join(REDUCERS)}, got {show!r}")
    if dtype not in ("float64", "float32"):
        raise wrong(f"dtype must be 'float64' or 'float32', got {dtype!r}")
    own = {column: entry[key] for key, column in _OWN.items() if key in entry}
    if ("true" in entry or own or "without_gpu" in entry) and "explanation" not in entry:
        raise wrong("an erratum, or a column that differs, needs an explanation")
    return Claim(
        id=name,
        document=name[0],
        place=entry.get("place", ""),
        section=entry["section"],
        about=entry.get("about", ""),
        what=entry["what"],
        call=entry["call"],
        at=entry.get("at", ""),
        show=show,
        dtype=dtype,
        printed=entry["printed"],
        true=entry.get("true"),
        own=own,
        without_gpu=entry.get("without_gpu"),
        explanation=entry.get("explanation", ""),
        names=_check_call(name, entry["call"], names),
    )


def _check_call(
    name: str, call: str, names: Mapping[str, str], within: tuple[str, ...] = ()
) -> dict[str, str]:
    """The names that a call needs, with their definitions, the first needed first."""
    try:
        tree = ast.parse(call, mode="eval")
    except SyntaxError as error:
        raise ClaimsError(f"claims.toml: {name}: call must be Python, got {call}") from error
    needed: dict[str, str] = {}
    for used in (node.id for node in ast.walk(tree) if isinstance(node, ast.Name)):
        if used in _GIVEN or used in _concepts():
            continue
        if used not in names:
            problem = UnknownNameError("name", used, (*_concepts(), *_GIVEN, *names))
            raise ClaimsError(f"claims.toml: {name}: call: {problem}")
        if used in within:
            raise ClaimsError(f"claims.toml: {name}: {used} is defined by itself")
        needed |= _check_call(name, names[used], names, (*within, used)) | {used: names[used]}
    return needed


# From the call as written to Python that a column can run

_GIVEN = ("data", "np", "path")
_PARTS = {
    **dict.fromkeys(("values", "params", "loss", "output", "operations", "left", "program"), 0),
    **dict.fromkeys(("grads", "losses", "tracked"), 1),
}


class AbsentError(Exception):
    """The column has no function or class of that name."""


class _ForColumn(ast.NodeTransformer):
    """Turns numbers, lists and data into arrays of the column where a function wants arrays."""

    def __init__(self, claim: Claim, column: str) -> None:
        self.claim = claim
        self.column = column

    def code(self, call: str) -> str:
        return ast.unparse(self.visit(ast.parse(call, mode="eval")))

    def visit_Call(self, node: ast.Call) -> ast.AST:
        path = _dotted(node.func)
        in_column = path[:1] and path[0] in _concepts()
        wanted = self.parameters(path) if in_column else None
        self.generic_visit(node)
        if path[:1] == ["data"] and self.claim.dtype == "float32":
            node.keywords.append(ast.keyword("dtype", ast.Constant("float32")))
        if wanted is None:
            return node
        names = list(wanted)
        for i, argument in enumerate(node.args):
            if isinstance(argument, ast.Starred):
                if not self.native(argument.value):
                    argument.value = _python(f"map(from_numpy, {ast.unparse(argument.value)})")
            elif i >= len(names) or wanted[names[i]]:
                node.args[i] = self.array(argument, wanted[names[i]] if i < len(names) else "Array")
        for keyword in node.keywords:
            if keyword.arg is None or wanted.get(keyword.arg):
                keyword.value = self.array(keyword.value, "Array")
        return node

    def parameters(self, path: Sequence[str]) -> dict[str, str]:
        """The parameters of a function, with what they want: "Array", "ndarray" or ""."""
        concept, name, *further = path
        definition = _definitions(self.column, concept).get(name)
        if definition is None:
            raise AbsentError(f"{self.column}.{concept} has no {name}")
        if further not in ([], ["__wrapped__"]):
            return {}
        return {p.name: _kind(p.annotation) for p in definition.parameters}

    def array(self, node: ast.expr, kind: str) -> ast.expr:
        if self.native(node):
            return node
        node = self.numpy(node)
        return node if kind == "ndarray" else _python(f"from_numpy({ast.unparse(node)})")

    def numpy(self, node: ast.expr) -> ast.expr:
        """A number or a list becomes a NumPy array, in a dict too; NumPy data stay as they are."""
        if isinstance(node, ast.Dict):
            node.values = [
                v if k is None else self.numpy(v)
                for k, v in zip(node.keys, node.values, strict=True)
            ]
            return node
        if any(isinstance(n, ast.Name) for n in ast.walk(node)):
            return node
        holds_floats = any(isinstance(getattr(n, "value", None), float) for n in ast.walk(node))
        maker = "float32" if holds_floats and self.claim.dtype == "float32" else "array"
        return _python(f"np.{maker}({ast.unparse(node)})")

    def native(self, node: ast.expr) -> bool:
        """Whether it is made by the column: then it holds the column's arrays already."""
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        if names & {*_concepts(), "from_numpy"}:
            return True
        calls = [self.claim.names[name] for name in names if name in self.claim.names]
        return any(self.native(_python(call)) for call in calls)


@cache
def _concepts() -> tuple[str, ...]:
    return columns.concepts()


@cache
def _definitions(column: str, concept: str) -> dict[str, columns.Definition]:
    return {d.name: d for d in columns.load_column(column, concept).definitions}


def _python(expression: str) -> ast.expr:
    return ast.parse(expression, mode="eval").body


def _dotted(node: ast.expr) -> list[str]:
    """["gradients", "product"] for gradients.product; [] for anything but names and dots."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (path := _dotted(node.value)):
        return [*path, node.attr]
    return []


def _kind(annotation: str) -> str:
    if annotation == "np.ndarray":
        return "ndarray"
    return "Array" if "Array" in annotation or annotation in ("Params", "State") else ""


def _steps(at: str) -> list[str | int]:
    """The path into a result, as keys and positions."""
    steps: list[str | int] = [int(word) if word.isdigit() else word for word in at.split()]
    if steps and steps[0] in _PARTS:
        steps[0] = _PARTS[str(steps[0])]
    return steps


def program(claim: Claim, column: str = "torch_impl") -> str:
    """A program that computes what the claim is about, in one column.

    For JAX, where the dtype is float64, inside of `with jax.enable_x64(True):`.
    """
    transform = _ForColumn(claim, column)
    calls = {name: transform.code(call) for name, call in claim.names.items()}
    call = transform.code(claim.call) + "".join(f"[{step!r}]" for step in _steps(claim.at))
    text = "\n".join([*(f"{name} = {code}" for name, code in calls.items()), call])
    used = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    taken = [name for name in ("from_numpy", *_concepts()) if name in used]
    lines = ["import numpy as np"] if "np" in used else []
    lines += ["from triptych import data"] if "data" in used else []
    lines += [f"from {column} import {', '.join(taken)}"] if taken else []
    lines += ['path = "parameters.safetensors"'] if "path" in used else []
    return "\n".join([*lines, *([""] if lines else []), text])


# Running it


def _only(values: Iterable[Any]) -> Any:
    """The value that they all have, or the different ones."""
    found = list(dict.fromkeys(values))
    return found[0] if len(found) == 1 else found


def _tracked(x: Any) -> Any:
    if isinstance(x, list):
        return _only(p.requires_grad for p in x)
    return getattr(x, "requires_grad", None)


REDUCERS: dict[str, Callable[[Any], Any]] = {
    "shape": lambda x: tuple(x.shape),
    "dtype": lambda x: str(x.dtype).removeprefix("torch."),
    "names": ", ".join,
    "distinct": lambda x: _only(np.asarray(x).ravel().tolist()),
    "trend": lambda x: "shrinks" if x[-1] < x[0] else "grows",
    "change": lambda x: "unchanged" if x[-1] == x[0] else "changed",
    "kinds": lambda xs: _only(type(x).__name__ for x in xs),
    "tracked": _tracked,
    "modes": lambda module: _only(m.training for m in module.modules()),
}
"""What may be shown of a value: its shape, its dtype, its keys (names), its distinct entries;
whether the last of a row is below the first (trend) or differs from it (change); the kinds of
several things; whether it is, or they are, tracked; which of a module's parts are in training."""


class _Runner:
    """Runs calls in one column, each of them once."""

    def __init__(self, column: str) -> None:
        self.column = Column(column)
        self.done: dict[tuple[str, str], Any] = {}

    def value(self, claim: Claim) -> Any:
        """What the claim is about; if that is an exception, the exception; or the text ABSENT."""
        try:
            with self.precision(claim.dtype), tempfile.TemporaryDirectory() as folder:
                value = self.call(claim, claim.call, folder)
                for step in _steps(claim.at):
                    value = value[step]
                return self.on_the_host(REDUCERS[claim.show](value) if claim.show else value)
        except AbsentError:
            return ABSENT
        except Exception as error:
            return error

    def precision(self, dtype: str) -> contextlib.AbstractContextManager[None]:
        return precision(dtype) if self.column.name == "jax_impl" else contextlib.nullcontext()

    def call(self, claim: Claim, call: str, folder: str) -> Any:
        key = (call, claim.dtype)
        if key not in self.done:
            code = _ForColumn(claim, self.column.name).code(call)
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
        super().__init__(np=np, data=data, path=path, from_numpy=runner.column.from_numpy)
        self.runner = runner
        self.claim = claim
        self.folder = folder

    def __missing__(self, name: str) -> Any:
        if name in self.claim.names:
            return self.runner.call(self.claim, self.claim.names[name], self.folder)
        if name in _concepts():
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
    seen: Callable[[Result], object] | None = None,
) -> list[Result]:
    """Check every claim in some columns; the results of a claim follow one another.

    Args:
        names: of the columns.
        only: the claims to be checked; by default all of them.
        seen: called with each result as it comes, for a progress bar.

    Raises:
        UnknownNameError: there is no such column.
    """
    for name in names:
        if name not in COLUMNS:
            raise UnknownNameError("column", name, COLUMNS)
    runners = {name: None if missing(name) else _Runner(name) for name in names}
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
    as_printed = claim.printed in (text, written(value, claim.printed))
    if text != expected or as_printed != (expected == claim.printed):
        verdict = WRONG
    elif claim.erratum:
        verdict = WRONG if as_printed else ERRATUM
    else:
        verdict = HOLDS if as_printed else DIFFERS
    message = str(value).strip().partition("\n")[0] if isinstance(value, Exception) else ""
    return Result(claim, column, text, expected, verdict, message)


def summary(results: Sequence[Result]) -> str:
    """The results in one line: how many claims, how many hold, how many are errata, what failed."""
    rows = [row for row in by_claim(results).values() if overall(row) != MISSING]
    verdicts = Counter(overall(row) for row in rows)
    absent = dict.fromkeys(DISPLAY_NAMES[r.column] for r in results if r.verdict == MISSING)
    names = dict.fromkeys(DISPLAY_NAMES[r.column] for r in results if r.verdict != MISSING)
    wrong = [f"{r.claim.id} in {DISPLAY_NAMES[r.column]}" for r in results if r.verdict == WRONG]
    parts = [
        f"{len(rows)} claims in {', '.join(names) or 'no column'}: "
        f"{verdicts[HOLDS]} hold, {verdicts[DIFFERS]} have another answer in some column, "
        f"{verdicts[ERRATUM]} are mistakes of the documents",
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
