"""The main job: run every concept in every column, measure how far apart they are, train on data.

An exhibit is one quantity that every column can compute. NumPy is the reference; the others are
measured against it, in float32 and in float64, in the unit in which agreement makes sense: units
in the last place where arithmetic is exact or in the same order, normwise multiples of the
machine epsilon where sums run in other orders, absolute distances for trained parameters.
"""

import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from triptych import data
from triptych.agreement import DisagreementError, Row, Unit, distance
from triptych.calls import Column, missing, precision
from triptych.columns import COLUMNS

DTYPES = ("float32", "float64")

Named = dict[str, np.ndarray]


class Exhibit(NamedTuple):
    """One quantity of a concept, and how far from NumPy a column may be."""

    concept: str
    quantity: str
    compute: Callable[[Column, str], Named]
    unit: Unit
    bounds: dict[str, float]
    """By column; where it matters by column and dtype, or column and device: "jax_impl cuda"."""

    def bound(self, column: str, dtype: str, device: str) -> float:
        """The largest distance allowed."""
        keys = (f"{column} {device}", f"{column} {dtype}", column)
        return next(self.bounds[key] for key in keys if key in self.bounds)


def flat(result: Any, name: str = "") -> Named:
    """Every array of a result under a name that says where it stood."""
    if isinstance(result, dict):
        parts = [flat(value, f"{name}{key} ") for key, value in result.items()]
    elif isinstance(result, tuple | list):
        parts = [flat(value, f"{name}{i} ") for i, value in enumerate(result)]
    else:
        return {name.strip() or "result": result} if hasattr(result, "dtype") else {}
    return {key: value for part in parts for key, value in part.items()}


def numbers(dtype: str, *values: Any) -> list[np.ndarray]:
    """Arrays of that dtype."""
    return [np.array(value, dtype) for value in values]


def sample(dtype: str, n: int = 32) -> tuple[Named, np.ndarray, np.ndarray]:
    """A start of the classifier, n standardised rows of the diabetes study and their classes."""
    (x, t), _ = data.diabetes(dtype=dtype)
    return data.classifier_start(dtype=dtype), x[:n], t[:n]


def exact_net(dtype: str) -> tuple[Named, np.ndarray]:
    """Small integers: every sum in the forward pass is exact."""
    rng = np.random.default_rng(0)
    params = data.classifier_start(dtype=dtype)
    params = {name: rng.integers(-1, 2, p.shape).astype(dtype) for name, p in params.items()}
    return params, rng.integers(-3, 4, (32, 4)).astype(dtype)


GRAPHS: dict[str, tuple[float, ...]] = {
    "quadratic": (2,),
    "product": (1,),
    "cube": (2,),
    "chain": (1,),
    "affine": (1, 2, 1),
    "square": (3,),
    "shared": (2, 3),
    "product_edges": (1,),
    "chain_edges": (1,),
}


def _graphs(column: Column, dtype: str) -> Named:
    return flat({g: column.call("gradients", g, *numbers(dtype, *at)) for g, at in GRAPHS.items()})


def _basics(column: Column, dtype: str) -> Named:
    x, y, matrix = numbers(dtype, [2, 3], [1, 4], [[1, 2, 3], [4, 5, 6]])
    return flat(
        {
            "elementwise": column.call("tensor_basics", "elementwise", x, y),
            "dot": column.call("tensor_basics", "dot", x, y),
            "matmul": column.call("tensor_basics", "matmul", matrix, matrix.T.copy()),
            "broadcast": column.call("tensor_basics", "broadcast", matrix[:, :1].copy(), matrix[0]),
            "transpose": column.call("tensor_basics", "transpose", matrix),
        }
    )


def _mechanics(column: Column, dtype: str) -> Named:
    x, w, b, row, pick = numbers(dtype, 1, 2, 1, [1, 2, 3], [1, 0, 0])
    return flat(
        {
            "accumulate": column.call("mechanics", "accumulate", x, w, b, times=3, reset=False),
            "vjp": column.call("mechanics", "vector_jacobian_product", row, pick),
            "twice": column.call("mechanics", "backward_twice", x, retain_graph=True),
            "paths": column.call("mechanics", "paths", x),
            "differential": column.call("mechanics", "total_differential", x, w, b, w, b),
        }
    )


def _recording(column: Column, dtype: str) -> Named:
    weight, bias, rows = numbers(dtype, [[1] * 10], [1], np.arange(50).reshape(5, 10))
    layer = {"weight": weight, "bias": bias}
    return flat([column.call("recording", "infer", layer, rows, record=r) for r in (True, False)])


