"""The book of claims: claims.toml, read and checked."""

import ast
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import numpy as np

from triptych.data import DOCUMENTS
from triptych.names import BY_FRAMEWORK, COLUMNS, UnknownNameError
from triptych.source import parse as sources

PYTORCH = BY_FRAMEWORK["torch"]
ABSENT = "none"
"""The text of a column that lacks the function or class."""


class ClaimsError(ValueError):
    """An entry of claims.toml is malformed; the message names it."""


class Claim(NamedTuple):
    """One number, shape or behaviour that a document prints or states; or a value that is shown."""

    id: str
    document: str
    """A key of DOCUMENTS; "" for a value of no document, which is only shown."""
    place: str
    """Where in the document, "7.4"; "" where it has no sections."""
    section: str
    """What it is about: "Gradients of small graphs"."""
    concept: str
    """On whose page it stands."""
    path: tuple[str, ...]
    """What this claim and its neighbours are about, from the general; () for one that stands
    alone."""
    what: str
    origin: str
    """Where its text comes from, a key of ORIGINS; "" for a value that is only shown."""
    call: str
    code: str
    """In the place of a call: a PyTorch program as the document has it, whose output is judged."""
    at: str
    show: str
    dtype: str
    printed: str
    """The text in the document; of a value that is only shown, a text with its digits."""
    judged: bool
    """False for a value that is only shown."""
    true: str | None
    """The true text of an erratum."""
    own: Mapping[str, str]
    """The text of a column that has one of its own."""
    without_gpu: str | None
    explanation: str
    names: Mapping[str, str]
    """Definitions of the names in the call, in the order in which they are needed."""

    @property
    def program(self) -> bool:
        """Whether it is judged by what a program prints, which only PyTorch's column runs."""
        return bool(self.code)

    @property
    def erratum(self) -> bool:
        """Whether the document is wrong."""
        return self.true is not None

    @property
    def about(self) -> str:
        """What this claim and its neighbours are about; "" for one that stands alone."""
        return "; ".join(self.path)

    @property
    def source(self) -> str:
        """The document and the place in it: "A 7.4"."""
        return f"{self.document} {self.place}".rstrip()

    @property
    def functions(self) -> tuple[str, ...]:
        """The functions that its call names, or else the names in it: "classifier.loss"."""
        calls = (self.call, *reversed(list(self.names.values()))) if self.call else ()
        for call in calls:
            used = [
                f"{node.value.id}.{node.attr}"
                for node in ast.walk(ast.parse(call, mode="eval"))
                if isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in in_columns()
            ]
            if used:
                return tuple(dict.fromkeys(used))
        return ()

    @property
    def phrase(self) -> str:
        """What is claimed, in full."""
        return f"{self.about}: {self.what}" if self.about else self.what


class Mistake(NamedTuple):
    """One mistake of a document, in brief; several claims may show it."""

    claims: tuple[Claim, ...]
    says: str
    """What the document prints or says."""
    really: str
    """What is true."""
    japanese: tuple[str, str]
    """The two in Japanese, the documents' own language."""

    @property
    def source(self) -> str:
        """The document and the place in it."""
        return self.claims[0].source


ORIGINS = {
    "printed": "printed in the document",
    "stated": "said in words in the document",
    "derived": "derived by us from the document's program or data",
}
"""Where the text of a claim comes from. What a document says in words stands in claims.toml as its
outcome: "RuntimeError" for "is an error", "2" for "near 2"."""

# Reading claims.toml


@cache
def entries() -> tuple[Claim, ...]:
    """Every claim, and every value that is only shown, in the order of claims.toml.

    Raises:
        ClaimsError: an entry is malformed.
    """
    return parse(_text())


@cache
def claims() -> tuple[Claim, ...]:
    """Every claim, in the order of claims.toml.

    Raises:
        ClaimsError: an entry is malformed.
    """
    return tuple(entry for entry in entries() if entry.judged)


def errata() -> tuple[Claim, ...]:
    """The claims that are errata."""
    return tuple(claim for claim in claims() if claim.erratum)


@cache
def mistakes() -> tuple[Mistake, ...]:
    """The documents' mistakes in brief: every erratum belongs to one of them.

    Raises:
        ClaimsError: an entry is malformed, or an erratum belongs to none or to two.
    """
    return parse_mistakes(_text())


