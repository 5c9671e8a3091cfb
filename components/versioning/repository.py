"""DVC itself, held at arm's length: open, add, push, pull, each retried while another process locks.

DVC has one lock a repository and gives up after seconds, so what two processes may do at once is
retried here. Every repository is opened without its Git side: no branch, index or ignore file of the
user's is read or touched.
"""

from __future__ import annotations

import logging
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

from pairwright.components.dataset.shards import storage
from pairwright.components.environment import silence
from pairwright.components.errors import DatasetError, MissingDependency, WorkspaceError

T = TypeVar("T")
PATIENCE_S = 300.0
QUIET = {"analytics": False, "check_update": False, "autostage": False}
CONFIG = """[core]
    no_scm = True
    remote = curated
    analytics = False
    check_update = False
    autostage = False
['remote "curated"']
    url = {remote}
"""


@contextmanager
def repository(root: Path) -> Iterator[Any]:
    """An open `dvc.repo.Repo` at `root`, Git left out of it.

    Raises:
        MissingDependency: dvc is not installed.
    """
    repo_class = _dvc()
    with repo_class(str(root), config={"core": {"no_scm": True, **QUIET}}) as repo:
        repo.scm_context.quiet = True
        yield repo


def initialise(root: Path, remote: str) -> None:
    """Make `root` a DVC repository of its own (`--no-scm`) with this default remote; fine if it is one.

    Raises:
        WorkspaceError: it cannot be written.
    """
    repo_class = _dvc()
    folder = root / ".dvc"
    wanted = CONFIG.format(remote=remote)

    def attempt() -> None:
        if not (folder / "config").exists():
            root.mkdir(parents=True, exist_ok=True)
            with redirect_stdout(sys.stderr):  # DVC greets on standard output, where our JSON goes
                repo_class.init(str(root), no_scm=True, force=folder.exists()).close()
        if (folder / "config").read_text(encoding="utf-8") != wanted:
            # Whole or not at all: another process may be reading it.
            storage.write_bytes(str(folder / "config"), wanted.encode())

    guarded(attempt, f"{root} cannot be made a DVC repository", WorkspaceError)


def pull(root: Path, targets: list[str]) -> None:
    """Fetch and check out what `.dvc` files pin, or folders inside of what they pin, replacing what differs.

    Raises:
        DatasetError: the remote does not hold it.
    """

    def attempt() -> None:
        with repository(root) as repo:
            repo.pull(targets=targets, force=True)

    guarded(attempt, f"{', '.join(targets)} cannot be pulled")


def add_and_push(root: Path, path: Path) -> None:
    """Add a file or folder below `root` and push it to the default remote.

    Raises:
        WorkspaceError: the remote cannot be written.
    """

    def attempt() -> None:
        with repository(root) as repo:
            repo.add(str(path))
            repo.push(targets=[f"{path}.dvc"])

    guarded(attempt, f"{path} cannot be pushed", WorkspaceError)


def guarded(
    attempt: Callable[[], T],
    problem: str,
    error_class: type[DatasetError] | type[WorkspaceError] = DatasetError,
    patience_s: float = PATIENCE_S,
) -> T:
    """`attempt()`, again while the repository is locked; DVC's errors as one line of ours."""
    _dvc()
    from dvc.exceptions import DvcException
    from dvc.lock import LockError

    deadline = time.monotonic() + patience_s
    while True:
        try:
            return attempt()
        except LockError:
            if time.monotonic() > deadline:
                raise WorkspaceError(f"{problem}: another process has held DVC's lock for {patience_s:.0f} s") from None
            time.sleep(random.uniform(0.1, 1.0))
        except (DvcException, OSError) as error:
            raise error_class(f"{problem}: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """The first lines of an error and of its causes, joined."""
    texts = []
    cause: BaseException | None = error
    while cause is not None:
        line = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        if line not in texts:
            texts.append(line)
        cause = cause.__cause__
    return "; ".join(texts)


def _dvc() -> Any:
    silence()
    try:
        from dvc.repo import Repo
    except ImportError:
        raise MissingDependency("dvc is not installed; `pip install pairwright[platform]`") from None
    logging.getLogger("dvc").setLevel(logging.ERROR)  # its greetings are not the user's concern
    return Repo
