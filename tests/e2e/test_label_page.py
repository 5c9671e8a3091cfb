"""The labelling page in a real browser: by keys, by mouse, by two people at once, on a phone, after a reload."""

from __future__ import annotations

import json
import os

import pytest
from browser import overflow, unloaded_pictures
from labelling import captioned_dataset, labelling_server, many_captions

from pairwright.components.dataset.dataset import open_dataset
from pairwright.components.preference.store import LabelStore

pytestmark = [pytest.mark.platform, pytest.mark.slow]
ATTACK = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>&amp; a shape"
CARDS = "#captions .caption"


@pytest.fixture
def desk(tmp_path):
    """Factory: `desk(rows, *options)` -> (address, dataset, the store's file)."""
    servers = []

    def start(rows=None, *options, pictures=20):
        dataset = captioned_dataset(tmp_path, rows or many_captions(pictures), name="shapes")
        path = tmp_path / "labels.sqlite"
        common = ["--store", str(path), "--overlap", "0", "--repeats", "0"]
        server = labelling_server(dataset.root, tmp_path / "workspace", *common, *options)
        address, _ = server.__enter__()
        servers.append(server)
        return address, open_dataset(dataset.root), path

    yield start
    for server in servers:
        server.__exit__(None, None, None)


def given(path):
    store = LabelStore(path)
    try:
        return store.given()
    finally:
        store.close()


def words(page):
    return page.locator(f"{CARDS} .words").all_inner_texts()


def arrive(page, address, who="ann"):
    page.goto(f"{address.split('?')[0]}?labeller={who}")
    page.wait_for_selector(CARDS)
    return page


def next_one(page, act):
    """Do `act` and wait until another picture is shown, or none is left; the captions that stood there before."""
    before, shown = page.get_attribute("#picture", "src"), words(page)
    act()
    page.wait_for_function(
        "before => document.getElementById('picture').getAttribute('src') !== before"
        " || !document.getElementById('finished').hidden",
        arg=before,
    )
    return shown


def saved(page, path, count):
    """Wait until the server has acknowledged everything; the answers that count."""
    page.wait_for_function(
        "() => !Object.keys(localStorage).some((k) => k.includes('outbox') && localStorage[k] !== '[]')"
    )
    found = given(path)
    assert len(found) == count
    return found


def by_length(page):
    """Press the numbers of the captions, longest first; the last takes its place by itself."""
    shown = words(page)
    order = sorted(range(len(shown)), key=lambda n: -len(shown[n]))
    for n in order[:-1]:
        page.keyboard.press(str(n + 1))


def ranked(one):
    return [[one.item.candidates[n].text for n in tier] for tier in one.answer.tiers["preference"]]


def test_ten_pictures_by_keys_undo_reload_and_go_on(chromium_page, desk):
    address, _, path = desk()
    page, problems = chromium_page()
    arrive(page, address)
    assert page.inner_text("#count") == "0 of 20"
    for _ in range(5):
        next_one(page, lambda: by_length(page))
    found = saved(page, path, 5)
    assert all(texts == sorted(texts, key=lambda tier: -len(tier[0])) for texts in map(ranked, found))
    page.get_by_text("5 of 20", exact=True).wait_for()  # counted once it is on the server's disk

    shown = next_one(page, lambda: page.keyboard.press("u"))  # back to the fifth
    assert sorted(words(page)) == sorted(one.text for one in found[-1].item.candidates)
    assert shown != words(page)
    saved(page, path, 4)
    next_one(page, lambda: page.keyboard.press("t"))  # all as good as each other, this time
    assert [len(tier) for tier in ranked(saved(page, path, 5)[-1])] == [3]

    before = (page.get_attribute("#picture", "src"), words(page))
    page.keyboard.press("1")  # half an answer is not lost work worth keeping
    page.reload()
    page.wait_for_selector(CARDS)
    assert (page.get_attribute("#picture", "src"), words(page)) == before
    assert page.inner_text("#count") == "5 of 20"
    for _ in range(5):
        next_one(page, lambda: by_length(page))
    assert len({one.item.id for one in saved(page, path, 10)}) == 10
    assert page.evaluate("document.activeElement.id") == "question"
    assert unloaded_pictures(page) == []
    assert problems == []


