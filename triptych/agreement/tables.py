"""What `triptych compare` prints: the agreement table, the trainings, a verdict."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from triptych.agreement.digests import Run
from triptych.agreement.measures import Row
from triptych.agreement.training import EPOCHS, TRAINED, Training, drift, reference_of
from triptych.names import COLUMNS, DISPLAY_NAMES

WIDE, CURVED = 100, 70
"""From these widths on a training's losses are a long curve, or a curve at all."""
STYLE: Any = {
    "title_justify": "left",
    "title_style": "bold",
    "caption_justify": "left",
    "box": box.SIMPLE_HEAD,
    "padding": (0, 0, 0, 1),
    "pad_edge": False,
    "show_edge": False,
}
BLOCKS = "▁▂▃▄▅▆▇█"


def _cell(row: Row | None) -> Text:
    if row is None:
        return Text("")
    if row.distance != row.distance:
        return Text("not run", style="yellow")
    if not row.holds:
        return Text(f"{_short(row.distance)} > {_short(row.bound)} ✗", style="bold red")
    if row.distance == 0:
        return Text("equal bits", style="green")
    if row.bound == float("inf"):
        return Text(_short(row.distance), style="dim")
    return Text(f"{_short(row.distance)} of {_short(row.bound)}")


def _short(x: float) -> str:
    """Two digits, one beside a power of ten: 62, 0.53, 3e-8."""
    text = f"{x:.2g}" if x == 0 or 1e-2 <= x < 100 else f"{x:.0f}" if 1 <= x < 1e4 else f"{x:.0e}"
    return text.replace("e-0", "e-").replace("e+0", "e")


EXACT = "exact"
"""The reference in a pair such as "exact/jax_impl": exact arithmetic, not a column."""


def agreement_table(rows: Sequence[Row], width: int) -> Group:
    """The agreement tables: each pair of columns, then each column against exact arithmetic.

    Args:
        rows: what was measured; several of one quantity, pair, dtype and device count as the worst.
        width: of the terminal; where it is narrow, the dtypes stand below each other, and where it
            is narrower still, each quantity above its numbers.

    Returns:
        What the units are, the tables, and what was not run.
    """
    shown: list[Table | Text] = [Text(f"\n{LEGEND}", style="dim")]
    for device in dict.fromkeys(row.device for row in rows):
        here = [row for row in rows if row.device == device]
        against = [row for row in here if row.pair.startswith(EXACT)]
        where = {"cpu": "on a CPU", "cuda": "on a CUDA device"}.get(device, device)
        for title, part in (
            (f"How far from each other, {where}?", [row for row in here if row not in against]),
            (f"How far from exact arithmetic, {where}?", against),
        ):
            if part:
                shown += _table(title, part, width)
    gaps = dict.fromkeys(
        f"{row.concept}, {row.quantity} {row.note}" for row in rows if row.distance != row.distance
    )
    shown += [Text(gap, style="yellow") for gap in gaps]
    return Group(*shown)


LEGEND = (
    "2.2 of 16: the worst distance seen, and the largest that is allowed; a number alone has no "
    "limit. equal bits: no distance, a zero's sign aside. ulp: how many floating-point numbers lie "
    "between the two, element by element. eps: the largest difference beside the largest number "
    "of the array, in multiples of the distance from 1 to the next number. abs: the largest "
    "difference."
)


def _table(title: str, rows: Sequence[Row], width: int) -> list[Table | Text]:
    worst: dict[str, dict[tuple[str, str], dict[tuple[str, str], Row]]] = {}
    for row in rows:
        cells = worst.setdefault(row.concept, {}).setdefault((row.quantity, row.unit), {})
        place = (row.pair, row.dtype)
        cells[place] = max(cells.get(place, row), row, key=_badness)
    pairs = sorted({row.pair for row in rows}, key=_order)
    dtypes = sorted({row.dtype for row in rows})
    wide = _started(title, ["quantity", "unit"], itertools.product(pairs, dtypes))
    narrow = _started(title, ["quantity", "dtype", "unit"], ((pair, "") for pair in pairs))
    tall: list[Table | Text] = [Text(f"\n{title}", style="bold")]
    for concept, quantities in worst.items():
        for table in (wide, narrow):
            table.add_row(Text(concept, style="bold"))
        tall.append(Text(f"\n{concept}", style="bold"))
        for (quantity, unit), cells in quantities.items():
            head, short = f" {quantity}", unit.replace("absolute", "abs")
            places = itertools.product(pairs, dtypes)
            wide.add_row(head, short, *[_cell(cells.get(place)) for place in places])
            tall.append(Text(head))
            for dtype, line in _by_dtype(cells, pairs, dtypes).items():
                narrow.add_row(head, dtype, short, *line)
                tall += _stacked(pairs, dtype, line, short)
                head = ""
    endless = Console(width=1000)
    if endless.measure(wide).maximum <= width:
        return [wide]
    # what a quantity is may be broken between two words
    heads = [*worst, *(f" {quantity}" for found in worst.values() for quantity, _ in found)]
    longest = max(len(word) for head in heads for word in head.split(" ", 1)[-1].split())
    spare = max(map(len, heads)) - longest - 1
    return [narrow] if endless.measure(narrow).maximum - spare <= width else tall


