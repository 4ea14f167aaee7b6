"""Files of a folder are brought to the same electrodes, whatever channels they are routed to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spikeinterface import NumpyRecording

from spikelab.spike_sorting.config import RecordingConfig
from spikelab.spike_sorting.recording import epochs_of, open_recording
from spikelab.spike_sorting.recording.days import Day, on_same_electrodes
from spikelab.spike_sorting.recording.geometry import read_geometry

if TYPE_CHECKING:
    from collections.abc import Sequence

FS = 20_000.0
N = 6

pytestmark = pytest.mark.filterwarnings("ignore:channel ids differ")  # tested where it is the point


def day(
    name: str, order: Sequence[int], *, by: str = "electrode", fs: float = FS, ids: Any = None, shift_um: float = 0.0
) -> Day:
    """A file whose channel `k` is at electrode ``order[k]``; every sample is the number of its electrode."""
    traces = np.tile(np.asarray(order, dtype=np.int16), (200, 1))
    recording = NumpyRecording([traces], fs, channel_ids=[str(i) for i in range(len(order))] if ids is None else ids)
    if by != "nothing":
        places = np.column_stack([np.zeros(len(order)), 20.0 * np.asarray(order) + shift_um])
        recording.set_dummy_probe_from_locations(places)
    if by == "electrode":
        recording.set_property("electrode", 1000 + np.asarray(order))
    with_places = by != "nothing"
    geometry = read_geometry(recording, name) if with_places else _unknown(recording, name)
    return Day(name, recording, geometry)


def _unknown(recording: Any, name: str) -> Any:
    with pytest.warns(UserWarning, match="does not say where"):
        return read_geometry(recording, name)


def electrodes(found: Day) -> list[int]:
    return found.recording.get_traces(end_frame=1)[0].tolist()


@pytest.mark.parametrize("by", ["electrode", "place"])
@given(orders=st.lists(st.permutations(range(N)), min_size=2, max_size=4))
def test_every_file_has_the_electrodes_of_the_first_in_its_order(by, orders):
    days = [day(str(i), order, by=by) for i, order in enumerate(orders)]
    found = on_same_electrodes(days, "same", 10.0)
    for each in found:
        assert electrodes(each) == list(orders[0])
        assert list(each.recording.channel_ids) == list(days[0].recording.channel_ids)
        np.testing.assert_array_equal(each.geometry.places, days[0].geometry.places)


def test_electrodes_on_channels_of_other_names_are_said():
    first, second = day("a", range(N)), day("b", range(N), ids=[f"x{i}" for i in range(N)])
    with pytest.warns(UserWarning, match="channel ids differ between a and b: electrodes are matched by electrode"):
        found = on_same_electrodes([first, second], "same", 10.0)
    assert list(found[1].recording.channel_ids) == list(first.recording.channel_ids)


def test_electrodes_that_only_one_file_has_are_refused_with_the_way_on():
    days = [day("a", [0, 1, 2, 3]), day("b", [1, 2, 3, 4])]
    with pytest.raises(
        ValueError, match=r"a has 4 channels, b has 4 channels; not in all files .*days='shared'.* 3 elec"
    ):
        on_same_electrodes(days, "same", 10.0)


@pytest.mark.parametrize("by", ["electrode", "place"])
def test_shared_electrodes_are_kept_and_the_others_said(by):
    days = [day("a", [0, 1, 2, 3], by=by), day("b", [4, 3, 2, 1], by=by), day("c", [3, 5, 1], by=by)]
    with pytest.warns(
        UserWarning, match=r"the 2 electrodes that all files have are sorted; left out are channels 2 of a"
    ):
        found = on_same_electrodes(days, "shared", 10.0)
    assert [electrodes(each) for each in found] == [[1, 3]] * 3


def test_no_electrode_in_all_files_is_an_error():
    with pytest.raises(ValueError, match="no electrode is in all of a, b"):
        on_same_electrodes([day("a", [0, 1]), day("b", [2, 3])], "shared", 10.0)


def test_electrodes_at_other_places_are_said_and_matched_by_number():
    days = [day("a", range(N)), day("b", range(N), shift_um=5.0)]
    with pytest.warns(UserWarning, match="channel locations differ between a and b"):
        found = on_same_electrodes(days, "same", 10.0)
    np.testing.assert_array_equal(found[1].geometry.contacts, days[0].geometry.contacts)


def test_without_electrodes_and_places_channels_are_matched_by_name():
    days = [
        day("a", [0, 1, 2], by="nothing", ids=["p", "q", "r"]),
        day("b", [2, 0, 1], by="nothing", ids=["r", "p", "q"]),
    ]
    assert [electrodes(each) for each in on_same_electrodes(days, "same", 10.0)] == [[0, 1, 2]] * 2


def test_rates_within_the_tolerance_are_one_and_the_drift_is_said():
    days = [day("a", range(N)), day("b", range(N), fs=FS * (1 + 5e-6))]
    with pytest.warns(UserWarning, match=r"b has 20000.1 Hz, a 20000 Hz: .* 18 ms per hour"):
        on_same_electrodes(days, "same", 10.0)
    with pytest.raises(ValueError, match=r"Recordings are not resampled: .*rate_tolerance_ppm"):
        on_same_electrodes(days, "same", 1.0)


def test_one_file_stays_as_it_is():
    only = day("a", [2, 0, 1])
    assert on_same_electrodes([only], "same", 0.0) == [only]


def test_shanks_that_are_listed_in_another_order_are_matched_by_name():
    def shanks(name: str, order: Sequence[str]) -> Day:
        traces = np.array([[10 * (shank == "B") + k for shank in order for k in range(4)]] * 200, dtype=np.int16)
        recording = NumpyRecording([traces], FS, channel_ids=[f"{shank}{k}" for shank in order for k in range(4)])
        places = [[float(shank == "B"), 20.0 * k] for shank in order for k in range(4)]
        recording.set_dummy_probe_from_locations(np.array(places))
        recording.set_property("group", np.repeat(list(order), 4))
        with pytest.warns(UserWarning, match="sorted apart"):
            return Day(name, recording, read_geometry(recording, name))

    found = on_same_electrodes([shanks("a", "AB"), shanks("b", "BA")], "same", 10.0)
    assert [electrodes(each) for each in found] == [[0, 1, 2, 3, 10, 11, 12, 13]] * 2
    assert found[1].geometry.names_of_channels() == found[0].geometry.names_of_channels()


def test_a_file_of_another_rate_keeps_its_own_clock(in_memory, gaussian, store, tmp_path):
    for name, fs in (("0", FS), ("1", FS * (1 + 5e-6))):
        store(in_memory(gaussian(40_000, 2), fs=fs), tmp_path / name)
    with pytest.warns(UserWarning, match="times in the recording are off by 18 ms per hour"):
        first, second = epochs_of(open_recording(tmp_path, RecordingConfig(freq_max=4000.0)))
    assert first.clock_scale == 1.0
    assert second.clock_scale == pytest.approx(1 / (1 + 5e-6), abs=1e-12)
