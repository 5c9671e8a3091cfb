"""Data Docs that open without a network: Great Expectations' pages, mended, and an index of ours.

    <docs>/index.html                      every gate run, newest first
    <docs>/<gate>/<time>/index.html        one gate run: every check, the worst shards
    <docs>/<gate>/<time>/validations/...   Great Expectations' own pages
    <docs>/<gate>/<time>/result.json       the GateResult

Great Expectations' pages take their styles, scripts and index table from six servers; offline they
are unstyled and their index is empty. Here the links are cut, a small style sheet stands in, and
the index is plain HTML.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pairwright.components.dataset.shards import storage
from pairwright.components.validation.result import GateResult

STYLE = Path(__file__).with_name("docs.css")
INDEXED_RUNS = 500
EXTERNAL = re.compile(
    r"<script\b.*?</script>"  # their scripts need jQuery, which is not here
    r"|<link\b[^>]*>"
    r"|<img\b[^>]*\bsrc=\"https?:[^>]*>"
    r"|@import url\([^)]*https?:[^)]*\);?"
    r"|@font-face\s*\{[^}]*\}"
    r"|url\(\s*['\"]?https?:[^)]*\)"
    r"|<footer\b.*?</footer>",  # an invitation to a newsletter
    re.DOTALL,
)
ACTIONS = re.compile(r"<div class=\"btn-group btn-group-toggle\".*?</div>", re.DOTALL)


@dataclass
class GatePage:
    """Where a gate run's pages are made and where they will lie."""

    site: Path  # Great Expectations builds here
    index: Path  # the page's final place
    result: GateResult | None = None


@contextmanager
def publish(docs: Path, gate: str, about: str) -> Iterator[GatePage]:
    """A page to fill; on leaving it is mended, moved to its place and listed in `docs/index.html`.

    Raises:
        WorkspaceError: the disk is full or read-only.
    """
    docs = docs.resolve()
    now = datetime.now(UTC)
    final = docs / gate / f"{now:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=final.parent))
    except OSError as error:
        raise storage.workspace_error(str(final), error) from None
    page = GatePage(partial, final / "index.html")
    try:
        yield page
        assert page.result is not None
        _mend(partial)
        record = page.result.as_dict() | {"at": now.isoformat(timespec="seconds"), "about": about}
        (partial / "result.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (partial / "index.html").write_text(_gate_page(record, partial), encoding="utf-8")
        os.chmod(partial, 0o755)
        os.replace(partial, final)
        storage.write_bytes(str(docs / "index.html"), _index_page(docs).encode())
    except OSError as error:
        raise storage.workspace_error(str(final), error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _mend(site: Path) -> None:
    """Cut every link to another server out of Great Expectations' pages and give them our style."""
    shutil.rmtree(site / "static", ignore_errors=True)
    style = STYLE.read_text(encoding="utf-8")
    for path in site.rglob("*.html"):
        text = ACTIONS.sub("", EXTERNAL.sub("", path.read_text(encoding="utf-8")))
        text = text.replace("</head>", f"<style>{style}</style></head>", 1)
        path.write_text(text, encoding="utf-8")


def _gate_page(record: dict[str, Any], site: Path) -> str:
    pages = sorted(str(p.relative_to(site)) for p in site.rglob("validations/**/*.html"))
    links = [{"href": page, "name": Path(page).parts[1]} for page in pages]
    return _template("gate.html.j2").render(record=record, links=links, style=STYLE.read_text(encoding="utf-8"))


def _index_page(docs: Path) -> str:
    """Every gate run below `docs`, newest first."""
    folders = sorted((p for p in docs.glob("*/*/result.json")), key=lambda p: p.parent.name, reverse=True)
    runs = []
    for path in folders[:INDEXED_RUNS]:
        record = json.loads(path.read_text(encoding="utf-8"))
        failed = [check for check in record["checks"] if not check["success"]]
        runs.append(record | {"href": f"{path.parent.relative_to(docs)}/index.html", "failed": failed})
    return _template("index.html.j2").render(runs=runs, style=STYLE.read_text(encoding="utf-8"))


def _template(name: str) -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(name)
