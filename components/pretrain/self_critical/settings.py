"""Settings of self-critical tuning."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, WithJsonSchema, field_validator, model_validator

from pairwright.components.pretrain.self_critical.guards import Guard
from pairwright.components.settings import Named
from pairwright.components.training.settings import TrainerSettings

Baseline = Literal["greedy", "others", "mean", "none"]
# CLIP Reward's two weightings: in the paper, and in the code its figures were made with (its issue 11).
WEIGHTINGS = {"paper": {"clip_s": 1.0, "grammar": 2.0}, "code": {"clip_s": 2.0, "grammar": 1.0}}


class RewardChoice(Named):
    """A reward and what it counts for; weight 0 leaves it out."""

    kind = "reward"

    weight: float = Field(1.0, ge=0)
    called: str = Field("", description="what it is named by in metrics and checkpoints; else what it uses")

    @property
    def name(self) -> str:
        return self.called or self.uses


REWARD_SCHEMA = {
    "description": "one by name, `{uses, with, weight}`, or a list of such",
    "anyOf": [{"type": "string"}, {"type": "object"}, {"type": "array", "items": {"type": ["string", "object"]}}],
}


class SelfCriticalSettings(TrainerSettings):
    features: str = Field("image_features.vector", description="step.column of vectors the captioner was trained on")
    tell: dict[str, Annotated[int, Field(ge=1)]] = Field(
        {}, description="parts of its prefix that are numbers, told alike of every pair: {control: 8, length: 12}"
    )
    rewards: Annotated[tuple[RewardChoice, ...], WithJsonSchema(REWARD_SCHEMA)] = Field(
        min_length=1, description="what captions are tuned for; their weighted sum is the reward"
    )
    weighting: Literal["paper", "code"] | None = Field(
        None, description="CLIP Reward's weights of clip_s and grammar, as published, instead of `weight`"
    )
    samples: int = Field(5, ge=1, le=64, description="captions drawn of each picture")
    baseline: Baseline = Field(
        "greedy",
        description="taken off a sample's reward: the greedy caption's, the other samples' mean, that of all "
        "before, or nothing",
    )
    kl: float = Field(0.0, ge=0, description="what a nat of KL to the start model costs")
    source: str | None = Field(None, description="captions that greedy ones are held against (the guard rouge_l)")
    stop: dict[Guard, float] = Field(
        {"repetition": 0.5, "kl": 50.0},
        description="guard -> the most it may be (distinct_2 and rouge_l: the least) before the training stops",
    )
    late: int = Field(20, ge=1, description="steps whose mean is held against `stop`")
    looks: int = Field(4, ge=0, le=12, description="times that captions of the same pictures are kept, to be seen")
    shown: int = Field(6, ge=1, le=24, description="pictures whose captions are kept")
    batch_size: int = Field(64, ge=1)
    lr: float = Field(5e-6, gt=0, description="peak learning rate")
    weight_decay: float = Field(0.0, ge=0, description="a reward that says nothing changes nothing")
    schedule: Literal["cosine", "constant", "cyclic"] = Field("constant", description="after the warm-up")

    @field_validator("rewards", mode="before")
    @classmethod
    def _rewards(cls, value: Any) -> Any:
        return value if isinstance(value, (list, tuple)) else [value]

    @model_validator(mode="after")
    def _can_be_tuned(self) -> Self:
        if self.init is None:
            raise ValueError("self_critical starts from a captioner; name one, init: step:captioner")
        if self.parallel == "sharded":
            raise ValueError(
                "captions differ in length from rank to rank, so ranks cannot meet in every layer; "
                "leave out parallel: sharded"
            )
        names = [one.name for one in self.rewards]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f'rewards has two called "{twice}"; give one a name of its own (called: ...)')
        if self.weighting and set(names) != set(WEIGHTINGS[self.weighting]):
            raise ValueError(f"weighting is of the rewards clip_s and grammar; these are {names}")
        if not any(self.weights.values()):
            raise ValueError("rewards needs one of weight above 0")
        return self

    @property
    def weights(self) -> dict[str, float]:
        """What each reward counts for, by name."""
        return WEIGHTINGS[self.weighting] if self.weighting else {one.name: one.weight for one in self.rewards}
