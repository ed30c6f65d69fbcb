"""What the classifier's loss and gradients are, to 50 digits, and how far rounding may move them.

`exact` computes them with mpmath. `error_bound` bounds, for one batch, the distance of any
faithful floating-point evaluation from that: whatever order the sums are taken in, with or
without fused multiply-adds, with or without denormals.

How the bound comes about. Notation: u = eps / 2 is the unit roundoff, gamma(k) = k u / (1 - k u),
a^ is the number a column computes where a is the exact one, E(a) bounds |a^ - a|, and |a|, where
it stands for the size of a^, is taken as |a| + E(a). An operation gives
(x op y)(1 + d) + f with |d| <= u, and |f| <= tiny, the smallest normal number, where it underflows:
XLA flushes denormals to zero, those that go in as well.

Matrix product. A sum of k products reaches each term through at most k roundings (one for the
    product, k - 1 for the sum) in any order, and through fewer with fused multiply-adds. So
    |a^ b^ - a b| <= E(a) |b| + |a| E(b) + gamma(k) |a| |b|
    with matrix products on the right (N. J. Higham, Accuracy and Stability of Numerical
    Algorithms, 2002, sections 3.1 and 3.5).
Bias. One more term in that sum: gamma(k + 1) (|x| |W| + |b|) + E(b).
ReLU. |max(z^, 0) - max(z, 0)| <= |z^ - z|: it passes the error where z > 0 and leaves none where
    z < 0. If |z| may be below E(z), the mask of the backward pass may flip, and no bound holds: the
    caller is told. A z that is a sum of zeros is 0 for everybody, and no danger.
Log-softmax. It is the same for every number that is taken off all logits of a row, so the maximum
    that a column finds counts as exact. Then, with s = sum_j exp(z_j - m) >= 1 and U the stated
    relative error of exp and log,
    E(z_i - m) = E(z_i) + u |z_i - m|;
    exp turns that absolute error into a relative one, the sum weights it by P_j:
    E(log s) = log sum_j P_j exp(E(z_j - m) + U + gamma(k)) + U |log s|
    (downwards no further than upwards, because exp is convex);
    E(log P_i) = E(z_i - m) + E(log s) + u |log P_i|.
Loss. A mean over n rows, its quotient or its reciprocal included: the mean of E(log P_t), and
    gamma(n + 2) times the mean of |log P_t|.
P - onehot, over n. P is exp(log P), or exp(z - m) / s with three roundings more; relative to P its
    error is at most expm1(E(log P) + U + gamma(4)). The subtraction, 1/n and the product with it
    are three roundings: E = (E(P) + gamma(3) (P + onehot)) / n.
Backward. Products of matrices again: over the rows for a weight's gradient, over the outputs for
    an activation's; a bias's gradient is a sum over n rows. The mask multiplies by 0 or 1.

One ULP is at most eps, relative to the number: U is 4 eps.

The pass beside which all this is computed is in float64, so it is as far from the exact one as a
column may be: sizes are |value| + 2 E, and z must be 2 E away from 0. What is lost of second order,
and by rounding the bound itself, is far below the 1% that is put on top.
"""

from typing import Any, NamedTuple

import mpmath  # type: ignore[import-untyped]
import numpy as np

Params = dict[str, np.ndarray]

FUNCTION_ULPS = 4
"""What exp below 0 and log above 1 may be off, in ULP, in any of the libraries: `test_elementwise`
holds each of them to less (XLA's exp loses more just below the overflow of float32 only)."""

MP = mpmath.MPContext()
MP.dps = 50

_number = np.vectorize(MP.mpf, otypes=[object])
_exp = np.vectorize(MP.exp, otypes=[object])
_log = np.vectorize(MP.log, otypes=[object])


def exact(params: Params, x: np.ndarray, t: np.ndarray) -> tuple[Any, Params]:
    """The loss and its gradients to 50 digits, as arrays of mpmath numbers.

    Written in its own way: the derivative of each row's -log P_t by the logits, layer by layer.
    """
    w = {name: _number(value.astype(np.float64)) for name, value in params.items()}
    zero, n = MP.mpf(0), len(x)
    layers = ("fc1", "fc2", "output")
    inputs, below = [], _number(x.astype(np.float64))
    for layer in layers:
        inputs.append(below)
        above = np.dot(below, w[f"{layer}.weight"].T) + w[f"{layer}.bias"]
        below = np.where(above > 0, above, zero)
    powers = _exp(above - above.max(axis=1)[:, None])
    p = powers / powers.sum(axis=1)[:, None]
    loss = -_log(p[np.arange(n), t]).sum() / n
    onehot = np.arange(p.shape[1]) == t[:, None]
    delta = (p - _number(onehot.astype(float))) / n
    grads = {}
    for layer, inward in zip(layers[::-1], inputs[::-1], strict=True):
        grads[f"{layer}.weight"] = np.dot(delta.T, inward)
        grads[f"{layer}.bias"] = delta.sum(axis=0)
        delta = np.where(inward > 0, np.dot(delta, w[f"{layer}.weight"]), zero)
    return loss, grads


