"""The timing report, on results made up for it: nothing here is measured."""

import io
import itertools
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from triptych.__main__ import main
from triptych.names import DISPLAY_NAMES, UnknownNameError
from triptych.timing import answers, files, results, tables, trends, words

STEPS = 50
POISON = 7.77e-3
"""The time of every row that must not show one: it reads 7.77 wherever it comes through."""


def bench(seconds: float = 1e-5, **about: Any) -> dict[str, Any]:
    """A benchmark as the harness writes it; `seconds` for one step, `spread` its IQR over that."""
    spread = about.pop("spread", 0.04)
    old = about.pop("old", False)
    info = {
        "concept": "classifier",
        "task": "a step",
        "column": "numpy_ref",
        "peer": False,
        "mode": "as written",
        "device": "cpu",
        "threads": 1,
        "dtype": "float32",
        "batch": 32,
        "steps": STEPS,
        "status": "ok",
        "reason": "",
        "limit": {"binds": "bytes", "seconds": seconds / 4, "share": 0.25},
    }
    total = seconds * (STEPS if old else 1)
    stats = {"median": total, "q1": total * (1 - spread / 2), "q3": total * (1 + spread / 2)}
    stats["min"] = total * (1 - spread)
    return {"name": "x", "extra_info": info | about, "stats": stats | {"rounds": 9}}


def results_file(*rows: dict[str, Any], **ours: Any) -> dict[str, Any]:
    """A results file; keywords replace what the suite says of the machine and of the run."""
    machine = {
        "machine": {"cpu": "Z80", "cores": 1, "memory": 2**30, "gpu": None},
        "versions": {"numpy": "2.4.6", "torch": "2.13.0"},
        "flags": {"tf32": False},
    }
    run = {"schema": results.SCHEMA, "commit": "c0ffee", "dirty": False, "seed": 0}
    when = ours.pop("datetime", "2026-01-01T00:00:00")
    return {
        "machine_info": {"triptych": {k: ours.pop(k, v) for k, v in machine.items()}},
        "triptych": run | ours,
        "benchmarks": list(rows),
        "datetime": when,
    }


GPU = {"cpu": "Z80", "cores": 1, "memory": 2**30, "gpu": "G"}


def printed(*files: dict[str, Any], width: int = 120, baseline: str | None = None) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(tables.terminal(files, baseline))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def only(merged: results.Results, **wanted: Any) -> results.Row:
    (row,) = [
        row
        for row in merged.rows
        if all(getattr(row, name, getattr(row.side, name, None)) == v for name, v in wanted.items())
    ]
    return row


def sweep(batches: list[int], seconds: Any, **about: Any) -> list[dict[str, Any]]:
    return [bench(seconds(n), batch=n, **about) for n in batches]


