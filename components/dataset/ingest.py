"""Ingest: whatever pairs come in, as a dataset of shards and sidecars.

    from pairwright.components.dataset.ingest import detect, ingest
    dataset = ingest(detect("crawl/"), "crawl/", "data/crawl")

The same call again does nothing that is done: tars indexed in place are known by size and time,
copied sources by the list of their files, downloads by the status of each URL.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from pairwright.components.dataset.dataset import MANIFEST, Dataset, open_dataset
from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.sources.clips.clips import ClipsOptions, read_clips
from pairwright.components.dataset.sources.coco import CocoOptions, coco_inputs, looks_like_coco, read_coco
from pairwright.components.dataset.sources.demo_shop import DemoShopOptions, read_demo_shop
from pairwright.components.dataset.sources.emoji.emoji import EmojiOptions, read_emoji
from pairwright.components.dataset.sources.figures.figures import FiguresOptions, read_figures
from pairwright.components.dataset.sources.folder import reaching
from pairwright.components.dataset.sources.imagefolder import (
    ImageFolderOptions,
    looks_like_imagefolder,
    read_imagefolder,
)
from pairwright.components.dataset.sources.parquet_bytes import (
    ParquetBytesOptions,
    looks_like_parquet_bytes,
    read_parquet_bytes,
)
from pairwright.components.dataset.sources.product_pages import (
    ProductPagesOptions,
    looks_like_product_pages,
    product_pages_inputs,
    read_product_pages,
)
from pairwright.components.dataset.sources.published.class_folders import (
    ClassFoldersOptions,
    class_folders_inputs,
    looks_like_class_folders,
    read_class_folders,
)
from pairwright.components.dataset.sources.published.genecis import (
    GenecisOptions,
    genecis_inputs,
    looks_like_genecis,
    read_genecis,
)
from pairwright.components.dataset.sources.published.karpathy import (
    KarpathyOptions,
    karpathy_inputs,
    looks_like_karpathy,
    read_karpathy,
)
from pairwright.components.dataset.sources.published.sentence_pairs import SentencePairsOptions, read_sentence_pairs
from pairwright.components.dataset.sources.published.sugarcrepe import (
    SugarCrepeOptions,
    looks_like_sugarcrepe,
    read_sugarcrepe,
    sugarcrepe_inputs,
)
from pairwright.components.dataset.sources.published.winoground import (
    WinogroundOptions,
    looks_like_winoground,
    read_winoground,
    winoground_inputs,
)
from pairwright.components.dataset.sources.scenes.scenes import ScenesOptions, read_scenes
from pairwright.components.dataset.sources.sounds.sounds import SoundsOptions, read_sounds
from pairwright.components.dataset.sources.source import (
    Progress,
    Source,
    SourceOptions,
    absolute,
    fingerprints,
    list_files,
    what_lies_in,
)
from pairwright.components.dataset.sources.url_list import UrlOptions, looks_like_urls, read_urls
from pairwright.components.dataset.sources.webdataset_source import (
    WebDatasetOptions,
    img2dataset_inputs,
    looks_like_img2dataset,
    looks_like_webdataset,
    read_img2dataset,
    read_webdataset,
)
from pairwright.components.errors import ColumnError, DatasetError, nearest
from pairwright.components.hashing import canonical, sha256_text
from pairwright.components.plug_ins import SOURCES as PLUG_IN_SOURCES
from pairwright.components.plug_ins import plug_ins

INGEST_VERSION = 2  # raise it when the same source would give other shards
STAMP = "ingest.json"


IN_TARS = (
    "KEY.txt beside KEY.jpg, else the fields caption, text, alt_text, ... of KEY.json; "
    "name another field with --set caption_column=NAME"
)
IN_COLUMNS = (
    "the columns caption, text, alt_text, title, ..., or one a language such as caption_en; "
    "name another with --set caption_column=NAME"
)


class DebianClipartOptions(SourceOptions):
    max_side: int = Field(224, ge=32, le=4096, description="longest side of the pictures, in pixels")


def _read_debian_clipart(source: str, dest: str, options: DebianClipartOptions, progress: Progress) -> list[Dataset]:
    from pairwright.components.dataset.sources.debian_clipart import ingest_debian_clipart

    return ingest_debian_clipart(dest, packages=source or None, max_side=options.max_side, progress=progress)


# In the order in which `detect` asks them: the more particular first.
SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source(
            "img2dataset",
            "an output folder of img2dataset: tars indexed in place (loose files copied), failed downloads as rows",
            looks_like_img2dataset,
            read_img2dataset,
            WebDatasetOptions,
            img2dataset_inputs,
            captions=IN_TARS,
        ),
        Source(
            "webdataset",
            "tars of KEY.jpg, KEY.txt, KEY.json, ...: a folder, a glob or {00000..00099}.tar, indexed in place",
            looks_like_webdataset,
            read_webdataset,
            WebDatasetOptions,
            captions=IN_TARS,
        ),
        Source(
            "karpathy",
            "COCO, Flickr30K or Flickr8K by Karpathy's split JSON (dataset_coco.json), one split, with its pictures",
            looks_like_karpathy,
            read_karpathy,
            KarpathyOptions,
            karpathy_inputs,
            captions="the `raw` text of each of a picture's sentences, all of them",
        ),
        Source(
            "winoground",
            "Winoground's examples.jsonl (image_0, caption_0, image_1, caption_1, ...) with its pictures",
            looks_like_winoground,
            read_winoground,
            WinogroundOptions,
            winoground_inputs,
            captions="caption_0 of image_0, caption_1 of image_1, ...; the example is the label `bag`",
        ),
        Source(
            "coco",
            "COCO captions JSON (or the folder that holds it) with its pictures",
            looks_like_coco,
            read_coco,
            CocoOptions,
            coco_inputs,
            captions="the `caption` of each annotation whose `image_id` is a picture's `id`",
        ),
        Source(
            "sugarcrepe",
            "SugarCrepe's or SugarCrepe++'s JSON files with their pictures: right captions and a wrong one",
            looks_like_sugarcrepe,
            read_sugarcrepe,
            SugarCrepeOptions,
            sugarcrepe_inputs,
            captions="`caption` (alt), `caption2` (paraphrase) and `negative_caption` (negative) of each entry",
        ),
        Source(
            "class-folders",
            "a folder a class, as ImageNet lies on disk, with a file of the classes' words",
            looks_like_class_folders,
            read_class_folders,
            ClassFoldersOptions,
            class_folders_inputs,
            captions="none: the classes' words are the label `class`",
        ),
        Source(
            "sentence-pairs",
            "a table of two texts and how alike they mean (STS Benchmark, SICK, Crisscrossed Captions), no pictures",
            lambda source: False,
            read_sentence_pairs,
            SentencePairsOptions,
            lambda source, options: [absolute(source)],
            captions="the columns sentence1 and sentence2 (caption1, ...), as the sources `first` and `second`",
        ),
        Source(
            "genecis",
            "GeneCIS's JSON files with their pictures: references, conditions and small galleries to rank",
            looks_like_genecis,
            read_genecis,
            GenecisOptions,
            genecis_inputs,
            captions="none: pictures are named by the galleries in KEY.json of each reference",
        ),
        Source(
            "parquet",
            "Parquet with image bytes and a text column, as Hugging Face datasets writes it",
            looks_like_parquet_bytes,
            read_parquet_bytes,
            ParquetBytesOptions,
            lambda source, options: list_files(source, (".parquet",)),
            captions=IN_COLUMNS,
        ),
        Source(
            "urls",
            "Parquet, CSV, TSV or JSON lines with a column of URLs and one of texts, downloaded",
            looks_like_urls,
            read_urls,
            UrlOptions,
            captions=IN_COLUMNS,
        ),
        Source(
            "product-pages",
            "a shop's saved pages (JSON-LD, microdata, OpenGraph) with their pictures, or a list of their URLs",
            looks_like_product_pages,
            read_product_pages,
            ProductPagesOptions,
            product_pages_inputs,
            captions="the title and the description of each product, the alternative text of its picture",
        ),
        Source(
            "imagefolder",
            "a folder of pictures, captions in metadata.jsonl, .csv, ... (as Hugging Face has it) or beside each",
            looks_like_imagefolder,
            read_imagefolder,
            ImageFolderOptions,
            lambda source, options: [absolute(source)],
            captions="a table beside the pictures (metadata.jsonl, .csv, ...; columns file_name and caption, ...) "
            "or a file beside each (a.txt of a.jpg); name other columns with --set file_column=NAME and "
            "--set caption_column=NAME",
        ),
        Source(
            "debian-clipart",
            "the demo corpus, from the Debian packages of Tux Paint stamps and Open Clip Art",
            lambda source: False,
            _read_debian_clipart,
            DebianClipartOptions,
            needs_no_source=True,
        ),
        Source(
            "emoji",
            "the emoji corpus, from npm's @iconify-json sets and Debian's Unicode data",
            lambda source: False,
            read_emoji,
            EmojiOptions,
            needs_no_source=True,
            captions="CLDR's names (alt in English, translation in other languages) and its English keywords",
        ),
        Source(
            "scenes",
            "scenes composed of another dataset's things (emoji by default), of which everything is known",
            lambda source: False,
            read_scenes,
            ScenesOptions,
            needs_no_source=True,
            captions="made by a grammar: alt, paraphrase, negative and modification",
        ),
        Source(
            "figures",
            "charts of another dataset's labels, with captions good and poor and the paragraphs that cite them",
            lambda source: False,
            read_figures,
            FiguresOptions,
            captions="made by templates: alt and paragraph",
        ),
        Source(
            "clips",
            "clips composed of another dataset's things (emoji by default), with late subtitles and the truth",
            lambda source: False,
            read_clips,
            ClipsOptions,
            needs_no_source=True,
            captions="made by a grammar: subtitles (WebVTT) and alt",
        ),
        Source(
            "sounds",
            "made sounds with captions, as recordings and as spectrograms, of which everything is known",
            lambda source: False,
            read_sounds,
            SoundsOptions,
            needs_no_source=True,
            captions="made by a grammar: alt and paraphrase",
        ),
        Source(
            "demo-shop",
            "a made shop: product pages written from the demo corpus's stamps, with planted defects",
            lambda source: False,
            read_demo_shop,
            DemoShopOptions,
            lambda source, options: [absolute(source)],
        ),
    )
}


def sources() -> dict[str, Source]:
    """Every kind of source by name: the plug-ins' first, so that a particular one is asked before a general one."""
    return {source.name: source for source in plug_ins(PLUG_IN_SOURCES).values()} | SOURCES


