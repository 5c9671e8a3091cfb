"""The files the pages are made of, each with its content type."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parent / "page"
SCRIPT = "text/javascript"
FILES = {
    "app.js": SCRIPT,
    "caption.css": "text/css",
    "caption.js": SCRIPT,
    "docs.js": SCRIPT,
    "icon.svg": "image/svg+xml",
    "look.css": "text/css",
    "style.css": "text/css",
}
