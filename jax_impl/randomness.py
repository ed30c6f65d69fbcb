"""Random numbers: generators, seeds and keys, and what starts and dropout make of them.

JAX: no generator and no state. A draw is a pure function of its key and its shape; new keys are
made of a key by `split`, or by `fold_in` with a number.

n is how many numbers, in the framework's default dtype unless one is asked for. One seed gives the
same numbers each time, and in each framework others: whatever the columns are to share is drawn
once and handed over.
"""

import threading
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge, Lt
from jax import Array
from jaxtyping import Float

from jax_impl import Count, Fraction, NonNegative, Positive, _check_kept, checked

Params = Annotated[dict[str, Array], {"weight": "out in", "bias": " out"}]
Seed = Annotated[int, Ge(0), Lt(2**32)]
DType = Literal["float32", "float64"]


@checked
def uniform(seed: Seed, *, n: Count, bound: Positive) -> Float[Array, " n"]:
    """n numbers from U(-bound, bound): bound (2 u - 1), with u in [0, 1)."""
    return jax.random.uniform(jax.random.key(seed), (n,), minval=-bound, maxval=bound)


@checked
def normal(seed: Seed, *, n: Count, mean: float, std: Positive) -> Float[Array, " n"]:
    """n numbers from N(mean, std**2): mean + std z, with z from N(0, 1)."""
    return mean + std * jax.random.normal(jax.random.key(seed), (n,))


@checked
def linear_start(seed: Seed, *, features: Count, out: Count, dtype: DType) -> Params:
    """The start of a linear layer: weights and biases from U(-b, b), b = 1 / sqrt(features).

    A key for each: with one for both, the biases would be the first weights over again.

    Source: documents B and D, whose layers start so.
    """
    _check_kept("linear_start: dtype", jnp.dtype(dtype))
    weight_key, bias_key = jax.random.split(jax.random.key(seed))
    bound = features**-0.5
    return {
        "weight": jax.random.uniform(
            weight_key, (out, features), dtype, minval=-bound, maxval=bound
        ),
        "bias": jax.random.uniform(bias_key, (out,), dtype, minval=-bound, maxval=bound),
    }


@checked
def dropout(
    h: Float[Array, "*shape"], seed: Seed, *, rate: Fraction, training: bool
) -> Float[Array, "*shape"]:
    """h m / (1 - rate), each m being 0 with probability rate, else 1; h itself if not training.

    `bernoulli` wants the probability to keep. Each call of a training loop needs a key of its own.

    Source: document B, modes.
    """
    if not training:
        return h
    mask = jax.random.bernoulli(jax.random.key(seed), 1 - rate, h.shape)
    return jnp.where(mask, h / (1 - rate), 0)


@checked
def with_noise(
    x: Float[Array, "*shape"], noise: Float[Array, "*shape"], *, std: NonNegative
) -> Float[Array, "*shape"]:
    """x + std z, with standard normal z that was drawn once, anywhere, and handed over."""
    return x + std * noise


@checked
def draw_twice(seed: Seed, *, n: Count) -> Float[Array, "2 n"]:
    """Two draws from N(0, 1), n numbers each, by one generator or one key.

    One key gives the same numbers each time; `split` would make two of it.
    """
    key = jax.random.key(seed)
    first = jax.random.normal(key, (n,))
    second = jax.random.normal(key, (n,))
    return jnp.stack([first, second])


@checked
def draw_again(seed: Seed, *, n: Count) -> Float[Array, "2 n"]:
    """The same n numbers twice: the state is kept, and put back after the first draw.

    There is no state but the key; `key_data` gives its numbers, which a checkpoint can hold.
    """
    key = jax.random.key(seed)
    state = jax.random.key_data(key)
    first = jax.random.normal(key, (n,))
    key = jax.random.wrap_key_data(state)
    second = jax.random.normal(key, (n,))
    return jnp.stack([first, second])


@checked
def draw_in_order(seed: Seed, *, n: Count, reverse: bool) -> dict[str, Float[Array, " n"]]:
    """n numbers for a weight and n for a bias; the bias is drawn first if reverse.

    Each has a key of its own, and the same numbers in any order.
    """
    keys = dict(zip(("weight", "bias"), jax.random.split(jax.random.key(seed)), strict=True))
    names = ("bias", "weight") if reverse else ("weight", "bias")
    drawn = {name: jax.random.normal(keys[name], (n,)) for name in names}
    return {"weight": drawn["weight"], "bias": drawn["bias"]}


@checked
def draw_in_threads(
    seed: Seed, *, n: Count, threads: Count, reverse: bool
) -> Float[Array, "threads n"]:
    """n numbers for each thread, one thread after the other; the last one first if reverse.

    Each has a key of its own, and the same numbers whenever it draws. (But `with enable_x64`
    holds for the thread that says so: the others draw in float32.)
    """
    key = jax.random.key(seed)
    rows = {}

    def draw(i: int) -> None:
        rows[i] = jax.random.normal(jax.random.fold_in(key, i), (n,))

    for i in sorted(range(threads), reverse=reverse):
        thread = threading.Thread(target=draw, args=(i,))
        thread.start()
        thread.join()
    return jnp.stack([rows[i] for i in range(threads)])


@checked
def streams(seed: Seed, *, n: Count, count: Count) -> Float[Array, "count n"]:
    """n numbers from each of several generators, or keys, that are made of one.

    `split` makes keys whose numbers have nothing to do with each other's; `vmap` draws for all.
    """
    keys = jax.random.split(jax.random.key(seed), count)
    return jax.vmap(lambda key: jax.random.normal(key, (n,)))(keys)


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
