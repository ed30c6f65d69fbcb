"""The simulator as its tests use it: press, type, read what is drawn, and what numpy_ref says.

What is compared is read from the drawing, after clicks on its buttons. The expected numbers come
from `numpy_ref`, called with what was typed into the fields.
"""

import importlib
import json
import math
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from numpy_ref import classifier, gradients, optimizers

sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "_ext"))
simulator_networks = importlib.import_module("simulator_networks")

Page = Any
Numbers = dict[str, float]

GRAPHS: dict[str, Callable[..., Any]] = {
    "A-quadratic": gradients.quadratic,
    "A-product": gradients.product,
    "A-cube": gradients.cube,
    "A-chain": gradients.chain,
    "A-affine": gradients.affine,
    "E-affine": gradients.affine,
    "D-square": gradients.perfect_square,
    "D-shared": gradients.shared,
}
NETWORKS = {network.key: network for network in simulator_networks.networks()}
KEYS = [*GRAPHS, *NETWORKS]
EDGES = {"A-product": gradients.product_edges, "A-chain": gradients.chain_edges}
EPS = float(np.finfo(np.float64).eps)


def data(page: Page) -> dict[str, Any]:
    return dict(json.loads(page.inner_text("#sim-data")))


def choose(page: Page, key: str) -> dict[str, Any]:
    """Select a graph; what the page knows about it."""
    graphs = data(page)["graphs"]
    at = [graph["key"] for graph in graphs].index(key)
    page.select_option("#sim-graph", str(at))
    return dict(graphs[at])


def steps(page: Page) -> tuple[int, int]:
    """The step, and how many there are in an iteration."""
    words = page.inner_text("#sim-where").split()
    return int(words[-3]), int(words[-1])


def click(page: Page, button: str, times: int = 1) -> None:
    """Press a button, as often as it lets itself be pressed."""
    page.eval_on_selector(f"#sim-{button}", "(b, n) => { while (n--) b.click() }", times)


def type_in(page: Page, inputs: Numbers) -> None:
    for name, value in inputs.items():
        page.fill(f"#sim-field-{name}", repr(value))


def shown(page: Page, what: str, where: str = "node") -> Numbers:
    """The numbers in the drawing that are there: "value" or "grad" of nodes, "local" of edges."""
    found = page.eval_on_selector_all(
        f"#sim-canvas [data-{where}]",
        f"all => all.map(one => [one.dataset.{where}, one.dataset.{what}])",
    )
    return {name: float(text) for name, text in found if text}


def expected(key: str, inputs: Numbers) -> tuple[Numbers, Numbers]:
    """Values and gradients by numpy_ref."""
    if key in NETWORKS:
        values, grads, _ = network(key, inputs)
        return values, grads
    values, grads = GRAPHS[key](*map(np.array, inputs.values()))
    constant = {"x"} if key == "E-affine" else set()
    return (
        {name: float(v) for name, v in values.items()},
        {name: float(v) for name, v in grads.items() if name not in constant},
    )


def network(key: str, inputs: Numbers) -> tuple[Numbers, Numbers, tuple[Numbers, Numbers, float]]:
    """A network's values and gradients by numpy_ref, and how large they could be.

    numpy_ref returns scores, loss, and the derivatives by parameters. The derivative by a bias is
    that by its z; values between the layers are its formulas, written here once more.

    The sizes are of values and gradients, and the error of a derivative of the loss by a score. A
    score is a sum of terms, none of which is rounded more often than there are operations on its
    way; a second run may round in another order, and has an exp and a log of its own. A derivative
    by a score is at most 1. Whatever else is a sum of products of these, and the sizes are those
    sums with every factor replaced by its size.
    """
    declared = NETWORKS[key]
    params, x, t = declared.arrays(inputs)
    loss, found = classifier.loss_and_grads(params, x, t)
    weights = [params[f"{name}.weight"] for name in ("fc1", "fc2", "output")]
    biases = [params[f"{name}.bias"] for name in ("fc1", "fc2", "output")]
    values, sizes, roundings = {}, {}, 8
    row, size = x[0], np.abs(x[0])
    for layer, (w, b) in enumerate(zip(weights, biases, strict=True), 1):
        row, size = w @ row + b, np.abs(w) @ size + np.abs(b)
        roundings += w.shape[1] + 2
        values[f"z{layer}"], sizes[f"z{layer}"] = row, size
        row = np.maximum(row, 0)
        values[f"h{layer}"], sizes[f"h{layer}"] = row, size
    values["z3"] = classifier.logits(params, x)[0]
    grads = {f"z{i}": found[f"{name}.bias"] for i, name in enumerate(("fc1", "fc2", "output"), 1)}
    steep = {"z3": np.ones_like(values["z3"])}
    for i in (2, 1):
        grads[f"h{i}"] = grads[f"z{i + 1}"] @ weights[i]
        steep[f"h{i}"] = steep[f"z{i}"] = steep[f"z{i + 1}"] @ np.abs(weights[i])
    into = {"fc1": np.abs(x[0]), "fc2": sizes["h1"], "output": sizes["h2"]}
    for i, name in enumerate(("fc1", "fc2", "output"), 1):
        steep[f"{name}.weight"] = np.outer(steep[f"z{i}"], into[name])
        steep[f"{name}.bias"] = steep[f"z{i}"]
    error = 2 * roundings * EPS * (1 + sizes["z3"].max())

    def named(arrays: dict[str, Any], derived: bool) -> Numbers:
        found = {}
        for name in (unit for layer in declared.layers[1:-1] for unit in layer):
            for own in {name, name.replace("h", "z")}:
                array, index = where(key, own, derived)
                found[own] = float(arrays[array][index])
        return found | (declared.named(arrays) if derived else {})

    return (
        named(values, False) | {"L": float(loss)},
        named(grads | found, True) | {"L": 1.0},
        (named(sizes, False) | {"L": 1.0}, named(steep, True) | {"L": 0.0}, error),
    )


