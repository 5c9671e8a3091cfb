"""The emoji corpus's source, on packages made like npm's and Debian's."""

import dataclasses
import filecmp
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from pairwright.components.dataset.dataset import Dataset, open_dataset
from pairwright.components.dataset.ingest import ingest_all
from pairwright.components.dataset.media.decode import decode
from pairwright.components.dataset.sources.emoji import npm_packages
from pairwright.components.dataset.sources.emoji.concepts import characters, family
from pairwright.components.dataset.sources.emoji.icons import STYLES, IconSet, NoIcon
from pairwright.components.dataset.sources.emoji.npm_packages import NpmPackage, integrity
from pairwright.components.errors import DatasetError, InvalidRecipe

GROUPS = ("Smileys & Emotion", "Animals & Nature", "Objects")
MOTIFS = 30
BROKEN, HIDDEN, EMPTY, BLANK, UNNAMED, ORPHAN, TURNED, KEYCAP = range(0x1F900, 0x1F908)


def body(seed: int) -> str:
    """Sixty-four coloured squares, of which no two seeds have the same: 32 units wide."""
    rng = np.random.default_rng(seed)
    return "".join(
        f'<rect x="{4 * (i % 8)}" y="{4 * (i // 8)}" width="4" height="4" fill="#{colour:06x}"/>'
        for i, colour in enumerate(rng.integers(0, 1 << 24, 64).tolist())
        if i  # the first stays transparent
    )


def write_style(root: Path, name: str, seed: int) -> None:
    icons: dict = {f"motif-{n}": {"body": body(100 * seed + n)} for n in range(MOTIFS)}
    icons |= {"man": {"body": body(100 * seed + 50)}, "woman": {"body": body(100 * seed + 51)}}
    chars = {f"1f4{n:02x}": f"motif-{n}" for n in range(MOTIFS)}
    chars |= {"1f468-200d-1f680": "man", "1f469-200d-1f680": "woman", "1f468-1f3fd-200d-1f680": "man"}
    icons["broken"] = {"body": '<path d="M0 0'}
    icons["hidden"] = {"body": body(1), "hidden": True}
    icons["empty"] = {"body": ""}
    icons["blank"] = {"body": '<path d="nonsense"/>'}
    icons["unnamed"] = {"body": body(100 * seed + 60)}
    icons["keycap"] = {"body": body(100 * seed + 61), "width": 64}
    aliases = {"turned": {"parent": "motif-0", "hFlip": True}, "orphan": {"parent": "nobody"}}
    for code, icon in zip(
        (BROKEN, HIDDEN, EMPTY, BLANK, UNNAMED, ORPHAN, TURNED),
        ("broken", "hidden", "empty", "blank", "unnamed", "orphan", "turned"),
        strict=True,
    ):
        chars[f"{code:x}"] = icon
    chars |= {"23-20e3": "keycap", "no code points": "motif-1"}
    package = STYLES[name].package
    folder = root / "node_modules" / package.name
    folder.mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"name": package.name, "version": package.version}))
    (folder / "icons.json").write_text(json.dumps({"width": 32, "height": 32, "icons": icons, "aliases": aliases}))
    (folder / "chars.json").write_text(json.dumps(chars))


