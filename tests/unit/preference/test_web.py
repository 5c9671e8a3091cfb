"""The page's server: blind servings, refusals in one line, pictures that cannot be shown set aside."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import time

import pytest
from labelling import captioned_dataset, label_by_taste, many_captions

from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.guard import names_of, page_address
from pairwright.components.preference import handing
from pairwright.components.preference.criteria import read_criteria
from pairwright.components.preference.pool import read_pool
from pairwright.components.preference.sampling import sample_items
from pairwright.components.preference.store import LabelStore
from pairwright.components.preference.web import labelling_app

TestClient = pytest.importorskip("starlette.testclient").TestClient
CRITERIA = read_criteria(None)


def opened(dataset, root, count=20, **options):
    store = LabelStore(root / "labels.sqlite")
    store.add_items(sample_items(read_pool(dataset), count), overlap=0)
    return store, TestClient(labelling_app(store, dataset, CRITERIA, **options), base_url="http://127.0.0.1")


@pytest.fixture
def desk(tmp_path):
    return opened(captioned_dataset(tmp_path, many_captions(20)), tmp_path)


def test_a_serving_never_says_where_a_caption_came_from(desk):
    _, client = desk
    answer = client.post("/api/next", json={"labeller": "ann", "count": 3}).text
    assert len(json.loads(answer)["next"]) == 3
    for source in ("alt", "keywords", "file_name", "source", "chosen", "random", "repeat"):
        assert f'"{source}"' not in answer


def test_captions_are_shuffled_so_that_no_source_has_a_place_of_its_own(desk):
    store, client = desk
    client.post("/api/next", json={"labeller": "ann", "count": 20})
    first = [json.loads(row["ordering"])[0] for row in store.read("SELECT ordering FROM servings")]
    assert set(first) == {0, 1, 2}


def test_fifty_pictures_by_a_known_taste_are_kept_as_it_judges(tmp_path):
    store, client = opened(captioned_dataset(tmp_path, many_captions(60)), tmp_path, 60)
    assert label_by_taste(client, "taste", len, 50) == 50
    for one in store.given():
        ranked = [one.item.candidates[tier[0]].text for tier in one.answer.tiers["preference"]]
        assert ranked == sorted(ranked, key=len, reverse=True)
    trust = client.get("/api/reliability").json()
    assert trust["consistency"]["taste"]["same"] == trust["consistency"]["taste"]["comparisons"] > 0


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "labeller is a name"),
        (b'{"labeller": "  "}', "labeller is a name"),
        (b'{"labeller": "a\\u0000b"}', "labeller is a name"),
        (json.dumps({"labeller": "a" * 65}).encode(), "labeller is a name"),
        (b'{"labeller": "ann", "token": "no such"}', "was handed no such picture"),
        (b'{"labeller": "ann", "x": "' + b"y" * 70_000 + b'"}', "larger than 64 KiB"),
        (b'{"labeller": "ann", "token": "\\ud800"}', "not JSON"),
        (b'{"labeller": "ann", "seconds": NaN}', "not JSON"),
        (b'{"labeller": "ann", "x": ' + b"9" * 5000 + b"}", "not JSON"),
        (b"[" * 60_000, "not JSON"),
    ],
)
def test_a_request_that_cannot_be_right_is_refused_in_one_line(desk, body, why):
    _, client = desk
    response = client.post("/api/answer", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 422
    assert why in response.json()["error"]


def test_another_site_cannot_answer_through_the_browser(desk):
    _, client = desk
    form = client.post("/api/undo", content='{"labeller": "ann"}', headers={"content-type": "text/plain"})
    assert form.status_code == 422
    assert client.get("/api/session", headers={"host": "evil.example"}).status_code == 400
    for foreign in ({"sec-fetch-site": "cross-site"}, {"origin": "http://evil.example"}):
        assert client.get("/pictures/1.jpg", headers=foreign).status_code == 403
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "0.0.0.0", "::", "192.0.2.7", "labels.example"])
def test_whatever_it_listens_on_a_foreign_name_gets_no_answer(tmp_path, host):
    """DNS rebinding: the page of another site asks under its own name, wherever that points by now."""
    dataset = captioned_dataset(tmp_path, many_captions(3))
    _, client = opened(dataset, tmp_path, names=names_of(host))

    def asked(name):
        return client.get("/api/session", headers={"host": name}).status_code

    for foreign in (
        "evil.example",
        "evil.example:3100",
        "127.0.0.1.evil.example",
        "[evil.example]",
        "localhost.evil",
        "",
    ):
        assert asked(foreign) == 400
    for own in ("127.0.0.1", "localhost:3100", "LOCALHOST.", "[::1]", "[::1]:3100", "192.0.2.7:3100"):
        assert asked(own) == 200
    assert asked("labels.example:3100") == (200 if host == "labels.example" else 400)
    answers_to_the_machine = host not in ("127.0.0.1", "localhost", "::1")
    assert asked(f"{socket.gethostname()}:3100") == (200 if answers_to_the_machine else 400)
    refused = client.get("/", headers={"host": "evil.example"}).json()["error"]
    assert refused.startswith("evil.example is no name of this server; open it by its address")


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:31/"),
        ("0.0.0.0", "http://127.0.0.1:31/"),
        ("::", "http://[::1]:31/"),
        ("::1", "http://[::1]:31/"),
        ("labels.example", "http://labels.example:31/"),
    ],
)
def test_the_address_said_is_one_a_browser_here_can_open(host, address):
    assert page_address(host, 31) == address


def test_a_picture_is_a_jpeg_and_an_unknown_one_is_not_found(desk):
    _, client = desk
    shown = client.get("/pictures/1.jpg")
    assert (shown.headers["content-type"], shown.content[:3]) == ("image/jpeg", b"\xff\xd8\xff")
    for number in ("999", "9" * 18, "9" * 30, "9" * 5000, "-1", "1.5"):
        assert client.get(f"/pictures/{number}.jpg").status_code == 404
    for answer in (client.get("/nowhere"), client.put("/api/next"), client.get("/api/answer")):
        assert answer.status_code in (404, 405)
        assert list(answer.json()) == ["error"]
    assert client.get("/page/../web.py").status_code == 404
    assert client.get("/page/web.py").status_code == 404


def test_a_picture_that_cannot_be_decoded_is_set_aside_and_never_shown(tmp_path):
    from shapes import encoded

    with ShardWriter(f"{tmp_path}/bad", "bad", pairs_per_shard=8) as writer:
        for number in range(8):
            data = b"not a picture" if number % 2 else encoded(number, 48)
            texts = [caption(f"a thing numbered {number}"), caption("thing", source="keywords")]
            writer.add(str(number), [("image", "image", "jpg", data)], texts)
    store, client = opened(writer.dataset, tmp_path, 8)
    assert label_by_taste(client, "ann", len, 99) == 4
    assert {int(one.item.key) % 2 for one in store.given()} == {0}
    assert store.read("SELECT count(*) FROM events WHERE kind = 'unreadable'")[0][0] == 4
    assert client.post("/api/next", json={"labeller": "bob"}).json()["progress"]["left"] == 0


def ranking(serving):
    return {"preference": [[n] for n in range(len(serving["captions"]))]}


@pytest.mark.slow
def test_a_tar_that_cannot_be_read_is_left_out_with_its_reason_until_it_can(tmp_path, monkeypatch):
    monkeypatch.setattr(handing, "AWAY_SECONDS", 2.0)  # a minute, as shipped: too long for a test to wait
    dataset = captioned_dataset(tmp_path, many_captions(12), shards=2)
    store, client = opened(dataset, tmp_path, 12, repeat_share=0)
    gone, there = dataset.shards
    held = client.post("/api/next", json={"labeller": "ann", "count": 3}).json()["next"]
    os.rename(gone.tar, f"{gone.tar}.away")
    for serving in held:
        said = {"labeller": "ann", "token": serving["token"], "rankings": ranking(serving)}
        state = client.post("/api/answer", json=said).json()
        assert state["saved"]
    assert len(store.given()) == 3
    state = client.post("/api/next", json={"labeller": "bob", "count": 12}).json()
    assert {serving["picture"].partition("v=")[2][:12] for serving in state["next"]} == {there.digest[:12]}
    assert state["notice"].startswith("1 of 2 shards cannot be read, and their pictures are left out until they can")
    assert f"{gone.tar} cannot be read" in state["notice"]
    os.rename(f"{gone.tar}.away", gone.tar)
    time.sleep(2.1)
    assert sum(label_by_taste(client, who, len, 99) for who in ("ann", "bob")) + 3 == 12
    assert "notice" not in client.post("/api/next", json={"labeller": "ann"}).json()


def test_a_picture_whose_tar_is_gone_is_an_error_in_one_line(tmp_path):
    dataset = captioned_dataset(tmp_path, many_captions(2))
    _, client = opened(dataset, tmp_path)
    os.remove(dataset.shards[0].tar)
    shown = client.get("/pictures/1.jpg")
    assert (shown.status_code, "cannot be read" in shown.json()["error"]) == (500, True)


def test_a_full_disk_is_said_with_its_remedy_and_answers_go_on_once_there_is_room(tmp_path):
    store, client = opened(captioned_dataset(tmp_path, many_captions(60)), tmp_path, 60, repeat_share=0)
    store.read(f"PRAGMA max_page_count = {store.read('PRAGMA page_count')[0][0]}")
    saved, refused = 0, None
    state = client.post("/api/next", json={"labeller": "ann", "count": 1}).json()
    while refused is None:
        serving = state["next"][0]
        said = {"labeller": "ann", "token": serving["token"], "rankings": ranking(serving)}
        response = client.post("/api/answer", json=said)
        state = response.json()
        saved += "saved" in state
        refused = state.get("error")
    assert refused == f"{store.path} cannot be used: database or disk is full; free space on its disk"
    assert len(store.given()) == saved < 60
    store.read("PRAGMA max_page_count = 100000")
    assert client.post("/api/answer", json=said).json()["saved"]
    assert label_by_taste(client, "ann", len, 99) + saved + 1 == len(store.given()) == 60


def test_an_answer_is_acknowledged_though_what_is_next_cannot_be_told(desk, monkeypatch):
    store, client = desk
    serving = client.post("/api/next", json={"labeller": "ann", "count": 1}).json()["next"][0]

    def broken(*_):
        raise sqlite3.OperationalError("disk I/O error")

    # The disk fails between the answer and what is next, a moment no real disk can be made to choose.
    monkeypatch.setattr(handing.Desk, "_open_one", broken)
    said = {"labeller": "ann", "token": serving["token"], "rankings": ranking(serving)}
    response = client.post("/api/answer", json=said)
    assert response.status_code == 200
    assert response.json()["saved"] == store.given()[0].event
    assert "disk I/O error; see that its disk is there" in response.json()["error"]
    assert client.post("/api/undo", json={"labeller": "ann"}).json()["undone"] == response.json()["saved"]


def test_the_page_has_no_outside_reference_and_no_inline_script():
    from pairwright.components.preference.web import FILES, PAGE

    for name in ("index.html", "app.js", "style.css"):
        text = (PAGE / name).read_text(encoding="utf-8")
        assert name == "index.html" or name in FILES
        for forbidden in ("http:", "https:", "innerHTML", "insertAdjacentHTML", "eval(", "@import", "url("):
            assert forbidden not in text, f"{name}: {forbidden}"
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    assert "<style" not in html
    assert 'style="' not in html
    assert "onclick" not in html
