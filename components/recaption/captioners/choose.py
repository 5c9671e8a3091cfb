"""Choose: of several captions of a picture the one a score likes best, e.g. a reward of human preference.

    recaption:
      chosen: {uses: choose, with: {sources: [alt, fused], scores: [judged_alt.score, judged_fused.score]}}

Compress & Align collects captions from several sources for a picture and lets the reward rank them. Another
caption than the first takes its place only if it scores higher by more than `margin`; the note names the
source where that happened, and the captions themselves all stay where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from pydantic import Field, model_validator

from pairwright.components.component import Caption, Captioner, Captions, Columns
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.registry import captioner
from pairwright.components.settings import Settings


class ChooseSettings(Settings):
    sources: tuple[str, ...] = Field(
        min_length=2, description="sidecar sources or captioner steps; the first by default"
    )
    scores: tuple[str, ...] = Field(min_length=2, description="step.column of each source's score, higher is better")
    margin: float = Field(0.0, ge=0, description="by how much another must beat the first one's score")

    @model_validator(mode="after")
    def _one_score_a_source(self) -> Self:
        if len(self.sources) != len(self.scores):
            raise ValueError(f"{len(self.sources)} sources have {len(self.scores)} scores; name one each, in order")
        return self


@captioner("choose")
class Choose(Captioner[ChooseSettings]):
    """The best-scored caption, `note` "from:SOURCE" where it is not the first source's; None where none has a text.

    A source without a caption or without a score never wins over one that has both; where no score is
    known the first caption there is stands.
    """

    requires = Captions("sources") + Columns("scores")
    sees_failures = True  # a pair that lacks one source still has the others

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        texts = [pairs.captions(source) for source in self.settings.sources]
        scores = [pairs.columns[column] for column in self.settings.scores]
        return [self._best([t[i] for t in texts], [s[i] for s in scores]) for i in range(len(pairs))]

    def _best(self, texts: Sequence[str | None], scores: Sequence[float | None]) -> Caption | None:
        there = [i for i, text in enumerate(texts) if text]
        if not there:
            return None
        scored = [i for i in there if scores[i] is not None]
        chosen = max(scored, key=lambda i: (scores[i], -i), default=there[0])
        if 0 in scored and chosen != 0 and scores[chosen] - scores[0] <= self.settings.margin:  # type: ignore[operator]
            chosen = 0
        text = texts[chosen]
        assert text is not None
        return Caption(text, note=None if chosen == 0 else f"from:{self.settings.sources[chosen]}")