def annotations(language: str, names: dict[str, str], keywords: dict[str, str]) -> str:
    lines = [f'<annotation cp="{text}">{words}</annotation>' for text, words in keywords.items()]
    lines += [f'<annotation cp="{text}" type="tts">{name}</annotation>' for text, name in names.items()]
    return f'<ldml><identity><language type="{language}"/></identity><annotations>{"".join(lines)}</annotations></ldml>'


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("packages")
    for seed, name in enumerate(STYLES, 1):
        write_style(root, name, seed)
    lines = ["# subgroup: nowhere"]
    for number, group in enumerate(GROUPS):
        lines += [f"# group: {group}", f"# subgroup: part-{number}"]
        for n in range(number, MOTIFS, len(GROUPS)):
            lines.append(f"1F4{n:02X} ; fully-qualified # {chr(0x1F400 + n)} E1.0 motif {n}")
    for code in (BROKEN, HIDDEN, EMPTY, BLANK, ORPHAN, TURNED):
        lines.append(f"{code:X} ; fully-qualified # x E1.0 odd {code:x}")
    lines += [
        f"{UNNAMED:X} ; fully-qualified # x E1.0",
        "0023 FE0F 20E3 ; fully-qualified # #️⃣ E0.6 keycap: #",
        "1F468 200D 1F680 ; fully-qualified # x E4.0 man astronaut",
        "1F469 200D 1F680 ; fully-qualified # x E4.0 woman astronaut",
        "1F468 1F3FD 200D 1F680 ; fully-qualified # x E4.0 man astronaut: medium skin tone",
        "1F3FD ; component # x E1.0 medium skin tone",
        "0023 20E3 ; unqualified # x E0.6 keycap: #",
    ]
    unicode = root / "usr/share/unicode"
    (unicode / "emoji").mkdir(parents=True)
    (unicode / "emoji/emoji-test.txt").write_text("\n".join(lines), encoding="utf-8")
    cldr = unicode / "cldr/common"
    for part in ("annotations", "annotationsDerived"):
        (cldr / part).mkdir(parents=True)
    names = {chr(0x1F400 + n): f"motif {n}" for n in range(MOTIFS - 1)}  # the last has emoji-test's name alone
    names[chr(0x1F400)] = "Tom &amp; Jerry"
    keywords = {text: f"thing | {name}" for text, name in names.items()} | {chr(UNNAMED): " "}
    (cldr / "annotations/en.xml").write_text(annotations("en", {**names, chr(UNNAMED): ""}, keywords))
    german = {text: f"Motiv {n}" for n, text in enumerate(names)} | {chr(0x1F401): "↑↑↑"}
    (cldr / "annotations/de.xml").write_text(annotations("de", german, {}))
    (cldr / "annotationsDerived/de.xml").write_text(annotations("de", {"#⃣": "Taste: #"}, {}))
    (cldr / "annotations/sr_Latn.xml").write_text(annotations("sr", {chr(0x1F402): "motiv dva"}, {}))
    return root


def made(packages: Path, dest: Path, **options) -> list[Dataset]:
    return ingest_all("emoji", str(packages), str(dest), **{"side": "32", "languages": "de,sr_Latn", **options})


@pytest.fixture(scope="module")
def corpus(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Dataset]:
    return made(packages, tmp_path_factory.mktemp("made"))


def rows(*datasets: Dataset) -> dict[str, dict]:
    return {row["key"]: row for one in datasets for _, table in one.iter_sidecars() for row in table.to_pylist()}


def texts(row: dict) -> dict[tuple[str, str | None], str]:
    return {(one["source"], one["lang"]): one["text"] for one in row["captions"]}


def label(row: dict, name: str) -> str:
    return next(one["value"] for one in row["labels"] if one["name"] == name)


def picture(datasets: list[Dataset], key: str) -> np.ndarray:
    for dataset in datasets:
        for shard in dataset.shards:
            for row in shard.read_sidecar().to_pylist():
                if row["key"] == key:
                    image = decode(shard.read_member(row["media"][0]), 32).image
                    assert image is not None
                    return image
    raise AssertionError(key)


def test_twice_is_the_same_to_the_byte(packages: Path, corpus: list[Dataset], tmp_path: Path) -> None:
    made(packages, tmp_path)
    first = Path(corpus[0].root).parent
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert len(files) == 9
    _, differ, problems = filecmp.cmpfiles(first, tmp_path, files, shallow=False)
    assert differ == problems == []


def test_a_pair_is_a_concept_in_a_style_with_its_names(corpus: list[Dataset]) -> None:
    assert [dataset.name for dataset in corpus] == ["emoji", "emoji-dev", "emoji-test"]
    everything = rows(*corpus)
    for style in STYLES.values():
        row = everything[f"{style.name}-1f402"]
        assert texts(row) == {
            ("alt", "en"): "motif 2",
            ("keywords", "en"): "thing, motif 2",
            ("translation", "de"): "Motiv 2",
            ("translation", "sr-Latn"): "motiv dva",
        }
        assert (row["licence"], row["author"]) == (style.licence, style.author)
        assert row["origin"] == f"{style.package.name}@{style.package.version}/motif-2"
        assert [label(row, name) for name in ("style", "group", "subgroup", "concept")] == [
            style.name, "Objects", "part-2", "1f402",
        ]  # fmt: skip
    assert texts(everything["noto-1f400"])["alt", "en"] == "Tom & Jerry"
    assert ("translation", "de") not in texts(everything["noto-1f401"]), "an inherited name is no name"
    assert texts(everything["noto-23-20e3"]) == {("alt", "en"): "keycap: #", ("translation", "de"): "Taste: #"}


