"""Opening the tables of an exploration: those of the sidecars and of every step."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from pairwright.components.environment import usable_cores
from pairwright.components.explore.exploration import Exploration
from pairwright.components.explore.pair_table import add_pairs
from pairwright.components.explore.queries import Queries
from pairwright.components.explore.scratch import scratch_connection
from pairwright.components.explore.step_tables import add_steps
from pairwright.components.explore.tables import Tables


@contextmanager
def open_tables(exploration: Exploration, *, memory_limit: str = "2GB") -> Iterator[Tables]:
    """The tables of an exploration; that of the sidecars is filled, the others wait to be needed."""
    with tempfile.TemporaryDirectory(prefix="pairwright-explore-") as folder:
        connection = scratch_connection(folder, memory_limit, usable_cores())
        queries = Queries(folder)
        try:
            tables = Tables(exploration, connection, folder, queries)
            add_pairs(tables)
            add_steps(tables)
            yield tables
        finally:
            queries.close()
            connection.close()
