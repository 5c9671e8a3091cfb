"""Reading a tar as a stream: where each member's bytes lie, without extracting anything.

Reads ustar, pax and GNU headers front to back, once, hashing every byte on the way. A tar that is
cut short yields every whole member; after a damaged header reading goes on at the next sound one.
Nothing is ever written under a member's name, so a name such as `../x` can do no harm here.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

from components.errors import DatasetError

BLOCK = tarfile.BLOCKSIZE
CHUNK = 1 << 20
HEADER_LIMIT = 1 << 20  # bytes of a pax or GNU name header; a longer one is damage, not a name
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_PLAIN = (*_REGULAR, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE)
_EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, b"L", b"K")


@dataclass(frozen=True)
class Member:
    """One file in a tar.

    Attributes:
        offset: of the first data byte in the tar.
        size: bytes the header promises.
        data: the contents, where they were asked for.
        whole: False for the one member a cut-short tar ends in.
    """

    name: str
    offset: int
    size: int
    data: bytes | None = None
    whole: bool = True


class TarStream:
    """Iterate to get members; then `bytes`, `sha256` and `problem` describe the whole tar.

    Args:
        stream: the tar, from its first byte; read once, forwards.
        path: for messages.
        wanted: whether a member's contents are to be kept, by (name, size).

    Raises:
        DatasetError: it is compressed (no byte ranges), or reading it failed.
    """

    def __init__(self, stream: IO[bytes], path: str, wanted: Callable[[str, int], bool]) -> None:
        self._stream, self._path, self._wanted = stream, path, wanted
        self._hash = hashlib.sha256()
        self.bytes = 0
        self.problem: str | None = None

    @property
    def sha256(self) -> str:
        """Full hex SHA-256 of what was read: the whole file, after iterating."""
        return self._hash.hexdigest()

    def __iter__(self) -> Iterator[Member]:
        links: dict[str, Member] = {}  # a hard link inside the tar is its target's bytes
        ended = False
        while header := self._read(BLOCK):
            if self.bytes == len(header):
                self._refuse_compressed(header)
            if len(header) < BLOCK:
                break
            if not any(header):
                ended = True
                continue
            info = self._parse(header)
            if info is None:
                if not ended:  # after the end mark anything may follow
                    self._note(f"damaged at byte {self.bytes - BLOCK}")
                continue
            ended = False
            if info.type == tarfile.LNKTYPE and info.linkname in links:
                target = links[info.linkname]
                yield Member(_text(info.name), target.offset, target.size, target.data)
            elif info.type in _REGULAR:
                member = self._member(info)
                yield member
                if member.whole:
                    links[info.name] = member
            else:
                self._skip(info.size)
        if not ended:
            self._note("the file is empty" if self.bytes == 0 else f"cut short at byte {self.bytes}")

    def _note(self, problem: str) -> None:
        self.problem = self.problem or problem

    def _member(self, info: tarfile.TarInfo) -> Member:
        name, offset = _text(info.name), self.bytes
        if self._wanted(name, info.size):
            data: bytes | None = self._read(info.size)
        else:
            data = None
            self._skip(info.size)
        whole = self.bytes - offset == info.size
        if not whole:
            self._note(f"cut short at byte {self.bytes}, within {name}")
        self._skip(-info.size % BLOCK)
        return Member(name, offset, info.size, data if whole else None, whole)

    def _parse(self, header: bytes) -> tarfile.TarInfo | None:
        """The next plain header, with the extended headers before it applied; None if damaged."""
        name: str | None = None
        link: str | None = None
        size: int | None = None
        while True:
            try:
                info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
            except tarfile.HeaderError:
                return None
            if info.type not in _EXTENDED:
                break
            if info.size > HEADER_LIMIT:
                return None
            body = self._read(info.size)
            self._skip(-info.size % BLOCK)
            if info.type == b"L":
                name = body.rstrip(b"\0").decode("utf-8", "surrogateescape")
            elif info.type == b"K":
                link = body.rstrip(b"\0").decode("utf-8", "surrogateescape")
            elif info.type != tarfile.XGLTYPE:
                records = _pax_records(body)
                name, link = records.get("path", name), records.get("linkpath", link)
                size = int(records["size"]) if records.get("size", "").isdigit() else size
            header = self._read(BLOCK)
            if len(header) < BLOCK:
                return None
        info.name = name if name is not None else info.name
        info.linkname = link if link is not None else info.linkname
        info.size = size if size is not None else info.size
        if info.type in _PLAIN and info.type not in _REGULAR:
            info.size = 0  # links and folders carry no data, whatever their header says
        return info if info.size >= 0 else None

    def _read(self, size: int) -> bytes:
        """`size` bytes, or fewer at the end of the file."""
        parts = []
        while size > 0:
            try:
                part = self._stream.read(min(size, CHUNK))
            except Exception as error:  # whatever the remote file system raises: this is not a short tar
                raise DatasetError(
                    f"{self._path} could not be read to its end ({error}); run the command again"
                ) from None
            if not part:
                break
            self._hash.update(part)
            self.bytes += len(part)
            size -= len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _skip(self, size: int) -> None:
        while size > 0:
            got = len(self._read(min(size, CHUNK)))
            if not got:
                return
            size -= got

    def _refuse_compressed(self, header: bytes) -> None:
        for magic, name in (
            (b"\x1f\x8b", "gzip"),
            (b"BZh", "bzip2"),
            (b"\xfd7zXZ", "xz"),
            (b"\x28\xb5\x2f\xfd", "zstd"),
        ):
            if header.startswith(magic):
                raise DatasetError(
                    f"{self._path} is compressed with {name}, so its pictures cannot be read by byte range; "
                    "decompress it first"
                )


def _pax_records(body: bytes) -> dict[str, str]:
    """pax records "LENGTH KEY=VALUE\\n"; what does not parse is left out."""
    records: dict[str, str] = {}
    while body:
        digits, _, _ = body.partition(b" ")
        if not digits.isdigit() or not 0 < int(digits) <= len(body):
            break
        record = body[len(digits) + 1 : int(digits) - 1]
        key, _, value = record.partition(b"=")
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        body = body[int(digits) :]
    return records


def _text(name: str) -> str:
    """A member's name as storable text: bytes that are no UTF-8 become `\\xNN`, so names stay distinct."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
