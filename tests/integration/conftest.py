"""A Bento of a tiny model and a captioner, built and served once for every test that asks the endpoint."""

from __future__ import annotations

import shutil

import httpx
import pytest


@pytest.fixture(scope="session")
def release(tmp_path_factory):
    import shapes
    from captioned import taught_captioner
    from released import RECEIPT, read_pairs, release_shapes

    from pairwright.serving.packaging import build_bento
    from pairwright.serving.packed_captioner import captioner_to_serve

    root = tmp_path_factory.mktemp("release")
    dataset = shapes.shapes_dataset(root, 192, 2)
    model, index, about = release_shapes(dataset, root)
    pairs = read_pairs(dataset)
    captioner = captioner_to_serve(taught_captioner(*pairs, root / "captioner"))
    tag = build_bento(model, index, RECEIPT, home=root / "bentoml", tag_version="1", captioner=captioner)
    # What the Bento must not need: the models' folders, the index and the dataset it was made from.
    kept = root / "kept"
    shutil.copytree(model, kept / "model")
    shutil.copytree(index, kept / "index")
    shutil.copytree(captioner.folder, kept / "captioner")
    for folder in (model, index, captioner.folder, dataset.root):
        shutil.rmtree(folder)
    return {"root": root, "home": root / "bentoml", "tag": tag, "about": about, "kept": kept, "pairs": pairs}


@pytest.fixture(scope="session")
def endpoint(release):
    """The address of the running server."""
    from released import free_port

    from pairwright.serving.packaging import serving

    with serving(release["tag"], free_port(), home=release["home"], log=release["root"] / "server.log") as address:
        yield address


@pytest.fixture
def client(endpoint):
    with httpx.Client(base_url=endpoint, timeout=60, trust_env=False) as opened:
        yield opened
