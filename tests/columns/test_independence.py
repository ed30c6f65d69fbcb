"""Each column works where the other frameworks cannot be imported; numpy_ref is light."""

import subprocess
import sys
from typing import Any

import pytest

# imports every concept and runs a function of most, where importing the other frameworks raises
PROBE = """
import importlib, sys, tempfile
sys.modules |= dict.fromkeys({blocked!r})
import numpy as np
from triptych import data
from triptych.column import Column
from triptych.names import CONCEPTS
column = Column({column!r})
for concept in CONCEPTS:
    getattr(column, concept)
one = lambda v: np.array(v, np.float32)
start = data.classifier_start(dtype="float32")
x, t, rows = np.ones((4, 4), np.float32), np.array([0, 1, 2, 0]), np.array([[0, 1], [2, 3]])
line, layer = data.line(dtype="float32"), data.layer(dtype="float32")
print(column.call("tensor_basics", "dot", one([2, 3]), one([1, 4])))
print(column.call("gradients", "quadratic", one(2))[1]["x"])
print(column.call("mechanics", "paths", one(1))["both"])
print(column.call("recording", "leaves", one(1), one(2), one(1)))
print(column.call("control_flow", "define_by_run", one(2)))
print(column.call("linear_layer", "fit", *layer, learning_rate=0.01, steps=2)[1].shape)
print(column.call("linear_regression", "fit", *line, learning_rate=0.1, steps=2)[1].shape)
fit = column.call("classifier", "fit", start, x, t, rows, optimizer="adam", learning_rate=0.1)
print(fit[1].shape)
print(column.call("optimizers", "sgd_step", start, start, learning_rate=0.1).keys())
with tempfile.TemporaryDirectory() as folder:
    column.call("parameters", "save", folder + "/p", start)
    print(column.call("parameters", "load", folder + "/p").keys())
print(column.call("execution", "as_written", start, x, t, rows, learning_rate=0.1)[1].shape)
print(sorted(m for m in {others!r} if sys.modules.get(m) is not None))
"""


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow_in("torch_impl")
@pytest.mark.slow_in("jax_impl")
def test_a_column_needs_no_other_framework(column: Any) -> None:
    own = {"numpy_ref": None, "torch_impl": "torch", "jax_impl": "jax"}[column.name]
    frameworks = [name for name in ("torch", "jax", "jaxlib") if name[:3] != (own or "none")[:3]]
    others = [c for c in ("numpy_ref", "torch_impl", "jax_impl") if c != column.name]
    code = PROBE.format(blocked=frameworks, column=column.name, others=others + frameworks)
    lines = run(code).splitlines()
    assert [float(lines[i]) for i in (0, 1, 2, 4)] == [14, 7, 7, 7]
    assert lines[-1] == "[]"


def test_numpy_ref_imports_neither_torch_nor_jax() -> None:
    code = (
        "import sys, importlib\n"
        "from triptych.names import CONCEPTS\n"
        "for c in CONCEPTS:\n"
        "    importlib.import_module('numpy_ref.' + c)\n"
        "print({m.partition('.')[0] for m in sys.modules} & {'torch', 'jax', 'jaxlib', 'rich'})\n"
    )
    assert run(code).strip() == "set()"


@pytest.mark.parametrize("module", ["triptych", "triptych.__main__", "triptych.checks"])
def test_the_glue_imports_no_framework(module: str) -> None:
    code = (
        f"import sys, {module}\n"
        "print({m.partition('.')[0] for m in sys.modules} & {'torch', 'jax', 'jaxlib'})\n"
    )
    assert run(code).strip() == "set()"


@pytest.mark.slow
def test_collection_survives_a_missing_framework() -> None:
    code = (
        "import sys; sys.modules |= dict.fromkeys(['torch', 'jax', 'jaxlib'])\n"
        "import importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda n, *a: None if n in ('torch', 'jax') else real(n, *a)\n"
        "import pytest\n"
        "some = [f'tests/columns/test_{name}.py' for name in ('gradients', 'linear_regression')]\n"
        "sys.exit(pytest.main(['-q', '-rs', '-p', 'no:cacheprovider', *some, *sys.argv[1:]]))\n"
    )
    for extra, status, words in (
        ([], 0, "torch is not installed"),
        (["--require-all"], 1, "jax is not installed"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *extra], capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert words in done.stdout
