"""Rounding or a mistake: two arrays, each computed in two precisions.

Let a, b be what two functions return in the precision asked for (eps), and A, B what they return
in float64 (EPS). The error of a is |a - A|, which is known. If both functions compute the same,
they differ by rounding alone, and rounding shrinks with the precision: |A - B| is about EPS/eps
times the error of a and b, which is 2^-29 times where eps is float32's. If one is mistaken,
|A - B| stays as large as the mistake.

The limit is the geometric mean of the two: |A - B| <= sqrt(EPS/eps) * error, with 2^-14.5 for
float32. Rounding is then a factor of 2^14.5 below the limit, and a mistake no larger than the
rounding of float32 a factor of 2^14.5 above it. No scale enters. So the verdict holds in a deep
network, for a gradient that is zero in exact arithmetic, and for columns of very different size.

A single number may have a small error by luck. So a difference of up to `FLOOR` float64 roundings
of the entry counts as none.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from triptych.port.values import WIDE, eps, is_float

Verdict = Literal["equal bits", "rounding", "mistake", "cannot tell"]
VERDICTS: tuple[Verdict, ...] = ("equal bits", "rounding", "cannot tell", "mistake")
"""From the best to the worst."""

BOUND = 16.0
"""In eps, normwise: what counts as rounding where float64 cannot judge."""
FLOOR = 64.0
"""In eps of float64, of the entry itself: no difference."""
GAIN = 2.0**-10
"""EPS/eps has to be at most this, or the second precision tells nothing."""
BLOCK = 2**15
"""Entries that are looked at together: what is made of them on the way stays in the cache."""


class Entry(NamedTuple):
    """One array that was compared: the pair of functions that is furthest apart in it."""

    name: str
    """ "output", "gradient by x", "state 'running_mean'"."""
    verdict: Verdict
    pair: tuple[str, str]
    """The labels of the function and of the reference."""
    distance: float
    """max|a - b| / max|b| in eps; of whole numbers max|a - b|."""
    growth: tuple[float, float] | None
    """The error of each against its own float64 result, max|a - A| / max|A| in eps."""
    ratio: float | None
    """|A - B| over the limit: rounding below 1, a mistake above."""
    words: str
    """What was found, for a reader."""

    def __str__(self) -> str:
        return f"{self.name}, {self.pair[0]} against {self.pair[1]}: {self.words}"


class Given(NamedTuple):
    """What one function made: as asked for, in the lower and in the higher precision."""

    label: str
    own: Any
    """In the precision that the user asked for, which is that of `low` or of `wide`."""
    low: Any = None
    wide: Any = None
    """None if it could not be run in float64."""
    error: float | None = None
    """max|low - wide|, where it was measured before."""


class Apart(NamedTuple):
    """How far two arrays of one precision are apart: all that the verdict needs of them."""

    odd: str
    """Where one is NaN or infinite and the other is not; "" if nowhere."""
    where: tuple[int, ...]
    furthest: float
    """max|a - b|, there."""
    finite: float
    """The same, where it is finite."""
    scale: float
    """max|b| over what is finite."""
    zero: bool
    """Whether both are zero everywhere."""
    eps: float
    said: str
    """The entries there, for a reader."""


class Rule(NamedTuple):
    """How to judge."""

    bound: float | None
    """A number in eps that decides alone; None for the verdict by float64."""
    absolute: float
    reached: float
    """The machine epsilon that the run in float64 did reach: more where code casts inside."""
    low: float
    """The machine epsilon of the less precise run."""
    why: str
    """Why float64 cannot judge; "" if it can."""
    scale: float = 0.0
    """The size of all gradients together; one that is tiny beside it counts as zero."""


def judge(
    name: str, reference: Given, given: Given, rule: Rule, apart: Apart | None = None
) -> Entry:
    """Compare what two functions made.

    Args:
        name: what it is.
        reference: the original's.
        given: the port's.
        rule: how.
        apart: what `measure` said of `own`, which need not be there then.
    """

    def entry(verdict: Verdict, words: str, distance: float = math.inf, **more: Any) -> Entry:
        pair = (given.label, reference.label)
        return Entry(name, verdict, pair, distance, more.get("growth"), more.get("ratio"), words)

    a, b, A, B = _alike(given.own, reference.own, given.wide, reference.wide)  # noqa: N806
    if apart is None:
        if not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray):
            same = a is b or (type(a) is type(b) and not isinstance(a, np.ndarray) and bool(a == b))
            return (
                entry("equal bits", "equal", 0.0)
                if same
                else entry("mistake", f"{_short(a)} against {_short(b)}")
            )
        if a.shape != b.shape:
            return entry("mistake", f"shape {a.shape} is not {b.shape}")
        whole = a.dtype.kind in "iu" and b.dtype.kind in "iu"
        if a.dtype != b.dtype and not whole:
            return entry("mistake", f"dtype {a.dtype} is not {b.dtype}")
        if a.size == 0:
            return entry("equal bits", "empty", 0.0)
        if not is_float(a):
            return _exact(entry, a, b, A, B)
        own = eps(given.own.dtype) if hasattr(given.own, "dtype") else rule.low
        apart = measure(a, b, own)
    if apart.odd:
        return entry("mistake", apart.odd)
    if apart.furthest == 0:
        return entry("equal bits", "equal bits", 0.0)
    scale = apart.scale
    distance = apart.furthest / (scale * apart.eps) if scale > 0 else math.inf
    far = f"{distance:.3g} eps apart"
    said = f"at {apart.where}: {apart.said}"
    if rule.absolute and apart.furthest <= rule.absolute:
        return entry("rounding", f"{far}, within absolute={rule.absolute:g}", distance)
    low = max(rule.low, eps(getattr(given.low, "dtype", "float64")))
    judged = A is not None and B is not None and given.low is not None
    if rule.bound is not None or not judged or rule.reached / low > GAIN:
        bound = BOUND if rule.bound is None else rule.bound
        if apart.furthest <= bound * apart.eps * scale:
            note = f"; float64 could not judge: {rule.why}" if rule.bound is None else ""
            return entry("rounding", f"{far}, allowed {bound:.3g}{note}", distance)
        if rule.bound is not None:
            return entry("mistake", f"{far}, allowed {bound:.3g}; {said}", distance)
        words = f"{far}, and float64 cannot judge: {rule.why}; {said}"
        return entry("cannot tell", words, distance)
    if given.low is not given.own:
        apart = measure(np.asarray(given.low), np.asarray(reference.low), low)
    errors = [
        spread(x.low, y) if x.error is None else x.error for x, y in ((given, A), (reference, B))
    ]
    return _by_float64(
        entry, np.asarray(A), np.asarray(B), apart, errors, rule._replace(low=low), distance
    )


def measure(a: Any, b: Any, own: float) -> Apart:
    """How far two arrays of one shape and dtype are apart, in one pass."""
    furthest, finite, scale, zero = -1.0, 0.0, 0.0, True
    start = where = 0
    odd: dict[str, int] = {}
    for x, y, room in _blocks(a, b):
        apart, top = _distance(x, y, room)
        if math.isfinite(top):
            finite = max(finite, top)
        else:
            finite = max(finite, _largest(apart))
            odd = {kind: start + i for kind, i in _unlike(x, y).items()} | odd
            apart = _without_equal(apart, x, y)
            top = float(apart.max())
        if top > furthest:
            furthest, where = top, start + int(apart.argmax())
        scale = max(scale, _largest(y, room))
        zero = zero and not x.any() and not y.any()
        start += x.size
    kind = next((kind for kind in ("NaN", "infinite") if kind in odd), "")
    at = _index(odd.get(kind, where), a.shape)
    said = _at(a, b, at, own)
    return Apart(
        f"{kind} at {at}: {said}" if kind else "", at, furthest, finite, scale, zero, own, said
    )


def spread(a: Any, b: Any) -> float:
    """max|a - b| over what is finite."""
    return max((_finite(*_distance(x, y, room)) for x, y, room in _blocks(a, b)), default=0.0)


def _by_float64(
    entry: Any,
    A: np.ndarray,  # noqa: N803
    B: np.ndarray,  # noqa: N803
    lows: Apart,
    errors: list[float],
    rule: Rule,
    distance: float,
) -> Entry:
    tops: list[float] = []
    size, start = 0.0, 0
    odd: int | None = None
    for x, y, room in _blocks(A, B):
        apart, top = _distance(x, y, room)
        if not math.isfinite(top):
            unlike = _unlike(x, y)
            if unlike and odd is None:
                odd = start + min(unlike.values())
            top = float(_without_equal(apart, x, y).max())
        tops.append(top)
        size = max(size, _largest(y, room))
        start += x.size
    if odd is not None:
        at = _index(odd, A.shape)
        return entry("mistake", f"in float64 at {at}: {_at(A, B, at, 0)}", distance)
    error = max(*errors, lows.finite)
    # a gradient that cancels is zero in both
    rule = rule if lows.zero else rule._replace(scale=0.0)
    ratio, where, start = -1.0, 0, 0
    least = _limit(np.float64(0), error, rule)
    for top, (x, y, _) in zip(tops, _blocks(A, B), strict=True):
        with np.errstate(all="ignore"):
            passed = top / least <= ratio  # no entry of this block can be beyond
        if not passed:
            ratios = _ratios(x, y, error, rule)
            if ratios.max() > ratio:
                ratio, where = float(ratios.max()), start + int(ratios.argmax())
        start += x.size
    at = _index(where, A.shape)
    growth = tuple(e / (rule.low * size) if size > 0 else math.inf for e in errors)
    more = {"growth": growth, "ratio": ratio}
    if ratio <= 1:
        words = f"{distance:.3g} eps apart, rounding (error {growth[0]:.3g} and {growth[1]:.3g} eps"
        words += ")" if size > 0 else "; zero but for rounding)"
        return entry("rounding", words, distance, **more)
    wide = float(abs(A[at] - B[at]))
    stays = f"{wide / size:.2g} of the largest entry" if size > 0 else f"{wide:.2g}"
    return entry(
        "mistake",
        f"{distance:.3g} eps apart, and in float64 still {stays}, {ratio:.2g} times what rounding "
        f"explains; at {at}: {_at(A, B, at, 0)}",
        distance,
        **more,
    )


def _limit(size: Any, error: float, rule: Rule) -> Any:
    """What rounding explains, of entries of that size."""
    by_error = math.sqrt(rule.reached / rule.low) * error
    return np.maximum(FLOOR * rule.reached * np.maximum(size, rule.scale), by_error)


def _ratios(A: np.ndarray, B: np.ndarray, error: float, rule: Rule) -> np.ndarray:  # noqa: N803
    """|A - B| over the limit, entry by entry."""
    with np.errstate(all="ignore"):
        apart = _without_equal(np.abs(A - B), A, B)
        limit = _limit(np.maximum(np.abs(A), np.abs(B)), error, rule)
        return np.where(apart == 0, 0.0, apart / limit)


def excess(A: np.ndarray, B: np.ndarray, error: float, rule: Rule) -> float:  # noqa: N803
    """max |A - B| over the limit, of results in float64: a mistake above 1; NaN counts as one."""
    ratios = _ratios(A, B, error, rule._replace(scale=0.0))
    return float(np.max(np.nan_to_num(ratios, nan=np.inf, posinf=np.inf), initial=0.0))


def _exact(entry: Any, a: np.ndarray, b: np.ndarray, A: Any, B: Any) -> Entry:  # noqa: N803
    if a.dtype.kind not in "biu":
        same = np.array_equal(a, b)
        return entry("equal bits", "equal", 0.0) if same else entry("mistake", "other values")
    apart = np.abs(a.astype(object) - b.astype(object)).astype(float)
    where = _index(int(np.argmax(apart)), apart.shape)
    if apart[where] == 0:
        return entry("equal bits", "equal", 0.0)
    count = int(np.count_nonzero(apart))
    words = f"{count} of {a.size} differ, at {where}: {a[where]!r} against {b[where]!r}"
    if A is not None and B is not None and np.array_equal(A, B):
        return entry("rounding", f"{words}; equal in float64", float(apart[where]))
    return entry("mistake", words, float(apart[where]))


def _alike(a: Any, b: Any, A: Any, B: Any) -> tuple[Any, ...]:  # noqa: N803
    """Give a Python number the dtype of the array beside it."""
    numbers = (int, float, complex)

    def shaped(x: Any, like: Any) -> Any:
        if isinstance(x, numbers):
            return np.asarray(x, like.dtype if isinstance(like, np.ndarray) else None)
        return np.asarray(x) if isinstance(x, np.generic) else x

    return shaped(a, b), shaped(b, a), shaped(A, B), shaped(B, A)


def _blocks(*arrays: Any) -> Iterator[tuple[np.ndarray, ...]]:
    """The entries of arrays of one shape in float64 or complex128, and room for a real result.

    What is yielded holds until the next.
    """
    room = np.empty(BLOCK)
    dtypes = [WIDE[x.dtype.name] for x in map(np.asarray, arrays)]
    steps = np.nditer(
        arrays,
        ["external_loop", "buffered", "zerosize_ok"],
        [["readonly"]] * len(arrays),
        dtypes,
        order="C",
        casting="unsafe",
        buffersize=BLOCK,
    )
    with np.errstate(all="ignore"):
        for entries in steps:
            yield *entries, room[: entries[0].size]


def _distance(x: np.ndarray, y: np.ndarray, room: np.ndarray) -> tuple[np.ndarray, float]:
    """|x - y|, and the largest of it."""
    apart = np.abs(
        np.subtract(x, y, out=room) if x.dtype == y.dtype == room.dtype else x - y, out=room
    )
    return apart, float(apart.max())


def _equal(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a == b) | (np.isnan(a) & np.isnan(b))


def _without_equal(apart: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How far a and b are apart, with 0 for infinities and NaN that are alike."""
    return np.where(_equal(a, b), 0.0, apart)


