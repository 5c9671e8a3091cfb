"""How a reward is fitted: the settings of the fit `reward`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pairwright.components.settings import ModelFolder, Settings


class RewardSettings(Settings):
    preferences: list[str] = Field(min_length=1, description="columns of judgements (JUDGEMENTS) to fit on")
    accept: list[Literal["human", "silver"]] = Field(
        min_length=1, description="whose judgements are fitted on; those of others are refused and counted"
    )
    held_out: list[str] = Field([], description="columns of judgements for evaluation alone, e.g. the random share")
    kinds: list[str] = Field([], description="criteria or kinds of damage fitted on; all of them if empty")
    image: str = Field("image_features.vector", description="column of the locked image tower's features")
    text_tower: ModelFolder = ModelFolder(reference="builtin:minilm")
    encoder: ModelFolder | None = Field(
        None, description="a public dual encoder, instead of the text tower; `image` then holds its image features"
    )
    hash: str | None = Field(
        None, description="column of PDQ hashes, by which a judged picture is known again when it was re-encoded"
    )
    near: str | None = Field("near_duplicates.group", description="labels of near-duplicates, kept in one fold")
    source: str = Field("alt", description="captions of the crawl, which evidence is fitted on")
    text: str | None = Field(
        None, description="column of the text tower's features of `source`; None: evidence is of the judged pairs alone"
    )
    folds: int = Field(6, ge=3, le=10, description="judges, each fitted without one fold of the groups")
    dim: int = Field(64, ge=2, le=1024, description="of the space in which pictures and captions are aligned")
    steps: int = Field(100, ge=1, description="optimizer steps for each pair of heads")
    batch_size: int = Field(256, ge=2, description="pairs a step of the heads")
    rank: int = Field(8, ge=1, le=256, description="directions of the text's features a judge looks at")
    spreads: list[Annotated[float, Field(ge=0)]] = Field(
        [0.0, 0.1, 0.3, 1.0],
        min_length=1,
        description="prior standard deviations of the weights that people's judgements give a judge, tried by "
        "cross-validation; 0: the evidence alone",
    )
    smoothing: float = Field(0.0, ge=0, lt=0.5, description="share of preferences taken to be mistakes")
    ties: Literal["davidson", "halves"] = Field("davidson", description="model of ties; halves: half a win each way")
    silver_weight: float = Field(1.0, ge=0, description="weight of a silver judgement where a human's has 1")
    curve: list[float] = Field(
        [0.1, 0.3, 1.0],
        description="shares of people's labels, for the learning curve; of all of them it has a point anyway",
    )
    seed: int = Field(0, ge=0)
