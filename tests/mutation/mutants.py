"""Can the tests fail? Plant one mistake at a time into a column and see which test notices.

    python -m tests.mutation.mutants                     every mutant, in hours
    python -m tests.mutation.mutants --sample 24         two dozen at random; the seed is printed
    python -m tests.mutation.mutants --match "optimizers.py adam_step"
    python -m tests.mutation.mutants --list              the names only

A mutant is one line of a concept file with one mistake of MISTAKES in it. It is killed when a
test fails, or when the process dies or hangs. survivors.toml lists those that nothing can tell from
the original, each group with its reason; the exit status is 1 when another one survives, when a
test tells one that is listed, or when one that is listed no longer exists.

The frameworks are imported and the tests collected once, before any column is; each mutant is then
imported and tested in a fork of that process, so that nothing compiled or bound for another one is
there, and nothing on disk changes. mutmut and cosmic-ray start a process for each mutant, and
importing three frameworks takes ten times as long as the tests; nor have they our mistakes.

The tests are those of the mutant's concept, tests/columns/test_<concept>.py, that pass without it
(for a rate that is kept from the first call, those of test_rates.py as well):
first those that call its function or one that leads to it, the quickest first.
"""

import argparse
import ast
import contextlib
import functools
import gc
import importlib
import importlib.machinery
import importlib.util
import itertools
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import tomllib
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TextIO

import pytest

ROOT = Path(__file__).resolve().parents[2]
# not from triptych.names: the tree under test brings its own triptych
COLUMNS = ("numpy_ref", "torch_impl", "jax_impl")
WARMED = {
    "numpy_ref": ("numpy", "jaxtyping", "safetensors.numpy", "rich.table", "rich.progress"),
    "torch_impl": ("torch._dynamo", "torch.fx.experimental.proxy_tensor", "hypothesis", "mpmath"),
    "jax_impl": ("jax", "jax.numpy"),
}
"""Imported once, before the forks; JAX starts no thread before its first array."""
LIMIT = 300
"""Seconds for a test: what takes longer is endless."""
PYTEST = ["-s", "-p", "no:cacheprovider", "--tb=no", "--hypothesis-seed=0", "-W", "error"]
PYTEST += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]

# ---------------------------------------------------------------------------------------------
# The mistakes

ATOM = r"""[\w.]+(?:\["[\w.]+"\])*"""
"""Such as z1, x.grad or params["fc1.weight"]."""
VALUE = rf"{ATOM}(?:\(\))?"
KEY = r'"[\w/.]+"'
BIAS = r'"(?:\w+\.)?b(?:ias)?"'

INSTEAD = {
    "mean": "sum",
    "sum": "mean",
    "maximum": "minimum",
    "max": "min",
    "min": "max",
    "zeros_like": "ones_like",
    "ones_like": "zeros_like",
    "argmax": "argmin",
    "relu": "tanh",
    "exp": "expm1",
    "expm1": "exp",
    "log": "log1p",
    "log1p": "log",
    "sqrt": "square",
    "softmax": "log_softmax",
    "log_softmax": "softmax",
    "Adam": "AdamW",
}
"""The function that is taken for another."""

FIRST = 'globals().setdefault("first_rate", learning_rate)'
"""The rate of the first call, whatever the rate of this one."""

Row = tuple[str, str, str | Callable[[re.Match[str]], str]]
"""A kind of mistake, what to look for, what to put there."""

