"""Named parameters: how many, what shape, and on disk.

JAX: parameters are a dictionary of arrays, a pytree; the summary is written out here in the form
in which PyTorch prints a module.
"""

import contextlib
import errno
import os
import secrets
import shutil
from pathlib import Path

import numpy as np
import safetensors.numpy
from jax import Array
from safetensors import SafetensorError

from jax_impl import Device, checked, from_numpy, to_numpy
from jax_impl.classifier import Params

TORCH_FILES = (b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")
"""How a file of `torch.save` begins: a zip archive, or the magic number of the older form."""
LARGEST = 2**31
"""Bytes of a file that is read: more than any network of these documents by far."""


@checked
def count(params: dict[str, Array]) -> int:
    """How many numbers the parameters hold.

    Source: document B, which prints 299 for a network that has 243.
    """
    return sum(p.size for p in params.values())


@checked
def summary(params: Params) -> str:
    """The classifier's layers, as PyTorch prints a module: sizes, biases, the ReLUs.

    Source: document B.
    """
    rows = []
    for layer, relu in (("fc1", "relu1"), ("fc2", "relu2"), ("output", "")):
        out, features = params[f"{layer}.weight"].shape
        rows.append(f"({layer}): Linear(in_features={features}, out_features={out}, bias=True)")
        if relu:
            rows.append(f"({relu}): ReLU()")
    return "\n  ".join(["SimpleNet(", *rows]) + "\n)"


@checked
def save(path: str | os.PathLike[str], params: dict[str, Array]) -> None:
    """Write named parameters to a safetensors file, whole or not at all.

    Args:
        path: the file; an old one stays as it is until the new one is complete.

    Raises:
        OSError: the file cannot be written, or the path is that of a folder or a device.
        ValueError: a name is the one that the format keeps for itself.

    Source: document B, the state of a model.
    """
    if "__metadata__" in params:
        raise ValueError("save: params must have other names, got __metadata__, the format's own")
    # safetensors writes the bytes as they lie in memory: they must lie in order
    arrays = {name: np.ascontiguousarray(p) for name, p in to_numpy(params).items()}
    target = Path(os.path.realpath(path))
    # a random name: two writers of one path must not write into one file
    unfinished = target.parent / f".{target.name}.{secrets.token_hex(8)}.partial"
    try:
        if old := target.exists():
            _check_file("save", path)
        with unfinished.open("xb") as file:
            file.write(safetensors.numpy.save(arrays))
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


@checked
def load(
    path: str | os.PathLike[str],
    *,
    like: dict[str, Array] | None = None,
    device: Device = "cpu",
) -> dict[str, Array]:
    """Read named parameters from a safetensors file, whichever column wrote it.

    Args:
        like: parameters whose names, shapes and dtypes the file must have.

    Returns:
        The parameters; in the order of `like` where it is given.

    Raises:
        OSError: the file cannot be read, or is none.
        ValueError: it has more than 2 GiB, is no whole safetensors file, or not like `like`.

    Source: document B, the state of a model.
    """
    if (size := Path(path).stat().st_size) > LARGEST:
        raise ValueError(f"load: path must have {LARGEST} bytes at most, got {path} with {size}")
    _check_file("load", path)
    content = Path(path).read_bytes()
    if content.startswith(TORCH_FILES):
        raise ValueError(
            f"load: path must be a whole safetensors file, got {path}, a PyTorch file: "
            "load it with torch_impl.parameters.load and save it with save"
        )
    try:
        arrays = safetensors.numpy.load(content)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"load: path must be a whole safetensors file of NumPy dtypes, got {path}: {error}"
        ) from error
    if like is not None:
        expected = {name: (tuple(p.shape), to_numpy(p).dtype.name) for name, p in like.items()}
        found = {name: (p.shape, p.dtype.name) for name, p in arrays.items()}
        wrong = [
            f"{name} {found.get(name, 'missing')}, expected {expected.get(name, 'no such name')}"
            for name in expected | found
            if found.get(name) != expected.get(name)
        ]
        if wrong:
            raise ValueError(f"load: path must hold parameters like `like`, got {'; '.join(wrong)}")
        arrays = {name: arrays[name] for name in like}
    return from_numpy(arrays, device=device)


def _check_file(function: str, path: str | os.PathLike[str]) -> None:
    """Refuse what is no file: a pipe keeps its reader waiting, a device may never end."""
    if not Path(path).is_file():
        words = f"{function}: path must be that of a file, got a folder, a pipe or a device"
        raise OSError(errno.EINVAL, words, os.fspath(path))


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
