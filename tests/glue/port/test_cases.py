"""What people who port models met: right ports that looked wrong, wrong ones that passed."""

import dataclasses
from typing import Any

import numpy as np
import pytest

import triptych
from triptych import assert_agree, compare

torch = pytest.importorskip("torch")
jax = pytest.importorskip("jax")
jnp = pytest.importorskip("jax.numpy")
F = torch.nn.functional


def drawn(*shape: int, seed: int = 1, scale: float = 1) -> np.ndarray:
    array = scale * np.random.default_rng(seed).normal(size=shape)
    return array.astype(np.float32)


def verdicts(report: Any) -> dict[str, str]:
    return {entry.name: entry.verdict for entry in report.entries}


def layer_norm(p: Any, x: Any, eps: float = 1e-5) -> Any:
    x = x - x.mean(-1, keepdims=True)
    return x / jnp.sqrt((x * x).mean(-1, keepdims=True) + eps) * p["weight"] + p["bias"]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# Right ports that looked wrong


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_cotangents_are_no_ones_arguments(seed: int) -> None:
    """With x as the cotangent the gradient of a normalisation by x vanishes."""
    x = np.random.default_rng(seed).normal(size=(8, 12)).astype(np.float32)
    model = torch.nn.LayerNorm(12)
    assert_agree(model.state_dict(), x, torch=model, jax=layer_norm)

    @jax.custom_vjp  # type: ignore[untyped-decorator]
    def product(x: Any, w: Any) -> Any:
        return jnp.dot(x, w)

    product.defvjp(
        lambda x, w: (jnp.dot(x, w), (x, w)),
        lambda r, g: (jnp.dot(g, r[1].T), jnp.dot(g.T, r[0])),  # transposed
    )
    with pytest.raises(triptych.DisagreementError, match="gradient by w"):
        assert_agree(x, drawn(12, 12, seed=7), torch=lambda x, w: torch.matmul(x, w), jax=product)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_depth_is_rounding(dtype: Any) -> None:
    depth = 24
    layers = [
        m
        for _ in range(depth)
        for m in (torch.nn.Linear(64, 64), torch.nn.LayerNorm(64), torch.nn.GELU())
    ]
    model = torch.nn.Sequential(*layers)

    def port(p: Any, x: Any) -> Any:
        for i in range(0, 3 * depth, 3):
            x = jnp.dot(x, p[f"{i}.weight"].T) + p[f"{i}.bias"]
            x = layer_norm({"weight": p[f"{i + 1}.weight"], "bias": p[f"{i + 1}.bias"]}, x)
            x = jax.nn.gelu(x, approximate=False)
        return x

    params = {name: p.numpy().astype(dtype) for name, p in model.state_dict().items()}
    report = compare(params, drawn(16, 64).astype(dtype), torch=model, jax=jax.jit(port))
    assert report.verdict == "rounding"
    assert max(report.distances.values()) > 16  # a bound of 16 eps would have raised


class Attention(torch.nn.Module):  # type: ignore[name-defined, misc]
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (torch.nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: Any) -> Any:
        return F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x))


def attention(p: Any, x: Any) -> Any:
    q, k, v = (jnp.dot(x, p[f"{n}.weight"].T) + p[f"{n}.bias"] for n in "qkv")
    return jax.nn.softmax(q @ k.swapaxes(-1, -2) / 8**0.5, -1) @ v


@pytest.mark.slow
def test_a_gradient_that_is_zero_but_for_rounding() -> None:
    model = Attention()
    report = compare(model.state_dict(), drawn(2, 5, 8), torch=model, jax=attention)
    assert report.verdict == "rounding"
    assert report.distances["gradient by params['k.bias']"] > 1000


