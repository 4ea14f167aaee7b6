"""The one log of a run: a file in the results folder that needs no set-up by the user."""

from __future__ import annotations

import logging
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOT = logging.getLogger("spikelab")
PYTHON_WARNING = "python_warning"
FORMAT = "%(asctime)s %(levelname)-7s %(message)s"


class _Forward(logging.Handler):
    """Passes on what would have gone to the user's handlers had we not lowered our own level."""

    def __init__(self, handlers: list[logging.Handler], level: int, *, propagate: bool) -> None:
        super().__init__(level)
        self.handlers, self.propagate = handlers, propagate

    def emit(self, record: logging.LogRecord) -> None:
        for handler in self.handlers:
            if record.levelno >= handler.level:
                handler.handle(record)
        parent = ROOT.parent
        if not self.propagate or parent is None:
            return
        if parent.hasHandlers():
            parent.callHandlers(record)
        elif not self.handlers and logging.lastResort is not None and record.levelno >= logging.lastResort.level:
            logging.lastResort.handle(record)


class _Collect(logging.Handler):
    """Keeps the warnings of a run for its record."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__()
        self.messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        python_warning = getattr(record, PYTHON_WARNING, None)
        if python_warning is not None:
            self.messages.append(python_warning)
        elif record.levelno == logging.WARNING:
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
    level, propagate, handlers = ROOT.level, ROOT.propagate, ROOT.handlers
    forward = _Forward(handlers, ROOT.getEffectiveLevel(), propagate=propagate)
    ROOT.handlers = [file_handler, _Collect(messages), forward]
    ROOT.setLevel(min(logging.INFO, ROOT.getEffectiveLevel()))
    ROOT.propagate = False
    try:
        yield messages
    finally:
        ROOT.handlers = handlers
        ROOT.setLevel(level)
        ROOT.propagate = propagate
        file_handler.close()


@contextmanager
def logged_warnings(logger: logging.Logger) -> Iterator[None]:
    """Warnings to the user that are issued in the block also go to the log; they are issued again where it ends."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)  # what the user filters out is still logged
        try:
            yield
        finally:
            for warning in caught:
                if warning.category is UserWarning:
                    # At INFO: whoever shows Python's warnings would see this one twice otherwise.
                    text = str(warning.message)
                    logger.info("warning: %s", text, extra={PYTHON_WARNING: text})
    place = _place_outside()
    for warning in caught:
        warnings.warn_explicit(warning.message, warning.category, *place)


def _place_outside() -> tuple[str, int]:
    """File and line of the caller of this package: a warning is about what they did, not about our code."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in (
        "spikelab",
        "contextlib",
    ):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno
