"""`{printed}` blocks: one program for each page, run while the pages are built."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sphinx")
ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "_ext"))
printed: Any = importlib.import_module("printed")


def test_the_blocks_are_one_program_with_lines_of_its_own() -> None:
    blocks = ["x = 1\nprint(x)\n", "import sys\nprint(x + 1, sys._getframe().f_lineno)\n"]
    assert printed.run("port.md", blocks) == ["1", "2 4"]


def test_a_block_that_fails_stops_the_build(tmp_path: Path) -> None:
    error = importlib.import_module("sphinx.errors").ExtensionError
    with pytest.raises(error, match=r"(?s)port.md: .*port.py\", line 2.*ZeroDivisionError"):
        printed.kept("port.md", ["x = 0\n", "1 / x\n"], tmp_path)
    assert list(tmp_path.rglob("*.json")) == []


def test_what_was_printed_is_kept(tmp_path: Path) -> None:
    block = "import os\nprint(os.getpid())\n"
    once = printed.kept("port.md", [block], tmp_path)
    assert printed.kept("port.md", [block], tmp_path) == once
    assert printed.kept("port.md", [f"{block}#\n"], tmp_path) != once
