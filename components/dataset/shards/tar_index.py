"""Indexing a WebDataset tar: its pairs, and where their bytes are.

    index = index_tar("s3://bucket/00000.tar")
    index.rows, index.sha256, index.problem

Members are grouped into pairs as WebDataset does: by the name up to the first dot of its last path
component. Nothing good is lost to something bad beside it: a pair that cannot be used is a row with
a reason (`error`), and a tar that ends too early gives every pair that is whole.

    unsafe_member    the name is absolute or climbs with `..`
    duplicate_key    the key was used before in this tar
    truncated        the tar ends within this pair
    no_image         no member of the pair is a picture
    empty_image      the picture has zero bytes
    sparse_member, dangling_link, not_a_file: components/dataset/shards/tar_members.py
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from pairwright.components.dataset.captions.text import decode_text, parse_json, storable
from pairwright.components.dataset.shards import sidecar, storage
from pairwright.components.dataset.shards.tar_members import Member, TarStream, followed
from pairwright.components.dataset.sources.captions_of import alt_entries, captions_of, encoding_labels, record_captions

IMAGE_SUFFIXES = frozenset(
    (
        "jpg",
        "jpeg",
        "jpe",
        "jfif",
        "png",
        "webp",
        "gif",
        "bmp",
        "tif",
        "tiff",
        "avif",
        "heic",
        "jp2",
        "ppm",
        "pgm",
        "pnm",
        "ico",
    )
)
AUDIO_SUFFIXES = frozenset(["ogg", "oga", "opus", "wav", "mp3", "flac", "m4a"])
TEXT_SUFFIXES = frozenset(("txt", "text", "caption"))
SUBTITLES, SUBTITLE_SUFFIXES = "subtitles", frozenset(("srt", "vtt"))
FRAMES = "frames"  # KEY.frames.0000.jpg, KEY.frames.0001.jpg, ...
TEXT_LIMIT = 1 << 20  # bytes of a caption or metadata file held in the sidecar; a longer one stays in the tar

UNSAFE, DUPLICATE, TRUNCATED, NO_IMAGE, EMPTY_IMAGE = (
    "unsafe_member",
    "duplicate_key",
    "truncated",
    "no_image",
    "empty_image",
)

READ_SUFFIXES = TEXT_SUFFIXES | SUBTITLE_SUFFIXES | {"json", "cls"}


@dataclass
class Pair:
    """The members of one key, by lower-case suffix, in tar order."""

    key: str
    members: dict[str, Member] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True)
class TarIndex:
    """What a tar holds.

    Attributes:
        rows: sidecar rows (pairwright.components.dataset.shards.sidecar.row) in tar order.
        bytes: the tar's size. sha256: of all its bytes, hex.
        problem: why it could not be read soundly to its end, or None.
        ignored: members that belong to no pair (no suffix, hidden, `__…__`).
    """

    rows: list[dict[str, Any]]
    bytes: int
    sha256: str
    problem: str | None
    ignored: int = 0


def index_tar(path: str, caption_column: str | None = None) -> TarIndex:
    """Index one tar, local or remote, in one pass.

    Args:
        caption_column: the field of KEY.json that holds the captions; default KEY.txt, else the usual fields.

    Raises:
        DatasetError: it does not exist, cannot be read, or is compressed.
    """
    with storage.open_read(path) as stream:
        tar = TarStream(stream, path, is_text)
        members = followed(tar)
    pairs, ignored = group_pairs(_with_text(path, member) for member in members)
    if tar.problem is not None:
        _mark_incomplete(pairs)
    rows = [pair_row(pair, caption_column) for pair in pairs]
    return TarIndex(rows, tar.bytes, tar.sha256, tar.problem, ignored)


def _with_text(path: str, member: Member) -> Member:
    """The member with its contents where they belong in the sidecar: a link's name alone may say so."""
    if member.data is not None or member.problem or not member.whole or not is_text(member.name, member.size):
        return member
    return replace(member, data=storage.read_bytes(path, member.offset, member.size))


def split_name(name: str) -> tuple[str, str] | None:
    """A member's (key, lower-case suffix); None if it belongs to no pair.

    A leading `./`, which `tar -c .` writes, is part of no key.
    """
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    if not stem or not dot or (not folder and base.startswith("__") and base.endswith("__")):
        return None
    return folder + slash + stem, suffix.lower()


def is_unsafe(name: str) -> bool:
    """Whether unpacking a member of this name could write outside the folder."""
    return name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/")


def group_pairs(members: Iterable[Member]) -> tuple[list[Pair], int]:
    """Members as pairs in order of first appearance, and how many belong to none.

    Parts of a pair that do not stand side by side are joined, unless a part comes twice: then a
    second pair begins under the same key.
    """
    pairs: list[Pair] = []
    latest: dict[str, Pair] = {}
    ignored = 0
    for member in members:
        split = split_name(member.name)
        if split is None:
            ignored += 1
            continue
        key, suffix = split
        pair = latest.get(key)
        if pair is None or suffix in pair.members:
            pair = Pair(key, error=DUPLICATE if pair else UNSAFE if is_unsafe(member.name) else None)
            latest[key] = pair
            pairs.append(pair)
        pair.members[suffix] = member
    return pairs, ignored


def is_text(name: str, size: int) -> bool:
    """Whether a member's contents belong in the sidecar: captions, metadata, classes."""
    split = split_name(name)
    return split is not None and size <= TEXT_LIMIT and _form(split[1]) in READ_SUFFIXES


def _form(suffix: str) -> str:
    return suffix.rpartition(".")[2]


