"""Penalties, dropout in training, early stopping: beside a loop with gradients by complex steps."""

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest

from triptych import data
from triptych.agreement.measures import assert_within
from triptych.names import COLUMNS

N, STEPS, BATCH, SIZES = 12, 5, 4, (3, 5, 4, 3)
RATE = 0.05
PENALTY = 0.3
# JAX compiles every function for each dtype anew
CASES = [
    pytest.param(c, d, marks=pytest.mark.slow if (c, d) == ("jax_impl", "float32") else ())
    for c in COLUMNS
    for d in ("float32", "float64")
]
each = pytest.mark.parametrize(("column", "dtype"), CASES, indirect=True)
Params = dict[str, np.ndarray]


def drawn(dtype: Any = "float64") -> tuple[Params, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(N, SIZES[0])).astype(dtype), rng.integers(0, SIZES[3], N)
    return data.classifier_start(1, SIZES, dtype=str(np.dtype(dtype))), x, t


ROWS = data.batches(N, BATCH, 2)[:STEPS]
MASKS = data.dropout_mask((STEPS, BATCH, SIZES[1]), 0.5)


# The formulas once more, for complex numbers


def loss(params: Params, x: np.ndarray, t: np.ndarray, kept: Any = 1.0) -> Any:
    """kept: by what each unit of the first layer is multiplied."""
    z1 = x @ params["fc1.weight"].T + params["fc1.bias"]
    z2 = np.where(z1.real > 0, z1, 0) * kept @ params["fc2.weight"].T + params["fc2.bias"]
    z3 = np.where(z2.real > 0, z2, 0) @ params["output.weight"].T + params["output.bias"]
    return np.mean(np.log(np.exp(z3).sum(axis=1)) - z3[np.arange(len(t)), t])


def penalised(params: Params, x: np.ndarray, t: np.ndarray, penalty: float = PENALTY) -> Any:
    return loss(params, x, t) + penalty / 2 * sum(np.sum(p**2) for p in params.values())


def gradient(f: Callable[[Params], Any], params: Params) -> Params:
    """df / dp by a complex step for each entry."""
    found = {}
    for name, p in params.items():
        units = np.eye(p.size).reshape(-1, *p.shape)
        slopes = [f(params | {name: p + 1e-30j * unit}).imag / 1e-30 for unit in units]
        found[name] = np.array(slopes).reshape(p.shape)
    return found


class Descent:
    """SGD or Adam as the papers have them."""

    def __init__(self, optimizer: str, decay: float = 0) -> None:
        self.optimizer, self.decay, self.steps = optimizer, decay, 0
        self.m: Any = 0
        self.v: Any = 0

    def step(self, p: np.ndarray, g: np.ndarray) -> np.ndarray:
        self.steps += 1
        move = g
        if self.optimizer == "adam":
            self.m = 0.9 * self.m + 0.1 * g
            self.v = 0.999 * self.v + 0.001 * g**2
            m, v = self.m / (1 - 0.9**self.steps), self.v / (1 - 0.999**self.steps)
            move = m / (np.sqrt(v) + 1e-8)
        return p - RATE * (move + self.decay * p)


def descend(
    losses: Sequence[Callable[[Params], Any]], optimizer: str, decay: float = 0
) -> tuple[list[Params], list[float]]:
    """The parameters at the start and after each step, and the losses before it."""
    params = drawn()[0]
    by_name = {name: Descent(optimizer, decay) for name in params}
    way, values = [params], []
    for f in losses:
        values.append(f(params))
        grads = gradient(f, params)
        params = {name: by_name[name].step(p, grads[name]) for name, p in params.items()}
        way.append(params)
    return way, values


def assert_near(found: Any, expected: Any, dtype: Any = "float64", bound: float = 200) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert_near(found[name], value, dtype, bound)
    else:
        limit = bound * float(np.finfo(dtype).eps)
        assert_within("", found, np.asarray(expected).astype(dtype), limit, "absolute")


def call(column: Any, function: str, *args: Any, **kwargs: Any) -> Any:
    with column.precision("float64"):
        return column.call("regularization", function, *args, **kwargs)


@each
def test_a_penalty_adds_to_the_loss_and_to_each_gradient(column: Any, dtype: np.dtype) -> None:
    given = drawn(dtype)
    wide = {name: p.astype(float) for name, p in given[0].items()}
    value, grads = column.call(
        "regularization", "penalised_loss_and_grads", *given, penalty=PENALTY
    )
    assert value.shape == ()
    assert_near(value, penalised(wide, *given[1:]), dtype)
    assert_near(grads, gradient(lambda p: penalised(p, *given[1:]), wide), dtype)


