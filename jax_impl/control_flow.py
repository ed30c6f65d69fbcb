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


def _quadratic(x: Array) -> Array:
    return x**2 + 3 * x + 1


def _branch(x: Array) -> Array:
    if x > 0:
        return x**2
    return -x


def _branch_cond(x: Array) -> Array:
    return jax.lax.cond(x > 0, lambda x: x**2, lambda x: -x, x)


def _power(x: Array, n: int) -> Array:
    y = jnp.ones_like(x)
    for _ in range(n):
        y = y * x
    return y


def _power_fori(x: Array, n: Array | int) -> Array:
    return jax.lax.fori_loop(0, n, lambda _, y: y * x, jnp.ones_like(x))


def _power_recursive(x: Array, n: int) -> Array:
    return _power_recursive(x, n - 1) * x if n > 0 else jnp.ones_like(x)


# made once, at the top level: jit keeps what it has compiled with the function that it was given
_traced_branch = jax.jit(jax.value_and_grad(_branch))
_compiled_branch = jax.jit(jax.value_and_grad(_branch_cond))
_unrolled_power = jax.jit(jax.value_and_grad(_power_fori), static_argnums=1)
_compiled_recursion = jax.jit(jax.value_and_grad(_power_recursive), static_argnums=1)


@jax.jit
def _compiled_power(x: Array, n: Array) -> tuple[Array, Array]:
    return jax.jvp(partial(_power_fori, n=n), (x,), (jnp.ones_like(x),))


@checked
def define_by_run(x: Float[Array, ""]) -> Array:
    """dy/dx of y = x**2 + 3 x + 1, with every line run as Python reaches it.

    `grad` calls the function; each operation computes its value at once, on a tracer that knows it.

    Source: document A, section 7.1.
    """
    # forward, backward
    return jax.grad(_quadratic)(x)


@checked
def define_then_run(x: Float[Array, ""]) -> tuple[str, Array]:
    """dy/dx of y = x**2 + 3 x + 1, with the program built first, without a value, and then run.

    `trace` sees a shape and a dtype; the program that it writes down, a jaxpr, is lowered and
    compiled ahead of time for the device of x.

    Returns:
        The program as text, and what it gives at x.

    Source: document A, section 7.1, the first of its three programs.
    """
    # the program
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
    program = jax.jit(jax.grad(_quadratic)).trace(shape)
    # the run
    return str(program.jaxpr), program.lower().compile()(x)


@checked
def branch(x: Float[Array, ""]) -> tuple[Array, Array]:
    """y = x**2 if x > 0 else -x, with Python's own `if`; and dy/dx on the branch that was taken.

    Under `grad` alone the tracer knows its value, and the `if` can ask for it.

    Source: document A, section 7.1, control flow.
    """
    return jax.value_and_grad(_branch)(x)


@checked
def branch_traced(x: Float[Array, ""]) -> tuple[Array, Array]:
    """The same `if`, compiled as it stands.

    Raises:
        jax.errors.TracerBoolConversionError: a TypeError; a tracer has no value to decide by.

    Source: document A, section 7.1, control flow.
    """
    return _traced_branch(x)


@checked
def branch_compiled(x: Float[Array, ""]) -> tuple[Array, Array]:
    """The same choice without a Python `if`: as a part of the program.

    `lax.cond` keeps both arms in one program and runs one of them. Compiled once for every x.

    Source: document A, section 7.1, control flow.
    """
    return _compiled_branch(x)


@checked
def loop(x: Float[Array, ""], n: Int[Array, ""]) -> tuple[Array, Array]:
    """y = x**n by n multiplications in a Python `for`; and dy/dx = n x**(n-1).

    The recorded program has n multiplications: as many as were run.

    Source: document A, section 7.1, control flow.
    """
    return jax.value_and_grad(_power)(x, int(n))


@checked
def loop_compiled(x: Float[Array, ""], n: Int[Array, ""]) -> tuple[Array, Array]:
    """y = x**n, the whole loop as one captured program.

    n is an input of the program: a `while`, compiled once for every n. Nothing says before the run
    how much a backward pass would have to save, so reverse mode refuses such a loop; the derivative
    is taken in forward mode, along with the value.

    Source: document A, section 7.1, control flow.
    """
    return _compiled_power(x, n)


@checked
def loop_unrolled(x: Float[Array, ""], *, n: Natural) -> tuple[Array, Array]:
    """The same loop with its length known to the compiler: static, a program for each n.

    The same `fori_loop` becomes a `scan` of that length, which reverse mode can run backward.

    Source: document A, section 7.1, control flow.
    """
    return _unrolled_power(x, n)


@checked
def recursion(x: Float[Array, ""], *, n: Natural) -> tuple[Array, Array]:
    """y = x**n by a Python function that calls itself, x**n = x x**(n-1); and dy/dx.

    Source: document A, section 7.1, control flow.
    """
    return jax.value_and_grad(_power_recursive)(x, n)


@checked
def recursion_compiled(x: Float[Array, ""], *, n: Natural) -> tuple[Array, Array]:
    """The same recursion as one captured program.

    It runs while `jit` traces, for this n, which is static: the program is n multiplications.

    Source: document A, section 7.1, control flow.
    """
    return _compiled_recursion(x, n)


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