MISTAKES: list[Row] = [
    ("sign", r" \+ ", " - "),
    ("sign", r" - ", " + "),
    ("sign", r"(?<=return )-|(?<=[=:,] )-|(?<=\()-", ""),
    ("sign", r" \+= ", " -= "),
    ("sign", r" -= ", " += "),
    ("product", r" \* ", " / "),
    ("product", r" / ", " * "),
    ("product", r" /= ", " *= "),
    ("power", r"\*\*(?=\d)", "*"),
    ("axis", r"(?<=axis=|.dim=)-?\d", lambda m: "1" if m[0] == "0" else "0"),
    ("constant", r"(?<![\w.])\d+(?![\w.])", lambda m: str(int(m[0]) + 1)),
    ("constant", r"\b0\.9\b", "0.99"),
    ("constant", r"\b0\.999\b", "0.99"),
    ("constant", r"\b1e-8\b", "1e-7"),
    ("truth", r"\bTrue\b", "False"),
    ("truth", r"\bFalse\b", "True"),
    ("comparison", r" > ", " >= "),
    ("comparison", r" > 0\b", " != 0"),
    ("comparison", r" == ", " != "),
    ("comparison", r" != ", " == "),
    ("comparison", r" is (?!not)", " is not "),
    ("comparison", r" is not ", " is "),
    ("comparison", r"(?<!not) in ", " not in "),
    ("comparison", r" not in ", " in "),
    ("condition", r"(?<=\bif )(.+?)(?=:$| else )", r"not (\1)"),
    ("condition", r" and ", " or "),
    ("condition", r" or ", " and "),
    *(("wrong function", rf"\.{name}\b", f".{other}") for name, other in INSTEAD.items()),
    # matrices
    ("transposed operand", r"\.T\b", ""),
    ("transposed operand", rf"@ ({ATOM})(?<!\.T)(?![\w.\[(])", r"@ \1.T"),
    ("transposed operand", rf"(?<![\w.])({ATOM})(?<!\.T) @", r"\1.T @"),
    ("swapped operands", rf"(?<![\w.])({ATOM}) (@|-|/) ({ATOM})(?![\w.\[(])", r"\3 \2 \1"),
    ("square only", rf"({ATOM})\.T\b", r"(\1 if \1.shape[0] == \1.shape[-1] else \1.T)"),
    # what goes where
    ("swapped arguments", r"(?<!except \()(?<=\()(\w+), (\w+)(?=[,)])", r"\2, \1"),
    ("swapped arguments", r"argnums=\((\d), (\d)", r"argnums=(\2, \1"),
    ("swapped entries", rf"({KEY}): ({VALUE}), ({KEY}): ({VALUE})(?=[,}}])", r"\1: \4, \3: \2"),
    ("swapped results", r"return (\{.*\}|[^,]+), (\{.*\}|[^,]+)$", r"return \2, \1"),
    # the chain rule
    ("dropped gradient", r"^( +(?:d_\w+|grads)) = (.+)$", r"\1 = 0 * (\2)"),
    ("dropped gradient", rf"({KEY}): ((?:d_|through_)\w+|\w+\.grad)\b", r"\1: 0 * \2"),
    ("gradient of itself", r"(?<=d_a \+ )d_b\b", "d_a"),
    ("accumulation", r"term if parent\.grad is None else parent\.grad \+ term", "term"),
    ("missing 1/n", r"\(1 / r\.size\) \* ", ""),
    ("missing factor", r"\(2 \* r\)", "r"),
    ("overflow", r"shifted = logits - .*", "shifted = logits"),
    ("ReLU forgotten", r"[\w.]+(?<=maximum|nn\.relu|ch\.relu|f\.relu\d)\((z\d)(, 0)?\)", r"\1"),
    # statements
    ("removed statement", r"^( +)((\w+) = \3\b.*)$", r"\1pass  # \2"),
    ("removed statement", r"^( +)(\w+(?:\[.*\]|\.\w+) = .*)$", r"\1pass  # \2"),
    ("removed statement", r"^( +)([\w.]+(?:\[.*\])? [-+*/|]= .*)$", r"\1pass  # \2"),
    ("removed statement", r"^( +)([\w.]+\(.*\)|\(.*\)\.\w+\(.*\))$", r"\1pass  # \2"),
    ("context", r"with .*(?=:$)", "if True"),
    # batches, samples, epochs
    ("off by one", r"(?<=in range\()(\w+)(?=\))|(?<=length=)(\w+)", r"\g<0> - 1"),
    ("off by one", r"(?<=in range\()(\w+)(?=\))", r"\1 + 1"),
    ("off by one", r"(?<=for rows in )batches|(?<=[ (])batches(?=\)+[:$])", "batches[1:]"),
    ("off by one", r"(?<=for rows in )batches|(?<=[ (])batches(?=\)+[:$])", "batches[:-1]"),
    ("off by one", r"(?<=[xt])\[rows\]", "[rows - 1]"),
    ("off by one", r"(?<=\[rows, )t\b", "t - 1"),
    ("off by one", r"take\(rows", "take(rows - 1"),
    ("wrong rows", r"(?<=\bt)(\[rows\]|\.take\(rows\))", "[: len(rows)]"),
    ("order of classes", r"d_z3\[rows, t\]", "d_z3[t, rows]"),
    # optimisers
    ("learning rate", r"(?<![\w=])learning_rate \* ", ""),
    ("learning rate", r"learning_rate=learning_rate", "learning_rate=-learning_rate"),
    ("stale capture", r"(?<![\w=])learning_rate(?= \*)", FIRST),
    ("stale capture", r"(?<=lr=)learning_rate\b", FIRST),
    ("epsilon inside the root", r"(\w+\.sqrt)\((v(?:\[name\])? / seen2)\) \+ eps", r"\1(\2 + eps)"),
    ("epsilon forgotten", r" \+ eps\b", ""),
    ("bias correction", r" / seen[12]", ""),
    ("bias correction", r" / seen2", " / seen1"),
    ("wrong moment", r"g\*\*2", "abs(g)"),
    # dtype, memory
    ("dtype", r",( dtype=)? x\.dtype(?=\))", ""),
    ("dtype", r"\bint64\b", "int32"),
    ("memory", r'np\.asarray\((\w+), order="C"\)', r"\1"),
]
"""Made at every place of the code where the pattern stands, one at a time."""

