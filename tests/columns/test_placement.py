"""JAX's column stays where its arguments are, also where that is not JAX's default device.

On a CUDA machine the GPU is the default, and the CPU's rows and tests are not on it. XLA can make
two devices of one CPU: the first, its default, plays the GPU; the second is "cpu".
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

STAND_IN = """
import jax, numpy as np
default, other = jax.devices()

def standing_in(real):
    def devices(*args, backend=None, **kwargs):
        backend = args[0] if args else backend
        if backend == "cuda":
            raise RuntimeError("no cuda")
        return [other] if backend == "cpu" else real(*args, **kwargs)

    return devices

jax.devices = standing_in(jax.devices)
jax.local_devices = standing_in(jax.local_devices)
from triptych import trees
from triptych.agreement import exhibits
from triptych.column import Column, precision

class Watched(Column):
    def call(self, concept, function, *args, **kwargs):
        # as a user calls it: nothing may fail, and what is computed from x stays with x
        getattr(getattr(self, concept), function)(*self.take_in(args), **self.take_in(kwargs))
        return super().call(concept, function, *args, **kwargs)

    def give_out(self, value):
        for name, leaf in trees.leaves(value):
            if isinstance(leaf, jax.Array) and leaf.devices() != {other}:
                strays.append(name)
        return super().give_out(value)

failed, strays = [], []
for exhibit in exhibits.EXHIBITS:
    for dtype in exhibit.dtypes:
        strays.clear()
        with precision(dtype):
            expected = exhibit.compute(Column("numpy_ref"), dtype)
            try:
                found = exhibit.compute(Watched("jax_impl"), dtype)
            except Exception as error:
                failed.append(f"{exhibit.concept} {exhibit.quantity} {dtype}: {error!r:.300}")
                continue
        if strays:
            failed.append(f"{exhibit.concept} {exhibit.quantity} {dtype}: strays {strays[:3]}")
        if found.keys() != expected.keys():
            failed.append(f"{exhibit.concept} {exhibit.quantity} {dtype}: {sorted(found)}")
print("\\n".join(failed))
"""


@pytest.mark.slow
def test_jax_computes_where_its_arguments_are() -> None:
    pytest.importorskip("jax")
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    done = subprocess.run(
        [sys.executable, "-c", STAND_IN],
        env=os.environ | {"XLA_FLAGS": flags.strip(), "JAX_PLATFORMS": "cpu"},
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
