"""Where a person may run it: optimised, not installed, in odd places, with settings of their own.

One program asks every column for results, for errors and for files. It is run plainly, then in each
surrounding: it has to print the same.
"""

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from triptych.column import missing
from triptych.names import COLUMNS, FRAMEWORKS

ROOT = Path(__file__).parents[2]
PACKAGES = ("numpy_ref", "torch_impl", "jax_impl", "triptych")

pytestmark = pytest.mark.slow

ASKED = """
import hashlib, os, sys, tempfile
from pathlib import Path
import numpy as np
from triptych import data
from triptych.column import Column
from triptych.trees import leaves

def told(what, value):
    arrays = [np.asarray(leaf) for _, leaf in leaves(value)]
    text = b"".join(str(a.dtype).encode() + str(a.shape).encode() + a.tobytes() for a in arrays)
    print(column.name, what, hashlib.sha256(text).hexdigest()[:12])

def refused(what, *call, **settings):
    try:
        column.call(*call, **settings)
    except (TypeError, ValueError) as error:
        print(column.name, what, type(error).__name__, error)
    else:
        print(column.name, what, "was not refused")

def ask():
    params, x, t = data.line(dtype="float32")
    rate = {"learning_rate": 0.1}
    told("line", column.call("linear_regression", "fit", params, x, t, **rate, steps=20))
    (rows, labels), _ = data.diabetes(dtype="float32")
    start = data.classifier_start(dtype="float32")
    adam = {"optimizer": "adam", "learning_rate": 0.01}
    given = start, rows, labels, data.batches(len(rows), 32, 1)
    told("fit", column.call("classifier", "fit", *given, **adam))
    told("accuracy", column.call("classifier", "accuracy", start, rows, labels))
    told("graph", column.call("gradients", "chain", np.float32(2)))
    told("loop", column.call("control_flow", "loop", np.float32(2), np.array(5)))
    told("curvature", column.call("transformations", "second_derivative", np.float32(3)))
    told("table", column.call("promotion", "table", "arrays"))
    refused("shape", "classifier", "loss", start, rows[:, :3], labels)
    refused("label", "classifier", "loss", start, rows, labels + 1)
    refused("nan", "linear_regression", "loss", params, x * np.nan, t)
    refused("rate", "linear_regression", "fit", params, x, t, learning_rate=-1, steps=2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "p.safetensors")
        column.call("parameters", "save", path, start)
        told("file", dict(sorted(column.call("parameters", "load", path).items())))

for name in os.environ["TRIPTYCH_ASKED"].split():
    column = Column(name)
    ask()
"""
COMPARED = """
import numpy as np
from triptych import assert_agree
from triptych.agreement.measures import DisagreementError, assert_within

try:
    assert_within("x", np.ones(2), np.zeros(2), 0, "ulp")
except DisagreementError as error:
    print(error)
try:
    assert_agree(np.ones(2), numpy=[np.sin, np.cos])
except DisagreementError as error:
    print(type(error).__name__)
"""
HERE = [name for name in COLUMNS if not missing(name)]


