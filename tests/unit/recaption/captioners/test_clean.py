import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairwright.components.recaption.captioners.clean import clean_caption


@pytest.mark.parametrize(
    ("noisy", "clean"),
    [
        ("Clipart by Nicu Buculei - jigsaw_red_10", "jigsaw red"),
        ("Fire_Truck-03.png", "Fire Truck"),
        ("smallHouse2.svg", "small House"),
        ("A dog &amp; a <b>cat</b>", "A dog & a cat"),
        ("Lighthouse at dusk | Free stock photo", "Lighthouse at dusk"),
        ("Lighthouse at dusk © 2011 Jane Roe", "Lighthouse at dusk"),
        ("See http://example.org/a.png red car", "See red car"),
        ("  many   spaces ", "many spaces"),
        ("Baseball Bat (B and W)", "Baseball Bat (B and W)"),
        ("direction à suivre 2", "direction à suivre 2"),
        ("Ein Haus. Zwei Bäume.", "Ein Haus. Zwei Bäume."),
        ("ice-cream", "ice-cream"),
        ("Apollo 11", "Apollo 11"),
        ("赤い車", "赤い車"),
    ],
)
def test_noise_goes_and_words_stay(noisy: str, clean: str) -> None:
    assert clean_caption(noisy) == clean


@pytest.mark.parametrize(
    "noise",
    [
        None,
        "",
        "   ",
        "12345",
        "IMG_20190412.jpg",
        "DSC00012.JPG",
        "Clipart by Nicu Buculei - fc23",
        "Various Cliparts",
        "Part of the Flat Icon Collection (Wed Aug 25 23:29:46 2004)",
        "SVG Gradient Collection by Alan Horkan, 2004.",
        "untitled",
        "image 3",
        "https://a.example/b.png",
    ],
)
def test_what_is_only_noise_says_nothing(noise: str | None) -> None:
    assert clean_caption(noise) == ""


@given(
    st.lists(
        st.sampled_from(["red", "old", "small", "house", "boat", "photo", "clipart", "tree", "by", "image"]),
        min_size=2,
        max_size=8,
    )
)
def test_a_caption_with_words_of_its_own_is_never_emptied(words: list[str]) -> None:
    assert clean_caption("house " + " ".join(words)).startswith("house")


@given(st.text(max_size=200))
def test_cleaning_adds_no_letter(text: str) -> None:
    import html

    assert len(clean_caption(text).replace(" ", "")) <= len(html.unescape(text))
