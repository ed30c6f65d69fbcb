"""Where a port begins to part from its original: layer by layer, forward and backward."""

import functools
from typing import Any

import numpy as np
import pytest

from triptych import DisagreementError, assert_agree, compare

torch = pytest.importorskip("torch")
jax = pytest.importorskip("jax")
jnp = pytest.importorskip("jax.numpy")
from jax.ad_checkpoint import checkpoint_name  # noqa: E402

X = np.random.default_rng(3).normal(size=(4, 6)).astype(np.float32)
BLOCKS = 3


class Block(torch.nn.Module):  # type: ignore[name-defined, misc]
    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(6)
        self.up = torch.nn.Linear(6, 9)
        self.act = torch.nn.GELU()
        self.down = torch.nn.Linear(9, 6)

    def forward(self, x: Any) -> Any:
        return x + self.down(self.act(self.up(self.norm(x))))


@functools.cache
def model() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(*(Block() for _ in range(BLOCKS)), torch.nn.Linear(6, 2))


def layer_norm(x: Any, w: Any, b: Any) -> Any:
    x = x - x.mean(-1, keepdims=True)
    return x / jnp.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * w + b


def block(q: Any, x: Any, tanh: bool = False, stop: bool = False) -> Any:
    h = layer_norm(x, q("norm.weight"), q("norm.bias"))
    h = jax.nn.gelu(h @ q("up.weight").T + q("up.bias"), approximate=tanh)
    h = jax.lax.stop_gradient(h) if stop else h
    return x + (h @ q("down.weight").T + q("down.bias"))


@functools.partial(jax.jit, static_argnames=("bad", "stop"))
def port(p: Any, x: Any, bad: int = -1, stop: int = -1) -> Any:
    for i in range(BLOCKS):
        x = block(lambda name, i=i: p[f"{i}.{name}"], x, tanh=i == bad, stop=i == stop)
        x = checkpoint_name(x, f"blocks_{i}")
    return x @ p["3.weight"].T + p["3.bias"]


def of(function: Any, **options: Any) -> Any:
    return compare(model().state_dict(), X, torch=model(), jax=function, **options)


def begins(report: Any) -> Any:
    (tap,) = [tap for tap in report.taps if tap.first]
    return tap


@pytest.fixture(scope="module")
def planted() -> Any:
    return of(functools.partial(port, bad=1), taps=True)


@pytest.mark.slow
def test_a_planted_activation_is_named(planted: Any) -> None:
    tap = begins(planted)
    assert tap.name == "1.act"
    assert tap.partner.startswith("mul at test_layers.py:")  # the last operation of the GELU's line
    assert tap.alone
    assert tap.forward > 1e-6
    names = [tap.name for tap in planted.taps]
    assert names[:5] == ["0.norm", "0.up", "0.act", "0.down", "0"]  # in order, blocks behind parts
    before = names.index("1.act")
    assert not any(tap.parts for tap in planted.taps[:before])
    assert all(tap.forward < 1e-12 for tap in planted.taps[:before])
    # what follows inherits; what precedes parts backward alone
    assert all(tap.parts and tap.alone is False for tap in planted.taps[before + 1 :])
    assert all(tap.parts_back for tap in planted.taps[:before])
    # parameters name the layers that use them
    assert next(t for t in planted.taps if t.name == "1.down").partner.startswith("1.down (add at ")
    assert "<-- here it begins" in str(planted)
    assert next(row for row in planted.to_dict()["taps"] if row["first"])["name"] == "1.act"


@pytest.mark.slow
def test_names_that_are_given() -> None:
    report = of(functools.partial(port, bad=1), taps={f"{i}": f"blocks_{i}" for i in range(BLOCKS)})
    assert [tap.name for tap in report.taps] == ["0", "1", "2"]
    assert [tap.parts for tap in report.taps] == [False, True, True]
    assert begins(report).name == "1"
    assert begins(report).alone
    assert [tap.alone for tap in report.taps][2] is False
    assert begins(report).partner.startswith("blocks_1")


@pytest.mark.slow
def test_a_right_port_has_every_layer_and_no_beginning() -> None:
    report = of(port, taps=True)
    assert report.agrees
    assert len(report.taps) == 5 * BLOCKS + 1
    for tap in report.taps:
        assert tap.how
        assert not tap.parts
        assert not tap.parts_back
        assert not tap.first
    assert max(tap.forward for tap in report.taps) < 1e-13
    assert max(tap.backward for tap in report.taps) < 1e-13


@pytest.mark.slow
def test_a_gradient_that_is_stopped_is_found_backward() -> None:
    report = of(functools.partial(port, stop=1), taps=True)
    assert not any(tap.parts for tap in report.taps)
    # the cotangent arrives behind the stop, and not before it
    assert begins(report).name == "1.act"
    assert [t.name for t in report.taps if t.parts_back][-1] == "1.act"


