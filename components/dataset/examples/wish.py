"""What a task reads of a pair, said before anything is opened: nothing else is read.

    Reads(media={"image": ImageWish(side=224, crop=True, flip=True)}, texts=("alt",), columns=("tags.names",))

A pair that lacks something in `Reads` is no example of the task; what a task can do without stands in `optional`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ImageWish:
    """One RGB picture, uint8 (h, w, 3), its shorter side at least `side` pixels or the picture's own.

    Attributes:
        crop: a square of it at random, as training sees pictures: 0.5 to 1 of its area, at about its own form,
            resized to (side, side); a pure function of (seed, epoch, key).
        flip: left and right exchanged for half of the examples, drawn in the same way.
    """

    side: int
    crop: bool = False
    flip: bool = False


@dataclass(frozen=True)
class FramesWish:
    """A clip as uint8 (count, h, w, 3): its members or its animated file, sampled evenly over time.

    A picture is a clip of one frame, repeated to `count`; the frames of one clip are cropped and flipped alike.
    """

    side: int
    count: int
    crop: bool = False
    flip: bool = False


@dataclass(frozen=True)
class AudioWish:
    """Sound as float32 (samples,) in [-1, 1], mono, resampled to `rate` Hz; at most `seconds` from its start."""

    rate: int = 16_000
    seconds: float = 10.0


MediaWish = ImageWish | FramesWish | AudioWish


@dataclass(frozen=True)
class Reads:
    """Everything a task reads.

    Attributes:
        media: by role; decoded to what the wish says, never at full size beyond it.
        texts: caption sources (`alt`, `translation@de`, a captioner's step). All texts of a source are read.
        columns: `step.column`s of earlier steps.
        regions: boxes with labels, scores and the caption they belong to.
        labels: names of labels.
        any_of: groups of the names above of which a pair needs one; of what stands in no group it needs all.
        optional: names above that a pair may lack.
    """

    media: Mapping[str, MediaWish] = field(default_factory=dict)
    texts: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    regions: bool = False
    labels: tuple[str, ...] = ()
    any_of: tuple[tuple[str, ...], ...] = ()
    optional: frozenset[str] = frozenset()

    def __add__(self, other: Reads) -> Reads:
        """Both; a name that is needed by one is needed.

        Raises:
            ValueError: one role is wished for in two ways.
        """
        for role in self.media.keys() & other.media.keys():
            if self.media[role] != other.media[role]:
                raise ValueError(f'"{role}" is asked for as {self.media[role]} and as {other.media[role]}')
        needed = [set(one.names) - one.optional - {n for group in one.any_of for n in group} for one in (self, other)]
        return Reads(
            media={**self.media, **other.media},
            texts=tuple(dict.fromkeys((*self.texts, *other.texts))),
            columns=tuple(dict.fromkeys((*self.columns, *other.columns))),
            regions=self.regions or other.regions,
            labels=tuple(dict.fromkeys((*self.labels, *other.labels))),
            any_of=tuple(group for group in (*self.any_of, *other.any_of) if not set(group) & (needed[0] | needed[1])),
            optional=(self.optional | other.optional) - needed[0] - needed[1],
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that is read, by name."""
        return (*self.media, *self.texts, *self.columns, *self.labels)
