"""Remembered features: each picture is read once a name, in any order, and a bounded number is kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pairwright.components.models.dual_encoders import remembered as module
from pairwright.components.models.dual_encoders.remembered import remembered


def test_a_picture_is_read_once_under_a_name_and_anew_under_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_known", type(module._known)())
    pictures = [np.full((2, 3, 3), value, np.uint8) for value in (1, 2, 3)]
    asked: list[int] = []

    def read(images: list[np.ndarray]) -> torch.Tensor:
        asked.extend(int(one[0, 0, 0]) for one in images)
        return torch.tensor([[float(one[0, 0, 0])] for one in images])

    assert remembered("a", pictures[:2], read).tolist() == [[1.0], [2.0]]
    assert remembered("a", [pictures[2], pictures[0], pictures[2]], read).tolist() == [[3.0], [1.0], [3.0]]
    assert asked == [1, 2, 3]
    remembered("b", pictures[:1], read)
    remembered("a", [pictures[0].reshape(3, 2, 3)], read)  # the same bytes in another form are another picture
    assert asked == [1, 2, 3, 1, 1]


def test_no_more_are_kept_than_are_allowed_and_those_asked_for_last_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_known", type(module._known)())
    monkeypatch.setattr(module, "MOST", 2)
    pictures = [np.full((1, 1, 3), value, np.uint8) for value in range(3)]
    count = [0]

    def read(images: list[np.ndarray]) -> torch.Tensor:
        count[0] += len(images)
        return torch.zeros(len(images), 1)

    assert len(remembered("a", pictures, read)) == 3
    assert len(module._known) == 2
    remembered("a", pictures[1:], read)
    assert count[0] == 3
    remembered("a", pictures[:1], read)
    assert count[0] == 4
