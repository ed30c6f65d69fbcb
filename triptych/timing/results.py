"""Timing results as data: read the files, merge runs, compare the rows.

A results file is pytest-benchmark's JSON, whose times are those of one step. What the harness of
`benchmarks/` adds stands in `machine_info["triptych"]` (the machine, versions and flags), in
"triptych" (what belongs to this run: the commit, the limits measured, what could not run) and in
each benchmark's `extra_info`. A file of schema 1 has all of it in `machine_info`, times of a round
of steps, and limits of memory that are none. Files whose machine, versions, flags and commit are
equal form one set-up, named A, B, ..., and their rows merge; rows of two set-ups never do. A row
that several runs of a set-up have measured is pooled: how memory was laid out and what else the
machine did differs from run to run, and the rounds of a single run cannot show it. Ratios stay
within a run: what slows a whole run down leaves them as they are.

Where two rows were measured in turn, `extra_info["ratios"]` has their ratio in each of the row's
processes. Their median counts, and `interval` says how sure it is. (Older files have a median and
the ends of an interval in place of the processes.)

A row that is not `ok` is stripped of everything measured where it is read, so that no later step
can show a time for it.
"""

import json
import math
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from triptych.names import COLUMNS, DISPLAY_NAMES, UnknownNameError

SCHEMA = 2

MODES = (
    *("as written", "un-jitted", "compiled network", "compiled step", "compiled step, donated"),
    *("whole loop", "whole loop, C++ wrapper", "CUDA graph"),
    *("equal bits", "whole loop, equal bits", "fused"),
)
MACHINE = ("numba", "fused")
"""The column and mode that stand for what the machine can."""
PLAIN = ("as written", "compiled step")
"""What a baseline without a mode means: the first of these that the column has."""
DTYPES = ("float32", "float64", "tf32", "bfloat16")
SURE = 0.95
"""With which `interval` holds the median, if there are ratios enough."""
FASTEST, BEST = "fastest mode", "best against best"


Label = tuple[str, str]
"""Column and mode, in words."""


class ResultsError(ValueError):
    """A file that is no results file of this suite; the message says which and why."""


class Side(NamedTuple):
    """Where a row ran: a column of the tables, a panel of the plots."""

    setup: str
    device: str
    threads: int | None
    """None on a GPU, where the host's threads do not compute."""


class Time(NamedTuple):
    """Seconds for one step: the quartiles over the rounds; see `pooled` for several runs."""

    median: float
    low: float
    high: float
    rounds: int
    medians: Mapping[int, float]
    """Of each run, by its number: a results file is one."""
    least: float
    """The shortest round."""
    cpu: float | None = None
    """Seconds of all threads, the median; None on a GPU, and where nobody has looked."""

    @property
    def spread(self) -> float:
        """Interquartile range over median; of several runs, from the lowest first quartile on."""
        return (self.high - self.low) / self.median


class Ratio(NamedTuple):
    """How many times as fast as something else: the median over processes, or over runs."""

    value: float
    foreign: bool
    """The other is of another set-up."""
    within: tuple[float, float] | None = None
    """Its `interval`; None where the two did not take turns."""


class Row(NamedTuple):
    """One target. What was measured is None where there is nothing, and in rows that are not ok."""

    concept: str
    task: str
    column: str
    peer: bool
    mode: str
    side: Side
    dtype: str
    batch: int | None
    status: str
    """"ok", "invalid" (it gave a wrong result) or "not run"."""
    reason: str
    agreement: dict[str, Any] | None
    time: Time | None = None
    flops: float | None = None
    bytes: float | None = None
    """For one step, as `flops`."""
    limit: dict[str, Any] | None = None
    compile: dict[str, float] | None = None
    break_even_steps: float | None = None
    """After how many compiling has paid; None if never, or if `paid_against` is not known."""
    paid_against: str | None = None
    """The mode of the column that it is compared with; None where that was not measured."""
    transfer: dict[str, float] | None = None
    peak_memory: dict[str, float | None] | None = None
    card: float | None = None
    """Seconds by the card's own clock."""
    messages: float | None = None
    """The share of a step that its messages to other workers take by themselves."""
    aged: dict[str, float] | None = None
    """Where it differs, once the process has freed a large array: "cpu" and page "faults"."""
    ratios: Mapping[int, Mapping[str, Sequence[float]]] = MappingProxyType({})
    """By run and "column:mode": how many times as fast each process was as that of a row measured
    in turn with this one."""
    to_baseline: Ratio | None = None
    to_machine: Ratio | None = None
    """How many times as fast as what the machine can: well below 1."""
    to_cpu: Ratio | None = None
    """A GPU's row against the same column and mode on a CPU."""

    @property
    def label(self) -> Label:
        """Column and mode, in words."""
        return DISPLAY_NAMES.get(self.column, self.column), self.mode


