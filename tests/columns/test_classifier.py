"""The classifier 4-16-8-3: document B's facts, the derivation against finite answers, training."""

import threading
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from support.classifier import case

from triptych import data
from triptych.agreement.bounds import TRAINED
from triptych.agreement.measures import assert_within
from triptych.column import precision

SHAPES = {
    "fc1.weight": (16, 4),
    "fc1.bias": (16,),
    "fc2.weight": (8, 16),
    "fc2.bias": (8,),
    "output.weight": (3, 8),
    "output.bias": (3,),
}


def only_output_bias(dtype: np.dtype, logits: Any) -> Any:
    """Parameters that give these logits for every input."""
    params = {name: np.zeros(shape, dtype) for name, shape in SHAPES.items()}
    return params | {"output.bias": np.array(logits, dtype)}


def test_shapes_by_layer(column: Any, dtype: np.dtype) -> None:
    params, x, _ = case(dtype, n=1)
    logits = column.call("classifier", "logits", params, x)
    assert logits.shape == (1, 3)
    assert logits.dtype == dtype
    h1 = np.maximum(x @ params["fc1.weight"].T + params["fc1.bias"], 0)
    h2 = np.maximum(h1 @ params["fc2.weight"].T + params["fc2.bias"], 0)
    assert (h1.shape, h2.shape) == ((1, 16), (1, 8))
    assert_within(
        "logits", logits, h2 @ params["output.weight"].T + params["output.bias"], 8, "eps"
    )


def test_documents_softmax(column: Any, dtype: np.dtype) -> None:
    params = only_output_bias(dtype, [0.241, -0.089, 0.510])
    p = column.call("classifier", "probabilities", params, np.zeros((1, 4), dtype))
    assert [f"{value:.4f}" for value in p[0]] == ["0.3303", "0.2375", "0.4322"]
    params = only_output_bias(dtype, np.log([0.1, 0.3, 0.6]))
    p = column.call("classifier", "probabilities", params, np.zeros((1, 4), dtype))
    assert_within("p", p, np.array([[0.1, 0.3, 0.6]], dtype), 8, "eps")
    assert column.call("classifier", "predict", params, np.zeros((1, 4), dtype)).tolist() == [2]
    assert data.CLASSES[2] == "high"


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_each_row_has_its_own_softmax(column: Any, dtype: np.dtype, n: int) -> None:
    """With as many rows as classes a quotient along the other axis would fit too."""
    (x, _), _ = data.diabetes(dtype=str(dtype))
    params = data.classifier_start(1, dtype=str(dtype))
    params["output.weight"] *= 4
    z = column.call("classifier", "logits", params, x[:n]).astype(np.longdouble)
    exps = np.exp(z)
    exact = exps / exps.sum(axis=1)[:, None]
    assert n < 2 or np.ptp(exact[:, 0]) > 0.01
    p = column.call("classifier", "probabilities", params, x[:n])
    assert_within("p", p, exact.astype(dtype), 8, "eps")


@pytest.mark.parametrize("sign", [1, -1])
def test_huge_logits_are_stable(column: Any, dtype: np.dtype, sign: Any) -> None:
    params = only_output_bias(dtype, np.array([0, 1e4, -1e4]) * sign)
    x = np.zeros((3, 4), dtype)
    t = np.array([0, 1, 2])
    top = 1 if sign > 0 else 2
    p = column.call("classifier", "probabilities", params, x)
    assert np.array_equal(p, np.eye(3, dtype=dtype)[[top] * 3])
    loss, grads = column.call("classifier", "loss_and_grads", params, x, t)
    # by row: 1e4 - 0, 0 for the top class, 1e4 + 1e4; the mean is 1e4
    assert loss == 1e4
    assert_within("bias", grads["output.bias"], p[0] - np.full(3, 1 / 3, dtype), 2, "eps")


