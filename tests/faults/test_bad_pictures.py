"""Pictures as the web has them: each bad one is a row with its reason, and no good neighbour is lost."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from shapes import encoded, picture

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards.columns import ColumnsView, StepColumns
from pairwright.components.dataset.shards.scan import ColumnJob, ScanTask, read_pairs, run_local
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter

SCORERS = {"image": "image", "exact_hash": "exact_hash", "pdq": "pdq"}


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def bomb() -> bytes:
    """A sound PNG of 168 megapixels in some 20 kB, as one of the demo's own packages ships."""
    return saved(Image.new("1", (14000, 12000)), "PNG")


BAD: dict[str, tuple[str, Callable[[], bytes]]] = {
    "bomb": ("decode:too_large:168000000px", bomb),
    "empty": ("decode:empty", bytes),
    "truncated": ("decode:truncated", lambda: encoded(3)[:-900]),
    "half_png": ("decode:truncated", lambda: encoded(3, form="PNG")[:400]),
    "html": ("decode:not_an_image", lambda: b"<!doctype html><title>404 Not Found</title>"),
    "svg": ("decode:not_an_image", lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>'),
    "zeros": ("decode:not_an_image", lambda: bytes(5000)),
    "header_only": ("decode:truncated", lambda: encoded(3)[:160]),
}
ODD: dict[str, Callable[[], bytes]] = {
    "gif": lambda: encoded(3, form="GIF"),
    "cmyk": lambda: saved(picture(3).convert("CMYK"), "JPEG", quality=95),
    "palette": lambda: saved(picture(3).quantize(64), "PNG"),
    "alpha": lambda: saved(picture(3).convert("RGBA"), "PNG"),
    "deep": lambda: saved(Image.fromarray(np.full((40, 40), 40000, np.uint16)), "PNG"),
    "webp": lambda: encoded(3, form="WEBP"),
    "pixel": lambda: saved(Image.new("RGB", (1, 1), "red"), "PNG"),
    "sliver": lambda: saved(Image.new("RGB", (1, 3000), "red"), "JPEG"),
}


@pytest.fixture
def crawl(tmp_path: Path) -> Dataset:
    """Every bad and odd picture with good ones between them."""
    with ShardWriter(str(tmp_path / "crawl"), "crawl", pairs_per_shard=7) as writer:
        for number, (name, make) in enumerate([*((n, m) for n, (_, m) in BAD.items()), *ODD.items()]):
            writer.add(name, [("image", "image", "jpg", make())], [caption(name)])
            writer.add(f"good{number}", [("image", "image", "jpg", encoded(number))], [caption("good")])
    return writer.dataset


def scanned(crawl: Dataset, root: Path) -> dict[str, dict[str, Any]]:
    """Key -> its columns, by the real scorers that open pictures."""
    jobs = [
        ColumnJob(step, "scorer", uses, {}, StepColumns(uses, "d"), f"pairwright.components.filter.scorers.{uses}")
        for step, uses in SCORERS.items()
    ]
    task = ScanTask(jobs, str(root / "columns"), batch_size=5)
    run_local(task, crawl.shards)
    view = ColumnsView(crawl, task.store, {job.step: job.columns for job in jobs})
    names = ["image.readable", "image.error", "image.width", "exact_hash.bytes", "pdq.hash", "pdq._error"]
    keys = view.sidecar(["key"])["key"].to_pylist()
    return {key: dict(zip(names, row)) for key, *row in zip(keys, *(view.column(name).to_pylist() for name in names))}


def test_a_bad_picture_is_a_row_with_its_reason_and_its_neighbours_are_kept(crawl: Dataset, tmp_path: Path) -> None:
    rows = scanned(crawl, tmp_path)
    assert len(rows) == crawl.rows == 2 * (len(BAD) + len(ODD))
    for name, (reason, _) in BAD.items():
        assert rows[name]["image.readable"] is False, name
        assert rows[name]["image.error"] == reason
        assert rows[name]["pdq.hash"] is None
        assert rows[name]["pdq._error"] == reason
        assert rows[name]["exact_hash.bytes"] is not None, "its bytes can still be told from others"
    for name in [*ODD, *(key for key in rows if key.startswith("good"))]:
        assert rows[name]["image.readable"] is True, name
        assert rows[name]["pdq._error"] is None, name
        assert len(rows[name]["pdq.hash"]) == 32
    assert rows["bomb"]["image.width"] == 14000, "its header was read"


def test_an_odd_picture_shows_what_the_plain_one_shows(crawl: Dataset) -> None:
    images = {
        key: image
        for shard in crawl.shards
        for batch in read_pairs(shard, pixels=96)
        for key, image in zip(batch.keys, batch.images, strict=True)
    }
    plain = np.asarray(picture(3)).astype(int)
    for name in ("gif", "cmyk", "palette", "alpha", "webp"):
        assert np.abs(images[name].astype(int) - plain).mean() < 6, name
    assert int(images["deep"][0, 0, 0]) == 156, "40000 of 65535"


def test_a_bomb_is_refused_before_its_pixels_take_memory(tmp_path: Path) -> None:
    with ShardWriter(str(tmp_path / "bombs"), "bombs") as writer:
        data = bomb()
        for number in range(3):
            writer.add(f"b{number}", [("image", "image", "png", data)], [caption("boom")])
    tracemalloc.start()
    errors = [batch.errors for batch in read_pairs(writer.dataset.shards[0], pixels=64)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert errors == [["decode:too_large:168000000px"] * 3]
    assert peak < 8 << 20
