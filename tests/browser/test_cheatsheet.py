"""The cheat sheet in a browser: found at once, whole without a script, two pages on paper."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from triptych.source import cheatsheet

Visit = Callable[..., Any]
ROWS = cheatsheet.sheet().rows
SHEETS = ("cheatsheet.html", "ja/cheatsheet.html")


def seen(page: Any) -> list[str]:
    """The rows that are shown."""
    return list(page.locator(".tp-cheat tbody tr:visible").all_inner_texts())


@pytest.mark.parametrize("word", ["jnp.take", "jax.numpy.take", "index_select(", "TAKE()"])
def test_what_pytorch_calls_jnp_take(visit: Visit, word: str) -> None:
    page = visit("cheatsheet.html")
    page.get_by_label("Find").fill(word)
    found = seen(page)
    assert "x.index_select()" in found[0]
    assert "jnp.take" in found[0]
    assert len(found) < 5
    assert page.locator("#tp-found").inner_text() == f"{len(found)} of {len(ROWS)}"
    # in view, without scrolling
    assert page.locator(".tp-cheat tbody tr:visible").first.bounding_box()["y"] < 900


def test_a_link_brings_its_words(visit: Visit) -> None:
    page = visit("cheatsheet.html?q=F.relu")
    (found,) = seen(page)
    assert "torch.relu" in found
    page.get_by_label("Find").fill("nothing of the kind")
    assert seen(page) == []
    assert page.locator("h2:visible").count() == 0
    page.get_by_label("Find").fill("")
    assert len(seen(page)) == len(ROWS)


def test_a_sign_leads_to_its_trap(visit: Visit) -> None:
    page = visit("cheatsheet.html?q=take along an axis")
    sign = page.get_by_role("link", name="take along an axis")
    assert "≠" in sign.inner_text()
    sign.click()
    assert page.url.endswith("traps.html#take")
    assert page.locator("#take").is_visible()


def test_without_a_script_it_is_a_table(browser: Any, site: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"file://{site}/cheatsheet.html")
    assert len(seen(page)) == len(ROWS)
    context.close()


# Where a name goes on in the next line: what stands before and behind the break.
BREAKS = """() => {
    const breaks = [];
    const range = document.createRange();
    for (const code of document.querySelectorAll(".tp-cheat code")) {
        if (!code.checkVisibility()) continue;
        const texts = document.createTreeWalker(code, NodeFilter.SHOW_TEXT);
        let before = "", bottom = Infinity;
        while (texts.nextNode()) {
            for (let i = 0; i < texts.currentNode.length; i++) {
                range.setStart(texts.currentNode, i);
                range.setEnd(texts.currentNode, i + 1);
                const box = range.getBoundingClientRect();
                if (box.top >= bottom) breaks.push([code.textContent, before, range.toString()]);
                [before, bottom] = [range.toString(), box.bottom - 1];
            }
        }
    }
    return breaks;
}"""


@pytest.mark.parametrize("name", SHEETS)
@pytest.mark.parametrize("width", [375, 1440])
def test_no_word_is_broken(visit: Visit, name: str, width: int) -> None:
    """A line ends behind a dot or an underscore, or where a capital begins the next word."""
    breaks = visit(name, width).evaluate(BREAKS)
    assert breaks
    assert [
        (code, before, after) for code, before, after in breaks
        if before not in "._" and not (before.islower() and after.isupper())
    ] == []  # fmt: skip


@pytest.mark.parametrize("name", SHEETS)
def test_two_pages_on_paper(visit: Visit, name: str) -> None:
    page = visit(name)
    paper = page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", paper)) == 2
    sizes = {tuple(map(float, box.split())) for box in re.findall(rb"/MediaBox ?\[(.*?)\]", paper)}
    assert [[round(x * 25.4 / 72) for x in size] for size in sizes] == [[0, 0, 297, 210]]
    # nothing is cut off: 281 mm between the margins
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 1062, "height": 733})
    assert len(seen(page)) == len(ROWS)
    cells = "[...document.querySelectorAll('.tp-cheat td')]"
    wide = f"{cells}.filter((cell) => cell.scrollWidth > cell.clientWidth + 1)"
    assert page.evaluate(f"{wide}.map((cell) => cell.textContent)") == []
