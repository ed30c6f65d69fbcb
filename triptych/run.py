"""Print what the documents print: one printer for the three columns.

Every number comes out of a column's public functions; only the text around it stands here. So the
columns print the same bytes where their numbers are the same. A line that is a column's own (its
default dtypes, what it records, the errors that it raises) begins with its name: `PyTorch | `.
Where a document errs, the true number stands first, then `(the document prints ...)`.

No framework is imported before a column is asked for.
"""

import argparse
import contextlib
import inspect
import itertools
import os
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from triptych import data, names
from triptych.checks import check_device
from triptych.column import Column, precision
from triptych.data import DOCUMENTS
from triptych.names import UnknownNameError

__all__ = ["DOCUMENTS", "DTYPES", "WIDTH", "main", "run", "together"]

DTYPES = ("float64", "float32")
WIDTH = 80
"""No line is longer; a column's own words are broken to fit."""

Write = Callable[[str], object]


def run(
    concept: str,
    column: str,
    *,
    dtype: str = "float64",
    device: str = "cpu",
    write: Write = print,
) -> None:
    """Print what the documents print about a concept, computed by one column.

    Args:
        concept: one of `names.CONCEPTS`.
        column: one of `names.COLUMNS`; its framework is imported here.
        dtype: "float64" or "float32".
        device: one of the column's devices.
        write: called with each line, without its end.

    Raises:
        UnknownNameError: there is no such concept or column; the message names the nearest.
        ValueError: the dtype is neither of the two, or the device is not usable here.
        ModuleNotFoundError: the column's framework is not installed.
    """
    if concept not in _PRINTERS:
        raise UnknownNameError("concept", concept, names.CONCEPTS)
    if column not in names.COLUMNS:
        raise UnknownNameError("column", column, names.COLUMNS)
    if dtype not in DTYPES:
        raise ValueError(f"run: dtype must be {' or '.join(map(repr, DTYPES))}, got {dtype!r}")
    here = Column(column, device)
    check_device("run", device, here.devices())
    with precision(dtype) if column == "jax_impl" else contextlib.nullcontext():
        page = _Page(here, dtype, write)
        documents, printer = _PRINTERS[concept]
        page.title(concept, documents)
        printer(page)


def together(pages: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The pages of several columns as one: what is the same once, what is marked side by side.

    Where other lines differ too, as in float32, the pages follow each other under headings.

    Args:
        pages: what `run` wrote, by column.

    Yields:
        Lines.
    """
    if not pages:
        return
    shared: list[list[str]] = []
    own: list[list[list[str]]] = []
    for column, lines in pages.items():
        mark = f"{names.DISPLAY_NAMES[column]} |"
        shared.append([line for line in lines if not line.startswith(mark)])
        blocks: list[list[str]] = [[]]
        for line in lines:
            if line.startswith(mark):
                blocks[-1].append(line)
            else:
                blocks.append([])
        own.append(blocks)
    if any(lines != shared[0] for lines in shared):
        for column, lines in pages.items():
            yield from (f"== {names.DISPLAY_NAMES[column]} ==", *lines, "")
        return
    if len(pages) > 1:
        yield f"== {' = '.join(names.DISPLAY_NAMES[column] for column in pages)} =="
    for i, marked in enumerate(zip(*own, strict=True)):
        yield from itertools.chain.from_iterable(marked)
        yield from shared[0][i : i + 1]


def main(file: str, arguments: Sequence[str] | None = None) -> None:
    """Run one concept in one column from the command line: `python -m torch_impl.gradients`.

    Args:
        file: where the concept stands; its folder is the column.
        arguments: `--dtype` and `--device`; by default those of the process.
    """
    column, concept = Path(file).resolve().parent.name, Path(file).stem
    parser = argparse.ArgumentParser(
        prog=f"python -m {column}.{concept}",
        description=f"Print what the documents print about {concept}, computed by {column}.",
    )
    parser.add_argument("--dtype", choices=DTYPES, default="float64", help="default: float64")
    parser.add_argument("--device", default="cpu", help='"cpu", the default, or "cuda"')
    options = parser.parse_args(arguments)
    try:
        check_device(column, options.device, Column(column).devices())
    except ValueError as error:
        parser.error(str(error))
    try:
        run(concept, column, dtype=options.dtype, device=options.device)
        sys.stdout.flush()
    except BrokenPipeError:
        # whoever read the output has seen enough; nothing is left to flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# The page


class _Page:
    """Where one column's lines go, and its functions, called with NumPy arrays."""

    def __init__(self, column: Column, dtype: str, write: Write) -> None:
        self.column = column
        self.name = names.DISPLAY_NAMES[column.name]
        self.call = column.call
        self.dtype = dtype
        self.write = write

    # Lines

    def say(self, *lines: str) -> None:
        """Lines that are the same in every column."""
        for line in lines:
            self.write(f"  {line}".rstrip())

    def own(self, *lines: str) -> None:
        """Lines of this column alone, marked with its name."""
        prefix = f"{self.name} |"
        for line in lines:
            indent = " " * (len(line) - len(line.lstrip()) + 2)
            pieces = textwrap.wrap(
                line,
                WIDTH - len(prefix) - 1,
                subsequent_indent=indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
            for piece in pieces or [""]:
                self.write(f"{prefix} {piece}".rstrip())

    def rounded(self, *lines: str) -> None:
        """Lines whose last digits hang on the order of rounding: a column's own in float32."""
        if self.dtype == "float32":
            self.own(*lines)
        else:
            self.say(*lines)

    def section(self, where: str, what: str) -> None:
        """The heading of a part: the document with its section, and what is computed."""
        self.write("")
        self.write(f"{where}: {what}")

    def title(self, concept: str, documents: str) -> None:
        """What the concept is about, and the documents whose numbers follow."""
        for line in textwrap.wrap(_paragraphs(self.module(concept))[0], WIDTH):
            self.write(line)
        for key in documents:
            self.say(*textwrap.wrap(f"{key}: {DOCUMENTS[key]}", WIDTH - 2, subsequent_indent="   "))

    def note(self, concept: str) -> None:
        """What is different in this column, from its module docstring."""
        self._own_words(self.module(concept))

    def remark(self, concept: str, function: str) -> None:
        """What is different in this column, from the docstring of a function."""
        self._own_words(getattr(self.module(concept), function))

    def _own_words(self, documented: Any) -> None:
        """The second paragraph of a docstring, if it is one in words; the mark says whose it is."""
        for text in _paragraphs(documented)[1:2]:
            if not text.startswith(("Args", "Returns", "Raises", "Source")):
                said = text.removeprefix(f"{self.name}: ")
                self.own(text if said == text else said[:1].upper() + said[1:])

    # Numbers

    def array(self, value: Any) -> np.ndarray:
        """A number, or lists of them, in the dtype of the page."""
        return np.array(value, dtype=self.dtype)

    def module(self, concept: str) -> ModuleType:
        """A concept of this column."""
        module: ModuleType = getattr(self.column, concept)
        return module

    def attempt(self, concept: str, function: str, *args: Any, **kwargs: Any) -> tuple[Any, str]:
        """Call a function that some column refuses: its result, or None and the error's text."""
        try:
            return self.call(concept, function, *args, **kwargs), ""
        except (RuntimeError, TypeError, ValueError, KeyError) as error:
            return None, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _paragraphs(documented: Any) -> list[str]:
    """The paragraphs of a docstring, each on one line; one empty paragraph without a docstring."""
    text = inspect.getdoc(documented) or ""
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]


def _text(value: Any, digits: int | None = None) -> str:
    """Numbers, in lists if they are arrays; with so many decimals, or as many as they need."""
    if isinstance(value, list | tuple) or np.ndim(value) > 0:
        return f"[{', '.join(_text(entry, digits) for entry in value)}]"
    if digits is None:
        return str(value)
    text = f"{float(value):.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _named(
    values: dict[str, Any], names: Sequence[str], form: str = "{}", digits: int | None = None
) -> str:
    """Names and values on one line; the form makes dy/dx of x.

    The order is that of the names: JAX sorts the keys of a dictionary.
    """
    return ", ".join(f"{form.format(name)} = {_text(values[name], digits)}" for name in names)


