"""Fetching pictures by URL: concurrent, polite, and safe against what a stranger's list may hold.

    outcomes = fetch_all(urls, FetchOptions(), folder, progress)

Every URL gets a status of img2dataset's: "success", or "failed_to_download" with a reason. `X-Robots-Tag:
noai` and its kin are honoured as img2dataset does. Redirects are followed by hand, each hop checked like
the first URL; private addresses are refused after the name was resolved, and the connection goes to
the address that was checked (components/dataset/sources/addresses.py). Proxies of the environment are not
used, since a proxy would resolve the name again.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydantic import Field

from pairwright.components.dataset.media.image_type import SNIFF_BYTES, image_suffix
from pairwright.components.dataset.sources.addresses import PrivateAddress, resolve
from pairwright.components.settings import Settings

SUCCESS, FAILED = "success", "failed_to_download"
DISALLOWED = frozenset(("noai", "noimageai", "noindex", "noimageindex", "none"))
AGENT_TOKEN = "pairwright"
AGENT = f"Mozilla/5.0 (compatible; {AGENT_TOKEN}; image-text dataset builder)"
TRANSIENT = frozenset((408, 425, 429, 500, 502, 503, 504))
BACKOFF_SECONDS = 0.5


class FetchOptions(Settings):
    """How URLs are fetched."""

    timeout: float = Field(10.0, gt=0, description="seconds a URL may take, redirects and all")
    retries: int = Field(1, ge=0, le=10, description="more tries within a run, for failures that may pass")
    concurrency: int = Field(64, ge=1, le=1024, description="fetches at once")
    per_host: int = Field(8, ge=1, le=1024, description="fetches from one host at once")
    max_bytes: int = Field(32 << 20, ge=1, description="of one picture")
    max_redirects: int = Field(5, ge=0, le=20, description="followed for one URL")
    honour_noai: bool = Field(True, description="respect X-Robots-Tag: noai, noimageai, noindex, noimageindex")
    allow_private: bool = Field(False, description="fetch from private and loopback addresses too")


@dataclass(frozen=True)
class Outcome:
    """What became of one URL.

    Attributes:
        status: "success" or "failed_to_download".
        reason: why it failed, one line; None on success.
        path: the file holding the picture's bytes. suffix: by its signature.
    """

    status: str
    reason: str | None = None
    path: Path | None = None
    suffix: str | None = None


@dataclass(frozen=True)
class Wanted:
    """What a download is for.

    Attributes:
        accept: the Accept header.
        refuse_type: content type (lower case, without parameters) -> why it is not wanted, or None.
        suffix: first bytes, content type -> the file's suffix, or None where it is not what was wanted.
        what: its name in a reason ("not a picture").
    """

    accept: str
    refuse_type: Callable[[str], str | None]
    suffix: Callable[[bytes, str], str | None]
    what: str


PAGE_TYPES = ("text/html", "application/xhtml+xml")
PICTURE = Wanted(
    "image/*,*/*;q=0.5",
    lambda kind: "HTML instead of a picture" if kind in PAGE_TYPES else None,
    lambda head, kind: image_suffix(head),
    "a picture",
)
PAGE = Wanted(
    "text/html,application/xhtml+xml;q=0.9,*/*;q=0.1",
    lambda kind: f"not a page ({kind})" if kind and kind not in PAGE_TYPES else None,
    lambda head, kind: None if image_suffix(head) else "html",
    "a page",
)


class Refused(Exception):
    """A download that will not be better the next time; the message is the reason."""


class Hiccup(Exception):
    """A failure that may pass; the message is the reason."""


def fetch_all(
    urls: Sequence[str],
    options: FetchOptions,
    folder: Path,
    progress: Callable[[int], None],
    wanted: Wanted = PICTURE,
) -> list[Outcome]:
    """Fetch every URL into `folder`; the outcomes stand in the order of `urls`.

    Runs its own event loop in a thread of its own, so that a notebook's loop is no trouble.
    """
    result: list[Outcome] = []
    problem: list[BaseException] = []

    def work() -> None:
        try:
            result.extend(asyncio.run(_fetch_all(urls, options, folder, progress, wanted)))
        except BaseException as error:
            problem.append(error)

    thread = threading.Thread(target=work, name="download", daemon=True)
    thread.start()
    thread.join()
    if problem:
        raise problem[0]
    return result


async def _fetch_all(
    urls: Sequence[str], options: FetchOptions, folder: Path, progress: Callable[[int], None], wanted: Wanted
) -> list[Outcome]:
    hosts: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(options.per_host))
    everywhere = asyncio.Semaphore(options.concurrency)
    done = 0

    async def one(client: httpx.AsyncClient, number: int, url: str) -> Outcome:
        nonlocal done
        async with hosts[_host(url)], everywhere:
            outcome = await fetch(client, url, options, folder / f"{number:09d}", wanted)
        done += 1
        progress(done)
        return outcome

    # One connection a fetch: a kept one could be taken up for another host at the same address.
    limits = httpx.Limits(max_keepalive_connections=0, max_connections=options.concurrency)
    async with httpx.AsyncClient(limits=limits, trust_env=False, timeout=options.timeout) as client:
        return await asyncio.gather(*(one(client, number, url) for number, url in enumerate(urls)))


def _host(url: str) -> str:
    try:
        return httpx.URL(url).host
    except (httpx.InvalidURL, TypeError, ValueError):
        return ""


async def fetch(
    client: httpx.AsyncClient, url: str, options: FetchOptions, path: Path, wanted: Wanted = PICTURE
) -> Outcome:
    """One URL, tried 1 + `retries` times; whatever goes wrong is an outcome, not an exception."""
    reason = ""
    for attempt in range(options.retries + 1):
        if attempt:
            await asyncio.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1) * (1 + random.random()))
        try:
            async with asyncio.timeout(options.timeout):
                return Outcome(SUCCESS, None, path, await _follow(client, url, options, path, wanted))
        except Refused as error:
            return Outcome(FAILED, str(error))
        except Hiccup as error:
            reason = str(error)
        except TimeoutError:
            reason = f"timed out after {options.timeout:g} s"
        except httpx.HTTPError as error:
            reason = f"{type(error).__name__}: {error}".rstrip(": ")
    return Outcome(FAILED, reason)


async def _follow(client: httpx.AsyncClient, url: str, options: FetchOptions, path: Path, wanted: Wanted) -> str:
    """Fetch a URL through its redirects into `path`; returns the file's suffix."""
    for _ in range(options.max_redirects + 1):
        request = await _pinned_request(client, url, options.allow_private, wanted.accept)
        response = await client.send(request, stream=True)
        try:
            if response.is_redirect:
                url = _next_hop(url, response.headers["location"])
                continue
            _check_head(response, options, wanted)
            return await _save(response, options.max_bytes, path, wanted)
        finally:
            await response.aclose()
    raise Refused(f"more than {options.max_redirects} redirects")


