"""`triptych claims FILE.md`: what would be run; with --run, what came of it.

The blocks run in a process of their own, in an empty folder, one after the other in one namespace
as a reader would run them. Whatever a block does ends as a line of the report: it raises, ends the
program, hangs, prints without end, wants a file, an input or a module that is not there.
"""

import ast
import builtins
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from triptych.tutorial import child
from triptych.tutorial.blocks import WHOLE, Block, Shown
from triptych.tutorial.judge import DIFFERS, HOLDS, VARIES, judge

RAN, FAILS, NEEDS, NOT_RUN = "runs", "FAILS", "needs", "not run"
"""Of a block: RAN: it runs, and shows no output. FAILS: it raises what the text does not show, ends
the program, hangs or is not Python. NEEDS: it wants what is not here. NOT_RUN: what it stands on
did not run."""
WRONG = (DIFFERS, FAILS)
GRACE = 5.0
"""Seconds after its time in which a block may still end by itself."""
OUTPUT_KEPT = child.LIMIT

_MISSING = {
    "FileNotFoundError": "a file that is not here",
    "ModuleNotFoundError": "a module that is not installed",
    "EOFError": "an input",
    "URLError": "the network",
    "ConnectionError": "the network",
    "gaierror": "the network",
}


class Record(NamedTuple):
    """A line of the report: an output that the text shows, or a block that shows none."""

    line: int
    """In the file: of the output, or of the block."""
    block: int
    """The first line of the block."""
    code: str
    """The statement that prints it, shortened."""
    shown: str
    given: str
    verdict: str
    detail: str


def plan(blocks: Sequence[Block]) -> list[Record]:
    """What would be run and compared; nothing is."""
    return list(_records(blocks, lambda block: (NOT_RUN, block.problem)))


def check(blocks: Sequence[Block], *, timeout: float = 60.0) -> list[Record]:
    """Run the blocks and judge what they print.

    Where something differs, they are run a second time, with other seeds of the random numbers. So
    what is drawn or measured, and differs from run to run, can be told from what is wrong.

    Args:
        blocks: of `blocks`, in order.
        timeout: seconds for each block.
    """

    def judged(run: _Run) -> list[Record]:
        records = [record for i, block in enumerate(blocks) for record in run.judged(i, block)]
        return [*_never_imported(blocks), *records]

    records = judged(_Run(blocks, timeout))
    if not any(record.verdict == DIFFERS for record in records):
        return records
    second = judged(_Run(blocks, timeout, reseed=True))
    if len(second) != len(records):
        return records
    return [
        one._replace(verdict=VARIES, detail=f"the next time, seeds changed: {_short(two.given)}")
        if one.verdict == DIFFERS and one.given != two.given
        else one
        for one, two in zip(records, second, strict=True)
    ]


def summary(records: Sequence[Record]) -> str:
    """The report in one line."""
    outputs = [r for r in records if r.shown]
    found = Counter(r.verdict for r in outputs)
    parts = [f"{found[verdict]} {verdict}" for verdict in found]
    text = f"{len({r.block for r in records})} blocks, {len(outputs)} outputs shown"
    text += f": {', '.join(parts)}" if parts else ""
    rest = Counter(r.verdict for r in records if not r.shown)
    words = {FAILS: "failure", NEEDS: "want of what is not here", NOT_RUN: "not run"}
    return "; ".join([text, *(f"{rest[v]} {w}" for v, w in words.items() if rest[v])])


def as_records(file: str, records: Sequence[Record]) -> list[dict[str, Any]]:
    """The report as plain values, for JSON."""
    return [{"file": file} | record._asdict() for record in records]


def lines(file: str, records: Sequence[Record], *, ran: bool) -> Iterator[str]:
    """The report as a terminal shows it."""
    if not ran:
        yield (
            f"{file}: {summary(records)}. Nothing was run: it is other people's code. "
            "With --run it is, in a process of its own."
        )
    for record in records:
        dull = record.verdict in (HOLDS, RAN) or (record.verdict == NOT_RUN and record.shown)
        if ran and dull and not record.detail:
            continue
        said = f"{record.verdict}: {record.code}" if ran else record.detail or record.code
        yield f"{file}:{record.line}: {said}".rstrip(": ")
        if record.shown:
            yield from _beside("the text", record.shown)
        if record.given or (record.shown and ran and record.verdict != NOT_RUN):
            yield from _beside("it prints", record.given or "nothing")
        if record.detail and ran:
            yield from _beside("", record.detail)
    if ran:
        yield f"{file}: {summary(records)}"


