"""Ports that are Flax nnx modules: as the function, as an argument, filled by PyTorch's weights."""

from typing import Any

import numpy as np
import pytest

from triptych import assert_agree, compare

torch = pytest.importorskip("torch")
jax = pytest.importorskip("jax")
nnx = pytest.importorskip("flax.nnx")

pytestmark = pytest.mark.slow

X = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)


class Net(nnx.Module):  # type: ignore[name-defined, misc]
    def __init__(self, tanh: bool = False) -> None:
        rngs = nnx.Rngs(0)
        self.first = nnx.Linear(6, 9, rngs=rngs)
        self.second = nnx.Linear(9, 2, rngs=rngs)
        self.tanh = tanh

    def __call__(self, x: Any) -> Any:
        return self.second(nnx.gelu(self.first(x), approximate=self.tanh))


class Original(torch.nn.Module):  # type: ignore[name-defined, misc]
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Linear(6, 9)
        self.act = torch.nn.GELU()
        self.second = torch.nn.Linear(9, 2)

    def forward(self, x: Any) -> Any:
        return self.second(self.act(self.first(x)))


def filled(net: Any, p: Any) -> Any:
    tree = {n: {"kernel": p[f"{n}.weight"].T, "bias": p[f"{n}.bias"]} for n in ("first", "second")}
    nnx.update(net, jax.tree.map(jax.numpy.asarray, tree))
    return net


def begins(report: Any) -> list[str]:
    return [tap.name for tap in report.taps if tap.first]


def test_a_module_is_the_function() -> None:
    original = Original()
    given = {name: p.numpy() for name, p in original.state_dict().items()}
    right, wrong = filled(Net(), given), filled(Net(tanh=True), given)
    report = compare(X, torch=original, jax=right, taps=True, weights=right)
    assert report.agrees
    assert [row.words for row in report.weights] == ["equal to the transpose", "equal"] * 2
    assert all(tap.how == "value" for tap in report.taps)
    report = compare(X, torch=original, jax=wrong, taps=True)
    assert report.verdict == "mistake"
    assert begins(report) == ["act"]
    assert not compare(X, torch=original, jax=Net(), weights=Net()).weights[0].right


def test_a_module_is_an_argument() -> None:
    def of_torch(net: Any, x: Any) -> Any:
        h = x @ net.first.kernel[...] + net.first.bias[...]
        return torch.nn.functional.gelu(h) @ net.second.kernel[...] + net.second.bias[...]

    found = assert_agree(Net(), X, torch=of_torch, jax=lambda net, x: net(x))
    assert len(found) == 6  # the output, by four parameters and x
    report = compare(Net(tanh=True), X, torch=of_torch, jax=lambda net, x: net(x))
    assert [hint.id for hint in report.hints] == ["gelu"]


@pytest.mark.parametrize("tanh", [False, True])
def test_a_module_is_filled_inside(tanh: bool) -> None:
    """The weights that it draws first, and that nothing depends on, are no casts inside."""
    original = Original()
    report = compare(
        original.state_dict(),
        X,
        torch=original,
        jax=lambda p, x: filled(Net(tanh), p)(x),
        taps=True,
    )
    assert report.verdict == ("mistake" if tanh else "rounding")
    assert begins(report) == (["act"] if tanh else [])


class Normalised(nnx.Module):  # type: ignore[name-defined, misc]
    def __init__(self, momentum: float) -> None:
        self.norm = nnx.BatchNorm(6, momentum=momentum, epsilon=1e-5, rngs=nnx.Rngs(0))

    def __call__(self, x: Any) -> Any:
        return self.norm(x)


def normalised() -> Any:
    original = torch.nn.Sequential()
    original.add_module("norm", torch.nn.BatchNorm1d(6))
    return original


@pytest.mark.parametrize("momentum", [0.9, 0.1])
def test_the_state_that_a_module_leaves(momentum: float) -> None:
    def port(p: Any, x: Any) -> Any:
        net = Normalised(momentum)
        values = (p[f"norm.{n}"] for n in ("weight", "bias", "running_mean", "running_var"))
        nnx.update(net, {"norm": dict(zip(("scale", "bias", "mean", "var"), values, strict=True))})
        return net(x), nnx.state(net, nnx.BatchStat)

    original = normalised()
    report = compare(original.state_dict(), X, torch=original, jax=port, taps=True)
    found = {entry.name: entry.verdict for entry in report.entries}
    assert found["output"] == "rounding"
    right = ("rounding", "equal bits")
    assert (found["state 'norm.running_mean'"] in right) == (momentum == 0.9)
    assert found["state 'norm.running_var'"] == "mistake"  # Flax divides by n
    assert not report.notes


def test_a_module_that_writes_into_itself_is_left_as_it_was() -> None:
    net = Normalised(0.9)
    before = jax.tree.map(jax.numpy.array, nnx.state(net))
    assert_agree(X, torch=normalised(), jax=net, taps=True)
    assert jax.tree.all(jax.tree.map(jax.numpy.array_equal, before, nnx.state(net)))
    with pytest.raises(Exception, match="Cannot mutate BatchStat") as error:
        assert_agree(X, torch=normalised(), jax=lambda x: net(x))
    assert any("must be the function itself, jax=module" in n for n in error.value.__notes__)


def test_numbers_that_a_port_draws_are_the_same_in_float64() -> None:
    noise = torch.from_numpy(np.array(jax.random.uniform(jax.random.key(1), X.shape)))

    def port(x: Any) -> Any:
        return x * jax.random.uniform(jax.random.key(1), x.shape, "float32")

    assert_agree(X, torch=lambda x: x * noise, jax=port)
    report = compare(X, torch=lambda x: x * noise, jax=lambda x: 1.001 * port(x))
    assert report.verdict == "mistake"
