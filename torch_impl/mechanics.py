"""How automatic differentiation behaves: accumulation, cotangents, reuse, stopping, the record.

PyTorch: the record is made while the forward lines run and hangs on the output (`grad_fn`).
`backward` walks it once, adds to the leaves' `.grad`, and frees what was saved; misuse is a
RuntimeError.
"""

from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor as Array

from torch_impl import checked

Params = Annotated[dict[str, Array], {"weight": "out in", "bias": " out"}]


@checked
def accumulate(
    x: Float[Array, ""], w: Float[Array, ""], b: Float[Array, ""], *, times: int, reset: bool
) -> dict[str, Float[Array, " times"]]:
    """The gradients of y = w x + b, read after each of several backward passes.

    `backward` adds to `.grad`, so without a reset it grows: g, 2 g, 3 g. It adds in place:
    whoever keeps a reading copies it.

    Source: A-accumulate, A-reset, D-accumulate.
    """
    inputs = {"x": x, "w": w, "b": b}
    inputs = {name: leaf.detach().requires_grad_() for name, leaf in inputs.items()}
    readings: dict[str, list[Array]] = {name: [] for name in inputs}
    for _ in range(times):
        # forward
        y = inputs["w"] * inputs["x"] + inputs["b"]
        # backward
        y.backward()
        for name, leaf in inputs.items():
            readings[name].append(leaf.grad.clone())
        # reset
        if reset:
            for leaf in inputs.values():
                leaf.grad = None
    return {name: torch.stack(reading) for name, reading in readings.items()}


@checked
def reset_gradients(
    x: Float[Array, ""], w: Float[Array, ""], b: Float[Array, ""], *, set_to_none: bool
) -> tuple[dict[str, Array | None], dict[str, Float[Array, ""]]]:
    """What a reset leaves of the gradients of y = w x + b, and the gradients after one more pass.

    `zero_()` leaves zeros; `= None`, and today's `zero_grad()`, leave none.

    Source: A-reset.
    """
    inputs = {"x": x, "w": w, "b": b}
    inputs = {name: leaf.detach().requires_grad_() for name, leaf in inputs.items()}
    # forward, backward
    (inputs["w"] * inputs["x"] + inputs["b"]).backward()
    # reset
    for leaf in inputs.values():
        if set_to_none:
            leaf.grad = None
        else:
            leaf.grad.zero_()
    left = {name: None if set_to_none else leaf.grad.clone() for name, leaf in inputs.items()}
    # forward, backward
    (inputs["w"] * inputs["x"] + inputs["b"]).backward()
    return left, {name: leaf.grad for name, leaf in inputs.items()}


@checked
def vector_jacobian_product(
    x: Float[Array, " n"], cotangent: Float[Array, " n"]
) -> Float[Array, " n"]:
    """v^T J of y = x sum(x), where J = sum(x) I + x 1^T: one pass, and J is never built.

    Args:
        cotangent: v, one weight for each output; [1, 0, 0] picks the first row of J.

    Source: A-vjp.
    """
    x = x.detach().requires_grad_()
    # forward
    y = x * x.sum()
    # backward
    y.backward(cotangent)
    return x.grad


@checked
def backward_without_cotangent(x: Float[Array, " n"]) -> Float[Array, " n"]:
    """The backward pass of the vector y = x sum(x), given no cotangent.

    Raises:
        RuntimeError: from PyTorch, which makes up a cotangent only where y has one element.

    Source: A-vjp.
    """
    x = x.detach().requires_grad_()
    # forward
    y = x * x.sum()
    # backward
    y.backward()
    return x.grad


@checked
def backward_twice(x: Float[Array, ""], *, retain_graph: bool) -> Float[Array, ""]:
    """The sum of two backward passes through one forward pass of y = x**2 + 3 x + 1.

    Raises:
        RuntimeError: from PyTorch, if not `retain_graph`: the first pass freed the saved x.

    Source: A-retain.
    """
    x = x.detach().requires_grad_()
    # forward
    y = x**2 + 3 * x + 1
    # backward
    y.backward(retain_graph=retain_graph)
    y.backward()
    return x.grad