@pytest.mark.slow
def test_a_scan_over_layers_is_looked_into() -> None:
    names = [f"{a}.{b}" for a in ("norm", "up", "down") for b in ("weight", "bias")]

    def scanned(p: Any, x: Any, bad: int = -1) -> Any:
        stacked = {name: jnp.stack([p[f"{i}.{name}"] for i in range(BLOCKS)]) for name in names}
        factors = jnp.where(jnp.arange(BLOCKS) == bad, 1.001, 1.0)

        def body(x: Any, given: Any) -> Any:
            layer, factor = given
            return block(layer.__getitem__, factor * x), None

        x, _ = jax.lax.scan(body, x, (stacked, factors.astype(x.dtype)))
        return x @ p["3.weight"].T + p["3.bias"]

    assert of(scanned, taps=True).agrees
    report = of(functools.partial(scanned, bad=2), taps=["0", "1", "2"])
    assert begins(report).name == "2"
    assert begins(report).alone


@pytest.mark.slow
def test_a_missing_layer_is_no_false_alarm() -> None:
    """Two matrix products in one: the port has no such value, and is right."""

    class Two(torch.nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.o = (torch.nn.Linear(6, 6, bias=False) for _ in range(3))

        def forward(self, x: Any) -> Any:
            return self.o(torch.tanh(self.q(x) + self.k(x)))

    def fused(p: Any, x: Any, sign: float = 1.0) -> Any:
        return jnp.tanh(x @ (p["q.weight"] + sign * p["k.weight"]).T) @ p["o.weight"].T

    torch.manual_seed(0)
    two = Two()
    report = compare(two.state_dict(), X, torch=two, jax=fused, taps=True)
    assert report.agrees
    assert [(tap.name, bool(tap.how)) for tap in report.taps] == [
        ("q", False),
        ("k", False),
        ("o", True),
    ]
    wrong = functools.partial(fused, sign=-1.0)
    report = compare(two.state_dict(), X, torch=two, jax=wrong, taps=True)
    assert report.verdict == "mistake"
    assert any(tap.first for tap in report.taps)


@pytest.mark.slow
def test_flax_names_itself_or_captures() -> None:
    nn = pytest.importorskip("flax.linen")

    class Net(nn.Module):  # type: ignore[name-defined, misc]
        tanh: bool = False

        @nn.compact  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> Any:
            x = nn.Dense(9, name="first")(x)
            x = nn.gelu(x, approximate=self.tanh)
            return nn.Dense(2, name="second")(x)

    torch.manual_seed(0)
    original = torch.nn.Sequential()
    for name, layer in (
        ("first", torch.nn.Linear(6, 9)),
        ("act", torch.nn.GELU()),
        ("second", torch.nn.Linear(9, 2)),
    ):
        original.add_module(name, layer)

    def variables(p: Any) -> Any:
        return {
            "params": {
                n: {"kernel": p[f"{n}.weight"].T, "bias": p[f"{n}.bias"]}
                for n in ("first", "second")
            }
        }

    def call(p: Any, x: Any, tanh: bool = True, **options: Any) -> Any:
        return Net(tanh).apply(variables(p), x, **options)

    given = {n: p.numpy() for n, p in original.state_dict().items()}
    options: dict[str, Any]
    for options in ({}, {"capture_intermediates": True, "mutable": ["intermediates"]}):
        wrong = functools.partial(call, **options)  # type: ignore[arg-type]
        report = compare(given, X, torch=original, jax=wrong, taps=True, weights=variables(given))
        assert begins(report).name == "act"
        assert [tap.parts for tap in report.taps] == [False, True, True]
        assert "first" in report.taps[0].partner
        right = functools.partial(call, tanh=False, **options)
        assert_agree(given, X, torch=original, jax=right, taps=True)
    assert [row.words for row in report.weights] == ["equal to the transpose", "equal"] * 2


@pytest.mark.slow
def test_equinox_by_path() -> None:
    eqx = pytest.importorskip("equinox")
    torch.manual_seed(0)
    original = torch.nn.Sequential(
        torch.nn.Linear(6, 9), torch.nn.GELU(), torch.nn.Linear(9, 2), torch.nn.LayerNorm(2)
    )
    gelu = functools.partial(jax.nn.gelu, approximate=False)

    def net(p: Any, activation: Any, eps: float) -> Any:
        key = jax.random.key(0)
        layers = [eqx.nn.Linear(6, 9, key=key), eqx.nn.Lambda(activation)]
        layers += [eqx.nn.Linear(9, 2, key=key), eqx.nn.LayerNorm(2, eps=eps)]
        made = eqx.nn.Sequential(layers)
        get = lambda m: [f(m[i]) for i in (0, 2, 3) for f in (_weight, _bias)]  # noqa: E731
        return eqx.tree_at(
            get, made, [p[f"{i}.{n}"] for i in (0, 2, 3) for n in ("weight", "bias")]
        )

    def call(p: Any, x: Any, activation: Any = gelu, eps: float = 1e-5) -> Any:
        return jax.vmap(net(p, activation, eps))(x)

    given = original.state_dict()
    assert_agree(given, X, torch=original, jax=call, taps=True)
    report = compare(
        given, X, torch=original, jax=functools.partial(call, activation=jax.nn.gelu), taps=True
    )
    assert begins(report).name == "1"
    report = compare(
        given, X, torch=original, jax=functools.partial(call, eps=1e-3), taps={"3": "3", "2": "2"}
    )
    assert begins(report).name == "3"
    assert begins(report).alone


def _weight(m: Any) -> Any:
    return m.weight


def _bias(m: Any) -> Any:
    return m.bias


def numpy_port(p: Any, x: Any, slope: float = 1.0) -> Any:
    taps = {}
    taps["first"] = h = x @ p["0.weight"].T + p["0.bias"]
    taps["act"] = h = np.tanh(slope * h)
    return h @ p["2.weight"].T + p["2.bias"], taps


def small() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.Tanh(), torch.nn.Linear(9, 2))


