"""What each framework calls the same thing: the names that the columns use, beside each other.

The sources are read, not run. A name is resolved through the imports of its file, so that `F.relu`
is `torch.nn.functional.relu`. cheatsheet.toml says which subject a name belongs to, and which names
go together where nothing in the sources can tell. A name that it does not have joins the row of the
one that stands at the same place of a line that is beside its own.
"""

import ast
import itertools
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from triptych.names import BOUNDARY, BY_FRAMEWORK, COLUMNS
from triptych.source import parse
from triptych.source.parse import Module

ROOTS = {"numpy": "np", "torch": "torch", "jax": "jax", "mpi4py.MPI": "MPI"}
"""The packages whose names are collected, as they are written here."""
OF_PYTHON = frozenset(
    name for kind in (dict, list, tuple, set, str, bytes, int) for name in dir(kind)
)
"""Methods that Python's own types have too: only cheatsheet.toml can say that one is an array's."""

OTHERS = "Others"
"""The subject of names that no row shows."""

FILE = Path(__file__).with_name("cheatsheet.toml")

Key = tuple[str, str]
"""A column, and a name in it: "jnp.mean", or ".mean" for a method or an attribute of something."""


class CheatsheetError(ValueError):
    """cheatsheet.toml is malformed; the message says where."""


class Use(NamedTuple):
    """A place where a column uses a name."""

    column: str
    concept: str
    function: str
    """Of the top level; "" outside of all."""
    line: int
    called: bool


class Row(NamedTuple):
    """One thing, as each column calls it."""

    subject: str
    cells: tuple[tuple[str, ...], ...]
    """For each column: its spellings; none where it has no such thing."""
    keys: frozenset[Key]
    """The same, as `names` finds them."""
    words: tuple[str, ...]
    """Names of any framework, "mean", that belong here wherever they are used."""
    where: Use | None
    """The place that shows most of them; None for names that stand in traps.toml alone."""

    def has(self, key: Key) -> bool:
        """Whether a name belongs here, be it one that no column uses."""
        return key in self.keys or key[1].rpartition(".")[2] in self.words


class Sheet(NamedTuple):
    """The rows, and what does not fit."""

    rows: tuple[Row, ...]
    stale: tuple[str, ...]
    """Words of cheatsheet.toml that nothing in the columns fits."""
    left_out: tuple[Key, ...]
    """Names for which there is no row, or more than one would do."""


@cache
def sheet() -> Sheet:
    """The rows that the sources and cheatsheet.toml make."""
    return build(FILE.read_text(encoding="utf-8"))


def build(text: str) -> Sheet:
    """The rows that the sources make with a text that is written as cheatsheet.toml is.

    Raises:
        CheatsheetError: the text is malformed, or a name fits the words of two rows.
    """
    lines = _lines(text)
    methods = {(c, w.leaf) for _, words in lines for w in words if w.receiver for c in w.columns}
    found: list[dict[Key, tuple[Use, ...]]] = [{} for _ in lines]
    keys: list[set[Key]] = [set() for _ in lines]
    home: dict[Key, int] = {}
    stale = []
    for number, (subject, words) in enumerate(lines):
        for word in words:
            fitting = {key: places for key, places in _used().items() if word.fits(key, methods)}
            if word.form:
                fitting = _written(word)
            for (column, name), places in fitting.items():
                found[number][column, word.shown(name, places)] = places
                keys[number].add((column, name))
                if home.setdefault((column, name), number) != number and not word.exact:
                    raise CheatsheetError(f"cheatsheet.toml: {subject}: {name} has two rows")
            if not fitting:
                stale.append(word.text)
            if not fitting and word.exact:  # it may be a name in traps.toml
                found[number][word.columns[0], word.text] = ()
                keys[number].add((word.columns[0], word.text))
    joined, left_out = _join(home)
    for (column, name), number in joined.items():
        places = _used()[column, name]
        found[number][column, Word(f"x{name}", (column,)).shown(name, places)] = places
        keys[number].add((column, name))
    rows = [
        Row(
            subject,
            tuple(_cell(names, column) for column in COLUMNS),
            frozenset(own),
            tuple(word.text for word in words if word.bare and word.columns == COLUMNS),
            _where(names),
        )
        for (subject, words), names, own in zip(lines, found, keys, strict=True)
        if subject != OTHERS
    ]
    return Sheet(tuple(rows), tuple(stale), left_out)


def _cell(names: Iterable[Key], column: str) -> tuple[str, ...]:
    return tuple(name for of, name in names if of == column)


def _where(names: Mapping[Key, tuple[Use, ...]]) -> Use | None:
    """The use in the function that has names of the most columns; public ones come first."""
    places = [use for uses in names.values() for use in uses]
    columns: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for use in places:
        columns[use.concept, use.function].add(use.column)

    def worth(use: Use) -> tuple[bool, bool, int, int]:
        public = use.function != "" and not use.function.startswith("_")
        shown = len(columns[use.concept, use.function])
        return use.concept != BOUNDARY, public, shown, -_order().index(use.concept)

    return max(places, key=worth, default=None)


