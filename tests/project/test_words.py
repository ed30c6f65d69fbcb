"""What is said in two languages: every text has its Japanese, with the same code in it."""

import importlib
import re
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from triptych.claims import book

pytest.importorskip("babel")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs" / "_ext"))
words: Any = importlib.import_module("words")
LOCALE = ROOT / "docs" / "locale" / "ja" / "LC_MESSAGES"
CATALOGS = [path.relative_to(LOCALE).with_suffix("").as_posix() for path in LOCALE.rglob("*.po")]
COMPLETE = "translations_complete = True" in (ROOT / "docs" / "conf.py").read_text("utf-8")
complete = pytest.mark.skipif(not COMPLETE, reason="docs/conf.py: translations_complete is off")
OTHERS = {"words", "sphinx"}
"""Of the extensions, and of the theme; the others are named after their pages."""

KEPT = (
    r"`+[^`]+`+",  # code
    r"\$[^$]+\$",  # mathematics
    r"\]\(([^)]+)\)",  # where links lead
    r"</?\w[^>]*>",
    r"(?<![A-Za-z}])\{\w*\}",  # what is filled in
    r"%\w",
)
"""What a translation has as often as the English."""


@pytest.fixture(autouse=True)
def in_english() -> Any:
    yield
    words.translated.clear()
    words.unknown = None


@complete
def test_every_page_has_a_catalog_and_no_other() -> None:
    pages = {p.relative_to(ROOT / "docs").with_suffix("").as_posix()
             for p in (ROOT / "docs").rglob("*.md")}  # fmt: skip
    assert {*CATALOGS} - OTHERS == {page for page in pages if not page.startswith("api/")}


@pytest.mark.parametrize("name", CATALOGS)
def test_a_translation_keeps_code_links_and_mathematics(name: str) -> None:
    found = words.read("ja", name)
    assert found
    for english, japanese in found.items():
        if not japanese:
            assert not COMPLETE, f"untranslated: {english!r}"
            continue
        for kind in KEPT:
            given, made = Counter(re.findall(kind, english)), Counter(re.findall(kind, japanese))
            assert given == made, f"{english!r}\n{japanese!r}"


COMMANDS = r"^[^#\n]*(?=#)|^[^#\n]+$"
"""What a line says before its comment."""


def test_commands_are_the_same_in_both_languages_and_their_comments_are_not() -> None:
    both = [pair for name in CATALOGS for pair in words.read("ja", name).items()]
    blocks = [(english, japanese) for english, japanese in both if english.endswith("\n")]
    assert len(blocks) >= 5
    for english, japanese in blocks:
        assert re.findall(COMMANDS, english, re.M) == re.findall(COMMANDS, japanese, re.M)
        assert english != japanese


@complete
def test_the_words_are_complete() -> None:
    assert words.complaints("ja", "words", words.messages()) == []


@complete
def test_a_mistake_has_one_japanese_text() -> None:
    """The page's table and the Japanese README's say the same; claims.toml has the README's."""
    page = words.read("ja", "mistakes")
    for mistake in book.mistakes():
        for english, japanese in zip((mistake.says, mistake.really), mistake.japanese, strict=True):
            if words.prose(english):
                assert page[english] == japanese


def test_nothing_is_left_in_comments() -> None:
    """An entry that sphinx-intl has struck out is a translation that nobody reads."""
    assert [name for name in CATALOGS if "#~" in (LOCALE / f"{name}.po").read_text("utf-8")] == []


CATALOG = """msgid ""
msgstr "Content-Type: text/plain; charset=UTF-8"

msgid "a leaf"
msgstr "リーフ"

#, fuzzy
msgid "a node"
msgstr "ノード"

msgid "an edge"
msgstr ""
"""


def test_what_is_untranslated_or_stale_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "ROOT", tmp_path)
    file = "docs/locale/ja/LC_MESSAGES/words.po"
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(CATALOG, "utf-8")
    assert words.complaints("ja", "words", ["a leaf", "a node", "new"]) == [
        f"{file}: untranslated: 'a node'",
        f"{file}: untranslated: 'new'",
        f"{file}: stale, nothing says it any more: 'an edge'",
    ]


def test_a_word_is_looked_up_and_filled_in() -> None:
    assert words.word("Copy\n  {what}", what="x") == "Copy x"
    words.translated["Copy {what}"] = "{what} をコピー"
    assert words.word("Copy {what}", what="x") == "x をコピー"
    assert words.word("{x} stays") == "{x} stays"


def test_a_text_that_messages_would_not_find_is_told() -> None:
    said: list[str] = []
    words.unknown = said.append
    words.word(next(iter(words.messages())))
    words.word("`x` 1.5")
    assert said == []
    words.word("nobody says this")
    assert said == ["nobody says this"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("equal bits", True),
        ("the `grad` of NumPy", True),
        ("`x.grad` of", True),
        ("NumPy", False),
        ("0.58 ≤ 7", False),
        ("A 7.4", False),
        ("`a.grad` $\\frac{a}{b}$", False),
        ("float32", False),
    ],
)
def test_what_has_words_is_translated(text: str, expected: bool) -> None:
    assert words.prose(text) is expected


def test_scripts_say_nothing_that_cannot_be_found() -> None:
    """`say` is always given a string, so that the text can be read out of the script."""
    scripts = list((ROOT / "docs" / "_static").rglob("*.js"))
    found = [text for file, text in words.texts() if file.endswith(".js")]
    calls = [call for p in scripts for call in re.findall(r"\bsay\(", p.read_text("utf-8"))]
    assert len(found) == len(calls) > 40


def test_the_glossary() -> None:
    found = tomllib.loads((ROOT / "docs" / "glossary.toml").read_text("utf-8"))["term"]
    assert len({term["en"] for term in found}) == len({term["ja"] for term in found}) == len(found)
    assert len(found) > 80
    for term in found:
        assert re.fullmatch(r"[ぁ-んー]+", term["yomi"]), term["ja"]
        assert (ROOT / "docs" / f"{term['page']}.md").is_file(), term["page"]
