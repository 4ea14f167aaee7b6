"""Noise that many electrodes share, by the mains, a pump, a bad ground or movement, hides no neuron."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt
from spikeinterface.core import NumpyRecording
from tests.simulated import FS, Simulated, simulate_dense, spike_shape

from spikelab.spike_sorting.rt_sort import detect_sequences

GEOMETRIES = {"grid at 40 um": (6, 6, 40.0, 40.0), "column": (2, 16, 32.0, 20.0), "grid at 17.5 um": (8, 8, 17.5, 17.5)}
SHARES = (0.0, 0.3, 0.5, 0.7, 0.9)
WELL = 0.8  # accuracy


def scene(
    geometry: str, share: float, length_um: float = np.inf, n_units: int = 7, duration_s: float = 40.0, seed: int = 0
) -> Simulated:
    """Units of 80 to 150 uV in band-passed noise of 8 uV; the same units whatever the noise.

    The correlation of the shared part falls as exp(-distance / length).
    """
    columns, rows, dx, dy = GEOMETRIES[geometry]
    x, y = np.meshgrid(np.arange(columns) * dx, np.arange(rows) * dy)
    locations = np.column_stack([x.ravel(), y.ravel()])
    n_frames, n_channels = int(duration_s * FS), len(locations)
    apart = np.linalg.norm(locations[:, None] - locations[None], axis=2)
    mixing = np.linalg.cholesky(share * np.exp(-apart / length_um) + (1 - share + 1e-9) * np.eye(n_channels))
    noise = np.random.default_rng(seed + 1).normal(size=(n_frames, n_channels)).astype(np.float32)
    band = butter(3, [300, 6000], "bandpass", fs=FS, output="sos")
    traces = sosfiltfilt(band, noise @ mixing.T.astype(np.float32), axis=0).astype(np.float32)
    traces *= 8 / traces.std()
    frames = add_units(traces, locations, n_units, np.random.default_rng(seed))
    recording = NumpyRecording([traces], FS)
    recording.set_dummy_probe_from_locations(locations)
    recording.set_channel_gains(1.0)
    recording.set_channel_offsets(0.0)
    return Simulated(recording, frames)


def add_units(traces: np.ndarray, locations: np.ndarray, n_units: int, rng: np.random.Generator) -> list[np.ndarray]:
    n_frames, places = len(traces), []
    while len(places) < n_units:
        place = rng.uniform(locations.min(axis=0), locations.max(axis=0))
        if all(np.linalg.norm(place - other) > 30 for other in places):
            places.append(place)
    frames, shape = [], spike_shape()
    for place in places:
        width, size, reach, rate = rng.uniform(0.7, 1.4), rng.uniform(80, 150), rng.uniform(25, 40), rng.uniform(3, 10)
        index = np.arange(len(shape))
        wave = np.interp((index - len(shape) // 2) / width + len(shape) // 2, index, shape).astype(np.float32)
        distance = np.linalg.norm(locations - place, axis=1)
        sizes = size * np.exp(-(distance - distance.min()) / reach)
        delays = np.rint((distance - distance.min()) / 400 * FS / 1000).astype(int)  # 0.4 m/s
        train = np.sort(rng.integers(2000, n_frames - 2000, rng.poisson(rate * n_frames / FS)))
        train = train[np.diff(train, prepend=-1000) > 60]
        for channel in np.flatnonzero(sizes > 2):
            for frame in train:
                start = frame - int(np.argmin(shape)) + delays[channel]
                traces[start : start + len(wave), channel] += sizes[channel] * wave
        frames.append(train)
    return frames


def accuracies(made: Simulated, probe: str = "mea") -> list[float]:
    """Of each unit, with the train that fits it best."""
    sorting = detect_sequences(made.recording, probe=probe, num_processes=1).sort_offline(made.recording)
    trains = [sorting.get_unit_spike_train(unit) for unit in sorting.unit_ids]
    return [max((accuracy(train, true) for train in trains), default=0.0) for true in made.frames]


def accuracy(train: np.ndarray, true: np.ndarray) -> float:
    padded = np.concatenate([[-1000], train, [10**9]])
    after = np.searchsorted(padded, true)
    n_hits = int(np.sum(np.minimum(padded[after] - true, true - padded[after - 1]) <= 10))
    return n_hits / (len(train) + len(true) - n_hits)


@pytest.mark.parametrize("share", [0.5, 0.7])
def test_a_column_with_common_noise_is_sorted(share: float, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    found = accuracies(scene("column", share, n_units=5, duration_s=15.0), "neuropixels")
    assert min(found) >= WELL, found
    assert 'common_reference="median"' in caplog.text


def test_a_small_grid_with_nearly_nothing_but_common_noise_is_sorted() -> None:
    assert min(accuracies(simulate_dense(common_noise=0.9))) >= WELL


@pytest.mark.slow
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_as_many_units_as_with_independent_noise(geometry: str, capsys: pytest.CaptureFixture[str]) -> None:
    probe = "neuropixels" if geometry == "column" else "mea"
    n_well = {}
    for share, length_um in [*((share, np.inf) for share in SHARES), (0.9, 200.0)]:
        found = accuracies(scene(geometry, share, length_um), probe)
        n_well[share, length_um] = sum(value >= WELL for value in found)
        with capsys.disabled():
            print(
                f"\n{geometry:>15}, {share:.0%} common, falling over {length_um:g} um: {n_well[share, length_um]} of "
                f"{len(found)} with {WELL} or more; mean {np.mean(found):.3f}",
                end="",
            )
    assert n_well[0.0, np.inf] >= 6
    assert min(n_well.values()) >= n_well[0.0, np.inf] - 2
