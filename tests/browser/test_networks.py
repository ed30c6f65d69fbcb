"""The networks of the simulator: training is numpy_ref's, and the drawing says what it is."""

import json
import re
from collections.abc import Callable

import numpy as np
import pytest
from support.simulator import (
    NETWORKS,
    Page,
    choose,
    click,
    data,
    run_a_training,
    shown,
)

from numpy_ref import classifier
from triptych.agreement import bounds as measured

Visit = Callable[..., Page]
WIDTHS = (375, 768, 1440)


@pytest.mark.parametrize("key", NETWORKS)
def test_training_equals_numpy(simulator: Page, key: str) -> None:
    run_a_training(simulator, key)


# What could be wrong in the training: each makes the comparison with numpy_ref fail.
PLANTED_IN_TRAINING = {
    "a sum for the mean": "sim.meanGrads = (g, inputs, rows) => { const m = mean(g, inputs, rows);"
    " for (const k in m) m[k] *= rows.length; return m; }",
    "one row left out": "sim.meanGrads = (g, inputs, rows) => mean(g, inputs, rows.slice(1))",
    "always the first batch": "sim.batch = (g) => g.training.batches[0]",
    "the wrong rows": "sim.judge = (g, inputs) => judge(g, inputs, g.training.held_out)",
    "the smallest score": "sim.scores = (g, values) => { const s = scores(g, values);"
    " s.scores = s.scores.map((v) => -v); return s; }",
}


@pytest.mark.parametrize("what", PLANTED_IN_TRAINING)
def test_a_wrong_training_is_noticed(simulator: Page, what: str) -> None:
    simulator.evaluate(
        "() => { const sim = triptychSim; const { meanGrads: mean, judge, scores } = sim; "
        f"{PLANTED_IN_TRAINING[what]}; }}"
    )
    with pytest.raises(AssertionError):
        run_a_training(simulator, "2-3-1")


def test_a_whole_run_is_the_columns(visit: Visit) -> None:
    """Thirty updates of 4-16-8-3, as `fit` of the column does them."""
    declared = NETWORKS["4-16-8-3"]
    page = visit("simulator.html#graph=4-16-8-3&iteration=31&step=3")
    params, _, _ = declared.arrays(data(page)["graphs"][-1]["start"])
    x, t = declared.rows()[0]
    batches = np.array(declared.training()["batches"][:30])
    fitted, _ = classifier.fit(params, x, t, batches, optimizer="sgd", learning_rate=declared.rate)
    seen = shown(page, "value")
    bound = measured.TRAINED["sgd", "float64"][100]
    for name, value in declared.named(fitted).items():
        assert abs(seen[name] - value) <= bound, name


def test_training_lowers_the_loss(simulator: Page) -> None:
    """The curve has the loss on all rows before each update, and the run settles."""
    choose(simulator, "2-3-1")
    click(simulator, "update", 120)
    values = simulator.get_attribute("#sim-plot", "data-values").split()
    losses = [float(text) for text in values]
    assert len(losses) == 121
    assert losses[-1] < 0.6 * losses[0]
    right, rows, *_ = map(int, re.findall(r"\d+", simulator.inner_text("#sim-decision-title")))
    assert right > 0.75 * rows


# Which corners of a grid lie within the region that the map shades for a class.
WITHIN = """
([k, places]) => {
  const region = document.querySelector(`#sim-decision .sim-region.sim-class-${k}`);
  return places.map(([x, y]) => region.isPointInFill(new DOMPoint(x, y)));
}
"""


@pytest.mark.parametrize(
    "address", ["2-3-1&iteration=4", "2-3-1&iteration=61", "4-16-8-3&iteration=61"]
)
def test_the_map_is_numpys_decision(visit: Visit, address: str) -> None:
    """Within a region numpy_ref decides so too; at its edge, within a cell, nothing is said."""
    page = visit(f"simulator.html#graph={address}")
    declared = NETWORKS[address.split("&")[0]]
    seen = shown(page, "value")
    params, _, _ = declared.arrays(seen)
    ranges, corners = json.loads(page.get_attribute("#sim-decision", "data-corners"))
    size = (41, 31)

    def spread(ends: list[list[float]]) -> np.ndarray:
        axes = [np.linspace(low, high, n) for (low, high), n in zip(ends, size, strict=True)]
        return np.stack(np.meshgrid(*axes), -1)

    grid = spread(ranges)
    rows = np.zeros((grid[..., 0].size, len(declared.inputs)))
    for axis, name in enumerate(declared.plane):
        rows[:, declared.inputs.index(name)] = grid[..., axis].ravel()
    decided = classifier.predict(params, rows).reshape(grid.shape[:2])
    places = spread([list(pair) for pair in zip(*corners, strict=True)])
    count = len(declared.classes)
    for k in {0, count - 1} if count == 3 else {1}:
        own = decided == k
        inner = [(j, i) for j in range(1, size[1] - 1) for i in range(1, size[0] - 1)]
        around = {at: own[at[0] - 1 : at[0] + 2, at[1] - 1 : at[1] + 2] for at in inner}
        sure = [at for at, cells in around.items() if cells.all() or not cells.any()]
        assert len(sure) > 500
        within = page.evaluate(WITHIN, [k, [places[at].tolist() for at in sure]])
        assert within == [bool(own[at]) for at in sure]


