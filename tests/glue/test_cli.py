"""The command line: names that do not exist, pipes, interruptions, exit status."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from triptych.__main__ import _spare, main
from triptych.agreement import exhibits
from triptych.claims.book import claims

ROOT = Path(__file__).parents[2]


def triptych(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "triptych", *words],
        capture_output=True, text=True, check=False, cwd=ROOT, env=os.environ | settings,
    )  # fmt: skip


def test_help_names_every_command() -> None:
    done = triptych("--help")
    assert done.returncode == 0
    for command in ("compare", "read", "run", "claims", "report"):
        assert re.search(rf"^ +{command} ", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["raed"], "no command 'raed'; did you mean read?"),
        (["read", "clasifier"], "no concept 'clasifier'; did you mean classifier?"),
        (["read", "classifier", "lodgits"], "did you mean logits?"),
        (["run", "gradient"], "did you mean gradients?"),
        (["run", "gradients", "--column", "numpyref"], "did you mean numpy_ref?"),
        (["run", "gradients", "--device", "tpu"], "no device 'tpu'; usable here: cpu"),
        (["claims", "B-cuont"], "did you mean B-count"),
        (["claims", "--column", "torchimpl"], "did you mean torch_impl?"),
        (["compare", "--concept", "optimiser"], "did you mean optimizers?"),
        (["compare", "--device", "gpu"], "no device 'gpu'; usable here: cpu"),
    ],
)
def test_wrong_names(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_the_exit_status_is_the_process_own() -> None:
    assert triptych("read", "clasifier").returncode == 2


@pytest.mark.parametrize("words", [["read", "--dim"], ["compare", "--dtype", "int8"]])
def test_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    if words == ["read", "--dim"]:  # an unambiguous beginning of an option is that option
        assert main(words) == 0
    else:
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 2
        assert "usage: triptych" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    ["read classifier", "read", "run gradients --column numpy_ref", "claims --column numpy_ref"],
)
def test_a_closed_pipe_ends_quietly(words: str) -> None:
    done = subprocess.run(
        f"{sys.executable} -m triptych {words} | head -3; exit ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 3


@pytest.mark.slow
def test_the_whole_comparison(columns: list[Any]) -> None:
    done = triptych("compare")
    assert done.returncode == 0, done.stdout
    said = " ".join(done.stdout.split())
    judged = rf"{len(claims())} claims in NumPy, PyTorch, JAX: \d+ hold, \d+ have another"
    assert re.search(judged, said)
    agreed = re.search(r"All columns agree: (\d+) comparisons, \d+ of them equal in", said)
    assert agreed
    assert int(agreed[1]) >= 3 * len(exhibits.EXHIBITS)


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_an_interruption_ends_quietly() -> None:
    # a shell starts background jobs with interruptions ignored
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    # before: interrupted while it is loaded, a framework's library may crash
    loaded = "from triptych import column; [column.Column(c) for c in column.COLUMNS]; print(1)"
    start = f"{listening}; {loaded}; from triptych.__main__ import main; raise SystemExit(main())"
    process = subprocess.Popen(
        [sys.executable, "-uc", start, "compare"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout
    process.stdout.readline()
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    *waiting, last = said.strip().splitlines()
    assert last == "triptych: stopped"
    assert [line for line in waiting if line and not line.endswith(" ...")] == []


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_an_interruption_inside_a_callback_is_not_lost() -> None:
    """Where Python drops the exception: a callback of the garbage collector, such as JAX's."""
    start = textwrap.dedent("""
        import gc, signal, sys
        from triptych.__main__ import _spare, main

        def collected(phase, _):
            if sys.unraisablehook is not sys.__unraisablehook__:  # the command has begun
                gc.callbacks.remove(collected)
                signal.raise_signal(signal.SIGINT)

        signal.signal(signal.SIGINT, signal.default_int_handler)
        gc.callbacks.append(collected)
        raise SystemExit(main(["claims"]))
    """)
    done = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr.strip() == "triptych: stopped"
    assert done.returncode == 130


def test_piped_output_is_plain() -> None:
    for words in (
        ["read", "gradients", "chain"],
        ["claims", "B-count", "--column", "numpy"],
        ["run", "optimizers", "--column", "numpy"],
    ):
        assert "\x1b" not in triptych(*words, COLUMNS="120").stdout


def test_run_prints_every_column(columns: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "linear_regression"]) == 0
    together = capsys.readouterr().out
    assert "NumPy, PyTorch, JAX" in together
    assert main(["run", "linear_regression", "--column", "torch"]) == 0
    alone = capsys.readouterr().out
    assert set(alone.splitlines()) < set(together.splitlines())


def test_a_picture_needs_a_concept_and_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["read", "--svg", str(tmp_path / "x.svg")]) == 2
    assert "--svg needs a concept" in capsys.readouterr().err
    assert main(["read", "optimizers", "--svg", str(tmp_path / "none" / "x.svg")]) == 2
    assert "No such file or directory" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--version"])
    assert re.fullmatch(r"triptych \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_claims_status_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claims", "B-count", "--json", "--column", "numpy_ref"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record["verdict"] == "erratum"
    assert main(["claims", "--errata", "--column", "numpy_ref"]) == 0
    assert "0 hold" in " ".join(capsys.readouterr().out.split())


def test_the_picture_in_the_readme_is_what_the_command_draws(tmp_path: Path) -> None:
    path = tmp_path / "reader.svg"
    words = ["read", "linear_regression", "loss_and_grads", "--code", "--svg"]
    assert main([*words, str(path)]) == 0
    shown = ROOT / "docs" / "reader.svg"
    assert path.read_text(encoding="utf-8") == shown.read_text(encoding="utf-8"), (
        f"run: triptych {' '.join(words)} docs/reader.svg"
    )


def test_without_a_word_it_helps(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    assert "COMMAND" in capsys.readouterr().out


def test_a_pipe_is_told_at_once_what_it_waits_for() -> None:
    done = triptych("compare", "--concept", "gradients")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"triptych compare: \d+ comparisons of three columns ...\n", done.stderr)


@pytest.mark.slow
def test_compiled_programs_are_kept_for_the_next_time(tmp_path: Path) -> None:
    def run(cache: Path) -> subprocess.CompletedProcess[str]:
        settings = {"XDG_CACHE_HOME": str(cache)}
        environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")} | settings
        return subprocess.run(
            [sys.executable, "-m", "triptych", "run", "gradients", "--column", "jax"],
            capture_output=True, text=True, cwd=ROOT, env=environment,
        )  # fmt: skip

    first = run(tmp_path)
    programs = {p: p.stat().st_mtime_ns for p in tmp_path.glob("triptych/jax-*/*-cache")}
    assert programs
    second = run(tmp_path)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.glob("triptych/jax-*/*-cache")} == programs
    nowhere = tmp_path / "file"
    nowhere.touch()
    for done in (first, second, run(nowhere)):
        assert (done.returncode, done.stderr, done.stdout) == (0, "", first.stdout)


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")
    monkeypatch.setenv("MKL_NUM_THREADS", "5")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    before = dict(os.environ)
    _spare()
    assert dict(os.environ) == before
    assert not list(tmp_path.iterdir())
