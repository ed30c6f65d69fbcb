"""One digest for a whole training run: every column, order, batch and number of threads."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from triptych import data
from triptych.agreement import digests
from triptych.agreement.measures import assert_within
from triptych.column import Column, precision
from triptych.names import COLUMNS

ROOT = Path(__file__).parents[2]
SGD, ADAM = digests.committed()[:2]
SQUARE = 4, 20, 20, 20
"""As many units and classes as rows in a batch: nothing but its values tells a transpose."""


def run(optimizer: str, seed: int = 0, *, batch: int = 32, steps: int = 20) -> digests.Run:
    return digests.Run(optimizer, seed, batch, steps, "")


def sample(
    seed: int = 0, sizes: tuple[int, int, int, int] = (4, 16, 8, 3), n: int = 40
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, sizes[0])).astype(np.float32)
    params = data.classifier_start(seed, sizes, dtype="float32")
    return params, x, rng.integers(0, sizes[-1], n)


def fit(column: Column, optimizer: str, *args: Any, rate: float = 0.05) -> str:
    found = column.call("reproducible", "fit", *args, optimizer=optimizer, learning_rate=rate)
    return digests.digest(*found)


@pytest.mark.slow_in("jax_impl", "adam")
@pytest.mark.parametrize("known", [SGD, ADAM], ids=lambda known: known.optimizer)
def test_the_committed_digest(column: Column, known: digests.Run) -> None:
    assert digests.find(column, known) == known.digest


@pytest.mark.slow
@pytest.mark.parametrize("known", digests.committed(), ids=lambda k: "-".join(map(str, k[:4])))
def test_all_committed_digests(
    column: Column, known: digests.Run, pytestconfig: pytest.Config
) -> None:
    if known.seed > 2 and not pytestconfig.getoption("--exhaustive"):
        pytest.skip("three seeds of twenty: --exhaustive takes all")
    assert digests.find(column, known) == known.digest


def test_what_is_committed() -> None:
    runs = digests.committed()
    assert len({known.digest for known in runs}) == len(runs)
    for optimizer in digests.RATES:
        seeds = {k.seed for k in runs if (k.optimizer, k.steps) == (optimizer, 1000)}
        assert seeds == set(range(20))
        assert {k.batch for k in runs if k.optimizer == optimizer} == {1, 32, 342}


@pytest.mark.slow
def test_jax_without_its_compiler() -> None:
    jax = pytest.importorskip("jax")
    short = run("adam", steps=2)
    with jax.disable_jit():
        found = digests.find(Column("jax_impl"), short)
    assert found == digests.find(Column("numpy_ref"), short)


@pytest.mark.slow_in("jax_impl")
def test_in_any_order_of_a_batch(column: Column) -> None:
    params, x, t = sample(sizes=SQUARE)
    batches = data.batches(40, 20, 3)
    shuffled = np.random.default_rng(1).permuted(batches, axis=1)
    found = fit(column, "sgd", params, x, t, shuffled)
    assert found == fit(column, "sgd", params, x, t, batches)
    assert found == fit(Column("numpy_ref"), "sgd", params, x, t, batches)


def test_ordinary_training_does_depend_on_the_order() -> None:
    params, x, t = sample()
    batches = data.batches(40, 20, 3)
    shuffled = np.random.default_rng(1).permuted(batches, axis=1)
    found = [
        Column("numpy_ref").call(
            "classifier", "fit", params, x, t, rows, optimizer="sgd", learning_rate=0.05
        )
        for rows in (batches, shuffled)
    ]
    assert digests.digest(*found[0]) != digests.digest(*found[1])


def test_another_run_has_another_digest() -> None:
    """Nothing that a digest should tell apart is left out of it."""
    column = Column("numpy_ref")
    runs = [run("sgd", seed, batch=batch) for seed in range(3) for batch in (16, 32)]
    runs += [run("adam"), run("sgd", steps=21)]
    assert len({digests.find(column, one) for one in runs}) == len(runs)


SIZES = st.tuples(*[st.integers(1, 33)] * 3, st.integers(2, 9))
RARE = settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def digests_of_any(columns: list[Column], sizes: Any, batch: int, seed: int) -> set[str]:
    params, x, t = sample(seed, sizes)
    batches = data.batches(40, batch, 1, seed)[:3]
    return {fit(column, "adam", params, x, t, batches) for column in columns}


@RARE
@given(SIZES, st.integers(1, 40), st.integers(0, 2**20))
def test_of_any_size(columns: list[Column], sizes: Any, batch: int, seed: int) -> None:
    """Without JAX, which compiles each size anew."""
    assert len(digests_of_any(columns[:2], sizes, batch, seed)) == 1


@pytest.mark.slow
@RARE
@given(SIZES, st.integers(1, 40), st.integers(0, 2**20))
def test_of_any_size_in_jax(columns: list[Column], sizes: Any, batch: int, seed: int) -> None:
    assert len(digests_of_any(columns, sizes, batch, seed)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", digests.RATES)
def test_batches_of_4096_rows(columns: list[Column], optimizer: str) -> None:
    params, x, t = sample(n=5000)
    batches = data.batches(5000, 4096, 5)
    assert len({fit(column, optimizer, params, x, t, batches) for column in columns}) == 1


def test_gradients(column: Column) -> None:
    """They are the classifier's own, of float64, to what 24 bits allow."""
    params, x, t = sample(seed=3)
    loss, grads = column.call("reproducible", "loss_and_grads", params, x, t)
    wide = {name: p.astype(float) for name, p in params.items()}
    with precision("float64"):
        exact = Column("numpy_ref").call("classifier", "loss_and_grads", wide, x.astype(float), t)
    assert_within("loss", loss, exact[0].astype(np.float32), 2, "eps")
    for name, g in grads.items():
        assert g.dtype == np.float32
        # better than float32's own: the sums add no error
        assert_within(name, g, exact[1][name].astype(np.float32), 4, "eps")


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", digests.RATES)
def test_it_is_the_classifiers_training(column: Column, optimizer: str) -> None:
    """As near to training in float64 as float32 can be, so it is no other algorithm."""
    params, x, t = sample(seed=4)
    batches = data.batches(40, 20, 3)
    settings = {"optimizer": optimizer, "learning_rate": 2.0**-5}
    after, losses = column.call("reproducible", "fit", params, x, t, batches, **settings)
    wide = {name: p.astype(float) for name, p in params.items()}
    with precision("float64"):
        exact = Column("numpy_ref").call(
            "classifier", "fit", wide, x.astype(float), t, batches, **settings
        )
    assert losses.shape == (6,)
    assert_within("losses", losses, exact[1].astype(np.float32), 1e-6, "absolute")
    for name, p in after.items():
        bound = 1e-6 if optimizer == "sgd" else 1e-5
        assert_within(name, p, exact[0][name].astype(np.float32), bound, "absolute")


