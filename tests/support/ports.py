"""Right ports and wrong ones: what tells rounding from a mistake is judged on this set.

Each family is one original of PyTorch, one right port of it in JAX, and wrong ones that people have
written, each with the cause that a hint must name ("" where none is known). The page of the guide
shows the table that `python -m tests.support.ports` makes.
"""

import functools
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

from triptych import compare
from triptych.port import Report

F = torch.nn.functional
PAGE = Path(__file__).parents[2] / "docs" / "port.md"
BEGIN, END = "<!-- margins -->", "<!-- /margins -->"


class Wrong(NamedTuple):
    """A port with a mistake."""

    name: str
    function: Callable[..., Any]
    hint: str = ""


class Family(NamedTuple):
    """An original and its ports."""

    name: str
    original: Any
    arguments: tuple[Any, ...]
    right: Callable[..., Any] | None
    wrong: tuple[Wrong, ...]
    options: dict[str, Any]


FAMILIES: list[Callable[[], Family]] = []


def family(make: Callable[[], Any]) -> Callable[[], Family]:
    """Enter a family; it is made when it is asked for."""

    @functools.cache
    def made() -> Family:
        torch.manual_seed(0)
        original, arguments, right, wrong, *options = make()
        if isinstance(original, torch.nn.Module) and any(original.state_dict()):
            arguments = (original.state_dict(), *arguments)
        name = make.__name__.replace("_", " ")
        return Family(name, original, arguments, right, tuple(wrong), *(options or [{}]))

    made.__name__ = make.__name__
    FAMILIES.append(made)
    return made


def drawn(*shape: int, seed: int = 1, scale: float = 1.0) -> np.ndarray:
    """Normal numbers in float32."""
    array = scale * np.random.default_rng(seed).normal(size=shape)
    return array.astype(np.float32)


def linear(p: Any, x: Any, name: str = "") -> Any:
    """PyTorch's linear layer."""
    dot = name and f"{name}."
    return x @ p[f"{dot}weight"].T + p[f"{dot}bias"]


def layer_norm(p: Any, x: Any, eps: float = 1e-5, ddof: int = 0) -> Any:
    """PyTorch's."""
    x = x - x.mean(-1, keepdims=True)
    return x / jnp.sqrt(x.var(-1, keepdims=True, ddof=ddof) + eps) * p["weight"] + p["bias"]


def conv(x: Any, w: Any, stride: int = 1, padding: Any = 0, **more: Any) -> Any:
    """A convolution in PyTorch's layout."""
    n = x.ndim - 2
    pads = padding if isinstance(padding, str) else [(padding, padding)] * n
    return jax.lax.conv_general_dilated(x, w, (stride,) * n, pads, **more)


def pick(logits: Any, y: Any) -> Any:
    """The log-probability of each label."""
    return jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1)[:, 0]


def bind(function: Any, **options: Any) -> Any:
    """With these options."""
    return functools.partial(function, **options)


@family
def gelu() -> Any:
    model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.GELU(), torch.nn.Linear(6, 2))

    def port(p: Any, x: Any, approximate: bool = False) -> Any:
        return linear(p, jax.nn.gelu(linear(p, x, "0"), approximate=approximate), "2")

    return model, (drawn(3, 4),), port, [Wrong("tanh", bind(port, approximate=True), "gelu")]


@family
def one_gelu_of_three() -> Any:
    model = torch.nn.Sequential(*(torch.nn.GELU() for _ in range(3)))

    def port(x: Any, bad: int = -1) -> Any:
        for i in range(3):
            x = jax.nn.gelu(x, approximate=i == bad)
        return x

    return model, (drawn(3, 4),), port, [Wrong("tanh in the second", bind(port, bad=1), "gelu")]


@family
def layer_norm_of_large_inputs() -> Any:
    return (
        torch.nn.LayerNorm(64),
        (drawn(4, 64, scale=30),),
        layer_norm,
        [
            Wrong("eps 1e-6", bind(layer_norm, eps=1e-6), "norm-eps"),
            Wrong("n - 1", bind(layer_norm, ddof=1)),
        ],
    )


