"""What `triptych compare` prints: the agreement table, the trainings, a verdict."""

import itertools
from collections.abc import Mapping, Sequence
from itertools import pairwise

from rich import box
from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from triptych.agreement.digests import Run
from triptych.agreement.measures import Row
from triptych.agreement.training import EPOCHS, TRAINED, Training, drift, reference_of
from triptych.names import COLUMNS, DISPLAY_NAMES

WIDE = 100

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
    return Text(f"{_short(row.distance)} ≤ {_short(row.bound)}")


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
        width: of the terminal; where it is narrow, the dtypes stand below each other.

    Returns:
        Tables to print, and what was not run.
    """
    shown: list[Table | Text] = []
    for device in dict.fromkeys(row.device for row in rows):
        here = [row for row in rows if row.device == device]
        against = [row for row in here if row.pair.startswith(EXACT)]
        where = {"cpu": "on a CPU", "cuda": "on a CUDA device"}.get(device, device)
        for title, part in (
            (f"How far from each other, {where}?", [row for row in here if row not in against]),
            (f"How far from exact arithmetic, {where}?", against),
        ):
            if part:
                table = _table(title, part, wide=True)
                if Console(width=1000).measure(table).maximum > width:
                    table = _table(title, part, wide=False)
                shown.append(table)
    shown.append(Text(f"\n{LEGEND}", style="dim"))
    gaps = dict.fromkeys(
        f"{row.concept}, {row.quantity} {row.note}" for row in rows if row.distance != row.distance
    )
    shown += [Text(gap, style="yellow") for gap in gaps]
    return Group(*shown)


LEGEND = (
    "equal bits: a zero's sign aside. a ≤ b: the worst distance seen, and its bound; a number "
    "alone has none. ulp: units in the last place, element by element. eps: max|a - b| / max|b| in "
    "machine epsilons. abs: max|a - b|."
)


def _table(title: str, rows: Sequence[Row], *, wide: bool) -> Table:
    worst: dict[str, dict[tuple[str, str], dict[tuple[str, str], Row]]] = {}
    for row in rows:
        cells = worst.setdefault(row.concept, {}).setdefault((row.quantity, row.unit), {})
        place = (row.pair, row.dtype)
        cells[place] = max(cells.get(place, row), row, key=_badness)
    pairs = sorted({row.pair for row in rows}, key=_order)
    dtypes = sorted({row.dtype for row in rows})
    table = Table(
        title=f"\n{title}",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
        pad_edge=False,
        show_edge=False,
    )
    table.add_column("quantity")
    if not wide:
        table.add_column("dtype")
    table.add_column("unit")
    for pair, dtype in itertools.product(pairs, dtypes if wide else [""]):
        table.add_column(f"{_names(pair)}\n{dtype}".rstrip(), justify="right", no_wrap=True)
    for concept, quantities in worst.items():
        table.add_row(Text(concept, style="bold"))
        for (quantity, unit), cells in quantities.items():
            head, short = f" {quantity}", unit.replace("absolute", "abs")
            if wide:
                places = itertools.product(pairs, dtypes)
                table.add_row(head, short, *[_cell(cells.get(place)) for place in places])
                continue
            lines = {
                dtype: [_cell(cells.get((pair, dtype))) for pair in pairs]
                for dtype in dtypes
                if any((pair, dtype) in cells for pair in pairs)
            }
            if len(lines) > 1 and len({tuple(map(str, line)) for line in lines.values()}) == 1:
                lines = {"both": next(iter(lines.values()))}
            for dtype, line in lines.items():
                table.add_row(head, dtype, short, *line)
                head = ""
    return table


def _order(pair: str) -> list[int]:
    return [COLUMNS.index(name) for name in pair.split("/") if name != EXACT]


def _badness(row: Row) -> tuple[bool, float]:
    apart = row.distance / row.bound if row.bound else row.distance
    return not row.holds, -1 if apart != apart else apart


def _names(pair: str) -> str:
    return "\n".join(DISPLAY_NAMES[name] for name in pair.split("/") if name != EXACT)


def training_table(trainings: Sequence[Training], width: int) -> Table:
    """What each column's training came to, one line each."""
    table = Table(
        title=f"The classifier on the diabetes study: {EPOCHS} epochs, 342 rows, 100 held out",
        caption="Chance is 1/3. Parameters trained in float64 must agree to "
        f"{TRAINED:.0e}; float32 drifts, and is shown. Not medical advice.",
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
    )
    curve = 24 if width >= WIDE else 8
    table.add_column("column", style="bold")
    table.add_column("dtype")
    table.add_column("loss by epoch", no_wrap=True)
    table.add_column("last", justify="right")
    table.add_column("right in\ntraining", justify="right")
    table.add_column("right on\nheld-out", justify="right")
    table.add_column("from\nNumPy", justify="right")
    for training in trainings:
        reference = reference_of(training, trainings)
        apart = drift(training, reference)
        table.add_row(
            DISPLAY_NAMES[training.column],
            training.dtype,
            sparkline(training.losses.tolist(), curve),
            f"{training.losses[-1]:.6f}",
            f"{training.train_accuracy:.1%}",
            f"{training.test_accuracy:.1%}",
            "—" if training is reference else "equal" if apart == 0 else f"{apart:.1e}",
        )
    return table


def digest_table(found: Sequence[tuple[Run, Mapping[str, str]]]) -> Table:
    """The digest of each run in each column, in red where it is not the committed one."""
    table = Table(
        title="One digest for a whole training run, float32",
        caption="Of all parameters and losses (SHA-256), the same on every machine. One that "
        "differs is worth a report: triptych compare --concept reproducible --json",
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
        title_justify="left",
        caption_justify="left",
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
    """Do all columns that ran agree? The last words of the comparison."""
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