def _text() -> str:
    return resources.files("triptych.claims").joinpath("claims.toml").read_text(encoding="utf-8")


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
    book = _toml(text)
    names = book.get("names", {})
    for name, call in names.items():
        _check_call(f"names.{name}", call, names)
    found: list[Claim] = []
    for section in book.get("section", []):
        title = section.pop("title", None)
        if not isinstance(title, str):
            raise ClaimsError("claims.toml: every [[section]] needs a title")
        for key, entry in section.items():
            above = {"section": title, "path": ()}
            found += _with_concept(list(_claims(key, entry, above, names)))
    twice = [name for name, count in Counter(claim.id for claim in found).items() if count > 1]
    if twice:
        raise ClaimsError(f"claims.toml: {', '.join(twice)}: there are two of this name")
    return tuple(found)


def parse_mistakes(text: str) -> tuple[Mistake, ...]:
    """The mistakes in brief, in a text that is written as claims.toml is, document by document.

    Raises:
        ClaimsError: an entry is malformed, or an erratum belongs to none or to two.
    """
    wrong = [claim for claim in parse(text) if claim.judged and claim.erratum]
    found: list[Mistake] = []
    for entry in _toml(text).get("mistake", []):
        said = {key: entry.pop(key, None) for key in ("claims", "says", "really", "ja")}
        name = f"claims.toml: mistake {said['claims']}"
        if entry or None in said.values() or len(said["ja"]) != 2:
            raise ClaimsError(f"{name}: must have claims, says, really and ja, a pair, and no more")
        own = []
        for start in said["claims"].split():
            begun = [c for c in wrong if f"{c.id}-".startswith(f"{start}-")]
            if not begun:
                raise ClaimsError(f"{name}: no erratum begins with {start}")
            own += begun
        found.append(Mistake(tuple(own), said["says"], said["really"], tuple(said["ja"])))
    of = Counter(claim.id for mistake in found for claim in mistake.claims)
    if stray := [claim.id for claim in wrong if of[claim.id] != 1]:
        raise ClaimsError(f"claims.toml: not of one mistake: {', '.join(stray)}")
    return tuple(sorted(found, key=lambda mistake: mistake.claims[0].document))


def _toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ClaimsError(f"claims.toml is not TOML: {error}") from error


_INHERITED = (
    "section", "place", "concept", "origin", "call", "code", "at", "show", "dtype", "like",
    "explanation",
)  # fmt: skip
_KEYS = (*_INHERITED[1:], "what", "printed", "true", *BY_FRAMEWORK, "without_gpu")


def _with_concept(found: Sequence[Claim]) -> Iterator[Claim]:
    """The claims of one table; where none is said, its concept is the first that a call names."""
    called = [function for claim in found for function in claim.functions]
    first = called[0].partition(".")[0] if called else ""
    for claim in found:
        if not (claim.concept or first):
            raise ClaimsError(f"claims.toml: {claim.id}: concept is missing, and no call names one")
        yield claim._replace(concept=claim.concept or first)


