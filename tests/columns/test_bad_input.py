"""Bad input: the same kind of error in all three columns, naming argument, expectation and input.

Each case changes one argument of a call that works. What was given must stay as it was.
"""

import copy
import re
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from annotated_types import Ge, Gt, Interval, Le, Lt
from jaxtyping import Float, Int

from triptych import data
from triptych.column import precision

F = np.float32
ROW = np.zeros((8, 4), F)
LABELS = np.arange(8) % 3


def start() -> dict[str, np.ndarray]:
    return data.classifier_start(dtype="float32")


def without(params: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in params.items() if key != name}


def nested(depth: int) -> Any:
    """A number in so many lists."""
    value: Any = 1.0
    for _ in range(depth):
        value = [value]
    return value


LINE = {"w": F(1), "b": F(0)}
POINTS = np.ones((3, 1), F)
MODEL = {"weight": np.ones((3, 4), F), "bias": np.zeros(3, F)}
NORM = {"weight": np.ones(4, F), "bias": np.zeros(4, F)}
BUFFERS: dict[str, Any] = {"running_mean": np.zeros(4, F), "running_var": np.ones(4, F)}
BUFFERS["num_batches_tracked"] = np.array(0)

# a call of each kind that works: concept, function, arguments
CALLS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "loss": ("classifier", "loss_and_grads", {"params": start(), "x": ROW, "t": LABELS}),
    "logits": ("classifier", "logits", {"params": start(), "x": ROW}),
    "classifier fit": (
        "classifier",
        "fit",
        {"params": start(), "x": ROW, "t": LABELS, "batches": np.array([[0, 1], [2, 3]])}
        | {"optimizer": "sgd", "learning_rate": 0.1},
    ),
    "dropout": (
        "classifier",
        "dropout",
        {"h": ROW, "mask": ROW == 0, "rate": 0.5, "training": True},
    ),
    "fit": (
        "linear_regression",
        "fit",
        {"params": LINE, "x": POINTS, "t": POINTS, "learning_rate": 0.1, "steps": 2},
    ),
    "least squares": (
        "linear_regression",
        "least_squares",
        {"x": np.arange(3, dtype=F)[:, None], "t": POINTS},
    ),
    "train": (
        "linear_layer",
        "fit",
        {"params": {"weight": np.ones((1, 3), F), "bias": np.ones(1, F)}, "x": np.ones(3, F)}
        | {"t": np.ones(1, F), "learning_rate": 0.1, "steps": 2},
    ),
    "mse": ("linear_layer", "mse_loss", {"y": POINTS, "t": POINTS}),
    "mse in float16": (
        "linear_layer",
        "mse_loss",
        {"y": POINTS.astype(np.float16), "t": POINTS.astype(np.float16)},
    ),
    "sgd": ("optimizers", "sgd_step", {"params": LINE, "grads": LINE, "learning_rate": 0.1}),
    "adam": (
        "optimizers",
        "adam_step",
        {"params": LINE, "grads": LINE, "state": {"step": np.int32(0), "m": LINE, "v": LINE}}
        | {"learning_rate": 0.1},
    ),
    "recursion": ("control_flow", "recursion", {"x": F(1), "n": 2}),
    "branch compiled": ("control_flow", "branch_compiled", {"x": F(1)}),
    "variance": ("tensor_basics", "variance", {"x": np.ones(3, F), "ddof": 1}),
    "replace": (
        "tensor_basics",
        "replace",
        {"x": np.ones(3, F), "index": np.int32(1), "value": F(1)},
    ),
    "reshape": ("tensor_basics", "reshape", {"x": np.ones(4, F), "rows": 2, "columns": 2}),
    "tensor": ("tensor_basics", "tensor", {"data": [1, 2]}),
    "move": ("tensor_basics", "move", {"x": np.ones(3, F), "device": "cpu"}),
    "accumulate": (
        "mechanics",
        "accumulate",
        {"x": F(1), "w": F(2), "b": F(1), "times": 1, "reset": True},
    ),
    "row numbers": (
        "data_loading",
        "row_numbers",
        {"order": np.array([2, 0, 1]), "batch": 2, "drop_last": False},
    ),
    "batches": (
        "data_loading",
        "batches",
        {"x": ROW, "t": ROW[:, :1], "order": np.arange(8), "batch": 3, "drop_last": True},
    ),
    "mean of means": (
        "data_loading",
        "mean_of_means",
        {"params": MODEL, "x": ROW, "t": ROW[:, :3], "order": np.arange(8), "batch": 3},
    ),
    "loader fit": (
        "data_loading",
        "fit",
        {"params": MODEL, "x": ROW, "t": ROW[:, :3], "orders": np.array([[0, 3, 1]]), "batch": 2}
        | {"drop_last": True, "learning_rate": 0.1},
    ),
    "shuffles": ("data_loading", "shuffles", {"n": 3, "seed": 0, "epochs": 1}),
    "activation": ("activations", "gelu", {"x": ROW}),
    "activations fit": (
        "activations",
        "fit",
        dict(zip(("params", "x", "t"), data.xor(dtype="float32"), strict=True))
        | {"nonlinear": False, "learning_rate": 0.1, "steps": 2},
    ),
    "collapse": ("activations", "collapse", {"params": data.xor(dtype="float32")[0]}),
    "decide": ("metrics", "decide", {"p": ROW + F(0.25)}),
    "confusion": ("metrics", "confusion_matrix", {"p": ROW + F(0.25), "t": LABELS}),
    "recall": ("metrics", "recall", {"p": ROW + F(0.25), "t": LABELS, "zero_division": None}),
    "precision": ("metrics", "precision", {"p": ROW + F(0.25), "t": LABELS, "zero_division": 0}),
    "reliability": ("metrics", "reliability", {"p": ROW + F(0.25), "t": LABELS, "bins": 3}),
    "calibration": ("metrics", "calibration_error", {"p": ROW + F(0.25), "t": LABELS, "bins": 3}),
    "batch norm": (
        "normalization",
        "batch_norm",
        {"params": NORM, "buffers": BUFFERS, "x": ROW, "training": True},
    ),
    "pull back": (
        "normalization",
        "pull_back",
        {"params": NORM, "buffers": BUFFERS, "x": ROW, "d_y": ROW, "training": False},
    ),
    "track": (
        "normalization",
        "track",
        {"buffers": BUFFERS, "x": ROW, "batches": np.array([[0, 1], [2, 3]])},
    ),
    "penalised": (
        "regularization",
        "penalised_loss_and_grads",
        {"params": start(), "x": ROW, "t": LABELS, "penalty": 0.1},
    ),
    "penalised fit": (
        "regularization",
        "fit",
        {"params": start(), "x": ROW, "t": LABELS, "batches": np.array([[0, 1], [2, 3]])}
        | {"penalty": 0.1, "within": "update", "optimizer": "adam", "learning_rate": 0.1},
    ),
    "thinned": (
        "regularization",
        "dropout_loss_and_grads",
        {"params": start(), "x": ROW, "t": LABELS, "mask": np.ones((8, 16), bool), "rate": 0.5},
    ),
    "thinned fit": (
        "regularization",
        "fit_with_dropout",
        {"params": start(), "x": ROW, "t": LABELS, "batches": np.array([[0, 1], [2, 3]])}
        | {"masks": np.ones((2, 2, 16), bool), "rate": 0.5, "optimizer": "sgd"}
        | {"learning_rate": 0.1},
    ),
    "stopped fit": (
        "regularization",
        "fit_with_early_stopping",
        {"params": start(), "x": ROW, "t": LABELS, "x_held": ROW[:5], "t_held": LABELS[:5]}
        | {"batches": np.array([[0, 1], [2, 3]]), "every": 2, "patience": 1, "optimizer": "sgd"}
        | {"learning_rate": 0.1},
    ),
    "promotion": ("promotion", "arrays", {"left": "int32", "right": "float32"}),
    "with python": ("promotion", "with_python", {"array": "int8", "number": "float"}),
    "with numpy": ("promotion", "with_numpy", {"array": "int8", "scalar": "int32"}),
    "promotion table": ("promotion", "table", {"operation": "with_python"}),
    "scale": ("promotion", "scale", {"x": ROW + 1, "factor": 0.5}),
    "write view": ("aliasing", "write_view", {"x": ROW, "value": F(1)}),
    "write selected": (
        "aliasing",
        "write_selected",
        {"x": ROW, "rows": np.array([0, 7]), "value": F(1)},
    ),
    "write reshaped": ("aliasing", "write_reshaped", {"x": ROW, "value": F(1), "transposed": True}),
    "add at": (
        "aliasing",
        "add_at",
        {"x": ROW[0], "index": np.array([0, 3]), "value": F(1), "accumulate": True},
    ),
    "keep": ("aliasing", "keep", {"params": MODEL, "grads": MODEL, "learning_rate": 0.1}),
    "uniform": ("randomness", "uniform", {"seed": 0, "n": 3, "bound": 0.5}),
    "normal": ("randomness", "normal", {"seed": 0, "n": 3, "mean": 0.0, "std": 1.0}),
    "linear start": (
        "randomness",
        "linear_start",
        {"seed": 0, "features": 4, "out": 3, "dtype": "float32"},
    ),
    "drawn dropout": (
        "randomness",
        "dropout",
        {"h": ROW, "seed": 0, "rate": 0.5, "training": True},
    ),
    "noise": ("randomness", "with_noise", {"x": ROW, "noise": ROW, "std": 0.1}),
    "threads": (
        "randomness",
        "draw_in_threads",
        {"seed": 0, "n": 3, "threads": 2, "reverse": False},
    ),
    "per example": (
        "transformations",
        "per_example_grads",
        {"params": MODEL, "x": ROW, "t": LABELS},
    ),
    "jacobian": ("transformations", "jacobian_by_rows", {"params": MODEL, "x": ROW[0]}),
    "curvature": (
        "transformations",
        "hessian_vector_product",
        {"params": MODEL, "x": ROW, "t": LABELS, "direction": MODEL},
    ),
    "own derivative": (
        "transformations",
        "own_derivative",
        {"logits": np.ones((8, 3), F), "t": LABELS},
    ),
    "differences": (
        "transformations",
        "central_differences",
        {"params": MODEL, "x": ROW, "t": LABELS, "step": 0.01},
    ),
    "graph": ("gradients", "affine", {"x": F(1), "w": F(2), "b": F(1)}),
    "reproducible": ("reproducible", "loss_and_grads", {"params": start(), "x": ROW, "t": LABELS}),
    "reproducible fit": (
        "reproducible",
        "fit",
        {"params": start(), "x": ROW, "t": LABELS, "batches": np.array([[0, 1], [2, 3]])}
        | {"optimizer": "sgd", "learning_rate": 0.1},
    ),
    "data_parallel": (
        "data_parallel",
        "fit",
        {"params": start(), "x": ROW, "t": LABELS, "batches": np.array([[0, 1], [2, 3]])}
        | {"optimizer": "adam", "learning_rate": 0.1},
    ),
    "data_parallel reproducible": (
        "data_parallel",
        "fit_reproducible",
        {"params": start(), "x": ROW, "t": LABELS, "batches": np.array([[0, 1], [2, 3]])}
        | {"optimizer": "sgd", "learning_rate": 0.1},
    ),
}
STATE: dict[str, Any] = CALLS["adam"][2]["state"]

