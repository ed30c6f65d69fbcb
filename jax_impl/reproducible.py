"""Training with one digest: the classifier on 24-bit numbers, with sums that have no order.

JAX: a layer and the loss have a `custom_vjp`, since the derivatives that JAX makes sum in some
order. The whole loop is one compiled program, with fused multiply-adds where XLA likes.

params are the classifier's, x (n, features) its rows and t (n,) their classes, all of float32. The
result does not depend on the framework, the processor, the number of threads or the order of the
rows in a batch; `rounding` says why. It does depend on the seed, the batches and the rate.
"""

from functools import partial
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float32, Int

from jax_impl import Below, Positive, checked
from jax_impl.rounding import exp, log, product, rounded, total

Params = Annotated[
    dict[str, Array],
    {
        "fc1.weight": Float32[Array, "hidden1 features"],
        "fc1.bias": Float32[Array, " hidden1"],
        "fc2.weight": Float32[Array, "hidden2 hidden1"],
        "fc2.bias": Float32[Array, " hidden2"],
        "output.weight": Float32[Array, "classes hidden2"],
        "output.bias": Float32[Array, " classes"],
    },
]


@checked
def loss_and_grads(
    params: Params,
    x: Float32[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
) -> tuple[Float32[Array, ""], Params]:
    """The classifier's cross-entropy, and its derivative by every parameter.

    Source: document B, next steps.
    """
    with jax.enable_x64(True):
        return _loss_and_grads(params, x, t)


@checked
def fit(
    params: Params,
    x: Float32[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    optimizer: Literal["sgd", "adam"],
    learning_rate: Positive,
) -> tuple[Params, Float32[Array, " steps"]]:
    """Mini-batch training: one update for each row of batches.

    Args:
        batches: the row numbers that each step sees, at most 2^15.
        learning_rate: the size of a step, rounded to float32.

    Returns:
        The parameters after the last update, and the loss before each one.

    Source: document B, next steps.
    """
    with jax.enable_x64(True):
        return _fit(params, x, t, batches, optimizer, learning_rate)


def _cast(tree: Any, dtype: Any) -> Any:
    return jax.tree.map(lambda x: x.astype(dtype), tree)


@jax.custom_vjp
def _linear(x: Array, weight: Array, bias: Array) -> Array:
    return rounded(product(x, weight.T) + bias)


def _linear_forward(x: Array, weight: Array, bias: Array) -> tuple[Array, tuple[Array, Array]]:
    return _linear(x, weight, bias), (x, weight)


def _linear_backward(kept: tuple[Array, Array], d_y: Array) -> tuple[Array, Array, Array]:
    x, weight = kept
    d_x = product(d_y, weight)
    d_weight = product(d_y.T, x)
    d_bias = total(d_y)
    return d_x, d_weight, d_bias


_linear.defvjp(_linear_forward, _linear_backward)


@jax.custom_vjp
def _cross_entropy(logits: Array, t: Array) -> Array:
    """-log P_t of each row."""
    return _cross_entropy_forward(logits, t)[0]


def _cross_entropy_forward(logits: Array, t: Array) -> tuple[Array, tuple[Array, Array]]:
    shifted = rounded(logits - logits.max(axis=1, keepdims=True))
    exps = exp(shifted)
    sums = total(exps.T)[:, None]
    p = rounded(exps / sums)
    rows = jnp.arange(len(t))
    return rounded(log(sums) - shifted[rows, t][:, None]), (p, t)


def _cross_entropy_backward(kept: tuple[Array, Array], d_losses: Array) -> tuple[Array, None]:
    p, t = kept
    onehot = jax.nn.one_hot(t, p.shape[1], dtype=p.dtype)
    return rounded(d_losses * rounded(p - onehot)), None


_cross_entropy.defvjp(_cross_entropy_forward, _cross_entropy_backward)


@jax.custom_vjp
def _mean(losses: Array) -> Array:
    """The mean over the rows."""
    return rounded(total(losses)[0] / len(losses))


def _mean_forward(losses: Array) -> tuple[Array, int]:
    return _mean(losses), len(losses)


def _mean_backward(n: int, d_value: Array) -> tuple[Array]:
    # of 53 bits: its product with a number of 24 rounds as the quotient by n does
    return (jnp.full((n, 1), d_value / n),)


_mean.defvjp(_mean_forward, _mean_backward)


def _loss(params: Params, x: Array, t: Array) -> Array:
    z1 = _linear(x, params["fc1.weight"], params["fc1.bias"])
    h1 = jax.nn.relu(z1)
    z2 = _linear(h1, params["fc2.weight"], params["fc2.bias"])
    h2 = jax.nn.relu(z2)
    logits = _linear(h2, params["output.weight"], params["output.bias"])
    return _mean(_cross_entropy(logits, t))


@jax.jit
def _loss_and_grads(params: Params, x: Array, t: Array) -> tuple[Array, Params]:
    # forward, backward
    found = jax.value_and_grad(_loss)(*_cast((params, x), jnp.float64), t)
    return _cast(found, jnp.float32)


@partial(jax.jit, static_argnames="optimizer")
def _fit(
    params: Params, x: Array, t: Array, batches: Array, optimizer: str, learning_rate: float
) -> tuple[Params, Array]:
    params, x = _cast((params, x), jnp.float64)
    rate = rounded(jnp.asarray(learning_rate))

    def step(carry: tuple[Params, State], rows: Array) -> tuple[tuple[Params, State], Array]:
        params, state = carry
        # forward, backward
        value, grads = jax.value_and_grad(_loss)(params, x[rows], t[rows])
        # update
        if optimizer == "sgd":
            params = _sgd_step(params, grads, rate)
        else:
            params, state = _adam_step(params, grads, state, rate)
        return (params, state), value

    state = _adam_start(params) if optimizer == "adam" else {}
    (params, _), losses = jax.lax.scan(step, (params, state), batches)
    return _cast((params, losses), jnp.float32)


def _sgd_step(params: Params, grads: Params, rate: Array) -> Params:
    return jax.tree.map(lambda p, g: rounded(p - rate * g), params, grads)


# Adam's constants are float32 numbers, and 1 minus them too.
BETA1, BETA2, EPS = np.array([0.9, 0.999, 1e-8], np.float32).tolist()
State = dict[str, Any]


def _adam_start(params: Params) -> State:
    """Both means, and beta^step, which each update multiplies by beta and rounds."""
    zeros = jax.tree.map(jnp.zeros_like, params)
    return {"m": zeros, "v": zeros, "power1": jnp.ones(()), "power2": jnp.ones(())}


def _adam_step(params: Params, grads: Params, state: State, rate: Array) -> tuple[Params, State]:
    power1 = rounded(state["power1"] * BETA1)
    power2 = rounded(state["power2"] * BETA2)
    seen1, seen2 = rounded(1 - power1), rounded(1 - power2)

    def mean(m: Array, g: Array) -> Array:
        return rounded(BETA1 * m + rounded((1 - BETA1) * g))

    def mean_square(v: Array, g: Array) -> Array:
        return rounded(BETA2 * v + rounded((1 - BETA2) * rounded(g * g)))

    def moved(p: Array, m: Array, v: Array) -> Array:
        root = rounded(jnp.sqrt(rounded(v / seen2)))
        ratio = rounded(rounded(m / seen1) / rounded(root + EPS))
        return rounded(p - rate * ratio)

    m = jax.tree.map(mean, state["m"], grads)
    v = jax.tree.map(mean_square, state["v"], grads)
    params = jax.tree.map(moved, params, m, v)
    return params, {"m": m, "v": v, "power1": power1, "power2": power2}


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
