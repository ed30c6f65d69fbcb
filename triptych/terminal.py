"""Lines on a terminal, which would break a long one in the middle of a word."""

import shutil
import sys
import textwrap
from typing import TextIO


def room(otherwise: int) -> int:
    """The width of the terminal, as COLUMNS or the terminal itself says; `otherwise` on a pipe."""
    return shutil.get_terminal_size((otherwise, 24)).columns


def say(text: str, file: TextIO | None = None) -> None:
    """Print a line at once; on a terminal as several that fit, on a pipe as it is.

    Args:
        text: the line.
        file: by default standard output.
    """
    width = room(0)
    if width and len(text) > width:
        text = textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
    print(text, file=file or sys.stdout, flush=True)
