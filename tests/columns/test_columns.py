"""The three columns show the same picture: parity of their sources, and the tool that parses them.

A rule takes the three parsed files of a concept and yields one complaint for each offence. Every
rule is also given wrong sources, to show that it can complain.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest

from triptych import names
from triptych.names import BOUNDARY, COLUMNS, UnknownNameError
from triptych.source import align, differences, parse
from triptych.source.align import Cell
from triptych.source.differences import Difference
from triptych.source.parse import Definition, Module

LONGEST = {
    "activations": 225,
    "aliasing": 265,
    "classifier": 240,
    "data_parallel": 375,
    "execution": 205,
    "gradients": 235,
    "normalization": 205,
    "recording": 240,
    "regularization": 250,
    "reproducible": 225,
    "tensor_basics": 240,
    "transformations": 240,
}
"""How many lines a file may have, where more than LINES."""
LINES = 200
MAIN = """if __name__ == "__main__":
    from triptych.run import main

    main(__file__)"""
"""How every concept file ends, so that it runs by itself."""

Rule = Callable[[Sequence[Module]], Iterator[str]]


def differing(what: str, texts: Mapping[str, str]) -> Iterator[str]:
    """One complaint for each column whose text is not that of the first column."""
    first, *others = texts
    for other in others:
        if texts[other] != texts[first]:
            yield f"{what}:\n  {first}: {texts[first]}\n  {other}: {texts[other]}"


def each_function(modules: Sequence[Module]) -> Iterator[tuple[str, dict[str, Definition]]]:
    """The public functions that more than one column has, with their definition in each.

    Where the form differs by nature there is nothing to compare.
    """
    concept = modules[0].concept
    found = {m.column: {f.name: f for f in m.functions} for m in modules}
    forms = {name for name, d in differences.of(concept).items() if not d.absent}
    for name in dict.fromkeys(f.name for m in modules for f in m.functions):
        having = {column: fs[name] for column, fs in found.items() if name in fs}
        if len(having) > 1 and name not in forms:
            yield f"{concept}.{name}", having


def same_functions(modules: Sequence[Module]) -> Iterator[str]:
    """Those that a column lacks by nature aside, which it then has to lack."""
    concept = modules[0].concept
    declared = differences.of(concept)
    common = {
        m.column: ", ".join(
            f.name for f in m.functions if f.name not in declared or not declared[f.name].absent
        )
        for m in modules
    }
    yield from differing(f"{concept}: public functions, in order", common)
    for name, difference in declared.items():
        without = {m.column for m in modules if name not in {f.name for f in m.functions}}
        if without != set(difference.absent):
            yield (
                f"{concept}.{name}: differences.toml says that it is absent from "
                f"{difference.absent or 'no column'}, it is from {tuple(sorted(without))}"
            )


def same_parameters(modules: Sequence[Module]) -> Iterator[str]:
    for name, functions in each_function(modules):
        parameters = {column: [p.name for p in f.parameters] for column, f in functions.items()}
        lists = {column: ", ".join(names) for column, names in parameters.items()}
        yield from differing(f"{name}: parameters", lists)
        if len(set(lists.values())) > 1:
            continue
        for i, parameter in enumerate(next(iter(parameters.values()))):
            what = f"{name}: parameter {parameter}"
            all_of = {column: f.parameters[i] for column, f in functions.items()}
            yield from differing(f"{what}, kind", {c: p.kind for c, p in all_of.items()})
            yield from differing(f"{what}, default", {c: f"{p.default}" for c, p in all_of.items()})
            yield from differing(
                f"{what}, annotation", {c: p.annotation or "none" for c, p in all_of.items()}
            )


def same_returns(modules: Sequence[Module]) -> Iterator[str]:
    for name, functions in each_function(modules):
        returns = {column: f.returns or "none" for column, f in functions.items()}
        yield from differing(f"{name}: return annotation", returns)


def same_aliases(modules: Sequence[Module]) -> Iterator[str]:
    """A type alias that a public `def` line uses means the same everywhere, except `Array`."""
    used = {
        name
        for m in modules
        for f in m.functions
        for text in (f.returns, *(p.annotation for p in f.parameters))
        for name in re.findall(r"\w+", text)
    }
    found = {m.column: {a.name: a.value for a in m.aliases} for m in modules}
    names = sorted({name for aliases in found.values() for name in aliases} & used - {"Array"})
    for name in names:
        texts = {column: aliases.get(name, "") for column, aliases in found.items()}
        imported = {i.names for m in modules for i in m.imports if name in i.names}
        if imported:  # from another concept of the same column, which has its own test
            texts = {column: text for column, text in texts.items() if text}
        yield from differing(f"{modules[0].concept}: alias {name}", texts)


def same_summaries(modules: Sequence[Module]) -> Iterator[str]:
    concept = modules[0].concept
    yield from differing(
        f"{concept}: first line of the module docstring", {m.column: m.summary for m in modules}
    )
    for name, functions in each_function(modules):
        texts = {column: f.summary for column, f in functions.items()}
        yield from differing(f"{name}: first line of the docstring", texts)


def documented(modules: Sequence[Module]) -> Iterator[str]:
    for m in modules:
        if not m.docstring:
            yield f"{m.path}: no module docstring"
        for f in m.functions:
            if not f.docstring:
                yield f"{m.path}:{f.start}: {m.concept}.{f.name} has no docstring"


def framework_note(modules: Sequence[Module]) -> Iterator[str]:
    for m in modules:
        start = f"{names.DISPLAY_NAMES[m.column]}: "
        if not m.note.startswith(start):
            yield (
                f"{m.path}: the second paragraph of the module docstring must start with "
                f"{start!r}, got {m.note[:40]!r}"
            )


def short(modules: Sequence[Module]) -> Iterator[str]:
    for m in modules:
        most = LONGEST.get(m.concept, LINES)
        if len(m.lines) > most:
            yield f"{m.path}: has {len(m.lines)} lines, may have {most}"


def shape_behind(modules: Sequence[Module]) -> Iterator[str]:
    """NumPy's backward lines end in the shape of what they compute, where arrays have axes."""
    for m in modules:
        for f in m.functions:
            shapes = re.findall(r"Array, '([^']*)'", " ".join(p.annotation for p in f.parameters))
            if m.column != "numpy_ref" or set(shapes) == {""}:
                continue
            for number, line in enumerate(f.source.splitlines(), f.start):
                if re.match(r" +d_\w+(, \w+)* = ", line) and not re.search(r"  # \(.*\)", line):
                    yield f"{m.path}:{number}: {line.strip()}: which shape has it?"