def _against(text: str, document: str) -> str:
    """A text, with what the document prints where that is something else."""
    return text if text == document else f"{text} (the document prints {document})"


def _erratum(names: Sequence[str], row: Sequence[str], document: Sequence[str]) -> str:
    """For the end of a row of a table: which of its numbers the document prints otherwise."""
    entries = zip(names, row, document, strict=True)
    wrong = [f"{name} {text}" for name, true, text in entries if text != true]
    return f"(the document prints {', '.join(wrong)})" if wrong else ""


def _table(*rows: Sequence[str]) -> list[str]:
    """Rows as lines; the first column to the left, the others to the right, remarks as they are."""
    size = len(rows[0])
    widths = [max(len(row[i]) for row in rows) for i in range(size)]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[:size], widths, strict=True)]
        cells[0] = row[0].ljust(widths[0])
        lines.append("  ".join([*cells, *row[size:]]).rstrip())
    return lines


# The concepts


def _tensor_basics(page: _Page) -> None:
    basics = page.module("tensor_basics")
    page.note("tensor_basics")

    def rows(examples: dict[str, Any]) -> list[str]:
        found = {name: basics.describe(basics.tensor(x)) for name, x in examples.items()}
        cells = ([name, str(d["rank"]), str(d["shape"])] for name, d in found.items())
        return _table(["", "rank", "shape"], *cells)

    def defaults(example: Any) -> None:
        for when, setting in _settings(page.column.name):
            with setting:
                page.own(
                    f"{example} has dtype {basics.describe(basics.tensor(example))['dtype']}{when}"
                )

    page.section("A 7.2", "numbers with 0, 1, 2 and 3 axes")
    lists = (3.0, [1.0, 2.0, 3.0], [[1.0, 2.0], [3.0, 4.0]])
    image = [[[0.0] * 28] * 28] * 3
    page.say(*rows({str(x): x for x in lists} | {"an image: channel, height, width": image}))
    defaults(3.0)

    page.section("C", "the same with whole numbers")
    matrix = [[1, 2, 3], [4, 5, 6]]
    page.say(*rows({str(x): x for x in (1, [1, 2, 3], matrix, [matrix, matrix])}))
    defaults(1)
    _, error = page.attempt("tensor_basics", "tensor", [[1, 2], [3]])
    page.say("[[1, 2], [3]] is no tensor:")
    page.own(error)

    page.section("A 7.2", "arithmetic, entry by entry, and the dot product")
    x, y = basics.tensor([2, 3]), basics.tensor([1, 4])
    results = basics.elementwise(x, y)
    for sign, name in {"+": "sum", "-": "difference", "*": "product", "/": "quotient"}.items():
        page.say(f"[2, 3] {sign} [1, 4] = {_text(page.column.to_numpy(results[name]))}")
    page.say(f"dot([2, 3], [1, 4]) = {_text(page.column.to_numpy(basics.dot(x, y)))}")
    for when, setting in _settings(page.column.name):
        with setting:
            quotient = basics.elementwise(basics.tensor([2, 3]), basics.tensor([1, 4]))["quotient"]
            page.own(f"whole numbers divide to {basics.describe(quotient)['dtype']}{when}")

    page.section("C", "reductions of [[1, 2], [3, 4]]")
    x = page.array([[1, 2], [3, 4]])
    found = page.call("tensor_basics", "reductions", x)
    page.say(_named(found, ("sum", "mean", "median", "row_sums")))
    page.say(_named(found, ("min", "max", "argmax")))
    for ddof in (0, 1):
        variance = page.call("tensor_basics", "variance", x, ddof=ddof)
        page.say(f"variance, divided by n - {ddof}: {_text(variance, 4)}")
    page.remark("tensor_basics", "variance")

    page.section("E", "a column and a row broadcast, wanted or not")
    column, row = page.array([[10], [20]]), page.array([1, 2, 3])
    total = page.call("tensor_basics", "broadcast", column, row)
    page.say(f"[[10], [20]] + [1, 2, 3] = {_text(total)}")

    page.section("E", "a float64 array from NumPy, and a layer with float32 weights")
    array = np.array([[1.0, 2.0]])
    weights = basics.tensor([[3.0, 4.0]], dtype="float32"), basics.tensor([1.0], dtype="float32")
    for when, setting in _settings(page.column.name):
        with setting:
            try:
                x = basics.from_host(array, share=False)
                page.own(f"it comes in as {basics.describe(x)['dtype']}{when}")
                page.module("linear_layer").linear(x, *weights)
            except (TypeError, ValueError) as error:
                page.own(f"{type(error).__name__}: {error}")
    page.remark("tensor_basics", "cast")
    x = basics.from_host(array.astype("float32"), share=False)
    y = page.column.to_numpy(page.module("linear_layer").linear(x, *weights))
    page.say(f"cast to float32: {_text(array)} times [[3, 4]], plus [1], is {_text(y)}")

    page.section("A 7.2", "move [1, 2] to the GPU")
    page.own(f"the devices here: {', '.join(page.column.devices())}")
    try:
        x = basics.move(basics.tensor([1, 2]), "cuda")
        page.own(f"[1, 2] is now on {basics.describe(x)['device']}")
    except ValueError as error:
        page.own(f"{type(error).__name__}: {error}")


