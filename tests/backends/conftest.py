"""A small recording with known spikes, as the binary that backends sort."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from spikelab.spike_sorting.config import SortingPipelineConfig
from spikelab.spike_sorting.data import BinaryRecording, Epoch
from spikelab.testing.backend_contract import synthetic_recording

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
    """See `synthetic_recording`."""
    return synthetic_recording(tmp_path_factory.mktemp("binary") / "traces.dat")


@pytest.fixture(scope="session")
def make_binary() -> Callable[..., BinaryRecording]:
    """See `binary_of`."""
    return binary_of


@pytest.fixture(scope="session")
def make_config() -> Callable[..., SortingPipelineConfig]:
    """See `config_for`."""
    return config_for
