"""The claims: every one in every column, and proof that a wrong one does not pass."""

import inspect
import io
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console
from support.strict import load_column

from triptych import trees
from triptych.__main__ import main
from triptych.claims import book, program, tables, verdicts
from triptych.claims.book import ABSENT, Claim
from triptych.claims.verdicts import DIFFERS, ERRATUM, HOLDS, MISSING, WRONG, Result
from triptych.column import Column, precision
from triptych.names import COLUMNS, UnknownNameError

CLAIMS = book.claims()
ROOT = Path(__file__).parents[2]

# what the documents compute and show, by the names of their tables and by row
COVERED = {
    "Tensor basics": (
        "A-t0 A-t1 A-t2 A-image C-t0 C-t1 C-t2 C-t3 C-t1-dtype C-ragged A-add A-mul A-dot A-dev "
        "E-np C-torch E-linea C-lists"
    ),
    "Gradients of small graphs": (
        "A-quadratic A-product A-cube A-chain A-chain-step A-affine E-affine D-square D-shared"
    ),
    "How the engine behaves": (
        "A-accumulate A-reset D-accumulate A-vjp A-retain A-untracked A-nograd C-nograd "
        "D-nograd E-leaf E-graph D-infer E-zero-grad C-leaf A-grad C-grad E-grad E-steepest"
    ),
    "Define-by-run and define-then-run": "A-run A-flow",
    "A linear layer by hand": (
        "C-forward C-untracked C-first C-rate C-step-0 C-step-1 C-step-2 C-step-9 C-step-99 "
        "C-step-199 C-step-499 C-step-999 C-float32 C-infer C-any C-next"
    ),
    "Linear regression": (
        "A-line A-line-epoch-0 A-line-epoch-10 A-line-epoch-20 A-line-epoch-90 D-line "
        "D-starts E-line E-least-squares"
    ),
    "The three-layer classifier": (
        "B-shape B-names B-count B-math B-softmax B-summary B-modes B-state B-backward B-next "
        "B-data B-bmi B-output B-order B-relu B-methods C-optim"
    ),
}

ERRATA = {
    "A-chain-step-x": "24",
    "A-chain-step-b": "11",
    "C-step-2-loss": "3.068e-01",
    "C-float32-step-2": "3.068e-01",
    "C-float32-step-499": "3.412e-11",
    "C-float32-step-999": "2e-12",
    "C-any-zeros": "0.6088",
    "C-any-reversed": "0.9396",
    "C-any-ones": "2.414",
    "A-line-epoch-0-loss": "27.6667",
    "A-line-epoch-0-w": "2.27",
    "A-line-epoch-0-b": "1.00",
    "A-line-epoch-10-loss": "0.0009",
    "A-line-epoch-10-w": "2.03",
    "A-line-epoch-10-b": "0.92",
    "A-line-epoch-20-loss": "0.0005",
    "A-line-epoch-20-w": "2.03",
    "A-line-epoch-20-b": "0.94",
    "A-line-epoch-90-b": "0.99",
    "D-line-w": "1.745",
    "D-line-b": "0.579",
    "B-count": "243",
    "B-math-stored": "(16, 4)",
    "B-backward-update": "unchanged",
    "A-chain-sum": "20",
    "A-grad-computed": "tensor(10.)",
    "A-line-direction": "grows",
    "B-methods": "tensor(2.)",
    "B-names-parameters": "torch.Size([16, 4])",
    "B-order": "False",
    "B-output-text": "tensor([[ 0.2410, -0.0890,  0.5100]], grad_fn=<AddmmBackward0>)",
    "B-relu": "False",
    "B-state-dict": "weight, bias, running_mean, running_var, num_batches_tracked",
    "C-grad-everywhere": "None",
    "C-leaf": "False",
    "C-optim": "False",
    "C-torch": "AttributeError",
    "D-shared-comment": "7",
    "D-starts-learned": "0.0005",
    "E-grad": "False",
    "E-linea": "AttributeError",
    "E-np-layer-float64": "float64",
}


@pytest.fixture(scope="module")
def found() -> list[Result]:
    return verdicts.check_all()


