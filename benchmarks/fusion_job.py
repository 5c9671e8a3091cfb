"""A fusion job over a text model behind HTTP: how busy its concurrency is, and what is asked again after kill -9.

    python -m benchmarks.fusion_job [--pairs 6000] [--concurrency 16]

A server of this script's own answers each request after 100 ms, and every twentieth by 503. A dataset of so many pairs
is fused by `ScanTask`, as a run does it, in a process of its own; another is killed half-way and started again. Busy is
the mean number of requests at the server over the concurrency, from the first request to the last of the undisturbed
job; the same is told of a job that is given 64 pairs at a time, as captioners are that do not ask for more. A job ends
with further tries, few at once and each after a pause, so that a short one is less busy: see `--pairs 2000`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.machine import ROOT, add_output_option, publish

LATENCY_S, ERRORS = 0.1, 20  # every so manieth request is turned away
LIMIT = 0.9
FEW = "64 pairs at once"
MOST_BY_FEW = 2000  # pairs, since it takes thrice as long
SEEN = ", as it is seen"  # what the server adds to a caption


class Server:
    """Answers /chat/completions by what it was asked; remembers when, how often, and what it answered.

    Attributes:
        answered: prompt -> how often it was answered by 200 and the answer was taken.
        area: seconds that requests spent here, all together.
    """

    def __init__(self) -> None:
        self.answered: Counter[str] = Counter()
        self.asked = 0
        self.area = 0.0
        self.first = self.last = 0.0
        self.most = self._now = 0
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        threading.Thread(target=self._run, args=(started,), daemon=True).start()
        started.wait()

    @property
    def busy(self) -> float:
        """Mean number of requests here."""
        return self.area / (self.last - self.first)

    def forget(self) -> None:
        self.answered.clear()
        self.asked, self.area, self.first, self.most = 0, 0.0, 0.0, 0

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        started.set()
        self._loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = next(
                    int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
                )
                writer.write(await self._reply(json.loads(await reader.readexactly(size))))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _reply(self, body: dict[str, Any]) -> bytes:
        began = time.monotonic()
        self.first = self.first or began
        self.asked += 1
        fails = self.asked % ERRORS == 0
        self._now += 1
        self.most = max(self.most, self._now)
        await asyncio.sleep(LATENCY_S)
        self._now -= 1
        self.last = time.monotonic()
        self.area += self.last - began
        if fails:
            return b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"
        prompt = body["messages"][-1]["content"]
        self.answered[prompt] += 1
        said = json.loads(prompt.rpartition("EVIDENCE: ")[2])["caption"]
        choice = {"message": {"content": f"{said}{SEEN}"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 120, "completion_tokens": 10, "total_tokens": 130}
        content = json.dumps({"choices": [choice], "usage": usage}).encode()
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(content) + content


def dataset_of(root: Path, pairs: int) -> Any:
    """One shard of pairs that have a text, each its own, and no picture."""
    from pairwright.components.dataset.shards.sidecar import caption
    from pairwright.components.dataset.shards.writer import ShardWriter

    with ShardWriter(str(root / "data"), "job", pairs_per_shard=pairs) as writer:
        for i in range(pairs):
            writer.add(f"{i:06d}", [], [caption(f"picture number {i} of a river")])
    return writer.dataset


def in_a_process(root: Path, url: str, pairs: int, concurrency: int, job: str) -> list[str]:
    """The command line of the job in a process of its own: it and the server are not to wait for one interpreter."""
    return [sys.executable, "-m", "benchmarks.fusion_job", "--job", *map(str, (root, url, pairs, concurrency, job))]


def fuse(root: Path, url: str, pairs: int, concurrency: int, job: str) -> list[str]:
    """The job, in this process; returns the captions."""
    from pairwright.components.dataset.dataset import open_dataset
    from pairwright.components.dataset.shards.columns import ColumnStore, StepColumns
    from pairwright.components.dataset.shards.scan import ColumnJob, ScanTask

    model = {"uses": "openai", "url": url, "model": "m", "cache": str(root / f"{job}.sqlite"), "timeout_s": 10}
    settings = {"text_model": model | {"concurrency": concurrency, "first_wait_s": 0.5, "max_tokens": 1000 * pairs}}
    place = StepColumns("fuse", job)
    (shard,) = open_dataset(str(root / "data")).shards
    ScanTask([ColumnJob("fused", "captioner", "fuse", settings, place)], str(root / "columns")).run(shard)
    return list(ColumnStore(str(root / "columns")).read(place, shard, ["text"])["text"].to_pylist())


def killed_and_resumed(server: Server, root: Path, pairs: int, concurrency: int) -> dict[str, int]:
    """A job killed when the server has answered half of it, and started again."""
    server.forget()
    command = in_a_process(root, server.url, pairs, concurrency, "killed")
    job = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT)
    while sum(server.answered.values()) < pairs // 2:
        if job.poll() is not None:
            raise SystemExit("the job ended before it could be killed")
        time.sleep(0.005)
    job.send_signal(signal.SIGKILL)
    job.wait()
    time.sleep(2 * LATENCY_S)  # what was in flight is answered, to nobody
    with closing(sqlite3.connect(root / "killed.sqlite")) as database:
        kept = database.execute("select count(*) from answers").fetchone()[0]
    before = sum(server.answered.values())
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    texts = fuse(root, server.url, pairs, concurrency, "killed")  # finds its columns
    return {
        "rows finished before the kill": kept,
        "answered to nobody at the kill": before - kept,
        "finished rows asked again": sum(server.answered.values()) - before - (pairs - kept),
        "rows fused, each once": len({text for text in texts if text.endswith(SEEN)}),
    }


def measure(root: Path, pairs: int, concurrency: int, killed: int) -> dict[str, Any]:
    """The undisturbed job, the same at 64 pairs at a time, and one of `killed` pairs that is killed."""
    server, found = Server(), {}
    for name, size in (("a shard at once", pairs), (FEW, min(pairs, MOST_BY_FEW))):
        server.forget()
        job = name.replace(" ", "-")
        dataset_of(root / job, size)
        command = in_a_process(root / job, server.url, size, concurrency, job)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        texts = fuse(root / job, server.url, size, concurrency, job)  # finds its columns
        found[name] = {
            "busy": round(server.busy / concurrency, 3),
            "seconds": round(server.last - server.first, 2),
            "requests": server.asked,
            "most at once": server.most,
            "rows answered once": sum(times == 1 for times in server.answered.values()),
            "rows fused": len({text for text in texts if text.endswith(SEEN)}),
        }
    dataset_of(root / "killed", killed)
    return found | {"killed": killed_and_resumed(server, root / "killed", killed, concurrency)}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=6000)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--job", nargs=5, help=argparse.SUPPRESS)
    add_output_option(parser)
    wish = parser.parse_args(arguments)
    if wish.job:
        from pairwright.components.models.text_backends import OpenAITextModel

        root, url, pairs, concurrency, job = wish.job
        few = job == FEW.replace(" ", "-")
        with patch.object(OpenAITextModel, "at_once", 0) if few else contextlib.nullcontext():
            fuse(Path(root), url, int(pairs), int(concurrency), job)
        return
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), wish.pairs, wish.concurrency, min(wish.pairs, 400))
    publish(found | {"pairs": wish.pairs, "concurrency": wish.concurrency, "goal": LIMIT}, wish.json, ("httpx",))
    again = found["killed"]["finished rows asked again"]
    if found["a shard at once"]["busy"] < LIMIT or again:
        raise SystemExit(f"busy is to be at least {LIMIT}, and no finished row asked again")


if __name__ == "__main__":
    main()
