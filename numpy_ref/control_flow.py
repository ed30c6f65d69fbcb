"""Define-by-run and define-then-run, and what compiling makes of `if`, `for` and recursion.

NumPy: there is no compiler. Every line runs when Python reaches it, `if`, `for` and recursion are
Python's own, and the compiled forms raise a RuntimeError that says so.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray as Array

from numpy_ref import Natural, checked

NO_COMPILER = "NumPy has no compiler: only the form as written runs in this column"


@checked
def define_by_run(x: Float[Array, ""]) -> Array:
    """dy/dx of y = x**2 + 3 x + 1, with every line run as Python reaches it.

    Args:
        x: where to evaluate.

    Source: A 7.1.
    """
    # forward
    y = x**2 + 3 * x + 1
    # backward
    d_y = np.ones_like(y)
    return d_y * (2 * x + 3)


@checked
def define_then_run(x: Float[Array, ""]) -> tuple[str, Array]:
    """dy/dx of y = x**2 + 3 x + 1, with the program built first, without a value, and then run.

    Args:
        x: where to run it.

    Returns:
        The program as text, and what it gives at x.

    Source: A 7.1, the first of its three programs.
    """
    # the program: a result, an operation and its operands in each line, and no value anywhere
    program: list[tuple[str, np.ufunc, tuple[Any, Any]]] = [
        ("double", np.multiply, (2, "x")),
        ("d_x", np.add, ("double", 3)),
    ]
    # the run
    values = {"x": x}
    for result, operation, operands in program:
        values[result] = operation(*[values.get(operand, operand) for operand in operands])
    return str(program), values["d_x"]


@checked
def branch(x: Float[Array, ""]) -> tuple[Array, Array]:
    """y = x**2 if x > 0 else -x, with Python's own `if`.

    Args:
        x: where to evaluate; its sign chooses the branch.

    Returns:
        y, and dy/dx on the branch that was taken.

    Source: A 7.1, control flow.
    """
    if x > 0:
        return x**2, 2 * x
    return -x, -np.ones_like(x)


@checked
def branch_traced(x: Float[Array, ""]) -> tuple[Array, Array]:
    """The same `if`, compiled as it stands.

    Raises:
        RuntimeError: NumPy has no compiler.

    Args:
        x: where to evaluate.

    Source: A 7.1, control flow.
    """
    raise RuntimeError(NO_COMPILER)


@checked
def branch_compiled(x: Float[Array, ""]) -> tuple[Array, Array]:
    """The same choice as part of the compiled program.

    Args:
        x: where to evaluate; its sign chooses the branch.

    Returns:
        y, and dy/dx on the branch that was taken.

    Source: A 7.1, control flow.
    """
    raise RuntimeError(NO_COMPILER)


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
    y, d_x = np.ones_like(x), np.zeros_like(x)
    for _ in range(int(n)):
        y, d_x = y * x, d_x * x + y
    return y, d_x


@checked
def loop_compiled(x: Float[Array, ""], n: Int[Array, ""]) -> tuple[Array, Array]:
    """y = x**n, the whole loop as one captured program.

    Args:
        x: the base.
        n: the exponent, at least 0.

    Returns:
        y, and dy/dx = n x**(n-1).

    Source: A 7.1, control flow.
    """
    raise RuntimeError(NO_COMPILER)


@checked
def recursion(x: Float[Array, ""], *, n: Natural) -> tuple[Array, Array]:
    """y = x**n by a Python function that calls itself: x**n = x x**(n-1).

    Args:
        x: the base.
        n: the exponent, at least 0.

    Returns:
        y, and dy/dx = n x**(n-1).

    Source: A 7.1, control flow.
    """
    if n == 0:
        return np.ones_like(x), np.zeros_like(x)
    y, d_x = recursion(x, n=n - 1)
    return y * x, d_x * x + y


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
