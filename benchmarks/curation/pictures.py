"""The referee's pictures, from what benchmarks/curation measured: the same numbers give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.curation.areas import damage_columns
from benchmarks.damaged import SWAPPED

CHANCE = "a random half"
INK, GREY, GOOD, BAD = "#1d2328", "#8a8f98", "#17695e", "#c2592f"
COLOURS = ("#17695e", "#c2592f", "#3d66b0", "#a5892a", "#7a4b8f", "#8a8f98")


def _figure(width: float, height: float) -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams |= {
        "svg.hashsalt": "pairwright",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    return plt.subplots(figsize=(width, height), layout="constrained")


def _save(figure: Any, path: Path) -> None:
    import matplotlib.pyplot as plt

    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _log_ticks(axes: Any, values: Sequence[float], written: str) -> None:
    """A logarithmic axis with these values on it and no others."""
    axes.set_xscale("log")
    axes.set_xticks(values, [written.format(value) for value in values])
    axes.minorticks_off()


def draw_damage(result: dict[str, Any], path: Path) -> None:
    """A cell a selector and kind; chance is white."""
    columns, names = damage_columns(), list(result["selectors"])
    found = {(d["selector"], d["variant"], d["domain"], d["kind"]): d["auc"] for d in result["damage"]}
    values = [[found[name, *key] for _, key in columns] for name in names]
    figure, axes = _figure(11, 0.42 * len(names) + 1.8)
    axes.imshow(values, cmap="BrBG", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), [label for label, _ in columns], rotation=35, ha="right")
    axes.set_yticks(range(len(names)), names)
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            colour = "white" if abs(value - 0.5) > 0.32 else INK
            axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=8, color=colour)
    axes.spines[:].set_visible(False)
    _save(figure, path)


def draw_labels(result: dict[str, Any], path: Path) -> None:
    """Judgements explained over judgements fitted on, a line a crawl; dotted, its evidence alone."""
    figure, axes = _figure(9.5, 3.8)
    for (source, found), colour in zip(result["labels"]["crawls"].items(), COLOURS, strict=False):
        labels = [point["labels"] for point in found["points"]]
        reward = [point["reward"] for point in found["points"]]
        axes.plot(labels, reward, "o-", color=colour, label=f"{SWAPPED[source]:.0%} exchanged")
        axes.axhline(found["points"][-1]["evidence"], color=colour, lw=1, ls=":")
    axes.axhline(result["labels"]["labeller_agrees_with_its_taste"], color=INK, lw=1)
    _log_ticks(axes, labels, "{:,}")
    axes.set_xlabel("judgements a judge was fitted on; dotted: none; line above: the labeller's own consistency")
    axes.set_ylabel("judgements explained")
    axes.legend(frameon=False)
    _save(figure, path)


def draw_models(result: dict[str, Any], path: Path) -> None:
    """Difference to chance with its interval, a panel a crawl."""
    variants = list(dict.fromkeys(row["variant"] for row in result["models"]))
    names = [row["selector"] for row in result["models"] if row["variant"] == variants[0] and row["selector"] != CHANCE]
    order = {(row["variant"], row["selector"]): row for row in result["models"]}
    names.sort(key=lambda name: order[variants[0], name]["like_difference"])
    figure, axes = _figure(9.5, 0.36 * len(names) + 1.6)
    for i, variant in enumerate(variants):
        for y, name in enumerate(names):
            row, at = order[variant, name], y + 0.16 * (1 - 2 * i)
            colour = {"better": GOOD, "worse": BAD}.get(row["verdict"].partition(" ")[0], GREY)
            axes.plot([row["like_low"], row["like_high"]], [at, at], color=colour, lw=2, alpha=0.6)
            marker = "os"[i % 2]
            axes.plot(row["like_difference"], at, marker, color=colour, label=variant if y == 0 else None)
    axes.axvline(0, color=INK, lw=1)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("mean recall less that of a random half with as many stamps; bounds for all selectors together")
    axes.legend(frameon=False, title="crawl", loc="lower right")
    _save(figure, path)


def draw_curve(result: dict[str, Any], path: Path) -> None:
    """Mean recall over kept share; filled dots are not worse than the whole."""
    found = next(iter(result["curves"].values()))
    figure, axes = _figure(9.5, 4.6)
    for i, (name, points) in enumerate(found["points"].items()):
        colour = GREY if name == "random" else COLOURS[i % len(COLOURS)]
        shares = [float(share) for share in points]
        axes.plot(shares, [p["mean"] for p in points.values()], color=colour, lw=2, label=name)
        for share, point in zip(shares, points.values(), strict=True):
            low, high = found["whole"] + point["low"], found["whole"] + point["high"]
            axes.plot([share, share], [low, high], color=colour, lw=1.5, alpha=0.45)
            face = colour if point["not_worse"] else "white"
            axes.plot(share, point["mean"], "o", color=colour, markerfacecolor=face, ms=6.5)
    axes.axhline(found["whole"], color=INK, lw=1)
    axes.axhspan(found["whole"] - result["margin"], found["whole"], color=GREY, alpha=0.15, lw=0)
    _log_ticks(axes, shares, "{:.0%}")
    axes.invert_xaxis()
    axes.set_xlabel("share of the damaged crawl kept, at equal optimizer steps")
    axes.set_ylabel("mean recall, dev")
    axes.legend(frameon=False)
    _save(figure, path)
