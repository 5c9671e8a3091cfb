"""Settings of the dual encoder's training."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, WithJsonSchema, field_validator, model_validator

from pairwright.components.dataset.captions.caption_mix import Mix, cycle_of
from pairwright.components.settings import ModelFolder, Named, Settings
from pairwright.components.training.settings import TrainerSettings


class ObjectiveChoice(Named):
    """An objective and what its loss counts for; weight 0 leaves it out."""

    kind = "objective"

    uses: str = "clip"
    weight: float = Field(1.0, ge=0)
    called: str = Field("", description="what its losses and modules are named by; else what it uses")

    @property
    def name(self) -> str:
        return self.called or self.uses


OBJECTIVE_SCHEMA = {
    "description": "one by name, `{uses, with}`, or weights by name: {clip: 1, grouping: 0.5}",
    "anyOf": [{"type": "string"}, {"type": "object"}, {"type": "array", "items": {"type": ["string", "object"]}}],
}


class LoraSettings(Settings):
    """What `trainable: lora` adapts (components/models/lora.py)."""

    rank: int = Field(8, ge=0, le=1024, description="of B A; 0 adapts nothing, which is `heads`")
    alpha: float = Field(16.0, ge=0, description="B A is scaled by alpha / rank; 0 equals the locked tower")
    towers: tuple[Literal["image", "text"], ...] = Field(("image", "text"), min_length=1, description="towers adapted")
    layers: tuple[str, ...] | None = Field(
        None, min_length=1, description="names of linear layers; None: queries and values of every attention"
    )
    projections: bool = Field(True, description="train the projections too, as `heads` does; fresh ones need it")


class DualEncoderSettings(TrainerSettings):
    knows_classes: ClassVar[bool] = False  # whether the task's batches say the `classes` of pairs

    image_tower: ModelFolder = ModelFolder(reference="builtin:efficientnet-lite0")
    text_tower: ModelFolder = ModelFolder(reference="builtin:minilm")
    tower: ModelFolder | None = Field(
        None, description="a transformers CLIP or SigLIP folder, instead of the two towers; trained from pictures"
    )
    trainable: Literal["heads", "lora", "text", "all"] = Field(
        "heads",
        description="projections on locked towers, low-rank adapters in them beside, the text tower (locked-image "
        "tuning, from columns of picture features), or everything",
    )
    lora: LoraSettings = LoraSettings()
    dim: int = Field(256, ge=2, le=4096, description="width of the shared space (a transformers tower has its own)")
    objective: Annotated[tuple[ObjectiveChoice, ...], WithJsonSchema(OBJECTIVE_SCHEMA)] = Field(
        (ObjectiveChoice(),), min_length=1, description="one by name, or several: {clip: 1, grouping: 0.5}"
    )
    batch_size: int = Field(256, ge=2, description="pairs a step, over all workers")
    captions: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {"alt": 1.0}, description="source -> weight in the caption mix, in the order of fallback"
    )
    mix: Mix = Field(
        "draw",
        description="a pair's caption is drawn by these weights each epoch (VeCLIP), or taken by turns, so that they "
        "hold exactly: of every pair over the epochs, and in every epoch over the pairs",
    )
    image_features: str = Field("image_features.vector", description="column of the locked image tower's features")
    patch_features: str | None = Field(
        None, description="column of the locked image tower's patches, for objectives that look at them"
    )
    text_features: dict[str, str] = Field(
        {"alt": "text_features.vector"}, description="source -> column of the locked text tower's features"
    )
    crop: bool = Field(False, description="pictures cropped at random, where the image tower is trained")
    flip: bool = Field(False, description="pictures mirrored at random, where the image tower is trained")

    @field_validator("objective", mode="before")
    @classmethod
    def _objectives(cls, value: Any) -> Any:
        """A name, `{uses, with}`, a list of such, or a weight by name."""
        if isinstance(value, dict) and "uses" not in value:
            return [
                {"uses": name, **(said if isinstance(said, dict) else {"weight": said})} for name, said in value.items()
            ]
        return value if isinstance(value, (list, tuple)) else [value]

    @model_validator(mode="after")
    def _sources_have_columns(self) -> Self:
        if self.trainable == "text" and self.tower is not None:
            raise ValueError("trainable: text is of two towers, and `tower` names a whole model; say all")
        if not any(self.captions.values()):
            raise ValueError("captions needs a source of weight above 0")
        if self.mix == "cycle":
            cycle_of(self.sources)
        if not any(one.weight for one in self.objective):
            raise ValueError("objective needs one of weight above 0")
        names = [one.name for one in self.objective]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f'objective has two called "{twice}"; give one a name of its own (called: ...)')
        for source, weight in self.captions.items():
            if weight > 0 and self.from_features and source not in self.text_features:
                raise ValueError(
                    f'captions names "{source}", text_features does not; add text_features: {{{source}: STEP.vector}}'
                )
        return self

    @property
    def from_features(self) -> bool:
        """Whether training reads cached features and opens no picture."""
        return self.trainable == "heads" and self.tower is None

    @property
    def image_from_features(self) -> bool:
        """Whether pictures are cached features of a locked tower, whatever captions are."""
        adapts_text_alone = self.trainable == "lora" and "image" not in self.lora.towers
        return self.tower is None and (self.trainable in ("heads", "text") or adapts_text_alone)

    @property
    def sources(self) -> dict[str, float]:
        """Sources that can be drawn, with their weights."""
        return {source: weight for source, weight in self.captions.items() if weight > 0}
