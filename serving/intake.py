"""What stands before the service: which requests are let in, how much of each, and what shape errors have.

    Pairwright.add_asgi_middleware(Intake)

- An address or a method there is none of is 404 or 405, by the list in serving/routes.py; OPTIONS is answered.
- A body is measured while it arrives: its bytes, those of all bodies under way, and in JSON its brackets and
  commas, since a parser's time and memory go with those. It is refused before it is parsed.
- Too many requests under way are 429 with Retry-After.
- A caller who leaves takes his request with him: it is cancelled, and its turn goes to the next.
- Every error, whoever made it, goes out as `{"error": "one line"}`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

from pairwright.serving.limits import (
    MAX_BODY_BYTES,
    MAX_HELD_BYTES,
    MAX_OPEN,
    MAX_STRUCTURE,
    MIB,
    RETRY_AFTER_S,
    Refusal,
)
from pairwright.serving.routes import Address, address_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

STRUCTURE = (b"[", b"{", b",", b":")
CALLER_LEFT = 499  # nginx's; seen in the log and the metrics alone
PICTURE_KINDS = (b"multipart/", b"image/", b"application/octet-stream")
BUSY = "too many requests are under way; ask again in a moment"

logger = logging.getLogger("bentoml.pairwright")


class Intake:
    """The middleware; it counts what is under way in this process."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.open = 0
        self.held = 0  # bytes of all bodies under way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(self, scope, receive, send)
        self.open += 1
        try:
            await exchange.run()
        finally:
            self.open -= 1
            self.held -= exchange.arrived


