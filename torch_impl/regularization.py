"""Regularisation: a penalty on the parameters, dropout while training, stopping in time.

PyTorch: `weight_decay` of `SGD` and `Adam` adds penalty p to the gradient, that of `AdamW` decays
the parameters. Updates are in place: what was best has to be copied, or it goes on changing.

params are the classifier's, x (n, features) its rows, t (n,) their classes, batches (steps, batch)
the row numbers of each step. optimizer is "sgd" or "adam", learning_rate the size of its steps.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor as Array
from torch.nn.functional import cross_entropy

from torch_impl import Below, Count, Fraction, NonNegative, Positive, UpTo, checked
from torch_impl.classifier import Dropout, Params, SimpleNet

KINDS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}


class ThinnedNet(SimpleNet):
    """SimpleNet with dropout behind the first layer, from `train()` until `eval()`."""

    def __init__(self, *sizes: int, rate: float) -> None:
        super().__init__(*sizes)
        self.dropout1 = Dropout(rate)

    def forward(self, x: Array, mask: Array | None = None) -> Array:
        """The logits, (n, classes)."""
        z1 = self.fc1(x)
        h1 = self.relu1(z1)
        k1 = self.dropout1(h1, mask)
        z2 = self.fc2(k1)
        h2 = self.relu2(z2)
        return self.output(h2)


@checked
def penalised_loss_and_grads(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    *,
    penalty: NonNegative,
) -> tuple[Float[Array, ""], Params]:
    """L + penalty / 2 sum p**2 over every parameter, and its gradients: dL/dp + penalty p.

    The biases are penalised too, as by PyTorch's `weight_decay` of all parameters.

    Source: document C, where it is left out; Krogh and Hertz, "A simple weight decay can improve
    generalization", 1991.
    """
    net = SimpleNet.from_params(params)
    # forward
    value = cross_entropy(net(x), t.long()) + penalty / 2 * _squares(net)
    # backward
    value.backward()
    return value.detach(), _grads(net)


@checked
def fit(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    penalty: NonNegative,
    within: Literal["loss", "update"],
    optimizer: Literal["sgd", "adam"],
    learning_rate: Positive,
) -> tuple[Params, Float[Array, " steps"]]:
    """Training with a penalty in the loss, or with weight decay: p <- p - rate penalty p besides.

    For SGD the two are one, since p - rate (g + penalty p) is both. Adam divides what is in the
    gradient by the root of its mean square, the penalty too; what is in the update it leaves alone.

    Args:
        penalty: the weight of the squares, or of the decay.
        within: "loss", or "update" for weight decay (with Adam, AdamW).

    Returns:
        The parameters after the last update, and before each one the loss, without the penalty.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.
    """
    net, t, losses = SimpleNet.from_params(params), t.long(), []
    kind = torch.optim.SGD if optimizer == "sgd" else torch.optim.AdamW
    decay = penalty if within == "update" else 0.0
    algorithm = kind(net.parameters(), lr=learning_rate, weight_decay=decay)
    for rows in batches:
        # reset
        algorithm.zero_grad()
        # forward
        value = cross_entropy(net(x[rows]), t[rows])
        losses.append(value.detach())
        # backward
        total = value + penalty / 2 * _squares(net) if within == "loss" else value
        total.backward()
        # update
        algorithm.step()
    return _params(net), torch.stack(losses)


@checked
def dropout_loss_and_grads(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    mask: Bool[Array, "n hidden1"],
    *,
    rate: Fraction,
) -> tuple[Float[Array, ""], Params]:
    """The loss with dropout behind the first layer, and its gradients: a dropped unit has none.

    Args:
        mask: True where a unit is kept; drawn beforehand, so that all columns drop the same.
        rate: the share that is dropped.

    Source: Srivastava et al., "Dropout", 2014.
    """
    net = ThinnedNet.from_params(params, rate=rate)
    net.train()
    # forward
    value = cross_entropy(net(x, mask), t.long())
    # backward
    value.backward()
    return value.detach(), _grads(net)


@checked
def fit_with_dropout(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    masks: Bool[Array, "steps batch hidden1"],
    *,
    rate: Fraction,
    optimizer: Literal["sgd", "adam"],
    learning_rate: Positive,
) -> tuple[Params, Float[Array, " steps"]]:
    """Training with another mask for each step; `classifier.predict` afterwards drops nothing.

    Args:
        masks: for each step, True where a unit is kept.
        rate: the share that is dropped.

    Returns:
        The parameters after the last update, and before each one the loss with dropout.

    Source: Srivastava et al., "Dropout", 2014.
    """
    net, t, losses = ThinnedNet.from_params(params, rate=rate), t.long(), []
    algorithm = KINDS[optimizer](net.parameters(), lr=learning_rate)
    net.train()
    for rows, mask in zip(batches, masks, strict=True):
        # reset
        algorithm.zero_grad()
        # forward
        value = cross_entropy(net(x[rows], mask), t[rows])
        losses.append(value.detach())
        # backward
        value.backward()
        # update
        algorithm.step()
    return _params(net), torch.stack(losses)


@checked
def fit_with_early_stopping(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    x_held: Float[Array, "held features"],
    t_held: Below[Int[Array, " held"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    every: UpTo[Count, " steps"],
    patience: Count,
    optimizer: Literal["sgd", "adam"],
    learning_rate: Positive,
) -> tuple[Params, Float[Array, " looks"]]:
    """Training that stops when the loss of held-out rows falls no more, and keeps the best it had.

    Args:
        x_held: rows that are not trained on.
        t_held: their classes.
        every: steps from one look at them to the next; the first look is at the start.
        patience: how many looks in a row may be no better than the best.

    Returns:
        The parameters of the best look, and the loss at each.

    Source: Prechelt, "Early stopping - but when?", 1998.
    """
    net, t, t_held = SimpleNet.from_params(params), t.long(), t_held.long()
    algorithm = KINDS[optimizer](net.parameters(), lr=learning_rate)
    with torch.no_grad():
        looks = [cross_entropy(net(x_held), t_held)]
    best, since = _params(net), 0
    for start in range(0, len(batches), every):
        for rows in batches[start : start + every]:
            # reset
            algorithm.zero_grad()
            # forward
            value = cross_entropy(net(x[rows]), t[rows])
            # backward
            value.backward()
            # update
            algorithm.step()
        since += 1
        with torch.no_grad():
            value = cross_entropy(net(x_held), t_held)
        if value < min(looks):
            best, since = _params(net), 0
        looks.append(value)
        if since == patience:
            break
    return best, torch.stack(looks)


def _squares(net: SimpleNet) -> Array:
    return torch.stack([p.square().sum() for p in net.parameters()]).sum()


def _params(net: SimpleNet) -> Params:
    """A copy: the network's own parameters are changed in place."""
    return {name: p.detach().clone() for name, p in net.named_parameters()}


def _grads(net: SimpleNet) -> Params:
    return {name: p.grad for name, p in net.named_parameters()}


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
