"""Negative controls of the timing harness: every way to a wrong time is caught and shows none."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import timeit
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks import (
    bench_classifier,
    bench_gradients,
    bench_linear_regression,
    bench_reproducible,
    cases,
    counts,
    harness,
    limits,
    machine,
    memory,
    turns,
)
from benchmarks.cases import Case, InvalidRow, Target
from triptych import forms
from triptych.column import Column, missing
from triptych.names import COLUMNS
from triptych.timing import clock

ROOT = Path(__file__).resolve().parents[2]
MODULES = (bench_classifier, bench_gradients, bench_linear_regression, bench_reproducible)

pytestmark = pytest.mark.skipif(
    any(map(missing, ("torch_impl", "jax_impl"))), reason="the benchmarks compare all columns"
)


@pytest.fixture(autouse=True)
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn of one or two rounds: nothing here is a measurement."""
    monkeypatch.setattr(harness, "TURN", 1e-4)


def target_of(
    run: Callable[..., Any], wait: Callable[[Any], Any] = lambda x: x, expected: float = 1.0
) -> Target:
    """A target that computes one number."""

    def outputs(result: Any) -> cases.Outputs:
        return {"result": np.asarray(result, dtype=np.float64).ravel()[:1]}

    return Target(lambda: (), run, wait, outputs, lambda: {"result": np.array([expected])}, 1e-6)


def case_of(target: Target, **fields: Any) -> Case:
    known: dict[str, Any] = {"concept": "none", "task": "a task", "column": "numpy_ref"}
    known |= {"mode": "as written", "batch": None, "steps": 1}
    return Case(make=lambda case: target, **known | fields)


def measured(target: Target, **fields: Any) -> turns.Measured:
    """In this process, alone at its table."""
    case = case_of(target, **fields)
    outcome = turns.measure([case], threads=1, budget=0.01, worker=turns.Here)[case.id]
    if not isinstance(outcome, turns.Measured):
        raise outcome
    return outcome


# a target that forgets to wait


def long_work() -> Any:
    """A product that takes far longer than its dispatch."""
    import jax
    import jax.numpy as jnp

    def body(_: Any, x: Any) -> Any:
        return x @ x / 1000

    work = jax.jit(lambda x: jax.lax.fori_loop(0, 10, body, x))
    ones = jnp.ones((1000, 1000), np.float32)
    return lambda: work(ones)


def test_a_target_that_forgets_to_wait_is_caught() -> None:
    from jax_impl import synchronize

    work = long_work()
    # the same work, waited for, passes: it is the missing wait that is caught
    assert len(measured(target_of(work, synchronize)).turns) >= turns.FEWEST
    with pytest.raises(InvalidRow, match="does not wait"):
        measured(target_of(work))


def test_unfinished_looks_into_every_corner() -> None:
    class Pending:
        def __init__(self, ready: bool) -> None:
            self.ready = ready

        def is_ready(self) -> bool:
            return self.ready

    done, pending = Pending(True), Pending(False)
    assert clock.unfinished(({"a": [done, pending]}, 1.0))
    assert not clock.unfinished(({"a": [done, done]}, np.ones(3)))


# a planted wrong result


def test_a_wrong_result_shows_no_time() -> None:
    with pytest.raises(InvalidRow, match=r"disagrees: result is 1e-05 absolute off"):
        measured(target_of(lambda: 1 + 1e-5))


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_result_that_is_no_number_shows_no_time(wrong: float) -> None:
    with pytest.raises(InvalidRow):
        measured(target_of(lambda: wrong))


