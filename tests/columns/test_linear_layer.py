"""The linear layer of document C: its first step, its table, its stall in float32."""

from typing import Any

import numpy as np
import pytest

from triptych import data
from triptych.agreement.measures import assert_within
from triptych.column import precision

# after s updates: output, loss; exact arithmetic (documents.md, section 5)
TABLE = {
    0: (0.42, 3.364e-01),
    1: (0.433224, 3.212e-01),
    2: (0.44614649, 3.068e-01),
    9: (0.52871988, 2.221e-01),
    99: (0.94087238, 3.496e-03),
    199: (0.99410972, 3.470e-05),
    499: (0.99999418, 3.391e-11),
    999: (1.0, 3.264e-21),
}
TRAINERS = ["fit", "fit_with_optimizer"]


def layer(dtype: np.dtype) -> Any:
    return data.layer(dtype=str(dtype))


def test_first_step(column: Any, dtype: np.dtype) -> None:
    params, x, t = layer(dtype)
    y = column.call("linear_layer", "linear", x, params["weight"], params["bias"])
    loss = column.call("linear_layer", "mse_loss", y, t)
    assert f"{y.item():.4f} {loss:.3e}" == "0.4200 3.364e-01"
    assert column.call("linear_layer", "loss", params, x, t) == loss
    found, grads = column.call("linear_layer", "loss_and_grads", params, x, t)
    assert found == loss
    assert_within("weight", grads["weight"], np.array([[-0.116, -0.232, -0.348]], dtype), 4, "eps")
    assert_within("bias", grads["bias"], np.array([-1.16], dtype), 4, "eps")
    params, losses = column.call("linear_layer", "fit", params, x, t, learning_rate=0.01, steps=1)
    assert losses == loss
    assert_within(
        "weight", params["weight"], np.array([[0.40116, 0.50232, 0.60348]], dtype), 2, "eps"
    )
    assert_within("bias", params["bias"], np.array([0.1116], dtype), 2, "eps")


@pytest.mark.parametrize("train", TRAINERS)
def test_table_in_float64(column: Any, train: Any) -> None:

    params, x, t = data.layer()
    with precision("float64"):
        _, losses = column.call("linear_layer", train, params, x, t, learning_rate=0.01, steps=1000)
        for step, (output, loss) in TABLE.items():
            after = params
            if step:
                after, _ = column.call(
                    "linear_layer", train, params, x, t, learning_rate=0.01, steps=step
                )
            y = column.call("linear_layer", "linear", x, after["weight"], after["bias"])
            assert f"{y.item():.8f}" == f"{output:.8f}", step
            assert f"{losses[step]:.3e}" == f"{loss:.3e}", step


@pytest.mark.parametrize("train", TRAINERS)
def test_float32_stalls(column: Any, train: Any) -> None:
    params, x, t = data.layer(dtype="float32")
    _, losses = column.call("linear_layer", train, params, x, t, learning_rate=0.01, steps=2000)
    # the table's last rows are out of reach: the loss stays where one unit in the last place of
    # the output is more than a step moves it
    assert f"{losses[199]:.2e}" == "3.47e-05"
    assert 1e-12 < losses[999] < 4e-12
    assert losses[1999] == losses[999]


def test_ten_inferences_after_training(column: Any, dtype: np.dtype) -> None:
    params, x, t = layer(dtype)
    trained, _ = column.call("linear_layer", "fit", params, x, t, learning_rate=0.01, steps=1000)
    weight, bias = trained["weight"], trained["bias"]
    assert [f"{w:.6f}" for w in weight[0].astype(float)] == [
        "0.450877",
        "0.601754",
        "0.752632",
    ] or (dtype == np.float32)
    assert_within(
        "weight", weight, np.array([[0.450877, 0.601754, 0.752632]], dtype), 3e-6, "absolute"
    )
    assert_within("bias", bias, np.array([0.608772], dtype), 3e-6, "absolute")
    for _ in range(10):
        y = column.call("linear_layer", "linear", x, weight, bias)
        assert f"{y.item():.4f}" == "1.0000"
    # "any input gives 1.0" is an erratum
    for sample, text in (([0, 0, 0], "0.6088"), ([0.3, 0.2, 0.1], "0.9396"), ([1, 1, 1], "2.414")):
        y = column.call("linear_layer", "linear", np.array(sample, dtype), weight, bias)
        assert f"{y.item():.{len(text) - 2}f}" == text


@pytest.mark.parametrize(
    ("rate", "factor"), [(0.01, 0.9772), (1e-5, 0.9999772), (0.877, -0.99956), (0.88, -1.0064)]
)
def test_error_factor(column: Any, dtype: np.dtype, rate: Any, factor: Any) -> None:
    params, x, t = layer(dtype)
    found = column.call("linear_layer", "error_factor", x, learning_rate=rate)
    # 1 - 2.28 rate: three roundings of numbers up to 2.28
    assert abs(found - factor) <= 6 * np.finfo(dtype).eps
    _, losses = column.call("linear_layer", "fit", params, x, t, learning_rate=rate, steps=20)
    expected = 0.3364 * factor ** (2 * np.arange(20))
    # each of 20 steps adds a few rounding errors of the output, 1 at most, to an error near 0.58
    np.testing.assert_allclose(losses, expected, rtol=20 * 8 * np.finfo(dtype).eps)


