"""A Bento of a tiny model, built and served for real: every route, every refusal, batching and lineage."""

from __future__ import annotations

import base64
import concurrent.futures
import functools
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
import shapes as corpus
from PIL import Image
from released import RECEIPT

from pairwright.components.errors import ModelError
from pairwright.serving.openapi import OPERATIONS
from pairwright.serving.packaging import PackagingError, bento_folder, build_bento, pins

pytestmark = [pytest.mark.platform, pytest.mark.slow]


def png(width=8, height=8):
    stream = io.BytesIO()
    Image.new("1", (width, height)).save(stream, "PNG")
    return stream.getvalue()


def base64_of(data):
    return base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def model(release):
    from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder

    return load_dual_encoder(release["kept"] / "model")


def test_texts_are_embedded_as_the_model_does(client, model):
    texts = ["a red square on the left", "ein blauer Kreis", "💡"]
    answer = client.post("/embed_text", json={"texts": texts}).json()
    assert answer["dimensions"] == 16
    vectors = np.array([result["vector"] for result in answer["results"]])
    np.testing.assert_allclose(vectors, model.encode_text(texts).numpy(), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_pictures_are_the_same_as_json_form_and_body(client, model):
    data = corpus.encoded(5)
    picture = np.asarray(Image.open(io.BytesIO(data)))
    sent = [
        client.post("/embed_image", json={"images": [base64_of(data), "data:image/jpeg;base64," + base64_of(data)]}),
        client.post("/embed_image", files=[("images", ("a.jpg", data)), ("images", ("b.jpg", data))]),
        client.post("/embed_image", content=data, headers={"Content-Type": "image/jpeg"}),
    ]
    vectors = [result["vector"] for answer in sent for result in answer.json()["results"]]
    assert len(vectors) == 5
    for vector in vectors:
        np.testing.assert_allclose(vector, model.encode_image([picture]).numpy()[0], atol=0.02)
        np.testing.assert_allclose(vector, vectors[0], atol=1e-6)


def test_one_bad_item_leaves_its_neighbours_answered(client):
    images = [base64_of(corpus.encoded(0)), base64_of(b"GIF89a?"), "@@", base64_of(corpus.encoded(1))]
    answer = client.post("/embed_image", json={"images": images})
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result["error"] is None for result in results] == [True, False, False, True]
    assert results[2]["error"] == {
        "status": 422,
        "reason": "the image is not base64; encode the file, or send multipart/form-data",
    }
    texts = client.post("/embed_text", json={"texts": ["good", "", "x" * 5000, "also good"]}).json()["results"]
    assert [result["error"] and result["error"]["status"] for result in texts] == [None, 422, 413, None]


def test_concurrent_requests_share_batches_and_a_bad_one_fails_alone(client, model):
    numbers = list(range(48))

    def ask(number):
        data = b"no picture" if number == 17 else corpus.encoded(number)
        return client.post("/embed_image", json={"images": [base64_of(data)]})

    for _ in range(4):
        with concurrent.futures.ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(ask, numbers))
        if largest_batch(client, "image") > 1:
            break
    assert [n for n, answer in zip(numbers, answers, strict=True) if answer.status_code != 200] == [17]
    assert answers[17].status_code == 422
    assert answers[17].json()["error"].startswith("this is not an image")
    pictures = [np.asarray(Image.open(io.BytesIO(corpus.encoded(n)))) for n in numbers]
    expected = model.encode_image(pictures).numpy()
    for n in numbers:
        if n != 17:
            np.testing.assert_allclose(answers[n].json()["results"][0]["vector"], expected[n], atol=0.02)
    assert largest_batch(client, "image") > 1


def largest_batch(client, queue):
    """Upper bound of the smallest histogram bucket that holds every batch."""
    lines = re.findall(
        rf'pairwright_batch_size_bucket{{.*?le="([^"]+)",.*?queue="{queue}".*?}} ([0-9.]+)', client.get("/metrics").text
    )
    total = max((float(count) for _, count in lines), default=0)
    return min((float(edge) for edge, count in lines if float(count) == total), default=0)