def test_a_concept_that_cldr_does_not_name_has_emoji_tests_name_and_says_so(corpus: list[Dataset]) -> None:
    row = rows(*corpus)[f"noto-1f4{MOTIFS - 1:02x}"]
    assert texts(row) == {("alt", "en"): f"motif {MOTIFS - 1}"}
    assert row["captions"][0]["producer"] == "unicode-data/emoji-test"


def test_bad_icons_and_empty_names_are_rows_with_a_reason(corpus: list[Dataset]) -> None:
    everything = rows(*corpus)
    reasons = {
        BROKEN: "svg:",
        HIDDEN: "icon:hidden",
        EMPTY: "icon:empty",
        BLANK: "icon:blank",
        UNNAMED: "unnamed:",
        ORPHAN: "icon:missing",
    }
    for code, reason in reasons.items():
        for style in STYLES:
            row = everything[f"{style}-{code:x}"]
            assert row["error"].startswith(reason)
            assert row["media"] == []
    assert sum(row["error"] is not None for row in everything.values()) == 4 * len(reasons)


def test_what_is_no_concept_is_counted(corpus: list[Dataset]) -> None:
    assert len(rows(*corpus)) == 4 * (MOTIFS + 10)
    facts = open_dataset(corpus[1].root).facts
    assert facts["left_out_of_emoji_test"] == {"component": 1, "skin tone": 1, "unqualified": 1}
    assert facts["icons_of_no_concept"] == dict.fromkeys(STYLES, 1)
    assert {one["style"]: one["licence"] for one in facts["attribution"]}["openmoji"] == "CC-BY-SA-4.0"


def test_pictures_keep_their_transparency_and_aliases_are_turned(corpus: list[Dataset]) -> None:
    plain, turned = (picture(corpus, f"twemoji-{code}") for code in ("1f400", f"{TURNED:x}"))
    assert (plain[:4, :4] == 255).all(), "what is transparent is read over white"
    assert np.array_equal(turned, plain[:, ::-1])
    wide = picture(corpus, "twemoji-23-20e3")
    assert wide.shape == (32, 32, 3), "what is not square gets room above and below"
    assert (wide[:7] == 255).all()
    with tarfile.open(corpus[0].shards[0].tar) as tar:
        first = next(member for member in tar if member.name.endswith(".webp"))
        stream = tar.extractfile(first)
        assert stream is not None
        assert b"VP8L" in stream.read(32), "lossless"


def test_styles_and_variants_of_a_concept_share_a_split_and_a_group(corpus: list[Dataset]) -> None:
    by_concept: dict[str, set] = {}
    for dataset in corpus:
        for row in rows(dataset).values():
            by_concept.setdefault(label(row, "concept"), set()).add((dataset.name, row["group"]))
    assert all(len(places) == 1 for places in by_concept.values())
    assert by_concept["1f468-200d-1f680"] == by_concept["1f469-200d-1f680"]
    composition = corpus[0].facts["composition"]
    assert composition == corpus[2].facts["composition"]
    for split in ("dev", "test"):
        assert 12 <= sum(composition["pairs"][split].values()) <= 20
        assert set(composition["pairs"][split]) == set(GROUPS), "stratified by group"


def test_families_join_sexes_and_hair_and_nothing_else() -> None:
    def of(codes: str) -> str:
        return family(characters(codes))

    for one, other in [
        ("1F468 200D 1F680", "1F9D1 1F3FD 200D 1F680"),  # man astronaut, astronaut of a medium skin
        ("1F3C3 200D 2640 FE0F", "1F3C3"),  # woman running, person running
        ("1F469 200D 1F9B0", "1F9D1"),  # woman with red hair, person
        ("1F468 200D 1F469 200D 1F467", "1F46A"),  # a family
        ("1F469 200D 2764 FE0F 200D 1F48B 200D 1F468", "1F48F"),  # a kiss
        ("1F9D1 200D 1F91D 200D 1F9D1", "1F46B"),  # holding hands
        ("1F9D1 200D 1F384", "1F385"),  # mx claus, Santa Claus
    ]:
        assert of(one) == of(other)
    apart = ["1F680", "1F9D1", "1F9D1 200D 1F680", "1F9D1 200D 1F3A8", "1F48F", "1F491", "2764", "1F3F3 200D 1F308"]
    assert len({of(codes) for codes in apart}) == len(apart)