@pytest.mark.slow_in("jax_impl")
def test_nothing_given_is_changed(column: Column) -> None:
    params, x, t = column.take_in(sample())
    before = column.give_out({"x": x, "t": t} | params)
    batches = column.from_numpy(data.batches(40, 20, 3))
    column.reproducible.fit(params, x, t, batches, optimizer="adam", learning_rate=0.1)
    after = column.give_out({"x": x, "t": t} | params)
    for name, value in before.items():
        assert np.array_equal(value, after[name]), name


def test_at_zero_relu_has_the_derivative_zero(column: Column) -> None:
    params, x, t = sample()
    for name in ("fc1.weight", "fc1.bias", "fc2.bias"):  # so every z is exactly 0
        params[name] = np.zeros_like(params[name])
    _, grads = column.call("reproducible", "loss_and_grads", params, x, t)
    for name, g in grads.items():
        assert g.any() == (name == "output.bias"), name


@pytest.mark.slow_in("jax_impl")
def test_narrow_integers_will_do(column: Column) -> None:
    params, x, t = sample(sizes=SQUARE)
    batches = data.batches(40, 20, 3)
    assert fit(column, "sgd", params, x, t.astype(np.int32), batches.astype(np.int32)) == fit(
        column, "sgd", params, x, t, batches
    )
    loss, _ = column.call("reproducible", "loss_and_grads", params, x, t.astype(np.int8))
    assert loss == column.call("reproducible", "loss_and_grads", params, x, t)[0]


