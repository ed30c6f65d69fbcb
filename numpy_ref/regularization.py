"""Regularisation: a penalty on the parameters, dropout while training, stopping in time.

NumPy: a penalty adds one term to each gradient, dropout one line forward and one backward. What
was best so far may be kept by its name, since updates make new arrays.

params are the classifier's, x (n, features) its rows, t (n,) their classes, batches (steps, batch)
the row numbers of each step. optimizer is "sgd" or "adam", learning_rate the size of its steps.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray as Array

from numpy_ref import Below, Count, Fraction, NonNegative, Positive, UpTo, checked
from numpy_ref.classifier import Params, dropout, loss, loss_and_grads
from numpy_ref.optimizers import State, adam_start, adam_step, sgd_step


@checked
def penalised_loss_and_grads(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    *,
    penalty: NonNegative,
) -> tuple[Float[Array, ""], Params]:
    """L + penalty / 2 sum p**2 over every parameter, and its gradients: dL/dp + penalty p.

    The biases are penalised too, as by PyTorch's `weight_decay` of all parameters.

    Source: document C, where it is left out; Krogh and Hertz, "A simple weight decay can improve
    generalization", 1991.
    """
    # forward, backward
    value, grads = loss_and_grads(params, x, t)
    for p in params.values():
        value = value + penalty / 2 * np.sum(p**2)
    return value, {name: g + penalty * params[name] for name, g in grads.items()}


@checked
def fit(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    penalty: NonNegative,
    within: Literal["loss", "update"],
    optimizer: Literal["sgd", "adam"],
    learning_rate: Positive,
) -> tuple[Params, Float[Array, " steps"]]:
    """Training with a penalty in the loss, or with weight decay: p <- p - rate penalty p besides.

    For SGD the two are one, since p - rate (g + penalty p) is both. Adam divides what is in the
    gradient by the root of its mean square, the penalty too; what is in the update it leaves alone.

    Args:
        penalty: the weight of the squares, or of the decay.
        within: "loss", or "update" for weight decay (with Adam, AdamW).

    Returns:
        The parameters after the last update, and before each one the loss, without the penalty.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.
    """
    state, losses = _start(params, optimizer), []
    for rows in batches:
        # forward, backward
        value, grads = loss_and_grads(params, x[rows], t[rows])
        losses.append(value)
        if within == "loss":
            grads = {name: g + penalty * params[name] for name, g in grads.items()}
        # update
        decay = learning_rate * penalty if within == "update" else 0.0
        moved, state = _moved(params, grads, state, optimizer, learning_rate)
        params = {name: p - decay * params[name] for name, p in moved.items()}
    return params, np.array(losses)


@checked
def dropout_loss_and_grads(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    mask: Bool[Array, "n hidden1"],
    *,
    rate: Fraction,
) -> tuple[Float[Array, ""], Params]:
    """The loss with dropout behind the first layer, and its gradients: a dropped unit has none.

    Args:
        mask: True where a unit is kept; drawn beforehand, so that all columns drop the same.
        rate: the share that is dropped.

    Source: Srivastava et al., "Dropout", 2014.
    """
    w1, w2, w3 = params["fc1.weight"], params["fc2.weight"], params["output.weight"]
    rows = np.arange(len(x))
    # forward
    z1 = x @ w1.T + params["fc1.bias"]
    h1 = np.maximum(z1, 0)
    k1 = dropout(h1, mask, rate=rate, training=True)
    z2 = k1 @ w2.T + params["fc2.bias"]
    h2 = np.maximum(z2, 0)
    z3 = h2 @ w3.T + params["output.bias"]
    shifted = z3 - z3.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    value = -np.mean(log_p[rows, t])
    # backward
    # softmax and cross-entropy together: (P - onehot) / n
    d_z3 = np.exp(log_p)  # (n, classes)
    d_z3[rows, t] -= 1
    d_z3 /= len(x)
    d_w3 = d_z3.T @ h2  # (classes, hidden2)
    d_h2 = d_z3 @ w3  # (n, hidden2)
    d_z2 = d_h2 * (z2 > 0)  # (n, hidden2)
    d_w2 = d_z2.T @ k1  # (hidden2, hidden1)
    d_k1 = d_z2 @ w2  # (n, hidden1)
    # linear in h1, so the cotangent goes the same way
    d_h1 = dropout(d_k1, mask, rate=rate, training=True)  # (n, hidden1)
    d_z1 = d_h1 * (z1 > 0)  # (n, hidden1)
    d_w1 = d_z1.T @ x  # (hidden1, features)
    weights = {"fc1.weight": d_w1, "fc2.weight": d_w2, "output.weight": d_w3}
    biases = {"fc1.bias": d_z1, "fc2.bias": d_z2, "output.bias": d_z3}
    return value, weights | {name: d_z.sum(axis=0) for name, d_z in biases.items()}


@checked
def fit_with_dropout(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    masks: Bool[Array, "steps batch hidden1"],
    *,
    rate: Fraction,
    optimizer: Literal["sgd", "adam"],
    learning_rate: Positive,
) -> tuple[Params, Float[Array, " steps"]]:
    """Training with another mask for each step; `classifier.predict` afterwards drops nothing.

    Args:
        masks: for each step, True where a unit is kept.
        rate: the share that is dropped.

    Returns:
        The parameters after the last update, and before each one the loss with dropout.

    Source: Srivastava et al., "Dropout", 2014.
    """
    state, losses = _start(params, optimizer), []
    for rows, mask in zip(batches, masks, strict=True):
        # forward, backward
        value, grads = dropout_loss_and_grads(params, x[rows], t[rows], mask, rate=rate)
        losses.append(value)
        # update
        params, state = _moved(params, grads, state, optimizer, learning_rate)
    return params, np.array(losses)


@checked
def fit_with_early_stopping(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    x_held: Float[Array, "held features"],
    t_held: Below[Int[Array, " held"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    every: UpTo[Count, " steps"],
    patience: Count,
    optimizer: Literal["sgd", "adam"],
    learning_rate: Positive,
) -> tuple[Params, Float[Array, " looks"]]:
    """Training that stops when the loss of held-out rows falls no more, and keeps the best it had.

    Args:
        x_held: rows that are not trained on.
        t_held: their classes.
        every: steps from one look at them to the next; the first look is at the start.
        patience: how many looks in a row may be no better than the best.

    Returns:
        The parameters of the best look, and the loss at each.

    Source: Prechelt, "Early stopping - but when?", 1998.
    """
    state, looks = _start(params, optimizer), [loss(params, x_held, t_held)]
    best, since = params, 0
    for start in range(0, len(batches), every):
        for rows in batches[start : start + every]:
            # forward, backward
            _, grads = loss_and_grads(params, x[rows], t[rows])
            # update
            params, state = _moved(params, grads, state, optimizer, learning_rate)
        since += 1
        value = loss(params, x_held, t_held)
        if value < min(looks):
            best, since = params, 0
        looks.append(value)
        if since == patience:
            break
    return best, np.array(looks)


def _start(params: Params, optimizer: str) -> State:
    return adam_start(params) if optimizer == "adam" else {}


def _moved(
    params: Params, grads: Params, state: State, optimizer: str, learning_rate: float
) -> tuple[Params, State]:
    if optimizer == "sgd":
        return sgd_step(params, grads, learning_rate=learning_rate), state
    return adam_step(params, grads, state, learning_rate=learning_rate)


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