# Numbers


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (32.1e-6, "32.1 us"),
        (0.0321, "32.1 ms"),
        (9.994e-7, "999 ns"),
        (9.996e-7, "1.00 us"),
        (1.0, "1.00 s"),
        (1234.0, "1230 s"),
        (93.14e-12, "93.1 ps"),
        (5e-8, "50.0 ns"),
        (1e-15, "0.00100 ps"),
        (0.0, "0 s"),
    ],
)
def test_durations_have_three_digits_and_a_fitting_unit(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def test_time_is_that_of_one_step() -> None:
    row = only(results.merge([results_file(bench(2e-6, spread=0.2))]))
    assert row.time is not None
    assert row.time.median == pytest.approx(2e-6)
    assert row.time.spread == pytest.approx(0.2)
    text = printed(
        results_file(bench(2e-6, spread=0.2), bench(3e-6, spread=0.08, mode="whole loop"))
    )
    assert re.search(r"as written +2\.00 us +1\.60 us ", text)
    assert re.search(r"whole loop +3\.00 us +2\.76 us ", text)
    assert "!" not in text


def test_files_of_schema_1_hold_times_of_rounds() -> None:
    floor = {"binds": "dispatch", "seconds": 1e-7, "share": 0.05}
    new = results_file(bench(2e-6, limit=floor))
    old = results_file(bench(2e-6, limit=floor, old=True), schema=1)
    old["machine_info"]["triptych"] |= old.pop("triptych")
    assert results.merge([old]) == results.merge([new])
    # its bytes were those that a usual program moves
    old["benchmarks"] = [bench(2e-6, old=True)]
    assert only(results.merge([old])).limit is None


def test_a_ratio_in_turn_has_its_range() -> None:
    """The rows' own times say 4.0: what was measured in turn is believed."""
    rows = [
        bench(8e-6, ratios={"jax_impl:as written": [0.2, 0.19, 0.21]}, cpu={"median": 7e-6}),
        bench(2e-6, column="jax_impl", ratios={"numpy_ref:as written": [5.0, 4.8, 5.2]}),
    ]
    row = only(results.merge([results_file(*rows)]), column="jax_impl")
    assert row.to_baseline == results.Ratio(5.0, False, (4.8, 5.2))
    text = printed(results_file(*rows))
    assert re.search(r"NumPy, as written +8\.00 us +7\.68 us +7\.00 us", text)
    assert re.search(r"5\.0x +4\.8-5\.2", text)
    assert "uncertain" not in text
    # several runs: the median of all processes, and their range; if that is wide, words say so
    rows[1]["extra_info"] |= {"ratios": {"numpy_ref:as written": [5.2, 4.9, 6.0]}}
    again = results_file(*rows, datetime="2026-01-02")
    rows[1] = bench(2e-6, column="jax_impl", ratios={"numpy_ref:as written": [5.0, 4.8, 5.2]})
    both = [results_file(*rows), again]
    row = only(results.merge(both), column="jax_impl")
    assert row.to_baseline == results.Ratio(pytest.approx(5.1), False, (4.8, 6.0))  # type: ignore[arg-type]
    said = "the ratio of JAX, as written, batch 32, float32 (cpu x1), is somewhere in 4.8-6.0"
    assert f"uncertain: {said}" in " ".join(printed(*both).split())


def test_what_the_machine_can_stands_beside_each_row() -> None:
    in_turn = {"numba:fused": [0.04, 0.039, 0.041]}
    rows = [
        bench(8e-6, ratios=in_turn),
        bench(4e-6, column="jax_impl"),
        bench(1e-6, column="numba", mode="fused", peer=True),
        bench(1e-3, column="jax_impl", device="cuda"),
    ]
    merged = results.merge([results_file(*rows)])
    text = printed(results_file(*rows), width=160)
    assert re.search(r"NumPy, as written .* 25x +1\.0x", text)
    assert re.search(r"JAX, as written .* 4\.0x +2\.0x", text)
    assert only(merged, column="numba").to_machine is None
    assert only(merged, device="cuda").to_machine is None


def test_the_share_of_ratios_that_two_runs_agree_about_is_said() -> None:
    def run(day: int, *ratios: list[float]) -> dict[str, Any]:
        rows = [
            bench(1e-6, batch=n, ratios={"jax_impl:as written": ratio})
            for n, ratio in enumerate(ratios, 1)
        ]
        return results_file(*rows, datetime=f"2026-01-0{day}")

    # the ranges of the second meet, but the first run's ratio lies outside the second's; those of
    # the fourth do not meet
    one = run(1, [2.0, 1.9, 2.1], [2.0, 2.3, 1.9, 2.0], [5.0, 4.0, 6.0], [3.0, 3.1])
    two = run(2, [2.2, 1.95, 2.05], [2.2, 2.1, 2.4], [5.5, 4.9, 6.1], [3.2, 3.3])
    merged = results.merge([one, two])
    assert merged.agreeing == (4, 3, 2)
    said = "4 ratios measured in turn by several runs: for 75% of them the ranges of all runs meet"
    text = " ".join(printed(one, two).split())
    assert f"{said}, and for 50% each run's ratio lies in the ranges of all" in text
    assert "of them the ranges" not in printed(one)


def test_a_gpu_is_not_taken_for_the_cpu_that_it_is_compared_with() -> None:
    rows = [
        bench(8e-6, column="jax_impl"),
        bench(8e-6, column="numpy_ref"),
        bench(2e-6, column="jax_impl", device="cuda", ratios={"numpy_ref:as written": [9, 9, 9]}),
    ]
    row = only(results.merge([results_file(*rows)]), device="cuda")
    assert row.to_baseline == results.Ratio(pytest.approx(4.0), False)  # type: ignore[arg-type]


def test_an_aged_process_has_a_figure_of_its_own() -> None:
    aged = {"cpu": 4e-6, "faults": 0.0, "faults before": 5220.0}
    text = printed(results_file(bench(8e-6, cpu={"median": 9e-6}, aged=aged)))
    assert (
        "in a process that has run a while: NumPy, as written, batch 32, float32 (cpu x1) takes "
        "4.00 us of CPU time, not 9.00 us: it then brings in 0 pages a step, not 5220"
    ) in " ".join(text.split())


@pytest.mark.parametrize(
    ("share", "text"), [(0.9949, "99%"), (0.0996, "10%"), (0.0432, "4.3%"), (0.0009, "<0.1%")]
)
def test_share_of_the_limit(share: float, text: str) -> None:
    file = results_file(bench(limit={"binds": "dispatch", "seconds": 1e-6, "share": share}))
    assert f" {text} floor " in printed(file)


def test_ratios_are_to_the_baseline_on_the_same_side() -> None:
    file = results_file(
        bench(8e-6),
        bench(4e-6, threads=2),
        bench(2e-6, column="jax_impl"),
        bench(2e-6, column="jax_impl", threads=2),
        bench(1e-6, column="jax_impl", device="cuda", threads=2),
        bench(5e-6, column="jax_impl", device="cuda", dtype="tf32"),
        bench(1e-3, column="jax_impl", batch=64),
        bench(5e-6, column="jax_impl", threads=4),
    )
    merged = results.merge([file])

    def found(**wanted: Any) -> tuple[float | None, float | None]:
        row = only(merged, column="jax_impl", **wanted)
        return tuple(ratio and ratio.value for ratio in (row.to_baseline, row.to_cpu))  # type: ignore[return-value]

    assert found(threads=1, batch=32) == pytest.approx((4.0, None))
    assert found(threads=2) == pytest.approx((2.0, None))
    # the GPU against the fastest that the CPU can
    assert found(device="cuda", dtype="float32") == pytest.approx((4.0, 2.0))
    # nothing of the same dtype, of the same batch, on as many threads
    assert found(dtype="tf32") == (None, None)
    assert found(batch=64) == (None, None)
    assert found(threads=4) == (None, None)


def test_the_baseline_is_the_users_choice() -> None:
    file = results_file(
        bench(8e-6),
        bench(2e-6, column="jax_impl"),
        bench(1e-6, column="jax_impl", mode="whole loop"),
    )
    for baseline, ratio in ((None, 1.0), ("jax_impl", 0.25), ("jax_impl:whole loop", 0.125)):
        row = only(results.merge([file], baseline), column="numpy_ref")
        assert row.to_baseline == results.Ratio(pytest.approx(ratio), False)  # type: ignore[arg-type]
    gpu = [
        bench(column="torch_impl", device="cuda"),
        *(bench(t, column="jax_impl", device=d) for d, t in (("cuda", 3e-5), ("cpu", 2e-5))),
    ]
    row = only(results.merge([results_file(*gpu)], "jax_impl"), column="torch_impl")
    assert row.to_baseline == results.Ratio(pytest.approx(3.0), False)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="did you mean jax_impl"):
        results.merge([file], "jax")
    with pytest.raises(UnknownNameError, match="no mode of jax_impl 'compiled step'"):
        results.merge([file], "jax_impl:compiled step")
    # a column that is not run as written stands for itself compiled, not un-jitted
    bare = results_file(
        bench(column="jax_impl", mode="un-jitted"), bench(column="jax_impl", mode="compiled step")
    )
    assert results.merge([bare], "jax_impl").baseline == "JAX, compiled step"
    # the default one need not be there
    assert only(results.merge([results_file(bench(column="optax"))])).to_baseline is None


