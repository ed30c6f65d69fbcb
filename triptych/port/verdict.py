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
from collections.abc import Sequence
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


def judge(name: str, reference: Given, given: Given, rule: Rule) -> Entry:
    """Compare what two functions made.

    Args:
        name: what it is.
        reference: the original's.
        given: the port's.
        rule: how.
    """

    def entry(verdict: Verdict, words: str, distance: float = math.inf, **more: Any) -> Entry:
        pair = (given.label, reference.label)
        return Entry(name, verdict, pair, distance, more.get("growth"), more.get("ratio"), words)

    a, b, A, B = _alike(given.own, reference.own, given.wide, reference.wide)  # noqa: N806
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

    a, b = a.astype(WIDE[a.dtype.name]), b.astype(WIDE[b.dtype.name])
    own = eps(given.own.dtype) if hasattr(given.own, "dtype") else rule.low
    nan = np.isnan(a) != np.isnan(b)
    if nan.any():
        where = _index(nan)
        return entry("mistake", f"NaN at {where}: {_at(a, b, where, own)}")
    infinite = (np.isinf(a) | np.isinf(b)) & ~_equal(a, b)
    if infinite.any():
        where = _index(infinite)
        return entry("mistake", f"infinite at {where}: {_at(a, b, where, own)}")
    with np.errstate(all="ignore"):
        apart = np.where(_equal(a, b), 0.0, np.abs(a - b))
    where = _index(apart)
    furthest = float(apart[where])
    if furthest == 0:
        return entry("equal bits", "equal bits", 0.0)
    scale = _largest(b)
    distance = furthest / (scale * own) if scale > 0 else math.inf
    far = f"{distance:.3g} eps apart"
    said = f"at {where}: {_at(a, b, where, own)}"
    close = apart <= rule.absolute
    if rule.absolute and close.all():
        return entry("rounding", f"{far}, within absolute={rule.absolute:g}", distance)
    low = max(rule.low, eps(getattr(given.low, "dtype", "float64")))
    judged = A is not None and B is not None and given.low is not None
    if rule.bound is not None or not judged or rule.reached / low > GAIN:
        bound = BOUND if rule.bound is None else rule.bound
        outside = float(np.max(np.where(close & (rule.absolute > 0), 0.0, apart)))
        if outside <= bound * own * scale:
            note = f"; float64 could not judge: {rule.why}" if rule.bound is None else ""
            return entry("rounding", f"{far}, allowed {bound:.3g}{note}", distance)
        if rule.bound is not None:
            return entry("mistake", f"{far}, allowed {bound:.3g}; {said}", distance)
        words = f"{far}, and float64 cannot judge: {rule.why}; {said}"
        return entry("cannot tell", words, distance)
    del apart, close, nan, infinite  # of a large array there is no room for many copies
    lows = [
        x if other.low is other.own else other.low.astype(WIDE[other.low.dtype.name])
        for x, other in ((a, given), (b, reference))
    ]
    values = [*lows, *(x.astype(WIDE[x.dtype.name], copy=False) for x in map(np.asarray, (A, B)))]
    return _by_float64(entry, (a, b), values, rule._replace(low=low), distance)


def _by_float64(
    entry: Any,
    shown: tuple[np.ndarray, np.ndarray],
    values: list[np.ndarray],
    rule: Rule,
    distance: float,
) -> Entry:
    a, b, A, B = values  # noqa: N806
    odd = (np.isnan(A) != np.isnan(B)) | ((np.isinf(A) | np.isinf(B)) & ~_equal(A, B))
    if odd.any():
        where = _index(odd)
        return entry("mistake", f"in float64 at {where}: {_at(A, B, where, 0)}", distance)
    with np.errstate(all="ignore"):
        errors = [_largest(a - A), _largest(b - B)]
        error = max(*errors, _largest(a - b))
    zero = not b.any() and not a.any()  # in both, as a gradient that cancels
    ratios = _ratios(A, B, error, rule if zero else rule._replace(scale=0.0))
    where = _index(ratios)
    ratio = float(ratios[where])
    size = _largest(B)
    growth = tuple(e / (rule.low * size) if size > 0 else math.inf for e in errors)
    more = {"growth": growth, "ratio": ratio}
    if ratio <= 1:
        words = f"{distance:.3g} eps apart, rounding (error {growth[0]:.3g} and {growth[1]:.3g} eps"
        words += ")" if size > 0 else "; zero but for rounding)"
        return entry("rounding", words, distance, **more)
    wide = float(abs(A[where] - B[where]))
    stays = f"{wide / size:.2g} of the largest entry" if size > 0 else f"{wide:.2g}"
    return entry(
        "mistake",
        f"{distance:.3g} eps apart, and in float64 still {stays}, {ratio:.2g} times what rounding "
        f"explains; at {where}: {_at(*shown, where, 0)}",
        distance,
        **more,
    )


def _ratios(A: np.ndarray, B: np.ndarray, error: float, rule: Rule) -> np.ndarray:  # noqa: N803
    """|A - B| over the limit, entry by entry."""
    with np.errstate(all="ignore"):
        apart = np.where(_equal(A, B), 0.0, np.abs(A - B))
        limit = np.maximum(np.maximum(np.abs(A), np.abs(B)), rule.scale)
        limit = np.maximum(FLOOR * rule.reached * limit, math.sqrt(rule.reached / rule.low) * error)
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
    where = _index(apart)
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


def _equal(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a == b) | (np.isnan(a) & np.isnan(b))


def _largest(x: np.ndarray) -> float:
    """max|x| over what is finite."""
    with np.errstate(all="ignore"):
        size = np.abs(x)
    return float(np.max(size, where=np.isfinite(size), initial=0.0))


def _index(x: np.ndarray) -> tuple[int, ...]:
    return tuple(map(int, np.unravel_index(np.argmax(x), x.shape)))


def _at(a: np.ndarray, b: np.ndarray, where: tuple[int, ...], own: float) -> str:
    digits = 9 if own > 2.0**-30 else 12
    return f"{a[where]:.{digits}g} against {b[where]:.{digits}g}"


def _short(x: Any) -> str:
    return f"an array of shape {x.shape}" if isinstance(x, np.ndarray) else repr(x)


def worst(entries: Sequence[Entry]) -> Entry:
    """Of several pairs the one with the worst verdict, then the largest distance."""
    return max(entries, key=lambda e: (VERDICTS.index(e.verdict), e.distance))
