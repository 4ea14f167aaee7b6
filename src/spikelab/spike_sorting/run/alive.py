"""How long, and by what, a run is believed to be alive: its process, and a note that it touches every few seconds.

======================================  ==========================================================
The note that a second run finds is of  then
======================================  ==========================================================
a process here, and the lock was had    it means nothing: the lock would have been that process's
a process here, without locks           it counts while that process runs
another host or container               it counts for `STALE_S` after it was touched last; when it is
                                        older, or dated ahead by more than `COARSE_S`, it is
                                        watched for `WATCH_S`, and counts if it is touched
                                        meanwhile: clocks may be wrong
======================================  ==========================================================

filelock's lease with a heartbeat is no substitute for the note: a contender has to wait out a whole lease for every
claim of a killed run, however old, and the lease tells neither containers nor restarts of a host apart.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spikelab.system import files
from spikelab.system.process import is_running, machine, this_process

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

logger = logging.getLogger(__name__)

NOTE = ".spikelab.lock.json"
TOUCH_S = 10.0
STALE_S = 120.0
WATCH_S = 3 * TOUCH_S
POLL_S = 1.0
COARSE_S = 2.0  # by which a note may be dated ahead: a file system counts in steps, and a clock is set back a little
ENDS_WITHIN_S = STALE_S + WATCH_S


@dataclass(frozen=True)
class Note:
    """The note of a run in a folder that the run holds."""

    text: str  # of the file
    touched_ns: int  # modification time, by the clock of the file system

    @classmethod
    def read(cls, folder: Path) -> Note | None:
        """Read the note in `folder`; None where there is none."""
        try:
            with (folder / NOTE).open(encoding="utf-8", errors="replace") as file:  # network drives ask the server then
                return cls(file.read(), os.fstat(file.fileno()).st_mtime_ns)
        except FileNotFoundError:
            return None

    @property
    def process(self) -> dict[str, Any]:
        """Process and host of the run; empty where the text cannot be understood."""
        try:
            values = json.loads(self.text)
        except (ValueError, RecursionError):
            return {}
        return values if isinstance(values, dict) else {}

    @property
    def is_of_this_machine(self) -> bool:
        """Whether the lock of the operating system reaches the process that wrote the note."""
        named = platform.node() if "machine" not in self.process else machine()
        return bool(named == self.process.get("machine", self.process.get("host")))


@contextmanager
def sign_of_life(folder: Path) -> Iterator[None]:
    """Keep a fresh note of this process in `folder` during the block; FileExistsError where another run's note is."""
    path, done = folder / NOTE, threading.Event()
    text = json.dumps({"host": platform.node(), **this_process(), "claim": uuid.uuid4().hex})
    file = path.open("x", encoding="utf-8")

    def touch() -> None:
        while not done.wait(TOUCH_S):
            with suppress(OSError):
                os.utime(path)

    thread = threading.Thread(target=touch, name="spikelab-lock", daemon=True)
    try:
        with file:
            file.write(text)
        thread.start()
        yield
    finally:
        done.set()
        if thread.is_alive():
            thread.join()
        with suppress(OSError):  # the error that ended the run is raised; a note that stays goes stale by itself
            found = Note.read(folder)
            if found is not None and found.text in (text, ""):  # not the note of a run that took the folder over
                path.unlink(missing_ok=True)


def may_be_alive(folder: Path, note: Note, *, locked: bool) -> bool:
    """Tell whether the run that left `note` in `folder` may be under way; watch the note where that is not certain.

    `locked`: whether the caller has the lock of the operating system on `folder`.
    """
    if note.text and not note.process:
        return False  # no run wrote the text
    if locked and note.is_of_this_machine:
        return False
    alive = is_running(note.process)
    if alive is None:
        alive = _is_touched(folder, note)
        if not alive:
            logger.info("%s was left by a run on %s that did not end in order", folder / NOTE, note.process.get("host"))
    return alive


def _is_touched(folder: Path, note: Note) -> bool:
    """Tell whether a note is fresh, or is touched while it is watched, whatever the clocks of the two hosts say."""
    age = files.now_of(folder) - note.touched_ns / 1e9
    if -COARSE_S <= age < STALE_S:
        return True
    logger.info("%s is watched for %.0f s, to see whether the run that left it is over", folder / NOTE, WATCH_S)
    end = time.monotonic() + WATCH_S
    while time.monotonic() < end:
        time.sleep(min(POLL_S, WATCH_S))
        if Note.read(folder) != note:
            return Note.read(folder) is not None
    return False


def is_alive(results: Path, process: Mapping[str, Any]) -> bool:
    """Tell whether the run of `process` in `results` is under way, for a reader who neither waits nor takes the folder.

    The process decides where this host can see it, else the age of the note, as far as clocks can be trusted.
    """
    running = is_running(dict(process))
    if running is not None:
        return running
    try:
        return abs(time.time() - (results / NOTE).stat().st_mtime) < STALE_S
    except OSError:
        return False
