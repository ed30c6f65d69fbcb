"""The picture of the pages in the README: `make browser`, then `python docs/screenshot.py`.

Needs the extra `browser` and a Chromium of the system's.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).absolute().parent
PAGE = HERE.parent / "site" / "index.html"


def main(file: str) -> None:
    """Show the start page, one function in three columns on it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1440, "height": 860}, color_scheme="light")
        page.goto(f"file://{PAGE}")
        page.screenshot(path=file)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else str(HERE / "pages.png"))
