"""The directives that show what was measured: claims, agreement, digests, pictures, timing."""

import html
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import mistakes
from columns import fold, raw, root
from docutils import nodes
from docutils.parsers.rst import directives
from evidence import PICTURES, ROOT
from mathml import formula
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective
from words import english, later, titled, word

from triptych.claims import book, verdicts
from triptych.data import CLASSES, DOCUMENTS
from triptych.names import COLUMNS, CONCEPTS, DISPLAY_NAMES, UnknownNameError
from triptych.source import parse


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    for name, directive in DIRECTIVES.items():
        app.add_directive(name, directive)
    app.connect("env-merge-info", merge)
    app.connect("env-check-consistency", complete)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def merge(app: Sphinx, env: Any, docnames: Iterable[str], other: Any) -> None:
    """Take over what the pages that another process has read show."""
    env.triptych["shown"] |= other.triptych["shown"]


def complete(app: Sphinx, env: Any) -> None:
    """Check that nothing was left out: every concept, claim and value stands on a page.

    Raises:
        ExtensionError: something is missing; the message names it.
    """
    pages = {f"concepts/{concept}" for concept in parse.concepts()}
    absent = [f"no page docs/{page}.md" for page in sorted(pages - env.found_docs)]
    absent += [
        f"claim {claim.id} stands on no page: {{claims}} is missing for {claim.concept}"
        for claim in book.claims()
        if claim.id not in env.triptych["shown"]
    ]
    absent += [
        f"value {entry.id} stands on no page: {{values}} is missing for {entry.concept}"
        for entry in book.entries()
        if not entry.document and entry.id not in env.triptych["shown"]
    ]
    if absent:
        raise ExtensionError("\n".join(absent))


def _scrolling(label: str, table: str) -> str:
    """A table that may be wider than the screen."""
    return (
        f'<div class="tp-scroll tp-wide" tabindex="0" role="region" aria-label="{label}">'
        f"{table}</div>"
    )


