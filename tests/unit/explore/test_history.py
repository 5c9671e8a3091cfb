"""One pair's history, its pictures and the web application, on a small run with real pictures."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explored import HOSTILE, explored
from PIL import Image
from tars import flip

from pairwright.components.explore.explorer import Explorer, open_explorer, sql_name
from pairwright.components.explore.pictures import SIDE
from pairwright.components.explore.search import Wanted
from pairwright.components.filter.rules.expression import Names, Rule, bind
from pairwright.components.filter.rules.why import why


@pytest.fixture(scope="module")
def explorer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explorer]:
    with open_explorer(explored(tmp_path_factory.mktemp("explored"))) as opened:
        yield opened


def told(explorer: Explorer, number: int, **wanted: Any) -> dict[str, Any]:
    shard, row = explorer.tables.place(number)
    found = explorer.pair(shard.digest, row, Wanted(first="loose", **wanted))
    assert found is not None
    json.dumps(found, allow_nan=False)
    return found


@pytest.mark.parametrize("number", [0, 4, 7, 9, 50, 95])
def test_a_verdict_is_what_pairwright_why_answers(explorer: Explorer, number: int) -> None:
    place = explorer.exploration.selections[0]
    (answer,) = why(place.folder, explorer.exploration.view, f"{number:06d}")
    found = told(explorer, number)
    names = ("status", "rule", "expression", "value", "threshold", "detail")
    assert {name: found["verdicts"][0][name] for name in names} == {name: answer[name] for name in names}
    captions = [{k: c[k] for k in ("source", "text", "lang")} for c in found["captions"] if c["source"] != "fused"]
    assert captions == answer["captions"]
    columns = {f"{s['step']}.{name}": value for s in found["steps"] for name, value in s["values"].items()}
    assert columns == answer["columns"] | {"emb.vector": "4 numbers"}
    assert {k: found["facts"][k] for k in ("licence", "author", "origin", "group")} == {
        k: answer[k] for k in ("licence", "author", "origin", "group")
    }


@pytest.mark.slow
def test_a_duplicate_leads_to_the_pair_it_repeats_and_to_its_group(explorer: Explorer) -> None:
    found = told(explorer, 7)
    (original,) = found["originals"]
    assert (original["step"], original["key"], original["distance"]) == ("near", "000005", 12)
    assert (original["pair"]["shard"], original["pair"]["row"]) == (explorer.exploration.shards[0].digest, 5)
    groups = {group["column"]: group for group in found["groups"]}
    assert [member["key"] for member in groups["near.group"]["members"]] == ["000005"]
    assert groups["near.group"]["pairs"] == 2
    same = [n for n in range(96) if told(explorer, n)["facts"]["group"] == found["facts"]["group"]]
    assert groups["pair.group"]["pairs"] == len(same)


def test_captions_of_every_source_are_told_with_their_producer(explorer: Explorer) -> None:
    captions = {c["source"]: c for c in told(explorer, 5)["captions"]}
    assert set(captions) == {"alt", "keywords", "fused"}
    assert captions["keywords"]["producer"] == "a crawler"
    assert captions["fused"]["producer"] == "fused"
    assert "changes" not in captions["alt"]
    changes = captions["fused"]["changes"]
    assert "".join(text for kind, text in changes if kind != "del") == captions["fused"]["text"]
    assert [kind for kind, _ in changes].count("ins") >= 1
    assert "fused" not in {c["source"] for c in told(explorer, 6)["captions"]}, "the captioner wrote nothing for it"


def test_neighbours_are_those_of_what_was_found(explorer: Explorer) -> None:
    wanted = {"sort": "align.score", "descending": True, "filter": "align.score IS NOT NULL"}
    numbers = explorer.search.found(Wanted(first="loose", **wanted)).numbers.tolist()
    found = told(explorer, numbers[10], **wanted)
    assert found["rank"] == 10
    before, after = (explorer.tables.place(numbers[i]) for i in (9, 11))
    assert (found["before"], found["after"]) == (f"{before[0].digest}/{before[1]}", f"{after[0].digest}/{after[1]}")
    assert told(explorer, 9, **wanted)["rank"] is None, "pair 9 has no score"
    assert told(explorer, numbers[0], **wanted)["before"] is None


def test_thumbnails_are_the_pairs_own_pictures(explorer: Explorer) -> None:
    for number in (0, 23, 24, 95):
        picture = explorer.pictures.original(number)
        shard, row = explorer.tables.place(number)
        media = shard.read_sidecar(["media"])["media"][row].as_py()[0]
        assert picture.data == shard.read_member(media)
        small = Image.open(io.BytesIO(explorer.pictures.thumbnail(number).data))
        assert max(small.size) <= SIDE
        assert small.format == "JPEG"
        with Image.open(io.BytesIO(picture.data)) as large:
            one, two = (np.asarray(image.resize((8, 8)), dtype=int) for image in (large, small))
            assert np.abs(one - two).max() < 24


def test_a_broken_picture_is_a_reason(explorer: Explorer) -> None:
    assert (explorer.pictures.thumbnail(4).error or "").startswith("decode:")
    assert explorer.pictures.thumbnail(4).lasting


def test_a_tar_that_changed_shows_no_picture_but_why(tmp_path: Path) -> None:
    exploration = explored(tmp_path, pairs=8, shards=2)
    shard = exploration.shards[0]
    with open_explorer(exploration) as opened:
        flip(Path(shard.tar), shard.read_sidecar(["media"])["media"][0].as_py()[0]["offset"] + 40)
        for changed in (opened.pictures.thumbnail(0), opened.pictures.original(0)):
            assert (changed.data, changed.lasting) == (b"", False)
            assert "changed since it was indexed" in (changed.error or "")
        assert opened.pictures.original(1).data


def test_a_tar_that_is_gone_is_a_reason_that_does_not_last(tmp_path: Path) -> None:
    exploration = explored(tmp_path, pairs=8, shards=2)
    with open_explorer(exploration) as opened:
        tar = Path(exploration.shards[0].tar)
        moved = tar.rename(tar.with_suffix(".away"))
        gone = opened.pictures.thumbnail(0)
        assert gone.error
        assert not gone.lasting
        assert opened.pictures.thumbnail(6).error is None
        moved.rename(tar)
        assert opened.pictures.thumbnail(0).error is None, "and it is looked for again"


def test_nothing_is_written_to_the_dataset_or_the_workspace(tmp_path: Path) -> None:
    exploration = explored(tmp_path, pairs=8, shards=2)
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.rglob("*") if p.is_file()}
    with open_explorer(exploration) as opened:
        opened.warm()
        told(opened, 7, second="strict", filter="align.score > 0", sort="align.score")
        opened.histograms.histogram("align.score", Wanted())
    assert {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    "name", ["align.score", "group.rank", "my step.score", 'pair.label.a "b".c', "caption.file-name"]
)
def test_a_name_as_the_page_writes_it_is_that_column(name: str) -> None:
    names = Names([] if name.startswith("pair.") else [name])
    assert bind(Rule("filter", f"{sql_name(name)} = '1'"), names).columns == (name,)


# ---- over HTTP ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(explorer: Explorer) -> Any:
    pytest.importorskip("starlette")
    from starlette.testclient import TestClient

    from pairwright.components.explore.web import web_app

    return TestClient(web_app(explorer), base_url="http://127.0.0.1")


def test_an_address_asks_what_it_says(client: Any, explorer: Explorer) -> None:
    asked = {"filter": "align.score > 0.3", "sort": "align.score", "desc": "1", "b": "strict", "show": "both"}
    answer = client.get("/api/pairs", params=asked | {"from": 1, "count": 2}).json()
    wanted = Wanted("align.score > 0.3", "align.score", True, "both", "loose", "strict")
    assert answer == json.loads(json.dumps(explorer.page(wanted, 1, 2)))
    assert client.get("/api/pairs", params={"a": ""}).json()["classes"] == {"pairs": 96}


def test_a_mistake_is_an_answer_in_one_line(client: Any) -> None:
    for path, says in [
        ("/api/pairs?filter=align.scor>1", "align.score"),
        ("/api/pairs?a=nowhere", "no selection"),
        ("/api/pairs?show=nothing", "no pair is"),
        ("/api/histogram?column=align.scor", "align.score"),
        ("/api/histogram?column=pair.label", "no histogram"),
        ("/api/pair/nowhere/3", "no such pair"),
        ("/api/pairs?sort=pair.label", "cannot sort"),
    ]:
        answer = client.get(path)
        assert answer.status_code == 200
        assert says in answer.json()["problem"], path


def test_pictures_may_be_kept_for_ever_and_carry_no_script(client: Any, explorer: Explorer) -> None:
    digest = explorer.exploration.shards[0].digest
    answer = client.get(f"/thumbnails/{digest}/3.jpg")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert client.get(f"/thumbnails/{digest}/9999.jpg").headers["cache-control"] == "no-store"
    for path in ("/", "/api/about", f"/pictures/{digest}/4", "/page/app.js"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_only_this_machines_names_are_answered(client: Any) -> None:
    assert client.get("/api/about", headers={"Host": "evil.example"}).status_code == 400
    assert client.get("/api/about", headers={"Host": "localhost:8321"}).status_code == 200


def test_no_other_site_asks_through_the_browser_and_a_key_is_asked_for(client: Any, explorer: Explorer) -> None:
    from starlette.testclient import TestClient

    from pairwright.components.explore.web import web_app

    costly = f"/thumbnails/{explorer.exploration.shards[0].digest}/3.jpg"
    for path in (costly, "/api/pairs?filter=true", "/api/about"):
        assert client.get(path, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        assert client.get(path, headers={"Origin": "https://evil.example"}).status_code == 403
    linked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/", headers=linked).status_code == 200, "a link to the page may stand anywhere"
    locked = TestClient(web_app(explorer, key="k" * 32), base_url="http://127.0.0.1")
    assert locked.get(costly).status_code == 401
    assert locked.get("/", auth=("", "k" * 32)).status_code == 200, "as a browser sends it"


def test_numbers_that_nothing_can_hold_are_not_found(client: Any, explorer: Explorer) -> None:
    digest = explorer.exploration.shards[0].digest
    for number in ("9" * 18, "9" * 40, "9" * 5000, "-1", "x"):
        assert "no such pair" in client.get(f"/api/pair/{digest}/{number}").json()["problem"]
        assert client.get(f"/thumbnails/{digest}/{number}.jpg").headers["content-type"].startswith("image/svg")
    for answer in (client.get("/nowhere"), client.post("/api/about")):
        assert answer.status_code in (404, 405)
        assert list(answer.json()) == ["error"]
    assert client.get("/api/pairs", params={"from": "9" * 18, "count": "9" * 18}).json()["items"] == []


def test_a_selection_is_saved_and_deleted_over_http_by_the_page_alone(client: Any) -> None:
    asked = "/api/selections?a=loose&filter=text.words%20%3E%201"
    answer = client.post(asked, json={"name": "words", "tags": ["t"]}).json()
    assert answer["saved"].startswith("saved/words/")
    told = [one["saved"] for one in client.get("/api/about").json()["selections"] if "saved" in one]
    assert told == [{"name": "words", "tags": ["t"], "asked": {"a": "loose", "filter": "text.words > 1"}}]
    for body in (b"{", b"[]", b'{"name": "\\ud800"}', b'{"name": 7}', b"{}", b"[" * 60_000):
        refused = client.post(asked, content=body, headers={"content-type": "application/json"})
        assert "problem" in refused.json()
    form = client.post("/api/selections/delete", content='{"name": "words"}', headers={"content-type": "text/plain"})
    assert "application/json" in form.json()["problem"]
    foreign = client.post("/api/selections/delete", json={"name": "words"}, headers={"Origin": "https://evil.example"})
    assert foreign.status_code == 403
    assert client.post("/api/selections/delete", json={"name": "words"}).json()["deleted"] == "words"


def test_no_other_file_and_no_writing_verb(client: Any) -> None:
    assert client.get("/page/../web.py").status_code == 404
    assert client.get("/page/%2e%2e%2fweb.py").status_code == 404
    assert client.post("/api/pairs").status_code == 405


def test_hostile_captions_are_plain_text_in_the_answers(client: Any) -> None:
    items = client.get("/api/pairs?count=5").json()["items"]
    assert items[2]["captions"][0]["text"] == HOSTILE
    assert client.get("/api/pairs?count=5").headers["content-type"] == "application/json"


# ---- from the command line ------------------------------------------------------------------


def test_a_run_is_found_by_id_by_recipe_and_as_latest(tmp_path: Path) -> None:
    from pairwright.components.environment import Environment
    from pairwright.components.errors import DatasetError
    from pairwright.flows.commands.explore import exploration_of

    made = explored(tmp_path, pairs=8, shards=2)
    environment = Environment.load(workspace=str(tmp_path / "workspace"))
    assert exploration_of(environment, "latest").name == made.selections[1].label
    assert exploration_of(environment, "loose").own == "loose"
    found = exploration_of(environment, made.name)
    assert found.name == made.name
    assert {place.name for place in found.selections} == {"loose", "strict"}
    assert found.captioners == ("fused",)
    labels = [place.label for place in found.selections]
    assert labels[0] == f"loose on shapes, 2026-11-20 10:10, run {made.name}", "recipe, data, time, id"
    assert len(set(labels)) == 2
    assert found.view.steps == made.view.steps
    with pytest.raises(DatasetError, match="did you mean"):
        exploration_of(environment, "lose")
    shutil.copytree(tmp_path / "workspace/selections/loose", tmp_path / "mine")
    with_mine = exploration_of(environment, "latest", (str(tmp_path / "mine"),))
    assert [place.folder for place in with_mine.selections][-1] == str(tmp_path / "mine")
    with pytest.raises(DatasetError, match="nothing was run"):
        exploration_of(Environment.load(workspace=str(tmp_path / "empty")), "latest")


def test_a_sampled_run_shows_the_shards_it_saw(tmp_path: Path) -> None:
    from pairwright.components.dataset.shards import storage
    from pairwright.components.environment import Environment
    from pairwright.flows.commands.explore import exploration_of

    made = explored(tmp_path, pairs=40, shards=5)
    path = f"{tmp_path}/workspace/runs/{made.name}/run.json"
    record = storage.read_json(path)
    sample = made.view.dataset.limited(2)
    storage.write_json(path, record | {"dataset": record["dataset"] | {"digest": sample.digest}})
    found = exploration_of(Environment.load(workspace=str(tmp_path / "workspace")), made.name)
    assert [shard.name for shard in found.shards] == [shard.name for shard in sample.shards]


def test_an_answer_is_not_held_back_by_nagle_and_a_busy_port_is_one_line() -> None:
    import socket

    from pairwright.components.errors import EngineError
    from pairwright.components.web_server import listening_socket

    with listening_socket("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP, "or asyncio leaves TCP_NODELAY off: 40 ms more an answer"
        with pytest.raises(EngineError, match=r"in use\); choose another with --port"):
            listening_socket("127.0.0.1", listening.getsockname()[1])
    for nowhere in ("no.such.name.invalid", "192.0.2.1", "a" * 300):
        with pytest.raises(EngineError, match="cannot be had"):
            listening_socket(nowhere, 0)
