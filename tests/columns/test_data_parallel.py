"""One digest for any number of workers; and how far ordinary training on several may be apart."""

import subprocess
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from triptych import data
from triptych.agreement import bounds, digests
from triptych.column import Column

ROOT = Path(__file__).parents[2]
RATES = digests.RATES
PARTS = ("MAX", "SUM")


def sample(dtype: str = "float32", n: int = 60, batch: int = 20, epochs: int = 2) -> Any:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 4)).astype(dtype)
    # in the first layer as many units as rows: nothing but its values tells a transpose
    params = data.classifier_start(0, (4, 20, 5, 3), dtype=dtype)
    return params, x, rng.integers(0, 3, n), data.batches(n, batch, epochs)


class Workers:
    """Threads in the place of an engine's processes, for NumPy and PyTorch.

    They add in another order each time, and in pairs that are drawn.
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        self.size = size
        self.here = threading.local()
        self.barrier = threading.Barrier(size, timeout=20)
        self.given: list[np.ndarray] = [np.empty(0)] * size
        self.messages: list[tuple[str, int]] = []
        self.rng = np.random.default_rng(seed)

    def run(self, function: Callable[[], Any]) -> list[Any]:
        found: list[Any] = [None] * self.size

        def work(rank: int) -> None:
            self.here.rank = rank
            try:
                found[rank] = function()
            except Exception as error:
                found[rank] = error
                self.barrier.abort()

        threads = [threading.Thread(target=work, args=(r,)) for r in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found

    def reduce(self, x: np.ndarray, operation: str) -> np.ndarray:
        self.given[self.here.rank] = x.copy()
        if self.barrier.wait() == 0:
            self.messages.append((operation, x.size))
            left = [self.given[i] for i in self.rng.permutation(self.size)]
            while len(left) > 1:
                a, b = left.pop(), left.pop(int(self.rng.integers(len(left))))
                left.append(a + b if operation == "SUM" else np.maximum(a, b))
            self.result = left[0]
        self.barrier.wait()
        return self.result

    # what NumPy's column asks an MPI communicator
    def Get_rank(self) -> int:  # noqa: N802
        return self.here.rank

    def Get_size(self) -> int:  # noqa: N802
        return self.size

    def Allreduce(self, x: np.ndarray, found: np.ndarray, operation: str) -> None:  # noqa: N802
        found[:] = self.reduce(x, operation)


class Distributed:
    """What PyTorch's column asks `torch.distributed`."""

    ReduceOp = types.SimpleNamespace(SUM="SUM", MAX="MAX")
    group = types.SimpleNamespace(WORLD=None)

    def get_rank(self, workers: Workers) -> int:
        return workers.here.rank

    def get_world_size(self, workers: Workers | None = None) -> int:
        return (workers or self.group.WORLD).size

    def all_reduce(self, message: Any, operation: str, group: Workers) -> None:
        message.copy_(message.new_tensor(group.reduce(message.numpy(), operation)))


@pytest.fixture(params=["numpy_ref", "torch_impl"])
def threaded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Column:
    """A column whose engine is `Workers`."""
    if request.param == "torch_impl":
        pytest.importorskip("torch")
    column = Column(request.param)
    engine = types.SimpleNamespace(MPI=types.SimpleNamespace(SUM="SUM", MAX="MAX"))
    monkeypatch.setitem(sys.modules, "mpi4py", engine)
    if request.param == "torch_impl":
        monkeypatch.setattr(column.data_parallel, "dist", Distributed())
    return column


def on_workers(column: Column, workers: Workers, function: str, *args: Any, **kwargs: Any) -> Any:
    """What every worker finds, which has to be the same; the first error, if there is one."""

    def work() -> Any:
        return column.call("data_parallel", function, *args, workers=workers, **kwargs)

    found = workers.run(work)
    for one in found:
        if isinstance(one, Exception) and not isinstance(one, threading.BrokenBarrierError):
            raise one
    first = found[0]
    for one in found:
        assert digests.digest(one[0], one[-1]) == digests.digest(first[0], first[-1])
    return first


