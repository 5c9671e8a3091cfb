"""Codebook: a captioner with a vector-quantised bottleneck, fitted on locked image features (TL;DR, stage 1).

    filter:
      fit:    {codebook: {uses: codebook, with: {features: image_features.vector, source: alt, codes: 256}}}
      score:  {codes: {uses: codebook_codes, with: {model: "step:codebook"}}}
      select: {clusters: {uses: clusters, with: {embeddings: codes.vector}}}

Wang et al., 2023. What is kept of the paper: the decoder sees codes alone and is trained to say the
caption word by word (teacher forcing), so the codes gather what captions speak of. What is not: the image
tower stays locked and gives one pooled vector a picture, cut into `positions` codes by the encoder; the
decoder is small and learnt from nothing. Mechanism verified by test, figure not reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from pairwright.components.component import Captions, Columns, FitInputs
from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.dataset.shards.matrix import read_matrix
from pairwright.components.errors import ColumnError
from pairwright.components.filter.selections.caption_column import caption_texts
from pairwright.components.filter.selections.duplicates.duplicates import among_columns, participants
from pairwright.components.registry import task
from pairwright.components.training.batch import Batch
from pairwright.components.training.settings import TrainerSettings
from pairwright.components.training.task import Seen, Task

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from pairwright.components.models.codebook import Codebook

LEAST_PAIRS = 16


class CodebookSettings(TrainerSettings):
    features: str = Field("image_features.vector", description="step.column of a locked image tower's features")
    source: str = Field("alt", description="captions the decoder learns to say")
    codes: int = Field(256, ge=2, le=32_767, description="K, vectors in the codebook")
    positions: int = Field(8, ge=1, le=64, description="codes a picture")
    code_width: int = Field(32, ge=1, le=1024, description="numbers a code")
    width: int = Field(128, ge=8, description="of the decoder; a multiple of its 4 heads")
    layers: int = Field(2, ge=1, le=12, description="of the decoder")
    max_words: int = Field(16, ge=1, le=256, description="a caption's words beyond these are not learnt")
    vocabulary: int = Field(4000, ge=1, description="commonest words the decoder knows")
    least: int = Field(2, ge=1, description="captions that must hold a word for the decoder to know it")
    steps: int = Field(600, ge=1)
    batch_size: int = Field(128, ge=2)
    weight_decay: float = Field(0.05, ge=0)
    warmup_steps: int = Field(60, ge=0)
    commitment: float = Field(0.25, ge=0, description="weight of |z - sg(z_q)|^2")
    among: dict[str, str] = Field({}, description="keep-rules; only pairs that pass them are learnt from")


@task("codebook")
class FitCodebook(Task[CodebookSettings]):
    """Writes config.json, model.safetensors, vocabulary.txt, card.md and a picture of the codes' use.

    Metrics: `perplexity` of the codes over the pairs learnt from, `perplexity_share` of it in K,
    `nats_per_word` of their captions, `nats_per_word_shuffled` with each picture given another's codes,
    `revived` dead codes, `pairs`.
    """

    requires = Columns("features") + Captions("source")
    libraries = ("torch",)

    def column_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*super().column_names(), *among_columns(self.settings.among)]))

    def fit(self, inputs: FitInputs, folder: Path, progress: Any = None) -> Mapping[str, Any]:
        """Train in this process.

        Args:
            inputs: `extra["checkpoints"]` names a folder that outlives a kill; the same one finishes the fit.

        Raises:
            ColumnError: fewer than 16 pairs have features and a caption.
        """
        from pairwright.components.training.here import Kept, fit_here

        matrix, self.captions = self._pairs(inputs.view)
        device = str(inputs.extra.get("device", "cpu"))
        place = inputs.extra.get("checkpoints")
        kept = None if place is None else Kept.of(self, Path(place), matrix, self.captions)
        fit_here(self, ArrayPopulation({"features": matrix}), device, progress, kept)
        measured = measure(self.model, matrix, self.captions, self.settings.seed) | {"revived": float(self.revived)}
        self.model.save(folder, _card(self.settings, measured, len(self.model.words)))
        _draw_use(self.model, matrix, folder, measured)
        return measured

    def reads(self) -> Reads:
        return Reads(columns=("features",))

    def build(self) -> nn.Module:
        """The model, every code put on what the fresh encoder gives for a pair."""
        import torch

        from pairwright.components.models.codebook import Codebook, CodebookShape
        from pairwright.components.models.words import vocabulary_of

        wish = self.settings
        words = vocabulary_of(self.captions, wish.vocabulary, wish.least)
        shape = CodebookShape(
            features=self.population.width("features"),
            codes=wish.codes,
            positions=wish.positions,
            code_width=wish.code_width,
            width=wish.width,
            layers=wish.layers,
            max_words=wish.max_words,
        )
        model = Codebook(shape, words).train()
        self.tokens, self.revived, self.draws = model.tokens_of(self.captions), 0, torch.Generator()
        self.draws.manual_seed(wish.seed)
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []
        with torch.no_grad():
            some = torch.randperm(len(self.captions), generator=self.draws)[: 4 * wish.codes]
            features = self.population.read(some.numpy(), 0, wish.seed).column("features")
            model.quantizer.start(model.latents(torch.from_numpy(features)).flatten(0, 1), self.draws)
        return model

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        import torch

        return {"features": torch.from_numpy(examples.column("features")), "tokens": self.tokens[examples.numbers]}

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        return {"z": self.model.latents(batch["features"])}

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        caption, commitment, codes = self.model.losses(outputs["z"], batch["tokens"])
        self.seen.append((outputs["z"].detach(), codes))
        return {"loss": caption + self.settings.commitment * commitment, "caption": caption, "commitment": commitment}

    def weight(self, batch: Batch) -> float:
        return self.model.words_in(batch["tokens"])

    def after_step(self, seen: Seen) -> None:
        """One step of the codes' moving averages; dead codes are put on what was just seen."""
        import torch

        from pairwright.components.training.ranks.parallel import gather

        z, codes = (gather(torch.cat(part)) for part in zip(*self.seen, strict=True))
        self.seen.clear()
        self.revived += self.model.quantizer.update(z, codes, self.draws)

    def state_dict(self) -> dict[str, Tensor]:
        import torch

        return {"draws": self.draws.get_state(), "revived": torch.tensor(self.revived)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.draws.set_state(state["draws"])
        self.revived = int(state["revived"])

    def _pairs(self, view: ColumnsView) -> tuple[np.ndarray, list[str]]:
        """(n, d) features and the captions of the pairs learnt from."""
        matrix, known = read_matrix(view, self.settings.features)
        texts = np.asarray(caption_texts(view, self.settings.source).to_pylist(), dtype=object)
        said = np.array([bool(text and text.strip()) for text in texts], bool)
        rows = np.flatnonzero(known & said & participants(view, self.settings.among))
        if len(rows) < LEAST_PAIRS:
            raise ColumnError(
                f'codebook: {len(rows)} pairs have {self.settings.features} and a caption "{self.settings.source}", '
                f"{LEAST_PAIRS} are needed; give more data or another source"
            )
        return matrix[rows], [str(text) for text in texts[rows]]


def measure(model: Codebook, matrix: np.ndarray, captions: list[str], seed: int = 0) -> dict[str, float]:
    """Metrics over all pairs learnt from."""
    import torch

    from pairwright.components.models.codebook import BLOCK
    from pairwright.components.models.vector_quantizer import perplexity

    device = str(model.place.device)
    tokens, found = model.tokens_of(captions), []
    other = torch.randperm(len(captions), generator=torch.Generator().manual_seed(seed))
    own, shuffled = 0.0, 0.0
    for rows in torch.arange(len(captions)).split(BLOCK):
        said = tokens[rows].to(device)
        features = _features(matrix, rows, device)
        found.append(model.encode(features)[0].cpu())
        own += float(model.loss(features, said)) * len(rows)
        shuffled += float(model.loss(_features(matrix, other[rows], device), said)) * len(rows)
    used = perplexity(torch.cat(found), model.shape.codes)
    return {
        "perplexity": used,
        "perplexity_share": used / model.shape.codes,
        "nats_per_word": own / len(captions),
        "nats_per_word_shuffled": shuffled / len(captions),
        "pairs": float(len(captions)),
    }


def _features(matrix: np.ndarray, rows: torch.Tensor, device: str) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(matrix[rows.numpy()])).float().to(device)