def jitted_at_the_top(modules: Sequence[Module]) -> Iterator[str]:
    """`jax.jit` and `torch.compile` keep what they compile with the function that they are given.

    Of a function made inside a call they would compile at every call: they stand at the top level,
    or around a function of the top level.
    """
    for m in modules:
        tree = ast.parse("\n".join(m.lines))
        for top in ast.walk(tree):
            if not isinstance(top, ast.FunctionDef):
                continue
            inner = {n.name for n in ast.walk(top) if isinstance(n, ast.FunctionDef) and n != top}
            for node in ast.walk(top):
                if isinstance(node, ast.FunctionDef) and node is not top:
                    compiled = any("jit" in ast.unparse(d) for d in node.decorator_list)
                elif isinstance(node, ast.Call) and ast.unparse(node.func) in COMPILERS:
                    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
                    lambdas = any(isinstance(n, ast.Lambda) for n in ast.walk(node))
                    compiled = lambdas or bool(names & inner)
                else:
                    continue
                if compiled:
                    yield f"{m.path}:{node.lineno}: compiles a function made in {top.name}"


COMPILERS = ("jax.jit", "torch.compile", "jit")
PRIVATE = ("torch._", "jax._src", "jaxlib", "torch.fx.experimental", "numpy._core", "numpy.core")


