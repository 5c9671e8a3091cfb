"""A step's digest: the same step has the same one, and whatever changes its result changes it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from components import digest
from components.component import Scorer
from components.digest import canonical, code_digest, folder_digest, op_digest, source_digest
from components.errors import ModelError
from components.settings import ModelFolder, Settings

SCORER = '''
"""A scorer."""
from components.component import Scorer
from components.settings import Settings
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


@pytest.fixture
def family(tmp_path, monkeypatch):
    """Writes a package of its own with the given changes and returns its scorer's digest."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[str] = []

    def of(**changes: str) -> str:
        name = "family"
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").write_text("")
        for file, text in (FILES | {f"{part}.py": text for part, text in changes.items()}).items():
            (folder / file).write_text(text.replace("{family}", name))
        for module in [one for one in sys.modules if one.split(".")[0] == name]:
            del sys.modules[module]
        importlib.invalidate_caches()
        digest.source_digest.cache_clear()
        digest._spec.cache_clear()
        made.append(name)
        module = importlib.import_module(f"{name}.scorer")
        return op_digest(module.Blur(module.BlurSettings()))

    yield of
    for module in [one for one in sys.modules if one.split(".")[0] in made]:
        del sys.modules[module]
    digest.source_digest.cache_clear()
    digest._spec.cache_clear()


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
    assert source_digest("components.digest") != source_digest("components.errors")
    assert Path(digest.__file__).exists()


def test_a_digest_imports_nothing_but_packages():
    import subprocess
    import sys

    code = """
import sys
from components.digest import source_digest
source_digest("serving.service")
source_digest("components.tracking.registry")
heavy = [name for name in ("bentoml", "mlflow", "torch", "serving.service") if name in sys.modules]
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
