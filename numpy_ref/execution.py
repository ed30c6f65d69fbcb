"""One training loop, run in several ways: as written, compiled step by step, compiled whole.

NumPy: there is no compiler. The loop runs as it is written: each line calls a compiled routine, and
nothing joins two of them.

params are where training starts and stay as they are; x has one row for each sample, t its class;
batches are the row numbers that each step sees; learning_rate is the size of a step of gradient
descent. Returned are the parameters after the last update, and the loss before each one.
"""

from jaxtyping import Float, Int
from numpy import ndarray as Array

from numpy_ref import Below, Positive, checked
from numpy_ref.classifier import Params, fit


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


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
