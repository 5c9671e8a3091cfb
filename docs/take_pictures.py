"""Retake the README's screenshots from a real run: the report, the search page, the run in Prefect's UI.

    make pictures            needs a finished `make demo` and Chromium

Starts the servers (`make up`) on ports of its own, photographs, and ends them.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page, sync_playwright

from pairwright.components.environment import Environment, silence

PICTURES = Path(__file__).parent / "pictures"
PORTS = {"prefect": 4297, "mlflow": 5297, "bento": 3297, "reports": 8397}
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


def main() -> None:
    silence()
    from pairwright.flows.running.runs import chosen_run
    from pairwright.flows.servers.servers import down, up

    environment = Environment.load()
    record = chosen_run(environment.workspace)
    running = up(environment, PORTS)
    try:
        flow_run = longest_run(f"http://127.0.0.1:{PORTS['prefect']}/api")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM)
            report = Path(record["results"]["report"]).as_uri()
            photograph(browser.new_page(viewport={"width": 1280, "height": 900}), report, "report.png")
            photograph(browser.new_page(viewport={"width": 390, "height": 844}), report, "report-phone.png")
            search(browser.new_page(viewport={"width": 1280, "height": 900}), running["bento"]["address"])
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            photograph(page, f"{running['prefect']['address']}/runs/flow-run/{flow_run}", "prefect.png", settle=6)
            browser.close()
    finally:
        down(environment)


def longest_run(api: str) -> str:
    """The id of the finished run of the pipeline that took longest: one in which stages ran and were not reused.

    Runs from the command line are on this server too.
    """
    wanted = {
        "flows": {"name": {"any_": ["pipeline"]}},
        "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
    }
    found: list[dict[str, Any]] = (
        httpx.post(f"{api}/flow_runs/filter", json=wanted, timeout=30).raise_for_status().json()
    )
    if not found:
        raise SystemExit("the Prefect server knows no finished pipeline; run make demo first")
    return str(max(found, key=lambda run: float(run["total_run_time"]))["id"])


def photograph(page: Page, url: str, name: str, settle: float = 1.0) -> None:
    page.goto(url)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(settle * 1000)
    page.screenshot(path=str(PICTURES / name))


def search(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_role("searchbox").first.fill("a red car")
    page.keyboard.press("Enter")
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(2000)
    page.screenshot(path=str(PICTURES / "search.png"))


if __name__ == "__main__":
    main()
