"""Rows that are compared are measured in turn: A B C A B C ..., each in a process of its own.

A process is forked from one that has imported the frameworks and computed nothing, so a row's
allocator, thread pools and caches are as fresh as those of any other, whatever ran before it. In
turn, since what else the machine does then slows all of them alike: a ratio is taken within a turn.

And several times, each time in new processes: one process is a few percent faster or slower than
the next that does the same, for as long as it lives, and no number of turns shows that. The ratio
of a pair of processes is the median over their turns; a row keeps those of all pairs, and how
far they lie apart says how sure the ratio is.
"""

import contextlib
import multiprocessing
import signal
import statistics
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any, NamedTuple, Protocol

from benchmarks.cases import Case, InvalidRow
from benchmarks.harness import TURN, Runner, Turn

LIMIT = 300.0
"""Seconds after which a row that does not answer has failed."""
FEWEST, MOST = 7, 201
"""Turns of a process: so many that their median says less of the turn than of the process; more
than the most would tell nothing new."""
AGED = 5
"""Turns after the process has made and freed a large array."""
TELLING = 0.1
"""The change from which an aged process has a figure of its own."""
PRELOADED = (
    *("numpy", "torch", "torch._dynamo", "jax", "jax.numpy", "benchmarks.turns", "pytest"),
    # the peers, where they are installed
    *("autograd.numpy", "numba", "optax", "sklearn.neural_network"),
)


class Worker(Protocol):
    """A row that is measured somewhere: in a process of its own, or, in tests, here."""

    def __init__(self, case: Case, threads: int) -> None: ...

    def ask(self, what: str) -> Any:
        """Call a method of the row's `Runner`; "seconds" is that of a round."""

    def end(self) -> None:
        """Give up what it holds."""


class Here:
    """A row measured in this process."""

    def __init__(self, case: Case, threads: int) -> None:
        self.runner = Runner(case, threads)

    def ask(self, what: str) -> Any:
        """Call a method of the row's `Runner`."""
        return getattr(self.runner, what)()

    def end(self) -> None:
        """Nothing is held."""


class Process:
    """A row measured in a process of its own."""

    def __init__(self, case: Case, threads: int) -> None:
        context = _context()
        self.connection, there = context.Pipe()
        self.process = context.Process(target=serve, args=(there, case, threads), daemon=True)
        self.process.start()
        there.close()
        self._answer()

    def ask(self, what: str) -> Any:
        """Call a method of the row's `Runner` over there.

        Raises:
            InvalidRow: the row must not show a time.
            RuntimeError: something else went wrong; the message has the traceback.
        """
        self.connection.send(what)
        return self._answer()

    def _answer(self) -> Any:
        try:
            if not self.connection.poll(LIMIT):
                raise InvalidRow(f"no answer in {LIMIT:.0f} s")
            kind, value = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join(5)
            raise InvalidRow(f"its process ended, exit code {self.process.exitcode}") from None
        if kind == "invalid":
            raise InvalidRow(value)
        if kind == "failed":
            raise RuntimeError(value)
        return value

    def end(self) -> None:
        """End the process; it holds nothing that has to be put away."""
        self.connection.close()
        self.process.terminate()
        self.process.join()


def _context() -> Any:
    """How processes begin: forked from one without threads, where the system can; else anew."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


def serve(connection: Any, case: Case, threads: int) -> None:
    """A row's process: make it, then answer until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends, and then this one

    def answer(call: Callable[[], Any]) -> Any:
        try:
            reply = "ok", call()
        except InvalidRow as reason:
            reply = "invalid", str(reason)
        except Exception:
            reply = "failed", traceback.format_exc()
        connection.send((reply[0], None if isinstance(reply[1], Here) else reply[1]))
        return reply[1]

    with contextlib.suppress(EOFError, OSError):  # the other end is closed: nobody asks any more
        here = answer(lambda: Here(case, threads))
        while isinstance(here, Here):
            answer(partial(here.ask, connection.recv()))


class Measured(NamedTuple):
    """A row with its times."""

    row: dict[str, Any]
    processes: list[list[Turn]]
    """The turns of each of its processes."""

    @property
    def turns(self) -> list[Turn]:
        """Those of all its processes."""
        return [turn for turns in self.processes for turn in turns]


Outcome = Measured | InvalidRow | RuntimeError


