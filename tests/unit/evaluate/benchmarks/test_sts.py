"""STS: scipy's number of the model's cosines, by a table as it is published; chance is nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import Broken, Constant, Reader
from scipy.stats import spearmanr
from shapes import COLOURS, POSITIONS
from torch import Tensor

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.ingest import ingest
from pairwright.components.errors import DatasetError, NotFinite
from pairwright.components.evaluate.benchmarks.sts import Sts, StsSettings, _linked


class Guess(Reader):
    """A vector a text, drawn anew for each."""

    def text_features(self, texts: Sequence[str]) -> Tensor:
        return torch.from_numpy(
            np.stack([np.random.default_rng(list(t.encode())).normal(size=8) for t in texts]).astype(np.float32)
        )


@pytest.fixture
def table(tmp_path: Path) -> Dataset:
    """Every two of sixteen captions, judged by how many of their two facts agree."""
    said = [(colour, place) for colour in COLOURS for place in POSITIONS]
    lines = ["sentence1\tsentence2\tscore"]
    for i, a in enumerate(said):
        for b in said[i:]:
            alike = sum(x == y for x, y in zip(a, b, strict=True))
            lines.append(f"{' '.join(a)} {i}\t{' '.join(b)}\t{2.5 * alike}")
    (tmp_path / "sts.tsv").write_text("\n".join(lines))
    return ingest("sentence-pairs", str(tmp_path / "sts.tsv"), str(tmp_path / "sts"))


def test_an_oracle_orders_as_people_did_guesses_and_a_constant_do_not(table: Dataset) -> None:
    (oracle,) = Sts(StsSettings()).evaluate(Reader(), table)
    assert oracle.value == pytest.approx(1.0)
    assert oracle.n == 136
    (constant,) = Sts(StsSettings()).evaluate(Constant(), table)
    assert constant.value == constant.low == constant.high == 0
    (guess,) = Sts(StsSettings()).evaluate(Guess(), table)
    assert guess.low < 0 < guess.high
    assert "those of one first text together" in guess.definition, "of all against all nothing stands apart"


def test_the_number_is_scipys_and_items_average_to_it(table: Dataset, tmp_path: Path) -> None:
    measured = Sts(StsSettings(pairs=table.root)).measure(Guess(), table)
    rows = [row for _, part in table.iter_sidecars() for row in part.to_pylist()]
    texts = [[c["text"] for c in row["captions"]] for row in rows]
    vectors = [Guess().encode_text(pair).double().numpy() for pair in texts]
    judged = [float(row["labels"][0]["value"]) for row in rows]
    expected = spearmanr([v[0] @ v[1] for v in vectors], judged).statistic
    assert measured.metrics[0].value == pytest.approx(expected)
    assert measured.items["spearman"].mean() == pytest.approx(expected)
    assert Sts(StsSettings(pairs=table.root)).datasets() == (table.root,)


def test_pairs_that_share_a_text_are_one_group() -> None:
    groups = _linked([0, 1, 4, 6], [1, 2, 5, 7])
    assert groups[0] == groups[1]
    assert len(set(groups)) == 3


def test_no_such_pairs_and_no_number_are_errors(table: Dataset) -> None:
    with pytest.raises(DatasetError, match='has 0 rows with captions "first" and "third"'):
        Sts(StsSettings(second="third")).evaluate(Reader(), table)
    with pytest.raises(NotFinite):
        Sts(StsSettings()).evaluate(Broken(), table)
