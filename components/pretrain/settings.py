"""Settings of the dual encoder's training."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pairwright.components.settings import ModelFolder, Named, Settings


class ObjectiveChoice(Named):
    kind = "objective"

    uses: str = "clip"


class LoraSettings(Settings):
    """What `trainable: lora` adapts (components/models/lora.py)."""

    rank: int = Field(8, ge=0, le=1024, description="of B A; 0 adapts nothing, which is `heads`")
    alpha: float = Field(16.0, ge=0, description="B A is scaled by alpha / rank; 0 equals the locked tower")
    towers: tuple[Literal["image", "text"], ...] = Field(("image", "text"), min_length=1, description="towers adapted")
    layers: tuple[str, ...] | None = Field(
        None, min_length=1, description="names of linear layers; None: queries and values of every attention"
    )
    projections: bool = Field(True, description="train the projections too, as `heads` does; fresh ones need it")


class DualEncoderSettings(Settings):
    undigested: ClassVar[frozenset[str]] = frozenset({"checkpoint_every", "decode_threads"})

    image_tower: ModelFolder = ModelFolder(reference="builtin:efficientnet-lite0")
    text_tower: ModelFolder = ModelFolder(reference="builtin:minilm")
    tower: ModelFolder | None = Field(
        None, description="a transformers CLIP or SigLIP folder, instead of the two towers; trained from pictures"
    )
    trainable: Literal["heads", "lora", "all"] = Field(
        "heads", description="projections on locked towers, low-rank adapters in them beside, or everything"
    )
    lora: LoraSettings = LoraSettings()
    dim: int = Field(256, ge=2, le=4096, description="width of the shared space (a transformers tower has its own)")
    objective: ObjectiveChoice = ObjectiveChoice()
    steps: int = Field(400, ge=1, description="optimizer steps")
    batch_size: int = Field(256, ge=2, description="pairs a step, over all workers")
    lr: float = Field(1e-3, gt=0, description="peak learning rate")
    warmup_steps: int = Field(40, ge=0)
    weight_decay: float = Field(0.1, ge=0, description="on matrices; biases, norms and the temperature have none")
    clip_norm: float = Field(1.0, gt=0, description="largest gradient norm")
    beta2: float = Field(0.98, gt=0, lt=1)
    seed: int = Field(0, ge=0)
    checkpoint_every: int = Field(100, ge=1, description="optimizer steps between checkpoints")
    captions: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {"alt": 1.0}, description="source -> weight in the caption mix, in the order of fallback"
    )
    image_features: str = Field("image_features.vector", description="column of the locked image tower's features")
    text_features: dict[str, str] = Field(
        {"alt": "text_features.vector"}, description="source -> column of the locked text tower's features"
    )
    decode_threads: int = Field(2, ge=1, description="threads decoding pictures, when a tower is trained")

    @model_validator(mode="after")
    def _sources_have_columns(self) -> Self:
        if not any(self.captions.values()):
            raise ValueError("captions needs a source of weight above 0")
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
        return self.tower is None and (self.trainable == "heads" or adapts_text_alone)

    @property
    def sources(self) -> dict[str, float]:
        """Sources that can be drawn, with their weights."""
        return {source: weight for source, weight in self.captions.items() if weight > 0}
