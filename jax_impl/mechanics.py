"""How automatic differentiation behaves: accumulation, cotangents, reuse, stopping, the record.

JAX: a gradient is a value that a function returns. Nothing is recorded, accumulated or freed
unless a transformation (`grad`, `vjp`, `jvp`) is asked, and it traces the function with Tracers
in the arrays' place.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jax_impl import checked

Params = Annotated[dict[str, Array], {"weight": "out in", "bias": " out"}]


def _affine(x: Array, w: Array, b: Array) -> Array:
    return w * x + b


def _quadratic(x: Array) -> Array:
    return x**2 + 3 * x + 1


@checked
def accumulate(
    x: Float[Array, ""], w: Float[Array, ""], b: Float[Array, ""], *, times: int, reset: bool
) -> dict[str, Float[Array, " times"]]:
    """The gradients of y = w x + b, read after each of several backward passes.

    `grad` returns a fresh gradient; what adds up is a sum of one's own, and a reset starts it anew.

    Source: A-accumulate, A-reset, D-accumulate.
    """
    total = None
    readings = []
    for _ in range(times):
        # forward, backward
        d_x, d_w, d_b = jax.grad(_affine, argnums=(0, 1, 2))(x, w, b)
        grads = {"x": d_x, "w": d_w, "b": d_b}
        total = grads if total is None else jax.tree.map(jnp.add, total, grads)
        readings.append(total)
        # reset
        if reset:
            total = None
    return jax.tree.map(lambda *reading: jnp.stack(reading), *readings)


@checked
def reset_gradients(
    x: Float[Array, ""], w: Float[Array, ""], b: Float[Array, ""], *, set_to_none: bool
) -> tuple[dict[str, Array | None], dict[str, Float[Array, ""]]]:
    """What a reset leaves of the gradients of y = w x + b, and the gradients after one more pass.

    No state holds a gradient, so there is none to reset: one's own sum starts at zero or at none.

    Source: A-reset.
    """
    # forward, backward
    d_x, d_w, d_b = jax.grad(_affine, argnums=(0, 1, 2))(x, w, b)
    # reset
    total = {"x": d_x, "w": d_w, "b": d_b}
    left = {name: None if set_to_none else jnp.zeros_like(total[name]) for name in total}
    # forward, backward
    d_x, d_w, d_b = jax.grad(_affine, argnums=(0, 1, 2))(x, w, b)
    grads = {"x": d_x, "w": d_w, "b": d_b}
    return left, {name: g if left[name] is None else left[name] + g for name, g in grads.items()}


@checked
def vector_jacobian_product(
    x: Float[Array, " n"], cotangent: Float[Array, " n"]
) -> Float[Array, " n"]:
    """v^T J of y = x sum(x), where J = sum(x) I + x 1^T: one pass, and J is never built.

    Args:
        cotangent: v, one weight for each output; [1, 0, 0] picks the first row of J.

    Source: A-vjp.
    """
    # forward
    _, pullback = jax.vjp(lambda x: x * x.sum(), x)
    # backward
    (d_x,) = pullback(cotangent)
    return d_x


@checked
def backward_without_cotangent(x: Float[Array, " n"]) -> Float[Array, " n"]:
    """The backward pass of the vector y = x sum(x), given no cotangent.

    Raises:
        TypeError: from JAX; `grad` is for scalars, and a vector of one element is none.

    Source: A-vjp.
    """
    # forward, backward
    return jax.grad(lambda x: x * x.sum())(x)


@checked
def backward_twice(x: Float[Array, ""], *, retain_graph: bool) -> Float[Array, ""]:
    """The sum of two backward passes through one forward pass of y = x**2 + 3 x + 1.

    The pullback owns what it needs and may be called any number of times: `retain_graph` has
    nothing to decide.

    Source: A-retain.
    """
    # forward
    y, pullback = jax.vjp(_quadratic, x)
    # backward
    (first,) = pullback(jnp.ones_like(y))
    (second,) = pullback(jnp.ones_like(y))
    return first + second


@checked
def backward_twice_additions(x: Float[Array, ""]) -> Float[Array, ""]:
    """The sum of two backward passes through y = x + x + 1, whose derivative 2 needs no x.

    A pullback of additions alone keeps nothing; to its caller it is like any other.

    Source: A-retain.
    """
    # forward
    y, pullback = jax.vjp(lambda x: x + x + 1, x)
    # backward
    (first,) = pullback(jnp.ones_like(y))
    (second,) = pullback(jnp.ones_like(y))
    return first + second


@checked
def stop_gradient(x: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Y = x c + 3 x + 1 with c = x held constant: the value of the quadratic, but dy/dx = c + 3.

    `lax.stop_gradient` passes the value on and a derivative of 0 back.

    Source: A-untracked.
    """

    def graph(x: Array) -> Array:
        return x * jax.lax.stop_gradient(x) + 3 * x + 1

    # forward, backward
    return jax.value_and_grad(graph)(x)


