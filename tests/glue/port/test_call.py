"""The check of one's own port: agreeing ports pass, each kind of mistake is caught and named."""

import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import triptych
from triptych import assert_agree
from triptych.agreement.measures import DisagreementError

torch = pytest.importorskip("torch")
jax = pytest.importorskip("jax")
jnp = pytest.importorskip("jax.numpy")

ROOT = Path(__file__).parents[3]
Arrays = dict[str, np.ndarray]


# One mean squared error, in three frameworks


def torch_loss(w: Any, x: Any, t: Any) -> Any:
    return torch.mean((torch.tanh(x @ w) - t) ** 2)


@jax.jit  # type: ignore[untyped-decorator]
def jax_loss(w: Any, x: Any, t: Any) -> Any:
    return jnp.mean((jnp.tanh(x @ w) - t) ** 2)


def numpy_loss(w: Any, x: Any, t: Any) -> Any:
    return np.mean((np.tanh(x @ w) - t) ** 2)


def numpy_loss_and_grads(w: Any, x: Any, t: Any) -> Any:
    y = np.tanh(x @ w)
    d_y = 2 / t.size * (y - t)
    d_z = d_y * (1 - y**2)
    return np.mean((y - t) ** 2), (x.T @ d_z, d_z @ w.T)


def draw(dtype: Any = np.float32, k: int = 3, n: int = 8, seed: int = 0) -> tuple[np.ndarray, ...]:
    """A square weight (k, k), x and t (n, k)."""
    random = np.random.default_rng(seed)
    return tuple(random.normal(size=s).astype(dtype) for s in ((k, k), (n, k), (n, k)))


def numpy_pair(x: Any) -> Any:
    return np.sin(x), np.cos(x)


DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])

# What agrees


@DTYPES
def test_a_loss_in_three_frameworks(dtype: Any) -> None:
    names = ["output", "gradient by w", "gradient by x", "gradient by t"]
    found = assert_agree(*draw(dtype), torch=torch_loss, jax=jax_loss, numpy=numpy_loss)
    assert list(found) == names
    assert all(0 <= value <= 16 for value in found.values())
    assert list(assert_agree(*draw(dtype), torch=torch_loss, jax=jax_loss)) == names
    two = assert_agree(*draw(dtype), torch={"one": torch_loss, "other": torch_loss})
    assert list(two) == names
    assert max(two.values()) == 0
    assert list(assert_agree(*draw(dtype), torch=torch_loss, numpy=numpy_loss)) == ["output"]


@pytest.mark.slow
@DTYPES
def test_gradients_that_a_numpy_function_returns(dtype: Any) -> None:
    def wrong(w: Any, x: Any, t: Any) -> Any:
        value, (d_w, d_x) = numpy_loss_and_grads(w, x, t)
        return value, (d_w.T, d_x)

    arguments = draw(dtype)
    found = assert_agree(
        *arguments, torch=torch_loss, numpy=numpy_loss_and_grads, numpy_argnums=(0, 1)
    )
    assert list(found) == ["output", "gradient by w", "gradient by x"]
    found = assert_agree(
        *arguments, numpy=numpy_loss_and_grads, torch=torch_loss, jax=jax_loss, numpy_argnums=(0, 1)
    )
    assert list(found) == ["output", "gradient by w", "gradient by x", "gradient by t"]
    with pytest.raises(DisagreementError, match=r"gradient by w, numpy against jax: .* eps apart"):
        assert_agree(*arguments, jax=jax_loss, numpy=wrong, numpy_argnums=(0, 1))


@pytest.mark.slow
def test_the_columns_own_functions(columns: Any) -> None:
    from triptych import data

    numpy_ref, torch_impl, jax_impl = columns
    x = np.random.default_rng(0).normal(size=(32, 4)).astype(np.float32)
    t = np.arange(32) % 3
    params = data.classifier_start(dtype="float32")
    found = assert_agree(
        params,
        x,
        t,
        torch=torch_impl.classifier.loss,
        jax=jax_impl.classifier.loss,
        numpy=numpy_ref.classifier.loss_and_grads,
        numpy_argnums=0,
    )
    assert [*found] == ["output", *(f"gradient by params[{n!r}]" for n in params), "gradient by x"]


def mlp() -> Any:
    torch.manual_seed(0)
    layers = torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 3)
    return torch.nn.Sequential(*layers)


