"""The cheat sheet: whole, held to the sources, and true of the frameworks."""

import ast
import builtins
import importlib
import io
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from triptych.__main__ import main
from triptych.names import BOUNDARY, COLUMNS
from triptych.source import cheatsheet, lookup, parse

ROOT = Path(__file__).parents[2]
TEXT = cheatsheet.FILE.read_text(encoding="utf-8")


def rows() -> tuple[cheatsheet.Row, ...]:
    """Every row; they are made by the first test that asks, since to collect tests needs none."""
    return cheatsheet.sheet().rows


def row_of(name: str) -> cheatsheet.Row:
    """The first row that has a name."""
    return next(row for row in rows() if any(name in cell for cell in row.cells))


# Whole


def test_every_name_of_the_columns_has_its_row() -> None:
    assert cheatsheet.sheet().left_out == ()


def test_no_word_is_stale() -> None:
    """What no column uses stands in a trap, whose lines are run."""
    traps = (ROOT / "docs" / "traps.toml").read_text(encoding="utf-8")
    assert [word for word in cheatsheet.sheet().stale if f"{word}(" not in traps] == []


@pytest.mark.parametrize("column", COLUMNS)
def test_every_method_has_its_row(column: str) -> None:
    """The sources do not say what a method belongs to; the frameworks say what they have."""
    shown = cheatsheet.build(TEXT.replace('"Others"', '"Shown"')).rows
    known = {key for row in shown for key in row.keys}
    left_out, having = set(), kinds(column).values()
    for concept in (*parse.concepts(), BOUNDARY):
        tree = ast.parse("\n".join(parse.load_column(column, concept).lines))
        for _, name in cheatsheet.names(tree, cheatsheet.scope(tree)):
            leaf = name[1:]
            theirs = any(hasattr(kind, leaf) for kind in having)
            if name[0] == "." and theirs and leaf not in cheatsheet.OF_PYTHON:
                left_out.add((column, name))
    assert left_out - known == set()