def _stacked(pairs: Sequence[str], dtype: str, line: Sequence[Text], unit: str) -> list[Text]:
    """A line for each pair, or one for all of them if they have the same."""
    if len({str(cell) for cell in line}) == 1:
        pairs, line = ["every pair"], line[:1]
    return [
        Text.assemble(
            f"   {_names(pair, ' and ')}, {dtype.replace('both', 'both dtypes')}: ",
            cell,
            f" {unit}" * (" of " in str(cell)),
        )
        for pair, cell in zip(pairs, line, strict=True)
        if cell
    ]


def _started(title: str, heads: Sequence[str], places: Iterable[tuple[str, str]]) -> Table:
    table = Table(
        title=f"\n{title}",
        **STYLE,
    )
    for head in heads:
        table.add_column(head, no_wrap=head != "quantity")
    for pair, dtype in places:
        heading = f"{_names(pair, chr(10))}\n{dtype}".rstrip()
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _by_dtype(
    cells: Mapping[tuple[str, str], Row], pairs: Sequence[str], dtypes: Sequence[str]
) -> dict[str, list[Text]]:
    """The cells of each dtype; once, if they are the same in all."""
    lines = {
        dtype: [_cell(cells.get((pair, dtype))) for pair in pairs]
        for dtype in dtypes
        if any((pair, dtype) in cells for pair in pairs)
    }
    if len(lines) > 1 and len({tuple(map(str, line)) for line in lines.values()}) == 1:
        return {"both": next(iter(lines.values()))}
    return lines


def _order(pair: str) -> list[int]:
    return [COLUMNS.index(name) for name in pair.split("/") if name != EXACT]


def _badness(row: Row) -> tuple[bool, float]:
    apart = row.distance / row.bound if row.bound else row.distance
    return not row.holds, -1 if apart != apart else apart


def _names(pair: str, between: str) -> str:
    names = [name for name in pair.split("/") if name != EXACT]
    return between.join(DISPLAY_NAMES.get(name, name) for name in names)


def training_table(trainings: Sequence[Training], width: int) -> Table:
    """What each column's training came to, one line each."""
    table = Table(
        title=f"\nThe classifier on the diabetes study: {EPOCHS} epochs, 342 rows, 100 held out",
        caption="Chance is 1/3. Parameters trained in float64 must agree to "
        f"{TRAINED:.0e}; float32 drifts, and is shown. Not medical advice.",
        **STYLE,
    )
    curve = 24 if width >= WIDE else 8
    table.add_column("column", style="bold")
    table.add_column("dtype")
    if width >= CURVED:
        table.add_column("loss by\nepoch", no_wrap=True)
    table.add_column("last loss", justify="right")
    table.add_column("right in\ntraining", justify="right")
    table.add_column("right on\nheld-out", justify="right")
    table.add_column("from\nNumPy", justify="right")
    for training in trainings:
        reference = reference_of(training, trainings)
        apart = drift(training, reference)
        table.add_row(
            DISPLAY_NAMES[training.column],
            training.dtype,
            *[sparkline(training.losses.tolist(), curve)][: width >= CURVED],
            f"{training.losses[-1]:.6f}",
            f"{training.train_accuracy:.1%}",
            f"{training.test_accuracy:.1%}",
            "—" if training is reference else "equal" if apart == 0 else f"{apart:.1e}",
        )
    return table


def digest_table(found: Sequence[tuple[Run, Mapping[str, str]]]) -> Table:
    """The digest of each run in each column, in red where it is not the committed one."""
    table = Table(
        title="\nOne digest for a whole training run, float32",
        caption="Of all parameters and losses (SHA-256), the same on every machine. One that "
        "differs is worth a report: triptych compare --concept reproducible --json",
        **STYLE,
    )
    columns = [name for name in COLUMNS if any(name in digests for _, digests in found)]
    table.add_column("steps")
    for name in columns:
        table.add_column(DISPLAY_NAMES[name], no_wrap=True)
    for run, digests in found:
        cells = [
            Text(digests[name], style="green" if digests[name] == run.digest else "bold red")
            for name in columns
        ]
        table.add_row(f"{run.steps} {run.optimizer}", *cells)
    return table


def sparkline(values: Sequence[float], width: int) -> str:
    """A small plot in block characters, each the mean of its share of the values."""
    width = min(width, len(values))
    edges = [round(i * len(values) / width) for i in range(width + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0
    return "".join(BLOCKS[round((mean - low) * scale)] for mean in means)


def verdict_line(rows: Sequence[Row], failures: Sequence[str]) -> Text:
    """Do all columns that ran agree?"""
    if failures:
        listed = "\n".join(f"  {escape(failure)}" for failure in failures)
        return Text.from_markup(f"[bold red]The columns disagree:[/]\n{listed}")
    run = [row for row in rows if row.distance == row.distance]
    equal = sum(row.distance == 0 for row in run)
    who = "All columns agree" if len(run) == len(rows) else "All columns that ran agree"
    others = "" if equal == len(run) else ", the others within their bound"
    return Text.from_markup(
        f"[bold green]{who}:[/] {len(run)} comparisons, {equal} of them equal in every bit{others}."
    )
