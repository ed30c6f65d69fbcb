"""How a backward pass behaves: accumulation, cotangents, reuse, stopping, several paths.

JAX: a gradient is a value that a function returns. Nothing accumulates and nothing is freed: a
pullback owns what it needs.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jax_impl import Count, checked


def _affine(inputs: dict[str, Array]) -> Array:
    return inputs["w"] * inputs["x"] + inputs["b"]


def _quadratic(x: Array) -> Array:
    return x**2 + 3 * x + 1


@checked
def accumulate(
    x: Float[Array, ""], w: Float[Array, ""], b: Float[Array, ""], *, times: Count, reset: bool
) -> dict[str, Float[Array, " times"]]:
    """The gradients of y = w x + b, read after each of several backward passes.

    `grad` returns a fresh gradient; what adds up is a sum of one's own, and a reset starts it anew.

    Source: document A, section 7.3; document D, accumulation.
    """
    inputs = {"x": x, "w": w, "b": b}
    total = None
    readings = []
    for _ in range(times):
        # forward, backward
        grads = jax.grad(_affine)(inputs)
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

    Source: document A, section 7.3.
    """
    inputs = {"x": x, "w": w, "b": b}
    # reset
    left = {name: None if set_to_none else jnp.zeros_like(leaf) for name, leaf in inputs.items()}
    # forward, backward
    grads = jax.grad(_affine)(inputs)
    return left, {name: g if left[name] is None else left[name] + g for name, g in grads.items()}


@checked
def vector_jacobian_product(
    x: Float[Array, " n"], cotangent: Float[Array, " n"]
) -> Float[Array, " n"]:
    """v^T J of y = x sum(x), where J = sum(x) I + x 1^T: one pass, and J is never built.

    Args:
        cotangent: v, one weight for each output; [1, 0, 0] picks the first row of J.

    Source: document A, section 7.3, a vector output.
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
        TypeError: from JAX; `grad` is for scalars, and refuses even a vector of one element.

    Source: document A, section 7.3, a vector output.
    """
    # forward, backward
    return jax.grad(lambda x: x * x.sum())(x)


@checked
def backward_twice(x: Float[Array, ""], *, retain_graph: bool) -> Float[Array, ""]:
    """The sum of two backward passes through one forward pass of y = x**2 + 3 x + 1.

    The pullback owns what it needs and may be called any number of times: `retain_graph` has
    nothing to decide.

    Source: document A, section 7.3, a second backward pass.
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

    Source: document A, section 7.3, a second backward pass.
    """
    # forward
    y, pullback = jax.vjp(lambda x: x + x + 1, x)
    # backward
    (first,) = pullback(jnp.ones_like(y))
    (second,) = pullback(jnp.ones_like(y))
    return first + second


@checked
def stop_gradient(x: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """y = x c + 3 x + 1 with c = x held constant: the value of the quadratic, but dy/dx = c + 3.

    `lax.stop_gradient` passes the value on and a derivative of 0 back.

    Source: document A, section 7.3.
    """

    def graph(x: Array) -> Array:
        c = jax.lax.stop_gradient(x)
        return x * c + 3 * x + 1

    # forward, backward
    return jax.value_and_grad(graph)(x)


@checked
def paths(x: Float[Array, ""]) -> dict[str, Float[Array, ""]]:
    """What reaches x from y = a b through a = x + 2 alone, through b = x + 3 alone, and by both.

    Source: document A, section 7.4.
    """
    # forward
    a, pull_a = jax.vjp(lambda x: x + 2, x)
    b, pull_b = jax.vjp(lambda x: x + 3, x)
    y, pull_y = jax.vjp(lambda a, b: a * b, a, b)
    # backward
    d_a, d_b = pull_y(jnp.ones_like(y))
    (through_a,), (through_b,) = pull_a(d_a), pull_b(d_b)
    return {"a": through_a, "b": through_b, "both": through_a + through_b}


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
    _, dy = jax.jvp(lambda w, b: w * x + b, (w, b), (dw, db))
    return dy


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
