"""What a browser asks for: the page at `/`, thumbnails, the complete OpenAPI document, and lineage by GET.

Everything is served from this machine: the page's content policy forbids any other host, and
BentoML's own page, which loads a tag manager, is not shown.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bentoml.exceptions import BentoMLException
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from components.errors import DatasetError
from serving.limits import MAX_BODY_BYTES, MIB, Refusal

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOO_BIG = f"the request is larger than {MAX_BODY_BYTES // MIB} MiB; send fewer or smaller pictures"
PAGE = Path(__file__).parent / "page"
POLICY = "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'"
DOCS_POLICY = POLICY + "; style-src 'self' 'unsafe-inline'"  # Swagger UI styles itself
SCRIPT = "text/javascript"
FILES = {"app.js": SCRIPT, "docs.js": SCRIPT, "style.css": "text/css", "icon.svg": "image/svg+xml"}


def _page(name: str, policy: str = POLICY) -> Any:
    async def show(request: Request) -> Response:
        return FileResponse(PAGE / name, media_type="text/html", headers={"Content-Security-Policy": policy})

    return show


async def _file(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in FILES:
        return JSONResponse({"error": f"there is no /page/{name}"}, 404)
    return FileResponse(PAGE / name, media_type=FILES[name], headers={"Cache-Control": "no-cache"})


def _thumbnail(request: Request) -> Response:
    index = request.app.state.service.index
    number = request.path_params["number"]
    if index is None or number >= len(index):
        return JSONResponse({"error": f"the index has no picture {number}"}, 404)
    try:
        jpeg = index.thumbnail(number)
    except DatasetError:  # made from the shard, which is gone or changed; its place is nobody's business here
        return JSONResponse({"error": f"picture {number} is no longer what was indexed"}, 404)
    if jpeg is None:
        return JSONResponse({"error": f"picture {number} could not be decoded"}, 404)
    # The page asks with the index's digest, so a new index has new addresses.
    age = "max-age=31536000, immutable" if "v" in request.query_params else "no-cache"
    return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": f"public, {age}"})


async def _lineage(request: Request) -> Response:
    return JSONResponse(request.app.state.service.what_is_served())


async def _openapi(request: Request) -> Response:
    from serving.openapi import openapi

    return JSONResponse(openapi(request.app.state.service.bento_tag))


def web_app() -> Starlette:
    """The mounted application; the service puts itself in `app.state.service`."""
    return Starlette(
        routes=[
            Route("/", _page("index.html")),
            Route("/docs", _page("docs.html", DOCS_POLICY)),
            Route("/page/{name}", _file),
            Route("/favicon.ico", lambda _: FileResponse(PAGE / "icon.svg", media_type="image/svg+xml")),
            Route("/thumbnails/{number:int}.jpg", _thumbnail),
            Route("/lineage", _lineage, methods=["GET"]),
            Route("/openapi.json", _openapi),
            Route("/docs.json", _openapi),
        ]
    )


class OneErrorShape:
    """Every error is `{"error": "one line"}`; a body over MAX_BODY_BYTES is refused while it arrives."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > MAX_BODY_BYTES:
            await self._too_big(scope, receive, send)
            return
        await _Exchange(self, scope, receive, send).run()

    @staticmethod
    async def _too_big(scope: Scope, receive: Receive, send: Send) -> None:
        response = JSONResponse({"error": TOO_BIG}, 413, headers={"Connection": "close"})
        await response(scope, receive, send)


class _Exchange:
    """One request: counts what comes in, holds back what goes out if it is an error in JSON."""

    def __init__(self, shape: OneErrorShape, scope: Scope, receive: Receive, send: Send) -> None:
        self.shape, self.scope, self.receive, self.send = shape, scope, receive, send
        self.arrived = 0
        self.held: Message | None = None
        self.body = b""

    async def run(self) -> None:
        await self.shape.app(self.scope, self._receive, self._send)

    async def _receive(self) -> Message:
        message = await self.receive()
        self.arrived += len(message.get("body", b""))
        if self.arrived > MAX_BODY_BYTES:
            raise Refusal(413, TOO_BIG)
        return message

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_json_error(message):
            self.held = message
            return
        if self.held is None:
            await self.send(message)
            return
        self.body += message.get("body", b"")
        if not message.get("more_body", False):
            await self._send_error(self.held)

    async def _send_error(self, start: Message) -> None:
        try:
            content = json.loads(self.body)
            if isinstance(content, list) and content:  # BentoML wraps its own in a list
                content = content[0]
            body = json.dumps(content).encode()
        except ValueError:
            body = self.body
        headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
        headers.append((b"content-length", str(len(body)).encode()))
        await self.send({**start, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def _is_json_error(start: Message) -> bool:
    kind = dict(start.get("headers", ())).get(b"content-type", b"")
    return start["status"] >= 400 and kind.startswith(b"application/json")


class QuietRefusals(logging.Filter):
    """A caller's mistake is an answer, not a traceback in the server's log."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        mistake = isinstance(error, BentoMLException) and error.error_code.value < 500
        return not (mistake or isinstance(error, ClientDisconnect))
