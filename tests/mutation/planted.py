"""Plant mistakes that take a person, one at a time: do the tests that should tell notice?

    python -m tests.mutation.planted                       every one
    python -m tests.mutation.planted --match bounds        those with it in the kind or the file
    python -m tests.mutation.planted --sample 6 --seed 1   six at random

`mutants` knows mistakes by their form and plants them in the columns. Here stand those of the glue
as well, at the limits of what is checked, in what is drawn: by hand in planted.toml, and where they
have a form after all, in OPERATORS. Each is planted in a copy of the tree and tested in a process
of its own, so that whatever imports the file gets the mistake too. The exit status is 1 when one
survives that has no `why`, the reason why nothing can tell it, or when one that has it is noticed.
"""

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
COPIED = (
    *("numpy_ref", "torch_impl", "jax_impl", "triptych"),
    *("benchmarks", "tests", "docs", "exercises"),
)
LIMIT = 600
"""Seconds for the tests of one mistake: what takes longer is endless."""


def _wider(found: re.Match[str]) -> str:
    """A bound a thousand times as wide; four where nothing may differ."""
    return "4" if float(found[0]) == 0 else f"1000 * {found[0]}"


Operator = tuple[str, str, str, str | Callable[[re.Match[str]], str], list[str]]
"""The kind, the file, what to look for, what to put there, and the tests that should tell."""
COMPARE = "tests/glue/test_compare.py"
OPERATORS: list[Operator] = [
    (
        "exit status", "triptych/__main__.py", r"return [12]\b( if .*)?$", "return 0",
        [
            *("tests/glue/test_cli.py", f"{COMPARE}::test_a_dtype_that_a_concept_lacks"),
            f"{COMPARE}::test_a_planted_mistake_is_found",
            "tests/glue/test_claims.py::test_a_wrong_claim_is_the_commands_exit_status",
            "tests/glue/test_report.py::test_bad_files",
        ],
    ),
    (
        "exit status", "triptych/train.py", r"return (0 if .* else 1|WRONG)$", "return 0",
        ["tests/glue/test_train.py"],
    ),
    (
        "bounds", "triptych/agreement/exhibits.py", r"(?<= fixed\()\d+|(?<= epsilons\()\d+", _wider,
        [
            f"{COMPARE}::test_where_nothing_may_differ",
            f"{COMPARE}::test_a_mistake_of_ten_times_the_bound_is_found",
        ],
    ),
    (
        "bounds", "triptych/agreement/bounds.py", r"(?<=\d: )\d+e-\d+", _wider,
        ["tests/columns/test_training.py::test_no_bound_hides_a_rate_that_is_a_little_off"],
    ),
    (
        "bounds", "triptych/port/verdict.py", r"(?<=^BOUND = )[\d.]+|(?<=^FLOOR = )[\d.]+", _wider,
        ["tests/glue/port/test_edges.py"],
    ),
]  # fmt: skip


class Mistake(NamedTuple):
    """What stands at a place of a file, and what is planted there."""

    kind: str
    file: str
    stood: str
    planted: str
    tests: list[str]
    why: str
    """Why nothing can tell it; "" where the tests must."""
    source: str
    """The whole file with the mistake in it."""


def by_hand(root: Path = ROOT) -> list[Mistake]:
    """Every mistake of planted.toml.

    Raises:
        ValueError: its place is not there, or not once.
    """
    entries = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    found = []
    for entry in entries["mistake"]:
        text = (root / entry["file"]).read_text(encoding="utf-8")
        if (count := text.count(entry["stood"])) != 1:
            raise ValueError(f"{entry['file']} has {count} times {entry['stood']!r}")
        source = text.replace(entry["stood"], entry["planted"])
        found.append(Mistake(**{"why": "", **entry}, source=source))
    return found


def by_operator(root: Path = ROOT) -> list[Mistake]:
    """Every place of OPERATORS."""
    found = []
    for kind, file, pattern, replacement, tests in OPERATORS:
        text = (root / file).read_text(encoding="utf-8")
        for match in re.finditer(pattern, text, re.MULTILINE):
            new = replacement if isinstance(replacement, str) else replacement(match)
            source = text[: match.start()] + new + text[match.end() :]
            line = text[: match.start()].count("\n")
            stood, planted = (t.splitlines()[line].strip() for t in (text, source))
            found.append(Mistake(kind, file, stood, planted, tests, "", source))
    return found


def copy(root: Path) -> None:
    """A copy of the tree to plant mistakes in."""
    ignored = shutil.ignore_patterns("__pycache__", "results")
    for name in COPIED:
        shutil.copytree(ROOT / name, root / name, ignore=ignored)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, root)


def noticed(mistake: Mistake, root: Path) -> str:
    """The test that notices a mistake, planted in a copy of the tree; "" if none does."""
    path = root / mistake.file
    original = path.read_text(encoding="utf-8")
    path.write_text(mistake.source, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n0", "-p", "no:cacheprovider"]
    settings = {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "999"}
    settings["TRIPTYCH_PLANTED"] = "1"  # the tests of slow.txt too
    try:
        done = subprocess.run(
            [*command, "--tb=no", *mistake.tests], cwd=root, env=os.environ | settings,
            capture_output=True, text=True, timeout=LIMIT, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "the time limit"
    finally:
        path.write_text(original, encoding="utf-8")
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{mistake.file}: {done.stdout}{done.stderr}")
    failed: Any = re.search(r"^(?:FAILED|ERROR) (.*)$", done.stdout, re.MULTILINE)
    return failed[1].split(" - ")[0] if done.returncode else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 1 when something is left to look at."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--match", default="", metavar="TEXT", help="in the kind or the file")
    parser.add_argument("--sample", type=int, metavar="N", help="only N of them")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    options = parser.parse_args(arguments)
    every = by_hand() + by_operator()
    chosen = [m for m in every if options.match in f"{m.kind}, {m.file}: {m.planted}"]
    if options.sample is not None:
        chosen = random.Random(options.seed).sample(chosen, min(options.sample, len(chosen)))
    if not chosen:
        parser.error(f"no mistake matches {options.match!r}")
    bad: list[str] = []
    planted, caught = Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="planted.") as folder:
        copy(Path(folder))
        for mistake in chosen:
            by = noticed(mistake, Path(folder))
            said = f"{mistake.file}, {mistake.kind}: {mistake.planted}"
            print(f"{said}\n    {by or mistake.why or 'SURVIVED'}", flush=True)
            planted[mistake.kind] += 1
            caught[mistake.kind] += bool(by)
            if bool(by) == bool(mistake.why):
                bad.append(f"{'noticed, and has a why' if by else 'survived'}: {said}")
    print()
    for kind in sorted(planted):
        print(f"{kind:24}{caught[kind]:4} of{planted[kind]:4} caught")
    print("\n".join(bad))
    explained = sum(bool(mistake.why) for mistake in chosen)
    print(f"{len(chosen)} planted, {caught.total()} caught, {explained} explained")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
