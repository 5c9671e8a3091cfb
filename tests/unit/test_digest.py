"""A step's digest: the same step has the same one, and whatever changes its result changes it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from pairwright.components import digest, source_code
from pairwright.components.component import Scorer
from pairwright.components.digest import folder_digest, op_digest
from pairwright.components.errors import ModelError
from pairwright.components.hashing import canonical, rows_digest
from pairwright.components.settings import ModelFolder, Settings
from pairwright.components.source_code import code_digest, source_digest

SCORER = '''
"""A scorer."""
from pairwright.components.component import Scorer
from pairwright.components.settings import Settings
from {family}.middle import score_of

class BlurSettings(Settings):
    radius: int = 3

class Blur(Scorer[BlurSettings]):
    """Blur."""
    name = "blur"
    def score(self, pairs):
        from {family}.lazy import LAZY
        return score_of(pairs) + LAZY
'''
FILES = {
    "scorer.py": SCORER,
    "middle.py": "from . import deep\ndef score_of(pairs):\n    return deep.CONSTANT\n",
    "deep.py": "CONSTANT = 1  # the constant\n",
    "lazy.py": "LAZY = 0\n",
    "other.py": "NOT_IMPORTED = 1\n",
}


def blurred(module) -> str:
    return op_digest(module.Blur(module.BlurSettings()))


@pytest.fixture
def family(tmp_path, monkeypatch):
    """Writes a package of its own with the given changes and returns its scorer's digest."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[str] = []

    def digest_with(entry: str = "scorer", of=blurred, **changes: str) -> str:
        name = "family"
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").write_text("")
        for file, text in (FILES | {f"{part}.py": text for part, text in changes.items()}).items():
            (folder / file).write_text(text.replace("{family}", name))
        for module in [one for one in sys.modules if one.split(".")[0] == name]:
            del sys.modules[module]
        importlib.invalidate_caches()
        source_code.source_digest.cache_clear()
        source_code._spec.cache_clear()
        made.append(name)
        module = importlib.import_module(f"{name}.{entry}")
        return of(module)

    yield digest_with
    for module in [one for one in sys.modules if one.split(".")[0] in made]:
        del sys.modules[module]
    source_code.source_digest.cache_clear()
    source_code._spec.cache_clear()


def test_the_same_code_has_the_same_digest(family):
    assert family() == family()


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("deep", "CONSTANT = 1\n"),
        ("deep", '"""Now with a docstring."""\n\n\nCONSTANT  =  1  # and another comment\n'),
        ("middle", 'from . import deep\n\n\ndef score_of(pairs):\n    """Docstring."""\n    return deep.CONSTANT\n'),
        ("other", "NOT_IMPORTED = 2\n"),
        ("scorer", SCORER.replace('"""Blur."""', '"""Blurs, now explained."""').replace("# ", "")),
    ],
)
def test_a_comment_a_docstring_layout_or_another_module_changes_nothing(family, part, text):
    assert family(**{part: text}) == family()


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("deep", "CONSTANT = 2\n"),
        ("lazy", "LAZY = 1\n"),
        ("middle", "from . import deep\ndef score_of(pairs):\n    return -deep.CONSTANT\n"),
        ("scorer", SCORER.replace("radius: int = 3", "radius: int = 4")),
    ],
)
def test_a_changed_constant_in_an_imported_module_changes_the_digest(family, part, text):
    assert family(**{part: text}) != family()


class ModelSettings(Settings):
    model: ModelFolder
    threshold: float = 0.5
    source: str = "alt"


class Modelled(Scorer[ModelSettings]):
    name: ClassVar[str] = "modelled"
    mixed_precision = True

    def score(self, pairs):
        return {}


def _digest(reference: str = "models:/m@champion", weights: str = "w1", path: str = "/a", **settings) -> str:
    model = ModelFolder(reference=reference, path=path, weights=weights)
    return op_digest(Modelled(ModelSettings(model=model, **settings)))


def test_an_alias_and_a_folders_place_never_enter_a_digest():
    assert _digest() == _digest(reference="models:/m@challenger", path="/elsewhere")


def test_weights_settings_precision_and_inputs_enter_it():
    made = Modelled(ModelSettings(model=ModelFolder(reference="r", path="/a", weights="w1")))
    digests = [
        _digest(),
        _digest(weights="w2"),
        _digest(threshold=0.6),
        _digest(source="keywords"),
        op_digest(made, precision="bfloat16"),
        op_digest(made, inputs={"score": "d1"}),
        op_digest(made, inputs={"score": "d2"}),
    ]
    assert len(set(digests)) == len(digests)


def test_precision_is_no_business_of_what_always_computes_in_float32():
    class Exact(Modelled):
        mixed_precision = False

    made = Exact(ModelSettings(model=ModelFolder(reference="r", path="/a", weights="w1")))
    assert op_digest(made, precision="bfloat16") == op_digest(made)


