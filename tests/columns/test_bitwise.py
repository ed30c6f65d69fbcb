"""Equal bits, step by step: where arithmetic allows it, and which operation ends it elsewhere.

Two tiers. Exact: where no sum can round, every order of summation, every compiler and every
device gives the same bits, and they are those of rational arithmetic. Bitwise: numbers round, but
all columns round the same operations in the same order. XLA's compiler contracts a product and a
sum into one rounding (FMA); a process with FMA switched off shows that nothing else differs.
"""

import importlib
import itertools
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.histories import first_parting

from triptych import data
from triptych.agreement.bounds import apart, descent
from triptych.agreement.exhibits import all_losses, layer_descent
from triptych.agreement.measures import assert_within
from triptych.column import Column, precision

EPOCHS = 100
STEPS = 1000
DTYPES = ("float32", "float64")
X86 = platform.machine().lower() in ("x86_64", "amd64")
FMA_OFF = "--xla_cpu_max_isa=AVX"  # the last x86-64 instruction set without FMA
# per function, either of these keeps XLA from contracting
NO_FMA: dict[str, dict[str, Any]] = {
    "no optimisation": {"xla_backend_optimization_level": 0},
    "no fusion": {"xla_disable_hlo_passes": "fusion,small-while-loop-hoisting"},
}
# these sound as if they did, and do not; the first does as a flag of the process
STILL_FMA: dict[str, dict[str, Any]] = {
    "instruction set": {"xla_cpu_max_isa": "AVX"},
    "no excess precision": {"xla_allow_excess_precision": False},
    "no fast math": {"xla_cpu_enable_fast_math": False},
}


@pytest.fixture
def jax(columns: Any) -> Any:
    return importlib.import_module("jax")


@pytest.fixture
def torch(columns: Any) -> Any:
    return importlib.import_module("torch")


# --- exact: the classifier's step on whole numbers ---

BATCH = 8
RATE = 0.125
SEEDS = 100
LAYERS = ("fc1", "fc2", "output")


