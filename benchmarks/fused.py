"""What the machine is capable of: both training loops in numba, with no store that can be avoided.

They are not written to be read: the sizes of 4-16-8-3 are constants, and a block of rows is done at
a time, with the rows innermost, so that what lies between the input and a gradient stays in the
nearest cache. Each row of the report says how many times as long as this it takes.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np

from benchmarks.cases import Target
from benchmarks.peers import LAYERS, Arguments, Expected, Params

F, H1, H2, C = 4, 16, 8, 3
BLOCK = 128
"""Rows in a block, at most: the block's numbers fit into the nearest cache."""
FAST = {"reassoc", "contract", "nsz", "arcp"}
"""Sums in any order: without it no sum over rows is computed by vectors."""
Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(fastmath: set[str] = FAST, **options: Any) -> Callable[[Function], Function]:
    """numba's decorator, which has no annotations; what it makes is kept beside this file."""
    decorate: Callable[[Function], Function] = numba.njit(fastmath=fastmath, cache=True, **options)
    return decorate


LOG2E, LN2 = np.float32(math.log2(math.e)), np.float32(math.log(2))


@compiled({"contract"}, inline="always")
def _exp(x: Any) -> Any:
    """e^x for x <= 0 as 2^n e^r, r within half of log 2: a polynomial that vectors can compute."""
    x = max(x, np.float32(-87))
    n = math.floor(x * LOG2E + np.float32(0.5))
    r = x - np.float32(n) * LN2
    p = np.float32(1 / 720)
    for c in (1 / 120, 1 / 24, 1 / 6, 0.5, 1.0, 1.0):
        p = p * r + np.float32(c)
    return p * np.int32((np.int32(n) + 127) << 23).view(np.float32)


@compiled()
def _layer(weight: Any, bias: Any, inputs: Any, out: Any, relu: bool) -> None:
    rows = inputs.shape[1]
    for o in range(len(bias)):
        for r in range(rows):
            out[o, r] = bias[o]
        for i in range(weight.shape[1]):
            w = weight[o, i]
            for r in range(rows):
                out[o, r] += w * inputs[i, r]
        if relu:
            for r in range(rows):
                out[o, r] = max(out[o, r], np.float32(0))


@compiled()
def _backward(weight: Any, d_out: Any, hidden: Any, d_hidden: Any) -> None:
    rows = hidden.shape[1]
    for i in range(weight.shape[1]):
        for r in range(rows):
            d_hidden[i, r] = 0
        for o in range(weight.shape[0]):
            w = weight[o, i]
            for r in range(rows):
                d_hidden[i, r] += w * d_out[o, r]
        for r in range(rows):
            d_hidden[i, r] = d_hidden[i, r] if hidden[i, r] > 0 else np.float32(0)


@compiled()
def _gather(d_out: Any, inputs: Any, d_weight: Any, d_bias: Any) -> None:
    rows = inputs.shape[1]
    for o in range(len(d_bias)):
        total = np.float32(0)
        for r in range(rows):
            total += d_out[o, r]
        d_bias[o] += total
        for i in range(d_weight.shape[1]):
            total = np.float32(0)
            for r in range(rows):
                total += d_out[o, r] * inputs[i, r]
            d_weight[o, i] += total


@compiled()
def _loss(z: Any, t: Any, share: Any, d_z: Any, scratch: Any) -> Any:
    """The rows' part of the loss; d_z = (P - onehot) times the share of each row."""
    total = np.float32(0)
    rows = len(scratch)
    for r in range(rows):
        top = max(max(z[0, r], z[1, r]), z[2, r])
        scratch[r] = top
    for c in range(C):
        for r in range(rows):
            d_z[c, r] = _exp(z[c, r] - scratch[r])
    for r in range(rows):
        s = d_z[0, r] + d_z[1, r] + d_z[2, r]
        total += share[r] * (math.log(s) + scratch[r] - z[t[r], r])
        for c in range(C):
            d_z[c, r] *= share[r] / s
        d_z[t[r], r] -= share[r]
    return total


