"""The running endpoint under hostile input: nobody else waits, nothing is a 5xx, and every answer is as documented."""

from __future__ import annotations

import base64
import functools
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openapi_examples import anything, valid
from PIL import Image
from released import free_port

from pairwright.serving.openapi import OPERATIONS, openapi

pytestmark = [pytest.mark.platform, pytest.mark.slow]
DOCUMENT = openapi("test")
AT_EASE = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
PATIENT_S = 3.0  # what a small request may take while another attacks, on two busy cores
BRISK_S = 1.0  # and once it is over
MOST_MORE = 900 << 20  # bytes that an attack may take on top
KEY = "a-key-of-the-test-0123456789"
TEMPLATES = [f"number {n} of a {{}}" for n in range(32)]
LABELS = [f"label {n}" for n in range(1000)]


def png(width, height):
    stream = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def base64_of(data):
    return base64.b64encode(data).decode()


SMALL = base64_of(png(32, 32))


def flood(route, content, kind="application/json"):
    return lambda client: client.post(route, content=content(), headers={"Content-Type": kind})


def ask(route, **body):
    return lambda client: client.post(route, json={name: one() if callable(one) else one for name, one in body.items()})


@functools.cache
def large_picture():
    return base64_of(png(5000, 4000))


def form(part, end):
    return lambda: b"--b\r\nContent-Disposition: form-data; " + part + end


FORM = "multipart/form-data; boundary=b"
ATTACKS = {  # name: the request, how many at once, the statuses it may get
    "20 MiB of empty lists": (
        flood("/embed_image", lambda: b'{"images": [' + b"[]," * 7_000_000 + b"[]]}"), 1, {413},
    ),
    "brackets without end": (flood("/embed_text", lambda: b"[" * 3_000_000), 1, {413}),
    "60 MiB of escapes": (
        flood("/embed_image", lambda: b'{"images": ["' + b"\\u00e9" * (10 << 20) + b'"]}'), 1, {413, 422},
    ),
    "a form of line ends": (
        flood("/embed_image", form(b'name="images"; filename="a"\r\n\r\n', b"\r\n--" * 8_000_000), FORM), 1, {413, 422},
    ),
    "a form of fields": (
        flood("/embed_image", lambda: form(b'name="x"\r\n\r\n\r\n', b"")() * 500_000, FORM), 1, {413, 422},
    ),
    "1,000 labels in 32 templates": (ask("/classify", image=SMALL, labels=LABELS, templates=TEMPLATES), 1, {413}),
    "long labels in templates of many places": (
        ask("/classify", image=SMALL, labels=[f"{n}" + "a" * 200 for n in range(300)], templates=["{}" * 100]),
        1,
        {413, 422},
    ),
    "the most prompts there may be, six times": (
        ask("/classify", image=SMALL, labels=LABELS, templates=TEMPLATES[:4]), 6, {200, 429},
    ),
    "captions by the widest search, from many": (
        ask("/caption", image=SMALL, search="beam", beams=16, captions=8, guidance=3, least=12, stream=False),
        12,
        {200, 429},
    ),
    "slow batches of large pictures": (
        ask("/embed_image", images=lambda: [large_picture()] * 4), 4, {200, 429},
    ),
}  # fmt: skip


def probe(client):
    """Seconds for a small picture and a small text."""
    started = time.perf_counter()
    picture = client.post("/embed_image", json={"images": [SMALL]})
    text = client.post("/embed_text", json={"texts": ["a red car"]})
    assert (picture.status_code, text.status_code) == (200, 200), (picture.text, text.text)
    return time.perf_counter() - started


def resident(endpoint):
    """Bytes the server's processes hold."""
    port = int(endpoint.rpartition(":")[2])
    owners = {one.pid for one in psutil.net_connections("tcp") if one.laddr and one.laddr.port == port and one.pid}
    return sum(psutil.Process(pid).memory_info().rss for pid in owners - {os.getpid()})


