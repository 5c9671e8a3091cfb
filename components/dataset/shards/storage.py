"""Reading and committing files on any fsspec file system: local, s3://, gs://, https://.

A file is committed by writing it whole, fsyncing it and renaming it (file system), or by one put
(object storage): a reader sees all of it or none of it.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import posixpath
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pairwright.components.errors import DatasetError, WorkspaceError


def join(base: str, *parts: str) -> str:
    """`base/part/part`; an absolute or `scheme://` part replaces what stands before it."""
    for part in parts:
        base = part if "://" in part or part.startswith("/") else posixpath.join(base, part)
    return base


def is_remote(path: str) -> bool:
    return "://" in path and not path.startswith("file://")


@functools.cache
def _filesystem(protocol: str) -> Any:
    # S3-compatible stores are named by AWS_ENDPOINT_URL, which botocore and so s3fs honour.
    # No listing is remembered: another process may have committed or cut a file since.
    return fsspec.filesystem(protocol, use_listings_cache=False)


def filesystem(path: str) -> tuple[Any, str]:
    """The file system of a path, and the path as that file system spells it."""
    protocol, _, rest = path.partition("://") if "://" in path else ("file", "", path)
    fs = _filesystem(protocol)
    return fs, path if protocol in ("http", "https") else fs._strip_protocol(rest if protocol == "file" else path)


def exists(path: str) -> bool:
    fs, name = filesystem(path)
    return bool(fs.exists(name))


def size_of(path: str) -> int:
    fs, name = filesystem(path)
    return int(fs.size(name))


def stamp(path: str) -> tuple[Any, ...]:
    """What changes whenever a file does, without reading it: its times, size and inode, or its tag.

    Raises:
        OSError: it does not exist.
    """
    fs, name = filesystem(path)
    if isinstance(fs, LocalFileSystem):
        found = os.stat(name)
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
    info = fs.info(name)
    return info.get("size"), *(str(info.get(name)) for name in ("ETag", "etag", "LastModified", "mtime", "created"))


def read_bytes(path: str, offset: int = 0, size: int | None = None) -> bytes:
    """A file, or `size` bytes of it from `offset`.

    Raises:
        DatasetError: it does not exist or cannot be read.
    """
    fs, name = filesystem(path)
    try:
        if isinstance(fs, LocalFileSystem):
            with open(name, "rb") as stream:
                stream.seek(offset)
                return stream.read(-1 if size is None else size)
        data = bytes(fs.cat_file(name, start=offset, end=None if size is None else offset + size))
        if size is not None and len(data) > size:  # a web server that knows no ranges sent all of it
            return data[offset : offset + size]
        return data
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from None


def read_json(path: str) -> Any:
    """A JSON file.

    Raises:
        DatasetError: it is missing or is not JSON.
    """
    try:
        return json.loads(read_bytes(path))
    except ValueError as error:
        raise DatasetError(f"{path} is not JSON ({error}); restore or rebuild it") from None


@contextmanager
def open_read(path: str) -> Iterator[IO[bytes]]:
    """A readable, seekable binary stream.

    Raises:
        DatasetError: it does not exist or cannot be opened.
    """
    fs, name = filesystem(path)
    try:
        stream = open(name, "rb") if isinstance(fs, LocalFileSystem) else fs.open(name, "rb")  # noqa: SIM115
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error}") from None
    with stream:
        yield stream


@contextmanager
def commit_file(path: str) -> Iterator[Path]:
    """A local path to write to; on leaving without an exception it becomes `path`, whole and durable.

    Raises:
        WorkspaceError: the disk is full or the place is read-only.
    """
    fs, name = filesystem(path)
    local = isinstance(fs, LocalFileSystem)
    try:
        folder = os.path.dirname(name) if local else tempfile.gettempdir()
        os.makedirs(folder, exist_ok=True)
        handle, partial = tempfile.mkstemp(prefix=".partial-", dir=folder)
        os.close(handle)
        os.chmod(partial, 0o644)
    except OSError as error:
        raise workspace_error(path, error) from None
    try:
        yield Path(partial)
        _publish(fs, partial, name, local)
    except OSError as error:
        raise workspace_error(path, error) from error
    finally:
        Path(partial).unlink(missing_ok=True)


def _publish(fs: Any, partial: str, name: str, local: bool) -> None:
    if not local:
        fs.put_file(partial, name)
        return
    fsync(partial)
    os.replace(partial, name)
    fsync(os.path.dirname(name))


def fsync(path: str | Path) -> None:
    """Make a local file or folder durable. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: str, data: bytes) -> None:
    with commit_file(path) as partial:
        partial.write_bytes(data)


def write_json(path: str, value: Any) -> None:
    write_bytes(path, (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode())


def workspace_error(path: str, error: OSError) -> WorkspaceError:
    """The one-line error, with its remedy, for a write that failed."""
    remedies = {
        errno.ENOSPC: "the disk is full; free space or set PAIRWRIGHT_WORKSPACE elsewhere, then run the same command",
        errno.EDQUOT: "the disk quota is used up; free space or set PAIRWRIGHT_WORKSPACE elsewhere",
        errno.EROFS: "the file system is read-only; set PAIRWRIGHT_WORKSPACE to a folder you can write",
        errno.EACCES: "permission denied; set PAIRWRIGHT_WORKSPACE to a folder you can write",
        errno.EPERM: "not permitted; set PAIRWRIGHT_WORKSPACE to a folder you can write",
    }
    return WorkspaceError(f"{path} cannot be written: {remedies.get(error.errno or 0, str(error))}")
