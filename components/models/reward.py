"""The reward r(image, text): how much people would prefer this caption of this picture.

    reward = load_reward("workspace/models/…")
    reward.score(image_features, ["A red boat.", "IMG_0012.JPG"])     # (2,), higher is better

Compress & Align (Zhang et al., 2023) fits a reward on judgements by Bradley & Terry and lets it referee
the crawl. Ours stands on locked towers, on what their alignment says, and learns from judgements only what
people add. For each fold k of the pairs a judge

    r_k(I, T) = a e(I, T) + w . z(T)

weighs the evidence e and adds a few standardised facts z of the caption: plain statistics, and the directions P t
of the text's features in which captions of the crawl differ most. The evidence is the log-odds that this picture,
not another, is the caption's, by heads fitted on the crawl (InfoNCE; s its temperature, B some of its pictures):

    e(I, T) = s u.v - log mean_{J in B} exp(s u_J.v)

which takes from the cosine what a caption has in common with every picture (as negCLIPLoss does, Wang et al.,
2024). Heads i-j saw no picture of folds i and j and no caption that stands there. A pair whose picture is in fold
i is judged by judge i on the evidence of heads that saw neither its picture nor its caption. Whether it was seen,
its picture and its caption say (`Seen`): a key says nothing, since crawls count theirs anew. Any other pair gets
the mean of the judges. With a public dual encoder (`encoder`) e is by its vectors, and nothing is aligned anew.
"""

from __future__ import annotations

import itertools
import json
import math
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
FORMAT_VERSION = 4  # before it, heads were fitted on the judged pictures alone
ENCODER = "encoder"  # folder of the dual encoder, where there is one
BANK = 512  # pictures that a caption's evidence is held against
STATISTICS = ("words", "characters", "alphabetic", "distinct")
FARTHEST = 3.0  # standard deviations; a fact beyond says no more than that
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
    """r(e, s, t) of one fold; it starts as the evidence alone.

    Attributes:
        scale, weight: a, and w of the statistics and the directions.
        mean, deviation, directions: by which facts are standardised; of captions outside the fold.
    """

    mean: Tensor
    deviation: Tensor
    directions: Tensor
    zero: Tensor

    def __init__(self, text_width: int, rank: int) -> None:
        super().__init__()
        facts = len(STATISTICS) + rank
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.weight = nn.Parameter(torch.zeros(facts))
        self.log_nu = nn.Parameter(torch.tensor(0.0))  # of Davidson's ties; unused where there were none
        self.register_buffer("mean", torch.zeros(facts))
        self.register_buffer("deviation", torch.ones(facts))
        self.register_buffer("directions", torch.zeros((rank, text_width)))
        self.register_buffer("zero", torch.tensor(0.0))  # the mean reward of captions that were preferred

    def raw(self, statistics: Tensor, text: Tensor) -> Tensor:
        """The facts before they are standardised: (n, 4), (n, text width) -> (n, 4 + rank)."""
        return torch.cat([statistics, F.layer_norm(text, text.shape[-1:]) @ self.directions.T], dim=1)

    def facts(self, statistics: Tensor, text: Tensor) -> Tensor:
        """z: (n, 4), (n, text width) -> (n, 4 + rank)."""
        return ((self.raw(statistics, text) - self.mean) / self.deviation).clamp(-FARTHEST, FARTHEST)

    def forward(self, evidence: Tensor, statistics: Tensor, text: Tensor) -> Tensor:
        """(n,), (n, 4), (n, text width) -> (n,)."""
        reward: Tensor = self.scale * evidence + self.facts(statistics, text) @ self.weight - self.zero
        return reward


