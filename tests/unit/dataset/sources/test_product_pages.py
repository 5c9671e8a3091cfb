"""The product-pages source: every page becomes a pair or a row with its reason, from a folder and from a list."""

from __future__ import annotations

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes import encoded

from pairwright.components.dataset.dataset import open_dataset
from pairwright.components.dataset.ingest import detect, ingest
from pairwright.components.errors import DatasetError


def page(name: str = "Mug", image: object = "mug.jpg", head: str = "", **more: object) -> str:
    node = {"@type": "Product", "name": name, "description": f"{name} of clay.", "image": image} | more
    return (
        f'<html lang="en-GB"><head>{head}<script type="application/ld+json">{json.dumps(node)}</script></head></html>'
    )


def shop(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def rows_of(dataset) -> dict[str, dict]:
    return {row["key"]: row for _, table in dataset.iter_sidecars() for row in table.to_pylist()}


def captions(row) -> dict[str, str]:
    return {one["source"]: one["text"] for one in row["captions"]}


def image(dataset, key: str) -> bytes:
    for shard, table in dataset.iter_sidecars():
        for row in table.to_pylist():
            if row["key"] == key:
                return shard.read_member(row["media"][0])
    raise KeyError(key)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    jpg = [encoded(n, 48) for n in range(8)]
    absent = json.loads("null")
    return shop(
        tmp_path / "saved",
        {
            "mug.html": page(head='<link rel="canonical" href="https://shop.example/p/mug">', brand="Potter"),
            "mug.jpg": jpg[0],
            "p/root.html": page("Root", "/img/root.jpg"),
            "img/root.jpg": jpg[1],
            "p/browser.html": page("Browser", "https://cdn.example/x/browser.jpg?w=9"),
            "p/browser_files/browser.jpg": jpg[2],
            "p/wget.html": page("Wget", "https://cdn.example/y/wget.jpg"),
            "cdn.example/y/wget.jpg": jpg[3],
            "p/escaped.html": page("Escaped", "with%20space.jpg"),
            "p/with space.jpg": jpg[4],
            "p/second.html": page("Second", ["gone.jpg", "with space.jpg"]),
            "p/inline.html": page("Inline", "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="),
            "p/fallen.html": '<script type="application/ld+json">{"@type":</script>'
            '<meta property="og:type" content="product"><meta property="og:title" content="Fallen">'
            '<meta property="og:image" content="/mug.jpg">',
            "bad/no_image.html": page("No image", absent),
            "bad/missing.html": page("Missing", "nowhere.jpg"),
            "bad/remote.html": page("Remote", "https://cdn.example/not-here.jpg"),
            "bad/climbs.html": page("Climbs", "../../../outside.jpg"),
            "bad/empty_image.html": page("Empty image", "empty.jpg"),
            "bad/empty.jpg": b"",
            "bad/no_picture.html": page("No picture", "words.jpg"),
            "bad/words.jpg": b"these are words",
            "bad/no_text.html": page("", "/mug.jpg", description=""),
            "bad/empty.html": b" \n",
            "bad/about.html": "<html><h1>About us</h1></html>",
            "bad/broken.html": '<script type="application/ld+json">{"@type": "Product",</script>',
            "bad/noai.html": page("No AI", "/mug.jpg", head='<meta name="robots" content="noai, nofollow">'),
            "two.html": page("One", "mug.jpg").replace("</head>", page("Two", "img/root.jpg") + "</head>"),
        },
    )


GOOD = {
    "mug": ("Mug", 0), "p/root": ("Root", 1), "p/browser": ("Browser", 2), "p/wget": ("Wget", 3),
    "p/escaped": ("Escaped", 4), "p/second": ("Second", 4), "two": ("One", 0), "two.html/1": ("Two", 1),
}  # fmt: skip
REASONS = {
    "bad/no_image": "no_image", "bad/missing": "missing_file", "bad/remote": "missing_file",
    "bad/climbs": "missing_file",
    "bad/empty_image": "empty_image", "bad/no_picture": "not_a_picture", "bad/no_text": "no_text",
    "bad/empty": "empty_page", "bad/about": "no_product", "bad/noai": "disallowed",
}  # fmt: skip


def test_a_saved_folder_gives_exact_triples_and_a_reason_for_every_other_page(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.jpg").write_bytes(encoded(9, 48))
    assert detect(str(saved)) == "product-pages"
    dataset = ingest("product-pages", str(saved), str(tmp_path / "shop"))
    rows = rows_of(dataset)
    for key, (name, number) in GOOD.items():
        assert rows[key]["error"] is None, key
        assert image(dataset, key) == encoded(number, 48)
        assert captions(rows[key]) == {"title": name, "description": f"{name} of clay."}
    assert image(dataset, "p/inline").startswith(b"GIF89a")
    assert captions(rows["p/fallen"]) == {"title": "Fallen"}
    assert {"markup", "broken_json_ld"} <= {label["name"] for label in rows["p/fallen"]["labels"]}
    assert {key: rows[key]["error"] for key in REASONS} == REASONS
    assert rows["bad/broken"]["error"].startswith("broken_json_ld:")
    pages = {path.relative_to(saved).as_posix() for path in saved.rglob("*.html")}
    assert {row["group"] for row in rows.values()} == (pages - {"mug.html"}) | {"https://shop.example/p/mug"}
    assert len(rows) == len(GOOD) + len(REASONS) + 3  # every page once, `two` twice


def test_what_the_page_states_is_the_pairs_provenance(saved: Path, tmp_path: Path) -> None:
    row = rows_of(ingest("product-pages", str(saved), str(tmp_path / "shop")))["mug"]
    assert row["origin"] == "https://shop.example/p/mug"
    labels = {label["name"]: label["value"] for label in row["labels"]}
    assert labels == {"brand": "Potter", "markup": "json-ld", "shop": "shop.example"}
    assert [one["lang"] for one in row["captions"]] == ["en-GB", "en-GB"]
    meta = json.loads(row["meta"])
    assert meta["product"]["brand"] == "Potter"
    assert meta["images"] == ["mug.jpg"]


def test_a_finished_folder_is_not_read_again_and_the_same_folder_gives_the_same_bytes(
    saved: Path, tmp_path: Path
) -> None:
    first = ingest("product-pages", str(saved), str(tmp_path / "a"), pairs_per_shard=4)
    stamp = {p: p.stat().st_mtime_ns for p in (tmp_path / "a").iterdir()}
    ingest("product-pages", str(saved), str(tmp_path / "a"), pairs_per_shard=4)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "a").iterdir()} == stamp
    second = ingest("product-pages", str(saved), str(tmp_path / "b"), pairs_per_shard=4)
    assert [s.digest for s in first.shards] == [s.digest for s in second.shards]
    assert len(first.shards) > 1
    assert open_dataset(str(tmp_path / "a")).rows == first.rows