class _Exchange:
    """One request: counts what comes in, gives what goes out its shape."""

    def __init__(self, intake: Intake, scope: Scope, receive: Receive, send: Send) -> None:
        self.intake, self.scope, self.receive, self.send = intake, scope, receive, send
        self.headers = dict(scope["headers"])
        kinds = [value.lower() for name, value in scope["headers"] if name == b"content-type"]
        self.maybe_json = not kinds or not all(kind.startswith(PICTURE_KINDS) for kind in kinds)
        self.address = address_of(scope["path"])
        self.arrived = self.structure = 0
        self.complete = asyncio.Event()  # the whole body is here
        self.left = asyncio.Event()  # the caller is gone
        self.started = False
        self.held: Message | None = None  # the head of an error, until its body is known
        self.body = b""

    async def run(self) -> None:
        try:
            if self._answers_itself():
                await self._answer_options()
                return
            self._check_head()
        except Refusal as refusal:
            await self._refuse(refusal)
            return
        await self._run_while_wanted()

    async def _run_while_wanted(self) -> None:
        """The service's answer, or its end as soon as the caller leaves."""
        work = asyncio.ensure_future(self.intake.app(self.scope, self._receive, self._send))
        watch = asyncio.ensure_future(self._watch())
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end(watch)
            failure = await _end(work)
        if self.left.is_set() and not self.started:
            await self.send({"type": "http.response.start", "status": CALLER_LEFT, "headers": []})
        elif failure is not None and not self.left.is_set():
            logger.error("%s %s failed", self.scope["method"], self.scope["path"], exc_info=failure)
            if not self.started:
                await self._refuse(Refusal(500, "the server failed on this request; its log says why"))

    async def _watch(self) -> None:
        """Until the caller leaves; what comes after a whole body can only be that."""
        await self.complete.wait()
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.left.set()

    def _answers_itself(self) -> bool:
        return self.address is not None and self.scope["method"] == "OPTIONS"

    async def _answer_options(self) -> None:
        assert self.address is not None
        allow = [(b"allow", self.address.allow.encode())]
        await self.send({"type": "http.response.start", "status": 204, "headers": allow})
        await self.send({"type": "http.response.body", "body": b""})

    def _check_head(self) -> None:
        """Nothing.

        Raises:
            Refusal: 400 for a length smuggled in beside chunks, 404 or 405 for what there is not,
                413 for a body announced too large, 429 where too much is under way.
        """
        method, address = self.scope["method"], self.address
        if b"transfer-encoding" in self.headers and b"content-length" in self.headers:
            raise Refusal(400, "a body has a length or chunks, not both")  # proxies may believe the other one
        if address is None:
            raise Refusal(404, "there is nothing at this address; GET /openapi.json lists what there is")
        if method not in address.methods:
            raise Refusal(405, f"{_plain(method)} is not taken here; send {' or '.join(address.methods)}")
        if method != "POST":
            return
        if self.intake.open > MAX_OPEN:
            raise Refusal(429, BUSY)
        announced = self.headers.get(b"content-length", b"0")
        if announced.isdigit() and len(announced) < 20:
            self._check_size(int(announced), address)

    def _check_size(self, size: int, address: Address) -> None:
        if size > address.most_bytes:
            raise Refusal(413, f"the request is larger than {address.most_bytes // MIB} MiB; {_remedy(address)}")

    async def _receive(self) -> Message:
        if self.complete.is_set():
            await self.left.wait()
            return {"type": "http.disconnect"}
        message = await self.receive()
        if message["type"] == "http.disconnect":
            self.left.set()
            self.complete.set()
            return message
        self._count(message.get("body", b""))
        if not message.get("more_body", False):
            self.complete.set()
        return message

    def _count(self, part: bytes) -> None:
        assert self.address is not None
        self.arrived += len(part)
        self.intake.held += len(part)
        self._check_size(self.arrived, self.address)
        if self.intake.held > MAX_HELD_BYTES:
            raise Refusal(429, BUSY)
        if self.maybe_json:
            self.structure += sum(map(part.count, STRUCTURE))
            if self.structure > MAX_STRUCTURE:
                raise Refusal(413, f"the body has more than {MAX_STRUCTURE} items and punctuation marks; send fewer")

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            self.held = message
            return
        if self.held is None:
            self.started = True
            await self.send(message)
            return
        self.body += message.get("body", b"")
        if not message.get("more_body", False):
            await self._send_error(self.held, _shaped(self.held["status"], self.body))

    async def _refuse(self, refusal: Refusal) -> None:
        await self._send_error({"status": refusal.status, "headers": []}, {"error": refusal.reason})

    async def _send_error(self, start: Message, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        own = {b"content-length": str(len(body)).encode(), b"content-type": b"application/json"}
        if start["status"] == 405 and self.address is not None:
            own[b"allow"] = self.address.allow.encode()
        if start["status"] == 429:
            own[b"retry-after"] = str(RETRY_AFTER_S).encode()
        if self._has_more():
            own[b"connection"] = b"close"  # what still comes is not read
        headers = [(name, value) for name, value in start["headers"] if name.lower() not in own]
        self.started = True
        await self.send({"type": "http.response.start", "status": start["status"], "headers": [*headers, *own.items()]})
        await self.send({"type": "http.response.body", "body": body})

    def _has_more(self) -> bool:
        """Whether the caller may still be sending."""
        announced = self.headers.get(b"content-length", b"0").strip(b"0") or b"transfer-encoding" in self.headers
        return bool(announced) and not self.complete.is_set()


async def _end(task: asyncio.Future[Any]) -> BaseException | None:
    """End a task that still runs; what it failed with, if it did."""
    task.cancel()
    await asyncio.wait({task})
    return None if task.cancelled() else task.exception()


def _shaped(status: int, body: bytes) -> dict[str, Any]:
    """An error's JSON: BentoML's own (in a list, or with more said than one line), or plain text."""
    try:
        content = json.loads(body)
        if isinstance(content, list) and content:
            content = content[0]
        if isinstance(content, dict) and isinstance(content.get("error"), str):
            return {name: value for name, value in content.items() if name in ("error", "results")}
    except ValueError:
        pass
    words = " ".join(body.decode("utf-8", "replace").split())[:300]
    return {"error": words or f"the request failed with status {status}"}


def _remedy(address: Address) -> str:
    return "send fewer or smaller pictures" if address.most_bytes == MAX_BODY_BYTES else "send fewer or shorter texts"


def _plain(method: str) -> str:
    return method[:20].encode("ascii", "replace").decode()
