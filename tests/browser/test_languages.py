"""The pages in Japanese: the same pages, one click apart, and nothing forgotten."""

import html.parser
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .test_pages import JAPANESE

Visit = Callable[..., Any]


class Head(html.parser.HTMLParser):
    """The language of a page, and its links to another one."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.lang: str | None = None
        self.alternate: list[tuple[str | None, str | None]] = []
        self.switch: list[tuple[str | None, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "html":
            self.lang = given["lang"]
        elif given.get("rel") == "alternate":
            self.alternate.append((given["hreflang"], given["href"]))
        elif "tp-language" in (given.get("class") or "").split():
            assert given["lang"] == given["hreflang"]
            self.switch.append((given["hreflang"], given["href"]))


def test_every_page_leads_to_itself_in_the_other_language(site: Path) -> None:
    pages = {path.relative_to(site).as_posix(): path for path in site.rglob("*.html")}
    pages.pop("py-modindex.html", None)  # made of the reference, which is English
    english = {name for name in pages if not name.startswith("ja/")}
    assert {name.removeprefix("ja/") for name in pages.keys() - english} == english
    assert len(english) > 100
    for name, path in pages.items():
        head = Head(path.read_text("utf-8"))
        own, other = ("en", "ja") if name in english else ("ja", "en")
        target = site / (f"ja/{name}" if own == "en" else name.removeprefix("ja/"))
        assert head.lang == own, name
        assert [code for code, _ in head.switch] == [other], name
        assert head.alternate == head.switch, name
        assert (path.parent / str(head.switch[0][1])).resolve() == target.resolve(), name


@pytest.mark.parametrize("width", [375, 1440])
def test_there_and_back(visit: Visit, site: Path, width: int) -> None:
    page = visit("concepts/gradients.html", width)
    page.get_by_role("link", name="日本語").click()
    assert page.url == f"file://{site}/ja/concepts/gradients.html"
    page.get_by_role("link", name="English").click()
    assert page.url == f"file://{site}/concepts/gradients.html"


def test_the_other_language_opens_at_the_same_place(visit: Visit, site: Path) -> None:
    page = visit("concepts/gradients.html#chain")
    page.get_by_role("link", name="日本語").click()
    assert page.url == f"file://{site}/ja/concepts/gradients.html#chain"
    page = visit("simulator.html#graph=A-cube&step=4")
    page.get_by_role("link", name="日本語").click()
    assert page.url == f"file://{site}/ja/simulator.html#graph=A-cube&step=4"
    page.wait_for_selector("#sim-say >> text=0.1 · 12 = 0.8")
    # at once, before the address is written; and after a place on the page
    both = "for (const one of ['#sim-back', '.tp-language']) document.querySelector(one).click()"
    page.evaluate(f"() => {{ {both} }}")
    page.wait_for_selector("#sim-where >> text=step 3 of 4")
    page.hover("#the-lines-that-do-it h2")
    page.click(".headerlink[href='#the-lines-that-do-it']")
    page.wait_for_function("scrollY > 100 && location.hash === '#graph=A-cube&step=3'")
    page.get_by_role("link", name="日本語").click()
    page.wait_for_selector("#sim-where >> text=ステップ 3/4")
    assert page.url == f"file://{site}/ja/simulator.html#graph=A-cube&step=3"


# Six words of English in a row, where nothing says that they are English.
ENGLISH = """() => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    while (texts.nextNode()) {
        const text = texts.currentNode.data.replace(/"[^"]*"/g, ""); // titles are quoted
        const around = texts.currentNode.parentElement;
        if (around.closest('[lang="en"], code, pre, samp, script, style, math, svg')) continue;
        if (/([A-Za-z,]{2,} ){5}[A-Za-z]{2,}/.test(text)) found.push(text);
    }
    for (const one of document.querySelectorAll("[aria-label], [title], [alt]")) {
        if (one.closest('[lang="en"]')) continue;
        for (const name of ["aria-label", "title", "alt"]) {
            const text = one.getAttribute(name) ?? "";
            if (/([A-Za-z,]{2,} ){3}[A-Za-z]{2,}/.test(text)) found.push(`${name}: ${text}`);
        }
    }
    return found;
}"""


@pytest.mark.parametrize("name", JAPANESE)
def test_no_english_is_left(visit: Visit, name: str) -> None:
    assert visit(name).evaluate(ENGLISH) == []


def test_the_exercises_are_in_japanese(visit: Visit) -> None:
    page = visit("ja/exercises.html")
    assert page.locator("article [lang=en]").count() == 0
    titles = page.locator("article h2").all_inner_texts()
    assert len(titles) > 5
    assert all(re.search("[ぁ-ん]", title) for title in titles)


@pytest.mark.parametrize(
    ("words", "place"),
    [("計算グラフ", "reading"), ("連鎖律", "gradients"), ("softmax", "classifier")],
)
def test_the_search_finds_japanese(visit: Visit, site: Path, words: str, place: str) -> None:
    """A word that the text has within a longer one, too: Japanese has no spaces."""
    page = visit(f"ja/search.html?q={words}")
    page.wait_for_selector("#search-results li a")
    found = page.locator("#search-results li a").evaluate_all("all => all.map((a) => a.href)")
    assert any(place in url for url in found), found
    assert all(url.startswith(f"file://{site}/ja/") for url in found)


def test_the_scripts_speak_japanese(visit: Visit) -> None:
    page = visit("ja/simulator.html")
    page.locator("#sim-step").click()
    assert page.inner_text("#sim-say").startswith("順伝播")
    assert re.search(r"イテレーション 1 · ステップ 1/\d+", page.inner_text("#sim-where"))
    page.locator("input[type=text]").first.fill("1,5")
    assert "コンマではなく小数点" in page.inner_text("#sim-say")
    page = visit("ja/concepts/gradients.html")
    page.locator(".tp-run .tp-copy").click()
    page.wait_for_selector(".tp-copy >> text=コピーしました")