def public_modules_only(modules: Sequence[Module]) -> Iterator[str]:
    """A column uses what its framework documents."""
    for m in modules:
        text = "\n".join(m.lines)
        for prefix in PRIVATE:
            for number, line in enumerate(text.splitlines(), 1):
                if re.search(rf"(?<![\w.`]){re.escape(prefix)}", line.partition("#")[0]):
                    yield f"{m.path}:{number}: uses {prefix}, which is private"


def runs_by_itself(modules: Sequence[Module]) -> Iterator[str]:
    """Every concept file ends with MAIN; the boundary has nothing to run."""
    for m in modules:
        wanted = "" if m.concept == BOUNDARY else MAIN
        if m.main != wanted or (wanted and m.blocks[-1].kind != parse.MAIN):
            yield f"{m.path}: must end with\n{wanted or 'no main block'}\ngot\n{m.main or 'none'}"


def checked_outermost(modules: Sequence[Module]) -> Iterator[str]:
    """Every public function that takes an array is `@checked`, before any other decorator."""
    for m in modules:
        if m.concept == BOUNDARY:  # where `checked` is made
            continue
        arrays = {"Array"}
        for _ in m.aliases:  # an alias may use another one
            for alias in m.aliases:
                if arrays & set(re.findall(r"\w+", alias.value)):
                    arrays.add(alias.name)
        for found in m.imports:  # `Params` of another concept
            if found.module.partition(".")[0] == m.column:
                arrays |= {name for name in found.names if name[0].isupper()}
        for f in m.functions:
            takes = [p for p in f.parameters if arrays & set(re.findall(r"\w+", p.annotation))]
            if takes and f.decorators[:1] != ("checked",):
                yield (
                    f"{m.path}:{f.start}: {m.concept}.{f.name} takes {takes[0].name}: "
                    f"{takes[0].annotation}, so its outermost decorator must be @checked, "
                    f"got {f.decorators[0] if f.decorators else 'none'}"
                )


RULES: tuple[Rule, ...] = (
    same_functions,
    same_parameters,
    same_returns,
    same_aliases,
    same_summaries,
    documented,
    framework_note,
    short,
    shape_behind,
    jitted_at_the_top,
    public_modules_only,
    runs_by_itself,
    checked_outermost,
)


def same_files(files: Mapping[str, set[str]]) -> Iterator[str]:
    """The columns have the same files."""
    for name in sorted(set().union(*files.values())):
        missing = [column for column, names in files.items() if name not in names]
        if missing:
            yield f"{name} is missing from {' and '.join(missing)}"


def require_none(complaints: Iterator[str]) -> None:
    """Fail with everything that a rule complains about."""
    found = list(complaints)
    if found:
        pytest.fail("\n".join(found), pytrace=False)


# The columns as they are

loaded = cache(parse.load)


def python_files() -> dict[str, set[str]]:
    return {c: {path.name for path in parse.directory(c).glob("*.py")} for c in COLUMNS}


def test_the_columns_have_the_same_files() -> None:
    require_none(same_files(python_files()))


def test_every_concept_is_listed() -> None:
    assert parse.concepts() == names.CONCEPTS


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("concept", [*parse.concepts(), BOUNDARY])
def test_parity(concept: str, rule: Rule) -> None:
    require_none(rule(loaded(concept)))


# Wrong columns, to show that each rule can complain

