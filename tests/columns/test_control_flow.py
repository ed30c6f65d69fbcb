"""Define-by-run against define-then-run, and Python's control flow under a compiler."""

from typing import Any

import numpy as np
import pytest

from triptych.agreement.measures import assert_within


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


@pytest.mark.parametrize(("x", "y", "d_x"), [(3, 9, 6), (0.5, 0.25, 1), (-3, 3, -1), (0, 0, -1)])
def test_branch(column: Any, dtype: np.dtype, x: Any, y: Any, d_x: Any) -> None:
    assert column.call("control_flow", "branch", np.array(x, dtype)) == (y, d_x)
    if column.name != "numpy_ref":
        found = column.call("control_flow", "branch_compiled", np.array(x, dtype))
        assert found == (y, d_x)
        assert found[0].dtype == dtype


def test_a_branch_on_a_value_cannot_be_traced(column: Any) -> None:
    words = {
        "numpy_ref": (RuntimeError, "NumPy has no compiler"),
        "torch_impl": (RuntimeError, "Data-dependent branching"),
        "jax_impl": (TypeError, "Attempted boolean conversion of traced array"),
    }
    error, message = words[column.name]
    with pytest.raises(error, match=message):
        column.call("control_flow", "branch_traced", np.array(2, np.float32))


@pytest.mark.parametrize("n", [0, 1, 2, 5])
@pytest.mark.parametrize("base", [3, 0])
def test_loop_and_recursion(column: Any, dtype: np.dtype, base: Any, n: Any) -> None:
    x = np.array(base, dtype)
    expected = (base**n, n * base ** max(n - 1, 0))
    assert column.call("control_flow", "loop", x, np.array(n)) == expected
    assert column.call("control_flow", "recursion", x, n=n) == expected
    if column.name != "numpy_ref":
        assert column.call("control_flow", "loop_compiled", x, np.array(n)) == expected


@pytest.mark.parametrize("dtype", ["float32"], indirect=True)
def test_any_number_of_programs(columns: Any, dtype: np.dtype) -> None:
    """PyTorch refuses to compile one function a ninth time; that must not be the user's affair."""
    for n in range(10):
        x = np.array(1 + n / 8, dtype)
        for column in columns[1:]:
            y, d_x = column.call("control_flow", "loop_compiled", x, np.array(n))
            assert_within("y", y, x**n, 2 * n, "ulp")
            assert_within("dy/dx", d_x, n * x ** max(n - 1, 0), 4 * n, "ulp")
            assert column.call("control_flow", "branch_compiled", x)[1] == 2 * x


@pytest.mark.parametrize("function", ["branch_compiled", "loop_compiled"])
def test_numpy_says_that_it_has_no_compiler(columns: Any, function: Any) -> None:
    arguments = [np.array(2, np.float32), np.array(3)][: 1 + (function == "loop_compiled")]
    with pytest.raises(RuntimeError, match="NumPy has no compiler"):
        columns[0].call("control_flow", function, *arguments)


def test_jax_cannot_run_a_loop_of_unknown_length_backward(columns: Any) -> None:
    import jax

    def power(x: Any, n: Any) -> Any:
        return jax.lax.fori_loop(0, n, lambda _, y: y * x, 1.0)

    with pytest.raises(ValueError, match="Reverse-mode differentiation does not work"):
        jax.jit(jax.grad(power))(2.0, 3)
