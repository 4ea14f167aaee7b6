"""Watch a sorter's process: output, growing files and CPU time are signs of life.

A process that shows none for the time-out, as it waits for a GPU, a container or a network drive, ends with
`SorterTimeoutError`: it would hang a batch for ever.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from spikelab.spike_sorting._exceptions import SorterTimeoutError
from spikelab.spike_sorting.backends.isolation.end import has_ended, tree
from spikelab.spike_sorting.backends.isolation.error import tail
from spikelab.spike_sorting.backends.isolation.memory import enforce_limit

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

logger = logging.getLogger(__name__)

POLL_S = 0.5
HEARTBEAT_S = 30.0
SHOWN_CHARACTERS = 200  # of the last line of the log
IDLE_CPU_SHARE, IDLE_CPU_S = 0.02, 0.05  # of one core, and at once; an idle interpreter uses less


@dataclass
class Watch:
    """Signs of life of a sorter's process, and how much memory it takes."""

    sorter: str  # name in messages
    process: psutil.Popen
    folder: Path  # where files grow
    log_path: Path  # where output grows
    timeout_s: float | None  # longest time without a sign of life
    members: dict[int, psutil.Process]  # gets every process that is seen in the tree, for end_tree

    def __post_init__(self) -> None:
        self.start = self.last_life = self.last_beat = time.monotonic()
        self.bytes_then, self.cpu_then, self.peak_bytes = 0, 0.0, 0

    def wait(self) -> None:
        """Wait until the process ends; SorterTimeoutError after too long without a sign of life."""
        while not has_ended(self.process, within_s=POLL_S):
            self.check()
        seconds = time.monotonic() - self.start
        logger.info("%s ended after %.1f s, peak memory %.2f GiB", self.sorter, seconds, self.peak_bytes / 2**30)

    def check(self) -> None:
        """Find signs of life, log a heartbeat now and then, and enforce memory limit and time-out."""
        now = time.monotonic()
        members = tree(self.process)
        self.members.update((member.pid, member) for member in members)
        cpu, memory = _usage(members)
        self.peak_bytes = max(self.peak_bytes, memory)
        if now - self.last_beat >= HEARTBEAT_S:
            self.last_beat = now
            line = _last_line(self.log_path) or "no output yet"
            logger.info("%s: %.0f s, %.1f GiB; %s", self.sorter, now - self.start, memory / 2**30, line)
        if not enforce_limit(members) and self.timeout_s is not None:
            self._require_life(now, cpu, self.timeout_s)

    def _require_life(self, now: float, cpu: float, timeout_s: float) -> None:
        n_bytes = _size(self.log_path) + sum(_size(path) for path in self.folder.rglob("*"))  # a container's files too
        busy = abs(cpu - self.cpu_then) > IDLE_CPU_SHARE * (now - self.last_life) + IDLE_CPU_S
        if n_bytes != self.bytes_then or busy:
            self.last_life, self.bytes_then, self.cpu_then = now, n_bytes, cpu
        if now - self.last_life > timeout_s:
            raise SorterTimeoutError(
                f"{self.sorter} was ended after {timeout_s:g} s without output or CPU use. Check the last lines "
                f"of {self.log_path}, then whether GPU, container or network drive hang; raise sorter_timeout_s if it "
                f"was only slow. Last line: {_last_line(self.log_path) or '(none)'}",
                sorter=self.sorter,
                timeout_s=timeout_s,
                log_path=self.log_path,
            )


def _usage(members: Iterable[psutil.Process]) -> tuple[float, int]:
    """Sum CPU seconds and resident bytes."""
    cpu, memory = 0.0, 0
    for member in members:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            times = member.cpu_times()
            cpu += times.user + times.system
            memory += member.memory_info().rss
    return cpu, memory


def _last_line(log_path: Path) -> str:
    """Read the last line that is not empty, or the last state of a progress bar."""
    lines = tail(log_path).replace("\r", "\n").splitlines()
    return next((line.strip()[:SHOWN_CHARACTERS] for line in reversed(lines) if line.strip()), "")


def _size(path: Path) -> int:
    """Get the bytes of a file; 0 of one that was removed meanwhile."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
