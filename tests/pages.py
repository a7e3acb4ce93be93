"""Pages in a real browser: opened as a reader has them, with what they complain of, and what axe-core finds."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def chromium() -> Iterator[Any]:
    """Chromium, headless; what has to run in CI fails there where it is not installed."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("the page needs chromium and playwright")
    with sync_playwright() as player:
        found = player.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


def opened(browser: Any, file: Path, scheme: str = "light") -> tuple[Any, list[str]]:
    """A page of gradcompile's, ready, and the list of what it complains of."""
    page = browser.new_context(color_scheme=scheme).new_page()
    page.set_default_timeout(10_000)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: request.url.startswith(("file:", "data:")) or complaints.append(request.url))
    page.goto(file.as_uri())
    page.wait_for_selector("body[data-ready]")
    return page, complaints


def violations(page: Any) -> list[str]:
    """What keeps people from using a page, by axe-core."""
    from axe_playwright_python.sync_playwright import Axe

    return [f"{v['id']}: {v['nodes'][0]['html']}" for v in Axe().run(page).response["violations"]]
