"""Mini-batches: which rows, in which order, and what a mean over the batches is the mean of.

Six rows of small integers in batches of four: the means of four and of two rows are exact, and so
is the mean of the two. What has thirds in it is compared with exact fractions.
"""

import importlib
import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from triptych.agreement.measures import assert_within
from triptych.names import COLUMNS

ORDER = np.array([4, 1, 5, 0, 3, 2])
N, BATCH = 6, 4
# JAX compiles every shape for each dtype anew
CASES = [
    pytest.param(c, d, marks=pytest.mark.slow if (c, d) == ("jax_impl", "float32") else ())
    for c in COLUMNS
    for d in ("float32", "float64")
]
each = pytest.mark.parametrize(("column", "dtype"), CASES, indirect=True)


def drawn(dtype: Any) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Small integers: a start of two outputs, six rows of three inputs, targets."""
    rng = np.random.default_rng(0)
    params = {"weight": rng.integers(-2, 3, (2, 3)), "bias": np.array([1, -2])}
    x, t = rng.integers(-3, 4, (N, 3)), rng.integers(-3, 4, (N, 2))
    return {k: p.astype(dtype) for k, p in params.items()}, x.astype(dtype), t.astype(dtype)


def run(column: Any, function: str, *args: Any, **kwargs: Any) -> list[Any]:
    """What a generator hands out, in NumPy."""
    found = column.call("data_loading", function, *args, **kwargs)
    return [column.give_out(value) for value in found]


SIZES = {1: [1] * 6, 2: [2, 2, 2], 3: [3, 3], 4: [4, 2], 5: [5, 1], 6: [6]}


@pytest.mark.parametrize("drop_last", [False, True])
def test_the_order_is_cut_in_order(column: Any, drop_last: bool) -> None:
    dtypes = ("int32",) if column.name == "jax_impl" else ("int32", "int64")
    for (batch, sizes), dtype in itertools.product(SIZES.items(), dtypes):
        expected = [size for size in sizes if size == batch or not drop_last]
        order = ORDER.astype(dtype)
        found = run(column, "row_numbers", order, batch=batch, drop_last=drop_last)
        assert [len(rows) for rows in found] == expected
        assert {rows.dtype for rows in found} == {np.dtype(dtype)}
        joined = np.concatenate(found).tolist()
        assert joined == ORDER.tolist()[: len(joined)]


@each
@pytest.mark.parametrize("drop_last", [False, True])
def test_the_batches_have_these_rows(column: Any, dtype: np.dtype, drop_last: bool) -> None:
    _, x, t = drawn(dtype)
    found = run(column, "batches", x, t, ORDER, batch=BATCH, drop_last=drop_last)
    expected = [[4, 1, 5, 0], [3, 2]][: 1 if drop_last else 2]
    assert len(found) == len(expected)
    for pair, rows in zip(found, expected, strict=True):
        assert isinstance(pair, tuple)
        for part, whole in zip(pair, (x, t), strict=True):
            assert part.dtype == dtype
            np.testing.assert_array_equal(part, [whole[row] for row in rows])


def test_a_row_may_come_twice_and_another_not_at_all(column: Any) -> None:
    _, x, t = drawn("float64")
    with column.precision("float64"):
        found = run(column, "batches", x, t, np.array([2, 2, 0, 2]), batch=4, drop_last=True)
    ((rows, targets),) = found
    np.testing.assert_array_equal(rows, [x[2], x[2], x[0], x[2]])
    np.testing.assert_array_equal(targets, [t[2], t[2], t[0], t[2]])


# Means over the batches


def exactly(rows: list[int]) -> tuple[Fraction, dict[str, np.ndarray]]:
    """The loss of these rows and its gradients, in fractions."""
    params, x, t = drawn(object)
    r = [
        [sum(params["weight"][o] * x[i]) + params["bias"][o] - t[i][o] for o in (0, 1)]
        for i in rows
    ]
    size = 2 * len(rows)
    value = Fraction(int(sum(e * e for row in r for e in row)), size)
    d_y = np.array([[Fraction(2 * int(e), size) for e in row] for row in r])
    return value, {"weight": d_y.T @ x[rows], "bias": d_y.sum(axis=0)}  # fmt: skip


def assert_fractions(found: Any, expected: Any, dtype: np.dtype, ulps: float) -> None:
    value, grads = found
    pairs = {"loss": (value, expected[0])} | {k: (grads[k], g) for k, g in expected[1].items()}
    assert grads.keys() == expected[1].keys()
    for name, (a, b) in pairs.items():
        b = np.array(b).astype(dtype)
        assert a.dtype == dtype
        assert_within(name, a, b, ulps * float(np.finfo(dtype).eps), "absolute")


@each
def test_the_mean_of_means_is_not_the_mean(column: Any, dtype: np.dtype) -> None:
    given = (*drawn(dtype), ORDER)
    (one, d_one), (two, d_two) = exactly([4, 1, 5, 0]), exactly([3, 2])
    halves = (one + two) / 2, {name: (g + d_two[name]) / 2 for name, g in d_one.items()}
    whole = exactly(list(range(N)))
    assert halves[0] != whole[0]
    assert all((halves[1][name] != g).all() for name, g in whole[1].items())
    found = column.call("data_loading", "mean_of_means", *given, batch=BATCH)
    assert_fractions(found, halves, dtype, 0)
    # numbers of up to 32, each rounded a few times
    found = column.call("data_loading", "weighted_mean", *given, batch=BATCH)
    assert_fractions(found, whole, dtype, 64)


def test_the_weighted_mean_is_the_mean_whatever_the_batches(column: Any) -> None:
    whole, wide = exactly(list(range(N))), np.dtype("float64")
    # JAX compiles each shape, so there one more has to be enough
    for batch in (3,) if column.name == "jax_impl" else (1, 2, 3, 5, 6):
        given = (*drawn(wide), ORDER)
        with column.precision("float64"):
            weighted = column.call("data_loading", "weighted_mean", *given, batch=batch)
            plain = column.call("data_loading", "mean_of_means", *given, batch=batch)
        assert_fractions(weighted, whole, wide, 64)
        if N % batch == 0:
            assert_fractions(plain, whole, wide, 64)
        else:
            assert abs(plain[0] - float(whole[0])) > 0.1


def test_only_the_rows_of_the_order_count(column: Any) -> None:
    """Six numbers, but of five rows: the mean is over six."""
    with column.precision("float64"):
        order = np.array([4, 1, 5, 0, 3, 3])
        found = column.call("data_loading", "weighted_mean", *drawn("float64"), order, batch=BATCH)
    assert_fractions(found, exactly([4, 1, 5, 0, 3, 3]), np.dtype("float64"), 64)


# Training


def trained(orders: np.ndarray, drop_last: bool, rate: float) -> tuple[Any, list[float]]:
    """The same descent, row numbers counted off by hand."""
    params, x, t = drawn("float64")
    losses = []
    for order in orders.tolist():
        lost = []
        while order and not (drop_last and len(order) < BATCH):
            rows, order = order[:BATCH], order[BATCH:]
            r = x[rows] @ params["weight"].T + params["bias"] - t[rows]
            lost += [(r**2).mean(axis=1)]
            d_y = 2 * r / r.size
            params = {
                "weight": params["weight"] - rate * d_y.T @ x[rows],
                "bias": params["bias"] - rate * d_y.sum(axis=0),
            }
        losses.append(np.concatenate(lost).mean())
    return params, losses


@each
@pytest.mark.parametrize("drop_last", [False, True])
def test_fit(column: Any, dtype: np.dtype, drop_last: bool) -> None:
    orders = np.stack([ORDER, ORDER[::-1], np.roll(ORDER, 1)])
    params, losses = column.call(
        "data_loading", "fit", *drawn(dtype), orders,
        batch=BATCH, drop_last=drop_last, learning_rate=0.03,
    )  # fmt: skip
    its_params, its_losses = trained(orders, drop_last, 0.03)
    bound = 100 * float(np.finfo(dtype).eps)
    assert_within("losses", losses, np.array(its_losses, dtype), bound, "absolute")
    assert params.keys() == its_params.keys()
    for name, p in its_params.items():
        assert_within(name, params[name], p.astype(dtype), bound, "absolute")
    assert losses[2] < losses[0]


# What the docstrings say


def test_each_epoch_has_a_permutation_of_its_own(column: Any) -> None:
    first, again, other = (
        column.call("data_loading", "shuffles", 20, seed=seed, epochs=3) for seed in (1, 1, 2)
    )
    assert first.shape == (3, 20)
    assert first.dtype.kind == "i"
    for order in first:
        assert sorted(order) == list(range(20))
        assert order.tolist() != list(range(20))
    assert len({tuple(order) for order in [*first, *other]}) == 6
    np.testing.assert_array_equal(first, again)


def test_numpys_batches_of_row_numbers_are_views_and_its_rows_are_not(columns: Any) -> None:
    data_loading = columns[0].data_loading
    _, x, t = drawn("float64")
    for rows in data_loading.row_numbers(ORDER, batch=BATCH, drop_last=False):
        assert np.shares_memory(rows, ORDER)
    for x_k, t_k in data_loading.batches(x, t, ORDER, batch=BATCH, drop_last=False):
        assert not np.shares_memory(x_k, x)
        assert not np.shares_memory(t_k, t)


@pytest.fixture
def loading(columns: Any) -> Any:
    pytest.importorskip("torch")
    return importlib.import_module("torch.utils.data")


def test_pytorchs_loader_takes_rows_one_by_one_and_makes_lists(loading: Any) -> None:
    import torch

    class Watched(loading.TensorDataset):  # type: ignore[misc, name-defined, unused-ignore]
        def __getitem__(self, row: Any) -> Any:
            asked.append(row)
            return super().__getitem__(row)

    asked: list[Any] = []
    loader = loading.DataLoader(Watched(torch.arange(6)), batch_size=4, sampler=ORDER.tolist())
    found = list(loader)
    assert asked == ORDER.tolist()
    assert [type(batch) for batch in found] == [list, list]
    assert isinstance(loader.batch_sampler, loading.BatchSampler)


def test_pytorchs_loader_draws_a_number_before_it_shuffles(columns: Any, loading: Any) -> None:
    import torch

    order = columns[1].call("data_loading", "shuffles", 20, seed=1, epochs=1)[0]
    generator = torch.Generator().manual_seed(1)
    assert torch.randperm(20, generator=generator).tolist() != order.tolist()
    generator.manual_seed(1)
    torch.empty((), dtype=torch.int64).random_(generator=generator)
    assert torch.randperm(20, generator=generator).tolist() == order.tolist()


def test_jax_compiles_a_step_for_each_shape(columns: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import jax

    column, shapes = columns[2], []
    data_loading = column.data_loading
    written = data_loading._step.__wrapped__

    @jax.jit
    def step(params: Any, x: Any, t: Any, rate: float) -> Any:
        shapes.append(x.shape)  # only while it is traced
        return written(params, x, t, rate)

    monkeypatch.setattr(data_loading, "_step", step)
    column.call(
        "data_loading", "fit", *drawn("float32"), np.stack([ORDER] * 3),
        batch=BATCH, drop_last=False, learning_rate=0.01,
    )  # fmt: skip
    assert shapes == [(4, 3), (2, 3)]


def test_jaxs_key_gives_the_same_permutation_each_time(columns: Any) -> None:
    import jax

    key = jax.random.key(3)
    assert (jax.random.permutation(key, 20) == jax.random.permutation(key, 20)).all()


def test_jax_sums_in_the_dtype_of_the_data(columns: Any) -> None:
    """Asked of the traced functions, which compile nothing."""
    import jax

    data_loading, order = columns[2].data_loading, jax.numpy.array(ORDER)
    orders, settings = order[None], {"drop_last": False, "learning_rate": 0.1}
    given = columns[2].take_in(drawn("float16"))
    for found in (
        jax.eval_shape(lambda *g: data_loading.mean_of_means(*g, order, batch=4), *given),
        jax.eval_shape(lambda *g: data_loading.weighted_mean(*g, order, batch=4), *given),
        jax.eval_shape(lambda *g: data_loading.fit(*g, orders, batch=4, **settings), *given),
    ):
        assert {leaf.dtype.name for leaf in jax.tree.leaves(found)} == {"float16"}
