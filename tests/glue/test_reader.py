"""The reader: nothing lost, lined up, no line too wide, plain when piped."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from triptych.names import BOUNDARY, COLUMNS, DISPLAY_NAMES
from triptych.source import parse, reader

WIDTHS = (60, 120, 200)
PAGES = [("classifier", None), (BOUNDARY, None), ("gradients", "chain_edges")]

Place = tuple[int, str]
"""A line of the screen, and the source text that begins there, without its spaces."""


def packed(text: str) -> str:
    return re.sub(r"\s", "", text)


def printed(page: str, width: int) -> list[dict[int, Place]]:
    """Read a page back: for each column, where each source line is and what it says."""
    found: list[dict[int, Place]] = [{} for _ in COLUMNS]
    stacked = width < reader.SIDE_BY_SIDE
    inner = (width - 1) // 3
    column = 0
    current = [0, 0, 0]
    for at, line in enumerate(page.split("\n")):
        headings = [i for i, c in enumerate(COLUMNS) if line.startswith(f"{DISPLAY_NAMES[c]}  ")]
        if headings:
            column = headings[0]
            continue
        starts = range(0, len(line), inner + 1)
        panes = [line] if stacked else [line[start : start + inner] for start in starts]
        for i, pane in enumerate(panes, column if stacked else 0):
            match = re.fullmatch(r"( *\d+|  +)([ ▌▏])?(?: (.*))?", pane.rstrip())
            if not match:
                continue
            if match[1].strip():
                current[i] = int(match[1])
                assert current[i] not in found[i]
                found[i][current[i]] = (at, packed(match[3] or ""))
            elif match[3]:
                start, text = found[i][current[i]]
                found[i][current[i]] = (start, text + packed(match[3]))
    return found


def sections(concept: str, function: str | None) -> tuple[parse.Section, ...]:
    modules = parse.load(concept)
    return parse.sections(modules) if function is None else parse.find(modules, function)


def console(width: int = 200, **options: object) -> Console:
    return Console(file=io.StringIO(), width=width, **options)  # type: ignore[arg-type]


def output(to: Console) -> str:
    assert isinstance(to.file, io.StringIO)
    return to.file.getvalue()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("concept", "function"), PAGES)
def test_nothing_is_lost(concept: str, function: str | None, width: int) -> None:
    found = printed(reader.page(concept, function, width=width).plain, width)
    for column in range(len(COLUMNS)):
        wanted = {
            cell.line: packed(cell.text)
            for section in sections(concept, function)
            if (block := section.blocks[column]) is not None
            for cell in block.cells
        }
        assert {line: text for line, (_, text) in found[column].items()} == wanted


@pytest.mark.parametrize("width", [120, 200])
@pytest.mark.parametrize(("concept", "function"), PAGES)
def test_the_cells_of_a_row_begin_on_one_line(
    concept: str, function: str | None, width: int
) -> None:
    found = printed(reader.page(concept, function, width=width).plain, width)
    previous = -1
    for section in sections(concept, function):
        for row in section.rows():
            at = {found[i][cell.line][0] for i, cell in enumerate(row.cells) if cell is not None}
            assert len(at) == 1
            assert at.pop() > previous
            previous = max(previous, *(found[i][c.line][0] for i, c in enumerate(row.cells) if c))


@pytest.mark.parametrize("width", [60, 100])
def test_a_narrow_terminal_gets_the_columns_one_under_another(width: int) -> None:
    found = printed(reader.page("classifier", "predict", width=width).plain, width)
    lines = [[at for at, _ in column.values()] for column in found]
    assert max(lines[0]) < min(lines[1])
    assert max(lines[1]) < min(lines[2])


@pytest.mark.parametrize("width", [20, 119, *WIDTHS])
@pytest.mark.parametrize(("concept", "function"), [("execution", None), ("classifier", "fit")])
def test_no_line_is_wider_than_the_terminal(concept: str, function: str | None, width: int) -> None:
    to = console(width)
    reader.read(concept, function, console=to)
    assert max(map(len, output(to).split("\n"))) <= width


@pytest.mark.parametrize("width", [40, 120])
def test_the_list_names_every_function_and_fits(width: int) -> None:
    to = console(width)
    reader.list_concepts(to)
    text = output(to)
    assert "\x1b" not in text
    assert max(map(len, text.split("\n"))) <= width
    for concept in (*parse.concepts(), BOUNDARY):
        module = parse.load(concept)[0]
        assert concept in text
        assert packed(module.summary)[:20] in packed(text)
        for function in module.functions:
            assert f"\n  {function.name}" in text


@pytest.mark.parametrize("width", WIDTHS)
def test_piped_output_is_plain(width: int) -> None:
    to = console(width)
    reader.read("linear_layer", console=to, dim_same=True)
    assert "\x1b" not in output(to)
    assert not [line for line in output(to).split("\n") if line != line.rstrip()]


def test_a_terminal_gets_colours_and_the_same_text() -> None:
    to = console(force_terminal=True, color_system="standard")
    reader.read("classifier", "loss", console=to)
    assert "\x1b[" in output(to)
    plain = Text.from_ansi(output(to)).plain.rstrip()
    assert plain == reader.page("classifier", "loss", width=200).plain.rstrip()


def test_marks_say_what_differs_without_colour() -> None:
    found = reader.page("classifier", "loss_and_grads", width=200).plain.split("\n")
    [decorator] = [line for line in found if "@jax.jit" in line]
    assert "▌ @jax.jit" in decorator
    [checked] = [line for line in found if "@checked" in line]
    assert checked.count("@checked") == 3
    assert "▌" not in checked
    assert "▏" not in checked


def test_a_console_without_unicode_gets_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    to = Console(file=io.TextIOWrapper(io.BytesIO(), encoding="ascii"), width=200)
    reader.read("classifier", "loss_and_grads", console=to)
    to.file.seek(0)
    text = to.file.read()
    assert "* @jax.jit" in text
    assert text.isascii()


def dimmed(page: Text, words: str) -> bool:
    """Whether every place that says `words` is dim."""
    starts = [m.start() for m in re.finditer(re.escape(words), page.plain)]
    assert starts
    return all(
        any(
            span.start <= at < span.end and "dim" in str(span.style).replace("not dim", "")
            for span in page.spans
        )
        for at in starts
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_what_is_the_same_can_be_dimmed(width: int) -> None:
    plain = reader.page("classifier", "loss_and_grads", width=width)
    dim = reader.page("classifier", "loss_and_grads", width=width, dim_same=True)
    assert dim.plain == plain.plain
    assert dimmed(dim, "def loss_and_grads(")
    assert not dimmed(plain, "def loss_and_grads(")
    assert not dimmed(dim, "@jax.jit")
    assert not dimmed(dim, "value.backward()")


@pytest.mark.parametrize("width", [60, 130])
def test_what_is_looked_up_can_be_left_out(width: int) -> None:
    text = reader.page("optimizers", None, width=width, code_only=True).plain
    full = reader.page("optimizers", None, width=width).plain
    for docstring in ("Args:", "roughly", "Source:", "algorithm"):
        assert docstring in full
        assert docstring not in text
    # the module's own, the formula, the framework's own words, comments and code stay
    for code in (
        "PyTorch:", "p <- p - rate g", "copies", "# update", "def adam_step", '"""'
    ):  # fmt: skip
        assert text.count(code) == full.count(code) > 0


