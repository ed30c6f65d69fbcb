"""The limits of the machine, measured beside the rows, and which of them binds a row."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.cases import BASES, FEWEST, SEED, placed, precision
from triptych.column import Column, missing
from triptych.names import COLUMNS


def complete(results: dict[str, Any]) -> None:
    """What a row says only beside others: its limit, and when its compilation has paid off.

    Args:
        results: a results file, as pytest-benchmark makes it; changed in place.
    """
    limits = results["triptych"]["limits"]
    rows = [(b["extra_info"], b["stats"]) for b in results["benchmarks"]]
    seconds = {_key(info): stats["median"] for info, stats in rows}
    for info, stats in rows:
        step = stats["median"]
        info["limit"] = binding_limit(info, limits, step)
        for slow in ("as written", "un-jitted"):
            plain = seconds.get(_key(info | {"mode": slow}))
            if info["compile"] and plain:
                # PyTorch's second call compiles nothing
                paid = sum(s for name, s in info["compile"].items() if name != "second")
                info["break_even_steps"] = break_even(paid, step, plain)
                info["paid_against"] = slow


def best(limits: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The best of several measurements of a limit: the machine has shown that it can reach it."""
    found: dict[Any, dict[str, Any]] = {}
    for limit in limits:
        key = tuple(limit.get(name) for name in ("device", "quantity", "dtype", "column", "size"))
        least = limit["quantity"] in ("dispatch", "node")
        other = found.get(key, limit)
        better = limit["value"] < other["value"] if least else limit["value"] > other["value"]
        found[key] = limit if better else other
    return list(found.values())


def _key(info: dict[str, Any]) -> tuple[Any, ...]:
    names = ("task", "column", "mode", "device", "dtype", "batch", "threads")
    return tuple(info[name] for name in names)


def break_even(compile_seconds: float, compiled: float, plain: float) -> float | None:
    """After how many steps compilation has paid off; None if it never does.

    Args:
        compile_seconds: what compilation costs, once.
        compiled: a compiled step.
        plain: a step as written.
    """
    return compile_seconds / (plain - compiled) if compiled < plain else None


def binding_limit(
    info: dict[str, Any], limits: Sequence[dict[str, Any]], step: float
) -> dict[str, Any] | None:
    """The limit of the machine that a row is closest to: arithmetic, memory or dispatch.

    Three times are compared: of the arithmetic at the rate of a large matrix product; of the bytes
    at the bandwidth of the memory, or of a cache that holds them; of one dispatch of an empty step
    (in a whole loop: a K-th of one; in a CUDA graph: of its kernels). The longest binds.

    Args:
        info: the row's `extra_info`.
        limits: what `limits()` measured.
        step: seconds of a step.
    """
    here = [limit for limit in limits if limit["device"] == info["device"]]
    arithmetic = [
        limit["value"]
        for limit in here
        if limit["quantity"] == "flops" and limit["dtype"] == info["dtype"]
    ]
    # What fits into a cache is found there, in a step as in a triad of that size. A number is
    # written once and read once or twice, so about a third of the bytes has to fit.
    memory = [
        limit["value"]
        for limit in here
        if limit["quantity"] == "bytes"
        or (limit["quantity"] == "cached bytes" and 3 * limit["size"] >= (info["bytes"] or 0))
    ]
    seconds = {}
    if info["flops"] and arithmetic:
        seconds["flops"] = info["flops"] / max(arithmetic)
    if info["bytes"] and memory:
        seconds["bytes"] = info["bytes"] / max(memory)
    column = BASES.get(info["column"], info["column"])
    floors = [
        limit["value"]
        for limit in here
        if limit["quantity"] == "dispatch" and limit["column"] == column
    ]
    nodes = [limit["value"] for limit in here if limit["quantity"] == "node"]
    if info["mode"] == "CUDA graph" and nodes and info.get("kernels"):
        seconds["dispatch"] = min(nodes) * info["kernels"]
    elif floors:
        dispatches = 1 / info["steps"] if info["mode"].startswith(LOOPS) else 1
        seconds["dispatch"] = min(floors) * dispatches
    if not seconds:
        return None
    binds = max(seconds, key=lambda name: seconds[name])
    return {"binds": binds, "seconds": seconds[binds], "share": seconds[binds] / step}


LOOPS = ("whole loop", "CUDA graph", "fused")
"""How modes begin that are dispatched once for all of their steps."""
SIDE = {"cpu": 2048, "cuda": 8192}
"""Of the square matrices whose product gives the arithmetic rate."""
DTYPES = {"cpu": ("float32", "float64"), "cuda": ("float32", "float64", "tf32", "bfloat16")}
TRIADS = {"cpu": (2**26, 2**20, 2**17, 2**14), "cuda": (2**26, 2**21)}
"""Numbers in each of a triad's three arrays: 805 MB, which no cache holds, 13, 1.6 and 0.2 MB.

On a GPU 25 MB, for its second cache: a smaller pass ends before the next has been started.
"""
PASSES = 16
"""Of the largest triad on a GPU before one wait: a wait takes as long as a tenth of a pass."""
WARM = {"cpu": 0.0, "cuda": 0.5}
"""Seconds of work before a limit is measured: a GPU that has been idle runs at a low clock."""
EMPTY_STEPS = 1000


