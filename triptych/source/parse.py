"""The sources of the three columns, taken apart and lined up.

Nothing is imported and nothing runs: the files are read as text and parsed by `ast`. What comes
out says where each piece stands and what it says, not how to show it; the terminal reader, the
parity tests and a web page work from the same pieces.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from triptych.names import BOUNDARY, COLUMNS, CONCEPTS, UnknownNameError
from triptych.source.align import Cell, Row, align

DOCSTRING, IMPORTS, FUNCTION, CLASS, STATEMENTS, MAIN = (
    "docstring",
    "imports",
    "function",
    "class",
    "statements",
    "main",
)


class Import(NamedTuple):
    """One imported module, wherever in the file it is imported."""

    module: str
    """As written: "jax.numpy"; the column's own package for a relative import."""
    names: tuple[str, ...]
    """What is taken from it; empty for `import module`."""
    line: int


class Alias(NamedTuple):
    """A public type alias of the module, `Params = dict[str, Array]`."""

    name: str
    value: str
    line: int


class Parameter(NamedTuple):
    """One parameter of a function; annotation and default as `ast.unparse` writes them."""

    name: str
    kind: str
    """As `inspect` says it: "positional or keyword", "keyword-only", ..."""
    annotation: str
    default: str | None


class Definition(NamedTuple):
    """A function or a class at the top level of a module."""

    kind: str
    """FUNCTION or CLASS."""
    name: str
    parameters: tuple[Parameter, ...]
    returns: str
    signature: str
    """On one line, without `def`: "linear(x: ..., bias: ...) -> ..."."""
    decorators: tuple[str, ...]
    """From the outermost to the innermost."""
    docstring: str
    uses: tuple[str, ...]
    """The definitions of the same module that it names."""
    start: int
    """Its first line, decorators and the comment right above included."""
    stop: int
    """Its last line."""
    source: str

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return self.docstring.partition("\n")[0]

    @property
    def public(self) -> bool:
        """Whether the name is meant for the caller."""
        return not self.name.startswith("_")


class Block(NamedTuple):
    """A stretch of a file that belongs together; the blocks of a file hold all of its text."""

    kind: str
    """DOCSTRING, IMPORTS (with the constants below them), FUNCTION, CLASS, STATEMENTS or MAIN."""
    name: str
    """Of the definition; for STATEMENTS of the one above."""
    cells: tuple[Cell, ...]


class Module(NamedTuple):
    """One source file."""

    column: str
    concept: str
    path: str
    """Relative to the package's parent, with forward slashes: "jax_impl/gradients.py"."""
    lines: tuple[str, ...]
    docstring: str
    imports: tuple[Import, ...]
    aliases: tuple[Alias, ...]
    definitions: tuple[Definition, ...]
    blocks: tuple[Block, ...]

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return self.docstring.partition("\n")[0]

    @property
    def note(self) -> str:
        """The second paragraph of the docstring: what this framework does differently here."""
        paragraphs = self.docstring.split("\n\n")
        return paragraphs[1] if len(paragraphs) > 1 else ""

    @property
    def main(self) -> str:
        """What stands under `if __name__ == "__main__":`, that line included; "" if nothing."""
        cells = (cell for block in self.blocks if block.kind == MAIN for cell in block.cells)
        return "\n".join(cell.text for cell in cells)

    @property
    def functions(self) -> tuple[Definition, ...]:
        """The public functions, in order."""
        return tuple(d for d in self.definitions if d.kind == FUNCTION and d.public)

    @property
    def helpers(self) -> tuple[Definition, ...]:
        """The private functions and every class, in order."""
        return tuple(d for d in self.definitions if d.kind == CLASS or not d.public)


class Section(NamedTuple):
    """The same block of each column, None where a column has none."""

    kind: str
    name: str
    blocks: tuple[Block | None, ...]

    def rows(self) -> tuple[Row, ...]:
        """The blocks, lined up."""
        return align(*(() if block is None else block.cells for block in self.blocks))


# Where the files are


def directory(column: str) -> Path:
    """The folder of a column: beside this package, in a clone and in an installed wheel."""
    return Path(__file__).resolve().parents[2] / column


def concepts() -> tuple[str, ...]:
    """The concepts that at least one column has, in reading order; unlisted ones last."""
    found = {path.stem for column in COLUMNS for path in directory(column).glob("*.py")}
    found.discard(BOUNDARY)
    return (*(c for c in CONCEPTS if c in found), *sorted(found.difference(CONCEPTS)))


