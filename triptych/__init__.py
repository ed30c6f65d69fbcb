"""Glue of the triptych; `triptych.assert_agree` checks one's own port."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triptych.port import DisagreementError, assert_agree, compare, time

__all__ = ["DisagreementError", "assert_agree", "compare", "time"]


def __getattr__(name: str) -> Any:
    # at first use: `import triptych` imports no framework, not even NumPy
    if name in __all__:
        from triptych import port

        return getattr(port, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
