"""The documents' data, the diabetes study, and everything that is drawn at random.

Whatever is random is drawn here, by NumPy and in float64, and rounded to the dtype asked for
afterwards: every column, in either dtype, starts at the same point and sees the same rows in the
same order. Every call returns fresh arrays, so no caller can change what the next one gets. A
`dtype` is "float64" or "float32", the arrays' own.

Parameters are flat dicts with PyTorch's names and layout: a weight is (out, in). A wrong type is
a `TypeError`, a wrong value a `ValueError`; both name the argument, what was expected and what
came.
"""

import csv
import math
from collections.abc import Sequence
from importlib import resources
from numbers import Integral, Real
from typing import Any

import numpy as np

__all__ = [
    "CLASSES",
    "FEATURES",
    "absolute",
    "batches",
    "bmi_line",
    "classifier_start",
    "diabetes",
    "doubled_line",
    "dropout_mask",
    "layer",
    "line",
    "line_starts",
    "noisy_line",
    "xor",
]

Params = dict[str, np.ndarray]
Samples = tuple[np.ndarray, np.ndarray]

DOCUMENTS = {
    "A": "Medical AI with Python, P21, chapter 7: tensors and automatic differentiation",
    "B": "Medical AI with Python, chapter 8: defining a neural network in PyTorch",
    "C": "PyTorch: a simple one-layer linear model and automatic differentiation, 2026-01-26",
    "D": "a note on PyTorch's autograd engine",
    "E": "Linear regression with PyTorch's automatic differentiation, part 1",
}
"""The documents, by the letters under which they are cited."""
FEATURES = ("age", "bmi", "glucose", "blood pressure")
"""The columns of x in `diabetes`: years, kg/m2, mg/dl, mmHg, before they are standardised."""
CLASSES = ("low", "middle", "high")
"""What the classes 0, 1, 2 of `diabetes` mean: the disease's progression, among patients."""

TRAINING_ROWS = 342  # of 442: the rest, 100, is held out
NOISE = 0.1  # standard deviation, for points within [-2, 2]


def line(*, dtype: str = "float64") -> tuple[Params, np.ndarray, np.ndarray]:
    """Three points on t = 2 x + 1, and the start w = b = 0.

    Returns:
        The parameters {"w": (), "b": ()}, x (3, 1) and t (3, 1).

    Source: A 7.6.
    """
    x = np.array([[1.0], [2.0], [3.0]])
    return _line_start(dtype), _rounded(x, dtype), _rounded(2 * x + 1, dtype)


def doubled_line(*, dtype: str = "float64") -> tuple[Params, np.ndarray, np.ndarray]:
    """Three points on t = 2 x, and the start w = b = 0.

    Returns:
        The parameters {"w": (), "b": ()}, x (3, 1) and t (3, 1).

    Source: D (whose own start is random).
    """
    x = np.array([[1.0], [2.0], [3.0]])
    return _line_start(dtype), _rounded(x, dtype), _rounded(2 * x, dtype)


def line_starts(n: int, seed: int = 0, *, dtype: str = "float64") -> Params:
    """Random starts of w and b for a line, uniform in [-1, 1), as PyTorch's `nn.Linear(1, 1)` has.

    Args:
        n: how many.
        seed: of NumPy's `default_rng`.

    Returns:
        {"w": (n,), "b": (n,)}.

    Raises:
        TypeError: n or seed is not a whole number.
        ValueError: n is below 1, or seed below 0.

    Source: D.
    """
    n = _whole_number("line_starts", "n", n)
    rng = _generator("line_starts", seed)
    return _all_rounded({"w": rng.uniform(-1, 1, n), "b": rng.uniform(-1, 1, n)}, dtype)


def noisy_line(
    n: int = 100, seed: int = 0, *, dtype: str = "float64"
) -> tuple[Params, np.ndarray, np.ndarray]:
    """Noisy points around t = 2 x, and the start w = b = 0.

    x is uniform in [-1, 1); the noise is normal with a standard deviation of 0.1.

    Args:
        n: the number of points, at least 2: one point does not make a line.
        seed: of NumPy's `default_rng`.

    Returns:
        The parameters {"w": (), "b": ()}, x (n, 1) and t (n, 1).

    Raises:
        TypeError: n or seed is not a whole number.
        ValueError: n is below 2, or seed below 0.

    Source: E.
    """
    n = _whole_number("noisy_line", "n", n, at_least=2)
    rng = _generator("noisy_line", seed)
    x = rng.uniform(-1, 1, (n, 1))
    t = 2 * x + rng.normal(0, NOISE, (n, 1))
    return _line_start(dtype), _rounded(x, dtype), _rounded(t, dtype)


def layer(*, dtype: str = "float64") -> tuple[Params, np.ndarray, np.ndarray]:
    """The linear layer of three inputs and one output: its start, one sample and its target.

    Returns:
        The parameters {"weight": (1, 3), "bias": (1,)}, x (3,) and t (1,).

    Source: C.
    """
    params = {"weight": np.array([[0.4, 0.5, 0.6]]), "bias": np.array([0.1])}
    x = np.array([0.1, 0.2, 0.3])
    t = np.array([1.0])
    return _all_rounded(params, dtype), _rounded(x, dtype), _rounded(t, dtype)


