"""The demo corpus in numbers and a picture: writes docs/corpus.md and docs/pictures/corpus.jpg.

python -m benchmarks.corpus             # from the pulled corpus in ./data
python -m benchmarks.corpus --check     # exit 1 if docs/corpus.md is not what it would write
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pairwright.components.dataset.dataset import Dataset, open_dataset
from pairwright.components.dataset.media.decode import decode
from pairwright.components.dataset.pairs import caption_of
from pairwright.components.dataset.splits import normalise
from pairwright.components.versioning import data_version

ROOT = Path(__file__).parents[1]
NAMES = ("raw", "dev", "test")
TILE, COLUMNS, ROWS = 96, 12, 3


def rows_of(dataset: Dataset) -> list[dict[str, Any]]:
    return [row for _, table in dataset.iter_sidecars() for row in table.to_pylist()]


def table(head: list[str], body: list[list[Any]]) -> str:
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in line] for line in body]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def facts_table(rows: dict[str, list[dict[str, Any]]], datasets: dict[str, Dataset]) -> str:
    def count(what: Any) -> list[Any]:
        return [sum(1 for row in rows[name] if what(row)) for name in NAMES]

    def repeated(name: str) -> int:
        captions = Counter(normalise(caption_of(row["captions"], "alt")) for row in rows[name])
        return sum(n for text, n in captions.items() if text and n > 1)

    sizes = [f"{sum(shard.tar_bytes for shard in datasets[name].shards) / 2**20:.1f}" for name in NAMES]
    body = [
        ["pairs", *(len(rows[name]) for name in NAMES)],
        ["of them stamps", *count(lambda row: row["key"].startswith("stamp-"))],
        ["of them clip-art", *count(lambda row: row["key"].startswith("clipart-"))],
        ["shards", *(len(datasets[name].shards) for name in NAMES)],
        ["tars, MiB", *sizes],
        ["groups", *(len({row["group"] for row in rows[name]}) for name in NAMES)],
        ["rows without a usable picture, each with a reason", *count(lambda row: row["error"])],
        ["no alt-text", *count(lambda row: caption_of(row["captions"], "alt") is None)],
        ["empty alt-text", *count(lambda row: caption_of(row["captions"], "alt") == "")],
        ["pairs whose alt-text another pair has too", *(repeated(name) for name in NAMES)],
        [
            "caption languages",
            *(len({c["lang"] for row in rows[name] for c in row["captions"] if c["lang"]}) for name in NAMES),
        ],
    ]
    return table(["", *NAMES], body)


def category_table(datasets: dict[str, Dataset], rows: dict[str, list[dict[str, Any]]]) -> str:
    counts = {
        name: Counter(
            label["value"]
            for row in rows[name]
            if row["key"].startswith("stamp-")
            for label in row["labels"]
            if label["name"] == "category"
        )
        for name in NAMES
    }
    categories = sorted(set().union(*counts.values()))
    total = ["**all**", *(sum(counts[name].values()) for name in NAMES)]
    return table(["stamps of", *NAMES], [*([c, *(counts[n][c] for n in NAMES)] for c in categories), total])


def page(root: Path) -> str:
    datasets = {name: open_dataset(str(root / "data" / name)) for name in NAMES}
    rows = {name: rows_of(datasets[name]) for name in NAMES}
    left_out = datasets["raw"].facts["composition"]["left_out"]
    captions = Counter(c["source"] for name in NAMES for row in rows[name] for c in row["captions"])
    errors = Counter(row["error"].partition(":")[2].partition(":")[0] for row in rows["raw"] if row["error"])
    licences = Counter(row["licence"] for name in NAMES for row in rows[name])
    reasons = "; ".join(f"{n} {reason}" for reason, n in sorted(errors.items()))
    return f"""# The demo corpus

Real, small and free: Tux Paint's stamps, photographs and drawings with clean captions in many languages, and
Open Clip Art's drawings, whose titles are as noisy as alt-text on the web.

![36 pairs of raw as they come, above 36 of dev](pictures/corpus.jpg)

