"""The run on the terminal: a line a stage, a progress bar where somebody watches."""

from __future__ import annotations

import sys
from typing import Any


class Console:
    """Prints to standard error, so that `--json` on standard output stays clean."""

    def __init__(self, quiet: bool = False) -> None:
        from rich.console import Console as RichConsole

        self._rich: Any = RichConsole(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        self._bar_open = False

    def start(self, name: str) -> None:
        self._clear()
        if not self._rich.is_terminal:
            self._rich.print(f"  {name} ...")

    def progress(self, name: str, done: int, total: int, text: str) -> None:
        line = f"  {name:<22} {done:>6,} of {total:,}  {100 * done / max(total, 1):3.0f}%  {text}"
        if self._rich.is_terminal:
            sys.stderr.write("\r\x1b[2K" + line[: self._rich.width - 1])
            sys.stderr.flush()
            self._bar_open = True
        else:
            self._rich.print(line)

    def stage(self, name: str, status: str, seconds: float, text: str) -> None:
        self._clear()
        colour = {"ran": "green", "reused": "cyan", "failed": "red"}.get(status, "white")
        self._rich.print(f"  {name:<22} [{colour}]{status:<7}[/] {seconds:7.1f} s  {text}")

    def say(self, text: str) -> None:
        self._clear()
        self._rich.print(text)

    def _clear(self) -> None:
        if self._bar_open:
            sys.stderr.write("\r\x1b[2K")
            self._bar_open = False
