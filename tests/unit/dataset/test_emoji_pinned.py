"""The emoji corpus as `data.dvc` pins it: the pulled bytes, not what the draw recorded."""

import itertools
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pairwright.components.dataset.dataset import Dataset, open_dataset
from pairwright.components.dataset.media.decode import decode
from pairwright.components.dataset.media.pdq import FEATURELESS, NEAR, hamming, pdq_hash
from pairwright.components.dataset.pairs import caption_of
from pairwright.components.dataset.sources.emoji.concepts import characters, family
from pairwright.components.dataset.sources.emoji.icons import STYLES
from pairwright.components.dataset.splits import drawn_elsewhere, normalise
from pairwright.components.versioning import pulled_together
from pairwright.components.versioning.pinned import is_current

ROOT = Path(__file__).parents[3]
NAMES = ("emoji", "emoji-dev", "emoji-test")

pytestmark = pytest.mark.skipif(not (ROOT / "data/emoji/dataset.json").exists(), reason="the corpus is not pulled")


@pytest.fixture(scope="module")
def corpus() -> dict[str, Dataset]:
    return {name: open_dataset(str(ROOT / "data" / name)) for name in NAMES}


@pytest.fixture(scope="module")
def rows(corpus: dict[str, Dataset]) -> dict[str, list[dict]]:
    return {
        name: [row for _, table in one.iter_sidecars() for row in table.to_pylist()] for name, one in corpus.items()
    }


def label(row: dict, name: str) -> str:
    return next(one["value"] for one in row["labels"] if one["name"] == name)


def apart(sets: dict[str, set[str]]) -> bool:
    return all(not sets[a] & sets[b] for a, b in itertools.combinations(NAMES, 2))


def pictures(dataset: Dataset) -> Iterator[np.ndarray]:
    for shard in dataset.shards:
        for row in shard.read_sidecar(["media"]).to_pylist():
            image = decode(shard.read_member(row["media"][0]), 96).image
            assert image is not None
            yield image


def test_what_lies_here_is_what_data_dvc_pins(corpus: dict[str, Dataset]) -> None:
    assert is_current(ROOT, pulled_together("emoji"))
    for dataset in corpus.values():
        assert dataset.rows == sum(shard.rows for shard in dataset.shards)
        assert all(shard.is_whole() for shard in dataset.shards)


def test_the_draw_knows_its_data(corpus: dict[str, Dataset]) -> None:
    for split in ("emoji-dev", "emoji-test"):
        assert not drawn_elsewhere(corpus[split], corpus["emoji"])
        assert 0.09 < corpus[split].rows / sum(dataset.rows for dataset in corpus.values()) < 0.11


def test_no_concept_family_name_or_group_is_in_two_splits(rows: dict[str, list[dict]]) -> None:
    concepts = {name: {label(row, "concept") for row in rows[name]} for name in NAMES}
    assert apart(concepts)
    assert apart({name: {family(characters(code)) for code in concepts[name]} for name in NAMES})
    assert apart({name: {normalise(caption_of(row["captions"], "alt")) for row in rows[name]} for name in NAMES})
    assert apart({name: {row["group"] for row in rows[name]} for name in NAMES})


def test_each_split_has_its_share_of_every_group(rows: dict[str, list[dict]]) -> None:
    counts = {name: Counter(label(row, "group") for row in rows[name]) for name in NAMES}
    for group in counts["emoji"]:
        whole = sum(counts[name][group] for name in NAMES)
        for split in ("emoji-dev", "emoji-test"):
            assert 0.07 < counts[split][group] / whole < 0.13, group


def test_every_concept_has_its_styles_once_with_the_same_texts_and_their_own_licence(
    rows: dict[str, list[dict]],
) -> None:
    by_concept: dict[str, list[dict]] = defaultdict(list)
    for row in itertools.chain.from_iterable(rows.values()):
        by_concept[label(row, "concept")].append(row)
        assert row["error"] is None
        assert row["licence"] == STYLES[label(row, "style")].licence
    assert len(by_concept) > 1800
    for code, drawn in by_concept.items():
        styles = [label(row, "style") for row in drawn]
        assert len(set(styles)) == len(styles), code
        assert all(row["captions"] == drawn[0]["captions"] for row in drawn), code


@pytest.mark.slow
def test_no_picture_is_near_one_of_another_split(corpus: dict[str, Dataset]) -> None:
    hashes = {
        name: np.stack([bits for bits, quality in map(pdq_hash, pictures(one)) if quality > FEATURELESS])
        for name, one in corpus.items()
    }
    for one, other in itertools.combinations(NAMES, 2):
        assert hamming(hashes[one], hashes[other]).min() > NEAR


@pytest.mark.slow
def test_the_published_composition_is_that_of_the_pulled_corpus() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks.emoji_corpus", "--check"], cwd=ROOT, check=False)
    assert done.returncode == 0, "docs/emoji.md is stale; run python -m benchmarks.emoji_corpus"


@pytest.mark.slow
@pytest.mark.platform
def test_the_pages_recipe_can_be_planned(tmp_path: Path) -> None:
    page = (ROOT / "docs/emoji.md").read_text(encoding="utf-8")
    (tmp_path / "emoji.yaml").write_text(page.partition("```yaml\n")[2].partition("```")[0], encoding="utf-8")
    command = [sys.executable, "-m", "pairwright.flows.cli", "explain", str(tmp_path / "emoji.yaml")]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert "5,555 pairs" in said.stdout
