"""The time of a step on several workers: the messages, what they mean on paper, one row."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks import workers
from benchmarks.bench_classifier import RATE, SIZES, arguments, steps_of, training_bound
from triptych import train
from triptych.agreement.digests import digest
from triptych.column import Column
from triptych.timing import answers, results, tables

ROOT = Path(__file__).parents[2]


def test_the_messages_of_a_step() -> None:
    told = workers.messages((4, 20, 5, 3))
    lengths = {kind: [(op, sum(sizes)) for op, sizes in found] for kind, found in told.items()}
    # what the columns are seen to send: test_one_digest_for_any_number_of_workers
    assert lengths == {"ordinary": [("SUM", 224)], "equal bits": [("MAX", 62), ("SUM", 448)]}


def test_on_paper() -> None:
    # a short message by a tree, 2 log2(64) times; a long one in 64 parts around a ring, twice
    assert workers.all_reduce(0, 64) == pytest.approx(12 * 10e-6)
    assert workers.all_reduce(1.25e9, 64) == pytest.approx(2 * 63 * (10e-6 + 1 / 64))
    head, _, *rows = workers.on_paper()
    assert "64 workers | 1024 workers" in head
    assert rows[0].startswith("| 4-16-8-3, ordinary | 976 | 129 us |")
    assert len(rows) == 4
    page = (ROOT / "docs/concepts/data_parallel.md").read_text(encoding="utf-8")
    assert "\n".join(workers.on_paper()) in page


def said(column: str, workers: int, batch: int, rounds: int) -> dict[str, Any]:
    """What a row's first worker says."""
    if column == "numpy_ref" and workers > 1:
        raise ValueError("no mpi4py")
    seconds = {"ordinary": [1e-4 * workers] * rounds, "equal bits": [2e-4] * rounds}
    messages = {"messages": {"ordinary": 0.25, "equal bits": 0.5}} if workers > 1 else {}
    return {"seconds": seconds, "digest": str(batch), "distance": 0.0, **messages}


def test_they_are_rows_of_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "measured", said)
    told: list[str] = []
    merged = results.merge([workers.results_file(3, told.append)])
    assert "JAX, 4096 rows, 3 workers" in told
    assert merged.not_run == ["workers: no mpi4py"]
    assert len(merged.rows) == 2 * 2 * (1 + 4 + 4)
    (row,) = [
        row
        for row in merged.rows
        if (row.column, row.mode, row.batch, row.side.threads)
        == ("torch_impl", "equal bits", 32, 4)
    ]
    assert row.time
    assert (row.time.median, row.messages) == (2e-4, 0.5)
    (ratios,) = row.ratios.values()
    assert set(ratios["torch_impl:as written"]) == {2.0}
    (sentence,) = (text for text in answers.sentences(merged) if "at 32 rows" in text)
    assert sentence.startswith(f"Shortest on ({workers.TASK}, at 32 rows): NumPy as written 1 wor")
    assert "PyTorch equal bits 1 worker (200 us), JAX whole loop 1 worker (100 us)" in sentence
    console = Console(width=200, file=io.StringIO())
    console.print(tables.steady(merged, workers.TASK, merged.rows))
    assert isinstance(console.file, io.StringIO)
    assert "messages" in console.file.getvalue()
    assert "50%" in console.file.getvalue()


def test_a_wrong_result_is_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = iter("aaab")
    monkeypatch.setattr(
        workers, "measured", lambda _, *given: said("", *given) | {"digest": next(wrong)}
    )
    with pytest.raises(RuntimeError, match="numpy_ref on 4 workers has another digest"):
        workers.rows(3, lambda _: None)
    for far in (1e-4, float("nan")):
        monkeypatch.setattr(
            workers, "measured", lambda _, *given, far=far: said("", *given) | {"distance": far}
        )
        with pytest.raises(RuntimeError, match=r"numpy_ref on 1 workers: a parameter is"):
            workers.rows(3, lambda _: None)


def test_without_mpi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "numpy" or None)
    with pytest.raises(ValueError, match=r"pip install 'triptych\[distributed\]'"):
        workers.measured("numpy_ref", 2, 32)


@pytest.mark.slow
@pytest.mark.parametrize("column", ["numpy_ref", "torch_impl", "jax_impl"])
def test_two_workers_are_measured(column: str) -> None:
    try:
        train.launched_by(column, 2)
        found = workers.measured(column, 2, 32, 1)
    except ValueError as reason:
        pytest.skip(str(reason))
    given = arguments(32, steps_of(32), SIZES, "float32")
    settings = {"optimizer": "sgd", "learning_rate": RATE["sgd"]}
    expected = Column("numpy_ref").call("reproducible", "fit", *given, **settings)
    assert found["digest"] == digest(*expected)
    assert 0 < found["distance"] < training_bound("sgd", "float32", 32, steps_of(32))
    for kind in workers.FITS:
        (seconds,) = found["seconds"][kind]
        assert seconds > 0
        assert found["messages"][kind] > 0
