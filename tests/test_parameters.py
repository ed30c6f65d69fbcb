"""Parameters: counts, the summary, and files that every column reads."""

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from triptych import data

SUMMARY = """\
SimpleNet(
  (fc1): Linear(in_features=4, out_features=16, bias=True)
  (relu1): ReLU()
  (fc2): Linear(in_features=16, out_features=8, bias=True)
  (relu2): ReLU()
  (output): Linear(in_features=8, out_features=3, bias=True)
)"""


def test_count(column: Any, dtype: np.dtype) -> None:
    params = column.from_numpy(data.classifier_start(dtype=str(dtype)))
    by_layer = [
        column.parameters.count({n: p for n, p in params.items() if n.startswith(layer)})
        for layer in ("fc1", "fc2", "output")
    ]
    assert by_layer == [80, 136, 27]
    assert column.parameters.count(params) == 243
    assert type(column.parameters.count(params)) is int


def test_summary(column: Any) -> None:
    params = column.from_numpy(data.classifier_start(dtype="float32"))
    assert column.parameters.summary(params) == SUMMARY


def test_summary_is_what_pytorch_prints(columns: Any) -> None:
    assert str(columns[1].classifier.SimpleNet()) == SUMMARY


def test_a_file_of_one_column_loads_in_all(columns: Any, dtype: np.dtype, tmp_path: Path) -> None:
    params = data.classifier_start(dtype=str(dtype))
    params["fc1.weight"][0, :2] = [-0.0, np.finfo(dtype).tiny / 4]
    for writer in columns:
        path = tmp_path / f"{writer.name}.safetensors"
        writer.parameters.save(path, writer.from_numpy(params))
        for reader in columns:
            loaded = reader.parameters.load(path, like=reader.from_numpy(params))
            assert list(loaded) == list(params)
            for name, value in reader.to_numpy(loaded).items():
                assert value.dtype == dtype
                assert value.tobytes() == params[name].tobytes(), (writer.name, reader.name, name)


def test_outputs_are_identical_after_loading(column: Any, dtype: np.dtype, tmp_path: Path) -> None:
    params = column.from_numpy(data.classifier_start(dtype=str(dtype)))
    x = column.from_numpy(np.random.default_rng(0).normal(size=(5, 4)).astype(dtype))
    column.parameters.save(tmp_path / "p", params)
    again = column.parameters.load(str(tmp_path / "p"))
    logits = [column.to_numpy(column.classifier.logits(p, x)) for p in (params, again)]
    assert logits[0].tobytes() == logits[1].tobytes()


@pytest.mark.parametrize("view", ["transposed", "reversed", "strided"])
def test_memory_order_does_not_matter(columns: Any, tmp_path: Path, view: Any) -> None:
    # safetensors writes the bytes of such arrays in the wrong order unless told otherwise
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    array = {"transposed": base.T, "reversed": base[::-1, ::-1], "strided": base[::2, ::3]}[view]
    numpy_ref, torch_impl, jax_impl = columns
    import torch

    tensor = torch.tensor(base).T if view == "transposed" else torch.tensor(array.copy())
    for column, value in (
        (numpy_ref, array),
        (torch_impl, tensor),
        (jax_impl, jax_impl.from_numpy(array)),
    ):
        column.parameters.save(tmp_path / "p", {"w": value})
        loaded = numpy_ref.parameters.load(tmp_path / "p")
        assert np.array_equal(loaded["w"], array), column.name


def test_a_crash_leaves_the_old_file_whole(
    column: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.safetensors"
    old = column.from_numpy({"w": np.zeros(3, np.float32)})
    column.parameters.save(path, old)
    before = path.read_bytes()

    class Crash(BaseException):
        pass

    def crash(*_: object) -> None:
        raise Crash

    for broken in ("os.fsync", "pathlib.Path.replace", "safetensors.numpy.save"):
        with monkeypatch.context() as patch:
            patch.setattr(broken, crash)
            with pytest.raises(Crash):
                column.parameters.save(path, column.from_numpy({"w": np.ones(3, np.float32)}))
        assert path.read_bytes() == before, broken
        assert os.listdir(tmp_path) == [path.name], broken


def test_a_kill_half_way_leaves_the_old_file_whole(column: Any, tmp_path: Path) -> None:
    import subprocess
    import sys

    path = tmp_path / "p.safetensors"
    column.parameters.save(path, column.from_numpy({"w": np.zeros(3, np.float32)}))
    before = path.read_bytes()
    code = (
        "import os, numpy as np, importlib\n"
        "os.fsync = lambda _: os._exit(9)\n"  # the process ends at once, nothing is cleaned up
        f"column = importlib.import_module('{column.name}')\n"
        f"parameters = importlib.import_module('{column.name}.parameters')\n"
        f"parameters.save({str(path)!r}, column.from_numpy({{'w': np.ones(3, np.float32)}}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 9, done.stderr
    assert path.read_bytes() == before


def test_mode_follows_the_umask_and_links_stay_links(column: Any, tmp_path: Path) -> None:
    params = column.from_numpy({"w": np.zeros(3, np.float32)})
    path, link = tmp_path / "p", tmp_path / "link"
    link.symlink_to(path)
    old = os.umask(0o022)
    try:
        column.parameters.save(link, params)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert link.is_symlink()


def corrupt(path: Path, how: str) -> None:
    content = path.read_bytes()
    path.write_bytes(
        {
            "truncated": content[:-8],
            "header cut": content[:20],
            "empty": b"",
            "foreign": b"PK\x03\x04 this is some other file, a zip archive perhaps",
            "pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00}\x94.",
        }[how]
    )


@pytest.mark.parametrize("how", ["truncated", "header cut", "empty", "foreign", "pickle"])
def test_damaged_files(column: Any, tmp_path: Path, how: Any) -> None:
    path = tmp_path / "p.safetensors"
    column.parameters.save(path, column.from_numpy({"w": np.zeros(3, np.float32)}))
    corrupt(path, how)
    with pytest.raises(ValueError, match=r"path must be a whole safetensors file.*p\.safetensors"):
        column.parameters.load(path)


def test_files_unlike_the_model(column: Any, tmp_path: Path) -> None:
    path = tmp_path / "p"
    params = {"w": np.zeros((2, 3), np.float32), "b": np.zeros(2, np.float32)}
    column.parameters.save(path, column.from_numpy(params))
    for like, words in (
        (
            {"w": np.zeros((3, 2), np.float32), "b": params["b"]},
            r"w .*\(2, 3\).*expected .*\(3, 2\)",
        ),
        ({"w": params["w"]}, "b .*expected no such name"),
        (params | {"c": params["b"]}, "c missing, expected"),
        ({n: p.astype(np.float16) for n, p in params.items()}, "b .*float32.*expected .*float16"),
    ):
        with pytest.raises(ValueError, match=words):
            column.parameters.load(path, like=column.from_numpy(like))


def test_missing_file(column: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        column.parameters.load(tmp_path / "nothing")


def test_float64_file_in_jax_without_x64(columns: Any, tmp_path: Path) -> None:
    columns[0].parameters.save(tmp_path / "p", {"w": np.zeros(3)})
    with pytest.raises(ValueError, match=r"float64.*jax_enable_x64"):
        columns[2].parameters.load(tmp_path / "p")
