"""The command `triptych`: compare, read, claims, run."""

import argparse
import json
import os
import sys
from collections.abc import Sequence

from triptych.columns import UnknownNameError


def parser() -> argparse.ArgumentParser:
    """The command line; no framework is imported for it."""
    top = argparse.ArgumentParser(
        prog="triptych",
        description="Tensors, automatic differentiation and training three ways: NumPy by hand, "
        "PyTorch, JAX. Compared, side by side.",
    )
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
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the words after `triptych`; by default those of the process.

    Returns:
        The exit status: 0, 1 where something disagrees, 2 for a wrong name.
    """
    options = parser().parse_args(arguments)
    try:
        return {"compare": _compare, "read": _read}[options.command](options)
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


def _compare(options: argparse.Namespace) -> int:
    from rich.console import Console

    from triptych import compare, show
    from triptych.calls import usable

    known = tuple(dict.fromkeys(exhibit.concept for exhibit in compare.EXHIBITS))
    if options.concept not in (None, *known):
        raise UnknownNameError("concept", options.concept, known)
    if reason := usable(options.device):
        print(f"triptych compare: {reason}", file=sys.stderr)
        return 2
    outcome = show.compare(
        Console(quiet=options.json),
        dtypes=(options.dtype,) if options.dtype else compare.DTYPES,
        device=options.device,
        concept=options.concept,
    )
    if options.json:
        print(json.dumps(show.as_json(outcome), indent=1))
    return 1 if outcome.failures else 0


def _read(options: argparse.Namespace) -> int:
    from rich.console import Console

    from triptych import reader

    console = Console()
    if options.concept is None:
        reader.list_concepts(console)
    else:
        reader.read(options.concept, options.function, console=console, dim_same=options.dim_same)
    return 0


if __name__ == "__main__":
    sys.exit(main())
