"""What captions cost at each alignment level, as a picture of the captioner's own folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def draw_levels(measured: Mapping[str, float], folder: Path) -> None:
    """figures/levels.svg: what a word costs at each level."""
    from pairwright.components.models.figures import save_figures, svg_axes

    prefix = "nats_per_word_level_"
    levels = sorted(int(name.removeprefix(prefix)) for name in measured if name.startswith(prefix))
    figure, axes = svg_axes("alignment level", "nats a word")
    axes.bar([str(level) for level in levels], [measured[f"{prefix}{level}"] for level in levels], alpha=0.6)
    axes.axhline(measured["nats_per_word"], linewidth=1)
    axes.axhline(measured["nats_per_word_shuffled"], linestyle="--", linewidth=1)
    caption = (
        f"A word costs {measured['nats_per_word']:.2f} nats (line), {measured['nats_per_word_shuffled']:.2f} where "
        "each pair is told another's level (dashed). Pairs it was trained on."
    )
    save_figures(folder, [("levels.svg", "What captions cost at each level", caption, figure)])