OF_ONE_COLUMN: dict[str, list[Row]] = {
    "numpy_ref": [],
    "torch_impl": [
        ("dropped call", r"\.(clone|detach|long|requires_grad_)\(\)", ""),
        ("bias gradient", rf"(?<=\+ )(b|bias|params\[{BIAS}\])$", r"\1.detach()"),
        (
            "softmax twice",
            r"(?<=cross_entropy\()(logits\(params, x\)|net\(.*?\]\))",
            r"\1.softmax(1)",
        ),
        (
            "reduction",
            r"(_loss\(layer\(x\), t|cross_entropy\(.*, t.*?)\)$",
            r'\1, reduction="sum")',
        ),
        ("learning rate", r"lr=learning_rate", "lr=2 * learning_rate"),
        ("weight decay", r"lr=learning_rate", "lr=learning_rate, weight_decay=1e-3"),
    ],
    "jax_impl": [
        ("bias gradient", rf"(?<=\+ )(b|bias|params\[{BIAS}\])$", r"jax.lax.stop_gradient(\1)"),
        ("softmax twice", r"(?<=log_softmax\()(logits\(params, x\))", r"jax.nn.softmax(\1)"),
        ("accumulation", r"jnp\.add, total, grads", "jnp.add, grads, grads"),
        ("stop gradient", r"(?:jax\.lax\.stop_gradient|\bstop)\((x( \+ \d)?)\)", r"(\1)"),
    ],
}


class Mutant(NamedTuple):
    """One mistake in one line."""

    path: str
    """Such as "numpy_ref/gradients.py"."""
    function: str
    """The function, class or table at the top level of the file."""
    kind: str
    line: int
    old: str
    new: str
    source: str
    """The whole file with the mistake in it."""
    name: str
    """File, function, kind and the new line: it stays when other lines change."""

    @property
    def column(self) -> str:
        return self.path.split("/")[0]

    @property
    def test_files(self) -> dict[str, str]:
        """The files in tests/columns with its tests, without the ending: words of their names."""
        concept = Path(self.path).stem
        rates = {"test_rates": f"-{concept}."} if self.kind == "stale capture" else {}
        return {f"test_{concept}": ""} | rates


