"""What the tests of the engines share: columns by name, and equality without any tolerance."""

from typing import Any

import numpy as np
import pytest

NUMPY, TORCH, JAX = (
    pytest.mark.parametrize("column", [name], indirect=True)
    for name in ("numpy_ref", "torch_impl", "jax_impl")
)


def same(actual: Any, expected: Any, dtype: np.dtype) -> None:
    """Equal in structure, dtype, shape and every value."""
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for name in expected:
            same(actual[name], expected[name], dtype)
    else:
        assert actual.dtype == dtype
        np.testing.assert_array_equal(actual, np.array(expected, dtype), strict=True)


def scalars(dtype: np.dtype, **values: float) -> dict[str, np.ndarray]:
    return {name: np.array(value, dtype) for name, value in values.items()}