@pytest.mark.parametrize(
    ("before", "after", "left_out", "stale"),
    [
        # the alignment shows that round stands in rint's place: without rint, nothing does
        ('"rint"', '"floor_"', {"np.rint", "torch.round", "jnp.rint"}, {"floor_"}),
        pytest.param('"stack"', '"stack tack"', set(), {"tack"}, marks=pytest.mark.slow),
        pytest.param(
            '"mse_loss"',
            '"jax:mse_loss"',
            {"torch.nn.functional.mse_loss"},
            {"mse_loss"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_mistake_is_found(before: str, after: str, left_out: set[str], stale: set[str]) -> None:
    found = cheatsheet.build(TEXT.replace(before, after))
    assert {name for _, name in found.left_out} == left_out
    assert set(found.stale) - set(cheatsheet.sheet().stale) == stale


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('"A" = ["sum"]\n"B" = ["mean sum"]', "B: .*sum has two rows"),
        ('"A" = ["tensorflow:sum"]', "A: no column 'tensorflow'"),
        ('"A" = ["sum", " "]', "A: a row is empty"),
    ],
)
def test_a_malformed_text(text: str, said: str) -> None:
    with pytest.raises(cheatsheet.CheatsheetError, match=said):
        cheatsheet.build(text)


# True


def test_names_that_go_together() -> None:
    """As the frameworks' own documents pair them."""
    for names in (
        ("np.rint", "torch.round", "jnp.rint"),
        ("np.concatenate", "torch.cat"),
        ("np.searchsorted", "torch.bucketize", "jnp.searchsorted"),
        ("x.copy()", "x.clone()", "jnp.array"),
        ("x.take()", "x.index_select()", "jnp.take"),
        ("x[i] = v", "x.at[i].set(v)"),
        ("torch.relu", "jax.nn.relu"),
        ("torch.compile", "jax.jit"),
        ("torch.func.vmap", "jax.vmap"),
        ("x.detach()", "jax.lax.stop_gradient"),
        ("torch.distributed.all_reduce", "jax.lax.psum", "comm.Allreduce()"),
    ):
        row = row_of(names[0])
        assert set(names) <= {name for cell in row.cells for name in cell}, names


def kinds(column: str) -> dict[str, Any]:
    """By what stands before a method: what it is a method of."""
    np, torch, jax = (importlib.import_module(name) for name in ("numpy", "torch", "jax"))
    return {
        "numpy_ref": {"x": np.ndarray, "rng": np.random.Generator},
        "torch_impl": {
            "x": torch.Tensor,
            "y": torch.Tensor,
            "generator": torch.Generator,
            "net": torch.nn.Module,
            "optimizer": torch.optim.Optimizer,
            "ctx": torch.autograd.Function,
            "rule": torch.autograd.Function,
            "exported": torch.export.ExportedProgram,
            "grad_fn": torch.ones(1, requires_grad=True).sum().grad_fn,
        },
        "jax_impl": {
            "x": jax.numpy.ones(1),
            "jitted": jax.jit(abs),
            "traced": jax.stages.Traced,
            "lowered": jax.stages.Lowered,
        },
    }[column]


@pytest.mark.parametrize("column", COLUMNS)
def test_every_name_exists(column: str) -> None:
    roots = {"np": "numpy", "torch": "torch", "jax": "jax", "jnp": "jax.numpy"}
    for row in rows():
        for name in row.cells[COLUMNS.index(column)]:
            root, *words = name.removesuffix("()").split(".")
            if root in ("MPI", "comm") or set(name.removesuffix("()")) & set(" [("):
                continue  # it would need an MPI library, or is a way of writing
            thing = importlib.import_module(roots[root]) if root in roots else kinds(column)[root]
            for word in words:
                assert hasattr(thing, word), name
                thing = getattr(thing, word)


def test_a_place_uses_the_name() -> None:
    """The link of a row leads to a function that has one of its names."""
    for row in rows():
        if row.where is None:
            continue
        module = parse.load_column(row.where.column, row.where.concept)
        names = [name for cell in row.cells for name in cell]
        leaves = {name.removesuffix("()").rpartition(".")[2].rstrip("(v)") for name in names}
        if row.where.function:
            assert row.where.function in {d.name for d in module.definitions}
        text = "\n".join(module.lines)
        assert any(leaf in text for leaf in leaves) or any(" " in name for name in names), names


# On a terminal


def shown(*words: str, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    lookup.look_up(words, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_what_pytorch_calls_jnp_take(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cheatsheet", "jnp.take"]) == 0
    assert "x.index_select()" in capsys.readouterr().out
    for word in ("jax.numpy.take", "TAKE()"):
        assert "x.index_select()" in shown(word)
    assert "torch.relu" in shown("F.relu")
    assert "torch.sum" not in shown("jnp.take")


def test_all_words_are_wanted() -> None:
    assert shown("indexing", "torch.where").splitlines()[3:] == [
        line for line in shown("np.where").splitlines() if "torch.where" in line
    ]


def test_a_word_that_nothing_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cheatsheet", "tkae"]) == 2
    assert "did you mean take" in capsys.readouterr().err


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_nothing_is_wider_or_broken(width: int) -> None:
    text = shown(width=width)
    assert max(map(len, text.splitlines())) <= width
    words = set(text.split())
    for row in rows():
        for cell in row.cells:
            for name in cell:
                assert set(name.split()) <= words


# On its page


@pytest.fixture(scope="module")
def page() -> Any:
    pytest.importorskip("sphinx")
    sys.path.insert(0, str(ROOT / "docs" / "_ext"))
    return importlib.import_module("cheatsheet")


def test_signs_stand_where_a_trap_names_the_row(page: Any) -> None:
    traps = importlib.import_module("traps")
    signs = {
        trap.id: [name for row in page.concerned(trap) for cell in row.cells for name in cell]
        for trap in traps.load()
    }
    for trap, name in (
        ("gelu", "torch.nn.functional.gelu"),
        ("take", "x.take()"),
        ("median", "np.median"),
        ("split", "np.split"),
        ("relu-at-0", "jax.nn.relu"),
        ("adamw-decay", "torch.optim.AdamW"),
    ):
        assert name in signs[trap], trap
    # a trap whose lines only happen to use a name says nothing of it
    assert "x.detach()" not in signs["adam-epsilon"]
    assert "np.array" not in signs["median"]
    assert all(signs[trap.id] == [] for trap in traps.load() if trap.group == "agrees")


def test_the_page_shows_every_row(page: Any) -> None:
    html = page.table(list(rows()), "")
    assert html.count("<tr>") == len(rows()) + 1
    assert 'href="concepts/metrics.html#recall"' in html
    assert 'href="source/torch_impl/__init__.html#L' in html
    assert html.count("<code>") > builtins.sum(len(cell) for row in rows() for cell in row.cells)
