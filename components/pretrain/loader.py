"""Batches: cached features of locked towers, or pictures and captions for towers being trained.

All loaders answer `embed(model, numbers, epoch)`; which caption a pair has in an epoch is drawn by
`pairwright.components.dataset.captions.caption_mix`, so no loader has any state beyond the sampler's place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from pairwright.components.dataset.captions.caption_mix import NONE, choose_sources, key_hashes
from pairwright.components.dataset.dataset import Shard
from pairwright.components.dataset.media.decode import decode
from pairwright.components.dataset.pairs import caption_of
from pairwright.components.dataset.shards.columns import to_numpy
from pairwright.components.errors import ColumnError, DatasetError
from pairwright.components.finite import require_finite
from pairwright.components.models.encoder import DualEncoder
from pairwright.components.pretrain.pairs import TrainingPairs
from pairwright.components.pretrain.settings import DualEncoderSettings

Batch = dict[str, Any]


class Loader:
    """What all loaders share: keys, groups and the caption mix of the usable pairs.

    Attributes:
        pairs: usable pairs; `excluded` had no picture or no caption of a drawn source.
    """

    def __init__(self, settings: DualEncoderSettings) -> None:
        self.settings = settings
        self.excluded = 0
        self._keys: list[str] = []
        self._groups: list[str] = []
        self._has: dict[str, list[np.ndarray]] = {source: [] for source in settings.sources}

    def _admit(self, shard: Shard, rows: np.ndarray, usable: np.ndarray, has: dict[str, np.ndarray]) -> np.ndarray:
        """Note a shard's usable pairs; which of `rows` they are, as a mask."""
        facts = shard.read_sidecar(["key", "group", "error"]).take(pa.array(rows))
        fine = usable & np.any(list(has.values()), axis=0) & facts["error"].is_null().to_numpy()
        self.excluded += int((~fine).sum())
        keys, groups = facts["key"].to_pylist(), facts["group"].to_pylist()
        for at in np.flatnonzero(fine):
            self._keys.append(keys[at])
            self._groups.append(groups[at] or f"{shard.digest}/{rows[at]}")
        for source, mask in has.items():
            self._has[source].append(mask[fine])
        return fine

    def _finish(self) -> None:
        self.pairs = len(self._keys)
        self.hashes = key_hashes(self._keys)
        digests = (hashlib.blake2b(group.encode(), digest_size=8).digest() for group in self._groups)
        self.groups = torch.from_numpy(np.frombuffer(b"".join(digests), dtype="<i8").copy())
        self.available = {source: np.concatenate(parts or [np.zeros(0, bool)]) for source, parts in self._has.items()}

    def drawn(self, numbers: np.ndarray, epoch: int) -> np.ndarray:
        """Index of each pair's source this epoch."""
        has = {source: mask[numbers] for source, mask in self.available.items()}
        chosen = choose_sources(self.settings.seed, epoch, self.hashes[numbers], self.settings.sources, has)
        assert (chosen != NONE).all(), "pairs without a caption are excluded when the loader opens"
        return chosen

    def _read_named(self, numbers: np.ndarray, epoch: int) -> Batch:
        return self.read(numbers, epoch) | {"keys": [self._keys[number] for number in numbers]}

    def read(self, numbers: np.ndarray, epoch: int) -> Batch:
        """All of a batch that needs no model; runs ahead in a thread."""
        raise NotImplementedError

    def embed(self, model: DualEncoder, batch: Batch) -> tuple[Tensor, Tensor]:
        """(b, d) image and text unit vectors, with gradient."""
        raise NotImplementedError

    def stream(self, numbers: Iterator[tuple[int, np.ndarray]]) -> Iterator[Batch]:
        """Batches of (epoch, pair numbers), the next one read while this one trains."""
        with ThreadPoolExecutor(1, "loader") as ahead:
            waiting: Future[Batch] | None = None
            for epoch, batch in numbers:
                following = ahead.submit(self._read_named, batch, epoch)
                if waiting is not None:
                    yield waiting.result()
                waiting = following
            if waiting is not None:
                yield waiting.result()


class FeatureLoader(Loader):
    """Features of every usable pair in memory, float16: (n, image width) and one (n, text width) a source."""

    def __init__(self, pairs: TrainingPairs, settings: DualEncoderSettings) -> None:
        super().__init__(settings)
        columns = {source: settings.text_features[source] for source in settings.sources}
        images: list[np.ndarray] = []
        texts: dict[str, list[np.ndarray]] = {source: [] for source in columns}
        for shard, rows in pairs:
            table = pairs.view.read_shard(shard, sorted({settings.image_features, *columns.values()}))
            table = table.take(pa.array(rows))
            image = _vectors(table, settings.image_features)
            each = {source: _vectors(table, name) for source, name in columns.items()}
            fine = self._admit(shard, rows, image[1], {source: found[1] for source, found in each.items()})
            images.append(image[0][fine])
            for source, found in each.items():
                texts[source].append(found[0][fine])
        self._finish()
        self.images = np.concatenate(images)
        self.texts = {source: np.concatenate(parts) for source, parts in texts.items()}

    def read(self, numbers: np.ndarray, epoch: int) -> Batch:
        chosen = self.drawn(numbers, epoch)
        width = next(iter(self.texts.values())).shape[1]
        text = np.empty((len(numbers), width), np.float32)
        for index, source in enumerate(self.settings.sources):
            text[chosen == index] = self.texts[source][numbers[chosen == index]]
        image = torch.from_numpy(self.images[numbers].astype(np.float32))
        return {"image": image, "text": torch.from_numpy(text), "groups": self.groups[numbers]}

    def embed(self, model: DualEncoder, batch: Batch) -> tuple[Tensor, Tensor]:
        return model.project_image(batch["image"]), model.project_text(batch["text"])