def test_score_is_the_cosine_of_the_embeddings(client):
    data, texts = corpus.encoded(3), [corpus.caption_text(3), "something else"]
    picture = client.post("/embed_image", json={"images": [base64_of(data)]}).json()["results"][0]["vector"]
    vectors = [r["vector"] for r in client.post("/embed_text", json={"texts": texts}).json()["results"]]
    answer = client.post("/score", files={"image": data}, data={"texts": texts}).json()["scores"]
    assert [score["text"] for score in answer] == texts
    np.testing.assert_allclose([score["cosine"] for score in answer], np.array(vectors) @ picture, atol=1e-5)


def test_classify_tells_shapes_apart_by_the_curated_categories(client):
    right = 0
    for number in range(24):
        answer = client.post("/classify", files={"image": corpus.encoded(number)}).json()
        assert sorted(label["label"] for label in answer["labels"]) == ["circle", "square", "triangle"]
        assert sum(label["probability"] for label in answer["labels"]) == pytest.approx(1, abs=1e-4)
        right += answer["labels"][0]["label"] == corpus.facts_of(number)[1]
    assert right >= 12  # chance is 8
    own = client.post(
        "/classify",
        json={"image": base64_of(corpus.encoded(0)), "labels": ["x", "y"], "templates": ["a {} thing"], "top": 1},
    ).json()
    assert len(own["labels"]) == 1
    assert own["templates"] == ["a {} thing"]


@pytest.mark.parametrize("exact", [True, False])
def test_search_by_text_finds_what_brute_force_finds(client, release, model, exact):
    from pairwright.serving.index import SearchIndex

    answer = client.post("/search", json={"text": "a green circle on the top", "k": 5, "exact": exact}).json()
    scores = (
        SearchIndex.load(release["kept"] / "index").vectors
        @ model.encode_text(["a green circle on the top"])[0].numpy()
    )
    np.testing.assert_allclose([item["score"] for item in answer["items"]], np.sort(scores)[::-1][:5], atol=1e-5)
    assert answer["searched"] == 192
    assert answer["exact"] is exact
    assert answer["recall_at_10"] == (None if exact else release["about"]["approximate"]["recall_at_10"])


def test_search_by_a_curated_picture_finds_it_first_with_its_thumbnail(client):
    for number in (7, 150):
        answer = client.post(
            "/search?k=3", content=corpus.encoded(number), headers={"Content-Type": "image/jpeg"}
        ).json()
        best = answer["items"][0]
        assert best["key"] == f"{number:06d}"
        assert best["caption"] == corpus.caption_text(number)
        assert (best["licence"], best["category"]) == ("CC0-1.0", corpus.facts_of(number)[1])
        assert len(answer["items"]) == 3
        thumbnail = client.get(best["thumbnail"])
        assert thumbnail.headers["content-type"] == "image/jpeg"
        assert "immutable" in thumbnail.headers["cache-control"]
        assert Image.open(io.BytesIO(thumbnail.content)).size == (96, 96)


def streamed(text):
    """(name, data) of each server-sent event."""
    parts = [part.split("\n") for part in text.strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in parts]


def test_a_caption_is_streamed_to_curl_as_it_is_said(endpoint, tmp_path):
    (tmp_path / "a.jpg").write_bytes(corpus.encoded(5))
    asked = ["-F", f"image=@{tmp_path}/a.jpg", "-F", "language=en", "-F", "guidance=1.5"]
    done = subprocess.run(["curl", "-sN", "-i", f"{endpoint}/caption", *asked], capture_output=True, check=True)
    head, _, body = done.stdout.decode().replace("\r\n", "\n").partition("\n\n")
    assert " 200 " in head.splitlines()[0]
    assert "content-type: text/event-stream" in head
    assert "transfer-encoding: chunked" in head.lower()
    events = streamed(body)
    tokens = [data["token"] for name, data in events if name == "token"]
    assert [name for name, _ in events] == ["token"] * len(tokens) + ["caption", "done"]
    assert "".join(tokens) == events[-1][1]["captions"][0]["text"]
    assert corpus.facts_of(5)[0] in "".join(tokens)


