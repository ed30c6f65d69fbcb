"""Intermediate values of two models, compared layer by layer: where a difference begins.

All of it is compared in float64, where the layers of a right port are the same but for 1e-12 or so:
a layer's partner is found by its values, if no name tells, and what parts is a mistake.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from triptych.port.intermediates import Source, Spot
from triptych.port.sides import Cotangents, words
from triptych.port.verdict import Rule, excess

FAULTS = 8
"""Layers at fault by themselves that are looked for."""
NEAR = 0.3
"""Relative: a value further off is no partner that could be recognised."""


class Tap(NamedTuple):
    """One layer of the original, and its partner in the port."""

    name: str
    partner: str
    """The name of the port's, or the operation and its source line; "" if none was found."""
    how: str
    """How it was found: "given", "value", "name", "nearest", ""."""
    forward: float
    """max|A - B| / max|B| of the values, in float64; NaN without a partner."""
    backward: float
    """The same of the cotangents; NaN where there is none."""
    parts: bool
    """Whether the values part, beyond rounding."""
    parts_back: bool
    """Whether the cotangents do."""
    alone: bool | None
    """Whether it parts where the layers before it give the original's values; None: unknown."""
    first: bool = False
    """Whether this is where it begins."""

    def __str__(self) -> str:
        if not self.how:
            return f"{self.name}: no partner found"
        said = f"{self.name} = {self.partner}: forward {self.forward:.2g}"
        if self.backward == self.backward:
            said += f", backward {self.backward:.2g}"
        if self.parts and self.alone is not None:
            said += "; parts by itself" if self.alone else "; inherits"
        if self.first:
            said += "  <-- here it begins"
        return said


def compare_taps(
    reference: Source,
    port: Source,
    chosen: Mapping[str, str] | Sequence[str] | bool,
    cotangents: Cotangents | None,
    rule: Rule,
    *,
    agrees: bool,
) -> list[Tap]:
    """Every layer of the original beside its partner.

    Args:
        reference: the original.
        port: the function that is held against it.
        chosen: the original's names, with the port's where they are known; True for all.
        cotangents: of the outputs, in float64; None if there are no gradients.
        rule: as for outputs.
        agrees: whether outputs and gradients agree: then nothing begins anywhere.

    Raises:
        ValueError: a name that does not exist.
    """
    mapping = dict(chosen) if isinstance(chosen, Mapping) else {}
    backward = cotangents if port.derives and reference.derives else None
    narrow = {s.names[0]: s.value for s in reference.spots(rule_low(rule), None, set()) if s.names}
    wide = [s for s in reference.spots("wide", backward, set()) if s.names]
    if not isinstance(chosen, bool):
        known = {s.names[0]: s for s in wide}
        for name in chosen:
            if name not in known:
                raise ValueError(
                    f"assert_agree: taps must name layers of the original, {_some(known)}, "
                    f"got {name!r}"
                )
        wide = [s for s in wide if s.names[0] in chosen]
    sizes = {s.value.size for s in wide}
    free = port.spots("wide", None, sizes)
    pairs = _pairs(wide, narrow, free, mapping, rule)
    alone: set[Any] = set()
    forced: dict[Any, np.ndarray] = {}
    for _ in range(FAULTS if port.derives and not agrees else 0):
        at = _fault(pairs, alone)
        if at is None:
            break
        pair = pairs[at]
        assert pair.spot is not None
        alone.add(pair.original.key)
        # as a debugger steps: everything after this layer is given the original's value
        forced[pair.spot.key] = pair.as_port()
        again = port.spots("wide", None, sizes, forced)
        pairs = [*pairs[: at + 1], *_pairs(wide[at + 1 :], narrow, again, mapping, rule)]
    unknown = _fault(pairs, alone) is not None or not port.derives
    cotangent = _backward(reference, port, pairs, backward)
    return _marked(
        pairs, {s.key: s.value for s in free}, alone, unknown, cotangent, narrow, rule, agrees
    )


def _fault(pairs: list["Pair"], known: set[Any]) -> int | None:
    """The first layer that parts and can be replaced."""
    for i, pair in enumerate(pairs):
        if pair.ratio > 1 and pair.original.key not in known and pair.spot is not None:
            sure = pair.how in ("given", "name") or pair.distance < NEAR
            later = any(p.ratio <= 1 for p in pairs[i + 1 :])
            if sure and not (pair.how == "nearest" and later):
                return i
    return None


