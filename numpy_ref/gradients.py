"""The documents' graphs: the value of every node and every derivative.

NumPy: there is no engine. The forward pass computes the nodes in order; the backward pass is the
chain rule on paper, from dy/dy = 1 back to the inputs, one line for each forward line. d_a is short
for dy/da: the sum, over the nodes that use a, of their own d times their slope by a.

values holds every node but the inputs, by the documents' names; grads the derivative of the output
by every input and every intermediate. Each input is where to evaluate.
"""

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from numpy_ref import checked

ValuesAndGrads = tuple[dict[str, Array], dict[str, Array]]


@checked
def quadratic(x: Float[Array, ""]) -> ValuesAndGrads:
    """y = x**2 + 3 x + 1, so dy/dx = 2 x + 3.

    Source: document A, sections 7.1 to 7.3.
    """
    # forward
    y = x**2 + 3 * x + 1
    # backward
    d_y = np.ones_like(y)
    d_x = d_y * (2 * x + 3)
    return {"y": y}, {"x": d_x}


@checked
def product(x: Float[Array, ""]) -> ValuesAndGrads:
    """a = x + 2, b = x + 3, y = a b, so dy/dx = b + a: one term for each path.

    Source: document A, section 7.4.
    """
    # forward
    a = x + 2
    b = x + 3
    y = a * b
    # backward
    d_y = np.ones_like(y)
    d_a = d_y * b
    d_b = d_y * a
    d_x = d_a + d_b
    return {"a": a, "b": b, "y": y}, {"a": d_a, "b": d_b, "x": d_x}


@checked
def cube(x: Float[Array, ""]) -> ValuesAndGrads:
    """y = x**3, so dy/dx = 3 x**2.

    Source: document A, section 7.4.
    """
    # forward
    y = x**3
    # backward
    d_y = np.ones_like(y)
    d_x = d_y * (3 * x**2)
    return {"y": y}, {"x": d_x}


@checked
def chain(x: Float[Array, ""]) -> ValuesAndGrads:
    """a = 2 x, b = a + 3, y = b**2, so dy/dx = dy/db db/da da/dx = 2 b * 1 * 2.

    Source: document A, section 7.5.
    """
    # forward
    a = 2 * x
    b = a + 3
    y = np.square(b)  # b**2 of a NumPy scalar is C's pow, whose last bit may differ from b b
    # backward
    d_y = np.ones_like(y)
    d_b = d_y * (2 * b)
    d_a = d_b
    d_x = d_a * 2
    return {"a": a, "b": b, "y": y}, {"b": d_b, "a": d_a, "x": d_x}


@checked
def perfect_square(x: Float[Array, ""]) -> ValuesAndGrads:
    """y = x**2 + 2 x + 1, so dy/dx = 2 x + 2.

    Source: document D.
    """
    # forward
    y = x**2 + 2 * x + 1
    # backward
    d_y = np.ones_like(y)
    d_x = d_y * (2 * x + 2)
    return {"y": y}, {"x": d_x}


@checked
def affine(x: Float[Array, ""], w: Float[Array, ""], b: Float[Array, ""]) -> ValuesAndGrads:
    """y = w x + b, so dy/dx = w, dy/dw = x and dy/db = 1.

    Source: document A, section 7.3; document E.
    """
    # forward
    y = w * x + b
    # backward
    d_y = np.ones_like(y)
    d_b = d_y
    d_w = d_y * x
    d_x = d_y * w
    return {"y": y}, {"x": d_x, "w": d_w, "b": d_b}


@checked
def shared(a: Float[Array, ""], b: Float[Array, ""]) -> ValuesAndGrads:
    """c = a b, d = c + a, so dd/da = b + 1: a is used twice and collects both paths.

    Source: document D.
    """
    # forward
    c = a * b
    d = c + a
    # backward
    d_d = np.ones_like(d)
    d_c = d_d
    d_a = d_d + d_c * b
    d_b = d_c * a
    return {"c": c, "d": d}, {"c": d_c, "a": d_a, "b": d_b}


@checked
def product_edges(x: Float[Array, ""]) -> dict[str, Array]:
    """The local derivative on each edge of a = x + 2, b = x + 3, y = a b.

    Source: document A, section 7.4.
    """
    a = x + 2
    b = x + 3
    one = np.ones_like(x)
    return {"da/dx": one, "db/dx": one, "dy/da": b, "dy/db": a}


@checked
def chain_edges(x: Float[Array, ""]) -> dict[str, Array]:
    """The local derivative on each edge of a = 2 x, b = a + 3, y = b**2.

    Source: document A, section 7.5.
    """
    a = 2 * x
    b = a + 3
    one = np.ones_like(x)
    return {"da/dx": 2 * one, "db/da": one, "dy/db": 2 * b}


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
