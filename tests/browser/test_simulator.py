"""The simulator's numbers are numpy_ref's: forward, backward and after an update, as shown."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.simulator import (
    GRAPHS,
    KEYS,
    NETWORKS,
    Page,
    assert_equals_numpy,
    bounds,
    choose,
    click,
    close,
    data,
    expected,
    run_a_training,
    run_iterations,
    shown,
    steps,
    type_in,
)

from triptych import names

sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "_ext"))
simulator_data = importlib.import_module("simulator_data")

Visit = Callable[..., Page]
WIDTHS = (375, 768, 1440)


@pytest.mark.parametrize("key", GRAPHS)
def test_numbers_equal_numpy(simulator: Page, key: str) -> None:
    run_iterations(simulator, key)


def test_every_graph_is_there(simulator: Page) -> None:
    assert [graph["key"] for graph in data(simulator)["graphs"]] == KEYS


# A wrong rule in the page: each makes the comparison with numpy_ref fail.
PLANTED = {
    "product": ("A-product", "mul", "local: ([a, b]) => [a, b]"),
    "power": ("A-cube", "pow", "local: ([a, n]) => [n * a, 0]"),
    "path lost": ("D-shared", "add", "local: () => [1, 0]"),
    "sum": ("A-affine", "add", "value: ([a, b]) => a - b"),
    "relu": ("2-3-1", "relu", "local: () => [1]"),
    "bias": ("4-16-8-3", "linear", "local: (args) => [...args.slice(0, -1), 1]"),
    "cross-entropy": (
        "2-3-1",
        "cross_entropy",
        "local: ([s, t]) => [t - 1 / (1 + Math.exp(-s)), 0]",
    ),
}


@pytest.mark.parametrize("what", PLANTED)
def test_a_wrong_rule_is_noticed(simulator: Page, what: str) -> None:
    key, rule, replacement = PLANTED[what]
    simulator.evaluate(f"Object.assign(triptychSim.rules.{rule}, {{{replacement}}})")
    with pytest.raises(AssertionError, match="numpy_ref"):
        (run_a_training if key in NETWORKS else run_iterations)(simulator, key)


@pytest.mark.parametrize("key", KEYS)
def test_start_is_what_the_columns_returned(simulator: Page, key: str) -> None:
    graph = choose(simulator, key)
    start = {name: float(value) for name, value in graph["start"].items()}
    backward = len(NETWORKS[key].steps) if key in NETWORKS else steps(simulator)[1] - 1
    click(simulator, "step", backward)
    assert_equals_numpy(simulator, key, start)
    for kind, found, far in zip(
        ("values", "grads"), expected(key, start), bounds(key, start), strict=True
    ):
        rows = simulator.query_selector_all(f"#sim-returned [data-{kind}]")
        assert rows or (key, kind) == ("4-16-8-3", "grads")
        for row in rows:
            name = row.get_attribute(f"data-{kind}")
            cells = [float(cell.inner_text()) for cell in row.query_selector_all("td")]
            assert cells[0] == found[name]
            # the columns' libraries differ as the page and NumPy do
            assert all(close(cell, cells[0], far.get(name, 0.0)) for cell in cells), name


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
            first = sum(one["phase"] == "forward" for one in graph.get("steps", ())) + 1
            allowed = key in NETWORKS and column == "numpy_ref" and step == first
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
    choose(simulator, "D-square")
    inputs = {"x": 3.0}
    outputs = []
    for _ in range(12):
        outputs.append(expected("D-square", inputs)[0]["y"])
        click(simulator, "update")
        inputs = {name: shown(simulator, "value")[name] for name in inputs}
    drawn = simulator.get_attribute("#sim-plot", "aria-label").split(": ")[1].split(", ")
    outputs.append(expected("D-square", inputs)[0]["y"])
    # five digits are drawn
    assert [float(text) for text in drawn] == pytest.approx(outputs, rel=0.5e-4)
    assert outputs == sorted(outputs, reverse=True)
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
    choose(simulator, "2-3-1")
    for text in ("0", "39", "1.5"):
        simulator.fill("#sim-field-row", text)
        wanted = f"row of the batch must be a whole number from 1 to 38, got {text}"
        assert simulator.inner_text("#sim-why-row") == wanted


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


def state(page: Page) -> list[str]:
    parts = ("graph", "say", "where", "formulas", "inputs", "returned", "plot-title")
    texts = [page.text_content(f"#sim-{part}") for part in parts]
    return [*texts, page.input_value("#sim-graph"), page.inner_html("#sim-canvas")]


ADDRESSES = {
    "": "graph=A-quadratic",
    "#graph=A-cube&step=3": None,
    # the last step of an iteration is its update
    "#graph=A-cube&step=4": None,
    "#graph=A-cube&iteration=3&step=4": None,
    "#graph=A-cube&iteration=500&step=4": None,
    "#graph=A-product&x=-2.5&step=7": None,
    "#graph=A-affine&rate=0.05&iteration=4&step=2": None,
    "#graph=A-affine&rate=0.1:2,0.05&iteration=3&step=8": None,
    "#graph=2-3-1&iteration=30&step=16": None,
    "#graph=2-3-1&w11=0.5&iteration=3&row=7&step=11": None,
    "#graph=4-16-8-3&iteration=4&step=9": None,
    # no step of an iteration is where the one before it ends
    "#graph=A-cube&iteration=3": "graph=A-cube&iteration=2&step=4",
    # older links count the updates before the iteration
    "#graph=A-cube&update=1": "graph=A-cube&step=4",
    "#graph=2-3-1&w11=0.5&update=2&row=7&step=11": "graph=2-3-1&w11=0.5&iteration=3&row=7&step=11",
    "#graph=2-3-1&update=2&step=16": "graph=2-3-1&iteration=3&step=16",
    # what is as at the start is left out
    "#graph=2-3-1&update=0&rate=0.1&row=1&step=0": "graph=2-3-1",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_address_holds_the_state(visit: Visit, address: str) -> None:
    """It leads to a state, and the state back to it; opened, it stays as it is."""
    page = visit(f"simulator.html{address}")
    kept = f"#{ADDRESSES[address]}" if ADDRESSES[address] else address
    assert page.get_attribute("#sim-link", "href") == kept
    found = state(page)
    page.wait_for_timeout(400)  # an address is written within 300 ms
    assert page.evaluate("location.hash") == address
    page.goto("about:blank")
    assert state(visit(f"simulator.html{kept}")) == found


def test_the_last_step_is_the_update(simulator: Page) -> None:
    """The teacher's link: step 4 of the third graph."""
    choose(simulator, "A-cube")
    chosen = "document.querySelector('#sim-graph').selectedOptions[0].text"
    assert simulator.evaluate(chosen).startswith("3. y = x**3")
    click(simulator, "step", 4)
    assert simulator.inner_text("#sim-where").startswith("iteration 1 · step 4 of 4")
    assert simulator.inner_text("#sim-say").startswith("Update")
    assert simulator.get_attribute("#sim-link", "href") == "#graph=A-cube&step=4"
    click(simulator, "step")
    assert simulator.inner_text("#sim-where").startswith("iteration 2 · step 1 of 4")
    click(simulator, "back")
    click(simulator, "back")
    assert simulator.inner_text("#sim-where").startswith("iteration 1 · step 3 of 4")


