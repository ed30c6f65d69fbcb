"""The directive `printed`: Python that is run while the pages are built, and what it prints.

The blocks of a page are one program. What they print is kept as evidence is, under a name made of
the program and of the sources that it may use.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import evidence
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

BLOCK = re.compile(r"^```\{printed\}\n(.*?)^```$", re.M | re.S)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("printed", Printed)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Printed(SphinxDirective):
    """`{printed}`: the next block of the page's program."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """The code, and what it prints."""
        page = Path(self.env.doc2path(self.env.docname))
        blocks = BLOCK.findall(page.read_text("utf-8"))
        which: int = self.env.temp_data.get("printed") or 0
        self.env.temp_data["printed"] = which + 1
        cache = Path(self.env.app.doctreedir).parent / "evidence"
        code, said = "\n".join(self.content), kept(page.name, blocks, cache)[which]
        return [
            nodes.literal_block(code, code, language="python"),
            nodes.literal_block(said, said, language="text", classes=["tp-printed"]),
        ]


def kept(page: str, blocks: list[str], cache: Path) -> list[str]:
    """What the blocks print, run once.

    Raises:
        ExtensionError: they failed; the message ends with the traceback.
    """
    program = hashlib.sha256(json.dumps([page, blocks]).encode()).hexdigest()[:16]
    file = cache / evidence.fingerprint(("printed", program)) / "found.json"
    if not file.is_file():
        done = subprocess.run(
            [sys.executable, __file__],
            input=json.dumps([page, blocks]), capture_output=True, text=True, check=False,
            env=os.environ | {"PYTHONPATH": str(evidence.ROOT), "JAX_PLATFORMS": "cpu"},
        )  # fmt: skip
        if done.returncode:
            raise ExtensionError(f"{page}: a block {{printed}} failed\n{done.stderr}")
        file.parent.mkdir(parents=True, exist_ok=True)
        half = file.with_suffix(f".{os.getpid()}")
        half.write_text(done.stdout, "utf-8")
        half.replace(file)
    found: list[str] = json.loads(file.read_text("utf-8"))
    return found


def run(page: str, blocks: list[str]) -> list[str]:
    """Run the blocks, one after the other in one scope; what each prints."""
    scope: dict[str, Any] = {}
    printed, line = [], 0
    for block in blocks:
        # lines are counted through, as in a file into which a reader has copied all blocks
        code = compile("\n" * line + block, page.replace(".md", ".py"), "exec")
        line += block.count("\n")
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(code, scope)  # noqa: S102  # the page's own
        printed.append(out.getvalue().rstrip("\n"))
    return printed


if __name__ == "__main__":
    json.dump(run(*json.load(sys.stdin)), sys.stdout)
