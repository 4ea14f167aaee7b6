"""Significance: units of noise, however they were picked, against small neurons with few spikes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from spikeinterface.core import NumpyRecording

from spikelab.spike_sorting.config import CURATE_BY_EVIDENCE, WaveformConfig
from spikelab.spike_sorting.data import SpikeInterfaceTraces, SpikeTrains, Waveforms
from spikelab.spike_sorting.waveforms import compute_waveforms
from spikelab.spike_sorting.waveforms.significance import excess

if TYPE_CHECKING:
    from numpy.typing import NDArray

FS = 20_000.0
SIGMA = 8.0
NOISE_REACHES = 6.0


def band(traces: NDArray[np.float64]) -> NDArray[np.float32]:
    """Filter as recordings are, and give the noise a known deviation."""
    from scipy.signal import butter, sosfiltfilt

    sos = butter(3, (300, 6000), "bandpass", fs=FS, output="sos")
    filtered = sosfiltfilt(sos, traces, axis=0)
    return (filtered / filtered.std() * SIGMA).astype(np.float32)


def noise_of(common: float = 0.0, seed: int = 0, seconds: float = 20.0) -> NDArray[np.float32]:
    """Noise on 6 channels, of which they share a part of the power."""
    rng = np.random.default_rng(seed)
    own, shared = rng.normal(size=(int(seconds * FS), 6)), rng.normal(size=(int(seconds * FS), 1))
    return band(math.sqrt(1 - common) * own + math.sqrt(common) * shared)


def measured(traces: NDArray[np.float32], trains: dict[int, NDArray[np.int64]], n_jobs: int = 1) -> Waveforms:
    source = SpikeInterfaceTraces(NumpyRecording([traces], FS))
    return compute_waveforms(
        source, SpikeTrains.from_dict(trains), WaveformConfig(), seed=1, n_jobs=n_jobs, total_memory="1G"
    )


def significance_of(traces: NDArray[np.float32], train: NDArray[np.int64]) -> float:
    found = measured(traces, {3: train}).significance
    assert found is not None
    return float(found[0])


def troughs(trace: NDArray[np.float32], sigmas: float) -> NDArray[np.int64]:
    inner = trace[1:-1]
    lowest = (inner < trace[:-2]) & (inner <= trace[2:]) & (inner < -sigmas * SIGMA)
    return np.flatnonzero(lowest) + 1


@pytest.mark.parametrize("common", [0.0, 0.7], ids=["independent", "shared"])
@pytest.mark.parametrize("sigmas", [3.0, 3.8])
def test_what_crosses_a_threshold_in_noise_is_noise(common: float, sigmas: float) -> None:
    traces = noise_of(common)
    crossings = troughs(traces[:, 2], sigmas)
    assert len(crossings) > 20
    assert significance_of(traces, crossings) < NOISE_REACHES


@pytest.mark.parametrize("n_picked", [5, 20])
def test_noise_that_was_picked_for_being_alike_is_noise(n_picked: int) -> None:
    """The best of some thousand pieces of noise for one of them, on all channels and 1 ms."""
    traces = noise_of()
    found = troughs(traces[:, 2], 2.5)
    found = found[(found > 40) & (found < len(traces) - 40)]
    windows = traces[found[:, None] + np.arange(-10, 11)].reshape(len(found), -1)
    windows /= np.linalg.norm(windows, axis=1, keepdims=True)
    alike = windows @ windows[0]
    assert significance_of(traces, np.sort(found[np.argsort(-alike)[:n_picked]])) < NOISE_REACHES


@pytest.mark.parametrize(("snr", "n_spikes"), [(8.0, 4), (5.0, 20), (4.0, 80)])
@pytest.mark.parametrize("common", [0.0, 0.5], ids=["independent", "shared"])
def test_a_small_neuron_with_few_spikes_is_none(snr: float, n_spikes: int, common: float) -> None:
    traces = noise_of(common)
    shape = -np.exp(-0.5 * (np.arange(-10, 11) / 2.5) ** 2) * SIGMA * snr
    train = np.sort(np.random.default_rng(1).choice(np.arange(100, len(traces) - 100, 60), n_spikes, replace=False))
    for frame in train:
        traces[frame - 10 : frame + 11, :3] += (shape[:, None] * [0.5, 1.0, 0.7]).astype(np.float32)
    assert significance_of(traces, train) > CURATE_BY_EVIDENCE["significance_min"]


def test_it_depends_on_the_unit_alone() -> None:
    traces = noise_of()
    trains = {k: troughs(traces[:, k % 6], 3.5 + 0.1 * k) for k in range(9)}
    alone, shared = measured(traces, trains), measured(traces, trains, n_jobs=3)
    np.testing.assert_array_equal(alone.significance, shared.significance)
    few = measured(traces, {k: trains[k] for k in (2, 7)})
    np.testing.assert_array_equal(few.significance, np.asarray(alone.significance)[[2, 7]])


def test_what_cannot_be_measured_is_0() -> None:
    traces = noise_of(seconds=1.0)
    traces[:, 5] = 0
    found = measured(traces, {0: np.array([500]), 1: np.array([], dtype=np.int64), 2: np.array([3, 19_998])})
    np.testing.assert_array_equal(found.significance, [0, 0, 0])
    silent = measured(np.zeros_like(traces), {0: np.array([500, 700])})
    np.testing.assert_array_equal(silent.significance, [0])


def test_the_excess_is_that_of_poisson_counts() -> None:
    assert excess(10, 0.0, 2.0) == pytest.approx(math.sqrt(2 * (10 * math.log(5) - 8)))
    assert excess(10, 2.0, 2.0) > excess(10, 1.0, 2.0) > excess(9, 1.0, 2.0)
    assert excess(2, 0.0, 2.0) == excess(1, 0.0, 2.0) == excess(0, 9.0, 2.0) == 0
    assert math.isfinite(excess(100, 80.0, 1e6))  # less than any number that a float can hold is expected


def test_it_is_kept_with_the_waveforms(tmp_path: object) -> None:
    from pathlib import Path

    traces = noise_of(seconds=2.0)
    found = measured(traces, {0: troughs(traces[:, 0], 3.0)})
    folder = Path(str(tmp_path))
    found.save(folder)
    np.testing.assert_array_equal(Waveforms.load(folder).significance, found.significance)
