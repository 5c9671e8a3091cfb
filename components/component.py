"""The seven kinds of component, and what a component declares it needs.

A component is a small class with a typed settings model, registered by name:

    @scorer("alignment")
    class Alignment(Scorer[AlignmentSettings]):
        columns = {"score": pa.float32()}
        requires = Pixels(size=224) + Captions("source")

        def setup(self, device): ...
        def score(self, pairs): return {"score": ...}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, get_args

import pyarrow as pa

from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.finite import require_finite
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from pairwright.components.dataset.dataset import Dataset
    from pairwright.components.dataset.examples.example import Examples
    from pairwright.components.dataset.facts import DataFacts
    from pairwright.components.dataset.pairs import PairBatch
    from pairwright.components.dataset.shards.columns import ColumnsView

S = TypeVar("S", bound=Settings)
FULL_RESOLUTION = 1 << 30


@dataclass(frozen=True)
class Requires:
    """What a component reads; `+` unites two.

    Attributes:
        pixels: shortest image side the component can work with, in pixels; 0 if it opens no image.
        captions: names of settings fields that hold a caption source.
        columns: names of settings fields that hold a `step.column` (or a list of them).
        raw: the encoded image bytes (for byte hashes), without decoding.
        frames: a clip's encoded frames with the seconds each is shown, without decoding.
    """

    pixels: int = 0
    captions: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    raw: bool = False
    frames: bool = False

    def __add__(self, other: Requires) -> Requires:
        return Requires(
            max(self.pixels, other.pixels),
            self.captions + other.captions,
            self.columns + other.columns,
            self.raw or other.raw,
            self.frames or other.frames,
        )


def Pixels(size: int = FULL_RESOLUTION) -> Requires:  # noqa: N802  reads as a noun in `requires`
    """Decoded RGB whose shorter side is at least `size` (or the image's own, if smaller)."""
    return Requires(pixels=size)


def Captions(*fields: str) -> Requires:  # noqa: N802
    """Captions of the sources named by these settings fields."""
    return Requires(captions=fields)


def Columns(*fields: str) -> Requires:  # noqa: N802
    """Columns of earlier steps, named `step.column` in these settings fields."""
    return Requires(columns=fields)


def RawBytes() -> Requires:  # noqa: N802
    """The image's encoded bytes."""
    return Requires(raw=True)


def Frames() -> Requires:  # noqa: N802
    """A clip's encoded frames, in order of time."""
    return Requires(frames=True)


class Component(Generic[S]):
    """What all seven kinds share: a registered name, settings, declared needs and libraries.

    `libraries` are distributions whose version changes the result (they enter the digest).
    """

    kind: ClassVar[str] = ""
    name: ClassVar[str] = ""
    requires: ClassVar[Requires] = Requires()
    libraries: ClassVar[tuple[str, ...]] = ()
    mixed_precision: ClassVar[bool] = False  # computes in the environment's precision; others always in float32
    may_lack: ClassVar[tuple[str, ...]] = ()  # fields of `requires` whose captions a pair may do without
    runs_model: ClassVar[bool] = False  # dear enough that `lazy: true` spares it pairs already dropped

    def __init__(self, settings: S) -> None:
        self.settings = settings
        self.made_by: Mapping[str, Any] = {}  # what `setup` found out that belongs in the record of its columns

    @classmethod
    def settings_model(cls) -> type[Settings]:
        """The settings class written in the brackets of the base class."""
        for base in getattr(cls, "__orig_bases__", ()):
            for argument in get_args(base):
                if isinstance(argument, type) and issubclass(argument, Settings):
                    return argument
        for parent in cls.__mro__[1:]:
            if parent is not Component and issubclass(parent, Component) and hasattr(parent, "__orig_bases__"):
                found = parent.settings_model()
                if found is not Settings:
                    return found
        return Settings

    def setup(self, device: str) -> None:
        """Load weights onto `device` ("cpu", "cuda:0"). Called once a worker, before any batch."""

    def check_data(self, facts: DataFacts) -> None:
        """Refuse settings that ask for what no pair of the data has (a label, a value), before any long work.

        Raises:
            InvalidRecipe: naming what is asked for and what there is.
        """

    @property
    def pixels(self) -> int:
        """Shortest image side needed with these settings, in pixels."""
        return self.requires.pixels

    @property
    def at_once(self) -> int:
        """Pairs it would like to be given at once where memory is not full of pictures; 0: as many as all are."""
        return 0

    def caption_sources(self) -> tuple[str, ...]:
        """The caption sources these settings name."""
        return self._captions_of(self.requires.captions)

    def needed_sources(self) -> tuple[str, ...]:
        """Those of them that a pair must have to be given to the component."""
        needed = self._captions_of([name for name in self.requires.captions if name not in self.may_lack])
        spare = set(self._captions_of(self.may_lack)) - set(needed)
        return tuple(source for source in self.caption_sources() if source not in spare)

    def _captions_of(self, fields: Iterable[str]) -> tuple[str, ...]:
        names: list[str] = []
        for field_name in fields:
            value = getattr(self.settings, field_name)
            names.extend([value] if isinstance(value, str) else value or ())
        return tuple(names)

    def column_names(self) -> tuple[str, ...]:
        """The `step.column`s these settings name."""
        names: list[str] = []
        for field_name in self.requires.columns:
            value = getattr(self.settings, field_name)
            if value is None:
                continue
            names.extend([value] if isinstance(value, str) else value)
        return tuple(names)


class Scorer(Component[S]):
    """Batch of pairs -> columns, one value a pair. Never drops anything.

    A batch holds only pairs whose image decoded and whose required captions exist; the others get
    null (and the reason in `_error`). A scorer that sets `sees_failures` gets every pair.
    """

    kind = "scorer"
    columns: ClassVar[Mapping[str, pa.DataType]] = {}
    sees_failures: ClassVar[bool] = False

    def schema(self) -> Mapping[str, pa.DataType]:
        """Arrow type of each column; override when it depends on the settings."""
        return self.columns

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        """Columns of length `len(pairs)`: arrays, lists or tensors."""
        raise NotImplementedError


class Selection(Component[S]):
    """Columns of all shards -> columns of all shards: duplicates, clusters, balance, cross-fits."""

    kind = "selection"
    columns: ClassVar[Mapping[str, pa.DataType]] = {}

    def schema(self) -> Mapping[str, pa.DataType]:
        return self.columns

    def select(self, view: ColumnsView) -> Mapping[str, Any]:
        """Columns of length `view.rows`, in the population's order (shard by shard, row by row)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Caption:
    """One generated caption.

    Attributes:
        text: None where there is none, and more is to be said of that than nothing.
        note: why a fallback was taken, or there is no text ("empty", "refusal", ...).
        status: what became of the pair's prompt, where a text model was asked: "ok", "invalid" (a validator refused the
            answer), "refused", "blocked", "truncated", "budget" or "error".
    """

    text: str | None
    lang: str = "en"
    note: str | None = None
    status: str | None = None


class Captioner(Component[S]):
    """Batch of pairs -> one caption a pair, stored under the step's name as its source."""

    kind = "captioner"

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        """Captions of length `len(pairs)`; None where none could be made."""
        raise NotImplementedError


