"""The downloader, against a real HTTP server on loopback."""

from __future__ import annotations

import ipaddress
import threading
import time
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from shapes import encoded
from strangers import LOCAL, Web

from pairwright.components.dataset.sources import addresses
from pairwright.components.dataset.sources.addresses import PrivateAddress, is_public
from pairwright.components.dataset.sources.download import FetchOptions, fetch_all, is_disallowed


def _fetch(urls: list[str], folder: Path, **options: object):
    return fetch_all(urls, FetchOptions(**{**LOCAL, **options}), folder, lambda done: None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/ok?3", None),
        ("/flaky", None),
        ("/redirect", None),
        ("/nowhere", "HTTP 404"),
        ("/slow", "timed out after 1 s"),
        ("/drip", "timed out after 1 s"),
        ("/loop", "more than 5 redirects"),
        ("/file", "not an http(s) URL"),
        ("/html", "HTML instead of a picture"),
        ("/liar", "HTML instead of a picture"),
        ("/big", "too big"),
        ("/endless", "too big (over 200000 bytes)"),
        ("/noai", "disallowed by X-Robots-Tag"),
        ("/empty", "empty answer"),
    ],
)
def test_each_url_gets_its_status_and_reason(web, tmp_path, path, reason):
    (outcome,) = _fetch([web + path], tmp_path, retries=1 if path == "/flaky" else 0)
    if reason is None:
        assert (outcome.status, outcome.reason, outcome.suffix) == ("success", None, "jpg")
        assert outcome.path.read_bytes() == encoded({"/ok?3": 3, "/redirect": 5}.get(path, 0), 32)
    else:
        assert outcome.status == "failed_to_download"
        assert outcome.reason.startswith(reason)


def test_what_is_no_url_is_a_reason_not_an_exception(tmp_path):
    urls = [
        "",
        "not a url",
        "ftp://example.org/x",
        "http://",
        "http://[::1",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://a b/",
    ]
    assert {outcome.status for outcome in _fetch(urls, tmp_path)} == {"failed_to_download"}


def test_noai_is_honoured_unless_told_otherwise(web, tmp_path):
    assert _fetch([web + "/noai"], tmp_path, honour_noai=False)[0].status == "success"


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        (["noai"], True),
        (["all", "NoImageAI, nofollow"], True),
        (["pairwright: noindex"], True),
        (["otherbot: noai"], False),
        (["all"], False),
        ([], False),
    ],
)
def test_robots_tags_are_read_as_img2dataset_reads_them(headers, refused):
    assert is_disallowed(headers) is refused


# ---- private addresses


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "2130706433",
        "0x7f.1",
        "10.0.0.1",
        "169.254.169.254",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "[fe80::1]",
    ],
)
def test_private_addresses_are_refused_however_they_are_written(web, tmp_path, host):
    port = web.rpartition(":")[2]
    (outcome,) = _fetch([f"http://{host}:{port}/ok"], tmp_path, allow_private=False, retries=0)
    assert outcome.status == "failed_to_download"
    assert "private address" in outcome.reason
    assert not Web.hits


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:4700::1111", True),
        ("100.64.0.1", False),
        ("192.168.1.1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("fc00::1", False),
        ("fec0::1", False),
        ("::ffff:10.0.0.1", False),
        ("2002:7f00:1::", False),  # 6to4 around 127.0.0.1
        ("64:ff9b::a9fe:a9fe", False),  # NAT64 around 169.254.169.254
        ("64:ff9b::5db8:d822", True),
    ],
)
def test_addresses_are_public_or_not_through_every_wrapping(address, public):
    assert is_public(ipaddress.ip_address(address)) is public


def test_a_redirect_into_the_private_network_is_refused(web, tmp_path, monkeypatch):
    # The first hop stands in for a public server: only its address is let through, the check stays.
    real = addresses.is_public
    monkeypatch.setattr(addresses, "is_public", lambda one: str(one) == "127.0.0.1" or real(one))
    (outcome,) = _fetch([web + "/inside"], tmp_path, allow_private=False)
    assert outcome.reason == "private address 169.254.169.254"
    assert Web.hits == {"/inside": 1}


def test_a_name_that_changes_its_address_cannot_lead_inside(web, tmp_path, monkeypatch):
    """DNS rebinding: the name is resolved once a hop, and the connection goes where the check looked."""
    import asyncio

    port = web.rpartition(":")[2]
    answers = iter(["127.0.0.1", "10.0.0.1"])
    asked = []

    async def rebinding(loop, host, *rest, **more):
        asked.append(host)
        return [(2, 1, 6, "", (next(answers), int(port)))]

    real = addresses.is_public
    monkeypatch.setattr(addresses, "is_public", lambda one: str(one) == "127.0.0.1" or real(one))
    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", rebinding)
    (outcome,) = _fetch([f"http://rebind.example:{port}/ok?2"], tmp_path, allow_private=False, retries=0)
    assert (outcome.status, asked) == ("success", ["rebind.example"])
    assert Web.hosts == [f"rebind.example:{port}"]  # the server still hears the name
    (outcome,) = _fetch([f"http://rebind.example:{port}/ok?2"], tmp_path, allow_private=False, retries=0)
    assert outcome.reason == "private address 10.0.0.1"


def test_one_private_address_among_public_ones_refuses_the_host(monkeypatch):
    import asyncio

    async def ask():
        loop = asyncio.get_running_loop()

        async def both(*_: object, **__: object):
            return [(2, 1, 6, "", (one, 80)) for one in ("93.184.216.34", "127.0.0.1")]

        monkeypatch.setattr(loop, "getaddrinfo", both)
        await addresses.resolve("two.example", 80, allow_private=False)

    with pytest.raises(PrivateAddress):
        asyncio.run(ask())


def test_a_host_is_asked_politely(tmp_path):
    busy, most = [0], [0]

    class Counting(Web):
        def do_GET(self) -> None:  # noqa: N802
            busy[0] += 1
            most[0] = max(most[0], busy[0])
            time.sleep(0.05)
            busy[0] -= 1
            self.answer(200, encoded(0, 32))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Counting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        outcomes = _fetch(
            [f"http://127.0.0.1:{server.server_port}/{n}" for n in range(16)], tmp_path, per_host=2, timeout=10
        )
    finally:
        server.shutdown()
        server.server_close()
    assert {outcome.status for outcome in outcomes} == {"success"}
    assert most[0] <= 2
