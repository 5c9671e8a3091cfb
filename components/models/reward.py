"""The reward r(image, text): how much people would prefer this caption of this picture.

    reward = load_reward("workspace/models/…")
    reward.score(image_features, ["A red boat.", "IMG_0012.JPG"])     # (2,), higher is better

Compress & Align (Zhang et al., 2023) fits a reward on judgements by Bradley & Terry and lets it referee
the crawl. Ours stands on locked towers. For each fold k of the judged pairs a judge

    r_k(I, T) = a c + g([c, s(T), P t, u * v, |u - v|])

adds to the calibrated cosine c what a small network g finds in it, in plain statistics s of the caption
and in a few directions P of the text's features t. Products and differences of the projected features
stand in g where a public dual encoder gives them (`encoder`). Where heads are fitted on the judged pairs
themselves, the products remember the very pictures they were fitted on, so there only c is used, and in
training it is that of heads which saw neither the pair's fold nor fold k (stacking, Wolpert 1992).

A pair is never scored by a judge that saw it or its group. Whether it was seen, its picture and its caption
say (`Seen`): a key says nothing, since crawls count theirs anew. Any other pair gets the mean of the judges.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pairwright.components.errors import ModelError
from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder
from pairwright.components.models.dual_encoders.encoder import CARD, CONFIG, WEIGHTS, DualEncoder
from pairwright.components.models.dual_encoders.heads import Heads, as_features
from pairwright.components.models.seen import SEEN, Seen
from pairwright.components.models.towers.tower import TextTower
from pairwright.components.models.towers.tower_files import load_saved_tower, save_tower

FORMAT = "pairwright-reward"
FORMAT_VERSION = 3  # 1 knew the pairs it was fitted on by their keys, 2 had its text tower within model.safetensors
OLDEST_VERSION = 2
ENCODER = "encoder"  # folder of the dual encoder, where there is one
STATISTICS = ("words", "characters", "alphabetic", "distinct")
WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")


def caption_statistics(texts: Sequence[str]) -> Tensor:
    """log(1 + words), log(1 + characters), share of letters among what is visible, share of distinct words: (n, 4)."""
    rows = []
    for text in texts:
        words = [word.lower() for word in WORD.findall(text)]
        visible = sum(not character.isspace() for character in text)
        letters = sum(character.isalpha() for character in text)
        distinct = len(set(words)) / max(len(words), 1)
        rows.append([np.log1p(len(words)), np.log1p(len(text)), letters / max(visible, 1), distinct])
    return torch.tensor(rows, dtype=torch.float32).view(len(texts), len(STATISTICS))


class Judge(nn.Module):
    """r(c, s, t, x) of one fold; it starts as the cosine times `scale`."""

    mean: Tensor
    deviation: Tensor
    zero: Tensor

    def __init__(self, text_width: int, cross: int, *, rank: int, hidden: int, dropout: float, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.text = nn.Linear(text_width, rank)
            self.up = nn.Linear(1 + len(STATISTICS) + rank + cross, hidden)
            self.out = nn.Linear(hidden, 1, bias=False)
        nn.init.zeros_(self.out.weight)
        self.drop = nn.Dropout(dropout)
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.log_nu = nn.Parameter(torch.tensor(0.0))  # of Davidson's ties; unused where there were none
        self.register_buffer("mean", torch.zeros(len(STATISTICS)))
        self.register_buffer("deviation", torch.ones(len(STATISTICS)))
        self.register_buffer("zero", torch.tensor(0.0))  # the mean reward of captions that were preferred

    def forward(self, cosine: Tensor, statistics: Tensor, text: Tensor, cross: Tensor) -> Tensor:
        """(n,), (n, 4), (n, text width), (n, cross) -> (n,)."""
        direction = self.text(self.drop(F.layer_norm(text, text.shape[-1:])))
        standard = (statistics - self.mean) / self.deviation
        inner = F.gelu(self.up(torch.cat([4 * cosine[:, None], standard, direction, self.drop(cross)], dim=1)))
        reward: Tensor = self.scale * cosine + self.out(inner).squeeze(1) - self.zero
        return reward


class RewardModel(nn.Module):
    """Judges of `folds` folds, what aligns pictures with texts, and the text side.

    Args:
        text: a locked text tower, or a dual encoder that gives the cosine, too.
        image_width: of the image features it is asked with.

    Attributes:
        heads: pairs of projections by "i-j", fitted on neither fold i nor fold j; empty with an encoder.
        seen: the pictures and captions that fitting saw, and their folds.
    """

    def __init__(
        self,
        text: TextTower | DualEncoder,
        image_width: int,
        text_width: int,
        *,
        folds: int,
        dim: int = 64,
        rank: int = 8,
        hidden: int = 16,
        dropout: float = 0.3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.shape = {"image_width": image_width, "text_width": text_width, "folds": folds, "dim": dim}
        self.shape |= {"rank": rank, "hidden": hidden}
        self.folds, self.image_width = folds, image_width
        self._text: list[TextTower | DualEncoder] = [
            text
        ]  # in a list, so that its weights are not this model's parameters
        cross = 2 * text.dim if isinstance(text, DualEncoder) else 0
        pairs = [] if self.encoder is not None else itertools.combinations(range(folds), 2)
        self.heads = nn.ModuleDict({f"{i}-{j}": Heads(image_width, text_width, dim, seed) for i, j in pairs})
        options: dict[str, Any] = {"rank": rank, "hidden": hidden, "dropout": dropout}
        self.judges = nn.ModuleList(Judge(text_width, cross, seed=seed + k, **options) for k in range(folds))
        self.seen = Seen()
        self.card = ""

    @property
    def encoder(self) -> DualEncoder | None:
        return self._text[0] if isinstance(self._text[0], DualEncoder) else None

    @property
    def device(self) -> torch.device:
        return next(self.judges.parameters()).device

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """(n, text width), rounded to half precision as feature columns are, so both give the same reward."""
        tower = self._text[0]
        found = tower.features(texts) if isinstance(tower, TextTower) else tower.text_features(texts)
        return as_features(found).half().float()

    def cosines(self, image: Tensor, text: Tensor) -> dict[str, Tensor]:
        """Features, row for row -> (n,) cosines by each pair of heads, or {"encoder": (n,)}."""
        if self.encoder is not None:
            u, v = self.encoder.project_image(image), self.encoder.project_text(text)
            return {ENCODER: (u * v).sum(1)}
        return {name: (heads.image(image) * heads.text(text)).sum(1) for name, heads in self.heads.items()}  # type: ignore[operator]

    def fold_cosine(self, cosines: dict[str, Tensor], fold: int) -> Tensor:
        """Of a pair that nobody outside `fold` may have seen: the mean over the heads that did not see that fold."""
        if self.encoder is not None:
            return cosines[ENCODER]
        return torch.stack([c for name, c in cosines.items() if str(fold) in name.split("-")]).mean(0)

    def cross(self, image: Tensor, text: Tensor) -> Tensor:
        """[u * v, |u - v|] of a dual encoder's unit vectors, scaled to about 1: (n, 2 dim), or (n, 0) without one."""
        if self.encoder is None:
            return torch.zeros((len(text), 0), device=text.device)
        u, v = self.encoder.project_image(image), self.encoder.project_text(text)
        return torch.cat([u * v, (u - v).abs()], dim=1) * self.encoder.dim**0.5

    @torch.no_grad()
    def rewards(self, image: Tensor, text: Tensor, statistics: Tensor) -> Tensor:
        """Every judge's reward: (n, image width), (n, text width), (n, 4) -> (n, folds)."""
        cosines, cross = self.cosines(image, text), self.cross(image, text)
        each = [judge(self.fold_cosine(cosines, k), statistics, text, cross) for k, judge in enumerate(self.judges)]
        return torch.stack(each, dim=1)

    def score(
        self,
        image_features: Any,
        texts: Sequence[str],
        *,
        hashes: Sequence[bytes | None] | None = None,
        text_features: Any = None,
    ) -> Tensor:
        """Rewards of captions of pictures, row for row: (n,) float32, comparable across pictures.

        Args:
            image_features: (n, image width), of the image tower it was fitted with.
            hashes: the pictures' PDQ hashes, 32 bytes each, so that one that was fitted on is known again when it
                was re-encoded or resized, too; without them only the same features are.
            text_features: (n, text width) of these texts by this model's text tower, where they are cached.

        Raises:
            ModelError: the features are of another width, so of another tower.
        """
        image = self._checked(image_features, self.image_width, "image")
        text = self.text_features(texts) if text_features is None else text_features
        text = self._checked(text, self.shape["text_width"], "text")
        each = self.rewards(image, text, caption_statistics(texts).to(self.device))
        fold = torch.from_numpy(self.seen.fold_of(image.cpu().numpy(), texts, hashes)).to(self.device)
        own = each.gather(1, fold.clamp(min=0)[:, None]).squeeze(1)
        return torch.where(fold < 0, each.mean(1), own)

    def _checked(self, features: Any, width: int, side: str) -> Tensor:
        found = as_features(features).to(self.device)
        if found.ndim != 2 or found.shape[1] != width:
            raise ModelError(
                f"{side} features are {tuple(found.shape)}, the reward was fitted on (n, {width}); "
                "give it features of the same tower"
            )
        return found

    def save(self, folder: str | Path, card: str = "") -> None:
        """Write the model folder, text side included. The same weights give the same bytes."""
        root = Path(folder)
        root.mkdir(parents=True, exist_ok=True)
        tensors = dict(self.state_dict()) | self.seen.tensors()
        config: dict[str, Any] = {"format": FORMAT, "format_version": FORMAT_VERSION, **self.shape}
        tower = self._text[0]
        if isinstance(tower, TextTower):
            config["text_tower"], within = save_tower(tower, "text_tower", root)
            tensors |= within
            tower.save_tokenizer(root)
        else:
            tower.save(root / ENCODER)
        plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        save_file(plain, root / WEIGHTS, metadata={"format": "pt"})
        (root / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        (root / CARD).write_text(card or self.card or "# Reward\n", encoding="utf-8")


def load_reward(folder: str | Path, device: str = "cpu") -> RewardModel:
    """The reward in a folder, ready to score.

    Raises:
        ModelError: the folder is missing, damaged, of a newer release or holds no reward.
    """
    root = Path(folder)
    try:
        config = json.loads((root / CONFIG).read_text(encoding="utf-8"))
        if config.get("format") != FORMAT:
            raise ModelError(f"{root} holds no reward model; name the folder that the fit `reward` made")
        if config["format_version"] > FORMAT_VERSION:
            raise ModelError(f"{root} was written by a newer release; upgrade pairwright")
        if config["format_version"] < OLDEST_VERSION:
            raise ModelError(f"{root} knows what it was fitted on by keys, which say nothing; fit the reward again")
        return _load(root, config, device)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        problem = (str(error).splitlines() or [type(error).__name__])[-1].strip()
        raise ModelError(f"{root} is damaged or no model folder ({problem}); fit the reward again") from None


def _load(root: Path, config: dict[str, Any], device: str) -> RewardModel:
    tensors = load_file(root / WEIGHTS)
    entry = config.get("text_tower")
    side: TextTower | DualEncoder
    if entry is None:
        side = load_dual_encoder(root / ENCODER, device)
    else:
        side = cast(TextTower, load_saved_tower(entry, "text_tower", root, device, lambda: tensors))
    shape = {name: config[name] for name in ("folds", "dim", "rank", "hidden")}
    model = RewardModel(side, config["image_width"], config["text_width"], **shape)
    mine = {name: value for name, value in tensors.items() if not name.startswith("text_tower.")}
    model.seen = Seen.from_tensors(mine)
    model.load_state_dict({name: value for name, value in mine.items() if not name.startswith(SEEN)})
    model.card = (root / CARD).read_text(encoding="utf-8") if (root / CARD).exists() else ""
    return model.to(device).eval().requires_grad_(False)
