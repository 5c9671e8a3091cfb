"""The demo corpus's source, on a small tree made like the packages', and on the pulled corpus if it is there."""

import filecmp
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

from pairwright.components.dataset.dataset import Dataset, open_dataset
from pairwright.components.dataset.media.decode import decode
from pairwright.components.dataset.media.pdq import NEAR, hamming, pdq_hash
from pairwright.components.dataset.sources import debian_packages
from pairwright.components.dataset.sources.clipart_texts import bcp47, read_drawing, read_stamp_text
from pairwright.components.dataset.sources.debian_clipart import FEATURELESS, ingest_debian_clipart
from pairwright.components.dataset.sources.debian_packages import locate
from pairwright.components.dataset.splits import DrawSettings, normalise
from pairwright.components.errors import DatasetError

SVG = """<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="300" height="200"
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:cc="http://web.resource.org/cc/"
 xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><rdf:RDF><cc:Work>{}</cc:Work></rdf:RDF></metadata>
<rect width="150" height="100" fill="red"/></svg>"""
WORK = (
    "<dc:title>Clipart by Ann - cat_01</dc:title><dc:subject><rdf:Bag><rdf:li></rdf:li><rdf:li>cat</rdf:li>"
    "<rdf:li> pet</rdf:li></rdf:Bag></dc:subject><dc:creator><cc:Agent><dc:title>Ann</dc:title></cc:Agent>"
    '</dc:creator><cc:license rdf:resource="http://web.resource.org/cc/PublicDomain"/>'
)


