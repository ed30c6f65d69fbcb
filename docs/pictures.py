"""The pictures of the pages, drawn from what the columns compute: `python docs/pictures.py FOLDER`.

Each is written twice, for light pages and for dark ones, as SVG with text that stays text. Nothing
is drawn from memory: the points are the documents' data, the curves what the columns return.
"""

import io
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from triptych import data, names
from triptych.agreement import training
from triptych.column import Column, precision
from triptych.names import COLUMNS, DISPLAY_NAMES

THEMES: Mapping[str, Mapping[str, Any]] = {
    "light": {
        "ink": "#1b1f24", "faint": "#d9dde3", "fill": "#f6f7f9", "accent": "#7a3e00",
        "columns": ("#1a56b0", "#b3321c", "#1d6b3a"),
    },
    "dark": {
        "ink": "#dfe2e6", "faint": "#3a3f46", "fill": "#1b1d21", "accent": "#f5b55c",
        "columns": ("#86b3ff", "#ff9a85", "#72d194"),
    },
}  # fmt: skip
# where three curves lie on each other, all three must be seen
STYLES = ((5.0, "-", 0.35), (2.5, "-", 0.9), (1.2, (0, (4, 4)), 1.0))

Theme = Mapping[str, Any]
Results = dict[str, Any]
"""By column, what it returned."""


def in_each(dtype: str, *call: Any, **keywords: Any) -> Results:
    """Call one function in the three columns."""
    with precision(dtype):
        return {name: Column(name).call(*call, **keywords) for name in COLUMNS}


def _curves(axes: Axes, curves: Mapping[str, np.ndarray], theme: Theme) -> None:
    for (name, curve), color, style in zip(curves.items(), theme["columns"], STYLES, strict=True):
        width, dashes, alpha = style
        axes.plot(curve, color=color, lw=width, ls=dashes, alpha=alpha, label=DISPLAY_NAMES[name])


def _two(width: float = 9.0, height: float = 3.4) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, 2)


# The pictures: each returns a function that draws what it has computed in one theme


def noisy_line() -> Callable[[Theme], Figure]:
    """The noisy points around y = 2 x, the line that each column fits, and the loss."""
    params, x, t = data.noisy_line(dtype="float32")
    found = in_each(
        "float32", "linear_regression", "fit", params, x, t, learning_rate=0.1, steps=100
    )

    def draw(theme: Theme) -> Figure:
        figure, (left, right) = _two()
        left.plot(x, t, ".", color=theme["ink"], ms=4, alpha=0.6, label="points")
        ends = np.array([x.min(), x.max()])
        lines = [fit["w"] * ends + fit["b"] for fit, _ in found.values()]
        for line, color, (width, dashes, alpha) in zip(
            lines, theme["columns"], STYLES, strict=True
        ):
            left.plot(ends, line, color=color, lw=width, ls=dashes, alpha=alpha)
        fit = found["numpy_ref"][0]
        left.set_title(
            f"after {len(found['numpy_ref'][1])} epochs: w = {fit['w']:.3f}, b = {fit['b']:.3f}"
        )
        left.locator_params(axis="x", nbins=5)
        left.set_xlabel("x")
        left.set_ylabel("t")
        _curves(right, {name: losses for name, (_, losses) in found.items()}, theme)
        right.set_yscale("log")
        right.set_xlabel("epoch")
        right.set_ylabel("mean squared error")
        right.legend()
        return figure

    return draw


