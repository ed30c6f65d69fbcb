"""The tables of the documents' mistakes in brief are those of claims.toml."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "_ext"))
mistakes: Any = importlib.import_module("mistakes")  # the pages' own module writes and shows them


@pytest.mark.parametrize("file", mistakes.TABLES)
def test_the_table_of_a_file(file: str) -> None:
    assert mistakes.brief(file) in (ROOT / file).read_text(encoding="utf-8"), (
        "run `python docs/_ext/mistakes.py --write`"
    )


def test_each_mistake_is_a_row_in_the_documents_language_too() -> None:
    for file in mistakes.TABLES:
        rows = mistakes.brief(file).splitlines()
        assert len(rows) == len(mistakes.book.mistakes()) + 4
        assert {row.count("|") for row in rows[1:-1]} == {len(mistakes.TABLES[file]) + 1}
    japanese = [text for mistake in mistakes.book.mistakes() for text in mistake.japanese]
    assert sum(not text.isascii() for text in japanese) > len(japanese) / 2


def test_the_table_of_the_page_leads_to_the_claims() -> None:
    table = mistakes.brief("docs/mistakes.md")
    for mistake in mistakes.book.mistakes():
        assert f'href="#claim-{mistake.claims[0].id}"' in table
