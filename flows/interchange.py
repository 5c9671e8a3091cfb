"""Models to and from other libraries: what a check shows both, and what a run says on an exported model's card.

export_named("champion", "./out", "sentence-transformers", environment)
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pairwright.components.environment import Environment
from pairwright.components.errors import DatasetError, ModelError
from pairwright.flows.running.named_model import NamedModel, named_model

SHOWN = 64  # pictures and captions an export is checked on
CALIBRATED = 320  # and those that 8-bit ranges are drawn from and judged on, half and half
DEFAULT = "data/dev"  # of the demo corpus
PEDIGREE = ("recipe", "recipe_digest", "dataset", "dataset_digest", "data_version", "pairs_in", "pairs_kept",
            "selection_digest", "code_commit", "lock_hash", "model_digest")  # fmt: skip
DATA_LICENCES = 12  # a card names the commonest, and how many others there are


def export_named(
    reference: str,
    dest: str,
    form: str,
    environment: Environment,
    *,
    precision: str = "fp32",
    data: str | None = None,
    python: str | None = None,
) -> Any:
    """The model a reference means, exported, checked and with its card; what was made.

    Raises:
        ModelError, MissingDependency, DatasetError, NoChampion: as named_model and export_model.
    """
    from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder
    from pairwright.components.models.interchange.export_card import export_card
    from pairwright.components.models.interchange.export_model import export_model, refusal

    _quiet()
    model = named_model(reference, environment)
    encoder = load_dual_encoder(model.folder)
    problem = refusal(encoder, form, precision)
    if problem is not None:
        raise ModelError(problem)
    shown = shown_of(data or _dev_of(model), SHOWN if precision == "fp32" else CALIBRATED, encoder.image_size)
    told = _told(model)
    return export_model(
        encoder,
        dest,
        form,
        shown,
        precision=precision,  # type: ignore[arg-type]
        python=python,
        card=lambda made: export_card(made, encoder, told),
    )


def import_named(
    source: str,
    dest: str,
    *,
    config: str | None = None,
    tokenizer: str | None = None,
    data: str | None = None,
    python: str | None = None,
) -> dict[str, Any]:
    """Another library's model as a folder of ours, held against what that library makes of the same pictures and
    captions; `agreement` is None, with the reason in `unchecked`, where that library or a dataset is not at hand.

    Raises:
        ModelError: it has no place here, or its vectors are others.
    """
    from pairwright.components.models.interchange import export_model as exporting
    from pairwright.components.models.interchange.import_model import form_of, import_model

    _quiet()
    encoder = import_model(source, dest, config=config, tokenizer=tokenizer)
    told: dict[str, Any] = {"dest": dest, "dim": encoder.dim, "side": encoder.image_size, "agreement": None}
    form = form_of(source)
    if form is None or not exporting.at_hand(form, python):
        why = "it is a file alone" if form is None else f"{form} is not installed here; name --python PATH"
        return told | {"unchecked": f"not held against the original: {why}"}
    try:
        shown = shown_of(data or DEFAULT, SHOWN, encoder.image_size)
    except DatasetError as error:
        return told | {"unchecked": f"not held against the original: {error}"}
    agreement = exporting.agreement_of(encoder, source, form, shown, python)
    least = min(agreement.image.least, agreement.text.least)
    if not least > exporting.SAME:
        raise ModelError(
            f"{dest} gives other vectors than {agreement.judge} of {source} (cosine {least:.5f}); please report this "
            "with its configuration, and do not use it"
        )
    return told | {"agreement": agreement}


def _quiet() -> None:
    """Neither bars nor advice of the libraries that read and write; what goes wrong is raised."""
    from transformers.utils import logging as theirs

    theirs.disable_progress_bar()
    theirs.set_verbosity_error()
    logging.getLogger().addFilter(_at_least_an_error)  # ONNX Runtime's quantiser advises by the root logger


def _at_least_an_error(record: logging.LogRecord) -> bool:
    """Of what is said by the root logger itself; a level would silence every other logger with it."""
    return record.levelno >= logging.ERROR


def shown_of(data: str, count: int, side: int) -> Any:
    """Pictures and captions at even distances through a dataset, white space in captions joined.

    Raises:
        DatasetError: there is no dataset.
    """
    from pairwright.components.dataset.shards.reading import read_pairs
    from pairwright.components.models.interchange.export_model import Shown
    from pairwright.flows.planning.datasets import find_dataset

    try:
        dataset = find_dataset(data)
    except DatasetError as error:
        raise DatasetError(f"nothing to check the vectors on: {error}; name a dataset: --data DIR") from None
    wanted = np.unique(np.linspace(0, max(dataset.rows - 1, 0), min(count, dataset.rows)).astype(np.int64))
    pictures: list[np.ndarray] = []
    texts: list[str] = []
    start = 0
    for shard in dataset.shards:
        rows = wanted[(wanted >= start) & (wanted < start + shard.rows)] - start
        for batch in read_pairs(shard, pixels=2 * side, rows=rows) if len(rows) else ():
            pictures.extend(image for image in batch.images if image is not None)
            said = (next((one["text"] for one in row["captions"] or () if one["text"]), "") for row in batch.sidecar)
            texts.extend(text for text in (" ".join(one.split()) for one in said) if text)
        start += shard.rows
    return Shown(pictures, texts)


def _dev_of(model: NamedModel) -> str:
    """The split that tuned it, where it is still there; else the demo corpus's."""
    recipe = (model.pedigree or {}).get("recipe_text")
    if recipe:
        import yaml

        dev = ((yaml.safe_load(recipe) or {}).get("evaluate") or {}).get("dev")
        if isinstance(dev, str) and (Path(dev) / "dataset.json").is_file():
            return dev
    root = Path(str((model.record or {}).get("dataset", {}).get("root", "")))
    beside = root.parent / "dev"
    return str(beside) if root.name and (beside / "dataset.json").is_file() else DEFAULT


