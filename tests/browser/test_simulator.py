"""The simulator's numbers are numpy_ref's: forward, backward and after an update, as shown.

What is compared is read from the drawing, after clicks on its buttons. The expected numbers come
from `numpy_ref`, called with what was typed into the fields.
"""

import importlib
import json
import math
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numpy_ref import classifier, gradients, optimizers
from triptych import names

sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "_ext"))
simulator_data = importlib.import_module("simulator_data")

Page = Any
Visit = Callable[..., Page]
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
KEYS = [*GRAPHS, "network"]
EDGES = {"A-product": gradients.product_edges, "A-chain": gradients.chain_edges}
WIDTHS = (375, 768, 1440)
EPS = float(np.finfo(np.float64).eps)


@pytest.fixture
def simulator(visit: Visit) -> Page:
    return visit("simulator.html")


def data(page: Page) -> dict[str, Any]:
    return dict(json.loads(page.inner_text("#sim-data")))


def choose(page: Page, key: str) -> dict[str, Any]:
    """Select a graph; what the page knows about it."""
    graphs = data(page)["graphs"]
    at = [graph["key"] for graph in graphs].index(key)
    page.select_option("#sim-graph", str(at))
    return dict(graphs[at])


def steps(page: Page) -> tuple[int, int]:
    """The step, and how many there are in a round."""
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
    if key == "network":
        params, x, t = simulator_data.network_arrays(inputs)
        score = classifier.logits(params, x)[0, 1]
        loss, found = classifier.loss_and_grads(params, x, t)
        return {"s": float(score), "L": float(loss)}, simulator_data.network_grads(found)
    values, grads = GRAPHS[key](*map(np.array, inputs.values()))
    constant = {"x"} if key == "E-affine" else set()
    return (
        {name: float(v) for name, v in values.items()},
        {name: float(v) for name, v in grads.items() if name not in constant},
    )


def bounds(key: str, inputs: Numbers) -> tuple[float, dict[str, float]]:
    """How far the page's numbers may be from numpy_ref's: absolute for L and s, then by gradient.

    The documents' graphs do the same operations in the same order, so there is no distance. But
    NumPy's x**3 is one `pow` (under 1 ulp), the page's two products (under 1 ulp each).

    In the network BLAS may add in another order and without rounding the products, and each
    library has its own exp and log (under 1 ulp each). A score is a sum of terms of this size, in
    which no step rounds more often than eight times; the derivative of the loss by it is at most
    1, and so is the derivative of that.
    """
    if key != "network":
        return (3.0 * EPS if key == "A-cube" else 0.0), {}
    i = {name: abs(value) for name, value in inputs.items()}
    z = [i["x1"] * i["w11"] + i["x2"] * i["w12"] + i["b1"]]
    z += [i["x1"] * i["w21"] + i["x2"] * i["w22"] + i["b2"]]
    score = z[0] * i["v1"] + z[1] * i["v2"] + i["c"]
    factor = {"v1": z[0], "v2": z[1], "c": 1.0}
    for unit, name in ((1, "v1"), (2, "v2")):
        factor |= {
            f"w{unit}1": i["x1"] * i[name],
            f"w{unit}2": i["x2"] * i[name],
            f"b{unit}": i[name],
        }
    error = 8 * EPS * (1 + score)
    return error, {name: 2 * error * size for name, size in factor.items()}


def close(a: float, b: float, bound: float) -> bool:
    """Within a bound; infinities and NaN only where the other has them."""
    return a == b or (math.isnan(a) and math.isnan(b)) or abs(a - b) <= bound


def assert_equals_numpy(page: Page, key: str, inputs: Numbers) -> tuple[Numbers, Numbers]:
    """What the drawing shows is what numpy_ref says; both are given back."""
    values, grads = expected(key, inputs)
    seen, derived = shown(page, "value"), shown(page, "grad")
    error, by_gradient = bounds(key, inputs)
    for name, value in values.items():
        bound = error * (abs(value) if key == "A-cube" else 1)
        assert close(seen[name], value, bound), f"{key} {name}: {seen[name]}, numpy_ref {value}"
    for name, grad in grads.items():
        bound = by_gradient.get(name, 0.0)
        assert close(derived[name], grad, bound), (
            f"{key} d{name}: {derived[name]}, numpy_ref {grad}"
        )
    return seen, derived