@checked
def paths(x: Float[Array, ""]) -> dict[str, Float[Array, ""]]:
    """What reaches x from y = a b through a = x + 2 alone, through b = x + 3 alone, and by both.

    Source: A 7.4, A-product.
    """
    stop = jax.lax.stop_gradient
    # forward, backward
    through_a = jax.grad(lambda x: (x + 2) * stop(x + 3))(x)
    through_b = jax.grad(lambda x: stop(x + 2) * (x + 3))(x)
    both = jax.grad(lambda x: (x + 2) * (x + 3))(x)
    return {"a": through_a, "b": through_b, "both": both}


@checked
def infer(
    params: Params, x: Float[Array, "n in"], *, record: bool
) -> tuple[Float[Array, "n out"], bool]:
    """y = x W^T + b, and whether y is tracked.

    There is no recording to switch off: a plain call computes. Inside `vjp` the same lines meet a
    Tracer, told here by the function itself.

    Source: D-infer, A/C/D-nograd.
    """

    def predict(params: Params) -> tuple[Array, bool]:
        y = x @ params["weight"].T + params["bias"]
        return y, isinstance(y, jax.core.Tracer)

    # forward
    if record:
        y, _, tracked = jax.vjp(predict, params, has_aux=True)
    else:
        y, tracked = predict(params)
    return y, tracked


@checked
def backward_untracked(x: Float[Array, ""]) -> Float[Array, ""]:
    """The backward pass of y = x**2 + 3 x + 1 where x is not tracked.

    A trap: y, computed outside of the function that `grad` sees, is a constant there. Nothing
    raises, and the derivative is 0.

    Source: A-untracked.
    """
    # forward
    y = _quadratic(x)
    # backward
    return jax.grad(lambda x: y)(x)


@checked
def update_inside_graph(
    x: Float[Array, ""], *, learning_rate: float
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """x <- x - rate dy/dx in place, while y = x**2 + 3 x + 1 is recorded; then dy/dx once more.

    Raises:
        TypeError: from JAX; an array never changes, inside a transformation or outside.

    Source: A/C/D-nograd.
    """
    # forward
    y, pullback = jax.vjp(_quadratic, x)
    # backward
    (d_x,) = pullback(jnp.ones_like(y))
    # update
    x[...] = x - learning_rate * d_x
    # backward
    (d_x,) = pullback(jnp.ones_like(y))
    return x, d_x


@checked
def update_outside_graph(
    x: Float[Array, ""], *, learning_rate: float
) -> tuple[Float[Array, ""], bool]:
    """x <- x - rate dy/dx for y = x**2 + 3 x + 1, and whether the update was recorded.

    The name x gets a new array. What the pullback of the old y keeps cannot change.

    Source: A/C/D-nograd.
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

    Source: E-leaf.
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

    Source: E-graph.
    """

    def graph(w: Array, b: Array) -> tuple[Array, str]:
        y = w * x + b
        return y, str(y)

    program = jax.make_jaxpr(lambda w, b: graph(w, b)[0])(w, b)
    operations = [equation.primitive.name for equation in reversed(program.eqns)]
    # forward, backward
    (d_w, d_b), text = jax.grad(graph, argnums=(0, 1), has_aux=True)(w, b)
    return operations, {"w": d_w, "b": d_b}, text


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
    _, dy = jax.jvp(lambda w, b: w * x + b, (w, b), (dw, db))
    return dy