@pytest.mark.parametrize("overhead", [1e-7, 1e-4, 10.0])
@pytest.mark.parametrize("per_row", [1e-13, 1e-8, 1e-2])
def test_the_fit_recovers_known_numbers(overhead: float, per_row: float) -> None:
    batches = [4**k for k in range(11)]
    found = trends.fit(batches, [overhead + per_row * n for n in batches])
    # what is left of a number after it is added to a much larger one
    eps = np.finfo(float).eps
    lost = eps * (1 + overhead / (per_row * batches[-1]) + per_row / overhead)
    assert found.overhead == pytest.approx(overhead, rel=1e3 * lost)
    assert found.per_row == pytest.approx(per_row, rel=1e3 * lost)
    assert found.misfit < 1e3 * eps


def test_the_fit_minimises_the_relative_error() -> None:
    batches = np.array([1, 16, 256, 4096])
    times = np.array([1.1e-5, 0.9e-5, 5.2e-5, 61e-5])

    def error(overhead: float, per_row: float) -> float:
        return float(np.sqrt(np.mean(((overhead + per_row * batches) / times - 1) ** 2)))

    found = trends.fit(list(batches), list(times))
    assert found.misfit == pytest.approx(error(found.overhead, found.per_row), rel=1e-9)
    for a, b in itertools.product((0.99, 1, 1.01), repeat=2):
        assert error(a * found.overhead, b * found.per_row) >= found.misfit * (1 - 1e-12)


def test_the_fit_has_no_negative_number() -> None:
    times = np.array([4.0, 2.0, 1.0])  # larger batches in less time
    found = trends.fit([1, 10, 100], list(times))
    assert found.per_row == 0
    assert found.overhead == pytest.approx((1 / times).sum() / (1 / times**2).sum())
    times = np.array([1.0, 40.0, 1600.0])  # faster than linear
    assert trends.fit([1, 10, 100], list(times)).overhead == 0


@pytest.mark.parametrize(
    ("gpu", "crossover", "text"),
    [
        (100e-6, 100.0, "100 (64 to 256)"),
        (1.5e-6, 1.5, "1.5 (1 to 4)"),
        (2e-3, None, "none in range"),
        (0.5e-6, 1.0, "whole range"),
    ],
)
def test_crossover(gpu: float, crossover: float | None, text: str) -> None:
    batches = [1, 4, 16, 64, 256, 1024]
    rows = sweep(batches, lambda n: 1e-6 * n, column="jax_impl")
    rows += sweep(batches, lambda n: gpu, column="jax_impl", device="cuda")
    merged = results.merge([results_file(*rows)])
    found = trends.crossovers(merged.rows)
    assert len(found) == 3  # the mode, the fastest of the column, the best of all
    for cross in found.values():
        assert cross.batch == pytest.approx(crossover)
        assert words.crossing(cross) == text
    assert text in printed(results_file(*rows))


def test_a_gpu_that_wins_only_small_batches_has_no_crossover() -> None:
    rows = sweep([1, 4, 16], lambda n: 1e-6, column="jax_impl")
    rows += sweep([1, 4, 16], lambda n: 5e-7 * n, column="jax_impl", device="cuda")
    (cross, *_) = trends.crossovers(results.merge([results_file(*rows)]).rows).values()
    assert cross.between is None


def test_best_against_best_takes_the_fastest_of_each() -> None:
    rows = [
        bench(4e-6),
        bench(9e-6, column="jax_impl"),
        bench(8e-6, column="jax_impl", device="cuda"),
        bench(5e-6, column="torch_impl", mode="whole loop", device="cuda"),
    ]
    text = " ".join(printed(results_file(*rows)).split())
    assert "best against best, cuda, float32: the GPU loses at batch 32 (0.80x)" in text


# Merging