def xor(*, dtype: str = "float64") -> tuple[Params, np.ndarray, np.ndarray]:
    """The four cases of an exclusive or, and a start of three layers with 8, 4 and 1 outputs.

    Returns:
        The parameters of `classifier_start`, x (4, 2) and t (4, 1), all of zeros and ones.

    Source: C, next steps, names no task for a non-linearity; this is the one that Minsky and Papert
    (1969), Perceptrons, made famous.
    """
    x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    t = np.array([[0.0], [1.0], [1.0], [0.0]])
    params = classifier_start(sizes=(2, 8, 4, 1), dtype=dtype)
    return params, _rounded(x, dtype), _rounded(t, dtype)


def absolute(*, dtype: str = "float64") -> tuple[Params, np.ndarray, np.ndarray]:
    """21 points on t = |x| from -1 to 1, and a start of three layers with 8, 4 and 1 outputs.

    Returns:
        The parameters of `classifier_start`, x (21, 1) and t (21, 1).
    """
    x = np.arange(-10, 11)[:, None] / 10
    params = classifier_start(sizes=(1, 8, 4, 1), dtype=dtype)
    return params, _rounded(x, dtype), _rounded(np.abs(x), dtype)


def classifier_start(
    seed: int = 0, sizes: Sequence[int] = (4, 16, 8, 3), *, dtype: str = "float64"
) -> Params:
    """Starting weights and biases, uniform within 1/sqrt(inputs of the layer) of 0.

    That is how PyTorch's `nn.Linear` starts; the draws are NumPy's.

    Args:
        seed: of NumPy's `default_rng`.
        sizes: features, first and second hidden layer, classes.
        dtype: "float64" or "float32"; the float32 start is the float64 start, rounded.

    Returns:
        "fc1.weight" (16, 4), "fc1.bias" (16,), "fc2.weight" (8, 16), "fc2.bias" (8,),
        "output.weight" (3, 8) and "output.bias" (3,), in this order, at the default sizes.

    Raises:
        TypeError: seed or a size is not a whole number, or dtype not a string.
        ValueError: there are not four sizes, one is below 1, seed is below 0, or the dtype is
            neither of the two.

    Source: B; K. He et al. (2015), Delving Deep into Rectifiers (the rule that `nn.Linear` uses,
    with a = sqrt(5), which makes the bound 1/sqrt(inputs)).
    """
    sizes = _whole_numbers("classifier_start", "sizes", sizes)
    if len(sizes) != 4:
        raise ValueError(f"classifier_start: sizes must be four whole numbers, got {sizes}")
    rng = _generator("classifier_start", seed)
    params = {}
    for name, inputs, outputs in zip(("fc1", "fc2", "output"), sizes[:-1], sizes[1:], strict=True):
        bound = 1 / math.sqrt(inputs)
        params[f"{name}.weight"] = rng.uniform(-bound, bound, (outputs, inputs))
        params[f"{name}.bias"] = rng.uniform(-bound, bound, outputs)
    return _all_rounded(params, dtype)


def batches(n: int, batch: int, epochs: int, seed: int = 0) -> np.ndarray:
    """Row numbers for each step: a fresh permutation of the rows in each epoch, cut into batches.

    The rows that do not fill a last batch are left out, others in each epoch.

    Args:
        n: the number of rows.
        batch: rows in a batch, at most n.
        epochs: passes over the rows.
        seed: of NumPy's `default_rng`.

    Returns:
        int64 (steps, batch) with steps = epochs * (n // batch).

    Raises:
        TypeError: an argument is not a whole number.
        ValueError: n, batch or epochs is below 1, seed below 0, or batch above n.
    """
    n = _whole_number("batches", "n", n)
    batch = _whole_number("batches", "batch", batch)
    epochs = _whole_number("batches", "epochs", epochs)
    if batch > n:
        raise ValueError(f"batches: batch must be at most n = {n}, got {batch}")
    rng = _generator("batches", seed)
    steps = n // batch
    rows = [rng.permutation(n)[: steps * batch].reshape(steps, batch) for _ in range(epochs)]
    return np.concatenate(rows).astype(np.int64)


