"""NoC: captions asked for at the top alignment level fit, though half of those learnt from were shuffled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from populations import view_of
from vectors import vector_column

from pairwright.components.component import FitInputs
from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import ColumnError, InvalidRecipe, ModelError
from pairwright.components.filter.selections.alignment_bins import AlignmentBins, AlignmentBinsSettings
from pairwright.components.models.prefix_captioner import (
    PrefixCaptioner,
    PrefixShape,
    following,
    load_prefix_captioner,
)
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.words import END, START, text_of, vocabulary_of
from pairwright.components.pretrain.captioner import CaptionerSettings, CaptionerTask, measure
from pairwright.components.recaption.captioners.prefix_captioner import PrefixCaptionerSettings, PrefixCaptions
from pairwright.components.training.here import fit_here
from pairwright.components.training.trainer import Trainer

PAIRS, WIDTH, LEVELS, SEEDS = 512, 16, 8, (0, 1, 2)
NOUNS = ("icon", "bus", "dog", "tree", "house", "cat", "car")  # half of the pictures are icons, as on the web
ADJECTIVES = ("red", "blue", "small", "tall", "old", "new")  # what is no icon is said in six ways, an icon in one
SMALL: dict[str, Any] = {
    "features": "x.vector",
    "width": 32,
    "heads": 2,
    "layers": 1,
    "prefix": 2,
    "max_words": 4,
    "least": 1,
    "steps": 160,
    "batch_size": 64,
    "warmup_steps": 10,
    "lr": 5e-3,
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Tensors so small that threads would wait for each other longer than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Planted:
    """Pictures of concepts, half of whose captions were shuffled among each other, and cosines that tell mostly."""

    features: np.ndarray
    concept: np.ndarray
    captions: list[str]
    cosine: np.ndarray

    @property
    def levels(self) -> np.ndarray:
        return np.clip(self.cosine * LEVELS, 0, LEVELS - 1).astype(np.int64) + 1

    def population(self) -> ArrayPopulation:
        return ArrayPopulation({"x.vector": self.features, "level.bin": self.levels}, {"alt": self.captions})


@cache
def planted(seed: int) -> Planted:
    random = np.random.default_rng(seed)
    concept = np.where(random.random(PAIRS) < 0.5, 0, random.integers(1, len(NOUNS), PAIRS))
    features = random.normal(size=(len(NOUNS), WIDTH))[concept] + 0.3 * random.normal(size=(PAIRS, WIDTH))
    told = concept.copy()
    shuffled = random.permutation(PAIRS)[: PAIRS // 2]
    told[shuffled] = told[random.permutation(shuffled)]
    captions = ["free icon" if c == 0 else f"{random.choice(ADJECTIVES)} {NOUNS[c]}" for c in told]
    cosine = np.where(told == concept, random.uniform(0.4, 1, PAIRS), random.uniform(0, 0.6, PAIRS))
    return Planted(features.astype(np.float32), concept, captions, cosine)


@cache
def trained(seed: int, control: bool = True) -> PrefixCaptioner:
    wish = settings(seed=seed, control="level.bin" if control else None)
    return fit_here(CaptionerTask(wish), planted(seed).population()).task.model  # type: ignore[no-any-return]


def settings(**changes: Any) -> CaptionerSettings:
    return CaptionerSettings.parse(SMALL | {"control": "level.bin"} | changes, "test")


def self_retrieved(model: PrefixCaptioner, seed: int, level: int | None) -> float:
    """Share of the pictures whose caption names their own concept."""
    said = model.generate(torch.from_numpy(planted(seed).features), level)
    return float(np.mean([NOUNS[c] in text.split() for c, text in zip(planted(seed).concept, said, strict=True)]))


def untrained(seed: int = 0, levels: int = 3) -> PrefixCaptioner:
    """Weights so large that what is said depends on picture and level, and no two words are nearly as likely."""
    torch.manual_seed(seed)
    words = vocabulary_of([f"{a} {n}" for a in ADJECTIVES for n in NOUNS], 100, 1)
    model = PrefixCaptioner(PrefixShape(WIDTH, 2, levels, 16, 32, 2, 4, 9), words)
    for weight in (one for one in model.parameters() if one.ndim == 2):
        torch.nn.init.normal_(weight, std=0.5)
    with torch.no_grad():
        model.embed.weight[END] *= 2  # captions end early, at different words
    return model.eval()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_top_level_self_retrieves_better_than_the_bottom_level_and_than_no_control(seed: int) -> None:
    model, plain = trained(seed), trained(seed, control=False)
    top = self_retrieved(model, seed, LEVELS)
    others = {"bottom": self_retrieved(model, seed, 1), "untold": self_retrieved(model, seed, None)}
    others["no control"] = self_retrieved(plain, seed, None)
    assert top > 0.85
    assert all(top > share + 0.15 for share in others.values()), (top, others)


@pytest.mark.parametrize("seed", SEEDS)
def test_another_pairs_level_raises_the_loss(seed: int) -> None:
    found = measure(trained(seed), planted(seed).population(), settings(seed=seed))
    assert found["nats_per_word_shuffled"] > found["nats_per_word"] + 0.02
    assert {f"nats_per_word_level_{level}" for level in range(1, LEVELS + 1)} < found.keys()


def test_without_a_control_nothing_is_said_of_levels() -> None:
    found = measure(trained(0, control=False), planted(0).population(), settings(control=None))
    assert found.keys() == {"nats_per_word", "pairs_measured"}
    assert found["pairs_measured"] == PAIRS


def test_levels_are_eight_bins_uniform_in_cosine_and_train_a_captioner_on_all_but_what_is_held_out(
    tmp_path: Path,
) -> None:
    data = planted(0)
    captions = {str(i): text for i, text in enumerate(data.captions)} | {"7": "unheard"}
    columns = {"x.vector": vector_column(data.features), "align.score": pa.array(data.cosine, pa.float32())}
    level = AlignmentBins(AlignmentBinsSettings(bins=LEVELS)).select(view_of(tmp_path / "bins", columns))
    widths = np.asarray(level["high"]) - np.asarray(level["low"])
    assert np.allclose(widths, np.ptp(data.cosine) / LEVELS, atol=1e-6)
    assert set(level["bin"].to_pylist()) == set(range(1, LEVELS + 1))
    rest = {
        "level.bin": pa.array([None, *level["bin"].to_pylist()[1:]], pa.int8()),  # one pair has no level
        "evaluation_overlap.drop": pa.array([i == 7 for i in range(PAIRS)]),
    }
    view = view_of(tmp_path / "all", columns | rest, shards=2, captions=captions)
    folder = tmp_path / "model"
    found = CaptionerTask(settings(steps=10)).fit(FitInputs(view), folder)
    assert found["pairs_measured"] == PAIRS - 1
    assert "nats_per_word_no_level" in found
    model = load_prefix_captioner(folder)
    assert "unheard" not in model.words
    assert set(NOUNS) < set(model.words)
    assert "levels.svg" in json.loads((folder / "figures/figures.json").read_text())[0]["file"]
    assert "`level.bin`" in (folder / "card.md").read_text()


def test_generation_with_the_cache_says_what_it_says_without() -> None:
    model, features = untrained(), torch.randn(24, WIDTH)
    for level in (None, 1, 3):
        levels = torch.full((24,), level or 0)
        tokens, ended = torch.full((24, 1), START), torch.zeros(24, dtype=torch.bool)
        for _ in range(model.shape.max_words):
            last = following(model.logits(features, levels, tokens)[:, -1], tokens[:, -1])
            tokens = torch.cat([tokens, torch.where(ended, END, last)[:, None]], dim=1)
            ended |= tokens[:, -1] == END
        said = model.generate(features, level)
        assert said == [text_of(row, model.words) for row in tokens.tolist()]
        assert len(set(said)) > 3
    assert model.generate(features, 1) != model.generate(features, 3)


def test_padding_changes_neither_a_caption_nor_what_it_costs() -> None:
    model, features = untrained(), torch.randn(12, WIDTH)
    together = model.generate(features, 2)
    assert together == [model.generate(row[None], 2)[0] for row in features]
    assert len({len(text.split()) for text in together}) > 1
    levels, tokens = torch.ones(12, dtype=torch.int64), model.tokens_of(["red bus", "old dog tree house"] * 6)
    alone = model.tokens_of(["red bus"])
    cost = model.nats(model.logits(features, levels, tokens[:, :-1]), tokens).sum(1)[0]
    own = model.nats(model.logits(features[:1], levels[:1], alone[:, :-1]), alone).sum()
    assert torch.allclose(cost, own, atol=1e-5)


def test_a_run_stopped_in_mid_epoch_ends_with_the_same_weights_bit_for_bit(tmp_path: Path) -> None:
    def run(name: str, stops: tuple[int, ...] = ()) -> dict[str, torch.Tensor]:
        """Eight steps are an epoch; a checkpoint is kept every third step."""
        wish = settings(steps=19, checkpoint_every=3, control_dropout=0.3, micro_batch=24)
        for stop in (*stops, None):

            def report(metrics: dict[str, Any], stop: int | None = stop) -> None:
                if metrics["step"] == stop:
                    raise KeyboardInterrupt

            trainer = Trainer(CaptionerTask(wish), planted(0).population(), checkpoints=tmp_path / name, run="one")
            try:
                trainer.train(report)
            except KeyboardInterrupt:
                continue
        return {key: value.clone() for key, value in trainer.model.state_dict().items()}

    whole, resumed = run("whole"), run("resumed", (5, 11))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_fit_that_was_stopped_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    data = planted(0)
    columns = {"x.vector": vector_column(data.features), "level.bin": pa.array(data.levels, pa.int8())}
    view = view_of(tmp_path, columns, captions={str(i): text for i, text in enumerate(data.captions)})
    inputs = FitInputs(view, extra={"checkpoints": tmp_path / "scratch"})
    steps: list[int] = []

    def until(step: int, _: int, said: str) -> None:
        steps.append(step)
        if step == 7 and len(steps) == 7:
            raise KeyboardInterrupt

    wish = settings(steps=9, checkpoint_every=3)
    with pytest.raises(KeyboardInterrupt):
        CaptionerTask(wish).fit(inputs, tmp_path / "lost", until)
    CaptionerTask(wish).fit(inputs, tmp_path / "found", until)
    assert steps == [1, 2, 3, 4, 5, 6, 7, 7, 8, 9]
    CaptionerTask(wish).fit(FitInputs(view), tmp_path / "whole")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("found", "whole")]
    assert weights[0] == weights[1]


def test_a_share_of_the_pairs_is_told_no_level_and_another_one_each_epoch() -> None:
    task = CaptionerTask(settings(control_dropout=0.25))
    task.population = planted(0).population()
    task.model = task.build()
    dropped = [
        task.collate(task.population.read(np.arange(PAIRS), epoch, 0))["levels"].numpy() == 0 for epoch in (0, 1)
    ]
    assert all(0.18 < share.mean() < 0.32 for share in dropped)
    assert (dropped[0] != dropped[1]).any()


def test_a_level_beyond_those_told_is_an_error_that_names_the_pair() -> None:
    task = CaptionerTask(settings(control_levels=4))
    task.population = planted(0).population()
    task.model = task.build()
    with pytest.raises(ColumnError, match="whole numbers from 1 to 4"):
        task.collate(task.population.read(np.arange(PAIRS), 0, 0))


def test_a_folder_gives_the_captions_back_and_a_damaged_or_newer_one_is_refused(tmp_path: Path) -> None:
    model, features = untrained(), torch.randn(6, WIDTH)
    model.save(tmp_path, "# card")
    assert load_prefix_captioner(tmp_path).generate(features, 2) == model.generate(features, 2)
    config = json.loads((tmp_path / "config.json").read_text())
    for change, said in (
        ({"format_version": 2}, "newer release"),
        ({"format": "pairwright-codebook"}, "no prefix captioner"),
        ({"width": 64}, "damaged"),
        ({"unknown": 1}, "damaged"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(ModelError, match=said):
            load_prefix_captioner(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    for file in ("vocabulary.txt", "model.safetensors"):
        kept = (tmp_path / file).read_bytes()
        (tmp_path / file).write_bytes(kept[: len(kept) // 2])
        with pytest.raises(ModelError, match="damaged"):
            load_prefix_captioner(tmp_path)
        (tmp_path / file).write_bytes(kept)
    with pytest.raises(ModelError, match="damaged"):
        load_prefix_captioner(tmp_path / "nowhere")


def captions_of(folder: Path, level: Any, rows: np.ndarray) -> list[str | None]:
    wish = {"model": resolve_model(str(folder)), "features": "x.vector", "level": level}
    step = PrefixCaptions(PrefixCaptionerSettings.parse(wish, "test"))
    step.setup("cpu")
    keys = [str(i) for i in range(len(rows))]
    batch = PairBatch(np.arange(len(rows)), keys, [{} for _ in rows], columns={"x.vector": list(rows)})
    return [one.text if one else None for one in step.caption(batch)]


def test_the_captioner_step_asks_for_the_level_it_is_told(tmp_path: Path) -> None:
    trained(0).save(tmp_path / "noc", "# card")
    trained(0, control=False).save(tmp_path / "plain", "# card")
    rows = planted(0).features[:32]
    by_level = {level: captions_of(tmp_path / "noc", level, rows) for level in ("top", LEVELS, 1, "none")}
    assert by_level["top"] == by_level[LEVELS] != by_level[1]
    assert by_level["none"] == trained(0).generate(torch.from_numpy(rows))
    assert all(captions_of(tmp_path / "plain", "none", rows))
    with pytest.raises(InvalidRecipe, match="levels 1 to 8"):
        captions_of(tmp_path / "noc", LEVELS + 1, rows)
    with pytest.raises(InvalidRecipe, match="say level: none"):
        captions_of(tmp_path / "plain", "top", rows)
