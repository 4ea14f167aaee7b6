"""Small recordings with known spikes, made in milliseconds: each unit lives on a channel of its own."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from spikeinterface.core import NumpyRecording

from spikelab import SpikeData
from spikelab.spike_sorting import sort_recording

FS = 20_000.0
PITCH_UM = 200.0
UNCURATED = dict.fromkeys(
    ["snr_min", "fr_min", "isi_viol_max", "spikes_min_first", "spikes_min_second", "std_norm_max"]
)


@dataclass(frozen=True)
class Simulated:
    """A recording in microvolts and the frames of every unit's troughs, in the order of the units' channels."""

    recording: NumpyRecording
    frames: list[np.ndarray]

    @property
    def trains_ms(self) -> list[np.ndarray]:
        return [frames * 1000 / self.recording.sampling_frequency for frames in self.frames]


def spike_shape(fs: float = FS) -> np.ndarray:
    """A band-limited spike of unit depth; its trough is at the middle."""
    t = np.arange(-1.5, 1.5, 1000 / fs)
    shape = -np.exp(-((t / 0.15) ** 2)) + 0.35 * np.exp(-(((t - 0.45) / 0.25) ** 2))
    return (shape / -shape.min()).astype(np.float32)


def noise_of(rng: np.random.Generator, shape: tuple[int, int], noise_uv: float, common: float) -> np.ndarray:
    """White noise, shape (frames, channels), float32; the share `common` of its power is the same on all channels."""
    noise = rng.normal(0, noise_uv, shape)
    if common:
        noise = np.sqrt(1 - common) * noise + np.sqrt(common) * rng.normal(0, noise_uv, (shape[0], 1))
    return noise.astype(np.float32)


def simulate(
    n_units: int = 5,
    n_channels: int = 8,
    duration_s: float = 8.0,
    fs: float = FS,
    seed: int = 0,
    amplitude_uv: float = 120.0,
    noise_uv: float = 5.0,
    rate_hz: float = 12.0,
    n_spikes: int | None = None,
    n_segments: int = 1,
    common_noise: float = 0.0,
) -> Simulated:
    """Noise with spikes of `n_units` units, one per channel, at least 5 ms apart."""
    rng = np.random.default_rng(seed)
    n_frames = int(duration_s * fs)
    traces = noise_of(rng, (n_frames, n_channels), noise_uv, common_noise)
    shape = spike_shape(fs)
    peak = int(np.argmin(shape))
    frames = []
    slots = np.arange(int(0.05 * fs), n_frames - int(0.05 * fs), int(0.005 * fs))
    for unit in range(n_units):
        count = n_spikes if n_spikes is not None else round(rate_hz * duration_s)
        chosen = np.sort(rng.choice(slots, size=min(count, len(slots)), replace=False)) + rng.integers(0, 20)
        for frame in chosen:
            traces[frame - peak : frame - peak + len(shape), unit] += amplitude_uv * (1 + 0.1 * unit) * shape
        frames.append(chosen)
    pieces = np.array_split(traces, n_segments)
    recording = NumpyRecording(pieces, fs, channel_ids=[f"ch{i}" for i in range(n_channels)])
    recording.set_dummy_probe_from_locations(np.column_stack([np.arange(n_channels) * PITCH_UM, np.zeros(n_channels)]))
    recording.set_channel_gains(1.0)
    recording.set_channel_offsets(0.0)
    return Simulated(recording, frames)


DENSE_PITCH_UM = 40.0


def simulate_dense(
    duration_s: float = 8.0, seed: int = 0, fs: float = FS, rate_hz: float = 8.0, noise_uv: float = 6.0,
    common_noise: float = 0.0,
) -> Simulated:  # fmt: skip
    """Four units on a 4 x 4 grid; their spikes reach the electrodes around, later and smaller the further away."""
    rng = np.random.default_rng(seed)
    n_frames = int(duration_s * fs)
    y, x = np.mgrid[:4, :4]
    locations = np.column_stack([x.ravel(), y.ravel()]) * DENSE_PITCH_UM
    traces = noise_of(rng, (n_frames, len(locations)), noise_uv, common_noise)
    shape = spike_shape(fs)
    peak = int(np.argmin(shape))
    slots = np.arange(int(0.06 * fs), n_frames - int(0.06 * fs), int(0.01 * fs))
    frames = []
    for channel, width in ((0, 1.0), (3, 1.4), (9, 1.2), (14, 0.8)):
        distance = np.linalg.norm(locations - locations[channel], axis=1)
        delays = np.rint(distance / 400 * fs / 1000).astype(int)  # 0.4 m/s
        times = (np.arange(len(shape)) - peak) / width + peak
        wave = np.interp(times, np.arange(len(shape)), shape).astype(np.float32)
        chosen = np.sort(rng.choice(slots, size=round(rate_hz * duration_s), replace=False)) + rng.integers(0, 20)
        for frame in chosen:
            for electrode in np.nonzero(distance < 130)[0]:
                start = frame - peak + delays[electrode]
                traces[start : start + len(wave), electrode] += 150 * np.exp(-distance[electrode] / 40) * wave
        frames.append(chosen)
    recording = NumpyRecording([traces], fs, channel_ids=[f"ch{i}" for i in range(len(locations))])
    recording.set_dummy_probe_from_locations(locations)
    recording.set_channel_gains(1.0)
    recording.set_channel_offsets(0.0)
    return Simulated(recording, frames)


def save_recording(recording: NumpyRecording, folder: Path) -> Path:
    """Write as a SpikeInterface folder, which warns that a recording in memory has no file to name as its origin."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        recording.save(folder=folder, verbose=False, progress_bar=False, n_jobs=1, chunk_duration="10s")
    return folder


def sort_uncurated(source: Any, folder: Path, **settings: Any) -> SpikeData:
    """Sort one recording with the threshold sorter, and keep every unit."""
    (sd,) = sort_recording(
        [source],
        sorter="threshold",
        results_folders=[folder / "out"],
        intermediate_folders=[folder / "inter"],
        n_jobs=1,
        create_figures=False,
        **UNCURATED,
        **settings,
    )
    return sd


def assert_same_trains(found: list[np.ndarray], expected: list[np.ndarray], tolerance_ms: float = 0.1) -> None:
    """Every found train is the expected one, spike for spike."""
    assert len(found) == len(expected)
    for train, truth in zip(found, expected, strict=True):
        np.testing.assert_allclose(train, truth, atol=tolerance_ms)
