"""What the notebooks of the pages call: values beside the tutorials' texts, columns side by side.

`%load_ext triptych.notebook` adds the cell magic `%%columns`: the cell runs in each column's own
namespace, since the three have functions of the same names. `%%columns torch_impl` runs it in one.
`numpy_ref`, `torch_impl` and `jax_impl` are then these namespaces, with the functions as the
notebook's cells define them.
"""

import ast
import contextlib
import inspect
import io
import itertools
import linecache
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from triptych import trees
from triptych.agreement.exhibits import agreement
from triptych.claims.book import REDUCERS
from triptych.claims.verdicts import written
from triptych.column import Column
from triptych.names import COLUMNS, DISPLAY_NAMES, UnknownNameError
from triptych.port.values import to_numpy

Namespace = ModuleType | Mapping[str, Any]


def see(what: str, value: Any, like: str = "", *, show: str = "") -> None:
    """Print a value, with as many digits as another text.

    Args:
        what: what it is.
        value: a number, an array of any framework, several of them, or anything else; or a function
            without arguments that returns it, or raises an error, whose class is then printed.
        like: a text with the digits that are wanted.
        show: what of it, one of `triptych.claims.book.REDUCERS`: "shape", "dtype", ...
    """
    _seen(what, value, like, show)


def _seen(what: str, value: Any, like: str, show: str) -> str:
    if inspect.isfunction(value):
        try:
            value = value()
        except Exception as error:
            value = error
    value = list(value) if inspect.isgenerator(value) else value
    value = REDUCERS[show](value) if show else value
    found = written(trees.mapped(to_numpy, value), like)
    print(f"{what}: {found}")
    return found


def expect(what: str, value: Any, text: str, *, show: str = "") -> None:
    """Print a value as `see` does.

    Raises:
        AssertionError: it is not what the text says, to the text's last digit.
    """
    found = _seen(what, value, text, show)
    if found != text:
        raise AssertionError(f"{what}: {found}, where {text} is expected")


@contextlib.contextmanager
def raises(what: str, error: str) -> Iterator[None]:
    """Print the error that the statements below end with.

    Raises:
        AssertionError: it is none of that class.
    """
    try:
        yield
    except Exception as found:
        if type(found).__name__ != error:
            raise AssertionError(f"{what}: {found!r}, where {error} is expected") from found
        print(f"{what}: {error}: {str(found).strip().partition(chr(10))[0]}")
        return
    raise AssertionError(f"{what}: no error, where {error} is expected")


@contextlib.contextmanager
def prints(text: str, line: int | None = None) -> Iterator[None]:
    """Show what the statements below print.

    Raises:
        AssertionError: it is not the text, or the line of that number, from 0, is not.
    """
    with contextlib.redirect_stdout(io.StringIO()) as said:
        yield
    found = said.getvalue().rstrip("\n")
    print(found)
    if (found if line is None else found.split("\n")[line]) != text:
        raise AssertionError(f"it prints {found}, where {text} is expected")


def agree(concept: str, **edited: Namespace) -> None:
    """Measure how far the columns are apart in a concept, as `triptych compare` does.

    Args:
        concept: which.
        edited: namespaces with a column's functions, by the column: `numpy_ref=globals()`. The
            other columns are those of the package.

    Raises:
        AssertionError: two of them are further apart than their bound.
    """
    columns = {name: _Edited(name, concept, edited.get(name)) for name in COLUMNS}
    apart = []
    for row in agreement(concept=concept, columns=columns):
        pair = " and ".join(DISPLAY_NAMES[name] for name in row.pair.split("/"))
        text = f"{row.quantity}, {row.dtype}: {pair}"
        print(f"{text}: {row.distance:.3g} of {row.bound:.3g} {row.unit}")
        if not row.holds:
            apart.append(f"{text} are {row.distance:.3g} {row.unit} apart: {row.note}")
    if apart:
        raise AssertionError("\n".join(apart))


class _Edited(Column):
    """A column of which one concept is taken from a notebook."""

    def __init__(self, name: str, concept: str, namespace: Namespace | None) -> None:
        super().__init__(name)
        if namespace is not None:
            module = namespace
            if not isinstance(module, ModuleType):
                module = ModuleType(concept)
                module.__dict__.update(namespace)
            setattr(self, concept, module)


# The magic

_numbers = itertools.count(1)


def load_ipython_extension(shell: Any) -> None:
    """Add `%%columns`, and the three namespaces; IPython calls this at `%load_ext`."""
    namespaces = {name: ModuleType(name) for name in COLUMNS}

    def columns(line: str, cell: str) -> None:
        """Run a cell in the namespaces of the columns that the line names, or of all."""
        chosen = line.split() or COLUMNS
        for name in chosen:
            if name not in namespaces:
                raise UnknownNameError("column", name, COLUMNS)
            if len(chosen) > 1:
                print(f"{DISPLAY_NAMES[name]}:")
            _run(cell, name, namespaces[name])

    shell.register_magic_function(columns, "cell", "columns")
    shell.push(namespaces)


def _run(cell: str, name: str, namespace: ModuleType) -> None:
    # a name of its own, and the text where tracebacks look for it
    file = f"<cell {next(_numbers)} in {name}>"
    linecache.cache[file] = (len(cell), None, cell.splitlines(keepends=True), file)
    tree = ast.parse(cell, file)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, file, "exec"), namespace.__dict__)
    if isinstance(last, ast.Expr):
        shown = eval(compile(ast.Expression(last.value), file, "eval"), namespace.__dict__)
        if shown is not None:
            print(repr(shown))
