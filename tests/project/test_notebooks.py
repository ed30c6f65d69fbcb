"""The notebooks: every cell runs, a mistake in a column stops them, the cells are the sources.

The cells run one after the other in one namespace, as a kernel runs them, but in this process: what
a kernel adds is two of IPython's commands, which `Shell` below knows, and some seconds for each of
the hundred notebooks to import the frameworks.
"""

import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from triptych import notebook as own
from triptych.claims import book
from triptych.names import COLUMNS, UnknownNameError
from triptych.source import parse

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "_ext"))
notebooks: Any = importlib.import_module("notebooks")  # the pages' own module makes them

pytest.importorskip("torch")
jax: Any = pytest.importorskip("jax")

# a program of a tutorial asks for the gradient of what is no leaf
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")

TITLES = {"all": COLUMNS, **{column: (column,) for column in COLUMNS}}
QUICK = ("linear_regression", "numpy_ref")


class Shell:
    """Of IPython what a notebook uses: a namespace, `%load_ext`, cell magics."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.magics: dict[str, Any] = {}

    def register_magic_function(self, function: Any, kind: str, name: str) -> None:
        assert kind == "cell"
        self.magics[name] = function

    def push(self, names: dict[str, Any]) -> None:
        self.names.update(names)

    def run(self, cell: str) -> None:
        """Run one cell."""
        if cell.startswith("%load_ext "):
            importlib.import_module(cell.split()[1]).load_ipython_extension(self)
        elif cell.startswith("%%"):
            head, _, body = cell[2:].partition("\n")
            name, _, line = head.partition(" ")
            self.magics[name](line, body)
        else:
            exec(compile(cell, "<cell>", "exec"), self.names)

    def run_all(self, cells: Sequence[str]) -> None:
        for cell in cells:
            self.run(cell)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A shell in an empty folder; what notebooks set in JAX is put back."""
    monkeypatch.chdir(tmp_path)
    wide = jax.config.jax_enable_x64
    yield Shell()
    jax.config.update("jax_enable_x64", wide)


def code(modules: Sequence[parse.Module]) -> list[str]:
    return [cell.text for cell in notebooks.cells(modules) if cell.kind == "code"]


def modules(concept: str, columns: Sequence[str]) -> list[parse.Module]:
    return [parse.load_column(column, concept) for column in columns]


@pytest.mark.parametrize(
    ("concept", "title"),
    [
        pytest.param(concept, title, marks=[] if (concept, title) == QUICK else pytest.mark.slow)
        for concept in parse.concepts()
        for title in TITLES
    ],
)
def test_every_cell_runs(concept: str, title: str, shell: Shell) -> None:
    cells = code(modules(concept, TITLES[title]))
    shell.run_all(cells)
    assert cells[-1].partition("(")[0].endswith("agree")


def test_a_mistake_in_a_column_stops_its_notebook_and_that_of_all(shell: Shell) -> None:
    """In every place where it matters: the claims that hold no more, the columns that part."""
    concept, column = "linear_regression", "numpy_ref"
    text = "\n".join(parse.load_column(column, concept).lines)
    planted = parse.parse(
        text.replace("d_w = np.sum(d_y * x)", "d_w = np.mean(d_y * x)"), column, concept
    )
    failed = []
    for cell in code([planted]):
        try:
            shell.run(cell)
        except AssertionError as error:
            failed.append(str(error))
    assert failed[0] == "epoch 0; w: 0.76, where 2.27 is expected"
    assert "100 epochs, float32: NumPy and PyTorch are " in failed[-1]


@pytest.mark.slow
@pytest.mark.parametrize("title", ["one", "all"])
@pytest.mark.parametrize(
    ("concept", "column", "old", "new"),
    [
        ("linear_regression", "torch_impl", "p -= learning_rate", "p += learning_rate"),
        ("linear_regression", "jax_impl", 'b = params["b"] -', 'b = params["b"] +'),
        ("normalization", "torch_impl", "int(training)", "1"),
        ("optimizers", "jax_impl", "(m / seen1)", "m"),
        ("classifier", "numpy_ref", "d_z3 /= n", "d_z3 /= n + 1"),
        # no tutorial has a number of this: `agree` alone tells
        ("reproducible", "numpy_ref", "product(d_y.T, x)", "2 * product(d_y.T, x)"),
    ],
)
def test_more_mistakes(
    concept: str, column: str, old: str, new: str, title: str, shell: Shell
) -> None:
    found = modules(concept, COLUMNS if title == "all" else (column,))
    number = [m.column for m in found].index(column)
    text = "\n".join(found[number].lines)
    assert old in text
    found[number] = parse.parse(text.replace(old, new), column, concept)
    cells = code(found)
    with pytest.raises(AssertionError):
        shell.run_all(cells)


