"""Two sets of weights, key by key: what is equal, transposed, missing, extra, tied."""

import itertools
import re
from typing import Any, NamedTuple

import numpy as np

from triptych.port.sides import words
from triptych.port.values import Leaves, is_array, to_numpy, walk

SAME = {"kernel": "weight", "scale": "weight", "embedding": "weight", "gamma": "weight"}
SAME |= {"beta": "bias", "running": "", "params": "", "batch": "", "stats": "", "value": ""}
"""Flax's names of what PyTorch calls otherwise."""


class Weight(NamedTuple):
    """One key of the original's weights, or one that the port has beyond them."""

    name: str
    partner: str
    """The port's key; "" if there is none."""
    words: str
    right: bool

    def __str__(self) -> str:
        sign = " " if self.right else "!"
        pair = f"{self.name} = {self.partner}" if self.name and self.partner else ""
        return f"{sign} {pair or self.name or self.partner}: {self.words}"


def leaves(tree: Any) -> Leaves:
    """The arrays of a nested value, under short names: "fc1.weight", "params.Dense_0.kernel"."""
    return {
        ".".join(re.findall(r"\w+", name)): to_numpy(leaf)
        for name, leaf in walk(tree, "")
        if is_array(leaf)
    }


def compare_weights(original: Leaves, port: Leaves) -> list[Weight]:
    """Every key of the original beside the port's, by value first, then by name.

    Args:
        original: arrays by name.
        port: the same, in another form.
    """
    free = dict(port)
    taken: dict[str, str] = {}
    found: dict[str, Weight] = {}
    pairs = sorted(
        ((_likeness(a, b), a, b) for a in original for b in port), key=lambda pair: -pair[0]
    )
    fits = {(a, b): how for _, a, b in pairs if (how := _fit(original[a], port[b]))}
    for likeness, a, b in pairs:  # by name first: one array of zeros equals every other
        how = fits.get((a, b), "")
        if how and a not in found and b in free and (likeness > 0 or _telling(original[a])):
            found[a] = Weight(a, b, how, True)
            taken[b] = a
            del free[b]
    for _, a, b in pairs:  # one array of the port under two names of the original
        if (a, b) in fits and a not in found and _telling(original[a]):
            found[a] = Weight(a, b, f"tied: as {taken.get(b, b)}, {fits[a, b]}", True)
    for likeness, a, b in pairs:
        if a not in found and b in free and likeness >= 1:
            found[a] = Weight(a, b, _difference(original[a], port[b]), False)
            del free[b]
    rows = []
    for a in original:
        if a not in found and not a.endswith("num_batches_tracked"):
            rows.append(Weight(a, "", "missing in the port", False))
        elif a in found:
            rows.append(found[a])
    for b in free:
        twin = next((t for t in taken if _telling(port[b]) and _fit(port[t], port[b])), None)
        said = f"tied: as {twin}" if twin else "extra: the original has no such weight"
        rows.append(Weight("", b, said, twin is not None))
    return rows


def _words(name: str) -> tuple[str, ...]:
    return tuple(w for w in (SAME.get(w, w) for w in words(name)) if w)


def _likeness(a: str, b: str) -> float:
    """1 if the words are the same; else the share of those that are, weight or bias above all."""
    ours, theirs = _words(a), _words(b)
    if ours == theirs:
        return 1.0
    common = len({*ours} & {*theirs})
    last = bool(ours) and bool(theirs) and ours[-1] == theirs[-1]
    return (common / max(len(ours), len(theirs), 1) + last) / 2.5


def _telling(array: np.ndarray) -> bool:
    """Whether it is more than one number repeated."""
    return array.size > 1 and bool(np.any(array != array.flat[0]))


def _fit(a: np.ndarray, b: np.ndarray) -> str:
    """How b is made from a, "" if it is not."""
    if a.size != b.size:
        return ""
    if a.shape == b.shape and np.array_equal(a, b):
        return "equal"
    if not np.isclose(np.sum(a, dtype=float), np.sum(b, dtype=float), rtol=1e-6):
        return ""
    for axes in itertools.permutations(range(a.ndim)) if a.ndim < 6 else ():
        turned = a.transpose(axes)
        if turned.shape == b.shape and np.array_equal(turned, b):
            return "equal to the transpose" if a.ndim == 2 else f"equal with the axes {axes}"
    if np.array_equal(a.ravel(), b.ravel()):
        return f"equal in the shape {b.shape}"
    return ""


def _difference(a: np.ndarray, b: np.ndarray) -> str:
    if a.shape != b.shape:
        turned = sorted(a.shape) == sorted(b.shape)
        more = "; a transpose would fit, with other values" if turned else ""
        return f"shape {b.shape} is not {a.shape}{more}"
    if a.ndim == 2 and a.shape[0] == a.shape[1] and np.array_equal(a, b.T):
        return "the transpose of the original's"
    apart = float(np.max(np.abs(a.astype(float) - b.astype(float)), initial=0))
    return f"other values, up to {apart:.3g} apart"
