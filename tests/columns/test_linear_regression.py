"""Linear regression: the documents' logs, their mistakes, and NumPy and PyTorch bit by bit."""

from typing import Any

import numpy as np
import pytest
from support.histories import first_parting

from triptych import data
from triptych.agreement.measures import assert_within
from triptych.claims import book
from triptych.column import precision

FITTERS = ["fit", "fit_with_optimizer"]

# epoch, then loss (before the update), w and b (after it), printed: what document A prints and
# what is true (documents.md, section 6)
LOG = {
    0: ("22.6667, 1.87, 0.70", "27.6667, 2.27, 1.00"),
    10: ("0.0570, 2.01, 0.95", "0.0009, 2.03, 0.92"),
    20: ("0.0023, 2.00, 0.99", "0.0005, 2.03, 0.94"),
    90: ("0.0000, 2.00, 1.00", "0.0000, 2.00, 0.99"),
}


def test_first_epoch_by_hand(column: Any, dtype: np.dtype) -> None:
    params, x, t = data.line(dtype=str(dtype))
    loss, grads = column.call("linear_regression", "loss_and_grads", params, x, t)
    assert_within("loss", loss, np.array(83 / 3, dtype), 2, "ulp")
    assert_within("dloss/dw", grads["w"], np.array(-68 / 3, dtype), 2, "ulp")
    assert_within("dloss/db", grads["b"], np.array(-10, dtype), 2, "ulp")
    assert loss == column.call("linear_regression", "loss", params, x, t)
    # two too high at each point
    high = {"w": dtype.type(2), "b": dtype.type(3)}
    assert column.call("linear_regression", "loss", high, x, t) == 4
    assert np.array_equal(
        column.call("linear_regression", "predict", {"w": dtype.type(2), "b": dtype.type(1)}, x), t
    )


@pytest.mark.parametrize("name", ["torch_impl", "jax_impl"])
def test_a_prediction_has_a_derivative_by_both_parameters(columns: Any, name: str) -> None:
    """`fit` does not ask for it, a user may: dy/dw = x and dy/db = 1, summed over the points."""
    column = next(one for one in columns if one.name == name)
    params, x, _ = column.take_in(data.line(dtype="float32"))
    predict = column.linear_regression.predict
    if name == "jax_impl":
        import jax

        grads = jax.grad(lambda params: predict(params, x).sum())(params)
    else:
        for p in params.values():
            p.requires_grad_()
        predict(params, x).sum().backward()
        grads = {name: p.grad for name, p in params.items()}
    assert {name: float(grad) for name, grad in grads.items()} == {"w": 1 + 2 + 3, "b": 3}


@pytest.mark.parametrize("fit", FITTERS)
@pytest.mark.parametrize("epoch", LOG)
def test_log_of_document_a(column: Any, dtype: np.dtype, fit: Any, epoch: Any) -> None:
    params, x, t = data.line(dtype=str(dtype))
    params, losses = column.call(
        "linear_regression", fit, params, x, t, learning_rate=0.1, steps=epoch + 1
    )
    printed, true = LOG[epoch]
    found = f"{losses[-1]:.4f}, {params['w']:.2f}, {params['b']:.2f}"
    assert found == true
    assert found != printed


@pytest.mark.parametrize("fit", FITTERS)
def test_document_d_does_not_converge(column: Any, dtype: np.dtype, fit: Any) -> None:
    params, x, t = data.doubled_line(dtype=str(dtype))
    after, losses = column.call(
        "linear_regression", fit, params, x, t, learning_rate=0.01, steps=100
    )
    assert f"{after['w']:.3f} {after['b']:.3f} {losses[-1]:.4f}" == "1.745 0.579 0.0484"
    for epochs, close in ((1786, False), (1787, True)):
        after, _ = column.call(
            "linear_regression", fit, params, x, t, learning_rate=0.01, steps=epochs
        )
        assert (abs(after["w"] - 2) < 0.01 and abs(after["b"]) < 0.01) == close


