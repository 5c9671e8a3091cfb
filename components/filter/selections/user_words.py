"""User words: the words by which one who writes captions is known, by TF-IDF over who writes them.

    select: {user: {uses: user_words, with: {user: pair.author, source: alt}}}
    fit:    {captioner: {uses: captioner, with: {user: user.words, ...}}}

User-Aware Prefix-Tuning (Wang et al., 2023) tells its captioner a user's words of highest TF-IDF over earlier posts:

    tf(w, u) = captions of u that say w / captions of u        idf(w) = log(users / users who say w)

A pair's own group is no earlier post: its captions are left out of what is told with it, so that no word of an answer
is told with its question. What everyone says is nobody's word (idf 0), what was said less than `least` times neither.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import pyarrow as pa
from pydantic import AfterValidator, Field

from pairwright.components.component import Captions, Selection
from pairwright.components.dataset.groups import held_out
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.filter.selections.caption_column import caption_column
from pairwright.components.filter.selections.pair_facts import check_fact, pair_fact, step_columns
from pairwright.components.registry import selection
from pairwright.components.settings import Settings


class UserWordsSettings(Settings):
    user: Annotated[str, AfterValidator(check_fact)] = Field(
        "pair.author", description="who wrote a pair's caption: pair.author, pair.label.NAME, pair.producer.SOURCE, ..."
    )
    source: str = Field("alt", description="captions that are theirs")
    most: int = Field(8, ge=1, le=256, description="words told of a user, the highest TF-IDF first")
    least: int = Field(2, ge=1, description="captions of a user beside the pair's own group that must say a word")


@selection("user_words")
class UserWords(Selection[UserWordsSettings]):
    """Columns: `words` of the pair's user, lower case; empty where the user is not known or has said nothing else."""

    requires = Captions("source")
    columns = {"words": pa.list_(pa.string())}

    def column_names(self) -> tuple[str, ...]:
        return tuple(step_columns([self.settings.user]))

    def select(self, view: ColumnsView) -> Mapping[str, Any]:
        wish, out = self.settings, held_out(view)
        users = pair_fact(view, wish.user).to_pylist()
        groups = [group or str(row) for row, group in enumerate(view.sidecar(["group"])["group"].to_pylist())]
        captions = caption_column(view, wish.source).to_pylist()
        known = [None if left_out else text for text, left_out in zip(captions, out.tolist(), strict=True)]
        return {"words": pa.array(words_of_users(users, groups, known, wish.most, wish.least), self.columns["words"])}


def words_of_users(
    users: Sequence[str | None], groups: Sequence[str], captions: Sequence[str | None], most: int, least: int = 1
) -> list[list[str]]:
    """Each pair's user's words; a caption is plain words with a space between them, None if it is not to be read."""
    said: dict[str, Counter[str]] = defaultdict(Counter)
    of_group: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for user, group, caption in zip(users, groups, captions, strict=True):
        if user is not None and caption:
            words = set(caption.split())
            said[user].update(words)
            of_group[user, group].update(words)
    spoken_by = Counter(word for counts in said.values() for word in counts)
    idf = {word: math.log(len(said) / count) for word, count in spoken_by.items()}
    ranked = {user: _ranked(counts, idf, least) for user, counts in said.items()}
    found: dict[tuple[str, str], list[str]] = {}
    for user, group in zip(users, groups, strict=True):
        if user in ranked and (user, group) not in found:
            own = of_group.get((user, group), Counter())
            others = list(itertools.islice((word for word in ranked[user] if word not in own), most))
            left = {word: said[user][word] - own[word] for word in [*others, *own]}
            found[user, group] = _ranked(left, idf, least)[:most]
    return [found.get((user, group), []) if user is not None else [] for user, group in zip(users, groups, strict=True)]


def _ranked(counts: Mapping[str, int], idf: Mapping[str, float], least: int) -> list[str]:
    """Words by count x idf, equals in order of spelling: of one user, tf's other factor is the same for all."""
    scores = {word: count * idf[word] for word, count in counts.items() if count >= least and idf[word] > 0}
    return sorted(scores, key=lambda word: (-scores[word], word))
