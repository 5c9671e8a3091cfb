"""Members of a shard's tar by byte range, each held against the checksum it was indexed with.

    with shard.open_tar() as tar:
        data = tar.read(row["media"][0])
    data = shard.read_member(row["media"][0])      # one alone

The only way any part of this project reads pictures: what goes into a column, a page, a model or an
export is what was indexed, or there is an error that names the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import IO, Any

from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.shards.integrity import checksum
from pairwright.components.errors import DataChanged, DatasetError

REMEDY = "restore the file, or run `pairwright ingest` again"


class Members:
    """An opened tar, cheapest when asked for members front to back.

    A local tar is read by `pread`; a remote one through fsspec's read-ahead, so that a pass costs a
    few large requests; a web server that cannot serve ranges is read through once.

    Args:
        size: bytes the tar had when it was indexed.
        check_whole: called before the first member that came without a checksum; raises DataChanged.
    """

    def __init__(self, path: str, size: int, check_whole: Callable[[], None]) -> None:
        self._path, self._size, self._check_whole = path, size, check_whole
        self._local = not storage.is_remote(path)
        self._opened = storage.open_read(path)

    def __enter__(self) -> Members:
        self._stream: IO[bytes] = self._opened.__enter__()
        try:
            self._check_size()
        except BaseException:
            self._opened.__exit__(None, None, None)
            raise
        if self._local:
            os.posix_fadvise(self._stream.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        return self

    def __exit__(self, *exception: Any) -> None:
        self._opened.__exit__(*exception)

    def read(self, medium: Mapping[str, Any]) -> bytes:
        """The bytes of a sidecar's `media` entry.

        Raises:
            DataChanged: they are not those that were indexed.
            DatasetError: the disk or the server failed.
        """
        offset, size = medium["offset"], medium["size"]
        try:
            if self._local:
                data = _pread(self._stream.fileno(), size, offset)
            else:
                if self._stream.seekable():
                    self._stream.seek(offset)
                else:
                    self._stream.read(offset - self._stream.tell())
                data = self._stream.read(size)
        except (OSError, ValueError) as error:
            raise DatasetError(f"{self._path} cannot be read at byte {offset}: {error}; run again") from None
        return self._checked(medium, data)

    def read_range(self, medium: Mapping[str, Any]) -> bytes:
        """As `read`, by one request of its own: for a few members of a remote tar.

        Raises:
            DataChanged, DatasetError: as `read`.
        """
        return self._checked(medium, storage.read_bytes(self._path, medium["offset"], medium["size"]))

    def _checked(self, medium: Mapping[str, Any], data: bytes) -> bytes:
        if medium["crc32"] is None:
            self._check_whole()
        return checked(self._path, medium, data)

    def _check_size(self) -> None:
        size = os.fstat(self._stream.fileno()).st_size if self._local else getattr(self._stream, "size", None)
        if size is not None and size != self._size:
            raise DataChanged(
                f"{self._path} changed since it was indexed: it has {size:,} bytes, it had {self._size:,}; {REMEDY}"
            )


def _pread(file: int, size: int, offset: int) -> bytes:
    data = os.pread(file, size, offset)
    while len(data) < size and (more := os.pread(file, size - len(data), offset + len(data))):
        data += more  # one call gives 2 GiB at most
    return data


def checked(path: str, medium: Mapping[str, Any], data: bytes) -> bytes:
    """`data`, read from the tar at `path`, if it is what was indexed; without a checksum, its length alone is known.

    Raises:
        DataChanged: it is not.
    """
    known = medium["crc32"]
    if len(data) != medium["size"] or (known is not None and checksum(data) != known):
        raise DataChanged(
            f"{path} changed since it was indexed: member {medium['member']} is no longer the same; {REMEDY}"
        )
    return data
