"""Figures of a tuned captioner: the reward beside its guards by step, and captions of the same pictures by step."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pairwright.components.models.figures import svg_panels
from pairwright.components.pretrain.self_critical.guards import FALLS, GUARDS, Guard

SMOOTHED = 20  # steps, where there are more
SIDE = 64  # pixels of a picture shown
WRAP = 22  # characters of a line of a caption
Figure = tuple[str, str, str, Any]


def guard_figure(history: Sequence[Mapping[str, Any]], limits: Mapping[Guard, float], stopped: str) -> Figure:
    """guards.svg: the reward, and what it does not contain, by step.

    Args:
        stopped: how the training ended, a sentence.
    """
    taken = [line for line in history if "reward" in line]
    names = ["reward", *[name for name in GUARDS if taken and name in taken[0]]]
    figure, panels = svg_panels(len(names), 3)
    steps = [line["step"] for line in taken]
    for axes, name in zip(panels, names, strict=True):
        values = [line[name] for line in taken]
        axes.plot(steps, values, linewidth=0.6, alpha=0.4)
        axes.plot(*smoothed(steps, values), linewidth=1.4, color="C0")
        if name in limits:
            axes.axhline(limits[name], linestyle="--", linewidth=1, color="C3")  # type: ignore[index]
        axes.set_title(f"{name} (good: {'higher' if name == 'reward' or name in FALLS else 'lower'})", fontsize=8)
        axes.tick_params(labelsize=7)
    caption = f"The reward, and quantities it does not contain; dashed: where the training stops. {stopped}"
    return "guards.svg", "Reward and guards by step", caption, figure


def smoothed(steps: Sequence[int], values: Sequence[float]) -> tuple[Sequence[int], np.ndarray]:
    """Means over the last 20 steps, or over a tenth of all where they are fewer than 200."""
    width = max(1, min(SMOOTHED, len(values) // 10))
    sums = np.cumsum(np.r_[0.0, values])
    return steps[width - 1 :], (sums[width:] - sums[:-width]) / width


def look_figure(captions: Mapping[int, Sequence[str]], keys: Sequence[str], pictures: Sequence[Any]) -> Figure:
    """captions.svg: a row a picture, a column a step.

    Args:
        captions: by step, one a picture.
        pictures: RGB uint8 arrays, None where there is none; the pair's key stands there instead.
    """
    figure, panels = svg_panels(len(keys), 1, height=0.75, width=1.2 + 1.5 * len(captions))
    for row, (axes, key, picture) in enumerate(zip(panels, keys, pictures, strict=True)):
        axes.set_axis_off()
        axes.set_xlim(0, 1 + len(captions))
        axes.set_ylim(0, 1)
        if picture is None:
            axes.text(0.5, 0.5, "\n".join(textwrap.wrap(key, 14)[:3]), fontsize=6, ha="center", va="center")
        else:
            inset = axes.inset_axes((0.0, 0.0, 1 / (1 + len(captions)), 1.0))
            inset.imshow(thumbnail(picture))
            inset.set_axis_off()
        for column, (step, said) in enumerate(captions.items(), 1):
            text = "\n".join(textwrap.wrap(said[row], WRAP)[:4]) or "(nothing)"
            axes.text(column + 0.05, 0.5, text, fontsize=6.5, va="center", parse_math=False)
            if row == 0:
                axes.set_title("", fontsize=1)
                axes.text(column + 0.05, 1.0, "start" if step == 0 else f"step {step}", fontsize=7, weight="bold")
    return "captions.svg", "Captions by step", "Greedy captions of the same pictures as the training goes.", figure


def thumbnail(picture: np.ndarray) -> np.ndarray:
    """At most 64 pixels a side."""
    stride = max(1, -(-max(picture.shape[:2]) // SIDE))
    return picture[::stride, ::stride]
