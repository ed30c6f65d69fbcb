"""What `triptych run` prints: the documents' numbers, and the same bytes in every column."""

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from triptych import run
from triptych.data import DOCUMENTS
from triptych.names import CONCEPTS, DISPLAY_NAMES, UnknownNameError
from triptych.source.parse import load_column

ROOT = Path(__file__).parents[2]
SAME = ("gradients", "linear_layer", "linear_regression", "classifier")
# JAX, not compiled, compiles each operation by itself, which takes seconds
EACH = [pytest.param(c, marks=pytest.mark.slow if c == "execution" else ()) for c in CONCEPTS]


@cache
def printed(concept: str, column: str, dtype: str = "float64") -> tuple[str, ...]:
    lines: list[str] = []
    run.run(concept, column, dtype=dtype, write=lines.append)
    return tuple(lines)


def unmarked(lines: Sequence[str]) -> list[str]:
    marks = tuple(f"{name} |" for name in DISPLAY_NAMES.values())
    return [line for line in lines if not line.startswith(marks)]


def marked(lines: Sequence[str], column: str) -> str:
    """A column's own lines, joined again where they were broken."""
    mark = f"{DISPLAY_NAMES[column]} | "
    return " ".join(" ".join(line.removeprefix(mark) for line in lines if mark in line).split())


def assert_same(pages: dict[str, list[str]]) -> None:
    first = pages["numpy_ref"]
    for column, page in pages.items():
        for ours, theirs in zip(page, first, strict=True):
            assert ours == theirs, column


@pytest.mark.parametrize("concept", SAME)
def test_the_columns_print_the_same_bytes(columns: Any, concept: str) -> None:
    assert_same({column.name: list(printed(concept, column.name)) for column in columns})


@pytest.mark.parametrize("concept", EACH)
def test_lines_without_a_mark_are_the_same(columns: Any, concept: str) -> None:
    assert_same({column.name: unmarked(printed(concept, column.name)) for column in columns})


def test_in_float32_too(columns: Any) -> None:
    pages = {column.name: printed("linear_layer", column.name, "float32") for column in columns}
    assert_same({column: unmarked(page) for column, page in pages.items()})


@pytest.mark.parametrize("concept", EACH)
def test_a_mark_is_the_name_of_the_own_column(columns: Any, concept: str) -> None:
    for column in columns:
        lines = printed(concept, column.name)
        own = [line for line in lines if line.startswith(f"{DISPLAY_NAMES[column.name]} |")]
        assert len(own) + len(unmarked(lines)) == len(lines)
        assert bool(own) == (concept not in SAME)


@pytest.mark.parametrize("concept", EACH)
def test_lines_fit_and_begin_with_what_it_is(columns: Any, concept: str) -> None:
    for column in columns:
        lines = printed(concept, column.name)
        assert max(map(len, lines)) <= run.WIDTH
        assert not [line for line in lines if line != line.rstrip() or "\n" in line]
        assert " ".join(lines[:2]).startswith(load_column("numpy_ref", concept).summary)
        assert "nan" not in " ".join(lines)