def batch_norm(
    p: Any, x: Any, momentum: float = 0.1, unbiased: bool = True, own: bool = False
) -> Any:
    """PyTorch's in training, with the state that it leaves; by its own statistics if `own`."""
    n, mean, var = len(x), x.mean(0), x.var(0)
    new = {
        "running_mean": (1 - momentum) * p["running_mean"] + momentum * mean,
        "running_var": (1 - momentum) * p["running_var"]
        + momentum * var * (n / (n - 1) if unbiased else 1),
    }
    if own:
        mean, var, new = p["running_mean"], p["running_var"], {}
    y = (x - mean) / jnp.sqrt(var + 1e-5) * p["weight"] + p["bias"]
    return (y, new) if new else y


@family
def batch_norm_in_training() -> Any:
    return (
        torch.nn.BatchNorm1d(5),
        (drawn(16, 5),),
        batch_norm,
        [
            Wrong("momentum of the old", bind(batch_norm, momentum=0.9), "batch-norm-momentum"),
            Wrong("variance by n", bind(batch_norm, unbiased=False), "batch-norm-momentum"),
            Wrong("running statistics", bind(batch_norm, own=True), "batch-statistics"),
        ],
    )


@family
def batch_norm_in_use() -> Any:
    model = torch.nn.BatchNorm1d(5).eval()

    def batch(p: Any, x: Any) -> Any:
        return batch_norm(p, x)[0]

    return (
        model,
        (drawn(16, 5),),
        bind(batch_norm, own=True),
        [Wrong("batch statistics", batch, "batch-statistics")],
    )


@family
def convolution_of_stride_2() -> Any:
    def port(p: Any, x: Any, padding: Any = 1, flip: bool = False) -> Any:
        w = p["weight"][:, :, ::-1, ::-1] if flip else p["weight"]
        return conv(x, w, 2, padding) + p["bias"][:, None, None]

    return (
        torch.nn.Conv2d(2, 3, 3, stride=2, padding=1),
        (drawn(2, 2, 6, 6),),
        port,
        [
            Wrong("SAME", bind(port, padding="SAME"), "conv-same"),
            Wrong("flipped", bind(port, flip=True), "conv-flip"),
        ],
    )


@family
def transposed_convolution() -> Any:
    def port(x: Any, w: Any, flip: bool = True) -> Any:
        w = (w[:, :, ::-1] if flip else w).swapaxes(0, 1)
        pads = [(w.shape[2] - 1, w.shape[2] - 1)]
        return jax.lax.conv_general_dilated(x, w, (1,), pads, lhs_dilation=(2,))

    def original(x: Any, w: Any) -> Any:
        return F.conv_transpose1d(x, w, stride=2)

    return (
        original,
        (drawn(2, 3, 5), drawn(3, 2, 3)),
        port,
        [Wrong("not flipped", bind(port, flip=False), "conv-flip")],
    )


@family
def grouped_convolution() -> Any:
    def port(x: Any, w: Any, mixed: bool = False) -> Any:
        x = x.reshape(2, 2, 2, 7).swapaxes(1, 2).reshape(2, 4, 7) if mixed else x
        return conv(x, w, feature_group_count=2)

    return (
        lambda x, w: F.conv1d(x, w, groups=2),
        (drawn(2, 4, 7), drawn(6, 2, 3)),
        port,
        [Wrong("channels of two groups mixed", bind(port, mixed=True))],
    )


@family
def embedding_with_a_padding_row() -> Any:
    def port(p: Any, i: Any, stop: bool = True) -> Any:
        rows = p["weight"][i]
        return jnp.where((i == 0)[:, None] & stop, jax.lax.stop_gradient(rows), rows)

    return (
        torch.nn.Embedding(5, 3, padding_idx=0),
        (np.array([0, 2, 2, 4]),),
        port,
        [Wrong("row 0 has a gradient", bind(port, stop=False), "padding-idx")],
    )


@family
def average_pooling() -> Any:
    def port(x: Any, counted: bool = True) -> Any:
        pads, window = ((0, 0), (0, 0), (1, 1)), (1, 1, 3)
        total = jax.lax.reduce_window(x, 0.0, jax.lax.add, window, (1, 1, 2), pads)
        ones = jax.lax.reduce_window(jnp.ones_like(x), 0.0, jax.lax.add, window, (1, 1, 2), pads)
        return total / (3 if counted else ones)

    return (
        lambda x: F.avg_pool1d(x, 3, 2, 1),
        (drawn(2, 3, 8),),
        port,
        [Wrong("padding is not counted", bind(port, counted=False), "avg-pool-padding")],
    )


