"""A notebook for each concept and column, and one with all three, made from the columns' sources.

The cells are the source's own text, a function each, so that whoever edits one sees what becomes of
the values below it: those that the tutorials print, and how far the columns are apart. The
tests run the cells.
"""

import ast
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from triptych.claims import book
from triptych.claims.book import ABSENT, Claim
from triptych.claims.program import AbsentError, ForColumn, statements
from triptych.data import DOCUMENTS
from triptych.names import COLUMNS, DISPLAY_NAMES, FRAMEWORKS
from triptych.source import parse
from triptych.source.parse import Module, Section

if TYPE_CHECKING:
    from sphinx.application import Sphinx

FOLDER = "notebooks"
JAX, PYTORCH = "jax_impl", book.PYTORCH
WIDTH = 100
IN_SHORT = {"printed": "printed there", "stated": "said there", "derived": "derived by us"}

INSTALL = """\
The notebook needs triptych. From a clone of it, in an environment of its own:

```sh
python -m pip install -c constraints.txt -e . jupyterlab
python -m jupyterlab
```

Edit any cell, run it and the cells below it, and see what changes."""
ONE = """\
`expect` prints a value, and raises an error unless it is the text that stands behind it: what the
tutorial has, or what is true where the tutorial is wrong. `see` prints a value that no tutorial
has; the text behind it says with how many digits."""
THREE = """\
The functions of the three columns have the same names, so each column has a namespace of its own. A
cell that begins with `%%columns` runs in all three, one that begins with `%%columns torch_impl` in
PyTorch's. In any other cell `torch_impl.fit` is the function `fit` of that column, as it stands
in this notebook."""


def setup(app: "Sphinx") -> dict[str, Any]:
    """Write the notebooks when the pages are written."""
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write(app: "Sphinx", exception: Exception | None) -> None:
    """Write every notebook into the site."""
    if exception is not None or app.builder.format != "html":
        return
    import nbformat

    folder = Path(app.outdir) / FOLDER
    folder.mkdir(exist_ok=True)
    for concept in parse.concepts():
        modules = parse.load(concept)
        for chosen in (modules, *((module,) for module in modules)):
            made = notebook(cells(chosen))
            nbformat.write(made, folder / name(concept, [m.column for m in chosen]))


def name(concept: str, columns: Sequence[str]) -> str:
    """The file of a notebook: "gradients.ipynb" for all three, "gradients-jax.ipynb"."""
    return f"{'-'.join([concept, *(FRAMEWORKS[c] for c in columns if len(columns) == 1)])}.ipynb"


class Cell(NamedTuple):
    """One cell of a notebook."""

    kind: str
    """"markdown" or "code"."""
    text: str


