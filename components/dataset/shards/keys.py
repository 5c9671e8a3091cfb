"""Keys: what names a pair inside its dataset, and a member inside its tar.

keys = Keys()
keys.of_path("cat/x.1.jpg")       # "cat/x_1"
keys.of_path("cat/x_1.jpg")       # "cat/x_1_jpg"
keys.of_name("id 7")              # "id 7"; the same name again is the same key, a duplicate of the source's own
"""

from __future__ import annotations

import hashlib
import itertools
import posixpath
import re


def safe_key(text: str) -> str:
    """A key made from any text: what a tar member's name cannot carry becomes "_"."""
    text = text.encode("utf-8", "backslashreplace").decode()  # lone surrogates: file names in no known encoding
    parts = [re.sub(r"[\0-\x1f\x7f\\:*?\"<>|]", "_", part) for part in text.split("/")]
    parts = [part for part in parts if part not in ("", ".", "..")]
    if not parts:
        return "_"
    parts[-1] = parts[-1].replace(".", "_")
    return "/".join(parts)


class Keys:
    """Different names get different keys, for certain; the same name always gets the same."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._known: dict[tuple[str, str], str] = {}

    def of_path(self, path: str) -> str:
        """The key of a file: its path without suffix, with it where that is taken."""
        return self._of("path", path, [safe_key(_without_suffix(path)), safe_key(path)])

    def of_name(self, name: str) -> str:
        """The key of a name that is no path, such as an id."""
        return self._of("name", name, [safe_key(name)])

    def _of(self, kind: str, name: str, wanted: list[str]) -> str:
        if (kind, name) not in self._known:
            digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
            more = (f"{wanted[0]}-{digest[:length]}" for length in itertools.count(8))
            # A digest ends at 64 characters; then only a counter tells one from a name made to look like it.
            last = (f"{wanted[0]}-{digest}-{number}" for number in itertools.count())
            options = itertools.chain(wanted, itertools.islice(more, 57), last)
            key = next(key for key in options if key not in self._taken)
            self._taken.add(key)
            self._known[kind, name] = key
        return self._known[kind, name]


def _without_suffix(path: str) -> str:
    folder, base = posixpath.split(path)
    stem = posixpath.splitext(base)[0]
    return posixpath.join(folder, stem)
