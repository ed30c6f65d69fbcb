"""Aliasing: two names for one memory, a write through one of them, and who sees it.

PyTorch: a slice is a view, a second tensor on the storage of the first, and a write through either
shows in both. Autograd counts the writes, and raises where a value that it needs is overwritten.

What a function is given stays as it is. Pairs hold x and y after the write.
"""

import copy
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor as Array

from torch_impl import Below, Count, Like, Positive, checked

Params = Annotated[dict[str, Array], {"weight": "out in", "bias": " out"}]
Pair = dict[str, Array]


@checked
def shares_memory(a: Shaped[Array, "*a"], b: Shaped[Array, "*b"]) -> bool:
    """Whether a and b are views of one memory.

    They have one storage, of which they may be different parts: two rows of a matrix.
    """
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


@checked
def augmented_assignment(x: Float[Array, "*shape"], value: Float[Array, ""]) -> Pair:
    """y = x, then y += value.

    `+=` writes into the tensor; both names stand for it.
    """
    x = x.detach().clone()
    y = x
    y += value
    return {"x": x, "y": y}


@checked
def write_view(x: Float[Array, "rows columns"], value: Float[Array, ""]) -> Pair:
    """y = x[0], the first row, then value into y[0].

    A row is a view: x has the value too.
    """
    x = x.detach().clone()
    y = x[0]
    y[0] = value
    return {"x": x, "y": y}


@checked
def write_copy(x: Float[Array, "rows columns"], value: Float[Array, ""]) -> Pair:
    """y = a copy of x[0], then value into y[0].

    `clone` has memory of its own.
    """
    y = x[0].detach().clone()
    y[0] = value
    return {"x": x.detach(), "y": y}


@checked
def write_detached(x: Float[Array, "rows columns"], value: Float[Array, ""]) -> Pair:
    """y = x cut off from what is recorded for derivatives, then value into its first row.

    `detach` leaves the record behind, not the memory: x has the value too, tracked or not.
    """
    x = x.detach().clone().requires_grad_()
    y = x.detach()
    y[0] = value
    return {"x": x.detach(), "y": y}


@checked
def write_selected(
    x: Float[Array, "n columns"], rows: Below[Int[Array, " k"], " n"], value: Float[Array, ""]
) -> Pair:
    """y = x[rows] by an array of row numbers, then value into its first row.

    Row numbers copy, where a slice would be a view; so does a mask.
    """
    x = x.detach()
    y = x[rows]
    y[0] = value
    return {"x": x, "y": y}


@checked
def write_reshaped(
    x: Float[Array, "rows columns"], value: Float[Array, ""], *, transposed: bool
) -> Pair:
    """y = all of x (or of x^T) in one row, then value into y[0].

    `reshape` is a view where the strides allow it, else a copy, and does not tell: x^T is copied.
    `view` would refuse x^T.
    """
    x = x.detach().clone()
    y = (x.T if transposed else x).reshape(-1)
    y[0] = value
    return {"x": x, "y": y}


@checked
def write_broadcast(x: Float[Array, " n"], value: Float[Array, ""], *, rows: Count) -> Pair:
    """y = x broadcast to so many rows, then value into the first of them.

    `expand` repeats one memory: each row has the value, and so has x. Only a write in which an
    element comes twice is refused.
    """
    x = x.detach().clone()
    y = x.expand(rows, -1)
    y[0] = value
    return {"x": x, "y": y}


@checked
def write_overlapping(x: Float[Array, " n"]) -> Float[Array, " n"]:
    """x[1:] += x[:-1]: each entry and its left neighbour, as they were before.

    Raises:
        RuntimeError: from PyTorch, since the two overlap; a `clone` of x[:-1] would do.
    """
    x = x.detach().clone()
    x[1:] += x[:-1]
    return x


@checked
def add_at(
    x: Float[Array, " n"],
    index: Below[Int[Array, " k"], " n"],
    value: Float[Array, ""],
    *,
    accumulate: bool,
) -> Float[Array, " n"]:
    """x[index] += value; an index that comes twice counts twice if accumulate, else once.

    `x[index]` is a copy, to which value is added, and which is written back.
    """
    x = x.detach().clone()
    if accumulate:
        x.index_put_((index,), value, accumulate=True)
    else:
        x[index] += value
    return x


@checked
def write_source(array: np.ndarray, value: float, *, copied: bool) -> Shaped[Array, "*shape"]:
    """What an array made of a NumPy array holds after value went into all of the NumPy array.

    `torch.asarray` shares the memory, as `from_numpy` does; `torch.tensor` copies.
    """
    source = np.array(array)
    x = torch.tensor(source) if copied else torch.asarray(source)
    source[...] = value
    return x


@checked
def write_saved(
    x: Float[Array, " n"], value: Float[Array, ""]
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """y = exp(x), whose derivative is y itself, after value went into y[0]; that derivative.

    Raises:
        RuntimeError: from PyTorch; y was saved, and its version says that it was written to.
    """
    x = x.detach().requires_grad_()
    # forward
    y = x.exp()
    total = y.sum()
    # the write
    y[0] = value
    # backward
    total.backward()
    return y.detach(), x.grad


@checked
def update_in_place(
    params: Params, grads: Like[Params, " params"], *, learning_rate: Positive
) -> Params:
    """p <- p - rate g, into the memory of p.

    Under `no_grad`, as an optimiser does: a tracked leaf may not change otherwise.
    """
    params = {name: p.detach().clone().requires_grad_() for name, p in params.items()}
    with torch.no_grad():
        for name, p in params.items():
            p -= learning_rate * grads[name]
    return {name: p.detach() for name, p in params.items()}


@checked
def read_after_update(
    params: Params, grads: Like[Params, " params"], *, learning_rate: Positive
) -> Params:
    """What the old names hold after p <- p - rate g into the memory of p.

    The new values: the old ones are overwritten.
    """
    old = {name: p.detach().clone().requires_grad_() for name, p in params.items()}
    params = dict(old)
    with torch.no_grad():
        for name, p in params.items():
            p -= learning_rate * grads[name]
    return {name: p.detach() for name, p in old.items()}


@checked
def keep(
    params: Params, grads: Like[Params, " params"], *, learning_rate: Positive
) -> tuple[Params, Params]:
    """What a dictionary kept as the best so far holds after p <- p - rate g; the parameters then.

    `state_dict()` holds the parameters' own memory, which the update overwrites: they are lost.
    """
    net = _layer(params)
    best = net.state_dict()
    # update
    with torch.no_grad():
        for name, p in net.named_parameters():
            p.sub_(learning_rate * grads[name])
    return best, {name: p.detach() for name, p in net.named_parameters()}


@checked
def keep_copy(
    params: Params, grads: Like[Params, " params"], *, learning_rate: Positive
) -> tuple[Params, Params]:
    """What a copy kept as the best so far holds after p <- p - rate g; the parameters then.

    `copy.deepcopy` of the `state_dict()`.
    """
    net = _layer(params)
    best = copy.deepcopy(net.state_dict())
    # update
    with torch.no_grad():
        for name, p in net.named_parameters():
            p.sub_(learning_rate * grads[name])
    return best, {name: p.detach() for name, p in net.named_parameters()}


def _layer(params: Params) -> torch.nn.Linear:
    """A layer with copies of these parameters; nothing is drawn for it first."""
    weight = params["weight"]
    rows, columns = weight.shape
    like = {"device": weight.device, "dtype": weight.dtype}
    net = torch.nn.utils.skip_init(torch.nn.Linear, columns, rows, **like)
    net.load_state_dict(params)
    return net


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