def test_a_wrong_rate_on_many_points_shows_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound of a sum of a million terms is not so wide that everything passes."""
    case = bench_linear_regression.case_of("jax_impl", "whole loop", 10**6, "float32")
    harness.check(case, case.make(case))
    monkeypatch.setattr(bench_linear_regression, "RATE", 0.101)
    target = case.make(case)
    monkeypatch.setattr(bench_linear_regression, "RATE", 0.1)
    with pytest.raises(InvalidRow, match="disagrees"):
        harness.check(case, target)


def test_a_missing_output_shows_no_time() -> None:
    target = target_of(lambda: 1.0)._replace(outputs=lambda result: {})
    with pytest.raises(InvalidRow, match="outputs"):
        measured(target)


@pytest.mark.parametrize("column", ["numpy_ref", "torch_impl", "jax_impl"])
def test_a_wrong_learning_rate_shows_no_time(column: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mode = bench_classifier.FASTEST[column, "cpu"]
    case = bench_classifier.step_case(column, mode, 32)
    harness.check(case, case.make(case))
    target = case.make(case)
    # what is expected comes from another rate than what is run
    monkeypatch.setitem(bench_classifier.RATE, "sgd", 0.1001)
    with pytest.raises(InvalidRow, match="disagrees"):
        harness.check(case, target)


@pytest.mark.parametrize(
    ("peer", "optimizer"),
    [
        *((peer, "sgd") for peer in bench_classifier.PEERS),
        *((peer, "adam") for peer in ("optax", "torch.optim")),
        pytest.param("numba", "sgd", marks=pytest.mark.slow),  # it compiles for ten seconds
    ],
)
def test_peers_do_the_same_work(peer: str, optimizer: str) -> None:
    if package := machine.absent(peer):
        pytest.skip(f"{package} is not installed")
    mode = bench_classifier.PEERS.get(peer, cases.FUSED)
    case = bench_classifier.step_case(peer, mode, 32, optimizer)
    with cases.precision("float32"):
        target = case.make(case)
        found = harness.check(case, target)
    assert 0 < found["distance"] <= target.bound


def test_another_adam_shows_no_time() -> None:
    """scikit-learn adds epsilon before it takes out the bias of v: the paper has both forms."""
    if package := machine.absent("scikit-learn"):
        pytest.skip(f"{package} is not installed")
    case = bench_classifier.step_case("scikit-learn", "as written", 32, "adam", dtype="float64")
    with cases.precision("float64"):
        target = case.make(case)
        with pytest.raises(InvalidRow, match="disagrees"):
            harness.check(case, target)


# a compilation inside the clock


def test_compiling_in_every_round_is_caught() -> None:
    import jax

    def cold() -> Any:
        return jax.jit(lambda x: x + 1)(0.0)

    with pytest.raises(InvalidRow, match="compiles in every round"):
        measured(target_of(cold, jax.block_until_ready))


def test_compiling_with_torch_in_every_round_is_caught() -> None:
    import torch

    def cold() -> Any:
        torch._dynamo.reset()
        return torch.compile(lambda x: x + 1, backend="eager")(torch.zeros(()))

    with pytest.raises(InvalidRow, match="compiles in every round"):
        measured(target_of(cold))


def test_a_late_compilation_takes_the_time_away() -> None:
    import jax

    calls = []

    def late() -> Any:
        calls.append(1)
        size = 2 if len(calls) == 8 else 1  # after the warm-up, among the timed rounds
        return jax.jit(lambda x: x + 1)(np.zeros(size)) if len(calls) in (1, 8) else np.ones(1)

    with pytest.raises(InvalidRow, match="inside the timed rounds"):
        measured(target_of(late, jax.block_until_ready))


# the floor


def test_an_empty_step_measures_the_floor() -> None:
    column = Column("jax_impl")
    steps = limits._empty_steps(column)
    target = target_of(steps)._replace(outputs=lambda _: {"result": np.ones(1)})
    floor = min(turn.wall for turn in measured(target, steps=limits.EMPTY_STEPS).turns)
    seconds = min(timeit.repeat(steps, number=1, repeat=5)) / limits.EMPTY_STEPS
    # other work on the machine can slow either down
    assert seconds / 5 < floor < seconds * 5
    # a dispatch is a matter of microseconds: neither nothing nor a compilation
    assert 1e-7 < floor < 1e-3


def test_the_limits_hold_the_floor_of_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SIDE", {"cpu": 8})
    monkeypatch.setattr(limits, "TRIADS", {"cpu": (8,)})
    floors = {
        limit["column"]: limit["value"]
        for limit in limits.limits("cpu", 1)
        if limit["quantity"] == "dispatch"
    }
    assert floors.keys() == {name for name in COLUMNS if not missing(name)}
    for name, floor in floors.items():
        steps = limits._empty_steps(Column(name))
        seconds = min(timeit.repeat(steps, number=1, repeat=5)) / limits.EMPTY_STEPS
        # neighbours slow down either; a floor of all steps would be a thousand times as long
        assert seconds / 30 < floor < seconds * 30


def test_empty_steps_are_chained_and_waited_for() -> None:
    waited: list[np.ndarray] = []
    column: Any = SimpleNamespace(name="numpy_ref", take_in=np.copy, synchronize=waited.append)
    limits._empty_steps(column)()
    assert [value.tolist() for value in waited] == [[limits.EMPTY_STEPS]]


# no GPU, no compiler, no peer


def test_no_gpu_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import jax_impl
    import torch_impl

    for boundary in (torch_impl, jax_impl):
        monkeypatch.setattr(boundary, "devices", lambda: ("cpu",))
    lines = machine.not_run()
    assert [line["why"] for line in lines if line["what"] == "torch_impl, jax_impl on cuda"] == [
        "no CUDA device: none that torch_impl or jax_impl can use"
    ]
    assert machine.devices() == ["cpu"]
    assert not machine.runs("torch_impl", "as_written", "cuda")


def test_no_cpp_compiler_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "no_cpp_compiler", lambda: "needs a C++ compiler")
    expected = {"what": "torch_impl, compiled step, cpu", "why": "needs a C++ compiler"}
    assert expected in machine.not_run()
    assert not machine.runs("torch_impl", "compiled_step", "cpu")
    for case in bench_classifier.cases():
        assert (case.column, case.mode, case.device) != ("torch_impl", "compiled step", "cpu")


def test_a_missing_peer_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_version", lambda package: None)
    assert {line["what"] for line in machine.not_run()} >= {"scikit-learn", "autograd", "optax"}


# which rows run


@pytest.mark.parametrize("devices", [["cpu"], ["cpu", "cuda"]])
def test_eighty_rows_at_most_by_default(
    devices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[Case] = []
    for module in MODULES:
        monkeypatch.setattr(module, "devices", lambda: devices)
        monkeypatch.setattr(
            module, "runs", lambda column, form, device: (column, device) != ("numpy_ref", "cuda")
        )
        rows += list(module.cases())
    default = cases.chosen(rows, devices=devices)
    assert 40 <= len(default) <= 80
    everything = cases.chosen(rows, devices=devices, full=True, sweep=True)
    assert len({case.id for case in everything}) == len(everything) == len(rows)
    swept = {c.batch for c in everything if c.task == "classifier step, SGD"}
    assert swept >= {4**power for power in range(11)} | {32, 1024, 32768}
    # the CPU's twin has a row on each device
    small = "wide twin 256-1024-1024-250, SGD"
    assert {c.device for c in default if c.task == small} == set(devices)
    twins = {(c.device, c.dtype) for c in everything if c.task.startswith("wide twin")}
    assert twins == {("cpu", "float32")} | {
        ("cuda", dtype) for dtype in ("float32", "tf32", "bfloat16") if "cuda" in devices
    }


# arithmetic


def made_up(**fields: Any) -> dict[str, Any]:
    case = case_of(target_of(lambda: 1.0), **fields)
    return case.row(threads=1)


def results_of(*rows: tuple[dict[str, Any], dict[str, float]]) -> dict[str, Any]:
    limits: list[dict[str, Any]] = [
        {"quantity": "flops", "dtype": "float32", "column": "numpy_ref", "value": 1e9},
        {"quantity": "flops", "dtype": "float32", "column": "jax_impl", "value": 2e9},
        {"quantity": "flops", "dtype": "float64", "column": "jax_impl", "value": 9e9},
        {"quantity": "bytes", "dtype": None, "column": None, "value": 1e8, "size": 1000},
        {"quantity": "cached bytes", "dtype": None, "column": None, "value": 4e8, "size": 100},
        {"quantity": "dispatch", "dtype": None, "column": "jax_impl", "value": 1e-6},
    ]
    limits = [limit | {"device": "cpu", "threads": 1} for limit in limits]
    return {
        "triptych": {"limits": limits},
        "benchmarks": [{"extra_info": info, "stats": stats} for info, stats in rows],
    }


@pytest.mark.parametrize(
    ("fields", "binds", "seconds"),
    [
        # 2e6 flops at the best column's 2e9 a second
        ({"flops": 2e6, "bytes": 1000}, "flops", 1e-3),
        # a third of 301 bytes is more than the cached triad holds
        ({"flops": 1, "bytes": 301}, "bytes", 3.01e-6),
        # a third of 300 fits
        ({"flops": 1, "bytes": 300, "column": "numpy_ref"}, "bytes", 7.5e-7),
        # an empty step; in a loop of ten steps a tenth of one
        ({"flops": 1, "bytes": 1}, "dispatch", 1e-6),
        ({"flops": 1, "bytes": 1, "mode": "whole loop"}, "dispatch", 1e-7),
        # a peer dispatches as the column does that it is built on
        ({"flops": 1, "bytes": 1, "column": "optax"}, "dispatch", 1e-6),
    ],
)
def test_the_limit_that_binds(fields: dict[str, Any], binds: str, seconds: float) -> None:
    info = made_up(**{"column": "jax_impl", "steps": 10, **fields})
    limits.complete(results_of((info, {"median": 0.002, "iqr": 0.0})))
    assert info["limit"] == {
        "binds": binds,
        "seconds": pytest.approx(seconds),
        "share": pytest.approx(seconds / 0.002),
    }


def test_a_row_without_a_limit_has_none() -> None:
    info = made_up(flops=1e6, dtype="bfloat16", device="cuda")
    limits.complete(results_of((info, {"median": 1.0, "iqr": 0.0})))
    assert info["limit"] is None


def test_break_even() -> None:
    # 3 s to compile, and each step then saves 2 - 0.5 ms
    assert limits.break_even(3.0, 0.5e-3, 2e-3) == pytest.approx(2000)
    assert limits.break_even(3.0, 2e-3, 2e-3) is None


@pytest.mark.parametrize(
    ("compile_time", "expected"),
    [({"lower": 1.0, "compile": 2.0}, 1500), ({"first": 3.0, "second": 1.0}, 1500)],
)
def test_break_even_is_against_the_same_column_as_written(
    compile_time: dict[str, float], expected: float
) -> None:
    compiled = made_up(column="torch_impl", mode="compiled step", steps=10)
    compiled["compile"] = compile_time
    plain = made_up(column="torch_impl", mode="as written", steps=1)
    other = made_up(column="numpy_ref", mode="as written", steps=1)
    rows = [
        (compiled, {"median": 1.0, "iqr": 0.0}),
        (plain, {"median": 3.0, "iqr": 0.0}),
        (other, {"median": 50.0, "iqr": 0.0}),
    ]
    limits.complete(results_of(*rows))
    assert compiled["break_even_steps"] == pytest.approx(expected / 1000)
    assert compiled["paid_against"] == "as written"
    assert plain["break_even_steps"] is None


def test_turns_fill_the_budget() -> None:
    # every turn has a round that is not timed; an odd number has one in the middle
    assert turns.turns_in(1.0, 0.01) == 99
    assert turns.turns_in(1.0, 10.0) == turns.FEWEST
    assert turns.turns_in(1.0, 1e-9) == turns.MOST


def test_a_row_is_measured_with_fresh_state_each_round() -> None:
    seen = []

    def run(state: list[float]) -> float:
        seen.append(tuple(state))
        state.append(1.0)
        return state[0]

    target = target_of(run)._replace(start=lambda: ([1.0],))
    found = measured(target)
    assert set(seen) == {(1.0,)}
    assert len(found.turns) == turns.FEWEST
    assert found.row["agreement"] == {"distance": 0.0, "unit": "absolute", "bound": 1e-6}
    assert found.row["status"] == "ok"


# the analytic counts


@pytest.mark.parametrize("batch", [32, 1024])
@pytest.mark.parametrize("sizes", [(4, 16, 8, 3), (64, 128, 128, 10)])
def test_counts_against_xla(sizes: tuple[int, ...], batch: int) -> None:
    from jax_impl import classifier

    column = Column("jax_impl")
    params, x, t, _ = map(column.take_in, bench_classifier.arguments(batch, 1, sizes, "float32"))
    compiled = classifier.loss_and_grads.__wrapped__.lower(params, x, t).compile()  # type: ignore[attr-defined]
    cost = compiled.cost_analysis()
    found = counts.classifier_step(sizes, batch, 4)
    n = counts.parameters(sizes)
    update = 2 * n
    xla = cost["flops"] + cost["transcendentals"]
    # a product is the same number of flops to both; what is element by element XLA fuses into
    # more than one loop, and computes again in the second
    products = batch * (2 * sum(counts.products(sizes)) + sum(counts.products(sizes)[1:]))
    ours = found.flops - update - products
    assert ours <= xla - products <= 2 * ours
    # what comes in and goes out is what has to be moved; XLA stores much of what lies between
    memory = compiled.memory_analysis()
    numbers = batch * counts.WHOLE_NUMBER  # of the rows, which this program does not gather
    assert found.bytes - numbers == (
        memory.argument_size_in_bytes + memory.output_size_in_bytes - 4 - 8 * (1 + len(params))
    )
    assert found.bytes < cost["bytes accessed"]


def test_inference_count_against_xla() -> None:
    from jax_impl import classifier

    column = Column("jax_impl")
    given = bench_classifier.arguments(1024, 1, bench_classifier.SIZES, "float32")
    params, x = (column.take_in(value) for value in given[:2])
    compiled = classifier.probabilities.__wrapped__.lower(params, x).compile()  # type: ignore[attr-defined]
    cost = compiled.cost_analysis()
    found = counts.inference(bench_classifier.SIZES, 1024, 4)
    products = 1024 * sum(counts.products(bench_classifier.SIZES))
    ours = found.flops - products
    assert ours <= cost["flops"] + cost["transcendentals"] - products <= 2 * ours
    memory = compiled.memory_analysis()
    assert found.bytes == memory.argument_size_in_bytes + memory.output_size_in_bytes
    assert found.bytes < cost["bytes accessed"]


def test_regression_count_against_xla() -> None:
    from jax_impl import linear_regression

    column = Column("jax_impl")
    params, x, t = map(column.take_in, bench_linear_regression.samples(1024, "float32"))
    compiled = linear_regression.loss_and_grads.__wrapped__.lower(params, x, t).compile()  # type: ignore[attr-defined]
    found = counts.regression_epoch(1024, 4)
    cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
    # XLA computes a residual again where it needs it rather than store it
    assert found.flops <= cost["flops"] <= 2 * found.flops
    results = memory.output_size_in_bytes - 4 - 8 * (1 + len(params))
    assert found.bytes == memory.argument_size_in_bytes + results


# reduced precision, memory, threads


def test_tf32_is_switched_on_and_off_again() -> None:
    import jax
    import torch

    config: Any = jax.config
    setting = torch.backends.cuda.matmul
    before = setting.fp32_precision
    with contextlib.suppress(ZeroDivisionError), cases.precision("tf32"):
        assert setting.fp32_precision == "tf32"
        assert config.jax_default_matmul_precision == "tensorfloat32"
        _ = 1 / 0
    assert setting.fp32_precision == before
    with cases.precision("float32"):
        assert setting.fp32_precision == before != "tf32"
        assert config.jax_default_matmul_precision == "float32"


@pytest.mark.slow
@pytest.mark.parametrize("column", ["torch_impl", "jax_impl"])
def test_the_twin_in_bfloat16_is_held_to_its_eps(
    column: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # no CUDA device is needed for the check itself
    monkeypatch.setitem(bench_classifier.TWINS, "cpu", ((64, 128, 128, 50), 64))
    mode = bench_classifier.FASTEST[column, "cpu"]
    case = bench_classifier.twin_case(column, mode, dtype="bfloat16")
    with cases.precision(case.dtype):
        target = case.make(case)
        found = harness.check(case, target)
        # of the order of one eps of bfloat16: it was used, and it was measured in its own eps
        assert 0.05 < found["distance"] < target.bound
        exact = target.expected()
        # the first is compared as a whole, since masks have turned; the second entry by entry
        for name, factor in (("d fc1.weight", 2), ("d output.weight", 1.2)):
            wrong = exact | {name: exact[name] * factor}
            with pytest.raises(InvalidRow, match=name):
                harness.check(case, target._replace(expected=dict(wrong).copy))


def test_where_masks_turn_a_gradient_is_compared_as_a_whole() -> None:
    (cpu, few), (gpu, many) = bench_classifier.TWINS["cpu"], bench_classifier.TWINS["cuda"]
    # half a million pre-activations: in float32 every entry is held to eps, in bfloat16 none
    assert bench_classifier.turned(cpu, few, "float32") == {}
    for dtype, measured in (("float32", 5e-4), ("tf32", 2e-2), ("bfloat16", 6e-2)):
        bounds = bench_classifier.turned(gpu, many, dtype)
        assert not any("output" in name for name in bounds)
        assert bounds.keys() >= {"fc1.weight", "d fc2.bias"}
        assert measured < bounds["d fc1.weight"] < 0.2 < 1


def test_an_output_compared_as_a_whole_is_held_to_its_bound() -> None:
    exact = np.ones(10_000)
    off = exact.copy()
    off[0] += 1.0  # of a hundred: one per cent of the norm
    target = target_of(lambda: 1.0)._replace(
        outputs=lambda _: {"d w": off}, expected=lambda: {"d w": exact}
    )
    with pytest.raises(InvalidRow, match="d w is 1 absolute off"):
        measured(target)
    assert measured(target._replace(as_a_whole={"d w": 0.011})).row["status"] == "ok"
    with pytest.raises(InvalidRow, match=r"d w is 0\.01 of itself off, allowed 0\.009"):
        measured(target._replace(as_a_whole={"d w": 0.009}))
    for wrong in (off[:-1], np.full(10_000, np.nan)):
        off = wrong
        with pytest.raises(InvalidRow, match="d w"):
            measured(target._replace(as_a_whole={"d w": 1}))


def test_what_rows_share_is_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def compute() -> cases.Outputs:
        calls.append(1)
        return {"d fc1.weight": np.arange(3.0)}

    monkeypatch.delenv(cases.KEPT, raising=False)
    for _ in range(2):
        cases.kept("a", compute)
    monkeypatch.setenv(cases.KEPT, str(tmp_path))
    for _ in range(2):
        found = cases.kept("a", compute)
        assert found["d fc1.weight"].tolist() == [0, 1, 2]
    assert len(calls) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_a_graph_is_held_to_its_kernels() -> None:
    info = made_up(column="torch_impl", mode="CUDA graph", steps=100, device="cuda")
    info["kernels"] = 37.0
    here: list[dict[str, Any]] = [
        {"quantity": "dispatch", "dtype": None, "column": "torch_impl", "value": 4e-6},
        {"quantity": "node", "dtype": None, "column": "torch_impl", "value": 1e-6},
    ]
    here = [limit | {"device": "cuda", "threads": 1} for limit in here]
    bound = limits.binding_limit(info, here, 74e-6)
    assert bound == {"binds": "dispatch", "seconds": pytest.approx(37e-6), "share": 0.5}
    # whose kernels nobody has counted is dispatched once
    info["kernels"] = None
    bound = limits.binding_limit(info, here, 74e-6)
    assert bound is not None
    assert bound["seconds"] == pytest.approx(4e-8)


def test_the_card_has_a_clock_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for CUDA's events: they are in the stream before the wait, and read after it."""
    import torch

    said: list[str] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            said.append("event")

        def elapsed_time(self, end: "Event") -> float:
            assert end is not self
            said.append("read")
            return 3.0  # milliseconds

    monkeypatch.setattr(torch.cuda, "Event", Event)
    target = target_of(lambda: said.append("run"), lambda _: said.append("wait"))
    runner = harness.Runner(case_of(target, column="torch_impl", steps=10), 1)
    runner.case = runner.case._replace(device="cuda")
    monkeypatch.setattr(runner, "_settings", contextlib.nullcontext)
    said.clear()
    turn = runner.turn()
    assert said[:7] == ["run", "wait", "event", "run", "event", "wait", "read"]
    assert turn.card == pytest.approx(3e-4)
    assert turns._times(runner.case, [[turn]], []) == {"card": turn.card}
    # XLA's stream takes none
    runner.case = runner.case._replace(column="jax_impl")
    assert runner.turn().card == 0


