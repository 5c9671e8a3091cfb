"""Labels as a column: what people judged, beside the pairs they judged.

    select: {labels: {uses: labels, with: {folder: labels/raw, share: chosen}}}
    select: {held_out: {uses: labels, with: {folder: labels/raw, share: random}}}

`pairwright label export DATASET labels/raw` writes the folder; its content is what the step's digest
knows it by. The judgements of Compress & Align (Zhang et al., 2023) in the schema that silver
preferences have, too (components/dataset/judgements.py), with origin "human".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pairwright.components.component import Selection
from pairwright.components.dataset.judgements import JUDGEMENT, JUDGEMENTS
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.errors import DatasetError, InvalidRecipe
from pairwright.components.preference.labels_folder import read_judgements
from pairwright.components.registry import selection
from pairwright.components.settings import ModelFolder, Settings

if TYPE_CHECKING:
    from pairwright.components.dataset.facts import DataFacts


class LabelsSettings(Settings):
    folder: ModelFolder = Field(description="an exported labels folder; its content enters the digest")
    share: Literal["all", "chosen", "random"] = Field(
        "all", description="chosen: sampled to teach, for training; random: drawn blindly, for honest evaluation"
    )
    kinds: tuple[str, ...] = Field((), description="criteria and flags taken; all of them if empty")
    labellers: tuple[str, ...] = Field((), description="labellers taken; all of them if empty")
    repeats: bool = Field(False, description="also what a labeller answered when asked a second time")


@selection("labels")
class Labels(Selection[LabelsSettings]):
    """Columns: `judgements`, JUDGEMENTS, null where a pair was not judged.

    Raises:
        DatasetError: the folder is damaged, or none of its labels is of a pair of this dataset.
    """

    columns = {"judgements": JUDGEMENTS}

    def check_data(self, facts: DataFacts) -> None:
        path = self.settings.folder.path or self.settings.folder.reference
        table = read_judgements(path)
        if len(table) and not facts.shards & set(table["shard"].unique().to_pylist()):
            raise InvalidRecipe(
                f"none of the {len(table)} judgements in {path} is of a pair of {facts.name}; "
                "label this dataset, or run on the one that was labelled"
            )

    def pictures(self) -> set[tuple[str, int]]:
        """(shard, row) of every picture these settings take judgements of, whatever the dataset."""
        table = read_judgements(self.settings.folder.path or self.settings.folder.reference)
        taken = table.filter(self._wanted(table))
        return set(zip(taken["shard"].to_pylist(), taken["row"].to_pylist(), strict=True))

    def select(self, view: ColumnsView) -> Mapping[str, Any]:
        path = self.settings.folder.path or self.settings.folder.reference
        table = read_judgements(path)
        mine = table.filter(pc.is_in(table["shard"], pa.array(list(view.offsets), pa.string())))
        if len(table) and not len(mine):
            raise DatasetError(
                f"none of the {len(table)} judgements in {path} is of a pair of {view.dataset.name}; "
                "label this dataset, or run on the one that was labelled"
            )
        mine = mine.filter(self._wanted(mine))
        judged: dict[int, list[dict[str, Any]]] = {}
        for entry in mine.to_pylist():
            row = view.offsets[entry["shard"]] + entry["row"]
            judged.setdefault(row, []).append({field.name: entry[field.name] for field in JUDGEMENT})
        return {"judgements": pa.array([judged.get(row) for row in range(view.rows)], JUDGEMENTS)}

    def _wanted(self, table: pa.Table) -> pa.ChunkedArray:
        said = self.settings
        keep = pc.or_(pc.invert(table["repeat"]), pa.scalar(said.repeats))
        for column, values in (("kind", said.kinds), ("by", said.labellers)):
            if values:
                keep = pc.and_(keep, pc.is_in(table[column], pa.array(values, pa.string())))
        return keep if said.share == "all" else pc.and_(keep, pc.equal(table["share"], said.share))
