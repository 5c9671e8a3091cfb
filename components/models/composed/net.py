"""What a composed-query network is: a picture and a text into one query, pictures into what is searched.

Towers stay outside (retriever.py): a network is given their features, and says in which form it wants them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

Words = tuple[Tensor, Tensor]  # (n, length, width) vectors and bool (n, length), True at real words


class ComposedNet(nn.Module):
    """Base of all.

    Attributes:
        kind: the name its folder knows it by.
        grid: it reads g x g patches of a picture (n, g g, width); 0: one vector (n, width).
        reads_words: it reads a text's words; else one vector (n, width).
        log_scale: of the temperature, exp'd.
    """

    kind: ClassVar[str] = ""
    reads_words: ClassVar[bool] = False
    grid: int = 0
    log_scale: nn.Parameter

    def config(self) -> dict[str, Any]:
        """All that building it again needs, beside the towers' widths."""
        raise NotImplementedError

    def query(self, image: Tensor, text: Any) -> Tensor:
        """A picture and what is to be changed -> (n, dim) unit vectors."""
        raise NotImplementedError

    def image_query(self, image: Tensor) -> Tensor:
        """The picture alone -> (n, dim) unit vectors."""
        raise NotImplementedError

    def text_query(self, text: Any) -> Tensor:
        """The text alone -> (n, dim) unit vectors."""
        raise NotImplementedError

    def target(self, image: Tensor) -> Tensor:
        """Pictures that are searched -> (n, q, dim) unit vectors; a query's score is its best cosine of q."""
        raise NotImplementedError

    @property
    def scale(self) -> Tensor:
        return self.log_scale.exp().clamp(max=100)


def scores(queries: Tensor, targets: Tensor) -> Tensor:
    """(n, dim) and (m, q, dim) unit vectors -> (n, m) best cosines."""
    return torch.einsum("nd,mqd->nmq", queries, targets).amax(2)


def padded(words: Sequence[Tensor]) -> Words:
    """(length_i, width) each -> one block, and where it is real."""
    block = nn.utils.rnn.pad_sequence(list(words), batch_first=True)
    lengths = torch.tensor([len(one) for one in words], device=block.device)
    return block, torch.arange(block.shape[1], device=block.device)[None] < lengths[:, None]
