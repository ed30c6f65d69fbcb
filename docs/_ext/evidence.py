"""What the pages show is measured while they are built: claims, agreement, traps, pictures.

The jobs run side by side in processes of their own. What they find is kept under a name made of
the sources' contents and the frameworks' versions, so that a second build of the same sources
measures nothing again and a build of other sources measures everything. Most of the time goes into
XLA's compiler, so a program that one job has compiled is kept for the others.
"""

import hashlib
import importlib.metadata
import itertools
import json
import os
import platform
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util import logging

from triptych.column import missing
from triptych.names import COLUMNS, CONCEPTS, FRAMEWORKS

ROOT = Path(__file__).absolute().parents[2]
READ = (*COLUMNS, "triptych", "docs/_ext/evidence.py")
READ_TOO = {
    "pictures": ("docs/pictures.py",),
    "traps": ("docs/_ext/traps.py", "docs/traps.toml"),
    "simulator": ("docs/_ext/simulator_data.py", "docs/_ext/simulator_networks.py"),
}
JOBS = (
    # the longest first; those that compile the same programs after each other
    ("agreement", "float32"),
    ("traps", ""),
    ("values", ""),
    ("pictures", ""),
    ("agreement", "float64"),
    ("digests", ""),
    ("claims", "jax_impl"),
    ("claims", "torch_impl"),
    ("simulator", ""),
    ("witness", ""),
    ("claims", "numpy_ref"),
)
PICTURES = "_pictures"

logger = logging.getLogger(__name__)


