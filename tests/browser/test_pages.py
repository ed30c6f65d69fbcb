"""The pages in a browser: quiet, aligned, light enough, without dead ends, usable by everybody."""

import html.parser
import importlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from triptych.claims import book
from triptych.data import DOCUMENTS
from triptych.names import COLUMNS, CONCEPTS
from triptych.source import parse

ROOT = Path(__file__).resolve().parents[2]
CONCEPT_PAGES = [f"concepts/{concept}.html" for concept in CONCEPTS]
PAGES = [
    "index.html",
    *CONCEPT_PAGES,
    "simulator.html",
    "reading.html",
    "cheatsheet.html",
    "exercises.html",
    "testing.html",
    "port.html",
    "timing.html",
    "agreement.html",
    "mistakes.html",
    "traps.html",
    "glossary.html",
    *(f"api/{package}.html" for package in (*COLUMNS, "triptych")),
    "search.html",
    "genindex.html",
    "source/numpy_ref/gradients.html",
]
JAPANESE = [f"ja/{name}" for name in PAGES]
KILOBYTE = 1000

# What reaches over the edge of the screen and stands in nothing that scrolls sideways.
TOO_WIDE = """() => [...document.querySelectorAll("article *")].filter((element) => {
    const box = element.getBoundingClientRect();
    if (box.width === 0 || box.right <= innerWidth + 1) return false;
    for (let around = element.parentElement; around; around = around.parentElement) {
        if (/auto|scroll/.test(getComputedStyle(around).overflowX)) return false;
    }
    return true;
}).map((element) => element.outerHTML.slice(0, 100)).slice(0, 3)"""

Visit = Callable[..., Any]


def test_every_page_is_listed_here(site: Path) -> None:
    """Whatever the site has is tested: the files' own pages are alike, one stands for all."""
    found = {str(path.relative_to(site)) for path in site.rglob("*.html")}
    found = {name for name in found if not name.startswith("ja/")}
    assert {name for name in found if not name.startswith(("source/", "_static/"))} == {
        name for name in PAGES if not name.startswith("source/")
    } | (found & {"py-modindex.html"})
    sources = {
        f"source/{column}/{name}.html" for column in COLUMNS for name in ("__init__", *CONCEPTS)
    }
    assert {name for name in found if name.startswith("source/")} == sources


@pytest.mark.parametrize("name", PAGES + JAPANESE)
def test_loads_quietly_at_every_width(visit: Visit, name: str) -> None:
    """No error, no request to the outside (the fixture's part), nothing wider than the screen."""
    for width in (375, 768, 1440):
        page = visit(name, width)
        assert page.title()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, width
        assert page.evaluate(TOO_WIDE) == [], width


@pytest.mark.parametrize(
    ("name", "theme"),
    [(name, "light") for name in PAGES + JAPANESE]
    + [
        (name, "dark")
        for name in (
            *("index.html", "concepts/linear_layer.html", "traps.html", "mistakes.html"),
            *("ja/index.html", "ja/glossary.html"),
        )
    ],
)
def test_axe_finds_nothing_serious(visit: Visit, name: str, theme: str) -> None:
    axe = importlib.import_module("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(
        visit(name, theme=theme),
        # the lines of code are alike: the first thirty of each grid stand for all
        context={"exclude": [[".tp-line:nth-child(n+30)"]]},
        # a preload would ask for the style sheets by a request that file:// refuses
        options={"resultTypes": ["violations"], "preload": False},
    )
    serious = [
        f"{rule['id']}: {rule['help']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for rule in found.response["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"][:3]
    ]
    assert not serious, "\n".join(serious)


@pytest.mark.parametrize("name", PAGES)
def test_weight(visit: Visit, site: Path, name: str) -> None:
    """The start page under 300 kB, every other one under 1 MB, with all that it loads."""
    page = visit(name)
    page.wait_for_load_state("networkidle")
    files = {unquote(urlsplit(url).path) for url in page.quiet.requested if url.startswith("file:")}
    weight = sum(Path(file).stat().st_size for file in files)
    assert weight < (300 if name == "index.html" else 1000) * KILOBYTE
    assert weight > Path(site / name).stat().st_size  # the style sheets were counted


def test_the_start_page_paints_within_a_second(visit: Visit) -> None:
    def first_paint() -> float:
        paints = "performance.getEntriesByName('first-contentful-paint')"
        page = visit("index.html")
        page.wait_for_function(f"{paints}.length > 0")
        return float(page.evaluate(f"{paints}[0].startTime"))

    # the best of three: the machine may be busy, the page may not
    assert min(first_paint() for _ in range(3)) < 1000