def _told(model: NamedModel) -> Any:
    from pairwright.components.models.interchange.export_card import Told

    return Told(model.name, _pedigree(model), model.metrics(), _licences(model.record))


def _pedigree(model: NamedModel) -> dict[str, Any]:
    found = {name: value for name, value in (model.pedigree or {}).items() if name in PEDIGREE and value}
    if not found and model.record is not None:
        record, ledger = model.record, model.record["results"].get("ledger", {})
        found = {
            "recipe": record["recipe"],
            "recipe_digest": record["recipe_digest"],
            "dataset": record["dataset"]["name"],
            "dataset_digest": record["dataset"]["digest"],
            "data_version": record["results"].get("data_version"),
            "pairs_in": ledger.get("pairs_in"),
            "pairs_kept": ledger.get("kept"),
            "selection_digest": record["results"].get("selection"),
        }
    ordered = {name.replace("_", " "): found[name] for name in PEDIGREE if found.get(name) is not None}
    arm = {"arm": f"{model.arm}, seed {model.seed}"} if model.arm else {}
    return ordered | arm | ({"run": model.record["id"]} if model.record else {})


def _licences(record: Mapping[str, Any] | None) -> list[str]:
    """Of the data it was trained on: what the dataset says, and its kept rows' own, commonest first."""
    from pairwright.components.dataset.dataset import open_dataset

    if record is None:
        return ["of the data it was trained on: not known here"]
    try:
        dataset = open_dataset(record["dataset"]["root"])
    except DatasetError:
        return [f"of the data it was trained on ({record['dataset']['name']}): the dataset is no longer here"]
    kept = Path(record["results"].get("selection_folder", "")) / "kept.parquet"
    rows: dict[str, list[int]] = {}
    if kept.is_file():
        table = pq.read_table(kept, columns=["shard", "row"])
        for shard, row in zip(table["shard"].to_pylist(), table["row"].to_pylist(), strict=True):
            rows.setdefault(shard, []).append(row)
    counts: Counter[str] = Counter()
    for shard, sidecar in dataset.iter_sidecars(["licence"]):
        column = sidecar["licence"]
        if kept.is_file():
            column = column.take(np.asarray(rows.get(shard.digest, []), np.int64))  # of no row is of no type else
        for entry in pc.value_counts(column.combine_chunks()).to_pylist():
            counts[str(entry["values"] or "not said")] += entry["counts"]
    lines = [f"data: {name}, {pairs:,} pairs" for name, pairs in counts.most_common(DATA_LICENCES)]
    others = len(counts) - DATA_LICENCES
    said = [f"data {dataset.name}: {dataset.licence}"] if dataset.licence else []
    return said + lines + ([f"data: {others} other licences"] if others > 0 else [])