def _claims(
    name: str, entry: Any, above: Mapping[str, Any], names: Mapping[str, str]
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
    other = {"call": "code", "code": "call"}
    taken_over = {k: v for k, v in above.items() if other.get(k) not in said}
    here = {**taken_over, **said}
    if "printed" in said or not inner:
        yield _claim(name, here, names)
    below = {key: here[key] for key in _INHERITED if key in here}
    below["path"] = (*above["path"], *([said["what"]] if said.get("what") else []))
    for key, value in inner.items():
        yield from _claims(f"{name}-{key}", value, {**below, "what": key}, names)


def _check_text(
    wrong: Callable[[str], ClaimsError], entry: Mapping[str, Any], judged: bool, of_document: bool
) -> None:
    """What is claimed has to be of a document, of some origin, and computed in one way."""
    if judged and not of_document:
        raise wrong(f"the name must begin with a document and -, {', '.join(DOCUMENTS)}")
    if "what" not in entry:
        raise wrong("what is missing")
    if ("call" in entry) == ("code" in entry):
        raise wrong("call and code: one of them" if "call" in entry else "call is missing")
    if judged and entry.get("origin") not in ORIGINS:
        raise wrong(f"origin must be one of {', '.join(ORIGINS)}, got {entry.get('origin', '')!r}")
    if not judged and ("like" not in entry or "true" in entry or "without_gpu" in entry):
        raise wrong("printed is missing (or like, and no true text, of what is only shown)")
    if "true" in entry and entry["origin"] == "derived":
        raise wrong("what we derived is no mistake of the document: origin or true is wrong")


def _claim(name: str, entry: Mapping[str, Any], names: Mapping[str, str]) -> Claim:
    def wrong(problem: str) -> ClaimsError:
        return ClaimsError(f"claims.toml: {name}: {problem}")

    judged = "printed" in entry
    of_document = name[:2] in {f"{key}-" for key in DOCUMENTS}
    _check_text(wrong, entry, judged, of_document)
    if entry.get("concept", in_columns()[0]) not in in_columns():
        raise wrong(str(UnknownNameError("concept", entry["concept"], in_columns())))
    show, dtype = entry.get("show", ""), entry.get("dtype", "float64")
    if show and show not in REDUCERS:
        raise wrong(f"show must be one of {', '.join(REDUCERS)}, got {show!r}")
    if dtype not in ("float64", "float32"):
        raise wrong(f"dtype must be 'float64' or 'float32', got {dtype!r}")
    own = {column: entry[key] for key, column in BY_FRAMEWORK.items() if key in entry}
    if "code" in entry:
        _check_code(wrong, entry, own)
    if ("true" in entry or own or "without_gpu" in entry) and "explanation" not in entry:
        raise wrong("an erratum, or a column that differs, needs an explanation")
    if "code" in entry:
        own |= dict.fromkeys((column for column in COLUMNS if column != PYTORCH), ABSENT)
    return Claim(
        id=name,
        document=name[0] if of_document else "",
        place=entry.get("place", ""),
        section=entry["section"],
        concept=entry.get("concept", ""),
        path=entry["path"],
        what=entry["what"],
        origin=entry["origin"] if judged else "",
        call=entry.get("call", ""),
        code=entry.get("code", "").strip(),
        at=entry.get("at", ""),
        show=show,
        dtype=dtype,
        printed=entry["printed"] if judged else entry.get("like", ""),
        judged=judged,
        true=entry.get("true"),
        own=own,
        without_gpu=entry.get("without_gpu"),
        explanation=entry.get("explanation", ""),
        names=_check_call(name, entry["call"], names) if "call" in entry else {},
    )


def _check_code(
    wrong: Callable[[str], ClaimsError], entry: Mapping[str, Any], own: Mapping[str, str]
) -> None:
    """What a program in a claim has to be."""
    try:
        ast.parse(entry["code"])
    except SyntaxError as error:
        raise wrong(f"code must be Python: {error}") from error
    if not entry.get("concept"):
        raise wrong("concept is missing, and code names none")
    if entry.get("show") or own.keys() - {PYTORCH}:
        raise wrong("code is judged by what it prints in PyTorch: no show, numpy or jax")


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
        if used in _GIVEN or used in in_columns():
            continue
        if used not in names:
            problem = UnknownNameError("name", used, (*in_columns(), *_GIVEN, *names))
            raise ClaimsError(f"claims.toml: {name}: call: {problem}")
        if used in within:
            raise ClaimsError(f"claims.toml: {name}: {used} is defined by itself")
        needed |= _check_call(name, names[used], names, (*within, used)) | {used: names[used]}
    return needed


# From the call as written to Python that a column can run

_GIVEN = ("data", "np", "path")


@cache
def in_columns() -> tuple[str, ...]:
    """The names that a call may take from a column: its concepts."""
    return sources.concepts()


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
    "mean": lambda x: x.mean(),
    "kinds": lambda xs: _only(type(x).__name__ for x in xs),
    "tracked": _tracked,
    "modes": lambda module: _only(m.training for m in module.modules()),
}
"""What may be shown of a value: its shape, its dtype, its keys (names), its distinct entries;
whether the last of a row is below the first (trend) or differs from it (change); its mean; the
kinds of several things; whether it is, or they are, tracked; which of a module's parts are in
training."""
