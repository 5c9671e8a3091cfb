"""Who may ask one of our servers: the endpoint, the label page and the explorer stand behind this one guard.

    key = api_key(file)                    # or the variable PAIRWRIGHT_API_KEY; None where there is neither
    check_exposure("0.0.0.0", key)         # beyond loopback nothing starts without a key
    app = Guard(app, names_of(host), key, pages={"/"})

Four questions, in this order; each refusal is `{"error": "one line"}`.

- *Is it meant for us?* (400) DNS rebinding needs a name of the attacker's own, which is made to point here
  once his page is loaded. So the Host asked for is a literal address, which points nowhere else, or a name of ours.
- *Does another site ask through the user's browser?* (403) A browser says so in Origin and Sec-Fetch-Site. Nothing
  but a link to one of the pages may come from elsewhere: a GET costs, and its answer may be a picture.
- *May a stranger reach it at all?* (403) Without a key only loopback is answered, however the server was started.
- *Does the caller hold the key?* (401) As `Authorization: Bearer KEY`, as `X-API-Key: KEY`, or as the password of
  HTTP's Basic scheme, for which a browser asks by itself.

Plain ASGI: no web framework is imported.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import json
import os
import socket
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from pairwright.components.errors import GuardError

KEY_VARIABLE = "PAIRWRIGHT_API_KEY"
HOSTS_VARIABLE = "PAIRWRIGHT_ALLOWED_HOSTS"  # names of a proxy or a service, separated by commas
SHORTEST_KEY = 16  # characters
PROBES = frozenset({"/livez", "/readyz", "/healthz"})  # an orchestrator asks these; they tell nothing and cost nothing
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # a server listening on all addresses -> one to open it by
DEFAULT_PORTS = {"http": "80", "https": "443"}

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def api_key(file: str | Path | None = None, variables: Mapping[str, str] = os.environ) -> str | None:
    """The key in `file` (`--api-key-file`), else in PAIRWRIGHT_API_KEY, else None.

    Raises:
        GuardError: the file cannot be read, or the key is empty, too short or holds what a header cannot.
    """
    if file is None:
        text, where = variables.get(KEY_VARIABLE, ""), KEY_VARIABLE
        if not text.strip():
            return None
    else:
        where = str(file)
        try:
            text = Path(file).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text"
            raise GuardError(f"{file} holds no key ({why}); write one into it, e.g. `openssl rand -hex 32`") from None
    key = text.strip()
    if len(key) < SHORTEST_KEY or not all("!" <= letter <= "~" for letter in key):
        raise GuardError(
            f"{where} must hold one key of at least {SHORTEST_KEY} plain characters without spaces; "
            "`openssl rand -hex 32` makes one"
        )
    return key


def check_exposure(host: str, key: str | None) -> None:
    """Nothing.

    Raises:
        GuardError: other machines could reach a server listening on `host`, and there is no key.
    """
    if key is None and not is_loopback(host):
        raise GuardError(
            f"{host} is reached from other machines, so a key is needed; give --api-key-file FILE or set "
            f"{KEY_VARIABLE} (`openssl rand -hex 32` makes one), or listen on 127.0.0.1"
        )


def is_address(host: str) -> bool:
    """Whether it is a literal IPv4 or IPv6 address, without brackets."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server listening on `host`; no name but `localhost` is trusted for that."""
    if not is_address(host):
        return host.lower() == "localhost"
    address = ipaddress.ip_address(host)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def names_of(host: str, variables: Mapping[str, str] = os.environ) -> set[str]:
    """The names to answer to when listening on `host`: that, `localhost`, for other machines this one's own,
    and those of PAIRWRIGHT_ALLOWED_HOSTS."""
    names = {"localhost", host, *variables.get(HOSTS_VARIABLE, "").split(",")}
    if not is_loopback(host):
        own = socket.gethostname()
        names |= {own, socket.getfqdn(), f"{own.partition('.')[0]}.local"}
    return {name.strip().lower() for name in names if name.strip()}


def page_address(host: str, port: int) -> str:
    """Where a browser on this machine finds a server listening on `host`."""
    shown = EVERYWHERE.get(host, host)
    return f"http://[{shown}]:{port}/" if ":" in shown else f"http://{shown}:{port}/"