def load(concept: str) -> tuple[Module, ...]:
    """The three sources of a concept or of the boundary, in the order of COLUMNS.

    Raises:
        UnknownNameError: no column has such a concept.
        FileNotFoundError: some columns have it and some do not.
    """
    names = (*concepts(), BOUNDARY)
    if concept not in names:
        raise UnknownNameError("concept", concept, names)
    return tuple(load_column(column, concept) for column in COLUMNS)


def load_column(column: str, concept: str) -> Module:
    """The source of a concept in one column."""
    path = directory(column) / f"{concept}.py"
    if not path.is_file():
        raise FileNotFoundError(f"the concept {concept} has no file {column}/{concept}.py")
    return parse(path.read_text(encoding="utf-8"), column, concept)


# Taking one file apart


@cache
def parse(text: str, column: str, concept: str) -> Module:
    """Take the text of a source file apart, once.

    Args:
        text: the whole file.
        column: the package that it belongs to.
        concept: its name without ".py".
    """
    path = f"{column}/{concept}.py"
    tree = ast.parse(text, filename=path)
    lines = tuple(text.splitlines())
    local = {node.name for node in tree.body if isinstance(node, _DEFINITIONS)}
    starts = _starts(tree, lines)
    return Module(
        column=column,
        concept=concept,
        path=path,
        lines=lines,
        docstring=ast.get_docstring(tree) or "",
        imports=tuple(_imports(tree, column)),
        aliases=tuple(_aliases(tree)),
        definitions=tuple(
            _definition(node, start, lines, local)
            for node, start in zip(tree.body, starts, strict=True)
            if isinstance(node, _DEFINITIONS)
        ),
        blocks=tuple(_blocks(tree, starts, lines)),
    )


def briefly(module: Module) -> Module:
    """The same file, its functions and classes without what is looked up: `own_words` are left."""
    left_out = set(_looked_up("\n".join(module.lines)))
    blocks = (
        block._replace(cells=tuple(cell for cell in block.cells if cell.line not in left_out))
        for block in module.blocks
    )
    return module._replace(blocks=tuple(blocks))


def bodies(module: Module) -> Module:
    """The same file, but of each block only what its functions do: no signatures, no docstrings."""
    kept: set[int] = set()
    for node in ast.walk(ast.parse("\n".join(module.lines))):
        if isinstance(node, ast.FunctionDef):
            described = ast.get_docstring(node) is not None
            first = _last(node.body[0]) if described else node.body[0].lineno - 1
            kept.update(range(first + 1, _last(node) + 1))
            kept.difference_update(range(node.lineno, first + 1))
    blocks = (
        block._replace(cells=tuple(cell for cell in block.cells if cell.line in kept))
        for block in module.blocks
    )
    return module._replace(blocks=tuple(blocks))


def own_words(docstring: str) -> tuple[str, ...]:
    """Its paragraphs in words: the formula, then what the framework does of its own.

    Without Args, Returns, Raises and the source.
    """
    return tuple(text for text in docstring.split("\n\n") if not _LOOKED_UP.match(text))


_LOOKED_UP = re.compile(r"\s*(Args|Returns|Raises|Source)\b")


