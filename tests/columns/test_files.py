"""Files under attack: writers killed at any moment, a full disk, a folder that refuses.

After each of them the old file or the new one is there, whole; `test_parameters.py` has what a
file may hold.
"""

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
OLD, NEW = np.full(20_000, 1, np.float32), np.full(50_000, 2, np.float32)

pytestmark = pytest.mark.slow

SAVER = """
import importlib, os, random, signal, sys, time, warnings
import numpy as np
column, path, kills, way = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
boundary = importlib.import_module(column)
parameters = importlib.import_module(column + ".parameters")
files = parameters.__file__, parameters.parameter_file.__file__
warnings.simplefilter("ignore")  # that a fork has several threads: this one starts none
drawn = random.Random(0)

def save():
    new = boundary.from_numpy({"w": np.full(50_000, 2, np.float32)})
    if way == "at a line":
        left = kill

        def count(frame, event, _):
            nonlocal left
            if event == "line" and frame.f_code.co_filename in files:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return count

        sys.settrace(count)
    while True:
        parameters.save(path, new)
        if way == "at a line":
            os._exit(0)  # every line has had its turn

# each writer starts JAX anew: a process with JAX's threads must not fork
window = 0.3 if column == "jax_impl" else 0.02
for kill in range(1, kills + 1):
    pid = os.fork()
    if pid == 0:
        save()
    if way == "at random":
        time.sleep(drawn.uniform(0, window))
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
    sys.stdin.readline()  # until the file has been looked at
"""


def killed(column: Any, path: Path, kills: int, way: str) -> list[int]:
    """Save again and again, kill each writer, look at the file; how each writer ended."""
    from numpy_ref import parameters

    parameters.save(path, {"w": OLD})
    command = [sys.executable, "-c", SAVER, column.name, str(path), str(kills), way]
    pipe = subprocess.PIPE
    ended = []
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=pipe, stdout=pipe) as process:
        assert process.stdin
        assert process.stdout
        for line in process.stdout:
            ended.append(int(line))
            (found,) = parameters.load(path).values()
            assert np.array_equal(found, OLD) or np.array_equal(found, NEW), f"kill {len(ended)}"
            process.stdin.write("\n")
            process.stdin.flush()
    assert process.returncode == 0
    assert len(ended) == kills
    return ended


def test_two_hundred_killed_writers(column: Any, tmp_path: Path) -> None:
    """By kill -9 at random moments: each finds the old file or a new one, whole."""
    path = tmp_path / "p.safetensors"
    ended = killed(column, path, 70 if column.name == "jax_impl" else 200, "at random")
    assert set(ended) == {-9}
    left = [p for p in tmp_path.iterdir() if p != path]
    assert left, "no writer was killed while it wrote"
    assert all(p.name.startswith(".p.safetensors.") and p.suffix == ".partial" for p in left)


def test_a_writer_killed_at_each_line(column: Any, tmp_path: Path) -> None:
    ended = killed(column, tmp_path / "p.safetensors", 30, "at a line")
    assert ended[0] == -9
    assert ended[-1] == 0, "save has more lines than this test kills at"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting takes root")
def test_a_disk_that_is_full(column: Any, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        path = disk / "p.safetensors"
        column.parameters.save(path, column.from_numpy({"w": OLD}))
        before = path.read_bytes()
        for _ in range(3):
            with pytest.raises(OSError, match=r"No space left on device.*p\.safetensors'$"):
                column.parameters.save(path, column.from_numpy({"w": NEW}))
            assert path.read_bytes() == before
            assert [*disk.iterdir()] == [path]
        column.parameters.save(path, column.from_numpy({"w": OLD[:10]}))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_folder_that_nobody_may_write_to(column: Any) -> None:
    # root may write everywhere: once all is imported, the process becomes another user's
    code = """
        import importlib, os, sys
        import numpy as np
        column, path = sys.argv[1:]
        boundary = importlib.import_module(column)
        parameters = importlib.import_module(column + ".parameters")
        params = boundary.from_numpy({"w": np.zeros(3, np.float32)})
        if os.geteuid() == 0:
            os.setgroups([]), os.setgid(65534), os.setuid(65534)
        try:
            parameters.save(path, params)
        except OSError as error:
            print(f"{type(error).__name__}: {error}")
    """
    # not in pytest's folder, which only its owner may enter
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "p.safetensors")
        path.write_bytes(b"old")
        Path(folder).chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), column.name, str(path)],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        Path(folder).chmod(0o755)
        expected = f"PermissionError: [Errno 13] Permission denied: {str(path)!r}"
        assert done.stdout.splitlines() == [expected], done.stderr
        assert path.read_bytes() == b"old"
        assert [*Path(folder).iterdir()] == [path]


def newer(folder: Path, moment: int) -> bool:
    """Whether something was written in a folder after that moment."""
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # renamed meanwhile
            if path.stat().st_mtime_ns > moment:
                return True
    return False


def test_a_checkpoint_survives_kills(tmp_path: Path) -> None:
    """`triptych train` is killed while it writes checkpoints, and comes to the same digest."""
    # each run saves slowly, so that most kills come while it does
    slow = """
        import os, runpy, time
        real = os.fsync
        os.fsync = lambda file: (time.sleep(0.05), real(file))
        runpy.run_module("triptych", run_name="__main__")
    """
    words = ["train", "--reproducible", "--every", "2", "--steps", "100", "--json"]
    checkpoint = ["--checkpoint", str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def record(*more: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "triptych", *words, *more],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    drawn = random.Random(1)
    for _ in range(8):
        started = time.time_ns()
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(slow), *words, *checkpoint],
            cwd=ROOT, env=environment, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        while not newer(tmp_path, started):
            assert process.poll() is None, "it ended without a checkpoint"
            time.sleep(0.005)
        time.sleep(drawn.uniform(0, 0.1))
        process.kill()
        assert process.wait() == -9, "it ended before it was killed"
    found = record(*checkpoint)
    assert 0 < found["computed_steps"] < 100, "no kill came after a checkpoint"
    assert found["digest"] == found["committed"]
