"""Few captions: those of a source that a share of the pairs keeps, as if people had written no more.

    recaption: {human: {uses: few_captions, with: {source: alt, share: 0.05}}}

A captioner that is adapted on a small set (RECAP: about a hundred) learns from this source. Which pairs keep theirs is
a pure function of (seed, key): another shard changes nobody's. The others have none.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from pairwright.components.component import Caption, Captioner, Captions
from pairwright.components.dataset.captions.caption_mix import choose_sources, key_hashes
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.registry import captioner
from pairwright.components.settings import Settings


class FewCaptionsSettings(Settings):
    source: str = "alt"
    share: float = Field(0.05, gt=0, le=1, description="of the pairs, which keep their caption")
    seed: int = Field(0, ge=0)


@captioner("few_captions")
class FewCaptions(Captioner[FewCaptionsSettings]):
    """The caption as it is, or None."""

    requires = Captions("source")

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        weights = {"kept": self.settings.share, "not": 1 - self.settings.share}
        left_out = choose_sources(self.settings.seed, 0, key_hashes(pairs.keys), weights)
        texts = pairs.captions(self.settings.source)
        return [Caption(text) if text and not out else None for text, out in zip(texts, left_out, strict=True)]
