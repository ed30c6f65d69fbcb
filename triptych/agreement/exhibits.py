"""What is compared, and how far apart two columns may be in each quantity: `EXHIBITS`, at the end.

An exhibit is one quantity that every column can compute. Each pair of columns is measured, in
float32 and in float64, in the unit in which agreement makes sense: units in the last place where
arithmetic is exact or in the same order, normwise multiples of the machine epsilon where sums run
in other orders, absolute distances for trained parameters.
"""

import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from triptych import data, trees
from triptych.agreement import bounds, digests
from triptych.agreement.measures import DisagreementError, Row, Unit, distance
from triptych.column import Column, missing, precision
from triptych.names import COLUMNS, DTYPES

Named = dict[str, np.ndarray]


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


def flat(result: Any) -> Named:
    """Every array of a result under a name that says where it stood."""
    found = trees.leaves(result)
    return {name or "result": value for name, value in found if hasattr(value, "dtype")}


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
    "perfect_square": (3,),
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


def _promotion(column: Column, dtype: str) -> Named:
    """The dtypes that two of a kind make, and what a Python number leaves of one."""
    wide = dtype == "float64"
    integers = ["uint8", "int8", "int16", "int32", *(["int64"] if wide else [])]
    floats = ["float16", "float32", *(["float64"] if wide else [])]
    pairs = [*itertools.product(integers, integers), *itertools.product(floats, floats)]
    made = {}
    for left, right in pairs:
        found = np.dtype(column.call("promotion", "arrays", left, right))
        # in numbers, since integers are compared whatever their width
        made[f"{left} + {right}"] = np.array([ord(found.kind), found.itemsize])
    (x,) = numbers(dtype, [0.1, -2.5, 3e-3])
    return made | {"scaled": column.call("promotion", "scale", x, 0.1)}


def _data_loading(column: Column, dtype: str) -> Named:
    """Ten rows in batches of four: the batches, both means over them, two epochs of training."""
    rng = np.random.default_rng(0)
    shapes = {"weight": (2, 3), "bias": (2,)}
    params = {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}
    x, t = (rng.normal(size=(10, size)).astype(dtype) for size in (3, 2))
    orders = np.stack([rng.permutation(10) for _ in range(2)])

    def call(function: str, *args: Any, **kwargs: Any) -> Any:
        return column.call("data_loading", function, *args, batch=4, **kwargs)

    given = params, x, t
    return flat(
        {
            "batches": column.give_out(list(call("batches", x, t, orders[0], drop_last=False))),
            "mean of means": call("mean_of_means", *given, orders[0]),
            "weighted": call("weighted_mean", *given, orders[0]),
            "trained": call("fit", *given, orders, drop_last=False, learning_rate=0.1),
        }
    )


def _aliasing(column: Column, dtype: str) -> Named:
    """What a write leaves where no column differs: the written name, copies, sums, an update."""
    x, value, weight, bias = numbers(dtype, [[1, 2, 3], [4, 5, 6]], 9, [[4, -4, 2]] * 2, [7, 8])
    params, grads = {"weight": x, "bias": bias}, {"weight": weight, "bias": bias}
    index = np.array([2, 0, 2])

    def call(function: str, *args: Any, **kwargs: Any) -> Any:
        return column.call("aliasing", function, *args, **kwargs)

    return flat(
        {
            "alias": call("augmented_assignment", x, value)["y"],
            "view": call("write_view", x, value)["y"],
            "copy": call("write_copy", x, value),
            "selected": call("write_selected", x, index % 2, value),
            "reshaped": call("write_reshaped", x, value, transposed=True),
            "added": [call("add_at", x[0], index, value, accumulate=a) for a in (True, False)],
            "updated": call("update_in_place", params, grads, learning_rate=0.5),
        }
    )


def _slopes(column: Column, dtype: str) -> Named:
    """Every activation and its slope, around 0 and far out."""
    x = np.concatenate([np.linspace(-6, 6, 49), [-1000, 1000]]).astype(dtype)
    names = ("relu", "sigmoid", "tanh", "softplus", "gelu")
    return flat({name: column.call("activations", name, x) for name in names})


