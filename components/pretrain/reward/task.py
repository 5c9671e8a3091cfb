"""Fit the reward of Compress & Align: which caption of a picture people prefer, from their judgements.

    filter:
      fit:
        reward:
          uses: reward
          with: {preferences: [labels.judgements], accept: [human], image: image_features.vector}

Compress & Align (Zhang et al., 2023): several captions of a picture are ranked by labellers, a reward is
fitted by -log sigmoid(r+ - r-), and the crawl is kept by it. The paper tunes BLIP; ours is a head on
locked towers (components/models/reward.py), fitted in seconds: mechanism verified by test, figure not
reproduced. `accept` must be said: silver judgements are not people's, and are never used unseen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pairwright.components.component import Columns, Fit, FitInputs
from pairwright.components.models.resolve import TOWER_LIBRARIES
from pairwright.components.pretrain.reward.settings import RewardSettings
from pairwright.components.registry import fit

if TYPE_CHECKING:
    from pairwright.components.dataset.shards.columns import ColumnsView
    from pairwright.components.models.reward import RewardModel
    from pairwright.components.models.seen import Seen
    from pairwright.components.pretrain.reward.judged import Judged
    from pairwright.components.pretrain.reward.training import Evidence, Options
    from pairwright.components.training.here import Kept


@fit("reward")
class FitReward(Fit[RewardSettings]):
    """Writes config.json, model.safetensors, tokenizer files, card.md and figures/.

    Metrics (held out, ties aside): accuracy, cosine_accuracy and gain (of the first over the second) with their
    intervals, accuracy and cosine_accuracy of each kind, log_loss, calibration_error, counts of judgements by origin;
    of `held_out` columns the same under `human_` and `silver_`.
    """

    requires = Columns("preferences", "held_out", "image", "near", "hash")
    libraries = (*TOWER_LIBRARIES, "matplotlib")

    def fit(self, inputs: FitInputs, folder: Path, progress: Any = None) -> Mapping[str, Any]:
        """Fit in this process; `inputs.extra["checkpoints"]` names a folder that outlives a kill.

        Raises:
            InvalidRecipe: no judgement is accepted, or they are of too few pictures.
            ColumnError: a judgement of unknown origin.
        """
        from pairwright.components.pretrain.reward.report import report
        from pairwright.components.pretrain.reward.training import fit_reward

        judged, model, evidence = self._prepare(inputs)
        options = replace(self._options(), kept=self._kept(inputs, judged, evidence))
        rewards, cosines = fit_reward(model, evidence, judged, options)
        if progress is not None:
            progress(1, 2, "fitted")
        curve = self._curve(judged, evidence, options, rewards, cosines)
        metrics, card = report(judged, rewards.numpy(), cosines.numpy(), curve, self.settings, folder)
        model.save(folder, card)
        if progress is not None:
            progress(2, 2, f"held-out accuracy {metrics['accuracy']:.3f}")
        return metrics

    def _kept(self, inputs: FitInputs, judged: Judged, evidence: Evidence) -> Kept | None:
        from pairwright.components.training.here import Kept

        place = inputs.extra.get("checkpoints")
        if place is None:
            return None
        said = [getattr(judged, one.name) for one in fields(judged) if one.name != "refused"]
        return Kept.of(self, Path(place), *said, evidence.image, evidence.text, evidence.statistics)

    def _prepare(self, inputs: FitInputs) -> tuple[Judged, RewardModel, Evidence]:
        """The judgements in folds, a fresh model that remembers their pairs, and their features."""
        from pairwright.components.dataset.shards.columns import to_numpy
        from pairwright.components.models.dual_encoders.heads import as_features
        from pairwright.components.models.reward import caption_statistics
        from pairwright.components.pretrain.reward.judged import read_judged, with_folds
        from pairwright.components.pretrain.reward.training import Evidence

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
        judged, everywhere = with_folds(judged, view, wish.near, wish.folds, wish.seed)
        image = as_features(to_numpy(column.take(judged.rows)).astype(np.float32))
        model = self._model(image.shape[1], str(inputs.extra.get("device", "cpu")))
        model.seen = self._seen(view, judged, everywhere)
        text = model.text_features(judged.texts).cpu()
        return judged, model.to("cpu"), Evidence(image, text, caption_statistics(judged.texts))

    def _seen(self, view: ColumnsView, judged: Judged, everywhere: np.ndarray) -> Seen:
        """Every picture of a judged group, and every caption that was preferred, with its fold."""
        from pairwright.components.dataset.shards.columns import to_numpy
        from pairwright.components.models.seen import Seen

        wish = self.settings
        rows = np.flatnonzero((everywhere >= 0) & view.column(wish.image).is_valid().to_numpy().astype(bool))
        features = to_numpy(view.column(wish.image).take(rows)).astype(np.float32)
        hashes = None if wish.hash is None else view.column(wish.hash).take(rows).to_pylist()
        good = judged.fold_of >= 0
        tied = good & judged.tie
        which = np.concatenate([judged.better[good], judged.worse[tied]])
        folds = np.concatenate([judged.fold_of[good], judged.fold_of[tied]])
        return Seen.of(features, everywhere[rows], [judged.texts[text] for text in which], folds, hashes)

    def _model(self, image_width: int, device: str = "cpu") -> RewardModel:
        from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder
        from pairwright.components.models.reward import RewardModel
        from pairwright.components.models.towers.towers import load_text_tower

        wish = self.settings
        options: dict[str, Any] = {"folds": wish.folds, "dim": wish.dim, "rank": wish.rank, "hidden": wish.hidden}
        options |= {"dropout": wish.dropout, "seed": wish.seed}
        if wish.encoder is not None:
            encoder = load_dual_encoder(wish.encoder)
            width = int(encoder.text_features(["a"]).shape[1])
            return RewardModel(encoder, image_width, width, **options)
        tower = load_text_tower(wish.text_tower, device)
        tower.config()  # one that no folder can hold says so now, not after the fit
        return RewardModel(tower, image_width, tower.width, **options)

    def _options(self) -> Options:
        from pairwright.components.pretrain.reward.training import Options

        wish = self.settings
        return Options(
            alignment_steps=wish.alignment_steps,
            steps=wish.steps,
            batch_size=wish.batch_size,
            lr=wish.lr,
            penalty=wish.penalty,
            smoothing=wish.smoothing,
            davidson=wish.ties == "davidson",
            silver_weight=wish.silver_weight,
            seed=wish.seed,
        )

    def _curve(
        self, judged: Judged, evidence: Evidence, options: Options, rewards: Any, cosines: Any
    ) -> list[tuple[int, Any, Any]]:
        """(judgements fitted on, accuracy, cosine's accuracy) on fold 0, for each share of the other folds' labels.

        The last point, all of them, is what the fit itself measured there.
        """
        from pairwright.components.pretrain.reward.measures import accuracy, right
        from pairwright.components.pretrain.reward.training import fewer, fit_reward

        found = []
        for share in [*sorted(set(self.settings.curve) - {1.0}), 1.0] if self.settings.curve else []:
            part, scores = judged, (rewards, cosines)
            if share < 1:
                part = fewer(judged, share, 0, options.seed)
                if len(np.unique(part.picture[part.fold_of > 0])) < 2 * self.settings.folds:
                    continue  # too few to fit anything
                fewer_kept = replace(options, kept=options.place(f"curve-{share}"))
                scores = fit_reward(self._model(evidence.image.shape[1]), evidence, part, fewer_kept, only=0)
            test = (part.fold_of == 0) & ~part.tie
            mine, theirs = (accuracy(right(*each[:, test].numpy()), part.group_of[test]) for each in scores)
            found.append((int((part.fold_of > 0).sum()), mine, theirs))
        return found
