"""A web application on a socket of ours until Ctrl-C or SIGTERM: the explorer's and the label page's.

with listening_socket("127.0.0.1", 8321) as listening:       # before any long work: a busy port is said at once
    serve_until_ended(app, listening, started=lambda: print("open it"))
"""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pairwright.components.errors import EngineError, MissingDependency, PairwrightError

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

MOST_BODY = 64 << 10  # bytes of one request
LAST_SECONDS = 3  # for requests under way when the server is stopped


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens on `host`, at any free port for 0; who comes early waits.

    Raises:
        EngineError: the port is taken, not ours to take, or `host` is no address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends at once (TCP_NODELAY) only on sockets that say they are TCP; else an answer waits 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()
    except (OSError, UnicodeError) as error:
        listening.close()
        why = getattr(error, "strerror", None) or str(error)
        raise EngineError(f"port {port} of {host} cannot be had ({why}); choose another with --port") from None
    return listening


def serve_until_ended(
    app: Starlette,
    listening: socket.socket,
    *,
    started: Callable[[], None] = lambda: None,
    stopping: Callable[[], None] = lambda: None,
) -> None:
    """Serve until Ctrl-C or SIGTERM, which end it without a word.

    Args:
        started: called once requests are answered.
        stopping: called before what is under way is waited for, at most LAST_SECONDS.

    Raises:
        MissingDependency: uvicorn is not installed.
    """
    try:
        import uvicorn
    except ModuleNotFoundError:
        raise MissingDependency("the page needs uvicorn and starlette; pip install 'pairwright[platform]'") from None

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            started()

        async def shutdown(self, sockets: Any = None) -> None:
            stopping()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=LAST_SECONDS
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # uvicorn raises what ended it once more when it is done
    with suppress(KeyboardInterrupt):
        Server(config).run([listening])
    for sign in (signal.SIGINT, signal.SIGTERM):  # what is cleaned up now is cleaned up whole
        signal.signal(sign, signal.SIG_IGN)


def error_handlers() -> dict[Any, Any]:
    """So that what the framework refuses, and what breaks, is answered as everything else is: `{"error": "a line"}`."""
    from starlette.exceptions import HTTPException
    from starlette.responses import JSONResponse

    def refused(request: Request, error: HTTPException) -> Response:
        said = {404: "there is nothing here", 405: f"{request.method} is not answered here"}
        reason = said.get(error.status_code, str(error.detail))
        return JSONResponse({"error": reason}, error.status_code, headers=error.headers)

    def broken(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": "this failed; the server's terminal says how"}, 500)

    return {HTTPException: refused, Exception: broken}


class BadRequest(PairwrightError):
    """A request whose body cannot be right."""


async def json_body(request: Request, most: int = MOST_BODY) -> dict[str, Any]:
    """The request's JSON object. JSON alone is taken: a form on another site cannot send it.

    Raises:
        BadRequest: it is another thing, longer than `most` bytes, or holds NaN or half a character.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise BadRequest("send application/json")
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > most:
            raise BadRequest(f"the request is larger than {most >> 10} KiB")
    try:
        said = json.loads(data)
        json.dumps(said, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise BadRequest("the request is not JSON") from None
    if not isinstance(said, dict):
        raise BadRequest("the request is not a JSON object")
    return said


def whole_number(text: str) -> int | None:
    """A number in a path, or None: Python reads no number of thousands of digits, SQLite none beyond 64 bits."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
