"""A tiny model and an index over the shapes, as a release would hand them to packaging."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pyarrow as pa

from pairwright.components.dataset.media.decode import decode
from pairwright.components.digest import folder_digest
from pairwright.components.models.towers.untrained import new_dual_encoder
from pairwright.components.settings import ModelFolder
from pairwright.components.training.heads import fit_heads

RECEIPT = {  # of pairwright.components.tracking.lineage's shape
    "model": {"name": "pairwright", "version": "1", "digest": "00", "aliases": ["champion"]},
    "data": {"data_version": "0123456789abcdef0123456789abcdef.dir", "dataset": "shapes", "pairs_kept": 192},
    "recipe": {"name": "tiny", "digest": "fedcba9876543210", "text": "name: tiny\nsteps: []\n"},
    "code": {"code_commit": "269a12a", "lock_hash": "00ff"},
    "gates": [{"name": "raw", "passed": True}, {"name": "curated", "passed": True}],
    "metrics": {"dev.retrieval.recall_at_1": 0.5},
    "promotion": None,
    "run": {"id": "00aa", "tracking": "sqlite:////home/ann/workspace/mlflow.db"},
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def kept_of(dataset: Any) -> pa.Table:
    rows = [
        {"shard": shard.digest, "row": row, "key": key}
        for shard, table in dataset.iter_sidecars(["key"])
        for row, key in enumerate(table["key"].to_pylist())
    ]
    return pa.Table.from_pylist(
        rows, schema=pa.schema([("shard", pa.string()), ("row", pa.int32()), ("key", pa.string())])
    )


def read_pairs(dataset: Any) -> tuple[list[Any], list[str]]:
    """Decoded pictures and alt captions, in dataset order."""
    images, texts = [], []
    for shard, table in dataset.iter_sidecars(["media", "captions"]):
        for row in table.to_pylist():
            media = row["media"][0]
            images.append(decode(shard.read_member(media), 96).image)
            texts.append(row["captions"][0]["text"])
    return images, texts


def release_shapes(dataset: Any, folder: Path) -> tuple[Path, Path, dict[str, Any]]:
    """(model folder, index folder, what index.json says) of a tiny model fitted to the dataset."""
    from pairwright.serving.index_writing import build_index

    model = new_dual_encoder(
        ModelFolder(reference="builtin:tiny-image"), ModelFolder(reference="builtin:tiny-text"), dim=16
    )
    images, texts = read_pairs(dataset)
    heads = fit_heads(model.image_features(images), model.text_features(texts), dim=16, steps=300, lr=1e-2, seed=0)
    model.image_projection.load_state_dict(heads.image_projection.state_dict())
    model.text_projection.load_state_dict(heads.text_projection.state_dict())
    model.log_scale.data.copy_(heads.log_scale)
    model.save(folder / "model")
    about = build_index(
        dataset,
        kept_of(dataset),
        model.encode_image(images).numpy(),
        folder / "index",
        query_vectors=model.encode_text(texts).numpy(),
        model_digest=folder_digest(folder / "model"),
    )
    return folder / "model", folder / "index", about
