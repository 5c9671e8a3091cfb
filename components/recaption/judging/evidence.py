"""What is known of a figure beside its picture, as settings name it: text read in it, the paragraph that cites it."""

from __future__ import annotations

from pydantic import Field

from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.settings import Settings


class FigureEvidence(Settings):
    """Fields of every component that writes or judges captions by such evidence."""

    ocr: str | None = Field(None, description="step.column of text read in the figure")
    paragraph: str | None = Field(None, description="source of the text that cites the figure")


def evidence_of(pairs: PairBatch, wish: FigureEvidence) -> list[dict[str, str]]:
    """`text` and `paragraph` of each pair, "" where there is none."""
    texts = pairs.columns[wish.ocr] if wish.ocr is not None else [None] * len(pairs)
    paragraphs = pairs.captions(wish.paragraph) if wish.paragraph is not None else [None] * len(pairs)
    return [
        {"text": " ".join((text or "").split()), "paragraph": " ".join((paragraph or "").split())}
        for text, paragraph in zip(texts, paragraphs, strict=True)
    ]
