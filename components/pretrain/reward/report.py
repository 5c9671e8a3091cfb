"""The report of a fitted reward: metrics, figures and the model card."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pairwright.components.pretrain.reward.figures import draw_figures
from pairwright.components.pretrain.reward.judged import HELD_OUT, Judged, counts_of
from pairwright.components.pretrain.reward.learning import Point
from pairwright.components.pretrain.reward.measures import Accuracy, accuracy, by_kind, calibration, log_loss, right
from pairwright.components.pretrain.reward.settings import RewardSettings

Curve = Sequence[tuple[int, Accuracy, Accuracy]]  # judgements fitted on; held-out accuracy of reward and evidence


def report(
    judged: Judged,
    rewards: np.ndarray,
    seen: np.ndarray,
    points: Sequence[Point],
    settings: RewardSettings,
    folder: Path,
) -> tuple[dict[str, float], str]:
    """Metrics and card; figures are drawn into `folder`. Scores are (2, n), each by what did not see the pair."""
    judging = (judged.fold_of != HELD_OUT) & ~judged.tie
    counts = counts_of(judged)
    metrics: dict[str, float] = {name: float(value) for name, value in counts.items()}
    metrics |= {
        "pictures": float(len(np.unique(judged.picture[judged.fold_of != HELD_OUT]))),
        "groups": float(len(np.unique(judged.group_of[judged.fold_of != HELD_OUT]))),
        "ties": float(judged.tie[judged.fold_of != HELD_OUT].sum()),
    }
    metrics |= _scores(judged, rewards, seen, judging)
    kinds = by_kind(judged.kind[judging], _sides(rewards, seen, judging), judged.group_of[judging])
    for kind, found in kinds.items():
        metrics |= {f"accuracy.{kind}": found["reward"].value, f"evidence_accuracy.{kind}": found["evidence"].value}
    for origin in ("human", "silver"):
        apart = judged.evaluation & (judged.origin == origin) & ~judged.tie
        if apart.any():
            metrics |= {f"{origin}_{name}": v for name, v in _scores(judged, rewards, seen, apart).items()}
    curve, of_labels = labels_curve(judged, points, judging)
    metrics |= of_labels
    difference = (rewards[0] - rewards[1])[judging]
    bins, error = calibration(difference)
    draw_figures(folder, kinds, bins, error, curve, _whose(counts))
    return {name: value for name, value in metrics.items() if math.isfinite(value)}, _card(
        settings, metrics, counts, kinds
    )


def labels_curve(judged: Judged, points: Sequence[Point], judging: np.ndarray) -> tuple[Curve, dict[str, float]]:
    """The curve that is drawn; and as metrics `accuracy_at.N` and `evidence_accuracy_at.N` of a judge fitted on N
    judgements, and `labels_gain` of all of them over the fewest, on the same held-out judgements."""
    groups, curve, metrics, hits = judged.group_of[judging], [], {}, []
    for point in points:
        mine, theirs = (right(*side[:, judging]) for side in (point.rewards, point.seen))
        curve.append((point.labels, accuracy(mine, groups), accuracy(theirs, groups)))
        metrics[f"accuracy_at.{point.labels}"] = curve[-1][1].value
        metrics[f"evidence_accuracy_at.{point.labels}"] = curve[-1][2].value
        hits.append(mine)
    if len(hits) > 1:
        gain = accuracy(hits[-1] - hits[0], groups)
        metrics |= {"labels_gain": gain.value, "labels_gain_low": gain.low, "labels_gain_high": gain.high}
    return curve, metrics


def _sides(rewards: np.ndarray, seen: np.ndarray, which: np.ndarray) -> dict[str, np.ndarray]:
    return {"reward": rewards[:, which], "evidence": seen[:, which]}


def _scores(judged: Judged, rewards: np.ndarray, seen: np.ndarray, which: np.ndarray) -> dict[str, float]:
    """Accuracy of both scores, the paired gain, and how good the probabilities are, of these judgements."""
    groups = judged.group_of[which]
    mine, theirs = right(*rewards[:, which]), right(*seen[:, which])
    reward, evidence, gain = (accuracy(hits, groups) for hits in (mine, theirs, mine - theirs))
    difference = (rewards[0] - rewards[1])[which]
    return {
        "accuracy": reward.value,
        "accuracy_low": reward.low,
        "accuracy_high": reward.high,
        "evidence_accuracy": evidence.value,
        "gain": gain.value,
        "gain_low": gain.low,
        "gain_high": gain.high,
        "log_loss": log_loss(difference),
        "calibration_error": calibration(difference)[1],
    }


def _whose(counts: dict[str, int]) -> str:
    """The counts by origin in words, silver never unsaid."""
    return f"fitted on {counts['human_judgements']:,} human and {counts['silver_judgements']:,} silver judgements"


def _fitted_on(settings: RewardSettings) -> str:
    return "fitted on judged pairs alone" if settings.text is None else f"fitted on the crawl's `{settings.source}`"


def _warning(counts: dict[str, int]) -> str:
    """What a reward of silver judgements may not be taken for; nothing where there are none."""
    if not counts["silver_judgements"]:
        return ""
    return (
        "\n**Silver**: part of these judgements were made by planting damage, not by people: they say what the "
        "evidence is worth, and nothing of taste. The accuracies of this card are of the kinds of damage it was "
        "taught with, on pictures it was not: they say nothing of other damage, of exchanged captions least of all, "
        "nor of what people would prefer among undamaged captions. What it finds of kinds it was never taught is "
        "measured by benchmarks/curation.\n"
    )


def _card(
    settings: RewardSettings, metrics: dict[str, float], counts: dict[str, int], kinds: dict[str, dict[str, Accuracy]]
) -> str:
    """Markdown; the same fit gives the same text."""
    rows = "\n".join(
        f"| {kind} | {found['reward'].n:,} | {found['reward'].value:.3f} | {found['evidence'].value:.3f} |"
        for kind, found in kinds.items()
    )
    towers = (
        settings.encoder.reference
        if settings.encoder
        else f"{settings.text_tower.reference} and heads {_fitted_on(settings)}"
    )
    refused = f"{counts['human_refused']:,} human, {counts['silver_refused']:,} silver"
    apart = "".join(
        f"| {origin} judgements kept for evaluation | {counts[f'{origin}_held_out']:,}, "
        f"accuracy {metrics[f'{origin}_accuracy']:.3f}, evidence {metrics[f'{origin}_evidence_accuracy']:.3f} |\n"
        for origin in ("human", "silver")
        if f"{origin}_accuracy" in metrics
    )
    return f"""# Reward

