"""The names of the project: columns, frameworks, concepts, dtypes."""

import difflib
from collections.abc import Sequence

COLUMNS = ("numpy_ref", "torch_impl", "jax_impl")
DISPLAY_NAMES = {"numpy_ref": "NumPy", "torch_impl": "PyTorch", "jax_impl": "JAX"}
CONCEPTS = (
    "tensor_basics",
    "gradients",
    "mechanics",
    "recording",
    "linear_layer",
    "linear_regression",
    "classifier",
    "optimizers",
    "parameters",
    "control_flow",
    "execution",
)
"""In reading order; `concepts` lists those that are there."""
BOUNDARY = "__init__"
"""Where arrays enter and leave a column: no concept, but the same rules apply."""


class UnknownNameError(ValueError):
    """A concept or function that does not exist; the message names the nearest ones."""

    def __init__(self, what: str, name: str, existing: Sequence[str]) -> None:
        self.name = name
        self.existing = tuple(existing)
        low = {known.lower(): known for known in existing}
        close = [low[key] for key in difflib.get_close_matches(name.lower(), low, n=3)]
        close += [known for known in existing if name and name.lower() in known.lower()]
        self.nearest = tuple(dict.fromkeys(close))[:3]
        near = f"; did you mean {' or '.join(self.nearest)}?" if self.nearest else "."
        listed = f": {', '.join(existing)}" if len(existing) <= 20 else f" {len(existing)}"
        super().__init__(f"no {what} {name!r}{near} There are{listed}")


FRAMEWORKS = {"numpy_ref": "numpy", "torch_impl": "torch", "jax_impl": "jax"}

DTYPES = ("float32", "float64")