def where(key: str, unit: str, derived: bool) -> tuple[str, int]:
    """The array and the place of a unit's value, or of its derivative."""
    if key == "4-16-8-3":
        array, _, number = unit.partition("_")
        return array, int(number) - 1
    if unit == "s":
        return "z3", 1
    # the second layer passes h1 on: the derivative by what comes out of it is that by h
    return ("h2" if derived and unit[0] == "h" else f"{unit[0]}1"), int(unit[1]) - 1


def bounds(key: str, inputs: Numbers) -> tuple[Numbers, Numbers]:
    """How far the page's values and gradients may be from numpy_ref's.

    The documents' graphs do the same operations in the same order, so there is no distance. But
    NumPy's x**3 is one `pow` (under 1 ulp), the page's two products (under 1 ulp each).
    """
    if key in NETWORKS:
        _, _, (sizes, steep, error) = network(key, inputs)
        return (
            {name: error * (1 + size) for name, size in sizes.items()},
            {name: 2 * error * size for name, size in steep.items()},
        )
    values, _ = expected(key, inputs)
    far = 3.0 * EPS if key == "A-cube" else 0.0
    return {name: far * abs(value) for name, value in values.items()}, {}


def close(a: float, b: float, bound: float) -> bool:
    """Within a bound; infinities and NaN only where the other has them."""
    return a == b or (math.isnan(a) and math.isnan(b)) or abs(a - b) <= bound


def assert_equals_numpy(page: Page, key: str, inputs: Numbers) -> tuple[Numbers, Numbers]:
    """What the drawing shows is what numpy_ref says; both are given back."""
    values, grads = expected(key, inputs)
    seen, derived = shown(page, "value"), shown(page, "grad")
    by_value, by_gradient = bounds(key, inputs)
    if key in NETWORKS:  # each number of the drawing, and no other
        assert seen.keys() == values.keys() | inputs.keys()
        assert derived.keys() == grads.keys()
        assert {name: seen[name] for name in inputs} == inputs
    for name, value in values.items():
        assert close(seen[name], value, by_value[name]), (
            f"{key} {name}: {seen[name]}, numpy_ref {value}"
        )
    for name, grad in grads.items():
        assert close(derived[name], grad, by_gradient.get(name, 0.0)), (
            f"{key} d{name}: {derived[name]}, numpy_ref {grad}"
        )
    return seen, derived


def random_inputs(key: str, names: list[str], seed: int) -> Numbers:
    rng = random.Random(f"{key} {seed}")
    return {name: rng.uniform(-3, 3) for name in names}


def run_an_iteration(page: Page, key: str, seed: int) -> None:
    """Type random inputs, step forward, back and through an update, and compare on the way."""
    graph = choose(page, key)
    inputs = random_inputs(key, list(graph["start"]), seed)
    type_in(page, inputs)
    forward = len(graph["nodes"])
    click(page, "step", forward)
    assert shown(page, "grad") == {}
    rest = steps(page)[1] - forward
    click(page, "step", rest - 1)
    _, derived = assert_equals_numpy(page, key, inputs)
    locals_ = shown(page, "local", "edge")
    for edge, value in (EDGES[key](np.array(inputs["x"])) if key in EDGES else {}).items():
        to, by = edge[1:].split("/d")
        assert locals_[f"{to}/{by}"] == value
    # update
    rate = seed / 100 + 0.01
    page.fill("#sim-field-", repr(rate))
    click(page, "step")
    after = inputs | updated(graph["tracked"], inputs, derived, rate)
    assert {name: shown(page, "value")[name] for name in inputs} == after
    click(page, "step", steps(page)[1] - 1)
    assert_equals_numpy(page, key, after)


