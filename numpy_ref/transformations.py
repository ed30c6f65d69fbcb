"""Derivatives beyond the gradient: for each example, of vectors, second ones, one's own, checks.

NumPy: a transformation is a loop, or a line of algebra. What reverse mode pulls back and forward
mode pushes forward is written out; a batch is one more axis.

The model is linear: logits z = x W^T + b, probabilities P = softmax(z), the loss the mean
cross-entropy. params holds weight W and bias b, x one row for each sample, t the class of each row.
"""

from collections.abc import Callable
from typing import Annotated

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray as Array

from numpy_ref import Below, Like, Positive, checked

Params = Annotated[dict[str, Array], {"weight": "classes features", "bias": "classes"}]


@checked
def loss(
    params: Params, x: Float[Array, "n features"], t: Below[Int[Array, " n"], " classes"]
) -> Float[Array, ""]:
    """Cross-entropy: the mean over the rows of -log P_t = log(sum_j exp(z_j)) - z_t.

    Made of functions that are analytic, so complex parameters go through it too.
    """
    z = x @ params["weight"].T + params["bias"]
    value, _ = _forward(z, t)
    return value


@checked
def probabilities(params: Params, x: Float[Array, " features"]) -> Float[Array, " classes"]:
    """P_i = exp(z_i) / sum_j exp(z_j) of one sample, without the axis of rows."""
    return _softmax(params["weight"] @ x + params["bias"])


@checked
def per_example_grads(
    params: Params, x: Float[Array, "n features"], t: Below[Int[Array, " n"], " classes"]
) -> dict[str, Array]:
    """The gradient of each row's own loss: dW_n = (P_n - onehot_n) x_n^T, db_n = P_n - onehot_n.

    By hand they are there already, as an outer product for each row; the mean sums them away.

    Returns:
        The gradients under the names of the parameters, with the rows as one more axis in front.
    """
    # forward
    z = x @ params["weight"].T + params["bias"]
    # backward
    d_z = _softmax(z) - _one_hot(t, z)  # (n, classes)
    return {"weight": d_z[:, :, None] * x[:, None, :], "bias": d_z}


@checked
def jacobian_by_rows(
    params: Params, x: Float[Array, " features"]
) -> Float[Array, "classes features"]:
    """J_ij = dP_i/dx_j = P_i (W_ij - sum_k P_k W_kj) of one sample, in reverse mode.

    A pull-back for each output: v^T J, with v a row of the unit matrix, is a row of J.
    """
    p = probabilities(params, x)
    rows = []
    for d_p in np.eye(len(p), dtype=p.dtype):
        d_z = p * (d_p - d_p @ p)  # (classes,)
        d_x = d_z @ params["weight"]  # (features,)
        rows.append(d_x)
    return np.stack(rows)


@checked
def jacobian_by_columns(
    params: Params, x: Float[Array, " features"]
) -> Float[Array, "classes features"]:
    """The same J_ij = dP_i/dx_j, in forward mode.

    A push-forward for each input: J v, with v a column of the unit matrix, is a column of J.
    """
    p = probabilities(params, x)
    columns = []
    for x_dot in np.eye(len(x), dtype=x.dtype):
        z_dot = params["weight"] @ x_dot  # (classes,)
        p_dot = p * (z_dot - p @ z_dot)  # (classes,)
        columns.append(p_dot)
    return np.stack(columns, axis=1)


@checked
def hessian_vector_product(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    direction: Like[Params, " params"],
) -> Params:
    """H v, the derivative of the gradient along v: forward mode over reverse; H is never built.

    Each line of the backward pass, differentiated along v. The onehot of t is constant, so the
    labels fall out: this loss curves the same whatever they are.

    Args:
        direction: v, an array for each parameter.

    Source: Pearlmutter, "Fast exact multiplication by the Hessian", 1994.
    """
    # forward
    z = x @ params["weight"].T + params["bias"]  # (n, classes)
    z_dot = x @ direction["weight"].T + direction["bias"]  # (n, classes)
    # backward, and each line along v
    p = _softmax(z)
    p_dot = p * (z_dot - np.sum(p * z_dot, axis=1, keepdims=True))  # (n, classes)
    d_z_dot = p_dot / len(t)  # (n, classes)
    return {"weight": d_z_dot.T @ x, "bias": np.sum(d_z_dot, axis=0)}


