"""How a backward pass behaves: accumulation, cotangents, reuse, stopping, several paths.

PyTorch: `backward` walks the record that hangs on the output, adds to the leaves' `.grad`, and
frees what was saved; misuse is a RuntimeError.
"""

import torch
from jaxtyping import Float
from torch import Tensor as Array

from torch_impl import Count, checked


def _affine(inputs: dict[str, Array]) -> Array:
    return inputs["w"] * inputs["x"] + inputs["b"]


@checked
def accumulate(
    x: Float[Array, ""], w: Float[Array, ""], b: Float[Array, ""], *, times: Count, reset: bool
) -> dict[str, Float[Array, " times"]]:
    """The gradients of y = w x + b, read after each of several backward passes.

    `backward` adds to `.grad`, so without a reset it grows: g, 2 g, 3 g. It adds in place:
    whoever keeps a reading copies it.

    Source: document A, section 7.3; document D, accumulation.
    """
    inputs = {"x": x, "w": w, "b": b}
    inputs = {name: leaf.detach().requires_grad_() for name, leaf in inputs.items()}
    readings: dict[str, list[Array]] = {name: [] for name in inputs}
    for _ in range(times):
        # forward
        y = _affine(inputs)
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

    Source: document A, section 7.3.
    """
    inputs = {"x": x, "w": w, "b": b}
    inputs = {name: leaf.detach().requires_grad_() for name, leaf in inputs.items()}
    # forward, backward
    _affine(inputs).backward()
    # reset
    for leaf in inputs.values():
        if set_to_none:
            leaf.grad = None
        else:
            leaf.grad.zero_()
    left = {name: None if set_to_none else leaf.grad.clone() for name, leaf in inputs.items()}
    # forward, backward
    _affine(inputs).backward()
    return left, {name: leaf.grad for name, leaf in inputs.items()}


@checked
def vector_jacobian_product(
    x: Float[Array, " n"], cotangent: Float[Array, " n"]
) -> Float[Array, " n"]:
    """v^T J of y = x sum(x), where J = sum(x) I + x 1^T: one pass, and J is never built.

    Args:
        cotangent: v, one weight for each output; [1, 0, 0] picks the first row of J.

    Source: document A, section 7.3, a vector output.
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

    Source: document A, section 7.3, a vector output.
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

    Source: document A, section 7.3, a second backward pass.
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

    Source: document A, section 7.3, a second backward pass.
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
    """y = x c + 3 x + 1 with c = x held constant: the value of the quadratic, but dy/dx = c + 3.

    c is x without its record: `detach` shares the value and leaves the graph behind.

    Source: document A, section 7.3.
    """
    x = x.detach().requires_grad_()
    c = x.detach()
    # forward
    y = x * c + 3 * x + 1
    # backward
    y.backward()
    return y.detach(), x.grad


@checked
def paths(x: Float[Array, ""]) -> dict[str, Float[Array, ""]]:
    """What reaches x from y = a b through a = x + 2 alone, through b = x + 3 alone, and by both.

    Source: document A, section 7.4.
    """
    x = x.detach().requires_grad_()
    # forward
    a = x + 2
    b = x + 3
    y = a * b
    # backward
    d_a, d_b = torch.autograd.grad(y, (a, b), retain_graph=True)
    (through_a,) = torch.autograd.grad(a, x, d_a)
    (through_b,) = torch.autograd.grad(b, x, d_b)
    (both,) = torch.autograd.grad(y, x)
    return {"a": through_a, "b": through_b, "both": both}


@checked
def total_differential(
    x: Float[Array, ""],
    w: Float[Array, ""],
    b: Float[Array, ""],
    dw: Float[Array, ""],
    db: Float[Array, ""],
) -> Float[Array, ""]:
    """dy = dy/dw dw + dy/db db for y = w x + b, in forward mode.

    Source: document E, the total differential.
    """
    return torch.func.jvp(lambda w, b: w * x + b, (w, b), (dw, db))[1]


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