def _mark_incomplete(pairs: list[Pair]) -> None:
    """The pair a tar breaks off in: a member is cut, or lacks a part every earlier pair has."""
    if not pairs:
        return
    last = pairs[-1]
    whole = [set(pair.members) for pair in pairs[:-1] if pair.error is None]
    usual = set.intersection(*whole) if whole else set()
    cut = any(not member.whole for member in last.members.values())
    captioned = any(_form(suffix) in TEXT_SUFFIXES | {"json"} for suffix in last.members)
    if cut or not usual <= set(last.members) or not (whole or captioned):
        last.error = last.error or TRUNCATED


def pair_row(pair: Pair, caption_column: str | None = None) -> dict[str, Any]:
    """The sidecar row of a pair."""
    media = _media(pair)
    captions, labels, unread = _captions(pair)
    meta, said = _metadata(pair.members.get("json"))
    facts = said if isinstance(said, dict) else {}
    stated = record_captions(said, caption_column)
    alts = {one["text"].strip() for one in captions if one["source"] == "alt"}
    # The JSON's captions count where there is no text, where they are the text and more, and where they were asked for.
    if not alts or alts < {text.text.strip() for text in stated} or (stated and caption_column):
        captions = alt_entries(stated, "json") + [one for one in captions if one["source"] != "alt"]
        labels += encoding_labels(stated)
    shown = [one for one in media if one["role"] == "image"] or [one for one in media if one["role"] == FRAMES]
    error = pair.error or _problem(pair) or (EMPTY_IMAGE if shown and not shown[0]["size"] else None)
    error = error or (None if shown else NO_IMAGE)
    return sidecar.row(
        pair.key,
        media + unread,
        captions,
        labels,
        meta=meta,
        error=error,
        **{name: _fact(facts, *names) for name, names in FACTS.items()},  # type: ignore[arg-type]
    )


def _problem(pair: Pair) -> str | None:
    """Why the picture, a caption or the metadata of the pair has no bytes; None if they have."""
    for suffix, member in pair.members.items():
        if member.problem and _form(suffix) in IMAGE_SUFFIXES | READ_SUFFIXES:
            return member.problem
    return None


FACTS = {
    "origin": ("url", "URL", "image_url", "origin"),
    "licence": ("license", "licence"),
    "author": ("author", "creator"),
}


def _fact(facts: dict[str, Any], *names: str) -> str | None:
    return next((storable(facts[name]) for name in names if isinstance(facts.get(name), str)), None)


def _media(pair: Pair) -> list[dict[str, Any]]:
    """Every whole member but captions and metadata: pictures, sound, and what we keep but do not know.

    A picture's role is what stands before its last suffix (`KEY.seg.png`: "seg"), else "image"; where
    none is plain, the first is the image. A clip's frames (`KEY.frames.0000.jpg`, ...) are none of a pair's pictures.
    """
    entries: list[dict[str, Any]] = []
    ordinals: dict[str, int] = {}
    for suffix, member in pair.members.items():
        form, prefix = _form(suffix), suffix.rpartition(".")[0]
        held = form in TEXT_SUFFIXES | SUBTITLE_SUFFIXES or suffix == "json"
        if not member.whole or member.problem or (held and member.size <= TEXT_LIMIT):
            continue
        if form in IMAGE_SUFFIXES and prefix.partition(".")[0] == FRAMES:
            role, kind = FRAMES, "frame"
        elif form in IMAGE_SUFFIXES:
            role, kind = prefix or "image", "image"
        elif form in AUDIO_SUFFIXES:
            role, kind = prefix or "speech", "audio"
        else:
            role, kind = suffix, "none"
        entries.append(sidecar.medium(role, kind, ordinals.get(role, 0), *member.place))
        ordinals[role] = ordinals.get(role, 0) + 1
    images = [one for one in entries if one["kind"] == "image"]
    if images and not any(one["role"] == "image" for one in images):
        images[0]["role"] = "image"
    return entries


def _captions(pair: Pair) -> tuple[list[dict[str, Any]], list[tuple[str, str]], list[dict[str, Any]]]:
    """The pair's captions; labels; and media entries for text files whose bytes are not their text."""
    captions: list[dict[str, Any]] = []
    labels: list[tuple[str, str]] = []
    unread: list[dict[str, Any]] = []
    for suffix, member in pair.members.items():
        if member.data is None:
            if member.size > TEXT_LIMIT and _form(suffix) in TEXT_SUFFIXES | {"json"}:
                labels.append(("not_read", f"{suffix} of {member.size} bytes, over {TEXT_LIMIT}"))
            continue
        if suffix == "cls":
            labels.append(("class", decode_text(member.data)[0].strip()))
        if _form(suffix) in SUBTITLE_SUFFIXES and (text := decode_text(member.data)[0]).strip():
            captions.append(sidecar.caption(text, SUBTITLES, sum(c["source"] == SUBTITLES for c in captions)))
        if _form(suffix) not in TEXT_SUFFIXES:
            continue
        source = suffix.rpartition(".")[0] or "alt"
        texts = captions_of(member.data)  # an empty text is no caption
        captions += [sidecar.caption(one.text, source, sum(c["source"] == source for c in captions)) for one in texts]
        labels += encoding_labels(texts)
        if not texts or texts[0].text.encode() != member.data:
            unread.append(sidecar.medium(suffix, "none", 0, *member.place))
    return captions, labels, unread


def _metadata(member: Member | None) -> tuple[bytes | None, Any]:
    """KEY.json byte for byte, and what it says where it is JSON."""
    if member is None or member.data is None:
        return None, None
    try:
        return member.data, parse_json(member.data)
    except ValueError:
        return member.data, None
