"""What is hardly HTTP (no Host, two lengths, a broken chunk) is refused by uvicorn before any application sees it.

    refuse_in_json()       # once, before the server starts

uvicorn says so in plain text; here it is in the shape of every other error. BentoML makes uvicorn's
configuration, so its protocol classes are the only place to say it.
"""

from __future__ import annotations

import importlib
import json
from typing import Any

PROTOCOLS = (("h11_impl", "H11Protocol"), ("httptools_impl", "HttpToolsProtocol"))
HEAD = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: "


def refuse_in_json() -> None:
    """Make uvicorn's own 400 an `{"error": "one line"}`; the second of its protocols may not be installed."""
    for module, name in PROTOCOLS:
        try:
            protocol = getattr(importlib.import_module(f"uvicorn.protocols.http.{module}"), name)
        except ModuleNotFoundError:
            continue
        protocol.send_400_response = _send_400


def _send_400(protocol: Any, message: str) -> None:
    """Answer and hang up; where an answer has begun already, only the latter."""
    cycle = protocol.cycle
    if cycle is None or cycle.response_complete or not cycle.response_started:
        body = json.dumps({"error": f"{message.rstrip('.')}; send HTTP/1.1 with one Host and one length"}).encode()
        protocol.transport.write(HEAD + str(len(body)).encode() + b"\r\n\r\n" + body)
    protocol.transport.close()
