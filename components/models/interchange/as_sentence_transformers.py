"""A dual encoder as a folder that `sentence-transformers` opens: one `encode` for texts and for pictures.

    model = SentenceTransformer(folder)
    model.similarity(model.encode(["a red square"]), model.encode([Image.open("square.png")]))

Each side is a route of its own: the tower as a class of `transformers`, for texts the mean over tokens, then the
standardising norm and the projection of our heads, which that library has as LayerNorm and Dense; a last module takes
the L2 norm. A CLIP or SigLIP is one module. So nothing of ours is needed to open it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pairwright.components.errors import MissingDependency
from pairwright.components.models.dual_encoders.dual_encoder import TwoTower
from pairwright.components.models.dual_encoders.encoder import DualEncoder
from pairwright.components.models.dual_encoders.heads import Projection
from pairwright.components.models.dual_encoders.transformers_encoder import TransformersEncoder
from pairwright.components.models.interchange.as_transformers import write_transformers
from pairwright.components.models.interchange.towers_as_transformers import (
    image_as_transformers,
    save_transformers,
    text_as_transformers,
)

VECTOR = "sentence_embedding"  # what that library calls the one vector of an input


def write_sentence_transformers(encoder: DualEncoder, folder: Path) -> None:
    """Raises:
    ModelError: a tower is built as no class of `transformers`.
    MissingDependency: the library is not installed.
    """
    try:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Normalize
    except ImportError:
        raise MissingDependency(
            "this form is written by its own library; run `pip install sentence-transformers`"
        ) from None
    with tempfile.TemporaryDirectory(prefix="pairwright-towers-") as scratch:
        if isinstance(encoder, TransformersEncoder):
            first = _whole(encoder, Path(scratch))
        else:
            assert isinstance(encoder, TwoTower)
            first = _routes(encoder, Path(scratch))
        model = SentenceTransformer(modules=[first, Normalize()], device="cpu", similarity_fn_name="cosine")
        model.save(str(folder), create_model_card=False)


def _routes(encoder: TwoTower, scratch: Path) -> Any:
    from sentence_transformers.base.modules import Router
    from sentence_transformers.sentence_transformer.modules import Pooling

    net, processor = image_as_transformers(encoder.image_tower)
    save_transformers(net, scratch / "image", processor)
    pictures = _module(scratch / "image", {"image": ("forward", "pooler_output")}, VECTOR)
    text = text_as_transformers(encoder.text_tower)
    save_transformers(text.net, scratch / "text", text.processor, text.tokenizer)
    tokens = _module(scratch / "text", {"text": (text.method, "last_hidden_state")}, "token_embeddings")
    _still(tokens.model)
    return Router(
        {
            "image": [pictures, *_projection(encoder.image_projection)],
            "text": [tokens, Pooling(encoder.text_tower.width), *_projection(encoder.text_projection)],
        },
        default_route="text",
        route_mappings={(None, "text"): "text", (None, "image"): "image"},
    )


def _whole(encoder: TransformersEncoder, scratch: Path) -> Any:
    write_transformers(encoder, scratch)
    asked = {"text": ("get_text_features", "pooler_output"), "image": ("get_image_features", "pooler_output")}
    padded = {"text": {"padding": "max_length"}} if encoder.family != "clip" else {}  # as SigLIP was trained
    return _module(scratch, asked, VECTOR, **({"processing_kwargs": padded} if padded else {}))


def _module(folder: Path, asked: dict[str, tuple[str, str]], output: str, **more: Any) -> Any:
    from sentence_transformers.base.modules import Transformer

    kinds = {name: {"method": method, "method_output_name": field} for name, (method, field) in asked.items()}
    return Transformer(str(folder), modality_config=kinds, module_output_name=output, **more)


def _still(net: Any) -> None:
    """BERT's pooler, which our towers have not and nobody reads: zeros, for the library would draw it at random."""
    pooler = getattr(net, "pooler", None)
    for value in pooler.parameters() if isinstance(pooler, nn.Module) else ():
        nn.init.zeros_(value)


@torch.no_grad()
def _projection(head: Projection) -> list[Any]:
    from sentence_transformers.sentence_transformer.modules import Dense, LayerNorm

    dim, width = head.map.weight.shape
    norm, dense = LayerNorm(width), Dense(width, dim, bias=False, activation_function=None)
    norm.norm.load_state_dict(head.norm.state_dict())
    dense.linear.load_state_dict(head.map.state_dict())
    return [norm, dense]