def test_ties_rejections_flags_and_skips_by_keys(chromium_page, desk):
    address, _, path = desk()
    page, problems = chromium_page()
    arrive(page, address)

    shown = next_one(page, lambda: [page.keyboard.press(key) for key in ("2", "=", "1")])
    assert [set(tier) for tier in ranked(saved(page, path, 1)[-1])] == [{shown[0], shown[1]}, {shown[2]}]

    shown = next_one(page, lambda: [page.keyboard.press(key) for key in ("Shift+Digit3", "2", "1")])
    one = saved(page, path, 2)[-1]
    assert ranked(one) == [[shown[1]], [shown[0]]]
    assert [one.item.candidates[n].text for n in one.answer.rejected] == [shown[2]]

    shown = next_one(page, lambda: [page.keyboard.press(key) for key in ("x", "1", "x", "2", "x", "3")])
    one = saved(page, path, 3)[-1]
    assert (ranked(one), len(one.answer.rejected)) == ([], 3)

    page.keyboard.press("o")
    assert "focus it first" in page.inner_text("#status")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("o")
    assert page.get_attribute(f"{CARDS}:nth-child(2) [data-flag=object]", "aria-pressed") == "true"
    shown = next_one(page, lambda: [page.keyboard.press(key) for key in ("1", "3")])
    one = saved(page, path, 4)[-1]
    assert [one.item.candidates[n].text for n in one.answer.flags["object"]] == [shown[1]]
    assert ranked(one) == [[shown[0]], [shown[2]], [shown[1]]]

    next_one(page, lambda: page.keyboard.press("p"))
    assert saved(page, path, 5)[-1].answer.picture == "rejected"
    next_one(page, lambda: page.keyboard.press("s"))
    saved(page, path, 5)
    page.keyboard.press("1")
    page.keyboard.press("1")  # taken back
    assert page.locator(f"{CARDS}.placed").count() == 0
    page.keyboard.press("2")
    page.keyboard.press("Backspace")  # cleared, the answers before stand
    assert page.locator(f"{CARDS}.placed").count() == 0
    saved(page, path, 5)
    assert problems == []


def test_captions_are_ranked_by_clicks_and_by_dragging(chromium_page, desk):
    address, _, path = desk()
    page, problems = chromium_page()
    arrive(page, address)
    shown = next_one(page, lambda: [page.click(f"{CARDS}:nth-child({n}) .say") for n in (3, 1)])
    assert ranked(saved(page, path, 1)[-1]) == [[shown[2]], [shown[0]], [shown[1]]]

    shown = words(page)
    grip = page.locator(f"{CARDS}:nth-child(3) .grip").bounding_box()
    top = page.locator(f"{CARDS}:nth-child(1)").bounding_box()
    page.mouse.move(grip["x"] + 5, grip["y"] + grip["height"] / 2)
    page.mouse.down()
    page.mouse.move(grip["x"] + 5, top["y"] + top["height"] / 2 + 4, steps=6)
    page.mouse.move(grip["x"] + 5, top["y"] + 2, steps=4)
    page.mouse.up()
    assert words(page) == [shown[2], shown[0], shown[1]]
    assert page.locator(f"{CARDS} .place").all_inner_texts() == ["Best", "2nd", "3rd"]
    saved(page, path, 1)  # not before it is asked for
    next_one(page, lambda: page.click("#done"))
    assert ranked(saved(page, path, 2)[-1]) == [[shown[2]], [shown[0]], [shown[1]]]

    shown = words(page)
    page.click(f"{CARDS}:nth-child(2) [aria-label*='is not a caption']")
    next_one(page, lambda: page.click("#rest"))
    one = saved(page, path, 3)[-1]
    assert set(ranked(one)[0]) == {shown[0], shown[2]}
    next_one(page, lambda: page.click("#reject"))
    next_one(page, lambda: page.click("#skip"))
    next_one(page, lambda: page.click("#undo"))
    saved(page, path, 4)
    assert problems == []


