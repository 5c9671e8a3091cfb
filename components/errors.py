"""The tree of errors. Every message names the thing, the reason and the remedy, in one line.

    PairwrightError
    ├── InvalidRecipe         a recipe, a setting or a step that cannot be right
    │   ├── UnknownComponent  a `uses:` nobody registered
    │   └── InvalidRule       a keep-rule that is not one SQL expression over known columns
    ├── DatasetError          a dataset, shard or source that cannot be read at all
    │   └── DataChanged       a tar or sidecar that is no longer what was indexed
    ├── ColumnError           a column file that is missing, cut short or from a newer release
    ├── ComponentFailed       a component that raises on every pair it is given
    ├── WorkspaceError        a workspace that is read-only, full or locked
    ├── ModelError            a model folder or reference that does not resolve or load
    ├── BudgetExceeded        more pairs failed or were lost than the recipe allows
    ├── GateFailed            a validation gate said no
    ├── NoChampion            the registry has nothing to serve, roll back to or compare with
    ├── TrackingError         an MLflow store or server that does not answer or cannot be opened
    ├── EngineError           a cluster that does not answer, a worker that keeps dying
    ├── GuardError            a server that would stand open, or whose key is none
    ├── NotFinite             a NaN or an infinity where a value would decide
    ├── MissingDependency     an optional package is not installed
    └── TextModelError        a text back end refused, timed out or ran out of budget

A picture or caption that is bad is not an error: it is a row with a reason.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

USER_INFO = re.compile(r"(?<=://)[^/@\s]+@")
SECRET_PARAMETER = re.compile(r"(?<=[?&])([^=&\s]*(?:key|token|secret|password|sig)[^=&\s]*)=[^&\s\"']+", re.IGNORECASE)


def without_credentials(text: str) -> str:
    """The text with the secrets of every address in it left out: `user:password@` and parameters like `?api_key=`."""
    return SECRET_PARAMETER.sub(r"\1=...", USER_INFO.sub("", text))


class PairwrightError(Exception):
    """Base of everything a user can cause and mend; the command prints it as one line.

    A message that quotes what was refused may quote an address with a key in it, so none goes in.
    """

    def __init__(self, *told: object) -> None:
        super().__init__(*(without_credentials(one) if isinstance(one, str) else one for one in told))


class InvalidRecipe(PairwrightError):
    pass


class UnknownComponent(InvalidRecipe):
    pass


class InvalidRule(InvalidRecipe):
    pass


class DatasetError(PairwrightError):
    pass


class DataChanged(DatasetError):
    pass


class ColumnError(PairwrightError):
    pass


class ComponentFailed(PairwrightError):
    pass


class WorkspaceError(PairwrightError):
    pass


class ModelError(PairwrightError):
    pass


class BudgetExceeded(PairwrightError):
    pass


class GateFailed(PairwrightError):
    pass


class NoChampion(PairwrightError):
    pass


class TrackingError(PairwrightError):
    pass


class EngineError(PairwrightError):
    pass


class GuardError(PairwrightError):
    pass


class NotFinite(PairwrightError):
    pass


class MissingDependency(PairwrightError):
    pass


class TextModelError(PairwrightError):
    pass


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?` when a known word is close to `word`, else `; known: a, b, c`."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f'; did you mean "{close[0]}"?'
    return f"; known: {', '.join(names)}" if names else ""
