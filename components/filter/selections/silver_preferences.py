"""Silver preferences: a trusted caption beats a damaged one, for those who have not labelled yet.

    select:
      silver:
        uses: silver_preferences
        with: {trusted: {collection: tuxpaint-stamps-default}, kinds: {object_replaced: 2, shuffled: 1}}

Where the truth is known (a person wrote the caption), what is worse can be made: the judgement "the
written caption is better than this damaged one" then holds without a judge, as hard negatives of
composition do (Yuksekgonul et al., 2023). It says nothing about taste, and what a rule's damage looks
like is the rule's doing: a reward takes from it how much its evidence counts. So each such judgement says
`origin: silver`, and nothing that fits on it may take it for a person's.

Only the kinds of damage that teach are made (TEACHING in components/dataset/damage/damage.py): those that the
referee's bench judges with are refused, else a reward would be praised for what it was told.

Captions are lent inside small random circles of pairs. A fit that keeps whole what shares a caption can
then still halve the pairs; were anyone lent anyone's caption, every held-out splice would hold words
of a caption that the fit had seen called good.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from pairwright.components.component import Captions, Columns, Selection
from pairwright.components.dataset.damage.damage import JUDGING, TEACHING, damaged
from pairwright.components.dataset.damage.damage_texts import Texts, plain
from pairwright.components.dataset.judgements import JUDGEMENTS, SILVER
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.errors import InvalidRecipe, nearest
from pairwright.components.filter.selections.caption_column import caption_column, caption_texts
from pairwright.components.filter.selections.groups import joined, labels_of
from pairwright.components.registry import selection
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from pairwright.components.dataset.facts import DataFacts

BY = "silver_preferences"
WORSE_SOURCE = "damage"
TRIES = 4  # draws for each judgement wanted
RUN = 4  # pairs of one category side by side in a circle


class SilverPreferencesSettings(Settings):
    trusted: dict[str, str] = Field(
        min_length=1, description="sidecar labels whose pairs' captions are true, e.g. {collection: stamps}"
    )
    source: str = "alt"  # the trusted caption
    kinds: dict[str, Annotated[int, Field(ge=0)]] = Field(
        {
            "object_replaced": 3,
            "spliced": 3,
            "keyword_list": 1,
            "file_name": 1,
            "listing": 1,
            "shuffled": 1,
            "repeated": 1,
        },
        description="kind of damage that teaches -> judgements of it a pair",
    )
    category: str | None = "category"  # sidecar label that object_replaced stays in
    near: str | None = "near_duplicates.group"  # pairs of one group never lend each other captions
    circle: int = Field(16, ge=4, description="pairs that lend each other captions and nouns")
    seed: int = 0

    @field_validator("kinds")
    @classmethod
    def _known(cls, kinds: dict[str, int]) -> dict[str, int]:
        for kind in kinds:
            if kind in JUDGING:
                raise ValueError(f'damage "{kind}" judges, so it must not teach; use some of {", ".join(TEACHING)}')
            if kind not in TEACHING:
                raise ValueError(f'no kind of damage is called "{kind}"{nearest(kind, TEACHING)}')
        return kinds


@selection("silver_preferences")
class SilverPreferences(Selection[SilverPreferencesSettings]):
    """Columns over every pair.

    Columns:
        judgements: of a trusted pair with a caption; null for every other. A kind that cannot damage
            a caption (another order of a single word) makes none for it.
    """

    requires = Columns("near") + Captions("source")
    columns = {"judgements": JUDGEMENTS}

    def check_data(self, facts: DataFacts) -> None:
        for label in self.settings.trusted.items():
            if lacks := facts.lacks_label(*label):
                raise InvalidRecipe(f"{lacks}; name in `trusted` labels whose pairs' captions are true")

    def select(self, view: ColumnsView) -> Mapping[str, Any]:
        wish = self.settings
        captions = caption_texts(view, wish.source)
        rows = np.flatnonzero(_trusted(view, wish.trusted) & captions.is_valid().to_numpy().astype(bool))
        texts = self._texts(view, captions, rows)
        rng, captions_of = np.random.default_rng(wish.seed), set(texts.plain)
        made: list[list[dict[str, Any]] | None] = [None] * view.rows
        for circle in circles(texts, wish.circle, rng):
            members = texts.take(circle)
            elsewhere = captions_of - set(members.plain)
            for kind, count in wish.kinds.items():
                for place, variants in zip(circle, _distinct(members, kind, count, rng, elsewhere), strict=True):
                    judged = [self._judgement(texts.captions[place], worse, kind) for worse in variants]
                    made[rows[place]] = [*(made[rows[place]] or ()), *judged]
        return {"judgements": pa.array(made, JUDGEMENTS)}

    def _texts(self, view: ColumnsView, captions: pa.ChunkedArray, rows: np.ndarray) -> Texts:
        """The trusted pairs' captions and what damage needs to know of them, in the order of `rows`."""
        labellings = [
            labels_of(caption_column(view, self.settings.source)),
            labels_of(view.sidecar(["group"])["group"]),
        ]
        if self.settings.near is not None:
            labellings.append(view.column(self.settings.near).fill_null(-1).to_numpy().astype(np.int64))
        which = pa.array(rows)
        return Texts(
            captions.take(which).to_pylist(),
            _label_of(view, self.settings.category, which) if self.settings.category else None,
            groups=joined(labellings)[rows],
        )

    def _judgement(self, better: str | None, worse: str, kind: str) -> dict[str, Any]:
        return {
            "better": better,
            "worse": worse,
            "tie": False,
            "better_source": self.settings.source,
            "worse_source": WORSE_SOURCE,
            "kind": kind,
            "by": BY,
            "origin": SILVER,
        }