NAN = np.full((8, 4), np.nan, F)
ONE_INFINITY = np.where(np.arange(32).reshape(8, 4) == 9, F(np.inf), F(1))

# which call, which argument, what it gets, the error, words of the message
BAD: list[tuple[str, str, Any, type[Exception], str]] = [
    # shapes
    ("loss", "x", ROW[:, :3], ValueError, r"shape \(n, features\) where features = 4 .*\(8, 3\)"),
    ("loss", "x", ROW[0], ValueError, r"shape \(n, features\).*got shape \(4,\)"),
    ("loss", "t", LABELS[:5], ValueError, r"shape \(n,\) where n = 8 \(from x\), got shape \(5,\)"),
    ("loss", "t", LABELS[:, None], ValueError, r"got shape \(8, 1\)"),
    ("fit", "t", POINTS[:, 0], ValueError, r"shape \(n, 1\).*got shape \(3,\)"),
    ("fit", "x", POINTS[:, 0], ValueError, r"shape \(n, 1\).*got shape \(3,\)"),
    ("fit", "x", POINTS.T, ValueError, r"got shape \(1, 3\)"),
    ("mse", "t", POINTS[:, 0], ValueError, r"got shape \(3,\)"),
    ("train", "x", np.ones(4, F), ValueError, r"in = 3 \(from params\['weight'\]\)"),
    ("train", "t", np.ones((1, 1), F), ValueError, r"got shape \(1, 1\)"),
    ("dropout", "mask", np.ones((8, 3), bool), ValueError, r"got shape \(8, 3\)"),
    ("graph", "w", np.ones(1, F), ValueError, r"shape \(\), got shape \(1,\)"),
    ("classifier fit", "batches", np.array([0, 1]), ValueError, r"shape \(steps, batch\)"),
    # nothing there
    ("loss", "x", ROW[:0], ValueError, r"at least one element, got shape \(0, 4\)"),
    ("classifier fit", "batches", np.zeros((0, 2), int), ValueError, "at least one element"),
    ("classifier fit", "batches", np.zeros((2, 0), int), ValueError, "at least one element"),
    ("sgd", "params", {}, ValueError, "at least one array, got an empty dict"),
    # dtypes and types
    ("loss", "x", ROW.astype(int), TypeError, "a floating-point dtype, got dtype int"),
    ("loss", "x", ROW.astype(np.float16), TypeError, r"the dtype of params\['fc1.weight'\]"),
    ("mse in float16", "t", POINTS, TypeError, "the dtype of y, float16, got dtype float32"),
    ("loss", "t", LABELS.astype(F), TypeError, "an integer dtype, got dtype float32"),
    ("loss", "t", LABELS == 0, TypeError, "an integer dtype, got dtype bool"),
    ("classifier fit", "batches", np.zeros((2, 2), F), TypeError, "an integer dtype"),
    ("dropout", "mask", np.ones((8, 4), F), TypeError, "a boolean dtype, got dtype float32"),
    ("loss", "x", [[0.0] * 4] * 8, TypeError, "an array of this column .* got builtins.list"),
    ("loss", "x", None, TypeError, "an array of this column .* got None"),
    ("loss", "params", None, TypeError, "a dict of arrays, got None"),
    ("loss", "params", list(start().values()), TypeError, "a dict of arrays, got builtins.list"),
    ("graph", "x", 1.0, TypeError, "an array of this column .* got builtins.float"),
    # values
    ("loss", "x", NAN, ValueError, r"finite, got nan at index \(0, 0\)"),
    ("loss", "x", ONE_INFINITY, ValueError, r"finite, got inf at index \(2, 1\)"),
    (
        "fit",
        "t",
        np.array([[1], [-np.inf], [1]], F),
        ValueError,
        r"finite, got -inf at index \(1, 0\)",
    ),
    ("graph", "b", F(np.nan), ValueError, r"finite, got nan at index \(\)"),
    (
        "loss",
        "t",
        LABELS + 1,
        ValueError,
        r"in 0 .. 2 \(classes = 3, from params\['output.weight'\]\), got 3",
    ),
    ("loss", "t", LABELS - 1, ValueError, r"in 0 .. 2 .* got -1"),
    (
        "classifier fit",
        "batches",
        np.array([[0, 8]]),
        ValueError,
        r"in 0 .. 7 \(n = 8, from x\), got 8",
    ),
    ("classifier fit", "batches", np.array([[0, -1]]), ValueError, r"in 0 .. 7 .* got -1"),
    # parameters
    ("loss", "params", without(start(), "fc2.bias"), ValueError, "missing: fc2.bias; extra: none"),
    ("loss", "params", start() | {"fc3.bias": F(0)}, ValueError, "missing: none; extra: fc3.bias"),
    (
        "loss",
        "params",
        start() | {"fc2.weight": np.zeros((8, 15), F)},
        ValueError,
        r"params\['fc2.weight'\] must be of shape \(hidden2, hidden1\) where hidden1 = 16",
    ),
    ("loss", "params", start() | {"output.bias": np.zeros((3, 1), F)}, ValueError, r"output.bias"),
    (
        "loss",
        "params",
        start() | {"fc1.bias": [0.0] * 16},
        TypeError,
        r"params\['fc1.bias'\] must be",
    ),
    (
        "loss",
        "params",
        start() | {"fc1.bias": np.zeros(16, int)},
        TypeError,
        "floating-point dtype",
    ),
    ("fit", "params", {"w": F(1)}, ValueError, "missing: b; extra: none"),
    ("sgd", "grads", {"w": F(1)}, ValueError, "missing: b; extra: none"),
    (
        "sgd",
        "grads",
        {"w": np.ones(1, F), "b": F(0)},
        ValueError,
        r"grads\['w'\] must be of shape \(\)",
    ),
    (
        "fit",
        "params",
        {"w": F(1), "c": F(2)},
        ValueError,
        r"a dict with the keys w, b, got keys w, c \(missing: b; extra: c\)",
    ),
    # the state of an optimiser
    ("adam", "state", None, TypeError, "a dict with the keys step, m, v, got None"),
    ("adam", "state", {}, ValueError, r"got keys none \(missing: m, step, v; extra: none\)"),
    ("adam", "state", STATE | {"n": F(0)}, ValueError, r"\(missing: none; extra: n\)"),
    ("adam", "state", STATE | {"step": 0}, TypeError, r"state\['step'\] must be an array"),
    ("adam", "state", STATE | {"m": None}, TypeError, r"state\['m'\] must be a dict of arrays"),
    ("adam", "state", STATE | {"m": {"w": F(1)}}, ValueError, r"state\['m'\] .*missing: b"),
    (
        "adam",
        "state",
        STATE | {"v": LINE | {"w": np.ones(2, F)}},
        ValueError,
        r"state\['v'\]\['w'\] must be of shape \(\), got shape \(2,\)",
    ),
    # numbers
    ("adam", "beta1", 1.0, ValueError, r"a number in \[0, 1\), got 1.0"),
    ("adam", "beta2", -0.1, ValueError, r"a number in \[0, 1\), got -0.1"),
    ("adam", "eps", 0.0, ValueError, "a finite number above 0, got 0.0"),
    ("recursion", "n", -1, ValueError, "a whole number of at least 0, got -1"),
    ("branch compiled", "x", np.ones(2, F), ValueError, r"shape \(\), got shape \(2,\)"),
    ("branch compiled", "x", F(np.nan), ValueError, "x must be finite"),
    ("branch compiled", "x", np.int32(1), TypeError, "a floating-point dtype"),
    ("variance", "ddof", 2, ValueError, "0 or 1, got 2"),
    ("variance", "ddof", 1.0, TypeError, "0 or 1, got builtins.float"),
    ("replace", "index", np.int32(3), ValueError, r"in 0 .. 2 \(length = 3, from x\), got 3"),
    ("replace", "index", np.int32(-1), ValueError, r"in 0 .. 2 \(length = 3, from x\), got -1"),
    ("replace", "value", F(np.nan), ValueError, r"finite, got nan at index \(\)"),
    ("reshape", "rows", 0, ValueError, "a whole number of at least 1, got 0"),
    ("tensor", "data", None, TypeError, "a Python number or nested lists of them, got None"),
    ("tensor", "data", [[]], ValueError, "lists with at least one number each"),
    ("tensor", "data", nested(33), ValueError, "lists at most 32 deep"),
    ("tensor", "device", "tpu", ValueError, "'cpu'.* on this machine, got 'tpu'"),
    ("move", "device", None, TypeError, "a string, got None"),
    ("accumulate", "times", 0, ValueError, "a whole number of at least 1, got 0"),
    ("accumulate", "reset", 1, TypeError, "True or False, got builtins.int"),
    ("fit", "steps", 0, ValueError, "whole number of at least 1, got 0"),
    ("fit", "steps", -5, ValueError, "whole number of at least 1, got -5"),
    ("fit", "steps", 2.0, TypeError, "whole number of at least 1, got builtins.float"),
    ("fit", "steps", True, TypeError, "whole number of at least 1, got builtins.bool"),
    ("train", "steps", 0, ValueError, "whole number of at least 1, got 0"),
    ("fit", "learning_rate", 0.0, ValueError, "finite number above 0, got 0.0"),
    ("fit", "learning_rate", -0.1, ValueError, "finite number above 0, got -0.1"),
    ("fit", "learning_rate", float("nan"), ValueError, "finite number above 0, got nan"),
    ("fit", "learning_rate", float("inf"), ValueError, "finite number above 0, got inf"),
    ("fit", "learning_rate", 1e39, ValueError, "a number that float32 can hold, got 1e\\+39"),
    ("fit", "learning_rate", 10**400, ValueError, "above 0, got one beyond float64"),
    ("fit", "steps", 10**400, ValueError, "of 64 bits, got one beyond"),
    ("fit", "learning_rate", "0.1", TypeError, "finite number above 0, got builtins.str"),
    ("fit", "learning_rate", None, TypeError, "finite number above 0, got None"),
    ("fit", "learning_rate", True, TypeError, "finite number above 0, got builtins.bool"),
    ("dropout", "rate", 1.0, ValueError, r"a number in \[0, 1\), got 1.0"),
    ("dropout", "training", 1, TypeError, "True or False, got builtins.int"),
    ("classifier fit", "optimizer", "rmsprop", ValueError, "'sgd' or 'adam', got 'rmsprop'"),
    ("classifier fit", "optimizer", 1, TypeError, "'sgd' or 'adam', got builtins.int"),
    # mini-batches
    (
        "row numbers",
        "order",
        np.array([[0, 1]]),
        ValueError,
        r"shape \(rows,\), got shape \(1, 2\)",
    ),
    ("row numbers", "order", np.zeros(3, F), TypeError, "an integer dtype, got dtype float32"),
    ("row numbers", "batch", 0, ValueError, "a whole number of at least 1, got 0"),
    ("row numbers", "batch", 4, ValueError, r"at most 3 \(rows = 3, from order\), got 4"),
    ("row numbers", "drop_last", 1, TypeError, "True or False, got builtins.int"),
    ("batches", "order", np.array([0, 8]), ValueError, r"in 0 .. 7 \(n = 8, from x\), got 8"),
    ("batches", "order", np.array([0, -1]), ValueError, "in 0 .. 7 .* got -1"),
    ("batches", "t", ROW[:7, :1], ValueError, r"n = 8 \(from x\), got shape \(7, 1\)"),
    ("batches", "t", LABELS, TypeError, "a floating-point dtype, got dtype int"),
    ("batches", "batch", 9, ValueError, r"at most 8 \(rows = 8, from order\), got 9"),
    ("mean of means", "x", NAN, ValueError, r"finite, got nan at index \(0, 0\)"),
    ("mean of means", "batch", 2.0, TypeError, "a whole number of at least 1, got builtins.float"),
    ("loader fit", "orders", np.array([0, 1]), ValueError, r"shape \(epochs, rows\)"),
    ("loader fit", "orders", np.array([[0, 9]]), ValueError, "in 0 .. 7 .* got 9"),
    ("loader fit", "batch", 4, ValueError, r"at most 3 \(rows = 3, from orders\), got 4"),
    ("loader fit", "learning_rate", -1.0, ValueError, "a finite number above 0, got -1.0"),
    ("shuffles", "epochs", 0, ValueError, "a whole number of at least 1, got 0"),
    ("shuffles", "seed", -1, ValueError, "a whole number of at least 0, got -1"),
    # activations
    ("activation", "x", ROW.astype(int), TypeError, "a floating-point dtype, got dtype int"),
    ("activation", "x", ONE_INFINITY, ValueError, r"finite, got inf at index \(2, 1\)"),
    ("activation", "x", 1.0, TypeError, "an array of this column .* got builtins.float"),
    ("activations fit", "nonlinear", 1, TypeError, "True or False, got builtins.int"),
    ("activations fit", "t", np.zeros(4, F), ValueError, r"shape \(n, outputs\).*got shape \(4,\)"),
    ("activations fit", "t", np.zeros((4, 2), F), ValueError, "where n = 4 .* outputs = 1"),
    ("activations fit", "x", ROW[:4], ValueError, r"where features = 2 .*got shape \(4, 4\)"),
    ("activations fit", "steps", 0, ValueError, "whole number of at least 1, got 0"),
    ("collapse", "params", without(start(), "fc2.bias"), ValueError, "missing: fc2.bias"),
    # metrics
    ("decide", "p", ROW - F(1), ValueError, r"numbers in \[0, 1\], got -1.0 at index \(0, 0\)"),
    ("decide", "p", ROW[0], ValueError, r"shape \(n, classes\), got shape \(4,\)"),
    ("confusion", "p", ROW + F(1.5), ValueError, r"numbers in \[0, 1\], got 1.5 at index \(0, 0\)"),
    ("confusion", "p", NAN, ValueError, r"finite, got nan at index \(0, 0\)"),
    ("confusion", "t", LABELS + 2, ValueError, r"in 0 .. 3 \(classes = 4, from p\), got 4"),
    ("confusion", "t", LABELS - 1, ValueError, "in 0 .. 3 .* got -1"),
    ("recall", "t", LABELS.astype(F), TypeError, "an integer dtype, got dtype float32"),
    ("recall", "zero_division", 1.5, ValueError, r"a number in \[0, 1\], got 1.5"),
    ("recall", "zero_division", float("nan"), ValueError, r"a number in \[0, 1\], got nan"),
    ("precision", "zero_division", "warn", TypeError, r"a number in \[0, 1\], got builtins.str"),
    ("precision", "t", LABELS[:5], ValueError, r"n = 8 \(from p\), got shape \(5,\)"),
    ("reliability", "bins", 0, ValueError, "a whole number of at least 1, got 0"),
    ("calibration", "bins", 2.0, TypeError, "a whole number of at least 1, got builtins.float"),
    ("calibration", "p", ROW.astype(int), TypeError, "a floating-point dtype, got dtype int"),
    # batch norm
    ("batch norm", "x", ROW[:1], ValueError, "x must have two rows in training, got 1"),
    ("batch norm", "x", ROW[:, :3], ValueError, r"where features = 4 .*got shape \(8, 3\)"),
    ("batch norm", "x", NAN, ValueError, r"finite, got nan at index \(0, 0\)"),
    ("batch norm", "training", 1, TypeError, "True or False, got builtins.int"),
    ("batch norm", "momentum", 1.5, ValueError, r"a number in \[0, 1\), got 1.5"),
    ("batch norm", "eps", 0.0, ValueError, "a finite number above 0, got 0.0"),
    ("batch norm", "buffers", NORM, ValueError, "missing: num_batches_tracked, running_mean"),
    (
        "batch norm",
        "buffers",
        BUFFERS | {"running_var": np.ones(3, F)},
        ValueError,
        r"buffers\['running_var'\] must be of shape \(features,\) where features = 4",
    ),
    (
        "batch norm",
        "buffers",
        BUFFERS | {"num_batches_tracked": F(0)},
        TypeError,
        r"buffers\['num_batches_tracked'\] must have an integer dtype",
    ),
    ("pull back", "d_y", ROW[:5], ValueError, r"where n = 8 .*got shape \(5, 4\)"),
    ("track", "batches", np.array([[0], [1]]), ValueError, "batches must have two rows .* got 1"),
    ("track", "batches", np.array([[0, 8]]), ValueError, "in 0 .. 7"),
    # regularisation
    ("penalised", "penalty", -0.1, ValueError, "a finite number of at least 0, got -0.1"),
    ("penalised", "t", LABELS + 1, ValueError, "in 0 .. 2 .* got 3"),
    (
        "penalised fit",
        "penalty",
        float("inf"),
        ValueError,
        "a finite number of at least 0, got inf",
    ),
    ("penalised fit", "within", "gradient", ValueError, "'loss' or 'update', got 'gradient'"),
    ("penalised fit", "optimizer", "adamw", ValueError, "'sgd' or 'adam', got 'adamw'"),
    ("penalised fit", "batches", np.array([[0, 8]]), ValueError, "in 0 .. 7 .* got 8"),
    ("thinned", "mask", np.ones((8, 15), bool), ValueError, "hidden1 = 16 .*got shape .8, 15"),
    ("thinned", "mask", np.ones((8, 16), F), TypeError, "a boolean dtype, got dtype float32"),
    ("thinned", "rate", 1.0, ValueError, r"a number in \[0, 1\), got 1.0"),
    ("thinned fit", "masks", np.ones((3, 2, 16), bool), ValueError, "steps = 2 .*got shape .3, 2"),
    (
        "thinned fit",
        "masks",
        np.ones((2, 16), bool),
        ValueError,
        r"shape \(steps, batch, hidden1\)",
    ),
    ("stopped fit", "every", 3, ValueError, r"at most 2 \(steps = 2, from batches\), got 3"),
    ("stopped fit", "every", 0, ValueError, "a whole number of at least 1, got 0"),
    ("stopped fit", "patience", 0, ValueError, "a whole number of at least 1, got 0"),
    ("stopped fit", "t_held", LABELS, ValueError, "held = 5 .from x_held., got shape .8,"),
    ("stopped fit", "t_held", LABELS[:5] + 1, ValueError, "in 0 .. 2 .* got 3"),
    ("stopped fit", "x_held", NAN[:5], ValueError, r"finite, got nan at index \(0, 0\)"),
    ("stopped fit", "learning_rate", 0.0, ValueError, "a finite number above 0, got 0.0"),
    # promotion
    ("promotion", "left", "float128", ValueError, "'bool' or 'uint8' or .*, got 'float128'"),
    ("promotion", "right", None, TypeError, "'bool' or 'uint8' or .*, got None"),
    ("with python", "number", "complex", ValueError, "'bool' or 'int' or 'float', got 'complex'"),
    ("with numpy", "scalar", "bfloat16", ValueError, "'float32' or 'float64', got 'bfloat16'"),
    ("promotion table", "operation", "sum", ValueError, "'arrays' or .*, got 'sum'"),
    ("scale", "x", ROW.astype(int), TypeError, "a floating-point dtype, got dtype int"),
    ("scale", "x", NAN, ValueError, r"finite, got nan at index \(0, 0\)"),
    ("scale", "factor", float("inf"), ValueError, "a finite number, got inf"),
    ("scale", "factor", "2", TypeError, "a finite number, got builtins.str"),
    # a write through one name
    ("write view", "x", ROW[0], ValueError, r"shape \(rows, columns\), got shape \(4,\)"),
    ("write view", "x", NAN, ValueError, r"finite, got nan at index \(0, 0\)"),
    ("write view", "value", ROW[0], ValueError, r"shape \(\), got shape \(4,\)"),
    ("write view", "value", np.float16(1), TypeError, "dtype of x, float32, got dtype float16"),
    ("write selected", "rows", np.array([0, -1]), ValueError, "in 0 .. 7 .* got -1"),
    ("write selected", "rows", np.array([0, 8]), ValueError, "in 0 .. 7 .* got 8"),
    ("write selected", "rows", ROW[0], TypeError, "an integer dtype, got dtype float32"),
    ("write reshaped", "transposed", 1, TypeError, "True or False, got builtins.int"),
    ("add at", "index", np.array([[0, 3]]), ValueError, r"shape \(k,\), got shape \(1, 2\)"),
    ("add at", "index", np.array([4]), ValueError, "in 0 .. 3 .* got 4"),
    ("keep", "grads", without(MODEL, "bias"), ValueError, "missing: bias"),
    ("keep", "params", LINE, ValueError, "missing: bias, weight"),
    ("keep", "learning_rate", -0.1, ValueError, "a finite number above 0, got -0.1"),
    # random numbers
    ("uniform", "seed", -1, ValueError, r"a whole number in \[0, 4294967296\), got -1"),
    ("uniform", "seed", 2**32, ValueError, r"a whole number in \[0, 4294967296\), got 4294967296"),
    ("uniform", "seed", 0.5, TypeError, "a whole number in .*got builtins.float"),
    ("uniform", "seed", None, TypeError, "a whole number in .*got None"),
    ("uniform", "n", 0, ValueError, "a whole number of at least 1, got 0"),
    ("uniform", "bound", 0.0, ValueError, "a finite number above 0, got 0.0"),
    ("normal", "std", -1.0, ValueError, "a finite number above 0, got -1.0"),
    ("normal", "mean", float("nan"), ValueError, "a finite number, got nan"),
    ("linear start", "features", 0, ValueError, "a whole number of at least 1, got 0"),
    ("linear start", "out", 3.0, TypeError, "a whole number of at least 1, got builtins.float"),
    ("linear start", "dtype", "float16", ValueError, "'float32' or 'float64', got 'float16'"),
    ("drawn dropout", "rate", 1.0, ValueError, r"a number in \[0, 1\), got 1.0"),
    ("drawn dropout", "training", 1, TypeError, "True or False, got builtins.int"),
    ("drawn dropout", "h", ROW.astype(int), TypeError, "a floating-point dtype"),
    ("noise", "noise", ROW[:4], ValueError, r"got shape \(4, 4\)"),
    ("noise", "noise", ROW.astype(np.float16), TypeError, "float32, got dtype float16"),
    ("noise", "std", -0.1, ValueError, "a finite number of at least 0, got -0.1"),
    ("threads", "threads", 0, ValueError, "a whole number of at least 1, got 0"),
    ("threads", "reverse", 0, TypeError, "True or False, got builtins.int"),
    # derivatives beyond the gradient
    ("per example", "x", ROW[:, :3], ValueError, r"where features = 4 .*got shape \(8, 3\)"),
    ("per example", "t", LABELS + 1, ValueError, r"in 0 .. 2 .* got 3"),
    ("per example", "params", {"w": F(1), "b": F(0)}, ValueError, "missing: bias, weight"),
    ("jacobian", "x", ROW, ValueError, r"shape \(features,\) .*got shape \(8, 4\)"),
    ("jacobian", "x", NAN[0], ValueError, r"finite, got nan at index \(0,\)"),
    ("curvature", "direction", {"weight": MODEL["weight"]}, ValueError, "missing: bias"),
    (
        "curvature",
        "direction",
        MODEL | {"bias": np.zeros((3, 1), F)},
        ValueError,
        r"direction\['bias'\] must be of shape",
    ),
    ("own derivative", "logits", np.ones(3, F), ValueError, r"shape \(n, classes\)"),
    ("own derivative", "t", LABELS.astype(F), TypeError, "an integer dtype"),
    ("differences", "step", 0.0, ValueError, "a finite number above 0, got 0.0"),
    ("differences", "step", "0.01", TypeError, "a finite number above 0, got builtins.str"),
    # 24-bit numbers are float32's, and finite
    ("reproducible", "x", ROW.astype(np.float16), TypeError, "must have float32, got dtype float1"),
    ("reproducible", "x", NAN, ValueError, r"finite, got nan at index \(0, 0\)"),
    ("reproducible", "t", LABELS + 1, ValueError, r"in 0 .. 2 .* got 3"),
    (
        "reproducible",
        "params",
        start() | {"fc1.bias": np.zeros(16, np.float16)},
        TypeError,
        r"params\['fc1.bias'\] must have float32",
    ),
    (
        "reproducible",
        "params",
        start() | {"fc1.bias": np.full(16, np.inf, F)},
        ValueError,
        r"params\['fc1.bias'\] must be finite, got inf at index \(0,\)",
    ),
    ("reproducible fit", "x", ONE_INFINITY, ValueError, r"finite, got inf at index \(2, 1\)"),
    ("reproducible fit", "batches", np.array([[0, 8]]), ValueError, "in 0 .. 7"),
    ("reproducible fit", "optimizer", "rmsprop", ValueError, "'sgd' or 'adam', got 'rmsprop'"),
    ("reproducible fit", "learning_rate", 0.0, ValueError, "a finite number above 0, got 0.0"),
    ("data_parallel", "x", NAN, ValueError, r"finite, got nan at index \(0, 0\)"),
    ("data_parallel", "batches", np.array([[0, -1]]), ValueError, "in 0 .. 7"),
    ("data_parallel", "batches", np.array([0, 1]), ValueError, r"shape \(steps, batch\)"),
    ("data_parallel", "t", LABELS.astype(F), TypeError, "an integer dtype"),
    ("data_parallel reproducible", "x", ROW.astype(np.float16), TypeError, "must have float32"),
    ("data_parallel reproducible", "optimizer", "rmsprop", ValueError, "'sgd' or 'adam'"),
    ("data_parallel reproducible", "learning_rate", np.inf, ValueError, "got inf"),
    ("data_parallel reproducible", "moments", 1.0, TypeError, "must be a dict"),
]


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f")


