"""What is compared, and how far apart two columns may be in each quantity: `EXHIBITS`.

An exhibit is one quantity that every column can compute. Each pair of columns is measured, in
float32 and in float64, in the unit in which agreement makes sense: units in the last place where
arithmetic is exact or in the same order, normwise multiples of the machine epsilon where sums run
in other orders, absolute distances for trained parameters.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import NamedTuple

import numpy as np

from triptych import data
from triptych.agreement import bounds
from triptych.agreement import quantities as q
from triptych.agreement.measures import DisagreementError, Row, Unit, distance
from triptych.agreement.quantities import Named
from triptych.column import Column, missing, precision
from triptych.names import COLUMNS, DTYPES


class Exhibit(NamedTuple):
    """One quantity of a concept, and how far apart two columns may be."""

    concept: str
    quantity: str
    compute: Callable[[Column, str], Named]
    unit: Unit
    bound: Callable[[str], float]
    """By dtype."""
    same_bits: bool = False
    """Whether NumPy and PyTorch, on a CPU, must have the same bits all the same."""
    dtypes: tuple[str, ...] = DTYPES
    """In which it exists."""

    def allowed(self, pair: str, dtype: str, device: str) -> float:
        """The largest distance allowed."""
        bitwise = self.same_bits and pair == "numpy_ref/torch_impl" and device == "cpu"
        return 0 if bitwise else self.bound(dtype)


@cache
def layer_descent(dtype: str) -> bounds.Descent:
    """What rounding may do to 1000 steps of the documents' linear layer."""
    params, x, t = data.layer(dtype=dtype)
    start = np.hstack([params["weight"][0], params["bias"]])
    return bounds.descent(start, x[None], t, learning_rate=0.01, steps=1000)


@cache
def line_descent(dtype: str) -> bounds.Descent:
    """What rounding may do to 100 epochs on the documents' three points."""
    params, x, t = data.line(dtype=dtype)
    start = np.hstack([params["w"], params["b"]])
    return bounds.descent(start, x, t[:, 0], learning_rate=0.1, steps=100)


Bound = Callable[[str], float]


def fixed(bound: float) -> Bound:
    """The same bound in both dtypes."""
    return lambda _: bound


def epsilons(count: float) -> Bound:
    """So many machine epsilons, for numbers of order 1."""
    return lambda dtype: count * float(np.finfo(dtype).eps)


def trained(optimizer: str, steps: int) -> Bound:
    """The table's bound for the classifier's parameters."""
    return lambda dtype: bounds.TRAINED[optimizer, dtype][steps]


def first_step(descent: Callable[[str], bounds.Descent]) -> Bound:
    """Loss and gradients at the start of a descent."""

    def bound(dtype: str) -> float:
        found = descent(dtype)
        return max(
            bounds.apart(quantity.error[0], quantity.value[0], dtype)
            for quantity in (found.losses, found.grads)
        )

    return bound


def all_losses(descent: Callable[[str], bounds.Descent]) -> Bound:
    """The losses of a descent, beside the largest of them."""

    def bound(dtype: str) -> float:
        losses = descent(dtype).losses
        return bounds.apart(losses.error.max(), losses.value.max(), dtype)

    return bound


def last_params(descent: Callable[[str], bounds.Descent]) -> Bound:
    """The parameters at the end of a descent."""

    def bound(dtype: str) -> float:
        params = descent(dtype).params
        return bounds.apart(params.error[-1], params.value[-1], dtype)

    return bound


# Whole numbers, a copy, or one rounding of each number: nothing may differ.
EXACT = fixed(0)
# Four times the worst of 100 seeds, for 32 rows of order 1: sums of up to 32 terms, exp and log.
LOSS, GRADIENTS = fixed(8), fixed(16)
# XLA multiplies by 1 / n, which is rounded as well.
DIVIDED = fixed(2)
# From m = v = 0, each column rounds (1 - beta2) g g three times, by half an eps each time; every
# other quantity of the step is rounded less often.
ADAM_STEP = fixed(3)

# Derivatives of order 1, from sums of up to 8 terms of order 1, exp and a quotient: four times the
# worst of 100 seeds, beside the exact ones.
DERIVATIVES = epsilons(40)

# Four times the worst of 100 seeds: means and sums of 100 terms. Absolute, since b is near 0, and
# all that rounds on the way to it is of order 1.
LEAST_SQUARES = epsilons(32)

# Losses and gradients of some ten rows, then six steps along them: four times the worst of 100
# seeds, beside each other.
MEANS = epsilons(128)
# Twice what the worst of 1000 points is off the exact value, for each of two columns.
SLOPES = epsilons(30)
# Four times what the worst of 100 seeds is off a pass in float64, for quotients by the root of a
# variance of 8 numbers, and their sums.
NORMALISED = epsilons(90)

