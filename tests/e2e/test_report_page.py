"""The report in Chromium, opened as a file: no network, no errors, no sideways scroll, usable by keyboard."""

from collections.abc import Callable
from typing import Any

import pytest
from report_data import synthetic_run

from pairwright.components.report.html import write_report

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(synthetic_run(), tmp_path_factory.mktemp("report") / "report.html").as_uri()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_opens_without_a_problem_and_never_scrolls_sideways(
    chromium_page: Callable[..., Any], address: str, width: int, dark: bool
) -> None:
    page, problems = chromium_page(width=width, dark=dark)
    page.goto(address)
    assert page.title() == "quickstart · Pairwright report"
    assert page.evaluate("document.documentElement.scrollWidth") == width
    beyond = page.evaluate(
        "[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
        ".map(e => e.outerHTML.slice(0, 90))"
    )
    assert beyond == []
    broken = page.evaluate("[...document.images].filter(i => !i.complete || !i.naturalWidth).length")
    assert broken == 0
    assert not list(problems)


def test_a_hostile_caption_runs_nothing(chromium_page: Callable[..., Any], address: str) -> None:
    page, problems = chromium_page()
    page.goto(address)
    page.wait_for_timeout(200)
    assert page.evaluate("window.hacked") is None
    assert page.get_by_text("<script>window.hacked=1</script>").count() >= 2
    assert not list(problems)


def test_a_picture_enlarges_and_the_arrow_keys_go_on(chromium_page: Callable[..., Any], address: str) -> None:
    page, problems = chromium_page()
    page.goto(address)
    first = page.locator("[data-sample]").first
    first.focus()
    page.keyboard.press("Enter")
    viewer = page.locator("#viewer")
    assert viewer.is_visible()
    assert "clip-00000" in viewer.inner_text()
    page.keyboard.press("ArrowRight")
    assert "clip-00001" in viewer.inner_text()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert "clip-09999" in viewer.inner_text()
    page.keyboard.press("Escape")
    assert not viewer.is_visible()
    page.wait_for_function("document.activeElement.getAttribute('aria-label') === 'Enlarge clip-09999'", timeout=5000)
    assert not list(problems)


def test_a_number_in_the_funnel_leads_to_its_pictures(chromium_page: Callable[..., Any], address: str) -> None:
    page, _ = chromium_page()
    page.goto(address)
    page.get_by_role("link", name="−1,604").click()
    group = page.locator("#rule-2")
    assert 0 <= group.bounding_box()["y"] < 900
    assert group.locator(".card").count() == 8


def test_every_control_has_a_name(chromium_page: Callable[..., Any], address: str) -> None:
    page, _ = chromium_page()
    page.goto(address)
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, a, svg[role=img], img')].filter(e => !(e.textContent.trim()"
        " || e.getAttribute('aria-label') || e.getAttribute('alt'))).length"
    )
    assert nameless == 0


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_what_is_behind_it(chromium_page: Callable[..., Any], address: str, dark: bool) -> None:
    """WCAG 2.1 AA: 4.5 to 1 for text, 3 to 1 for what is large or only a hint."""
    page, _ = chromium_page(dark=dark)
    page.goto(address)
    ratio = """([ink, paper]) => {
      const style = getComputedStyle(document.documentElement);
      const light = (name) => {
        const hex = style.getPropertyValue(name).trim().slice(1).replace(/^(.)(.)(.)$/, '$1$1$2$2$3$3');
        const part = [0, 2, 4].map(i => parseInt(hex.slice(i, i + 2), 16) / 255)
          .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
        return .2126 * part[0] + .7152 * part[1] + .0722 * part[2];
      };
      const [a, b] = [light(ink), light(paper)].sort((x, y) => y - x);
      return (a + .05) / (b + .05);
    }"""
    pairs = [("--ink", "--paper"), ("--soft", "--paper"), ("--soft", "--card"), ("--kept", "--kept-wash")]
    pairs += [("--dropped", "--dropped-wash"), ("--failed", "--failed-wash"), ("--warn", "--warn-wash")]
    pairs += [("--faint", "--paper"), ("--faint", "--card"), ("--kept", "--paper"), ("--dropped", "--card")]
    found = {pair: page.evaluate(ratio, list(pair)) for pair in pairs}
    assert {pair: value for pair, value in found.items() if value < 4.5} == {}
