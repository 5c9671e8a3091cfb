"""Caption and retrieve: one frozen language model that says a picture's caption, and finds pictures by a text.

    model = load_caption_and_retrieve("workspace/models/…")
    model.caption(pictures)                                            # speaks `captioner`
    model.search(model.index(pictures), 10, texts=["a red square"])    # and `dual_encoder`, `retriever`

Koh et al., 2023, "Grounding Language Models to Images for Multimodal Inputs and Outputs" (FROMAGe), and RS-CapRet after
it (Silva et al., 2024). A matrix makes tokens of a picture's features; a token [RET] behind a text gathers what it
says, its state goes through a second matrix, the picture's features through a third, and both meet as unit vectors.
What is trained is these three, [RET]'s vector and the temperature.

[RET] is one token more than the language model knows, number V. It is read by a vector of its own, and said by the same
one where the language model ties its two ends, else by another: so no row of the language model is ever touched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pairwright.components.component import batches
from pairwright.components.errors import ModelError
from pairwright.components.models.captioner.captioner import Captioner
from pairwright.components.models.captioner.folder import LANGUAGE_MODEL
from pairwright.components.models.captioner.prefix import Part
from pairwright.components.models.captioner.pretrained import PretrainedDecoder, load_pretrained
from pairwright.components.models.captioner.tokens import PretrainedTokens, nats_of, to_be_said
from pairwright.components.models.decoding.settings import Decoding
from pairwright.components.models.dual_encoders.encoder import DualEncoder
from pairwright.components.models.dual_encoders.heads import as_features
from pairwright.components.models.formats import model_format
from pairwright.components.models.model_folder import FolderFormat, damage_named
from pairwright.components.models.towers.tower import ImageTower
from pairwright.components.models.towers.tower_files import load_saved_tower, save_tower

FORMAT = FolderFormat("pairwright-caption-and-retrieve", 1, "captioner that retrieves", "`rs_capret` trained")
IMAGE, LOCKED = "image", ("image_tower.", "captioner.decoder.")  # tensors that are files of their own
INITIAL_SCALE = 1 / 0.07
AT_ONCE = 256  # texts through the language model


class CaptionAndRetrieve(DualEncoder):
    """`longest` is a caption's tokens at most; `visual` how many a picture is."""

    def __init__(
        self,
        image_tower: ImageTower,
        decoder: PretrainedDecoder,
        tokens: PretrainedTokens,
        *,
        longest: int,
        visual: int = 1,
        dim: int = 256,
    ) -> None:
        super().__init__()
        self.dim, self.image_size, self.crops = dim, image_tower.side, image_tower.crops
        self.image_tower = image_tower
        part = Part(IMAGE, "vector", image_tower.width, visual, mapping="linear")
        self.captioner = Captioner([part], decoder, tokens, longest)
        self.ret = nn.Parameter(torch.randn(decoder.width) * 0.02)
        self.ret_said = None if decoder.tied else nn.Parameter(torch.randn(decoder.width) * 0.02)
        self.text_head, self.image_head = nn.Linear(decoder.width, dim), nn.Linear(image_tower.width, dim)
        self.log_scale = nn.Parameter(torch.tensor(math.log(INITIAL_SCALE)))
        self.logit_bias = None

    @property
    def decoder(self) -> PretrainedDecoder:
        found = self.captioner.decoder
        assert isinstance(found, PretrainedDecoder)
        return found

    def states(self, x: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (n, t, width) -> their states (n, t, width) and logits (n, t, V + 1), the last one [RET]'s."""
        hidden, logits = self.decoder.states(x, there)
        row = self.ret if self.ret_said is None else self.ret_said
        return hidden, torch.cat([logits, (hidden @ row.to(hidden.dtype))[..., None]], dim=-1)

    # -- captioning ----------------------------------------------------------------------------

    def caption_nats(
        self, image: Tensor, tokens: Tensor, before: tuple[Tensor, Tensor] | None = None, after: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What captions cost behind their pictures, one pair after another where one stands before.

            [image'] start caption' end [image] start caption

        Args:
            image, tokens: features (n, width) and captions (n, t), from the start on.
            before: another pair's, of each; after (n,) bool: which rows stand after it, the others alone.

        Returns:
            Nats of the own caption and, where there is one, of the one before it (n, 1 or 2), and how many tokens they
            are of (n, 1 or 2). No [RET] is read and none is to be said.
        """
        end = self.captioner.tokens.end
        x, there = self._pair(image, tokens[:, :-1])
        if before is not None and after is not None:
            earlier, seen = self._pair(before[0], before[1])
            whole = F.pad(to_be_said(before[1], end), (1, 0), value=True)
            seen = seen & F.pad(whole, (seen.shape[1] - whole.shape[1], 0), value=True) & after[:, None]
            x, there = torch.cat([earlier, x], 1), torch.cat([seen, there], 1)
        logits = self.states(x, there)[1]
        nats = [nats_of(logits[:, -(tokens.shape[1] - 1) :], tokens, end).sum(1)]
        count = [to_be_said(tokens, end).sum(1)]
        if before is not None and after is not None:
            last = earlier.shape[1]
            said = logits[:, last - before[1].shape[1] : last - 1]
            nats.append(nats_of(said, before[1], end).sum(1) * after)
            count.append(to_be_said(before[1], end).sum(1) * after)
        return torch.stack(nats, 1), torch.stack(count, 1)

    def _pair(self, image: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """A picture's tokens, then its caption's: (n, visual + t, width), and which are there."""
        x, there = self.captioner.begun({IMAGE: image}, tokens)
        return x, torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if there is None else there

    @torch.no_grad()
    def caption(
        self, images: Sequence[np.ndarray], texts: Sequence[str] | None = None, decoding: Decoding | None = None
    ) -> list[str]:
        """A caption of each picture; it was taught to read no text beside one.

        Raises:
            ModelError: texts are given.
        """
        if texts is not None:
            raise ModelError("this captioner reads pictures alone; leave the texts out")
        features = self.image_features(images).to(self.device)
        return [found[0] for found in self.captioner.generate({IMAGE: features}, decoding)]

    # -- retrieval -----------------------------------------------------------------------------

    def gathered(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Captions (n, t), from the start on -> [RET]'s state behind each (n, width), nats of the text and [RET] (n,).

        [RET] stands where the caption's end did, and is to be said there.
        """
        said = to_be_said(tokens, self.captioner.tokens.end)
        last = said.sum(1)
        at = torch.arange(tokens.shape[1], device=tokens.device) == last[:, None]
        x = torch.where(at[..., None], self.ret.to(self.decoder.embed(tokens).dtype), self.decoder.embed(tokens))
        there = F.pad(said, (1, 0), value=True)
        hidden, logits = self.states(x, there)
        targets = tokens.masked_fill(at, logits.shape[-1] - 1)[:, 1:]
        nats = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), targets.flatten(), reduction="none")
        return hidden[torch.arange(len(tokens), device=tokens.device), last], (nats.view_as(said) * said).sum(1)

    @property
    def image_key(self) -> str | None:  # type: ignore[override]
        return self.image_tower.weights

    def image_features(self, images: Sequence[np.ndarray] | np.ndarray) -> Tensor:
        return self.image_tower.features(images)

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> Tensor:
        found = [torch.zeros(0, self.decoder.width, device=self.device)]
        for some in batches(texts, AT_ONCE):
            found.append(self.gathered(self.captioner.tokens.encode(some, self.captioner.longest).to(self.device))[0])
        return torch.cat(found).float()

    def project_image(self, features: Any) -> Tensor:
        return F.normalize(self.image_head(as_features(features).to(self.device)), dim=-1)

    def project_text(self, features: Any) -> Tensor:
        return F.normalize(self.text_head(as_features(features).to(self.device)), dim=-1)

    # -- its folder ----------------------------------------------------------------------------

    def save(self, folder: str | Path, card: str = "") -> None:
        root = Path(folder)
        root.mkdir(parents=True, exist_ok=True)
        tower, within = save_tower(self.image_tower, "image_tower", root)
        config = {"image_tower": tower, "dim": self.dim, "longest": self.captioner.longest}
        config["visual"] = self.captioner.parts[IMAGE].tokens
        own = {name: value for name, value in self.state_dict().items() if not name.startswith(LOCKED)}
        FORMAT.write(root, config, own | within, card or self.card)
        self.decoder.model.save_pretrained(root / LANGUAGE_MODEL)
        self.captioner.tokens.save(root / LANGUAGE_MODEL)


@model_format("pairwright-caption-and-retrieve", speaks=("captioner", "dual_encoder", "retriever"))
def load_caption_and_retrieve(folder: str | Path, device: str = "cpu") -> CaptionAndRetrieve:
    """The model in a folder, ready to caption and to retrieve.

    Raises:
        ModelError: the folder is missing, damaged, of a newer release or of another format.
    """
    root = Path(folder)
    with damage_named(root):
        config, tensors = FORMAT.read(root)
        tower = load_saved_tower(config.pop("image_tower"), "image_tower", root, device, lambda: tensors)
        assert isinstance(tower, ImageTower)
        decoder, tokenizer = load_pretrained(root / LANGUAGE_MODEL)
        model = CaptionAndRetrieve(tower, decoder, PretrainedTokens(tokenizer, decoder.vocabulary), **config)
        lacking = model.load_state_dict(
            {name: value for name, value in tensors.items() if not name.startswith(LOCKED)}, strict=False
        )
        absent = [name for name in lacking.missing_keys if not name.startswith(LOCKED)]
        if absent or lacking.unexpected_keys:
            raise KeyError((absent + lacking.unexpected_keys)[0])
    model.card = (root / "card.md").read_text(encoding="utf-8")
    return model.to(device).eval().requires_grad_(False)
