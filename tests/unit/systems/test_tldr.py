"""TL;DR, whole: a codebook learnt by captioning, a quarter of every cluster of codes, weak captions complemented.

Its parts have tests of their own: the straight-through gradient and the codes' use in test_codebook.py, quotas in
test_cluster_sample.py, joining in test_complement.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from populations import view_of
from safetensors.torch import load_file, save_file
from vectors import around_centres, vector_column

from pairwright.components.component import FitInputs
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.filter.fits.codebook import CodebookSettings, FitCodebook
from pairwright.components.filter.scorers.codebook_codes import CodebookCodes, CodebookCodesSettings
from pairwright.components.filter.selections.cluster_sample import ClusterSample, ClusterSampleSettings
from pairwright.components.filter.selections.clusters import Clusters, ClustersSettings
from pairwright.components.models.resolve import resolve_model
from pairwright.components.recaption.captioners.codebook_captioner import CodebookCaptioner, CodebookCaptionerSettings
from pairwright.components.recaption.captioners.complement import Complement, ComplementSettings
from pairwright.flows.recipes import load_recipe

KINDS = ["red bus", "blue dog", "green tree", "a tall house", "two small cats", "an old yellow car"]
ROWS, CODES, POSITIONS, CODE_WIDTH = 600, 32, 4, 8
SMALL = {"codes": CODES, "positions": POSITIONS, "code_width": CODE_WIDTH, "width": 32, "layers": 1, "least": 1}


class Corpus:
    """Pictures of six kinds; the captions of a third of them are another kind's, and score low."""

    def __init__(self, root: Path, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.root, self.seed = root, seed
        self.features, self.kind = around_centres(seed, len(KINDS), ROWS, width=24, spread=1.0)
        self.wrong = random.random(ROWS) < 1 / 3
        said = np.where(self.wrong, (self.kind + random.integers(1, len(KINDS), ROWS)) % len(KINDS), self.kind)
        self.captions = [KINDS[one] for one in said]
        self.score = np.where(self.wrong, 0.1, 0.8)
        self.columns: dict[str, Any] = {"image_features.vector": vector_column(self.features)}
        view = view_of(root / "fit", self.columns, captions=dict(enumerate_as_keys(self.captions)))
        wish = CodebookSettings(**SMALL, batch_size=64, lr=4e-3, steps=150, seed=seed)  # type: ignore[arg-type]
        FitCodebook(wish).fit(FitInputs(view), root / "codebook")
        self.model = resolve_model(str(root / "codebook"))

    def batch(self, **extra: Any) -> PairBatch:
        sidecar = [{"captions": [{"source": "alt", "lang": "en", "text": text}]} for text in self.captions]
        keys = [str(row) for row in range(ROWS)]
        columns = {"image_features.vector": list(self.features), "align.score": self.score.tolist()}
        return PairBatch(np.arange(ROWS), keys, sidecar, columns=columns, **extra)

    def codes(self, model: Any) -> dict[str, np.ndarray]:
        scorer = CodebookCodes(CodebookCodesSettings(model=model, width=POSITIONS * CODE_WIDTH))
        scorer.setup("cpu")
        made = scorer.score(self.batch())
        return {"codes": np.array(made["codes"]), "vector": made["vector"].float().numpy()}

    def clusters(self, vectors: np.ndarray, name: str) -> Any:
        """A view with clusters of these vectors."""
        columns = self.columns | {"codes.vector": vector_column(vectors)}
        plain = view_of(self.root / f"{name}-plain", columns)
        wish = ClustersSettings(embeddings="codes.vector", clusters=12)
        made = {f"clusters.{column}": array for column, array in Clusters(wish).select(plain).items()}
        return view_of(self.root / name, columns | made)


def enumerate_as_keys(texts: list[str]) -> list[tuple[str, str]]:
    return [(str(row), text) for row, text in enumerate(texts)]


@pytest.fixture(scope="module", params=range(3))
def corpus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return Corpus(tmp_path_factory.mktemp(f"tldr-{request.param}"), request.param)


@pytest.mark.slow
def test_relabelling_the_codes_changes_no_cluster(corpus: Corpus) -> None:
    """The released code clusters code *numbers* as if they were quantities; clusters here are of what codes mean."""
    order = torch.randperm(CODES, generator=torch.Generator().manual_seed(1))
    folder = corpus.root / "relabelled"
    folder.mkdir()
    for file in Path(str(corpus.model.path)).iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    for name in ("book", "counts", "sums"):
        tensors[f"quantizer.{name}"] = tensors[f"quantizer.{name}"][order].contiguous()
    save_file(tensors, folder / "model.safetensors")
    before, after = corpus.codes(corpus.model), corpus.codes(resolve_model(str(folder)))
    assert np.array_equal(order.numpy()[after["codes"]], before["codes"])
    assert (after["codes"] != before["codes"]).mean() > 0.5  # they were relabelled
    assert np.array_equal(before["vector"], after["vector"])
    one, two = (corpus.clusters(codes["vector"], f"clusters{n}") for n, codes in enumerate((before, after)))
    assert one.column("clusters.cluster").equals(two.column("clusters.cluster"))
    numbers = [corpus.clusters(codes["codes"].astype(np.float32), f"n{n}") for n, codes in enumerate((before, after))]
    labels = [view.column("clusters.cluster").to_numpy() for view in numbers]
    assert not same_partition(*labels)  # clusters of the numbers themselves would have changed


def same_partition(one: np.ndarray, two: np.ndarray) -> bool:
    return len({*zip(one.tolist(), two.tolist(), strict=True)}) == len(set(one.tolist())) == len(set(two.tolist()))


def test_a_quarter_of_every_cluster_of_codes_is_kept_and_spreads_more_than_chance(corpus: Corpus) -> None:
    view = corpus.clusters(corpus.codes(corpus.model)["vector"], "sampled")
    wish = load_recipe("tldr").filter.select["sample"].with_
    settings = {name: value for name, value in wish.items() if name != "among"}
    kept = ClusterSample(ClusterSampleSettings(**settings)).select(view)["keep"].to_numpy(zero_copy_only=False)
    cluster = view.column("clusters.cluster").to_numpy()
    assert abs(kept.mean() - 0.25) <= 0.01
    assert set(cluster[kept]) == set(cluster)
    random = np.random.default_rng(corpus.seed)
    chance = [gap(corpus.features[random.choice(ROWS, kept.sum(), replace=False)]) for _ in range(20)]
    assert gap(corpus.features[kept]) > np.mean(chance)


def gap(values: np.ndarray) -> float:
    """Mean over the rows of 1 - cosine to the nearest other row."""
    cosines = values @ values.T
    np.fill_diagonal(cosines, -1)
    return float((1 - cosines.max(axis=1)).mean())


def test_weak_captions_are_complemented_by_what_the_codes_say_and_originals_stay(corpus: Corpus) -> None:
    captioner = CodebookCaptioner(CodebookCaptionerSettings(model=corpus.model))
    captioner.setup("cpu")
    generated = [made.text if made else None for made in captioner.caption(corpus.batch())]
    wish = ComplementSettings(generated="made", score="align.score", threshold=0.3)
    refined = [one.text for one in Complement(wish).caption(corpus.batch(extra_captions={"made": generated})) if one]
    assert len(refined) == ROWS

    def match(texts: list[str]) -> np.ndarray:
        """Share of the words of the picture's own kind that a text says."""
        words = [set(KINDS[one].split()) for one in corpus.kind]
        return np.array(
            [len(own & set(text.lower().split())) / len(own) for own, text in zip(words, texts, strict=True)]
        )

    before, after = match(corpus.captions), match(refined)
    assert after[corpus.wrong].mean() > before[corpus.wrong].mean() + 0.3
    assert (after >= before).all()
    assert all(text.startswith(original) for text, original in zip(refined, corpus.captions, strict=True))
    untouched = ~corpus.wrong
    assert [refined[row] for row in np.flatnonzero(untouched)] == [
        corpus.captions[row] for row in np.flatnonzero(untouched)
    ]
