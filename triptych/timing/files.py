"""The report as files: Markdown, HTML, plots."""

import base64
import re
from collections.abc import Iterable
from pathlib import Path
from string import Template

from triptych.timing.answers import sentences
from triptych.timing.results import Results, ResultsError
from triptych.timing.tables import Grid, Picture, across, machine_lines, once, remark_lines, steady
from triptych.timing.words import FIT_LEGEND, LEGEND


def _pictures(results: Results) -> dict[str, list[Picture]]:
    try:
        from triptych.timing import plots
    except ModuleNotFoundError as error:
        why = f"no plots: {error.name} is not installed (extra `plots`)"
        return {task: [Picture(task, "", why)] for task in results.tasks}
    return {task: plots.draw(results, task, rows) for task, rows in results.tasks.items()}


def _escape(text: str) -> str:
    """Text that means itself in Markdown, on one line."""
    return re.sub(r"([\\`*|<>\[\]~&])", r"\\\1", " ".join(text.split()))


def _table(grid: Grid) -> str:
    def line(cells: list[str]) -> str:
        return f"| {' | '.join(map(_escape, cells))} |"

    rules = f"|---{'|---:' * (len(grid.head) - 1)}|"
    rows = [line(row) if any(row[1:]) else f"| **{_escape(row[0])}** |" for row in grid.rows]
    return "\n".join((line(grid.head), rules, *rows))


def _markdown(results: Results, pictures: dict[str, list[Picture]]) -> str:
    def lines(texts: Iterable[str]) -> str:
        return "\n".join(f"- {_escape(text)}" for text in texts)

    blocks = ["# Timing report", lines(sentences(results)), "## How to read the tables"]
    blocks.append(lines((*remark_lines(results), *LEGEND, FIT_LEGEND)))
    for task, rows in results.tasks.items():
        blocks.append(f"## {_escape(task)}")
        for sheet in (steady(results, task, rows), once(results, rows), across(results, rows)):
            if sheet.entries:
                blocks += [f"### {_escape(sheet.title)}"] * (sheet.title != task)
                blocks.append(_table(sheet.wide()))
            blocks.append(lines(sheet.notes))
        for picture in pictures[task]:
            shown = f"![{_escape(picture.title)}]({picture.file})"
            blocks.append(shown if picture.svg else _escape(f"{picture.title}: {picture.why}"))
    if results.not_run:
        blocks += ["## What could not run", lines(results.not_run)]
    blocks += ["## Machines", _table(machine_lines(results.setups))]
    return "\n\n".join(filter(None, blocks)) + "\n"


PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Timing report</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; font-size: 0.875rem; }
th, td { padding: 0.15rem 0.6rem; white-space: nowrap; font-variant-numeric: tabular-nums; }
thead th { border-bottom: 1px solid; vertical-align: bottom; }
td:first-child { position: sticky; left: 0; background: Canvas; }
td:has(strong) { padding-top: 0.75rem; }
img { max-width: 100%; display: block; }
</style>
$body
</html>
""")


def _html(markdown: str, pictures: Iterable[Picture]) -> str:
    """The same report as one file: the pictures stand in it."""
    from markdown_it import MarkdownIt

    inline = {
        p.file: f"data:image/svg+xml;base64,{base64.b64encode(p.svg.encode()).decode()}"
        for p in pictures
    }
    reader = MarkdownIt("js-default")
    tokens = reader.parse(markdown)
    for image in (child for token in tokens for child in token.children or ()):
        if image.type == "image":
            image.attrs["src"] = inline[str(image.attrs["src"])]
    return PAGE.substitute(body=reader.renderer.render(tokens, reader.options, {}))


def write(results: Results, directory: str | Path) -> list[Path]:
    """Write report.md with its pictures, and report.html, which holds everything.

    Args:
        results: merged runs.
        directory: made if it is not there.

    Returns:
        The files written.

    Raises:
        ResultsError: a file of that name is there and is a link, which leads elsewhere.
    """
    pictures = _pictures(results)
    every = [picture for group in pictures.values() for picture in group if picture.svg]
    markdown = _markdown(results, pictures)
    files = {picture.file: picture.svg for picture in every}
    files |= {"report.md": markdown, "report.html": _html(markdown, every)}
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    for name in files:
        if Path(name).name != name or (folder / name).is_symlink():
            raise ResultsError(f"{folder / name} leads out of the folder")
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in files]
