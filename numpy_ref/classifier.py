"""The three-layer classifier 4-16-8-3: forward, loss, backward, training.

NumPy: the backward pass is the chain rule on paper, one line for each forward line, in reverse.
For a softmax followed by a cross-entropy it starts from P - onehot, which never divides.

params holds weights (out, in) and biases, x one row for each sample, t the class of each row.
"""

from typing import Annotated, Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray as Array

from numpy_ref import Below, Fraction, Positive, checked
from numpy_ref.optimizers import adam_start, adam_step, sgd_step

Params = Annotated[
    dict[str, Array],
    {
        "fc1.weight": "hidden1 features",
        "fc1.bias": "hidden1",
        "fc2.weight": "hidden2 hidden1",
        "fc2.bias": "hidden2",
        "output.weight": "classes hidden2",
        "output.bias": "classes",
    },
]


@checked
def logits(params: Params, x: Float[Array, "n features"]) -> Float[Array, "n classes"]:
    """Scores: relu(relu(x W1^T + b1) W2^T + b2) W3^T + b3, with relu(z) = max(0, z).

    Source: document B.
    """
    z1 = x @ params["fc1.weight"].T + params["fc1.bias"]
    h1 = np.maximum(z1, 0)
    z2 = h1 @ params["fc2.weight"].T + params["fc2.bias"]
    h2 = np.maximum(z2, 0)
    return h2 @ params["output.weight"].T + params["output.bias"]


@checked
def probabilities(params: Params, x: Float[Array, "n features"]) -> Float[Array, "n classes"]:
    """Softmax of the logits: P_i = exp(z_i) / sum_j exp(z_j).

    Source: document B.
    """
    z = logits(params, x)
    # a shift changes no quotient, and keeps exp from overflowing
    exps = np.exp(z - z.max(axis=1, keepdims=True))
    return exps / exps.sum(axis=1, keepdims=True)


@checked
def predict(params: Params, x: Float[Array, "n features"]) -> Int[Array, " n"]:
    """The class with the largest logit; the first of them at a tie.

    Source: document B.
    """
    return np.argmax(logits(params, x), axis=1)


@checked
def loss(
    params: Params, x: Float[Array, "n features"], t: Below[Int[Array, " n"], " classes"]
) -> Float[Array, ""]:
    """Cross-entropy: the mean over the rows of -log P_t, from the logits.

    Source: document B, next steps.
    """
    log_p = _log_softmax(logits(params, x))
    return -np.mean(log_p[np.arange(len(t)), t])


@checked
def loss_and_grads(
    params: Params, x: Float[Array, "n features"], t: Below[Int[Array, " n"], " classes"]
) -> tuple[Float[Array, ""], Params]:
    """The loss, and its derivative by every parameter, under the name of the parameter.

    Source: document B, next steps.
    """
    w1, b1 = params["fc1.weight"], params["fc1.bias"]
    w2, b2 = params["fc2.weight"], params["fc2.bias"]
    w3, b3 = params["output.weight"], params["output.bias"]
    n = len(x)
    rows = np.arange(n)
    # forward
    z1 = x @ w1.T + b1
    h1 = np.maximum(z1, 0)
    z2 = h1 @ w2.T + b2
    h2 = np.maximum(z2, 0)
    z3 = h2 @ w3.T + b3
    log_p = _log_softmax(z3)
    value = -np.mean(log_p[rows, t])
    # backward
    # -log P_t = log(sum_j exp(z_j)) - z_t: its slope is P - onehot, and the mean divides by n
    d_z3 = np.exp(log_p)  # (n, classes)
    d_z3[rows, t] -= 1
    d_z3 /= n
    # the third layer, by the rules of `linear_layer`; a product with ones sums rows, and is faster
    ones = np.ones(n, x.dtype)
    d_w3 = d_z3.T @ h2  # (classes, hidden2)
    d_b3 = ones @ d_z3  # (classes,)
    d_h2 = d_z3 @ w3  # (n, hidden2)
    # ReLU: what was above 0 passes
    d_z2 = d_h2 * (z2 > 0)  # (n, hidden2)
    # the second layer
    d_w2 = d_z2.T @ h1  # (hidden2, hidden1)
    d_b2 = ones @ d_z2  # (hidden2,)
    d_h1 = d_z2 @ w2  # (n, hidden1)
    # ReLU
    d_z1 = d_h1 * (z1 > 0)  # (n, hidden1)
    # the first layer
    d_w1 = d_z1.T @ x  # (hidden1, features)
    d_b1 = ones @ d_z1  # (hidden1,)
    grads = {"fc1.weight": d_w1, "fc1.bias": d_b1, "fc2.weight": d_w2, "fc2.bias": d_b2}
    return value, grads | {"output.weight": d_w3, "output.bias": d_b3}


@checked
def accuracy(
    params: Params, x: Float[Array, "n features"], t: Below[Int[Array, " n"], " classes"]
) -> Float[Array, ""]:
    """The share of rows whose predicted class is right.

    Source: document B.
    """
    return np.mean(predict(params, x) == t, dtype=x.dtype)


@checked
def dropout(
    h: Float[Array, "n hidden"], mask: Bool[Array, "n hidden"], *, rate: Fraction, training: bool
) -> Float[Array, "n hidden"]:
    """In training h * mask / (1 - rate), in evaluation h.

    Nothing remembers a mode here: the caller says which. The usual mask is
    `rng.random(h.shape) >= rate`, from a `numpy.random.Generator`.

    It is linear in h: applied to a cotangent, with the same mask, it is its own vector-Jacobian
    product.

    Args:
        mask: True where an activation is kept; drawn beforehand, so that all columns drop the same.
        rate: the share that is dropped.

    Source: document B, modes.
    """
    return h * mask / (1 - rate) if training else h


@checked
def fit(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    optimizer: Literal["sgd", "adam"],
    learning_rate: Positive,
) -> tuple[Params, Float[Array, " steps"]]:
    """Mini-batch training: one update for each row of batches.

    Args:
        params: where to start; left as they are.
        batches: the row numbers that each step sees.
        learning_rate: the size of a step.

    Returns:
        The parameters after the last update, and the loss before each one.

    Source: document B, next steps.
    """
    state = adam_start(params) if optimizer == "adam" else {}
    losses = []
    for rows in batches:
        # forward, backward; take(rows) is x[rows], and faster
        value, grads = loss_and_grads(params, x.take(rows, axis=0), t.take(rows))
        losses.append(value)
        # update
        if optimizer == "sgd":
            params = sgd_step(params, grads, learning_rate=learning_rate)
        else:
            params, state = adam_step(params, grads, state, learning_rate=learning_rate)
    return params, np.array(losses)


def _log_softmax(logits: Array) -> Array:
    # log P_i = z_i - log(sum_j exp(z_j)); with the largest logit taken off, exp cannot overflow
    shifted = logits - _row_max(logits)
    return shifted - np.log(_row_sum(np.exp(shifted)))


# A row has one number for each class. Along such short rows NumPy's reductions are slow, so the two
# helpers go another way.


def _row_max(z: Array) -> Array:
    """max(axis=1, keepdims=True), across a transposed copy."""
    return z.T.copy().max(axis=0)[:, None]


def _row_sum(z: Array) -> Array:
    """sum(axis=1, keepdims=True), as a product with ones."""
    return (z @ np.ones(z.shape[1], z.dtype))[:, None]


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
