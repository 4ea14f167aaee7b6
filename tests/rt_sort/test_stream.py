"""The stream on a recording of many units: the spikes of `sort_offline`, whatever the chunks; and unfiltered frames."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt
from spikeinterface.core import NumpyRecording, generate_ground_truth_recording

from spikelab.spike_sorting.rt_sort import PUBLISHED, RTSort, StreamBandPass, detect_sequences
from spikelab.spike_sorting.rt_sort.parameters import resolve

FS = 20_000.0
GAIN_UV = 0.195
SECONDS = 12.0  # 240 000 frames


@dataclass(frozen=True)
class Made:
    """64 channels, 20 units at 15 Hz."""

    counts: np.ndarray
    filtered: NumpyRecording
    rt_sort: RTSort


@pytest.fixture(scope="module")
def made() -> Made:
    raw, _ = generate_ground_truth_recording(
        durations=[SECONDS], sampling_frequency=FS, num_channels=64, num_units=20, seed=3,
        generate_probe_kwargs={"num_columns": 8, "xpitch": 17.5, "ypitch": 17.5, "contact_shapes": "circle",
                               "contact_shape_params": {"radius": 5}},
        generate_sorting_kwargs={"firing_rates": 15, "refractory_period_ms": 2.0},
        noise_kwargs={"noise_levels": 8.0, "strategy": "on_the_fly"},
    )  # fmt: skip
    counts = np.rint(raw.get_traces() / GAIN_UV).astype(np.int16)
    sos = butter(5, (300, 6000), "bandpass", fs=FS, output="sos")
    traces = sosfiltfilt(sos, counts * GAIN_UV, axis=0).astype(np.float32)
    filtered = NumpyRecording([traces], FS)
    filtered.set_dummy_probe_from_locations(raw.get_channel_locations())
    return Made(counts, filtered, detect_sequences(filtered, num_processes=1))


def streamed(rt_sort: RTSort, frames: np.ndarray, size: int, **how: StreamBandPass) -> list[list[int]]:
    """The frames of every unit's spikes, in pieces of `size`; the caller's buffer is used again for each."""
    stream, buffer = rt_sort.stream(**how), np.empty((size, frames.shape[1]), dtype=frames.dtype)
    parts = []
    for start in range(0, len(frames), size):
        piece = buffer[: min(size, len(frames) - start)]
        piece[:] = frames[start : start + size]
        parts.append(stream.push(piece))
    spikes = np.concatenate([*parts, stream.finish()])
    return [np.sort(spikes["frame"][spikes["template"] == unit]).tolist() for unit in range(rt_sort.n_sequences)]


def offline(rt_sort: RTSort, recording: NumpyRecording, **how: int) -> list[list[int]]:
    sorting = rt_sort.sort_offline(recording, **how)
    return [sorting.get_unit_spike_train(unit).tolist() for unit in sorting.unit_ids]


@pytest.mark.parametrize("parameters", ["ours", "published"])
@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.slow), 7, 100, 10_000])
def test_the_stream_is_the_offline_sort_spike_for_spike(made: Made, size: int, parameters: str) -> None:
    rt_sort = made.rt_sort
    if parameters == "published":  # with tolerances, for which every spike is looked at again
        rt_sort = replace(rt_sort, parameters=resolve("mea", PUBLISHED["mea"]))
    expected = offline(rt_sort, made.filtered)
    assert rt_sort.n_sequences >= 10
    assert sum(map(len, expected)) > 1000
    assert streamed(rt_sort, made.filtered.get_traces(), size) == expected


@pytest.mark.parametrize("n_jobs", [2, 4])
def test_threads_and_chunks_change_nothing_offline(made: Made, n_jobs: int) -> None:
    assert offline(made.rt_sort, made.filtered, n_jobs=n_jobs, chunk_values=5000) == offline(
        made.rt_sort, made.filtered
    )


def test_unfiltered_frames_give_the_same_spikes(made: Made) -> None:
    band_pass = StreamBandPass(gain_to_uv=GAIN_UV)
    found = streamed(made.rt_sort, made.counts, 100, band_pass=band_pass)
    expected = offline(made.rt_sort, made.filtered)
    together = sum(
        np.sum(np.abs(np.subtract.outer(train, other)).min(axis=1, initial=FS) <= 1)
        for train, other in zip(found, expected, strict=True)
    )
    assert together > 0.99 * max(sum(map(len, found)), sum(map(len, expected)))
    # 1000 counts of offset and other chunks are nothing to it.
    assert streamed(made.rt_sort, made.counts[:20_000] + 1000, 333, band_pass=band_pass) == streamed(
        made.rt_sort, made.counts[:20_000], 1, band_pass=band_pass
    )


@pytest.mark.parametrize("band_pass", [None, StreamBandPass(gain_to_uv=GAIN_UV, look_ahead_ms=3.0)])
def test_every_spike_is_there_within_the_latency(made: Made, band_pass: StreamBandPass | None) -> None:
    frames = made.filtered.get_traces() if band_pass is None else made.counts
    stream = made.rt_sort.stream(band_pass=band_pass)
    most = round(stream.latency_ms * FS / 1000)
    assert stream.latency_ms == pytest.approx(6.5 if band_pass is None else 9.5, abs=0.1)
    late = []
    for start in range(0, 20_000, 5):
        spikes = stream.push(frames[start : start + 5])
        late += (stream.n_frames - spikes["frame"]).tolist()
    assert len(late) > 50
    assert max(late) <= most + 5


def test_after_a_reset_time_starts_anew(made: Made) -> None:
    for frames, band_pass in ((made.filtered.get_traces(), None), (made.counts, StreamBandPass(gain_to_uv=GAIN_UV))):
        stream = made.rt_sort.stream(band_pass=band_pass)
        first = stream.push(frames[:20_000])
        stream.reset()
        assert stream.n_frames == 0
        np.testing.assert_array_equal(stream.push(frames[:20_000]), first)
        stream.finish()
        np.testing.assert_array_equal(stream.push(frames[:20_000]), first)


def test_frames_that_cannot_be_sorted_are_refused(made: Made) -> None:
    stream = made.rt_sort.stream(band_pass=StreamBandPass())
    with pytest.raises(ValueError, match=r"shape \(n, 64\), got \(10, 3\)"):
        stream.push(np.zeros((10, 3), dtype=np.int16))
    with pytest.raises(ValueError, match="after a gap in the data call reset"):
        stream.push(np.full((10, 64), np.nan))
    with pytest.raises(ValueError, match="one per channel"):
        made.rt_sort.stream(band_pass=StreamBandPass(gain_to_uv=[0.1, 0.2, 0.3]))
