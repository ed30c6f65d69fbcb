"""One training step, three ways to run it: as written, compiled, the whole loop compiled.

PyTorch: as written, every operation is one call. `torch.compile` makes one program of a step; on
a CUDA device a CUDA graph replays the kernels of the whole loop with one call.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor as Array

from torch_impl import Below, Device, Positive, checked
from torch_impl.classifier import Params, fit, loss
from torch_impl.optimizers import sgd_step

NO_CUDA = "a CUDA graph needs a CUDA device; on a CPU, torch.compile would unroll the whole loop"


@checked
def modes(*, device: Device = "cpu") -> dict[str, str]:
    """Which of the three forms of the training loop run on a device.

    Args:
        device: one of `devices()`.

    Returns:
        For "as_written", "compiled_step" and "compiled_loop": "" if it runs, or why it does not.
    """
    return {
        "as_written": "",
        "compiled_step": "" if device == "cuda" else _no_cpp_compiler(),
        "compiled_loop": "" if device == "cuda" else NO_CUDA,
    }


@checked
def as_written(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    learning_rate: Positive,
) -> tuple[Params, Float[Array, " steps"]]:
    """The classifier's training loop with every operation run as Python reaches it.

    `fit` is such a loop.

    Args:
        params: where to start; left as they are.
        x: one row for each sample.
        t: the class of each row.
        batches: the row numbers that each step sees.
        learning_rate: the size of a step of gradient descent.

    Returns:
        The parameters after the last update, and the loss before each one.

    Source: A 7.1.
    """
    return fit(params, x, t, batches, optimizer="sgd", learning_rate=learning_rate)


@checked
def compiled_step(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    learning_rate: Positive,
) -> tuple[Params, Float[Array, " steps"]]:
    """The same loop in Python over one step that is compiled once: gradient and update together.

    `fullgraph=True` refuses `zero_grad`, `backward` and `optimizer.step`, so the step is a pure
    function: `torch.func.grad_and_value` and an update by hand.

    Raises:
        RuntimeError: there is no C++ compiler, which `torch.compile` needs on a CPU.

    Args and Returns: as for `as_written`.

    Source: A 7.1.
    """
    if reason := modes(device=x.device.type)["compiled_step"]:
        raise RuntimeError(reason)
    losses = []
    # one program for each batch size, dtype and rate; by default PyTorch refuses the ninth
    with torch._dynamo.config.patch(recompile_limit=256):
        for rows in batches:
            params, value = _compiled_step()(params, x[rows], t[rows], learning_rate)
            losses.append(value)
    return params, torch.stack(losses)


@checked
def compiled_loop(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    learning_rate: Positive,
) -> tuple[Params, Float[Array, " steps"]]:
    """The whole loop as one program: Python is left once and entered again when it is over.

    A CUDA graph: the kernels of all steps are recorded once and replayed with one call.

    Raises:
        RuntimeError: the arrays are not on a CUDA device.

    Args and Returns: as for `as_written`.

    Source: A 7.1.
    """
    if reason := modes(device=x.device.type)["compiled_loop"]:
        raise RuntimeError(reason)
    params, losses = _recorded(params, x, t, batches, learning_rate)(params)
    return {name: p.clone() for name, p in params.items()}, losses.clone()


def _recorded(
    params: Params, x: Array, t: Array, batches: Array, learning_rate: float
) -> Callable[[Params], tuple[Params, Array]]:
    """The loop as a CUDA graph: called with a start, it replays all steps into the same arrays.

    x, t and batches have to live as long as it does: it reads them where they are.
    """
    start = {name: p.detach().clone() for name, p in params.items()}
    # a first run on a side stream: kernels are loaded and memory is reserved before the capture
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        _steps(start, x, t, batches[:1], learning_rate)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        recorded = _steps(start, x, t, batches, learning_rate)

    def replay(params: Params) -> tuple[Params, Array]:
        for name, p in params.items():
            start[name].copy_(p)
        graph.replay()
        return recorded

    return replay


def _step(params: Params, x: Array, t: Array, learning_rate: float) -> tuple[Params, Array]:
    grads, value = torch.func.grad_and_value(loss)(params, x, t)
    return sgd_step(params, grads, learning_rate=learning_rate), value


def _steps(
    params: Params, x: Array, t: Array, batches: Array, learning_rate: float
) -> tuple[Params, Array]:
    losses = []
    for rows in batches:
        params, value = _step(params, x[rows], t[rows], learning_rate)
        losses.append(value)
    return params, torch.stack(losses)


@cache
def _compiled_step() -> Any:
    return torch.compile(_step, fullgraph=True, dynamic=False)


@cache
def _no_cpp_compiler() -> str:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return "torch.compile needs a C++ compiler on a CPU: install g++ or clang++, or set CXX"
    return ""


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
