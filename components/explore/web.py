"""The explorer's web application: one page, its facts as JSON, its pictures. The data is read; selections are saved.

    with listening_socket("127.0.0.1", 8321) as listening, open_explorer(exploration) as explorer:
        serve(explorer, listening)

The guard (components/guard.py) keeps other sites and, without a key, other machines away; captions come
from strangers, so nothing may run but the page's own scripts. A filter that is wrong is an answer
(`{"problem": ...}`), not an error.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from pairwright.components.errors import PairwrightError
from pairwright.components.explore.explorer import Explorer
from pairwright.components.explore.pictures import Picture
from pairwright.components.explore.search import Wanted
from pairwright.components.guard import Guard, names_of
from pairwright.components.look import LOOK
from pairwright.components.web_server import error_handlers, json_body, serve_until_ended, whole_number

if TYPE_CHECKING:
    import socket

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
    "look.css": "text/css",
    "pair.js": SCRIPT,
    "saved.js": SCRIPT,
    "style.css": "text/css",
}
ASKED = ("filter", "sort", "desc", "show", "a", "b")  # of an address, what a saved selection was found by
FOR_EVER = "public, max-age=31536000, immutable"
NO_PICTURE = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="160" height="160" viewBox="0 0 160 160">'
    '<rect width="160" height="160" fill="#f4f2ec"/>'
    '<path d="M52 52l56 56m0-56l-56 56" stroke="#b9b5ab" stroke-width="4"/>'
    '<text x="80" y="140" text-anchor="middle" font-family="sans-serif" font-size="11" fill="#6b6860">{}</text></svg>'
)


def web_app(explorer: Explorer, names: Collection[str] = ("localhost",), key: str | None = None) -> Starlette:
    """The application of one explorer, behind the guard."""
    routes = [
        Route("/", lambda _: FileResponse(PAGE / "index.html", media_type="text/html", headers=SAFE)),
        Route("/favicon.ico", lambda _: FileResponse(LOOK["icon.svg"], media_type=FILES["icon.svg"], headers=SAFE)),
        Route("/page/{name}", _file),
        Route("/api/about", _answer(lambda request: explorer.about())),
        Route("/api/pairs", _answer(lambda request: _pairs(explorer, request))),
        Route("/api/histogram", _answer(lambda request: _histogram(explorer, request))),
        Route("/api/pair/{digest}/{row}", _answer(lambda request: _pair(explorer, request))),
        Route("/api/selections", _changed(lambda request, said: _save(explorer, request, said)), methods=["POST"]),
        Route("/api/selections/delete", _changed(lambda _, said: explorer.delete(said.get("name"))), methods=["POST"]),
        Route("/thumbnails/{digest}/{row}.jpg", _picture(explorer, explorer.pictures.thumbnail)),
        Route("/pictures/{digest}/{row}", _picture(explorer, explorer.pictures.original)),
    ]
    guard = Middleware(Guard, names=names, key=key)
    return Starlette(routes=routes, middleware=[guard], exception_handlers=error_handlers())


def serve(
    explorer: Explorer,
    listening: socket.socket,
    on_start: Callable[[], None] = lambda: None,
    *,
    host: str = "127.0.0.1",
    key: str | None = None,
) -> None:
    """Answer until Ctrl-C or SIGTERM; meanwhile the columns are laid down."""

    def started() -> None:
        threading.Thread(target=explorer.warm, name="columns", daemon=True).start()
        on_start()

    app = web_app(explorer, names_of(host), key)
    serve_until_ended(app, listening, started=started, stopping=explorer.stop)


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
    found = whole_number(request.query_params.get(name, ""))
    return default if found is None else found


def _pairs(explorer: Explorer, request: Request) -> dict[str, Any]:
    return explorer.page(_wanted(explorer, request), _number(request, "from", 0), _number(request, "count", 60))


def _histogram(explorer: Explorer, request: Request) -> dict[str, Any]:
    return explorer.histograms.histogram(request.query_params.get("column", ""), _wanted(explorer, request))


def _pair(explorer: Explorer, request: Request) -> dict[str, Any]:
    row = whole_number(request.path_params["row"])
    wanted = _wanted(explorer, request)
    found = None if row is None else explorer.pair(request.path_params["digest"], row, wanted)
    return found or {"problem": "there is no such pair in this run's dataset"}


def _save(explorer: Explorer, request: Request, said: dict[str, Any]) -> dict[str, Any]:
    asked = {name: request.query_params[name] for name in ASKED if name in request.query_params}
    return explorer.save(said.get("name"), said.get("tags", []), _wanted(explorer, request), asked)


def _changed(work: Callable[[Request, dict[str, Any]], dict[str, Any]]) -> Callable[[Request], Awaitable[Response]]:
    """A route that takes a JSON object and changes what is saved."""

    async def answer(request: Request) -> Response:
        try:
            found = await run_in_threadpool(work, request, await json_body(request))
        except PairwrightError as error:
            found = {"problem": str(error)}
        return JSONResponse(found, headers=SAFE | {"Cache-Control": "no-store"})

    return answer


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
        row = whole_number(request.path_params["row"])
        number = None if row is None else explorer.tables.number(request.path_params["digest"], row)
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
        return JSONResponse({"error": f"there is no /page/{name}"}, 404, headers=SAFE)
    return FileResponse(
        LOOK.get(name, PAGE / name), media_type=FILES[name], headers=SAFE | {"Cache-Control": "no-cache"}
    )
