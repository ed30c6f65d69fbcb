"""The command `triptych`: compare, read, cheatsheet, claims, run, train, report."""

import _thread
import argparse
import contextlib
import hashlib
import io
import json
import os
import platform
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from triptych.names import COLUMNS, DISPLAY_NAMES, UnknownNameError, column_of
from triptych.source.parse import concepts

if TYPE_CHECKING:
    from rich.console import Console


def parser() -> argparse.ArgumentParser:
    """The command line; no framework is imported for it."""
    top = argparse.ArgumentParser(
        prog="triptych",
        description="Tensors, automatic differentiation and training three ways: NumPy by hand, "
        "PyTorch, JAX. Compared, side by side.",
    )
    top.add_argument("--version", action="version", version=f"triptych {_version()}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    compare = commands.add_parser(
        "compare", help="run every concept in three columns, print how they agree, train"
    )
    compare.add_argument("--concept", metavar="NAME", help="only this one")
    compare.add_argument("--dtype", choices=("float32", "float64"), help="only this one")
    compare.add_argument("--device", default="cpu", metavar="NAME", help="cpu (default) or cuda")
    compare.add_argument("--json", action="store_true", help="print JSON for a machine")

    read = commands.add_parser("read", help="show the three sources side by side")
    read.add_argument("concept", nargs="?", help="without one: list what there is")
    read.add_argument("function", nargs="?", help="without one: the whole concept")
    read.add_argument("--dim-same", action="store_true", help="dim the lines that do not differ")
    read.add_argument(
        "--code", action="store_true", help="leave out of docstrings what is looked up"
    )
    read.add_argument("--svg", metavar="FILE", help="write a picture instead")

    cheatsheet = commands.add_parser(
        "cheatsheet", help="what NumPy, PyTorch and JAX call the same thing"
    )
    cheatsheet.add_argument(
        "word", nargs="*", help="a name or a part of one: jnp.take; without one: everything"
    )

    run = commands.add_parser("run", help="print what the documents print about a concept")
    run.add_argument("concept", help="one of those that `triptych read` lists")
    run.add_argument("--column", metavar="NAME", help="numpy_ref, torch_impl or jax_impl")
    run.add_argument("--dtype", choices=("float32", "float64"), default="float64")
    run.add_argument("--device", default="cpu", metavar="NAME", help="cpu (default) or cuda")

    claims = commands.add_parser("claims", help="check every number that the documents print")
    claims.add_argument(
        "id", nargs="?", metavar="ID | FILE.md",
        help="one claim in full; B or A-line: those that begin so; else: all. Or a tutorial of "
        "your own: what its blocks of Python print beside what it says that they print",
    )  # fmt: skip
    claims.add_argument("--errata", action="store_true", help="only the documents' mistakes")
    claims.add_argument("--column", metavar="NAME", help="only this one")
    claims.add_argument("--json", action="store_true", help="print JSON for a machine")
    claims.add_argument(
        "--run", action="store_true", help="run the blocks of FILE.md; without it they are listed"
    )
    claims.add_argument(
        "--timeout", type=float, default=60.0, metavar="S",
        help="seconds for each block of FILE.md (default: 60)",
    )  # fmt: skip

    train = commands.add_parser("train", help="train the classifier, on several workers")
    train.add_argument("--column", default="numpy_ref", metavar="NAME", help="whose engine")
    train.add_argument("--workers", type=int, metavar="N", help="how many (default: 1)")
    train.add_argument(
        "--reproducible", action="store_true", help="the same bits for any number of workers"
    )
    train.add_argument("--optimizer", choices=("sgd", "adam"), default="sgd")
    train.add_argument(
        "--learning-rate", type=float, metavar="RATE", help="default: 0.1 for sgd, 0.01 for adam"
    )
    train.add_argument("--steps", type=int, default=100, metavar="N", help="default: 100")
    train.add_argument("--batch", type=int, default=32, metavar="ROWS", help="default: 32")
    train.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    train.add_argument(
        "--checkpoint", type=Path, metavar="DIR", help="write there, and go on from what is there"
    )
    train.add_argument(
        "--every", type=int, default=50, metavar="N", help="steps to a checkpoint (default: 50)"
    )
    train.add_argument("--device", default="cpu", metavar="NAME", help="cpu (default) or cuda")
    train.add_argument(
        "--timeout", type=float, default=60.0, metavar="S",
        help="seconds after which a silent worker is an error (default: 60)",
    )  # fmt: skip
    train.add_argument("--json", action="store_true", help="print JSON for a machine")

    report = commands.add_parser("report", help="tables and plots from timing results")
    report.add_argument(
        "files", nargs="+", metavar="FILE", help="JSON of `pytest --benchmark-json`"
    )
    report.add_argument(
        "--baseline", metavar="NAME", help="a column, or column:mode (default: numpy_ref)"
    )
    report.add_argument("--out", metavar="DIR", help="write Markdown, HTML and plots there")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the words after `triptych`; by default those of the process.

    Returns:
        The exit status: 0, 1 where something disagrees, 2 for a wrong name or file.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # print "?" for what it cannot encode
            stream.reconfigure(errors="replace")
    words = list(sys.argv[1:] if arguments is None else arguments)
    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "compare": _compare,
        "read": _read,
        "cheatsheet": _cheatsheet,
        "run": _run,
        "claims": _claims,
        "report": _report,
        "train": lambda options: _train(options, words),
    }
    try:
        if words and words[0][:1] not in ("", "-") and words[0] not in commands:
            raise UnknownNameError("command", words[0], tuple(commands))
        options = parser().parse_args(words or ["--help"])
        if options.command in ("compare", "run") or (
            options.command == "claims" and not options.run
        ):
            _spare()
        with _no_interruption_lost():
            return commands[options.command](options)
    except UnknownNameError as error:
        print(f"triptych: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ntriptych: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # whoever read the output has seen enough; nothing is left to flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _spare() -> None:
    """Compute on one thread, and keep JAX's compiled programs for the next time.

    The matrices are small: several threads would mostly wait for each other, and on a busy machine
    take more than twice the CPU time. Compiling is half of what is left. What the user has set is
    left alone, and so is a process that has loaded JAX already.
    """
    if "jax" in sys.modules:
        return
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    with contextlib.suppress(OSError, RuntimeError):  # no home, or nothing can be written there
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        kept = home / "triptych" / f"jax-{processor()}"
        kept.mkdir(parents=True, exist_ok=True)
        if os.access(kept, os.W_OK):
            os.environ["JAX_COMPILATION_CACHE_DIR"] = str(kept)
            os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def processor() -> str:
    """A name for this kind of processor: a home may be shared by several, and programs may not."""
    kind = f"{platform.machine()} {platform.processor()}"
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        kind += "".join(sorted({line for line in lines if line.startswith(("flags", "Features"))}))
    return hashlib.sha256(kind.encode()).hexdigest()[:16]


@contextlib.contextmanager
def _no_interruption_lost() -> Iterator[None]:
    """Interrupt again where Python drops a Ctrl-C, as it drops any exception inside a callback.

    The garbage collector calls one of JAX's: one Ctrl-C in twenty did nothing.
    """
    default = sys.unraisablehook

    def ask_again(lost: "sys.UnraisableHookArgs") -> None:
        if lost.exc_type is not KeyboardInterrupt:
            default(lost)
        else:
            timer = threading.Timer(0.05, _thread.interrupt_main)
            timer.daemon = True
            timer.start()

    sys.unraisablehook = ask_again
    try:
        yield
    finally:
        sys.unraisablehook = default


def _version() -> str:
    """The installed version; a checkout that nobody has installed runs all the same."""
    try:
        return metadata.version("triptych")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _console(*, quiet: bool = False) -> "Console":
    from rich.console import Console

    class Patient(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would end with status 1, which says "disagrees" here

    return Patient(quiet=quiet)


def _compare(options: argparse.Namespace) -> int:
    from triptych import comparison, names
    from triptych.agreement import exhibits
    from triptych.column import usable

    known = tuple(dict.fromkeys(exhibit.concept for exhibit in exhibits.EXHIBITS))
    if options.concept not in (None, *known):
        raise UnknownNameError("concept", options.concept, known)
    if reason := usable(options.device):
        print(f"triptych compare: {reason}", file=sys.stderr)
        return 2
    chosen = [e for e in exhibits.EXHIBITS if options.concept in (None, e.concept)]
    dtypes = sorted({dtype for exhibit in chosen for dtype in exhibit.dtypes})
    if options.dtype not in (None, *dtypes):
        print(f"triptych compare: {options.concept} exists in {dtypes[0]} only", file=sys.stderr)
        return 2
    outcome = comparison.compare(
        _console(quiet=options.json),
        dtypes=(options.dtype,) if options.dtype else names.DTYPES,
        device=options.device,
        concept=options.concept,
    )
    if options.json:
        print(json.dumps(comparison.as_json(outcome), indent=1))
    return 1 if outcome.failures else 0


def _read(options: argparse.Namespace) -> int:
    from triptych.source import reader

    console = _console()
    shown = {"dim_same": options.dim_same, "code_only": options.code}
    if options.concept is None and options.svg:
        print("triptych read: --svg needs a concept", file=sys.stderr)
        return 2
    if options.concept is None:
        reader.list_concepts(console)
    elif options.svg:
        try:
            reader.picture(options.svg, options.concept, options.function, **shown)
        except OSError as error:
            print(f"triptych read: {error}", file=sys.stderr)
            return 2
    else:
        reader.read(options.concept, options.function, console=console, **shown)
    return 0


def _cheatsheet(options: argparse.Namespace) -> int:
    from triptych.source import lookup

    lookup.look_up(options.word, _console())
    return 0


def _columns(name: str | None) -> tuple[str, ...]:
    return COLUMNS if name is None else (column_of(name),)


def _run(options: argparse.Namespace) -> int:
    from triptych.claims.transcript import WIDTH
    from triptych.column import missing, usable
    from triptych.run import run
    from triptych.terminal import room

    if options.concept not in concepts():
        raise UnknownNameError("concept", options.concept, concepts())
    chosen = _columns(options.column)
    if reason := usable(options.device, chosen):
        print(f"triptych run: {reason}", file=sys.stderr)
        return 2
    for name in chosen:
        if reason := missing(name):
            print(f"{DISPLAY_NAMES[name]} did not run: {reason}")
    there = [name for name in chosen if not missing(name)]
    if there:
        width = min(WIDTH, room(WIDTH))
        run(options.concept, *there, dtype=options.dtype, device=options.device, width=width)
    sys.stdout.flush()
    return 0


def _claims(options: argparse.Namespace) -> int:
    from triptych.claims import book, tables, verdicts

    if options.id and (
        options.id.lower().endswith((".md", ".markdown")) or Path(options.id).is_file()
    ):
        return _tutorial(options)
    if options.run:
        print("triptych claims: --run needs a FILE.md", file=sys.stderr)
        return 2
    chosen = _columns(options.column)
    wanted = book.named(options.id) if options.id else book.claims()
    if options.errata:
        wanted = tuple(claim for claim in wanted if claim.erratum)
    results = verdicts.check_all(chosen, only=wanted)
    if options.json:
        print(json.dumps(verdicts.as_records(results), indent=1, ensure_ascii=False))
    elif [claim.id for claim in wanted] == [options.id]:
        tables.explain(options.id, _console(), results)
    else:
        console = _console()
        console.print(verdicts.summary(results))
        tables.table(results, console)
        if console.is_terminal:  # the top is out of sight
            console.print(f"\n{verdicts.summary(results)}")
    return 1 if any(result.verdict == verdicts.WRONG for result in results) else 0


def _tutorial(options: argparse.Namespace) -> int:
    from triptych.tutorial import blocks, check

    problem = ""
    if options.errata or options.column:
        problem = "--errata and --column are for the documents' claims, not for a file"
    elif not 0 < options.timeout < float("inf"):
        problem = f"--timeout must be above 0, got {options.timeout:g}"
    try:
        found = () if problem else blocks.blocks(Path(options.id).read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        problem = f"{options.id}: {error}" if isinstance(error, UnicodeDecodeError) else f"{error}"
    if problem:
        print(f"triptych claims: {problem}", file=sys.stderr)
        return 2
    if isinstance(
        sys.stdout, io.TextIOWrapper
    ):  # what others print may not fit the terminal's encoding
        sys.stdout.reconfigure(errors="backslashreplace")
    records = check.check(found, timeout=options.timeout) if options.run else check.plan(found)
    if options.json:
        print(json.dumps(check.as_records(options.id, records), indent=1, ensure_ascii=False))
    else:
        print(*check.lines(options.id, records, ran=options.run), sep="\n")
    return int(options.run and any(record.verdict in check.WRONG for record in records))


def _train(options: argparse.Namespace, words: list[str]) -> int:
    from triptych import train

    return train.main(options, words)


def _report(options: argparse.Namespace) -> int:
    from triptych.timing import files, results, tables

    try:
        found = results.load(options.files)
        merged = results.merge(found, options.baseline)
        written = files.write(merged, options.out) if options.out else []
    except (results.ResultsError, OSError) as error:
        print(f"triptych report: {error}", file=sys.stderr)
        return 2
    console = _console()
    console.print(tables.terminal(found, options.baseline))
    for path in written:
        console.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
