"""Ingest: whatever pairs come in, as a dataset of shards and sidecars.

    from pairwright.components.dataset.ingest import detect, ingest
    dataset = ingest(detect("crawl/"), "crawl/", "data/crawl")

The same call again does nothing that is done: tars indexed in place are known by size and time,
copied sources by the list of their files, downloads by the status of each URL.
"""

from __future__ import annotations

from typing import Any

from pairwright.components.dataset.dataset import MANIFEST, Dataset, open_dataset
from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.source_kinds import SOURCES
from pairwright.components.dataset.sources.folder import reaching
from pairwright.components.dataset.sources.source import (
    Progress,
    Source,
    SourceOptions,
    absolute,
    fingerprints,
    what_lies_in,
)
from pairwright.components.errors import ColumnError, DatasetError, nearest
from pairwright.components.hashing import canonical, sha256_text
from pairwright.components.plug_ins import SOURCES as PLUG_IN_SOURCES
from pairwright.components.plug_ins import plug_ins

INGEST_VERSION = 3  # raise it when the same source would give other shards
STAMP = "ingest.json"


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
