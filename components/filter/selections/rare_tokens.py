"""Rare tokens: captions with a word or a pair of words that the corpus hardly knows, as ALIGN filters them.

    selection: {uses: rare_tokens, with: {vocabulary: 100_000_000}}
    keep:      {no_rare_token: "rare_tokens.rare = 0"}

ALIGN (Jia et al., 2021, section 3.1) drops alt-texts with any token outside the 100 million most frequent
unigrams and bigrams of the raw data: "image_tid 25&id mggqpuweqdpd", "thesaurus.com" and the like.
Captions are split as `caption_frequency` compares them, at whatever is no letter, mark or digit; a
script written without spaces has one token a clause. The paper's vocabulary belongs to 1.8 billion
pairs: scale it to the corpus.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from pairwright.components.component import Captions, Selection
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.filter.rules.population import open_threads, scratch_database
from pairwright.components.filter.selections.caption_column import caption_column
from pairwright.components.registry import selection
from pairwright.components.settings import Settings


class RareTokensSettings(Settings):
    source: str = "alt"  # a sidecar's source, or a captioner step's name
    vocabulary: int = Field(
        100_000_000, ge=1, description="most frequent tokens that are known, of all orders together"
    )
    orders: tuple[Annotated[int, Field(ge=1, le=5)], ...] = Field(
        (1, 2), min_length=1, description="words a token: 1 unigrams, 2 bigrams"
    )
    memory: str = Field("2GB", description="of the counting, after which it spills to disk")

    undigested = frozenset({"memory"})


@selection("rare_tokens")
class RareTokens(Selection[RareTokensSettings]):
    """Columns are null without a caption.

    Columns:
        rare: tokens of the caption outside the vocabulary. A token as frequent as the vocabulary's last
            is inside: a tie is no sign of rarity.
        rarest: the least frequent token, the first in order of text of equals; null without a word.
        rarest_count: how often it occurs in the corpus.
        unigrams: words of the caption.
    """

    requires = Captions("source")
    libraries = ("duckdb",)
    columns = {"rare": pa.int32(), "rarest": pa.string(), "rarest_count": pa.int64(), "unigrams": pa.int32()}

    def select(self, view: ColumnsView) -> Mapping[str, Any]:
        captions = caption_column(view, self.settings.source)
        found = self._counted(captions)
        row = found["row"].to_numpy()
        place = np.full(len(captions), -1, np.int64)
        place[row] = np.arange(len(row))
        wordless = pa.array(place, pa.int64(), mask=place < 0)
        columns = {name: found[name].take(wordless).combine_chunks() for name in self.columns}
        blank = captions.is_valid().to_numpy() & (place < 0)  # an empty caption has no token, so no rare one
        for name in ("rare", "unigrams"):
            values = columns[name].fill_null(0).to_numpy(zero_copy_only=False)
            columns[name] = pa.array(values, self.columns[name], mask=(place < 0) & ~blank)
        return columns

    def _counted(self, captions: pa.ChunkedArray) -> pa.Table:
        """row, rare, rarest, rarest_count, unigrams of every caption that has a word."""
        batch = pa.table({"row": pa.array(np.arange(len(captions))), "text": captions})
        with scratch_database(self.settings.memory) as connection:
            connection.register("batch", batch)
            connection.execute(
                f"CREATE TABLE captions AS SELECT row, len(w) AS unigrams, {self._tokens()} AS tokens "
                "FROM (SELECT row, string_split(text, ' ') AS w FROM batch WHERE text <> '')"
            )
            connection.unregister("batch")
            open_threads(connection)
            connection.execute(
                "CREATE TABLE counts AS SELECT token, count(*) AS n "
                "FROM (SELECT unnest(tokens) AS token FROM captions) GROUP BY token"
            )
            last = connection.execute(
                "SELECT n FROM counts ORDER BY n DESC LIMIT 1 OFFSET ?", [self.settings.vocabulary - 1]
            ).fetchall()
            return connection.sql(
                f"SELECT row, unigrams, (count(*) FILTER (n < {last[0][0] if last else 0}))::INTEGER AS rare, "
                "arg_min(token, (n, token)) AS rarest, min(n) AS rarest_count "
                "FROM (SELECT row, unigrams, unnest(tokens) AS token FROM captions) JOIN counts USING (token) "
                "GROUP BY row, unigrams"
            ).to_arrow_table()

    def _tokens(self) -> str:
        """SQL of a caption's tokens, from its list of words `w`."""
        lists = [
            f"list_transform(range(1, len(w) - {order - 2}), lambda i: array_to_string(w[i:i + {order - 1}], ' '))"
            for order in sorted(set(self.settings.orders))
        ]
        return lists[0] if len(lists) == 1 else f"list_concat({', '.join(lists)})"