def _settings(column: str) -> Iterator[tuple[str, contextlib.AbstractContextManager[None]]]:
    """The settings that change a column's defaults, and how to say so; JAX alone has any."""
    if column == "jax_impl":
        yield "", precision("float32")
        yield ", with x64 on", precision("float64")
    else:
        yield "", contextlib.nullcontext()


def _gradients(page: _Page) -> None:
    def graph(name: str, *inputs: float) -> tuple[dict[str, Any], dict[str, Any]]:
        values, grads = page.call("gradients", name, *map(page.array, inputs))
        return values, grads

    page.section("A 7.1 to 7.3", "y = x**2 + 3x + 1 at x = 2")
    values, grads = graph("quadratic", 2)
    page.say(_named(values, "y"), f"dy/dx = 2x + 3 = {grads['x']}")

    page.section("A 7.3", "y = w*x + b at x = 1, w = 2, b = 1")
    values, grads = graph("affine", 1, 2, 1)
    page.say(_named(values, "y"), _named(grads, "xwb", "dy/d{}"))

    page.section("A 7.4", "a = x + 2, b = x + 3, y = a*b at x = 1: two paths from x to y")
    values, grads = graph("product", 1)
    edges = page.call("gradients", "product_edges", page.array(1))
    page.say(_named(values, "aby"), _named(grads, "ab", "dy/d{}"))
    page.say(
        "dy/dx = da/dx * dy/da + db/dx * dy/db"
        f" = {edges['da/dx']}*{edges['dy/da']} + {edges['db/dx']}*{edges['dy/db']} = {grads['x']}"
    )

    page.section("A 7.4", "y = x**3 at x = 2")
    values, grads = graph("cube", 2)
    page.say(_named(values, "y"), f"dy/dx = 3x**2 = {grads['x']}")

    page.section("A 7.5", "a = 2x, b = a + 3, y = b**2 at x = 1")
    values, grads = graph("chain", 1)
    edges = page.call("gradients", "chain_edges", page.array(1))
    steps = {"a = 2x": ("a", "da/dx"), "b = a + 3": ("b", "db/da"), "y = b**2": ("y", "dy/db")}
    rows = [
        [step, _text(values[node]), f"{edge} = {edges[edge]}"]
        for step, (node, edge) in steps.items()
    ]
    page.say(*_table(["forward", "value", "local derivative"], *rows))
    page.say("backward, from y to x:", f"dy/db = {grads['b']}")
    page.say(f"dy/da = dy/db * db/da = {grads['b']}*{edges['db/da']} = {grads['a']}")
    page.say(f"dy/dx = dy/da * da/dx = {grads['a']}*{edges['da/dx']} = {grads['x']}")
    page.say("A derivative is a rate, not what a whole step adds:")
    more_x, more_b = (graph("chain", x)[0] for x in (2, 1.5))
    page.say(f"x + 1 makes y + {_against(_text(more_x['y'] - values['y'], 0), '20')}")
    page.say(f"b + 1 makes y + {_against(_text(more_b['y'] - values['y'], 0), '10')}")

    page.section("D", "y = x**2 + 2x + 1 at x = 3")
    values, grads = graph("square", 3)
    page.say(_named(values, "y"), f"dy/dx = 2x + 2 = {grads['x']}")

    page.section("D", "c = a*b, d = c + a at a = 2, b = 3: a is used twice")
    values, grads = graph("shared", 2, 3)
    page.say(_named(values, "cd"), _named(grads, "cb", "dd/d{}"))
    page.say(f"dd/da = b + 1 = {grads['a']}: the two paths add up")

    page.section("E", "y = w*x + b at x = 5, w = 2, b = 1; x is a constant")
    values, grads = graph("affine", 5, 2, 1)
    page.say(_named(values, "y"), _named(grads, "wb", "dy/d{}"))
    more_w, more_b = graph("affine", 5, 3, 1)[0], graph("affine", 5, 2, 2)[0]
    page.say("y is linear, so here whole steps add just as much:")
    page.say(f"w + 1 makes y + {_text(more_w['y'] - values['y'], 0)}")
    page.say(f"b + 1 makes y + {_text(more_b['y'] - values['y'], 0)}")