def _decisions(column: Column, dtype: str) -> Named:
    """What a network with a ReLU has learned of the exclusive or, on 400 points around the four."""
    params, x, t = data.xor(dtype=dtype)
    settings = {"nonlinear": True, "learning_rate": 0.1, "steps": 400}
    params, _ = column.call("activations", "fit", params, x, t, **settings)
    grid = np.array([*itertools.product(np.linspace(-0.5, 1.5, 20), repeat=2)], dtype)
    return {"decisions": column.call("activations", "decide", params, grid, nonlinear=True)}


def _probabilities(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """A hundred rows of four probabilities, in eighths, and classes."""
    rng = np.random.default_rng(0)
    p = rng.multinomial(8, [0.4, 0.3, 0.2, 0.1], 100)
    return (p / 8).astype(dtype), rng.integers(0, 4, 100)


def _counts(column: Column, dtype: str) -> Named:
    """Counts and sums are exact, and each quotient is rounded once."""
    p, t = _probabilities(dtype)
    shares = [
        column.call("metrics", name, p, t, zero_division=0) for name in ("recall", "precision")
    ]
    bins = column.call("metrics", "reliability", p, t, bins=5)
    filled = bins["count"] > 0  # NaN elsewhere
    return flat(
        {
            "matrix": column.call("metrics", "confusion_matrix", p, t),
            "recall, precision": shares,
            "count": bins["count"],
            "bins": [bins[name][filled] for name in ("confidence", "accuracy")],
        }
    )


def _randomness(column: Column, dtype: str) -> Named:
    """Noise that NumPy drew for all, and what drops nothing: no draw of a column's own."""
    rng = np.random.default_rng(0)
    x, noise = (rng.normal(size=(5, 4)).astype(dtype) for _ in range(2))

    def dropped(**how: Any) -> Any:
        return column.call("randomness", "dropout", x, 0, **how)

    return flat(
        {
            "noise": column.call("randomness", "with_noise", x, noise, std=0.3),
            "inference": dropped(rate=0.5, training=False),
            "rate 0": dropped(rate=0.0, training=True),
        }
    )


def _calibration(column: Column, dtype: str) -> Named:
    return flat(column.call("metrics", "calibration_error", *_probabilities(dtype), bins=5))


def _normalization(column: Column, dtype: str) -> Named:
    """Output, buffers and gradients of a batch norm in both modes, and the buffers of 5 batches."""
    rng = np.random.default_rng(0)
    params = {name: rng.normal(size=3).astype(dtype) for name in ("weight", "bias")}
    x, d_y = (rng.normal(size=(8, 3)).astype(dtype) for _ in range(2))
    rows = rng.integers(0, 8, (5, 4))

    def call(function: str, *args: Any, **kwargs: Any) -> Any:
        return column.call("normalization", function, *args, **kwargs)

    buffers = call("start", params)
    return flat(
        {
            "start": buffers,
            "tracked": call("track", buffers, x, rows),
            "output": [call("batch_norm", params, buffers, x, training=t) for t in (True, False)],
            "pulled back": [
                call("pull_back", params, buffers, x, d_y, training=t) for t in (True, False)
            ],
        }
    )


def _regularized(column: Column, dtype: str) -> Named:
    """Gradients with a penalty, and with dropout."""
    given = sample(dtype)
    mask = data.dropout_mask((32, 16), 0.5)
    return flat(
        {
            "penalty": column.call(
                "regularization", "penalised_loss_and_grads", *given, penalty=0.1
            )[1],
            "dropout": column.call(
                "regularization", "dropout_loss_and_grads", *given, mask, rate=0.5
            )[1],
        }
    )


def _transformations(column: Column, dtype: str) -> Named:
    """Every derivative of a linear classifier with five features and four classes."""
    rng = np.random.default_rng(0)
    shapes = {"weight": (4, 5), "bias": (4,)}
    params, direction = (
        {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}
        for _ in range(2)
    )
    x, t = rng.normal(size=(8, 5)).astype(dtype), rng.integers(0, 4, 8)

    def call(function: str, *args: Any, **kwargs: Any) -> Any:
        return column.call("transformations", function, *args, **kwargs)

    return flat(
        {
            "rows": call("per_example_grads", params, x, t),
            "jacobians": [call(f"jacobian_by_{m}", params, x[0]) for m in ("rows", "columns")],
            "curvature": call("hessian_vector_product", params, x, t, direction),
            "own": call("own_derivative", x[:, :4].copy(), t),
            "complex step": call("complex_step", params, x, t, step=1e-20),
        }
    )


def _second_derivative(column: Column, dtype: str) -> Named:
    return flat(column.call("transformations", "second_derivative", *numbers(dtype, 2)))


def _layer_step(column: Column, dtype: str) -> Named:
    return flat(column.call("linear_layer", "loss_and_grads", *data.layer(dtype=dtype)))


def _layer_run(column: Column, dtype: str) -> tuple[Named, np.ndarray]:
    layer = data.layer(dtype=dtype)
    return column.call("linear_layer", "fit", *layer, learning_rate=0.01, steps=1000)


def _line_run(column: Column, dtype: str) -> tuple[Named, np.ndarray]:
    line = data.line(dtype=dtype)
    return column.call("linear_regression", "fit", *line, learning_rate=0.1, steps=100)


def _least_squares(column: Column, dtype: str) -> Named:
    params = column.call("linear_regression", "least_squares", *data.noisy_line(dtype=dtype)[1:])
    # b is near 0, a difference of means: w sets the scale
    return {"w, b": np.array([params["w"], params["b"]])}


def _losses(run: Callable[[Column, str], Any]) -> Callable[[Column, str], Named]:
    return lambda column, dtype: {"losses": run(column, dtype)[1]}


def _params(run: Callable[[Column, str], Any]) -> Callable[[Column, str], Named]:
    return lambda column, dtype: run(column, dtype)[0]


def _loss(column: Column, dtype: str) -> Named:
    # A loss near 0 is a small difference of numbers of order 1. The 1 beside it sets the scale at
    # which the loss is compared.
    loss = column.call("classifier", "loss", *sample(dtype))
    return {"1, loss": np.array([1, loss], loss.dtype)}


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
        # NumPy's column reads what this column has written.
        return Column("numpy_ref").call("parameters", "load", path)


def _loop(column: Column, dtype: str) -> Named:
    # The tests compare every form of the loop by this bound; here one form is enough.
    params, x, t = sample(dtype, 320)
    compiled = column.name == "jax_impl"  # PyTorch's compiler takes 20 s for the loop
    form = "compiled_loop" if compiled else "as_written"
    rows = data.batches(320, 32, 1)
    return column.call("execution", form, params, x, t, rows, learning_rate=0.1)[0]


def _exact_logits(column: Column, dtype: str) -> Named:
    return {"logits": column.call("classifier", "logits", *exact_net(dtype))}


def _gradients(column: Column, dtype: str) -> Named:
    return column.call("classifier", "loss_and_grads", *sample(dtype))[1]


def layer_descent(dtype: str) -> bounds.Descent:
    """What rounding may do to 1000 steps of the documents' linear layer."""
    params, x, t = data.layer(dtype=dtype)
    start = np.hstack([params["weight"][0], params["bias"]])
    return bounds.descent(start, x[None], t, learning_rate=0.01, steps=1000)


def line_descent(dtype: str) -> bounds.Descent:
    """What rounding may do to 100 epochs on the documents' three points."""
    params, x, t = data.line(dtype=dtype)
    start = np.hstack([params["w"], params["b"]])
    return bounds.descent(start, x, t[:, 0], learning_rate=0.1, steps=100)


def _rounding(column: Column, dtype: str) -> Named:
    """Each function, in float32's 24 bits."""
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=shape).astype("float32").astype(dtype) for shape in ((8, 50), (50, 4)))
    x = -np.exp(rng.uniform(-12, 4, 1000)).astype("float32").astype(dtype)
    return flat(
        {
            "rounded": column.call("rounding", "rounded", rng.normal(size=100).astype(dtype)),
            "product": column.call("rounding", "product", a, b),
            "total": column.call("rounding", "total", b),
            "exp": column.call("rounding", "exp", x),
            "log": column.call("rounding", "log", 1 - x),
        }
    )