def test_training_plays_at_its_speed(simulator: Page) -> None:
    """An update after each pause, more at a higher speed, and the loss on all rows after each."""
    simulator.clock.install(time=0)
    simulator.reload()
    simulator.clock.pause_at(100)  # or the time that the test takes would count, too
    choose(simulator, "2-3-1")
    simulator.focus("#sim-canvas")
    simulator.keyboard.press("t")
    assert simulator.inner_text("#sim-train") == "Pause"
    # nobody can listen to that
    assert simulator.get_attribute("#sim-say", "aria-live") == "off"
    simulator.clock.run_for(2050)  # an update takes 400 ms
    assert "iteration 6 " in simulator.inner_text("#sim-where")
    simulator.select_option("#sim-speed", "4")
    simulator.clock.run_for(1050)
    # the address does not wait for the end
    assert re.search("iteration=1[3-6]&", simulator.url)
    assert "iteration 16 " in simulator.inner_text("#sim-where")
    # the other button takes over
    simulator.click("#sim-play")
    assert simulator.inner_text("#sim-train") == "Train"
    assert simulator.get_attribute("#sim-say", "aria-live") == "polite"
    simulator.click("#sim-play")
    assert simulator.inner_text("#sim-play") == "Play"
    simulator.clock.run_for(4000)
    assert "iteration 16 " in simulator.inner_text("#sim-where")
    assert "iteration=16&step=5" in simulator.url


def test_a_rate_that_is_too_large_stops_the_training(simulator: Page) -> None:
    choose(simulator, "4-16-8-3")
    simulator.fill("#sim-field-", "1e200")
    click(simulator, "update", 5)
    assert "the rate is too large" in simulator.inner_text("#sim-say")
    assert simulator.is_disabled("#sim-train")
    click(simulator, "reset")
    assert simulator.is_enabled("#sim-train")


def test_the_drawing_says_size_and_sign(simulator: Page) -> None:
    """Thickness grows with the size of a weight; dashes, too, say that it is below 0."""
    choose(simulator, "4-16-8-3")
    lines = simulator.eval_on_selector_all(
        "#sim-canvas .sim-line[data-node]",
        "all => all.map(one => [Number(one.dataset.value),"
        " parseFloat(getComputedStyle(one).strokeWidth), getComputedStyle(one).strokeDasharray])",
    )
    assert len(lines) == 4 * 16 + 16 * 8 + 8 * 3
    by_size = sorted(lines, key=lambda line: abs(line[0]))
    widths = [width for _, width, _ in by_size]
    assert widths == sorted(widths)
    assert widths[-1] > 3 * widths[0]
    assert all((value < 0) == (dashes != "none") for value, _, dashes in lines)


@pytest.mark.parametrize("key", NETWORKS)
def test_motion_goes_along_the_lines_of_the_step(visit: Visit, key: str) -> None:
    """Forward into the units that are computed, backward out of them."""
    page = visit(f"simulator.html#graph={key}&step=1")
    flowing = (
        "all => all.filter(one => getComputedStyle(one.querySelector('.sim-flow')).display"
        " !== 'none').map(one => [one.dataset.edge,"
        " getComputedStyle(one.querySelector('.sim-flow')).animationDirection])"
    )
    inputs = NETWORKS[key].inputs
    units = ["h1"] if key == "2-3-1" else NETWORKS[key].layers[1]
    found = page.eval_on_selector_all("#sim-canvas .sim-wire", flowing)
    wanted = {(f"{unit}/{name}", "normal") for unit in units for name in inputs}
    assert {tuple(one) for one in found} == wanted
    click(page, "step", len(NETWORKS[key].steps) - 1)
    units = ["h3"] if key == "2-3-1" else units
    wanted = {(f"{unit}/{name}", "reverse") for unit in units for name in inputs}
    found = page.eval_on_selector_all("#sim-canvas .sim-wire", flowing)
    assert {tuple(one) for one in found} == wanted
    name = "getComputedStyle(document.querySelector('.sim-backward .sim-flow')).animationName"
    assert page.evaluate(name) != "none"
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(name) == "none"


