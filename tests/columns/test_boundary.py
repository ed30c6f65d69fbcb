"""The boundary of each column: copies in, copies out, dtypes, devices, waiting."""

from typing import Any

import numpy as np
import pytest

from triptych.column import precision

DTYPES = ["bool", "uint8", "int32", "int64", "float16", "float32", "float64", "complex64"]


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_round_trip_keeps_values_and_dtype(column: Any, name: Any, shape: Any) -> None:
    x = (np.arange(np.prod(shape, dtype=int)) % 2).reshape(shape).astype(name)
    with precision("float64"):
        back = column.to_numpy(column.from_numpy({"a": x, "b": {"c": x}}))
    for y in (back["a"], back["b"]["c"]):
        assert type(y) is np.ndarray
        assert y.dtype == x.dtype
        assert np.array_equal(x, y)


def aligned(n: int) -> np.ndarray:
    """Memory at a multiple of 64 bytes, which JAX's `device_put` would take over without a copy."""
    buffer = np.zeros(n + 16, np.float32)
    start = (-buffer.ctypes.data % 64) // 4
    return buffer[start : start + n]


def test_nothing_shares_memory(column: Any) -> None:
    for x in (aligned(100), np.zeros(100, np.float32)[::-1], np.zeros((10, 10), np.float32).T):
        here = column.from_numpy(x)
        x[...] = 1
        assert not column.to_numpy(here).any()
        out = column.to_numpy(here)
        out[...] = 2
        assert not column.to_numpy(here).any()


def test_read_only_views_and_foreign_byte_order(column: Any) -> None:
    x = np.arange(6, dtype=">f4").reshape(2, 3)[:, ::-1]
    x.flags.writeable = False
    back = column.to_numpy(column.from_numpy(x))
    assert back.dtype == np.float32
    assert back.flags.writeable
    assert np.array_equal(back, x)


def test_bfloat16_comes_out_as_float32(columns: Any) -> None:
    import jax.numpy as jnp
    import ml_dtypes
    import torch

    numpy_ref, torch_impl, jax_impl = columns
    for column, x in (
        (numpy_ref, np.array([1.5, -2], ml_dtypes.bfloat16)),
        (torch_impl, torch.tensor([1.5, -2], dtype=torch.bfloat16)),
        (jax_impl, jnp.array([1.5, -2], dtype=jnp.bfloat16)),
    ):
        back = column.to_numpy(x)
        assert back.dtype == np.float32
        assert back.tolist() == [1.5, -2]


@pytest.mark.parametrize(
    "bad",
    [
        *([1.0, 2.0], 1.0, None, "text", {"a": [1.0]}, np.array(["a"]), np.array([None])),
        *(
            np.array(["2026-11-25"], "datetime64[D]"),
            np.ma.masked_array(np.ones(2, np.float32), [False, True]),
        ),
    ],
)
def test_what_is_no_array_is_refused(column: Any, bad: Any) -> None:
    with pytest.raises(TypeError, match=r"from_numpy: x must .* got"):
        column.from_numpy(bad)


@pytest.mark.parametrize("bad", [[1.0, 2.0], 1.5, None, "text"])
def test_to_numpy_refuses_what_is_not_of_the_column(column: Any, bad: Any) -> None:
    with pytest.raises(TypeError, match=r"to_numpy: x must .* got"):
        column.to_numpy(bad)


def test_devices(column: Any) -> None:
    assert column.devices()[0] == "cpu"
    assert set(column.devices()) <= {"cpu", "cuda"}
    for bad, error in (
        ("tpu", ValueError),
        ("cuda:99", ValueError),
        ("cpu:0", ValueError),
        (0, TypeError),
    ):
        with pytest.raises(error, match="device must be"):
            column.from_numpy(np.zeros(2, np.float32), device=bad)


def test_a_missing_device_is_refused_by_name(column: Any) -> None:
    if "cuda" in column.devices():
        x = column.from_numpy(np.arange(3, dtype=np.float32), device="cuda")
        assert column.to_numpy(x).tolist() == [0, 1, 2]
    else:
        with pytest.raises(ValueError, match="device must be 'cpu' on this machine, got 'cuda'"):
            column.from_numpy(np.zeros(2, np.float32), device="cuda")


def test_synchronize_returns_what_it_waited_for(column: Any) -> None:
    x = column.from_numpy({"a": np.ones(3, np.float32), "b": np.zeros(2, np.float32)})
    assert column.synchronize(x)["a"] is not None
    assert column.synchronize((x, [x["a"], 3]))[1][1] == 3


def test_synchronize_waits_for_each_array_wherever_it_stands(
    columns: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's, without a GPU: tensors that say they are on one."""
    import torch

    class OnGpu(torch.Tensor):
        is_cuda = True
        device: Any = "cuda:0"

    waited: list[Any] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    x = torch.zeros(1).as_subclass(OnGpu)
    columns[1].synchronize({"a": [x, (x, {"b": x})], "c": torch.zeros(1), "d": 3})
    assert waited == ["cuda:0"] * 3


def test_jax_without_x64_never_cuts_silently(columns: Any) -> None:
    jax_impl = columns[2]
    with precision("float32"):
        small = jax_impl.from_numpy(np.array([1, -(2**31)]))
        assert jax_impl.to_numpy(small).dtype == np.int32
        assert jax_impl.to_numpy(small).tolist() == [1, -(2**31)]
        for x in (
            np.array([2**31]), np.array([2**32], np.uint64), np.zeros(2), np.zeros(2, complex)
        ):  # fmt: skip
            with pytest.raises(ValueError, match=r"from_numpy: x .*jax_enable_x64"):
                jax_impl.from_numpy(x)
