"""The networks of the simulator, 2-3-1 and 4-16-8-3, and the rows that they are trained on.

Both are the columns' classifier. A network says under which name the page knows each of its
parameters, so that what the page shows can be held against what a column returns.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from words import later

from triptych import data
from triptych.agreement.training import BATCH, RATE

EPOCHS = 20
"""Of the batches that the page knows: enough for 2-3-1 to settle."""

CODE = ("classifier.logits", "classifier.loss", "classifier.loss_and_grads")

Params = Mapping[str, np.ndarray]
Node = dict[str, Any]


class Network(NamedTuple):
    """A classifier as a graph of single numbers."""

    key: str
    title: str
    source: str
    layers: list[list[str]]
    """The units from left to right: inputs, hidden units, scores, loss."""
    nodes: list[Node]
    base: Params
    """The arrays of the column's classifier; what has no name below stays as it is here."""
    parameters: dict[str, tuple[str, tuple[int, ...]]]
    """By the page's name, the array and the place in it."""
    start: dict[str, float]
    """Of the parameters."""
    variables: dict[str, tuple[str, ...]]
    """What the column's code calls the names that begin so."""
    steps: list[dict[str, Any]]
    """What one step of the page computes: a phase, a name for it, and all names of the graph."""
    features: tuple[int, ...]
    """The columns of the study's table that the inputs are."""
    classes: tuple[int, ...]
    """The study's classes that the rows are of."""
    plane: tuple[str, str]
    """The two inputs across which the decision is drawn."""
    rate: float

    @property
    def inputs(self) -> list[str]:
        """The names of a row's features."""
        return self.layers[0]

    def arrays(self, values: Mapping[str, float]) -> tuple[dict[str, np.ndarray], Any, Any]:
        """The parameters, x (1, features) and t (1,) with which a column computes this network."""
        params = {name: array.copy() for name, array in self.base.items()}
        for name, (array, place) in self.parameters.items():
            params[array][place] = values[name]
        x = np.array([[values[name] for name in self.inputs]])
        return params, x, np.array([int(values["t"])])

    def named(self, arrays: Params) -> dict[str, float]:
        """A column's gradients, or parameters, under the page's names."""
        return {name: float(arrays[array][at]) for name, (array, at) in self.parameters.items()}

    def rows(self) -> tuple[data.Samples, data.Samples]:
        """The study's rows of these classes, counted from 0: to train on, and held out."""

        def chosen(x: np.ndarray, t: np.ndarray) -> data.Samples:
            rows = np.isin(t, self.classes)
            return x[rows][:, list(self.features)], np.searchsorted(self.classes, t[rows])

        train, held_out = data.diabetes()
        return chosen(*train), chosen(*held_out)

    def training(self) -> dict[str, Any]:
        """What the page needs to train: rows, batches, and what they are called."""
        (x, t), (held_x, held_t) = self.rows()
        return {
            "inputs": self.inputs,
            "labels": [data.FEATURES[i] for i in self.features],
            "classes": [data.CLASSES[i] for i in self.classes],
            "plane": self.plane,
            "rows": {"x": x.tolist(), "t": t.tolist()},
            "held_out": {"x": held_x.tolist(), "t": held_t.tolist()},
            "batches": data.batches(len(x), BATCH, EPOCHS).tolist(),
        }


def networks() -> tuple[Network, ...]:
    """Both, the small one first."""
    return small(), classifier()


def small() -> Network:
    """2-3-1: two features, three hidden units, and one score.

    As the column's classifier its second layer is the identity, which a ReLU's output passes
    unchanged; class 0 has the constant score 0, class 1 the score s, so P(1) = 1 / (1 + exp(-s)).
    """
    first = data.classifier_start(sizes=(2, 3, 3, 1))
    base = {
        "fc1.weight": first["fc1.weight"],
        "fc1.bias": first["fc1.bias"],
        "fc2.weight": np.eye(3),
        "fc2.bias": np.zeros(3),
        "output.weight": np.vstack([np.zeros(3), first["output.weight"]]),
        "output.bias": np.concatenate([[0.0], first["output.bias"]]),
    }
    parameters: dict[str, tuple[str, tuple[int, ...]]] = {}
    nodes = []
    for unit in (1, 2, 3):
        parameters |= {f"w{unit}{i}": ("fc1.weight", (unit - 1, i - 1)) for i in (1, 2)}
        parameters[f"b{unit}"] = ("fc1.bias", (unit - 1,))
        terms = ["x1", f"w{unit}1", "x2", f"w{unit}2", f"b{unit}"]
        nodes += [_node(f"z{unit}", "linear", terms), _node(f"h{unit}", "relu", [f"z{unit}"])]
    parameters |= {f"v{unit}": ("output.weight", (1, unit - 1)) for unit in (1, 2, 3)}
    parameters["c"] = ("output.bias", (1,))
    nodes += [
        _node("s", "linear", ["h1", "v1", "h2", "v2", "h3", "v3", "c"]),
        _node("L", "cross_entropy", ["s", "t"]),
    ]
    steps = [_step("forward", f"h{u}", [f"z{u}", f"h{u}"]) for u in (1, 2, 3)]
    steps += [_step("forward", "s", ["s"]), _step("forward", "L", ["L"])]
    steps += [_step("backward", "L", ["L"]), _step("backward", "s", ["s"])]
    steps.append(_step("backward", "v", ["v1", "v2", "v3", "c"]))
    for u in (1, 2, 3):
        steps.append(_step("backward", f"h{u}", [f"h{u}", f"z{u}"]))
        steps.append(_step("backward", f"w{u}", [f"w{u}1", f"w{u}2", f"b{u}"]))
    return Network(
        key="2-3-1",
        title=later("A 2-3-1 network learns from the diabetes study"),
        source="A",
        layers=[["x1", "x2"], ["h1", "h2", "h3"], ["s"], ["L"]],
        nodes=nodes,
        base=base,
        parameters=parameters,
        start={name: float(base[array][at]) for name, (array, at) in parameters.items()},
        variables={
            "x": ("x",),
            "t": ("t",),
            "w": ("w1", "params"),
            "b": ("b1", "params"),
            "v": ("w3", "params"),
            "c": ("b3", "params"),
            "z": ("z1",),
            # the second layer is the identity
            "h": ("h1", "z2", "h2"),
            "s": ("z3", "logits"),
            "L": ("log_p", "loss", "value"),
        },
        steps=steps,
        features=(1, 3),
        classes=(0, 2),
        plane=("x1", "x2"),
        # twice the classifier's, so that 120 updates are enough to see it settle
        rate=2 * RATE,
    )


