"""Fixtures for the built pages: a Chromium of the system's, and pages that must keep quiet."""

import importlib
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "site"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    # CI runs as root, where Chromium's sandbox does not; the pages are our own
    "--no-sandbox",
    "--disable-gpu",
    # what a browser looks up by itself would count as a request
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
)

Visit = Callable[..., Any]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = f"{Path(__file__).parent}{os.sep}"
    for item in items:
        if str(item.path).startswith(here):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.browser)


def absent(reason: str, config: pytest.Config) -> None:
    if config.getoption("--require-all"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def site(pytestconfig: pytest.Config) -> Path:
    """The folder of the built pages."""
    if not (SITE / "index.html").is_file():
        absent("the pages are not built: make docs", pytestconfig)
    return SITE


@pytest.fixture(scope="session")
def browser(pytestconfig: pytest.Config) -> Iterator[Any]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if importlib.util.find_spec("playwright") is None:
        absent("playwright is not installed: extra `browser`", pytestconfig)
    if program is None:
        absent("there is no Chromium on this system", pytestconfig)
    playwright = importlib.import_module("playwright.sync_api")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=program, args=list(FLAGS))
        yield running
        running.close()


class Quiet:
    """What a page may not do: write to the console, fail, or ask for anything but files."""

    def __init__(self, page: Any) -> None:
        self.said: list[str] = []
        self.requested: list[str] = []
        page.on("console", lambda message: self.said.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        page.on("request", lambda request: self.requested.append(request.url))
        page.on("requestfailed", lambda request: self.said.append(f"failed: {request.url}"))

    def check(self) -> None:
        outside = [url for url in self.requested if not url.startswith(("file:", "data:", "blob:"))]
        assert not self.said
        assert not outside


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that must have kept quiet when the test ends."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light")
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    context.set_default_timeout(10_000)
    opened = context.new_page()
    opened.quiet = Quiet(opened)
    yield opened
    opened.quiet.check()
    context.close()


@pytest.fixture
def visit(page: Any, site: Path) -> Visit:
    """`visit("traps.html#gelu", width=375)` opens a page of the site."""

    def opened(name: str, width: int = 1440, theme: str = "light") -> Any:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=theme)
        page.goto(f"file://{site}/{name}")
        return page

    return opened


@pytest.fixture
def simulator(visit: Visit) -> Any:
    """The page of the simulator, at its start."""
    return visit("simulator.html")