def circles(texts: Texts, size: int, rng: np.random.Generator) -> list[list[int]]:
    """The pairs that have a caption in random circles of about `size`, groups whole.

    A circle is made of runs of RUN pairs of one category, so that a noun of the same category can be
    lent within it.
    """
    groups: dict[int, list[int]] = {}
    for row in texts.rows():
        groups.setdefault(texts.labels[row], []).append(int(row))
    by_category: dict[str | None, list[list[int]]] = {}
    for label in rng.permutation(list(groups)):
        first = groups[label][0]
        category = texts.categories[first] if texts.categories is not None else None
        by_category.setdefault(category, []).append(groups[label])
    runs = [run for members in by_category.values() for run in _filled(members, RUN)]
    return _filled([runs[i] for i in rng.permutation(len(runs))], size)


def _filled(parts: list[list[int]], size: int) -> list[list[int]]:
    """Parts, in order, joined until each whole has at least `size`; a last one under half of it joins its neighbour."""
    wholes: list[list[int]] = []
    for part in parts:
        if wholes and len(wholes[-1]) < size:
            wholes[-1] = wholes[-1] + part
        else:
            wholes.append(part)
    if len(wholes) > 1 and len(wholes[-1]) < size / 2:
        last = wholes.pop()
        wholes[-1] = wholes[-1] + last
    return wholes


def _distinct(
    texts: Texts, kind: str, count: int, rng: np.random.Generator, taken: Set[str] = frozenset()
) -> list[list[str]]:
    """For each pair up to `count` different damaged captions, none in `taken`, drawn a few times if they recur."""
    everyone = range(len(texts.captions))
    found: list[dict[str, None]] = [{} for _ in everyone]
    for _ in range(TRIES * count):
        if all(len(variants) == count for variants in found):
            break
        for variants, worse in zip(found, damaged(texts, kind, everyone, rng), strict=True):
            if worse is not None and len(variants) < count and plain(worse) not in taken:
                variants[worse] = None
    return [list(variants) for variants in found]


def _trusted(view: ColumnsView, labels: Mapping[str, str]) -> np.ndarray:
    """(rows,) bool: sound sidecar rows that carry every one of these labels.

    Raises:
        InvalidRecipe: no row carries one of them, so a name or value must be wrong.
    """
    table = view.sidecar(["labels", "error"])
    chosen = table["error"].is_null().to_numpy().astype(bool)
    every = [{(one["name"], one["value"]) for one in row or ()} for row in table["labels"].to_pylist()]
    for label in labels.items():
        carried = np.array([label in row for row in every], dtype=bool)
        if not carried.any():
            known = {f"{name}: {value}" for row in every for name, value in row if name == label[0]}
            names = known or {name for row in every for name, _ in row}
            raise InvalidRecipe(
                f"silver_preferences: no pair is labelled {label[0]}: {label[1]}{nearest(': '.join(label), names)}"
            )
        chosen &= carried
    return chosen


def _label_of(view: ColumnsView, name: str, rows: pa.Array) -> list[str | None]:
    labels = view.sidecar(["labels"])["labels"].take(rows).to_pylist()
    return [next((one["value"] for one in row or () if one["name"] == name), None) for row in labels]