def test_the_page_of_a_concept_says_how_much_is_the_same() -> None:
    text = reader.page("gradients", None, width=200).plain
    (total,) = re.findall(
        r"\nthe same in all three: (\d+) of the (\d+) lines inside of functi", text
    )
    # what `a = x + 2` is to the left of, and no signature or docstring
    modules = tuple(map(parse.bodies, parse.load("gradients")))
    lines = [[c.text for b in m.blocks for c in b.cells if c.text.strip()] for m in modules]
    assert all("    a = x + 2" in column for column in lines[:2])
    for column in lines:
        assert not any(re.search(r'def |"""|@|Source|import|^if', line) for line in column)
    same, full = map(int, total)
    assert max(map(len, lines)) < full < sum(map(len, lines))
    assert 0 < same < full / 2
    assert "the same in all three:" not in reader.page("gradients", "cube", width=200).plain


def test_wrong_names_get_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean gradients"):
        reader.read("gradient", console=console())
    with pytest.raises(ValueError, match="did you mean product_edges"):
        reader.read("gradients", "product_edge", console=console())


def test_what_differs_by_nature_is_said_with_its_reason() -> None:
    page = reader.page("execution", "compiled_loop", width=200).plain
    assert re.search(r"── compiled_loop ─+ in PyTorch and JAX only ──\nNumPy has no compiler", page)
    assert "has none" in page


