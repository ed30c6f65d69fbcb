"""What each exhibit measures, computed in one column: arrays by name, from NumPy and to NumPy."""

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from triptych import data, trees
from triptych.agreement import digests
from triptych.column import Column

Named = dict[str, np.ndarray]


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


def graphs(column: Column, dtype: str) -> Named:
    """Value and derivative of each of the documents' small graphs."""
    return flat({g: column.call("gradients", g, *numbers(dtype, *at)) for g, at in GRAPHS.items()})


def basics(column: Column, dtype: str) -> Named:
    """Arithmetic, products, broadcasting."""
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


def mechanics(column: Column, dtype: str) -> Named:
    """Accumulation, cotangents, paths, the differential."""
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


def recording(column: Column, dtype: str) -> Named:
    """A layer's output, recorded and not."""
    weight, bias, rows = numbers(dtype, [[1] * 10], [1], np.arange(50).reshape(5, 10))
    layer = {"weight": weight, "bias": bias}
    return flat([column.call("recording", "infer", layer, rows, record=r) for r in (True, False)])


def control_flow(column: Column, dtype: str) -> Named:
    """Branches, a loop, a recursion."""
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


def promotion(column: Column, dtype: str) -> Named:
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


def data_loading(column: Column, dtype: str) -> Named:
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


def aliasing(column: Column, dtype: str) -> Named:
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


def slopes(column: Column, dtype: str) -> Named:
    """Every activation and its slope, around 0 and far out."""
    x = np.concatenate([np.linspace(-6, 6, 49), [-1000, 1000]]).astype(dtype)
    names = ("relu", "sigmoid", "tanh", "softplus", "gelu")
    return flat({name: column.call("activations", name, x) for name in names})


def decisions(column: Column, dtype: str) -> Named:
    """What a network with a ReLU has learned of the exclusive or, on 400 points around the four."""
    params, x, t = data.xor(dtype=dtype)
    settings = {"nonlinear": True, "learning_rate": 0.1, "steps": 400}
    params, _ = column.call("activations", "fit", params, x, t, **settings)
    grid = np.array([*itertools.product(np.linspace(-0.5, 1.5, 20), repeat=2)], dtype)
    return {"decisions": column.call("activations", "decide", params, grid, nonlinear=True)}


