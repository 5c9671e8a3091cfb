"""The emoji corpus in numbers and a picture: writes docs/emoji.md and docs/pictures/emoji.jpg.

python -m benchmarks.emoji_corpus             # from ./data/emoji, pulled if it is not there
python -m benchmarks.emoji_corpus --check     # exit 1 if docs/emoji.md is not what it would write
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.corpus import rows_of, table
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.media.decode import decode
from pairwright.components.dataset.media.pdq import FEATURELESS, NEAR, hamming, pdq_hash
from pairwright.components.dataset.pairs import caption_of
from pairwright.components.dataset.sources.emoji.icons import STYLES
from pairwright.components.dataset.splits import near_pairs, normalise
from pairwright.components.versioning import data_version
from pairwright.flows.planning.datasets import find_dataset

ROOT = Path(__file__).parents[1]
NAMES = ("emoji", "emoji-dev", "emoji-test")
SHOWN, TILE = 15, 64


@dataclass(frozen=True)
class Corpus:
    """The three datasets, their rows by name, and a PDQ hash a row with a picture that has one."""

    datasets: dict[str, Dataset]
    rows: dict[str, list[dict[str, Any]]]
    hashes: np.ndarray  # (n, 32) uint8
    hashed: list[tuple[str, dict[str, Any]]]  # (dataset, row) of each

    @property
    def all_rows(self) -> list[dict[str, Any]]:
        return [row for name in NAMES for row in self.rows[name]]


def read(root: Path) -> Corpus:
    datasets = {name: find_dataset(str(root / "data" / name)) for name in NAMES}
    hashes, hashed = [], []
    for name, dataset in datasets.items():
        for shard in dataset.shards:
            for row in shard.read_sidecar().to_pylist():
                image = decode(shard.read_member(row["media"][0]), 96).image if row["media"] else None
                bits, quality = (None, 0) if image is None else pdq_hash(image)
                if bits is not None and quality > FEATURELESS:
                    hashes.append(bits)
                    hashed.append((name, row))
    rows = {name: rows_of(dataset) for name, dataset in datasets.items()}
    return Corpus(datasets, rows, np.stack(hashes), hashed)


def label(row: dict[str, Any], name: str) -> str:
    return next(one["value"] for one in row["labels"] if one["name"] == name)


def facts_table(corpus: Corpus) -> str:
    def each(what: Any) -> list[int]:
        return [what(corpus.rows[name]) for name in NAMES]

    body = [
        ["pairs", *each(len)],
        *([f"of them {style}", *each(_of_style(style))] for style in STYLES),
        ["concepts", *each(lambda rows: len({label(row, "concept") for row in rows}))],
        ["groups", *each(lambda rows: len({row["group"] for row in rows}))],
        ["pairs of the largest group", *each(lambda rows: max(Counter(row["group"] for row in rows).values()))],
        ["rows without a usable picture", *each(lambda rows: sum(row["error"] is not None for row in rows))],
        ["named in English alone", *each(lambda rows: sum(len(row["captions"]) == 1 for row in rows))],
        ["shards", *(len(corpus.datasets[name].shards) for name in NAMES)],
        ["tars, MiB", *(f"{sum(s.tar_bytes for s in corpus.datasets[name].shards) / 2**20:.1f}" for name in NAMES)],
    ]
    return table(["", *NAMES], body)


def _of_style(style: str) -> Any:
    return lambda rows: sum(label(row, "style") == style for row in rows)


def group_table(corpus: Corpus) -> str:
    counts = {name: Counter(label(row, "group") for row in corpus.rows[name]) for name in NAMES}
    whole = ["**all**", *(sum(counts[name].values()) for name in NAMES)]
    groups = sorted(set().union(*counts.values()))
    return table(["pairs of", *NAMES], [*([one, *(counts[name][one] for name in NAMES)] for one in groups), whole])


def language_table(corpus: Corpus) -> tuple[str, int]:
    """Languages by the number of concepts that they name; and how many names stand for two concepts of a language."""
    named: dict[str, dict[str, str]] = defaultdict(dict)
    for row in corpus.all_rows:
        for one in row["captions"]:
            if one["source"] in ("alt", "translation"):
                named[one["lang"]][label(row, "concept")] = one["text"]
    by_count: dict[int, list[str]] = defaultdict(list)
    for lang, names in sorted(named.items()):
        by_count[len(names)].append(lang)
    shared = sum(n > 1 for names in named.values() for n in Counter(names.values()).values())
    body = [[" ".join(langs), n] for n, langs in sorted(by_count.items(), reverse=True)]
    return table(["languages", "concepts named in each"], body), shared


def shared_keywords(corpus: Corpus) -> tuple[int, str, int]:
    """Concepts whose keywords are another's, letter for letter; the commonest keywords, and of how many concepts."""
    keywords = {label(row, "concept"): caption_of(row["captions"], "keywords") for row in corpus.all_rows}
    counts = Counter(words for words in keywords.values() if words)
    (commonest, most), *_ = counts.most_common(1)
    return sum(n for n in counts.values() if n > 1), commonest, most


