"""A small language model fitted on the captions at hand: what `perplexity` uses where no model is given.

    fit:   {lm: {uses: ngram_model, with: {source: alt, among: {clean: "caption_text.quality >= 0.5"}}}}
    score: {language_model: {uses: perplexity, with: {model: "step:lm", source: alt}}}

Byte n-grams with Kneser-Ney smoothing (components/models/ngram.py), in two halves by group
(components/models/cross_fit.py): a pair is scored by the half that saw neither it, nor its near-duplicates,
nor its caption elsewhere. Fit it on rows worth trusting: what it saw often it finds likely, and a template
that fills half the crawl is likely, too. A caption counts once, however often it recurs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from pairwright.components.component import Captions, Columns, Fit, FitInputs
from pairwright.components.errors import ModelError
from pairwright.components.filter.selections.caption_column import caption_texts, normalised
from pairwright.components.filter.selections.duplicates.duplicates import among_columns, participants
from pairwright.components.filter.selections.folds import balanced_folds
from pairwright.components.filter.selections.groups import joined, labels_of
from pairwright.components.models.cross_fit import FoldTable
from pairwright.components.models.ngram import NgramModel, fit_ngrams, from_tensors
from pairwright.components.registry import fit
from pairwright.components.settings import Settings

MODEL_TYPE = "pairwright_ngram"
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "card.md"
FEWEST = 20  # captions of a half; fewer say nothing of a language


class NgramModelSettings(Settings):
    source: str = Field("alt", description="captions fitted on: a sidecar's source, or a captioner step's name")
    order: int = Field(6, ge=1, le=8, description="bytes; each is predicted from order - 1 before it")
    among: dict[str, str] = {}  # keep-rules; only captions of pairs that pass them are fitted on
    near: str | None = Field(None, description="labels of near-duplicates, e.g. near_duplicates.group")
    max_captions: int = Field(1_000_000, ge=100, description="of a half; more are thinned evenly")


@dataclass(frozen=True)
class Half:
    """The model of one half: of whole captions, and of their words each alone."""

    text: NgramModel
    words: NgramModel

    def nll(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Nats a byte of each text, and of its words apart: float64 (n,) each."""
        split = [text.split() or [""] for text in texts]
        words = [word for one in split for word in one]
        sizes = np.array([len(word.encode("utf-8", "replace")) + 1 for word in words])
        each = self.words.mean_nll(words) * sizes
        starts = np.cumsum([0, *(len(one) for one in split)])[:-1]
        apart = np.add.reduceat(each, starts) / np.add.reduceat(sizes, starts) if len(texts) else np.zeros(0)
        return self.text.mean_nll(texts), apart


@fit("ngram_model")
class FitNgramModel(Fit[NgramModelSettings]):
    """Metrics: captions of each half, and each half's nats a byte on the other's captions.

    Raises:
        ModelError: too few captions to fit on.
    """

    requires = Columns("near") + Captions("source")

    def column_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*super().column_names(), *among_columns(self.settings.among)]))

    def fit(self, inputs: FitInputs, folder: Path, progress: Any = None) -> Mapping[str, float]:
        wish, view = self.settings, inputs.view
        texts = caption_texts(view, wish.source)
        plain = normalised(texts)
        sidecar = view.sidecar(["key", "group"])
        labellings = [labels_of(plain), labels_of(sidecar["group"])]
        if wish.near is not None:
            labellings.append(view.column(wish.near).fill_null(-1).to_numpy().astype(np.int64))
        group = joined(labellings)
        fitting = participants(view, wish.among) & np.array([bool(text) for text in plain.to_pylist()], bool)
        fold = balanced_folds(group, fitting)
        raw = texts.to_pylist()
        captions = [self._distinct(raw, labellings[0], fitting & (fold == half)) for half in (0, 1)]
        if min(map(len, captions)) < FEWEST:
            raise ModelError(
                f"ngram_model has {len(captions[0])} and {len(captions[1])} captions of {wish.source} for its halves, "
                f"it needs {FEWEST} each; widen `among` or name another source"
            )
        halves = [fit_half(one, wish.order) for one in captions]
        table = FoldTable.of(sidecar["key"].to_pylist(), sidecar["group"].to_pylist(), plain.to_pylist(), fold)
        save(folder, halves, table, wish)
        return self._metrics(halves, captions)

    def _distinct(self, texts: list[str | None], labels: np.ndarray, which: np.ndarray) -> list[str]:
        """The first wording of each different caption, in the population's order, thinned to `max_captions`."""
        rows = np.flatnonzero(which)
        _, first = np.unique(labels[rows], return_index=True)
        rows = rows[np.sort(first)]
        if len(rows) > self.settings.max_captions:
            rows = rows[np.linspace(0, len(rows) - 1, self.settings.max_captions).astype(np.int64)]
        return [texts[row] or "" for row in rows]

    def _metrics(self, halves: Sequence[Half], captions: Sequence[list[str]]) -> dict[str, float]:
        found: dict[str, float] = {}
        for one in (0, 1):
            found[f"captions_{one}"] = float(len(captions[one]))
            found[f"held_out_nats_a_byte_{one}"] = float(halves[one].text.mean_nll(captions[1 - one]).mean())
        return found


def fit_half(captions: Sequence[str], order: int) -> Half:
    """The model of whole captions and that of their words."""
    return Half(fit_ngrams(captions, order), fit_ngrams([word for text in captions for word in text.split()], order))


def save(folder: Path, halves: Sequence[Half], table: FoldTable, settings: NgramModelSettings) -> None:
    """Write config.json, model.safetensors and card.md."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    arrays = dict(table.tensors())
    for number, half in enumerate(halves):
        for part in ("text", "words"):
            arrays |= {f"{number}.{part}.{name}": one for name, one in getattr(half, part).tensors().items()}
    save_file({name: np.ascontiguousarray(one) for name, one in arrays.items()}, folder / WEIGHTS)
    config = {"model_type": MODEL_TYPE, "order": settings.order, "halves": 2, "source": settings.source}
    (folder / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (folder / CARD).write_text(
        f"# A byte {settings.order}-gram model of captions\n\nKneser-Ney, two halves by group, fitted on "
        f"`{settings.source}`. It scores captions by how likely they are; it writes none.\n",
        encoding="utf-8",
    )


def load(folder: str | Path) -> tuple[list[Half], FoldTable]:
    """The two halves and the table that chooses between them.

    Raises:
        ModelError: the folder is not one of `ngram_model`, or is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    root = Path(folder)
    try:
        order = int(json.loads((root / CONFIG).read_text(encoding="utf-8"))["order"])
        arrays = load_file(root / WEIGHTS)
        halves = [Half(*(_part(arrays, f"{number}.{part}.", order) for part in ("text", "words"))) for number in (0, 1)]
        return halves, FoldTable.from_tensors(arrays)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(f"{root} holds no n-gram model that loads ({error}); fit it again") from None


def _part(arrays: Mapping[str, np.ndarray], prefix: str, order: int) -> NgramModel:
    return from_tensors({n.removeprefix(prefix): one for n, one in arrays.items() if n.startswith(prefix)}, order)