@each
def test_dropout_goes_forward_and_back(column: Any, dtype: np.dtype) -> None:
    params, x, t = drawn(dtype)
    rows, mask = ROWS[0], MASKS[0].copy()
    mask[:, 2] = False  # of every row
    given = params, x[rows], t[rows]
    wide = {name: p.astype(float) for name, p in params.items()}
    value, grads = column.call("regularization", "dropout_loss_and_grads", *given, mask, rate=0.2)
    assert value.shape == ()
    assert_near(value, loss(wide, *given[1:], mask / 0.8), dtype)
    assert_near(grads, gradient(lambda p: loss(p, *given[1:], mask / 0.8), wide), dtype)
    # what is dropped has no gradient
    assert not grads["fc1.weight"][2].any()
    assert not grads["fc1.bias"][2].any()
    assert not grads["fc2.weight"][:, 2].any()
    assert all(g.any() for g in grads.values())


def test_a_unit_at_0_passes_nothing_back(column: Any) -> None:
    """First the units of both layers are at 0, then those of the first alone."""
    params, _, t = drawn()
    params["fc1.bias"][:] = 0
    x = np.zeros((BATCH, SIZES[0]))
    for bias, reached in ((0, {"output.bias"}), (1, {"output.bias", "output.weight", "fc2.bias"})):
        params["fc2.bias"][:] = bias
        given = params, x, t[ROWS[0]], MASKS[0]
        value, grads = call(column, "dropout_loss_and_grads", *given, rate=0.5)
        assert_near(value, loss(*given[:3]))
        assert {name for name, g in grads.items() if g.any()} == reached


def test_large_logits_overflow_nothing(column: Any) -> None:
    params, x, _ = drawn()
    params = {name: 0 * p for name, p in params.items()}
    params["output.bias"] = np.array([1000.0, 0, -1000])
    given = params, x[ROWS[0]], np.array([0, 1, 2, 0]), MASKS[0]
    value, grads = call(column, "dropout_loss_and_grads", *given, rate=0.5)
    assert value == (1000 + 2000) / 4
    assert grads["output.bias"].tolist() == [0.5, -0.25, -0.25]


def test_labels_of_32_bits_are_labels_too(columns: Any) -> None:
    """PyTorch's own cross-entropy refuses them; JAX without x64 has no others."""
    params, x, t = drawn()
    adam = {"optimizer": "adam", "learning_rate": RATE}
    for column in columns[:2]:
        wide, narrow = (
            [
                call(column, "penalised_loss_and_grads", params, x, labels, penalty=1),
                call(column, "fit", params, x, labels, ROWS, penalty=1, within="loss", **adam),
                call(
                    column, "dropout_loss_and_grads",
                    params, x[:BATCH], labels[:BATCH], MASKS[0], rate=0.5,
                ),
                call(column, "fit_with_dropout", params, x, labels, ROWS, MASKS, rate=0.5, **adam),
                call(
                    column, "fit_with_early_stopping",
                    params, x, labels, x, labels, ROWS, every=2, patience=1, **adam,
                ),
            ]
            for labels in (t, t.astype(np.int32))
        )  # fmt: skip
        np.testing.assert_equal(narrow, wide)


FORMS = [
    pytest.param(c, w, o, marks=pytest.mark.slow if c == "jax_impl" and s else ())
    for c in COLUMNS
    for w, o, s in (
        ("loss", "sgd", True),
        ("update", "sgd", False),
        ("loss", "adam", False),
        ("update", "adam", True),
    )
]


@pytest.mark.parametrize(("column", "within", "optimizer"), FORMS, indirect=["column"])
def test_fit(column: Any, within: str, optimizer: str) -> None:
    params, x, t = drawn()
    found, losses = call(
        column, "fit", params, x, t, ROWS,
        penalty=PENALTY, within=within, optimizer=optimizer, learning_rate=RATE,
    )  # fmt: skip
    inside, decay = (PENALTY, 0) if within == "loss" else (0, PENALTY)
    steps = [partial(penalised, x=x[r], t=t[r], penalty=inside) for r in ROWS]
    way, _ = descend(steps, optimizer, decay)
    assert_near(found, way[-1])
    plain = [loss(p, x[r], t[r]) for p, r in zip(way[:-1], ROWS, strict=True)]
    assert_near(losses, plain)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_fit_with_dropout(column: Any, optimizer: str) -> None:
    if column.name == "jax_impl" and optimizer == "sgd":
        optimizer = "adam"  # compiled already
    params, x, t = drawn()
    found, losses = call(
        column, "fit_with_dropout", params, x, t, ROWS, MASKS,
        rate=0.4, optimizer=optimizer, learning_rate=RATE,
    )  # fmt: skip
    steps = [
        partial(loss, x=x[r], t=t[r], kept=mask / 0.6) for r, mask in zip(ROWS, MASKS, strict=True)
    ]
    way, values = descend(steps, optimizer)
    assert_near(found, way[-1])
    assert_near(losses, values)


