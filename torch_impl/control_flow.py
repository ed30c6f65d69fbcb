"""Define-by-run and define-then-run, and what compiling makes of `if`, `for` and recursion.

PyTorch: define-by-run; Python's control flow simply runs. `torch.compile` captures what it can and
hands the rest back to Python; with `fullgraph=True` it refuses instead.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor as Array
from torch.fx.experimental.proxy_tensor import make_fx

from torch_impl import Natural, checked


@checked
def define_by_run(x: Float[Array, ""]) -> Array:
    """dy/dx of y = x**2 + 3 x + 1, with every line run as Python reaches it.

    Args:
        x: where to evaluate.

    Source: A 7.1.
    """
    x = x.detach().requires_grad_()
    # forward
    y = x**2 + 3 * x + 1
    # backward
    (d_x,) = torch.autograd.grad(y, x)
    return d_x


@checked
def define_then_run(x: Float[Array, ""]) -> tuple[str, Array]:
    """dy/dx of y = x**2 + 3 x + 1, with the program built first, without a value, and then run.

    Args:
        x: where to run it.

    Returns:
        The program as text, and what it gives at x.

    Source: A 7.1, the first of its three programs.
    """
    program = make_fx(torch.func.grad(_quadratic), tracing_mode="fake")(torch.empty_like(x))
    return program.code, program(x)


@checked
def branch(x: Float[Array, ""]) -> tuple[Array, Array]:
    """y = x**2 if x > 0 else -x, with Python's own `if`.

    Args:
        x: where to evaluate; its sign chooses the branch.

    Returns:
        y, and dy/dx on the branch that was taken.

    Source: A 7.1, control flow.
    """
    x = x.detach().requires_grad_()
    y = _branch(x)
    (d_x,) = torch.autograd.grad(y, x)
    return y.detach(), d_x


@checked
def branch_traced(x: Float[Array, ""]) -> tuple[Array, Array]:
    """The same `if`, compiled as it stands.

    Without `fullgraph=True`, `torch.compile` breaks the graph at the `if` and runs it in Python.

    Raises:
        torch._dynamo.exc.Unsupported: a RuntimeError; the `if` depends on a value.

    Args:
        x: where to evaluate.

    Source: A 7.1, control flow.
    """
    compiled = torch.compile(_branch, fullgraph=True, backend="eager")
    x = x.detach().requires_grad_()
    y = compiled(x)
    (d_x,) = torch.autograd.grad(y, x)
    return y.detach(), d_x


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
        return torch.cond(x > 0, lambda x: x**2, lambda x: -x, (x,))

    x = x.detach().requires_grad_()
    y = torch.compile(choose, fullgraph=True, backend="eager")(x)
    (d_x,) = torch.autograd.grad(y, x)
    return y.detach(), d_x


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
    x = x.detach().requires_grad_()
    y = 0 * x + 1
    for _ in range(int(n)):
        y = y * x
    (d_x,) = torch.autograd.grad(y, x)
    return y.detach(), d_x


@checked
def loop_compiled(x: Float[Array, ""], n: Int[Array, ""]) -> tuple[Array, Array]:
    """y = x**n, the whole loop as one captured program.

    The number of rounds is read before: the program is captured anew for each n, unrolled.
    `torch.compile` unrolls too, and refuses the ninth n (`torch._dynamo.config.recompile_limit`).

    Args:
        x: the base.
        n: the exponent, at least 0.

    Returns:
        y, and dy/dx = n x**(n-1).

    Source: A 7.1, control flow.
    """

    def power(x: Array) -> Array:
        y = torch.ones_like(x)
        for _ in range(int(n)):
            y = y * x
        return y

    program = make_fx(torch.func.grad_and_value(power), tracing_mode="fake")(torch.empty_like(x))
    d_x, y = program(x)
    return y, d_x


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

    def power(x: Array, n: int) -> Array:
        return power(x, n - 1) * x if n > 0 else torch.ones_like(x)

    d_x, y = torch.func.grad_and_value(power)(x, n)
    return y, d_x


def _quadratic(x: Array) -> Array:
    return x**2 + 3 * x + 1


def _branch(x: Array) -> Array:
    if x > 0:
        return x**2
    return -x


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
