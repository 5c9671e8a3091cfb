"""Sentence encoders as text towers: a BERT-like `transformers` model, its tokens averaged.

Mean pooling over real tokens, as Sentence-BERT does (Reimers & Gurevych, 2019). Any local folder
with `config.json`, `model.safetensors` and `tokenizer.json` serves.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pairwright.components.errors import ModelError
from pairwright.components.models.towers.tower import TextTower

KIND = "sentence"
TOKENIZER = "tokenizer.json"
MAX_TOKENS = 128  # captions are short; MiniLM was trained at 128


class SentenceTower(TextTower):
    """Texts -> (n, hidden size), the mean over a text's tokens of the last hidden state."""

    kind = KIND
    exports = True

    def __init__(self, transformer: dict[str, Any], tokenizer: str | Path) -> None:
        """`transformer` is the model's own `config.json`; `tokenizer` a `tokenizer.json`."""
        super().__init__()
        from transformers import AutoConfig, AutoModel

        self.transformer = dict(transformer)
        config = AutoConfig.for_model(**self.transformer)
        extra = {"add_pooling_layer": False} if config.model_type == "bert" else {}
        self.net = AutoModel.from_config(config, **extra)
        self.width = config.hidden_size
        self.eval()
        self.tokenizer = _load_tokenizer(Path(tokenizer), min(MAX_TOKENS, config.max_position_embeddings))

    def config(self) -> dict[str, Any]:
        return super().config() | {"transformer": self.transformer}

    def save_tokenizer(self, folder: Path) -> None:
        self.tokenizer.save(str(folder / TOKENIZER))

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        encoded = self.tokenizer.encode_batch(list(texts))
        ids = torch.tensor([one.ids for one in encoded], device=self.device)
        mask = torch.tensor([one.attention_mask for one in encoded], dtype=torch.bool, device=self.device)
        return {"ids": ids, "mask": mask}

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return _mean(self.net(input_ids=ids, attention_mask=mask.long()).last_hidden_state, mask)

    def token_vectors(self) -> Tensor:
        found: Tensor = self.net.get_input_embeddings().weight
        return found

    def with_prefix(self, ids: Tensor, mask: Tensor, prefix: Tensor) -> Tensor:
        real = torch.ones(prefix.shape[:2], dtype=torch.bool, device=mask.device)
        mask = torch.cat([real, mask], 1)
        vectors = torch.cat([prefix, self.net.get_input_embeddings()(ids)], 1)
        return _mean(self.net(inputs_embeds=vectors, attention_mask=mask.long()).last_hidden_state, mask)


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Of the real tokens: (n, length, width), bool (n, length) -> (n, width)."""
    real = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * real).sum(1) / real.sum(1).clamp(min=1.0)


def _load_tokenizer(path: Path, max_tokens: int) -> Any:
    from tokenizers import Tokenizer

    if not path.is_file():
        raise ModelError(f"{path} does not exist; a text tower's folder needs a fast tokenizer's {TOKENIZER}")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.enable_truncation(max_tokens)
    padding = tokenizer.padding or {}
    tokenizer.enable_padding(pad_id=padding.get("pad_id", 0), pad_token=padding.get("pad_token", "[PAD]"))
    return tokenizer


def pretrained_sentence(folder: str | Path) -> SentenceTower:
    """The tower in a local `transformers` folder.

    Raises:
        ModelError: a file is missing, or the weights are not this configuration's.
    """
    from safetensors.torch import load_file

    root = Path(folder)
    try:
        config = json.loads((root / "config.json").read_text(encoding="utf-8"))
        tensors = load_file(root / "model.safetensors")
    except (OSError, ValueError) as error:
        raise ModelError(f"{root} is not a sentence encoder's folder ({error}); name another text tower") from None
    tower = SentenceTower(config, root / TOKENIZER)
    wanted = tower.net.state_dict()
    prefix = f"{getattr(tower.net, 'base_model_prefix', '')}."
    tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    absent = [name for name in wanted if name not in tensors]
    if absent:
        raise ModelError(f"{root}/model.safetensors lacks {absent[0]}; its config.json is of another model")
    tower.net.load_state_dict({name: tensors[name] for name in wanted})
    return tower