def three_points() -> Callable[[Theme], Figure]:
    """The line through three points of t = 2 x + 1, as it turns from epoch to epoch."""
    params, x, t = data.line()
    shown = (1, 2, 5, 100)
    fits = {
        epochs: in_each(
            "float64", "linear_regression", "fit", params, x, t, learning_rate=0.1, steps=epochs
        )
        for epochs in shown
    }

    def draw(theme: Theme) -> Figure:
        figure, (left, right) = _two()
        ends = np.array([0.5, 3.5])
        left.axhline(0, color=theme["accent"], alpha=0.2, label="start: 0 x + 0")
        for epochs, alpha in zip(shown, np.linspace(0.4, 1, len(shown)), strict=True):
            fit = fits[epochs]["numpy_ref"][0]
            label = f"{epochs} epoch{'s' if epochs > 1 else ''}: {fit['w']:.2f} x + {fit['b']:.2f}"
            left.plot(
                ends, fit["w"] * ends + fit["b"], color=theme["accent"], alpha=alpha, label=label
            )
        left.plot(x, t, "o", color=theme["ink"])
        left.set_xlabel("x")
        left.set_ylabel("t")
        left.legend(fontsize=8)
        _curves(right, {name: losses for name, (_, losses) in fits[shown[-1]].items()}, theme)
        right.set_yscale("log")
        right.set_xlabel("epoch")
        right.set_ylabel("mean squared error")
        right.legend()
        return figure

    return draw


def steepest() -> Callable[[Theme], Figure]:
    """How fast y = w x + b grows in every direction of (w, b): fastest along the gradient."""
    turns = np.radians(np.arange(0, 361, 5))
    x, w, b = map(np.array, (5.0, 2.0, 1.0))
    steps = [(np.array(np.cos(turn)), np.array(np.sin(turn))) for turn in turns]
    found: dict[str, list[np.ndarray]] = {name: [] for name in COLUMNS}
    for step in steps:
        grown = in_each("float64", "mechanics", "total_differential", x, w, b, *step)
        for name, value in grown.items():
            found[name].append(value)
    _, grads = Column("numpy_ref").call("gradients", "affine", x, w, b)
    gradient = float(grads["w"]), float(grads["b"])

    def draw(theme: Theme) -> Figure:
        figure, (left, right) = _two()
        across, up = np.meshgrid([-6, 6], [-6, 6])
        height = gradient[0] * across + gradient[1] * up
        left.contour(across, up, height, 12, colors=theme["faint"], linestyles="solid")
        arrow = {"arrowstyle": "-|>", "color": theme["accent"], "lw": 2}
        left.annotate("", gradient, (0, 0), arrowprops=arrow)
        left.annotate("gradient (5, 1)", gradient, (0, 10), textcoords="offset points", ha="center")
        left.set_aspect("equal")
        left.set_title("lines of equal y = w x + b, x = 5")
        left.set_xlabel("change of w")
        left.set_ylabel("change of b")
        for (name, curve), color, (width, dashes, alpha) in zip(
            found.items(), theme["columns"], STYLES, strict=True
        ):
            style = {"color": color, "lw": width, "ls": dashes, "alpha": alpha}
            right.plot(np.degrees(turns), curve, label=DISPLAY_NAMES[name], **style)
        right.axvline(np.degrees(np.arctan2(*gradient[::-1])), color=theme["accent"], lw=1)
        right.set_title(f"steepest: {np.hypot(*gradient):.3f}, along the gradient")
        right.set_xticks(range(0, 361, 90))
        right.set_xlabel("direction, degrees from w to b")
        right.set_ylabel("growth of y by step")
        right.legend()
        return figure

    return draw


def activations() -> Callable[[Theme], Figure]:
    """Each activation function and its slope."""
    x = np.linspace(-6, 6, 1201)
    found = {
        name: in_each("float64", "activations", name, x)
        for name in ("relu", "sigmoid", "tanh", "softplus", "gelu")
    }

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(11, 2.9), layout="constrained")
        for axes, (name, results) in zip(figure.subplots(1, 5), found.items(), strict=True):
            axes.axhline(0, color=theme["faint"], lw=0.8)
            axes.axvline(0, color=theme["faint"], lw=0.8)
            for (y, slope), color, style in zip(
                results.values(), theme["columns"], STYLES, strict=True
            ):
                width, dashes, alpha = style
                axes.plot(x, y, color=color, lw=width, ls=dashes, alpha=alpha)
                # a jump is drawn as a gap
                jump = np.abs(np.diff(slope, append=slope[-1])) > 0.5
                axes.plot(
                    x, np.where(jump, np.nan, slope), color=theme["accent"], lw=width / 2,
                    ls=dashes, alpha=alpha,
                )  # fmt: skip
            axes.set_title(name)
            axes.set_xlim(-6, 6)
            axes.set_ylim(-1.3, 3.2)
            axes.set_xticks([-5, 0, 5])
            axes.set_yticks([-1, 0, 1, 2, 3])
        lines = [
            Line2D([], [], color=color, lw=width, ls=dashes, alpha=alpha)
            for color, (width, dashes, alpha) in zip(theme["columns"], STYLES, strict=True)
        ]
        lines.append(Line2D([], [], color=theme["accent"], lw=1.5))
        labels = [*(DISPLAY_NAMES[name] for name in COLUMNS), "slope, in all three"]
        figure.legend(lines, labels, loc="outside lower center", ncols=4)
        return figure

    return draw


