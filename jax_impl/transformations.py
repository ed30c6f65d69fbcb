"""Derivatives beyond the gradient: for each example, of vectors, second ones, one's own, checks.

JAX: `grad`, `vmap`, `jacrev`, `jacfwd` and `jvp` take a function and return one, so they combine in
any order, and `jit` compiles what comes of it.

The model is linear: logits z = x W^T + b, probabilities P = softmax(z), the loss the mean
cross-entropy. params holds weight W and bias b, x one row for each sample, t the class of each row.
"""

from collections.abc import Callable
from typing import Annotated

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from jax_impl import Below, Like, Positive, checked

Params = Annotated[dict[str, Array], {"weight": "classes features", "bias": "classes"}]


@checked
@jax.jit
def loss(
    params: Params, x: Float[Array, "n features"], t: Below[Int[Array, " n"], " classes"]
) -> Float[Array, ""]:
    """Cross-entropy: the mean over the rows of -log P_t = log(sum_j exp(z_j)) - z_t.

    Complex parameters go through `logsumexp` as well.
    """
    z = x @ params["weight"].T + params["bias"]
    return jnp.mean(jax.nn.logsumexp(z, axis=1) - z[jnp.arange(len(t)), t])


@checked
@jax.jit
def probabilities(params: Params, x: Float[Array, " features"]) -> Float[Array, " classes"]:
    """P_i = exp(z_i) / sum_j exp(z_j) of one sample, without the axis of rows."""
    return jax.nn.softmax(params["weight"] @ x + params["bias"])


@checked
@jax.jit
def per_example_grads(
    params: Params, x: Float[Array, "n features"], t: Below[Int[Array, " n"], " classes"]
) -> dict[str, Array]:
    """The gradient of each row's own loss: dW_n = (P_n - onehot_n) x_n^T, db_n = P_n - onehot_n.

    `grad` of the loss of one row, and `vmap` over the rows.

    Returns:
        The gradients under the names of the parameters, with the rows as one more axis in front.
    """
    # forward, backward
    return jax.vmap(jax.grad(_loss_of_one), in_axes=(None, 0, 0))(params, x, t)


@checked
@jax.jit
def jacobian_by_rows(
    params: Params, x: Float[Array, " features"]
) -> Float[Array, "classes features"]:
    """J_ij = dP_i/dx_j = P_i (W_ij - sum_k P_k W_kj) of one sample, in reverse mode.

    `jacrev`: one pull-back for each output, of a row of the unit matrix, all at once by `vmap`.
    """
    return jax.jacrev(probabilities, argnums=1)(params, x)


@checked
@jax.jit
def jacobian_by_columns(
    params: Params, x: Float[Array, " features"]
) -> Float[Array, "classes features"]:
    """The same J_ij = dP_i/dx_j, in forward mode.

    `jacfwd`: one push-forward for each input, of a column of the unit matrix, by `vmap`.
    """
    return jax.jacfwd(probabilities, argnums=1)(params, x)


@checked
@jax.jit
def hessian_vector_product(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    direction: Like[Params, " params"],
) -> Params:
    """H v, the derivative of the gradient along v: forward mode over reverse; H is never built.

    `jvp` of `grad`. The labels fall out: this loss curves the same whatever they are.

    Args:
        direction: v, an array for each parameter.

    Source: Pearlmutter, "Fast exact multiplication by the Hessian", 1994.
    """
    gradient = jax.grad(lambda params: loss(params, x, t))
    _, product = jax.jvp(gradient, (params,), (direction,))
    return product


@checked
def second_derivative(x: Float[Array, ""]) -> dict[str, Array]:
    """y = x**3, dy/dx = 3 x**2 and d2y/dx2 = 6 x.

    `grad` of `grad`: a gradient is a function like any other.
    """
    d_x = jax.grad(_cube)
    d_xx = jax.grad(d_x)
    return {"y": _cube(x), "dy/dx": d_x(x), "d2y/dx2": d_xx(x)}


@jax.custom_vjp
def _cross_entropy(logits: Array, t: Array) -> Array:
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - logits[jnp.arange(len(t)), t])


def _forward(logits: Array, t: Array) -> tuple[Array, tuple[Array, Array]]:
    return _cross_entropy(logits, t), (logits, t)


def _backward(saved: tuple[Array, Array], d_value: Array) -> tuple[Array, None]:
    logits, t = saved
    onehot = jax.nn.one_hot(t, logits.shape[1], dtype=logits.dtype)
    return d_value * (jax.nn.softmax(logits, axis=1) - onehot) / len(t), None


_cross_entropy.defvjp(_forward, _backward)


@checked
@jax.jit
def own_derivative(
    logits: Float[Array, "n classes"], t: Below[Int[Array, " n"], " classes"]
) -> tuple[Float[Array, ""], Float[Array, "n classes"]]:
    """The mean cross-entropy, and (P - onehot) / n by the logits: a backward pass of one's own.

    `jax.custom_vjp`. Reverse mode takes the pair of functions in place of the value's own
    derivative, a second time too; forward mode raises a TypeError, since there is no rule for it.

    Args:
        logits: one score for each class.
    """
    # forward, backward
    return jax.value_and_grad(_cross_entropy)(logits, t)


@checked
@jax.jit
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

    `jax.test_util.check_grads` compares with it, and raises where a derivative is wrong.
    """

    def slope(direction: Params) -> Array:
        above = loss(_moved(params, step, direction), x, t)
        below = loss(_moved(params, -step, direction), x, t)
        return (above - below) / (2 * step)

    return _for_each_entry(slope, params)


@checked
@jax.jit
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


def _loss_of_one(params: Params, x: Array, t: Array) -> Array:
    return loss(params, x[None], t[None])


def _cube(x: Array) -> Array:
    return x**3


def _moved(params: Params, step: Array | complex, direction: Params) -> Params:
    return jax.tree.map(lambda p, d: p + step * d, params, direction)


def _for_each_entry(slope: Callable[[Params], Array], params: Params) -> Params:
    """The slope along each entry of the parameters: along 1 there and 0 everywhere else."""
    zeros = jax.tree.map(jnp.zeros_like, params)
    slopes = {}
    for name, p in params.items():
        units = jnp.eye(p.size, dtype=p.dtype).reshape(-1, *p.shape)
        along = jax.vmap(lambda unit, name=name: slope(zeros | {name: unit}))(units)
        slopes[name] = along.reshape(p.shape)
    return slopes


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