def settings(optimizer: str) -> dict[str, Any]:
    return {"optimizer": optimizer, "learning_rate": RATES[optimizer]}


@pytest.mark.slow_in("jax_impl", "sgd")
@pytest.mark.parametrize("optimizer", RATES)
def test_alone_it_is_reproducible(column: Column, optimizer: str) -> None:
    params, _, losses = column.call(
        "data_parallel", "fit_reproducible", *sample(), **settings(optimizer)
    )
    alone = Column("numpy_ref").call("reproducible", "fit", *sample(), **settings(optimizer))
    assert digests.digest(params, losses) == digests.digest(*alone)


@pytest.mark.parametrize("optimizer", RATES)
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 20])
def test_one_digest_for_any_number_of_workers(threaded: Column, size: int, optimizer: str) -> None:
    workers = Workers(size, size)
    params, _, losses = on_workers(
        threaded, workers, "fit_reproducible", *sample(), **settings(optimizer)
    )
    alone = Column("numpy_ref").call("reproducible", "fit", *sample(), **settings(optimizer))
    assert digests.digest(params, losses) == digests.digest(*alone)
    # each a message with all arrays: 2 + (20 + 5) + (5 + 21) + (3 + 6) columns, 2 x 224 sums
    assert workers.messages == [("MAX", 62), ("SUM", 448)] * len(losses)


@pytest.mark.slow_in("jax_impl")
@pytest.mark.parametrize("optimizer", RATES)
def test_it_goes_on_where_it_was_stopped(column: Column, optimizer: str) -> None:
    params, x, t, batches = sample()
    whole = column.call(
        "data_parallel", "fit_reproducible", params, x, t, batches, **settings(optimizer)
    )
    moments, parts = None, []
    for part in (batches[:2], batches[2:]):
        params, moments, losses = column.call(
            "data_parallel", "fit_reproducible", params, x, t, part, moments=moments,
            **settings(optimizer),
        )  # fmt: skip
        parts.append(losses)
    assert digests.digest(params, np.concatenate(parts)) == digests.digest(whole[0], whole[2])
    assert (moments is None) == (whole[1] is None) == (optimizer == "sgd")
    if moments is not None:
        assert digests.digest(moments, losses) == digests.digest(whole[1], losses)


@pytest.mark.slow
def test_one_column_begins_and_another_ends(columns: list[Column]) -> None:
    params, x, t, batches = sample()
    moments, parts = None, []
    for column, part in zip(columns, np.array_split(batches, len(columns)), strict=True):
        params, moments, losses = column.call(
            "data_parallel", "fit_reproducible", params, x, t, part, moments=moments,
            **settings("adam"),
        )  # fmt: skip
        parts.append(losses)
    alone = Column("numpy_ref").call("reproducible", "fit", *sample(), **settings("adam"))
    assert digests.digest(params, np.concatenate(parts)) == digests.digest(*alone)


