"""The shortest question to a CUDA machine, before an hour is spent: `python -m benchmarks.smoke`.

It asks whether both frameworks see the card and train the classifier there as NumPy does, in every
form of the loop; and whether XLA's scatter gives what it should: with the deterministic operations
that the tests switch on, an earlier version was wrong.
"""

import sys

import numpy as np

from benchmarks.bench_classifier import SIZES, arguments, training_bound
from benchmarks.cases import precision
from triptych.column import Column
from triptych.forms import FORMS, missing_form


def main(device: str = "cuda", columns: tuple[str, ...] = ("torch_impl", "jax_impl")) -> int:
    """Print a line for each form; 0 if all agree with NumPy."""
    given = arguments(32, 100, SIZES, "float32")
    wrong = 0
    with precision("float32"):
        expected, _ = Column("numpy_ref").call("execution", "as_written", *given, learning_rate=0.1)
        for name in columns:
            column = Column(name, device)
            if device not in column.devices():
                print(f"{name}: no {device}")
                wrong += 1
                continue
            for form in (form for form in FORMS if not missing_form(name, form, device)):
                found, _ = column.call("execution", form, *given, learning_rate=0.1)
                off = max(float(np.abs(found[key] - expected[key]).max()) for key in expected)
                bad = not off <= training_bound("sgd", "float32", 32, 100)
                wrong += bad
                print(f"{name}, {form}, {device}: {off:.1e} off{', TOO FAR' * bad}", flush=True)
    return wrong + _scatter(device)


def _scatter(device: str) -> int:
    import jax
    import jax.numpy as jnp

    values = np.array([1, 2, 0, 0])
    with Column("jax_impl", device).at_home():
        found = jnp.zeros(4, int).at[jnp.arange(4)].set(jnp.asarray(values))
    right = np.array_equal(np.asarray(found), values)
    print(f"jax {jax.__version__}, scatter: {'as it should be' if right else f'WRONG, {found}'}")
    return int(not right)


if __name__ == "__main__":
    sys.exit(int(main() > 0))