def test_no_iteration_is_beyond_what_a_link_holds(visit: Visit) -> None:
    page = visit("simulator.html#graph=A-cube&iteration=498&step=4")
    click(page, "update")
    assert page.inner_text("#sim-where").startswith("iteration 500 · step 1 of 4")
    # the next update is the last
    click(page, "update")
    assert page.inner_text("#sim-where").startswith("iteration 500 · step 4 of 4")
    assert "Iteration 500 is the last one here" in page.inner_text("#sim-say")
    for button in ("step", "play", "update", "train"):
        assert page.is_disabled(f"#sim-{button}")
    click(page, "back")
    assert page.is_enabled("#sim-step")


def test_the_link_is_copied(simulator: Page) -> None:
    click(simulator, "step", 2)
    simulator.click("#sim-link")
    simulator.wait_for_selector("#sim-link >> text=Copied")
    copied = simulator.evaluate("navigator.clipboard.readText()")
    assert copied == simulator.url
    assert copied.endswith("simulator.html#graph=A-quadratic&step=2")
    simulator.wait_for_selector("#sim-link >> text=Link to this step")


def test_a_place_on_the_page_keeps_the_state(simulator: Page) -> None:
    """A click on the link of a heading, then a reload."""
    choose(simulator, "A-product")
    click(simulator, "step", 5)
    simulator.hover("#what-the-columns-returned h2")
    simulator.click(".headerlink[href='#what-the-columns-returned']")
    simulator.wait_for_function("location.hash === '#graph=A-product&step=5'")
    assert simulator.evaluate("scrollY") > 100
    simulator.reload()
    assert steps(simulator)[0] == 5


def test_going_back_from_another_page_comes_to_the_step(simulator: Page) -> None:
    choose(simulator, "A-product")
    click(simulator, "step", 5)
    simulator.wait_for_function("location.hash === '#graph=A-product&step=5'")
    simulator.click("#sim-code a[href*='gradients.html']:visible")
    simulator.wait_for_url("**/gradients.html#*")
    simulator.go_back()
    assert steps(simulator)[0] == 5
    assert simulator.input_value("#sim-graph") == str(KEYS.index("A-product"))