def test_numpy_returns_a_dict() -> None:
    names = {"0": "first", "1": "act"}
    given = small().state_dict()
    report = compare(given, X, torch=small(), numpy=numpy_port, taps=names)
    assert report.agrees
    assert [tap.partner for tap in report.taps] == ["first", "act"]
    wrong = functools.partial(numpy_port, slope=1.01)
    report = compare(given, X, torch=small(), numpy=wrong, taps=names)
    assert begins(report).name == "1"
    assert begins(report).alone is None  # NumPy cannot be fed other values on the way


def test_two_modules_of_pytorch() -> None:
    other = torch.nn.Sequential(*small()[:1], torch.nn.GELU(), *small()[2:])
    report = compare(small().state_dict(), X, torch=[small(), other], taps=True)
    assert begins(report).name == "1"
    assert [tap.alone for tap in report.taps] == [None, True, False]
    assert [tap.parts for tap in report.taps] == [False, True, True]


def test_no_hook_is_left_and_names_must_exist() -> None:
    original, given = small(), small().state_dict()
    with pytest.raises(ValueError, match="taps must name layers of the original, 0, 1, 2, got '7'"):
        compare(given, X, torch=original, numpy=numpy_port, taps={"7": "first", "1": "act"})
    with pytest.raises(ValueError, match=r"'no' must name a value of the port of shape \(4, 9\)"):
        compare(
            given, X, torch=original, numpy=numpy_port, taps={"0": "no", "1": "first", "2": "act"}
        )
    assert not any(module._forward_hooks for module in original.modules())


def test_weights_come_first() -> None:
    original = small()
    given = {n: p.numpy() for n, p in original.state_dict().items()}
    tree = {
        "a": {"kernel": given["0.weight"].T, "bias": given["0.bias"]},
        "b": {"kernel": given["2.weight"].T, "bias": given["2.bias"]},
    }

    def of(weights: Any) -> Any:
        return compare(
            given, X, torch=original, numpy=lambda p, x: numpy_port(p, x)[0], weights=weights
        )

    assert of(tree).verdict in ("rounding", "equal bits")
    assert {row.name: row.words for row in of(tree).weights} == {
        "0.weight": "equal to the transpose",
        "0.bias": "equal",
        "2.weight": "equal to the transpose",
        "2.bias": "equal",
    }
    more = {**tree, "c": {"extra": np.arange(3.0)}}
    assert of(more).first().words == "extra: the original has no such weight"
    tied = {**tree, "c": {"kernel": given["0.weight"].T}}
    assert of(tied).agrees
    assert "tied: as a.kernel" in {row.words for row in of(tied).weights}
    del more["c"], more["a"]
    assert [e.words for e in of(more).entries[:2]] == ["missing in the port"] * 2
    named = {n: p.copy() for n, p in given.items()}
    named["2.weight"] = named["2.weight"].T + 1
    (entry, *_) = of(named).entries
    assert entry.name == "weight 2.weight"
    assert entry.words == "shape (9, 2) is not (2, 9); a transpose would fit, with other values"
    named["2.weight"] = given["2.weight"] + np.float32(1)
    assert of(named).first().words.startswith("other values, up to 1 apart")


@pytest.mark.slow
def test_the_error_says_where(planted: Any) -> None:
    with pytest.raises(DisagreementError, match=r"1\.act = mul at .*<-- here it begins"):
        planted.raise_if_apart()