# Early stopping

# 0: four rows that are held out as well; 1: the same with other labels, which make their loss rise
TO_AND_FRO = [0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 1]


def watched(optimizer: str) -> tuple[tuple[Any, ...], list[Params], list[float]]:
    """What is handed over; the parameters and the held-out loss at each look, every two steps."""
    params, x, t = drawn()
    x[4:8], t[4:8] = x[:4], (t[:4] + 1) % 3
    rows = np.array([[0, 1, 2, 3], [4, 5, 6, 7]])[TO_AND_FRO]
    way, _ = descend([partial(loss, x=x[r], t=t[r]) for r in rows], optimizer)
    seen = [*way[::2], way[-1]]
    return (params, x, t, x[:4], t[:4], rows), seen, [loss(p, x[:4], t[:4]) for p in seen]


STOPS = [
    pytest.param(c, *case, marks=pytest.mark.slow if c == "jax_impl" and case[0] == "sgd" else ())
    for c in COLUMNS
    for case in (
        ("sgd", 1, 2, 1),
        ("sgd", 2, 6, 4),
        ("sgd", 9, 7, 4),
        ("adam", 1, 5, 4),
        ("adam", 2, 6, 4),
    )
]


@pytest.mark.parametrize(
    ("column", "optimizer", "patience", "last", "best"), STOPS, indirect=["column"]
)
def test_early_stopping(column: Any, optimizer: str, patience: int, last: int, best: int) -> None:
    given, seen, values = watched(optimizer)
    # a look that is no better comes before one that is, so patience has to count anew
    assert values[best] == min(values[: last + 1]) < values[last]
    assert (values[2] > values[1]) == (optimizer == "sgd")
    found, looks = call(
        column, "fit_with_early_stopping", *given,
        every=2, patience=patience, optimizer=optimizer, learning_rate=RATE,
    )  # fmt: skip
    assert_near(looks, values[: last + 1])
    assert_near(found, seen[best])


def test_no_look_is_better_than_the_start(column: Any) -> None:
    (params, x, t, *_), _, _ = watched("adam")
    held = x[4:8], (t[4:8] - 1) % 3
    rows = np.array([[4, 5, 6, 7]] * 4)
    found, looks = call(
        column, "fit_with_early_stopping", params, x, t, *held, rows,
        every=2, patience=1, optimizer="adam", learning_rate=RATE,
    )  # fmt: skip
    assert len(looks) == 2
    assert looks[1] > looks[0]
    for name, p in params.items():
        np.testing.assert_array_equal(found[name], p)


# Why the two forms of a penalty are one for SGD and two for Adam


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_one_for_sgd_and_two_for_adam(columns: Any, optimizer: str) -> None:
    """JAX's column is held to the same references above."""
    for column in columns[:2]:
        found = [
            call(
                column, "fit", *drawn(), ROWS,
                penalty=PENALTY, within=within, optimizer=optimizer, learning_rate=RATE,
            )[0]
            for within in ("loss", "update")
        ]  # fmt: skip
        if optimizer == "sgd":
            assert_near(found[0], found[1])
        else:
            assert all(np.abs(p - found[1][name]).max() > 0.02 for name, p in found[0].items())


def test_adam_takes_the_same_step_whatever_the_penalty(columns: Any) -> None:
    """Where the data leave a weight alone, its gradient is the penalty's, over its own size."""
    params, x, t = drawn()
    params["fc1.bias"][0] = -100  # this unit is dead
    dead = params["fc1.weight"][0]
    for column in columns[:2]:
        for penalty in (0.01, 10.0):
            inside, besides = (
                call(
                    column, "fit", params, x, t, ROWS[:1],
                    penalty=penalty, within=within, optimizer="adam", learning_rate=RATE,
                )[0]["fc1.weight"][0]
                for within in ("loss", "update")
            )  # fmt: skip
            np.testing.assert_allclose(inside, dead - RATE * np.sign(dead), rtol=1e-3)
            np.testing.assert_allclose(besides, dead * (1 - RATE * penalty), rtol=1e-12)


# What the docstrings say of the frameworks