def near_table(corpus: Corpus) -> tuple[str, Counter[str]]:
    """Pairs of pictures within PDQ's radius by style; and how many are of two styles, of one concept, in two splits."""
    by_style: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for a, b in near_pairs(corpus.hashes):
        (where, one), (there, two) = corpus.hashed[a], corpus.hashed[b]
        styles = {label(one, "style"), label(two, "style")}
        by_style.update(styles if len(styles) == 1 else ())
        kinds.update({"all": 1, "two splits": where != there, "two styles": len(styles) > 1})
        kinds["one concept"] += label(one, "concept") == label(two, "concept")
    return table(["near pairs of pictures", "of two concepts"], [[f"{one}", by_style[one]] for one in STYLES]), kinds


def nearest(corpus: Corpus, of: Any) -> int:
    """Bits between the two nearest pictures that differ in what `of((dataset, row))` says."""
    said = np.array([of(one) for one in corpus.hashed])
    pairs = itertools.combinations(sorted(set(said.tolist())), 2)
    return min(int(hamming(corpus.hashes[said == a], corpus.hashes[said == b]).min()) for a, b in pairs)


def _split_of(one: tuple[str, dict[str, Any]]) -> str:
    return one[0]


def _style_of(one: tuple[str, dict[str, Any]]) -> str:
    return label(one[1], "style")


def captions_across(corpus: Corpus) -> int:
    """Normalised English names that stand in more than one split."""
    names = {name: {normalise(caption_of(row["captions"], "alt")) for row in corpus.rows[name]} for name in NAMES}
    return sum(len(names[a] & names[b]) for a, b in itertools.combinations(NAMES, 2))


