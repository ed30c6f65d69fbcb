"""The file in which `parameters` keeps arrays: written whole or not at all, and read with care.

Each column makes and reads the bytes itself; what can go wrong with a file is the same for all.
"""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np


def write(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file, whole or not at all; an old one stays as it is until the new one is complete.

    Raises:
        OSError: the file cannot be written, or the path is that of a folder or a device.
    """
    target = Path(os.path.realpath(path))
    # a random name: two writers of one path must not write into one file
    unfinished = target.parent / f".{target.name}.{secrets.token_hex(8)}.partial"
    try:
        if old := target.exists():
            _check_file("save", path)
        with unfinished.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if old:
            shutil.copymode(target, unfinished)
        unfinished.replace(target)
    except OSError as error:
        # its own words name the unfinished file, or none at all
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()


def read(path: str | os.PathLike[str], *, most: int) -> bytes:
    """What is in a file.

    Args:
        most: how many bytes it may have.

    Raises:
        OSError: the file cannot be read, or is none.
        ValueError: it has more bytes.
    """
    if (size := Path(path).stat().st_size) > most:
        raise ValueError(f"load: path must have {most} bytes at most, got {path} with {size}")
    _check_file("load", path)
    return Path(path).read_bytes()


def in_order_of(
    like: Mapping[str, np.ndarray], arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The arrays in the order of others that have the same names, shapes and dtypes.

    Raises:
        ValueError: they are not like them; the message names each that differs.
    """
    expected = {name: (p.shape, p.dtype.name) for name, p in like.items()}
    found = {name: (p.shape, p.dtype.name) for name, p in arrays.items()}
    wrong = [
        f"{name} {found.get(name, 'missing')}, expected {expected.get(name, 'no such name')}"
        for name in expected | found
        if found.get(name) != expected.get(name)
    ]
    if wrong:
        raise ValueError(f"load: path must hold parameters like `like`, got {'; '.join(wrong)}")
    return {name: arrays[name] for name in like}


def _check_file(function: str, path: str | os.PathLike[str]) -> None:
    """Refuse a pipe, which may keep its reader waiting, and a device, which may never end."""
    if not Path(path).is_file():
        words = f"{function}: path must be that of a file, got a folder, a pipe or a device"
        raise OSError(errno.EINVAL, words, os.fspath(path))