@family
def maximum_pooling() -> Any:
    def port(x: Any, least: float = -jnp.inf) -> Any:
        padded = jnp.pad(x, ((0, 0), (0, 0), (1, 1)), constant_values=least)
        return jnp.max(jnp.stack([padded[..., i : i + 7 : 2] for i in range(3)]), 0)

    return (
        lambda x: F.max_pool1d(x, 3, 2, 1),
        (drawn(2, 3, 8) - 2,),
        port,
        [Wrong("padded with 0", bind(port, least=0.0))],
    )


@family
def resize_up() -> Any:
    def port(x: Any, corners: bool = False) -> Any:
        n, m = x.shape[-1], 8
        at = jnp.arange(m) * ((n - 1) / (m - 1)) if corners else (jnp.arange(m) + 0.5) * n / m - 0.5
        at = jnp.clip(at.astype(x.dtype), 0, n - 1)
        low = jnp.floor(at).astype(int)
        part = at - low
        return x[..., low] * (1 - part) + x[..., jnp.minimum(low + 1, n - 1)] * part

    return (
        lambda x: F.interpolate(x, size=8, mode="linear"),
        (drawn(2, 3, 5),),
        port,
        [Wrong("corners aligned", bind(port, corners=True), "resize")],
    )


@family
def resize_down() -> Any:
    def port(x: Any, antialias: bool = False) -> Any:
        return jax.image.resize(x, (*x.shape[:2], 3, 3), "linear", antialias=antialias)

    return (
        lambda x: F.interpolate(x, size=(3, 3), mode="bilinear"),
        (drawn(1, 2, 9, 9),),
        port,
        [Wrong("antialias", bind(port, antialias=True), "resize")],
    )


@family
def gru_cell() -> Any:
    def port(p: Any, x: Any, h: Any, inside: bool = True) -> Any:
        r, z, n = jnp.split(x @ p["weight_ih"].T + p["bias_ih"], 3, -1)
        a, b, c = jnp.split(h @ p["weight_hh"].T, 3, -1)
        d, e, f = jnp.split(p["bias_hh"], 3)
        r, z = jax.nn.sigmoid(r + a + d), jax.nn.sigmoid(z + b + e)
        n = jnp.tanh(n + r * (c + f) if inside else n + r * c + f)
        return (1 - z) * n + z * h

    return (
        torch.nn.GRUCell(3, 4),
        (drawn(2, 3), drawn(2, 4, seed=2)),
        port,
        [Wrong("hidden bias outside of the reset", bind(port, inside=False))],
    )


@family
def lstm_cell() -> Any:
    def port(p: Any, x: Any, h: Any, c: Any, order: str = "ifgo") -> Any:
        gates = x @ p["weight_ih"].T + p["bias_ih"] + h @ p["weight_hh"].T + p["bias_hh"]
        g = dict(zip(order, jnp.split(gates, 4, -1), strict=True))
        s = jax.nn.sigmoid
        c = s(g["f"]) * c + s(g["i"]) * jnp.tanh(g["g"])
        return s(g["o"]) * jnp.tanh(c), c

    model = torch.nn.LSTMCell(3, 4)

    def original(p: Any, x: Any, h: Any, c: Any) -> Any:
        return torch.func.functional_call(model, p, (x, (h, c)))

    state = {name: p.detach().numpy() for name, p in model.named_parameters()}
    given = (state, drawn(2, 3), drawn(2, 4, seed=2), drawn(2, 4, seed=3))
    return original, given, port, [Wrong("gates in another order", bind(port, order="ifog"))]