def test_runs_with_other_threads_are_one_setup() -> None:
    one = results_file(bench(3e-6), threads=1)
    two = results_file(bench(2e-6, threads=2), threads=2)
    merged = results.merge([two, one])
    assert list(merged.setups) == ["A"]
    assert {row.side.threads for row in merged.rows} == {1, 2}
    text = printed(one, two)
    assert re.search(r"cpu x1 .* cpu x2", text)
    assert re.search(r"as written +3\.00 us .* 2\.00 us", text)


def test_several_runs_are_pooled() -> None:
    """The run in the middle, from the lowest quartile of all runs to the highest."""
    runs = [
        results_file(bench(1e-6), bench(seconds, batch=64), datetime=f"2026-01-0{day}")
        for day, seconds in enumerate((5e-6, 8e-6, 6e-6), 1)
    ]
    for order in itertools.permutations(runs):
        merged = results.merge(order)
        assert merged.repeated == (2, 1)
        time = only(merged, batch=64).time
        assert time is not None
        assert time[:4] == pytest.approx((6e-6, 5e-6 * 0.98, 8e-6 * 1.02, 27))
        assert time.medians == pytest.approx({0: 5e-6, 1: 8e-6, 2: 6e-6})
        assert only(merged, batch=64).limit == {
            "binds": "bytes", "seconds": pytest.approx(1.5e-6), "share": 0.25
        }  # fmt: skip
    text = " ".join(printed(*runs).split())
    assert "2 rows measured in several runs: the run in the middle is shown" in text
    assert "overlap for 1 of the rows" in text
    assert re.search(r"as written 6.00 us 4.80 us", text)


def test_ratios_stay_within_a_run() -> None:
    """What slows a run down slows both: the medians over the runs would give 15/9."""
    pairs = ((10e-6, 5e-6), (20e-6, 9e-6), (15e-6, 10e-6))
    runs = [
        results_file(bench(ours), bench(theirs, column="jax_impl"), datetime=f"2026-01-0{day}")
        for day, (ours, theirs) in enumerate(pairs, 1)
    ]
    ratio = only(results.merge(runs), column="jax_impl").to_baseline
    assert ratio == results.Ratio(pytest.approx(2.0), False)  # type: ignore[arg-type]
    # rows that share no run are compared all the same
    apart = [
        results_file(bench(8e-6)),
        results_file(bench(2e-6, column="jax_impl"), datetime="2026-01-02"),
    ]
    ratio = only(results.merge(apart), column="jax_impl").to_baseline
    assert ratio == results.Ratio(pytest.approx(4.0), False)  # type: ignore[arg-type]


def test_of_two_runs_the_faster_one_is_the_middle() -> None:
    row = only(results.merge([results_file(bench(3e-6)), results_file(bench(2e-6))]))
    assert row.time
    assert row.time.median == pytest.approx(2e-6)


def test_a_row_that_was_wrong_in_any_run_has_no_time() -> None:
    right = results_file(bench(POISON), datetime="2026-01-01")
    wrong = results_file(bench(status="invalid", reason="off"), datetime="2026-01-02")
    for order in ((right, wrong), (wrong, right)):
        assert "7.77" not in printed(*order)
    unable = results_file(bench(status="not run", reason="no device"), datetime="2026-01-02")
    assert only(results.merge([right, unable])).time


def test_different_machines_are_said() -> None:
    here = results_file(bench(8e-6), bench(4e-6, column="jax_impl"))
    there = results_file(
        bench(2e-6, column="jax_impl", device="cuda"), machine=GPU, datetime="2026-02-01"
    )
    merged = results.merge([here, there])
    assert results.differences(merged) == {"machine": {"gpu": [None, "G"]}}
    row = only(merged, device="cuda")
    assert row.to_cpu == results.Ratio(pytest.approx(2.0), True)  # type: ignore[arg-type]
    text = " ".join(printed(here, there).split())
    assert "A and B are different machines (machine: gpu)" in text
    assert "4.0x* 2.0x*" in text
    assert "* against another set-up" in text
    # where only best against best is of two set-ups
    here["benchmarks"] = [bench(4e-6, column="optax", peer=True)]
    assert "* against another set-up" in printed(here, there)
    # a CPU of one's own comes first, however slow
    there["benchmarks"].append(bench(6e-6, column="jax_impl"))
    row = only(results.merge([here, there]), device="cuda")
    assert row.to_cpu == results.Ratio(pytest.approx(3.0), False)  # type: ignore[arg-type]


def test_a_gpu_row_says_what_the_card_took_and_what_feeding_it_costs() -> None:
    once = {"to_device": 3e-6, "to_host": 1e-6}
    rows = [
        bench(2e-6, column="torch_impl", device=device, transfer=once, **card)
        for device, card in (("cuda", {"card": 1.5e-6}), ("cpu", {}))
    ]
    merged = results.merge([results_file(*rows)])
    cpu, cuda = sorted(merged.rows, key=lambda row: row.side.device)
    (_, cells) = tables.steady(merged, "a step", merged.rows).entries[-1]
    assert cells[cuda.side]["card"] == "1.50 us"
    assert not cells[cpu.side]["card"]
    (_, cells) = tables.once(merged, merged.rows).entries[-1]
    assert cells[cuda.side]["fed"] == "5.00 us"
    # on a CPU nothing has to be brought anywhere
    assert not cells[cpu.side]["fed"]


