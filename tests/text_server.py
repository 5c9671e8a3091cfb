"""A real HTTP server on loopback that answers as a test says, for tests of text models."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Reply = tuple[int, dict[str, str], bytes]


def answer(text: str | None, tokens: int = 10, ended: str | None = "stop", **message: object) -> Reply:
    said = {"role": "assistant", "content": text} | message
    body = {"choices": [{"message": said, "finish_reason": ended}], "usage": {"total_tokens": tokens}}
    return 200, {}, json.dumps(body).encode()


@dataclass
class Server:
    """Answers each request by `reply(number, prompt)` and remembers what it was asked."""

    url: str = ""
    reply: Callable[[int, str], Reply] = lambda number, prompt: answer(f"a caption of {prompt}")
    requests: list[dict] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    most_at_once: int = 0
    now: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def prompts(self) -> list[str]:
        return [request["messages"][-1]["content"] for request in self.requests]


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address, with its /v1, of a server with this handler."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}/v1"
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


@contextmanager
def chatting() -> Iterator[Server]:
    """A server of /chat/completions."""
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with state.lock:
                state.requests.append(body)
                state.keys.append(self.headers.get("authorization"))
                state.at.append(time.monotonic())
                number = len(state.requests)
                state.now += 1
                state.most_at_once = max(state.most_at_once, state.now)
            known = self.path == "/v1/chat/completions"
            status, headers, content = state.reply(number, body["messages"][-1]["content"]) if known else (404, {}, b"")
            with state.lock:
                state.now -= 1
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client gave up waiting, as it should

        def log_message(self, *args: object) -> None:
            pass

    with listening(Handler) as url:
        state.url = url
        yield state
