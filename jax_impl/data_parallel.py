"""One training run on several workers: each has a part of every batch, and they add what they find.

JAX: a worker is a device, of this process or of several, in a mesh. `shard_map` says what each does
with its part, and `psum` adds; the whole loop is one compiled program.

params are the classifier's, x (n, features) its rows and t (n,) their classes: every worker has all
of them and computes with its part of each batch. workers is what `join` returns, or None for this
process alone.
"""

import os
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Float32, Int

from jax_impl import Below, Positive, checked
from jax_impl import reproducible as alone
from jax_impl.classifier import Params, logits
from jax_impl.optimizers import adam_start, adam_step, sgd_step
from jax_impl.rounding import BITS, TERMS, rounded, split, unit

Moments = dict[str, Array]
"""Adam's means of a gradient, "m.fc1.weight" and so on, of its square, "v.fc1.weight", and both
powers of beta, "power1" and "power2"."""
Workers = Any
"""A mesh of devices, as `join` returns it."""
P = PartitionSpec


@checked
def join() -> Workers:
    """The workers that were started together, of which this process is one.

    All devices of this process, and of others that `mpiexec -n 2 python ...` started with it, or
    that were told JAX_COORDINATOR_ADDRESS, RANK and WORLD_SIZE.

    Returns:
        What the other functions take; None if this process was started alone, with one device.

    Raises:
        RuntimeError: the others cannot be reached, or a port is in use.
    """
    if {"PMI_SIZE", "OMPI_COMM_WORLD_SIZE"} & os.environ.keys():
        jax.distributed.initialize(cluster_detection_method="mpi4py")
    elif "JAX_COORDINATOR_ADDRESS" in os.environ:
        # JAX reads the address by itself
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        jax.distributed.initialize(num_processes=size, process_id=rank)
    return _mesh(jax.devices()) if jax.device_count() > 1 else None


@checked
def place(workers: Workers) -> tuple[int, int]:
    """The number of this process among the processes, from 0, and how many workers there are."""
    return (0, 1) if workers is None else (jax.process_index(), workers.size)


@checked
def verify(workers: Workers) -> None:
    """Compare the engine's sum and maximum with serial ones.

    Raises:
        RuntimeError: they differ; gloo's have been seen to (jax-ml/jax, issue 40830).
    """
    _, size = place(workers)
    given = np.random.default_rng(0).integers(-(2**40), 2**40, (size, 1000)).astype(np.float64)
    workers = workers or _mesh(jax.local_devices()[:1])
    with jax.enable_x64(True):
        found = _reduced(jax.device_put(given, NamedSharding(workers, P("workers"))), workers)
    serials = {"SUM": given.sum(axis=0), "MAX": given.max(axis=0)}
    for (operation, serial), value in zip(serials.items(), found, strict=True):
        if not np.array_equal(value, serial):
            raise RuntimeError(f"verify: the {operation} over the workers is not the serial one")


@checked
def fit(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    optimizer: Literal["sgd", "adam"],
    learning_rate: Positive,
    workers: Workers = None,
) -> tuple[Params, Float[Array, " steps"]]:
    """Mini-batch training: each worker's gradient counts as much as its rows, and they are added.

    The last bits depend on the number of workers, since a sum in parts is rounded elsewhere.

    Args:
        batches: the row numbers that each step sees; each worker takes a part of every row.

    Returns:
        The parameters after the last update, and the loss before each one; the same on all workers.

    Raises:
        ValueError: there are more workers than rows in a batch.

    Source: Li et al., "PyTorch Distributed: experiences on accelerating data parallel training",
    2020.
    """
    given, real, workers = _placed((params, x, t), batches, workers)
    n = batches.shape[1]
    return _fit(given, real, learning_rate, n=n, workers=workers, optimizer=optimizer)


@checked
def fit_automatic(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    optimizer: Literal["sgd", "adam"],
    learning_rate: Positive,
    workers: Workers = None,
) -> tuple[Params, Float[Array, " steps"]]:
    """The same training; the framework decides when the workers talk.

    Args:
        batches: the row numbers that each step sees; each worker takes a part of every row.

    Returns:
        The parameters after the last update, and the loss before each one; the same on all workers.

    Raises:
        ValueError: there are more workers than rows in a batch.

    Source: Li et al., "PyTorch Distributed: experiences on accelerating data parallel training",
    2020.
    """
    given, real, _ = _placed((params, x, t), batches, workers)
    n = batches.shape[1]
    return _fit_automatic(given, real, learning_rate, n=n, optimizer=optimizer)