@cache
def _order() -> tuple[str, ...]:
    """The files of a column, in reading order; the boundary comes last."""
    return (*parse.concepts(), BOUNDARY)


# cheatsheet.toml


class Word(NamedTuple):
    """One word of a row in cheatsheet.toml."""

    text: str
    columns: tuple[str, ...]
    """Where it holds."""

    @property
    def exact(self) -> bool:
        """Whether it is one name, "jnp.take", that may stand in several rows."""
        return self.text.startswith(tuple(_EXACT))

    @property
    def form(self) -> ast.AST | None:
        """The code of a word such as "x[i]=v", which is a way of writing; None for a name."""
        if self.text.replace(".", "").isidentifier():
            return None
        (statement,) = ast.parse(self.text).body
        return statement.value if isinstance(statement, ast.Expr) else statement

    @property
    def bare(self) -> bool:
        """Whether it is a name in whatever module, "mean"."""
        return self.text.isidentifier()

    @property
    def receiver(self) -> str:
        """Whose method or attribute it is: "optimizer"; "" where it does not say."""
        return "" if self.exact or self.form else self.text.rpartition(".")[0]

    @property
    def leaf(self) -> str:
        """Its last part."""
        return self.text.rpartition(".")[2]

    def fits(self, key: Key, methods: Iterable[Key]) -> bool:
        """Whether a name of the sources is meant.

        Args:
            key: the column and the name.
            methods: those that a word with a receiver claims.
        """
        column, name = key
        if column not in self.columns:
            return False
        if self.exact:
            return name == self.text
        if self.receiver:
            return name == f".{self.leaf}"
        if name.startswith("."):
            return name == f".{self.text}" and (column, self.text) not in methods
        return name.rpartition(".")[2] == self.text and _is_own(key)

    def shown(self, name: str, places: Iterable[Use]) -> str:
        """How a name that it fits is written: a method with what it belongs to."""
        if not name.startswith("."):
            return name
        brackets = "()" if any(use.called for use in places) else ""
        return f"{self.receiver or 'x'}{name}{brackets}"


_EXACT = {"np.": 0, "torch.": 1, "jax.": 2, "jnp.": 2, "MPI.": 0}
"""The beginnings of exact names, each with the position of the column that it belongs to."""


def _is_own(key: Key) -> bool:
    """Whether a column takes a name from its own framework: the others use NumPy's as well."""
    return any(key[1].startswith(p) and COLUMNS[at] == key[0] for p, at in _EXACT.items())


def _lines(text: str) -> list[tuple[str, list[Word]]]:
    lines = []
    for subject, rows in tomllib.loads(text).items():
        for row in rows:
            words = []
            for word in row.split():
                framework, colon, name = word.rpartition(":")
                if colon and framework not in BY_FRAMEWORK:
                    raise CheatsheetError(f"cheatsheet.toml: {subject}: no column {framework!r}")
                begins = [(COLUMNS[at],) for begin, at in _EXACT.items() if name.startswith(begin)]
                columns = (BY_FRAMEWORK[framework],) if colon else COLUMNS
                words.append(Word(name, columns if colon or not begins else begins[0]))
            if not words:
                raise CheatsheetError(f"cheatsheet.toml: {subject}: a row is empty")
            lines.append((subject, words))
    return lines


def _written(word: Word) -> dict[Key, tuple[Use, ...]]:
    """The places where the columns write code of a word's form."""
    form = word.form
    assert form is not None
    found: defaultdict[Key, list[Use]] = defaultdict(list)
    for module in _modules(word.columns):
        owner = _owner(module)
        for node in _nodes(module):
            if isinstance(node, ast.expr | ast.stmt) and _has(form, node):
                function = owner.get(node.lineno, "")
                use = Use(module.column, module.concept, function, node.lineno, False)
                found[module.column, ast.unparse(form)].append(use)
    return {key: tuple(places) for key, places in found.items()}


def _has(form: Any, node: Any) -> bool:
    """Whether code has a form; in a form, a name of one letter stands for anything."""
    if isinstance(form, ast.Name) and len(form.id) == 1:
        return isinstance(node, ast.expr)
    if isinstance(form, ast.AST):
        fields = [field for field in form._fields if field != "ctx"]
        return type(form) is type(node) and all(
            _has(getattr(form, field), getattr(node, field)) for field in fields
        )
    if isinstance(form, list):
        return len(form) == len(node) and all(map(_has, form, node))
    return bool(form == node)


# What the sources use


def _modules(columns: Iterable[str] = COLUMNS) -> list[Module]:
    return [parse.load_column(column, name) for name in _order() for column in columns]


@cache
def _tree(module: Module) -> ast.Module:
    return ast.parse("\n".join(module.lines))


@cache
def _nodes(module: Module) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(_tree(module)))


def _owner(module: Module) -> dict[int, str]:
    """By line: the function or class of the top level that it belongs to."""
    return {n: d.name for d in module.definitions for n in range(d.start, d.stop + 1)}