def setup(app: Sphinx) -> dict[str, Any]:
    """Measure before the pages are read; put the pictures beside them at the end."""
    app.connect("builder-inited", collect)
    app.connect("build-finished", copy_pictures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def collect(app: Sphinx) -> None:
    """Fill `app.env.triptych` with what every job found.

    Raises:
        ExtensionError: a framework is missing, or a job failed; the message says which.
    """
    absent = [reason for column in COLUMNS if (reason := missing(column))]
    if absent:
        raise ExtensionError(f"the pages show what all three columns compute: {', '.join(absent)}")
    cache = Path(app.doctreedir).parent / "evidence"
    files = {job: cache / fingerprint(job) / "found.json" for job in JOBS}
    todo = [job for job in JOBS if not files[job].is_file()]
    if todo:
        logger.info("measuring %s", ", ".join(" ".join(job).strip() for job in todo))
        _measure({job: files[job] for job in todo}, compiled=cache.parent / "compiled")
    found: dict[str, Any] = {"shown": set()}
    for job, file in files.items():
        found.setdefault(job[0], {})[job[1]] = json.loads(file.read_text("utf-8"))
    app.env.triptych = found  # type: ignore[attr-defined]
    app.config.triptych_pictures = str(files["pictures", ""].parent)


def copy_pictures(app: Sphinx, exception: Exception | None) -> None:
    """Copy the pictures that the build used into the site."""
    if exception is None and app.builder.format == "html":
        target = Path(app.outdir) / PICTURES
        target.mkdir(exist_ok=True)
        for picture in Path(app.config.triptych_pictures).glob("*.svg"):
            (target / picture.name).write_bytes(picture.read_bytes())


def fingerprint(job: Sequence[str]) -> str:
    """A name for the job, the sources that it measures and what they are measured with."""
    versions = [importlib.metadata.version(name) for name in FRAMEWORKS.values()]
    digest = hashlib.sha256("\0".join([*job, platform.platform(), sys.version, *versions]).encode())
    for path in _files((*READ, *READ_TOO.get(job[0], ()))):
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return f"{'-'.join(filter(None, job))}-{digest.hexdigest()[:16]}"


def _files(names: Sequence[str]) -> Iterator[Path]:
    for name in names:
        path = ROOT / name
        # sources and data; what Python compiles of them changes with every clone
        found = sorted(path.rglob("*.[pct]*")) if path.is_dir() else [path]
        yield from (file for file in found if file.is_file() and file.suffix != ".pyc")


def _measure(todo: dict[tuple[str, str], Path], *, compiled: Path) -> None:
    """Run the jobs in processes of their own.

    Raises:
        ExtensionError: one failed; the message is what it said.
    """
    path = os.pathsep.join([str(ROOT), str(ROOT / "docs"), str(Path(__file__).parent)])
    settings = {
        "PYTHONPATH": path,
        "JAX_PLATFORMS": "cpu",
        # the jobs share the cores: with more than one thread each they would wait for each other
        "OMP_NUM_THREADS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(compiled),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    asked = json.dumps([[*job, str(file)] for job, file in todo.items()])
    done = subprocess.run(
        [sys.executable, __file__],
        input=asked, env=os.environ | settings, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise ExtensionError(done.stderr.strip())


# The jobs


def claims(column: str) -> list[dict[str, Any]]:
    """Every claim in a column, with what the pages say about it."""
    from triptych.claims import verdicts

    results = verdicts.check_all((column,))
    wrong = [
        f"{r.claim.id}: {r.text} instead of {r.expected}"
        for r in results
        if r.verdict == verdicts.WRONG
    ]
    if wrong:
        raise SystemExit("\n".join(wrong))
    return verdicts.as_records(results)


def values(_: str) -> dict[str, dict[str, str]]:
    """The values that no document has: by name, the text of each column."""
    from triptych.claims import book, verdicts

    chosen = [entry for entry in book.entries() if not entry.document]
    return {
        name: {r.column: r.text for r in row}
        for name, row in verdicts.by_claim(verdicts.check_all(only=chosen)).items()
    }


def agreement(dtype: str) -> list[dict[str, Any]]:
    """The rows of the agreement table, in one dtype."""
    from triptych.agreement.exhibits import agreement as measured

    rows = list(measured((dtype,)))
    apart = [f"{r.concept}, {r.quantity}, {r.pair}: {r.note}" for r in rows if not r.holds]
    if apart:
        raise SystemExit("the columns disagree: " + "; ".join(apart))
    return [row._asdict() for row in rows]


def digests(_: str) -> list[dict[str, Any]]:
    """The runs of 100 steps, with the digest that each column finds."""
    from triptych.agreement import digests as book
    from triptych.column import Column

    runs = [run for run in book.committed() if run.steps == 100]
    found = [run._asdict() | {c: book.find(Column(c), run) for c in COLUMNS} for run in runs]
    if wrong := [run for run in found if {run[c] for c in COLUMNS} != {run["digest"]}]:
        raise SystemExit(f"another digest than in digests.toml: {wrong}")
    return found


def witness(_: str) -> dict[str, Any]:
    """What a browser needs to train the first two runs: tables, data, and the digests to find."""
    from numpy_ref import rounding
    from triptych.agreement import digests as book

    runs = book.committed()[:2]  # they begin alike
    start, x, t, batches = book.given(runs[0])
    return {
        "tables": {
            "exp": {
                "whole": rounding.EXP_WHOLE.tolist(),
                "coarse": rounding.EXP_COARSE.tolist(),
                "fine": rounding.EXP_FINE.tolist(),
            },
            "log": {
                "power": rounding.LOG_POWER.tolist(),
                "coarse": rounding.LOG_COARSE.tolist(),
            },
        },
        "runs": [run._asdict() | {"rate": book.RATES[run.optimizer]} for run in runs],
        "data": {
            "x": x.tolist(),
            "t": t.tolist(),
            "start": {name: p.tolist() for name, p in start.items()},
            "batches": batches.tolist(),
        },
    }


def traps(_: str) -> dict[str, Any]:
    """What the lines of traps.toml give."""
    import traps as book

    return book.run()


def simulator(_: str) -> dict[str, Any]:
    """The graphs of the simulator, with what the three columns return for them."""
    from simulator_data import simulator_data

    return simulator_data()


JOB = {
    "claims": claims,
    "values": values,
    "agreement": agreement,
    "digests": digests,
    "witness": witness,
    "traps": traps,
    "simulator": simulator,
}


def run(kind: str, part: str, file: Path) -> None:
    """Run one job and write what it found."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if kind == "pictures":
        import pictures

        found: Any = pictures.draw(file.parent)
    else:
        found = JOB[kind](part)
    # whole or not at all: a build that is stopped leaves nothing half written behind
    half = Path(f"{file}.half")
    half.write_text(json.dumps(found), encoding="utf-8")
    half.replace(file)


def main(todo: Sequence[Sequence[str]]) -> int:
    """Run the jobs, each a KIND, a PART and a FILE, as many at a time as there are cores.

    The columns are imported once; each job then has a copy of this process to itself.
    """
    for column, concept in itertools.product(COLUMNS, CONCEPTS):
        import_module(f"{column}.{concept}")
    waiting, running, failed = list(todo), 0, False
    while waiting or running:
        if waiting and running < (os.cpu_count() or 1):
            kind, part, file = waiting.pop(0)
            running += 1
            if os.fork() == 0:
                try:
                    run(kind, part, Path(file))
                except BaseException:
                    print(f"{kind} {part}:", traceback.format_exc(), file=sys.stderr, flush=True)
                    os._exit(1)
                os._exit(0)
        else:
            failed |= os.wait()[1] != 0
            running -= 1
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(json.load(sys.stdin)))
