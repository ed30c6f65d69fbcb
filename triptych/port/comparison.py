"""One comparison: every function is run in two precisions, and what they made is judged."""

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from triptych.port.arguments import ignored_names
from triptych.port.hints import DETACHED, FLOAT32, Hint, recognise
from triptych.port.intermediates import source
from triptych.port.layers import Tap, compare_taps
from triptych.port.report import Report
from triptych.port.run import blaming, run
from triptych.port.sides import Call, Ran, Side, takes_params
from triptych.port.state import paired
from triptych.port.values import Leaves, eps, is_float
from triptych.port.verdict import Apart, Entry, Given, Rule, judge, measure, spread, worst

SEED = (116, 114, 105, 112)
"""Of the cotangents: nobody draws an argument with it."""

Found = tuple[Ran, Leaves]
"""What one function made, and its gradients."""


class _Measured(NamedTuple):
    """What the verdict needs of an original's gradients, which are dropped to save memory."""

    apart: dict[str, Apart]
    errors: dict[str, float]
    scale: float


NOTHING = _Measured({}, {}, 0.0)


class Comparison:
    """Functions, what they are called with, and what they made so far."""

    def __init__(
        self,
        sides: list[Side],
        call: Call,
        ignore: Sequence[str | int] | str,
        bound: float | None,
        absolute: float,
        gradients: bool,
    ) -> None:
        self.sides, self.call, self.gradients = sides, call, gradients
        self.ignored = ignored_names(ignore)
        dtypes = [a.dtype for a in call.given.values() if is_float(a)]
        low = max([eps(dtype) for dtype in dtypes], default=2.0**-23)
        self.double = low < 2.0**-30
        """Whether the user's own precision is float64: the lower one is then float32."""
        self.rule = Rule(bound, absolute, 2.0**-52, 2.0**-23 if self.double else low, "")
        self.notes: list[str] = []

    def run(self, number: int, precision: str) -> Ran:
        """One function."""
        side = self.sides[number]
        with blaming(side, next(iter(self.call.arguments), None)):
            ran = run(side, self.call, precision, self.gradients)
        return ran._replace(outputs=self._kept(ran.outputs))

    def derived(self, number: int, ran: Ran, cotangents: dict[str, np.ndarray]) -> Found:
        """With its gradients, if there are cotangents, and without what it kept for them."""
        with blaming(self.sides[number]):
            gradients = ran.pull(cotangents) if cotangents and ran.pull else {}
        return ran._replace(pull=None), self._untied(gradients)

    def finished(
        self, own: list[Found], float64: bool
    ) -> tuple[list[Found] | None, Rule, _Measured]:
        """Fill in the gradients, and run in the other precision.

        The functions run one after the other, and what is no longer needed is dropped: there is no
        room for many copies of a large model.

        Returns:
            What was found in the other precision, how to judge by it, and what is known of
            gradients that are gone.
        """
        cotangents = self._cotangents(own)
        several = sum(ran.pull is not None for ran, _ in own) > 1
        if not (self.gradients and self.call.by and several):
            cotangents = {}
        other: list[Found] = []
        again: dict[str, np.ndarray] = {}
        measured = NOTHING
        why = "" if float64 else "it was not asked"
        for number in range(len(self.sides)):
            own[number] = self.derived(number, own[number][0], cotangents)
            if number == 1 and len(self.sides) == 2 and other and not self.double:
                measured = _measured(own[0][1], own[1][1], other[0][1])
            if why:
                continue
            try:
                other += self._renamed([self.run(number, "narrow" if self.double else "wide")])
                if number == 0 and cotangents:
                    again = self._cotangents([other[0], *own[1:]])
                other[number] = self.derived(number, other[number][0], again)
            except Exception as error:
                words = f"{type(error).__name__}: {error}".partition("\n")[0]
                precision = "float32" if self.double else "float64"
                why, other = f"in {precision} it fails with {words}", []
        if why:
            return None, self.rule._replace(why=why), measured
        reached = max([self.rule.reached, *(ran.reached for ran, _ in other)])
        casts = "; ".join(filter(None, (ran.casts for ran, _ in other)))
        rule = self.rule._replace(reached=reached, why=f"code casts inside, {casts}")
        return other, rule, measured

    def _cotangents(self, found: list[Found]) -> dict[str, np.ndarray]:
        still = {name for ran, _ in found for name in ran.given_back}
        return cotangents_of(
            {name: x for name, x in found[0][0].outputs.items() if name not in still},
            self.rule.low,
        )

    def report(self, float64: bool, taps: Mapping[str, str] | Sequence[str] | bool) -> Report:
        """Run, compare, and say why."""
        own = self._renamed([self.run(number, "own") for number in range(len(self.sides))])
        structure = self._structure(own)
        if structure:
            return Report((structure,), tuple(self.notes))
        formed = not any(
            entry.verdict == "mistake" and (entry.words.startswith(("shape", "dtype")))
            for entry in self.entries(own, own, None)
        )
        other: list[Found] | None = None
        rule, measured = self.rule._replace(why="it was not asked"), NOTHING
        if formed:
            other, rule, measured = self.finished(own, float64)
        low, wide = (other, own) if self.double else (own, other)
        entries = self.entries(own, low, wide, rule, measured)
        self._note(own)
        report = Report(tuple(entries), tuple(self.notes))
        if not report.agrees and formed:
            hints = tuple(self._hints(report, own, other, rule))
            report = dataclasses.replace(report, hints=hints)
        if taps:
            found = self._taps(taps, wide, rule, report.agrees)
            report = dataclasses.replace(report, taps=tuple(found), notes=tuple(self.notes))
        return report

    def _hints(
        self,
        report: Report,
        own: list[Found],
        other: list[Found] | None,
        rule: Rule,
    ) -> Iterator[Hint]:
        """What would make a PyTorch original agree with the first port that does not."""
        first = report.first()
        labels = [side.label for side in self.sides]
        original = self.sides[0]
        if original.framework != "torch" or first is None or first.pair[1] != original.label:
            return
        number = labels.index(first.pair[0])
        if own[0][0].detached and first.name.startswith("gradient"):
            yield DETACHED
            return
        pair = copy.copy(self)
        pair.sides, pair.notes = [original, self.sides[number]], []
        if self.double and self._in_float32(own, number):
            yield FLOAT32
            return
        precisions = ("own",) if other is None else ("own", "narrow" if self.double else "wide")

        def agrees(context: Callable[[], Any], values_only: bool) -> bool:
            made = []
            for precision, found in zip(precisions, (own, other), strict=False):
                try:
                    with context() as mode:
                        ran = run(original, self.call, precision, self.gradients)
                        ran = ran._replace(outputs=self._kept(ran.outputs))
                        ((ran, _),) = self._renamed([ran])
                        derived = bool(own[0][1]) and not values_only
                        pull = ran.pull if derived else None
                        grads = self._untied(pull(self._cotangents(own))) if pull else {}
                except Exception:  # a change with which it cannot run explains nothing
                    return False
                if not mode.met or found is None:
                    return False
                made.append([(ran, grads), found[number]])
            mine, others = made[0], made[1] if len(made) > 1 else None
            low, wide = (others, mine) if self.double else (mine, others)
            entries = pair.entries(mine, low, wide, rule)
            return all(e.verdict in ("equal bits", "rounding") for e in entries)

        yield from recognise(agrees)

    def _in_float32(self, own: list[Found], number: int) -> bool:
        """Whether a port gives, in float64, what the original gives in float32."""
        try:
            short = run(self.sides[0], self.call, "narrow", False).outputs
        except Exception:
            return False
        exact, port = own[0][0].outputs, own[number][0].outputs
        floats = [name for name in port if is_float(port[name]) and name in short]
        pairs = [(exact[n], port[n], short[n]) for n in floats]
        sizes = [max(float(np.max(np.abs(a), initial=0)), 1e-300) for a, _, _ in pairs]
        off = [float(np.max(np.abs(a - b))) / s for (a, b, _), s in zip(pairs, sizes, strict=True)]
        near = [float(np.max(np.abs(b - c))) / s for (_, b, c), s in zip(pairs, sizes, strict=True)]
        return bool(off) and max(off) > 2.0**-40 and max(near) < 16 * 2.0**-23

    def _taps(
        self,
        chosen: Mapping[str, str] | Sequence[str] | bool,
        wide: list[Found] | None,
        rule: Rule,
        agrees: bool,
    ) -> list[Tap]:
        """Every layer of the original beside its partner in the first port."""
        if wide is None:
            self.notes.append(f"no taps: they need float64, {rule.why}")
            return []
        original, port = (source(side, self.call) for side in self.sides[:2])
        derived = self.gradients and bool(self.call.by)
        cotangents = self._cotangents(wide) if derived else None
        chosen = (chosen,) if isinstance(chosen, str) else chosen
        return compare_taps(original, port, chosen, cotangents, rule, agrees=agrees)

    def entries(
        self,
        own: list[Found],
        low: list[Found] | None,
        wide: list[Found] | None,
        rule: Rule | None = None,
        measured: _Measured = NOTHING,
    ) -> list[Entry]:
        """The outputs, the gradients and the state, each by its worst pair."""
        rule = rule or self.rule
        found: list[Entry] = []
        kinds: list[tuple[str, Callable[[Found], Leaves]]] = [
            ("", lambda x: x[0].outputs),
            ("gradient by ", lambda x: x[1]),
            ("state ", lambda x: x[0].state),
        ]
        for what, get in kinds:
            by_name: dict[str, list[Entry]] = {}
            scale = 0.0
            if what == "gradient by ":
                scale = max(measured.scale, *(_scale(get(x)) for x in own))
            for i, j in combinations(range(len(self.sides)), 2):
                values = [
                    [None if runs is None else get(runs[k]) for runs in (own, low, wide)]
                    for k in (i, j)
                ]
                if what == "state ":
                    values = self._states(values)
                (ref, *_), (port, *_) = values
                for name in ref or ():
                    if name not in (port or {}):
                        continue
                    original, ported = (
                        Given(
                            self.sides[k].label,
                            *(None if v is None else v.get(name) for v in side),
                        )
                        for k, side in zip((i, j), values, strict=True)
                    )
                    apart = None
                    if what == "gradient by ":
                        apart = measured.apart.get(name)
                        original = original._replace(error=measured.errors.get(name))
                    named = f"{what}{name}" if what != "state " else f"state {name!r}"
                    entry = judge(named, original, ported, rule._replace(scale=scale), apart)
                    by_name.setdefault(name, []).append(entry)
            found += [worst(entries) for entries in by_name.values()]
        return found

    def _states(self, values: list[list[Any]]) -> list[list[Any]]:
        """Both sides' state under the reference's names."""
        reference, port = values
        if not reference[0] or not port[0]:
            return [[{}, None, None], [{}, None, None]]
        _, missing = paired(reference[0], port[0])
        if missing:
            self.notes.append(f"state without a partner in the port: {', '.join(missing)}")
        matched = [
            p if r is None or p is None else paired(r, p)[0]
            for r, p in zip(reference, port, strict=True)
        ]
        return [reference, matched]

    def _kept(self, outputs: Leaves) -> Leaves:
        return {
            name: leaf
            for name, leaf in outputs.items()
            if not any(name == i or name.startswith(f"{i}[") for i in self.ignored)
        }

    def _renamed(self, found: list[Ran]) -> list[Found]:
        """Give the output that `ignore` leaves of a pair the name of a single output."""
        if self.ignored and all(len(ran.outputs) == 1 for ran in found):
            (name,) = found[0].outputs
            only = [next(iter(ran.outputs.values())) for ran in found]
            found = [r._replace(outputs={name: x}) for r, x in zip(found, only, strict=True)]
        return [(ran, {}) for ran in found]

    def _untied(self, gradients: Leaves) -> Leaves:
        """Tied weights have one gradient, the sum over their names."""
        for first, *others in tied(self.sides, self.call):
            for name in (name for name in others if name in gradients and first in gradients):
                gradients[first] = gradients[first] + gradients.pop(name)
        return gradients

    def _structure(self, found: list[Found]) -> Entry | None:
        reference = found[0][0].outputs
        for side, (ran, _) in zip(self.sides, found, strict=True):
            if ran.outputs.keys() != reference.keys():
                words = (
                    f"other structure: {side.label} {', '.join(ran.outputs)} "
                    f"against {self.sides[0].label} {', '.join(reference)}"
                )
                pair = (side.label, self.sides[0].label)
                return Entry("output", "mistake", pair, math.inf, None, None, words)
        return None

    def _note(self, own: list[Found]) -> None:
        """What was not compared."""
        states = [ran.state for ran, _ in own]
        if any(states) and not all(states):
            given = {name.partition("['")[2][:-2]: a for name, a in self.call.given.items()}
            for state in filter(None, states):
                changed = [
                    name
                    for name, array in state.items()
                    if name in given and not np.array_equal(given[name], array, equal_nan=True)
                ]
                if changed:
                    self.notes.append(
                        f"not compared: the buffers that the call changed, {', '.join(changed)}; "
                        "let the port return (output, state)"
                    )
        if self.gradients and not self.call.by and any(s.framework != "numpy" for s in self.sides):
            self.notes.append("no gradients: no argument is floating-point and not fixed")
        if any(a.dtype.kind == "c" for a in self.call.given.values()):
            self.notes.append("gradients by complex numbers are PyTorch's: JAX's conjugates")


