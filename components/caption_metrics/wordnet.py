"""Synonyms from a folder of WordNet's index files, where there is one (Debian's `wordnet-base`: /usr/share/wordnet).

lexicon = read_wordnet("/usr/share/wordnet")
lexicon["dog"] & lexicon["hound"]           # the senses that both have
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from pairwright.components.errors import DatasetError

PARTS = ("noun", "verb", "adj", "adv")
Lexicon = Mapping[str, frozenset[str]]


def read_wordnet(folder: str | Path) -> Lexicon:
    """Word -> its senses, as "noun/02084071"; words of one, in lower case. Words that share a sense are synonyms.

    Raises:
        DatasetError: the folder holds no index files of WordNet's.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for part in PARTS:
        try:
            lines = (Path(folder) / f"index.{part}").read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise DatasetError(f"{folder} holds no WordNet ({error}); install wordnet-base or leave it out") from None
        for line in lines:
            word, _, rest = line.partition(" ")
            if word and "_" not in word:  # its licence stands before the words, indented
                fields = rest.split()
                found[word] |= {f"{part}/{offset}" for offset in fields[len(fields) - int(fields[1]) :]}
    return {word: frozenset(senses) for word, senses in found.items()}
