"""Intake: what is refused is refused before it is paid for, and every error has one shape."""

from __future__ import annotations

import asyncio
import json

import pytest

pytest.importorskip("bentoml")

from pairwright.serving import intake as intake_module
from pairwright.serving.intake import Intake
from pairwright.serving.limits import MAX_STRUCTURE, MAX_TEXT_BODY_BYTES, MIB, Refusal
from pairwright.serving.routes import ADDRESSES, address_of

pytestmark = pytest.mark.platform


async def reader(scope, receive, send):
    """Reads the whole body and says how long it was; a refusal is answered as BentoML answers it."""
    length = 0
    try:
        while True:
            message = await receive()
            length += len(message.get("body", b""))
            if not message.get("more_body"):
                break
        status, body = 200, {"read": length}
    except Refusal as refusal:
        status, body = refusal.status, [{"error": refusal.reason}]
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


class Call:
    """One request to an intake, given in parts; `left` ends the connection after them."""

    def __init__(self, *parts, path="/embed_text", method="POST", headers=(), left=False):
        self.parts = list(parts) or [b""]
        self.scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
        self.taken = 0
        self.left = left
        self.sent = []

    async def receive(self):
        if self.taken < len(self.parts):
            self.taken += 1
            return {
                "type": "http.request",
                "body": self.parts[self.taken - 1],
                "more_body": self.taken < len(self.parts),
            }
        if not self.left:
            await asyncio.sleep(30)
        return {"type": "http.disconnect"}

    async def send(self, message):
        self.sent.append(message)

    async def to(self, intake):
        await intake(self.scope, self.receive, self.send)
        return self

    @property
    def status(self):
        return self.sent[0]["status"]

    @property
    def headers(self):
        return dict(self.sent[0]["headers"])

    @property
    def answer(self):
        return json.loads(self.sent[1]["body"])


def ask(*parts, app=reader, **how):
    return asyncio.run(Call(*parts, **how).to(Intake(app)))


def test_a_body_goes_through_whole():
    assert ask(b'{"texts": ', b'["a"]}').answer == {"read": 16}


def test_a_body_too_large_is_refused_as_it_arrives():
    call = ask(*[b"x" * MIB] * 9, headers=[(b"transfer-encoding", b"chunked")])
    assert (call.status, call.taken) == (413, MAX_TEXT_BODY_BYTES // MIB + 1)
    assert call.answer == {"error": "the request is larger than 4 MiB; send fewer or shorter texts"}
    assert call.headers[b"connection"] == b"close"
    announced = ask(b"x", headers=[(b"content-length", b"99999999")])
    assert (announced.status, announced.taken) == (413, 0)


@pytest.mark.parametrize("headers", [[], [(b"content-type", b"application/json"), (b"content-type", b"image/png")]])
def test_a_body_of_nothing_but_structure_is_refused_before_it_is_parsed(headers):
    parts = [b"[]," * 10_000] * 100
    call = ask(*parts, path="/embed_image", headers=headers)
    assert call.status == 413
    assert call.taken <= MAX_STRUCTURE // 20_000 + 1


def test_the_bytes_of_a_picture_are_no_structure():
    parts = [b"[],{" * 100_000] * 2
    assert ask(*parts, path="/embed_image", headers=[(b"content-type", b"image/png")]).status == 200


def test_a_length_beside_chunks_is_no_request():
    call = ask(b"x", headers=[(b"content-length", b"5"), (b"transfer-encoding", b"chunked")])
    assert (call.status, call.taken, call.headers[b"connection"]) == (400, 0, b"close")


def test_bodies_under_way_share_a_budget_and_give_it_back(monkeypatch):
    monkeypatch.setattr(intake_module, "MAX_HELD_BYTES", 3 * MIB)

    async def run():
        intake = Intake(reader)
        assert [(await Call(*[b"x" * MIB] * 2).to(intake)).status for _ in range(3)] == [200] * 3
        assert (intake.held, intake.open) == (0, 0)
        refused = Call(*[b"x" * MIB] * 4)
        await refused.to(intake)
        assert (refused.status, refused.headers[b"retry-after"]) == (429, b"2")
        assert (await Call(b"x").to(intake)).status == 200

    asyncio.run(run())


def test_too_many_open_requests_are_told_to_come_again(monkeypatch):
    monkeypatch.setattr(intake_module, "MAX_OPEN", 2)
    gate = asyncio.Event()

    async def slow(scope, receive, send):
        await gate.wait()
        await reader(scope, receive, send)

    async def run():
        intake = Intake(slow)
        waiting = [asyncio.ensure_future(Call().to(intake)) for _ in range(2)]
        await asyncio.sleep(0)
        refused = await Call().to(intake)
        assert (refused.status, refused.headers[b"retry-after"]) == (429, b"2")
        assert "error" in refused.answer
        gate.set()
        assert [call.status for call in await asyncio.gather(*waiting)] == [200, 200]
        assert (await Call().to(intake)).status == 200

    asyncio.run(run())


def test_a_caller_who_leaves_takes_his_request_with_him():
    ended = []

    async def endless(scope, receive, send):
        await receive()
        try:
            await asyncio.sleep(30)
        finally:
            ended.append(True)

    call = ask(app=endless, left=True)
    assert ended == [True]
    assert call.status == 499


def test_the_time_out_of_the_server_ends_the_work_too():
    ended = []

    async def endless(scope, receive, send):
        try:
            await asyncio.sleep(30)
        finally:
            ended.append(True)

    async def run():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(Call().to(Intake(endless)), 0.05)

    asyncio.run(run())
    assert ended == [True]


@pytest.mark.parametrize(
    "path", ["/nothing", "/thumbnails/" + "9" * 5000 + ".jpg", "/page/../service.py", "/\ud800", "*"]
)
def test_what_there_is_not_is_404_in_json(path):
    call = ask(path=path, method="GET")
    assert call.status == 404
    assert list(call.answer) == ["error"]


@pytest.mark.parametrize("address", ADDRESSES, ids=lambda address: address.path)
def test_every_address_says_what_it_takes(address):
    path = address.path.replace("{name}", "app.js").replace("{number}", "17")
    assert address_of(path) is address
    options = ask(path=path, method="OPTIONS")
    assert (options.status, options.headers[b"allow"].decode()) == (204, address.allow)
    for method in {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE"} - set(address.methods):
        refused = ask(path=path, method=method)
        assert (refused.status, refused.headers[b"allow"].decode()) == (405, address.allow)
        assert list(refused.answer) == ["error"]


@pytest.mark.parametrize(
    "body", [b"Internal Server Error", b"\xff", b"", b"[]", b'[{"error": "no"}]', b'{"error": "no"}']
)
def test_an_error_of_any_making_gets_the_one_shape(body):
    async def failing(scope, receive, send):
        await send({"type": "http.response.start", "status": 500, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": body[:3], "more_body": True})
        await send({"type": "http.response.body", "body": body[3:]})

    call = ask(app=failing)
    assert list(call.answer) == ["error"]
    assert call.answer["error"]
    assert call.headers[b"content-type"] == b"application/json"


def test_an_application_that_raises_is_a_500_in_json_that_tells_nothing_of_it():
    async def raising(scope, receive, send):
        raise ValueError("a bug")

    call = ask(app=raising)
    assert (call.status, list(call.answer)) == (500, ["error"])
    assert "a bug" not in call.answer["error"]
