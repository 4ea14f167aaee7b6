"""The one log of a run: a file in the results folder that needs no set-up by the user.

Several runs may be active in one process, in threads of their own. A context variable names the run a thread works
for (:class:`.threads.ThreadPool` passes the variable on to the threads that a run starts), and a record or a warning
goes to that run alone. The logger ``spikelab``, which belongs to the user, is never changed.
"""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spikelab.system.quoting import PrintableFormatter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Caught = list[tuple[Warning, type[Warning]]]

PACKAGE = logging.getLogger("spikelab.spike_sorting")
PYTHON_WARNING = "python_warning"
FORMAT = "%(asctime)s %(levelname)-7s %(message)s"


@dataclass(eq=False)
class _Run:
    """One active run: its log file, and the warnings for its record."""

    file: logging.FileHandler
    messages: list[str] = field(default_factory=list)

    def note(self, record: logging.LogRecord) -> None:
        """Write `record` to the file; keep the message of a warning."""
        if record.levelno < logging.INFO:
            return
        self.file.handle(record)
        python_warning = getattr(record, PYTHON_WARNING, None)
        if python_warning is not None:
            self.messages.append(python_warning)
        elif record.levelno == logging.WARNING:
            self.messages.append(record.getMessage())


_RUN: ContextVar[_Run | None] = ContextVar("spikelab_run", default=None)


class _Tap(logging.Handler):
    """Handler that gives records to their runs, and forwards them to the user's handlers at the user's level.

    The handler is attached to the package logger while runs are active. The level of that logger is lowered meanwhile;
    records below the user's level reach the runs only.
    """

    def __init__(self) -> None:
        super().__init__()
        self._changing = threading.Lock()
        self._runs: list[_Run] = []
        self._level, self._propagate = logging.NOTSET, True
        self._others: list[logging.Handler] = []

    def createLock(self) -> None:  # noqa: N802 - the name of the standard library
        """Create no lock: files and the user's handlers have their own, and a lock here could deadlock with these."""
        self.lock = None

    def begin(self, run: _Run) -> None:
        """Start to give records to `run`."""
        with self._changing:
            if not self._runs:
                self._level, self._propagate = PACKAGE.level, PACKAGE.propagate
                self._others = list(PACKAGE.handlers)
                for handler in self._others:
                    handler.addFilter(self._was_wanted)
                PACKAGE.propagate = False
                PACKAGE.addHandler(self)
                PACKAGE.setLevel(min(logging.INFO, PACKAGE.getEffectiveLevel()))
            self._runs.append(run)

    def end(self, run: _Run) -> None:
        """Stop to give records to `run`; after the last run the logger is restored."""
        with self._changing:
            self._runs.remove(run)
            if not self._runs:
                PACKAGE.removeHandler(self)
                PACKAGE.setLevel(self._level)
                PACKAGE.propagate = self._propagate
                for handler in self._others:
                    handler.removeFilter(self._was_wanted)

    def emit(self, record: logging.LogRecord) -> None:
        run = _RUN.get()
        if run is not None and run in self._runs:  # a thread may outlive its run
            run.note(record)
        parent = PACKAGE.parent
        if not self._propagate or parent is None or not self._was_wanted(record):
            return
        if parent.hasHandlers() or not self._others:  # without any handler, the last resort of logging
            parent.callHandlers(record)

    def _was_wanted(self, record: logging.LogRecord) -> bool:
        """Whether the user's level, as it was before the first run, lets `record` through."""
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None and logger is not PACKAGE:
            if logger.level:
                return True  # the module has a level of its own, which let the record through
            logger = logger.parent
        above = logging.root if PACKAGE.parent is None else PACKAGE.parent
        return record.levelno >= (self._level or above.getEffectiveLevel())


_TAP = _Tap()


@contextmanager
def run_log(path: Path) -> Iterator[list[str]]:
    """Log the records of the block and its threads, from INFO on, to `path`; yield the list of warnings.

    The user's own handlers get the same records as without a run log, and records of other runs do not go to `path`.
    """
    if path.is_dir():
        raise FileExistsError(f"the log {path} cannot be written: there is a folder of that name; move it away")
    file = logging.FileHandler(path, mode="a", encoding="utf-8")
    file.setFormatter(PrintableFormatter(FORMAT))
    run = _Run(file)
    before = _RUN.set(run)
    _TAP.begin(run)
    try:
        yield run.messages
    finally:
        _TAP.end(run)
        _RUN.reset(before)
        with suppress(OSError):  # a full disk must not hide the error that ended the run
            file.close()