def rule_low(rule: Rule) -> str:
    """The precision whose rounding is known: float32 where the user's own is float64."""
    return "narrow" if rule.low == 2.0**-23 else "own"


class Pair(NamedTuple):
    """A layer of the original and what was found for it in the port."""

    original: Spot
    spot: Spot | None
    laid: np.ndarray | None
    """The port's value, laid out as the original's."""
    how: str
    ratio: float
    """|A - B| over the limit."""

    @property
    def distance(self) -> float:
        """Relative."""
        return np.nan if self.laid is None else _relative(self.original.value, self.laid)

    def as_port(self) -> np.ndarray:
        """The original's value, laid out as the port's."""
        assert self.spot is not None
        assert self.laid is not None
        return _as_port(self.original.value, self.spot.value, self.laid)


def _pairs(
    wide: list[Spot],
    narrow: dict[str, np.ndarray],
    spots: list[Spot],
    mapping: Mapping[str, str],
    rule: Rule,
) -> list[Pair]:
    pairs: list[Pair] = []
    used: set[Any] = set()
    for s in wide:
        fitting = [
            (spot, laid)
            for spot in spots
            for laid in itertools.islice(_layouts(spot.value, s.value.shape), 6)
        ]
        how, found = "", None
        if s.names[0] in mapping:
            wanted = mapping[s.names[0]]
            found = _named(s, [p for p in fitting if _is_called(p[0], wanted)])
            how = "given"
            if found is None:
                every = [n for spot in spots for n in spot.names]
                raise ValueError(
                    f"assert_agree: taps: {wanted!r} must name a value of the port of shape "
                    f"{s.value.shape}, one of {_some(dict.fromkeys(every))}"
                )
        else:
            same = [p for p in fitting if _same(s.value, p[1], _error(narrow, s), rule)]
            fresh = [p for p in same if p[0].key not in used]
            if same:
                how, found = "value", (fresh or same)[0]
            else:
                named = [p for p in fitting if _is_called(p[0], s.names[0])]
                how, found = "name", _named(s, named)
                if found is None:
                    fresh = [p for p in fitting if p[0].key not in used]
                    how, found = "nearest", _nearest(s, fresh)
        if found is None:
            pairs.append(Pair(s, None, None, "", 0.0))
        else:
            used.add(found[0].key)
            ratio = excess(s.value, found[1], _error(narrow, s), rule)
            pairs.append(Pair(s, found[0], found[1], how, ratio))
    return pairs


def _is_called(spot: Spot, name: str) -> bool:
    asked = words(name)
    return any(w[-len(asked) :] == asked for w in map(words, spot.names)) if asked else False


