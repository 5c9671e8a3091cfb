"""Evaluation overlap: pairs of a group that models are evaluated on, so that nothing learns from them.

    filter:                                       # written by the flow where a recipe has `evaluate`
      score: {evaluation_overlap: {uses: evaluation_overlap, with: {groups: ..., hash: pdq.hash}}}
      keep:  {held_out: "NOT evaluation_overlap.drop"}

A pair is of the group of an evaluation pair if their pictures lie within PDQ's radius or one of their
captions is the same once normalised: what components/dataset/splits.py draws splits by. Keys say nothing:
img2dataset counts them anew in every dataset. The hash of a nearly featureless picture says little: two of
those are the same where their hashes are equal. Per shard, so a new shard costs itself alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from pairwright.components.component import Columns, Scorer
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.media.pdq import FEATURELESS, NEAR
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.dataset.shards.columns import ColumnStore, StepColumns
from pairwright.components.dataset.splits import normalise
from pairwright.components.errors import ModelError
from pairwright.components.filter.selections.duplicates.hamming_index import HammingIndex
from pairwright.components.registry import scorer
from pairwright.components.settings import ModelFolder, Settings

GROUPS, CONFIG = "groups.parquet", "config.json"
PICTURE, CAPTION = "picture", "caption"
SCHEMA = pa.schema(
    [
        ("pair", pa.string()),  # dataset/key
        ("hash", pa.binary(32)),  # null: no picture that can be read
        ("quality", pa.int32()),
        ("captions", pa.list_(pa.string())),  # normalised
    ]
)


class EvaluationOverlapSettings(Settings):
    groups: ModelFolder = Field(description="what is evaluated on, as `write_groups` wrote it")
    hash: str = "pdq.hash"
    quality: str = "pdq.quality"
    radius: int = Field(NEAR, ge=0, le=63, description="bits of 256 within which two pictures are the same")


@scorer("evaluation_overlap")
class EvaluationOverlap(Scorer[EvaluationOverlapSettings]):
    """Columns over every pair.

    Columns:
        drop: it is of the group of an evaluation pair.
        by: picture or caption, what they share; of: that pair's dataset/key; distance: bits, of pictures.
    """

    requires = Columns("hash", "quality")
    sees_failures = True
    columns = {"drop": pa.bool_(), "by": pa.string(), "of": pa.string(), "distance": pa.int32()}

    def setup(self, device: str) -> None:
        self.known = Groups.read(str(self.settings.groups.path), self.settings.radius)

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        hashes, qualities = pairs.columns[self.settings.hash], pairs.columns[self.settings.quality]
        pictures = self.known.pictures(hashes, qualities)
        found: list[tuple[str | None, str | None, int | None]] = []
        for sidecar, near in zip(pairs.sidecar, pictures, strict=True):
            if near is not None:
                found.append((PICTURE, *near))
                continue
            of = self.known.caption(captions_of(sidecar["captions"], self.known.sources))
            found.append((CAPTION if of else None, of, None))
        by, of_pair, distance = ([one[i] for one in found] for i in range(3))
        return {"drop": [one is not None for one in by], "by": by, "of": of_pair, "distance": distance}


@dataclass(frozen=True)
class Groups:
    """The evaluation pairs' hashes and captions, ready to be asked."""

    sources: tuple[str, ...]
    pairs: list[str]
    index: HammingIndex
    flat: Mapping[bytes, str]
    by_caption: Mapping[str, str]

    @classmethod
    def read(cls, folder: str, radius: int = NEAR) -> Groups:
        """What `write_groups` wrote.

        Raises:
            ModelError: it is missing or damaged.
        """
        try:
            table = pq.read_table(Path(folder) / GROUPS, schema=SCHEMA)
            sources = tuple(json.loads((Path(folder) / CONFIG).read_text(encoding="utf-8"))["sources"])
        except (OSError, KeyError, ValueError, pa.ArrowException) as error:
            raise ModelError(f"{folder} holds no evaluation groups ({error}); run the recipe again") from None
        telling = np.array([usable(quality) for quality in table["quality"].to_pylist()], bool)
        hashed, rest = table.filter(pa.array(telling)), table.filter(pa.array(~telling)).drop_null()
        flat = dict(zip(rest["hash"].to_pylist(), rest["pair"].to_pylist(), strict=True))
        index = HammingIndex(radius)
        index.add(np.frombuffer(b"".join(hashed["hash"].to_pylist()), np.uint8).reshape(-1, 32))
        by_caption: dict[str, str] = {}
        for pair, captions in zip(table["pair"].to_pylist(), table["captions"].to_pylist(), strict=True):
            for text in captions:
                by_caption.setdefault(text, pair)
        return cls(sources, hashed["pair"].to_pylist(), index, flat, by_caption)

    def pictures(self, hashes: Sequence[bytes | None], qualities: Sequence[int | None]) -> list[tuple[str, int] | None]:
        """For each hash the nearest evaluation pair within the radius, and the bits to it."""
        found: list[tuple[str, int] | None] = [
            (self.flat[one], 0) if one is not None and one in self.flat and not usable(quality) else None
            for one, quality in zip(hashes, qualities, strict=True)
        ]
        rows = [row for row, quality in enumerate(qualities) if usable(quality)]
        asked = np.frombuffer(b"".join(hashes[row] or b"" for row in rows), np.uint8).reshape(-1, 32)
        if not len(self.index) or not rows:
            return found
        for query, member, distance in zip(*self.index.near(asked), strict=True):
            known = found[rows[query]]
            if known is None or distance < known[1]:
                found[rows[query]] = (self.pairs[member], int(distance))
        return found

    def caption(self, texts: Iterable[str]) -> str | None:
        """The first evaluation pair with one of these normalised captions."""
        return next((self.by_caption[text] for text in texts if text in self.by_caption), None)


def usable(quality: int | None) -> bool:
    """Whether a PDQ hash of this quality says what a picture shows."""
    return quality is not None and quality > FEATURELESS


def captions_of(captions: Sequence[Mapping[str, Any]] | None, sources: Sequence[str]) -> list[str]:
    """Normalised captions of these sources (`alt`, `translation@de`); those without a word are left out."""
    texts = [
        normalise(one["text"])
        for one in captions or ()
        if one["source"] in sources or f"{one['source']}@{one['lang']}" in sources
    ]
    return [text for text in texts if text]


def write_groups(
    datasets: Mapping[str, Dataset], sources: Sequence[str], store: ColumnStore, pdq: StepColumns, folder: Path
) -> int:
    """Write the hashes and captions of these evaluation datasets; returns their pairs.

    Args:
        pdq: where their PDQ columns were committed.
    """
    rows = []
    for name, dataset in datasets.items():
        for shard, sidecar in dataset.iter_sidecars(["key", "captions"]):
            hashed = store.read(pdq, shard, ["hash", "quality"]).to_pylist()
            for about, picture in zip(sidecar.to_pylist(), hashed, strict=True):
                texts = captions_of(about["captions"], sources)
                rows.append({"pair": f"{name}/{about['key']}", **picture, "captions": texts})
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), folder / GROUPS, compression="zstd")
    (folder / CONFIG).write_text(json.dumps({"sources": list(sources)}) + "\n", encoding="utf-8")
    return len(rows)
