"""The time of a step on several workers: the messages, what they mean on paper, one row."""

from pathlib import Path

import pytest

from benchmarks import workers
from benchmarks.bench_classifier import RATE, SIZES, arguments, steps_of
from triptych import train
from triptych.agreement.digests import digest
from triptych.column import Column

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


def test_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(column: str, count: int, batch: int, rounds: int) -> dict[str, object]:
        if column == "numpy_ref" and count > 1:
            raise ValueError("no mpi4py")
        return {"ordinary": [1e-4, 0.0], "equal bits": [2e-4, 0.25], "digest": str(batch * rounds)}

    monkeypatch.setattr(workers, "measured", measured)
    lines = list(workers.table(3))
    assert "| NumPy, 32 rows, ordinary | 100 us | not run | not run | not run |" in lines
    assert "| JAX, 4096 rows, equal bits | 200 us, 25% | 200 us, 25% |" in lines[-2]
    assert lines[-1] == "\nNot run: no mpi4py."
    wrong = iter("aaab")
    monkeypatch.setattr(
        workers, "measured", lambda *given: measured("", *given[1:]) | {"digest": next(wrong)}
    )
    with pytest.raises(RuntimeError, match="numpy_ref on 4 workers has another digest"):
        list(workers.table(3))


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
    for kind in workers.FITS:
        seconds, share = found[kind]
        assert seconds > 0
        assert share > 0
