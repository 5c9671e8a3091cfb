"""The caption mix: a pure function of (seed, epoch, key)."""

from __future__ import annotations

import numpy as np

from pairwright.components.dataset.captions.caption_mix import NONE, choose_source, choose_sources, key_hashes

KEYS = [f"{number:06d}" for number in range(20_000)]
HASHES = key_hashes(KEYS)
EVEN = {"alt": 0.5, "fused": 0.5}


def test_each_source_is_drawn_as_often_as_its_weight_within_3_sigma() -> None:
    for weights in (EVEN, {"alt": 0.7, "fused": 0.2, "keywords": 0.1}):
        for epoch in range(5):
            chosen = choose_sources(1, epoch, HASHES, weights)
            for index, share in enumerate(weights.values()):
                sigma = np.sqrt(share * (1 - share) / len(KEYS))
                assert abs((chosen == index).mean() - share) < 3.5 * sigma


def test_every_key_meets_both_sources_over_20_epochs() -> None:
    seen = np.stack([choose_sources(0, epoch, HASHES, EVEN) for epoch in range(20)])
    # 20,000 keys, each missing one source with probability 2^-19
    assert (seen.min(0) == 0).mean() > 0.999
    assert (seen.max(0) == 1).mean() > 0.999


def test_the_draw_does_not_depend_on_workers_order_or_company() -> None:
    together = choose_sources(3, 7, HASHES, EVEN)
    for workers in (2, 5):
        apart = np.empty_like(together)
        for worker in range(workers):
            apart[worker::workers] = choose_sources(3, 7, HASHES[worker::workers], EVEN)
        assert (apart == together).all()
    assert [choose_source(3, 7, key, EVEN) for key in KEYS[:50]] == [list(EVEN)[i] for i in together[:50]]


def test_seeds_epochs_and_keys_are_independent_draws() -> None:
    a, b, c = (choose_sources(*which, HASHES, EVEN) for which in ((0, 0), (0, 1), (1, 0)))
    for one, other in ((a, b), (a, c), (b, c), (a[:-1], a[1:])):
        assert abs((one == other).mean() - 0.5) < 3.5 * np.sqrt(0.25 / len(one))


def test_a_missing_source_falls_to_the_next_in_order() -> None:
    weights = {"alt": 1.0, "fused": 1.0, "keywords": 1.0}
    alone = {source: np.full(len(KEYS), source == "fused") for source in weights}
    assert (choose_sources(0, 0, HASHES, weights, alone) == 1).all()
    nothing = {source: np.zeros(len(KEYS), bool) for source in weights}
    assert (choose_sources(0, 0, HASHES, weights, nothing) == NONE).all()
    drawn = choose_sources(0, 0, HASHES, weights)
    some = {"alt": np.zeros(len(KEYS), bool), "fused": np.ones(len(KEYS), bool), "keywords": np.ones(len(KEYS), bool)}
    found = choose_sources(0, 0, HASHES, weights, some)
    assert (found[drawn == 0] == 1).all()
    assert (found[drawn != 0] == drawn[drawn != 0]).all()


def test_a_weight_of_zero_is_never_taken_not_even_as_a_fallback() -> None:
    weights = {"fused": 0.0, "alt": 1.0, "keywords": 0.0}
    assert (choose_sources(0, 0, HASHES, weights) == 1).all()
    assert choose_source(0, 0, "x", weights, present=["fused", "keywords"]) is None