def limits(device: str, threads: int) -> list[dict[str, Any]]:
    """The limits of a device: a large matrix product, a triad, an empty step.

    Args:
        device: "cpu" or "cuda".
        threads: of this process, for the record.

    Returns:
        One entry for each quantity, dtype and column; `value` is flop/s, byte/s, or seconds for an
        empty step; "cached bytes" is the rate of arrays of that "size". `cores` is how many cores
        were busy meanwhile.
    """
    found = []
    columns = [Column(name, device) for name in COLUMNS if not missing(name)]
    columns = [column for column in columns if device in column.devices()]
    head: dict[str, Any] = {"device": device, "threads": threads}
    entry: dict[str, Any]
    for dtype in DTYPES[device]:
        for column in columns:
            entry = {"dtype": dtype, "quantity": "flops", "column": column.name}
            work = 2 * SIDE[device] ** 3
            with precision(dtype), column.at_home():
                found.append(head | entry | _rate(_product(column, dtype), work, WARM[device]))
    for column in columns:
        entry = {"dtype": None, "quantity": "dispatch", "column": column.name}
        with precision("float32"), column.at_home():
            found.append(head | entry | _seconds(_empty_steps(column), EMPTY_STEPS))
    for n in TRIADS[device]:
        quantity = "bytes" if n == max(TRIADS[device]) else "cached bytes"
        entry = {"dtype": None, "quantity": quantity, "column": None, "size": 3 * 4 * n}
        found.append(head | entry | _rate(*_triad(device, n), WARM[device]))
    if device == "cuda" and not missing("torch_impl"):
        entry = {"dtype": None, "quantity": "node", "column": "torch_impl"}
        found.append(head | entry | _seconds(_empty_graph(), EMPTY_STEPS))
    return found


def _seconds(call: Callable[[], Any], steps: int, warm: float = 0.0) -> dict[str, float]:
    call()
    start = time.perf_counter()
    while time.perf_counter() - start < warm:
        call()
    times, busy = [], time.process_time()
    for _ in range(FEWEST):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) / steps)
    low, middle, high = statistics.quantiles(times, n=4)
    cores = (time.process_time() - busy) / (sum(times) * steps)
    # the best of the rounds, since a limit is the most that the machine can do
    return {"value": min(times), "spread": (high - low) / middle, "cores": round(cores, 2)}


def _rate(call: Callable[[], Any], work: float, warm: float) -> dict[str, float]:
    found = _seconds(call, 1, warm)
    return found | {"value": work / found["value"]}


def _product(column: Column, dtype: str) -> Callable[[], Any]:
    side = SIDE[column.device]
    matrix = placed(column, np.random.default_rng(SEED).random((side, side)), dtype)
    if column.name == "jax_impl":
        import jax

        multiply = jax.jit(lambda a: a @ a)
        return lambda: column.synchronize(multiply(matrix))
    return lambda: column.synchronize(matrix @ matrix)


def _empty_steps(column: Column) -> Callable[[], Any]:
    """The least that can be dispatched, chained: x + 1 on an array of one number."""
    x = column.take_in(np.zeros(1, np.float32))

    def step(x: Any) -> Any:
        return x + 1

    if column.name == "jax_impl":
        import jax

        step = jax.jit(step)

    def steps() -> None:
        value = x
        for _ in range(EMPTY_STEPS):
            value = step(value)
        column.synchronize(value)

    return steps


def _empty_graph() -> Callable[[], Any]:
    """A CUDA graph of empty kernels: what a node of a graph takes at least."""
    import torch

    x = torch.zeros(1, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(EMPTY_STEPS):
            x.add_(1)

    def run() -> None:
        graph.replay()
        torch.cuda.synchronize()

    return run


def _triad(device: str, n: int) -> tuple[Callable[[], Any], float]:
    """a = b + s c, again and again; PyTorch makes one pass of it, and writes where it is told to.

    Returns:
        What to run, and the bytes that it moves.
    """
    import torch

    b, c = torch.ones(2, n, device=device)
    a = torch.empty_like(b)
    boundary = Column("torch_impl", device)
    passes = max(TRIADS[device]) // n * (PASSES if device == "cuda" else 1)

    def run() -> None:
        for _ in range(passes):
            torch.add(b, c, alpha=2.0, out=a)
        boundary.synchronize(a)

    return run, 3 * 4 * n * passes