def run(code: str, *flags: str, cwd: Path = ROOT, columns: Any = HERE, settings: Any = None) -> str:
    """What a program prints, run by this Python in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TRIPTYCH_ASKED": " ".join(columns)}
    settings = settings or {}
    environment |= {name: value for name, value in settings.items() if value is not None}
    for name in (name for name, value in settings.items() if value is None):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, *flags, "-c", textwrap.dedent(code)],
        cwd=cwd, env=environment, capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def plain() -> str:
    """What the program prints where nothing is odd."""
    found = run(ASKED + COMPARED)
    assert "was not refused" not in found
    assert found.count("\n") == 12 * len(HERE) + 2
    return found


@pytest.mark.parametrize("flag", ["-O", "-OO"])
def test_optimised(plain: str, flag: str) -> None:
    """No check is an `assert`, and nothing reads a docstring to compute."""
    assert run(ASKED + COMPARED, flag) == plain


@pytest.mark.parametrize(
    "settings",
    [
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"HOME": None, "PATH": "", "TZ": "Asia/Tokyo", "USER": None, "LOGNAME": None},
    ],
    ids=["LANG=C", "no HOME, no git"],
)
def test_environment(plain: str, settings: dict[str, str | None]) -> None:
    # what is printed goes through the locale, and the names of the files too
    assert run(ASKED + COMPARED, settings={"PYTHONIOENCODING": "utf-8"} | settings) == plain


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """The packages in a folder with a space and Japanese letters, that nobody may write to."""
    place = tmp_path / "three columns 三つの柱"
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, place / name, ignore=ignored)
    for path in place.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    place.chmod(0o555)
    bound = subprocess.run(["mount", "--bind", place, place], capture_output=True).returncode == 0
    if bound:  # root may write whatever the modes say
        subprocess.run(["mount", "-o", "remount,ro,bind", place], check=True)
    try:
        yield place
    finally:
        if bound:
            subprocess.run(["umount", place], check=True)
        for path in (place, *place.rglob("*")):
            path.chmod(0o755)


def test_read_only_not_installed_where_the_path_is_odd(
    plain: str, elsewhere: Path, tmp_path: Path
) -> None:
    code = "import triptych\nprint(triptych.__file__)\n" + ASKED + COMPARED
    files = tmp_path / "重み 1"
    files.mkdir()
    where, _, found = run(code, cwd=elsewhere, settings={"TMPDIR": str(files)}).partition("\n")
    assert Path(where) == elsewhere / "triptych" / "__init__.py"
    assert found == plain
    assert not [*elsewhere.rglob("__pycache__")]


@pytest.mark.parametrize(
    "words",
    [
        *("claims --column numpy_ref", "read classifier", "read", "compare --concept gradients"),
        *("run gradients --column numpy_ref", "train --steps 5 --reproducible", "--help"),
    ],
)
def test_commands_where_only_ascii_can_be_printed(words: str) -> None:
    settings = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "HOME": "", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-OO", "-m", "triptych", *words.split()],
        cwd=ROOT, env=os.environ | settings, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.isascii()


# Settings of the user's own: what to do before, and afterwards

SETTINGS: dict[str, list[tuple[str, str]]] = {
    "numpy_ref": [
        ("old = np.seterr(all='raise')", "np.seterr(**old)"),
        ("np.set_printoptions(precision=1, threshold=1)", ""),
    ],
    "torch_impl": [
        ("torch.set_default_dtype(torch.float64)", "torch.set_default_dtype(torch.float32)"),
        ("torch.set_default_device('meta')", "torch.set_default_device(None)"),
        ("torch.use_deterministic_algorithms(True)", "torch.use_deterministic_algorithms(False)"),
        ("torch.autograd.set_detect_anomaly(True)", "torch.autograd.set_detect_anomaly(False)"),
        ("torch.set_num_threads(2)", "torch.set_num_threads(1)"),
    ],
    "jax_impl": [
        ("jax.config.update('jax_debug_nans', True)", "jax.config.update('jax_debug_nans', False)"),
        ("jax.config.update('jax_check_tracer_leaks', True)", ""),
        ("jax.config.update('jax_transfer_guard', 'log')", ""),
    ],
}


@pytest.mark.parametrize("column", COLUMNS)
def test_settings(plain: str, column: str) -> None:
    if reason := missing(column):
        pytest.skip(reason)
    framework = FRAMEWORKS[column]
    code = ASKED.replace("    ask()", "    pass") + f"\nimport {framework}\n"
    for before, after in SETTINGS[column]:
        code += f"{before}\nask()\n{after}\n"
    found = run(code, columns=[column])
    lines = "".join(line for line in plain.splitlines(True) if line.startswith(f"{column} "))
    assert found == lines * len(SETTINGS[column])


@pytest.mark.parametrize(
    ("column", "settings", "error"),
    [
        ("torch_impl", "torch.no_grad()", "RuntimeError"),
        ("torch_impl", "torch.inference_mode()", "RuntimeError"),
        ("jax_impl", "jax.numpy_dtype_promotion('strict')", "TypePromotionError"),
        ("jax_impl", "jax.numpy_rank_promotion('raise')", "ValueError"),
    ],
)
def test_what_forbids_what_a_column_does_is_the_frameworks_own_error(
    column: str, settings: str, error: str
) -> None:
    """No recording, no sum of two dtypes, no bias beside rows: an error, no other value."""
    if reason := missing(column):
        pytest.skip(reason)
    found = run(f"""
        import {FRAMEWORKS[column]}, numpy as np
        from triptych import data
        from triptych.column import Column

        column = Column({column!r})
        (rows, labels), _ = data.diabetes(dtype="float32")
        given = data.classifier_start(dtype="float32"), rows, labels, data.batches(64, 32, 1)
        with {settings}:
            try:
                column.call(
                    "classifier", "fit", *given, optimizer="adam", learning_rate=0.01
                )
            except Exception as error:
                print(type(error).__name__)
    """)
    assert found == f"{error}\n"


def test_jax_without_jit_has_the_values_though_other_bits() -> None:
    """`disable_jit` takes apart what XLA puts together."""
    pytest.importorskip("jax")
    found = run("""
        import jax, numpy as np
        from triptych import data
        from triptych.column import Column

        column = Column("jax_impl")
        (rows, labels), _ = data.diabetes(dtype="float32")
        given = data.classifier_start(dtype="float32"), rows, labels, data.batches(64, 32, 1)
        settings = {"optimizer": "adam", "learning_rate": 0.01}
        _, plain = column.call("classifier", "fit", *given, **settings)
        with jax.disable_jit():
            _, apart = column.call("classifier", "fit", *given, **settings)
        print(np.allclose(plain, apart, rtol=1e-5))
    """)
    assert found == "True\n"


def test_x64_switched_midway() -> None:
    """What was compiled for float32 is not used for float64, nor the other way round."""
    pytest.importorskip("jax")
    found = run("""
        import jax, numpy as np
        from triptych import data
        import jax_impl
        from jax_impl import linear_regression

        def fit(dtype):
            params, x, t = (jax_impl.from_numpy(v) for v in data.line(dtype=dtype))
            after, losses = linear_regression.fit(params, x, t, learning_rate=0.1, steps=20)
            return str(losses.dtype), float(losses[-1])

        first = fit("float32")
        jax.config.update("jax_enable_x64", True)
        assert fit("float32") == first, "float32 under x64"
        wide = fit("float64")
        assert wide[0] == "float64"
        assert wide[1] != first[1]
        jax.config.update("jax_enable_x64", False)
        assert fit("float32") == first, "float32 afterwards"
        try:
            fit("float64")
        except ValueError as error:
            print("x64" in str(error))
    """)
    assert found == "True\n"


# Several at a time

TOGETHER = """
import numpy as np
from triptych import data
from triptych.column import Column

