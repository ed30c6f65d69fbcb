"""The names of the project: columns, frameworks, concepts, dtypes."""

import difflib
from collections.abc import Sequence
from typing import NamedTuple


class Names(NamedTuple):
    """What a column is called, from place to place."""

    package: str
    """Its folder, and the word that every command takes: "torch_impl"."""
    framework: str
    """The package that it needs, and the key of claims.toml and traps.toml: "torch"."""
    title: str
    """As its own people write it: "PyTorch"."""
    colour: str
    """In a terminal, on the pages and in plots."""


TABLE = (
    Names("numpy_ref", "numpy", "NumPy", "blue"),
    Names("torch_impl", "torch", "PyTorch", "red"),
    Names("jax_impl", "jax", "JAX", "green"),
)
COLUMNS = tuple(names.package for names in TABLE)
DISPLAY_NAMES = {names.package: names.title for names in TABLE}
FRAMEWORKS = {names.package: names.framework for names in TABLE}
BY_FRAMEWORK = {names.framework: names.package for names in TABLE}
CONCEPTS = (
    "tensor_basics",
    "gradients",
    "mechanics",
    "recording",
    "linear_layer",
    "linear_regression",
    "activations",
    "classifier",
    "data_loading",
    "metrics",
    "optimizers",
    "regularization",
    "parameters",
    "normalization",
    "control_flow",
    "execution",
    "promotion",
    "aliasing",
    "randomness",
    "transformations",
    "rounding",
    "reproducible",
    "data_parallel",
)
"""In reading order; `concepts` lists those that are there."""
BOUNDARY = "__init__"
"""Where arrays enter and leave a column: no concept, but the same rules apply."""


DTYPES = ("float32", "float64")
"""In which every concept is compared."""


class UnknownNameError(ValueError):
    """A concept or function that does not exist; the message names the nearest ones."""

    def __init__(self, what: str, name: str, existing: Sequence[str]) -> None:
        self.name = name
        self.existing = tuple(existing)
        low = {known.lower(): known for known in existing}
        close = [low[key] for key in difflib.get_close_matches(name.lower(), low, n=3)]
        # one letter is in too many names to be a likeness
        close += [known for known in existing if len(name) > 1 and name.lower() in known.lower()]
        self.nearest = tuple(dict.fromkeys(close))[:3]
        near = f"; did you mean {' or '.join(self.nearest)}?" if self.nearest else "."
        listed = f": {', '.join(existing)}" if len(existing) <= 30 else f" {len(existing)}"
        super().__init__(f"no {what} {name!r}{near} There are{listed}")


def column_of(name: str) -> str:
    """The column that is meant: "torch_impl", or its framework "torch".

    Raises:
        UnknownNameError: no column is called so; the message names the nearest.
    """
    if name not in COLUMNS and name not in BY_FRAMEWORK:
        raise UnknownNameError("column", name, COLUMNS)
    return BY_FRAMEWORK.get(name, name)