def test_a_caption_without_a_stream_is_the_one_that_is_streamed(client):
    for controls in (
        {"search": "nucleus", "captions": 2, "seed": 3},
        {"search": "beam", "captions": 2, "forbidden": ["red", "blue"]},
        {"search": "diverse", "captions": 2, "include": "yellow", "prompt": "left", "length": 6, "level": 0},
    ):
        body = {"image": base64_of(corpus.encoded(3)), **controls}
        whole = client.post("/caption", json=body | {"stream": False}).json()
        told = streamed(client.post("/caption", json=body).text)
        assert told[-1][0] == "done"
        assert told[-1][1]["captions"] == whole["captions"]
        assert len(whole["captions"]) == 2
    assert all("yellow" in caption["text"] for caption in whole["captions"])


def test_a_box_and_a_format_change_the_caption_however_they_are_sent(client):
    picture, plain = corpus.encoded(5), {"stream": False, "format": "short"}
    kind = {"Content-Type": "image/jpeg"}
    for side, box in (("left", [0, 0, 0.5, 1]), ("bottom", [0, 0.5, 1, 1])):
        one = ",".join(map(str, box))
        each = [("box", (None, str(number))) for number in box]
        form = [("image", picture), ("format", (None, "short")), ("stream", (None, "false"))]
        answers = [
            client.post("/caption", json={"image": base64_of(picture), "box": box} | plain),
            client.post("/caption", files=[*form, *each]),
            client.post("/caption", files=[*form, ("box", (None, one))]),
            client.post(f"/caption?stream=false&format=short&box={one}", content=picture, headers=kind),
        ]
        [caption] = {answer.json()["captions"][0]["text"] for answer in answers}
        assert caption.split()[0] == side
        assert len(caption.split()) == 4  # the side, and a caption in short
    whole = client.post("/caption", json={"image": base64_of(picture)} | plain).json()["captions"][0]["text"]
    assert whole.split() == caption.split()[1:]


def test_the_captioner_and_its_tower_are_the_ones_that_were_packed(client, release):
    from pairwright.components.digest import folder_digest
    from pairwright.components.models.resolve import resolve_model

    told = client.get("/lineage").json()["captioner"]
    assert told["tag"] == "pairwright_captioner:1"
    assert told["digest"] == folder_digest(release["kept"] / "captioner")
    assert told["tower"] == {"reference": "builtin:tiny-image", "digest": resolve_model("builtin:tiny-image").weights}
    named = {"languages": ["en", "de"], "formats": ["full", "short"]}
    assert (
        told["controls"]
        == {"tokens": 12, "levels": 3, "lengths": 12, "box": True, "prompt": True, "user": False} | named
    )


def test_the_document_offers_the_controls_that_the_captioner_knows(client):
    fields = client.get("/openapi.json").json()["components"]["schemas"]["Caption"]["properties"]
    assert fields["level"]["anyOf"][0]["maximum"] == 3
    assert fields["language"]["anyOf"][0]["enum"] == ["en", "de"]
    assert fields["format"]["anyOf"][0]["enum"] == ["full", "short"]
    assert fields["box"]["anyOf"][0]["maxItems"] == 4


def test_a_captioner_joins_the_champion_in_a_bento_that_is_built_once(release, tmp_path):
    from pairwright.components.dataset.shards import storage
    from pairwright.components.environment import Environment
    from pairwright.flows.captioner_bento import bento_with
    from pairwright.flows.champion import bento_folder as bento_of
    from pairwright.serving.packed_captioner import captioner_to_serve

    shutil.copytree(release["home"], tmp_path / "bentoml")
    environment = Environment(workspace=str(tmp_path), device="cpu")
    storage.write_json(f"{tmp_path}/bentoml/champion.json", {"tag": release["tag"], "version": 1})
    captioner = captioner_to_serve(release["kept"] / "captioner")
    made = bento_with(captioner, environment)
    assert re.fullmatch(r"pairwright:1-captioner-[0-9a-f]{8}", made["tag"])
    facts = storage.read_json(str(bento_of(environment, made["tag"]) / "src" / "bento.json"))
    assert facts["model_digest"] == release["about"]["model_digest"]
    assert facts["captioner_digest"] == captioner.digest
    assert facts["index_inside"]
    receipt = storage.read_json(str(bento_of(environment, made["tag"]) / "src" / "receipt.json"))
    assert receipt["model"] == RECEIPT["model"]
    before = (bento_of(environment, made["tag"]) / "bento.yaml").stat().st_mtime_ns
    assert bento_with(captioner, environment) == made
    assert (bento_of(environment, made["tag"]) / "bento.yaml").stat().st_mtime_ns == before


