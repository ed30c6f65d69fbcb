"""Whether what a program prints is what a text shows; if not, how much of a difference it is."""

import re
from collections.abc import Callable, Sequence

HOLDS, WRITTEN, ROUNDING, VERSION, VARIES, DIFFERS = (
    "holds",
    "written otherwise",
    "rounding",
    "another version",
    "varies",
    "DIFFERS",
)
"""HOLDS: as shown; a comment may leave out spaces, quotes and digits. WRITTEN: the same value, with
other spaces, quotes or digits. ROUNDING: numbers within 1e-5 of each other. VERSION: as another
version of the framework prints it. VARIES: another output in each run. DIFFERS: anything else."""

RELATIVE = 1e-5
"""float32 in another order of operations, with some room."""

_NUMBER = re.compile(
    r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w])|(?<!\w)-?(?:nan|inf)\b"
)
_VERSIONS: tuple[tuple[str, str], ...] = (
    # PyTorch numbers the nodes of a graph, older ones only where there were two of a kind
    (r"\b(?:Th(?=[A-Z]))?(\w+Backward)\d*\b", r"\1"),
    # NumPy 2 names the type of a scalar
    (r"\bnp\.(?:float|int|uint|complex)\d+\(([^()]*)\)", r"\1"),
    (r"\bnp\.(?:bool_?|str_|longdouble)\(([^()]*)\)", r"\1"),
    (r"\bnp\.(True|False)_", r"\1"),
    # JAX called an array by where it was
    (r"\b(?:DeviceArray|ShardedDeviceArray|GlobalDeviceArray)\(", "Array("),
    (r", weak_type=True", ""),
    (r"\b(?:TFRT_CPU_|CpuDevice\(id=|TFRT_CPU)(\d*)\)?", r"cpu:\1"),
    # Python 3.12 writes an OrderedDict as it writes a dict
    (r"OrderedDict\(\[(.*)\]\)", r"OrderedDict(\1)"),
)


def judge(shown: str, given: Sequence[str], *, exact: bool) -> tuple[str, str]:
    """The verdict, and which of several things that may be meant it is about.

    Args:
        shown: the output in the text; a line of "..." stands for any.
        given: what the program prints, and what else may be meant: a value, as Python writes it.
        exact: whether spaces, quotes and digits count.
    """
    tests: list[tuple[str, Callable[[str, str], bool]]] = [
        (HOLDS, _same),
        (WRITTEN if exact else HOLDS, _same_value),
        (VERSION, lambda a, b: _same_value(_canonical(a), _canonical(b))),
        (ROUNDING, lambda a, b: _near(_canonical(a), _canonical(b))),
    ]
    for verdict, test in tests:
        for text in given:
            if test(shown, text):
                return verdict, text
    return DIFFERS, given[0] if given else ""


def _same(shown: str, given: str) -> bool:
    a, b = (_lines(text) for text in (shown, given))
    if a == b:
        return True
    if not re.search(r"^\s*\.\.\.\s*$", shown, re.MULTILINE):
        return False
    parts = [re.escape("\n".join(part)) for part in _between(a)]
    return bool(re.fullmatch(r"(?:.*\n)?".join(parts), "\n".join(b), re.DOTALL))


def _between(lines: Sequence[str]) -> list[list[str]]:
    """The lines, parted where one is "..."."""
    parts: list[list[str]] = [[]]
    for line in lines:
        if line.strip() == "...":
            if parts[-1]:
                parts[-1].append("")
            parts.append([])
        else:
            parts[-1].append(line)
    return parts


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").split("\n")]


def _bare(text: str) -> str:
    """A text without spaces, quotes and the addresses of objects."""
    return re.sub(r"[\s'\"]|(?<=\bat 0x)[0-9a-f]+", "", text)


def _canonical(text: str) -> str:
    for pattern, replacement in _VERSIONS:
        text = re.sub(pattern, replacement, text, flags=re.DOTALL)
    return text


def _numbers(shown: str, given: str) -> list[tuple[str, str]] | None:
    """The numbers of two texts side by side, where all the rest is the same."""
    a, b = (_NUMBER.findall(text) for text in (shown, given))
    rests = [re.sub(r",?#", "#", _bare(_NUMBER.sub("#", text))) for text in (shown, given)]
    return list(zip(a, b, strict=True)) if rests[0] == rests[1] and len(a) == len(b) else None


def _same_value(shown: str, given: str) -> bool:
    if _bare(shown) == _bare(given):
        return True
    pairs = _numbers(shown, given)
    return pairs is not None and bool(pairs) and all(_rounded(a, b) for a, b in pairs)


def _rounded(shown: str, given: str) -> bool:
    """Whether a number is the other one, with as many digits as are shown."""
    if float(shown) == float(given) or shown == given:
        return True
    digits = re.search(r"(?:\.(\d*))?(?:[eE]([-+]?\d+))?$", shown)
    assert digits
    if digits[1] is None:
        return False  # a whole number that is not the same
    unit = 10.0 ** (int(digits[2] or 0) - len(digits[1]))
    return abs(float(given) - float(shown)) <= 0.5000001 * unit


def _near(shown: str, given: str) -> bool:
    pairs = _numbers(shown, given)
    return (
        bool(pairs)
        and all(
            a == b or abs(float(a) - float(b)) <= RELATIVE * max(abs(float(a)), abs(float(b)))
            for a, b in pairs or ()
            if "nan" not in (a.strip("-"), b.strip("-")) or a == b
        )
        and all(("nan" in a) == ("nan" in b) for a, b in pairs or ())
    )
