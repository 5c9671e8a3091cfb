"""The emoji corpus: some 1,870 concepts in four artists' styles, each with names in many languages.

    pairwright ingest emoji ./data        # ./data/emoji, ./data/emoji-dev, ./data/emoji-test

A pair is one concept as one artist drew it. Its captions:

    alt            the concept's English short name, by CLDR (by Unicode's emoji-test.txt where CLDR has none)
    keywords       CLDR's English keywords, joined by ", ", as loose as keywords are
    translation    the short name in other languages, with language tags

Its labels: `style` (noto, openmoji, twemoji, fluent), `group` and `subgroup` (emoji-test.txt's), `concept` (its code
points). Skin tones are left out and counted. Pictures are square and keep their transparency: lossless WebP, so that
what is read is what was drawn. One that cannot be drawn is a row with a reason.

`dev` and `test` each take a tenth, by concept: a concept's styles, its variants by sex and hair, what is named alike
and what looks alike (PDQ) go together (components/dataset/splits.py). The same packages give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from pydantic import Field, field_validator

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.media.decode import decode
from pairwright.components.dataset.media.pdq import FEATURELESS, pdq_hash
from pairwright.components.dataset.media.svg import rasterise
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.dataset.sources.debian_packages import Packages
from pairwright.components.dataset.sources.emoji.concepts import CLDR, EMOJI_TEST, Concept, read_concepts
from pairwright.components.dataset.sources.emoji.icons import STYLES, IconSet, NoIcon, Style
from pairwright.components.dataset.sources.source import Progress, SourceOptions
from pairwright.components.dataset.splits import DEV, TEST, TRAIN, Candidate, DrawSettings, draw
from pairwright.components.errors import DatasetError

DEBIAN = Packages(("unicode-data", "unicode-cldr-core"), (EMOJI_TEST, f"{CLDR}/annotations"), "unicode")
NAME = "emoji"
ENDINGS = {TRAIN: "", DEV: "-dev", TEST: "-test"}
DESCRIPTIONS = {
    TRAIN: "Emoji in four artists' styles, with names in many languages",
    DEV: "Emoji of other concepts, to tune and promote on",
    TEST: "Emoji of other concepts, to report on",
}
NAMES_LICENCE = "Unicode-DFS-2016"
LICENCES = "; ".join(f"{style.name}: {style.licence}" for style in STYLES.values()) + f"; names: {NAMES_LICENCE}"
# Twenty with a name for every concept of CLDR 41 (Indonesian lacks one), in fourteen scripts.
LANGUAGES = "am,ar,bn,de,el,es,fr,he,hi,id,ja,ka,ko,ru,sw,ta,th,tr,vi,zh"
SHARE_DRAWN = 0.1  # of the pairs, in each of dev and test
PAIRS_PER_SHARD = 1000


class EmojiOptions(SourceOptions):
    """What the emoji corpus takes."""

    side: int = Field(96, ge=16, le=1024, description="width and height of the pictures, in pixels")
    languages: str = Field(LANGUAGES, description="of the translations, as CLDR names them, joined by commas")
    largest_group: int = Field(24, ge=4, description="pairs; what belongs together in more stays in training")

    @field_validator("languages")
    @classmethod
    def _codes(cls, languages: str) -> str:
        for code in filter(None, languages.split(",")):
            if not re.fullmatch(r"[a-z]{2,3}(_[A-Za-z0-9]{2,8})*", code):
                raise ValueError(f'"{code}" is no language as CLDR names it; write for example de,zh_Hant')
        return languages


@dataclass(frozen=True)
class Item:
    """One concept in one style."""

    concept: Concept
    icons: IconSet

    @property
    def style(self) -> Style:
        return self.icons.style

    @property
    def icon(self) -> str:
        return self.icons.names[self.concept.text]

    @property
    def key(self) -> str:
        return f"{self.style.name}-{self.concept.code}"


@dataclass(frozen=True)
class Picture:
    """A picture as WebP with its PDQ hash over white (None where that would mean nothing), or why there is none."""

    webp: bytes | None
    hash: np.ndarray | None
    error: str | None


def read_emoji(source: str, dest: str, options: EmojiOptions, progress: Progress) -> list[Dataset]:
    """Write `dest/emoji`, `dest/emoji-dev` and `dest/emoji-test`; returns them in this order.

    Args:
        source: a folder with the packages, unpacked (`usr/share/unicode`, `node_modules/@iconify-json`) or as .deb
            and .tgz files; "" has them fetched by apt-get and npm.

    Raises:
        DatasetError: a package is not there and cannot be fetched, or is not what it was pinned as.
        WorkspaceError: `dest` cannot be written.
    """
    sets = [IconSet.read(style, source or None) for style in STYLES.values()]
    languages = tuple(filter(None, options.languages.split(",")))
    concepts, left_out = read_concepts(DEBIAN.share(source or None), languages)
    items = [Item(concept, icons) for concept in concepts for icons in sets if concept.text in icons.names]
    if not items:
        raise DatasetError(f"{source or 'the packages'} hold no emoji that any style draws; fetch the packages again")
    pictures = _pictures(items, options.side, progress)
    candidates = [_candidate(item, picture) for item, picture in zip(items, pictures, strict=True)]
    wanted = max(1, round(SHARE_DRAWN * len(items)))
    splits = draw(candidates, DrawSettings(pairs=wanted, largest_group=options.largest_group, seed="pairwright emoji"))
    facts = {
        "side": options.side,
        "languages": list(languages),
        "composition": splits.composition(candidates),
        "left_out_of_emoji_test": dict(sorted(left_out.items())),
        "icons_of_no_concept": {icons.style.name: len(_of_no_concept(icons, concepts)) for icons in sets},
        "packages": {icons.style.name: f"{icons.style.package.name}@{icons.style.package.version}" for icons in sets},
    }
    order = _order(items)
    written = []
    for split in ENDINGS:
        chosen = [index for index in order if splits.split[index] == split]
        credit = _credit(items[index] for index in chosen)
        with _writer(dest, split, options, facts | {"attribution": credit}) as writer:
            for index in chosen:
                _add(writer, items[index], pictures[index], splits.group[index])
        written.append(writer.dataset)
    return written


def _of_no_concept(icons: IconSet, concepts: Sequence[Concept]) -> set[str]:
    """Characters a style draws that are no concept here: skin tones, parts, an artist's own."""
    return set(icons.names) - {concept.text for concept in concepts}


