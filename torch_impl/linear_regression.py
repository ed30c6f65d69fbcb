"""Linear regression: a line fitted to points, by gradient descent on two scalars.

PyTorch: w and b are leaves that require a gradient; `backward` fills `w.grad` and `b.grad`, the
update runs under `no_grad`, and `= None` resets the gradients for the next epoch.
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

    Args:
        params: "w", the slope, and "b", the intercept.
        x: inputs.

    Source: A 7.6, E.
    """
    return params["w"] * x + params["b"]


@checked
def loss(params: Params, x: Float[Array, "n 1"], t: Float[Array, "n 1"]) -> Float[Array, ""]:
    """Mean squared error: L = mean((w x + b - t)**2).

    Args:
        params: "w" and "b".
        x: inputs.
        t: targets.

    Source: A 7.6, D, E.
    """
    return torch.mean((predict(params, x) - t) ** 2)


@checked
def loss_and_grads(
    params: Params, x: Float[Array, "n 1"], t: Float[Array, "n 1"]
) -> tuple[Float[Array, ""], Params]:
    """L, dL/dw = mean(2 (y - t) x) and dL/db = mean(2 (y - t)).

    Args:
        params: "w" and "b".
        x: inputs.
        t: targets.

    Returns:
        The loss, and the gradients under the names of the parameters.

    Source: A 7.6.
    """
    w = params["w"].detach().requires_grad_()
    b = params["b"].detach().requires_grad_()
    # forward
    value = loss({"w": w, "b": b}, x, t)
    # backward
    value.backward()
    return value.detach(), {"w": w.grad, "b": b.grad}


@checked
def fit(
    params: Params,
    x: Float[Array, "n 1"],
    t: Float[Array, "n 1"],
    *,
    learning_rate: Positive,
    epochs: Count,
) -> tuple[Params, Float[Array, " epochs"]]:
    """Gradient descent by hand: w <- w - rate dL/dw, b <- b - rate dL/db, once an epoch.

    Args:
        params: where to start; left as they are.
        x: inputs.
        t: targets.
        learning_rate: the step along the negative gradient.
        epochs: how many passes over the data, one update each.

    Returns:
        The parameters after the last update, and the loss before each one.

    Source: A 7.6.
    """
    w = params["w"].detach().clone().requires_grad_()
    b = params["b"].detach().clone().requires_grad_()
    losses = []
    for _ in range(epochs):
        # forward
        value = loss({"w": w, "b": b}, x, t)
        losses.append(value.detach())
        # backward
        value.backward()
        # update
        with torch.no_grad():
            w -= learning_rate * w.grad
            b -= learning_rate * b.grad
        # reset
        w.grad = None
        b.grad = None
    return {"w": w.detach(), "b": b.detach()}, torch.stack(losses)


@checked
def fit_with_optimizer(
    params: Params,
    x: Float[Array, "n 1"],
    t: Float[Array, "n 1"],
    *,
    learning_rate: Positive,
    epochs: Count,
) -> tuple[Params, Float[Array, " epochs"]]:
    """Fit as `fit` does, with an optimiser (and a layer, if there is one) for the update.

    `SGD` updates with an FMA, so the last bits part from `fit` after a few epochs.

    Args and Returns: as for `fit`.

    Source: D.
    """
    layer = nn.utils.skip_init(nn.Linear, 1, 1, device=x.device, dtype=x.dtype)
    layer.load_state_dict({"weight": params["w"].reshape(1, 1), "bias": params["b"].reshape(1)})
    optimizer = torch.optim.SGD(layer.parameters(), lr=learning_rate)
    losses = []
    for _ in range(epochs):
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


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