@dataclass(frozen=True)
class FitInputs:
    """What a fit reads: the population's columns, and which of its rows are kept."""

    view: ColumnsView
    kept: pa.Table | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


class Fit(Component[S]):
    """Columns or pairs -> a model folder (reward model, codebook, captioner, dual encoder).

    `speaks` names the protocols of that model that a benchmark may ask for (components/models/protocols.py).
    """

    kind = "fit"
    speaks: ClassVar[tuple[str, ...]] = ()

    def fit(self, inputs: FitInputs, folder: Path, progress: Any = None) -> Mapping[str, Any]:
        """Write the model into `folder` (config.json, model.safetensors, card.md); returns metrics."""
        raise NotImplementedError


class Objective(Component[S]):
    """What a dual encoder minimises: named losses of the joint batch; `loss` counts (docs/tasks.md).

    A task in small, inside the dual encoder's: it may read more, encode more, have modules and a memory of its own.

    Attributes:
        towers: how it reads and embeds further texts and pictures (pairwright.components.pretrain.towers_in_training).
        population: what is trained on (components/dataset/examples/population.py); there before `modules`.
        captions: whether `losses` looks at `text`, a caption a pair; where none does, none is read.
        patches: whether `encode` looks at `batch["patches"]`, the pictures' parts as unit vectors (n, P, d).
        initial_log_scale, initial_bias: what the model's temperature and bias start from; None: as the model has it.
    """

    kind = "objective"
    initial_log_scale: Any = None
    initial_bias: Any = None
    captions: bool = True
    patches: bool = False
    moving: ClassVar[tuple[str, ...]] = ()  # prefixes of its own modules' parameters that no gradient changes

    towers: Any
    population: Any

    def reads(self) -> Reads:
        """What it reads of a pair beside what the towers do."""
        return Reads()

    def modules(self) -> nn.Module | None:
        """Parameters of its own, trained or moving; built once, when `towers` is there."""
        return None

    def after_start(self) -> None:
        """After the towers took over the weights of `init`, which is after `modules`."""

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        """Further fields of a batch, a row an example; runs in the loader's threads."""
        return {}

    def encode(self, batch: Any) -> dict[str, Tensor]:
        """Further outputs, a row an example."""
        return {}

    def losses(self, outputs: Mapping[str, Tensor], batch: Any) -> dict[str, Tensor]:
        """Named scalars, `loss` being what is minimised.

        Args:
            outputs: of the joint batch: `image`, `text` (n, d) unit vectors, `scale` (exp'd and clamped) and `bias`
                (or none), and what `encode` gave.
            batch: `batch.own` are this rank's rows; `batch["groups"]` int64 (n,) is equal for pairs of one group of
                the sidecar. Of what `collate` gave it has what is one-dimensional.
        """
        raise NotImplementedError

    def after_step(self, seen: Any) -> None:
        """After a step was taken."""

    def after_epoch(self, epoch: int) -> None:
        """After an epoch's last step."""

    def state_dict(self) -> dict[str, Tensor]:
        """Everything it remembers that is no parameter."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state_dict`."""