def _mechanics(page: _Page) -> None:
    def call(name: str, *args: Any, **kwargs: Any) -> Any:
        return page.call("mechanics", name, *args, **kwargs)

    def outcome(name: str, *args: Any, **kwargs: Any) -> None:
        result, error = page.attempt("mechanics", name, *args, **kwargs)
        page.own(error or _text(result))

    page.note("mechanics")
    one, two = page.array(1), page.array(2)
    x, w, b = one, two, one

    page.section("A", "y = w*x + b at x = 1, w = 2, b = 1: the gradients after each backward")
    for reset, what in ((False, "without a reset"), (True, "reset after each")):
        found = call("accumulate", x, w, b, times=2, reset=reset)
        rows = [
            [f"pass {i + 1}", *(_text(found[name][i]) for name in ("x", "w", "b"))]
            for i in range(2)
        ]
        page.say(*_table([what.ljust(16), "x.grad", "w.grad", "b.grad"], *rows))
    page.remark("mechanics", "accumulate")

    page.section("A", "what a reset leaves of the gradients by x, w, b, and one more backward")
    for to_none, how in ((False, "zero_()"), (True, "= None")):
        left, after = call("reset_gradients", x, w, b, set_to_none=to_none)
        leaves, gives = (_text([values[name] for name in "xwb"]) for values in (left, after))
        page.say(f"{how}: leaves {leaves}, then {gives}")
    page.remark("mechanics", "reset_gradients")

    page.section("D", "y = 2x at x = 1, three times: x.grad")
    for reset, what in ((True, "with reset"), (False, "without")):
        found = call("accumulate", one, two, page.array(0), times=3, reset=reset)
        page.say(f"{what}: {_text(found['x'])}")

    page.section("A", "a vector output, y = x * sum(x) at x = [1, 2, 3], needs a cotangent")
    vector, cotangent = page.array([1, 2, 3]), page.array([1, 0, 0])
    product = call("vector_jacobian_product", vector, cotangent)
    page.say(f"[1, 0, 0]: x.grad = {_text(product)}", "without one:")
    outcome("backward_without_cotangent", vector)
    page.remark("mechanics", "backward_without_cotangent")

    page.section("A", "backward twice through one graph, y = x**2 + 3x + 1 at x = 2")
    page.say(f"retain_graph=True: x.grad = {call('backward_twice', two, retain_graph=True)}")
    page.say("retain_graph=False:")
    outcome("backward_twice", two, retain_graph=False)
    page.remark("mechanics", "backward_twice")
    page.say(
        "y = x + x + 1, additions alone, retain_graph=False:"
        f" x.grad = {call('backward_twice_additions', two)}"
    )
    page.remark("mechanics", "backward_twice_additions")

    page.section("A", "y = x*c + 3x + 1 at x = 2, with c = x not tracked")
    y, d_x = call("stop_gradient", two)
    page.say(f"y = {y}", f"dy/dx = c + 3 = {d_x}, not 2x + 3 = 7.0")
    page.remark("mechanics", "stop_gradient")

    page.section("A 7.4", "y = (x + 2)(x + 3) at x = 1: what reaches x on each path")
    found = call("paths", one)
    page.say(f"by a = x + 2: {found['a']}", f"by b = x + 3: {found['b']}")
    page.say(f"by both: {found['both']}")

    page.section("E", "the total differential of y = w*x + b at x = 5, w = 2, b = 1")
    page.say("dy = dy/dw dw + dy/db db")
    for dw, db in ((1, 0), (0, 1), (1, 1)):
        dy = call("total_differential", page.array(5), two, one, *map(page.array, (dw, db)))
        page.say(f"dw = {dw}, db = {db}: dy = {dy}")


