"""Batches of an OpenAI-compatible provider as a text model: submit, poll, collect, and never submit twice.

What is meant is written down before it is done. A killed job finds its batch by the id it noted or, killed between the
provider's taking it and the noting, in the provider's own list by the name it was given; only a batch that neither
knows is submitted (again). Prompts that another worker has in a batch are waited for there.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

from pairwright.components.errors import TextModelError
from pairwright.components.hashing import canonical, sha256_text
from pairwright.components.models.text_backends.answers import Answer, Answers, default_path
from pairwright.components.models.text_backends.budget import Usage, most_of
from pairwright.components.models.text_backends.chat import (
    ABOUT_ONE_PROMPT,
    PATH,
    RETRIED,
    answer_in,
    body_of,
    digest_of,
    problem_of,
)
from pairwright.components.models.text_backends.openai import CHARACTER_BYTES, budget_spent, refuse
from pairwright.components.models.text_backends.protocol import BUDGET, Completion
from pairwright.components.models.text_backends.settings import OpenAIBatchTextModel
from pairwright.components.models.text_backends.wire import Loop, Reply, Unanswered, Wire

GONE = (404, 410)
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
NAME = "pairwright"  # of the entry in a batch's metadata that says which it is
LINE = 4096  # bytes of an answer's line beside its text
PAGES = 50  # of the provider's list that are looked through, a hundred batches each


class OpenAIBatchModel:
    """`TextModel` over /files and /batches. Safe to call from one thread."""

    def __init__(self, settings: OpenAIBatchTextModel) -> None:
        self.settings = settings
        self._asked = settings.asked
        self.answers = Answers(settings.cache or default_path(), sha256_text(canonical(self._asked)))
        self._loop = Loop()
        self._wire = Wire(settings.url, os.environ.get(settings.api_key_env), settings.timeout_s, 4)

    def complete(self, prompts: Sequence[str]) -> list[Completion]:
        """One completion a prompt, once their batches have ended; equal prompts are asked once.

        Raises:
            TextModelError: wrong key or model, a batch the provider refuses or lost, a provider that does not answer,
                or, where the settings say "stop", a prompt without an answer or no budget left.
        """
        digests = {prompt: digest_of(self._asked, prompt) for prompt in dict.fromkeys(prompts)}
        found = self._loop.run(self._complete_all({digest: prompt for prompt, digest in digests.items()}))
        return [found[digests[prompt]] for prompt in prompts]

    def close(self) -> None:
        self._loop.run(self._wire.close())
        self._loop.close()
        self.answers.close()

    async def _complete_all(self, prompts: Mapping[str, str]) -> dict[str, Completion]:
        """Digest -> prompt; digest -> completion."""
        found = self._kept(prompts, cached=True)
        reasons: dict[str, str] = {}
        for _ in range(self.settings.retries + 1):
            todo = [digest for digest in prompts if digest not in found]
            async with _lock(f"{self.answers.path}.lock"):
                batches = await self._submit(todo, prompts)
            for batch in batches:
                reasons |= await self._collect(batch, prompts)
            found |= self._kept(todo)  # without a batch of ours, too: another worker may have answered while we waited
            if not batches:
                break
        without = [digest for digest in prompts if digest not in found]
        return found | {digest: self._without(reasons.get(digest)) for digest in without}

    def _kept(self, digests: Iterable[str], cached: bool = False) -> dict[str, Completion]:
        answers = ((digest, self.answers.get(digest)) for digest in digests)
        return {digest: Completion(one.text, one.problem, cached) for digest, one in answers if one is not None}

    def _without(self, reason: str | None) -> Completion:
        """What became of a prompt that has no answer in the end: the last reason, or no budget to ask."""
        if reason is None and self.settings.on_budget == "stop":
            raise TextModelError(budget_spent(self.settings, self.answers.spent))
        if reason is not None and self.settings.on_failure == "stop":
            raise TextModelError(
                f"{self.settings.url} gave no answer ({reason}); run the same command: answers are kept"
            )
        return Completion(None, reason or BUDGET)

    # What is noted.

    def _open_batches(self, digests: Iterable[str]) -> dict[str, str]:
        """Digest -> the batch it is in already."""
        with self.answers.transaction() as database:
            rows = (
                (one, database.execute("select batch from asked where prompt = ?", (one,)).fetchone())
                for one in digests
            )
            return {digest: row[0] for digest, row in rows if row}

    def _claim(self, digests: Sequence[str], prompts: Mapping[str, str]) -> list[str]:
        """Note which prompts are to be in which new batches, as far as the budget goes; the batches' names."""
        batches: list[str] = []
        for first in range(0, len(digests), self.settings.largest_batch):
            with self.answers.transaction() as database:
                name = sha256_text(canonical([os.urandom(16).hex(), digests[first]]))
                taken = 0
                for digest in digests[first : first + self.settings.largest_batch]:
                    most = most_of(prompts[digest], self.settings.max_new_tokens)
                    known = database.execute("select 1 from asked where prompt = ?", (digest,)).fetchone()
                    if known or self.answers.get(digest) or not self.answers.reserve(most, self.settings.budget):
                        continue
                    database.execute("insert into asked values (?, ?, ?, ?)", (digest, name, *most))
                    taken += 1
                if taken:
                    database.execute("insert into batches values (?, ?, null)", (name, self.answers.job))
                    batches.append(name)
        return batches

    def _members(self, batch: str) -> dict[str, Usage]:
        """Digest -> what was reserved, of the prompts of a batch that are still without an answer."""
        with self.answers.transaction() as database:
            rows = database.execute(
                "select prompt, prompt_tokens, completion_tokens from asked where batch = ? order by rowid", (batch,)
            ).fetchall()
        return {digest: Usage(*most) for digest, *most in rows}

    def _id_of(self, batch: str) -> str | None:
        with self.answers.transaction() as database:
            row = database.execute("select id from batches where batch = ?", (batch,)).fetchone()
        return row[0] if row else None

    def _note(self, batch: str, known: str) -> None:
        """A batch is with the provider, under this id."""
        with self.answers.transaction() as database:
            database.execute("update batches set id = ? where batch = ?", (known, batch))

    def _settle(self, batch: str, digest: str, answer: Answer | None) -> None:
        """A prompt of a batch has its answer, or none and may be asked again; once, whoever collects."""
        with self.answers.transaction() as database:
            row = database.execute(
                "delete from asked where prompt = ? and batch = ? returning prompt_tokens, completion_tokens",
                (digest, batch),
            ).fetchone()
            if row is None:
                return
            most = Usage(*row)
            if answer is None or answer.usage is None:
                self.answers.charge(-1, Usage(-most.prompt, -most.completion))
                most = Usage()
            if answer is not None:
                self.answers.keep(digest, answer, most)

    def _release(self, batch: str, paid: bool = False) -> None:
        """Forget a batch: what it still holds may be asked again, and costs once more where it was `paid` for."""
        for digest in self._members(batch) if not paid else ():
            self._settle(batch, digest, None)
        with self.answers.transaction() as database:
            database.execute("delete from asked where batch = ?", (batch,))
            database.execute("delete from batches where batch = ?", (batch,))

    # What the provider is asked.

    async def _submit(self, digests: Sequence[str], prompts: Mapping[str, str]) -> list[str]:
        """See that the provider has a batch for each prompt the budget allows; their names. One worker at a time."""
        for batch in dict.fromkeys(self._open_batches(digests).values()):
            if self._id_of(batch) is None:  # whoever meant to submit it was killed at it
                known = await self._listed(batch)
                self._note(batch, known) if known is not None else self._release(batch)
        taken = self._open_batches(digests)
        fresh = self._claim([digest for digest in digests if digest not in taken], prompts)
        for batch in fresh:
            self._note(batch, await self._create(batch, prompts))
        return list(dict.fromkeys([*taken.values(), *fresh]))

    async def _create(self, batch: str, prompts: Mapping[str, str]) -> str:
        """The id of the batch, once the provider has taken it."""
        lines = (
            {"custom_id": one, "method": "POST", "url": f"/v1{PATH}", "body": body_of(self._asked, prompts[one])}
            for one in self._members(batch)
        )
        content = "\n".join(json.dumps(line) for line in lines).encode() + b"\n"
        upload = {"purpose": (None, "batch"), "file": (f"{batch}.jsonl", content, "application/jsonl")}
        file = await self._asked_for("POST", "/files", timeout_s=self.settings.transfer_s, files=upload)
        said = {"input_file_id": _id_in(file), "endpoint": f"/v1{PATH}", "completion_window": "24h"}

        async def once() -> str:
            try:
                return _id_in(await self._once("POST", "/batches", json=said | {"metadata": {NAME: batch}}))
            except Unanswered:  # it may have been taken all the same
                known = await self._listed(batch)
                if known is None:
                    raise
                return known

        return str(await self._again(once))

    async def _listed(self, batch: str) -> str | None:
        """The id of a batch in the provider's list, if it is there."""
        after: dict[str, str] = {}
        for _ in range(PAGES):
            page = await self._asked_for("GET", "/batches", params={"limit": "100"} | after)
            entries = [one for one in page.get("data") or [] if isinstance(one, dict)]
            for one in entries:
                if isinstance(one.get("metadata"), dict) and one["metadata"].get(NAME) == batch:
                    return _id_in(one)
            if not page.get("has_more") or not entries:
                return None
            after = {"after": str(entries[-1].get("id"))}
        return None

    async def _collect(self, batch: str, prompts: Mapping[str, str]) -> dict[str, str]:
        """Wait until the batch has ended and keep its answers; the reasons of the prompts that got none."""
        known = self._id_of(batch)
        if known is None:
            return {}
        while True:
            state = await self._asked_for("GET", f"/batches/{quote(known, safe='')}", lost=batch)
            if state.get("status") in ENDED:
                break
            await asyncio.sleep(self.settings.poll_s)
        members = self._members(batch)
        lines = max(len(members), self._told(state))  # another worker may have taken in a part by now
        reasons: dict[str, str] = {}
        for name in ("output_file_id", "error_file_id"):
            if members and state.get(name):
                reasons |= await self._take_in(batch, str(state[name]), lines, members, prompts)
        left = self._members(batch)
        self._release(batch)
        if state["status"] == "failed":
            raise TextModelError(f"{self.settings.url} refused the batch: {_errors_of(state)}; mend it and run again")
        return dict.fromkeys(left, "missing" if state["status"] == "completed" else str(state["status"])) | reasons

    def _told(self, state: Mapping[str, Any]) -> int:
        """How many prompts the provider says a batch has, 0 where it says nothing that can be."""
        counts = state.get("request_counts")
        total = counts.get("total") if isinstance(counts, dict) else None
        return total if isinstance(total, int) and 0 < total <= self.settings.largest_batch else 0

    async def _take_in(
        self, batch: str, file: str, lines: int, members: Mapping[str, Usage], prompts: Mapping[str, str]
    ) -> dict[str, str]:
        """Keep what a file of answers says of the batch's own prompts; the reasons of those without one.

        Args:
            lines: that the file may have at most.

        Raises:
            TextModelError: the file is gone, or larger than so many answers can be. What it still holds is asked anew.
        """
        room = lines * (LINE + CHARACTER_BYTES * self.settings.max_new_tokens)
        reply = await self._fetched(f"/files/{quote(file, safe='')}/content", room)
        reasons = self._settle_lines(batch, reply.content, members, prompts) if reply.status == 200 else {}
        if reply.status == 200 and reply.whole:
            return reasons
        self._release(batch, paid=True)
        if reply.status in GONE:
            raise TextModelError(f"{self.settings.url} has file {file} no more; run the same command to ask anew")
        raise TextModelError(
            f"{self.settings.url} wrote more than {lines} answers of {self.settings.max_new_tokens} tokens can be; "
            "those that were read are kept, the rest counts as paid for: run the same command to ask for it anew, or "
            "raise text_model.max_new_tokens to ask for all anew"
        )

    def _settle_lines(
        self, batch: str, content: bytes, members: Mapping[str, Usage], prompts: Mapping[str, str]
    ) -> dict[str, str]:
        """Keep the answers of a batch's lines; the reasons of those without one."""
        reasons: dict[str, str] = {}
        for line in content.splitlines():
            try:
                entry = json.loads(line)
                digest, reply = entry["custom_id"], entry.get("response") or {}
                status, body = reply.get("status_code"), reply.get("body")
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
                continue  # whose line it is cannot be told; a prompt without a line is missing
            if not isinstance(digest, str) or digest not in members:
                continue
            try:
                self._settle(batch, digest, _answer_of(status, body, prompts.get(digest, "")))
            except Unanswered as problem:
                reasons[digest] = str(problem)
                self._settle(batch, digest, None)
        return reasons

    async def _fetched(self, path: str, largest: int) -> Reply:
        """A file, as much of it as may be; or the reply that it is gone."""

        async def once() -> Reply:
            reply = await self._wire.ask("GET", path, largest=largest, cut=True, timeout_s=self.settings.transfer_s)
            if reply.status not in (200, *GONE):
                refuse(reply, self.settings)
                raise Unanswered(f"http:{reply.status}")
            return reply

        found: Reply = await self._again(once)
        return found

    async def _asked_for(self, method: str, path: str, lost: str = "", **sent: Any) -> dict[str, Any]:
        """A JSON object, with as many tries as the settings say."""
        return await self._again(lambda: self._once(method, path, lost, **sent))

    async def _once(self, method: str, path: str, lost: str = "", **sent: Any) -> dict[str, Any]:
        reply = await self._wire.ask(method, path, **sent)
        if reply.status not in (200, 201):
            if lost and reply.status == 404:
                self._release(lost)
                raise TextModelError(f"{self.settings.url} knows {path} no more; run the same command to ask anew")
            refuse(reply, self.settings)
            raise Unanswered(f"http:{reply.status}")
        try:
            body = json.loads(reply.content)
        except (ValueError, RecursionError):
            raise Unanswered("garbled") from None
        if not isinstance(body, dict):
            raise Unanswered("garbled")
        return body

    async def _again(self, ask: Any) -> Any:
        for attempt in range(self.settings.retries + 1):
            try:
                return await ask()
            except Unanswered as problem:
                if attempt == self.settings.retries:
                    raise TextModelError(
                        f"{self.settings.url} gave no answer ({problem}); run the same command when it is back: "
                        "nothing is submitted twice"
                    ) from None
                await asyncio.sleep(min(self.settings.first_wait_s * 2**attempt, self.settings.longest_wait_s))
        raise AssertionError("the last attempt returns or raises")