@functools.cache
def refusals():
    fine = base64_of(corpus.encoded(0))
    huge = base64_of(b"\xff\xd8\xff" + b"0" * (10 * 2**20))
    bomb = base64_of(png(12000, 14000))
    return {
        "too many bytes": ("embed_image", {"images": [huge]}, 413, "10.0 MiB; at most 10 MiB"),
        "too many pixels": ("score", {"image": bomb, "texts": ["a"]}, 413, "168.0 megapixels; at most 64"),
        "too many images": ("embed_image", {"images": [fine] * 17}, 413, "17 items; at most 16"),
        "too many texts": ("embed_text", {"texts": ["a"] * 257}, 413, "257 items; at most 256"),
        "too long a text": ("search", {"text": "a" * 4097}, 413, "4097 characters; at most 4096"),
        "not an image": ("search", {"image": base64_of(b"<html></html>")}, 422, "this is not an image"),
        "a truncated image": ("classify", {"image": base64_of(corpus.encoded(0)[:-99])}, 422, "cut short"),
        "an address for an image": ("score", {"image": "http://127.0.0.1/a.jpg", "texts": ["a"]}, 422, "not base64"),
        "an empty image": ("embed_image", {"images": [""]}, 422, "empty"),
        "an empty text": ("score", {"image": fine, "texts": ["a", " "]}, 422, "the text is empty"),
        "no texts": ("embed_text", {"texts": []}, 422, '"texts" is empty'),
        "a number for a text": ("embed_text", {"texts": [7]}, 422, '"texts.0"'),
        "an unknown key": ("embed_text", {"text": ["a"]}, 422, 'unknown key "text"; did you mean "texts"?'),
        "neither text nor image": ("search", {"k": 3}, 422, 'give either "text" or "image"'),
        "k out of range": ("search", {"text": "a", "k": 0}, 422, '"k"'),
        "more captions than there are": ("caption", {"image": fine, "captions": 9}, 422, '"captions"'),
        "too many forbidden strings": (
            "caption",
            {"image": fine, "forbidden": ["a"] * 17},
            413,
            "17 items; at most 16",
        ),
        "a language it was not taught": ("caption", {"image": fine, "language": "fr"}, 422, "it speaks en, de"),
        "a level it was not taught": ("caption", {"image": fine, "level": 9}, 422, "up to 3"),
        "a format it was not taught": ("caption", {"image": fine, "format": "haiku"}, 422, "it writes full, short"),
        "a box of three numbers": ("caption", {"image": fine, "box": [0, 0, 1]}, 422, '"box": give four numbers'),
        "a box in pixels": ("caption", {"image": fine, "box": [0, 0, 96, 96]}, 422, '"box": it goes beyond'),
        "an empty box": ("caption", {"image": fine, "box": [0.5, 0, 0.5, 1]}, 422, '"box": it is empty'),
        "a prompt of nothing": ("caption", {"image": fine, "prompt": " "}, 422, "the text is empty"),
        "no picture to caption": ("caption", {"image": base64_of(b"<html>")}, 422, "this is not an image"),
        "a picture to caption that is cut": (
            "caption",
            {"image": base64_of(corpus.encoded(0)[:-99])},
            422,
            "cut short",
        ),
        "a template without a place": ("classify", {"image": fine, "templates": ["a photo"]}, 422, "has no {}"),
    }