def test_cross_entropy_in_closed_form(column: Any, dtype: np.dtype) -> None:
    # equal logits: every class has probability 1/3
    params = only_output_bias(dtype, [2, 2, 2])
    x, t = np.zeros((4, 4), dtype), np.array([0, 1, 2, 2])
    loss, grads = column.call("classifier", "loss_and_grads", params, x, t)
    assert_within("loss", loss, np.array(np.log(3), dtype), 2, "eps")
    expected = np.array([1 / 3 - 1 / 4, 1 / 3 - 1 / 4, 1 / 3 - 2 / 4], dtype)
    assert_within("bias", grads["output.bias"], expected, 4, "eps")
    assert {name: g.shape for name, g in grads.items()} == SHAPES
    assert {str(g.dtype) for g in grads.values()} == {str(dtype)}


def test_gradient_by_differences(column: Any) -> None:
    params, x, t = case(np.dtype("float64"), n=8)
    with precision("float64"):
        _, grads = column.call("classifier", "loss_and_grads", params, x, t)
        rng = np.random.default_rng(5)
        step = 1e-6
        for name, value in params.items():
            direction = rng.normal(size=value.shape)
            ends = [
                column.call("classifier", "loss", params | {name: value + s * direction}, x, t)
                for s in (step, -step)
            ]
            slope = (ends[0] - ends[1]) / (2 * step)
            # central differences: rounding of the loss over the step, and step**2 of curvature
            assert abs(slope - np.sum(grads[name] * direction)) < 4 * 2.3e-16 * 2 / step + 1e-10


def test_relu_passes_no_gradient_at_zero(column: Any, dtype: np.dtype) -> None:
    params, x, t = case(dtype)
    dead = params | {"fc1.weight": 0 * params["fc1.weight"], "fc1.bias": 0 * params["fc1.bias"]}
    _, grads = column.call("classifier", "loss_and_grads", dead, x, t)
    assert not grads["fc1.weight"].any()
    assert not grads["fc1.bias"].any()
    dead = params | {"fc2.weight": 0 * params["fc2.weight"], "fc2.bias": 0 * params["fc2.bias"]}
    _, grads = column.call("classifier", "loss_and_grads", dead, x, t)
    assert not grads["fc2.weight"].any()
    assert not grads["fc2.bias"].any()


def test_labels_of_any_integer_type(column: Any, dtype: np.dtype) -> None:
    params, x, t = case(dtype)
    settings = {"batches": np.array([[0, 1], [2, 3]]), "optimizer": "sgd", "learning_rate": 0.1}
    results = []
    for kind in (np.int64, np.int32):
        loss = column.call("classifier", "loss", params, x, t.astype(kind))
        after, losses = column.call("classifier", "fit", params, x, t.astype(kind), **settings)
        results.append(np.concatenate([[loss], losses, after["fc1.bias"]]))
    assert results[0].tolist() == results[1].tolist()


def test_columns_agree(columns: Any, dtype: np.dtype) -> None:
    for seed in range(20):
        params, x, t = case(dtype, seed=seed)
        reference = None
        for column in columns:
            loss, grads = column.call("classifier", "loss_and_grads", params, x, t)
            assert (
                loss == column.call("classifier", "loss", params, x, t)
                or column.name != "numpy_ref"
            )
            reference = reference or (loss, grads)
            assert_within("loss", loss, reference[0], 8, "eps")
            for name in params:
                assert_within(f"{column.name} {name}", grads[name], reference[1][name], 16, "eps")


