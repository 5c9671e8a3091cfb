"""The names a labelling server answers to, so that no other site can reach it through a labeller's browser.

DNS rebinding needs a name of the attacker's own, which is made to point here once his page is loaded. So
a request is answered if it asks for a literal address, which points nowhere else, or for a name of ours.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # a server listening on all addresses -> one to open it by


def names_of(host: str) -> set[str]:
    """The names to answer to when listening on `host`: that, `localhost`, and for other machines this one's own."""
    names = {"localhost", host}
    if host != "localhost" and not (is_address(host) and ipaddress.ip_address(host).is_loopback):
        own = socket.gethostname()
        names |= {own, socket.getfqdn(), f"{own.partition('.')[0]}.local"}
    return {name.lower() for name in names}


def is_address(host: str) -> bool:
    """Whether it is a literal IPv4 or IPv6 address, without brackets."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def page_address(host: str, port: int) -> str:
    """Where a browser on this machine finds a server listening on `host`."""
    shown = EVERYWHERE.get(host, host)
    return f"http://[{shown}]:{port}/" if ":" in shown else f"http://{shown}:{port}/"


def host_asked(header: str) -> str:
    """The name or address in a Host header, without port, brackets and the root's dot."""
    host = header[1:].partition("]")[0] if header.startswith("[") else header.partition(":")[0]
    return host.lower().removesuffix(".")


class OwnNames:
    """ASGI middleware: a request for a name that is neither ours nor an address is refused with status 400."""

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self.app = app
        self.names = {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.responses import JSONResponse

        answer = self.app
        if scope["type"] != "lifespan":
            header = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
            host = host_asked(header)
            if host not in self.names and not is_address(host):
                why = f"{header or 'no name'} is no name of this server"
                answer = JSONResponse({"error": f"{why}; open it by its address, or start it with --host NAME"}, 400)
        await answer(scope, receive, send)