def whole_numbers(seed: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Parameters of 4-16-8-3 in {-1, 0, 1}, inputs from -3 to 3, targets from -4 to 4."""
    rng = np.random.default_rng(seed)
    params = {}
    sizes = (4, 16, 8, 3)
    for layer, features, out in zip(LAYERS, sizes, sizes[1:], strict=False):
        params[f"{layer}.weight"] = rng.integers(-1, 2, (out, features))
        params[f"{layer}.bias"] = rng.integers(-1, 2, out)
    return params, rng.integers(-3, 4, (BATCH, 4)), rng.integers(-4, 5, (BATCH, 3))


def rational_step(params: Any, x: Any, t: Any) -> tuple[Fraction, dict[str, np.ndarray], int, int]:
    """The step in whole and rational numbers, and how large its sums and its factors get.

    Returns:
        The loss; the parameters afterwards, as fractions; the largest sum of absolute values, in
        units of its last digit; the largest factor of a matrix product.
    """
    w = [params[f"{layer}.weight"].astype(object) for layer in LAYERS]
    b = [params[f"{layer}.bias"].astype(object) for layer in LAYERS]
    sums, factors = [0], [0]

    def product(left: Any, right: Any, added: Any = 0) -> Any:
        sums.append((abs(left) @ abs(right) + abs(added)).max())
        factors.extend([abs(left).max(), abs(right).max()])
        return left @ right + added

    # forward
    z1 = product(x.astype(object), w[0].T, b[0])
    h1 = z1 * (z1 > 0)
    z2 = product(h1, w[1].T, b[1])
    h2 = z2 * (z2 > 0)
    r = product(h2, w[2].T, b[2]) - t
    sums += [abs(r).max(), (r**2).sum()]
    # backward, but for the factor 2 / BATCH
    d_z2 = product(r, w[2]) * (z2 > 0)
    d_z1 = product(d_z2, w[1]) * (z1 > 0)
    ones = np.ones((1, BATCH), int).astype(object)
    grads: dict[str, Any] = {}
    for layer, d_z, h in zip(LAYERS, (d_z1, d_z2, r), (x, h1, h2), strict=True):
        grads[f"{layer}.weight"] = product(d_z.T, h.astype(object))
        grads[f"{layer}.bias"] = product(ones, d_z)[0]
    # update
    scale = Fraction(RATE) * Fraction(2, BATCH)
    after = {name: p.astype(object) - scale * grads[name] for name, p in params.items()}
    sums += [abs(p / scale).max() for p in after.values()]
    return Fraction(int((r**2).sum()), BATCH), after, int(max(sums)), int(max(factors))


def numpy_step(column: Any, params: Any, x: Any, t: Any) -> tuple[Any, Any]:
    """The squared error of the column's logits; its gradient by hand."""
    w1, w2, w3 = (params[f"{layer}.weight"] for layer in LAYERS)
    # forward
    z1 = x @ w1.T + params["fc1.bias"]
    h1 = np.maximum(z1, 0)
    z2 = h1 @ w2.T + params["fc2.bias"]
    h2 = np.maximum(z2, 0)
    r = column.classifier.logits(params, x) - t
    loss = np.sum(r**2) / BATCH
    # backward
    d_logits = (1 / BATCH) * (2 * r)
    d_z2 = (d_logits @ w3) * (z2 > 0)
    d_z1 = (d_z2 @ w2) * (z1 > 0)
    d = {"fc1": d_z1, "fc2": d_z2, "output": d_logits}
    h = {"fc1": x, "fc2": h1, "output": h2}
    grads = {f"{layer}.weight": d[layer].T @ h[layer] for layer in LAYERS}
    grads |= {f"{layer}.bias": d[layer].sum(axis=0) for layer in LAYERS}
    # update
    return loss, column.optimizers.sgd_step(params, grads, learning_rate=RATE)


def torch_step(column: Any, params: Any, x: Any, t: Any) -> tuple[Any, Any]:
    params = {name: p.detach().requires_grad_() for name, p in params.items()}
    loss = ((column.classifier.logits(params, x) - t) ** 2).sum() / BATCH
    loss.backward()
    grads = {name: p.grad for name, p in params.items()}
    params = {name: p.detach() for name, p in params.items()}
    return loss.detach(), column.optimizers.sgd_step(params, grads, learning_rate=RATE)


def jax_step(column: Any, params: Any, x: Any, t: Any) -> tuple[Any, Any]:
    def loss(params: Any) -> Any:
        return ((column.classifier.logits(params, x) - t) ** 2).sum() / BATCH

    value, grads = importlib.import_module("jax").value_and_grad(loss)(params)
    return value, column.optimizers.sgd_step(params, grads, learning_rate=RATE)


@pytest.fixture(scope="module")
def rational_steps() -> list[Any]:
    cases = [whole_numbers(seed) for seed in range(SEEDS)]
    return [(*case, *rational_step(*case)) for case in cases]


@pytest.mark.slow_in("float64")
def test_classifier_step_is_exact(
    columns: Any, jax: Any, dtype: np.dtype, device: str, rational_steps: Any, agree: Any
) -> None:
    """One step on whole numbers: equal bits in all columns, eager and compiled, for 100 seeds.

    No partial sum, in whatever order, needs more than 24 bits, so nothing rounds; no factor of a
    product needs more than 11, so TF32 would change nothing either. The second step has no such
    luck: its parameters are fractions, and their products need more bits than there are.
    """
    numpy_ref, torch_impl, jax_impl = (Column(c.name, device) for c in columns)
    ways = {
        "numpy_ref": [(numpy_ref, lambda *given: numpy_step(numpy_ref, *given))],
        "torch_impl": [(torch_impl, lambda *given: torch_step(torch_impl, *given))],
        "jax_impl": [
            (jax_impl, lambda *given: jax_step(jax_impl, *given)),
            (jax_impl, jax.jit(lambda *given: jax_step(jax_impl, *given))),
        ],
    }
    exact = []
    for _, _, _, loss, after, largest, factor in rational_steps:
        assert largest < 2**24
        assert factor < 2**11
        flat = [loss, *(v for p in after.values() for v in p.ravel())]
        assert all(Fraction(dtype.type(float(v)).item()) == v for v in flat)
        exact.append([float(v) for v in flat])
    expected = np.array(exact, dtype)
    for name, runs in ways.items():
        for column, step in runs:
            found = []
            for params, x, t, *_ in rational_steps:
                given = [{key: p.astype(dtype) for key, p in params.items()}]
                given += [x.astype(dtype), t.astype(dtype)]
                loss, after = column.give_out(step(*map(column.take_in, given)))
                found.append(np.hstack([loss, *(after[key].ravel() for key in params)]))
            agree(
                "classifier",
                "step on whole numbers",
                f"exact/{name}",
                np.array(found),
                expected,
                0,
                "ulp",
                device=device,
            )


@pytest.mark.slow
def test_exact_step_un_jitted(columns: Any, jax: Any, dtype: np.dtype, rational_steps: Any) -> None:
    """JAX with `disable_jit`, operation by operation: the same bits once more."""
    jax_impl = columns[2]
    for params, x, t, loss, expected, *_ in rational_steps[:3]:
        given = [{key: p.astype(dtype) for key, p in params.items()}]
        given += [x.astype(dtype), t.astype(dtype)]
        with jax.disable_jit():
            found, after = jax_impl.give_out(
                jax_step(jax_impl, *[jax_impl.take_in(value) for value in given])
            )
        assert found == float(loss)
        for name, p in expected.items():
            assert np.array_equal(after[name], p.astype(float)), name


# --- bitwise: linear regression ---


def drawn_lines(dtype: str) -> dict[str, tuple[Any, np.ndarray, np.ndarray]]:
    """The document's three points, and drawn ones: sums agree in bits up to four terms."""
    lines = {"document": data.line(dtype=dtype)}
    for n in (1, 2, 3, 4):
        rng = np.random.default_rng(n)
        x, t = rng.normal(size=(2, n, 1)).astype(dtype)
        start = {key: np.array(rng.normal(), dtype) for key in ("w", "b")}
        lines[f"{n} drawn"] = (start, x, t)
    return lines


def history(column: Column, params: Any, x: Any, t: Any, function: str = "fit") -> np.ndarray:
    """Loss before, w and b after every epoch, (EPOCHS, 3): one epoch at a time."""
    params, x, t = (column.take_in(value) for value in (params, x, t))
    fit = getattr(column.linear_regression, function)
    steps = []
    for _ in range(EPOCHS):
        params, losses = fit(params, x, t, learning_rate=0.1, steps=1)
        steps.append([losses[0], params["w"], params["b"]])
    return np.array([column.give_out(step) for step in steps])


def assert_one_run(column: Column, steps: np.ndarray, params: Any, x: Any, t: Any) -> None:
    """All epochs in one call give the losses and the end of a history."""
    after, losses = column.call(
        "linear_regression", "fit", params, x, t, learning_rate=0.1, steps=EPOCHS
    )
    assert first_parting(losses, steps[:, 0]) is None
    assert (after["w"], after["b"]) == (steps[-1, 1], steps[-1, 2])


def explicit_layer(w: Any, b: Any, x: Any) -> Any:
    """The layer's product, folded from the left: the order is ours, not a library's."""
    return ((w[0] * x[0] + w[1] * x[1]) + w[2] * x[2]) + b


def jax_explicit_layer(dtype: str, options: dict[str, Any] | None = None) -> np.ndarray:
    """Loss, three weights and the bias before every step, (STEPS, 5), compiled with the options."""
    jax = importlib.import_module("jax")

    def train(params: Any, x: Any, t: Any) -> Any:
        def loss(w: Any, b: Any) -> Any:
            r = explicit_layer(w, b, x) - t[0]
            return r * r

        def step(carry: Any, _: None) -> Any:
            w, b = carry
            value, (d_w, d_b) = jax.value_and_grad(loss, argnums=(0, 1))(w, b)
            return (w - 0.01 * d_w, b - 0.01 * d_b), jax.numpy.stack([value, *w, b])

        start = params["weight"][0], params["bias"][0]
        return jax.lax.scan(step, start, length=STEPS)[1]

    given = Column("jax_impl").take_in(dict(zip("pxt", data.layer(dtype=dtype), strict=True)))
    return np.asarray(jax.jit(train, compiler_options=options)(*given.values()))


def contraction(options: dict[str, Any] | None, dtype: str) -> float:
    """(1 + eps)(1 - eps) - 1 as XLA compiles it: 0 rounded twice, -eps**2 rounded once."""
    jax = importlib.import_module("jax")
    eps = np.finfo(dtype).eps
    given = [np.array([v], dtype) for v in (1 + eps, 1 - eps, -1)]
    compiled = jax.jit(lambda a, b, c: a * b + c, compiler_options=options)
    return float(compiled(*map(jax.numpy.asarray, given))[0])


def record(path: Path) -> None:
    """Everything that the tests below want from a JAX without FMA; runs in its own process."""
    found: dict[str, np.ndarray] = {}
    column = Column("jax_impl")
    for dtype in DTYPES:
        with precision(dtype):
            found[f"{dtype}/contraction"] = np.array(contraction(None, dtype))
            for name, line in drawn_lines(dtype).items():
                found[f"{dtype}/{name}"] = history(column, *line)
                assert_one_run(column, found[f"{dtype}/{name}"], *line)
            found[f"{dtype}/layer"] = jax_explicit_layer(dtype)
    np.savez(path, **found)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def without_fma(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """What `record` found, in a process that may not use FMA."""
    if not X86:
        pytest.skip(f"{FMA_OFF} is a setting of x86-64, this is {platform.machine()}")
    path = tmp_path_factory.mktemp("bitwise") / "found.npz"
    settings = {
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {FMA_OFF}",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    subprocess.run(
        [sys.executable, __file__, str(path)], env=os.environ | settings, check=True, timeout=300
    )
    with np.load(path) as found:
        yield found


def contracts(dtype: str) -> bool:
    return contraction(None, dtype) != 0


NO_CONTRACTION = "XLA does not contract here: this processor, or XLA_FLAGS, gives it no FMA"


def test_numpy_equals_pytorch(columns: Any, dtype: np.dtype, agree: Any) -> None:
    """Loss, w and b at each of 100 epochs: the same operations in the same order, none fused."""
    numpy_ref, torch_impl, _ = columns
    for line in drawn_lines(str(dtype)).values():
        reference, found = history(numpy_ref, *line), history(torch_impl, *line)
        pair = "numpy_ref/torch_impl"
        agree(
            "linear_regression", "each loss; no FMA", pair, found[:, 0], reference[:, 0], 0, "ulp"
        )
        agree(
            "linear_regression", "each w, b; no FMA", pair, found[:, 1:], reference[:, 1:], 0, "ulp"
        )
        assert_one_run(numpy_ref, reference, *line)
        assert_one_run(torch_impl, found, *line)


def test_numpy_equals_compiled_jax_without_fma(
    columns: Any, dtype: np.dtype, agree: Any, without_fma: Any
) -> None:
    """The same against XLA with FMA off: parameters always, losses where n is a power of two."""
    assert without_fma[f"{dtype}/contraction"] == 0
    for name, line in drawn_lines(str(dtype)).items():
        found = without_fma[f"{dtype}/{name}"]
        for column in columns[:2]:
            reference, pair = history(column, *line), f"{column.name}/jax_impl"
            quantity = "each w, b; no FMA"
            agree("linear_regression", quantity, pair, found[:, 1:], reference[:, 1:], 0, "ulp")
            if len(line[1]) != 3:
                quantity = "each loss; no FMA"
                agree("linear_regression", quantity, pair, found[:, 0], reference[:, 0], 0, "ulp")


def test_mean_over_three_is_a_product_in_xla(
    columns: Any, dtype: np.dtype, agree: Any, without_fma: Any
) -> None:
    """XLA turns a division by a constant into a product with 1/n, which 1/3 has to round.

    So the loss over three points differs in its last bit, though every parameter is equal; and
    NumPy gives XLA's loss, bit by bit, when it multiplies too.
    """
    for name in ("document", "3 drawn"):
        params, x, t = drawn_lines(str(dtype))[name]
        reference = history(columns[0], params, x, t)
        found = without_fma[f"{dtype}/{name}"]
        third = dtype.type(1) / dtype.type(3)
        before = [(params["w"], params["b"]), *reference[:-1, 1:]]
        multiplied = np.array([np.sum((w * x + b - t) ** 2) * third for w, b in before])
        assert first_parting(found[:, 0], reference[:, 0]) is not None, name
        assert_within(f"{name}, by product", found[:, 0], multiplied, 0, "ulp")
        pair = "numpy_ref/jax_impl"
        quantity = "each loss, n = 3"
        agree("linear_regression", quantity, pair, found[:, 0], reference[:, 0], 1, "ulp")


def test_compiled_jax_parts_by_fma(columns: Any, dtype: np.dtype) -> None:
    """By default XLA contracts `w * x + b` and `w - rate * d_w`: it rounds once, others twice."""
    if not contracts(str(dtype)):
        pytest.skip(NO_CONTRACTION)
    numpy_ref, _, jax_impl = columns
    for name in ("document", "1 drawn"):
        line = drawn_lines(str(dtype))[name]
        found, reference = history(jax_impl, *line), history(numpy_ref, *line)
        assert first_parting(found[:, 1:], reference[:, 1:]) is not None, name


def test_un_jitted_jax_does_not_contract(columns: Any, jax: Any, dtype: np.dtype) -> None:
    """Operation by operation there is nothing to fuse: equal bits, on the first ten epochs."""
    numpy_ref, _, jax_impl = columns
    given = drawn_lines(str(dtype))["4 drawn"]
    rate = {"learning_rate": 0.1, "steps": 10}
    expected, losses = numpy_ref.call("linear_regression", "fit", *given, **rate)
    with jax.disable_jit():
        found, its_losses = jax_impl.call("linear_regression", "fit", *given, **rate)
    assert found == expected
    assert first_parting(its_losses, losses) is None


def compiled_fit(jax_impl: Column, options: dict[str, Any]) -> Any:
    """`fit` as written, below the input checks and the column's own `jit`, compiled anew."""
    fit = jax_impl.linear_regression.fit.__wrapped__.__wrapped__
    jit = importlib.import_module("jax").jit
    return jit(fit, static_argnames="steps", compiler_options=options)


@pytest.mark.parametrize("way", NO_FMA)
def test_fma_can_be_switched_off_for_a_function(
    columns: Any, dtype: np.dtype, agree: Any, way: str
) -> None:
    """`jax.jit(f, compiler_options=...)` gives the bits of NumPy without a flag for the process."""
    numpy_ref, _, jax_impl = columns
    options = NO_FMA[way]
    assert contraction(options, str(dtype)) == 0
    fit = compiled_fit(jax_impl, options)
    for name in ("document", "1 drawn", "4 drawn"):
        line = drawn_lines(str(dtype))[name]
        reference = history(numpy_ref, *line)
        given = [jax_impl.take_in(value) for value in line]
        after, losses = jax_impl.give_out(fit(*given, learning_rate=0.1, steps=EPOCHS))
        pair, last = "numpy_ref/jax_impl", np.array([after["w"], after["b"]])
        quantity = "each w, b; no FMA"
        agree("linear_regression", quantity, pair, last, reference[-1, 1:], 0, "ulp")
        if len(line[1]) != 3:
            assert first_parting(losses, reference[:, 0]) is None


def test_disabling_fusion_is_not_enough_in_a_small_loop(columns: Any, dtype: np.dtype) -> None:
    """The pass "fusion" is one of two that put a product and a sum into one piece of machine code.

    XLA also hoists a small loop into one function; with one point, every array in it is one
    number, and the products and sums meet in registers.
    """
    if not contracts(str(dtype)):
        pytest.skip(NO_CONTRACTION)
    numpy_ref, _, jax_impl = columns
    options = {"xla_disable_hlo_passes": "fusion"}
    assert contraction(options, str(dtype)) == 0
    line = drawn_lines(str(dtype))["1 drawn"]
    reference = history(numpy_ref, *line)
    fit = compiled_fit(jax_impl, options)
    given = [jax_impl.take_in(value) for value in line]
    _, losses = jax_impl.give_out(fit(*given, learning_rate=0.1, steps=EPOCHS))
    assert first_parting(losses, reference[:, 0]) is not None


@pytest.mark.parametrize("way", STILL_FMA)
def test_what_does_not_switch_fma_off(columns: Any, dtype: np.dtype, way: str) -> None:
    """Three options whose names promise it."""
    if not contracts(str(dtype)):
        pytest.skip(NO_CONTRACTION)
    assert contraction(STILL_FMA[way], str(dtype)) == -(float(np.finfo(dtype).eps) ** 2)


def test_who_contracts(columns: Any, torch: Any, dtype: np.dtype) -> None:
    """(1 + eps)(1 - eps) - 1 is 0 with two roundings and -eps**2 with one.

    NumPy, PyTorch and un-jitted JAX round twice. `torch.add(alpha=)` and `torch.addcmul`, which
    PyTorch's optimisers are made of, round once, where the processor can.
    """
    eps = np.finfo(dtype).eps
    once = -(float(eps) ** 2)
    for size in (1, 3, 8, 33):
        given = [np.full(size, v, dtype) for v in (1 + eps, 1 - eps, -1)]
        for column in columns:
            a, b, c = (column.take_in(v) for v in given)
            assert (column.give_out(a * b + c) == 0).all(), column.name
        a, b, c = (torch.tensor(v) for v in given)
        added = torch.add(c, a, alpha=float(1 - eps))
        assert (added == torch.addcmul(c, a, b)).all()
        if contracts(str(dtype)):
            assert (added == once).all()


def test_torch_sgd_parts_from_the_update_by_hand(columns: Any, dtype: np.dtype) -> None:
    """`torch.optim.SGD` updates by `add(alpha=-rate)`, an FMA: it parts within a few epochs."""
    if not contracts(str(dtype)):
        pytest.skip(NO_CONTRACTION)
    torch_impl = columns[1]
    parted = {}
    for name, line in drawn_lines(str(dtype)).items():
        by_hand = history(torch_impl, *line)
        by_optimizer = history(torch_impl, *line, "fit_with_optimizer")
        parted[name] = first_parting(by_optimizer, by_hand)
        # it stays close: a descent forgets the rounding of earlier epochs
        params, x, t = line
        start, rate = np.hstack([params["w"], params["b"]]), 0.1
        off = descent(start, x, t[:, 0], learning_rate=rate, steps=EPOCHS).params
        bound = apart(off.error[-1], off.value[-1], str(dtype))
        assert_within(f"{name} w, b", by_optimizer[-1, 1:], by_hand[-1, 1:], bound, "eps")
    within = [step for step in parted.values() if step is not None]
    assert len(within) >= 2, parted
    assert min(within) < 10, parted


def test_sums_agree_up_to_four_terms(
    columns: Any, torch: Any, jax: Any, dtype: np.dtype, agree: Any
) -> None:
    """a + b + c + d from the left in all three; from five terms on PyTorch has another order.

    NumPy and JAX agree up to seven; from eight on NumPy adds eight partial sums in pairs.
    """
    rng = np.random.default_rng(0)
    compiled = jax.jit(jax.numpy.sum)
    for n in range(1, 10):
        drawn = rng.normal(size=(50, n)).astype(dtype)
        sums = np.array([np.sum(row) for row in drawn])
        by_torch = np.array([torch.sum(torch.tensor(row)).numpy() for row in drawn])
        by_jax = np.array([compiled(row) for row in drawn])
        from_the_left = drawn[:, 0]
        for term in drawn[:, 1:].T:
            from_the_left = from_the_left + term
        if n <= 4:
            assert np.array_equal(sums, from_the_left)
            quantity = "sum of up to four"
            agree("element-wise", quantity, "numpy_ref/torch_impl", by_torch, sums, 0, "ulp")
            agree("element-wise", quantity, "numpy_ref/jax_impl", by_jax, sums, 0, "ulp")
            agree("element-wise", quantity, "torch_impl/jax_impl", by_jax, by_torch, 0, "ulp")
        else:
            assert not np.array_equal(by_torch, sums), n
            assert np.array_equal(by_jax, sums) == (n <= 7), n


# --- bitwise: the linear layer ---


def numpy_explicit_layer(dtype: str) -> np.ndarray:
    params, x, t = data.layer(dtype=dtype)
    w, b = params["weight"][0], params["bias"][0]
    steps = []
    for _ in range(STEPS):
        r = explicit_layer(w, b, x) - t[0]
        # r * r: r is a NumPy scalar, whose r**2 is the C library's pow
        steps.append([r * r, *w, b])
        d_y = 2 * r
        w = w - 0.01 * (d_y * x)
        b = b - 0.01 * d_y
    return np.array(steps)


def torch_explicit_layer(dtype: str) -> np.ndarray:
    torch = importlib.import_module("torch")
    params, x, t = data.layer(dtype=dtype)
    w = torch.tensor(params["weight"][0], requires_grad=True)
    b = torch.tensor(params["bias"][0], requires_grad=True)
    x, t = torch.tensor(x), torch.tensor(t)
    steps = []
    for _ in range(STEPS):
        loss = (explicit_layer(w, b, x) - t[0]) ** 2
        steps.append(torch.stack([loss, *w, b]).detach())
        d_w, d_b = torch.autograd.grad(loss, (w, b))
        with torch.no_grad():
            w -= 0.01 * d_w
            b -= 0.01 * d_b
    found: np.ndarray = torch.stack(steps).numpy()
    return found


def test_linear_layer_with_an_explicit_product(columns: Any, dtype: np.dtype, agree: Any) -> None:
    """1000 steps: equal bits in NumPy and PyTorch, in both dtypes, where we fix the order."""
    reference = numpy_explicit_layer(str(dtype))
    found = torch_explicit_layer(str(dtype))
    agree("linear_layer", "folded; no FMA", "numpy_ref/torch_impl", found, reference, 0, "ulp")
    assert first_parting(found, reference) is None


def test_linear_layer_with_an_explicit_product_in_xla(
    columns: Any, dtype: np.dtype, agree: Any, without_fma: Any
) -> None:
    """JAX compiled too, with FMA off, for the process or for the function; by default it parts."""
    runs = [without_fma[f"{dtype}/layer"]]
    runs += [jax_explicit_layer(str(dtype), options) for options in NO_FMA.values()]
    references = {"numpy_ref": numpy_explicit_layer, "torch_impl": torch_explicit_layer}
    for name, layer in references.items():
        reference = layer(str(dtype))
        for found in runs:
            pair = f"{name}/jax_impl"
            agree("linear_layer", "folded; no FMA", pair, found, reference, 0, "ulp")
        if contracts(str(dtype)):
            assert first_parting(jax_explicit_layer(str(dtype)), reference) is not None


def test_linear_layer_by_matrix_product(columns: Any, dtype: np.dtype, agree: Any) -> None:
    """`x @ weight.T` promises no bits: OpenBLAS, MKL and XLA choose kernels by processor.

    On one processor all three are equal in float64, on another PyTorch differs at 383 of 1000
    losses. What holds on all is the bound of the descent, whatever the order of the sums.
    """
    params, x, t = data.layer(dtype=str(dtype))
    arguments = {"learning_rate": 0.01, "steps": STEPS}
    losses = {c.name: c.call("linear_layer", "fit", params, x, t, **arguments)[1] for c in columns}
    folded = numpy_explicit_layer(str(dtype))[:, 0]
    bound = all_losses(layer_descent)(str(dtype))
    for first, second in itertools.combinations(losses, 2):
        pair = f"{first}/{second}"
        agree("linear_layer", "1000 losses", pair, losses[second], losses[first], bound, "eps")
    for name, found in losses.items():
        assert_within(f"{name}, folded", found, folded, bound, "eps")


if __name__ == "__main__":
    record(Path(sys.argv[1]))