# The columns


def opened(page: Any) -> Any:
    """The page with nothing folded."""
    page.evaluate(
        "() => document.querySelectorAll('details').forEach((one) => { one.open = true; })"
    )
    return page


@pytest.mark.parametrize("name", CONCEPT_PAGES)
def test_rows_are_aligned(visit: Visit, name: str) -> None:
    """Every row of every grid starts at one height in all three columns, and they follow on."""
    rows = opened(visit(name)).evaluate(
        """() => [...document.querySelectorAll(".tp-columns")].map((grid) =>
            [...grid.querySelectorAll(".tp-col")].map((column) =>
                [...column.querySelectorAll(".tp-line")].map(
                    (line) => line.getBoundingClientRect().top)))"""
    )
    assert rows
    for grid in rows:
        assert len(grid) == 3
        assert len(grid[0]) == len(grid[1]) == len(grid[2]) > 0
        for tops in zip(*grid, strict=True):
            assert max(tops) - min(tops) < 0.5
        assert grid[0] == sorted(set(grid[0]))


@pytest.mark.parametrize("concept", CONCEPTS)
def test_the_lines_are_the_files(visit: Visit, concept: str) -> None:
    """What a page shows of a file is that file: the code line by line, the rest once, above it."""
    page = visit(f"concepts/{concept}.html")
    shown = page.evaluate(
        """() => Object.fromEntries(["numpy_ref", "torch_impl", "jax_impl"].map((column) => [column,
            [...document.querySelectorAll(`[data-column=${column}] .tp-line[data-line]`)].map(
                (line) => [Number(line.dataset.line), line.lastChild.textContent])]))"""
    )
    copied = page.locator(".tp-col .tp-copy").evaluate_all("all => all.map(c => c.dataset.code)")
    for module in parse.load(concept):
        blocks = [b for b in module.blocks if b.kind not in (parse.MAIN, parse.DOCSTRING)]
        file = {cell.line: cell.text for block in blocks for cell in block.cells}
        lines = dict(shown[module.column])
        assert len(shown[module.column]) == len(lines)
        assert lines == {line: file[line] for line in lines}
        for block in blocks:
            assert "\n".join(cell.text for cell in block.cells) in copied
            left_out = [cell.text for cell in block.cells if cell.line not in lines]
            if block.kind not in (parse.FUNCTION, parse.CLASS):
                assert left_out == []
                continue
            above = page.locator(f"#{block.name}").evaluate(TEXTS)
            missing = words("\n".join(left_out)) - words(above) - {"def", "checked", "fmt", "skip"}
            assert not missing, block.name


# The texts of an element, apart where two elements meet.
TEXTS = """element => {
    const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    const found = [];
    while (texts.nextNode()) found.push(texts.currentNode.data);
    return found.join(" ");
}"""


def words(text: str) -> set[str]:
    """The words of a text, whatever stands between them."""
    return set(re.findall(r"\w+", text))


def test_the_docstring_stands_once(visit: Visit) -> None:
    page = visit("concepts/classifier.html")
    assert page.locator("#fit").text_content().count("one update for each row of batches") == 1
    # and a column's own sentence at its column
    own = page.locator("#dropout .tp-own")
    assert own.count() == 3
    assert "nn.Dropout" in own.nth(1).text_content()
    assert "nn.Dropout" not in own.nth(0).text_content() + own.nth(2).text_content()


def test_a_derivation_and_its_code_light_each_other(visit: Visit) -> None:
    """By the mouse and by the keyboard, in both directions."""
    page = visit("concepts/classifier.html")
    lit = "lines => lines.map(l => [l.closest('.tp-col').dataset.column, l.textContent])"
    step = page.locator("#step-d_w3")
    assert step.locator(".tp-shape").text_content() == "(classes, hidden2)"
    step.hover()
    lines = page.locator("#loss_and_grads .tp-line.tp-lit")
    found = lines.evaluate_all(lit)
    assert {column for column, _ in found} == set(COLUMNS)
    assert any("d_w3 = d_z3.T @ h2" in text for _, text in found)
    assert any("value.backward()" in text for _, text in found)
    assert any("value_and_grad" in text for _, text in found)
    page.mouse.move(5, 5)
    assert lines.count() == 0
    step.locator("a").press("Enter")
    assert page.url.endswith("#loss_and_grads")
    assert lines.count() == len(found)
    back = page.get_by_role("link", name="How d_h1 is derived")
    back.focus()
    assert page.locator(".tp-step.tp-lit").evaluate_all("all => all.map(s => s.id)") == [
        "step-d_h1"
    ]
    back.press("Enter")
    assert 0 <= page.locator("#step-d_h1").bounding_box()["y"] < 900


