"""The one guard of our servers: whose name is asked for, which site asks, and with what key."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairwright.components.errors import GuardError
from pairwright.components.guard import HOSTS_VARIABLE, KEY_VARIABLE, Guard, api_key, check_exposure, names_of

KEY = "0123456789abcdef-secret"


async def application(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"let in"})


def ask(*headers, key=None, method="GET", path="/api", server="127.0.0.1", host="localhost:3000", kind="http", **more):
    sent = []

    async def send(message):
        sent.append(message)

    if host is not None:
        headers = (("Host", host), *headers)
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    scope = {"type": kind, "method": method, "path": path, "headers": raw, "server": (server, 3000)}
    asyncio.run(Guard(application, {"localhost", "gpu-box"}, key, **more)(scope, None, send))
    return sent


def status(*headers, **how):
    return ask(*headers, **how)[0]["status"]


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:3000", "gpu-box.", "127.0.0.1:3000", "[::1]:3000", "10.0.0.7"]
)
def test_own_names_and_literal_addresses_are_answered(host):
    assert status(host=host) == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:3000", "", None, "127.0.0.1.evil.example"])
def test_any_other_name_is_not_ours(host):
    assert status(host=host) == 400


def test_two_hosts_are_none():
    assert status(("Host", "evil.example")) == 400


@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=255), max_size=40))
def test_no_host_header_breaks_the_guard(host):
    sent = ask(host=host)
    assert sent[0]["status"] in (200, 400)
    if sent[0]["status"] == 400:
        assert "error" in json.loads(sent[1]["body"])


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:8888", "http://localhost", "x"])
def test_another_origin_is_refused_whatever_it_does(method, origin):
    assert status(("Origin", origin), method=method) == 403


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:3000", "http://localhost:3000"),
        ("localhost", "http://localhost:80"),
        ("gpu-box", "https://gpu-box"),
        ("[::1]:3000", "http://[::1]:3000"),
    ],
)
def test_the_own_origin_may_ask(host, origin):
    assert status(("Origin", origin), host=host, method="POST") == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_may_open_a_page_and_nothing_else(site):
    by_link = (("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", "navigate"))
    assert status(*by_link, path="/") == 200
    assert status(*by_link, path="/api") == 403
    assert status(*by_link, path="/", method="POST") == 403
    assert status(("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", "no-cors"), path="/") == 403
    assert status(("Sec-Fetch-Site", "same-origin"), path="/api") == 200
    assert status(("Sec-Fetch-Site", "none"), path="/api") == 200


def test_without_a_key_other_machines_are_not_answered():
    assert status(server="192.168.1.5", host="192.168.1.5") == 403
    assert status(server="::ffff:127.0.0.1") == 200
    assert status(server="192.168.1.5", host="192.168.1.5", path="/livez") == 403


def test_with_a_key_every_path_but_the_probes_demands_it():
    basic = base64.b64encode(f"anyone:{KEY}".encode()).decode()
    for path in ("/", "/api", "/metrics", "/livez/", "//livez"):
        assert status(key=KEY, path=path) == 401
        assert status(("X-API-Key", "wrong"), key=KEY, path=path) == 401
        assert status(("Authorization", f"Bearer {KEY}x"), key=KEY, path=path) == 401
        assert status(("Authorization", "Basic @@"), key=KEY, path=path) == 401
        for right in (("X-API-Key", KEY), ("Authorization", f"Bearer {KEY}"), ("authorization", f"basic {basic}")):
            assert status(right, key=KEY, path=path, server="192.168.1.5") == 200
    assert status(key=KEY, path="/livez") == 200
    assert status(key=KEY, path="/livez", host="evil.example") == 400


def test_a_refusal_is_one_json_line_and_asks_browsers_for_the_key():
    start, body = ask(key=KEY)
    headers = [(name, value) for name, value in start["headers"] if name == b"www-authenticate"]
    assert [value.split()[0] for _, value in headers] == [b"Basic", b"Bearer"]
    reason = json.loads(body["body"])["error"]
    assert "Bearer" in reason
    assert "\n" not in reason
    assert KEY not in reason
    assert ask(key=KEY, method="HEAD")[1]["body"] == b""
    assert ask(kind="websocket", host="evil.example")[0]["type"] == "websocket.close"


def test_the_key_is_read_from_the_file_else_the_variable(tmp_path):
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert api_key(tmp_path / "key", {KEY_VARIABLE: "x" * 20}) == KEY
    assert api_key(None, {KEY_VARIABLE: "x" * 20}) == "x" * 20
    assert api_key(None, {}) is None
    assert api_key(None, {KEY_VARIABLE: ""}) is None


@pytest.mark.parametrize("text", ["", "short", "two words of some length", "ключ-ключ-ключ-ключ"])
def test_what_is_no_key_is_refused_without_being_printed(tmp_path, text):
    (tmp_path / "key").write_text(text)
    with pytest.raises(GuardError, match="at least 16") as refused:
        api_key(tmp_path / "key")
    assert not text or text not in str(refused.value)
    with pytest.raises(GuardError, match="holds no key"):
        api_key(tmp_path / "missing")


def test_nothing_starts_beyond_loopback_without_a_key():
    for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        check_exposure(host, None)
    for host in ("0.0.0.0", "::", "192.168.1.5", "gpu-box"):
        check_exposure(host, KEY)
        with pytest.raises(GuardError, match="--api-key-file"):
            check_exposure(host, None)


def test_names_named_by_the_operator_are_ours():
    names = names_of("0.0.0.0", {HOSTS_VARIABLE: "Bento, api.example.org ,"})
    assert {"localhost", "bento", "api.example.org"} <= names
    assert "" not in names