@pytest.mark.parametrize("name", ATTACKS)
def test_nobody_else_waits_for_an_attack(endpoint, client, name):
    attack, at_once, allowed = ATTACKS[name]
    probe(client)
    before, answers = resident(endpoint), []

    def run():
        with httpx.Client(base_url=endpoint, timeout=90, trust_env=False) as mine:
            try:
                answers.append(attack(mine).status_code)
            except (httpx.WriteError, httpx.ReadError):
                answers.append(413)  # refused so early that the rest could not be sent

    threads = [threading.Thread(target=run) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    waits, most = [], before
    while any(thread.is_alive() for thread in threads):
        waits.append(probe(client))
        most = max(most, resident(endpoint))
    assert set(answers) <= allowed
    assert max(waits, default=0) < PATIENT_S
    assert min(probe(client) for _ in range(3)) < BRISK_S
    assert most - before < MOST_MORE


def test_what_its_caller_has_left_is_not_worked_on(endpoint, client):
    """Eight bulks are begun and dropped; two would fill the queue of bulks, and yet the next is taken."""
    port = int(endpoint.rpartition(":")[2])
    for number in range(8):
        labels = [f"{number} {label}" for label in LABELS]
        body = json.dumps({"image": SMALL, "labels": labels, "templates": TEMPLATES[:4]}).encode()
        with socket.create_connection(("127.0.0.1", port)) as caller:
            caller.sendall(
                b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
            time.sleep(0.05)
    time.sleep(0.2)
    answer = client.post("/classify", json={"image": SMALL, "labels": LABELS[:300], "templates": TEMPLATES[:1]})
    assert answer.status_code == 200, answer.text


def test_overload_is_429_with_retry_after_and_no_traceback(endpoint, client, release):
    bulk = ask("/classify", image=SMALL, labels=[f"x{label}" for label in LABELS], templates=TEMPLATES[:4])
    answers = []

    def run():
        with httpx.Client(base_url=endpoint, timeout=90, trust_env=False) as mine:
            answers.append(bulk(mine))

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert all(answer.headers["retry-after"] == "2" and list(answer.json()) == ["error"] for answer in refused)
    assert {answer.status_code for answer in answers} == {200, 429}
    assert "Traceback" not in (release["root"] / "server.log").read_text()


SENT = {
    "a lone surrogate in a text": ("POST", "/embed_text", b'{"texts": ["\\ud800"]}', {}, 422),
    "a lone surrogate in a query": ("POST", "/search", b'{"text": "a\\udfff"}', {}, 422),
    "a lone surrogate in a label": ("POST", "/classify", b'{"image": "%s", "labels": ["\\ud800"]}', {}, 422),
    "a lone surrogate in a template": ("POST", "/classify", b'{"image": "%s", "templates": ["\\ud800 {}"]}', {}, 422),
    "a lone surrogate in a picture": ("POST", "/embed_image", b'{"images": ["\\ud800"]}', {}, 422),
    "a lone surrogate in a key": ("POST", "/embed_text", b'{"\\ud800": 1}', {}, 422),
    "a number of thousands of digits in a path": ("GET", f"/thumbnails/{'9' * 5000}.jpg", b"", {}, 404),
    "a number of twelve digits in a path": ("GET", f"/thumbnails/{'9' * 12}.jpg", b"", {}, 404),
    "a number of thousands of digits": ("POST", "/search", b'{"text": "a", "k": ' + b"9" * 5000 + b"}", {}, 422),
    "a number too large": ("POST", "/search", b'{"text": "a", "k": ' + b"9" * 4000 + b"}", {}, 422),
    "not a number": ("POST", "/search", b'{"text": "a", "k": NaN}', {}, 422),
    "deep JSON": ("POST", "/search", b'{"text": ' + b"[" * 100_000, {}, 422),
    "a boundary that is not ASCII": (
        "POST", "/embed_image", b"--\xe9\r\n", {"Content-Type": b"multipart/form-data; boundary=\xe9"}, 422,
    ),
    "no boundary": ("POST", "/embed_image", b"--b\r\n", {"Content-Type": "multipart/form-data"}, 422),
    "a form's header that is not ASCII": (
        "POST",
        "/embed_image",
        b'--b\r\nContent-Disposition: form-data; name="im\xff"; filename="\xe9"\r\n\xe9: \xff\r\n\r\nx\r\n--b--\r\n',
        {"Content-Type": FORM},
        422,
    ),
    "a form in no character set": (
        "POST",
        "/score",
        b'--b\r\nContent-Disposition: form-data; name="texts"\r\n\r\n\xff\r\n--b--\r\n',
        {"Content-Type": "multipart/form-data; boundary=b; charset=zlib"},
        422,
    ),
    "a content type that is not ASCII": ("POST", "/embed_image", b"x", {"Content-Type": b"text/\xe9"}, 415),
    "nothing there": ("GET", "/nothing", b"", {}, 404),
    "a path that is no text": ("GET", "/%ff%fe", b"", {}, 404),
    "a path out of the page": ("GET", "/page/..%2fservice.py", b"", {}, 404),
    "a GET of what takes POST": ("GET", "/embed_text", b"", {}, 405),
    "a DELETE": ("DELETE", "/lineage", b"", {}, 405),
    "another site's name": ("POST", "/lineage", b"{}", {"Host": "evil.example"}, 400),
    "another site's page": ("POST", "/lineage", b"{}", {"Origin": "https://evil.example"}, 403),
    "another site's picture": ("GET", "/thumbnails/0.jpg", b"", {"Sec-Fetch-Site": "cross-site"}, 403),
}  # fmt: skip


@pytest.mark.parametrize("name", SENT)
def test_a_hostile_request_is_refused_in_one_line_of_json(client, name):
    method, path, body, headers, status = SENT[name]
    answer = client.request(method, path, content=body.replace(b"%s", SMALL.encode()), headers=headers)
    assert answer.status_code == status, answer.text
    assert set(answer.json()) - {"results"} == {"error"}  # the embedding routes say of each item too
    assert "\n" not in answer.json()["error"]


def raw(endpoint, data):
    """The answer to bytes that no client library would send."""
    with socket.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2]))) as caller:
        caller.sendall(data)
        caller.settimeout(10)
        answer = b""
        while b"}" not in answer and (part := caller.recv(65536)):
            answer += part
    return int(answer.split()[1]), answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Host: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", 400),
        (b"Host: localhost\r\nContent-Length: 5\r\nContent-Length: 6", 400),
        (b"Host: localhost\r\nContent-Length: abc", 400),
        (b"Host: localhost\r\nHost: evil.example\r\nContent-Length: 0", 400),
        (b"Content-Length: 0", 400),
        (b"Host: localhost\r\nX\xe9: a", 400),
        (b"Host: localhost\r\nTransfer-Encoding: chunked", 200),
    ],
)
def test_what_is_hardly_http_is_refused_in_json_too(endpoint, head, status):
    chunk = b'10\r\n{"texts": ["a"]}\r\n0\r\n\r\n'
    found, body = raw(endpoint, b"POST /embed_text HTTP/1.1\r\n" + head + b"\r\n\r\n" + chunk)
    assert found == status, body
    assert status == 200 or list(json.loads(body)) == ["error"]


