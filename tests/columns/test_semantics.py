"""The columns do not fall into the traps, and what only a GPU shows of them.

docs/traps.toml states the traps as facts of NumPy, PyTorch and JAX, and tests/project/test_traps.py
judges them; here stands what our columns do where they could fall into one.
"""

import importlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from triptych import data
from triptych.column import precision


@pytest.fixture
def torch(columns: Any) -> Any:
    return importlib.import_module("torch")


@pytest.fixture
def jax(columns: Any) -> Any:
    """JAX as it comes, without x64, on the CPU."""
    jax = importlib.import_module("jax")
    with jax.enable_x64(False), jax.default_device(jax.devices("cpu")[0]):
        yield jax


@pytest.fixture
def jnp(jax: Any) -> Any:
    return jax.numpy


@pytest.fixture
def cuda(torch: Any, jax: Any) -> None:
    if not torch.cuda.is_available():
        pytest.skip("a fact of CUDA: PyTorch finds no CUDA device here")
    if "cuda" not in importlib.import_module("jax_impl").devices():
        pytest.skip("a fact of CUDA: JAX finds no CUDA device here")


def same(a: Any, b: Any) -> bool:
    """Equal values, NaN equal to NaN."""
    return np.array_equal(a, b, equal_nan=True)


def test_columns_relu_at_0(column: Any, dtype: np.dtype) -> None:
    """All three columns take the slope 0: nothing reaches the layer below a z that is 0."""
    params = {key: np.ones_like(p) for key, p in data.classifier_start(dtype=str(dtype)).items()}
    params["fc1.weight"] *= 0
    params["fc1.bias"] *= 0
    params["output.weight"] *= np.array([[1], [2], [3]], dtype)
    x, t = np.ones((4, 4), dtype), np.array([0, 1, 2, 0])
    _, grads = column.call("classifier", "loss_and_grads", params, x, t)
    assert np.all(grads["fc1.weight"] == 0)
    assert np.all(grads["fc1.bias"] == 0)
    assert np.all(grads["fc2.bias"] != 0)  # what arrives above the kink is not 0


def test_columns_keep_float64(columns: Any, jax: Any) -> None:
    """The JAX column refuses what it would cut; the other two keep it."""
    tenth = np.array([0.1])
    for column in columns[:2]:
        assert column.to_numpy(column.from_numpy(tenth)).dtype == "float64"
    with pytest.raises(ValueError, match="x64"):
        columns[2].from_numpy(tenth)


def test_columns_keep_float32_state(column: Any, dtype: np.dtype) -> None:
    """A rate that is a NumPy scalar, of either precision, changes neither dtype nor value."""
    given = column.take_in(dict(zip("pxt", data.line(dtype=str(dtype)), strict=True)))
    regression = column.linear_regression
    for fit in (regression.fit, regression.fit_with_optimizer):
        runs = [
            column.give_out(fit(*given.values(), learning_rate=rate, steps=3))
            for rate in (0.125, np.float32(0.125), np.float64(0.125))
        ]
        for after, losses in runs:
            assert after["w"].dtype == after["b"].dtype == losses.dtype == dtype
            assert np.array_equal(losses, runs[0][1])


def test_adam_adds_epsilon_to_the_root(column: Any) -> None:
    """With a gradient as small as epsilon the first step is rate g / (|g| + eps): half the rate."""
    with precision("float64"):
        params, grads = column.take_in({"p": np.zeros(1)}), column.take_in({"p": np.full(1, 1e-8)})
        state = column.optimizers.adam_start(params)
        after, _ = column.optimizers.adam_step(params, grads, state, learning_rate=0.5)
        found = column.give_out(after)["p"].item()
    assert abs(found + 0.25) <= 4 * np.finfo(float).eps


def test_a_tolerance_of_1e4_passes_wrong_adams(column: Any) -> None:
    """With gradients of 0.01 to 1, ten steps of four wrong Adams end within 1e-4 of the right one.

    They are a thousand and more times further away than rounding takes three right ones.
    """
    rng = np.random.default_rng(0)
    drawn = rng.uniform(0.01, 1, (10, 50)) * rng.choice([-1, 1], 50)
    optimizers = column.optimizers

    def ten_steps(eps: Any) -> Any:
        params = column.take_in({"p": np.zeros(50)})
        state = optimizers.adam_start(params)
        for step, g in enumerate(drawn, start=1):
            grads = column.take_in({"p": g})
            params, state = optimizers.adam_step(
                params, grads, state, learning_rate=0.01, eps=eps(step)
            )
        return column.give_out(params)["p"]

    with precision("float64"):
        right = ten_steps(lambda step: 1e-8)
        wrong = {
            "the value of Keras": ten_steps(lambda step: 1e-7),
            "folded": ten_steps(lambda step: 1e-8 / np.sqrt(1 - 0.999**step)),
            "folded, with the value of Keras": ten_steps(
                lambda step: 1e-7 / np.sqrt(1 - 0.999**step)
            ),
            "none": ten_steps(lambda step: 1e-300),
        }
    for name, params in wrong.items():
        moved = np.abs(params - right).max()
        # the bound for ten right steps is 5e-15 (numbers of order 0.1)
        assert 1000 * 5e-15 < moved < 1e-4, (name, moved)


