"""Evidence on every spike: its size and place from the traces at its frame, and a stretch of traces that is typical."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.data import Evidence
from spikelab.spike_sorting.data.traces import dead_time_in, read_raw, scale_uv
from spikelab.spike_sorting.waveforms._evidence_kernels import measure_spikes
from spikelab.spike_sorting.waveforms.alignment import Spikes
from spikelab.spike_sorting.waveforms.chunks import Chunk, UnitPool, iterate_chunks
from spikelab.spike_sorting.waveforms.windows import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import BinaryRecording, IntArray, Waveforms

NEAR_UM = 100.0  # where a spike may be, from the unit's main electrode
MOST_NEAR = 16  # electrodes: those that are further see noise
SHOWN_S, SHOWN_CHANNELS = 0.3, 24


def measure_evidence(recording: BinaryRecording, waveforms: Waveforms, n_jobs: int) -> Evidence:
    """Measure amplitude and place of every spike in one pass over the recording, in the order of the file.

    Each spike is measured by itself: workers and chunks change no bit of the result.
    """
    spikes = Spikes(waveforms.spikes)
    near = near_channels(recording.locations, recording.groups, waveforms.main_channels)
    signs = np.where(waveforms.has_pos_peak, 1.0, -1.0)
    amplitudes = np.zeros(len(spikes.frames), dtype=np.float32)
    places = np.zeros((len(spikes.frames), 2), dtype=np.float32)
    locations = np.ascontiguousarray(recording.locations, dtype=np.float64)
    scale = scale_uv(recording)

    def measure(chunk: Chunk, rows: slice) -> None:
        part = chunk.of(rows)
        units = part.units
        measure_spikes(part, spikes.frames, near[units], signs[units], locations, scale, amplitudes, places)

    n_units = waveforms.n_units
    with UnitPool(n_jobs) as pool:
        for chunk in iterate_chunks(recording, spikes, slice(0, n_units), Window(0, 0), "measuring spikes"):
            pool.run(n_units, partial(measure, chunk), chunk.n_spikes)
    start, channels, traces = _shown_traces(recording, waveforms)
    return Evidence(
        unit_ids=waveforms.unit_ids,
        counts=np.array([len(train) for train in waveforms.spikes], dtype=np.int64),
        amplitudes=amplitudes,
        places=places,
        spreads=waveforms.template_stds[np.arange(n_units), :, waveforms.main_channels],
        noise=waveforms.noise,
        traces=traces,
        traces_start=start,
        traces_channels=channels,
        traces_gain_uv=scale,
    )


def near_channels(locations: NDArray[np.float64], groups: IntArray, mains: IntArray) -> IntArray:
    """List the channels near each unit's main one, which is the first, shape (units, channels); -1 where there is none.

    They are of the main channel's group, at most 16 and no further than 100 um; nearest first.
    """
    near = np.full((len(mains), min(MOST_NEAR, len(locations))), -1, dtype=np.int64)
    for main in np.unique(mains).tolist():
        distance = np.linalg.norm(locations - locations[main], axis=1)
        distance[groups != groups[main]] = np.inf
        distance[main] = -1.0  # first, also where two contacts are in one place
        order = np.argsort(distance, kind="stable")[: near.shape[1]]
        order = order[distance[order] <= NEAR_UM]
        near[mains == main, : len(order)] = order
    return near


def _shown_traces(recording: BinaryRecording, waveforms: Waveforms) -> tuple[int, IntArray, NDArray[np.int16]]:
    """Choose and read the traces to look at: their start, their channels, and counts, (frames, channels)."""
    length = min(round(SHOWN_S * recording.sampling_frequency), recording.n_samples)
    start = _typical_start(recording, waveforms, length)
    length = min(length, recording.n_samples - start)
    busy = np.array([np.diff(np.searchsorted(train, [start, start + length]))[0] for train in waveforms.spikes])
    channels = _shown_channels(recording.locations, waveforms.main_channels, busy.astype(np.int64))
    return start, channels, read_raw(recording, start, start + length)[:, channels].copy()


def _typical_start(recording: BinaryRecording, waveforms: Waveforms, length: int) -> int:
    """Choose the stretch of one epoch, without dead time, whose number of spikes is the median of those with any."""
    starts = np.concatenate(
        [np.arange(epoch.start_frame, epoch.end_frame - length + 1, length) for epoch in recording.epochs]
    ).astype(np.int64)
    dead = dead_time_in(recording)
    if len(dead):
        first = np.searchsorted(dead[:, 1], starts, side="right")
        dead = np.vstack([dead, [recording.n_samples + length, recording.n_samples + length]])
        starts = starts[dead[first, 0] >= starts + length]
    if not len(starts):
        return 0
    every = np.sort(np.concatenate([np.empty(0, np.int64), *waveforms.spikes]))
    counts = np.searchsorted(every, starts + length) - np.searchsorted(every, starts)
    active = np.flatnonzero(counts) if counts.any() else np.arange(len(counts))
    middle = active[np.argsort(counts[active], kind="stable")[len(active) // 2]]
    return int(starts[middle])


def _shown_channels(locations: NDArray[np.float64], mains: IntArray, busy: IntArray) -> IntArray:
    """Choose the main channels of the units that fire most, then others evenly; from the top of the probe down."""
    weights = np.bincount(mains, weights=busy, minlength=len(locations)) if len(mains) else np.zeros(len(locations))
    order = np.argsort(-weights, kind="stable")
    chosen = order[: min(SHOWN_CHANNELS, int((weights > 0).sum()))]
    left = np.setdiff1d(np.arange(len(locations)), chosen)
    missing = min(SHOWN_CHANNELS - len(chosen), len(left))
    if missing > 0:
        chosen = np.append(chosen, left[np.linspace(0, len(left) - 1, missing).astype(np.int64)])
    return chosen[np.lexsort((chosen, locations[chosen, 0], -locations[chosen, 1]))].astype(np.int64)