def of(results: list[Result], name: str, column: str) -> Result:
    return next(r for r in results if r.claim.id == name and r.column == column)


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("name", [claim.id for claim in CLAIMS])
def test_claim(name: str, column: str, found: list[Result], request: Any) -> None:
    load_column(column, request.config)  # skips, or fails, if the framework is missing
    r = of(found, name, column)
    assert r.verdict in (HOLDS, DIFFERS, ERRATUM), (
        f"{r.text!r}, expected {r.expected!r}: {r.detail}"
    )
    assert (r.verdict == ERRATUM) == (r.claim.erratum and r.text != ABSENT)


def test_every_entry_of_the_documents_is_covered() -> None:
    for section, entries in COVERED.items():
        names = [claim.id for claim in CLAIMS if claim.section == section]
        for entry in entries.split():
            assert any(name == entry or name.startswith(f"{entry}-") for name in names), entry
        for name in names:
            assert any(f"{name}-".startswith(f"{entry}-") for entry in entries.split()), name
    assert {claim.section for claim in CLAIMS} == set(COVERED)


def test_the_mistakes_of_the_documents() -> None:
    assert {claim.id: claim.true for claim in book.errata()} == ERRATA


@pytest.mark.parametrize(
    ("readme", "before", "after"),
    [
        ("README.md", "five tutorials in all three columns:", "mistakes."),
        ("README.ja.md", "三つの実装すべてで確かめました。", "個です。"),
    ],
)
def test_readme_states_how_many_claims_there_are(
    readme: str, before: str, after: str, found: list[Result]
) -> None:
    if any(r.verdict == MISSING for r in found):
        pytest.skip("a framework is missing")
    origins = Counter(claim.origin for claim in CLAIMS)
    kinds = Counter(verdicts.overall(row) for row in verdicts.by_claim(found).values())
    text = " ".join((ROOT / readme).read_text(encoding="utf-8").split())
    said = text.partition(before)[2].partition(after)[0]
    assert [int(number) for number in re.findall(r"\d+", said)] == [
        len(CLAIMS),
        *(origins[origin] for origin in ("printed", "stated", "derived")),
        *(kinds[verdict] for verdict in (HOLDS, DIFFERS, ERRATUM)),
        len(book.mistakes()),
    ], readme


# A claim that is wrong does not pass


def changed(text: str, digit: int) -> str:
    """The text with another digit, or with another word if there is none."""
    places = [i for i, character in enumerate(text) if character.isdigit()]
    if not places:
        return f"not {text}"
    i = places[digit]
    return f"{text[:i]}{(int(text[i]) + 1) % 10}{text[i + 1 :]}"


@pytest.mark.parametrize("digit", [pytest.param(0, marks=pytest.mark.slow), -1])
def test_other_digits_fail(column: Any, digit: int) -> None:
    wrong = []
    for claim in CLAIMS:
        if claim.true is not None and column.name not in claim.own:
            wrong.append(claim._replace(true=changed(claim.true, digit)))
        elif claim.without_gpu is None and column.name not in claim.own:
            wrong.append(claim._replace(printed=changed(claim.printed, digit)))
        if column.name in claim.own:
            own = {column.name: changed(claim.own[column.name], digit)}
            wrong.append(claim._replace(own=own))
    assert len(wrong) >= len(CLAIMS) - 1
    for r in verdicts.check_all([column.name], only=wrong):
        assert r.verdict == WRONG, r


def test_an_erratum_that_holds_fails(column: Any) -> None:
    as_true = [claim._replace(printed=claim.true or "") for claim in book.errata()]
    marked = [claim._replace(true="0") for claim in CLAIMS if not claim.erratum and not claim.own]
    marked += [claim._replace(true=claim.printed) for claim in CLAIMS if not claim.erratum]
    for r in verdicts.check_all([column.name], only=as_true + marked):
        if column.name not in r.claim.own and r.claim.without_gpu is None:
            assert r.verdict == WRONG, r


