"""How far a run is: a bar on a terminal, otherwise one plain line at the start and every 30 seconds."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

INTERVAL = 30.0  # seconds between plain lines: rare enough for the log of a batch job


class Progress:
    """Shows the progress of a run on stderr; a context manager, called as ``progress(done, total, text)``.

    Parameters
    ----------
    name : str
        What runs, such as "spectrum".
    ranks : int
        How many ranks work on it.
    enabled : bool
        False on all ranks but one: nothing is shown.
    interval : float
        Seconds between plain lines.
    unit : str
        What is counted.
    """

    def __init__(
        self, name: str, ranks: int = 1, enabled: bool = True, interval: float = INTERVAL, unit: str = "products"
    ) -> None:
        self.name, self.enabled, self.interval, self.unit = name, enabled, interval, unit
        self.ranks = f"{ranks} rank{'s' if ranks > 1 else ''}"
        self._done, self._total, self._text = 0, 0, ""
        self._started = self._first = time.monotonic()
        self._at_first = 0
        self._bar: Bar | None = None
        self._task: Any = None
        self._ended = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="landscape-progress", daemon=True)

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        if self.enabled and sys.stderr.isatty():
            self._open_bar()
        elif self.enabled:
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._bar is not None:
            self._bar.stop()
        elif self.enabled:
            self._ticker.join()

    def __call__(self, done: int, total: int, text: str = "") -> None:
        """Report `done` of `total` units, with a few words on what is going on."""
        begins = self._total == 0 and total > 0
        if begins:
            self._first, self._at_first = time.monotonic(), done  # work of an earlier run has no rate
        self._done, self._total, self._text = done, total, text
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, text=text)
        elif self.enabled and begins:
            self._print()

    def line(self) -> str:
        """What a plain line says now."""
        if self._total == 0:
            return f"landscape {self.name}: getting ready, {time.monotonic() - self._started:.0f} s, {self.ranks}"
        elapsed = time.monotonic() - self._first
        fresh = self._done - self._at_first
        parts = [f"{self._done}/{self._total} {self.unit}"]
        if fresh > 0 and elapsed > 0:
            parts += [
                f"{fresh / elapsed:.3g}/s",
                f"{_duration((self._total - self._done) * elapsed / fresh)} left at most",
            ]
        parts += [self.ranks, *([self._text] if self._text else [])]
        return f"landscape {self.name}: {', '.join(parts)}"

    def _print(self) -> None:
        print(self.line(), file=sys.stderr, flush=True)

    def _tick(self) -> None:
        while not self._ended.wait(self.interval):
            self._print()

    def _open_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        words, text = TextColumn("{task.description}"), TextColumn("{task.fields[text]}")
        columns = (words, BarColumn(), MofNCompleteColumn(), text, TimeElapsedColumn(), TimeRemainingColumn())
        self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
        self._bar.start()
        self._task = self._bar.add_task(f"{self.name}, {self.ranks}", total=None, text="getting ready")


def _duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