def nonlinear() -> Callable[[Theme], Figure]:
    """What three layers learn of |x| with a ReLU and without; their exclusive or on a square."""
    params, x, t = data.absolute()
    settings: dict[str, Any] = {"learning_rate": 0.1, "steps": 400}
    fine = np.linspace(-1.3, 1.3, 261)[:, None]
    curves: dict[bool, np.ndarray] = {}
    for bent in (True, False):
        fits = in_each("float64", "activations", "fit", params, x, t, nonlinear=bent, **settings)
        numpy = Column("numpy_ref")
        fit = fits["numpy_ref"][0]
        curves[bent] = numpy.call("activations", "network", fit, fine, nonlinear=bent)
    start, corners, answers = data.xor()
    edge = np.linspace(-0.5, 1.5, 101)
    grid = np.stack(np.meshgrid(edge, edge), axis=-1).reshape(-1, 2)
    decisions = {}
    with precision("float64"):
        for name in COLUMNS:
            column = Column(name)
            fit, _ = column.call(
                "activations", "fit", start, corners, answers, nonlinear=True, **settings
            )
            decisions[name] = column.call("activations", "decide", fit, grid, nonlinear=True)
            if name == "numpy_ref":
                square = column.call("activations", "network", fit, grid, nonlinear=True)
    for found in decisions.values():
        assert np.array_equal(found, decisions["numpy_ref"]), "the columns decide otherwise"
    square = square.reshape(101, 101)

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        left.plot(x, t, "o", color=theme["ink"], ms=4, label="|x|")
        left.plot(fine, curves[True], color=theme["accent"], lw=2, label="with a ReLU")
        left.plot(
            fine, curves[False], color=theme["columns"][0], lw=2, ls="--",
            label="three linear layers",
        )  # fmt: skip
        left.set_xlabel("x")
        left.legend()
        right.contourf(
            edge,
            edge,
            square,
            levels=[-np.inf, 0.5, np.inf],
            colors=[theme["fill"], theme["faint"]],
        )
        right.contour(edge, edge, square, levels=[0.5], colors=[theme["ink"]], linewidths=1)
        for (a, b), answer in zip(corners, answers[:, 0], strict=True):
            right.text(a, b, f"{answer:.0f}", color=theme["accent"], ha="center", va="center",
                       fontsize=16, fontweight="bold")  # fmt: skip
        right.set_aspect("equal")
        right.set_xticks([0, 1])
        right.set_yticks([0, 1])
        right.set_title("exclusive or, learned")
        return figure

    return draw


