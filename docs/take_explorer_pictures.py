"""Retake the screenshots of docs/explore.md from the newest run of the quickstart recipe.

    python docs/take_explorer_pictures.py [--workspace DIR]      needs a finished `make demo` and Chromium

The selection it is compared with is made on the spot, in a temporary folder, by other rules.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Browser, sync_playwright

from pairwright.components.environment import Environment, silence
from pairwright.components.explore.explorer import Explorer, open_explorer
from pairwright.components.explore.web import web_app
from pairwright.components.filter.rules.rules import Rule
from pairwright.components.filter.rules.selection import read_summary, write_selection
from pairwright.components.web_server import listening_socket
from pairwright.flows.commands.explore import exploration_of

PICTURES = Path(__file__).parent / "pictures"
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
BETTER_HALF = "align.score >= quantile(align.score, 0.5)"
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def another(workspace: str | None, folder: Path) -> None:
    """The run's own rules, but boilerplate may stay and only the better half of the alignment does."""
    exploration = exploration_of(Environment.load(workspace=workspace), "quickstart")
    (own,) = (place for place in exploration.selections if place.name == exploration.own)
    given = {rule["name"]: rule["expression"] for rule in read_summary(own.folder)["rules"]}
    given |= {"well_aligned": BETTER_HALF}
    rules = [Rule(name, expression) for name, expression in given.items() if name != "not_boilerplate"]
    write_selection(exploration.view, rules, folder)


def a_duplicate(explorer: Explorer) -> str:
    """Address of a pair that was dropped for resembling another."""
    from pairwright.components.explore.search import Wanted

    wanted = Wanted("near_duplicates.distance BETWEEN 2 AND 20", "pair.key", first=explorer.exploration.own)
    shard, row = explorer.tables.place(int(explorer.search.found(wanted).numbers[0]))
    return f"{shard.digest}/{row}"


def photograph(browser: Browser, address: str, asked: dict[str, str], name: str, phone: bool = False) -> None:
    page = browser.new_page(viewport=PHONE if phone else DESK)  # type: ignore[arg-type]
    page.goto(f"{address}/?{urlencode(asked)}")
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1500)
    page.screenshot(path=str(PICTURES / name))
    page.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace")
    workspace = parser.parse_args().workspace
    silence()
    import uvicorn

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "better-half"
        another(workspace, folder)
        exploration = exploration_of(Environment.load(workspace=workspace), "quickstart", (str(folder),))
        second = exploration.selections[-1].name
        with open_explorer(exploration) as explorer, sync_playwright() as playwright:
            listening = listening_socket("127.0.0.1", 0)
            address = f"http://127.0.0.1:{listening.getsockname()[1]}"
            server = uvicorn.Server(uvicorn.Config(web_app(explorer), log_level="warning", lifespan="off"))
            threading.Thread(target=lambda: server.run(sockets=[listening]), daemon=True).start()
            while not server.started:
                time.sleep(0.05)
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM)
            best = {"filter": "caption_text.words >= 3 AND ocr.share < 0.2", "sort": "align.score", "desc": "1"}
            photograph(browser, address, best, "explore.png")
            compared = {"b": second, "sort": "random", "view": "captions", "h": "align.score,caption_text.words"}
            photograph(browser, address, compared, "explore-compare.png")
            photograph(browser, address, {"pair": a_duplicate(explorer)}, "explore-pair.png")
            photograph(browser, address, best, "explore-phone.png", phone=True)
            browser.close()
            server.should_exit = True


if __name__ == "__main__":
    main()
