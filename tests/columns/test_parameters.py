"""Parameters: counts, the summary, and files that every column reads."""

import errno
import json
import os
import re
import stat
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from triptych import data
from triptych.agreement.measures import assert_within

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
    assert column.parameters.count(column.from_numpy(data.line(dtype=str(dtype))[0])) == 2


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


def test_a_number_stays_a_number(column: Any, tmp_path: Path) -> None:
    """NumPy's `ascontiguousarray` would make a row of it."""
    params = column.from_numpy({"w": np.float32(2), "b": np.float32(3)})
    column.parameters.save(tmp_path / "p", params)
    loaded = column.to_numpy(column.parameters.load(tmp_path / "p", like=params))
    assert {name: (p.shape, float(p)) for name, p in loaded.items()} == {"w": ((), 2), "b": ((), 3)}


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
        assert list(tmp_path.iterdir()) == [path], broken


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
            "foreign": b"%PDF-1.7 this is some other file",
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


# Files of torch.save


def state_dict_file(path: Path, dtype: str = "float32", *, legacy: bool = False) -> Any:
    """A SimpleNet after a few steps, its state dict in a file as PyTorch users write it."""
    import torch

    from torch_impl.classifier import SimpleNet

    torch.manual_seed(0)
    net = SimpleNet().to(getattr(torch, dtype))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    x = torch.linspace(-1, 1, 24, dtype=getattr(torch, dtype)).reshape(6, 4)
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), torch.arange(6) % 3).backward()
        optimizer.step()
    torch.save(net.state_dict(), path, _use_new_zipfile_serialization=not legacy)
    return net


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_trained_module_runs_in_the_other_columns(
    columns: Any, dtype: np.dtype, tmp_path: Path, legacy: bool
) -> None:
    import torch

    net = state_dict_file(tmp_path / "net.pt", str(dtype), legacy=legacy)
    params = columns[1].parameters.load(tmp_path / "net.pt")
    assert [*params] == [*data.classifier_start(dtype=str(dtype))]
    for name, p in net.state_dict().items():
        assert torch.equal(params[name], p)
        assert params[name].dtype == p.dtype
    columns[1].parameters.save(tmp_path / "net.safetensors", params)
    x = np.random.default_rng(1).normal(size=(7, 4)).astype(dtype)
    expected = net(torch.from_numpy(x)).detach().numpy()
    for column in columns:
        loaded = column.parameters.load(tmp_path / "net.safetensors")
        logits = column.to_numpy(column.classifier.logits(loaded, column.from_numpy(x)))
        assert_within(f"logits, {column.name}", logits, expected, 8, "eps")


def test_a_state_dict_from_a_gpu_loads_without_one(
    columns: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda _: "cuda:7")
        torch.save({"w": torch.ones(2)}, tmp_path / "net.pt")
    with pytest.raises((RuntimeError, AssertionError)):
        torch.load(tmp_path / "net.pt")
    loaded = columns[1].parameters.load(tmp_path / "net.pt")["w"]
    assert loaded.tolist() == [1, 1]
    assert loaded.device.type == "cpu"


def test_a_state_dict_must_be_like_the_model(columns: Any, tmp_path: Path) -> None:
    state_dict_file(tmp_path / "net.pt")
    load, from_numpy = columns[1].parameters.load, columns[1].from_numpy
    like = data.classifier_start(dtype="float32")
    backwards = dict(reversed(like.items()))
    assert [*load(tmp_path / "net.pt", like=from_numpy(backwards))] == [*backwards]
    with pytest.raises(ValueError, match=r"fc1\.bias .*float32.*expected .*float64"):
        load(tmp_path / "net.pt", like=from_numpy(data.classifier_start(dtype="float64")))
    with pytest.raises(ValueError, match=r"fc1\.bias .*expected no such name"):
        load(tmp_path / "net.pt", like=from_numpy({"fc1.weight": like["fc1.weight"]}))


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_the_other_columns_send_a_pytorch_file_to_torch_impl(
    columns: Any, tmp_path: Path, legacy: bool
) -> None:
    path = tmp_path / "net.pt"
    state_dict_file(path, legacy=legacy)
    words = r"a PyTorch file: load it with torch_impl\.parameters\.load and save it with save"
    for column in (columns[0], columns[2]):
        with pytest.raises(ValueError, match=rf"path must be .*got .*net\.pt, {words}"):
            column.parameters.load(path)