@pytest.mark.parametrize("case", refusals())
def test_refused_with_a_one_line_reason(client, case):
    route, body, status, words = refusals()[case]
    answer = client.post(f"/{route}", json=body)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_a_body_that_is_no_json_or_too_large_is_refused(client):
    broken = client.post("/embed_text", content=b'{"texts": ', headers={"Content-Type": "application/json"})
    assert (broken.status_code, broken.json()["error"][:20]) == (422, "the body is not JSON")
    listed = client.post("/embed_text", json=["a"])
    assert listed.status_code == 422
    strange = client.post("/embed_text", content=b"x", headers={"Content-Type": "application/zip"})
    assert strange.status_code == 415
    pickled = client.post("/embed_text", content=b"x", headers={"Content-Type": "application/vnd.bentoml+pickle"})
    assert pickled.status_code == 415

    def endless():  # no content-length: counted as it arrives
        for _ in range(70):
            yield b"x" * 2**20

    for body in (b"x" * (65 * 2**20), endless()):
        try:
            answer = client.post("/embed_text", content=body)
        except (httpx.WriteError, httpx.ReadError):
            continue  # refused so early that the rest could not be sent
        assert answer.status_code == 413
        assert "larger than 4 MiB" in answer.json()["error"]
    assert client.get("/readyz").status_code == 200


