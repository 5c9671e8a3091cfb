"""Selections that a person saved from the explorer: what a filter found, under a name, with tags.

    saved = SavedSelections("workspace", "quickstart")
    saved.save("red buses", ["to check"], table, asked)        # <workspace>/explored/red buses/
    saved.all(), saved.delete("red buses")

A folder like any other selection's (filter/selection.py), committed whole or not at all (artifact.py), with
saved.json beside it: tags, when, and what was asked. So it can be compared, reopened and exported.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pairwright.components.artifact import COMMIT, ArtifactStore
from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.errors import DatasetError
from pairwright.components.explore.exploration import SelectionPlace
from pairwright.components.filter.rules.expression import Rule
from pairwright.components.filter.rules.ledger import Ledger
from pairwright.components.filter.rules.rules import Selected
from pairwright.components.filter.rules.selection import save_selection
from pairwright.components.filter.rules.verdicts import kept_of

KIND, FACTS = "explored", "saved.json"
NAME = re.compile(r"[^\W_](?:[\w .\-]{0,58}[\w\-])?")  # a folder's name on any system
RULE = "saved"  # the rule that drops what is not in it
MOST_TAGS, LONGEST_TAG = 12, 40


@dataclass(frozen=True)
class SavedSelection:
    """A saved selection: where it lies, and what `saved.json` says.

    Its place is called by name and time, so that nothing remembered of one is taken for another of the same name.
    """

    name: str
    place: SelectionPlace
    tags: tuple[str, ...]
    asked: Mapping[str, str]


class SavedSelections:
    """The saved selections of one dataset in one workspace."""

    def __init__(self, workspace: str, dataset: str) -> None:
        self._store, self._dataset = ArtifactStore(workspace), dataset

    def all(self) -> list[SavedSelection]:
        """Oldest first; what is half-written, or of another dataset, is left out."""
        found = []
        for path in Path(self._store.root, KIND).glob(f"*/{FACTS}"):
            if path.parent.name.startswith("."):
                continue  # whole, but not yet in its place: its process was killed
            try:
                facts = storage.read_json(str(path))
                if facts["dataset"] == self._dataset and (path.parent / COMMIT).exists():
                    found.append((float(facts["made"]), _opened(path.parent, facts)))
            except (DatasetError, KeyError, TypeError, ValueError):
                continue
        return [one for _, one in sorted(found, key=lambda pair: pair[0])]

    def save(
        self, name: str, tags: Sequence[str], verdicts: pa.Table, asked: Mapping[str, str], view: ColumnsView
    ) -> SavedSelection:
        """Commit what was found.

        Args:
            verdicts: of every pair (filter/verdicts.py).
            asked: the page's query.

        Raises:
            DatasetError: the name or a tag is none, or the name is taken.
            WorkspaceError: the disk is full or read-only.
        """
        name, tags = checked_name(name), checked_tags(tags)
        folder = self._store.path(KIND, name)
        if folder.exists():
            raise DatasetError(f'a selection "{name}" is saved already; delete it, or choose another name')
        facts = {"dataset": self._dataset, "tags": tags, "made": time.time(), "asked": dict(asked)}
        with self._store.commit(KIND, name) as partial:
            save_selection(_selected(verdicts, asked), partial, view)
            storage.write_json(str(partial / FACTS), facts)
        return _opened(folder, facts)

    def delete(self, name: str) -> None:
        """Raises DatasetError: nothing is saved under that name."""
        folder = self._store.path(KIND, checked_name(name))
        if not (folder / FACTS).exists():
            raise DatasetError(f'no selection "{name}" is saved here')
        try:
            going = tempfile.mkdtemp(prefix=".partial-", dir=folder.parent)  # swept later, if this is killed
            os.replace(folder, Path(going) / "deleted")
        except OSError as error:
            raise storage.workspace_error(str(folder), error) from None
        shutil.rmtree(going, ignore_errors=True)


def checked_name(name: Any) -> str:
    """Raises DatasetError: it is no name of a folder."""
    plain = name.strip() if isinstance(name, str) else ""
    if not NAME.fullmatch(plain):
        raise DatasetError("a selection's name is 1 to 60 letters, digits, spaces, dots, - and _, a letter first")
    return plain


def checked_tags(tags: Any) -> list[str]:
    """Distinct tags, without space around them. Raises DatasetError."""
    plain = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, (list, tuple)) else []
    whole = isinstance(tags, (list, tuple)) and len(plain) == len(tags)
    if not whole or not all(tag.isprintable() and len(tag) <= LONGEST_TAG for tag in plain):
        raise DatasetError(f"a tag is a text of at most {LONGEST_TAG} characters")
    found = list(dict.fromkeys(tag.strip() for tag in plain if tag.strip()))
    if len(found) > MOST_TAGS:
        raise DatasetError(f"a selection has at most {MOST_TAGS} tags")
    return found


def _opened(folder: Path, facts: Mapping[str, Any]) -> SavedSelection:
    tags = tuple(str(tag) for tag in facts["tags"])
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(facts["made"]))
    label = ", ".join([folder.name, *(f"#{tag}" for tag in tags), f"saved {when}"])
    place = SelectionPlace(f"saved/{folder.name}/{int(1000 * facts['made'])}", str(folder), label)
    return SavedSelection(folder.name, place, tags, dict(facts["asked"]))


def _selected(verdicts: pa.Table, asked: Mapping[str, str]) -> Selected:
    statuses = verdicts["status"].combine_chunks().cast(pa.string()).value_counts().to_pylist()
    counts = {entry["values"]: entry["counts"] for entry in statuses}
    kept, dropped, failed = (int(counts.get(name, 0)) for name in ("kept", "dropped", "failed"))
    ledger = Ledger(
        pairs_in=len(verdicts),
        kept=kept,
        dropped={RULE: dropped} if dropped else {},
        failed={"pair.error": failed} if failed else {},
    )
    ledger.check()
    funnel = [{"rule": RULE, "entered": kept + dropped, "kept": kept, "dropped": dropped}]
    rule = Rule(RULE, asked.get("filter") or "true")
    return Selected(kept_of(verdicts), verdicts, {}, funnel, ledger, (rule,))
