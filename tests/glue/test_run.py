"""What `triptych run` prints: a concept's claims, the same bytes where the columns agree."""

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from triptych import run
from triptych.claims import book, transcript, verdicts
from triptych.claims.verdicts import Result, check_all
from triptych.column import Column
from triptych.names import COLUMNS, CONCEPTS, DISPLAY_NAMES, UnknownNameError
from triptych.source.parse import concepts, load_column

ROOT = Path(__file__).parents[2]
SAME = ("gradients", "linear_layer", "linear_regression", "classifier")
# a page calls every function of a concept in each column, which JAX has to compile
QUICK = ("gradients", "mechanics", "optimizers", "parameters")
EACH = [pytest.param(c, marks=() if c in QUICK else pytest.mark.slow) for c in concepts()]


@cache
def printed(concept: str, *names: str, dtype: str = "float64") -> tuple[str, ...]:
    lines: list[str] = []
    run.run(concept, *names, dtype=dtype, write=lines.append)
    return tuple(lines)


def unmarked(lines: Sequence[str]) -> list[str]:
    marks = tuple(f"{name:7} | ".lstrip() for name in DISPLAY_NAMES.values())
    marks += tuple(f"{name} |" for name in DISPLAY_NAMES.values())
    return [line for line in lines if not line.startswith(marks)]


def marked(lines: Sequence[str], column: str) -> str:
    """A column's own lines, joined again where they were broken."""
    own = [line.partition("| ")[2] for line in lines if line.startswith(DISPLAY_NAMES[column])]
    return " ".join(" ".join(own).split())


@pytest.mark.parametrize(
    "concept",
    [pytest.param(c, marks=() if c == "gradients" else pytest.mark.slow) for c in SAME],
)
def test_the_columns_print_the_same_bytes(columns: Any, concept: str) -> None:
    assert len({printed(concept, column.name) for column in columns}) == 1


@pytest.mark.parametrize("concept", EACH)
def test_lines_without_a_mark_are_the_same(columns: Any, concept: str) -> None:
    first, *others = (unmarked(printed(concept, column.name)) for column in columns)
    for other in others:
        assert other == first


@pytest.mark.parametrize("concept", EACH)
def test_lines_fit_and_begin_with_what_it_is(columns: Any, concept: str) -> None:
    for names in (*((name,) for name in COLUMNS), COLUMNS):
        lines = printed(concept, *names)
        assert not [line for line in lines if len(line) > transcript.WIDTH and " " in line[12:]]
        assert not [line for line in lines if line != line.rstrip() or "\n" in line]
        assert " ".join(lines).startswith(load_column("numpy_ref", concept).summary)


@pytest.mark.parametrize("concept", EACH)
def test_every_entry_stands_on_the_page(columns: Any, concept: str) -> None:
    words = " ".join(" ".join(printed(concept, *COLUMNS)).split())
    for entry in book.entries():
        if entry.concept == concept:
            assert " ".join(entry.what.split()) in words, entry.id
            assert DISPLAY_NAMES["torch_impl"] in words


def test_every_entry_stands_on_some_page() -> None:
    assert {entry.concept for entry in book.entries()} <= set(CONCEPTS)


@pytest.mark.slow
def test_every_shown_value_is_of_something_that_some_column_has() -> None:
    for entry in book.entries():
        for place in entry.functions:
            concept, _, function = place.partition(".")
            having = [
                column
                for column in COLUMNS
                for definition in load_column(column, concept).definitions
                if definition.name == function
            ]
            assert having, f"{entry.id}: no column has {place}"


@pytest.mark.parametrize("column", COLUMNS)
def test_shown_values_are_what_claims_toml_says_of_a_column(column: str, columns: Any) -> None:
    shown = [e for e in book.entries() if not e.judged and e.concept != "execution"]
    wrong = [(r.claim.id, r.text, r.expected) for r in check_all((column,), only=shown)
             if r.verdict != "shown"]  # fmt: skip
    assert len(shown) > 80
    assert wrong == []


def test_the_device_reaches_the_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Seen(Column):
        def __init__(self, name: str, device: str) -> None:
            asked.append((name, device))
            super().__init__(name, "cpu")

    monkeypatch.setattr(verdicts, "Column", Seen)
    verdicts.check_all(COLUMNS[:2], only=book.claims()[:1], device="cuda")
    assert asked == [("numpy_ref", "cuda"), ("torch_impl", "cuda")]


# The layout: what the documents print in tables stands in tables


@pytest.mark.parametrize(
    ("concept", "lines"),
    [
        (
            "linear_layer",
            [
                "C: the table, rate 0.01",
                "                          output       loss",
                "  before the first step   0.4200  3.364e-01",
                "  after 1 step            0.4332  3.212e-01",
                "  after 2 steps           0.4461  3.068e-01  (document: loss 3.067e-01)",
            ],
        ),
        (
            "linear_regression",
            [
                "               loss     w     b",
                "  epoch 0   27.6667  2.27  1.00  (document: loss 22.6667, w 1.87, b 0.70)",
            ],
        ),
        (
            "gradients",
            ["A 7.4: y = x**3 at x = 2", "  y               8", "  dy/dx = 3 x**2  12", ""],
        ),
        (
            "tensor_basics",
            ["  the tensor [[1, 2], [3, 4]]       (2, 2)     2",
             "  an image: channel, height, width             3"],
        ),
        ("parameters", ["  number of parameters  243  (document: 299)",
                        "  4*16 + 16 = 80, 16*8 + 8 = 136 and 8*3 + 3 = 27 make 243."]),
    ],
)  # fmt: skip
def test_tables(concept: str, lines: list[str]) -> None:
    assert "\n".join(lines) in "\n".join(printed(concept, "numpy_ref"))