def diabetes(
    seed: int = 0, *, standardised: bool = True, dtype: str = "float64"
) -> tuple[Samples, Samples]:
    """Four measurements of 442 patients and the disease's progression, in three equal classes.

    The progression one year after baseline is cut at its terciles over all patients, 100 and
    184; a value equal to a cut goes to the upper class: 147, 147 and 148 patients. Every feature
    is standardised by the mean and the standard deviation (over n) of the training rows alone,
    so nothing about the held-out rows reaches the training.

    Not medical advice: the classes rank these patients among each other.

    Args:
        seed: of the permutation that splits the patients, by NumPy's `default_rng`.
        standardised: False leaves the features as they were measured, as B feeds them.
        dtype: "float64" or "float32", of x.

    Returns:
        (x (342, 4), t (342,)) to train on and (x (100, 4), t (100,)) held out. The columns of x
        are `FEATURES`, without a unit if standardised; t is int64, a position in `CLASSES`.

    Raises:
        TypeError: seed is not a whole number, standardised not a bool, or dtype not a string.
        ValueError: seed is below 0, or the dtype is neither of the two.

    Source: B for the use case; Efron, Hastie, Johnstone and Tibshirani (2004), Least Angle
    Regression, Annals of Statistics 32(2), 407-499, for the data.
    """
    table = _diabetes_table()
    x = np.stack([table[name] for name in ("age", "bmi", "s6", "bp")], axis=1)
    cuts = np.quantile(table["progression"], [1 / 3, 2 / 3])
    t = np.searchsorted(cuts, table["progression"], side="right").astype(np.int64)

    order = _generator("diabetes", seed).permutation(len(x))
    train, held_out = order[:TRAINING_ROWS], order[TRAINING_ROWS:]
    if not isinstance(standardised, bool):
        raise TypeError(f"diabetes: standardised must be a bool, got {standardised!r}")
    if standardised:
        x = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
    return (_rounded(x[train], dtype), t[train]), (_rounded(x[held_out], dtype), t[held_out])


def bmi_line(*, dtype: str = "float64") -> Samples:
    """Disease progression against the body mass index, for the 442 patients of `diabetes`.

    Least squares in closed form gives a slope of 10.2331 per kg/m2, an intercept of -117.773 and
    R^2 = 0.344.

    Returns:
        x (442, 1), the body mass index in kg/m2, and t (442, 1), the progression one year after
        baseline (25 to 346, the study's own measure).

    Source: as for `diabetes`.
    """
    table = _diabetes_table()
    return (
        _rounded(table["bmi"].reshape(-1, 1), dtype),
        _rounded(table["progression"].reshape(-1, 1), dtype),
    )


def dropout_mask(shape: Sequence[int], rate: float, seed: int = 0) -> np.ndarray:
    """Which units a dropout layer keeps: each with probability 1 - rate.

    Args:
        shape: of the layer's output.
        rate: the probability of dropping a unit, in [0, 1).
        seed: of NumPy's `default_rng`.

    Returns:
        Booleans of that shape; True is kept.

    Raises:
        TypeError: shape does not hold whole numbers, rate is not a number, or seed is not a
            whole number.
        ValueError: a size is below 1, rate is outside [0, 1), or seed is below 0.

    Source: Srivastava et al. (2014), Dropout, JMLR 15, 1929-1958.
    """
    shape = _whole_numbers("dropout_mask", "shape", shape)
    if isinstance(rate, bool) or not isinstance(rate, Real):
        raise TypeError(f"dropout_mask: rate must be a number in [0, 1), got {_kind(rate)}")
    if not 0 <= rate < 1:
        raise ValueError(f"dropout_mask: rate must be a number in [0, 1), got {rate}")
    return np.asarray(_generator("dropout_mask", seed).random(shape) >= rate)


def _line_start(dtype: str) -> Params:
    return _all_rounded({"w": np.array(0.0), "b": np.array(0.0)}, dtype)


def _diabetes_table() -> dict[str, np.ndarray]:
    """The columns of the CSV by name, each (442,), in the study's units."""
    text = resources.files("triptych").joinpath("diabetes.csv").read_text(encoding="utf-8")
    rows = csv.reader(row for row in text.splitlines() if not row.startswith("#"))
    names = next(rows)
    columns = np.array(list(rows), dtype=np.float64).T
    return dict(zip(names, columns, strict=True))


def _rounded(x: np.ndarray, dtype: str) -> np.ndarray:
    """A fresh contiguous copy in that dtype."""
    if not isinstance(dtype, str):
        raise TypeError(f"dtype must be 'float64' or 'float32', got {_kind(dtype)}")
    if dtype not in ("float64", "float32"):
        raise ValueError(f"dtype must be 'float64' or 'float32', got {dtype!r}")
    return np.array(x, dtype=dtype, order="C")


def _all_rounded(params: Params, dtype: str) -> Params:
    return {name: _rounded(value, dtype) for name, value in params.items()}


def _generator(function: str, seed: Any) -> np.random.Generator:
    return np.random.default_rng(_whole_number(function, "seed", seed, at_least=0))


def _whole_numbers(function: str, name: str, values: Any) -> tuple[int, ...]:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise TypeError(f"{function}: {name} must be a tuple of whole numbers, got {_kind(values)}")
    return tuple(_whole_number(function, f"{name}[{i}]", v) for i, v in enumerate(values))


def _whole_number(function: str, name: str, value: Any, *, at_least: int = 1) -> int:
    expected = f"a whole number of at least {at_least}"
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{function}: {name} must be {expected}, got {_kind(value)}")
    if value < at_least:
        raise ValueError(f"{function}: {name} must be {expected}, got {value}")
    return int(value)


def _kind(value: Any) -> str:
    """How an error names what came instead: numpy.float64, None."""
    name = type(value).__qualname__
    module = type(value).__module__
    return "None" if value is None else name if module == "builtins" else f"{module}.{name}"
