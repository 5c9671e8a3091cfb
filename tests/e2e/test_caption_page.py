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


EDGES = ["#left", "#top", "#right", "#bottom"]


def seen_at(page):
    """Where the picture is to be seen: it is square, and in the middle of its element."""
    at = page.locator("#picture").bounding_box()
    side = min(at["width"], at["height"])
    return at["x"] + (at["width"] - side) / 2, at["y"] + (at["height"] - side) / 2, side


def drag(page, start, end):
    """From one place to another, as shares of the picture."""
    left, top, side = seen_at(page)
    page.mouse.move(left + start[0] * side, top + start[1] * side)
    page.mouse.down()
    page.mouse.move(left + end[0] * side, top + end[1] * side, steps=4)
    page.mouse.up()


def numbers_of(page):
    return [page.input_value(edge) for edge in EDGES]


@pytest.mark.parametrize("width", [1280, 390])
def test_a_box_that_is_dragged_is_written_drawn_and_captioned(chromium_page, url, width):
    page, problems = chromium_page(width)
    chosen = []
    page.on("filechooser", lambda one: chosen.append(one))
    page.goto(f"{url}/caption")
    page.wait_for_selector("#box")
    page.fill("#guidance", "1")
    page.set_input_files("#file", picture_of(5))
    plain = shown(page)
    page.locator("#choose").scroll_into_view_if_needed()
    for side, start, end in (("left", (0.5, 0.99), (-0.1, -0.1)), ("top", (0.1, 0.05), (0.9, 0.45))):
        drag(page, start, end)
        [[caption]] = shown(page)
        assert caption.split()[0] == side
        assert [caption] == said(url, 5, box=",".join(numbers_of(page)))
    x0, y0, x1, y1 = (float(number) for number in numbers_of(page))
    assert [x0, y0, x1, y1] == pytest.approx([0.1, 0.05, 0.9, 0.45], abs=0.02)
    left, top, wide = seen_at(page)
    frame = page.locator("#frame").bounding_box()
    assert (frame["x"] - left) / wide == pytest.approx(x0, abs=0.02)
    assert (frame["y"] - top) / wide == pytest.approx(y0, abs=0.02)
    assert frame["width"] / wide == pytest.approx(x1 - x0, abs=0.02)
    assert frame["height"] / wide == pytest.approx(y1 - y0, abs=0.02)
    assert chosen == []  # a drag is no click
    drag(page, (0.2, 0.5), (0.8, 0.5))  # a line is no part of the picture
    assert numbers_of(page) == ["", "", "", ""]
    with page.expect_file_chooser():
        page.click("#choose")
    drag(page, (0.5, 0), (1, 1))
    shown(page)
    page.set_input_files("#file", picture_of(5))  # another picture has no box yet
    assert shown(page) == plain
    assert page.locator("#frame").is_hidden()
    assert overflow(page) == 0
    assert problems == []


def test_a_box_is_written_and_a_format_is_chosen_without_a_mouse(chromium_page, url):
    page, problems = chromium_page()
    page.goto(f"{url}/caption")
    page.wait_for_selector("[name=format] option[value=short]", state="attached")
    assert page.locator("[name=format] option").all_inner_texts() == ["full", "short"]
    page.fill("#guidance", "1")
    page.set_input_files("#file", picture_of(5))
    [[plain]] = shown(page)
    page.focus("#left")
    for number in ("0", "0.5", "1"):
        page.keyboard.type(number)
        page.keyboard.press("Tab")
    assert page.locator("#frame").is_hidden()
    page.keyboard.press("Enter")
    assert page.inner_text("#problem") == "A part of the picture has four numbers: left, top, right and bottom."
    page.keyboard.type("1")
    assert page.locator("#frame").is_visible()
    page.keyboard.press("Enter")
    [[boxed]] = shown(page)
    assert boxed.split()[0] == "bottom"
    page.focus("[name=format]")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.focus("#whole")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")  # in the first number, which has the focus
    [[short]] = shown(page)
    assert (short, short.split()) == (said(url, 5, format="short")[0], plain.split()[:3])
    page.fill("#right", "0.5")
    page.fill("#left", "0.5")
    page.fill("#top", "0")
    page.fill("#bottom", "1")
    page.keyboard.press("Enter")
    page.wait_for_selector("#captions .wrong")
    assert page.inner_text("#captions .wrong").startswith('"box": it is empty; x0 must be less than x1')
    assert [problem for problem in problems if "422" not in problem] == []


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
    assert {"search", "level", "length", "language", "format", "prompt", "include", "forbidden", "guidance"} <= reached
    assert {"left", "top", "right", "bottom", "whole"} <= reached
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
