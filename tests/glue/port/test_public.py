"""A public architecture beside its public port, neither written here: BERT's encoder, which
`transformers` has for PyTorch and for Flax."""

from typing import Any

import numpy as np
import pytest

from triptych import compare

torch = pytest.importorskip("torch")
pytest.importorskip("jax")
pytest.importorskip("flax")
pytest.importorskip("transformers")

pytestmark = pytest.mark.slow

X = np.random.default_rng(0).normal(size=(2, 7, 24)).astype(np.float32)
LAYERS = 3
QUERY = "layer.1.attention.self.query"
"""In the middle."""


@pytest.fixture(scope="module")
def encoders() -> tuple[Any, Any]:
    """PyTorch's, and Flax's as a function of PyTorch's parameters."""
    from transformers.models.bert.configuration_bert import BertConfig
    from transformers.models.bert.modeling_bert import BertEncoder
    from transformers.models.bert.modeling_flax_bert import FlaxBertEncoder

    config = BertConfig(
        hidden_size=24, num_hidden_layers=LAYERS, num_attention_heads=3, intermediate_size=40
    )
    torch.manual_seed(0)
    original, port = BertEncoder(config).eval(), FlaxBertEncoder(config)
    for p in original.parameters():  # biases of 0 and scales of 1 would hide mistakes
        torch.nn.init.normal_(p, std=0.3)
    return original, lambda p, x: port.apply({"params": nested(p)}, x, None, None)


def nested(p: Any) -> Any:
    """PyTorch's parameters as Flax has them: by a path of modules, a dense layer's transposed."""
    tree: dict[str, Any] = {}
    for name, array in p.items():
        *path, kind = name.split(".")
        leaf = tree
        for word in path:
            leaf = leaf.setdefault(word, {})
        weight = "scale" if "LayerNorm" in path else "kernel"
        leaf["bias" if kind == "bias" else weight] = array.T if array.ndim == 2 else array
    return tree


def test_the_public_port_is_right_in_every_layer(encoders: Any) -> None:
    original, port = encoders
    params = {name: p.numpy() for name, p in original.state_dict().items()}
    report = compare(params, X, torch=original, jax=port, taps=True, weights=nested(params))
    assert report.verdict == "rounding"
    assert report.hints == ()
    assert all(row.right for row in report.weights)
    assert len(report.weights) == len(params)
    # "layer", a list of modules, is never called
    called = {name for name, _ in original.named_modules()} - {"", "layer"}
    assert {tap.name for tap in report.taps} == called
    assert all(tap.how == "value" and not tap.parts and not tap.parts_back for tap in report.taps)


def test_a_transposed_weight_in_its_middle_is_named(encoders: Any) -> None:
    original, port = encoders

    def wrong(p: Any, x: Any) -> Any:
        return port({**p, f"{QUERY}.weight": p[f"{QUERY}.weight"].T}, x)

    report = compare(original.state_dict(), X, torch=original, jax=wrong, taps=True)
    assert report.verdict == "mistake"
    assert [tap.name for tap in report.taps if tap.first] == [QUERY]
    assert [tap.name for tap in report.taps if tap.alone] == [QUERY]
    assert [hint.id for hint in report.hints] == ["weight-layout"]