def test_the_folder_being_read_is_never_written(saved: Path) -> None:
    with pytest.raises(DatasetError, match="name another DEST"):
        ingest("product-pages", str(saved), str(saved / "out"))
    with pytest.raises(DatasetError, match="name another DEST"):
        ingest("product-pages", str(saved), str(saved / "out"), fetch=True)


def test_one_page_or_a_folder_without_pages_is_one_clear_line(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="name the folder"):
        ingest("product-pages", str(saved / "mug.html"), str(tmp_path / "out"))
    (tmp_path / "none").mkdir()
    with pytest.raises(DatasetError, match=r"holds no page \(\.html"):
        ingest("product-pages", str(tmp_path / "none"), str(tmp_path / "out"))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"<b", page().encode()]), min_size=1, max_size=6))
def test_no_page_is_lost_whatever_it_holds(tmp_path_factory: pytest.TempPathFactory, pages: list[bytes]) -> None:
    root = tmp_path_factory.mktemp("fuzz")
    shop(root / "in", {f"{number}.html": data for number, data in enumerate(pages)})
    rows = rows_of(ingest("product-pages", str(root / "in"), str(root / "out")))
    assert {row["group"] for row in rows.values()} == {f"{number}.html" for number in range(len(pages))}
    assert all(row["error"] for row in rows.values())  # none of them has its picture


