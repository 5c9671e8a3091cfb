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

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from pairwright.components.component import Captions, Columns, Fit, FitInputs
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.dataset.shards.matrix import read_matrix
from pairwright.components.errors import ColumnError
from pairwright.components.filter.selections.caption_column import caption_texts
from pairwright.components.filter.selections.duplicates.duplicates import among_columns, participants
from pairwright.components.registry import fit
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    import torch

    from pairwright.components.models.codebook import Codebook

LEAST_PAIRS = 16
WARM_UP_SHARE = 0.1


class CodebookSettings(Settings):
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
    lr: float = Field(1e-3, gt=0)
    commitment: float = Field(0.25, ge=0, description="weight of |z - sg(z_q)|^2")
    among: dict[str, str] = Field({}, description="keep-rules; only pairs that pass them are learnt from")
    seed: int = Field(0, ge=0)


@fit("codebook")
class FitCodebook(Fit[CodebookSettings]):
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

        Raises:
            ColumnError: fewer than 16 pairs have features and a caption.
        """
        from pairwright.components.models.codebook import CodebookShape, vocabulary_of

        wish, device = self.settings, str(inputs.extra.get("device", "cpu"))
        matrix, captions = self._pairs(inputs.view)
        words = vocabulary_of(captions, wish.vocabulary, wish.least)
        shape = CodebookShape(
            features=matrix.shape[1],
            codes=wish.codes,
            positions=wish.positions,
            code_width=wish.code_width,
            width=wish.width,
            layers=wish.layers,
            max_words=wish.max_words,
        )
        model, revived = train(shape, words, matrix, captions, wish, device, progress)
        measured = measure(model, matrix, captions, wish.seed) | {"revived": float(revived)}
        model.save(folder, _card(wish, measured, len(words)))
        _draw_use(model, matrix, folder, measured)
        return measured

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


def train(
    shape: Any,
    words: list[str],
    matrix: np.ndarray,
    captions: list[str],
    wish: CodebookSettings,
    device: str = "cpu",
    progress: Any = None,
) -> tuple[Codebook, int]:
    """A codebook trained for `wish.steps`, and how many dead codes were revived. Same inputs, same weights."""
    import torch

    from pairwright.components.models.codebook import Codebook
    from pairwright.components.models.finite_steps import FiniteSteps
    from pairwright.components.models.heads import learning_rate, parameter_groups

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(wish.seed)
        model = Codebook(shape, words)
    model.to(device).train()
    random = torch.Generator().manual_seed(wish.seed)
    with torch.no_grad():
        seen = torch.randperm(len(captions), generator=random)[: 4 * wish.codes]
        model.quantizer.start(model.latents(_features(matrix, seen, device)).flatten(0, 1), random)
    tokens = model.tokens_of(captions)
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.05), lr=wish.lr, betas=(0.9, 0.98))
    draw = _batches(len(captions), wish.batch_size, random)
    revived, warm = 0, max(1, int(WARM_UP_SHARE * wish.steps))
    finite = FiniteSteps(f"these are rows of its pairs; lower lr ({wish.lr})")
    for step in range(wish.steps):
        rows = next(draw)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, peak=wish.lr, warmup_steps=warm, steps=wish.steps)
        caption, commitment, z, codes = model.loss(_features(matrix, rows, device), tokens[rows].to(device))
        optimizer.zero_grad(set_to_none=True)
        loss = caption + wish.commitment * commitment
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if finite.allow(float(loss.detach()), float(norm), rows.tolist()):
            optimizer.step()
            revived += model.quantizer.update(z, codes, random)
        if progress is not None:
            progress(step + 1, wish.steps, f"{caption.item():.2f} nats a word")
    return model.eval().requires_grad_(False), revived


def _batches(pairs: int, size: int, random: torch.Generator) -> Iterator[torch.Tensor]:
    """Row numbers of one batch after another, without end; each pair once before any comes again."""
    import torch

    size = min(size, pairs)
    while True:
        order = torch.randperm(pairs, generator=random)
        yield from (order[start : start + size] for start in range(0, pairs - size + 1, size))


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
        own += float(model.loss(features, said)[0]) * len(rows)
        shuffled += float(model.loss(_features(matrix, other[rows], device), said)[0]) * len(rows)
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