def rounded(value: Any, dtype: np.dtype) -> np.ndarray:
    """Numbers of mpmath, rounded to float64 and from there to the dtype."""
    return np.array(value, dtype=np.float64).astype(dtype)


def errors(computed: np.ndarray, value: Any) -> np.ndarray:
    """|computed - value| element by element; the difference is taken in 50 digits."""
    return np.asarray(abs(_number(computed.astype(np.float64)) - value), dtype=np.float64)


class Bound(NamedTuple):
    """How far a column may be from the exact loss and gradients."""

    loss: float
    grads: Params
    near_kink: bool
    """Whether a ReLU's argument is so close to 0 that rounding may flip its mask: no bound then."""


class _Value(NamedTuple):
    value: np.ndarray
    error: np.ndarray

    @property
    def size(self) -> np.ndarray:
        return np.abs(self.value) + 2 * self.error

    @property
    def T(self) -> "_Value":  # noqa: N802
        return _Value(self.value.T, self.error.T)


def error_bound(params: Params, x: np.ndarray, t: np.ndarray) -> Bound:
    """Running error bound of loss and gradients for the dtype of x; derived above."""
    eps, tiny = float(np.finfo(x.dtype).eps), float(np.finfo(x.dtype).tiny)
    u, functions, n = eps / 2, FUNCTION_ULPS * eps, len(x)

    def gamma(k: int) -> float:
        return k * u / (1 - k * u)

    def given(a: np.ndarray) -> _Value:
        return _Value(a.astype(np.float64), np.where(np.abs(a) < tiny, np.abs(a), 0))

    def product(a: _Value, b: _Value, bias: _Value | None = None) -> _Value:
        k = a.value.shape[1]
        value, size = a.value @ b.value, a.size @ b.size
        error = a.error @ b.size + a.size @ b.error
        if bias is not None:
            k += 1
            value, size, error = value + bias.value, size + bias.size, error + bias.error
        return _Value(value, error + gamma(k) * size + np.where(size > 0, 2 * k * tiny, 0))

    # forward
    h0 = given(x)
    w1, w2, w3 = (given(params[f"{layer}.weight"]) for layer in ("fc1", "fc2", "output"))
    b1, b2, b3 = (given(params[f"{layer}.bias"]) for layer in ("fc1", "fc2", "output"))
    z1 = product(h0, w1.T, b1)
    h1 = _Value(np.maximum(z1.value, 0), z1.error * (z1.value > 0))
    z2 = product(h1, w2.T, b2)
    h2 = _Value(np.maximum(z2.value, 0), z2.error * (z2.value > 0))
    logits = product(h2, w3.T, b3)
    # log-softmax
    shifted = logits.value - logits.value.max(axis=1)[:, None]
    log_s = np.log(np.exp(shifted).sum(axis=1))[:, None]
    log_p = shifted - log_s
    p = np.exp(log_p)
    furthest = logits.error.max(axis=1)[:, None]
    e_shifted = logits.error + u * (np.abs(shifted) + 4 * furthest)
    grown = np.minimum(e_shifted + functions + gamma(p.shape[1]), 300)
    e_log_s = np.log1p((p * np.expm1(grown)).sum(axis=1))[:, None] + 2 * p.shape[1] * tiny
    e_log_s = e_log_s + functions * (log_s + furthest + e_log_s)
    e_log_p = e_shifted + e_log_s
    e_log_p = e_log_p + u * (np.abs(log_p) + 2 * e_log_p)
    # loss
    rows = np.arange(n)
    picked = _Value(log_p[rows, t], e_log_p[rows, t])
    loss = float(np.mean(picked.error) + gamma(n + 2) * np.mean(picked.size) + n * tiny)
    # backward
    onehot = np.arange(p.shape[1]) == t[:, None]
    relative = np.minimum(e_log_p + functions + gamma(4), 300)
    e_p = p * np.exp(relative) * np.expm1(relative) + 2 * tiny
    d_logits = _Value((p - onehot) / n, (e_p + gamma(3) * (p + e_p + onehot)) / n + 2 * tiny)
    d_z2 = _masked(product(d_logits, w3), z2)
    d_z1 = _masked(product(d_z2, w2), z1)
    ones = _Value(np.ones((1, n)), np.zeros((1, n)))
    grads = {}
    for layer, delta, h in (("fc1", d_z1, h0), ("fc2", d_z2, h1), ("output", d_logits, h2)):
        grads[f"{layer}.weight"] = 1.01 * product(delta.T, h).error
        grads[f"{layer}.bias"] = 1.01 * product(ones, delta).error[0]
    near = any(((np.abs(z.value) <= 2 * z.error) & (z.error > 0)).any() for z in (z1, z2))
    return Bound(1.01 * loss, grads, near)


def _masked(d_h: _Value, z: _Value) -> _Value:
    return _Value(d_h.value * (z.value > 0), d_h.error * (z.value > 0))
