"""VDR: weights over words, what its mask keeps, whom each term teaches, and its index against the dense product."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learning import TINY_IMAGE, TINY_TEXT, features_view, tiny_settings
from shapes import picture, shapes_dataset
from torch.nn import functional as F  # noqa: N812

from pairwright.components.component import FitInputs
from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.errors import ColumnError, ModelError
from pairwright.components.evaluate.benchmarks.retrieval import Retrieval, RetrievalSettings
from pairwright.components.evaluate.metrics.positives import Positives
from pairwright.components.evaluate.metrics.ranks import retrieval_ranks
from pairwright.components.models.dual_encoders.contrastive import softmax_loss
from pairwright.components.models.dual_encoders.inverted_index import InvertedIndex, SparseRows
from pairwright.components.models.dual_encoders.vocabulary_encoder import elu1p, load_vocabulary_encoder, mask
from pairwright.components.models.formats import load_model
from pairwright.components.pretrain.dual_encoder import FitDualEncoder
from pairwright.components.pretrain.vdr import Vdr, VdrSettings, unit_bag, vdr_terms
from pairwright.components.training.batch import Batch
from pairwright.components.training.here import fit_here

TINY: dict[str, Any] = {
    "image_tower": TINY_IMAGE, "text_tower": TINY_TEXT, "least": 1, "top": 4, "places": 2,
    "steps": 12, "batch_size": 16, "lr": 3e-3, "warmup_steps": 2, "checkpoint_every": 4,
}  # fmt: skip


def settings(**changes: Any) -> VdrSettings:
    return VdrSettings.parse(TINY | changes, "test")


# -- planted: a tower that loses words -----------------------------------------------------------

WORDS, EACH, LEFT = 60, 3, 8


def planted(rows: int, seed: int) -> ArrayPopulation:
    """Pictures show three of 60 words; of a text the tower's vector tells only 8 directions of the 60."""
    same = np.random.default_rng(99)
    of_picture = same.normal(size=(WORDS, 64))
    of_text = same.normal(size=(WORDS, LEFT)) @ same.normal(size=(LEFT, 64))
    draw = np.random.default_rng(seed)
    said = np.stack([draw.choice(WORDS, EACH, replace=False) for _ in range(rows)])
    bag = np.zeros((rows, WORDS))
    bag[np.arange(rows)[:, None], said] = 1
    columns = {
        "image_features.vector": (bag @ of_picture + 1.0 * draw.normal(size=(rows, 64))).astype(np.float32),
        "text_features.vector": (bag @ of_text + 0.1 * draw.normal(size=(rows, 64))).astype(np.float32),
    }
    return ArrayPopulation(columns, {"alt": [" ".join(f"word{word:02d}" for word in row) for row in said]})


def made(**changes: Any) -> tuple[Vdr, Batch]:
    """The task, built, and a batch of the first 12 planted pairs."""
    task = Vdr(settings(**changes))
    task.population, task.device = planted(64, 0), torch.device("cpu")
    task.model = task.build()
    examples = task.population.read(np.arange(12), 0, 0)
    return task, Batch(task.collate(examples), torch.arange(12), examples.keys)


def test_every_weight_is_above_0_and_elu_plus_1_where_that_can_be_told() -> None:
    x = torch.linspace(-80, 20, 1001)
    assert bool((elu1p(x) > 0).all())
    assert torch.allclose(elu1p(x), F.elu(x) + 1, atol=1e-6)
    task, batch = made()
    outputs = task.encode(batch)
    for side in ("image", "text"):
        assert bool((outputs[side] > 0).all())
        assert torch.allclose(outputs[side].norm(dim=1), torch.ones(12), atol=1e-5)


def test_the_mask_keeps_k_words_and_a_texts_own_and_no_more() -> None:
    task, batch = made(top=4)
    model = task.model
    texts = task.population.read(np.arange(12), 0, 0).texts("alt")
    found = model.encode_text_features(torch.cat([batch["text"], batch["bag"]], 1))
    dense = model.dense_text(batch["text"])
    outside = 0
    for row, text in enumerate(texts):
        kept = {model.words[i] for i in found[row].nonzero().flatten().tolist()}
        top = {model.words[i] for i in dense[row].topk(4).indices.tolist()}
        assert kept == top | set(text.split())
        outside += len(set(text.split()) - top)
        assert torch.equal(found[row][found[row] > 0], dense[row][found[row] > 0])  # what is kept is as it was
    assert outside > 5  # own words beyond the k largest were there to be kept
    pictures = model.encode_image_features(batch["image"])
    assert ((pictures > 0).sum(1) == 4).all()
    assert torch.equal(mask(dense, None, 10**6), torch.ones_like(dense))