def random_inputs(key: str, names: list[str], seed: int) -> Numbers:
    rng = random.Random(f"{key} {seed}")
    inputs = {name: rng.uniform(-3, 3) for name in names}
    return inputs | ({"t": float(rng.randrange(2))} if key == "network" else {})


def run_a_round(page: Page, key: str, seed: int) -> None:
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
    tracked = graph["tracked"]
    params = {name: np.array(inputs[name]) for name in tracked}
    grads = {name: np.array(derived[name]) for name in tracked}
    updated = optimizers.sgd_step(params, grads, learning_rate=rate)
    after = inputs | {name: float(updated[name]) for name in tracked}
    assert {name: shown(page, "value")[name] for name in inputs} == after
    click(page, "step", steps(page)[1] - 1)
    assert_equals_numpy(page, key, after)


def run_rounds(page: Page, key: str) -> None:
    for seed in range(5):
        run_a_round(page, key, seed)


@pytest.mark.parametrize("key", KEYS)
def test_numbers_equal_numpy(simulator: Page, key: str) -> None:
    run_rounds(simulator, key)


def test_every_graph_is_there(simulator: Page) -> None:
    assert [graph["key"] for graph in data(simulator)["graphs"]] == KEYS


# A wrong rule in the page: each makes the comparison with numpy_ref fail.
PLANTED = {
    "product": ("A-product", "mul", "local: ([a, b]) => [a, b]"),
    "power": ("A-cube", "pow", "local: ([a, n]) => [n * a, 0]"),
    "path lost": ("D-shared", "add", "local: () => [1, 0]"),
    "sum": ("A-affine", "add", "value: ([a, b]) => a - b"),
    "relu": ("network", "relu", "local: () => [1]"),
    "bias": ("network", "linear", "local: (args) => [...args.slice(0, -1), 1]"),
    "cross-entropy": (
        "network",
        "cross_entropy",
        "local: ([s, t]) => [t - 1 / (1 + Math.exp(-s)), 0]",
    ),
}


@pytest.mark.parametrize("what", PLANTED)
def test_a_wrong_rule_is_noticed(simulator: Page, what: str) -> None:
    key, rule, replacement = PLANTED[what]
    simulator.evaluate(f"Object.assign(triptychSim.rules.{rule}, {{{replacement}}})")
    with pytest.raises(AssertionError, match="numpy_ref"):
        run_rounds(simulator, key)


@pytest.mark.parametrize("key", KEYS)
def test_start_is_what_the_columns_returned(simulator: Page, key: str) -> None:
    graph = choose(simulator, key)
    click(simulator, "step", steps(simulator)[1] - 1)
    assert_equals_numpy(simulator, key, graph["start"])
    for kind, at in (("values", 0), ("grads", 1)):
        for name, value in expected(key, graph["start"])[at].items():
            row = simulator.query_selector(f"#sim-returned [data-{kind}={name}]")
            cells = [float(cell.inner_text()) for cell in row.query_selector_all("td")]
            assert cells[0] == value
            # what the three and the page may differ by: see test_numbers_equal_numpy
            assert cells == pytest.approx([value] * 4, rel=64 * EPS if key == "network" else 0)


def test_lit_lines_do_the_current_step(simulator: Page) -> None:
    """The product: each step's line, by what stands in it."""
    choose(simulator, "A-product")
    lines = {
        1: ("a = x + 2", "a = x + 2", "a, pull_a = jax.vjp(lambda x: x + 2, x)"),
        3: ("y = a * b", "y = a * b", "y, pull_y = jax.vjp(lambda a, b: a * b, a, b)"),
        5: ("d_b = d_y * a", "b.retain_grad()\ny.backward()", "d_a, d_b = pull_y(d_y)"),
        7: ("d_x = d_a + d_b", "y.backward()", "d_x = through_a + through_b"),
        8: (
            "return {name: p - learning_rate * grads[name]",
            "SGD(leaves.values(), learning_rate).step()",
            "return jax.tree.map(lambda p, g: p - learning_rate * g",
        ),
    }
    for step, texts in lines.items():
        click(simulator, "step", (step - steps(simulator)[0]))
        for column, text in zip(names.COLUMNS, texts, strict=True):
            lit = simulator.query_selector_all(f"#sim-code [data-column={column}] .tp-lit code")
            assert all(line.is_visible() for line in lit)
            code = "\n".join(line.inner_text().strip() for line in lit)
            for part in text.split("\n"):
                assert part in code, (step, column, code)


