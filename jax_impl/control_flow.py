"""Define-by-run and define-then-run, and what compiling makes of `if`, `for` and recursion.

JAX: `jit` runs the function once on tracers that have shapes but no values, and compiles what it
saw. A Python `if` on a value cannot be traced; `lax.cond` and `lax.fori_loop` take its place.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from jax_impl import Natural, checked


@checked
def define_by_run(x: Float[Array, ""]) -> Array:
    """dy/dx of y = x**2 + 3 x + 1, with every line run as Python reaches it.

    Args:
        x: where to evaluate.

    Source: A 7.1.
    """
    # forward, backward
    return jax.grad(_quadratic)(x)


@checked
def define_then_run(x: Float[Array, ""]) -> tuple[str, Array]:
    """dy/dx of y = x**2 + 3 x + 1, with the program built first, without a value, and then run.

    Args:
        x: where to run it.

    Returns:
        The program as text, and what it gives at x.

    Source: A 7.1, the first of its three programs.
    """
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
    program = jax.jit(jax.grad(_quadratic)).trace(shape)
    return str(program.jaxpr), program.lower().compile()(x)


@checked
def branch(x: Float[Array, ""]) -> tuple[Array, Array]:
    """y = x**2 if x > 0 else -x, with Python's own `if`.

    Args:
        x: where to evaluate; its sign chooses the branch.

    Returns:
        y, and dy/dx on the branch that was taken.

    Source: A 7.1, control flow.
    """
    return jax.value_and_grad(_branch)(x)


@checked
def branch_traced(x: Float[Array, ""]) -> tuple[Array, Array]:
    """The same `if`, compiled as it stands.

    Raises:
        jax.errors.TracerBoolConversionError: a TypeError; a tracer has no value to decide by.

    Args:
        x: where to evaluate.

    Source: A 7.1, control flow.
    """
    return jax.jit(jax.value_and_grad(_branch))(x)


@checked
def branch_compiled(x: Float[Array, ""]) -> tuple[Array, Array]:
    """The same choice as part of the compiled program.

    Args:
        x: where to evaluate; its sign chooses the branch.

    Returns:
        y, and dy/dx on the branch that was taken.

    Source: A 7.1, control flow.
    """

    def choose(x: Array) -> Array:
        return jax.lax.cond(x > 0, lambda x: x**2, lambda x: -x, x)

    return jax.jit(jax.value_and_grad(choose))(x)


@checked
def loop(x: Float[Array, ""], n: Int[Array, ""]) -> tuple[Array, Array]:
    """y = x**n by n multiplications in a Python `for`.

    Args:
        x: the base.
        n: the exponent, at least 0; it says how often the loop runs.

    Returns:
        y, and dy/dx = n x**(n-1).

    Source: A 7.1, control flow.
    """

    def power(x: Array) -> Array:
        y = jnp.ones_like(x)
        for _ in range(int(n)):
            y = y * x
        return y

    return jax.value_and_grad(power)(x)


@checked
def loop_compiled(x: Float[Array, ""], n: Int[Array, ""]) -> tuple[Array, Array]:
    """y = x**n, the whole loop as one captured program.

    The number of rounds is an input of the program, the same for every n. A loop of unknown length
    cannot be run backward (nothing says how much to save): the derivative
    is taken in forward mode.

    Args:
        x: the base.
        n: the exponent, at least 0.

    Returns:
        y, and dy/dx = n x**(n-1).

    Source: A 7.1, control flow.
    """

    def power(x: Array) -> tuple[Array, Array]:
        y = jax.lax.fori_loop(0, n, lambda _, y: y * x, jnp.ones_like(x))
        return y, y

    d_x, y = jax.jit(jax.jacfwd(power, has_aux=True))(x)
    return y, d_x


@checked
@partial(jax.jit, static_argnames="n")
def recursion(x: Float[Array, ""], *, n: Natural) -> tuple[Array, Array]:
    """y = x**n by a Python function that calls itself: x**n = x x**(n-1).

    n is static: the recursion runs while tracing, and each n is a program of its own.

    Args:
        x: the base.
        n: the exponent, at least 0.

    Returns:
        y, and dy/dx = n x**(n-1).

    Source: A 7.1, control flow.
    """

    def power(x: Array, n: int) -> Array:
        return power(x, n - 1) * x if n > 0 else jnp.ones_like(x)

    return jax.value_and_grad(power)(x, n)


def _quadratic(x: Array) -> Array:
    return x**2 + 3 * x + 1


def _branch(x: Array) -> Array:
    if x > 0:
        return x**2
    return -x


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
