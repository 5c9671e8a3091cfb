"""`kill -9` of the labelling server while people answer: every acknowledged answer is there, none twice."""

from __future__ import annotations

import random
import threading
import time

import httpx
import pytest
from labelling import by_taste, captioned_dataset, labelling_server, many_captions

from pairwright.components.preference.store import LabelStore

pytestmark = [pytest.mark.platform, pytest.mark.slow]
LABELLERS = ("ann", "bob", "eve")


def answer_until_the_end(address: str, labeller: str, acknowledged: dict[int, tuple[str, str]]) -> None:
    """Answer as fast as the server does; note each event the server said it saved, and stop when it is gone."""
    with httpx.Client(base_url=address, timeout=10) as client:
        try:
            state = client.post("/api/next", json={"labeller": labeller, "count": 1}).json()
            while state["next"]:
                serving = state["next"][0]
                ranking = by_taste([one["text"] for one in serving["captions"]], len)
                body = {"labeller": labeller, "token": serving["token"], "rankings": {"preference": ranking}}
                state = client.post("/api/answer", json=body).json()
                acknowledged[state["saved"]] = (labeller, serving["token"])
        except httpx.TransportError:
            return


def test_no_acknowledged_answer_is_lost_to_kill_9(tmp_path):
    dataset = captioned_dataset(tmp_path, many_captions(400), shards=2)
    path = tmp_path / "labels.sqlite"
    options = ("--items", "400", "--store", str(path), "--overlap", "0.3", "--random", "0.2")
    acknowledged: dict[int, tuple[str, str]] = {}
    draw, killed = random.Random(), 0
    for _ in range(3):
        with labelling_server(dataset.root, tmp_path / "workspace", *options) as (address, process):
            before = len(acknowledged)
            threads = [
                threading.Thread(target=answer_until_the_end, args=(address.split("?")[0], who, acknowledged))
                for who in LABELLERS
            ]
            for thread in threads:
                thread.start()
            while len(acknowledged) < before + 5 and any(thread.is_alive() for thread in threads):
                time.sleep(0.005)
            time.sleep(draw.uniform(0, 0.3))
            process.kill()
            killed += any(thread.is_alive() for thread in threads)
            for thread in threads:
                thread.join(30)
        store = LabelStore(path)  # as the next start opens it
        rows = store.read("SELECT id, labeller, token FROM events WHERE kind = 'answer'")
        kept = {row["id"]: (row["labeller"], row["token"]) for row in rows}
        assert acknowledged.items() <= kept.items()
        # At most the one answer each had under way was kept without its acknowledgement arriving.
        assert len(kept) - len(acknowledged) <= len(LABELLERS) * 3
        assert store.read("PRAGMA integrity_check")[0][0] == "ok"
        assert store.read("SELECT count(*) FROM items")[0][0] == 400
        first = [(one.labeller, one.item.id) for one in store.given() if not one.repeat]
        assert len(first) == len(set(first))
        store.close()
    assert killed == 3, "everything was answered before the kill; make the dataset larger"
    assert len(acknowledged) >= 15