def test_moving_a_caption_by_keys_needs_no_mouse(chromium_page, desk):
    address, _, path = desk()
    page, problems = chromium_page()
    shown = words(arrive(page, address))
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+ArrowDown")
    assert words(page) == [shown[1], shown[0], shown[2]]
    next_one(page, lambda: page.keyboard.press("Enter"))
    assert ranked(saved(page, path, 1)[-1]) == [[shown[1]], [shown[0]], [shown[2]]]
    assert problems == []


def test_two_labellers_at_once_share_the_pictures(chromium_page, desk):
    address, _, path = desk(pictures=12)
    (ann, one), (bob, two) = chromium_page(), chromium_page()
    arrive(ann, address, "ann")
    arrive(bob, address, "bob")
    for page in (ann, bob) * 6:
        if page.locator("#finished").is_hidden():
            next_one(page, lambda page=page: by_length(page))
    for page in (ann, bob):
        page.wait_for_selector("#finished:not([hidden])")
    found = saved(ann, path, 12)
    assert len({entry.item.id for entry in found}) == 12
    assert {entry.labeller for entry in found} == {"ann", "bob"}
    assert "pairwright label export" in ann.inner_text("#finished-words")
    ann.keyboard.press("u")
    ann.wait_for_selector(CARDS)
    assert one == two == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_the_window_and_a_caption_is_only_text(chromium_page, desk, width, dark):
    rows = [[("alt", ATTACK), ("keywords", "long " * 60), ("file_name", "x" * 300)] for _ in range(3)]
    address, _, _ = desk(rows)
    page, problems = chromium_page(width, dark=dark)
    arrive(page, address)
    page.wait_for_load_state("networkidle")
    assert ATTACK in words(page)
    assert page.title() == "Pairwright labels"
    assert overflow(page) == 0
    assert page.locator("#captions img").count() == 0
    assert unloaded_pictures(page) == []
    page.keyboard.press("?")
    page.wait_for_selector("#help[open]")
    help_text = page.inner_text("#help")
    assert "A right and plain caption beats a long one" in help_text
    assert "It names a thing that is something else." in help_text
    assert overflow(page) == 0
    page.keyboard.press("Escape")
    page.click("#trust summary")
    page.wait_for_function("() => document.getElementById('trust-table').innerText.includes('two people')")
    assert overflow(page) == 0
    assert problems == []