def detect(source: str) -> str:
    """The kind of source a path looks like.

    Raises:
        DatasetError: it does not exist, or looks like none.
    """
    path = absolute(source)
    with reaching(path):
        made = storage.exists(storage.join(path, MANIFEST))
    if made:
        raise DatasetError(f"{source} is a dataset already; name it in a recipe as it is")
    for kind in sources().values():
        if kind.looks_like(source):
            return kind.name
    if not storage.is_remote(path) and not storage.exists(path):
        raise DatasetError(f"{source} does not exist; check the path")
    holds = what_lies_in(path)
    kinds = ", ".join(sources())
    raise DatasetError(f"{source} looks like no source we know{holds}; unpack archives, or name its kind: {kinds}")


def ingest(kind: str, source: str | None, dest: str, *, progress: Progress | None = None, **options: Any) -> Dataset:
    """Make the dataset at `dest` from a source; a finished one that still holds is opened, not made again.

    Args:
        kind: a name in `sources()`, or "auto" to have it detected.
        source: a path; None where the source needs none (the demo corpus).
        progress: called with (done, total or None, what is counted).
        options: those of the source (`sources()[kind].options`).

    Raises:
        DatasetError: the kind is unknown, or the source cannot be read at all.
        InvalidRecipe: an option is unknown or out of range.
        WorkspaceError: `dest` cannot be written.
    """
    return ingest_all(kind, source, dest, progress=progress, **options)[0]


