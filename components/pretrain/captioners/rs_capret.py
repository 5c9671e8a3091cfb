"""RS-CapRet: captioning and retrieval by one frozen language model, two matrices beside its own and a token [RET].

    fit:      {language_model: {uses: language_model, with: {sources: [alt]}}}
    pretrain: {uses: rs_capret, with: {decoder: "step:language_model", source: alt}}

Silva et al., 2024, "Large Language Models for Captioning and Retrieving Remote Sensing Images", by its ancestor's code
(Koh et al., 2023, "FROMAGe"); what is trained is in models/captioner/caption_and_retrieve.py. The loss is

    L = CE(caption | picture) + CE(caption [RET]) + (NCE(text -> picture) + NCE(picture -> text)) / 2

with cosines times exp(s), s learnt from ln(1 / 0.07). In captioning no [RET] is to be said; a share of the pairs stands
behind another pair of its batch (interleaved), so that the model learns which picture a caption is of. Mechanism
verified by test, figure not reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pairwright.components.component import Captions, Columns
from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.errors import ColumnError
from pairwright.components.models.resolve import TOWER_LIBRARIES
from pairwright.components.registry import task
from pairwright.components.settings import ModelFolder
from pairwright.components.training.batch import Batch
from pairwright.components.training.settings import TrainerSettings
from pairwright.components.training.task import Seen, Task, Trained

if TYPE_CHECKING:
    from torch import Tensor

    from pairwright.components.models.captioner.caption_and_retrieve import CaptionAndRetrieve


class RsCapretSettings(TrainerSettings):
    decoder: ModelFolder = Field(description="language model of transformers, frozen: a folder or `step:NAME`")
    image_tower: ModelFolder = ModelFolder(reference="builtin:efficientnet-lite0")
    image_features: str = Field("image_features.vector", description="column of that tower's features")
    source: str = Field("alt", description="captions that are said, and asked by")
    visual: int = Field(1, ge=1, le=64, description="tokens a picture")
    dim: int = Field(256, ge=2, le=4096, description="width of the space in which texts and pictures meet")
    max_words: int = Field(24, ge=1, le=256, description="a caption's tokens beyond these are not read")
    interleaved: float = Field(0.5, ge=0, le=1, description="share of pairs captioned behind another pair, each epoch")
    captioning: float = Field(1.0, ge=0, description="weight of the caption's cross-entropy")
    retrieval_text: float = Field(1.0, ge=0, description="weight of the cross-entropy of a text and its [RET]")
    contrast: float = Field(1.0, ge=0, description="weight of the contrast between [RET]'s state and the picture")
    batch_size: int = Field(180, ge=2)
    lr: float = Field(3e-4, gt=0, description="peak learning rate")
    beta2: float = Field(0.95, gt=0, lt=1)


@task("rs_capret")
class RsCapret(Task[RsCapretSettings]):
    """Writes a folder that speaks captioner, dual_encoder and retriever."""

    requires = Columns("image_features") + Captions("source")
    speaks = ("captioner", "dual_encoder", "retriever")
    libraries = TOWER_LIBRARIES
    joint = True

    def reads(self) -> Reads:
        return Reads(columns=(self.settings.image_features,), texts=(self.settings.source,))

    def build(self) -> CaptionAndRetrieve:
        from pairwright.components.models.captioner.caption_and_retrieve import CaptionAndRetrieve
        from pairwright.components.models.captioner.pretrained import load_pretrained
        from pairwright.components.models.captioner.tokens import PretrainedTokens
        from pairwright.components.models.towers.towers import load_image_tower

        wish = self.settings
        assert wish.decoder.path is not None
        decoder, tokenizer = load_pretrained(wish.decoder.path)
        tower = load_image_tower(wish.image_tower, str(self.device))
        if self.population.width(wish.image_features) != tower.width:
            raise ColumnError(
                f"rs_capret: {wish.image_features} is {self.population.width(wish.image_features)} wide and "
                f"{wish.image_tower.reference} {tower.width}; name the column of that tower's features"
            )
        tokens = PretrainedTokens(tokenizer, decoder.vocabulary)
        model = CaptionAndRetrieve(
            tower, decoder, tokens, longest=wish.max_words, visual=wish.visual, dim=wish.dim
        ).train()
        needed = 2 * (wish.visual + wish.max_words + 2)
        if wish.interleaved and needed > decoder.longest:
            raise ColumnError(
                f"rs_capret: two pairs are {needed} tokens, the language model reads {decoder.longest}; lower "
                "max_words or set interleaved: 0"
            )
        return model

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        """The pair that stands before another is the one before it in the batch."""
        import torch

        wish = self.settings
        image = torch.from_numpy(examples.column(wish.image_features))
        tokens = self.model.captioner.tokens.encode(examples.texts(wish.source), wish.max_words)
        after = torch.from_numpy(examples.draw("interleaved") < (wish.interleaved if len(examples) > 1 else 0.0))
        before = {"before_image": image.roll(1, 0), "before_tokens": tokens.roll(1, 0)}
        return {"image": image, "tokens": tokens, "after": after, **before}

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        from pairwright.components.models.captioner.tokens import to_be_said

        wish, model = self.settings, self.model
        found: dict[str, Tensor] = {}
        if wish.captioning:
            before = (batch["before_image"], batch["before_tokens"]) if wish.interleaved else None
            after = batch["after"] if wish.interleaved else None
            nats, count = model.caption_nats(batch["image"], batch["tokens"], before, after)
            found |= {"caption_nats": nats.sum(1), "caption_tokens": count.sum(1)}
        if wish.contrast or wish.retrieval_text:
            state, nats = model.gathered(batch["tokens"])
            found |= {"text_nats": nats, "text": model.project_text(state)}
            found |= {"image": model.project_image(batch["image"])}
            found |= {"text_tokens": to_be_said(batch["tokens"], model.captioner.tokens.end).sum(1)}
        return found

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        from pairwright.components.models.dual_encoders.contrastive import softmax_loss

        wish, scale = self.settings, self.model.scale
        named: dict[str, Tensor] = {}
        if wish.captioning:
            named["captioning"] = outputs["caption_nats"].sum() / outputs["caption_tokens"].sum()
        if wish.retrieval_text:
            named["retrieval_text"] = outputs["text_nats"].sum() / outputs["text_tokens"].sum()
        if wish.contrast:
            named["contrast"] = softmax_loss(outputs["image"], outputs["text"], scale, None, batch.own).mean()
        loss = sum(getattr(wish, name) * value for name, value in named.items())
        return {**named, "loss": loss, "logit_scale": scale}  # type: ignore[dict-item]

    def after_step(self, seen: Seen) -> None:
        self.model.clamp_scale()

    def save(self, folder: Path, trained: Trained) -> None:
        self.model.save(folder, _card(self.settings, trained))


def _card(wish: RsCapretSettings, trained: Trained) -> str:
    losses = [line["loss"] for line in trained.history if "loss" in line]
    return f"""# Captioner that retrieves (rs_capret)

A frozen language model (`{wish.decoder.reference}`) that says a picture's caption and finds pictures by a text.

| | |
|---|---|
| pictures | `{wish.image_tower.reference}`, locked, as {wish.visual} tokens |
| trained | {trained.share:.1%} of its parameters, temperature exp(s) from {1 / 0.07:.1f} |
| data | {trained.pairs} pairs, captions `{wish.source}`; {trained.excluded} more lacked what it reads |
| training | batches of {wish.batch_size}, AdamW, peak lr {wish.lr:g}, seed {wish.seed} |
| last loss | {f"{losses[-1]:.4f}" if losses else "none"} |

It was not tested for fairness or for safety.
"""
