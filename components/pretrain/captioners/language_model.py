"""Language model: a small Llama that learns to say captions, from their texts alone.

    fit:
      language_model: {uses: language_model, with: {sources: [alt]}}
      captioner: {uses: captioner, with: {decoder: "step:language_model", mapping: queries}}

What stands in, without a network, for the large one of the papers that keep a language model frozen; a folder of
`transformers` (SmolLM2, GPT-2, Llama) goes into its place in a recipe. The folder it writes is one: Llama's class,
whose places are relative, with a byte-level BPE learnt of the same texts, so that no text is unknown to it.

A frozen model can be led by a prefix only if it heeds what it was told before. So a text is learnt behind another one
of the same pair, a title behind its keywords, in the order of a captioner's prefix and caption:

    [another text] <s> text </s>
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from pairwright.components.component import Captions
from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.spread import spread
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.pretrain.captioners.captioner import COUNTED, MEASURED
from pairwright.components.registry import task
from pairwright.components.training.batch import Batch
from pairwright.components.training.settings import TrainerSettings
from pairwright.components.training.task import Task, Trained

if TYPE_CHECKING:
    from torch import Tensor, nn

START, END = "<s>", "</s>"


class LanguageModelSettings(TrainerSettings):
    sources: tuple[str, ...] = Field(
        ("alt",), min_length=1, description="texts; of a pair's one is drawn each epoch, and another to stand before it"
    )
    alone: float = Field(0.2, ge=0, le=1, description="share of texts behind no other one")
    vocabulary: int = Field(4000, ge=300, description="tokens of a byte-level BPE: 256 bytes, start, end, and merges")
    width: int = Field(128, ge=8, description="a multiple of its heads")
    heads: int = Field(4, ge=1)
    layers: int = Field(4, ge=1, le=48)
    longest: int = Field(96, ge=8, description="tokens it reads, those of a captioner's prefix among them")
    max_tokens: int = Field(32, ge=1, description="a text's tokens beyond these are not learnt")
    batch_size: int = Field(128, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width ({self.width}) must be a multiple of heads ({self.heads})")
        if 2 * self.max_tokens + 2 > self.longest:
            raise ValueError(f"two texts of max_tokens ({self.max_tokens}) do not fit longest ({self.longest})")
        return self


@task("language_model")
class LanguageModel(Task[LanguageModelSettings]):
    """Writes a folder of `transformers` (config.json, model.safetensors, the tokenizer) and card.md."""

    requires = Captions("sources")
    libraries = ("torch", "transformers", "tokenizers")

    def reads(self) -> Reads:
        return Reads(texts=self.settings.sources, any_of=(self.settings.sources,))

    def build(self) -> nn.Module:
        from transformers import LlamaConfig, LlamaForCausalLM

        from pairwright.components.models.captioner.tokens import PretrainedTokens

        wish, tokenizer = self.settings, self._tokenizer()
        self.tokens = PretrainedTokens(tokenizer, len(tokenizer))
        ids: dict[str, Any] = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
        shape: dict[str, Any] = {
            "hidden_size": wish.width,
            "intermediate_size": 3 * wish.width,
            "num_hidden_layers": wish.layers,
        }
        shape |= {"num_attention_heads": wish.heads, "num_key_value_heads": wish.heads}
        # Of one so narrow, transformers' own deviation of 0.02 is so little that it takes long to look back.
        begun: dict[str, Any] = {"initializer_range": wish.width**-0.5, "tie_word_embeddings": True}
        config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=wish.longest, **ids, **shape, **begun)
        model: nn.Module = LlamaForCausalLM(config)
        return model.train()

    def _tokenizer(self) -> Any:
        from tokenizers import ByteLevelBPETokenizer
        from transformers import PreTrainedTokenizerFast

        wish, learnt = self.settings, ByteLevelBPETokenizer()
        said = (text for some in spread(self.population, COUNTED) for one in wish.sources for text in some.texts(one))
        texts = (f" {' '.join(text.split())}" for text in said)  # as captions are said (models/captioner/tokens.py)
        learnt.train_from_iterator(
            texts, vocab_size=wish.vocabulary, min_frequency=2, special_tokens=[START, END], show_progress=False
        )
        return PreTrainedTokenizerFast(tokenizer_object=learnt._tokenizer, bos_token=START, eos_token=END)

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        import torch

        wish, sources = self.settings, self.settings.sources
        texts = [examples.texts(source) for source in sources]
        order, alone = examples.draw("order", (len(sources),)).argsort(1), examples.draw("alone") < wish.alone
        rows = []
        for at in range(len(examples)):
            said = [text for source in order[at] if (text := texts[source][at])]
            before = self._ids(said[1]) if len(said) > 1 and not alone[at] else []
            rows.append([*before, self.tokens.start, *self._ids(said[0]), self.tokens.end])
        length = max((len(row) for row in rows), default=2)
        return {"tokens": torch.tensor([row + [self.tokens.end] * (length - len(row)) for row in rows])}

    def _ids(self, text: str) -> list[int]:
        return (self.tokens.string(text) or [])[: self.settings.max_tokens]

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        return {"logits": self._logits(batch["tokens"])}

    def _logits(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.model(input_ids=tokens[:, :-1], use_cache=False).logits
        return found

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        from pairwright.components.models.captioner.tokens import nats_of

        nats = nats_of(outputs["logits"], batch["tokens"], self.tokens.end)
        return {"loss": nats.sum() / self.weight(batch)}

    def weight(self, batch: Batch) -> float:
        """Tokens and ends to be said."""
        from pairwright.components.models.captioner.tokens import to_be_said

        return float(to_be_said(batch["tokens"], self.tokens.end).sum())

    def save(self, folder: Path, trained: Trained) -> Mapping[str, Any]:
        measured = self._measured()
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(folder)
        self.tokens.save(folder)
        (folder / "card.md").write_text(_card(self.settings, measured, trained), encoding="utf-8")
        return measured

    def _measured(self) -> dict[str, float]:
        """Nats a token over texts it was trained on, of up to MEASURED examples."""
        import torch

        from pairwright.components.models.captioner.tokens import nats_of, to_be_said

        device, nats, said = next(self.model.parameters()).device, 0.0, 0.0
        with torch.no_grad():
            for some in spread(self.population, MEASURED):
                for tokens in self.collate(some)["tokens"].to(device).split(128):
                    nats += float(nats_of(self._logits(tokens), tokens, self.tokens.end).sum())
                    said += float(to_be_said(tokens, self.tokens.end).sum())
        return {"nats_per_token": nats / max(said, 1.0), "tokens_measured": said}


def _card(wish: LanguageModelSettings, measured: Mapping[str, float], trained: Trained) -> str:
    return f"""# Language model

A Llama of {wish.layers} layers and width {wish.width}, learnt from nothing on texts (`{"`, `".join(wish.sources)}`) of
{trained.pairs} pairs. A token of those costs it {measured["nats_per_token"]:.3f} nats (perplexity
{math.exp(measured["nats_per_token"]):.1f}). It knows what these captions say, and no other language.
"""
