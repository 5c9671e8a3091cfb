"""Which captions are right answers of which pictures: kept as keys they share, never as a matrix.

    right = Positives.of(captions, picture, groups)
    right.pairs(0, 100)          # the right answers of the first hundred pictures

A picture and a caption belong together if the caption is the picture's own or of a picture of its group, or if
the picture has a caption of the same text: the other picture of a dog is no mistake.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

PICTURES_AT_ONCE = 256


@dataclass(frozen=True)
class Positives:
    """Right answers among m captions of n pictures; captions lie in their pictures' order.

    Attributes:
        picture: (m,) number of the picture each caption is of, ascending; each picture has one at least.
        text: (m,) number of each caption's text, equal for texts that are compared as equal.
        group: (n,) number of each picture's group.
    """

    picture: np.ndarray
    text: np.ndarray
    group: np.ndarray

    @classmethod
    def of(cls, captions: Sequence[str], picture: np.ndarray, groups: Sequence[str]) -> Positives:
        """From m captions, the number of each one's picture (m,) and n groups."""
        assert len(captions) == len(picture)
        assert (np.diff(picture) >= 0).all(), "captions lie in their pictures' order"
        return cls(np.asarray(picture), _numbers([normalised(text) for text in captions]), _numbers(groups))

    @cached_property
    def _of_group(self) -> _Index:
        return _Index(self.group[self.picture])

    @cached_property
    def _pictures_of_group(self) -> _Index:
        return _Index(self.group)

    @cached_property
    def _of_text(self) -> _Index:
        return _Index(self.text)

    def pairs(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Picture and caption numbers of every right answer of pictures `start` to `stop`, by picture."""
        own = slice(*np.searchsorted(self.picture, [start, stop]))
        pictures = np.arange(start, stop)
        asked = [
            self._of_group.members(pictures, self.group[start:stop]),
            self._of_text.members(self.picture[own], self.text[own]),
        ]
        gallery = len(self.picture)
        code = np.unique(np.concatenate([of * gallery + member for of, member in asked]))
        return code // gallery, code % gallery

    def answers(self, side: int, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Right answers of any pictures (side 0) or captions (side 1): each one's place in `queries`, its number."""
        if side == 0:
            found = [self.pairs(query, query + 1)[1] for query in queries]
            return np.repeat(np.arange(len(found)), [len(one) for one in found]), np.concatenate(found)
        rows, pictures = np.arange(len(queries)), len(self.group)
        place, picture = self._pictures_of_group.members(rows, self.group[self.picture[queries]])
        of, caption = self._of_text.members(rows, self.text[queries])
        code = np.unique(np.concatenate([place * pictures + picture, of * pictures + self.picture[caption]]))
        return code // pictures, code % pictures

    def counts(self) -> tuple[np.ndarray, np.ndarray]:
        """How many right answers each picture (n,) and each caption (m,) has."""
        pictures, captions = np.zeros(len(self.group), np.int64), np.zeros(len(self.picture), np.int64)
        for picture, caption in self._blocks():
            pictures += np.bincount(picture, minlength=len(pictures))
            captions += np.bincount(caption, minlength=len(captions))
        return pictures, captions

    def _blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(self.group), PICTURES_AT_ONCE):
            yield self.pairs(start, min(start + PICTURES_AT_ONCE, len(self.group)))


class _Index:
    """Caption numbers by a key, each key's ascending."""

    def __init__(self, keys: np.ndarray) -> None:
        self.order = np.argsort(keys, kind="stable")
        self.starts = np.searchsorted(keys[self.order], np.arange(int(keys.max()) + 2))

    def members(self, owners: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each owner the captions that have its key: owners repeated, and the captions."""
        first, sizes = self.starts[keys], self.starts[keys + 1] - self.starts[keys]
        within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return np.repeat(owners, sizes), self.order[np.repeat(first, sizes) + within]


def normalised(caption: str) -> str:
    """A caption as compared: Unicode-folded, lower case, single spaces, without a final full stop."""
    return " ".join(unicodedata.normalize("NFKC", caption).casefold().split()).rstrip(".! ")


def _numbers(values: Sequence[str]) -> np.ndarray:
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)