How much people would prefer a caption of a picture; differences are log-odds (Bradley-Terry).

```python
from pairwright.components.models.reward import load_reward

reward = load_reward("this/folder")
reward.score(image_features, ["A red boat.", "IMG_0012.JPG"])
```

| | |
|---|---|
| fitted on | {counts["human_judgements"]:,} human, {counts["silver_judgements"]:,} silver judgements |
| accepted | {", ".join(settings.accept)}; refused: {refused} |
| pictures, groups, ties | {metrics["pictures"]:,.0f}, {metrics["groups"]:,.0f}, {metrics["ties"]:,.0f} |
| towers | {towers}; image features of `{settings.image}` |
| held-out accuracy | {metrics["accuracy"]:.3f} ({metrics["accuracy_low"]:.3f} to {metrics["accuracy_high"]:.3f}) |
| evidence alone, same judgements | {metrics["evidence_accuracy"]:.3f} |
| log loss, calibration error | {metrics["log_loss"]:.3f}, {metrics["calibration_error"]:.3f} |
{apart}{_warning(counts)}
| kind | judgements | reward | evidence |
|---|---|---|---|
{rows}

Held out means: by a judge that saw neither the picture, nor a near-duplicate, nor a preferred caption of
it. A score is no probability that a caption is true, and it was not tested for fairness.
"""