def _draw_use(model: Codebook, matrix: np.ndarray, folder: Path, measured: Mapping[str, float]) -> None:
    """figures/codes.svg: how often each code is used, the commonest first."""
    import torch

    from pairwright.components.models.codebook import BLOCK
    from pairwright.components.models.figures import save_figures, svg_axes

    device = str(model.place.device)
    parts = [model.encode(_features(matrix, r, device))[0].cpu() for r in torch.arange(len(matrix)).split(BLOCK)]
    counts = torch.bincount(torch.cat(parts).flatten(), minlength=model.shape.codes).sort(descending=True).values
    figure, axes = svg_axes("codes, the commonest first", "share of use")
    axes.fill_between(range(len(counts)), (counts / counts.sum()).numpy(), step="mid", alpha=0.6)
    axes.axhline(1 / len(counts), linestyle="--", linewidth=1)
    caption = (
        f"Perplexity {measured['perplexity']:.0f} of {len(counts)} codes (dashed: all used alike); captions cost "
        f"{measured['nats_per_word']:.2f} nats a word, "
        f"{measured['nats_per_word_shuffled']:.2f} from another picture's codes."
    )
    save_figures(folder, [("codes.svg", "Use of the codebook", caption, figure)])


def _card(wish: CodebookSettings, measured: Mapping[str, float], words: int) -> str:
    rows = "\n".join(f"| {name} | {value:.4g} |" for name, value in sorted(measured.items()))
    return f"""# Codebook

A captioner with {wish.codes} codes between encoder and decoder, {wish.positions} a picture (TL;DR, stage 1).

| | |
|---|---|
| features | `{wish.features}`, the tower locked |
| captions | `{wish.source}`, {words} words known |
| steps | {wish.steps} of {wish.batch_size} pairs, AdamW, peak lr {wish.lr:g}, seed {wish.seed} |
{rows}

Its codes sort pictures by what their captions speak of. The captions it writes are a small model's,
learnt from the pairs themselves: fit to complement a weak caption, not to stand alone.
"""
