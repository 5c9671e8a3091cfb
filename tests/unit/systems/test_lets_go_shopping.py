"""Row 10, whole: pages with planted defects go in, and the recipe's own rules name each defect for what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.ingest import ingest
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns, to_arrow
from pairwright.components.dataset.shards.scan import ColumnJob, ScanTask
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.dataset.sources.demo_shop import DEFECTS, LEFT_OUT, DemoShopOptions, write_shop
from pairwright.components.errors import DatasetError
from pairwright.components.filter.rules.expression import Rule
from pairwright.components.filter.rules.rules import Selected, apply_rules
from pairwright.components.recipe import Recipe
from pairwright.components.registry import component_class
from pairwright.flows.recipes import load_recipe

THINGS = ["teapot", "lamp", "chair", "boat", "clock", "basket", "drum", "kettle", "violin", "helmet"]
COLOURS = ["red", "blue", "green", "yellow", "brown", "white"]
SIDE = 224  # pixels
PLACES = ["on the table", "in the garden", "near the window", "under the old bridge"]
LEARNED = ("image_features", "text_features")  # steps that no keep-rule reads


def thing(number: int) -> bytes:
    """A centred object with a texture of its own on white ground."""
    random = np.random.default_rng(number)
    texture = cv2.resize(random.integers(0, 256, (7, 7, 3), dtype=np.uint8), (SIDE, SIDE))
    mask = np.zeros((SIDE, SIDE), np.uint8)
    axes = tuple(int(one) for one in random.integers(55, 90, 2))
    cv2.ellipse(mask, (SIDE // 2, SIDE // 2), axes, float(random.integers(0, 180)), 0, 360, 1, -1)
    image = np.where(mask[..., None] > 0, texture, np.uint8(255))
    return cv2.imencode(".png", image)[1].tobytes()


def stamps(root: Path, n: int) -> Dataset:
    with ShardWriter(str(root), "stamps") as writer:
        for number in range(n):
            name, colour = THINGS[number % 10], COLOURS[number // 10 % 6]
            place = PLACES[number // 60 % 4]
            writer.add(
                f"stamp-household-{colour}-{name}_{number}",
                [("image", "image", "png", thing(number))],
                [
                    caption(f"A {colour} {name} is standing {place}, and the light falls on its number {number}."),
                    caption(
                        f"Dieser Gegenstand steht schon lange in unserer Wohnung, Nummer {number}.",
                        "translation",
                        lang="de",
                    ),
                ],
                [("category", LEFT_OUT[0] if number == n - 1 else "household")],
                licence="CC0-1.0",
                author="nobody",
            )
    return writer.dataset


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, dict[str, str], Path]:
    root = tmp_path_factory.mktemp("shop")
    corpus = stamps(root / "corpus", 181)
    dataset = ingest("demo-shop", corpus.root, str(root / "shop"), defect_share=0.5)
    truth = json.loads((root / "shop/pages/truth.json").read_text())
    return dataset, truth, root


def judged(dataset: Dataset, recipe: Recipe, root: Path) -> Selected:
    """The recipe's own scorers, selections and keep-rules over a dataset."""
    store = ColumnStore(str(root / "columns"))
    score = {name: step for name, step in recipe.filter.score.items() if name not in LEARNED}
    jobs = [
        ColumnJob(name, "scorer", step.uses, dict(step.with_), StepColumns(step.uses, name))
        for name, step in score.items()
    ]
    task = ScanTask(jobs, store.root)
    task.setup()
    for shard in dataset.shards:
        task.run(shard)
    steps = {job.step: job.columns for job in jobs}
    for name, step in recipe.filter.select.items():
        cls: Any = component_class("selection", step.uses)
        component = cls(cls.settings_model().parse(step.with_, name))
        made = component.select(ColumnsView(dataset, store, steps))
        steps[name] = StepColumns(step.uses, name)
        start = 0
        for shard in dataset.shards:
            part = {n: to_arrow(made[n], kind).slice(start, shard.rows) for n, kind in component.schema().items()}
            store.write(steps[name], shard.digest, part, shard.rows)
            start += shard.rows
    rules = [Rule(name, text) for name, text in recipe.filter.keep.items()]
    return apply_rules(ColumnsView(dataset, store, steps), rules)


