"""Progress of a single sort: a bar on a terminal, a line from time to time elsewhere."""

from __future__ import annotations

import logging
import shutil
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from spikelab.system.progress import watched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spikelab.system.progress import Progress

logger = logging.getLogger("spikelab.cli")

DRAW_EVERY_S, LINE_EVERY_S = 0.25, 30.0
BAR = 24  # characters
START_OF_LINE, CLEAR_REST = "\r", "\x1b[K"


@contextmanager
def shown_progress() -> Iterator[None]:
    """Show the progress of the work in the block below the log; with ``--quiet`` nothing is shown."""
    handlers = logging.getLogger("spikelab").handlers
    if not handlers or not logging.getLogger("spikelab").isEnabledFor(logging.INFO):
        yield
        return
    board = Board(handlers[0], live=sys.stderr.isatty())
    try:
        with watched(board.watch):
            yield
    finally:
        board.close()


class Board:
    """Last line of the terminal, drawn anew several times a second; elsewhere a line of the log every half a minute."""

    def __init__(self, handler: logging.Handler, *, live: bool) -> None:
        self.handler, self.live, self.drawn = handler, live, False
        self.works: list[Progress] = []
        self._before = handler.formatter or logging.Formatter()
        self._stop = threading.Event()
        self._said = time.monotonic()
        if live:
            handler.setFormatter(_Above(self))
        self._ticker = threading.Thread(target=self._tick, name="progress", daemon=True)
        self._ticker.start()

    def watch(self, work: Progress) -> None:
        """Note which work is under way."""
        if work.ended:
            self.works = [other for other in self.works if other is not work]
        elif work not in self.works:
            self.works = [*self.works, work]

    def close(self) -> None:
        """Erase the bar, and leave the log as it was."""
        self._stop.set()
        self._ticker.join()
        self.handler.setFormatter(self._before)
        if self.drawn:
            sys.stderr.write(START_OF_LINE + CLEAR_REST)
            sys.stderr.flush()

    def _tick(self) -> None:
        while not self._stop.wait(DRAW_EVERY_S):
            if self.live:
                self.draw()
            elif time.monotonic() - self._said >= LINE_EVERY_S:
                self._said = time.monotonic()
                if text := line_of(self.works):
                    logger.info("%s", text)

    def draw(self) -> None:
        """Draw the bar below the log."""
        self.handler.acquire()  # no line of the log comes between
        try:
            text = bar_of(self.works, shutil.get_terminal_size().columns - 1)
            if text or self.drawn:
                sys.stderr.write(START_OF_LINE + text + CLEAR_REST)
                sys.stderr.flush()
            self.drawn = bool(text)
        finally:
            self.handler.release()

    def above(self, record: logging.LogRecord) -> str:
        """Format a line of the log in the place of the bar, which is drawn again below."""
        text = self._before.format(record)
        if not self.drawn:
            return text
        self.drawn = False
        first, *rest = text.split("\n")
        return "\n".join([START_OF_LINE + first + CLEAR_REST, *rest])


class _Above(logging.Formatter):
    def __init__(self, board: Board) -> None:
        super().__init__()
        self.board = board

    def format(self, record: logging.LogRecord) -> str:
        return self.board.above(record)


def line_of(works: list[Progress]) -> str:
    """Write what is under way and how far it is: ``sorting: RT-Sort: detecting spikes, 43 %, about 2 min left``."""
    if not works:
        return ""
    return f"{_name(works)}, {works[-1].words()}"


def bar_of(works: list[Progress], width: int) -> str:
    """Draw a bar with the name of the work before it, and the time that is left behind it."""
    if not works:
        return ""
    share = works[-1].whole.share
    name, words = _name(works), works[-1].words()
    bar = "" if share is None else f"[{'#' * round(BAR * share):-<{BAR}}] "
    room = max(10, width - len(bar) - len(words) - 1)
    name = name if len(name) <= room else name[: room - 3] + "..."
    return f"{name} {bar}{words}"[: max(width, 0)]


def _name(works: list[Progress]) -> str:
    """Name the stage, and its work."""
    stage, work = works[0].label, works[-1].label
    return work if stage == work else f"{stage}: {work}"
