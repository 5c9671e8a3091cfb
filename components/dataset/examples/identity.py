"""What makes two pairs the same, by the name of a fact: for a loss's positives, and for what a batch may hold.

pair.caption.alt      the first text of a source, without case, punctuation and a leading article
pair.label.category   the first value of a sidecar label
pair.group            the sidecar's group
near.group            a column of a step, of numbers or words

A pair that lacks the fact is the same as no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator

from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.dataset.splits import normalise
from pairwright.components.errors import ColumnError, nearest

PAIR = "pair."
GROUP, LABEL, CAPTION = "pair.group", "pair.label.", "pair.caption."


def check_identity(name: str) -> str:
    """The name, if it can be one.

    Raises:
        ValueError: a `pair.` name of no such fact, or no `step.column`.
    """
    named = name == GROUP or any(name.startswith(kind) and name != kind for kind in (LABEL, CAPTION))
    step, _, column = name.partition(".")
    if not (named if name.startswith(PAIR) else step and column):
        known = [GROUP, f"{LABEL}NAME", f"{CAPTION}SOURCE"]
        raise ValueError(f'"{name}" is nothing that makes two pairs the same{nearest(name, known)}')
    return name


Identity = Annotated[str, AfterValidator(check_identity)]


def identity_reads(name: str) -> Reads:
    """What has to be read to know it; no pair is left out for lacking it."""
    if name == GROUP:
        return Reads()
    if name.startswith(LABEL):
        return Reads(labels=(what := (name.removeprefix(LABEL),)), optional=frozenset(what))
    if name.startswith(CAPTION):
        return Reads(texts=(what := (name.removeprefix(CAPTION),)), optional=frozenset(what))
    return Reads(columns=(name,), optional=frozenset((name,)))


def identities(examples: Examples, name: str, *, lacking_alike: bool = False) -> np.ndarray:
    """Equal for pairs that are the same: int64 (n,), the same number in every batch.

    Args:
        lacking_alike: pairs that lack the fact are all the same, instead of each like none.

    Raises:
        ColumnError: the column holds vectors.
    """
    if name == GROUP:
        assert examples.groups is not None
        return np.asarray(examples.groups, np.int64)
    values, numbers = _values(examples, name), examples.numbers.tolist()
    return _hashed(
        f"={value}" if value is not None else "" if lacking_alike else f"#{number}"
        for value, number in zip(values, numbers, strict=True)
    )


def text_identities(texts: Sequence[str], lacking: Sequence[str]) -> np.ndarray:
    """Equal for texts that say the same, and for those of `pair.caption`: int64 (n,).

    Args:
        lacking: of each, what stands for it where there is no text.
    """
    return _hashed(
        f"={said}" if (said := normalise(text)) else f"#{instead}" for text, instead in zip(texts, lacking, strict=True)
    )


def _hashed(said: Iterable[str]) -> np.ndarray:
    digests = b"".join(hashlib.blake2b(one.encode("utf-8", "replace"), digest_size=8).digest() for one in said)
    return np.frombuffer(digests, dtype="<i8")


def _values(examples: Examples, name: str) -> Sequence[Any]:
    """The fact of each pair, None where it lacks it."""
    if name.startswith(LABEL):
        return examples.labels(name.removeprefix(LABEL))
    if name.startswith(CAPTION):
        return [normalise(text) or None for text in examples.texts(name.removeprefix(CAPTION))]
    column, known = examples.column(name), examples.known(name).tolist()
    if np.ndim(column) > 1:
        raise ColumnError(f'"{name}" holds vectors, which are never the same; name a column of numbers or words')
    return [value if has else None for value, has in zip(list(column), known, strict=True)]