@pytest.mark.parametrize("name", CONCEPT_PAGES)
def test_the_dots_are_the_table(visit: Visit, name: str) -> None:
    """One dot for each comparison; what is equal is filled, and differs by its shape, too."""
    page = opened(visit(name))
    cells = page.locator("[aria-label=Agreement] tbody td:nth-child(n + 3)").all_text_contents()
    equal = [text for text in cells if text == "equal"]
    assert page.locator(".tp-dots .tp-equal").count() == len(equal)
    assert page.locator(".tp-dots .tp-within").count() == len([t for t in cells if "≤" in t])
    said = page.locator(".tp-dots").evaluate_all(
        "all => all.map(d => d.getAttribute('aria-label'))"
    )
    assert sum(int(label.split()[0]) for label in said) == len(equal)


def test_mistakes_are_open_and_the_rest_is_folded(visit: Visit) -> None:
    page = visit("concepts/gradients.html")
    claims = page.locator(".tp-claims tr[id]")
    shown = [row.get_attribute("id") for row in claims.all() if row.is_visible()]
    wrong = page.locator(".tp-claims tr[id]:has(.tp-verdict.tp-erratum)")
    assert shown == [row.get_attribute("id") for row in wrong.all()]
    assert 0 < len(shown) < claims.count()
    hidden = page.locator(".tp-fold .tp-claims tr[id]").last.get_attribute("id")
    page = visit(f"concepts/gradients.html#{hidden}")
    assert page.locator(f"#{hidden}").is_visible()


def test_the_graphs_are_drawn(visit: Visit) -> None:
    """Every graph of the page, in words as well."""
    page = visit("concepts/gradients.html")
    drawn = page.locator(".tp-graph svg")
    assert drawn.count() == 8
    words = drawn.nth(1).get_attribute("aria-label")
    assert "y is 12, ∂y/∂y is 1" in words
    assert "∂y/∂a is 4" in words
    assert "x is 1, ∂y/∂x is 7" in words


def test_the_chart_of_times(visit: Visit) -> None:
    page = visit("timing.html")
    figure = page.locator(".tp-timing")
    data = json.loads(figure.locator("script").text_content())
    slider, side = figure.locator("input[type=range]"), figure.locator("select")
    for number in range(len(data["sides"])):
        side.select_option(str(number))
        batches = sorted({row["batch"] for row in data["rows"] if row["side"] == number})
        for place, batch in enumerate(batches):
            slider.fill(str(place))
            assert figure.locator("output").text_content() == f"{batch:,}"
            rows = [r for r in data["rows"] if (r["side"], r["batch"]) == (number, batch)]
            rows.sort(key=lambda row: row["seconds"])
            found = figure.locator("li").all()
            assert len(found) == len(rows)
            for item, row in zip(found, rows, strict=True):
                assert item.locator(".tp-bar-label").text_content() == row["label"]
                assert item.locator(".tp-bar-time").text_content().startswith(row["words"])
            widths = [item.locator(".tp-bar").bounding_box()["width"] for item in found]
            assert widths == sorted(widths)
            shares = [row["seconds"] / rows[-1]["seconds"] for row in rows]
            for width, share in zip(widths, shares, strict=True):
                assert width / widths[-1] == pytest.approx(share, abs=0.02)
    found[0].hover()
    assert rows[0]["range"] in figure.locator(".tp-detail").text_content()
    found[-1].focus()  # by keyboard too
    assert rows[-1]["range"] in figure.locator(".tp-detail").text_content()


# Formulas and words of Markdown that nobody has made anything of.
UNMADE = """() => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    while (texts.nextNode()) {
        const text = texts.currentNode.data;
        const around = texts.currentNode.parentElement;
        if (around.closest("code, pre, samp, script, style, math, svg, [lang=en]")) continue;
        if (/\\$[^$]+\\$|\\\\[a-z]{2,}|\\]\\(|`/.test(text)) found.push(text);
    }
    return found;
}"""


@pytest.mark.parametrize("name", [*PAGES, *JAPANESE])
def test_mathematics_and_markup_are_made_into_something(visit: Visit, name: str) -> None:
    assert visit(name).evaluate(UNMADE) == []


@pytest.mark.parametrize("name", ["port.html", "ja/port.html"])
def test_the_reports_name_the_layer_that_is_wrong(visit: Visit, name: str) -> None:
    right, wrong = visit(name).locator(".tp-printed").all_inner_texts()
    assert right.startswith("agrees: 6 compared")
    assert re.search(r"1 = mul at port.py:\d+: .*parts by itself  <-- here it begins", wrong)
    assert "hint: one GELU is exact" in wrong


