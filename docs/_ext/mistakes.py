"""The documents' mistakes in brief: tables made of the `[[mistake]]` entries of claims.toml.

python docs/_ext/mistakes.py --write    write the tables of the page and of the Japanese README
"""

import html
import sys
from pathlib import Path

from triptych.claims import book

ROOT = Path(__file__).absolute().parents[2]
TABLES = {
    "docs/mistakes.md": ("document", "prints or says", "really", "claims"),
    "README.ja.md": ("教材", "記述", "正しくは"),
}
"""The headings of each table, by the file that it stands in."""
START, END = "<!-- mistakes -->", "<!-- /mistakes -->"


def brief(file: str) -> str:
    """The table of a file, between its two marks; the page's leads to the claims that show it."""
    head = TABLES[file]
    rows = [head, ("---",) * len(head)]
    for mistake in book.mistakes():
        link = f'<a href="#claim-{mistake.claims[0].id}">{len(mistake.claims)}</a>'
        english = (mistake.says, mistake.really, link)
        rows.append((mistake.source, *(mistake.japanese if file == "README.ja.md" else english)))
    return "\n".join([START, *(f"| {' | '.join(row)} |" for row in rows), END])


def text(words: str) -> str:
    """Plain text with `code` in it, as HTML."""
    parts = html.escape(words, quote=False).split("`")
    return "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(parts))


def main(arguments: list[str]) -> int:
    """With --write: write the tables; else print them."""
    for name in TABLES:
        if "--write" not in arguments:
            print(brief(name))
            continue
        path = ROOT / name
        before, _, rest = path.read_text(encoding="utf-8").partition(START)
        path.write_text(before + brief(name) + rest.partition(END)[2], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