# what they compute, the tests of their concepts check; JAX compiles them for seconds
COMPILED = {"reproducible", "reproducible fit", "data_parallel", "data_parallel reproducible"}
COMPILED |= {"activations fit", "mean of means", "loader fit", "reliability", "calibration"}
COMPILED |= {"penalised", "penalised fit", "thinned", "thinned fit", "stopped fit"}


@pytest.mark.parametrize(
    "call", [pytest.param(c, marks=pytest.mark.slow if c in COMPILED else ()) for c in CALLS]
)
def test_the_calls_work(column: Any, call: str) -> None:
    concept, function, arguments = CALLS[call]
    before = copy.deepcopy(arguments)
    here = {name: column.take_in(value) for name, value in arguments.items()}
    getattr(getattr(column, concept), function)(**here)
    after = {name: column.give_out(value) for name, value in here.items()}
    assert same(after, before)


@pytest.mark.parametrize(("call", "argument", "bad", "error", "words"), BAD)
def test_bad_input(
    column: Any, call: str, argument: str, bad: Any, error: type[Exception], words: str
) -> None:
    concept, function, arguments = CALLS[call]
    before = copy.deepcopy(arguments | {argument: bad})
    here = {name: column.take_in(value) for name, value in (arguments | {argument: bad}).items()}
    with pytest.raises(error) as raised:
        getattr(getattr(column, concept), function)(**here)
    assert type(raised.value) is error
    message = str(raised.value)
    assert message.startswith(f"{concept}.{function}: {argument}")
    assert " must " in message
    assert ", got " in message
    assert re.search(words, message), message
    if not isinstance(here[argument], list):
        here = {name: column.give_out(value) for name, value in here.items()}
        assert same(here, before)