def updated(tracked: list[str], inputs: Numbers, grads: Numbers, rate: float) -> Numbers:
    """The inputs after a step of gradient descent, by numpy_ref."""
    params = {name: np.array(inputs[name]) for name in tracked}
    slopes = {name: np.array(grads[name]) for name in tracked}
    found = optimizers.sgd_step(params, slopes, learning_rate=rate)
    return {name: float(value) for name, value in found.items()}


def seated(key: str, inputs: Numbers, rows: Any, row: int) -> Numbers:
    """The inputs with a row of the study in them."""
    x, t = rows
    features = dict(zip(NETWORKS[key].inputs, map(float, x[row]), strict=True))
    return inputs | features | {"t": float(t[row])}


def mean_of_batch(
    key: str, inputs: Numbers, batch: list[int]
) -> tuple[Numbers, Callable[[str], float]]:
    """The mean of the derivatives over a batch by numpy_ref, and how far the page's may be."""
    declared = NETWORKS[key]
    x, t = declared.rows()[0]
    params, _, _ = declared.arrays(inputs)
    _, grads = classifier.loss_and_grads(params, x[batch], t[batch])
    rows = [network(key, seated(key, inputs, (x, t), row))[2] for row in batch]

    def bound(name: str) -> float:
        # of each row, and of a sum over the rows
        each = [2 * (error + len(rows) * EPS) * steep[name] for _, steep, error in rows]
        return float(np.mean(each))

    return declared.named(grads), bound


def run_an_update(page: Page, key: str, inputs: Numbers, update: int, row: int) -> Numbers:
    """Step through an iteration of training, and compare on the way; the parameters after it."""
    declared = NETWORKS[key]
    training = declared.training()
    batch = training["batches"][update]
    inputs = seated(key, inputs, declared.rows()[0], batch[row - 1])
    forward = sum(step["phase"] == "forward" for step in declared.steps)
    click(page, "step", forward - steps(page)[0])
    assert shown(page, "grad") == {}
    click(page, "step", len(declared.steps) - forward)
    assert_equals_numpy(page, key, inputs)
    click(page, "step")
    seen = shown(page, "grad")
    means, bound = mean_of_batch(key, inputs, batch)
    for name, mean in means.items():
        assert close(seen[name], mean, bound(name)), (
            f"{key} mean d{name}: {seen[name]}, numpy_ref {mean}"
        )
    assert_judged_like_numpy(page, key, inputs)
    rate = float(page.input_value("#sim-field-"))
    click(page, "step")
    after = updated(list(means), inputs, seen, rate)
    assert {name: shown(page, "value")[name] for name in after} == after
    return inputs | after


def assert_judged_like_numpy(page: Page, key: str, inputs: Numbers) -> None:
    """The loss on all rows, and how many are right, are what numpy_ref says."""
    declared = NETWORKS[key]
    params, _, _ = declared.arrays(inputs)
    (x, t), (held_x, held_t) = declared.rows()
    loss = float(page.get_attribute("#sim-plot", "data-values").split()[-1])
    errors = [network(key, seated(key, inputs, (x, t), row))[2][2] for row in range(len(t))]
    wanted = float(classifier.loss(params, x, t))
    # of each row, and of a sum over the rows
    bound = 2 * max(errors) + len(t) * EPS * wanted
    assert close(loss, wanted, bound), f"{key} loss: {loss}, numpy_ref {wanted}"
    right = [(classifier.predict(params, a) == b).sum() for a, b in ((x, t), (held_x, held_t))]
    said = list(map(int, re.findall(r"\d+", page.inner_text("#sim-decision-title"))))
    assert said == [right[0], len(t), right[1], len(held_t)], f"{key}: {said}, numpy_ref {right}"


def run_a_training(page: Page, key: str) -> None:
    """Random parameters where there are fields for them, and three updates from there."""
    graph = choose(page, key)
    inputs = dict(graph["start"])
    if key == "2-3-1":
        inputs |= random_inputs(key, graph["tracked"], 0)
        type_in(page, {name: inputs[name] for name in graph["tracked"]})
    page.fill("#sim-field-", "0.25")
    for update, row in enumerate((1, 38, 7)):
        page.fill("#sim-field-row", str(row))
        inputs = run_an_update(page, key, inputs, update, row)


def run_iterations(page: Page, key: str) -> None:
    for seed in range(5):
        run_an_iteration(page, key, seed)
