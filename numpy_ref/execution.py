"""One training step, three ways to run it: as written, compiled, the whole loop compiled.

NumPy: there is no compiler. The loop runs as it is written; the compiled forms raise a
RuntimeError that says so.
"""

from jaxtyping import Float, Int
from numpy import ndarray as Array

from numpy_ref import Below, Device, Positive, checked
from numpy_ref.classifier import Params, fit
from numpy_ref.control_flow import NO_COMPILER


@checked
def modes(*, device: Device = "cpu") -> dict[str, str]:
    """Which of the three forms of the training loop run on a device.

    Args:
        device: one of `devices()`.

    Returns:
        For "as_written", "compiled_step" and "compiled_loop": "" if it runs, or why it does not.
    """
    return {"as_written": "", "compiled_step": NO_COMPILER, "compiled_loop": NO_COMPILER}


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

    Raises:
        RuntimeError: NumPy has no compiler.

    Args and Returns: as for `as_written`.

    Source: A 7.1.
    """
    raise RuntimeError(NO_COMPILER)


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

    Raises:
        RuntimeError: NumPy has no compiler.

    Args and Returns: as for `as_written`.

    Source: A 7.1.
    """
    raise RuntimeError(NO_COMPILER)


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
