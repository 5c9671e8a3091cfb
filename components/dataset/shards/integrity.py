"""Whether what lies on disk is still what was recorded of it.

    verified(path, record["sha256"])     # False: not the bytes that were committed
    checksum(data) == medium["crc32"]    # of one member of a tar

A whole file is hashed once a process, as long as its time, size and inode stay; a member of a tar is
checked whenever it is read, because only a byte range of the tar is. CRC-32 for members: of what the
standard library has it is the fastest but one (2.9 GB/s here, SHA-256 1.8, BLAKE2b 0.9: 14 microseconds a
picture of 40 kB, under half a percent of scoring it), it finds every burst up to 32 bits and misses one
other damage in 4 billion. It guards against accidents, not against forgers; the shard's digest holds the
SHA-256 of all its bytes.
"""

from __future__ import annotations

import functools
import hashlib
import time
import zlib
from typing import Any

from pairwright.components.dataset.shards import storage

CHUNK = 1 << 20
YOUNG_NS = 100_000_000  # a file changed a moment ago may change again under the same time, so its hash is not kept
FILES_KNOWN = 1 << 16  # hashes remembered, some 20 MB at most


def checksum(data: bytes, start: int = 0) -> int:
    """CRC-32 of a member's bytes; `start` is that of the bytes before these."""
    return zlib.crc32(data, start)


def verified(path: str, sha256: str) -> bool:
    """Whether the file's bytes have this full hex SHA-256.

    Raises:
        OSError, DatasetError: it cannot be read.
    """
    return file_hash(path) == sha256


def file_hash(path: str) -> str:
    """Full hex SHA-256 of a file, local or remote; remembered as long as the file is the same.

    Raises:
        OSError, DatasetError: it cannot be read.
    """
    stamp = storage.stamp(path)
    if not storage.is_remote(path) and time.time_ns() - max(stamp[:2]) < YOUNG_NS:
        return _sha256.__wrapped__(path, stamp)
    return _sha256(path, stamp)


@functools.lru_cache(FILES_KNOWN)
def _sha256(path: str, stamp: tuple[Any, ...]) -> str:
    hasher = hashlib.sha256()
    with storage.open_read(path) as stream:
        while data := stream.read(CHUNK):
            hasher.update(data)
    return hasher.hexdigest()