async def _pinned_request(client: httpx.AsyncClient, url: str, allow_private: bool, accept: str) -> httpx.Request:
    """A request whose connection goes to the address that was checked, under the host's own name."""
    try:
        target = httpx.URL(url)
    except (httpx.InvalidURL, TypeError, ValueError):
        raise Refused("not a URL") from None
    if target.scheme not in ("http", "https") or not target.host:
        raise Refused("not an http(s) URL")
    port = target.port or (443 if target.scheme == "https" else 80)
    try:
        address = await resolve(target.raw_host.decode("ascii").strip("[]"), port, allow_private)
    except PrivateAddress as error:
        raise Refused(f"private address {error}") from None
    except UnicodeError:
        raise Refused("not a host name") from None
    except OSError as error:
        raise Hiccup(f"name does not resolve ({error.strerror or error})") from None
    return client.build_request(
        "GET",
        target.copy_with(host=address, userinfo=b""),
        headers={
            "Host": target.netloc.decode("ascii"),
            "User-Agent": AGENT,
            "Accept": accept,
            "Accept-Encoding": "identity",
        },
        extensions={"sni_hostname": target.raw_host.decode("ascii")},
    )


def _next_hop(url: str, location: str) -> str:
    try:
        return str(httpx.URL(url).join(location))
    except (httpx.InvalidURL, ValueError):
        raise Refused("redirected to what is no URL") from None


def _check_head(response: httpx.Response, options: FetchOptions, wanted: Wanted) -> None:
    """Refuse by status, by robots header and by announced size and type, before the body is read.

    Raises:
        Refused: for good. Hiccup: for now.
    """
    if response.status_code != 200:
        reason = f"HTTP {response.status_code}"
        raise Hiccup(reason) if response.status_code in TRANSIENT else Refused(reason)
    if options.honour_noai and is_disallowed(response.headers.get_list("x-robots-tag")):
        raise Refused("disallowed by X-Robots-Tag")
    announced = response.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > options.max_bytes:
        raise Refused(f"too big ({announced} bytes)")
    refusal = wanted.refuse_type(_content_type(response))
    if refusal is not None:
        raise Refused(refusal)


def _content_type(response: httpx.Response) -> str:
    kind: str = response.headers.get("content-type", "")
    return kind.partition(";")[0].strip().lower()


def is_disallowed(headers: Sequence[str], agent: str = AGENT_TOKEN) -> bool:
    """Whether an X-Robots-Tag forbids use, for everyone or for our agent (img2dataset's reading)."""
    for header in headers:
        name, colon, rest = header.partition(":")
        directives = {part.strip().lower() for part in (rest if colon else header).split(",")}
        if (not colon or name.strip().lower() == agent) and directives & DISALLOWED:
            return True
    return False


async def _save(response: httpx.Response, max_bytes: int, path: Path, wanted: Wanted) -> str:
    """Stream the body to `path`; returns the suffix its signature asks for."""
    size, head = 0, b""
    with path.open("wb") as stream:
        async for chunk in response.aiter_raw():
            size += len(chunk)
            if size > max_bytes:
                raise Refused(f"too big (over {max_bytes} bytes)")
            head = head if len(head) >= SNIFF_BYTES else head + chunk[:SNIFF_BYTES]
            stream.write(chunk)
    if not size:
        raise Refused("empty answer")
    suffix = wanted.suffix(head, _content_type(response))
    if suffix is None:
        is_page = b"<html" in head.lower() or b"<!doctype" in head.lower()
        kind: Any = response.headers.get("content-type", "no content type")
        raise Refused(f"HTML instead of {wanted.what}" if is_page else f"not {wanted.what} ({kind})")
    return suffix
