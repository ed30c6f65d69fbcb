"""docs/traps.toml: every line gives what stands behind it; the table in brief is true."""

import importlib
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support import versions

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "_ext"))
traps: Any = importlib.import_module("traps")  # the pages' own module judges and shows them

pytest.importorskip("torch")
pytest.importorskip("jax")


LIBRARIES = ("flax", "equinox", "optax")


@cache
def given(name: str, column: str) -> Any:
    """What the lines of an entry of the file give; they are run once."""
    return traps.outcomes(next(trap for trap in traps.load() if trap.id == name), column)


def marked(trap: Any) -> Any:
    """Libraries of models take seconds to import and to initialise."""
    slow = any(library in code for code in trap.code.values() for library in LIBRARIES)
    return pytest.param(trap, id=trap.id, marks=pytest.mark.slow if slow else [])


@pytest.mark.parametrize("column", traps.COLUMNS)
@pytest.mark.parametrize("trap", [*map(marked, traps.load())])
def test_every_line_gives_what_stands_behind_it(trap: Any, column: str) -> None:
    if not traps.judged_here(trap):
        pytest.skip(f"what holds on {trap.machine} only")
    if trap.id in ("aliasing", "division-by-a-broadcast") and versions.BEFORE_JAX_0_10_2:
        pytest.skip("another answer before JAX 0.10.2")
    for library in LIBRARIES:
        if library in trap.code.get(column, ""):
            pytest.importorskip(library)
    assert traps.complaints(trap, {column: given(trap.id, column)}) == []


def test_the_table_in_brief() -> None:
    assert traps.brief() in (ROOT / "docs/traps.md").read_text(encoding="utf-8"), (
        "run `python docs/_ext/traps.py --write`"
    )


@pytest.mark.parametrize("trap", [marked(t) for t in traps.load() if t.group == "agrees"])
def test_what_is_said_to_agree_does(trap: Any) -> None:
    for library in LIBRARIES:
        if library in trap.code.get("jax_impl", ""):
            pytest.importorskip(library)
    texts = [[o.text for o in given(trap.id, column) if o.text is not None] for column in trap.code]
    assert texts[0]
    assert all(text == texts[0] for text in texts)


def told_in_brief() -> Iterator[tuple[Any, str, str]]:
    """The facts of the table in brief: dtypes, errors, shapes, and a number behind a name."""
    fact = r"\b(?:float|int)\d+\b|\w+Error\b|\bnan\b|\(3, 3\)|(?<=` )\d+(?:\.\d+)?"
    for trap in traps.load():
        for column, key in traps.FRAMEWORKS.items():
            for word in re.findall(fact, trap.brief.get(key, "")):
                yield trap, column, word


def test_what_the_table_says_is_what_the_lines_give() -> None:
    facts = list(told_in_brief())
    assert len(facts) > 15
    for trap, column, word in facts:
        texts = [f"{o.text}" for o in given(trap.id, column)]
        assert any(word == text or word in re.findall(r"[\w.]+", text) for text in texts), (
            trap.id,
            word,
        )


ENTRY = '''
[[trap]]
id = "planted"
group = "arrays"
title = "A title"
why = "A reason."
at = []
numpy = """
x = np.arange(3.0)
x[1]{behind}
"""
torch = """
torch.ones(2) @ torch.ones(2, dtype=torch.float64){error}
"""
jax = """
jnp.zeros(1, dtype="float64").dtype{warning}
"""
'''


def entry(behind: str = "1", error: str = "RuntimeError", warning: str = "float32") -> str:
    texts = {"behind": behind, "error": error, "warning": warning}
    marks = {key: f"  # -> {text}" if text else "" for key, text in texts.items()}
    return re.sub(r"\{(\w+)\}", lambda found: marks[found[1]], ENTRY)


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        (entry(), "numpy_ref", ""),
        (entry(behind="2"), "numpy_ref", "x[1] gives 1, expected 2"),
        (entry(behind=""), "numpy_ref", "x[1] gives 1, expected nothing"),
        (entry(), "torch_impl", ""),
        (entry(error="RuntimeError: same dtype"), "torch_impl", ""),
        (entry(error="RuntimeError: no memory"), "torch_impl", "expected RuntimeError: no memory"),
        (entry(error="TypeError"), "torch_impl", "gives RuntimeError"),
        (entry(warning="float32, with a UserWarning"), "jax_impl", ""),
        (entry(warning="float32"), "jax_impl", "gives float32, with a UserWarning"),
        (entry().replace("x = np.arange(3.0)", "x = 1  # -> 1"), "numpy_ref", "x = 1 gives None"),
    ],
)
def test_another_outcome_is_noticed(text: str, column: str, words: str) -> None:
    (trap,) = traps.load(text)
    complaints = " ".join(traps.complaints(trap, {column: traps.outcomes(trap, column)}))
    assert words in complaints
    assert bool(words) == bool(complaints)


def test_missing_outcomes_are_filled_in_and_nothing_else() -> None:
    text, added = traps.fill(entry(behind="", error="TypeError", warning=""))
    assert text == entry(error="TypeError", warning="float32, with a UserWarning")
    assert [line.partition("  # -> ")[0] for line in added] == [
        "planted: numpy_ref: x[1]",
        'planted: jax_impl: jnp.zeros(1, dtype="float64").dtype',
    ]
    assert traps.fill(text) == (text, [])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("at = []", 'at = ["classifier.lost"]', "no function in classifier 'lost'"),
        ("at = []", "", "planted: at is missing"),
        ('group = "arrays"', 'group = "rays"', "planted: no group rays"),
        ("at = []", 'at = []\nwhen = "now"', "planted: no key when"),
    ],
)
def test_a_malformed_entry_is_named(old: str, new: str, words: str) -> None:
    with pytest.raises(traps.TrapError, match=words):
        traps.load(entry().replace(old, new))