def test_there_are_enough() -> None:
    assert len(BAD) >= 120  # and all of test_every_argument.py


@pytest.mark.parametrize(
    "rate", [0.1, np.float64(0.1), np.float32(0.1), pytest.param(1, id="1"), np.int64(1)]
)
def test_any_real_number_is_a_rate_and_keeps_the_dtype(column: Any, rate: Any) -> None:
    concept, function, arguments = CALLS["fit"]
    params, losses = column.call(concept, function, **arguments | {"learning_rate": float(rate)})
    here = {name: column.take_in(value) for name, value in arguments.items()}
    found = getattr(getattr(column, concept), function)(**here | {"learning_rate": rate})
    found = column.give_out(found)
    assert same(list(found), [params, losses])
    assert {array.dtype for array in (*found[0].values(), found[1])} == {np.dtype(F)}


def test_an_array_of_another_kind_is_told_which_is_wanted(column: Any) -> None:
    name = {"numpy_ref": "numpy.ndarray", "torch_impl": "torch.Tensor", "jax_impl": "jax.Array"}
    with pytest.raises(TypeError, match=rf"array of this column \({name[column.name]}; see from_"):
        column.gradients.cube(2.0)


def test_python_names_wrong_calls(column: Any) -> None:
    loss = column.classifier.loss
    calls: list[Callable[[], Any]] = [
        lambda: loss(),
        lambda: loss({}, x=1, y=2),
        lambda: loss({}, 1, 2, 3),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=r"loss\(\)"):
            call()


