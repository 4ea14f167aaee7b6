"""Features of single spikes for Phy: amplitude, and principal components on the channels around the unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.data import rows_of_each
from spikelab.spikedata._windows import whole_frames

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray
    from spikelab.spike_sorting.exchange.formats.handoff import Handoff

N_COMPONENTS = 3
N_CHANNELS = 12
# Window of the components.
MS_BEFORE, MS_AFTER = 0.8, 1.2
FITTED_PER_UNIT = 200
SPIKES_AT_ONCE = 4096


def write_features(
    handoff: Handoff, times: IntArray, units: IntArray, path: Path
) -> tuple[NDArray[np.float64], IntArray]:
    """Measure every spike on the traces, and write its principal components to a ``.npy`` file.

    The file is float32 of shape (spikes, components, channels), in microvolts. The components are common to all
    channels and units: those of the main-channel waveforms of up to `FITTED_PER_UNIT` spikes of each unit, evenly
    spaced in time. `times` and `units` are frame and index of the unit of each spike, in time order. Returns the
    amplitudes (spikes,), the trace at the spike on the main channel as a fraction of the template there, and the
    channels (units, channels) that the components are on: the nearest to the main channel, that one first.
    """
    channels = nearest_channels(handoff.recording.locations, handoff.main_channels)
    reader = _Windows(handoff)
    fitted = np.concatenate([_evenly(rows) for rows in rows_of_each(units, range(len(channels)))])
    basis = _components(reader.read(times[fitted], channels[units[fitted], :1])[:, :, 0])
    peaks = handoff.templates[np.arange(len(channels)), handoff.n_before, channels[:, 0]].astype(np.float64)
    peaks[peaks == 0] = 1.0
    amplitudes = np.empty(len(times))
    shape = (len(times), len(basis), channels.shape[1])
    scores = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    for first in range(0, len(times), SPIKES_AT_ONCE):
        part = slice(first, first + SPIKES_AT_ONCE)
        windows = reader.read(times[part], channels[units[part]])
        amplitudes[part] = windows[:, reader.n_before, 0] / peaks[units[part]]
        scores[part] = np.einsum("nsc,ks->nkc", windows, basis)
    scores.flush()
    return amplitudes, channels


def nearest_channels(locations: NDArray[np.float64], main_channels: IntArray) -> IntArray:
    """Find the `N_CHANNELS` channels nearest to each main channel, itself first; shape (units, channels)."""
    distance = np.linalg.norm(locations[None] - locations[main_channels][:, None], axis=2)
    distance[np.arange(len(main_channels)), main_channels] = -1
    nearest: IntArray = np.argsort(distance, axis=1, kind="stable")[:, :N_CHANNELS]
    return nearest


class _Windows:
    """Reader of windows around spikes, on some channels each; frames outside of the recording repeat its edge."""

    def __init__(self, handoff: Handoff) -> None:
        recording = handoff.recording
        fs, n_samples = recording.sampling_frequency, handoff.templates.shape[1]
        self.n_before = min(whole_frames(MS_BEFORE, fs), handoff.n_before)
        n_after = min(whole_frames(MS_AFTER, fs), n_samples - 1 - handoff.n_before)
        self._counts, self._gain, self._last = recording.counts, np.float32(recording.gain_uv), recording.n_samples - 1
        self._offsets = np.arange(-self.n_before, n_after + 1)

    def read(self, times: IntArray, channels: IntArray) -> FloatArray:
        """Read microvolts, shape (spikes, samples, channels), on `channels` of shape (spikes, channels)."""
        frames = np.clip(times[:, None] + self._offsets, 0, self._last)
        windows: FloatArray = self._counts[frames[:, :, None], channels[:, None, :]] * self._gain
        return windows


def _evenly(spikes: IntArray) -> IntArray:
    """Select at most `FITTED_PER_UNIT` spikes, evenly spaced."""
    if len(spikes) <= FITTED_PER_UNIT:
        return spikes
    return spikes[np.linspace(0, len(spikes) - 1, FITTED_PER_UNIT).astype(np.int64)]


def _components(waveforms: FloatArray) -> FloatArray:
    """Compute the first principal components (components, samples) of waveforms (n, samples), through the origin.

    Not centred, so that a channel that sees nothing of a spike scores 0.
    """
    _, _, rows = np.linalg.svd(waveforms, full_matrices=False)
    components = rows[:N_COMPONENTS]
    if len(components) < N_COMPONENTS:
        components = np.pad(components, ((0, N_COMPONENTS - len(components)), (0, 0)))
    # The largest value of each component is positive: the sign is the same on every machine.
    largest = components[np.arange(len(components)), np.abs(components).argmax(axis=1)]
    return np.asarray(components * np.where(largest < 0, -1, 1)[:, None], dtype=np.float32)
