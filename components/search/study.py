"""Which settings to try next: Optuna's tree-structured Parzen estimator, asked and told. The only code that imports it.

    study = Study(section.space, seed=0)
    values = study.ask()                  # {"lr": 0.0021, "dim": 128}
    study.tell(0.41)                      # or study.tell(None): it failed

TPE (Bergstra et al., 2011; Watanabe, 2023): the first STARTUP are drawn at random, later ones where good trials are
denser than bad ones. It follows from (space, seed, what was told), and nothing is stored: whoever tells a new study the
same values is asked the same, which is how a killed search goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pairwright.components.errors import MissingDependency
from pairwright.components.search.space import Dimension

STARTUP = 8


class Study:
    """One search. Each `ask` is followed by its `tell`.

    Raises:
        MissingDependency: Optuna is not installed.
    """

    def __init__(self, space: Mapping[str, Dimension], seed: int) -> None:
        try:
            import optuna
        except ImportError:
            raise MissingDependency("a search asks Optuna what to try; run `pip install optuna`") from None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._space = dict(space)
        self._distributions = {name: _distribution(one) for name, one in space.items()}
        self._asked: Any = None

    def ask(self) -> dict[str, Any]:
        """A value for each setting."""
        assert self._asked is None, "the last trial was not told yet"
        self._asked = self._study.ask(self._distributions)
        return {name: self._value(name, value) for name, value in self._asked.params.items()}

    def tell(self, value: float | None) -> None:
        """What came of it, more being better; None where nothing did.

        Told as pruned, such a trial counts as worse than any other; one told as failed would be forgotten, and what
        cannot be trained asked for again and again.
        """
        from optuna.trial import TrialState

        assert self._asked is not None, "no trial was asked for"
        self._study.tell(self._asked, value, state=TrialState.PRUNED if value is None else None)
        self._asked = None

    def _value(self, name: str, value: Any) -> Any:
        return json.loads(value) if self._space[name].choices is not None else value


def _distribution(one: Dimension) -> Any:
    from optuna import distributions as of

    if one.choices is not None:
        return of.CategoricalDistribution([json.dumps(choice, sort_keys=True) for choice in one.choices])
    if one.whole:
        return of.IntDistribution(int(one.low or 0), int(one.high or 0), log=one.log, step=int(one.step or 1))
    step = None if one.step is None else float(one.step)
    return of.FloatDistribution(float(one.low or 0), float(one.high or 0), log=one.log, step=step)
