"""The pages in another language: English stays where it is written, its Japanese in docs/locale.

A Markdown page is translated by Sphinx, from the file of its own name. What the extensions, the
scripts and the TOML files say goes through `word`, which looks it up in words.po.

    python docs/_ext/words.py FILE    write the template of words.po: `make messages` does it
"""

import ast
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).absolute().parents[2]
LOCALE = "docs/locale/{}/LC_MESSAGES/{}.po"

translated: dict[str, str] = {}
"""The words of the language that pages are built in; empty for English."""
unknown: Callable[[str], None] | None = None
"""Called with a text that `make messages` does not find, while pages are built."""


# Looking up


def word(text: str, /, **values: object) -> str:
    """A text of the project's own in the language of the pages, with `{name}` filled in."""
    text = " ".join(text.split())
    if unknown and text not in messages() and prose(text):
        unknown(text)
    text = translated.get(text) or text
    return text.format_map(values) if values else text


def titled(parts: Iterable[str]) -> str:
    """A title made of several, which come from the tables of claims.toml around a claim."""
    return "; ".join(map(word, parts))


def later(text: str) -> str:
    """Mark a text that `word` will be asked for: in a table, say."""
    return text


def english() -> str:
    """The attribute of what stays English on a page: nothing where all of it is."""
    return ' lang="en"' if translated else ""


NAMES = (
    r"NumPy|PyTorch|JAX|Flax|Optax|optax|scikit-learn|TensorFlow|ReLU|GELU|SGD|Adam|MPI|BLAS|ULP"
    r"|[\w.]+\.\w+|\w+_\w+|\w*\d\w*|\w*Error|eps|ulp|us|ms|GB|MB|None|nan|inf"
)
"""What is the same in every language."""


def prose(text: str) -> bool:
    """Whether a text has words of a language besides code, mathematics, names and numbers."""
    text = re.sub(r"`+[^`]*`+|\$[^$]*\$|<[^>]*>|\]\([^)]*\)|\{[^}]*\}", " ", text)
    return bool(re.search(r"[A-Za-z]{2,}", re.sub(rf"(?<!\w)(?:{NAMES})(?!\w)", " ", text)))


# What there is to translate


def texts() -> Iterator[tuple[str, str]]:
    """Every text that `word` may be asked for, behind the file that it stands in."""
    for path in sorted((ROOT / "docs").rglob("*.py")):
        yield from _calls(path, word=0, later=0)
    scripts = (ROOT / "docs" / "_static").rglob("*.js")
    for path in sorted([*scripts, *(ROOT / "docs" / "_templates").rglob("*.html")]):
        calls = r'(?<![.\w])(?:say|word)\(\s*("(?:[^"\\]|\\.)*")'
        for text in re.findall(calls, path.read_text("utf-8")):
            yield _name(path), json.loads(text)
    for path in sorted((ROOT / "docs").rglob("*.md")):
        page = path.read_text("utf-8")
        for text in (*_directives(page), *(text for _, text, _ in re.findall(IN_FORMULA, page))):
            yield _name(path), text
    yield from _data()


def _data() -> Iterator[tuple[str, str]]:
    """The texts of the TOML files and of the glue that the pages show."""
    from triptych.claims import book
    from triptych.data import CLASSES, DOCUMENTS, FEATURES
    from triptych.source import differences

    yield from _calls(ROOT / "triptych" / "agreement" / "exhibits.py", Exhibit=1)
    yield from (("triptych/data.py", title) for title in DOCUMENTS.values())
    yield from (("triptych/data.py", name) for name in (*FEATURES, *CLASSES))
    yield from (("triptych/claims/book.py", origin) for origin in book.ORIGINS.values())
    for entry in book.entries():
        for text in (*entry.path, entry.what, entry.explanation):
            yield "triptych/claims/claims.toml", text
    for difference in differences.differences():
        yield "triptych/source/differences.toml", difference.why

    for subject in tomllib.loads((ROOT / "triptych/source/cheatsheet.toml").read_text("utf-8")):
        yield "triptych/source/cheatsheet.toml", subject

    import solutions
    import traps

    for trap in traps.load():
        yield "docs/traps.toml", trap.title
        yield "docs/traps.toml", trap.why
    for exercise in solutions.exercises():
        for text in (exercise.title, *exercise.text, exercise.hint):
            yield f"{solutions.FOLDER}/{exercise.name}.py", text


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _calls(path: Path, **functions: int) -> Iterator[tuple[str, str]]:
    """The strings that some functions are called with, each as its argument of that number."""
    for call in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            argument = call.args[functions.get(call.func.id, len(call.args)) :][:1]
            if argument and isinstance(argument[0], ast.Constant):
                yield _name(path), str(argument[0].value)


IN_FORMULA = r"\\text\{(\s*)(.*?)(\s*)\}"
"""Words in a formula, and the spaces around them."""
MARKED = re.compile(r"\[\[(.*?)\]\]", re.S)
"""Text to translate, in the HTML of an `{html}` block."""


def _directives(page: str) -> Iterator[str]:
    """What a page says within the directives that make HTML of it: captions, reasons."""
    blocks = r"^```\{(derivation|picture|html)\}[^\n]*\n(.*?)^```"
    for name, body in re.findall(blocks, page, re.M | re.S):
        options = re.findall(r"^:(\w+): (.*)", body, re.M)
        lines = [line for line in body.splitlines() if line and not line.startswith(":")]
        if name == "html":
            yield from MARKED.findall(body)
        elif name == "picture":
            yield from (text for option, text in options if option == "alt")
            yield " ".join(lines)
        else:
            yield from (" | ".join(line.split(" | ")[2:]).strip() for line in lines)


@cache
def messages() -> dict[str, list[str]]:
    """Every text with a word in it, and the files that it stands in."""
    found: dict[str, list[str]] = {}
    for file, text in texts():
        text = " ".join(text.split())
        if prose(text) and file not in found.setdefault(text, []):
            found[text].append(file)
    return found


def template(file: Path) -> None:
    """Write every text as a template (.pot), from which sphinx-intl brings words.po up to date."""
    from babel.messages.catalog import Catalog
    from babel.messages.pofile import write_po

    catalog = Catalog(project="triptych")
    for text, files in messages().items():
        catalog.add(text, locations=[(name, 0) for name in files])
    with file.open("wb") as out:
        write_po(out, catalog, include_lineno=False)


# Catalogs


def read(language: str, name: str) -> dict[str, str]:
    """A catalog: the translation of each text, "" where there is none or it has to be looked at."""
    from babel.messages.pofile import read_po

    file = ROOT / LOCALE.format(language, name)
    if not file.is_file():
        return {}
    with file.open("rb") as source:
        found = read_po(source, locale=language)
    return {str(m.id): "" if m.fuzzy else str(m.string) for m in found if m.id}


def complaints(language: str, name: str, used: Iterable[str]) -> list[str]:
    """What is wrong with a catalog: texts without a translation, translations without a text."""
    file, known, used = LOCALE.format(language, name), read(language, name), dict.fromkeys(used)
    return [
        *(f"{file}: untranslated: {text!r}" for text in used if not known.get(text)),
        *(
            f"{file}: stale, nothing says it any more: {text!r}"
            for text in sorted(known.keys() - used)
        ),
    ]


if __name__ == "__main__":
    template(Path(sys.argv[1]))