def test_arrows_scroll_what_is_wider_than_the_screen(visit: Visit) -> None:
    page = visit("simulator.html#graph=2-3-1&step=2", width=375)
    box = page.locator(".tp-scroll:has(#sim-returned)")
    box.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.activeElement.scrollLeft > 0")
    assert steps(page)[0] == 2


def test_a_link_leads_to_the_step_that_was_left(visit: Visit, simulator: Page) -> None:
    """After clicks, a typed number, two rates and a row: whatever shows is in the address."""
    choose(simulator, "2-3-1")
    type_in(simulator, {"w11": 0.125, "c": 1e21, "v2": -3e-7})
    click(simulator, "update", 2)
    simulator.fill("#sim-field-", "0.5")
    click(simulator, "update")
    simulator.fill("#sim-field-row", "5")
    click(simulator, "step", 4)
    link = simulator.get_attribute("#sim-link", "href")
    simulator.wait_for_function("link => location.hash === link", arg=link)
    found = state(simulator)
    simulator.goto("about:blank")
    assert state(visit(f"simulator.html{link}")) == found


def test_another_address_is_followed(simulator: Page) -> None:
    simulator.evaluate("location.hash = '#graph=A-cube&step=3'")
    simulator.wait_for_function("document.querySelector('#sim-where').textContent.includes('3 of')")
    assert simulator.input_value("#sim-graph") == str(KEYS.index("A-cube"))
    # a place on the page is no state
    simulator.evaluate("location.hash = '#the-lines-that-do-it'")
    assert steps(simulator)[0] == 3


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("graph=A-cub", "graph must be one of A-quadratic, A-product"),
        ("graph=nonsense&step=99", "graph must be one of A-quadratic, A-product"),
        ("graph=%E3%&step=99", "graph must be one of A-quadratic, A-product"),
        ("graph=A-cube&step=99", "step must be a whole number from 0 to 4, got 99"),
        ("graph=A-cube&step=-1", "step must be a whole number from 0 to 4, got -1"),
        ("graph=A-cube&update=1e9", "update must be a whole number from 0 to 499, got 1e9"),
        ("graph=A-cube&iteration=501", "iteration must be a whole number from 1 to 500, got 501"),
        ("graph=A-cube&iteration=0", "iteration must be a whole number from 1 to 500, got 0"),
        ("graph=A-cube&y=3", "A-cube has no input y"),
        ("graph=A-cube&x=two", "x must be a number, got two"),
        ("graph=A-cube&rate=0", "rate must be a number above 0, got 0"),
        ("graph=2-3-1&row=39", "row must be a whole number from 1 to 38, got 39"),
        ("graph=2-3-1&x1=1", "2-3-1 has no input x1"),
    ],
)
def test_a_wrong_address_is_refused(visit: Visit, address: str, why: str) -> None:
    page = visit(f"simulator.html#{address}")
    said = page.inner_text("#sim-say")
    assert said.startswith(f"The address #{address} leads nowhere: {why}")
    page.wait_for_timeout(400)
    assert page.url.endswith(f"#{address}")
    # and the page is of use
    click(page, "step")
    assert steps(page)[0] == 1
    assert page.inner_text("#sim-say").startswith("Forward")


def test_the_bar_of_buttons_has_no_ground_of_its_own(simulator: Page) -> None:
    """A style of another page's bars does not reach it."""
    ground = "getComputedStyle(document.querySelector('.sim-bar .tp-bar')).backgroundColor"
    assert simulator.evaluate(ground) == "rgba(0, 0, 0, 0)"


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


@pytest.mark.parametrize("key", GRAPHS)
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
      // in a network the rim of a letter is its ground
      const ground = text.parentNode.querySelector("rect");
      const [a, b] = [
        light(getComputedStyle(text).fill),
        light(ground ? getComputedStyle(ground).fill : getComputedStyle(text).stroke),
      ];
      return [text.textContent, Math.max(a, b) / Math.min(a, b)];
    });
}
"""


def test_drawing_has_contrast(visit: Visit, theme: str) -> None:
    """Text against its box, in every state; Source: WCAG 2.2, 1.4.3, which asks for 4.5."""
    page = visit("simulator.html", theme=theme)
    for key in ("E-affine", "2-3-1", "4-16-8-3"):
        choose(page, key)
        for _ in range(steps(page)[1]):
            click(page, "step")
            assert not {text: ratio for text, ratio in page.evaluate(CONTRAST) if ratio < 4.5}


@pytest.mark.parametrize(
    ("width", "key"),
    [(375, "2-3-1"), (375, "4-16-8-3"), (768, "A-product"), (1440, "A-product"), (1440, "2-3-1")],
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
