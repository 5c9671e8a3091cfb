"""How loops are compiled by numba: once a machine, without holding the interpreter's lock.

@njit(**COMPILED)
def loop(...): ...
"""

from __future__ import annotations

from typing import Any

from numba import njit


def _can_be_kept() -> bool:
    """Whether what is compiled can be kept beside this file or in the user's cache for the next process."""
    try:
        njit(cache=True)(_can_be_kept)
    except RuntimeError:  # numba found nowhere to write
        return False
    return True


COMPILED: Any = {"nogil": True, "cache": _can_be_kept()}
