"""Recordings of known content for the waveform tests."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from spikelab.spike_sorting.config import WaveformConfig
from spikelab.spike_sorting.data import BinaryRecording, Epoch, SpikeTrains

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FS = 20_000.0


@dataclass
class ArraySource:
    """Microvolts in memory; any TraceSource that is not one of our binaries."""

    traces: np.ndarray
    epochs: tuple[Epoch, ...]
    sampling_frequency: float = FS

    @property
    def n_samples(self) -> int:
        return len(self.traces)

    @property
    def n_channels(self) -> int:
        return self.traces.shape[1]

    def read_uv(self, start: int, end: int) -> np.ndarray:
        assert 0 <= start < end <= self.n_samples
        return self.traces[start:end].astype(np.float32)


def tiled(n_samples: int, breaks: tuple[int, ...] = ()) -> tuple[Epoch, ...]:
    edges = [0, *breaks, n_samples]
    return tuple(Epoch(a, b, name=f"epoch {a}") for a, b in pairwise(edges))


def culture(seed: int = 0, n_samples: int = 60_000, n_units: int = 5) -> tuple[np.ndarray, SpikeTrains]:
    """Counts (samples, 6) with `n_units` neurons, every third of them positive, and spikes reported some frames off."""
    rng = np.random.default_rng(seed)
    traces = rng.normal(0, 50, (n_samples, 6))
    shape = np.exp(-0.5 * (np.arange(-15, 16) / 3) ** 2)[:, None]
    trains: dict[int, list[int]] = {}
    for unit in range(n_units):
        footprint = np.roll([-1500.0, -500, -150, 0, 0, 0], unit % 6) * (-1 if unit % 3 == 2 else 1)
        peaks = np.sort(rng.choice(np.arange(60, n_samples - 60, 45), 80, replace=False))
        for peak in peaks:
            traces[peak - 15 : peak + 16] += shape * footprint * rng.normal(1, 0.1)
        trains[unit * 7 + 3] = (peaks + rng.integers(-4, 5, len(peaks))).tolist()
    return np.round(traces).clip(-32768, 32767).astype(np.int16), SpikeTrains.from_dict(trains)


@pytest.fixture
def config() -> WaveformConfig:
    return WaveformConfig(save_waveform_files=False)


@pytest.fixture
def make_binary(tmp_path: Path) -> Callable[..., BinaryRecording]:
    """Write counts as one of our binaries (0.1 uV per count)."""

    def make(counts: np.ndarray, breaks: tuple[int, ...] = (), **changes: Any) -> BinaryRecording:
        path = tmp_path / f"recording_{len(list(tmp_path.iterdir()))}.dat"
        counts.astype(np.int16).tofile(path)
        values = {
            "path": path,
            "n_samples": counts.shape[0],
            "n_channels": counts.shape[1],
            "sampling_frequency": FS,
            "gain_uv": 0.1,
            "channel_ids": tuple(f"ch{i}" for i in range(counts.shape[1])),
            "locations": np.column_stack([np.arange(counts.shape[1]) * 17.5, np.zeros(counts.shape[1])]),
            "electrodes": None,
            "epochs": tiled(counts.shape[0], breaks),
        }
        return BinaryRecording(**(values | changes))

    return make


@pytest.fixture
def make_culture() -> Callable[..., tuple[np.ndarray, SpikeTrains]]:
    return culture


@pytest.fixture
def make_array() -> Callable[..., ArraySource]:
    """Wrap microvolts in memory."""

    def make(traces: np.ndarray, breaks: tuple[int, ...] = ()) -> ArraySource:
        return ArraySource(traces, tiled(len(traces), breaks))

    return make
