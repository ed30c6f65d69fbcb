"""The documents' graphs: the value of every node and every derivative.

JAX: there are no nodes to ask, only functions to differentiate. `jax.vjp` computes a node and gives
a pullback, from the cotangent of the node to those of what it was made of; applied in reverse they
are the chain rule.

values holds every node but the inputs, by the documents' names; grads the derivative of the output
by every input and every intermediate. Each input is where to evaluate.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jax_impl import checked

ValuesAndGrads = tuple[dict[str, Array], dict[str, Array]]


@checked
def quadratic(x: Float[Array, ""]) -> ValuesAndGrads:
    """y = x**2 + 3 x + 1, so dy/dx = 2 x + 3.

    Source: document A, sections 7.1 to 7.3.
    """
    # forward
    y, pull_y = jax.vjp(lambda x: x**2 + 3 * x + 1, x)
    # backward
    (d_x,) = pull_y(jnp.ones_like(y))
    return {"y": y}, {"x": d_x}


@checked
def product(x: Float[Array, ""]) -> ValuesAndGrads:
    """a = x + 2, b = x + 3, y = a b, so dy/dx = b + a: one term for each path.

    Source: document A, section 7.4.
    """
    # forward
    a, pull_a = jax.vjp(lambda x: x + 2, x)
    b, pull_b = jax.vjp(lambda x: x + 3, x)
    y, pull_y = jax.vjp(lambda a, b: a * b, a, b)
    # backward
    d_y = jnp.ones_like(y)
    d_a, d_b = pull_y(d_y)
    (through_a,), (through_b,) = pull_a(d_a), pull_b(d_b)
    d_x = through_a + through_b
    return {"a": a, "b": b, "y": y}, {"a": d_a, "b": d_b, "x": d_x}


@checked
def cube(x: Float[Array, ""]) -> ValuesAndGrads:
    """y = x**3, so dy/dx = 3 x**2.

    Source: document A, section 7.4.
    """
    # forward
    y, pull_y = jax.vjp(lambda x: x**3, x)
    # backward
    (d_x,) = pull_y(jnp.ones_like(y))
    return {"y": y}, {"x": d_x}


@checked
def chain(x: Float[Array, ""]) -> ValuesAndGrads:
    """a = 2 x, b = a + 3, y = b**2, so dy/dx = dy/db db/da da/dx = 2 b * 1 * 2.

    Source: document A, section 7.5.
    """
    # forward
    a, pull_a = jax.vjp(lambda x: 2 * x, x)
    b, pull_b = jax.vjp(lambda a: a + 3, a)
    y, pull_y = jax.vjp(lambda b: b**2, b)
    # backward
    d_y = jnp.ones_like(y)
    (d_b,) = pull_y(d_y)
    (d_a,) = pull_b(d_b)
    (d_x,) = pull_a(d_a)
    return {"a": a, "b": b, "y": y}, {"b": d_b, "a": d_a, "x": d_x}


@checked
def perfect_square(x: Float[Array, ""]) -> ValuesAndGrads:
    """y = x**2 + 2 x + 1, so dy/dx = 2 x + 2.

    Source: document D.
    """
    # forward
    y, pull_y = jax.vjp(lambda x: x**2 + 2 * x + 1, x)
    # backward
    (d_x,) = pull_y(jnp.ones_like(y))
    return {"y": y}, {"x": d_x}


@checked
def affine(x: Float[Array, ""], w: Float[Array, ""], b: Float[Array, ""]) -> ValuesAndGrads:
    """y = w x + b, so dy/dx = w, dy/dw = x and dy/db = 1.

    Source: document A, section 7.3; document E.
    """
    # forward
    y, pull_y = jax.vjp(lambda x, w, b: w * x + b, x, w, b)
    # backward
    d_x, d_w, d_b = pull_y(jnp.ones_like(y))
    return {"y": y}, {"x": d_x, "w": d_w, "b": d_b}


@checked
def shared(a: Float[Array, ""], b: Float[Array, ""]) -> ValuesAndGrads:
    """c = a b, d = c + a, so dd/da = b + 1: a is used twice and collects both paths.

    Source: document D.
    """
    # forward
    c, pull_c = jax.vjp(lambda a, b: a * b, a, b)
    d, pull_d = jax.vjp(lambda c, a: c + a, c, a)
    # backward
    d_d = jnp.ones_like(d)
    d_c, direct = pull_d(d_d)
    through_c, d_b = pull_c(d_c)
    d_a = through_c + direct
    return {"c": c, "d": d}, {"c": d_c, "a": d_a, "b": d_b}


@checked
def product_edges(x: Float[Array, ""]) -> dict[str, Array]:
    """The local derivative on each edge of a = x + 2, b = x + 3, y = a b.

    Source: document A, section 7.4.
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

    Source: document A, section 7.5.
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
