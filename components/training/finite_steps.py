"""A step whose loss or gradient is not finite is not taken; three in a row end the training.

    if steps.allow(float(loss), float(norm), keys):
        optimizer.step()

A finite loss can have a gradient that is not, so both are looked at, and before the weights are touched:
one NaN in the last step would be a model of NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pairwright.components.errors import ModelError

MOST_IN_A_ROW = 3
KEYS_NAMED = 8


class FiniteSteps:
    """Counts the steps that were skipped.

    Attributes:
        skipped: of the whole training.
        in_a_row: without one taken since.
    """

    def __init__(self, remedy: str, skipped: int = 0, in_a_row: int = 0) -> None:
        self.remedy = remedy
        self.skipped, self.in_a_row = skipped, in_a_row

    def allow(self, loss: float, norm: float, keys: Sequence[object]) -> bool:
        """May this step be taken?

        Args:
            norm: of the gradient of all trained parameters.
            keys: whose pairs the batch holds.

        Raises:
            ModelError: it is the third in a row that may not.
        """
        if math.isfinite(loss) and math.isfinite(norm):
            self.in_a_row = 0
            return True
        self.skipped += 1
        self.in_a_row += 1
        if self.in_a_row >= MOST_IN_A_ROW:
            more = f" and {len(keys) - KEYS_NAMED} more" if len(keys) > KEYS_NAMED else ""
            raise ModelError(
                f"{self.in_a_row} steps in a row were not finite (loss {loss:g}, gradient norm {norm:g}); the last "
                f"batch was {', '.join(map(str, keys[:KEYS_NAMED]))}{more}; {self.remedy}"
            )
        return False
