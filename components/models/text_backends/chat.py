"""A chat completion: what is asked, and what its reply says. Nothing in a reply is taken on trust."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pairwright.components.hashing import canonical, sha256_text
from pairwright.components.models.text_backends.answers import Answer
from pairwright.components.models.text_backends.budget import Usage
from pairwright.components.models.text_backends.protocol import BLOCKED, REFUSED, TRUNCATED
from pairwright.components.models.text_backends.wire import Unanswered

PATH = "/chat/completions"
ABOUT_ONE_PROMPT = frozenset({400, 413, 422})
RETRIED = frozenset({408, 409, 425, 429})
MOST_TOKENS = 10_000_000  # a count beyond it is none
CHARACTERS = 4  # a token, where a server counts none
_FILTERED = re.compile(r"content[_ ]?(filter|policy|management)|responsible[_ ]?ai", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_NOT_JSON = (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError)


def body_of(asked: Mapping[str, Any], prompt: str) -> dict[str, Any]:
    """The request's body; `revision` only tells answers apart here."""
    body = {"messages": [{"role": "user", "content": prompt}]} | dict(asked)
    return {name: value for name, value in body.items() if value is not None and name != "revision"}


def digest_of(asked: Mapping[str, Any], prompt: str) -> str:
    """Of all that is asked, which an answer is known by."""
    return sha256_text(canonical(dict(asked) | {"prompt": prompt}))


def read_reply(content: bytes, prompt: str) -> Answer:
    """The answer in a reply of status 200.

    Raises:
        Unanswered: it is no chat completion.
    """
    try:
        return answer_in(json.loads(content), prompt)
    except _NOT_JSON:
        raise Unanswered("garbled", paid=True) from None


def answer_in(body: Any, prompt: str) -> Answer:
    """The answer in a chat completion.

    Raises:
        Unanswered: it is none.
    """
    try:
        choice = body["choices"][0]
        message, ended = choice["message"], choice.get("finish_reason")
        text, refusal, usage = message.get("content"), message.get("refusal"), body.get("usage")
    except _NOT_JSON:
        raise Unanswered("garbled", paid=True) from None
    if not isinstance(text, str | None):
        raise Unanswered("garbled", paid=True)
    said = _clean(text or "")
    cost = _usage(usage if isinstance(usage, dict) else {}, prompt, said)
    if ended == "content_filter":
        return Answer(None, f"{BLOCKED}:content_filter", cost)
    if isinstance(refusal, str) and refusal and not said:
        return Answer(None, f"{REFUSED}:model", cost)
    return Answer(said, TRUNCATED if ended == "length" else None, cost)


def problem_of(status: int, content: bytes) -> str:
    """Why a prompt was turned down with a status of `ABOUT_ONE_PROMPT`: blocked by a filter, or refused."""
    try:
        error = json.loads(content)["error"]
        said = f"{error.get('code')} {error.get('type')} {(error.get('innererror') or {}).get('code')}"
    except _NOT_JSON:
        said = ""
    return f"{BLOCKED if _FILTERED.search(said) else REFUSED}:{status}"


def _clean(text: str) -> str:
    """What can be stored: no half of a surrogate pair, no control characters."""
    return _CONTROL.sub(" ", text.encode("utf-8", "replace").decode("utf-8"))


def _usage(usage: Mapping[str, Any], prompt: str, text: str) -> Usage:
    """As the server counts it, or else by characters."""
    about = [len(part) // CHARACTERS + 1 for part in (prompt, text)]
    total = _count(usage.get("total_tokens"), sum(about))
    completion = _count(usage.get("completion_tokens"), min(about[1], total))
    return Usage(_count(usage.get("prompt_tokens"), max(total - completion, 0)), completion)


def _count(value: Any, otherwise: int) -> int:
    fits = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS
    return int(value) if fits else otherwise