class Hostile:
    """Unpickled, it writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.write_text, (self.target, "ran")


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_hostile_file_runs_nothing(column: Any, tmp_path: Path, legacy: bool) -> None:
    import torch

    path, target = tmp_path / "net.pt", tmp_path / "target"
    content = {"w": torch.zeros(2), "more": Hostile(target)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ValueError, match=r"path must be a whole .*net\.pt"):
        column.parameters.load(path)
    assert not target.exists()
    torch.load(path, weights_only=False)  # the file is as hostile as it is meant to be
    assert target.read_text() == "ran"


def foreign_content(what: str) -> Any:
    import torch

    from torch_impl.classifier import SimpleNet

    net = SimpleNet()
    return {
        "module": net,
        "nested": {"model": net.state_dict(), "epoch": 3},
        "number": {"w": torch.zeros(2), "epoch": 3},
        "list": [torch.zeros(2)],
        "tensor": torch.zeros(2),
        "empty": {},
        "integers": {"w": torch.zeros(2, dtype=torch.int64)},
        "bfloat16": {"w": torch.zeros(2, dtype=torch.bfloat16)},
        "sparse": {"w": torch.zeros(2, 2).to_sparse()},
        "meta": {"w": torch.zeros(2, device="meta")},
        "unnamed": {0: torch.zeros(2)},
    }[what]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("module", "damaged or holds more than tensors, perhaps a whole module"),
        ("nested", "where 'model' is a OrderedDict"),
        ("number", "where 'epoch' is a int"),
        ("list", "which holds a list"),
        ("tensor", "which holds a Tensor"),
        ("empty", "which holds an empty dict"),
        ("integers", "where 'w' is torch.int64"),
        ("bfloat16", "where 'w' is torch.bfloat16"),
        ("sparse", "where 'w' is torch.float32, torch.sparse_coo"),
        ("meta", "where 'w' is torch.float32, torch.strided, meta"),
        ("unnamed", "where 0 is torch.float32"),
    ],
)
def test_pytorch_files_that_are_no_flat_state_dict(
    columns: Any, tmp_path: Path, what: str, words: str
) -> None:
    import torch

    torch.save(foreign_content(what), tmp_path / "net.pt")
    with pytest.raises(ValueError, match=rf"a flat state dict.*net\.pt.*{words}") as error:
        columns[1].parameters.load(tmp_path / "net.pt")
    assert "weights_only" not in str(error.value)  # no advice to switch the guard off


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("keep", [20, 200, -200, -20])
def test_damaged_pytorch_files(column: Any, tmp_path: Path, legacy: bool, keep: int) -> None:
    path = tmp_path / "net.pt"
    state_dict_file(path, legacy=legacy)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"path must be a whole .*net\.pt"):
        column.parameters.load(path)


def test_a_zip_archive_of_another_kind(column: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", w=np.zeros(3, np.float32))
    with pytest.raises(ValueError, match=r"path must be a whole .*p\.npz"):
        column.parameters.load(tmp_path / "p.npz")


# Where a file cannot be written, or is none


def two_writers(column: Any, path: Path) -> list[BaseException]:
    """Two threads save to one path, a third reads; what went wrong."""
    wrong: list[BaseException] = []
    sizes = (1000, 3000)
    given = [column.from_numpy({"w": np.full(n, n, np.float32)}) for n in sizes]
    column.parameters.save(path, given[0])

    def often(work: Any) -> None:
        try:
            for _ in range(50):
                work()
        except BaseException as error:
            wrong.append(error)

    def read() -> None:
        w = column.to_numpy(column.parameters.load(path)["w"])
        assert len(w) in sizes
        assert set(w.tolist()) == {len(w)}

    works = [lambda p=p: column.parameters.save(path, p) for p in given]
    threads = [threading.Thread(target=often, args=(work,)) for work in (*works, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


def test_two_writers_and_a_reader(column: Any, tmp_path: Path) -> None:
    assert two_writers(column, tmp_path / "p") == []
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


@pytest.mark.parametrize("broken", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.open"])
def test_a_full_disk(
    column: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """The error names the path, the old file stays, nothing is left over."""
    path = tmp_path / "p.safetensors"
    column.parameters.save(path, column.from_numpy({"w": np.zeros(3, np.float32)}))
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(broken, full)
        with pytest.raises(OSError, match=r"No space left on device.*p\.safetensors'$") as raised:
            column.parameters.save(path, column.from_numpy({"w": np.ones(3, np.float32)}))
    assert raised.value.errno == errno.ENOSPC
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_mode_of_the_old_file_stays(column: Any, tmp_path: Path) -> None:
    path = tmp_path / "p"
    params = column.from_numpy({"w": np.zeros(3, np.float32)})
    column.parameters.save(path, params)
    path.chmod(0o640)
    column.parameters.save(path, params)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_what_is_no_file_is_refused_and_stays(column: Any, tmp_path: Path) -> None:
    params = column.from_numpy({"w": np.zeros(3, np.float32)})
    pipe, folder = tmp_path / "pipe", tmp_path / "folder"
    os.mkfifo(pipe)
    folder.mkdir()
    for path in (pipe, folder, "", "/", os.devnull):
        words = rf"path must be that of a file, got .*: '{re.escape(str(path))}'$"
        with pytest.raises(OSError, match=f"save: {words}"):
            column.parameters.save(path, params)
        if path:
            with pytest.raises(OSError, match=f"load: {words}"):
                column.parameters.load(path)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert folder.is_dir()
    assert not Path(os.devnull).is_file()
    assert sorted(tmp_path.iterdir()) == [folder, pipe]
    (tmp_path / "file").touch()
    for path in (tmp_path / "none" / "p", tmp_path / "file" / "p", tmp_path / ("p" * 300)):
        with pytest.raises(OSError, match=rf"{re.escape(str(path))}'$"):
            column.parameters.save(path, params)


def test_a_file_that_is_too_large_is_not_read(
    column: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p"
    column.parameters.save(path, column.from_numpy({"w": np.zeros(3, np.float32)}))
    monkeypatch.setattr(column.parameters, "LARGEST", path.stat().st_size)
    assert [*column.parameters.load(path)] == ["w"]
    monkeypatch.setattr(column.parameters, "LARGEST", path.stat().st_size - 1)
    with pytest.raises(ValueError, match="path must have"):
        column.parameters.load(path)
    monkeypatch.undo()
    with path.open("wb") as file:
        file.truncate(2**31 + 1)  # a hole, which takes no room
    with pytest.raises(ValueError, match=r"path must have 2147483648 bytes at most, got .*649$"):
        column.parameters.load(path)


def test_names_that_the_format_does_not_take(column: Any, tmp_path: Path) -> None:
    array = column.from_numpy(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="params must have other names, got __metadata__"):
        column.parameters.save(tmp_path / "p", {"w": array, "__metadata__": array})
    with pytest.raises(TypeError, match=r"params must be a dict of arrays by their names, got .*i"):
        column.parameters.save(tmp_path / "p", {0: array})
    assert not [*tmp_path.iterdir()]
    column.parameters.save(tmp_path / "p", {"": array, "重み": array})
    assert column.parameters.load(tmp_path / "p").keys() == {"", "重み"}


def safetensors_file(header: Any, data: bytes = bytes(16), *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(dtype: Any = "F32", shape: Any = (4,), offsets: Any = (0, 16), **more: Any) -> Any:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets} | more


HOSTILE: dict[str, bytes] = {
    "a header of 2^63 bytes": safetensors_file({"w": entry()}, length=2**63),
    "a header of 2^64 - 1 bytes": safetensors_file({"w": entry()}, length=2**64 - 1),
    "a header longer than the file": safetensors_file({"w": entry()}, length=10_000),
    "no header": safetensors_file({}, length=0),
    "no JSON": safetensors_file(b"{'w': 1}"),
    "no text": safetensors_file(b"\xff\xfe{}"),
    "a list": safetensors_file([1, 2]),
    "deep": safetensors_file(b'{"w":' * 5000 + b"1" + b"}" * 5000),
    "another dtype": safetensors_file({"w": entry("F128")}),
    "a dtype that is none": safetensors_file({"w": entry(7)}),
    "a negative size": safetensors_file({"w": entry(shape=(-4,))}),
    "a size that is too large": safetensors_file({"w": entry(shape=(2**62, 4))}),
    "a size that overflows": safetensors_file({"w": entry(shape=(2**63, 2**63))}),
    "nothing times much": safetensors_file({"w": entry(shape=(0, 2**62), offsets=(0, 0))}, b""),
    "a fraction": safetensors_file({"w": entry(shape=(4.0,))}),
    "behind the end": safetensors_file({"w": entry(offsets=(0, 32))}),
    "from the end to the start": safetensors_file({"w": entry(offsets=(16, 0))}),
    "before the start": safetensors_file({"w": entry(offsets=(-16, 0))}),
    "a hole": safetensors_file({"w": entry(offsets=(16, 32))}, bytes(32)),
    "two on one place": safetensors_file({"w": entry(), "v": entry()}),
    "bytes behind": safetensors_file({"w": entry()}, bytes(20)),
    "shape and bytes differ": safetensors_file({"w": entry(shape=(3,))}),
    "no offsets": safetensors_file({"w": {"dtype": "F32", "shape": [4]}}),
    "metadata that is an array": safetensors_file({"__metadata__": entry()}),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_headers(column: Any, tmp_path: Path, what: str) -> None:
    path = tmp_path / "p.safetensors"
    path.write_bytes(HOSTILE[what])
    with pytest.raises(ValueError, match=r"path must be a whole safetensors file .*p\.safetens"):
        column.parameters.load(path)
