"""Same name, different function: what a person who ports code between the three must know.

Each test states one trap as an exact fact of NumPy, PyTorch and JAX, called directly, and where
our columns could fall into it, that they do not. A fact of the device or of the processor says
so, and is skipped, with the reason, elsewhere.
"""

import importlib
import platform
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest

from triptych import data
from triptych.column import precision

X86 = platform.machine().lower() in ("x86_64", "amd64")


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


def torch_grad(torch: Any, function: Any, at: Any) -> Any:
    x = torch.tensor(at, requires_grad=True)
    return torch.autograd.grad(function(x), x)[0].numpy()


def same(a: Any, b: Any) -> bool:
    """Equal values, NaN equal to NaN."""
    return np.array_equal(a, b, equal_nan=True)


# --- derivatives at a kink, a tie, a root ---


def test_relu_at_0(torch: Any, jax: Any, jnp: Any) -> None:
    """At 0 any slope in [0, 1] is right; six spellings of max(x, 0) choose three of them."""
    assert torch_grad(torch, torch.relu, 0.0) == 0
    assert jax.grad(jax.nn.relu)(0.0) == 0
    assert torch_grad(torch, lambda x: torch.maximum(x, torch.tensor(0.0)), 0.0) == 0.5
    assert jax.grad(lambda x: jnp.maximum(x, 0))(0.0) == 0.5
    assert torch_grad(torch, lambda x: torch.clamp(x, min=0), 0.0) == 1
    z = np.float32(0)
    assert (z > 0) == 0  # the mask of a NumPy backward pass; z >= 0 would be clamp


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


def test_abs_and_clip_at_the_kink(torch: Any, jax: Any, jnp: Any) -> None:
    """abs at 0: PyTorch 0, JAX 1. clip at its bounds: PyTorch 1, JAX 0.5."""
    assert torch_grad(torch, torch.abs, 0.0) == 0
    assert jax.grad(jnp.abs)(0.0) == 1
    for bound in (-1.0, 1.0):
        assert torch_grad(torch, lambda x: torch.clip(x, -1, 1), bound) == 1
        assert jax.grad(lambda x: jnp.clip(x, -1, 1))(bound) == 0.5


def test_maximum_at_a_tie(torch: Any, jax: Any, jnp: Any) -> None:
    """A maximum over everything shares the gradient; `torch.max(x, dim)` gives it to one."""
    tie = [1.0, 1.0]
    assert same(torch_grad(torch, torch.max, tie), [0.5, 0.5])
    assert same(torch_grad(torch, lambda x: torch.amax(x, 0), tie), [0.5, 0.5])
    assert same(torch_grad(torch, lambda x: torch.max(x, 0).values, tie), [1, 0])
    assert same(jax.grad(jnp.max)(jnp.array(tie)), [0.5, 0.5])
    assert same(jax.grad(lambda x: jnp.max(x, axis=0))(jnp.array(tie)), [0.5, 0.5])


def test_norm_and_power_at_0(torch: Any, jax: Any, jnp: Any) -> None:
    """PyTorch chooses 0 where the formula divides 0 by 0; JAX gives NaN."""
    assert same(torch_grad(torch, torch.linalg.norm, [0.0, 0.0]), [0, 0])
    assert same(jax.grad(jnp.linalg.norm)(jnp.zeros(2)), [np.nan, np.nan])
    assert torch_grad(torch, lambda x: x**0.0, 0.0) == 0
    assert same(jax.grad(lambda x: x**0.0)(0.0), np.nan)
    assert jax.grad(lambda x: x**0)(0.0) == 0  # a whole-number exponent is another function


def test_where_does_not_hide_a_nan(torch: Any, jax: Any, jnp: Any) -> None:
    """The branch not taken is differentiated too, and 0 * inf is NaN: guard the input as well."""
    assert same(torch_grad(torch, lambda x: torch.where(x > 0, torch.sqrt(x), 0.0), 0.0), np.nan)
    assert same(jax.grad(lambda x: jnp.where(x > 0, jnp.sqrt(x), 0.0))(0.0), np.nan)

    def guarded(x: Any) -> Any:
        return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0)

    assert jax.grad(guarded)(0.0) == 0


# --- dtypes ---


