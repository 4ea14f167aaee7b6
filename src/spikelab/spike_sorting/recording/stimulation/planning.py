"""Choice of how pulses are removed, for each channel, by what is left of them in the band of the spikes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.filters.bandpass import BandPassRecording
from spikelab.spike_sorting.recording.parts import evenly_spaced
from spikelab.spike_sorting.recording.stimulation.onsets import read, usual_level
from spikelab.spike_sorting.recording.stimulation.removal import (
    BEFORE_MS,
    BLANKING,
    DECAY,
    TEMPLATE,
    Plan,
    Pulses,
    WithoutPulsesRecording,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.data import FloatArray, IntArray

# Time after the onset that is bridged, and methods that may remove the rest: the first that will do is taken. Templates
# come late, as they take along the spikes that always come at the same time after a pulse.
TRIED = (
    (0.5, (BLANKING, DECAY)),
    (0.75, (DECAY,)),
    (1.0, (BLANKING, DECAY)),
    (1.5, (DECAY,)),
    (0.75, (TEMPLATE,)),
    (1.5, (TEMPLATE,)),
    (2.0, (DECAY, TEMPLATE)),
    (3.0, (DECAY, TEMPLATE)),
    (4.0, (DECAY, TEMPLATE)),
    (6.0, (DECAY,)),
    (10.0, (DECAY,)),
)
LONGEST_MS, SHORTEST_MS = TRIED[-1][0], TRIED[0][0]
MEASURED_MS, SLICE_MS = 1.5, 0.5  # after a bridge, in pieces, each of which has to be as quiet as it should be
MOST_LEFT, LEAST_LEFT = 1.5, 0.5  # noise after a pulse over that of quiet stretches: more is artefact, less is blind
# Of all sizes after pulses the lowest share, which spikes that follow many pulses do not reach, and what it is of the
# standard deviation of noise.
SHARE, SHARE_TO_STD = 0.3, 0.38532
N_PULSES = 24  # of a site that are measured, evenly spread
QUIET_MS = 30.0  # after a pulse, or as late as there is
N_QUIET, QUIET_BLOCK_MS = 100, 10.0
RAIL_RUN = 3  # frames in a row at the largest value of a channel: a rail
RAIL_WINDOW_MS = 10.0
BLIND_SHARE = 0.1  # of the channels that may be bridged for longer than the dead time
HELD_MS = 5.0  # on a rail of more channels than that: all are bridged until the release, and decay from then on
MARGIN_MS = 0.25  # of dead time after the bridge, as the filter spreads it


class Site:
    """The pulses of one site in all segments of a recording, some of which are measured."""

    def __init__(self, recording: BaseRecording, plans: Sequence[Plan], site: int, band: tuple[float, float]) -> None:
        self._recording, self._plans, self._site, self._band = recording, plans, site, band
        self._fs = float(recording.get_sampling_frequency())
        every = [
            (segment, int(index))
            for segment, plan in enumerate(plans)
            for index in np.flatnonzero(plan.sites == site)
            if plan.onsets[index] + self._frames(MEASURED_MS + SHORTEST_MS) < recording.get_num_samples(segment)
        ]
        self._some = [every[i] for i in evenly_spaced(len(every), 1, N_PULSES)] if every else []

    def _frames(self, ms: float) -> int:
        return round(ms * self._fs / 1000)

    def choose(self, quiet: FloatArray) -> tuple[IntArray, IntArray, FloatArray]:
        """Choose frames to bridge and method of each channel, and say what noise is left, `quiet` being that without.

        The shortest bridge after which every piece of the next milliseconds is as quiet as it should be, with the
        simplest method that makes it so; where none is, the one that leaves least.
        """
        n = self._recording.get_num_channels()
        first = np.full(n, self._frames(LONGEST_MS), dtype=np.int64)
        method, left = np.full(n, DECAY, dtype=np.int64), np.full(n, np.inf, dtype=np.float32)
        waiting = quiet > 0
        first[~waiting], method[~waiting], left[~waiting] = self._frames(SHORTEST_MS), BLANKING, 1
        for bridged, kinds in TRIED:
            for kind in kinds:
                if not waiting.any() or not self._some:
                    return first, method, left
                noise = self._noise_after(self._frames(bridged), kind) / np.where(quiet > 0, quiet, 1)
                worst = np.where(noise.min(axis=0) < LEAST_LEFT, np.inf, noise.max(axis=0))
                better = waiting & (worst < left)
                left[better], first[better], method[better] = worst[better], self._frames(bridged), kind
                waiting &= left > MOST_LEFT
        return first, method, left

    def _noise_after(self, first: int, kind: int) -> FloatArray:
        """Noise of each channel in pieces of the time after a bridge of so many frames; shape (pieces, channels)."""
        n_channels = self._recording.get_num_channels()
        plans = [
            replace(
                plan,
                first=_with_row(plan.first, self._site, np.full(n_channels, first)),
                method=_with_row(plan.method, self._site, np.full(n_channels, kind)),
            )
            for plan in self._plans
        ]
        without = WithoutPulsesRecording(self._recording, plans)
        cleaned = filtered(without, self._band)
        length, piece = self._frames(MEASURED_MS), self._frames(SLICE_MS)
        windows = []
        for segment, index in self._some:
            start = int(self._plans[segment].onsets[index]) + first
            if start + length <= self._recording.get_num_samples(segment):
                some = cleaned.segments[segment].get_traces(start, start + length, None)
                longer = without.segments[segment].pulses.bridged(index) - first  # of channels that are on a rail
                some[np.arange(length)[:, None] < longer] = np.nan
                windows.append(some)
        if not windows:
            return np.full((1, n_channels), np.inf, dtype=np.float32)
        every = np.abs(np.stack(windows))  # (pulses, frames, channels)
        parts = [every[:, at : at + piece].reshape(-1, n_channels) for at in range(0, length - piece + 1, piece)]
        noise = [_low(part) / SHARE_TO_STD for part in parts]
        return np.stack(noise).astype(np.float32)


def _low(sizes: FloatArray) -> NDArray[np.float64]:
    """Size below which the lowest share of the known ones lies, by channel; infinite where most are not known."""
    known = np.isfinite(sizes).sum(axis=0)
    ordered = np.sort(sizes, axis=0)  # what is not known comes last
    at = (SHARE * np.maximum(known - 1, 0)).astype(np.int64)
    return np.where(known >= len(sizes) / 2, ordered[at, np.arange(sizes.shape[1])], np.inf)


def _with_row(table: IntArray, row: int, values: IntArray) -> IntArray:
    changed = table.copy()
    changed[row] = values
    return changed


def filtered(recording: BaseRecording, band: tuple[float, float]) -> BaseRecording:
    """Band-pass in stored units."""
    return BandPassRecording(recording, *band)


def rails_of(segment: Any, onsets: IntArray, sampling_frequency: float) -> tuple[FloatArray, FloatArray]:
    """Find the rails of each channel: the extremes at which it stays for some frames in a row; infinite without."""
    window = round(RAIL_WINDOW_MS * sampling_frequency / 1000)
    chosen = onsets[evenly_spaced(len(onsets), 1, 4 * N_PULSES)] if len(onsets) else onsets
    traces = [read(segment, int(onset), min(int(onset) + window, int(segment.get_num_samples()))) for onset in chosen]
    n_channels = int(segment.get_traces(0, 1, slice(None)).shape[1])
    low, high = np.full(n_channels, -np.inf, dtype=np.float32), np.full(n_channels, np.inf, dtype=np.float32)
    if not traces:
        return low, high
    smallest, largest = np.min([t.min(axis=0) for t in traces], axis=0), np.max([t.max(axis=0) for t in traces], axis=0)
    level = usual_level(segment)  # all of the traces may be on one rail
    for extreme, rail, beyond in ((smallest, low, smallest < level), (largest, high, largest > level)):
        stays = beyond & np.any([_run(part == extreme) for part in traces], axis=0)
        rail[stays] = extreme[stays]
    return low, high


def held_frames(
    segment: Any, onsets: IntArray, rails: tuple[FloatArray, FloatArray], sampling_frequency: float
) -> IntArray:
    """Count the frames for which each pulse holds more than a tenth of the channels on a rail; 0 where it is short."""
    held, last = np.zeros(len(onsets), dtype=np.int64), int(segment.get_num_samples()) - 1
    if not (np.isfinite(rails[0]) | np.isfinite(rails[1])).any():
        return held
    gap, before = (round(ms * sampling_frequency / 1000) for ms in (HELD_MS, BEFORE_MS))
    ends = np.append(onsets[1:] - before - 1, last)
    for index, (onset, end) in enumerate(zip(onsets.tolist(), ends.tolist(), strict=True)):
        start = onset + gap
        while start < end:
            traces = read(segment, start - gap // 4, min(start + gap, end))
            on_rail = np.flatnonzero(((traces <= rails[0]) | (traces >= rails[1])).mean(axis=1) > BLIND_SHARE)
            if not len(on_rail):
                break
            held[index] = start - gap // 4 + on_rail[-1] + 1 - onset
            start = onset + int(held[index]) + gap // 4
    return held


def _run(at: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which channels are true for some frames in a row."""
    if len(at) < RAIL_RUN:
        return np.zeros(at.shape[1], dtype=np.bool_)
    rows = [at[i : len(at) - RAIL_RUN + 1 + i] for i in range(RAIL_RUN)]
    found: NDArray[np.bool_] = np.logical_and.reduce(rows).any(axis=0)
    return found


