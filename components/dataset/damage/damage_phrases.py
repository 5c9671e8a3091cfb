"""Texts that damage is made of: what sites say instead of a caption, and sentences about something else.

Some are for judging, others for teaching, and a test keeps them apart (tests/unit/dataset/damage/test_damage_apart.py).

The phrases are of the kind sites put into `alt`, written without regard to the patterns that a filter of
ours looks for (components/filter/scorers/caption_text.py knows about one in eight of them), so finding them is work.
"""

from __future__ import annotations

import numpy as np

BOILERPLATE = (
    "Click to view larger image",
    "Click to enlarge",
    "Image may contain copyrighted material",
    "Product image {n}",
    "Thumbnail {n} of {m}",
    "Free shipping on all orders over ${m}",
    "Add to wishlist",
    "Share on social media",
    "Photo courtesy of the author",
    "Loading...",
    "Advertisement",
    "Skip to main content",
    "Read more about this item",
    "Buy now and save {n}%",
    "Please enable JavaScript to see this picture",
    "Preview of item {m}",
    "Related posts",
    "Our customers also bought",
    "Uploaded on {n}/11/2019",
    "Submitted by user{m}",
    "Banner",
    "untitled",
    "View all {m} comments",
    "Sign up for our newsletter",
    "Image {n} in gallery",
)

# subject, verb phrase, ending: fluent English about nothing a picture of one thing would show.
SUBJECTS = (
    "The committee",
    "Our quarterly report",
    "My grandmother's lawyer",
    "The new tax law",
    "Most of the audience",
    "The second half of the interview",
    "An anonymous reader",
    "The printer on the third floor",
    "Nobody in the office",
    "The court's decision",
    "The chief economist",
    "This week's lecture",
    "The landlord's letter",
    "A spokesman for the union",
    "The revised contract",
    "Last year's budget",
)
VERBS = (
    "was postponed",
    "raised more questions than expected",
    "has not been mentioned since",
    "will be discussed again",
    "came as a surprise to investors",
    "needs another signature",
    "refused to comment",
    "cost far more than was planned",
    "was praised by several critics",
    "had to be rewritten",
    "ended without an agreement",
    "took effect",
    "arrived late",
    "is still being translated",
)
ENDINGS = (
    "until the end of March.",
    "after a long debate.",
    "for reasons that remain unclear.",
    "on Thursday afternoon.",
    "according to two people familiar with the matter.",
    "despite the weather.",
    "before anyone had read it.",
    "in spite of everything we had heard.",
    "during the first weeks of the strike.",
    "because the deadline had passed.",
    "with hardly any notice.",
    "as soon as the minutes were approved.",
)
# For teaching alone. No two words in a row of these stand in a phrase above.
CAMERAS = (
    "IMG_{m:04d}.JPG",
    "DSC{m:05d}.jpg",
    "DSCN{m:04d}.JPG",
    "P{n:02d}{m:05d}.jpg",
    "capture{n}.png",
    "scan{m}.tif",
)
LISTINGS = (
    "EUR {n},99 incl. VAT",
    "In stock, ships within {n} days",
    "Art. no. {m}",
    "SKU {m} / size {n}",
    "Sold out",
    "Cart holds {n}",
    "Compare prices from {n} dealers",
    "Rated {n} stars by {m} buyers",
    "RRP {m}.00",
    "New arrival, reduced to {n}.50",
    "Multipack, {n} pieces",
    "Choose colour and quantity",
)
JUDGING_TEMPLATES = (*BOILERPLATE, *SUBJECTS, *VERBS, *ENDINGS)
TEACHING_TEMPLATES = (*CAMERAS, *LISTINGS)


def boilerplate(rng: np.random.Generator) -> str:
    """One phrase that says nothing about any picture."""
    return _filled(BOILERPLATE, rng)


def fluent(rng: np.random.Generator) -> str:
    """One grammatical sentence of abstract matters; about 2,700 differ."""
    return " ".join(str(part[rng.integers(len(part))]) for part in (SUBJECTS, VERBS, ENDINGS))


def camera_name(rng: np.random.Generator) -> str:
    """A file's name as a camera or a scanner gives it."""
    return _filled(CAMERAS, rng)


def listing(rng: np.random.Generator) -> str:
    """What a shop says of an article beside its picture."""
    return _filled(LISTINGS, rng)


def _filled(phrases: tuple[str, ...], rng: np.random.Generator) -> str:
    return phrases[rng.integers(len(phrases))].format(n=int(rng.integers(1, 25)), m=int(rng.integers(25, 10_000)))