def test_a_limit_is_measured_warm() -> None:
    calls: list[int] = []
    limits._seconds(lambda: calls.append(1), 1)
    assert len(calls) == 1 + cases.FEWEST
    limits._seconds(lambda: calls.append(1), 1, warm=0.01)
    assert len(calls) > 3 * (1 + cases.FEWEST)


def test_the_best_of_two_measurements_is_the_limit() -> None:
    def limit(quantity: str, value: float, size: int = 1) -> dict[str, Any]:
        return {"device": "cpu", "quantity": quantity, "value": value, "size": size}

    first = [limit("bytes", 1e9), limit("dispatch", 2e-6), limit("cached bytes", 3e9, 5)]
    later = [limit("bytes", 2e9), limit("dispatch", 3e-6), limit("cached bytes", 2e9, 5)]
    assert [one["value"] for one in limits.best([*first, *later])] == [2e9, 2e-6, 3e9]


def test_recording_a_cuda_graph_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything but the device: a stand-in for a graph that refuses what a capture refuses."""
    import torch

    recording = []

    class Stand:
        replays = 0

        def __init__(self, *_: Any) -> None:
            pass

        def wait_stream(self, _: Any) -> None:
            pass

        def replay(self) -> None:
            Stand.replays += 1

    @contextlib.contextmanager
    def capture(_: Any, capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == "thread_local"  # JAX's threads may use the device
        recording.append(True)
        yield
        recording.pop()

    def cpu(x: Any) -> Any:
        assert not recording, "a copy to the host ends a capture"
        return x

    for name, stand in {
        "Stream": Stand, "CUDAGraph": Stand, "current_stream": Stand,
        "stream": contextlib.nullcontext, "graph": capture,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, stand)
    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    case = bench_classifier.step_case("torch_impl", "CUDA graph", 32)
    target = case.make(case)
    harness.check(case, target)
    assert Stand.replays == 1
    given = bench_classifier.arguments(32, 100, bench_classifier.SIZES, "float32")
    column = Column("torch_impl")
    with pytest.raises(AssertionError, match="ends a capture"):
        column.execution.cuda_graph.__wrapped__(*map(column.take_in, given), learning_rate=0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of the resident set is Linux's")
def test_peak_memory_sees_what_is_gone_again() -> None:
    watch = memory.PeakMemory(case_of(target_of(lambda: 1.0)))
    np.ones(25_000_000)  # 200 MB, given back at once
    peak = watch.read()
    assert peak["device"] is None
    assert 190e6 < (peak["host"] or 0) < 300e6


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of the resident set is Linux's")
def test_peak_memory_is_not_that_of_the_check() -> None:
    """There another column computes as well, in float64."""
    target = target_of(lambda: 1.0)._replace(expected=lambda: {"result": np.ones(25_000_000)[:1]})
    assert measured(target).row["peak_memory"]["host"] < 100e6


BUSY = """
import os, time
from benchmarks import limits
from triptych.column import Column

