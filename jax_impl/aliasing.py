"""Aliasing: two names for one memory, a write through one of them, and who sees it.

JAX: arrays never change. What looks like a write makes a new array, so nobody else sees it. Memory
is reused where a compiled function is given its argument for good: donation.

What a function is given stays as it is. Pairs hold x and y after the write.
"""

import functools
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, Shaped

from jax_impl import Below, Count, Like, Positive, _check_kept, checked

Params = Annotated[dict[str, Array], {"weight": "out in", "bias": " out"}]
Pair = dict[str, Array]


@checked
def augmented_assignment(x: Float[Array, "*shape"], value: Float[Array, ""]) -> Pair:
    """y = x, then y += value.

    `+=` gives y a new array; x stands for the old one.
    """
    y = x
    y += value
    return {"x": x, "y": y}


@checked
def write_view(x: Float[Array, "rows columns"], value: Float[Array, ""]) -> Pair:
    """y = x[0], the first row, then value into y[0].

    x[0] is a new array, and so is what `.at[:].set` makes of it: x stays.
    """
    y = x[0]
    y = y.at[0].set(value)
    return {"x": x, "y": y}


@checked
def write_copy(x: Float[Array, "rows columns"], value: Float[Array, ""]) -> Pair:
    """y = a copy of x[0], then value into y[0].

    `jnp.array` has memory of its own, which is of no use here.
    """
    y = jnp.array(x[0])
    y = y.at[0].set(value)
    return {"x": x, "y": y}


@checked
def write_detached(x: Float[Array, "rows columns"], value: Float[Array, ""]) -> Pair:
    """y = x cut off from what is recorded for derivatives, then value into its first row.

    `stop_gradient` is the identity, whose derivative is 0; x stays, as ever.
    """
    y = jax.lax.stop_gradient(x)
    y = y.at[0].set(value)
    return {"x": x, "y": y}


@checked
def write_selected(
    x: Float[Array, "n columns"], rows: Below[Int[Array, " k"], " n"], value: Float[Array, ""]
) -> Pair:
    """y = x[rows] by an array of row numbers, then value into its first row.

    A new array, as every selection is.
    """
    y = x[rows]
    y = y.at[0].set(value)
    return {"x": x, "y": y}


@checked
def write_reshaped(
    x: Float[Array, "rows columns"], value: Float[Array, ""], *, transposed: bool
) -> Pair:
    """y = all of x (or of x^T) in one row, then value into y[0].

    Two new arrays: x^T makes no difference.
    """
    y = (x.T if transposed else x).reshape(-1)
    y = y.at[0].set(value)
    return {"x": x, "y": y}


@checked
def write_broadcast(x: Float[Array, " n"], value: Float[Array, ""], *, rows: Count) -> Pair:
    """y = x broadcast to so many rows, then value into the first of them.

    The first row alone has the value.
    """
    y = jnp.broadcast_to(x, (rows, x.size))
    y = y.at[0].set(value)
    return {"x": x, "y": y}


@checked
def write_overlapping(x: Float[Array, " n"]) -> Float[Array, " n"]:
    """x[1:] += x[:-1]: each entry and its left neighbour, as they were before.

    What is read is the old x in any case.
    """
    return x.at[1:].add(x[:-1])


@checked
def add_at(
    x: Float[Array, " n"],
    index: Below[Int[Array, " k"], " n"],
    value: Float[Array, ""],
    *,
    accumulate: bool,
) -> Float[Array, " n"]:
    """x[index] += value; an index that comes twice counts twice if accumulate, else once.

    `.at[].add` counts every time; what `.at[].set` writes was read before.
    """
    return x.at[index].add(value) if accumulate else x.at[index].set(x[index] + value)


@checked
def write_source(array: np.ndarray, value: float, *, copied: bool) -> Shaped[Array, "*shape"]:
    """What an array made of a NumPy array holds after value went into all of the NumPy array.

    Both copy, on a CPU too; `device_put` and `from_dlpack` may share memory, and up to JAX 0.10.0
    so does `asarray`, where the data start at a multiple of 64 bytes.
    """
    _check_kept("write_source: array", array.dtype)
    source = np.array(array)
    x = jnp.array(source) if copied else jnp.asarray(source)
    source[...] = value
    return x


@checked
def write_saved(
    x: Float[Array, " n"], value: Float[Array, ""]
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """y = exp(x), whose derivative is y itself, after value went into y[0]; that derivative.

    The y that was saved is another one, and the derivative right.
    """
    # forward
    y, pull = jax.vjp(jnp.exp, x)
    # the write
    y = y.at[0].set(value)
    # backward
    (d_x,) = pull(jnp.ones_like(y))
    return y, d_x


@functools.partial(jax.jit, donate_argnames="params")
def _update(params: Params, grads: Params, learning_rate: float) -> Params:
    return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)


@checked
def update_in_place(
    params: Params, grads: Like[Params, " params"], *, learning_rate: Positive
) -> Params:
    """p <- p - rate g, into the memory of p.

    `donate_argnames` gives the memory of p away, and XLA uses it for the result.
    """
    params = jax.tree.map(jnp.array, params)
    params = _update(params, grads, learning_rate)
    return params


@checked
def read_after_update(
    params: Params, grads: Like[Params, " params"], *, learning_rate: Positive
) -> Params:
    """What the old names hold after p <- p - rate g into the memory of p.

    Raises:
        RuntimeError: from JAX; a donated array is deleted. (Where a compiled function is given
            one, it is a ValueError.)
    """
    old = jax.tree.map(jnp.array, params)
    params = _update(old, grads, learning_rate)
    return jax.tree.map(jnp.array, jax.device_get(old))


@checked
def keep(
    params: Params, grads: Like[Params, " params"], *, learning_rate: Positive
) -> tuple[Params, Params]:
    """What a dictionary kept as the best so far holds after p <- p - rate g; the parameters then.

    The dictionary of the update is another one, of other arrays: nothing is lost.
    """
    best = params
    # update
    params = jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)
    return best, params


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