def test_other_versions_on_one_machine_are_another_setup() -> None:
    new = {"numpy": "2.4.6", "torch": "2.14.0"}
    files = results_file(bench(), dirty=True), results_file(bench(), dirty=True, versions=new)
    text = " ".join(printed(*files).split())
    assert "one machine, set up differently (versions: torch)" in text
    assert "2.14.0" in text
    assert "A: measured with changes that are not committed" in text
    assert "different machines" not in text
    assert "differ" not in printed(results_file(bench()))


# What must not be shown


def poisoned() -> dict[str, Any]:
    """Rows with times that must not come through: invalid and not run, with everything in them."""
    times: dict[str, Any] = {
        "limit": {"binds": "flops", "seconds": POISON, "share": 0.777},
        "compile": {"lower": POISON, "compile": POISON},
        "break_even_steps": 777.0,
        "transfer": {"to_device": POISON, "to_host": POISON},
        "flops": 777e6,
        "bytes": 777e4,
    }
    wrong = {"status": "invalid", "reason": "w1 is 40 eps off, allowed 16", **times}
    rows = sweep([1, 16, 64], lambda n: 1e-6 * n, flops=1e3, bytes=1e3)
    rows += sweep([1, 16, 64], lambda n: POISON, column="jax_impl", **wrong)
    rows += sweep([1, 16, 64], lambda n: POISON, column="jax_impl", device="cuda", **wrong)
    rows += sweep([1, 16, 64], lambda n: POISON, column="optax", **wrong | {"status": "not run"})
    limits = [
        {"device": "cpu", "threads": 1, "dtype": "float32", "quantity": "flops", "value": 1e11},
        {"device": "cpu", "threads": 1, "dtype": None, "quantity": "bytes", "value": 1e10},
    ]
    without = [{"what": "torch_impl on cuda", "why": "no CUDA device: none"}]
    info = bench(column="torch_impl", status="invalid", reason="no wait", **times)["extra_info"]
    return results_file(*rows, limits=limits, not_run=without, rows=[info])


@pytest.mark.parametrize("width", [80, 120])
def test_rows_that_are_not_ok_show_no_time_in_the_terminal(width: int) -> None:
    text = printed(poisoned(), width=width)
    assert "777" not in text.replace(".", "")
    words = " ".join(text.split())
    assert re.search(r"JAX,? as written (cpu x1 )?invalid", words)
    assert (
        "invalid: JAX, as written (cpu x1, cuda; float32; batch 1, 16, 64): w1 is 40 eps off, "
        "allowed 16" in words
    )
    assert "invalid: PyTorch, as written (cpu x1; float32; batch 32): no wait" in words
    assert "not run: optax, as written (cpu x1; float32; batch 1, 16, 64): w1" in words
    assert "not run: torch_impl on cuda: no CUDA device: none" in words


