"""Matryoshka representations (Kusupati et al., 2022): any objective, asked of the first m numbers of every vector too.

    objective: {uses: matryoshka, with: {of: clip, widths: {32: 1, 64: 1, 128: 1, 256: 1}}}

    L = sum_m c_m L(x_1..m / |x_1..m|, y_1..m / |y_1..m|)

So a vector cut short and normalised again is one to search by. One temperature serves all widths, as one head does
(the paper's MRL-E). Mechanism verified by test, figure not reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from pairwright.components.component import Objective
from pairwright.components.errors import InvalidRecipe
from pairwright.components.registry import named_component, objective
from pairwright.components.settings import Named, Settings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pairwright.components.dataset.examples.example import Examples
    from pairwright.components.dataset.examples.wish import Reads


class Inner(Named):
    """The objective that is asked at every width."""

    kind: ClassVar[str] = "objective"
    uses: str = "clip"


class MatryoshkaSettings(Settings):
    of: Inner = Inner()
    widths: dict[Annotated[int, Field(ge=1)], Annotated[float, Field(ge=0)]] = Field(
        min_length=1, description="m -> c_m; weight 0 leaves a width out. Name the whole width, too"
    )


@objective("matryoshka")
class Matryoshka(Objective[MatryoshkaSettings]):
    """`loss` and each width's own as `at_WIDTH`; what else the objective says is of the largest width."""

    def __init__(self, settings: MatryoshkaSettings) -> None:
        super().__init__(settings)
        found = named_component(settings.of)
        assert isinstance(found, Objective)
        self.inner: Objective[Any] = found

    @property
    def towers(self) -> Any:  # type: ignore[override]
        return self.inner.towers

    @towers.setter
    def towers(self, towers: Any) -> None:
        self.inner.towers = towers

    @property
    def population(self) -> Any:  # type: ignore[override]
        return self.inner.population

    @population.setter
    def population(self, population: Any) -> None:
        self.inner.population = population

    @property
    def captions(self) -> bool:  # type: ignore[override]
        return self.inner.captions

    @property
    def moving(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.inner.moving

    @property
    def initial_log_scale(self) -> Any:  # type: ignore[override]
        return self.inner.initial_log_scale

    @property
    def initial_bias(self) -> Any:  # type: ignore[override]
        return self.inner.initial_bias

    def caption_sources(self) -> tuple[str, ...]:
        return self.inner.caption_sources()

    def reads(self) -> Reads:
        return self.inner.reads()

    def modules(self) -> nn.Module | None:
        return self.inner.modules()

    def after_start(self) -> None:
        self.inner.after_start()

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        return self.inner.collate(examples)

    def encode(self, batch: Any) -> dict[str, Tensor]:
        return self.inner.encode(batch)

    def losses(self, outputs: Mapping[str, Tensor], batch: Any) -> dict[str, Tensor]:
        whole = outputs["image"].shape[-1]
        widths = {width: weight for width, weight in self.settings.widths.items() if weight}
        if not widths or max(widths) > whole:
            raise InvalidRecipe(f"matryoshka asks for widths {sorted(widths)} of a space of {whole}; change widths")
        found = {width: self.inner.losses(cut(outputs, width, whole), batch) for width in sorted(widths)}
        parts = [found[width]["loss"] * c if c != 1 else found[width]["loss"] for width, c in sorted(widths.items())]
        each = {f"at_{width}": named["loss"] for width, named in found.items()}
        return {**found[max(widths)], **each, "loss": sum(parts[1:], start=parts[0])}

    def after_step(self, seen: Any) -> None:
        self.inner.after_step(seen)

    def after_epoch(self, epoch: int) -> None:
        self.inner.after_epoch(epoch)

    def state_dict(self) -> dict[str, Tensor]:
        return self.inner.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.inner.load_state_dict(state)


def cut(outputs: Mapping[str, Any], width: int, whole: int) -> dict[str, Any]:
    """Every output whose last axis is the space's, (..., whole) -> (..., width) unit vectors; others as they are."""
    import torch
    from torch.nn import functional as F  # noqa: N812

    def shorter(value: Any) -> Any:
        vectors = isinstance(value, torch.Tensor) and value.ndim > 1 and value.shape[-1] == whole
        return F.normalize(value[..., :width], dim=-1) if vectors and width < whole else value

    return {name: shorter(value) for name, value in outputs.items()}
