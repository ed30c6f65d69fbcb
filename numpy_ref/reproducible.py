"""Training with one digest: the classifier on 24-bit numbers, with sums that have no order.

NumPy: the backward pass is the chain rule by hand, each sum without an order.

params are the classifier's, x (n, features) its rows and t (n,) their classes, all of float32. The
result does not depend on the framework, the processor, the number of threads or the order of the
rows in a batch; `rounding` says why. It does depend on the seed, the batches and the rate.
"""

from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float32, Int
from numpy import ndarray as Array

from numpy_ref import Below, Positive, checked
from numpy_ref.rounding import exp, log, product, rounded, total

Params = Annotated[
    dict[str, Array],
    {
        "fc1.weight": Float32[Array, "hidden1 features"],
        "fc1.bias": Float32[Array, " hidden1"],
        "fc2.weight": Float32[Array, "hidden2 hidden1"],
        "fc2.bias": Float32[Array, " hidden2"],
        "output.weight": Float32[Array, "classes hidden2"],
        "output.bias": Float32[Array, " classes"],
    },
]


@checked
def loss_and_grads(
    params: Params,
    x: Float32[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
) -> tuple[Float32[Array, ""], Params]:
    """The classifier's cross-entropy, and its derivative by every parameter.

    Source: document B, next steps.
    """
    value, grads = _loss_and_grads(_wide(params), x.astype(np.float64), t)
    return value.astype(np.float32), _narrow(grads)


@checked
def fit(
    params: Params,
    x: Float32[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    optimizer: Literal["sgd", "adam"],
    learning_rate: Positive,
) -> tuple[Params, Float32[Array, " steps"]]:
    """Mini-batch training: one update for each row of batches.

    Args:
        batches: the row numbers that each step sees, at most 2^15.
        learning_rate: the size of a step, rounded to float32.

    Returns:
        The parameters after the last update, and the loss before each one.

    Source: document B, next steps.
    """
    params, x = _wide(params), x.astype(np.float64)
    rate = rounded(np.array(learning_rate))
    state = _adam_start(params) if optimizer == "adam" else {}
    losses = []
    for rows in batches:
        # forward, backward
        # by columns, as `rounded` lays out the rest
        value, grads = _loss_and_grads(params, np.asfortranarray(x[rows]), t[rows])
        losses.append(value)
        # update
        if optimizer == "sgd":
            params = _sgd_step(params, grads, rate)
        else:
            params, state = _adam_step(params, grads, state, rate)
    return _narrow(params), np.array(losses, np.float32)


def _wide(params: Params) -> Params:
    return {name: p.astype(np.float64) for name, p in params.items()}


def _narrow(params: Params) -> Params:
    return {name: p.astype(np.float32) for name, p in params.items()}


def _linear(x: Array, weight: Array, bias: Array) -> Array:
    return rounded(product(x, weight.T) + bias)


def _cross_entropy(logits: Array, t: Array) -> tuple[Array, Array]:
    """-log P_t of each row, and P."""
    if not np.isfinite(logits).all():
        raise ValueError("logits must be finite: training has diverged")
    shifted = rounded(logits - logits.max(axis=1, keepdims=True))
    exps = exp(shifted)
    sums = total(exps.T)[:, None]
    p = rounded(exps / sums)
    rows = np.arange(len(t))
    return rounded(log(sums) - shifted[rows, t][:, None]), p


def _by_row(params: Params, x: Array, t: Array, n: int) -> tuple[Array, dict[str, Any]]:
    """What these rows of n do by themselves: their losses, and d_y and x of each layer y(x)."""
    w1, b1 = params["fc1.weight"], params["fc1.bias"]
    w2, b2 = params["fc2.weight"], params["fc2.bias"]
    w3, b3 = params["output.weight"], params["output.bias"]
    # forward
    z1 = _linear(x, w1, b1)
    h1 = np.maximum(z1, 0)
    z2 = _linear(h1, w2, b2)
    h2 = np.maximum(z2, 0)
    logits = _linear(h2, w3, b3)
    losses, p = _cross_entropy(logits, t)
    # backward
    onehot = np.eye(p.shape[1])[t]
    d_logits = rounded(rounded(p - onehot) / n)  # (n, classes)
    d_h2 = product(d_logits, w3)  # (n, hidden2)
    d_z2 = d_h2 * (z2 > 0)  # (n, hidden2)
    d_h1 = product(d_z2, w2)  # (n, hidden1)
    d_z1 = d_h1 * (z1 > 0)  # (n, hidden1)
    return losses, {"fc1": (d_z1, x), "fc2": (d_z2, h1), "output": (d_logits, h2)}


def _loss_and_grads(params: Params, x: Array, t: Array) -> tuple[Array, Params]:
    losses, layers = _by_row(params, x, t, len(x))
    # the sums over the rows
    value = rounded(total(losses)[0] / len(x))
    grads = {}
    for name, (d_y, x) in layers.items():
        grads[f"{name}.weight"] = product(d_y.T, x)
        grads[f"{name}.bias"] = total(d_y)
    return value, grads


def _sgd_step(params: Params, grads: Params, rate: Array) -> Params:
    return {name: rounded(p - rate * grads[name]) for name, p in params.items()}


# Adam's constants are float32 numbers, and 1 minus them too.
BETA1, BETA2, EPS = np.array([0.9, 0.999, 1e-8], np.float32).tolist()
State = dict[str, Any]


def _adam_start(params: Params) -> State:
    """Both means, and beta^step, which each update multiplies by beta and rounds."""
    zeros = {name: np.zeros_like(p) for name, p in params.items()}
    return {"m": zeros, "v": zeros, "power1": np.ones(()), "power2": np.ones(())}


def _adam_step(params: Params, grads: Params, state: State, rate: Array) -> tuple[Params, State]:
    power1 = rounded(state["power1"] * BETA1)
    power2 = rounded(state["power2"] * BETA2)
    seen1, seen2 = rounded(1 - power1), rounded(1 - power2)
    new, m, v = {}, {}, {}
    for name, p in params.items():
        g = grads[name]
        m[name] = rounded(BETA1 * state["m"][name] + rounded((1 - BETA1) * g))
        v[name] = rounded(BETA2 * state["v"][name] + rounded((1 - BETA2) * rounded(g * g)))
        root = rounded(np.sqrt(rounded(v[name] / seen2)))
        ratio = rounded(rounded(m[name] / seen1) / rounded(root + EPS))
        new[name] = rounded(p - rate * ratio)
    return new, {"m": m, "v": v, "power1": power1, "power2": power2}


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
