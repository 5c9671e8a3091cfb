"""A server as strangers run them, for what downloads."""

from __future__ import annotations

import time
from collections import Counter
from http.server import BaseHTTPRequestHandler

from shapes import encoded

LOCAL = {"allow_private": True, "timeout": 1.0, "max_bytes": 200_000}


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