class Reward(Component[S]):
    """What a captioner is tuned for: a number for each caption it says (docs/tasks.md), higher is better.

    No gradient reaches it; its modules are frozen, proven by hash. Captions are C of each of n pictures.

    Attributes:
        population: what is trained on; there before `modules`.
        device: where to compute; there before `modules`.
    """

    kind = "reward"

    population: Any
    device: Any

    def reads(self) -> Reads:
        """What it reads of a pair beside what the captioner does."""
        return Reads()

    def modules(self) -> nn.Module | None:
        """What it judges by, loaded once, none of it requiring a gradient."""
        return None

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        """Further fields of a batch, a row an example; runs in the loader's threads."""
        return {}

    def encode(self, batch: Any, captions: Sequence[Sequence[str]]) -> dict[str, Tensor]:
        """Of this rank's n rows and their captions, n of C each: tensors with a row an example."""
        raise NotImplementedError

    def score(self, outputs: Mapping[str, Tensor], batch: Any, progress: float) -> Tensor:
        """(N, C) of the joint batch, from what `encode` gave of all its rows; `each` (N, C) where it gave that.

        Args:
            progress: share of the training that is done, 0..1: for schedules.
        """
        return outputs["each"]


@dataclass(frozen=True)
class Metric:
    """A number with its definition, sample size, bootstrap interval and the digest of the split it was read on.

    Attributes:
        resize: how pictures became the model's, where it was shown any ("whole, squashed to 224x224 by area"); what
            measures knows it of the model.
        templates: the prompts that classes were asked by, where they were.

    Raises:
        NotFinite: one of them is not; what was not measured is no metric.
    """

    name: str
    value: float
    n: int
    low: float
    high: float
    definition: str
    higher_is_better: bool = True
    split: str = ""
    resize: str = ""
    templates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_finite([self.value, self.low, self.high], f"the metric {self.name} and its interval")


@dataclass(frozen=True)
class Measured:
    """What a benchmark found.

    Attributes:
        metrics: figures with their definitions and intervals.
        items: each item's value by metric name, for paired tests, and under `groups` each item's group, which a
            bootstrap draws whole. A metric of other items than the rest has its groups under `METRIC.groups`.
    """

    metrics: list[Metric]
    items: Mapping[str, np.ndarray]


class Benchmark(Component[S]):
    """Model + dataset -> metrics, each with its definition, n and a bootstrap interval.

    `protocol` is what it asks of a model (components/models/protocols.py).
    """

    kind = "benchmark"
    protocol: ClassVar[str] = "dual_encoder"

    def datasets(self) -> tuple[str, ...]:
        """Paths of datasets it reads beside the one it is given; their bytes enter the digest."""
        return ()

    def measure(self, model: Any, dataset: Dataset) -> Measured:
        """One pass over the dataset with a model that speaks `protocol`."""
        raise NotImplementedError

    def evaluate(self, model: Any, dataset: Dataset) -> list[Metric]:
        """The metrics alone."""
        return self.measure(model, dataset).metrics


def batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Consecutive slices of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
