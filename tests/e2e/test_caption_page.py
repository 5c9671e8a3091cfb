"""The caption page in a real browser, of a server that holds a captioner alone: a picture in, captions side by side."""

from __future__ import annotations

import httpx
import numpy as np
import pytest
import shapes as corpus
from browser import overflow, unloaded_pictures
from captioned import taught_captioner
from released import free_port

from pairwright.serving.packaging import build_bento, serving
from pairwright.serving.packed_captioner import captioner_to_serve

pytestmark = [pytest.mark.platform, pytest.mark.slow]
PAIRS = 96
DONE = "#captions[aria-busy=false] section"
NAME = "one => one.labels.length ? one.labels[0].innerText : one.getAttribute('aria-label') || one.innerText"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    root = tmp_path_factory.mktemp("captions")
    pictures = [np.asarray(corpus.picture(number)) for number in range(PAIRS)]
    folder = taught_captioner(pictures, [corpus.caption_text(number) for number in range(PAIRS)], root / "captioner")
    tag = build_bento(
        None, None, {}, home=root / "bentoml", tag_version="captioner", captioner=captioner_to_serve(folder)
    )
    with serving(tag, free_port(), home=root / "bentoml", log=root / "server.log") as address:
        yield address


def picture_of(number):
    return {"name": "query.jpg", "mimeType": "image/jpeg", "buffer": corpus.encoded(number)}


def shown(page):
    """The captions of each column."""
    page.wait_for_selector(DONE)
    return [section.locator("li").all_inner_texts() for section in page.locator("#captions section").all()]


def said(url, number, **controls):
    files = {"image": ("a.jpg", corpus.encoded(number))}
    answer = httpx.post(f"{url}/caption", files=files, data={"stream": "false", **controls}, trust_env=False)
    return [caption["text"] for caption in answer.json()["captions"]]


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_a_chosen_picture_is_captioned_side_by_side_as_the_route_does(chromium_page, url, width, dark):
    page, problems = chromium_page(width, dark=dark)
    page.goto(f"{url}/caption")
    page.wait_for_function("() => document.getElementById('served').innerText.includes('builtin:tiny-image')")
    assert overflow(page) == 0
    page.set_input_files("#file", picture_of(5))
    found = shown(page)
    assert page.locator("#captions h2").all_inner_texts() == ["Guidance 1", "Guidance 2", "Guidance 3"]
    assert found == [said(url, 5, guidance=str(guidance)) for guidance in (1, 2, 3)]
    assert found[0][0] in page.inner_text("#status")
    assert "3 of 3 captioned" in page.inner_text("#status")
    assert overflow(page) == 0
    assert unloaded_pictures(page) == []
    assert problems == []


def test_captions_grow_word_by_word(chromium_page, url):
    page, problems = chromium_page()
    page.goto(f"{url}/caption")
    page.fill("#guidance", "1")
    page.evaluate(
        """() => {
          window.seen = [];
          new MutationObserver(() => seen.push(document.querySelector("#captions li")?.textContent))
            .observe(document.getElementById("captions"), { childList: true, characterData: true, subtree: true });
        }"""
    )
    page.set_input_files("#file", picture_of(7))
    [[caption]] = shown(page)
    seen = [text for text in page.evaluate("seen") if text]
    assert seen == sorted(seen, key=len)
    assert len(set(seen)) >= 3
    assert all(caption.startswith(text) for text in seen)
    assert problems == []


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_a_dropped_or_pasted_picture_is_captioned(chromium_page, url, how):
    page, problems = chromium_page()
    page.goto(f"{url}/caption")
    page.evaluate(
        """([how, bytes]) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], "query.jpg", { type: "image/jpeg" }));
          if (how === "paste") return dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }));
          dispatchEvent(new DragEvent("dragenter", { dataTransfer: data }));
          if (document.getElementById("drop").hidden) throw new Error("nothing says that a picture may be dropped");
          dispatchEvent(new DragEvent("drop", { dataTransfer: data, cancelable: true }));
        }""",
        [how, list(corpus.encoded(9))],
    )
    assert shown(page)[0] == said(url, 9)
    assert page.locator("#drop").is_hidden()
    assert problems == []