def test_diverged_parameters_are_no_bad_input(column: Any) -> None:
    # training may diverge, and one wants to see it: only data have to be finite
    params = {name: np.full_like(p, np.inf) for name, p in start().items()}
    with np.errstate(invalid="ignore"):
        loss = column.call("classifier", "loss", params, ROW + 1, LABELS)
    assert np.isnan(loss)


def test_functions_still_check_after_an_error(column: Any) -> None:
    here = {name: column.take_in(value) for name, value in CALLS["loss"][2].items()}
    for _ in range(2):
        with pytest.raises(ValueError, match="t must be"):
            column.classifier.loss(here["params"], here["x"], here["t"] + 5)


def test_any_kind_of_dict_will_do(column: Any) -> None:
    """JAX takes an OrderedDict for another kind of tree than a dict."""
    _, _, arguments = CALLS["fit"]
    expected = column.call("linear_regression", "fit", **arguments)
    here = {name: column.take_in(value) for name, value in arguments.items()}
    for kind in (OrderedDict, lambda params: defaultdict(list, params)):
        given = here | {"params": kind(here["params"])}
        found = column.give_out(column.linear_regression.fit(**given))
        assert same([*found], [*expected])
        assert type(found[0]) is dict


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64"])
def test_row_numbers_of_any_width(column: Any, dtype: str) -> None:
    """Of 300 rows, which 8 bits cannot count; PyTorch takes no narrow integer for a row number."""
    x, t = np.linspace(-1, 1, 1200, dtype=F).reshape(300, 4), np.arange(300) % 3
    rows = np.arange(120).reshape(2, 60)
    settings: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 0.1}
    expected = column.call("classifier", "fit", start(), x, t, rows, **settings)
    narrow = t.astype(dtype), rows.astype(dtype)
    found = column.call("classifier", "fit", start(), x, *narrow, **settings)
    assert same([*found], [*expected])


