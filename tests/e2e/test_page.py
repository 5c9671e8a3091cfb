"""The search page in a real browser: words or a picture in, pictures out, at two widths, by keyboard alone."""

from __future__ import annotations

import io

import httpx
import pytest
import shapes as corpus
from browser import overflow, unloaded_pictures
from PIL import Image
from released import RECEIPT, free_port, release_shapes

from pairwright.serving.packaging import build_bento, serving

pytestmark = [pytest.mark.platform, pytest.mark.slow]
WIDTHS = (1280, 390)
FOUND = "#results:not(.wall):not(.busy) li"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    root = tmp_path_factory.mktemp("page")
    dataset = corpus.shapes_dataset(root, 192, 2)
    model, index, _ = release_shapes(dataset, root)
    tag = build_bento(model, index, RECEIPT, home=root / "bentoml", tag_version="1")
    with serving(tag, free_port(), home=root / "bentoml", log=root / "server.log") as address:
        yield address


def captions(page):
    return page.locator("#results .caption").all_inner_texts()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_typed_query_shows_pictures_with_caption_licence_and_score(chromium_page, url, width, dark):
    page, problems = chromium_page(width, dark=dark)
    page.goto(url)
    page.wait_for_selector("#results.wall li")
    assert "192 curated pictures" in page.inner_text("h1")
    assert overflow(page) == 0
    page.fill("#text", "a yellow triangle on the top")
    page.keyboard.press("Enter")
    page.wait_for_selector(FOUND)
    page.wait_for_load_state("networkidle")
    assert page.locator(FOUND).count() == 24
    assert any("triangle" in caption for caption in captions(page)[:5])
    assert "CC0-1.0" in page.locator("#results .licence").first.inner_text()
    assert -1 <= float(page.locator("#results .score").first.inner_text()) <= 1
    assert "24 of 192 pictures · approximate, recall@10" in page.inner_text("#status")
    assert unloaded_pictures(page) == []
    assert overflow(page) == 0
    assert "?q=a%20yellow%20triangle" in page.url
    assert problems == []


def test_lineage_is_in_the_footer(chromium_page, url):
    page, problems = chromium_page()
    page.goto(url)
    page.wait_for_selector("#chips button")
    assert "pairwright:1 · model version 1 · data " in page.inner_text("#served")
    page.click("footer summary")
    shown = page.inner_text("#lineage")
    for fact in (RECEIPT["data"]["data_version"], RECEIPT["recipe"]["digest"], "269a12a", "raw passed, curated passed"):
        assert fact in shown
    assert problems == []


def test_the_keyboard_alone_searches_opens_and_closes(chromium_page, url):
    page, problems = chromium_page()
    page.goto(url)
    page.wait_for_selector("#results.wall li")
    assert page.evaluate("document.activeElement.id") == "text"
    page.keyboard.type("red circle")
    page.keyboard.press("Enter")
    page.wait_for_selector(FOUND)
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#results') !== null"):
            break
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    assert page.inner_text("#detail-caption") == captions(page)[0]
    assert "keywords" in page.inner_text("#detail-facts")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog[open]", state="detached")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "text"
    assert problems == []


def picture_of(number):
    return {"name": "query.jpg", "mimeType": "image/jpeg", "buffer": corpus.encoded(number)}


@pytest.mark.parametrize("width", WIDTHS)
def test_a_chosen_picture_finds_itself_first(chromium_page, url, width):
    page, problems = chromium_page(width)
    page.goto(url)
    page.set_input_files("#file", picture_of(42))
    page.wait_for_selector(FOUND)
    assert captions(page)[0] == corpus.caption_text(42)
    assert page.is_visible("#query-picture")
    assert overflow(page) == 0
    page.click("#clear-picture")
    page.wait_for_selector("#results.wall li")
    assert problems == []


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_a_dropped_or_pasted_picture_is_searched_by(chromium_page, url, how):
    page, problems = chromium_page()
    page.goto(url)
    page.wait_for_selector("#results.wall li")
    page.evaluate(
        """([how, bytes]) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], "query.jpg", { type: "image/jpeg" }));
          if (how === "paste") return dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }));
          dispatchEvent(new DragEvent("dragenter", { dataTransfer: data }));
          if (document.getElementById("drop").hidden) throw new Error("nothing says that a picture may be dropped");
          dispatchEvent(new DragEvent("drop", { dataTransfer: data, cancelable: true }));
        }""",
        [how, list(corpus.encoded(99))],
    )
    page.wait_for_selector(FOUND)
    assert captions(page)[0] == corpus.caption_text(99)
    assert page.locator("#drop").is_hidden()
    assert problems == []


