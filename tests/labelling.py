"""Labelling without a person: datasets to label, a server, and a scripted labeller with a known taste.

from labelling import by_length, label_by_taste, labelled_folder
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter

ROOT = Path(__file__).parents[1]
Taste = Callable[[str], float]


def by_length(text: str) -> float:
    """A known taste: the longer caption is better."""
    return float(len(text))


def captioned_dataset(
    root: Any, rows: Sequence[Sequence[tuple[str, str]]], *, name: str = "labelled", shards: int = 1, start: int = 0
) -> Dataset:
    """Shapes with these (source, text) captions; keys "0", "1", ... `start` shifts the pictures."""
    from shapes import encoded

    per_shard = max(-(-len(rows) // shards), 1)
    with ShardWriter(f"{root}/{name}", name, pairs_per_shard=per_shard, licence="CC0-1.0") as writer:
        for number, captions in enumerate(rows):
            texts = [caption(text, source=source, lang="en") for source, text in captions]
            writer.add(str(number), [("image", "image", "jpg", encoded(start + number, 64))], texts)
    return writer.dataset


def many_captions(rows: int) -> list[list[tuple[str, str]]]:
    """Three captions a picture, of clearly different lengths."""
    from shapes import caption_text, facts_of

    return [
        [
            ("alt", f"{caption_text(n)}, on a light ground"),
            ("keywords", ", ".join(facts_of(n)[:2])),
            ("file_name", f"form{n}"),
        ]
        for n in range(rows)
    ]


def by_taste(captions: Sequence[str], taste: Taste) -> list[list[int]]:
    """Places, best first, of captions by a taste; those it likes the same tie."""
    likings = sorted({taste(text) for text in captions}, reverse=True)
    return [[n for n, text in enumerate(captions) if taste(text) == liking] for liking in likings]


def label_by_taste(client: Any, labeller: str, taste: Taste, items: int) -> int:
    """Answer up to `items` pictures through the page's own routes; how many were answered.

    `client` is an `httpx.Client` with a base URL, or Starlette's `TestClient`.
    """
    state = client.post("/api/next", json={"labeller": labeller, "count": 1}).raise_for_status().json()
    done = 0
    while done < items and state["next"]:
        serving = state["next"][0]
        ranking = by_taste([one["text"] for one in serving["captions"]], taste)
        answer = {"labeller": labeller, "token": serving["token"], "rankings": {"preference": ranking}, "seconds": 1.0}
        state = client.post("/api/answer", json=answer).raise_for_status().json()
        done += 1
    return done


def labelled_folder(
    dataset: Dataset, root: Path, taste: Taste = by_length, items: int = 50, *, random_share: float = 0.2, seed: int = 0
) -> Path:
    """`items` pictures of the dataset labelled by a taste through the page's API, and exported: a labels folder."""
    import pytest

    TestClient = pytest.importorskip("starlette.testclient").TestClient  # noqa: N806  a class
    from pairwright.components.preference.criteria import read_criteria
    from pairwright.components.preference.labels_folder import export_labels
    from pairwright.components.preference.pool import read_pool
    from pairwright.components.preference.sampling import sample_items
    from pairwright.components.preference.store import LabelStore
    from pairwright.components.preference.web import labelling_app

    store = LabelStore(root / "labels.sqlite")
    store.add_items(sample_items(read_pool(dataset, seed=seed), items, random_share=random_share, seed=seed))
    client = TestClient(labelling_app(store, dataset, read_criteria(None), seed=seed), base_url="http://127.0.0.1")
    while label_by_taste(client, "taste", taste, items):
        pass
    export_labels(store, root / "labels")
    store.close()
    return root / "labels"


def answered_folder(folder: Path, dataset: Dataset, items: int, *, random_share: float = 0.2) -> Path:
    """A labels folder of a dataset's first pictures, the longest caption preferred to the shortest: no page."""
    from pairwright.components.dataset.judgements import HUMAN
    from pairwright.components.hashing import file_sha256
    from pairwright.components.preference.labels_folder import JUDGEMENTS_FILE, LABELS_VERSION, MANIFEST, SCHEMA

    rows = []
    for shard, table in dataset.iter_sidecars(["key", "captions"]):
        for row, about in enumerate(table.to_pylist()):
            texts = sorted((one["text"] for one in about["captions"]), key=lambda text: (-len(text), text))
            share = "random" if len(rows) < round(random_share * items) else "chosen"
            place = {"shard": shard.digest, "row": row, "key": about["key"], "share": share, "repeat": False}
            said = {"better": texts[0], "worse": texts[-1], "tie": False, "kind": "preference", "origin": HUMAN}
            rows.append(
                place | said | {"answer": len(rows), "by": "taste", "better_source": "alt", "worse_source": "alt"}
            )
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows[:items], schema=SCHEMA), folder / JUDGEMENTS_FILE)
    manifest = {"labels_version": LABELS_VERSION, "sha256": file_sha256(folder / JUDGEMENTS_FILE)}
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    return folder


@contextmanager
def labelling_server(dataset: str, workspace: Path, *options: str) -> Iterator[tuple[str, Any]]:
    """`pairwright label` in a process of its own: (its address, the process)."""
    command = [
        sys.executable,
        "-m",
        "pairwright.flows.cli",
        "label",
        dataset,
        "--workspace",
        str(workspace),
        "--no-open",
    ]
    process = subprocess.Popen(
        [*command, "--port", "0", *options],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    said = []
    try:
        for line in process.stderr:  # type: ignore[union-attr]  it is a pipe
            said.append(line)
            if line.startswith("label on "):
                yield line.split()[2], process
                return
        raise AssertionError("".join(said))
    finally:
        process.kill()
        process.wait()
        process.stderr.close()  # type: ignore[union-attr]


def answer_file(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path