`data.dvc` pins it (`{data_version(root)}`); its bytes are in this repository, under `infra/dvc-remote`, so
`pairwright` pulls it without a network. It was made by `pairwright ingest debian-clipart data` from three Debian
packages, `tuxpaint-stamps-default`, `openclipart-png` and `openclipart-svg`; the same packages give the same bytes.

Beside it, `data.dvc` pins [the emoji corpus](emoji.md): 1,870 concepts in four artists' styles, named in 21 languages.

This page is written by `python -m benchmarks.corpus`.

## What is in it

{facts_table(rows, datasets)}

Pictures are at most {datasets["raw"].facts["max_side"]} px on the longer side, over white: stamps are JPEG, clip-art
is WebP. Rows of raw without a picture: {reasons}.

Every text a picture came with is a caption of its own source:

{table(["source", "captions"], [[source, n] for source, n in captions.most_common()])}

## How `dev` and `test` were drawn

Two stamps are in one group if their PDQ hashes differ in at most 31 of 256 bits, if their captions are the same
without case, punctuation and article, or if they are numbered variants of one motif in one folder; and so on
transitively. Whole groups of at most 4 were drawn, stratified by category, letters and other symbols held to 8% of
a split. No group crosses (`tests/unit/dataset/test_splits.py`). Pairs with the same caption are in one split, where
each is a right answer for the other. A pair whose stored, compressed picture came within the radius of one in another
split is left out as well, so the rule holds for the bytes that are served.

{category_table(datasets, rows)}

Left out of everything, because of a link to a drawn stamp: {", ".join(f"{n} by {why}" for why, n in left_out.items())}
({sum(left_out.values())} pairs).

Never trained on: both. `dev` promotes and tunes, `test` only reports. Before anything learns, every run holds out the
pairs that share a picture (PDQ, 31 bits) or a normalised caption with what its recipe evaluates on: the rule `held_out`
of its funnel. Of this corpus's `raw` that is none, since the splits were drawn by the same groups.

## Limits

Mirrored and rotated copies are not recognised as the same picture, nor two captions that say the same in other words.
Over a third of the stamps left to train on are letters, digits, coins and other symbols, because few were drawn. Text
inside SVG stamps is not drawn, because fonts differ between machines. The pinned `raw` was grouped by an earlier
release: made anew, three of its drawings (`pattern-warning`) fall into another group, and its digest is another.

## Licences

{table(["licence", "pairs"], [[licence, n] for licence, n in licences.most_common()])}

Each row carries its licence, author and the path it had in its package; the `facts` of each `dataset.json` list
licences and authors by shard.
"""


def sheet(root: Path) -> np.ndarray:
    """Pictures of raw above pictures of dev, in shard order: (2 ROWS TILE, COLUMNS TILE, 3) BGR."""
    canvas = np.full((2 * ROWS * TILE + 6, COLUMNS * TILE, 3), 255, np.uint8)
    for half, name in enumerate(("raw", "dev")):
        shard = open_dataset(str(root / "data" / name)).shards[0]
        media = [row["media"][0] for row in shard.read_sidecar().to_pylist() if row["media"]]
        for place, medium in enumerate(media[: ROWS * COLUMNS]):
            image = decode(shard.read_member(medium), TILE).image
            assert image is not None
            scale = (TILE - 6) / max(image.shape[:2])
            small = cv2.resize(image[:, :, ::-1], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            top = half * (ROWS * TILE + 6) + place // COLUMNS * TILE + (TILE - small.shape[0]) // 2
            left = place % COLUMNS * TILE + (TILE - small.shape[1]) // 2
            canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    canvas[ROWS * TILE + 2 : ROWS * TILE + 4] = 160
    return canvas


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if docs/corpus.md is stale")
    check = parser.parse_args().check
    target = ROOT / "docs/corpus.md"
    text = page(ROOT)
    if check:
        return int(not target.exists() or target.read_text(encoding="utf-8") != text)
    (ROOT / "docs/pictures").mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    cv2.imwrite(str(ROOT / "docs/pictures/corpus.jpg"), sheet(ROOT), [cv2.IMWRITE_JPEG_QUALITY, 85])
    print(f"wrote {target.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
