"""The pictures a fitted reward draws of itself, as SVG: the same numbers give the same bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pairwright.components.pretrain.reward.measures import Accuracy, Bin

FOLDER, LIST = "figures", "figures.json"
REWARD, EVIDENCE, CHANCE = "#2f6f9f", "#c17a2f", "#888888"
SIZE = (5.2, 3.4)  # inches


def draw_figures(
    folder: Path,
    kinds: Mapping[str, Mapping[str, Accuracy]],
    bins: Sequence[Bin],
    error: float,
    curve: Sequence[tuple[int, Accuracy, Accuracy]],
    said: str,
) -> None:
    """Write figures/*.svg and figures/figures.json. `said` tells whose judgements these are."""
    root = folder / FOLDER
    root.mkdir(parents=True, exist_ok=True)
    drawn = [
        (
            "accuracy_by_kind",
            "Held-out judgements explained, by kind",
            _kinds(kinds),
            f"Reward against its evidence; {said}",
        ),
        (
            "reliability",
            "Is the reward's confidence earned?",
            _reliability(bins),
            f"Expected calibration error {error:.3f}; {said}",
        ),
    ]
    if curve:
        text = f"Judgements of pictures that no label of the judge was of; {said}"
        drawn.append(("learning_curve", "What more labels buy", _curve(curve), text))
    for name, _, figure, _ in drawn:
        _save(figure, root / f"{name}.svg")
    entries = [{"file": f"{name}.svg", "title": title, "caption": caption} for name, title, _, caption in drawn]
    (root / LIST).write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def _figure() -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _kinds(kinds: Mapping[str, Mapping[str, Accuracy]]) -> Any:
    figure, axes = _figure()
    names = list(kinds)[::-1]
    for offset, scorer, colour in ((0.18, "reward", REWARD), (-0.18, "evidence", EVIDENCE)):
        for place, name in enumerate(names):
            one = kinds[name][scorer]
            label = scorer if place == 0 else None
            axes.plot([one.low, one.high], [place + offset] * 2, color=colour, linewidth=2)
            axes.plot([one.value], [place + offset], "o", color=colour, label=label, markersize=5)
    axes.axvline(0.5, color=CHANCE, linestyle=":", linewidth=1)
    axes.set_yticks(range(len(names)), [f"{name} ({kinds[name]['reward'].n:,})" for name in names], fontsize=8)
    axes.set_xlabel("share of held-out judgements explained (95% over groups)", fontsize=8)
    axes.set_xlim(min(0.3, *(one.low for pair in kinds.values() for one in pair.values())), 1.01)
    axes.legend(fontsize=8, frameon=False, loc="lower left")
    return figure


def _reliability(bins: Sequence[Bin]) -> Any:
    figure, axes = _figure()
    axes.plot([0.5, 1], [0.5, 1], color=CHANCE, linestyle=":", linewidth=1)
    axes.plot([one.confidence for one in bins], [one.accuracy for one in bins], "o-", color=REWARD)
    for one in bins:
        axes.annotate(
            f"{one.n:,}", (one.confidence, one.accuracy), fontsize=7, xytext=(4, -9), textcoords="offset points"
        )
    axes.set_xlabel("confidence that the caption preferred by the reward is the better one", fontsize=8)
    axes.set_ylabel("share of them that is", fontsize=8)
    return figure


def _curve(curve: Sequence[tuple[int, Accuracy, Accuracy]]) -> Any:
    figure, axes = _figure()
    labels = [n for n, _, _ in curve]
    for place, name, colour in ((1, "reward", REWARD), (2, "evidence", EVIDENCE)):
        points: list[Accuracy] = [point[place] for point in curve]  # type: ignore[misc]
        axes.plot(labels, [one.value for one in points], "o-", color=colour, label=name)
        axes.fill_between(
            labels, [o.low for o in points], [o.high for o in points], color=colour, alpha=0.15, linewidth=0
        )
    axes.set_xscale("log")
    axes.set_xticks(labels, [f"{n:,}" for n in labels], fontsize=8)
    axes.minorticks_off()
    axes.set_xlabel("judgements fitted on", fontsize=8)
    axes.set_ylabel("held-out accuracy", fontsize=8)
    axes.legend(fontsize=8, frameon=False)
    return figure


def _save(figure: Any, path: Path) -> None:
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": path.name, "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": "pairwright"})
