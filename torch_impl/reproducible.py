"""Training with one digest: the classifier on 24-bit numbers, with sums that have no order.

PyTorch: a layer and the loss are each an `autograd.Function`, since autograd's own passes sum in
some order; autograd records ours as it records its own.

params are the classifier's, x (n, features) its rows and t (n,) their classes, all of float32. The
result does not depend on the framework, the processor, the number of threads or the order of the
rows in a batch; `rounding` says why. It does depend on the seed, the batches and the rate.
"""

from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float32, Int
from torch import Tensor as Array
from torch.autograd import Function

from torch_impl import Below, Positive, checked
from torch_impl.rounding import exp, log, product, rounded, total

Params = Annotated[
    dict[str, Array],
    {
        "fc1.weight": Float32[Array, "hidden1 features"],
        "fc1.bias": Float32[Array, " hidden1"],
        "fc2.weight": Float32[Array, "hidden2 hidden1"],
        "fc2.bias": Float32[Array, " hidden2"],
        "output.weight": Float32[Array, "classes hidden2"],
        "output.bias": Float32[Array, " classes"],
    },
]


@checked
def loss_and_grads(
    params: Params,
    x: Float32[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
) -> tuple[Float32[Array, ""], Params]:
    """The classifier's cross-entropy, and its derivative by every parameter.

    Source: document B, next steps.
    """
    leaves = _leaves(params)
    # forward
    value = _loss(leaves, x.double(), t.long())
    # backward
    value.backward()
    return value.detach().float(), {name: p.grad.float() for name, p in leaves.items()}


@checked
def fit(
    params: Params,
    x: Float32[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    optimizer: Literal["sgd", "adam"],
    learning_rate: Positive,
) -> tuple[Params, Float32[Array, " steps"]]:
    """Mini-batch training: one update for each row of batches.

    Args:
        batches: the row numbers that each step sees, at most 2^15.
        learning_rate: the size of a step, rounded to float32.

    Returns:
        The parameters after the last update, and the loss before each one.

    Source: document B, next steps.
    """
    leaves, x, t = _leaves(params), x.double(), t.long()
    rate = rounded(torch.tensor(learning_rate, dtype=torch.float64)).item()
    algorithm = _SGD(leaves, rate) if optimizer == "sgd" else _Adam(leaves, rate)
    losses = []
    for rows in batches:
        # reset
        algorithm.zero_grad()
        # forward
        value = _loss(leaves, x[rows], t[rows])
        losses.append(value.detach().float())
        # backward
        value.backward()
        # update
        algorithm.step()
    return _narrow(leaves), torch.stack(losses)


def _leaves(params: Params) -> Params:
    return {name: p.requires_grad_() for name, p in _wide(params).items()}


def _wide(params: Params) -> Params:
    return {name: p.detach().double() for name, p in params.items()}


def _narrow(params: Params) -> Params:
    return {name: p.detach().float() for name, p in params.items()}


class _Linear(Function):
    """x W^T + b."""

    @staticmethod
    def forward(ctx: Any, x: Array, weight: Array, bias: Array) -> Array:
        ctx.save_for_backward(x, weight)
        return rounded(product(x, weight.T) + bias)

    @staticmethod
    def backward(ctx: Any, d_y: Array) -> tuple[Array | None, ...]:
        x, weight = ctx.saved_tensors
        d_x = product(d_y, weight) if ctx.needs_input_grad[0] else None
        d_weight = product(d_y.T, x) if ctx.needs_input_grad[1] else None
        d_bias = total(d_y) if ctx.needs_input_grad[2] else None
        return d_x, d_weight, d_bias


class _CrossEntropy(Function):
    """-log P_t of each row."""

    @staticmethod
    def forward(ctx: Any, logits: Array, t: Array) -> Array:
        if not torch.isfinite(logits).all():
            raise ValueError("logits must be finite: training has diverged")
        shifted = rounded(logits - logits.amax(dim=1, keepdim=True))
        exps = exp(shifted)
        sums = total(exps.T)[:, None]
        p = rounded(exps / sums)
        ctx.save_for_backward(p, t)
        return rounded(log(sums) - shifted.gather(1, t[:, None]))

    @staticmethod
    def backward(ctx: Any, d_losses: Array) -> tuple[Array, None]:
        p, t = ctx.saved_tensors
        onehot = torch.eye(p.shape[1], dtype=p.dtype, device=p.device)[t]
        return rounded(d_losses * rounded(p - onehot)), None


class _Mean(Function):
    """The mean over the rows."""

    @staticmethod
    def forward(ctx: Any, losses: Array) -> Array:
        ctx.n = len(losses)
        return rounded(total(losses)[0] / ctx.n)

    @staticmethod
    def backward(ctx: Any, d_value: Array) -> Array:
        # of 53 bits: its product with a number of 24 rounds as the quotient by n does
        return (d_value / ctx.n).expand(ctx.n, 1)


_linear: Any = _Linear.apply
_cross_entropy: Any = _CrossEntropy.apply
_mean: Any = _Mean.apply


def _loss(params: Params, x: Array, t: Array) -> Array:
    z1 = _linear(x, params["fc1.weight"], params["fc1.bias"])
    h1 = torch.relu(z1)
    z2 = _linear(h1, params["fc2.weight"], params["fc2.bias"])
    h2 = torch.relu(z2)
    logits = _linear(h2, params["output.weight"], params["output.bias"])
    return _mean(_cross_entropy(logits, t))


class _SGD(torch.optim.Optimizer):
    def __init__(self, params: Params, rate: float) -> None:
        super().__init__(params.values(), {"lr": rate})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One update, in place."""
        for group in self.param_groups:
            for p in group["params"]:
                p.copy_(rounded(p - group["lr"] * p.grad))


# Adam's constants are float32 numbers, and 1 minus them too.
BETA1, BETA2, EPS = torch.tensor([0.9, 0.999, 1e-8], dtype=torch.float32).tolist()


class _Adam(torch.optim.Optimizer):
    def __init__(self, params: Params, rate: float) -> None:
        super().__init__(params.values(), {"lr": rate})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One update, in place."""
        for group in self.param_groups:
            for p in group["params"]:
                state, g = self.state[p], p.grad
                if not state:
                    one = torch.ones((), dtype=p.dtype, device=p.device)
                    state |= {"m": torch.zeros_like(p), "v": torch.zeros_like(p)}
                    state |= {"power1": one, "power2": one}
                power1 = state["power1"] = rounded(state["power1"] * BETA1)
                power2 = state["power2"] = rounded(state["power2"] * BETA2)
                m = state["m"] = rounded(BETA1 * state["m"] + rounded((1 - BETA1) * g))
                v = state["v"] = rounded(BETA2 * state["v"] + rounded((1 - BETA2) * rounded(g * g)))
                # the means start at 0: divide by the weight of what they have seen
                seen1, seen2 = rounded(1 - power1), rounded(1 - power2)
                root = rounded(torch.sqrt(rounded(v / seen2)))
                ratio = rounded(rounded(m / seen1) / rounded(root + EPS))
                p.copy_(rounded(p - group["lr"] * ratio))


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
