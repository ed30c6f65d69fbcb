"""The documents' seven graphs: values and derivatives, and a small step down each derivative."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.cases import Case, Outputs, Target, judge, precision
from benchmarks.compile_time import unchecked
from benchmarks.machine import devices, runs
from triptych.column import Column

AT: dict[str, dict[str, float]] = {
    "quadratic": {"x": 2},
    "product": {"x": 1},
    "cube": {"x": 2},
    "chain": {"x": 1},
    "perfect_square": {"x": 3},
    "affine": {"x": 1, "w": 2, "b": 1},
    "shared": {"a": 2, "b": 3},
}
"""Where the documents evaluate each graph."""
RATE = 0.01
STEPS = 20
MODES = {
    "numpy_ref": ("as written",),
    "torch_impl": ("as written",),
    "jax_impl": ("un-jitted", "compiled step"),
}


def start(dtype: str) -> dict[str, dict[str, np.ndarray]]:
    """The inputs of each graph."""
    return {
        graph: {name: np.array(value, dtype) for name, value in inputs.items()}
        for graph, inputs in AT.items()
    }


def step_of(column: Column) -> Callable[[Any], Any]:
    """One step of all seven: the derivative by each input, and a step against it."""

    def step(state: Any) -> Any:
        after = {}
        for graph, inputs in state.items():
            _, grads = getattr(column.gradients, graph)(**inputs)
            after[graph] = {name: p - RATE * grads[name] for name, p in inputs.items()}
        return after

    return step


def make(case: Case) -> Target:
    """Twenty steps."""
    column = Column(case.column, case.device)
    step = unchecked(column, step_of(column))
    if case.mode == "compiled step":
        import jax

        step = jax.jit(step_of(column))

    def fresh() -> Any:
        return (column.synchronize(column.take_in(start(case.dtype))),)

    def run(state: Any) -> Any:
        for _ in range(case.steps):
            state = step(state)
        return state

    def outputs(state: Any) -> Outputs:
        return {
            f"{graph} {name}": np.asarray(p)
            for graph, inputs in column.give_out(state).items()
            for name, p in inputs.items()
        }

    def expected() -> Outputs:
        other = judge(case.column)
        with precision("float64"):
            state, step = other.take_in(start("float64")), step_of(other)
            for _ in range(case.steps):
                state = step(state)
            return {
                f"{graph} {name}": np.asarray(p)
                for graph, inputs in other.give_out(state).items()
                for name, p in inputs.items()
            }

    # no graph has more than eight roundings, and an update two
    return Target(fresh, run, column.synchronize, outputs, expected, case.steps * 10, "eps")


def cases() -> Iterator[Case]:
    """Every row; those that are not `default` need --full."""
    for device in devices():
        for column, modes in MODES.items():
            for mode in modes:
                if runs(column, "as_written", device):
                    plain = device == "cpu" and mode != "un-jitted"
                    for dtype in ("float32", "float64"):
                        yield Case(
                            "gradients", "gradients of seven graphs", column, mode, None, STEPS,
                            make, dtype, device,
                            when="default" if plain and dtype == "float32" else "full",
                        )  # fmt: skip


def test_gradients(case: Case, measure: Any) -> None:
    """Check, warm up, time."""
    measure(case)
