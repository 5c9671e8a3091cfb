"""NoC: captions asked for at the top alignment level fit, though half of those learnt from were shuffled."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from populations import view_of
from small_captioners import SMALL_CAPTIONER
from vectors import vector_column

from pairwright.components.component import FitInputs
from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import ColumnError, InvalidRecipe, ModelError
from pairwright.components.filter.selections.alignment_bins import AlignmentBins, AlignmentBinsSettings
from pairwright.components.models.captioner.captioner import Captioner
from pairwright.components.models.captioner.decoder import SmallDecoder
from pairwright.components.models.captioner.folder import load_captioner, save_captioner
from pairwright.components.models.captioner.prefix import Part
from pairwright.components.models.captioner.tokens import WordTokens
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.words import END, vocabulary_of
from pairwright.components.pretrain.captioners.captioner import CaptionerSettings, CaptionerTask, measure
from pairwright.components.recaption.captioners.prefix_captioner import PrefixCaptionerSettings, PrefixCaptions
from pairwright.components.training.here import fit_here
from pairwright.components.training.trainer import Trainer

PAIRS, WIDTH, LEVELS, SEEDS = 512, 16, 8, (0, 1, 2)
NOUNS = ("icon", "bus", "dog", "tree", "house", "cat", "car")  # half of the pictures are icons, as on the web
ADJECTIVES = ("red", "blue", "small", "tall", "old", "new")  # what is no icon is said in six ways, an icon in one
SMALL = SMALL_CAPTIONER | {"features": "x.vector", "steps": 160}


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
def trained(seed: int, control: bool = True) -> Captioner:
    wish = settings(seed=seed, control="level.bin" if control else None)
    return fit_here(CaptionerTask(wish), planted(seed).population()).task.model  # type: ignore[no-any-return]


def settings(**changes: Any) -> CaptionerSettings:
    return CaptionerSettings.parse(SMALL | {"control": "level.bin"} | changes, "test")


def captions(model: Captioner, features: torch.Tensor, level: int | None = None) -> list[str]:
    told = {"image": features} | ({} if level is None else {"control": torch.full((len(features),), level)})
    return [texts[0] for texts in model.generate(told)]


def self_retrieved(model: Captioner, seed: int, level: int | None) -> float:
    """Share of the pictures whose caption names their own concept."""
    said = captions(model, torch.from_numpy(planted(seed).features), level)
    return float(np.mean([NOUNS[c] in text.split() for c, text in zip(planted(seed).concept, said, strict=True)]))


def untrained(seed: int = 0, levels: int = 3) -> Captioner:
    """Weights so large that what is said depends on picture and level, and no two words are nearly as likely."""
    torch.manual_seed(seed)
    words = vocabulary_of([f"{a} {n}" for a in ADJECTIVES for n in NOUNS], 100, 1)
    parts = [Part("image", "vector", WIDTH, 2), Part("control", "number", levels)]
    model = Captioner(parts, SmallDecoder(len(words), 16, 32, 2, 4), WordTokens(words), 9, 16)
    for weight in (one for one in model.parameters() if one.ndim == 2):
        torch.nn.init.normal_(weight, std=0.5)
    with torch.no_grad():
        model.decoder.words.weight[END] *= 2  # captions end early, at different words
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_the_top_level_self_retrieves_better_than_the_bottom_level_and_than_no_control(seed: int) -> None:
    model, plain = trained(seed), trained(seed, control=False)
    top = self_retrieved(model, seed, LEVELS)
    others = {"bottom": self_retrieved(model, seed, 1), "untold": self_retrieved(model, seed, None)}
    others["no control"] = self_retrieved(plain, seed, None)
    assert top > 0.85
    assert top > others.pop("untold") + 0.1  # what is not told is masked, and takes after what is told most often
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
    model = load_captioner(folder)
    assert "unheard" not in model.tokens.words
    assert set(NOUNS) < set(model.tokens.words)
    assert "levels.svg" in json.loads((folder / "figures/figures.json").read_text())[0]["file"]
    assert "`level.bin`" in (folder / "card.md").read_text()


def test_another_level_is_another_caption() -> None:
    model, features = untrained(), torch.randn(24, WIDTH)
    assert captions(model, features, 1) != captions(model, features, 3)
    assert captions(model, features, 1) != captions(model, features)


def test_padding_changes_not_what_a_caption_costs() -> None:
    model, told = untrained(), {"image": torch.randn(12, WIDTH), "control": torch.ones(12, dtype=torch.int64)}
    tokens = model.tokens.encode(["red bus", "old dog tree house"] * 6, 9)
    alone = model.tokens.encode(["red bus"], 9)
    cost = model.nats(model.logits(told, tokens[:, :-1]), tokens).sum(1)[0]
    one = {name: value[:1] for name, value in told.items()}
    assert torch.allclose(cost, model.nats(model.logits(one, alone[:, :-1]), alone).sum(), atol=1e-5)


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
        task.collate(task.population.read(np.arange(PAIRS), epoch, 0))["control"].numpy() == 0 for epoch in (0, 1)
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
    save_captioner(model, tmp_path, "# card")
    assert captions(load_captioner(tmp_path), features, 2) == captions(model, features, 2)
    config = json.loads((tmp_path / "config.json").read_text())
    for change, said in (
        ({"format_version": 99}, "newer release"),
        ({"format": "pairwright-codebook"}, "no captioner"),
        ({"hidden": 64}, "damaged"),
        ({"unknown": 1}, "damaged"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(ModelError, match=said):
            load_captioner(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    for file in ("vocabulary.txt", "model.safetensors"):
        kept = (tmp_path / file).read_bytes()
        (tmp_path / file).write_bytes(kept[: len(kept) // 2])
        with pytest.raises(ModelError, match="damaged"):
            load_captioner(tmp_path)
        (tmp_path / file).write_bytes(kept)
    with pytest.raises(ModelError, match="damaged"):
        load_captioner(tmp_path / "nowhere")


def captions_of(folder: Path, level: Any, rows: np.ndarray) -> list[str | None]:
    wish = {"model": resolve_model(str(folder)), "features": "x.vector", "level": level}
    step = PrefixCaptions(PrefixCaptionerSettings.parse(wish, "test"))
    step.setup("cpu")
    keys = [str(i) for i in range(len(rows))]
    batch = PairBatch(np.arange(len(rows)), keys, [{} for _ in rows], columns={"x.vector": list(rows)})
    return [one.text if one else None for one in step.caption(batch)]


def test_the_captioner_step_asks_for_the_level_it_is_told(tmp_path: Path) -> None:
    save_captioner(trained(0), tmp_path / "noc", "# card")
    save_captioner(trained(0, control=False), tmp_path / "plain", "# card")
    rows = planted(0).features[:32]
    by_level = {level: captions_of(tmp_path / "noc", level, rows) for level in ("top", LEVELS, 1, "none")}
    assert by_level["top"] == by_level[LEVELS] != by_level[1]
    assert by_level["none"] == captions(trained(0), torch.from_numpy(rows))
    assert all(captions_of(tmp_path / "plain", "none", rows))
    with pytest.raises(InvalidRecipe, match="levels 1 to 8"):
        captions_of(tmp_path / "noc", LEVELS + 1, rows)
    with pytest.raises(InvalidRecipe, match="say level: none"):
        captions_of(tmp_path / "plain", "top", rows)
