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
# Length of the bar by the least width of the terminal: names are more use than a bar where both do not fit.
BARS = ((100, 24), (72, 12), (0, 0))
WORDS = len("43 %, about 30 min left")  # room that they are given, so that the name stays where it is
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
        self.goes_on: Progress | None = None  # work between two of its steps
        self.text = ""
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
            self.goes_on = work.whole if self.works and work.whole is not work else None
        elif work not in self.works:
            self.works = [*self.works, work]

    @property
    def shown(self) -> list[Progress]:
        """Work that is under way; between two steps of larger work, where nothing else is counted, that."""
        works, between = self.works, self.goes_on
        if not works or between is None or between.share == 1 or works[-1].whole.share is not None:
            return works
        return [*works, between]

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
                if text := line_of(self.shown):
                    logger.info("%s", text)

    def draw(self) -> None:
        """Draw the bar below the log."""
        self.handler.acquire()  # no line of the log comes between
        try:
            text = bar_of(self.shown, shutil.get_terminal_size().columns - 1)
            if (text or self.drawn) and (text != self.text or not self.drawn):
                sys.stderr.write(START_OF_LINE + text + CLEAR_REST)
                sys.stderr.flush()
            self.drawn, self.text = bool(text), text
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
    """Draw a bar with the time that is left and the name of the work behind it, in `width` characters.

    What changes its length stands last. Where there is no room for the whole name, that of the stage goes first, then
    that of the sorter.
    """
    if not works:
        return ""
    work, words, share = works[-1].label, works[-1].words(), works[-1].whole.share
    names = [_name(works), work, work.rpartition(": ")[2]]
    if share is None:
        return f"{_fitting(names, width - len(words) - 2)}, {words}"[: max(width, 0)]
    length = next(length for least, length in BARS if width >= least)
    bar = f"[{'#' * round(length * share):-<{length}}] " if length else ""
    before = f"{bar}{' ' * (share < 0.095)}{words}".ljust(len(bar) + WORDS)
    return f"{before} {_fitting(names, width - len(before) - 1)}"[: max(width, 0)]


def _fitting(names: list[str], room: int) -> str:
    """Choose the first name that fits into `room`, or cut the last one."""
    return next((name for name in names if len(name) <= room), f"{names[-1][: max(room - 3, 0)].rstrip()}...")


def _name(works: list[Progress]) -> str:
    """Name the stage, and its work."""
    stage, work = works[0].label, works[-1].label
    return work if stage == work else f"{stage}: {work}"
