"""The documents' mistakes in brief: tables made of the `[[mistake]]` entries of claims.toml.

python docs/_ext/mistakes.py --readme    write the tables of both READMEs
"""

import html
import sys
from pathlib import Path

from triptych.claims import book

ROOT = Path(__file__).absolute().parents[2]
READMES = {
    "README.md": ("document", "prints or says", "really"),
    "README.ja.md": ("教材", "記述", "正しくは"),
}
"""The headings of each table."""
START, END = "<!-- mistakes -->", "<!-- /mistakes -->"


def brief(readme: str) -> str:
    """The table of a README, between its two marks."""
    japanese = readme == "README.ja.md"
    rows = [READMES[readme], ("---", "---", "---")]
    for mistake in book.mistakes():
        texts = mistake.japanese if japanese else (mistake.says, mistake.really)
        rows.append((mistake.source, *texts))
    return "\n".join([START, *(f"| {' | '.join(row)} |" for row in rows), END])


def table(up: str) -> str:
    """The table of the page: each mistake with a link to the claims that show it."""
    body = "".join(
        f"<tr><td>{mistake.source}</td><td>{text(mistake.says)}</td>"
        f'<td>{text(mistake.really)}</td><td><a href="{up}mistakes.html#claim-{first.id}">'
        f"{len(mistake.claims)}</a></td></tr>"
        for mistake in book.mistakes()
        for first in mistake.claims[:1]
    )
    head = "".join(
        f'<th scope="col">{word}</th>'
        for word in ("Document", "It prints or says", "Really", "Claims")
    )
    return (
        '<div class="tp-scroll tp-wide" tabindex="0" role="region" aria-label="Mistakes">'
        f'<table class="tp-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def text(words: str) -> str:
    """Plain text with `code` in it, as HTML."""
    parts = html.escape(words, quote=False).split("`")
    return "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(parts))


def main(arguments: list[str]) -> int:
    """With --readme: write the tables; else print them."""
    for name in READMES:
        if "--readme" not in arguments:
            print(brief(name))
            continue
        path = ROOT / name
        before, _, rest = path.read_text(encoding="utf-8").partition(START)
        path.write_text(before + brief(name) + rest.partition(END)[2], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