def test_document_d_from_its_random_starts(column: Any) -> None:
    """100 epochs are linear in w, b and 1, so three runs tell where every start leads to."""
    _, x, t = data.doubled_line()
    starts = data.line_starts(20000)

    def end(w: float, b: float) -> np.ndarray:
        start = {"w": np.array(float(w)), "b": np.array(float(b))}
        with precision("float64"):
            params, _ = column.call(
                "linear_regression", "fit_with_optimizer", start, x, t,
                learning_rate=0.01, steps=100,
            )  # fmt: skip
        return np.array([params["w"], params["b"]])

    # by hand: the distance from (2, 0) is multiplied by 1 - rate H, H the Hessian matrix
    hessian = np.array([[2 * np.mean(x**2), 2 * np.mean(x)], [2 * np.mean(x), 2]])
    shrinks = np.linalg.matrix_power(np.eye(2) - 0.01 * hessian, 100)
    by_hand = shrinks @ (np.stack([starts["w"], starts["b"]]) - [[2], [0]]) + [[2], [0]]
    for i in (0, 1, int(np.argmax(by_hand[0]))):
        ended = end(starts["w"][i], starts["b"][i])
        np.testing.assert_allclose(ended, by_hand[:, i], rtol=0, atol=1e-13)
    of_three = end(0, 0)[:, None] + np.outer(end(1, 0) - end(0, 0), starts["w"])
    of_three += np.outer(end(0, 1) - end(0, 0), starts["b"])
    np.testing.assert_allclose(of_three, by_hand, rtol=0, atol=1e-13)
    texts = [(f"{w:.3f}", f"{b:.3f}".removeprefix("-")) for w, b in by_hand.T]
    assert f"{texts.count(('2.000', '0.000')) / 20000:.4f}" == book.claim("D-starts-learned").true


def test_least_squares_in_closed_form(column: Any, dtype: np.dtype) -> None:
    for given in (data.noisy_line, data.line, data.doubled_line):
        _, x, t = given(dtype=str(dtype))
        found = column.call("linear_regression", "least_squares", x, t)
        assert {name: p.dtype for name, p in found.items()} == {"w": dtype, "b": dtype}
        slope, intercept = np.polyfit(x[:, 0].astype(float), t[:, 0].astype(float), 1)
        near = (8 if dtype == np.float32 else 64) * np.finfo(dtype).eps
        np.testing.assert_allclose(found["w"], slope, rtol=near)
        np.testing.assert_allclose(found["b"], intercept, rtol=near, atol=near)
        _, grads = column.call("linear_regression", "loss_and_grads", found, x, t)
        assert max(abs(g) for g in grads.values()) < 16 * near


def test_least_squares_far_from_zero(column: Any, dtype: np.dtype) -> None:
    """Without its mean taken off, a large t would bring the rounding of the sum of dx with it."""
    x = data.noisy_line(dtype=str(dtype))[1]
    far = dtype.type(0.125 / np.finfo(dtype).eps)  # there numbers are an eighth apart
    steps = np.round(16 * x)
    slope, _ = np.polyfit(x[:, 0].astype(float), steps[:, 0].astype(float) / 8, 1)
    found = column.call("linear_regression", "least_squares", x, far + steps / 8)
    np.testing.assert_allclose(found["w"], slope, rtol=2e-3)


@pytest.mark.parametrize("fit", FITTERS)
def test_noisy_line_reaches_least_squares(column: Any, dtype: np.dtype, fit: Any) -> None:
    params, x, t = data.noisy_line(dtype=str(dtype))
    after, losses = column.call(
        "linear_regression", fit, params, x, t, learning_rate=0.1, steps=1000
    )
    slope, intercept = np.polyfit(x[:, 0].astype(float), t[:, 0].astype(float), 1)
    # the slower of the two directions keeps exp(-60) of its error; what is left is rounding
    assert abs(after["w"] - slope) < 100 * np.finfo(dtype).eps
    assert abs(after["b"] - intercept) < 100 * np.finfo(dtype).eps
    assert abs(slope - 2) < 0.1
    assert abs(intercept) < 0.1
    assert losses[-1] < losses[0]