@pytest.mark.slow
def test_every_planted_defect_is_rejected_with_the_right_reason_and_every_good_page_kept(
    shop: tuple[Dataset, dict[str, str], Path],
) -> None:
    dataset, truth, root = shop
    selected = judged(dataset, load_recipe("lets_go_shopping"), root)
    reason = {
        row["key"]: row["rule"] or (row["detail"] or "").partition(":")[0] if row["status"] != "kept" else "kept"
        for row in selected.verdicts.to_pylist()
    }
    assert reason.keys() == truth.keys()
    assert set(truth.values()) == {"", *DEFECTS}  # every defect is there
    for page, defect in truth.items():
        copies = {page, f"{page}-original"}
        if page.endswith("-original"):
            continue
        if defect in ("same_picture", "resized_picture"):
            assert {reason[one] for one in copies} == {"kept", DEFECTS[defect]}, (page, defect)
        else:
            assert reason[page] == (DEFECTS[defect] if defect else "kept"), (page, defect)
    selected.ledger.check()
    assert selected.ledger.kept == sum(not defect for defect in truth.values())


def test_a_rule_left_out_of_the_recipe_lets_its_own_defect_through_and_no_other(
    shop: tuple[Dataset, dict[str, str], Path],
) -> None:
    dataset, truth, root = shop
    recipe = load_recipe("lets_go_shopping")
    keep = {name: text for name, text in recipe.filter.keep.items() if name != "fluent"}
    lenient = recipe.model_copy(update={"filter": recipe.filter.model_copy(update={"keep": keep})})
    kept = set(judged(dataset, lenient, root).kept["key"].to_pylist())
    strict = set(judged(dataset, recipe, root).kept["key"].to_pylist())
    assert {truth[key] for key in kept - strict} == {"keywords"}
    assert len(kept - strict) == sum(defect == "keywords" for defect in truth.values())


def test_the_exact_triple_comes_through_every_form_of_markup(shop: tuple[Dataset, dict[str, str], Path]) -> None:
    dataset, truth, root = shop
    forms = set()
    originals = {row["key"]: row for _, table in _corpus(root).iter_sidecars() for row in table.to_pylist()}
    texts = {row["captions"][0]["text"]: key for key, row in originals.items()}
    for shard, table in dataset.iter_sidecars():
        for row in table.to_pylist():
            if truth[row["key"]]:
                continue
            said = {one["source"]: one["text"] for one in row["captions"]}
            key = texts[said["description"]]
            number = int(key.rpartition("_")[2])
            assert said["title"] == f"{THINGS[number % 10].capitalize()} {number}"
            assert shard.read_member(row["media"][0]) == thing(number)
            assert row["origin"] == f"https://made-shop.example/{row['key']}"
            assert row["licence"] == "CC0-1.0"
            forms.add(next(label["value"] for label in row["labels"] if label["name"] == "markup"))
    assert forms == {"json-ld", "microdata", "opengraph"}


def _corpus(root: Path) -> Dataset:
    from pairwright.components.dataset.dataset import open_dataset

    return open_dataset(str(root / "corpus"))


def test_the_shop_is_the_same_shop_every_time_and_tells_nothing_of_its_defects(tmp_path: Path) -> None:
    corpus = stamps(tmp_path / "corpus", 40)
    options = DemoShopOptions(defect_share=0.5)
    first = write_shop(corpus, tmp_path / "a", options)
    second = write_shop(corpus, tmp_path / "b", options)
    assert first == second
    for path in sorted((tmp_path / "a").rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
    pages = "".join(path.read_text() for path in (tmp_path / "a").glob("*.html"))
    assert not any(defect in pages for defect in DEFECTS)
    assert "symbols" not in pages  # letters and coins are left out
    assert write_shop(corpus, tmp_path / "a", DemoShopOptions(seed=1, defect_share=0.5)) != first
    assert set(write_shop(corpus, tmp_path / "a", DemoShopOptions(defect_share=0)).values()) == {""}


def test_a_corpus_without_stamps_is_one_clear_line(tmp_path: Path) -> None:
    with ShardWriter(str(tmp_path / "none"), "none") as writer:
        writer.add("clipart-1", captions=[caption("x")])
    with pytest.raises(DatasetError, match="holds no stamps"):
        ingest("demo-shop", str(tmp_path / "none"), str(tmp_path / "shop"))
