"""A small sorting with values that can be followed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from spikelab.spike_sorting.data import BinaryRecording, Epoch, Waveforms

if TYPE_CHECKING:
    from collections.abc import Callable

FS = 20_000.0
N_BEFORE, N_SAMPLES = 40, 81
# unit id -> main channel, polarity, peak voltage, spikes
UNITS = {
    3: (0, False, 50.0, [100, 5_000, 15_000, 25_000, 59_000]),
    7: (2, True, 90.0, [200, 21_000, 45_000]),
    8: (1, False, 80.0, [300, 400, 500, 41_000]),
    9: (3, True, 95.0, [41_500]),
}
TWO_FILES = (
    Epoch(0, 20_000, "a", "a.h5", 0, 1_000, 0),
    Epoch(20_000, 40_000, "a", "a.h5", 0, 50_000, 0),
    Epoch(40_000, 60_000, "b", "b.h5", 0, 0, 1),
)
ONE_FILE = (Epoch(0, 60_000, "a", "a.h5", 0, 1_000, 0),)

Sort = tuple[BinaryRecording, Waveforms]


@pytest.fixture
def make_sort() -> Callable[..., Sort]:
    return _make_sort


def _make_sort(
    epochs: tuple[Epoch, ...] = ONE_FILE,
    *,
    electrodes: bool = True,
    n_units: int = 4,
    source_files: tuple[str, ...] = (),
) -> Sort:
    recording = BinaryRecording(
        path=Path("traces.dat"),
        n_samples=60_000,
        n_channels=4,
        sampling_frequency=FS,
        gain_uv=0.1,
        source_gains_uv=np.full(4, 0.5),
        channel_ids=("10", "11", "12", "13"),
        locations=np.array([[0.0, 0.0], [17.5, 0.0], [0.0, 17.5], [17.5, 17.5]]),
        electrodes=np.array([110, 111, 112, 113]) if electrodes else None,
        epochs=epochs,
        source_file="a.h5",
        source_format="maxwell",
        source_files=source_files,
    )
    return recording, _waveforms(dict(list(UNITS.items())[:n_units]), epochs)


def _waveforms(units: dict[int, tuple[int, bool, float, list[int]]], epochs: tuple[Epoch, ...]) -> Waveforms:
    n = len(units)
    templates = np.zeros((n, N_SAMPLES, 4), dtype=np.float32)
    for row, (channel, positive, peak, _) in enumerate(units.values()):
        templates[row, N_BEFORE, channel] = peak if positive else -peak
        templates[row, N_BEFORE + 5, (channel + 1) % 4] = 10.0
    main = np.array([unit[0] for unit in units.values()], dtype=np.int64)
    amplitudes = np.abs(templates).max(axis=1)
    snr = amplitudes[np.arange(n), main] / 10
    return Waveforms(
        unit_ids=np.array(list(units), dtype=np.int64),
        spikes=tuple(np.array(unit[3], dtype=np.int64) for unit in units.values()),
        n_before=N_BEFORE,
        templates=templates,
        template_stds=np.ones_like(templates),
        main_channels=main,
        has_pos_peak=np.array([unit[1] for unit in units.values()], dtype=bool),
        amplitudes=amplitudes,
        peak_inds=np.abs(templates).argmax(axis=1),
        std_norms_all=np.full((n, 4), 0.25, dtype=np.float32),
        noise=np.full(4, 10, dtype=np.float32),
        snr=snr.astype(np.float32),
        std_norm=np.full(n, 0.25, dtype=np.float32),
        n_averaged=np.array([len(unit[3]) for unit in units.values()], dtype=np.int64),
        epoch_templates=_epoch_templates(templates, units, epochs) if len(epochs) > 1 else None,
        epoch_snr=_per_epoch(20, n, epochs) if len(epochs) > 1 else None,
        epoch_std_norm=_per_epoch(0.5, n, epochs) if len(epochs) > 1 else None,
    )


def _per_epoch(first: float, n_units: int, epochs: tuple[Epoch, ...]) -> np.ndarray:
    """`first` in the first epoch, one more in each that follows."""
    return np.tile(first + np.arange(len(epochs), dtype=np.float32)[:, None], n_units)


def _epoch_templates(
    templates: np.ndarray, units: dict[int, tuple[int, bool, float, list[int]]], epochs: tuple[Epoch, ...]
) -> np.ndarray:
    """1, 2, 3, ... times the template in the epochs; NaN where the unit is silent."""
    scaled = np.stack([templates * (index + 1) for index in range(len(epochs))])
    for row, unit in enumerate(units.values()):
        for index, epoch in enumerate(epochs):
            if not any(epoch.start_frame <= spike < epoch.end_frame for spike in unit[3]):
                scaled[index, row] = np.nan
    return scaled


@pytest.fixture
def two_files() -> tuple[Epoch, ...]:
    return TWO_FILES
