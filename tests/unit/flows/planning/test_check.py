"""A recipe that cannot run on this data is refused in one line, in a second, with nothing written; `explain` alike."""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from labelling import answered_folder
from shapes import shapes_dataset
from tiny import tiny_recipe

from pairwright.components.component import Benchmark
from pairwright.components.dataset.dataset import Dataset, open_dataset
from pairwright.components.environment import Environment
from pairwright.components.errors import InvalidRecipe, PairwrightError
from pairwright.components.recipe import Recipe
from pairwright.components.registry import benchmark
from pairwright.components.settings import Settings
from pairwright.flows.planning.check import check_recipe
from pairwright.flows.recipes import load_recipe, recipe_names
from pairwright.flows.running.run import open_run

pytestmark = pytest.mark.platform
SILVER = {"uses": "silver_preferences", "with": {"trusted": {"category": "circle"}, "near": None}}
FITTED = {"preferences": ["silver.judgements"], "near": None, "text_tower": "builtin:tiny-text"}
REWARD = {"uses": "reward", "with": FITTED | {"accept": ["silver"]}}


@benchmark("captions_asked_in_check_test")
class CaptionsAsked(Benchmark[Settings]):
    """A benchmark that asks for what no dual encoder is."""

    protocol = "captioner"


@benchmark("painter_asked_in_check_test")
class PainterAsked(Benchmark[Settings]):
    """A benchmark that asks for what nothing is."""

    protocol = "captoner"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("check")
    shapes_dataset(root / "data", 24, 2, name="raw")
    for number, name in enumerate(("dev", "test"), start=1):
        shapes_dataset(root / "data", 12, 1, name=name, start=10_000 * number, wording=number)
    answered_folder(root / "few", open_dataset(str(root / "data" / "raw")), 5)
    answered_folder(root / "foreign", shapes_dataset(root, 24, 1, name="foreign_data", start=500), 20)
    return root


def said(place: Path, changes: dict[str, Any]) -> dict[str, Any]:
    """The tiny recipe with values set at dotted paths; None removes. PLACE in a text is the folder."""
    recipe = copy.deepcopy(tiny_recipe(place / "data"))
    for path, value in changes.items():
        *parents, last = path.split(".")
        inner = recipe
        for parent in parents:
            inner = inner.setdefault(parent, {})
        if value is None:
            del inner[last]
        else:
            inner[last] = value
    text = yaml.safe_dump(recipe, sort_keys=False).replace("PLACE", str(place))
    whole: dict[str, Any] = yaml.safe_load(text)
    return whole


