"""The labelling page's server on a socket, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from components.errors import EngineError, MissingDependency
from components.preference.addresses import page_address

if TYPE_CHECKING:
    from starlette.applications import Starlette

LAST_SECONDS = 3  # for requests under way when the server is stopped


def run_server(app: Starlette, host: str, port: int, started: Callable[[str], None]) -> None:
    """Serve until Ctrl-C or SIGTERM; `started` is called with the page's address once it answers.

    Raises:
        EngineError: the port is taken.
        MissingDependency: uvicorn is not installed.
    """
    try:
        import uvicorn
    except ModuleNotFoundError:
        raise MissingDependency("the page needs uvicorn and starlette; pip install 'pairwright[platform]'") from None

    listening = _bound(host, port)
    address = page_address(host, listening.getsockname()[1])

    class Announcing(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            started(address)

    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=LAST_SECONDS)
    Announcing(config).run([listening])


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends at once (TCP_NODELAY) only on sockets that say they are TCP; else an answer waits 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise EngineError(f"port {port} of {host} cannot be had ({error}); choose another with --port") from None
    return listening
