"""What is recorded for a backward pass, when, and how to look at it.

JAX: nothing is recorded unless a transformation (`grad`, `vjp`, `make_jaxpr`) asks for it; it
calls the function with Tracers in the arrays' place and writes down a program, the jaxpr.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jax_impl import Positive, checked

Params = Annotated[dict[str, Array], {"weight": "out in", "bias": " out"}]


def _affine(x: Array, w: Array, b: Array) -> Array:
    return w * x + b


def _quadratic(x: Array) -> Array:
    return x**2 + 3 * x + 1


@checked
def infer(
    params: Params, x: Float[Array, "n in"], *, record: bool
) -> tuple[Float[Array, "n out"], bool]:
    """y = x W^T + b, and whether y is tracked.

    There is no recording to switch off: a plain call computes, and `vjp` computes and records. The
    record is an object of its own, the pullback; y is an array like any other.

    Source: document D, inference; documents A, C and D, no_grad.
    """

    def predict(weight: Array, bias: Array) -> Array:
        return x @ weight.T + bias

    weight, bias = params["weight"], params["bias"]
    # forward
    if record:
        y, pullback = jax.vjp(predict, weight, bias)
        return y, callable(pullback)
    y = predict(weight, bias)
    return y, False


@checked
def backward_untracked(x: Float[Array, ""]) -> Float[Array, ""]:
    """The backward pass of y = x**2 + 3 x + 1 where x is not tracked.

    A trap: y, computed outside of the function that `grad` sees, is a constant there. Nothing
    raises, and the derivative is 0.

    Source: document A, section 7.3.
    """
    # forward
    y = _quadratic(x)
    # backward
    return jax.grad(lambda x: y)(x)


@checked
def update_inside_graph(
    x: Float[Array, ""], *, learning_rate: Positive
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """x <- x - rate dy/dx in place, while y = x**2 + 3 x + 1 is recorded; then dy/dx once more.

    Raises:
        TypeError: from JAX; an array never changes, inside a transformation or outside.

    Source: documents A, C and D, no_grad.
    """
    # forward
    y, pullback = jax.vjp(_quadratic, x)
    # backward
    (d_x,) = pullback(jnp.ones_like(y))
    # update: here it raises
    x[...] = x - learning_rate * d_x
    return x, d_x


@checked
def update_outside_graph(
    x: Float[Array, ""], *, learning_rate: Positive
) -> tuple[Float[Array, ""], bool]:
    """x <- x - rate dy/dx for y = x**2 + 3 x + 1, and whether the update was recorded.

    The name x gets a new array. What the pullback of the old y keeps cannot change.

    Source: documents A, C and D, no_grad.
    """
    # forward, backward
    d_x = jax.grad(_quadratic)(x)
    # update
    x = x - learning_rate * d_x
    return x, isinstance(x, jax.core.Tracer)


@checked
def leaves(x: Float[Array, ""], w: Float[Array, ""], b: Float[Array, ""]) -> dict[str, bool]:
    """Which of x, w, b and y = w x + b are leaves: made by no recorded operation.

    An array knows no history; the variables of the traced program do. (A leaf of a pytree, JAX's
    usual sense of the word, is any entry of a container.)

    Source: document E, leaves.
    """
    program = jax.make_jaxpr(_affine)(x, w, b).jaxpr
    made = {variable for equation in program.eqns for variable in equation.outvars}
    variables = zip(("x", "w", "b", "y"), (*program.invars, *program.outvars), strict=True)
    return {name: variable not in made for name, variable in variables}


@checked
def recorded(
    x: Float[Array, ""], w: Float[Array, ""], b: Float[Array, ""]
) -> tuple[list[str], dict[str, Float[Array, ""]], str]:
    """The operations of y = w x + b from y back, x a constant; dy/dw and dy/db; how y prints.

    Read off the traced program, a jaxpr; x, from the enclosing scope, is a constant of it. The
    Tracer prints its value and the type of its derivative, and names no operation.

    Source: document E, the recorded graph.
    """

    texts = []

    def graph(w: Array, b: Array) -> Array:
        y = w * x + b
        texts.append(str(y))  # a side effect, at each tracing: what is left is of `grad`
        return y

    program = jax.make_jaxpr(graph)(w, b)
    operations = [equation.primitive.name for equation in reversed(program.eqns)]
    # forward, backward
    d_w, d_b = jax.grad(graph, argnums=(0, 1))(w, b)
    return operations, {"w": d_w, "b": d_b}, texts[-1]


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