def _measured(reference: Leaves, port: Leaves, wide: Leaves) -> _Measured:
    """Measure the original's gradients beside the port's and its own in float64, and drop them."""
    apart, errors, scale = {}, {}, _scale(reference)
    for name, b in reference.items():
        alike = [
            isinstance(x, np.ndarray) and x.shape == np.shape(b) and x.size > 0 and is_float(x)
            for x in (b, port.get(name), wide.get(name))
        ]
        if all(alike) and port[name].dtype == b.dtype:
            apart[name] = measure(port[name], b, eps(b.dtype))
            errors[name] = spread(b, wide[name])
            reference[name] = None
    return _Measured(apart, errors, scale)


def _scale(gradients: Leaves) -> float:
    """The size of the largest of them, without those that are not finite."""
    sizes = [float(np.max(np.abs(g), initial=0)) for g in gradients.values() if g is not None]
    return max([size for size in sizes if math.isfinite(size)], default=0.0)


def cotangents_of(outputs: Leaves, precision: float = 0.0) -> dict[str, np.ndarray]:
    """1 for a single number, else the same random numbers at every call, short enough for both."""
    floats = {name: x for name, x in outputs.items() if is_float(x)}
    if len(floats) == 1 and all(x.shape == () for x in floats.values()):
        return {name: np.ones_like(x) for name, x in floats.items()}
    random = np.random.default_rng(SEED)
    found = {}
    for name in sorted(floats):
        x = floats[name]
        drawn: Any = random.normal(size=x.shape)
        if x.dtype.kind == "c":
            drawn = drawn + 1j * random.normal(size=x.shape)
        drawn = np.asarray(drawn)
        step = 2.0**-7 if precision > 2.0**-10 else 2.0**-10
        found[name] = (np.round(drawn / step) * step).astype(x.dtype)
    return found


def tied(sides: list[Side], call: Call) -> list[list[str]]:
    """The arguments that are one weight under several names."""
    groups: dict[tuple[int, int], list[str]] = {}
    for n, side in enumerate(sides):
        if takes_params(side.function, call.arguments):
            for key, p in side.function.named_parameters(remove_duplicate=False):
                groups.setdefault((n, id(p)), []).append(f"{call.names[0]}[{key!r}]")
    given = call.given
    return [
        [name for name in names if name in given]
        for names in groups.values()
        if sum(name in given for name in names) > 1
        and all(np.array_equal(given[names[0]], given[n]) for n in names if n in given)
    ]