def test_curl_needs_no_header(endpoint):
    done = subprocess.run(
        ["curl", "-s", f"{endpoint}/embed_text", "-d", '{"texts": ["a red car"]}'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(json.loads(done.stdout)["results"][0]["vector"]) == 16


def printed_curls():
    """Every curl of the docs that asks this machine."""
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
    return re.findall(r"^curl .*localhost:3000.*$", page, re.MULTILINE)


def test_the_docs_show_curls_of_every_route():
    assert {route for line in printed_curls() for route in re.findall(r"3000/(\w+)", line)} == {
        *(operation.route for operation in OPERATIONS),
        "openapi",
    }


@pytest.mark.parametrize("line", printed_curls())
def test_a_curl_of_the_docs_is_answered(endpoint, tmp_path, line):
    for name, number in (("cat", 3), ("dog", 4)):
        (tmp_path / f"{name}.jpg").write_bytes(corpus.encoded(number))
        (tmp_path / f"{name}.png").write_bytes(corpus.encoded(number, form="PNG"))
    words = shlex.split(line.replace("localhost:3000", endpoint.removeprefix("http://")), comments=True)
    done = subprocess.run([*words, "--fail-with-body"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "event: error" not in done.stdout
    assert "event: done" in done.stdout or json.loads(done.stdout)


def test_every_route_is_in_openapi_with_an_example_that_works(client):
    document = client.get("/openapi.json").json()
    assert document == client.get("/docs.json").json()
    served = {route["route"] for route in client.get("/schema.json").json()["routes"]}
    assert served == {f"/{operation.route}" for operation in OPERATIONS}
    for operation in OPERATIONS:
        post = document["paths"][f"/{operation.route}"]["post"]
        content = post["requestBody"]["content"]["application/json"]
        answer = client.post(f"/{operation.route}", json=content["example"])
        assert answer.status_code == 200, (operation.route, answer.text)
        operation.output.model_validate(answer.json())
        operation.output.model_validate(post["responses"]["200"]["content"]["application/json"]["example"])
        assert {"413", "422"} <= set(post["responses"])
        assert set(answer.json()) == set(post["responses"]["200"]["content"]["application/json"]["example"])
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert references <= set(document["components"]["schemas"])
    for path in ("/livez", "/readyz", "/metrics", "/docs", "/"):
        assert client.get(path).status_code == 200


def test_lineage_is_the_receipt_frozen_at_packaging(client, release):
    by_get, by_post = client.get("/lineage").json(), client.post("/lineage", json={}).json()
    assert by_get == by_post
    assert by_get["receipt"] == RECEIPT | {"run": {"id": "00aa", "tracking": "sqlite:///mlflow.db"}}
    assert "/home" not in json.dumps(by_get)
    assert by_get["bento"] == "pairwright:1"
    assert by_get["model"]["digest"] == release["about"]["model_digest"]
    assert by_get["index"]["dataset_digest"] == release["about"]["dataset_digest"]
    assert str(release["root"]) not in json.dumps(by_get)


def test_the_code_that_answers_is_the_bentos_own(client, release):
    log = (release["root"] / "server.log").read_text()
    assert f"serving pairwright:1 from {bento_folder('pairwright:1', release['home'])}/src in" in log


def test_refusals_leave_no_traceback_in_the_log(client, release):
    client.post("/embed_text", json={"texts": []})
    client.post("/search", json={"image": "@"})
    time.sleep(0.2)
    assert "Traceback" not in (release["root"] / "server.log").read_text()


def test_missing_things_are_404_with_a_reason(client):
    answer = client.get("/thumbnails/100000.jpg")
    assert (answer.status_code, answer.json()) == (404, {"error": "the index has no picture 100000"})
    assert client.get("/page/../service.py").status_code == 404
    assert client.get("/page/service.py").status_code == 404


def test_a_bento_holds_no_flows_and_pins_every_package(release):
    folder = bento_folder("pairwright:latest", release["home"])
    assert folder.name == "1"
    package = folder / "src" / "pairwright"
    assert {path.name for path in package.iterdir() if path.is_dir()} == {"components", "serving"}
    parts = {path.name for path in (package / "components").iterdir() if path.is_dir()}
    assert parts == {"dataset", "models", "evaluate", "look"}
    lines = [
        line
        for line in (folder / "env" / "python" / "requirements.txt").read_text().split()
        if line and not line.startswith("#")
    ]
    assert all(re.fullmatch(r"[a-z0-9._-]+==[0-9][0-9a-z.!]*", line) for line in lines), lines
    assert {"torch", "bentoml", "faiss-cpu", "numpy", "pydantic-core"} <= {line.split("==")[0] for line in lines}
    assert not {"ray", "prefect", "mlflow", "dvc", "great-expectations"} & {line.split("==")[0] for line in lines}


def test_the_lock_decides_the_pins(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text("# comment\nPyArrow==1.2.3\ntorch==2.13.0+cpu ; sys_platform == 'linux'\n")
    pinned = dict(line.split("==") for line in pins(lock))
    assert pinned["pyarrow"] == "1.2.3"
    assert pinned["torch"] == "2.13.0"


def test_an_index_of_another_model_is_refused_at_packaging(release, tmp_path):
    shutil.copytree(release["kept"] / "model", tmp_path / "other")
    (tmp_path / "other" / "config.json").write_text((tmp_path / "other" / "config.json").read_text() + " ")
    with pytest.raises(ModelError, match="build the index again"):
        build_bento(tmp_path / "other", release["kept"] / "index", {}, home=tmp_path / "home", tag_version="2")


def test_a_missing_bento_and_a_bad_version_are_one_line(tmp_path):
    with pytest.raises(PackagingError, match="there is no Bento pairwright:7"):
        bento_folder("pairwright:7", tmp_path)
    with pytest.raises(PackagingError, match="cannot be a Bento's version"):
        build_bento(tmp_path, None, {}, home=tmp_path, tag_version="...")


def test_building_asks_the_network_for_nothing(release, tmp_path, monkeypatch):
    """With every socket beyond loopback refused, the Bento is built all the same."""
    (tmp_path / "sitecustomize.py").write_text(
        "import socket\n"
        "connect = socket.socket.connect\n"
        "def guarded(self, address):\n"
        "    if self.family != socket.AF_UNIX and address[0] not in ('127.0.0.1', '::1', 'localhost'):\n"
        "        raise SystemExit(f'asked the network: {address}')\n"
        "    return connect(self, address)\n"
        "socket.socket.connect = guarded\n"
    )
    import pairwright.serving.packaging as packaging

    plain = packaging._environment
    monkeypatch.setattr(packaging, "_environment", lambda home: plain(home) | {"PYTHONPATH": str(tmp_path)})
    kept = release["kept"]
    tag = build_bento(kept / "model", kept / "index", RECEIPT, home=tmp_path / "home", tag_version="model 3")
    assert tag == "pairwright:model-3"
    again = build_bento(kept / "model", None, RECEIPT, home=tmp_path / "home", tag_version="model 3")
    assert again == tag
    assert not (bento_folder(tag, tmp_path / "home") / "src" / "index").exists()


def test_importing_packaging_imports_nothing_heavy():
    heavy = "{'bentoml', 'torch', 'faiss', 'starlette', 'pandas'}"
    program = f"import sys, pairwright.serving.packaging, pairwright.serving.index; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
