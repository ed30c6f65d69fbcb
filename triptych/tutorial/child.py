"""The process that runs a tutorial's blocks: nothing of the project's, the standard library alone.

    python child.py JOB FILE    JOB: JSON with the blocks; FILE: where a line is added as each ends

Standard output is kept and counted up to a limit, statement by statement; what a block writes past
Python, by the system's own calls, is lost.
"""

import __future__

import ast
import contextlib
import io
import json
import linecache
import os
import signal
import sys
import traceback
import types
import warnings
from pathlib import Path
from typing import Any

LIMIT = 100_000
"""Characters of output, and of a value, that are kept."""


SEEDERS = ("manual_seed", "manual_seed_all", "seed", "default_rng", "RandomState", "PRNGKey", "key")
"""The functions that seed random numbers, by the last part of their names."""


class Hung(BaseException):
    """The time of a block is over."""


class Kept(io.RawIOBase):
    """Standard output: the first of it kept, all of it counted."""

    def __init__(self) -> None:
        self.bytes = bytearray()
        self.count = 0

    def writable(self) -> bool:
        """Whether it may be written to: yes."""
        return True

    def write(self, data: Any) -> int:
        """Keep what there is room for."""
        data = bytes(data)
        self.count += len(data)
        self.bytes += data[: max(LIMIT - len(self.bytes), 0)]
        return len(data)


class Reseeded(ast.NodeTransformer):
    """Seeds of random numbers become others, so that what is drawn can be told from the rest."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Add one to a seed."""
        self.generic_visit(node)
        name = ast.unparse(node.func).rpartition(".")[2]
        at_random = name != "key" or ast.unparse(node.func).endswith("random.key")
        seed = node.args[0] if node.args else None
        if name in SEEDERS and at_random and isinstance(seed, ast.Constant):
            with contextlib.suppress(TypeError):
                node.args[0] = ast.copy_location(ast.Constant(seed.value + 1), seed)  # type: ignore[operator]
        return node


class Runner:
    """Runs blocks one after the other, in one namespace."""

    def __init__(self, timeout: float, reseed: bool, report: Any) -> None:
        self.timeout = timeout
        self.reseed = reseed
        self.report = report
        self.flags = 0
        self.main = types.ModuleType("__main__")
        sys.modules["__main__"] = self.main

    def run(self, number: int, code: str, expected: dict[str, list[str]]) -> None:
        """Run a block and report what each of its statements gives.

        `expected`: by the number of a statement, the exceptions that the text shows there.
        """
        self.say(block=number, begins=True)
        name = self.name = f"<block {number}>"
        linecache.cache[name] = (len(code), None, code.splitlines(True), name)
        self.kept = Kept()
        sys.stdout = io.TextIOWrapper(self.kept, "utf-8", "replace", write_through=True)
        seen: list[dict[str, Any]] = []
        error: dict[str, Any] | None = None
        self.alarm(self.timeout)
        try:
            tree = Reseeded().visit(ast.parse(code)) if self.reseed else ast.parse(code)
            for i, statement in enumerate(tree.body):
                one = self.statement(statement, name)
                seen.append(one)
                if one["error"] and not _meets(one["error"], expected.get(str(i), [])):
                    error = one["error"]
                    break
        except Hung as late:  # between two statements
            error = self.described(late)
        finally:
            self.alarm(0)
            sys.stdout = sys.__stdout__
        self.say(
            block=number, statements=seen, error=error, printed=self.kept.count,
            output=self.text(0),
        )  # fmt: skip

    def statement(self, statement: ast.stmt, name: str) -> dict[str, Any]:
        """Run one statement; its output, its value as Python writes it, its exception."""
        start = len(self.kept.bytes)
        value, error = None, None
        try:
            if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
                for alias in statement.names:
                    self.flags |= getattr(__future__, alias.name).compiler_flag
            given: Any = None
            if isinstance(statement, ast.Expr):
                tree: ast.AST = ast.Expression(statement.value)
                given = eval(self.compiled(tree, name, "eval"), self.main.__dict__)
            else:
                tree = ast.Module([statement], [])
                exec(self.compiled(tree, name, "exec"), self.main.__dict__)
                if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                    given = self.main.__dict__.get(statement.targets[0].id)
            if given is not None:
                value = repr(given)[:LIMIT]
        except BaseException as problem:  # whatever it is, it is the tutorial's
            error = self.described(problem)
        return {
            "line": statement.lineno,
            "output": self.text(start),
            "value": value,
            "error": error,
            "assigned": isinstance(statement, ast.Assign),
        }

    def compiled(self, tree: Any, name: str, mode: str) -> Any:
        """A statement, compiled under the __future__ imports of the blocks before it."""
        return compile(tree, name, mode, flags=self.flags, dont_inherit=True)

    def text(self, start: int) -> str:
        """What has been printed since."""
        return self.kept.bytes[start:].decode("utf-8", "replace")

    def described(self, problem: BaseException) -> dict[str, Any]:
        """An exception, in plain values."""
        try:
            message = str(problem)
        except Exception:
            message = ""
        frames = traceback.extract_tb(problem.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == self.name]
        return {
            "kinds": [kind.__name__ for kind in type(problem).__mro__],
            "message": message[:500],
            "line": lines[0] if lines else None,
            "name": str(getattr(problem, "name", "") or ""),
            "where": frames[-1].name if frames else "",
        }

    def alarm(self, seconds: float) -> None:
        """Interrupt the block after so long, where the system can; the parent ends it otherwise."""
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, self.ring)
            signal.setitimer(signal.ITIMER_REAL, seconds)

    def ring(self, *_: Any) -> None:
        """The time of the block is over."""
        raise Hung

    def say(self, **what: Any) -> None:
        """Add a line to the report."""
        self.report.write(json.dumps(what) + "\n")
        self.report.flush()


def _meets(error: dict[str, Any], expected: list[str]) -> bool:
    return any(name in error["kinds"] for name in expected)


def main(job: str, file: str) -> None:
    """Run the blocks of a job."""
    given = json.loads(Path(job).read_text(encoding="utf-8"))
    warnings.simplefilter("ignore")
    sys.argv[:] = [""]
    sys.path.insert(0, "")
    with Path(file).open("a", encoding="utf-8") as report:
        runner = Runner(given["timeout"], given["reseed"], report)
        for line in given["prelude"]:
            with contextlib.suppress(ImportError):
                exec(line, runner.main.__dict__)
        for block in given["blocks"]:
            runner.run(block["number"], block["code"], block["expected"])
        torch = sys.modules.get("torch")
        runner.say(ended=True, gpu=bool(torch and torch.cuda.is_available()))
    os._exit(0)  # whatever threads the blocks have left behind


if __name__ == "__main__":
    main(*sys.argv[1:])