def test_one_step_in_exact_arithmetic(columns: Any, dtype: np.dtype) -> None:
    """Logits of small integers are exact: equal bits, and equal to fractions."""
    for seed in range(100):
        rng = np.random.default_rng(seed)
        params = {name: rng.integers(-1, 2, shape).astype(dtype) for name, shape in SHAPES.items()}
        x = rng.integers(-3, 4, (8, 4)).astype(dtype)
        exact: Any = [[Fraction(int(v)) for v in row] for row in x]
        for layer in ("fc1", "fc2", "output"):
            weight, bias = (
                params[f"{layer}.weight"].astype(int),
                params[f"{layer}.bias"].astype(int),
            )
            exact = [
                [
                    sum(int(w) * v for w, v in zip(ws, row, strict=True)) + int(b)
                    for ws, b in zip(weight, bias, strict=True)
                ]
                for row in exact
            ]
            if layer != "output":
                exact = [[max(v, Fraction(0)) for v in row] for row in exact]
        expected = np.array([[float(v) for v in row] for row in exact], dtype)
        for column in columns:
            assert_within(
                column.name, column.call("classifier", "logits", params, x), expected, 0, "ulp"
            )


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.1), ("adam", 0.01)])
def test_columns_agree_over_training(
    columns: Any, dtype: np.dtype, optimizer: str, rate: float
) -> None:
    """Ten steps; test_training.py has more."""
    steps = 10
    params, x, t = case(dtype, n=320)
    rows = data.batches(320, 32, 1)
    bound = TRAINED[optimizer, str(dtype)][steps]
    reference = None
    for column in columns:
        after, losses = column.call(
            "classifier", "fit", params, x, t, rows, optimizer=optimizer, learning_rate=rate
        )
        reference = reference or (after, losses)
        assert losses.shape == (steps,)
        assert losses.dtype == dtype
        assert_within("losses", losses, reference[1], 8 * steps, "eps")
        for name in params:
            assert_within(
                f"{column.name} {name}", after[name], reference[0][name], bound, "absolute"
            )


def test_first_loss_of_fit_is_the_loss(column: Any, dtype: np.dtype) -> None:
    params, x, t = case(dtype, n=64)
    rows = data.batches(64, 32, 1)
    _, losses = column.call(
        "classifier", "fit", params, x, t, rows, optimizer="sgd", learning_rate=0.1
    )
    loss, grads = column.call("classifier", "loss_and_grads", params, x[rows[0]], t[rows[0]])
    assert_within("first loss", losses[0], loss, 4, "eps")
    after = {name: p - dtype.type(0.1) * grads[name] for name, p in params.items()}
    second = column.call("classifier", "loss", after, x[rows[1]], t[rows[1]])
    assert_within("second loss", losses[1], second, 8, "eps")


def test_accuracy_counts_right_rows(column: Any, dtype: np.dtype) -> None:
    params, x, _ = case(dtype)
    predicted = column.call("classifier", "predict", params, x)
    t = predicted.copy()
    t[:8] = (t[:8] + 1) % 3
    accuracy = column.call("classifier", "accuracy", params, x, t)
    assert accuracy == 0.75
    assert accuracy.dtype == dtype
    # rounded once, and to this dtype
    t = predicted[:3] + np.array([0, 1, 1]) * np.where(predicted[:3] == 2, -1, 1)
    assert column.call("classifier", "accuracy", params, x[:3], t) == dtype.type(1) / dtype.type(3)


def test_predict_takes_the_first_of_a_tie(column: Any, dtype: np.dtype) -> None:
    params = only_output_bias(dtype, [1, 2, 2])
    predicted = column.call("classifier", "predict", params, np.zeros((2, 4), dtype))
    assert predicted.tolist() == [1, 1]
    narrow = column.name == "jax_impl" and dtype == np.float32
    assert predicted.dtype == (np.int32 if narrow else np.int64)


def test_dropout_in_training_and_evaluation(column: Any, dtype: np.dtype) -> None:
    rng = np.random.default_rng(0)
    h = rng.normal(size=(6, 8)).astype(dtype)
    mask = data.dropout_mask(h.shape, 0.25)
    kept = column.call("classifier", "dropout", h, mask, rate=0.25, training=True)
    assert_within("training", kept, np.where(mask, h / dtype.type(0.75), 0).astype(dtype), 1, "ulp")
    same = column.call("classifier", "dropout", h, mask, rate=0.25, training=False)
    assert np.array_equal(same, h)