class CaptionLoader(Loader):
    """Pictures as a locked tower's cached features, float16 (n, width); captions as text, for a tower being trained."""

    def __init__(self, pairs: TrainingPairs, settings: DualEncoderSettings) -> None:
        super().__init__(settings)
        images: list[np.ndarray] = []
        self.texts: dict[str, list[str | None]] = {source: [] for source in settings.sources}
        for shard, rows in pairs:
            table = pairs.view.read_shard(shard, [settings.image_features]).take(pa.array(rows))
            image, seen = _vectors(table, settings.image_features)
            captions = shard.read_sidecar(["captions"]).take(pa.array(rows))["captions"]
            texts = {source: _texts(pairs, shard, rows, source, captions) for source in settings.sources}
            has = {source: np.array([bool(text) for text in found], bool) for source, found in texts.items()}
            fine = self._admit(shard, rows, seen, has)
            images.append(image[fine])
            for source, found in texts.items():
                self.texts[source].extend(found[at] for at in np.flatnonzero(fine))
        self._finish()
        self.images = np.concatenate(images)

    def read(self, numbers: np.ndarray, epoch: int) -> Batch:
        chosen, names = self.drawn(numbers, epoch), list(self.settings.sources)
        texts = [self.texts[names[source]][number] for number, source in zip(numbers, chosen, strict=True)]
        image = torch.from_numpy(self.images[numbers].astype(np.float32))
        return {"image": image, "texts": texts, "groups": self.groups[numbers]}

    def embed(self, model: DualEncoder, batch: Batch) -> tuple[Tensor, Tensor]:
        return model.project_image(batch["image"]), model.embed_tokens(model.tokens(batch["texts"]))


class PictureLoader(Loader):
    """Pictures by byte range and captions as text, decoded as they are needed."""

    def __init__(self, pairs: TrainingPairs, settings: DualEncoderSettings, model: DualEncoder) -> None:
        super().__init__(settings)
        self.model = model
        self.pictures: list[tuple[Shard, dict[str, Any]]] = []
        self.texts: dict[str, list[str | None]] = {source: [] for source in settings.sources}
        for shard, rows in pairs:
            table = shard.read_sidecar(["media", "captions"]).take(pa.array(rows))
            found_pictures = [_picture(media) for media in table["media"].to_pylist()]
            texts = {source: _texts(pairs, shard, rows, source, table["captions"]) for source in settings.sources}
            has = {source: np.array([bool(text) for text in found], bool) for source, found in texts.items()}
            fine = self._admit(shard, rows, np.array([one is not None for one in found_pictures], bool), has)
            for at in np.flatnonzero(fine):
                self.pictures.append((shard, found_pictures[at] or {}))
                for source, found in texts.items():
                    self.texts[source].append(found[at])
        self._finish()
        self._threads = ThreadPoolExecutor(settings.decode_threads, "decode")

    def read(self, numbers: np.ndarray, epoch: int) -> Batch:
        chosen, names = self.drawn(numbers, epoch), list(self.settings.sources)
        texts = [self.texts[names[source]][number] for number, source in zip(numbers, chosen, strict=True)]
        images = list(self._threads.map(self._decoded, numbers))
        return {
            "images": torch.from_numpy(self.model.pixels(images)),
            "texts": texts,
            "groups": self.groups[numbers],
        }

    def embed(self, model: DualEncoder, batch: Batch) -> tuple[Tensor, Tensor]:
        images = model.embed_pixels(batch["images"].to(model.device))
        return images, model.embed_tokens(model.tokens(batch["texts"]))

    def _decoded(self, number: int) -> np.ndarray:
        shard, medium = self.pictures[number]
        found = decode(shard.read_member(medium), self.model.image_size)
        if found.image is None:
            raise DatasetError(
                f"{self._keys[number]} in {shard.name} cannot be trained on ({found.error}); "
                "add a keep-rule on a scorer that opens the picture, e.g. image"
            )
        return found.image


def _vectors(table: pa.Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A vector column as (n, d) float16 and a mask of which rows have one."""
    column = table[name].combine_chunks()
    chunked = pa.chunked_array([column]) if isinstance(column, pa.Array) else column
    values = to_numpy(chunked)
    if values.ndim != 2:
        raise ColumnError(f'"{name}" holds {chunked.type}, not vectors; name one of image_features or text_features')
    halves, known = values.astype(np.float16), chunked.is_valid().to_numpy()
    require_finite(halves[known], f'features "{name}"', "make that step's columns again")
    return halves, known


def _picture(media: Sequence[dict[str, Any]] | None) -> dict[str, Any] | None:
    """The `media` entry of the pair's picture, as far as reading it takes."""
    for entry in media or ():
        if entry["role"] == "image" and entry["size"]:
            return {name: entry[name] for name in ("member", "offset", "size", "crc32")}
    return None


def _texts(pairs: TrainingPairs, shard: Shard, rows: np.ndarray, source: str, captions: Any) -> list[str | None]:
    """A source's texts: a captioner's step, or captions the pair came with."""
    if source in pairs.view.steps:
        column = pairs.view.read_shard(shard, [f"{source}.text"])[f"{source}.text"]
        texts: list[str | None] = column.take(pa.array(rows)).to_pylist()
        return texts
    return [caption_of(found, source) for found in captions.to_pylist()]