def _beside(label: str, text: str, most: int = 8) -> Iterator[str]:
    shown = text.split("\n")
    if len(shown) > most:
        shown = [*shown[:most], f"... ({len(shown) - most} lines more)"]
    for i, line in enumerate(shown):
        # an escape sequence of someone else's is not sent to the terminal
        safe = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda c: repr(c[0])[1:-1], line[:160])
        yield f"    {label if i == 0 else '':9}  {safe}".rstrip()


def _records(blocks: Sequence[Block], verdict: Any) -> Iterator[Record]:
    """A record for each output, or for a block without any, all with one verdict."""
    for block in blocks:
        name, detail = verdict(block)
        for shown in block.shown:
            code = _code(block, shown.statement)
            yield Record(shown.line, block.line, code, shown.text, "", name, detail)
        if not block.shown:
            yield Record(block.line, block.line, _code(block, WHOLE), "", "", name, detail)


def _code(block: Block, number: int) -> str:
    if number != WHOLE:
        return _short(ast.get_source_segment(block.code, block.statements[number]) or "")
    text = [line for line in block.code.split("\n") if line.strip()]
    return _short(text[0]) + (f" ... ({len(text)} lines)" if len(text) > 1 else "") if text else ""


def _short(text: str) -> str:
    first, _, rest = text.strip().partition("\n")
    return first[:90] + (" ..." if rest or len(first) > 90 else "")


# Running