def test_default_dtypes(torch: Any, jax: Any, jnp: Any) -> None:
    """Floats: float64, float32, float32. Integers: int64, int64, int32."""
    assert np.array([1.0]).dtype == "float64"
    assert torch.tensor([1.0]).dtype == torch.float32
    assert jnp.array([1.0]).dtype == "float32"
    assert np.array([1]).dtype == "int64"
    assert torch.tensor([1]).dtype == torch.int64
    assert jnp.array([1]).dtype == "int32"
    with jax.enable_x64(True):
        assert jnp.array([1.0]).dtype == "float64"
        assert jnp.array([1]).dtype == "int64"


def test_jax_cuts_float64(jax: Any, jnp: Any) -> None:
    """Without x64, JAX cuts float64 data without a word; only an explicit dtype draws a warning."""
    tenth = np.array([0.1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for cut in (jnp.array(tenth), jnp.asarray(tenth), jax.device_put(tenth)):
            assert cut.dtype == "float32"
            assert float(cut[0]) != 0.1
    with pytest.warns(UserWarning, match="float64 .* will be truncated to dtype float32"):
        assert jnp.zeros(1, dtype="float64").dtype == "float32"
    with jax.enable_x64(True):
        assert float(jnp.array(tenth)[0]) == 0.1


def test_columns_keep_float64(columns: Any, jax: Any) -> None:
    """The JAX column refuses what it would cut; the other two keep it."""
    tenth = np.array([0.1])
    for column in columns[:2]:
        assert column.to_numpy(column.from_numpy(tenth)).dtype == "float64"
    with pytest.raises(ValueError, match="x64"):
        columns[2].from_numpy(tenth)


def test_float32_times_float64_matrices(torch: Any, jax: Any, jnp: Any) -> None:
    """A product of mixed dtypes is float64 in NumPy, an error in PyTorch, float32 in JAX."""
    a, b = np.ones((2, 2), np.float32), np.ones((2, 2))
    assert (a @ b).dtype == "float64"
    with pytest.raises(RuntimeError, match="same dtype"):
        torch.tensor(a) @ torch.tensor(b)
    assert (torch.tensor(a) + torch.tensor(b)).dtype == torch.float64  # a sum is promoted
    assert (jnp.array(a) @ jnp.array(b)).dtype == "float32"
    with jax.enable_x64(True):
        assert (jnp.array(a) @ jnp.array(b)).dtype == "float64"


def test_float32_state_and_numpy_scalars(torch: Any, jax: Any, jnp: Any) -> None:
    """NumPy 2: an np.float64 scalar is as strong as an array. A Python float keeps float32."""
    rate, state = np.float64(0.1), np.ones(2, np.float32)
    assert (rate * state).dtype == "float64"
    assert (float(rate) * state).dtype == "float32"
    assert (torch.tensor(state) * rate).dtype == torch.float32

    def scan() -> Any:
        return jax.lax.scan(lambda c, _: (c * rate, None), jnp.array(state), length=2)

    assert scan()[0].dtype == "float32"
    with jax.enable_x64(True):
        assert (jnp.array(state) * rate).dtype == "float64"
        with pytest.raises(TypeError, match="carry input and carry output must have equal types"):
            scan()


def test_columns_keep_float32_state(column: Any, dtype: np.dtype) -> None:
    """A rate that is a NumPy scalar, of either precision, changes neither dtype nor value."""
    given = column.take_in(dict(zip("pxt", data.line(dtype=str(dtype)), strict=True)))
    regression = column.linear_regression
    for fit in (regression.fit, regression.fit_with_optimizer):
        runs = [
            column.give_out(fit(*given.values(), learning_rate=rate, epochs=3))
            for rate in (0.125, np.float32(0.125), np.float64(0.125))
        ]
        for after, losses in runs:
            assert after["w"].dtype == after["b"].dtype == losses.dtype == dtype
            assert np.array_equal(losses, runs[0][1])


def test_integers(torch: Any, jax: Any, jnp: Any) -> None:
    """Means, products and divisions of integers: three answers each."""
    assert np.mean([1, 2]) == 1.5
    assert jnp.mean(jnp.array([1, 2])) == 1.5
    with pytest.raises(RuntimeError, match="could not infer output dtype"):
        torch.mean(torch.tensor([1, 2]))

    assert (np.array([1]) * 0.5).dtype == "float64"
    assert (torch.tensor([1]) * 0.5).dtype == torch.float32
    assert (jnp.array([1]) * 0.5).dtype == "float32"

    with np.errstate(divide="ignore"):
        assert np.array([1]) // 0 == 0
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        torch.tensor([1]) // 0
    # XLA's quotient by 0 is -1, and the step from truncation to floor takes off another 1
    assert jax.lax.div(jnp.array([1]), jnp.array([0])) == -1
    assert jnp.array([1]) // 0 == -2


@pytest.mark.skipif(not X86, reason="what C leaves undefined, x86-64 defines so; others may not")
def test_floats_that_do_not_fit_an_integer(torch: Any, jnp: Any) -> None:
    """JAX clamps, and takes NaN to 0. NumPy and PyTorch leave it to the processor."""
    low, high = -(2**31), 2**31 - 1
    values = np.array([3e9, -3e9, np.nan])
    with np.errstate(invalid="ignore"):
        assert same(values.astype(np.int32), [low, low, low])
    assert same(torch.tensor(values).to(torch.int32).numpy(), [low, low, low])
    assert same(jnp.array(values).astype(np.int32), [high, low, 0])


def test_mean_of_bfloat16(torch: Any, jnp: Any) -> None:
    """NumPy adds bfloat16 in bfloat16, and 256 + 1 is 256 there; the others add in float32."""
    dtype = jnp.bfloat16
    assert np.ones(1000, dtype).mean() == dtype(256) / dtype(1000) == 0.255859375
    assert torch.ones(1000, dtype=torch.bfloat16).mean() == 1
    assert jnp.ones(1000, dtype).mean() == 1


# --- functions of one name ---


def test_std_and_var(torch: Any, jnp: Any) -> None:
    """NumPy and JAX divide by n, PyTorch by n - 1."""
    x = np.array([1, 2, 3, 4], np.float32)
    assert np.var(x) == jnp.var(jnp.array(x)) == 1.25
    assert torch.var(torch.tensor(x)) == np.var(x, ddof=1)
    assert torch.var(torch.tensor(x), correction=0) == 1.25
    assert torch.std(torch.tensor(x)) ** 2 > np.std(x) ** 2 == jnp.std(jnp.array(x)) ** 2


def test_median_of_an_even_count(torch: Any, jnp: Any) -> None:
    """`torch.median` takes the lower of the two in the middle, the others their mean."""
    x = np.array([1, 2, 3, 4], np.float32)
    assert np.median(x) == jnp.median(jnp.array(x)) == 2.5
    assert torch.median(torch.tensor(x)) == 2
    assert torch.quantile(torch.tensor(x), 0.5) == 2.5


def test_gelu(torch: Any, jax: Any) -> None:
    """Exact in PyTorch, by default a tanh approximation in JAX: 1.5e-4 apart at 1."""
    gelu = torch.nn.functional.gelu
    one = torch.tensor(1.0)
    assert f"{gelu(one):.6f} {jax.nn.gelu(1.0):.6f}" == "0.841345 0.841192"
    assert f"{gelu(one, approximate='tanh'):.6f}" == "0.841192"
    assert f"{jax.nn.gelu(1.0, approximate=False):.6f}" == "0.841345"


def test_one_hot_out_of_range(torch: Any, jax: Any, jnp: Any) -> None:
    """A label that is no class: an error in PyTorch, a row of zeros in JAX, so a loss of 0."""
    for label in (3, -1):
        with pytest.raises(RuntimeError, match="Class values must be"):
            torch.nn.functional.one_hot(torch.tensor([label]), 3)
        assert same(jax.nn.one_hot(jnp.array([label]), 3), [[0, 0, 0]])


def test_adam_places_epsilon(column: Any, torch: Any) -> None:
    """Where epsilon stands decides the step once the gradient is as small as epsilon.

    The first step is rate * g / (|g| + eps) in the paper, in PyTorch, in optax and here; inside
    the root it would be rate * g / sqrt(g**2 + eps). Keras folds the bias correction into the
    rate, so that its epsilon is divided by sqrt(1 - beta2), and takes 1e-7.
    """
    rate, eps, g = 0.5, 1e-8, 1e-8
    paper = rate * g / (g + eps)
    inside = rate * g / np.sqrt(g**2 + eps)
    folded = rate * g / (g + eps / np.sqrt(1 - 0.999))
    assert [f"{step:.1e}" for step in (paper, inside, folded)] == ["2.5e-01", "5.0e-05", "1.5e-02"]

    with precision("float64"):
        start, grads = {"p": np.zeros(1)}, {"p": np.full(1, g)}
        params, grads = column.take_in(start), column.take_in(grads)
        state = column.optimizers.adam_start(params)
        after, _ = column.optimizers.adam_step(params, grads, state, learning_rate=rate)
        found = column.give_out(after)["p"].item()
    assert abs(found + paper) <= 4 * np.finfo(float).eps
    p = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    p.grad = torch.full_like(p, g)
    torch.optim.Adam([p], lr=rate, eps=eps).step()
    assert abs(p.item() + paper) <= 4 * np.finfo(float).eps


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


# --- indices and shapes ---


def test_index_out_of_range(torch: Any, jnp: Any) -> None:
    """PyTorch and NumPy raise. JAX clamps on reading and drops on writing; `take` gives NaN."""
    x = np.arange(3, dtype=np.float32)
    for array in (x, torch.tensor(x)):
        with pytest.raises(IndexError, match="out of bounds"):
            array[5]
        with pytest.raises(IndexError, match="out of bounds"):
            array[5] = 9
    x_jax = jnp.array(x)
    assert x_jax[5] == 2
    assert x_jax[-5] == 0
    assert same(x_jax.at[5].set(9), x)
    assert same(jnp.take(x_jax, 5), np.nan)
    assert jnp.take(jnp.array([0, 1, 2]), 5) == -(2**31)
    with pytest.raises(IndexError):
        np.take(x, 5)
    with pytest.raises(IndexError):
        torch.take(torch.tensor(x), torch.tensor(5))


def test_labels_out_of_range(column: Any, torch: Any, jax: Any, jnp: Any) -> None:
    """A wrong label would be clamped (JAX), count from the end (NumPy), be skipped (PyTorch)."""
    logits = np.array([[1, 2, 3]], np.float32)
    assert jnp.array(logits)[0, 7] == logits[0, 2]
    assert logits[0, -1] == logits[0, 2]
    # -100 means "ignore this row" to PyTorch: a mean over no rows
    cross_entropy = torch.nn.functional.cross_entropy
    assert same(cross_entropy(torch.tensor(logits), torch.tensor([-100])), np.nan)
    with pytest.raises(IndexError, match="out of bounds"):
        cross_entropy(torch.tensor(logits), torch.tensor([3]))
    # the columns refuse all of them
    params = data.classifier_start(dtype="float32")
    for label in (3, -1, -100):
        for function in ("loss", "loss_and_grads", "accuracy"):
            with pytest.raises(ValueError, match=r"t must be in 0 \.\. 2"):
                column.call(
                    "classifier", function, params, np.ones((1, 4), np.float32), np.array([label])
                )


def test_broadcasting_by_accident(column: Any, torch: Any, jnp: Any) -> None:
    """(3,) against (3, 1) is (3, 3) in all three: no comparison sees it, a check of shapes must.

    A perfect prediction then has a loss, and the mean hides the wrong shape.
    """
    flat = np.array([1, 2, 3], np.float32)
    column_vector = flat[:, None]
    for array in (np.asarray, torch.tensor, jnp.array):
        r = array(column_vector) - array(flat)
        assert tuple(r.shape) == (3, 3)
        assert abs(float((r**2).mean()) - 4 / 3) < 1e-6
    with pytest.raises(ValueError, match=r"got shape \(3,\)"):
        column.call("linear_layer", "mse_loss", column_vector, flat)
    line = {"w": np.float32(1), "b": np.float32(0)}
    for x, t in ((column_vector, flat), (flat, column_vector)):
        with pytest.raises(ValueError, match=r"got shape \(3,\)"):
            column.call("linear_regression", "loss", line, x, t)


# --- memory and state ---


def test_aliasing(torch: Any, jax: Any, jnp: Any) -> None:
    """`as_tensor` and `from_numpy` share memory with NumPy, even when it is read-only."""
    source = np.zeros(1000, np.float32)
    copies = [torch.tensor(source), jnp.array(source)]
    shared = [torch.as_tensor(source), torch.from_numpy(source)]
    source[0] = 7
    assert [float(s[0]) for s in shared] == [7, 7]
    assert [float(c[0]) for c in copies] == [0, 0]

    locked = np.zeros(3, np.float32)
    locked.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns, once in a process, and shares all the same
        torch.from_numpy(locked)[0] = 7
    assert locked[0] == 7

    assert torch.ones(3).numpy().flags.writeable
    assert not np.asarray(jnp.ones(3)).flags.writeable

    # on a CPU `device_put` shares too, if the data happens to start at a multiple of 64 bytes
    room = np.zeros(1000 + 16, np.float32)
    offset = -room.ctypes.data % 64 // 4
    aligned = room[offset : offset + 1000]
    put = jax.device_put(aligned, jax.devices("cpu")[0])
    aligned[0] = 7
    assert float(put[0]) == 7


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


def test_dict_order(jax: Any) -> None:
    """JAX returns dictionaries with their keys sorted: compare by key, never by position."""
    given = {"weight": 1.0, "bias": 2.0}
    for back in (
        jax.tree.map(lambda leaf: leaf, given),
        jax.jit(lambda d: d)(given),
        jax.grad(lambda d: d["weight"] * d["bias"])(given),
    ):
        assert list(back) == ["bias", "weight"]
    assert jax.tree.leaves(given) == [2.0, 1.0]


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


def test_state_of_a_gradient(torch: Any, jax: Any) -> None:
    """PyTorch adds to `.grad`, so two backward passes count twice; JAX returns a new gradient."""
    x = torch.tensor(1.0, requires_grad=True)
    for expected in (2, 4):
        (2 * x).backward()
        assert x.grad == expected
    gradient = jax.grad(lambda x: 2 * x)
    assert gradient(1.0) == gradient(1.0) == 2


def test_mutation(torch: Any, jnp: Any) -> None:
    """NumPy and PyTorch change an array in place; JAX's `.at[].set` returns a changed copy."""
    for array in (np.zeros(2, np.float32), torch.zeros(2)):
        view = array[:1]
        array[0] = 1
        assert view[0] == 1
    array = jnp.zeros(2)
    with pytest.raises(TypeError, match="immutable"):
        array[0] = 1
    changed = array.at[0].set(1)
    assert same(array, [0, 0])
    assert same(changed, [1, 0])
    before = array
    array += 1  # no update in place either: the name moves to a new array
    assert same(before, [0, 0])


def test_random_numbers(torch: Any, jax: Any) -> None:
    """No two frameworks share a generator; one seed gives three sequences. Draw once, in NumPy."""
    draws = [
        np.random.default_rng(0).normal(size=3).astype(np.float32),
        torch.randn(3, generator=torch.Generator().manual_seed(0)).numpy(),
        np.asarray(jax.random.normal(jax.random.key(0), (3,))),
    ]
    for i in range(3):
        assert not np.intersect1d(draws[i], draws[i - 1]).size


# --- numbers at the edge ---


def test_denormals(torch: Any, jax: Any, jnp: Any) -> None:
    """XLA on CPU takes denormals as 0, in float64 too; NumPy and PyTorch compute with them."""
    with jax.enable_x64(True):
        for dtype in (np.float32, np.float64):
            tiny = np.finfo(dtype).tiny
            denormal = tiny / 4
            assert denormal != 0
            array = jnp.array([denormal])
            # one is stored and comes back, as long as nobody computes with it
            assert np.asarray(array)[0] == denormal
            # neither read by an operation, however large the result, nor written by one
            assert array * 2**20 == 0
            assert jnp.array([tiny]) / 4 == 0
            # nor seen by a comparison
            assert array == 0
            assert not array > 0
            assert denormal * dtype(2**20) == tiny * dtype(2**18)
            assert torch.tensor(denormal) * 2**20 == tiny * dtype(2**18)
            assert torch.tensor([tiny])[0] / 4 == denormal


# --- CUDA ---


def test_matmul_precision_can_be_fixed(torch: Any, jax: Any, jnp: Any) -> None:
    """On a GPU a float32 product may run in TF32, 11 bits: JAX's default, not PyTorch's.

    Both can be told to keep float32. That JAX passes the wish on shows in the program it builds.
    """
    x = jnp.ones((2, 2))
    assert "HIGHEST" not in str(jax.make_jaxpr(lambda x: x @ x)(x))
    with jax.default_matmul_precision("float32"):
        assert "HIGHEST" in str(jax.make_jaxpr(lambda x: x @ x)(x))
    setting = torch.backends.cuda.matmul
    before = setting.fp32_precision
    try:
        setting.fp32_precision = "ieee"
        assert setting.fp32_precision == "ieee"
    finally:
        setting.fp32_precision = before


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
