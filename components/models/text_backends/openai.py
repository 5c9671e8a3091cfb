"""An OpenAI-compatible endpoint as a text model: retries, concurrency, a pace, a budget, and nothing asked twice.

Retried with exponential backoff and jitter: 408, 409, 425, 429, 5xx, time-outs, dropped connections and
answers that are not the JSON they should be; a server's Retry-After is honoured. Who waits holds nobody up: another
prompt takes its place among those in flight. Not retried: 400, 413 and 422, which concern one prompt. Raised at once:
redirects, 401, 403 and 404, which concern all of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Sequence
from typing import Any

from pairwright.components.errors import TextModelError
from pairwright.components.hashing import canonical, sha256_text
from pairwright.components.models.text_backends.answers import Answer, Answers, default_path
from pairwright.components.models.text_backends.budget import Spent, Usage, most_of
from pairwright.components.models.text_backends.chat import (
    ABOUT_ONE_PROMPT,
    PATH,
    RETRIED,
    body_of,
    digest_of,
    problem_of,
    read_reply,
)
from pairwright.components.models.text_backends.protocol import BUDGET, Completion
from pairwright.components.models.text_backends.settings import OpenAITextModel
from pairwright.components.models.text_backends.wire import LARGEST, Loop, Reply, Unanswered, Wire, retry_after_s

CHARACTER_BYTES = 32  # of an answer's token, as JSON writes it, at most
MINUTE_S = 60.0
UNDER_WAY = 2  # times the concurrency: prompts in flight and those that wait for another try


class _NoBudget(Exception):
    """What is left does not pay for another answer."""


class OpenAIModel:
    """`TextModel` over HTTP. Safe to call from one thread; `concurrency` prompts are in flight at once."""

    def __init__(self, settings: OpenAITextModel) -> None:
        self.settings, self.budget = settings, settings.budget
        self._asked = settings.asked
        self.answers = Answers(settings.cache or default_path(), sha256_text(canonical(self._asked)))
        self._loop = Loop()
        key = os.environ.get(settings.api_key_env)
        self._wire = Wire(settings.url, key, settings.timeout_s, settings.concurrency)
        self._slots = asyncio.Semaphore(settings.concurrency)
        # A server that is down is not asked everything once before the first is given up.
        self._under_way = asyncio.Semaphore(UNDER_WAY * settings.concurrency)
        self._settled = asyncio.Condition()
        self._jitter = random.Random()
        self._in_flight: set[asyncio.Task[Any] | None] = set()
        self._without_answer = 0
        self._answers_at_all = self._ending = False

    def complete(self, prompts: Sequence[str]) -> list[Completion]:
        """One completion a prompt; equal prompts are asked once.

        Raises:
            TextModelError: wrong key or model; `give_up_after` prompts in a row without an answer; or,
                where the settings say "stop", one prompt without an answer or no budget left.
        """
        answered = self._loop.run(self._complete_all(list(dict.fromkeys(prompts))))
        return [answered[prompt] for prompt in prompts]

    def close(self) -> None:
        self._loop.run(self._wire.close())
        self._loop.close()
        self.answers.close()

    async def _complete_all(self, prompts: list[str]) -> dict[str, Completion]:
        tasks = [asyncio.create_task(self._complete(prompt)) for prompt in prompts]
        try:
            return dict(zip(prompts, await asyncio.gather(*tasks), strict=True))
        except BaseException as error:
            self._ending = True
            for task in tasks:
                # What is in flight is paid for, and its answer is kept; unless somebody waits to leave.
                if task not in self._in_flight or isinstance(error, asyncio.CancelledError):
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._ending = False
            raise

    async def _complete(self, prompt: str) -> Completion:
        digest = digest_of(self._asked, prompt)
        kept = self.answers.get(digest)
        if kept is not None:
            self._answers_at_all |= kept.problem is None
            return Completion(kept.text, kept.problem, cached=True)
        async with self._under_way:
            return await self._until_answered(digest, prompt)

    async def _until_answered(self, digest: str, prompt: str) -> Completion:
        for attempt in range(self.settings.retries + 1):
            try:
                async with self._slots:
                    answer = await self._attempt(digest, prompt)
                self._note(answer)
                return Completion(answer.text, answer.problem)
            except _NoBudget:
                return self._no_budget()
            except Unanswered as problem:
                if attempt == self.settings.retries or self._ending:
                    return self._no_answer(str(problem))
                wait_s = self._wait_s(attempt, problem.wait_s)
            await asyncio.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, digest: str, prompt: str) -> Answer:
        """One request within the budget, its answer kept. What may have been paid for stays spent."""
        most = most_of(prompt, self.settings.max_new_tokens)
        await self._reserve(most)
        try:
            await self._turn(most)
            answer = await self._ask(prompt)
            self._keep(digest, answer, most)
            return answer
        except Unanswered as problem:
            if not problem.paid:
                self.answers.give_back(most)
            raise
        except TextModelError:
            self.answers.give_back(most)
            raise
        finally:
            async with self._settled:
                self._in_flight.discard(asyncio.current_task())
                self._settled.notify_all()

    def _keep(self, digest: str, answer: Answer, most: Usage) -> None:
        if answer.usage is not None:
            self.answers.keep(digest, answer, most)
            return
        self.answers.give_back(most)
        if self._answers_at_all:  # a server that has turned down everything may only be set up wrong
            self.answers.keep(digest, answer, Usage())

    async def _reserve(self, most: Usage) -> None:
        """Take it from the budget, waiting for what is in flight to give back what it did not use."""
        async with self._settled:
            while not self.answers.reserve(most, self.budget):
                if not self._in_flight:
                    raise _NoBudget
                await self._settled.wait()
            self._in_flight.add(asyncio.current_task())

    async def _turn(self, most: Usage) -> None:
        """Wait for a turn, where the server is asked only so often."""
        rates = (
            (1, self.settings.requests_per_minute),
            (most.prompt // 4 + most.completion, self.settings.tokens_per_minute),
        )
        seconds = max((MINUTE_S * size / rate for size, rate in rates if rate), default=0.0)
        if seconds:
            await asyncio.sleep(self.answers.wait_s(f"{self.settings.url} {self.settings.model}", seconds))

    async def _ask(self, prompt: str) -> Answer:
        """One request."""
        body = json.dumps(body_of(self._asked, prompt)).encode()
        largest = LARGEST + CHARACTER_BYTES * self.settings.max_new_tokens
        kind = {"content-type": "application/json"}
        reply = await self._wire.ask("POST", PATH, largest=largest, content=body, headers=kind)
        if reply.status == 200:
            return read_reply(reply.content, prompt)
        if reply.status in ABOUT_ONE_PROMPT:
            return Answer(None, problem_of(reply.status, reply.content))
        refuse(reply, self.settings)
        raise Unanswered(f"http:{reply.status}", retry_after_s(reply.headers.get("retry-after")))

    def _note(self, answer: Answer) -> None:
        """Count prompts in a row without an answer: of a server that answered nothing yet, refusals are none."""
        if answer.usage is not None:
            self._answers_at_all, self._without_answer = True, 0
        elif not self._answers_at_all:
            self._give_up(str(answer.problem))

    def _wait_s(self, attempt: int, asked_s: float | None) -> float:
        """Seconds until the next attempt: what the server asked, or doubling with +-50% jitter."""
        if asked_s is not None:
            return min(asked_s, self.settings.longest_wait_s)
        backoff: float = self.settings.first_wait_s * 2**attempt * self._jitter.uniform(0.5, 1.5)
        return min(backoff, self.settings.longest_wait_s)

    def _no_budget(self) -> Completion:
        if self.settings.on_budget == "stop":
            raise TextModelError(budget_spent(self.settings, self.answers.spent))
        return Completion(None, BUDGET)

    def _no_answer(self, reason: str) -> Completion:
        self._give_up(reason, self.settings.on_failure == "stop")
        return Completion(None, reason)

    def _give_up(self, reason: str, at_once: bool = False) -> None:
        self._without_answer += 1
        if at_once or self._without_answer >= self.settings.give_up_after:
            raise TextModelError(
                f"{self.settings.url} gave no answer ({reason}) after {self.settings.retries} retries;"
                " run the same command when it is back: answers are kept"
            )


def refuse(reply: Reply, settings: OpenAITextModel) -> None:
    """Nothing where another try may help.

    Raises:
        TextModelError: the reply's status concerns every prompt.
    """
    if reply.status in RETRIED or reply.status >= 500:
        return
    said = f"{settings.url} answered {reply.status} for model {settings.model}"
    if 300 <= reply.status < 400:
        raise TextModelError(f"{said}; a redirect is not followed, the key would go with it: correct text_model.url")
    if reply.status in (401, 403):
        raise TextModelError(f"{said}; put a valid key in the environment variable {settings.api_key_env}")
    raise TextModelError(f"{said}; check text_model.url (it ends with /v1) and text_model.model")


def budget_spent(settings: OpenAITextModel, spent: Spent) -> str:
    """One line for a budget that is used up."""
    money = settings.budget.money(spent.prompt, spent.completion)
    cost = f", {money:.4g} in money" if settings.max_money is not None else ""
    return (
        f"the budget of {settings.model} is used up ({spent.requests} requests, {spent.prompt + spent.completion} "
        f"tokens{cost}); raise text_model.max_requests, max_tokens or max_money and run the same command: answers are "
        "kept"
    )