def test_rows_that_are_not_ok_show_no_time_in_files(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    bad = poisoned()
    files.write(results.merge([bad]), tmp_path / "bad")
    for name in ("report.md", "report.html"):
        # pictures are compared below; as base64 they hold any three digits
        text = re.sub(r"base64,[^\"]*", "", (tmp_path / "bad" / name).read_text())
        assert "777" not in text.replace(".", "")
        assert "invalid: JAX" in text
        assert "no CUDA device" in text
    good = bad | {"benchmarks": [b for b in bad["benchmarks"] if b["extra_info"]["status"] == "ok"]}
    files.write(results.merge([good]), tmp_path / "good")
    pictures = sorted(path.name for path in (tmp_path / "good").glob("*.svg"))
    assert pictures == ["a-step-time-against-batch.svg"]
    for name in pictures:  # the same points give the same bytes
        assert (tmp_path / "bad" / name).read_bytes() == (tmp_path / "good" / name).read_bytes()


# How it looks


def full() -> list[dict[str, Any]]:
    """Two machines with something in every column of every table."""
    more = {
        "compile": {"first": 14.2, "second": 0.1},
        "break_even_steps": 28400.0,
        "paid_against": "as written",
        "transfer": {"to_device": 1e-5, "to_host": 2e-5},
        "peak_memory": {"device": 2**21, "host": None},
        "flops": 1e4,
        "bytes": 1e4,
    }
    about: list[dict[str, Any]] = [
        {"column": "numpy_ref"},
        {"column": "torch_impl", "mode": "compiled step", **more},
        {"column": "jax_impl", "mode": "un-jitted"},
        {"column": "scikit-learn", "peer": True},
    ]
    batches = [32, 1024, 1048576]
    rows = [row for a in about for row in sweep(batches, lambda n: 2e-5 + 3e-8 * n, **a)]
    gpu = sweep(batches, lambda n: 2e-4 + 1e-11 * n, device="cuda", **about[1])
    limits = [
        {"device": d, "threads": 1, "dtype": t, "quantity": q, "column": c, "value": v}
        for d in ("cpu", "cuda")
        for t, q, c, v in (
            ("float32", "flops", "torch_impl", 1e11),
            (None, "bytes", None, 1e10),
            (None, "dispatch", "torch_impl", 1e-6),
        )
    ]
    here = results_file(*rows, limits=limits)
    return [here, results_file(*rows, *gpu, limits=limits, machine=GPU, datetime="2026-02-01")]


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("files", [1, 2])
def test_tables_fit_the_terminal(width: int, files: int) -> None:
    text = printed(*full()[-files:], width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for cell in ("14.3 s", "28400", "scikit-learn", "25% bytes", "compiled step"):
        assert cell in text


def test_sides_stand_next_to_each_other_where_there_is_room() -> None:
    rows = bench(8e-6, column="jax_impl"), bench(4e-6, column="jax_impl", device="cuda")
    assert re.search(
        r"JAX, as written +8\.00 us .* 4\.00 us .* 2\.0x", printed(results_file(*rows))
    )
    narrow = printed(results_file(*rows), width=54)
    assert re.search(r"JAX +cpu x1 +8\.00 us", narrow)
    assert re.search(r" as written +cuda +4\.00 us .* 2\.0x", narrow)


def test_the_files_hold_everything(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    runs = full()[1:]
    written = files.write(results.merge(runs), tmp_path)
    assert sorted(path.name for path in written) == sorted(p.name for p in tmp_path.iterdir())
    markdown = (tmp_path / "report.md").read_text()
    pictures = re.findall(r"!\[.*\]\((.*)\)", markdown)
    assert len(pictures) == 2
    drawn = [(tmp_path / name).read_text() for name in pictures]
    assert all(svg.startswith("<?xml") and "<dc:date>" not in svg for svg in drawn)
    page = (tmp_path / "report.html").read_text()
    assert page.count("<img") == page.count('src="data:image/svg+xml;base64,') == 2
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert page.count("<table>") == len(re.findall(r"^\|---", markdown, re.MULTILINE)) == 4
    assert '<td style="text-align:right">14.3 s</td>' in page
    for cell in ("10.0 us", "20.0 us", "2.0 MiB", "28400"):
        assert cell in markdown


def test_text_from_a_file_is_text_in_the_page(tmp_path: Path) -> None:
    reason = "a|b\n\n<script>x</script> [i]no[/i] ![i](j)"
    file = results_file(bench(status="invalid", reason=reason))
    files.write(results.merge([file]), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "a|b &lt;script&gt;x&lt;/script&gt; [i]no[/i] ![i](j)" in page
    assert " ".join(reason.split()) in " ".join(printed(file).split())


class Tags(HTMLParser):
    """The tags of a page, and the attributes by which something could run or lead elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        names = {name for name, _ in attrs if name.startswith("on") or name == "href"}
        self.seen |= names | {str(v)[:5] for name, v in attrs if name == "src"}


EVIL = '<script>alert(1)</script> $\\frac{ ](javascript:x) \x1b[2J [red] ../../x "onload="x"'


@pytest.mark.filterwarnings("ignore:constrained_layout not applied")
def test_names_of_an_attacker_stay_names(tmp_path: Path) -> None:
    """A machine's, a commit's, a task's and a peer's: in the page, in the plots, in a terminal."""
    pytest.importorskip("matplotlib")
    about: list[dict[str, Any]] = [{"column": "numpy_ref"}, {"column": EVIL, "peer": True}]
    rows = [r for a in about for r in sweep([32, 1024], lambda n: 1e-6 * n, task=EVIL, **a)]
    machine = {"cpu": EVIL, "cores": 1, "memory": 2**30, "gpu": EVIL}
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results_file(*rows, machine=machine, commit=EVIL)))
    found = results.load([path])
    written = files.write(results.merge(found), tmp_path / "out")
    assert {p.parent for p in written} == {tmp_path / "out"}
    assert {p.name for p in (tmp_path).iterdir()} == {"results.json", "out"}
    tags = Tags((tmp_path / "out" / "report.html").read_text(encoding="utf-8")).seen
    assert not tags & {"script", "href", "onload", "a", "iframe"}
    assert {tag for tag in tags if tag.endswith(":")} <= {"data:"}
    for plot in (tmp_path / "out").glob("*.svg"):
        assert not Tags(plot.read_text(encoding="utf-8")).seen & {"script", "onload", "image"}
    said = printed(*found)
    assert "\x1b" not in said
    assert "[red]" in said


def test_a_link_in_the_folder_is_not_written_through(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.html").symlink_to(kept)
    with pytest.raises(results.ResultsError, match=r"report\.html leads out of the folder"):
        files.write(results.merge([results_file(bench())]), out)
    assert kept.read_text() == "mine"
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results_file(bench())))
    assert main(["report", str(path), "--out", str(out)]) == 2


def test_what_is_read_has_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    with path.open("wb") as file:
        file.truncate(2**28 + 1)  # a hole, which takes no room
    with pytest.raises(results.ResultsError, match="more than 268435456 bytes"):
        results.load([path])
    path.write_text("[" * 100_000)
    with pytest.raises(results.ResultsError, match="not JSON"):
        results.load([path])
    os.mkfifo(tmp_path / "pipe")
    for no_file in (tmp_path / "pipe", tmp_path):
        with pytest.raises(results.ResultsError, match="no file"):
            results.load([no_file])


def test_without_a_sweep_a_line_stands_in_place_of_the_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    files.write(results.merge([results_file(bench())]), tmp_path)
    markdown = (tmp_path / "report.md").read_text()
    assert "time against batch: not drawn: no batch sweep" in markdown
    assert markdown.count("not drawn") == 1
    assert not list(tmp_path.glob("*.svg"))


def test_without_matplotlib_a_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "triptych.timing.plots", raising=False)
    monkeypatch.delattr("triptych.timing.plots", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.style", None)
    files.write(results.merge(full()), tmp_path)
    assert "matplotlib.style is not installed" in (tmp_path / "report.md").read_text()


def test_plots_show_what_the_tables_say() -> None:
    plots = pytest.importorskip("triptych.timing.plots", exc_type=ImportError)
    rows = sweep([1, 4, 16], lambda n: 1e-6 * n, spread=0.5, column="jax_impl")
    rows[1]["extra_info"]["limit"]["seconds"] = 4e-8
    limit = {"binds": "dispatch", "seconds": 1e-12, "share": 0.1}
    rows += sweep([1, 4, 16], lambda n: 1e-3 * n, column="numpy_ref", limit=limit)
    gpu = sweep([1, 4, 16], lambda n: 2e-6, column="jax_impl", device="cuda")
    merged = results.merge([results_file(*rows, *gpu)])

    axes, _ = plots.time_against_batch(merged, merged.rows).axes
    _, line, limit = axes.lines
    # for one row of the batch
    assert line.get_xydata() == pytest.approx(np.array([[1, 1e-6], [4, 1e-6], [16, 1e-6]]))
    _, band = axes.collections
    low, high = band.get_paths()[0].get_extents().intervaly
    assert (low, high) == pytest.approx((0.75e-6, 1.25e-6))
    # a quarter of the step, by what `bench` says, but at 4 rows; a dispatch is no limit of all rows
    assert limit.get_xydata() == pytest.approx(np.array([[1, 2.5e-7], [4, 1e-8], [16, 2.5e-7]]))

    (axes,) = plots.crossover(merged, merged.rows).axes
    assert axes.get_title() == "cuda, float32\nbest against best: 2.0 (1 to 4)"
    one, line, at, *_ = axes.lines
    assert one.get_ydata() == [1, 1]
    assert line.get_xydata() == pytest.approx(np.array([[1, 0.5], [4, 2], [16, 8]]))
    assert at.get_xdata() == pytest.approx([2, 2])


def test_colours_and_lines_tell_apart() -> None:
    plots = pytest.importorskip("triptych.timing.plots", exc_type=ImportError)
    assert len(set(plots.COLOURS.values()) | {plots.OTHER}) == len(plots.COLOURS) + 1
    assert len(set(plots.STYLES.values())) == len(plots.STYLES)
    assert set(DISPLAY_NAMES.values()) < plots.COLOURS.keys()
    assert set(results.MODES) <= plots.STYLES.keys()


# The answers


def answered(*rows: dict[str, Any]) -> list[str]:
    return list(answers.sentences(results.merge([results_file(*rows)])))


def test_the_fastest_is_said_for_each_batch() -> None:
    """Overheads of 50 and 10 us, and 1 and 2 us a row: they meet at 40 rows."""
    rows = sweep([1, 4, 16, 64, 256], lambda n: (50 + n) * 1e-6)
    rows += sweep([1, 4, 16, 64, 256], lambda n: (10 + 2 * n) * 1e-6, column="jax_impl")
    # a peer and what the machine can are no columns
    rows += sweep([1, 4], lambda n: 1e-6, column="optax", peer=True)
    (said, costs, gpu) = answered(*rows)
    assert said == (
        "Fastest (a step, cpu x1): from 1 to 16 rows JAX as written; "
        "from 64 to 256 rows NumPy as written."
    )
    assert costs == (
        "A step costs, before its first row and for each (a step, cpu x1): JAX as written 10.0 us "
        "and 2.00 us a row; NumPy as written 50.0 us and 1.00 us a row."
    )
    assert gpu == "No GPU has measured any of these rows."


def test_what_cannot_be_told_apart_is_not_ranked() -> None:
    close = [bench(8e-6, spread=0.1), bench(8.5e-6, column="jax_impl", spread=0.1)]
    tie = "Fastest (a step, cpu x1): at 32 rows NumPy as written and JAX as written cannot be"
    assert answered(*close)[0].startswith(tie)
    assert "JAX" not in answered(close[0], bench(9e-6, column="jax_impl", spread=0.1))[0]
    # in turn, the interval of the ratio decides, whatever the spread
    surely = {"numpy_ref:as written": [0.94, 0.92, 0.96]}
    hardly = {"numpy_ref:as written": [0.94, 0.92, 1.01]}
    close[1]["extra_info"]["ratios"] = surely
    assert answered(*close)[0] == "Fastest (a step, cpu x1): at 32 rows NumPy as written."
    close[1]["extra_info"]["ratios"] = hardly
    assert answered(*close)[0].startswith(tie)


def test_when_compiling_pays_and_what_the_machine_can() -> None:
    rows = [
        bench(8e-6, ratios={"numba:fused": [0.25, 0.2, 0.3]}),
        bench(
            2e-6, column="jax_impl", mode="whole loop", compile={"lower": 0.1, "compile": 0.4},
            break_even_steps=83333.3, paid_against="un-jitted",
            ratios={"numba:fused": [0.5, 0.4, 0.6]},
        ),
        bench(1e-6, column="numba", mode="fused", peer=True),
    ]  # fmt: skip
    said = answered(*rows)
    assert said[1] == (
        "The best column takes so many times as long as numba fused (a step, cpu x1): "
        "2.0 at 32 rows (JAX whole loop)."
    )
    assert said[2] == (
        "Compiling (a step, cpu x1): JAX whole loop takes 500 ms to compile and, beside the column "
        "un-jitted, pays after 83000 steps at 32 rows."
    )
    rows[1]["extra_info"]["break_even_steps"] = None
    assert "beside the column un-jitted, never pays at 32 rows" in answered(*rows)[2]
    # where what to compare it with was not measured, nothing is said of it
    rows[1]["extra_info"]["paid_against"] = None
    assert "takes 500 ms to compile at 32 rows" in answered(*rows)[2]


def test_when_compiling_pays_is_taken_from_the_run_that_knows() -> None:
    about = {"column": "jax_impl", "compile": {"compile": 0.4}}
    whole = bench(3e-6, **about, break_even_steps=100.0, paid_against="un-jitted")
    runs = [
        results_file(row, datetime=f"2026-01-0{day}")
        for day, row in enumerate((whole, bench(2e-6, **about), bench(1e-6, **about)), start=1)
    ]
    row = only(results.merge(runs))
    assert row.time
    assert row.time.median == pytest.approx(2e-6)
    assert (row.break_even_steps, row.paid_against) == (100.0, "un-jitted")


def test_when_a_gpu_pays() -> None:
    rows = sweep([1, 4, 16, 64], lambda n: 1e-6 * n, column="jax_impl")
    rows += sweep([1, 4, 16, 64], lambda n: 8e-6, column="jax_impl", device="cuda")
    (said,) = [line for line in answered(*rows) if line.startswith("A GPU pays")]
    assert said == ("A GPU pays (a step, cuda against the fastest CPU): from 8.0 (4 to 16) rows.")
    slow = sweep([1, 4], lambda n: 1.0, column="jax_impl", device="cuda")
    (said,) = [line for line in answered(*rows[:2], *slow) if line.startswith("A GPU pays")]
    assert said.endswith("at no batch that was measured.")


def test_a_row_that_is_not_ok_answers_nothing() -> None:
    rows = [bench(8e-6), bench(1e-6, column="jax_impl", status="invalid", reason="off")]
    assert answered(*rows, bench(9e-6, column="torch_impl"))[0] == (
        "Fastest (a step, cpu x1): at 32 rows NumPy as written."
    )


def test_the_report_begins_with_them(tmp_path: Path) -> None:
    file = results_file(bench(8e-6), bench(2e-6, column="jax_impl"))
    assert printed(file).startswith("Fastest (a step, cpu x1): at 32 rows JAX as written.")
    files.write(results.merge([file]), tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert text.startswith("# Timing report\n\n- Fastest (a step, cpu x1): at 32 rows JAX")


# The command


def save(path: Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


BAD = {
    "empty": ("", "the file is empty"),
    "not JSON": ("{", "not JSON: Expecting"),
    "a list": ([1], "not a file of pytest-benchmark"),
    "something else": ({"a": 1}, "not a file of pytest-benchmark"),
    "foreign": (
        {"machine_info": {"node": "n"}, "benchmarks": [{"stats": {"median": 1}}]},
        "a file of pytest-benchmark, but not from this suite's benchmarks",
    ),
    "schema": (results_file(bench(), schema=99), "has schema 99; this report reads schema 1 and 2"),
    "no extra_info": (results_file({"stats": {}}), "extra_info lacks task, column, mode"),
    "no column": (
        results_file(
            {"extra_info": {k: v for k, v in bench()["extra_info"].items() if k != "column"}}
        ),
        "extra_info lacks column",
    ),
    "no time": (
        results_file(bench() | {"stats": {}}),
        "a step, NumPy, as written: status ok, but no",
    ),
    "zero": (results_file(bench(0.0)), "status ok, but no time"),
    "nan": (results_file(bench(float("nan"))), "status ok, but no time"),
    "no steps": (results_file(bench(steps=0), schema=1), "status ok, but no time"),
    "status": (results_file(bench(status="fine")), "unknown status 'fine'"),
    "limits": (results_file(bench(), limits=[{"value": 1}]), "malformed limits"),
    "nothing": (results_file(), "no results in it"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, said = BAD[name]
    path = save(tmp_path / "bad.json", content)
    good = save(tmp_path / "good.json", results_file(bench()))
    assert main(["report", good, path]) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"triptych report: {path}: ")
    assert said in err
    assert out == ""


def test_bad_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = save(tmp_path / "good.json", results_file(bench()))
    for arguments, said in (
        ([str(tmp_path / "none.json")], "none.json: No such file"),
        ([str(tmp_path)], "no file"),
        ([good, "--baseline", "numpy"], "no column 'numpy'; did you mean numpy_ref?"),
        ([good, "--out", good], "File exists"),
    ):
        assert main(["report", *arguments]) == 2
        assert said in capsys.readouterr().err


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    file = save(tmp_path / "r.json", results_file(bench(8e-6), bench(2e-6, column="jax_impl")))
    assert main(["report", file, file, "--baseline", "jax_impl"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"NumPy, as written +8\.00 us +7\.68 us +25% bytes +0\.25x", out)
    assert "measured in several runs" not in out  # the same file twice is one run
    assert "\x1b" not in out
    words = ["--baseline", "jax_impl", "--out", str(tmp_path / "out")]
    assert main(["report", file, *words]) == 0
    assert "wrote " in capsys.readouterr().out
    assert (tmp_path / "out" / "report.html").exists()


def test_a_report_needs_no_framework(tmp_path: Path) -> None:
    file = save(tmp_path / "r.json", full()[0])
    code = (
        "import sys; from triptych.__main__ import main; status = main(sys.argv[1:]); "
        "sys.exit(status or bool({'torch', 'jax'} & sys.modules.keys()) * 3)"
    )
    words = [sys.executable, "-c", code, "report", file]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0
