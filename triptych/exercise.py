"""What an exercise ends with: a learner's function, graded against a column's by `assert_agree`."""

import ast
import inspect
import math
import re
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from triptych.names import DISPLAY_NAMES, FRAMEWORKS
from triptych.port import Report, compare
from triptych.port.values import to_numpy, walk
from triptych.port.verdict import Entry

Function = Callable[..., Any]
WIDTH = 88
EPS = """An eps is the distance from 1 to the next number of the precision. Rounding alone leaves a
few; another formula leaves millions."""
NUMBERED = ("first", "second", "third", "fourth")


class Case(NamedTuple):
    """One call of the function that is graded."""

    arguments: tuple[Any, ...]
    kwargs: Mapping[str, Any]


def case(*arguments: Any, **kwargs: Any) -> Case:
    """The arguments of one call; arrays are NumPy's."""
    return Case(arguments, kwargs)


def grade(yours: Function, column: Function, *cases: Case) -> NoReturn:
    """Say whether a function computes what a column's does, and end with 0 if so, else with 1.

    Args:
        yours: the learner's.
        column: a function of a column with the same parameters.
        cases: what both are called with, the easiest first.
    """
    found = complaint(yours, column, cases)
    if not found:
        print(f"Right: it agrees with {_name(column)} in {len(cases)} of {len(cases)} calls.")
        sys.exit(0)
    print(f"Not yet. {found}\n\n{_hint(yours)}")
    sys.exit(1)


def complaint(yours: Function, column: Function, cases: tuple[Case, ...]) -> str:
    """What is wrong, in words; "" if nothing is."""
    if holes := _holes(yours):
        return f"There is still a hole, `...`, in line {' and '.join(map(str, holes))}."
    framework = FRAMEWORKS[_column(column)]
    both = {"the column": column, "yours": yours}
    if framework == "torch":
        import torch

        # where no gradient is to be compared, `compare` lets PyTorch record none
        both = {name: torch.enable_grad()(function) for name, function in both.items()}
    functions: dict[str, Any] = {framework: both}
    for number, (arguments, kwargs) in enumerate(cases, start=1):
        where = f"In call {number} of {len(cases)}, with {_shapes(yours, arguments, kwargs)}"
        try:
            report = compare(*arguments, kwargs=kwargs, gradients=False, **functions)
        except Exception as error:
            line = _line(yours, error)
            return _filled(f"{where}, it ends with {type(error).__name__}{line}: {error}")
        if not report.agrees:
            said = "\n".join([_filled(f"{where}:"), *_apart(report), *_before(number - 1)])
            return f"{said}\n\n{EPS}" if " eps " in said else said
    return ""


def _apart(report: Report) -> list[str]:
    """The entries that are off, and those that are not."""
    wrong = [e for e in report.entries if e.verdict not in ("equal bits", "rounding")]
    right = [_result(e.name) for e in report.entries if e not in wrong]
    lines = [_filled(f"  {_result(entry.name)}: {_words(entry)}") for entry in wrong]
    return [*lines, *([f"  right: {', '.join(right)}"] if right else [])]


def _words(entry: Entry) -> str:
    """How far it is off, and where most."""
    found = re.search(r"at (\(.*\)): (\S+) against (\S+)", entry.words)
    if found is None or not math.isfinite(entry.distance):
        return f"yours against the column's: {entry.words}"
    where = f" at {found[1]}" if found[1] != "()" else ""
    whole = found[2].startswith("np.int")  # counted, not rounded
    yours, column = (re.sub(r"np\.\w+\((.*)\)", r"\1", text) for text in found.groups()[1:])
    off = "" if whole else f", which is {entry.distance:.3g} eps off"
    return f"yours is {yours}{where}, the column's {column}{off}"


def _result(name: str) -> str:
    """ "the second result['w']" for what `assert_agree` calls "output[1]['w']"."""
    found = re.fullmatch(r"output(?:\[(\d)\])?(.*)", name)
    if found is None:
        return name
    which = f"the {NUMBERED[int(found[1])]} result" if found[1] else "the result"
    return f"{which}{found[2]}"


def _before(count: int) -> list[str]:
    if not count:
        return []
    return ["The call before is right." if count == 1 else f"The {count} calls before are right."]


def _hint(yours: Function) -> str:
    text: str = inspect.unwrap(yours).__globals__.get("__doc__") or ""
    return text[text.find("Hint:") :].strip()


def _holes(yours: Function) -> list[int]:
    """The lines of the file with a `...` in the place of code."""
    tree = ast.parse(Path(_file(yours)).read_text(encoding="utf-8"))
    found = (node for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return sorted(node.lineno for node in found if node.value is ...)


def _file(yours: Function) -> str:
    return inspect.unwrap(yours).__code__.co_filename


def _line(yours: Function, error: BaseException) -> str:
    """Where in the learner's file it was raised."""
    line, trace = "", error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == _file(yours):
            line = f" in line {trace.tb_lineno}"
        trace = trace.tb_next
    return line


def _shapes(yours: Function, arguments: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """What the call hands over: "x (5, 3), training=False"."""
    names = list(inspect.signature(yours).parameters)
    said = []
    for name, value in zip(names, arguments, strict=False):
        for leaf, array in walk(value, name):
            shape = getattr(to_numpy(array), "shape", None)
            if shape != ():
                said.append(f"{leaf} {array}" if shape is None else f"{leaf} {shape}")
    return ", ".join([*said, *(f"{name}={value!r}" for name, value in kwargs.items())])


def _column(function: Function) -> str:
    return function.__module__.partition(".")[0]


def _name(function: Function) -> str:
    return f"{DISPLAY_NAMES[_column(function)]}'s {function.__module__}.{function.__name__}"


def _filled(text: str) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent="    ", break_long_words=False)