# what is changed, and what the one line says
BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "a benchmark of what the trained model is not": (
        {"evaluate.benchmarks": {"captions": "captions_asked_in_check_test"}, "release": None},
        "benchmark captions asks for a captioner, and what pretrain.uses dual_encoder makes is dual_encoder",
    ),
    "a benchmark of an unknown protocol": (
        {"evaluate.benchmarks": {"captions": "painter_asked_in_check_test"}, "release": None},
        'benchmark captions asks for a "captoner"; did you mean "captioner"?',
    ),
    "a rule on what only recaption makes": (
        {"filter.keep.colourful": "colours.names IS NOT NULL"},
        'keep.colourful reads "colours.names", which recaption makes only after the rules; move the step colours',
    ),
    "silver of labels the data has not": (
        {"filter.select.silver": SILVER | {"with": {"trusted": {"collection": "stamps"}, "near": None}}},
        'step silver: no pair of raw has the label "collection"; known: category, colour',
    ),
    "silver of a value the label has not": (
        {"filter.select.silver": SILVER | {"with": {"trusted": {"category": "cirle"}, "near": None}}},
        'no pair of raw is labelled category: cirle; did you mean "circle"?',
    ),
    "a reward that accepts nothing it reads": (
        {
            "filter.select.silver": SILVER,
            "filter.fit": {"reward": REWARD | {"with": FITTED | {"accept": ["human"]}}},
        },
        "step reward accepts human judgements, but silver.judgements hold silver ones",
    ),
    "labels of another dataset": (
        {"filter.select.labels": {"uses": "labels", "with": {"folder": "PLACE/foreign"}}},
        "is of a pair of raw; label this dataset, or run on the one that was labelled",
    ),
    "labels of too few pictures": (
        {"filter.select.silver": SILVER, "filter.fit": {"reward": REWARD}, "labels": "PLACE/few"},
        "is fitted in 6 folds and needs labels of 12 pictures, 4 are labelled for fitting",
    ),
    "labels that nothing learns from": ({"labels": "PLACE/few"}, "nothing in it learns from them"),
    "labels that are not there": (
        {"filter.select.silver": SILVER, "filter.fit": {"reward": REWARD}, "labels": "PLACE/gone"},
        "gone",
    ),
    "the budget said twice": (
        {"filter.budget": 0.1, "gates": {"raw": {"max_failed_share": 0.2}}},
        "filter.budget is 0.1 and gates.raw.max_failed_share 0.2; say it once, in filter.budget",
    ),
    "the budget said in the gate alone": (
        {"gates": {"curated": {"max_failed_share": 0.2}}},
        "filter.budget is 0.05 and gates.curated.max_failed_share 0.2",
    ),
    "a raw gate on a score": (
        {"gates": {"raw": {"columns": {"pdq.quality": {"min": 1}}}}},
        'gates.raw.columns names "pdq.quality", but nothing is scored before that gate',
    ),
    "a curated gate on a caption made later": (
        {"gates": {"curated": {"columns": {"colours.names": {"max_null_share": 0.1}}}}},
        'gates.curated reads "colours.names", which no step of the filter makes',
    ),
    "a gate on a language nobody tells": (
        {"gates": {"curated": {"lang": "en", "lang_column": "languages.lang"}}},
        'gates.curated reads "languages.lang", which no step of the filter makes; did you mean "language.lang"?',
    ),
    "a floor of no benchmark": (
        {"gates": {"evaluation": {"floors": {"dev.retreival.t2i_r5": 0.1}}}},
        'is "retreival.t2i_r5", but no benchmark is called "retreival"; did you mean "retrieval"?',
    ),
    "a floor of no split": (
        {"gates": {"evaluation": {"floors": {"retrieval.t2i_r5": 0.1}}}},
        "write SPLIT.BENCHMARK.METRIC",
    ),
    "promotion by no benchmark": (
        {"release.promote.metric": "zeroshot.accuracy"},
        'promote.metric is "zeroshot.accuracy", but no benchmark is called "zeroshot"; did you mean "zero_shot"?',
    ),
    "a benchmark of a label the split has not": (
        {"evaluate.benchmarks.zero_shot": {"uses": "zero_shot", "with": {"label": "categry"}}},
        'benchmark zero_shot on dev: no pair of dev has the label "categry"; did you mean "category"?',
    ),
    "a benchmark of a caption the split has not": (
        {"evaluate.benchmarks.retrieval": {"uses": "retrieval", "with": {"source": "keyword"}}},
        'benchmark retrieval on dev: no pair of dev has a caption "keyword"; did you mean "keywords"?',
    ),
    "a caption source no pair has": (
        {"filter.score.caption_text": {"uses": "caption_text", "with": {"source": "description"}}},
        'step caption_text: no pair of raw has a caption "description"; known: alt, keywords',
    ),
    "training on a caption source no pair has": (
        {
            "pretrain.with.captions": {"titel": 1.0},
            "pretrain.with.text_features": {"titel": "text_features.vector"},
        },
        'pretrain: no pair of raw has a caption "titel"',
    ),
    "no benchmark": ({"evaluate.benchmarks": {}, "release": None}, "evaluate.benchmarks is empty"),
    "nothing to evaluate": ({"pretrain": None, "release": None}, "evaluate has nothing to evaluate"),
    "a release of nothing": (
        {"pretrain": None, "evaluate": None},
        "release needs the sections pretrain, or train, and evaluate",
    ),
    "a seed twice": ({"pretrain.seeds": [0, 1, 0]}, '"pretrain.seeds" is [0, 1, 0]: Value error, 0 stands there twice'),
    "no seed": ({"pretrain.seeds": []}, '"pretrain.seeds" is []'),
    "an arm twice": ({"evaluate.ablation": ["raw", "curated", "raw"]}, "raw stands there twice"),
    "an arm that is none": ({"evaluate.ablation": ["curated", "rand"]}, 'names "rand"'),
    "a share twice": (
        {"evaluate.compression": {"order": "pdq.quality", "shares": [0.5, 0.5]}},
        "0.5 stands there twice",
    ),
    "dev is test": ({"evaluate.test": "PLACE/data/dev"}, "evaluate.test (PLACE/data/dev) has shards of evaluate.dev"),
    "dev is trained on": ({"evaluate.dev": "PLACE/data/raw"}, "has shards of the training data"),
    "a split that is not there": ({"evaluate.dev": "PLACE/data/dve"}, "is not a dataset"),
    "a frozen threshold of no rule": (
        {"filter.frozen": {"sharp": {"quantile(pdq.quality, 0.05)": 3.0}}},
        'filter.frozen names "sharp", no keep-rule; known: described, held_out',
    ),
    "a model that is not there": ({"pretrain.with.image_tower": "PLACE/models/none"}, "none"),
    "a text model without an address": (
        {"recaption.fused": {"uses": "fuse", "with": {"text_model": {"uses": "openai", "model": "m"}}}},
        "url",
    ),
}


def refusal(place: Path, changes: dict[str, Any], workspace: Path) -> str:
    """What planning says of the recipe with these changes."""
    raw = open_dataset(str(place / "data" / "raw"))

    def plan() -> None:
        recipe = Recipe.parse(said(place, changes), "mine.yaml")
        environment = Environment.load(workspace=str(workspace))
        with open_run(recipe, environment, raw, flow="pipeline", quiet=True) as run:
            check_recipe(run)

    with pytest.raises(PairwrightError) as error:
        plan()
    return str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize(("changes", "line"), BROKEN.values(), ids=BROKEN.keys())
