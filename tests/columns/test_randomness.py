"""Distributions, independence, and what seeds, generators and keys do.

The seeds are fixed, so every test gives the same each time. The bounds are such that a correct
generator fails a check for less than one seed in ALPHA's inverse, by two inequalities:

- Dvoretzky, Kiefer, Wolfowitz, with Massart's constant: the largest distance between the share of
  n independent draws below x and the probability of that exceeds e with probability at most
  2 exp(-2 n e**2).
- Hoeffding: the mean of n independent numbers in an interval of width w is further than e from its
  expectation with probability at most 2 exp(-2 n e**2 / w**2).

There are fewer than 1000 checks, so all of them pass for all but one in a million of such seeds.
"""

import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from triptych import data, trees
from triptych.column import precision
from triptych.names import COLUMNS

N = 20_000
ALPHA = 1e-9
GRID = 2.0**-23
"""How far a number of float32 in [0, 1] may be from the real number that it stands for."""
JAX = pytest.mark.parametrize("column", ["jax_impl"], indirect=True)


def allowed(n: int, width: float) -> float:
    """e, for which 2 exp(-2 n e**2 / width**2) is ALPHA."""
    return width * math.sqrt(math.log(2 / ALPHA) / (2 * n))


def assert_uniform(u: np.ndarray) -> None:
    """That the numbers are drawn from U(0, 1)."""
    assert u.min() >= 0
    assert u.max() <= 1
    u, below = np.sort(u), np.arange(u.size + 1) / u.size
    distance = max(np.abs(u - below[1:]).max(), np.abs(u - below[:-1]).max())
    assert distance <= allowed(u.size, 1) + GRID


def assert_independent(u: np.ndarray, v: np.ndarray) -> None:
    """That numbers of U(0, 1) have nothing to do with each other: (u - 1/2)(v - 1/2) is 0 in mean.

    A product lies within 1/4 of 0. (Numbers that are equal have 1/12 in mean.)
    """
    assert abs(np.mean((u - 0.5) * (v - 0.5))) <= allowed(u.size, 0.5)


def assert_drawn(u: np.ndarray) -> None:
    """Both, of one draw: each number and its neighbour, each and one far off."""
    assert_uniform(u)
    half = u.size // 2
    assert_independent(u[: 2 * half : 2], u[1 : 2 * half : 2])
    assert_independent(u[:half], u[half : 2 * half])


_erfc = np.vectorize(math.erfc)


def normal_cdf(z: np.ndarray) -> np.ndarray:
    below: np.ndarray = 0.5 * _erfc(-np.asarray(z, float) / math.sqrt(2))
    return below


def uniform_cdf(x: np.ndarray, bound: float) -> np.ndarray:
    return (np.asarray(x, float) + bound) / (2 * bound)


def drawn(column: Any, function: str, *args: Any, **kwargs: Any) -> Any:
    return column.call("randomness", function, *args, **kwargs)


# Can the checks fail?


