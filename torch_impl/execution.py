"""One training loop, run in several ways: as written, compiled step by step, compiled whole.

PyTorch: as written, every operation is one call. `torch.compile` makes programs of the network, of
a step or of the whole loop; a CUDA graph replays the kernels of a loop with one call.

params are where training starts and stay as they are; x has one row for each sample, t its class;
batches are the row numbers that each step sees; learning_rate is the size of a step of gradient
descent. Returned are the parameters after the last update, and the loss before each one.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor as Array
from torch.nn.functional import cross_entropy

from torch_impl import Below, Positive, checked
from torch_impl.classifier import Params, SimpleNet, fit, loss


def _step(
    params: Params, x: Array, t: Array, rows: Array, learning_rate: Array
) -> tuple[Params, Array]:
    """Gradient and update on some rows of x and t, gathered inside the program."""
    grads, value = torch.func.grad_and_value(loss)(params, x[rows], t[rows])
    return {name: p - learning_rate * grads[name] for name, p in params.items()}, value


def _loop(
    params: Params, x: Array, t: Array, batches: Array, learning_rate: Array
) -> tuple[Params, Array]:
    """All steps in a loop that is a part of the program."""

    # dict[str, Array], not Params: PyTorch 2.11 cannot trace what is annotated with a layout
    def unfinished(i: Array, params: dict[str, Array], losses: Array) -> Array:
        return i < len(batches)

    def body(i: Array, params: dict[str, Array], losses: Array) -> tuple[object, ...]:
        at = i.reshape(1)
        rows = batches.index_select(0, at).squeeze(0)
        params, value = _step(params, x, t, rows, learning_rate)
        return i + 1, params, losses.index_copy(0, at, value.reshape(1))

    first = torch.zeros((), dtype=torch.int64, device=x.device)
    start = (first, params, x.new_zeros(len(batches)))
    _, params, losses = torch.while_loop(unfinished, body, start)
    return params, losses


_compiled_step = torch.compile(_step, fullgraph=True, dynamic=False)
_compiled_loop = torch.compile(_loop, fullgraph=True, dynamic=False)


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

    Source: document A, section 7.1.
    """
    return fit(params, x, t, batches, optimizer="sgd", learning_rate=learning_rate)


@checked
def compiled_network(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    learning_rate: Positive,
) -> tuple[Params, Float[Array, " steps"]]:
    """The ordinary loop around a network that is compiled: what most people write.

    `torch.compile` makes a program of the forward pass and one of its backward pass; between them,
    in `backward` and in the optimiser, Python runs as before.

    Source: document A, section 7.1.
    """
    net = SimpleNet.from_params(params)
    compiled = torch.compile(net, dynamic=False)
    optimizer = torch.optim.SGD(net.parameters(), lr=learning_rate)
    losses = []
    for rows in batches:
        # reset
        optimizer.zero_grad()
        # forward
        value = cross_entropy(compiled(x[rows]), t[rows].long())
        losses.append(value.detach())
        # backward
        value.backward()
        # update
        optimizer.step()
    return {name: p.detach() for name, p in net.named_parameters()}, torch.stack(losses)


@checked
def compiled_step(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    learning_rate: Positive,
) -> tuple[Params, Float[Array, " steps"]]:
    """The same loop in Python over one step that is compiled once: gather, gradient and update.

    `fullgraph=True` refuses `zero_grad`, `backward` and `optimizer.step`, so the step is a pure
    function: `torch.func.grad_and_value` and an update by hand. Compiled anew for each shape and
    dtype, and not for each learning rate: that is a tensor.

    Source: document A, section 7.1.
    """
    losses = []
    rate = torch.tensor(learning_rate, dtype=x.dtype, device=x.device)
    for rows in batches:
        params, value = _compiled_step(params, x, t, rows, rate)
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

    `torch.while_loop` inside `torch.compile`; the gradient is taken inside its body.

    Source: document A, section 7.1.
    """
    rate = torch.tensor(learning_rate, dtype=x.dtype, device=x.device)
    return _compiled_loop(params, x, t, batches, rate)


@checked
def cuda_graph(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    learning_rate: Positive,
) -> Callable[[Params], tuple[Params, Array]]:
    """The whole loop as a CUDA graph: its kernels are recorded once, and replayed with one call.

    It reads x, t and batches where they are at each replay: they have to live as long as it does.

    Returns:
        A function: from parameters to start from, the trained ones and the losses. The next call
        writes to the same arrays: clone what is to be kept.

    Source: document A, section 7.1.
    """
    start = {name: p.detach().clone() for name, p in params.items()}
    rate = torch.tensor(learning_rate, dtype=x.dtype, device=x.device)
    # a first run on a side stream: kernels are loaded and memory is reserved before the capture
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        _steps(start, x, t, batches[:2], rate)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # JAX's threads may use the device meanwhile: only this thread's calls are captured
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        recorded = _steps(start, x, t, batches, rate)

    def replay(params: Params) -> tuple[Params, Array]:
        for name, p in params.items():
            start[name].copy_(p)
        graph.replay()
        return recorded

    return replay


def _steps(
    params: Params, x: Array, t: Array, batches: Array, learning_rate: Array
) -> tuple[Params, Array]:
    losses = []
    for rows in batches:
        params, value = _step(params, x, t, rows, learning_rate)
        losses.append(value)
    return params, torch.stack(losses)


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
