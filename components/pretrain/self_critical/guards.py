"""Guards against reward hacking: quantities that no reward here contains, and the rule that stops a training by them.

    found = guarded(greedy, ends, kl, fluency)        # {"repetition": 0.02, "distinct_2": 0.6, ...}
    stop.note(found)                                  # the mean of late beyond a limit: stop.reason

| guard | of the batch's captions | worse is |
|---|---|---|
| `repetition` | share of a greedy caption's pairs of words that it said before | more |
| `distinct_2` | different pairs of words by pairs of words, over all greedy captions (Li et al., 2016) | fewer |
| `length` | words of a greedy caption | more |
| `kl` | nats by which a drawn caption's distribution left the start model's | more |
| `fluency` | nats a word that greedy captions cost the start model | more |
| `rouge_l` | of greedy captions with the pairs' own; where a source is named | less |

Words are tokens. Optimising a reward long enough raises what it measures and loses what it meant (Gao et al., 2023);
these are drawn beside it, and none of them is in its gradient but for `kl`, where it has a weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, get_args

from pairwright.components.caption_metrics.distinct import distinct_n
from pairwright.components.caption_metrics.repetition import repetition
from pairwright.components.caption_metrics.rouge import rouge_l

if TYPE_CHECKING:
    from torch import Tensor

Guard = Literal["repetition", "distinct_2", "length", "kl", "fluency", "rouge_l"]
GUARDS: tuple[Guard, ...] = get_args(Guard)
FALLS: frozenset[str] = frozenset({"distinct_2", "rouge_l"})  # a limit is the least they may be


def words_said(row: list[int], end: int) -> list[str]:
    """The tokens between the start and the end, each a word to count."""
    return [str(token) for token in (row[1 : row.index(end, 1)] if end in row[1:] else row[1:])]


def guarded(
    greedy: Tensor, end: int, kl: Tensor, fluency: Tensor, references: Tensor | None = None
) -> dict[Guard, float]:
    """The guards of a batch.

    Args:
        greedy, references: captions as tokens (n, 1 + t), from the start on.
        kl, fluency: nats of each picture's drawn captions, and a word of its greedy one.
    """
    said = [words_said(row, end) for row in greedy.tolist()]
    found: dict[Guard, float] = {
        "repetition": float(repetition(said, 2).mean()),
        "distinct_2": distinct_n(said, 2) if any(len(words) > 1 for words in said) else 1.0,
        "length": sum(map(len, said)) / len(said),
        "kl": float(kl.mean()),
        "fluency": float(fluency.mean()),
    }
    if references is not None:
        found["rouge_l"] = float(rouge_l(said, [[words_said(row, end)] for row in references.tolist()]).mean())
    return found


class StopRule:
    """Stops where the mean of the last steps, about `window` of them, is beyond a limit; it stays stopped.

    Attributes:
        reason: the guard that stopped it, None while none did.
        stopped: steps that were taken until then.
    """

    def __init__(self, limits: Mapping[Guard, float], window: int) -> None:
        self.limits, self.window = dict(limits), window
        self.seen, self.late = 0, dict.fromkeys(GUARDS, 0.0)
        self.reason: Guard | None = None

    @property
    def stopped(self) -> int | None:
        return None if self.reason is None else self.seen

    def note(self, found: Mapping[Guard, float]) -> None:
        """A step was taken; what its batch showed."""
        self.seen += 1
        for name, value in found.items():
            self.late[name] += (value - self.late[name]) / min(self.seen, self.window)
        if self.seen >= self.window:
            self.reason = next((name for name in GUARDS if name in found and self.beyond(name)), None)

    def beyond(self, name: Guard) -> bool:
        if name not in self.limits:
            return False
        late, limit = self.late[name], self.limits[name]
        return late < limit if name in FALLS else late > limit

    def state_dict(self) -> dict[str, Tensor]:
        import torch

        reason = -1 if self.reason is None else GUARDS.index(self.reason)
        late = torch.tensor([self.late[name] for name in GUARDS], dtype=torch.float64)
        return {"guards": late, "guarded": torch.tensor([self.seen, reason])}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.late = dict(zip(GUARDS, state["guards"].tolist(), strict=True))
        self.seen, reason = state["guarded"].tolist()
        self.reason = None if reason < 0 else GUARDS[reason]