@functools.partial(jax.jit, static_argnames="approximate")
def jax_mlp(params: Any, x: Any, approximate: bool = False) -> Any:
    h = jax.nn.gelu(x @ params["0.weight"].T + params["0.bias"], approximate=approximate)
    return h @ params["2.weight"].T + params["2.bias"]


@pytest.mark.parametrize(("dtype", "training"), [(np.float32, True), (np.float64, False)])
def test_a_module_and_a_function_of_its_parameters(dtype: Any, training: bool) -> None:
    model = mlp().train(training)
    params = {name: p.numpy().astype(dtype) for name, p in model.state_dict().items()}
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(dtype)
    before = {name: p.clone() for name, p in model.state_dict().items()}
    given = {name: p.copy() for name, p in params.items()} | {"x": x.copy()}
    found = assert_agree(params, x, torch=model, jax=jax_mlp)
    assert [*found] == [
        "output",
        *(f"gradient by params[{n!r}]" for n in ("0.weight", "0.bias", "2.weight", "2.bias")),
        "gradient by input",
    ]
    # nothing is changed, nothing is left behind
    assert model.training == training
    for name, p in model.named_parameters():
        assert p.grad is None
        assert p.requires_grad
        assert torch.equal(p, before[name])
    for name, array in given.items():
        assert np.array_equal(array, x if name == "x" else params[name])


def test_a_module_without_parameters_takes_its_inputs_alone() -> None:
    x = draw()[1]
    assert [*assert_agree(x, torch=torch.nn.Tanh(), jax=jnp.tanh)] == [
        "output",
        "gradient by input",
    ]


@pytest.mark.slow
def test_buffers_are_given_but_have_no_gradient() -> None:
    def of_jax(p: Any, x: Any, mean: Any = None) -> Any:
        mean = p["running_mean"] if mean is None else mean
        scale = p["weight"] / jnp.sqrt(p["running_var"] + 1e-5)
        return (x - mean) * scale + p["bias"]

    model = torch.nn.BatchNorm1d(3).eval()
    params = {name: p.numpy() for name, p in model.state_dict().items()}
    params |= {"running_mean": draw()[0][0], "bias": draw()[0][1]}
    names = ["output", *(f"gradient by params[{n!r}]" for n in ("weight", "bias"))]
    found = assert_agree(params, draw()[1], torch=model, jax=of_jax)
    assert [*found] == [*names, "gradient by input"]
    with pytest.raises(DisagreementError, match="output, jax against torch"):
        assert_agree(params, draw()[1], torch=model, jax=functools.partial(of_jax, mean=0))
    model.train()  # writes its running mean: into a copy
    with pytest.raises(DisagreementError, match="output, jax against torch"):
        assert_agree(params, draw()[1], torch=model, jax=of_jax)
    assert model.training
    assert model.num_batches_tracked == 0
    assert params["num_batches_tracked"] == 0
    assert torch.equal(model.running_mean, torch.zeros(3))
    assert np.array_equal(params["running_mean"], draw()[0][0])