def _unlike(x: np.ndarray, y: np.ndarray) -> dict[str, int]:
    """Where one is NaN or infinite and the other is not: the first of each."""
    nan = np.isnan(x) != np.isnan(y)
    infinite = (np.isinf(x) | np.isinf(y)) & ~_equal(x, y)
    found = {"NaN": nan, "infinite": infinite}
    return {kind: int(where.argmax()) for kind, where in found.items() if where.any()}


def _largest(x: np.ndarray, room: np.ndarray | None = None) -> float:
    """max|x| over what is finite."""
    size = np.abs(x, out=room)
    return _finite(size, float(size.max(initial=0.0)))


def _finite(size: np.ndarray, top: float) -> float:
    """The largest that is finite: the largest of all, if that is."""
    return top if math.isfinite(top) else float(np.max(size, where=np.isfinite(size), initial=0.0))


def _index(where: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(int, np.unravel_index(where, shape)))


def _at(a: np.ndarray, b: np.ndarray, where: tuple[int, ...], own: float) -> str:
    digits = 9 if own > 2.0**-30 else 12
    x, y = (z[where].astype(WIDE[z.dtype.name]) for z in (a, b))
    return f"{x:.{digits}g} against {y:.{digits}g}"


def _short(x: Any) -> str:
    return f"an array of shape {x.shape}" if isinstance(x, np.ndarray) else repr(x)


def worst(entries: Sequence[Entry]) -> Entry:
    """Of several pairs the one with the worst verdict, then the largest distance."""
    return max(entries, key=lambda e: (VERDICTS.index(e.verdict), e.distance))