def test_what_differs_stands_side_by_side(columns: Any) -> None:
    lines = "\n".join(printed("mechanics", *COLUMNS))
    assert (
        "  without a cotangent: an error:\n"
        "NumPy   | [12, 12, 12] (document: RuntimeError)\n"
        "PyTorch | RuntimeError: grad can be implicitly created only for scalar outputs\n"
        "JAX     | TypeError: Gradient only defined for scalar-output functions. Output\n"
    ) in lines
    assert lines.count("By hand nothing objects") == 1


@pytest.mark.slow
def test_float32_marks_what_rounding_makes_of_it(columns: Any) -> None:
    lines = printed("linear_layer", *COLUMNS, dtype="float32")
    for column in COLUMNS:
        assert "(document: loss 3.264e-21)" in marked(lines, column)
    assert "after 1 step            0.4332  3.212e-01" in "\n".join(lines)


def test_a_columns_own_words_stand_on_its_page(column: Any) -> None:
    note = " ".join(load_column(column.name, "mechanics").note.split())
    note = note.removeprefix(f"{DISPLAY_NAMES[column.name]}: ")
    own = marked(printed("mechanics", column.name), column.name)
    assert own.lower().startswith(note.lower())


def test_a_concept_of_which_no_document_speaks_has_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "entries", lambda: ())
    lines = printed.__wrapped__("classifier", *COLUMNS)
    text = "\n".join(lines)
    for name in ("logits", "dropout", "fit"):
        assert f"\n  {name} " in text
    assert "-log P_t, from the logits." in " ".join(text.split())
    assert text.count("NumPy   |") > 0


def entry(text: str) -> Result:
    (claim,) = book.parse(f'[[section]]\ntitle = "S"\n[section.{text}')
    return Result(claim, "numpy_ref", "1", "1", "shown", "")


def test_an_entry_of_no_document() -> None:
    shown = entry('odd]\nwhat = "one"\ncall = "gradients.cube(1.0)"\nlike = "0"')
    assert (shown.claim.source, shown.claim.concept, shown.claim.judged) == ("", "gradients", False)
    lines = list(transcript.transcript("gradients", ("numpy_ref",), [shown]))
    assert lines[-2:] == ["S", "  one  1"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('odd]\nwhat = "one"\ncall = "gradients.cube(1.0)"', "printed is missing .or like"),
        ('odd]\nwhat = "one"\ncall = "gradients.cube(1.0)"\nlike = ""\ntrue = "1"', "no true text"),
        ('odd]\nwhat = "one"\ncall = "np.ones(1)"\nlike = ""', "concept is missing"),
        ('odd]\nwhat = "o"\ncall = "np.e"\nlike = ""\nconcept = "cubes"', "no concept 'cubes'"),
        ('odd]\nwhat = "o"\ncall = "gradients.cube(1.0)"\nprinted = "1"', "must begin with a doc"),
    ],
)
def test_a_malformed_entry_is_named(text: str, words: str) -> None:
    with pytest.raises(book.ClaimsError, match=f"odd: .*{words}"):
        entry(text)


# By itself


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("concept", ["gradients", "mechanics"])
def test_main_knows_the_concept_by_its_file(
    concept: str,
    column: str,
    columns: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["-m"])
    run.main(str(ROOT / column / f"{concept}.py"))
    assert capsys.readouterr().out == "\n".join(printed(concept, column)) + "\n"


def test_an_option_says_where_options_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["-m", "--dtype", "float32"])
    with pytest.raises(SystemExit, match="triptych run gradients --column numpy_ref"):
        run.main("numpy_ref/gradients.py")


NUMPY_ALONE = """
import runpy, sys
sys.modules |= dict.fromkeys(["torch", "jax", "jaxlib"])
sys.argv[1:] = []
runpy.run_module("numpy_ref.linear_regression", run_name="__main__", alter_sys=True)
"""


def test_a_column_runs_by_itself_without_the_other_frameworks() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NUMPY_ALONE], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "\n".join(printed("linear_regression", "numpy_ref")) + "\n"


@pytest.mark.parametrize("buffered", ["", "1"])
def test_nobody_reads_on(buffered: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "numpy_ref.mechanics"],
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": buffered},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_a_column_is_imported_when_it_is_asked_for() -> None:
    code = (
        "import sys, triptych.run\n"
        "names = {'torch', 'jax', 'jaxlib', 'numpy_ref', 'torch_impl', 'jax_impl'}\n"
        "print(names & {m.partition('.')[0] for m in sys.modules})\n"
        "triptych.run.run('gradients', 'numpy_ref', write=lambda line: None)\n"
        "print(names & {m.partition('.')[0] for m in sys.modules})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n{'numpy_ref'}\n"


# Names that do not exist


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="no concept 'gradient'; did you mean gradients"):
        run.run("gradient", "numpy_ref")
    with pytest.raises(UnknownNameError, match="no column 'numpy'; did you mean numpy_ref"):
        run.run("gradients", "numpy")


def test_an_unknown_dtype_or_device_is_refused() -> None:
    with pytest.raises(ValueError, match=r"dtype must be 'float.*, got 'int8'"):
        run.run("gradients", "numpy_ref", dtype="int8")
    with pytest.raises(ValueError, match="device must be 'cpu'"):
        run.run("gradients", "numpy_ref", device="cuda")