def write_png(path: Path, seed: int, alpha: bool = False) -> None:
    rng = np.random.default_rng(seed)
    pixels = cv2.resize(rng.integers(0, 256, (6, 9, 4 if alpha else 3)).astype(np.uint8), (450, 300))
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("packages")
    share = root / "usr/share"
    for number in range(24):
        path = share / f"tuxpaint/stamps/animals/mammals/{chr(97 + number)}nimal.png"
        write_png(path, number, alpha=number % 2 == 0)
        path.with_suffix(".txt").write_text(f"A beast number {number}.\nde.utf8=Tier {number}\n", encoding="utf-8")
    (share / "tuxpaint/stamps/town").mkdir()
    (share / "tuxpaint/stamps/town/house.svg").write_text(SVG.format(""))
    (share / "tuxpaint/stamps/town/house.txt").write_text("A red house.\n")
    for folder, name, work in [
        ("animals", "cat_01", WORK),
        ("food", "pie", "<dc:title></dc:title>"),
        ("food", "x", ""),
    ]:
        write_png(share / f"openclipart/png/{folder}/{name}.png", 100 + len(name))
        svg = share / f"openclipart/svg/{folder}/{name}.svg"
        svg.parent.mkdir(parents=True, exist_ok=True)
        svg.write_text(SVG.format(work))
    (share / "openclipart/png/food/cat_again.png").symlink_to("../animals/cat_01.png")
    (share / "openclipart/png/food/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x34\xbc\0\0\x32\xc8\x08\x02\0\0\0" + b"\0" * 40 + b"IEND"
    (share / "openclipart/png/food/bomb.png").write_bytes(bomb)
    return root


def rows(dataset: Dataset) -> dict[str, dict]:
    return {row["key"]: row for _, table in dataset.iter_sidecars() for row in table.to_pylist()}


def by_source(row: dict) -> dict[str, str]:
    return {caption["source"]: caption["text"] for caption in row["captions"]}


SMALL = DrawSettings(pairs=4)


def test_twice_is_the_same_to_the_byte(packages: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        ingest_debian_clipart(str(tmp_path / name), packages=str(packages), draw_settings=SMALL)
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file())
    assert len(files) == 9
    _, differ, problems = filecmp.cmpfiles(tmp_path / "one", tmp_path / "two", files, shallow=False)
    assert differ == problems == []


def test_every_text_is_a_caption_of_its_own_source(packages: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    made = ingest_debian_clipart(
        str(tmp_path), packages=str(packages), draw_settings=SMALL, progress=lambda done, total, what: seen.append(done)
    )
    assert [dataset.name for dataset in made] == ["raw", "dev", "test"]
    assert seen == list(range(1, 32))
    assert [dataset.rows for dataset in made] == [22, 5, 4]
    raw = rows(made[0])
    cat = raw["clipart-animals-cat_01"]
    assert by_source(cat) == {
        "alt": "Clipart by Ann - cat_01",
        "keywords": "cat, pet",
        "file_name": "cat_01",
        "folder": "animals",
    }
    assert (cat["author"], cat["licence"]) == ("Ann", "CC-PDDC")
    assert cat["origin"] == "usr/share/openclipart/png/animals/cat_01.png"
    assert {"name": "category", "value": "animals"} in cat["labels"]
    assert by_source(raw["clipart-food-pie"])["alt"] == "", "an empty title is a caption"
    assert "alt" not in by_source(raw["clipart-food-x"])
    stamp = next(row for row in rows(made[1]).values() if "animals" in row["key"])
    assert stamp["licence"] == "GPL-2.0-only"
    translation = next(one for one in stamp["captions"] if one["source"] == "translation")
    assert (translation["lang"], translation["text"][:4]) == ("de", "Tier")


def test_pictures_are_small_opaque_and_readable_and_the_bad_are_rows_with_a_reason(
    packages: Path, tmp_path: Path
) -> None:
    made = ingest_debian_clipart(str(tmp_path), packages=str(packages), max_side=64, draw_settings=SMALL)
    everything = {key: row for dataset in made for key, row in rows(dataset).items()}
    assert everything["clipart-food-broken"]["error"].startswith("decode:")
    assert everything["clipart-food-bomb"]["error"].startswith("decode:too_large")
    assert everything["clipart-food-bomb"]["media"] == []
    for dataset in made:
        for shard in dataset.shards:
            for row in shard.read_sidecar().to_pylist():
                for medium in row["media"]:
                    image = decode(shard.read_member(medium), 64).image
                    assert image is not None
                    assert max(image.shape[:2]) == 64
    assert everything["stamp-town-house"]["error"] is None, "a stamp that is only an SVG is drawn"
    with tarfile.open(made[0].shards[0].tar) as tar:
        assert "clipart-food-cat_again.webp" in tar.getnames(), "a symbolic link is a pair of its own"


def test_attribution_of_each_shard_is_published(packages: Path, tmp_path: Path) -> None:
    made = ingest_debian_clipart(str(tmp_path), packages=str(packages), draw_settings=SMALL)
    facts = open_dataset(str(tmp_path / "raw")).facts
    assert [one["shard"] for one in facts["attribution"]] == [shard.name for shard in made[0].shards]
    assert facts["attribution"][0]["licences"]["GPL-2.0-only"] == 25 - made[1].rows - made[2].rows
    assert "Ann" in facts["attribution"][0]["authors"]
    assert set(facts["composition"]["pairs"]) >= {"raw", "dev", "test"}


def test_missing_packages_are_one_line_with_a_remedy(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIRWRIGHT_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DatasetError, match="not a folder"):
        locate(str(tmp_path / "nowhere"))
    with pytest.raises(DatasetError, match=r"holds neither .*apt-get install"):
        locate(str(tmp_path))
    monkeypatch.setattr(debian_packages, "PARTS", ("no/such/part",))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DatasetError, match="no apt-get") as caught:
        locate(None)
    assert "\n" not in str(caught.value)


def test_damaged_deb_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if debian_packages.shutil.which("dpkg-deb") is None:
        pytest.skip("needs dpkg-deb")
    monkeypatch.setenv("PAIRWRIGHT_CACHE", str(tmp_path / "cache"))
    for name in debian_packages.PACKAGES:
        (tmp_path / f"{name}_1_all.deb").write_bytes(b"not a package")
    with pytest.raises(DatasetError, match="cannot be unpacked") as caught:
        locate(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_stamp_texts_in_utf8_and_in_old_encodings() -> None:
    data = (
        b"\xef\xbb\xbfA horse.\ncs.utf8=K\xc5\xaf\xc5\x88\npl=Ko\xf1\nde=Pferd\nde.utf8=Ein Pferd\n"
        b"ru=\xeb\xcf\xce\xd8\nnonsense\n"
    )
    english, translations = read_stamp_text(data)
    assert english == "A horse."
    assert dict(translations) == {"cs": "Kůň", "pl": "Koń", "de": "Ein Pferd", "ru": "Конь"}
    assert read_stamp_text(b"") == (None, [])
    assert [bcp47(name) for name in ("pt_BR", "sr@latin", "ca@valencia")] == ["pt-BR", "sr-Latn", "ca-valencia"]


def test_unreadable_svg_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.svg").write_text("<svg><unclosed>")
    assert read_drawing(tmp_path / "a.svg").title is None
    assert read_drawing(tmp_path / "missing.svg").title is None


CORPUS = Path(__file__).parents[4] / "data"


@pytest.mark.skipif(not (CORPUS / "raw/dataset.json").exists(), reason="the corpus is not pulled")
def test_no_group_of_the_real_corpus_crosses() -> None:
    tables = {name: open_dataset(str(CORPUS / name)).iter_sidecars(["group", "key"]) for name in ("raw", "dev", "test")}
    groups = {name: set(pa.concat_tables(t for _, t in found)["group"].to_pylist()) for name, found in tables.items()}
    assert None not in set.union(*groups.values())
    assert not groups["raw"] & groups["dev"]
    assert not groups["raw"] & groups["test"]
    assert not groups["dev"] & groups["test"]


@pytest.mark.slow
@pytest.mark.skipif(not (CORPUS / "raw/dataset.json").exists(), reason="the corpus is not pulled")
def test_no_picture_or_caption_of_the_real_corpus_is_on_both_sides() -> None:
    """The definition itself, from the stored pictures and texts, not from what the draw recorded."""
    captions: dict[str, set[str]] = {}
    hashes: dict[str, np.ndarray] = {}
    for name in ("raw", "dev", "test"):
        dataset = open_dataset(str(CORPUS / name))
        captions[name] = {normalise(by_source(row).get("alt")) for row in rows(dataset).values()} - {""}
        hashes[name] = np.stack(
            [
                bits
                for shard in dataset.shards
                for row in shard.read_sidecar(["media"]).to_pylist()
                for medium in row["media"]
                for bits, quality in [pdq_hash(decode(shard.read_member(medium), 224).image)]
                if quality > FEATURELESS
            ]
        )
    for one, other in [("raw", "dev"), ("raw", "test"), ("dev", "test")]:
        assert not captions[one] & captions[other]
        assert hamming(hashes[one], hashes[other]).min() > NEAR


@pytest.mark.skipif(not (CORPUS / "raw/dataset.json").exists(), reason="the corpus is not pulled")
def test_the_published_composition_is_that_of_the_pulled_corpus() -> None:
    root = CORPUS.parent
    done = subprocess.run([sys.executable, "-m", "benchmarks.corpus", "--check"], cwd=root, check=False)
    assert done.returncode == 0, "docs/corpus.md is stale; run python -m benchmarks.corpus"