def test_the_chain_rule_is_said_in_numbers(visit: Visit) -> None:
    page = visit("simulator.html#graph=2-3-1&step=9")
    seen = shown(page, "grad") | {f"{k} value": v for k, v in shown(page, "value").items()}
    number = "triptychSim.format"
    text = page.evaluate(
        f"([a, b, c]) => `dL/dh₁ = dL/ds · ∂s/∂h₁ = (${{{number}(a)}}) · (${{{number}(b)}})"
        f" = ${{{number}(c)}}`",
        [seen["s"], seen["v1 value"], seen["h1"]],
    )
    assert text in page.inner_text("#sim-say")
    assert "∂s/∂h₁ = v₁" in page.inner_text("#sim-say")


@pytest.mark.parametrize("width", WIDTHS)
def test_texts_of_a_network_do_not_overlap(visit: Visit, width: int) -> None:
    page = visit("simulator.html#graph=2-3-1&iteration=21&step=15", width=width)
    boxes = page.eval_on_selector_all(
        "#sim-canvas text",
        "all => all.filter(one => one.textContent).map(one => { const b = one.getBBox();"
        # less the room above and below the letters
        " return [one.textContent, b.x, b.y + 3, b.x + b.width, b.y + b.height - 3]; })",
    )
    assert len(boxes) > 30
    for i, (text, left, top, right, bottom) in enumerate(boxes):
        for other, *box in boxes[:i]:
            apart = right <= box[0] or box[2] <= left or bottom <= box[1] or box[3] <= top
            assert apart, (text, other)


def test_forced_colours_keep_the_signs(visit: Visit) -> None:
    page = visit("simulator.html#graph=2-3-1&step=9")
    page.emulate_media(forced_colors="active")
    assert (
        page.evaluate(
            "getComputedStyle(document.querySelector('.sim-negative .sim-line')).strokeDasharray"
        )
        != "none"
    )
    lines = page.eval_on_selector_all(
        "#sim-canvas .sim-line", "all => [...new Set(all.map(one => getComputedStyle(one).stroke))]"
    )
    text = page.evaluate("getComputedStyle(document.querySelector('#sim-say')).color")
    assert lines == [text]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("key", ["A-affine", *NETWORKS])
def test_forced_colours_leave_all_to_be_read(visit: Visit, key: str, theme: str) -> None:
    """Texts and lines are the system's; no rim covers a letter; what is called shaded is."""
    page = visit(f"simulator.html#graph={key}&step=6", theme=theme)
    page.emulate_media(forced_colors="active", color_scheme=theme)
    ink = page.evaluate("getComputedStyle(document.querySelector('#sim-say')).color")
    texts = page.eval_on_selector_all(
        ".sim svg text",
        "all => all.filter(one => one.textContent).map(one => { const s = getComputedStyle(one);"
        " const rim = s.stroke !== 'none' && !s.paintOrder.startsWith('stroke');"
        " return [one.textContent, s.fill, rim]; })",
    )
    assert len(texts) > 8
    assert {(fill, rim) for _, fill, rim in texts} == {(ink, False)}, texts
    paper = page.eval_on_selector_all(
        ".sim-node rect, .sim-unit circle:not(.sim-disc)",
        "all => [...new Set(all.map(one => getComputedStyle(one).fill))]",
    )
    assert len(paper) == 1
    assert paper != [ink]
    shades = page.eval_on_selector_all(
        ".sim-network .sim-region",
        "all => all.map(one => [getComputedStyle(one).fill, getComputedStyle(one).fillOpacity])",
    )
    assert shades == [[ink, "0.2"]] * {"A-affine": 0, "2-3-1": 1, "4-16-8-3": 2}[key]


def test_print_leaves_the_buttons_out(visit: Visit) -> None:
    page = visit("simulator.html#graph=2-3-1&step=9")
    page.emulate_media(media="print")
    assert page.is_hidden("#sim-step")
    assert page.is_hidden("#sim-inputs")
    assert page.is_visible("#sim-canvas svg")
    assert page.is_visible("#sim-decision")