# ---- a list of URLs, from a real server on loopback


class Web(BaseHTTPRequestHandler):
    hits: Counter[str] = Counter()
    mended = False

    def do_GET(self) -> None:
        Web.hits[self.path] += 1
        host = f"http://{self.headers['Host']}"
        body: bytes | None = None
        kind = "text/html"
        if self.path == "/p/mug":
            body = page("Mug", "/img/0.jpg").encode()
        elif self.path == "/p/absolute":
            body = page("Absolute", f"{host}/img/1.jpg").encode()
        elif self.path == "/p/late":
            body = page("Late", "/img/late.jpg").encode()
        elif self.path == "/p/inside":
            body = page("Inside", "http://127.0.0.1:9/closed.jpg").encode()
        elif self.path == "/p/file":
            body = page("File", "file:///etc/passwd").encode()
        elif self.path == "/p/noai":
            body = page("No AI", "/img/0.jpg", head='<meta name="robots" content="noai">').encode()
        elif self.path.startswith("/img/") and (Web.mended or "late" not in self.path):
            body, kind = encoded(1 if "1" in self.path else 0, 48), "image/jpeg"
        self.send_response(200 if body is not None else 404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web():
    Web.hits, Web.mended = Counter(), False
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


PATHS = ["/p/mug", "/p/absolute", "/p/late", "/p/inside", "/p/file", "/p/noai", "/p/gone", "/img/0.jpg"]


def listed(root: Path, web: str) -> str:
    path = root / "pages.csv"
    path.write_text("url\n" + "".join(f"{web}{one}\n" for one in PATHS))
    return str(path)


@pytest.mark.slow
def test_a_list_is_downloaded_with_its_pictures_and_only_what_failed_is_asked_for_again(
    web: str, tmp_path: Path
) -> None:
    local = {"allow_private": True, "timeout": 2.0, "retries": 0}
    source = listed(tmp_path, web)
    dataset = ingest("product-pages", source, str(tmp_path / "shop"), **local)
    rows = list(rows_of(dataset).values())
    assert [row["origin"] for row in rows] == [web + one for one in PATHS]
    errors = [row["error"] for row in rows]
    assert errors[:3] == [None, None, "download_failed:HTTP 404"]
    assert errors[3].startswith("download_failed:")
    assert errors[4:7] == ["missing_file", "disallowed", "download_failed:HTTP 404"]
    assert errors[7] == "download_failed:not a page (image/jpeg)"
    assert [captions(row).get("title") for row in rows[:2]] == ["Mug", "Absolute"]
    before = Counter(Web.hits)
    Web.mended = True
    again = ingest("product-pages", source, str(tmp_path / "shop"), **local)
    assert rows_of(again)["000000002"]["error"] is None
    assert {path for path, count in Web.hits.items() if count > before[path]} == {
        "/img/late.jpg",
        "/p/gone",
        "/img/0.jpg",
    }


def test_private_addresses_are_refused_for_pages_and_for_their_pictures(web: str, tmp_path: Path) -> None:
    rows = list(rows_of(ingest("product-pages", listed(tmp_path, web), str(tmp_path / "shop"))).values())
    assert {row["error"] for row in rows} == {"download_failed:private address 127.0.0.1"}
    assert not Web.hits
    saved = shop(tmp_path / "saved", {"a.html": page("A", f"{web}/img/0.jpg")})
    fetched = ingest("product-pages", str(saved), str(tmp_path / "other"), fetch=True)
    assert rows_of(fetched)["a"]["error"] == "download_failed:private address 127.0.0.1"
    assert not Web.hits
    allowed = ingest("product-pages", str(saved), str(tmp_path / "other"), fetch=True, allow_private=True)
    assert rows_of(allowed)["a"]["error"] is None