def test_the_bag_term_teaches_the_query_side_exactly_nothing() -> None:
    task, batch = made()
    outputs = task.encode(batch)
    terms = vdr_terms(outputs["image"], outputs["text"], outputs["bag"], 4, task.model.scale)
    terms["bag"]().backward()
    assert all(p.grad is None or not p.grad.any() for p in task.model.text_places.parameters())
    assert any(float(p.grad.abs().sum()) > 0 for p in task.model.image_places.parameters() if p.grad is not None)
    task.losses(task.encode(batch), batch)["loss"].backward()  # and the whole does
    assert any(float(p.grad.abs().sum()) > 0 for p in task.model.text_places.parameters() if p.grad is not None)
    assert all(p.grad is None for name, p in task.model.named_parameters() if "_tower." in name)


def test_the_loss_is_the_mean_of_its_terms_each_the_infonce_of_what_it_names() -> None:
    task, batch = made(bag=0.5, sparse_pictures=0.25)
    outputs = task.encode(batch)
    image, text, bag, scale = outputs["image"], outputs["text"], outputs["bag"], task.model.scale
    kept, of_picture = mask(text, bag, 4), mask(image, None, 4)
    wanted = [
        softmax_loss(image, other, scale).mean() for other in (text * kept, bag / bag.norm(dim=1, keepdim=True))
    ] + [softmax_loss(image * of_picture, text, scale).mean()]
    named = task.losses(outputs, batch)
    assert named["loss"].item() == pytest.approx(((wanted[0] + wanted[1] / 2 + wanted[2] / 4) / 1.75).item(), abs=1e-6)
    assert named["bag"].item() == pytest.approx(wanted[1].item(), abs=1e-6)
    assert not unit_bag(torch.zeros(1, 3)).any()  # a text without a known word


def test_weights_of_0_and_a_mask_of_all_are_plain_infonce_to_the_bit() -> None:
    task, batch = made(bag=0.0, sparse_pictures=0.0, top=10**6)
    outputs = task.encode(batch)
    plain = softmax_loss(outputs["image"], outputs["text"], task.model.scale).mean()
    named = task.losses(outputs, batch)
    assert torch.equal(named["loss"], plain)
    assert set(named) == {"sparse", "loss", "logit_scale"}
    wanted = torch.autograd.grad(plain, [outputs["image"], outputs["text"]], retain_graph=True)
    got = torch.autograd.grad(named["loss"], [outputs["image"], outputs["text"]])
    assert all(torch.equal(a, b) for a, b in zip(wanted, got, strict=True))


def recall(image: Any, text: Any) -> float:
    """Share of texts whose own picture is first among 200."""
    rows = np.arange(len(image))
    right = Positives(rows, rows, rows)
    _, t2i = retrieval_ranks(image.numpy(), text.numpy(), right)
    return float((t2i == 1).mean())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_own_words_find_what_a_tower_has_lost(seed: int) -> None:
    """A dual encoder on the same vectors has 8 directions to tell 60 words by; VDR reads the words beside."""
    wish = {"steps": 250, "batch_size": 64, "lr": 5e-3, "warmup_steps": 10, "seed": seed}
    learnt, held = planted(600, seed), planted(200, seed + 50)
    examples = held.read(np.arange(200), 0, 0)
    image, text = (torch.from_numpy(examples.column(f"{side}_features.vector")) for side in ("image", "text"))
    plain = FitDualEncoder(tiny_settings(dim=64, **wish))
    plain.device = torch.device("cpu")
    plain.prepare()
    fit_here(plain, learnt)
    baseline = recall(plain.encoder.encode_image_features(image), plain.encoder.encode_text_features(text))
    found = {}
    for bag in (1.0, 0.0):
        task = Vdr(settings(top=8, bag=bag, **wish))
        fit_here(task, learnt)
        features = torch.cat([text, task.model.bag(examples.texts("alt"))], 1)
        found[bag] = recall(task.model.encode_image_features(image), task.model.encode_text_features(features))
    print(baseline, found)
    assert found[1.0] > baseline + 0.1
    assert found[1.0] > found[0.0]  # the bag's term is worth something beside the mask


