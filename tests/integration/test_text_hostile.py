"""Text models against servers that mean harm, or mean nothing: sockets on loopback that speak as badly as they can."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from text_server import listening

from pairwright.components.errors import TextModelError
from pairwright.components.models.text_backends import Completion, OpenAITextModel, open_text_model
from pairwright.components.models.text_backends.wire import LARGEST, retry_after_s

SECRET = "sk-for-one-host-alone"
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
Speak = Callable[[socket.socket], None]


def whole(body: bytes, headers: bytes = b"") -> bytes:
    return OK + headers + b"content-length: %d\r\n\r\n" % len(body) + body


def completion(text: str = "fine", usage: str = "{}") -> bytes:
    said = json.dumps({"message": {"content": text}, "finish_reason": "stop"})
    return f'{{"choices": [{said}], "usage": {usage}}}'.encode()


@contextmanager
def speaking(speak: Speak) -> Iterator[str]:
    """The address of a server that reads each request and then says what `speak` does."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            seen = b""
            while b"\r\n\r\n" not in seen or not seen.endswith(b"}"):
                more = self.request.recv(65536)
                if not more:
                    return
                seen += more
            with suppress(OSError):  # the client hung up, as it should
                speak(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()


def asked(url: str, tmp_path: Path, **values: Any) -> tuple[Completion, Any]:
    """What one prompt comes to, and what was spent."""
    settings = {"uses": "openai", "url": url, "model": "m", "cache": str(tmp_path / "a.sqlite"), "retries": 0}
    model = open_text_model(OpenAITextModel.parse({**settings, "timeout_s": 5.0, **values}, "text_model"))
    try:
        return model.complete(["p"])[0], model.answers.spent  # type: ignore[attr-defined]
    finally:
        model.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_and_the_key_reaches_no_other_host(status: int, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    seen: list[Any] = []

    class Thief(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(dict(self.headers))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(completion())

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *args: object) -> None:
            pass

    with listening(Thief) as elsewhere:
        target = elsewhere.replace("127.0.0.1", "localhost").encode()
        head = b"HTTP/1.1 %d Moved\r\nlocation: %s/chat/completions\r\ncontent-length: 0\r\n\r\n" % (status, target)
        with speaking(lambda s: s.sendall(head)) as url, pytest.raises(TextModelError) as refused:
            asked(url, tmp_path, api_key_env="MY_KEY")
    assert seen == []
    assert f"answered {status}" in str(refused.value)
    assert "a redirect is not followed" in str(refused.value)
    assert SECRET not in str(refused.value)


def drip(first: bytes, drop: bytes) -> Speak:
    def speak(client: socket.socket) -> None:
        client.sendall(first)
        for _ in range(200):
            client.sendall(drop)
            time.sleep(0.05)

    return speak


@pytest.mark.parametrize(
    ("first", "drop"),
    [
        (b"", b"H"),  # of the status line
        (OK + b"x-slow: ", b"a"),  # of a header that never ends
        (OK + b"content-length: 1000000\r\n\r\n", b" "),  # of the body
        (OK + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n"),  # chunk by chunk
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),  # promises without end
    ],
    ids=["status", "header", "body", "chunks", "continue"],
)
def test_a_byte_at_a_time_is_left_when_the_whole_has_taken_too_long(first: bytes, drop: bytes, tmp_path: Path) -> None:
    started = time.monotonic()
    with speaking(drip(first, drop)) as url:
        found, _ = asked(url, tmp_path, timeout_s=0.5)
    assert time.monotonic() - started < 4
    assert found.status == "error"
    assert found.problem in ("timeout", "unreachable:RemoteProtocolError")
    if first.startswith(OK):
        assert found.problem == "timeout"


def test_a_stream_without_an_end_is_cut_off(tmp_path: Path) -> None:
    sent = 0

    def pour(client: socket.socket) -> None:
        nonlocal sent
        client.sendall(OK + b"transfer-encoding: chunked\r\n\r\n")
        piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        while sent < 1 << 30:
            client.sendall(piece)
            sent += len(piece)

    with speaking(pour) as url:
        found, _ = asked(url, tmp_path)
    assert found == Completion(None, "garbled:too_large")
    assert sent < 32 * LARGEST  # what was read, and what sockets hold


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (OK + b"content-length: 9999\r\n\r\n" + completion(), "unreachable:RemoteProtocolError"),  # then hangs up
        (OK + b"content-length: 9\r\n\r\n" + completion(), "garbled"),
        (OK + b"content-length: -1\r\n\r\n" + completion(), "unreachable:RemoteProtocolError"),
        (OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\n{}", "unreachable:RemoteProtocolError"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "unreachable:RemoteProtocolError"),
        (OK + b"x-large: " + b"a" * (1 << 20) + b"\r\n\r\n", "unreachable:RemoteProtocolError"),
        (b"", "unreachable:RemoteProtocolError"),
        (whole(b"[" * 200_000), "garbled"),
        (whole(b'{"choices":' * 50_000), "garbled"),
        (whole(b'{"choices": [{"message": {"content": ["a"]}}]}'), "garbled"),
        (whole(b'{"choices": {"0": 1}}'), "garbled"),
        (whole(b"null"), "garbled"),
        (whole(b"\xff\xfe\x00"), "garbled"),
        (whole(b"9" * 100_000), "garbled"),
        (whole(completion("x" * (LARGEST + 32 * 96))), "garbled:too_large"),
        (whole(b"\x1f\x8b" + b"\x00" * 64, b"content-encoding: gzip\r\n"), "garbled:encoded"),
    ],
    ids=lambda one: one if isinstance(one, str) else None,
)
def test_what_is_no_answer_is_a_row_with_a_reason(reply: bytes, problem: str, tmp_path: Path) -> None:
    with speaking(lambda s: s.sendall(reply)) as url:
        found, spent = asked(url, tmp_path)
    assert found == Completion(None, problem)
    assert found.status == "error"
    assert spent.requests == 1  # the server may count it as answered


@pytest.mark.parametrize(
    "usage",
    [
        '{"total_tokens": -5, "prompt_tokens": -1, "completion_tokens": -1}',
        '{"total_tokens": 1e400}',
        '{"total_tokens": NaN, "completion_tokens": Infinity}',
        '{"total_tokens": 1000000000000000000000}',
        '{"total_tokens": true}',
        '{"total_tokens": "7"}',
        "[1]",
        "7",
        "null",
    ],
)
def test_a_count_of_tokens_that_is_none_neither_fails_the_answer_nor_moves_the_budget(usage: str, tmp_path) -> None:
    with speaking(lambda s: s.sendall(whole(completion("fine", usage)))) as url:
        found, spent = asked(url, tmp_path)
    assert found == Completion("fine")
    assert (spent.prompt, spent.completion) == (1, 2)  # four characters a token


def test_text_that_cannot_be_stored_is_mended(tmp_path: Path) -> None:
    body = b'{"choices": [{"message": {"content": "a \\ud800 cat\\u0000 \\u001b[31m"}}]}'
    with speaking(lambda s: s.sendall(whole(body))) as url:
        found, _ = asked(url, tmp_path)
        assert found.text == "a ? cat   [31m"
        again, _ = asked(url, tmp_path)
    assert again == Completion("a ? cat   [31m", cached=True)


@pytest.mark.parametrize("header", ["nan", "inf", "-1", "1e999", "Tue, 99 Foo 99999", "x" * 1000, ""])
def test_a_wait_that_makes_no_sense_holds_nobody(header: str, tmp_path: Path) -> None:
    replies = iter([b"HTTP/1.1 503 Busy\r\nretry-after: %s\r\ncontent-length: 0\r\n\r\n" % header.encode()])
    started = time.monotonic()
    with speaking(lambda s: s.sendall(next(replies, whole(completion())))) as url:
        found, _ = asked(url, tmp_path, retries=3, first_wait_s=0.01, longest_wait_s=0.2)
    assert found.text == "fine"
    assert time.monotonic() - started < 4
    assert retry_after_s("nan") is None
