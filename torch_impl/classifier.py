"""The three-layer classifier 4-16-8-3: forward, loss, backward, training.

PyTorch: `SimpleNet` is a real `nn.Module`, which `fit` trains: `backward` fills the gradients, the
optimiser updates in place. Where the parameters are a dictionary, `functional_call` calls the same
network with them.

params holds weights (out, in) and biases, x one row for each sample, t the class of each row.
"""

import threading
from typing import Annotated, Any, Literal, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor as Array
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from torch_impl import Below, Fraction, Positive, checked

Params = Annotated[
    dict[str, Array],
    {
        "fc1.weight": "hidden1 features",
        "fc1.bias": "hidden1",
        "fc2.weight": "hidden2 hidden1",
        "fc2.bias": "hidden2",
        "output.weight": "classes hidden2",
        "output.bias": "classes",
    },
]


class SimpleNet(nn.Module):
    """Linear, ReLU, Linear, ReLU, Linear: features in, one logit for each class out.

    Source: document B.
    """

    def __init__(
        self, features: int = 4, hidden1: int = 16, hidden2: int = 8, classes: int = 3
    ) -> None:
        super().__init__()
        self.fc1 = nn.Linear(features, hidden1)
        self.relu1 = nn.ReLU()
        self.fc2 = nn.Linear(hidden1, hidden2)
        self.relu2 = nn.ReLU()
        self.output = nn.Linear(hidden2, classes)

    @classmethod
    def from_params(cls, params: Params, **options: Any) -> Self:
        """A network with a copy of these parameters, sizes, dtype and device included."""
        hidden1, features = params["fc1.weight"].shape
        classes, hidden2 = params["output.weight"].shape
        # on the meta device nothing is stored and no random start is drawn
        with torch.device("meta"):
            net = cls(features, hidden1, hidden2, classes, **options)
        copy = {name: p.detach().clone() for name, p in params.items()}
        net.load_state_dict(copy, assign=True)
        return net

    def forward(self, x: Array) -> Array:
        """The logits, (n, classes)."""
        z1 = self.fc1(x)
        h1 = self.relu1(z1)
        z2 = self.fc2(h1)
        h2 = self.relu2(z2)
        return self.output(h2)


class _OfThread(threading.local):
    """`functional_call` puts parameters into a network while it runs: each thread has its own."""

    def __init__(self) -> None:
        with torch.device("meta"):
            self.net = SimpleNet()


_of_thread = _OfThread()


@checked
def logits(params: Params, x: Float[Array, "n features"]) -> Float[Array, "n classes"]:
    """Scores: relu(relu(x W1^T + b1) W2^T + b2) W3^T + b3, with relu(z) = max(0, z).

    Source: document B.
    """
    return functional_call(_of_thread.net, params, (x,), tie_weights=False)


@checked
def probabilities(params: Params, x: Float[Array, "n features"]) -> Float[Array, "n classes"]:
    """Softmax of the logits: P_i = exp(z_i) / sum_j exp(z_j).

    Source: document B.
    """
    return torch.softmax(logits(params, x), dim=1)


@checked
def predict(params: Params, x: Float[Array, "n features"]) -> Int[Array, " n"]:
    """The class with the largest logit; the first of them at a tie.

    Source: document B.
    """
    return torch.argmax(logits(params, x), dim=1)


@checked
def loss(
    params: Params, x: Float[Array, "n features"], t: Below[Int[Array, " n"], " classes"]
) -> Float[Array, ""]:
    """Cross-entropy: the mean over the rows of -log P_t, from the logits.

    Source: document B, next steps.
    """
    return cross_entropy(logits(params, x), t.long())  # it refuses int32


@checked
def loss_and_grads(
    params: Params, x: Float[Array, "n features"], t: Below[Int[Array, " n"], " classes"]
) -> tuple[Float[Array, ""], Params]:
    """The loss, and its derivative by every parameter, under the name of the parameter.

    Source: document B, next steps.
    """
    params = {name: p.detach().requires_grad_() for name, p in params.items()}
    # forward
    value = loss(params, x, t)
    # backward
    value.backward()
    return value.detach(), {name: p.grad for name, p in params.items()}


@checked
def accuracy(
    params: Params, x: Float[Array, "n features"], t: Below[Int[Array, " n"], " classes"]
) -> Float[Array, ""]:
    """The share of rows whose predicted class is right.

    Source: document B.
    """
    return torch.mean(predict(params, x) == t, dtype=x.dtype)


class Dropout(nn.Dropout):
    """`nn.Dropout`, but for the mask: that one draws its own, this one is given it."""

    def forward(self, h: Array, mask: Array) -> Array:  # type: ignore[override]
        """Drops only while `self.training`, which `net.train()` and `net.eval()` set."""
        return h * mask / (1 - self.p) if self.training else h


@checked
def dropout(
    h: Float[Array, "n hidden"], mask: Bool[Array, "n hidden"], *, rate: Fraction, training: bool
) -> Float[Array, "n hidden"]:
    """In training h * mask / (1 - rate), in evaluation h.

    A module remembers its mode: `net.train()` and `net.eval()` set it in every submodule. The mask
    that `nn.Dropout` draws is from the global generator, which `torch.manual_seed` seeds.

    Args:
        mask: True where an activation is kept; drawn beforehand, so that all columns drop the same.
        rate: the share that is dropped.

    Source: document B, modes.
    """
    layer = Dropout(rate)
    layer.train(training)
    return layer(h, mask)


@checked
def fit(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    optimizer: Literal["sgd", "adam"],
    learning_rate: Positive,
) -> tuple[Params, Float[Array, " steps"]]:
    """Mini-batch training: one update for each row of batches.

    Args:
        params: where to start; left as they are.
        batches: the row numbers that each step sees.
        learning_rate: the size of a step.

    Returns:
        The parameters after the last update, and the loss before each one.

    Source: document B, next steps.
    """
    net = SimpleNet.from_params(params)
    kind = torch.optim.SGD if optimizer == "sgd" else torch.optim.Adam
    algorithm = kind(net.parameters(), lr=learning_rate)
    losses = []
    t = t.long()  # cross_entropy refuses int32
    for rows in batches:
        # reset
        algorithm.zero_grad()
        # forward
        value = cross_entropy(net(x[rows]), t[rows])
        losses.append(value.detach())
        # backward
        value.backward()
        # update
        algorithm.step()
    return {name: p.detach() for name, p in net.named_parameters()}, torch.stack(losses)


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
