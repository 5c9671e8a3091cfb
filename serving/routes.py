"""Every address the server has, with the methods it takes: the one list that routing, refusals and OpenAPI follow."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pairwright.serving.limits import MAX_BODY_BYTES, MAX_TEXT_BODY_BYTES

READ = ("GET", "HEAD")
MAX_DIGITS = 12  # of a picture's number in an address


@dataclass(frozen=True)
class Address:
    """A path, as OpenAPI writes it, and what may be done with it.

    Attributes:
        most_bytes: of a request's body; 0 where none is read.
    """

    path: str
    methods: tuple[str, ...]
    most_bytes: int = 0

    def matches(self, path: str) -> bool:
        return _pattern(self.path).fullmatch(path) is not None

    @property
    def allow(self) -> str:
        """The Allow header."""
        return ", ".join((*self.methods, "OPTIONS"))


PICTURES = ("embed_image", "score", "classify", "search")
ADDRESSES = (
    Address("/embed_text", ("POST",), MAX_TEXT_BODY_BYTES),
    *(Address(f"/{route}", ("POST",), MAX_BODY_BYTES) for route in PICTURES),
    Address("/caption", (*READ, "POST"), MAX_BODY_BYTES),  # read, it is the page to try it on
    Address("/lineage", (*READ, "POST"), MAX_TEXT_BODY_BYTES),
    Address("/", READ),
    Address("/docs", READ),
    Address("/page/{name}", READ),
    Address("/static_content/{name}", READ),  # Swagger's own, which BentoML brings
    Address("/favicon.ico", READ),
    Address("/thumbnails/{number}.jpg", READ),
    Address("/openapi.json", READ),
    Address("/docs.json", READ),
    Address("/schema.json", READ),
    Address("/livez", READ),
    Address("/readyz", READ),
    Address("/healthz", READ),
    Address("/metrics", READ),
)
PAGES = ("/", "/caption", "/docs")  # what a link on another site may open


def address_of(path: str) -> Address | None:
    """The address a request's decoded path belongs to, if any."""
    return next((address for address in ADDRESSES if address.matches(path)), None)


def _pattern(path: str) -> re.Pattern[str]:
    parts = {"{name}": r"[A-Za-z0-9._-]{1,64}", "{number}": rf"[0-9]{{1,{MAX_DIGITS}}}"}
    return re.compile("".join(parts.get(part, re.escape(part)) for part in re.split(r"({\w+})", path)))