def _looked_up(text: str) -> Iterator[int]:
    """The lines of the paragraphs that `own_words` leaves out, and the blank one above each."""
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, _DEFINITIONS) and ast.get_docstring(node) is not None:
            leaving = False
            for number in range(node.body[0].lineno + 1, _last(node.body[0])):
                if not lines[number - 1].strip():
                    leaving = _LOOKED_UP.match(lines[number]) is not None
                if leaving:
                    yield number


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _last(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno


def _starts(tree: ast.Module, lines: Sequence[str]) -> list[int]:
    """The first line of each statement, together with the comments above it."""
    starts = []
    previous = 0
    for node in tree.body:
        start = previous + 1
        while start < node.lineno and not lines[start - 1].strip():
            start += 1
        starts.append(start)
        previous = _last(node)
    return starts


def _imports(tree: ast.Module, column: str) -> Iterator[Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, (), node.lineno)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            module = f"{column}.{module}".rstrip(".") if node.level else module
            yield Import(module, tuple(alias.name for alias in node.names), node.lineno)


def _aliases(tree: ast.Module) -> Iterator[Alias]:
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        if isinstance(target, ast.Name) and re.match("[A-Z][a-z]", target.id):
            yield Alias(target.id, ast.unparse(node.value), node.lineno)


def _definition(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef,
    start: int,
    lines: Sequence[str],
    local: set[str],
) -> Definition:
    parameters: tuple[Parameter, ...] = ()
    returns = ""
    if isinstance(node, ast.ClassDef):
        signature = f"{node.name}({', '.join(map(ast.unparse, node.bases))})"
    else:
        parameters = tuple(_parameters(node.args))
        returns = ast.unparse(node.returns) if node.returns else ""
        signature = f"{node.name}({ast.unparse(node.args)})" + (f" -> {returns}" if returns else "")
    named = (n.id for n in ast.walk(node) if isinstance(n, ast.Name))
    return Definition(
        kind=CLASS if isinstance(node, ast.ClassDef) else FUNCTION,
        name=node.name,
        parameters=parameters,
        returns=returns,
        signature=signature,
        decorators=tuple(ast.unparse(decorator) for decorator in node.decorator_list),
        docstring=ast.get_docstring(node) or "",
        uses=tuple(dict.fromkeys(n for n in named if n in local and n != node.name)),
        start=start,
        stop=_last(node),
        source="\n".join(lines[start - 1 : _last(node)]),
    )


def _parameters(arguments: ast.arguments) -> Iterator[Parameter]:
    def parameter(a: ast.arg, kind: str, default: ast.expr | None = None) -> Parameter:
        annotation = ast.unparse(a.annotation) if a.annotation else ""
        return Parameter(a.arg, kind, annotation, ast.unparse(default) if default else None)

    positional = [(a, "positional-only") for a in arguments.posonlyargs]
    positional += [(a, "positional or keyword") for a in arguments.args]
    missing = [None] * (len(positional) - len(arguments.defaults))
    for (a, kind), default in zip(positional, [*missing, *arguments.defaults], strict=True):
        yield parameter(a, kind, default)
    if arguments.vararg:
        yield parameter(arguments.vararg, "variadic positional")
    for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield parameter(a, "keyword-only", default)
    if arguments.kwarg:
        yield parameter(arguments.kwarg, "variadic keyword")


def _blocks(tree: ast.Module, starts: Sequence[int], lines: Sequence[str]) -> Iterator[Block]:
    pieces: list[tuple[str, str, int, int]] = []
    for index, (node, start) in enumerate(zip(tree.body, starts, strict=True)):
        kind, name = STATEMENTS, ""
        if isinstance(node, _DEFINITIONS):
            kind = CLASS if isinstance(node, ast.ClassDef) else FUNCTION
            name = node.name
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'":
            kind = MAIN
        elif index == 0 and ast.get_docstring(tree) is not None:
            kind = DOCSTRING
        elif not pieces or pieces[-1][0] in (DOCSTRING, IMPORTS):
            kind = IMPORTS
        else:
            name = pieces[-1][1]
        if pieces and pieces[-1][:2] == (kind, name) and kind in (IMPORTS, STATEMENTS):
            start = pieces.pop()[2]
        pieces.append((kind, name, start, _last(node)))
    if pieces:  # comments after the last statement
        kind, name, start, _ = pieces.pop()
        pieces.append((kind, name, start, len(lines)))
    for kind, name, start, stop in pieces:
        cells = tuple(Cell(n, lines[n - 1]) for n in range(start, stop + 1))
        yield Block(kind, name, cells)


# Side by side


def sections(modules: Sequence[Module]) -> tuple[Section, ...]:
    """The blocks of the same name beside each other, in the order of the files.

    Without the MAIN blocks: they run a file, and say nothing about the column.
    """
    order: list[tuple[str, str]] = []
    found = [
        {(block.kind, block.name): block for block in module.blocks if block.kind != MAIN}
        for module in modules
    ]
    for blocks in found:
        at = 0
        for key in blocks:
            if key in order:
                at = order.index(key) + 1
            else:
                order.insert(at, key)
                at += 1
    return tuple(
        Section(kind, name, tuple(blocks.get((kind, name)) for blocks in found))
        for kind, name in order
    )


def find(modules: Sequence[Module], function: str) -> tuple[Section, ...]:
    """The section of one function or class, followed by those of the private helpers it uses.

    Raises:
        UnknownNameError: no column has it; the message names the nearest ones.
    """
    public = _names(d for module in modules for d in module.functions)
    known = (*public, *_names(d for module in modules for d in module.helpers))
    if function not in known:
        concept = modules[0].concept
        raise UnknownNameError(f"function in {concept}", function, known)
    wanted = [function]
    for name in wanted:  # grows while it is walked
        for module in modules:
            for d in module.definitions:
                if d.name == name:
                    wanted += [u for u in d.uses if u not in public and u not in wanted]
    found = {s.name: s for s in sections(modules) if s.kind in (FUNCTION, CLASS)}
    return tuple(found[name] for name in dict.fromkeys(wanted))


def _names(definitions: Iterable[Definition]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(d.name for d in definitions))
