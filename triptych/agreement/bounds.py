"""Bounds that need a derivation or a measurement; the others stand with their exhibits.

`descent` derives one for gradient descent on a mean squared error. `TRAINED` is for the classifier,
where no derivation helps: near its corner a ReLU turns the smallest rounding into a jump.

Notation as in N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2002: u = eps / 2 is
the unit roundoff, and k roundings in a row, or a sum of k terms in any order, with or without
fused multiply-adds, change each term by a relative gamma(k) = k u / (1 - k u) at most.
"""

from typing import NamedTuple

import numpy as np

TRAINED: dict[tuple[str, str], dict[int, float]] = {
    ("sgd", "float32"): {1: 5e-7, 10: 1e-6, 100: 2e-6},
    ("sgd", "float64"): {1: 1e-15, 10: 2e-15, 100: 1e-14, 1000: 1e-12},
    ("adam", "float32"): {1: 1e-6, 10: 3e-6, 100: 1e-4},
    ("adam", "float64"): {1: 2e-15, 10: 5e-15, 100: 2e-13, 1000: 2e-12},
}
"""How far a parameter of 4-16-8-3 may be from another column's, by steps; absolute.

For batches of 32 rows of order 1, rate 0.1 for SGD and 0.01 for Adam. Measured, not derived: up to
100 steps it is 4 to 12 times the worst of 100 seeds. For 1000 steps the bound is a thousand times
that of one step. In float32 a thousand steps have no bound: once a ReLU lets a row pass in one
column and not in the other, the two go their own ways.
"""


class Bounded(NamedTuple):
    """A quantity at each step, and how far from it rounding may take a column."""

    value: np.ndarray
    error: np.ndarray


class Descent(NamedTuple):
    """Gradient descent, step by step."""

    losses: Bounded
    """Before each update, (steps,)."""
    grads: Bounded
    """By the weights, then by the bias, (steps, features + 1)."""
    params: Bounded
    """After each update, (steps, features + 1)."""


def descent(
    start: np.ndarray, x: np.ndarray, t: np.ndarray, *, learning_rate: float, steps: int
) -> Descent:
    """A running error bound for gradient descent on mean((x w + b - t)**2).

    With A = [x, 1], p = [w, b] and r = A p - t, a step is p - rate g, where g = (2/n) A^T r. What a
    column rounds in it, n rows, k features:

    - r: k products, k sums, one difference: d_r = gamma(k + 1) |A| |p| + u |r|;
    - g: 2/n and a product with it, and a sum of n products: (2/n) |A|^T (d_r + gamma(n + 3) |r|);
    - the update: the rate, a product, a difference: d_p = rate (d_g + 2 u |g|) + u |p|;
    - the loss: a square, a sum, a division: gamma(n + 2) times itself.

    An error that is there already is multiplied by M = I - rate (2/n) A^T A, which shrinks it. So
    after s steps the parameters are off by (sum over j < s of |M^j|) d_p at most, with the largest
    d_p of all steps. The pass beside which this is computed is in float64; what is lost of second
    order is far below the 1% that is put on top.

    Args:
        start: weights, then the bias, (features + 1,); of the dtype that the bound is for.
        x: inputs (n, features).
        t: targets (n,).
        learning_rate: the step along the negative gradient.
        steps: how many updates.
    """
    u = float(np.finfo(start.dtype).eps) / 2
    n, k = x.shape
    a, t = np.hstack([x, np.ones((n, 1))]).astype(float), t.astype(float)
    matrix = np.eye(k + 1) - learning_rate * 2 / n * a.T @ a
    p, power, grown = start.astype(float), np.eye(k + 1), np.zeros((k + 1, k + 1))
    values, rounding, growth = [], [], []
    for _ in range(steps):
        r = a @ p - t
        g = 2 / n * a.T @ r
        d_r = (k + 1) * u * (abs(a) @ abs(p)) + u * abs(r)
        d_g = 2 / n * abs(a).T @ (d_r + (n + 3) * u * abs(r))
        p = p - learning_rate * g
        d_p = learning_rate * (d_g + 2 * u * abs(g)) + u * abs(p)
        values.append((r, g, p))
        rounding.append((d_r, d_g, d_p))
        growth.append(grown)
        grown, power = grown + abs(power), power @ matrix
    r, g, p = map(np.array, zip(*values, strict=True))
    d_r, d_g, d_p = map(np.array, zip(*rounding, strict=True))
    growth.append(grown)
    off = 1.01 * np.array(growth) @ d_p.max(axis=0)
    off_r = d_r + off[:-1] @ abs(a).T
    off_g = d_g + off[:-1] @ abs(2 / n * a.T @ a)
    losses = np.mean(r**2, axis=1)
    off_losses = np.mean(2 * abs(r) * off_r + off_r**2, axis=1) + (n + 2) * u * losses
    return Descent(Bounded(losses, off_losses), Bounded(g, off_g), Bounded(p, off[1:]))


def apart(error: np.ndarray, value: np.ndarray, dtype: str) -> float:
    """How far from each other two columns may be, in eps: both may be off, to either side.

    The largest relative error of any entry; the largest error over the largest entry is no more.

    Args:
        error: how far off one column may be.
        value: what it is off from, of the same shape.
        dtype: of the columns.
    """
    return float(2 * np.max(error / np.abs(value)) / np.finfo(dtype).eps)
