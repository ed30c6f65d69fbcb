"""Rows in turn: their order, their ratios, and processes that know nothing of each other."""

import itertools
import math
import os
import random
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import bench_classifier, harness, turns
from benchmarks.cases import Case, InvalidRow, Target
from triptych.column import missing
from triptych.timing.results import interval

ROOT = Path(__file__).resolve().parents[2]
SEEN: list[str] = []
"""What a row may find of the rows before it, if they share a process."""


def row(column: str, mode: str = "as written", make: Any = None, **fields: Any) -> Case:
    return Case("none", "a task", column, mode, 32, 10, make, **fields)


class Told:
    """A worker with times of its own: the machine slows down by what `drift` says."""

    times: dict[str, float] = {}  # noqa: RUF012
    asked: list[str] = []  # noqa: RUF012
    drift: list[float] = []  # noqa: RUF012
    waits = 1.0

    def __init__(self, case: Case, threads: int) -> None:
        self.case, self.threads, self.turn = case, threads, 0

    def ask(self, what: str) -> Any:
        if what == "seconds":
            return 0.0
        if what == "finish":
            return self.case.row(self.threads)
        if what == "age":
            return None
        self.asked.append(self.case.column)
        slow = self.drift[self.turn % len(self.drift)]
        self.turn += 1
        second = self.times[self.case.column] * slow
        return harness.Turn(second * self.waits, second, 0.0)

    def end(self) -> None:
        self.asked.append(f"end {self.case.column}")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> type[Told]:
    monkeypatch.setattr(Told, "asked", [])
    monkeypatch.setattr(Told, "times", {"numpy_ref": 3e-6, "torch_impl": 6e-6, "jax_impl": 1e-6})
    monkeypatch.setattr(Told, "drift", [1.0])
    return Told


def columns() -> list[Case]:
    return [row("numpy_ref"), row("torch_impl"), row("jax_impl")]


def infos(found: dict[str, turns.Outcome]) -> list[dict[str, Any]]:
    assert all(isinstance(one, turns.Measured) for one in found.values())
    return [one.row for one in found.values() if isinstance(one, turns.Measured)]


def test_each_has_its_turn(told: type[Told]) -> None:
    turns.measure(columns(), 1, 0.01, worker=told)
    names = ["numpy_ref", "torch_impl", "jax_impl"]
    counted = turns.FEWEST + turns.AGED
    assert told.asked == names * counted + [f"end {name}" for name in names]