@checked
def fit_reproducible(
    params: alone.Params,
    x: Float32[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    optimizer: Literal["sgd", "adam"],
    learning_rate: Positive,
    moments: Moments | None = None,
    workers: Workers = None,
) -> tuple[alone.Params, Moments | None, Float32[Array, " steps"]]:
    """`reproducible.fit` on any number of workers, with the same bits.

    The workers agree on the units, by the maximum, and add whole numbers: two messages a step.

    Args:
        batches: the row numbers that each step sees, at most 2^15; each worker takes a part.
        learning_rate: the size of a step, rounded to float32.
        moments: Adam's means as an earlier call returned them, to go on from there; None to start.

    Returns:
        The parameters after the last update, Adam's means (None for "sgd"), and the loss before
        each update; the same on all workers.

    Raises:
        ValueError: there are more workers than rows in a batch, or more rows than 2^15.

    Source: Demmel and Nguyen, "Parallel reproducible summation", 2015.
    """
    n = batches.shape[1]
    if n > TERMS:
        raise ValueError(f"batches must have at most {TERMS} rows to be exact, got {n}")
    with jax.enable_x64(True):
        state = _opened(moments, params, optimizer)
        given, real, workers = _placed((params, state, x, t), batches, workers)
        params, state, losses = _fit_reproducible(
            given, real, learning_rate, n=n, workers=workers, optimizer=optimizer
        )
        return params, _closed(state), losses


def _mesh(devices: list[Any]) -> Mesh:
    return jax.make_mesh((len(devices),), ("workers",), (AxisType.Auto,), devices=devices)


def _placed(arrays: Any, batches: Array, workers: Workers) -> tuple[Any, Array, Mesh]:
    """What every worker has, then its part of each batch, and 1 for each row of the part.

    The parts of a mesh are equally large: the last ones are filled with row 0, which counts as 0.
    """
    n = batches.shape[1]
    workers = workers or _mesh([next(iter(batches.devices()))])
    if workers.size > n:
        raise ValueError(f"workers must be at most {n}, a batch, got {workers.size}")
    missing = -n % workers.size
    padded = np.pad(batches, ((0, 0), (0, missing)))
    real = np.pad(np.ones((n, 1), np.float32), ((0, missing), (0, 0)))
    # from NumPy: in several processes each gives what it has to the devices that are its own
    everywhere = jax.device_put(jax.tree.map(np.asarray, arrays), NamedSharding(workers, P()))
    part = jax.device_put(padded, NamedSharding(workers, P(None, "workers")))
    return (*everywhere, part), jax.device_put(real, NamedSharding(workers, P("workers"))), workers


def _on_workers(function: Any, workers: Mesh, whole: int) -> Any:
    """Call it on each worker: of its arguments, the first `whole` are everywhere the same."""
    specs = (*[P()] * whole, P(None, "workers"), P("workers"))
    # with check_vma, shard_map would add the gradients of what is everywhere the same by itself
    return jax.shard_map(function, mesh=workers, in_specs=specs, out_specs=P(), check_vma=False)


@partial(jax.jit, static_argnames="workers")
def _reduced(given: Array, workers: Mesh) -> tuple[Array, Array]:
    def on_each(row: Array) -> tuple[Array, Array]:
        return jax.lax.psum(row[0], "workers"), jax.lax.pmax(row[0], "workers")

    return jax.shard_map(
        on_each, mesh=workers, in_specs=P("workers"), out_specs=P(), check_vma=False
    )(given)


@partial(jax.jit, static_argnames=("n", "workers", "optimizer"))
def _fit(
    given: Any, real: Array, rate: float, *, n: int, workers: Mesh, optimizer: str
) -> tuple[Params, Array]:
    add = partial(jax.lax.psum, axis_name="workers")
    on_each = partial(_trained, rate=rate, n=n, optimizer=optimizer, add=add)
    return _on_workers(on_each, workers, whole=3)(*given, real)


@partial(jax.jit, static_argnames=("n", "optimizer"))
def _fit_automatic(
    given: Any, real: Array, rate: float, *, n: int, optimizer: str
) -> tuple[Params, Array]:
    params, x, t, batches = given
    # the rows lie on the workers: wherever a sum runs over them, XLA lets the workers add
    on_all = partial(_trained, rate=rate, n=n, optimizer=optimizer, add=lambda sums: sums)
    return on_all(params, x, t, batches, real)


def _trained(
    params: Params, x: Array, t: Array, batches: Array, real: Array, *,
    rate: float, n: int, optimizer: str, add: Any,
) -> tuple[Params, Array]:  # fmt: skip
    real = real.astype(x.dtype)

    def share(params: Params, rows: Array) -> Array:
        log_p = jax.nn.log_softmax(logits(params, x[rows]))
        return -jnp.sum(jnp.take_along_axis(log_p, t[rows, None], axis=1) * real) / n

    def step(carry: tuple[Params, Any], rows: Array) -> tuple[tuple[Params, Any], Array]:
        params, state = carry
        # forward, backward
        found = jax.value_and_grad(share)(params, rows)
        # add
        value, grads = add(found)
        # update
        if optimizer == "sgd":
            params = sgd_step(params, grads, learning_rate=rate)
        else:
            params, state = adam_step(params, grads, state, learning_rate=rate)
        return (params, state), value

    state = adam_start(params) if optimizer == "adam" else {}
    (params, _), losses = jax.lax.scan(step, (params, state), batches)
    return params, losses


@partial(jax.jit, static_argnames=("n", "workers", "optimizer"))
def _fit_reproducible(
    given: Any, real: Array, learning_rate: float, *, n: int, workers: Mesh, optimizer: str
) -> tuple[Params, Any, Array]:
    rate = rounded(jnp.asarray(learning_rate))

    def on_each(params: Params, state: Any, x: Array, t: Array, batches: Array, real: Array) -> Any:
        params, state, x, real = alone._cast((params, state, x, real), jnp.float64)

        def step(carry: tuple[Params, Any], rows: Array) -> tuple[tuple[Params, Any], Array]:
            params, state = carry
            # forward, backward
            row_losses, layers = _by_row(params, x[rows], t[rows], n)
            # add
            pairs = [(row_losses * real, real)]
            pairs += [(d_y * real, jnp.hstack([x, real])) for d_y, x in layers.values()]
            value, *sums = _products(pairs)
            grads = {}
            for name, d_layer in zip(layers, sums, strict=True):
                grads[f"{name}.weight"], grads[f"{name}.bias"] = d_layer[:, :-1], d_layer[:, -1]
            # update
            if optimizer == "sgd":
                params = alone._sgd_step(params, grads, rate)
            else:
                params, state = alone._adam_step(params, grads, state, rate)
            return (params, state), rounded(value[0, 0] / n)

        (params, state), losses = jax.lax.scan(step, (params, state), batches)
        return alone._cast((params, state, losses), jnp.float32)

    return _on_workers(on_each, workers, whole=4)(*given, real)


def _by_row(params: Params, x: Array, t: Array, n: int) -> tuple[Array, dict[str, Any]]:
    """What these rows of n do by themselves: their losses, and d_y and x of each layer y(x)."""
    w1, b1 = params["fc1.weight"], params["fc1.bias"]
    w2, b2 = params["fc2.weight"], params["fc2.bias"]
    w3, b3 = params["output.weight"], params["output.bias"]
    # forward
    z1 = alone._linear(x, w1, b1)
    h1, pull_h1 = jax.vjp(jax.nn.relu, z1)
    z2, pull_z2 = jax.vjp(lambda h1: alone._linear(h1, w2, b2), h1)
    h2, pull_h2 = jax.vjp(jax.nn.relu, z2)
    scores, pull_logits = jax.vjp(lambda h2: alone._linear(h2, w3, b3), h2)
    losses, pull_losses = jax.vjp(lambda logits: alone._cross_entropy(logits, t), scores)
    # backward
    (d_logits,) = pull_losses(jnp.full_like(losses, 1 / n))
    (d_h2,) = pull_logits(d_logits)
    (d_z2,) = pull_h2(d_h2)
    (d_h1,) = pull_z2(d_z2)
    (d_z1,) = pull_h1(d_h1)
    return losses, {"fc1": (d_z1, x), "fc2": (d_z2, h1), "output": (d_logits, h2)}


def _products(pairs: list[tuple[Array, Array]]) -> list[Array]:
    """d^T x of each pair, summed over the rows of all workers; a sum is a product with ones."""
    # the first message: the largest number of each column, for the units
    largest = [jnp.abs(a).max(axis=0, keepdims=True) for pair in pairs for a in pair]
    units = [unit(a, axis=0) for a in jax.lax.pmax(largest, "workers")]
    units_d, units_x = units[::2], units[1::2]
    # the second: sums of whole numbers
    whole, parts = [], []
    for (d, x), unit_d, unit_x in zip(pairs, units_d, units_x, strict=True):
        high_d, low_d = split(d, unit_d)
        high_x, low_x = split(x, unit_x)
        whole.append(high_d.T @ high_x)
        parts.append(high_d.T @ low_x + low_d.T @ high_x)
    whole, parts = jax.lax.psum((whole, parts), "workers")
    found = zip(whole, parts, units_d, units_x, strict=True)
    return [rounded((w + p / 2**BITS) * (unit_d.T * unit_x)) for w, p, unit_d, unit_x in found]


def _opened(moments: Moments | None, params: Params, optimizer: str) -> dict[str, Any]:
    """Adam's state, nested; empty for "sgd"."""
    if moments is None:
        return alone._adam_start(params) if optimizer == "adam" else {}
    means = [f"{mean}.{name}" for mean in "mv" for name in params]
    expected = [*means, "power1", "power2"] if optimizer == "adam" else []
    if sorted(moments) != sorted(expected):
        raise ValueError(f"moments must be {expected or None} for {optimizer}, got {[*moments]}")
    m, v = ({name: moments[f"{mean}.{name}"] for name in params} for mean in "mv")
    return {"m": m, "v": v, "power1": moments["power1"], "power2": moments["power2"]}


def _closed(state: dict[str, Any]) -> Moments | None:
    """The same, flat."""
    if not state:
        return None
    means = {f"{mean}.{name}": value for mean in "mv" for name, value in state[mean].items()}
    return means | {"power1": state["power1"], "power2": state["power2"]}


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
