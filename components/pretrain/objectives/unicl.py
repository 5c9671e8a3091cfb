"""UniCL's objective (Yang et al., 2022) where a task says the classes: what shares a class is right for each other.

    train: {uses: prefix_conditioning, with: {objective: unicl, ...}}

    L_i2t = -1/B sum_i 1/|P(i)| sum_{k in P(i)} log softmax_k(s <x_i, y_k>), P(i) the pairs of i's class; and t2i alike

A pair of captions is a class of its own, so with no class twice it is CLIP's. Of classes that are a label of all pairs,
clip's `positives: pair.label.NAME` is the same. Mechanism verified by test, figure not reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pairwright.components.errors import InvalidRecipe
from pairwright.components.pretrain.objectives.clip import Clip
from pairwright.components.registry import objective

if TYPE_CHECKING:
    from torch import Tensor

    from pairwright.components.dataset.examples.wish import Reads
    from pairwright.components.models.dual_encoders.contrastive import Targets


@objective("unicl")
class UniCl(Clip):
    def reads(self) -> Reads:
        if not self.towers.settings.knows_classes:
            raise InvalidRecipe("unicl needs a task that says the classes; or say clip's positives: pair.label.NAME")
        return super().reads()

    def targets(self, outputs: Mapping[str, Tensor], batch: Any) -> Targets:
        from pairwright.components.models.dual_encoders.contrastive import same_group

        return replace(super().targets(outputs, batch), positive=same_group(batch["classes"], batch.own))