def _control_flow(column: Column, dtype: str) -> Named:
    two, minus = numbers(dtype, 2, -2)
    return flat(
        {
            "by run": column.call("control_flow", "define_by_run", two),
            "then run": column.call("control_flow", "define_then_run", two)[1],
            "branches": [column.call("control_flow", "branch", x) for x in (two, minus)],
            "loop": column.call("control_flow", "loop", two, np.array(5)),
            "recursion": column.call("control_flow", "recursion", two, n=5),
        }
    )


def _layer_step(column: Column, dtype: str) -> Named:
    return flat(column.call("linear_layer", "loss_and_grads", *data.layer(dtype=dtype)))


def _layer_trained(column: Column, dtype: str) -> Named:
    return column.call(
        "linear_layer", "train", *data.layer(dtype=dtype), learning_rate=0.01, steps=1000
    )[0]


def _line_fit(column: Column, dtype: str) -> Named:
    line = data.line(dtype=dtype)
    return flat(column.call("linear_regression", "fit", *line, learning_rate=0.1, epochs=100))


def _loss(column: Column, dtype: str) -> Named:
    # a loss near 0 is a difference of numbers of order 1: measured beside 1
    return {"1 + loss": 1 + column.call("classifier", "loss", *sample(dtype))}


def _training(optimizer: str, rate: float) -> Callable[[Column, str], Named]:
    def compute(column: Column, dtype: str) -> Named:
        params, x, t = sample(dtype, 320)
        rows = data.batches(320, 32, 1)
        return column.call(
            "classifier", "fit", params, x, t, rows, optimizer=optimizer, learning_rate=rate
        )[0]

    return compute


def _optimizers(column: Column, dtype: str) -> Named:
    params = data.classifier_start(dtype=dtype)
    grads = {name: p / 3 for name, p in params.items()}
    state = column.call("optimizers", "adam_start", params)
    return flat(column.call("optimizers", "adam_step", params, grads, state, learning_rate=0.01))


def _on_disk(column: Column, dtype: str) -> Named:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.safetensors"
        column.call("parameters", "save", path, data.classifier_start(dtype=dtype))
        # read by the reference: what this column wrote
        return Column("numpy_ref").call("parameters", "load", path)


def _compiled(column: Column, dtype: str) -> Named:
    params, x, t = sample(dtype, 320)
    modes = column.call("execution", "modes", device=column.device)
    form = "as_written" if modes["compiled_loop"] else "compiled_loop"
    rows = data.batches(320, 32, 1)
    return column.call("execution", form, params, x, t, rows, learning_rate=0.1)[0]


def _exact_logits(column: Column, dtype: str) -> Named:
    return {"logits": column.call("classifier", "logits", *exact_net(dtype))}


def _gradients(column: Column, dtype: str) -> Named:
    return column.call("classifier", "loss_and_grads", *sample(dtype))[1]


def both(bound: float) -> dict[str, float]:
    """The same bound for PyTorch and for JAX."""
    return {"torch_impl": bound, "jax_impl": bound}


def by_dtype(float32: float, float64: float) -> dict[str, float]:
    """A bound for each dtype, the same for PyTorch and for JAX."""
    bounds = {"float32": float32, "float64": float64}
    return {f"{c} {d}": bound for c in COLUMNS[1:] for d, bound in bounds.items()}


# Where sums run in another order, a few times the worst case seen over 100 seeds: far less than
# any wrong formula makes. An update of gradient descent or Adam passes on what its gradient had.
EXACT = both(0)
SGD, ADAM = by_dtype(1e-6, 2e-15), by_dtype(3e-6, 5e-15)
# The order of operations is autograd's, so PyTorch on a CPU has the same bits; XLA fuses products
# and sums, and a GPU adds in its own order.
AS_AUTOGRAD = {"torch_impl": 0.0, "torch_impl cuda": 32.0, "jax_impl": 32.0}

EXHIBITS = (
    Exhibit("tensor_basics", "documents' arithmetic", _basics, "ulp", EXACT),
    Exhibit("gradients", "values, derivatives", _graphs, "ulp", EXACT),
    Exhibit("mechanics", "accumulation, paths", _mechanics, "ulp", EXACT),
    Exhibit("recording", "Linear(10, 1)", _recording, "ulp", EXACT),
    Exhibit("linear_layer", "loss, gradients", _layer_step, "eps", both(8)),
    Exhibit("linear_layer", "1000 steps", _layer_trained, "eps", both(32)),
    Exhibit("linear_regression", "100 epochs", _line_fit, "eps", AS_AUTOGRAD),
    Exhibit("classifier", "logits, integers", _exact_logits, "ulp", EXACT),
    Exhibit("classifier", "cross-entropy", _loss, "eps", both(8)),
    Exhibit("classifier", "gradients", _gradients, "eps", both(16)),
    Exhibit("classifier", "10 steps of SGD", _training("sgd", 0.1), "absolute", SGD),
    Exhibit("classifier", "10 steps of Adam", _training("adam", 0.01), "absolute", ADAM),
    Exhibit("optimizers", "a step of Adam", _optimizers, "eps", both(8)),
    Exhibit("parameters", "saved and loaded", _on_disk, "ulp", EXACT),
    Exhibit("control_flow", "if, for, recursion", _control_flow, "ulp", EXACT),
    Exhibit("execution", "10 steps, compiled", _compiled, "absolute", SGD),
)


