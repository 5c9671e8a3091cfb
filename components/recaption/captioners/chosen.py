"""The caption of the source that a column names, for each pair its own.

    recaption:
      stable: {uses: rotation_stability, with: {model: org/clip, sources: [alt, fused]}}
      best:   {uses: chosen, with: {choice: stable.source, sources: [alt, fused], fallback: alt}}

Whatever judges captions writes the winner's source; this makes them one source to train on.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from pairwright.components.component import Caption, Captioner, Columns
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.registry import captioner
from pairwright.components.settings import Settings

NO_CHOICE = "no_choice"  # note: the column names no source, or one without a caption here


class ChosenSettings(Settings):
    choice: str = Field(description="step.column that holds a source's name")
    sources: tuple[str, ...] = Field(min_length=1, description="sources it may name: sidecar's, or captioner steps")
    fallback: str | None = Field("alt", description="source that stands in where there is no choice; None: no caption")


@captioner("chosen")
class Chosen(Captioner[ChosenSettings]):
    """Caption of the source chosen; the fallback's with the note "no_choice"; None where that has none, either."""

    requires = Columns("choice")
    sees_failures = True  # a pair without a choice still has its fallback

    def caption_sources(self) -> tuple[str, ...]:
        fallback = () if self.settings.fallback is None else (self.settings.fallback,)
        return tuple(dict.fromkeys([*self.settings.sources, *fallback]))

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        texts = {source: pairs.captions(source) for source in self.caption_sources()}
        return [self._pick(pairs, texts, i, pairs.columns[self.settings.choice][i]) for i in range(len(pairs))]

    def _pick(self, pairs: PairBatch, texts: dict[str, list[str | None]], i: int, choice: str | None) -> Caption | None:
        if choice in self.settings.sources and texts[choice][i]:
            return Caption(texts[choice][i] or "", lang=_language(pairs, i, choice))
        fallback = self.settings.fallback
        if fallback is None or not texts[fallback][i]:
            return None
        return Caption(texts[fallback][i] or "", lang=_language(pairs, i, fallback), note=NO_CHOICE)


def _language(pairs: PairBatch, i: int, source: str) -> str:
    """What the sidecar says of its own captions' language; a captioner's are English."""
    name, _, asked = source.partition("@")
    mine = [c for c in pairs.sidecar[i].get("captions") or () if c["source"] == name and asked in ("", c["lang"])]
    return (mine[0]["lang"] if mine and source not in pairs.extra_captions else None) or "en"
