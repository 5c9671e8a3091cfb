"""The page: self-contained, true to its numbers, and deaf to what captions try to say to a browser."""

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_data import FUNNEL, HOSTILE, synthetic_run, texts_of

from pairwright.components.report.data import CaptionedPair, LedgerCounts, ReportData, Sample, Spared
from pairwright.components.report.html import PICTURE_BYTES, duration, render, within_size, write_report


class Page(HTMLParser):
    """Elements, attributes and visible text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.text += data


@pytest.fixture(scope="module")
def html() -> str:
    return render(synthetic_run())


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_nothing_is_loaded_from_anywhere(html: str, page: Page) -> None:
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "poster", "data", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, name, value[:60])
    style = html[html.index("<style>") : html.index("</style>")]
    assert "@import" not in style
    assert "url(" not in style


def test_a_hostile_caption_is_text_and_not_markup(html: str, page: Page) -> None:
    assert "<script>window" not in html
    assert HOSTILE in page.text
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


def test_the_policy_lets_only_the_pages_own_script_run(html: str, page: Page) -> None:
    import base64
    import hashlib

    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    own = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
    assert policy is not None
    assert f"script-src 'sha256-{own}'" in policy
    assert policy.startswith("default-src 'none'")


def test_the_numbers_of_the_run_are_on_the_page(page: Page) -> None:
    for text in [*texts_of(synthetic_run()), "7,431", "0.347", "0.274 – 0.421", "0.2143", "champion", "1 min 23 s"]:
        assert text in page.text, text
    for row in FUNNEL:
        assert row.expression in page.text
        assert f"−{row.dropped:,}" in page.text


@pytest.mark.slow
def test_what_laziness_saved_is_on_the_page_and_why_a_model_was_not_spared() -> None:
    spared = [Spared("ocr", "no_near_duplicate", 5_204, 2_227, 0.0497, 110.7), Spared("align", "short", 9, 1, 2.0, 2.0)]
    page = Page(render(synthetic_run(spared=spared, not_spared={"tags": "selection balance reads it"})))
    for text in (
        "5,204",
        "2,227",
        "49.70 ms",
        "1 min 51 s",
        "1 min 53 s",
        "saw every pair: selection balance reads it",
    ):
        assert text in page.text, text
    assert "laziness" not in Page(render(synthetic_run())).text


def test_every_picture_of_the_run_is_shown_with_a_description(page: Page) -> None:
    run = synthetic_run()
    pictures = [attributes for tag, attributes in page.elements if tag == "img"]
    expected = sum(bool(s.image_jpeg) + bool(s.neighbour_jpeg) for s in run.gallery)
    assert len(pictures) == expected + sum(bool(c.image_jpeg) for c in run.captions)
    assert all(attributes["alt"] for attributes in pictures)
    assert len([1 for _, attributes in page.elements if "data-sample" in attributes]) == len(run.gallery)


def test_what_a_caption_added_and_lost_is_marked_and_its_scores_and_reasons_stand_beside_it(page: Page) -> None:
    text = render(synthetic_run())
    section = text[text.index('<section id="captions"') :].partition("</section>")[0]
    assert "<ins>with a traffic light, with &#34;STOP&#34; on it</ins>" in section
    assert "align_fused.score <b>0.340</b>" in section
    assert '<span class="note">refusal</span>' in section
    assert "5,204" in section
    assert "93.0%" not in section.partition("387")[0].partition("5,204")[0]
    style = text.partition("<style>")[2].partition("</style>")[0]
    for mark, line in (("ins", "underline"), ("del", "line-through")):  # read without colour, too
        rule = style.partition(f"\n{mark} {{")[2].partition("}")[0]
        assert f"text-decoration: {line}" in rule


def test_the_pictures_follow_the_order_of_the_funnel() -> None:
    run = synthetic_run()
    page = render(synthetic_run(gallery=list(reversed(run.gallery))))
    places = [page.index(f'id="rule-{i + 1}"') for i in range(len(FUNNEL))]
    assert places == sorted(places)
    assert page.index('class="card kept"') < places[0]
    assert page.index('class="card failed"') > places[-1]


def test_every_link_of_the_contents_leads_somewhere(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    links = {attributes["href"] for tag, attributes in page.elements if tag == "a"}
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link} <= set(ids)
    assert len(links) > 12


def test_an_empty_run_is_a_page_without_empty_sections() -> None:
    page = Page(render(ReportData(name="nothing yet")))
    assert "nothing yet" in page.text
    assert not [1 for tag, _ in page.elements if tag == "section"]


def test_a_run_where_every_number_is_zero_is_a_page() -> None:
    run = synthetic_run(
        ledger=LedgerCounts(0, 0), gallery=[], funnel=[], curves=[], stages=[], metrics={}, ablations=[]
    )
    assert "0 in" in " ".join(Page(render(run)).text.split())


def test_the_file_stays_small_and_each_rule_keeps_pictures() -> None:
    big = b"\xff\xd8" + bytes(60_000)
    gallery = [
        Sample(f"k{rule}-{i}", "dropped", big, {"alt": "x"}, rule) for rule in ("a", "b", "c") for i in range(60)
    ]
    captions = [CaptionedPair(f"c{i}", big) for i in range(60)]
    shown = within_size(ReportData("big", gallery=gallery, captions=captions))
    assert sum(len(s.image_jpeg or b"") for s in (*shown.gallery, *shown.captions)) <= PICTURE_BYTES
    counts = [sum(s.rule == rule for s in shown.gallery) for rule in ("a", "b", "c")]
    assert min(counts) >= 10
    assert len(render(ReportData("big", gallery=gallery, captions=captions))) < 6 * 2**20


def test_the_report_is_committed_whole(tmp_path: Path) -> None:
    path = write_report(synthetic_run(), tmp_path / "deep" / "report.html")
    assert path.read_text(encoding="utf-8").endswith("</html>")
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_the_same_run_is_the_same_file() -> None:
    assert render(synthetic_run()) == render(synthetic_run())


def test_importing_the_report_imports_nothing_heavy() -> None:
    heavy = ("torch", "pandas", "matplotlib", "cv2", "transformers", "duckdb", "ray", "mlflow", "prefect", "jinja2")
    program = f"import pairwright.components.report.html, sys; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.01, "0 s"), (0.42, "0.4 s"), (12.3, "12 s"), (59.7, "60 s"), (185, "3 min 05 s"), (7_800, "2 h 10 min")],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_navigation_says_what_the_headings_say(html: str) -> None:
    listed = dict(re.findall(r'<li><a href="#([a-z]+)">([^<]+)</a></li>', html))
    headings = dict(re.findall(r'<section id="([a-z]+)"[^>]*><h2[^>]*>([^<]+)</h2>', html))
    assert listed == headings


def test_the_title_names_the_data_and_a_sample_says_so_at_the_top() -> None:
    html = render(ReportData(name="mine", dataset="crawl", sample="1 of 9 shards", decision="Version 3 is champion."))
    assert "<title>mine on crawl" in html
    assert html.index("1 of 9 shards") < html.index("<main")
    assert html.index("Version 3 is champion.") < html.index("<main")


def test_pairs_that_could_not_be_read_explain_the_funnels_first_number(page: Page) -> None:
    assert re.search(r"pairs that could be read\s*[\d,]+ of [\d,]+ could not, below", page.text)


def test_every_verdict_is_told_whatever_it_shows() -> None:
    told = ("curated is worse than raw in t2i_r1", "curated and raw cannot be told apart in t2i_r5")
    html = render(replace(synthetic_run(), verdicts=told))
    assert all(verdict in html for verdict in told)
