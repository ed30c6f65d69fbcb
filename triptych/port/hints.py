"""Causes that are recognised: the original is run again with one thing done otherwise.

A hint is an experiment and no guess: if PyTorch's original agrees with the port, in values,
gradients and state, as soon as its GELU is the approximate one, then that is what parts them. Each
cause is tried in all calls at once and, where that explains nothing, in one call at a time. The id
of a cause is that of its entry among the traps.
"""

import functools
import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from triptych.port.values import to_numpy, to_torch

PAGE = "traps.html"
CALLS = 24
"""A cause is tried in each of the first so many calls alone."""


class Hint(NamedTuple):
    """A cause that was recognised."""

    id: str
    """Of its trap."""
    words: str

    def __str__(self) -> str:
        return f"hint: {self.words} ({PAGE}#{self.id})"


Change = Callable[..., Any]
"""(torch, function, args, kwargs) -> the result of the changed call, or None to leave it alone."""


class Cause(NamedTuple):
    """What a port may do otherwise."""

    id: str
    words: str
    calls: tuple[str, ...]
    """The names of PyTorch's functions."""
    change: Change
    values_only: bool = False
    """Whether gradients are left aside."""


def bound(function: Any, args: Any, kwargs: Any, names: str = "") -> dict[str, Any]:
    """Arguments by name; a built-in function has no signature, so its names are given."""
    if names:
        return dict(zip(names.split(), args, strict=False)) | kwargs
    found = inspect.signature(function).bind(*args, **kwargs)
    found.apply_defaults()
    return dict(found.arguments)


# Each cause


def _gelu(torch: Any, f: Any, args: Any, kwargs: Any) -> Any:
    other = "none" if kwargs.get("approximate", "none") == "tanh" else "tanh"
    return f(*args, **{**kwargs, "approximate": other})


def _no_dropout(torch: Any, f: Any, args: Any, kwargs: Any) -> Any:
    given = bound(f, args, kwargs)
    return given["input"] if given["training"] and given["p"] > 0 else None


def _statistics(torch: Any, f: Any, args: Any, kwargs: Any) -> Any:
    given = bound(f, args, kwargs)
    if given["running_mean"] is None:
        return None
    return f(**given | {"training": not given["training"]})


def _eps(value: float) -> Change:
    def change(torch: Any, f: Any, args: Any, kwargs: Any) -> Any:
        given = bound(f, args, kwargs)
        return None if given["eps"] == value else f(**given | {"eps": value})

    return change


def _momentum(torch: Any, f: Any, args: Any, kwargs: Any) -> Any:
    given = bound(f, args, kwargs)
    return f(**given | {"momentum": 1 - given["momentum"]}) if given["training"] else None


def _biased(torch: Any, f: Any, args: Any, kwargs: Any) -> Any:
    given = bound(f, args, kwargs)
    mean, var, x = given["running_mean"], given["running_var"], given["input"]
    if mean is None or not given["training"]:
        return None
    stand_in = mean.clone()  # what is written in place may not be what the gradient needs
    result = f(**given | {"running_mean": stand_in, "running_var": var.clone()})
    with torch.no_grad():
        new = x.detach().var([0, *range(2, x.ndim)], correction=0)
        mean.copy_(stand_in)
        var.copy_((1 - given["momentum"]) * var + given["momentum"] * new)
    return result


CONV = "input weight bias stride padding dilation groups"


