"""One linear layer, trained by gradient descent on the mean squared error.

PyTorch: the forward pass records the graph, `backward` fills `.grad`, the update runs outside the
graph, and the gradients must be reset, since `backward` adds to what stands there.
"""

from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor as Array
from torch import nn

from torch_impl import Count, Positive, checked

Params = Annotated[dict[str, Array], {"weight": "out in", "bias": " out"}]


@checked
def linear(
    x: Float[Array, "*n in"], weight: Float[Array, "out in"], bias: Float[Array, " out"]
) -> Float[Array, "*n out"]:
    """y = x W^T + b.

    Args:
        x: one sample, or any number of them.
        weight: one row for each output.
        bias: one number for each output.

    Source: C, B.
    """
    return x @ weight.T + bias


@checked
def mse_loss(y: Float[Array, "*n"], t: Float[Array, "*n"]) -> Float[Array, ""]:
    """Mean squared error: the mean of (y - t)**2 over every element.

    Args:
        y: predictions.
        t: targets, of exactly the same shape.

    Source: C.
    """
    return torch.mean((y - t) ** 2)


@checked
def loss_and_grads(
    params: Params, x: Float[Array, "*n in"], t: Float[Array, "*n out"]
) -> tuple[Float[Array, ""], Params]:
    """L = mean((x W^T + b - t)**2), and dL/dW, dL/db.

    Args:
        params: "weight" and "bias".
        x: inputs.
        t: targets.

    Returns:
        The loss, and the gradients under the names of the parameters.

    Source: C.
    """
    weight = params["weight"].detach().requires_grad_()
    bias = params["bias"].detach().requires_grad_()
    # forward
    y = linear(x, weight, bias)
    loss = mse_loss(y, t)
    # backward
    loss.backward()
    return loss.detach(), {"weight": weight.grad, "bias": bias.grad}


@checked
def train(
    params: Params,
    x: Float[Array, "*n in"],
    t: Float[Array, "*n out"],
    *,
    learning_rate: Positive,
    steps: Count,
) -> tuple[Params, Float[Array, " steps"]]:
    """Gradient descent by hand: W <- W - rate dL/dW, b <- b - rate dL/db, over and over.

    Args:
        params: where to start; left as they are.
        x: inputs.
        t: targets.
        learning_rate: the step along the negative gradient.
        steps: how many updates.

    Returns:
        The parameters after the last update, and the loss before each one.

    Source: C.
    """
    weight = params["weight"].detach().clone().requires_grad_()
    bias = params["bias"].detach().clone().requires_grad_()
    losses = []
    for _ in range(steps):
        # forward
        loss = mse_loss(linear(x, weight, bias), t)
        losses.append(loss.detach())
        # backward
        loss.backward()
        # update
        with torch.no_grad():
            weight -= learning_rate * weight.grad
            bias -= learning_rate * bias.grad
        # reset
        weight.grad.zero_()
        bias.grad.zero_()
    return {"weight": weight.detach(), "bias": bias.detach()}, torch.stack(losses)


@checked
def train_with_optimizer(
    params: Params,
    x: Float[Array, "*n in"],
    t: Float[Array, "*n out"],
    *,
    learning_rate: Positive,
    steps: Count,
) -> tuple[Params, Float[Array, " steps"]]:
    """Train as `train` does, with an optimiser (and a layer, if there is one) for the update.

    `skip_init` leaves out the random start that `load_state_dict` would overwrite. `SGD` updates
    with an FMA, so the last bits part from `train`.

    Args and Returns: as for `train`.

    Source: C, next steps.
    """
    out, features = params["weight"].shape
    layer = nn.utils.skip_init(nn.Linear, features, out, device=x.device, dtype=x.dtype)
    layer.load_state_dict(params)
    optimizer = torch.optim.SGD(layer.parameters(), lr=learning_rate)
    losses = []
    for _ in range(steps):
        # reset
        optimizer.zero_grad()
        # forward
        loss = nn.functional.mse_loss(layer(x), t)
        losses.append(loss.detach())
        # backward
        loss.backward()
        # update
        optimizer.step()
    return {name: p.detach() for name, p in layer.named_parameters()}, torch.stack(losses)


@checked
def error_factor(x: Float[Array, " in"], *, learning_rate: Positive) -> Float[Array, ""]:
    """By what y - t is multiplied in one step on one sample and one output: 1 - 2 rate (x.x + 1).

    Training diverges where its size exceeds 1 and crawls where it is close to 1.

    Args:
        x: the sample.
        learning_rate: the step along the negative gradient.

    Source: C, which says so without the number: 0.9772 at its rate.
    """
    return 1 - 2 * learning_rate * (x @ x + 1)


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
