"""What a comparison found: an object to read, to print, to keep."""

import dataclasses
import json
from typing import Any

from triptych.agreement.measures import DisagreementError
from triptych.port.verdict import VERDICTS, Entry, Verdict, worst

EPS = "eps: the distance from 1 to the next number, times the largest entry"


@dataclasses.dataclass(frozen=True)
class Report:
    """What `triptych.compare` found."""

    entries: tuple[Entry, ...]
    """Outputs, then gradients, then state."""
    notes: tuple[str, ...] = ()
    """What a reader has to know: what was not compared, and why."""
    hints: tuple[Any, ...] = ()
    """Causes that were recognised."""
    taps: tuple[Any, ...] = ()
    """Layer by layer."""
    weights: tuple[Any, ...] = ()
    """Names and shapes of two sets of weights."""

    @property
    def verdict(self) -> Verdict:
        """The worst of all entries."""
        return max((e.verdict for e in self.entries), key=VERDICTS.index, default="equal bits")

    @property
    def agrees(self) -> bool:
        """Whether nothing but rounding parts the functions."""
        return self.verdict in ("equal bits", "rounding")

    @property
    def distances(self) -> dict[str, float]:
        """How far apart, in eps, by what was compared."""
        return {entry.name: entry.distance for entry in self.entries}

    def first(self) -> Entry | None:
        """The first entry that disagrees."""
        return next((e for e in self.entries if e.verdict in ("mistake", "cannot tell")), None)

    def worst(self) -> Entry | None:
        """The entry that is furthest off."""
        return worst(self.entries) if self.entries else None

    def raise_if_apart(self) -> None:
        """Raise what disagrees.

        Raises:
            DisagreementError: with this report as its `report`.
        """
        first = self.first()
        if first is None:
            return
        others = [e.name for e in self.entries if e.verdict == first.verdict and e is not first]
        lines = [f"{first.verdict}: {first}" if first.verdict == "cannot tell" else str(first)]
        if others:
            lines.append(f"also {', '.join(others[:6])}{' ...' if len(others) > 6 else ''}")
        lines += [*map(str, (tap for tap in self.taps if tap.first)), *map(str, self.hints)]
        lines += self.notes
        error = DisagreementError("\n".join(lines))
        error.report = self
        raise error

    def to_dict(self) -> dict[str, Any]:
        """Everything, in dicts, lists, numbers and strings."""
        return {
            "verdict": self.verdict,
            "entries": [entry._asdict() for entry in self.entries],
            "weights": [row._asdict() for row in self.weights],
            "taps": [tap._asdict() for tap in self.taps],
            "hints": [hint._asdict() for hint in self.hints],
            "notes": list(self.notes),
        }

    def to_json(self) -> str:
        """`to_dict` as JSON; an infinite distance is the string "inf"."""
        return json.dumps(_finite(self.to_dict()), indent=2)

    @property
    def summary(self) -> str:
        """The verdict in a line: how much was compared, and what disagrees."""
        count, first = len(self.entries), self.first()
        if first is None:
            equal = sum(e.verdict == "equal bits" for e in self.entries)
            others = "" if equal == count else ", the others apart by rounding"
            return f"agrees: {count} compared, {equal} equal in every bit{others}"
        apart = sum(e.verdict not in ("equal bits", "rounding") for e in self.entries)
        return f"{self.verdict}: {apart} of {count} compared, the first is {first.name}"

    def __str__(self) -> str:
        width = max((len(entry.name) for entry in self.entries), default=0)
        lines = [self.summary, *([EPS] if any(" eps" in e.words for e in self.entries) else []), ""]
        lines += [f"{e.verdict:11}  {e.name:{width}}  {e.words}" for e in self.entries]
        for title, rows in (("weights", self.weights), ("taps", self.taps)):
            lines += ["", f"{title}:", *map(str, rows)] if rows else []
        lines += ["", *map(str, self.hints)] if self.hints else []
        return "\n".join([*lines, *(["", *self.notes] if self.notes else [])])


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    if isinstance(value, float) and value - value != 0:
        return str(value)
    return value
