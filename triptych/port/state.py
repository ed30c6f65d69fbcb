"""The buffers that two functions leave, paired: PyTorch's names against another's."""

import re
from typing import Any

from triptych.port.values import Leaves

SAME = {"running_mean": "mean", "running_var": "var", "num_batches_tracked": ""}
"""PyTorch's names of a normalisation's buffers, and Flax's."""


def parts(name: str) -> tuple[str, ...]:
    """The words of a name: "['batch_stats']['bn1']['mean']" and "bn1.running_mean"."""
    words = re.findall(r"[A-Za-z0-9_]+", name)
    words = [SAME.get(word, word) for word in words]
    return tuple(w for w in words if w and w not in ("batch_stats", "params", "value"))


def paired(reference: Leaves, other: Leaves) -> tuple[dict[str, Any], list[str]]:
    """The other's buffers under the reference's names, and the names that have no partner.

    By name where the words are the same; else, among those of one kind (means, variances), in
    order.
    """
    left = {name: (parts(name), value) for name, value in other.items()}
    found: dict[str, Any] = {}
    alone = []
    for name in reference:
        words = parts(name)
        exact = next((k for k, (w, _) in left.items() if w == words), None)
        if exact is not None:
            found[name] = left.pop(exact)[1]
        elif words and not name.endswith("num_batches_tracked"):
            alone.append(name)
    missing = []
    for name in alone:
        kind = parts(name)[-1]
        partner = next((k for k, (w, _) in left.items() if w and w[-1] == kind), None)
        if partner is None:
            missing.append(name)
        else:
            found[name] = left.pop(partner)[1]
    return found, missing
