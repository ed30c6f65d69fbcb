"""Random numbers: generators, seeds and keys, and what starts and dropout make of them.

PyTorch: a generator has a state that every draw moves on. Modules and `nn.functional` take none:
they draw from the global one, which `torch.manual_seed` seeds.

n is how many numbers, in the framework's default dtype unless one is asked for. One seed gives the
same numbers each time, and in each framework others: whatever the columns are to share is drawn
once and handed over.
"""

import threading
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Lt
from jaxtyping import Float
from torch import Generator, nn
from torch import Tensor as Array

from torch_impl import Count, Fraction, Natural, NonNegative, Positive, checked

Params = Annotated[dict[str, Array], {"weight": "out in", "bias": " out"}]
Seed = Annotated[int, Ge(0), Lt(2**32)]
DType = Literal["float32", "float64"]


@checked
def uniform(seed: Seed, *, n: Count, bound: Positive) -> Float[Array, " n"]:
    """n numbers from U(-bound, bound): bound (2 u - 1), with u in [0, 1)."""
    return torch.empty(n).uniform_(-bound, bound, generator=Generator().manual_seed(seed))


@checked
def normal(seed: Seed, *, n: Count, mean: float, std: Positive) -> Float[Array, " n"]:
    """n numbers from N(mean, std**2): mean + std z, with z from N(0, 1).

    On a CPU, 16 numbers and more are drawn in another way than fewer: they do not begin alike.
    """
    return torch.normal(mean, std, (n,), generator=Generator().manual_seed(seed))


@checked
def linear_start(seed: Seed, *, features: Count, out: Count, dtype: DType) -> Params:
    """The start of a linear layer: weights and biases from U(-b, b), b = 1 / sqrt(features).

    `nn.Linear` draws from the global generator. `fork_rng` puts that back afterwards.

    Source: documents B and D, whose layers start so.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layer = nn.Linear(features, out, dtype=getattr(torch, dtype))
    return {name: p.detach() for name, p in layer.named_parameters()}


@checked
def dropout(
    h: Float[Array, "*shape"], seed: Seed, *, rate: Fraction, training: bool
) -> Float[Array, "*shape"]:
    """h m / (1 - rate), each m being 0 with probability rate, else 1; h itself if not training.

    `nn.functional.dropout`, and `nn.Dropout`, draw from the global generator.

    Source: document B, modes.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.functional.dropout(h, rate, training)


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
    generator = Generator().manual_seed(seed)
    first = torch.randn(n, generator=generator)
    second = torch.randn(n, generator=generator)
    return torch.stack([first, second])


@checked
def draw_again(seed: Seed, *, n: Count) -> Float[Array, "2 n"]:
    """The same n numbers twice: the state is kept, and put back after the first draw.

    `get_state` gives a tensor of bytes, which a checkpoint can hold.
    """
    generator = Generator().manual_seed(seed)
    state = generator.get_state()
    first = torch.randn(n, generator=generator)
    generator.set_state(state)
    second = torch.randn(n, generator=generator)
    return torch.stack([first, second])


@checked
def draw_in_order(seed: Seed, *, n: Count, reverse: bool) -> dict[str, Float[Array, " n"]]:
    """n numbers for a weight and n for a bias; the bias is drawn first if reverse.

    Who draws first gets the first numbers.
    """
    generator = Generator().manual_seed(seed)
    names = ("bias", "weight") if reverse else ("weight", "bias")
    drawn = {name: torch.randn(n, generator=generator) for name in names}
    return {"weight": drawn["weight"], "bias": drawn["bias"]}


@checked
def draw_in_threads(
    seed: Seed, *, n: Count, threads: Count, reverse: bool
) -> Float[Array, "threads n"]:
    """n numbers for each thread, one thread after the other; the last one first if reverse.

    The global generator is one for all threads: which numbers each gets depends on when it draws.
    """
    rows = torch.empty(threads, n)

    def draw(i: int) -> None:
        rows[i] = torch.randn(n)

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for i in sorted(range(threads), reverse=reverse):
            thread = threading.Thread(target=draw, args=(i,))
            thread.start()
            thread.join()
    return rows


@checked
def global_draw(seed: Seed, *, n: Count, others: Natural) -> Float[Array, " n"]:
    """n numbers by the global generator: it was seeded, and then others numbers drawn elsewhere.

    Whoever draws from it, in any module or thread, moves it on. (It is put back afterwards.)
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.randn(others)
        return torch.randn(n)


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
