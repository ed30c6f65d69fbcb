"""One training loop in three forms: the same losses and parameters, whichever form runs."""

from typing import Any

import numpy as np
import pytest

from triptych import data
from triptych.agreement.measures import assert_within

FORMS = ["as_written", "compiled_step", "compiled_loop"]


def case(dtype: np.dtype) -> Any:
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(64, 4)).astype(dtype), rng.integers(0, 3, 64)
    return data.classifier_start(dtype=str(dtype)), x, t, data.batches(64, 16, 2)


def assert_same_training(column: Any, form: Any, dtype: np.dtype) -> None:
    params, x, t, rows = case(dtype)
    after, losses = column.call("execution", form, params, x, t, rows, learning_rate=0.1)
    expected, history = column.call(
        "classifier", "fit", params, x, t, rows, optimizer="sgd", learning_rate=0.1
    )
    assert losses.shape == (8,)
    assert losses.dtype == dtype
    assert_within(f"{form} losses", losses, history, 8 * 8, "eps")
    for name in params:
        assert after[name].dtype == dtype
        # eight updates of at most 0.1 each, their gradients within 16 eps, each rounded once
        assert_within(f"{form} {name}", after[name], expected[name], 8 * (0.1 * 16 + 2), "eps")


@pytest.mark.parametrize("form", FORMS)
def test_forms_agree_or_say_why_they_do_not_run(column: Any, form: Any) -> None:
    if form == "compiled_step" and column.name == "torch_impl":
        pytest.skip("runs in the slow tests: torch.compile takes some 20 s")
    reason = column.execution.modes()[form]
    if reason:
        with pytest.raises(RuntimeError) as error:
            assert_same_training(column, form, np.dtype("float32"))
        assert str(error.value) == reason
    else:
        assert_same_training(column, form, np.dtype("float32"))


@pytest.mark.slow
def test_torch_compiled_step(columns: Any, dtype: np.dtype) -> None:
    column = columns[1]
    if reason := column.execution.modes()["compiled_step"]:
        pytest.skip(reason)
    assert_same_training(column, "compiled_step", dtype)


@pytest.mark.slow
def test_torch_compiles_for_any_number_of_rates(columns: Any) -> None:
    """A program is made for each rate; PyTorch would refuse the ninth."""
    column = columns[1]
    if reason := column.execution.modes()["compiled_step"]:
        pytest.skip(reason)
    params, x, t, batches = case(np.dtype("float32"))
    for tenths in range(1, 11):
        rate = {"learning_rate": tenths / 10}
        after, _ = column.call("execution", "compiled_step", params, x, t, batches[:1], **rate)
        expected, _ = column.call("execution", "as_written", params, x, t, batches[:1], **rate)
        for name, p in expected.items():
            assert_within(name, after[name], p, 16 + 2, "eps")


def test_torch_step_is_captured_whole(columns: Any) -> None:
    import torch

    # backend="eager" captures and does not generate code: fullgraph=True would raise on a break
    execution = columns[1].execution
    params, x, t, _ = case(np.dtype("float32"))
    arguments = (columns[1].from_numpy(params), torch.tensor(x), torch.tensor(t), 0.1)
    captured: Any = torch.compile(execution._step, fullgraph=True, dynamic=False, backend="eager")
    for a, b in zip(captured(*arguments), execution._step(*arguments), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_the_loop_around_the_compiled_step(
    columns: Any, dtype: np.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batches and the losses, without the 20 s that the compiler takes for the step."""
    column = columns[1]
    monkeypatch.setattr(column.execution, "_compiled_step", lambda: column.execution._step)
    monkeypatch.setattr(column.execution, "_no_cpp_compiler", lambda: "")
    assert_same_training(column, "compiled_step", dtype)
    monkeypatch.setattr(column.execution, "_no_cpp_compiler", lambda: "none here")
    with pytest.raises(RuntimeError, match="none here"):
        assert_same_training(column, "compiled_step", dtype)


def test_who_looks_for_the_cpp_compiler(columns: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import cpp_builder, exc

    def found_none() -> None:
        raise exc.InvalidCxxCompiler

    look = columns[1].execution._no_cpp_compiler.__wrapped__
    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", found_none)
    assert "needs a C++ compiler" in look()
    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", lambda: "c++")
    assert look() == ""


def test_the_loop_that_a_cuda_graph_records(columns: Any, dtype: np.dtype) -> None:
    column = columns[1]
    params, x, t, rows = (column.take_in(value) for value in case(dtype))
    loops = (
        column.execution._steps(params, x, t, rows, 0.1),
        column.execution.as_written(params, x, t, rows, learning_rate=0.1),
    )
    (after, losses), (expected, history) = map(column.give_out, loops)
    assert_within("losses", losses, history, 8 * 8, "eps")
    for name in params:
        assert_within(name, after[name], expected[name], 8 * (0.1 * 16 + 2), "eps")


def test_modes_name_every_form(column: Any) -> None:
    modes = column.execution.modes()
    assert list(modes) == FORMS
    assert modes["as_written"] == ""
    assert all(isinstance(reason, str) for reason in modes.values())
    expected = {"numpy_ref": "no compiler", "torch_impl": "needs a CUDA device", "jax_impl": ""}
    assert expected[column.name] in modes["compiled_loop"]


@pytest.mark.slow
def test_no_cpp_compiler_is_a_clear_message(columns: Any) -> None:
    import os
    import subprocess
    import sys

    code = (
        "import numpy as np, torch_impl\n"
        "from torch_impl import execution\n"
        "from triptych import data\n"
        "print(execution.modes()['compiled_step'])\n"
        "start = torch_impl.from_numpy(data.classifier_start(dtype='float32'))\n"
        "x, t = np.zeros((4, 4), np.float32), np.zeros(4, int)\n"
        "rows = torch_impl.from_numpy(np.zeros((1, 2), int))\n"
        "try:\n"
        "    x, t = torch_impl.from_numpy(x), torch_impl.from_numpy(t)\n"
        "    execution.compiled_step(start, x, t, rows, learning_rate=0.1)\n"
        "except RuntimeError as error:\n"
        "    print(error)\n"
    )
    nowhere = {k: v for k, v in os.environ.items() if k != "CXX"} | {"PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], env=nowhere, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert lines == 2 * [
        "torch.compile needs a C++ compiler on a CPU: install g++ or clang++, or set CXX"
    ]