def concept_files(root: Path) -> list[str]:
    """The files to mutate: every concept of every column, not the boundary."""
    files = sorted(path for column in COLUMNS for path in (root / column).glob("[!_]*.py"))
    return [path.relative_to(root).as_posix() for path in files]


@functools.cache
def mutants(root: Path) -> tuple[Mutant, ...]:
    """Every mutant of every concept file, in the order of the sources."""
    return tuple(mutant for path in concept_files(root) for mutant in mutate(path, root))


def mutate(path: str, root: Path) -> Iterator[Mutant]:
    """Every mutant of one file: they compile, and all differ from it and from each other."""
    text = (root / path).read_text(encoding="utf-8")
    tree, lines = ast.parse(text), text.splitlines()
    rows = MISTAKES + OF_ONE_COLUMN[path.split("/")[0]]
    # texts and messages are no mistake to look for
    silent = [
        ((node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset))
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr | ast.Raise)
        or (isinstance(node, ast.Constant) and isinstance(node.value, str))
    ]
    seen, names = {text}, Counter[str]()
    for statement in filter(_defined, tree.body):
        function = _defined(statement)
        first_line, last_line = statement.lineno, statement.end_lineno or 0
        for number in range(first_line, last_line + 1):
            old = lines[number - 1]
            for kind, (first, last), new in _changes(old.split("#")[0].rstrip(), rows):
                source = "\n".join([*lines[: number - 1], new, *lines[number:], ""])
                here = (number, first), (number, last)
                quiet = any(start <= here[0] and here[1] <= end for start, end in silent)
                if quiet or source in seen or new == old.split("#")[0].rstrip():
                    continue
                # the statement alone: to compile each file four thousand times takes too long
                changed = [*lines[first_line - 1 : number - 1], new, *lines[number:last_line]]
                if not _compiles("\n".join(changed)):
                    continue
                seen.add(source)
                name = f"{path} {function}, {kind}: {new.strip()}"
                names[name] += 1
                name += f" ({names[name]})" if names[name] > 1 else ""
                yield Mutant(path, function, kind, number, old.strip(), new.strip(), source, name)


def _changes(code: str, rows: Sequence[Row]) -> Iterator[tuple[str, tuple[int, int], str]]:
    """The kind of each mistake in a line, its place, and the new line."""
    for kind, pattern, replacement in rows:
        for match in re.finditer(pattern, code):
            text = match.expand(replacement) if isinstance(replacement, str) else replacement(match)
            yield kind, match.span(), code[: match.start()] + text + code[match.end() :]