def test_a_ratio_is_taken_within_a_turn(told: type[Told], monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine is up to a hundred times slower now and then: the ratio does not know."""
    monkeypatch.setattr(told, "drift", [1.0, 100.0, 3.0, 7.0, 50.0, 2.0, 30.0])

    class Wavers(told):  # type: ignore[misc, valid-type]
        """PyTorch's row takes twice as long as NumPy's, but for two turns of seven."""

        def ask(self, what: str) -> Any:
            turn = super().ask(what)
            if not isinstance(turn, harness.Turn) or self.case.column != "torch_impl":
                return turn
            return turn._replace(cpu=turn.cpu * {4: 0.1, 6: 0.1}.get(self.turn % 7, 1.0))

    numpy, torch, jax = infos(turns.measure(columns(), 1, 0.01, worker=Wavers))
    # the ratio of their medians is 0.86
    assert numpy["ratios"]["torch_impl:as written"] == [pytest.approx(2)]
    assert torch["ratios"]["numpy_ref:as written"] == [pytest.approx(0.5)]
    assert jax["ratios"].keys() == {"numpy_ref:as written", "torch_impl:as written"}
    assert jax["ratios"]["numpy_ref:as written"] == [pytest.approx(3)]


def test_a_neighbour_does_not_stretch_the_time_of_one_thread(
    told: type[Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stretched(told):  # type: ignore[misc, valid-type]
        def ask(self, what: str) -> Any:
            turn = super().ask(what)
            waits = 9.0 if self.case.column == "numpy_ref" else 1.0
            return turn._replace(wall=turn.wall * waits) if isinstance(turn, harness.Turn) else turn

    for threads, clock, ratio in ((1, "cpu", 2.0), (2, "wall", 2.0 / 9)):
        numpy, *_ = infos(turns.measure(columns(), threads, 0.01, worker=Stretched))
        assert numpy["ratios of"] == clock
        assert numpy["ratios"]["torch_impl:as written"] == [pytest.approx(ratio)]
        assert numpy["cpu"] == {"median": pytest.approx(3e-6), "min": pytest.approx(3e-6)}


def test_a_ratio_is_of_pairs_of_processes(told: type[Told]) -> None:
    """Each process has a luck of its own, which more turns of it would not show."""
    luck = {"numpy_ref": iter([1.0, 2.0, 1.0, 1.0, 1.0]), "torch_impl": iter([1.0] * 4 + [0.5])}

    class Lucky(told):  # type: ignore[misc, valid-type]
        def __init__(self, case: Case, threads: int) -> None:
            super().__init__(case, threads)
            self.luck = next(luck.get(case.column, iter([1.0])))

        def ask(self, what: str) -> Any:
            turn = super().ask(what)
            return (
                turn._replace(cpu=turn.cpu * self.luck) if isinstance(turn, harness.Turn) else turn
            )

    rows = columns()[:2]
    numpy, torch = turns.measure(rows, 1, 0.05, processes=5, worker=Lucky).values()
    assert isinstance(numpy, turns.Measured)
    assert isinstance(torch, turns.Measured)
    assert numpy.row["ratios"] == {"torch_impl:as written": [2.0, 1.0, 2.0, 2.0, 1.0]}
    assert torch.row["ratios"] == {"numpy_ref:as written": [0.5, 1.0, 0.5, 0.5, 1.0]}
    assert [len(one) for one in numpy.processes] == [turns.FEWEST] * 5
    assert len(numpy.turns) == 5 * turns.FEWEST
    # the old ones have ended before the new ones begin
    asked = ["numpy_ref", "torch_impl"] * turns.FEWEST + ["end numpy_ref", "end torch_impl"]
    assert told.asked[: 2 * len(asked)] == asked * 2


def test_the_budget_is_that_of_all_processes(told: type[Told]) -> None:
    one, five = (
        fewest_turns(turns.measure(columns(), 1, 8.0, processes=n, worker=told)) for n in (1, 5)
    )
    assert one == pytest.approx(five, abs=5)
    assert one > 15 * turns.FEWEST


@pytest.mark.parametrize(("count", "meet", "held"), [(3, 0.9, 0.4), (9, 0.9966, 0.7754)])
def test_how_often_two_runs_lie_in_each_others_range(count: int, meet: float, held: float) -> None:
    """What benchmarks/README.md says of runs between which nothing changed: each order of the
    ratios of both is as likely as any other."""
    meets = holds = 0
    for ours in itertools.combinations(range(2 * count), count):
        both = ours, sorted(set(range(2 * count)) - set(ours))
        starts, ends = zip(*map(interval, both), strict=True)
        meets += max(starts) <= min(ends)
        holds += all(max(starts) < statistics.median(one) < min(ends) for one in both)
    assert meets / math.comb(2 * count, count) == pytest.approx(meet, abs=5e-5)
    assert holds / math.comb(2 * count, count) == pytest.approx(held, abs=5e-5)


@pytest.mark.parametrize("count", range(1, 13))
def test_a_range_is_as_narrow_as_95_percent_allow(count: int) -> None:
    ratios = [1.0 + number for number in range(count)]
    random.Random(count).shuffle(ratios)
    low, high = interval(ratios)
    below = round(low) - 1
    assert round(high) == count - below

    def holds(below: int) -> float:
        """How likely the true median lies between that ratio and its twin: on which side of it a
        ratio falls, a coin decides."""
        falls = itertools.product([0, 1], repeat=count)
        return sum(below < sum(coins) < count - below for coins in falls) / 2**count

    assert below == 0 or holds(below) >= 0.95
    assert 2 * (below + 1) >= count or holds(below + 1) < 0.95


def fewest_turns(found: dict[str, turns.Outcome]) -> int:
    return min(len(row.turns) for row in found.values() if isinstance(row, turns.Measured))


def test_a_row_that_fails_in_a_later_process_has_no_time(told: type[Told]) -> None:
    made: list[str] = []

    class FailsLater(told):  # type: ignore[misc, valid-type]
        def __init__(self, case: Case, threads: int) -> None:
            super().__init__(case, threads)
            made.append(case.column)

        def ask(self, what: str) -> Any:
            if (
                what == "turn"
                and self.case.column == "torch_impl"
                and made.count("torch_impl") == 2
            ):
                raise InvalidRow("something was compiled")
            return super().ask(what)

    found = turns.measure(columns(), 1, 0.01, processes=3, worker=FailsLater)
    numpy, torch, _ = found.values()
    assert isinstance(torch, InvalidRow)
    assert made.count("torch_impl") == 2
    assert made.count("numpy_ref") == made.count("jax_impl") == 3
    assert isinstance(numpy, turns.Measured)
    assert numpy.row["ratios"].keys() == {"jax_impl:as written"}
    assert len(numpy.row["ratios"]["jax_impl:as written"]) == 3


def test_a_row_that_fails_leaves_the_table(told: type[Told]) -> None:
    class Fails(told):  # type: ignore[misc, valid-type]
        def ask(self, what: str) -> Any:
            if self.case.column == "torch_impl" and what == "turn" and self.turn == 3:
                raise InvalidRow("something was compiled")
            return super().ask(what)

    found = turns.measure(columns(), 1, 0.01, worker=Fails)
    numpy, torch, jax = found.values()
    assert isinstance(numpy, turns.Measured)
    assert isinstance(jax, turns.Measured)
    assert isinstance(torch, InvalidRow)
    assert numpy.row["ratios"].keys() == {"jax_impl:as written"}
    assert len(numpy.turns) == turns.FEWEST


def test_an_aged_process_is_told_by_its_page_faults(told: type[Told]) -> None:
    """Times alone would take a neighbour's load for it."""

    class Ages(told):  # type: ignore[misc, valid-type]
        def ask(self, what: str) -> Any:
            turn = super().ask(what)
            if not isinstance(turn, harness.Turn):
                return turn
            aged = self.turn > turns.FEWEST
            faults = 0.0 if aged or self.case.column != "numpy_ref" else 420.0
            return turn._replace(cpu=turn.cpu / (2.5 if aged else 1), faults=faults)

    numpy, torch, _ = infos(turns.measure(columns(), 1, 0.01, worker=Ages))
    assert numpy["aged"] == {"cpu": pytest.approx(1.2e-6), "faults": 0, "faults before": 420}
    assert torch["aged"] is None


def test_every_row_can_be_sent_to_a_process() -> None:
    import pickle

    for case in bench_classifier.cases():
        assert pickle.loads(pickle.dumps(case)).id == case.id


def test_no_row_lists_its_batches_before_the_clock() -> None:
    """A step takes its rows out of one array, inside the clock, in columns and peers alike."""
    if any(map(missing, ("torch_impl", "jax_impl"))):
        pytest.skip("needs every column")
    seen = set()
    for case in bench_classifier.cases():
        if case.family != "classifier step, SGD, batch 32, float32, cpu":
            continue
        target = case.make(case)
        run = target.run
        held = [cell.cell_contents for cell in getattr(run, "__closure__", None) or ()]
        for value in [*target.start(), *held]:
            assert not (isinstance(value, list | tuple) and len(value) == case.steps), case.id
        seen.add(case.column)
    assert seen >= {"numpy_ref", "torch_impl", "jax_impl"}


# Processes


def _count(case: Case) -> Target:
    """How many rows this process has seen, and how many it was started with."""
    SEEN.append(case.column)
    found = np.array([len(SEEN), os.getpid()], float)
    return Target(
        tuple, lambda: found, lambda x: x, lambda x: {"seen": x[:1]}, lambda: {"seen": np.ones(1)}
    )


def _dies(case: Case) -> Target:
    return _count(case)._replace(run=lambda: os._exit(3))


def _fails(case: Case) -> Target:
    raise KeyError(case.column)


@pytest.mark.slow
def test_a_row_knows_nothing_of_the_rows_before_it() -> None:
    """In one process the second row would have seen the first, and be invalid."""
    both = [row("numpy_ref", make=_count), row("jax_impl", make=_count)]
    alone, after = turns.measure(both, 1, 0.01, worker=turns.Here).values()
    SEEN.clear()
    assert isinstance(alone, turns.Measured)
    assert isinstance(after, InvalidRow)
    SEEN.append("what this process has done already")
    infos(turns.measure(both, 1, 0.01))
    SEEN.clear()


@pytest.mark.slow
def test_a_process_that_dies_or_hangs_is_a_row_without_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [row("numpy_ref", make=_dies), row("jax_impl", make=_count), row("optax", make=_fails)]
    dead, alive, failed = turns.measure(rows, 1, 0.01).values()
    assert str(dead) == "its process ended, exit code 3"
    assert isinstance(alive, turns.Measured)
    assert "KeyError: 'optax'" in str(failed)
    monkeypatch.setattr(turns, "LIMIT", 0.0)
    (hangs,) = turns.measure([row("numpy_ref", make=_count)], 1, 0.01).values()
    assert str(hangs) == "no answer in 0 s"


MOVES = """
import jax, jax.numpy as jnp, numpy as np
from benchmarks import cases, harness

default, other = jax.devices()
there = jax.device_put(jnp.ones(4), other)
add = jax.jit(lambda a, b: a + b)

def target(step):
    exact = {"sum": np.full(4, 2.0)}
    return cases.Target(
        lambda: (there,), step, jax.block_until_ready, lambda x: {"sum": np.asarray(x)},
        lambda: exact, 1e-6,
    )

def case(step):
    made = lambda _: target(step)
    return cases.Case("none", "a task", "jax_impl", "compiled step", None, 1, made)

stays = case(lambda x: add(x, x))
harness.check_at_home(stays, stays.make(stays))
# ones on the default device: brought over in every step
moves = case(lambda x: add(x, jnp.ones(4)))
try:
    harness.check_at_home(moves, moves.make(moves))
except cases.InvalidRow as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(bool(missing("jax_impl")), reason="needs JAX")
def test_a_row_that_moves_data_inside_the_loop_is_caught() -> None:
    """Two devices of one CPU: the first plays the GPU, the rows' home is the second."""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", MOVES],
        cwd=ROOT, env=os.environ | flags | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("moves data inside the loop: ")
