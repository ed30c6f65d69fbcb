"""Optimisers: stochastic gradient descent and Adam, and where each framework keeps their state.

PyTorch: an object that changes its parameters in place, outside of the graph, and keeps the state
of each. `torch.optim.SGD` and `torch.optim.Adam` give the same but for the last bits.

params are any named arrays, grads the gradient of each under the same name. The state of Adam is
"step", a whole number, and "m" and "v" with the names and shapes of the parameters. Adam is from
Kingma and Ba, "Adam: a method for stochastic optimization", 2015.
"""

from collections.abc import Iterable
from typing import Annotated, Any

import torch
from jaxtyping import Shaped
from torch import Tensor as Array

from torch_impl import Fraction, Like, Positive, checked

Params = dict[str, Array]
State = Annotated[
    dict[str, Any],
    {"step": Shaped[Array, ""], "m": Like[Params, " params"], "v": Like[Params, " params"]},
]


class SGD(torch.optim.Optimizer):
    """p <- p - rate g for every parameter with a gradient, in place."""

    def __init__(self, params: Iterable[Array], lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One update; the gradients are those of the last `backward`."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.sub_(group["lr"] * p.grad)


class Adam(torch.optim.Optimizer):
    """Adam for every parameter with a gradient, in place; `state` holds its "step", "m" and "v"."""

    def __init__(
        self,
        params: Iterable[Array],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One update; the state of a parameter is made at its first."""
        for group in self.param_groups:
            (beta1, beta2), eps = group["betas"], group["eps"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state |= {"step": 0, "m": torch.zeros_like(p), "v": torch.zeros_like(p)}
                state["step"] += 1
                m = state["m"] = beta1 * state["m"] + (1 - beta1) * p.grad
                v = state["v"] = beta2 * state["v"] + (1 - beta2) * p.grad**2
                # the means start at 0: divide by the weight of what they have seen
                seen1 = 1 - beta1 ** state["step"]
                seen2 = 1 - beta2 ** state["step"]
                # update
                p.sub_(group["lr"] * (m / seen1) / (torch.sqrt(v / seen2) + eps))


@checked
def sgd_step(params: Params, grads: Like[Params, " params"], *, learning_rate: Positive) -> Params:
    """Gradient descent: p <- p - rate g.

    With the object that a network would be trained with, on copies.

    Source: document A, section 7.6; documents C and D.
    """
    leaves = _leaves(params, grads)
    SGD(leaves.values(), learning_rate).step()
    return {name: p.detach() for name, p in leaves.items()}


@checked
def adam_start(params: Params) -> State:
    """Adam's state before the first step: step 0, m = v = 0.

    Source: Kingma and Ba, 2015, algorithm 1.
    """
    m = {name: torch.zeros_like(p) for name, p in params.items()}
    v = {name: torch.zeros_like(p) for name, p in params.items()}
    return {"step": torch.zeros((), dtype=torch.int64), "m": m, "v": v}


@checked
def adam_step(
    params: Params,
    grads: Like[Params, " params"],
    state: State,
    *,
    learning_rate: Positive,
    beta1: Fraction = 0.9,
    beta2: Fraction = 0.999,
    eps: Positive = 1e-8,
) -> tuple[Params, State]:
    """p <- p - rate m' / (sqrt(v') + eps), with m' and v' the bias-corrected means of g and g**2.

    With the object that a network would be trained with, on copies, its state handed in and out.

    Args:
        learning_rate: the size of a step, roughly.
        beta1: how much of the mean of g is kept.
        beta2: how much of the mean of g**2 is kept.
        eps: keeps the quotient finite; outside the root.

    Source: Kingma and Ba, 2015, algorithm 1.
    """
    leaves = _leaves(params, grads)
    optimizer = Adam(leaves.values(), learning_rate, (beta1, beta2), eps)
    for name, p in leaves.items():
        moments = {"m": state["m"][name], "v": state["v"][name]}
        optimizer.state[p] = {"step": int(state["step"])} | moments
    # update
    optimizer.step()
    m = {name: optimizer.state[p]["m"] for name, p in leaves.items()}
    v = {name: optimizer.state[p]["v"] for name, p in leaves.items()}
    params = {name: p.detach() for name, p in leaves.items()}
    return params, {"step": state["step"] + 1, "m": m, "v": v}


def _leaves(params: Params, grads: Params) -> Params:
    """Parameters of a network, as an optimiser finds them after `backward`."""
    leaves = {name: p.detach().clone().requires_grad_() for name, p in params.items()}
    for name, leaf in leaves.items():
        leaf.grad = grads[name].detach()
    return leaves


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
