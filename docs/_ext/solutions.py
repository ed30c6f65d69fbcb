"""The exercises: the files of exercises/, each with its hint and its solution, folded.

A solution is typed nowhere twice. It is the body of the column's function that the file is graded
against, or, where the column has it otherwise, the lines of exercises.toml.
"""

import ast
import difflib
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from triptych.names import COLUMNS
from triptych.source import parse

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).absolute().parents[2]
FOLDER = "exercises"
OTHERWISE = ROOT / "docs" / "exercises.toml"


class Exercise(NamedTuple):
    """One file of exercises/."""

    name: str
    title: str
    text: tuple[str, ...]
    """What there is to know, in paragraphs."""
    hint: str
    source: str
    column: str
    """Of the function that it is graded against."""
    concept: str
    function: str

    @property
    def solved(self) -> str:
        """The file, solved."""
        if self.name in otherwise():
            old, new = (otherwise()[self.name][which].lstrip("\n") for which in ("old", "new"))
            if self.source.count(old) != 1:
                raise ValueError(f"exercises.toml: {self.name}: old stands not once in the file")
            return self.source.replace(old, new)
        column = next(
            d for d in parse.load_column(self.column, self.concept).definitions
            if d.name == self.function
        )  # fmt: skip
        start, stop = _body(self.source, self.function)
        lines = self.source.splitlines()
        first, last = _body(column.source, self.function)
        lines[start:stop] = column.source.splitlines()[first:last]
        return "\n".join(lines) + "\n"

    @property
    def changed(self) -> str:
        """The solved function, and nothing else."""
        lines = self.solved.splitlines()
        found = [n for n in ast.parse(self.solved).body if isinstance(n, ast.FunctionDef)]
        differs = _differing(self.source, self.solved)
        return "\n\n\n".join(
            "\n".join(lines[_top(n) - 1 : n.end_lineno])
            for n in found
            if differs & {*range(_top(n), (n.end_lineno or 0) + 1)}
        )


@cache
def exercises() -> tuple[Exercise, ...]:
    """All of them, in the order of their concepts."""
    found = [read(path) for path in sorted((ROOT / FOLDER).glob("*.py"))]
    order = parse.concepts()
    return tuple(sorted(found, key=lambda e: (order.index(e.concept), e.name)))


def read(path: Path) -> Exercise:
    """One file; what it is graded against is read off its call of `grade`."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    title, _, rest = (ast.get_docstring(tree) or "").partition("\n\n")
    text, _, hint = rest.partition("\n\nHint: ")
    (call,) = (n for n in ast.walk(tree) if isinstance(n, ast.Call) and _named(n.func, "grade"))
    against = call.args[1]
    assert isinstance(against, ast.Attribute)
    concept = ast.unparse(against.value)
    column = next(
        n.module or "" for n in ast.walk(tree)
        if isinstance(n, ast.ImportFrom) and n.module in COLUMNS
        and concept in (a.name for a in n.names)
    )  # fmt: skip
    said = tuple(text.split("\n\n"))
    title = title.removesuffix(".")
    return Exercise(path.stem, title, said, hint, source, column, concept, against.attr)


@cache
def otherwise() -> dict[str, dict[str, str]]:
    """The solutions that no column has."""
    return tomllib.loads(OTHERWISE.read_text(encoding="utf-8"))


def of(concept: str) -> list[Exercise]:
    """Those that a concept's page leads to."""
    return [e for e in exercises() if e.concept == concept]


def _named(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _top(node: ast.FunctionDef) -> int:
    return min([node.lineno, *(d.lineno for d in node.decorator_list)])


def _body(source: str, function: str) -> tuple[int, int]:
    """From which line to which a function's body goes, below its docstring."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            described = node.body[0].end_lineno if ast.get_docstring(node) else None
            return described or node.body[0].lineno - 1, node.end_lineno or 0
    raise ValueError(f"there is no function {function}")


def _differing(old: str, new: str) -> set[int]:
    """The lines of the new text whose code the old one does not have; comments do not count."""
    codes = [[line.partition("# ")[0].rstrip() for line in t.splitlines()] for t in (old, new)]
    found = difflib.SequenceMatcher(None, codes[0], codes[1], autojunk=False).get_opcodes()
    changed = {n for tag, _, _, i, j in found if tag != "equal" for n in range(i, j)}
    return {n + 1 for n in changed if codes[1][n]}


# The page


def setup(app: "Sphinx") -> dict[str, Any]:
    """Register the directive `exercises`, which shows all of them."""
    from docutils import nodes
    from sphinx.util.docutils import SphinxDirective
    from words import word

    class Exercises(SphinxDirective):
        """`{exercises}`: each file, its hint, its solution."""

        def run(self) -> list[nodes.Node]:
            self.env.note_dependency(OTHERWISE)
            made: list[nodes.Node] = []
            for exercise in exercises():
                self.env.note_dependency(ROOT / FOLDER / f"{exercise.name}.py")
                path = parse.directory(exercise.column) / f"{exercise.concept}.py"
                self.env.note_dependency(path)
                section = nodes.section(ids=[exercise.name], names=[exercise.name])
                title = word(exercise.title)
                section += nodes.title(title, title, translatable=False)
                section += _shown(exercise)
                made.append(section)
            return made

    app.add_directive("exercises", Exercises)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _shown(exercise: Exercise) -> Iterator[Any]:
    import columns
    import mistakes
    from docutils import nodes
    from words import word

    file = f"{FOLDER}/{exercise.name}.py"
    how = word("Edit <code>{file}</code>, then run <code>python {file}</code>.", file=file)
    page = f'<a href="concepts/{exercise.concept}.html">{exercise.concept}</a>'
    text = "".join(f"<p>{mistakes.text(word(paragraph))}</p>" for paragraph in exercise.text)
    yield columns.raw(f"{text}<p>{how} {word('The concept:')} {page}</p>")
    start = exercise.source.index("\n\n", exercise.source.index('"""', 3)) + 2
    end = exercise.source.index("\n\n\nif __name__")
    code = exercise.source[start:end]
    yield nodes.literal_block(code, code, language="python")
    hint = mistakes.text(word(exercise.hint))
    yield columns.raw(columns.fold(word("Hint"), f"<p>{hint}</p>"))
    summary = f"<summary>{word('Solution')}</summary>"
    yield columns.raw(f'<details class="tp-fold">{summary}')
    if exercise.name not in otherwise():
        place = f"{exercise.column}.{exercise.concept}.{exercise.function}"
        lines = word("These are the lines of <code>{place}</code>.", place=place)
        yield columns.raw(f"<p>{lines}</p>")
    block = nodes.literal_block(exercise.changed, exercise.changed, language="python")
    block["highlight_args"] = {"hl_lines": sorted(_differing(code, exercise.changed))}
    yield block
    yield columns.raw("</details>")
