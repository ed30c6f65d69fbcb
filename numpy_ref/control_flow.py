"""Define-by-run and define-then-run, and what compiling makes of `if`, `for` and recursion.

NumPy: there is no compiler. Every line runs when Python reaches it, and `if`, `for` and recursion
are Python's own; a choice without `if` computes both arms and picks.
"""

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray as Array

from numpy_ref import Natural, checked
from numpy_ref.recording import Var


def _quadratic(x: Var) -> Var:
    return x**2 + 3 * x + 1


def _branch(x: Var) -> Var:
    if x > 0:
        return x**2
    return -x


@checked
def define_by_run(x: Float[Array, ""]) -> Array:
    """dy/dx of y = x**2 + 3 x + 1, with every line run as Python reaches it.

    Each operation computes its value at once, and is recorded while it does.

    Source: document A, section 7.1.
    """
    v = Var(x, tracked=True)
    # forward
    y = _quadratic(v)
    # backward
    y.backward()
    return v.grad


@checked
def define_then_run(x: Float[Array, ""]) -> tuple[str, Array]:
    """dy/dx of y = x**2 + 3 x + 1, with the program built first, without a value, and then run.

    The record of a run at NaN serves as the program: no number of it can come from x. It is run
    forward at x, then backward.

    Returns:
        The program as text, and what it gives at x.

    Source: document A, section 7.1, the first of its three programs.
    """
    # the program
    v = Var(np.full_like(x, np.nan), tracked=True)
    y = _quadratic(v)
    program = y.history()
    names = {var: f"v{i}" for i, var in enumerate(program)}
    lines = [
        f"{names[var]} = {var.operation}({', '.join(names.get(p, str(p)) for p in var.parents)})"
        for var in program[1:]
    ]
    # the run
    v.value = x
    for var in program[1:]:
        var.forward()
    y.backward()
    return "\n".join(lines), v.grad


@checked
def branch(x: Float[Array, ""]) -> tuple[Array, Array]:
    """y = x**2 if x > 0 else -x, with Python's own `if`; and dy/dx on the branch that was taken.

    The arm that was not taken is not in the record.

    Source: document A, section 7.1, control flow.
    """
    v = Var(x, tracked=True)
    y = _branch(v)
    y.backward()
    return y.value, v.grad


@checked
def branch_compiled(x: Float[Array, ""]) -> tuple[Array, Array]:
    """The same choice without a Python `if`: as a part of the program.

    Both arms are computed and `np.where` picks, which is what a compiled select does. An arm that
    is not picked is computed all the same: where it overflows, NumPy warns.

    Source: document A, section 7.1, control flow.
    """
    # forward
    y = np.where(x > 0, x**2, -x)
    # backward
    d_x = np.where(x > 0, 2 * x, -np.ones_like(x))
    return y, d_x


@checked
def loop(x: Float[Array, ""], n: Int[Array, ""]) -> tuple[Array, Array]:
    """y = x**n by n multiplications in a Python `for`; and dy/dx = n x**(n-1).

    Value and derivative go forward together: (y x)' = y' x + y.

    Source: document A, section 7.1, control flow.
    """
    y, d_x = np.ones_like(x), np.zeros_like(x)
    for _ in range(int(n)):
        y, d_x = y * x, d_x * x + y
    return y, d_x


@checked
def recursion(x: Float[Array, ""], *, n: Natural) -> tuple[Array, Array]:
    """y = x**n by a Python function that calls itself, x**n = x x**(n-1); and dy/dx.

    Source: document A, section 7.1, control flow.
    """
    return _power_recursive(x, n)


def _power_recursive(x: Array, n: int) -> tuple[Array, Array]:
    if n == 0:
        return np.ones_like(x), np.zeros_like(x)
    y, d_x = _power_recursive(x, n - 1)
    return y * x, d_x * x + y


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