def test_a_mistake_in_a_column_is_found(column: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def verdict(name: str) -> str:
        return verdicts.check(book.claim(name), column.name).verdict

    plants: list[tuple[str, str, str, Any]] = [
        ("A-quadratic-dx", "gradients", "quadratic", lambda f: lambda x: f(x + 0.5)),
        ("B-count", "parameters", "count", lambda f: lambda params: 299),
        ("C-step-9-loss", "linear_layer", "fit", faster),
        ("C-ragged", "tensor_basics", "tensor", lambda f: lambda data: data),
        ("A-run-tf1", "control_flow", "define_then_run", lambda f: lambda x: ("", x)),
        ("B-softmax-p", "classifier", "probabilities", lambda f: lambda params, x: 1 / 0),
    ]
    for name, concept, function, plant in plants:
        assert verdict(name) != WRONG
        module = getattr(column, concept)
        with monkeypatch.context() as patch:
            patch.setattr(module, function, plant(getattr(module, function)))
            assert verdict(name) == WRONG, name
        assert verdict(name) != WRONG


def faster(train: Any) -> Any:
    def train_faster(*args: Any, learning_rate: float, steps: int) -> Any:
        return train(*args, learning_rate=learning_rate * 1.001, steps=steps)

    return train_faster


# How a value is written


@pytest.mark.parametrize(
    ("value", "like", "text"),
    [
        (7.0, "7", "7"),
        (np.float32(7), "7.0", "7.0"),
        (np.array(0.30675), "3.067e-01", "3.068e-01"),
        (-1e-9, "0.00", "0.00"),
        (np.array([3.0, 7.0]), "[3, 7]", "[3, 7]"),
        (np.array([[1.25], [-0.5]]), "[[1.25], [0.00]]", "[[1.25], [-0.50]]"),
        ((2, 3), "(2, 3)", "(2, 3)"),
        ((3,), "(4,)", "(3,)"),
        (np.bool(True), "True", "True"),
        (None, "None", "None"),
        ("int32", "int64", "int32"),
        (["add", "mul"], "AddBackward0", "add, mul"),
        (KeyError("x"), "RuntimeError", "KeyError"),
        (14.0, "RuntimeError", "14"),
        (float("nan"), "1.00", "nan"),
        ([[1, 2], [3]], "ValueError", "[[1, 2], [3]]"),
        (np.array([True, False]), "[True]", "[True, False]"),
        ({"w": 1.0}, "1", "{'w': 1.0}"),
    ],
)
def test_written(value: Any, like: str, text: str) -> None:
    assert verdicts.written(value, like) == text


def test_precision_is_that_of_the_claim(column: Any) -> None:
    claim = book.claim("C-forward-loss")._replace(at="loss", show="dtype")
    for dtype in ("float32", "float64"):
        assert verdicts.check(claim._replace(dtype=dtype), column.name).text == dtype


# What a reader is told to run is what was run


@pytest.mark.slow_in("torch_impl")
@pytest.mark.slow_in("jax_impl")
@pytest.mark.parametrize("name", [claim.id for claim in CLAIMS])
def test_the_program_gives_the_same(
    name: str,
    column: Any,
    found: list[Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    claim = book.claim(name)
    with precision(claim.dtype):
        compare(claim, column.name, of(found, name, column.name))


def compare(claim: Claim, column: str, r: Result) -> None:
    if r.text == ABSENT:
        return
    if claim.program:
        assert program.program(claim, column) == claim.code  # that text is what is run
        return
    *lines, last = program.program(claim, column).splitlines()
    scope: dict[str, Any] = {}
    try:
        exec("\n".join(lines), scope)
        value = eval(last, scope)
        value = list(value) if inspect.isgenerator(value) else value
        value = book.REDUCERS[claim.show](value) if claim.show else value
        value = trees.mapped(lambda x: np.asarray(x) if hasattr(x, "dtype") else x, value)
    except Exception as error:
        value = error
    assert verdicts.written(value, r.expected) == r.text


# Reading the file

CALL = "gradients.cube(1.0)"
GOOD = f'''
[[section]]
title = "T"
[section.A-x]
what = "w"
call = "{CALL}"
printed = "1"
origin = "printed"
'''
CODE = GOOD.replace(f'call = "{CALL}"', 'code = "print(1)"\nconcept = "mechanics"')


def test_the_smallest_claim() -> None:
    (claim,) = book.parse(GOOD)
    assert (claim.id, claim.document, claim.phrase, claim.dtype) == ("A-x", "A", "w", "float64")
    assert (claim.origin, claim.program) == ("printed", False)


def test_a_program_is_judged_by_what_it_prints_character_by_character() -> None:
    (claim,) = book.parse(CODE)
    assert claim.program
    assert [r.verdict for r in verdicts.check_all(only=[claim])] == [DIFFERS, HOLDS, DIFFERS]

    def verdict(**changes: Any) -> str:
        return verdicts.check(claim._replace(**changes), "torch_impl").verdict

    for code in ("print(1.0)", "print(1, end=' .')", "print(' 1')", "print('1 ')"):
        assert verdict(code=code) == WRONG, code
    assert verdict(code="print(2)", true="2") == ERRATUM
    assert verdict(code="print(0)\nprint(1)") == WRONG
    assert verdict(code="print(0)\nprint(1)", at="1") == HOLDS
    assert verdict(code="1 / 0", printed="ZeroDivisionError") == HOLDS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("printed", "print"), "A-x: no key 'print'"),
        (GOOD.replace('printed = "1"', ""), "A-x: printed is missing"),
        (GOOD.replace("origin", "# origin"), "A-x: origin must be one of printed, stated, derived"),
        (GOOD.replace('"printed"', '"ours"'), "A-x: origin must be one of .*, got 'ours'"),
        (GOOD.replace('"printed"', '"derived"') + 'true = "2"\n', "what we derived is no mistake"),
        (GOOD + 'code = "print(1)"\n', "A-x: call and code: one of them"),
        (CODE.replace("print(1)", "print("), "A-x: code must be Python"),
        (CODE.replace('concept = "mechanics"', ""), "A-x: concept is missing"),
        (CODE + 'show = "shape"\n', "A-x: code is judged by what it prints"),
        (CODE + 'jax = "1"\n', "A-x: code is judged by what it prints"),
        (GOOD.replace('printed = "1"', "printed = 1"), "A-x: printed must be a string, got 1"),
        (GOOD.replace(f'call = "{CALL}"', ""), "A-x: call is missing"),
        (GOOD.replace('what = "w"', ""), "A-x: what is missing"),
        (GOOD.replace("A-x", "Q-x"), "Q-x: the name must begin with a document"),
        (GOOD.replace(CALL, "data.line("), "A-x: call must be Python"),
        (GOOD.replace(CALL, "gradient.cube(1.0)"), "A-x: call: no name 'gradient'"),
        (GOOD + 'show = "form"\n', "A-x: show must be one of shape"),
        (GOOD + 'dtype = "float16"\n', "A-x: dtype must be"),
        (GOOD + 'true = "2"\n', "A-x: an erratum, or a column that differs, needs an explanation"),
        (GOOD + 'jax = "2"\n', "A-x: an erratum, or a column that differs, needs an explanation"),
        (GOOD.replace('title = "T"\n', ""), "needs a title"),
        (GOOD + '[section]\ny = { printed = "2" }\n', "is not TOML"),
        ('[names]\na = "b"\nb = "a"\n' + GOOD, "names.a: b is defined by itself|a is defined"),
        (
            GOOD + 'x.printed = "1"\n[section.A-x-x]\nwhat = "w"\ncall = "np"\nprinted = "2"',
            "A-x-x",
        ),
        ('[[section]]\ntitle = "T"\nA-x = 3\n', "A-x: must be a table, got 3"),
    ],
)
def test_a_malformed_entry_is_named(text: str, message: str) -> None:
    with pytest.raises(book.ClaimsError, match=message):
        book.parse(text)