def test_a_found_picture_leads_to_its_like(chromium_page, url):
    page, problems = chromium_page()
    page.goto(f"{url}/?q=blue")
    page.click(f"{FOUND} button >> nth=3")
    words = page.inner_text("#detail-caption")
    page.click("#similar")
    page.wait_for_selector("#query-picture:not([hidden])")
    page.wait_for_selector(FOUND)
    page.wait_for_function("words => document.querySelector('#results .caption').innerText === words", arg=words)
    assert problems == []


def test_the_back_button_brings_the_last_query_back(chromium_page, url):
    page, problems = chromium_page()
    page.goto(f"{url}/?q=green%20square")
    page.wait_for_selector(FOUND)
    first = captions(page)
    page.fill("#text", "yellow circle")
    page.click("form .go")
    page.wait_for_function("before => document.querySelector('#results .caption').innerText !== before", arg=first[0])
    page.go_back()
    page.wait_for_function("before => document.querySelector('#results .caption').innerText === before", arg=first[0])
    assert page.input_value("#text") == "green square"
    assert captions(page) == first
    assert problems == []


def test_what_the_server_refuses_is_said_in_its_words(chromium_page, url):
    page, problems = chromium_page(390)
    page.goto(url)
    page.set_input_files("#file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"no picture"})
    page.wait_for_selector("#problem:not([hidden])")
    assert page.inner_text("#problem").startswith("This is not an image; send JPEG, PNG")
    assert overflow(page) == 0
    page.fill("#text", "red")
    page.keyboard.press("Enter")
    page.wait_for_selector(FOUND)
    assert page.is_hidden("#problem")
    assert [problem for problem in problems if "422" not in problem and "ERR_FILE_NOT_FOUND" not in problem] == []


def test_exact_says_that_every_picture_was_compared(chromium_page, url):
    page, problems = chromium_page()
    page.goto(f"{url}/?q=red")
    page.wait_for_selector(FOUND)
    page.check("#exact")
    page.wait_for_function("() => document.getElementById('status').innerText.includes('every picture compared')")
    page.select_option("#k", "48")
    page.wait_for_function("() => document.querySelectorAll('#results li').length === 48")
    assert problems == []


@pytest.mark.parametrize("size", [(40, 160), (160, 40)])
def test_a_tall_or_wide_picture_keeps_its_card_square(chromium_page, url, size):
    stream = io.BytesIO()
    Image.new("RGB", size, "teal").save(stream, "JPEG")
    page, problems = chromium_page(390)
    page.route("**/thumbnails/*", lambda route: route.fulfill(body=stream.getvalue(), content_type="image/jpeg"))
    for address, shown in ((url, "#results.wall li"), (f"{url}/?q=red", FOUND)):
        page.goto(address)
        page.wait_for_selector(shown)
        page.wait_for_load_state("networkidle")
        boxes = [box.bounding_box() for box in page.locator("#results .picture").all()[:8]]
        assert all(abs(box["width"] - box["height"]) < 1 for box in boxes), boxes
    assert problems == []


def test_without_a_captioner_captions_are_404(url):
    answer = httpx.post(f"{url}/caption", files={"image": corpus.encoded(1)}, trust_env=False)
    assert answer.status_code == 404
    assert answer.json()["error"].startswith("this server holds no captioner; start one with")
    assert httpx.get(f"{url}/lineage", trust_env=False).json()["captioner"] is None


def test_the_api_page_lists_every_route_and_asks_no_other_host(chromium_page, url):
    page, problems = chromium_page()
    page.goto(f"{url}/docs")
    page.wait_for_selector("text=/embed_image")
    for route in ("/embed_text", "/score", "/classify", "/search", "/lineage"):
        assert page.locator(f'[data-path="{route}"]').count() >= 1
    assert problems == []
