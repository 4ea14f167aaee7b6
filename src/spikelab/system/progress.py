"""Progress of long work, for whoever watches; without a watcher a log line from time to time."""

from __future__ import annotations

import logging
import math
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple, Self

from spikelab.system.texts import duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

logger = logging.getLogger(__name__)

LOG_INTERVAL_S = 10.0
LEAST_SHARE = 0.01  # of the work that must be done before the rest is estimated
_PART: ContextVar[str] = ContextVar("part", default="")
_WATCH: ContextVar[Callable[[Progress], None] | None] = ContextVar("watch", default=None)
_STEP: ContextVar[_Step | None] = ContextVar("step", default=None)


class _Step(NamedTuple):
    """Step that is under way of larger work: how much of that it is, and what is done of that after the step."""

    work: Progress
    amount: float
    after: float


class Once:
    """Time for what is done once on a machine, such as to compile: it says nothing of how long the rest takes."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._before_s = 0.0

    @property
    def under_way(self) -> bool:
        """Whether it is being done now."""
        return self._since is not None

    @property
    def seconds(self) -> float:
        """Seconds that it has taken in this process so far."""
        since = self._since
        return self._before_s + (0.0 if since is None else time.monotonic() - since)

    @contextmanager
    def time(self) -> Iterator[None]:
        """Time the block, which one thread is in at a time; a block within a block is timed once."""
        if self.under_way:
            yield
            return
        self._since = start = time.monotonic()
        try:
            yield
        finally:
            self._since = None
            self._before_s += time.monotonic() - start


COMPILING = Once()


@contextmanager
def part_of_work(name: str) -> Iterator[None]:
    """Name the part of the work, such as a group of channels, in the labels of the progress within the block."""
    before = _PART.set(name)
    try:
        yield
    finally:
        _PART.reset(before)


@contextmanager
def watched(watch: Callable[[Progress], None]) -> Iterator[None]:
    """Show all progress within the block to `watch`, when work begins, goes on and ends; nothing of it is logged."""
    before = _WATCH.set(watch)
    try:
        yield
    finally:
        _WATCH.reset(before)


def ignore(_: Progress) -> None:
    """Watch nothing: progress is neither shown nor logged."""


class Progress:
    """Counter of finished units of work.

    Whoever watches (:func:`watched`) is shown the progress. Otherwise a line is logged at INFO every ten seconds, so
    that "slow" can be distinguished from "stuck"; work that ends sooner logs nothing.

    `label` names the work, for example "writing the binary recording"; `total` counts its units, named `unit`, and is
    None where nothing can be counted. `watch` is shown the progress in the place of who watches. Work within a
    :meth:`step` of other work also moves that on.
    """

    def __init__(
        self,
        label: str,
        total: float | None = None,
        unit: str = "chunk",
        watch: Callable[[Progress], None] | None = None,
    ) -> None:
        self.label, self.total, self.unit = ", ".join(filter(None, [label, _PART.get()])), total, unit
        self.done, self.ended = 0.0, False
        self._start = self._last = time.monotonic()
        self._moved_s = 0.0  # value of `elapsed_s` when the work last went on
        self._compiled_s = COMPILING.seconds
        self.watch = watch or _WATCH.get()
        self._within = _STEP.get()

    @property
    def whole(self) -> Progress:
        """The largest work that this work is a step of, itself where it is none."""
        return self if self._within is None else self._within.work.whole

    @property
    def share(self) -> float | None:
        """Share of the work that is done, from 0 to 1; None where that is not known."""
        return None if self.total is None else min(1.0, self.done / max(self.total, 1e-12))

    @property
    def elapsed_s(self) -> float:
        """Seconds since the work began, without those to compile."""
        return time.monotonic() - self._start - (COMPILING.seconds - self._compiled_s)

    @property
    def left_s(self) -> float | None:
        """Estimate of the seconds that are left; None where next to nothing is known.

        From how far the work had come when it last moved: what takes longer than that goes by without an estimate,
        instead of with one that grows.
        """
        share = self.share
        if share is None or share < LEAST_SHARE:
            return None
        left = self._moved_s * (1 - share) / share - (self.elapsed_s - self._moved_s)
        return left if left >= 0 else None

    def update(self, amount: float = 1) -> None:
        """Add `amount` units of finished work."""
        self._advance(self.done + amount)
        self._show()

    def _advance(self, done: float) -> None:
        """Go on to `done` units, and move the work on that this is a step of, no further than to the step's end."""
        before, self.done, self._moved_s = self.done, done, self.elapsed_s
        if self._within is not None and self.total:
            work, amount, after = self._within
            work._advance(min(after, work.done + amount * (done - before) / self.total))

    @contextmanager
    def step(self, label: str, amount: float) -> Iterator[Progress]:
        """Do a step that is `amount` units of this work; progress within the block moves this work on meanwhile."""
        after = self.done + amount
        before = _STEP.set(_Step(self, amount, after))
        try:
            with Progress(label, watch=self.watch) as progress:
                yield progress
        finally:
            _STEP.reset(before)
        self._advance(after)

    def words(self) -> str:
        """Write how far the work is: ``43 %, about 2 min left``, or how long it has taken."""
        if COMPILING.under_way:
            return "compiling, once"
        whole = self.whole
        share, left = whole.share, whole.left_s
        if share is None:
            return f"{duration(whole.elapsed_s)} so far"
        return f"{100 * share:.0f} %" + ("" if left is None or share == 1 else f", about {_rounded(left)} left")

    def _show(self) -> None:
        if self.watch is not None:
            self.watch(self)
            return
        now = time.monotonic()
        whole = self.whole
        if now - whole._last >= LOG_INTERVAL_S:
            whole._last = now
            logger.info("%s: %s", self.label, self.words())

    def __enter__(self) -> Self:
        if self.watch is not None:
            self.watch(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.ended = True
        if self.watch is not None:
            self.watch(self)


def _rounded(seconds: float) -> str:
    """Format an estimate as it is known: in steps of 5 s, minutes, or 5 min; never less than 5 s."""
    if seconds < 57:
        return f"{max(5, 5 * math.ceil(seconds / 5))} s"
    if seconds < 3570:
        return f"{max(1, round(seconds / 60))} min"
    return duration(300 * round(seconds / 300))
