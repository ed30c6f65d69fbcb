"""The plots of the timing report, as SVG: time for a row against the batch, and where a GPU wins.

A column has one colour and a mode one line and marker in every plot; the colours are Okabe and
Ito's, which readers with any colour vision tell apart. The same results give the same bytes.
"""

import io
import math
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from triptych.names import DISPLAY_NAMES
from triptych.timing.results import BEST, DTYPES, FASTEST, Label, Results, Row, Side
from triptych.timing.tables import Picture
from triptych.timing.trends import crossovers, sweeps
from triptych.timing.words import crossing

COLOURS = {
    "NumPy": "#0072B2",
    "PyTorch": "#D55E00",
    "JAX": "#000000",
    "scikit-learn": "#56B4E9",
    "autograd": "#CC79A7",
    "optax": "#009E73",
    "torch.optim": "#E69F00",
    "numba": "#F0E442",
}
"""The three columns differ in lightness too; the markers of the others are hollow."""
OTHER = "#999999"
STYLES = {
    "as written": ("-", "o"),
    "un-jitted": ("-.", "x"),
    "compiled step": ("--", "s"),
    "compiled step, donated": ("--", "D"),
    "whole loop": (":", "^"),
    "whole loop, C++ wrapper": (":", "v"),
    "compiled network": ("-.", "v"),
    "CUDA graph": (":", "P"),
    "equal bits": ("-", "x"),
    "whole loop, equal bits": (":", "x"),
    "fused": ("-", "*"),
}
SETTINGS = {
    "svg.hashsalt": "triptych",
    "font.size": 9,
    "legend.frameon": False,
    "text.parse_math": False,  # a name from a file is a name, whatever it holds
}
PANEL, LEGEND = (3.8, 3.0), 2.0
"""Inches: the size of a panel, the width of the legend beside them."""

Panel = tuple[str, Side]
"""Dtype and side."""


def draw(results: Results, task: str, rows: Sequence[Row]) -> list[Picture]:
    """The chart of a task, or why there is none; on a GPU, from which batch it wins as well.

    Args:
        results: merged runs, for the limits and the names.
        task: the task.
        rows: its rows.
    """
    timed = [row for row in rows if row.time]
    pictures = []
    with matplotlib.style.context(["default", SETTINGS]):
        drawn = time_against_batch(results, timed)
        title = f"{task}: time against batch"
        svg, why = ("", drawn) if isinstance(drawn, str) else (_svg(drawn), "")
        pictures.append(Picture(title, svg, why))
        if figure := crossover(results, timed):
            pictures.append(Picture(f"{task}: from which batch the GPU wins", _svg(figure), ""))
    return pictures


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def _panels(panels: Iterable[Panel], plot: Callable[[Axes, Panel], None], x: str, y: str) -> Figure:
    """A panel for each dtype and side, log-log, all with the same axes."""
    ordered = sorted(set(panels), key=lambda panel: ((*DTYPES, panel[0]).index(panel[0]), panel[1]))
    width = min(len(ordered), 2 if len({side for _, side in ordered}) <= 2 else 3)
    height = math.ceil(len(ordered) / width)
    size = PANEL[0] * width + LEGEND, PANEL[1] * height
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(height, width, sharex=True, sharey=True, squeeze=False)
    for axes, panel in zip_longest(grid.flat, ordered):
        if panel is None:
            axes.remove()
            continue
        axes.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
        axes.minorticks_off()
        axes.tick_params(labelbottom=True, labelleft=True)
        axes.grid(alpha=0.25)
        plot(axes, panel)
    return figure


def _title(results: Results, panel: Panel) -> str:
    return f"{results.name(panel[1])}, {panel[0]}"


def _line(axes: Axes, label: Label, x: Sequence[float], y: Sequence[float]) -> Line2D:
    """A line in the look of its column and mode."""
    line, marker = STYLES.get(label[1], ("-", "."))
    colour = COLOURS.get(label[0], OTHER)
    face = colour if label[0] in DISPLAY_NAMES.values() else "white"
    (drawn,) = axes.plot(x, y, color=colour, ls=line, lw=1.2, marker=marker, ms=4, mfc=face)
    return drawn