@pytest.mark.parametrize("optimizer", RATES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ordinary_training_on_several(threaded: Column, optimizer: str, dtype: str) -> None:
    """Within the bound for another order of the sums; float32's last bits are others."""
    args = sample(dtype)
    alone = threaded.call("data_parallel", "fit", *args, **settings(optimizer))
    bound = bounds.TRAINED[optimizer, dtype][10]
    differ = 0
    for size in (2, 3, 7):
        found = on_plain(threaded, size, args, optimizer)
        for name, p in alone[0].items():
            assert np.abs(found[0][name] - p).max() <= bound
            differ += int((found[0][name] != p).sum())
        assert np.abs(found[1] - alone[1]).max() <= 8 * np.finfo(dtype).eps * 2
    assert differ > 0


def on_plain(column: Column, size: int, args: Any, optimizer: str) -> Any:
    workers = Workers(size)
    found = workers.run(
        lambda: column.call("data_parallel", "fit", *args, workers=workers, **settings(optimizer))
    )
    for one in found:
        if isinstance(one, Exception):
            raise one
        for name, p in found[0][0].items():
            assert np.array_equal(one[0][name], p)
    assert workers.messages == [("SUM", 224)] * len(args[3])
    return found[0]


@pytest.mark.slow_in("jax_impl", "float64")
@pytest.mark.slow_in("jax_impl", "adam")
@pytest.mark.parametrize("optimizer", RATES)
def test_alone_ordinary_training_is_the_classifiers(
    column: Column, optimizer: str, dtype: Any
) -> None:
    params, x, t, batches = sample(dtype.name)
    args = params, x, t.astype(np.int32), batches
    expected = column.call("classifier", "fit", *args, **settings(optimizer))
    for function in ("fit", "fit_automatic"):
        if hasattr(column.data_parallel, function):
            params, losses = column.call("data_parallel", function, *args, **settings(optimizer))
            bound = bounds.TRAINED[optimizer, dtype.name][10]
            for name, p in expected[0].items():
                assert np.abs(params[name] - p).max() <= bound
            assert np.abs(losses - expected[1]).max() <= 16 * np.finfo(dtype).eps


def test_verify_finds_a_wrong_sum(threaded: Column, monkeypatch: pytest.MonkeyPatch) -> None:
    def verify(workers: Workers) -> list[Any]:
        return workers.run(lambda: threaded.data_parallel.verify(workers))

    assert verify(Workers(3)) == [None] * 3
    for wrong in PARTS:
        workers = Workers(3)
        right = workers.reduce
        change = {wrong: 1.0}
        monkeypatch.setattr(
            workers,
            "reduce",
            lambda x, op, right=right, change=change: right(x, op) + change.get(op, 0),
        )
        found = verify(workers)
        assert all(isinstance(one, RuntimeError) for one in found)
        assert any(wrong in str(one) for one in found)


@pytest.mark.parametrize("size", [1, 2])
def test_who_was_started_together(
    threaded: Column, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = Workers(size)
    begun: list[str] = []
    if threaded.name == "numpy_ref":
        monkeypatch.setattr(sys.modules["mpi4py"].MPI, "COMM_WORLD", world, raising=False)
    else:
        monkeypatch.delenv("RANK", raising=False)
        assert threaded.data_parallel.join() is None
        monkeypatch.setenv("RANK", "0")
        engine = threaded.data_parallel.dist
        engine.init_process_group = begun.append
        monkeypatch.setattr(engine.group, "WORLD", world)
    assert threaded.data_parallel.join() is (world if size > 1 else None)
    assert len(begun) == (threaded.name == "torch_impl")


@pytest.mark.parametrize(
    ("told", "asked"),
    [
        ({}, []),
        ({"PMI_SIZE": "2"}, [{"cluster_detection_method": "mpi4py"}]),
        (
            {"JAX_COORDINATOR_ADDRESS": "here:1", "RANK": "1", "WORLD_SIZE": "2"},
            [{"num_processes": 2, "process_id": 1}],
        ),
    ],
)
def test_who_was_started_together_in_jax(
    told: dict[str, str], asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    jax = pytest.importorskip("jax")
    parallel = Column("jax_impl").data_parallel
    begun: list[dict[str, Any]] = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **words: begun.append(words))
    for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "JAX_COORDINATOR_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert parallel.join() is None
    assert begun == asked
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    assert parallel.join() == parallel._mesh(jax.devices())


@pytest.mark.slow_in("jax_impl")
def test_a_sum_of_all_workers_is_a_product(column: Column) -> None:
    """Also where large terms cancel: what is below the units that all share is cut off."""
    rng = np.random.default_rng(0)
    d = rng.normal(size=(12, 3)).astype(np.float32).astype(np.float64)
    d = np.concatenate([d, -d, 2.0**-30 * d])
    x = np.tile(rng.normal(size=(12, 4)).astype(np.float32).astype(np.float64), (3, 1))
    expected = Column("numpy_ref").rounding.product(np.ascontiguousarray(d.T), x)
    assert np.any(expected != d[24:].T @ x[24:])
    products = column.data_parallel._products
    with column.precision("float64"):
        pair = column.take_in((d, x))
        if column.name == "jax_impl":
            found = in_shard_map(lambda *pair: products([pair])[0], column)(*pair)
        else:
            (found,) = products([pair], None)
        assert np.array_equal(column.give_out(found), expected)


def in_shard_map(function: Any, column: Column) -> Any:
    """Call it on the one worker of a mesh."""
    import jax

    mesh = column.data_parallel._mesh(jax.devices()[:1])
    everywhere = jax.sharding.PartitionSpec()
    return jax.shard_map(
        function, mesh=mesh, in_specs=everywhere, out_specs=everywhere, check_vma=False
    )


def test_alone_nothing_is_wrong_with_sums(column: Column) -> None:
    assert column.data_parallel.place(None) == (0, 1)
    column.data_parallel.verify(None)


# Mistakes in one worker's part, each of which a digest has to tell


@pytest.mark.parametrize(
    "mistake",
    [
        "share of its own rows",
        "units of its own",
        "one row twice",
        "last row left out",
    ],
)
def test_a_planted_mistake_changes_the_digest(
    threaded: Column, mistake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = threaded.data_parallel
    by_row = module.alone._by_row if threaded.name == "numpy_ref" else module._by_row
    part = module._part
    if mistake == "share of its own rows":
        place = module.alone if threaded.name == "numpy_ref" else module
        monkeypatch.setattr(place, "_by_row", lambda params, x, t, n: by_row(params, x, t, len(x)))
    elif mistake == "one row twice":
        monkeypatch.setattr(
            module, "_part", lambda b, w: part(b, w)[:, [0, *range(part(b, w).shape[1])]]
        )
    elif mistake == "last row left out":
        monkeypatch.setattr(module, "_part", lambda b, w: part(b, w)[:, :-1])
    else:
        reduce = Workers.reduce

        def without(self: Workers, x: np.ndarray, operation: str) -> np.ndarray:
            found = reduce(self, x, operation)
            return found if operation == "SUM" else x

        monkeypatch.setattr(Workers, "reduce", without)
    alone = Column("numpy_ref").call("reproducible", "fit", *sample(), **settings("sgd"))
    workers = Workers(3)
    found = workers.run(
        lambda: threaded.call(
            "data_parallel", "fit_reproducible", *sample(), workers=workers, **settings("sgd")
        )
    )
    kept = [one for one in found if not isinstance(one, Exception)]
    assert all(digests.digest(one[0], one[2]) != digests.digest(*alone) for one in kept)


# Bad input


def test_more_workers_than_rows(threaded: Column) -> None:
    for function in ("fit", "fit_reproducible"):
        workers = Workers(21)
        with pytest.raises(ValueError, match=r"workers must be at most 20, a batch, got 21"):
            on_workers(threaded, workers, function, *sample(), **settings("sgd"))


def test_more_rows_than_add_up_exactly(column: Column) -> None:
    params, x, t, _ = sample()
    batches = np.zeros((1, 2**15 + 1), int)
    with pytest.raises(
        ValueError, match="batches must have at most 32768 rows to be exact, got 32769"
    ):
        column.call("data_parallel", "fit_reproducible", params, x, t, batches, **settings("sgd"))


@pytest.mark.parametrize("optimizer", RATES)
def test_moments_of_another_optimizer(column: Column, optimizer: str) -> None:
    wrong = {"m.fc1.weight": np.zeros((20, 4), np.float32)}
    expected = {"sgd": "None", "adam": r"\['m.fc1.weight', .*'v.output.bias', 'power1', 'power2'\]"}
    with pytest.raises(
        ValueError,
        match=rf"moments must be {expected[optimizer]} for {optimizer}, got \['m.fc1.weight'\]",
    ):
        column.call(
            "data_parallel", "fit_reproducible", *sample(), moments=wrong, **settings(optimizer)
        )


# JAX's workers are devices, and their number is fixed before JAX starts: a process of its own

IN_JAX = """
import jax
jax.config.update("jax_num_cpu_devices", 7)
import sys
sys.path.insert(0, "tests/columns")
import numpy as np
import test_data_parallel as t
from jax.sharding import NamedSharding
from triptych.agreement import bounds, digests
from triptych.column import Column, precision
column = Column("jax_impl")
parallel = column.data_parallel
assert parallel.place(parallel.join()) == (0, 7)
parallel.verify(parallel.join())
t.assert_two_messages(parallel, column.take_in(t.sample()))
for optimizer in t.RATES:
    settings = t.settings(optimizer)
    alone = Column("numpy_ref").call("reproducible", "fit", *t.sample(), **settings)
    ordinary = column.call("data_parallel", "fit", *t.sample(), **settings)
    for size in (3, 7):
        workers = parallel._mesh(jax.devices()[:size])
        params, _, losses = column.call(
            "data_parallel", "fit_reproducible", *t.sample(), workers=workers, **settings)
        assert digests.digest(params, losses) == digests.digest(*alone), size
        for function in ("fit", "fit_automatic"):
            found = column.call("data_parallel", function, *t.sample(), workers=workers, **settings)
            for name, p in ordinary[0].items():
                bound = bounds.TRAINED[optimizer, "float32"][10]
                assert np.abs(found[0][name] - p).max() <= bound, (function, size, name)
            assert np.abs(found[1] - ordinary[1]).max() <= 1e-6, (function, size)
try:
    _, x, labels, _ = t.sample()
    rows = np.arange(6)[None]
    column.call("data_parallel", "fit_reproducible", t.sample()[0], x, labels, rows,
                workers=parallel.join(), **settings)
except ValueError as error:
    print(error)
"""


def assert_two_messages(parallel: Any, given: Any) -> None:
    """XLA packs what is added together; the largest of the ones is known before the loop."""
    import jax

    params, x, t, batches = given
    with jax.enable_x64(True):
        given, real, mesh = parallel._placed((params, {}, x, t), batches, parallel.join())
        settings = {"n": batches.shape[1], "workers": mesh, "optimizer": "sgd"}
        program = parallel._fit_reproducible.lower(given, real, 0.1, **settings).compile().as_text()
    sent = [line for line in program.splitlines() if " all-reduce(" in line]
    assert 2 <= len(sent) <= 3, sent


@pytest.mark.slow
def test_jax_on_any_number_of_devices() -> None:
    pytest.importorskip("jax")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IN_JAX],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "workers must be at most 6, a batch, got 7" in done.stdout


IN_TORCH = """
import sys
sys.path[:0] = ["tests/columns", "."]
import numpy as np
import test_data_parallel as t
from triptych.agreement import bounds, digests
from triptych.column import Column
column = Column("torch_impl")
workers = column.data_parallel.join()
rank, size = column.data_parallel.place(workers)
assert size == 3
column.data_parallel.verify(workers)
for optimizer in t.RATES:
    settings = t.settings(optimizer)
    ordinary = column.call("data_parallel", "fit", *t.sample(), **settings)
    for function in ("fit", "fit_automatic"):
        found = column.call("data_parallel", function, *t.sample(), workers=workers, **settings)
        for name, p in ordinary[0].items():
            bound = bounds.TRAINED[optimizer, "float32"][10]
            assert np.abs(found[0][name] - p).max() <= bound, (function, name)
        assert np.abs(found[1] - ordinary[1]).max() <= 1e-6, function
print("rank", rank, "agrees")
"""


@pytest.mark.slow
def test_torch_on_three_processes_with_unequal_parts(tmp_path: Path) -> None:
    """20 rows are 7, 7 and 6: DistributedDataParallel's mean has to weigh them."""
    pytest.importorskip("torch")
    program = tmp_path / "program.py"
    program.write_text(IN_TORCH)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*torchrun, "--nproc-per-node", "3", program],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("agrees") == 3
