"""exercises/: each file fails as it stands, passes solved, and refuses what is right by luck."""

import ast
import importlib
import runpy
import sys
from difflib import unified_diff
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from triptych.exercise import case, complaint

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "_ext"))
solutions: Any = importlib.import_module("solutions")  # the pages' own module solves them

pytest.importorskip("torch")
pytest.importorskip("jax")

EXERCISES = {exercise.name: exercise for exercise in solutions.exercises()}
OWN = "...  # your line"
WRONG = {
    "line_backward": [
        (f"d_w = {OWN}", "d_w = np.mean(d_y * x)", "['w']"),
        (f"d_w = {OWN}", "d_w = np.sum(d_y) * np.mean(x)", "['w']"),
    ],
    "layer_backward": [
        # of a square matrix the shape is right
        (f"d_weight = {OWN}", "d_weight = x.T @ d_y", "['weight']"),
        # right for one sample
        (f"d_weight = {OWN}", "d_weight = np.outer(d_y[0], x[0])", "The call before is right."),
        (f"d_weight = {OWN}", "d_weight = d_y @ x", "ValueError in line 25: matmul"),
    ],
    "broadcast_backward": [
        # right for one row
        (f"d_bias = {OWN}", "d_bias = d_y[0]", "The call before is right."),
        (f"d_bias = {OWN}", "d_bias = d_y.mean(axis=0)", "The call before is right."),
        # as many rows as outputs: the shape is right
        (f"d_bias = {OWN}", "d_bias = d_y.sum(axis=1)", "shape (1,) is not (3,)"),
        (f"d_bias = {OWN}", "d_bias = d_y", "shape (1, 3) is not (3,)"),
    ],
    "cross_entropy_backward": [
        ("...  # your line: it changes d_z", "d_z -= 1", "the second result: yours is -"),
        # right where the classes are 0, 1, 2
        ("...  # your line: it changes d_z", "d_z -= np.eye(*d_z.shape)", "In call 1 of 3"),
        # right for one row
        ("...  # your line: it changes d_z", "d_z[rows, t] -= 1 / n", "The call before is right."),
        ("...  # your line: it changes d_z", "d_z[:, t] -= 1", "The call before is right."),
    ],
    "adam_step": [
        (f"{OWN}\n    seen2 = {OWN}", "1 - beta1\n    seen2 = 1 - beta2", "The call before is"),
        (f"{OWN}\n    seen2 = {OWN}", "1.0\n    seen2 = 1.0", "the first result['weight']"),
    ],
    "forgotten_reset": [
        # once, before the loop
        (
            "    losses = []\n",
            "    losses = []\n    for p in params.values():\n        p.grad = None\n",
            "The call before is right.",
        ),
        # after `backward`: nothing is left to step along
        (
            "        value.backward()\n",
            "        value.backward()\n        params['b'].grad = None\n",
            "TypeError in line 28",
        ),
    ],
    "evaluation_mode": [
        ("(params | buffers)\n", "(params | buffers)\n    layer.eval()\n", "In call 1 of 3"),
        # the buffers stay, and the output is still the batch's
        ("(x.shape[1],", "(x.shape[1], momentum=0.1 * training,", "the first result: yours"),
    ],
    "stale_rate": [
        # a number that is no argument is a constant, wherever it stands
        ('    rate = SETTINGS["learning_rate"]', '    rate = [*SETTINGS.values()][0]', "In call 2"),
        ('SETTINGS["learning_rate"] = learning_rate', "pass", "In call 1 of 3"),
    ],
    "one_key_twice": [
        ("jax.random.uniform(key, (out,)", "-jax.random.uniform(key, (out,)", "['bias']"),
        (
            "    bound =",
            "    key, _ = jax.random.split(key)\n    bound =",
            "right: the result['weight']",
        ),
    ],
}  # fmt: skip
"""What a learner may try, and a part of what is said to it."""


def ends(text: str, folder: Path) -> int:
    """The exit status of a file of this text, run by itself."""
    path = folder / "exercise.py"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize("name", EXERCISES)
def test_as_it_stands_it_fails_and_helps(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exercise = EXERCISES[name]
    assert ends(exercise.source, tmp_path) == 1
    said = capsys.readouterr().out
    assert said.startswith("Not yet. ")
    assert exercise.hint in said
    if OWN in exercise.source:
        lines = exercise.source.splitlines()
        numbers = [str(n) for n, line in enumerate(lines, start=1) if OWN in line]
        assert f"hole, `...`, in line {' and '.join(numbers)}." in said
    else:
        assert "yours is " in said
        assert "eps off" in said


@pytest.mark.parametrize("name", EXERCISES)
def test_solved_it_passes(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(EXERCISES[name].solved, tmp_path) == 0, capsys.readouterr().out
    assert capsys.readouterr().out.startswith("Right: it agrees with ")


def test_each_has_wrong_solutions() -> None:
    assert WRONG.keys() == EXERCISES.keys()


@pytest.mark.parametrize(
    ("name", "number"), [(name, n) for name, tried in WRONG.items() for n in range(len(tried))]
)
def test_a_wrong_solution_fails(
    name: str, number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new, part = WRONG[name][number]
    source = EXERCISES[name].source
    assert source.count(old) == 1
    assert ends(source.replace(old, new), tmp_path) == 1
    said = capsys.readouterr().out
    assert said.startswith("Not yet. In call ")
    assert part in said, said


@pytest.mark.parametrize("name", [name for name in EXERCISES if name not in solutions.otherwise()])
def test_the_column_has_the_solution_and_nothing_else_differs(name: str) -> None:
    """But for comments, the file is the column's function with its hole or mistake."""
    exercise = EXERCISES[name]
    before, after = (
        ast.unparse(ast.parse(text)).splitlines() for text in (exercise.source, exercise.solved)
    )
    changed = [
        line for line in unified_diff(before, after, n=0) if line[0] == "+" and line[:3] != "+++"
    ]
    assert 1 <= len(changed) <= 2


def test_a_solution_whose_place_is_gone_is_refused() -> None:
    with pytest.raises(ValueError, match="stale_rate: old stands not once"):
        _ = EXERCISES["stale_rate"]._replace(source="").solved


def test_a_call_that_fails_is_said_with_its_line() -> None:
    def logits(params: Any, x: Any) -> Any:
        return x @ params["nothing"]

    from numpy_ref.classifier import logits as column
    from triptych import data

    said = complaint(logits, column, (case(data.classifier_start(), np.zeros((2, 4))),))
    assert "it ends with KeyError in line " in said
    assert "x (2, 4)" in said