_CAUGHT: ContextVar[Caught | None] = ContextVar("spikelab_warnings", default=None)


class _OnlyInBlock:
    """Pattern of a warnings filter that matches inside :func:`logged_warnings` only.

    Filters hold for the whole process, and other threads may filter otherwise.
    """

    def match(self, _: str) -> bool:
        return _CAUGHT.get() is not None


class _Hook:
    """Hook that collects the warnings of blocks; all other warnings go to the hook that was there before."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._blocks = 0
        self._filter: Any = ("always", _OnlyInBlock(), UserWarning, None, 0)
        self._before = warnings.showwarning

    def begin(self) -> None:
        with self._changing:
            self._blocks += 1
            if self._filter not in warnings.filters:
                warnings.simplefilter("always", _FilterReset)  # a change of filters resets which warnings were shown
                filters: Any = warnings.filters
                filters[:] = [self._filter, *(entry for entry in filters if entry[2] is not _FilterReset)]
            if warnings.showwarning != self._show:
                self._before = warnings.showwarning
                warnings.showwarning = self._show  # type: ignore[assignment]  # the place is passed on unchanged

    def end(self) -> None:
        with self._changing:
            self._blocks -= 1
            if self._blocks:
                return
            filters: Any = warnings.filters
            if self._filter in filters:
                filters.remove(self._filter)
            if warnings.showwarning == self._show:
                warnings.showwarning = self._before

    def _show(self, message: Warning | str, category: type[Warning], *place: Any) -> None:
        caught = _CAUGHT.get()
        if caught is None or not issubclass(category, UserWarning):
            self._before(message, category, *place)
        else:
            caught.append((message if isinstance(message, Warning) else category(message), category))


class _FilterReset(Warning):
    """Never issued."""


_HOOK = _Hook()
_ALONE = threading.RLock()


@contextmanager
def logged_warnings(logger: logging.Logger) -> Iterator[None]:
    """Log the warnings to the user that are issued in the block, and issue them again where the block ends.

    Warnings that the user filters out are logged too.
    """
    caught: Caught = []
    before = _CAUGHT.set(caught)
    _HOOK.begin()
    try:
        yield
    finally:
        _HOOK.end()
        _CAUGHT.reset(before)
        for warning, category in caught:
            if category is UserWarning:
                _log_warning(logger, str(warning))
    place = _place_outside()
    for warning, category in caught:
        warnings.warn_explicit(warning, category, *place)


def warn(message: str) -> None:
    """Warn the user, in the log too; inside :func:`logged_warnings` the block does it, whatever the filters are."""
    caught = _CAUGHT.get()
    if caught is None:
        _log_warning(PACKAGE, message)
        warnings.warn_explicit(message, UserWarning, *_place_outside())
    else:
        caught.append((UserWarning(message), UserWarning))


def _log_warning(logger: logging.Logger, text: str) -> None:
    """Log at INFO, or a user who sees Python's warnings would see each one twice."""
    logger.info("warning: %s", text, extra={PYTHON_WARNING: text})


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Keep what :func:`warn` says in the block from the user; the texts are in the list once the block has ended."""
    caught: Caught = []
    texts: list[str] = []
    before = _CAUGHT.set(caught)
    try:
        yield texts
    finally:
        _CAUGHT.reset(before)
        texts += dict.fromkeys(str(warning) for warning, _ in caught)


@contextmanager
def captured_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Hide the warnings of libraries, from all of their threads, from the user; yield the list of these warnings.

    One block runs at a time: ``warnings.catch_warnings`` holds for the whole process, and two threads that overlap
    without nesting would leave it changed.
    """
    with _ALONE, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


def _place_outside() -> tuple[str, int]:
    """Return file and line of the caller of this package, to whose code a warning refers."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in (
        "spikelab",
        "contextlib",
    ):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno
