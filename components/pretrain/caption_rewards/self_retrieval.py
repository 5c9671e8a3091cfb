"""Self-retrieval: how surely a caption finds its own picture among others, by a frozen dual encoder.

    rewards: {uses: self_retrieval, with: {model: "step:retriever", neighbours: 10}}

DiscriTune (Dessi et al., 2023, "Cross-domain image captioning with discriminative finetuning"): of caption c of picture
i among candidates j, all pictures of the joint batch and, if asked for, the picture's nearest of a pool,

    r(c, i) = log softmax_j(s cos(c, j)) [i]  <= 0,

which is 0 only where the caption finds its picture with certainty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field

from pairwright.components.pretrain.caption_rewards.retriever import RetrieverReward, RetrieverSettings
from pairwright.components.registry import reward

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pairwright.components.pretrain.caption_rewards.pool import Pool


class RetrievalSettings(RetrieverSettings):
    temperature: float | None = Field(None, gt=0, description="of the softmax; the model's own if not said")
    pool: int = Field(8192, ge=1, description="pictures, evenly over the population, that neighbours are found among")
    same: float = Field(0.98, gt=0, le=1, description="cosine beyond which two pictures are one, and no neighbours")


class SelfRetrievalSettings(RetrievalSettings):
    neighbours: int = Field(0, ge=0, le=1024, description="nearest pictures of the pool that are candidates, too")


T = TypeVar("T", bound=RetrievalSettings)


class Retrieval(RetrieverReward[T]):
    """Self-retrieval among candidates; `score` says which of them count."""

    pool: Pool | None = None

    @property
    def mined(self) -> int:
        """Neighbours that are looked up of each picture."""
        raise NotImplementedError

    def modules(self) -> nn.Module | None:
        from pairwright.components.pretrain.caption_rewards.pool import Pool

        encoder = super().modules()
        if self.mined:
            wish = self.settings
            self.pool = Pool.of(self.population, wish.features, self.pictures, wish.pool, wish.same)
        return encoder

    def encode(self, batch: Any, captions: Sequence[Sequence[str]]) -> dict[str, Tensor]:
        found = {"picture": self.pictures(batch["features"]), "said": self.captions(captions)}
        if self.pool is not None:
            found |= self.pool.nearest(found["picture"], batch.numbers, self.mined)
        return found

    def scale(self) -> float:
        """1 / temperature."""
        given = self.settings.temperature
        return float(self.encoder.scale) if given is None else 1 / given


@reward("self_retrieval")
class SelfRetrieval(Retrieval[SelfRetrievalSettings]):
    """In nats, at most 0."""

    @property
    def mined(self) -> int:
        return self.settings.neighbours

    def score(self, outputs: Mapping[str, Tensor], batch: Any, progress: float) -> Tensor:
        import torch

        everyone = torch.ones((len(batch.numbers),) * 2, dtype=torch.bool, device=outputs["picture"].device)
        return log_found(outputs, self.scale(), everyone, batch.numbers)


def log_found(outputs: Mapping[str, Tensor], scale: float, others: Tensor, numbers: Tensor) -> Tensor:
    """log p of each caption's own picture among itself, `others` of the batch and those near it, each once: (n, C).

    Args:
        outputs: unit vectors `picture` (n, d), `said` (n, C, d) and, where there are any, `near` (n, k, d), with their
            `number` (n, k) in the population, -1 for none.
        others: (n, n) bool, which pictures of the batch are candidates of each; its own always is.
        numbers: (n,) of the batch's pictures.
    """
    import torch

    picture, said = outputs["picture"], outputs["said"]
    others = others & ~torch.eye(len(picture), dtype=torch.bool, device=picture.device)
    own = scale * torch.einsum("nd,ncd->nc", picture, said)
    beside = []
    if "near" in outputs:
        number = outputs["number"]
        others = others & ~(number[:, :, None] == numbers.to(number.device)).any(1)
        logits = scale * torch.einsum("nkd,ncd->nck", outputs["near"], said)
        beside = [logits.masked_fill((number < 0)[:, None], -torch.inf)]
    logits = (scale * (said @ picture.T)).masked_fill(~others[:, None], -torch.inf)
    # Its own is taken off first: one that is certain is then at 0 to the bit, and none is above it.
    return -torch.cat([own[:, :, None], logits, *beside], dim=2).sub(own[:, :, None]).logsumexp(2).clamp(min=0)