class Results(NamedTuple):
    """Runs, merged."""

    rows: list[Row]
    setups: dict[str, dict[str, dict[str, Any]]]
    """By letter: the groups "machine", "versions", "flags", "source"."""
    limits: dict[tuple[Side, str, str | None], float]
    """By side, quantity and dtype (for "dispatch": column): per second ("dispatch": seconds)."""
    not_run: list[str]
    repeated: tuple[int, int]
    """Rows that several runs have measured, and those of them whose quartile ranges overlap."""
    agreeing: tuple[int, int, int]
    """Ratios that several runs have taken in turn, those whose intervals have a point in common,
    and those that lie in every run's interval."""
    baseline: str

    def name(self, side: Side) -> str:
        """A side in words; its set-up's letter only if there are several."""
        letter = f"{side.setup} " if len(self.setups) > 1 else ""
        return letter + side.device + (f" x{side.threads}" if side.threads else "")

    @property
    def tasks(self) -> dict[str, list[Row]]:
        """The rows of each task, in the order of the files."""
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.task, []).append(row)
        return found


def interval(ratios: Sequence[float]) -> tuple[float, float]:
    """Where the median lies of all the ratios that there could be, with 95%, from those measured.

    From the k-th lowest of n to the k-th highest: the median lies outside only if fewer than k of
    them fall on one side of it, which has the probability of fewer than k heads in n throws of a
    coin, whatever the ratios' distribution is. k is as large as 95% allow, and 1 where even the
    lowest and the highest do not hold it with 95%, which is with five ratios or fewer.

    Source: Conover, "Practical Nonparametric Statistics", 3rd edition, 3.2 (quantiles).
    """
    ordered, n = sorted(ratios), len(ratios)
    k, outside = 1, 1  # of the 2^n ways in which n coins may fall
    while k < n / 2 and 2 * (outside := outside + math.comb(n, k)) / 2**n <= 1 - SURE:
        k += 1
    return ordered[k - 1], ordered[n - k]


# Reading and merging


LARGEST = 2**28
"""Bytes of a results file: a hundred times what the whole suite writes."""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def load(paths: Iterable[str | Path]) -> list[dict[str, Any]]:
    """Read results files, each once.

    Raises:
        ResultsError: a file is missing, is not JSON or does not come from this suite.
    """
    results = []
    for path in dict.fromkeys(Path(path) for path in paths):
        try:
            if path.exists() and not path.is_file():  # a pipe would keep us waiting
                raise ResultsError("no file")
            if path.stat().st_size > LARGEST:
                raise ResultsError(f"more than {LARGEST} bytes")
            text = path.read_text(encoding="utf-8")
            result = _printable(json.loads(text)) if text.strip() else None
            if result is None:
                raise ResultsError("the file is empty")
            merge([result])
        except OSError as error:
            raise ResultsError(f"{path}: {error.strerror}") from None
        except ResultsError as error:
            raise ResultsError(f"{path}: {error}") from None
        except (ValueError, RecursionError) as error:
            raise ResultsError(f"{path}: not JSON: {error}") from None
        results.append(result)
    return results