@compiled()
def _train(params: Any, x: Any, t: Any, batches: Any, rate: Any, losses: Any) -> None:
    w1, b1, w2, b2, w3, b3 = params
    d_w1, d_b1 = np.zeros_like(w1), np.zeros_like(b1)
    d_w2, d_b2 = np.zeros_like(w2), np.zeros_like(b2)
    d_w3, d_b3 = np.zeros_like(w3), np.zeros_like(b3)
    steps, n = batches.shape
    rows = min(BLOCK, (n + 15) // 16 * 16)
    inputs, z3 = np.empty((F, rows), np.float32), np.empty((C, rows), np.float32)
    h1, d_h1 = np.empty((H1, rows), np.float32), np.empty((H1, rows), np.float32)
    h2, d_h2 = np.empty((H2, rows), np.float32), np.empty((H2, rows), np.float32)
    d_z3, scratch = np.empty((C, rows), np.float32), np.empty(rows, np.float32)
    share, classes = np.empty(rows, np.float32), np.empty(rows, np.int64)
    for step in range(steps):
        value = 0.0  # float64: thousands of blocks add up
        for first in range(0, n, rows):
            for r in range(rows):
                here = first + r < n
                row = batches[step, first + r if here else first]
                share[r] = np.float32(1 / n) if here else np.float32(0)
                classes[r] = t[row]
                for i in range(F):
                    inputs[i, r] = x[row, i]
            _layer(w1, b1, inputs, h1, True)
            _layer(w2, b2, h1, h2, True)
            _layer(w3, b3, h2, z3, False)
            value += _loss(z3, classes, share, d_z3, scratch)
            _gather(d_z3, h2, d_w3, d_b3)
            _backward(w3, d_z3, h2, d_h2)
            _gather(d_h2, h1, d_w2, d_b2)
            _backward(w2, d_h2, h1, d_h1)
            _gather(d_h1, inputs, d_w1, d_b1)
        losses[step] = value
        _update(w1, d_w1, rate)
        _update(w2, d_w2, rate)
        _update(w3, d_w3, rate)
        _update(b1, d_b1, rate)
        _update(b2, d_b2, rate)
        _update(b3, d_b3, rate)


@compiled()
def _update(p: Any, d: Any, rate: Any) -> None:
    for k in range(p.size):
        p.flat[k] -= rate * d.flat[k]
        d.flat[k] = 0


def classifier(arguments: Arguments, rate: float, expected: Expected) -> Target:
    """SGD on 4-16-8-3 in float32."""
    start, x, t, batches = arguments
    names = [f"{layer}.{part}" for layer in LAYERS for part in ("weight", "bias")]

    def fresh() -> Any:
        return (tuple(start[name].copy() for name in names),)

    def run(params: Any) -> Any:
        losses = np.empty(len(batches), np.float32)
        _train(params, x, t, batches, np.float32(rate), losses)
        return params, losses

    def outputs(result: Any) -> Params:
        params, losses = result
        return dict(zip(names, params, strict=True)) | {"losses": losses[:10]}

    return Target(fresh, run, lambda result: result, outputs, lambda: expected(batches))


@compiled()
def _descend(w: Any, b: Any, x: Any, t: Any, rate: Any, losses: Any) -> Any:
    n = len(x)
    for epoch in range(len(losses)):
        value, d_w, d_b = np.float32(0), np.float32(0), np.float32(0)
        for k in range(n):
            r = w * x[k] + b - t[k]
            value += r * r
            d_w += r * x[k]
            d_b += r
        losses[epoch] = value / n
        w -= rate * 2 * d_w / n
        b -= rate * 2 * d_b / n
    return w, b


def line(arguments: Any, rate: float, epochs: int, expected: Any) -> Target:
    """Linear regression in float32: one pass over the points in an epoch."""
    start, x, t = arguments
    x, t = x.ravel(), t.ravel()

    def run(w: Any, b: Any) -> Any:
        losses = np.empty(epochs, np.float32)
        return _descend(w, b, x, t, np.float32(rate), losses), losses

    def outputs(result: Any) -> Params:
        (w, b), losses = result
        return {"w": np.asarray(w), "b": np.asarray(b), "losses": losses[:10]}

    return Target(
        lambda: (np.float32(start["w"]), np.float32(start["b"])),
        run,
        lambda r: r,
        outputs,
        expected,
    )
