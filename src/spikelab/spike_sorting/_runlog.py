"""The one log of a run: a file in the results folder that needs no set-up by the user."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = logging.getLogger("spikelab")
FORMAT = "%(asctime)s %(levelname)-7s %(message)s"


class _Forward(logging.Handler):
    """Passes on what would have gone to the user's handlers had we not lowered our own level."""

    def __init__(self, level: int) -> None:
        super().__init__(level)

    def emit(self, record: logging.LogRecord) -> None:
        parent = ROOT.parent
        if parent is None:
            return
        if parent.hasHandlers():
            parent.callHandlers(record)
        elif logging.lastResort is not None and record.levelno >= logging.lastResort.level:
            logging.lastResort.handle(record)


class _Collect(logging.Handler):
    """Keeps the warnings of a run for its record."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def run_log(path: Path) -> Iterator[list[str]]:
    """Log everything from INFO on to `path` during the block; yields the list that warnings are added to.

    What the user's own handlers see does not change: our logger's level is lowered only while the block runs, and
    records are forwarded only from the level that was in force before.
    """
    messages: list[str] = []
    file_handler = logging.FileHandler(path, mode="a", encoding="utf-8")
    file_handler.setLevel(logging.INFO)
    file_handler.setFormatter(logging.Formatter(FORMAT))
    level, propagate = ROOT.level, ROOT.propagate
    handlers = [file_handler, _Collect(messages)]
    if propagate:
        handlers.append(_Forward(ROOT.getEffectiveLevel()))
    for handler in handlers:
        ROOT.addHandler(handler)
    ROOT.setLevel(min(logging.INFO, ROOT.getEffectiveLevel()))
    ROOT.propagate = False
    try:
        yield messages
    finally:
        ROOT.setLevel(level)
        ROOT.propagate = propagate
        for handler in handlers:
            ROOT.removeHandler(handler)
        file_handler.close()


@contextmanager
def logged_warnings(logger: logging.Logger) -> Iterator[None]:
    """Python warnings issued in the block also go to the log; they are issued again where the block ends."""
    with warnings.catch_warnings(record=True) as caught:
        yield
    for warning in caught:
        if issubclass(warning.category, UserWarning) and not issubclass(warning.category, DeprecationWarning):
            logger.log(logging.WARNING, "%s", warning.message, extra={"from_warnings": True})
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
