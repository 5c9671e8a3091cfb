"""Curriculum: nested stages of rising quality and falling quantity, each with its token budget (SAIL-VL).

    select:
      stages: {uses: curriculum, with: {quality: align.score, shares: [1.0, 0.4, 0.1]}}
    keep: {in_the_bulk: "stages.stage >= 1"}

Dong et al., 2025, "Scalable Vision Language Model Training via High Quality Data Curation": pretrain on
the bulk, then tune in stages, each on less and better data. Stage k holds the pairs of the highest
quality that fit its budget, so stages are nested and their mean quality rises. A pair held out for
evaluation is in no stage. Mechanism verified by test, figure not reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from pairwright.components.component import Columns, Selection
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.errors import InvalidRecipe
from pairwright.components.filter.selections.duplicates.duplicates import among_columns, participants, quality_order
from pairwright.components.registry import selection
from pairwright.components.settings import Settings

TOLERANCE = 0.01  # of a stage's budget


class CurriculumSettings(Settings):
    quality: str = Field(description="step.column of numbers, higher is better; null is in no stage")
    words: str = Field("caption_text.words", description="step.column of words a caption")
    tokens_per_word: float = Field(1.3, gt=0)
    image_tokens: int = Field(64, ge=0, description="tokens a picture costs the model it is meant for")
    shares: list[float] = Field(
        [1.0, 0.4, 0.1], description="token budget of each stage, of all tokens that may be used"
    )
    tokens: list[int] | None = Field(None, description="token budget of each stage; instead of shares")
    among: dict[str, str] = Field({}, description="keep-rules; only pairs that pass them may be in a stage")

    @model_validator(mode="after")
    def _budgets_fall(self) -> Self:
        budgets: Sequence[float] = self.tokens if self.tokens is not None else self.shares
        if not 1 <= len(budgets) <= 100 or any(later >= earlier for earlier, later in pairwise(budgets)):
            raise ValueError("budgets must fall from stage to stage, and there must be one at least")
        if budgets[-1] <= 0 or (self.tokens is None and budgets[0] > 1):
            raise ValueError("budgets must be above 0, and shares at most 1")
        return self


@selection("curriculum")
class Curriculum(Selection[CurriculumSettings]):
    """Columns over every pair.

    Columns:
        stage: the highest stage the pair belongs to, 1 the bulk; 0 if it is in none. Stage k's data is `stage >= k`.
        tokens: what the pair costs; null without words.
    """

    requires = Columns("quality", "words")
    columns = {"stage": pa.int8(), "tokens": pa.int32()}

    def column_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*super().column_names(), *among_columns(self.settings.among)]))

    def select(self, view: ColumnsView) -> Mapping[str, Any]:
        wish = self.settings
        words = view.column(wish.words).cast(pa.float64()).to_numpy()
        quality = view.column(wish.quality).cast(pa.float64()).to_numpy()
        counted = np.isfinite(words)
        tokens = wish.image_tokens + np.ceil(wish.tokens_per_word * np.where(counted, words, 0)).astype(np.int64)
        usable = counted & np.isfinite(quality) & participants(view, wish.among)
        order = quality_order(view, [wish.quality], view.sidecar(["key"])["key"])
        order = order[usable[order]]
        stage = np.zeros(view.rows, np.int64)
        total = int(tokens[order].sum())
        budgets = [float(n) for n in wish.tokens or ()] or [share * total for share in wish.shares]
        for number, size in enumerate(stage_sizes(tokens[order], budgets), start=1):
            stage[order[:size]] = number
        return {
            "stage": pa.array(stage, pa.int8()),
            "tokens": pa.array(tokens, pa.int32(), mask=~counted),
        }


def stage_sizes(tokens: np.ndarray, budgets: Sequence[float]) -> list[int]:
    """How many pairs, best first, come nearest to each budget.

    Args:
        tokens: (n,) tokens of each pair, best pair first.

    Raises:
        InvalidRecipe: a budget that the pairs cannot meet within 1%.
    """
    spent = np.concatenate([[0], np.cumsum(tokens)])
    sizes = []
    for number, budget in enumerate(budgets, start=1):
        size = int(np.abs(spent - budget).argmin())
        if abs(spent[size] - budget) > TOLERANCE * budget or size == 0:
            raise InvalidRecipe(
                f"curriculum: stage {number} has a budget of {budget:,.0f} tokens, {len(tokens):,} usable pairs "
                f"({spent[-1]:,} tokens) come no nearer than {spent[size]:,}; change the budget or give more data"
            )
        sizes.append(size)
    return sizes
