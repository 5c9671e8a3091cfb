"""HTTP with a server that may be anything: how long, how much and with whom is bounded.

The time-out is for the whole exchange, not for each read, so a server that sends a byte a second is left like one
that sends none. No redirect is followed: the key goes to the address in the recipe and to no other. What is read is
cut off where no answer could be as large, and is read as it came: nothing is unpacked.
"""

from __future__ import annotations

import asyncio
import email.utils
import math
import threading
import time
from collections.abc import Coroutine
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")
LARGEST = 1 << 20  # bytes of a reply beside the answer's own


class Unanswered(Exception):
    """An exchange that came to nothing; another may succeed.

    Attributes:
        wait_s: what the server asked to wait, in seconds.
        paid: it may have been paid for, as what happened on the other side is not known.
    """

    def __init__(self, reason: str, wait_s: float | None = None, paid: bool = False) -> None:
        super().__init__(reason)
        self.wait_s, self.paid = wait_s, paid


class Reply(NamedTuple):
    """What came back; `whole` is False of one that was cut off."""

    status: int
    headers: Any
    content: bytes
    whole: bool = True


class Wire:
    """Exchanges with one server, `connections` of them at most at once."""

    def __init__(self, url: str, key: str | None, timeout_s: float, connections: int) -> None:
        import httpx

        self.url, self.timeout_s = url, timeout_s
        # Less than the whole, so that a server that was never reached is told from one that does not answer.
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(None, connect=0.9 * timeout_s),
            headers={"accept-encoding": "identity"} | ({"authorization": f"Bearer {key}"} if key else {}),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            follow_redirects=False,
            trust_env=True,
        )

    async def ask(
        self,
        method: str,
        path: str,
        *,
        largest: int = LARGEST,
        cut: bool = False,
        timeout_s: float | None = None,
        **sent: Any,
    ) -> Reply:
        """One exchange.

        Args:
            largest: bytes of the reply. cut: a larger one is given as far as it may go, and is no failure.
            sent: `json`, `files`, `params` as httpx takes them.

        Raises:
            Unanswered: no reply, not in time, or not such as this.
        """
        import httpx

        try:
            async with asyncio.timeout(timeout_s or self.timeout_s):
                async with self._client.stream(method, f"{self.url}{path}", **sent) as response:
                    content = await _read(response, largest)
                    if len(content) > largest and not cut:
                        raise Unanswered("garbled:too_large", paid=True)
                    whole = len(content) <= largest
                    return Reply(response.status_code, response.headers, content[:largest], whole)
        except (TimeoutError, httpx.ReadTimeout, httpx.WriteTimeout):
            raise Unanswered("timeout", paid=True) from None
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol) as error:
            raise Unanswered(f"unreachable:{type(error).__name__}") from None
        except httpx.HTTPError as error:
            raise Unanswered(f"unreachable:{type(error).__name__}", paid=True) from None

    async def close(self) -> None:
        await self._client.aclose()


async def _read(response: Any, largest: int) -> bytes:
    """The reply's body, or a little more of it than may be."""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise Unanswered("garbled:encoded", paid=True)
    content = bytearray()
    async for piece in response.aiter_raw():
        content += piece
        if len(content) > largest:
            break
    return bytes(content)


def retry_after_s(header: str | None) -> float | None:
    """Seconds of a Retry-After header, which is a number or an HTTP date (RFC 9110, 10.2.3)."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return None
    return None if math.isnan(seconds) else max(seconds, 0.0)


class Loop:
    """An event loop in a thread of its own, so that whoever calls may be in one, e.g. a notebook."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="text-model", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Its result; what ends the waiting (Ctrl-C) ends it, too."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        self.run(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