@pytest.mark.slow
def test_tied_weights_under_one_name_or_two() -> None:
    class Tied(torch.nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = (torch.nn.Linear(3, 3, bias=False) for _ in "ab")
            self.b.weight = self.a.weight

        def forward(self, x: Any) -> Any:
            return self.b(torch.tanh(self.a(x)))

    def of_jax(p: Any, x: Any) -> Any:
        w = p["a.weight"]
        return jnp.tanh(x @ w.T) @ p.get("b.weight", w).T

    model = Tied()
    params = {name: p.numpy() for name, p in model.state_dict().items()}
    found = assert_agree(params, draw()[1], torch=model, jax=of_jax)
    assert "gradient by params['a.weight']" in found  # the sum over both names
    assert "gradient by params['b.weight']" not in found
    del params["b.weight"]
    assert "gradient by params['a.weight']" in assert_agree(
        params, draw()[1], torch=model, jax=of_jax
    )


def test_a_module_held_fixed() -> None:
    model = torch.nn.Linear(3, 3)
    w, b = model.weight.detach().numpy(), model.bias.detach().numpy()
    assert_agree(draw()[1], torch=lambda x: model(x), jax=lambda x: jnp.dot(x, w.T) + b)
    assert model.weight.grad is None


def test_float64_needs_nothing_of_the_user() -> None:
    def torch_double(x: Any) -> Any:
        return torch.exp(x)

    x = np.linspace(-1, 1, 5)
    assert not jax.config.jax_enable_x64
    found = assert_agree(x, torch=torch_double, jax=jnp.exp)
    assert not jax.config.jax_enable_x64
    assert max(found.values()) < 16  # of float64, so nothing was cut


@pytest.mark.slow
def test_arrays_of_any_framework_are_arguments() -> None:
    """As a module's `state_dict` has them; what is given keeps its bits and its graph."""
    w, x, t = draw()
    expected = assert_agree(w, x, t, torch=torch_loss, jax=jax_loss)
    tracked = torch.tensor(w, requires_grad=True)
    assert assert_agree(tracked, jnp.asarray(x), t, torch=torch_loss, jax=jax_loss) == expected
    assert tracked.grad is None
    assert tracked.requires_grad
    coarse = [a.bfloat16() for a in map(torch.tensor, (w, x, t))]
    assert assert_agree(*coarse, torch=torch_loss, jax=jax_loss)["output"] < 16


@pytest.mark.slow
def test_a_port_with_parameters_of_another_form() -> None:
    """Transposed and nested, as other libraries keep them: the difference is wrapped away."""
    model = torch.nn.Linear(3, 2)

    def port(params: Any, x: Any) -> Any:
        return x @ params["dense"]["kernel"] + params["dense"]["bias"]

    def convert(params: Any) -> Any:
        return {"dense": {"kernel": params["weight"].T, "bias": params["bias"]}}

    x = draw()[1]
    found = assert_agree(
        model.state_dict(), x, torch=model, jax=lambda params, x: port(convert(params), x)
    )
    assert "gradient by params['weight']" in found
    nested = {"dense": {"kernel": np.ones((3, 2), np.float32), "bias": np.ones(2, np.float32)}}
    with pytest.raises(TypeError) as error:
        assert_agree(nested, x, torch=model, jax=port)
    assert any("port(convert(params), x)" in note for note in error.value.__notes__)


@pytest.mark.slow
def test_structures_of_arguments_and_outputs() -> None:
    def of_torch(params: Any, rows: Any) -> Any:
        y = torch.tanh(params["layers"][0]["w"][rows] * params["scale"])
        return {"y": y, "rest": (torch.argmax(y, dim=1), [y > 0])}

    @jax.jit  # type: ignore[untyped-decorator]
    def of_jax(params: Any, rows: Any) -> Any:
        y = jnp.tanh(params["layers"][0]["w"][rows] * params["scale"])
        return {"rest": [jnp.argmax(y, axis=1), (y > 0,)], "y": y}

    rows = np.array([2, 0])
    params = {"scale": np.float32(0.5), "layers": [{"w": draw()[0]}]}
    assert [*assert_agree(params, rows, torch=of_torch, jax=of_jax)] == [
        "output['y']",
        "output['rest'][0]",
        "output['rest'][1][0]",
        "gradient by params['scale']",
        "gradient by params['layers'][0]['w']",
    ]


def test_an_argument_that_is_not_used_has_gradient_zero() -> None:
    # PyTorch says None, JAX says zeros
    def of_torch(x: Any, unused: Any) -> Any:
        return torch.sum(x)

    def of_jax(x: Any, unused: Any) -> Any:
        return jnp.sum(x)

    assert assert_agree(*draw()[:2], torch=of_torch, jax=of_jax)["gradient by unused"] == 0


@pytest.mark.slow
def test_equal_infinities_agree_and_do_not_hide_the_rest() -> None:
    def of_torch(x: Any) -> Any:
        return torch.where(x < 0, -torch.inf, x)

    def of_jax(x: Any, factor: float = 1) -> Any:
        return jnp.where(x < 0, -jnp.inf, x * factor)

    x = np.array([-1, 1, 2], np.float32)
    assert assert_agree(x, torch=of_torch, jax=of_jax)["output"] == 0
    with pytest.raises(DisagreementError, match=r"output, .* at \(2,\): 2.2\d* against 2"):
        assert_agree(x, torch=of_torch, jax=functools.partial(of_jax, factor=1.1))
    with pytest.raises(DisagreementError, match=r"infinite at \(0,\): -0 against -inf"):
        assert_agree(x, torch=of_torch, jax=lambda x: jnp.maximum(x, -0.0))


@pytest.mark.slow
def test_rounding_about_zero_is_no_mistake() -> None:
    # softmax does not depend on a shift: the derivative is 0 but for rounding
    def of_torch(shift: Any, x: Any) -> Any:
        return torch.softmax(x + shift, dim=1)

    def of_jax(shift: Any, x: Any) -> Any:
        return jax.nn.softmax(x + shift, axis=1)

    functions: Any = {"torch": of_torch, "jax": jax.jit(of_jax)}
    arguments = (np.float32(0.3), draw()[1])
    assert_agree(*arguments, **functions)  # float64 tells that it is rounding
    with pytest.raises(DisagreementError, match=r"gradient by shift, .* at \(\)"):
        assert_agree(*arguments, **functions, bound=16)
    assert_agree(*arguments, **functions, bound=16, absolute=1e-06)


def test_a_bound_of_ones_own() -> None:
    found = assert_agree(*draw(), torch=torch_loss, jax=jax_loss)
    furthest = max(found, key=lambda name: found[name])
    assert found[furthest] > 0
    with pytest.raises(DisagreementError, match=r"eps apart, allowed"):
        assert_agree(*draw(), torch=torch_loss, jax=jax_loss, bound=found[furthest] / 2)


# What disagrees: the mistakes that ports have

MISTAKES: dict[str, tuple[Callable[..., Any], str]] = {
    "wrong sign": (
        lambda w, x, t: jnp.mean((jnp.tanh(x @ w) + t) ** 2),
        r"output, jax against torch: .* eps apart, and in float64 still .*; at \(\): .* against ",
    ),
    "transposed weight": (
        lambda w, x, t: jnp.mean((jnp.tanh(x @ w.T) - t) ** 2),
        r"output, jax against torch: .* eps apart",
    ),
    "missing 1/n": (
        lambda w, x, t: jnp.sum((jnp.tanh(x @ w) - t) ** 2),
        r"output, jax against torch: .* eps apart",
    ),
    "other dtype": (
        lambda w, x, t: jax_loss(w, x, t).astype(jnp.float16),
        "output, jax against torch: dtype float16 is not float32",
    ),
    "other shape": (
        lambda w, x, t: jax_loss(w, x, t)[jnp.newaxis],
        r"output, jax against torch: shape \(1,\) is not \(\)",
    ),
    "other structure": (
        lambda w, x, t: (jax_loss(w, x, t), jnp.zeros(())),
        r"other structure: jax output\[0\], output\[1\] against torch output$",
    ),
    "integers for floats": (
        lambda w, x, t: jax_loss(w, x, t).astype(jnp.int32),
        "output, jax against torch: dtype int32 is not float32",
    ),
    "detached": (
        lambda w, x, t: jax_loss(jax.lax.stop_gradient(w), x, t),
        r"gradient by w, jax against torch: .* eps apart.*; at \(\d, \d\): 0 against .*\d",
    ),
    "gradient with the wrong sign": (
        lambda w, x, t: jax_loss(w, x, 2 * jax.lax.stop_gradient(t) - t),
        r"gradient by t, jax against torch: .*; at \(\d, \d\): .*-.*\d.* against .*\d",
    ),
    "NaN": (
        lambda w, x, t: jnp.sqrt(-jax_loss(w, x, t)),
        r"output, jax against torch: NaN at \(\)",
    ),
    "NaN in the gradient": (
        lambda w, x, t: jax_loss(w, x, t) + 0 * jnp.sum(jnp.sqrt(x - jax.lax.stop_gradient(x))),
        r"gradient by x, jax against torch: NaN at \(0, 0\)",
    ),
}


@pytest.mark.parametrize(
    "mistake",
    [
        pytest.param(name, marks=[] if name in ("wrong sign", "detached") else pytest.mark.slow)
        for name in MISTAKES
    ],
)
def test_a_mistake_is_caught_and_named(mistake: str) -> None:
    function, words = MISTAKES[mistake]
    wrong = jax.jit(function)
    with pytest.raises(DisagreementError, match=words) as error:
        assert_agree(*draw(), torch=torch_loss, jax=wrong)
    assert isinstance(error.value, AssertionError)
    with pytest.raises(DisagreementError):
        assert_agree(*draw(), jax=wrong, numpy=numpy_loss, torch=torch_loss)


@pytest.mark.slow
def test_a_detached_pytorch_output_has_gradient_zero() -> None:
    def detached(w: Any, x: Any, t: Any) -> Any:
        return torch_loss(w.detach(), x.detach(), t.detach())

    words = r"gradient by ., jax against torch: .*at .*\d against 0"
    for wrong in (detached, torch.no_grad()(torch_loss)):
        with pytest.raises(DisagreementError, match=words):
            assert_agree(*draw(), jax=jax_loss, torch=wrong)
        assert [*assert_agree(*draw(), jax=jax_loss, torch=wrong, gradients=False)] == ["output"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_where_the_caller_has_switched_them_off(mode: Any) -> None:
    with mode():
        assert "gradient by w" in assert_agree(*draw(), torch=torch_loss, jax=jax_loss)


@pytest.mark.slow
def test_exact_and_approximate_gelu() -> None:
    params = {name: p.numpy() for name, p in mlp().state_dict().items()}
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    with pytest.raises(DisagreementError, match=r"output, jax against torch: [\de+.]+ eps"):
        assert_agree(params, x, torch=mlp(), jax=functools.partial(jax_mlp, approximate=True))


def test_nan_in_both_agrees_and_in_one_does_not() -> None:
    def of_torch(x: Any) -> Any:
        return torch.log(x)

    x = np.array([1, -1], np.float32)
    assert assert_agree(x, torch=of_torch, jax=jnp.log, gradients=False)["output"] == 0
    loose: dict[str, Any] = {"bound": 1e30, "absolute": 1e30, "gradients": False}
    with pytest.raises(DisagreementError, match=r"NaN at \(1,\)"):
        assert_agree(x, torch=of_torch, jax=lambda x: jnp.log(jnp.abs(x)), **loose)


@pytest.mark.slow
def test_a_transposed_gradient_of_a_square_output_is_caught() -> None:
    # a cotangent of ones would let it pass
    def of_torch(w: Any) -> Any:
        return torch.stack([w, w])

    @jax.custom_vjp  # type: ignore[untyped-decorator]
    def of_jax(w: Any) -> Any:
        return jnp.stack([w, w])

    of_jax.defvjp(lambda w: (of_jax(w), None), lambda _, d: (d.sum(0).T,))
    with pytest.raises(DisagreementError, match="gradient by w, jax against torch"):
        assert_agree(draw()[0], torch=of_torch, jax=of_jax)


@pytest.mark.slow
def test_integers_must_be_equal_whatever_the_bound() -> None:
    def of_torch(x: Any, rows: Any) -> Any:
        return torch.sum(x), torch.argmax(x, dim=1) + rows

    def of_jax(x: Any, rows: Any, more: int = 0) -> Any:
        return jnp.sum(x), jnp.argmax(x, axis=1) + rows + more

    x, rows = draw()[1], np.arange(8)
    assert assert_agree(x, rows, torch=of_torch, jax=of_jax)["output[1]"] == 0
    with pytest.raises(DisagreementError, match=r"output\[1\], .* at \(0,\): .*3.* against .*2"):
        assert_agree(x, rows, torch=of_torch, jax=functools.partial(of_jax, more=1), bound=100)


def test_wrong_names_of_returned_gradients() -> None:
    def wrong(params: Any) -> Any:
        return np.sum(params["a"]) + np.sum(params["b"]), {"a": np.ones_like(params["a"])}

    def of_torch(params: Any) -> Any:
        return torch.sum(params["a"]) + torch.sum(params["b"])

    words = r"gradients of numpy are by params\['a'\], expected params\['a'\], params\['b'\]"
    with pytest.raises(DisagreementError, match=words):
        assert_agree({"a": draw()[0], "b": draw()[1]}, torch=of_torch, numpy=wrong, numpy_argnums=0)


# Bad input


X = draw()[1]
PAIR: dict[str, Any] = {"torch": torch.square, "jax": jnp.square}


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "words"),
    [
        ((X,), {}, ValueError, "2 functions or more, got none"),
        ((X,), {"torch": torch.square}, ValueError, "2 functions or more, got torch"),
        ((torch.square, jnp.square, X), {}, TypeError, "functions are named by their framework"),
        ((X,), {"torch": torch.square, "jax": X}, TypeError, "jax must be a function, got numpy"),
        ((X,), {"torch": [torch.square, 1]}, TypeError, "torch must be a function, got builtins"),
        ((np.array(["a"]),), PAIR, TypeError, "x must hold|argument 1 must hold.*dtype <U1"),
        (
            (X.astype(np.longdouble),),
            PAIR,
            TypeError,
            "64 bits a part at most.*longdouble|float128",
        ),
        ((X,), PAIR | {"bound": -1}, ValueError, "bound must be finite and at least 0, got -1"),
        ((X,), PAIR | {"bound": np.inf}, ValueError, "bound must be finite"),
        ((X,), PAIR | {"bound": "1"}, TypeError, "bound must be a number, got builtins.str"),
        ((X,), PAIR | {"absolute": np.nan}, ValueError, "absolute must be finite"),
        ((X,), PAIR | {"absolute": True}, TypeError, "absolute must be a number"),
        ((X,), PAIR | {"fixed": "y"}, ValueError, "fixed must name an argument, one of"),
        ((X,), PAIR | {"fixed": [1]}, ValueError, r"fixed must lie in 0 \.\. 0, got 1"),
        ((X,), PAIR | {"numpy_argnums": 0}, ValueError, "come with a NumPy function"),
        ((X,), PAIR | {"numpy_argnums": 1, "numpy": np.square}, ValueError, r"in 0 \.\. 0, got 1"),
        ((X,), PAIR | {"numpy_argnums": "x", "numpy": np.square}, TypeError, "must be an int"),
        ((X,), PAIR | {"numpy_argnums": 0, "numpy": np.square}, TypeError, r"return \(value, grad"),
        (
            (X,),
            PAIR | {"numpy_argnums": 0, "numpy": lambda x: (x, x)},
            ValueError,
            "must be a scalar",
        ),
    ],
)
def test_bad_input(
    arguments: tuple[Any, ...], keywords: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=f"assert_agree: .*(?:{words})"):
        assert_agree(*arguments, **keywords)


