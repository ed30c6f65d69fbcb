"""Define-by-run against define-then-run, and Python's control flow under a compiler."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from triptych.agreement.measures import assert_within
from triptych.source import differences


def without(column: Any, *functions: str) -> list[str]:
    """Those functions of the concept that the column has."""
    return [f for f in functions if not differences.absent(column.name, "control_flow", f)]


def test_the_quadratic_gives_7_in_every_program(column: Any, dtype: np.dtype) -> None:
    x = np.array(2, dtype)
    assert column.call("control_flow", "define_by_run", x) == 7
    program, d_x = column.call("control_flow", "define_then_run", x)
    assert d_x == 7
    assert d_x.dtype == dtype
    assert str([float(d_x)]) == "[7.0]"
    assert "mul" in program


def test_the_program_is_built_without_a_value(column: Any) -> None:
    programs = {
        column.call("control_flow", "define_then_run", np.array(x, np.float32))[0] for x in (2, -3)
    }
    assert len(programs) == 1
    (program,) = programs
    assert "nan" not in program
    if column.name == "numpy_ref":
        steps = ["power(v0, 2)", "multiply(3, v0)", "add(v1, v2)", "add(v3, 1)"]
        assert program.splitlines() == [f"v{i} = {step}" for i, step in enumerate(steps, 1)]


@pytest.mark.parametrize(("x", "y", "d_x"), [(3, 9, 6), (0.5, 0.25, 1), (-3, 3, -1), (0, 0, -1)])
@pytest.mark.parametrize("function", ["branch", "branch_compiled"])
def test_branch(column: Any, dtype: np.dtype, function: str, x: Any, y: Any, d_x: Any) -> None:
    found = column.call("control_flow", function, np.array(x, dtype))
    assert found == (y, d_x)
    assert [part.dtype for part in found] == [dtype, dtype]
    assert bool(np.signbit(found[0])) == (x == 0)  # -x of 0, not x**2: the arm tells by its sign


def test_a_branch_on_a_value_cannot_be_traced(columns: Any) -> None:
    words = {
        "torch_impl": (RuntimeError, "Data-dependent branching"),
        "jax_impl": (TypeError, "Attempted boolean conversion of traced array"),
    }
    for column in columns[1:]:
        error, message = words[column.name]
        with pytest.raises(error, match=message):
            column.call("control_flow", "branch_traced", np.array(2, np.float32))


def test_without_fullgraph_pytorch_runs_the_branch_in_python(columns: Any) -> None:
    import torch

    compiled: Any = torch.compile(columns[1].control_flow._branch, backend="eager")
    assert [compiled(torch.tensor(x)).item() for x in (3.0, -3.0)] == [9, 3]


@pytest.mark.parametrize("n", [0, 1, 2, 5])
@pytest.mark.parametrize("base", [3, 0])
def test_loop_and_recursion(column: Any, dtype: np.dtype, base: Any, n: Any) -> None:
    x = np.array(base, dtype)
    expected = (base**n, n * base ** max(n - 1, 0))
    for function in without(column, "loop", "loop_compiled"):
        assert column.call("control_flow", function, x, np.array(n)) == expected, function
    for function in without(column, "recursion", "recursion_compiled", "loop_unrolled"):
        found = column.call("control_flow", function, x, n=n)
        assert found == expected, function
        assert [part.dtype for part in found] == [dtype, dtype]


def test_numpy_has_no_compiled_form(columns: Any) -> None:
    found = {f for f, d in differences.of("control_flow").items() if "numpy_ref" in d.absent}
    assert found == {"branch_traced", "loop_compiled", "loop_unrolled", "recursion_compiled"}
    for function in found:
        with pytest.raises(AttributeError):
            columns[0].call("control_flow", function, np.array(2, np.float32))


# How often is something compiled? Counted, each in its own framework


def compiled_by_jax(call: Callable[[], Any]) -> int:
    """How many programs XLA compiles during a call."""
    import jax

    count = 0

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        nonlocal count
        count += event == "/jax/core/compile/backend_compile_duration"

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        call()
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    return count


def captured_by_torch(call: Callable[[], Any]) -> int:
    """How many graphs `torch.compile` captures during a call."""
    from torch._dynamo.utils import counters

    before = counters["stats"]["unique_graphs"]
    call()
    return counters["stats"]["unique_graphs"] - before


@pytest.fixture
def fresh(columns: Any) -> Any:
    """The columns with nothing compiled."""
    import jax
    import torch

    torch._dynamo.reset()
    jax.clear_caches()
    yield columns
    torch._dynamo.reset()


def run_all(column: Any, function: str, arguments: list[Any]) -> Callable[[], Any]:
    given = [column.take_in(a) for a in arguments]
    jitted = getattr(column.control_flow, function)
    if function in ("loop_compiled", "branch_compiled"):
        return lambda: [jitted(*a) for a in given]
    return lambda: [jitted(x, n=int(n)) for x, n in given]


def exponents(*ns: int) -> list[Any]:
    return [(np.array(1 + n / 8, np.float32), np.array(n)) for n in ns]


def test_jax_compiles_a_loop_of_any_length_once(fresh: Any) -> None:
    assert compiled_by_jax(run_all(fresh[2], "loop_compiled", exponents(3, 4, 5, 6))) == 1
    assert compiled_by_jax(run_all(fresh[2], "loop_compiled", exponents(7, 3))) == 0


def test_jax_compiles_a_static_length_once_each(fresh: Any) -> None:
    for function in ("loop_unrolled", "recursion_compiled"):
        assert compiled_by_jax(run_all(fresh[2], function, exponents(3, 4, 5, 3))) == 3, function


def test_both_compile_a_branch_once(fresh: Any) -> None:
    at = [(np.array(x, np.float32),) for x in (3, -3, 0.5)]
    assert compiled_by_jax(run_all(fresh[2], "branch_compiled", at)) == 1
    assert captured_by_torch(run_all(fresh[1], "branch_compiled", at)) == 1


def test_pytorch_captures_each_length_anew_and_gives_up_at_the_ninth(fresh: Any) -> None:
    import torch

    assert captured_by_torch(run_all(fresh[1], "loop_compiled", exponents(*range(8), 3))) == 8
    assert captured_by_torch(run_all(fresh[1], "loop_compiled", exponents(8, 9))) == 0
    power: Any = torch.compile(fresh[1].control_flow._power, fullgraph=True, backend="eager")
    for n in range(8):
        power(torch.tensor(2.0), n)
    with pytest.raises(Exception, match="fullgraph=True"):
        power(torch.tensor(2.0), 8)


@pytest.mark.parametrize("dtype", ["float32"], indirect=True)
def test_any_number_of_programs(columns: Any, dtype: np.dtype) -> None:
    """PyTorch gives up at the ninth length; the values go on all the same."""
    for x, n in exponents(*range(10)):
        for column in columns[1:]:
            y, d_x = column.call("control_flow", "loop_compiled", x, n)
            k = int(n)
            assert_within("y", y, x**k, 2 * k, "ulp")
            assert_within("dy/dx", d_x, k * x ** max(k - 1, 0), 4 * k, "ulp")
            assert column.call("control_flow", "branch_compiled", x)[1] == 2 * x


def test_jax_cannot_run_a_loop_of_unknown_length_backward(columns: Any) -> None:
    import jax

    power = columns[2].control_flow._power_fori
    with pytest.raises(ValueError, match="Reverse-mode differentiation does not work"):
        jax.jit(jax.grad(power))(2.0, 3)
    # a static length becomes a scan, an unknown one a while
    assert "scan[" in str(jax.make_jaxpr(power, static_argnums=1)(2.0, 3))
    assert "while[" in str(jax.make_jaxpr(power)(2.0, 3))
    assert jax.jit(jax.grad(power), static_argnums=1)(2.0, 3) == 12
