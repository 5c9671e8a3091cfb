"""Complement: a generated caption added to the original where the two ends of a pair match weakly (TL;DR).

    recaption:
      refined: {uses: complement, with: {source: alt, generated: fused, score: align_rank.rank, threshold: 0.3}}

Wang et al., 2023, stage 2: a caption that matches its picture well stands as it is; under the threshold the
generated caption is put after it, so that what the original says is not lost (`join: replace` gives it up).
The original stays in the sidecar either way. Mechanism verified by test, figure not reproduced.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from pairwright.components.component import Caption, Captioner, Captions, Columns
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.registry import captioner
from pairwright.components.settings import Settings

KEPT = "kept"
NOTHING_NEW = "nothing_new"


class ComplementSettings(Settings):
    source: str = Field("alt", description="the original caption")
    generated: str = Field(description="the caption that complements it: a captioner step's name or a source")
    score: str = Field(description="step.column of how well the original fits its picture, higher is better")
    threshold: float = Field(description="of the score, below which the original is complemented")
    join: Literal["append", "replace"] = "append"


@captioner("complement")
class Complement(Captioner[ComplementSettings]):
    """Caption, refined where it says no note; else "kept" (it matches) or "nothing_new" (it says that already)."""

    requires = Captions("source", "generated") + Columns("score")
    sees_failures = True  # a pair without an original, a generated caption or a score has what it has

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        wish = self.settings
        originals, generated = pairs.captions(wish.source), pairs.captions(wish.generated)
        scores: list[Any] = pairs.columns.get(wish.score, [None] * len(pairs))
        return [self._refine(*one) for one in zip(originals, generated, scores, strict=True)]

    def _refine(self, original: str | None, generated: str | None, score: float | None) -> Caption | None:
        original, generated = (original or "").strip(), (generated or "").strip()
        if not original:
            return Caption(generated) if generated else None
        # A score that could not be made says nothing against the original.
        if score is None or score >= self.settings.threshold:
            return Caption(original, note=KEPT)
        if not generated or set(_words(generated)) <= set(_words(original)):
            return Caption(original, note=NOTHING_NEW)
        if self.settings.join == "replace":
            return Caption(generated)
        return Caption(f"{original.rstrip('.;, ')}. {generated[0].upper()}{generated[1:]}")


def _words(text: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in text.lower()).split()
