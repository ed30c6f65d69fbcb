"""A column as the glue uses it: NumPy in, NumPy out, imported only when it is asked for."""

import contextlib
import importlib
import importlib.util
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from triptych import trees
from triptych.names import COLUMNS, FRAMEWORKS


class Column:
    """One column on one device; NumPy computes on the CPU, whatever device is asked for.

    `column.call("gradients", "chain", x)` takes NumPy arrays and gives NumPy arrays;
    `column.gradients` is the module, `column.from_numpy` a function of the boundary.
    """

    def __init__(self, name: str, device: str = "cpu") -> None:
        self.name = name
        self.device = "cpu" if name == "numpy_ref" else device
        self.boundary = importlib.import_module(name)

    def call(self, concept: str, function: str, *args: Any, **kwargs: Any) -> Any:
        """Call a function of a concept; arrays are handed over and come back as copies."""
        run = getattr(getattr(self, concept), function)
        with self.at_home():
            return self.give_out(run(*self.take_in(args), **self.take_in(kwargs)))

    def at_home(self) -> contextlib.AbstractContextManager[None]:
        """Within it, new arrays are made on this device; JAX would make them on its default one."""
        if self.name != "jax_impl":
            return contextlib.nullcontext()
        import jax

        wanted = jax.local_devices(backend=self.device)[0]
        return (
            contextlib.nullcontext()
            if wanted == jax.local_devices()[0]
            else _default_device(wanted)
        )

    def __getattr__(self, name: str) -> Any:
        # pickle and copy ask for names before there is a boundary to look them up in
        if "boundary" not in self.__dict__:
            raise AttributeError(name)
        if name in self.boundary.__all__:
            return getattr(self.boundary, name)
        if importlib.util.find_spec(f"{self.name}.{name}") is None:
            raise AttributeError(f"{self.name} has no concept and no function {name!r}")
        return importlib.import_module(f"{self.name}.{name}")

    def take_in(self, value: Any) -> Any:
        """NumPy to this column; what is no array stays as it is."""

        def leaf(value: Any) -> Any:
            if isinstance(value, np.ndarray | np.generic):
                return self.boundary.from_numpy(value, device=self.device)
            return value

        return trees.mapped(leaf, value)

    def give_out(self, value: Any) -> Any:
        """This column to NumPy; what is no array stays as it is."""

        def leaf(value: Any) -> Any:
            return self.boundary.to_numpy(value) if hasattr(value, "dtype") else value

        return trees.mapped(leaf, value)

    def precision(self, dtype: str) -> contextlib.AbstractContextManager[None]:
        """What this column needs to compute in a dtype: JAX a setting, the others nothing."""
        return precision(dtype) if self.name == "jax_impl" else contextlib.nullcontext()


@contextlib.contextmanager
def _default_device(device: Any) -> Iterator[None]:
    import jax

    with jax.default_device(device):
        yield


def missing(column: str) -> str:
    """Why a column cannot run here; "" if it can."""
    framework = FRAMEWORKS[column]
    found = importlib.util.find_spec(framework) is not None
    return "" if found else f"{framework} is not installed"


@contextlib.contextmanager
def precision(dtype: str) -> Iterator[None]:
    """Full precision: JAX keeps float64 only with x64 on, and on a GPU would multiply in TF32."""
    if missing("jax_impl"):
        yield
    else:
        import jax

        with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision("float32"):
            yield


def usable(device: str, names: Sequence[str] = COLUMNS) -> str:
    """Why none of these columns can use a device; "" if one can."""
    found = {"cpu"}
    for name in names:
        if not missing(name):
            found.update(Column(name).devices())
    listed = " and ".join(sorted(found))
    return "" if device in found else f"no device {device!r}; usable here: {listed}"


def repeatable() -> dict[str, str]:
    """The variables that make a GPU give the same bits in each run; read when CUDA starts.

    PyTorch wants `torch.use_deterministic_algorithms(True)` as well.
    """
    flags = "--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0"
    flags = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    return {"XLA_FLAGS": flags, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