def test_head_and_options_answer_as_get_would(client):
    for path in ("/", "/docs", "/lineage", "/openapi.json", "/livez", "/readyz", "/metrics", "/thumbnails/0.jpg"):
        head, get = client.head(path), client.get(path)
        assert (head.status_code, head.content) == (200, b""), path
        assert head.headers["content-type"] == get.headers["content-type"]
        options = client.options(path)
        assert (options.status_code, options.content) == (204, b"")
        assert {"GET", "HEAD", "OPTIONS"} <= set(options.headers["allow"].split(", "))
    assert client.options("/search").headers["allow"] == "POST, OPTIONS"
    assert client.head("/search").status_code == 405


def test_a_caller_who_hangs_up_ends_his_captions_and_holds_no_place(endpoint, client):
    """Forty streams are begun and dropped, five times as many as there are places, and yet the next is answered."""
    port = int(endpoint.rpartition(":")[2])
    body = json.dumps(
        {"image": SMALL, "search": "beam", "beams": 16, "captions": 8, "guidance": 3, "least": 12}
    ).encode()
    for _ in range(40):
        with socket.create_connection(("127.0.0.1", port)) as caller:
            caller.sendall(
                b"POST /caption HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
            time.sleep(0.02)
    time.sleep(0.5)
    answer = client.post("/caption", json={"image": SMALL, "stream": False})
    assert answer.status_code == 200, answer.text


def test_too_many_captions_at_once_are_429_and_none_of_them_breaks(endpoint):
    answers = []

    def run():
        with httpx.Client(base_url=endpoint, timeout=90, trust_env=False) as mine:
            body = {"image": SMALL, "search": "beam", "beams": 16, "guidance": 3, "least": 12}
            answers.append(mine.post("/caption", json=body))

    threads = [threading.Thread(target=run) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} <= {200, 429}
    assert all("event: done" in answer.text for answer in answers if answer.status_code == 200)
    refused = [answer for answer in answers if answer.status_code == 429]
    assert all(answer.headers["retry-after"] == "2" and list(answer.json()) == ["error"] for answer in refused)


def documented(route, method="post"):
    return {int(status) for status in DOCUMENT["paths"][f"/{route}"][method]["responses"]}


def bodies():
    """(route, content type) of every body the document speaks of."""
    for operation in OPERATIONS:
        content = DOCUMENT["paths"][f"/{operation.route}"]["post"]["requestBody"]["content"]
        yield from ((operation.route, kind) for kind in content)


@pytest.mark.parametrize(("route", "kind"), list(bodies()))
def test_what_the_document_calls_valid_is_answered(client, route, kind):
    """200 examples an operation, made from the document alone."""
    document = client.get("/openapi.json").json()  # the server's own: it offers what its captioner was taught
    content = document["paths"][f"/{route}"]["post"]["requestBody"]["content"]
    said = content[kind]
    [output] = [operation.output for operation in OPERATIONS if operation.route == route]

    @settings(max_examples=200 // len(content), **AT_EASE)
    @given(valid(said["schema"], document))
    def check(value):
        if kind == "application/json":
            answer = client.post(f"/{route}", json=value)
        else:
            parts = [(name, part) for name, one in value.items() for part in (one if isinstance(one, list) else [one])]
            answer = client.post(f"/{route}", files=[(name, _part(part)) for name, part in parts])
        assert answer.status_code == 200, (answer.status_code, answer.text, value)
        output.model_validate(_answered(answer))

    check()


def _answered(answer):
    """The answer's object; of a stream, the one its last event holds."""
    if not answer.headers["content-type"].startswith("text/event-stream"):
        return answer.json()
    name, data = answer.text.strip().split("\n\n")[-1].split("\n")
    assert name == "event: done", answer.text
    return json.loads(data.removeprefix("data: "))


def _part(value):
    """A field of a form as httpx takes it: (file name or None, content)."""
    if isinstance(value, bytes):
        return "picture", value
    return None, value if isinstance(value, str) else json.dumps(value)


@pytest.mark.parametrize("route", [operation.route for operation in OPERATIONS])
def test_whatever_is_sent_gets_a_documented_answer(client, route):
    @settings(max_examples=60, **AT_EASE)
    @given(st.binary(max_size=200) | anything().map(lambda value: json.dumps(value).encode()), st.data())
    def check(body, data):
        kinds = ["application/json", "text/plain", "multipart/form-data; boundary=b", "image/png", "x/y", ""]
        kind = data.draw(st.sampled_from(kinds[:1] * 5 + kinds))
        answer = client.post(f"/{route}", content=body, headers={"Content-Type": kind})
        assert answer.status_code in documented(route)
        assert answer.status_code < 500
        if answer.status_code >= 400:
            assert set(answer.json()) <= {"error", "results"}

    check()


def test_every_get_is_answered_as_documented(client):
    for path, operations in DOCUMENT["paths"].items():
        if "get" in operations:
            [name] = {p["schema"].get("enum", ["0"])[0] for p in operations["get"].get("parameters", [])} or {""}
            answer = client.get(re.sub(r"{\w+}", name, path))
            kinds = operations["get"]["responses"]["200"]["content"]
            assert answer.status_code == 200, path
            assert "*/*" in kinds or answer.headers["content-type"].partition(";")[0] in kinds, path


PARENT = """
import sys
from pairwright.serving.packaging import serve
tag, port, home, log = sys.argv[1:]
serve(tag, int(port), "0.0.0.0", home=home, log=log, key="{key}", workers=2).wait()
"""


@pytest.fixture(scope="module")
def guarded(release):
    """A server with a key on all addresses, and the process that started it."""
    from pairwright.serving.packaging import wait_until_ready

    port = free_port()
    arguments = [release["tag"], str(port), str(release["home"]), str(release["root"] / "guarded.log")]
    parent = subprocess.Popen([sys.executable, "-c", PARENT.format(key=KEY), *arguments])
    try:
        wait_until_ready(parent, f"http://127.0.0.1:{port}")
        yield parent, f"http://127.0.0.1:{port}", port
    finally:
        parent.kill()
        parent.wait()


def test_with_a_key_every_route_but_the_probes_demands_it(guarded):
    _, url, _ = guarded
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        for path, operations in DOCUMENT["paths"].items():
            for method in operations:
                address = path.replace("{number}", "0").replace("{name}", "app.js")
                asked = client.request(method, address)
                probed = path in ("/livez", "/readyz", "/healthz")
                assert asked.status_code == (200 if probed else 401), path
                assert probed or list(asked.json()) == ["error"]
        for headers in ({"Authorization": f"Bearer {KEY}"}, {"X-API-Key": KEY}):
            assert client.get("/metrics", headers=headers).status_code == 200
            assert client.post("/embed_text", json={"texts": ["a"]}, headers=headers).status_code == 200
        assert client.get("/", auth=("anyone", KEY)).status_code == 200


def test_another_server_of_the_store_leaves_the_first_its_counts(guarded, client):
    """BentoML empties one folder of counts for all; `guarded` started after the first server had answered."""
    assert client.post("/embed_text", json={"texts": ["a"]}).status_code == 200
    assert re.search(r"^pairwright_batch_size_count\{.*?text", client.get("/metrics").text, re.MULTILINE)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_serve_leaves_nothing_on_the_port(guarded):
    parent, url, port = guarded
    assert httpx.get(f"{url}/livez", trust_env=False).status_code == 200
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until = time.monotonic() + 25
    while time.monotonic() < until:
        with socket.socket() as caller:
            if caller.connect_ex(("127.0.0.1", port)) != 0:
                break
        time.sleep(0.2)
    else:
        pytest.fail("something still listens on the port")
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))