@pytest.mark.parametrize("key", KEYS)
def test_every_step_lights_a_line_of_each_column(simulator: Page, key: str) -> None:
    graph = choose(simulator, key)
    for step in range(steps(simulator)[1]):
        for column in names.COLUMNS:
            lit = simulator.query_selector_all(f"#sim-code [data-column={column}] .tp-lit")
            # NumPy derives softmax and cross-entropy together: there is no line for dL/dL = 1,
            # and JAX's value_and_grad computes the loss that PyTorch and NumPy name
            allowed = key == "network" and column == "numpy_ref" and step == len(graph["nodes"]) + 1
            assert lit or allowed, (step, column)
        click(simulator, "step")


def test_formula_fills_in(simulator: Page) -> None:
    choose(simulator, "A-product")
    row = "#sim-formulas > div:nth-child(2) li:last-child"
    before = simulator.inner_text(row)
    assert "7" not in before
    click(simulator, "step", 7)
    assert "4·1+3·1=7" in "".join(simulator.inner_text(row).split())
    assert "dy/dx = dy/da · ∂a/∂x + dy/db · ∂b/∂x = 4 · 1 + 3 · 1 = 7" in simulator.inner_text(
        "#sim-say"
    )
    assert shown(simulator, "part", "edge") | {"a/x": 4, "b/x": 3} == shown(
        simulator, "part", "edge"
    )


def test_back_undoes_every_step(simulator: Page) -> None:
    choose(simulator, "A-affine")

    def state() -> list[str]:
        parts = ("canvas", "formulas", "say", "where", "plot", "returned")
        return [simulator.text_content(f"#sim-{part}") for part in parts]

    seen = [state()]
    for _ in range(2 * steps(simulator)[1] + 3):
        click(simulator, "step")
        seen.append(state())
    for earlier in reversed(seen[:-1]):
        click(simulator, "back")
        assert state() == earlier
    assert simulator.is_disabled("#sim-back")


def test_updates_make_the_output_fall(simulator: Page) -> None:
    graph = choose(simulator, "network")
    inputs = dict(graph["start"])
    losses = []
    for _ in range(12):
        losses.append(expected("network", inputs)[0]["L"])
        click(simulator, "update")
        inputs = {name: shown(simulator, "value")[name] for name in inputs}
    drawn = simulator.get_attribute("#sim-plot", "aria-label").split(": ")[1].split(", ")
    losses.append(expected("network", inputs)[0]["L"])
    # five digits are drawn
    assert [float(text) for text in drawn] == pytest.approx(losses, rel=0.5e-4)
    assert losses == sorted(losses, reverse=True)
    assert len(simulator.query_selector_all("#sim-plot circle")) == 13


def test_dragging_moves_what_is_shown(simulator: Page) -> None:
    """A slider keeps the step: every number that is there follows."""
    choose(simulator, "A-product")
    click(simulator, "step", 7)
    simulator.focus("#sim-slider-x")
    for _ in range(10):
        simulator.keyboard.press("ArrowRight")
    x = float(simulator.input_value("#sim-field-x"))
    assert x > 1
    assert steps(simulator)[0] == 7
    assert_equals_numpy(simulator, "A-product", {"x": x})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "x must be a number, got nothing"),
        ("abc", "x must be a number, got abc"),
        ("1,5", "x must be a number with a point, not a comma, got 1,5"),
        ("0x10", "x must be a number, got 0x10"),
        ("1e999", "x must be finite, got 1e999"),
        ("inf", "x must be finite, got inf"),
        ("nan", "x must be finite, got nan"),
        ("<b>", "x must be a number, got <b>"),
    ],
)
def test_what_is_no_number_is_refused(simulator: Page, text: str, why: str) -> None:
    click(simulator, "step", 2)
    before = shown(simulator, "value")
    simulator.fill("#sim-field-x", text)
    assert simulator.inner_text("#sim-why-x") == why
    assert simulator.get_attribute("#sim-field-x", "aria-invalid") == "true"
    assert shown(simulator, "value") == before
    assert simulator.is_disabled("#sim-step")
    simulator.fill("#sim-field-x", " 3e0 ")
    assert simulator.inner_text("#sim-why-x") == ""
    assert shown(simulator, "value")["x"] == 3
    assert simulator.is_enabled("#sim-step")