def probabilities(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """A hundred rows of four probabilities, in eighths, and classes."""
    rng = np.random.default_rng(0)
    p = rng.multinomial(8, [0.4, 0.3, 0.2, 0.1], 100)
    return (p / 8).astype(dtype), rng.integers(0, 4, 100)


def counts(column: Column, dtype: str) -> Named:
    """Counts and sums are exact, and each quotient is rounded once."""
    p, t = probabilities(dtype)
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


def randomness(column: Column, dtype: str) -> Named:
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


def calibration(column: Column, dtype: str) -> Named:
    """The calibration error of the rows that `counts` counts."""
    return flat(column.call("metrics", "calibration_error", *probabilities(dtype), bins=5))


def normalization(column: Column, dtype: str) -> Named:
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


def regularized(column: Column, dtype: str) -> Named:
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


def transformations(column: Column, dtype: str) -> Named:
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


def second_derivative(column: Column, dtype: str) -> Named:
    """A derivative of a derivative."""
    return flat(column.call("transformations", "second_derivative", *numbers(dtype, 2)))


def layer_step(column: Column, dtype: str) -> Named:
    """Loss and gradients of the documents' linear layer."""
    return flat(column.call("linear_layer", "loss_and_grads", *data.layer(dtype=dtype)))


def layer_run(column: Column, dtype: str) -> tuple[Named, np.ndarray]:
    """Parameters and losses of 1000 steps of it."""
    layer = data.layer(dtype=dtype)
    return column.call("linear_layer", "fit", *layer, learning_rate=0.01, steps=1000)


def line_run(column: Column, dtype: str) -> tuple[Named, np.ndarray]:
    """Parameters and losses of 100 epochs on the documents' three points."""
    line = data.line(dtype=dtype)
    return column.call("linear_regression", "fit", *line, learning_rate=0.1, steps=100)


def least_squares(column: Column, dtype: str) -> Named:
    """The line in closed form."""
    params = column.call("linear_regression", "least_squares", *data.noisy_line(dtype=dtype)[1:])
    # b is near 0, a difference of means: w sets the scale
    return {"w, b": np.array([params["w"], params["b"]])}


def losses(run: Callable[[Column, str], Any]) -> Callable[[Column, str], Named]:
    """The losses of a run."""
    return lambda column, dtype: {"losses": run(column, dtype)[1]}


def params(run: Callable[[Column, str], Any]) -> Callable[[Column, str], Named]:
    """The parameters after a run."""
    return lambda column, dtype: run(column, dtype)[0]


def loss(column: Column, dtype: str) -> Named:
    """The classifier's loss on 32 rows."""
    # A loss near 0 is a small difference of numbers of order 1. The 1 beside it sets the scale at
    # which the loss is compared.
    loss = column.call("classifier", "loss", *sample(dtype))
    return {"1, loss": np.array([1, loss], loss.dtype)}


def training(optimizer: str, rate: float) -> Callable[[Column, str], Named]:
    """The classifier's parameters after ten steps."""

    def compute(column: Column, dtype: str) -> Named:
        params, x, t = sample(dtype, 320)
        rows = data.batches(320, 32, 1)
        return column.call(
            "classifier", "fit", params, x, t, rows, optimizer=optimizer, learning_rate=rate
        )[0]

    return compute


def optimizers(column: Column, dtype: str) -> Named:
    """The first step of Adam."""
    params = data.classifier_start(dtype=dtype)
    grads = {name: p / 3 for name, p in params.items()}
    state = column.call("optimizers", "adam_start", params)
    return flat(column.call("optimizers", "adam_step", params, grads, state, learning_rate=0.01))


def on_disk(column: Column, dtype: str) -> Named:
    """What a column has saved, as NumPy's column reads it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.safetensors"
        column.call("parameters", "save", path, data.classifier_start(dtype=dtype))
        # NumPy's column reads what this column has written.
        return Column("numpy_ref").call("parameters", "load", path)


def loop(column: Column, dtype: str) -> Named:
    """The classifier's parameters after ten steps of the training loop."""
    # The tests compare every form of the loop by this bound; here one form is enough.
    params, x, t = sample(dtype, 320)
    compiled = column.name == "jax_impl"  # PyTorch's compiler takes 20 s for the loop
    form = "compiled_loop" if compiled else "as_written"
    rows = data.batches(320, 32, 1)
    return column.call("execution", form, params, x, t, rows, learning_rate=0.1)[0]


def exact_logits(column: Column, dtype: str) -> Named:
    """The logits of small integers."""
    return {"logits": column.call("classifier", "logits", *exact_net(dtype))}


def gradients(column: Column, dtype: str) -> Named:
    """The classifier's gradients on 32 rows."""
    return column.call("classifier", "loss_and_grads", *sample(dtype))[1]


def rounding(column: Column, dtype: str) -> Named:
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


def reproducible(optimizer: str) -> Callable[[Column, str], Named]:
    """Parameters and losses of a run with a committed digest."""
    (run,) = (run for run in digests.committed()[:2] if run.optimizer == optimizer)
    return lambda column, _: flat(digests.train(column, run))


def data_parallel(optimizer: str, rate: float) -> Callable[[Column, str], Named]:
    """The ordinary loop that can be split over workers, on one."""

    def run(column: Column, dtype: str) -> Named:
        params, x, t = sample(dtype, 320)
        settings = {"optimizer": optimizer, "learning_rate": rate}
        rows = data.batches(320, 32, 1)
        return column.call("data_parallel", "fit", params, x, t, rows, **settings)[0]

    return run


def workers(column: Column, _: str) -> Named:
    """The run of the second digest, by the loop that can be split over workers, on one."""
    run = digests.committed()[1]
    settings = {"optimizer": run.optimizer, "learning_rate": digests.RATES[run.optimizer]}
    found = column.call("data_parallel", "fit_reproducible", *digests.given(run), **settings)
    return flat(found)
