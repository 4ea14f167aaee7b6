"""The noise: how large, how shared, and how it goes on in time."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt
from spikeinterface.core import NumpyRecording

from spikelab.spike_sorting.rt_sort.traces import Traces
from spikelab.spike_sorting.rt_sort.whitening import measure_noise


def recorded(rate_hz: float, with_spikes: bool = False) -> Traces:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(int(10 * rate_hz), 4))
    traces = sosfiltfilt(butter(3, [300, 6000], "bandpass", fs=rate_hz, output="sos"), noise, axis=0)
    traces *= 8 / traces.std(axis=0)
    if with_spikes:
        for frame in rng.choice(len(traces) - 20, 400):
            traces[frame : frame + 12] -= 300 * np.hanning(12)[:, None]
    recording = NumpyRecording([traces.astype(np.float32)], rate_hz)
    recording.set_dummy_probe_from_locations(np.column_stack([np.zeros(4), 200.0 * np.arange(4)]))
    return Traces.of(recording)


@pytest.mark.parametrize("rate_hz", [12_500.0, 20_000.0, 30_000.0])
@pytest.mark.parametrize("with_spikes", [False, True])
def test_the_gain_is_that_of_a_filter_in_noise(rate_hz: float, with_spikes: bool) -> None:
    clean = recorded(rate_hz)
    traces = clean.read(0, clean.n_frames) / 8
    noise = measure_noise(recorded(rate_hz, with_spikes))
    width = 2 * int(0.0004 * rate_hz) + 1
    shape = np.stack([np.hanning(width), -0.5 * np.hanning(width), 0 * np.hanning(width), np.zeros(width)])
    output = sum(np.convolve(traces[:, c], shape[c, ::-1], "valid") for c in range(4))
    assert noise.gain(shape.astype(np.float32)) == pytest.approx(output.var() / np.sum(shape**2), rel=0.1)


def test_noise_that_is_white_in_time_has_a_gain_of_one() -> None:
    rng = np.random.default_rng(1)
    recording = NumpyRecording([rng.normal(0, 8, (100_000, 4)).astype(np.float32)], 20_000.0)
    recording.set_dummy_probe_from_locations(np.column_stack([np.zeros(4), 20.0 * np.arange(4)]))
    noise = measure_noise(Traces.of(recording))
    assert noise.in_time[0] == 1
    assert noise.gain(rng.normal(size=(4, 30)).astype(np.float32)) == pytest.approx(1, abs=0.05)
