"""Columns for the tests: skipped with a reason where they cannot run, watched where they can."""

from typing import Any

import pytest

from triptych.agreement.quantities import flat
from triptych.column import Column, missing


class StrictColumn(Column):
    """A column whose every call is also asked for what no value of the result tells."""

    def call(self, concept: str, function: str, *args: Any, **kwargs: Any) -> Any:
        """As in `Column`; nothing given is changed, nothing that comes back has a graph."""
        given = [*map(self.take_in, args)], {n: self.take_in(v) for n, v in kwargs.items()}
        before = flat(self.give_out(given))
        result = getattr(getattr(self, concept), function)(*given[0], **given[1])
        for name, value in flat(self.give_out(given)).items():
            assert value.tobytes() == before[name].tobytes(), f"{function} changes argument {name}"
        for name, value in flat([given, result]).items():
            assert not getattr(value, "requires_grad", False), f"{function}: {name} has a graph"
        return self.give_out(result)


def load_column(name: str, config: pytest.Config) -> Column:
    if reason := missing(name):
        if config.getoption("--require-all"):
            pytest.fail(reason)
        pytest.skip(reason)
    return StrictColumn(name)
