"""The tool that plants mistakes: it makes them, and it can tell a test that notices from none."""

import os
import random
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from shutil import copytree, ignore_patterns

import mutants
import planted
import pytest

WEAK_TEST = """
import numpy as np
import pytest

@pytest.fixture
def optimizers():
    import numpy_ref.optimizers
    return numpy_ref.optimizers

def test_against_the_gradient(optimizers) -> None:
    p = optimizers.sgd_step({"w": np.array(1.0)}, {"w": np.array(2.0)}, learning_rate=0.5)
    assert p["w"] == 0

def test_start(optimizers) -> None:
    assert optimizers.adam_start({"w": np.array(1.0)}).keys() == {"step", "m", "v"}

def test_that_fails_anyway(optimizers) -> None:
    assert optimizers.sgd_step({}, {}, learning_rate=0.5) == 1
"""


def everything() -> tuple[mutants.Mutant, ...]:
    return mutants.mutants(mutants.ROOT)


def test_there_are_enough_of_each_column_and_file() -> None:
    files = Counter(mutant.path for mutant in everything())
    columns = Counter(mutant.column for mutant in everything())
    assert columns.total() >= 200
    assert min(columns[column] for column in mutants.COLUMNS) >= 67
    assert files.keys() == set(mutants.concept_files(mutants.ROOT))


def test_the_mistakes_that_people_make_are_among_them() -> None:
    found = Counter((mutant.column, mutant.kind) for mutant in everything())
    for column in mutants.COLUMNS:
        for kind in (
            *("sign", "transposed operand", "constant", "wrong function", "dropped gradient"),
            *("off by one", "epsilon inside the root", "bias correction", "swapped arguments"),
        ):
            assert found[column, kind], f"{column} has no mutant of the kind {kind!r}"
    names = {mutant.name for mutant in everything()}
    assert {
        "numpy_ref/classifier.py loss_and_grads, comparison: d_z1 = d_h1 * (z1 >= 0)",
        "numpy_ref/classifier.py loss_and_grads, dropped gradient: d_b1 = 0 * (ones @ d_z1)",
        "numpy_ref/linear_layer.py loss_and_grads, missing 1/n: d_r = (2 * r)",
        "torch_impl/classifier.py fit, off by one: for rows in batches[1:]:",
        "jax_impl/linear_layer.py mse_loss, wrong function: return jnp.sum((y - t) ** 2)",
        "jax_impl/mechanics.py stop_gradient, stop gradient: c = (x)",
    } <= names


def test_no_pattern_is_idle() -> None:
    """Every row of the table finds its place in some column: a renamed variable would starve it."""
    sources = "".join(
        (mutants.ROOT / path).read_text() for path in mutants.concept_files(mutants.ROOT)
    )
    lines = [line.split("#")[0].rstrip() for line in sources.splitlines()]
    for rows in (mutants.MISTAKES, *mutants.OF_ONE_COLUMN.values()):
        for kind, pattern, _ in rows:
            if kind != "wrong function":
                found = any(re.search(pattern, line) for line in lines)
                assert found, f"{kind}: {pattern}"


def test_each_changes_one_line() -> None:
    assert set(Counter(mutant.name for mutant in everything()).values()) == {1}
    assert set(Counter((m.path, m.source) for m in everything()).values()) == {1}
    for mutant in everything():
        before = (mutants.ROOT / mutant.path).read_text(encoding="utf-8").splitlines()
        pairs = zip(before, mutant.source.splitlines(), strict=True)
        assert [i for i, (a, b) in enumerate(pairs, 1) if a != b] == [mutant.line], mutant.name


def test_texts_and_messages_are_left_alone() -> None:
    quiet = ('"""', "raise ", "f'", 'f"', "#")
    for mutant in everything():
        assert not mutant.old.startswith(quiet), mutant.name


def test_what_is_listed_exists_once() -> None:
    text = (mutants.ROOT / "tests" / "mutation" / "survivors.toml").read_text(encoding="utf-8")
    listed = Counter(name for group in tomllib.loads(text)["group"] for name in group["names"])
    gone = listed.keys() - {mutant.name for mutant in everything()}
    assert not gone, "a line has changed: give the mutant its new name, if it still survives"
    assert max(listed.values(), default=1) == 1
    assert listed.keys() == mutants.explained(mutants.ROOT).keys()


def test_who_is_concerned() -> None:
    reached = mutants.reached_from(mutants.ROOT)
    assert "torch_impl.classifier.fit" in reached["torch_impl.classifier.SimpleNet"]
    assert "jax_impl.execution.compiled_loop" in reached["jax_impl.optimizers.sgd_step"]
    assert "numpy_ref.recording.infer" in reached["numpy_ref.recording.RULES"]
    assert "jax_impl.classifier.logits" not in reached["jax_impl.classifier.loss"]