def test_every_control_has_a_name_and_every_state_is_told(chromium_page, desk):
    address, _, _ = desk()
    page, problems = chromium_page()
    shown = words(arrive(page, address))
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('button, input, [role=progressbar]')].filter(
          (e) => !(e.ariaLabel || e.innerText?.trim() || e.getAttribute('aria-labelledby') || e.title)
        ).map((e) => e.outerHTML)"""
    )
    assert unnamed == []
    page.keyboard.press("2")
    assert page.get_attribute(f"{CARDS}:nth-child(2) .say", "aria-label") == f"Caption 2: {shown[1]}, Best"
    assert page.get_attribute(f"{CARDS}:nth-child(1) .say", "aria-label") == f"Caption 1: {shown[0]}, not placed"
    assert page.get_attribute("#bar", "aria-valuemax") == "20"
    assert page.get_attribute("#picture", "alt")
    assert page.locator(".legend kbd").count() >= 8
    assert problems == []


def test_answers_wait_for_a_server_that_was_away_and_none_is_lost(chromium_page, desk):
    address, _, path = desk()
    page, _ = chromium_page()
    arrive(page, address)
    page.route("**/api/answer", lambda route: route.abort())
    next_one(page, lambda: by_length(page))
    next_one(page, lambda: by_length(page))
    page.wait_for_selector("#problem:not([hidden])")
    assert "not saved yet" in page.inner_text("#problem")
    assert given(path) == []
    page.unroute("**/api/answer")
    page.reload()
    page.wait_for_selector(CARDS)
    saved(page, path, 2)
    assert page.locator("#problem").is_hidden()


def test_what_the_server_says_is_wrong_is_shown_in_its_own_words_until_it_is_over(chromium_page, desk):
    address, _, path = desk()
    page, _ = chromium_page()
    arrive(page, address)
    full = {"error": "labels.sqlite cannot be used: database or disk is full; free space on its disk"}
    page.route("**/api/answer", lambda route: route.fulfill(status=500, json=full))
    next_one(page, lambda: by_length(page))
    page.wait_for_selector("#problem:not([hidden])")
    assert page.inner_text("#problem").startswith(f"1 not saved yet: {full['error']}. Trying again")
    page.unroute("**/api/answer")
    saved(page, path, 1)
    page.wait_for_selector("#problem", state="hidden")

    said = {"saved": 2, **full}  # it was kept: it is not sent again, only what is next is asked for again
    page.route("**/api/answer", lambda route: [route.fetch(), route.fulfill(json=said)])
    page.route("**/api/next", lambda route: route.fulfill(status=500, json=full))
    next_one(page, lambda: by_length(page))
    saved(page, path, 2)
    page.wait_for_function("() => document.getElementById('problem').innerText.startsWith('Nothing more to show yet')")
    assert full["error"] in page.inner_text("#problem")
    page.unroute("**/api/answer")
    page.unroute("**/api/next")
    page.wait_for_selector("#problem", state="hidden")
    for _ in range(3):
        next_one(page, lambda: by_length(page))
    saved(page, path, 5)


def test_a_tar_that_goes_away_while_it_is_labelled_locks_nobody_out(chromium_page, desk):
    address, dataset, path = desk(None, "--random", "0")
    page, _ = chromium_page()
    arrive(page, address)
    page.wait_for_load_state("networkidle")
    os.remove(dataset.shards[0].tar)
    next_one(page, lambda: by_length(page))
    saved(page, path, 1)
    page.wait_for_selector("#problem:not([hidden])")
    assert "1 of 1 shards cannot be read" in page.inner_text("#problem")
    assert f"{dataset.shards[0].tar} cannot be read" in page.inner_text("#problem")


def test_the_next_picture_is_there_before_it_is_asked_for(chromium_page, desk):
    address, _, path = desk()
    page, problems = chromium_page()
    fetched = []
    page.on("request", lambda request: fetched.append(request.url) if "/pictures/" in request.url else None)
    arrive(page, address)
    page.wait_for_load_state("networkidle")
    assert len(set(fetched)) == 3
    page.route("**/api/**", lambda route: None)  # the server hangs
    next_one(page, lambda: by_length(page))
    page.wait_for_function("() => [...document.images].every((one) => one.complete)")
    assert unloaded_pictures(page) == []
    assert len(words(page)) == 3
    assert given(path) == []
    page.unroute("**/api/**")
    assert problems == []


def test_three_rankings_when_the_criteria_ask_for_them(chromium_page, desk, tmp_path):
    from pairwright.components.preference.criteria import PACKAGED

    mine = tmp_path / "mine.yaml"
    mine.write_text(PACKAGED.read_text(encoding="utf-8").replace("ask: false", "ask: true"), encoding="utf-8")
    address, _, path = desk(None, "--criteria", str(mine))
    page, problems = chromium_page()
    arrive(page, address)
    assert page.inner_text("#step") == "Question 1 of 3"
    page.keyboard.press("1")
    page.keyboard.press("2")
    assert page.inner_text("#question") == "Which caption tells you most about the picture?"
    page.keyboard.press("t")
    assert page.inner_text("#step") == "Question 3 of 3"
    shown = next_one(page, lambda: [page.keyboard.press(key) for key in ("3", "2")])
    (one,) = saved(page, path, 1)
    texts = {
        kind: [[one.item.candidates[n].text for n in tier] for tier in tiers]
        for kind, tiers in one.answer.tiers.items()
    }
    assert texts["preference"] == [[text] for text in shown]
    assert len(texts["informativeness"]) == 1
    assert texts["fluency"] == [[text] for text in shown[::-1]]
    assert json.dumps(one.answer.as_dict())
    assert problems == []
