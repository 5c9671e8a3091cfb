"""What of a receipt everyone may read: `/lineage` shows it to whoever asks.

Credentials in addresses go, and so do the absolute paths of the machine that made the Bento: of those the
last name stays, which is what tells one from another. Relative paths, addresses and digests stay whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pairwright.components.errors import without_credentials

LOCAL_STORE = re.compile(r"\b(sqlite|file)(\+\w+)?:/{2,4}(?:[^/\s]+/)*([^/\s]*)")
# A path of two names or more, neither within a word, an address nor a relative path.
ABSOLUTE = re.compile(r"(?<![\w/:.~-])/(?:[^/\s\"'<>|;,)\]}]+/)+([^/\s\"'<>|;,)\]}]*)")
WINDOWS = re.compile(r"\b[A-Za-z]:\\(?:[^\\\s\"'<>|;,]+\\)*([^\\\s\"'<>|;,]*)")


def publishable(value: Any) -> Any:
    """JSON with every text in it, names included, without credentials and absolute paths."""
    if isinstance(value, Mapping):
        return {_text(str(name)): publishable(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [publishable(inner) for inner in value]
    return _text(value) if isinstance(value, str) else value


def _text(text: str) -> str:
    text = without_credentials(text)
    if text.startswith("/") and "\n" not in text:  # all of it is a path, spaces and all
        return text.rstrip("/").rpartition("/")[2]
    text = LOCAL_STORE.sub(r"\1\2:///\3", text)
    return WINDOWS.sub(r"\1", ABSOLUTE.sub(r"\1", text))