def page(root: Path) -> str:
    corpus = read(root)
    facts = corpus.datasets["emoji"].facts
    concepts = {label(row, "concept") for row in corpus.all_rows}
    drawn_by = Counter(Counter(label(row, "concept") for row in corpus.all_rows).values())
    near, kinds = near_table(corpus)
    languages, shared = language_table(corpus)
    same_keywords, commonest, most = shared_keywords(corpus)
    sources = Counter(one["source"] for row in corpus.all_rows for one in row["captions"])
    by_test = sum(row["captions"][0]["producer"] == "unicode-data/emoji-test" for row in corpus.all_rows)
    left_out, own = facts["left_out_of_emoji_test"], facts["icons_of_no_concept"]
    credit = [[STYLES[s].author, s, STYLES[s].licence, facts["packages"][s]] for s in STYLES]
    styles_of = "; ".join(f"{n:,} in {styles}" for styles, n in sorted(drawn_by.items(), reverse=True))
    return f"""# The emoji corpus

{len(concepts):,} concepts, each as up to four artists drew it, with names in {1 + len(facts["languages"])} languages.
For several captions a picture and several pictures a caption, for languages, for styles as domains, for attributes.

![Fifteen concepts of emoji-dev, a column each, in the four styles](pictures/emoji.jpg)

`data.dvc` pins it beside [the demo corpus](corpus.md) (`{data_version(root)}`), in
`infra/dvc-remote`. A recipe that names `data/emoji` pulls it on first use, without a network, and leaves the demo
corpus alone. `make data` pulls both.

It was made by `pairwright ingest emoji data` from four npm packages of pinned versions and integrity, fetched by
`npm pack`, and two Debian packages, `unicode-data` (emoji-test.txt: which emoji there are, in which groups) and
`unicode-cldr-core` (names and keywords), fetched by `apt-get download`. The same packages give the same bytes.
`--set languages=de,zh_Hant` takes other languages of CLDR's, `--set side=224` larger pictures.

This page is written by `python -m benchmarks.emoji_corpus`.

## In a recipe

```yaml
name: emoji
extends: quickstart
data: data/emoji
evaluate:
  dev: data/emoji-dev
  test: data/emoji-test
  benchmarks:
    zero_shot: {{uses: zero_shot, with: {{label: group}}}}
```

## What is in it

{facts_table(corpus)}

A pair is a concept in a style; concepts by number of styles: {styles_of}. Noto's and Fluent's sets have
no country flags as Iconify packs them, Fluent's no families and no couples. Pictures are {facts["side"]} px square,
lossless WebP with their transparency; readers see them over white.

{table(["source", "captions"], [[source, n] for source, n in sources.most_common()])}

`alt` is the English short name by CLDR; {by_test} pairs of concepts newer than Debian's CLDR have the name that
emoji-test.txt gives them, and no other caption. `keywords` are CLDR's, loose as keywords are. Labels: `style`,
`group`, `subgroup` (emoji-test.txt's), `concept` (code points).

{languages}

The languages are of fourteen scripts; CLDR has some ninety more, left out for size. Names that stand for two concepts
of a language, letter for letter: {shared}. So a name has as many right pictures as styles draw it. Keywords are another
thing: those of {same_keywords} concepts are also another's (*{commonest}* is all that {most} have), and right for each.

Left out, and counted in `dataset.json`: of emoji-test.txt, {_counted(left_out)};
of the sets, what is no concept here (skin tones, parts, an artist's own): {_counted(own)}.

## How `emoji-dev` and `emoji-test` were drawn

A tenth of the pairs each, by group, stratified by emoji-test.txt's groups. Together go a concept's styles, its
variants by sex and hair (*man astronaut*, *woman astronaut*; all families), what is named alike without case and
punctuation (the keycaps # and *), and what lies within 31 of 256 bits by PDQ (tricolours, clock faces, hearts); and so
on transitively. Groups of more than 24 pairs stay in `emoji`. The sidecar's `group` says which.

{group_table(corpus)}

Near pairs of pictures (PDQ, at most {NEAR} bits): {kinds["all"]:,}, of which {kinds["two splits"]} in two splits,
{kinds["two styles"]} of two styles, {kinds["one concept"]} of one concept. The two nearest pictures of different splits
are {nearest(corpus, _split_of)} bits apart, of different styles {nearest(corpus, _style_of)}: no artist's picture
is another's. English names in two splits, without case and punctuation: {captions_across(corpus)}.
`tests/unit/dataset/test_emoji_pinned.py` holds the pinned bytes to it.

{near}

## Limits

A motif's variants that CLDR names as things of their own (*cat*, *cat face*; *bus*, *oncoming bus*) are different
concepts and may be in different splits, unless they look alike. Mirrored copies are not recognised. Debian's
emoji-test.txt is of Emoji 15.0 (2022): what the artists drew of later ones is left out.

## Licences

{table(["artist", "style", "licence", "package"], credit)}

Names and keywords: Unicode, Inc., Unicode-DFS-2016. Each row carries its licence, its author and the icon it was drawn
from. OpenMoji's pictures are share-alike: what is made of them is under the same licence. The notices that the licences
ask for are in [licences.md](licences.md).
"""


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {what}" for what, n in counts.items())


def sheet(root: Path) -> np.ndarray:
    """The first concepts of emoji-dev that all styles draw, a column each: (4 TILE, SHOWN TILE, 3) BGR."""
    shard = find_dataset(str(root / "data/emoji-dev")).shards[0]
    by_concept: dict[str, dict[str, Any]] = defaultdict(dict)
    for row in shard.read_sidecar().to_pylist():
        if row["media"]:
            by_concept[label(row, "concept")][label(row, "style")] = row["media"][0]
    whole = [drawn for drawn in by_concept.values() if len(drawn) == len(STYLES)][:SHOWN]
    canvas = np.full((len(STYLES) * TILE, SHOWN * TILE, 3), 255, np.uint8)
    for column, drawn in enumerate(whole):
        for line, style in enumerate(STYLES):
            image = decode(shard.read_member(drawn[style]), TILE).image
            assert image is not None
            small = cv2.resize(image[:, :, ::-1], (TILE - 6, TILE - 6), interpolation=cv2.INTER_AREA)
            top, left = line * TILE + 3, column * TILE + 3
            canvas[top : top + TILE - 6, left : left + TILE - 6] = small
    return canvas


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if docs/emoji.md is stale")
    check = parser.parse_args().check
    target = ROOT / "docs/emoji.md"
    text = page(ROOT)
    if check:
        return int(not target.exists() or target.read_text(encoding="utf-8") != text)
    target.write_text(text, encoding="utf-8")
    cv2.imwrite(str(ROOT / "docs/pictures/emoji.jpg"), sheet(ROOT), [cv2.IMWRITE_JPEG_QUALITY, 85])
    print(f"wrote {target.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