def _recording(page: _Page) -> None:
    page.note("recording")
    x = page.array(2)

    page.section("A", "y = x**2 + 3x + 1 at x = 2, x not tracked: backward")
    result, error = page.attempt("recording", "backward_untracked", x)
    page.own(error or f"x.grad = {_text(result)}")
    page.remark("recording", "backward_untracked")

    page.section("E", "which are leaves, in y = w*x + b?")
    five, one = page.array(5), page.array(1)
    page.say(_named(page.call("recording", "leaves", five, x, one), "xwby"))
    page.remark("recording", "leaves")

    page.section("E", "what was recorded of y = w*x + b at x = 5, w = 2, b = 1; x is a constant")
    operations, grads, text = page.call("recording", "recorded", five, x, one)
    page.say(_named(grads, "wb", "dy/d{}"))
    page.own(f"from y back: {' <- '.join(operations)}", f"y prints as {text}")
    page.remark("recording", "recorded")

    page.section("A, C, D", "an update inside the graph, x = x - 0.1 * dy/dx at x = 2")
    result, error = page.attempt("recording", "update_inside_graph", x, learning_rate=0.1)
    after, grad = result if result else (x, x)
    page.own(error or f"x = {_text(after, 1)}, and dy/dx once more: {_text(grad, 1)}")
    page.remark("recording", "update_inside_graph")

    page.section("A, C, D", "the same update outside the graph")
    after, recorded = page.call("recording", "update_outside_graph", x, learning_rate=0.1)
    page.say(f"x = {_text(after, 1)}, recorded: {recorded}")
    page.remark("recording", "update_outside_graph")

    page.section("D", "inference by Linear(10, 1) on 5 rows")
    rng = np.random.default_rng(0)
    params = {"weight": page.array(rng.normal(size=(1, 10))), "bias": page.array([0.0])}
    rows = page.array(rng.normal(size=(5, 10)))
    for record, how in ((True, "with recording"), (False, "without (no_grad)")):
        y, tracked = page.call("recording", "infer", params, rows, record=record)
        page.say(f"{how}: output {y.shape}, tracked: {tracked}")
    page.remark("recording", "infer")


def _control_flow(page: _Page) -> None:
    def outcome(name: str, where: str, *args: Any) -> None:
        result, error = page.attempt("control_flow", name, *args)
        page.own(f"{where}: {error or answer(result)}")

    def answer(result: Any) -> str:
        return f"y = {result[0]}, dy/dx = {result[1]}"

    def call(name: str, *args: Any, **kwargs: Any) -> Any:
        return page.call("control_flow", name, *args, **kwargs)

    page.note("control_flow")
    x, negative = page.array(2), page.array(-3)

    page.section("A 7.1", "dy/dx of y = x**2 + 3x + 1 at x = 2, as the lines run")
    page.say(f"define-by-run: {call('define_by_run', x)}")

    page.section("A 7.1", "the same from a program that is built first and run later")
    program, result = call("define_then_run", x)
    page.own(*textwrap.dedent(program).strip().splitlines())
    page.say(f"define-then-run: [{result}], a list as TensorFlow 1 prints it")

    page.section("A 7.1", "if: y = x**2 if x > 0 else -x")
    page.say("as Python runs it:")
    page.say(
        f"  x = 2: {answer(call('branch', x))}", f"  x = -3: {answer(call('branch', negative))}"
    )
    page.say("compiled as it stands:")
    outcome("branch_traced", "  x = 2", x)
    page.remark("control_flow", "branch_traced")
    page.say("compiled, both branches in the program:")
    outcome("branch_compiled", "  x = 2", x)
    outcome("branch_compiled", "  x = -3", negative)

    page.section("A 7.1", "for: y = x**n at x = 2, n = 3")
    n = np.array(3)
    page.say(f"as Python runs it: {answer(call('loop', x, n))}", "compiled:")
    outcome("loop_compiled", "  x = 2, n = 3", x, n)
    page.remark("control_flow", "loop_compiled")

    page.section("A 7.1", "recursion: x**n = x * x**(n - 1) at x = 2, n = 3")
    page.say(answer(call("recursion", x, n=3)))
    page.remark("control_flow", "recursion")


# What the table of C prints: the updates so far, output, loss.
LAYER_TABLE = (
    (0, "0.4200", "3.364e-01"),
    (1, "0.4332", "3.212e-01"),
    (2, "0.4461", "3.067e-01"),
    (9, "0.5287", "2.221e-01"),
    (99, "0.9409", "3.496e-03"),
    (199, "0.9941", "3.470e-05"),
    (499, "0.99999", "3.391e-11"),
    (999, "1.00000", "3.264e-21"),
)