def test_an_alias_without_end_is_refused(packages: Path) -> None:
    icons = IconSet.read(STYLES["noto"], str(packages))
    looped = dataclasses.replace(icons, aliases={"a": {"parent": "b"}, "b": {"parent": "a"}})
    with pytest.raises(NoIcon, match="circle"):
        looped.svg("a")
    twice = dataclasses.replace(
        icons, aliases={"a": {"parent": "b", "hFlip": True}, "b": {"parent": "man", "rotate": 1}}
    )
    assert "rotate(90)" in twice.svg("a").partition("<rect")[0]


def test_packages_that_are_missing_changed_or_damaged_are_one_line(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(match: str, folder: Path) -> None:
        with pytest.raises(DatasetError, match=match) as caught:
            made(folder, tmp_path / "made")
        assert "\n" not in str(caught.value)

    refused(r"holds neither iconify-json-noto-1\.2\.9\.tgz", tmp_path)
    noto = tmp_path / "node_modules/@iconify-json/noto"
    noto.mkdir(parents=True)
    for name, text, match in [
        ("package.json", '{"version": "0.0.1"}', "holds no icons.json and no chars.json"),
        ("icons.json", "{}", "holds no chars.json"),
        ("chars.json", "[", "chars.json is no JSON"),
        ("chars.json", "[]", "chars.json is no JSON object"),
        ("chars.json", "{}", r"is not 1\.2\.9"),
    ]:
        (noto / name).write_text(text)
        refused(match, tmp_path)
    monkeypatch.setenv("PAIRWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DatasetError, match="there is no npm to fetch it"):
        STYLES["noto"].package.files(None, ("icons.json",))


def test_a_tarball_is_held_against_its_integrity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "chars.json").write_text("{}")
    path = tmp_path / "made-1.0.0.tgz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(tmp_path / "chars.json", "package/chars.json")
    package = NpmPackage("@made/up", "1.0.0", integrity(path.read_bytes()))
    path = path.rename(tmp_path / package.tarball)
    assert package.files(str(tmp_path), ("chars.json",)) == {"chars.json": b"{}"}
    with pytest.raises(DatasetError, match=r"holds no icons\.json"):
        package.files(str(tmp_path), ("icons.json",))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DatasetError, match=r"is not @made/up@1\.0\.0 as it was pinned") as caught:
        package.files(str(tmp_path), ("chars.json",))
    assert "npm pack @made/up@1.0.0" in str(caught.value)


def test_what_npm_fetched_is_kept_and_what_it_says_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command called npm stands where npm would, so that no registry is asked."""
    monkeypatch.setenv("PAIRWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    npm = tmp_path / "npm"
    package = NpmPackage("@made/up", "1.0.0", integrity(b"a tarball"))
    npm.write_text("#!/bin/sh\necho 'npm ERR! 404' >&2\nexit 1\n")
    npm.chmod(0o755)
    with pytest.raises(DatasetError, match=r"cannot be fetched by npm \(npm ERR! 404\)"):
        package.files(None, ("chars.json",))
    npm.write_text(
        f'#!/bin/sh\n[ "$*" = "pack --ignore-scripts @made/up@1.0.0" ] && printf other > {package.tarball}\n'
    )
    with pytest.raises(DatasetError, match="as it was pinned"):
        package.files(None, ("chars.json",))
    assert (npm_packages.cache_folder() / "npm" / package.tarball).is_file()


def test_a_language_that_is_none_and_one_that_nobody_annotated(packages: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match="no language as CLDR names it"):
        made(packages, tmp_path, languages="deutsch")
    with pytest.raises(DatasetError, match='no annotations in "xx"'):
        made(packages, tmp_path, languages="xx")
    alone = made(packages, tmp_path, languages="")
    assert {source for row in rows(*alone).values() for source, _ in texts(row)} == {"alt", "keywords"}


def test_a_name_and_a_licence_of_ones_own_are_kept(packages: Path, tmp_path: Path) -> None:
    named = made(packages, tmp_path, name="signs", licence="mixed")
    assert [Path(one.root).name for one in named] == [one.name for one in named] == ["signs", "signs-dev", "signs-test"]
    assert {one.licence for one in named} == {"mixed"}


def test_help_teaches_the_kind_and_its_options() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "pairwright.flows.cli", "ingest", "emoji", "--help"], capture_output=True, text=True
    )
    assert said.returncode == 0, said.stderr
    for word in ("emoji", "--set KEY=VALUE", "side=96", "languages=am,ar", "largest_group", "keywords", "translation"):
        assert word in said.stdout