@pytest.mark.slow
def test_tied_weights_with_the_state_dict() -> None:
    class Tied(torch.nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.e = torch.nn.Embedding(7, 4)
            self.o = torch.nn.Linear(4, 7, bias=False)
            self.o.weight = self.e.weight

        def forward(self, i: Any) -> Any:
            return self.o(torch.tanh(self.e(i)))

    def port(p: Any, i: Any) -> Any:
        return jnp.dot(jnp.tanh(p["e.weight"][i]), p["e.weight"].T)

    def untied(p: Any, i: Any) -> Any:
        return jnp.dot(jnp.tanh(p["e.weight"][i]), jax.lax.stop_gradient(p["e.weight"]).T)

    model, rows = Tied(), np.array([1, 2, 6])
    for params in (model.state_dict(), dict(model.named_parameters())):
        names = [*assert_agree(params, rows, torch=model, jax=port)]
        assert names == ["output", "gradient by params['e.weight']"]
        assert compare(params, rows, torch=model, jax=untied).verdict == "mistake"


def test_nan_in_both() -> None:
    x = np.array([1, -1], np.float32)
    assert_agree(
        x,
        torch=lambda x: torch.where(x > 0, torch.nan, x),
        jax=lambda x: jnp.where(x > 0, jnp.nan, x),
    )
    report = compare(
        x,
        torch=lambda x: torch.where(x > 0, torch.nan, x),
        jax=lambda x: jnp.where(x < 0, jnp.nan, x),
    )
    assert report.verdict == "mistake"


# Wrong ports that passed


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1, 10, 30, 100])
def test_an_epsilon_below_the_rounding(scale: float) -> None:
    model, x = torch.nn.LayerNorm(768), drawn(4, 768, scale=scale)
    assert compare(model.state_dict(), x, torch=model, jax=layer_norm).verdict == "rounding"
    report = compare(
        model.state_dict(), x, torch=model, jax=lambda p, x: layer_norm(p, x, eps=1e-6)
    )
    assert verdicts(report)["output"] == "mistake"


LOW = float(np.finfo(np.float32).min)


@pytest.mark.parametrize("mask", [LOW, -1e9])
def test_a_large_entry_hides_no_other(mask: float) -> None:
    x = drawn(5, 4)

    def of_jax(factor: float) -> Any:
        return lambda x: jnp.where(x > 0, mask, factor * x)

    def of_torch(x: Any) -> Any:
        return torch.where(x > 0, mask, x)

    report = compare(x, torch=of_torch, jax=of_jax(1.5), gradients=False)
    assert report.verdict == "mistake"
    assert compare(x, torch=of_torch, jax=of_jax(1.0)).verdict == "equal bits"


@pytest.mark.slow
def test_columns_of_unlike_scale() -> None:
    report = compare(
        drawn(5, 4),
        torch=lambda x: x * torch.tensor([1e6, 1, 1, 1]),
        jax=lambda x: x * jnp.array([1e6, 1.1, 1, 1]),
    )
    assert set(verdicts(report).values()) == {"mistake"}


def batch_norm(momentum: float = 0.1, unbiased: int = 1) -> Any:
    def port(p: Any, x: Any) -> Any:
        mean, n = x.mean(0), len(x)
        new = {
            "running_mean": (1 - momentum) * p["running_mean"] + momentum * mean,
            "running_var": (1 - momentum) * p["running_var"]
            + momentum * x.var(0) * (n / (n - 1) if unbiased else 1),
        }
        return (x - mean) / jnp.sqrt(x.var(0) + 1e-5) * p["weight"] + p["bias"], new

    return port


@pytest.mark.slow
def test_the_state_that_a_step_leaves() -> None:
    model, x = torch.nn.BatchNorm1d(5), drawn(16, 5)
    state = model.state_dict()
    report = compare(state, x, torch=model, jax=batch_norm())
    assert report.agrees
    assert {"state 'running_mean'", "state 'running_var'"} <= verdicts(report).keys()
    report = compare(state, x, torch=model, jax=batch_norm(momentum=0.9))
    assert verdicts(report)["state 'running_mean'"] == "mistake"
    report = compare(state, x, torch=model, jax=batch_norm(unbiased=0))
    assert verdicts(report)["state 'running_mean'"] in ("rounding", "equal bits")
    assert verdicts(report)["state 'running_var'"] == "mistake"
    # a port that keeps it to itself: said
    report = compare(state, x, torch=model, jax=lambda p, x: batch_norm()(p, x)[0])
    assert "not compared: the buffers that the call changed, running_mean" in report.notes[0]


@pytest.mark.slow
def test_the_state_of_flax() -> None:
    nn = pytest.importorskip("flax.linen")
    model, x = torch.nn.BatchNorm1d(5), drawn(16, 5)

    def port(momentum: float) -> Any:
        layer = nn.BatchNorm(momentum=momentum, use_running_average=False)

        def call(p: Any, x: Any) -> Any:
            variables = {
                "params": {"scale": p["weight"], "bias": p["bias"]},
                "batch_stats": {"mean": p["running_mean"], "var": p["running_var"]},
            }
            return layer.apply(variables, x, mutable=["batch_stats"])

        return call

    report = compare(model.state_dict(), x, torch=model, jax=port(0.1))
    assert verdicts(report)["output"] == "rounding"
    assert verdicts(report)["state 'running_mean'"] == "mistake"
    report = compare(model.state_dict(), x, torch=model, jax=port(0.9))
    assert verdicts(report)["state 'running_mean'"] in ("rounding", "equal bits")
    assert verdicts(report)["state 'running_var'"] == "mistake"  # Flax divides by n


