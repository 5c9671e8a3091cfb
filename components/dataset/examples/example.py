"""Examples: what a task is given of the pairs of a batch.

    for example in examples: example.key, example.media["image"], example.texts["alt"][0].text
    examples.column("image_features.vector")           # (n, d) float32, for all at once

A batch of them is kept by column, so that a task that only stacks features never loops; `examples[i]` is one
pair with everything that was read of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pairwright.components.dataset.captions.caption_mix import NONE, Mix, choose_sources, cycle_sources, key_hashes


@dataclass(frozen=True)
class Text:
    """One text of a pair; `ordinal` counts from 0 within its source, `lang` is BCP 47 or None."""

    text: str
    source: str
    ordinal: int = 0
    lang: str | None = None


@dataclass(frozen=True)
class Region:
    """A box in the picture, (x0, y0, x1, y1) as shares of its width and height, 0..1.

    Attributes:
        score: of whoever found it, 0..1; None where a person drew it.
        caption: ordinal of the caption that speaks of it, None if none does.
    """

    box: tuple[float, float, float, float]
    label: str
    score: float | None = None
    caption: int | None = None


@dataclass(frozen=True)
class Example:
    """One pair as a task sees it: `number` is its place in the population, the same in every epoch."""

    number: int
    key: str
    media: Mapping[str, np.ndarray]
    texts: Mapping[str, Sequence[Text]]
    regions: Sequence[Region]
    labels: Mapping[str, str]
    columns: Mapping[str, Any]


@dataclass
class Examples(Sequence[Example]):
    """A batch of examples by column; all lists have an entry a pair.

    Attributes:
        numbers: int64 (n,), places in the population.
        groups: int64 (n,), equal for pairs that belong together (one caption, near-duplicates).
        seed, epoch: what `draw` and `captions` are functions of, beside the key.
    """

    numbers: np.ndarray
    keys: list[str]
    seed: int = 0
    epoch: int = 0
    groups: np.ndarray | None = None
    _media: Mapping[str, list[np.ndarray]] = field(default_factory=dict, repr=False)
    _texts: Mapping[str, list[Sequence[Text]]] = field(default_factory=dict, repr=False)
    _regions: list[Sequence[Region]] | None = field(default=None, repr=False)
    _labels: Mapping[str, list[str | None]] = field(default_factory=dict, repr=False)
    _columns: Mapping[str, Any] = field(default_factory=dict, repr=False)
    _known: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    _hashes: np.ndarray | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Example]:
        return (self[position] for position in range(len(self)))

    def __getitem__(self, position: Any) -> Any:
        """One example; a slice has no meaning here."""
        at = int(position)
        labels = {name: values[at] for name, values in self._labels.items()}
        return Example(
            number=int(self.numbers[at]),
            key=self.keys[at],
            media={role: values[at] for role, values in self._media.items() if values[at] is not None},
            texts={source: values[at] for source, values in self._texts.items()},
            regions=self._regions[at] if self._regions is not None else (),
            labels={name: value for name, value in labels.items() if value is not None},
            columns={name: values[at] for name, values in self._columns.items()},
        )

    def media(self, role: str) -> list[np.ndarray]:
        """The pictures, clips or sounds of a role; None where an optional one is missing."""
        return self._media[role]

    def texts(self, source: str) -> list[str]:
        """The first text of a source, "" where a pair has none."""
        return [found[0].text if found else "" for found in self._texts[source]]

    def all_texts(self, source: str) -> list[Sequence[Text]]:
        """Every text of a source."""
        return self._texts[source]

    def labels(self, name: str) -> list[str | None]:
        return self._labels[name]

    def regions(self) -> list[Sequence[Region]]:
        return self._regions if self._regions is not None else [()] * len(self)

    def column(self, name: str) -> Any:
        """A column's values: (n, d) float32 of vectors, (n,) of numbers, a list of anything else; see `known`.

        Where a pair has none: NaN, or None in a list.
        """
        return self._columns[name]

    def known(self, name: str) -> np.ndarray:
        """Which pairs have a value in this column, bool (n,)."""
        found = self._known.get(name)
        return np.ones(len(self), bool) if found is None else found

    @property
    def hashes(self) -> np.ndarray:
        """64 bits of each key, uint64 (n,)."""
        if self._hashes is None:
            self._hashes = key_hashes(self.keys)
        return self._hashes

    def draw(self, name: str, shape: tuple[int, ...] = ()) -> np.ndarray:
        """Numbers in [0, 1), float64 (n, *shape): a pure function of (seed, epoch, key, name)."""
        said = hashlib.blake2b(f"{name} {self.seed} {self.epoch}".encode(), digest_size=8).digest()
        salt = np.frombuffer(said, dtype="<u8")
        count = int(np.prod(shape, dtype=np.int64))
        steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        with np.errstate(over="ignore"):  # splitmix64 (Steele et al., 2014) wraps
            x = (self.hashes ^ salt)[:, None] + steps[None, :]
            x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            x = x ^ (x >> np.uint64(31))
        return ((x >> np.uint64(11)) * 2.0**-53).reshape(len(self), *shape)

    def drawn_sources(
        self, weights: Mapping[str, float], available: Mapping[str, np.ndarray] | None = None, mix: Mix = "draw"
    ) -> np.ndarray:
        """Index into `weights` of each pair's source this epoch, int64 (n,), among those it has (caption_mix.py)."""
        if available is None:
            available = {
                source: np.array([bool(found and found[0].text) for found in self._texts[source]], bool)
                for source in weights
            }
        if mix == "cycle":
            return cycle_sources(self.seed, self.epoch, self.numbers, weights, available)
        return choose_sources(self.seed, self.epoch, self.hashes, weights, available)

    def captions(self, weights: Mapping[str, float], mix: Mix = "draw") -> list[str]:
        """One caption a pair, its source another each epoch; "" where no source has one."""
        names = list(weights)
        firsts = {source: self.texts(source) for source in names}
        chosen = self.drawn_sources(weights, mix=mix)
        return ["" if source == NONE else firsts[names[source]][at] for at, source in enumerate(chosen)]