def ticks():
    spent = {}
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/stat") as stat:
            spent[task] = sum(map(int, stat.read().rpartition(")")[2].split()[11:13]))
    return spent

for name in ("numpy_ref", "torch_impl", "jax_impl"):
    product = limits._product(Column(name), "float32")
    product()
    before, start = ticks(), time.process_time()
    while time.process_time() - start < 1:
        product()
    spent = [after - before.get(task, 0) for task, after in ticks().items()]
    print(sum(one > 0.2 * sum(spent) for one in spent))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
@pytest.mark.parametrize("threads", [1, 2])
def test_so_many_threads_compute(threads: int) -> None:
    if machine.usable_cores() < threads:
        pytest.skip(f"fewer than {threads} cores")
    begin = (
        "import os, sys; from benchmarks.machine import with_threads; "
        f"os.execve(sys.executable, [sys.executable, '-c', sys.argv[1]], with_threads({threads}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", begin, BUSY],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    busy = [int(line) for line in done.stdout.split()]
    # XLA's pool is joined by the thread that calls it, so two may be three; one is one
    assert busy == [1] * 3 if threads == 1 else min(busy) >= threads


# the whole way: pytest --benchmark-only on a copy of the project


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project with one test, small machine limits, and a mistake in JAX's linear regression."""
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("not a checkout of the project")
    for folder in ("benchmarks", "numpy_ref", "torch_impl", "jax_impl", "triptych"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for file in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / file, tmp_path)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/conftest.py").write_text("import os; os.environ['XLA_FLAGS'] = '--none'\n")
    (tmp_path / "tests/test_one.py").write_text("def test_one():\n    pass\n")
    _plant(tmp_path / "benchmarks/limits.py", "2**26, 2**20, 2**17, 2**14", "2**15, 2**14")
    _plant(tmp_path / "benchmarks/limits.py", '"cpu": 2048', '"cpu": 64')
    _plant(
        tmp_path / "jax_impl/linear_regression.py",
        'b = params["b"] - learning_rate * grads["b"]',
        'b = params["b"] - learning_rate * 1.001 * grads["b"]',
    )
    return tmp_path