class _Shown(SphinxDirective):
    """A directive that shows a part of what was measured, in HTML."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        return [raw(self.shown())]

    @property
    def argument(self) -> str:
        return self.arguments[0] if self.arguments else ""

    @property
    def found(self) -> Mapping[str, Any]:
        return self.env.triptych  # type: ignore[attr-defined]

    @property
    def up(self) -> str:
        return root(self.env.docname)

    def shown(self) -> str:
        raise NotImplementedError

    def claim_rows(self) -> dict[str, list[Mapping[str, Any]]]:
        """By claim: its record in each column."""
        rows: dict[str, list[Mapping[str, Any]]] = {}
        for column in COLUMNS:
            for record in self.found["claims"][column]:
                rows.setdefault(record["id"], []).append(record)
        return rows

    def agreement_rows(self) -> list[Mapping[str, Any]]:
        return [row for rows in self.found["agreement"].values() for row in rows]


# Claims


class Claims(_Shown):
    """`{claims} CONCEPT`: what the documents print about it; `{claims}`: their mistakes."""

    def shown(self) -> str:
        """A table, one row for each claim and one for each explanation."""
        concept = self.argument
        rows = self.claim_rows()
        if concept:
            if concept not in CONCEPTS:
                raise UnknownNameError("concept", concept, CONCEPTS)
            chosen = [claim for claim in book.claims() if claim.concept == concept]
        else:
            chosen = list(book.errata())
        self.env.triptych["shown"].update(claim.id for claim in chosen)  # type: ignore[attr-defined]
        if not chosen:
            return f"<p>{word('The documents print nothing about it.')}</p>"
        if not concept:
            return self.table(chosen, rows)
        errata = {claim.id for claim in book.errata()}
        wrong = [claim for claim in chosen if claim.id in errata]
        others = [claim for claim in chosen if claim.id not in errata]
        shown = ""
        if wrong:
            shown += f"<p>{word('Claims that are wrong: {n}', n=len(wrong))}</p>"
            shown += self.table(wrong, rows)
        if others:
            differ = sum(
                any(record["verdict"] == verdicts.DIFFERS for record in rows[claim.id])
                for claim in others
            )
            if differ:
                said = word(
                    "Claims that hold: {n}, of which {differ} have another answer in some column",
                    n=len(others),
                    differ=differ,
                )
            else:
                said = word("Claims that hold: {n}", n=len(others))
            shown += fold(said, self.table(others, rows))
        return shown

    def table(self, chosen: Sequence[book.Claim], rows: Mapping[str, Any]) -> str:
        """The table of some claims."""
        body = "".join(self.group(list(group), rows) for group in _groups(chosen))
        head = "".join(f'<th scope="col">{DISPLAY_NAMES[column]}</th>' for column in COLUMNS)
        return _scrolling(
            word("Claims"),
            f'<table class="tp-table tp-claims"><thead><tr><th scope="col">{word("Claim")}</th>'
            f'<th scope="col">{word("The document prints")}</th>{head}'
            f'<th scope="col">{word("Verdict")}</th></tr></thead>{body}</table>',
        )

    def group(self, group: Sequence[book.Claim], rows: Mapping[str, Any]) -> str:
        """The claims about one thing, under a heading."""
        first = group[0]
        about = titled(first.path)
        title = f"{first.source} · {about}" if about else first.source
        heading = (
            f'<tr class="tp-about"><th colspan="6" scope="rowgroup" '
            f'title="{html.escape(word(DOCUMENTS[first.document]))}">{mistakes.text(title)}</th></tr>'
        )
        made = []
        for index, claim in enumerate(group):
            made.append(self.row(claim, rows[claim.id]))
            last = index + 1 == len(group) or group[index + 1].explanation != claim.explanation
            if claim.explanation and last:
                why = mistakes.text(word(claim.explanation))
                made.append(f'<tr class="tp-why"><td colspan="6">{why}</td></tr>')
        return f"<tbody>{heading}{''.join(made)}</tbody>"

    def row(self, claim: book.Claim, row: Sequence[Mapping[str, Any]]) -> str:
        """One claim in three columns."""
        found = {record["verdict"] for record in row}
        verdict = next(
            v
            for v in (verdicts.ERRATUM, verdicts.DIFFERS, verdicts.HOLDS, verdicts.MISSING)
            if v in found
        )
        cells = "".join(
            f'<td class="tp-{record["verdict"]}">{_answer(record["text"])}</td>' for record in row
        )
        name = mistakes.text(word(claim.what))
        if claim.functions:
            concept, _, function = claim.functions[0].partition(".")
            name = f'<a href="{self.up}concepts/{concept}.html#{function}">{name}</a>'
        printed = _answer(claim.printed)
        if verdict == verdicts.ERRATUM:
            printed = f"<s>{printed}</s>"
        if claim.origin != "printed":
            printed += f' <span class="tp-muted" title="{word(book.ORIGINS[claim.origin])}">'
            printed += f"{word(WORDS[claim.origin])}</span>"
        dtype = ' <span class="tp-muted">float32</span>' if claim.dtype == "float32" else ""
        return (
            f'<tr id="claim-{claim.id}"><td>{name}{dtype}</td><td>{printed}</td>'
            f'{cells}<td class="tp-verdict tp-{verdict}">{SIGNS[verdict]} '
            f"{word(WORDS[verdict])}</td></tr>"
        )


SIGNS = {verdicts.HOLDS: "✓", verdicts.DIFFERS: "≠", verdicts.ERRATUM: "✗", verdicts.MISSING: "-"}
WORDS = {
    "stated": later("stated"),
    "derived": later("derived"),
    verdicts.HOLDS: later("holds"),
    verdicts.DIFFERS: later("differs"),
    verdicts.ERRATUM: later("erratum"),
    verdicts.MISSING: later("not installed"),
}


ANSWERS = {
    "nothing": later("nothing at all"),  # the simulator's word for an empty field is another one
    **{answer: answer for answer in (
        later("none"), later("an error"), later("grows"), later("shrinks"), later("changed"),
        later("unchanged"), *CLASSES,
    )},
}  # fmt: skip
"""What is said of a value in words; the others are what a framework prints."""


def _answer(text: str) -> str:
    return f"<code>{html.escape(word(ANSWERS[text]) if text in ANSWERS else text)}</code>"


def _groups(chosen: Iterable[book.Claim]) -> Iterable[list[book.Claim]]:
    group: list[book.Claim] = []
    for claim in chosen:
        if group and (claim.source, claim.about) != (group[0].source, group[0].about):
            yield group
            group = []
        group.append(claim)
    if group:
        yield group


class Values(_Shown):
    """`{values} CONCEPT`: the values of claims.toml that no document has."""

    required_arguments = 1
    optional_arguments = 0

    def shown(self) -> str:
        """A table, one row for each value; one cell where all columns have the same."""
        chosen = [e for e in book.entries() if e.concept == self.argument and not e.document]
        if not chosen:
            raise ExtensionError(f"{self.env.docname}: no value of {self.argument!r}")
        self.env.triptych["shown"].update(entry.id for entry in chosen)  # type: ignore[attr-defined]
        head = "".join(f'<th scope="col">{DISPLAY_NAMES[column]}</th>' for column in COLUMNS)
        body = "".join(self.group(list(group)) for group in _groups(chosen))
        return _scrolling(
            word("Values"),
            f'<table class="tp-table"><thead><tr><th scope="col">{word("Value")}</th>{head}</tr>'
            f"</thead>{body}</table>",
        )

    def group(self, group: Sequence[book.Claim]) -> str:
        """The values of one thing, under a heading if it has a name."""
        heading = mistakes.text(titled(group[0].path))
        made = [f'<tr class="tp-about"><th colspan="4" scope="rowgroup">{heading}</th></tr>']
        made = made if heading else []
        for entry in group:
            texts = [_answer(self.found["values"][""][entry.id][c]) for c in COLUMNS]
            cells = "".join(f"<td>{text}</td>" for text in texts)
            if len(set(texts)) == 1:
                cells = f'<td colspan="3">{texts[0]}</td>'
            concept, _, function = entry.functions[0].partition(".")
            link = f'<a href="{self.up}concepts/{concept}.html#{function}">'
            made.append(f"<tr><td>{link}{mistakes.text(word(entry.what))}</a></td>{cells}</tr>")
            if entry.explanation:
                why = mistakes.text(word(entry.explanation))
                made.append(f'<tr class="tp-why"><td colspan="4">{why}</td></tr>')
        return f"<tbody>{''.join(made)}</tbody>"


class ClaimsSummary(_Shown):
    """`{claims-summary}`: how many claims there are, and how many are mistakes."""

    def shown(self) -> str:
        """One sentence."""
        rows = self.claim_rows().values()
        origins = Counter(claim.origin for claim in book.claims())
        wrong = sum(any(r["verdict"] == verdicts.ERRATUM for r in row) for row in rows)
        said = word(
            "<strong>{all}</strong> numbers, shapes and behaviours of five tutorials, "
            "checked in three columns: <strong>{hold}</strong> hold, "
            "<strong>{wrong}</strong> show {mistakes} mistakes of the tutorials. "
            "Of them {printed} are printed there, {stated} said there in "
            "words, {derived} derived by us from the tutorials' programs and data.",
            all=len(rows),
            hold=len(rows) - wrong,
            wrong=wrong,
            mistakes=len(book.mistakes()),
            **origins,
        )
        return f"<p>{said}</p>"


class Documents(SphinxDirective):
    """`{documents}`: the tutorials by name, with what each is about."""

    def run(self) -> list[nodes.Node]:
        """A list, one item for each."""
        wrong = {claim.id for claim in book.errata()}
        items = []
        for key, title in DOCUMENTS.items():
            claims = [claim for claim in book.claims() if claim.document == key]
            about = sorted({claim.concept for claim in claims}, key=parse.concepts().index)
            said = word(
                "{title}. About {concepts}: {n} claims, of which {wrong} are wrong.",
                title=word(title),
                # a link without words gets the title of its page
                concepts=" · ".join(f"[](/concepts/{concept}.md)" for concept in about),
                n=len(claims),
                wrong=sum(claim.id in wrong for claim in claims),
            )
            items.append(f"- **{key}**: {said}")
        made = self.parse_text_to_nodes("\n".join(items))
        for item in made:
            for text in item.findall(nodes.TextElement):
                text["translatable"] = False
        return made


# Agreement


class Agreement(_Shown):
    """`{agreement-rows} CONCEPT`: how far PyTorch and JAX are from NumPy; without one: all."""

    def shown(self) -> str:
        """A table, one row for each quantity."""
        concept = self.argument
        rows = [row for row in self.agreement_rows() if concept in ("", row["concept"])]
        if not rows:
            raise ExtensionError(f"no agreement was measured for the concept {concept!r}")
        heads = [
            (pair, dtype)
            for pair in dict.fromkeys(r["pair"] for r in rows)
            for dtype in DTYPES
            if any(r["dtype"] == dtype for r in rows)
        ]
        table: dict[tuple[str, str, str], dict[tuple[str, str], Mapping[str, Any]]] = {}
        for row in rows:
            key = (row["concept"], row["quantity"], row["unit"])
            table.setdefault(key, {})[row["pair"], row["dtype"]] = row
        head = "".join(f'<th scope="col">{_pair(pair)}<br>{dtype}</th>' for pair, dtype in heads)
        body = "".join(
            f"<tr><td>{'' if concept else _link(self.up, name)}{html.escape(word(quantity))}</td>"
            f"<td>{word(unit)}</td>"
            + "".join(_distance(cells.get(place)) for place in heads)
            + "</tr>"
            for (name, quantity, unit), cells in table.items()
        )
        table_html = _scrolling(
            word("Agreement"),
            f'<table class="tp-table"><thead><tr><th scope="col">{word("Quantity")}</th>'
            f'<th scope="col">{word("Unit")}</th>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table>",
        )
        if not concept:
            return table_html
        units = "".join(
            f"<p>{word(UNITS[unit])}</p>" for unit in dict.fromkeys(r["unit"] for r in rows)
        )
        return _strip(rows) + fold(
            word("Each quantity, with its distance and bound"), units + table_html
        )


DTYPES = ("float32", "float64")
UNITS: Mapping[str, str] = {
    "ulp": later(
        "<em>ulp</em>: how many floating-point numbers lie between the two, element by element."
    ),
    "eps": later(
        "<em>eps</em>: the largest difference, beside the largest number of the array, in "
        "multiples of the distance from 1 to the next number (1.2e-7 in float32, 2.2e-16 in "
        "float64)."
    ),
    later("absolute"): later("<em>absolute</em>: the largest difference."),
}


def _strip(rows: Sequence[Mapping[str, Any]]) -> str:
    """A dot for each comparison: filled where every bit is equal, hollow within the bound."""
    equal = sum(row["distance"] == 0 for row in rows)
    rest = len(rows) - equal
    if rest == 0:
        said = word("Comparisons equal in every bit: {equal} of {all}.", equal=equal, all=len(rows))
    else:
        said = word(
            "Comparisons equal in every bit: {equal} of {all}; within the bound: {rest}.",
            equal=equal,
            all=len(rows),
            rest=rest,
        )
    strips = []
    for pair in dict.fromkeys(row["pair"] for row in rows):
        for dtype in DTYPES:
            chosen = [r for r in rows if (r["pair"], r["dtype"]) == (pair, dtype)]
            if not chosen:
                continue
            dots = "".join(
                f'<span class="{"tp-equal" if r["distance"] == 0 else "tp-within"}" '
                f'title="{html.escape(word(r["quantity"]))}"></span>'
                for r in chosen
            )
            same = sum(r["distance"] == 0 for r in chosen)
            label = word("{equal} of {all} equal in every bit", equal=same, all=len(chosen))
            strips.append(
                f'<li>{_pair(pair)}, {dtype} <span class="tp-dots" role="img" '
                f'aria-label="{label}">{dots}</span></li>'
            )
    key = f'<span class="tp-equal"></span> {word("equal bits")}'
    if rest:
        key += f' <span class="tp-within"></span> {word("within the bound")}'
    return (
        f'<p>{said}</p><ul class="tp-strips">{"".join(strips)}</ul>'
        f'<p class="tp-key" aria-hidden="true">{key}</p>'
    )


def _link(up: str, concept: str) -> str:
    return f'<a href="{up}concepts/{concept}.html">{concept}</a>: '


def _pair(pair: str) -> str:
    first, second = (DISPLAY_NAMES[name] for name in pair.split("/"))
    return word("{second} from {first}", second=second, first=first)


def _distance(row: Mapping[str, Any] | None) -> str:
    if row is None:  # what is there in one dtype only
        return "<td></td>"
    if row["distance"] == 0:
        return f'<td class="tp-holds">{word("equal")}</td>'
    note = html.escape(row["note"])
    found, bound = (f"{x:.2g}" if x < 100 else f"{x:.0f}" for x in (row["distance"], row["bound"]))
    return f'<td title="{note}"{english()}>{found} ≤ {bound}</td>'


class AgreementSummary(_Shown):
    """`{agreement-summary}`: the agreement in one number."""

    def shown(self) -> str:
        """One sentence."""
        rows = self.agreement_rows()
        equal = sum(row["distance"] == 0 for row in rows)
        said = (
            word(
                "The columns agree: <strong>{all}</strong> comparisons are equal in every bit.",
                all=len(rows),
            )
            if equal == len(rows)
            else word(
                "The columns agree: <strong>{equal} of {all}</strong> comparisons are equal in "
                "every bit, the others stay within their bounds.",
                equal=equal,
                all=len(rows),
            )
        )
        return f'<p class="tp-number">{said}</p>'


class Digests(_Shown):
    """`{digests}`: the committed digests, and what each column finds where the pages are built."""

    def shown(self) -> str:
        """A table, one row for each run."""
        head = "".join(f'<th scope="col">{DISPLAY_NAMES[column]}</th>' for column in COLUMNS)
        body = "".join(
            f"<tr><td>{word('{optimizer}, {steps} steps, batch {batch}', **run)}</td>"
            + "".join(f'<td class="tp-holds"><code>{run[column]}</code></td>' for column in COLUMNS)
            + "</tr>"
            for run in self.found["digests"][""]
        )
        return _scrolling(
            word("Digests"),
            f'<table class="tp-table"><thead><tr><th scope="col">{word("Training run")}</th>{head}'
            f"</tr></thead><tbody>{body}</tbody></table>",
        )


class Witness(_Shown):
    """`{witness}`: a button that trains the runs of 100 steps in the reader's browser."""

    def shown(self) -> str:
        """The button, the data, and the script that computes."""
        text = json.dumps(self.found["witness"][""], separators=(",", ":")).replace("</", "<\\/")
        return (
            '<div id="witness"><button type="button" class="tp-button">'
            f"{word('Train in this browser')}</button> "
            '<output class="tp-witness" aria-live="polite"></output></div>'
            f'<script type="application/json" id="witness-data">{text}</script>'
            f'<script defer src="{self.up}_static/witness.js"></script>'
        )


