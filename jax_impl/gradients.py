"""The documents' graphs: the value of every node and every derivative.

JAX: there are no nodes to ask, only functions to differentiate. The derivative by an input is
the gradient of the whole program; the derivative by an intermediate is the gradient of the rest
of the program, written as a function of it.
"""

import jax
from jax import Array
from jaxtyping import Float

from jax_impl import checked

Graph = tuple[dict[str, Array], dict[str, Array]]


@checked
def quadratic(x: Float[Array, ""]) -> Graph:
    """y = x**2 + 3 x + 1, so dy/dx = 2 x + 3.

    Args:
        x: where to evaluate.

    Returns:
        The values of y, and the derivative of y by x.

    Source: A 7.1 to 7.3.
    """

    def graph(x: Array) -> Array:
        return x**2 + 3 * x + 1

    # forward, backward
    y, d_x = jax.value_and_grad(graph)(x)
    return {"y": y}, {"x": d_x}


@checked
def product(x: Float[Array, ""]) -> Graph:
    """a = x + 2, b = x + 3, y = a b, so dy/dx = b + a: one term for each path.

    Args:
        x: where to evaluate.

    Returns:
        The values of a, b and y, and the derivatives of y by a, b and x.

    Source: A 7.4.
    """

    def output(a: Array, b: Array) -> Array:
        return a * b

    # forward
    a = x + 2
    b = x + 3
    y = output(a, b)
    # backward
    d_a, d_b = jax.grad(output, argnums=(0, 1))(a, b)
    d_x = jax.grad(lambda x: output(x + 2, x + 3))(x)
    return {"a": a, "b": b, "y": y}, {"a": d_a, "b": d_b, "x": d_x}


@checked
def cube(x: Float[Array, ""]) -> Graph:
    """y = x**3, so dy/dx = 3 x**2.

    Args:
        x: where to evaluate.

    Returns:
        The value of y, and the derivative of y by x.

    Source: A 7.4.
    """

    def graph(x: Array) -> Array:
        return x**3

    # forward, backward
    y, d_x = jax.value_and_grad(graph)(x)
    return {"y": y}, {"x": d_x}


@checked
def chain(x: Float[Array, ""]) -> Graph:
    """a = 2 x, b = a + 3, y = b**2, so dy/dx = dy/db db/da da/dx = 2 b * 1 * 2.

    Args:
        x: where to evaluate.

    Returns:
        The values of a, b and y, and the derivatives of y by b, a and x.

    Source: A 7.5.
    """

    def output(b: Array) -> Array:
        return b**2

    # forward
    a = 2 * x
    b = a + 3
    y = output(b)
    # backward
    d_b = jax.grad(output)(b)
    d_a = jax.grad(lambda a: output(a + 3))(a)
    d_x = jax.grad(lambda x: output(2 * x + 3))(x)
    return {"a": a, "b": b, "y": y}, {"b": d_b, "a": d_a, "x": d_x}


@checked
def square(x: Float[Array, ""]) -> Graph:
    """y = x**2 + 2 x + 1, so dy/dx = 2 x + 2.

    Args:
        x: where to evaluate.

    Returns:
        The value of y, and the derivative of y by x.

    Source: D.
    """

    def graph(x: Array) -> Array:
        return x**2 + 2 * x + 1

    # forward, backward
    y, d_x = jax.value_and_grad(graph)(x)
    return {"y": y}, {"x": d_x}


@checked
def affine(x: Float[Array, ""], w: Float[Array, ""], b: Float[Array, ""]) -> Graph:
    """y = w x + b, so dy/dx = w, dy/dw = x and dy/db = 1.

    Args:
        x: the input.
        w: the slope.
        b: the intercept.

    Returns:
        The value of y, and the derivatives of y by x, w and b.

    Source: A 7.3, E.
    """

    def graph(x: Array, w: Array, b: Array) -> Array:
        return w * x + b

    # forward, backward
    y, (d_x, d_w, d_b) = jax.value_and_grad(graph, argnums=(0, 1, 2))(x, w, b)
    return {"y": y}, {"x": d_x, "w": d_w, "b": d_b}


@checked
def shared(a: Float[Array, ""], b: Float[Array, ""]) -> Graph:
    """c = a b, d = c + a, so dd/da = b + 1: a is used twice and collects both paths.

    Args:
        a: the input on two paths.
        b: the input on one path.

    Returns:
        The values of c and d, and the derivatives of d by c, a and b.

    Source: D.
    """

    def output(c: Array, a: Array) -> Array:
        return c + a

    # forward
    c = a * b
    d = output(c, a)
    # backward
    d_c = jax.grad(output)(c, a)
    d_a, d_b = jax.grad(lambda a, b: output(a * b, a), argnums=(0, 1))(a, b)
    return {"c": c, "d": d}, {"c": d_c, "a": d_a, "b": d_b}


@checked
def product_edges(x: Float[Array, ""]) -> dict[str, Array]:
    """The local derivative on each edge of a = x + 2, b = x + 3, y = a b.

    Args:
        x: where to evaluate.

    Returns:
        da/dx, db/dx, dy/da and dy/db.

    Source: A 7.4.
    """
    a = x + 2
    b = x + 3
    return {
        "da/dx": jax.grad(lambda x: x + 2)(x),
        "db/dx": jax.grad(lambda x: x + 3)(x),
        "dy/da": jax.grad(lambda a: a * b)(a),
        "dy/db": jax.grad(lambda b: a * b)(b),
    }


@checked
def chain_edges(x: Float[Array, ""]) -> dict[str, Array]:
    """The local derivative on each edge of a = 2 x, b = a + 3, y = b**2.

    Args:
        x: where to evaluate.

    Returns:
        da/dx, db/da and dy/db.

    Source: A 7.5.
    """
    a = 2 * x
    b = a + 3
    return {
        "da/dx": jax.grad(lambda x: 2 * x)(x),
        "db/da": jax.grad(lambda a: a + 3)(a),
        "dy/db": jax.grad(lambda b: b**2)(b),
    }


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
