"""Composed scenes: every caption true, every negative false, every box exact, and nothing shared between splits.

What a sentence says is read here by a parser of its own, and held against pixels and boxes, not against the grammar.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from things import NAMES, donors, scenes_datasets, thing, things_dataset

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.ingest import ingest_all
from pairwright.components.dataset.sources.scenes.donors import cut_out, thing_name
from pairwright.components.dataset.sources.scenes.grammar import plural
from pairwright.components.dataset.sources.scenes.scene import COLOURS, EDITS
from pairwright.components.errors import DatasetError, InvalidRecipe

COUNTS = {"a": 1, "two": 2, "three": 3}
PHRASE = rf"({'|'.join(COUNTS)}) (small|large) ({'|'.join(COLOURS)}) (\w+)"
HOW = r"to the left of|to the right of|above|below|on|under"
SAID = re.compile(rf"{PHRASE}(?: is| are)?(?: drawn)? ({HOW}) {PHRASE}(?: here)?$")
KINDS = {"swap_attribute", "swap_object", "replace_object", "replace_attribute", "replace_relation", "replace_count"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Dataset]:
    return scenes_datasets(tmp_path_factory.mktemp("scenes"), 120, 60, counting=0.5)


def rows_of(dataset: Dataset) -> list[tuple[dict[str, Any], np.ndarray]]:
    """Each row with its picture."""
    found = []
    for shard, table in dataset.iter_sidecars():
        for row in table.to_pylist():
            row["labels"] = {one["name"]: one["value"] for one in row["labels"]}
            row["graph"] = json.loads(row["meta"])
            with Image.open(io.BytesIO(shard.read_member(row["media"][0]))) as image:
                found.append((row, np.asarray(image.convert("RGB")).astype(int)))
    return found


def texts(row: dict[str, Any], source: str) -> list[str]:
    return [one["text"] for one in row["captions"] if one["source"] == source]


def seen_colour(picture: np.ndarray, box: list[int]) -> str:
    """The name of the colour whose direction most pixels of the box that are not pale have."""
    x0, y0, x1, y1 = box
    pixels = picture[y0:y1, x0:x1].reshape(-1, 3)
    pixels = pixels[pixels.min(1) < 190].astype(float)
    named = np.array(list(COLOURS.values()), float)
    named /= np.linalg.norm(named, axis=1, keepdims=True)
    cosine = pixels / np.linalg.norm(pixels, axis=1, keepdims=True) @ named.T
    return list(COLOURS)[int(np.bincount(cosine.argmax(1), minlength=len(named)).argmax())]


def seen(row: dict[str, Any], picture: np.ndarray) -> dict[str, dict[str, Any]]:
    """What boxes and pixels say of each thing: its boxes, their number, its size and its colour."""
    side = len(picture)
    found: dict[str, dict[str, Any]] = {}
    for one in row["regions"]:
        box = [round(value * side) for value in one["box"]]
        found.setdefault(one["label"], {"boxes": []})["boxes"].append(box)
    for facts in found.values():
        longest = max(max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in facts["boxes"]) / side
        facts |= {"count": len(facts["boxes"]), "size": "large" if longest > 0.22 else "small"}
        facts["colour"] = seen_colour(picture, facts["boxes"][0])
        every = np.array(facts["boxes"])
        facts["hull"] = (*every[:, :2].min(0), *every[:, 2:].max(0))
    return found


def lies(a: dict[str, Any], how: str, b: dict[str, Any]) -> bool:
    """Whether boxes lie so; "on" is above and touching."""
    ax0, ay0, ax1, ay1 = a["hull"]
    bx0, by0, bx1, by1 = b["hull"]
    touching = max(ax0, bx0) < min(ax1, bx1)
    return {
        "to the left of": ax1 <= bx0,
        "to the right of": bx1 <= ax0,
        "above": ay1 <= by0,
        "below": by1 <= ay0,
        "on": ay1 == by0 and touching,
        "under": by1 == ay0 and touching,
    }[how]


def true_of(sentence: str, found: dict[str, dict[str, Any]]) -> bool:
    """Whether the picture is as the sentence says."""
    said = SAID.search(sentence)
    assert said, sentence
    groups = said.groups()
    sides = []
    for number, size, colour, name in (groups[:4], groups[5:]):
        count = COUNTS[number]
        facts = next((facts for one, facts in found.items() if name == (plural(one) if count > 1 else one)), None)
        if facts is None or (facts["count"], facts["size"], facts["colour"]) != (count, size, colour):
            return False
        sides.append(facts)
    return lies(sides[0], groups[4], sides[1])


def test_captions_and_paraphrases_are_true_and_every_negative_is_false(made: list[Dataset]) -> None:
    kinds = set()
    for dataset in made:
        for row, picture in rows_of(dataset):
            found = seen(row, picture)
            assert true_of(texts(row, "alt")[0], found), row["captions"][0]
            assert true_of(texts(row, "paraphrase")[0], found)
            assert texts(row, "alt")[0] != texts(row, "paraphrase")[0]
            for one in row["captions"]:
                if one["source"] == "negative":
                    assert not true_of(one["text"], found), one
                    kinds.add(one["producer"].rpartition("/")[2])
    assert kinds == KINDS


def test_a_swap_exchanges_two_words_and_a_replacement_puts_in_another(made: list[Dataset]) -> None:
    for row, _ in rows_of(made[0]):
        right = texts(row, "alt")[0].split()
        for one in row["captions"]:
            kind = one["producer"].rpartition("/")[2]
            wrong = one["text"].split()
            if one["source"] == "negative" and kind == "swap_attribute":
                assert sorted(right) == sorted(wrong)
                assert sum(a != b for a, b in zip(right, wrong, strict=True)) == 2
            if one["source"] == "negative" and kind in ("replace_attribute", "replace_object"):
                assert sum(a != b for a, b in zip(right, wrong, strict=True)) == 1


def test_boxes_are_exact_and_do_not_overlap(made: list[Dataset]) -> None:
    for row, picture in rows_of(made[1]):
        pale, side = picture.min(2) >= 200, len(picture)
        covered = np.zeros(pale.shape, int)
        for one in row["regions"]:
            x0, y0, x1, y1 = (round(value * side) for value in one["box"])
            inside = ~pale[y0:y1, x0:x1]
            assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
            covered[y0:y1, x0:x1] += 1
        assert covered.max() == 1
        painted = ~pale & (covered == 0)
        # What is fainter than half lies outside a box by a pixel at most, and is hardly there.
        assert painted.sum() <= 0.01 * pale.size


def test_what_is_absent_is_not_there(made: list[Dataset]) -> None:
    for row, _ in rows_of(made[0]):
        there = {one["label"] for one in row["regions"]}
        assert len(row["graph"]["absent"]) == 5
        assert not there & set(row["graph"]["absent"])
        assert there == {thing["name"] for thing in row["graph"]["things"]}


FACTS = [f"{part}{end}" for part in ("subject", "object") for end in ("", "_colour", "_size", "_count")] + ["relation"]


def test_a_modification_leads_from_its_reference_by_one_fact_that_the_text_names(made: list[Dataset]) -> None:
    asked = set()
    for dataset in made:
        rows = {row["key"]: row for row, _ in rows_of(dataset)}
        for row in rows.values():
            before, after = rows[row["labels"]["reference"]]["labels"], row["labels"]
            assert before["family"] == after["family"]
            changed = [fact for fact in FACTS if before[fact] != after[fact]]
            assert len(changed) == 1
            [one] = [one for one in row["captions"] if one["source"] == "modification"]
            kind = one["producer"].rpartition("/")[2]
            new = after[changed[0]]
            said = {"count": {"1": "one", "2": "two", "3": "three"}.get(new, new), "relation": new.split()[0]}
            assert said.get(kind, new) in one["text"]
            asked.add(kind)
    assert asked == set(EDITS)


def test_scenes_of_a_family_differ_from_each_other(made: list[Dataset]) -> None:
    families: dict[str, list[str]] = {}
    for row, _ in rows_of(made[0]):
        families.setdefault(row["group"], []).append(texts(row, "alt")[0])
    assert len(families) == 20
    assert all(len(set(said)) == 6 for said in families.values())


def test_no_thing_picture_or_sentence_is_in_two_splits(made: list[Dataset]) -> None:
    names, origins, frames = [], [], []
    for dataset in made:
        rows = [row for row, _ in rows_of(dataset)]
        names.append({one["label"] for row in rows for one in row["regions"]})
        origins.append({thing["donor"] for row in rows for thing in row["graph"]["things"]})
        sentences = [one["text"] for row in rows for one in row["captions"] if one["source"] != "modification"]
        frames.append({re.sub(HOW, "HOW", re.sub(PHRASE, "THING", said).replace(" are", " is")) for said in sentences})
    for kind in (names, origins, frames):
        assert all(kind)
        assert len(kind[0] | kind[1] | kind[2]) == sum(map(len, kind))


def test_a_name_or_a_look_of_evaluation_is_taken_from_training(tmp_path: Path) -> None:
    source = donors(tmp_path)
    twice = [*NAMES[""], "wolf", "kettle"]  # a name of dev; another name with the look of test's harp
    things_dataset(tmp_path, "things", twice, [*NAMES[""], "zebra", "harp"])
    made = ingest_all("scenes", source, str(tmp_path / "made"), count=60, evaluation_count=12)
    shown = [{one["label"] for row, _ in rows_of(dataset) for one in row["regions"]} for dataset in made]
    assert not shown[0] & {"wolf", "kettle"}
    assert made[0].facts["things"] == len(NAMES[""])


def digest_of(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()


def test_the_same_seed_gives_the_same_bytes_and_more_of_them_begin_alike(tmp_path: Path) -> None:
    source = donors(tmp_path)

    def made(name: str, **options: int) -> Dataset:
        return ingest_all("scenes", source, str(tmp_path / name), **({"count": 30, "evaluation_count": 6} | options))[0]

    first, second, longer, other = made("a"), made("b"), made("c", count=60), made("d", seed=1)
    assert digest_of(tmp_path / "a") == digest_of(tmp_path / "b")
    assert first.digest == second.digest != other.digest
    some, more = rows_of(first), rows_of(longer)
    assert (len(some), len(more)) == (30, 60)
    for (row, picture), (again, same) in zip(some, more, strict=False):
        assert row["captions"] == again["captions"]
        assert np.array_equal(picture, same)


def test_a_picture_over_a_plain_ground_is_cut_out_as_its_transparent_one_is() -> None:
    transparent, opaque = cut_out(thing("bear")), cut_out(thing("bear", alpha=False))
    assert np.abs(np.subtract(transparent.shape, opaque.shape)).max() <= 2
    middle = opaque[len(opaque) // 2, opaque.shape[1] // 2]
    assert middle[3] == 255  # what is light inside is no ground
    assert (opaque[..., 3] == 0).any()


def test_what_cannot_be_cut_out_says_why() -> None:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)).save(stream, "PNG")
    with pytest.raises(ValueError, match="ground is not of one colour"):
        cut_out(stream.getvalue())
    with pytest.raises(ValueError, match="cannot be read"):
        cut_out(b"no picture")
    stream = io.BytesIO()
    Image.new("RGBA", (9, 9), (0, 0, 0, 0)).save(stream, "PNG")
    with pytest.raises(ValueError, match="nothing is seen"):
        cut_out(stream.getvalue())


@pytest.mark.parametrize(
    ("caption", "name"),
    [
        ("A Dog.", "dog"),
        ("fire engine", "fire engine"),
        ("green book", None),
        ("Catch-22", None),
        ("", None),
        ("a very long name", None),
        ("black-cat", None),
    ],
)
def test_a_name_is_short_and_says_no_colour_size_or_number(caption: str, name: str | None) -> None:
    assert thing_name([caption] if caption else []) == name


def test_too_few_things_and_wrong_settings_are_one_line(tmp_path: Path) -> None:
    source = donors(tmp_path)
    things_dataset(tmp_path, "things-dev", ["quail", "rat"])
    with pytest.raises(DatasetError, match=r"things-dev has 2 things .* scenes need"):
        ingest_all("scenes", source, str(tmp_path / "made"))
    with pytest.raises(InvalidRecipe, match="count"):
        ingest_all("scenes", source, str(tmp_path / "made"), count=2)