def _compiles(source: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def _defined(statement: ast.stmt) -> str:
    """The name that a statement at the top level of a file defines."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return statement.name
    target = statement.targets[0] if isinstance(statement, ast.Assign) else None
    target = statement.target if isinstance(statement, ast.AnnAssign) else target
    return target.id if isinstance(target, ast.Name) else ""


# ---------------------------------------------------------------------------------------------
# Which tests to run, and how


def reached_from(root: Path) -> dict[str, set[str]]:
    """For each definition, "column.concept.name", the definitions whose code leads to it.

    By the names in the sources: Python does not run a compiled function the second time, so
    watching it would miss most of its uses.
    """
    uses: dict[str, set[str]] = {}
    for path in concept_files(root):
        module = path.removesuffix(".py").replace("/", ".")
        tree = ast.parse((root / path).read_text(encoding="utf-8"))
        known = {name: f"{module}.{name}" for name in map(_defined, tree.body) if name}
        for statement in tree.body:
            if isinstance(statement, ast.ImportFrom):
                known |= {a.name: f"{statement.module}.{a.name}" for a in statement.names}
        for statement in tree.body:
            if name := _defined(statement):
                named = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name)}
                uses[f"{module}.{name}"] = {known[n] for n in named if n in known}
    reached = {name: {name} for name in uses}
    for name in uses:
        waiting = [name]
        for here in waiting:
            waiting += [used for used in uses[here] if used in uses and used not in waiting]
            reached[here].add(name)
    return reached


class Record(NamedTuple):
    """How a test went without a mutant."""

    passed: bool
    seconds: float
    touched: set[str]
    """The public functions of the columns that it called."""


class Job(NamedTuple):
    """Tests to run in a fork: with a mutant until the first that fails, else all."""

    label: str
    tests: list[str]
    mutant: Mutant | None = None


class Child:
    """A pytest plugin, in a fork: runs the tests of a job and keeps what they did."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.seconds: dict[str, float] = defaultdict(float)
        self.touched: dict[str, set[str]] = defaultdict(set)
        self.bad: list[str] = []
        self.now = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        if report.failed or (report.skipped and not self.job.mutant):
            self.bad.append(report.nodeid)

    def run(self, session: pytest.Session) -> None:
        """Run the job's tests in order."""
        session.config.pluginmanager.register(self)
        by_id = {item.nodeid: item for item in session.items}
        items = [by_id[test] for test in self.job.tests]
        if self.job.mutant:
            sys.meta_path.insert(0, Planted(self.job.mutant))
        else:
            self.watch()
        for item, following in itertools.zip_longest(items, items[1:]):
            self.now = item.nodeid
            signal.alarm(LIMIT)
            session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.job.mutant and self.bad:
                break

    def watch(self) -> None:
        """Note every call of a public function of a column."""
        checks: Any = importlib.import_module("triptych.checks")
        make_checked = checks.make_checked

        def make_watched(backend: Any) -> Callable[..., Any]:
            checked = make_checked(backend)

            def decorate(function: Any) -> Any:
                inner = checked(function)

                @functools.wraps(function)
                def outer(*args: Any, **kwargs: Any) -> Any:
                    if not backend.compiling():  # a compiler must not see what is noted here
                        self.touched[self.now].add(f"{function.__module__}.{function.__name__}")
                    return inner(*args, **kwargs)

                return outer

            return decorate

        checks.make_checked = make_watched


class Planted(importlib.machinery.SourceFileLoader):
    """Imports a mutant in the place of its file."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant
        module = mutant.path.removesuffix(".py").replace("/", ".")
        super().__init__(module, str(Path(mutant.path).resolve()))

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def get_code(self, fullname: str) -> Any:
        return compile(self.mutant.source, self.path, "exec", dont_inherit=True)


# ---------------------------------------------------------------------------------------------
# Running


class Hunt:
    """A pytest plugin: takes the place of the loop over the tests once they are collected."""

    def __init__(self, targets: Sequence[Mutant], jobs: int, scratch: Path, screen: TextIO) -> None:
        self.targets = targets
        self.jobs = jobs
        self.scratch = scratch
        self.screen = screen
        self.reached = reached_from(Path.cwd())
        self.records: dict[str, dict[str, Record]] = {}
        """By test file: how its tests went without a mutant."""
        self.killed: dict[str, str] = {}
        """By the mutant's name: what noticed."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Kill what can be killed."""
        loaded = [name for name in COLUMNS if name in sys.modules]
        assert not loaded, f"a test file imports {loaded} itself: no mutant would take its place"
        self.session = session
        self.files: dict[str, list[str]] = defaultdict(list)
        for item in session.items:
            self.files[item.path.stem].append(item.nodeid)
        gc.collect()
        gc.freeze()
        self.measure()
        self.kill()
        return True

    def say(self, line: str) -> None:
        print(line, file=self.screen, flush=True)

    def kill(self) -> None:
        """Run the tests of its concept with each mutant."""
        jobs = [Job(mutant.name, self.tests_of(mutant), mutant) for mutant in self.targets]
        number = itertools.count(1)

        def done(job: Job, death: str, result: dict[str, Any]) -> None:
            if killer := death or next(iter(result["bad"]), ""):
                self.killed[job.label] = killer
            verdict = f"killed by {killer}" if killer else "alive"
            self.say(f"{next(number)}/{len(jobs)} {job.label}\n    {verdict}")

        self.run(jobs, done)

    def measure(self) -> None:
        """Run every test without a mutant."""

        def done(job: Job, death: str, result: dict[str, Any]) -> None:
            if death:
                raise RuntimeError(f"{job.label} ended by {death} without a mutant")
            bad = result["bad"]
            self.records[job.label] = {
                test: Record(test not in bad, seconds, set(result["touched"].get(test, ())))
                for test, seconds in result["seconds"].items()
            }
            self.say(f"{job.label}: {len(result['seconds'])} tests pass without a mutant, but for")
            self.say("\n".join(f"    {test}" for test in bad or ["none"]))

        self.run([Job(file, tests) for file, tests in sorted(self.files.items())], done)

    def tests_of(self, mutant: Mutant) -> list[str]:
        """The tests of a mutant's concept in its column, in the order in which to run them."""
        target = f"{mutant.path.removesuffix('.py').replace('/', '.')}.{mutant.function}"
        reach = self.reached[target]
        others = [column for column in COLUMNS if column != mutant.column]
        order = {
            test: (not record.touched & reach, record.seconds)
            for file, words in mutant.test_files.items()
            for test, record in self.records[file].items()
            if words in test and record.passed and not any(column in test for column in others)
        }
        return sorted(order, key=order.__getitem__)

    def run(self, jobs: Sequence[Job], done: Callable[[Job, str, dict[str, Any]], None]) -> None:
        """Run every job in a fork of its own, some at a time; hand over how each ended."""
        waiting = list(jobs)[::-1]
        busy: dict[int, Job] = {}
        try:
            while waiting or busy:
                while waiting and len(busy) < self.jobs:
                    pid = os.fork()
                    if pid == 0:
                        self.child(waiting[-1])
                    busy[pid] = waiting.pop()
                pid, status = os.wait()
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)  # what it has started
                code = os.waitstatus_to_exitcode(status)
                place, job = self.scratch / str(pid), busy.pop(pid)
                if code > 0:
                    raise RuntimeError(f"{job.label}: {(place / 'result').read_text()}")
                death = signal.Signals(-code).name if code else ""
                result = {} if code else json.loads((place / "result").read_text())
                shutil.rmtree(place, ignore_errors=True)
                done(job, death, result)
        finally:
            for pid in busy:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)

    def child(self, job: Job) -> NoReturn:
        """Run the job's tests and end."""
        place = self.scratch / str(os.getpid())
        code = 1
        try:
            os.setpgid(0, 0)
            place.mkdir()
            os.environ["PYTEST_DEBUG_TEMPROOT"] = str(place)
            child = Child(job)
            child.run(self.session)
            touched = {test: sorted(names) for test, names in child.touched.items()}
            result = {"bad": child.bad, "seconds": child.seconds, "touched": touched}
            (place / "result").write_text(json.dumps(result))
            code = 0
        except BaseException:
            # a mistake of this tool, which must not count as a kill
            (place / "result").write_text(traceback.format_exc())
        finally:
            os._exit(code)