def test_layouts_and_what_is_read_only_make_no_difference(column: Any) -> None:
    _, _, arguments = CALLS["loss"]
    x = np.linspace(-1, 1, 32, dtype=F).reshape(8, 4)
    params, _, t = (column.take_in(arguments[name]) for name in ("params", "x", "t"))
    expected = column.classifier.loss(params, column.take_in(x), t)
    wide, turned = np.zeros((16, 8), F), np.asfortranarray(x)
    wide[::2, ::2], turned.flags.writeable = x, False
    if column.name == "numpy_ref":
        given = [wide[::2, ::2], turned, x[::-1][::-1]]
    else:
        given = [column.take_in(wide)[::2, ::2], column.take_in(x.T.copy()).T]
    for other in given:
        found = column.classifier.loss(params, other, t)
        np.testing.assert_allclose(column.give_out(found), column.give_out(expected), rtol=1e-6)


def test_gradients_that_a_user_collects_are_left_alone(columns: Any) -> None:
    """PyTorch: a backward pass inside adds nothing to x, to t or to a parameter."""
    import torch

    column = columns[1]
    for call in ("fit", "loss", "train", "accumulate", "own derivative"):
        concept, function, arguments = CALLS[call]
        here = {name: column.take_in(value) for name, value in arguments.items()}
        leaves = [v for v in here.values() if isinstance(v, torch.Tensor) and v.is_floating_point()]
        leaves += [*here.get("params", {}).values()]
        for i, leaf in enumerate(leaves):
            leaf.requires_grad_()
            leaf.grad = torch.full_like(leaf, 7.0) if i % 2 else None
        getattr(getattr(column, concept), function)(**here)
        for i, leaf in enumerate(leaves):
            if i % 2:
                assert leaf.grad is not None, call
                assert torch.equal(leaf.grad, torch.full_like(leaf, 7.0)), call
            else:
                assert leaf.grad is None, call