class RewardModel(nn.Module):
    """Judges of `folds` folds, what aligns pictures with texts, and the text side.

    Args:
        text: a locked text tower, or a dual encoder that gives the evidence, too.
        image_width: of the image features it is asked with.

    Attributes:
        heads: pairs of projections by "i-j", which saw nothing of fold i and nothing of fold j; none with an encoder.
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
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.shape = {"image_width": image_width, "text_width": text_width, "folds": folds, "dim": dim, "rank": rank}
        self.folds, self.image_width = folds, image_width
        # In a list, so that its weights are not this model's parameters.
        self._text: list[TextTower | DualEncoder] = [text]
        pairs = [] if self.encoder is not None else itertools.combinations(range(folds), 2)
        self.heads = nn.ModuleDict({f"{i}-{j}": Heads(image_width, text_width, dim, seed) for i, j in pairs})
        for name in self.heads or (ENCODER,):
            wide = text.dim if isinstance(text, DualEncoder) else dim
            self.register_buffer(f"bank_{name}", torch.zeros((BANK, wide)))
        self.judges = nn.ModuleList(Judge(text_width, rank) for _ in range(folds))
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

    def evidence_by(self, image: Tensor, text: Tensor) -> dict[str, Tensor]:
        """e(I, T), (n,), by each pair of heads, or {"encoder": (n,)}."""
        found = {}
        for name in self.heads or (ENCODER,):
            u, v, scale = self._projected(name, image, text)
            others = torch.logsumexp(scale * v @ self.get_buffer(f"bank_{name}").T, dim=1) - math.log(BANK)
            found[name] = scale * (u * v).sum(1) - others
        return found

    def _projected(self, name: str, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with torch.no_grad():
            if self.encoder is not None:
                one = self.encoder
                return one.project_image(image), one.project_text(text), one.scale.detach()
            heads = cast(Heads, self.heads[name])
            return heads.image(image), heads.text(text), heads.scale.detach()

    @torch.no_grad()
    def set_bank(self, name: str, image: Tensor) -> None:
        """The pictures, (m, image width), that captions' evidence by these heads is held against."""
        rows = torch.from_numpy(np.resize(np.arange(len(image)), BANK))
        text = torch.zeros((BANK, self.shape["text_width"]))
        self.get_buffer(f"bank_{name}").copy_(self._projected(name, image[rows], text)[0])

    def evidence(self, by: dict[str, Tensor], fold: int, text_folds: Tensor) -> Tensor:
        """Of pairs whose picture is in `fold`, by heads that saw neither the picture nor the caption: (n,).

        Args:
            by: what `evidence_by` gave.
            text_folds: (n,) int64, a bit for each fold the caption stands in; 0 where in none.
        """
        if self.encoder is not None:
            return by[ENCODER]
        total, count = torch.zeros_like(text_folds, dtype=torch.float32), torch.zeros_like(text_folds)
        for name, each in by.items():
            pair = [int(one) for one in name.split("-")]
            if fold in pair:
                unseen = (text_folds == 0) | ((text_folds & sum(1 << one for one in pair)) != 0)
                total, count = total + torch.where(unseen, each, 0.0), count + unseen
        return total / count

    @torch.no_grad()
    def rewards(self, image: Tensor, text: Tensor, statistics: Tensor, text_folds: Tensor | None = None) -> Tensor:
        """Every judge's reward: (n, image width), (n, text width), (n, 4) -> (n, folds)."""
        where = torch.zeros(len(text), dtype=torch.int64, device=text.device) if text_folds is None else text_folds
        by = self.evidence_by(image, text)
        each = [judge(self.evidence(by, k, where), statistics, text) for k, judge in enumerate(self.judges)]
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
        where = torch.from_numpy(self.seen.text_folds(texts)).to(self.device)
        each = self.rewards(image, text, caption_statistics(texts).to(self.device), where)
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
        if config["format_version"] < FORMAT_VERSION:
            raise ModelError(f"{root} was fitted on judged pictures alone; fit the reward again")
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
    shape = {name: config[name] for name in ("folds", "dim", "rank")}
    model = RewardModel(side, config["image_width"], config["text_width"], **shape)
    mine = {name: value for name, value in tensors.items() if not name.startswith("text_tower.")}
    model.seen = Seen.from_tensors(mine)
    model.load_state_dict({name: value for name, value in mine.items() if not name.startswith(SEEN)})
    model.card = (root / CARD).read_text(encoding="utf-8") if (root / CARD).exists() else ""
    return model.to(device).eval().requires_grad_(False)