def quiet_noise(recording: BaseRecording, plans: Sequence[Plan], band: tuple[float, float]) -> FloatArray:
    """Noise of each channel far from pulses, in stored units and in the band."""
    fs, blocks = float(recording.get_sampling_frequency()), []
    cleaned = filtered(WithoutPulsesRecording(recording, plans), band)
    block = round(QUIET_BLOCK_MS * fs / 1000)
    for segment, plan in zip(cleaned.segments, plans, strict=True):
        n_frames = int(segment.get_num_samples())
        starts = np.array(evenly_spaced(n_frames, block, 20 * N_QUIET))
        late = _after_pulse(starts, block, plan)
        far = starts[np.argsort(-np.minimum(late, round(QUIET_MS * fs / 1000)), kind="stable")]
        chosen = far[: max(1, N_QUIET // len(plans))]
        blocks += [segment.get_traces(int(s), min(int(s) + block, n_frames), None) for s in np.sort(chosen)]
    noise: FloatArray = np.quantile(np.abs(np.concatenate(blocks)), SHARE, axis=0).astype(np.float32) / SHARE_TO_STD
    return noise


def _after_pulse(starts: IntArray, block: int, plan: Plan) -> IntArray:
    """Frames from the last onset to each block, many where there was none; 0 where a pulse lies within the block."""
    index = np.searchsorted(plan.onsets, starts, side="right")
    since = starts - np.append(np.iinfo(np.int32).min, plan.onsets)[index]
    begun = np.searchsorted(plan.begins, starts + block)
    return np.where(begun > index, 0, since)


def blind_frames(first: IntArray, sampling_frequency: float) -> int:
    """Dead time after a pulse, in frames: until all but a tenth of the channels are seen again."""
    margin = round(MARGIN_MS * sampling_frequency / 1000)
    return int(np.quantile(first, 1 - BLIND_SHARE, method="higher")) + margin


def dead_periods(segment: Any, plan: Plan, sampling_frequency: float) -> tuple[IntArray, IntArray]:
    """Return the dead time of each pulse, first frame and end, by what is bridged on its channels; shape (pulses, 2).

    Returned, too, is the frame until which some channel is bridged, shape (pulses,).
    """
    pulses, onsets = Pulses(segment, plan, sampling_frequency), plan.onsets.tolist()
    before = round(BEFORE_MS * sampling_frequency / 1000)
    bridged = [pulses.bridged(i) for i in range(len(onsets))]
    ends = [onset + blind_frames(own, sampling_frequency) for onset, own in zip(onsets, bridged, strict=True)]
    periods = np.column_stack([plan.begins - before, np.array(ends, dtype=np.int64)])
    last = [onset + int(own.max()) for onset, own in zip(onsets, bridged, strict=True)]
    return periods.clip(0, int(segment.get_num_samples())), np.array(last, dtype=np.int64)
