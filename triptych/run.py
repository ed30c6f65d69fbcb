"""What a column's file prints: the claims about its concept, and the values that belong to them.

Every number comes out of a column's public functions; claims.toml says which calls, and what the
documents print. No framework is imported before a column is asked for.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from triptych.checks import check_device
from triptych.claims.book import entries
from triptych.claims.transcript import WIDTH, transcript
from triptych.claims.verdicts import check_all
from triptych.column import Column
from triptych.names import COLUMNS, DTYPES, UnknownNameError
from triptych.source import parse
from triptych.terminal import room


def run(
    concept: str,
    *names: str,
    dtype: str = "float64",
    device: str = "cpu",
    width: int = WIDTH,
    write: Callable[[str], object] = print,
) -> None:
    """Print what the documents print about a concept, computed by one or several columns.

    Args:
        concept: one of `concepts()`.
        names: one or several of `names.COLUMNS`; their frameworks are imported here.
        dtype: "float64", but for what the documents compute in float32; or "float32".
        device: one of the columns' devices; NumPy computes on the CPU.
        width: of the longest line, where no word is longer.
        write: called with each line, without its end.

    Raises:
        UnknownNameError: there is no such concept or column; the message names the nearest.
        ValueError: the dtype is neither of the two, or the device is not usable here.
        ModuleNotFoundError: a column's framework is not installed.
    """
    if concept not in parse.concepts():
        raise UnknownNameError("concept", concept, parse.concepts())
    for name in names:
        if name not in COLUMNS:
            raise UnknownNameError("column", name, COLUMNS)
    if dtype not in DTYPES:
        raise ValueError(f"run: dtype must be {' or '.join(map(repr, DTYPES))}, got {dtype!r}")
    check_device("run", device, tuple({d: 0 for name in names for d in Column(name).devices()}))
    for name in names:
        check_device(f"run {name}", Column(name, device).device, Column(name).devices())
    claims = [claim for claim in entries() if claim.concept == concept]
    if dtype == "float32":
        claims = [claim._replace(dtype="float32") for claim in claims]
    results = check_all(names, only=claims, device=device)
    for line in transcript(concept, names, results, width):
        write(line)


def main(file: str) -> None:
    """Run one concept in one column: `python -m torch_impl.gradients`.

    Args:
        file: where the concept stands; its folder is the column.
    """
    column, concept = Path(file).resolve().parent.name, Path(file).stem
    if sys.argv[1:]:
        sys.exit(
            f"python -m {column}.{concept} takes no options; for a dtype or a device: "
            f"triptych run {concept} --column {column} ..."
        )
    try:
        run(concept, column, width=min(WIDTH, room(WIDTH)))
        sys.stdout.flush()
    except BrokenPipeError:
        # whoever read the output has seen enough; nothing is left to flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