def _planted() -> dict[str, Callable[[np.random.Generator], np.ndarray]]:
    bound = 1 / 3  # nine features
    return {
        "no scale": lambda r: uniform_cdf(r.uniform(-1, 1, N), bound),
        "1 / features": lambda r: uniform_cdf(r.uniform(-1 / 9, 1 / 9, N), bound),
        "outputs for features": lambda r: uniform_cdf(r.uniform(-(8**-0.5), 8**-0.5, N), bound),
        "another initialiser's bound": lambda r: uniform_cdf(
            r.uniform(-((6 / 17) ** 0.5), (6 / 17) ** 0.5, N), bound
        ),
        "one-sided": lambda r: uniform_cdf(r.uniform(0, bound, N), bound),
        "normal for uniform": lambda r: uniform_cdf(r.normal(0, bound / 3**0.5, N), bound),
        "uniform for normal": lambda r: normal_cdf(r.uniform(-(3**0.5), 3**0.5, N)),
        "std forgotten": lambda r: normal_cdf((2 + r.normal(size=N) - 2) / 1.5),
        "variance for std": lambda r: normal_cdf(r.normal(0, 1.5**2, N) / 1.5),
        "mean forgotten": lambda r: normal_cdf((r.normal(0, 1.5, N) - 2) / 1.5),
        "off by a tenth of the std": lambda r: normal_cdf(r.normal(0.1, 1, N)),
        "one number": lambda r: np.full(N, r.uniform()),
        "a seed used twice": lambda r: np.tile(r.uniform(size=N // 2), 2),
        "each number twice": lambda r: np.repeat(r.uniform(size=N // 2), 2),
        "a half mirrored": lambda r: np.concatenate([u := r.uniform(size=N // 2), 1 - u]),
        "correlated neighbours": lambda r: normal_cdf(
            (z := r.normal(size=N + 1))[1:] * 0.95 + z[:-1] * (1 - 0.95**2) ** 0.5
        ),
    }


@pytest.mark.parametrize("mistake", _planted())
def test_a_planted_mistake_is_found(mistake: str) -> None:
    with pytest.raises(AssertionError):
        assert_drawn(_planted()[mistake](np.random.default_rng(0)))


def test_of_many_seeds_none_fails() -> None:
    """At ALPHA none of 200 should; and none comes near, for the two inequalities are not tight."""
    for seed in range(200):
        assert_drawn(np.random.default_rng(seed).uniform(size=2000))


# Distributions


def test_uniform(column: Any) -> None:
    x = drawn(column, "uniform", 0, n=N, bound=2.5)
    assert x.shape == (N,)
    assert_drawn(uniform_cdf(x, 2.5))


def test_normal(column: Any) -> None:
    x = drawn(column, "normal", 0, n=N, mean=2.0, std=1.5)
    assert x.shape == (N,)
    assert_drawn(normal_cdf((x - 2) / 1.5))
    z = drawn(column, "draw_twice", 0, n=N)[0]
    np.testing.assert_allclose(x, 2 + 1.5 * z, rtol=1e-6, atol=1e-6)


def test_the_start_of_a_layer(column: Any) -> None:
    params = drawn(column, "linear_start", 0, features=16, out=2000, dtype="float32")
    assert {name: p.shape for name, p in params.items()} == {"weight": (2000, 16), "bias": (2000,)}
    assert {p.dtype for p in params.values()} == {np.dtype("float32")}
    u = {name: uniform_cdf(p, 1 / 4) for name, p in params.items()}
    assert_drawn(u["weight"].ravel())
    assert_drawn(u["bias"])
    for i in range(16):
        assert_independent(u["weight"][:, i], u["bias"])
    # in the order in which they lie, too
    assert_independent(u["weight"].ravel()[:2000], u["bias"])


@pytest.mark.parametrize("column", ["numpy_ref", "torch_impl"], indirect=True)
def test_a_start_in_float64(column: Any) -> None:
    params = drawn(column, "linear_start", 0, features=16, out=2000, dtype="float64")
    assert {p.dtype for p in params.values()} == {np.dtype("float64")}
    assert_drawn(uniform_cdf(params["weight"], 1 / 4).ravel())


def test_jax_has_no_start_in_float64_without_x64(columns: Any) -> None:
    with pytest.raises(ValueError, match="linear_start: dtype must have a dtype that JAX keeps"):
        drawn(columns[2], "linear_start", 0, features=16, out=2000, dtype="float64")


@pytest.mark.slow
@JAX
def test_a_start_in_float64_with_x64(column: Any) -> None:
    with precision("float64"):
        params = drawn(column, "linear_start", 0, features=16, out=2000, dtype="float64")
    assert {p.dtype for p in params.values()} == {np.dtype("float64")}
    assert_drawn(uniform_cdf(params["weight"], 1 / 4).ravel())


def test_other_seeds_have_nothing_to_do_with_it(column: Any) -> None:
    zero, one = (uniform_cdf(drawn(column, "uniform", s, n=N, bound=1.0), 1) for s in (0, 1))
    assert_independent(zero, one)
    again = uniform_cdf(drawn(column, "uniform", 0, n=N, bound=1.0), 1)
    np.testing.assert_array_equal(again, zero)


RATE = 0.25


def test_dropout(column: Any) -> None:
    h = np.linspace(1, 2, N, dtype=np.float32)
    found = drawn(column, "dropout", h, 0, rate=RATE, training=True)
    assert found.dtype == h.dtype
    mask = found != 0
    # what is kept is scaled, so that the mean stays: two roundings
    np.testing.assert_allclose(
        found[mask], h[mask] / (1 - RATE), rtol=2 * float(np.finfo(h.dtype).eps)
    )
    assert abs(mask.mean() - (1 - RATE)) <= allowed(N, 1)
    off = mask - (1 - RATE)  # -0.75 or 0.25: products between -0.1875 and 0.5625
    for a, b in ((off[::2], off[1::2]), (off[: N // 2], off[N // 2 :])):
        assert abs(np.mean(a * b)) <= allowed(N // 2, 0.75)
    # the mean over positions: found / h is 0 or 4/3
    assert abs(np.mean(found / h) - 1) <= allowed(N, 4 / 3) + 1e-6
    # the mask is drawn of the seed, not of h
    other = drawn(column, "dropout", 2 - h / 4, 0, rate=RATE, training=True)
    np.testing.assert_array_equal(other != 0, mask)
    other = drawn(column, "dropout", h, 1, rate=RATE, training=True) != 0
    assert abs(np.mean(off * (other - (1 - RATE)))) <= allowed(N, 0.75)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_nothing_is_dropped(column: Any, dtype: str) -> None:
    with precision(dtype):
        h = np.linspace(1, 2, N).astype(dtype)
        for rate, training in ((0.5, False), (0.0, True)):
            found = drawn(column, "dropout", h, 0, rate=rate, training=training)
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, h)


def test_drawn_once_and_handed_over(columns: Any) -> None:
    """The same bits in every column; what each draws of one seed has others."""
    rng = np.random.default_rng(0)
    x, noise = (rng.normal(size=(5, 4)).astype(np.float32) for _ in range(2))
    found = [drawn(column, "with_noise", x, noise, std=0.3) for column in columns]
    for one in found:
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, x + np.float32(0.3) * noise)
    start = data.classifier_start(dtype="float32")
    for column in columns:
        for name, p in column.give_out(column.take_in(start)).items():
            assert p.tobytes() == start[name].tobytes()
    first = [float(drawn(column, "normal", 0, n=1, mean=0.0, std=1.0)[0]) for column in columns]
    assert len({round(value, 3) for value in first}) == 3


# Twice, in another order, in another thread


def test_two_draws(column: Any) -> None:
    first, second = drawn(column, "draw_twice", 0, n=N)
    if column.name == "jax_impl":
        np.testing.assert_array_equal(first, second)
    else:
        assert_independent(normal_cdf(first), normal_cdf(second))
    assert_drawn(normal_cdf(first))


def test_a_state_that_is_put_back(column: Any) -> None:
    again = drawn(column, "draw_again", 0, n=N)
    np.testing.assert_array_equal(again[0], again[1])
    np.testing.assert_array_equal(again[0], drawn(column, "draw_twice", 0, n=N)[0])


def test_another_order(column: Any) -> None:
    found = [drawn(column, "draw_in_order", 0, n=N, reverse=r) for r in (False, True)]
    for one in found:
        assert list(one) == ["weight", "bias"]
        assert_independent(normal_cdf(one["weight"]), normal_cdf(one["bias"]))
        assert_drawn(normal_cdf(one["bias"]))
    same = column.name == "jax_impl"
    two = drawn(column, "streams", 0, n=N, count=3) if same else drawn(column, "draw_twice", 0, n=N)
    np.testing.assert_array_equal(found[0]["weight"], two[0])
    np.testing.assert_array_equal(found[0]["bias"], two[1])
    swapped = found[1] if same else {"weight": found[1]["bias"], "bias": found[1]["weight"]}
    for name, x in found[0].items():
        np.testing.assert_array_equal(swapped[name], x)


def test_threads(column: Any) -> None:
    found = [drawn(column, "draw_in_threads", 0, n=N, threads=3, reverse=r) for r in (False, True)]
    assert found[0].shape == (3, N)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert_independent(normal_cdf(found[0][i]), normal_cdf(found[0][j]))
    assert_drawn(normal_cdf(found[0][1]))
    same = column.name == "jax_impl"
    np.testing.assert_array_equal(found[1] if same else found[1][::-1], found[0])


def test_streams(column: Any) -> None:
    if not hasattr(column.randomness, "streams"):
        assert column.name == "torch_impl"
        return
    rows = drawn(column, "streams", 0, n=N, count=3)
    assert rows.shape == (3, N)
    parent = drawn(column, "draw_twice", 0, n=N)[0]
    u = [normal_cdf(row) for row in (*rows, parent)]
    for i in range(4):
        for j in range(i):
            assert_independent(u[i], u[j])
    assert_drawn(u[2])
    np.testing.assert_array_equal(drawn(column, "streams", 0, n=N, count=3), rows)


def test_a_global_generator(column: Any) -> None:
    if not hasattr(column.randomness, "global_draw"):
        assert column.name == "jax_impl"
        return
    alone, again, after = (
        drawn(column, "global_draw", 0, n=N, others=others) for others in (0, 0, 5)
    )
    np.testing.assert_array_equal(alone, again)
    assert (alone[:20] != after[:20]).all()
    assert_drawn(normal_cdf(alone))
    assert_drawn(normal_cdf(after))


def test_a_draw_is_of_its_seed_and_of_nothing_else(column: Any) -> None:
    import torch

    calls: dict[str, dict[str, Any]] = {
        "uniform": {"n": N, "bound": 1.0},
        "normal": {"n": N, "mean": 2.0, "std": 1.5},
        "linear_start": {"features": 16, "out": 2000, "dtype": "float32"},
        "dropout": {"h": np.ones(N, np.float32), "rate": RATE, "training": True},
        "draw_twice": {"n": N},
        "draw_again": {"n": N},
        "draw_in_order": {"n": N, "reverse": False},
        "draw_in_threads": {"n": N, "threads": 3, "reverse": False},
        "streams": {"n": N, "count": 3},
        "global_draw": {"n": N, "others": 5},
    }
    numpy_state, torch_state = np.random.get_state(), torch.get_rng_state()
    for function, kwargs in calls.items():
        if not hasattr(column.randomness, function):
            continue
        found = []
        for seed in (0, 0, 1):
            np.random.random()
            torch.rand(1)
            result = drawn(column, function, seed=seed, **kwargs)
            found.append(np.concatenate([x.ravel() for _, x in trees.leaves(result)]))
        np.testing.assert_array_equal(found[0], found[1])
        assert (found[0] != found[2]).mean() > 0.3
    np.random.set_state(numpy_state)
    torch.set_rng_state(torch_state)


def test_global_generators_are_left_as_they_were(columns: Any) -> None:
    import torch

    h = np.ones(3, np.float32)
    np.random.random()  # so that no call below leads back to where it is now
    torch.rand(1)
    numpy_state, torch_state = np.random.get_state(), torch.get_rng_state()
    for column in columns[:2]:
        drawn(column, "linear_start", 0, features=2, out=3, dtype="float32")
        drawn(column, "dropout", h, 0, rate=0.5, training=True)
        drawn(column, "draw_in_threads", 0, n=3, threads=2, reverse=False)
        drawn(column, "global_draw", 0, n=3, others=2)
    for before, now in zip(numpy_state, np.random.get_state(), strict=True):
        np.testing.assert_array_equal(before, now)
    assert torch.equal(torch_state, torch.get_rng_state())


# What the docstrings and the page say


def test_pytorchs_global_generator_is_one_for_all(columns: Any) -> None:
    import torch

    with torch.random.fork_rng():
        own = torch.Generator().manual_seed(0)
        torch.manual_seed(0)
        assert torch.equal(torch.randn(5), torch.randn(5, generator=own))
        # a layer that somebody makes in between moves it on
        torch.manual_seed(0)
        torch.nn.Linear(2, 1)
        assert not torch.equal(torch.randn(5), torch.randn(5, generator=own.manual_seed(0)))
        # another thread seeds it, too
        thread = threading.Thread(target=torch.manual_seed, args=(0,))
        thread.start()
        thread.join()
        assert torch.equal(torch.randn(5), torch.randn(5, generator=own.manual_seed(0)))
        torch.manual_seed(0)
        dropped = torch.nn.functional.dropout(torch.ones(9), 0.5)
        torch.manual_seed(0)
        layer = torch.nn.Linear(9, 4)
    start = columns[1].randomness.linear_start(0, features=9, out=4, dtype="float32")
    for name, p in layer.named_parameters():
        assert torch.equal(p, start[name])
    found = columns[1].randomness.dropout(torch.ones(9), 0, rate=0.5, training=True)
    assert torch.equal(found, dropped)


def test_what_a_checkpoint_can_hold(columns: Any) -> None:
    import jax
    import torch

    assert isinstance(np.random.default_rng(0).bit_generator.state, dict)
    assert torch.Generator().get_state().dtype == torch.uint8
    assert not hasattr(torch.Generator(), "spawn")
    assert jax.random.key_data(jax.random.key(7)).tolist() == [0, 7]


def test_where_a_longer_draw_begins_alike(columns: Any) -> None:
    import jax
    import torch

    def by_torch(n: int) -> Any:
        return torch.randn(n, generator=torch.Generator().manual_seed(0)).tolist()

    assert by_torch(15)[:2] == by_torch(2)
    assert by_torch(16)[:2] != by_torch(2)
    rng = np.random.default_rng
    assert rng(0).normal(size=N)[:2].tolist() == rng(0).normal(size=2).tolist()
    key = jax.random.key(0)
    assert jax.random.normal(key, (N,))[0] == jax.random.normal(key, (1,))[0]


@pytest.mark.slow
def test_one_key_for_a_weight_and_a_bias_gives_equal_numbers(columns: Any) -> None:
    import jax

    key = jax.random.key(0)
    weight, bias = jax.random.uniform(key, (4, 3)), jax.random.uniform(key, (4,))
    assert weight.ravel()[:4].tolist() == bias.tolist()
    with (
        jax.debug_key_reuse(True),
        pytest.raises(jax.errors.KeyReuseError, match="Previously-consumed key"),
    ):
        columns[2].randomness.draw_twice(0, n=3)


def test_a_seed_of_more_than_32_bits(columns: Any) -> None:
    """JAX without x64 cuts it, without a word; so the columns refuse it."""
    import jax

    def numbers(seed: int) -> Any:
        return jax.random.key_data(jax.random.key(seed)).tolist()

    with jax.enable_x64(False):
        assert numbers(2**40) == numbers(0)
        assert numbers(2**32 - 1) != numbers(0)
    for column in columns:
        with pytest.raises(ValueError, match=r"seed must be a whole number in \[0, 4294967296\)"):
            column.randomness.uniform(2**32, n=1, bound=1.0)


@pytest.mark.slow
def test_x64_is_of_one_thread(columns: Any) -> None:
    with precision("float64"):
        assert drawn(columns[2], "normal", 0, n=3, mean=0.0, std=1.0).dtype == np.float64
        rows = drawn(columns[2], "draw_in_threads", 0, n=3, threads=1, reverse=False)
        assert rows.dtype == np.float32


def test_numpys_global_generator_is_another_one(columns: Any) -> None:
    found = drawn(columns[0], "global_draw", 0, n=5, others=0)
    np.testing.assert_array_equal(found, np.random.RandomState(0).standard_normal(5))
    assert (found != np.random.default_rng(0).standard_normal(5)).all()
    spawned = np.random.SeedSequence(0).spawn(2)[1]
    found = drawn(columns[0], "streams", 0, n=5, count=2)[1]
    np.testing.assert_array_equal(found, np.random.default_rng(spawned).standard_normal(5))


@pytest.mark.parametrize("name", COLUMNS)
def test_the_log_of_a_random_start(name: str, columns: Any) -> None:
    """Document D: a step of descent is affine in w and b, so the corners hold every other end."""
    column = columns[COLUMNS.index(name)]
    _, x, t = data.doubled_line(dtype="float32")

    def end(w: float, b: float) -> Any:
        params = {"weight": np.array([[w]], np.float32), "bias": np.array([b], np.float32)}
        after, _ = columns[0].call("linear_layer", "fit", params, x, t, **RUN)
        return np.array([after["weight"][0, 0], after["bias"][0]])

    corners = np.array([end(w, b) for w in (-1, 1) for b in (-1, 1)])
    low, high = corners.min(axis=0), corners.max(axis=0)
    np.testing.assert_allclose([low[0], high[0]], [1.33, 2.16], atol=0.005)
    np.testing.assert_allclose([low[1], high[1]], [-0.37, 1.53], atol=0.01)
    ends = []
    for seed in range(3):
        start = drawn(column, "linear_start", seed, features=1, out=1, dtype="float32")
        after, _ = column.call("linear_layer", "fit", start, x, t, **RUN)
        ends.append([after["weight"][0, 0], after["bias"][0]])
        assert (ends[-1] >= low - 1e-4).all()
        assert (ends[-1] <= high + 1e-4).all()
    assert np.ptp(ends, axis=0).min() > 0.05  # every seed has a log of its own


def test_how_many_starts_print_what_document_d_does(columns: Any) -> None:
    """Of 10**6 starts, by the affine map from start to end that three runs tell."""
    _, x, t = data.doubled_line()

    def end(w: float, b: float) -> Any:
        params = {"weight": np.array([[w]], float), "bias": np.array([b], float)}
        after, _ = columns[0].call("linear_layer", "fit", params, x, t, **RUN)
        return np.array([after["weight"][0, 0], after["bias"][0]])

    origin = end(0, 0)
    columns_of_map = np.stack([end(1, 0) - origin, end(0, 1) - origin])
    ends = np.random.default_rng(0).uniform(-1, 1, (10**6, 2)) @ columns_of_map + origin
    printed = (np.abs(ends - [2, 0]) < 0.0005).all(axis=1)  # to three places
    assert 1 / 2500 < printed.mean() < 1 / 1700


RUN: dict[str, Any] = {"learning_rate": 0.01, "steps": 100}
