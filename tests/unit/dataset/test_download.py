"""The downloader, against a real HTTP server on loopback."""

from __future__ import annotations

import csv
import ipaddress
import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shapes import encoded

from components.dataset import addresses
from components.dataset.addresses import PrivateAddress, is_public
from components.dataset.download import FetchOptions, fetch_all, is_disallowed
from components.dataset.ingest import detect, ingest
from components.errors import DatasetError


class Web(BaseHTTPRequestHandler):
    """What strangers' servers do. `hits` counts requests a path; `mended` makes /later answer."""

    hits: Counter[str] = Counter()
    hosts: list[str] = []
    mended = False

    def do_GET(self) -> None:
        path, _, number = self.path.partition("?")
        Web.hits[self.path] += 1
        Web.hosts.append(self.headers["Host"])
        picture = encoded(int(number or 0), 32)
        if path == "/ok":
            self.answer(200, picture)
        elif path == "/flaky":
            self.answer(500 if Web.hits[self.path] == 1 else 200, picture)
        elif path == "/later":
            self.answer(200 if Web.mended else 503, picture)
        elif path == "/slow":
            time.sleep(3)
            self.answer(200, picture)
        elif path == "/drip":
            self.send_response(200)
            self.end_headers()
            for byte in picture[:20]:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(0.2)
        elif path == "/redirect":
            self.answer(302, b"", Location="/ok?5")
        elif path == "/loop":
            self.answer(302, b"", Location="/loop")
        elif path == "/inside":
            self.answer(302, b"", Location="http://169.254.169.254/latest/meta-data/")
        elif path == "/file":
            self.answer(302, b"", Location="file:///etc/passwd")
        elif path == "/html":
            self.answer(200, b"<html>no</html>", **{"Content-Type": "text/html; charset=utf-8"})
        elif path == "/liar":
            self.answer(200, b"<!DOCTYPE html><html>no</html>", **{"Content-Type": "image/jpeg"})
        elif path == "/big":
            self.answer(200, picture + bytes(300_000))
        elif path == "/endless":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(picture)
            for _ in range(100):
                self.wfile.write(bytes(65536))
        elif path == "/noai":
            self.answer(200, picture, **{"X-Robots-Tag": "noimageai"})
        elif path == "/empty":
            self.answer(200, b"")
        else:
            self.answer(404, b"no such thing")

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web():
    Web.hits, Web.hosts, Web.mended = Counter(), [], False
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    server.handle_error = lambda *_: None  # a client that hangs up on purpose is no error
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


LOCAL = {"allow_private": True, "timeout": 1.0, "max_bytes": 200_000}


def _fetch(urls: list[str], folder: Path, **options: object):
    return fetch_all(urls, FetchOptions(**{**LOCAL, **options}), folder, lambda done: None)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/ok?3", None),
        ("/flaky", None),
        ("/redirect", None),
        ("/nowhere", "HTTP 404"),
        ("/slow", "timed out after 1 s"),
        ("/drip", "timed out after 1 s"),
        ("/loop", "more than 5 redirects"),
        ("/file", "not an http(s) URL"),
        ("/html", "HTML instead of a picture"),
        ("/liar", "HTML instead of a picture"),
        ("/big", "too big"),
        ("/endless", "too big (over 200000 bytes)"),
        ("/noai", "disallowed by X-Robots-Tag"),
        ("/empty", "empty answer"),
    ],
)
def test_each_url_gets_its_status_and_reason(web, tmp_path, path, reason):
    (outcome,) = _fetch([web + path], tmp_path, retries=1 if path == "/flaky" else 0)
    if reason is None:
        assert (outcome.status, outcome.reason, outcome.suffix) == ("success", None, "jpg")
        assert outcome.path.read_bytes() == encoded({"/ok?3": 3, "/redirect": 5}.get(path, 0), 32)
    else:
        assert outcome.status == "failed_to_download"
        assert outcome.reason.startswith(reason)


def test_what_is_no_url_is_a_reason_not_an_exception(tmp_path):
    urls = [
        "",
        "not a url",
        "ftp://example.org/x",
        "http://",
        "http://[::1",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://a b/",
    ]
    assert {outcome.status for outcome in _fetch(urls, tmp_path)} == {"failed_to_download"}


def test_noai_is_honoured_unless_told_otherwise(web, tmp_path):
    assert _fetch([web + "/noai"], tmp_path, honour_noai=False)[0].status == "success"


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        (["noai"], True),
        (["all", "NoImageAI, nofollow"], True),
        (["pairwright: noindex"], True),
        (["otherbot: noai"], False),
        (["all"], False),
        ([], False),
    ],
)
def test_robots_tags_are_read_as_img2dataset_reads_them(headers, refused):
    assert is_disallowed(headers) is refused