def _layouts(value: np.ndarray, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The ways in which an array has that shape: as it is, with its axes in another order, flat."""
    if value.size != np.prod(shape, dtype=int):
        return
    if value.ndim != len(shape):
        yield value.reshape(shape)
        return
    if value.shape == shape:
        yield value
    for axes in itertools.permutations(range(value.ndim)) if value.ndim < 5 else ():
        if axes != (*range(value.ndim),) and tuple(value.shape[a] for a in axes) == shape:
            yield value.transpose(axes)


def _as_port(original: np.ndarray, ported: np.ndarray, laid: np.ndarray) -> np.ndarray:
    """The original's value in the port's layout."""
    numbers = np.arange(ported.size).reshape(ported.shape)
    for laid_numbers, layout in zip(
        _layouts(numbers, original.shape), _layouts(ported, original.shape), strict=True
    ):
        if layout.strides == laid.strides:
            flat = np.empty(ported.size, original.dtype)
            flat[laid_numbers.ravel()] = original.ravel()
            return flat.reshape(ported.shape)
    return original.reshape(ported.shape)


def _same(a: np.ndarray, b: np.ndarray, error: float, rule: Rule) -> bool:
    sizes = np.sum(np.abs(a)), np.sum(np.abs(b))  # the same in every layout: most are out at once
    if not np.isclose(*sizes, rtol=1e-6, equal_nan=True):
        return False
    return excess(a, b, error, rule) <= 1


def _named(s: Spot, fitting: list[Any]) -> Any:
    """Of several of that name the one that is near, else the last: a layer ends with it."""
    near = _nearest(s, fitting)
    return near if near is None or _relative(s.value, near[1]) < NEAR else fitting[-1]


def _nearest(s: Spot, fitting: list[Any]) -> Any:
    return min(fitting, key=lambda p: _relative(s.value, p[1]), default=None)


def _relative(a: np.ndarray, b: np.ndarray) -> float:
    """max|a - b| / max|a|, over what is finite in both."""
    with np.errstate(all="ignore"):
        apart = np.abs(a - b)
    apart = apart[np.isfinite(apart)]
    size = np.max(np.abs(a), where=np.isfinite(a), initial=0)
    furthest = float(np.max(apart, initial=0))
    return furthest / float(size) if size else furthest


def _error(narrow: dict[str, np.ndarray], s: Spot) -> float:
    """Of the original's own value, which float64 tells."""
    own = narrow.get(s.names[0])
    if own is None or own.shape != s.value.shape:
        return 0.0
    return _furthest(own, s.value)


def _furthest(a: np.ndarray, b: np.ndarray) -> float:
    with np.errstate(all="ignore"):
        apart = np.abs(a.astype(b.dtype) - b)
    return float(np.max(apart, where=np.isfinite(apart), initial=0))


def _backward(
    reference: Source, port: Source, pairs: list[Pair], cotangents: Cotangents | None
) -> dict[Any, tuple[np.ndarray, np.ndarray]]:
    """Both cotangents of each layer."""
    if not cotangents:
        return {}
    first: dict[Any, Spot] = {}
    for pair in pairs:
        if pair.spot is not None:
            first.setdefault(pair.spot.key, pair.original)
    theirs = port.back(list(first), cotangents)
    ours = {pair.original.key: pair.original.cotangent for pair in pairs}
    if all(c is None for c in ours.values()):
        ours.update(reference.back(list(ours), cotangents))
    found = {}
    for pair in pairs:
        s, spot, laid = pair.original, pair.spot, pair.laid
        mine = ours.get(s.key)
        if spot is None or laid is None or mine is None or first[spot.key] is not s:
            continue
        if spot.key in theirs:
            found[s.key] = _as_port(mine, spot.value, laid), theirs[spot.key]
    return found


def _marked(
    pairs: list[Pair],
    free: dict[Any, np.ndarray],
    alone: set[Any],
    unknown: bool,
    cotangents: dict[Any, tuple[np.ndarray, np.ndarray]],
    narrow: dict[str, np.ndarray],
    rule: Rule,
    agrees: bool,
) -> list[Tap]:
    taps = []
    for i, pair in enumerate(pairs):
        s, spot = pair.original, pair.spot
        name = s.names[0]
        # the port has no such layer: none of its values is near, or what follows agrees
        missing = pair.how == "nearest" and pair.ratio > 1 and s.key not in alone
        missing = missing and (
            agrees or pair.distance >= NEAR or any(p.ratio <= 1 for p in pairs[i + 1 :])
        )
        if spot is None or missing:
            taps.append(Tap(name, "", "", np.nan, np.nan, False, False, None))
            continue
        mine = pair.as_port()
        made = free[spot.key]  # computed from the port's own values
        parts = excess(mine, made, _error(narrow, s), rule) > 1
        own = None if unknown and s.key not in alone else s.key in alone
        back, parts_back = np.nan, False
        if s.key in cotangents:
            ours, theirs = cotangents[s.key]
            back = _relative(ours, theirs)
            scale = float(np.max(np.abs(ours), initial=0))
            parts_back = excess(ours, theirs, rule.low * scale, rule) > 1
        partner = next(iter(spot.names), "")
        if spot.where not in spot.names:
            partner = f"{partner} ({spot.where})" if partner else spot.where
        taps.append(
            Tap(
                name,
                partner,
                pair.how,
                _relative(mine, made),
                back,
                parts,
                parts_back,
                own if parts else None,
            )
        )
    if not agrees:
        begins = next((i for i, t in enumerate(taps) if t.parts), None)
        if begins is None:
            begins = next((i for i in reversed(range(len(taps))) if taps[i].parts_back), None)
        if begins is not None:
            taps[begins] = taps[begins]._replace(first=True)
    return taps


def _some(names: Any) -> str:
    found = [str(n) for n in names]
    return ", ".join(found[:12]) + (" ..." if len(found) > 12 else "")
