"""The same agreement on a CUDA device: `pytest --require-gpu` fails where there is none.

The exact tier is `test_classifier_step_is_exact` in `test_bitwise`, which runs on each device:
whole numbers have the same bits on both. Here is the rest. float32 products run in full precision,
which both frameworks are told: JAX would take TF32. Each computation must repeat its bits.
"""

import importlib
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support import oracle
from support.classifier import RATES, assert_flat, case, steps_of, trained

from triptych import data
from triptych.agreement import exhibits
from triptych.agreement.bounds import TRAINED
from triptych.agreement.measures import assert_within, distance
from triptych.column import Column
from triptych.forms import FORMS, missing_form

# unit roundoff of the operands
COARSE = {"tf32": 2.0**-11, "bfloat16": 2.0**-8}


@pytest.fixture(autouse=True)
def full_precision_and_repeatable(columns: Any) -> Iterator[None]:
    """PyTorch's settings; the fixture `dtype` makes JAX's, conftest those of the environment."""
    torch = importlib.import_module("torch")
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cuda.matmul.fp32_precision = before


@pytest.mark.parametrize("exhibit", exhibits.EXHIBITS, ids=lambda e: f"{e.concept}, {e.quantity}")
def test_exhibits(exhibit: Any, cuda_column: Column, dtype: np.dtype, agree: Any) -> None:
    if str(dtype) not in exhibit.dtypes:
        return
    reference = exhibit.compute(Column("numpy_ref"), str(dtype))
    found, again = (exhibit.compute(cuda_column, str(dtype)) for _ in range(2))
    pair = f"numpy_ref/{cuda_column.name}"
    bound = exhibit.allowed(pair, str(dtype), "cuda")
    for name, value in reference.items():
        assert_within(f"{name}, again", again[name], found[name], 0, "ulp")
        if value.dtype == dtype:
            agree(
                exhibit.concept, exhibit.quantity, pair,
                found[name], value, bound, exhibit.unit, device="cuda",
            )  # fmt: skip
        else:  # counts
            assert np.array_equal(found[name], value), name


def on_both(cuda: None) -> list[Column]:
    return [Column("numpy_ref"), Column("torch_impl", "cuda"), Column("jax_impl", "cuda")]


def test_fixed_seeds(cuda: None, dtype: np.dtype, agree: Any) -> None:
    """The normwise tier: each column against 50 digits, and against each other."""
    for seed in range(12):
        params, x, t = case(dtype, seed=seed)
        loss, grads = oracle.exact(params, x, t)
        exact = (
            oracle.rounded(loss, dtype),
            {name: oracle.rounded(g, dtype) for name, g in grads.items()},
        )
        found = {
            column.name: column.call("classifier", "loss_and_grads", params, x, t)
            for column in on_both(cuda)
        }
        for name in ("torch_impl", "jax_impl"):
            assert_flat(agree, f"exact/{name}", found[name], exact, device="cuda")
        for first, second in itertools.combinations(found, 2):
            assert_flat(agree, f"{first}/{second}", found[second], found[first], device="cuda")


@pytest.mark.parametrize("steps", [1, 10, 100])
@pytest.mark.parametrize("optimizer", RATES)
def test_training(cuda: None, dtype: np.dtype, agree: Any, optimizer: str, steps: int) -> None:
    runs = {c.name: trained(c, dtype, 0, optimizer, steps) for c in on_both(cuda)}
    bound = TRAINED[optimizer, str(dtype)][steps]
    quantity = steps_of(optimizer, steps)
    for first, second in itertools.combinations(runs, 2):
        for key, p in runs[first].items():
            agree(
                "classifier", quantity, f"{first}/{second}",
                runs[second][key], p, bound, "absolute", device="cuda",
            )  # fmt: skip


def test_results_stay_on_the_device(cuda_column: Column) -> None:
    params = cuda_column.take_in(data.classifier_start(dtype="float32"))
    x, t = (cuda_column.take_in(v) for v in (np.ones((8, 4), np.float32), np.zeros(8, int)))
    loss, grads = cuda_column.classifier.loss_and_grads(params, x, t)
    for array in (loss, *grads.values()):
        assert cuda_column.tensor_basics.describe(array)["device"] == cuda_column.device


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_loop(form: str, cuda_column: Column, dtype: np.dtype) -> None:
    if missing_form(cuda_column.name, form, cuda_column.device):
        return  # the column has no such form by its nature
    (x, t), _ = data.diabetes(dtype=str(dtype))
    start, rows = data.classifier_start(dtype=str(dtype)), data.batches(len(x), 32, 1)
    params, losses = cuda_column.call("execution", form, start, x, t, rows, learning_rate=0.1)
    expected, history = Column("numpy_ref").call(
        "execution", "as_written", start, x, t, rows, learning_rate=0.1
    )
    assert len(rows) == 10
    # a loss, of order 1, passes on what its own sums and its parameters have
    assert_within("losses", losses, history, 8 * len(rows), "eps")
    for name in expected:
        bound = TRAINED["sgd", str(dtype)][10]
        assert_within(name, params[name], expected[name], bound, "absolute")


def test_what_tf32_and_bfloat16_cost(cuda_column: Column, agree: Any) -> None:
    """A product of 256 x 256 matrices against float64, and how many of 7 digits are left."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 256, 256)).astype(np.float32)
    exact = (a.astype(float) @ b.astype(float)).astype(np.float32)
    # both operands are rounded, and bfloat16's result: relative to |a| |b|, summed over 256 terms
    scale = float(np.max(np.abs(a) @ np.abs(b)) / np.max(np.abs(exact)))
    eps = float(np.finfo(np.float32).eps)
    x, y = cuda_column.take_in(a), cuda_column.take_in(b)
    for kind, product in _coarse_products(cuda_column, x, y).items():
        found = cuda_column.give_out(product).astype(np.float32)
        apart = distance(kind, found, exact, "eps").value
        assert apart > 16, f"{kind} was not used: {apart} eps"
        digits = -np.log10(apart * eps)
        agree.remark(f"a product in {kind}, {cuda_column.name} on cuda: {digits:.1f} digits")
        agree(
            "tensor_basics", f"product in {kind}", f"exact/{cuda_column.name}",
            found, exact, 3 * COARSE[kind] / eps * scale, "eps", device="cuda",
        )  # fmt: skip


def _coarse_products(column: Column, x: Any, y: Any) -> dict[str, Any]:
    if column.name == "jax_impl":
        jax = importlib.import_module("jax")
        with jax.default_matmul_precision("tensorfloat32"):
            tf32 = x @ y
        return {"tf32": tf32, "bfloat16": x.astype("bfloat16") @ y.astype("bfloat16")}
    setting = importlib.import_module("torch").backends.cuda.matmul
    setting.fp32_precision = "tf32"
    tf32 = x @ y
    setting.fp32_precision = "ieee"
    return {"tf32": tf32, "bfloat16": x.bfloat16() @ y.bfloat16()}
