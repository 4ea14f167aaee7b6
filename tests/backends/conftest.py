"""A small recording with known spikes, as the binary that backends sort."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from spikelab.spike_sorting.config import SortingPipelineConfig
from spikelab.spike_sorting.data import BinaryRecording, Epoch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def binary_of(counts: np.ndarray, path: Path, locations: np.ndarray, fs: float = 20_000.0) -> BinaryRecording:
    """Counts (frames, channels), 0.1 uV each, as a binary recording."""
    counts.astype(np.int16).tofile(path)
    return BinaryRecording(
        path=path,
        n_samples=len(counts),
        n_channels=counts.shape[1],
        sampling_frequency=fs,
        gain_uv=0.1,
        channel_ids=tuple(f"ch{i}" for i in range(counts.shape[1])),
        locations=np.asarray(locations, dtype=np.float64),
        electrodes=None,
        epochs=(Epoch(0, len(counts)),),
    )


def grid(columns: int, rows: int, pitch: float) -> np.ndarray:
    """Contact positions of an array."""
    return np.array([(x * pitch, y * pitch) for y in range(rows) for x in range(columns)], dtype=np.float64)


def config_for(sorter: str, params: dict | None = None, **flat: object) -> SortingPipelineConfig:
    """A configuration with two workers."""
    settings = {"n_jobs": 2, "save_waveform_files": False, **flat}
    return SortingPipelineConfig().override(sorter_name=sorter, sorter_params=params, **settings)


@pytest.fixture(scope="session")
def small_recording(tmp_path_factory: pytest.TempPathFactory) -> BinaryRecording:
    """12 s, 16 channels of 8 uV noise; three units of 100-200 uV at 5 Hz."""
    rng = np.random.default_rng(1)
    fs, n, locations = 20_000.0, 240_000, grid(4, 4, 40.0)
    traces = rng.normal(0, 8.0, (n, 16))
    time_ms = np.arange(-20, 40) / fs * 1000
    for channel, width in ((0, 0.15), (6, 0.25), (15, 0.2)):
        shape = -np.exp(-((time_ms / width) ** 2)) + 0.4 * np.exp(-(((time_ms - 0.5) / (2 * width)) ** 2))
        fall = np.exp(-np.linalg.norm(locations - locations[channel], axis=1) / 40)
        for start in np.cumsum(rng.integers(2_000, 6_000, 55)):
            if start + 60 < n:
                traces[start : start + 60] += rng.normal(160, 8) * shape[:, None] * fall
    path = tmp_path_factory.mktemp("binary") / "traces.dat"
    return binary_of(np.round(traces / 0.1), path, locations, fs)


@pytest.fixture(scope="session")
def make_binary() -> Callable[..., BinaryRecording]:
    """See `binary_of`."""
    return binary_of


@pytest.fixture(scope="session")
def make_config() -> Callable[..., SortingPipelineConfig]:
    """See `config_for`."""
    return config_for