def test_a_sample_can_be_drawn_again(capsys: pytest.CaptureFixture[str]) -> None:
    def drawn(seed: str) -> str:
        assert mutants.main(["--list", "--sample", "5", "--seed", seed]) == 0
        return capsys.readouterr().out

    assert drawn("1") == drawn("1") != drawn("2")
    assert drawn("1").count("\n") == 1 + 5


def test_nothing_to_do_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        mutants.main(["--match", "no such name"])
    assert "no mutant matches 'no such name'" in capsys.readouterr().err


def test_what_is_planted_by_hand_has_its_place_and_its_tests() -> None:
    every = planted.by_hand() + planted.by_operator()
    kinds = Counter(mistake.kind for mistake in every)
    assert kinds.keys() >= {"bounds", "exit status", "square sizes", "captures", "draws", "NaN"}
    assert {kind for kind, *_ in planted.OPERATORS} <= kinds.keys()
    assert {file for _, file, *_ in planted.OPERATORS} <= {m.file for m in planted.by_operator()}
    for mistake in every:
        compile(mistake.source, mistake.file, "exec")
        for test in mistake.tests:
            file, _, name = test.partition("::")
            path = planted.ROOT / file
            assert path.exists(), test
            assert not name or f"def {name}(" in path.read_text(encoding="utf-8"), test


@pytest.mark.slow
def test_planted_by_hand_and_noticed_or_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert planted.main(["--match", "draws, triptych/data.py", "--sample", "1"]) == 0
    assert "1 planted, 1 caught" in capsys.readouterr().out
    (some,) = random.Random(0).sample(planted.by_hand(), 1)
    text = (planted.ROOT / some.file).read_text(encoding="utf-8")
    none = some._replace(source=text, tests=["tests/glue/test_agreement.py"], why="")
    monkeypatch.setattr(planted, "by_hand", lambda: [none])
    assert planted.main(["--match", none.planted]) == 1
    assert "SURVIVED" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_killed_alive_listed_and_untouched(tmp_path: Path) -> None:
    for package in ("numpy_ref", "triptych"):
        copytree(mutants.ROOT / package, tmp_path / package, ignore=ignore_patterns("__pycache__"))
    for path in mutants.concept_files(tmp_path):
        if not path.endswith("optimizers.py"):  # others have steps and an epsilon too
            (tmp_path / path).unlink()
    for folder in ("columns", "mutation"):
        (tmp_path / "tests" / folder).mkdir(parents=True)
    (tmp_path / "tests" / "columns" / "test_optimizers.py").write_text(WEAK_TEST)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.py")}

    def run(match: str) -> subprocess.CompletedProcess[str]:
        """In a process of its own: it forks, which is not for a process where JAX has started."""
        command = [sys.executable, "tests/mutation/mutants.py", "--jobs", "1", "--match", match]
        command += ["--root", str(tmp_path)]
        return subprocess.run(command, cwd=mutants.ROOT, capture_output=True, text=True)

    # no test calls adam_step
    done = run("step, sign")
    assert "    tests/columns/test_optimizers.py::test_that_fails_anyway" in done.stdout, (
        done.stderr
    )
    mutant = "p + learning_rate * grads[name] for name, p in params.items()}"
    killer = "killed by tests/columns/test_optimizers.py::test_against_the_gradient"
    assert f"{mutant}\n    {killer}" in done.stdout
    assert "survived: numpy_ref/optimizers.py:" in done.stdout
    assert done.returncode == 1

    done = run("sgd_step, sign")
    assert "1 of     1 killed" in done.stdout
    assert done.returncode == 0, done.stdout + done.stderr

    survivor = "numpy_ref/optimizers.py adam_step, epsilon forgotten"
    alive = next(m.name for m in everything() if m.name.startswith(survivor))
    killed = f"numpy_ref/optimizers.py sgd_step, sign: return {{name: {mutant}"
    listing = tmp_path / "tests" / "mutation" / "survivors.toml"
    listing.write_text(f"[[group]]\nwhy = 'no test calls it'\nnames = ['''{alive}''']")
    done = run("epsilon forgotten")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 of     1 killed,   1 explained,   0 not" in done.stdout

    listing.write_text(f"[[group]]\nwhy = 'wrong'\nnames = ['''{killed}''', 'long gone']")
    done = run("sgd_step, sign")
    assert "listed, but there is no such mutant: long gone" in done.stdout
    assert f"listed, but {killer}: {killed}" in done.stdout
    assert done.returncode == 1
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.py")}
