"""Named parameters: how many, what shape, and on disk.

PyTorch: a module knows its parameters by name and prints itself. The usual `torch.save` writes a
pickle, which can run code when it is loaded unless `weights_only` forbids it; a safetensors file
holds arrays only. `load` reads both, so that a trained module's weights reach the other columns.
"""

import io
import os

import numpy as np
import safetensors.numpy
import torch
from safetensors import SafetensorError
from torch import Tensor as Array

from torch_impl import Device, checked, from_numpy, to_numpy
from torch_impl.classifier import Params, SimpleNet
from triptych import parameter_file

TORCH_FILES = (b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")
"""How a file of `torch.save` begins: a zip archive, or the magic number of the older form."""
LARGEST = 2**31
"""Bytes of a file that is read: more than any network of these documents by far."""
STATE_DTYPES = (torch.float16, torch.float32, torch.float64)


@checked
def count(params: dict[str, Array]) -> int:
    """How many numbers the parameters hold.

    Source: document B, which prints 299 for a network that has 243.
    """
    return sum(p.numel() for p in params.values())


@checked
def summary(params: Params) -> str:
    """The classifier's layers, as PyTorch prints a module: sizes, biases, the ReLUs.

    Source: document B.
    """
    return str(SimpleNet.from_params(params))


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
        path: the file; a state dict that `torch.save` wrote will do as well.
        like: parameters whose names, shapes and dtypes the file must have.

    Returns:
        The parameters; in the order of `like` where it is given.

    Raises:
        OSError: the file cannot be read, or is none.
        ValueError: it has more than 2 GiB, is neither a whole safetensors file nor a flat state
            dict, or not like `like`.

    Source: document B, the state of a model.
    """
    content = parameter_file.read(path, most=LARGEST)
    if content.startswith(TORCH_FILES):
        arrays = _state_dict(path, content)
    else:
        try:
            arrays = safetensors.numpy.load(content)
        except (SafetensorError, KeyError, ValueError) as error:
            raise ValueError(
                f"load: path must be a whole safetensors file of NumPy dtypes, got {path}: {error}"
            ) from error
    if like is not None:
        arrays = parameter_file.in_order_of(to_numpy(like), arrays)
    return from_numpy(arrays, device=device)


def _state_dict(path: str | os.PathLike[str], content: bytes) -> dict[str, np.ndarray]:
    # weights_only: tensors and plain containers, never code
    wanted = "load: path must be a whole file of a flat state dict, torch.save(model.state_dict())"
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or hostile file leads to
        got = "which is damaged or holds more than tensors, perhaps a whole module"
        raise ValueError(f"{wanted}, got {path}, {got} ({type(error).__name__})") from error
    if not isinstance(found, dict) or not found:
        got = "an empty dict" if isinstance(found, dict) else f"a {type(found).__name__}"
        raise ValueError(f"{wanted}, got {path}, which holds {got}")
    for name, p in found.items():
        tensor = isinstance(p, Array) and p.layout == torch.strided and p.device.type == "cpu"
        if not (isinstance(name, str) and tensor and p.dtype in STATE_DTYPES):
            is_array = isinstance(p, Array)
            got = f"{p.dtype}, {p.layout}, {p.device}" if is_array else f"a {type(p).__name__}"
            wants = "names and dense tensors of float16, float32 or float64"
            raise ValueError(f"{wanted}, with {wants}, got {path}, where {name!r} is {got}")
    return to_numpy(dict(found))


if __name__ == "__main__":
    from triptych.run import main

    main(__file__)
