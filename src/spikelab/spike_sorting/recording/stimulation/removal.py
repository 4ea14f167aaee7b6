"""Traces without stimulation pulses: what is left of each pulse is subtracted, what cannot be known is bridged."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from spikeinterface.preprocessing.basepreprocessor import BasePreprocessor, BasePreprocessorSegment

from spikelab.spike_sorting.recording.stimulation._decay_kernels import fit_channels, last_on_rail, subtract_fit
from spikelab.spike_sorting.recording.stimulation.onsets import read

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.data import FloatArray, IntArray

BLANKING, DECAY, TEMPLATE = 0, 1, 2  # methods
# Time constants of decays whose sum, with a constant, is fitted: one of 5 to 20 ms after a faster one is met to a part
# in 500. Late frames, of which there are many, weigh less.
DECAYS_MS = (0.6, 1.3, 2.8, 6.0, 12.0, 24.0)
EVEN_MS = 4.0
TAIL_MS, FADE_MS = 100.0, 20.0  # a decay is subtracted for so long, less and less in the last milliseconds
LEVEL_MS = 2.0  # before the first pulse of a row, whose median is the level of the traces
BEFORE_MS = 0.1  # that is bridged before an onset
SETTLING_MS = 0.3  # that is bridged after the last frame on a rail
FEWEST = 4  # frames for each curve
RAIL_MS, RAIL_GAP_MS = 20.0, 5.0  # after an onset, or the last frame on a rail: frames on a rail belong to a pulse
TEMPLATE_MS, TEMPLATE_FADE_MS = 8.0, 4.0  # it reaches so far after the onset, and fades at the end
N_NEIGHBOURS = 6  # pulses of the same site, before and after, whose mean misfit is the template
BRIDGE_MS = 0.5  # after a pulse that is bridged alone, whose median is where the bridge ends
KEPT_MISFITS = 64


@dataclass(frozen=True)
class Plan:
    """How the pulses of one segment are removed. All frames are of the segment.

    Attributes
    ----------
    onsets : numpy.ndarray of int64, shape (pulses,)
        First frames, ascending; of a pulse that holds the channels on a rail for long, the frame of its release.
    sites : numpy.ndarray of int64, shape (pulses,)
        Which row of `first` and `method` a pulse has.
    first : numpy.ndarray of int64, shape (sites, channels)
        Frames after the onset that are bridged.
    method : numpy.ndarray of int64, shape (sites, channels)
        `BLANKING`, `DECAY`, or `TEMPLATE`, which is a decay and a template of its misfit.
    low, high : numpy.ndarray of float32, shape (channels,)
        Values from which on a channel is on a rail; infinite where it has none.
    held : numpy.ndarray of int64, shape (pulses,)
        Frames that a pulse lasts before `onsets`, all of which are bridged: 0 but for those that hold channels.
    """

    onsets: IntArray
    sites: IntArray
    first: IntArray
    method: IntArray
    low: FloatArray
    high: FloatArray
    held: IntArray

    @property
    def begins(self) -> IntArray:
        """First frames of the pulses."""
        return self.onsets - self.held

    def to_dict(self) -> dict[str, Any]:
        """Describe the plan with lists."""
        return {field.name: getattr(self, field.name).tolist() for field in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """Make a plan of what :meth:`to_dict` gave."""
        onsets, sites, first, method, held = (
            np.asarray(values[name], dtype=np.int64) for name in ("onsets", "sites", "first", "method", "held")
        )
        low, high = (np.asarray(values[name], dtype=np.float32) for name in ("low", "high"))
        return cls(onsets, sites, first, method, low, high, held)


class WithoutPulsesRecording(BasePreprocessor):  # type: ignore[misc]  # SpikeInterface has no types
    """Traces as they are stored, in float32, without the pulses of `plans`, one for each segment.

    The traces of a pulse depend on the frames around it and, with a template, on those around its neighbours: they are
    the same in whatever pieces they are read.
    """

    def __init__(self, recording: BaseRecording, plans: Sequence[Plan | Mapping[str, Any]]) -> None:
        super().__init__(recording, dtype="float32")
        self.plans = [plan if isinstance(plan, Plan) else Plan.from_dict(plan) for plan in plans]
        for segment, plan in zip(recording.segments, self.plans, strict=True):
            self.add_recording_segment(_Segment(segment, plan, float(recording.get_sampling_frequency())))
        self._kwargs = {"recording": recording, "plans": [plan.to_dict() for plan in self.plans]}


class _Segment(BasePreprocessorSegment):  # type: ignore[misc]
    def __init__(self, parent: Any, plan: Plan, fs: float) -> None:
        super().__init__(parent)
        self.pulses = Pulses(parent, plan, fs)

    def get_traces(self, start_frame: int | None, end_frame: int | None, channel_indices: Any) -> NDArray[np.float32]:
        start = 0 if start_frame is None else int(start_frame)
        end = int(self.get_num_samples()) if end_frame is None else int(end_frame)
        traces = np.array(self.parent_recording_segment.get_traces(start, end, slice(None)), dtype=np.float32)
        for index in self.pulses.within(start, end):
            first, cleaned = self.pulses.cleaned(index)
            low, high = max(first, start), min(first + len(cleaned), end)
            traces[low - start : high - start] = cleaned[low - first : high - first]
        return traces if channel_indices is None else traces[:, channel_indices]


class Pulses:
    """The pulses of a segment, which are cleaned one by one."""

    def __init__(self, segment: Any, plan: Plan, fs: float) -> None:
        self._segment, self._plan, self._fs = segment, plan, fs
        self._n_frames = int(segment.get_num_samples())
        self._starts = np.maximum(plan.begins - self._frames(BEFORE_MS), 0)
        self._ends, self._row = self._extents()
        n_frames = self._frames(TAIL_MS + FADE_MS) + 1
        self._basis = self._curves(n_frames)
        self._weighted = self._basis / (1 + np.arange(n_frames) / self._frames(EVEN_MS))
        self._rail_frames = self._frames(RAIL_MS), self._frames(RAIL_GAP_MS)
        self._has_rails = bool((np.isfinite(plan.low) | np.isfinite(plan.high)).any())
        self._level = lru_cache(maxsize=8)(self._level_before)
        self._misfit = lru_cache(maxsize=KEPT_MISFITS)(self._misfit_of)

    def _frames(self, ms: float) -> int:
        return max(1, round(ms * self._fs / 1000))

    def _extents(self) -> tuple[IntArray, IntArray]:
        """End of each pulse, and the first pulse of the row of pulses, each of which begins where one ends."""
        tail, fade = self._frames(TAIL_MS), self._frames(FADE_MS)
        if not len(self._starts):
            return self._starts, self._starts
        following = np.append(self._starts[1:], self._n_frames + tail + fade)
        joined = following - self._plan.onsets <= tail + fade
        ends = np.where(joined, following, self._plan.onsets + tail)
        begins = np.append(True, ~joined[:-1])
        row = np.maximum.accumulate(np.where(begins, np.arange(len(ends)), 0))
        return np.minimum(ends, self._n_frames), row

    def _curves(self, n_frames: int) -> NDArray[np.float64]:
        """Curves whose sum is fitted: decays from the onset on, and a constant."""
        ms = np.arange(n_frames) / self._fs * 1000
        return np.stack([*(np.exp(-ms / constant) for constant in DECAYS_MS), np.ones(n_frames)])

    def within(self, start: int, end: int) -> range:
        """Pulses that reach into frames [start, end)."""
        return range(int(np.searchsorted(self._ends, start, side="right")), int(np.searchsorted(self._starts, end)))

    def _level_before(self, pulse: int) -> NDArray[np.float64]:
        """Level of each channel before a pulse that begins a row; after it where nothing is before."""
        end = int(self._starts[pulse])
        if self._plan.begins[pulse] == 0:
            end = int(self._ends[pulse])
        some = read(self._segment, max(0, end - self._frames(LEVEL_MS)), max(end, 1))
        return np.median(some, axis=0).astype(np.float64)

    def cleaned(self, index: int) -> tuple[int, FloatArray]:
        """Clean a pulse: return the first frame, and the traces (frames, channels) from there to its end."""
        start, end = int(self._starts[index]), int(self._ends[index])
        lead = int(self._plan.onsets[index]) - start
        stored = read(self._segment, start, end)
        level = self._level(int(self._row[index]))
        traces, method = stored[lead:], self._plan.method[self._plan.sites[index]]
        cleaned = np.empty_like(stored)
        cleaned[:lead] = level
        first, heights = self._fitted(index, traces)
        share = np.ones(len(traces))
        fade = min(self._frames(FADE_MS), len(traces))
        if index + 1 == len(self._starts) or self._starts[index + 1] > end:
            share[len(traces) - fade :] = 0.5 + 0.5 * np.cos(np.pi * np.arange(1, fade + 1) / fade)
        subtract_fit(traces, self._basis[:, : len(traces)], heights, first, level, share, cleaned[lead:])
        self._subtract_template(index, np.flatnonzero(method == TEMPLATE), first, cleaned[lead:])
        self._bridge(index, np.flatnonzero(method == BLANKING), first, lead, stored, cleaned)
        return start, cleaned

    def _fitted(self, index: int, traces: FloatArray) -> tuple[IntArray, NDArray[np.float64]]:
        """Return the frames that are bridged, by channel, and the heights of the curves; all where too few are left."""
        site = self._plan.sites[index]
        first = self._enough(index, self._after_rail(index, traces), len(traces))
        heights = np.zeros((len(self._basis), traces.shape[1]))
        if (self._plan.method[site] == BLANKING).all():
            return first, heights
        n = len(traces)
        fit_channels(traces, self._basis[:, :n], self._weighted[:, :n], first, heights)
        return first, heights

    def _enough(self, index: int, first: IntArray, n_frames: int) -> IntArray:
        """Bridge all of a pulse where too few of its frames are left for a fit."""
        if (self._plan.method[self._plan.sites[index]] == BLANKING).all():
            return first
        return np.where(first + FEWEST * len(self._basis) <= n_frames, first, n_frames)

    def _after_rail(self, index: int, traces: FloatArray) -> IntArray:
        """Return the frames that are bridged, by channel: as planned, or until the trace has left the rail."""
        on_rail = np.zeros(traces.shape[1], dtype=np.int64)
        last_on_rail(traces, self._plan.low, self._plan.high, *self._rail_frames, on_rail)
        on_rail[on_rail > 0] += self._frames(SETTLING_MS)
        after: IntArray = np.maximum(self._plan.first[self._plan.sites[index]], on_rail)
        return after

    def bridged(self, index: int) -> IntArray:
        """Return how many frames after the onset of a pulse are bridged, by channel."""
        onset, end = int(self._plan.onsets[index]), int(self._ends[index])
        if not self._has_rails:
            return self._enough(index, self._plan.first[self._plan.sites[index]], end - onset)
        window, gap = self._rail_frames
        after = self._after_rail(index, read(self._segment, onset, min(onset + window, end)))
        if after.max() > window - gap:
            after = self._after_rail(index, read(self._segment, onset, end))
        return self._enough(index, after, end - onset)

    def _subtract_template(self, index: int, channels: IntArray, first: IntArray, cleaned: FloatArray) -> None:
        """Subtract the mean misfit of the decays of the neighbouring pulses of the same site."""
        if not len(channels):
            return
        same = np.flatnonzero(self._plan.sites == self._plan.sites[index])
        at = int(np.searchsorted(same, index))
        near = same[max(0, at - N_NEIGHBOURS) : at + N_NEIGHBOURS + 1]
        misfits = np.stack([self._misfit(int(pulse)) for pulse in near if pulse != index] or [self._misfit(index)])
        template = np.median(misfits[:, :, channels], axis=0)
        n = min(len(template), len(cleaned))
        after = np.arange(n)[:, None] >= first[channels]
        cleaned[:n, channels] -= np.where(after, template[:n], 0)

    def _misfit_of(self, index: int) -> FloatArray:
        """Misfit of the decays of a pulse in the first milliseconds, which fades; NaN-free where nothing is known."""
        start, end = int(self._plan.onsets[index]), int(self._ends[index])
        traces = read(self._segment, start, end)
        first, heights = self._fitted(index, traces)
        n = self._frames(TEMPLATE_MS)
        misfit = np.zeros((n, traces.shape[1]), dtype=np.float32)
        subtract_fit(
            traces[:n], self._basis[:, : len(traces)], heights, first, np.zeros(traces.shape[1]), np.ones(n), misfit
        )
        fade = self._frames(TEMPLATE_FADE_MS)
        misfit[n - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)[:, None]
        return misfit

    def _bridge(
        self, index: int, channels: IntArray, first: IntArray, lead: int, stored: FloatArray, cleaned: FloatArray
    ) -> None:
        """Leave the traces of `channels` as they are, but for a straight line over the pulse."""
        if not len(channels):
            return
        n = self._frames(BRIDGE_MS)
        for channel in channels.tolist():
            own, after = stored[:, channel], min(lead + int(first[channel]), len(stored))
            begin = float(own[0])
            finish = float(np.median(own[after : after + n])) if after < len(own) else begin
            begin = begin if self._plan.begins[index] else finish  # a recording that begins within the pulse
            cleaned[:, channel] = own
            cleaned[:after, channel] = np.linspace(begin, finish, after, dtype=np.float32)
