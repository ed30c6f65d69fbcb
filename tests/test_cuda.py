"""The same agreement on a CUDA device: `pytest --require-gpu` fails where there is none.

float32 matrix products run in full precision, which both frameworks are told: JAX would take TF32.
"""

from typing import Any

import numpy as np
import pytest

from triptych import compare, data
from triptych.agreement import assert_within, distance
from triptych.calls import Column


@pytest.mark.parametrize("exhibit", compare.EXHIBITS, ids=lambda e: f"{e.concept}, {e.quantity}")
def test_exhibits(exhibit: Any, cuda_column: Column, dtype: np.dtype, agree: Any) -> None:
    reference = exhibit.compute(Column("numpy_ref"), str(dtype))
    found = exhibit.compute(cuda_column, str(dtype))
    pair = f"numpy_ref/{cuda_column.name}"
    bound = exhibit.allowed(pair, str(dtype), "cuda")
    for name, value in reference.items():
        agree(
            exhibit.concept, exhibit.quantity, pair,
            compare.same_width(found[name], value), value, bound, exhibit.unit, device="cuda",
        )  # fmt: skip


def test_results_stay_on_the_device(cuda_column: Column) -> None:
    params = cuda_column.take_in(data.classifier_start(dtype="float32"))
    x, t = (cuda_column.take_in(v) for v in (np.ones((8, 4), np.float32), np.zeros(8, int)))
    loss, grads = cuda_column.classifier.loss_and_grads(params, x, t)
    for array in (loss, *grads.values()):
        assert cuda_column.tensor_basics.describe(array)["device"] == "cuda"


@pytest.mark.parametrize("form", ["as_written", "compiled_step", "compiled_loop"])
def test_every_form_of_the_loop(form: str, cuda_column: Column, dtype: np.dtype) -> None:
    assert cuda_column.execution.modes(device="cuda")[form] == ""
    (x, t), _ = data.diabetes(dtype=str(dtype))
    start, rows = data.classifier_start(dtype=str(dtype)), data.batches(len(x), 32, 1)
    params, losses = cuda_column.call("execution", form, start, x, t, rows, learning_rate=0.1)
    expected, history = Column("numpy_ref").call(
        "execution", "as_written", start, x, t, rows, learning_rate=0.1
    )
    bound = {"float32": 1e-6, "float64": 2e-15}[str(dtype)]
    assert_within("losses", losses, history, 8 * len(rows), "eps")
    for name in expected:
        assert_within(name, params[name], expected[name], bound, "absolute")


def test_what_tf32_and_bfloat16_cost(cuda_column: Column, agree: Any) -> None:
    """A product of matrices against float64: eps is 2^-11 in TF32 and 2^-8 in bfloat16."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 256, 256)).astype(np.float32)
    exact = (a.astype(float) @ b.astype(float)).astype(np.float32)
    # each operand is rounded once, to half an eps: relative to |a| |b|, summed over 256 terms
    scale = float(np.max(np.abs(a) @ np.abs(b)) / np.max(np.abs(exact)))
    x, y = cuda_column.take_in(a), cuda_column.take_in(b)
    for kind, product in _coarse_products(cuda_column, x, y).items():
        eps = {"tf32": 2.0**-11, "bfloat16": 2.0**-8}[kind] / float(np.finfo(np.float32).eps)
        found = cuda_column.give_out(product).astype(np.float32)
        apart = distance(kind, found, exact, "eps").value
        assert apart > 16, f"{kind} was not used: {apart} eps"
        agree(
            "tensor_basics", f"product in {kind}", f"numpy_ref/{cuda_column.name}",
            found, exact, 2 * eps * scale, "eps", device="cuda",
        )  # fmt: skip


def _coarse_products(column: Column, x: Any, y: Any) -> dict[str, Any]:
    if column.name == "jax_impl":
        import jax
        import jax.numpy as jnp

        with jax.default_matmul_precision("tensorfloat32"):
            tf32 = x @ y
        return {"tf32": tf32, "bfloat16": x.astype(jnp.bfloat16) @ y.astype(jnp.bfloat16)}
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        tf32 = x @ y
    finally:
        torch.set_float32_matmul_precision(before)
    return {"tf32": tf32, "bfloat16": x.bfloat16() @ y.bfloat16()}