def fit(name, seed=0):
    column = Column(name)
    (rows, labels), _ = data.diabetes(seed, dtype="float32")
    given = data.classifier_start(seed, dtype="float32"), rows, labels, data.batches(64, 32, 2)
    after, losses = column.call(
        "classifier", "fit", *given, optimizer="adam", learning_rate=0.01
    )
    return [losses.tobytes(), *(after[name].tobytes() for name in sorted(after))]
"""


@pytest.mark.parametrize("column", COLUMNS)
def test_threads_and_asyncio(column: str) -> None:
    if reason := missing(column):
        pytest.skip(reason)
    found = run(f"""{TOGETHER}
import asyncio
from concurrent.futures import ThreadPoolExecutor

alone = [fit({column!r}, seed) for seed in range(4)]
with ThreadPoolExecutor(4) as pool:
    print([*pool.map(lambda seed: fit({column!r}, seed), [0, 1, 2, 3] * 3)] == alone * 3)

async def together():
    return await asyncio.gather(*(asyncio.to_thread(fit, {column!r}, s) for s in range(4)))

print(asyncio.run(together()) == alone)
""")
    assert found == "True\nTrue\n"


@pytest.mark.parametrize(
    ("method", "column"), [*(("fork", name) for name in COLUMNS), ("spawn", "jax_impl")]
)
def test_processes(tmp_path: Path, column: str, method: str) -> None:
    """A fork before the framework has started; JAX's own threads forbid one afterwards."""
    if reason := missing(column):
        pytest.skip(reason)
    program = tmp_path / "program.py"
    program.write_text(f"""import sys
sys.path.insert(0, {str(ROOT)!r})
{TOGETHER}
if __name__ == "__main__":
    import multiprocessing
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        found = pool.map(fit, [{column!r}] * 2)
    print(found == [fit({column!r})] * 2)
""")
    assert run(f"import runpy; runpy.run_path({str(program)!r}, run_name='__main__')") == "True\n"


# The tests themselves

ORDER = """
import random

def pytest_collection_modifyitems(config, items):
    if {seed}:
        random.Random({seed}).shuffle(items)
    else:
        items.reverse()
"""
QUICK = ("test_gradients", "test_linear_regression", "test_boundary", "test_control_flow")


@pytest.mark.parametrize("seed", [0, 1], ids=["reversed", "random"])
def test_in_another_order(tmp_path: Path, seed: int) -> None:
    (tmp_path / "another_order.py").write_text(ORDER.format(seed=seed))
    files = [f"tests/columns/{name}.py" for name in QUICK]
    files += ["tests/glue/test_agreement.py", "tests/glue/test_data.py", "tests/glue/test_trees.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "another_order", "-k", "not jax_impl",
         "-p", "no:cacheprovider", *files],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