def test_other_fields_refuse_too(simulator: Page) -> None:
    for text in ("0", "-1", "fast"):
        simulator.fill("#sim-field-", text)
        assert "learning rate must be a number" in simulator.inner_text("#sim-why-")
    click(simulator, "reset")
    choose(simulator, "network")
    simulator.fill("#sim-field-t", "2")
    assert simulator.inner_text("#sim-why-t") == "t must be a class, 0 or 1, got 2"


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
@pytest.mark.parametrize("key", GRAPHS)
def test_huge_and_tiny_numbers(simulator: Page, key: str) -> None:
    """inf and nan where the columns have them."""
    for value in (1e200, -1e200, 1.7e308, 1e-200, 5e-324):
        graph = choose(simulator, key)
        inputs = dict.fromkeys(graph["start"], value)
        type_in(simulator, inputs)
        click(simulator, "step", steps(simulator)[1] - 1)
        assert_equals_numpy(simulator, key, inputs)


def test_infinity_is_written_as_the_columns_do(simulator: Page) -> None:
    choose(simulator, "A-cube")
    type_in(simulator, {"x": -1e200})
    click(simulator, "step", 3)
    assert simulator.text_content("[data-node=y] .sim-value") == "-inf"
    assert simulator.text_content("[data-node=x] .sim-grad") == "dy/dx = inf"
    # the update goes to -inf, which no column would take
    click(simulator, "step")
    assert simulator.inner_text("#sim-why-x") == "x must be finite, got -inf"
    assert simulator.is_disabled("#sim-step")
    click(simulator, "back")
    assert shown(simulator, "value")["x"] == -1e200


def test_keyboard_only(simulator: Page) -> None:
    """From the top of the page: choose a graph, step, read, change an input, update, go back."""

    def tab_to(selector: str) -> None:
        for _ in range(80):
            if simulator.evaluate("s => document.activeElement?.matches(s)", selector):
                return
            simulator.keyboard.press("Tab")
        raise AssertionError(f"Tab never reaches {selector}")

    tab_to("#sim-graph")
    simulator.keyboard.press("ArrowDown")
    assert "a = x + 2" in simulator.text_content("#sim-canvas")
    tab_to("#sim-step")
    outline = simulator.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    for _ in range(3):
        simulator.keyboard.press("Enter")
    assert shown(simulator, "value")["y"] == 12
    tab_to("#sim-slider-x")
    simulator.keyboard.press("ArrowRight")
    tab_to("#sim-field-x")
    simulator.keyboard.press("Control+a")
    simulator.keyboard.type("1")
    tab_to("#sim-canvas")
    for _ in range(4):
        simulator.keyboard.press("ArrowRight")
    assert shown(simulator, "grad")["x"] == 7
    simulator.keyboard.press("ArrowLeft")
    assert "x" not in shown(simulator, "grad")
    simulator.keyboard.press("u")
    # 1 - 0.1 * 7, computed
    assert shown(simulator, "value")["x"] == 1 - 0.1 * 7
    simulator.keyboard.press("r")
    assert shown(simulator, "value") == {"x": 1}


def test_play_and_pause(simulator: Page) -> None:
    simulator.clock.install()
    simulator.reload()
    simulator.focus("#sim-canvas")
    simulator.keyboard.press(" ")
    assert simulator.inner_text("#sim-play") == "Pause"
    simulator.clock.run_for(4000)
    assert steps(simulator)[0] == 3
    simulator.keyboard.press(" ")
    assert simulator.inner_text("#sim-play") == "Play"
    simulator.clock.run_for(4000)
    assert steps(simulator)[0] == 3


def test_announces_each_step(simulator: Page) -> None:
    assert simulator.get_attribute("#sim-say", "aria-live") == "polite"
    said = [simulator.inner_text("#sim-say")]
    for _ in range(steps(simulator)[1]):
        click(simulator, "step")
        said.append(simulator.inner_text("#sim-say"))
    assert len(set(said)) == len(said)