# -- its folder, its index, its benchmark --------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("vdr")
    view = features_view(shapes_dataset(root, 96, 2), root)
    Vdr(settings(steps=60, lr=1e-2)).fit(FitInputs(view), root / "model")
    return root / "model", shapes_dataset(root, 48, 1, name="held", start=500)


def test_a_folder_loads_by_its_format_and_encodes_as_before(trained: Any, tmp_path: Path) -> None:
    folder, _ = trained
    model = load_model(folder, ["dual_encoder", "retriever"])
    model.save(tmp_path / "again", model.image_tower.kind)
    for file in ("model.safetensors", "config.json", "vocabulary.txt"):
        assert (folder / file).read_bytes() == (tmp_path / "again" / file).read_bytes()
    texts = ["a red circle on the left", "nothing it knows"]
    assert torch.equal(load_vocabulary_encoder(tmp_path / "again").encode_text(texts), model.encode_text(texts))
    (tmp_path / "again" / "vocabulary.txt").write_text("circle\n")
    with pytest.raises(ModelError, match="damaged"):
        load_vocabulary_encoder(tmp_path / "again")


@pytest.mark.slow
def test_the_index_finds_what_the_dense_product_finds_and_names_each_words_part(trained: Any) -> None:
    folder, _ = trained
    model = load_vocabulary_encoder(folder)
    pictures = [np.asarray(picture(number)) for number in range(500, 548)]
    texts = [f"a {colour} {shape}" for colour in ("red", "blue", "green") for shape in ("circle", "square", "triangle")]
    gallery = model.index(pictures)
    numbers, scores = model.search(gallery, 10, texts=texts)
    queries, items = model.encode_text(texts).double(), model.encode_image(pictures).double()
    dense = (queries @ items.T).numpy()
    order = np.lexsort((np.broadcast_to(np.arange(48), dense.shape), -dense.round(12)), axis=1)[:, :10]
    assert np.array_equal(numbers, order)
    assert np.allclose(scores, np.take_along_axis(dense, order, 1), atol=1e-6)
    asked = SparseRows.of(queries.float())
    exact = gallery.search(asked, 10)[1]
    for query in range(len(texts)):
        tokens, parts = gallery.contributions(asked, query, int(numbers[query, 0]))
        assert sum(parts.tolist()) == exact[query, 0]
        assert all(part > 0 for part in parts)
        assert len(tokens) <= 4  # of a picture's
    both, _ = model.search(gallery, 3, texts=texts[:2], images=pictures[:2])
    assert both.shape == (2, 3)
    with pytest.raises(ValueError, match="texts or images"):
        model.search(gallery, 3)


def test_the_benchmark_asks_the_folder_and_gets_what_the_index_gives(trained: Any) -> None:
    folder, held = trained
    model = load_model(folder, "dual_encoder")
    measured = {m.name: m.value for m in Retrieval(RetrievalSettings()).measure(model, held).metrics}
    assert measured["t2i_r10"] > 2 * 10 / 48  # it learnt something
    rows = [row for _, table in held.iter_sidecars() for row in table.to_pylist()]
    texts = [row["captions"][0]["text"] for row in rows]
    gallery = model.index([np.asarray(picture(number)) for number in range(500, 548)])
    numbers, _ = model.search(gallery, 10, texts=texts)
    hits = [any(rows[i]["group"] == rows[q]["group"] for i in numbers[q]) for q in range(48)]
    assert abs(np.mean(hits) - measured["t2i_r10"]) < 0.1  # JPEG against the drawing


def test_a_binary_index_asks_no_encoder(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = trained
    model = load_vocabulary_encoder(folder)
    shown = np.asarray(picture(500))

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("an encoder was asked")

    query = model.encode_image([shown])
    for name in ("encode_text", "encode_image", "text_features", "dense_text"):
        monkeypatch.setattr(model, name, refuse)
    gallery = model.index_of_words(["a red circle on the left", "red red circle", "zebra"])
    assert isinstance(gallery, InvertedIndex)
    scores = gallery.search(SparseRows.of(query), 3)[1]
    assert scores[0, -1] == 0  # a text of unknown words fits nothing
    assert gallery.postings == len({"a", "red", "circle", "on", "the", "left"}) + 2  # each word once


def test_words_that_cannot_make_a_vocabulary_are_one_line() -> None:
    task = Vdr(settings(least=500))
    task.population, task.device = planted(20, 0), torch.device("cpu")
    with pytest.raises(ColumnError, match="lower least"):
        task.build()