def network() -> Callable[[Theme], Figure]:
    """The classifier's layers, with the shape of what flows and of what is learned."""
    params = data.classifier_start()
    layers = dict.fromkeys(name.partition(".")[0] for name in params)
    counts = in_each("float64", "parameters", "count", params)
    (total,) = {int(count) for count in counts.values()}

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(9, 2.6), layout="constrained")
        axes = figure.subplots()
        sizes = [params[f"{name}.weight"].shape[1] for name in layers]
        sizes.append(params[f"{list(layers)[-1]}.bias"].shape[0])
        names = ["x", *[f"relu({name})" for name in list(layers)[:-1]], "logits"]
        for i, (size, name) in enumerate(zip(sizes, names, strict=True)):
            heights = np.linspace(-0.5, 0.5, size) * (size / max(sizes)) * 2
            axes.plot([i] * size, heights, "o", ms=5, color=theme["columns"][0])
            axes.text(i, -1.45, f"{name}\n(n, {size})", ha="center", va="top", color=theme["ink"])
        for i, layer in enumerate(layers):
            weight, bias = params[f"{layer}.weight"].shape, params[f"{layer}.bias"].shape
            for a in np.linspace(-0.5, 0.5, sizes[i]) * (sizes[i] / max(sizes)) * 2:
                for b in np.linspace(-0.5, 0.5, sizes[i + 1]) * (sizes[i + 1] / max(sizes)) * 2:
                    axes.plot([i + 0.05, i + 0.95], [a, b], color=theme["faint"], lw=0.4, zorder=0)
            count = np.prod(weight) + bias[0]
            axes.text(
                i + 0.5, 1.25, f"{layer}: weight {weight}, bias {bias}\n{count} numbers",
                ha="center", va="bottom", color=theme["accent"], fontsize=9,
            )  # fmt: skip
        axes.set_title(f"{total} numbers are learned", fontsize=10)
        axes.set_ylim(-2.3, 2.1)
        axes.set_xlim(-0.4, len(sizes) - 0.6)
        axes.axis("off")
        return figure

    return draw


def diabetes() -> Callable[[Theme], Figure]:
    """The classifier's loss on the diabetes study, and how far the columns' losses are apart."""
    trained = {}
    for dtype in names.DTYPES:
        with precision(dtype):
            trained[dtype] = {name: training.train(Column(name), dtype).losses for name in COLUMNS}

    def draw(theme: Theme) -> Figure:
        figure, (left, right) = _two()
        _curves(left, trained["float64"], theme)
        left.set_xlabel("epoch")
        left.set_ylabel("mean cross-entropy, float64")
        left.legend()
        for dtype, dashes in zip(names.DTYPES, ("-", ":"), strict=True):
            reference = trained[dtype]["numpy_ref"]
            for name, color, (width, _, alpha) in zip(
                COLUMNS[1:], theme["columns"][1:], STYLES[1:], strict=True
            ):
                apart = np.maximum.accumulate(np.abs(trained[dtype][name] - reference))
                # a difference of 0 has no place on a logarithmic axis: the curve begins later
                right.plot(
                    np.where(apart > 0, apart, np.nan), color=color, ls=dashes, lw=width,
                    alpha=alpha,
                    label=f"{DISPLAY_NAMES[name]} {dtype}",
                )  # fmt: skip
        right.set_yscale("log")
        right.set_xlabel("epoch")
        right.set_ylabel("largest |loss - NumPy's| so far")
        right.legend(fontsize=8)
        return figure

    return draw


def stall() -> Callable[[Theme], Figure]:
    """Document C's loop in float32, which stalls, and in float64, which does not."""
    losses = {}
    for dtype in names.DTYPES:
        params, x, t = data.layer(dtype=dtype)
        found = in_each(dtype, "linear_layer", "fit", params, x, t, learning_rate=0.01, steps=1000)
        losses[dtype] = {name: history for name, (_, history) in found.items()}

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.plot(
            losses["float64"]["numpy_ref"], color=theme["ink"], lw=1.2, label="NumPy, float64"
        )
        for (name, curve), color, (width, dashes, alpha) in zip(
            losses["float32"].items(), theme["columns"], STYLES, strict=True
        ):
            label = f"{DISPLAY_NAMES[name]}, float32: ends at {curve[-1]:.2e}"
            axes.plot(curve, color=color, lw=width, ls=dashes, alpha=alpha, label=label)
        axes.set_yscale("log")
        axes.set_xlabel("step")
        axes.set_ylabel("loss")
        axes.legend(fontsize=9)
        return figure

    return draw