def test_dropout_is_its_own_vector_jacobian_product(columns: Any, dtype: np.dtype) -> None:
    import jax
    import torch

    numpy_ref, torch_impl, jax_impl = columns
    rng = np.random.default_rng(0)
    h, cotangent = rng.normal(size=(2, 6, 8)).astype(dtype)
    mask = data.dropout_mask(h.shape, 0.25)
    by_hand = numpy_ref.call("classifier", "dropout", cotangent, mask, rate=0.25, training=True)
    leaf = torch.tensor(h, requires_grad=True)
    kept = torch_impl.classifier.dropout(leaf, torch.tensor(mask), rate=0.25, training=True)
    kept.backward(torch.tensor(cotangent))
    assert leaf.grad is not None
    assert_within("PyTorch", leaf.grad.numpy(), by_hand, 1, "ulp")
    _, pullback = jax.vjp(
        lambda h: jax_impl.classifier.dropout(h, jax.numpy.asarray(mask), rate=0.25, training=True),
        jax.numpy.asarray(h),
    )
    assert_within("JAX", np.asarray(pullback(jax.numpy.asarray(cotangent))[0]), by_hand, 1, "ulp")


# PyTorch's module


@pytest.fixture
def torch_column(request: pytest.FixtureRequest) -> Any:
    from support.strict import load_column

    return load_column("torch_impl", request.config)


def test_simple_net_is_the_documents(torch_column: Any) -> None:
    net = torch_column.classifier.SimpleNet()
    assert {name: tuple(p.shape) for name, p in net.named_parameters()} == SHAPES
    assert list(dict(net.named_parameters())) == list(SHAPES)
    assert all(p.requires_grad for p in net.parameters())
    assert [name for name, _ in net.named_children()] == ["fc1", "relu1", "fc2", "relu2", "output"]
    # parameters() gives tensors, not names
    assert not any(isinstance(p, tuple | str) for p in net.parameters())


def test_modes_reach_every_submodule(torch_column: Any) -> None:
    net = torch_column.classifier.SimpleNet()
    for training in (False, True):
        assert net.train(training) is net
        assert {module.training for module in net.modules()} == {training}
    assert not net.eval().training


def test_simple_net_equals_the_functions(torch_column: Any, dtype: np.dtype) -> None:
    import torch

    params, x, _ = case(dtype)
    here = torch_column.from_numpy(params)
    net = torch_column.classifier.SimpleNet.from_params(here)
    logits = torch_column.classifier.logits(here, torch.tensor(x))
    assert_within("forward", net(torch.tensor(x)).detach().numpy(), logits.numpy(), 8, "eps")
    # a copy: an update of the network leaves the parameters alone
    with torch.no_grad():
        net.fc1.bias.add_(1)
    assert np.array_equal(here["fc1.bias"].numpy(), params["fc1.bias"])


def test_backward_fills_gradients_and_step_updates(torch_column: Any) -> None:
    import torch

    params, x, t = case(np.dtype("float32"))
    net = torch_column.classifier.SimpleNet.from_params(torch_column.from_numpy(params))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    torch.nn.functional.cross_entropy(net(torch.tensor(x)), torch.tensor(t)).backward()
    for name, p in net.named_parameters():
        assert np.array_equal(p.detach().numpy(), params[name])
        assert p.grad is not None
    optimizer.step()
    assert not np.array_equal(net.fc1.weight.detach().numpy(), params["fc1.weight"])