@checked
def backward_twice_additions(x: Float[Array, ""]) -> Float[Array, ""]:
    """The sum of two backward passes through y = x + x + 1, whose derivative 2 needs no x.

    Additions save nothing, so nothing is missed the second time and nothing raises.

    Source: A-retain.
    """
    x = x.detach().requires_grad_()
    # forward
    y = x + x + 1
    # backward
    y.backward()
    y.backward()
    return x.grad


@checked
def stop_gradient(x: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Y = x c + 3 x + 1 with c = x held constant: the value of the quadratic, but dy/dx = c + 3.

    `detach` shares the value and leaves the graph behind.

    Source: A-untracked.
    """
    x = x.detach().requires_grad_()
    # forward
    y = x * x.detach() + 3 * x + 1
    # backward
    y.backward()
    return y.detach(), x.grad


@checked
def paths(x: Float[Array, ""]) -> dict[str, Float[Array, ""]]:
    """What reaches x from y = a b through a = x + 2 alone, through b = x + 3 alone, and by both.

    Source: A 7.4, A-product.
    """
    x = x.detach().requires_grad_()
    # forward
    a = x + 2
    b = x + 3
    # backward
    (through_a,) = torch.autograd.grad(a * b.detach(), x, retain_graph=True)
    (through_b,) = torch.autograd.grad(a.detach() * b, x, retain_graph=True)
    (both,) = torch.autograd.grad(a * b, x)
    return {"a": through_a, "b": through_b, "both": both}


@checked
def infer(
    params: Params, x: Float[Array, "n in"], *, record: bool
) -> tuple[Float[Array, "n out"], bool]:
    """y = x W^T + b, and whether y is tracked.

    Under `no_grad` (here: `set_grad_enabled(False)`) nothing is recorded and nothing saved.

    Source: D-infer, A/C/D-nograd.
    """
    params = {name: p.detach().requires_grad_() for name, p in params.items()}
    with torch.set_grad_enabled(record):
        # forward
        y = x @ params["weight"].T + params["bias"]
    return y.detach(), y.requires_grad


@checked
def backward_untracked(x: Float[Array, ""]) -> Float[Array, ""]:
    """The backward pass of y = x**2 + 3 x + 1 where x is not tracked.

    Not tracked is what every new tensor is.

    Raises:
        RuntimeError: from PyTorch; y has no `grad_fn` to start from.

    Source: A-untracked.
    """
    x = x.detach()
    # forward
    y = x**2 + 3 * x + 1
    # backward
    y.backward()
    return x.grad


@checked
def update_inside_graph(
    x: Float[Array, ""], *, learning_rate: float
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """x <- x - rate dy/dx in place, while y = x**2 + 3 x + 1 is recorded; then dy/dx once more.

    Raises:
        RuntimeError: from PyTorch; a tracked leaf may not change in place.

    Source: A/C/D-nograd.
    """
    x = x.detach().clone().requires_grad_()
    # forward
    y = x**2 + 3 * x + 1
    # backward
    (d_x,) = torch.autograd.grad(y, x, retain_graph=True)
    # update
    x -= learning_rate * d_x
    # backward
    (d_x,) = torch.autograd.grad(y, x)
    return x.detach(), d_x


@checked
def update_outside_graph(
    x: Float[Array, ""], *, learning_rate: float
) -> tuple[Float[Array, ""], bool]:
    """x <- x - rate dy/dx for y = x**2 + 3 x + 1, and whether the update was recorded.

    x stays a leaf. A backward pass through the old y would now raise: PyTorch counts the changes
    of a saved tensor (only `x.data -= ...` escapes the count, and gets a wrong gradient).

    Source: A/C/D-nograd.
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

    Source: E-leaf.
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

    Source: E-graph.
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


@checked
def total_differential(
    x: Float[Array, ""],
    w: Float[Array, ""],
    b: Float[Array, ""],
    dw: Float[Array, ""],
    db: Float[Array, ""],
) -> Float[Array, ""]:
    """dy = dy/dw dw + dy/db db for y = w x + b, in forward mode.

    Source: E-graph.
    """
    return torch.func.jvp(lambda w, b: w * x + b, (w, b), (dw, db))[1]