def agreement(
    dtypes: Iterable[str] = DTYPES, device: str = "cpu", concept: str | None = None
) -> Iterator[Row]:
    """Measure every exhibit: one row for each column but NumPy and each dtype.

    Args:
        dtypes: "float32", "float64" or both.
        device: where PyTorch and JAX compute; NumPy, the reference, stays on the CPU.
        concept: only this one.

    Yields:
        Rows in the order of EXHIBITS.
    """
    for exhibit, dtype in itertools.product(EXHIBITS, dtypes):
        if concept not in (None, exhibit.concept):
            continue
        with precision(dtype):
            reference = exhibit.compute(Column("numpy_ref"), dtype)
            for name in COLUMNS[1:]:
                yield _row(exhibit, name, dtype, device, reference)


def _row(exhibit: Exhibit, name: str, dtype: str, device: str, reference: Named) -> Row:
    bound = exhibit.bound(name, dtype, device)
    head = (exhibit.concept, exhibit.quantity, dtype, device, f"numpy_ref/{name}")
    if reason := missing(name):
        return Row(*head, float("nan"), exhibit.unit, bound, True, f"not run: {reason}")
    found = exhibit.compute(Column(name, device), dtype)
    try:
        if found.keys() != reference.keys():
            raise DisagreementError(f"{sorted(found)} instead of {sorted(reference)}")
        measured = {
            key: distance(key, as_reference(found[key], value), value, exhibit.unit)
            for key, value in reference.items()
        }
    except DisagreementError as error:
        return Row(*head, float("inf"), exhibit.unit, bound, False, str(error))
    worst = max(measured, key=lambda key: measured[key].value)
    value = measured[worst].value
    note = f"{worst} at {measured[worst].where}" if value else ""
    return Row(*head, value, exhibit.unit, bound, value <= bound, note)


def as_reference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Integers in the reference's width: that JAX without x64 counts in int32 is a known fact."""
    return a.astype(b.dtype) if a.dtype.kind == b.dtype.kind == "i" else a


class Training(NamedTuple):
    """The classifier trained on the diabetes study in one column."""

    column: str
    dtype: str
    losses: np.ndarray
    """The mean loss of each epoch, before its updates."""
    train_accuracy: float
    test_accuracy: float
    predicted: np.ndarray
    """The class of each held-out row."""
    params: Named


EPOCHS, BATCH, RATE = 200, 38, 0.05
TRAINED = 1e-12
"""How far the parameters trained in float64 may be from NumPy's; float32 drifts, and is shown."""


def train(
    column: Column, dtype: str, advance: Callable[[], object] = lambda: None, parts: int = 20
) -> Training:
    """Train 4-16-8-3 on the diabetes study: 200 epochs of gradient descent on batches of 38 rows.

    Args:
        column: where.
        dtype: "float32" or "float64".
        advance: called after each part of the epochs.
        parts: into how many equal parts the epochs are cut.

    Returns:
        What came out of it.
    """
    (x, t), (held_x, held_t) = data.diabetes(dtype=dtype)
    params = data.classifier_start(dtype=dtype)
    losses = []
    for rows in np.split(data.batches(len(x), BATCH, EPOCHS), parts):
        # gradient descent has no state but the parameters: it can go on where it stopped
        params, history = column.call(
            "classifier", "fit", params, x, t, rows, optimizer="sgd", learning_rate=RATE
        )
        losses.append(history)
        advance()
    return Training(
        column.name,
        dtype,
        np.concatenate(losses).reshape(EPOCHS, -1).mean(axis=1),
        float(column.call("classifier", "accuracy", params, x, t)),
        float(column.call("classifier", "accuracy", params, held_x, held_t)),
        column.call("classifier", "predict", params, held_x),
        params,
    )


def drift(training: Training, reference: Training) -> float:
    """The largest difference of any parameter from the reference's, absolute; NaN is infinite."""
    apart = [np.max(np.abs(p - reference.params[name])) for name, p in training.params.items()]
    return float(np.nan_to_num(np.max(apart), nan=np.inf))