def test_controls_are_those_the_captioner_was_taught_and_do_what_they_say(chromium_page, url):
    page, problems = chromium_page()
    page.goto(f"{url}/caption")
    page.wait_for_selector("[name=language] option[value=de]", state="attached")
    assert page.get_attribute("[name=level]", "max") == "3"
    assert page.locator("[name=captions]").is_hidden()  # greedy has one to give
    page.set_input_files("#file", picture_of(5))
    plain = shown(page)[0][0]
    page.fill("#guidance", "1, 2")
    page.select_option("#search", "diverse")
    page.fill("[name=captions]", "3")
    page.fill("[name=forbidden]", f"{plain.split()[-1]}, circle")
    page.select_option("[name=language]", "en")
    page.click("#controls .go")
    page.wait_for_function("() => document.querySelectorAll('#captions[aria-busy=false] section').length === 2")
    columns = shown(page)
    assert [len(column) for column in columns] == [3, 3]
    assert not any(plain.split()[-1] in caption for column in columns for caption in column)
    page.fill("[name=forbidden]", "")
    page.fill("[name=include]", "zeppelin")
    page.keyboard.press("Enter")
    page.wait_for_selector("#captions li small")
    assert "string not known" in page.locator("#captions li small").first.inner_text()
    assert problems == []


def test_the_keyboard_alone_captions_and_every_control_has_a_name(chromium_page, url):
    page, problems = chromium_page()
    page.goto(f"{url}/caption")
    page.wait_for_selector("[name=language] option[value=de]", state="attached")
    page.set_input_files("#file", picture_of(5))
    shown(page)
    names = page.locator("#controls input:visible, #controls select, #controls button:visible")
    assert all(names.nth(number).evaluate(NAME).strip() for number in range(names.count()))
    page.focus("#choose")
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.name || document.activeElement.id"))
        if page.evaluate("document.activeElement.matches('.go')"):
            break
    assert {"search", "level", "length", "language", "prompt", "include", "forbidden", "guidance"} <= reached
    page.keyboard.press("Enter")
    page.wait_for_selector("#captions[aria-busy=false] section")
    assert page.get_attribute("#captions", "aria-label") == "Captions"
    assert page.get_attribute("#status", "role") == "status"
    assert problems == []


def test_what_is_refused_is_said_in_the_servers_words(chromium_page, url):
    page, problems = chromium_page(390)
    page.goto(f"{url}/caption")
    page.click("#controls .go")
    assert page.inner_text("#problem") == "Choose a picture first."
    page.set_input_files("#file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"no picture"})
    page.wait_for_selector("#captions .wrong")
    assert page.locator("#captions .wrong").first.inner_text().startswith("This is not an image; send JPEG, PNG")
    assert overflow(page) == 0
    page.fill("#guidance", "much")
    page.click("#controls .go")
    assert page.inner_text("#problem").startswith("Guidance is numbers")
    assert [problem for problem in problems if "422" not in problem and "ERR_FILE_NOT_FOUND" not in problem] == []


def test_stop_ends_what_is_under_way(chromium_page, url):
    page, _ = chromium_page()
    page.goto(f"{url}/caption")
    page.route("**/caption", lambda route: None)  # no answer comes
    page.set_input_files("#file", picture_of(5))
    page.click("#stop")
    page.wait_for_selector("#captions .wrong")
    assert page.locator("#captions .wrong").all_inner_texts() == ["Stopped."] * 3
    assert page.inner_text("#status") == "Stopped."
    assert page.locator("#stop").is_hidden()


def test_without_a_dual_encoder_its_routes_are_404_and_the_search_page_leads_here(chromium_page, url):
    missing = "this server holds no dual encoder; start one with `pairwright serve` and a champion"
    for route, body in (("embed_text", {"texts": ["a"]}), ("search", {"text": "a"})):
        answer = httpx.post(f"{url}/{route}", json=body, trust_env=False)
        assert answer.status_code == 404, answer.text
        assert answer.json() == {"error": missing}
    lineage = httpx.get(f"{url}/lineage", trust_env=False).json()
    assert (lineage["model"], lineage["index"]) == (None, None)
    page, problems = chromium_page()
    page.goto(url)
    page.click("#to-captions")
    page.wait_for_selector("h1 >> text=Caption a picture")
    assert problems == []
