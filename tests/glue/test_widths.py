"""Every command on a narrow and on a wide terminal: no line too long, no word broken.

What is printed is made up or recorded; nothing is computed for it.
"""

import io
import re
import sys
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console
from test_report import full

from triptych import comparison, terminal
from triptych.agreement import digests, exhibits, training
from triptych.agreement.measures import Row
from triptych.claims import book, tables, transcript, verdicts
from triptych.names import COLUMNS
from triptych.port.report import Report
from triptych.port.verdict import Entry, Verdict
from triptych.source import lookup, reader
from triptych.timing import tables as timing

WIDTHS = (60, 80, 120, 200)
ENDLESS = 5000


def on(width: int) -> Console:
    return Console(file=io.StringIO(), width=width)


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def compare(width: int, *, agrees: bool = True) -> str:
    pairs = ("numpy_ref/torch_impl", "numpy_ref/jax_impl", "torch_impl/jax_impl", "exact/jax_impl")
    rows = [
        Row(e.concept, e.quantity, dtype, "cpu", pair, 0.137 * i * bound, e.unit, bound, True, "w")
        for e in exhibits.EXHIBITS
        for dtype in e.dtypes
        for i, pair in enumerate(pairs)
        for bound in (e.bound(dtype),)
    ]
    trainings = [
        training.Training(
            column, dtype, np.linspace(1.1, 0.7, 200), 0.62, 0.51, np.ones(3),
            {"w": np.ones(2) * (1 + i * 1e-7)},
        )
        for dtype in ("float32", "float64")
        for i, column in enumerate(COLUMNS)
    ]  # fmt: skip
    runs = [(run, dict.fromkeys(COLUMNS, run.digest)) for run in digests.committed()[:2]]
    failures = (
        [] if agrees else ["classifier, gradients, float64, numpy_ref/jax_impl: 40 eps apart"]
    )
    console = on(width)
    comparison.show(console, comparison.Outcome(rows, trainings, runs, judged(), failures))
    return text(console)


@cache
def judged() -> list[verdicts.Result]:
    """Every claim, as if each column gave what is expected of it."""
    return [
        verdicts.Result(
            claim, column, claim.true or claim.printed, claim.printed,
            verdicts.ERRATUM if claim.erratum else verdicts.HOLDS, "",
        )
        for claim in book.claims()
        for column in COLUMNS
    ]  # fmt: skip


def claims(width: int) -> str:
    console = on(width)
    tables.table(judged(), console)
    return text(console)


def claims_of_one_column(width: int) -> str:
    console = on(width)
    tables.table([r for r in judged() if r.column == "torch_impl"], console)
    return text(console)


def read(width: int) -> str:
    console = on(width)
    for concept in ("tensor_basics", "data_parallel"):
        reader.read(concept, console=console)
    reader.list_concepts(console)
    return text(console)


def cheatsheet(width: int) -> str:
    console = on(width)
    lookup.look_up((), console)
    return text(console)


def run(width: int) -> str:
    lines: list[str] = []
    for concept in ("classifier", "control_flow", "gradients", "data_loading"):
        found = [
            verdicts.Result(
                entry, column, entry.true or entry.printed, entry.printed, verdicts.HOLDS, ""
            )
            for entry in book.entries()
            if entry.concept == concept
            for column in COLUMNS
        ]
        lines += transcript.transcript(concept, COLUMNS, found, width)
    return "\n".join(lines)


def report(width: int) -> str:
    console = on(width)
    console.print(timing.terminal(full()))
    return text(console)


def train(width: int) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        file = io.StringIO()
        for line in (
            "goes on after step 50, from runs/sgd-rate-0.1-batch-32-seed-0.safetensors",
            "step 100 of 1000, loss 0.9731",
            "PyTorch, 2 workers: 100 steps in 1.25 s, 12.5 ms a step with the first call",
            "digest 7de8d2b1b0106ac8; IT MUST BE 48288471bb654ed1: please report this machine",
        ):
            terminal.say(line, file)
        return file.getvalue()


COMMANDS = (compare, claims, claims_of_one_column, read, cheatsheet, run, report, train)
OWN = {"columns", "both", "every", "pair", "and", "dtype", "dtypes", "on"}
"""Words that only a narrow layout says."""


@cache
def shown_by(command: Callable[[int], str], width: int) -> str:
    return command(width)


def words(shown: str) -> set[str]:
    return set(re.findall(r"\w+", shown))


@cache
def whole(command: Callable[[int], str]) -> set[str]:
    return words(shown_by(command, ENDLESS)) | OWN


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("command", COMMANDS)
def test_no_line_is_too_long_and_no_word_is_broken(
    command: Callable[[int], str], width: int
) -> None:
    shown = shown_by(command, width)
    assert "…" not in shown
    assert words(shown) - whole(command) == set()
    assert max(map(cell_len, shown.splitlines())) <= width


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_left_out(command: Callable[[int], str], width: int) -> None:
    """The heads of tables may go, and what a narrow table says once; no number and no name."""
    lost = whole(command) - words(shown_by(command, width)) - OWN
    assert {word for word in lost if re.search(r"\d|_", word)} == set()


def test_the_verdict_comes_first() -> None:
    assert shown_by(compare, 60).startswith("All columns agree:")
    assert compare(60, agrees=False).startswith("The columns disagree:\n  classifier, gradients")


def test_on_a_terminal_the_verdict_comes_last_as_well() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    comparison.show(console, comparison.Outcome([], [], [], [], ["the digest"]))
    assert text(console).count("The columns disagree:") == 2
    assert text(console).rstrip().endswith("the digest")


@pytest.mark.parametrize("width", WIDTHS)
def test_numbers_and_bounds_are_apart_and_units_explained_above(width: int) -> None:
    shown = shown_by(compare, width)
    legend, _, table = shown.partition("How far from each other")
    assert re.search(r"\b2\.2 of 16\b", table)
    said = " ".join(legend.split())
    for unit in ("ulp: ", "eps: ", "abs: ", "2.2 of 16: the worst distance seen"):
        assert unit in said


def test_a_port_is_judged_in_the_first_line() -> None:
    def entry(name: str, verdict: Verdict, words: str) -> Entry:
        return Entry(name, verdict, ("jax", "torch"), 1.0, None, None, words)

    right = [entry("output", "equal bits", "equal bits"), entry("loss", "rounding", "2 eps apart")]
    first, unit, *_ = str(Report(tuple(right))).splitlines()
    assert first == "agrees: 2 compared, 1 equal in every bit, the others apart by rounding"
    assert unit.startswith("eps: ")
    assert "eps" not in str(Report(tuple(right[:1])))
    wrong = [*right, entry("x", "cannot tell", "?"), entry("y", "mistake", "NaN")]
    first, *_ = str(Report(tuple(wrong))).splitlines()
    assert first == "mistake: 2 of 4 compared, the first is x"


def test_a_pipe_gets_a_line_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(sys, "__stdout__", io.StringIO())
    terminal.say("word " * 50)
    assert capsys.readouterr().out == "word " * 50 + "\n"