def _printable(value: Any) -> Any:
    """Without the characters by which a text could take hold of a terminal."""
    if isinstance(value, dict):
        return {_printable(key): _printable(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_printable(entry) for entry in value]
    return CONTROL.sub("\ufffd", value) if isinstance(value, str) else value


def merge(results: Sequence[dict[str, Any]], baseline: str | None = None) -> Results:
    """Merge runs, pool what several of them have measured, and compare the rows.

    Args:
        results: pytest-benchmark's dictionaries, as the harness fills them.
        baseline: "column" or "column:mode"; by default `numpy_ref`, if it is there.

    Raises:
        ResultsError: one does not come from this suite or lacks a field, or nothing is in them.
        UnknownNameError: no row is of the baseline.
    """
    letters: dict[str, str] = {}
    setups: dict[str, dict[str, dict[str, Any]]] = {}
    limits: dict[tuple[Side, str, str | None], float] = {}
    not_run: list[tuple[str, str, str]] = []
    rows: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    runs = [(_ours(result), result) for result in results]
    runs.sort(key=lambda run: str(run[1].get("datetime")))
    for number, (ours, result) in enumerate(runs):
        setup = {name: _part(ours, name) for name in ("machine", "versions", "flags")}
        setup["source"] = {name: ours.get(name) for name in ("commit", "dirty", "seed")}
        letter = letters.setdefault(json.dumps(setup, sort_keys=True), chr(65 + len(letters)))
        setups[letter] = setup
        try:
            not_run += [(letter, entry["what"], entry["why"]) for entry in ours.get("not_run", ())]
            for limit in ours.get("limits", ()):
                floor = limit["quantity"] in ("dispatch", "node")
                about = limit["column" if floor else "dtype"]
                at = _side(letter, limit), limit["quantity"], about
                # Each column multiplies matrices to find the peak rate; the best of them is the
                # machine's.
                limits[at] = max(float(limit["value"]), 0 if floor else limits.get(at, 0))
        except (KeyError, TypeError, ValueError) as error:
            raise ResultsError(f"malformed limits or not_run: {error!r}") from None
        entries = [
            (_part(entry, "extra_info"), entry.get("stats")) for entry in result["benchmarks"]
        ]
        entries += [(info, None) for info in ours.get("rows", ())]
        rounds = ours["schema"] == 1
        for row in (_row(letter, number, info, stats, rounds=rounds) for info, stats in entries):
            key = (row.task, row.column, row.mode, row.side, row.dtype, row.batch)
            rows[key].append(row)
    if not rows and not not_run:
        raise ResultsError("no results in it")
    many = len(setups) > 1
    lines = [f"{f'{letter}: ' * many}{what}: {why}" for letter, what, why in dict.fromkeys(not_run)]
    overlaps = [found for row in rows.values() if (found := _overlap(row)) is not None]
    agreeing = [found for row in rows.values() for found in _agreeing(row)]
    compared, name = _compare([pooled(row) for row in rows.values()], baseline)
    repeated = len(overlaps), sum(overlaps)
    agree = len(agreeing), sum(meet for meet, _ in agreeing), sum(held for _, held in agreeing)
    return Results(compared, setups, limits, lines, repeated, agree, name)


def pooled(runs: Sequence[Row]) -> Row:
    """One row from those of several runs: the run in the middle, with the quartiles of all.

    The spread then reaches from the lowest first quartile to the highest third: what another run
    may be expected to give. A row that was invalid in any run is invalid.

    Args:
        runs: the same row, one or more times.
    """
    if wrong := [row for row in runs if row.status == "invalid"]:
        return wrong[-1]
    timed = [(row.time, row) for row in runs if row.time]
    timed.sort(key=lambda run: run[0].median)
    if not timed:
        return runs[-1]
    times = [time for time, _ in timed]
    middle, row = timed[(len(timed) - 1) // 2]
    if not row.paid_against:  # a run of some rows alone may lack the one to compare with
        paid = next((run for _, run in timed if run.paid_against), row)
        row = row._replace(
            compile=paid.compile, break_even_steps=paid.break_even_steps,
            paid_against=paid.paid_against,
        )  # fmt: skip
    low, high = min(time.low for time in times), max(time.high for time in times)
    rounds = sum(time.rounds for time in times)
    medians = {number: median for time in times for number, median in time.medians.items()}
    least = min(time.least for time in times)
    ratios = {number: found for _, run in timed for number, found in run.ratios.items()}
    time = Time(middle.median, low, high, rounds, medians, least, middle.cpu)
    return row._replace(time=time, ratios=ratios)


def _overlap(runs: Sequence[Row]) -> bool | None:
    """Whether the quartile ranges of all runs have a time in common; None for a single run."""
    times = [row.time for row in runs if row.time]
    if len(times) < 2:
        return None
    return max(time.low for time in times) <= min(time.high for time in times)


def _agreeing(runs: Sequence[Row]) -> Iterator[tuple[bool, bool]]:
    """For each ratio of a row that several runs have: what they say of each other.

    Returns:
        Whether their intervals have a point in common, and whether each run's median lies in all.
    """
    found: dict[str, list[Sequence[float]]] = defaultdict(list)
    for row in runs:
        for ratios in row.ratios.values():
            for name, ratio in ratios.items():
                found[name].append(ratio)
    for several in found.values():
        if len(several) > 1:
            starts, ends = zip(*map(interval, several), strict=True)
            low, high = max(starts), min(ends)
            yield low <= high, all(low <= statistics.median(one) <= high for one in several)


def _ours(result: Any) -> dict[str, Any]:
    if not isinstance(result, dict) or not isinstance(result.get("benchmarks"), list):
        raise ResultsError("not a file of pytest-benchmark: no list of benchmarks")
    ours = _part(_part(result, "machine_info"), "triptych") | _part(result, "triptych")
    if not ours:
        raise ResultsError("a file of pytest-benchmark, but not from this suite's benchmarks")
    if ours.get("schema") not in (1, SCHEMA):
        found = ours.get("schema")
        raise ResultsError(f"has schema {found}; this report reads schema 1 and {SCHEMA}")
    return ours


def _part(whole: Any, name: str) -> dict[str, Any]:
    part = whole.get(name) if isinstance(whole, dict) else None
    return part if isinstance(part, dict) else {}


def _side(letter: str, info: dict[str, Any]) -> Side:
    return Side(letter, info["device"], info["threads"] if info["device"] == "cpu" else None)


def _row(letter: str, number: int, info: dict[str, Any], stats: Any, *, rounds: bool) -> Row:
    needed = ("task", "column", "mode", "device", "threads", "dtype", "batch", "status")
    if lacking := [name for name in needed if name not in info]:
        raise ResultsError(f"a benchmark whose extra_info lacks {', '.join(lacking)}")
    row = Row(
        concept=info.get("concept", ""),
        peer=bool(info.get("peer")),
        side=_side(letter, info),
        reason=info.get("reason", ""),
        agreement=info.get("agreement"),
        **{name: info[name] for name in ("task", "column", "mode", "dtype", "batch", "status")},
    )
    what = ", ".join((row.task, *row.label))
    if row.status not in ("ok", "invalid", "not run"):
        raise ResultsError(f"{what}: unknown status {row.status!r}")
    if row.status != "ok":
        return row
    try:
        steps = info["steps"] if rounds else 1
        quartiles = ("min", "q1", "median", "q3")
        least, low, median, high = (float(stats[name]) / steps for name in quartiles)
        if not 0 < least <= low <= median <= high < math.inf:
            raise ValueError
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        raise ResultsError(f"{what}: status ok, but no time (stats, steps)") from None
    names = (
        "flops",
        "bytes",
        "limit",
        "compile",
        "break_even_steps",
        "paid_against",
        "transfer",
        "peak_memory",
    )
    measured: dict[str, Any] = {
        name: info.get(name) for name in (*names, "card", "messages", "aged")
    }
    if rounds and (measured["limit"] or {}).get("binds") == "bytes":
        measured["limit"] = None  # schema 1 counted what a usual program moves: no limit
    cpu = (info.get("cpu") or {}).get("median")
    medians = {number: median}
    time = Time(median, low, high, int(stats.get("rounds", 0)), medians, least, cpu)
    return row._replace(time=time, ratios={number: info.get("ratios") or {}}, **measured)


# Comparing


def _compare(rows: list[Row], baseline: str | None) -> tuple[list[Row], str]:
    """The rows with their ratios, in the order of the tables; the baseline in words."""
    column, _, mode = (baseline or COLUMNS[0]).partition(":")
    modes = list(dict.fromkeys(row.mode for row in rows if row.column == column))
    if baseline and not modes:
        raise UnknownNameError("column", column, list(dict.fromkeys(row.column for row in rows)))
    if mode and mode not in modes:
        raise UnknownNameError(f"mode of {column}", mode, modes)
    mode = mode or next((plain for plain in (*PLAIN, *modes) if plain in modes), "")
    alike: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        alike[row.task, row.dtype, row.batch].append(row)
    compared = []
    for group in alike.values():
        base = [row for row in group if (row.column, row.mode) == (column, mode)]
        machine = [row for row in group if (row.column, row.mode) == MACHINE]
        for row in group:
            same = [o for o in group if o.label == row.label and o.side.device == "cpu"]
            to_cpu = ratio_of(row, same) if row.side.device != "cpu" else None
            can = [other for other in machine if other.side == row.side and row not in machine]
            to_machine = ratio_of(row, can)
            compared.append(
                row._replace(to_baseline=ratio_of(row, base), to_machine=to_machine, to_cpu=to_cpu)
            )
    tasks = list(dict.fromkeys(row.task for row in rows))
    compared.sort(key=lambda row: (tasks.index(row.task), *_order(row)))
    return compared, ", ".join((DISPLAY_NAMES.get(column, column), mode))


def _order(row: Row) -> tuple[Any, ...]:
    def place(name: str, known: tuple[str, ...]) -> tuple[int, str]:
        return (known.index(name), "") if name in known else (len(known), name)

    what = (place(row.dtype, DTYPES), row.batch or 0, place(row.column, COLUMNS))
    return *what, place(row.mode, MODES), row.side.setup, row.side.device, row.side.threads or 0


def ratio_of(row: Row, candidates: Iterable[Row]) -> Ratio | None:
    """Against the candidate on the same side, or, for a GPU without one, the fastest on a CPU.

    One's own set-up comes before another; two CPUs are compared at the same number of threads.
    """
    fair = [
        (
            other.side != row.side,
            other.side.setup != row.side.setup,
            other.time,
            f"{other.column}:{other.mode}",
        )
        for other in candidates
        if other.time
        and (
            other.side == row.side
            or (other.side.device == "cpu" and row.side.threads in (None, other.side.threads))
        )
    ]
    if not row.time or not fair:
        return None
    elsewhere, foreign, other, name = min(fair, key=lambda one: (*one[:2], one[2].median))
    in_turn = [found[name] for found in row.ratios.values() if name in found]
    if in_turn and not elsewhere:
        processes = [ratio for ratios in in_turn for ratio in ratios]
        return Ratio(statistics.median(processes), foreign, interval(processes))
    both = row.time.medians.keys() & other.medians.keys()
    within = [other.medians[number] / row.time.medians[number] for number in both]
    return Ratio(statistics.median(within or [other.median / row.time.median]), foreign)


def differences(results: Results) -> dict[str, dict[str, list[Any]]]:
    """What the set-ups do not share: by group and name, the values in the order of the letters."""
    found: dict[str, dict[str, list[Any]]] = {}
    for group in ("machine", "versions", "flags", "source"):
        parts = [setup[group] for setup in results.setups.values()]
        for name in dict.fromkeys(name for part in parts for name in part):
            values = [part.get(name) for part in parts]
            if any(value != values[0] for value in values):
                found.setdefault(group, {})[name] = values
    return found