def test_a_default_written_out_is_the_same_step():
    assert _digest() == _digest(threshold=0.5, source="alt")


def test_an_unresolved_model_is_refused():
    component = Modelled(ModelSettings.parse({"model": "models:/m@champion"}, "step"))
    with pytest.raises(ModelError, match="models:/m@champion is not resolved"):
        op_digest(component)


def test_a_declared_librarys_version_enters_it(monkeypatch):
    class Versioned(Modelled):
        libraries = ("numpy",)

    component = Versioned(ModelSettings(model=ModelFolder(reference="r", path="/a", weights="w")))
    before = op_digest(component)
    monkeypatch.setattr(digest, "_version", lambda name: "99")
    assert op_digest(component) != before


def test_code_under_type_checking_never_runs_and_never_counts(family):
    extra = "\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from {family} import other\n"
    with_other = family(middle=FILES["middle.py"] + extra)
    assert family(middle=FILES["middle.py"] + extra, other="NOT_IMPORTED = 3\n") == with_other


def test_canonical_text_is_one_text_a_value():
    assert canonical({"b": 1, "a": [True, None, "é"]}) == canonical({"a": [True, None, "é"], "b": 1})


def test_a_model_folders_digest_is_of_its_weights_not_of_its_prose(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"w")
    before = folder_digest(tmp_path)
    (tmp_path / "card.md").write_text("prose")
    assert folder_digest(tmp_path) == before
    (tmp_path / "model.safetensors").write_bytes(b"v")
    assert folder_digest(tmp_path) != before
    with pytest.raises(ModelError, match="holds no files"):
        folder_digest(tmp_path / "nothing")


def test_code_digest_ignores_comments_and_sees_code():
    assert code_digest("x = 1") == code_digest("# why\nx = 1  # because")
    assert code_digest("x = 1") != code_digest("x = 2")


def test_our_own_modules_have_digests():
    assert source_digest("pairwright.components.digest") != source_digest("pairwright.components.errors")
    assert Path(digest.__file__).exists()


@pytest.mark.slow
def test_a_digest_imports_nothing_but_packages():
    import subprocess
    import sys

    code = """
import sys
from pairwright.components.source_code import source_digest
source_digest("pairwright.serving.service")
source_digest("pairwright.components.tracking.registry")
heavy = [name for name in ("bentoml", "mlflow", "torch", "pairwright.serving.service") if name in sys.modules]
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


OBJECTIVE = """
from typing import ClassVar
from pairwright.components.component import Objective
from pairwright.components.registry import objective
from pairwright.components.settings import ModelFolder, Named, Settings
from {family}.middle import score_of

class Inner(Settings):
    teacher: ModelFolder | None = None
    sharpness: float = 2.0

@objective("digest_test_sharp")
class Sharp(Objective[Inner]):
    libraries: ClassVar = ("numpy",)
    def loss(self, image, text, *, logit_scale, logit_bias=None):
        return {"loss": score_of(image)}

class Outer(Settings):
    inner: "Choice"

class Choice(Named):
    kind = "objective"
Outer.model_rebuild()

@objective("digest_test_wrapping")
class Wrapping(Objective[Outer]):
    pass
