"""A folder of files that somebody else made: what lies in it, and reading one file of it safely.

    folder = Folder("/photos")
    folder.listing().files                    # relative paths, sorted
    data, error = folder.read("cat/1.jpg")    # bytes, or why there are none

A file that cannot be had is a reason, never an exception:

    missing_file     it is not there, or is a link to nothing
    unsafe_path      the name is absolute or climbs out of the folder
    unsafe_link      a link that leads out of the folder (`follow_links` reads through it)
    unreadable:...   no permission, or no regular file (a pipe, a device, a folder)
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pairwright.components.dataset.captions.text import one_line
from pairwright.components.dataset.shards import storage
from pairwright.components.errors import DatasetError

MISSING_FILE, UNSAFE_PATH, UNSAFE_LINK, UNREADABLE = "missing_file", "unsafe_path", "unsafe_link", "unreadable"


@dataclass(frozen=True)
class Listing:
    """Files below a folder, relative and sorted, hidden ones left out; and folders that were not entered, with why."""

    files: list[str]
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Folder:
    """A folder, local or remote.

    Attributes:
        root: its path. follow_links: whether links may lead out of it.
    """

    root: str
    follow_links: bool = False

    def listing(self) -> Listing:
        """What lies in it. Links to folders are followed inside, and never in a circle.

        Raises:
            DatasetError: the folder itself cannot be read.
        """
        if storage.is_remote(self.root):
            fs, name = storage.filesystem(self.root)
            prefix = len(name.rstrip("/")) + 1
            with reaching(self.root):
                return Listing(sorted(str(path)[prefix:] for path in fs.find(name) if not hidden(path)))
        found = dict(self._walk("", (os.path.realpath(self.root),)))
        if "" in found:
            reason = (found[""] or "").partition(":")[2]
            raise DatasetError(f"{self.root} cannot be read ({reason}); check the path and its permissions")
        refused = {path: reason for path, reason in sorted(found.items()) if reason is not None}
        return Listing(sorted(path for path, reason in found.items() if reason is None), refused)

    def _walk(self, below: str, above: tuple[str, ...]) -> Iterator[tuple[str, str | None]]:
        """(file, None), and (folder that is not entered, why)."""
        try:
            entries = list(os.scandir(os.path.join(self.root, below)))
        except OSError as error:
            yield below, f"{UNREADABLE}:{error.strerror}"
            return
        for entry in entries:
            path = posixpath.join(below, entry.name)
            if not os.path.isdir(entry.path):  # links to nothing and in a circle too
                if not hidden(path):
                    yield path, None
                continue
            real = os.path.realpath(entry.path)
            if entry.is_symlink() and not self._inside(real):
                yield path, UNSAFE_LINK
            elif real not in above:
                yield from self._walk(path, (*above, real))

    def _inside(self, real: str) -> bool:
        root = os.path.realpath(self.root)
        return self.follow_links or real == root or real.startswith(root.rstrip("/") + "/")

    def place(self, name: str, below: str = "") -> str | None:
        """A name that stands in the folder `below`, as a path relative to the root; None where it leads out of it."""
        if name.startswith(("/", "\\")):
            return None
        path = posixpath.normpath(posixpath.join(below, name))
        climbs = path == ".." or path.startswith("../") or ".." in path.replace("\\", "/").split("/")
        return None if climbs else path

    def read(self, path: str) -> tuple[bytes, str | None]:
        """The bytes of a file by its relative path, or no bytes and the reason."""
        if self.place(path) is None:
            return b"", UNSAFE_PATH
        place = f"{self.root.rstrip('/')}/{path}"
        try:
            if storage.is_remote(self.root):
                return (storage.read_bytes(place), None) if storage.exists(place) else (b"", MISSING_FILE)
            found = os.stat(place)
            if not self._inside(os.path.realpath(place)):
                return b"", UNSAFE_LINK
            if not stat.S_ISREG(found.st_mode):
                return b"", f"{UNREADABLE}:no regular file"
            with open(place, "rb") as stream:
                return stream.read(), None
        except PermissionError:
            return b"", f"{UNREADABLE}:permission denied"
        except (OSError, ValueError):  # not there, a link in a circle, a name no file system takes
            return b"", MISSING_FILE
        except DatasetError as error:
            return b"", f"{UNREADABLE}:{one_line(str(error))}"

    def size_of(self, path: str) -> int:
        """Bytes of a file; 0 where it cannot be had."""
        if storage.is_remote(self.root):
            return storage.size_of(f"{self.root.rstrip('/')}/{path}")
        return int(self._fingerprint(path)["bytes"] or 0)

    def fingerprints(self) -> dict[str, Any]:
        """Size and time of every file of a local folder, by path."""
        listing = self.listing()
        return {path: self._fingerprint(path) for path in [*listing.files, *listing.refused]}

    def _fingerprint(self, path: str) -> dict[str, Any]:
        try:
            found = os.stat(os.path.join(self.root, path))
        except OSError:
            return {"bytes": None, "stamp": None}
        return {"bytes": found.st_size, "stamp": str(found.st_mtime)}


@contextmanager
def reaching(path: str) -> Iterator[None]:
    """Whatever the client of a store raises where it finds nothing, or nobody lets it in, is one line."""
    try:
        yield
    except DatasetError:
        raise
    except Exception as error:
        reason = one_line(str(error)) or type(error).__name__
        raise DatasetError(f"{path} cannot be reached ({reason}); check the address and its credentials") from None


def hidden(path: str) -> bool:
    """Whether the file is one we or a desktop left there (`.partial-…`, `._name`)."""
    return path.rpartition("/")[2].startswith(".")


def suffix_of(path: str) -> str:
    """A path's last suffix, lower-case, without its dot."""
    return posixpath.splitext(path)[1].lower().lstrip(".")


def count_by_suffix(paths: Iterable[str]) -> str:
    """`2 .zip, 1 without suffix`, the most frequent first."""
    counts = Counter(f".{suffix_of(path)}" if suffix_of(path) else "without suffix" for path in paths)
    return ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(counts.items(), key=lambda c: (-c[1], c[0])))
