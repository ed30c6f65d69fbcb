"""Define-by-run and define-then-run, and what compiling makes of `if`, `for` and recursion.

PyTorch: define-by-run; Python's control flow simply runs. `torch.compile` captures what it can and
hands the rest back to Python; with `fullgraph=True` it refuses instead.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor as Array
from torch import nn

from torch_impl import Natural, checked


def _quadratic(x: Array) -> Array:
    return x**2 + 3 * x + 1


def _branch(x: Array) -> Array:
    if x > 0:
        return x**2
    return -x


def _power(x: Array, n: int) -> Array:
    y = torch.ones_like(x)
    for _ in range(n):
        y = y * x
    return y


def _power_recursive(x: Array, n: int) -> Array:
    return _power_recursive(x, n - 1) * x if n > 0 else torch.ones_like(x)


class _Quadratic(nn.Module):
    def forward(self, x: Array) -> Array:
        return _quadratic(x)


# made once: what is compiled is kept with the code of the function, so each has its own. The
# backend "eager" runs the captured graph operation by operation: what is captured is the subject
# here, and no C++ compiler is needed


@torch.compile(fullgraph=True, backend="eager")
def _captured_branch(x: Array) -> tuple[Array, Array]:
    return torch.func.grad_and_value(_branch)(x)


@torch.compile(fullgraph=True, backend="eager")
def _captured_branch_cond(x: Array) -> Array:
    return torch.cond(x > 0, lambda x: x**2, lambda x: -x, (x,))


@torch.compile(backend="eager")
def _captured_power(x: Array, n: int) -> tuple[Array, Array]:
    return torch.func.grad_and_value(_power)(x, n)


@torch.compile(backend="eager")
def _captured_recursion(x: Array, n: int) -> tuple[Array, Array]:
    return torch.func.grad_and_value(_power_recursive)(x, n)


@checked
def define_by_run(x: Float[Array, ""]) -> Array:
    """dy/dx of y = x**2 + 3 x + 1, with every line run as Python reaches it.

    Each operation computes its value at once, and is recorded while it does.

    Source: document A, section 7.1.
    """
    x = x.detach().requires_grad_()
    # forward
    y = _quadratic(x)
    # backward
    y.backward()
    return x.grad


@checked
def define_then_run(x: Float[Array, ""]) -> tuple[str, Array]:
    """dy/dx of y = x**2 + 3 x + 1, with the program built first, without a value, and then run.

    `torch.export` traces the module with fake tensors, which have a shape and no value. What it
    returns is a program of its own, and runs like a module; autograd records the run.

    Returns:
        The program as text, and what it gives at x.

    Source: document A, section 7.1, the first of its three programs.
    """
    # the program
    program = torch.export.export(_Quadratic(), (torch.zeros_like(x),))
    # the run
    x = x.detach().requires_grad_()
    y = program.module()(x)
    y.backward()
    return str(program.graph), x.grad


@checked
def branch(x: Float[Array, ""]) -> tuple[Array, Array]:
    """y = x**2 if x > 0 else -x, with Python's own `if`; and dy/dx on the branch that was taken.

    The branch that was not taken is not in the graph.

    Source: document A, section 7.1, control flow.
    """
    x = x.detach().requires_grad_()
    y = _branch(x)
    y.backward()
    return y.detach(), x.grad


@checked
def branch_traced(x: Float[Array, ""]) -> tuple[Array, Array]:
    """The same `if`, compiled as it stands.

    Without `fullgraph=True`, `torch.compile` breaks the graph at the `if` and runs it in Python.

    Raises:
        RuntimeError: from PyTorch's compiler; the `if` depends on a value.

    Source: document A, section 7.1, control flow.
    """
    d_x, y = _captured_branch(x)
    return y, d_x


@checked
def branch_compiled(x: Float[Array, ""]) -> tuple[Array, Array]:
    """The same choice without a Python `if`: as a part of the program.

    `torch.cond` keeps both arms in one graph and runs one of them. Captured once for every x.

    Source: document A, section 7.1, control flow.
    """
    x = x.detach().requires_grad_()
    y = _captured_branch_cond(x)
    y.backward()
    return y.detach(), x.grad


@checked
def loop(x: Float[Array, ""], n: Int[Array, ""]) -> tuple[Array, Array]:
    """y = x**n by n multiplications in a Python `for`; and dy/dx = n x**(n-1).

    The graph has n multiplications: as many as were run.

    Source: document A, section 7.1, control flow.
    """
    d_x, y = torch.func.grad_and_value(_power)(x, int(n))
    return y, d_x


@checked
def loop_compiled(x: Float[Array, ""], n: Int[Array, ""]) -> tuple[Array, Array]:
    """y = x**n, the whole loop as one captured program.

    `torch.compile` unrolls the loop: each n is a program of its own. From the ninth n on it gives
    up and leaves the function to Python; with `fullgraph=True` it raises there.

    Source: document A, section 7.1, control flow.
    """
    d_x, y = _captured_power(x, int(n))
    return y, d_x


@checked
def recursion(x: Float[Array, ""], *, n: Natural) -> tuple[Array, Array]:
    """y = x**n by a Python function that calls itself, x**n = x x**(n-1); and dy/dx.

    Source: document A, section 7.1, control flow.
    """
    d_x, y = torch.func.grad_and_value(_power_recursive)(x, n)
    return y, d_x


@checked
def recursion_compiled(x: Float[Array, ""], *, n: Natural) -> tuple[Array, Array]:
    """The same recursion as one captured program.

    It runs while `torch.compile` captures, for this n: the program is n multiplications.

    Source: document A, section 7.1, control flow.
    """
    d_x, y = _captured_recursion(x, n)
    return y, d_x


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
