"""Steps across channels: interpolation, spatial high-pass, references."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import spikeinterface as si
from hypothesis import given, settings
from hypothesis import strategies as st
from spikeinterface.preprocessing import common_reference, highpass_spatial_filter, interpolate_bad_channels
from tests.simulated import save_recording

from spikelab.spike_sorting.config import RecordingConfig, SortingPipelineConfig
from spikelab.spike_sorting.data import Geometry
from spikelab.spike_sorting.filters.across_channels import AcrossChannelsRecording, highpass_waves
from spikelab.spike_sorting.filters.steps import Steps
from spikelab.spike_sorting.recording import open_recording, write_binary
from spikelab.spike_sorting.recording.across import across_channels
from spikelab.spike_sorting.recording.geometry import geometry_of, place
from spikelab.spike_sorting.recording.geometry.columns import along, by_shank
from spikelab.spike_sorting.settings.validation import validate_config

FS = 30_000.0
TWO_COLUMNS = np.column_stack([32.0 * (np.arange(24) % 2), 20.0 * (np.arange(24) // 2)])
PLANE = np.column_stack([60.0 * (np.arange(24) % 6), 60.0 * (np.arange(24) // 6)])
ALL_STEPS = {"spatial_filter": "highpass", "common_reference": "median", "reference_by": "local"}


def recorded(places: np.ndarray = TWO_COLUMNS, seed: int = 0, n_frames: int = 1_000) -> si.NumpyRecording:
    """Noise, and one sound that is louder at one end; microvolts."""
    rng = np.random.default_rng(seed)
    traces = rng.normal(0, 8, (n_frames, len(places))) + np.linspace(20, 40, len(places)) * rng.normal(
        0, 1, (n_frames, 1)
    )
    recording = si.NumpyRecording([traces.astype(np.float32)], FS)
    recording.set_channel_gains(1.0)
    recording.set_channel_offsets(0.0)
    recording.set_dummy_probe_from_locations(places)
    return recording


def steps(recording: si.BaseRecording, interpolated: tuple[str, ...] = (), **config: object) -> np.ndarray:
    """The traces after the steps alone."""
    place(recording, Geometry.of(recording.get_channel_locations()))
    return across_channels(recording, RecordingConfig(**config), interpolated, "x").get_traces()


@pytest.mark.parametrize("n_channels", [24, 23, 2])
def test_a_median_is_that_of_numpy_to_the_bit(n_channels: int) -> None:
    recording = recorded(TWO_COLUMNS[:n_channels])
    recording.get_traces()[5, :2] = [np.float32(-3e37), np.float32(1e-40)]
    traces = recording.get_traces()
    found = steps(recording, common_reference="median")
    np.testing.assert_array_equal(found, traces - np.median(traces, axis=1, keepdims=True))


def test_references_are_those_of_spikeinterface() -> None:
    recording = recorded()
    for operator in ("median", "average"):
        ours = steps(recording, common_reference=operator)
        np.testing.assert_allclose(ours, common_reference(recording, operator=operator).get_traces(), atol=1e-4)
        ring = common_reference(recording, reference="local", operator=operator, local_radius=(40, 140)).get_traces()
        np.testing.assert_allclose(steps(recording, common_reference=operator, reference_by="local"), ring, atol=1e-4)


def test_a_bad_channel_is_interpolated_as_by_spikeinterface() -> None:
    recording = recorded()
    theirs = interpolate_bad_channels(recording, [5, 10]).get_traces()
    recording.get_traces()[:, 5] = np.nan
    np.testing.assert_allclose(steps(recording, ("5", "10")), theirs, atol=1e-4)


def test_the_waves_are_those_that_spikeinterfaces_filter_removes() -> None:
    places = np.column_stack([np.zeros(384), 10.0 * np.arange(384)])
    recording = recorded(places, n_frames=50)
    traces = recording.get_traces()
    waves = highpass_waves(384)
    theirs = highpass_spatial_filter(
        recording, n_channel_pad=300, apply_agc=False, rms_values=np.ones(384)
    ).get_traces()
    difference = theirs - (traces - traces @ waves.T @ waves)
    assert np.abs(difference)[:, 60:-60].max() < 0.01 * traces.std()


def test_the_high_pass_removes_what_changes_along_the_column_and_leaves_a_spike() -> None:
    places = np.column_stack([32.0 * (np.arange(192) % 2), 20.0 * (np.arange(192) // 2)])
    noise = np.random.default_rng(0).normal(0, 8, (300, 192)).astype(np.float32)
    clean = si.NumpyRecording([noise], FS)
    clean.set_dummy_probe_from_locations(places)
    clean.get_traces()[100, 80:84] = -300
    quiet = steps(clean, spatial_filter="highpass")
    assert np.abs(quiet - clean.get_traces())[100].max() < 6  # an average would take 6 uV away for the spike alone
    clean.get_traces()[:] += np.linspace(20, 40, 192) * np.random.default_rng(1).normal(0, 1, (300, 1))
    assert (steps(clean, spatial_filter="highpass") - quiet).std() < 2  # of 30; a median reference leaves 6


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), start=st.integers(0, 900), length=st.integers(1, 100))
def test_neither_chunks_nor_the_order_of_channels_matter(seed: int, start: int, length: int) -> None:
    recording = recorded(seed=seed)
    order = np.random.default_rng(seed).permutation(24)
    other = si.NumpyRecording([recording.get_traces()[:, order]], FS, channel_ids=[str(channel) for channel in order])
    other.set_dummy_probe_from_locations(TWO_COLUMNS[order])
    for each in (recording, other):
        place(each, Geometry.of(each.get_channel_locations()))
    config = RecordingConfig(**ALL_STEPS)  # type: ignore[arg-type]
    ours, theirs = (across_channels(each, config, {"3", "20"}, "x") for each in (recording, other))
    whole = ours.get_traces()
    np.testing.assert_array_equal(ours.get_traces(0, start, start + length), whole[start : start + length])
    np.testing.assert_array_equal(theirs.get_traces(), whole[:, order])
    np.testing.assert_array_equal(ours.clone().get_traces(channel_ids=[4]), whole[:, [4]])


def test_the_binary_is_the_same_for_any_number_of_workers(tmp_path: Path) -> None:
    recording = recorded(n_frames=40_000)
    opened = open_recording(
        recording, RecordingConfig(**ALL_STEPS, bad_channels=["7"], bad_channels_action="interpolate")
    )  # type: ignore[arg-type]
    before = recording.get_traces().copy()
    written = []
    for workers in (1, 3):
        path = tmp_path / f"{workers}.dat"
        write_binary(opened, path, n_jobs=workers, total_memory="1G", seed=0, check=False)
        written.append(path.read_bytes())
    assert written[0] == written[1]
    np.testing.assert_array_equal(recording.get_traces(), before)


def test_a_flat_channel_that_is_interpolated_is_no_longer_flat(tmp_path: Path) -> None:
    recording = recorded(n_frames=60_001)
    recording.get_traces()[:, 7] = 0
    config = RecordingConfig(bad_channels="auto", bad_channels_action="interpolate")
    with pytest.warns(UserWarning, match="bad_channels='auto' interpolates 1 of 24 channels: 7"):
        opened = open_recording(recording, config)
    _, report = write_binary(opened, tmp_path / "x.dat", n_jobs=1, total_memory="1G", seed=0)
    assert report.flat_channels == ()
    assert report.noise_uv[7] > 3


def test_what_has_no_neighbour_is_left_out() -> None:
    places = np.vstack([TWO_COLUMNS[:-1], [[0.0, 900.0]]])
    config = RecordingConfig(bad_channels=[3, 23], bad_channels_action="interpolate")
    with pytest.warns(UserWarning, match="bad_channels leaves out 1 of 24 channels: 23: no channel is near enough"):
        opened = open_recording(recorded(places), config)
    assert opened.get_num_channels() == 23


def test_shanks_are_columns_of_their_own_and_references() -> None:
    places = np.vstack([TWO_COLUMNS[:12], TWO_COLUMNS[:12] + np.array([250.0, 0.0])])
    shanks = Geometry(
        places, places, np.zeros(24, np.int64), ("",), *[("",) * 24], ("0",) * 12 + ("1",) * 12, *[("",) * 24] * 2
    )
    assert by_shank(shanks).group_names == ("shank 0", "shank 1")
    recording = recorded(places)
    place(recording, shanks)
    traces = recording.get_traces()
    config = RecordingConfig(common_reference="median", reference_by="shank")
    found = across_channels(recording, config, (), "x").get_traces()
    parts = [part - np.median(part, axis=1, keepdims=True) for part in (traces[:, :12], traces[:, 12:])]
    np.testing.assert_array_equal(found, np.hstack(parts))
    together = across_channels(recording, RecordingConfig(common_reference="median", reference_by="all"), (), "x")
    np.testing.assert_array_equal(together.get_traces(), traces - np.median(traces, axis=1, keepdims=True))


def test_a_short_shank_is_left_out_of_the_spatial_filter() -> None:
    """It is told by name; a recording of short shanks alone is refused."""
    short = np.array([[500.0, 0.0], [500.0, 20.0]])
    groups = np.repeat([0, 1], [24, 2])
    geometry = replace(Geometry.of(np.vstack([TWO_COLUMNS, short]), groups), group_names=("left", "right"))
    recording = recorded(geometry.places)
    place(recording, geometry)
    config = RecordingConfig(spatial_filter="highpass")
    with pytest.warns(UserWarning, match="spatial_filter leaves out .* too short or too wide: right of x"):
        found = across_channels(recording, config, (), "x").get_traces()
    np.testing.assert_array_equal(found[:, 24:], recording.get_traces()[:, 24:])
    alone = si.NumpyRecording([recording.get_traces()[:, :24]], FS)
    alone.set_dummy_probe_from_locations(TWO_COLUMNS)
    np.testing.assert_allclose(found[:, :24], steps(alone, spatial_filter="highpass"), atol=1e-4)
    few = recorded(short)
    place(few, Geometry.of(short))
    with pytest.raises(ValueError, match="do not lie in columns"):
        across_channels(few, config, (), "x")


def test_channels_are_taken_along_the_longer_side() -> None:
    lying = Geometry.of(TWO_COLUMNS[::-1, ::-1])
    assert along(lying).tolist() == list(range(24))[::-1]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"spatial_filter": "highpass"}, "do not lie in columns, along which spatial_filter works: set it to None"),
        ({"common_reference": "median", "reference_by": "shank"}, "does not say on which shank .* set reference_by"),
    ],
)
def test_a_plane_has_neither_columns_nor_shanks(config: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        open_recording(recorded(PLANE), RecordingConfig(**config))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "config",
    [
        {"spatial_filter": "highpass"},
        {"common_reference": "median", "reference_by": "local"},
        {"bad_channels": ["3"], "bad_channels_action": "interpolate"},
    ],
)
@pytest.mark.filterwarnings("ignore:.*does not say where:UserWarning")
def test_places_have_to_be_known(config: dict[str, str]) -> None:
    recording = si.NumpyRecording([recorded().get_traces()], FS)
    with pytest.raises(ValueError, match="where (its|the) electrodes are"):
        open_recording(recording, RecordingConfig(**config))  # type: ignore[arg-type]


def test_a_reference_has_to_be_one() -> None:
    with pytest.raises(ValueError, match="'reference_by' says over which channels 'common_reference' is taken"):
        validate_config(SortingPipelineConfig.from_kwargs(reference_by="all"))


def test_a_saved_description_is_opened_again(tmp_path: Path) -> None:
    recording = si.load(save_recording(recorded(), tmp_path / "file"))
    place(recording, Geometry.of(recording.get_channel_locations()))
    described = AcrossChannelsRecording.of(recording, Steps(order=along(geometry_of(recording)).tolist()))
    again = si.load(described.to_dict())
    np.testing.assert_array_equal(again.get_traces(), recording.get_traces())
    assert again._kwargs["steps"] == asdict(Steps(order=list(range(24))))