def notebook(cells: Iterable[Cell]) -> Any:
    """The notebook of these cells, without outputs."""
    import nbformat

    made = nbformat.v4.new_notebook(
        metadata={
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for number, cell in enumerate(cells):
        new = getattr(nbformat.v4, f"new_{cell.kind}_cell")
        # nbformat draws ids at random; these are the same in every build
        made.cells.append(new(cell.text, id=f"cell-{number}"))
    nbformat.validate(made)
    return made


def cells(modules: Sequence[Module]) -> list[Cell]:
    """The cells of a notebook.

    Args:
        modules: one source of a concept, or all three, from `parse.load`.
    """
    return [*_Notebook(modules).cells()]


class _Notebook:
    def __init__(self, modules: Sequence[Module]) -> None:
        self.modules = modules
        self.columns = [module.column for module in modules]
        self.concept = modules[0].concept
        self.entries = [e for e in book.entries() if e.concept == self.concept]
        self.several = len(modules) > 1

    def cells(self) -> Iterator[Cell]:
        yield Cell("markdown", self.top())
        if self.several:
            yield Cell("markdown", THREE)
            yield Cell("code", "%load_ext triptych.notebook")
        if JAX in self.columns:
            comment = "# the tutorials' numbers are of float64, which JAX would cut to float32"
            setting = 'jax.config.update("jax_enable_x64", True)'
            yield Cell("code", f"{comment}\nimport jax\n\n{setting}")
        for section in parse.sections(self.modules):
            yield from self.section(section)
        if self.entries:
            yield from self.values()
        yield from self.agreement()

    def top(self) -> str:
        """The title, what has to be installed, what the sources say at their top."""
        names = ", ".join(DISPLAY_NAMES[column] for column in self.columns)
        first, *rest = self.modules[0].docstring.split("\n\n")
        title, colon, subject = first.partition(": ")
        title = f"# {title}: {names}"
        shared = [p for p in rest if all(p in m.docstring.split("\n\n") for m in self.modules)]
        notes = [m.note for m in self.modules]
        said = [subject[:1].upper() + subject[1:]] if colon else []
        if self.several:
            said += ["\n".join(f"- {' '.join(note.split())}" for note in notes), *shared]
        else:
            said += rest
        return "\n\n".join([title, INSTALL, *map(_marked, said)])

    def section(self, section: Section) -> Iterator[Cell]:
        """A function, a class, imports or constants: the source's lines as they are."""
        if section.kind == parse.DOCSTRING:
            return
        if section.kind == parse.IMPORTS:
            yield Cell("markdown", "## The functions")
        for column, block in zip(self.columns, section.blocks, strict=True):
            if block is not None:
                text = "\n".join(cell.text for cell in block.cells).strip("\n")
                yield Cell("code", self.inside(text, [column]))

    def inside(self, text: str, columns: Sequence[str]) -> str:
        """A cell that runs in these columns."""
        if not self.several:
            return text
        named = "" if list(columns) == self.columns else " " + " ".join(columns)
        return f"%%columns{named}\n{text}"

    # What the tutorials print

    def values(self) -> Iterator[Cell]:
        named = dict.fromkeys(entry.document for entry in self.entries if entry.document)
        listed = "\n".join(f"- {key}: *{DOCUMENTS[key]}*" for key in sorted(named))
        yield Cell("markdown", f"## What the tutorials print\n\n{ONE}\n\n{listed}".rstrip())
        others = dict.fromkeys(
            used
            for entry in self.entries
            for call in (entry.call, *entry.names.values())
            for used in re.findall(r"\b(\w+)\.", call)
            if used in book.in_columns() and used != self.concept
        )
        lines = {}
        for column in self.columns:
            lines[column] = "\n".join(
                [
                    "import numpy as np",
                    "",
                    f"from {column} import {', '.join(['from_numpy', *others])}",
                    "from triptych import data",
                    "from triptych.notebook import expect, prints, raises, see",
                    *self.path(),
                ]
            )
        yield from self.alike(lines)
        done: dict[str, dict[str, str]] = {column: {} for column in self.columns}
        for _, found in groupby(self.entries, key=_together):
            group = list(found)
            yield Cell("markdown", _told(group))
            yield from self.alike({c: _code(c, group, done[c]) for c in self.columns})

    def path(self) -> list[str]:
        used = any(re.search(r"\bpath\b", e.call) for e in self.entries)
        return ["", 'path = "parameters.safetensors"'] if used else []

    def alike(self, lines: Mapping[str, str]) -> Iterator[Cell]:
        """One cell for columns with the same text."""
        for text in dict.fromkeys(filter(None, lines.values())):
            yield Cell("code", self.inside(text, [c for c in lines if lines[c] == text]))

    # How far the columns are apart

    def agreement(self) -> Iterator[Cell]:
        text = "## Do the columns agree?\n\n"
        calls = [*_direct(self.entries)] if self.several else []
        if calls:
            text += (
                "`assert_agree` hands the same arguments to the three functions, compares what "
                "they return, and raises an error where more than rounding parts them. It returns "
                "how far they are apart, in machine epsilons."
            )
            yield Cell("markdown", text)
            yield Cell("code", _imports(calls))
            yield from (Cell("code", call) for call in calls)
            text = ""
        text += (
            "`agree` measures what `triptych compare` measures of this concept, in both "
            "precisions: how far each two columns are apart, and how far they may be."
        )
        yield Cell("markdown", text)
        given = ", ".join(f"{c}={c if self.several else 'globals()'}" for c in self.columns)
        call = f'agree("{self.concept}", {given})'
        yield Cell("code", f"from triptych.notebook import agree\n\n{call}")


def _together(entry: Claim) -> tuple[str, ...]:
    """What entries have in common that stand in one cell."""
    return (entry.section, entry.source, *entry.path[:1], entry.dtype, entry.code)


def _told(group: Sequence[Claim]) -> str:
    """What a cell is about, and where the tutorial errs or a column differs."""
    first = group[0]
    about = first.path[0] if first.path else first.section
    origins = dict.fromkeys(IN_SHORT[entry.origin] for entry in group if entry.judged)
    place = ", ".join([first.source, *origins])
    head = f"**{_marked(about)}**" + (f" ({place})" if first.document else "")
    wrong = [
        f"- {_marked(_what(entry))}: the tutorial has `{entry.printed}`, true is `{entry.true}`"
        for entry in group
        if entry.erratum
    ]
    away = [
        f"- {_marked(_what(entry))}: the answer depends on the machine, and `triptych run` shows it"
        for entry in group
        if entry.without_gpu
    ]
    reasons = dict.fromkeys(_marked(entry.explanation) for entry in group if entry.explanation)
    return "\n\n".join(filter(None, [head, "\n".join([*wrong, *away]), *reasons]))


def _marked(text: str) -> str:
    """A text as Markdown: outside of code a star is a star."""
    parts = text.split("`")
    parts[::2] = (part.replace("*", r"\*") for part in parts[::2])
    return "`".join(parts)


def _what(entry: Claim) -> str:
    """What an entry is, below the heading of its cell."""
    return "; ".join([*entry.path[1:], entry.what])


def _code(column: str, group: Sequence[Claim], done: dict[str, str]) -> str:
    """A cell that computes the entries of a group in one column; "" if it has none of them.

    Args:
        column: which.
        group: the entries.
        done: the names that cells above have defined, with their code; this cell's are added.
    """
    group = [e for e in group if e.without_gpu is None and _has(column, e)]
    if not group:
        return ""
    if group[0].code:
        done.clear()  # a tutorial's program has names of its own
        lines = _program(group, column)
    else:
        lines = _calls(column, group, done)
    text = "\n".join(lines)
    if column == JAX and group[0].dtype == "float32":
        text = f"import jax\n\nwith jax.enable_x64(False):\n{textwrap.indent(text, '    ')}"
    return text


def _calls(column: str, group: Sequence[Claim], done: dict[str, str]) -> Iterator[str]:
    shared = [entry.call for entry in group if not _error(entry, column)]
    found = ""
    for entry in group:
        for name, definition in entry.names.items():
            code = _here(entry, column, definition)
            known = f"{entry.dtype} {code}"  # the same code may stand on another dtype's data
            if done.get(name) != known:
                done[name] = known
                yield from _wrapped(f"{name} = ", code)
        call = _here(entry, column, entry.call)
        at = "".join(f"[{step!r}]" for step in statements(entry.at))
        if error := _error(entry, column):
            yield f"with raises({_what(entry)!r}, {error!r}):"
            yield f"    {call}{at}"
            continue
        if shared.count(entry.call) > 1 and found != call:
            yield from _wrapped("found = ", call)
            found = call
        yield from _shown(entry, column, f"{'found' if found == call else call}{at}")


def _has(column: str, entry: Claim) -> bool:
    """Whether the column has what the entry is about."""
    try:
        if entry.call:
            _here(entry, column, entry.call)
    except AbsentError:
        return False
    return entry.own.get(column) != ABSENT


def _error(entry: Claim, column: str) -> str:
    """The error that is expected of a column."""
    text = _expected(entry, column)
    said = entry.judged or column in entry.own
    # PyTorch's compiler calls one of its errors Unsupported
    return text if said and re.fullmatch(r"\w+(Error|Exception)|Unsupported", text) else ""


def _expected(entry: Claim, column: str) -> str:
    return entry.own.get(column, entry.printed if entry.true is None else entry.true)


def _shown(entry: Claim, column: str, value: str) -> Iterator[str]:
    """The lines that show a value and hold it to its text."""
    held = entry.judged or column in entry.own
    text = _expected(entry, column)
    text = text if held else text.removeprefix("own").strip()
    more = [f"show={entry.show!r}"] if entry.show else []
    if not entry.judged and entry.printed == "own":
        value = f"lambda: {value}"  # it may be an error
    arguments = [repr(_what(entry)), value, *([repr(text)] if held or text else []), *more]
    name = "expect" if held else "see"
    line = f"{name}({', '.join(arguments)})"
    if len(line) <= WIDTH:
        yield line
        return
    yield f"{name}("
    yield from (f"    {argument}," for argument in arguments)
    yield ")"


def _wrapped(start: str, code: str) -> Iterator[str]:
    """An assignment; a long dict or call has its parts on lines of their own."""
    node = ast.parse(code, mode="eval").body
    if len(start + code) <= WIDTH or not isinstance(node, ast.Call | ast.Dict):
        yield f"{start}{code}"
        return
    if isinstance(node, ast.Dict):
        opened, closed = "{", "}"
        parts = [
            f"**{ast.unparse(v)}" if k is None else f"{ast.unparse(k)}: {ast.unparse(v)}"
            for k, v in zip(node.keys, node.values, strict=True)
        ]
    else:
        opened, closed = f"{ast.unparse(node.func)}(", ")"
        parts = [ast.unparse(argument) for argument in (*node.args, *node.keywords)]
    yield f"{start}{opened}"
    yield from (f"    {part}," for part in parts)
    yield closed


def _program(group: Sequence[Claim], column: str) -> Iterator[str]:
    """A tutorial's program, and what it prints."""
    for number, entry in enumerate(group):
        error = _error(entry, column)
        arguments = [repr(_expected(entry, column)), *([entry.at] if entry.at else [])]
        yield from [""] * bool(number)
        yield (
            f"with raises({_what(entry)!r}, {error!r}):"
            if error
            else (f"with prints({', '.join(arguments)}):")
        )
        yield textwrap.indent(entry.code, "    ")


def _here(entry: Claim, column: str, call: str) -> str:
    """A call for a column, by this notebook's functions: `fit` for `linear_regression.fit`.

    Raises:
        AbsentError: the column has no function of that name.
    """
    key = (entry.concept, column, entry.dtype, call)
    if key not in _texts:
        tree = ast.parse(ForColumn(entry, column).code(call), mode="eval")
        _texts[key] = ast.unparse(_Here(entry.concept).visit(tree))
    return _texts[key]


_texts: dict[tuple[str, ...], str] = {}
"""Four notebooks have the same calls."""


class _Here(ast.NodeTransformer):
    def __init__(self, concept: str) -> None:
        self.concept = concept

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        own = isinstance(node.value, ast.Name) and node.value.id == self.concept
        return ast.Name(node.attr, ast.Load()) if own else node


# Calls that `assert_agree` can take


def _direct(entries: Sequence[Claim]) -> Iterator[str]:
    """Of each function that a claim calls with data or numbers, such a call in three columns."""
    # what each framework answers in its own way: names of operations, draws of its generator
    seen = {_called(e) for e in entries if e.own or e.printed.startswith("own")}
    done: set[str] = set()
    for entry in entries:
        function = _called(entry)
        if not function or function in seen or entry.without_gpu or _error(entry, COLUMNS[0]):
            continue
        if not all(_has(column, entry) for column in COLUMNS):
            continue
        made = _agreeing(entry, done)
        if made:
            seen.add(function)
            yield made


def _called(entry: Claim) -> str:
    """The function of its concept that the call is of, if it returns arrays at once; else ""."""
    node = ast.parse(entry.call or "None", mode="eval").body
    function = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
    concept, _, name = function.partition(".")
    if concept != entry.concept:
        return ""
    found = [d for d in parse.load_column(COLUMNS[0], concept).definitions if d.name == name]
    return function if found and "Iterator" not in found[0].returns else ""


def _agreeing(entry: Claim, done: set[str]) -> str:
    """`assert_agree` of the call of an entry; "" if an argument is made by a column.

    Args:
        entry: whose.
        done: the names that cells above have defined; those of this cell are added.
    """
    transform = ForColumn(entry, COLUMNS[0])
    definitions = {name: transform.code(code) for name, code in entry.names.items()}
    node = ast.parse(transform.code(entry.call), mode="eval").body
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Attribute)
    bare = _Bare()
    arguments = [ast.unparse(bare.visit(argument)) for argument in node.args]
    keywords = {k.arg: ast.unparse(bare.visit(k.value)) for k in node.keywords}
    text = " ".join([*definitions.values(), *arguments, *keywords.values()])
    if None in keywords or re.search(r"\b(from_numpy|path)\b", text) or _columns_in(text):
        return ""
    parts = [*arguments]
    # where no gradient is to be compared, PyTorch records none, and the column may want to
    recording = {PYTORCH: "torch.enable_grad()({})"}
    for column in COLUMNS:
        function = recording.get(column, "{}").format(f"{column}.{node.func.attr}")
        parts.append(f"{FRAMEWORKS[column]}={function}")
    if keywords:
        parts.append(f"kwargs={{{', '.join(f'{k!r}: {v}' for k, v in keywords.items())}}}")
    parts.append("gradients=False")
    new = {f"{name} = ": code for name, code in definitions.items() if name not in done}
    done.update(definitions)
    lines = [line for start, code in new.items() for line in _wrapped(start, code)]
    return "\n".join([*lines, "assert_agree(", *(f"    {part}," for part in parts), ")"])


def _columns_in(text: str) -> bool:
    return any(re.search(rf"\b{concept}\.", text) for concept in book.in_columns())


class _Bare(ast.NodeTransformer):
    """NumPy arrays in the place of a column's: `x` for `from_numpy(x)`."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name):
            if node.func.id == "from_numpy":
                return node.args[0]
            if node.func.id == "map" and ast.unparse(node.args[0]) == "from_numpy":
                return node.args[1]
        return node


def _imports(calls: Sequence[str]) -> str:
    text = "\n".join(calls)
    numpy = "import numpy as np\n" if "np." in text else ""
    more = ", data" if "data." in text else ""
    return f"{numpy}import torch\n\nfrom triptych import assert_agree{more}"
