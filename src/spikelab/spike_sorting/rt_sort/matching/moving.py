"""Templates that change with time: which waveform holds when, banks of a stretch, and matching across stretches.

Electrodes move against the tissue, and neurons grow larger and smaller. A template that does either has versions, each
of which holds from a frame on. Between two changes of any template, a stretch, the bank is constant. Stretches are
matched one after the other, each with a margin on both sides, so that a spike at a border is seen as a whole by both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spikelab.spike_sorting.rt_sort.matching.peeling import IN_UV, SPIKE, Matcher, later
from spikelab.spike_sorting.rt_sort.matching.templates import (
    Templates,
    bank_from_waveforms,
    replace_templates,
    table_of,
    window_frames,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray
    from spikelab.spike_sorting.rt_sort.matching.templates import Limits, TemplateBank
    from spikelab.spike_sorting.rt_sort.parameters import SequenceParameters
    from spikelab.spike_sorting.rt_sort.sequences import Tolerances, Waveform
    from spikelab.spike_sorting.rt_sort.whitening import Noise

    Spikes = NDArray[np.void]

FAR = 2**40  # frames: more than any recording has


class Versions(NamedTuple):
    """Waveforms of templates, each from a frame on, in the order of templates and within these of time.

    Attributes
    ----------
    templates : numpy.ndarray of int64, shape (versions,)
    starts : numpy.ndarray of int64, shape (versions,)
        The first version of a template holds before as well.
    waveforms : tuple of (channels, waveform)
        As of :func:`.templates.denoise`.
    """

    templates: IntArray
    starts: IntArray
    waveforms: tuple[Waveform, ...]

    @classmethod
    def of(cls, waveforms: list[Waveform]) -> Versions:
        """Make one version of each template, which always holds."""
        n = len(waveforms)
        return cls(np.arange(n, dtype=np.int64), np.zeros(n, dtype=np.int64), tuple(waveforms))

    @property
    def n_templates(self) -> int:
        """Number of templates."""
        return int(self.templates.max(initial=-1)) + 1

    @property
    def n_each(self) -> IntArray:
        """Number of versions of each template."""
        return np.bincount(self.templates, minlength=self.n_templates)

    @property
    def changes(self) -> IntArray:
        """List the frames at which some template changes, ascending."""
        is_first = np.diff(self.templates, prepend=-1) > 0
        return np.unique(self.starts[~is_first])

    def rows(self, templates: IntArray, frames: IntArray) -> IntArray:
        """Find the version of some templates that holds at some frames."""
        is_first = np.diff(self.templates, prepend=-1) > 0
        keys = self.templates * FAR + np.where(is_first, 0, self.starts)
        wanted = templates.astype(np.int64) * FAR + np.clip(frames, 0, FAR - 1)
        rows: IntArray = np.searchsorted(keys, wanted, side="right") - 1
        return rows

    def at(self, frame: int) -> IntArray:
        """Find the version of each template that holds at a frame."""
        return self.rows(np.arange(self.n_templates), np.full(self.n_templates, frame))

    def subset(self, chosen: NDArray[np.bool_]) -> Versions:
        """Select templates by `chosen`, shape (templates,)."""
        keep = np.flatnonzero(chosen[self.templates])
        numbers = np.cumsum(chosen) - 1
        return Versions(
            numbers[self.templates[keep]], self.starts[keep], tuple(self.waveforms[row] for row in keep.tolist())
        )

    def plus(self, waveforms: list[Waveform]) -> Versions:
        """Append templates that always have the same waveform."""
        if not self.n_templates:
            return Versions.of(waveforms)
        n = len(waveforms)
        templates = np.append(self.templates, self.n_templates + np.arange(n))
        starts = np.append(self.starts, np.zeros(n, dtype=np.int64))
        return Versions(templates, starts, (*self.waveforms, *waveforms))


@dataclass(frozen=True)
class MovingBank:
    """Makes the banks of the stretches of time between changes of `versions`.

    Attributes
    ----------
    versions : Versions
    noise : Noise
    sampling_frequency : float
    parameters : SequenceParameters
    tolerances_at : callable, optional
        Gives the tolerances of single spikes (or None) for the waveforms of all templates.
    """

    versions: Versions
    noise: Noise
    sampling_frequency: float
    parameters: SequenceParameters
    tolerances_at: Callable[[list[Waveform]], Tolerances | None] | None = None

    @cached_property
    def borders(self) -> IntArray:
        """First frames of the stretches but the first."""
        return self.versions.changes

    @cached_property
    def templates(self) -> Templates:
        """All versions as one table."""
        return table_of(self.versions.waveforms, self.n_before, self.n_frames)

    @cached_property
    def limits(self) -> Limits:
        """Energies at the end, and what counts as a spike."""
        return self.bank(len(self.borders)).limits

    @property
    def n_templates(self) -> int:
        """Number of templates."""
        return self.versions.n_templates

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return self.noise.n_channels

    @property
    def sigma(self) -> FloatArray:
        """Noise in microvolts, shape (channels,)."""
        return self.noise.sigma

    @property
    def n_before(self) -> int:
        """Frames of the window before the peak."""
        return window_frames(self.sampling_frequency)[0]

    @property
    def n_after(self) -> int:
        """Frames of the window after the peak."""
        return window_frames(self.sampling_frequency)[1]

    @property
    def n_frames(self) -> int:
        """Length of the window in frames."""
        return self.n_before + self.n_after + 1

    def stretch(self, frame: int) -> int:
        """Find the stretch that a frame is in."""
        return int(np.searchsorted(self.borders, frame, side="right"))

    def bank(self, stretch: int, known: tuple[int, TemplateBank] | None = None) -> TemplateBank:
        """Make the bank of a stretch, of that of another where it is `known`."""
        rows = self._rows(stretch)
        clean = [self.versions.waveforms[row] for row in rows.tolist()]
        tolerances = None if self.tolerances_at is None else self.tolerances_at(clean)
        if known is None:
            return bank_from_waveforms(clean, self.noise, self.sampling_frequency, self.parameters, tolerances)
        changed = np.flatnonzero(rows != self._rows(known[0])).tolist()
        if not changed:
            return known[1]
        return replace_templates(known[1], {u: clean[u] for u in changed}, self.noise, tolerances)

    def _rows(self, stretch: int) -> IntArray:
        return self.versions.at(int(self.borders[stretch - 1]) if stretch else 0)


class _Part:
    """A matcher of one stretch [low, high), which reads the frames [begin, end).

    Spikes within `near` frames of a border are held until those on the other side of it are known.
    """

    def __init__(self, matcher: Matcher, begin: int, low: int, high: int, near: int) -> None:
        self.matcher, self.begin, self.low, self.high, self._near = matcher, begin, low, high, near
        self.end = min(high + near + matcher.latency_frames, FAR)
        self.early = self.late = np.empty(0, dtype=SPIKE)

    def feed(self, traces: NDArray[Any], scale: np.float32, first: int) -> Spikes:
        """Take what is wanted of the traces that begin at frame `first`; return the spikes that no border is near."""
        low, high = max(self.begin, first), min(self.end, first + len(traces))
        return self._sort(self.matcher.push(traces[low - first : max(high, low) - first], scale))

    def finish(self) -> Spikes:
        """Say that there are no more frames; return the last spikes that no border is near."""
        return self._sort(self.matcher.finish())

    def _sort(self, spikes: Spikes) -> Spikes:
        frames = later(spikes, self.begin)["frame"]
        early = (frames >= self.low - self._near) & (frames < self.low + self._near)
        late = (frames >= self.high - self._near) & (frames < self.high + self._near)
        self.early = np.concatenate([self.early, spikes[early]])
        self.late = np.concatenate([self.late, spikes[late]])
        return spikes[(frames >= self.low + self._near) & (frames < self.high - self._near)]


def at_border(late: Spikes, early: Spikes, border: int, near: int) -> Spikes:
    """Choose the spikes around a border, of those that the stretches before and after it find there.

    Each side answers for its own. A spike that both find on their own side is one, and so is one that both find on the
    other's: the earlier stretch has it.
    """
    own, others = late[late["frame"] < border], early[early["frame"] >= border]
    missed = late[late["frame"] >= border]
    return np.concatenate([
        own,
        others[~_beside(others, own, near)],
        missed[_beside(missed, early[early["frame"] < border], near) & ~_beside(missed, others, near)],
    ])  # fmt: skip


def _beside(spikes: Spikes, others: Spikes, near: int) -> NDArray[np.bool_]:
    """Test which spikes have one of their template among `others` within `near` frames."""
    same = spikes["template"][:, None] == others["template"]
    beside: NDArray[np.bool_] = (same & (np.abs(spikes["frame"][:, None] - others["frame"]) <= near)).any(axis=1)
    return beside


class MovingMatcher:
    """Finds spikes as a :class:`.peeling.Matcher` does, with the templates of the time."""

    def __init__(self, moving: MovingBank, n_jobs: int = 1, start: int = 0) -> None:
        self.moving, self._n_jobs = moving, n_jobs
        self._bank: tuple[int, TemplateBank] | None = None
        self.reset(start)
        self._begin()

    @property
    def latency_frames(self) -> int:
        """Frames after a spike by which it has been reported, at most."""
        return self._latency + 2 * self._near

    def reset(self, start: int = 0) -> None:
        """Forget all frames; the next one is frame `start` of the templates' clock, and frame 0 of the spikes."""
        self._start = self._at = start
        self._parts: list[_Part] = []

    def push(self, traces: NDArray[Any], scale: np.float32 = IN_UV) -> Spikes:
        """Take the next frames as :meth:`.peeling.Matcher.push` does; return the spikes that are decided by now."""
        first, self._at = self._at, self._at + len(traces)
        if not self._parts:
            self._begin()
        self._open()
        found = [np.empty(0, dtype=SPIKE), *(part.feed(traces, scale, first) for part in self._parts)]
        while self._parts[0].end <= self._at:
            found += self._close()
        return later(np.concatenate(found), -self._start)

    def finish(self) -> Spikes:
        """Say that there are no more frames; return the last spikes and begin anew, where this began."""
        length, start = self._at - self._start, self._start
        if not self._parts:
            self._begin()
        found = [np.empty(0, dtype=SPIKE)]
        while len(self._parts) > 1:
            found += self._close()
        last = self._parts[0]
        found += [last.finish(), last.late[last.late["frame"] < last.high]]
        spikes = later(np.concatenate(found), -start)
        self.reset(start)
        return spikes[spikes["frame"] < length]

    def _begin(self) -> None:
        self._stretch = self.moving.stretch(self._start)
        matcher = Matcher(self._bank_of(self._stretch), self._n_jobs)
        self._near = max(1, matcher.bank.limits.repeat_frames)
        self._latency = matcher.latency_frames
        self._parts = [_Part(matcher, self._start, self._start - FAR, self._border(self._stretch), self._near)]

    def _border(self, stretch: int) -> int:
        """Find the end of a stretch."""
        borders = self.moving.borders
        return int(borders[stretch]) if stretch < len(borders) else 2 * FAR

    def _open(self) -> None:
        """Start on the stretches that come near: twice as early as a spike reaches, so that nothing before matters."""
        while (border := self._border(self._stretch)) - 2 * self._latency <= self._at:
            self._stretch += 1
            matcher = Matcher(self._bank_of(self._stretch), self._n_jobs)
            begin = max(border - 2 * self._latency, self._start)
            self._parts.append(_Part(matcher, begin, border, self._border(self._stretch), self._near))

    def _close(self) -> list[Spikes]:
        """End the first stretch; return its last spikes, and those around the border to the next."""
        part, following = self._parts.pop(0), self._parts[0]
        return [part.finish(), at_border(part.late, following.early, part.high, self._near)]

    def _bank_of(self, stretch: int) -> TemplateBank:
        if self._bank is None or self._bank[0] != stretch:
            self._bank = (stretch, self.moving.bank(stretch, self._bank))
        return self._bank[1]


def matcher_of(bank: TemplateBank | MovingBank, n_jobs: int = 1) -> Matcher | MovingMatcher:
    """Make the matcher of templates that stand still or move."""
    return MovingMatcher(bank, n_jobs) if isinstance(bank, MovingBank) else Matcher(bank, n_jobs)


def versions_of(bank: TemplateBank | MovingBank) -> Versions:
    """List which row of the bank's templates holds when."""
    if isinstance(bank, MovingBank):
        return bank.versions
    n = bank.n_templates
    return Versions(np.arange(n, dtype=np.int64), np.zeros(n, dtype=np.int64), ())