def test_a_missing_helper_is_said() -> None:
    page = reader.page("classifier", "fit", width=200).plain
    assert re.search(r"── SimpleNet ─+ in PyTorch only ──", page)
    assert "has none" in page


@pytest.mark.parametrize("width", [2, 8, 30, 31])
def test_wrapping_keeps_every_character(width: int) -> None:
    for line in (
        '        weight = params["weight"].detach().clone().requires_grad_()',
        '    """A docstring line with short words and " a lone quote that does not close."""',
        "x" * 100,
        " " * 50 + "x = 1",
        "",
    ):
        pieces = [piece.plain for piece in reader._wrap(Text(line), width)]
        assert packed("".join(pieces)) == packed(line)
        assert all(len(piece) <= width for piece in pieces)


def test_wrapping_breaks_where_a_reader_would() -> None:
    pieces = reader._wrap(Text('w = params["weight"].detach().clone()'), 33)
    assert [p.plain for p in pieces] == ['w = params["weight"].detach()', "  .clone()"]
    pieces = reader._wrap(Text(') -> tuple[Params, Float[Array, " steps"]]:'), 34)
    assert [p.plain for p in pieces] == [") -> tuple[Params, Float[Array,", '  " steps"]]:']


# The pager and the pipe


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_whole_concept_is_paged_at_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(reader._Pager, "show", lambda self, content: shown.append(content))
    terminal = Console(
        file=Terminal(), width=120, force_terminal=True, _environ={"TERM": "xterm-256color"}
    )
    reader.read("gradients", "cube", console=terminal)
    assert not shown
    reader.read("gradients", console=terminal)
    assert "\x1b[" in shown[0]
    assert "def chain_edges" in Text.from_ansi(shown[0]).plain
    reader.read("gradients", console=console(120, force_terminal=True))
    assert len(shown) == 1


def test_less_is_told_to_keep_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr("pydoc.pager", lambda content: seen.append(os.environ["LESS"]))
    monkeypatch.delenv("LESS", raising=False)
    reader._Pager().show("text")
    assert "LESS" not in os.environ
    monkeypatch.setenv("LESS", "-S")
    reader._Pager().show("text")
    assert seen == ["-FRX", "-S"]


def run(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_broken_pipe_ends_quietly() -> None:
    process = run(
        "from rich.console import Console; from triptych.source import reader;"
        "reader.read('classifier', console=Console())"
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()  # nobody reads
    errors = process.stderr.read()
    process.stderr.close()
    process.wait()
    assert errors == b""


def test_importing_the_reader_imports_no_framework_and_no_highlighter() -> None:
    process = run(
        "import sys, triptych.source.reader;"
        "print([m for m in ('numpy', 'torch', 'jax', 'jaxtyping', 'pygments') if m in sys.modules])"
    )
    text, errors = process.communicate()
    assert (text, errors) == (b"[]\n", b"")
