"""Candidates: first of each source, variants of the alt-text, equal captions once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.preference.candidates import candidates_of, plain
from pairwright.components.recaption.captioners.clean import clean_caption


def test_sources_come_in_order_the_first_of_each_and_variants_after_them():
    captions = [
        caption("Fire_Truck-03.png"),
        caption("a second alt", ordinal=1),
        caption("truck, red", source="keywords"),
        caption("Ein Feuerwehrauto", source="translation", lang="de"),
        caption("Un camion", source="translation", lang="fr"),
    ]
    found = candidates_of(
        captions,
        sources=("alt", "keywords", "translation@fr"),
        made={"fused": "A red fire truck.", "failed": None},
        variants={"cleaned": clean_caption},
    )
    assert [(one.source, one.text) for one in found] == [
        ("alt", "Fire_Truck-03.png"),
        ("keywords", "truck, red"),
        ("translation@fr", "Un camion"),
        ("cleaned", "Fire Truck"),
        ("fused", "A red fire truck."),
    ]
    assert found[2].lang == "fr"


def test_captions_that_differ_in_case_space_or_a_final_stop_are_one():
    captions = [caption("A  red car."), caption("a red car", source="keywords"), caption("", source="file_name")]
    assert [one.source for one in candidates_of(captions, made={"copy": "A RED CAR"})] == ["alt"]


def test_a_variant_that_empties_the_caption_is_no_candidate():
    found = candidates_of([caption("red_bus.jpg")], variants={"cleaned": lambda text: ""})
    assert [one.source for one in found] == ["alt"]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["alt", "keywords", "file_name"]), st.text(max_size=8)), max_size=8))
def test_no_two_candidates_are_the_same_text_and_none_is_empty(entries):
    found = candidates_of([caption(text, source=source) for source, text in entries])
    texts = [plain(one.text) for one in found]
    assert len(set(texts)) == len(texts)
    assert all(texts)
    assert {one.text for one in found} <= {text for _, text in entries}