def test_arrays_without_values_are_told(columns: Any) -> None:
    import torch

    _, torch_impl, jax_impl = columns
    params, x = (torch_impl.take_in(v) for v in (LINE, POINTS))
    for bad, words in (
        (x.to_sparse(), "one of layout torch.sparse_coo"),
        (x.to("meta"), "one on the device meta"),
    ):
        with pytest.raises(ValueError, match=f"x must be a dense array with values, got {words}"):
            torch_impl.linear_regression.predict(params, bad)
    with pytest.raises(TypeError, match=r"x must have a floating-point dtype, got dtype float8"):
        torch_impl.linear_regression.predict(params, x.to(torch.float8_e4m3fn))
    params, x = (jax_impl.take_in(v) for v in (LINE, POINTS))
    x.delete()
    with pytest.raises(ValueError, match="with values, got one that was deleted"):
        jax_impl.linear_regression.predict(params, x)


def test_where_almost_all_is_dropped(column: Any) -> None:
    mask = np.ones((1, 2), bool)
    found = column.call(
        "classifier", "dropout", np.ones((1, 2), F), mask, rate=0.99999999, training=True
    )
    np.testing.assert_allclose(found, 1e8, rtol=1e-6)


def test_a_deep_recursion(column: Any) -> None:
    assert column.call("control_flow", "recursion", F(1), n=600)[1] == 600


def test_labels_beyond_32_bits(column: Any) -> None:
    with precision("float64"):
        here = {name: column.take_in(value) for name, value in CALLS["loss"][2].items()}
        far = column.take_in(LABELS.astype(np.int64) + 2**32)
        with pytest.raises(ValueError, match=r"t must be in 0 \.\. 2 .*got 4294967298"):
            column.classifier.loss(here["params"], here["x"], far)


def test_an_array_as_a_rate_has_one_floating_point_number(column: Any) -> None:
    arguments = {name: column.take_in(value) for name, value in CALLS["fit"][2].items()}
    fit = column.linear_regression.fit
    expected = column.give_out(fit(**arguments | {"learning_rate": 0.5})[0]["w"])
    for rate in (column.take_in(np.array(0.5, F)), np.array(0.5)):
        found = fit(**arguments | {"learning_rate": rate})[0]["w"]
        np.testing.assert_array_equal(column.give_out(found), expected)
    for bad in (np.array(1), np.ones(1, F), np.array(True), np.array(1j, np.complex64)):
        for rate in (column.take_in(bad), bad):
            with pytest.raises(TypeError, match="learning_rate must be a finite number above 0"):
                fit(**arguments | {"learning_rate": rate})


def test_sizes_come_from_the_arguments_in_the_order_in_which_they_are_given(column: Any) -> None:
    here = {name: column.take_in(value) for name, value in CALLS["loss"][2].items()}
    with pytest.raises(ValueError, match=r"x must be .*features = 4 \(from params\['fc1.weight'\]"):
        column.classifier.loss(here["params"], t=here["t"], x=here["x"][:, :3])


def test_a_call_of_another_thread_is_checked_too(column: Any) -> None:
    """Inside a public function others are not checked again; that is for its own thread only."""
    entered, done = threading.Event(), threading.Event()

    def waits(n: Any) -> Any:
        entered.set()
        done.wait(10)
        return n

    thread = threading.Thread(target=checked(column, waits, n=int), args=(1,))
    thread.start()
    try:
        assert entered.wait(10)
        with pytest.raises(ValueError, match="x must be finite"):
            column.gradients.cube(column.take_in(F(np.nan)))
    finally:
        done.set()
        thread.join()


# Under a user's own transformations values are not there yet: they are skipped, shapes are not


def test_under_jit_and_vmap(columns: list[Any]) -> None:
    import jax

    column = columns[2]
    params, x, t = (column.take_in(value) for value in CALLS["loss"][2].values())
    plain = column.classifier.loss_and_grads(params, x, t)
    for traced in (
        jax.jit(column.classifier.loss_and_grads)(params, x, t),
        jax.jit(lambda p, x, t: column.classifier.loss_and_grads(p, x, t))(params, x, t),
    ):
        np.testing.assert_allclose(traced[0], plain[0], rtol=1e-6)
    per_row = jax.vmap(lambda x, t: column.classifier.loss(params, x[None], t[None]))(x, t)
    assert per_row.shape == (8,)
    np.testing.assert_allclose(per_row.mean(), plain[0], rtol=1e-6)
    with pytest.raises(ValueError, match=r"x must be of shape"):
        jax.jit(column.classifier.loss_and_grads)(params, x[:, :3], t)
    with pytest.raises(TypeError, match="t must have an integer dtype"):
        jax.jit(column.classifier.loss)(params, x, t.astype(F))
    rates = jax.vmap(
        lambda rate: column.linear_regression.fit(
            *(column.take_in(v) for v in (LINE, POINTS, -POINTS)), learning_rate=rate, steps=2
        )[0]["w"]
    )(jax.numpy.array([0.1, 0.2]))
    assert rates.shape == (2,)
    assert rates[0] != rates[1]


def test_under_torch_func_and_compile(columns: list[Any]) -> None:
    import torch

    column = columns[1]
    params, x, t = (column.take_in(value) for value in CALLS["loss"][2].values())
    plain, grads = column.classifier.loss_and_grads(params, x, t)
    per_row = torch.func.vmap(lambda x, t: column.classifier.loss(params, x[None], t[None]))(x, t)
    torch.testing.assert_close(per_row.mean(), plain)
    per_row_grads = torch.func.vmap(
        torch.func.grad(lambda p, x, t: column.classifier.loss(p, x[None], t[None])),
        in_dims=(None, 0, 0),
    )(params, x, t)
    torch.testing.assert_close(per_row_grads["fc1.bias"].mean(dim=0), grads["fc1.bias"])
    for function in (column.classifier.loss, column.classifier.logits):
        arguments = (params, x, t)[: 3 if function is column.classifier.loss else 2]
        compiled: Any = torch.compile(function, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(*arguments), function(*arguments))
    # backward() breaks the graph, so not fullgraph
    compiled = torch.compile(column.classifier.loss_and_grads, backend="eager")
    torch.testing.assert_close(compiled(params, x, t), (plain, grads))
    compiled = torch.compile(column.classifier.logits, backend="eager")
    with pytest.raises(ValueError, match="x must be of shape"):
        compiled(params, x[:, :3])
    # and PyTorch itself refuses backward() inside vmap: torch.func.grad takes its place, as above
    with pytest.raises(RuntimeError, match="requires_grad"):
        torch.func.vmap(lambda x, t: column.classifier.loss_and_grads(params, x[None], t[None]))(
            x, t
        )