def parting() -> Callable[[Theme], Figure]:
    """Where ordinary training parts from NumPy's and reproducible training does not."""
    (x, t), _ = data.diabetes(dtype="float32")
    every, steps = 10, 600
    rows = data.batches(len(x), 32, -(-steps // (len(x) // 32)))[:steps]
    shuffled = np.random.default_rng(0).permuted(rows, axis=1)
    runs = [
        ("numpy_ref", rows),
        ("torch_impl", rows),
        ("jax_impl", rows),
        ("numpy_ref", shuffled),
    ]
    apart = {}
    with precision("float32"):
        for concept in ("classifier", "reproducible"):
            every_run = []
            for name, batches in runs:
                params = data.classifier_start(dtype="float32")
                seen = []
                for part in np.split(batches, steps // every):
                    params, _ = Column(name).call(
                        concept, "fit", params, x, t, part, optimizer="sgd", learning_rate=0.1
                    )
                    seen.append(np.concatenate([params[key].ravel() for key in sorted(params)]))
                every_run.append(np.array(seen))
            reference, *others = every_run
            apart[concept] = [np.abs(other - reference).max(axis=1) for other in others]

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        labels = ("PyTorch", "JAX", "NumPy, the rows of a batch shuffled")
        colors = (*theme["columns"][1:], theme["columns"][0])
        ends = np.arange(1, steps // every + 1) * every
        for axes, (concept, curves) in zip((left, right), apart.items(), strict=True):
            for curve, label, color, style in zip(curves, labels, colors, STYLES, strict=True):
                width, dashes, alpha = style
                axes.plot(ends, curve, color=color, lw=width, ls=dashes, alpha=alpha, label=label)
            axes.set_xlabel("steps of SGD")
            axes.set_title(f"{concept}: at most {max(curve.max() for curve in curves):.1g}")
        left.set_yscale("symlog", linthresh=1e-8)
        left.set_ylim(-2e-9, None)
        left.set_ylabel("largest difference from NumPy")
        right.legend(fontsize=9)
        return figure

    return draw


PICTURES: Mapping[str, Callable[[], Callable[[Theme], Figure]]] = {
    "noisy-line": noisy_line,
    "three-points": three_points,
    "steepest": steepest,
    "activations": activations,
    "nonlinear": nonlinear,
    "network": network,
    "diabetes": diabetes,
    "stall": stall,
    "parting": parting,
}


def draw(folder: Path) -> dict[str, tuple[int, int]]:
    """Write every picture in both themes: it is drawn in the light one, and recoloured.

    Args:
        folder: where to; it must be there.

    Returns:
        The width and the height of each, in pixels.
    """
    sizes, first = {}, THEMES["light"]
    for name, compute in PICTURES.items():
        written = io.StringIO()
        with mpl.rc_context(_settings(first)):
            figure = compute()(first)
            # without a date: the same results give the same bytes
            figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
        width, height = figure.get_size_inches() * 96
        sizes[name] = (round(width), round(height))
        text = re.sub(r"(?m)[ \t]+$", "", written.getvalue())
        for theme, colors in THEMES.items():
            shown = _recoloured(text, first, colors)
            (folder / f"{name}-{theme}.svg").write_text(shown, encoding="utf-8")
    return sizes


def _recoloured(text: str, theme: Theme, other: Theme) -> str:
    """A picture that is drawn in one theme, in the colours of another."""
    before, after = (
        [value for part in colors.values() for value in ([part] if isinstance(part, str) else part)]
        for colors in (theme, other)
    )
    if len({*before}) < len(before):
        raise ValueError(f"a theme with one colour twice cannot be recoloured: {before}")
    given = dict(zip(before, after, strict=True))
    return re.sub("#[0-9a-f]{6}", lambda found: given.get(found[0], found[0]), text)


def _settings(theme: Theme) -> Any:
    ink = dict.fromkeys(
        (
            "text.color",
            "axes.edgecolor",
            "axes.labelcolor",
            "axes.titlecolor",
            "xtick.color",
            "ytick.color",
        ),
        theme["ink"],
    )
    return ink | {
        "svg.fonttype": "none",
        "svg.hashsalt": "triptych",
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.titlesize": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "mathtext.default": "regular",
    }


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    draw(target)
