"""Threshold caption: a caption where its score is good enough, and none where it is not.

    recaption: {good: {uses: threshold_caption, with: {source: alt, score: judged.score, least: 4}}}

What is learnt from is then chosen by its captions, and a figure whose caption is poor is still there to be captioned.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from pairwright.components.component import Caption, Captioner, Captions, Columns
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.registry import captioner
from pairwright.components.settings import Settings


class ThresholdCaptionSettings(Settings):
    source: str = "alt"
    score: str = Field(description="step.column of how good the caption is, higher is better")
    least: float = Field(description="score from which a caption stands")
    lang: str = Field("en", description="language of the captions, BCP 47")


@captioner("threshold_caption")
class ThresholdCaption(Captioner[ThresholdCaptionSettings]):
    """None where the score is less, or is not known."""

    requires = Captions("source") + Columns("score")
    sees_failures = True  # a caption needs no picture

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        texts, scores = pairs.captions(self.settings.source), pairs.columns[self.settings.score]
        good = [score is not None and score >= self.settings.least for score in scores]
        return [
            Caption(text, self.settings.lang) if ok and text else None for ok, text in zip(good, texts, strict=True)
        ]
