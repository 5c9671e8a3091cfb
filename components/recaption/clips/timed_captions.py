"""Timed captions: the captions of a clip whose windows fit, as WebVTT.

recaption: {captions: {uses: timed_captions, with: {windows: windows, threshold: threshold.threshold}}}
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from pairwright.components.component import Caption, Captioner, Columns
from pairwright.components.dataset.captions.subtitles import Timed, write_webvtt
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.registry import captioner
from pairwright.components.settings import Settings


class TimedCaptionsSettings(Settings):
    text: str = Field("windows.text", description="step.column of each clip's captions, list<string>")
    t0: str = Field("windows.t0", description="step.column of the seconds their windows begin at, list<float>")
    t1: str = Field("windows.t1", description="step.column of the seconds they end at, list<float>")
    score: str = Field("windows.score", description="step.column of their scores, list<float>")
    threshold: str = Field("threshold.threshold", description="step.column of the least score that is kept")
    lang: str = Field("en", description="language of the captions, BCP 47")


@captioner("timed_captions")
class TimedCaptions(Captioner[TimedCaptionsSettings]):
    """In order of time; None where no caption of a clip reaches the threshold."""

    requires = Columns("text", "t0", "t1", "score", "threshold")

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        wish = self.settings
        columns = [pairs.columns[name] for name in (wish.text, wish.t0, wish.t1, wish.score)]
        return [
            self._of(list(zip(*values, strict=True)), threshold)
            for *values, threshold in zip(*columns, pairs.columns[wish.threshold], strict=True)
        ]

    def _of(self, entries: list[tuple[str, float, float, float]], threshold: float) -> Caption | None:
        kept = [Timed(t0, t1, text) for text, t0, t1, score in entries if score >= threshold]
        return Caption(write_webvtt(sorted(kept, key=lambda one: one.t0)), self.settings.lang) if kept else None