def test_threads_do_not_share_a_network(torch_column: Any) -> None:
    """`functional_call` changes the network that it calls, and PyTorch lets other threads run."""
    import torch

    x = torch.ones(20000, 4)
    given = [
        torch_column.from_numpy(data.classifier_start(seed, dtype="float32")) for seed in (1, 2)
    ]
    alone = [torch_column.classifier.logits(params, x) for params in given]
    apart: list[int] = []

    def call(i: int) -> None:
        for _ in range(10):
            found = torch_column.classifier.logits(given[i], x)
            apart.extend([i] * (not torch.equal(found, alone[i])))

    threads = [threading.Thread(target=call, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not apart


def test_networks_draw_no_random_numbers(torch_column: Any) -> None:
    import torch

    params, x, t = case(np.dtype("float32"))
    state = torch.get_rng_state()
    torch_column.call(
        "classifier",
        "fit",
        params,
        x,
        t,
        data.batches(32, 8, 1),
        optimizer="adam",
        learning_rate=0.1,
    )
    torch_column.call("classifier", "loss_and_grads", params, x, t)
    torch_column.call("parameters", "summary", params)
    line = data.line(dtype="float32")
    torch_column.call("linear_regression", "fit_with_optimizer", *line, learning_rate=0.1, steps=1)
    # a thread makes its network at its first call
    params = torch_column.from_numpy(params)
    thread = threading.Thread(target=torch_column.classifier.logits, args=(params, torch.tensor(x)))
    thread.start()
    thread.join()
    assert torch.equal(torch.get_rng_state(), state)


def test_weights_are_out_in(columns: Any, dtype: np.dtype) -> None:
    # B writes x W + b with W 4x16 in places; stored (out, in), x W^T + b is right
    params, x, _ = case(dtype)
    for column in columns:
        logits = column.call("classifier", "logits", params, x)
        h1 = np.maximum(np.einsum("ni,oi->no", x, params["fc1.weight"]) + params["fc1.bias"], 0)
        h2 = np.maximum(np.einsum("ni,oi->no", h1, params["fc2.weight"]) + params["fc2.bias"], 0)
        expected = np.einsum("ni,oi->no", h2, params["output.weight"]) + params["output.bias"]
        assert_within(column.name, logits, expected, 16, "eps")


def test_square_layers_as_many_rows_as_classes(column: Any) -> None:
    """Where every size is the same, a transpose or an axis too many keeps the shape."""
    params, x, t = case(np.dtype("float64"), n=4, sizes=(4, 4, 4, 4))
    params = {name: 3 * p for name, p in params.items()}  # so that the classes differ by row
    h = x
    for layer in ("fc1", "fc2", "output"):
        z = np.einsum("ni,oi->no", h, params[f"{layer}.weight"]) + params[f"{layer}.bias"]
        h = np.maximum(z, 0)
    logits = z
    with precision("float64"):
        found = column.call("classifier", "logits", params, x)
        shares = column.call("classifier", "probabilities", params, x)
        predicted = column.call("classifier", "predict", params, x)
        loss, grads = column.call("classifier", "loss_and_grads", params, x, t)
    assert_within("logits", found, logits, 16, "eps")
    rows = [np.exp(row - row.max()) / np.exp(row - row.max()).sum() for row in logits]
    assert_within("probabilities", shares, np.array(rows), 32, "eps")
    assert predicted.tolist() == [int(row.argmax()) for row in logits]
    assert predicted.tolist() != logits.argmax(axis=0).tolist()
    assert loss == pytest.approx(-np.mean([np.log(row[k]) for row, k in zip(rows, t, strict=True)]))
    # the gradient of the loss by the logits, then by the last layer, row by row
    d_logits = (np.array(rows) - np.eye(4)[t]) / 4
    before = np.maximum(
        np.einsum(
            "ni,oi->no",
            np.maximum(np.einsum("ni,oi->no", x, params["fc1.weight"]) + params["fc1.bias"], 0),
            params["fc2.weight"],
        )
        + params["fc2.bias"],
        0,
    )
    expected = np.einsum("no,ni->oi", d_logits, before)
    assert_within("output.weight", grads["output.weight"], expected, 64, "eps")
    assert_within("output.bias", grads["output.bias"], d_logits.sum(axis=0), 64, "eps")


def test_wider_twin_needs_no_other_code(columns: Any, dtype: np.dtype) -> None:
    params, x, t = case(dtype, n=16, sizes=(7, 33, 21, 5))
    results = [c.call("classifier", "loss_and_grads", params, x, t) for c in columns]
    for loss, grads in results[1:]:
        assert_within("loss", loss, results[0][0], 8, "eps")
        for name in params:
            assert_within(name, grads[name], results[0][1][name], 16, "eps")
