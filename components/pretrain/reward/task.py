"""Fit the reward of Compress & Align: which caption of a picture people prefer, from their judgements.

    filter:
      fit:
        reward:
          uses: reward
          with: {preferences: [labels.judgements], accept: [human], text: text_features.vector}

Compress & Align (Zhang et al., 2023): several captions of a picture are ranked by labellers, a reward is
fitted by -log sigmoid(r+ - r-), and the crawl is kept by it. The paper tunes BLIP, which sees whether a caption is
of its picture before anybody judges; ours stands on heads that are fitted on the crawl, cross-fitted
(components/models/reward.py), and learns what people add: mechanism verified by test, figure not
reproduced. `accept` must be said: silver judgements are not people's, are never used unseen, and teach no taste.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pairwright.components.component import Columns, Fit, FitInputs
from pairwright.components.dataset.judgements import HUMAN
from pairwright.components.models.resolve import TOWER_LIBRARIES
from pairwright.components.pretrain.reward.settings import RewardSettings
from pairwright.components.registry import fit

if TYPE_CHECKING:
    from pairwright.components.dataset.shards.columns import ColumnsView
    from pairwright.components.models.reward import RewardModel
    from pairwright.components.models.seen import Seen
    from pairwright.components.pretrain.reward.evidence import Crawl, Evidence
    from pairwright.components.pretrain.reward.judged import Judged
    from pairwright.components.pretrain.reward.training import Options
    from pairwright.components.training.here import Kept


@fit("reward")
class FitReward(Fit[RewardSettings]):
    """Writes config.json, model.safetensors, tokenizer files, card.md and figures/.

    Metrics (held out, ties aside): accuracy, evidence_accuracy and gain (of the first over the second) with their
    intervals, accuracy and evidence_accuracy of each kind, of people's accuracy_at.N by judges of N labels and
    the gain of all over the fewest (labels_gain), log_loss, calibration_error, counts of judgements by origin;
    of `held_out` columns the same under `human_` and `silver_`.
    """

    requires = Columns("preferences", "held_out", "image", "text", "near", "hash")
    libraries = (*TOWER_LIBRARIES, "matplotlib")

    def fit(self, inputs: FitInputs, folder: Path, progress: Any = None) -> Mapping[str, Any]:
        """Fit in this process; `inputs.extra["checkpoints"]` names a folder that outlives a kill.

        Raises:
            InvalidRecipe: no judgement is accepted, or they are of too few pictures.
            ColumnError: a judgement of unknown origin.
        """
        from pairwright.components.pretrain.reward.learning import learning_curve
        from pairwright.components.pretrain.reward.report import report
        from pairwright.components.pretrain.reward.training import fit_reward

        judged, model, evidence, crawl = self._prepare(inputs)
        options = replace(self._options(), kept=self._kept(inputs, judged, evidence, crawl))
        rewards, seen = fit_reward(model, evidence, judged, options, crawl)
        if progress is not None:
            progress(1, 2, "fitted")
        people = bool((judged.origin[judged.fold_of >= 0] == HUMAN).any())  # no curve of what moves nothing
        shares = self.settings.curve if people else []
        curve = learning_curve(model, evidence, judged, options, crawl, shares, (rewards, seen))
        metrics, card = report(judged, rewards.numpy(), seen.numpy(), curve, self.settings, folder)
        model.save(folder, card)
        if progress is not None:
            progress(2, 2, f"held-out accuracy {metrics['accuracy']:.3f}")
        return metrics

    def _kept(self, inputs: FitInputs, judged: Judged, evidence: Evidence, crawl: Crawl | None) -> Kept | None:
        from pairwright.components.training.here import Kept

        place = inputs.extra.get("checkpoints")
        if place is None:
            return None
        said = [getattr(judged, one.name) for one in fields(judged) if one.name != "refused"]
        said += [] if crawl is None else [crawl.image, crawl.text, crawl.caption, crawl.fold]
        return Kept.of(self, Path(place), *said, evidence.image, evidence.text, evidence.statistics)

    def _prepare(self, inputs: FitInputs) -> tuple[Judged, RewardModel, Evidence, Crawl | None]:
        """The judgements in folds, a fresh model that remembers the pairs it will see, their features, the crawl."""
        import torch

        from pairwright.components.dataset.shards.columns import to_numpy
        from pairwright.components.models.dual_encoders.heads import as_features
        from pairwright.components.models.reward import caption_statistics
        from pairwright.components.pretrain.reward.evidence import Evidence
        from pairwright.components.pretrain.reward.judged import read_judged, with_folds

        wish, view = self.settings, inputs.view
        column = view.column(wish.image)
        judged = read_judged(
            view,
            wish.preferences,
            accept=[origin for origin in wish.accept if origin != "silver" or wish.silver_weight > 0],
            held_out=wish.held_out,
            kinds=wish.kinds,
            seeable=column.is_valid().to_numpy().astype(bool),
        )
        judged, everywhere = with_folds(judged, view, wish.near, wish.folds, wish.seed, self._on_crawl)
        image = as_features(to_numpy(column.take(judged.rows)).astype(np.float32))
        model = self._model(image.shape[1], str(inputs.extra.get("device", "cpu")))
        crawl, captions = self._crawl(view, judged, everywhere)
        model.seen = self._seen(view, judged, everywhere, captions)
        text = model.text_features(judged.texts).cpu()
        where = torch.from_numpy(model.seen.text_folds(judged.texts))
        return judged, model.to("cpu"), Evidence(image, text, caption_statistics(judged.texts), where), crawl

    @property
    def _on_crawl(self) -> bool:
        """Whether heads are fitted on the crawl: not on judged pairs alone, and no public encoder in their place."""
        return self.settings.text is not None and self.settings.encoder is None

    def _crawl(
        self, view: ColumnsView, judged: Judged, everywhere: np.ndarray
    ) -> tuple[Crawl | None, tuple[list[str], np.ndarray]]:
        """The pairs that evidence is fitted on, and their captions with their folds."""
        from pairwright.components.dataset.shards.columns import to_numpy
        from pairwright.components.models.dual_encoders.heads import as_features
        from pairwright.components.models.reward import caption_statistics
        from pairwright.components.pretrain.reward.evidence import Crawl, caption_labels, captions_of, preferred

        wish = self.settings
        if not self._on_crawl:
            return None, ([], np.zeros(0, np.int64))
        captions, columns = (
            captions_of(view, wish.source),
            [view.column(name) for name in (wish.image, wish.text or "")],
        )
        usable = (everywhere >= 0) & np.array([bool(one) for one in captions])
        for column in columns:
            usable &= column.is_valid().to_numpy().astype(bool)
        rows = np.flatnonzero(usable)
        said = [captions[row] or "" for row in rows]
        image, text = (as_features(to_numpy(column.take(rows)).astype(np.float32)) for column in columns)
        mine, theirs = caption_labels(said, judged.texts)
        fold = everywhere[rows]
        crawl = Crawl(image, text, caption_statistics(said), mine, fold, preferred(judged, theirs))
        return crawl, (said, fold)

    def _seen(
        self, view: ColumnsView, judged: Judged, everywhere: np.ndarray, captions: tuple[list[str], np.ndarray]
    ) -> Seen:
        """Every picture that is fitted on, and every caption of the crawl or that was preferred, with its fold."""
        from pairwright.components.dataset.shards.columns import to_numpy
        from pairwright.components.models.seen import Seen

        wish = self.settings
        rows = np.flatnonzero((everywhere >= 0) & view.column(wish.image).is_valid().to_numpy().astype(bool))
        features = to_numpy(view.column(wish.image).take(rows)).astype(np.float32)
        hashes = None if wish.hash is None else view.column(wish.hash).take(rows).to_pylist()
        good = judged.fold_of >= 0
        tied = good & judged.tie
        which = np.concatenate([judged.better[good], judged.worse[tied]])
        folds = np.concatenate([judged.fold_of[good], judged.fold_of[tied], captions[1]])
        texts = [*(judged.texts[text] for text in which), *captions[0]]
        return Seen.of(features, everywhere[rows], texts, folds, hashes)

    def _model(self, image_width: int, device: str = "cpu") -> RewardModel:
        from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder
        from pairwright.components.models.reward import RewardModel
        from pairwright.components.models.towers.towers import load_text_tower

        wish = self.settings
        options: dict[str, Any] = {"folds": wish.folds, "dim": wish.dim, "rank": wish.rank, "seed": wish.seed}
        if wish.encoder is not None:
            encoder = load_dual_encoder(wish.encoder)
            width = int(encoder.text_features(["a"]).shape[1])
            return RewardModel(encoder, image_width, width, **options)
        tower = load_text_tower(wish.text_tower, device)
        tower.config()  # one that no folder can hold says so now, not after the fit
        return RewardModel(tower, image_width, tower.width, **options)

    def _options(self) -> Options:
        from pairwright.components.pretrain.reward.evidence import HeadsOptions
        from pairwright.components.pretrain.reward.training import Options

        wish = self.settings
        return Options(
            heads=HeadsOptions(wish.steps, wish.batch_size, wish.seed),
            spreads=tuple(wish.spreads),
            smoothing=wish.smoothing,
            davidson=wish.ties == "davidson",
            silver_weight=wish.silver_weight,
            seed=wish.seed,
        )