def ingest_all(
    kind: str, source: str | None, dest: str, *, progress: Progress | None = None, **options: Any
) -> list[Dataset]:
    """As `ingest`, and every dataset the source makes: the demo corpus makes raw, dev and test."""
    if kind == "auto" and source is not None:
        kind = detect(source)
    if kind not in sources():
        raise DatasetError(f'no source is called "{kind}"{nearest(kind, sources())}')
    which = sources()[kind]
    if not source and not which.needs_no_source:
        raise DatasetError(f"{kind} needs a source: `pairwright ingest {kind} SOURCE DEST`")
    settings = which.options.parse(options, f"ingest {kind}")
    dest = absolute(dest).rstrip("/")
    report = progress or (lambda done, total, what: None)
    inputs = which.inputs(source or "", settings) if which.inputs else None
    if inputs is None:
        return _as_list(which.read(source or "", dest, settings, report))
    _refuse_to_copy_into(dest, inputs)
    stamp = _stamp(kind, source or "", settings, inputs)
    done = _finished(dest, stamp)
    if done is not None:
        return [done]
    made = _as_list(which.read(source or "", dest, settings, report))
    storage.write_json(storage.join(dest, STAMP), stamp)
    return made


def _as_list(made: Dataset | list[Dataset]) -> list[Dataset]:
    return made if isinstance(made, list) else [made]


def _refuse_to_copy_into(dest: str, inputs: list[str]) -> None:
    for path in inputs:
        if (dest + "/").startswith(path.rstrip("/") + "/") or dest == path.rpartition("/")[0]:
            raise DatasetError(f"{dest} lies in the folder being read, which is never written; name another DEST")


def _stamp(kind: str, source: str, settings: SourceOptions, inputs: list[str]) -> dict[str, Any]:
    """What was asked for and of which files; equal stamps mean the same dataset."""
    files = {name: print_ for path in inputs for name, print_ in fingerprints(path).items()}
    return {
        "ingest_version": INGEST_VERSION,
        "kind": kind,
        "source": absolute(source),
        "options": settings.model_dump(mode="json"),
        "files": sha256_text(canonical(files)),
    }


def _finished(dest: str, stamp: dict[str, Any]) -> Dataset | None:
    """The dataset an earlier ingest finished with this stamp, if all its files are still whole."""
    try:
        if storage.read_json(storage.join(dest, STAMP)) != stamp:
            return None
        dataset = open_dataset(dest)
        whole = all(shard.is_whole() for shard in dataset.shards)
    except (OSError, DatasetError, ColumnError):
        return None
    return dataset if whole else None
