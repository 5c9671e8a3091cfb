"""Public evaluation sets in their own layouts: captions, classes, bags and judgements come out right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from shapes import encoded

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.ingest import detect, ingest
from pairwright.components.dataset.pairs import captions_from
from pairwright.components.dataset.shards.reading import read_pairs
from pairwright.components.errors import DatasetError


def rows_of(dataset: Dataset) -> list[dict[str, Any]]:
    return [row for _, table in dataset.iter_sidecars() for row in table.to_pylist()]


def labels_of(row: dict[str, Any]) -> dict[str, str]:
    return {label["name"]: label["value"] for label in row["labels"]}


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def karpathy(root: Path, *, coco: bool, splits: list[str]) -> Path:
    """The JSON as Karpathy wrote it, with `filepath` for COCO and without for Flickr, and its pictures."""
    images = []
    for number, split in enumerate(splits):
        name = f"COCO_val2014_{number:012d}.jpg" if coco else f"{number}.jpg"
        sentences = [
            {"tokens": ["a", "thing"], "raw": f"A thing, {number}/{i}.", "imgid": number, "sentid": 5 * number + i}
            for i in range(5)
        ]
        entry = {"sentids": [5 * number + i for i in range(5)], "imgid": number, "sentences": sentences}
        images.append(entry | {"split": split, "filename": name} | ({"filepath": "val2014"} if coco else {}))
        put(root / ("val2014" if coco else "flickr30k-images") / name, encoded(number))
    path = root / ("dataset_coco.json" if coco else "dataset_flickr30k.json")
    path.write_text(json.dumps({"images": images, "dataset": "coco" if coco else "flickr30k"}))
    return path


@pytest.mark.parametrize("coco", [True, False])
def test_karpathys_split_is_its_pictures_with_all_their_sentences_in_order(tmp_path: Path, coco: bool) -> None:
    path = karpathy(tmp_path / "in", coco=coco, splits=["train", "test", "restval", "test", "val"])
    assert detect(str(path)) == "karpathy"
    dataset = ingest("auto", str(path), str(tmp_path / "out"))
    rows = rows_of(dataset)
    assert [captions_from(row["captions"], "alt") for row in rows] == [
        [f"A thing, {number}/{i}." for i in range(5)] for number in (1, 3)
    ]
    assert [row["error"] for row in rows] == [None, None]
    assert all(labels_of(row)["split"] == "test" for row in rows)
    (batch,) = read_pairs(dataset.shards[0], pixels=32)
    assert all(image is not None for image in batch.images)
    trained = ingest("karpathy", str(path), str(tmp_path / "train"), split="train+restval")
    assert [captions_from(row["captions"], "alt")[0] for row in rows_of(trained)] == ["A thing, 0/0.", "A thing, 2/0."]


def test_a_split_that_is_not_there_and_a_json_that_is_none_are_one_line(tmp_path: Path) -> None:
    path = karpathy(tmp_path / "in", coco=False, splits=["train", "test"])
    with pytest.raises(DatasetError, match='has no split "tset"; did you mean "test"'):
        ingest("karpathy", str(path), str(tmp_path / "out"), split="tset")
    (tmp_path / "other.json").write_text('{"images": [{"filename": "a.jpg"}]}')
    with pytest.raises(DatasetError, match="is no split of Karpathy's"):
        ingest("karpathy", str(tmp_path / "other.json"), str(tmp_path / "out"))


def test_a_picture_that_is_missing_is_a_row_with_a_reason(tmp_path: Path) -> None:
    path = karpathy(tmp_path / "in", coco=True, splits=["test"] * 3)
    (tmp_path / "in" / "val2014" / "COCO_val2014_000000000001.jpg").unlink()
    rows = rows_of(ingest("karpathy", str(path), str(tmp_path / "out")))
    assert [row["error"] for row in rows] == [None, "missing_file", None]


WORDS = {"n01440764": "tench, Tinca tinca", "n02012849": "crane", "n03126707": "crane"}
FORMS = {
    "LOC_synset_mapping.txt": "".join(f"{name} {words}\n" for name, words in WORDS.items()),
    "imagenet_class_index.json": json.dumps(
        {str(i): [name, words.split(",")[0]] for i, (name, words) in enumerate(WORDS.items())}
    ),
    "map_clsloc.txt": "".join(f"{name} {i} {words}\n" for i, (name, words) in enumerate(WORDS.items())),
    "classnames.txt": "tench\ncrane\ncrane\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_class_folders_are_labels_in_words_whatever_the_form_of_the_list(tmp_path: Path, form: str) -> None:
    for number, name in enumerate(WORDS):
        for i in range(2):
            put(tmp_path / "in" / "val" / name / f"ILSVRC2012_val_{number}{i}.JPEG", encoded(10 * number + i))
    (tmp_path / "in" / form).write_text(FORMS[form])
    assert detect(str(tmp_path / "in" / "val")) == "class-folders"
    dataset = ingest("auto", str(tmp_path / "in" / "val"), str(tmp_path / "out"))
    found = [(labels_of(row)["class"], labels_of(row)["wnid"], row["error"]) for row in rows_of(dataset)]
    # ImageNet has two cranes, a bird and a machine: two classes stay two.
    said = {"n01440764": "tench", "n02012849": "crane (n02012849)", "n03126707": "crane (n03126707)"}
    assert found == [(said[name], name, None) for name in WORDS for _ in range(2)]
    assert not any(row["captions"] for row in rows_of(dataset))


def test_a_class_without_words_is_refused_and_a_plain_folder_stays_an_imagefolder(tmp_path: Path) -> None:
    put(tmp_path / "in" / "cat" / "1.jpg", encoded(1))
    put(tmp_path / "in" / "dog" / "1.jpg", encoded(2))
    assert detect(str(tmp_path / "in")) == "imagefolder"
    bare = ingest("class-folders", str(tmp_path / "in"), str(tmp_path / "bare"))
    assert [labels_of(row)["class"] for row in rows_of(bare)] == ["cat", "dog"]
    (tmp_path / "words.txt").write_text("cat a cat\n")
    with pytest.raises(DatasetError, match='has no words for the folder "dog"'):
        ingest("class-folders", str(tmp_path / "in"), str(tmp_path / "out"), names=str(tmp_path / "words.txt"))


@pytest.mark.parametrize("lines", [True, False])
def test_winogrounds_examples_are_bags_of_pairs(tmp_path: Path, lines: bool) -> None:
    examples = []
    for number in range(3):
        for i in range(2):
            put(tmp_path / "in" / "images" / f"ex_{number}_img_{i}.png", encoded(2 * number + i, form="PNG"))
        examples.append(
            {"id": number, "caption_0": f"a above b {number}", "caption_1": f"b above a {number}"}
            | {"image_0": f"ex_{number}_img_0", "image_1": f"ex_{number}_img_1"}
            | {"collapsed_tag": "Relation", "num_main_preds": 1}
        )
    path = tmp_path / "in" / ("examples.jsonl" if lines else "examples.json")
    path.write_text("\n".join(map(json.dumps, examples)) if lines else json.dumps(examples))
    assert detect(str(path)) == "winoground"
    rows = rows_of(ingest("auto", str(path), str(tmp_path / "out")))
    assert [(row["key"], labels_of(row)["bag"], row["group"]) for row in rows] == [
        (f"{number}-{i}", str(number), str(number)) for number in range(3) for i in range(2)
    ]
    assert captions_from(rows[1]["captions"], "alt") == ["b above a 0"]
    assert labels_of(rows[0])["collapsed_tag"] == "Relation"
    assert not any(row["error"] for row in rows)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sts.tsv", "sentence1\tsentence2\tscore\nA dog.\tA hound.\t4.5\nA dog.\tThe sun.\t0.2\nA cat.\t\t1\n"),
        ("cxc.csv", "caption1,caption2,agg_score\nA dog.,A hound.,4.5\nA dog.,The sun.,0.2\nA cat.,,1\n"),
        (
            "sick.txt.tsv",
            "pair_ID\tsentence_A\tsentence_B\trelatedness_score\n1\tA dog.\tA hound.\t4.5\n2\tA dog.\tThe sun.\t0.2\n"
            "3\tA cat.\t\t1\n",
        ),
    ],
)
def test_judged_pairs_of_texts_are_rows_of_two_captions_and_a_number(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    rows = rows_of(ingest("sentence-pairs", str(tmp_path / name), str(tmp_path / "out")))
    assert [(captions_from(r["captions"], "first"), captions_from(r["captions"], "second")) for r in rows[:2]] == [
        (["A dog."], ["A hound."]),
        (["A dog."], ["The sun."]),
    ]
    assert [labels_of(row)["similarity"] for row in rows] == ["4.5", "0.2", "1.0"]
    assert [bool(row["error"]) for row in rows] == [False, False, True]
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DatasetError, match='no column "sentence1", only a, b; name yours with first_column'):
        ingest("sentence-pairs", str(tmp_path / "bad.csv"), str(tmp_path / "bad"))
