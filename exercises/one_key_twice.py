"""One key for two draws.

A layer starts with random weights and biases. In JAX a draw is a function of its key and its shape,
and of nothing else: the same key gives the same numbers again. So the biases below are the first
weights once more.

Hint: `jax.random.split(key)` makes two keys of one, to be used once each: the first for the
weights, the second for the biases.
"""

import jax


def linear_start(seed, *, features, out, dtype):
    """Weights (out, features) and biases (out,), from U(-b, b) with b = 1 / sqrt(features)."""
    key = jax.random.key(seed)
    bound = features**-0.5
    return {
        "weight": jax.random.uniform(key, (out, features), dtype, minval=-bound, maxval=bound),
        "bias": jax.random.uniform(key, (out,), dtype, minval=-bound, maxval=bound),
    }


if __name__ == "__main__":
    from jax_impl import randomness
    from triptych.exercise import case, grade

    grade(
        linear_start,
        randomness.linear_start,
        case(0, features=4, out=3, dtype="float32"),
        case(1, features=1, out=1, dtype="float32"),
        case(2, features=2, out=5, dtype="float32"),
    )
