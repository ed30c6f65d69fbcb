"""Random numbers: generators, seeds and keys, and what starts and dropout make of them.

NumPy: a generator has a state that every draw moves on; `default_rng(seed)` makes one. The global
one behind `np.random.seed` is of an older kind, with other numbers.

n is how many numbers, in the framework's default dtype unless one is asked for. One seed gives the
same numbers each time, and in each framework others: whatever the columns are to share is drawn
once and handed over.
"""

import threading
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Lt
from jaxtyping import Float
from numpy import ndarray as Array

from numpy_ref import Count, Fraction, Natural, NonNegative, Positive, checked

Params = Annotated[dict[str, Array], {"weight": "out in", "bias": " out"}]
Seed = Annotated[int, Ge(0), Lt(2**32)]
DType = Literal["float32", "float64"]


@checked
def uniform(seed: Seed, *, n: Count, bound: Positive) -> Float[Array, " n"]:
    """n numbers from U(-bound, bound): bound (2 u - 1), with u in [0, 1)."""
    return np.random.default_rng(seed).uniform(-bound, bound, n)


@checked
def normal(seed: Seed, *, n: Count, mean: float, std: Positive) -> Float[Array, " n"]:
    """n numbers from N(mean, std**2): mean + std z, with z from N(0, 1)."""
    return np.random.default_rng(seed).normal(mean, std, n)


@checked
def linear_start(seed: Seed, *, features: Count, out: Count, dtype: DType) -> Params:
    """The start of a linear layer: weights and biases from U(-b, b), b = 1 / sqrt(features).

    One generator draws the one and then the other.

    Source: documents B and D, whose layers start so.
    """
    rng = np.random.default_rng(seed)
    bound = 1 / np.sqrt(features)
    return {
        "weight": rng.uniform(-bound, bound, (out, features)).astype(dtype),
        "bias": rng.uniform(-bound, bound, out).astype(dtype),
    }


@checked
def dropout(
    h: Float[Array, "*shape"], seed: Seed, *, rate: Fraction, training: bool
) -> Float[Array, "*shape"]:
    """h m / (1 - rate), each m being 0 with probability rate, else 1; h itself if not training.

    The mean over all masks is h.

    Source: document B, modes.
    """
    if not training:
        return h
    mask = np.random.default_rng(seed).random(h.shape) >= rate
    return np.where(mask, h / (1 - rate), 0)


@checked
def with_noise(
    x: Float[Array, "*shape"], noise: Float[Array, "*shape"], *, std: NonNegative
) -> Float[Array, "*shape"]:
    """x + std z, with standard normal z that was drawn once, anywhere, and handed over."""
    return x + std * noise


@checked
def draw_twice(seed: Seed, *, n: Count) -> Float[Array, "2 n"]:
    """Two draws from N(0, 1), n numbers each, by one generator or one key.

    The generator goes on, so the second draw has other numbers.
    """
    rng = np.random.default_rng(seed)
    first = rng.standard_normal(n)
    second = rng.standard_normal(n)
    return np.stack([first, second])


@checked
def draw_again(seed: Seed, *, n: Count) -> Float[Array, "2 n"]:
    """The same n numbers twice: the state is kept, and put back after the first draw.

    `bit_generator.state` is a dictionary, which a checkpoint can hold.
    """
    rng = np.random.default_rng(seed)
    state = rng.bit_generator.state
    first = rng.standard_normal(n)
    rng.bit_generator.state = state
    second = rng.standard_normal(n)
    return np.stack([first, second])


@checked
def draw_in_order(seed: Seed, *, n: Count, reverse: bool) -> dict[str, Float[Array, " n"]]:
    """n numbers for a weight and n for a bias; the bias is drawn first if reverse.

    Who draws first gets the first numbers.
    """
    rng = np.random.default_rng(seed)
    names = ("bias", "weight") if reverse else ("weight", "bias")
    drawn = {name: rng.standard_normal(n) for name in names}
    return {"weight": drawn["weight"], "bias": drawn["bias"]}


@checked
def draw_in_threads(
    seed: Seed, *, n: Count, threads: Count, reverse: bool
) -> Float[Array, "threads n"]:
    """n numbers for each thread, one thread after the other; the last one first if reverse.

    They share the generator: which numbers a thread gets depends on when it draws.
    """
    rng = np.random.default_rng(seed)
    rows = np.empty((threads, n))

    def draw(i: int) -> None:
        rows[i] = rng.standard_normal(n)

    for i in sorted(range(threads), reverse=reverse):
        thread = threading.Thread(target=draw, args=(i,))
        thread.start()
        thread.join()
    return rows


@checked
def streams(seed: Seed, *, n: Count, count: Count) -> Float[Array, "count n"]:
    """n numbers from each of several generators, or keys, that are made of one.

    `spawn` makes children whose numbers have nothing to do with each other's.
    """
    children = np.random.default_rng(seed).spawn(count)
    return np.stack([child.standard_normal(n) for child in children])


@checked
def global_draw(seed: Seed, *, n: Count, others: Natural) -> Float[Array, " n"]:
    """n numbers by the global generator: it was seeded, and then others numbers drawn elsewhere.

    Whoever draws from it, in any module or thread, moves it on. (It is put back afterwards.)
    """
    before = np.random.get_state()
    np.random.seed(seed)
    np.random.standard_normal(others)
    drawn = np.random.standard_normal(n)
    np.random.set_state(before)
    return drawn


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
