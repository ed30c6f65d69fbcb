"""What an annotation of a column's function may say: limits, shapes, and what they refer to.

`learning_rate: Positive`, `steps: Count`, or `Annotated[float, Le(2)]` with any bound of the
package annotated-types; labels are `Below[Int[Array, " n"], " classes"]`, the size of a batch is
`UpTo[Count, " n"]`, gradients are `Like[Params, " params"]`. `checks` holds callers to them.
"""

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, GroupedMetadata, Gt, Interval, Le, Lt
from jaxtyping import Bool, Float, Int, Num

__all__ = ["Below", "Count", "Fraction", "Like", "Natural", "NonNegative", "Positive", "UpTo"]
"""The names that a column hands on for the annotations of its functions."""

Dims = tuple[tuple[str, int | None], ...]
"""Each dimension of a shape: its name, and its size where the name is a number."""


Positive = Annotated[float, Gt(0)]
"""A finite number above 0: a learning rate."""
NonNegative = Annotated[float, Ge(0)]
"""A finite number of at least 0: the weight of a penalty."""
Fraction = Annotated[float, Interval(ge=0, lt=1)]
"""A number in [0, 1): how much to drop, how much of an average to keep."""
Count = Annotated[int, Ge(1)]
"""A whole number of at least 1: steps, epochs, sizes."""
Natural = Annotated[int, Ge(0)]
"""A whole number of at least 0."""


class BelowSize(NamedTuple):
    """Every entry of an integer array lies in [0, size of this dimension)."""

    dimension: str


class UpToSize(NamedTuple):
    """A whole number of at most the size of this dimension."""

    dimension: str


class LikeArgument(NamedTuple):
    """A dictionary of arrays with the keys and shapes of this argument."""

    argument: str


if TYPE_CHECKING:  # as jaxtyping does it: to a type checker, the type with a remark
    from typing import Annotated as Below
    from typing import Annotated as Like
    from typing import Annotated as UpTo
else:

    class Below:
        """`Below[Int[Array, " n"], " classes"]`: integers from 0 to the size of `classes`, less 1.

        The space in front keeps tools from reading the name as that of a type, as in jaxtyping.
        """

        def __class_getitem__(cls, item):
            annotation, dimension = item
            return Annotated[annotation, BelowSize(dimension.strip())]

    class Like:
        """`Like[Params, " params"]`: a dictionary with the keys and shapes of argument `params`."""

        def __class_getitem__(cls, item):
            annotation, argument = item
            return Annotated[annotation, LikeArgument(argument.strip())]

    class UpTo:
        """`UpTo[Count, " n"]`: a whole number of at least 1 and at most the size of `n`."""

        def __class_getitem__(cls, item):
            annotation, dimension = item
            return Annotated[annotation, UpToSize(dimension.strip())]


def dtypes_of(annotation: Any) -> Any:
    """The names of the dtypes that a jaxtyping annotation allows; what is no tuple allows any.

    Floats of 8 bits and less are left out, because no framework computes in them.
    """
    found = getattr(annotation, "dtypes", None)
    short = re.compile(r"float[48]_")
    return tuple(d for d in found if not short.match(d)) if isinstance(found, tuple) else found


FLOATS, INTEGERS, NUMERIC = dtypes_of(Float), dtypes_of(Int), dtypes_of(Num)
FAMILIES = {
    FLOATS: "a floating-point dtype",
    INTEGERS: "an integer dtype",
    NUMERIC: "a numeric dtype",
    dtypes_of(Bool): "a boolean dtype",
}


def dims_of(text: str) -> Dims:
    """The dimensions in the words of a shape, "n 4"."""
    return tuple((dim, int(dim) if dim.isdigit() else None) for dim in text.split())


def not_none(annotation: Any) -> Any:
    """X for X | None, anything else as it is."""
    if get_origin(annotation) in (UnionType, Union) and type(None) in get_args(annotation):
        others = tuple(a for a in get_args(annotation) if a is not type(None))
        return Union[others]  # noqa: UP007 - of as many as there are
    return annotation


