"""An objective as a plug-in would bring one: named in a recipe, imported by nobody, with a model in its settings."""

from __future__ import annotations

from pairwright.components.component import Objective
from pairwright.components.registry import objective
from pairwright.components.settings import ModelFolder, Settings


class TaughtSettings(Settings):
    teacher: ModelFolder
    weight: float = 1.0


@objective("taught_in_digest_test")
class Taught(Objective[TaughtSettings]):
    """Never computed: only its digest is asked for."""
