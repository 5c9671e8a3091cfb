"""docs/evaluate.md: its commands read sets in their published layouts, its benchmarks and its Python run as written."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from oracles import Reader
from shapes import caption_text, encoded, facts_of

from pairwright.components.dataset.dataset import open_dataset
from pairwright.components.registry import component_class, summaries
from pairwright.components.settings import Named
from pairwright.flows.cli import pairwright

pytestmark = pytest.mark.platform
PAGE = (Path(__file__).parents[3] / "docs" / "evaluate.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with each public set in its own layout, small and of shapes."""
    root = tmp_path_factory.mktemp("page")
    images = []
    for number in range(12):
        put(root / "flickr30k" / "flickr30k-images" / f"{number}.jpg", encoded(number))
        sentences = [{"raw": caption_text(number, wording), "imgid": number} for wording in range(3)]
        images.append({"filename": f"{number}.jpg", "split": "test" if number < 8 else "train", "sentences": sentences})
    (root / "flickr30k" / "dataset_flickr30k.json").write_text(json.dumps({"images": images, "dataset": "flickr30k"}))
    names = {"n01": "red", "n02": "green", "n03": "blue", "n04": "yellow"}
    (root / "imagenet").mkdir()
    (root / "imagenet" / "LOC_synset_mapping.txt").write_text("".join(f"{k} {v}, a colour\n" for k, v in names.items()))
    for number in range(16):
        wnid = next(k for k, v in names.items() if v == facts_of(number)[0])
        put(root / "imagenet" / "val" / wnid / f"{number}.JPEG", encoded(number))
    examples = []
    for number in range(0, 8, 2):
        pair = (number, number + 1)  # neighbours differ in every fact
        for i, one in enumerate(pair):
            put(root / "winoground" / "images" / f"ex_{number}_img_{i}.png", encoded(one, form="PNG"))
        said = {f"caption_{i}": caption_text(one) for i, one in enumerate(pair)}
        examples.append({"id": number, "image_0": f"ex_{number}_img_0", "image_1": f"ex_{number}_img_1"} | said)
    (root / "winoground" / "examples.jsonl").write_text("\n".join(map(json.dumps, examples)))
    put(
        root / "sts" / "sts-test.tsv",
        b"sentence1\tsentence2\tscore\nred left\tred left thing\t5\nred left\tred top\t3\nred left\tblue top\t0\n",
    )
    return root


def test_commands_python_and_benchmarks_of_the_page_run_on_fixtures_in_the_same_layouts(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    for command in re.findall(r"^\$ pairwright (.+)$", "\n".join(blocks("console")), re.MULTILINE):
        done = CliRunner().invoke(pairwright, shlex.split(command))
        assert done.exit_code == 0, done.output
    assert {name: open_dataset(f"sets/{name}").rows for name in ("flickr30k", "imagenet", "winoground", "sts")} == {
        "flickr30k": 8, "imagenet": 16, "winoground": 8, "sts": 3,
    }  # fmt: skip
    (python,) = blocks("python")
    exec(compile(python, "docs/evaluate.md", "exec"), {"model": Reader()})
    said = capsys.readouterr().out
    assert "accuracy 1.0 1.0 1.0 16 ('a photo of a {}.',)" in said
    assert "'group_score': 1.0" in said
    recipe = yaml.safe_load(blocks("yaml")[1])["evaluate"]
    for spec in recipe["benchmarks"].values():
        named = Named.model_validate(spec)
        component = component_class("benchmark", named.uses)
        settings = component.settings_model().parse(named.with_, "docs/evaluate.md")
        found = {m.name: m for m in component(settings).evaluate(Reader(), open_dataset(recipe["test"]))}
        if named.uses == "retrieval":
            assert found["t2i_r1"].n == 24
            assert found["i2t_share5"].definition.startswith("Share of a query's right answers")
        else:
            assert found["spearman"].value == pytest.approx(1.0)


@pytest.mark.slow
def test_the_page_names_every_benchmark_and_its_recipe_parses() -> None:
    named = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) - {"definition", "n", "split", "resize", "templates"}
    ours = {name for kind, name in summaries() if kind == "benchmark" and "_test" not in name}
    assert ours <= named
    for block in blocks("yaml"):
        for spec in yaml.safe_load(block)["evaluate"]["benchmarks"].values():
            one = Named.model_validate(spec)
            component_class("benchmark", one.uses).settings_model().parse(one.with_, "docs/evaluate.md")


def test_each_benchmark_is_told_in_one_line() -> None:
    done = CliRunner().invoke(pairwright, ["components", "--kind", "benchmark"])
    for name in re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE):
        line = re.search(rf"^  {name} +(.+)$", done.output, re.MULTILINE)
        if line is not None:
            assert 20 < len(line[1]) <= 100
