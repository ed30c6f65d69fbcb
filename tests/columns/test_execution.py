"""One training loop in several forms: the same losses and parameters, whichever form runs."""

from typing import Any

import numpy as np
import pytest

from triptych import data, forms
from triptych.agreement.measures import assert_within

SLOW = ("compiled_network", "compiled_step", "compiled_loop")


def case(dtype: np.dtype) -> Any:
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(64, 4)).astype(dtype), rng.integers(0, 3, 64).astype(np.int32)
    return data.classifier_start(dtype=str(dtype)), x, t, data.batches(64, 16, 2)


def assert_same_training(column: Any, form: Any, dtype: np.dtype) -> None:
    params, x, t, rows = case(dtype)
    after, losses = column.call("execution", form, params, x, t, rows, learning_rate=0.1)
    assert_trained(column, form, dtype, after, losses)


def assert_trained(column: Any, form: str, dtype: np.dtype, after: Any, losses: Any) -> None:
    params, x, t, rows = case(dtype)
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


@pytest.mark.slow_in("jax_impl", "as_written")  # it compiles each operation by itself
@pytest.mark.parametrize("form", forms.FORMS[:-1])
def test_forms_agree(column: Any, dtype: np.dtype, form: str) -> None:
    if reason := forms.missing_form(column.name, form):
        pytest.skip(reason)
    if column.name == "torch_impl" and form in SLOW:
        pytest.skip("runs in the slow tests: torch.compile takes some 20 s")
    # what is compiled keeps nothing of the call before: neither rate, start, data nor batches
    params, x, t, rows = case(dtype)
    other = {name: p * 2 for name, p in params.items()}, -x, t[::-1].copy(), rows[::-1].copy()
    column.call("execution", form, *other, learning_rate=0.3)
    assert_same_training(column, form, dtype)


def test_what_is_declared_absent_is(column: Any) -> None:
    found = {form for form in forms.FORMS if hasattr(column.execution, form)}
    expected = {
        "numpy_ref": {"as_written"},
        "torch_impl": set(forms.FORMS),
        "jax_impl": {"as_written", "compiled_step", "compiled_loop"},
    }
    assert found == expected[column.name]
    assert {f for f in forms.FORMS if not forms.missing_form(column.name, f, "cuda")} == found
    assert forms.missing_form("torch_impl", "cuda_graph") == forms.NO_CUDA


@pytest.mark.slow
@pytest.mark.parametrize("form", SLOW)
@pytest.mark.parametrize("dtype", ["float32"], indirect=True)
def test_torch_compiled(columns: Any, form: str, dtype: np.dtype) -> None:
    if reason := forms.no_cpp_compiler():
        pytest.skip(reason)
    assert_same_training(columns[1], form, dtype)


@pytest.mark.parametrize("form", SLOW)
def test_torch_forms_as_they_are_captured(
    columns: Any, dtype: np.dtype, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """The same lines with a backend that captures and makes no code: seconds, and no compiler."""
    import torch

    torch._dynamo.reset()
    column = columns[1]
    real = torch.compile
    eager: Any = {"fullgraph": True, "dynamic": False, "backend": "eager"}
    execution = column.execution
    monkeypatch.setattr(execution, "_compiled_step", real(execution._step, **eager))
    monkeypatch.setattr(execution, "_compiled_loop", real(execution._loop, **eager))
    monkeypatch.setattr(torch, "compile", lambda net, **_: real(net, backend="eager"))
    assert_same_training(column, form, dtype)


def test_torch_captures_a_step_once_for_all_rates(
    columns: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    execution = columns[1].execution
    captured = torch.compile(execution._step, fullgraph=True, dynamic=False, backend="eager")
    monkeypatch.setattr(execution, "_compiled_step", captured)
    params, x, t, batches = (columns[1].take_in(value) for value in case(np.dtype("float32")))
    before = counters["stats"]["unique_graphs"]
    for tenths in range(1, 12):
        rate = {"learning_rate": tenths / 10}
        after, _ = execution.compiled_step(params, x, t, batches[:1], **rate)
        expected, _ = execution.as_written(params, x, t, batches[:1], **rate)
        for name, p in expected.items():
            assert_within(name, after[name].numpy(), p.numpy(), 16 + 2, "eps")
    assert counters["stats"]["unique_graphs"] == before + 1


def test_jax_compiles_a_step_once_for_all_rates(columns: Any) -> None:
    import jax

    execution = columns[2].execution
    params, x, t, batches = (columns[2].take_in(value) for value in case(np.dtype("float32")))
    jax.clear_caches()
    compiled = []

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    execution.compiled_step(params, x, t, batches, learning_rate=0.1)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        execution.compiled_step(params, x, t, batches, learning_rate=0.2)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert compiled == []


def test_fullgraph_refuses_the_ordinary_loop(columns: Any) -> None:
    """The sentence of `compiled_step`."""
    import torch

    w = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1)

    def step() -> None:
        optimizer.zero_grad()
        (w**2).sum().backward()
        optimizer.step()

    with pytest.raises(RuntimeError):
        torch.compile(step, fullgraph=True, backend="eager")()


def test_who_looks_for_the_cpp_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    cpp_builder = pytest.importorskip("torch._inductor.cpp_builder")
    from torch._inductor import exc

    def found_none() -> None:
        raise exc.InvalidCxxCompiler

    look = forms.no_cpp_compiler.__wrapped__
    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", found_none)
    assert "needs a C++ compiler" in look()
    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", lambda: "c++")
    assert look() == ""


def test_the_loop_that_a_cuda_graph_records(columns: Any, dtype: np.dtype) -> None:
    import torch

    column = columns[1]
    params, x, t, rows = (column.take_in(value) for value in case(dtype))
    after, losses = column.execution._steps(params, x, t, rows, torch.tensor(0.1, dtype=x.dtype))
    assert_trained(column, "_steps", dtype, *column.give_out((after, losses)))
