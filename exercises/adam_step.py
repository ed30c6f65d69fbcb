"""One step of Adam: the correction of its means.

Adam keeps a running mean m of the gradient and v of its square, and both start at 0. After the
first step m is only (1 - beta1) g: a tenth of the gradient. So each mean is divided by the weight
of what it has seen. The two lines for these weights are missing.

Hint: after one step a mean has seen 1 - beta of its weight. After the second what was there is
multiplied by beta once more. Which power is left after `step` steps?
"""

import numpy as np


def adam_step(params, grads, state, *, learning_rate, beta1=0.9, beta2=0.999, eps=1e-8):
    """p <- p - rate m' / (sqrt(v') + eps), and the state after it: step, m and v."""
    step = state["step"] + 1
    m = {name: beta1 * state["m"][name] + (1 - beta1) * g for name, g in grads.items()}
    v = {name: beta2 * state["v"][name] + (1 - beta2) * g**2 for name, g in grads.items()}
    seen1 = ...  # your line
    seen2 = ...  # your line
    # update
    params = {
        name: p - learning_rate * (m[name] / seen1) / (np.sqrt(v[name] / seen2) + eps)
        for name, p in params.items()
    }
    return params, {"step": step, "m": m, "v": v}


if __name__ == "__main__":
    from numpy_ref import optimizers
    from triptych.exercise import case, grade

    rng = np.random.default_rng(0)
    params = {"weight": rng.normal(size=(2, 3)), "bias": rng.normal(size=2)}
    grads = {name: rng.normal(size=p.shape) for name, p in params.items()}
    first = optimizers.adam_start(params)
    _, second = optimizers.adam_step(params, grads, first, learning_rate=0.1)
    tenth = {"step": np.array(9), "m": grads, "v": {name: g**2 for name, g in grads.items()}}
    grade(
        adam_step,
        optimizers.adam_step,
        case(params, grads, first, learning_rate=0.1),
        case(params, grads, second, learning_rate=0.1),
        case(params, grads, tenth, learning_rate=0.01, beta1=0.8, beta2=0.99),
    )