@pytest.mark.parametrize("name", ["index.html", "ja/index.html"])
def test_the_start_page_names_the_tutorials(visit: Visit, name: str) -> None:
    """Each with the pages that it is about, by their titles."""
    page = visit(name)
    items = page.locator("section:has(> h2) > ul > li").filter(has_text=re.compile(r"^[A-E]\W"))
    assert items.count() == len(DOCUMENTS)
    for item, key in zip(items.all(), DOCUMENTS, strict=True):
        about = {claim.concept for claim in book.claims() if claim.document == key}
        hrefs = item.locator("a").evaluate_all("all => all.map((a) => a.getAttribute('href'))")
        assert {href.split("/")[-1] for href in hrefs} == {f"{concept}.html" for concept in about}
        assert all(item.locator("a").all_inner_texts())


def test_the_command_can_be_copied(visit: Visit) -> None:
    page = visit("concepts/gradients.html")
    page.get_by_role("button", name="Copy triptych run gradients").click()
    page.wait_for_function("navigator.clipboard.readText().then((text) => text.length > 0)")
    assert page.evaluate("navigator.clipboard.readText()") == "triptych run gradients\n"


@pytest.mark.parametrize("name", CONCEPT_PAGES)
def test_a_page_hands_out_its_notebooks(visit: Visit, site: Path, name: str) -> None:
    nbformat = importlib.import_module("nbformat")
    links = visit(name).locator(".tp-run a[download]")
    concept = Path(name).stem
    expected = [f"{concept}{which}.ipynb" for which in ("", "-numpy", "-torch", "-jax")]
    assert links.count() == len(expected)
    for link, file in zip(links.all(), expected, strict=True):
        assert link.get_attribute("href") == f"../notebooks/{file}"
        nbformat.validate(nbformat.read(site / "notebooks" / file, as_version=4))


def test_an_exercise_folds_its_hint_and_its_solution(visit: Visit) -> None:
    page = visit("concepts/linear_regression.html")
    page.locator(".tp-run").get_by_role("link", name="line_backward").click()
    exercise = page.locator("section#line_backward")
    assert exercise.locator("pre:visible").count() == 1
    assert "d_w = ...  # your line" in exercise.locator("pre:visible").inner_text()
    exercise.get_by_text("Solution", exact=True).click()
    solved = exercise.locator("details[open] pre")
    assert solved.locator(".hll").all_inner_texts() == ["    d_w = np.sum(d_y * x)  # ()\n"]
    exercise.get_by_text("Hint", exact=True).click()
    assert "w stands in the error of every point" in exercise.inner_text()


def test_marks_say_which_lines_differ(visit: Visit) -> None:
    page = visit("concepts/linear_regression.html#predict")
    grid = page.locator("#predict .tp-columns")
    assert grid.locator(".tp-alone, .tp-two").count() == 0
    fit = page.locator("#loss_and_grads .tp-columns")
    assert "backward()" in "".join(fit.locator(".tp-alone").all_text_contents())
    assert "@checked" not in "".join(fit.locator(".tp-alone, .tp-two").all_text_contents())


def test_dim_switch(visit: Visit) -> None:
    """It dims what is the same and nothing else, and it is remembered."""
    page = visit("concepts/gradients.html")

    def opacity(kind: str) -> float:
        return float(
            page.locator(f"#chain .{kind} code").first.evaluate("e => getComputedStyle(e).opacity")
        )

    switch = page.get_by_role("button", name="Dim the same")
    assert (opacity("tp-same"), switch.get_attribute("aria-pressed")) == (1, "false")
    switch.press("Enter")
    assert switch.get_attribute("aria-pressed") == "true"
    assert opacity("tp-same") < 0.5
    assert opacity("tp-alone") == 1
    page.reload()
    assert opacity("tp-same") < 0.5
    switch.click()
    assert opacity("tp-same") == 1


def test_hovering_lights_the_partners(visit: Visit) -> None:
    page = visit("concepts/gradients.html#chain")
    page.locator("#chain .tp-col[data-column=torch_impl] .tp-alone").first.hover()
    lit = page.locator(".tp-near")
    assert lit.count() == 3
    assert lit.evaluate_all("lines => new Set(lines.map(l => l.dataset.row)).size") == 1
    page.mouse.move(5, 5)
    assert lit.count() == 0