def classifier() -> Network:
    """4-16-8-3 as the columns have it: from their start, on their batches, at their rate."""
    base = data.classifier_start()
    parameters: dict[str, tuple[str, tuple[int, ...]]] = {}
    nodes: list[Node] = []
    before = [f"x_{i}" for i in (1, 2, 3, 4)]
    layers = [before]
    for layer, array in enumerate(("fc1", "fc2", "output"), 1):
        scores = []
        for unit in range(1, len(base[f"{array}.bias"]) + 1):
            weights = [f"w{layer}_{unit}_{i}" for i in range(1, len(before) + 1)]
            for i, weight in enumerate(weights):
                parameters[weight] = (f"{array}.weight", (unit - 1, i))
            parameters[f"b{layer}_{unit}"] = (f"{array}.bias", (unit - 1,))
            terms = [name for pair in zip(before, weights, strict=True) for name in pair]
            scores.append(f"z{layer}_{unit}")
            nodes.append(_node(scores[-1], "linear", [*terms, f"b{layer}_{unit}"]))
        if array != "output":
            hidden = [name.replace("z", "h") for name in scores]
            nodes += [_node(h, "relu", [z]) for h, z in zip(hidden, scores, strict=True)]
            scores = hidden
        layers.append(scores)
        before = scores
    nodes.append(_node("L", "cross_entropy", [*before, "t"]))
    names = [*(node["name"] for node in nodes), *parameters]
    steps = [
        _step(phase, name, [n for n in names if n.split("_")[0] in stems.split()], text)
        for phase, name, stems, text in CLASSIFIER_STEPS
    ]
    return Network(
        key="4-16-8-3",
        title=later("The classifier 4-16-8-3 learns from the diabetes study"),
        source="B",
        layers=[*layers, ["L"]],
        nodes=nodes,
        base=base,
        parameters=parameters,
        start={name: float(base[array][at]) for name, (array, at) in parameters.items()},
        variables={
            "x": ("x",),
            "t": ("t",),
            **{f"w{i}": (f"w{i}", "params") for i in (1, 2, 3)},
            **{f"b{i}": (f"b{i}", "params") for i in (1, 2, 3)},
            **{name: (name,) for name in ("z1", "h1", "z2", "h2")},
            "z3": ("z3", "logits"),
            "L": ("log_p", "loss", "value"),
        },
        steps=steps,
        features=(0, 1, 2, 3),
        classes=(0, 1, 2),
        plane=("x_2", "x_4"),
        rate=RATE,
    )


# Phase, name, what the names that are computed begin with, and the formula: of one row, so z and
# h are vectors, and a derivative by W has W's shape.
CLASSIFIER_STEPS = (
    ("forward", "h1", "z1 h1", "z₁ = W₁ x + b₁,  h₁ = max(0, z₁)"),
    ("forward", "h2", "z2 h2", "z₂ = W₂ h₁ + b₂,  h₂ = max(0, z₂)"),
    ("forward", "z3", "z3", "z₃ = W₃ h₂ + b₃"),
    ("forward", "L", "L", "L = \N{MINUS SIGN}log P(t),  P = softmax(z₃)"),
    ("backward", "L", "L", "dL/dL = 1"),
    ("backward", "z3", "z3", "dL/dz₃ = P \N{MINUS SIGN} onehot(t)"),
    ("backward", "w3", "w3 b3", "dL/dW₃ = dL/dz₃ · h₂ᵀ,  dL/db₃ = dL/dz₃"),
    ("backward", "h2", "h2 z2", "dL/dh₂ = W₃ᵀ · dL/dz₃,  dL/dz₂ = dL/dh₂ · [z₂ > 0]"),
    ("backward", "w2", "w2 b2", "dL/dW₂ = dL/dz₂ · h₁ᵀ,  dL/db₂ = dL/dz₂"),
    ("backward", "h1", "h1 z1", "dL/dh₁ = W₂ᵀ · dL/dz₂,  dL/dz₁ = dL/dh₁ · [z₁ > 0]"),
    ("backward", "w1", "w1 b1", "dL/dW₁ = dL/dz₁ · xᵀ,  dL/db₁ = dL/dz₁"),
)


def _node(name: str, op: str, args: list[str]) -> Node:
    return {"name": name, "op": op, "args": args, "owner": name}


def _step(phase: str, name: str, names: list[str], text: str = "") -> dict[str, Any]:
    return {"phase": phase, "name": name, "names": names, "text": text}
