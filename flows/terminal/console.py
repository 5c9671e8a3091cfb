"""The run on the terminal: a line a stage, a progress bar where somebody watches."""

from __future__ import annotations

import sys
import time
from typing import Any

SIGN_OF_LIFE_SECONDS = 60.0  # between two lines of progress where nobody watches


class Console:
    """Prints to standard error, so that `--json` on standard output stays clean.

    What it prints is printed as it is: names hold brackets and colons, which are no markup. Where nobody
    watches, progress is one line at its end, and one a minute of what takes longer.
    """

    def __init__(self, quiet: bool = False) -> None:
        from rich.console import Console as RichConsole

        self._rich: Any = RichConsole(
            stderr=True, quiet=quiet, highlight=False, soft_wrap=True, markup=False, emoji=False
        )
        self._bar_open = False
        self._pending = ""  # a line of progress that is not printed yet
        self._printed = time.monotonic()

    def start(self, name: str) -> None:
        self._clear()
        if not self._rich.is_terminal:
            self._rich.print(f"  {name} ...")

    def progress(self, name: str, done: int, total: int, text: str) -> None:
        line = f"  {name:<22} {done:>6,} of {total:,}  {100 * done / max(total, 1):3.0f}%  {text}"
        if self._rich.is_terminal:
            if not self._rich.quiet:
                sys.stderr.write("\r\x1b[2K" + line[: self._rich.width - 1])
                sys.stderr.flush()
                self._bar_open = True
            return
        self._pending = line
        if time.monotonic() - self._printed > SIGN_OF_LIFE_SECONDS:
            self.end()

    def stage(self, name: str, status: str, seconds: float, text: str) -> None:
        from rich.text import Text

        self._clear()
        colour = {"ran": "green", "reused": "cyan", "failed": "red"}.get(status, "white")
        self._rich.print(Text.assemble(f"  {name:<22} ", (f"{status:<7}", colour), f" {seconds:7.1f} s  {text}"))

    def say(self, text: str) -> None:
        self._clear()
        self._rich.print(text)

    def end(self) -> None:
        """End a progress: its last line where nobody watched, no bar where somebody did."""
        self._clear()

    def _clear(self) -> None:
        if self._bar_open:
            sys.stderr.write("\r\x1b[2K")
            self._bar_open = False
        if self._pending:
            self._rich.print(self._pending)
            self._pending, self._printed = "", time.monotonic()