# Limits stand in the annotation: no argument is special by its name


def checked(column: Any, function: Callable[..., Any], **annotations: Any) -> Any:
    """The function with these annotations, as the column would check it."""
    function.__annotations__ = annotations
    return column.boundary.checked(function)


def test_an_array_called_m(column: Any) -> None:
    vector = Float[column.boundary.Array, " n"]

    def momentum_step(m: Any, g: Any, *, rate: Any) -> Any:
        return rate * m + g

    step = checked(column, momentum_step, m=vector, g=vector, rate=float)
    m, g = column.take_in(np.ones(3, F)), column.take_in(np.ones(3, F))
    np.testing.assert_array_equal(column.give_out(step(m, g, rate=1.0)), [2, 2, 2])
    with pytest.raises(ValueError, match=r"rate must be a finite number, got nan"):
        step(m, g, rate=float("nan"))
    with pytest.raises(ValueError, match=r"g must be of shape \(n,\) where n = 3 \(from m\)"):
        step(m, g[:2], rate=1.0)


def test_an_array_called_state(column: Any) -> None:
    array = column.boundary.Array

    def cell(state: Any, t: Any, value: Any, index: Any) -> Any:
        return state + t + value + index

    run = checked(column, cell, state=Float[array, " n"], t=Int[array, ""], value=int, index=int)
    state, t = column.take_in(np.ones(2, F)), column.take_in(np.array(-9))
    np.testing.assert_array_equal(column.give_out(run(state, t, -1, -2)), [-11, -11])
    with pytest.raises(TypeError, match=r"value must be a whole number, got builtins.float"):
        run(state, t, 0.5, 0)


@pytest.mark.parametrize(
    ("annotation", "good", "bad", "words"),
    [
        (float, [0.0, -1, 1e300], [np.inf, np.nan], "a finite number"),
        (int, [0, -3, np.int64(5)], [], "a whole number"),
        ("Positive", [1e-300, 1], [0, -1, np.inf], "a finite number above 0"),
        ("NonNegative", [0, 2.5], [-1e-9, np.inf], "a finite number of at least 0"),
        ("Fraction", [0, 0.99], [1, -0.1, np.nan], r"a number in [0, 1)"),
        ("Count", [1, 7], [0], "a whole number of at least 1"),
        ("Natural", [0, 7], [-1], "a whole number of at least 0"),
        (Annotated[float, Lt(2)], [1.9, -5], [2, -np.inf], "a finite number below 2"),
        (Annotated[float, Le(2)], [2, -5], [2.1], "a finite number of at most 2"),
        (Annotated[int, Interval(gt=1, le=4)], [2, 4], [1, 5], "a whole number in (1, 4]"),
        (Annotated[int, Le(4), Gt(1)], [2, 4], [1, 5], "a whole number in (1, 4]"),
        (Literal[0, 1], [0, 1, np.int64(1)], [2, -1], "0 or 1"),
        (Annotated[float, Gt(0)] | None, [None, 1], [0], "a finite number above 0"),
    ],
)
def test_limits(column: Any, annotation: Any, good: list[Any], bad: list[Any], words: str) -> None:
    def identity(v: Any) -> Any:
        return v

    named = getattr(column.boundary, annotation) if isinstance(annotation, str) else annotation
    run = checked(column, identity, v=named)
    for value in good:
        assert run(value) == value
        assert isinstance(run(value), int | float | None)
    for value in bad:
        with pytest.raises(
            ValueError, match=re.escape(f"identity: v must be {words}, got {value}")
        ):
            run(value)
    for value in ("1", [1], True):
        with pytest.raises(TypeError, match=re.escape(f"identity: v must be {words}, got builtin")):
            run(value)


def test_limits_of_the_numbers_in_an_array(column: Any) -> None:
    array = column.boundary.Array

    def score(p: Any, k: Any = None) -> Any:
        return p

    share: Any = Annotated[Float[array, " n"], Interval(ge=0, le=1)]
    run = checked(column, score, p=share, k=Annotated[Int[array, " n"], Ge(1)])
    p, k = column.take_in(np.array([0, 0.5, 1], F)), column.take_in(np.array([1, 2, 3]))
    run(p, k)
    with pytest.raises(ValueError, match=r"p must be numbers in \[0, 1\], got 1.5 at index \(2,\)"):
        run(p * 1.5, k)
    with pytest.raises(ValueError, match=r"k must be numbers of at least 1, got 0 at index \(0,\)"):
        run(p, k - 1)
    with pytest.raises(ValueError, match="p must be finite"):
        run(p * np.nan, k)
    with pytest.raises(LookupError, match="'shares' is no limit of a number"):
        checked(column, score, p=Annotated[Float[array, " n"], "shares"])
    with pytest.raises(LookupError, match="w, b: give each a shape, or each an annotation"):
        checked(column, score, p=Annotated[dict[str, Any], {"w": "", "b": Float[array, ""]}])


def test_a_number_up_to_a_size(column: Any) -> None:
    b = column.boundary

    def cut(batch: Any, x: Any) -> Any:
        return batch

    run = checked(column, cut, batch=b.UpTo[b.Count, " n"], x=Float[b.Array, "n k"])
    x = column.take_in(np.ones((3, 2), F))
    assert [run(batch, x) for batch in (1, 3, np.int64(2))] == [1, 3, 2]
    with pytest.raises(ValueError, match=r"batch must be at most 3 \(n = 3, from x\), got 4"):
        run(4, x)
    with pytest.raises(ValueError, match="batch must be a whole number of at least 1, got 0"):
        run(0, x)
    with pytest.raises(TypeError, match="batch must be a whole number of at least 1, got builtins"):
        run(2.0, x)


def test_a_limit_that_names_nothing_is_refused_at_the_door(column: Any) -> None:
    b = column.boundary

    def function(x: Any, y: Any = None) -> Any:
        return x, y

    matrix, labels = Float[b.Array, "n k"], b.Below[Int[b.Array, " n"], " classes"]
    with pytest.raises(LookupError, match="Below names 'classes', no size here"):
        checked(column, function, x=matrix, y=labels)
    with pytest.raises(LookupError, match="UpTo names 'n_rows', no size here"):
        checked(column, function, x=matrix, y=b.UpTo[b.Count, " n_rows"])
    with pytest.raises(LookupError, match="Like names 'params', no argument here"):
        checked(column, function, x=dict, y=b.Like[dict, " params"])
    with pytest.raises(LookupError, match="'small' is no limit of a number"):
        checked(column, function, x=Annotated[float, "small"])