def test_every_claim_says_enough() -> None:
    for claim in CLAIMS:
        assert claim.phrase.isascii()
        assert claim.printed.strip() == claim.printed != ""
        assert claim.place or claim.document != "A", claim.id


MISTAKE = '[[mistake]]\nclaims = "A-x"\nsays = "1"\nreally = "2"\nja = ["1", "2"]\n'
WRONG_ONE = GOOD + 'true = "2"\nexplanation = "e"\n'


def test_a_mistake_in_brief() -> None:
    (mistake,) = book.parse_mistakes(WRONG_ONE + MISTAKE)
    assert (mistake.source, mistake.says, mistake.japanese) == ("A", "1", ("1", "2"))
    assert [claim.id for claim in mistake.claims] == ["A-x"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (WRONG_ONE, "not of one mistake: A-x"),
        (WRONG_ONE + MISTAKE + MISTAKE, "not of one mistake: A-x"),
        (GOOD + MISTAKE, "mistake A-x: no erratum begins with A-x"),
        (WRONG_ONE + MISTAKE.replace("A-x", "A-"), "no erratum begins with A-"),
        (WRONG_ONE + MISTAKE.replace('says = "1"', ""), "mistake A-x: must have claims, says"),
        (WRONG_ONE + MISTAKE.replace('["1", "2"]', '["1"]'), "a pair"),
        (WRONG_ONE + MISTAKE + "more = 1\n", "and no more"),
    ],
)
def test_a_malformed_mistake_is_named(text: str, message: str) -> None:
    with pytest.raises(book.ClaimsError, match=message):
        book.parse_mistakes(text)


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"no claim 'B-cuont'; did you mean B-count"):
        book.claim("B-cuont")
    with pytest.raises(UnknownNameError, match="no column 'jax'; did you mean jax_impl"):
        verdicts.check_all(["jax"])


