"""The model card: what a person should know who finds the folder years later."""

from __future__ import annotations

from pairwright.components.pretrain.settings import DualEncoderSettings
from pairwright.components.training.task import Trained


def model_card(settings: DualEncoderSettings, trained: Trained) -> str:
    """Markdown; the same run gives the same text."""
    history = trained.history
    towers = (
        f"`{settings.tower.reference}`"
        if settings.tower
        else f"image `{settings.image_tower.reference}`, text `{settings.text_tower.reference}`"
    )
    steps = history[-1]["steps"] if history else settings.steps
    losses = [line["loss"] for line in history if "loss" in line]
    loss = f"{losses[-1]:.4f}" if losses else "none"
    skipped = trained.skipped
    objectives = " + ".join(f"{one.weight:g} {one.uses}" if one.weight != 1 else one.uses for one in settings.objective)
    captions = ", ".join(f"{source} {weight:g}" for source, weight in settings.sources.items())
    return f"""# Dual encoder

Pictures and texts into one space of unit vectors; their cosine says how well they fit.

```python
from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder

model = load_dual_encoder("this/folder")
model.encode_text(["a red square"]) @ model.encode_image([picture]).T
```

| | |
|---|---|
| towers | {towers}, {_trained(settings)} |
| trained | {trained.share:.2%} of the parameters |
| objective | {objectives} |
| data | {trained.pairs} pairs of {trained.shards} shards ({trained.excluded} more had no picture or caption) |
| captions | {captions} |
| steps | {steps} of {settings.batch_size} pairs, AdamW, peak lr {settings.lr:g}, seed {settings.seed}\
{f"; {skipped} were not finite and were skipped" if skipped else ""} |
| last loss | {loss} |

It knows what it was shown: short captions of its training set's kind. It was not tested for
fairness or for safety, and its scores are no probabilities.
"""


def _trained(settings: DualEncoderSettings) -> str:
    if settings.trainable == "all":
        return "trained"
    if settings.trainable == "text":
        return "the image tower locked, the text tower trained"
    if settings.trainable == "heads":
        return "locked; only the projections are trained"
    lora = settings.lora
    sides = " and ".join(sorted(set(lora.towers)))
    return (
        f"locked; LoRA of rank {lora.rank} and alpha {lora.alpha:g} in the {sides} tower"
        f"{', and the projections,' if lora.projections else ''} trained; adapters are folded into the weights "
        "and kept in adapter.safetensors, too"
    )
