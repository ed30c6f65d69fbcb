"""One linear layer, trained by gradient descent on the mean squared error.

PyTorch: the forward pass records the graph, `backward` fills `.grad`, the update runs outside the
graph, and the gradients must be reset, since `backward` adds to what stands there.

params hold "weight" (out, in), a row for each output, and "bias" (out,). x is one sample or any
number of them, t their targets, of exactly the shape of the outputs. learning_rate is the size of a
step along the negative gradient. Gradients have the names of the parameters.
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

    Source: documents B and C.
    """
    return x @ weight.T + bias


@checked
def mse_loss(y: Float[Array, "*n"], t: Float[Array, "*n"]) -> Float[Array, ""]:
    """Mean squared error: the mean of (y - t)**2 over every element.

    Source: document C.
    """
    return torch.mean((y - t) ** 2)


@checked
def loss(params: Params, x: Float[Array, "*n in"], t: Float[Array, "*n out"]) -> Float[Array, ""]:
    """L = mean((x W^T + b - t)**2).

    Source: document C.
    """
    return mse_loss(linear(x, params["weight"], params["bias"]), t)


@checked
def loss_and_grads(
    params: Params, x: Float[Array, "*n in"], t: Float[Array, "*n out"]
) -> tuple[Float[Array, ""], Params]:
    """L = mean((x W^T + b - t)**2), and dL/dW, dL/db.

    Source: document C.
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
    x: Float[Array, "*n in"],
    t: Float[Array, "*n out"],
    *,
    learning_rate: Positive,
    steps: Count,
) -> tuple[Params, Float[Array, " steps"]]:
    """Gradient descent by hand: W <- W - rate dL/dW, b <- b - rate dL/db, over and over.

    Args:
        params: where to start; left as they are.

    Returns:
        The parameters after the last update, and the loss before each one.

    Source: document C.
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
    x: Float[Array, "*n in"],
    t: Float[Array, "*n out"],
    *,
    learning_rate: Positive,
    steps: Count,
) -> tuple[Params, Float[Array, " steps"]]:
    """The same descent, with an optimiser for the update.

    `skip_init` leaves out the random start that `load_state_dict` would overwrite. `SGD` updates
    with an FMA, so the last bits part from `fit`.

    Source: document C, next steps.
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
        value = nn.functional.mse_loss(layer(x), t)
        losses.append(value.detach())
        # backward
        value.backward()
        # update
        optimizer.step()
    return {name: p.detach() for name, p in layer.named_parameters()}, torch.stack(losses)


@checked
def error_factor(x: Float[Array, " in"], *, learning_rate: Positive) -> Float[Array, ""]:
    """The factor that one step on one sample puts on y - t, one output: 1 - 2 rate (x.x + 1).

    Training diverges where its size exceeds 1 and crawls where it is close to 1.

    Source: document C, which says so without the number: 0.9772 at its rate.
    """
    return 1 - 2 * learning_rate * (x @ x + 1)


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