def test_it_is_refused_in_one_line_with_nothing_written(
    changes: dict[str, Any], line: str, place: Path, tmp_path: Path
) -> None:
    found = refusal(place, changes, tmp_path / "ws")
    assert line.replace("PLACE", str(place)) in found
    assert "\n" not in found
    assert not (tmp_path / "ws").exists()


def test_planning_takes_less_than_a_second_of_work(place: Path, tmp_path: Path) -> None:
    changes, _ = BROKEN["dev is trained on"]  # found last of all
    refusal(place, changes, tmp_path)  # imports
    started = time.process_time()
    refusal(place, changes, tmp_path)
    assert time.process_time() - started < 1


def test_the_unbroken_recipe_is_not_refused_and_its_budget_is_the_gates_too(place: Path, tmp_path: Path) -> None:
    from pairwright.flows.stages.gates import _settings

    raw = open_dataset(str(place / "data" / "raw"))
    recipe = Recipe.parse(said(place, {"filter.budget": 0.3, "gates": {"raw": {"max_failed_share": 0.3}}}), "mine.yaml")
    with open_run(recipe, Environment.load(workspace=str(tmp_path)), raw, flow="pipeline", quiet=True) as run:
        assert [rule.name for rule in check_recipe(run)] == ["held_out", *recipe.filter.keep]
        assert _settings(run, "raw", {}).max_failed_share == _settings(run, "curated", {}).max_failed_share == 0.3


def test_explain_refuses_what_run_refuses(place: Path) -> None:
    from pairwright.flows.commands.explain import command

    path = place / "broken.yaml"
    for name in ("a rule on what only recaption makes", "the budget said twice", "labels that nothing learns from"):
        changes, line = BROKEN[name]
        path.write_text(yaml.safe_dump(said(place, changes)))
        done = CliRunner().invoke(command, [str(path), "--workspace", str(place / "nowhere")])
        assert isinstance(done.exception, InvalidRecipe)
        assert line in str(done.exception)
    assert not (place / "nowhere").exists()


@pytest.mark.slow
def test_compress_and_align_on_data_without_its_labels_is_refused(place: Path, tmp_path: Path) -> None:
    recipe = load_recipe("compress_and_align")
    evaluate = recipe.evaluate.model_copy(update={n: str(place / "data" / n) for n in ("dev", "test")})
    recipe = recipe.model_copy(update={"evaluate": evaluate})
    mine = open_dataset(str(place / "data" / "raw"))
    with (
        open_run(recipe, Environment.load(workspace=str(tmp_path)), mine, flow="pipeline", quiet=True) as run,
        pytest.raises(InvalidRecipe, match='step silver: no pair of raw has the label "collection"'),
    ):
        check_recipe(run)


@pytest.mark.slow
@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_passes_on_data_that_has_what_it_names(name: str, place: Path, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    raw = shaped_like_the_corpus(tmp_path)
    if recipe.evaluate is not None:
        splits = {n: shaped_like_the_corpus(tmp_path / n, at).root for at, n in enumerate(("dev", "test"), 1)}
        elsewhere = ("against", "train", "pairs")  # name datasets that are not here
        benchmarks = {k: s for k, s in recipe.evaluate.benchmarks.items() if not s.with_.keys() & elsewhere}
        recipe = recipe.model_copy(
            update={"evaluate": recipe.evaluate.model_copy(update=splits | {"benchmarks": benchmarks})}
        )
    with open_run(recipe, Environment.load(workspace=str(tmp_path / "ws")), raw, flow="pipeline", quiet=True) as run:
        assert check_recipe(run) is not None


def shaped_like_the_corpus(root: Path, part: int = 0) -> Dataset:
    """Four pairs, others in each part, with every caption source and label that a shipped recipe names."""
    from shapes import encoded

    from pairwright.components.dataset.shards.sidecar import caption
    from pairwright.components.dataset.shards.writer import ShardWriter

    sources = ["alt", "description", "title", "file_name", "keywords", "paraphrase", "negative", "modification"]
    sources += ["paragraph"]
    languages = ("de", "es", "fr", "ja", "zh")
    with ShardWriter(str(root / "corpus"), "corpus") as writer:
        for number in range(4 * part, 4 * part + 4):
            captions = [caption(f"{source} {number}", source=source, lang="en") for source in sources]
            captions += [caption(f"{lang} {number}", source="translation", lang=lang) for lang in languages]
            labels = [("collection", "tuxpaint-stamps-default"), ("style", f"s{number % 2}")]
            names = ("category", "group", "subgroup", "concept", "reference", "subject", "subject_colour")
            labels += [(name, f"{name}{number}") for name in names]
            writer.add(str(number), [("image", "image", "jpg", encoded(number))], captions, labels)
    return writer.dataset
