"""A row of the report: what is timed, in which dtype, against which reference."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np

from triptych import column, trees
from triptych.agreement.measures import Unit
from triptych.column import Column

FEWEST = 7
"""Rounds of what is measured alone: enough for quartiles."""

EPS = {
    "float64": 2.0**-52,
    "float32": 2.0**-23,
    # a product rounds its operands to 11 or 8 significant bits
    "tf32": 2.0**-11,
    "bfloat16": 2.0**-8,
}
BASES = {
    "scikit-learn": "numpy_ref",
    "autograd": "numpy_ref",
    "optax": "jax_impl",
    "torch.optim": "torch_impl",
    "numba": "numpy_ref",
}
"""Peers, and the column that dispatches the way they do; numba's rows say what the machine can."""

FUSED = "fused"
"""The mode of what the machine can."""

Outputs = dict[str, np.ndarray]


class InvalidRow(Exception):  # noqa: N818 (it is a verdict on a row, not a failure of the harness)
    """A row that must not show a time; the message says why."""


class Target(NamedTuple):
    """What is timed: its fresh state, its K chained steps, and how to wait for them."""

    start: Callable[[], tuple[Any, ...]]
    """Makes the arguments of `run`, on the device and ready: before the clock starts."""
    run: Callable[..., Any]
    """K steps, each on what the one before left; returns all that they made."""
    wait: Callable[[Any], Any]
    """Returns when everything in the outputs is computed."""
    outputs: Callable[[Any], Outputs]
    """What is compared, by name, in NumPy."""
    expected: Callable[[], Outputs]
    """The same from another column, in float64."""
    bound: float = 0.0
    """How far the outputs may be from what is expected."""
    unit: Unit = "absolute"
    """Of the bound; "eps" is that of the row's own dtype."""
    as_a_whole: Mapping[str, float] = MappingProxyType({})
    """Outputs compared by their Frobenius norm, and how far off they may be, relatively."""
    transfer: dict[str, np.ndarray] | None = None
    """The parameters, and one step's rows as "x" and "t": what has to be brought to a device."""
    check: Callable[[], Any] | None = None
    """Makes the outputs to compare, where those of `run` have too many steps behind them."""


class Case(NamedTuple):
    """One row of the report."""

    concept: str
    task: str
    column: str
    """A column, or a peer of `BASES`."""
    mode: str
    batch: int | None
    steps: int
    make: Callable[["Case"], Target]
    dtype: str = "float32"
    device: str = "cpu"
    flops: float | None = None
    bytes: float | None = None
    """Of one step, by the analytic count of the task; the same for every column."""
    when: Literal["default", "full", "sweep"] = "full"
    """Which option asks for it; "default" needs none."""
    compile_time: bool = False
    """Whether its compile time is measured, in a process of its own."""

    @property
    def peer(self) -> bool:
        """Whether it is other people's code."""
        return self.column in BASES

    @property
    def family(self) -> str:
        """What it is compared with: the rows of the same task, batch, dtype and device."""
        batch = f", batch {self.batch}" if self.batch else ""
        return f"{self.task}{batch}, {self.dtype}, {self.device}"

    @property
    def words(self) -> str:
        """What it is, for whoever waits for it."""
        return f"{self.family}: {self.column}, {self.mode}"

    @property
    def id(self) -> str:
        """Its name on pytest's command line."""
        words = (self.task, self.column, self.mode, self.device, self.dtype, str(self.batch))
        return "-".join(word.replace(" ", "_").replace(",", "") for word in words)

    def row(self, threads: int) -> dict[str, Any]:
        """What is known before anything has run; `extra_info` in the results file."""
        names = ("concept", "task", "column", "peer", "mode", "device", "dtype", "batch", "steps")
        known = {name: getattr(self, name) for name in (*names, "flops", "bytes")}
        empty = dict.fromkeys(("limit", "agreement", "compile", "break_even_steps", "paid_against"))
        empty |= dict.fromkeys(("transfer", "peak_memory", "cpu", "card", "aged"))
        return known | {"threads": threads, "status": "ok", "reason": ""} | empty


def chosen(
    cases: Iterable[Case], *, devices: Sequence[str], full: bool = False, sweep: bool = False
) -> list[Case]:
    """The rows that were asked for, on these devices."""
    wanted = {"default", *(["full"] if full else []), *(["sweep"] if sweep else [])}
    return [case for case in cases if case.when in wanted and case.device in devices]


@contextlib.contextmanager
def precision(dtype: str) -> Iterator[None]:
    """What a dtype of the report means: float32 is full precision, tf32 has TF32 products."""
    with column.precision("float64" if dtype == "float64" else "float32"):
        if dtype != "tf32":
            yield
            return
        import jax
        import torch

        # the settings of PyTorch 2.9 and later; the older ones raise where these were used
        setting = torch.backends.cuda.matmul
        before, setting.fp32_precision = setting.fp32_precision, "tf32"
        try:
            with jax.default_matmul_precision("tensorfloat32"):
                yield
        finally:
            setting.fp32_precision = before


def in_float64(values: Any) -> Any:
    """The same numbers in float64; whole numbers stay as they are."""
    return trees.mapped(lambda x: x.astype(np.float64) if x.dtype.kind == "f" else x, values)


KEPT = "TRIPTYCH_KEPT"
"""The folder where the rows of a run find what one of them has computed for all."""


def kept(name: str, compute: Callable[[], Outputs]) -> Outputs:
    """What several rows need, each in its own process: computed by the first, read by the others.

    Args:
        name: tells it from everything else that is kept.
        compute: makes it.
    """
    folder = os.environ.get(KEPT)
    if not folder:
        return compute()
    file = Path(folder, f"{name}.npz")
    if not file.exists():
        found = compute()
        part = Path(folder, f"{name}.{os.getpid()}.npz")
        np.savez(part, **found)  # type: ignore[arg-type]
        part.replace(file)  # whole, or not there
        return found
    with np.load(file) as arrays:
        return dict(arrays)


SEED = 0
"""Of everything that is drawn; see `triptych.data`."""


def judge(column: str) -> Column:
    """Whose float64 result a column is held against: NumPy's, and PyTorch's for NumPy's own."""
    return Column("torch_impl" if column == "numpy_ref" else "numpy_ref")


def placed(column: Column, value: Any, dtype: str) -> Any:
    """An array, or a dict of them, on the column's device, in a dtype of the report."""
    if isinstance(value, dict):
        return trees.mapped(lambda entry: placed(column, entry, dtype), value)
    if value.dtype.kind == "f":
        value = value.astype("float64" if dtype == "float64" else "float32")
    there = column.take_in(value)
    if dtype != "bfloat16" or value.dtype.kind != "f":
        return there
    if column.name == "torch_impl":
        return there.bfloat16()
    import jax.numpy as jnp

    return there.astype(jnp.bfloat16)
