"""Optimisers: stochastic gradient descent and Adam, and where each framework keeps their state.

JAX: a pair of pure functions, one that makes the state and one that takes it and returns the next,
as in Optax; `jax.tree.map` applies a formula to every array of a container.

params are any named arrays, grads the gradient of each under the same name. The state of Adam is
"step", a whole number, and "m" and "v" with the names and shapes of the parameters. Adam is from
Kingma and Ba, "Adam: a method for stochastic optimization", 2015.
"""

from typing import Annotated, Any

import jax
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

    Source: document A, section 7.6; documents C and D.
    """
    return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)


@checked
def adam_start(params: Params) -> State:
    """Adam's state before the first step: step 0, m = v = 0.

    Source: Kingma and Ba, 2015, algorithm 1.
    """
    m = jax.tree.map(jnp.zeros_like, params)
    v = jax.tree.map(jnp.zeros_like, params)
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
    """p <- p - rate m' / (sqrt(v') + eps), with m' and v' the bias-corrected means of g and g**2.

    Args:
        learning_rate: the size of a step, roughly.
        beta1: how much of the mean of g is kept.
        beta2: how much of the mean of g**2 is kept.
        eps: keeps the quotient finite; outside the root.

    Source: Kingma and Ba, 2015, algorithm 1.
    """
    step = state["step"] + 1
    m = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, state["m"], grads)
    v = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g**2, state["v"], grads)
    # the means start at 0: divide by the weight of what they have seen
    seen1, seen2 = _seen(beta1, step), _seen(beta2, step)
    # update
    params = jax.tree.map(
        lambda p, m, v: p - learning_rate * (m / seen1) / (jnp.sqrt(v / seen2) + eps), params, m, v
    )
    return params, {"step": step, "m": m, "v": v}


def _seen(beta: float, step: Array) -> Array:
    """1 - beta**step, by -expm1(step log(beta)): near 1 a float32 power would lose the digits.

    The step is traced under `jit`, so the power cannot be Python's; log1p(beta - 1) is log(beta).
    """
    return -jnp.expm1(step * jnp.log1p(beta - 1))


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