# ---- private addresses


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "2130706433",
        "0x7f.1",
        "10.0.0.1",
        "169.254.169.254",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "[fe80::1]",
    ],
)
def test_private_addresses_are_refused_however_they_are_written(web, tmp_path, host):
    port = web.rpartition(":")[2]
    (outcome,) = _fetch([f"http://{host}:{port}/ok"], tmp_path, allow_private=False, retries=0)
    assert outcome.status == "failed_to_download"
    assert "private address" in outcome.reason
    assert not Web.hits


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:4700::1111", True),
        ("100.64.0.1", False),
        ("192.168.1.1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("fc00::1", False),
        ("fec0::1", False),
        ("::ffff:10.0.0.1", False),
        ("2002:7f00:1::", False),  # 6to4 around 127.0.0.1
        ("64:ff9b::a9fe:a9fe", False),  # NAT64 around 169.254.169.254
        ("64:ff9b::5db8:d822", True),
    ],
)
def test_addresses_are_public_or_not_through_every_wrapping(address, public):
    assert is_public(ipaddress.ip_address(address)) is public


def test_a_redirect_into_the_private_network_is_refused(web, tmp_path, monkeypatch):
    # The first hop stands in for a public server: only its address is let through, the check stays.
    real = addresses.is_public
    monkeypatch.setattr(addresses, "is_public", lambda one: str(one) == "127.0.0.1" or real(one))
    (outcome,) = _fetch([web + "/inside"], tmp_path, allow_private=False)
    assert outcome.reason == "private address 169.254.169.254"
    assert Web.hits == {"/inside": 1}


def test_a_name_that_changes_its_address_cannot_lead_inside(web, tmp_path, monkeypatch):
    """DNS rebinding: the name is resolved once a hop, and the connection goes where the check looked."""
    import asyncio

    port = web.rpartition(":")[2]
    answers = iter(["127.0.0.1", "10.0.0.1"])
    asked = []

    async def rebinding(loop, host, *rest, **more):
        asked.append(host)
        return [(2, 1, 6, "", (next(answers), int(port)))]

    real = addresses.is_public
    monkeypatch.setattr(addresses, "is_public", lambda one: str(one) == "127.0.0.1" or real(one))
    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", rebinding)
    (outcome,) = _fetch([f"http://rebind.example:{port}/ok?2"], tmp_path, allow_private=False, retries=0)
    assert (outcome.status, asked) == ("success", ["rebind.example"])
    assert Web.hosts == [f"rebind.example:{port}"]  # the server still hears the name
    (outcome,) = _fetch([f"http://rebind.example:{port}/ok?2"], tmp_path, allow_private=False, retries=0)
    assert outcome.reason == "private address 10.0.0.1"


def test_one_private_address_among_public_ones_refuses_the_host(monkeypatch):
    import asyncio

    async def ask():
        loop = asyncio.get_running_loop()

        async def both(*_: object, **__: object):
            return [(2, 1, 6, "", (one, 80)) for one in ("93.184.216.34", "127.0.0.1")]

        monkeypatch.setattr(loop, "getaddrinfo", both)
        await addresses.resolve("two.example", 80, allow_private=False)

    with pytest.raises(PrivateAddress):
        asyncio.run(ask())


def test_a_host_is_asked_politely(tmp_path):
    busy, most = [0], [0]

    class Counting(Web):
        def do_GET(self) -> None:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
            time.sleep(0.05)
            busy[0] -= 1
            self.answer(200, encoded(0, 32))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Counting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        outcomes = _fetch(
            [f"http://127.0.0.1:{server.server_port}/{n}" for n in range(16)], tmp_path, per_host=2, timeout=10
        )
    finally:
        server.shutdown()
        server.server_close()
    assert {outcome.status for outcome in outcomes} == {"success"}
    assert most[0] <= 2


# ---- the list


def _list(path: Path, web: str, paths: list[str]) -> Path:
    rows = [{"URL": web + part, "TEXT": f"text {number}"} for number, part in enumerate(paths)]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="") as stream:
            out = csv.DictWriter(stream, ["URL", "TEXT"])
            out.writeheader()
            out.writerows(rows)
    return path


def _rows(dataset):
    return [row for _, table in dataset.iter_sidecars() for row in table.to_pylist()]


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_list_becomes_a_dataset_in_img2datasets_layout(web, tmp_path, suffix):
    source = _list(tmp_path / f"list{suffix}", web, ["/ok?0", "/nowhere", "/ok?1", "/html", "/ok?2"])
    assert detect(str(source)) == "urls"
    dataset = ingest("urls", str(source), str(tmp_path / "out"), pairs_per_shard=3, **LOCAL)
    rows = _rows(dataset)
    assert [row["error"] for row in rows] == [
        None,
        "download_failed:HTTP 404",
        None,
        "download_failed:HTML instead of a picture",
        None,
    ]
    assert [row["captions"][0]["text"] for row in rows] == [f"text {n}" for n in range(5)]
    assert rows[1]["origin"] == web + "/nowhere"
    statuses = pq.read_table(tmp_path / "out/images/00000.parquet").to_pylist()
    assert [(one["status"], one["width"]) for one in statuses] == [
        ("success", 32),
        ("failed_to_download", None),
        ("success", 32),
    ]
    stats = json.loads((tmp_path / "out/images/00000_stats.json").read_text())
    assert (stats["count"], stats["successes"], stats["failed_to_download"]) == (3, 2, 1)
    assert detect(str(tmp_path / "out/images")) == "img2dataset"


