"""Progress of long work: a bar on a terminal, regular log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

LOG_INTERVAL_S = 10.0
_PART: ContextVar[str] = ContextVar("part", default="")


@contextmanager
def part_of_work(name: str) -> Iterator[None]:
    """Name the part of the work, such as a group of channels, in the labels of the progress within the block."""
    before = _PART.set(name)
    try:
        yield
    finally:
        _PART.reset(before)


class Progress:
    """Counter of finished units of work, with a report of the progress.

    On a terminal a bar with an estimate of the time left is drawn on stderr. Elsewhere a line is logged at INFO every
    ten seconds, so that "slow" can be distinguished from "stuck". Work that ends sooner logs nothing.

    `label` names the work, for example "writing the binary recording"; `total` counts its units, named `unit`.
    """

    def __init__(self, label: str, total: float, unit: str = "chunk") -> None:
        self.label, self.total, self.unit = ", ".join(filter(None, [label, _PART.get()])), total, unit
        self.done = 0.0
        self._start = self._last = time.monotonic()
        self._bar: Any = None
        if sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=self.label, unit=unit, leave=False, delay=0.5)

    def update(self, amount: float = 1) -> None:
        """Add `amount` units of finished work."""
        self.done += amount
        if self._bar is not None:
            self._bar.update(amount)
            return
        now = time.monotonic()
        if now - self._last >= LOG_INTERVAL_S:
            self._last = now
            left = (now - self._start) * (self.total - self.done) / max(self.done, 1e-12)
            logger.info("%s: %.0f %%, about %.0f s left", self.label, 100 * self.done / max(self.total, 1e-12), left)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
