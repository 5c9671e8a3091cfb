"""What a browser asks for: the pages at `/` and `/caption`, thumbnails, the whole OpenAPI document, lineage by GET.

Everything is served from this machine: the page's content policy forbids any other host, and
BentoML's own page, which loads a tag manager, is not shown.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from bentoml.exceptions import BentoMLException
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from pairwright.components.errors import DatasetError
from pairwright.components.look import LOOK
from pairwright.serving.openapi import openapi
from pairwright.serving.page_files import FILES, PAGE

if TYPE_CHECKING:
    from starlette.requests import Request

POLICY = "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'"
DOCS_POLICY = POLICY + "; style-src 'self' 'unsafe-inline'"  # Swagger UI styles itself


def _page(name: str, policy: str = POLICY) -> Any:
    async def show(request: Request) -> Response:
        return FileResponse(PAGE / name, media_type="text/html", headers={"Content-Security-Policy": policy})

    return show


async def _file(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in FILES:
        return JSONResponse({"error": f"there is no /page/{name}"}, 404)
    return FileResponse(LOOK.get(name, PAGE / name), media_type=FILES[name], headers={"Cache-Control": "no-cache"})


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


def _openapi(request: Request) -> Response:
    service = request.app.state.service
    return JSONResponse(openapi(service.bento_tag, service.controls))


def web_app() -> Starlette:
    """The mounted application; the service puts itself in `app.state.service`."""
    return Starlette(
        routes=[
            Route("/", _page("index.html")),
            Route("/caption", _page("caption.html"), methods=["GET"]),
            Route("/docs", _page("docs.html", DOCS_POLICY)),
            Route("/page/{name}", _file),
            Route("/favicon.ico", lambda _: FileResponse(LOOK["icon.svg"], media_type="image/svg+xml")),
            Route("/thumbnails/{number:int}.jpg", _thumbnail),
            Route("/lineage", _lineage, methods=["GET"]),
            Route("/openapi.json", _openapi),
            Route("/docs.json", _openapi),
        ]
    )


class QuietRefusals(logging.Filter):
    """A caller's mistake is an answer, not a traceback in the server's log."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        mistake = isinstance(error, BentoMLException) and error.error_code.value < 500
        return not (mistake or isinstance(error, ClientDisconnect))