# Timing


class Timing(_Shown):
    """`{timing} CONCEPT`: which tasks time it; the report itself is included by the timing page."""

    required_arguments = 1
    optional_arguments = 0

    def shown(self) -> str:
        """One sentence with a link for each task."""
        self.env.note_dependency(REPORT)
        tasks = timed().get(self.argument, [])
        if not tasks:
            if (ROOT / "benchmarks" / f"bench_{self.argument}.py").is_file():
                raise ExtensionError(f"{self.env.docname}: no timing of {self.argument!r}")
            return f"<p>{word('It has no benchmark of its own.')}</p>"
        links = (
            f'<a href="{self.up}timing.html#{nodes.make_id(task)}"{english()}>'
            f"{html.escape(task)}</a>"
            for task in tasks
        )
        return f"<p>{word('Timed as: {tasks}.', tasks=', '.join(links))}</p>"


REPORT = ROOT / "benchmarks" / "results" / "report.md"


@cache
def timed() -> Mapping[str, list[str]]:
    """By concept: the tasks of the published results that the report has a section for."""
    found: dict[str, list[str]] = {}
    for path in sorted(REPORT.parent.glob("*.json")):
        for row in json.loads(path.read_text(encoding="utf-8"))["benchmarks"]:
            tasks = found.setdefault(row["extra_info"]["concept"], [])
            if row["extra_info"]["task"] not in tasks:
                tasks.append(row["extra_info"]["task"])
    return found


