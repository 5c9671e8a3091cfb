"""Reading a tar as a stream: where each member's bytes lie, without extracting anything.

Reads ustar, pax and GNU headers front to back, once, hashing every byte on the way. A tar that is
cut short yields every whole member; after a damaged header reading goes on at the next sound one.
Nothing is ever written under a member's name, so a name such as `../x` can do no harm here.

A link to another member is that member's bytes. What has no byte range of its own is a member with
a problem:

    sparse_member    stored with its holes left out (GNU's and pax's sparse files)
    dangling_link    a link to nothing in this tar
    not_a_file       a device, a pipe, a part of a file that another volume begins
"""

from __future__ import annotations

import hashlib
import posixpath
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import IO

from pairwright.components.dataset.shards.integrity import checksum
from pairwright.components.errors import DatasetError

BLOCK = tarfile.BLOCKSIZE
CHUNK = 1 << 20
HEADER_LIMIT = 1 << 20  # bytes of a pax or GNU name header; a longer one is damage, not a name
LINKS_DEEP = 16  # links to links; a longer chain is a loop
SPARSE, DANGLING, NOT_A_FILE = "sparse_member", "dangling_link", "not_a_file"
_LINKS = (tarfile.LNKTYPE, tarfile.SYMTYPE)
_DEVICES = (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
_NO_DATA = (*_LINKS, *_DEVICES, tarfile.DIRTYPE)  # whatever their headers say
_GNU_OWN = (b"D", b"M", b"N", b"V")  # a folder's listing, a file another volume begins, old names, a label
_EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, b"L", b"K")


@dataclass(frozen=True)
class Member:
    """One file in a tar.

    Attributes:
        offset: of the first data byte in the tar.
        size: bytes the header promises.
        crc32: of its bytes (pairwright.components.dataset.shards.integrity.checksum).
        data: the contents, where they were asked for.
        whole: False for the one member a cut-short tar ends in.
        problem: why it has no bytes of its own, or None.
        link: the name of the member whose bytes it has, until `followed` has found them.
    """

    name: str
    offset: int
    size: int
    crc32: int | None = None
    data: bytes | None = None
    whole: bool = True
    problem: str | None = None
    link: str | None = None

    @property
    def place(self) -> tuple[str, int, int, int | None]:
        """What a sidecar says of it: name, offset, size, checksum."""
        return self.name, self.offset, self.size, self.crc32


def followed(members: Iterable[Member]) -> list[Member]:
    """The members in order, each link with the bytes of what it leads to; the latest of a name is meant."""
    found = list(members)
    named = {_plain(member.name): member for member in found}

    def target(member: Member) -> Member:
        end: Member | None = member
        for _ in range(LINKS_DEEP):
            if end is None or end.link is None:
                break
            end = named.get(end.link)
        if end is None or end.link is not None:
            return replace(member, problem=DANGLING, link=None)
        return replace(end, name=member.name)

    return [member if member.link is None else target(member) for member in found]


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
        self._everywhere: dict[str, str] = {}  # records of pax global headers
        self.bytes = 0
        self.problem: str | None = None

    @property
    def sha256(self) -> str:
        """Full hex SHA-256 of what was read: the whole file, after iterating."""
        return self._hash.hexdigest()

    def __iter__(self) -> Iterator[Member]:
        earlier: dict[str, Member] = {}  # what a hard link can mean
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
            if info.type == tarfile.DIRTYPE:
                continue
            member = self._link(info, earlier) if info.type in _LINKS else self._member(info)
            yield member
            if member.whole:
                earlier[_plain(member.name)] = member
        if not ended:
            self._note("the file is empty" if self.bytes == 0 else f"cut short at byte {self.bytes}")

    def _note(self, problem: str) -> None:
        self.problem = self.problem or problem

    def _link(self, info: tarfile.TarInfo, earlier: Mapping[str, Member]) -> Member:
        """A hard link means a member before it, a symbolic one any member, from the folder it lies in."""
        name, aim = _text(info.name), _text(info.linkname)
        if info.type == tarfile.LNKTYPE:
            target = earlier.get(_plain(aim))
            return replace(target, name=name) if target else Member(name, 0, 0, problem=DANGLING)
        return Member(name, 0, 0, link=_plain(posixpath.join(posixpath.dirname(name), aim)))

    def _member(self, info: tarfile.TarInfo) -> Member:
        name, problem = _text(info.name), None
        if info.type in (*_DEVICES, *_GNU_OWN):
            problem = NOT_A_FILE
        elif info.type == tarfile.GNUTYPE_SPARSE or _is_pax_sparse(info.pax_headers):
            problem = SPARSE
            more = info.type == tarfile.GNUTYPE_SPARSE and info._sparse_structs[1]  # type: ignore[attr-defined]
            while more and len(block := self._read(BLOCK)) == BLOCK:  # the map goes on in blocks of its own
                more = block[504]
        offset = self.bytes
        if problem is None and self._wanted(name, info.size):
            data: bytes | None = self._read(info.size)
            crc32 = checksum(data or b"")
        else:
            data = None
            crc32 = self._skip(info.size)
        whole = self.bytes - offset == info.size
        if not whole:
            self._note(f"cut short at byte {self.bytes}, within {name}")
        self._skip(-info.size % BLOCK)
        return Member(name, offset, info.size, crc32, data if whole else None, whole, problem)

    def _parse(self, header: bytes) -> tarfile.TarInfo | None:
        """The next plain header, with the extended headers before it applied; None if damaged."""
        name: str | None = None
        link: str | None = None
        pax = dict(self._everywhere)
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
            elif info.type == tarfile.XGLTYPE:
                self._everywhere |= _pax_records(body)
                pax = self._everywhere | pax
            else:
                pax |= _pax_records(body)
            header = self._read(BLOCK)
            if len(header) < BLOCK:
                return None
        name = pax.get("GNU.sparse.name", pax.get("path", name))
        info.pax_headers = pax
        info.name = name if name is not None else info.name
        info.linkname = pax.get("linkpath", link if link is not None else info.linkname)
        info.size = int(pax["size"]) if pax.get("size", "").isdecimal() else info.size
        if info.type in _NO_DATA:
            info.size = 0
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

    def _skip(self, size: int) -> int:
        """Read on without keeping anything; the checksum of what was passed."""
        crc32 = 0
        while size > 0 and (part := self._read(min(size, CHUNK))):
            crc32 = checksum(part, crc32)
            size -= len(part)
        return crc32

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


def _is_pax_sparse(records: Mapping[str, str]) -> bool:
    return any(name.startswith("GNU.sparse.") for name in records)


def _plain(name: str) -> str:
    """A name without `./` and `x/../`, as links are compared."""
    return posixpath.normpath(name)


def _text(name: str) -> str:
    """A member's name as storable text: bytes that are no UTF-8 become `\\xNN`, so names stay distinct."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
