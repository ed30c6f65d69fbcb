"""A learning rate counts in every call: none is kept from the first one.

A compiled function that captures a number, an optimiser that is made once: both pass a test that
knows one rate. So each function that takes a rate is called with one, with another, and again.
"""

from typing import Any

import numpy as np
import pytest
from support.strict import load_column

from triptych import data, trees
from triptych.column import Column
from triptych.forms import missing_form
from triptych.names import COLUMNS, CONCEPTS
from triptych.source import parse

RNG = np.random.default_rng(0)
X, T = RNG.normal(size=(6, 4)).astype(np.float32), np.array([0, 1, 2, 0, 1, 2])
LAYER = {"weight": X[:2, :3], "bias": X[2, :2]}
GRADS = {"weight": X[3:5, :3], "bias": X[5, :2]}
STATE = {"step": np.zeros((), np.int64), "m": GRADS, "v": {n: g**2 for n, g in GRADS.items()}}
CLASSIFIER = {
    "params": data.classifier_start(dtype="float32"), "x": X, "t": T, "optimizer": "sgd",
    "batches": np.array([[0, 1, 2], [3, 4, 5]]), "x_held": X[::-1].copy(), "t_held": T,
    "every": 1, "patience": 2, "penalty": 0.1, "within": "update", "rate": 0.5,
    "masks": RNG.random((2, 3, 16)) < 0.5, "workers": None,
}  # fmt: skip
STEPS = {"steps": 2}
GIVEN: dict[str, dict[str, Any]] = {
    "activations": CLASSIFIER | STEPS | {"t": X[:, :3], "nonlinear": True},
    "aliasing": {"params": LAYER, "grads": GRADS},
    "data_loading": {
        "params": LAYER, "x": X[:, :3], "t": X[:, 2:], "orders": np.arange(12).reshape(2, 6) % 6,
        "batch": 4, "drop_last": False,
    },
    "linear_layer": {"params": LAYER, "x": X[:, :3], "t": X[:, 2:]} | STEPS,
    "linear_regression": {
        "params": {"w": np.float32(0.5), "b": np.float32(0.1)}, "x": X[:, :1], "t": X[:, 1:2],
    } | STEPS,
    "optimizers": {"params": LAYER, "grads": GRADS, "state": STATE},
    "recording": {"x": X[0, 0]},
}  # fmt: skip
"""Arguments by name; the concepts that are not here train the classifier."""
REFUSED = {("torch_impl", "update_inside_graph"), ("jax_impl", "update_inside_graph")}
"""What the framework itself refuses, whatever the rate: test_mechanics.py has the errors."""
OF_ONE = {"linear_layer.error_factor": {"x": X[0]}}


def functions() -> list[Any]:
    """Every public function that takes a learning rate, in every column that has it."""
    return [
        pytest.param(column, concept, function, id=f"{column}-{concept}.{function.name}")
        for concept in CONCEPTS
        for column, module in zip(COLUMNS, parse.load(concept), strict=True)
        for function in module.definitions
        if function.public and any(p.name == "learning_rate" for p in function.parameters)
        if (column, function.name) not in REFUSED
    ]


@pytest.mark.slow_in("jax_impl")
@pytest.mark.slow_in("torch_impl", "execution.compiled_network")
@pytest.mark.slow_in("torch_impl", "execution.compiled_step")
@pytest.mark.slow_in("torch_impl", "execution.compiled_loop")
@pytest.mark.parametrize(("name", "concept", "function"), functions())
def test_each_call_takes_its_own_rate(
    name: str, concept: str, function: parse.Definition, request: pytest.FixtureRequest
) -> None:
    column: Column = load_column(name, request.config)
    if concept == "execution" and (why := missing_form(name, function.name)):
        pytest.skip(why)
    known = GIVEN.get(concept, CLASSIFIER) | OF_ONE.get(f"{concept}.{function.name}", {})
    wanted = [p.name for p in function.parameters if p.default is None]
    given = {name: known[name] for name in wanted if name != "learning_rate"}

    def run(rate: float) -> list[np.ndarray]:
        found = column.call(concept, function.name, **given, learning_rate=rate)
        return [np.asarray(leaf) for _, leaf in trees.leaves(found)]

    if concept == "aliasing" and function.name == "read_after_update" and name == "jax_impl":
        with pytest.raises(RuntimeError, match="deleted"):  # its rate is seen in update_in_place
            run(0.1)
        return
    first, second, again = run(0.1), run(0.2), run(0.1)
    same = [np.array_equal(a, b) for a, b in zip(first, again, strict=True)]
    assert all(same)
    assert not all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
