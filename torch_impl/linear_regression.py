"""Linear regression: a line fitted to points, by gradient descent on two scalars.

PyTorch: w and b are leaves that require a gradient; `backward` fills `w.grad` and `b.grad`, the
update runs under `no_grad`, and `= None` resets the gradients for the next epoch.

params hold the slope "w" and the intercept "b"; x is where the points are, t how high they are.
learning_rate is the size of a step along the negative gradient. Gradients have the names of the
parameters.
"""

from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor as Array
from torch import nn

from torch_impl import Count, Positive, checked

Params = Annotated[dict[str, Array], {"w": "", "b": ""}]


@checked
def predict(params: Params, x: Float[Array, "n 1"]) -> Float[Array, "n 1"]:
    """y = w x + b.

    Source: document A, section 7.6; document E.
    """
    return params["w"] * x + params["b"]


@checked
def loss(params: Params, x: Float[Array, "n 1"], t: Float[Array, "n 1"]) -> Float[Array, ""]:
    """Mean squared error: L = mean((w x + b - t)**2).

    Source: document A, section 7.6; documents D and E.
    """
    return torch.mean((predict(params, x) - t) ** 2)


@checked
def loss_and_grads(
    params: Params, x: Float[Array, "n 1"], t: Float[Array, "n 1"]
) -> tuple[Float[Array, ""], Params]:
    """L, dL/dw = mean(2 (y - t) x) and dL/db = mean(2 (y - t)).

    Source: document A, section 7.6.
    """
    params = {name: p.detach().requires_grad_() for name, p in params.items()}
    # forward
    value = loss(params, x, t)
    # backward
    value.backward()
    return value.detach(), {name: p.grad for name, p in params.items()}


@checked
def fit(
    params: Params,
    x: Float[Array, "n 1"],
    t: Float[Array, "n 1"],
    *,
    learning_rate: Positive,
    steps: Count,
) -> tuple[Params, Float[Array, " steps"]]:
    """Gradient descent by hand: w <- w - rate dL/dw, b <- b - rate dL/db, once an epoch.

    Args:
        params: where to start; left as they are.
        steps: how many updates, each on all points: the documents' epochs.

    Returns:
        The parameters after the last update, and the loss before each one.

    Source: document A, section 7.6.
    """
    params = {name: p.detach().clone().requires_grad_() for name, p in params.items()}
    losses = []
    for _ in range(steps):
        # reset
        for p in params.values():
            p.grad = None
        # forward
        value = loss(params, x, t)
        losses.append(value.detach())
        # backward
        value.backward()
        # update
        with torch.no_grad():
            for p in params.values():
                p -= learning_rate * p.grad
    return {name: p.detach() for name, p in params.items()}, torch.stack(losses)


@checked
def fit_with_optimizer(
    params: Params,
    x: Float[Array, "n 1"],
    t: Float[Array, "n 1"],
    *,
    learning_rate: Positive,
    steps: Count,
) -> tuple[Params, Float[Array, " steps"]]:
    """The same descent, with an optimiser for the update.

    `SGD` updates with an FMA, so the last bits part from `fit` after a few epochs.

    Source: document D.
    """
    layer = nn.utils.skip_init(nn.Linear, 1, 1, device=x.device, dtype=x.dtype)
    layer.load_state_dict({"weight": params["w"].reshape(1, 1), "bias": params["b"].reshape(1)})
    optimizer = torch.optim.SGD(layer.parameters(), lr=learning_rate)
    losses = []
    for _ in range(steps):
        # reset
        optimizer.zero_grad()
        # forward
        value = nn.functional.mse_loss(layer(x), t)
        losses.append(value.detach())
        # backward
        value.backward()
        # update
        optimizer.step()
    w = layer.weight.detach().reshape(())
    b = layer.bias.detach().reshape(())
    return {"w": w, "b": b}, torch.stack(losses)


@checked
def least_squares(x: Float[Array, "n 1"], t: Float[Array, "n 1"]) -> Params:
    """The line of the least loss, in closed form: w = cov(x, t) / var(x), b = mean(t) - w mean(x).

    For more than one input, `torch.linalg.lstsq` solves the same.

    Args:
        x: inputs; at least two of them differ, since otherwise no slope is the best.

    Source: document E, least squares.
    """
    dx = x - torch.mean(x)
    w = torch.sum(dx * (t - torch.mean(t))) / torch.sum(dx**2)
    return {"w": w, "b": torch.mean(t) - w * torch.mean(x)}


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
