"""A whole CLIP or SigLIP of `transformers` as a dual encoder, from a folder with or without weights.

Its folder stays a `transformers` folder: `AutoModel.from_pretrained` loads it, and any public CLIP
or SigLIP folder loads here. A folder with a `config.json` and no weights starts from random ones.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pairwright.components.component import batches
from pairwright.components.errors import ModelError
from pairwright.components.models.dual_encoders.encoder import CARD, CONFIG, WEIGHTS, DualEncoder
from pairwright.components.models.dual_encoders.heads import as_features
from pairwright.components.models.interchange.byte_tokenizer import byte_tokenizer
from pairwright.components.models.resolve import ENCODER_FAMILIES as FAMILIES
from pairwright.components.models.towers.pixels import squash

OURS = "pairwright"  # our own key in a config.json that is otherwise transformers'
PROCESSOR = "preprocessor_config.json"
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)
BYTE_VOCABULARY = 258  # the byte values, one to pad and one to end
CHUNK = 64


class TransformersEncoder(DualEncoder):
    """`features` are the projected embeddings before their L2 norm; "projecting" them normalises."""

    net: Any
    config: Any

    def __init__(self, net: nn.Module, tokenizer: Any, processor: dict[str, Any], weights: str | None = None) -> None:
        super().__init__()
        self.net, self.config = net, net.config
        self.tokenizer, self.processor = tokenizer, processor
        self.image_key = self.text_key = weights
        self.crops = bool(processor.get("do_center_crop"))
        self.family: str = self.config.model_type
        self.image_size: int = self.config.vision_config.image_size
        self.longest: int = self.config.text_config.max_position_embeddings
        projection = getattr(self.config, "projection_dim", None) or self.config.vision_config.hidden_size
        self.dim = int(projection) if self.family == "clip" else int(self.config.vision_config.hidden_size)
        self.eval()

    @property
    def log_scale(self) -> nn.Parameter:  # type: ignore[override]
        return cast(nn.Parameter, self.net.logit_scale)

    @property
    def logit_bias(self) -> nn.Parameter | None:  # type: ignore[override]
        return cast("nn.Parameter | None", getattr(self.net, "logit_bias", None))

    def train(self, mode: bool = True) -> TransformersEncoder:
        """Stays in evaluation mode, as every tower does."""
        return super().train(False)

    def pixels(self, images: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Cropped at the centre where the processor says so (CLIP), else squashed (SigLIP)."""
        if self.crops:
            images = [_centre(image) for image in images]
        return squash(images, self.image_size)

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        fixed = self.family != "clip"  # SigLIP pools its last position and was trained on full length
        if self.tokenizer is None:
            return _byte_tokens(texts, self.longest, self.config.text_config.vocab_size, fixed, self.device)
        padding = "max_length" if fixed else True
        coded = self.tokenizer(
            list(texts), padding=padding, truncation=True, max_length=self.longest, return_tensors="pt"
        )
        ids = coded["input_ids"].to(self.device)
        mask = coded.get("attention_mask", torch.ones_like(coded["input_ids"])).to(self.device)
        return {"ids": ids, "mask": mask.bool()}

    def embed_pixels(self, images: Tensor) -> Tensor:
        return F.normalize(self._image(images), dim=-1)

    def embed_with_patches(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """A CLIP's patches are its last tokens, normed and projected as its class token is."""
        if self.family != "clip":
            raise ModelError(f"a {self.family}'s patches are pooled before they are projected; name a CLIP")
        seen = self.net.vision_model(pixel_values=self._pixels(images)).last_hidden_state
        projected = self.net.visual_projection(self.net.vision_model.post_layernorm(seen))
        vectors = F.normalize(projected.float(), dim=-1)
        return vectors[:, 0], vectors[:, 1:]

    def embed_tokens(self, tokens: dict[str, Tensor]) -> Tensor:
        return F.normalize(self._text(tokens), dim=-1)

    def project_image(self, features: Any) -> Tensor:
        return F.normalize(as_features(features).to(self.device), dim=-1)

    project_text = project_image

    @torch.no_grad()
    def image_features(self, images: Sequence[np.ndarray] | np.ndarray) -> Tensor:
        parts = [
            self._image(torch.from_numpy(self.pixels(chunk)).to(self.device))
            for chunk in batches(cast(Sequence[Any], images), CHUNK)
        ]
        return torch.cat(parts) if parts else torch.zeros((0, self.dim), device=self.device)

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> Tensor:
        parts = [self._text(self.tokens(chunk)) for chunk in batches(texts, CHUNK)]
        return torch.cat(parts) if parts else torch.zeros((0, self.dim), device=self.device)

    def _pixels(self, images: Tensor) -> Tensor:
        mean = torch.tensor(self.processor["image_mean"], device=self.device)
        deviation = torch.tensor(self.processor["image_std"], device=self.device)
        return ((images.float() / 255.0 - mean) / deviation).permute(0, 3, 1, 2)

    def _image(self, images: Tensor) -> Tensor:
        return _pooled(self.net.get_image_features(pixel_values=self._pixels(images))).float()

    def _text(self, tokens: dict[str, Tensor]) -> Tensor:
        mask = tokens["mask"].long() if self.family == "clip" else None
        return _pooled(self.net.get_text_features(input_ids=tokens["ids"], attention_mask=mask)).float()

    def exported_tokenizer(self) -> Any:
        """Its tokenizer for a folder of that library's: bytes as one of its classes, cut where the model ends."""
        if self.tokenizer is None:
            size: int = self.config.text_config.vocab_size
            found = byte_tokenizer(pad=size - 2, size=size, longest=self.longest, end=size - 1)
        else:
            found = self.tokenizer
            found.model_max_length = min(int(found.model_max_length), self.longest)
        if self.family != "clip":
            found.init_kwargs["model_input_names"] = found.model_input_names = ["input_ids"]  # it reads padding, too
        return found

    def save(self, folder: str | Path, card: str = "") -> None:
        root = Path(folder)
        root.mkdir(parents=True, exist_ok=True)
        self.net.save_pretrained(root)
        config = json.loads((root / CONFIG).read_text(encoding="utf-8"))
        config[OURS] = {"tokenizer": "bytes" if self.tokenizer is None else "files"}
        (root / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        (root / PROCESSOR).write_text(json.dumps(self.processor, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(root)
        (root / CARD).write_text(card or self.card or "# Dual encoder\n", encoding="utf-8")


def load_transformers_encoder(
    folder: str | Path, device: str = "cpu", *, seed: int = 0, weights: str | None = None, trainable: bool = False
) -> TransformersEncoder:
    """The CLIP or SigLIP in a folder; with random weights from `seed` where it holds none.

    Raises:
        ModelError: the folder is of another architecture, or a file is missing or damaged.
    """
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    root = Path(folder)
    try:
        config = AutoConfig.from_pretrained(root, local_files_only=True)
        if config.model_type not in FAMILIES:
            raise ModelError(
                f"{root} is a {config.model_type}, no dual encoder; name a CLIP or SigLIP folder or a pairwright model"
            )
        pretrained = (root / WEIGHTS).exists()
        tokenizer = _tokenizer(root, config)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = (
                AutoModel.from_pretrained(root, local_files_only=True, use_safetensors=True, dtype=torch.float32)
                if pretrained
                else AutoModel.from_config(config)
            )
    except (OSError, ValueError, RuntimeError) as error:
        problem = str(error).splitlines()[0]
        raise ModelError(f"{root} does not load as a transformers model ({problem}); restore the folder") from None
    model = TransformersEncoder(net, tokenizer, _processor(root, config), weights)
    model.card = (root / CARD).read_text(encoding="utf-8") if (root / CARD).exists() else ""
    return model.to(device).requires_grad_(trainable)


def _tokenizer(root: Path, config: Any) -> Any:
    """The folder's tokenizer; None (bytes) where it has none, which only an untrained model may."""
    from transformers import AutoTokenizer

    if any(
        (root / name).exists() for name in ("tokenizer.json", "tokenizer_config.json", "spiece.model", "vocab.json")
    ):
        return AutoTokenizer.from_pretrained(root, local_files_only=True)
    ours = getattr(config, OURS, None) or {}
    if (root / WEIGHTS).exists() and ours.get("tokenizer") != "bytes":
        raise ModelError(f"{root} has weights but no tokenizer; copy its tokenizer files there")
    if config.text_config.vocab_size < BYTE_VOCABULARY:
        raise ModelError(f"{root} has no tokenizer; a vocabulary of bytes needs vocab_size >= {BYTE_VOCABULARY}")
    config.text_config.eos_token_id = config.text_config.vocab_size - 1
    config.text_config.pad_token_id = config.text_config.vocab_size - 2
    config.text_config.bos_token_id = 0
    return None


def _processor(root: Path, config: Any) -> dict[str, Any]:
    path = root / PROCESSOR
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    clip = config.model_type == "clip"
    return {
        "do_center_crop": bool(found.get("do_center_crop", False)),
        "image_mean": list(found.get("image_mean", CLIP_MEAN if clip else HALF)),
        "image_std": list(found.get("image_std", CLIP_STD if clip else HALF)),
    }


def _byte_tokens(
    texts: Sequence[str], longest: int, vocabulary: int, fixed: bool, device: torch.device
) -> dict[str, Tensor]:
    """UTF-8 bytes, an end token (the highest id, which CLIP pools), padding."""
    end, pad = vocabulary - 1, vocabulary - 2
    coded = [[*text.encode("utf-8", "replace")[: longest - 1], end] for text in texts]
    length = longest if fixed else max(len(one) for one in coded)
    ids = torch.tensor([one + [pad] * (length - len(one)) for one in coded], device=device)
    return {"ids": ids, "mask": ids != pad}


def _pooled(output: Any) -> Tensor:
    """transformers 5 wraps features in an output object; 4 gave the tensor."""
    found: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return found


def _centre(image: np.ndarray) -> np.ndarray:
    """The central square of a picture."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]
