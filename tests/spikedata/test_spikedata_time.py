"""Cutting in time, epochs and bins."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelab import SpikeData

# Multiples of 1/64 ms are exact, so that a naive computation can be compared to the letter.
ticks = st.integers(0, 64 * 200)
trains = st.lists(st.lists(ticks, max_size=60), max_size=4)


def in_ms(values):
    return [[tick / 64 for tick in train] for train in values]


@settings(deadline=None)
@given(trains, ticks, ticks, st.one_of(st.none(), st.integers(-500, 500)))
def test_subtime_is_half_open(values, a, b, shift_to):
    train, (start, end) = in_ms(values), sorted((a / 64, b / 64))
    sd = SpikeData(train, length=200)
    if start == end:
        with pytest.raises(ValueError, match="Invalid time range"):
            sd.subtime(start, end, shift_to)
        return
    piece = sd.subtime(start, end, shift_to)
    shift = -start if shift_to is None else -shift_to
    for kept, times in zip(piece.train, train, strict=True):
        expected = [t + shift for t in sorted(times) if start <= t and (t < end or end == 200)]
        np.testing.assert_array_equal(kept, expected)
    assert (piece.start_time, piece.length) == (start + shift, end - start)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e7), min_size=1, max_size=30), st.floats(0, 1e6), st.floats(-1e6, 1e6))
def test_subtime_never_rounds_a_spike_out_of_the_data(times, start, shift_to):
    sd = SpikeData([times], length=1e7)
    middle = sd.subtime(start, 5e6 + start / 3, shift_to)
    assert len(middle.train[0]) == sum(start <= t < 5e6 + start / 3 for t in times)


def test_subtime_from_a_negative_start():
    start, end = -7302.132862361297, 0.948287005965597  # start + (end - start) is less than end by 6e-14
    before_end = np.nextafter(end, 0)
    sd = SpikeData([[before_end]], length=8000, start_time=start)
    np.testing.assert_array_equal(sd.subtime(start, end, shift_to=0).train[0], [before_end])
    assert len(sd.subtime(start, end).train[0]) == 1


def test_subtime_of_everything_keeps_everything():
    sd = SpikeData(
        [[0, 5, 10]], length=10, metadata={"rec_chunks_ms": [[0.0, 4.0], [4.0, 10.0]], "rec_chunk_sources": ["a", "b"]}
    )
    assert sd.subtime(0, 10) == sd


def test_subtime_outside_of_the_data():
    sd = SpikeData([[0, 5, 10]], length=10, start_time=0)
    with pytest.warns(UserWarning, match=r"end \(12 ms\) is past the data; clipped to 10"):
        assert sd.subtime(5, 12).length == 5
    for start, end in [(5, 5), (6, 5), (10, 11), (np.nan, 5), (1, np.nan)]:
        with pytest.raises(ValueError, match=r"Invalid time range .* within \[0.0, 10.0\] ms"):
            sd.subtime(start, end)
    with pytest.raises(ValueError, match=r"Invalid time range: start \(-1.0 ms\) is below recording start \(0.0 ms\)"):
        sd.subtime(-1, 5)


def test_subtime_cuts_what_goes_with_the_spikes():
    frames = np.array([5, 25, 60, 99])
    raw = np.arange(200.0).reshape(2, 100)
    sd = SpikeData(
        [frames / 10],
        length=10,
        neuron_attributes=[
            {
                "spike_train_samples": frames,
                "epoch_templates": np.arange(12.0).reshape(3, 2, 2),
                "epoch_snr": np.array([1.0, 2.0, 3.0]),
                "epoch_std_norm": [0.1, 0.2, 0.3],
            }
        ],
        metadata={
            "fs_Hz": 10_000.0,
            "n_samples": 100,
            "rec_chunks_ms": [(0.0, 2.0), (2.0, 4.0), (4.0, 10.0)],
            "rec_chunks_frames": [(0, 20), (20, 40), (40, 100)],
            "rec_chunk_names": ["a", "b", "c"],
            "rec_chunk_sources": [{"source_start_frame": 0}, {"source_start_frame": 20}, {"source_start_frame": 0}],
        },
        raw_data=raw,
        raw_time=10.0,
    )
    piece = sd.subtime(2.5, 8, shift_to=1.5)
    np.testing.assert_allclose(piece.train[0], [1, 4.5])
    values = piece.neuron_attributes[0]
    np.testing.assert_array_equal(values["spike_train_samples"], [10, 45])
    np.testing.assert_array_equal(values["epoch_templates"], np.arange(4.0, 12).reshape(2, 2, 2))
    np.testing.assert_array_equal(values["epoch_snr"], [2, 3])
    np.testing.assert_array_equal(values["epoch_std_norm"], [0.2, 0.3])
    np.testing.assert_array_equal(piece.raw_data, raw[:, 25:80])
    np.testing.assert_allclose(piece.raw_time, 1 + np.arange(55) / 10)
    assert piece.metadata == {
        "fs_Hz": 10_000.0,
        "n_samples": 55,
        "rec_chunks_ms": [[1.0, 2.5], [2.5, 6.5]],
        "rec_chunks_frames": [[10, 25], [25, 65]],
        "rec_chunk_names": ["b", "c"],
    }
    unshifted = sd.subtime(2.5, 8, shift_to=0)
    np.testing.assert_array_equal(unshifted.neuron_attributes[0]["spike_train_samples"], [25, 60])
    assert unshifted.metadata["rec_chunks_frames"] == [[25, 40], [40, 80]]


def test_subtime_drops_frames_that_cannot_be_known():
    sd = SpikeData([[1, 2], [3]], length=10, neuron_attributes=[{"spike_train_samples": [10, 20]}] * 2)
    shifted = sd.subtime(0.5, 9)  # no sampling rate
    assert shifted.neuron_attributes == [{}, {}]
    first, second = sd.subtime(0.5, 9, shift_to=0).neuron_attributes
    np.testing.assert_array_equal(first["spike_train_samples"], [10, 20])
    assert second == {}  # two frames for one spike


def with_epochs(fs_hz=20_000.0, bounds=(0, 1000, 1700, 4000), frames=((0, 999, 1000, 1001, 1699, 3999), ())):
    chunks = [(a / fs_hz * 1000, b / fs_hz * 1000) for a, b in itertools.pairwise(bounds)]
    template = np.arange(20.0, dtype=np.float32).reshape(5, 4)
    epoch_templates = np.stack([template + 100 * k for k in range(len(chunks))])
    epoch_templates[1:2] = np.nan
    attributes = [
        {
            "unit_id": 10 + i,
            "template": template[1:4],
            "template_windowed": template[1:4],
            "template_full": template,
            "epoch_templates": epoch_templates,
            "spike_train_samples": np.array(unit, dtype=np.int64),
            "snr": 6.0,
        }
        for i, unit in enumerate(frames)
    ]
    metadata = {
        "fs_Hz": fs_hz,
        "source_file": "all",
        "n_samples": bounds[-1],
        "rec_chunks_ms": chunks,
        "rec_chunks_frames": list(itertools.pairwise(bounds)),
        "rec_chunk_names": [f"epoch{k}" for k in range(len(chunks))],
        "rec_chunk_source_files": [f"file{k}" for k in range(len(chunks))],
        "rec_chunk_sources": [{"source_index": k} for k in range(len(chunks))],
    }
    train = [np.array(unit, dtype=np.float64) / fs_hz * 1000 for unit in frames]
    return SpikeData(train, length=bounds[-1] / fs_hz * 1000, neuron_attributes=attributes, metadata=metadata)


def test_split_epochs():
    sd = with_epochs()
    pieces = sd.split_epochs()
    assert [piece.N for piece in pieces] == [2, 2, 2]
    assert [piece.start_time for piece in pieces] == [0, 0, 0]
    np.testing.assert_allclose([piece.length for piece in pieces], [50, 35, 115])
    for k, expected in enumerate([[0, 999], [0, 1, 699], [2299]]):
        values = pieces[k].neuron_attributes[0]
        np.testing.assert_array_equal(values["spike_train_samples"], expected)
        np.testing.assert_allclose(pieces[k].train[0], np.array(expected) / 20)
        own = sd.neuron_attributes[0]["epoch_templates"][k]
        np.testing.assert_array_equal(values["template_full"], own)
        np.testing.assert_array_equal(values["template"], own[1:4])
        np.testing.assert_array_equal(values["template_windowed"], own[1:4])
        assert "epoch_templates" not in values
        assert values["snr"] == 6.0
        assert pieces[k].metadata == {
            "fs_Hz": 20_000.0,
            "n_samples": [1000, 700, 2300][k],
            "epoch_index": k,
            "epoch_name": f"epoch{k}",
            "source_file": f"file{k}",
            "rec_chunk_sources": [{"source_index": k}],
        }
    assert np.isnan(pieces[1].neuron_attributes[0]["template"]).all()  # no averaged spike in that epoch
    assert "epoch_templates" in sd.neuron_attributes[0]


@settings(deadline=None)
@given(st.floats(1000, 40_000), st.sets(st.integers(1, 100_000), max_size=5), st.data())
def test_first_and_last_frames_stay_in_their_epoch(fs_hz, cuts, data):
    bounds = (0, *sorted(cuts), 100_001)
    frames = sorted(
        {f for b in bounds[1:-1] for f in (b - 1, b)} | {0, 100_000} | data.draw(st.sets(st.integers(0, 100_000)))
    )
    sd = with_epochs(fs_hz, bounds, (frames,)).replace(
        neuron_attributes=[{"spike_train_samples": np.array(frames)}],
    )
    # The other order of the same computation rounds differently.
    sd = sd.replace(train=[np.array(frames) * 1000 / fs_hz], length=100_001 * 1000 / fs_hz + 1e-9)
    for (start, end), piece in zip(sd.metadata["rec_chunks_frames"], sd.split_epochs(), strict=True):
        expected = [f - start for f in frames if start <= f < end]
        np.testing.assert_array_equal(piece.neuron_attributes[0]["spike_train_samples"], expected)
        np.testing.assert_allclose(piece.train[0], np.array(expected) * 1000 / fs_hz, atol=2e-6)
        assert piece.metadata["n_samples"] == end - start


def test_split_epochs_have_their_own_metrics():
    values = {
        "snr": 6.0,
        "std_norm": 0.5,
        "epoch_snr": np.float32([7, 0]),
        "epoch_std_norm": np.float32([0.25, np.inf]),
    }
    sd = SpikeData([[1]], length=10, neuron_attributes=[values], metadata={"rec_chunks_ms": [(0, 5), (5, 10)]})
    first, second = (piece.neuron_attributes[0] for piece in sd.split_epochs())
    assert first == {"snr": 7.0, "std_norm": 0.25}
    assert second == {"snr": 0.0, "std_norm": np.inf}


def test_a_full_template_beyond_the_epoch_templates_stays():
    full = np.arange(5.0)[:, None]
    values = {"template": full[1:4], "template_full": full, "epoch_templates": np.ones((2, 3, 1))}
    sd = SpikeData([[1]], length=10, neuron_attributes=[values], metadata={"rec_chunks_ms": [(0, 5), (5, 10)]})
    for piece in sd.split_epochs():
        np.testing.assert_array_equal(piece.neuron_attributes[0]["template"], np.ones((3, 1)))
        np.testing.assert_array_equal(piece.neuron_attributes[0]["template_full"], full)


def test_split_keeps_a_spike_at_the_very_end_and_raw_data():
    sd = SpikeData(
        [[0, 4, 10]],
        length=10,
        metadata={"rec_chunks_ms": [(0, 4), (4, 10)]},
        raw_data=np.arange(10)[None],
        raw_time=1.0,
    )
    first, second = sd.split_epochs()
    np.testing.assert_array_equal(first.train[0], [0])
    np.testing.assert_array_equal(second.train[0], [0, 6])
    np.testing.assert_array_equal(second.raw_data, [[4, 5, 6, 7, 8, 9]])
    np.testing.assert_array_equal(second.raw_time, np.arange(6))


def test_split_leaves_out_what_lies_between_epochs():
    sd = SpikeData([[1, 4, 5, 6, 9]], length=10, metadata={"rec_chunks_ms": [(0, 4), (6, 9)]})
    first, second = sd.split_epochs()
    np.testing.assert_array_equal(first.train[0], [1])
    np.testing.assert_array_equal(second.train[0], [0])


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([(3, 3)], "must be pairs of start < end"),
        ([(5, 3)], "must be pairs of start < end"),
        ([(0, 11)], r"spans \[0.0, 11.0\] ms, but the data are \[0.0, 10.0\] ms"),
    ],
)
def test_split_refuses_impossible_epochs(chunks, message):
    sd = SpikeData([[1]], length=10, metadata={"rec_chunks_ms": chunks})
    with pytest.raises(ValueError, match=message):
        sd.split_epochs()


def test_a_template_outside_of_its_window_is_refused():
    values = {"template": np.zeros((3, 1)), "template_full": np.ones((5, 1)), "epoch_templates": np.zeros((1, 5, 1))}
    sd = SpikeData([[1]], length=10, neuron_attributes=[values], metadata={"rec_chunks_ms": [(0, 10)]})
    with pytest.raises(ValueError, match="a template of 3 samples is no part"):
        sd.split_epochs()


@settings(deadline=None)
@given(trains, st.integers(1, 64 * 50), st.integers(64 * 200, 64 * 260), st.integers(-100, 100))
def test_raster_and_binned_match_a_histogram(values, width, length, start):
    bin_size, length = width / 64, length / 64
    sd = SpikeData([np.array(train) + start for train in in_ms(values)], length=length, start_time=start)
    n_bins = int(np.ceil(length / bin_size))
    edges = start + np.arange(n_bins + 1) * bin_size
    expected = np.array([np.histogram(train, edges)[0] for train in sd.train]).reshape(len(values), n_bins)
    np.testing.assert_array_equal(sd.raster(bin_size), expected)
    np.testing.assert_array_equal(sd.binned(bin_size), expected.sum(axis=0))


def test_bins_at_the_edges():
    sd = SpikeData([[0, 40, 79.9, 80]], length=80)
    np.testing.assert_array_equal(sd.binned(), [1, 3])  # the very end belongs to the last bin
    assert sd.raster().shape == (1, 80)
    assert SpikeData([[0.3]], length=0.3).raster(0.1).shape == (1, 3)  # 0.3 / 0.1 is not 3 in floating point
    assert SpikeData([], length=2.1).raster(0.3).shape == (0, 7)  # nor is 2.1 / 0.3 seven
    np.testing.assert_array_equal(SpikeData([[0, 0]]).binned(), [2])  # no length
    for bad in (0, -1, np.nan):
        with pytest.raises(ValueError, match="'bin_size' must be a positive"):
            sd.raster(bad)


def test_rates():
    sd = SpikeData([[1, 2], []], length=500)
    np.testing.assert_allclose(sd.rates(), [0.004, 0])
    np.testing.assert_allclose(sd.rates("Hz"), [4, 0])
    assert SpikeData([[0]]).rates().tolist() == [0.0]
    with pytest.raises(ValueError, match=r"must be one of \{'kHz', 'Hz'\}, got 'MHz'"):
        sd.rates("MHz")


@settings(deadline=None)
@given(trains, st.sets(st.integers(1, 64 * 200 - 1), max_size=4))
def test_intervals_do_not_cross_epochs(values, cuts):
    bounds = [0, *sorted(cuts), 64 * 200]
    chunks = [(a / 64, b / 64) for a, b in itertools.pairwise(bounds)]
    sd = SpikeData(in_ms(values), length=200, metadata={"rec_chunks_ms": chunks})
    for train, found in zip(in_ms(values), sd.interspike_intervals(), strict=True):
        expected = []
        for i, (a, b) in enumerate(chunks):
            inside = sorted(t for t in train if a <= t and (t < b or i == len(chunks) - 1))
            expected += [y - x for x, y in itertools.pairwise(inside)]
        np.testing.assert_array_equal(found, expected)


def test_more_names_than_epochs_are_no_matter():
    metadata = {"rec_chunks_ms": [[0, 50], [50, 100]], "rec_chunk_names": ["a", "b", "c"]}
    epochs = SpikeData([[10, 60]], length=100, metadata=metadata).split_epochs()
    assert [epoch.metadata["epoch_name"] for epoch in epochs] == ["a", "b"]