def _linear_layer(page: _Page) -> None:
    start, x, t = data.layer(dtype=page.dtype)

    def output(params: Any, x: np.ndarray) -> np.ndarray:
        y: np.ndarray = page.call("linear_layer", "linear", x, params["weight"], params["bias"])
        return y

    def train(params: Any, steps: int, *, rate: float = 0.01, how: str = "train") -> Any:
        how_far = {"learning_rate": rate, "steps": steps}
        return page.call("linear_layer", how, params, x, t, **how_far)[0]

    def loss_and_grads(params: Any, x: np.ndarray = x, t: np.ndarray = t) -> Any:
        return page.call("linear_layer", "loss_and_grads", params, x, t)

    page.section("C", "x = [.1, .2, .3], weight = [[.4, .5, .6]], bias = [.1], target = [1]")
    loss, grads = loss_and_grads(start)
    page.say(f"output = {_text(output(start, x)[0], 2)}, loss = {_text(loss, 4)}")

    page.section("C", "the first step of gradient descent, learning rate 0.01")
    page.say(f"weight.grad = {_text(grads['weight'], 3)}, bias.grad = {_text(grads['bias'], 2)}")
    params = train(start, 1)
    page.say(f"weight = {_text(params['weight'], 5)}, bias = {_text(params['bias'], 4)}")

    page.section("C", "training; step counts the updates so far")
    names = ("output", "loss")
    params, done, rows = start, 0, []
    for step, *document in LAYER_TABLE:
        if step > done:
            params, done = train(params, step - done), step
        digits = len(document[0]) - 2
        row = [_text(output(params, x)[0], digits), f"{loss_and_grads(params)[0]:.3e}"]
        rows.append([str(step), *row, _erratum(names, row, document)])
    lines = _table(["step", *names], *rows)
    page.say(*lines[:-2])
    page.rounded(*lines[-2:])
    if page.dtype == "float64":
        single = data.layer(dtype="float32")
        how_far = {"learning_rate": 0.01, "steps": 1000}
        _, losses = page.call("linear_layer", "train", *single, **how_far)
        page.say("C's code runs in float32, its table is calculated by hand. In float32 the loop")
        page.say(f"stalls, and at step 999 the loss is still {losses[-1]:.0e}.")

    page.section("C", "after 1000 updates")
    params = train(params, 1000 - done)
    page.rounded(f"weight = {_text(params['weight'], 6)}, bias = {_text(params['bias'], 6)}")
    page.say("ten inferences:", " ".join(_text(output(params, x)[0], 4) for _ in range(10)))
    page.say("Other inputs (the document prints 1.0 for any):")
    for other in ([0.0, 0.0, 0.0], [0.3, 0.2, 0.1], [1.0, 1.0, 1.0]):
        page.say(f"  {_text(other)}: {_text(output(params, page.array(other))[0], 4)}")

    page.section("C", "the learning rate: what a step multiplies the error by; loss after 20 steps")
    rows = []
    for rate, what in RATES:
        factor = page.call("linear_layer", "error_factor", x, learning_rate=rate)
        loss = loss_and_grads(train(start, 20, rate=rate))[0]
        rows.append([f"{rate}", _text(factor, 5), f"{loss:.2e}", what])
    page.say(*_table(["rate", "factor", "loss"], *rows))
    page.say("The factor is 1 - 2.28 * rate: above 2 / 2.28 = 0.87719 training diverges.")

    page.section("C", "next: nn.Linear and optim.SGD in place of the loop by hand, 100 updates")
    for how in ("train", "train_with_optimizer"):
        params = train(start, 100, how=how)
        page.say(f"{how}: weight = {_text(params['weight'], 5)}, bias = {_text(params['bias'], 5)}")

    page.section("C", "next: three samples in one batch; the gradient is the mean over them")
    batch, targets = (
        page.array([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [1, 1, 1]]),
        page.array([[1]] * 3),
    )
    for i in range(3):
        _, grads = loss_and_grads(start, batch[i], targets[i])
        page.say(f"{_text(batch[i], 1)}: bias.grad = {_text(grads['bias'], 4)}")
    loss, grads = loss_and_grads(start, batch, targets)
    page.say(f"the batch: loss = {_text(loss, 4)}, bias.grad = {_text(grads['bias'], 4)}")


# C: neither too small nor too large.
RATES = (
    (0.001, "crawls"),
    (0.01, "C's own"),
    (0.1, "faster"),
    (0.8, "overshoots, and comes back"),
    (0.9, "diverges"),
)


# The log of A 7.6, as far as it is known: epoch; loss, w, b.
REGRESSION_LOG = {
    0: ("22.6667", "1.87", "0.70"),
    10: ("0.0570", "2.01", "0.95"),
    20: ("0.0023", "2.00", "0.99"),
    90: ("0.0000", "2.00", "1.00"),
}