def _order(items: Sequence[Item]) -> list[int]:
    """Concepts in hashed order, the styles of one beside each other: their texts are the same, and compress so."""

    def place(index: int) -> tuple[bytes, int]:
        return hashlib.sha256(items[index].concept.code.encode()).digest(), index

    return sorted(range(len(items)), key=place)


def _pictures(items: Sequence[Item], side: int, progress: Progress) -> list[Picture]:
    found = []
    with ThreadPoolExecutor(max_workers=max(os.cpu_count() or 1, 1)) as threads:
        for done, picture in enumerate(threads.map(lambda item: drawn(item, side), items), 1):
            found.append(picture)
            progress(done, len(items), "pictures")
    return found


def drawn(item: Item, side: int) -> Picture:
    """The item's picture, `side` px square; never raises for a bad one."""
    if not item.concept.name:
        return Picture(None, None, "unnamed: neither CLDR nor emoji-test.txt names it")
    try:
        png = rasterise(text=item.icons.svg(item.icon), width=side)
    except NoIcon as error:
        return Picture(None, None, f"icon:{error}")
    except ValueError as error:
        return Picture(None, None, f"svg:{error}")
    with Image.open(io.BytesIO(png)) as image:
        rgba = image.convert("RGBA")
    if rgba.getchannel("A").getextrema() == (0, 0):
        return Picture(None, None, "icon:blank: nothing is drawn")
    stream = io.BytesIO()
    rgba.save(stream, "WEBP", lossless=True, quality=100, method=4)
    webp = stream.getvalue()
    read = decode(webp, min_side=side)  # as whoever reads it will see it
    if read.image is None:
        return Picture(None, None, read.error)
    bits, quality = pdq_hash(read.image)
    return Picture(webp, bits if quality > FEATURELESS else None, None)


def _candidate(item: Item, picture: Picture) -> Candidate:
    concept = item.concept
    return Candidate(
        item.key, concept.group, picture.error is None, concept.name, picture.hash, concept.family, picture.hash
    )


def captions(concept: Concept) -> Iterator[dict[str, Any]]:
    """A concept's captions, the same in every style."""
    if concept.name:
        yield caption(concept.name, lang="en", producer=concept.producer)
    if concept.keywords:
        yield caption(", ".join(concept.keywords), "keywords", lang="en", producer="unicode-cldr-core")
    for ordinal, (lang, name) in enumerate(concept.translations):
        yield caption(name, "translation", ordinal, lang, "unicode-cldr-core/tts")


def _credit(items: Iterable[Item]) -> list[dict[str, Any]]:
    """Pairs, licence and author of each style."""
    pairs = Counter(item.style.name for item in items)
    return [
        {"style": style.name, "pairs": pairs[style.name], "licence": style.licence, "author": style.author}
        for style in STYLES.values()
    ]


def _writer(dest: str, split: str, options: EmojiOptions, facts: dict[str, Any]) -> ShardWriter:
    name = (options.name or NAME) + ENDINGS[split]
    return ShardWriter(
        f"{dest.rstrip('/')}/{name}",
        name,
        pairs_per_shard=PAIRS_PER_SHARD,
        description=options.description or DESCRIPTIONS[split],
        licence=options.licence or LICENCES,
        facts=facts | {"split": name},
    )


def _add(writer: ShardWriter, item: Item, picture: Picture, group: str) -> None:
    """Write one pair, or the row that says why there is none."""
    concept, style = item.concept, item.style
    labels = {"style": style.name, "group": concept.group, "subgroup": concept.subgroup, "concept": concept.code}
    writer.add(
        item.key,
        [] if picture.webp is None else [("image", "image", "webp", picture.webp)],
        list(captions(concept)),
        list(labels.items()),
        licence=style.licence,
        author=style.author,
        origin=f"{style.package.name}@{style.package.version}/{item.icon}",
        group=group,
        error=picture.error,
    )