def test_a_module_needs_its_parameters_by_name() -> None:
    w = draw()[0]
    model = torch.nn.Linear(3, 3)
    words = r"must have the names of the module's state_dict, weight, bias; (missing|extra) "
    for params in ({"weight": w}, {"weight": w, "bias": w[0], "more": w}):
        with pytest.raises(ValueError, match=words):
            assert_agree(params, X, torch=model, jax=lambda p, x: jnp.dot(x, p["weight"]))


def test_outputs_that_are_no_arrays() -> None:
    def nothing(x: Any) -> Any:
        return []

    def an_object(x: Any) -> Any:
        return {"y": x.sum(), "what": object()}

    for wrong, words in (
        (nothing, "must return an array"),
        (an_object, "leave it out with ignore"),
    ):
        with pytest.raises(TypeError, match=words):
            assert_agree(X, torch=wrong, jax=jnp.sum)


def test_an_error_of_the_users_own_says_whose() -> None:
    def broken(x: Any) -> Any:
        raise KeyError("missing", jnp.sum(x))

    with pytest.raises(KeyError, match="missing") as error:
        assert_agree(draw()[0], torch=torch.sum, jax=broken)
    (note,) = error.value.__notes__
    assert note.startswith("raised by triptych.assert_agree calling jax, test_an_error")


def test_integers_alone_can_be_compared_by_value() -> None:
    found = assert_agree(np.arange(3), torch=torch.square, jax=jnp.square, gradients=False)
    assert found == {"output": 0}


def test_nothing_given_is_changed_by_a_function_that_writes() -> None:
    def of_numpy(x: Any) -> Any:
        x -= np.mean(x)
        return x

    def of_torch(x: Any) -> Any:
        return x - torch.mean(x)

    x = draw()[0]
    before = x.copy()
    assert_agree(x, numpy=of_numpy, torch=of_torch)
    assert np.array_equal(x, before)


# The way in


def test_importing_triptych_imports_no_framework() -> None:
    code = (
        "import sys, triptych; assert 'assert_agree' in dir(triptych);"
        "early = [m for m in ('numpy', 'torch', 'jax') if m in sys.modules];"
        "triptych.assert_agree;"
        "late = [m for m in ('numpy', 'torch', 'jax') if m in sys.modules];"
        "print(early, late)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[] ['numpy']\n"


def test_other_names_are_missing_as_usual() -> None:
    with pytest.raises(AttributeError, match="module 'triptych' has no attribute 'assert_agre'"):
        triptych.assert_agre  # noqa: B018
