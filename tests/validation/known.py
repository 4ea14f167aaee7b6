"""A small recording with a known truth, for validation: footprints, spikes, and the units' waveforms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from spikelab.spike_sorting.config import WaveformConfig
from spikelab.spike_sorting.data import BinaryRecording, Epoch, SpikeTrains, Waveforms
from spikelab.spike_sorting.validation.donors import Donor
from spikelab.spike_sorting.waveforms import compute_waveforms

FS = 20_000.0
GAIN = 0.25
NOISE = 4.0


def grid(n: int = 5, pitch: float = 20.0) -> np.ndarray:
    """Locations of n x n electrodes; channel ``n * row + column``."""
    y, x = np.mgrid[:n, :n]
    return np.column_stack([x.ravel(), y.ravel()]) * pitch


def shape_of(width: float = 1.0, n_before: int = 20, n_samples: int = 61) -> np.ndarray:
    """A spike with a trough of depth 1 at the sample `n_before`."""
    t = (np.arange(n_samples) - n_before) / 4.0 / width
    return -np.exp(-(t**2)) + 0.3 * np.exp(-(((t - 3) / 2) ** 2))


def footprint(locations: np.ndarray, main: int, uv: float, width: float = 1.0, reach: float = 20.0) -> np.ndarray:
    """A spike that falls off with the distance, shape (samples, channels); nothing beyond three times the `reach`."""
    distance = np.linalg.norm(locations - locations[main], axis=1)
    return np.outer(shape_of(width), uv * np.exp(-distance / reach) * (distance < 3 * reach))


def trains_of(n_units: int, rate: float, seconds: float, seed: int = 1) -> list[np.ndarray]:
    """Random spikes, at least 3 ms apart from each other in a unit."""
    rng = np.random.default_rng(seed)
    slots, n = np.arange(200, int(seconds * FS) - 300, 140), round(rate * seconds)
    return [np.sort(rng.choice(slots, n, replace=False)) + rng.integers(0, 80, n) for _ in range(n_units)]


def write(
    path: Path, locations: np.ndarray, shapes: list[Any], trains: list[np.ndarray], seconds: float, **more: Any
) -> BinaryRecording:
    """Write noise with spikes; a shape is an array, or a function of the number of the spike."""
    rng = np.random.default_rng(7)
    traces = rng.normal(0, NOISE, (int(seconds * FS), len(locations)))
    for shape, frames in zip(shapes, trains, strict=True):
        for number, frame in enumerate(frames):
            traces[frame - 20 : frame + 41] += shape(number) if callable(shape) else shape
    np.rint(traces / GAIN).astype(np.int16).tofile(path)
    return described(path, locations, len(traces), **more)


def described(path: Path, locations: np.ndarray, n_samples: int, **more: Any) -> BinaryRecording:
    """Describe a file of counts."""
    values = {
        "sampling_frequency": FS, "gain_uv": GAIN, "channel_ids": tuple(f"ch{k}" for k in range(len(locations))),
        "locations": locations, "electrodes": None, "epochs": (Epoch(0, n_samples),), **more,
    }  # fmt: skip
    return BinaryRecording(path, n_samples, len(locations), **values)


def measured(binary: BinaryRecording, trains: list[np.ndarray]) -> Waveforms:
    """Measure the waveforms of the true units."""
    units = SpikeTrains.from_dict(dict(enumerate(trains)))
    return compute_waveforms(binary, units, WaveformConfig(), seed=0, n_jobs=1, total_memory="1G")


def donor_of(locations: np.ndarray, main: int, frames: np.ndarray | None = None, **more: Any) -> Donor:
    """A donor as it would be measured without noise."""
    shape = footprint(locations, main, -100.0)
    channels = np.flatnonzero(np.abs(shape).max(axis=0) > 4)
    frames = np.arange(1000, 100_000, 1000) if frames is None else frames
    values = {
        "row": 0, "main": main, "channels": channels, "shapes": shape[None][:, :, channels].astype(np.float32),
        "middles": np.array([float(frames.mean()) if len(frames) else 0.0]), "frames": frames,
        "sizes": np.ones(len(frames), dtype=np.float32), "n_before": 20, **more,
    }  # fmt: skip
    return Donor(**values)