# Texts of documents.md, and what really comes out where they err
LITERAL = {
    "tensor_basics": [
        "  3.0                                  0           ()",
        "  [[1, 2, 3], [4, 5, 6]]                               2     (2, 3)\n",
        "[2, 3] + [1, 4] = [3, 7]",
        "[2, 3] * [1, 4] = [2, 12]",
        "dot([2, 3], [1, 4]) = 14",
    ],
    "gradients": [
        "y = 11.0\n  dy/dx = 2x + 3 = 7.0",
        "dy/dx = 2.0, dy/dw = 1.0, dy/db = 1.0",
        "dy/da = 4.0, dy/db = 3.0",
        "= 1.0*4.0 + 1.0*3.0 = 7.0",
        "dy/dx = 3x**2 = 12.0",
        "dy/dx = dy/da * da/dx = 10.0*2.0 = 20.0",
        "y = 16.0\n  dy/dx = 2x + 2 = 8.0",
        "c = 6.0, d = 8.0\n  dd/dc = 1.0, dd/db = 2.0\n  dd/da = b + 1 = 4.0",
        "x + 1 makes y + 24 (the document prints 20)",
        "b + 1 makes y + 11 (the document prints 10)",
        "w + 1 makes y + 5\n  b + 1 makes y + 1",
    ],
    "mechanics": [
        "pass 1               2.0     1.0     1.0\n  pass 2               4.0     2.0     2.0",
        "zero_(): leaves [0.0, 0.0, 0.0], then [2.0, 1.0, 1.0]",
        "= None: leaves [None, None, None], then [2.0, 1.0, 1.0]",
        "with reset: [2.0, 2.0, 2.0]\n  without: [2.0, 4.0, 6.0]",
        "retain_graph=True: x.grad = 14.0",
        "dw = 1, db = 1: dy = 6.0",
    ],
    "recording": [
        "x = True, w = True, b = True, y = False",
        "dy/dw = 5.0, dy/db = 1.0",
        "x = 1.3, recorded: False",
        "with recording: output (5, 1), tracked: True",
        "without (no_grad): output (5, 1), tracked: False",
    ],
    "linear_layer": [
        "output = 0.42, loss = 0.3364",
        "weight.grad = [[-0.116, -0.232, -0.348]], bias.grad = [-1.16]",
        "weight = [[0.40116, 0.50232, 0.60348]], bias = [0.1116]",
        "  0      0.4200  3.364e-01\n",
        "  2      0.4461  3.068e-01  (the document prints loss 3.067e-01)\n",
        "  499   0.99999  3.391e-11\n  999   1.00000  3.264e-21\n",
        "the loss is still 2e-12",
        "weight = [[0.450877, 0.601754, 0.752632]], bias = [0.608772]",
        "1.0000 1.0000 1.0000 1.0000 1.0000 1.0000 1.0000 1.0000 1.0000 1.0000",
        "(the document prints 1.0 for any):\n    [0.0, 0.0, 0.0]: 0.6088",
        "[0.3, 0.2, 0.1]: 0.9396\n    [1.0, 1.0, 1.0]: 2.4140",
        "0.01    0.97720",
    ],
    "linear_regression": [
        "loss = 27.6667, dloss/dw = -22.6667, dloss/db = -10.0000",
        "0      27.6667  2.27  1.00  (the document prints loss 22.6667, w 1.87, b 0.70)",
        "10      0.0009  2.03  0.92  (the document prints loss 0.0570, w 2.01, b 0.95)",
        "20      0.0005  2.03  0.94  (the document prints loss 0.0023, w 2.00, b 0.99)",
        "90      0.0000  2.00  0.99  (the document prints b 1.00)",
        "w = 1.745, b = 0.579, loss 0.0484",
        'the document says that it "learns y = 2x"',
        "after 1787 epochs",
    ],
    "classifier": [
        "(1, 4)  (1, 16)  (1, 16)  (1, 8)  (1, 8)  (1, 3)",
        "80 + 136 + 27 = 243 (the document prints 299)",
        "logits [0.241, -0.089, 0.510]: P = [0.3303, 0.2375, 0.4322]",
        "P = [0.1000, 0.3000, 0.6000]\n    class 2, high risk",
        'the document says that "parameters are updated by backpropagation"',
        "no medical advice",
    ],
    "optimizers": ["w = 2.2667, b = 1.0000", "w = 0.1000, b = 0.1000"],
    "parameters": [
        "fc1.weight     (16, 4)       64",
        "in all: 243 (the document prints 299)",
        "  SimpleNet(\n    (fc1): Linear(in_features=4, out_features=16, bias=True)\n",
        "identical outputs: True",
    ],
    "control_flow": [
        "define-by-run: 7.0",
        "define-then-run: [7.0]",
        "x = -3: y = 3.0, dy/dx = -1.0",
        "as Python runs it: y = 8.0, dy/dx = 12.0",
    ],
    "execution": ["as_written: loss 1.1538 -> 1.0429"],
}


@pytest.mark.parametrize("concept", CONCEPTS)
def test_the_documents_numbers_are_there(concept: str) -> None:
    page = "\n".join(unmarked(printed(concept, "numpy_ref")))
    for text in LITERAL[concept]:
        assert text in page, text


OWN = {
    "numpy_ref": {
        "tensor_basics": ["3.0 has dtype float64 1 has dtype int64"],
        "mechanics": ["14.0 What the backward pass needs"],
        "recording": ["KeyError: 'x'", "add <- multiply", "x = 1.3, and dy/dx once more: 5.6"],
        "control_flow": ["RuntimeError: NumPy has no compiler"],
    },
    "torch_impl": {
        "tensor_basics": ["3.0 has dtype float32 1 has dtype int64", "ValueError: tensor: data"],
        "mechanics": [
            "RuntimeError: grad can be implicitly created only for scalar outputs",
            "RuntimeError: Trying to backward through the graph a second time",
        ],
        "recording": [
            "RuntimeError: element 0 of tensors does not require grad",
            "AddBackward0 <- MulBackward0",
            "y prints as tensor(11., dtype=torch.float64, grad_fn=<AddBackward0>)",
            "RuntimeError: a leaf Variable that requires grad is being used in an in-place",
        ],
        "control_flow": ["torch.ops.aten.pow", "Unsupported: Data-dependent"],
    },
    "jax_impl": {
        "tensor_basics": [
            "1 has dtype int32 1 has dtype int64, with x64 on",
            "ValueError: from_host: array must have a dtype that JAX keeps",
        ],
        "mechanics": ["TypeError: Gradient only defined for scalar-output functions", "14.0 The"],
        "recording": ["x.grad = 0.0", "add <- mul", "TypeError: JAX arrays are immutable"],
        "control_flow": ["integer_pow[y=2]", "TracerBoolConversionError: "],
    },
}


