"""How trained parameters drift apart: `python docs/drift.py` writes docs/drift.svg, prints numbers.

The classifier, up to 1000 steps of Adam on batches of 32 of 320 rows of order 1, from ten starts:
the largest difference of any parameter from NumPy's. Needs the extra `plots`.
"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from triptych import data
from triptych.column import Column, precision
from triptych.names import COLUMNS, DISPLAY_NAMES

STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000)
STARTS = range(10)
STYLES = {"torch_impl": ("#b3321c", "-"), "jax_impl": ("#1d6b3a", (0, (3, 2)))}


def drift(dtype: str, start: int, steps: int) -> dict[str, float]:
    """By column: how far its parameters are from NumPy's after so many steps."""
    rng = np.random.default_rng(start)
    x, t = rng.normal(size=(320, 4)).astype(dtype), rng.integers(0, 3, 320)
    params = data.classifier_start(start, dtype=dtype)
    rows = data.batches(320, 32, 100, seed=start)[:steps]
    with precision(dtype):
        reference, *others = (
            Column(name).call(
                "classifier", "fit", params, x, t, rows, optimizer="adam", learning_rate=0.01
            )[0]
            for name in COLUMNS
        )
    return {
        name: max(float(np.max(np.abs(after[key] - p))) for key, p in reference.items())
        for name, after in zip(COLUMNS[1:], others, strict=True)
    }


def main(file: str) -> None:
    """Measure, print the worst of each, draw."""
    mpl.rcParams.update({"svg.hashsalt": "triptych", "svg.fonttype": "none", "font.size": 10})
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for dtype in ("float32", "float64"):
        found = [[drift(dtype, start, steps) for steps in STEPS] for start in STARTS]
        for name, (colour, line) in STYLES.items():
            curves = np.array([[at[name] for at in curve] for curve in found])
            worst = {
                steps: f"{curves[:, STEPS.index(steps)].max():.1e}" for steps in (1, 100, 1000)
            }
            print(f"{dtype} {DISPLAY_NAMES[name]}: the worst after so many steps: {worst}")
            axes.loglog(STEPS, curves.T, color=colour, linestyle=line, linewidth=0.9, alpha=0.8)
        axes.annotate(dtype, (1, np.finfo(dtype).eps * 2), color="#57606a")
    for name, (colour, line) in STYLES.items():
        axes.plot([], [], color=colour, linestyle=line, label=f"{DISPLAY_NAMES[name]} from NumPy")
    axes.set(xlabel="steps of Adam", ylabel="largest difference of a parameter", ylim=(1e-18, 1))
    axes.grid(color="#d9dde3", linewidth=0.5)
    axes.legend(loc="upper left", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = Path(file).read_text()
    Path(file).write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else str(Path(__file__).with_name("drift.svg")))
