"""Optimisers: stochastic gradient descent and Adam, as pure functions of their state.

JAX: the state is a value that goes in and comes out. Inside `jit` the step number is traced, and
a float32 power of it would be too coarse: 1 - beta**step is computed as -expm1(step log(beta)).
"""

from typing import Annotated, Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Shaped

from jax_impl import Fraction, Like, Positive, checked

Params = dict[str, Array]
State = Annotated[
    dict[str, Any],
    {"step": Shaped[Array, ""], "m": Like[Params, " params"], "v": Like[Params, " params"]},
]


@checked
def sgd_step(params: Params, grads: Like[Params, " params"], *, learning_rate: Positive) -> Params:
    """Gradient descent: p <- p - rate g.

    Args:
        params: any named arrays.
        grads: the gradient of each, under the same names.
        learning_rate: the step along the negative gradient.

    Returns:
        The new parameters.

    Source: A 7.6, C, D.
    """
    return {name: p - learning_rate * grads[name] for name, p in params.items()}


@checked
def adam_start(params: Params) -> State:
    """Adam's state before the first step: step 0, m = v = 0.

    Args:
        params: any named arrays.

    Returns:
        "step", a whole number, and "m" and "v" with the names and shapes of the parameters.

    Source: Kingma and Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1.
    """
    m = {name: jnp.zeros_like(p) for name, p in params.items()}
    v = {name: jnp.zeros_like(p) for name, p in params.items()}
    return {"step": jnp.zeros((), dtype=int), "m": m, "v": v}


@checked
def adam_step(
    params: Params,
    grads: Like[Params, " params"],
    state: State,
    *,
    learning_rate: Positive,
    beta1: Fraction = 0.9,
    beta2: Fraction = 0.999,
    eps: Positive = 1e-8,
) -> tuple[Params, State]:
    """p <- p - rate m' / (sqrt(v') + eps), with m' and v' running means of g and g**2, unbiased.

    Args:
        params: any named arrays.
        grads: the gradient of each, under the same names.
        state: from `adam_start` or the step before.
        learning_rate: the size of a step, roughly.
        beta1: how much of the mean of g is kept.
        beta2: how much of the mean of g**2 is kept.
        eps: keeps the quotient finite; outside the root.

    Returns:
        The new parameters and the new state.

    Source: Kingma and Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1.
    """
    step = state["step"] + 1
    m = {name: beta1 * state["m"][name] + (1 - beta1) * g for name, g in grads.items()}
    v = {name: beta2 * state["v"][name] + (1 - beta2) * g**2 for name, g in grads.items()}
    # the running means start at 0: divide by the weight that they have seen, 1 - beta**step, whose
    # digits float32 would lose near 1; log1p(beta - 1) is log(beta)
    seen1 = -jnp.expm1(step * jnp.log1p(beta1 - 1))
    seen2 = -jnp.expm1(step * jnp.log1p(beta2 - 1))
    # update
    params = {
        name: p - learning_rate * (m[name] / seen1) / (jnp.sqrt(v[name] / seen2) + eps)
        for name, p in params.items()
    }
    return params, {"step": step, "m": m, "v": v}


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
