"""What a mix says after an exchange: the rows that came in say their strong captions, all others what they said.

    recaption: {sft: {uses: exchanged, with: {source: alt, strong: expanded, moved: exchange.moved}}}

Goes with the selection `exchange_captions` (ShareGPT4V): a row of another task has its text, byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from pairwright.components.component import Caption, Captioner, Captions, Columns
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.registry import captioner
from pairwright.components.settings import Settings

CAME_IN = "in"


class ExchangedSettings(Settings):
    source: str = Field("alt", description="what rows of the mix say")
    strong: str = Field(description="caption source of the rows that came in")
    moved: str = Field(description="step.column that says `in` of those")


@captioner("exchanged")
class Exchanged(Captioner[ExchangedSettings]):
    """One source's text or the other's, as it is; None where a row has none."""

    requires = Captions("source", "strong") + Columns("moved")
    sees_failures = True  # a row has need of one of its sources alone

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        wish = self.settings
        sides = zip(pairs.captions(wish.source), pairs.captions(wish.strong), pairs.columns[wish.moved], strict=True)
        texts = [strong if moved == CAME_IN else own for own, strong, moved in sides]
        return [None if text is None else Caption(text) for text in texts]
