"""The three-layer classifier 4-16-8-3: forward, loss, backward, training.

JAX: the network is a pure function of a dictionary. `value_and_grad` differentiates the loss by
every entry, and `scan` compiles the whole training loop into one program. `logits` and `loss` stay
as they are: whoever calls them compiles them, with everything around them.

params holds weights (out, in) and biases, x one row for each sample, t the class of each row.
"""

from functools import partial
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jax_impl import Below, Fraction, Positive, checked
from jax_impl.optimizers import State, adam_start, adam_step, sgd_step

Params = Annotated[
    dict[str, Array],
    {
        "fc1.weight": "hidden1 features",
        "fc1.bias": "hidden1",
        "fc2.weight": "hidden2 hidden1",
        "fc2.bias": "hidden2",
        "output.weight": "classes hidden2",
        "output.bias": "classes",
    },
]


@checked
def logits(params: Params, x: Float[Array, "n features"]) -> Float[Array, "n classes"]:
    """Scores: relu(relu(x W1^T + b1) W2^T + b2) W3^T + b3, with relu(z) = max(0, z).

    Source: document B.
    """
    z1 = x @ params["fc1.weight"].T + params["fc1.bias"]
    h1 = jax.nn.relu(z1)
    z2 = h1 @ params["fc2.weight"].T + params["fc2.bias"]
    h2 = jax.nn.relu(z2)
    return h2 @ params["output.weight"].T + params["output.bias"]


@checked
@jax.jit
def probabilities(params: Params, x: Float[Array, "n features"]) -> Float[Array, "n classes"]:
    """Softmax of the logits: P_i = exp(z_i) / sum_j exp(z_j).

    Source: document B.
    """
    return jax.nn.softmax(logits(params, x), axis=1)


@checked
@jax.jit
def predict(params: Params, x: Float[Array, "n features"]) -> Int[Array, " n"]:
    """The class with the largest logit; the first of them at a tie.

    Source: document B.
    """
    return jnp.argmax(logits(params, x), axis=1)


@checked
def loss(
    params: Params, x: Float[Array, "n features"], t: Below[Int[Array, " n"], " classes"]
) -> Float[Array, ""]:
    """Cross-entropy: the mean over the rows of -log P_t, from the logits.

    Source: document B, next steps.
    """
    log_p = jax.nn.log_softmax(logits(params, x), axis=1)
    return -jnp.mean(log_p[jnp.arange(len(t)), t])


@checked
@jax.jit
def loss_and_grads(
    params: Params, x: Float[Array, "n features"], t: Below[Int[Array, " n"], " classes"]
) -> tuple[Float[Array, ""], Params]:
    """The loss, and its derivative by every parameter, under the name of the parameter.

    Source: document B, next steps.
    """
    # forward, backward
    return jax.value_and_grad(loss)(params, x, t)


@checked
@jax.jit
def accuracy(
    params: Params, x: Float[Array, "n features"], t: Below[Int[Array, " n"], " classes"]
) -> Float[Array, ""]:
    """The share of rows whose predicted class is right.

    Source: document B.
    """
    return jnp.mean(predict(params, x) == t, dtype=x.dtype)


@checked
def dropout(
    h: Float[Array, "n hidden"], mask: Bool[Array, "n hidden"], *, rate: Fraction, training: bool
) -> Float[Array, "n hidden"]:
    """In training h * mask / (1 - rate), in evaluation h.

    Nothing remembers a mode here: the caller says which. Nor does a generator: the usual mask,
    `jax.random.bernoulli(key, 1 - rate, h.shape)`, needs a key of its own for every call.

    Args:
        mask: True where an activation is kept; drawn beforehand, so that all columns drop the same.
        rate: the share that is dropped.

    Source: document B, modes.
    """
    # 1 - rate as Python has it: inside of jit it would be rounded to 0 where little is kept
    return _kept(h, mask, 1 - rate) if training else h


@jax.jit
def _kept(h: Array, mask: Array, share: Array | float) -> Array:
    return h * mask / share


@checked
@partial(jax.jit, static_argnames="optimizer")
def fit(
    params: Params,
    x: Float[Array, "n features"],
    t: Below[Int[Array, " n"], " classes"],
    batches: Below[Int[Array, "steps batch"], " n"],
    *,
    optimizer: Literal["sgd", "adam"],
    learning_rate: Positive,
) -> tuple[Params, Float[Array, " steps"]]:
    """Mini-batch training: one update for each row of batches.

    Args:
        params: where to start; left as they are.
        batches: the row numbers that each step sees.
        learning_rate: the size of a step.

    Returns:
        The parameters after the last update, and the loss before each one.

    Source: document B, next steps.
    """

    def step(carry: tuple[Params, State], rows: Array) -> tuple[tuple[Params, State], Array]:
        params, state = carry
        # forward, backward
        value, grads = loss_and_grads(params, x[rows], t[rows])
        # update
        if optimizer == "sgd":
            params = sgd_step(params, grads, learning_rate=learning_rate)
        else:
            params, state = adam_step(params, grads, state, learning_rate=learning_rate)
        return (params, state), value

    state = adam_start(params) if optimizer == "adam" else {}
    (params, _), losses = jax.lax.scan(step, (params, state), batches)
    return params, losses


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
