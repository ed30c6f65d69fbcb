"""`triptych compare`: measure every concept, check the claims, train; do all columns agree?"""

import math
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from triptych.agreement import digests
from triptych.agreement.exhibits import EXHIBITS, agreement
from triptych.agreement.measures import Row
from triptych.agreement.tables import (
    agreement_table,
    digest_table,
    training_table,
    verdict_line,
)
from triptych.agreement.training import EPOCHS, TRAINED, Training, drift, reference_of, train
from triptych.claims import book, verdicts
from triptych.column import Column, missing, precision
from triptych.names import COLUMNS, DISPLAY_NAMES, FRAMEWORKS

SCHEMA = 1
"""Of the JSON: another number, another meaning of a field."""

PARTS = 20


class Outcome(NamedTuple):
    """Everything that a comparison found."""

    rows: list[Row]
    trainings: list[Training]
    digests: list[tuple[digests.Run, dict[str, str]]]
    """Runs with a committed digest, and what each column found."""
    claims: list[verdicts.Result]
    failures: list[str]
    """What disagrees, one line each."""


def compare(
    console: Console, *, dtypes: Sequence[str], device: str, concept: str | None
) -> Outcome:
    """Measure, say whether all columns agree, and print what was measured.

    Args:
        console: where to print; a quiet one for none.
        dtypes: "float32", "float64" or both.
        device: "cpu" or "cuda": where PyTorch and JAX compute.
        concept: only this one; None for all, and the training.

    Returns:
        What was found.
    """
    rows = _measure(console, dtypes, device, concept)
    failures = [
        f"{row.concept}, {row.quantity}, {row.dtype}, {row.pair}: {_far(row)}"
        for row in rows
        if not row.holds
    ]
    checked = _check_claims(console) if concept is None and device == "cpu" else []
    failures += [
        f"claim {r.claim.id}, {r.column}: {r.text} instead of {r.expected}"
        for r in checked
        if r.verdict == verdicts.WRONG
    ]
    trainings: list[Training] = []
    if concept in (None, "classifier"):
        trainings = _train(console, dtypes, device)
        failures += _training_failures(trainings)
    found: list[tuple[digests.Run, dict[str, str]]] = []
    if concept in (None, "reproducible") and "float32" in dtypes:
        found = _digests(console, device)
        failures += [
            f"digest of {run.steps} steps of {run.optimizer}, {column}: {digest} instead of "
            f"{run.digest}"
            for run, by_column in found
            for column, digest in by_column.items()
            if digest != run.digest
        ]
    outcome = Outcome(rows, trainings, found, checked, failures)
    show(console, outcome)
    return outcome


def show(console: Console, outcome: Outcome) -> None:
    """Print the verdict, then what it rests on; a terminal gets it again at the end."""
    verdict = verdict_line(outcome.rows, outcome.failures)
    console.print(verdict)
    for name in COLUMNS:
        if reason := missing(name):
            console.print(f"[yellow]{DISPLAY_NAMES[name]} did not run: {reason}[/]")
    if outcome.claims:
        console.print(f"\n[bold]Is the tutorial right?[/] {verdicts.summary(outcome.claims)}")
    console.print(agreement_table(outcome.rows, console.width))
    if outcome.trainings:
        console.print(training_table(outcome.trainings, console.width))
    if outcome.digests:
        console.print(digest_table(outcome.digests))
    if console.is_terminal:
        console.print(verdict)


def _progress(console: Console, what: str) -> Progress:
    """A bar; where there is no terminal for it, a line that says what is waited for."""
    if not console.is_terminal and not console.quiet:
        print(f"triptych compare: {what} ...", file=sys.stderr, flush=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        transient=True,
    )


def _measure(
    console: Console, dtypes: Sequence[str], device: str, concept: str | None
) -> list[Row]:
    chosen = [e for e in EXHIBITS if concept in (None, e.concept)]
    found = [dtype for exhibit in chosen for dtype in dtypes if dtype in exhibit.dtypes]
    total = len(found) * len(COLUMNS)  # three columns make three pairs
    what = f"{total} comparisons of three columns"
    with _progress(console, what) as progress:
        task = progress.add_task(what, total=total)
        rows = []
        for row in agreement(dtypes, device, concept):
            rows.append(row)
            progress.update(task, advance=1, description=row.concept)
    return rows


def _check_claims(console: Console) -> list[verdicts.Result]:
    what = "what the documents print"
    with _progress(console, what) as progress:
        task = progress.add_task(what, total=3 * len(book.claims()))
        return verdicts.check_all(seen=lambda _: progress.advance(task))


def _far(row: Row) -> str:
    if row.note.startswith("not run") or row.distance == float("inf"):
        return row.note
    return f"{row.distance:.3g} {row.unit} apart, allowed {row.bound:.3g}, in {row.note}"


def _train(console: Console, dtypes: Sequence[str], device: str) -> list[Training]:
    trainings = []
    with _progress(console, "training on real data") as progress:
        tasks = {
            (dtype, name): progress.add_task(f"{DISPLAY_NAMES[name]} {dtype}", total=EPOCHS)
            for dtype in dtypes
            for name in COLUMNS
            if not missing(name)
        }
        for (dtype, name), task in tasks.items():

            def advance(task: Any = task) -> None:
                progress.update(task, advance=EPOCHS // PARTS)

            with precision(dtype):
                column = Column(name, device)
                trainings.append(train(column, dtype, advance, PARTS))
    return trainings


def _digests(console: Console, device: str) -> list[tuple[digests.Run, dict[str, str]]]:
    short = digests.committed()[:2]
    columns = [Column(name, device) for name in COLUMNS if not missing(name)]
    with _progress(console, "whole runs, for their digests") as progress:
        task = progress.add_task("digests", total=len(short) * len(columns))
        found: list[tuple[digests.Run, dict[str, str]]] = []
        for run in short:
            found.append((run, {}))
            for column in columns:
                found[-1][1][column.name] = digests.find(column, run)
                progress.advance(task)
    return found


def _training_failures(trainings: Sequence[Training]) -> list[str]:
    failures = []
    for training in trainings:
        reference = reference_of(training, trainings)
        apart = drift(training, reference)
        where = f"training, {training.dtype}, {reference.column}/{training.column}"
        if training.dtype == "float64" and not apart <= TRAINED:
            failures.append(f"{where}: parameters {apart:.3g} apart, allowed {TRAINED:.3g}")
        if training.dtype == "float64" and (training.predicted != reference.predicted).any():
            failures.append(f"{where}: held-out rows are classified differently")
    return failures


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The outcome for a machine, with what it depends on: another version rounds otherwise."""
    trainings = outcome.trainings
    return {
        "schema": SCHEMA,
        "platform": platform.platform(),
        "versions": {"python": platform.python_version()}
        | {FRAMEWORKS[c]: metadata.version(FRAMEWORKS[c]) for c in COLUMNS if not missing(c)},
        "agrees": not outcome.failures,
        "failures": outcome.failures,
        "agreement": [
            row._asdict() | {"distance": row.distance if math.isfinite(row.distance) else None}
            for row in outcome.rows
        ],
        "digests": [
            {"optimizer": run.optimizer, "steps": run.steps, "committed": run.digest} | by_column
            for run, by_column in outcome.digests
        ],
        "claims": verdicts.as_records(outcome.claims),
        "training": [
            {
                "column": t.column,
                "dtype": t.dtype,
                "losses": t.losses.tolist(),
                "train_accuracy": t.train_accuracy,
                "test_accuracy": t.test_accuracy,
                "drift": drift(t, reference_of(t, trainings)),
            }
            for t in trainings
        ],
    }