EXHIBITS = (
    Exhibit("tensor_basics", "arithmetic", q.basics, "ulp", EXACT),
    Exhibit("gradients", "values, derivatives", q.graphs, "ulp", EXACT),
    Exhibit("mechanics", "accumulation, paths", q.mechanics, "ulp", EXACT),
    Exhibit("recording", "Linear(10, 1)", q.recording, "ulp", EXACT),
    Exhibit("linear_layer", "loss, gradients", q.layer_step, "eps", first_step(layer_descent)),
    Exhibit("linear_layer", "1000 losses", q.losses(q.layer_run), "eps", all_losses(layer_descent)),
    Exhibit("linear_layer", "1000 steps", q.params(q.layer_run), "eps", last_params(layer_descent)),
    # NumPy computes in the order in which autograd does, so the bits are equal.
    Exhibit(
        "linear_regression",
        "100 losses",
        q.losses(q.line_run),
        "eps",
        all_losses(line_descent),
        True,
    ),
    Exhibit(
        "linear_regression",
        "100 epochs",
        q.params(q.line_run),
        "eps",
        last_params(line_descent),
        True,
    ),
    Exhibit("linear_regression", "least squares", q.least_squares, "absolute", LEAST_SQUARES),
    Exhibit("activations", "values, slopes", q.slopes, "absolute", SLOPES),
    # the closest decision of the 400 is 0.003 away from 1/2
    Exhibit("activations", "decisions, learned", q.decisions, "ulp", EXACT),
    Exhibit("classifier", "logits of integers", q.exact_logits, "ulp", EXACT),
    Exhibit("classifier", "loss, beside 1", q.loss, "eps", LOSS),
    Exhibit("classifier", "gradients", q.gradients, "eps", GRADIENTS),
    Exhibit(
        "classifier", "10 steps of SGD", q.training("sgd", 0.1), "absolute", trained("sgd", 10)
    ),
    Exhibit(
        "classifier", "10 steps of Adam", q.training("adam", 0.01), "absolute", trained("adam", 10)
    ),
    Exhibit("data_loading", "batches, their means", q.data_loading, "absolute", MEANS),
    Exhibit("metrics", "counts and shares", q.counts, "ulp", EXACT),
    Exhibit("metrics", "calibration error", q.calibration, "ulp", DIVIDED),
    Exhibit("optimizers", "first step of Adam", q.optimizers, "eps", ADAM_STEP),
    Exhibit("regularization", "gradients", q.regularized, "eps", GRADIENTS),
    Exhibit("parameters", "saved and loaded", q.on_disk, "ulp", EXACT),
    Exhibit("normalization", "both modes, gradients", q.normalization, "absolute", NORMALISED),
    Exhibit("control_flow", "if, for, recursion", q.control_flow, "ulp", EXACT),
    Exhibit("execution", "10 steps of the loop", q.loop, "absolute", trained("sgd", 10)),
    Exhibit("promotion", "within a kind; by a number", q.promotion, "ulp", EXACT),
    Exhibit("aliasing", "what a write leaves", q.aliasing, "ulp", EXACT),
    Exhibit("randomness", "drawn once, handed over", q.randomness, "ulp", EXACT),
    Exhibit("transformations", "Jacobians, curvature", q.transformations, "absolute", DERIVATIVES),
    Exhibit("transformations", "second derivative", q.second_derivative, "ulp", EXACT),
    Exhibit("rounding", "product, exp, log", q.rounding, "ulp", EXACT, dtypes=("float64",)),
    Exhibit(
        "reproducible", "100 steps of SGD", q.reproducible("sgd"), "ulp", EXACT, dtypes=("float32",)
    ),
    Exhibit(
        "reproducible",
        "100 steps of Adam",
        q.reproducible("adam"),
        "ulp",
        EXACT,
        dtypes=("float32",),
    ),
    Exhibit(
        "data_parallel", "10 steps", q.data_parallel("sgd", 0.1), "absolute", trained("sgd", 10)
    ),
    Exhibit("data_parallel", "100 steps of Adam", q.workers, "ulp", EXACT, dtypes=("float32",)),
)


def agreement(
    dtypes: Iterable[str] = DTYPES,
    device: str = "cpu",
    concept: str | None = None,
    columns: Mapping[str, Column] | None = None,
) -> Iterator[Row]:
    """Measure every exhibit: one row for each pair of columns and each dtype.

    Args:
        dtypes: "float32", "float64" or both.
        device: where PyTorch and JAX compute; NumPy stays on the CPU.
        concept: only this one.
        columns: by name; by default those of the packages, on that device.

    Yields:
        Rows in the order of EXHIBITS.
    """
    if columns is None:
        columns = {name: Column(name, device) for name in COLUMNS if not missing(name)}
    for exhibit, dtype in itertools.product(EXHIBITS, dtypes):
        if concept not in (None, exhibit.concept) or dtype not in exhibit.dtypes:
            continue
        with precision(dtype):
            found = {name: exhibit.compute(column, dtype) for name, column in columns.items()}
        for pair in itertools.combinations(COLUMNS, 2):
            yield _row(exhibit, pair, dtype, device, found)


def _row(
    exhibit: Exhibit, pair: tuple[str, str], dtype: str, device: str, found: dict[str, Named]
) -> Row:
    both = "/".join(pair)
    bound = exhibit.allowed(both, dtype, device)
    head = (exhibit.concept, exhibit.quantity, dtype, device, both)
    if reasons := [missing(name) for name in pair if missing(name)]:
        return Row(*head, float("nan"), exhibit.unit, bound, True, f"not run: {reasons[0]}")
    reference, other = (found[name] for name in pair)
    try:
        if other.keys() != reference.keys():
            raise DisagreementError(f"{sorted(other)} instead of {sorted(reference)}")
        measured = {
            key: distance(key, same_width(other[key], value), value, exhibit.unit)
            for key, value in reference.items()
        }
    except DisagreementError as error:
        return Row(*head, float("inf"), exhibit.unit, bound, False, str(error))
    worst = max(measured, key=lambda key: measured[key].value)
    value = measured[worst].value
    note = f"{worst} at {measured[worst].where}" if value else ""
    return Row(*head, value, exhibit.unit, bound, value <= bound, note)


def same_width(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Integers in the width of b: that JAX without x64 counts in int32 is a known fact."""
    return a.astype(b.dtype) if a.dtype.kind == b.dtype.kind == "i" else a
