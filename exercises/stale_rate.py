"""A compiled step that remembers too much.

`jax.jit` runs a function once, with tracers for its arguments, and keeps the program that this
gives. What is no argument was read in that run, and stands in the program as a constant. The step
below is right as long as the rate never changes.

Hint: what may change has to be an argument of the compiled function.
"""

import jax

SETTINGS = {"learning_rate": 0.0}


@jax.jit
def compiled_step(params, grads):
    """p <- p - rate g."""
    rate = SETTINGS["learning_rate"]
    return jax.tree.map(lambda p, g: p - rate * g, params, grads)


def sgd_step(params, grads, *, learning_rate):
    """One step of gradient descent at this rate."""
    SETTINGS["learning_rate"] = learning_rate
    return compiled_step(params, grads)


if __name__ == "__main__":
    import numpy as np

    from jax_impl import optimizers
    from triptych.exercise import case, grade

    rng = np.random.default_rng(0)
    params = {"weight": rng.normal(size=(2, 3)), "bias": rng.normal(size=2)}
    grads = {name: rng.normal(size=p.shape) for name, p in params.items()}
    grade(
        sgd_step,
        optimizers.sgd_step,
        case(params, grads, learning_rate=0.1),
        case(params, grads, learning_rate=0.05),
        case(params, grads, learning_rate=0.2),
    )
