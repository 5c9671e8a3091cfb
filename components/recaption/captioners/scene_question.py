"""Questions about composed scenes, and their answers, as captions: what question-conditioned captions are made for.

    recaption:
      question: {uses: scene_question}
      answer:   {uses: scene_answer}

Both draw the same of a scene's questions, by its key; `number` asks for another one of the same picture.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field

from pairwright.components.component import Caption, Captioner
from pairwright.components.dataset.facts import DataFacts
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.dataset.sources.scenes.questions import questions_of
from pairwright.components.errors import InvalidRecipe
from pairwright.components.registry import captioner
from pairwright.components.settings import Settings


class SceneQuestionSettings(Settings):
    seed: int = Field(0, ge=0, description="of what is drawn, beside the pair's key")
    number: int = Field(0, ge=0, description="which of a picture's questions, in the order drawn; past the last: none")


class OfScene(Captioner[SceneQuestionSettings]):
    """None where the pair is no composed scene, or has not so many questions."""

    part = 0

    def check_data(self, facts: DataFacts) -> None:
        if lacks := facts.lacks_label("subject_colour"):
            raise InvalidRecipe(f"{lacks}; {self.name} asks about scenes, which `pairwright ingest scenes` composes")

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        return [self._drawn(key, row) for key, row in zip(pairs.keys, pairs.sidecar, strict=True)]

    def _drawn(self, key: str, row: dict[str, Any]) -> Caption | None:
        wish, found = self.settings, questions_of({one["name"]: one["value"] for one in row["labels"] or ()})
        if wish.number >= len(found):
            return None
        draw = np.random.default_rng(zlib.crc32(f"{wish.seed} {key}".encode()))
        return Caption(found[int(draw.permutation(len(found))[wish.number])][self.part])


@captioner("scene_question")
class SceneQuestion(OfScene):
    """The question."""


@captioner("scene_answer")
class SceneAnswer(OfScene):
    """Its answer, one word or a thing's name."""

    part = 1