def _linear_regression(page: _Page) -> None:
    def fit(params: Any, x: Any, t: Any, rate: float, epochs: int, how: str = "fit") -> Any:
        how_far = {"learning_rate": rate, "epochs": epochs}
        return page.call("linear_regression", how, params, x, t, **how_far)

    page.section("A 7.6", "t = 2x + 1 at x = 1, 2, 3; from w = b = 0, learning rate 0.1")
    params, x, t = data.line(dtype=page.dtype)
    loss, grads = page.call("linear_regression", "loss_and_grads", params, x, t)
    page.say(f"at the start: loss = {_text(loss, 4)}, {_named(grads, 'wb', 'dloss/d{}', 4)}")
    page.say("each row: the loss before the update of that epoch, w and b after it")
    names = ("loss", "w", "b")
    rows = []
    for epoch in range(0, 100, 10):
        params, losses = fit(params, x, t, 0.1, 10 if epoch else 1)
        row = (_text(losses[-1], 4), _text(params["w"], 2), _text(params["b"], 2))
        rows.append([str(epoch), *row, _erratum(names, row, REGRESSION_LOG.get(epoch, row))])
    page.say(*_table(["epoch", *names], *rows))
    page.say("The 22.6667 of the document is the size of dloss/dw, not the loss.")
    params, _ = fit(params, x, t, 0.1, 9)
    page.say(f"after 100 epochs: {_named(params, 'wb', digits=4)}: near 2 and 1, as it says")

    page.section("D", "t = 2x at x = 1, 2, 3; nn.Linear(1, 1), MSELoss, SGD(lr=0.01)")
    start, x, t = data.doubled_line(dtype=page.dtype)
    for epochs, verdict in (
        (100, 'not yet y = 2x (the document says that it "learns y = 2x")'),
        (1787, "both within 0.01"),
    ):
        params, losses = fit(start, x, t, 0.01, epochs, "fit_with_optimizer")
        numbers = f"{_named(params, 'wb', digits=3)}, loss {_text(losses[-1], 4)}"
        page.say(f"after {epochs} epochs from w = b = 0: {numbers}", f"  {verdict}")

    page.section("E", "100 noisy points around t = 2x; learning rate 0.1, 200 epochs")
    start, x, t = data.noisy_line(dtype=page.dtype)
    params, losses = fit(start, x, t, 0.1, 200)
    page.say(f"loss {_text(losses[0], 4)} -> {_text(losses[-1], 4)}")
    page.say(f"{_named(params, 'wb', digits=3)}: near 2 and 0")


def _classifier(page: _Page) -> None:
    def call(name: str, *args: Any, **kwargs: Any) -> Any:
        return page.call("classifier", name, *args, **kwargs)

    start = data.classifier_start(dtype=page.dtype)
    (x, t), (held_x, held_t) = data.diabetes(dtype=page.dtype)

    page.section("B", "one row of 4 features through the network; shapes")
    row = x[:1]
    logits = call("logits", start, row)
    sizes = {name: start[f"{name}.bias"].size for name in ("fc1", "fc2", "output")}
    layers = ("x", "fc1", "relu1", "fc2", "relu2", "output")
    widths = (row.shape[1], *(size for size in sizes.values() for _ in range(2)))
    shapes = [*(f"(1, {width})" for width in widths[:5]), str(logits.shape)]
    page.say(*_table(layers, shapes))
    page.say(f"logits        {_text(logits[0], 4)}")
    page.say(f"probabilities {_text(call('probabilities', start, row)[0], 4)}")
    predicted = int(call("predict", start, row)[0])
    page.say(f"class         {predicted}, {data.CLASSES[predicted]} risk (untrained: a guess)")

    page.section("B", "how many parameters")
    numbers = [start[f"{name}.weight"].size + start[f"{name}.bias"].size for name in sizes]
    number = page.call("parameters", "count", start)
    page.say(f"{' + '.join(map(str, numbers))} = {_against(str(number), '299')}")

    page.section("B", "softmax: P_i = exp(y_i) / sum_j exp(y_j)")
    zeros = {name: np.zeros_like(p) for name, p in start.items()}
    for y, digits in (((0.241, -0.089, 0.510), 3), (np.log((0.1, 0.3, 0.6)), 4)):
        params = zeros | {"output.bias": page.array(y)}
        p = _text(call("probabilities", params, row)[0], 4)
        chosen = int(call("predict", params, row)[0])
        page.say(f"logits {_text(y, digits)}: P = {p}")
        page.say(f"  class {chosen}, {data.CLASSES[chosen]} risk")

    page.section("B", "backward fills the gradients, the optimiser updates the parameters")
    page.say('(the document says that "parameters are updated by backpropagation")')
    loss, grads = call("loss_and_grads", start, x, t)
    after = page.call("optimizers", "sgd_step", start, grads, learning_rate=0.1)
    bias = "fc1.bias"
    page.say(f"loss = {_text(loss, 4)}; fc1.bias[0] = {_text(start[bias][0], 4)}")
    page.say(f"after backward: fc1.bias.grad[0] = {_text(grads[bias][0], 4)}, the bias as it was")
    page.say(f"after one step of SGD, rate 0.1: fc1.bias[0] = {_text(after[bias][0], 4)}")

    page.section("B", "a dropout layer in train() and in eval(): half of eight ones dropped")
    mask = data.dropout_mask((1, 8), 0.5)
    for training, mode in ((True, "train"), (False, "eval")):
        h = call("dropout", page.array(np.ones((1, 8))), mask, rate=0.5, training=training)
        page.say(f"{mode + '()':8}{_text(h[0])}")

    page.section("B", "next: cross-entropy and mini-batches, on the diabetes study")
    page.say(f"{', '.join(data.FEATURES)} -> {', '.join(data.CLASSES)} progression")
    page.say(f"{len(x)} patients to train on, {len(held_x)} held out, batches of 32")
    epochs, batches = 10, data.batches(len(x), 32, 10)
    rows = []
    scores = []
    for optimizer, rate in (("sgd", 0.1), ("adam", 0.01)):
        how = {"optimizer": optimizer, "learning_rate": rate}
        params, losses = call("fit", start, x, t, batches, **how)
        rows.append(losses.reshape(epochs, -1).mean(axis=1, dtype=np.float64))
        right = [call("accuracy", params, *samples) for samples in ((x, t), (held_x, held_t))]
        scores.append([f"{optimizer}, rate {rate}", *(_text(share, 2) for share in right)])
    cells = ([str(e), *(_text(row[e], 4) for row in rows)] for e in (0, 1, 2, 5, 9))
    page.rounded(*_table(["epoch", "mean loss, SGD", "Adam"], *cells))
    page.rounded(*_table(["accuracy", "trained on", "held out"], *scores))
    page.say("Chance is 1/3. Classes among patients one year later: no medical advice.")