def _plant(path: Path, right: str, wrong: str) -> None:
    text = path.read_text()
    assert text.count(right) == 1
    path.write_text(text.replace(right, wrong))


def _pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("TRIPTYCH", "PYTEST", "XLA"))
    }
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=folder, env=environment | {"PYTHONPATH": str(folder)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_a_plain_pytest_times_nothing(copy: Path) -> None:
    done = _pytest(copy, "-q")
    assert done.returncode == 0
    assert "1 passed" in done.stdout
    assert "skipped" not in done.stdout
    assert "benchmark" not in done.stdout


@pytest.mark.slow
def test_a_planted_mistake_shows_no_time(copy: Path) -> None:
    options = ["--benchmark-only", "--threads", "1", "--budget", "0.01", "-k", "regression"]
    done = _pytest(copy, *options, "--benchmark-json", "results.json")
    assert done.returncode == 1, done.stdout
    results = json.loads((copy / "results.json").read_text())
    ours, machine_info = results["triptych"], results["machine_info"]["triptych"]
    (invalid,) = ours["rows"]
    assert (invalid["column"], invalid["status"]) == ("jax_impl", "invalid")
    assert invalid["reason"].startswith("disagrees: ")
    timed = {entry["extra_info"]["column"] for entry in results["benchmarks"]}
    peers = {name for name in ("autograd", "numba") if not machine.absent(name)}
    assert timed == {"numpy_ref", "torch_impl"} | peers
    assert all(entry["extra_info"]["limit"] for entry in results["benchmarks"])
    assert ours["threads"] == 1
    # what the tests' conftest.py sets does not reach a benchmark
    assert machine_info["flags"]["XLA_FLAGS"] is None
    # the report ends the run: the row is there and has no time
    assert re.search(r"^JAX, whole loop, cpu x1\s+time invalid$", done.stdout, re.MULTILINE)
    # the one test was not run
    assert "test_one" not in done.stdout
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


@pytest.mark.slow
def test_repeatable_rows_are_a_setup_of_their_own(copy: Path) -> None:
    options = ["--benchmark-only", "--deterministic", "--budget", "0.01", "-k", "graphs and jax"]
    done = _pytest(copy, *options, "--benchmark-json", "results.json")
    assert done.returncode == 0, done.stdout
    results = json.loads((copy / "results.json").read_text())
    flags = results["machine_info"]["triptych"]["flags"]
    assert flags["deterministic"] is True
    assert "--xla_gpu_deterministic_ops=true" in flags["XLA_FLAGS"]
    # a report of JAX alone, against nothing
    assert "JAX, compiled step" in done.stdout


@pytest.mark.slow
def test_more_threads_than_cores_are_refused(copy: Path) -> None:
    done = _pytest(copy, "--benchmark-only", "--threads", "4096")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--threads must be 1 to" in done.stderr


# A machine with no git and nothing installed; a run that is cut short


def test_the_commit_of_a_copy_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIPTYCH_COMMIT", "c0ffee")
    assert machine.run(1)["commit"] == "c0ffee"
    assert machine.run(1)["dirty"] is False
    monkeypatch.setenv("TRIPTYCH_COMMIT", "c0ffee+dirty")
    assert machine.run(1)["commit"] == "c0ffee"
    assert machine.run(1)["dirty"] is True


def test_what_is_not_installed_runs_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    from triptych import __main__ as command

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert command._version() == "(not installed)"
    assert command.main(["read", "gradients", "chain"]) == 0


def test_what_is_brought_to_a_device_is_the_task_s_own() -> None:
    case = bench_classifier.step_case("numpy_ref", "as written", 32)
    target = case.make(case)
    assert target.transfer is not None
    assert {name: x.shape for name, x in target.transfer.items()} == {
        "fc1.weight": (16, 4), "fc1.bias": (16,), "fc2.weight": (8, 16), "fc2.bias": (8,),
        "output.weight": (3, 8), "output.bias": (3,), "x": (32, 4), "t": (32,),
    }  # fmt: skip
    found = memory.transfer_time(case, target.transfer)
    assert found is not None
    assert all(seconds > 0 for seconds in found.values())
    assert memory.transfer_time(case, None) is None


@pytest.fixture
def asked_afresh() -> Iterator[None]:
    """The machine is described once for a process; a test that changes it asks again."""
    machine.describe.cache_clear()
    yield
    machine.describe.cache_clear()


@pytest.mark.usefixtures("asked_afresh")
def test_the_metadata_names_what_a_time_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    found = machine.describe()
    assert found["flags"]["environment"]["MALLOC_ARENA_MAX"] == "1"
    assert any(blas["internal_api"] == "openblas" for blas in found["machine"]["blas"])
    assert found["machine"]["torch_capability"]
    assert json.loads(json.dumps(found)) == found


@pytest.mark.usefixtures("asked_afresh")
def test_runs_on_one_and_on_all_threads_are_one_setup(monkeypatch: pytest.MonkeyPatch) -> None:
    """What differs from run to run must not stand in what makes a set-up."""
    found = []
    for threads, load in (("1", 0.5), ("2", 3.0)):
        for name in machine.THREADS:
            monkeypatch.setenv(name, threads)
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, load, load))
        machine.describe.cache_clear()
        found.append(machine.describe())
    assert found[0] == found[1]
    assert machine.run(2)["load"] == [3.0, 3.0, 3.0]
