"""A real browser for the page tests: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from browser import Problems, launch, watch


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One a module: while it is open, Playwright's event loop runs in this thread, where asyncio.run() then fails."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("Chromium is not installed; run infra/browser.sh (apt-get install chromium)")
    with launch(path) as browser:
        yield browser


@pytest.fixture
def chromium_page(chromium: Any) -> Iterator[Callable[..., tuple[Any, Problems]]]:
    """Factory: `chromium_page(width=1280, height=900, dark=False)` -> (Playwright page, its problems).

    `problems` collects console errors, uncaught exceptions and requests to any other host or that
    failed; assert that it is empty.
    """
    contexts = []

    def open_page(width: int = 1280, height: int = 900, dark: bool = False) -> tuple[Any, Problems]:
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
        )
        contexts.append(context)
        page = context.new_page()
        return page, watch(page)

    yield open_page
    for context in contexts:
        context.close()
