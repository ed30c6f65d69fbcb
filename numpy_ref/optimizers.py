"""Optimisers: stochastic gradient descent and Adam, and where each framework keeps their state.

NumPy: plain functions, the formulas as the paper gives them, on new arrays. The caller keeps the
state.

params are any named arrays, grads the gradient of each under the same name. The state of Adam is
"step", a whole number, and "m" and "v" with the names and shapes of the parameters. Adam is from
Kingma and Ba, "Adam: a method for stochastic optimization", 2015.
"""

from typing import Annotated, Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray as Array

from numpy_ref import Fraction, Like, Positive, checked

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
    return {name: p - learning_rate * grads[name] for name, p in params.items()}


@checked
def adam_start(params: Params) -> State:
    """Adam's state before the first step: step 0, m = v = 0.

    Source: Kingma and Ba, 2015, algorithm 1.
    """
    m = {name: np.zeros_like(p) for name, p in params.items()}
    v = {name: np.zeros_like(p) for name, p in params.items()}
    return {"step": np.zeros((), dtype=np.int64), "m": m, "v": v}


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
    m = {name: beta1 * state["m"][name] + (1 - beta1) * g for name, g in grads.items()}
    v = {name: beta2 * state["v"][name] + (1 - beta2) * g**2 for name, g in grads.items()}
    # the means start at 0: divide by the weight of what they have seen. These are Python floats,
    # since NumPy's own, in float64, would promote float32 arrays
    seen1 = float(1 - beta1**step)
    seen2 = float(1 - beta2**step)
    # update
    params = {
        name: p - learning_rate * (m[name] / seen1) / (np.sqrt(v[name] / seen2) + eps)
        for name, p in params.items()
    }
    return params, {"step": step, "m": m, "v": v}


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