def parts_of(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """The type, and what `Annotated` says about it."""
    if get_origin(annotation) is Annotated:
        base, *metadata = get_args(annotation)
        return base, tuple(metadata)
    return annotation, ()


def layout_of(metadata: Iterable[Any]) -> Mapping[str, Any] | None:
    """The entries that a dictionary has to have; None where nothing says so."""
    return next((entry for entry in metadata if isinstance(entry, Mapping)), None)


def is_structure(layout: Mapping[str, Any]) -> bool:
    """Whether the entries have annotations of their own, rather than the shapes of parameters.

    Raises:
        LookupError: some have the one and some the other.
    """
    kinds = {isinstance(entry, str) for entry in layout.values()}
    if len(kinds) > 1:
        raise LookupError(f"{', '.join(layout)}: give each a shape, or each an annotation")
    return kinds == {False}


class Limits(NamedTuple):
    """The range of a number, and the words for it."""

    words: str
    tests: tuple[tuple[Callable[[Any, Any], Any], float], ...]
    """Comparisons, each with the limit that a number is compared with."""

    def holds(self, value: float) -> bool:
        """Whether a number is finite and within them."""
        return math.isfinite(value) and all(test(value, limit) for test, limit in self.tests)


BOUNDS: dict[type, tuple[str, str, Callable[[Any, Any], bool]]] = {
    Gt: ("above", "(", operator.gt),
    Ge: ("of at least", "[", operator.ge),
    Lt: ("below", ")", operator.lt),
    Le: ("of at most", "]", operator.le),
}
"""Of each bound: its words where it stands alone, its bracket, and the comparison."""


def limits_of(noun: str, metadata: Iterable[Any]) -> Limits:
    """The limits that stand behind a number's type in `Annotated`."""
    bounds: list[Any] = []
    for entry in metadata:
        bounds += entry if isinstance(entry, GroupedMetadata) else [entry]
    found = []
    for bound in bounds:
        if type(bound) not in BOUNDS:
            raise LookupError(f"{bound!r} is no limit of a number: use Gt, Ge, Lt, Le or Interval")
        found.append((*BOUNDS[type(bound)], getattr(bound, type(bound).__name__.lower())))
    lower = [f"{bracket}{limit}" for _, bracket, _, limit in found if bracket in "(["]
    upper = [f"{limit}{bracket}" for _, bracket, _, limit in found if bracket in ")]"]
    if lower and upper:
        words = f"{noun.replace('finite ', '')} in {lower[0]}, {upper[0]}"
    else:
        alone = " and ".join(f"{word} {limit}" for word, _, _, limit in found)
        words = f"{noun} {alone}".strip()
    return Limits(words, tuple((test, limit) for *_, test, limit in found))


def sizes_in(annotation: Any) -> set[str]:
    """The names of the sizes that an argument can tell."""
    base, metadata = parts_of(not_none(annotation))
    layout = layout_of(metadata) or {}
    found = {dim for dim, size in dims_of(getattr(base, "dim_str", "")) if size is None}
    for entry in layout.values():
        found |= {d for d, _ in dims_of(entry)} if isinstance(entry, str) else sizes_in(entry)
    return found


def check_references(function: str, annotations: Mapping[str, Any]) -> None:
    """Raise LookupError for a limit on a size or argument that the function does not have."""
    sizes = {dim for annotation in annotations.values() for dim in sizes_in(annotation)}
    waiting = list(annotations.values())
    while waiting:
        _, metadata = parts_of(not_none(waiting.pop()))
        for entry in metadata:
            if isinstance(entry, BelowSize) and entry.dimension not in sizes:
                raise LookupError(f"{function}: Below names {entry.dimension!r}, no size here")
            if isinstance(entry, UpToSize) and entry.dimension not in sizes:
                raise LookupError(f"{function}: UpTo names {entry.dimension!r}, no size here")
            if isinstance(entry, LikeArgument) and entry.argument not in annotations:
                raise LookupError(f"{function}: Like names {entry.argument!r}, no argument here")
        waiting += (layout_of(metadata) or {}).values()