# Pictures


class Picture(_Shown):
    """`{picture} NAME`, with a caption below and, in `:alt:`, what it shows."""

    required_arguments = 1
    optional_arguments = 0
    has_content = True
    option_spec = {"alt": directives.unchanged_required}  # noqa: RUF012

    def shown(self) -> str:
        """The picture for light pages and the one for dark pages."""
        name = self.argument
        sizes = self.found["pictures"][""]
        if name not in sizes:
            raise ExtensionError(
                f"{self.env.docname}: no picture {name!r}; there are {', '.join(sizes)}"
            )
        width, height = sizes[name]
        alt = html.escape(word(self.options["alt"]))
        images = "".join(
            f'<img class="only-{theme}" src="{self.up}{PICTURES}/{name}-{theme}.svg" alt="{alt}" '
            f'width="{width}" height="{height}" loading="lazy">'
            for theme in ("light", "dark")
        )
        parts = word(" ".join(self.content)).split("$")
        caption = "".join(formula(p) if i % 2 else mistakes.text(p) for i, p in enumerate(parts))
        return f'<figure class="tp-figure">{images}<figcaption>{caption}</figcaption></figure>'


DIRECTIVES = {
    "claims": Claims,
    "values": Values,
    "claims-summary": ClaimsSummary,
    "documents": Documents,
    "agreement-rows": Agreement,
    "agreement-summary": AgreementSummary,
    "digests": Digests,
    "witness": Witness,
    "timing": Timing,
    "picture": Picture,
}