def host_asked(header: str) -> str:
    """The name or address in a Host header, without port, brackets and the root's dot."""
    host = header[1:].partition("]")[0] if header.startswith("[") else header.partition(":")[0]
    return host.lower().removesuffix(".")


class Guard:
    """ASGI middleware that answers in the application's place where one of the four questions says no.

    Args:
        names: of the server (`names_of`).
        key: `api_key`'s; with one, every path but `open_paths` demands it.
        pages: paths that a link on another site may open; a page loads everything else from its own.
    """

    def __init__(
        self,
        app: App,
        names: Iterable[str],
        key: str | None = None,
        *,
        pages: Collection[str] = ("/",),
        open_paths: Collection[str] = PROBES,
    ) -> None:
        self.app = app
        self.names = {name.lower() for name in names}
        self.key = None if key is None else _digest(key.encode())
        self.pages = frozenset(pages)
        self.open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = None if scope["type"] == "lifespan" else self.refusal(scope)
        if refusal is None:
            await self.app(scope, receive, send)
        else:
            await _refuse(scope, send, *refusal)

    def refusal(self, scope: Scope) -> tuple[int, str] | None:
        """The status and reason this request is refused with, if it is."""
        headers = _headers(scope)
        foreign = self._foreign_host(headers) or self._foreign_site(scope, headers)
        if foreign:
            return foreign
        if self.key is None:
            local = str((scope.get("server") or ("localhost",))[0])
            if is_address(local) and not is_loopback(local):
                return 403, f"this server has no key and answers its own machine alone; start it with {KEY_VARIABLE}"
        elif scope["path"] not in self.open_paths and not self._holds_key(headers):
            return 401, "this server asks for its key; send it as Authorization: Bearer KEY or X-API-Key: KEY"
        return None

    def _foreign_host(self, headers: Mapping[str, list[str]]) -> tuple[int, str] | None:
        asked = headers.get("host", [])
        if len(asked) == 1 and (host_asked(asked[0]) in self.names or is_address(host_asked(asked[0]))):
            return None
        named = _printable(", ".join(asked)) or "no name"
        return 400, f"{named} is no name of this server; open it by its address, or name it in {HOSTS_VARIABLE}"

    def _foreign_site(self, scope: Scope, headers: Mapping[str, list[str]]) -> tuple[int, str] | None:
        """Why the browser of a user of ours should not be believed, if another site sent it."""
        sites = headers.get("sec-fetch-site", ["none"])
        link = scope.get("method") in ("GET", "HEAD") and headers.get("sec-fetch-mode") == ["navigate"]
        if any(site.lower() not in ("same-origin", "none") for site in sites) and not (
            link and scope["path"] in self.pages
        ):
            return 403, "another site asks through this browser; open the page itself"
        for origin in headers.get("origin", []):
            scheme, _, rest = origin.lower().partition("://")
            if _with_port(rest, scheme) != _with_port(headers["host"][0].lower(), scheme):
                return 403, f"{_printable(origin)} is another site; only this server's own pages may ask it"
        return None

    def _holds_key(self, headers: Mapping[str, list[str]]) -> bool:
        assert self.key is not None
        given = [*headers.get("x-api-key", []), *map(_key_in, headers.get("authorization", []))]
        # Digests are of one length, so the time taken tells nothing of the key's.
        return any(hmac.compare_digest(_digest(one.encode("utf-8", "replace")), self.key) for one in given)


def _headers(scope: Scope) -> dict[str, list[str]]:
    """Every value of each header by lower-case name; two Hosts or Origins are not one."""
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1").strip())
    return found


def _key_in(authorization: str) -> str:
    """The key in an Authorization header; "" where there is none."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, ValueError):
            return ""
    return ""


def _with_port(netloc: str, scheme: str) -> str:
    """`host:port`, the scheme's own port written out."""
    _, colon, port = netloc.rpartition(":")
    return netloc if colon and port.isdigit() else f"{netloc}:{DEFAULT_PORTS.get(scheme, '')}"


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _printable(text: str) -> str:
    return text[:100].encode("ascii", "backslashreplace").decode()


async def _refuse(scope: Scope, send: Send, status: int, reason: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": reason[:100]})
        return
    body = json.dumps({"error": reason}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),  # what the caller still sends is not read
    ]
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="Pairwright", charset="UTF-8"'))
        headers.append((b"www-authenticate", b'Bearer realm="Pairwright"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope.get("method") == "HEAD" else body})