def test_the_beginning_of_a_name_is_enough() -> None:
    assert [c.id for c in book.named("B-count")] == ["B-count"]
    assert book.named("B") == tuple(c for c in CLAIMS if c.document == "B")
    assert {c.id for c in book.named("A-line")} > {"A-line-loss-0"} or book.named("A-line")
    assert {c.id for c in book.named("A-cube")} == {"A-cube-y", "A-cube-dx"}
    with pytest.raises(UnknownNameError, match="no claim 'Z'"):
        book.named("Z")


# What does not need a framework does not import one


def test_a_missing_framework_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    words = {"torch_impl": "torch is not installed", "jax_impl": "jax is not installed"}
    monkeypatch.setattr(verdicts, "missing", lambda column: words.get(column, ""))
    some = [book.claim("B-count"), book.claim("A-retain-freed")]
    results = verdicts.check_all(only=some)
    assert [r.verdict for r in results] == [ERRATUM, MISSING, MISSING, DIFFERS, MISSING, MISSING]
    assert verdicts.summary(results) == (
        "2 claims in NumPy: 0 hold, 1 have another answer in some column, "
        "1 are mistakes of the documents; "
        "1 printed there, 1 said there in words, 0 derived by us; "
        "not installed: PyTorch, JAX; no surprise"
    )
    assert table(results, 120).count("installed") == 4
    for width in (60, 80, 120):
        assert "WRONG" not in table(results, width).partition("\n\n")[2]
        assert "torch is not installed" in explained("B-count", width, results)


