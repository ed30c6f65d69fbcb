"""Named parameters: how many, what shape, and on disk.

NumPy: parameters are a dictionary of arrays and nothing else; the summary is written out here in
the form in which PyTorch prints a module.
"""

import os

import numpy as np
import safetensors.numpy
from numpy import ndarray as Array
from safetensors import SafetensorError

from numpy_ref import Device, checked, from_numpy, to_numpy
from numpy_ref.classifier import Params
from triptych import parameter_file

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
    arrays = {name: np.asarray(p, order="C") for name, p in to_numpy(params).items()}
    parameter_file.write(path, safetensors.numpy.save(arrays))


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
    content = parameter_file.read(path, most=LARGEST)
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
        arrays = parameter_file.in_order_of(to_numpy(like), arrays)
    return from_numpy(arrays, device=device)


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