def _same(torch: Any, f: Any, args: Any, kwargs: Any) -> Any:
    given = bound(f, args, kwargs, CONV)
    x, weight = given["input"], given["weight"]
    n = weight.ndim - 2

    def each(key: str, default: int) -> Any:
        value = given.get(key, default)
        return (value,) * n if isinstance(value, int) else value

    stride, dilation = each("stride", 1), each("dilation", 1)
    if isinstance(given.get("padding"), str) or all(s == 1 for s in stride):
        return None
    pads: list[int] = []
    for size, k, s, d in zip(x.shape[2:], weight.shape[2:], stride, dilation, strict=True):
        total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        pads[:0] = [total // 2, total - total // 2]
    padded = torch.nn.functional.pad(x, pads)
    return f(**given | {"input": padded, "padding": 0})


def _flipped(torch: Any, f: Any, args: Any, kwargs: Any) -> Any:
    given = bound(f, args, kwargs, CONV)
    weight = given["weight"]
    return f(**given | {"weight": weight.flip(tuple(range(2, weight.ndim)))})


def _no_padding_idx(torch: Any, f: Any, args: Any, kwargs: Any) -> Any:
    given = bound(f, args, kwargs)
    return None if given["padding_idx"] is None else f(**given | {"padding_idx": None})


def _clamped(torch: Any, f: Any, args: Any, kwargs: Any) -> Any:
    def clamp(index: Any) -> Any:
        if isinstance(index, tuple):
            return tuple(map(clamp, index))
        whole = isinstance(index, torch.Tensor) and index.dtype in (torch.int64, torch.int32)
        return index.clamp(min=0) if whole else index

    return f(args[0], *map(clamp, args[1:]), **{key: clamp(v) for key, v in kwargs.items()})


POOL = "input kernel_size stride padding ceil_mode count_include_pad divisor_override"


def _pool_padding(torch: Any, f: Any, args: Any, kwargs: Any) -> Any:
    given = bound(f, args, kwargs, POOL)
    given["count_include_pad"] = not given.get("count_include_pad", True)
    return f(**given) if np.any(given.get("padding", 0)) else None


def _over_all(ignored: bool) -> Change:
    def change(torch: Any, f: Any, args: Any, kwargs: Any) -> Any:
        given = bound(f, args, kwargs)
        labels = given["target"]
        if given["reduction"] != "mean" or labels.is_floating_point():
            return None
        skipped = bool((labels == given["ignore_index"]).any())
        if ignored != skipped or (not ignored and given["weight"] is None):
            return None
        return f(**given | {"reduction": "sum"}) / labels.numel()

    return change


def _axis(dim: int) -> Change:
    def change(torch: Any, f: Any, args: Any, kwargs: Any) -> Any:
        x = args[0] if args else kwargs["input"]
        given = kwargs.get("dim", args[1] if len(args) > 1 else None)
        if given is None or x.ndim <= dim or given % x.ndim == dim % x.ndim:
            return None
        return getattr(torch, f.__name__.removeprefix("_"))(x, dim)

    return change


def _interpolate(**other: Any) -> Change:
    def change(torch: Any, f: Any, args: Any, kwargs: Any) -> Any:
        given = bound(f, args, kwargs)
        if given["mode"] not in ("bilinear", "bicubic", "linear", "trilinear"):
            return None
        if "align_corners" in other:
            other["align_corners"] = not given["align_corners"]
        elif given["mode"] not in ("bilinear", "bicubic"):
            return None
        return f(**given | other)

    return change


def _divisor(up: bool) -> Change:
    def change(torch: Any, f: Any, args: Any, kwargs: Any) -> Any:
        result, x = f(*args, **kwargs), args[0] if args else kwargs["input"]
        if not isinstance(result, torch.Tensor) or result.numel() in (0, x.numel()):
            return None
        n = x.numel() // result.numel()
        factor = n / (n - 1) if up else (n - 1) / n
        return result * (factor**0.5 if f.__name__ == "std" else factor)

    return change


def _kl(torch: Any, f: Any, args: Any, kwargs: Any) -> Any:
    given = bound(f, args, kwargs)
    other = {"mean": "batchmean", "batchmean": "mean"}.get(given["reduction"])
    return f(**given | {"reduction": other}) if other else None


def _huber(torch: Any, f: Any, args: Any, kwargs: Any) -> Any:
    given = bound(f, args, kwargs)
    if f.__name__ == "huber_loss":
        return f(*args, **kwargs) / given["delta"]
    return f(*args, **kwargs) * given["beta"]


def _half(torch: Any, f: Any, args: Any, kwargs: Any) -> Any:
    return f(*args, **kwargs) / 2


def _truncated(torch: Any, f: Any, args: Any, kwargs: Any) -> Any:
    return torch.fmod(*args) if len(args) == 2 else None


def _shared_relu(torch: Any, f: Any, args: Any, kwargs: Any) -> Any:
    x = args[0] if args else kwargs["input"]
    return torch.maximum(x, torch.zeros_like(x))


def _transposed(torch: Any, f: Any, args: Any, kwargs: Any) -> Any:
    given = bound(f, args, kwargs, "input weight bias")
    weight = given["weight"]
    if weight.ndim != 2 or weight.shape[0] != weight.shape[1]:
        return None
    return torch.nn.functional.linear(given["input"], weight.T, given.get("bias"))


def _channels_last(torch: Any, f: Any, args: Any, kwargs: Any) -> Any:
    x, result = args[0], f(*args, **kwargs)
    if x.ndim not in (3, 4) or result.ndim != 2 or result.shape[0] != x.shape[0]:
        return None
    return x.movedim(1, -1).reshape(result.shape)


def _products(digits: int) -> Change:
    def short(torch: Any, x: Any) -> Any:
        """Rounded to so many bits, half to even; the gradient passes through."""
        if not isinstance(x, torch.Tensor) or not x.is_floating_point():
            return x
        single, drop = to_numpy(x.detach()).astype(np.float32), 24 - digits
        bits = single.view(np.int32)
        bits = (bits + (1 << (drop - 1)) - 1 + ((bits >> drop) & 1)) & -(1 << drop)
        rounded = to_torch(bits.astype(np.int32).view(np.float32)).to(x.dtype)
        return x + (rounded - x).detach()

    def change(torch: Any, f: Any, args: Any, kwargs: Any) -> Any:
        a, b, *rest = args
        return f(short(torch, a), short(torch, b), *rest, **kwargs)

    return change


def _interleaved(torch: Any, f: Any, args: Any, kwargs: Any) -> Any:
    x, *times = args
    return x.repeat_interleave(times[0]) if x.ndim == 1 and len(times) == 1 else None


CONVS = ("conv1d", "conv2d", "conv3d")
TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
PRODUCTS = ("linear", "matmul", "mm", "bmm", "__matmul__", "addmm", *CONVS)
NORMS = ("layer_norm", "group_norm", "batch_norm", "instance_norm", "rms_norm")
INDEXED = ("__getitem__", "embedding", "gather", "index_select", "take_along_dim", "take")

CAUSES = (
    Cause("gelu", "one GELU is exact, the other the tanh approximation", ("gelu",), _gelu),
    Cause(
        "training-mode",
        "the original is in training mode, and its dropout is on: call eval() on it",
        ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout"),
        _no_dropout,
    ),
    Cause(
        "batch-statistics",
        "one normalises by the batch (training mode), the other by the running statistics",
        ("batch_norm",),
        _statistics,
    ),
    *(
        Cause("norm-eps", f"the port's normalisation has eps={eps:g}", NORMS, _eps(eps))
        for eps in (1e-6, 1e-5, 1e-3, 1e-12)
    ),
    Cause(
        "batch-norm-momentum",
        "the momentum is the other way round: the weight of the new, or of the old",
        ("batch_norm",),
        _momentum,
    ),
    Cause(
        "batch-norm-momentum",
        "the port's running variance divides by n, the original's by n - 1",
        ("batch_norm",),
        _biased,
    ),
    Cause("conv-same", "padding SAME at a stride is not padding=1", CONVS, _same),
    Cause(
        "conv-flip",
        "one flips the kernel, the other does not",
        (*CONVS, *TRANSPOSED),
        _flipped,
    ),
    Cause(
        "padding-idx",
        "the row padding_idx has no gradient in the original, and one in the port",
        ("embedding",),
        _no_padding_idx,
    ),
    Cause(
        "index-out-of-range",
        "an index below 0 is clamped to 0 in the port, and counts from the end in the original",
        INDEXED,
        _clamped,
    ),
    Cause(
        "avg-pool-padding",
        "one average counts the padding, the other does not",
        ("avg_pool1d", "avg_pool2d", "avg_pool3d"),
        _pool_padding,
    ),
    Cause(
        "class-weights",
        "the mean of a weighted loss divides by the sum of the weights, the port by n",
        ("cross_entropy", "nll_loss"),
        _over_all(ignored=False),
    ),
    Cause(
        "ignored-labels",
        "ignored labels are left out of the mean, and the port counts them",
        ("cross_entropy", "nll_loss"),
        _over_all(ignored=True),
    ),
    *(
        Cause(
            "softmax-axis",
            f"the port's softmax runs over axis {dim}",
            ("softmax", "log_softmax"),
            _axis(dim),
        )
        for dim in (-1, 0, 1)
    ),
    Cause(
        "resize",
        "one resize aligns the corners, the other does not",
        ("interpolate",),
        _interpolate(align_corners=None),
    ),
    Cause(
        "resize",
        "the port smooths before it shrinks (antialias is on in jax.image.resize)",
        ("interpolate",),
        _interpolate(antialias=True),
    ),
    Cause("std-and-var", "the port divides by n", ("std", "var"), _divisor(up=False)),
    Cause("std-and-var", "the port divides by n - 1", ("std", "var"), _divisor(up=True)),
    Cause("kl-div", "kl_div: 'mean' divides by all entries, 'batchmean' by rows", ("kl_div",), _kl),
    Cause(
        "huber",
        "smooth_l1 is huber divided by its threshold",
        ("smooth_l1_loss", "huber_loss"),
        _huber,
    ),
    Cause("half-square", "the port's squared error is halved", ("mse_loss",), _half),
    Cause(
        "remainder",
        "the remainder has the sign of the divisor in the original, of the dividend in the port",
        ("remainder", "__mod__", "__rmod__"),
        _truncated,
    ),
    Cause(
        "relu-at-0",
        "at 0 the port's relu has the slope 1/2 (maximum), the original's 0",
        ("relu", "relu_"),
        _shared_relu,
    ),
    Cause(
        "weight-layout",
        "a square weight is transposed: (in, out) for (out, in)",
        ("linear",),
        _transposed,
    ),
    Cause(
        "flatten-order",
        "the channels are last where the port flattens, and first in the original",
        ("flatten", "reshape", "view"),
        _channels_last,
    ),
    Cause(
        "matmul-precision",
        "the port's products round their operands to TF32, 11 bits",
        PRODUCTS,
        _products(11),
        values_only=True,
    ),
    Cause(
        "matmul-precision",
        "the port's products round their operands to bfloat16, 8 bits",
        PRODUCTS,
        _products(8),
        values_only=True,
    ),
    Cause(
        "repeat",
        "Tensor.repeat is tile: repeat in JAX repeats each entry",
        ("repeat",),
        _interleaved,
    ),
)

DETACHED = Hint(
    "detached-original",
    "no output of the original depends on an argument: it detaches, or runs under no_grad",
)
FLOAT32 = Hint("float64-cut", "the port computes in float32 inside: x64 is off, or it casts")


def recognise(agrees: Callable[[Callable[[], Any], bool], bool | None]) -> Iterator[Hint]:
    """The causes that explain a disagreement by themselves, at most one for each trap.

    Args:
        agrees: runs the original in a context and says whether it agrees with the port then; it is
            given whether gradients are left aside.
    """
    seen = calls_of(agrees)
    done: set[str] = set()
    for cause in CAUSES:
        count = sum(seen.get(name, 0) for name in cause.calls)
        if not count or cause.id in done:
            continue
        for only in (None, *range(min(count, CALLS) if count > 1 else 0)):
            if agrees(functools.partial(changed, cause, only), cause.values_only):
                some = "" if only is None else f", in call {only + 1} of {count}"
                done.add(cause.id)
                yield Hint(cause.id, f"{cause.words}{some}")
                break


def calls_of(run: Callable[[Callable[[], Any], bool], Any]) -> dict[str, int]:
    """How often the original calls each function of PyTorch."""
    counts: dict[str, int] = {}

    def record(_: Any, f: Any, args: Any, kwargs: Any) -> None:
        name = getattr(f, "__name__", "")
        counts[name] = counts.get(name, 0) + 1

    run(lambda: changed(Cause("", "", (), record), None), True)
    return counts  # of one run, in which nothing was changed: so `agrees` did not run it again


def changed(cause: Cause, only: int | None) -> Any:
    """A mode that changes the calls of a cause: all, or the one with that number."""
    torch: Any = importlib.import_module("torch")
    overrides: Any = importlib.import_module("torch.overrides")

    class Changed(overrides.TorchFunctionMode):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.met, self.number = False, -1

        def __torch_function__(self, f: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if not cause.calls or getattr(f, "__name__", "") in cause.calls:
                self.number += 1
                if only in (None, self.number):
                    result = cause.change(torch, f, args, kwargs)
                    if result is not None:
                        self.met = True
                        return result
            return f(*args, **kwargs)

    return Changed()
