"""Several vectors a pair: in order, masked beyond a pair's own, asked of by queries, fused with what else is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.errors import ColumnError, InvalidRecipe
from pairwright.components.models.captioner.captioner import Captioner
from pairwright.components.models.captioner.decoder import SmallDecoder
from pairwright.components.models.captioner.mapping import Fusion, Queries
from pairwright.components.models.captioner.prefix import Part, vectors_of
from pairwright.components.models.captioner.tokens import WordTokens
from pairwright.components.models.words import SPECIAL
from pairwright.components.pretrain.captioners.captioner import CaptionerSettings, CaptionerTask
from pairwright.components.training.here import fit_here

THINGS = ("dog", "cat", "bus", "tree", "house", "boat")
WORDS = [*SPECIAL, *THINGS]
MOST, SIZE = 4, 6
SMALL: dict[str, Any] = {
    "features": "frames.vector",
    "vectors": MOST,
    "prefix": 1,
    "hidden": 32,
    "width": 32,
    "heads": 2,
    "layers": 1,
    "max_words": MOST,
    "least": 1,
    "steps": 150,
    "batch_size": 64,
    "warmup_steps": 10,
    "lr": 5e-3,
}


def column(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, MOST * SIZE)).astype(np.float32)


def test_vectors_stand_end_to_end_and_are_not_told_beyond_a_pairs_own() -> None:
    values, counts = column(3), np.array([4, 2, 0])
    found = vectors_of(values, MOST, counts)
    assert found.shape == (3, MOST, SIZE)
    assert np.array_equal(found[0].numpy(), values[0].reshape(MOST, SIZE))
    assert found.isnan().all(-1).tolist() == [[False] * 4, [False, False, True, True], [True] * 4]
    assert torch.equal(vectors_of(values, 1), torch.from_numpy(values))
    values[0] = 7
    assert not bool((found[0] == 7).any())  # the column is nobody else's to change
    for wrong in (np.array([5, 1, 1]), np.array([-1, 1, 1]), np.array([np.nan, 1, 1])):
        with pytest.raises(ColumnError, match="not 0 to 4"):
            vectors_of(values, MOST, wrong)
    with pytest.raises(ColumnError, match="correct `vectors`"):
        vectors_of(values, 5)


@pytest.mark.parametrize("mapping", ["mlp", "linear", "queries"])
def test_a_pair_of_two_vectors_is_what_it_would_be_if_no_more_could_be_told(mapping: Any) -> None:
    torch.manual_seed(0)
    many = Captioner([Part("image", "vector", SIZE, 2, MOST, mapping=mapping)], *_said(), 16)
    few = Captioner([Part("image", "vector", SIZE, 2, 2, mapping=mapping)], *_said(), 16)
    few.load_state_dict(many.state_dict())
    tokens = many.tokens.encode(["dog cat"] * 2, MOST)[:, :-1]
    values = column(2)
    told = vectors_of(values, MOST, np.array([2, 2]))
    alone = vectors_of(values[:, : 2 * SIZE], 2)
    assert torch.allclose(many.logits({"image": told}, tokens), few.logits({"image": alone}, tokens), atol=1e-5)
    assert not torch.allclose(
        many.logits({"image": vectors_of(values, MOST)}, tokens), few.logits({"image": alone}, tokens)
    )


def _said() -> tuple[SmallDecoder, WordTokens, int]:
    torch.manual_seed(1)
    return SmallDecoder(len(WORDS), 24, 32, 1, 2), WordTokens(WORDS), MOST


def test_queries_see_every_vector_in_whatever_order_and_a_pair_told_nothing_tells_nothing() -> None:
    torch.manual_seed(0)
    queries = Queries(SIZE, 3, 8, 16).eval()
    vectors, told = vectors_of(column(2), MOST), torch.tensor([[True] * 4, [False] * 4])
    tokens, there = queries(vectors, told)
    assert tokens.shape == (2, 3, 8)
    assert there.tolist() == [[True] * 3, [False] * 3]
    assert torch.allclose(queries(vectors.flip(1), told)[0], tokens, atol=1e-6)
    for at in range(MOST):
        other = vectors.clone()
        other[0, at] *= -1
        assert not torch.allclose(queries(other, told)[0][0], tokens[0])
    vectors.requires_grad_(True)
    tokens, there = queries(vectors, told)
    tokens[there].sum().backward()
    assert not bool(vectors.grad[1].any())


def test_fusion_begins_as_nothing_and_then_lets_what_is_told_look_at_what_is_told() -> None:
    torch.manual_seed(0)
    fusion, x = Fusion(8, 2, 16), torch.randn(2, 5, 8)
    told = torch.tensor([[True] * 5, [True, True, False, True, True]])
    assert torch.equal(fusion(x, told), x)
    torch.nn.init.normal_(fusion.up.weight)
    mixed = fusion(x, told)
    other = x.clone()
    other[:, 2] += 1
    changed = (fusion(other, told) - mixed).abs().amax(-1) > 1e-5
    assert changed.tolist() == [[True] * 5, [False, False, True, False, False]]


@pytest.mark.slow
@pytest.mark.parametrize("mapping", ["mlp", "queries"])
def test_a_clips_own_frames_are_said_and_what_lies_beyond_them_is_not(mapping: str) -> None:
    random = np.random.default_rng(0)
    shows, count = random.integers(0, len(THINGS), (512, MOST)), random.integers(1, 3, 512)
    looks = np.random.default_rng(1).normal(size=(len(THINGS), SIZE))
    frames = (looks[shows] + 0.1 * random.normal(size=(512, MOST, SIZE))).reshape(512, -1).astype(np.float32)
    captions = [" ".join(sorted({THINGS[t] for t in row[:n]})) for row, n in zip(shows, count, strict=True)]
    population = ArrayPopulation({"frames.vector": frames, "frames.count": count}, {"alt": captions})

    def said(**changes: Any) -> float:
        wish = CaptionerSettings.parse(SMALL | {"mapping": mapping} | changes, "test")
        model = fit_here(CaptionerTask(wish), population).task.model
        counts = count if wish.count else None
        texts = [one[0] for one in model.generate({"image": vectors_of(frames, MOST, counts)})]
        return float(np.mean([a == b for a, b in zip(texts, captions, strict=True)]))

    counted = said(count="frames.count")
    assert counted > 0.8
    if mapping == "mlp":
        assert said() < counted - 0.2


def test_vectors_that_do_not_divide_are_refused_before_training() -> None:
    population = ArrayPopulation({"frames.vector": column(64)}, {"alt": ["dog"] * 64})
    with pytest.raises(ColumnError, match="does not divide"):
        fit_here(CaptionerTask(CaptionerSettings.parse(SMALL | {"vectors": 5}, "test")), population)
    with pytest.raises(InvalidRecipe, match="mapping"):
        CaptionerSettings.parse(SMALL | {"mapping": "attention"}, "test")
