"""What each gate tolerates: the recipe's `gates.raw`, `gates.curated` and `gates.evaluation`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pairwright.components.settings import Settings


class ColumnExpectation(Settings):
    """What a sample of one `step.column` must look like."""

    min: float | None = None
    max: float | None = None
    allowed: list[str | int | float | bool] | None = Field(None, description="the only values it may have")
    mostly: float = Field(1.0, ge=0.0, le=1.0, description="share of the non-null values that must comply")
    max_null_share: float = Field(1.0, ge=0.0, le=1.0)


class GateSettings(Settings):
    """Shared by all gates."""

    severity: dict[str, Literal["critical", "warning"]] = Field(
        default_factory=dict, description="by check name: critical blocks, warning annotates"
    )


class DataGateSettings(GateSettings):
    """Shared by the gates that look at pairs."""

    source: str = Field("alt", description="caption source that is looked at")
    max_failed_share: float = Field(
        0.05, ge=0.0, le=1.0, description="failed and lost pairs, of all; a recipe says `filter.budget`"
    )
    max_null_share: float = Field(0.2, ge=0.0, le=1.0, description="pairs without a caption of `source`; warns")
    max_repeated_share: float = Field(0.5, ge=0.0, le=1.0, description="sampled pairs whose caption recurs; warns")
    columns: dict[str, ColumnExpectation] = Field(default_factory=dict, description="by `step.column`, on a sample")
    sample: int = Field(10_000, ge=1, le=10_000, description="rows drawn for checks of single values")


class RawGateSettings(DataGateSettings):
    """`gates.raw`: is this a dataset worth spending hours on?"""

    min_pairs: int = Field(1, ge=0)
    max_shard_failed_share: float = Field(0.5, ge=0.0, le=1.0, description="in any one shard; warns")
    max_unlicensed_share: float = Field(1.0, ge=0.0, le=1.0, description="pairs without a licence; warns")


class CuratedGateSettings(DataGateSettings):
    """`gates.curated`: is what the rules kept worth training on?"""

    min_kept: int = Field(1, ge=0)
    min_kept_share: float = Field(0.01, ge=0.0, le=1.0)
    max_null_share: float = Field(0.0, ge=0.0, le=1.0, description="kept pairs without a caption of `source`; warns")
    max_rule_share: float = Field(0.9, ge=0.0, le=1.0, description="pairs dropped by any one rule; warns")
    lang: str | None = Field(None, description="language most kept captions must have, e.g. en")
    lang_column: str = Field("language.lang", description="column that says a caption's language")
    min_lang_share: float = Field(0.5, ge=0.0, le=1.0)


class EvaluationGateSettings(GateSettings):
    """`gates.evaluation`: were the models measured properly, and are they any good?"""

    min_items: int = Field(30, ge=1, description="items a metric must be computed over; warns")
    floors: dict[str, float] = Field(default_factory=dict, description="least value by metric name")
    max_interval: float | None = Field(None, gt=0.0, description="widest confidence interval; warns")