@checked
def second_derivative(x: Float[Array, ""]) -> dict[str, Array]:
    """y = x**3, dy/dx = 3 x**2 and d2y/dx2 = 6 x."""
    y = x**3
    d_x = 3 * x**2
    d_xx = 6 * x
    return {"y": y, "dy/dx": d_x, "d2y/dx2": d_xx}


@checked
def own_derivative(
    logits: Float[Array, "n classes"], t: Below[Int[Array, " n"], " classes"]
) -> tuple[Float[Array, ""], Float[Array, "n classes"]]:
    """The mean cross-entropy, and (P - onehot) / n by the logits: a backward pass of one's own.

    A pair of functions: the forward one hands what is needed to the backward one.

    Args:
        logits: one score for each class.
    """
    # forward
    value, saved = _forward(logits, t)
    # backward
    return value, _backward(saved, np.ones_like(value))


@checked
def central_differences(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    *,
    step: Positive,
) -> Params:
    """(loss(p + h) - loss(p - h)) / 2h for each entry p of the parameters, to check a gradient.

    Args:
        step: h. The formula errs by h**2 times a sixth of the third derivative, rounding by about
            eps / h: the cube root of eps is about right.
    """

    def slope(direction: Params) -> Array:
        above = loss(_moved(params, step, direction), x, t)
        below = loss(_moved(params, -step, direction), x, t)
        return (above - below) / (2 * step)

    return _for_each_entry(slope, params)


@checked
def complex_step(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    *,
    step: Positive,
) -> Params:
    """Im loss(p + ih) / h for each entry p of the parameters: nothing is subtracted.

    It needs a loss that is analytic, in floating point too: `abs` would lose the imaginary part.

    Args:
        step: h, as small as one likes, such as 1e-20.

    Source: Squire and Trapp, "Using complex variables to estimate derivatives of real functions",
    1998.
    """

    def slope(direction: Params) -> Array:
        return loss(_moved(params, 1j * step, direction), x, t).imag / step

    return _for_each_entry(slope, params)


def _forward(z: Array, t: Array) -> tuple[Array, tuple[Array, Array]]:
    # with the largest logit taken off, exp cannot overflow; of complex ones the real part counts
    largest = z.real.max(axis=1)
    log_sum = np.log(np.sum(np.exp(z - largest[:, None]), axis=1)) + largest
    return np.mean(log_sum - z[np.arange(len(t)), t]), (z, t)


def _backward(saved: tuple[Array, Array], d_value: Array) -> Array:
    z, t = saved
    return d_value * (_softmax(z) - _one_hot(t, z)) / len(t)


def _softmax(z: Array) -> Array:
    exps = np.exp(z - z.max(axis=-1, keepdims=True))
    return exps / exps.sum(axis=-1, keepdims=True)


def _one_hot(t: Array, z: Array) -> Array:
    return np.eye(z.shape[1], dtype=z.dtype)[t]


def _moved(params: Params, step: complex, direction: Params) -> Params:
    return {name: p + step * direction[name] for name, p in params.items()}


def _for_each_entry(slope: Callable[[Params], Array], params: Params) -> Params:
    """The slope along each entry of the parameters: along 1 there and 0 everywhere else."""
    zeros = {name: np.zeros_like(p) for name, p in params.items()}
    slopes = {}
    for name, p in params.items():
        units = np.eye(p.size, dtype=p.dtype).reshape(p.size, *p.shape)
        along = [slope(zeros | {name: unit}) for unit in units]
        slopes[name] = np.array(along).reshape(p.shape)
    return slopes


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