def test_progression_on_bmi(column: Any, dtype: np.dtype) -> None:
    x, t = data.bmi_line(dtype=str(dtype))
    mean, deviation = x.mean(), x.std()
    start = {"w": dtype.type(0), "b": dtype.type(0)}
    after, _ = column.call(
        "linear_regression", "fit", start, (x - mean) / deviation, t, learning_rate=0.4, steps=100
    )
    slope = after["w"] / deviation
    assert f"{slope:.3f}" == "10.233"
    assert f"{after['b'] - slope * mean:.1f}" == "-117.8"


def test_numpy_equals_pytorch_bit_by_bit(columns: Any, dtype: np.dtype) -> None:
    numpy_ref, torch_impl, _ = columns
    for name, (params, x, t) in drawn_lines(dtype).items():
        runs = [
            c.call("linear_regression", "fit", params, x, t, learning_rate=0.1, steps=100)
            for c in (numpy_ref, torch_impl)
        ]
        assert first_parting(runs[1][1], runs[0][1]) is None, name
        assert runs[1][0] == runs[0][0], name


def drawn_lines(dtype: np.dtype) -> Any:
    """The document's three points, and drawn ones: sums agree in bits up to four terms."""
    lines = {"document A": data.line(dtype=str(dtype))}
    for n in (1, 2, 3, 4):
        rng = np.random.default_rng(n)
        x, t = rng.normal(size=(2, n, 1)).astype(dtype)
        start = {"w": np.array(rng.normal(), dtype), "b": np.array(rng.normal(), dtype)}
        lines[f"{n} drawn points"] = (start, x, t)
    return lines


@pytest.mark.parametrize("fit", FITTERS)
def test_tracked_parameters_of_pytorch_are_only_read(columns: Any, fit: Any) -> None:
    column = columns[1]
    given = data.line(dtype="float32")
    settings = {"learning_rate": 0.1, "steps": 3}
    expected, _ = column.call("linear_regression", fit, *given, **settings)
    params, x, t = map(column.take_in, given)
    for p in params.values():
        p.requires_grad_()
    found, _ = getattr(column.linear_regression, fit)(params, x, t, **settings)
    for name, p in params.items():
        assert p.grad is None
        assert column.to_numpy(found[name]) == expected[name]


@pytest.mark.parametrize("fit", FITTERS)
def test_columns_agree(columns: Any, dtype: np.dtype, fit: Any) -> None:
    for name, (params, x, t) in drawn_lines(dtype).items():
        results = [
            c.call("linear_regression", fit, params, x, t, learning_rate=0.1, steps=100)
            for c in columns
        ]
        for column, (after, losses) in zip(columns, results, strict=True):
            label = f"{name}, {column.name}"
            # a descent contracts: rounding of earlier epochs is forgotten, a few eps stay
            for key in ("w", "b"):
                assert_within(f"{label} {key}", after[key], results[0][0][key], 32, "eps")
            assert_within(f"{label} losses", losses, results[0][1], 32, "eps")


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 16, 442])
def test_bits_equal_autograds_for_up_to_four_points(columns: Any, dtype: np.dtype, n: int) -> None:
    """The sentence of NumPy's column, with what it says of more points."""
    parted = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, t = rng.normal(size=(2, n, 1)).astype(dtype)
        start = {"w": np.asarray(rng.normal(), dtype), "b": np.asarray(rng.normal(), dtype)}
        found = [
            column.call("linear_regression", "fit", start, x, t, learning_rate=0.1, steps=10)
            for column in columns[:2]
        ]
        (ours, losses), (theirs, its_losses) = found
        same = losses.tobytes() == its_losses.tobytes()
        parted += not (same and all(ours[k].tobytes() == theirs[k].tobytes() for k in ours))
    assert (parted == 0) == (n <= 4), parted