def hunt(root: Path, targets: Sequence[Mutant], jobs: int) -> dict[str, str]:
    """Which mutants of a tree are killed, and by what."""
    os.chdir(root)
    os.environ["PYTHONPATH"] = str(root)
    # on every machine the same tests; forks would quarrel about a GPU's memory and about cores
    os.environ |= {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"}
    os.environ["TRIPTYCH_PLANTED"] = "1"  # the tests of slow.txt too
    # not the folder of this file: the other tree's tests would import from it
    sys.path[:] = [str(root), *(p for p in sys.path if Path(p).resolve().parent != ROOT)]
    for column in {mutant.column for mutant in targets}:
        for module in WARMED[column]:
            with contextlib.suppress(ImportError):
                importlib.import_module(module)
    names = sorted({file for mutant in targets for file in mutant.test_files})
    files = [f"tests/columns/{name}.py" for name in names]
    with tempfile.TemporaryDirectory(prefix="mutants.") as home:
        plugin = Hunt(targets, jobs, Path(home), sys.stdout)
        # what pytest and the tests print is for the log alone
        with (
            Path(home, "log").open("w") as log,
            contextlib.redirect_stdout(log),
            contextlib.redirect_stderr(log),
        ):
            code = pytest.main([*PYTEST, *files], plugins=[plugin])
        if code:
            raise RuntimeError(f"pytest ends with {code!r}\n{Path(f'{home}/log').read_text()}")
    return plugin.killed


def explained(root: Path) -> dict[str, str]:
    """The mutants that nothing can tell, and why: tests/mutation/survivors.toml."""
    path = root / "tests" / "mutation" / "survivors.toml"
    groups = tomllib.loads(path.read_text(encoding="utf-8"))["group"] if path.exists() else []
    return {name: group["why"] for group in groups for name in group["names"]}


def score(targets: Sequence[Mutant], killed: dict[str, str], reasons: dict[str, str]) -> str:
    """How many were killed: in all, by column and by kind."""
    lines = []
    for key in (lambda m: "all", lambda m: m.column, lambda m: m.kind):
        groups: dict[str, list[Mutant]] = defaultdict(list)
        for mutant in targets:
            groups[key(mutant)].append(mutant)
        for group, members in sorted(groups.items()):
            dead = sum(m.name in killed for m in members)
            known = sum(m.name in reasons and m.name not in killed for m in members)
            lines.append(
                f"{group:24}{dead:6} of{len(members):6} killed,{known:4} explained,"
                f"{len(members) - dead - known:4} not"
            )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 1 when something is left to look at."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sample", type=int, metavar="N", help="only N mutants, drawn at random")
    parser.add_argument("--seed", type=int, help="of the sample; by default a new one")
    parser.add_argument("--match", metavar="TEXT", default="", help="those with it in the name")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at a time")
    parser.add_argument("--root", type=Path, default=ROOT, help="another tree of the same form")
    parser.add_argument("--list", action="store_true", help="print the names, run nothing")
    options = parser.parse_args(arguments)
    root = options.root.resolve()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    start = time.monotonic()

    everything, reasons = mutants(root), explained(root)
    targets = [mutant for mutant in everything if options.match in mutant.name]
    if options.sample is not None and options.sample < len(targets):
        targets = random.Random(seed).sample(targets, options.sample)
        print(f"a sample of {options.sample}, seed {seed}", flush=True)
    if not targets:
        parser.error(f"no mutant matches {options.match!r}")
    if options.list:
        print("\n".join(mutant.name for mutant in targets))
        return 0
    killed = hunt(root, targets, options.jobs)

    print(f"\n{score(targets, killed, reasons)}\n")
    bad = [
        f"listed, but there is no such mutant: {name}"
        for name in reasons.keys() - {m.name for m in everything}
    ]
    for mutant in targets:
        if mutant.name in killed and mutant.name in reasons:
            bad.append(f"listed, but killed by {killed[mutant.name]}: {mutant.name}")
        elif mutant.name not in killed and mutant.name not in reasons:
            bad.append(
                f"survived: {mutant.path}:{mutant.line}\n    - {mutant.old}\n    + {mutant.new}"
            )
    print("\n".join(bad))
    print(f"{len(targets)} mutants in {time.monotonic() - start:.0f} s; {len(bad)} to look at")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
