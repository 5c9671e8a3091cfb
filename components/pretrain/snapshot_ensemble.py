"""A dual encoder as the sum of its snapshots: one is kept at the end of each cycle of the learning rate.

    pretrain:
      uses: snapshot_ensemble
      with: {text_tower: builtin:characters, objective: hinge, schedule: cyclic, cycles: 4, trainable: text}

Merkx & Frank (2019) learn sentence meaning from pictures and characters and sum the embeddings of cycle-end snapshots
(Huang et al., 2017), picked by hand; here all are kept. Weights are not averaged. Mechanism verified by test, figure
not reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from pairwright.components.pretrain.dual_encoder import FitDualEncoder
from pairwright.components.pretrain.settings import DualEncoderSettings
from pairwright.components.registry import task
from pairwright.components.training.task import Seen, Trained

if TYPE_CHECKING:
    from torch import Tensor

PREFIX = "snapshot."


class SnapshotEnsembleSettings(DualEncoderSettings):
    schedule: Literal["cosine", "constant", "cyclic"] = Field("cyclic", description="cyclic: whose ends are kept")
    trainable: Literal["heads", "lora", "text", "all"] = Field("text", description="`text` or `heads`")

    @model_validator(mode="after")
    def _snapshots_of_what_is_beside_a_locked_image_tower(self) -> Self:
        if self.schedule != "cyclic":
            raise ValueError("snapshots are of the ends of cycles; leave schedule: cyclic")
        if self.trainable not in ("text", "heads") or self.tower is not None:
            raise ValueError("snapshots share one locked image tower: trainable is `text` or `heads`, of two towers")
        if self.average:
            raise ValueError("snapshots are summed, not averaged; leave average out")
        return self


@task("snapshot_ensemble")
class FitSnapshotEnsemble(FitDualEncoder):
    """Writes an ensemble's folder (components/models/snapshot_ensemble.py)."""

    @classmethod
    def settings_model(cls) -> type[SnapshotEnsembleSettings]:
        return SnapshotEnsembleSettings

    def build(self) -> Any:
        self.snapshots: list[dict[str, Tensor]] = []
        return super().build()

    def after_step(self, seen: Seen) -> None:
        super().after_step(seen)
        wish = self.settings
        while len(self.snapshots) < cycles_done(seen.step + 1, wish.warmup_steps, seen.steps, wish.cycles):
            self.snapshots.append(self._trained())

    def _trained(self) -> dict[str, Tensor]:
        named = self.encoder.named_parameters()
        return {name: value.detach().cpu().clone() for name, value in named if value.requires_grad}

    def state_dict(self) -> dict[str, Tensor]:
        kept = {f"{PREFIX}{k}.{name}": value for k, one in enumerate(self.snapshots) for name, value in one.items()}
        return super().state_dict() | kept

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        super().load_state_dict({name: value for name, value in state.items() if not name.startswith(PREFIX)})
        self.snapshots = []
        for name, value in state.items():
            if name.startswith(PREFIX):
                number, _, own = name.removeprefix(PREFIX).partition(".")
                self.snapshots += [{} for _ in range(int(number) + 1 - len(self.snapshots))]
                self.snapshots[int(number)][own] = value

    def save(self, folder: Path, trained: Trained) -> None:
        from pairwright.components.models.dual_encoders.dual_encoder import TwoTower
        from pairwright.components.models.snapshot_ensemble import save_ensemble
        from pairwright.components.pretrain.card import model_card

        # A last cycle whose last steps were skipped has no end that was seen; the weights as they are end it.
        missing = self.settings.cycles - len(self.snapshots)
        kept = [*self.snapshots, *(self._trained() for _ in range(min(missing, 1)))]
        assert isinstance(self.encoder, TwoTower)
        save_ensemble(folder, self.encoder, kept, model_card(self.settings, trained))


def cycles_done(taken: int, warmup: int, steps: int, cycles: int) -> int:
    """Cycles of the schedule that have ended after so many steps (components/training/schedule.py)."""
    return max(0, taken - warmup) * cycles // max(1, steps - warmup)
