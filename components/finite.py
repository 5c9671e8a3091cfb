"""Nothing decides on a value that is not finite: NaN compares false, so a rank counted by `>` makes it the best.

require_finite(scores, "the similarities of dev")
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pairwright.components.errors import NotFinite


def require_finite(values: Any, what: str, remedy: str = "look for the pair or the model that made it") -> None:
    """Raise unless every number is finite.

    Args:
        values: a number, an array or a tensor, of any shape; of integers all are.
        what: whose values these are, as the message names them.

    Raises:
        NotFinite: some are NaN or infinite; says how many, and where the first is.
    """
    if hasattr(values, "detach"):
        tensor = values.detach()
        if bool(tensor.isfinite().all()):
            return
        values = tensor.float().cpu().numpy()
    array = np.asarray(values)
    bad = ~np.isfinite(array)
    if not bad.any():
        return
    where = ", ".join(str(int(i)) for i in np.argwhere(bad)[0])
    counted = f"{int(bad.sum())} of {bad.size} values (the first at [{where}]) are" if array.ndim else f"{array} is"
    raise NotFinite(f"{what}: {counted} not finite; {remedy}")


def finite_rows(values: np.ndarray) -> np.ndarray:
    """Which rows of (n, ...) hold finite numbers alone: bool (n,)."""
    finite: np.ndarray = np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
    return finite
