"""What is right and what is wrong in a contrastive batch, and what a pair counts for: settings that objectives share.

    objective: {uses: clip, with: {positives: pair.caption.alt, smoothing: 0.1, weights: align.score}}

A batch has one caption a picture, and plainly all others are wrong. Where two pictures share a caption that is false:
`positives` has it answered by both, `ignore` leaves it out of the comparison; `distinct`, of the trainer, keeps the
two apart. With nothing said an objective is, bit for bit, the plain one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from pydantic import Field

from pairwright.components.component import Captions, Columns, Objective
from pairwright.components.dataset.examples.identity import Identity, identities, identity_reads, text_identities
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.errors import ColumnError
from pairwright.components.finite import require_finite
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from pairwright.components.dataset.examples.example import Examples
    from pairwright.components.models.dual_encoders.contrastive import Targets, WrongTexts


class SoftTargets(Settings):
    """Part of each target is the softmax of a teacher's cosines between pairs, both ways alike."""

    column: str = Field(description="step.column of the teacher's vectors, e.g. text_features.vector")
    share: float = Field(0.3, ge=0, le=1, description="of the target; 0 leaves the teacher unasked")
    temperature: float = Field(0.05, gt=0, description="the teacher's cosines are divided by it")


class TargetSettings(Settings):
    positives: Identity | None = Field(
        None, description="a caption is right for every picture with the same of this, e.g. pair.caption.alt"
    )
    ignore: Identity | None = Field(
        None, description="a caption is neither right nor wrong for another picture with the same of this"
    )
    smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target that is spread over all answers")
    soft: SoftTargets | None = None
    hard_texts: tuple[str, ...] = Field(
        (), description="caption sources of wrong texts, for every picture of the batch; a pair needs one of each"
    )
    weights: str | None = Field(
        None, description="step.column of numbers from 0: what a pair's loss counts for; one without is not trained on"
    )


T = TypeVar("T", bound=TargetSettings)


class Contrastive(Objective[T]):
    """Reads, collates and encodes what the settings name; `targets`, `wrong` and `mean` make it part of a loss."""

    requires = Captions("hard_texts") + Columns("weights")

    def reads(self) -> Reads:
        wish = self.settings
        read = Reads(columns=tuple(name for name in (wish.weights, self._teacher) if name))
        for name in (wish.positives, wish.ignore):
            read = read + identity_reads(name) if name else read
        if wish.hard_texts:
            said = tuple(dict.fromkeys((*wish.hard_texts, *self.towers.settings.sources)))
            read = read + Reads(texts=said, optional=frozenset(said))
            read = read + self.towers.reads_texts(wish.hard_texts, every=True)
        return read

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        import torch

        wish = self.settings
        fields: dict[str, Any] = {
            what: torch.from_numpy(identities(examples, name).copy())
            for what, name in (("positives", wish.positives), ("ignore", wish.ignore))
            if name
        }
        if wish.weights:
            fields["weights"] = torch.from_numpy(checked_weights(examples.column(wish.weights), wish.weights))
        if self._teacher:
            fields["teacher"] = torch.from_numpy(examples.column(self._teacher))
        if wish.hard_texts:
            fields["hard"] = self.towers.collate_texts(examples, wish.hard_texts)
            said = {"caption": examples.captions(self.towers.settings.sources, self.towers.settings.mix)}
            said |= {f"hard{at}": examples.texts(source) for at, source in enumerate(wish.hard_texts)}
            for what, texts in said.items():
                lacking = [f"{what} {number}" for number in examples.numbers.tolist()]
                fields[f"said_{what}"] = torch.from_numpy(text_identities(texts, lacking).copy())
        return fields

    def encode(self, batch: Any) -> dict[str, Tensor]:
        from torch.nn import functional as F  # noqa: N812

        found = {"teacher": F.normalize(batch["teacher"].float(), dim=-1)} if self._teacher else {}
        return found | ({"hard": self.towers.embed_texts(batch["hard"])} if self.settings.hard_texts else {})

    def targets(self, outputs: Mapping[str, Tensor], batch: Any) -> Targets:
        """Which captions of the joint batch answer each own picture."""
        from pairwright.components.models.dual_encoders.contrastive import Targets, same_group

        wish = self.settings
        teacher = outputs["teacher"] if self._teacher else None
        return Targets(
            positive=same_group(batch["positives"], batch.own) if wish.positives else None,
            ignored=same_group(batch["ignore"], batch.own) if wish.ignore else None,
            soft=None if teacher is None else _answers(teacher, batch.own, wish.soft.temperature),  # type: ignore[union-attr]
            share=wish.soft.share if wish.soft else 0.0,
            smoothing=wish.smoothing,
        )

    def wrong(self, outputs: Mapping[str, Tensor], batch: Any) -> WrongTexts | None:
        """Everyone's hard texts; one that says a row's own caption is left out for that row."""
        import torch

        from pairwright.components.models.dual_encoders.contrastive import WrongTexts

        count = len(self.settings.hard_texts)
        if not count:
            return None
        said = torch.stack([batch[f"said_hard{at}"] for at in range(count)], 1).flatten()  # as `vectors`: pair by pair
        return WrongTexts(outputs["hard"].flatten(0, 1), batch["said_caption"][batch.own, None] == said[None, :])

    def softmax(self, outputs: Mapping[str, Tensor], batch: Any) -> Tensor:
        """The mean of own pairs' cross-entropies to their targets, half of it picture to text, half text to picture."""
        from pairwright.components.models.dual_encoders.contrastive import softmax_loss

        each = softmax_loss(
            outputs["image"],
            outputs["text"],
            outputs["scale"],
            self.targets(outputs, batch),
            batch.own,
            self.wrong(outputs, batch),
        )
        return self.mean(each, batch)

    def mean(self, each: Tensor, batch: Any) -> Tensor:
        """Of own pairs' losses, weighted if weights are named."""
        from pairwright.components.models.dual_encoders.contrastive import weighted_mean

        return weighted_mean(each, batch["weights"], batch.own) if self.settings.weights else each.mean()

    @property
    def _teacher(self) -> str | None:
        soft = self.settings.soft
        return soft.column if soft is not None and soft.share else None


def checked_weights(values: Any, column: str) -> np.ndarray:
    """A column's numbers as weights, float32 (n,).

    Raises:
        ColumnError: it holds no numbers, or one below 0.
        NotFinite: one is not.
    """
    if not isinstance(values, np.ndarray) or values.ndim != 1:
        raise ColumnError(f'"{column}" holds no numbers; a weight is a number from 0')
    weights = values.astype(np.float32)
    require_finite(weights, f'the weights "{column}"', "make that step's columns again")
    if (weights < 0).any():
        raise ColumnError(f'"{column}" holds {weights.min():g}; a weight is a number from 0')
    return weights


def _answers(teacher: Tensor, own: slice, temperature: float) -> Tensor:
    answers: Tensor = (teacher[own] @ teacher.T / temperature).softmax(1)
    return answers
