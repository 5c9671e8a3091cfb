"""Exchange: of a mix of tasks exactly k caption rows give way to k other pairs, whose captions are better.

    select:
      exchange: {uses: exchange_captions, with: {task: pair.label.task, caption: caption, other: strong, count: 100}}
    keep: {in_the_mix: "exchange.keep"}

ShareGPT4V (Chen et al., 2023) takes 23,000 caption rows (3.5%) out of the 665,000 of its instruction mix and puts
23,000 other pairs of its own captions in, so that what is gained is not gained by more rows: the mix stays as large,
every row of another task stays as it is, and the new rows are other pictures. Which rows go and come is a pure function
of (seed, key), and those of a smaller count are among those of a larger.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, Field

from pairwright.components.component import Selection
from pairwright.components.dataset.captions.caption_mix import key_hashes
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.errors import InvalidRecipe
from pairwright.components.filter.selections.duplicates.duplicates import among_columns, participants
from pairwright.components.filter.selections.pair_facts import check_fact, pair_fact, step_columns
from pairwright.components.registry import selection
from pairwright.components.settings import Settings

OUT, IN = "out", "in"


class ExchangeCaptionsSettings(Settings):
    task: Annotated[str, AfterValidator(check_fact)] = Field(description="fact that says what a row of the mix teaches")
    caption: str = Field("caption", description="its value of the mix's caption rows")
    other: str = Field(description="its value of pairs outside the mix that may come in")
    count: int = Field(ge=0, description="rows exchanged")
    seed: int = Field(0, ge=0)
    among: dict[str, str] = Field({}, description="keep-rules; only pairs that pass them come in")


@selection("exchange_captions")
class ExchangeCaptions(Selection[ExchangeCaptionsSettings]):
    """Columns over every pair.

    Columns:
        keep: it is in the mix now.
        moved: "out" of a caption row that gave way, "in" of a pair that came in its place, null of all others.
    """

    columns = {"keep": pa.bool_(), "moved": pa.string()}

    def column_names(self) -> tuple[str, ...]:
        wish = self.settings
        return tuple(dict.fromkeys([*step_columns([wish.task]), *among_columns(wish.among)]))

    def select(self, view: ColumnsView) -> Mapping[str, Any]:
        """Raises InvalidRecipe where the mix has fewer caption rows, or there are fewer others, than are exchanged."""
        wish = self.settings
        task = pc.fill_null(pair_fact(view, wish.task), "").to_numpy().astype(str)
        keys = view.sidecar(["key"])["key"].to_pylist()
        sides = {OUT: task == wish.caption, IN: (task == wish.other) & participants(view, wish.among)}
        moved = np.full(len(keys), "", object)
        for side, rows in sides.items():
            at = np.flatnonzero(rows)
            if len(at) < wish.count:
                what = "caption rows" if side == OUT else "other pairs"
                raise InvalidRecipe(f"exchange_captions: {wish.count} are exchanged, and there are {len(at)} {what}")
            order = np.argsort(key_hashes([f"{wish.seed} {keys[row]}" for row in at]), kind="stable")
            moved[at[order[: wish.count]]] = side
        return {
            "keep": pa.array(((task != wish.other) & (moved != OUT)) | (moved == IN)),
            "moved": pa.array([one or None for one in moved], pa.string()),
        }
