"""The explorer in Chromium, served by the command: filter, sort, compare, open a pair, back, phone, keyboard."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest
from browser import overflow, unloaded_pictures
from explored import HOSTILE, explored
from released import free_port
from shapes import facts_of

pytestmark = [pytest.mark.slow, pytest.mark.platform]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("explore")
    explored(root, pairs=480, shards=4)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "pairwright.flows.cli", "explore", "loose", "--no-open", "--port", str(port)]
    command += ["--workspace", str(root / "workspace")]
    log, scratch = (root / "log").open("w+"), root / "scratch"
    scratch.mkdir()
    environment = os.environ | {"TMPDIR": str(scratch)}
    server = subprocess.Popen(command, stdout=log, stderr=log, cwd=Path(__file__).parents[2], env=environment)
    try:
        for _ in range(600):
            assert server.poll() is None, (root / "log").read_text()
            try:
                httpx.get(f"{url}/api/about", timeout=30)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield url
    finally:
        endless = "levenshtein(repeat('a', 1000000), repeat(pair.key, 400000)) > 1"
        with ThreadPoolExecutor(1) as browser:
            asked = browser.submit(httpx.get, f"{url}/api/pairs", params={"filter": endless})
            time.sleep(1)  # Ctrl-C in the middle of a filter that never ends
            server.send_signal(signal.SIGINT)
            assert server.wait(15) == 0, (root / "log").read_text()
            asked.exception()
        log.close()
        assert list(scratch.iterdir()) == [], "what it laid down is removed with it"
        said = (root / "log").read_text().splitlines()
        assert said[-2:] == [f"on http://127.0.0.1:{port}/ until Ctrl-C", "ended; the same command opens it again"], (
            said
        )


Open = Callable[..., tuple[Any, list[str]]]


def opened(chromium_page: Open, address: str, path: str = "/", **options: Any) -> tuple[Any, list[str]]:
    page, problems = chromium_page(**options)
    page.goto(address + path)
    ready(page)
    return page, problems


def ready(page: Any) -> None:
    page.wait_for_load_state("networkidle")
    until(page, "document.getElementById('grid').getAttribute('aria-busy') === 'false'")


def until(page: Any, holds: str) -> None:
    """Wait for an expression (Playwright's own wait needs `eval`, which the page's policy forbids)."""
    for _ in range(300):
        if page.evaluate(holds):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never: {holds}")


def real(problems: list[str]) -> list[str]:
    """Problems but pictures that nobody waits for any more, as they scroll out of view or another page is shown."""
    return [problem for problem in problems if "net::ERR_ABORTED" not in problem]


def loaded(page: Any) -> None:
    """Every picture in view shows something, before long."""
    for _ in range(100):
        if not unloaded_pictures(page):
            return
        page.wait_for_timeout(100)
    raise AssertionError(unloaded_pictures(page))


def ask(page: Any, text: str) -> None:
    page.get_by_label("Filter", exact=True).fill(text)
    page.keyboard.press("Enter")
    ready(page)


def said(page: Any) -> str:
    return str(page.locator("#status").inner_text())


def counts(page: Any) -> dict[str, int]:
    texts = page.locator("#classes button").all_inner_texts()
    return {name: int(number.replace(",", "")) for number, name in (text.split(" ", 1) for text in texts)}


def where(page: Any) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_opens_without_a_problem_and_never_scrolls_sideways(
    chromium_page: Open, address: str, width: int, dark: bool
) -> None:
    page, problems = opened(chromium_page, address, "/?b=strict&sort=align.score&desc=1", width=width, dark=dark)
    assert said(page).startswith("480 of 480 pairs")
    assert overflow(page) == 0
    loaded(page)
    page.locator("#columns summary").click()
    page.locator("#grid a").nth(3).click()
    page.locator("#pair").wait_for()
    ready(page)
    assert overflow(page) == 0
    loaded(page)
    assert page.evaluate("document.querySelector('#pair').scrollWidth <= document.querySelector('#pair').clientWidth")
    assert not real(problems)


def test_filter_by_sql_and_the_back_button(chromium_page: Open, address: str) -> None:
    page, problems = opened(chromium_page, address)
    ask(page, "text.words >= 7 AND pair.label.colour = 'red'")
    first = said(page)
    shown = counts(page)
    red = sum(1 for i in range(480) if i % 9 >= 7 and facts_of(i)[0] == "red")
    assert shown == {"all": red, "kept": red}
    assert page.locator("#grid .card:not(.is-kept)").count() == 0
    ask(page, "align.score >= quantile(align.score, 0.9)")
    assert "quantile" in page.locator("#told").inner_text(), "the value of the aggregate is told"
    assert said(page).split(" ·")[0] != first.split(" ·")[0]
    page.go_back()
    ready(page)
    assert page.locator("#filter").input_value() == "text.words >= 7 AND pair.label.colour = 'red'"
    assert said(page).split(" ·")[0] == first.split(" ·")[0]
    page.go_back()
    ready(page)
    assert said(page).startswith("480 of 480")
    page.go_forward()
    ready(page)
    assert where(page)["filter"].startswith("text.words")
    assert not real(problems)


def test_a_wrong_name_is_told_beside_the_box_and_the_pairs_stay(chromium_page: Open, address: str) -> None:
    page, problems = opened(chromium_page, address, "/?filter=" + quote("text.words = 3"))
    before = page.locator("#grid").inner_text()
    ask(page, "align.scor > 0.2")
    assert 'did you mean "align.score"?' in page.locator("#problem").inner_text()
    assert page.locator("#filter").get_attribute("aria-invalid") == "true"
    assert page.locator("#grid").inner_text() == before
    ask(page, "align.score > 0.2")
    assert page.locator("#problem").is_hidden()
    assert not real(problems)


def test_sort_by_a_score_and_turn_it_round(chromium_page: Open, address: str) -> None:
    page, problems = opened(chromium_page, address, "/?filter=" + quote("align.score IS NOT NULL"))
    page.get_by_label("Sort by").select_option("align.score")
    ready(page)
    values = [float(text) for text in page.locator("#grid .value").all_inner_texts()]
    assert len(values) >= 10
    assert values == sorted(values, reverse=True), "the best first"
    page.get_by_role("button", name="descending").click()
    ready(page)
    rising = [float(text) for text in page.locator("#grid .value").all_inner_texts()]
    assert rising == sorted(rising)
    assert rising[0] < values[0]
    assert not real(problems)


def test_the_grid_holds_only_what_is_in_view(chromium_page: Open, address: str) -> None:
    page, problems = opened(chromium_page, address, "/?sort=pair.key")
    assert page.locator("#grid li").count() < 120
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    ready(page)
    page.get_by_label("000479", exact=False).first.wait_for()
    assert page.locator("#grid li").count() < 120
    assert page.locator("#grid a[data-pair]").count() == page.locator("#grid li").count(), "every tile is filled"
    loaded(page)
    assert not real(problems)


def test_two_selections_are_compared_in_colours_with_counts(chromium_page: Open, address: str) -> None:
    page, problems = opened(chromium_page, address)
    page.get_by_label("compared with B").select_option("strict")
    ready(page)
    shown = counts(page)
    assert shown["all"] == 480 == sum(shown[name] for name in ("kept by both", "only A", "only B", "neither"))
    kept = {name: httpx.get(f"{address}/api/pairs?a={name}").json()["classes"]["kept"] for name in ("loose", "strict")}
    assert shown["kept by both"] + shown["only A"] == kept["loose"]
    assert shown["kept by both"] + shown["only B"] == kept["strict"]
    page.locator("#classes button", has_text="only B").click()
    ready(page)
    assert said(page).startswith(f"{shown['only B']} of 480")
    assert set(page.locator("#grid .why").all_inner_texts()) == {"only B"}
    colours = set()
    for name in ("kept by both", "only A", "only B", "neither"):
        page.locator("#classes button", has_text=name).click()
        ready(page)
        colours.add(page.locator("#grid .card").first.evaluate("e => getComputedStyle(e).borderTopColor"))
    assert len(colours) == 4
    ask(page, "verdict.status = 'kept' AND other.status = 'dropped'")
    page.locator("#classes button", has_text=re.compile(r"^[\d,]+ all")).click()
    ready(page)
    nobody = {"kept by both": 0, "only B": 0, "neither": 0}
    assert counts(page) == {"all": shown["only A"], "only A": shown["only A"]} | nobody
    assert not real(problems)


TOLD_OF_7 = ["unique", "NOT near.drop", "near_duplicate_of:000005", "12 bits away", "quantile(align.score, 0.5)"]
TOLD_OF_7 += ["a crawler", "CC0-1.0", "https://example.org/7", "near_duplicates digest-n", "4 numbers"]


def test_one_pairs_whole_history(chromium_page: Open, address: str) -> None:
    page, problems = opened(chromium_page, address, "/?b=strict&filter=" + quote("near.drop"))
    page.locator("#grid a").first.click()
    dialog = page.locator("#pair")
    dialog.get_by_role("heading", name="000007").wait_for()
    ready(page)
    text = dialog.inner_text()
    for expected in TOLD_OF_7:
        assert expected in text, expected
    assert dialog.locator(".beside img").count() == 2, "and the pair it repeats, with its picture beside"
    loaded(page)
    shared = page.url
    dialog.locator(".beside a").nth(1).click()
    dialog.get_by_role("heading", name="000005").wait_for()
    page.go_back()
    dialog.get_by_role("heading", name="000007").wait_for()
    page.keyboard.press("Escape")
    until(page, "!document.querySelector('#pair').open")
    assert "pair" not in where(page)
    page.goto(shared)
    dialog.get_by_role("heading", name="000007").wait_for()
    assert not real(problems)


def test_hostile_captions_run_nothing_and_are_shown_as_written(chromium_page: Open, address: str) -> None:
    page, problems = opened(chromium_page, address, "/?view=captions&filter=" + quote("pair.key = '000002'"))
    assert HOSTILE in page.locator("#grid").inner_text().replace("\n", "")
    page.locator("#grid a").first.click()
    page.locator("#pair .captions").wait_for()
    ready(page)
    assert HOSTILE in page.locator("#pair").inner_text()
    page.goto(address + "/?filter=" + quote(HOSTILE))
    ready(page)
    assert page.locator("#problem").is_visible()
    assert page.evaluate("window.hacked") is None
    assert not real(problems)


def test_by_keyboard_alone(chromium_page: Open, address: str) -> None:
    page, problems = opened(chromium_page, address)
    page.keyboard.press("/")
    page.keyboard.type("text.words = 8 AND NOT near.drop")
    page.keyboard.press("Enter")
    ready(page)
    assert said(page).startswith("53 of 480")
    page.locator("#grid a").first.focus()
    columns = page.evaluate("Math.round(document.querySelector('#grid').clientWidth / 184)")
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft"):
        page.keyboard.press(key)
    focused = page.evaluate("document.activeElement.parentElement.dataset.at")
    assert int(focused) == columns
    page.keyboard.press("End")
    until(page, "document.activeElement.parentElement.dataset.at === '52'")
    page.keyboard.press("Enter")
    page.get_by_text("53 of 53").wait_for()
    page.keyboard.press("ArrowLeft")
    page.get_by_text("52 of 53").wait_for()
    page.keyboard.press("Escape")
    until(page, "document.activeElement.closest('#grid') !== null")
    assert not real(problems)


def test_a_histogram_is_brushed_into_the_filter(chromium_page: Open, address: str) -> None:
    page, problems = opened(chromium_page, address, "/?h=text.words,verdict.rule")
    chart = page.locator("figure[data-column='text.words'] svg")
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.36, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 30, steps=4)
    page.mouse.up()
    ready(page)
    assert where(page)["filter"] == "text.words >= 3 AND text.words < 6"
    assert said(page).startswith("159 of 480")
    figure = page.locator("figure[data-column='text.words']")
    figure.get_by_label("text.words at least").fill("4")
    page.keyboard.press("Enter")
    ready(page)
    assert where(page)["filter"] == "text.words >= 4", "a second brush takes the place of the first"
    page.get_by_role("button", name="unique").click()
    ready(page)
    assert where(page)["filter"] == "text.words >= 4 AND verdict.rule = 'unique'"
    assert counts(page) == {"all": 1, "dropped": 1}
    assert not real(problems)


def test_every_control_has_a_name_and_text_stands_out(chromium_page: Open, address: str) -> None:
    for dark in (False, True):
        page, problems = opened(chromium_page, address, "/?b=strict", dark=dark)
        nameless = page.evaluate(
            "[...document.querySelectorAll('button, a, select, input, textarea, svg[role=img]')].filter(e => "
            "!(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length)).map(e => e.outerHTML)"
        )
        assert nameless == []
        low = page.evaluate(CONTRAST)
        assert low == []
        assert not real(problems)


# Texts whose colour is under 4.5 to 1 against the nearest painted ground (WCAG 2.1 AA).
CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (c) => c.slice(0, 3).map(v => v / 255)
    .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const ground = (e) => {
    for (let at = e; at; at = at.parentElement) {
      const painted = rgb(getComputedStyle(at).backgroundColor);
      if (painted[3] > 250) return painted;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || e.disabled || e.closest('option, svg, [hidden], noscript') || !e.getClientRects().length) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) found.push(`${e.tagName} ${e.className} ${e.textContent.slice(0, 30)}`);
  }
  return found;
}"""