def _reproducible(optimizer: str) -> Callable[[Column, str], Named]:
    (run,) = (run for run in digests.committed()[:2] if run.optimizer == optimizer)
    return lambda column, _: flat(digests.train(column, run))


def _data_parallel(optimizer: str, rate: float) -> Callable[[Column, str], Named]:
    """The ordinary loop that can be split over workers, on one."""

    def run(column: Column, dtype: str) -> Named:
        params, x, t = sample(dtype, 320)
        settings = {"optimizer": optimizer, "learning_rate": rate}
        rows = data.batches(320, 32, 1)
        return column.call("data_parallel", "fit", params, x, t, rows, **settings)[0]

    return run


def _workers(column: Column, _: str) -> Named:
    """The run of the second digest, by the loop that can be split over workers, on one."""
    run = digests.committed()[1]
    settings = {"optimizer": run.optimizer, "learning_rate": digests.RATES[run.optimizer]}
    found = column.call("data_parallel", "fit_reproducible", *digests.given(run), **settings)
    return flat(found)


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
    Exhibit("tensor_basics", "arithmetic", _basics, "ulp", EXACT),
    Exhibit("gradients", "values, derivatives", _graphs, "ulp", EXACT),
    Exhibit("mechanics", "accumulation, paths", _mechanics, "ulp", EXACT),
    Exhibit("recording", "Linear(10, 1)", _recording, "ulp", EXACT),
    Exhibit("linear_layer", "loss, gradients", _layer_step, "eps", first_step(layer_descent)),
    Exhibit("linear_layer", "1000 losses", _losses(_layer_run), "eps", all_losses(layer_descent)),
    Exhibit("linear_layer", "1000 steps", _params(_layer_run), "eps", last_params(layer_descent)),
    # NumPy computes in the order in which autograd does, so the bits are equal.
    Exhibit(
        "linear_regression", "100 losses", _losses(_line_run), "eps", all_losses(line_descent), True
    ),
    Exhibit(
        "linear_regression",
        "100 epochs",
        _params(_line_run),
        "eps",
        last_params(line_descent),
        True,
    ),
    Exhibit("linear_regression", "least squares", _least_squares, "absolute", LEAST_SQUARES),
    Exhibit("activations", "values, slopes", _slopes, "absolute", SLOPES),
    # the closest decision of the 400 is 0.003 away from 1/2
    Exhibit("activations", "decisions, learned", _decisions, "ulp", EXACT),
    Exhibit("classifier", "logits of integers", _exact_logits, "ulp", EXACT),
    Exhibit("classifier", "loss, beside 1", _loss, "eps", LOSS),
    Exhibit("classifier", "gradients", _gradients, "eps", GRADIENTS),
    Exhibit("classifier", "10 steps of SGD", _training("sgd", 0.1), "absolute", trained("sgd", 10)),
    Exhibit(
        "classifier", "10 steps of Adam", _training("adam", 0.01), "absolute", trained("adam", 10)
    ),
    Exhibit("data_loading", "batches, their means", _data_loading, "absolute", MEANS),
    Exhibit("metrics", "counts and shares", _counts, "ulp", EXACT),
    Exhibit("metrics", "calibration error", _calibration, "ulp", DIVIDED),
    Exhibit("optimizers", "first step of Adam", _optimizers, "eps", ADAM_STEP),
    Exhibit("regularization", "gradients", _regularized, "eps", GRADIENTS),
    Exhibit("parameters", "saved and loaded", _on_disk, "ulp", EXACT),
    Exhibit("normalization", "both modes, gradients", _normalization, "absolute", NORMALISED),
    Exhibit("control_flow", "if, for, recursion", _control_flow, "ulp", EXACT),
    Exhibit("execution", "10 steps of the loop", _loop, "absolute", trained("sgd", 10)),
    Exhibit("promotion", "within a kind; by a number", _promotion, "ulp", EXACT),
    Exhibit("aliasing", "what a write leaves", _aliasing, "ulp", EXACT),
    Exhibit("randomness", "drawn once, handed over", _randomness, "ulp", EXACT),
    Exhibit("transformations", "Jacobians, curvature", _transformations, "absolute", DERIVATIVES),
    Exhibit("transformations", "second derivative", _second_derivative, "ulp", EXACT),
    Exhibit("rounding", "product, exp, log", _rounding, "ulp", EXACT, dtypes=("float64",)),
    Exhibit(
        "reproducible", "100 steps of SGD", _reproducible("sgd"), "ulp", EXACT, dtypes=("float32",)
    ),
    Exhibit(
        "reproducible",
        "100 steps of Adam",
        _reproducible("adam"),
        "ulp",
        EXACT,
        dtypes=("float32",),
    ),
    Exhibit(
        "data_parallel", "10 steps", _data_parallel("sgd", 0.1), "absolute", trained("sgd", 10)
    ),
    Exhibit("data_parallel", "100 steps of Adam", _workers, "ulp", EXACT, dtypes=("float32",)),
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
