"""docs/reading.md: a path for each reader, with times that are counted and not typed."""

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reading.md").read_text(encoding="utf-8")
PATHS = re.findall(r"^## (To .*?)\n(.*?)(?=^## )", PAGE, re.M | re.S)


@pytest.fixture(scope="module")
def minutes() -> Any:
    pytest.importorskip("sphinx")
    sys.path.insert(0, str(ROOT / "docs" / "_ext"))
    return importlib.import_module("minutes")


def test_three_readers_have_a_path_of_five_to_eight_stops() -> None:
    assert len(PATHS) == 3
    for title, path in PATHS:
        stops = re.findall(r"^\d\. (.*?)(?=^\d\. |\Z)", path, re.M | re.S)
        assert 5 <= len(stops) <= 8, title
        for stop in stops:
            # the page whose minutes stand there is the one that the link leads to, and why
            link = r"\[[^]]+\]\((?P<page>[\w/]+)\.md\), \{minutes\}`(?P=page)` min: \S.*\.\s*"
            assert re.fullmatch(link, stop, re.S), stop
        assert path.strip().startswith("{minutes}`all` minutes in all.")
        assert re.search(r"\d+ min", path) is None, "a time is typed"


def test_the_speed_that_is_told_is_the_one_that_is_used(minutes: Any) -> None:
    told = " ".join(PAGE.split())
    assert f"at {minutes.SPEED} words a minute" in told


def test_what_is_counted(minutes: Any) -> None:
    nodes: Any = importlib.import_module("docutils.nodes")
    html = (
        "<p>one two</p><details><summary>three <b>four</b></summary>folded</details><br>five"
        '<div data-column="numpy_ref">six<script>none</script></div>'
        '<div data-column="torch_impl"><p>none</p></div><span aria-hidden="true">none</span> seven'
    )
    page = nodes.section("", nodes.paragraph(text="Eight-nine ten."), nodes.raw("", html))
    assert minutes.words(page) == 7 + 2
    assert minutes.words(nodes.section("", nodes.raw("", "<p>un<br>closed <div>word"))) == 3


def test_a_japanese_page_takes_as_long_as_the_english_one(minutes: Any) -> None:
    """Of the pages' own messages; the letters of a word are counted in other ones."""
    words: Any = importlib.import_module("words")
    for page in ("mistakes", "port", "testing"):
        said = {english: text for english, text in words.read("ja", page).items() if text}
        english = sum(map(minutes.count, said))
        japanese = sum(minutes.in_english(text, "ja") for text in said.values())
        assert english > 300
        assert abs(japanese / english - 1) < 0.2, page
