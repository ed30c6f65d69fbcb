"""Markdown, read: its blocks of Python, and what the text says that they print.

A text says what is printed in four ways, and each is compared with what it stands at: a block of
output after the block of code; the lines after a `>>>` prompt; a comment behind an expression, a
`print` or an assignment; comment lines below one. A comment is taken for an output where it is
marked as one (`# -> 3`, `# prints 3`) or is written as a value (`# tensor(7.)`); any other is a
remark.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from markdown_it import MarkdownIt

PYTHON = ("python", "py", "python3", "pycon", "ipython", "ipython3", "code-cell", "testcode")
"""The names by which a block says that it is Python."""
OUTPUT = (
    "",
    "text",
    "txt",
    "plaintext",
    "none",
    "output",
    "out",
    "stdout",
    "console",
    "testoutput",
)
"""The names of a block that may be the output of the block before it."""
SURELY = ("output", "out", "stdout", "testoutput")
DIRECTIVES = ("code-block", "code", "sourcecode")
"""Whose argument names the language: ```{code-block} python."""
WHOLE = -1
"""In the place of a statement's number: all that a block prints."""


class Shown(NamedTuple):
    """An output that the text shows."""

    line: int
    """Where in the file, from 1."""
    text: str
    statement: int
    """Which statement of the block prints it; WHOLE for all of them."""
    exact: bool
    """Whether it stands as an output, character by character; a comment does not."""
    surely: bool
    """Whether it is an output even where nothing is printed."""


class Block(NamedTuple):
    """A block of Python."""

    line: int
    """Of its first line of code in the file, from 1."""
    code: str
    """Without prompts; lines for a shell or for IPython are left blank."""
    shown: tuple[Shown, ...]
    problem: str
    """Why it cannot be run; "" if it can."""
    may_raise: bool = False
    """Whether it says that it raises: the tag `raises-exception` of a notebook's cell."""

    @property
    def statements(self) -> list[ast.stmt]:
        """Its statements, in order."""
        return [] if self.problem else ast.parse(self.code).body


def blocks(text: str) -> tuple[Block, ...]:
    """The blocks of Python in a Markdown file, in order."""
    found: list[Block] = []
    label = ""
    for token in MarkdownIt("commonmark").parse(text):
        if token.type == "inline":
            label = token.content
        if token.type not in ("fence", "code_block") or token.map is None:
            if (
                token.level == 0
                and token.type.endswith("_close")
                and token.type != "paragraph_close"
            ):
                label = "another part"
            continue
        language, first = _language(token.info), token.map[0] + (2 if token.type == "fence" else 1)
        called = bool(found) and len(label) <= 40 and bool(_LABEL.search(label))
        called = called and (language not in PYTHON or _prints_like_this(token.content))
        if found and token.content.strip() and (called or (language in OUTPUT and label == "")):
            found[-1] = _with_output(
                found[-1], token.content, first, surely=called or language in SURELY
            )
            label = "another part"
        elif language in PYTHON or (language == "" and token.content.lstrip().startswith(">>> ")):
            found.append(_block(token.content, first))
            label = ""
        else:
            label = "another part"
    return tuple(found)


def _prints_like_this(code: str) -> bool:
    """Whether what is said to be Python is what Python prints: no program, or values alone."""
    if _problem(code):
        return True
    tree = ast.parse(code)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    values = all(isinstance(statement, ast.Expr) for statement in tree.body)
    return values and names <= {"tensor", "array", "Array", "nan", "inf"}


def _language(info: str) -> str:
    """The language that a fence names: "python", "{code-block} python", "{.python}"."""
    words = re.findall(r"[\w+-]+", info.lower())
    if words and words[0] in DIRECTIVES:
        words = words[1:]
    return words[0] if words else ""


_LABEL = re.compile(
    r"(?i)\bout(?:puts?)?\b|\bprint|\bresult|\breturns\b|出力|結果|表示|输出|结果|^出[:\uff1a]"
)
"""What a text calls the output that follows, in a few words above it."""


def _with_output(block: Block, text: str, line: int, *, surely: bool) -> Block:
    """The block with the output that stands after it, unless it shows its outputs itself."""
    if any(shown.exact for shown in block.shown):
        return block
    return block._replace(
        shown=(*block.shown, Shown(line, text.rstrip("\n"), WHOLE, exact=True, surely=surely))
    )


def _block(content: str, first: int) -> Block:
    lines = [re.sub(*rule, line) for line in content.split("\n") for rule in [_ipython(line)]]
    if any(line.startswith(">>> ") or line == ">>>" for line in lines):
        return _session(lines, first)
    at = 0
    if lines[0].strip() == "---":  # the options of a notebook's cell
        at = next((i + 1 for i, line in enumerate(lines[1:], 1) if line.strip() == "---"), 0)
    while at < len(lines) and re.match(r":[\w-]+:", lines[at]):
        at += 1
    tagged = "raises-exception" in "\n".join(lines[:at])
    code = "\n".join(["" if i < at or _for_a_shell(line) else line for i, line in enumerate(lines)])
    problem = _problem(code)
    return Block(first, code, () if problem else tuple(_comments(code, first)), problem, tagged)


_IPYTHON = ((r"^In \[\d+\]: ?", ">>> "), (r"^ *\.\.\.: ?", "... "), (r"^Out\[\d+\]: ?", ""))


def _ipython(line: str) -> tuple[str, str]:
    """What turns a line of IPython's session into one of Python's."""
    return next((rule for rule in _IPYTHON if re.match(rule[0], line)), (r"^", ""))


def _for_a_shell(line: str) -> bool:
    """Whether a line is IPython's: `%matplotlib inline`, `!pip install`."""
    return bool(re.match(r"\s*(!\w|%{1,2}[a-z]\w*(\s|$))", line))


def _problem(code: str) -> str:
    try:
        compile(code, "block", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        at = f" in its line {line}" if line else ""
        return f"is not Python: {getattr(error, 'msg', error)}{at}"
    return ""


def _session(lines: Sequence[str], first: int) -> Block:
    """A block with prompts: code at `>>>` and `...`, what it prints in between."""
    code: list[str] = []
    outputs: list[list[tuple[int, str]]] = []  # by prompt, with the lines that they stand in
    for i, line in enumerate(lines, 1):
        prompt = bool(re.match(r">>>( |$)", line))
        if prompt:
            outputs.append([])
        if prompt or (outputs and not outputs[-1] and re.match(r"\.\.\.( |$)", line)):
            code.append(line[4:])
        else:
            code.append("")
            if outputs and line.strip():
                outputs[-1].append((i, line))
    text = "\n".join(code)
    problem = _problem(text)
    if problem:
        return Block(first, text, (), problem)
    begins = [s.lineno for s in ast.parse(text).body]
    shown = []
    for output in filter(None, outputs):
        at = output[0][0]
        number = sum(line < at for line in begins) - 1
        lines_of_it = "\n".join(line for _, line in output)
        if number >= 0:
            shown.append(Shown(first + at - 1, lines_of_it, number, exact=True, surely=True))
    told = {one.statement for one in shown}
    of_comments = [one for one in _comments(text, first) if one.statement not in told]
    return Block(first, text, tuple(sorted([*shown, *of_comments])), "")


# Comments


def _comments(code: str, first: int) -> Iterator[Shown]:
    """The comments that show an output, with the statement that they stand at."""
    source = code.split("\n")
    behind: dict[int, str] = {}
    below: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(code + "\n").readline):
        if token.type == tokenize.COMMENT:
            alone = not source[token.start[0] - 1][: token.start[1]].strip()
            (below if alone else behind)[token.start[0]] = token.string[1:]
    for number, statement in enumerate(ast.parse(code).body):
        last = statement.end_lineno or statement.lineno
        if not _may_show(statement):
            continue
        if last in behind:
            if text := shown_by(behind[last]):
                yield Shown(first + last - 1, text[0], number, exact=False, surely=text[1])
            continue
        lines: list[str] = []
        while last + 1 + len(lines) in below:
            lines.append(below[last + 1 + len(lines)])
        # as many lines as make a value; a remark may follow
        for end in range(len(lines), 0, -1):
            if text := shown_by("\n".join(lines[:end])):
                yield Shown(first + last, text[0], number, exact=False, surely=text[1])
                break


def _may_show(statement: ast.stmt) -> bool:
    """Whether a statement has a value to show: an expression, or a name that is assigned."""
    if isinstance(statement, ast.Assign):
        return len(statement.targets) == 1 and isinstance(statement.targets[0], ast.Name)
    return isinstance(statement, ast.Expr)


_MARK = re.compile(
    r"(?is)(?:=>|->|→|⇒|>>>|prints?\b:?|outputs?\b:?|out(?:\[\d+\])?:|returns?\b:|result\b:"
    r"|(?:出力|結果)[:\uff1a]?)\s*(.+)"
)
_ERROR = re.compile(
    r"(?s)(?:raises |error: ?)?((?:\w+\.)*\w*(?:Error|Exception|Interrupt))\b(?::.*)?"
)
_OBJECT = re.compile(
    r"(?s)(tensor|array|Array|DeviceArray|Parameter|torch\.Size|np\.\w+)\(.*\)|<\w.*>"
)
_WORD = re.compile(
    r"-?(nan|inf)|(torch\.|np\.|jnp\.)?(u?int|float|bfloat|complex)\d+|torch\.bool|cpu|cuda:\d+"
)
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"


def shown_by(comment: str) -> tuple[str, bool] | None:
    """The output that a comment shows, and whether it is marked as one; None for a remark."""
    lines = comment.split("\n")
    indents = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
    text = "\n".join(line[min(indents, default=0) :].rstrip() for line in lines).strip()
    marked = _MARK.fullmatch(text)
    text = marked[1] if marked else text
    if is_value(text):
        return text, bool(marked)
    # a value and a remark: 3.5, in metres; the last of a calculation: b + 1 = 4
    found = re.fullmatch(
        rf"((?:tensor|array|Array)\(.*?\)|{_NUMBER})\s*(?:[,;(].*|-- .*|— .*)", text
    )
    if found and (marked or "." in found[1]):
        return found[1], bool(marked)
    if marked:
        return None if "\n" in text else (text, True)
    if found := re.fullmatch(rf"[^=]+=(?:[^=]*=)*\s*({_NUMBER})", text):
        return found[1], False
    return None


def is_value(text: str) -> bool:
    """Whether a text is written as Python writes a value, or an exception."""
    if _OBJECT.fullmatch(text) or _WORD.fullmatch(text) or _ERROR.fullmatch(text):
        return True
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        # as NumPy prints an array: [1. 2. 3.]
        return bool(
            re.fullmatch(rf"[\[\s]*\[(?:[\s\[\],]|{_NUMBER}|nan|inf|True|False|\.\.\.)+\]", text)
        )
    return value is not Ellipsis
