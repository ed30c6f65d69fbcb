"""What a clock has to know: what was compiled meanwhile, and what is still being computed."""

import sys
from typing import Any

from triptych import trees

_EVENTS: list[str] = []


def compilations() -> int:
    """How many programs JAX and PyTorch have compiled in this process.

    The difference of two calls is what was compiled in between; the first call starts counting.
    """
    torch_graphs = 0
    if "torch._dynamo" in sys.modules:
        from torch._dynamo.utils import counters

        torch_graphs = counters["stats"]["unique_graphs"]
    return _jax_compilations() + torch_graphs


def _jax_compilations() -> int:
    if "jax" in sys.modules and not _EVENTS:
        import jax

        def listen(event: str, duration_secs: float, **_: Any) -> None:  # noqa: ARG001
            if event == "/jax/core/compile/backend_compile_duration":
                _EVENTS.append(event)

        _EVENTS.append("listening")
        jax.monitoring.register_event_duration_secs_listener(listen)
    return max(len(_EVENTS) - 1, 0)


def unfinished(outputs: Any) -> bool:
    """Whether anything in a (nested) result is still being computed. Asks, and does not wait."""
    return any(_unfinished(value) for _, value in trees.leaves(outputs))


def _unfinished(value: Any) -> bool:
    if hasattr(value, "is_ready"):  # a jax.Array
        return not value.is_ready()
    if getattr(value, "is_cuda", False):  # a torch.Tensor: work ends in the order of its stream
        import torch

        return not torch.cuda.current_stream(value.device).query()
    return False