def test_moves_nothing_for_who_asks_for_less(simulator: Page) -> None:
    click(simulator, "step")
    animation = "getComputedStyle(document.querySelector('.sim-forward path')).animationName"
    assert simulator.evaluate(animation) != "none"
    simulator.emulate_media(reduced_motion="reduce")
    assert simulator.evaluate(animation) == "none"


# What sticks out of the window; the page cuts it off, so nothing would scroll. A box that scrolls
# by itself may hold what is wider.
OUTSIDE = """
() => {
  const scrolls = (one) => ["auto", "scroll"].includes(getComputedStyle(one).overflowX);
  const free = (one) => !one || (!scrolls(one) && free(one.parentElement));
  return [...document.querySelectorAll("article *")]
    .filter((one) => one.getBoundingClientRect().right > innerWidth + 1 && free(one.parentElement))
    .map((one) => one.outerHTML.slice(0, 80));
}
"""


@pytest.mark.parametrize("width", WIDTHS)
def test_fits_the_screen(visit: Visit, width: int) -> None:
    page = visit("simulator.html", width=width)
    for key in KEYS:
        choose(page, key)
        for _ in range(2):
            click(page, "step", steps(page)[1] - 1)
            assert page.evaluate(OUTSIDE) == [], key
            click(page, "step")


@pytest.mark.parametrize("key", KEYS)
def test_nothing_in_the_drawing_overlaps(simulator: Page, key: str) -> None:
    """No two nodes, and no text wider than its node."""
    choose(simulator, key)
    click(simulator, "step", steps(simulator)[1] - 1)
    boxes = simulator.eval_on_selector_all(
        "#sim-canvas .sim-node rect",
        "all => all.map(one => one.getBoundingClientRect())"
        ".map(box => [box.left, box.top, box.right, box.bottom])",
    )
    for i, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[:i]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
    texts = simulator.eval_on_selector_all(
        "#sim-canvas .sim-node text",
        "all => all.map(one => [one.textContent, one.getBBox().width,"
        " one.parentNode.querySelector('rect').getBBox().width])",
    )
    assert all(width <= room for _, width, room in texts), texts


@pytest.fixture(params=["light", "dark"])
def theme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# axe looks at no contrast within SVG
CONTRAST = """
() => {
  const channels = (color) => color.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = (color) => {
    const [r, g, b] = channels(color).map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  return [...document.querySelectorAll("#sim-canvas text")]
    .filter((text) => text.textContent)
    .map((text) => {
      const [a, b] = [text, text.parentNode.querySelector("rect")]
        .map((one) => light(getComputedStyle(one).fill));
      return [text.textContent, Math.max(a, b) / Math.min(a, b)];
    });
}
"""


def test_drawing_has_contrast(visit: Visit, theme: str) -> None:
    """Text against its box, in every state; Source: WCAG 2.2, 1.4.3, which asks for 4.5."""
    page = visit("simulator.html", theme=theme)
    choose(page, "E-affine")
    for _ in range(steps(page)[1]):
        click(page, "step")
        assert not {text: ratio for text, ratio in page.evaluate(CONTRAST) if ratio < 4.5}


@pytest.mark.parametrize(
    ("width", "key"), [(375, "network"), (768, "A-product"), (1440, "A-product")]
)
def test_axe_finds_nothing_serious(visit: Visit, theme: str, width: int, key: str) -> None:
    axe = importlib.import_module("axe_playwright_python.sync_playwright").Axe()
    page = visit("simulator.html", width=width, theme=theme)
    choose(page, key)
    click(page, "step", steps(page)[1] - 1)
    page.fill("#sim-field-", "much")
    # without `preload` it does not read the style sheets again, which file: forbids
    found = axe.run(page, context=".sim", options={"preload": False}).response["violations"]
    serious = [v for v in found if v["impact"] in ("serious", "critical")]
    assert not {v["id"]: [node["html"] for node in v["nodes"]] for v in serious}


def test_a_source_that_cannot_be_drawn_is_named() -> None:
    with pytest.raises(ValueError, match=r"no rule for 'x / 2'"):
        simulator_data._nodes("y = x / 2")


def test_missing_claims_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulator_data.book, "claims", tuple)
    with pytest.raises(ValueError, match="Gradients of small graphs"):
        simulator_data.simulator_data()