def _optimizers(page: _Page) -> None:
    page.note("optimizers")
    start, x, t = data.line(dtype=page.dtype)

    def step(name: str, *args: Any) -> Any:
        return page.call("optimizers", name, *args, learning_rate=0.1)

    def gradient(params: Any) -> Any:
        return page.call("linear_regression", "loss_and_grads", params, x, t)

    page.section("A 7.6", "gradient descent, p <- p - rate * g, from w = b = 0, rate 0.1")
    _, grads = gradient(start)
    page.say(_named(grads, "wb", "dloss/d{}", 4))
    page.say("A gradient points uphill: a positive one means decrease, these mean increase.")
    page.say(_named(step("sgd_step", start, grads), "wb", digits=4))

    page.section(
        "B", "next: Adam, the same start; the first step is the rate, whatever the gradient"
    )
    state = page.call("optimizers", "adam_start", start)
    params, state = step("adam_step", start, grads, state)
    page.say(_named(params, "wb", digits=4))
    for moment, what in (("m", "mean of g"), ("v", "mean of g**2")):
        page.say(f"{what}: {_named(state[moment], 'wb', digits=4)}")

    page.section("A 7.6", "both on the line t = 2x + 1; step counts the updates so far")
    sgd, adam, state = start, start, page.call("optimizers", "adam_start", start)
    rows = []
    for done in range(101):
        if done in (0, 1, 2, 3, 10, 50, 100):
            cells = [(p["w"], p["b"], gradient(p)[0]) for p in (sgd, adam)]
            rows.append([str(done), *(_text(cell, 4) for cell in (*cells[0], *cells[1]))])
        sgd = step("sgd_step", sgd, gradient(sgd)[1])
        adam, state = step("adam_step", adam, gradient(adam)[1], state)
    page.rounded(*_table(["step", "SGD: w", "b", "loss", "Adam: w", "b", "loss"], *rows))


def _parameters(page: _Page) -> None:
    page.note("parameters")
    params = data.classifier_start(dtype=page.dtype)

    page.section("B", "the parameters of SimpleNet, in order")
    rows = [[name, str(p.shape), str(p.size)] for name, p in params.items()]
    page.say(*_table(["name", "shape", "numbers"], *rows))
    number = page.call("parameters", "count", params)
    page.say(f"in all: {_against(str(number), '299')}")
    page.say("A weight is (out, in), so a layer is x W^T + b (the document also: x W + b).")

    page.section("B", "print(model)")
    page.say(*page.call("parameters", "summary", params).splitlines())

    page.section("B", "save the named parameters, load them into an equal model")
    x = data.diabetes(dtype=page.dtype)[0][0][:5]
    before = page.call("classifier", "logits", params, x)
    wider = data.classifier_start(sizes=(4, 32, 8, 3), dtype=page.dtype)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "parameters.safetensors"
        page.call("parameters", "save", path, params)
        page.say(f"a file of {path.stat().st_size} bytes")
        loaded = page.call("parameters", "load", path, device=page.column.device)
        same = np.array_equal(before, page.call("classifier", "logits", loaded, x))
        page.say(f"identical outputs: {same}", "into a model with 32 in place of 16:")
        page.own(page.attempt("parameters", "load", path, like=wider)[1])


def _execution(page: _Page) -> None:
    page.note("execution")
    start = data.classifier_start(dtype=page.dtype)
    (x, t), _ = data.diabetes(dtype=page.dtype)
    batches = data.batches(len(x), 32, 1)

    def train(form: str) -> str:
        call = (start, x, t, batches)
        _, losses = page.call("execution", form, *call, learning_rate=0.1)
        return f"loss {_text(losses[0], 4)} -> {_text(losses[-1], 4)}"

    page.section("A 7.1", f"{len(batches)} training steps of the classifier, in three forms")
    page.say(f"as_written: {train('as_written')}")
    page.remark("execution", "as_written")
    for form, reason in page.call("execution", "modes", device=page.column.device).items():
        if form == "as_written":
            continue
        page.say(f"{form}:")
        page.remark("execution", form)
        if not reason and (page.column.name, form) == ("torch_impl", "compiled_step"):
            reason = "runs here, but torch.compile takes some 20 s, so not in this page"
        page.own(reason or train(form))


_PRINTERS: dict[str, tuple[str, Callable[[_Page], None]]] = {
    "tensor_basics": ("ACE", _tensor_basics),
    "gradients": ("ADE", _gradients),
    "mechanics": ("ADE", _mechanics),
    "recording": ("ACDE", _recording),
    "linear_layer": ("C", _linear_layer),
    "linear_regression": ("ADE", _linear_regression),
    "classifier": ("B", _classifier),
    "optimizers": ("AB", _optimizers),
    "parameters": ("B", _parameters),
    "control_flow": ("A", _control_flow),
    "execution": ("A", _execution),
}
"""The documents' keys, and what prints their numbers."""