def attend(q: Any, k: Any, v: Any, mask: Any = None, scale: float | None = None) -> Any:
    """Scaled dot-product attention."""
    scores = q @ k.swapaxes(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    scores = scores if mask is None else jnp.where(mask, scores, -jnp.inf)
    return jax.nn.softmax(scores, -1) @ v


@family
def attention_with_a_mask() -> Any:
    mask = np.tril(np.ones((5, 5), bool))

    def port(q: Any, k: Any, v: Any, mask: Any, **options: Any) -> Any:
        return attend(q, k, v, mask, **options)

    return (
        F.scaled_dot_product_attention,
        (drawn(2, 5, 4), drawn(2, 5, 4, seed=2), drawn(2, 5, 4, seed=3), mask),
        port,
        [
            Wrong("mask upside down", lambda q, k, v, m: attend(q, k, v, m.T)),
            Wrong("no scale", bind(port, scale=1.0)),
        ],
    )


class Attention(torch.nn.Module):
    """With a bias of the keys, whose gradient is 0 but for rounding."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (torch.nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: Any) -> Any:
        """One head."""
        return F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x))


@family
def attention_with_a_key_bias() -> Any:
    def port(p: Any, x: Any, bad: str = "") -> Any:
        p = {n: a.T if n == bad else a for n, a in p.items()}
        return attend(*(linear(p, x, n) for n in "qkv"))

    return (
        Attention(),
        (drawn(2, 5, 8),),
        port,
        [Wrong("a weight is transposed", bind(port, bad="v.weight"), "weight-layout")],
    )


@family
def heads_of_attention() -> Any:
    model = torch.nn.MultiheadAttention(8, 2, batch_first=True)

    def port(p: Any, x: Any, mixed: bool = False) -> Any:
        def heads(a: Any) -> Any:
            n, t, _ = a.shape
            if mixed:
                return a.reshape(n, t, 4, 2).transpose(0, 3, 1, 2)
            return a.reshape(n, t, 2, 4).swapaxes(1, 2)

        qkv = jnp.split(x @ p["in_proj_weight"].T + p["in_proj_bias"], 3, -1)
        y = attend(*map(heads, qkv)).swapaxes(1, 2).reshape(x.shape)
        return linear(p, y, "out_proj")

    def original(p: Any, x: Any) -> Any:
        return torch.func.functional_call(model, p, (x, x, x), {"need_weights": False})[0]

    state = {name: p.detach().numpy() for name, p in model.named_parameters()}
    wrong = [Wrong("heads interleaved", bind(port, mixed=True))]
    return original, (state, drawn(2, 5, 8)), port, wrong


@family
def rotary_positions() -> Any:
    def angles(t: int, d: int) -> np.ndarray:
        return (np.arange(t)[:, None] / 10 ** np.arange(d // 2)).astype(np.float32)

    def original(x: Any, at: Any) -> Any:
        a, b = x.chunk(2, -1)
        return torch.cat([a * at.cos() - b * at.sin(), b * at.cos() + a * at.sin()], -1)

    def port(x: Any, at: Any, half: bool = True) -> Any:
        a, b = jnp.split(x, 2, -1) if half else (x[..., ::2], x[..., 1::2])
        one, two = a * jnp.cos(at) - b * jnp.sin(at), b * jnp.cos(at) + a * jnp.sin(at)
        return jnp.concatenate([one, two], -1)

    wrong = [Wrong("pairs of neighbours", bind(port, half=False))]
    return original, (drawn(2, 5, 6), angles(5, 6)), port, wrong


@family
def class_weights() -> Any:
    def port(logits: Any, y: Any, w: Any, by_n: bool = False) -> Any:
        return -(pick(logits, y) * w[y]).sum() / (len(y) if by_n else w[y].sum())

    return (
        lambda logits, y, w: F.cross_entropy(logits, y, weight=w),
        (drawn(6, 4), np.array([0, 3, 2, 1, 1, 0]), np.arange(1, 5, dtype=np.float32)),
        port,
        [Wrong("divided by n", bind(port, by_n=True), "class-weights")],
        {"fixed": ["w"]},
    )


@family
def ignored_labels() -> Any:
    def port(logits: Any, y: Any, all_of_them: bool = False) -> Any:
        kept = y >= 0
        total = -jnp.where(kept, pick(logits, jnp.maximum(y, 0)), 0).sum()
        return total / (len(y) if all_of_them else kept.sum())

    return (
        lambda logits, y: F.cross_entropy(logits, y),
        (drawn(6, 4), np.array([0, -100, 2, 1, -100, 0])),
        port,
        [Wrong("ignored ones are counted", bind(port, all_of_them=True), "ignored-labels")],
    )


@family
def label_smoothing() -> Any:
    def port(logits: Any, y: Any, others: int = 0) -> Any:
        log, k = jax.nn.log_softmax(logits), logits.shape[1]
        rest = log.sum(1) - (pick(logits, y) if others else 0)
        return -(0.9 * pick(logits, y) + 0.1 * rest / (k - others)).mean()

    return (
        lambda logits, y: F.cross_entropy(logits, y, label_smoothing=0.1),
        (drawn(6, 4), np.array([0, 3, 2, 1, 1, 0])),
        port,
        [Wrong("spread over the other classes", bind(port, others=1))],
    )


@family
def softmax_over_an_axis() -> Any:
    def port(x: Any, axis: int = 1) -> Any:
        return jax.nn.softmax(x, axis)

    return (
        lambda x: F.softmax(x, dim=1),
        (drawn(3, 4, 5),),
        port,
        [Wrong("the last axis", bind(port, axis=-1), "softmax-axis")],
    )


@family
def standard_deviation() -> Any:
    def port(x: Any, ddof: int = 1) -> Any:
        return x.std(0, ddof=ddof)

    return (
        lambda x: x.std(0),
        (drawn(7, 3),),
        port,
        [Wrong("by n", bind(port, ddof=0), "std-and-var")],
    )


@family
def kl_divergence() -> Any:
    def port(a: Any, b: Any, rows: bool = False) -> Any:
        terms = jnp.exp(b) * (b - a)
        return terms.sum() / len(a) if rows else terms.mean()

    return (
        lambda a, b: F.kl_div(a, b, log_target=True),
        (drawn(3, 4) - 3, drawn(3, 4, seed=2) - 3),
        port,
        [Wrong("by rows", bind(port, rows=True), "kl-div")],
    )


@family
def smooth_l1() -> Any:
    def port(a: Any, b: Any, huber: bool = False) -> Any:
        off = jnp.abs(a - b)
        terms = jnp.where(off < 0.5, off**2, off - 0.25)
        return terms.mean() * (0.5 if huber else 1)

    return (
        lambda a, b: F.smooth_l1_loss(a, b, beta=0.5),
        (drawn(3, 4), drawn(3, 4, seed=2)),
        port,
        [Wrong("huber", bind(port, huber=True), "huber")],
    )


@family
def squared_error() -> Any:
    def port(a: Any, b: Any, half: bool = False) -> Any:
        return ((a - b) ** 2).mean() * (0.5 if half else 1)

    return (
        lambda a, b: F.mse_loss(a, b),
        (drawn(3, 4), drawn(3, 4, seed=2)),
        port,
        [Wrong("halved", bind(port, half=True), "half-square")],
    )


@family
def remainder() -> Any:
    return (
        lambda x: torch.remainder(x, 2.0),
        (drawn(7, scale=5),),
        lambda x: jnp.remainder(x, 2.0),
        [Wrong("lax.rem", lambda x: jax.lax.rem(x, jnp.full_like(x, 2)), "remainder")],
    )


@family
def relu_at_zero() -> Any:
    x = np.array([-1, 0, 0, 2], np.float32)
    wrong = [Wrong("maximum", lambda x: jnp.maximum(x, 0) * 3, "relu-at-0")]
    return lambda x: F.relu(x) * 3, (x,), lambda x: jax.nn.relu(x) * 3, wrong


@family
def square_weight() -> Any:
    def port(p: Any, x: Any, turned: bool = False) -> Any:
        return x @ (p["weight"] if turned else p["weight"].T) + p["bias"]

    wrong = [Wrong("transposed", bind(port, turned=True), "weight-layout")]
    return torch.nn.Linear(5, 5), (drawn(3, 5),), port, wrong


@family
def flattened_convolution() -> Any:
    layers = torch.nn.Conv2d(2, 3, 3), torch.nn.Flatten(), torch.nn.Linear(12, 2)

    def port(p: Any, x: Any, last: bool = False) -> Any:
        h = conv(x, p["0.weight"]) + p["0.bias"][:, None, None]
        h = jnp.moveaxis(h, 1, -1) if last else h
        return linear(p, h.reshape(len(h), -1), "2")

    wrong = [Wrong("channels last", bind(port, last=True), "flatten-order")]
    return torch.nn.Sequential(*layers), (drawn(2, 2, 4, 4),), port, wrong


@family
def index_from_the_end() -> Any:
    return (
        lambda x, i: x[i],
        (drawn(5, 3), np.array([0, -1, 2])),
        lambda x, i: x[i],
        [Wrong("clipped", lambda x, i: jnp.take(x, i, 0, mode="clip"), "index-out-of-range")],
    )


@family
def float64() -> Any:
    def short(x: Any) -> Any:
        return jnp.exp(jnp.sin(x.astype(jnp.float32))).astype(x.dtype)

    return (
        lambda x: torch.exp(torch.sin(x)),
        (drawn(4, 5).astype(np.float64) / 3,),
        lambda x: jnp.exp(jnp.sin(x)),
        [Wrong("computes in float32", short, "float64-cut")],
    )


@family
def matrix_product() -> Any:
    def port(x: Any, w: Any, bits: int = 23) -> Any:
        cut = [jax.lax.reduce_precision(a, 8, bits) for a in (x, w)] if bits < 23 else [x, w]
        return jnp.tanh(cut[0] @ cut[1])

    return (
        lambda x, w: torch.tanh(torch.matmul(x, w)),
        (drawn(4, 6), drawn(6, 3)),
        port,
        [
            Wrong("TF32", bind(port, bits=10), "matmul-precision"),
            Wrong("bfloat16", bind(port, bits=7), "matmul-precision"),
        ],
    )


@family
def tiled() -> Any:
    return (
        lambda x: torch.sin(x.repeat(2)),
        (drawn(4),),
        lambda x: jnp.sin(jnp.tile(x, 2)),
        [Wrong("repeat", lambda x: jnp.sin(jnp.repeat(x, 2)), "repeat")],
    )


@family
def dropout() -> Any:
    model = torch.nn.Sequential(torch.nn.Dropout(0.0), torch.nn.Tanh())
    return model, (drawn(3, 4),), jnp.tanh, [Wrong("sin", jnp.sin)]


@family
def dropout_left_on() -> Any:
    # the original is at fault: no port is right
    model = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Tanh())
    return model, (drawn(3, 4),), None, [Wrong("without dropout", jnp.tanh, "training-mode")]


@family
def detached() -> Any:
    def original(x: Any) -> Any:
        return torch.sin(x.detach())

    right = lambda x: jnp.sin(jax.lax.stop_gradient(x))  # noqa: E731
    return original, (drawn(4),), right, [Wrong("with gradient", jnp.sin, "detached-original")]


@family
def tied_weights() -> Any:
    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.e = torch.nn.Embedding(7, 4)
            self.o = torch.nn.Linear(4, 7, bias=False)
            self.o.weight = self.e.weight

        def forward(self, i: Any) -> Any:
            return self.o(torch.tanh(self.e(i)))

    def port(p: Any, i: Any, stop: bool = False) -> Any:
        w = p["e.weight"]
        return jnp.tanh(w[i]) @ (jax.lax.stop_gradient(w) if stop else w).T

    wrong = [Wrong("one use without gradient", bind(port, stop=True))]
    return Tied(), (np.array([1, 2, 6]),), port, wrong


@family
def adam_for_three_steps() -> Any:
    def original(w: Any, t: Any) -> Any:
        m, v = torch.zeros_like(w), torch.zeros_like(w)
        for i in range(1, 4):
            g = w - t
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            w = w - 0.1 * (m / (1 - 0.9**i)) / (torch.sqrt(v / (1 - 0.999**i)) + 1e-8)
        return w

    def port(w: Any, t: Any, inside: float = 0.0, correct: bool = True) -> Any:
        m, v = jnp.zeros_like(w), jnp.zeros_like(w)
        for i in range(1, 4):
            g = w - t
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            a, b = (1 - 0.9**i, 1 - 0.999**i) if correct else (1.0, 1.0)
            w = w - 0.1 * (m / a) / (jnp.sqrt(v / b + inside) + (0 if inside else 1e-8))
        return w

    return (
        original,
        (drawn(5), drawn(5, seed=2)),
        port,
        [
            Wrong("eps inside the root", bind(port, inside=1e-8)),
            Wrong("no correction of the bias", bind(port, correct=False)),
        ],
    )


@family
def complex_numbers() -> Any:
    z = (drawn(4) + 1j * drawn(4, seed=2)).astype(np.complex64)
    wrong = [Wrong("conjugate", lambda z: jnp.conj(z) * jnp.abs(z) ** 2)]
    return lambda z: z * torch.abs(z) ** 2, (z,), lambda z: z * jnp.abs(z) ** 2, wrong


@family
def duplicate_rows() -> Any:
    i = np.array([0, 2, 0, 1])
    return (
        lambda x, i: torch.zeros(4, 3).index_add(0, i, x),
        (drawn(4, 3), i),
        lambda x, i: jnp.zeros((4, 3)).at[i].add(x),
        [Wrong("at.set", lambda x, i: jnp.zeros((4, 3)).at[i].set(x))],
    )


@family
def norm_of_padded_rows() -> Any:
    x = drawn(3, 4)
    x[1] = 0

    def guarded(x: Any) -> Any:
        square = (x * x).sum(-1)
        zero = square == 0
        return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, square)))

    wrong = [Wrong("not a number at 0", lambda x: jnp.linalg.norm(x, axis=-1))]
    return lambda x: torch.linalg.norm(x, dim=-1), (x,), guarded, wrong


@family
def nan_in_both() -> Any:
    def port(x: Any, guard: bool = False) -> Any:
        return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0) if guard else x), 0.0)

    return (
        lambda x: torch.where(x > 0, torch.sqrt(x), 0.0),
        (np.array([-1, 1, 2], np.float32),),
        port,
        [Wrong("no NaN in the gradient", bind(port, guard=True))],
    )


@family
def columns_of_unlike_scale() -> Any:
    scale = np.array([1e6, 1, 1e-6], np.float32)

    def port(x: Any, s: Any, wrong: float = 1.0) -> Any:
        return jnp.tanh(x) * s * jnp.array([1, wrong, wrong], x.dtype)

    wrong = [Wrong("two per mille in the small ones", bind(port, wrong=1.002))]
    return lambda x, s: torch.tanh(x) * s, (drawn(5, 3), scale), port, wrong


@family
def twelve_blocks() -> Any:
    layers = [m for _ in range(12) for m in (torch.nn.Linear(16, 16), torch.nn.LayerNorm(16))]

    @functools.partial(jax.jit, static_argnames="bad")
    def port(p: Any, x: Any, bad: int = -1) -> Any:
        for i in range(0, 24, 2):
            h = linear(p, x, f"{i}")
            q = {n: p[f"{i + 1}.{n}"] for n in ("weight", "bias")}
            x = layer_norm(q, h, 1e-6 if i == bad else 1e-5)
        return x

    wrong = [Wrong("eps 1e-6 in the sixth", bind(port, bad=10), "norm-eps")]
    return torch.nn.Sequential(*layers), (drawn(8, 16),), port, wrong


@family
def ill_conditioned_variance() -> Any:
    x = 1000 + drawn(6, 5)

    def port(x: Any, ddof: int = 0) -> Any:
        return (x * x).mean(0) - x.mean(0) ** 2 * (1 + ddof / 1e6)

    wrong = [Wrong("one in a million off", bind(port, ddof=1))]
    return lambda x: (x * x).mean(0) - x.mean(0) ** 2, (x,), port, wrong


@family
def cast_inside() -> Any:
    def port(x: Any, f: float = 1.0) -> Any:
        return jnp.sin(x.astype(jnp.float32) * f).astype(x.dtype) * 0.3

    return (
        lambda x: torch.sin(x.float()) * 0.3,
        (drawn(6),),
        port,
        [Wrong("a factor of 1.0001", bind(port, f=1.0001))],
    )


@family
def fourier() -> Any:
    def port(x: Any, norm: str = "backward") -> Any:
        return jnp.abs(jnp.fft.rfft(x, norm=norm))

    wrong = [Wrong("orthonormal", bind(port, norm="ortho"))]
    return lambda x: torch.abs(torch.fft.rfft(x)), (drawn(3, 8),), port, wrong


@family
def weight_norm() -> Any:
    def port(g: Any, v: Any, x: Any, axis: int = 1) -> Any:
        return x @ (g * v / jnp.sqrt((v * v).sum(axis, keepdims=True))).T

    def original(g: Any, v: Any, x: Any) -> Any:
        return F.linear(x, torch._weight_norm(v, g, 0))

    given = drawn(4, 1), drawn(4, 4, seed=2), drawn(3, 4, seed=3)
    return original, given, port, [Wrong("the other axis", bind(port, axis=0))]


@family
def pixel_shuffle() -> Any:
    def port(x: Any, axes: tuple[int, ...] = (0, 1, 4, 2, 5, 3)) -> Any:
        n, c, h, w = x.shape
        return x.reshape(n, c // 4, 2, 2, h, w).transpose(axes).reshape(n, c // 4, 2 * h, 2 * w)

    wrong = [Wrong("rows and columns exchanged", bind(port, axes=(0, 1, 4, 3, 5, 2)))]
    return lambda x: F.pixel_shuffle(x, 2), (drawn(2, 8, 3, 3),), port, wrong


@family
def large_mask_value() -> Any:
    def port(x: Any, mask: Any, f: float = 1.0) -> Any:
        return jnp.where(mask, -1e9, x * f)

    return (
        lambda x, mask: torch.where(mask, -1e9, x),
        (drawn(5, 4), drawn(5, 4, seed=2) > 0),
        port,
        [Wrong("half as much again", bind(port, f=1.5))],
    )


# Judged


class Row(NamedTuple):
    """One port of the set, and how far from the limit it is."""

    family: str
    port: str
    right: bool
    verdict: str
    margin: float
    """The worst |A - B| over the limit: rounding below 1, a mistake above."""
    hints: tuple[str, ...]

    @property
    def judged(self) -> bool:
        """Whether the verdict is the true one."""
        return (self.verdict in ("equal bits", "rounding")) == self.right


def report(f: Family, port: Callable[..., Any], **more: Any) -> Report:
    """The report on one port."""
    torch.manual_seed(0)
    return compare(*f.arguments, torch=f.original, jax=port, **f.options, **more)


def row(f: Family, name: str, port: Callable[..., Any], right: bool) -> Row:
    """Judge one port."""
    found = report(f, port)
    ratios = [math.inf if e.ratio is None else e.ratio for e in found.entries]
    wrong = [r for r, e in zip(ratios, found.entries, strict=True) if e.verdict == "mistake"]
    kept = [e.ratio for e in found.entries if e.ratio is not None]
    margin = max(kept, default=0.0) if found.agrees else max(wrong, default=math.inf)
    return Row(f.name, name, right, found.verdict, margin, tuple(h.id for h in found.hints))


def rows() -> Iterator[Row]:
    """Every port of the set."""
    for make in FAMILIES:
        f = make()
        if f.right:
            yield row(f, "right", f.right, True)
        for wrong in f.wrong:
            yield row(f, wrong.name, wrong.function, False)


def table(found: list[Row]) -> str:
    """As Markdown."""
    lines = [
        "| original | port | verdict | of the limit | hint |",
        "| --- | --- | --- | --- | --- |",
    ]
    for r in found:
        margin = "in shape, NaN or 0" if r.margin == math.inf else f"{r.margin:.1g}"
        hint = ", ".join(f'<a href="traps.html#{h}">{h}</a>' for h in r.hints)
        name = r.port if r.right else f"{r.port} (wrong)"
        lines.append(f"| {r.family} | {name} | {r.verdict} | {margin} | {hint} |")
    return "\n".join(lines)


def main() -> int:
    """Write the table into the page; fail where a verdict is false."""
    found = list(rows())
    if "--write" in sys.argv:
        text = PAGE.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        body = f"{before}{BEGIN}\n\n{table(found)}\n\n{END}{rest.partition(END)[2]}"
        PAGE.write_text(body, encoding="utf-8")
    print(table(found))
    false = [r for r in found if not r.judged]
    print(f"{len(found)} ports, {sum(not r.right for r in found)} wrong, {len(false)} misjudged")
    return bool(false)


if __name__ == "__main__":
    sys.exit(main())