def test_rates_that_diverge_and_crawl(column: Any, dtype: np.dtype) -> None:
    params, x, t = layer(dtype)
    for rate, ends in ((0.9, "diverges"), (0.8, "converges"), (1e-5, "crawls")):
        _, losses = column.call("linear_layer", "fit", params, x, t, learning_rate=rate, steps=200)
        if ends == "diverges":
            assert losses[-1] > 1e3 * losses[0]
        elif ends == "converges":
            assert losses[-1] < 1e-6 * losses[0]
        else:
            assert 0.98 * losses[0] < losses[-1] < losses[0]


def test_several_samples(columns: Any, dtype: np.dtype) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(5, 3)).astype(dtype)
    t = rng.normal(size=(5, 2)).astype(dtype)
    params = {
        "weight": rng.normal(size=(2, 3)).astype(dtype),
        "bias": rng.normal(size=2).astype(dtype),
    }
    results = [c.call("linear_layer", "loss_and_grads", params, x, t) for c in columns]
    y = x @ params["weight"].T + params["bias"]
    d_y = 2 * (y - t) / 10
    for column, (loss, grads) in zip(columns, results, strict=True):
        assert_within("loss", loss, np.mean((y - t) ** 2, dtype=dtype), 16, "eps")
        assert_within("weight", grads["weight"], d_y.T @ x, 16, "eps")
        assert_within("bias", grads["bias"], d_y.sum(axis=0), 16, "eps")
        alone = column.call("linear_layer", "mse_loss", y, t)
        assert_within("loss alone", alone, loss, 16, "eps")
        for train in TRAINERS:
            after, losses = column.call(
                "linear_layer", train, params, x, t, learning_rate=0.5, steps=1
            )
            assert_within("first loss", losses, loss[None], 16, "eps")
            assert_within("updated", after["bias"], params["bias"] - grads["bias"] / 2, 16, "eps")


def test_a_square_layer(column: Any) -> None:
    """Three rows, three inputs, three outputs: a transpose too many keeps every shape."""
    rng = np.random.default_rng(4)
    weight, x, t = rng.normal(size=(3, 3, 3))
    params = {"weight": weight, "bias": rng.normal(size=3)}
    y = np.einsum("ni,oi->no", x, weight) + params["bias"]
    with precision("float64"):
        found = column.call("linear_layer", "linear", x, weight, params["bias"])
        alone = column.call("linear_layer", "mse_loss", y, t)
        loss, grads = column.call("linear_layer", "loss_and_grads", params, x, t)
    assert_within("linear", found, y, 16, "eps")
    for value in (alone, loss):
        assert value == pytest.approx(sum((y - t).ravel() ** 2) / 9, rel=1e-14)
    expected = np.einsum("no,ni->oi", 2 / 9 * (y - t), x)
    assert_within("weight", grads["weight"], expected, 16, "eps")


def test_the_loss_beside_the_gradients_is_the_loss(column: Any, dtype: np.dtype) -> None:
    """In the dtype of the data, and to the last bit."""
    rng = np.random.default_rng(5)
    params, _, _ = layer(dtype)
    for _ in range(5):
        x, t = (rng.normal(size=(999, k)).astype(dtype) for k in (3, 1))
        alone = column.call("linear_layer", "loss", params, x, t)
        assert column.call("linear_layer", "loss_and_grads", params, x, t)[0] == alone


@pytest.mark.parametrize("train", TRAINERS)
def test_tracked_parameters_of_pytorch_are_only_read(columns: Any, train: Any) -> None:
    column = columns[1]
    given = layer(np.dtype("float32"))
    settings = {"learning_rate": 0.01, "steps": 3}
    expected, _ = column.call("linear_layer", train, *given, **settings)
    params, x, t = map(column.take_in, given)
    for p in params.values():
        p.requires_grad_()
    found, _ = getattr(column.linear_layer, train)(params, x, t, **settings)
    for name, p in params.items():
        assert p.grad is None
        assert np.array_equal(column.to_numpy(found[name]), expected[name])


def test_relu_of_a_layer_differs_from_the_layer(column: Any, dtype: np.dtype) -> None:
    # C, next steps: without a ReLU the layer is linear in x, f(2x) - f(0) = 2 (f(x) - f(0))
    params, x, _ = layer(dtype)
    weight, bias = params["weight"], -params["bias"] - dtype.type(0.2)
    f = [column.call("linear_layer", "linear", k * x, weight, bias).item() for k in (0, 1, 2)]
    assert abs((f[2] - f[0]) - 2 * (f[1] - f[0])) <= 4 * np.finfo(dtype).eps
    relu = [max(0.0, y) for y in f]
    assert relu[2] - relu[0] > 2 * (relu[1] - relu[0]) + 0.1


@pytest.mark.parametrize("train", TRAINERS)
def test_columns_agree_over_training(columns: Any, dtype: np.dtype, train: Any) -> None:
    params, x, t = layer(dtype)
    results = [
        c.call("linear_layer", train, params, x, t, learning_rate=0.01, steps=100) for c in columns
    ]
    for column, (trained, losses) in zip(columns, results, strict=True):
        # each step rounds the output a few times and forgets a part of it: the sum stays bounded
        for name in params:
            assert_within(f"{column.name} {name}", trained[name], results[0][0][name], 100, "eps")
        assert_within(f"{column.name} losses", losses, results[0][1], 100, "eps")
        assert losses.dtype == dtype
        assert losses.shape == (100,)