@cache
def _used() -> dict[Key, tuple[Use, ...]]:
    """Where the columns use each name of a framework, and each method of anything."""
    found: defaultdict[Key, list[Use]] = defaultdict(list)
    for module in _modules():
        tree = _tree(module)
        known, owner = scope(tree), _owner(module)
        called = {id(node.func) for node in _nodes(module) if isinstance(node, ast.Call)}
        for node, name in names(tree, known):
            at = node.end_lineno or node.lineno
            use = Use(module.column, module.concept, owner.get(at, ""), at, id(node) in called)
            found[module.column, name].append(use)
    return {key: tuple(places) for key, places in found.items()}


def scope(tree: ast.AST) -> dict[str, str]:
    """What each imported name stands for: {"F": "torch.nn.functional"}."""
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                known[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                known[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return known


def names(tree: ast.AST, known: Mapping[str, str]) -> Iterator[tuple[ast.expr, str]]:
    """The names of frameworks in a piece of code, and the methods and attributes of anything.

    Args:
        tree: the code.
        known: what the imported names stand for, from `scope`.
    """
    name = _name(tree, known)
    if name and isinstance(tree, ast.expr):
        yield tree, name
    if not name or name.startswith("."):
        for child in ast.iter_child_nodes(tree):
            yield from names(child, known)


def _name(node: ast.AST, known: Mapping[str, str]) -> str:
    """The name that an expression is, as people write it: "jnp.mean", ".mean"; "" if it is none."""
    words: list[str] = []
    while isinstance(node, ast.Attribute):
        words.insert(0, node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in (*known, "self", "cls"):
        return f".{words[-1]}" if words else ""
    full = ".".join([known.get(node.id, ""), *words])
    for root, short in ROOTS.items():
        if full.startswith(f"{root}."):
            return (short + full.removeprefix(root)).replace("jax.numpy.", "jnp.")
    return ""


# Which names stand in each other's place


def _join(home: Mapping[Key, int]) -> tuple[dict[Key, int], tuple[Key, ...]]:
    """A row for each name that cheatsheet.toml leaves out, and the names that remain without one.

    It is the most frequent row of the names that other columns have in its place; there may be
    none, or two that are equally frequent.
    """
    homeless = [
        key
        for key in _used()
        if key not in home and (key[1][1:] not in OF_PYTHON if key[1][0] == "." else _is_own(key))
    ]
    votes: defaultdict[Key, Counter[int]] = defaultdict(Counter)
    for a, b in _pairs(homeless):
        for key, other in ((a, b), (b, a)):
            if key not in home and other in home:
                votes[key][home[other]] += 1
    joined: dict[Key, int] = {}
    left_out = []
    for key in homeless:
        best = votes[key].most_common(2)
        if best and (len(best) == 1 or best[0][1] > best[1][1]):
            joined[key] = best[0][0]
        elif not key[1].startswith("."):
            left_out.append(key)
    return joined, tuple(left_out)


def _pairs(keys: Iterable[Key]) -> Iterator[tuple[Key, Key]]:
    """The names at the same place of lines beside each other, in the functions that use a key."""
    wanted = {(use.concept, use.function) for key in keys for use in _used()[key]}
    for concept in _order():
        modules = parse.load(concept)
        known = [scope(_tree(module)) for module in modules]
        code = [_expressions(_tree(module)) for module in modules]
        for section in parse.sections(modules):
            if (concept, section.name) not in wanted:
                continue
            for row in section.rows():
                there = [(i, cell.line) for i, cell in enumerate(row.cells) if cell]
                for (i, line), (j, other) in itertools.combinations(there, 2):
                    for a, b in itertools.product(code[i][line], code[j][other]):
                        for x, y in _same_place(a, b, known[i], known[j]):
                            yield (COLUMNS[i], x), (COLUMNS[j], y)


def _expressions(tree: ast.AST) -> defaultdict[int, list[ast.AST]]:
    """By line: the simple statements, and the values of arguments and dictionaries, on it."""
    found: defaultdict[int, list[ast.AST]] = defaultdict(list)
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and not hasattr(node, "body"):
            found[node.lineno].append(node)
        elif isinstance(node, ast.keyword):
            found[node.value.lineno].append(node.value)
        elif isinstance(node, ast.Dict):
            for value in node.values:
                found[value.lineno].append(value)
    return found


def _same_place(
    a: Any, b: Any, ours: Mapping[str, str], theirs: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """The names at the same place of two pieces of code."""
    if isinstance(a, list) and isinstance(b, list):
        for x, y in zip(a, b, strict=True) if len(a) == len(b) else ():
            yield from _same_place(x, y, ours, theirs)
    elif isinstance(a, ast.Call) and isinstance(b, ast.Call):
        name, other = _name(a.func, ours), _name(b.func, theirs)
        if name and other:
            yield name, other
        arguments, others = ([*c.args, *(word.value for word in c.keywords)] for c in (a, b))
        for x, y in zip(arguments, others, strict=False):
            yield from _same_place(x, y, ours, theirs)
    elif isinstance(a, ast.AST) and type(a) is type(b):
        name, other = _name(a, ours), _name(b, theirs)
        if name and other:
            yield name, other
        else:
            for field in a._fields:
                yield from _same_place(getattr(a, field), getattr(b, field), ours, theirs)
