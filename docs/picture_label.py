"""Retake the labelling page's screenshots on the demo corpus.

    make data && .venv/bin/python docs/picture_label.py            needs Chromium

Opens the page on a store of its own in a temporary folder, so that nobody's labels are touched.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

PICTURES = Path(__file__).parent / "pictures"
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
SHOWN = 6  # answers given before the picture is taken


def main() -> None:
    with tempfile.TemporaryDirectory() as workspace:
        command = [
            sys.executable,
            "-m",
            "pairwright.flows.cli",
            "label",
            "data/raw",
            "--workspace",
            workspace,
            "--no-open",
        ]
        server = subprocess.Popen([*command, "--port", "0"], stderr=subprocess.PIPE, text=True)
        try:
            address = next(found[0] for line in server.stderr or () if (found := re.findall(r"http://\S+", line)))
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM)
                photograph(browser, address, "label.png", 1280, 820)
                photograph(browser, address, "label-phone.png", 390, 844, dark=True)
                browser.close()
        finally:
            server.terminate()
            server.wait()


def photograph(browser: Any, address: str, name: str, width: int, height: int, dark: bool = False) -> None:
    """The page after some answers, with one caption placed and one marked."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light")
    page.goto(f"{address}?labeller={'bob' if dark else 'ann'}")
    page.wait_for_selector("#captions .caption")
    answered = 0
    while answered < SHOWN or page.locator("#captions .caption").count() < 3:
        before = page.get_attribute("#picture", "src")
        page.keyboard.press("t")
        page.wait_for_function("was => document.getElementById('picture').getAttribute('src') !== was", arg=before)
        answered += 1
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("1")
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(500)
    page.screenshot(path=str(PICTURES / name))
    page.close()


if __name__ == "__main__":
    main()
