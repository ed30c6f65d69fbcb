"""What the comparison of a large model costs: copies in memory, seconds of the processor."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("jax")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc"),
]


def measured(megabytes: float) -> dict[str, float]:
    command = [sys.executable, "-W", "error", "-m", "tests.support.large", str(megabytes)]
    # what is freed goes back at once, so that the peak is what was needed together
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    root = Path(__file__).parents[3]
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = json.loads(done.stdout)
    return found


def test_a_large_model_costs_no_more_copies_and_seconds_than_are_needed() -> None:
    found = measured(64)
    # a function's parameters, its gradients (JAX's take the parameters' place and some room of its
    # own), the other's gradients: one copy more would be 3.7
    assert found["copies with bound"] < 3.4
    # in float64 these take twice the bytes, and the port's gradients in float32 are there for the
    # error; another float32 copy would make 7
    assert found["copies"] < 6.5
    assert found["seconds"] < 2 * found["seconds of the functions"]


def test_twenty_megabytes_take_less_than_three_seconds_more() -> None:
    found = measured(20)
    assert found["seconds"] - found["seconds of the functions"] < 3
