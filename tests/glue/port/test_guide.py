"""The guide "Port a model in an hour": its code runs, and gives what stands behind the arrows."""

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
jax = pytest.importorskip("jax")

DOCS = Path(__file__).parents[3] / "docs"
sys.path.insert(0, str(DOCS / "_ext"))
traps: Any = importlib.import_module("traps")  # the same arrows as on the page of traps
PAGE = (DOCS / "port.md").read_text(encoding="utf-8")
GUIDE = PAGE.partition("## Port a model in an hour")[2]
PARTS = [part for part in re.split(r"^### ", GUIDE, flags=re.M) if "```python" in part]


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.partition("\n")[0])
def test_the_code_gives_what_the_page_says(part: str) -> None:
    pytest.importorskip("flax")
    pytest.importorskip("equinox")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", part, re.M | re.S))
    scope = {"np": np, "torch": torch, "jax": jax, "jnp": jax.numpy}
    found = list(traps._outcomes(code, scope))
    wrong = [(o.line, o.text, o.message, o.expected) for o in found if not o.right]
    assert not wrong
    assert sum(o.text is not None for o in found) >= 5


def test_the_table_has_the_whole_set() -> None:
    from support import ports

    lines = PAGE.partition(ports.BEGIN)[2].partition(ports.END)[0].splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line][2:]
    expected = []
    for make in ports.FAMILIES:
        family = make()
        expected += [(family.name, "right")] if family.right else []
        expected += [(family.name, f"{wrong.name} (wrong)") for wrong in family.wrong]
    assert [(row[0], row[1]) for row in rows] == expected
    for _, port, verdict, *_ in rows:
        assert (verdict == "mistake") == port.endswith("(wrong)")