def test_a_network_with_dropout_has_modes(columns: Any) -> None:
    """`nn.Dropout`'s own bits, given its mask; `eval()` drops nothing, whatever mask there is."""
    torch = importlib.import_module("torch")
    (_, column, _), (params, x, _) = columns, drawn()
    given, rows, mask = column.take_in(params), torch.tensor(x), torch.tensor(MASKS[0])
    rows = rows[: len(mask)]
    net = column.regularization.ThinnedNet.from_params(given, rate=0.5)
    assert net.training
    assert net.dropout1.p == 0.5
    h1 = net.relu1(net.fc1(rows))
    stock = torch.nn.Dropout(0.5)(h1)
    ours = column.classifier.Dropout(0.5)(h1, (stock != 0) | (h1 == 0))
    assert torch.equal(ours, stock)
    assert not torch.equal(net(rows, mask), net.eval()(rows, mask))
    assert torch.equal(net(rows), column.classifier.logits(given, rows))


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_what_pytorchs_weight_decay_is(columns: Any, kind: str) -> None:
    """That of SGD and Adam is in the loss; AdamW without it is Adam."""
    torch = importlib.import_module("torch")
    (_, column, _), (params, x, t) = columns, drawn()
    net = column.classifier.SimpleNet.from_params(column.take_in(params))
    decay = {"SGD": PENALTY, "Adam": PENALTY, "AdamW": 0}[kind]
    algorithm = getattr(torch.optim, kind)(net.parameters(), lr=RATE, weight_decay=decay)
    for rows in ROWS:
        algorithm.zero_grad()
        logits = net(torch.tensor(x[rows]))
        torch.nn.functional.cross_entropy(logits, torch.tensor(t[rows])).backward()
        algorithm.step()
    optimizer = "sgd" if kind == "SGD" else "adam"
    expected, _ = call(
        column, "fit", params, x, t, ROWS,
        penalty=decay, within="loss", optimizer=optimizer, learning_rate=RATE,
    )  # fmt: skip
    assert_near({name: p.detach().numpy() for name, p in net.named_parameters()}, expected)


def test_pytorchs_best_goes_on_changing_unless_it_is_copied(columns: Any) -> None:
    torch = importlib.import_module("torch")
    net = torch.nn.Linear(2, 1)
    best = net.state_dict()
    kept = {name: p.clone() for name, p in best.items()}
    net(torch.ones(1, 2)).sum().backward()
    torch.optim.SGD(net.parameters(), lr=0.1).step()
    for name, p in net.named_parameters():
        assert torch.equal(best[name], p)
        assert not torch.equal(kept[name], p)


def test_jaxs_loops_are_compiled_and_stopping_is_not(columns: Any) -> None:
    """Asked of the traced functions, which compile nothing."""
    jax = importlib.import_module("jax")
    column = columns[2]
    params, x, t = column.take_in(drawn("float32"))
    rows, settings = column.take_in(ROWS), {"optimizer": "adam", "learning_rate": RATE}
    loop = partial(column.regularization.fit, penalty=PENALTY, within="loss", **settings)
    assert " scan[" in str(jax.make_jaxpr(lambda p: loop(p, x, t, rows))(params))
    stopping = partial(column.regularization.fit_with_early_stopping, every=2, patience=1)
    with pytest.raises(jax.errors.TracerBoolConversionError):
        jax.eval_shape(lambda p: stopping(p, x, t, x, t, rows, **settings), params)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_each_form_lowers_the_held_out_loss_of_the_diabetes_study(columns: Any, seed: int) -> None:
    """Trained for 60 epochs on 242 patients, stopped by 100 others, judged by 100 more."""
    (column, *_), (train, test) = columns, data.diabetes(seed)
    here, held = ((train[0][part], train[1][part]) for part in (slice(242), slice(242, None)))
    params, rows = data.classifier_start(seed), data.batches(242, 32, 60, seed)
    settings = {"optimizer": "adam", "learning_rate": 0.01}
    masks = data.dropout_mask((len(rows), 32, 16), 0.5, seed)

    def run(function: str, *more: Any, **given: Any) -> Any:
        return call(column, function, params, *here, *more, **given, **settings)[0]

    plain = run("fit", rows, penalty=0, within="loss")
    found = [
        run("fit", rows, penalty=0.01, within="loss"),
        run("fit", rows, penalty=0.3, within="update"),
        run("fit_with_dropout", rows, masks, rate=0.5),
        run("fit_with_early_stopping", *held, rows, every=7, patience=5),
    ]
    trained, judged = (
        [column.call("classifier", "loss", p, *part) for p in (plain, *found)]
        for part in (here, test)
    )
    assert min(trained) == trained[0]
    assert max(judged) == judged[0]