@pytest.mark.parametrize("concept", OWN["torch_impl"])
def test_what_is_a_columns_own(column: Any, concept: str) -> None:
    lines = marked(printed(concept, column.name), column.name)
    for text in OWN[column.name][concept]:
        assert text in lines, text


def test_the_loop_in_float32_stalls_each_in_its_own_way(columns: Any) -> None:
    for column in columns:
        lines = marked(printed("linear_layer", column.name, "float32"), column.name)
        assert "(the document prints loss 3.264e-21)" in lines
        assert "3.264e-21 (the" not in lines


# By itself


def test_it_prints_to_the_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    run.run("gradients", "numpy_ref")
    assert capsys.readouterr().out == "\n".join(printed("gradients", "numpy_ref")) + "\n"


@pytest.mark.parametrize("concept", CONCEPTS)
def test_main_knows_the_concept_by_its_file(
    concept: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run.main(str(ROOT / "numpy_ref" / f"{concept}.py"), [])
    assert capsys.readouterr().out == "\n".join(printed(concept, "numpy_ref")) + "\n"


def test_main_takes_a_dtype(capsys: pytest.CaptureFixture[str]) -> None:
    run.main("numpy_ref/linear_layer.py", ["--dtype", "float32"])
    assert "NumPy | 999" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--speed", "9"], r"[--dtype {float64,float32}]"),
        (["--dtype", "int8"], "choose from"),
        (["--device", "tpu"], "device must be 'cpu' on this machine, got 'tpu'"),
    ],
)
def test_a_wrong_option_says_what_there_is(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run.main("numpy_ref/gradients.py", arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


NUMPY_ALONE = """
import runpy, sys
sys.modules |= dict.fromkeys(["torch", "jax", "jaxlib"])
sys.argv[1:] = []
runpy.run_module("numpy_ref.linear_regression", run_name="__main__", alter_sys=True)
"""


def test_a_column_runs_by_itself_without_the_other_frameworks() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NUMPY_ALONE], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "\n".join(printed("linear_regression", "numpy_ref")) + "\n"


def test_a_module_runs_with_options(columns: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"{columns[2].name}.gradients", "--dtype", "float32"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "\n".join(printed("gradients", "numpy_ref", "float32")) + "\n"


@pytest.mark.parametrize("buffered", ["", "1"])
def test_nobody_reads_on(buffered: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "numpy_ref.mechanics"],
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": buffered},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_a_column_is_imported_when_it_is_asked_for() -> None:
    code = (
        "import sys, triptych.run\n"
        "names = {'torch', 'jax', 'jaxlib', 'numpy_ref', 'torch_impl', 'jax_impl'}\n"
        "print(names & {m.partition('.')[0] for m in sys.modules})\n"
        "triptych.run.run('gradients', 'numpy_ref', write=lambda line: None)\n"
        "print(names & {m.partition('.')[0] for m in sys.modules})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n{'numpy_ref'}\n"


# Names that do not exist


def test_every_concept_can_run() -> None:
    assert tuple(LITERAL) == tuple(run._PRINTERS)
    assert set(run._PRINTERS) == set(CONCEPTS)
    assert {key for keys, _ in run._PRINTERS.values() for key in keys} == set(DOCUMENTS)


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="no concept 'gradient'; did you mean gradients"):
        run.run("gradient", "numpy_ref")
    with pytest.raises(UnknownNameError, match="no column 'numpy'; did you mean numpy_ref"):
        run.run("gradients", "numpy")


def test_an_unknown_dtype_or_device_is_refused() -> None:
    with pytest.raises(ValueError, match="dtype must be 'float64' or 'float32', got 'int8'"):
        run.run("gradients", "numpy_ref", dtype="int8")
    with pytest.raises(ValueError, match="device must be 'cpu'"):
        run.run("gradients", "numpy_ref", device="cuda")


@pytest.mark.parametrize("concept", CONCEPTS)
def test_the_headings_name_the_documents(concept: str) -> None:
    lines = printed(concept, "numpy_ref")
    headings = [line for above, line in pairwise(lines) if not above]
    found = {key for line in headings for key in line.partition(":")[0] if key in DOCUMENTS}
    assert found == set(run._PRINTERS[concept][0])