def test_columns_refuse_labels_out_of_range(column: Any) -> None:
    """Silent in JAX (clamped), for -1 in NumPy (from the end), for -100 in PyTorch (left out)."""
    params = data.classifier_start(dtype="float32")
    x = np.ones((1, 4), np.float32)
    for label in (3, -1, -100):
        for function in ("loss", "loss_and_grads", "accuracy"):
            with pytest.raises(ValueError, match=r"t must be in 0 \.\. 2"):
                column.call("classifier", function, params, x, np.array([label]))


def test_columns_refuse_to_broadcast_by_accident(column: Any) -> None:
    """(3,) against (3, 1) is (3, 3) in all three frameworks, so only a check of shapes sees it."""
    flat = np.array([1, 2, 3], np.float32)
    upright = flat[:, None]
    with pytest.raises(ValueError, match=r"got shape \(3,\)"):
        column.call("linear_layer", "mse_loss", upright, flat)
    line = {"w": np.float32(1), "b": np.float32(0)}
    for x, t in ((upright, flat), (flat, upright)):
        with pytest.raises(ValueError, match=r"got shape \(3,\)"):
            column.call("linear_regression", "loss", line, x, t)


def test_columns_share_no_memory(column: Any) -> None:
    """What goes into a column, or comes out of it, is a copy, and writable."""
    for size in (1, 3, 64, 1000):
        source = np.zeros(size, np.float32)
        inside = column.from_numpy(source)
        source[:] = 7
        out = column.to_numpy(inside)
        assert np.all(out == 0)
        out[:] = 7
        assert np.all(column.to_numpy(inside) == 0)


def test_columns_do_not_depend_on_dict_order(column: Any, dtype: np.dtype) -> None:
    """Parameters in another order give the same gradients under the same names."""
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(8, 4)).astype(dtype), rng.integers(0, 3, 8)
    params = data.classifier_start(dtype=str(dtype))
    turned = dict(reversed(params.items()))
    _, grads = column.call("classifier", "loss_and_grads", params, x, t)
    _, again = column.call("classifier", "loss_and_grads", turned, x, t)
    assert grads.keys() == again.keys() == params.keys()
    for name, grad in grads.items():
        assert grad.shape == params[name].shape
        assert np.array_equal(grad, again[name])


@pytest.mark.usefixtures("cuda")
def test_matmul_precision_on_cuda(torch: Any, jax: Any, jnp: Any) -> None:
    """1 + 2**-12 times the unit matrix: TF32 keeps 10 bits after the point and loses the rest."""
    x = np.full((256, 256), 1 + 2.0**-12, np.float32)
    one = np.eye(256, dtype=np.float32)
    for wanted, expected in (("tensorfloat32", 1), ("float32", x)):
        gpu = jax.devices("cuda")[0]
        with jax.default_matmul_precision(wanted), jax.default_device(gpu):
            assert same(jnp.array(x) @ jnp.array(one), np.broadcast_to(expected, x.shape))
    setting = torch.backends.cuda.matmul
    before = setting.fp32_precision
    try:
        for fixed, exact in (("tf32", 1), ("ieee", x)):
            setting.fp32_precision = fixed
            product = torch.tensor(x, device="cuda") @ torch.tensor(one, device="cuda")
            assert same(product.cpu().numpy(), np.broadcast_to(exact, x.shape))
    finally:
        setting.fp32_precision = before


@pytest.mark.usefixtures("cuda")
def test_index_out_of_range_kills_cuda() -> None:
    """On CUDA PyTorch's check runs on the device, later; after it the process has no CUDA left."""
    code = """if True:
        import torch
        x = torch.arange(3.0, device="cuda")
        try:
            x[torch.tensor([5], device="cuda")]
            torch.cuda.synchronize()
        except Exception as error:
            print("first", "device-side assert" in str(error))
        try:
            torch.ones(1, device="cuda") + 1
            torch.cuda.synchronize()
        except Exception as error:
            print("later", "device-side assert" in str(error))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["first", "True", "later", "True"]