GOOD = '''"""One step.

{name}: what is different here.
"""

from {array}
from {column} import checked

Params = dict[str, Array]


@checked
def step(params: Params, *, learning_rate: float = 0.1) -> Params:
    """Gradient descent: p <- p - rate g."""
    return _update(params, learning_rate)


@checked
def norm(x: Array, /, order: int = 2) -> Array:
    """(sum_i |x_i|**order)**(1/order)."""
    return x


def count(n: int) -> int:
    """How many."""
    return n


def _update(params: Params, rate: float) -> Params:
    return params


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
'''
ARRAYS = {
    "numpy_ref": "numpy import ndarray as Array",
    "torch_impl": "torch import Tensor as Array",
    "jax_impl": "jax import Array",
}


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three good columns with one concept, `concept`, in place of the real ones."""
    for column in COLUMNS:
        (tmp_path / column).mkdir()
        name = names.DISPLAY_NAMES[column]
        text = GOOD.format(name=name, column=column, array=ARRAYS[column])
        (tmp_path / column / "concept.py").write_text(text)
        boundary = f'"""The boundary.\n\n{name}: here.\n"""\n\nimport triptych.checks\n'
        (tmp_path / column / "__init__.py").write_text(boundary)
    monkeypatch.setattr(parse, "directory", lambda column: tmp_path / column)
    return tmp_path


def plant(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("concept", ["concept", BOUNDARY])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_good_columns_pass(copies: Path, rule: Rule, concept: str) -> None:
    assert list(rule(parse.load(concept))) == []


@pytest.mark.parametrize(
    ("rule", "column", "old", "new", "message"),
    [
        (same_functions, "jax_impl", "def count", "def number", "step, norm, number"),
        (same_functions, "torch_impl", "def _update", "def update", "count, update"),
        (same_parameters, "jax_impl", "params: Params, *", "p: Params, *", "jax_impl: p, learn"),
        (same_parameters, "jax_impl", "*, learning_rate", "learning_rate", "kind:\n.*keyword-only"),
        (same_parameters, "jax_impl", "x: Array, /,", "x: Array,", "x, kind:\n.*positional-only"),
        (same_parameters, "torch_impl", "= 0.1", "= 0.01", "learning_rate, default:\n.*0.1\n"),
        (same_parameters, "torch_impl", "int = 2", "int", "order, default:\n.*2\n.*None"),
        (same_parameters, "jax_impl", "order: int", "order: float", "annotation:\n.*int\n.*float"),
        (same_parameters, "torch_impl", "x: Array,", "x,", "annotation:\n.*Array\n.*none"),
        (same_returns, "jax_impl", "0.1) -> Params", "0.1) -> None", "Params\n.*None"),
        (same_returns, "torch_impl", ") -> int", ")", "int\n.*none"),
        (same_aliases, "torch_impl", "= dict[str, Array]", "= list[Array]", "alias Params"),
        (same_aliases, "torch_impl", "Params = dict[str, Array]", "", "alias Params"),
        (same_summaries, "jax_impl", "How many", "How few", "concept.count: .*\n.*many.*\n.*few"),
        (same_summaries, "torch_impl", "One step.", "Two steps.", "module docstring"),
        (documented, "torch_impl", '    """How many."""\n', "", "concept.count has no docstring"),
        (documented, "numpy_ref", '"""One step.\n', 'x = """One step.\n', "no module docstring"),
        (framework_note, "jax_impl", "JAX: what", "Jax: what", "must start with 'JAX: '"),
        (framework_note, "torch_impl", "PyTorch: ", "JAX: ", "must start with 'PyTorch: '"),
        (short, "numpy_ref", "\n\n\n", "\n" * 180, "may have 200"),
        (shape_behind, "numpy_ref", "return x", "d_x = 2 * x\n    return d_x", "which shape"),
        (
            runs_by_itself,
            "jax_impl",
            "main(__file__)",
            "main()",
            r"must end with\n(.*\n)+.*main\(\)",
        ),
        (runs_by_itself, "torch_impl", MAIN, "", "got\nnone"),
        (runs_by_itself, "numpy_ref", "(__file__)\n", "(__file__)\n\n\nn = 1\n", "must end with"),
        (
            jitted_at_the_top,
            "jax_impl",
            "return x",
            "return jax.jit(lambda x: x)(x)",
            "a function made in norm",
        ),
        (
            jitted_at_the_top,
            "torch_impl",
            "    return n",
            "    def f(n):\n        return n\n    return torch.compile(f)(n)",
            "a function made in count",
        ),
        (
            jitted_at_the_top,
            "jax_impl",
            "    return n",
            "    @jax.jit\n    def f(n):\n        return n\n    return f(n)",
            "a function made in count",
        ),
        (public_modules_only, "torch_impl", "return n", "torch._dynamo.reset()", "uses torch._"),
        (public_modules_only, "jax_impl", "return n", "return jax._src.n", r"uses jax\._src"),
        (checked_outermost, "jax_impl", "@checked\ndef norm", "def norm", "norm takes x.*got none"),
        (checked_outermost, "jax_impl", "@checked\ndef step", "def step", "step takes params"),
        (checked_outermost, "jax_impl", "@checked", "@jax.jit\n@checked", "got jax.jit"),
    ],
)
def test_a_planted_mistake_is_named(
    copies: Path, rule: Rule, column: str, old: str, new: str, message: str
) -> None:
    plant(copies / column / "concept.py", old, new)
    complaints = "\n".join(rule(parse.load("concept")))
    assert re.search(message, complaints), complaints
    assert "concept" in complaints
    assert column in complaints


def test_the_boundary_has_nothing_to_run(copies: Path) -> None:
    with (copies / "jax_impl" / "__init__.py").open("a") as boundary:
        boundary.write(f"\n\n{MAIN}\n")
    modules = parse.load(BOUNDARY)
    (complaint,) = runs_by_itself(modules)
    assert complaint.startswith("jax_impl/__init__.py: must end with\nno main block")


def test_a_declared_difference_is_allowed_and_held(
    copies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def declare(*absent: str) -> None:
        found = Difference("concept", "count", absent, "it needs none")
        monkeypatch.setattr(differences, "differences", lambda: (found,))

    declare("jax_impl")
    assert "it is from ()" in "\n".join(same_functions(parse.load("concept")))
    text = (copies / "jax_impl" / "concept.py").read_text()
    start, stop = text.index("def count"), text.index("def _update")
    (copies / "jax_impl" / "concept.py").write_text(text[:start] + text[stop:])
    assert list(same_functions(parse.load("concept"))) == []
    plant(copies / "torch_impl" / "concept.py", "n: int", "m: int")  # the other two still agree
    assert "count: parameters" in "\n".join(same_parameters(parse.load("concept")))
    declare()  # a difference of form: nothing to compare
    assert list(same_parameters(parse.load("concept"))) == []


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("absent = ['numpy_ref']", "why is missing"),
        ("why = 'x'", "either absent or form"),
        ("why = 'x'\nform = true\nabsent = ['jax_impl']", "either absent or form"),
        ("why = 'x'\nabsent = ['numpy']", "must name some columns"),
        ("why = 'x'\nform = true\nmore = 1", "keys that nobody reads"),
    ],
)
def test_a_malformed_difference_is_named(entry: str, message: str) -> None:
    text = f"[[difference]]\nconcept = 'c'\nfunction = 'f'\n{entry}"
    with pytest.raises(differences.DifferencesError, match=rf"c\.f: .*{message}"):
        differences.parse(text)


def test_a_missing_file_is_named(copies: Path) -> None:
    (copies / "jax_impl" / "concept.py").unlink()
    assert list(same_files(python_files())) == ["concept.py is missing from jax_impl"]
    with pytest.raises(FileNotFoundError, match=r"concept has no file jax_impl/concept\.py"):
        parse.load("concept")


def test_a_complaint_fails_the_test() -> None:
    with pytest.raises(pytest.fail.Exception, match="first\nsecond"):
        require_none(iter(["first", "second"]))


# Taking a file apart

SOURCE = '''"""Summary.

