"""Tars on a web server are indexed where they are and read by range, or whole where it knows no ranges."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from shapes import encoded
from tars import make_tar, pair

from pairwright.components.dataset.ingest import detect, ingest

pytest.importorskip("aiohttp")


class Plain(SimpleHTTPRequestHandler):
    """Python's own: no ranges."""

    def log_message(self, *_: object) -> None:
        pass


class Ranged(Plain):
    """Answers `Range: bytes=a-b` with 206."""

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        if not wanted.startswith("bytes="):
            return super().do_GET()
        body = open(self.translate_path(self.path), "rb").read()  # noqa: SIM115
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        part = body[int(first) : int(last or len(body) - 1) + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)
        return None

    def end_headers(self) -> None:
        self.send_header("Accept-Ranges", "bytes")
        super().end_headers()


@pytest.mark.parametrize("handler", [Plain, Ranged])
def test_tars_on_a_web_server_are_indexed_and_read(tmp_path, handler):
    for number in range(2):
        make_tar(tmp_path / f"web/{number:05d}.tar", [*pair("a", 2 * number), *pair("b", 2 * number + 1)])
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path / "web")))
    server.handle_error = lambda *_: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        source = f"http://127.0.0.1:{server.server_port}/{{00000..00001}}.tar"
        assert detect(source) == "webdataset"
        dataset = ingest("webdataset", source, str(tmp_path / "index"))
        found = []
        for shard, table in dataset.iter_sidecars():
            for row in table.to_pylist():
                found.append(shard.read_member(row["media"][0]))
    finally:
        server.shutdown()
        server.server_close()
    assert found == [encoded(number, 48) for number in range(4)]
