"""Grammar: how probably a caption is one as people write them, by a head on a text encoder's features.

    rewards: {uses: grammar, weight: 1, with: {model: "step:grammar"}}

CLIP Reward (Cho et al., 2022) adds it to CLIP-S, which a heap of right words pleases as well. The head is of the task
`grammar_head`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pairwright.components.component import Reward
from pairwright.components.models.resolve import TOWER_LIBRARIES
from pairwright.components.registry import reward
from pairwright.components.settings import ModelFolder, Settings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pairwright.components.models.grammar import GrammarModel


class GrammarSettings(Settings):
    model: ModelFolder = Field(description="folder of the task `grammar_head`, which stays as it is")


@reward("grammar")
class Grammar(Reward[GrammarSettings]):
    """A probability."""

    libraries = TOWER_LIBRARIES
    judge: GrammarModel

    def modules(self) -> nn.Module | None:
        from pairwright.components.models.grammar import load_grammar

        self.judge = load_grammar(str(self.settings.model.path), str(self.device))
        return self.judge

    def encode(self, batch: Any, captions: Sequence[Sequence[str]]) -> dict[str, Tensor]:
        import torch

        flat = [text for row in captions for text in row]
        own = {text: at for at, text in enumerate(dict.fromkeys(flat))}
        found = self.judge.probability(list(own))
        rows = torch.tensor([own[text] for text in flat], device=found.device)
        return {"each": found[rows].view(len(captions), -1)}