def test_a_list_keeps_numbers_nulls_line_breaks_and_broken_text_as_captions(web, tmp_path):
    source = tmp_path / "list.csv"
    texts = [b"007", b"null", b'"two\nlines, and ""quotes"""', b"caf\xe9", b""]
    lines = [f"{web}/ok?{n},".encode() + text for n, text in enumerate(texts)]
    source.write_bytes(b"\xef\xbb\xbfurl,text\n" + b"\n".join(lines) + b"\n")
    rows = _rows(ingest("urls", str(source), str(tmp_path / "out"), **LOCAL))
    found = [[one["text"] for one in row["captions"]] for row in rows]
    assert found == [["007"], ["null"], ['two\nlines, and "quotes"'], ["caf\ufffd"], []]
    assert rows[3]["labels"] == [{"name": "caption_encoding", "value": "replaced"}]
    assert [row["error"] for row in rows] == [None] * 5


def test_a_list_that_is_no_list_is_one_clear_error(tmp_path):
    (tmp_path / "c.parquet").write_bytes(b"no parquet")
    with pytest.raises(DatasetError, match=r"c\.parquet cannot be read \(.*\); mend or remove it"):
        ingest("urls", str(tmp_path / "c.parquet"), str(tmp_path / "out"))
    (tmp_path / "b.csv").write_text("picture,text\nx,y\n")
    with pytest.raises(DatasetError, match="name it with `url_column`; it has picture, text"):
        ingest("urls", str(tmp_path / "b.csv"), str(tmp_path / "out"))


def test_a_second_run_tries_only_what_failed(web, tmp_path):
    source = _list(tmp_path / "list.csv", web, ["/ok?0", "/later", "/nowhere", "/ok?1"])
    first = ingest("urls", str(source), str(tmp_path / "out"), retries=0, **LOCAL)
    assert [row["error"] for row in _rows(first)] == [
        None,
        "download_failed:HTTP 503",
        "download_failed:HTTP 404",
        None,
    ]
    Web.hits.clear()
    Web.mended = True
    second = ingest("urls", str(source), str(tmp_path / "out"), retries=0, **LOCAL)
    assert [row["error"] for row in _rows(second)] == [None, None, "download_failed:HTTP 404", None]
    assert Web.hits == {"/later": 1, "/nowhere": 1}
    Web.hits.clear()
    third = ingest("urls", str(source), str(tmp_path / "out"), retries=0, retry_failed=False, **LOCAL)
    assert third.digest == second.digest
    assert not Web.hits


def test_a_killed_download_goes_on_at_the_shard_it_was_at(web, tmp_path):
    source = _list(tmp_path / "list.csv", web, [f"/ok?{n}" for n in range(6)])

    def stop(done: int, total: int | None, what: str) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest("urls", str(source), str(tmp_path / "out"), pairs_per_shard=2, progress=stop, concurrency=1, **LOCAL)
    Web.hits.clear()
    dataset = ingest("urls", str(source), str(tmp_path / "out"), pairs_per_shard=2, **LOCAL)
    assert [row["error"] for row in _rows(dataset)] == [None] * 6
    assert Web.hits == {"/ok?4": 1, "/ok?5": 1}


def test_a_tar_cut_short_is_fetched_again(web, tmp_path):
    source = _list(tmp_path / "list.csv", web, ["/ok?0", "/ok?1"])
    first = ingest("urls", str(source), str(tmp_path / "out"), **LOCAL)
    tar = Path(first.shards[0].tar)
    whole = tar.read_bytes()
    tar.write_bytes(whole[:700])
    again = ingest("urls", str(source), str(tmp_path / "out"), **LOCAL)
    assert tar.read_bytes() == whole
    assert again.digest == first.digest


def test_a_server_that_is_down_is_a_reason(tmp_path):
    (outcome,) = _fetch(["http://127.0.0.1:9/x"], tmp_path, retries=0)
    assert outcome.reason.startswith("ConnectError")


def test_it_runs_inside_a_notebooks_event_loop(web, tmp_path):
    import asyncio

    async def cell():
        return _fetch([web + "/ok"], tmp_path)

    assert asyncio.run(cell())[0].status == "success"