def _legend(figure: Figure, labels: Sequence[Label], *more: Line2D) -> None:
    """One entry for each column, by colour, and each mode, by line and marker."""
    columns = list(dict.fromkeys(name for name, _ in labels))
    modes = [mode for mode in dict.fromkeys(mode for _, mode in labels) if mode]
    entries = [Line2D([], [], color=COLOURS.get(name, OTHER), lw=3, label=name) for name in columns]
    for mode in modes:
        line, marker = STYLES.get(mode, ("-", "."))
        entries.append(
            Line2D([], [], color="0.4", ls=line, lw=1.2, marker=marker, ms=4, label=mode)
        )
    figure.legend(handles=[*entries, *more], loc="outside right upper")


def time_against_batch(results: Results, rows: Sequence[Row]) -> Figure | str:
    """The lines of `sweeps` for one row of the batch, with their quartiles, over what binds.

    A line that falls pays its overhead with more rows; one that is flat pays for each row.
    """
    lines = {key: line for key, line in sweeps(rows).items() if len(line) > 1}
    if not lines:
        return "not drawn: no batch sweep, every line has one batch"

    def plot(axes: Axes, panel: Panel) -> None:
        axes.set_title(_title(results, panel))
        here = {key: line for key, line in lines.items() if (key[0], key[2]) == panel}
        for (_, label, _), line in here.items():
            x = [row.batch or 1 for row in line]
            times = [row.time for row in line if row.time]
            drawn = _line(axes, label, x, [t.median / n for t, n in zip(times, x, strict=True)])
            low = [time.low / n for time, n in zip(times, x, strict=True)]
            high = [time.high / n for time, n in zip(times, x, strict=True)]
            axes.fill_between(x, low, high, color=drawn.get_color(), alpha=0.25, linewidth=0)
        limits = machine_limits(row for line in here.values() for row in line)
        axes.plot([*limits], [s / n for n, s in limits.items()], color="0.4", lw=0.8, ls=LIMIT)
        axes.yaxis.set_major_formatter(EngFormatter(unit="s"))

    panels = {(dtype, side) for dtype, _, side in lines}
    figure = _panels(panels, plot, "rows in a batch", "time for a step, over its rows")
    limit = Line2D([], [], color="0.4", lw=0.8, ls=LIMIT, label="the machine's limit")
    band = Line2D([], [], color="0.4", lw=6, alpha=0.25, label="interquartile range")
    shown = [limit] * bool(machine_limits(row for line in lines.values() for row in line))
    _legend(figure, [label for _, label, _ in lines], band, *shown)
    return figure


LIMIT = (0, (1, 3))
"""The dots of the limit."""


def machine_limits(rows: Iterable[Row]) -> dict[int, float]:
    """By batch, seconds of a step's arithmetic, or of what it has to move: nothing is faster."""
    found: dict[int, float] = {}
    for row in sorted(rows, key=lambda row: row.batch or 0):
        if row.batch and row.limit and row.limit["binds"] != "dispatch":
            seconds = float(row.limit["seconds"])
            found[row.batch] = min(seconds, found.get(row.batch, seconds))
    return found


def crossover(results: Results, rows: Sequence[Row]) -> Figure | None:
    """CPU time over GPU time against the batch; above 1 the GPU wins."""
    found = {
        key: cross
        for key, cross in crossovers(rows).items()
        if len(cross.batches) > 1 and key[1][1] != FASTEST
    }
    if not found:
        return None

    def plot(axes: Axes, panel: Panel) -> None:
        axes.axhline(1, color="0.2", linewidth=1)
        best = found[panel[0], (BEST, ""), panel[1]]
        axes.set_title(f"{_title(results, panel)}\n{BEST}: {crossing(best)}")
        for (dtype, label, side), cross in found.items():
            if (dtype, side) == panel:
                drawn = _line(axes, label, cross.batches, cross.ratios)
                if cross.batch:
                    axes.axvline(cross.batch, color=drawn.get_color(), lw=0.8, ls=(0, (1, 3)))

    panels = {(dtype, side) for dtype, _, side in found}
    figure = _panels(panels, plot, "rows in a batch", "CPU time over GPU time")
    _legend(figure, [label for _, label, _ in found])
    return figure