@pytest.mark.slow
def test_the_state_by_hand() -> None:
    """A running mean needs no gradient, and PyTorch would refuse one."""
    model = torch.nn.BatchNorm1d(5)

    def original(p: Any, x: Any) -> Any:
        p = dict(p)
        y = torch.func.functional_call(model, p, (x,))
        return y, p["running_mean"]

    def port(p: Any, x: Any) -> Any:
        y, new = batch_norm()(p, x)
        return y, new["running_mean"]

    state = {k: v for k, v in model.state_dict().items() if v.is_floating_point()}
    found = assert_agree(state, drawn(16, 5), torch=original, jax=port)
    assert "output[1]" in found
    assert "gradient by p['running_mean']" not in found


# What was refused


@pytest.mark.slow
def test_bfloat16() -> None:
    model = torch.nn.Linear(4, 3).bfloat16()
    x = torch.from_numpy(drawn(2, 4)).bfloat16()

    def port(p: Any, x: Any) -> Any:
        return jnp.dot(x, p["weight"].T) + p["bias"]

    assert_agree(model.state_dict(), x, torch=model, jax=port)
    report = compare(model.state_dict(), x, torch=model, jax=lambda p, x: port(p, x) * 1.01)
    assert report.verdict == "mistake"


@pytest.mark.slow
def test_an_argument_without_derivative() -> None:
    def port(logits: Any, y: Any, w: Any) -> Any:
        nll = -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1)[:, 0]
        return (nll * w[y]).sum() / w[y].sum()

    def original(logits: Any, y: Any, w: Any) -> Any:
        return F.cross_entropy(logits, y, weight=w)

    given = drawn(6, 5), np.array([0, 4, 3, 2, 1, 1]), np.arange(1, 6, dtype=np.float32)
    for fixed in (["w"], "w", [2]):
        found = assert_agree(*given, torch=original, jax=port, fixed=fixed)
        assert [*found] == ["output", "gradient by logits"]
    with pytest.raises(RuntimeError) as error:
        assert_agree(*given, torch=original, jax=port)
    assert any("fixed=" in note for note in error.value.__notes__)


@pytest.mark.slow
def test_an_equinox_module_as_an_argument() -> None:
    eqx = pytest.importorskip("equinox")
    m = eqx.nn.Linear(4, 3, key=jax.random.key(0))
    found = assert_agree(
        m,
        drawn(2, 4),
        torch=lambda m, x: torch.addmm(m.bias, x, m.weight.T),
        jax=lambda m, x: jax.vmap(m)(x),
    )
    assert len(found) == 4  # the output, by weight, bias and x


@dataclasses.dataclass
class Output:
    value: Any
    weights: Any = None


def test_outputs_that_are_no_arrays() -> None:
    x = drawn(3)
    assert_agree(x, torch=lambda x: (torch.sin(x), None), jax=lambda x: (jnp.sin(x), None))
    assert_agree(x, torch=lambda x: Output(torch.sin(x)), jax=lambda x: Output(jnp.sin(x)))
    assert_agree(
        x, torch=lambda x: (torch.sin(x), 3, 0.5, "a"), jax=lambda x: (jnp.sin(x), 3, 0.5, "a")
    )
    for wrong in ((None, 0.5), (3, 0.6), (4, 0.5)):
        report = compare(
            x,
            torch=lambda x: (torch.sin(x), 3, 0.5),
            jax=lambda x, wrong=wrong: (jnp.sin(x), *wrong),
        )
        assert report.verdict == "mistake"


def test_a_port_of_operators_alone() -> None:
    model = torch.nn.Linear(4, 3)
    assert_agree(
        model.state_dict(),
        drawn(2, 4),
        torch=model,
        jax=lambda params, x: x @ params["weight"].T + params["bias"],
    )


def test_the_error_can_be_caught() -> None:
    with pytest.raises(triptych.DisagreementError) as error:
        assert_agree(drawn(3), torch=torch.sin, jax=jnp.cos)
    assert error.value.report.verdict == "mistake"
