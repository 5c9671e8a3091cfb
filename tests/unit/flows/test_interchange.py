"""Models of a run are exported with what the run knows of them; an import is held against its library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shapes import shapes_dataset
from small_encoders import ours, theirs

from pairwright.components.environment import Environment
from pairwright.components.errors import DatasetError, ModelError
from pairwright.components.models.interchange.as_transformers import write_transformers
from pairwright.flows.interchange import _licences, export_named, import_named, shown_of
from pairwright.flows.running.named_model import named_model
from pairwright.flows.running.runs import write_record

pytestmark = pytest.mark.platform  # the registry's room is imported


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose one run made one model, and the data it was made from."""
    root = tmp_path_factory.mktemp("interchange")
    raw = shapes_dataset(root / "data", 24, 1, name="raw")
    shapes_dataset(root / "data", 20, 1, name="dev", start=1000)
    ours().save(root / "workspace/models/abc", "# Mine\n\nIt was shown shapes.\n")
    metrics = root / "workspace/metrics/m"
    metrics.mkdir(parents=True)
    said = {"name": "retrieval.t2i_r1", "value": 0.25, "low": 0.1, "high": 0.4, "n": 20, "split": "ab" * 16}
    (metrics / "metrics.json").write_text(json.dumps([said]))
    results: dict[str, Any] = {
        "models": {"curated": {"0": str(root / "workspace/models/abc")}},
        "metrics": {"curated": {"0": {"dev": str(metrics)}}},
        "selection_folder": str(root / "workspace/selections/s"),
        "selection": "s",
        "ledger": {"pairs_in": 24, "kept": 24},
        "data_version": "d" * 8,
    }
    record = {"id": "1-mine", "recipe": "mine", "recipe_digest": "r" * 8, "results": results}
    record["dataset"] = {"name": "raw", "digest": "g" * 8, "root": str(raw.root)}
    write_record(str(root / "workspace"), record)
    return root


def environment(place: Path) -> Environment:
    return Environment.load(workspace=str(place / "workspace"))


def test_a_model_is_named_by_run_arm_and_seed_or_by_its_folder(place: Path) -> None:
    folder = place / "workspace/models/abc"
    for reference in ("mine:curated", "mine:curated:0", "1-mine:curated", str(folder)):
        found = named_model(reference, environment(place))
        assert (found.folder, found.arm, found.seed) == (folder, "curated", "0")
        assert found.metrics()[0]["value"] == 0.25
    for reference, told in (("mine:curatd", 'did you mean "curated"'), ("mine:curated:4", "no seed 4; it has 0")):
        with pytest.raises(ModelError, match=told):
            named_model(reference, environment(place))
    with pytest.raises(DatasetError, match="no run"):
        named_model("yours:curated", environment(place))
    with pytest.raises(ModelError, match="one tower"):
        named_model("builtin:tiny-image", environment(place))


def test_licences_are_the_kept_rows_own_also_where_a_shard_kept_none(place: Path, tmp_path: Path) -> None:
    data = shapes_dataset(tmp_path / "data", 24, 2, name="two")
    pq.write_table(pa.table({"shard": [data.shards[1].digest] * 2, "row": [0, 3]}), tmp_path / "kept.parquet")
    record = {"dataset": {"name": "two", "root": str(data.root)}, "results": {"selection_folder": str(tmp_path)}}
    lines = _licences(record)
    assert any(line.startswith("data: ") and line.endswith(", 2 pairs") for line in lines), lines


def test_the_card_says_what_the_run_knows(place: Path, tmp_path: Path) -> None:
    made = export_named("mine:curated", str(tmp_path / "out"), "onnx", environment(place))
    assert made.agreement.image.n == 20  # of dev, which lies beside the data
    card = (tmp_path / "out/README.md").read_text()
    for wanted in (
        "# mine, curated, seed 0, for onnx",
        "| recipe digest | rrrrrrrr |",
        "| data version | dddddddd |",
        "| dev | retrieval.t2i_r1 | 20 | 0.250 [0.100, 0.400] |",
        "data raw: CC0-1.0",
        "It was shown shapes.",
    ):
        assert wanted in card, wanted
    assert str(place) not in card  # no path of the machine it was made on


def test_captions_shown_are_plain_lines_and_pictures_are_whole(place: Path) -> None:
    shown = shown_of(str(place / "data/dev"), 7, 32)
    assert (len(shown.pictures), len(shown.texts)) == (7, 7)
    assert all(text == " ".join(text.split()) and text for text in shown.texts)
    with pytest.raises(DatasetError, match="--data DIR"):
        shown_of(str(place / "nothing"), 7, 32)


@pytest.mark.slow
def test_an_import_is_held_against_the_library_it_comes_from(place: Path, tmp_path: Path) -> None:
    write_transformers(theirs("siglip", tmp_path / "tower"), tmp_path / "source")
    told = import_named(str(tmp_path / "source"), str(tmp_path / "mine"), data=str(place / "data/dev"))
    assert told["agreement"].image.least > 0.9999
    assert "transformers" in told["agreement"].judge
    told = import_named(str(tmp_path / "source"), str(tmp_path / "again"), data=str(place / "nowhere"))
    assert told["agreement"] is None
    assert "not held against the original" in told["unchecked"]