@pytest.mark.parametrize("title", TITLES)
@pytest.mark.parametrize("concept", parse.concepts())
def test_the_cells_are_the_sources(concept: str, title: str) -> None:
    """Line by line, but for the docstring at the top, the last lines, and what runs a cell."""
    cells = code(modules(concept, TITLES[title]))
    for module in modules(concept, TITLES[title]):
        kept = [b for b in module.blocks if b.kind not in (parse.DOCSTRING, parse.MAIN)]
        for block in kept:
            text = "\n".join(cell.text for cell in block.cells).strip("\n")
            head = f"%%columns {module.column}\n" if title == "all" else ""
            assert cells.count(f"{head}{text}") == 1


@pytest.mark.parametrize("title", TITLES)
@pytest.mark.parametrize("concept", parse.concepts())
def test_every_entry_stands_in_a_notebook(concept: str, title: str) -> None:
    """What is claimed, and what only some column has; the answers of a machine are left out."""
    cells = "\n".join(code(modules(concept, TITLES[title])))
    for entry in book.entries():
        if entry.concept != concept or entry.without_gpu or entry.code:
            continue
        if any(notebooks._has(column, entry) for column in TITLES[title]):
            assert repr(notebooks._what(entry)) in cells


@pytest.mark.parametrize("concept", parse.concepts())
def test_no_name_of_the_claims_hides_one_of_a_column(concept: str) -> None:
    used = {n for e in book.entries() if e.concept == concept for n in e.names}
    used |= {"data", "expect", "found", "path", "prints", "raises", "see"}
    for module in modules(concept, COLUMNS):
        assert not used & {d.name for d in module.definitions}
        assert not used & {name for i in module.imports for name in i.names} - {"data"}


def test_a_notebook_is_valid_and_the_same_in_every_build() -> None:
    nbformat = pytest.importorskip("nbformat")
    cells = notebooks.cells(modules("linear_regression", COLUMNS))
    made = [nbformat.writes(notebooks.notebook(cells)) for _ in range(2)]
    assert made[0] == made[1]
    read = nbformat.reads(made[0], as_version=4)
    assert [cell.source for cell in read.cells] == [cell.text for cell in cells]
    assert "pip install" in read.cells[0].source


def test_the_names_of_the_files() -> None:
    assert notebooks.name("gradients", COLUMNS) == "gradients.ipynb"
    assert notebooks.name("gradients", ["jax_impl"]) == "gradients-jax.ipynb"


# What the cells call


def test_expect_says_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    own.expect("w", np.array([1.234, 2.0]), "[1.23, 2.00]")
    assert capsys.readouterr().out == "w: [1.23, 2.00]\n"
    with pytest.raises(AssertionError, match=r"^w: 1\.24, where 1\.23 is expected$"):
        own.expect("w", 1.236, "1.23")
    with pytest.raises(AssertionError, match="shape"):
        own.expect("the shape", np.zeros((2, 3)), "(3, 2)", show="shape")


def test_see_prints_errors_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    own.see("x", lambda: 1 / 0)
    own.see("x", (2.0 * n for n in range(2)), "0.0")
    assert capsys.readouterr().out == "x: ZeroDivisionError\nx: [0.0, 2.0]\n"


def test_raises_wants_that_error(capsys: pytest.CaptureFixture[str]) -> None:
    with own.raises("a division", "ZeroDivisionError"):
        _ = 1 / 0
    assert capsys.readouterr().out == "a division: ZeroDivisionError: division by zero\n"
    with pytest.raises(AssertionError, match="no error, where KeyError is expected"):  # noqa: SIM117
        with own.raises("a key", "KeyError"):
            pass
    with pytest.raises(AssertionError, match=r"IndexError.* where KeyError is expected"):  # noqa: SIM117
        with own.raises("a key", "KeyError"):
            _ = [][0]


def test_prints_wants_that_text(capsys: pytest.CaptureFixture[str]) -> None:
    with own.prints("b", 1):
        print("a\nb")
    assert capsys.readouterr().out == "a\nb\n"
    with pytest.raises(AssertionError, match="it prints a, where b is expected"):  # noqa: SIM117
        with own.prints("b"):
            print("a")


def test_a_cell_runs_in_its_columns(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run("%load_ext triptych.notebook")
    shell.run("%%columns numpy_ref\nx = 1")
    shell.run("%%columns torch_impl\nx = 2")
    shell.run("%%columns jax_impl\nx = 2")
    shell.run("%%columns\nx")
    assert capsys.readouterr().out == "NumPy:\n1\nPyTorch:\n2\nJAX:\n2\n"
    shell.run("y = numpy_ref.x")
    assert shell.names["y"] == 1
    with pytest.raises(UnknownNameError, match="did you mean torch_impl"):
        shell.run("%%columns torch\nx")


def test_a_traceback_shows_the_line_of_a_cell(shell: Shell) -> None:
    shell.run("%load_ext triptych.notebook")
    shell.run("%%columns numpy_ref\ndef f():\n    return 1 / 0  # here")
    with pytest.raises(ZeroDivisionError) as error:
        shell.run("%%columns numpy_ref\nf()")
    assert "1 / 0  # here" in str(error.getrepr())
