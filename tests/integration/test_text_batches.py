"""A provider's batches as a text model, against a real HTTP server of /files and /batches that remembers everything."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from text_server import listening

from pairwright.components.errors import TextModelError
from pairwright.components.models.text_backends import Completion, OpenAIBatchTextModel, open_text_model

PROMPTS = [f"p{i}" for i in range(12)]


def line(digest: str, text: str, ended: str = "stop") -> dict[str, Any]:
    body = {"choices": [{"message": {"content": text}, "finish_reason": ended}], "usage": {"total_tokens": 9}}
    return {"custom_id": digest, "response": {"status_code": 200, "body": body}, "error": None}


@dataclass
class Provider:
    """Takes files and batches; a batch is done after `looks` looks at it.

    Attributes:
        answer: (custom_id, prompt) -> a line of the output, or None where there is to be none.
        trouble: path -> replies (status, body) that come before the right one.
    """

    url: str = ""
    looks: int = 2
    ends: str = "completed"
    answer: Callable[[str, str], dict[str, Any] | None] = lambda digest, prompt: line(digest, prompt.upper())
    raw: bytes | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    trouble: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    takes: Callable[[], bool] = lambda: True
    after_create: Callable[[], object] = lambda: None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def create(self, said: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            number = f"batch_{len(self.batches)}"
            lines = [json.loads(one) for one in self.files[said["input_file_id"]].splitlines()]
            self.asked += [one["body"]["messages"][-1]["content"] for one in lines]
            made = [self.answer(one["custom_id"], one["body"]["messages"][-1]["content"]) for one in lines]
            self.files[f"out_{number}"] = "\n".join(json.dumps(one) for one in made if one).encode()
            self.batches[number] = {"id": number, "status": "in_progress", "metadata": said["metadata"]}
            self.batches[number]["request_counts"] = {"total": len(lines), "completed": 0, "failed": 0}
        self.after_create()
        return self.batches[number]

    def look(self, number: str) -> dict[str, Any] | None:
        with self.lock:
            self.seen[number] = self.seen.get(number, 0) + 1
            if number in self.batches and self.seen[number] >= self.looks:
                ended = {"status": self.ends, "output_file_id": f"out_{number}"}
                if self.ends == "failed":
                    ended = {"status": "failed", "errors": {"data": [{"message": "no such model"}]}}
                self.batches[number] |= ended
        return self.batches.get(number)

    def reply(self, method: str, path: str, body: bytes, kind: str) -> tuple[int, bytes]:
        way = re.sub(r"/(batch_|out_)\w+", "/ID", path.partition("?")[0].removeprefix("/v1"))
        if self.trouble.get(f"{method} {way}"):
            return self.trouble[f"{method} {way}"].pop(0)
        if (method, way) == ("POST", "/files"):
            number = f"file_{len(self.files)}"
            self.files[number] = _part(body, kind)
            return 200, json.dumps({"id": number}).encode()
        if (method, way) == ("POST", "/batches"):
            if not self.takes():
                return 503, b""
            return 200, json.dumps(self.create(json.loads(body))).encode()
        if (method, way) == ("GET", "/batches"):
            return 200, json.dumps({"data": list(self.batches.values()), "has_more": False}).encode()
        if (method, way) == ("GET", "/batches/ID"):
            found = self.look(path.rpartition("/")[2])
            return (200, json.dumps(found).encode()) if found else (404, b"{}")
        name = path.removeprefix("/v1/files/").removesuffix("/content")
        return (200, self.raw if self.raw is not None else self.files[name]) if name in self.files else (404, b"{}")


def _part(body: bytes, kind: str) -> bytes:
    """The file of a multipart form."""
    form = BytesParser().parsebytes(b"content-type: " + kind.encode() + b"\r\n\r\n" + body)
    parts = {part.get_param("name", header="content-disposition"): part for part in form.get_payload()}
    assert parts["purpose"].get_payload().strip() == "batch"
    return parts["file"].get_payload(decode=True)


@pytest.fixture
def provider() -> Iterator[Provider]:
    state = Provider()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            status, content = state.reply(self.command, self.path, body, self.headers.get("content-type", ""))
            with suppress(OSError):  # who asked was killed, or no longer waits
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *args: object) -> None:
            pass

    with listening(Handler) as url:
        state.url = url
        yield state


@pytest.fixture
def model(provider: Provider, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    opened: list[Any] = []

    def open_with(**values: object) -> Any:
        said = {"uses": "openai_batch", "url": provider.url, "model": "m", "cache": str(tmp_path / "a.sqlite")}
        quick = {"poll_s": 0.02, "first_wait_s": 0.01, "retries": 2, "timeout_s": 5.0}
        opened.append(open_text_model(OpenAIBatchTextModel.parse({**said, **quick, **values}, "text_model")))
        return opened[-1]

    yield open_with
    for each in opened:
        each.close()


def texts(completions: list[Completion]) -> list[str | None]:
    return [one.text for one in completions]


def test_a_batch_is_submitted_looked_at_and_collected_in_order(provider, model) -> None:
    found = model().complete([*PROMPTS, "p3"])
    assert texts(found) == [prompt.upper() for prompt in [*PROMPTS, "p3"]]
    assert len(provider.batches) == 1
    assert sorted(provider.asked) == sorted(PROMPTS)
    assert provider.seen == {"batch_0": 2}
    again = model().complete(PROMPTS)
    assert all(one.cached for one in again)
    assert len(provider.batches) == 1


def test_it_shares_answers_with_the_same_model_asked_one_by_one(provider, model, tmp_path) -> None:
    from pairwright.components.models.text_backends import OpenAITextModel

    model().complete(PROMPTS)
    said = {"uses": "openai", "url": provider.url, "model": "m", "cache": str(tmp_path / "a.sqlite")}
    single = open_text_model(OpenAITextModel.parse(said, "text_model"))
    assert texts(single.complete(PROMPTS)) == [prompt.upper() for prompt in PROMPTS]


def test_lines_that_failed_are_asked_again_in_a_batch_of_their_own_and_every_row_has_a_status(provider, model) -> None:
    tries: dict[str, int] = {}

    def reply(digest: str, prompt: str) -> dict[str, Any] | None:
        tries[prompt] = tries.get(prompt, 0) + 1
        busy = {"custom_id": digest, "response": {"status_code": 429, "body": {}}}
        filtered = {"error": {"code": "content_filter"}}
        return {
            "p1": busy if tries[prompt] == 1 else line(digest, "at last"),
            "p2": busy,
            "p3": {"custom_id": digest, "response": {"status_code": 400, "body": filtered}},
            "p4": {"custom_id": digest, "response": None, "error": {"code": "batch_expired"}},
            "p5": None,
            "p6": line(digest, "half a", ended="length"),
        }.get(prompt, line(digest, "fine"))

    provider.answer = reply
    found = dict(zip(PROMPTS, model().complete(PROMPTS), strict=True))
    assert found["p1"] == Completion("at last")
    assert {name: found[name].problem for name in ("p2", "p3", "p4", "p5", "p6")} == {
        "p2": "http:429",
        "p3": "blocked:400",
        "p4": "unanswered",
        "p5": "missing",
        "p6": "truncated",
    }
    assert [found[name].status for name in ("p0", "p2", "p3", "p6")] == ["ok", "error", "blocked", "truncated"]
    assert tries == {p: 3 if p in ("p2", "p4", "p5") else 2 if p == "p1" else 1 for p in PROMPTS}


def test_a_batch_that_runs_out_of_time_keeps_what_it_has_and_the_rest_goes_on(provider, model) -> None:
    provider.ends = "expired"
    provider.answer = lambda digest, prompt: (
        line(digest, "fine") if len(provider.asked) < 13 and prompt < "p5" else None
    )
    found = model(retries=1).complete(PROMPTS)
    assert [one.problem for one in found if one.text is None] == ["expired"] * [one.text for one in found].count(None)
    assert provider.asked.count("p0") == 1
    assert provider.asked.count("p9") == 2


def test_a_batch_the_provider_refuses_ends_the_job_in_one_line_and_spends_nothing(provider, model) -> None:
    provider.ends = "failed"
    opened = model(max_requests=12)
    with pytest.raises(TextModelError, match="refused the batch: no such model"):
        opened.complete(PROMPTS)
    assert opened.answers.spent == (0, 0, 0)
    provider.ends = "completed"
    assert texts(opened.complete(PROMPTS))[0] == "P0"


def test_the_budget_holds_before_a_batch_is_made_and_a_larger_one_goes_on(provider, model) -> None:
    found = model(max_requests=5).complete(PROMPTS)
    assert [one.problem for one in found].count("budget") == 7
    assert len(provider.asked) == 5
    assert len(set(texts(model(max_requests=20).complete(PROMPTS)))) == 12
    assert sorted(provider.asked) == sorted(PROMPTS)
    with pytest.raises(TextModelError, match="is used up"):
        model(max_requests=12, on_budget="stop").complete(["another"])


def test_trouble_on_the_way_is_tried_again(provider, model) -> None:
    provider.trouble = {
        "POST /files": [(503, b"")],
        "GET /batches/ID": [(500, b""), (200, b"[]")],
        "GET /files/ID/content": [(429, b"")],
    }
    assert texts(model().complete(PROMPTS)) == [prompt.upper() for prompt in PROMPTS]
    assert len(provider.batches) == 1


def test_a_batch_taken_although_the_reply_was_lost_is_found_and_not_submitted_again(provider, model) -> None:
    provider.after_create = lambda: time.sleep(1)  # past the time-out
    assert texts(model(timeout_s=0.5).complete(PROMPTS)) == [prompt.upper() for prompt in PROMPTS]
    assert len(provider.batches) == 1


@pytest.mark.parametrize("way", ["POST /files", "POST /batches", "GET /batches/ID", "GET /files/ID/content"])
def test_a_redirect_is_followed_nowhere_and_the_batch_is_found_again(provider, model, way: str) -> None:
    provider.trouble = {way: [(307, b"")]}
    with pytest.raises(TextModelError, match="a redirect is not followed"):
        model().complete(PROMPTS)
    assert texts(model().complete(PROMPTS)) == [prompt.upper() for prompt in PROMPTS]
    assert len(provider.batches) == 1


def test_lines_of_a_strangers_and_lines_that_are_none_change_nothing(provider, model) -> None:
    def garbled(digest: str, prompt: str) -> dict[str, Any]:
        return line(digest, prompt.upper())

    provider.answer = garbled
    provider.after_create = lambda: provider.files.update(
        out_batch_0=b"\n".join(
            [
                json.dumps(line("f" * 64, "planted")).encode(),
                b"[" * 30_000,
                b"null",
                b'{"custom_id": ["x"]}',
                *provider.files["out_batch_0"].splitlines(),
                *[re.sub(rb"P\d+", b"SECOND", one) for one in provider.files["out_batch_0"].splitlines()],
            ]
        )
    )
    opened = model()
    assert texts(opened.complete(PROMPTS)) == [prompt.upper() for prompt in PROMPTS]
    assert opened.answers.get("f" * 64) is None
    requests, prompt, completion = opened.answers.spent
    assert (requests, prompt + completion) == (12, 12 * 9)  # each once, as its first line says


def test_of_a_file_larger_than_its_answers_can_be_what_was_read_is_kept_and_the_next_run_asks_for_the_rest(
    provider, model
) -> None:
    room = 12 * (4096 + 32 * 8)

    def swollen() -> None:
        lines = provider.files["out_batch_0"].splitlines()
        provider.files["out_batch_0"] = b"\n".join([*lines[:5], b"x" * room, *lines[5:]])

    provider.after_create = swollen
    opened = model(max_new_tokens=8, max_requests=20)
    with pytest.raises(TextModelError, match=r"more than 12 answers of 8 tokens can be; .* run the same command"):
        opened.complete(PROMPTS)
    assert opened.answers.spent.requests == 12  # the seven as well: who wrote them was paid
    provider.after_create = lambda: None
    again = model(max_new_tokens=8, max_requests=20).complete(PROMPTS)
    assert texts(again) == [prompt.upper() for prompt in PROMPTS]
    assert [one.cached for one in again].count(True) == 5
    assert sorted(provider.asked.count(prompt) for prompt in PROMPTS) == [1] * 5 + [2] * 7
    assert opened.answers.spent.requests == 19


def test_a_batch_that_is_always_too_large_spends_no_more_than_the_budget(provider, model) -> None:
    provider.raw = b"x" * (12 * (4096 + 32 * 8) + 1)
    for _ in range(2):
        with pytest.raises(TextModelError, match="than 12 answers"):
            model(max_new_tokens=8, max_requests=24).complete(PROMPTS)
    found = model(max_new_tokens=8, max_requests=24).complete(PROMPTS)
    assert [one.status for one in found] == ["budget"] * 12
    assert len(provider.asked) == 24


@pytest.mark.parametrize("status", [404, 410])
def test_a_file_that_is_gone_is_said_once_and_the_next_run_asks_anew(provider, model, status: int) -> None:
    provider.trouble = {"GET /files/ID/content": [(status, b"{}")]}
    with pytest.raises(TextModelError, match="has file out_batch_0 no more; run the same command"):
        model().complete(PROMPTS)
    assert texts(model().complete(PROMPTS)) == [prompt.upper() for prompt in PROMPTS]
    assert sorted(provider.batches) == ["batch_0", "batch_1"]


PROGRAM = """
import sys
from pairwright.components.models.text_backends import OpenAIBatchTextModel, open_text_model
said = dict(uses="openai_batch", url=sys.argv[1], model="m", cache=sys.argv[2], poll_s=0.05, first_wait_s=0.01)
found = open_text_model(OpenAIBatchTextModel(**said)).complete([f"p{i}" for i in range(12)])
print(*[one.text for one in found])
"""


@pytest.mark.parametrize("moment", ["before it is taken", "taken and not noted", "waited for"])
def test_a_killed_job_finds_its_batch_and_submits_none_twice(moment: str, provider: Provider, tmp_path: Path) -> None:
    reached, let_go = threading.Event(), threading.Event()

    def hold() -> bool:
        """Until the job is dead; the first time alone."""
        first = not reached.is_set()
        reached.set()
        if first:
            let_go.wait(30)
        return not first

    provider.looks = 10**9
    if moment == "before it is taken":
        provider.takes = hold
    elif moment == "taken and not noted":
        provider.after_create = hold
    command = [sys.executable, "-c", PROGRAM, provider.url, str(tmp_path / "a.sqlite")]
    job = subprocess.Popen(command, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 30
    while not (reached.is_set() or provider.seen):
        assert job.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(job.pid, 9)
    job.wait()
    let_go.set()
    provider.looks = 1
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == [prompt.upper() for prompt in PROMPTS]
    assert len(provider.batches) == 1
    assert sorted(provider.asked) == sorted(PROMPTS)


def test_a_worker_that_waited_until_another_had_all_answers_takes_them(provider, model) -> None:
    mine, theirs = model(), model()
    kept = mine._kept

    def before_the_others_are_done(*args: Any, **more: Any) -> Any:
        found = kept(*args, **more)
        mine._kept = kept
        assert texts(theirs.complete(PROMPTS)) == [prompt.upper() for prompt in PROMPTS]
        return found

    mine._kept = before_the_others_are_done
    assert texts(mine.complete(PROMPTS)) == [prompt.upper() for prompt in PROMPTS]
    assert sorted(provider.asked) == sorted(PROMPTS)


def test_a_worker_reads_a_file_of_which_another_has_taken_in_a_part(provider, model) -> None:
    """Of twelve prompts eleven are answered while this worker waits: the file still has twelve lines."""
    mine, theirs = model(), model()

    def taken_in_meanwhile() -> None:
        with theirs.answers.transaction() as database:
            database.execute("delete from asked where prompt != (select max(prompt) from asked)")

    look = provider.look

    def looked(number: str) -> Any:
        found = look(number)
        if found and found["status"] == "completed":
            taken_in_meanwhile()
        return found

    provider.look = looked
    found = mine.complete(PROMPTS)
    assert len(provider.files[next(iter(provider.batches)).join(["out_", ""])].splitlines()) == len(PROMPTS)
    assert sum(one.text is not None for one in found) >= 1
    assert not any((one.problem or "").startswith("garbled") for one in found)


def test_workers_that_want_the_same_prompts_wait_for_one_batch(provider, model) -> None:
    provider.looks = 4
    both = [model(), model()]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda one: texts(one.complete(PROMPTS)), both))
    assert found == [[prompt.upper() for prompt in PROMPTS]] * 2
    assert sorted(provider.asked) == sorted(PROMPTS)
    assert both[0].answers.spent.requests == 12
