"""The explorer's web application: one page, its facts as JSON, its pictures. Everything is read, nothing written.

    with open_explorer(exploration) as explorer:
        serve(explorer, port=8321)

It answers only under the names of this machine, so no page of another site can read it; captions come
from strangers, so nothing may run but the page's own scripts. A filter that is wrong is an answer
(`{"problem": ...}`), not an error.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from components.errors import PairwrightError
from components.explore.explorer import Explorer
from components.explore.pictures import Picture
from components.explore.search import Wanted

PAGE = Path(__file__).parent / "page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SAFE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Content-Security-Policy": POLICY}
SCRIPT = "text/javascript"
FILES = {
    "address.js": SCRIPT,
    "app.js": SCRIPT,
    "grid.js": SCRIPT,
    "histograms.js": SCRIPT,
    "icon.svg": "image/svg+xml",
    "pair.js": SCRIPT,
    "style.css": "text/css",
}
HOSTS = ("127.0.0.1", "localhost")
FOR_EVER = "public, max-age=31536000, immutable"
NO_PICTURE = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="160" height="160" viewBox="0 0 160 160">'
    '<rect width="160" height="160" fill="#f4f2ec"/>'
    '<path d="M52 52l56 56m0-56l-56 56" stroke="#b9b5ab" stroke-width="4"/>'
    '<text x="80" y="140" text-anchor="middle" font-family="sans-serif" font-size="11" fill="#6b6860">{}</text></svg>'
)


def web_app(explorer: Explorer, hosts: Sequence[str] = HOSTS) -> Starlette:
    """The application of one explorer."""
    routes = [
        Route("/", lambda _: FileResponse(PAGE / "index.html", media_type="text/html", headers=SAFE)),
        Route("/favicon.ico", lambda _: FileResponse(PAGE / "icon.svg", media_type=FILES["icon.svg"], headers=SAFE)),
        Route("/page/{name}", _file),
        Route("/api/about", _answer(lambda request: explorer.about())),
        Route("/api/pairs", _answer(lambda request: _pairs(explorer, request))),
        Route("/api/histogram", _answer(lambda request: _histogram(explorer, request))),
        Route("/api/pair/{digest}/{row:int}", _answer(lambda request: _pair(explorer, request))),
        Route("/thumbnails/{digest}/{row:int}.jpg", _picture(explorer, explorer.pictures.thumbnail)),
        Route("/pictures/{digest}/{row:int}", _picture(explorer, explorer.pictures.original)),
    ]
    return Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))])


def bound_socket(port: int) -> socket.socket:
    """A socket on this machine's own address. Raises OSError if the port is taken."""
    # asyncio turns Nagle's delay (40 ms an answer) off only for sockets that say they are TCP.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen()  # only now is the port ours; who comes early waits
    except OSError:
        listening.close()
        raise
    return listening


def serve(explorer: Explorer, listening: socket.socket, on_start: Callable[[], None] = lambda: None) -> None:
    """Answer until interrupted; meanwhile the columns are laid down."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            threading.Thread(target=explorer.warm, name="columns", daemon=True).start()
            on_start()

    config = uvicorn.Config(web_app(explorer), log_level="warning", lifespan="off", timeout_graceful_shutdown=2)
    Server(config).run(sockets=[listening])


def _wanted(explorer: Explorer, request: Request) -> Wanted:
    """What the address asks for. Raises DatasetError for a selection that there is not."""
    asked = request.query_params
    first = asked.get("a", explorer.exploration.own or "")
    return Wanted(
        filter=asked.get("filter", ""),
        sort=asked.get("sort", ""),
        descending=asked.get("desc", "") == "1",
        show=asked.get("show", ""),
        first=explorer.verdicts.check(first),
        second=explorer.verdicts.check(asked.get("b")) if first else None,
    )


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else default


def _pairs(explorer: Explorer, request: Request) -> dict[str, Any]:
    return explorer.page(_wanted(explorer, request), _number(request, "from", 0), _number(request, "count", 60))


def _histogram(explorer: Explorer, request: Request) -> dict[str, Any]:
    return explorer.histograms.histogram(request.query_params.get("column", ""), _wanted(explorer, request))


def _pair(explorer: Explorer, request: Request) -> dict[str, Any]:
    found = explorer.pair(request.path_params["digest"], request.path_params["row"], _wanted(explorer, request))
    return found or {"problem": "there is no such pair in this run's dataset"}


def _answer(work: Callable[[Request], dict[str, Any]]) -> Callable[[Request], Response]:
    """A route in a thread of its own; a mistake in the question is an answer in one line."""

    def answer(request: Request) -> Response:
        try:
            found = work(request)
        except PairwrightError as error:
            found = {"problem": str(error)}
        return JSONResponse(found, headers=SAFE | {"Cache-Control": "no-store"})

    return answer


def _picture(explorer: Explorer, read: Callable[[int], Picture]) -> Callable[[Request], Response]:
    def show(request: Request) -> Response:
        number = explorer.tables.number(request.path_params["digest"], request.path_params["row"])
        picture = read(number) if number is not None else Picture(error="no such pair", lasting=False)
        headers = SAFE | {"Cache-Control": FOR_EVER if picture.lasting else "no-store"}
        if picture.error is None:
            return Response(picture.data, media_type=picture.type, headers=headers)
        headers["X-Pairwright-Error"] = picture.error.encode("ascii", "replace").decode().replace("\n", " ")
        said = escape(picture.error if len(picture.error) < 28 else picture.error[:27] + "…")
        return Response(NO_PICTURE.format(said), media_type="image/svg+xml", headers=headers)

    return show


async def _file(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in FILES:
        return JSONResponse({"problem": f"there is no /page/{name}"}, 404, headers=SAFE)
    return FileResponse(PAGE / name, media_type=FILES[name], headers=SAFE | {"Cache-Control": "no-cache"})
