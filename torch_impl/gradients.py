"""The documents' graphs: the value of every node and every derivative.

PyTorch: running the forward lines records the graph; `backward` walks it once, from y to the
leaves. Only leaves keep their `.grad`; an intermediate node does so when `retain_grad` asks it
to.

values holds every node but the inputs, by the documents' names; grads the derivative of the output
by every input and every intermediate. Each input is where to evaluate.
"""

import torch
from jaxtyping import Float
from torch import Tensor as Array

from torch_impl import checked

ValuesAndGrads = tuple[dict[str, Array], dict[str, Array]]


@checked
def quadratic(x: Float[Array, ""]) -> ValuesAndGrads:
    """y = x**2 + 3 x + 1, so dy/dx = 2 x + 3.

    Source: document A, sections 7.1 to 7.3.
    """
    x = x.detach().requires_grad_()
    # forward
    y = x**2 + 3 * x + 1
    # backward
    y.backward()
    return {"y": y.detach()}, {"x": x.grad}


@checked
def product(x: Float[Array, ""]) -> ValuesAndGrads:
    """a = x + 2, b = x + 3, y = a b, so dy/dx = b + a: one term for each path.

    Source: document A, section 7.4.
    """
    x = x.detach().requires_grad_()
    # forward
    a = x + 2
    b = x + 3
    y = a * b
    # backward
    a.retain_grad()
    b.retain_grad()
    y.backward()
    values = {"a": a.detach(), "b": b.detach(), "y": y.detach()}
    return values, {"a": a.grad, "b": b.grad, "x": x.grad}


@checked
def cube(x: Float[Array, ""]) -> ValuesAndGrads:
    """y = x**3, so dy/dx = 3 x**2.

    Source: document A, section 7.4.
    """
    x = x.detach().requires_grad_()
    # forward
    y = x**3
    # backward
    y.backward()
    return {"y": y.detach()}, {"x": x.grad}


@checked
def chain(x: Float[Array, ""]) -> ValuesAndGrads:
    """a = 2 x, b = a + 3, y = b**2, so dy/dx = dy/db db/da da/dx = 2 b * 1 * 2.

    Source: document A, section 7.5.
    """
    x = x.detach().requires_grad_()
    # forward
    a = 2 * x
    b = a + 3
    y = b**2
    # backward
    a.retain_grad()
    b.retain_grad()
    y.backward()
    values = {"a": a.detach(), "b": b.detach(), "y": y.detach()}
    return values, {"b": b.grad, "a": a.grad, "x": x.grad}


@checked
def perfect_square(x: Float[Array, ""]) -> ValuesAndGrads:
    """y = x**2 + 2 x + 1, so dy/dx = 2 x + 2.

    Source: document D.
    """
    x = x.detach().requires_grad_()
    # forward
    y = x**2 + 2 * x + 1
    # backward
    y.backward()
    return {"y": y.detach()}, {"x": x.grad}


@checked
def affine(x: Float[Array, ""], w: Float[Array, ""], b: Float[Array, ""]) -> ValuesAndGrads:
    """y = w x + b, so dy/dx = w, dy/dw = x and dy/db = 1.

    Source: document A, section 7.3; document E.
    """
    x = x.detach().requires_grad_()
    w = w.detach().requires_grad_()
    b = b.detach().requires_grad_()
    # forward
    y = w * x + b
    # backward
    y.backward()
    return {"y": y.detach()}, {"x": x.grad, "w": w.grad, "b": b.grad}


@checked
def shared(a: Float[Array, ""], b: Float[Array, ""]) -> ValuesAndGrads:
    """c = a b, d = c + a, so dd/da = b + 1: a is used twice and collects both paths.

    Source: document D.
    """
    a = a.detach().requires_grad_()
    b = b.detach().requires_grad_()
    # forward
    c = a * b
    d = c + a
    # backward
    c.retain_grad()
    d.backward()
    return {"c": c.detach(), "d": d.detach()}, {"c": c.grad, "a": a.grad, "b": b.grad}


@checked
def product_edges(x: Float[Array, ""]) -> dict[str, Array]:
    """The local derivative on each edge of a = x + 2, b = x + 3, y = a b.

    Source: document A, section 7.4.
    """
    x = x.detach().requires_grad_()
    a = x + 2
    b = x + 3
    y = a * b
    return {
        "da/dx": _derivative(a, x),
        "db/dx": _derivative(b, x),
        "dy/da": _derivative(y, a),
        "dy/db": _derivative(y, b),
    }


@checked
def chain_edges(x: Float[Array, ""]) -> dict[str, Array]:
    """The local derivative on each edge of a = 2 x, b = a + 3, y = b**2.

    Source: document A, section 7.5.
    """
    x = x.detach().requires_grad_()
    a = 2 * x
    b = a + 3
    y = b**2
    return {
        "da/dx": _derivative(a, x),
        "db/da": _derivative(b, a),
        "dy/db": _derivative(y, b),
    }


def _derivative(output: Array, node: Array) -> Array:
    return torch.autograd.grad(output, node, retain_graph=True)[0]


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