class _Run:
    """One run of all blocks."""

    def __init__(self, blocks: Sequence[Block], timeout: float, *, reseed: bool = False) -> None:
        self.blocks = blocks
        self.reseed = reseed
        self.gpu = False
        self.found: dict[int, Mapping[str, Any]] = {}
        """What each block has come to, by its number; a block that ended the process is missing."""
        self.begun = -1
        """The last block that began."""
        self.ending = ""
        """How the process ended, where it was not at the end of all blocks."""
        self.lost: dict[str, int] = {}
        """The names that a block would have defined and did not, with the block's line."""
        self.start(timeout)

    def start(self, timeout: float) -> None:
        """Run the blocks in a process of its own, in an empty folder."""
        runnable = [(i, block) for i, block in enumerate(self.blocks) if not block.problem]
        job = {
            "timeout": timeout,
            "reseed": self.reseed,
            "prelude": list(_usual(self.blocks).values()),
            "blocks": [
                {"number": i, "code": block.code, "expected": _expected(block)}
                for i, block in runnable
            ],
        }
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            jobs, file = Path(folder, "job.json"), Path(folder, "report.jsonl")
            jobs.write_text(json.dumps(job), encoding="utf-8")
            file.touch()
            (room := Path(folder, "room")).mkdir()
            process = subprocess.Popen(
                [sys.executable, "-P", child.__file__, str(jobs), str(file)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                cwd=room, env=os.environ | {"MPLBACKEND": "Agg"}, start_new_session=True,
            )  # fmt: skip
            assert process.stderr
            said = _Tail(process.stderr)
            try:
                silent = self.watch(process, file, timeout)
            finally:
                _end(process)
            self.read(file)
            if silent:
                self.ending = f"is still running after {timeout:g} s, and does not let itself end"
            elif not self.ended:
                last = said.last()
                self.ending = f"ends the process, status {process.returncode}" + (
                    f": {last}" if last else ""
                )

    ended = False

    def watch(self, process: "subprocess.Popen[bytes]", file: Path, timeout: float) -> bool:
        """Wait for the process; True if a block was silent for too long."""
        size, since = -1, time.monotonic()
        while process.poll() is None:
            if (now := file.stat().st_size) != size:
                size, since = now, time.monotonic()
            # the first line comes with the interpreter
            if time.monotonic() - since > timeout + GRACE:
                return True
            time.sleep(0.02)
        return False

    def read(self, file: Path) -> None:
        """Read what the process has reported."""
        for line in file.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(json.JSONDecodeError):  # cut off in the middle
                said = json.loads(line)
                if said.get("begins"):
                    self.begun = said["block"]
                elif "ended" in said:
                    self.ended, self.gpu = True, said["gpu"]
                else:
                    self.found[said["block"]] = said

    def judged(self, number: int, block: Block) -> list[Record]:
        """The report on one block."""
        if block.problem:
            return list(_records([block], lambda block: (FAILS, block.problem)))
        if number not in self.found:
            if number == self.begun:
                self.lose(block)
                return list(_records([block], lambda _: (FAILS, self.ending)))
            return list(_records([block], lambda _: (NOT_RUN, "the process had ended before")))
        found = self.found[number]
        records = [self.compared(block, shown, found) for shown in block.shown]
        ran = [record for record in records if record is not None]
        error = found["error"]
        if error and block.may_raise and error["kinds"][0] != "Hung":
            self.lose(block)
            name, what = error["kinds"][0], "which the text expects"
            return [*ran, _alone(block, RAN, f"raises {name}, {what}")]
        if error:
            verdict, detail = self.failed(error)
            self.lose(block)
            line = block.line + (error["line"] or 1) - 1
            at = len(found["statements"]) - 1
            return [*ran, Record(line, block.line, _code(block, at), "", "", verdict, detail)]
        if found["printed"] > OUTPUT_KEPT:
            detail = f"prints {found['printed']:,} bytes; the first {OUTPUT_KEPT:,} were kept"
            ran = [r._replace(detail=detail) for r in ran] or [_alone(block, RAN, detail)]
        return ran or [_alone(block, RAN, "")]

    def compared(self, block: Block, shown: Shown, found: Mapping[str, Any]) -> Record | None:
        """An output as shown beside what came out; None where nothing was meant to."""
        record = Record(
            shown.line, block.line, _code(block, shown.statement), shown.text, "", NOT_RUN, ""
        )
        given = _given(shown, found)
        if given is None:
            return record
        if isinstance(given, Mapping):
            return self.raised(record, given)
        if not given and not shown.surely:
            return None
        verdict, text = judge(shown.text, given, exact=shown.exact)
        code = ast.unparse(ast.parse(block.code))  # without comments
        if verdict == DIFFERS and not self.gpu and re.search(r"\b(cuda|gpu)\b", code):
            return record._replace(given=text, verdict=NEEDS, detail="a GPU, perhaps")
        return record._replace(given=text, verdict=verdict)

    def raised(self, record: Record, error: Mapping[str, Any]) -> Record:
        """What is shown beside an exception: its name, its message, a traceback."""
        name, message = error["kinds"][0], error["message"]
        names = _errors(record.shown)
        if not any(kind in names for kind in error["kinds"]):
            return record
        given = f"{name}: {message}" if message else name
        last = record.shown.strip().split("\n")[-1].split(": ", 1)
        told = " ".join(last[1].split()) if len(last) > 1 else ""
        same = not told or told.strip(". ") in " ".join(message.split())
        detail = "" if same else "the message is another"
        return record._replace(given=given, verdict=HOLDS, detail=detail)

    def failed(self, error: Mapping[str, Any]) -> tuple[str, str]:
        """What to say of an exception that the text does not show."""
        name, message = error["kinds"][0], error["message"].partition("\n")[0]
        if name == "Hung":
            return FAILS, "is still running when its time is over"
        for kind, what in _MISSING.items():
            if kind in error["kinds"] and not (kind == "EOFError" and error["where"] == ""):
                return NEEDS, f"{what}: {message}"
        if "SystemExit" in error["kinds"]:
            return FAILS, f"ends the program: SystemExit: {message}".rstrip(": ")
        if name == "NameError" and error["name"] in self.lost:
            return (
                NOT_RUN,
                f"{error['name']} comes from the block in line {self.lost[error['name']]}",
            )
        return FAILS, f"{name}: {message}".rstrip(": ")

    def lose(self, block: Block) -> None:
        """Remember the names that a block would have defined."""
        for name in _bound(ast.parse(block.code)):
            self.lost.setdefault(name, block.line)


USUAL = {
    "torch": "import torch",
    "nn": "from torch import nn",
    "F": "import torch.nn.functional as F",
    "optim": "from torch import optim",
    "np": "import numpy as np",
    "jax": "import jax",
    "jnp": "import jax.numpy as jnp",
    "plt": "import matplotlib.pyplot as plt",
    "math": "import math",
}
"""The imports that texts leave out."""


def _usual(blocks: Sequence[Block]) -> dict[str, str]:
    """The names that no block imports or defines, of those that everyone imports alike."""
    used, bound = set(), set()
    for block in blocks:
        for statement in block.statements:
            bound |= _bound(statement)
            used |= {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
    return {name: line for name, line in USUAL.items() if name in used - bound}


def _bound(tree: ast.AST) -> set[str]:
    """The names that a program defines."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(a.asname or a.name).partition(".")[0] for a in node.names}
        elif isinstance(node, ast.arg):
            names.add(node.arg)
    return names


def _never_imported(blocks: Sequence[Block]) -> list[Record]:
    return [
        Record(
            blocks[0].line, blocks[0].line, line, "", "", RAN,
            f"no block imports {name}; this was run first",
        )
        for name, line in _usual(blocks).items()
    ]  # fmt: skip


def _alone(block: Block, verdict: str, detail: str) -> Record:
    return Record(block.line, block.line, _code(block, WHOLE), "", "", verdict, detail)


def _given(shown: Shown, found: Mapping[str, Any]) -> list[str] | Mapping[str, Any] | None:
    """What came out where an output is shown: texts that may be meant, an exception, or None.

    None where the statement was not run.
    """
    statements = found["statements"]
    if shown.statement == WHOLE:
        errors = [one["error"] for one in statements if one["error"]]
        if found["error"]:
            return None
        return errors[-1] if errors else _all(statements, found["output"])
    if shown.statement >= len(statements):
        return None
    one = statements[shown.statement]
    if one["error"]:
        return dict(one["error"])
    output = one["output"].rstrip("\n")
    given = [text for text in (output, one["value"]) if text]
    if one["assigned"] and not shown.surely and not _alike(shown.text, given):
        return []  # a remark that happens to be a number
    words, count = output.split(), len(shown.text.split())
    if not shown.exact and len(words) > count:  # of several things in a line, the last
        given.append(" ".join(words[-count:]))
    if not shown.exact:  # the number alone of tensor(2.)
        given += [m[1] for m in map(_SCALAR.fullmatch, given) if m]
    return given


_SCALAR = re.compile(r"(?:tensor|array|Array)\(([-+.\de]+|nan|inf)[,)].*")


def _alike(shown: str, given: Sequence[str]) -> bool:
    """Whether a comment at an assignment may be its value: of the same kind, or the same."""
    kinds = [re.sub(r"[-+]?[\d.]+(e[-+]?\d+)?", "0", text.replace(" ", "")) for text in given]
    return re.sub(r"[-+]?[\d.]+(e[-+]?\d+)?", "0", shown.replace(" ", "")) in kinds


def _all(statements: Sequence[Mapping[str, Any]], output: str) -> list[str]:
    """What a reader may see of a block: as a notebook, a script or a prompt shows it."""
    values = ["" if s["assigned"] else s["value"] or "" for s in statements]
    value = values[-1] if values else ""
    prompt = "".join(
        s["output"] + (f"{one}\n" if one else "") for s, one in zip(statements, values, strict=True)
    )
    texts = [output + value, output, value, prompt]
    return list(dict.fromkeys(text.rstrip("\n") for text in texts if text.strip()))


def _errors(text: str) -> list[str]:
    """The names of exceptions in a text."""
    words = re.findall(r"\b\w+(?:Error|Exception|Interrupt|Exit|Unsupported)\b", text)
    return [*words, *(w for w in re.findall(r"\b[A-Z]\w+\b", text) if _is_exception(w))]


def _is_exception(name: str) -> bool:
    kind = getattr(builtins, name, None)
    return isinstance(kind, type) and issubclass(kind, BaseException)


def _expected(block: Block) -> dict[str, list[str]]:
    """The exceptions that a block shows, by the statement that raises them."""
    found: dict[str, list[str]] = {}
    for shown in block.shown:
        if names := _errors(shown.text):
            count = len(block.statements)
            for at in range(count) if shown.statement == WHOLE else [shown.statement]:
                found.setdefault(str(at), []).extend(names)
    return found


class _Tail:
    """The end of what a process writes, read so that it never waits."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.kept = b""
        self.thread = threading.Thread(target=self.drain, args=(stream,), daemon=True)
        self.thread.start()

    def drain(self, stream: IO[bytes]) -> None:
        """Read to the end."""
        with stream:
            for chunk in iter(lambda: stream.read(65536), b""):
                self.kept = (self.kept + chunk)[-2000:]

    def last(self) -> str:
        """The last line."""
        self.thread.join(1)
        text = self.kept.decode("utf-8", "replace").strip().split("\n")
        return text[-1][:300]


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process and those that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
