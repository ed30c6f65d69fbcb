"""What is recorded for a backward pass, when, and how to look at it.

PyTorch: the record is made while the forward lines run, of every operation on a tracked tensor;
`no_grad` switches it off. It hangs on the output (`grad_fn`) and ends in the leaves.
"""

from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor as Array

from torch_impl import Positive, checked

Params = Annotated[dict[str, Array], {"weight": "out in", "bias": " out"}]


@checked
def infer(
    params: Params, x: Float[Array, "n in"], *, record: bool
) -> tuple[Float[Array, "n out"], bool]:
    """y = x W^T + b, and whether y is tracked.

    Under `no_grad` (here: `set_grad_enabled(False)`) nothing is recorded and nothing saved.

    Source: document D, inference; documents A, C and D, no_grad.
    """
    weight, bias = (params[name].detach().requires_grad_() for name in ("weight", "bias"))
    with torch.set_grad_enabled(record):
        # forward
        y = x @ weight.T + bias
    return y.detach(), y.requires_grad


@checked
def backward_untracked(x: Float[Array, ""]) -> Float[Array, ""]:
    """The backward pass of y = x**2 + 3 x + 1 where x is not tracked.

    Not tracked is what every new tensor is.

    Raises:
        RuntimeError: from PyTorch; y has no `grad_fn` to start from.

    Source: document A, section 7.3.
    """
    x = x.detach()
    # forward
    y = x**2 + 3 * x + 1
    # backward
    y.backward()
    return x.grad


@checked
def update_inside_graph(
    x: Float[Array, ""], *, learning_rate: Positive
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """x <- x - rate dy/dx in place, while y = x**2 + 3 x + 1 is recorded; then dy/dx once more.

    Raises:
        RuntimeError: from PyTorch; a tracked leaf may not change in place.

    Source: documents A, C and D, no_grad.
    """
    x = x.detach().clone().requires_grad_()
    # forward
    y = x**2 + 3 * x + 1
    # backward
    (d_x,) = torch.autograd.grad(y, x)
    # update: here it raises
    x -= learning_rate * d_x
    return x, d_x


@checked
def update_outside_graph(
    x: Float[Array, ""], *, learning_rate: Positive
) -> tuple[Float[Array, ""], bool]:
    """x <- x - rate dy/dx for y = x**2 + 3 x + 1, and whether the update was recorded.

    x stays a leaf. A second backward pass through the old y raises: its graph is freed. A graph
    that is retained raises as well, since PyTorch counts the changes of a saved tensor (only
    `x.data -= ...` escapes the count, and gets a wrong gradient).

    Source: documents A, C and D, no_grad.
    """
    x = x.detach().clone().requires_grad_()
    # forward
    y = x**2 + 3 * x + 1
    # backward
    (d_x,) = torch.autograd.grad(y, x)
    # update
    with torch.no_grad():
        x -= learning_rate * d_x
    return x.detach(), x.grad_fn is not None


@checked
def leaves(x: Float[Array, ""], w: Float[Array, ""], b: Float[Array, ""]) -> dict[str, bool]:
    """Which of x, w, b and y = w x + b are leaves: made by no recorded operation.

    A leaf has no `grad_fn`.

    Source: document E, leaves.
    """
    x, w, b = (leaf.detach().requires_grad_() for leaf in (x, w, b))
    # forward
    y = w * x + b
    return {"x": x.is_leaf, "w": w.is_leaf, "b": b.is_leaf, "y": y.is_leaf}


@checked
def recorded(
    x: Float[Array, ""], w: Float[Array, ""], b: Float[Array, ""]
) -> tuple[list[str], dict[str, Float[Array, ""]], str]:
    """The operations of y = w x + b from y back, x a constant; dy/dw and dy/db; how y prints.

    Walked along `grad_fn` and `next_functions`; at the leaves stands `AccumulateGrad`, left out.

    Source: document E, the recorded graph.
    """
    w, b = w.detach().requires_grad_(), b.detach().requires_grad_()
    # forward
    y = w * x.detach() + b
    operations, nodes = [], [y.grad_fn]
    while nodes:
        node = nodes.pop(0)
        if node is not None and not hasattr(node, "variable"):
            operations.append(node.name())
            nodes += [function for function, _ in node.next_functions]
    # backward
    d_w, d_b = torch.autograd.grad(y, (w, b))
    return operations, {"w": d_w, "b": d_b}, str(y)


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