class Table:
    """Rows around one table: each has its worker until it has ended or failed."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.workers: dict[str, Worker] = {}

    def seat(self, case: Case, threads: int, worker: type[Worker]) -> None:
        """Make a row and warm it up, unless it has failed before."""
        if case.id in self.outcomes:
            return
        try:
            self.workers[case.id] = worker(case, threads)
        except (InvalidRow, RuntimeError) as error:
            self.outcomes[case.id] = error

    def ask(self, key: str, what: str) -> Any:
        """Ask one row; None if it has failed, now or before."""
        if key not in self.workers:
            return None
        try:
            return self.workers[key].ask(what)
        except (InvalidRow, RuntimeError) as error:
            self.outcomes[key] = error
            self.workers.pop(key).end()
        return None

    def around(self, count: int) -> dict[str, list[Turn]]:
        """So many turns of each row, one after the other."""
        taken: dict[str, list[Turn]] = {key: [] for key in self.workers}
        for _ in range(count):
            for key, turns in taken.items():
                if turn := self.ask(key, "turn"):
                    turns.append(turn)
        return taken

    def clear(self) -> None:
        """End every worker that is left."""
        for left in self.workers.values():
            left.end()
        self.workers.clear()


def measure(
    cases: Sequence[Case],
    threads: int,
    budget: float,
    processes: int = 1,
    worker: type[Worker] = Process,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Outcome]:
    """Measure rows that are compared with each other.

    Args:
        cases: the rows.
        threads: of each process, for the record.
        budget: seconds of turns for each row, in all its processes.
        processes: how many each row has, one after the other.
        worker: where a row is measured.
        say: told what is being done, for whoever waits.

    Returns:
        By the row's id: what was measured, or why it has no time.
    """
    table = Table()
    taken: dict[str, list[list[Turn]]] = {case.id: [] for case in cases}
    try:
        for number in range(1, processes + 1):
            for case in cases:
                if number == 1:
                    say(f"{case.words}: making and warming up")
                table.seat(case, threads, worker)
            if not table.workers:
                break
            rounds = [table.ask(key, "seconds") for key in table.workers]
            # before a short round there is one that is not timed
            seconds = [TURN + one if one < TURN else one for one in rounds]
            count = turns_in(budget / processes * len(seconds), sum(seconds))
            what = f"{len(seconds)} {'rows' if len(seconds) > 1 else 'row'} in turn, {count} times"
            say(f"{what}, in processes {number} of {processes}" if processes > 1 else what)
            for key, turns in table.around(count).items():
                taken[key].append(turns)
            if number < processes:
                table.clear()
        for key in list(table.workers):
            table.ask(key, "age")
        aged = table.around(AGED)
        for case in cases:
            if row := table.ask(case.id, "finish"):
                row |= _times(case, taken[case.id], aged[case.id])
                table.outcomes[case.id] = Measured(row, taken[case.id])
    finally:
        table.clear()
    _compare(cases, table.outcomes, threads)
    return {case.id: table.outcomes[case.id] for case in cases}


def turns_in(budget: float, seconds: float) -> int:
    """How many turns fill a budget, within `FEWEST` and `MOST`; odd, so one is in the middle."""
    count = min(MOST, max(FEWEST, round(budget / max(seconds, 1e-9))))
    return count if count % 2 else count - 1


def _times(case: Case, processes: Sequence[Sequence[Turn]], aged: Sequence[Turn]) -> dict[str, Any]:
    """What stands beside the times on the wall: the card's, the processor's, an aged process's.

    glibc gives a large array back to the system at once, until a larger one has been freed; the
    next one is then brought in page by page. Whether that is so the faults say, which no neighbour
    disturbs; what it costs, the times.
    """
    turns = [turn for turns in processes for turn in turns]
    if card := statistics.median(turn.card for turn in turns):
        return {"card": card}
    processor = [turn.cpu for turn in turns]
    if case.device != "cpu" or not all(processor):  # a clock may be too coarse to tell
        return {}
    middle = statistics.median(processor)
    found: dict[str, Any] = {"cpu": {"median": middle, "min": min(processor)}}
    if aged:  # it is the last process that has aged
        before, after = (
            statistics.median(turn.faults for turn in group) for group in (processes[-1], aged)
        )
        young, later = (
            statistics.median(turn.cpu for turn in group) for group in (processes[-1], aged)
        )
        if after < before / 2 and abs(later / young - 1) > TELLING:
            found["aged"] = {"cpu": later, "faults": after, "faults before": before}
    return found


def _compare(cases: Sequence[Case], outcomes: Mapping[str, Outcome], threads: int) -> None:
    """Give each row its ratios to the others, one for each of its processes.

    On one thread of a CPU they are ratios of CPU time, which a neighbour cannot stretch; that of
    several threads is no duration, and a GPU's row spends it waiting: there, of time on the wall.
    """
    timed = [
        (case, outcome) for case in cases if isinstance(outcome := outcomes[case.id], Measured)
    ]
    alone = threads == 1 and all(case.device == "cpu" and out.row.get("cpu") for case, out in timed)
    for _, outcome in timed:
        outcome.row["ratios"] = {}
        outcome.row["ratios of"] = "cpu" if alone else "wall"
    for (case, ours), (other, theirs) in combinations(timed, 2):
        pairs = zip(ours.processes, theirs.processes, strict=True)
        ratios = [_ratio(mine, its, "cpu" if alone else "wall") for mine, its in pairs]
        ours.row["ratios"][f"{other.column}:{other.mode}"] = ratios
        theirs.row["ratios"][f"{case.column}:{case.mode}"] = [1 / ratio for ratio in ratios]


def _ratio(mine: Sequence[Turn], its: Sequence[Turn], clock: str) -> float:
    """How many times as fast one process is as another: the median over the turns of both."""
    turns = zip(mine, its, strict=True)
    return statistics.median(getattr(two, clock) / getattr(one, clock) for one, two in turns)
