"""The demo corpus as a crawl of larger JPEGs, with near-duplicates and corrupt pictures planted in it.

    crawl = make_large_crawl("scratch/crawl", 20_000)
    crawl.copies["00000042"]        # key of the pair whose picture this one repeats
    crawl.corrupt["00000007"]       # "truncated", "not_an_image" or "empty"

Each picture of `data/raw` is used as it is, mirrored or turned, enlarged to 640 to 1,280 px and grained, so
that no two are the same unless planted. A copy is resized, recompressed, brightened, cropped or captioned in
a corner, as copies on the web are. The same arguments give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg

from pairwright.components.dataset.dataset import Dataset, open_dataset
from pairwright.components.dataset.media.decode import decode
from pairwright.components.dataset.pairs import caption_of
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter

ROOT = Path(__file__).parents[1]
COPIES, CORRUPT = 0.01, 0.01  # shares of the pairs
TURNS = 3  # as it is, mirrored, turned by 90 degrees: PDQ and pHash see three pictures
LOOK_ALIKE = ("resized", "recompressed", "brighter", "cropped", "written_on")
DAMAGE = ("truncated", "truncated", "not_an_image", "empty")  # truncated is the commonest in the wild


@dataclass(frozen=True)
class LargeCrawl:
    """A dataset and what was planted in it: copy -> original, corrupt pair -> kind of damage."""

    dataset: Dataset
    copies: dict[str, str]
    corrupt: dict[str, str]


def make_large_crawl(
    root: str, pairs: int, *, pairs_per_shard: int = 500, seed: int = 0, workers: int = 2
) -> LargeCrawl:
    """Write the crawl under `root`, or read the one of the same arguments that is there."""
    said = {"pairs": pairs, "pairs_per_shard": pairs_per_shard, "seed": seed}
    note = Path(root) / "planted.json"
    if note.is_file() and (found := json.loads(note.read_text()))["said"] == said:
        return LargeCrawl(open_dataset(root), found["copies"], found["corrupt"])
    jobs = _plan(pairs, seed)
    with (
        ShardWriter(root, "large_crawl", pairs_per_shard=pairs_per_shard) as writer,
        ProcessPoolExecutor(workers) as pool,
    ):
        for job, data in zip(jobs, pool.map(_encode, jobs, chunksize=64), strict=True):
            writer.add(job.key, [("image", "image", "jpg", data)], [caption(job.text)])
    made = LargeCrawl(
        writer.dataset,
        {job.key: job.repeats for job in jobs if job.repeats},
        {job.key: job.damage for job in jobs if job.damage},
    )
    note.write_text(
        json.dumps({"said": said} | {name: value for name, value in asdict(made).items() if name != "dataset"})
    )
    return made


@dataclass(frozen=True)
class _Job:
    """One pair to draw."""

    key: str
    text: str
    tar: str
    offset: int
    size: int
    turn: int
    seed: int
    repeats: str = ""
    look: str = ""
    damage: str = ""


def _plan(pairs: int, seed: int) -> list[_Job]:
    random = np.random.default_rng(seed)
    copies, corrupt = round(pairs * COPIES), round(pairs * CORRUPT)
    sources = list(_pictures())
    singles = pairs - copies
    if singles > TURNS * len(sources):
        raise SystemExit(
            f"data/raw has pictures for {TURNS * len(sources):,} pairs, not for {singles:,}; ask for fewer"
        )
    order = random.permutation(TURNS * len(sources))[:singles]
    numbers = random.permutation(pairs)  # where in the crawl each lands, copies far from their originals
    jobs = [
        _Job(f"{numbers[i]:08d}", *sources[one % len(sources)], turn=int(one // len(sources)), seed=int(numbers[i]))
        for i, one in enumerate(order)
    ]
    damaged = {int(i): DAMAGE[n % len(DAMAGE)] for n, i in enumerate(random.choice(singles, corrupt, replace=False))}
    jobs = [_changed(job, damage=damaged.get(i, "")) for i, job in enumerate(jobs)]
    sound = [job for job in jobs if not job.damage]
    for n, i in enumerate(random.choice(len(sound), copies, replace=False)):
        key = f"{numbers[singles + n]:08d}"
        jobs.append(_changed(sound[i], key=key, repeats=sound[i].key, look=LOOK_ALIKE[n % len(LOOK_ALIKE)]))
    return sorted(jobs, key=lambda job: job.key)


def _changed(job: _Job, **values: Any) -> _Job:
    return _Job(**(asdict(job) | values))


def _pictures() -> Iterator[tuple[str, str, int, int]]:
    """(caption, tar, offset, size) of every readable picture of the demo corpus."""
    for shard in open_dataset(str(ROOT / "data/raw")).shards:
        table = shard.read_sidecar(["media", "captions", "error"])
        for row in table.to_pylist():
            if row["media"] and not row["error"]:
                medium = row["media"][0]
                yield caption_of(row["captions"], "alt") or "", shard.tar, medium["offset"], medium["size"]


def _encode(job: _Job) -> bytes:
    cv2.setNumThreads(0)
    with open(job.tar, "rb") as tar:
        tar.seek(job.offset)
        image = decode(tar.read(job.size), 1 << 20).image
    assert image is not None, "the demo corpus lists only readable pictures"
    random = np.random.default_rng([7, job.seed])
    picture = _enlarged(image, job.turn, random)
    quality = 88
    if job.look:
        picture, quality = _copied(picture, job.look, random)
    data = bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality=quality, colorsubsampling="420"))
    if job.damage == "truncated":
        return data[: int(len(data) * random.uniform(0.3, 0.9))]
    return {"not_an_image": b"<!doctype html><title>403 Forbidden</title>", "empty": b""}.get(job.damage, data)


def _enlarged(image: np.ndarray, turn: int, random: np.random.Generator) -> np.ndarray:
    image = (image, image[:, ::-1], image.transpose(1, 0, 2))[turn]
    scale = random.integers(640, 1281) / max(image.shape[:2])
    large = cv2.resize(np.ascontiguousarray(image), None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    grain = random.integers(-6, 7, large.shape, dtype=np.int16)
    return np.clip(large.astype(np.int16) + grain, 0, 255).astype(np.uint8)


def _copied(picture: np.ndarray, look: str, random: np.random.Generator) -> tuple[np.ndarray, int]:
    """A copy as the web makes them, and the JPEG quality it is saved with."""
    height, width = picture.shape[:2]
    if look == "resized":
        scale = random.uniform(0.4, 0.8)
        return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), 85
    if look == "recompressed":
        return picture, int(random.integers(25, 60))
    if look == "brighter":
        return cv2.convertScaleAbs(picture, alpha=1.0, beta=float(random.uniform(6, 18))), 85
    if look == "cropped":
        top, left = (int(side * random.uniform(0.005, 0.015)) for side in (height, width))
        return picture[top : height - top, left : width - left], 85
    written = picture.copy()
    cv2.putText(written, "example.org", (12, height - 14), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (250, 250, 250), 2)
    return written, 85