NumPy: note
on two lines.

More.
"""

import os
from a.b import c, d

Pair = tuple[int, int]
LIMIT = 3


# about f
@outer
@inner(1)
def f(a, /, b: "int" = 1, *rest: str, c, d: float = 2.0, **more) -> Pair:
    """First.

    Later.
    """
    return _g(a)


class K(Base):
    """A class."""


def _g(x):
    return K(x)


after = f
# the end
'''


def test_parse() -> None:
    m = parse.parse(SOURCE, "numpy_ref", "example")
    assert (m.path, m.summary, m.note) == (
        "numpy_ref/example.py",
        "Summary.",
        "NumPy: note\non two lines.",
    )
    assert m.imports == (parse.Import("os", (), 9), parse.Import("a.b", ("c", "d"), 10))
    assert m.aliases == (parse.Alias("Pair", "tuple[int, int]", 12),)
    assert [f.name for f in m.functions] == ["f"]
    assert [h.name for h in m.helpers] == ["K", "_g"]
    f = m.functions[0]
    assert [tuple(p) for p in f.parameters] == [
        ("a", "positional-only", "", None),
        ("b", "positional or keyword", "'int'", "1"),
        ("rest", "variadic positional", "str", None),
        ("c", "keyword-only", "", None),
        ("d", "keyword-only", "float", "2.0"),
        ("more", "variadic keyword", "", None),
    ]
    assert f.signature == "f(a, /, b: 'int'=1, *rest: str, c, d: float=2.0, **more) -> Pair"
    assert f.decorators == ("outer", "inner(1)")
    assert (f.summary, f.uses, f.start, f.stop) == ("First.", ("_g",), 16, 24)
    assert f.source.startswith("# about f\n@outer")
    assert f.source.endswith("return _g(a)")


def test_a_relative_import_is_of_the_own_package() -> None:
    m = parse.parse("from . import checked\nfrom .optimizers import State\n", "jax_impl", "x")
    assert [i.module for i in m.imports] == ["jax_impl", "jax_impl.optimizers"]


def test_the_blocks_hold_every_full_line_once() -> None:
    for text in (SOURCE, *("\n".join(m.lines) for m in parse.load("classifier"))):
        m = parse.parse(text, "numpy_ref", "example")
        cells = [cell for block in m.blocks for cell in block.cells if cell.text.strip()]
        assert cells == [Cell(n, t) for n, t in enumerate(m.lines, 1) if t.strip()]


def test_what_runs_a_file_is_no_part_of_the_picture() -> None:
    texts = [f"def f():\n    return {i}\n\n\n{MAIN}\n" for i in range(3)]
    modules = [parse.parse(t, c, "x") for t, c in zip(texts, COLUMNS, strict=True)]
    assert [m.main for m in modules] == [MAIN] * 3
    assert [(s.kind, s.name) for s in parse.sections(modules)] == [(parse.FUNCTION, "f")]


def test_sections_keep_the_order_of_the_files() -> None:
    texts = (
        "def a(): ...\ndef c(): ...",
        "def a(): ...\ndef _b(): ...\ndef c(): ...",
        "def c(): 1",
    )
    modules = [parse.parse(t, c, "x") for t, c in zip(texts, COLUMNS, strict=True)]
    found = parse.sections(modules)
    assert [s.name for s in found] == ["a", "_b", "c"]
    assert [[block is not None for block in s.blocks] for s in found] == [
        [True, True, False],
        [False, True, False],
        [True, True, True],
    ]


def test_a_function_comes_with_its_private_helpers() -> None:
    text = "def f(): return _g()\ndef _g(): return _h() + f()\ndef _h(): ...\ndef k(): ..."
    modules = [parse.parse(text, c, "x") for c in COLUMNS]
    assert [s.name for s in parse.find(modules, "f")] == ["f", "_g", "_h"]


def test_importing_triptych_columns_imports_no_framework_and_no_column() -> None:
    code = (
        "import sys; from triptych.source import parse; parse.load('gradients');"
        f"print([m for m in ('numpy', 'torch', 'jax', *{COLUMNS}) if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert output.stdout == "[]\n"


# Lining up


def aligned(*texts: str) -> list[tuple[str | None, ...]]:
    """The rows of texts whose lines are separated by "/"."""
    cells = [tuple(Cell(n, t) for n, t in enumerate(text.split("/"), 1)) for text in texts]
    return [tuple(c and c.text for c in row.cells) for row in align.align(*cells)]


def test_equal_lines_share_a_row() -> None:
    assert aligned("a/b", "a/b", "a/b") == [("a", "a", "a"), ("b", "b", "b")]
    assert aligned("a b/c d/e f", "a b/e f", "c d/e f") == [
        ("a b", "a b", None),
        ("c d", None, "c d"),
        ("e f", "e f", "e f"),
    ]


def test_similar_lines_share_a_row() -> None:
    assert aligned("n = len(x)/h = np.tanh(z)", "h = torch.tanh(z)", "h = jnp.tanh(z)/del z") == [
        ("n = len(x)", None, None),
        ("h = np.tanh(z)", "h = torch.tanh(z)", "h = jnp.tanh(z)"),
        (None, None, "del z"),
    ]


def test_two_ways_stand_beside_each_other() -> None:
    assert aligned("s/a/b/e", "s/c/e", "s/e") == [
        ("s", "s", "s"),
        ("a", "c", None),
        ("b", None, None),
        ("e", "e", "e"),
    ]


def test_a_comment_stands_beside_no_code_and_a_blank_beside_no_text() -> None:
    assert aligned("# c", "d", "") == [("# c", None, None), (None, "d", None), (None, None, "")]


def test_returns_of_one_depth_meet() -> None:
    rows = aligned("r/    return p, q", "r/    x.zero_()/    return f(y)", "r/    return 7")
    assert rows[-1] == ("    return p, q", "    return f(y)", "    return 7")


def test_what_is_shared() -> None:
    rows = align.align((Cell(1, "a"), Cell(2, "")), (Cell(1, "a"),), (Cell(5, "b"),))
    assert [(row.shared, row.same) for row in rows] == [((2, 2, 1), False), ((3, 3, 3), True)]


@pytest.mark.parametrize("concept", parse.concepts())
def test_every_line_stands_in_one_row_in_order(concept: str) -> None:
    for section in parse.sections(parse.load(concept)):
        rows = section.rows()
        for column, block in enumerate(section.blocks):
            cells = [row.cells[column] for row in rows if row.cells[column] is not None]
            assert cells == list(block.cells if block else ())


# Names that do not exist


def test_an_unknown_concept_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as error:
        parse.load("clasifier")
    assert isinstance(error.value, ValueError)
    assert error.value.nearest[0] == "classifier"
    assert "no concept 'clasifier'; did you mean classifier?" in str(error.value)
    assert all(concept in str(error.value) for concept in parse.concepts())


def test_an_unknown_function_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean loss_and_grads") as error:
        parse.find(parse.load("classifier"), "loss_and_grad")
    assert "no function in classifier 'loss_and_grad'" in str(error.value)
    with pytest.raises(UnknownNameError, match="did you mean loss_and_grads") as error:
        parse.find(parse.load("classifier"), "grads")
    with pytest.raises(UnknownNameError) as error:
        parse.find(parse.load("gradients"), "zzz")
    assert error.value.nearest == ()
    assert str(error.value).startswith("no function in gradients 'zzz'. There are: quadratic")


def test_no_path_is_a_concept() -> None:
    for name in ("../setup", "", "numpy_ref/gradients"):
        with pytest.raises(UnknownNameError):
            parse.load(name)
