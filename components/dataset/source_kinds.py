"""Every kind of source that ships, in the order in which `detect` asks them."""

from __future__ import annotations

from pydantic import Field

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.sources.clips.clips import ClipsOptions, read_clips
from pairwright.components.dataset.sources.coco import CocoOptions, coco_inputs, looks_like_coco, read_coco
from pairwright.components.dataset.sources.demo_shop import DemoShopOptions, read_demo_shop
from pairwright.components.dataset.sources.emoji.emoji import EmojiOptions, read_emoji
from pairwright.components.dataset.sources.figures.figures import FiguresOptions, read_figures
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
    list_files,
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