def test_tabs_keep_the_place(visit: Visit) -> None:
    """On a narrow screen one column is shown, and another one takes its place row by row."""
    page = visit("concepts/gradients.html", 375)
    shown = page.locator("#chain .tp-col:visible")
    assert shown.evaluate_all("columns => columns.map(c => c.dataset.column)") == ["numpy_ref"]
    own = page.locator("#chain .tp-col[data-column=numpy_ref] .tp-line", has_text="# backward")
    row = own.get_attribute("data-row")
    # to just under the bar, which must have begun to stick: this is the line being read
    own.evaluate("line => line.scrollIntoView()")
    own.evaluate("""line => {
        const bar = document.querySelector(".tp-sticky").getBoundingClientRect().bottom;
        scrollBy({ top: line.getBoundingClientRect().top - bar - 1, behavior: "instant" });
    }""")
    before = own.bounding_box()["y"]
    for name, column in (("PyTorch", "torch_impl"), ("JAX", "jax_impl"), ("NumPy", "numpy_ref")):
        page.get_by_role("button", name=name, exact=True).press("Enter")
        assert shown.evaluate_all("columns => columns.map(c => c.dataset.column)") == [column]
        partner = page.locator(f"#chain .tp-col[data-column={column}] .tp-line[data-row='{row}']")
        assert abs(partner.bounding_box()["y"] - before) < 2, column
    page.get_by_role("button", name="JAX", exact=True).click()
    page.reload()
    assert shown.evaluate_all("columns => columns.map(c => c.dataset.column)") == ["jax_impl"]


@pytest.mark.parametrize("width", [375, 1440])
def test_deep_links(visit: Visit, width: int) -> None:
    """A link to a function shows its name, below the bar; every function has one."""
    page = visit("concepts/classifier.html#fit", width)
    bar = page.locator(".tp-sticky").bounding_box()
    title = page.locator("#fit h3").bounding_box()
    assert bar["y"] + bar["height"] <= title["y"] + 2
    assert title["y"] < 450
    for function in parse.load("classifier")[0].functions:
        assert page.locator(f".tp-contents a[href='#{function.name}']").count() == 1


def test_a_line_number_leads_to_the_file(visit: Visit) -> None:
    page = visit("concepts/optimizers.html#adam_step")
    line = page.locator("#adam_step .tp-col[data-column=jax_impl] .tp-line[data-line]").last
    number = line.get_attribute("data-line")
    line.locator("a").click()
    assert page.url.endswith(f"source/jax_impl/optimizers.html#L{number}")
    target = page.locator(f"#L{number}")
    text = (ROOT / "jax_impl/optimizers.py").read_text("utf-8").splitlines()[int(number) - 1]
    assert target.locator("code").text_content() == text
    assert 0 <= target.bounding_box()["y"] < 900


def test_copying_a_function(visit: Visit) -> None:
    page = visit("concepts/gradients.html#cube")
    page.get_by_role("button", name="Copy cube, PyTorch").click()
    page.wait_for_function("navigator.clipboard.readText().then((text) => text.length > 0)")
    copied = page.evaluate("navigator.clipboard.readText()")
    source = {d.name: d.source for d in parse.load("gradients")[1].definitions}["cube"]
    assert copied == source + "\n"


def test_printing(visit: Visit) -> None:
    """On paper all three columns stand side by side, without what only works on a screen."""
    page = visit("concepts/gradients.html", 375)
    page.emulate_media(media="print")
    assert page.locator("#chain .tp-col:visible").count() == 3
    for hidden in (".tp-sticky", ".sidebar-drawer", ".tp-copy", ".mobile-header"):
        assert page.locator(f"{hidden}:visible").count() == 0, hidden


def test_the_search_works_offline(visit: Visit) -> None:
    page = visit("search.html?q=softmax")
    page.wait_for_selector("#search-results li a")
    assert any(
        "classifier" in text for text in page.locator("#search-results li a").all_text_contents()
    )


# Links


class Links(html.parser.HTMLParser):
    """Where a page leads, and the places in it to which one can be led."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.hrefs: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            if name in ("href", "src") and value and tag != "use":
                self.hrefs.append(value)


def test_links_resolve(site: Path) -> None:
    pages = {path: Links(path.read_text("utf-8")) for path in site.rglob("*.html")}
    dead = []
    for path, links in pages.items():
        for href in set(links.hrefs):
            parts = urlsplit(href)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            place = unquote(parts.fragment)
            if place.startswith("graph="):  # a state of the simulator; its tests go there
                place = "simulator"
            if not target.is_file() or (
                place and target in pages and place not in pages[target].ids
            ):
                dead.append(f"{path.relative_to(site)}: {href}")
    assert len(pages) > 50
    assert not dead, "\n".join(dead[:20])
