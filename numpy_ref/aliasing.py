"""Aliasing: two names for one memory, a write through one of them, and who sees it.

NumPy: a slice is a view, a second array on the memory of the first (its `base`), and a write
through either shows in both. Nothing watches: a value that a derivative needs later may be gone.

What a function is given stays as it is. Pairs hold x and y after the write.
"""

from typing import Annotated

import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy import ndarray as Array

from numpy_ref import Below, Count, Like, Positive, checked

Params = Annotated[dict[str, Array], {"weight": "out in", "bias": " out"}]
Pair = dict[str, Array]


@checked
def shares_memory(a: Shaped[Array, "*a"], b: Shaped[Array, "*b"]) -> bool:
    """Whether a and b are views of one memory.

    `np.shares_memory` asks whether an element of the one is one of the other: two rows of a matrix
    have none in common.
    """
    return np.shares_memory(a, b)


@checked
def augmented_assignment(x: Float[Array, "*shape"], value: Float[Array, ""]) -> Pair:
    """y = x, then y += value.

    `+=` writes into the array; both names stand for it.
    """
    x = x.copy()
    y = x
    y += value
    return {"x": x, "y": y}


@checked
def write_view(x: Float[Array, "rows columns"], value: Float[Array, ""]) -> Pair:
    """y = x[0], the first row, then value into y[0].

    A row is a view: x has the value too.
    """
    x = x.copy()
    y = x[0]
    y[0] = value
    return {"x": x, "y": y}


@checked
def write_copy(x: Float[Array, "rows columns"], value: Float[Array, ""]) -> Pair:
    """y = a copy of x[0], then value into y[0].

    `copy` has memory of its own.
    """
    y = x[0].copy()
    y[0] = value
    return {"x": x, "y": y}


@checked
def write_selected(
    x: Float[Array, "n columns"], rows: Below[Int[Array, " k"], " n"], value: Float[Array, ""]
) -> Pair:
    """y = x[rows] by an array of row numbers, then value into its first row.

    Row numbers copy, where a slice would be a view; so does a mask.
    """
    y = x[rows]
    y[0] = value
    return {"x": x, "y": y}


@checked
def write_reshaped(
    x: Float[Array, "rows columns"], value: Float[Array, ""], *, transposed: bool
) -> Pair:
    """y = all of x (or of x^T) in one row, then value into y[0].

    `reshape` is a view where the strides allow it, else a copy, and does not tell: x^T is copied.
    """
    x = x.copy()
    y = (x.T if transposed else x).reshape(-1)
    y[0] = value
    return {"x": x, "y": y}


@checked
def write_broadcast(x: Float[Array, " n"], value: Float[Array, ""], *, rows: Count) -> Pair:
    """y = x broadcast to so many rows, then value into the first of them.

    Raises:
        ValueError: from NumPy, whose `broadcast_to` is read-only: all rows are one memory.
    """
    y = np.broadcast_to(x, (rows, x.size))
    y[0] = value
    return {"x": x, "y": y}


@checked
def write_overlapping(x: Float[Array, " n"]) -> Float[Array, " n"]:
    """x[1:] += x[:-1]: each entry and its left neighbour, as they were before.

    NumPy sees that the two overlap and reads from a copy.
    """
    x = x.copy()
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
    x = x.copy()
    if accumulate:
        np.add.at(x, index, value)
    else:
        x[index] += value
    return x


@checked
def write_source(array: np.ndarray, value: float, *, copied: bool) -> Shaped[Array, "*shape"]:
    """What an array made of a NumPy array holds after value went into all of the NumPy array.

    `asarray` returns the very same array, `array` a copy.
    """
    source = np.array(array)
    x = np.array(source) if copied else np.asarray(source)
    source[...] = value
    return x


@checked
def write_saved(
    x: Float[Array, " n"], value: Float[Array, ""]
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """y = exp(x), whose derivative is y itself, after value went into y[0]; that derivative.

    Nothing watches: the derivative is taken of what y holds by then, and is wrong.
    """
    # forward
    y = np.exp(x)
    # the write
    y[0] = value
    # backward
    d_y = np.ones_like(y)  # (n,)
    d_x = d_y * y  # (n,), exp being its own derivative
    return y, d_x


@checked
def update_in_place(
    params: Params, grads: Like[Params, " params"], *, learning_rate: Positive
) -> Params:
    """p <- p - rate g, into the memory of p.

    `-=` writes into p.
    """
    params = {name: p.copy() for name, p in params.items()}
    for name, p in params.items():
        p -= learning_rate * grads[name]
    return params


@checked
def read_after_update(
    params: Params, grads: Like[Params, " params"], *, learning_rate: Positive
) -> Params:
    """What the old names hold after p <- p - rate g into the memory of p.

    The new values: the old ones are overwritten.
    """
    old = {name: p.copy() for name, p in params.items()}
    params = dict(old)
    for name, p in params.items():
        p -= learning_rate * grads[name]
    return old


@checked
def keep(
    params: Params, grads: Like[Params, " params"], *, learning_rate: Positive
) -> tuple[Params, Params]:
    """What a dictionary kept as the best so far holds after p <- p - rate g; the parameters then.

    A new dictionary holds the same arrays, which `-=` overwrites: the best are lost.
    """
    params = {name: p.copy() for name, p in params.items()}
    best = dict(params)
    # update
    for name, p in params.items():
        p -= learning_rate * grads[name]
    return best, params


@checked
def keep_copy(
    params: Params, grads: Like[Params, " params"], *, learning_rate: Positive
) -> tuple[Params, Params]:
    """What a copy kept as the best so far holds after p <- p - rate g; the parameters then.

    `copy` of each array, or `copy.deepcopy` of the dictionary.
    """
    params = {name: p.copy() for name, p in params.items()}
    best = {name: p.copy() for name, p in params.items()}
    # update
    for name, p in params.items():
        p -= learning_rate * grads[name]
    return best, params


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
