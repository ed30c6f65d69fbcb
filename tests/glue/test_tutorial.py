"""`triptych claims FILE.md`: what a tutorial shows, what it prints, and blocks that misbehave."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from triptych.__main__ import main
from triptych.tutorial import check
from triptych.tutorial.blocks import WHOLE, blocks, shown_by
from triptych.tutorial.check import FAILS, NEEDS, NOT_RUN, RAN
from triptych.tutorial.judge import (
    DIFFERS,
    HOLDS,
    ROUNDING,
    VARIES,
    VERSION,
    WRITTEN,
    judge,
)

ROOT = Path(__file__).parents[2]


def python(*codes: str) -> str:
    """A text with a block for each code."""
    return "\n".join(f"```python\n{textwrap.dedent(code).strip()}\n```\n" for code in codes)


def report(text: str, timeout: float = 20) -> list[tuple[int, str, str]]:
    """The line, verdict and detail of each record."""
    found = check.check(blocks(text), timeout=timeout)
    return [(record.line, record.verdict, record.detail) for record in found]


def verdicts(text: str, timeout: float = 20) -> list[str]:
    return [verdict for _, verdict, _ in report(text, timeout)]


# Reading


@pytest.mark.parametrize(
    ("comment", "shown"),
    [
        (" tensor(7.)", ("tensor(7.)", False)),
        (" 7.0", ("7.0", False)),
        (" -> 7", ("7", True)),
        (" => [1, 2]", ("[1, 2]", True)),
        (" prints 0.41997434", ("0.41997434", True)),
        (" Output: hello there", ("hello there", True)),
        (" prints -1.0 (evaluated again)", ("-1.0", True)),
        (" 3.5, in metres", ("3.5", False)),
        (" dc/da + dd/da = b + 1 = 4", ("4", False)),
        (
            " tensor([[1., 2.],\n         [3., 4.]])",
            ("tensor([[1., 2.],\n        [3., 4.]])", False),
        ),
        (" [1. 2. 3.]", ("[1. 2. 3.]", False)),
        (" torch.Size([2, 3])", ("torch.Size([2, 3])", False)),
        (" float32", ("float32", False)),
        (" <AddBackward0 object at 0x7f>", ("<AddBackward0 object at 0x7f>", False)),
        (" True", ("True", False)),
        (" raises ValueError", ("raises ValueError", False)),
        (" the gradient", None),
        (" 2 paths add up", None),
        (" see section 3", None),
        (" learning rate", None),
        (" x = y", None),
        (" type: ignore", None),
    ],
)
def test_a_comment_is_an_output_or_a_remark(comment: str, shown: Any) -> None:
    assert shown_by(comment) == shown


def test_outputs_are_found_where_texts_show_them() -> None:
    text = textwrap.dedent("""\
        # Title

        ```python
        x = 2  # 2
        print(x)  # 3
        x
        # 4
        # and so on
        ```

        Output:

        ```
        2
        ```

        ```py
        >>> x + 1
        3
        >>> for i in range(2):
        ...     print(i)
        0
        1
        ```

        ```{code-block} python
        print(5)
        ```
        ```text
        5
        ```

        A picture of it:

        ```
        x -> y
        ```

        ```bash
        pip install x
        ```
        """)
    found = [(s.line, s.text, s.statement) for block in blocks(text) for s in block.shown]
    assert found == [
        (4, "2", 0), (5, "3", 1), (7, "4", 2), (14, "2", WHOLE),
        (19, "3", 0), (22, "0\n1", 1), (30, "5", WHOLE),
    ]  # fmt: skip
    assert [block.line for block in blocks(text)] == [4, 18, 27]


def test_what_only_a_notebook_understands_is_left_out() -> None:
    (block,) = blocks(
        "```{code-cell} ipython3\n:tags: [x]\n%matplotlib inline\n!pip x\ny = 1\n```\n"
    )
    assert block.code.split() == ["y", "=", "1"]
    assert (block.problem, block.statements[0].lineno) == ("", 4)


def test_a_session_of_ipython_is_read_as_one_of_python() -> None:
    (block,) = blocks(
        "```python\nIn [1]: x = 1\n\nIn [2]: if x:\n   ...:     x + 1\nOut[2]: 2\n```\n"
    )
    assert [line for line in block.code.split("\n") if line] == ["x = 1", "if x:", "    x + 1"]
    assert [(s.line, s.text, s.statement) for s in block.shown] == [(6, "2", 1)]


def test_a_cell_that_says_that_it_raises_may() -> None:
    cell = "```{code-cell}\n:tags: [raises-exception]\n1 / 0\n```\n"
    assert report(cell) == [(3 - 1, RAN, "raises ZeroDivisionError, which the text expects")]
    assert verdicts(cell.replace("raises-exception", "hide")) == [FAILS]


def test_an_output_that_is_called_python_is_still_one() -> None:
    text = (
        python("print(1)") + "\nOut:\n\n" + python("tensor([1.])") + "\nThen:\n\n" + python("y = 2")
    )
    first, second = blocks(text)
    assert [shown.text for shown in first.shown] == ["tensor([1.])"]
    assert second.code.strip() == "y = 2"


# Judging


@pytest.mark.parametrize(
    ("shown", "given", "of_output", "of_comment"),
    [
        ("7.0", "7.0", HOLDS, HOLDS),
        ("7.0", "8.0", DIFFERS, DIFFERS),
        ("7", "70", DIFFERS, DIFFERS),
        ("[1, 2]", "[1,  2]", WRITTEN, HOLDS),
        ("hello", "'hello'", WRITTEN, HOLDS),
        ("0.25", "0.2499", WRITTEN, HOLDS),
        ("0.25", "0.26", DIFFERS, DIFFERS),
        ("3", "3.0", WRITTEN, HOLDS),
        ("3", "3.2", DIFFERS, DIFFERS),
        ("3.4e-05", "3.412e-05", WRITTEN, HOLDS),
        ("0.62162673", "0.6216267", ROUNDING, ROUNDING),
        ("1.0001", "1.0002", DIFFERS, DIFFERS),
        (
            "tensor(1., grad_fn=<AddBackward>)",
            "tensor(1., grad_fn=<AddBackward0>)",
            VERSION,
            VERSION,
        ),
        (
            "tensor(1., grad_fn=<AddBackward>)",
            "tensor(1., grad_fn=<MulBackward0>)",
            DIFFERS,
            DIFFERS,
        ),
        ("[7.0]", "[np.float32(7.0)]", VERSION, VERSION),
        ("[7.0]", "[np.float32(8.0)]", DIFFERS, DIFFERS),
        (
            "DeviceArray(1., dtype=float32)",
            "Array(1., dtype=float32, weak_type=True)",
            VERSION,
            VERSION,
        ),
        ("<f at 0x7f01>", "<f at 0x7e99>", WRITTEN, HOLDS),
        ("a\n...\nz", "a\nb\nc\nz", HOLDS, HOLDS),
        ("a\n...\nz", "a\nb\nc\ny", DIFFERS, DIFFERS),
        ("nan", "1.0", DIFFERS, DIFFERS),
        ("nan", "nan", HOLDS, HOLDS),
        ("1.0", "", DIFFERS, DIFFERS),
    ],
)
def test_verdicts(shown: str, given: str, of_output: str, of_comment: str) -> None:
    assert judge(shown, [given], exact=True)[0] == of_output
    assert judge(shown, [given], exact=False)[0] == of_comment
    # of several that may be meant, the best decides
    assert judge(shown, ["???", given], exact=True)[0] == of_output


# Running

MISBEHAVED = python(
    "import sys\nprint(1)\nx = 1  # 2",
    "sys.exit(3)",
    "while True:\n    pass",
    "print('x' * 1_000_000)",
    "this is not python at all",
    "rows = open('data.csv')",
    "rows  # 1",
    "import there_is_no_such_module",
    "print(1 / 0)  # ZeroDivisionError\nprint(2)  # 2",
    "x / 0\nx  # 1",
    "input()",
    "x = x.nothing",
)


def test_whatever_a_block_does_is_a_line_of_the_report() -> None:
    found = report(MISBEHAVED, timeout=1)
    assert [verdict for _, verdict, _ in found] == [
        DIFFERS, FAILS, FAILS, RAN, FAILS, NEEDS, NOT_RUN, NOT_RUN, NEEDS, HOLDS, HOLDS,
        NOT_RUN, FAILS, NEEDS, FAILS,
    ]  # fmt: skip
    details = [detail for _, verdict, detail in found if detail]
    for word in (
        "SystemExit: 3", "still running when its time is over", "prints 1,000,001 bytes",
        "is not Python", "data.csv", "rows comes from the block in line", "no_such_module",
        "ZeroDivisionError: division by zero", "EOF", "no attribute 'nothing'",
    ):  # fmt: skip
        assert sum(word in detail for detail in details) == 1, word


def test_of_a_flood_the_first_is_kept() -> None:
    (record,) = check.check(blocks(python("print('x' * 1_000_000)  # 3")))
    assert (record.verdict, len(record.given)) == (DIFFERS, check.OUTPUT_KEPT)
    assert record.detail == "prints 1,000,001 bytes; the first 100,000 were kept"


def test_a_block_that_ends_the_process_or_cannot_be_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = report(python("import os\nos._exit(7)", "1  # 1"))
    assert found[0] == (2, FAILS, "ends the process, status 7")
    assert found[1] == (7, NOT_RUN, "the process had ended before")
    monkeypatch.setattr(check, "GRACE", 0.3)
    deaf = """
        while True:
            try:
                while True:
                    pass
            except BaseException:
                pass
    """
    found = report(python("2  # 2", deaf, "1  # 1"), timeout=0.3)
    assert [verdict for _, verdict, _ in found] == [HOLDS, FAILS, NOT_RUN]
    assert "does not let itself end" in found[1][2]


def test_blocks_share_what_they_define_and_stand_in_an_empty_folder(tmp_path: Path) -> None:
    text = python(
        "from __future__ import annotations\ndef f(x: Nothing): return x",
        "def g(x: Nothing): return x\ng(3)  # 3",
        "import os, inspect\nos.listdir()  # []",
        "inspect.getsource(g)[:5]  # 'def g'",
        "__name__  # '__main__'",
        "open('made.txt', 'w').write('x')  # 1",
    )
    assert verdicts(text) == [RAN, HOLDS, HOLDS, HOLDS, HOLDS, HOLDS]
    assert not Path("made.txt").exists()


def test_outputs_of_a_block_as_a_script_a_notebook_and_a_prompt_show_them() -> None:
    for code, output in (
        ("print(1)\nprint(2)", "1\n2"),
        ("print(1)\n2", "1\n2"),
        ("print(1)\n2", "1"),
        ("'a'\nprint(1)\n'b'", "'a'\n1\n'b'"),
        ("x = 1\nx", "1"),
    ):
        shown = f"{python(code)}\n```\n{output}\n```\n"
        assert verdicts(shown) == [HOLDS]
        assert verdicts(f"{python(code)}\n```\n{output}0\n```\n") == [DIFFERS]
    silent = f"{python('x = 1')}\n```\nx\n```\n"
    assert verdicts(silent) == [RAN]
    assert verdicts(silent.replace("```\nx\n", "```output\nx\n")) == [DIFFERS]


def test_a_remark_is_not_taken_for_an_output() -> None:
    text = python("rate = 0.1  # 2\nx = [1, 2]  # 2\nprint('a', 3)  # 3\ny = 3\ny  # 4.5 (metres)")
    assert verdicts(text) == [DIFFERS, HOLDS, DIFFERS]


def test_what_is_drawn_is_told_from_what_is_wrong() -> None:
    text = python(
        "x = np.random.default_rng(0)\nx.random()  # 12.5",
        "import random\nrandom.random()  # 12.5",
        "1 + 1  # 3",
    )
    found = report(text)
    assert [verdict for _, verdict, _ in found] == [RAN, VARIES, VARIES, DIFFERS]
    assert found[0][2] == "no block imports np; this was run first"
    assert verdicts(python("import numpy as np", "np.ones(2)  # array([1., 1.])")) == [RAN, HOLDS]


def test_what_needs_a_gpu_is_no_mistake_where_there_is_none() -> None:
    asked = "device = 'cuda' if False else 'cpu'\nprint(device)  # cuda:0"
    text = python(asked, "print('cpu')  # cuda:0")
    assert verdicts(text) == [NEEDS, DIFFERS]


# The command


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(["claims", *words])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_nothing_is_run_without_being_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, file = tmp_path / "made", tmp_path / "t.md"
    file.write_text(python(f"open({str(made)!r}, 'w')\nprint(1)  # 1", "no python"), "utf-8")
    status, said, _ = run(capsys, str(file))
    assert status == 0
    assert "Nothing was run" in said
    assert "print(1)" in said
    assert "is not Python" in said
    assert not made.exists()
    status, said, _ = run(capsys, str(file), "--json")
    assert [(r["line"], r["verdict"]) for r in json.loads(said)] == [(3, NOT_RUN), (7, NOT_RUN)]
    assert not made.exists()
    assert run(capsys, str(file), "--run")[0] == 1  # the second block is no Python
    assert made.exists()


def test_the_status_and_the_lines_of_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "t.md"
    file.write_text(python("print(1)  # 1"), "utf-8")
    assert run(capsys, str(file), "--run")[:2] == (
        0, f"{file}: 1 blocks, 1 outputs shown: 1 holds\n",
    )  # fmt: skip
    file.write_text(python("print(1)  # 2"), "utf-8")
    status, said, _ = run(capsys, str(file), "--run")
    assert status == 1
    assert said.splitlines() == [
        f"{file}:2: DIFFERS: print(1)",
        "    the text   2",
        "    it prints  1",
        f"{file}: 1 blocks, 1 outputs shown: 1 DIFFERS",
    ]
    status, said, _ = run(capsys, str(file), "--run", "--json")
    assert status == 1
    assert json.loads(said) == [
        {"file": str(file), "line": 2, "block": 2, "code": "print(1)", "shown": "2",
         "given": "1", "verdict": DIFFERS, "detail": ""},
    ]  # fmt: skip
    file.write_text("No code.\n", "utf-8")
    assert run(capsys, str(file), "--run")[:2] == (0, f"{file}: 0 blocks, 0 outputs shown\n")


def test_bad_files_and_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "t.md"
    file.write_bytes(b"\xff\xfe")
    for words, said in (
        ([str(tmp_path / "none.md")], "No such file"),
        ([str(tmp_path / "none.md"), "--run"], "No such file"),
        ([str(file)], "can't decode"),
        ([str(file), "--errata"], "--errata and --column are for the documents' claims"),
        ([str(file), "--column", "jax"], "--errata and --column are for the documents' claims"),
        ([str(file), "--timeout", "0"], "--timeout must be above 0"),
        (["B-count", "--run"], "--run needs a FILE.md"),
        (["--run"], "--run needs a FILE.md"),
    ):
        status, _, err = run(capsys, *words)
        assert (status, said in err) == (2, True), (words, err)


def test_what_does_not_fit_the_terminal_is_escaped(tmp_path: Path) -> None:
    file = tmp_path / "t.md"
    odd = "print('\\x1b[31m\\u65e5\\ud800')  # 1"
    file.write_text(python(odd, "(" * 300 + ")" * 300), "utf-8")
    for options in ([], ["--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "triptych", "claims", str(file), "--run", *options],
            capture_output=True, check=False, cwd=ROOT,
            env=os.environ | {"PYTHONIOENCODING": "ascii"},
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (1, b"")
        assert b"\x1b" not in done.stdout
        assert b"is not Python" in done.stdout


def test_a_listing_imports_no_framework(tmp_path: Path) -> None:
    file = tmp_path / "t.md"
    file.write_text(python("import torch  # 1"), "utf-8")
    code = (
        "import sys; from triptych.__main__ import main; main(['claims', sys.argv[1]]);"
        "assert not {'torch', 'jax'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code, str(file)], check=True, capture_output=True)


GUIDE = (
    python("""
        import torch
        from torch import nn

        model = nn.Linear(4, 16)
        for param in model.parameters():
            print(param.shape)
        """)
    + "\n```\nweight torch.Size([16, 4])\nbias torch.Size([16])\n```\n\n"
    + python("""
        layer = nn.Linear(4, 3)
        with torch.no_grad():
            layer.weight.zero_()
            layer.bias.copy_(torch.tensor([0.241, -0.089, 0.510]))
        print(layer(torch.ones(1, 4)))
        # tensor([[ 0.241, -0.089, 0.510]], grad_fn=<AddmmBackward>)
        """)
    + python("""
        a = torch.tensor(2.0, requires_grad=True)
        b = torch.tensor(3.0, requires_grad=True)
        c = a * b
        (c + a).backward()
        a.grad  # dc/da + dd/da = 7
        b.grad  # dc/db = a = 2
        """)
    + python("nn.Linea(1, 1)")
)
"""What B, D and E print, as their readers see it."""


@pytest.mark.slow
def test_the_documents_own_mistakes_are_found_as_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    Path("guide.md").write_text(GUIDE, "utf-8")
    assert verdicts(GUIDE) == [DIFFERS, VERSION, DIFFERS, HOLDS, FAILS]
    status, said, _ = run(capsys, "guide.md", "--run")
    assert status == 1
    page = (ROOT / "docs" / "mistakes.md").read_text("utf-8")
    assert f"$ triptych claims guide.md --run\n{said}" in page, said