"""
TEACHER = {"reference": "models:/t@champion", "path": "/a", "weights": "w1"}


def trained_with(module, said=None, uses="digest_test_sharp") -> str:
    """A dual encoder's digest with an objective of a plug-in's."""
    from pairwright.components.pretrain.dual_encoder import FitDualEncoder
    from pairwright.components.pretrain.settings import DualEncoderSettings

    towers = {side: {"reference": side, "path": "/a", "weights": side} for side in ("image_tower", "text_tower")}
    choice = {"uses": uses, "with": said or {}}
    return op_digest(FitDualEncoder(DualEncoderSettings.parse({**towers, "objective": choice}, "test")))


@pytest.fixture
def objective(family, monkeypatch):
    from pairwright.components import registry

    def of(said=None, uses="digest_test_sharp", **changes: str) -> str:
        for name in ("digest_test_sharp", "digest_test_wrapping"):
            registry._registered.pop(("objective", name), None)
        files = {"objective": OBJECTIVE} | changes
        return family("objective", lambda module: trained_with(module, said, uses), **files)

    yield of
    for name in ("digest_test_sharp", "digest_test_wrapping"):
        registry._registered.pop(("objective", name), None)


def deep(said: dict) -> dict:
    return {"inner": {"uses": "digest_test_sharp", "with": said}}


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrap", [lambda said: (said, "digest_test_sharp"), lambda s: (deep(s), "digest_test_wrapping")]
)
def test_what_settings_name_counts_as_if_it_were_imported_however_deep(objective, monkeypatch, wrap):
    def of(said=None, **changes: str) -> str:
        return objective(*wrap(said or {}), **changes)

    before = of()
    assert of({"sharpness": 2.0}) == before  # a default written out
    assert of(objective=OBJECTIVE + "\n# a comment\n") == before
    different = [
        before,
        of({"sharpness": 3.0}),
        of({"teacher": TEACHER}),
        of({"teacher": TEACHER | {"weights": "w2"}}),
        of(deep="CONSTANT = 2\n"),
        of(objective=OBJECTIVE.replace("score_of(image)", "-score_of(image)")),
    ]
    assert of({"teacher": TEACHER | {"reference": "./t", "path": "/b"}}) == different[2]
    monkeypatch.setattr(digest, "_version", lambda name: "99" if name == "numpy" else "1")
    with_library = of()
    monkeypatch.setattr(digest, "_version", lambda name: "98" if name == "numpy" else "1")
    assert of() != with_library
    assert len(set(different)) == len(different)


def test_a_reference_in_a_named_components_with_is_resolved_and_ordered_before(objective):
    from pairwright.components.pretrain.settings import DualEncoderSettings
    from pairwright.flows.planning.planning import _fits_named, resolve_models

    objective()
    said = deep({"teacher": "step:teacher"})
    settings = DualEncoderSettings.parse({"objective": {"uses": "digest_test_wrapping", "with": said}}, "test")
    assert list(_fits_named(settings)) == ["teacher"]
    resolved = resolve_models(settings, lambda reference: ModelFolder(reference=reference, path="/f", weights="w"))
    assert resolved.objective[0].with_["inner"]["with"]["teacher"] == {
        "reference": "step:teacher",
        "path": "/f",
        "weights": "w",
    }


def test_a_text_back_end_counts_for_who_uses_it_alone(monkeypatch):
    from pairwright.components.recaption.captioners.fuse import Fuse, FuseSettings

    model = {"reference": "./llm", "path": "/a", "weights": "w1"}
    local = {"uses": "local", "model": model}

    def of(text_model: dict) -> str:
        return op_digest(Fuse(FuseSettings.parse({"text_model": text_model}, "test")))

    rules, with_model = of({"uses": "rules"}), of(local)
    assert of({"uses": "local", "model": model | {"weights": "w2"}}) != with_model
    assert of(local | {"batch_size": 99}) == with_model
    read = source_code._source_of
    edited = "pairwright.components.models.text_backends.local"
    monkeypatch.setattr(source_code, "_source_of", lambda name: read(name) + ("\nEDITED = 1" if name == edited else ""))
    source_code.source_digest.cache_clear()
    assert of(local) != with_model
    assert of({"uses": "rules"}) == rules
    monkeypatch.undo()
    source_code.source_digest.cache_clear()
    monkeypatch.setattr(digest, "_version", lambda name: "99")
    assert of(local) != with_model


def test_a_plug_in_counts_with_what_it_imports_of_ours_and_with_the_files_beside_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "one_file_plugin.py").write_text(
        "import beside_it\nfrom pairwright.components.filter.rules import spare\nimport yaml\n"
    )
    (tmp_path / "beside_it.py").write_text("CONSTANT = 1\n")
    importlib.invalidate_caches()
    closure = source_code._closure("one_file_plugin")
    assert {"one_file_plugin", "beside_it", "pairwright.components.filter.rules.spare"} <= closure
    assert "yaml" not in closure


def test_a_path_in_settings_is_its_bytes_not_its_place(tmp_path):
    class PathSettings(Settings):
        words: Path

    for place, text in (("a/words.txt", "one"), ("b/other.txt", "one"), ("c/words.txt", "two")):
        (tmp_path / place).parent.mkdir()
        (tmp_path / place).write_text(text)
    a, b, c = (
        digest.digestible(PathSettings(words=tmp_path / p)) for p in ("a/words.txt", "b/other.txt", "c/words.txt")
    )
    assert a == b != c
    with pytest.raises(ModelError, match="cannot be read"):
        digest.digestible(PathSettings(words=tmp_path / "nowhere"))


def test_rows_are_known_by_shard_row_and_order_however_they_are_chunked():
    import pyarrow as pa

    def of(*pairs) -> pa.Table:
        return pa.table(
            {"shard": [shard for shard, _ in pairs], "row": pa.array([row for _, row in pairs], pa.int32())}
        )

    one, other = of(("a", 1), ("b", 2)), of(("b", 2), ("a", 1))
    assert rows_digest(pa.concat_tables([of(("a", 1)), of(("b", 2))])) == rows_digest(one)
    assert rows_digest(one.append_column("key", pa.array(["x", "y"]))) == rows_digest(one)
    different = [one, other, of(("a", 1)), of(("a", 2), ("b", 1)), of(("c", 1), ("b", 2)), one.slice(0, 0)]
    assert len({rows_digest(rows) for rows in different}) == len(different)
