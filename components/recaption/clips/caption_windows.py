"""Caption windows: when what a caption says is to be seen, within some seconds of when it was said.

    score: {windows: {uses: caption_windows, with: {source: spoken, models: ["step:encoder"]}}}

HowToCaption (Shvetsova et al., 2023): narrators are early or late. Each caption is held against the windows of 8 s
around every second within 10 s of its own middle, by the sum over dual encoders of its cosines with the windows' mean
frame vectors, and moved to the best. Its score says how well it fits there; small talk fits nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from pairwright.components.component import Captions, Frames, Scorer
from pairwright.components.dataset.captions.subtitles import Timed, read_subtitles
from pairwright.components.finite import require_finite
from pairwright.components.recaption.clips.windows import NOWHERE, before, best_windows, window_vectors
from pairwright.components.registry import scorer
from pairwright.components.settings import ModelFolder, Settings

if TYPE_CHECKING:
    from pairwright.components.dataset.pairs import Frame, PairBatch
    from pairwright.components.models.protocols import DualEncoder


class CaptionWindowsSettings(Settings):
    source: str = Field(description="timed captions, SubRip or WebVTT")
    models: tuple[ModelFolder, ...] = Field(min_length=1, description="dual encoders; their similarities are summed")
    seconds: int = Field(8, ge=1, description="of a window")
    search: int = Field(10, ge=0, description="seconds around a caption's middle in which its window may lie")


@scorer("caption_windows")
class CaptionWindows(Scorer[CaptionWindowsSettings]):
    """Columns, lists with an entry a caption that has a window, in the captions' order, but for `outside`.

    Columns:
        text: the caption. said: the second it was put at.
        t0, t1: seconds of its window, within the clip.
        score: the sum of its cosines with that window.
        outside: captions whose range lies outside the clip, which have no entry.
    """

    columns: ClassVar[Mapping[str, pa.DataType]] = {
        "text": pa.list_(pa.string()),
        "said": pa.list_(pa.float32()),
        "t0": pa.list_(pa.float32()),
        "t1": pa.list_(pa.float32()),
        "score": pa.list_(pa.float32()),
        "outside": pa.int32(),
    }
    requires = Frames() + Captions("source")
    runs_model = True
    libraries = ("torch",)

    def setup(self, device: str) -> None:
        from pairwright.components.models.formats import load_model

        self.models: list[DualEncoder] = [
            load_model(str(one.path), "dual_encoder", device) for one in self.settings.models
        ]

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        lines = [read_subtitles(text or "") for text in pairs.captions(self.settings.source)]
        texts = self._text_vectors([line.text for some in lines for line in some])
        made: dict[str, list[Any]] = {name: [] for name in self.columns}
        at = 0
        for some, frames in zip(lines, pairs.frames, strict=True):
            assert frames is not None, "a pair without frames is not scored"
            own = [vectors[at : at + len(some)] for vectors in texts]
            at += len(some)  # whether or not a window is found: the next clip's captions keep their own vectors
            for name, values in self._placed(some, own, frames).items():
                made[name].append(values)
        return made

    def _placed(self, lines: Sequence[Timed], texts: Sequence[np.ndarray], frames: Sequence[Frame]) -> dict[str, Any]:
        """One clip's entries; `texts` are a model's vectors of its captions each (m, d)."""
        wish = self.settings
        if not lines:
            return {name: 0 if name == "outside" else [] for name in self.columns}
        shown = [window_vectors(vectors, wish.seconds) for vectors in self._frame_vectors(frames)]
        similarity = np.sum([text @ windows.T for text, windows in zip(texts, shown, strict=True)], axis=0)
        centres = np.array([(line.t0 + line.t1) / 2 for line in lines], np.float64)
        place, score = best_windows(similarity, centres, wish.search)
        kept = np.flatnonzero(place != NOWHERE).tolist()
        require_finite(score[kept], "the scores of captions and windows")
        length = frames[-1].t1
        return {
            "text": [lines[i].text for i in kept],
            "said": [lines[i].t0 for i in kept],
            "t0": [float(max(0, place[i] - before(wish.seconds))) for i in kept],
            "t1": [float(min(length, place[i] - before(wish.seconds) + wish.seconds)) for i in kept],
            "score": score[kept].tolist(),
            "outside": len(lines) - len(kept),
        }

    def _text_vectors(self, texts: list[str]) -> list[np.ndarray]:
        """Of each model, unit vectors (m, d)."""
        once = list(dict.fromkeys(texts))
        place = {text: at for at, text in enumerate(once)}
        rows = [place[text] for text in texts]
        return [
            model.encode_text(once).double().cpu().numpy()[rows] if once else np.zeros((0, 1)) for model in self.models
        ]

    def _frame_vectors(self, frames: Sequence[Frame]) -> list[np.ndarray]:
        """Of each model, a unit vector a second (T, d); a frame shown often is looked at once.

        Raises:
            ValueError: a frame cannot be decoded.
        """
        from pairwright.components.dataset.media.decode import decode

        shown = [frames[i].data for i in each_second(frames)]
        once = {data: at for at, data in enumerate(dict.fromkeys(shown))}
        pictures = []
        for data in once:
            found = decode(data, max(model.image_size for model in self.models))
            if found.image is None:
                raise ValueError(f"a frame cannot be decoded: {found.error}")
            pictures.append(found.image)
        rows = [once[data] for data in shown]
        return [model.encode_image(pictures).double().cpu().numpy()[rows] for model in self.models]


def each_second(frames: Sequence[Frame]) -> list[int]:
    """Which frame is shown in the middle of each second; where none is, the last one before."""
    starts = np.array([frame.t0 for frame in frames])
    middles = np.arange(max(1, int(np.ceil(frames[-1].t1 - 1e-6)))) + 0.5
    found: list[int] = np.maximum(np.searchsorted(starts, middles, side="right") - 1, 0).tolist()
    return found
