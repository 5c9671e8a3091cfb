"""ShardWriter: the one way to write a dataset of our own, deterministic to the byte.

    with ShardWriter("data/shapes", "shapes") as writer:
        writer.add("000000000", [("image", "image", "jpg", jpeg)], [caption("a red circle")])
    dataset = writer.dataset

Members are KEY.SUFFIX for each medium, KEY.txt (the first alt-text) and KEY.json (the metadata,
byte for byte), with no time, owner or mode of this machine in them. Each shard is committed when it
is full; `dataset.json` comes last, so a killed writer leaves nothing that reads as a dataset, and the
same calls again write the same bytes.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pairwright.components.dataset.dataset import MANIFEST, Dataset, Shard
from pairwright.components.dataset.shards import sidecar, storage
from pairwright.components.dataset.shards.integrity import checksum
from pairwright.components.errors import DatasetError

Medium = tuple[str, str, str, bytes]  # role, kind, suffix, bytes
DUPLICATE_KEY = "duplicate_key"
UNFINISHED = "dataset.json.unfinished"  # stands while a writer is at work, and after one was killed
_SHARD_FILE = re.compile(r"\d{5,}\.(tar|parquet)")
# A key is what stands before the first dot of a member's last path component, so it holds no dot there.
_KEY = re.compile(r"(?:[^/\0]+/)*[^/.\0]+")


class DeterministicTar:
    """Appends members to a tar whose bytes depend on names and contents alone; hashes as it goes.

    Raises OSError when the disk is full; the caller's `commit_file` turns it into one line.
    """

    def __init__(self, path: Path) -> None:
        self._stream = path.open("wb")
        self._hash = hashlib.sha256()
        self.bytes = 0

    def add(self, name: str, data: bytes) -> int:
        """Append one member; returns the offset of its first data byte."""
        header = tarfile.TarInfo(name)
        header.size, header.mtime, header.mode = len(data), 0, 0o644
        header.uid = header.gid = 0
        self._write(header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        offset = self.bytes
        self._write(data)
        self._write(bytes(-len(data) % tarfile.BLOCKSIZE))
        return offset

    def finish(self) -> str:
        """End the archive; returns its full hex SHA-256."""
        self._write(bytes(2 * tarfile.BLOCKSIZE))
        self._write(bytes(-self.bytes % tarfile.RECORDSIZE))
        self.close()
        return self._hash.hexdigest()

    def close(self) -> None:
        self._stream.close()

    def _write(self, data: bytes) -> None:
        self._stream.write(data)
        self._hash.update(data)
        self.bytes += len(data)


class ShardWriter:
    """Writes pairs to `dest/00000.tar`, `dest/00000.parquet`, ... and at the end `dest/dataset.json`.

    Args:
        dest: folder, local or remote (`s3://bucket/prefix`).
        name: the dataset's name; users see `name/key`.
        pairs_per_shard: rows a shard; rows with an error count.
        facts: anything worth keeping with the dataset, as plain JSON.

    Raises:
        DatasetError: `dest` holds tars that no writer of ours made.
        WorkspaceError: `dest` cannot be written.
    """

    def __init__(
        self,
        dest: str,
        name: str,
        *,
        pairs_per_shard: int = 1000,
        description: str = "",
        licence: str = "",
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        if pairs_per_shard < 1:
            raise DatasetError(f"pairs_per_shard is {pairs_per_shard}; a shard holds at least one pair")
        self._dest, self._name = dest.rstrip("/"), name
        self._description, self._licence, self._facts = description, licence, dict(facts or {})
        self._pairs_per_shard = pairs_per_shard
        self._shards: list[Shard] = []
        self._seen: set[str] = set()
        self._rows: list[dict[str, Any]] = []
        self._open: ExitStack | None = None
        self._tar: DeterministicTar | None = None
        self._dataset: Dataset | None = None
        self._take_over()

    def add(
        self,
        key: str,
        media: Iterable[Medium] = (),
        captions: Sequence[Mapping[str, Any]] = (),
        labels: Iterable[tuple[str, str] | Mapping[str, str]] = (),
        *,
        licence: str | None = None,
        author: str | None = None,
        origin: str | None = None,
        group: str | None = None,
        meta: bytes | None = None,
        error: str | None = None,
        text: str | None = None,
        regions: Sequence[Mapping[str, Any]] | None = None,
        shown: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        """Append one pair, or with `error` one row that says why there is none.

        A key seen before is a row with the error "duplicate_key"; its media are not written, because
        two members of one name cannot both be read.

        Args:
            media: (role, kind, suffix, bytes); the picture of the pair is ("image", "image", "jpg", ...).
            captions: dicts with source, ordinal, text, lang, producer (`caption` of sidecar.py makes one).
            labels: (name, value) pairs.
            meta: the pair's metadata, kept byte for byte as KEY.json.
            text: what KEY.txt holds; default the first alt-text.
            regions: boxes in the picture (`region` of sidecar.py makes one); None where nobody looked for any.
            shown: suffix -> from which second to which that medium is shown, of a clip's frames.

        Raises:
            DatasetError: the key cannot name a tar member (see components/dataset/shards/keys.py), or a region is none.
            WorkspaceError: the disk is full or read-only.
        """
        if not _KEY.fullmatch(key) or ".." in key.split("/"):
            raise DatasetError(f"key {key!r} cannot name a tar member; pass it through keys.safe_key()")
        if key in self._seen:
            media, error = (), error or DUPLICATE_KEY
        self._seen.add(key)
        about: dict[str, Any] = {
            "licence": licence,
            "author": author,
            "origin": origin,
            "group": group,
            "meta": meta,
            "error": error,
            "regions": regions,
        }
        try:
            alt = next((one["text"] for one in captions if one["source"] == "alt"), None)
            entries = self._write_members(key, list(media), alt if text is None else text, meta, shown or {})
        except OSError as problem:
            raise storage.workspace_error(self._dest, problem) from None
        self._rows.append(sidecar.row(key, entries, captions, labels, **about))
        if len(self._rows) == self._pairs_per_shard:
            self._finish_shard()

    def close(self) -> Dataset:
        """Finish the last shard and write `dataset.json`.

        An empty dataset has one empty shard, so that it is a dataset and not a missing one.
        """
        if self._dataset is None:
            if self._rows or not self._shards:
                self._finish_shard()
            self._dataset = Dataset(
                self._name, self._dest, tuple(self._shards), self._description, self._licence, self._facts
            )
            for name in self._shard_files():  # of a larger dataset that was here before
                if int(name.partition(".")[0]) >= len(self._shards):
                    self._remove(storage.join(self._dest, name))
            self._dataset.save()
            self._remove(storage.join(self._dest, UNFINISHED))
        return self._dataset

    @property
    def dataset(self) -> Dataset:
        """The finished dataset."""
        return self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif self._open is not None:
            assert self._tar is not None
            self._tar.close()
            self._open.__exit__(kind, error, trace)

    def _take_over(self) -> None:
        """Make `dest` ours: mark it unfinished, then drop an old manifest.

        Half new shards under an old manifest would read as a dataset that never was; tars that are not
        ours would be overwritten.
        """
        manifest, mark = storage.join(self._dest, MANIFEST), storage.join(self._dest, UNFINISHED)
        if not storage.exists(manifest) and not storage.exists(mark) and self._shard_files():
            raise DatasetError(f"{self._dest} holds tars that are no dataset of ours; name another DEST")
        storage.write_json(mark, {"name": self._name})
        self._remove(manifest)

    def _shard_files(self) -> list[str]:
        """Files in `dest` with a shard's name."""
        fs, path = storage.filesystem(self._dest)
        try:
            found = [str(name).rstrip("/").rpartition("/")[2] for name in fs.ls(path, detail=False)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise storage.workspace_error(self._dest, error) from None
        return [name for name in found if _SHARD_FILE.fullmatch(name)]

    def _remove(self, path: str) -> None:
        fs, name = storage.filesystem(path)
        try:
            if fs.exists(name):
                fs.rm_file(name)
        except OSError as error:
            raise storage.workspace_error(path, error) from None

    def _shard_tar(self) -> DeterministicTar:
        if self._tar is None:
            self._open = ExitStack()
            partial = self._open.enter_context(storage.commit_file(self._path("tar")))
            self._tar = DeterministicTar(partial)
        return self._tar

    def _path(self, suffix: str) -> str:
        return storage.join(self._dest, f"{len(self._shards):05d}.{suffix}")

    def _write_members(
        self,
        key: str,
        media: list[Medium],
        text: str | None,
        meta: bytes | None,
        shown: Mapping[str, tuple[float, float]],
    ) -> list[dict[str, Any]]:
        """Write the pair's members to the tar; returns its `media` entries."""
        tar = self._shard_tar()
        entries: list[dict[str, Any]] = []
        ordinals: dict[str, int] = {}
        for role, kind, suffix, data in media:
            member = f"{key}.{suffix}"
            offset = tar.add(member, data)
            ordinal = ordinals.get(role, 0)
            ordinals[role] = ordinal + 1
            entry = sidecar.medium(role, kind, ordinal, member, offset, len(data), checksum(data))
            entries.append(entry | dict(zip(("t0", "t1"), shown.get(suffix, (None, None)), strict=True)))
        suffixes = {suffix for _, _, suffix, _ in media}
        if media and text is not None and "txt" not in suffixes:
            tar.add(f"{key}.txt", text.encode())
        if media and meta is not None and "json" not in suffixes:
            tar.add(f"{key}.json", meta)
        return entries

    def _finish_shard(self) -> None:
        tar = self._shard_tar()
        assert self._open is not None
        try:
            tar_sha256 = tar.finish()
        except OSError as problem:
            raise storage.workspace_error(self._dest, problem) from None
        self._open.close()
        table = sidecar.sidecar_table(self._rows)
        written = sidecar.write_sidecar(table, self._path("parquet"))
        digest = sidecar.shard_digest(tar_sha256, table)
        self._shards.append(
            Shard(
                f"{len(self._shards):05d}",
                self._path("tar"),
                self._path("parquet"),
                digest,
                len(self._rows),
                tar.bytes,
                sidecar_sha256=written,
            )
        )
        self._rows, self._tar, self._open = [], None, None