def test_a_network_under_training_is_left_alone() -> None:
    """PyTorch: parameters that require gradients are copied, and get none."""
    torch = pytest.importorskip("torch")
    column = Column("torch_impl")
    params, x, t = column.take_in(sample())
    plain = column.reproducible.loss_and_grads(params, x, t)[1]
    leaves = {name: p.requires_grad_() for name, p in params.items()}
    found = column.reproducible.loss_and_grads(leaves, x, t)[1]
    assert all(torch.equal(found[name], g) for name, g in plain.items())
    assert all(p.grad is None for p in leaves.values())


def test_a_rate_is_rounded_to_float32(column: Column) -> None:
    params, x, t = sample(sizes=SQUARE)
    batches = data.batches(40, 20, 3)
    third = float(np.float32(1 / 3))
    assert fit(column, "sgd", params, x, t, batches, rate=1 / 3) == fit(
        column, "sgd", params, x, t, batches, rate=third
    )


def test_too_many_rows_in_a_batch(column: Column) -> None:
    params, x, t = sample(n=2)
    batches = np.zeros((1, 2**15 + 1), int)
    with pytest.raises(ValueError, match="at most 32768 terms to be exact, got 32769"):
        fit(column, "sgd", params, x, t, batches)


def test_a_digest_is_of_finite_float32_numbers() -> None:
    params, losses = {"w": np.ones(2, np.float32)}, np.ones(3, np.float32)
    with pytest.raises(ValueError, match="losses must be finite"):
        digests.digest(params, losses * np.float32(np.nan))
    with pytest.raises(TypeError, match="w must be float32, got dtype float64"):
        digests.digest({"w": np.ones(2)}, losses)


# Mistakes, each planted in one column: the digest has to tell


def unrounded(x: Any) -> Any:
    return x


def plain_product(a: Any, b: Any) -> Any:
    return (a @ b).astype(np.float32).astype(float)


def in_float32(a: Any, b: Any) -> Any:
    return (a.astype(np.float32) @ b.astype(np.float32)).astype(float)


def ordinary_exp(x: Any) -> Any:
    return np.exp(x.astype(np.float32)).astype(float)


@pytest.mark.parametrize(
    ("module", "name", "mistake"),
    [
        ("rounding", "rounded", unrounded),
        ("reproducible", "rounded", unrounded),
        ("reproducible", "product", in_float32),
        ("reproducible", "exp", ordinary_exp),
        ("reproducible", "BETA1", 0.9),
    ],
)
def test_a_planted_mistake_changes_the_digest(
    monkeypatch: pytest.MonkeyPatch, module: str, name: str, mistake: Callable[..., Any] | float
) -> None:
    column = Column("numpy_ref")
    monkeypatch.setattr(getattr(column, module), name, mistake)
    assert digests.find(column, ADAM) != ADAM.digest


ENVIRONMENTS = {
    "two threads": {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"},
    "SSE, as 15 years ago": {
        "OPENBLAS_CORETYPE": "Nehalem", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41",
        "XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2", "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F",
    },
    "AVX2": {
        "OPENBLAS_CORETYPE": "Haswell", "MKL_CBWR": "AVX2", "ATEN_CPU_CAPABILITY": "avx2",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    },
    "MKL's own reproducible mode": {"MKL_CBWR": "COMPATIBLE", "OPENBLAS_CORETYPE": "Sandybridge"},
}  # fmt: skip
ASK = """
from triptych.agreement import digests
from triptych.column import Column
for known in digests.committed()[:2]:
    for name in {columns}:
        print(name, known.optimizer, digests.find(Column(name), known) == known.digest)
"""


@pytest.mark.slow
@pytest.mark.parametrize("variables", ENVIRONMENTS.values(), ids=ENVIRONMENTS.keys())
def test_on_other_processors(columns: list[Column], variables: dict[str, str]) -> None:
    """The libraries are told to use the instructions of other processors."""
    environment = os.environ | variables
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ASK.format(columns=COLUMNS)],
        capture_output=True, text=True, check=False, env=environment, timeout=300, cwd=ROOT,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert found.stdout.split().count("True") == 6, found.stdout
