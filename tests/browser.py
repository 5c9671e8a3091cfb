"""Driving Chromium: launch it, watch a page for problems, measure what a person would notice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

Problems = list[str]
LOCAL = ("http://127.0.0.1", "http://localhost", "file://", "data:", "blob:")


@contextmanager
def launch(path: str) -> Iterator[Any]:
    """A headless Chromium that looks for nothing on the network."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        try:
            yield browser
        finally:
            browser.close()


def watch(page: Any) -> Problems:
    """What goes wrong on the page, as it goes wrong."""
    problems: Problems = []

    def console(message: Any) -> None:
        if message.type in ("error", "warning"):
            problems.append(f"console {message.type}: {message.text}")

    def request(asked: Any) -> None:
        if not asked.url.startswith(LOCAL):
            problems.append(f"asked another host: {asked.url}")

    def failed(asked: Any) -> None:
        # A picture the page no longer wants, because another took its place first, is given up by the browser itself.
        if not (asked.resource_type == "image" and asked.failure == "net::ERR_ABORTED"):
            problems.append(f"failed: {asked.url} {asked.failure}")

    page.on("console", console)
    page.on("pageerror", lambda error: problems.append(f"uncaught: {error}"))
    page.on("request", request)
    page.on("requestfailed", failed)
    return problems


def overflow(page: Any) -> int:
    """Pixels by which the page is wider than its window; 0 means no horizontal scrolling."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def unloaded_pictures(page: Any) -> list[str]:
    """Addresses of pictures in view that show nothing."""
    found: list[str] = page.evaluate(
        """() => [...document.images].filter((i) => {
          const box = i.getBoundingClientRect();
          const seen = box.width > 0 && box.top < innerHeight && box.bottom > 0;
          return seen && !(i.complete && i.naturalWidth > 0);
        }).map((i) => i.src)"""
    )
    return found