def _answer_of(status: Any, body: Any, prompt: str) -> Answer:
    """One line's answer.

    Raises:
        Unanswered: it has none, and another try may have one.
    """
    if status == 200:
        return answer_in(body, prompt)
    if status in ABOUT_ONE_PROMPT:
        return Answer(None, problem_of(status, json.dumps(body).encode()))
    raise Unanswered(f"http:{status}" if status in RETRIED or isinstance(status, int) else "unanswered")


def _id_in(body: Mapping[str, Any]) -> str:
    found = body.get("id")
    if not isinstance(found, str) or not found:
        raise TextModelError("the provider gave a file or batch no id; is text_model.url one that knows batches?")
    return found


def _errors_of(state: Mapping[str, Any]) -> str:
    """The first of a batch's errors, in its own words."""
    errors = state.get("errors")
    data = errors.get("data") if isinstance(errors, dict) else None
    first = data[0] if isinstance(data, list) and data and isinstance(data[0], dict) else {}
    return " ".join(str(first.get("message") or "no reason given").split())[:200]


@asynccontextmanager
async def _lock(path: str) -> AsyncIterator[None]:
    """One process at a time; let go of when it dies."""
    with open(path, "w") as file:
        await asyncio.to_thread(fcntl.flock, file, fcntl.LOCK_EX)
        yield