def test_only_the_columns_asked_for_are_imported() -> None:
    code = (
        "import sys; from triptych.claims import verdicts; verdicts.check_all(['numpy_ref']);"
        "print('torch' in sys.modules, 'jax' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False False\n"


# On the terminal


def table(results: list[Result], width: int, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=width, **options)
    tables.table(results, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def explained(name: str, width: int, results: list[Result]) -> str:
    console = Console(file=io.StringIO(), width=width)
    tables.explain(name, console, results)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def packed(text: str) -> str:
    return re.sub(r"\s", "", text)


@pytest.mark.parametrize("width", [60, 76, 80, 109, 110, 120, 200])
@pytest.mark.parametrize("count", [1, 3])
def test_the_table_fits(found: list[Result], width: int, count: int) -> None:
    shown = [r for r in found if r.column in COLUMNS[:count]]
    lines = table(shown, width).splitlines()
    assert max(map(cell_len, lines)) <= width
    first = Counter(word for line in lines for word in line.split()[:1])
    for claim in CLAIMS:
        assert first[claim.id] == 1, claim.id


@pytest.mark.parametrize("width", [60, 80, 120])
def test_errata_are_marked_without_colour(found: list[Result], width: int) -> None:
    text = table(found, width)
    assert "\x1b" not in text
    lines = [*text.splitlines(), ""]
    starts = [i for i, line in enumerate(lines) if line.split()[:1] and line[:1] in "ABCDE"]
    for claim in CLAIMS:
        at = next(i for i in starts if lines[i].split()[0] == claim.id)
        stop = next(i for i in (*starts, lines.index("", at)) if i > at)
        entry = "\n".join(lines[at : min(stop, lines.index("", at))])
        ran = [r for r in found if r.claim.id == claim.id and r.verdict != MISSING]
        marked = any(r.verdict == ERRATUM for r in ran)
        assert ("✗" in entry and "→" in entry and "erratum" in entry) == marked, entry


def test_the_table_is_ascii_where_it_must_be(found: list[Result]) -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    tables.table(found, Console(file=file, width=120))
    tables.explain("B-count", Console(file=file, width=120), found)


def test_the_table_of_one_section(found: list[Result]) -> None:
    text = table([r for r in found if r.claim.id == "B-count"], 120)
    assert re.search(r"B-count +number of parameters +✗ 299 +→ 243", text)
    assert "as printed" in table([], 80)
    assert verdicts.check_all(only=[]) == []


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", [*ERRATA, "A-retain-freed", "A-dev", "B-modes-eval", "B-state"])
def test_a_claim_is_explained(name: str, width: int, found: list[Result]) -> None:
    claim = book.claim(name)
    text = explained(name, width, found)
    code = program.program(claim, "torch_impl")
    said, _, shown = text.partition("To see it")
    assert max(map(cell_len, said.splitlines())) <= width
    for part in (claim.phrase, claim.printed, claim.true or "", claim.explanation,
                 book.ORIGINS[claim.origin]):  # fmt: skip
        assert packed(part) in packed(said.replace("\n", ""))
    assert ("erratum" in said.splitlines()[0]) == claim.erratum
    if not claim.program:
        *lines, value = code.splitlines()
        code = "\n".join([*lines, f"print({value})"])
    assert code in shown.replace("numpy_ref", "torch_impl")


def test_json(found: list[Result]) -> None:
    records = json.loads(json.dumps(verdicts.as_records(found)))
    assert len(records) == len(CLAIMS) * len(COLUMNS)
    (record,) = [r for r in records if r["id"] == "B-count" and r["column"] == "numpy_ref"]
    assert record == {
        "id": "B-count",
        "document": "B",
        "place": "",
        "section": "The three-layer classifier",
        "claim": "number of parameters",
        "dtype": "float64",
        "origin": "printed",
        "printed": "299",
        "true": "243",
        "column": "numpy_ref",
        "text": "243",
        "expected": "243",
        "verdict": "erratum",
        "detail": "",
    }


def test_progress_is_told() -> None:
    told: list[Result] = []
    some = [book.claim("B-count"), book.claim("A-add")]
    assert verdicts.check_all(["numpy_ref"], only=some, seen=told.append) == told
    assert [r.claim.id for r in told] == ["B-count", "A-add"]


def test_the_worst_of_the_columns_is_the_verdict_on_a_claim() -> None:
    (some,) = verdicts.check_all(["numpy_ref"], only=[book.claim("B-count")])
    order = [WRONG, ERRATUM, DIFFERS, HOLDS, MISSING]
    for i, worse in enumerate(order):
        for better in order[i:]:
            for pair in ((worse, better), (better, worse)):
                assert verdicts.overall([some._replace(verdict=v) for v in pair]) == worse


def test_a_column_whose_own_answer_is_the_printed_one_in_fewer_digits_is_wrong() -> None:
    claim = book.claim("A-quadratic-dx")
    claim = claim._replace(printed="7.00", own={"numpy_ref": "7"})
    assert verdicts.check(claim, "numpy_ref").text == "7"
    assert verdicts.check(claim, "numpy_ref").verdict == WRONG


def test_a_wrong_claim_is_the_commands_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["claims", "B-count", "--column", "numpy_ref"]
    assert main(words) == 0
    monkeypatch.setattr(Column("numpy_ref").parameters, "count", lambda params: 299)
    assert main(words) == 1
    assert main([*words, "--json"]) == 1
    assert '"verdict": "WRONG"' in capsys.readouterr().out


def test_summary(found: list[Result]) -> None:
    numpy = [r for r in found if r.column == "numpy_ref"]
    kinds = Counter(r.verdict for r in numpy)
    origins = Counter(claim.origin for claim in CLAIMS)
    assert kinds[DIFFERS]
    assert verdicts.summary(numpy) == (
        f"{len(CLAIMS)} claims in NumPy: {kinds[HOLDS]} hold, "
        f"{kinds[DIFFERS]} have another answer in some column, "
        f"{kinds[ERRATUM]} are mistakes of the documents; {origins['printed']} printed there, "
        f"{origins['stated']} said there in words, {origins['derived']} derived by us; no surprise"
    )
    wrong = [numpy[0]._replace(verdict=WRONG), *numpy[1:]]
    assert verdicts.summary(wrong).endswith(f"; 1 WRONG: {numpy[0].claim.id} in NumPy")
