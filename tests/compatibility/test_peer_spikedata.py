"""What scripts rely on that were written for the peer of the same name: behaviours of SpikeData."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikelab import SpikeData

FORMS = {
    "x and y": ({"x": 3.0, "y": 4.0}, {"x": 30.0, "y": 4.0}),
    "location": ({"location": [3.0, 4.0]}, {"location": (30.0, 4.0)}),
    "position": ({"position": np.array([3.0, 4.0])}, {"position": np.array([30.0, 4.0])}),
    "channel": ({"channel": 1}, {"channel": 0}),
}
CHANNELS = {"channel_locations": [[30.0, 4.0], [3.0, 4.0]]}


def three(**more: Any) -> SpikeData:
    return SpikeData([[5, 20], [30], [60, 90]], length=100, **more)


# ---- value -----------------------------------------------------------------------------------------------------------


def test_no_length_is_no_rate() -> None:
    nothing = SpikeData([[0.0], []], length=0)
    assert nothing.rates("Hz").tolist() == [0.0, 0.0]
    _, result = nothing.curate_by_firing_rate(0.1)
    assert result["metric"].tolist() == [0.0, 0.0]


def test_attributes_are_none_until_something_is_stored() -> None:
    sd = three()
    cut = (sd, sd.subset([0]), sd.subtime(0, 50), sd[10:40], sd.append(sd), sd.concatenate_spike_data(sd))
    assert all(made.neuron_attributes is None for made in cut)
    assert sd.curate_by_min_spikes(2)[0].neuron_attributes is None
    assert sd.unit_attributes == [{}, {}, {}]
    assert sd.unit_ids == [0, 1, 2]
    sd.set_neuron_attribute("region", "CA1")
    assert sd.neuron_attributes == [{"region": "CA1"}] * 3


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".pkl"])
@pytest.mark.parametrize("attributes", [None, [{}, {}, {}], [{"a": 1}, {}, {}]])
def test_files_keep_attributes_that_are_none(tmp_path: Any, suffix: str, attributes: Any) -> None:
    sd = three(neuron_attributes=attributes)
    sd.save(tmp_path / f"units{suffix}")
    assert SpikeData.load(tmp_path / f"units{suffix}") == sd


def test_attributes_by_name(caplog: pytest.LogCaptureFixture) -> None:
    sd = three(neuron_attributes=[{"snr": 5.0}, {}, {"snr": 7.0}])
    assert sd.get_neuron_attribute("snr") == [5.0, None, 7.0]
    assert sd.get_neuron_attribute("snr", 0.0) == [5.0, 0.0, 7.0]
    part = sd.subset([0, 1])
    part.set_neuron_attribute("layer", np.array([2, 3]))
    part.set_neuron_attribute("snr", None)
    assert part.neuron_attributes == [{"snr": None, "layer": 2}, {"snr": None, "layer": 3}]
    assert not caplog.messages
    assert sd.get_neuron_attribute("layer") == [None] * 3
    assert sd.get_neuron_attribute("snrr") == [None] * 3
    assert [line.partition("; ")[2] for line in caplog.messages] == ["there are snr", "did you mean 'snr'?"]
    with pytest.raises(TypeError, match="must be a text, got 3"):
        sd.set_neuron_attribute(3, [1, 2, 3])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'snr' has 2 values for 3 units"):
        sd.set_neuron_attribute("snr", [1, 2])


def test_metrics_of_waveforms_are_stored_in_the_object() -> None:
    traces = np.random.default_rng(0).normal(size=(2, 2000))
    sd = three(raw_data=traces, raw_time=20.0)
    measured, metrics = sd.compute_waveform_metrics()
    assert measured is sd
    assert sd.get_neuron_attribute("snr") == metrics["snr"].tolist()
    # Criteria measure for themselves alone.
    other = three(raw_data=traces, raw_time=20.0)
    other.curate_by_snr(5)
    other.curate_by_std_norm(1)
    assert other.neuron_attributes is None


def test_the_history_is_a_static_method_too() -> None:
    sd = three()
    kept, results = sd.curate(min_spikes=2)
    expected = {"spike_count": [1]}
    assert SpikeData.build_curation_history(sd, kept, results)["failed"] == expected
    assert kept.build_curation_history(sd, kept, results)["failed"] == expected


# ---- epochs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metadata", [{}, {"rec_chunks_ms": []}, {"rec_chunks_ms": None}])
def test_without_epochs_nothing_is_split(metadata: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="rec_chunks_ms"):
        three(metadata=metadata).split_epochs()


def test_epochs_may_overlap_and_come_in_any_order() -> None:
    sd = three(metadata={"rec_chunks_ms": [(0, 60), (20, 100), (10, 40)]})
    first, second, third = sd.split_epochs()
    assert [train.tolist() for train in first.train] == [[5, 20], [30], []]
    assert [train.tolist() for train in second.train] == [[0], [10], [40, 70]]
    assert [train.tolist() for train in third.train] == [[10], [20], []]
    assert [part.length for part in (first, second, third)] == [60, 80, 30]
    # They are windows of one stretch: no interval is lost.
    assert [intervals.tolist() for intervals in sd.interspike_intervals()] == [[15], [], [30]]


def test_where_no_epoch_overlaps_is_a_boundary() -> None:
    sd = SpikeData([[10, 45, 55, 70]], length=100, metadata={"rec_chunks_ms": [(50, 100), (0, 40), (30, 50)]})
    assert sd.interspike_intervals()[0].tolist() == [35, 15]


def test_epoch_templates_of_overlapping_epochs_are_their_own() -> None:
    templates = np.arange(12.0).reshape(2, 3, 2)
    sd = SpikeData(
        [[10, 50]],
        length=100,
        neuron_attributes=[{"epoch_templates": templates, "epoch_snr": [1.0, 2.0]}],
        metadata={"rec_chunks_ms": [(0, 60), (40, 100)]},
    )
    for k, epoch in enumerate(sd.split_epochs()):
        (values,) = epoch.unit_attributes
        np.testing.assert_array_equal(values["template"], templates[k])
        assert values["snr"] == k + 1


@pytest.mark.parametrize(
    ("names", "files"),
    [(["a", "b"], ["a", "b"]), (["a", "b", "c"], ["a", "b"]), (["a"], ["a", "all"]), ([], ["all"] * 2)],
)
def test_names_of_epochs_are_their_source_file(names: list[str], files: list[str]) -> None:
    metadata = {"rec_chunks_ms": [(0, 50), (50, 100)], "rec_chunk_names": names, "source_file": "all"}
    assert [epoch.metadata["source_file"] for epoch in three(metadata=metadata).split_epochs()] == files


def test_a_file_that_is_known_is_the_source_whatever_the_epoch_is_called() -> None:
    metadata = {
        "rec_chunks_ms": [(0, 50), (50, 100)],
        "rec_chunk_names": ["day1_0", "day1_1"],
        "rec_chunk_source_files": ["day1.h5"] * 2,
    }
    epochs = three(metadata=metadata).split_epochs()
    assert [epoch.metadata["source_file"] for epoch in epochs] == ["day1.h5"] * 2
    assert [epoch.metadata["epoch_name"] for epoch in epochs] == ["day1_0", "day1_1"]


def test_epochs_that_a_user_sets_replace_those_of_the_sort() -> None:
    sd = three(
        neuron_attributes=[{"epoch_snr": [1.0, 2.0]}] * 3,
        metadata={
            "rec_chunks_ms": [(0, 20), (20, 60), (60, 100)],  # set later; all else is of two epochs
            "rec_chunks_frames": [(0, 1000), (1000, 2000)],
            "rec_chunk_source_files": ["a", "b"],
            "rec_chunk_sources": [{"source_file": "a"}, {"source_file": "b"}],
            "source_file": "all",
        },
    )
    epochs = sd.split_epochs()
    assert [epoch.length for epoch in epochs] == [20, 40, 40]
    assert {epoch.metadata["source_file"] for epoch in epochs} == {"all"}
    assert all("epoch_snr" not in values and "snr" not in values for values in epochs[0].unit_attributes)
    assert sd.subtime(0, 50).metadata["rec_chunks_ms"] == [[0, 20], [20, 50]]


# ---- time ------------------------------------------------------------------------------------------------------------


def test_a_cut_begins_at_zero() -> None:
    cut = SpikeData([[25, 60]], start_time=10, length=90, raw_data=np.arange(90)[None], raw_time=1.0).subtime(20, 70)
    assert (cut.start_time, cut.length) == (0, 50)
    assert cut.train[0].tolist() == [5, 40]
    assert cut.raw_data[0].tolist() == list(range(10, 60))
    assert cut.raw_time.tolist() == list(range(50))


def test_an_event_is_at_zero() -> None:
    cut = SpikeData([[25, 60]], length=100, raw_data=np.arange(100)[None], raw_time=1.0).subtime(20, 70, shift_to=50)
    assert (cut.start_time, cut.end_time) == (-30, 20)
    assert cut.train[0].tolist() == [-25, 10]
    assert cut.raw_time[[0, -1]].tolist() == [-30, 19]
    assert three().subtime(20, 70, shift_to=0).start_time == 20


@pytest.mark.parametrize("open_end", [None, ...])
def test_open_ends_are_the_ends_of_the_recording(open_end: Any) -> None:
    sd = SpikeData([[15, 60, 110]], start_time=10, length=100)
    assert sd.subtime(open_end, open_end).train[0].tolist() == [5, 50, 100]
    assert sd.subtime(open_end, 60).train[0].tolist() == [5]
    assert sd.subtime(60, open_end).length == 50


def test_a_start_before_the_recording() -> None:
    with pytest.raises(ValueError, match="below recording start"):
        three().subtime(-1, 5)
    with pytest.raises(ValueError, match="below recording start"):
        three()[-20:5]


# ---- units -----------------------------------------------------------------------------------------------------------


def test_units_are_ascending_and_once() -> None:
    sd = three()
    assert [len(train) for train in sd.subset([2, 1, 2]).train] == [1, 2]
    assert [train[0] for train in sd.subset([2, 1, 2, 0], preserve_order=True).train] == [60, 30, 5]
    assert sd.subset([1.0, np.float32(2)]).train[0].tolist() == [30]
    assert sd.subset(np.array([0, 2], dtype=np.uint8)).N == 2
    assert sd.subset(range(2)).N == 2
    assert sd.subset({2, 0}).train[1].tolist() == [60, 90]


@given(st.lists(st.integers(0, 9), max_size=30))
def test_the_order_of_units(units: list[int]) -> None:
    sd = SpikeData([[i] for i in range(10)], neuron_attributes=[{"name": f"n{i}"} for i in range(10)])
    names = [f"n{i}" for i in units]
    for chosen, arguments in (({}, {}), ({"by": "name"}, {})):
        wanted: Any = names if chosen else units
        assert sd.subset(wanted, **chosen).get_neuron_attribute("name") == [f"n{i}" for i in sorted(set(units))]
        kept = sd.subset(wanted, preserve_order=True, **chosen, **arguments)
        assert kept.get_neuron_attribute("name") == list(dict.fromkeys(names))
        assert [train[0] for train in kept.train] == list(dict.fromkeys(units))


@pytest.mark.parametrize("units", [[3], [-1], 3, -1, [0.5], [float("nan")], [float("inf")], ["0"], [[0]], [None]])
def test_units_that_are_not_there(units: Any) -> None:
    with pytest.raises(ValueError, match="unit"):
        three().subset(units)


@pytest.mark.parametrize("attributes", [None, [{"unit_id": i, "snr": 5.0} for i in range(3)]])
def test_an_unknown_name_is_warned_of_and_gives_nothing(attributes: Any) -> None:
    sd = three(neuron_attributes=attributes)
    known = r"known are \['unit_id', 'snr'\]" if attributes else r"known are \[\]"
    with pytest.warns(UserWarning, match=rf"no unit has the neuron attribute 'region'.*{known}"):
        nobody = sd.subset(["CA1"], by="region")
    assert (nobody.N, nobody.length) == (0, 100)
    assert sd.subset([], by="region").N == 0  # nothing asked for, nothing amiss


def test_brackets() -> None:
    sd = three(metadata={"a": 1})
    assert sd[20:70] == sd.subtime(20, 70)
    assert sd[20:] == sd.subtime(20, None)
    assert sd[:] == sd
    assert sd[[2, 0]] == sd.subset([2, 0])
    assert sd[1] == sd.subset(1)
    assert sd[np.array([True, False, True])].N == 2
    with pytest.raises(ValueError, match="without a step"):
        sd[0:50:2]
    with pytest.raises(TypeError):
        iter(sd)  # type: ignore[call-overload]
    assert np.array([sd, sd], dtype=object).shape == (2,)


# ---- constructors ----------------------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.integers(0, 6400), max_size=20), max_size=5), st.randoms(use_true_random=False))
def test_lists_of_units_and_times_come_back(values: list[list[int]], random: Any) -> None:
    sd = SpikeData([np.array(train) / 64 for train in values], length=100)
    pairs = [(unit, time) for unit, train in enumerate(sd.train) for time in train.tolist()]
    random.shuffle(pairs)
    idces, times = zip(*pairs, strict=True) if pairs else ((), ())
    assert SpikeData.from_idces_times(idces, times, N=sd.N, length=100) == sd


def test_lists_of_units_and_times() -> None:
    sd = SpikeData.from_idces_times([2, 0], [40, 10], start_time=5, neuron_attributes=[{}, {}, {"a": 1}])
    assert [train.tolist() for train in sd.train] == [[10], [], [40]]
    assert (sd.start_time, sd.end_time, sd.unit_attributes[2]) == (5, 40, {"a": 1})
    assert SpikeData.from_idces_times([], []).N == 0
    assert SpikeData.from_idces_times([], [], N=2).N == 2
    for idces, times, n_units in [([0], [1, 2], None), ([-1], [1], None), ([0.5], [1], None), ([3], [1], 3)]:
        with pytest.raises(ValueError, match="unit"):
            SpikeData.from_idces_times(idces, times, N=n_units)


@given(
    st.lists(st.lists(st.integers(0, 5), min_size=4, max_size=4), max_size=3),
    st.floats(0.1, 50),
    st.floats(-1000, 1000),
)
def test_a_raster_comes_back(counts: list[list[int]], bin_size: float, start: float) -> None:
    raster = np.array(counts, dtype=np.int64).reshape(-1, 4)
    sd = SpikeData.from_raster(raster, bin_size, start_time=start)
    assert sd.length == pytest.approx(4 * bin_size)
    np.testing.assert_array_equal(sd.raster(bin_size), raster)
    for train in sd.train:
        assert (np.diff(train) > 0).all()


def test_spikes_of_a_bin_are_spread_evenly() -> None:
    assert SpikeData.from_raster([[0, 4]], 8).train[0].tolist() == [9, 11, 13, 15]
    assert SpikeData.from_raster(np.ones((1, 3)), 10).train[0].tolist() == [5, 15, 25]
    for bad in ([1, 2], [[-1]], [[0.5]]):
        with pytest.raises(ValueError, match="raster"):
            SpikeData.from_raster(bad, 1)
    with pytest.raises(ValueError, match="bin_size"):
        SpikeData.from_raster([[1]], 0)


def test_thresholds() -> None:
    traces = np.random.default_rng(1).normal(100, 1, (3, 40_000))
    traces[0, 1000:1010] += 40
    traces[0, [5000, 7000]] -= 30
    traces[1, 9000] -= 30
    traces[2] = 7.0
    both = SpikeData.from_thresholding(traces, 20_000, 8)
    assert [train.tolist() for train in both.train] == [[50, 250, 350], [450], []]
    assert SpikeData.from_thresholding(traces, 20_000, 8, "up").train[0].tolist() == [50]
    assert SpikeData.from_thresholding(traces, 20_000, 8, "down", start_time=1000).train[0].tolist() == [1250, 1350]
    assert both.length == 2000
    assert both.metadata == {"fs_Hz": 20_000.0}
    assert both.raw_data is traces
    _, metrics = both.compute_waveform_metrics()
    assert metrics["snr"][1] > 20
    for arguments in ((traces[0], 2e4), (traces, 0), (traces, 2e4, 0), (traces, 2e4, 5, "left")):
        with pytest.raises(ValueError, match=r"shape|positive|direction must be one of both, up, down"):
            SpikeData.from_thresholding(*arguments)  # type: ignore[arg-type]


# ---- places ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_places_in_every_form(form: str, tmp_path: Any) -> None:
    sd = SpikeData([[1], [2]], neuron_attributes=FORMS[form], metadata=CHANNELS)
    np.testing.assert_array_equal(sd.unit_locations, [[3, 4], [30, 4]])
    for suffix in (".npz", ".h5", ".pkl"):
        sd.save(tmp_path / f"units{suffix}")
        loaded = SpikeData.load(tmp_path / f"units{suffix}")
        assert loaded == sd
        np.testing.assert_array_equal(loaded.unit_locations, [[3, 4], [30, 4]])


@pytest.mark.parametrize("form", FORMS)
def test_pynapple_has_places_in_every_form(form: str) -> None:
    pytest.importorskip("pynapple")
    group = SpikeData([[1], [2]], length=10, neuron_attributes=FORMS[form], metadata=CHANNELS).to_pynapple()
    assert group["x"].tolist() == [3, 30]
    assert group["y"].tolist() == [4, 4]


def test_pynapple_with_epochs_that_overlap() -> None:
    pytest.importorskip("pynapple")
    group = three(metadata={"rec_chunks_ms": [(0, 60), (20, 100)]}).to_pynapple()
    np.testing.assert_allclose(group.time_support.values, [[0, 0.1]])
    assert len(three().to_pynapple().metadata_columns) == 1  # the rate, which pynapple makes


def test_places_in_three_dimensions_or_none() -> None:
    sd = SpikeData([[1], [2]], neuron_attributes=[{"x": 1, "y": 2, "z": 3}, {"location": [4, 5, 6]}])
    np.testing.assert_array_equal(sd.unit_locations, [[1, 2, 3], [4, 5, 6]])
    partly = SpikeData([[1], [2]], neuron_attributes=[{"x": 1, "y": 2, "z": 3}, {"location": [4, 5]}])
    np.testing.assert_array_equal(partly.unit_locations, [[1, 2], [4, 5]])
    lost = SpikeData([[1], [2]], neuron_attributes=[{}, {"location": [4, 5]}])
    np.testing.assert_array_equal(lost.unit_locations, [[np.nan, np.nan], [4, 5]])
    assert three().unit_locations is None
    assert three(neuron_attributes=[{"channel": 1}] * 3).unit_locations is None
    with pytest.raises(ValueError, match="2 or 3 coordinates"):
        _ = SpikeData([[1]], neuron_attributes=[{"location": 4.0}]).unit_locations


def test_electrodes() -> None:
    assert three().electrodes is None
    assert three(neuron_attributes=[{"electrode": None}] * 3).electrodes is None
    sd = three(neuron_attributes=[{"electrode": 11}, {"electrode": 4}, {"electrode": 7}])
    assert sd.electrodes.tolist() == [11, 4, 7]
    assert sd.electrodes.dtype.kind == "i"


# ---- merging ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_duplicates_are_found_by_places_in_every_form(form: str) -> None:
    times = np.arange(100.0, 9000, 20)
    near, far = FORMS[form]
    template = np.zeros((40, 2))
    template[18:22, 0] = [-20, -50, -20, 10]
    for second, merged_into in ((near, [True, False, True]), (far, [True, True, True])):
        attributes = [{**place, "template": template} for place in (near, second, far)]
        sd = SpikeData([times, times[:200], times + 7], length=10_000, neuron_attributes=attributes, metadata=CHANNELS)
        merged, result = sd.curate_by_merge_duplicates(dist_um=10)
        if second is near:
            assert result["passed"].tolist() == merged_into
            np.testing.assert_allclose(result["metric"], [0, 1, 0])
            assert merged.N == 2
        else:
            assert result["passed"][0]
            assert result["metric"][0] == 0


def test_a_template_of_one_channel_may_be_flat() -> None:
    times = np.arange(100.0, 9000, 20)
    about = {"location": (0.0, 0.0), "template": [0.0, -50.0, 10.0]}
    sd = SpikeData([times, times[:200]], length=10_000, neuron_attributes=[about, about])
    assert sd.curate_by_merge_duplicates()[0].N == 1


@pytest.mark.parametrize("attributes", [None, [{}, {}]])
def test_without_places_there_is_no_merge(attributes: Any) -> None:
    with pytest.raises(ValueError, match="unit_locations is None"):
        SpikeData([[1], [2]], neuron_attributes=attributes).curate_by_merge_duplicates()
