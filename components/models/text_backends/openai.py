"""An OpenAI-compatible endpoint as a text model: retries, concurrency, a budget, and nothing asked twice.

Retried with exponential backoff and jitter: 408, 409, 425, 429, 5xx, time-outs, dropped connections and
answers that are not the JSON they should be; a server's Retry-After is honoured. Not retried: 400, 413
and 422, which concern one prompt. Raised at once: 401, 403 and 404, which concern all of them.
"""

from __future__ import annotations

import email.utils
import os
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pairwright.components.errors import TextModelError
from pairwright.components.hashing import canonical, sha256_text
from pairwright.components.models.text_backends.answers import Answers, default_path
from pairwright.components.models.text_backends.protocol import Completion
from pairwright.components.models.text_backends.settings import OpenAITextModel

RETRIED = frozenset({408, 409, 425, 429})
ABOUT_ONE_PROMPT = frozenset({400, 413, 422})


class _Unanswered(Exception):
    """This attempt failed; `wait_s` is what the server asked for."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class OpenAIModel:
    """`TextModel` over HTTP. Safe to call from one thread; asks from `concurrency` of them."""

    def __init__(self, settings: OpenAITextModel) -> None:
        import httpx

        self.settings = settings
        asked = {name: getattr(settings, name) for name in ("model", "revision", "temperature", "seed")}
        self._asked: dict[str, Any] = asked | {"max_tokens": settings.max_new_tokens}
        self.answers = Answers(settings.cache or default_path(), sha256_text(canonical(self._asked)))
        key = os.environ.get(settings.api_key_env)
        self._client = httpx.Client(
            timeout=settings.timeout_s,
            headers={"authorization": f"Bearer {key}"} if key else {},
            limits=httpx.Limits(max_connections=settings.concurrency),
            trust_env=True,
        )
        self._jitter = random.Random()
        self._without_answer = 0
        self._count = threading.Lock()

    def complete(self, prompts: Sequence[str]) -> list[Completion]:
        """One completion a prompt; equal prompts are asked once.

        Raises:
            TextModelError: wrong key or model; `give_up_after` prompts in a row without an answer; or,
                where the settings say "stop", one prompt without an answer or no budget left.
        """
        distinct = list(dict.fromkeys(prompts))
        with ThreadPoolExecutor(max_workers=min(self.settings.concurrency, max(len(distinct), 1))) as pool:
            futures = [pool.submit(self._complete, prompt) for prompt in distinct]
            try:
                answered = {prompt: future.result() for prompt, future in zip(distinct, futures, strict=True)}
            except TextModelError:
                pool.shutdown(cancel_futures=True)
                raise
        return [answered[prompt] for prompt in prompts]

    def close(self) -> None:
        self._client.close()
        self.answers.close()

    def _complete(self, prompt: str) -> Completion:
        digest = sha256_text(canonical(self._asked | {"prompt": prompt}))
        kept = self.answers.get(digest)
        if kept is not None:
            return Completion(kept, cached=True)
        if not self.answers.reserve(self.settings.max_requests, self.settings.max_tokens):
            return self._no_budget()
        try:
            text, tokens = self._ask_until_answered(prompt)
        except _Unanswered as problem:
            self.answers.give_back()
            return self._no_answer(str(problem))
        except TextModelError:
            self.answers.give_back()
            raise
        self.answers.keep(digest, text, tokens)
        with self._count:
            self._without_answer = 0
        return Completion(text)

    def _ask_until_answered(self, prompt: str) -> tuple[str, int]:
        for attempt in range(self.settings.retries + 1):
            try:
                return self._ask(prompt)
            except _Unanswered as problem:
                if attempt == self.settings.retries or str(problem).startswith("refused"):
                    raise
                time.sleep(self._wait_s(attempt, problem.wait_s))
        raise AssertionError("the last attempt returns or raises")

    def _wait_s(self, attempt: int, asked_s: float | None) -> float:
        """Seconds until the next attempt: what the server asked, or doubling with +-50% jitter."""
        if asked_s is not None:
            return min(asked_s, self.settings.longest_wait_s)
        backoff = self.settings.first_wait_s * 2**attempt * self._jitter.uniform(0.5, 1.5)
        return min(backoff, self.settings.longest_wait_s)

    def _ask(self, prompt: str) -> tuple[str, int]:
        """One request: (answer, tokens)."""
        import httpx

        body = {"messages": [{"role": "user", "content": prompt}]} | self._asked
        body = {name: value for name, value in body.items() if value is not None and name != "revision"}
        try:
            response = self._client.post(f"{self.settings.url}/chat/completions", json=body)
        except httpx.TimeoutException:
            raise _Unanswered("timeout") from None
        except httpx.HTTPError as error:
            raise _Unanswered(f"unreachable:{type(error).__name__}") from None
        status = response.status_code
        if status == 200:
            return _read_answer(response.content, prompt)
        if status in ABOUT_ONE_PROMPT:
            raise _Unanswered(f"refused:{status}")
        if status in RETRIED or status >= 500:
            raise _Unanswered(f"http:{status}", _retry_after_s(response.headers.get("retry-after")))
        raise TextModelError(
            f"{self.settings.url} answered {status} for model {self.settings.model}; {self._remedy(status)}"
        )

    def _remedy(self, status: int) -> str:
        if status in (401, 403):
            return f"put a valid key in the environment variable {self.settings.api_key_env}"
        return "check text_model.url (it ends with /v1) and text_model.model"

    def _no_budget(self) -> Completion:
        if self.settings.on_budget == "stop":
            requests, tokens = self.answers.spent
            raise TextModelError(
                f"the budget of {self.settings.model} is used up ({requests} requests, {tokens} tokens);"
                " raise text_model.max_requests or max_tokens and run the same command: answers are kept"
            )
        return Completion(None, "budget")

    def _no_answer(self, reason: str) -> Completion:
        with self._count:
            if not reason.startswith("refused"):
                self._without_answer += 1
            given_up = self._without_answer >= self.settings.give_up_after
        if given_up or self.settings.on_failure == "stop":
            raise TextModelError(
                f"{self.settings.url} gave no answer ({reason}) after {self.settings.retries} retries;"
                " run the same command when it is back: answers are kept"
            )
        return Completion(None, reason)


def _read_answer(content: bytes, prompt: str) -> tuple[str, int]:
    """(text, tokens) of a chat completion; where the server counts no tokens, 4 characters are one."""
    import json

    try:
        body = json.loads(content)
        text = body["choices"][0]["message"]["content"]
        usage = body.get("usage") or {}
        tokens = int(usage.get("total_tokens") or (len(prompt) + len(text or "")) // 4 + 1)
    except (ValueError, LookupError, TypeError, AttributeError):
        raise _Unanswered("garbled") from None
    if text is not None and not isinstance(text, str):
        raise _Unanswered("garbled")
    return text or "", tokens


def _retry_after_s(header: str | None) -> float | None:
    """Seconds of a Retry-After header, which is a number or an HTTP date (RFC 9110, 10.2.3)."""
    if not header:
        return None
    try:
        return max(float(header), 0.0)
    except ValueError:
        pass
    try:
        return max(email.utils.parsedate_to_datetime(header).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError):
        return None
