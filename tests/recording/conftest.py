"""Recordings to open: small, with known traces."""

from __future__ import annotations

import gc
import warnings
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from spikelab.spike_sorting.config import RecordingConfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FS = 20_000.0
MAPPING = [("channel", "<i4"), ("electrode", "<i4"), ("x", "<f8"), ("y", "<f8")]


def legacy_mapping(channels: np.ndarray) -> np.ndarray:
    mapping = np.zeros(len(channels), dtype=MAPPING)
    mapping["channel"] = channels
    mapping["electrode"] = 1000 + np.arange(len(channels))
    mapping["x"], mapping["y"] = 17.5 * np.arange(len(channels)), 35.0 * np.arange(len(channels))
    return mapping


@pytest.fixture
def write_legacy() -> Callable[..., Path]:
    """Write a MaxOne file of version 20160704: ``sig``, ``mapping`` and ``settings`` at the top."""

    def write(path: Path, sig: np.ndarray, channels: Any, **settings: float) -> Path:
        with h5py.File(path, "w") as file:
            file["version"] = np.array([b"20160704"])
            file["mapping"] = legacy_mapping(np.asarray(channels))
            file["sig"] = sig
            for name, value in (settings or {"gain": 512.0, "lsb": 6.29425e-06}).items():
                file[f"settings/{name}"] = np.array([value])
        return path

    return write


@pytest.fixture
def noise_counts() -> Callable[..., np.ndarray]:
    """uint16 counts around 512, shape (channels, frames); each channel has its own noise level."""

    def make(n_channels: int = 4, n_frames: int = 60_000, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        levels = np.linspace(2, 4, n_channels)[:, None]
        return np.rint(512 + levels * rng.standard_normal((n_channels, n_frames))).astype(np.uint16)

    return make


@pytest.fixture
def in_memory() -> Callable[..., Any]:
    """A SpikeInterface recording of given traces, (frames, channels) or a list of those, with a probe."""

    def make(traces: Any, fs: float = FS, gain: float | None = None, probe: bool = True, ids: Any = None) -> Any:
        from spikeinterface import NumpyRecording

        segments = traces if isinstance(traces, list) else [traces]
        recording = NumpyRecording(segments, fs, channel_ids=ids)
        if gain is not None:
            recording.set_channel_gains(gain)
            recording.set_channel_offsets(0.0)
        if probe:
            n = segments[0].shape[1]
            recording.set_dummy_probe_from_locations(np.column_stack([np.zeros(n), 40.0 * np.arange(n)]))
        return recording

    return make


@pytest.fixture
def store() -> Callable[..., Path]:
    """Save a recording as a SpikeInterface folder."""

    def save(recording: Any, folder: Path, **options: Any) -> Path:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The extractor is not serializable", category=UserWarning)
            # SpikeInterface leaves the files it wrote open until the garbage collector comes.
            warnings.simplefilter("ignore", ResourceWarning)
            recording.save(folder=folder, progress_bar=False, **options)
            gc.collect()
        return folder

    return save


@pytest.fixture
def gaussian() -> Callable[..., np.ndarray]:
    """float32 microvolts, shape (frames, channels), of 10 uV noise."""

    def make(n_frames: int = 60_000, n_channels: int = 4, seed: int = 0) -> np.ndarray:
        return (10 * np.random.default_rng(seed).standard_normal((n_frames, n_channels))).astype(np.float32)

    return make


@pytest.fixture
def config() -> RecordingConfig:
    return RecordingConfig()
